//! What Waymark asks of a file system.
//!
//! One small trait, implemented by the real disk ([`crate::store::real_disk::RealDisk`]) and by
//! the simulated one of the tests. No call follows a symbolic link in the last component.
//!
//! *Limits*: paths, not directory handles: a folder that another user swaps for a link between two
//! calls is not noticed. Whoever can do that can write the run anyway. Where a user's own files are
//! replaced, [`Folder`] is used instead.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::Path;

use crate::model::lease::{Process, System};
use crate::store::folder::Folder;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link, wherever it leads.
    Symlink,
    /// A socket, a pipe, a device.
    Other,
}

/// Tells whether a file is still the one that was seen before, as far as its metadata can: every
/// way to change it through the file system changes its stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// The file's number on its file system; 0 where there is none.
    pub inode: u64,
    /// When its content changed last, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// When its content, its name or its rights changed last, in nanoseconds since 1970; on Windows
    /// when it was made.
    pub changed_ns: i64,
}

/// What `lstat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: EntryKind,
    /// Its size in bytes.
    pub len: u64,
    /// When its content changed last, in milliseconds since 1970.
    pub modified_ms: i64,
    /// Its identity and times, to compare with what was seen before.
    pub stamp: Stamp,
}

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// What it is.
    pub kind: EntryKind,
}

/// A new file that is being written.
pub trait NewFile: Send {
    /// Appends bytes.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Asks the system to begin writing back what was appended, without waiting for it. Several
    /// files that are on their way already are committed by the file system at once.
    fn write_back(&mut self) {}
    /// Sets the permission bits (`0o7777`) and the time of the last change, in nanoseconds since 1970,
    /// once all is written. Only for a file that a [`Folder`] made; others are `Unsupported`.
    fn set(&mut self, mode: Option<u32>, modified_ns: Option<i64>) -> io::Result<()> {
        let _ = (mode, modified_ns);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Makes the content durable and ends the writing.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// An exclusive lock; let go when dropped, or when the process dies.
pub trait LockGuard: Send + Sync + fmt::Debug {}

/// Keeps the space of a file until it is dropped, whatever becomes of the file's names. To free the blocks of a
/// file takes a file system 0.2 ms (ext4, 30 KB) to 2 ms (6 MB), and whoever drops its last name waits for it.
pub trait Hold: Send + Sync + fmt::Debug {
    /// How much space that is, in bytes.
    fn bytes(&self) -> u64;
}

/// A file system.
pub trait Disk: Send + Sync {
    /// Tells what a path is, without following a link.
    fn metadata(&self, path: &Path) -> io::Result<Metadata>;
    /// Reads a regular file of at most `limit` bytes. Anything else is `InvalidInput`, a larger
    /// file is `FileTooLarge`.
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;
    /// Reads `len` bytes of a regular file from `offset` on; `UnexpectedEof` if it has fewer.
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>>;
    /// Lists a folder, in no particular order.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Creates a folder; `AlreadyExists` if the name is taken.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Creates a new file; `AlreadyExists` if the name is taken.
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>>;
    /// Opens an existing regular file to write behind its end; gives its length too.
    fn append(&self, path: &Path) -> io::Result<(Box<dyn NewFile>, u64)>;
    /// Cuts a regular file to a length. Not durable by itself.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Gives the space of some bytes of a regular file back: they are zeros from then on, its length
    /// stays. `Unsupported` where the file system can't. Not durable by itself.
    fn punch(&self, path: &Path, offset: u64, len: u64) -> io::Result<()>;
    /// How many bytes of a regular file take space: its length without its holes.
    fn taken(&self, path: &Path) -> io::Result<u64>;
    /// Writes over a file's bytes in place, making it if it is missing: quick, but neither atomic nor
    /// durable. Only for notes that check themselves and may be lost.
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Moves a file, replacing what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Moves a file to a new name; `AlreadyExists` if the name is taken.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name; `AlreadyExists` if the name is taken.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Holds a regular file, so that dropping its name is quick; `None` where that can't be, or keeps the name
    /// from being dropped.
    fn hold(&self, path: &Path) -> Option<Box<dyn Hold>> {
        let _ = path;
        None
    }
    /// Takes what was held of small files, to let it go when nobody waits: a file system that is told of free blocks
    /// takes more than a millisecond for each. What is too much, or too large, is let go at once.
    fn later(&self, held: Vec<Box<dyn Hold>>) {
        drop(held);
    }
    /// Removes a file or a link.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Whether names change on the medium in the order in which they were changed, all over the file system that this
    /// folder lies on: to sync one folder makes all earlier changes of names durable, in other folders too. `false`
    /// where that is not known.
    fn keeps_order(&self, folder: &Path) -> bool {
        let _ = folder;
        false
    }
    /// Takes the exclusive lock of a file, creating it; `None` while somebody else has it. The
    /// guard's holder is written into the file for others to read.
    fn try_lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn LockGuard>>>;
    /// Takes a lock of a file that others may share, creating it; `None` while somebody has it for
    /// himself.
    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>>;
    /// Opens a folder to work inside it; `NotADirectory` if it is anything else, a link too.
    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn Folder>>;
    /// Whether this process may write a file, or make files in a folder; `true` where only trying tells.
    fn writable(&self, path: &Path) -> bool {
        let _ = path;
        true
    }
    /// Whether the paths of this disk can be given to libraries that open files themselves.
    fn is_real(&self) -> bool;
    /// Whether a process of this host is alive; `None` where that can't be told.
    fn process_alive(&self, pid: u32) -> Option<bool>;
    /// What is known of a process of this host.
    fn process(&self, pid: u32) -> Process {
        Process {
            alive: self.process_alive(pid),
            started: None,
        }
    }
    /// What the system says of itself and of this process.
    fn system(&self) -> System {
        System {
            pid: std::process::id(),
            ..System::default()
        }
    }
    /// Waits a little before trying again.
    fn pause(&self, ms: u64);
}
