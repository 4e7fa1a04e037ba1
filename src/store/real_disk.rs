//! The file system of this machine.
//!
//! *Invariants*: no call follows a link in the last component; a file that was finished is on the
//! disk (`fsync`; `F_FULLFSYNC` on macOS, by the standard library).
//!
//! *Crash story*: none of its own; every call either happened or did not.
//!
//! *Limits*: Windows can't open a folder to sync it, NTFS journals names by itself; there
//! `sync_dir` does nothing. The errors of `close` are not asked for: after a successful `fsync`
//! there is nothing left to write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::lease::{Process, System};
#[cfg(unix)]
use crate::store::disk::Hold;
use crate::store::disk::{Disk, Entry, EntryKind, LockGuard, Metadata, NewFile, Stamp};
use crate::store::folder::Folder;
#[cfg(target_os = "linux")]
use crate::store::name_order;
#[cfg(target_os = "linux")]
use crate::store::probe::kind_of;
use crate::store::real_folder;

/// The file system of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

struct RealFile {
    file: File,
    /// How far it is written, in bytes.
    len: u64,
    /// How far the system was asked to write it back.
    sent: u64,
}

impl RealFile {
    fn new(file: File, len: u64) -> Self {
        Self {
            file,
            len,
            sent: len,
        }
    }
}

impl NewFile for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.len += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Linux begins to write dirty pages back when it is told that they are not needed; unlike
    /// `sync_file_range` this can be said without unsafe code. Source: mm/fadvise.c.
    #[cfg(target_os = "linux")]
    fn write_back(&mut self) {
        // Only ever a hint; and only once for each page, because one that is clean again it drops.
        let _ = rustix::fs::fadvise(&self.file, self.sent, None, rustix::fs::Advice::DontNeed);
        self.sent = self.len & !4095;
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[derive(Debug)]
struct RealLock(#[allow(dead_code, reason = "held for its lock, which closing lets go")] File);

impl LockGuard for RealLock {}

/// Where a file that is removed while it is open is gone for everybody else.
#[cfg(target_os = "linux")]
const LOCAL: [&str; 6] = ["ext4", "xfs", "btrfs", "f2fs", "overlay", "tmpfs"];

/// An open file.
#[cfg(unix)]
#[derive(Debug)]
pub(super) struct RealHold {
    #[allow(dead_code, reason = "held until dropped")]
    file: File,
    bytes: u64,
}

#[cfg(unix)]
impl RealHold {
    /// Only where it is known to do no more: network and FUSE file systems keep a name of their own for a file that is
    /// open while it is removed (`.nfs…`, `.fuse_hidden…`), or refuse to remove it.
    pub(super) fn of(file: File, bytes: u64) -> Option<Box<dyn Hold>> {
        is_local(&file).then(|| Box::new(Self { file, bytes }) as Box<dyn Hold>)
    }
}

#[cfg(target_os = "linux")]
fn is_local(file: &File) -> bool {
    let magic = rustix::fs::fstatfs(file).map(|found| found.f_type.cast_unsigned());
    let kind = magic.ok().and_then(kind_of);
    kind.is_some_and(|kind| LOCAL.contains(&kind))
}

#[cfg(all(unix, not(target_os = "linux")))]
fn is_local(_: &File) -> bool {
    false
}

#[cfg(unix)]
impl Hold for RealHold {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What is let go when nobody waits: small files, ...
static LATER: Mutex<Vec<Box<dyn Hold>>> = Mutex::new(Vec::new());
/// ... and whatever a checkpoint replaced.
static KEPT: Mutex<Vec<Box<dyn Hold>>> = Mutex::new(Vec::new());
/// So many small files wait for that, ...
const LATER_MAX: usize = 16;
/// ... each of at most so many bytes.
const LATER_BYTES: u64 = 64 << 10;

fn locked(list: &'static Mutex<Vec<Box<dyn Hold>>>) -> MutexGuard<'static, Vec<Box<dyn Hold>>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what is held until [`let_go`], however much it is.
pub fn keep(files: Vec<Box<dyn Hold>>) {
    locked(&KEPT).extend(files);
}

/// Lets everything go that is held, on this thread; tells how many files that was.
#[allow(
    clippy::must_use_candidate,
    reason = "it is not called for what it tells"
)]
pub fn let_go() -> usize {
    let [small, others] = [&LATER, &KEPT].map(|list| std::mem::take(&mut *locked(list)));
    small.len() + others.len()
}

fn kind(kind: fs::FileType) -> EntryKind {
    if kind.is_symlink() {
        EntryKind::Symlink
    } else if kind.is_file() {
        EntryKind::File
    } else if kind.is_dir() {
        EntryKind::Directory
    } else {
        EntryKind::Other
    }
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere a time may be missing")]
fn stamp(found: &fs::Metadata) -> io::Result<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Ok(Stamp {
        inode: found.ino(),
        modified_ns: ns(found.mtime(), found.mtime_nsec()),
        changed_ns: ns(found.ctime(), found.ctime_nsec()),
    })
}

#[cfg(not(unix))]
fn stamp(found: &fs::Metadata) -> io::Result<Stamp> {
    use std::time::UNIX_EPOCH;
    let ns = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    let (modified, created) = (found.modified()?, found.created()?);
    Ok(Stamp {
        inode: 0,
        modified_ns: modified
            .duration_since(UNIX_EPOCH)
            .map_or_else(|before| -ns(before.duration()), ns),
        changed_ns: created
            .duration_since(UNIX_EPOCH)
            .map_or_else(|before| -ns(before.duration()), ns),
    })
}

/// Open flags under which a link fails and a pipe does not block.
fn careful(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        options.custom_flags(flags.bits().cast_signed())
    }
    #[cfg(not(unix))]
    options
}

/// Opens a regular file; anything else, a link too, is `InvalidInput`.
fn open_regular(options: &mut OpenOptions, path: &Path) -> io::Result<(File, fs::Metadata)> {
    #[cfg(not(unix))]
    if fs::symlink_metadata(path)?.is_symlink() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = careful(options).open(path).map_err(|error| {
        // ELOOP: the last component is a link.
        #[cfg(unix)]
        if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            return io::ErrorKind::InvalidInput.into();
        }
        error
    })?;
    let found = file.metadata()?;
    if found.is_file() {
        Ok((file, found))
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Reads a file of a known length by one call, into room for more; false if there may be more of it.
#[cfg(unix)]
fn read_at_once(file: &File, len: usize, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let room = bytes.capacity();
    match rustix::io::read(file, rustix::buffer::spare_capacity(bytes)) {
        Ok(read) => Ok(read == len && read < room),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn read_at_once(_: &File, _: usize, _: &mut Vec<u8>) -> io::Result<bool> {
    Ok(false)
}

/// The length of a file without its holes; where the file system does not tell of any, all of it.
#[cfg(target_os = "linux")]
fn without_holes(file: &File, len: u64) -> u64 {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    let (mut at, mut taken) = (0, 0);
    while at < len {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            Err(_) => return len,
        };
        let Ok(hole) = seek(file, SeekFrom::Hole(data)) else {
            return len;
        };
        taken += hole.min(len).saturating_sub(data);
        at = hole.max(at + 1);
    }
    taken
}

/// What `/proc/<pid>/stat` says.
struct Stat {
    ended: bool,
    /// In clock ticks since the machine's start.
    started: u64,
}

/// Reads it of a process; `None` where there is none. Source: proc(5).
fn stat_of(pid: &str) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, even brackets.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The state is the third field, the number of threads the 20th, the start the 22nd. The first thread alone
    // may have ended.
    let threads: u64 = fields.get(17)?.parse().ok()?;
    Some(Stat {
        ended: matches!(*fields.first()?, "Z" | "X" | "x") && threads <= 1,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// What stays as it is while a process lives: each look at a lease asks for it.
struct Own {
    pid: u32,
    machine: String,
    boot: String,
    pid_namespace: String,
    started: Option<u64>,
}

static SELF: Mutex<Option<Own>> = Mutex::new(None);

impl Own {
    fn of(pid: u32) -> Self {
        let text = |path: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.trim().to_owned()
        };
        Self {
            pid,
            machine: text("/etc/machine-id"),
            boot: text("/proc/sys/kernel/random/boot_id"),
            pid_namespace: fs::read_link("/proc/self/ns/pid")
                .map(|link| link.to_string_lossy().into_owned())
                .unwrap_or_default(),
            started: stat_of("self").map(|stat| stat.started),
        }
    }

    fn is_whole(&self) -> bool {
        !self.boot.is_empty() && !self.pid_namespace.is_empty() && self.started.is_some()
    }
}

fn host() -> String {
    #[cfg(unix)]
    {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    }
    #[cfg(not(unix))]
    {
        #[allow(
            clippy::disallowed_methods,
            reason = "the machine's name has no other place there"
        )]
        std::env::var("COMPUTERNAME").unwrap_or_default()
    }
}

/// Milliseconds since the machine's start, sleep included; `None` where no such clock can be asked.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere there is none")]
fn boot_ms() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let (seconds, rest) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
        Some(seconds.ok()? * 1_000 + rest.ok()? / 1_000_000)
    }
    #[cfg(not(target_os = "linux"))]
    {
        None
    }
}

impl Disk for RealDisk {
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let found = fs::symlink_metadata(path)?;
        let stamp = stamp(&found)?;
        Ok(Metadata {
            kind: kind(found.file_type()),
            len: found.len(),
            modified_ms: stamp.modified_ns.div_euclid(1_000_000),
            stamp,
        })
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let (mut file, found) = open_regular(OpenOptions::new().read(true), path)?;
        if found.len() > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let len = usize::try_from(found.len()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(len + 1);
        if !read_at_once(&file, len, &mut bytes)? {
            // Not through `take`, which hides the file's size and reads in small pieces.
            file.read_to_end(&mut bytes)?;
        }
        if bytes.len() as u64 > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let (mut file, found) = open_regular(OpenOptions::new().read(true), path)?;
        // Asked first: a length read from damaged bytes must not become an allocation.
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > found.len())
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; len];
        file.seek(io::SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&self, path: &Path) -> io::Result<(Box<dyn NewFile>, u64)> {
        let (file, found) = open_regular(OpenOptions::new().append(true), path)?;
        Ok((Box::new(RealFile::new(file, found.len())), found.len()))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let (file, _) = open_regular(OpenOptions::new().write(true), path)?;
        file.set_len(len)
    }

    fn punch(&self, path: &Path, offset: u64, len: u64) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            use rustix::io::Errno;
            let (file, _) = open_regular(OpenOptions::new().write(true), path)?;
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            loop {
                return match fallocate(&file, how, offset, len) {
                    Err(Errno::INTR) => continue,
                    Err(Errno::NOTSUP | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
                    done => Ok(done?),
                };
            }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (path, offset, len);
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Not by the number of blocks alone: some file systems count them only a while after a write.
    fn taken(&self, path: &Path) -> io::Result<u64> {
        let found = fs::symlink_metadata(path)?;
        #[cfg(target_os = "linux")]
        {
            use std::os::unix::fs::MetadataExt;
            if found.blocks().saturating_mul(512) < found.len() {
                let (file, found) = open_regular(OpenOptions::new().read(true), path)?;
                return Ok(without_holes(&file, found.len()));
            }
        }
        Ok(found.len())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        fs::read_dir(path)?
            .map(|entry| {
                let entry = entry?;
                Ok(Entry {
                    name: entry.file_name(),
                    kind: kind(entry.file_type()?),
                })
            })
            .collect()
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(RealFile::new(file, 0)))
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let mut file = careful(&mut options).open(path)?;
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        file.write_all(bytes)?;
        if found.len() > bytes.len() as u64 {
            file.set_len(bytes.len() as u64)
        } else {
            Ok(())
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[allow(clippy::disallowed_methods, reason = "this is the Disk trait")]
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            use rustix::io::Errno;
            match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(()),
                // File systems that don't know the flag.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        fs::hard_link(from, to)?;
        fs::remove_file(from)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        match fs::hard_link(from, to) {
            // File systems without hard links (exFAT, some network shares): a copy serves as well.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
                ) =>
            {
                if fs::symlink_metadata(to).is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                fs::copy(from, to)?;
                File::open(to)?.sync_all()
            }
            result => result,
        }
    }

    #[cfg(unix)]
    fn hold(&self, path: &Path) -> Option<Box<dyn Hold>> {
        let (file, found) = open_regular(OpenOptions::new().read(true), path).ok()?;
        RealHold::of(file, found.len())
    }

    fn later(&self, mut files: Vec<Box<dyn Hold>>) {
        files.retain(|file| file.bytes() <= LATER_BYTES);
        let mut all = locked(&LATER);
        all.append(&mut files);
        let too_many = all.len().saturating_sub(LATER_MAX);
        let oldest: Vec<_> = all.drain(..too_many).collect();
        // Nobody who wants the list waits for the disk.
        drop(all);
        drop(oldest);
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        #[cfg(unix)]
        {
            File::open(path)?.sync_all()
        }
        #[cfg(not(unix))]
        {
            let _ = path;
            Ok(())
        }
    }

    #[cfg(target_os = "linux")]
    fn keeps_order(&self, folder: &Path) -> bool {
        name_order::is_kept(folder)
    }

    fn try_lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn LockGuard>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = careful(&mut options).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        // Only for people and error texts; the lock itself is the kernel's. A full disk must not
        // keep anyone from working, so a failure here is no failure.
        let mut current = Vec::new();
        let _ = file.read_to_end(&mut current);
        if current != holder.as_bytes() {
            // In place: to empty it first would give its block back to the file system, and take another.
            let _ = file.rewind();
            let _ = file.write_all(holder.as_bytes());
            if current.len() > holder.len() {
                let _ = file.set_len(holder.len() as u64);
            }
        }
        Ok(Some(Box::new(RealLock(file))))
    }

    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = careful(&mut options).open(path)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(Box::new(RealLock(file)))),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn Folder>> {
        real_folder::open(path)
    }

    #[cfg(unix)]
    fn writable(&self, path: &Path) -> bool {
        use rustix::fs::{Access, AtFlags, CWD, accessat};
        use rustix::io::Errno;
        !matches!(
            accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS),
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM)
        )
    }

    fn is_real(&self) -> bool {
        true
    }

    fn process_alive(&self, pid: u32) -> Option<bool> {
        #[cfg(unix)]
        {
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
            Some(match rustix::process::test_kill_process(pid) {
                Ok(()) => true,
                Err(error) => error != rustix::io::Errno::SRCH,
            })
        }
        #[cfg(not(unix))]
        {
            let _ = pid;
            None
        }
    }

    fn process(&self, pid: u32) -> Process {
        let alive = self.process_alive(pid);
        match stat_of(&pid.to_string()) {
            // A process that has ended, and whose parent has not asked after it yet, does nothing any more.
            Some(stat) => Process {
                alive: Some(!stat.ended),
                started: Some(stat.started),
            },
            None => Process {
                alive,
                started: None,
            },
        }
    }

    fn system(&self) -> System {
        let pid = std::process::id();
        let mut known = SELF.lock().unwrap_or_else(PoisonError::into_inner);
        // A fork has an identity of its own.
        let own = match known.take() {
            Some(own) if own.pid == pid => own,
            _ => Own::of(pid),
        };
        let system = System {
            host: host(),
            machine: own.machine.clone(),
            boot: own.boot.clone(),
            pid_namespace: own.pid_namespace.clone(),
            boot_ms: boot_ms(),
            pid,
            started: own.started,
        };
        // What could not be read now may be another time.
        if own.is_whole() {
            *known = Some(own);
        }
        system
    }

    fn pause(&self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }
}
