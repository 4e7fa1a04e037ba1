//! Files by hash, for fingerprints: lock files, the workflow file, and those that are declared.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::error::{Error, Result};
use crate::model::manifest::sha256;

/// Larger files are known by size and time alone, in bytes.
const READ_MAX: u64 = 16 << 20;

/// What is known of a file from a look before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// What it looked like.
    pub stamp: String,
    /// Its SHA-256 then.
    pub hash: String,
}

/// A file as a look finds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hashed {
    /// The SHA-256 of its content as hex digits, or what it is known by without being read; `None` if there is none.
    pub told: Option<String>,
    /// What it looks like: as long as that is the same it need not be read again. `None` for what was not read.
    pub stamp: Option<String>,
}

/// Looks at a file, and reads it unless it looks as it did.
pub fn hash_file(path: &Path, known: Option<&Known>) -> Result<Hashed> {
    match look(path, known) {
        Ok(found) => Ok(found),
        Err(error) if is_nothing(&error) => Ok(Hashed::default()),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// As Node tells it: on Windows a name that no file can have is one that is not there (`ERROR_INVALID_NAME`,
/// `ERROR_BAD_PATHNAME`).
fn is_nothing(error: &io::Error) -> bool {
    let invalid = cfg!(windows) && matches!(error.raw_os_error(), Some(123 | 161));
    invalid || matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn look(path: &Path, known: Option<&Known>) -> io::Result<Hashed> {
    let found = fs::metadata(path)?;
    let unread = |told: String| {
        Ok(Hashed {
            told: Some(told),
            stamp: None,
        })
    };
    if found.is_dir() {
        return unread("a folder".to_owned());
    }
    // A named pipe would never end.
    if !found.is_file() {
        return unread("no file".to_owned());
    }
    if found.len() > READ_MAX {
        return unread(format!("{} bytes of {}", found.len(), modified_ms(&found)));
    }
    let stamp = stamp_of(&found);
    let before = known.filter(|known| Some(&known.stamp) == stamp.as_ref());
    let told = match before {
        Some(known) => known.hash.clone(),
        None => sha256(&fs::read(path)?),
    };
    Ok(Hashed {
        told: Some(told),
        stamp,
    })
}

/// When it was changed, in whole milliseconds since 1970.
fn modified_ms(found: &Metadata) -> i128 {
    let time = found.modified().unwrap_or(std::time::UNIX_EPOCH);
    match time.duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => i128::try_from(since.as_millis()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_millis()).unwrap_or(i128::MAX),
    }
}

/// Its length, times of change and number; the second word is when its content was changed, in nanoseconds.
#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere there is none")]
fn stamp_of(found: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
    Some(format!(
        "{} {} {} {}",
        found.len(),
        ns(found.mtime(), found.mtime_nsec()),
        ns(found.ctime(), found.ctime_nsec()),
        found.ino(),
    ))
}

#[cfg(not(unix))]
fn stamp_of(_: &Metadata) -> Option<String> {
    None
}
