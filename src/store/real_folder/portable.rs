//! Folders of a system that is not a Unix, by paths that are checked before they are used.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::store::disk::{EntryKind, NewFile};
use crate::store::folder::{Folder, Found};

const BLOCK: usize = 256 << 10;

/// Opens a folder by its absolute path; the folder itself must not be a link.
pub(in crate::store) fn open(path: &Path) -> io::Result<Box<dyn Folder>> {
    real_folder(path)?;
    Ok(Box::new(RealFolder(path.to_path_buf())))
}

struct RealFolder(PathBuf);

fn real_folder(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        Ok(())
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    }
}

impl RealFolder {
    /// A path inside, every folder on the way to it checked.
    fn path(&self, path: &[u8]) -> io::Result<PathBuf> {
        let text = std::str::from_utf8(path).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut at = self.0.clone();
        let mut names = text.split('/').filter(|_| !text.is_empty()).peekable();
        while let Some(name) = names.next() {
            if crate::model::ids::component_problem(name, 255).is_some() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            at.push(name);
            if names.peek().is_some() {
                real_folder(&at)?;
            }
        }
        Ok(at)
    }
}

fn found(metadata: &fs::Metadata) -> Found {
    let kind = metadata.file_type();
    let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    Found {
        kind: if kind.is_symlink() {
            EntryKind::Symlink
        } else if kind.is_dir() {
            EntryKind::Directory
        } else if kind.is_file() {
            EntryKind::File
        } else {
            EntryKind::Other
        },
        mode: if metadata.permissions().readonly() {
            0o444
        } else {
            0o666
        },
        len: metadata.len(),
        modified_ns: metadata.modified().map_or(0, |time| {
            time.duration_since(UNIX_EPOCH)
                .map_or_else(|before| -ns(before.duration()), ns)
        }),
    }
}

struct RealFile(File);

impl NewFile for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn set(&mut self, _mode: Option<u32>, modified_ns: Option<i64>) -> io::Result<()> {
        let Some(ns) = modified_ns else {
            return Ok(());
        };
        let distance = Duration::from_nanos(ns.unsigned_abs());
        let time = if ns < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        };
        self.0
            .set_modified(time.ok_or(io::ErrorKind::InvalidInput)?)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl Folder for RealFolder {
    fn folder(&self, path: &[u8]) -> io::Result<Box<dyn Folder>> {
        open(&self.path(path)?)
    }

    fn found(&self, path: &[u8]) -> io::Result<Found> {
        Ok(found(&fs::symlink_metadata(self.path(path)?)?))
    }

    fn list(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, EntryKind)>> {
        fs::read_dir(self.path(path)?)?
            .map(|entry| {
                let entry = entry?;
                let name = entry.file_name().into_string();
                let name = name.map_err(|_| io::ErrorKind::InvalidData)?;
                Ok((name.into_bytes(), found(&entry.metadata()?).kind))
            })
            .collect()
    }

    fn read(&self, path: &[u8], take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let path = self.path(path)?;
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut file = File::open(path)?;
        let mut block = vec![0; BLOCK];
        loop {
            match file.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(len) => take(&block[..len])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let target = fs::read_link(self.path(path)?)?
            .into_os_string()
            .into_string();
        Ok(target.map_err(|_| io::ErrorKind::InvalidData)?.into_bytes())
    }

    fn create(&self, path: &[u8]) -> io::Result<Box<dyn NewFile>> {
        let path = self.path(path)?;
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn create_dir(&self, path: &[u8], _mode: u32) -> io::Result<()> {
        fs::create_dir(self.path(path)?)
    }

    fn create_link(&self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let target = std::str::from_utf8(target).map_err(|_| io::ErrorKind::InvalidInput)?;
        let path = self.path(path)?;
        #[cfg(windows)]
        {
            // What it leads to decides its kind there; what does not exist is taken for a file.
            let whole = path.parent().unwrap_or(&path).join(target);
            if whole.is_dir() {
                std::os::windows::fs::symlink_dir(target, path)
            } else {
                std::os::windows::fs::symlink_file(target, path)
            }
        }
        #[cfg(not(windows))]
        {
            let _ = (target, path);
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn set_mode(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let path = self.path(path)?;
        let mut permissions = fs::symlink_metadata(&path)?.permissions();
        permissions.set_readonly(mode & 0o222 == 0);
        fs::set_permissions(path, permissions)
    }

    fn exchange(&self, _one: &[u8], _other: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename_new(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let (from, to) = (self.path(from)?, self.path(to)?);
        if fs::symlink_metadata(&to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        #[allow(clippy::disallowed_methods, reason = "this is the Folder trait")]
        fs::rename(from, to)
    }

    fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        #[allow(clippy::disallowed_methods, reason = "this is the Folder trait")]
        fs::rename(self.path(from)?, self.path(to)?)
    }

    fn link(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        fs::hard_link(self.path(from)?, self.path(to)?)
    }

    fn remove_file(&self, path: &[u8]) -> io::Result<()> {
        fs::remove_file(self.path(path)?)
    }

    fn remove_dir(&self, path: &[u8]) -> io::Result<()> {
        fs::remove_dir(self.path(path)?)
    }

    fn sync_dir(&self, _path: &[u8]) -> io::Result<()> {
        // NTFS journals names by itself.
        Ok(())
    }

    fn sync_file(&self, path: &[u8]) -> io::Result<()> {
        // Windows syncs only what is open for writing.
        let file = OpenOptions::new().write(true).open(self.path(path)?)?;
        file.sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
