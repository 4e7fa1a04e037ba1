//! Folders of a Unix system, by descriptors.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawMode, RenameFlags, Timespec, Timestamps,
};
use rustix::io::Errno;

use crate::store::disk::{EntryKind, Hold, NewFile};
use crate::store::folder::{Folder, Found};
use crate::store::real_disk::RealHold;

/// How much of a file is read at once, in bytes.
const BLOCK: usize = 256 << 10;

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

/// Opens a folder by its absolute path; the folder itself must not be a link.
pub(in crate::store) fn open(path: &Path) -> io::Result<Box<dyn Folder>> {
    let fd = rustix::fs::openat(CWD, path, FOLDER, Mode::empty()).map_err(way)?;
    Ok(Box::new(RealFolder(fd)))
}

struct RealFolder(OwnedFd);

/// A folder on the way: the open one itself, or one inside.
enum Parent<'a> {
    Own(BorrowedFd<'a>),
    Inside(OwnedFd),
}

impl AsFd for Parent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) => *fd,
            Self::Inside(fd) => fd.as_fd(),
        }
    }
}

/// What an error on the way to a name says: a link is no folder.
fn way(error: Errno) -> io::Error {
    match error {
        // LOOP: a link; XDEV: it would lead out; MLINK: FreeBSD's word for a link.
        Errno::LOOP | Errno::XDEV | Errno::MLINK => Errno::NOTDIR.into(),
        error => error.into(),
    }
}

fn kind(found: FileType) -> EntryKind {
    match found {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Other,
    }
}

#[allow(
    clippy::unnecessary_cast,
    clippy::cast_lossless,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "the types of these fields differ between systems; each fits"
)]
fn found(stat: &rustix::fs::Stat) -> Found {
    let seconds = (stat.st_mtime as i64).saturating_mul(1_000_000_000);
    Found {
        kind: kind(FileType::from_raw_mode(stat.st_mode)),
        mode: stat.st_mode as u32 & 0o7777,
        len: stat.st_size as u64,
        modified_ns: seconds.saturating_add(stat.st_mtime_nsec as i64),
    }
}

#[allow(clippy::unnecessary_cast, reason = "the type differs between systems")]
fn mode_of(bits: u32) -> Mode {
    Mode::from_raw_mode((bits & 0o7777) as RawMode)
}

/// Splits a path into its folder and its last name.
fn split(path: &[u8]) -> io::Result<(&[u8], &[u8])> {
    let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b""[..], path),
    };
    if matches!(name, b"" | b"." | b"..") {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok((parent, name))
}

impl RealFolder {
    /// Opens a folder inside, without following any link.
    fn beneath(&self, path: &[u8]) -> io::Result<Parent<'_>> {
        if path.is_empty() {
            return Ok(Parent::Own(self.0.as_fd()));
        }
        if path
            .split(|byte| *byte == b'/')
            .any(|name| matches!(name, b"" | b"." | b".."))
        {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            use rustix::fs::ResolveFlags;
            let resolve =
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            for _ in 0..8 {
                match rustix::fs::openat2(&self.0, path, FOLDER, Mode::empty(), resolve) {
                    Ok(fd) => return Ok(Parent::Inside(fd)),
                    // Something was renamed meanwhile.
                    Err(Errno::AGAIN) => {}
                    // Too long for one call, a kernel before 5.6, or a sandbox that does not know it.
                    Err(Errno::NAMETOOLONG | Errno::NOSYS | Errno::PERM) => break,
                    Err(error) => return Err(way(error)),
                }
            }
        }
        self.step_by_step(path)
    }

    fn step_by_step(&self, path: &[u8]) -> io::Result<Parent<'_>> {
        let mut at = Parent::Own(self.0.as_fd());
        for name in path.split(|byte| *byte == b'/') {
            let next = rustix::fs::openat(&at, name, FOLDER, Mode::empty()).map_err(way)?;
            at = Parent::Inside(next);
        }
        Ok(at)
    }

    fn rename_with(&self, from: &[u8], to: &[u8], flags: RenameFlags) -> io::Result<()> {
        let (from_parent, from) = split(from)?;
        let (to_parent, to) = split(to)?;
        let (from_parent, to_parent) = (self.beneath(from_parent)?, self.beneath(to_parent)?);
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        match rustix::fs::renameat_with(&from_parent, from, &to_parent, to, flags) {
            // File systems that don't know the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            result => return Ok(result?),
        }
        if flags != RenameFlags::NOREPLACE {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let stat = rustix::fs::statat(&from_parent, from, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return move_folder(&from_parent, from, &to_parent, to);
        }
        rustix::fs::linkat(&from_parent, from, &to_parent, to, AtFlags::empty())?;
        Ok(rustix::fs::unlinkat(&from_parent, from, AtFlags::empty())?)
    }
}

/// Where the system can't be asked to spare what is there: all that a folder can replace in the instant
/// between check and rename is an empty one.
fn move_folder(
    from_parent: &Parent<'_>,
    from: &[u8],
    to_parent: &Parent<'_>,
    to: &[u8],
) -> io::Result<()> {
    match rustix::fs::statat(to_parent, to, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(Errno::EXIST.into()),
    }
    Ok(rustix::fs::renameat(from_parent, from, to_parent, to)?)
}

struct RealFile(File);

impl NewFile for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn set(&mut self, mode: Option<u32>, modified_ns: Option<i64>) -> io::Result<()> {
        if let Some(mode) = mode {
            rustix::fs::fchmod(&self.0, mode_of(mode))?;
        }
        if let Some(ns) = modified_ns {
            let time = Timespec {
                tv_sec: ns.div_euclid(1_000_000_000),
                #[allow(
                    clippy::useless_conversion,
                    clippy::unnecessary_cast,
                    clippy::cast_possible_truncation,
                    reason = "the type differs between systems; a remainder fits each"
                )]
                tv_nsec: ns.rem_euclid(1_000_000_000) as _,
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            rustix::fs::futimens(&self.0, &times)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.0.sync_all()
    }
}

impl Folder for RealFolder {
    fn folder(&self, path: &[u8]) -> io::Result<Box<dyn Folder>> {
        let fd = match self.beneath(path)? {
            Parent::Own(fd) => fd.try_clone_to_owned()?,
            Parent::Inside(fd) => fd,
        };
        Ok(Box::new(Self(fd)))
    }

    fn found(&self, path: &[u8]) -> io::Result<Found> {
        if path.is_empty() {
            return Ok(found(&rustix::fs::fstat(&self.0)?));
        }
        let (parent, name) = split(path)?;
        let parent = self.beneath(parent)?;
        let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(found(&stat))
    }

    fn list(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, EntryKind)>> {
        let folder = self.beneath(path)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    found(&stat).kind
                }
                known => kind(known),
            };
            names.push((name.to_vec(), kind));
        }
        Ok(names)
    }

    fn read(&self, path: &[u8], take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let fd = match rustix::fs::openat(self.beneath(parent)?, name, FILE, Mode::empty()) {
            Err(Errno::LOOP | Errno::MLINK | Errno::NXIO) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let expected = usize::try_from(stat.st_size).unwrap_or(BLOCK);
        let mut file = File::from(fd);
        let mut block = vec![0; expected.saturating_add(1).min(BLOCK)];
        loop {
            match file.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(len) => take(&block[..len])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn hold(&self, path: &[u8]) -> Option<Box<dyn Hold>> {
        // To open a pipe or a device would mean something to somebody.
        let found = self.found(path).ok()?;
        if !matches!(found.kind, EntryKind::File | EntryKind::Directory) {
            return None;
        }
        let (parent, name) = split(path).ok()?;
        let fd = rustix::fs::openat(self.beneath(parent).ok()?, name, FILE, Mode::empty()).ok()?;
        RealHold::of(File::from(fd), found.len)
    }

    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let (parent, name) = split(path)?;
        let target = rustix::fs::readlinkat(self.beneath(parent)?, name, Vec::new())?;
        Ok(target.into_bytes())
    }

    fn create(&self, path: &[u8]) -> io::Result<Box<dyn NewFile>> {
        let (parent, name) = split(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // What the process' mask leaves of it, as for any new file.
        let mode = mode_of(0o666);
        let fd = rustix::fs::openat(self.beneath(parent)?, name, flags, mode)?;
        Ok(Box::new(RealFile(File::from(fd))))
    }

    fn create_dir(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let parent = self.beneath(parent)?;
        rustix::fs::mkdirat(&parent, name, mode_of(mode))?;
        // The process' mask has no say.
        let folder = rustix::fs::openat(&parent, name, FOLDER, Mode::empty()).map_err(way)?;
        Ok(rustix::fs::fchmod(&folder, mode_of(mode))?)
    }

    fn create_link(&self, path: &[u8], target: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path)?;
        Ok(rustix::fs::symlinkat(target, self.beneath(parent)?, name)?)
    }

    fn set_mode(&self, path: &[u8], mode: u32) -> io::Result<()> {
        if path.is_empty() {
            return Ok(rustix::fs::fchmod(&self.0, mode_of(mode))?);
        }
        let (parent, name) = split(path)?;
        let parent = self.beneath(parent)?;
        // One that can't be read may be written, and the other way round.
        let opened = match rustix::fs::openat(&parent, name, FILE, Mode::empty()) {
            Err(Errno::ACCESS) => {
                let writing = FILE.difference(OFlags::RDONLY) | OFlags::WRONLY;
                rustix::fs::openat(&parent, name, writing, Mode::empty())
            }
            opened => opened,
        };
        let fd = match opened {
            Err(Errno::LOOP | Errno::MLINK | Errno::NXIO) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            opened => opened?,
        };
        match kind(FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode)) {
            EntryKind::File | EntryKind::Directory => Ok(rustix::fs::fchmod(&fd, mode_of(mode))?),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn exchange(&self, one: &[u8], other: &[u8]) -> io::Result<()> {
        self.rename_with(one, other, RenameFlags::EXCHANGE)
    }

    fn rename_new(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        self.rename_with(from, to, RenameFlags::NOREPLACE)
    }

    fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let (from_parent, from) = split(from)?;
        let (to_parent, to) = split(to)?;
        let (from_parent, to_parent) = (self.beneath(from_parent)?, self.beneath(to_parent)?);
        Ok(rustix::fs::renameat(&from_parent, from, &to_parent, to)?)
    }

    fn link(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let (from_parent, from) = split(from)?;
        let (to_parent, to) = split(to)?;
        let (from_parent, to_parent) = (self.beneath(from_parent)?, self.beneath(to_parent)?);
        Ok(rustix::fs::linkat(
            &from_parent,
            from,
            &to_parent,
            to,
            AtFlags::empty(),
        )?)
    }

    fn remove_file(&self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path)?;
        Ok(rustix::fs::unlinkat(
            self.beneath(parent)?,
            name,
            AtFlags::empty(),
        )?)
    }

    fn remove_dir(&self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path)?;
        match rustix::fs::unlinkat(self.beneath(parent)?, name, AtFlags::REMOVEDIR) {
            // POSIX allows both.
            Err(Errno::EXIST) => Err(Errno::NOTEMPTY.into()),
            result => Ok(result?),
        }
    }

    fn sync_dir(&self, path: &[u8]) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.beneath(path)?)?)
    }

    fn sync_file(&self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let fd = rustix::fs::openat(self.beneath(parent)?, name, FILE, Mode::empty())?;
        File::from(fd).sync_all()
    }

    fn sync_all(&self) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            Ok(rustix::fs::syncfs(&self.0)?)
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}
