//! The manifests of a run: the files that are its checkpoints.
//!
//! *Invariants*: a file in `checkpoints/` whose name ends in `.json` is either a good checkpoint or
//! a damaged one with a reason, never an error for the others. Nothing is deleted here.
//!
//! *Crash story*: reads only.
//!
//! *Limits*: without the run's lock a scan may miss what is published or dropped meanwhile; what
//! it gives was there whole.

use std::io;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::damage::Damage;
use crate::model::ids::CheckpointId;
use crate::model::manifest::{Check, Header, MANIFEST_MAX, inspect, sort_newest_first};
use crate::store::disk::{Disk, EntryKind};
use crate::store::layout::RunDir;

/// A checkpoint that is whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Good {
    /// What its manifest says.
    pub header: Header,
    /// Its manifest.
    pub path: PathBuf,
    /// The manifest's size in bytes.
    pub size: u64,
}

/// A file that is no restorable checkpoint of this run.
#[derive(Debug, Clone, PartialEq)]
pub struct Damaged {
    /// The file's name without `.json`; U+FFFD for what is not UTF-8.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub damage: Damage,
    /// When it changed last, in milliseconds since 1970; 0 if that can't be told.
    pub modified_ms: i64,
}

/// All checkpoints of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scan {
    /// The good ones, newest first.
    pub good: Vec<Good>,
    /// The damaged ones, the last changed first.
    pub damaged: Vec<Damaged>,
}

/// The end of a manifest's file name.
const SUFFIX: &str = ".json";

/// Reads and checks every manifest of a run; empty if the run has none.
pub fn scan(disk: &dyn Disk, run: &RunDir, check: Check, cancel: &Cancel) -> Result<Scan> {
    let folder = run.checkpoints();
    let entries = match disk.list(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Scan::default()),
        Err(error) => return Err(Error::io("read", &folder, error)),
    };
    let mut scan = Scan::default();
    for entry in entries {
        cancel.check()?;
        let path = folder.join(&entry.name);
        let modified_ms = || disk.metadata(&path).map_or(0, |found| found.modified_ms);
        let Some(name) = entry.name.to_str() else {
            let name = entry.name.to_string_lossy();
            if let Some(stem) = name.strip_suffix(SUFFIX) {
                scan.damaged.push(Damaged {
                    name: stem.to_owned(),
                    modified_ms: modified_ms(),
                    path,
                    damage: Damage::NotCheckpoint("its name is not UTF-8"),
                });
            }
            continue;
        };
        let Some(stem) = name.strip_suffix(SUFFIX) else {
            continue;
        };
        let found = if entry.kind == EntryKind::File {
            match read(disk, &path) {
                None => continue,
                Some(Ok(bytes)) => inspect(&bytes, stem, run.run_id(), check)
                    .map(|header| (header, bytes.len() as u64)),
                Some(Err(damage)) => Err(damage),
            }
        } else {
            Err(Damage::NotRegular)
        };
        match found {
            Ok((header, size)) => scan.good.push(Good { header, path, size }),
            Err(damage) => scan.damaged.push(Damaged {
                name: stem.to_owned(),
                modified_ms: modified_ms(),
                path,
                damage,
            }),
        }
    }
    sort_newest_first(&mut scan.good, |good| &good.header);
    scan.damaged.sort_by(|left, right| {
        right
            .modified_ms
            .cmp(&left.modified_ms)
            .then_with(|| left.name.cmp(&right.name))
    });
    Ok(scan)
}

/// The bytes of a manifest; `None` if it is gone.
fn read(disk: &dyn Disk, path: &std::path::Path) -> Option<std::result::Result<Vec<u8>, Damage>> {
    match disk.read(path, MANIFEST_MAX) {
        Ok(bytes) => Some(Ok(bytes)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => None,
            io::ErrorKind::InvalidInput => Some(Err(Damage::NotRegular)),
            io::ErrorKind::FileTooLarge => {
                let size = disk.metadata(path).map_or(MANIFEST_MAX, |found| found.len);
                Some(Err(Damage::TooLarge(size)))
            }
            _ => Some(Err(Damage::Unreadable(error.to_string()))),
        },
    }
}

/// The bytes of one checkpoint's manifest.
pub fn bytes_of(disk: &dyn Disk, run: &RunDir, id: &CheckpointId) -> Result<Vec<u8>> {
    let path = run.manifest(id);
    match read(disk, &path) {
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(damage)) => Err(Error::CheckpointDamaged {
            run_id: run.run_id().to_string(),
            checkpoint_id: id.to_string(),
            path,
            damage,
        }),
        None => Err(Error::CheckpointNotFound {
            run_id: run.run_id().to_string(),
            checkpoint_id: id.to_string(),
        }),
    }
}
