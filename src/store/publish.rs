//! How bytes reach the disk: staged, synced, then given their name.
//!
//! *Invariants*: a name shows either nothing, the old content or the new content, whole. What is
//! published was synced before it got its name, and the folder is synced before success is told.
//!
//! *Crash story*: before the rename a `staged-` file in Waymark's own folder remains, which the
//! next operation that holds the run's lock removes; after it the content is visible. If only the
//! folder's sync fails, the content is visible and its durability unknown: `ERR_NOT_DURABLE`.
//!
//! *Limits*: relies on `rename` within one file system being atomic, as POSIX asks.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::store::disk::{Disk, NewFile};

/// Synced bytes without their final name. Removed when dropped unpublished.
pub struct Staged<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    published: bool,
}

/// A staged file that is still being written. Removed when dropped.
pub struct Staging<'a> {
    file: Box<dyn NewFile>,
    staged: Staged<'a>,
}

impl<'a> Staging<'a> {
    /// Begins a new file at `path`.
    pub fn begin(disk: &'a dyn Disk, path: PathBuf) -> Result<Self> {
        let file = disk.create(&path).context("create", &path)?;
        Ok(Self {
            file,
            staged: Staged {
                disk,
                path,
                published: false,
            },
        })
    }

    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .context("write", &self.staged.path)
    }

    /// Begins to bring the bytes to the disk, without waiting for it.
    pub fn write_back(&mut self) {
        self.file.write_back();
    }

    /// Makes the bytes durable.
    pub fn finish(self) -> Result<Staged<'a>> {
        self.file.finish().context("sync", &self.staged.path)?;
        Ok(self.staged)
    }
}

impl<'a> Staged<'a> {
    /// Writes and syncs a new file at `path`.
    pub fn write(disk: &'a dyn Disk, path: PathBuf, bytes: &[u8]) -> Result<Self> {
        let mut staging = Staging::begin(disk, path)?;
        staging.write(bytes)?;
        staging.finish()
    }

    /// Where the bytes lie until they are published.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the staged file to somebody else, such as a journal.
    #[must_use]
    pub fn keep(mut self) -> PathBuf {
        self.published = true;
        std::mem::take(&mut self.path)
    }

    /// Gives the bytes a new name. `false` if the name is taken; the bytes stay staged then.
    pub fn publish_new(&mut self, target: &Path) -> Result<bool> {
        let named = self.name_new(target)?;
        if named {
            sync_parent(self.disk, target)?;
        }
        Ok(named)
    }

    /// Gives the bytes a new name, as [`Staged::publish_new`] does, but leaves it to the caller to make it durable.
    pub fn name_new(&mut self, target: &Path) -> Result<bool> {
        match self.disk.rename_new(&self.path, target) {
            Ok(()) => self.published = true,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(Error::io("publish", target, error)),
        }
        Ok(true)
    }

    /// Puts the bytes in the place of what is at `target`.
    pub fn publish_over(mut self, target: &Path) -> Result<()> {
        self.disk
            .rename(&self.path, target)
            .context("publish", target)?;
        self.published = true;
        sync_parent(self.disk, target)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.published {
            // A leftover is removed by the next operation; an error here changes nothing.
            let _ = self.disk.remove_file(&self.path);
        }
    }
}

/// Drops the name of a file, or puts another in its place; its space is freed when nobody waits, if it is a small one.
pub fn freeing_later<T>(disk: &dyn Disk, path: &Path, act: impl FnOnce() -> T) -> T {
    let held = disk.hold(path);
    let done = act();
    disk.later(held.into_iter().collect());
    done
}

/// Removes a small file, as [`remove`] does; its space is freed when nobody waits.
pub fn remove_small(disk: &dyn Disk, path: &Path) -> Result<()> {
    freeing_later(disk, path, || remove(disk, path))
}

/// Makes a name durable; the change is visible already.
pub fn sync_parent(disk: &dyn Disk, target: &Path) -> Result<()> {
    let parent = target.parent().unwrap_or(target);
    disk.sync_dir(parent).map_err(|source| Error::NotDurable {
        path: parent.to_path_buf(),
        source,
    })
}

/// Removes a file; one that is gone already is as good.
pub fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}
