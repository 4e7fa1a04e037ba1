//! The folders of runs whose checkpoints may need the store's objects.
//!
//! One small file per folder in `.waymark/roots/`, named by the hash of its content. So two processes
//! never lose each other's entry, a damaged one is seen, and it harms no other: whoever creates a
//! checkpoint knows what his own entry must be, and writes it anew. A folder inside the project is
//! named relative to it, so that the project can be moved.
//!
//! *Invariants*: an entry is durable before the first object that its checkpoints need is written. A
//! file named `*.json` was durable as `*.pending` before, so seeing it is enough.
//!
//! *Crash story*: a `*.pending` entry counts as well, and is made durable by the next create; a
//! `staged-` file is removed by gc.
//!
//! *Limits*: a folder that is reached by two names is registered twice. A folder whose disk is not
//! mounted and that is empty therefore looks like one without runs.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::store::disk::Disk;
use crate::store::objects::wait_for;
use crate::store::place::StoreDir;
use crate::store::publish::{Staged, remove, sync_parent};

const DONE: &str = "json";
const PENDING: &str = "pending";
const STAGED: &str = "staged-";
/// Longer than any path can be, in bytes.
const ENTRY_MAX: u64 = 1 << 20;

/// An entry, as it lies on the disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    format: u32,
    /// Relative to the store's parent, with `/`; or absolute.
    path: String,
}

const FORMAT: u32 = 1;

/// What an entry of a folder must be: its name without ending, and its content.
fn entry_of(place: &StoreDir, runs_dir: &Path) -> Result<(String, Vec<u8>)> {
    let project = place.path().parent().unwrap_or(place.path());
    let not_text = || Error::PathInvalid {
        path: runs_dir.display().to_string(),
        reason: "charset",
    };
    let path = match runs_dir.strip_prefix(project) {
        Ok(inside) => {
            let parts: Option<Vec<&str>> = inside
                .components()
                .map(|part| part.as_os_str().to_str())
                .collect();
            let path = parts.ok_or_else(not_text)?.join("/");
            if path.is_empty() {
                ".".to_owned()
            } else {
                path
            }
        }
        Err(_) => runs_dir.to_str().ok_or_else(not_text)?.to_owned(),
    };
    let entry = Entry {
        format: FORMAT,
        path,
    };
    let mut content = serde_json::to_vec(&entry).unwrap_or_default();
    content.push(b'\n');
    Ok((name_of(&content), content))
}

fn name_of(content: &[u8]) -> String {
    blake3::hash(content).to_hex()[..32].to_owned()
}

fn file(place: &StoreDir, name: &str, end: &str) -> PathBuf {
    place.roots().join(format!("{name}.{end}"))
}

/// Notes durably that checkpoints below `runs_dir`, which is absolute, may need the store's objects.
/// The store exists. Costs one small read if it is noted already.
pub fn register(disk: &dyn Disk, place: &StoreDir, runs_dir: &Path, cancel: &Cancel) -> Result<()> {
    let (name, content) = entry_of(place, runs_dir)?;
    let (done, pending) = (file(place, &name, DONE), file(place, &name, PENDING));
    if disk
        .read(&done, ENTRY_MAX)
        .is_ok_and(|found| found == content)
    {
        return Ok(());
    }
    // Shared with writers: gc, which removes leftovers, is kept out.
    let lock = place.lock();
    let _share = wait_for(disk, &lock, cancel, || disk.try_lock_shared(&lock))?;
    let folder = place.roots();
    match disk.create_dir(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Error::io("create", &folder, error)),
    }
    disk.sync_dir(place.path()).context("sync", place.path())?;
    let mut tried = 0_u32;
    let staged = loop {
        // Threads of one process may be at it at once.
        let path = folder.join(format!("{STAGED}{name}-{}-{tried}", std::process::id()));
        match Staged::write(disk, path, &content) {
            Err(Error::Io { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists && tried < 1_000 =>
            {
                tried += 1;
            }
            staged => break staged?,
        }
    };
    staged.publish_over(&pending)?;
    match disk.rename(&pending, &done) {
        // Another process was quicker.
        Err(error) if error.kind() == io::ErrorKind::NotFound => sync_parent(disk, &done),
        renamed => renamed.context("publish", &done),
    }
}

/// A file in the registry.
enum Found {
    Root(PathBuf),
    Staged,
    /// Not ours, or no longer whole.
    Damaged(String),
}

fn entries(disk: &dyn Disk, place: &StoreDir) -> Result<Vec<(PathBuf, Found)>> {
    let folder = place.roots();
    let listed = match disk.list(&folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", &folder, error)),
    };
    let mut found = Vec::new();
    for entry in listed {
        let path = folder.join(&entry.name);
        let name = entry.name.to_string_lossy();
        if name.starts_with(STAGED) {
            found.push((path, Found::Staged));
            continue;
        }
        let content = match disk.read(&path, ENTRY_MAX) {
            Ok(content) => content,
            // It was just made final, under its other name.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let done = path.with_extension(DONE);
                match disk.read(&done, ENTRY_MAX) {
                    Ok(content) => content,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(Error::io("read", &done, error)),
                }
            }
            Err(error) => {
                found.push((path, Found::Damaged(error.to_string())));
                continue;
            }
        };
        let stem = name.split('.').next().unwrap_or_default();
        let what = match serde_json::from_slice::<Entry>(&content) {
            Ok(entry) if entry.format != FORMAT => {
                Found::Damaged(format!("it has format {}", entry.format))
            }
            Ok(entry) if name_of(&content) == stem => {
                let project = place.path().parent().unwrap_or(place.path());
                Found::Root(if entry.path == "." {
                    project.to_path_buf()
                } else {
                    // An absolute path stays as it is.
                    project.join(entry.path)
                })
            }
            Ok(_) => Found::Damaged("its content was altered".to_owned()),
            Err(error) => Found::Damaged(format!("it is no entry: {error}")),
        };
        found.push((path, what));
    }
    Ok(found)
}

/// The registered folders, in order, without those that `except` names. A damaged entry is an error:
/// nobody knows which folder it stood for.
pub fn list(disk: &dyn Disk, place: &StoreDir, except: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut roots = Vec::new();
    for (path, found) in entries(disk, place)? {
        match found {
            Found::Root(root) => roots.push(root),
            Found::Staged => {}
            Found::Damaged(reason) => return Err(Error::StoreRootsDamaged { path, reason }),
        }
    }
    roots.retain(|root| !except.contains(root));
    roots.sort();
    roots.dedup();
    Ok(roots)
}

/// Forgets a folder: what its checkpoints need is kept no longer. `false` if it was not registered.
pub fn forget(disk: &dyn Disk, place: &StoreDir, runs_dir: &Path) -> Result<bool> {
    let mut forgotten = false;
    for (path, found) in entries(disk, place)? {
        if matches!(found, Found::Root(root) if root == runs_dir) {
            remove(disk, &path)?;
            forgotten = true;
        }
    }
    if forgotten {
        let folder = place.roots();
        disk.sync_dir(&folder).context("sync", &folder)?;
    }
    Ok(forgotten)
}

/// Removes what killed processes left. The caller keeps writers out.
pub fn tidy(disk: &dyn Disk, place: &StoreDir) -> Result<()> {
    for (path, found) in entries(disk, place)? {
        if matches!(found, Found::Staged) {
            remove(disk, &path)?;
        }
    }
    Ok(())
}
