//! Tells what git says of a folder, and brings back a worktree that was lost. Needs no git program.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Result;
use crate::store::git;

pub use crate::store::git::{Facts, Moved, Place, Wanted, What};

/// How long telling how a history went may take.
const HISTORY: Duration = Duration::from_secs(2);
/// How long laying out a worktree may take.
const LAY_OUT: Duration = Duration::from_mins(10);

/// What git says of a folder; `None` if it is in no repository. Gives [`crate::error::Error::Git`] for a repository
/// that can't be read.
pub fn facts(folder: &Path, wanted: &Wanted) -> Result<Option<Facts>> {
    git::facts(folder, wanted)
}

/// Whether a repository has a local branch.
pub fn branch_exists(folder: &Path, branch: &str) -> Result<bool> {
    Ok(git::branch(folder, branch)?.is_some())
}

/// Whether a commit is an ancestor of another one, or the same; `None` where that can't be told.
pub fn is_ancestor(folder: &Path, ancestor: &str, commit: &str) -> Result<Option<bool>> {
    Ok(match git::went(folder, ancestor, commit, HISTORY)? {
        Moved::Same | Moved::Forward => Some(true),
        Moved::Back | Moved::Diverged => Some(false),
        Moved::Missing | Moved::Unknown => None,
    })
}

/// Adds a worktree of a branch; gives its folder.
pub fn add_worktree(folder: &Path, path: &Path, branch: &str) -> Result<PathBuf> {
    git::add_worktree(folder, path, branch, LAY_OUT)
}
