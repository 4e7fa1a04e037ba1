//! What git says, for JavaScript.

use std::path::{Path, PathBuf};
use std::time::Duration;

use napi_derive::napi;

use crate::binding::convert::{number, path, whole};
use crate::binding::job::{Job, now};
use crate::binding::types::Place;
use crate::binding::{Pending, Reply};
use crate::error::Result;
use crate::ops::git::{self as verb, Facts, Moved, Wanted};

/// How much is wanted.
#[napi(object, object_to_js = false)]
#[derive(Default)]
pub struct GitRequest {
    /// So many dirty paths are listed; 200 unless given.
    pub limit: Option<f64>,
    /// So long may looking for them take, in milliseconds; 2,000 unless given.
    pub timeout_ms: Option<f64>,
    /// A commit, in full: how the history went from there.
    pub since: Option<String>,
    /// Folders in the worktree, absolute, where nothing is looked for.
    pub without: Option<Vec<String>>,
}

/// A path where something is different.
#[napi(object, object_from_js = false)]
pub struct GitDirty {
    /// The path, from the worktree, joined by `/`; U+FFFD for what is not UTF-8.
    pub path: String,
    /// What is different: `conflict`, `staged`, `modified`, `deleted`, `untracked`, `submodule`; several are joined by a
    /// space.
    pub status: String,
}

/// What git says of a folder.
#[napi(object, object_from_js = false)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct GitFacts {
    /// The worktree; absent in a bare repository.
    pub worktree: Option<String>,
    /// The repository's folder; of a linked worktree its own.
    pub git_dir: String,
    /// The folder that all worktrees share.
    pub common_dir: String,
    /// Whether the worktree was added to another one.
    pub linked: bool,
    /// The branch; absent if HEAD is at no branch.
    pub branch: Option<String>,
    /// The commit; absent before the first one.
    pub head: Option<String>,
    /// Whether HEAD is at no branch.
    pub detached: bool,
    /// Whether there is no commit yet.
    pub unborn: bool,
    /// The first of what is different, by path.
    pub dirty: Vec<GitDirty>,
    /// How many paths are different.
    pub dirty_count: f64,
    /// Whether there may be more: looking took too long, or there were too many.
    pub truncated: bool,
    /// How the history went from the commit that was asked for.
    #[napi(ts_type = "'same' | 'forward' | 'back' | 'diverged' | 'missing' | 'unknown'")]
    pub moved: Option<String>,
}

impl From<Facts> for GitFacts {
    fn from(facts: Facts) -> Self {
        Self {
            worktree: facts.place.worktree.as_deref().map(path),
            git_dir: path(&facts.place.git_dir),
            common_dir: path(&facts.place.common_dir),
            linked: facts.place.linked,
            branch: facts.branch,
            unborn: facts.head.is_none(),
            head: facts.head,
            detached: facts.detached,
            dirty: facts
                .dirty
                .into_iter()
                .map(|(path, what)| GitDirty {
                    path,
                    status: what.words(),
                })
                .collect(),
            dirty_count: number(facts.dirty_count as u64),
            truncated: facts.cut_off,
            moved: facts.moved.map(Moved::as_str).map(str::to_owned),
        }
    }
}

/// A folder from where the caller stands: the project's, else the working directory.
fn folder_of(place: &Place, folder: &str) -> PathBuf {
    let base = place.root.as_deref().or(place.working_dir.as_deref());
    Path::new(base.unwrap_or_default()).join(folder)
}

fn facts_work(
    place: Place,
    folder: String,
    request: Option<GitRequest>,
) -> impl FnOnce() -> Result<Option<Facts>> + Send {
    move || {
        let GitRequest {
            limit,
            timeout_ms,
            since,
            without,
        } = request.unwrap_or_default();
        let limit = whole("limit", limit.unwrap_or(200.0), 100_000.0)?;
        let timeout_ms = whole("timeoutMs", timeout_ms.unwrap_or(2_000.0), 600_000.0)?;
        let wanted = Wanted {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            time: Duration::from_millis(timeout_ms),
            since,
            without: without
                .unwrap_or_default()
                .iter()
                .map(PathBuf::from)
                .collect(),
        };
        verb::facts(&folder_of(&place, &folder), &wanted)
    }
}

/// What git says of a folder; null if it is in no repository.
#[napi(ts_return_type = "Failure | GitFacts | null")]
#[must_use]
pub fn git_facts_sync(
    place: Place,
    folder: String,
    request: Option<GitRequest>,
) -> Reply<Option<GitFacts>> {
    now(|| Ok(facts_work(place, folder, request)()?.map(GitFacts::from)))
}

/// What git says of a folder; null if it is in no repository.
#[napi(ts_return_type = "Promise<Failure | GitFacts | null>")]
#[must_use]
pub fn git_facts(
    place: Place,
    folder: String,
    request: Option<GitRequest>,
) -> Pending<Option<GitFacts>, Option<GitFacts>> {
    let work = facts_work(place, folder, request);
    Job::task(move || Ok(work()?.map(GitFacts::from)))
}

/// Whether the repository of a folder has a local branch.
#[napi(ts_return_type = "Failure | boolean")]
#[must_use]
pub fn git_branch_exists_sync(folder: String, branch: String) -> Reply<bool> {
    now(move || verb::branch_exists(Path::new(&folder), &branch))
}

/// Whether the repository of a folder has a local branch.
#[napi(ts_return_type = "Promise<Failure | boolean>")]
#[must_use]
pub fn git_branch_exists(folder: String, branch: String) -> Pending<bool, bool> {
    Job::task(move || verb::branch_exists(Path::new(&folder), &branch))
}

/// Whether a commit is an ancestor of another one, or the same; null where that can't be told.
#[napi(ts_return_type = "Failure | boolean | null")]
#[must_use]
pub fn git_is_ancestor_sync(
    folder: String,
    ancestor: String,
    commit: String,
) -> Reply<Option<bool>> {
    now(move || verb::is_ancestor(Path::new(&folder), &ancestor, &commit))
}

/// Whether a commit is an ancestor of another one, or the same; null where that can't be told.
#[napi(ts_return_type = "Promise<Failure | boolean | null>")]
#[must_use]
pub fn git_is_ancestor(
    folder: String,
    ancestor: String,
    commit: String,
) -> Pending<Option<bool>, Option<bool>> {
    Job::task(move || verb::is_ancestor(Path::new(&folder), &ancestor, &commit))
}

fn add_work(folder: String, to: String, branch: String) -> impl FnOnce() -> Result<String> + Send {
    move || {
        let added = verb::add_worktree(Path::new(&folder), Path::new(&to), &branch)?;
        Ok(path(&added))
    }
}

/// Adds a worktree of a branch at a path where nothing is; gives its folder.
#[napi(ts_return_type = "Failure | string")]
#[must_use]
pub fn git_add_worktree_sync(folder: String, path: String, branch: String) -> Reply<String> {
    now(add_work(folder, path, branch))
}

/// Adds a worktree of a branch at a path where nothing is; gives its folder.
#[napi(ts_return_type = "Promise<Failure | string>")]
#[must_use]
pub fn git_add_worktree(folder: String, path: String, branch: String) -> Pending<String, String> {
    Job::task(add_work(folder, path, branch))
}
