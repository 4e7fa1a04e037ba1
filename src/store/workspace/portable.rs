//! What capture asks of any other file system, through the standard library.
//!
//! *Invariants*: links are recorded, not followed, as far as paths can tell.
//!
//! *Crash story*: as in `unix`.
//!
//! *Limits*: folders are reached by their paths, so one that is swapped for a link meanwhile is
//! followed. There are no file numbers, and holes can't be told. A name that is no Unicode is
//! reported as not regular, under its nearest name.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use super::stat::{Kind, Stat};

/// A folder, by its path.
#[derive(Debug)]
pub(super) struct Dir(PathBuf);

/// An open file.
#[derive(Debug)]
pub(super) struct Content(Mutex<fs::File>);

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its length.
    pub(super) len: u64,
    /// Whether it is a hole, which reads as zeros.
    pub(super) hole: bool,
}

fn kind(found: fs::FileType) -> Kind {
    if found.is_symlink() {
        Kind::Symlink
    } else if found.is_dir() {
        Kind::Directory
    } else if found.is_file() {
        Kind::File
    } else {
        Kind::Other
    }
}

fn stat(found: &fs::Metadata) -> io::Result<Stat> {
    let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    let modified_ns = found
        .modified()?
        .duration_since(UNIX_EPOCH)
        .map_or_else(|before| -ns(before.duration()), ns);
    Ok(Stat {
        kind: kind(found.file_type()),
        mode: if found.permissions().readonly() {
            0o555
        } else {
            0o755
        },
        size: found.len(),
        modified_ns,
        changed_ns: modified_ns,
        inode: 0,
        device: 0,
        allocated: found.len(),
    })
}

fn name(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| io::ErrorKind::NotFound.into())
}

impl Dir {
    pub(super) fn open_root(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path)?.is_dir() {
            Ok(Self(path.to_path_buf()))
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    pub(super) fn open_dir(&self, within: &[u8]) -> io::Result<Self> {
        Self::open_root(&self.0.join(name(within)?))
    }

    pub(super) fn open_file(&self, within: &[u8]) -> io::Result<Content> {
        let path = self.0.join(name(within)?);
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Content(Mutex::new(fs::File::open(path)?)))
    }

    pub(super) fn own_stat(&self) -> io::Result<Stat> {
        stat(&fs::symlink_metadata(&self.0)?)
    }

    pub(super) fn stat(&self, within: &[u8]) -> io::Result<Stat> {
        stat(&fs::symlink_metadata(self.0.join(name(within)?))?)
    }

    pub(super) fn read_link(&self, within: &[u8]) -> io::Result<Vec<u8>> {
        let target = fs::read_link(self.0.join(name(within)?))?;
        Ok(name_bytes(target.as_os_str()))
    }

    pub(super) fn list(
        &self,
        _buffer: &mut Vec<u8>,
        mut each: impl FnMut(&[u8], Kind),
    ) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let found = match name.to_str() {
                Some(_) => kind(entry.file_type()?),
                None => Kind::Other,
            };
            each(&name_bytes(&name), found);
        }
        Ok(())
    }
}

impl Content {
    pub(super) fn stat(&self) -> io::Result<Stat> {
        let file = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        stat(&file.metadata()?)
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut file = self.0.lock().map_err(|_| io::ErrorKind::Other)?;
        file.seek(io::SeekFrom::Start(at))?;
        file.read(buffer)
    }

    #[allow(clippy::unused_self, reason = "it has the shape of the other system's")]
    pub(super) fn segment(&self, at: u64, size: u64) -> Segment {
        Segment {
            len: size.saturating_sub(at),
            hole: false,
        }
    }
}

/// What an error says about the name it came from.
pub(super) fn verdict(error: &io::Error) -> Verdict {
    match error.kind() {
        io::ErrorKind::NotFound => Verdict::Gone,
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput => Verdict::Other,
        _ => Verdict::Unreadable,
    }
}

/// What an error says about the name it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing has that name any more.
    Gone,
    /// It is something else by now.
    Other,
    /// This process has too many files open.
    #[allow(dead_code, reason = "not told apart here")]
    Ours,
    /// It can't be read.
    Unreadable,
}

pub(super) fn as_path(bytes: &[u8]) -> Cow<'_, Path> {
    match String::from_utf8_lossy(bytes) {
        Cow::Borrowed(text) => Cow::Borrowed(Path::new(text)),
        Cow::Owned(text) => Cow::Owned(PathBuf::from(text)),
    }
}

pub(super) fn name_bytes(name: &OsStr) -> Vec<u8> {
    name.to_string_lossy().into_owned().into_bytes()
}

pub(super) fn stat_path(path: &Path) -> io::Result<Stat> {
    stat(&fs::metadata(path)?)
}

pub(super) fn read_whole(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() || found.len() > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    fs::read(path)
}

pub(super) fn clock(aside: &Path) -> io::Result<Stat> {
    write_new(aside, b"clock")?;
    let found = stat(&fs::symlink_metadata(aside)?)?;
    fs::remove_file(aside)?;
    Ok(found)
}

pub(super) fn write_aside(path: &Path, aside: &Path, bytes: &[u8]) -> io::Result<()> {
    write_new(aside, bytes)?;
    #[allow(
        clippy::disallowed_methods,
        reason = "a note that checks itself and may be lost"
    )]
    fs::rename(aside, path)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::File::create(path)?.write_all(bytes)
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
