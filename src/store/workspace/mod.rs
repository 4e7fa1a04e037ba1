//! Captures folders of the user's into snapshots, and lays captured files out in new ones.
//!
//! This folder promises that a snapshot holds what the rules allow, all of it, or says what is
//! missing and why; that nothing outside the root is reached, whatever links lie inside; and that
//! what has not changed since the last capture is not read again.
//!
//! - [`rules`]: which names are captured, and which files are secrets
//! - `walk`: the folders, by several threads
//! - `read`: one file into chunks
//! - `stat_cache`: what the last capture saw
//! - [`lay_out`]: captured files in a new folder, for exports
//! - `unix`, `portable`: what is asked of the file system
//!
//! *Invariants*: the same files under the same rules give the same tree, whatever the threads do. No
//! content of a withheld file reaches the sink.
//!
//! *Crash story*: capture writes objects and nothing else; a capture that is cut short leaves
//! objects that nobody names. The stat cache is written by [`Captured::remember`], once the caller
//! has made the objects durable: so it never names what is not stored.
//!
//! *Limits*: a capture is not one moment: files that change while it runs are each whole, but of
//! different moments. Hard links become files of their own; owners, extended attributes and the
//! times of folders are not kept.

pub mod lay_out;
mod read;
pub mod rules;
mod stat;
mod stat_cache;
#[cfg(all(test, unix))]
mod tests;
mod walk;

#[cfg(not(unix))]
mod portable;
#[cfg(not(unix))]
use portable as system;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;

use std::path::{Path, PathBuf};

pub use self::rules::{Rules, Select};

use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::model::object::ObjectId;
use crate::model::progress::{Phase, Progress};
use crate::model::snapshot::SkipReason;
use crate::store::objects::Sink;

/// A folder to capture.
#[derive(Debug, Clone, Copy)]
pub struct Root<'a> {
    /// Its absolute path; the folder itself must not be a link.
    pub path: &'a Path,
    /// What of it is asked for.
    pub select: Select<'a>,
    /// The file with what the last capture of this folder saw.
    pub cache: Option<CacheFile<'a>>,
}

/// A file with what the last capture saw.
#[derive(Debug, Clone, Copy)]
pub struct CacheFile<'a> {
    /// Its path, in a folder that exists. `<path>.new` is used as well.
    pub path: &'a Path,
    /// Which removals from the store it knows of: after objects were removed, another number must
    /// be passed, and the file counts as empty. What it names is not put into the sink again.
    pub generation: u64,
    /// Whether what is seen is noted, for [`Captured::remember`]; else nothing is written.
    pub note: bool,
}

/// What was captured.
#[derive(Debug)]
pub struct Captured {
    /// The folder; `None` if there was nothing at all that was asked for.
    pub tree: Option<ObjectId>,
    /// The permission bits of the folder itself.
    pub mode: u32,
    /// The files in the snapshot, those withheld among them.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// The files that had to be read.
    pub read_files: u64,
    /// Their size in bytes.
    pub read_bytes: u64,
    /// The secrets whose content is not in the snapshot.
    pub withheld: u64,
    /// What could not be captured, by path.
    pub problems: Vec<Problem>,
    /// The paths that were asked for and are not there, or never captured.
    pub missing: Vec<PathBuf>,
    note: Option<Note>,
}

/// Something that could not be captured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is, from the root, with `/` between the names.
    pub path: Vec<u8>,
    /// Why it could not be captured.
    pub reason: SkipReason,
    /// Its size in bytes, as far as known.
    pub size: u64,
}

/// A stat cache that waits to be written.
#[derive(Debug)]
struct Note {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Captured {
    /// Writes down what was seen, so that the next capture need not read it again. To be called
    /// once the objects are durable; does nothing when nothing changed. A failure only makes the
    /// next capture slower.
    pub fn remember(&mut self) -> Result<()> {
        match self.note.take() {
            Some(note) => stat_cache::write(&note.path, &note.bytes).context("write", &note.path),
            None => Ok(()),
        }
    }
}

/// Captures a folder into a sink. Whatever can't be captured is told in the result; only a root that
/// can't be read, the sink and the caller's wish to stop make it fail.
pub fn capture(
    root: &Root<'_>,
    rules: &Rules,
    sink: &dyn Sink,
    progress: &Progress,
    cancel: &Cancel,
) -> Result<Captured> {
    cancel.check()?;
    progress.enter(Phase::Scanning);
    // Before anything is looked at: what changes from now on is not trusted.
    let clock = root
        .cache
        .filter(|cache| cache.note)
        .and_then(|cache| stat_cache::Clock::ask(cache.path).ok());
    let compiled = rules::Compiled::new(rules, root.path, root.select)?;
    let known = root
        .cache
        .and_then(|cache| stat_cache::Cache::read(cache.path, root.path, cache.generation));
    let walk = walk::Walk {
        root: root.path,
        rules: &compiled,
        known: known.as_ref(),
        clock,
        generation: root.cache.map_or(0, |cache| cache.generation),
        sink,
        progress,
        cancel,
    };
    let mut found = walk.run()?;
    cancel.check()?;
    found.problems.sort_unstable();
    let note = match (root.cache, found.cache) {
        (Some(cache), Some(bytes)) => Some(Note {
            path: cache.path.to_path_buf(),
            bytes,
        }),
        _ => None,
    };
    let missing = match root.select {
        Select::All => Vec::new(),
        Select::Paths(paths) => paths
            .iter()
            .zip(&found.ends)
            .filter(|(_, seen)| !**seen)
            .map(|(path, _)| path.clone())
            .collect(),
    };
    Ok(Captured {
        tree: found.tree,
        mode: found.mode,
        files: found.counts.files,
        bytes: found.counts.bytes,
        read_files: found.counts.read_files,
        read_bytes: found.counts.read_bytes,
        withheld: found.counts.withheld,
        problems: found.problems,
        missing,
        note,
    })
}

/// Reads a regular file of a captured folder, by its path from there; `None` if there is none, if it
/// has more than `limit` bytes, or if it can't be read. No link on the way is followed.
#[must_use]
pub fn read_file(root: &Path, path: &[u8], limit: u64) -> Option<Vec<u8>> {
    walk::read_small(&system::Dir::open_root(root).ok()?, path, limit)
}

/// Forgets what was seen: the next capture with this cache reads everything.
pub fn forget(cache: &Path) -> Result<()> {
    stat_cache::remove(cache).map_err(|error| Error::io("remove", cache, error))
}
