//! The audit log, for JavaScript.

use napi_derive::napi;

use crate::binding::convert::{hints, number, whole};
use crate::binding::job::{Job, now};
use crate::binding::types::Place;
use crate::binding::{CancelToken, Handle, Pending, Reply, token};
use crate::error::Result;
use crate::model::ids::RunId;
use crate::model::step::STEP_MAX;
use crate::ops::{events, locate};
use crate::store::events::Page;
use crate::store::real_disk::RealDisk;

/// Which events to read.
#[napi(object, object_to_js = false)]
pub struct EventsRequest {
    /// Those behind this number; absent: the newest.
    pub after: Option<f64>,
    /// At most so many; absent: 1,000.
    pub limit: Option<f64>,
    /// Only those of this run.
    pub run_id: Option<String>,
    /// Only those of these kinds; none are all.
    pub kinds: Vec<String>,
    /// Of the run that is found by this id, and no further back than its first checkpoint; not with `after`.
    pub of_life: Option<bool>,
}

/// Some events, in order.
#[napi(object, object_from_js = false)]
pub struct EventsPage {
    /// The lines of the audit log: JSON text, each.
    pub events: Vec<String>,
    /// Where reading goes on: the last number that was looked at.
    pub position: f64,
    /// How many lines were passed over because they are not what was written.
    pub passed_over: f64,
}

impl From<Page> for EventsPage {
    fn from(page: Page) -> Self {
        Self {
            events: page.events.into_iter().map(|(_, line)| line).collect(),
            position: number(page.position),
            passed_over: number(page.passed_over),
        }
    }
}

fn events_work(
    place: Place,
    wanted: EventsRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<Page> + Send {
    move || {
        let run_id = wanted.run_id.as_deref().map(RunId::parse).transpose()?;
        let number = |name, value: Option<f64>| {
            let checked = value.map(|value| whole(name, value, STEP_MAX));
            checked.transpose()
        };
        let limit = number("limit", wanted.limit)?;
        let hints = hints(place, run_id.clone());
        let life_in = match wanted.of_life {
            Some(true) => Some(locate::locate(&hints)?),
            _ => None,
        };
        let request = events::Request {
            after: number("after", wanted.after)?,
            limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            run_id: run_id.as_ref().map(ToString::to_string),
            kinds: wanted.kinds,
            life_in,
        };
        let store = locate::store(&hints)?;
        events::read(&RealDisk, &store, &request, &handle.cancel)
    }
}

/// Reads the audit log.
#[napi(ts_return_type = "Failure | EventsPage")]
#[must_use]
pub fn events_sync(place: Place, request: EventsRequest) -> Reply<EventsPage> {
    now(events_work(place, request, Handle::default()))
}

/// Reads the audit log.
#[napi(ts_return_type = "Promise<Failure | EventsPage>")]
#[must_use]
pub fn events(
    place: Place,
    request: EventsRequest,
    cancel: Option<&CancelToken>,
) -> Pending<Page, EventsPage> {
    Job::task(events_work(place, request, token(cancel)))
}
