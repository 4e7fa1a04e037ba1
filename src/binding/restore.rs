//! Restores for JavaScript: planned, done, undone, and what a killed one left behind.
//!
//! A plan may have a hundred thousand rows: they cross as one JSON text, printed beside the event loop.

use napi::Either;
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use serde::Serialize;

use super::convert::{self, capture, number, skipped, step, step_out, whole};
use super::diff::{DiffersOut, StepOut};
use super::files::{NodeOut, PathOut, lossy, to_json};
use super::job::{Job, now};
use super::types::{CaptureRequest, Place, SkippedCheckpoint};
use super::{CancelToken, Handle, Pending, Reply, in_project, on_run, token};
use crate::error::{Error, Result};
use crate::model::ids::CheckpointId;
use crate::model::plan::{Action, KeepReason, OnConflict, Totals};
use crate::model::step::STEP_MAX;
use crate::model::time::to_iso;
use crate::ops::restore::{self as verb, Choice, FilesRequest, Outcome, Part, Planned, Root, Row};
use crate::store::journal::Unfinished;

/// What to restore: an id, a step, a time, a plan, or (none of them) the newest good checkpoint.
#[napi(object, object_to_js = false)]
pub struct RestoreRequest {
    /// This one and no other.
    pub checkpoint_id: Option<String>,
    /// The newest good one of this step.
    pub step: Option<Either<f64, String>>,
    /// The newest good one that is not younger, in milliseconds since 1970.
    pub at: Option<f64>,
    /// The plan to apply.
    pub plan: Option<String>,
    /// What of it; absent or empty is all of it.
    pub only: Option<Vec<RestorePart>>,
    /// How the disk is looked at; absent leaves files alone.
    pub capture: Option<CaptureRequest>,
    /// How conflicts are settled: `refuse`, `keep-both`, `overwrite` or `merge`.
    pub on_conflict: Option<String>,
    /// The store's budget, in bytes; absent is none.
    pub max_store_bytes: Option<f64>,
    /// The rescue checkpoint of the restore that this is a further part of.
    pub rescue: Option<String>,
    /// Whether a further part has a rescue checkpoint of its own as well.
    pub own_rescue: Option<bool>,
    /// The fencing token of the caller's lease; absent is none.
    pub lease: Option<f64>,
}

/// A part of a checkpoint.
#[napi(object, object_to_js = false)]
pub struct RestorePart {
    /// What it is.
    #[napi(ts_type = "'state' | 'registry' | 'root' | 'glob' | 'step' | 'path'")]
    pub kind: String,
    /// The root's name, or the glob.
    pub name: Option<String>,
    /// The step whose artifacts are meant.
    pub step: Option<Either<f64, String>>,
    /// The path in the root, in bytes.
    pub path: Option<Buffer>,
}

/// What a restore did.
#[napi(object, object_from_js = false)]
pub struct RestoreOutcome {
    /// The checkpoint that was restored.
    pub checkpoint_id: String,
    /// Its step.
    pub step: Either<f64, String>,
    /// Its creation time, ISO 8601.
    pub timestamp: String,
    /// How many artifacts the restored registry names.
    pub artifacts_restored: f64,
    /// The files of the state that were put back, relative to the run's folder.
    pub files: Vec<String>,
    /// How a person goes on.
    pub recovery_instructions: Vec<String>,
    /// Damaged checkpoints that were passed over.
    pub skipped: Vec<SkippedCheckpoint>,
    /// What became of a restore that was killed before: `nothing`, `finished` or `undone`.
    pub recovered: String,
    /// The manifest's bytes (JSON, UTF-8).
    pub manifest: Buffer,
    /// The checkpoint of what was there before.
    pub rescue_id: String,
    /// How many bytes of files were read back and held against their hashes.
    pub verified_bytes: f64,
    /// Checkpoints that are newer than the restored one, newest first.
    pub newer: Vec<String>,
    /// JSON text: `{ roots, totals }`.
    pub summary: String,
    /// JSON text: what became of each path that differed.
    pub paths: String,
}

/// What a restore gives, with its rows already printed.
#[derive(Debug)]
pub struct Restored {
    outcome: Outcome,
    summary: String,
    paths: String,
}

impl Restored {
    fn new(outcome: Outcome) -> Result<Self> {
        let summary = to_json(&SummaryOut {
            roots: outcome.roots.iter().map(RootOut::from).collect(),
            totals: outcome.totals.into(),
        })?;
        let paths = to_json(&rows(&outcome.roots, &outcome.rows))?;
        Ok(Self {
            outcome,
            summary,
            paths,
        })
    }
}

impl From<Restored> for RestoreOutcome {
    fn from(restored: Restored) -> Self {
        let Restored {
            outcome,
            summary,
            paths,
        } = restored;
        Self {
            checkpoint_id: outcome.checkpoint_id.to_string(),
            step: step_out(outcome.step),
            timestamp: outcome.timestamp,
            artifacts_restored: number(outcome.artifacts_restored),
            files: outcome.files,
            recovery_instructions: outcome.recovery_instructions,
            skipped: skipped(&outcome.skipped),
            recovered: convert::recovered(outcome.recovered).to_owned(),
            manifest: outcome.manifest.into(),
            rescue_id: outcome.rescue.to_string(),
            verified_bytes: number(outcome.verified_bytes),
            newer: outcome.newer.iter().map(ToString::to_string).collect(),
            summary,
            paths,
        }
    }
}

#[derive(Serialize)]
struct SummaryOut {
    roots: Vec<RootOut>,
    totals: TotalsOut,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlanOut {
    plan_id: String,
    expires_at: String,
    checkpoint_id: String,
    step: StepOut,
    timestamp: String,
    state: Vec<StateOut>,
    roots: Vec<RootOut>,
    paths: Vec<RowOut>,
    totals: TotalsOut,
    conflicts: u64,
    newer: Vec<String>,
    skipped: Vec<SkippedOut>,
}

#[derive(Serialize)]
struct StateOut {
    name: String,
    action: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SkippedOut {
    checkpoint_id: String,
    damage: String,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RootOut {
    name: String,
    path: String,
    on_conflict: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TotalsOut {
    create: u64,
    replace: u64,
    set_mode: u64,
    delete: u64,
    keep_both: u64,
    merge: u64,
    keep: u64,
    conflict: u64,
    bytes_to_write: u64,
    bytes_replaced: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RowOut {
    root: String,
    root_path: String,
    #[serde(flatten)]
    path: PathOut,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    beside_bytes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<NodeOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<NodeOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<DiffersOut>,
}

impl From<&Root> for RootOut {
    fn from(root: &Root) -> Self {
        Self {
            name: root.name.clone(),
            path: root.path.clone(),
            on_conflict: root.on_conflict.name(),
        }
    }
}

impl From<Totals> for TotalsOut {
    fn from(totals: Totals) -> Self {
        Self {
            create: totals.create,
            replace: totals.replace,
            set_mode: totals.set_mode,
            delete: totals.delete,
            keep_both: totals.keep_both,
            merge: totals.merge,
            keep: totals.keep,
            conflict: totals.conflict,
            bytes_to_write: totals.bytes_to_write,
            bytes_replaced: totals.bytes_replaced,
        }
    }
}

fn rows(roots: &[Root], rows: &[Row]) -> Vec<RowOut> {
    let out = |row: &Row| {
        let (root, plan) = (&roots[row.root], &row.plan);
        let beside = match &plan.action {
            Action::KeepBoth { beside } => Some(lossy(beside)),
            _ => None,
        };
        let (beside, beside_bytes) = beside.unzip();
        RowOut {
            root: root.name.clone(),
            root_path: root.path.clone(),
            path: plan.path.as_slice().into(),
            action: plan.action.name(),
            reason: match &plan.action {
                Action::Keep(KeepReason::NotStored(why)) => Some(why.name()),
                Action::Keep(why) => Some(why.name()),
                Action::Conflict(why) => Some(why.name()),
                _ => None,
            },
            beside,
            beside_bytes: beside_bytes.flatten(),
            before: plan.before.as_ref().map(Into::into),
            after: plan.after.as_ref().map(Into::into),
            differs: (plan.before.is_some() && plan.after.is_some()).then(|| plan.differs.into()),
        }
    };
    rows.iter().map(out).collect()
}

impl From<Planned> for PlanOut {
    fn from(planned: Planned) -> Self {
        Self {
            plan_id: planned.id,
            expires_at: to_iso(planned.expires_ms),
            checkpoint_id: planned.checkpoint_id.to_string(),
            step: planned.step.into(),
            timestamp: planned.timestamp,
            state: planned
                .state
                .into_iter()
                .map(|row| StateOut {
                    name: row.name,
                    action: if row.created { "create" } else { "replace" },
                })
                .collect(),
            paths: rows(&planned.roots, &planned.rows),
            roots: planned.roots.iter().map(RootOut::from).collect(),
            totals: planned.totals.into(),
            conflicts: planned.totals.conflict,
            newer: planned.newer.iter().map(ToString::to_string).collect(),
            skipped: skipped(&planned.skipped)
                .into_iter()
                .map(|one| SkippedOut {
                    checkpoint_id: one.checkpoint_id,
                    damage: one.damage,
                    message: one.message,
                })
                .collect(),
        }
    }
}

/// A request whose buffers were taken off JavaScript's thread.
struct Wanted {
    request: RestoreRequest,
    only: Vec<Part>,
}

impl Wanted {
    fn new(mut request: RestoreRequest) -> Result<Self> {
        let parts = request.only.take().unwrap_or_default();
        let only = parts.into_iter().map(part).collect::<Result<_>>()?;
        Ok(Self { request, only })
    }

    fn request(self, project: &std::path::Path) -> Result<verb::Request> {
        let Self { request, only } = self;
        let on_conflict = request.on_conflict.as_deref().map(policy).transpose()?;
        let max_store_bytes = request
            .max_store_bytes
            .map(|bytes| whole("maxStoreBytes", bytes, STEP_MAX))
            .transpose()?;
        let rescue = request.rescue.as_deref().map(CheckpointId::parse);
        let files = request.capture.map(|wanted| capture(wanted, project));
        Ok(verb::Request {
            choice: choice(request.checkpoint_id, request.step, request.at)?,
            files: files.transpose()?.map(|capture| FilesRequest {
                capture,
                on_conflict,
            }),
            only,
            plan: request.plan,
            rescue: rescue.transpose()?,
            own_rescue: request.own_rescue.unwrap_or(false),
            max_store_bytes,
        })
    }
}

fn policy(name: &str) -> Result<OnConflict> {
    OnConflict::parse(name).ok_or_else(|| Error::OptionValue {
        name: "onConflict",
        reason: format!("{name:?} is none of refuse, keep-both, overwrite, merge"),
    })
}

fn part(part: RestorePart) -> Result<Part> {
    let RestorePart {
        kind,
        name,
        step: of_step,
        path,
    } = part;
    Ok(match (kind.as_str(), name, of_step, path) {
        ("state", ..) => Part::State,
        ("registry", ..) => Part::Registry,
        ("root", Some(name), ..) => Part::Root(name),
        ("glob", Some(glob), ..) => Part::Glob(glob),
        ("step", _, Some(wanted), _) => Part::Step(step(wanted)?),
        ("path", Some(root), _, Some(path)) => Part::Path {
            root,
            path: path.to_vec(),
        },
        _ => {
            return Err(Error::OptionValue {
                name: "only",
                reason: format!("a part of kind {kind:?} is not whole"),
            });
        }
    })
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a time outside the range is the nearest one in it"
)]
fn choice(
    checkpoint_id: Option<String>,
    of_step: Option<Either<f64, String>>,
    at: Option<f64>,
) -> Result<Choice> {
    Ok(match (checkpoint_id, of_step, at) {
        (Some(id), None, None) => Choice::Id(CheckpointId::parse(&id)?),
        (None, Some(wanted), None) => Choice::Step(step(wanted)?),
        (None, None, Some(ms)) => Choice::At(ms.floor() as i64),
        (None, None, None) => Choice::Newest,
        _ => {
            return Err(Error::OptionValue {
                name: "step",
                reason: "give only one of a checkpoint id, a step and a time".to_owned(),
            });
        }
    })
}

type Verb = fn(&crate::ops::Context<'_>, &verb::Request) -> Result<Outcome>;

fn work(
    place: Place,
    run_id: String,
    request: RestoreRequest,
    handle: Handle,
    act: Verb,
) -> impl FnOnce() -> Result<Restored> + Send {
    let lease = request.lease;
    let wanted = Wanted::new(request);
    move || {
        let (wanted, handle) = (wanted?, handle.leased(lease)?);
        in_project(place, &run_id, &handle, |context, project| {
            Restored::new(act(context, &wanted.request(project)?)?)
        })
    }
}

/// Puts a run back to a checkpoint.
#[napi(ts_return_type = "Failure | RestoreOutcome")]
#[must_use]
pub fn restore_sync(
    place: Place,
    run_id: String,
    request: RestoreRequest,
    cancel: Option<&CancelToken>,
) -> Reply<RestoreOutcome> {
    now(work(place, run_id, request, token(cancel), verb::restore))
}

/// Puts a run back to a checkpoint.
#[napi(ts_return_type = "Promise<Failure | RestoreOutcome>")]
#[must_use]
pub fn restore(
    place: Place,
    run_id: String,
    request: RestoreRequest,
    cancel: Option<&CancelToken>,
) -> Pending<Restored, RestoreOutcome> {
    Job::task(work(place, run_id, request, token(cancel), verb::restore))
}

/// Restores what was there before the last restore.
#[napi(ts_return_type = "Failure | RestoreOutcome")]
#[must_use]
pub fn undo_sync(
    place: Place,
    run_id: String,
    request: RestoreRequest,
    cancel: Option<&CancelToken>,
) -> Reply<RestoreOutcome> {
    now(work(place, run_id, request, token(cancel), verb::undo))
}

/// Restores what was there before the last restore.
#[napi(ts_return_type = "Promise<Failure | RestoreOutcome>")]
#[must_use]
pub fn undo(
    place: Place,
    run_id: String,
    request: RestoreRequest,
    cancel: Option<&CancelToken>,
) -> Pending<Restored, RestoreOutcome> {
    Job::task(work(place, run_id, request, token(cancel), verb::undo))
}

fn plan_work(
    place: Place,
    run_id: String,
    request: RestoreRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<String> + Send {
    let wanted = Wanted::new(request);
    move || {
        let wanted = wanted?;
        in_project(place, &run_id, &handle, |context, project| {
            let planned = verb::plan(context, &wanted.request(project)?)?;
            to_json(&PlanOut::from(planned))
        })
    }
}

/// Tells what a restore would do; JSON text.
#[napi(ts_return_type = "Failure | string")]
#[must_use]
pub fn plan_restore_sync(place: Place, run_id: String, request: RestoreRequest) -> Reply<String> {
    now(plan_work(place, run_id, request, Handle::default()))
}

/// Tells what a restore would do; JSON text.
#[napi(ts_return_type = "Promise<Failure | string>")]
#[must_use]
pub fn plan_restore(
    place: Place,
    run_id: String,
    request: RestoreRequest,
    cancel: Option<&CancelToken>,
) -> Pending<String, String> {
    Job::task(plan_work(place, run_id, request, token(cancel)))
}

/// Finishes or undoes what a killed restore left behind: `nothing`, `finished` or `undone`. With `undo` one
/// that was cut off is undone, else it is finished.
#[napi(ts_return_type = "Failure | string")]
#[must_use]
pub fn recover_sync(place: Place, run_id: String, undo: Option<bool>) -> Reply<String> {
    let unfinished = match undo {
        Some(true) => Unfinished::Undo,
        _ => Unfinished::Finish,
    };
    now(move || {
        on_run(place, &run_id, &Handle::default(), |context| {
            crate::ops::recover(context, unfinished)
        })
        .map(|recovered| convert::recovered(recovered).to_owned())
    })
}
