//! Lays files out in a new folder, as they were captured.
//!
//! *Invariants*: everything is made anew below a folder of our own, which gets its name in the end; no
//! link is followed on the way, since links are made last and nothing goes through them. A link is only
//! made if it can't lead out of its root.
//!
//! *Crash story*: a kill leaves a folder beside the target whose name ends in
//! `.part-<process>-<number>`; it may be deleted.
//!
//! *Limits*: setuid, setgid and sticky bits are not set. Links are made on Unix only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::error::{Error, IoContext, Result};
use crate::store::archive::beside;
use crate::store::disk::Disk;
use crate::store::publish::sync_parent;
use crate::store::real_disk::RealDisk;

/// Zeros from this length on are left out of a file as a hole, in bytes.
const HOLE_MIN: usize = 64 << 10;

/// So many files are synced one by one; more are cheaper to sync together, where the system can.
const SYNCED_MAX: usize = if cfg!(target_os = "linux") {
    256
} else {
    usize::MAX
};

/// A folder that is being filled. Removed when dropped unpublished.
#[derive(Debug)]
pub struct NewFolder {
    aside: PathBuf,
    target: PathBuf,
    /// Folders with the permission bits that they get in the end.
    modes: Vec<(PathBuf, u32)>,
    links: Vec<(PathBuf, Vec<u8>)>,
    /// All folders, to be synced.
    folders: Vec<PathBuf>,
    files: usize,
    published: bool,
}

/// A file that is being filled.
#[derive(Debug)]
pub struct NewContent {
    file: File,
    len: u64,
    /// Whether it is synced by itself.
    sync: bool,
}

impl NewFolder {
    /// Begins a folder at `target`, where nothing is yet, or an empty folder.
    pub fn begin(target: &Path) -> Result<Self> {
        let taken = || Error::PathExists {
            path: target.to_path_buf(),
            advice: "name a folder that is new or empty",
        };
        match fs::symlink_metadata(target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("read", target, error)),
            Ok(found) => {
                let empty = found.is_dir()
                    && fs::read_dir(target)
                        .context("read", target)?
                        .next()
                        .is_none();
                if !empty {
                    return Err(taken());
                }
            }
        }
        let aside = beside(target);
        fs::create_dir(&aside).context("create", &aside)?;
        Ok(Self {
            aside,
            target: target.to_path_buf(),
            modes: Vec::new(),
            links: Vec::new(),
            folders: Vec::new(),
            files: 0,
            published: false,
        })
    }

    /// Fills a folder that is there already, and is somebody else's to publish and to remove: see
    /// [`NewFolder::finish`].
    #[must_use]
    pub fn within(folder: &Path) -> Self {
        Self {
            aside: folder.to_path_buf(),
            target: folder.to_path_buf(),
            modes: Vec::new(),
            links: Vec::new(),
            folders: Vec::new(),
            files: 0,
            published: true,
        }
    }

    /// The folder while it is being filled.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.aside
    }

    /// Where it will lie.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Makes a folder; its permission bits are set in the end.
    pub fn folder(&mut self, path: &Path, mode: Option<u32>) -> io::Result<()> {
        fs::create_dir(path)?;
        self.folders.push(path.to_path_buf());
        if let Some(mode) = mode {
            self.modes.push((path.to_path_buf(), mode));
        }
        Ok(())
    }

    /// Begins a file.
    pub fn file(&mut self, path: &Path) -> io::Result<NewContent> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        self.files += 1;
        Ok(NewContent {
            file,
            len: 0,
            sync: self.files <= SYNCED_MAX,
        })
    }

    /// Removes a file that could not be filled.
    pub fn take_back(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    /// Makes a file of some bytes.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.aside.join(name);
        let mut write = || {
            let mut content = self.file(&path)?;
            content.write(bytes)?;
            content.finish(None, None)
        };
        write().context("write", &path)
    }

    /// Notes a link, which is made in the end.
    pub fn link(&mut self, path: PathBuf, target: &[u8]) {
        self.links.push((path, target.to_vec()));
    }

    /// Makes the links, and gives those that can't be made, with the system's words. Nothing is written
    /// through them: call it when everything else is there.
    pub fn make_links(&mut self) -> Vec<(PathBuf, io::Error)> {
        let links = std::mem::take(&mut self.links);
        links
            .into_iter()
            .filter_map(|(path, target)| match symlink(&target, &path) {
                Ok(()) => None,
                Err(error) => Some((path, error)),
            })
            .collect()
    }

    /// Makes everything durable that was not synced by itself.
    fn settle(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        if self.files > SYNCED_MAX {
            // Waits for what others write as well, but only once.
            return Ok(rustix::fs::syncfs(File::open(&self.aside)?)?);
        }
        for folder in self.folders.iter().rev() {
            RealDisk.sync_dir(folder)?;
        }
        RealDisk.sync_dir(&self.aside)
    }

    /// Makes everything durable and sets the permission bits of folders.
    pub fn finish(&self) -> Result<()> {
        // First: perhaps nobody may open a folder afterwards.
        self.settle().context("sync", &self.aside)?;
        for (path, mode) in self.modes.iter().rev() {
            set_mode(path, *mode).context("set the mode of", path)?;
        }
        Ok(())
    }

    /// Makes everything durable, sets the permission bits of folders and gives the folder its name.
    pub fn publish(mut self) -> Result<()> {
        self.finish()?;
        // Elsewhere a rename does not replace an empty folder.
        #[cfg(not(unix))]
        let _ = fs::remove_dir(&self.target);
        match RealDisk.rename(&self.aside, &self.target) {
            Ok(()) => self.published = true,
            Err(_) if fs::symlink_metadata(&self.target).is_ok() => {
                return Err(Error::PathExists {
                    path: self.target.clone(),
                    advice: "name a folder that is new or empty",
                });
            }
            Err(error) => return Err(Error::io("publish", &self.target, error)),
        }
        sync_parent(&RealDisk, &self.target)
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        for (path, _) in &self.modes {
            let _ = set_mode(path, 0o700);
        }
        // What stays may be deleted by hand.
        let _ = fs::remove_dir_all(&self.aside);
    }
}

impl NewContent {
    /// Appends bytes; long runs of zeros become holes.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() >= HOLE_MIN && bytes.iter().all(|byte| *byte == 0) {
            let len = i64::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
            self.file.seek(SeekFrom::Current(len))?;
        } else {
            self.file.write_all(bytes)?;
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Ends the file, with its permission bits and the time of its last change in nanoseconds since 1970.
    pub fn finish(self, mode: Option<u32>, modified_ns: Option<i64>) -> io::Result<()> {
        // A hole at the end.
        self.file.set_len(self.len)?;
        if let Some(ns) = modified_ns {
            let distance = Duration::from_nanos(ns.unsigned_abs());
            let time = if ns < 0 {
                UNIX_EPOCH.checked_sub(distance)
            } else {
                UNIX_EPOCH.checked_add(distance)
            };
            if let Some(time) = time {
                self.file.set_modified(time)?;
            }
        }
        if self.sync {
            self.file.sync_all()?;
        }
        match mode {
            Some(mode) => set_file_mode(&self.file, mode),
            None => Ok(()),
        }
    }
}

/// A name in a folder, as bytes; `None` if this system has no such names.
#[must_use]
pub fn joined(folder: &Path, name: &[u8]) -> Option<PathBuf> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        Some(folder.join(std::ffi::OsStr::from_bytes(name)))
    }
    #[cfg(not(unix))]
    {
        let name = std::str::from_utf8(name).ok()?;
        crate::model::ids::component_problem(name, 255)
            .is_none()
            .then(|| folder.join(name))
    }
}

/// True if a link in a folder `depth` levels below its root can't lead out of the root, whatever other such
/// links it meets: it goes up no further than to the root, and only at first.
#[must_use]
pub fn stays_inside(target: &[u8], depth: usize) -> bool {
    if target.is_empty() || target[0] == b'/' || target.contains(&0) {
        return false;
    }
    // On Windows these would be paths of another kind.
    if target.contains(&b'\\') || target.get(1) == Some(&b':') {
        return false;
    }
    let mut up = 0;
    let mut down = false;
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if down => return false,
            b".." => up += 1,
            _ => down = true,
        }
    }
    up <= depth
}

#[cfg(unix)]
fn permissions(mode: u32) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(mode & 0o777)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, permissions(mode))
}

#[cfg(unix)]
fn set_file_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(permissions(mode))
}

#[cfg(not(unix))]
#[allow(
    clippy::unnecessary_wraps,
    reason = "it has the shape of the other system's"
)]
fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn set_file_mode(file: &File, mode: u32) -> io::Result<()> {
    let mut permissions = file.metadata()?.permissions();
    permissions.set_readonly(mode & 0o200 == 0);
    file.set_permissions(permissions)
}

#[cfg(unix)]
fn symlink(target: &[u8], path: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(target), path)
}

#[cfg(not(unix))]
fn symlink(_target: &[u8], _path: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_could_lead_out_is_known() {
        for (target, depth) in [
            ("a", 0),
            ("./a/b", 0),
            ("../a", 1),
            ("../../a//b/.", 2),
            ("...", 0),
            (".", 0),
        ] {
            assert!(
                stays_inside(target.as_bytes(), depth),
                "{target} at {depth}"
            );
        }
        for (target, depth) in [
            ("", 3),
            ("/a", 3),
            ("..", 0),
            ("../../a", 1),
            // `a` may be a link that leads up to the root.
            ("a/..", 3),
            ("a/../../b", 3),
            ("C:/x", 3),
            ("..\\..\\x", 3),
            ("a\0b", 3),
        ] {
            assert!(
                !stays_inside(target.as_bytes(), depth),
                "{target} at {depth}"
            );
        }
    }
}
