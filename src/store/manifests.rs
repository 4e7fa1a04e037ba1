//! The manifests of a run: the files that are its checkpoints.
//!
//! *Invariants*: a file in `checkpoints/` whose name ends in `.json` is either a good checkpoint or
//! a damaged one with a reason, never an error for the others. Nothing is deleted here.
//!
//! A create has to know its siblings but not their content. What it found good is noted in `seen`,
//! with each file's stamp, and is not read again while the stamp stays the same. As in git, a file
//! whose stamp is not older than the note is read all the same: it may have been changed within the
//! tick of the clock in which it was noted.
//!
//! *Crash story*: the note is not synced and may be lost, old or torn; it carries a checksum, and
//! without it everything is read.
//!
//! *Limits*: without the run's lock a scan may miss what is published or dropped meanwhile; what
//! it gives was there whole.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::damage::Damage;
use crate::model::ids::CheckpointId;
use crate::model::manifest::{Check, Header, MANIFEST_MAX, inspect, sort_newest_first};
use crate::store::disk::{Disk, EntryKind, Metadata, Stamp};
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
    /// The file's stamp before it was read; `None` for one that was just written.
    pub stamp: Option<Stamp>,
    /// When all that it needs was last read and found whole, in milliseconds since 1970; only told by
    /// the verbs that look it up in [`crate::store::verified`].
    pub last_verified_ms: Option<i64>,
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

/// A note of what was found good, as it lies on the disk.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    /// The run: its folder may be copied or renamed, stamps and all.
    run_id: String,
    /// BLAKE3 over the entries' JSON.
    sum: String,
    entries: Vec<SeenEntry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct SeenEntry {
    size: u64,
    stamp: Stamp,
    header: Header,
}

fn sum_of(entries: &[SeenEntry]) -> String {
    let text = serde_json::to_vec(entries).unwrap_or_default();
    blake3::hash(&text).to_hex().to_string()
}

/// What is known from before, by file name without its ending, and when that was noted.
#[derive(Debug, Default)]
struct Known {
    entries: HashMap<String, SeenEntry>,
    noted_ns: i64,
}

impl Known {
    fn read(disk: &dyn Disk, run: &RunDir) -> Self {
        let path = run.seen();
        // Whatever is wrong with the note, reading the manifests themselves is the answer.
        let note = disk
            .metadata(&path)
            .and_then(|found| Ok((found, disk.read(&path, 16 << 20)?)));
        let Ok((found, bytes)) = note else {
            return Self::default();
        };
        match serde_json::from_slice::<Seen>(&bytes) {
            Ok(seen)
                if seen.run_id == run.run_id().as_str() && sum_of(&seen.entries) == seen.sum =>
            {
                Self {
                    entries: seen
                        .entries
                        .into_iter()
                        .map(|entry| (entry.header.checkpoint_id.as_str().to_owned(), entry))
                        .collect(),
                    noted_ns: found.stamp.modified_ns,
                }
            }
            _ => Self::default(),
        }
    }

    fn header(&self, name: &str, found: &Metadata) -> Option<&Header> {
        let entry = self.entries.get(name)?;
        let same = found.kind == EntryKind::File
            && found.len == entry.size
            && found.stamp == entry.stamp
            && found.stamp.changed_ns < self.noted_ns;
        same.then_some(&entry.header)
    }
}

/// The note is a multiple of this long, in bytes.
const NOTE_BLOCK: usize = 4 << 10;

/// Notes which checkpoints were found good, for the next [`scan_seen`]. The caller holds the run's
/// lock, and has just read, or written, what was not noted before. What a checkpoint keeps in the
/// store is noted of the newest only.
pub fn note_seen(disk: &dyn Disk, run: &RunDir, good: &[Good]) {
    let newest = good.iter().filter_map(|good| good.header.sequence).max();
    let entries: Vec<SeenEntry> = good
        .iter()
        .filter_map(|good| {
            // What was read has the stamp from before it was read: if it was replaced meanwhile,
            // the two differ the next time.
            let stamp = match good.stamp {
                Some(stamp) => stamp,
                None => disk.metadata(&good.path).ok()?.stamp,
            };
            Some(SeenEntry {
                size: good.size,
                stamp,
                header: if good.header.sequence == newest {
                    good.header.clone()
                } else {
                    good.header.without_objects()
                },
            })
        })
        .collect();
    let seen = Seen {
        run_id: run.run_id().to_string(),
        sum: sum_of(&entries),
        entries,
    };
    let mut bytes = serde_json::to_vec(&seen).unwrap_or_default();
    // Of one length mostly, so that it is written over without being cut.
    bytes.resize(bytes.len().next_multiple_of(NOTE_BLOCK), b' ');
    // Only ever a help: nothing fails for the lack of it.
    let _ = disk.overwrite(&run.seen(), &bytes);
}

/// The end of a manifest's file name.
const SUFFIX: &str = ".json";

/// Reads and checks every manifest of a run; empty if the run has none.
pub fn scan(disk: &dyn Disk, run: &RunDir, check: Check, cancel: &Cancel) -> Result<Scan> {
    scan_known(disk, run, check, &Known::default(), cancel)
}

/// Like [`scan`], but does not read what was found good before and did not change since. Damage that
/// the file system itself does not know of stays unnoticed here, and only the newest is sure to tell
/// what it keeps in the store.
pub fn scan_seen(disk: &dyn Disk, run: &RunDir, cancel: &Cancel) -> Result<Scan> {
    scan_known(disk, run, Check::Seal, &Known::read(disk, run), cancel)
}

fn scan_known(
    disk: &dyn Disk,
    run: &RunDir,
    check: Check,
    known: &Known,
    cancel: &Cancel,
) -> Result<Scan> {
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
        let found = disk.metadata(&path).ok();
        let modified_ms = || found.map_or(0, |found| found.modified_ms);
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
        let header = found.as_ref().and_then(|found| known.header(stem, found));
        let stamp = found.map(|found| found.stamp);
        if let (Some(header), Some(found)) = (header, found) {
            scan.good.push(Good {
                header: header.clone(),
                path,
                size: found.len,
                stamp,
                last_verified_ms: None,
            });
            continue;
        }
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
            Ok((header, size)) => scan.good.push(Good {
                header,
                path,
                size,
                stamp,
                last_verified_ms: None,
            }),
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
