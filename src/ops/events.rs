//! Notes in the audit log what the verbs did, and reads it.
//!
//! Noting never fails an operation: what happened has happened. Where the log can't be written it is told as a
//! warning, and the events still reach whoever asked for the operation.
//!
//! A create has a marker in the log from before its manifest appears until its event is in the log
//! (`begin_create`, `end_create`). A run whose marker is there though its lock is free may have a checkpoint
//! that no event tells of; [`note_recovered`] is for whoever finds it.

use serde_json::Value;

use crate::error::{Error, Result, Skipped};
use crate::model::cancel::Cancel;
use crate::model::event::{Event, Kind, Record};
use crate::model::progress::Progress;
use crate::model::time::to_iso;
use crate::ops::Context;
use crate::store::disk::Disk;
use crate::store::events::{Log, OpenRuns, Page};
use crate::store::layout::RunDir;
use crate::store::place::StoreDir;

/// How many events are read at once unless the caller says otherwise.
pub const READ_LIMIT: usize = 1_000;

/// Where the events of an operation go, and who noted them.
#[derive(Clone, Copy)]
pub struct Ledger<'a> {
    /// The file system.
    pub disk: &'a dyn Disk,
    /// The project's store; without one events only reach the caller.
    pub store: Option<&'a StoreDir>,
    /// The time that the operation began, in milliseconds since 1970.
    pub now_ms: i64,
    /// The operation.
    pub progress: &'a Progress,
}

impl<'a> From<&Context<'a>> for Ledger<'a> {
    fn from(context: &Context<'a>) -> Self {
        Self {
            disk: context.disk,
            store: context.store,
            now_ms: context.now_ms,
            progress: context.progress,
        }
    }
}

impl Ledger<'_> {
    /// Notes events in the order given. Makes the store if there is none. Gives what went wrong, in words.
    #[must_use]
    pub fn note(&self, events: &[Event]) -> Option<String> {
        let records = self.records(events);
        let log = self
            .store
            .map(|place| Log::new(self.disk, place, self.now_ms));
        self.put(log, &records)
    }

    /// The same, unless there is no store: nothing is made for it.
    #[must_use]
    pub fn note_if_there(&self, events: &[Event]) -> Option<String> {
        let records = self.records(events);
        // A store that can't be looked at can't be written either, and of one that can't be written nothing is
        // tried.
        let store = self.store.filter(|place| {
            place.exists(self.disk).unwrap_or(false) && self.disk.writable(place.path())
        });
        self.put(
            store.map(|place| Log::new(self.disk, place, self.now_ms)),
            &records,
        )
    }

    fn records(&self, events: &[Event]) -> Vec<Record> {
        let session = &self.progress.session;
        let took = session.took();
        let since_ms = took.map_or(0, |took| i64::try_from(took.as_millis()).unwrap_or(0));
        let time = to_iso(self.now_ms.saturating_add(since_ms));
        let who = session.who();
        let record = |event: &Event| {
            let mut record = Record::new(event, &time, &who);
            if let Some(took) = took {
                let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                record.data.insert("took_us".to_owned(), took_us.into());
            }
            record
        };
        events.iter().map(record).collect()
    }

    fn put(&self, log: Option<Log<'_>>, records: &[Record]) -> Option<String> {
        if records.is_empty() {
            return None;
        }
        let session = &self.progress.session;
        let Some(log) = log else {
            session.tell(records.iter().map(unplaced), None);
            return None;
        };
        match log.append(records.to_vec()) {
            Ok(lines) => {
                session.tell(lines, None);
                None
            }
            Err(error) => {
                session.tell(records.iter().map(unplaced), None);
                Some(format!(
                    "the audit log was not written: {}",
                    error.full_message()
                ))
            }
        }
    }

    /// Does something, and notes if it failed. Nothing is made for that, and what the caller stopped is no
    /// failure.
    pub fn watch<T>(
        &self,
        operation: &str,
        run: Option<&RunDir>,
        verb: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let done = verb();
        match &done {
            Ok(_) | Err(Error::Aborted) => {}
            Err(error) => {
                let event = Event::new(Kind::OperationFailed, operation)
                    .with("code", error.code())
                    .with("message", crate::model::ids::shorten(&error.to_string()));
                let event = match run {
                    Some(run) => about(run, event),
                    None => event,
                };
                // The failure itself is what has to be told.
                let _ = self.note_if_there(&[event]);
            }
        }
        done
    }

    /// Notes, where there is no better place for what goes wrong in it than the caller's ear.
    pub fn note_aside(&self, events: &[Event]) {
        let warning = self.note(events);
        self.progress.session.tell([], warning);
    }
}

/// An event as a line without a place in the log.
fn unplaced(record: &Record) -> String {
    let mut value = serde_json::to_value(record).unwrap_or_default();
    if let Value::Object(members) = &mut value {
        members.remove("seq");
        members.remove("prev");
    }
    value.to_string()
}

/// Says which run an event is about.
#[must_use]
pub fn about(run: &RunDir, mut event: Event) -> Event {
    event.run = Some(run.run_id().to_string());
    event.runs = Some(run.runs_dir().to_string_lossy().into_owned());
    event
}

/// Notes an event of the context's run. Gives what went wrong, in words.
#[must_use]
pub fn note(context: &Context<'_>, event: Event) -> Option<String> {
    note_all(context, vec![event])
}

/// Notes events of the context's run, in the order given. Gives what went wrong, in words.
#[must_use]
pub fn note_all(context: &Context<'_>, events: Vec<Event>) -> Option<String> {
    let events: Vec<Event> = events
        .into_iter()
        .map(|event| about(context.run, event))
        .collect();
    Ledger::from(context).note(&events)
}

/// Does something with the context's run, and notes if it failed.
pub(super) fn watch<T>(
    context: &Context<'_>,
    operation: &str,
    verb: impl FnOnce() -> Result<T>,
) -> Result<T> {
    Ledger::from(context).watch(operation, Some(context.run), verb)
}

/// The events of checkpoints that were dropped.
pub(super) fn pruned<'i>(
    operation: &str,
    reason: &str,
    ids: impl IntoIterator<Item = &'i String>,
) -> Vec<Event> {
    ids.into_iter()
        .map(|id| {
            Event::new(Kind::Pruned, operation)
                .of(id)
                .with("reason", reason)
        })
        .collect()
}

/// The events of damaged checkpoints that an operation met.
pub(super) fn damaged<'s>(
    operation: &str,
    skipped: impl IntoIterator<Item = &'s Skipped>,
) -> Vec<Event> {
    skipped
        .into_iter()
        .map(|one| {
            Event::new(Kind::Damaged, operation)
                .of(&one.checkpoint_id)
                .with("damage", one.damage.kind())
        })
        .collect()
}

/// Marks that a create is about to publish its manifest. The caller holds the run's lock. Only ever a help:
/// if it fails, so will the log, which tells.
pub(super) fn begin_create(context: &Context<'_>) {
    if let Some(place) = context.store {
        let _ = Log::new(context.disk, place, context.now_ms).begin(context.run);
    }
}

/// Takes the mark back: the event is in the log, or there is none to come.
pub(super) fn end_create(context: &Context<'_>) {
    if let Some(place) = context.store {
        let _ = Log::new(context.disk, place, context.now_ms).end_of(context.run);
    }
}

/// Notes the `created` event of a checkpoint whose create was killed before it could, and takes the run's mark
/// back. The caller holds the run's lock, and knows that the log has no such event. Gives what went wrong.
#[must_use]
pub fn note_recovered(context: &Context<'_>, checkpoints: &[String]) -> Option<String> {
    let events = checkpoints.iter().map(|id| {
        Event::new(Kind::Created, "create")
            .of(id)
            .with("recovered", true)
    });
    let warning = note_all(context, events.collect());
    if warning.is_none() {
        end_create(context);
    }
    warning
}

/// The runs whose last event may be missing; those whose lock is held are being worked on.
pub fn open_runs(disk: &dyn Disk, place: &StoreDir) -> Result<OpenRuns> {
    Log::new(disk, place, 0).open_runs()
}

/// Which events to read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Those behind this number; `None` gives the newest.
    pub after: Option<u64>,
    /// At most so many; `None` is [`READ_LIMIT`].
    pub limit: Option<usize>,
    /// Only those of a run of this id.
    pub run_id: Option<String>,
    /// Only those of these kinds; none are all.
    pub kinds: Vec<String>,
}

/// Reads the audit log; see [`Log::read`]. Without a store there are no events.
pub fn read(disk: &dyn Disk, place: &StoreDir, request: &Request, cancel: &Cancel) -> Result<Page> {
    for kind in &request.kinds {
        if Kind::parse(kind).is_none() {
            let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            return Err(Error::OptionValue {
                name: "kinds",
                reason: format!(
                    "{:?} is no kind of event; known are {}",
                    crate::model::ids::shorten(kind),
                    known.join(", ")
                ),
            });
        }
    }
    let wanted = |record: &Record| {
        let of_run = request.run_id.is_none() || record.run == request.run_id;
        of_run && (request.kinds.is_empty() || request.kinds.contains(&record.event))
    };
    let limit = request.limit.unwrap_or(READ_LIMIT);
    Log::new(disk, place, 0).read(request.after, limit, &wanted, cancel)
}
