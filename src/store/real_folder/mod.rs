//! Folders of this machine, opened once and never left.
//!
//! *Invariants*: on Linux the way to a name is resolved by the kernel with `openat2`, beneath the open
//! folder and without any link; elsewhere on Unix name by name, each relative to its open parent and
//! without following it. What is opened is checked, not its path.
//!
//! *Crash story*: none of its own; every call either happened or did not.
//!
//! *Limits*: where the system is not a Unix, paths are checked before they are used, so a folder that is
//! swapped for a link between the two is not noticed.

#[cfg(not(unix))]
mod portable;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(super) use portable::open;
#[cfg(unix)]
pub(super) use unix::open;

#[cfg(all(test, unix))]
mod tests;
