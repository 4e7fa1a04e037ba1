//! What git says of a folder, without the git program.
//!
//! *Invariants*: nothing is written but by [`add_worktree`]. Repositories are found as git finds them, upwards from
//! the folder, and taken as they are configured by files; the environment (`GIT_DIR` and the like, set by a hook
//! around this process) does not count.
//!
//! *Crash story*: a worktree that was being added leaves its folder and its entry in the repository, which a
//! later call with the same path clears.
//!
//! *Limits*: an answer that takes too long is cut off and says so. Filters that the repository's owner configured
//! are run as git would run them. Repositories that name their objects by SHA-256, or keep references in
//! tables, can't be read.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use gix::ObjectId;
use gix::bstr::{BString, ByteSlice};

use crate::error::{Error, Result};

/// How many commits are walked to tell how a history went.
const COMMITS_MAX: usize = 100_000;
/// How many dirty paths are counted; past it the count is a lower bound.
const COUNT_MAX: usize = 100_000;
/// How many threads look at files.
const THREADS: usize = 4;

/// How much of an answer is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// So many dirty paths are listed.
    pub limit: usize,
    /// So long may looking for them, and along the history, take.
    pub time: Duration,
    /// A commit, as hex digits: how the history went from there.
    pub since: Option<String>,
    /// Folders in the worktree, absolute, where nothing is looked for: what changes there is no difference.
    pub without: Vec<PathBuf>,
}

/// Where a repository lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The worktree; `None` in a bare repository.
    pub worktree: Option<PathBuf>,
    /// The repository's folder; of a linked worktree its own.
    pub git_dir: PathBuf,
    /// The folder that all worktrees share.
    pub common_dir: PathBuf,
    /// Whether the worktree was added to another one.
    pub linked: bool,
}

/// What is different at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each may be with any other")]
pub struct What {
    /// The index differs from HEAD.
    pub staged: bool,
    /// The file differs from the index.
    pub modified: bool,
    /// The file is gone.
    pub deleted: bool,
    /// Git does not know the file.
    pub untracked: bool,
    /// A merge left it to be settled.
    pub conflict: bool,
    /// A submodule stands at another commit.
    pub submodule: bool,
}

impl What {
    /// What is different, in words.
    #[must_use]
    pub fn words(self) -> String {
        let all = [
            (self.conflict, "conflict"),
            (self.staged, "staged"),
            (self.modified, "modified"),
            (self.deleted, "deleted"),
            (self.untracked, "untracked"),
            (self.submodule, "submodule"),
        ];
        let words: Vec<&str> = all.iter().filter(|one| one.0).map(|one| one.1).collect();
        words.join(" ")
    }
}

/// How a history went from one commit to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// They are the same.
    Same,
    /// The first is an ancestor of the second.
    Forward,
    /// The second is an ancestor of the first.
    Back,
    /// Neither is.
    Diverged,
    /// One of them is not there.
    Missing,
    /// It could not be told: it took too long, or the history is cut off.
    Unknown,
}

impl Moved {
    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Forward => "forward",
            Self::Back => "back",
            Self::Diverged => "diverged",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
        }
    }
}

/// What git says of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Where the repository lies.
    pub place: Place,
    /// The branch; `None` if HEAD is at a commit of its own.
    pub branch: Option<String>,
    /// The commit, as hex digits; `None` before the first one.
    pub head: Option<String>,
    /// Whether HEAD is at no branch.
    pub detached: bool,
    /// What is different, by path; the first of them.
    pub dirty: Vec<(String, What)>,
    /// How many paths are different.
    pub dirty_count: usize,
    /// Whether there may be more: looking took too long, or there were too many.
    pub cut_off: bool,
    /// How the history went from the commit that was asked for.
    pub moved: Option<Moved>,
}

fn failed(path: &Path, error: &(impl std::fmt::Display + ?Sized)) -> Error {
    Error::Git {
        path: path.to_path_buf(),
        reason: error.to_string(),
    }
}

/// Opens as git does, but deaf to the environment: `GIT_WORK_TREE` or `GIT_INDEX_FILE` of an enclosing hook must
/// not steer us.
fn options() -> gix::open::Options {
    use gix::sec::Permission::{Allow, Deny};
    let permissions = gix::open::Permissions {
        env: gix::open::permissions::Environment {
            // For ~/.gitconfig and the user's own ignore rules.
            xdg_config_home: Allow,
            home: Allow,
            git_prefix: Deny,
            objects: Deny,
            http_transport: Deny,
            identity: Deny,
            ssh_prefix: Deny,
            other: Deny,
        },
        config: gix::open::permissions::Config {
            git_binary: false,
            // On Windows finding the system's file runs `git`; elsewhere it is /etc/gitconfig.
            system: cfg!(unix),
            git: true,
            user: true,
            env: false,
            includes: true,
        },
        attributes: gix::open::permissions::Attributes {
            git_binary: false,
            system: cfg!(unix),
            git: true,
        },
    };
    gix::open::Options::default()
        .permissions(permissions)
        .lossy_config(true)
}

fn real(path: &Path) -> PathBuf {
    gix::path::realpath(path).unwrap_or_else(|_| path.to_path_buf())
}

/// The repository that a folder is in; `None` if it is in none.
fn open(path: &Path) -> Result<Option<gix::Repository>> {
    let map = gix::sec::trust::Mapping {
        full: options(),
        reduced: options(),
    };
    let up = gix::discover::upwards::Options::default();
    let repo = match gix::ThreadSafeRepository::discover_opts(path, up, map) {
        Ok(repo) => repo.to_thread_local(),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(failed(path, &error)),
    };
    // The search walks past a `.git` that it cannot follow, of a worktree whose repository is gone, and would
    // answer for the repository around it. Git refuses there.
    let start = real(path);
    let nearest = start
        .ancestors()
        .find(|folder| folder.join(".git").symlink_metadata().is_ok());
    let found = gix::path::realpath(repo.git_dir()).ok();
    if let (Some(nearest), Some(found)) = (nearest, found) {
        let link = nearest.join(".git");
        let leads = gix::path::realpath(&link).is_ok_and(|to| to == found)
            || gix::discover::path::from_gitdir_file(&link)
                .is_ok_and(|to| gix::path::realpath(to).is_ok_and(|to| to == found));
        let inside = start.starts_with(&found) || start.starts_with(repo.common_dir());
        let deeper = nearest.components().count() > found.components().count().saturating_sub(1);
        if !inside && !leads && deeper {
            return Ok(None);
        }
    }
    Ok(Some(repo))
}

/// Sets a flag after a while, unless dropped before.
struct Alarm {
    flag: Arc<AtomicBool>,
    _cancel: mpsc::Sender<()>,
}

impl Alarm {
    fn after(time: Duration) -> Self {
        let flag = Arc::new(AtomicBool::new(time.is_zero()));
        let (cancel, cancelled) = mpsc::channel::<()>();
        let set = Arc::clone(&flag);
        // Without a thread there is no limit.
        let _ = std::thread::Builder::new().spawn(move || {
            if cancelled.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout) {
                set.store(true, Ordering::SeqCst);
            }
        });
        Self {
            flag,
            _cancel: cancel,
        }
    }

    fn rang(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }
}

/// What git says of a folder; `None` if it is in no repository.
pub fn facts(folder: &Path, wanted: &Wanted) -> Result<Option<Facts>> {
    let Some(repo) = open(folder)? else {
        return Ok(None);
    };
    let linked = repo.kind() == gix::repository::Kind::LinkedWorkTree;
    let place = Place {
        worktree: repo.workdir().map(real),
        git_dir: real(repo.git_dir()),
        common_dir: real(repo.common_dir()),
        linked,
    };
    let head = repo.head().map_err(|error| failed(folder, &error))?;
    let commit = head.id().map(gix::Id::detach);
    let since = wanted.since.as_deref().map(commit_of).transpose()?;
    let alarm = Alarm::after(wanted.time);
    let moved = match (since, commit) {
        (Some(since), Some(commit)) => Some(moved(&repo, since, commit, &alarm)),
        (Some(_), None) => Some(Moved::Missing),
        (None, _) => None,
    };
    let dirty = dirty(&repo, wanted, &alarm).map_err(|error| failed(folder, &error))?;
    Ok(Some(Facts {
        place,
        branch: head.referent_name().map(|name| name.shorten().to_string()),
        head: commit.map(|commit| commit.to_string()),
        detached: head.is_detached(),
        dirty_count: dirty.count,
        cut_off: dirty.cut_off,
        dirty: dirty.paths,
        moved,
    }))
}

#[derive(Default)]
struct Dirty {
    paths: Vec<(String, What)>,
    count: usize,
    cut_off: bool,
}

type Items = Box<dyn Iterator<Item = std::result::Result<gix::status::Item, gix::Error>>>;

fn dirty(
    repo: &gix::Repository,
    wanted: &Wanted,
    alarm: &Alarm,
) -> std::result::Result<Dirty, gix::Error> {
    use gix::status::tree_index::TrackRenames;
    use gix::status::{Item, Submodule, UntrackedFiles};
    // Without this a worktree that was removed answers that every file was deleted.
    if !repo.workdir().is_some_and(Path::is_dir) {
        return Ok(Dirty::default());
    }
    let index = repo.index_or_empty()?;
    let head_tree = repo.head_tree_id_or_empty()?.detach();
    let patterns = patterns(repo, &wanted.without);
    // Git keeps the tree that the index stands for beside it: if that is HEAD's, nothing is staged. It saves reading
    // every tree, and is the only way with a sparse index.
    let unstaged_only = index
        .tree()
        .is_some_and(|tree| tree.num_entries.is_some() && tree.id == head_tree);
    let platform = repo
        .status(gix::progress::Discard)?
        .index(gix::worktree::IndexPersistedOrInMemory::Persisted(index))
        // Whatever `status.showUntrackedFiles` says.
        .index_worktree_options_mut(|options| {
            options.thread_limit = Some(THREADS);
            if options.dirwalk_options.is_none() {
                options.dirwalk_options = repo.dirwalk_options().ok();
            }
        })
        .untracked_files(UntrackedFiles::Files)
        .index_worktree_rewrites(None)
        .tree_index_track_renames(TrackRenames::Disabled)
        // Only that a submodule stands at another commit: its files are its own repository's affair.
        .index_worktree_submodules(Submodule::Given {
            ignore: gix::submodule::config::Ignore::Dirty,
            check_dirty: true,
        })
        .should_interrupt_owned(Arc::clone(&alarm.flag));
    let begun = || -> std::result::Result<Items, gix::Error> {
        if unstaged_only {
            let items = platform.into_index_worktree_iter(patterns)?;
            Ok(Box::new(items.map(|item| item.map(Item::IndexWorktree))))
        } else {
            Ok(Box::new(platform.head_tree(head_tree).into_iter(patterns)?))
        }
    };
    let mut items = match begun() {
        Ok(items) => items,
        // It rang before there was anything to tell.
        Err(_) if alarm.rang() => {
            return Ok(Dirty {
                cut_off: true,
                ..Dirty::default()
            });
        }
        Err(error) => return Err(error),
    };
    let mut seen: BTreeMap<BString, What> = BTreeMap::new();
    let mut full = false;
    for item in items.by_ref() {
        let item = match item {
            Ok(item) => item,
            // A walk that was interrupted tells so as an error.
            Err(_) if alarm.rang() => break,
            Err(error) => return Err(error),
        };
        let Some(what) = what_of(&item) else {
            continue;
        };
        let known = seen.entry(item.location().to_owned()).or_default();
        known.staged |= what.staged;
        known.modified |= what.modified;
        known.deleted |= what.deleted;
        known.untracked |= what.untracked;
        known.conflict |= what.conflict;
        known.submodule |= what.submodule;
        if seen.len() >= COUNT_MAX {
            full = true;
            break;
        }
    }
    let cut_off = full || alarm.rang();
    drop(items);
    let count = seen.len();
    let paths = seen.into_iter().take(wanted.limit);
    Ok(Dirty {
        paths: paths
            .map(|(path, what)| (path.to_str_lossy().into_owned(), what))
            .collect(),
        count,
        cut_off,
    })
}

/// What is passed over, as patterns. A folder that holds the whole worktree says nothing of what is in it.
fn patterns(repo: &gix::Repository, without: &[PathBuf]) -> Vec<BString> {
    let Some(workdir) = repo.workdir().map(real) else {
        return Vec::new();
    };
    let inner = without.iter().filter_map(|folder| {
        let folder = real(folder);
        let inner = folder.strip_prefix(&workdir).ok()?;
        if inner.as_os_str().is_empty() {
            return None;
        }
        let mut pattern = BString::from(":(top,exclude,literal)");
        let inner = gix::path::into_bstr(inner).ok()?;
        pattern.extend_from_slice(&gix::path::to_unix_separators_on_windows(inner));
        Some(pattern)
    });
    inner.collect()
}

fn what_of(item: &gix::status::Item) -> Option<What> {
    use gix::status::index_worktree;
    use gix::status::plumbing::index_as_worktree::{Change, EntryStatus};
    let mut what = What::default();
    match item {
        gix::status::Item::TreeIndex(_) => what.staged = true,
        gix::status::Item::IndexWorktree(item) => match item {
            index_worktree::Item::Modification { status, .. } => match status {
                EntryStatus::Conflict { .. } => what.conflict = true,
                EntryStatus::Change(Change::Removed) => what.deleted = true,
                EntryStatus::Change(Change::SubmoduleModification(_)) => what.submodule = true,
                EntryStatus::Change(_) => what.modified = true,
                EntryStatus::NeedsUpdate(_) => return None,
                EntryStatus::IntentToAdd => what.staged = true,
            },
            index_worktree::Item::DirectoryContents { entry, .. } => {
                if entry.status != gix::dir::entry::Status::Untracked {
                    return None;
                }
                what.untracked = true;
            }
            index_worktree::Item::Rewrite { .. } => what.modified = true,
        },
    }
    Some(what)
}

/// A commit's id.
fn commit_of(hex: &str) -> Result<ObjectId> {
    ObjectId::from_hex(hex.as_bytes()).map_err(|_| Error::OptionValue {
        name: "commit",
        reason: format!(
            "{:?} is not the id of a commit, in full",
            crate::model::ids::shorten(hex)
        ),
    })
}

fn must_open(folder: &Path) -> Result<gix::Repository> {
    open(folder)?.ok_or_else(|| failed(folder, "it is in no git repository"))
}

/// The commit of a local branch, as hex digits; `None` if there is no such branch.
pub fn branch(folder: &Path, short: &str) -> Result<Option<String>> {
    let repo = must_open(folder)?;
    let name = gix::refs::Category::LocalBranch.to_full_name(short.as_bytes().as_bstr());
    let Ok(name) = name else {
        return Ok(None);
    };
    let found = repo
        .try_find_reference(name.as_ref())
        .map_err(|error| failed(folder, &error))?;
    match found {
        // Looking for part of a name may lead to another one.
        Some(mut found) if found.name() == name.as_ref() => {
            let id = found.peel_to_id().map_err(|error| failed(folder, &error))?;
            Ok(Some(id.to_string()))
        }
        _ => Ok(None),
    }
}

/// How the history went from one commit to another.
pub fn went(folder: &Path, from: &str, to: &str, time: Duration) -> Result<Moved> {
    let (from, to) = (commit_of(from)?, commit_of(to)?);
    Ok(moved(&must_open(folder)?, from, to, &Alarm::after(time)))
}

const NEW: u8 = 1;
const OLD: u8 = 2;

/// A commit on the way.
struct Node {
    /// From which ends it was reached.
    paint: u8,
    queued: bool,
    time: i64,
    parents: Vec<ObjectId>,
}

/// Paints both histories, the newest first, until every commit that waits is known to both. Leaving early is
/// proof of reachability, so wrong clocks cost time and never the answer.
fn moved(repo: &gix::Repository, old: ObjectId, new: ObjectId, alarm: &Alarm) -> Moved {
    if old == new {
        // It may be known by name alone.
        let there = repo.find_commit(old).is_ok();
        return if there { Moved::Same } else { Moved::Missing };
    }
    let read = |id: ObjectId| -> Option<Node> {
        let commit = repo.find_commit(id).ok()?;
        let time = commit.time().ok()?.seconds;
        Some(Node {
            paint: 0,
            queued: false,
            time,
            parents: commit.parent_ids().map(gix::Id::detach).collect(),
        })
    };
    let mut nodes: HashMap<ObjectId, Node> = HashMap::new();
    let mut queue: BinaryHeap<(i64, ObjectId)> = BinaryHeap::new();
    // How many that wait are not known to both yet.
    let mut open_ends = 0usize;
    let mut cut_off = false;
    for (id, paint) in [(new, NEW), (old, OLD)] {
        let Some(node) = read(id) else {
            return Moved::Missing;
        };
        queue.push((node.time, id));
        let queued = true;
        nodes.insert(
            id,
            Node {
                paint,
                queued,
                ..node
            },
        );
        open_ends += 1;
    }
    while open_ends > 0 {
        let Some((_, id)) = queue.pop() else {
            break;
        };
        let Some(node) = nodes.get_mut(&id) else {
            continue;
        };
        node.queued = false;
        let (paint, parents) = (node.paint, node.parents.clone());
        if paint != NEW | OLD {
            open_ends -= 1;
        }
        if nodes.len() > COMMITS_MAX || alarm.rang() {
            return Moved::Unknown;
        }
        for parent in parents {
            let node = match nodes.entry(parent) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    // A shallow clone ends here.
                    let Some(node) = read(parent) else {
                        cut_off = true;
                        continue;
                    };
                    entry.insert(node)
                }
            };
            let before = node.paint;
            if before | paint == before {
                continue;
            }
            node.paint |= paint;
            if parent == old && node.paint & NEW != 0 {
                return Moved::Forward;
            }
            if parent == new && node.paint & OLD != 0 {
                return Moved::Back;
            }
            if node.queued && before != NEW | OLD {
                open_ends -= 1;
            }
            if node.paint != NEW | OLD {
                open_ends += 1;
            }
            if !node.queued {
                node.queued = true;
                queue.push((node.time, parent));
            }
        }
    }
    if cut_off {
        Moved::Unknown
    } else {
        Moved::Diverged
    }
}

/// Adds a worktree of a branch at a path where nothing is, after clearing what is left of one that was there; gives
/// its folder. What `git worktree add <path> <branch>` does, but for hooks.
pub fn add_worktree(folder: &Path, to: &Path, short: &str, time: Duration) -> Result<PathBuf> {
    use gix::worktree::add::Head;
    use gix::worktree::remove::Force;
    let repo = must_open(folder)?;
    let alarm = Alarm::after(time);
    let name = gix::refs::Category::LocalBranch
        .to_full_name(short.as_bytes().as_bstr())
        .map_err(|error| failed(folder, &error))?;
    // Git writes down where a worktree is without links; the folder itself is gone, what it was in is not.
    let (parent, last) = (to.parent(), to.file_name());
    let plain = parent
        .zip(last)
        .map(|(parent, last)| real(parent).join(last));
    let is_it = |base: &Path| base == to || plain.as_deref() == Some(base);
    for proxy in repo.worktrees().map_err(|error| failed(folder, &error))? {
        if proxy.base().is_ok_and(|base| is_it(&base)) && proxy.is_prunable() {
            proxy
                .remove(Force::DiscardChanges, gix::progress::Discard)
                .map_err(|error| failed(to, &error))?;
        }
    }
    let (new, _) = repo
        .add_worktree(
            to,
            Head::Attached(name),
            gix::progress::Discard,
            &alarm.flag,
        )
        .map_err(|error| failed(to, &error))?;
    Ok(new.workdir().map_or_else(|| to.to_path_buf(), real))
}
