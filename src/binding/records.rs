//! Records for JavaScript: small durable JSON documents of a run, or of the store.

use napi_derive::napi;

use crate::binding::convert::hints;
use crate::binding::job::{Job, now};
use crate::binding::types::Place;
use crate::binding::{Pending, Reply, clock};
use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::model::ids::RunId;
use crate::model::record::{Record, RecordName};
use crate::ops::locate;
use crate::ops::records::{self as verb, Expected, Shelf};
use crate::store::layout::RunDir;
use crate::store::real_disk::RealDisk;
use crate::store::records::Owner;

/// A record that was read.
#[napi(object, object_from_js = false)]
pub struct RecordText {
    /// The document: JSON text, as it was written.
    pub json: String,
    /// Tells this writing of the record from every other.
    pub revision: String,
}

/// A record that was written.
#[napi(object, object_from_js = false)]
pub struct RecordWritten {
    /// Its revision from now on.
    pub revision: String,
}

/// What a change of a record is about; nothing said: whatever is there, even if it is damaged.
#[napi(object, object_to_js = false)]
pub struct RecordExpected {
    /// The record must still have this revision.
    pub revision: Option<String>,
    /// The record must not be there.
    pub missing: Option<bool>,
}

impl From<Record> for RecordText {
    fn from(record: Record) -> Self {
        Self {
            revision: record.revision(),
            json: record.json,
        }
    }
}

impl From<Record> for RecordWritten {
    fn from(record: Record) -> Self {
        Self {
            revision: record.revision(),
        }
    }
}

fn expected(wanted: Option<RecordExpected>) -> Expected {
    match wanted {
        Some(RecordExpected {
            revision: Some(revision),
            ..
        }) => Expected::Revision(revision),
        Some(RecordExpected {
            missing: Some(true),
            ..
        }) => Expected::Nothing,
        _ => Expected::Anything,
    }
}

/// Finds a run's records, or without a run the store's, and hands them to a verb.
fn on_shelf<T>(
    place: Place,
    run_id: Option<&str>,
    verb: impl FnOnce(&Shelf<'_>) -> Result<T>,
) -> Result<T> {
    let run_id = run_id.map(RunId::parse).transpose()?;
    let hints = hints(place, run_id.clone());
    let runs_dir = locate::locate(&hints)?;
    let (run, project);
    let owner = if let Some(run_id) = run_id {
        run = RunDir::new(&runs_dir, run_id);
        Owner::Run(&run)
    } else {
        project = locate::project(&runs_dir, &hints)?;
        Owner::Store(&project.store)
    };
    verb(&Shelf {
        disk: &RealDisk,
        owner,
        now_ms: clock(),
        cancel: &Cancel::default(),
    })
}

fn read_work(
    place: Place,
    run_id: Option<String>,
    name: String,
) -> impl FnOnce() -> Result<Option<Record>> + Send {
    move || {
        let name = RecordName::parse(&name)?;
        on_shelf(place, run_id.as_deref(), |shelf| verb::read(shelf, &name))
    }
}

/// Reads a record of a run, or without a run of the store; null if there is none.
#[napi(ts_return_type = "Failure | RecordText | null")]
#[must_use]
pub fn read_record_sync(
    place: Place,
    run_id: Option<String>,
    name: String,
) -> Reply<Option<RecordText>> {
    now(|| Ok(read_work(place, run_id, name)()?.map(RecordText::from)))
}

/// Reads a record of a run, or without a run of the store; null if there is none.
#[napi(ts_return_type = "Promise<Failure | RecordText | null>")]
#[must_use]
pub fn read_record(
    place: Place,
    run_id: Option<String>,
    name: String,
) -> Pending<Option<RecordText>, Option<RecordText>> {
    let work = read_work(place, run_id, name);
    Job::task(move || Ok(work()?.map(RecordText::from)))
}

fn write_work(
    place: Place,
    run_id: Option<String>,
    name: String,
    json: String,
    wanted: Option<RecordExpected>,
) -> impl FnOnce() -> Result<Record> + Send {
    move || {
        let name = RecordName::parse(&name)?;
        let expected = expected(wanted);
        on_shelf(place, run_id.as_deref(), |shelf| {
            verb::write(shelf, &name, json, &expected)
        })
    }
}

/// Writes a record durably. `json` is JSON text.
#[napi(ts_return_type = "Failure | RecordWritten")]
#[must_use]
pub fn write_record_sync(
    place: Place,
    run_id: Option<String>,
    name: String,
    json: String,
    expected: Option<RecordExpected>,
) -> Reply<RecordWritten> {
    now(write_work(place, run_id, name, json, expected))
}

/// Writes a record durably. `json` is JSON text.
#[napi(ts_return_type = "Promise<Failure | RecordWritten>")]
#[must_use]
pub fn write_record(
    place: Place,
    run_id: Option<String>,
    name: String,
    json: String,
    expected: Option<RecordExpected>,
) -> Pending<Record, RecordWritten> {
    Job::task(write_work(place, run_id, name, json, expected))
}

fn remove_work(
    place: Place,
    run_id: Option<String>,
    name: String,
    wanted: Option<RecordExpected>,
) -> impl FnOnce() -> Result<bool> + Send {
    move || {
        let name = RecordName::parse(&name)?;
        let expected = expected(wanted);
        on_shelf(place, run_id.as_deref(), |shelf| {
            verb::remove(shelf, &name, &expected)
        })
    }
}

/// Removes a record durably; false if there was none.
#[napi(ts_return_type = "Failure | boolean")]
#[must_use]
pub fn remove_record_sync(
    place: Place,
    run_id: Option<String>,
    name: String,
    expected: Option<RecordExpected>,
) -> Reply<bool> {
    now(remove_work(place, run_id, name, expected))
}

/// Removes a record durably; false if there was none.
#[napi(ts_return_type = "Promise<Failure | boolean>")]
#[must_use]
pub fn remove_record(
    place: Place,
    run_id: Option<String>,
    name: String,
    expected: Option<RecordExpected>,
) -> Pending<bool, bool> {
    Job::task(remove_work(place, run_id, name, expected))
}

fn list_work(place: Place, run_id: Option<String>) -> impl FnOnce() -> Result<Vec<String>> + Send {
    move || {
        on_shelf(place, run_id.as_deref(), |shelf| {
            let names = verb::list(shelf)?;
            Ok(names.iter().map(ToString::to_string).collect())
        })
    }
}

/// The names of all records of a run, or without a run of the store, in order; damaged ones too.
#[napi(ts_return_type = "Failure | Array<string>")]
#[must_use]
pub fn list_records_sync(place: Place, run_id: Option<String>) -> Reply<Vec<String>> {
    now(list_work(place, run_id))
}

/// The names of all records of a run, or without a run of the store, in order; damaged ones too.
#[napi(ts_return_type = "Promise<Failure | Array<string>>")]
#[must_use]
pub fn list_records(place: Place, run_id: Option<String>) -> Pending<Vec<String>, Vec<String>> {
    Job::task(list_work(place, run_id))
}
