//! Notes in the audit log what the verbs did, and reads it.
//!
//! Noting never fails an operation: what happened has happened. Where the log can't be written it is told as a
//! warning, and the events still reach whoever asked for the operation.
//!
//! What changes a run has a marker in the log from before the change can be seen until its events are in the log
//! (`begin`, `end`). A run whose marker is there though its lock is free may have changed without an event that
//! tells of it. The index of checkpoints looks at such runs; the next operation of the run adds the events
//! (`recover`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result, Skipped};
use crate::model::cancel::Cancel;
use crate::model::event::{Event, Kind, Record};
use crate::model::ids::CheckpointId;
use crate::model::progress::Progress;
use crate::model::time::to_iso;
use crate::ops::Context;
use crate::ops::lifecycle;
use crate::ops::restore::Restored;
use crate::store::changes::Changes;
use crate::store::disk::{Disk, EntryKind};
use crate::store::events::{Due, Log, OpenRuns, Page};
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
        let log = self
            .store
            .map(|place| Log::new(self.disk, place, self.now_ms));
        self.note_in(log, events)
    }

    fn note_in(&self, log: Option<Log<'_>>, events: &[Event]) -> Option<String> {
        self.put(log, &self.records(events))
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
    Ledger::from(context).note(&all_about(context, events))
}

/// The same, in the log that `begin` gave.
#[must_use]
pub(super) fn note_begun(
    context: &Context<'_>,
    log: Option<Log<'_>>,
    events: Vec<Event>,
) -> Option<String> {
    Ledger::from(context).note_in(log, &all_about(context, events))
}

fn all_about(context: &Context<'_>, events: Vec<Event>) -> Vec<Event> {
    let events = events.into_iter();
    events.map(|event| about(context.run, event)).collect()
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

/// An event that is about to be due.
pub(super) fn due(kind: Kind, operation: &str, checkpoint: &str, change: Option<u64>) -> Due {
    Due {
        event: kind.name().to_owned(),
        operation: operation.to_owned(),
        checkpoint: checkpoint.to_owned(),
        change,
        rescue: None,
    }
}

/// The event that is due when a checkpoint was restored; the rescue checkpoint tells one restore from another.
pub(super) fn due_restored(
    kind: Kind,
    operation: &str,
    checkpoint: &CheckpointId,
    rescue: &CheckpointId,
) -> Due {
    Due {
        rescue: Some(rescue.to_string()),
        ..due(kind, operation, checkpoint.as_str(), None)
    }
}

/// The events that are due when checkpoints were dropped.
pub(super) fn due_pruned<'i>(
    operation: &str,
    ids: impl IntoIterator<Item = &'i str>,
) -> impl Iterator<Item = Due> {
    ids.into_iter()
        .map(move |id| due(Kind::Pruned, operation, id, None))
}

/// Marks that the context's run is about to change, and which events are due then. The caller holds the run's
/// lock. Only ever a help: if it fails, so will the log, which tells. Gives the log to note them in.
pub(super) fn begin<'a>(context: &Context<'a>, due: Vec<Due>) -> Option<Log<'a>> {
    let place = context.store?;
    let mut log = Log::new(context.disk, place, context.now_ms);
    let _ = log.begin(context.run, due);
    Some(log)
}

/// Does the same before it is sure that the run will change, unless that would make a store, or take the place of a mark that
/// tells of another operation; `None` then.
pub(super) fn begin_if_there<'a>(context: &Context<'a>, due: Vec<Due>) -> Option<Log<'a>> {
    let place = context.store?;
    let mut log = Log::new(context.disk, place, context.now_ms);
    matches!(log.begin_if_there(context.run, due), Ok(true)).then_some(log)
}

/// Takes the mark back: the events are in the log, or there are none to come.
pub(super) fn end(context: &Context<'_>) {
    if let Some(place) = context.store {
        let _ = Log::new(context.disk, place, context.now_ms).end_of(context.run);
    }
}

/// Takes the mark back unless noting the events failed.
pub(super) fn end_noted(context: &Context<'_>, warning: Option<&String>) {
    if warning.is_none() {
        end(context);
    }
}

/// Adds the events of an operation on the run that was killed before it could. The caller holds the run's lock.
/// If it fails, the next one tries again.
pub(super) fn recover(context: &Context<'_>) {
    let Some(place) = context.store else {
        return;
    };
    let log = Log::new(context.disk, place, context.now_ms);
    // Of what has no event of its own the mark stays until the next operation is through.
    let Some(due) = log.due(context.run).filter(|due| !due.is_empty()) else {
        return;
    };
    if !context.disk.writable(place.path()) {
        return;
    }
    let mut missing = Vec::new();
    for one in &due {
        let Some(kind) = Kind::parse(&one.event) else {
            return;
        };
        match is_done(context, kind, one) {
            Ok(true) => {}
            Ok(false) => continue,
            Err(_) => return,
        }
        if kind == Kind::Restored
            && let Ok(id) = CheckpointId::parse(&one.checkpoint)
            && lifecycle::restored(context, &id).is_err()
        {
            return;
        }
        match is_noted(context, &log, kind, one) {
            Ok(true) => {}
            Ok(false) => {
                let event = Event::new(kind, &one.operation).of(&one.checkpoint);
                let event = event.with("recovered", true);
                missing.push(match (one.change, &one.rescue) {
                    (Some(at), _) => event.with("change", at),
                    (None, Some(rescue)) => event.with("rescue", rescue.as_str()),
                    (None, None) => event,
                });
            }
            Err(_) => return,
        }
    }
    let missing = missing.into_iter().map(|event| about(context.run, event));
    let warning = Ledger::from(context).note(&missing.collect::<Vec<_>>());
    end_noted(context, warning.as_ref());
}

/// Whether what an event tells of was done.
fn is_done(context: &Context<'_>, kind: Kind, due: &Due) -> Result<bool> {
    if let Some(at) = due.change {
        let log = Changes::read(context.disk, context.run)?;
        return Ok(log
            .happened
            .iter()
            .any(|one| one.at == at && one.checkpoint_id == due.checkpoint));
    }
    if due.rescue.is_some() {
        return Ok(Restored::read(context).is_some_and(|one| one.rescue == due.rescue));
    }
    let path = context.run.manifest(&CheckpointId::parse(&due.checkpoint)?);
    let there = match context.disk.metadata(&path) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(Error::io("read", &path, error)),
    };
    Ok(there != (kind == Kind::Pruned))
}

/// Whether an event is in the log: the last word on whether the checkpoint is there, or the one of its change.
fn is_noted(context: &Context<'_>, log: &Log<'_>, kind: Kind, due: &Due) -> Result<bool> {
    let own = about(context.run, Event::new(kind, &due.operation));
    let presence = [Kind::Created, Kind::Imported, Kind::Pruned].map(Kind::name);
    let wanted = |record: &Record| {
        let same = record.run == own.run && record.runs == own.runs;
        let same = same && record.checkpoint.as_deref() == Some(&*due.checkpoint);
        let said = |name| record.data.get(name);
        same && match (due.change, &due.rescue) {
            (Some(at), _) => said("change").and_then(Value::as_u64) == Some(at),
            (None, Some(rescue)) => {
                record.event == kind.name()
                    && said("rescue").and_then(Value::as_str) == Some(rescue)
            }
            (None, None) => presence.contains(&&*record.event),
        }
    };
    let page = log.read(None, 1, &wanted, context.cancel)?;
    let found = page.events.first().map(|(record, _)| &*record.event);
    Ok(match (due.change, &due.rescue) {
        (Some(_), _) | (None, Some(_)) => found.is_some(),
        (None, None) => {
            found.is_some_and(|found| (found == Kind::Pruned.name()) == (kind == Kind::Pruned))
        }
    })
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
    /// The folder of runs: of the run of `run_id` that lies there, and no further back than its first checkpoint. What
    /// lies before that is of another run of the name, and the log may be long. Not with `after`; `kinds` has to hold
    /// `created`, or be empty.
    pub life_in: Option<PathBuf>,
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
    let log = Log::new(disk, place, 0);
    let (Some(runs_dir), None) = (&request.life_in, request.after) else {
        return log.read(request.after, limit, &wanted, cancel);
    };
    let own = runs_dir.to_string_lossy();
    let others = RefCell::new(HashMap::new());
    // A project that was moved has events of where it was. Only a run that still lies there is another one.
    let is_others = |record: &Record| {
        let (Some(runs), Some(run)) = (&record.runs, &record.run) else {
            return false;
        };
        let look = || {
            let folder = Path::new(runs).join(run);
            disk.metadata(&folder)
                .is_ok_and(|found| found.kind == EntryKind::Directory)
        };
        *runs != own
            && *others
                .borrow_mut()
                .entry((runs.clone(), run.clone()))
                .or_insert_with(look)
    };
    let of_life = |record: &Record| wanted(record) && !is_others(record);
    log.read_back(limit, &of_life, &begins, cancel)
}

/// Whether a run begins with this event.
fn begins(record: &Record) -> bool {
    let sequence = record.data.get("sequence").and_then(Value::as_u64);
    record.event == Kind::Created.name() && sequence == Some(1)
}
