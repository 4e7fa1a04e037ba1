//! What a file system tells about a name, on every platform.

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A socket, a pipe, a device.
    Other,
    /// The listing did not say.
    Unknown,
}

/// What `lstat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// What it is; never [`Kind::Unknown`].
    pub(super) kind: Kind,
    /// Its permission bits (`0o7777`).
    pub(super) mode: u32,
    /// Its size in bytes.
    pub(super) size: u64,
    /// When its content changed last, in nanoseconds since 1970.
    pub(super) modified_ns: i64,
    /// When anything of it changed last, in nanoseconds since 1970.
    pub(super) changed_ns: i64,
    /// Its number on its file system; 0 where there is none.
    pub(super) inode: u64,
    /// Its file system; 0 where that can't be told.
    pub(super) device: u64,
    /// The bytes that are allocated for it.
    pub(super) allocated: u64,
}

impl Stat {
    /// Whether a file is still as it was. What is allocated for it may settle later.
    pub(super) fn same_content(&self, other: &Self) -> bool {
        Self {
            allocated: 0,
            ..*self
        } == Self {
            allocated: 0,
            ..*other
        }
    }
}
