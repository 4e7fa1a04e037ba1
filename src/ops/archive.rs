//! Archives checkpoints instead of dropping them, tells what is archived, and brings it back.
//!
//! An archived checkpoint is a file of its own in the store's folder, `archive/<run>/<checkpoint>.wmk`, as
//! `export` writes one: whole in itself, so that gc needs to keep nothing for it, and the file may be copied,
//! imported elsewhere or deleted. It is durable before the checkpoint leaves its run. Killed in between, the
//! checkpoint is in both; the next prune finds it archived, holds the file against the manifest, and drops.
//!
//! Bringing back is an import. The file stays unless it is to go, so that what retention drops again is not
//! lost; it only goes while the run's lock is held and the checkpoint is in the run.

use std::io;
use std::path::PathBuf;

use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::model::ids::{CheckpointId, RunId};
use crate::model::manifest::{Check, Header, inspect, newest_first};
use crate::model::object::ObjectId;
use crate::model::progress::Progress;
use crate::ops::{Context, export, import, not_found};
use crate::store::archive::Archive;
use crate::store::disk::{Disk, EntryKind};
use crate::store::manifests::{Good, bytes_of};
use crate::store::objects::Store;
use crate::store::place::{ARCHIVE_SUFFIX, StoreDir};
use crate::store::publish::{remove, sync_parent};

/// A checkpoint that was archived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The checkpoint.
    pub checkpoint_id: CheckpointId,
    /// Its archive.
    pub path: PathBuf,
    /// The archive's length in bytes.
    pub file_bytes: u64,
    /// True if it was archived before.
    pub was_there: bool,
}

/// A file among the archived checkpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Shelved {
    /// The run.
    pub run_id: String,
    /// The checkpoint, by the file's name.
    pub checkpoint_id: String,
    /// What its manifest says; else what is wrong with the file, which can't be brought back.
    pub found: std::result::Result<Header, String>,
    /// The file.
    pub path: PathBuf,
    /// Its length in bytes.
    pub file_bytes: u64,
}

/// How a checkpoint is brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// Whether the archive goes once the checkpoint is safe in its run.
    pub remove: bool,
    /// The store's budget, in bytes; `None` is none.
    pub max_store_bytes: Option<u64>,
}

/// Archives a checkpoint of the run, durably. The run's lock is held, and the run stays as it is.
pub(super) fn archive(context: &Context<'_>, good: &Good) -> Result<Archived> {
    let (disk, run) = (context.disk, context.run);
    let Some(place) = context.store else {
        return Err(Error::OptionValue {
            name: "archive",
            reason: "there is no store to archive into".to_owned(),
        });
    };
    let id = &good.header.checkpoint_id;
    let bytes = bytes_of(disk, run, id)?;
    // What was noted of it says less than the manifest itself.
    let header = inspect(&bytes, id.as_str(), run.run_id(), Check::Checksum).map_err(|damage| {
        Error::CheckpointDamaged {
            run_id: run.run_id().to_string(),
            checkpoint_id: id.to_string(),
            path: good.path.clone(),
            damage,
        }
    })?;
    Store::make(disk, place, context.now_ms)?;
    let folder = place.archives_of(run.run_id());
    for path in [&place.archives(), &folder] {
        match disk.create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create", path, error));
            }
            // Whoever made it may have been killed before it was durable.
            _ => sync_parent(disk, path)?,
        }
    }
    let path = place.archived(run.run_id(), id);
    let there = there(context, &path, &ObjectId::of(&bytes))?;
    if let There::Same(file_bytes) = there {
        disk.sync_dir(&folder).context("sync", &folder)?;
        return Ok(Archived {
            checkpoint_id: id.clone(),
            path,
            file_bytes,
            was_there: true,
        });
    }
    // Its own progress is nobody's concern.
    let unseen = Progress::default();
    let context = &Context {
        progress: &unseen,
        ..*context
    };
    let overwrite = there == There::Damaged;
    let done = export::write(context, &path, vec![header], false, overwrite)?;
    Ok(Archived {
        checkpoint_id: id.clone(),
        path: done.path,
        file_bytes: done.file_bytes,
        was_there: false,
    })
}

/// What lies where an archive goes.
#[derive(Debug, PartialEq, Eq)]
enum There {
    Nothing,
    /// An archive that is not whole.
    Damaged,
    /// The checkpoint, whole; with the archive's length in bytes.
    Same(u64),
}

fn there(context: &Context<'_>, path: &std::path::Path, manifest: &ObjectId) -> Result<There> {
    match context.disk.metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(There::Nothing),
        Err(error) => return Err(Error::io("read", path, error)),
        Ok(_) => {}
    }
    let found = import::check(context.disk, path, context.cancel, &Progress::default());
    let found = match found {
        Ok(found) => found,
        Err(Error::ArchiveDamaged { .. } | Error::CheckpointDamaged { .. }) => {
            return Ok(There::Damaged);
        }
        Err(error) => return Err(error),
    };
    let listed = Archive::open(context.disk, path)?;
    let mut listed = listed.contents().checkpoints.iter();
    if listed.any(|one| one.manifest.id == *manifest) {
        return Ok(There::Same(found.file_bytes));
    }
    Err(Error::PathExists {
        path: path.to_path_buf(),
        advice: "it is another checkpoint of that id, archived; move it away",
    })
}

/// What is archived of a run, or of all: by run, newest first. Reads the beginning of each file.
pub fn archived(
    disk: &dyn Disk,
    place: &StoreDir,
    run_id: Option<&RunId>,
    cancel: &Cancel,
) -> Result<Vec<Shelved>> {
    let mut runs = Vec::new();
    if let Some(run_id) = run_id {
        runs.push(run_id.clone());
    } else {
        let folders = names(disk, &place.archives(), EntryKind::Directory)?;
        runs.extend(folders.iter().filter_map(|name| RunId::parse(name).ok()));
    }
    let mut all = Vec::new();
    for run_id in runs {
        let folder = place.archives_of(&run_id);
        let mut rows = Vec::new();
        for name in names(disk, &folder, EntryKind::File)? {
            cancel.check()?;
            let id = name.strip_suffix(ARCHIVE_SUFFIX);
            let Some(id) = id.and_then(|id| CheckpointId::parse(id).ok()) else {
                continue;
            };
            let path = folder.join(&name);
            let file_bytes = match disk.metadata(&path) {
                Ok(found) => found.len,
                // It was removed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("read", &path, error)),
            };
            rows.push(Shelved {
                found: header_in(disk, place, &run_id, &id).map_err(|error| error.full_message()),
                run_id: run_id.to_string(),
                checkpoint_id: id.to_string(),
                path,
                file_bytes,
            });
        }
        newest_first(&mut rows, |row| {
            let header = row.found.as_ref().ok();
            let sequence = header.and_then(|header| header.sequence);
            let created_ms = header.map_or(0, |header| header.created_ms);
            (sequence, created_ms, &row.checkpoint_id)
        });
        all.extend(rows);
    }
    Ok(all)
}

/// The names of what is of a kind in a folder, in order; none without the folder.
fn names(disk: &dyn Disk, folder: &std::path::Path, kind: EntryKind) -> Result<Vec<String>> {
    let entries = match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context("read", folder)?,
    };
    let of_kind = entries.into_iter().filter(|entry| entry.kind == kind);
    let mut names: Vec<String> = of_kind
        .filter_map(|entry| entry.name.into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// What the manifest in an archived checkpoint's file says.
fn header_in(
    disk: &dyn Disk,
    place: &StoreDir,
    run_id: &RunId,
    id: &CheckpointId,
) -> Result<Header> {
    let path = place.archived(run_id, id);
    let archive = Archive::open(disk, &path)?;
    let contents = archive.contents();
    let own = contents
        .checkpoints
        .iter()
        .map(|one| one.checkpoint_id.as_str());
    if contents.run_id != run_id.as_str() || !own.eq([id.as_str()]) {
        let what = format!("it is not checkpoint {id} of run {run_id}, as its name says");
        return Err(archive.damaged("inconsistent", &what, 0));
    }
    inspect(&archive.first()?, id.as_str(), run_id, Check::Seal).map_err(|damage| {
        Error::CheckpointDamaged {
            run_id: run_id.to_string(),
            checkpoint_id: id.to_string(),
            path,
            damage,
        }
    })
}

/// Brings an archived checkpoint back into its run; a run that is gone is made anew.
pub fn unarchive(
    context: &Context<'_>,
    id: &CheckpointId,
    request: &Request,
) -> Result<import::Outcome> {
    let (disk, run) = (context.disk, context.run);
    let place = context
        .store
        .ok_or_else(|| not_found(context, id.as_str()))?;
    let path = place.archived(run.run_id(), id);
    match disk.metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(not_found(context, id.as_str()));
        }
        found => found.context("read", &path)?,
    };
    header_in(disk, place, run.run_id(), id)?;
    let wanted = import::Request {
        merge: false,
        max_store_bytes: request.max_store_bytes,
    };
    let done = import::import(context, &path, &wanted)?;
    if request.remove {
        let manifest = Archive::open(disk, &path)?.contents().checkpoints[0]
            .manifest
            .id;
        let (_lock, _) = context.begin()?;
        // Somebody may have dropped it again.
        if bytes_of(disk, run, id).is_ok_and(|bytes| ObjectId::of(&bytes) == manifest) {
            remove(disk, &path)?;
            sync_parent(disk, &path)?;
        }
    }
    Ok(done)
}
