//! Many files replaced as one: all of them or none.
//!
//! New contents are staged and synced, then the journal is published. Its appearance is the decision:
//! from then on the change is finished, by this process or by the next operation on the run. If it can't
//! be finished (a file refuses to be replaced, or is not what it was when the change was planned), the
//! journal is renamed, which decides the opposite: from then on the change is undone.
//!
//! A file is replaced by exchanging its name with that of the staged one, and what comes out of it is
//! held against what was expected: so nothing is lost that another program wrote in the last instant.
//! A folder that is missing is staged with all that is in it and given its place by one rename; if there
//! is one by then, what is in it is put there one by one.
//!
//! *Invariants*: before the journal appears nothing has changed; every file is at any moment its old or
//! its new content, whole; only a path that becomes a folder, or was one, is for a moment neither. Whatever
//! a journal names was durable before the journal was. After success everything was read back and held
//! against its hash.
//!
//! *Crash story*: no journal: staged files are leftovers, nothing happened. `restore.journal`: what was
//! not done yet is done; paths that somebody changed since are left out. `restore.undo`: what was done is
//! put back. Both can be repeated, and a journal that reappears after power loss finds nothing left to do.
//! What comes out of a path is put back if it is not what the journal expected, also after a crash: so
//! what another program wrote in the last instant stays. The names in folders are synced before a folder
//! goes that something was moved out of, and before something is moved into one that was just made.
//! `restore.areas` names the folders with staged files from before the first is staged until the last is
//! removed.
//!
//! *Limits*: a program that has a file open while it is replaced goes on in the old one, which nobody
//! finds afterwards. Where two names can't be exchanged at once (FAT, some network shares), a change
//! in the instant between check and rename is not noticed. Folders and their staged files must lie on one
//! file system. The write-ahead rule is that of databases; see the design notes of restic and of
//! `SQLite`.

mod apply;
mod folders;
mod note;
mod stage;

use std::io;
use std::path::{Path, PathBuf};

pub use self::note::Ident;

use self::apply::Work;
use self::note::{Deed, Entry, Journal, Place};
use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::model::object::ObjectId;
use crate::model::progress::Progress;
use crate::store::disk::{Disk, Hold};
use crate::store::folder::Folder;
use crate::store::layout::{RunDir, STAGED};
use crate::store::objects::Content;
use crate::store::publish::{Staged, remove, remove_small, sync_parent};
use crate::store::runner_lock::{self, RunnerLock};

/// What is to be replaced.
#[derive(Debug, Default)]
pub struct Changes {
    /// The folders it lies in, absolute; `None` is the run's own.
    pub areas: Vec<Option<PathBuf>>,
    /// What happens, in this order.
    pub changes: Vec<Change>,
}

/// One path that is replaced.
#[derive(Debug)]
pub struct Change {
    /// The folder, by its place in [`Changes::areas`].
    pub area: usize,
    /// The path in it, names joined by `/`.
    pub path: Vec<u8>,
    /// What happens there.
    pub what: What,
}

/// What happens at a path.
#[derive(Debug)]
pub enum What {
    /// A file or a link goes.
    Delete {
        /// What it is expected to be.
        old: Ident,
    },
    /// A folder goes, if it is empty by then.
    RemoveFolder {
        /// Its permission bits.
        mode: u32,
        /// Whether everything is refused if it is not empty: something else takes its place.
        must: bool,
    },
    /// A folder comes.
    CreateFolder {
        /// Its permission bits.
        mode: u32,
    },
    /// A file or a link comes, in the place of what was there.
    Put {
        /// What is expected to be there; `None` is nothing.
        old: Option<Ident>,
        /// What comes.
        new: New,
    },
    /// Permission bits change.
    SetMode {
        /// What they are expected to be.
        old: u32,
        /// What they become.
        new: u32,
    },
}

/// A file or a link that comes.
#[derive(Debug)]
pub struct New {
    /// What it is.
    pub ident: Ident,
    /// The permission bits of a file; `None` are those of the file it replaces, or the usual ones.
    pub mode: Option<u32>,
    /// When its content changed last, in nanoseconds since 1970; `None` is now.
    pub modified_ns: Option<i64>,
    /// Where a file's content comes from.
    pub source: Source,
}

/// Where a content comes from.
#[derive(Debug)]
pub enum Source {
    /// From here.
    Bytes(Vec<u8>),
    /// From the store.
    Stored(Content),
    /// From nowhere: a link has none.
    Link,
}

impl Change {
    /// The file with these bytes comes to this place of the run's folder.
    #[must_use]
    pub fn of_state(area: usize, path: &[u8], old: Option<Ident>, bytes: Vec<u8>) -> Self {
        Self {
            area,
            path: path.to_vec(),
            what: What::Put {
                old,
                new: New {
                    ident: Ident::File(ObjectId::of(&bytes)),
                    mode: None,
                    modified_ns: None,
                    source: Source::Bytes(bytes),
                },
            },
        }
    }

    /// False if what is to come is there already.
    #[must_use]
    pub fn changes_something(&self) -> bool {
        match &self.what {
            What::Put { old, new } => old.as_ref() != Some(&new.ident),
            What::SetMode { old, new } => old != new,
            _ => true,
        }
    }

    fn entry(&self) -> Entry {
        Entry {
            area: u32::try_from(self.area).unwrap_or(u32::MAX),
            path: self.path.clone(),
            deed: match &self.what {
                What::Delete { old } => Deed::Delete { old: old.clone() },
                What::RemoveFolder { mode, must } => Deed::RemoveFolder {
                    mode: *mode,
                    must: *must,
                },
                What::CreateFolder { mode } => Deed::CreateFolder { mode: *mode },
                What::Put { old, new } => Deed::Put {
                    old: old.clone(),
                    new: new.ident.clone(),
                    mode: new.mode,
                },
                What::SetMode { old, new } => Deed::SetMode {
                    old: *old,
                    new: *new,
                },
            },
        }
    }
}

/// Gives contents that lie in the store.
pub trait Contents: Sync {
    /// Hands out a content piece by piece, held against its hash.
    fn read(&self, content: &Content, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

/// For changes that bring their bytes along.
pub struct NoContents;

impl Contents for NoContents {
    fn read(&self, content: &Content, _: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        Err(Error::ObjectMissing {
            id: content.object,
            path: PathBuf::new(),
        })
    }
}

/// What a change needs.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The disk.
    pub disk: &'a dyn Disk,
    /// The run; the caller holds its lock and the runner's.
    pub run: &'a RunDir,
    /// Whether the caller still wants it; not asked any more once the journal has appeared.
    pub cancel: &'a Cancel,
    /// How far it is.
    pub progress: &'a Progress,
}

/// What a path is now; `None` if nothing is there.
pub fn ident(folder: &dyn Folder, path: &[u8]) -> io::Result<Option<Ident>> {
    apply::ident(folder, path)
}

/// Does all changes, or none.
///
/// Gives [`Error::PlanStale`] if a path is not what it was expected to be, and
/// [`Error::RestoreUnverified`] if what was written reads back as something else; both, like any other
/// error, after everything was put back.
pub fn replace_all(scene: &Scene<'_>, contents: &dyn Contents, changes: &Changes) -> Result<()> {
    let (disk, run) = (scene.disk, scene.run);
    let mut journal = Journal {
        places: changes
            .areas
            .iter()
            .map(|area| area.clone().map_or(Place::Run, Place::Folder))
            .collect(),
        entries: changes.changes.iter().map(Change::entry).collect(),
    };
    folders::join(&mut journal.entries);
    journal.check().map_err(|reason| Error::Internal {
        message: format!("a change is not one that a restore may do: {reason}"),
    })?;
    let text = journal.encode()?;
    let leftovers = Leftovers { scene };
    note_areas(scene, &journal)?;
    let work = Work::open(scene, &journal)?;
    stage::stage(scene, &work, contents, &changes.changes)?;
    scene.cancel.check()?;
    // Where every folder on the way is durable, so is what the journal is about to mention.
    let mut file = Staged::write(disk, run.staged("journal"), &text)?;
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
    std::mem::forget(leftovers);
    if let Err(error) = work.finish().and_then(|()| work.verify()) {
        // Back to the state before. If even that fails, the next operation goes on from here.
        decide_to_undo(disk, run)?;
        work.undo()?;
        let _ = clear(scene, &journal);
        return Err(match error {
            // What was visible is visible no more.
            Error::NotDurable { path, source } => Error::io("sync", &path, source),
            error => error,
        });
    }
    // All is new and durable; a journal that stays finds nothing left to do.
    let _ = clear(scene, &journal);
    Ok(())
}

/// Staged files that nobody needs when the change does not come about.
struct Leftovers<'a> {
    scene: &'a Scene<'a>,
}

impl Drop for Leftovers<'_> {
    fn drop(&mut self) {
        let _ = sweep(self.scene.disk, self.scene.run);
    }
}

/// Where files are staged, in the run's folder.
fn staging_in_run() -> Vec<u8> {
    format!("checkpoints/.waymark/{STAGED}restore").into_bytes()
}

/// Where files are staged, in another folder: no two runs have the same.
fn staging_elsewhere(run: &RunDir) -> Vec<u8> {
    let id = ObjectId::of(run.path().as_os_str().as_encoded_bytes()).to_string();
    format!(".waymark/journal/{}", &id[..16]).into_bytes()
}

fn staging(run: &RunDir, place: &Place) -> Vec<u8> {
    match place {
        Place::Run => staging_in_run(),
        Place::Folder(_) => staging_elsewhere(run),
    }
}

/// Notes where files are about to be staged, so that they are found if this process is killed.
fn note_areas(scene: &Scene<'_>, journal: &Journal) -> Result<()> {
    let places = Journal {
        places: journal.places.clone(),
        entries: Vec::new(),
    };
    if places.places.iter().all(|place| *place == Place::Run) {
        return Ok(());
    }
    let (disk, run) = (scene.disk, scene.run);
    let staged = Staged::write(disk, run.staged("areas"), &places.encode()?)?;
    staged.publish_over(&run.areas())
}

/// What recovery found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing was under way.
    Nothing,
    /// An unfinished restore was finished.
    Finished,
    /// An unfinished restore could not be finished, or was not to be, and was undone.
    Undone,
}

/// What becomes of an unfinished restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unfinished {
    /// It is finished, if it can be.
    #[default]
    Finish,
    /// It is undone.
    Undo,
}

/// Finishes or undoes what a killed restore left behind, and removes leftovers. The caller holds
/// the run's lock; the runner's is taken here if its files are about to change.
pub fn recover(
    disk: &dyn Disk,
    run: &RunDir,
    unfinished: Unfinished,
    now_ms: i64,
    cancel: &Cancel,
) -> Result<Recovered> {
    let undoing = Journal::read(disk, &run.undo())?;
    let pending = match &undoing {
        Some(_) => undoing,
        None => Journal::read(disk, &run.journal())?,
    };
    let Some(journal) = pending else {
        runner_lock::remove_dead(disk, run)?;
        sweep(disk, run)?;
        return Ok(Recovered::Nothing);
    };
    let _lock = RunnerLock::acquire(disk, run, now_ms, cancel)?;
    let progress = Progress::default();
    let scene = Scene {
        disk,
        run,
        cancel,
        progress: &progress,
    };
    // What is visible may not be durable yet, and is about to be acted upon.
    disk.sync_dir(&run.private())
        .context("sync", &run.private())?;
    let undo_decided = exists(disk, &run.undo())?;
    let work = Work::reopen(&scene, &journal)?;
    let recovered =
        if !undo_decided && unfinished == Unfinished::Finish && work.staged_are_whole()? {
            work.finish()?;
            Recovered::Finished
        } else {
            if !undo_decided {
                decide_to_undo(disk, run)?;
            }
            work.undo()?;
            Recovered::Undone
        };
    clear(&scene, &journal)?;
    sweep(disk, run)?;
    Ok(recovered)
}

/// Throws a journal away that can't be read; the caller is about to replace what it named.
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

/// From here on the change is undone, whoever goes on with it.
fn decide_to_undo(disk: &dyn Disk, run: &RunDir) -> Result<()> {
    disk.rename(&run.journal(), &run.undo())
        .context("undo", &run.journal())?;
    sync_parent(disk, &run.undo())
}

/// Removes the journal first, so that nothing it names is used again, then the rest.
fn clear(scene: &Scene<'_>, journal: &Journal) -> Result<()> {
    let (disk, run) = (scene.disk, scene.run);
    remove_small(disk, &run.journal())?;
    remove_small(disk, &run.undo())?;
    sync_parent(disk, &run.journal())?;
    // Leftovers from here on; the next operation would remove them.
    let _ = sweep_areas(disk, run, &journal.places);
    Ok(())
}

/// Removes what killed operations staged. Whoever holds the run's lock owns all of it.
fn sweep(disk: &dyn Disk, run: &RunDir) -> Result<()> {
    let private = run.private();
    let mut entries = disk.list(&private).context("read", &private)?;
    entries.retain(|entry| entry.name.to_string_lossy().starts_with(STAGED));
    let noted = Journal::read(disk, &run.areas());
    if entries.is_empty() && matches!(noted, Ok(None)) {
        return Ok(());
    }
    // That there is no journal must be durable: what it would name is removed.
    disk.sync_dir(&private).context("sync", &private)?;
    if let Ok(Some(noted)) = noted {
        sweep_areas(disk, run, &noted.places)?;
    }
    remove(disk, &run.areas())?;
    for entry in entries {
        let path = private.join(&entry.name);
        if entry.kind == crate::store::disk::EntryKind::Directory {
            let folder = disk.open_folder(&private).context("read", &private)?;
            let name = entry.name.as_encoded_bytes();
            remove_tree(disk, folder.as_ref(), name).context("remove", &path)?;
        } else {
            remove(disk, &path)?;
        }
    }
    Ok(())
}

fn sweep_areas(disk: &dyn Disk, run: &RunDir, places: &[Place]) -> Result<()> {
    let mut elsewhere = false;
    for place in places {
        let path = match place {
            Place::Run => run.path(),
            Place::Folder(path) => {
                elsewhere = true;
                path
            }
        };
        let folder = match disk.open_folder(path) {
            Ok(folder) => folder,
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(Error::io("read", path, error)),
        };
        let staging = staging(run, place);
        remove_tree(disk, folder.as_ref(), &staging).context("remove", path)?;
        if *place != Place::Run {
            // Staged files that come back after power loss, when nothing names this folder any more,
            // would never be found.
            match folder.sync_dir(b".waymark/journal") {
                Err(error) if !gone(&error) => return Err(Error::io("sync", path, error)),
                _ => {}
            }
            // Folders that were only made for it; others are not empty.
            for way in [&b".waymark/journal"[..], b".waymark"] {
                let _ = folder.remove_dir(way);
            }
        }
    }
    if elsewhere {
        remove(disk, &run.areas())?;
    }
    Ok(())
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Removes a folder with all that is in it; no link is followed.
fn remove_tree(disk: &dyn Disk, folder: &dyn Folder, path: &[u8]) -> io::Result<()> {
    let mut held = Vec::new();
    let removed = remove_below(folder, path, &mut held);
    disk.later(held);
    removed
}

/// So many of its files and folders are held, for their space to be freed when nobody waits.
const HELD_MAX: usize = 8;

fn remove_below(folder: &dyn Folder, path: &[u8], held: &mut Vec<Box<dyn Hold>>) -> io::Result<()> {
    let names = match folder.list(path) {
        Err(error) if gone(&error) => return Ok(()),
        names => names?,
    };
    let take = |path: &[u8], held: &mut Vec<Box<dyn Hold>>| {
        if held.len() < HELD_MAX {
            held.extend(folder.hold(path));
        }
    };
    for (name, kind) in names {
        let inside = [path, b"/", &name].concat();
        if kind == crate::store::disk::EntryKind::Directory {
            remove_below(folder, &inside, held)?;
        } else {
            take(&inside, held);
            match folder.remove_file(&inside) {
                Err(error) if !gone(&error) => return Err(error),
                _ => {}
            }
        }
    }
    take(path, held);
    match folder.remove_dir(path) {
        Err(error) if !gone(&error) => Err(error),
        _ => Ok(()),
    }
}
