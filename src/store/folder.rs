//! What Waymark asks of a folder whose files it replaces.
//!
//! A folder is opened once; every path is taken from there and never leads out: a component that is a
//! symbolic link, or becomes one meanwhile, makes the call fail. So files can be put back into folders
//! that other programs change at the same time. Implemented by the real disk
//! (`store::real_folder`) and by the simulated one of the tests.
//!
//! Paths are names joined by `/`, without one at either end; the empty path is the folder itself. The
//! last name is never followed either.

use std::io;

use crate::store::disk::{EntryKind, Hold, NewFile};

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub kind: EntryKind,
    /// Its permission bits (`0o7777`); 0 where there are none.
    pub mode: u32,
    /// Its size in bytes.
    pub len: u64,
    /// When its content changed last, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// An open folder.
///
/// A call gives `NotADirectory` if something on the way is no folder, a link included.
pub trait Folder: Send + Sync {
    /// Opens a folder inside.
    fn folder(&self, path: &[u8]) -> io::Result<Box<dyn Folder>>;
    /// Tells what stands at a path.
    fn found(&self, path: &[u8]) -> io::Result<Found>;
    /// Gives the names in a folder, in no particular order.
    fn list(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, EntryKind)>>;
    /// Hands out a regular file's content piece by piece; anything else is `InvalidInput`.
    fn read(&self, path: &[u8], take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;
    /// Reads where a link leads.
    fn read_link(&self, path: &[u8]) -> io::Result<Vec<u8>>;
    /// Creates a new file; `AlreadyExists` if the name is taken.
    fn create(&self, path: &[u8]) -> io::Result<Box<dyn NewFile>>;
    /// Creates a folder with these permission bits; `AlreadyExists` if the name is taken.
    fn create_dir(&self, path: &[u8], mode: u32) -> io::Result<()>;
    /// Creates a symbolic link; `AlreadyExists` if the name is taken.
    fn create_link(&self, path: &[u8], target: &[u8]) -> io::Result<()>;
    /// Sets the permission bits of a file or a folder; `InvalidInput` for anything else.
    fn set_mode(&self, path: &[u8], mode: u32) -> io::Result<()>;
    /// Gives each of two files or links the other's name, at once; `Unsupported` where the file
    /// system can't.
    fn exchange(&self, one: &[u8], other: &[u8]) -> io::Result<()>;
    /// Moves something to a new name; `AlreadyExists` if the name is taken.
    fn rename_new(&self, from: &[u8], to: &[u8]) -> io::Result<()>;
    /// Moves a file or a link, replacing what is there.
    fn rename(&self, from: &[u8], to: &[u8]) -> io::Result<()>;
    /// Gives a file or a link a second name; `AlreadyExists` if the name is taken.
    fn link(&self, from: &[u8], to: &[u8]) -> io::Result<()>;
    /// Holds a regular file or a folder, so that dropping its name is quick; `None` where that can't be.
    fn hold(&self, path: &[u8]) -> Option<Box<dyn Hold>> {
        let _ = path;
        None
    }
    /// Removes a file or a link.
    fn remove_file(&self, path: &[u8]) -> io::Result<()>;
    /// Removes an empty folder; `DirectoryNotEmpty` otherwise.
    fn remove_dir(&self, path: &[u8]) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &[u8]) -> io::Result<()>;
    /// Makes a file's content durable.
    fn sync_file(&self, path: &[u8]) -> io::Result<()>;
    /// Makes everything durable that was written to this file system; `Unsupported` where that can't
    /// be asked for.
    fn sync_all(&self) -> io::Result<()>;
}
