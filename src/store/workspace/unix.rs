//! What capture asks of a Unix file system: every call is relative to an open folder.
//!
//! *Invariants*: no link is followed, in no component: a folder is only ever reached from its open
//! parent, one name at a time. So paths may be longer than the system takes in one call, and a
//! folder that is swapped for a link meanwhile leads nowhere.
//!
//! *Crash story*: only [`write_aside`] writes; a crash leaves its temporary file, which the next
//! one overwrites.
//!
//! *Limits*: none known.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, SeekFrom};
use rustix::io::Errno;

use super::stat::{Kind, Stat};

/// An open folder.
#[derive(Debug)]
pub(super) struct Dir(OwnedFd);

/// An open file.
#[derive(Debug)]
pub(super) struct Content(OwnedFd);

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its length.
    pub(super) len: u64,
    /// Whether it is a hole, which reads as zeros.
    pub(super) hole: bool,
}

fn kind(found: FileType) -> Kind {
    match found {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Unknown => Kind::Unknown,
        _ => Kind::Other,
    }
}

#[allow(
    clippy::unnecessary_cast,
    clippy::cast_lossless,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "the types of these fields differ between systems; each fits"
)]
fn stat(found: &rustix::fs::Stat) -> Stat {
    let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    let mode = found.st_mode as u32;
    Stat {
        kind: match FileType::from_raw_mode(found.st_mode) {
            FileType::Unknown => Kind::Other,
            other => kind(other),
        },
        mode: mode & 0o7777,
        size: found.st_size as u64,
        modified_ns: ns(found.st_mtime as i64, found.st_mtime_nsec as i64),
        changed_ns: ns(found.st_ctime as i64, found.st_ctime_nsec as i64),
        inode: found.st_ino as u64,
        device: found.st_dev as u64,
        allocated: (found.st_blocks as u64).saturating_mul(512),
    }
}

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
// A pipe must not block, a terminal must not become ours.
const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

impl Dir {
    /// Opens a folder by its path.
    pub(super) fn open_root(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?))
    }

    /// Opens a folder inside.
    pub(super) fn open_dir(&self, name: &[u8]) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(
            &self.0,
            name,
            FOLDER,
            Mode::empty(),
        )?))
    }

    /// Opens a file inside.
    pub(super) fn open_file(&self, name: &[u8]) -> io::Result<Content> {
        Ok(Content(rustix::fs::openat(
            &self.0,
            name,
            FILE,
            Mode::empty(),
        )?))
    }

    /// Tells what the folder itself is.
    pub(super) fn own_stat(&self) -> io::Result<Stat> {
        Ok(stat(&rustix::fs::fstat(&self.0)?))
    }

    /// Tells what a name inside stands for.
    pub(super) fn stat(&self, name: &[u8]) -> io::Result<Stat> {
        Ok(stat(&rustix::fs::statat(
            &self.0,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
        )?))
    }

    /// Reads where a link leads.
    pub(super) fn read_link(&self, name: &[u8]) -> io::Result<Vec<u8>> {
        Ok(rustix::fs::readlinkat(&self.0, name, Vec::new())?.into_bytes())
    }

    /// Gives every name inside but `.` and `..`, in no particular order.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn list(
        &self,
        buffer: &mut Vec<u8>,
        mut each: impl FnMut(&[u8], Kind),
    ) -> io::Result<()> {
        buffer.clear();
        buffer.reserve(64 << 10);
        let mut names = rustix::fs::RawDir::new(&self.0, buffer.spare_capacity_mut());
        while let Some(entry) = names.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                each(name, kind(entry.file_type()));
            }
        }
        Ok(())
    }

    /// Gives every name inside but `.` and `..`, in no particular order.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(super) fn list(
        &self,
        _buffer: &mut Vec<u8>,
        mut each: impl FnMut(&[u8], Kind),
    ) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                each(name, kind(entry.file_type()));
            }
        }
        Ok(())
    }
}

impl Content {
    /// Tells what the open file is.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        Ok(stat(&rustix::fs::fstat(&self.0)?))
    }

    /// Reads at a place; 0 bytes at the end.
    pub(super) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| {
            rustix::io::pread(&self.0, &mut *buffer, at)
        })?)
    }

    /// The part that begins at `at`, in a file of `size` bytes. Where holes can't be told, the rest
    /// is data.
    pub(super) fn segment(&self, at: u64, size: u64) -> Segment {
        let rest = size.saturating_sub(at);
        let part = |end: u64, hole: bool| Segment {
            len: end.min(size).saturating_sub(at),
            hole,
        };
        match rustix::fs::seek(&self.0, SeekFrom::Data(at)) {
            Ok(data) if data > at => part(data, true),
            Err(Errno::NXIO) => part(size, true),
            Ok(data) if data == at => match rustix::fs::seek(&self.0, SeekFrom::Hole(at)) {
                Ok(hole) if hole > at => part(hole, false),
                _ => part(size, false),
            },
            _ => Segment {
                len: rest,
                hole: false,
            },
        }
    }
}

/// What an error says about the name it came from.
pub(super) fn verdict(error: &io::Error) -> Verdict {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => Verdict::Gone,
        Some(Errno::LOOP | Errno::NOTDIR | Errno::INVAL | Errno::NXIO | Errno::MLINK) => {
            Verdict::Other
        }
        Some(Errno::MFILE | Errno::NFILE) => Verdict::Ours,
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
    Ours,
    /// It can't be read.
    Unreadable,
}

/// A path as the matchers want it.
pub(super) fn as_path(bytes: &[u8]) -> Cow<'_, Path> {
    Cow::Borrowed(Path::new(OsStr::from_bytes(bytes)))
}

/// The bytes of a name.
pub(super) fn name_bytes(name: &OsStr) -> Vec<u8> {
    name.as_bytes().to_vec()
}

/// What a path is whose links are followed.
pub(super) fn stat_path(path: &Path) -> io::Result<Stat> {
    Ok(stat(&rustix::fs::stat(path)?))
}

/// Reads a whole file of ours, if it is a regular file of at most `limit` bytes.
pub(super) fn read_whole(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = Content(rustix::fs::openat(CWD, path, FILE, Mode::empty())?);
    let found = file.stat()?;
    let size = usize::try_from(found.size).map_err(|_| io::ErrorKind::FileTooLarge)?;
    if found.kind != Kind::File || found.size > limit {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => filled += more,
        }
    }
    Ok(bytes)
}

/// The stamps that the file system of `aside` gives to a file written now.
pub(super) fn clock(aside: &Path) -> io::Result<Stat> {
    let file = write_new(aside, b"clock")?;
    let found = file.stat()?;
    rustix::fs::unlink(aside)?;
    Ok(found)
}

/// Writes a file under a temporary name and gives it its own: whole or not at all, not durable.
pub(super) fn write_aside(path: &Path, aside: &Path, bytes: &[u8]) -> io::Result<()> {
    write_new(aside, bytes)?;
    Ok(rustix::fs::rename(aside, path)?)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<Content> {
    let flags = OFlags::WRONLY
        | OFlags::CREATE
        | OFlags::TRUNC
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC
        | OFlags::NONBLOCK;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o600))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(bytes)?;
    Ok(Content(file.into()))
}

/// Removes a file; one that is not there is removed already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
