//! What a file system was seen to do. Values only; what they are worth is said elsewhere.

use std::io;
use std::path::PathBuf;

/// Why the system refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of error.
    pub kind: io::ErrorKind,
    /// The system's words.
    pub words: String,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self {
            kind: error.kind(),
            words: error.to_string(),
        }
    }
}

/// What came of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// What was seen.
    Saw(T),
    /// The system refused.
    Refused(Refusal),
    /// The question was not asked, and why.
    NotTried(&'static str),
}

impl<T> Answer<T> {
    /// What was seen, if anything.
    pub fn saw(&self) -> Option<&T> {
        match self {
            Self::Saw(seen) => Some(seen),
            _ => None,
        }
    }
}

impl<T> From<io::Result<T>> for Answer<T> {
    fn from(result: io::Result<T>) -> Self {
        match result {
            Ok(seen) => Self::Saw(seen),
            Err(error) => Self::Refused(error.into()),
        }
    }
}

/// Which file system a folder lies on; what can't be told is empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileSystem {
    /// Its type as the system names it, such as `ext4` or `fuse.sshfs`.
    pub kind: Option<String>,
    /// What is mounted: a device, a share.
    pub source: Option<String>,
    /// Where it is mounted.
    pub mount_point: Option<PathBuf>,
    /// The options it is mounted with.
    pub options: Vec<String>,
    /// The number by which `statfs` names its type.
    pub magic: Option<u64>,
    /// Whether it is mounted read-only.
    pub read_only: Option<bool>,
}

/// How much fits on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Its size in bytes.
    pub total: u64,
    /// The bytes that this user may still use.
    pub free: u64,
    /// How many files it can hold, and how many more; `None` where it has no such limit.
    pub inodes: Option<(u64, u64)>,
}

/// How a file gets a name that must be free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateOnly {
    /// A rename that refuses to replace.
    Rename,
    /// A hard link, then removing the first name.
    Link,
    /// Neither keeps what was there.
    Replaces,
}

/// What becomes of names that mean the same to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Two names, two files.
    Exact,
    /// Both find one file, which is listed as it was made.
    Folded,
    /// The file is listed under another name than it was made with.
    Changed,
}

/// How long a path can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathReach {
    /// The longest path, in bytes, that was given to the system as a whole.
    pub whole: usize,
    /// The longest path, in bytes, that was made at all: folder by folder, where that is possible.
    pub stepwise: usize,
}

/// How file times are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// What a time that is set is rounded to, in nanoseconds.
    pub stored_ns: u64,
    /// The smallest step between files written in a row, in nanoseconds; `None` if their times did
    /// not change while it was looked.
    pub step_ns: Option<u64>,
}

/// How holes in files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sparse {
    /// Whether a hole takes no space.
    pub saves: bool,
    /// Whether a hole can be found again (`SEEK_HOLE`); `None` if that was not asked.
    pub found: Option<bool>,
}

/// What was tried out in a folder of the probe's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trials {
    /// The median time of a file's sync, in nanoseconds.
    pub sync_file: Answer<u64>,
    /// The median time of a folder's sync, in nanoseconds.
    pub sync_folder: Answer<u64>,
    /// Whether a rename replaced a file.
    pub replace: Answer<bool>,
    /// How a file gets a name that must be free.
    pub create_only: Answer<CreateOnly>,
    /// Whether a file can have two names.
    pub hard_links: Answer<bool>,
    /// Whether a symbolic link keeps what it says.
    pub symlinks: Answer<bool>,
    /// Whether a lock that is held was refused, and was to be had again afterwards.
    pub locks: Answer<bool>,
    /// Names that differ in case.
    pub case: Answer<Names>,
    /// Names that differ in how an accent is encoded.
    pub unicode: Answer<Names>,
    /// Whether a name that is no UTF-8 is kept.
    pub raw_names: Answer<bool>,
    /// The longest name in bytes, looked for up to 255.
    pub name_bytes: Answer<usize>,
    /// How long a path can be.
    pub paths: Answer<PathReach>,
    /// How file times are kept.
    pub times: Answer<Times>,
    /// How holes are kept.
    pub sparse: Answer<Sparse>,
    /// Whether a file's content can be shared with a copy.
    pub reflink: Answer<bool>,
    /// Whether mode bits are kept.
    pub modes: Answer<bool>,
}

/// All that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The folder that was looked at.
    pub path: PathBuf,
    /// Which file system it lies on.
    pub file_system: FileSystem,
    /// How much fits.
    pub space: Answer<Space>,
    /// What was tried out; refused if nothing can be written.
    pub trials: Answer<Box<Trials>>,
    /// How many folders of killed probes were removed.
    pub swept: usize,
    /// Folders of probes that could not be removed, and why.
    pub stuck: Vec<(PathBuf, Refusal)>,
}
