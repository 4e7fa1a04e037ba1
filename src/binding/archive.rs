//! Export and import, for JavaScript.

use std::path::PathBuf;

use napi::Either;
use napi_derive::napi;

use crate::binding::convert::{hints, number, path, skipped, step_out, whole};
use crate::binding::job::{Job, now};
use crate::binding::types::{Place, SkippedCheckpoint};
use crate::binding::{CancelToken, Handle, Pending, Reply, in_project, on_run, token};
use crate::error::Result;
use crate::model::ids::{CheckpointId, RunId};
use crate::model::manifest::Header;
use crate::model::progress::Phase;
use crate::model::step::STEP_MAX;
use crate::ops::export::{self, folder};
use crate::ops::{archive, import, locate};
use crate::store::real_disk::RealDisk;

/// What goes into an archive.
#[napi(object, object_to_js = false)]
pub struct ExportRequest {
    /// Only this checkpoint.
    pub checkpoint_id: Option<String>,
    /// Where the archive goes, absolute.
    pub target: String,
    /// Whether a file that is there is replaced.
    pub overwrite: bool,
    /// Whether damaged checkpoints are left out instead of refused.
    pub allow_damaged: bool,
}

/// A checkpoint in an archive.
#[napi(object, object_from_js = false)]
pub struct ArchivedCheckpoint {
    /// Its id.
    pub checkpoint_id: String,
    /// The step that was done.
    pub step: Either<f64, String>,
    /// Its creation time, ISO 8601.
    pub timestamp: String,
    /// SHA-256 by the rule in `docs/format.md`.
    pub checksum: String,
}

/// An archive that was written.
#[napi(object, object_from_js = false)]
pub struct ExportOutcome {
    /// The archive's absolute path.
    pub path: String,
    /// Its length in bytes.
    pub file_bytes: f64,
    /// BLAKE3 of the file, hex.
    pub hash: String,
    /// The checkpoints in it, oldest first.
    pub checkpoints: Vec<ArchivedCheckpoint>,
    /// Damaged ones that were left out.
    pub left_out: Vec<SkippedCheckpoint>,
    /// How many objects are in it.
    pub objects: f64,
    /// The bytes of all of it, before compression.
    pub bytes: f64,
}

/// Which checkpoint becomes a folder.
#[napi(object, object_to_js = false)]
pub struct ExportFolderRequest {
    /// The checkpoint.
    pub checkpoint_id: String,
    /// Where the folder goes, absolute.
    pub target: String,
    /// Whether what is whole of a damaged checkpoint is exported.
    pub allow_damaged: bool,
}

/// How much is in an exported folder, and how much is not.
#[napi(object, object_from_js = false)]
pub struct ExportSummary {
    /// Files with their content.
    pub files: f64,
    /// Their sizes together, in bytes.
    pub bytes: f64,
    /// Folders.
    pub folders: f64,
    /// Symbolic links that were made.
    pub links: f64,
    /// Links that are only described, because they could lead out of their folder.
    pub described: f64,
    /// Files whose content is in no checkpoint, because they hold secrets.
    pub withheld: f64,
    /// What could not be captured when the checkpoint was taken.
    pub skipped: f64,
    /// Names that this system, or its file system, does not have.
    pub refused: f64,
    /// Files, folders and members of the state that the store can't give back.
    pub damaged: f64,
}

/// A folder that was made of a checkpoint.
#[napi(object, object_from_js = false)]
pub struct ExportFolderOutcome {
    /// The folder's absolute path.
    pub path: String,
    /// The checkpoint.
    pub checkpoint_id: String,
    /// Its step.
    pub step: Either<f64, String>,
    /// Its creation time, ISO 8601.
    pub timestamp: String,
    /// True if everything that the checkpoint holds is in the folder, or described in its report.
    pub whole: bool,
    /// How much is in it, and how much is not.
    pub summary: ExportSummary,
}

/// A file among the archived checkpoints of a project.
#[napi(object, object_from_js = false)]
pub struct ShelvedCheckpoint {
    /// The run.
    pub run_id: String,
    /// The checkpoint, by the file's name.
    pub checkpoint_id: String,
    /// The step that was done; absent with a problem.
    pub step: Option<Either<f64, String>>,
    /// Its creation time, ISO 8601; absent with a problem.
    pub timestamp: Option<String>,
    /// The file's absolute path.
    pub path: String,
    /// Its length in bytes.
    pub file_bytes: f64,
    /// Why it can't be brought back; absent if nothing is wrong with its beginning.
    pub problem: Option<String>,
}

/// How an archived checkpoint is brought back.
#[napi(object, object_to_js = false)]
pub struct UnarchiveRequest {
    /// The checkpoint.
    pub checkpoint_id: String,
    /// Whether its archive goes once it is safe in the run.
    pub remove: bool,
    /// The store's budget, in bytes; absent is none.
    pub max_store_bytes: Option<f64>,
}

/// How an archive is imported.
#[napi(object, object_to_js = false)]
pub struct ImportRequest {
    /// The archive, absolute.
    pub file: String,
    /// Whether checkpoints of another run of the same id are added to the one that is here.
    pub merge: bool,
    /// The store's budget, in bytes; absent is none.
    pub max_store_bytes: Option<f64>,
}

/// A checkpoint of an archive.
#[napi(object, object_from_js = false)]
pub struct ImportedCheckpoint {
    /// Its id.
    pub checkpoint_id: String,
    /// The step that was done.
    pub step: Either<f64, String>,
    /// Its creation time, ISO 8601.
    pub timestamp: String,
    /// The manifest's size in bytes.
    pub size: f64,
    /// SHA-256 by the rule in `docs/format.md`.
    pub checksum: String,
    /// True if it was here already, byte for byte.
    pub was_here: bool,
}

/// What an import wrote.
#[napi(object, object_from_js = false)]
pub struct ImportWritten {
    /// The run's folder.
    pub path: String,
    /// True if the run was not here before.
    pub new_run: bool,
    /// How many bytes were added to the store.
    pub added_bytes: f64,
    /// What went wrong after the checkpoints were safe.
    pub warnings: Vec<String>,
}

/// An archive that was found whole.
#[napi(object, object_from_js = false)]
pub struct ImportOutcome {
    /// The run.
    pub run_id: String,
    /// The version of Waymark that made the archive.
    pub made_by: String,
    /// Whether it holds every checkpoint that the run had.
    pub whole_run: bool,
    /// Its checkpoints, newest first.
    pub checkpoints: Vec<ImportedCheckpoint>,
    /// How many objects they need.
    pub objects: f64,
    /// The bytes of all of it, unpacked.
    pub bytes: f64,
    /// The archive's length in bytes.
    pub file_bytes: f64,
    /// What was written; absent if it was only checked.
    pub written: Option<ImportWritten>,
}

impl From<export::Exported> for ExportOutcome {
    fn from(done: export::Exported) -> Self {
        let archived = |header: Header| ArchivedCheckpoint {
            checkpoint_id: header.checkpoint_id.to_string(),
            step: step_out(header.step),
            timestamp: header.timestamp,
            checksum: header.checksum,
        };
        Self {
            path: path(&done.path),
            file_bytes: number(done.file_bytes),
            hash: done.hash.to_string(),
            checkpoints: done.checkpoints.into_iter().map(archived).collect(),
            left_out: skipped(&done.left_out),
            objects: number(done.objects),
            bytes: number(done.bytes),
        }
    }
}

impl From<folder::Exported> for ExportFolderOutcome {
    fn from(done: folder::Exported) -> Self {
        let found = &done.summary;
        Self {
            path: path(&done.path),
            checkpoint_id: done.header.checkpoint_id.to_string(),
            step: step_out(done.header.step),
            timestamp: done.header.timestamp,
            whole: found.is_whole(),
            summary: ExportSummary {
                files: number(found.files),
                bytes: number(found.bytes),
                folders: number(found.folders),
                links: number(found.links),
                described: number(found.described),
                withheld: number(found.withheld),
                skipped: number(found.skipped),
                refused: number(found.refused),
                damaged: number(found.damaged),
            },
        }
    }
}

impl From<import::Outcome> for ImportOutcome {
    fn from(done: import::Outcome) -> Self {
        let imported = |one: import::Imported| ImportedCheckpoint {
            checkpoint_id: one.header.checkpoint_id.to_string(),
            step: step_out(one.header.step),
            timestamp: one.header.timestamp,
            size: number(one.size),
            checksum: one.header.checksum,
            was_here: one.was_here,
        };
        Self {
            run_id: done.run_id.to_string(),
            made_by: done.made_by,
            whole_run: done.whole_run,
            checkpoints: done.checkpoints.into_iter().map(imported).collect(),
            objects: number(done.objects),
            bytes: number(done.bytes),
            file_bytes: number(done.file_bytes),
            written: done.written.map(|written| ImportWritten {
                path: path(&written.path),
                new_run: written.new_run,
                added_bytes: number(written.added_bytes),
                warnings: written.warnings,
            }),
        }
    }
}

fn export_work(
    place: Place,
    run_id: String,
    wanted: ExportRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<export::Exported> + Send {
    move || {
        let id = wanted.checkpoint_id.as_deref().map(CheckpointId::parse);
        let request = export::Request {
            checkpoint_id: id.transpose()?,
            overwrite: wanted.overwrite,
            allow_damaged: wanted.allow_damaged,
        };
        let target = PathBuf::from(wanted.target);
        on_run(place, &run_id, &handle, |context| {
            export::export(context, &target, &request)
        })
    }
}

/// Writes checkpoints of a run to an archive.
#[napi(ts_return_type = "Failure | ExportOutcome")]
#[must_use]
pub fn export_archive_sync(
    place: Place,
    run_id: String,
    request: ExportRequest,
) -> Reply<ExportOutcome> {
    now(export_work(place, run_id, request, Handle::default()))
}

/// Writes checkpoints of a run to an archive.
#[napi(ts_return_type = "Promise<Failure | ExportOutcome>")]
#[must_use]
pub fn export_archive(
    place: Place,
    run_id: String,
    request: ExportRequest,
    cancel: Option<&CancelToken>,
) -> Pending<export::Exported, ExportOutcome> {
    Job::task(export_work(place, run_id, request, token(cancel)))
}

fn folder_work(
    place: Place,
    run_id: String,
    wanted: ExportFolderRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<folder::Exported> + Send {
    move || {
        let request = folder::Request {
            checkpoint_id: CheckpointId::parse(&wanted.checkpoint_id)?,
            allow_damaged: wanted.allow_damaged,
        };
        let target = PathBuf::from(wanted.target);
        on_run(place, &run_id, &handle, |context| {
            folder::export_folder(context, &target, &request)
        })
    }
}

/// Makes a folder of a checkpoint.
#[napi(ts_return_type = "Failure | ExportFolderOutcome")]
#[must_use]
pub fn export_folder_sync(
    place: Place,
    run_id: String,
    request: ExportFolderRequest,
) -> Reply<ExportFolderOutcome> {
    now(folder_work(place, run_id, request, Handle::default()))
}

/// Makes a folder of a checkpoint.
#[napi(ts_return_type = "Promise<Failure | ExportFolderOutcome>")]
#[must_use]
pub fn export_folder(
    place: Place,
    run_id: String,
    request: ExportFolderRequest,
    cancel: Option<&CancelToken>,
) -> Pending<folder::Exported, ExportFolderOutcome> {
    Job::task(folder_work(place, run_id, request, token(cancel)))
}

fn check_work(file: String, handle: Handle) -> impl FnOnce() -> Result<import::Outcome> + Send {
    move || {
        let path = PathBuf::from(file);
        let checked = import::check(&RealDisk, &path, &handle.cancel, &handle.progress);
        handle.progress.enter(Phase::Done);
        checked
    }
}

/// Checks an archive and tells what it holds.
#[napi(ts_return_type = "Failure | ImportOutcome")]
#[must_use]
pub fn check_archive_sync(file: String) -> Reply<ImportOutcome> {
    now(check_work(file, Handle::default()))
}

/// Checks an archive and tells what it holds.
#[napi(ts_return_type = "Promise<Failure | ImportOutcome>")]
#[must_use]
pub fn check_archive(
    file: String,
    cancel: Option<&CancelToken>,
) -> Pending<import::Outcome, ImportOutcome> {
    Job::task(check_work(file, token(cancel)))
}

fn import_work(
    place: Place,
    wanted: ImportRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<import::Outcome> + Send {
    move || {
        let max = wanted.max_store_bytes;
        let request = import::Request {
            merge: wanted.merge,
            max_store_bytes: max
                .map(|bytes| whole("maxBytes", bytes, STEP_MAX))
                .transpose()?,
        };
        let file = PathBuf::from(wanted.file);
        // Of two folders of runs the one that has the run is meant.
        let run_id = import::run_of(&RealDisk, &file)?;
        in_project(place, run_id.as_str(), &handle, |context, _| {
            import::import(context, &file, &request)
        })
    }
}

/// Imports the checkpoints of an archive.
#[napi(ts_return_type = "Failure | ImportOutcome")]
#[must_use]
pub fn import_archive_sync(
    place: Place,
    request: ImportRequest,
    cancel: Option<&CancelToken>,
) -> Reply<ImportOutcome> {
    now(import_work(place, request, token(cancel)))
}

/// Imports the checkpoints of an archive.
#[napi(ts_return_type = "Promise<Failure | ImportOutcome>")]
#[must_use]
pub fn import_archive(
    place: Place,
    request: ImportRequest,
    cancel: Option<&CancelToken>,
) -> Pending<import::Outcome, ImportOutcome> {
    Job::task(import_work(place, request, token(cancel)))
}

impl From<archive::Shelved> for ShelvedCheckpoint {
    fn from(one: archive::Shelved) -> Self {
        let (header, problem) = match one.found {
            Ok(header) => (Some(header), None),
            Err(problem) => (None, Some(problem)),
        };
        let (step, timestamp) = header.map(|one| (one.step, one.timestamp)).unzip();
        Self {
            run_id: one.run_id,
            checkpoint_id: one.checkpoint_id,
            step: step.map(step_out),
            timestamp,
            path: path(&one.path),
            file_bytes: number(one.file_bytes),
            problem,
        }
    }
}

/// What is archived.
#[napi(object, object_from_js = false)]
pub struct ArchivedOutcome {
    /// By run, newest first.
    pub checkpoints: Vec<ShelvedCheckpoint>,
}

impl From<Vec<archive::Shelved>> for ArchivedOutcome {
    fn from(all: Vec<archive::Shelved>) -> Self {
        Self {
            checkpoints: all.into_iter().map(Into::into).collect(),
        }
    }
}

fn archived_work(
    place: Place,
    run_id: Option<String>,
    handle: Handle,
) -> impl FnOnce() -> Result<Vec<archive::Shelved>> + Send {
    move || {
        let run_id = run_id.as_deref().map(RunId::parse).transpose()?;
        let store = locate::store(&hints(place, run_id.clone()))?;
        archive::archived(&RealDisk, &store, run_id.as_ref(), &handle.cancel)
    }
}

/// Lists the archived checkpoints of a run, or of all.
#[napi(ts_return_type = "Failure | ArchivedOutcome")]
#[must_use]
pub fn archived_sync(place: Place, run_id: Option<String>) -> Reply<ArchivedOutcome> {
    now(archived_work(place, run_id, Handle::default()))
}

/// Lists the archived checkpoints of a run, or of all.
#[napi(ts_return_type = "Promise<Failure | ArchivedOutcome>")]
#[must_use]
pub fn archived(
    place: Place,
    run_id: Option<String>,
    cancel: Option<&CancelToken>,
) -> Pending<Vec<archive::Shelved>, ArchivedOutcome> {
    Job::task(archived_work(place, run_id, token(cancel)))
}

fn unarchive_work(
    place: Place,
    run_id: String,
    wanted: UnarchiveRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<import::Outcome> + Send {
    move || {
        let id = CheckpointId::parse(&wanted.checkpoint_id)?;
        let max = wanted.max_store_bytes;
        let request = archive::Request {
            remove: wanted.remove,
            max_store_bytes: max
                .map(|bytes| whole("maxBytes", bytes, STEP_MAX))
                .transpose()?,
        };
        on_run(place, &run_id, &handle, |context| {
            archive::unarchive(context, &id, &request)
        })
    }
}

/// Brings an archived checkpoint back into its run.
#[napi(ts_return_type = "Failure | ImportOutcome")]
#[must_use]
pub fn unarchive_sync(
    place: Place,
    run_id: String,
    request: UnarchiveRequest,
) -> Reply<ImportOutcome> {
    now(unarchive_work(place, run_id, request, Handle::default()))
}

/// Brings an archived checkpoint back into its run.
#[napi(ts_return_type = "Promise<Failure | ImportOutcome>")]
#[must_use]
pub fn unarchive(
    place: Place,
    run_id: String,
    request: UnarchiveRequest,
    cancel: Option<&CancelToken>,
) -> Pending<import::Outcome, ImportOutcome> {
    Job::task(unarchive_work(place, run_id, request, token(cancel)))
}
