//! Does what a journal says, or takes it back.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::folders;
use super::note::{Deed, Entry, Ident, Journal, Place};
use super::stage::{PARALLEL_FROM, SYNC_ALL_FROM, THREADS, in_threads};
use super::{Scene, gone, staging};
use crate::error::{Error, Result};
use crate::model::object::ObjectId;
use crate::model::progress::Phase;
use crate::store::disk::EntryKind;
use crate::store::folder::Folder;

/// How often a place to stage files in is made anew.
const TRIES: usize = 8;
/// How many neighbours a thread reads back one after another.
const SHARE: usize = 8;

/// An open folder in which things are replaced.
pub(super) struct Area {
    pub(super) folder: Box<dyn Folder>,
    /// Its path, for error texts.
    path: PathBuf,
    /// Where new files are staged, and what was replaced is kept, in it.
    pub(super) staging: Vec<u8>,
}

impl Area {
    /// Where the new file or folder of an entry is staged that does not come in another; after an
    /// exchange the old one is there. What is taken back lies there as well.
    fn staged(&self, at: usize) -> Vec<u8> {
        [&self.staging[..], format!("/{at}").as_bytes()].concat()
    }

    /// Where what an entry takes away is kept.
    fn kept(&self, at: usize) -> Vec<u8> {
        [&self.staging[..], format!("/{at}-old").as_bytes()].concat()
    }

    /// Makes the place to stage files in, durably. A folder that another run has just made may not be
    /// durable yet.
    fn make_staging(&self, shared: bool) -> std::result::Result<(), (&[u8], io::Error)> {
        let mut made = Vec::new();
        for at in ends(&self.staging) {
            let way = &self.staging[..at];
            match self.folder.create_dir(way, 0o777 & !0o022) {
                Ok(()) => made.push(way),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if shared {
                        made.push(way);
                    }
                }
                Err(error) => return Err((way, error)),
            }
        }
        for way in made {
            let parent = parent(way);
            self.folder
                .sync_dir(parent)
                .map_err(|error| (parent, error))?;
        }
        Ok(())
    }

    fn shown(&self, path: &[u8]) -> PathBuf {
        self.path.join(String::from_utf8_lossy(path).as_ref())
    }

    /// What an error says, with the path it is about.
    pub(super) fn error(&self, action: &'static str, path: &[u8], error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::NotADirectory
            && let Some(link) = self.link_on_the_way(path)
        {
            return Error::PathSymlink {
                path: self.shown(link),
            };
        }
        Error::io(action, &self.shown(path), error)
    }

    fn link_on_the_way<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut ways = ends.map(|(at, _)| &path[..at]);
        ways.find(|way| {
            let found = self.folder.found(way);
            found.is_ok_and(|found| found.kind == EntryKind::Symlink)
        })
    }

    pub(super) fn stale(&self, path: &[u8], reason: &'static str) -> Error {
        Error::PlanStale {
            path: self.shown(path),
            reason,
        }
    }

    fn ident(&self, path: &[u8]) -> Result<Option<Ident>> {
        ident(self.folder.as_ref(), path).map_err(|error| self.error("read", path, error))
    }
}

/// What a path is now; `None` if nothing is there.
pub(super) fn ident(folder: &dyn Folder, path: &[u8]) -> io::Result<Option<Ident>> {
    match folder.found(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => ident_of(folder, path, found?.kind).map(Some),
    }
}

fn ident_of(folder: &dyn Folder, path: &[u8], kind: EntryKind) -> io::Result<Ident> {
    Ok(match kind {
        EntryKind::File => {
            let mut hasher = blake3::Hasher::new();
            folder.read(path, &mut |piece| {
                hasher.update(piece);
                Ok(())
            })?;
            Ident::File(ObjectId::from_hash(hasher.finalize()))
        }
        EntryKind::Symlink => Ident::Link(folder.read_link(path)?),
        EntryKind::Directory | EntryKind::Other => Ident::Other,
    })
}

/// The folder that was used last: it is opened once for all neighbours.
#[derive(Default)]
pub(super) struct Nearby(Option<(PathBuf, Vec<u8>, Box<dyn Folder>)>);

impl Nearby {
    /// The folder that a path lies in, and the path's last name.
    pub(super) fn of<'p>(
        &mut self,
        area: &Area,
        path: &'p [u8],
    ) -> io::Result<(&dyn Folder, &'p [u8])> {
        let way = parent(path);
        let same = self
            .0
            .take()
            .filter(|(of, open, _)| *of == area.path && open == way);
        let open = match same {
            Some(open) => open,
            None => (area.path.clone(), way.to_vec(), area.folder.folder(way)?),
        };
        let name = path.strip_prefix(way).unwrap_or(path);
        let name = name.strip_prefix(b"/").unwrap_or(name);
        Ok((self.0.insert(open).2.as_ref(), name))
    }
}

/// A journal with its folders open.
pub(super) struct Work<'a> {
    scene: &'a Scene<'a>,
    journal: &'a Journal,
    /// For each entry the one it comes in as a part of the whole.
    inside: Vec<Option<usize>>,
    /// `None` for a folder that is gone since a crash.
    pub(super) areas: Vec<Option<Area>>,
    /// After a crash, what is not as expected was changed by somebody since, and stays.
    after_crash: bool,
}

impl<'a> Work<'a> {
    /// Opens the folders and makes places to stage files in.
    pub(super) fn open(scene: &'a Scene<'a>, journal: &'a Journal) -> Result<Self> {
        let work = Self::opened(scene, journal, false)?;
        for (area, place) in work.areas.iter().zip(&journal.places) {
            let Some(area) = area else {
                continue;
            };
            let shared = *place != Place::Run;
            let mut tries = 0;
            while let Err((way, error)) = area.make_staging(shared) {
                tries += 1;
                // Another run that is done removes what it finds empty.
                if error.kind() != io::ErrorKind::NotFound || !shared || tries == TRIES {
                    return Err(area.error("create", way, error));
                }
            }
        }
        Ok(work)
    }

    /// Opens the folders of a restore that was cut off.
    pub(super) fn reopen(scene: &'a Scene<'a>, journal: &'a Journal) -> Result<Self> {
        Self::opened(scene, journal, true)
    }

    fn opened(scene: &'a Scene<'a>, journal: &'a Journal, after_crash: bool) -> Result<Self> {
        let mut areas = Vec::with_capacity(journal.places.len());
        for place in &journal.places {
            let path = match place {
                Place::Run => scene.run.path().to_path_buf(),
                Place::Folder(path) => path.clone(),
            };
            areas.push(match scene.disk.open_folder(&path) {
                Ok(folder) => Some(Area {
                    folder,
                    path,
                    staging: staging(scene.run, place),
                }),
                Err(error) if after_crash && gone(&error) => None,
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                    return Err(Error::PathNotDirectory { path });
                }
                Err(error) => return Err(Error::io("open", &path, error)),
            });
        }
        Ok(Self {
            scene,
            journal,
            inside: folders::inside(&journal.entries),
            areas,
            after_crash,
        })
    }

    pub(super) fn area(&self, at: usize) -> Result<&Area> {
        let area = self.areas.get(at).and_then(Option::as_ref);
        area.ok_or_else(|| Error::Internal {
            message: "a folder of a restore is not open".to_owned(),
        })
    }

    /// Where what comes with an entry is staged.
    pub(super) fn staged(&self, area: &Area, at: usize) -> Vec<u8> {
        let Some(top) = self.inside[at] else {
            return area.staged(at);
        };
        let path = &self.journal.entries[at].path;
        let rest = &path[self.journal.entries[top].path.len()..];
        [&area.staged(top)[..], rest].concat()
    }

    /// The folders that are staged, by their entries, each after the one it lies in; with their
    /// permission bits.
    pub(super) fn staged_folders(&self) -> impl Iterator<Item = (usize, &Area, u32)> {
        self.entries()
            .filter_map(|(at, entry, area)| match entry.deed {
                Deed::PutFolder { mode } => Some((at, area, mode)),
                Deed::CreateFolder { mode } if self.inside[at].is_some() => Some((at, area, mode)),
                _ => None,
            })
    }

    /// Whether an entry comes in a folder that comes as a whole.
    pub(super) fn is_inside(&self, at: usize) -> bool {
        self.inside[at].is_some()
    }

    /// The entries whose folder is there.
    fn entries(&self) -> impl DoubleEndedIterator<Item = (usize, &'a Entry, &Area)> {
        self.journal
            .entries
            .iter()
            .enumerate()
            .filter_map(|(at, entry)| {
                let area = self.areas.get(entry.area as usize)?.as_ref()?;
                Some((at, entry, area))
            })
    }

    /// Whether everything that is still to be put somewhere lies ready.
    pub(super) fn staged_are_whole(&self) -> Result<bool> {
        for (at, entry, area) in self.entries() {
            let Deed::Put { old, new, .. } = &entry.deed else {
                continue;
            };
            // Nothing: it has its place already. The old one: they were exchanged.
            let lies = area.ident(&self.staged(area, at))?;
            if lies.is_some() && lies.as_ref() != Some(new) && lies != *old {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does whatever is not done yet, and makes it durable.
    pub(super) fn finish(&self) -> Result<()> {
        self.scene.progress.enter(Phase::Writing);
        let is_put = |(_, entry, _): &(usize, &Entry, &Area)| {
            matches!(entry.deed, Deed::Put { .. } | Deed::PutFolder { .. })
        };
        let first_put = self.entries().position(|one| is_put(&one));
        let first_put = first_put.unwrap_or(usize::MAX);
        let mut moved = BTreeSet::new();
        let mut made = BTreeSet::new();
        for (nth, (at, entry, area)) in self.entries().enumerate() {
            let path = &entry.path[..];
            match &entry.deed {
                Deed::Delete { old } if nth < first_put => {
                    self.delete(area, at, path, old)?;
                    moved.insert((entry.area, &area.staging[..]));
                }
                Deed::RemoveFolder { must, .. } => {
                    // Power loss may keep that a folder went and forget what was moved out of it.
                    self.sync_names(&mut moved)?;
                    self.remove_folder(area, path, *must)?;
                }
                // What is put into it needs a folder that can be written.
                Deed::CreateFolder { mode } if !self.is_inside(at) => {
                    self.create_folder(area, path, *mode | 0o700)?;
                    made.insert((entry.area, parent(path)));
                }
                _ => {}
            }
        }
        // A folder whose name is lost takes along what was moved into it.
        self.sync_names(&mut made)?;
        // The folders that could not come as a whole.
        let mut apart = BTreeSet::new();
        for (at, entry, area) in self.entries().skip(first_put) {
            match &entry.deed {
                Deed::Delete { old } => self.delete(area, at, &entry.path, old)?,
                Deed::PutFolder { mode } => {
                    self.put_folder(area, at, &entry.path, *mode, &mut apart)?;
                }
                Deed::Put { old: None, .. }
                    if self.inside[at].is_none_or(|top| apart.contains(&top)) =>
                {
                    self.put_new(area, at, &entry.path)?;
                }
                Deed::Put {
                    old: Some(old),
                    new,
                    ..
                } => self.put_over(area, at, &entry.path, old, new)?,
                _ => {}
            }
        }
        let mut touched = BTreeSet::new();
        // The deepest first: a folder may become one that can't be entered.
        for (_, entry, area) in self.entries().rev() {
            let (old, new) = match &entry.deed {
                Deed::SetMode { old, new } => (*old, *new),
                Deed::CreateFolder { mode } | Deed::PutFolder { mode }
                    if *mode | 0o700 != *mode =>
                {
                    (*mode | 0o700, *mode)
                }
                _ => continue,
            };
            self.set_mode(area, &entry.path, old, new)?;
            if !matches!(entry.deed, Deed::SetMode { .. }) {
                touched.insert((entry.area, &entry.path[..]));
            }
        }
        for (at, entry, _) in self.entries() {
            // What came as a whole was durable before.
            if self.inside[at].is_none_or(|top| apart.contains(&top)) {
                touched.insert((entry.area, parent(&entry.path)));
            }
        }
        self.sync(&touched)
    }

    /// Makes the names in some folders durable, before something else is built on them.
    fn sync_names(&self, folders: &mut BTreeSet<(u32, &[u8])>) -> Result<()> {
        let at_once = folders.len() >= SYNC_ALL_FROM;
        let mut synced = BTreeSet::new();
        for (at, path) in std::mem::take(folders) {
            let area = self.area(at as usize)?;
            if synced.contains(&at) || (at_once && area.folder.sync_all().is_ok()) {
                synced.insert(at);
                continue;
            }
            match area.folder.sync_dir(path) {
                // Removed, or never made after a crash.
                Err(error) if gone(&error) => {}
                done => done.map_err(|error| area.error("sync", path, error))?,
            }
        }
        Ok(())
    }

    fn delete(&self, area: &Area, at: usize, path: &[u8], old: &Ident) -> Result<()> {
        let kept = area.kept(at);
        if self.after_crash {
            match area.ident(&kept)? {
                None if Self::there(area, path)?.as_ref() == Some(old) => {}
                None => return Ok(()),
                Some(kept) if kept == *old => return Ok(()),
                // It was changed in the instant before it was taken away.
                Some(_) => {
                    let back = Self::undo_delete(area, at, path);
                    return back.map_err(|error| area.error("put back", path, error));
                }
            }
        }
        match area.folder.rename_new(path, &kept) {
            Ok(()) => {}
            Err(error) if gone(&error) && self.after_crash => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(area.stale(path, "it is gone"));
            }
            Err(error) => return Err(area.error("remove", path, error)),
        }
        if area.ident(&kept)?.as_ref() == Some(old) {
            return Ok(());
        }
        let back = area.folder.rename_new(&kept, path);
        back.map_err(|error| area.error("put back", path, error))?;
        if self.after_crash {
            return Ok(());
        }
        Err(area.stale(path, "it was changed"))
    }

    fn remove_folder(&self, area: &Area, path: &[u8], must: bool) -> Result<()> {
        match area.folder.remove_dir(path) {
            Ok(()) => Ok(()),
            Err(error) if gone(&error) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                if must && !self.after_crash {
                    return Err(area.stale(path, "there is something in it that stays"));
                }
                Ok(())
            }
            Err(error) => Err(area.error("remove", path, error)),
        }
    }

    fn create_folder(&self, area: &Area, path: &[u8], mode: u32) -> Result<()> {
        match area.folder.create_dir(path, mode) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = area.folder.found(path);
                match found.map_err(|error| area.error("read", path, error))?.kind {
                    EntryKind::Directory => Ok(()),
                    _ if self.after_crash => Ok(()),
                    _ => Err(area.stale(path, "something took its place")),
                }
            }
            Err(error) if self.after_crash && gone(&error) => Ok(()),
            Err(error) => Err(area.error("create", path, error)),
        }
    }

    /// Gives a folder its place with all that is in it. If that can't be, its folders are made, and it
    /// is added to those in which the rest comes one by one.
    fn put_folder(
        &self,
        area: &Area,
        at: usize,
        path: &[u8],
        mode: u32,
        apart: &mut BTreeSet<usize>,
    ) -> Result<()> {
        if !self.put_whole(area, at, path)? {
            self.create_apart(area, at, path, mode)?;
            apart.insert(at);
        }
        Ok(())
    }

    /// Gives a folder its place with all that is in it; false if that has to come one by one.
    fn put_whole(&self, area: &Area, at: usize, path: &[u8]) -> Result<bool> {
        let staged = area.staged(at);
        let error = match area.folder.rename_new(&staged, path) {
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        let there = |path: &[u8]| match area.folder.found(path) {
            Err(error) if gone(&error) => Ok(None),
            found => found
                .map(|found| Some(found.kind))
                .map_err(|error| area.error("read", path, error)),
        };
        match error.kind() {
            // It has its place already, or somebody removed what it lay in.
            _ if self.after_crash && gone(&error) => Ok(true),
            io::ErrorKind::AlreadyExists if self.after_crash && there(&staged)?.is_none() => {
                Ok(true)
            }
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => match there(path)? {
                Some(EntryKind::Directory) => Ok(false),
                _ if self.after_crash => Ok(true),
                _ => Err(area.stale(path, "something took its place")),
            },
            // Some systems don't move a folder while a file in it is open.
            io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => Ok(false),
            _ => Err(area.error("create", path, error)),
        }
    }

    /// Makes the folders of one that can't come as a whole, durably: what is in them is put there next.
    fn create_apart(&self, area: &Area, top: usize, path: &[u8], mode: u32) -> Result<()> {
        let place = self.journal.entries[top].area;
        self.create_folder(area, path, mode | 0o700)?;
        let mut parents = BTreeSet::from([(place, parent(path))]);
        for (at, entry, area) in self.entries() {
            if self.inside[at] == Some(top)
                && let Deed::CreateFolder { mode } = entry.deed
            {
                self.create_folder(area, &entry.path, mode | 0o700)?;
                parents.insert((place, parent(&entry.path)));
            }
        }
        self.sync_names(&mut parents)
    }

    fn put_new(&self, area: &Area, at: usize, path: &[u8]) -> Result<()> {
        match area.folder.rename_new(&self.staged(area, at), path) {
            Ok(()) => Ok(()),
            Err(error) if self.after_crash && gone(&error) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if self.after_crash {
                    return Ok(());
                }
                Err(area.stale(path, "something took its place"))
            }
            Err(error) => Err(area.error("write", path, error)),
        }
    }

    fn put_over(
        &self,
        area: &Area,
        at: usize,
        path: &[u8],
        old: &Ident,
        new: &Ident,
    ) -> Result<()> {
        let staged = area.staged(at);
        if self.after_crash {
            let there = Self::there(area, path)?;
            if there.as_ref() != Some(old) || area.ident(&staged)?.as_ref() != Some(new) {
                return Ok(());
            }
        }
        match area.folder.exchange(path, &staged) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                return self.put_by_link(area, at, path, old);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(area.stale(path, "it is gone"));
            }
            Err(error) => return Err(area.error("write", path, error)),
        }
        if area.ident(&staged)?.as_ref() == Some(old) {
            return Ok(());
        }
        let back = area.folder.exchange(path, &staged);
        back.map_err(|error| area.error("put back", path, error))?;
        if self.after_crash {
            return Ok(());
        }
        Err(area.stale(path, "it was changed"))
    }

    /// What is there after a crash, when folders on the way may be gone.
    fn there(area: &Area, path: &[u8]) -> Result<Option<Ident>> {
        match ident(area.folder.as_ref(), path) {
            Err(error) if gone(&error) => Ok(None),
            there => there.map_err(|error| area.error("read", path, error)),
        }
    }

    /// Where two names can't be exchanged: the old file gets a second name first.
    fn put_by_link(&self, area: &Area, at: usize, path: &[u8], old: &Ident) -> Result<()> {
        if area.ident(path)?.as_ref() != Some(old) {
            return Err(area.stale(path, "it was changed"));
        }
        let kept = area.kept(at);
        let error = |error| area.error("keep a copy of", path, error);
        match area.folder.link(path, &kept) {
            // Linked before a crash.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => linked.map_err(error)?,
        }
        // The copy is durable before the only other name of the old file goes.
        let synced = area.folder.sync_dir(&area.staging);
        synced.map_err(|error| area.error("sync", &area.staging, error))?;
        let renamed = area.folder.rename(&area.staged(at), path);
        renamed.map_err(|error| area.error("write", path, error))?;
        // Written into meanwhile, or replaced before it got its second name.
        if area.ident(&kept)?.as_ref() == Some(old) || self.after_crash {
            return Ok(());
        }
        Err(area.stale(path, "it was changed"))
    }

    fn set_mode(&self, area: &Area, path: &[u8], old: u32, new: u32) -> Result<()> {
        let found = match area.folder.found(path) {
            Err(error) if self.after_crash && gone(&error) => return Ok(()),
            found => found.map_err(|error| area.error("read", path, error))?,
        };
        if found.mode == new || (self.after_crash && found.mode != old) {
            return Ok(());
        }
        if found.mode != old {
            return Err(area.stale(path, "its permissions were changed"));
        }
        let set = area.folder.set_mode(path, new);
        set.map_err(|error| area.error("set the permissions of", path, error))
    }

    /// Reads everything back that was put somewhere.
    pub(super) fn verify(&self) -> Result<()> {
        self.scene.progress.enter(Phase::Verifying);
        let put: Vec<_> = self
            .entries()
            .filter(|(_, entry, _)| matches!(entry.deed, Deed::Put { .. }))
            .collect();
        let check = |entry: &Entry, area: &Area, nearby: &mut Nearby| -> Result<()> {
            let Deed::Put { new, mode, .. } = &entry.deed else {
                return Ok(());
            };
            let found = nearby.of(area, &entry.path).and_then(|(folder, name)| {
                let found = folder.found(name)?;
                Ok((found.mode, ident_of(folder, name, found.kind)?))
            });
            let (bits, ident) = found.map_err(|error| area.error("read", &entry.path, error))?;
            let same_bits = cfg!(not(unix)) || mode.is_none_or(|mode| mode == bits);
            let is_link = matches!(new, Ident::Link(_));
            if ident == *new && (same_bits || is_link) {
                return Ok(());
            }
            Err(Error::RestoreUnverified {
                path: area.shown(&entry.path),
            })
        };
        let threads = if put.len() >= PARALLEL_FROM && self.scene.disk.is_real() {
            std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS))
        } else {
            1
        };
        let next = std::sync::atomic::AtomicUsize::new(0);
        in_threads(threads, &|| {
            let mut nearby = Nearby::default();
            loop {
                let from = next.fetch_add(SHARE, std::sync::atomic::Ordering::Relaxed);
                let share = put.iter().skip(from).take(SHARE);
                if share.len() == 0 {
                    return Ok(());
                }
                for (_, entry, area) in share {
                    check(entry, area, &mut nearby)?;
                }
            }
        })
    }

    /// Takes back whatever was done, the last first, and makes that durable.
    pub(super) fn undo(&self) -> Result<()> {
        // Folders must be writable before anything in them can be put back.
        for (_, entry, area) in self.entries() {
            let (from, to) = match &entry.deed {
                Deed::SetMode { old, new } => (*new, *old),
                Deed::CreateFolder { mode } | Deed::PutFolder { mode } => (*mode, *mode | 0o700),
                _ => continue,
            };
            let found = area.folder.found(&entry.path);
            if from != to && found.is_ok_and(|found| found.mode == from) {
                let set = area.folder.set_mode(&entry.path, to);
                set.map_err(|error| area.error("put back the permissions of", &entry.path, error))?;
            }
        }
        let mut made = BTreeSet::new();
        for (at, entry, area) in self.entries().rev() {
            let path = &entry.path[..];
            let undone = match &entry.deed {
                Deed::Delete { .. } => {
                    // A folder whose name is lost takes along what was moved into it.
                    self.sync_names(&mut made)?;
                    Self::undo_delete(area, at, path)
                }
                Deed::RemoveFolder { mode, .. } => match area.folder.create_dir(path, *mode) {
                    Ok(()) => {
                        made.insert((entry.area, parent(path)));
                        Ok(())
                    }
                    // One that was made before a crash may not be durable.
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                        made.insert((entry.area, parent(path)));
                        Ok(())
                    }
                    // Somebody else removed what it lay in.
                    Err(error) if gone(&error) => Ok(()),
                    made => made,
                },
                Deed::CreateFolder { .. } | Deed::PutFolder { .. } => {
                    match area.folder.remove_dir(path) {
                        // Somebody else put something into it.
                        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
                        Err(error) if gone(&error) => Ok(()),
                        removed => removed,
                    }
                }
                Deed::Put { old, new, .. } => self.undo_put(area, at, path, old.as_ref(), new),
                Deed::SetMode { .. } => Ok(()),
            };
            undone.map_err(|error| area.error("put back", path, error))?;
        }
        let entries = self.entries();
        let touched = entries.map(|(_, entry, _)| (entry.area, parent(&entry.path)));
        self.sync(&touched.collect())
    }

    fn undo_delete(area: &Area, at: usize, path: &[u8]) -> io::Result<()> {
        match area.folder.rename_new(&area.kept(at), path) {
            // Not taken away, or somebody has put something there since.
            Err(error) if gone(&error) || error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            renamed => renamed,
        }
    }

    fn undo_put(
        &self,
        area: &Area,
        at: usize,
        path: &[u8],
        old: Option<&Ident>,
        new: &Ident,
    ) -> io::Result<()> {
        let folder = area.folder.as_ref();
        let there = match ident(folder, path) {
            Err(error) if gone(&error) => None,
            there => there?,
        };
        // Only what still is as the journal made it: not undone before, not written since.
        if there.as_ref() != Some(new) {
            return Ok(());
        }
        let (staged, kept) = (area.staged(at), area.kept(at));
        if old.is_none() {
            // Still staged: what is there is somebody else's.
            if self.is_inside(at) {
                match folder.found(&self.staged(area, at)) {
                    Err(error) if gone(&error) => {}
                    found => return found.map(|_| ()),
                }
            }
            return match folder.rename_new(path, &staged) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                renamed => renamed,
            };
        }
        // Whatever came out of there goes back, also if it was changed in the last instant.
        if ident(folder, &kept)?.is_some() {
            return folder.rename(&kept, path);
        }
        if ident(folder, &staged)?.is_some_and(|out| out != *new) {
            return folder.exchange(path, &staged);
        }
        Ok(())
    }

    /// Makes the names in some folders durable at the end, and those in the staging places.
    fn sync(&self, touched: &BTreeSet<(u32, &[u8])>) -> Result<()> {
        let not_durable = |area: &Area, path: &[u8], source| Error::NotDurable {
            path: area.shown(path),
            source,
        };
        for (at, area) in self.areas.iter().enumerate() {
            let folders = touched.iter().filter(|(place, _)| *place as usize == at);
            let folders: Vec<&[u8]> = folders.map(|(_, path)| *path).collect();
            let Some(area) = area.as_ref().filter(|_| !folders.is_empty()) else {
                continue;
            };
            if folders.len() >= SYNC_ALL_FROM {
                match area.folder.sync_all() {
                    Ok(()) => continue,
                    Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                    Err(error) => return Err(not_durable(area, b"", error)),
                }
            }
            for path in folders.into_iter().chain([&area.staging[..]]) {
                match area.folder.sync_dir(path) {
                    // Removed, or left out after a crash.
                    Err(error) if gone(&error) => {}
                    Err(error) => return Err(not_durable(area, path, error)),
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }
}

/// The ends of a path and of every folder on the way to it.
fn ends(path: &[u8]) -> impl Iterator<Item = usize> {
    memchr::memchr_iter(b'/', path).chain([path.len()])
}

fn parent(path: &[u8]) -> &[u8] {
    let at = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    &path[..at]
}
