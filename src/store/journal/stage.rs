//! Writes new contents aside and makes them durable.

use std::io;
use std::ops::Range;
use std::thread;

use super::apply::{Area, Nearby, Work};
use super::note::Ident;
use super::{Change, Contents, New, Scene, Source, What};
use crate::error::{Error, Result};
use crate::store::disk::NewFile;

/// From so many files on, everything is synced at once instead of one by one.
pub(super) const SYNC_ALL_FROM: usize = 16;
/// From so many bytes on, a file that is synced with all others sets out for the disk at once.
const WRITE_BACK_FROM: u64 = 1 << 20;
/// From so many files on, a second thread is worth its start.
pub(super) const PARALLEL_FROM: usize = 64;
/// How many threads write, or read back.
pub(super) const THREADS: usize = 4;
/// How many changes a thread takes at once, at most, ...
const SHARE: usize = 64;
/// ... and from how many bytes on no more.
const SHARE_BYTES: u64 = 4 << 20;

/// Stages everything that the changes put somewhere.
pub(super) fn stage(
    scene: &Scene<'_>,
    work: &Work<'_>,
    contents: &dyn Contents,
    changes: &[Change],
) -> Result<()> {
    let files = changes
        .iter()
        .filter(|change| matches!(change.what, What::Put { .. }))
        .count();
    let at_once = files + work.staged_folders().count() >= SYNC_ALL_FROM;
    for (at, area, mode) in work.staged_folders() {
        let staged = work.staged(area, at);
        // What is staged in it needs a folder that can be written.
        let made = area.folder.create_dir(&staged, mode | 0o700);
        made.map_err(|error| taken(area, &staged, &changes[at], error))?;
    }
    let stager = Stager {
        scene,
        work,
        contents,
        sync: !at_once,
    };
    if files >= PARALLEL_FROM && scene.disk.is_real() {
        stager.by_threads(changes)?;
    } else {
        let mut nearby = Nearby::default();
        for (at, change) in changes.iter().enumerate() {
            stager.put(at, change, &mut nearby)?;
        }
    }
    for (place, area) in work.areas.iter().enumerate() {
        let Some(area) = area else {
            continue;
        };
        if at_once && stager.sync_all(place, area, changes)? {
            continue;
        }
        let folders = work.staged_folders();
        for (at, ..) in folders.filter(|(at, ..)| changes[*at].area == place) {
            let path = work.staged(area, at);
            let synced = area.folder.sync_dir(&path);
            synced.map_err(|error| area.error("sync", &path, error))?;
        }
        let staging = area.folder.sync_dir(&area.staging);
        staging.map_err(|error| area.error("sync", &area.staging, error))?;
    }
    Ok(())
}

struct Stager<'a> {
    scene: &'a Scene<'a>,
    work: &'a Work<'a>,
    contents: &'a dyn Contents,
    /// Whether each file is synced by itself.
    sync: bool,
}

impl Stager<'_> {
    fn by_threads(&self, changes: &[Change]) -> Result<()> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let shares = shares(changes);
        let run = || -> Result<()> {
            let mut nearby = Nearby::default();
            loop {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(share) = shares.get(at) else {
                    return Ok(());
                };
                for at in share.clone() {
                    self.put(at, &changes[at], &mut nearby)?;
                }
            }
        };
        let threads = thread::available_parallelism().map_or(1, |count| count.get().min(THREADS));
        in_threads(threads, &run)
    }

    fn put(&self, at: usize, change: &Change, nearby: &mut Nearby) -> Result<()> {
        let What::Put { old, new } = &change.what else {
            return Ok(());
        };
        self.scene.cancel.check()?;
        let area = self.work.area(change.area)?;
        let staged = self.work.staged(area, at);
        let error = |error| {
            if self.work.is_inside(at) {
                taken(area, &staged, change, error)
            } else {
                area.error("create", &staged, error)
            }
        };
        let (folder, name) = nearby.of(area, &staged).map_err(error)?;
        if let Ident::Link(target) = &new.ident {
            return folder.create_link(name, target).map_err(error);
        }
        let mode = match (new.mode, old) {
            (None, Some(_)) => area.folder.found(&change.path).ok().map(|found| found.mode),
            (mode, _) => mode,
        };
        let file = folder.create(name).map_err(error)?;
        self.write(area, &staged, file, new, mode)
    }

    fn write(
        &self,
        area: &Area,
        staged: &[u8],
        mut file: Box<dyn NewFile>,
        new: &New,
        mode: Option<u32>,
    ) -> Result<()> {
        let error = |action| move |error: io::Error| area.error(action, staged, error);
        let mut bytes = 0;
        match &new.source {
            Source::Bytes(all) => {
                file.write_all(all).map_err(error("write"))?;
                bytes = all.len() as u64;
            }
            Source::Stored(content) => {
                self.contents.read(content, &mut |piece| {
                    self.scene.cancel.check()?;
                    bytes += piece.len() as u64;
                    file.write_all(piece).map_err(error("write"))
                })?;
            }
            Source::Link => {
                return Err(Error::Internal {
                    message: "a file without a content".to_owned(),
                });
            }
        }
        self.scene.progress.add(1, bytes);
        if mode.is_some() || new.modified_ns.is_some() {
            file.set(mode, new.modified_ns).map_err(error("write"))?;
        }
        if self.sync {
            file.finish().map_err(error("sync"))?;
        } else if bytes >= WRITE_BACK_FROM {
            file.write_back();
        }
        Ok(())
    }

    /// Makes all that was staged in an area durable at once; false where that can't be asked for, after
    /// doing it one by one.
    fn sync_all(&self, place: usize, area: &Area, changes: &[Change]) -> Result<bool> {
        match area.folder.sync_all() {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                for (at, change) in changes.iter().enumerate() {
                    if change.area == place
                        && let What::Put { new, .. } = &change.what
                        && matches!(new.ident, Ident::File(_))
                    {
                        let path = self.work.staged(area, at);
                        let synced = area.folder.sync_file(&path);
                        synced.map_err(|error| area.error("sync", &path, error))?;
                    }
                }
                Ok(false)
            }
            Err(error) => Err(area.error("sync", &area.staging, error)),
        }
    }
}

/// What a thread takes at once: neighbours, because they lie in the same blocks of the store and in the
/// same folder; few of them if they are large.
fn shares(changes: &[Change]) -> Vec<Range<usize>> {
    let mut shares = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, change) in changes.iter().enumerate() {
        if let What::Put { new, .. } = &change.what {
            bytes += match &new.source {
                Source::Bytes(bytes) => bytes.len() as u64,
                Source::Stored(content) => content.size,
                Source::Link => 0,
            };
        }
        if at + 1 - from == SHARE || bytes >= SHARE_BYTES {
            shares.push(from..at + 1);
            (from, bytes) = (at + 1, 0);
        }
    }
    shares.push(from..changes.len());
    shares
}

/// Why something could not be staged in a folder that comes as a whole: where names that differ in case
/// only are the same, it can be taken.
fn taken(area: &Area, staged: &[u8], change: &Change, error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return area.stale(&change.path, "something took its place");
    }
    area.error("create", staged, error)
}

/// Runs something in several threads, this one among them; gives the first error.
pub(super) fn in_threads(threads: usize, run: &(dyn Fn() -> Result<()> + Sync)) -> Result<()> {
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, run).ok())
            .collect();
        let own = run();
        let mut result = own;
        for other in others {
            let ended = other.join().unwrap_or_else(|_| {
                Err(Error::Internal {
                    message: "a worker thread panicked".to_owned(),
                })
            });
            if result.is_ok() {
                result = ended;
            }
        }
        result
    })
}
