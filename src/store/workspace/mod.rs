//! Captures folders of the user's into snapshots.
