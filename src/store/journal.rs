//! Several files replaced as one: all of them or none.
//!
//! New contents are staged and synced, the old files get a second name, then the journal is
//! published. Its appearance is the decision: from then on the change is finished, by this process
//! or by the next operation on the run. If it can't be finished (a file refuses to be replaced), the
//! journal is renamed, which decides the opposite: from then on the change is undone.
//!
//! *Invariants*: before the journal appears nothing has changed; every target is at any moment its
//! old or its new content, whole; a journal names only files that a restore may write; whatever a
//! journal names was durable before the journal was.
//!
//! *Crash story*: no journal: staged files are leftovers, nothing happened. `restore.journal`: staged
//! files that still lie there are renamed over their targets; those that are missing were renamed
//! before, and files that somebody replaced since are left out. `restore.undo`: what was replaced is put back from its second name. Both can be repeated,
//! and a journal that reappears after power loss finds nothing left to do.
//!
//! *Limits*: the journal protects against crashes, not against a runner that writes the same files
//! without its lock. The write-ahead rule is that of databases; see the design notes of restic and
//! of `SQLite`.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::model::manifest::is_run_file;
use crate::store::disk::Disk;
use crate::store::layout::{RunDir, STAGED};
use crate::store::publish::{Staged, remove, sync_parent};
use crate::store::runner_lock::{self, RunnerLock};

const FORMAT: u32 = 1;
const JOURNAL_MAX: u64 = 16 << 20;
/// A run file is at most as large as a manifest.
const CONTENT_MAX: u64 = 1 << 30;

/// A file that a restore may replace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `run.json`.
    RunRecord,
    /// `artifact-registry.json`.
    Registry,
    /// Another JSON file at the top of the run's folder.
    RunFile(String),
    /// Waymark's own note of which checkpoint was restored last.
    Restored,
}

impl Target {
    fn name(&self) -> &str {
        match self {
            Self::RunRecord => "run.json",
            Self::Registry => "artifact-registry.json",
            Self::RunFile(name) => name,
            Self::Restored => ".waymark/restored",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        match name {
            "run.json" => Some(Self::RunRecord),
            "artifact-registry.json" => Some(Self::Registry),
            ".waymark/restored" => Some(Self::Restored),
            name => is_run_file(name).then(|| Self::RunFile(name.to_owned())),
        }
    }

    fn path(&self, run: &RunDir) -> PathBuf {
        match self {
            Self::RunRecord => run.run_record(),
            Self::Registry => run.registry(),
            Self::RunFile(name) => run.path().join(name),
            Self::Restored => run.restored(),
        }
    }
}

/// The journal as it lies on the disk.
#[derive(Debug, Serialize, Deserialize)]
struct Journal {
    format: u32,
    /// BLAKE3 over the entries' JSON.
    sum: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    target: String,
    /// The staged file's name in Waymark's own folder.
    staged: String,
    /// BLAKE3 of the new content.
    hash: String,
    /// The old file's second name; `None` if there was no file.
    backup: Option<String>,
}

fn sum_of(entries: &[Entry]) -> String {
    let text = serde_json::to_vec(entries).unwrap_or_default();
    blake3::hash(&text).to_hex().to_string()
}

/// Replaces all targets by their new contents, or none.
///
/// `token` makes the names of this change differ from those of any other.
pub fn replace_all(
    disk: &dyn Disk,
    run: &RunDir,
    token: &str,
    changes: &[(Target, Vec<u8>)],
) -> Result<()> {
    let mut staged = Vec::with_capacity(changes.len());
    let mut entries = Vec::with_capacity(changes.len());
    let mut backups = Leftovers {
        disk,
        paths: Vec::new(),
    };
    for (at, (target, content)) in changes.iter().enumerate() {
        let file = Staged::write(disk, run.staged(&format!("{token}-{at}")), content)?;
        let target_path = target.path(run);
        let backup = run.staged(&format!("{token}-{at}-old"));
        let backup = match disk.metadata(&target_path) {
            Ok(_) => {
                disk.link(&target_path, &backup)
                    .context("keep a copy of", &target_path)?;
                backups.paths.push(backup.clone());
                Some(name_of(&backup))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("read", &target_path, error)),
        };
        entries.push(Entry {
            target: target.name().to_owned(),
            staged: name_of(file.path()),
            hash: blake3::hash(content).to_hex().to_string(),
            backup,
        });
        staged.push(file);
    }
    let journal = Journal {
        format: FORMAT,
        sum: sum_of(&entries),
        entries,
    };
    let text = serde_json::to_vec_pretty(&journal).map_err(|error| Error::Internal {
        message: error.to_string(),
    })?;
    // The names the journal is about to mention are durable before it is: to recovery a missing
    // staged file means that it was renamed already.
    disk.sync_dir(&run.private())
        .context("sync", &run.private())?;
    let mut file = Staged::write(disk, run.staged(&format!("{token}-journal")), &text)?;
    match file.publish_new(&run.journal()) {
        Ok(true) => {}
        Ok(false) => {
            return Err(Error::Internal {
                message: "a journal was not recovered".to_owned(),
            });
        }
        Err(Error::NotDurable { path, source }) => {
            // Visible, but perhaps not durable, so nothing may follow from it.
            remove(disk, &run.journal())?;
            return Err(Error::io("sync", &path, source));
        }
        Err(error) => return Err(error),
    }
    for file in staged {
        let _ = file.keep();
    }
    backups.paths.clear();
    if let Err(error) = finish(disk, run, &journal.entries) {
        // Back to the state before. If even that fails, the next operation goes on from here.
        decide_to_undo(disk, run)?;
        undo(disk, run, &journal.entries)?;
        let _ = clear(disk, run, &journal.entries);
        return Err(match error {
            // What was visible is visible no more.
            Error::NotDurable { path, source } => Error::io("sync", &path, source),
            error => error,
        });
    }
    // All is new and durable; a journal that stays finds nothing left to do.
    let _ = clear(disk, run, &journal.entries);
    Ok(())
}

/// Second names that nobody needs when the change does not come about.
struct Leftovers<'a> {
    disk: &'a dyn Disk,
    paths: Vec<PathBuf>,
}

impl Drop for Leftovers<'_> {
    fn drop(&mut self) {
        for path in &self.paths {
            let _ = self.disk.remove_file(path);
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// What recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing was under way.
    Nothing,
    /// An unfinished restore was finished.
    Finished,
    /// An unfinished restore could not be finished and was undone.
    Undone,
}

/// Finishes or undoes what a killed restore left behind, and removes leftovers. The caller holds
/// the run's lock; the runner's is taken here if its files are about to change.
pub fn recover(disk: &dyn Disk, run: &RunDir, now_ms: i64, cancel: &Cancel) -> Result<Recovered> {
    let undoing = read(disk, &run.undo())?;
    let pending = match &undoing {
        Some(_) => undoing,
        None => read(disk, &run.journal())?,
    };
    let Some(entries) = pending else {
        runner_lock::remove_dead(disk, run)?;
        sweep(disk, run)?;
        return Ok(Recovered::Nothing);
    };
    let _lock = RunnerLock::acquire(disk, run, now_ms, cancel)?;
    // What is visible may not be durable yet, and is about to be acted upon.
    disk.sync_dir(&run.private())
        .context("sync", &run.private())?;
    let undo_decided = exists(disk, &run.undo())?;
    let recovered = if !undo_decided && staged_are_whole(disk, run, &entries)? {
        keep_newer(disk, run, &entries)?;
        finish(disk, run, &entries)?;
        Recovered::Finished
    } else {
        if !undo_decided {
            decide_to_undo(disk, run)?;
        }
        undo(disk, run, &entries)?;
        Recovered::Undone
    };
    clear(disk, run, &entries)?;
    sweep(disk, run)?;
    Ok(recovered)
}

/// Throws a journal away that can't be read; the caller is about to replace everything it named.
pub fn discard(disk: &dyn Disk, run: &RunDir) -> Result<()> {
    remove(disk, &run.journal())?;
    remove(disk, &run.undo())?;
    sync_parent(disk, &run.journal())?;
    sweep(disk, run)
}

fn exists(disk: &dyn Disk, path: &Path) -> Result<bool> {
    match disk.metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<Entry>>> {
    let bytes = match disk.read(path, JOURNAL_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let damaged = |reason: String| Error::JournalDamaged {
        path: path.to_path_buf(),
        reason,
    };
    let journal: Journal =
        serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if journal.format != FORMAT {
        return Err(damaged(format!(
            "its format {} is not known",
            journal.format
        )));
    }
    if sum_of(&journal.entries) != journal.sum {
        return Err(damaged("its checksum does not hold".to_owned()));
    }
    let ours = |name: &str| name.starts_with(STAGED) && !name.contains(['/', '\\']);
    for entry in &journal.entries {
        if Target::parse(&entry.target).is_none()
            || !ours(&entry.staged)
            || entry.backup.as_deref().is_some_and(|name| !ours(name))
        {
            return Err(damaged(format!("it names {:?}", entry.target)));
        }
    }
    Ok(Some(journal.entries))
}

fn staged_are_whole(disk: &dyn Disk, run: &RunDir, entries: &[Entry]) -> Result<bool> {
    for entry in entries {
        let path = run.private().join(&entry.staged);
        match disk.read(&path, CONTENT_MAX) {
            Ok(bytes) if *blake3::hash(&bytes).to_hex() == *entry.hash => {}
            Ok(_) => return Ok(false),
            // It was renamed over its target already.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", &path, error)),
        }
    }
    Ok(true)
}

fn target_of(run: &RunDir, entry: &Entry) -> PathBuf {
    // Checked when the journal was read or made.
    Target::parse(&entry.target).map_or_else(|| run.restored(), |target| target.path(run))
}

/// Takes those files out of a cut-off restore that somebody replaced since: a runner that was
/// started in between has gone on from what it found, and what it wrote is newer.
fn keep_newer(disk: &dyn Disk, run: &RunDir, entries: &[Entry]) -> Result<()> {
    for entry in entries {
        let (staged, target) = (run.private().join(&entry.staged), target_of(run, entry));
        if !exists(disk, &staged)? {
            continue;
        }
        let untouched = match &entry.backup {
            None => !exists(disk, &target)?,
            Some(backup) => is_same(disk, &target, &run.private().join(backup))?,
        };
        if !untouched {
            remove(disk, &staged)?;
        }
    }
    Ok(())
}

/// True if two names are one file, or hold the same.
fn is_same(disk: &dyn Disk, left: &Path, right: &Path) -> Result<bool> {
    let inode = |path: &Path| match disk.metadata(path) {
        Ok(found) => Ok(Some(found.stamp.inode)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    };
    match (inode(left)?, inode(right)?) {
        (Some(left), Some(right)) if left == right && left != 0 => return Ok(true),
        (Some(_), Some(_)) => {}
        _ => return Ok(false),
    }
    let bytes = |path: &Path| disk.read(path, CONTENT_MAX).context("read", path);
    Ok(bytes(left)? == bytes(right)?)
}

fn finish(disk: &dyn Disk, run: &RunDir, entries: &[Entry]) -> Result<()> {
    for entry in entries {
        let (from, to) = (run.private().join(&entry.staged), target_of(run, entry));
        match disk.rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("publish", &to, error));
            }
            _ => {}
        }
    }
    sync_parent(disk, &run.run_record())?;
    sync_parent(disk, &run.restored())
}

/// From here on the change is undone, whoever goes on with it.
fn decide_to_undo(disk: &dyn Disk, run: &RunDir) -> Result<()> {
    disk.rename(&run.journal(), &run.undo())
        .context("undo", &run.journal())?;
    sync_parent(disk, &run.undo())
}

fn undo(disk: &dyn Disk, run: &RunDir, entries: &[Entry]) -> Result<()> {
    for entry in entries {
        let target = target_of(run, entry);
        let staged = run.private().join(&entry.staged);
        // Only what still is as the journal made it: not undone before, not written since.
        if !holds(disk, &target, entry) {
            continue;
        }
        let (from, to) = match &entry.backup {
            Some(backup) => (run.private().join(backup), target.clone()),
            None if exists(disk, &staged)? => continue,
            None => (target.clone(), staged),
        };
        match disk.rename(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("put back", &target, error));
            }
            _ => {}
        }
    }
    sync_parent(disk, &run.run_record())?;
    sync_parent(disk, &run.restored())
}

/// True if a file is what the journal meant to make of it. One that was written since stays.
fn holds(disk: &dyn Disk, path: &Path, entry: &Entry) -> bool {
    disk.read(path, CONTENT_MAX)
        .is_ok_and(|bytes| *blake3::hash(&bytes).to_hex() == *entry.hash)
}

/// Removes the journal first, so that nothing it names is used again, then the rest.
fn clear(disk: &dyn Disk, run: &RunDir, entries: &[Entry]) -> Result<()> {
    remove(disk, &run.journal())?;
    remove(disk, &run.undo())?;
    sync_parent(disk, &run.journal())?;
    for entry in entries {
        // Leftovers from here on; the next operation would remove them.
        let _ = disk.remove_file(&run.private().join(&entry.staged));
        if let Some(backup) = &entry.backup {
            let _ = disk.remove_file(&run.private().join(backup));
        }
    }
    Ok(())
}

/// Removes what killed operations staged. Whoever holds the run's lock owns all of it.
fn sweep(disk: &dyn Disk, run: &RunDir) -> Result<()> {
    let folder = run.private();
    for entry in disk.list(&folder).context("read", &folder)? {
        if entry.name.to_string_lossy().starts_with(STAGED) {
            remove(disk, &folder.join(&entry.name))?;
        }
    }
    Ok(())
}
