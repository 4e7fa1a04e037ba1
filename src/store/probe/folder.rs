//! The probe's own folder: made beside what is looked at, and always removed.
//!
//! *Invariants*: its name begins with `~`, which no run id does; its owner holds the lock in it; only
//! folders of that name are ever removed, and no link is followed.
//!
//! *Crash story*: a killed probe leaves its folder; its lock died with it, and the next probe removes it.
//!
//! *Limits*: where locks are not kept between machines, two of them can take each other's folder for
//! a leftover; that probe then tells of errors that are not the disk's.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::store::disk::{Disk, EntryKind, LockGuard};
use crate::store::probe::facts::Refusal;
use crate::store::real_disk::RealDisk;

/// No run id begins with this: `~` is no character of an id.
pub const PREFIX: &str = "~waymark-doctor-";
const LOCK: &str = "lock";
/// More probes than this at one time in one process are not asked for.
const MOST: u32 = 1000;

/// A folder of one's own; removed when dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    lock: Option<Box<dyn LockGuard>>,
}

impl Folder {
    /// Makes one below `parent`.
    pub(super) fn create(parent: &Path) -> io::Result<Self> {
        let pid = std::process::id();
        for n in 0..MOST {
            let path = parent.join(format!("{PREFIX}{pid}-{n}"));
            match private_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            match RealDisk.try_lock(&path.join(LOCK), &format!("{{\"pid\":{pid}}}")) {
                Ok(Some(lock)) => {
                    let lock = Some(lock);
                    return Ok(Self { path, lock });
                }
                // Somebody took it for a leftover before it was locked.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // A file system without locks, or a full one: the number of the process must do.
                Err(_) => return Ok(Self { path, lock: None }),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with everything in it.
    pub(super) fn remove(mut self) -> std::result::Result<(), (PathBuf, Refusal)> {
        let path = std::mem::take(&mut self.path);
        remove(&path, self.lock.take()).map_err(|error| (path, error.into()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.path.as_os_str().is_empty() {
            // Nobody is left to tell; the next probe tries again.
            let _ = remove(&self.path, self.lock.take());
        }
    }
}

#[cfg(unix)]
fn private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
fn private_dir(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

fn remove(path: &Path, lock: Option<Box<dyn LockGuard>>) -> io::Result<()> {
    // Windows can't remove an open file.
    #[cfg(windows)]
    let lock = drop(lock);
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    };
    drop(lock);
    removed
}

/// Removes the folders of killed probes below `parent`; gives how many, and those that would not go.
pub(super) fn sweep(parent: &Path) -> (usize, Vec<(PathBuf, Refusal)>) {
    let (mut swept, mut stuck) = (0, Vec::new());
    for entry in RealDisk.list(parent).unwrap_or_default() {
        let Some(name) = entry.name.to_str() else {
            continue;
        };
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let pid = rest.split('-').next().and_then(|pid| pid.parse().ok());
        let (Some(pid), EntryKind::Directory) = (pid, entry.kind) else {
            continue;
        };
        let path = parent.join(name);
        if let Some(lock) = abandoned(&path, pid) {
            match remove(&path, lock) {
                Ok(()) => swept += 1,
                Err(error) => stuck.push((path, error.into())),
            }
        }
    }
    (swept, stuck)
}

/// Whether a folder's owner is gone; gives its lock, if there is one to be had. The lock comes
/// first: process numbers come again, and in containers they are always the same.
#[allow(
    clippy::option_option,
    reason = "none: not abandoned; none in some: abandoned, without a lock"
)]
fn abandoned(path: &Path, pid: u32) -> Option<Option<Box<dyn LockGuard>>> {
    let file = path.join(LOCK);
    if RealDisk.metadata(&file).is_ok() {
        match RealDisk.try_lock(&file, "") {
            Ok(Some(lock)) => return Some(Some(lock)),
            Ok(None) => return None,
            Err(_) => {}
        }
    }
    (RealDisk.process_alive(pid) == Some(false)).then_some(None)
}

#[cfg(all(test, unix))]
#[allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_dropped_folder_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let one = Folder::create(parent.path()).unwrap();
        let two = Folder::create(parent.path()).unwrap();
        fs::create_dir(one.path().join("deep")).unwrap();
        assert_ne!(one.path(), two.path());
        assert_eq!(sweep(parent.path()), (0, vec![]), "both are in use");
        drop(one);
        two.remove().unwrap();
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_are_swept_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        // Ours by number, but nobody holds its lock: a container's process of the same number did.
        let same = format!("{PREFIX}{}-7", std::process::id());
        for (folder, lock) in [
            (format!("{PREFIX}4194300-0"), false),
            (same, true),
            (format!("{PREFIX}x-0"), false),
            (format!("{PREFIX}{}-8", std::process::id()), false),
            ("run".to_owned(), true),
        ] {
            fs::create_dir(at(&folder)).unwrap();
            if lock {
                fs::File::create_new(at(&folder).join(LOCK)).unwrap();
            }
        }
        std::os::unix::fs::symlink(at("run"), at(&format!("{PREFIX}4194301-0"))).unwrap();
        fs::File::create_new(at(&format!("{PREFIX}4194302-0"))).unwrap();
        assert_eq!(sweep(parent.path()), (2, vec![]));
        let left: BTreeSet<String> = fs::read_dir(parent.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected = [
            "run".to_owned(),
            format!("{PREFIX}4194301-0"),
            format!("{PREFIX}4194302-0"),
            format!("{PREFIX}{}-8", std::process::id()),
            format!("{PREFIX}x-0"),
        ];
        assert_eq!(left, BTreeSet::from(expected));
        assert!(at("run").join(LOCK).exists());
    }
}
