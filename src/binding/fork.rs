//! Forks, for JavaScript.

use napi::Either;
use napi_derive::napi;

use crate::binding::convert::{number, path, skipped, step, step_out, whole};
use crate::binding::job::{Job, now};
use crate::binding::types::{Place, SkippedCheckpoint};
use crate::binding::{CancelToken, Handle, Pending, Reply, in_project, token};
use crate::error::Result;
use crate::model::ids::{CheckpointId, RunId};
use crate::model::step::STEP_MAX;
use crate::ops::fork::{self, Forked};
use crate::ops::restore::Choice;

/// What to fork: an id, a step, or (neither) the newest good checkpoint.
#[napi(object, object_to_js = false)]
pub struct ForkRequest {
    /// The new run.
    pub run_id: String,
    /// This checkpoint and no other.
    pub checkpoint_id: Option<String>,
    /// The newest good one of this step.
    pub step: Option<Either<f64, String>>,
    /// The store's budget, in bytes.
    pub max_store_bytes: Option<f64>,
}

/// A run that began from a checkpoint of another one.
#[napi(object, object_from_js = false)]
pub struct ForkOutcome {
    /// The new run.
    pub run_id: String,
    /// Its folder.
    pub path: String,
    /// Its first checkpoint.
    pub checkpoint_id: String,
    /// The step it is at.
    pub step: Either<f64, String>,
    /// When the first checkpoint was taken, ISO 8601.
    pub timestamp: String,
    /// The checkpoint of the base run that it began from.
    pub base_checkpoint_id: String,
    /// How many captured files were laid out in its folder.
    pub files: f64,
    /// Their sizes together, in bytes.
    pub bytes: f64,
    /// How many files are not there because their content was withheld: they hold secrets.
    pub withheld: f64,
    /// How many bytes were added to the store.
    pub added_bytes: f64,
    /// Damaged checkpoints that were passed over; none if one was asked for by id.
    pub skipped: Vec<SkippedCheckpoint>,
    /// What went wrong after the run was there, and what could not be laid out.
    pub warnings: Vec<String>,
}

impl From<Forked> for ForkOutcome {
    fn from(done: Forked) -> Self {
        Self {
            run_id: done.run_id.to_string(),
            path: path(&done.path),
            checkpoint_id: done.checkpoint_id.to_string(),
            step: step_out(done.step),
            timestamp: done.timestamp,
            base_checkpoint_id: done.base.to_string(),
            files: number(done.files),
            bytes: number(done.bytes),
            withheld: number(done.withheld),
            added_bytes: number(done.added_bytes),
            skipped: skipped(&done.skipped),
            warnings: done.warnings,
        }
    }
}

fn fork_work(
    place: Place,
    run_id: String,
    wanted: ForkRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<Forked> + Send {
    move || {
        let max = wanted.max_store_bytes;
        let choice = match (wanted.checkpoint_id, wanted.step) {
            (Some(id), _) => Choice::Id(CheckpointId::parse(&id)?),
            (None, Some(of_step)) => Choice::Step(step(of_step)?),
            (None, None) => Choice::Newest,
        };
        let mut request = fork::Request {
            choice,
            run_id: RunId::parse(&wanted.run_id)?,
            project: None,
            max_store_bytes: max
                .map(|bytes| whole("maxBytes", bytes, STEP_MAX))
                .transpose()?,
        };
        in_project(place, &run_id, &handle, |context, project| {
            request.project = Some(project.to_path_buf());
            fork::fork(context, &request)
        })
    }
}

/// Begins another run at a checkpoint of a run.
#[napi(ts_return_type = "Failure | ForkOutcome")]
#[must_use]
pub fn fork_sync(
    place: Place,
    run_id: String,
    request: ForkRequest,
    cancel: Option<&CancelToken>,
) -> Reply<ForkOutcome> {
    now(fork_work(place, run_id, request, token(cancel)))
}

/// Begins another run at a checkpoint of a run.
#[napi(ts_return_type = "Promise<Failure | ForkOutcome>")]
#[must_use]
pub fn fork(
    place: Place,
    run_id: String,
    request: ForkRequest,
    cancel: Option<&CancelToken>,
) -> Pending<Forked, ForkOutcome> {
    Job::task(fork_work(place, run_id, request, token(cancel)))
}
