//! gc and the verification of checkpoints and of the store, for JavaScript.

use std::path::PathBuf;

use napi::bindgen_prelude::AsyncTask;
use napi_derive::napi;

use crate::binding::convert::{hints, number, path};
use crate::binding::job::{Job, now};
use crate::binding::types::{CheckpointInfo, DamagedCheckpoint, Listing, Place};
use crate::binding::{CancelToken, Handle, Pending, Reply, begin, clock, on_run, token};
use crate::error::Result;
use crate::model::ids::CheckpointId;
use crate::model::progress::Phase;
use crate::ops::gc::{self, Done};
use crate::ops::verify::{self, Outcome};
use crate::ops::{self};
use crate::store::objects::Problem;
use crate::store::place::StoreDir;
use crate::store::real_disk::RealDisk;

/// How thoroughly to verify.
#[napi(object, object_to_js = false)]
pub struct VerifyRequest {
    /// Only this checkpoint.
    pub checkpoint_id: Option<String>,
    /// Whether contents are read, not only looked up.
    pub data: bool,
    /// Which share of the contents is read, the next one each time.
    pub share: Option<f64>,
    /// Whether objects that can't be read are made to be stored anew.
    pub heal: bool,
}

/// A place in a checkpoint that damage touches.
#[napi(object, object_from_js = false)]
pub struct TouchedPlace {
    /// The folder that holds the run.
    pub runs_dir: String,
    /// The run.
    pub run_id: String,
    /// The checkpoint.
    pub checkpoint_id: String,
    /// What is touched: a `file`, a `folder` with all that is in it, or a member of the `state`.
    #[napi(ts_type = "'file' | 'folder' | 'state'")]
    pub kind: String,
    /// The root it lies in, `run` or `project`; absent for state.
    pub root: Option<String>,
    /// The path below the root, empty for all of it; of state the member's name.
    pub path: String,
}

/// An object of the store that can't be had.
#[napi(object, object_from_js = false)]
pub struct DamagedObject {
    /// Its name: the BLAKE3 hash of what it should be.
    pub object: String,
    /// Whether it is not there at all.
    pub missing: bool,
    /// What is wrong with it.
    pub reason: String,
    /// Its pack, or the store.
    pub path: String,
    /// Where it is needed, at most a thousand places of each checkpoint; empty if no checkpoint needs it.
    pub touches: Vec<TouchedPlace>,
}

/// Something in the store that is wrong or can't be read, and was left as it is.
#[napi(object, object_from_js = false)]
pub struct StoreProblem {
    /// The object, if it is about one.
    pub object: Option<String>,
    /// The file or folder concerned.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// A place in the audit log that is not as it was written.
#[napi(object, object_from_js = false)]
pub struct BrokenEvent {
    /// What is wrong: the line is not what was written, or it does not follow the one before it.
    #[napi(ts_type = "'event_altered' | 'event_out_of_place'")]
    pub damage: String,
    /// The segment.
    pub path: String,
    /// The number of the event that stands there, or should.
    pub seq: f64,
    /// What is wrong, in words.
    pub reason: String,
}

/// A share of the data.
#[napi(object, object_from_js = false)]
pub struct VerifyShare {
    /// Which one, from 1 on.
    pub part: f64,
    /// How many there are.
    pub of: f64,
}

/// A run with its checkpoints.
#[napi(object, object_from_js = false)]
pub struct VerifiedRun {
    /// The folder that holds the run.
    pub runs_dir: String,
    /// The run.
    pub run_id: String,
    /// Those that are whole, newest first.
    pub checkpoints: Vec<CheckpointInfo>,
    /// Those that are not.
    pub damaged: Vec<DamagedCheckpoint>,
}

/// What a verification found.
#[napi(object, object_from_js = false)]
pub struct VerifyOutcome {
    /// True if nothing is wrong.
    pub ok: bool,
    /// What was looked at: `structure`, or also the `data`.
    #[napi(ts_type = "'structure' | 'data'")]
    pub mode: String,
    /// The share of the data that was read; absent if it was all of it.
    pub share: Option<VerifyShare>,
    /// The runs.
    pub runs: Vec<VerifiedRun>,
    /// Objects that can't be had, and what that touches.
    pub objects: Vec<DamagedObject>,
    /// What is wrong with the store beside.
    pub problems: Vec<StoreProblem>,
    /// Where the audit log is not as it was written, at most a hundred places.
    pub events: Vec<BrokenEvent>,
    /// How many objects were looked at.
    pub checked_objects: f64,
    /// How many bytes were read, unpacked.
    pub checked_bytes: f64,
    /// The objects that the next checkpoint which meets them stores anew.
    pub healed: Vec<String>,
    /// What could not be done beside the verification.
    pub warnings: Vec<String>,
}

/// What to collect.
#[napi(object, object_to_js = false)]
pub struct GcRequest {
    /// Plan only.
    pub dry_run: bool,
    /// Packs with a larger share of unneeded bytes are written anew, from 0 to 1.
    pub max_unused: Option<f64>,
    /// Folders of runs whose checkpoints need nothing any more, absolute.
    pub forget_roots: Vec<String>,
}

/// What a gc means to do.
#[napi(object, object_from_js = false)]
pub struct GcPlan {
    /// How many objects are needed.
    pub live_objects: f64,
    /// About how many bytes of packs are needed.
    pub live_bytes: f64,
    /// About how many are not.
    pub dead_bytes: f64,
    /// Packs of which nothing is needed, which go.
    pub drop: Vec<String>,
    /// Packs that are written anew, in order.
    pub rewrite: Vec<String>,
    /// About how many bytes this frees.
    pub freed_bytes: f64,
    /// About how many bytes it needs besides, for a while.
    pub working_bytes: f64,
}

/// What a gc did.
#[napi(object, object_from_js = false)]
pub struct GcOutcome {
    /// The store's folder.
    pub store_dir: String,
    /// Whether it only planned.
    pub dry_run: bool,
    /// What it meant to do.
    pub plan: GcPlan,
    /// How many bytes were freed.
    pub freed_bytes: f64,
    /// How many bytes were copied from one pack to another.
    pub copied_bytes: f64,
    /// The packs that are gone.
    pub gone: Vec<String>,
    /// Packs that were to go and were left alone, because a writer needs them now.
    pub left: Vec<String>,
    /// True if it was aborted after it had freed something.
    pub stopped: bool,
    /// What can't be read, and stays as it is.
    pub problems: Vec<StoreProblem>,
}

/// What a gc gives, before it is converted.
#[derive(Debug)]
pub struct Collected {
    place: StoreDir,
    dry_run: bool,
    done: Done,
}

impl From<Problem> for StoreProblem {
    fn from(problem: Problem) -> Self {
        Self {
            object: problem.object.map(|id| id.to_string()),
            path: path(&problem.path),
            reason: problem.reason,
        }
    }
}

impl From<Collected> for GcOutcome {
    fn from(collected: Collected) -> Self {
        let names = |packs: Vec<crate::store::place::PackId>| -> Vec<String> {
            packs
                .into_iter()
                .map(crate::store::place::PackId::file_name)
                .collect()
        };
        let Collected {
            place,
            dry_run,
            done,
        } = collected;
        Self {
            store_dir: path(place.path()),
            dry_run,
            plan: GcPlan {
                live_objects: number(done.plan.live_objects),
                live_bytes: number(done.plan.live_bytes),
                dead_bytes: number(done.plan.dead_bytes),
                drop: names(done.plan.drop),
                rewrite: names(done.plan.rewrite),
                freed_bytes: number(done.plan.freed_bytes),
                working_bytes: number(done.plan.working_bytes),
            },
            freed_bytes: number(done.freed_bytes),
            copied_bytes: number(done.copied_bytes),
            gone: names(done.gone),
            left: names(done.left),
            stopped: done.stopped,
            problems: done.problems.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Outcome> for VerifyOutcome {
    fn from(found: Outcome) -> Self {
        let ok = found.is_ok();
        let folders: Vec<(String, String)> = found
            .runs
            .iter()
            .map(|one| (path(one.run.runs_dir()), one.run.run_id().to_string()))
            .collect();
        let touched = |touch: verify::Touch| {
            let (kind, root, place) = match touch.place {
                verify::Place::State(member) => ("state", None, member),
                verify::Place::File { root, path } => ("file", Some(root), path),
                verify::Place::Folder { root, path } => ("folder", Some(root), path),
            };
            let (runs_dir, run_id) = folders.get(touch.run).cloned().unwrap_or_default();
            TouchedPlace {
                runs_dir,
                run_id,
                checkpoint_id: touch.checkpoint_id,
                kind: kind.to_owned(),
                root,
                path: place,
            }
        };
        Self {
            ok,
            mode: if found.data { "data" } else { "structure" }.to_owned(),
            share: (found.part.of > 1).then(|| VerifyShare {
                part: f64::from(found.part.n + 1),
                of: f64::from(found.part.of),
            }),
            objects: found
                .hurt
                .into_iter()
                .map(|one| DamagedObject {
                    object: one.object.to_string(),
                    missing: one.missing,
                    reason: one.reason,
                    path: path(&one.path),
                    touches: one.touches.into_iter().map(touched).collect(),
                })
                .collect(),
            runs: found
                .runs
                .into_iter()
                .map(|one| {
                    let mut listing = Listing::from((one.scan, one.lives));
                    for checkpoint in &mut listing.checkpoints {
                        // Nobody asks a verification for it.
                        checkpoint.environment = None;
                    }
                    VerifiedRun {
                        runs_dir: path(one.run.runs_dir()),
                        run_id: one.run.run_id().to_string(),
                        checkpoints: listing.checkpoints,
                        damaged: listing.damaged,
                    }
                })
                .collect(),
            problems: found.problems.into_iter().map(Into::into).collect(),
            events: found
                .events
                .into_iter()
                .map(|one| BrokenEvent {
                    damage: one.kind.name().to_owned(),
                    path: path(&one.path),
                    seq: number(one.seq),
                    reason: one.reason,
                })
                .collect(),
            checked_objects: number(found.objects),
            checked_bytes: number(found.bytes),
            healed: found.healed.iter().map(ToString::to_string).collect(),
            warnings: found.warnings,
        }
    }
}

fn request(request: &VerifyRequest) -> verify::Request {
    verify::Request {
        data: request.data,
        share: request.share,
        heal: request.heal,
    }
}

fn verify_work(
    place: Place,
    run_id: String,
    wanted: VerifyRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<Outcome> + Send {
    move || {
        let id = wanted
            .checkpoint_id
            .as_deref()
            .map(CheckpointId::parse)
            .transpose()?;
        on_run(place, &run_id, &handle, |context| {
            verify::verify(context, id.as_ref(), &request(&wanted))
        })
    }
}

/// Checks all checkpoints of a run, or one, and all that they need.
#[napi(ts_return_type = "Failure | VerifyOutcome")]
#[must_use]
pub fn verify_sync(
    place: Place,
    run_id: String,
    request: VerifyRequest,
    cancel: Option<&CancelToken>,
) -> Reply<VerifyOutcome> {
    now(verify_work(place, run_id, request, token(cancel)))
}

/// Checks all checkpoints of a run, or one, and all that they need.
#[napi(ts_return_type = "Promise<Failure | VerifyOutcome>")]
#[must_use]
pub fn verify(
    place: Place,
    run_id: String,
    request: VerifyRequest,
    cancel: Option<&CancelToken>,
) -> Pending<Outcome, VerifyOutcome> {
    Job::task(verify_work(place, run_id, request, token(cancel)))
}

fn verify_store_work(
    place: Place,
    wanted: VerifyRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<Outcome> + Send {
    move || {
        let store = ops::locate::store(&hints(place, None))?;
        begin(&handle);
        let found = verify::verify_store(
            &RealDisk,
            &store,
            &request(&wanted),
            clock(),
            &handle.cancel,
            &handle.progress,
        );
        handle.progress.enter(Phase::Done);
        found
    }
}

/// Checks the whole store and all checkpoints that need it.
#[napi(ts_return_type = "Failure | VerifyOutcome")]
#[must_use]
pub fn verify_store_sync(
    place: Place,
    request: VerifyRequest,
    cancel: Option<&CancelToken>,
) -> Reply<VerifyOutcome> {
    now(verify_store_work(place, request, token(cancel)))
}

/// Checks the whole store and all checkpoints that need it.
#[napi(ts_return_type = "Promise<Failure | VerifyOutcome>")]
#[must_use]
pub fn verify_store(
    place: Place,
    request: VerifyRequest,
    cancel: Option<&CancelToken>,
) -> Pending<Outcome, VerifyOutcome> {
    Job::task(verify_store_work(place, request, token(cancel)))
}

fn gc_work(
    place: Place,
    wanted: GcRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<Collected> + Send {
    move || {
        let store = ops::locate::store(&hints(place, None))?;
        let request = gc::Request {
            dry_run: wanted.dry_run,
            max_unused: wanted.max_unused.unwrap_or(gc::MAX_UNUSED),
            forget_roots: wanted.forget_roots.iter().map(PathBuf::from).collect(),
            ..gc::Request::default()
        };
        let (cancel, progress) = (&handle.cancel, &handle.progress);
        begin(&handle);
        let done = gc::gc(&RealDisk, &store, &request, clock(), cancel, progress);
        handle.progress.enter(Phase::Done);
        Ok(Collected {
            place: store,
            dry_run: wanted.dry_run,
            done: done?,
        })
    }
}

/// Takes back the space of objects that no checkpoint needs.
#[napi(ts_return_type = "Failure | GcOutcome")]
#[must_use]
pub fn gc_sync(place: Place, request: GcRequest, cancel: Option<&CancelToken>) -> Reply<GcOutcome> {
    now(gc_work(place, request, token(cancel)))
}

/// Takes back the space of objects that no checkpoint needs.
#[napi(ts_return_type = "Promise<Failure | GcOutcome>")]
#[must_use]
pub fn gc(
    place: Place,
    request: GcRequest,
    cancel: Option<&CancelToken>,
) -> AsyncTask<Job<Collected, GcOutcome>> {
    Job::task(gc_work(place, request, token(cancel)))
}
