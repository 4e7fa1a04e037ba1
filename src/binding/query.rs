//! Questions about the checkpoints of all runs, for JavaScript.

use napi_derive::napi;

use crate::binding::convert::{hints, number, whole};
use crate::binding::job::{Job, now};
use crate::binding::types::Place;
use crate::binding::{CancelToken, Handle, Pending, Reply, clock, token};
use crate::error::{Error, Result};
use crate::model::facts::{Class, Priority, Scope, Trigger, Type};
use crate::model::lifecycle::State;
use crate::model::progress::Phase;
use crate::model::query::{Cursor, Filter};
use crate::ops::query::{self, Ground, Page, Rebuilt};
use crate::ops::{self, locate};
use crate::store::real_disk::RealDisk;

/// Which checkpoints are wanted; of each list one value has to hold, an empty one asks nothing.
#[napi(object, object_to_js = false)]
pub struct QueryRequest {
    /// Runs.
    pub runs: Vec<String>,
    /// Workflows.
    pub workflows: Vec<String>,
    /// Tasks.
    pub tasks: Vec<String>,
    /// Workers.
    pub workers: Vec<String>,
    /// Phases.
    pub phases: Vec<String>,
    /// Labels.
    pub labels: Vec<String>,
    /// States.
    pub states: Vec<String>,
    /// Types.
    pub types: Vec<String>,
    /// Triggers.
    pub triggers: Vec<String>,
    /// Scopes.
    pub scopes: Vec<String>,
    /// Priorities.
    pub priorities: Vec<String>,
    /// Retention classes.
    pub classes: Vec<String>,
    /// Taken at this time or later, in milliseconds since 1970.
    pub from_ms: Option<f64>,
    /// Taken before this time, in milliseconds since 1970.
    pub until_ms: Option<f64>,
    /// Damaged, or not.
    pub damaged: Option<bool>,
    /// Pinned, or not.
    pub pinned: Option<bool>,
    /// Resumable, or not.
    pub resumable: Option<bool>,
    /// The oldest first.
    pub oldest_first: bool,
    /// Where reading goes on.
    pub after: Option<String>,
    /// At most so many.
    pub limit: f64,
}

/// Some checkpoints.
#[napi(object, object_from_js = false)]
pub struct QueryPage {
    /// What is known of each: the JSON text of an array.
    pub rows: String,
    /// Where reading goes on; absent at the end.
    pub next: Option<String>,
    /// Runs of the folder that could not be read whole.
    pub problems: Vec<QueryProblem>,
}

/// A run that could not be read whole.
#[napi(object, object_from_js = false)]
pub struct QueryProblem {
    /// The run.
    pub run_id: String,
    /// What is wrong, in words.
    pub message: String,
}

/// An index that was made anew.
#[napi(object, object_from_js = false)]
pub struct RebuildOutcome {
    /// How many runs have checkpoints.
    pub runs: f64,
    /// How many checkpoints there are, damaged ones included.
    pub checkpoints: f64,
}

impl From<Page> for QueryPage {
    fn from(page: Page) -> Self {
        Self {
            rows: format!("[{}]", page.rows.join(",")),
            next: page.next.map(Cursor::print),
            problems: page
                .problems
                .into_iter()
                .map(|(run_id, message)| QueryProblem { run_id, message })
                .collect(),
        }
    }
}

impl From<Rebuilt> for RebuildOutcome {
    fn from(rebuilt: Rebuilt) -> Self {
        Self {
            runs: number(rebuilt.runs),
            checkpoints: number(rebuilt.checkpoints),
        }
    }
}

fn words<T: Copy>(
    name: &'static str,
    given: &[String],
    all: &[T],
    parse: impl Fn(&str) -> Option<T>,
    print: impl Fn(T) -> &'static str,
) -> Result<Vec<T>> {
    given
        .iter()
        .map(|word| {
            parse(word).ok_or_else(|| {
                let known: Vec<&str> = all.iter().map(|one| print(*one)).collect();
                Error::OptionValue {
                    name,
                    reason: format!("{word:?} is not known; known are {}", known.join(", ")),
                }
            })
        })
        .collect()
}

fn filter(request: &QueryRequest) -> Result<Filter> {
    let ms = |name, value: Option<f64>| -> Result<Option<i64>> {
        let Some(value) = value else {
            return Ok(None);
        };
        let ms = whole(name, value, crate::model::step::STEP_MAX)?;
        Ok(Some(i64::try_from(ms).unwrap_or(i64::MAX)))
    };
    Ok(Filter {
        runs: request.runs.clone(),
        workflows: request.workflows.clone(),
        tasks: request.tasks.clone(),
        workers: request.workers.clone(),
        phases: request.phases.clone(),
        labels: request.labels.clone(),
        states: words(
            "state",
            &request.states,
            State::ALL,
            State::from_word,
            State::as_str,
        )?,
        types: words(
            "type",
            &request.types,
            Type::ALL,
            Type::from_word,
            Type::as_str,
        )?,
        triggers: words(
            "trigger",
            &request.triggers,
            Trigger::ALL,
            Trigger::from_word,
            Trigger::as_str,
        )?,
        scopes: words(
            "scope",
            &request.scopes,
            Scope::ALL,
            Scope::from_word,
            Scope::as_str,
        )?,
        priorities: words(
            "priority",
            &request.priorities,
            Priority::ALL,
            Priority::from_word,
            Priority::as_str,
        )?,
        classes: words(
            "class",
            &request.classes,
            Class::ALL,
            Class::from_word,
            Class::as_str,
        )?,
        from_ms: ms("from", request.from_ms)?,
        until_ms: ms("until", request.until_ms)?,
        damaged: request.damaged,
        pinned: request.pinned,
        resumable: request.resumable,
        oldest_first: request.oldest_first,
    })
}

/// Which start of the machine this is; empty where that can't be told.
fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

fn on_ground<T>(
    place: Place,
    handle: &Handle,
    verb: impl FnOnce(&Ground<'_>) -> Result<T>,
) -> Result<T> {
    let hints = hints(place, None);
    let runs_dir = locate::locate(&hints)?;
    let project = ops::locate::project(&runs_dir, &hints)?;
    let done = verb(&Ground {
        disk: &RealDisk,
        runs_dir: &runs_dir,
        store: Some(&project.store),
        boot: &boot(),
        now_ms: clock(),
        cancel: &handle.cancel,
        progress: &handle.progress,
    })?;
    handle.progress.enter(Phase::Done);
    Ok(done)
}

fn query_work(
    place: Place,
    request: QueryRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<Page> + Send {
    move || {
        let filter = filter(&request)?;
        let after = request.after.as_deref().map(Cursor::parse).transpose()?;
        let limit = whole("limit", request.limit, f64::from(u32::MAX))?;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        on_ground(place, &handle, |ground| {
            query::find(ground, &filter, after, limit)
        })
    }
}

/// Finds checkpoints of all runs.
#[napi(ts_return_type = "Failure | QueryPage")]
#[must_use]
pub fn query_sync(
    place: Place,
    request: QueryRequest,
    cancel: Option<&CancelToken>,
) -> Reply<QueryPage> {
    now(query_work(place, request, token(cancel)))
}

/// Finds checkpoints of all runs.
#[napi(ts_return_type = "Promise<Failure | QueryPage>")]
#[must_use]
pub fn query(
    place: Place,
    request: QueryRequest,
    cancel: Option<&CancelToken>,
) -> Pending<Page, QueryPage> {
    Job::task(query_work(place, request, token(cancel)))
}

fn rebuild_work(place: Place, handle: Handle) -> impl FnOnce() -> Result<Rebuilt> + Send {
    move || on_ground(place, &handle, query::rebuild)
}

/// Makes the index of checkpoints anew.
#[napi(ts_return_type = "Failure | RebuildOutcome")]
#[must_use]
pub fn rebuild_index_sync(place: Place, cancel: Option<&CancelToken>) -> Reply<RebuildOutcome> {
    now(rebuild_work(place, token(cancel)))
}

/// Makes the index of checkpoints anew.
#[napi(ts_return_type = "Promise<Failure | RebuildOutcome>")]
#[must_use]
pub fn rebuild_index(
    place: Place,
    cancel: Option<&CancelToken>,
) -> Pending<Rebuilt, RebuildOutcome> {
    Job::task(rebuild_work(place, token(cancel)))
}
