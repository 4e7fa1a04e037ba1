//! What V8 compiled of Waymark's own JavaScript, kept for the next process that needs it.
//!
//! *Invariants*: bytes are given back as they were kept under that key, or not at all: V8 believes what it is
//! given, and would take the process down with it.
//!
//! *Crash story*: nothing is synced; a file may be lost, old or torn, or be written by two at once. It carries
//! the BLAKE3 hash of its key and bytes, and without a good one the JavaScript is compiled again.
//!
//! *Limits*: a folder keeps [`FILES_MAX`] files, those that were written last.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{IoContext, Result};
use crate::model::object::ObjectId;
use crate::store::disk::{Disk, EntryKind};
use crate::store::publish::remove;

/// The largest file that is read, in bytes.
const FILE_MAX: u64 = 16 << 20;
/// So many files are kept in a folder: some seven for each version of Node and its flags.
pub const FILES_MAX: usize = 28;
/// How long the hash is that a file begins with, in bytes.
const HASH_LEN: usize = 32;

/// What was kept under a key; `None` if there is nothing, or nothing that is whole.
#[must_use]
pub fn read(disk: &dyn Disk, folder: &Path, key: &str) -> Option<Vec<u8>> {
    let mut bytes = disk.read(&file(folder, key), FILE_MAX).ok()?;
    let (hash, kept) = bytes.split_at_checked(HASH_LEN)?;
    if hash != sum(key, kept) {
        return None;
    }
    bytes.drain(..HASH_LEN);
    Some(bytes)
}

/// Keeps bytes under a key. Makes the folder, if it is missing, and drops the files of it that were written longest ago.
pub fn keep(disk: &dyn Disk, folder: &Path, key: &str, bytes: &[u8]) -> Result<()> {
    match disk.create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(error).context("create", folder);
        }
        _ => {}
    }
    let path = file(folder, key);
    let text = [&sum(key, bytes)[..], bytes].concat();
    disk.overwrite(&path, &text).context("write", &path)?;
    drop_oldest(disk, folder)
}

fn drop_oldest(disk: &dyn Disk, folder: &Path) -> Result<()> {
    let entries = disk.list(folder).context("read", folder)?;
    let files = entries.iter().filter(|one| one.kind == EntryKind::File);
    let mut files: Vec<(i64, PathBuf)> = files
        .filter_map(|one| {
            let path = folder.join(&one.name);
            // One that is gone by now need not be dropped.
            let found = disk.metadata(&path).ok()?;
            Some((found.modified_ms, path))
        })
        .collect();
    files.sort();
    let too_many = files.len().saturating_sub(FILES_MAX);
    for (_, path) in &files[..too_many] {
        remove(disk, path)?;
    }
    Ok(())
}

fn file(folder: &Path, key: &str) -> PathBuf {
    let name = ObjectId::of(key.as_bytes()).to_string();
    folder.join(&name[..16])
}

fn sum(key: &str, bytes: &[u8]) -> [u8; HASH_LEN] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(bytes);
    *hasher.finalize().as_bytes()
}
