//! Reads and changes records: small JSON documents of a run or of the store.
//!
//! The visible moment of a change is the record's file getting its name. A change may say which writing of the
//! record it is about, so that nobody's change is lost: read, change, write with the revision that was read,
//! and begin again at [`Error::RecordChanged`].

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::record::{Record, RecordName};
use crate::store::disk::{Disk, LockGuard};
use crate::store::lock::{RunLock, wait};
use crate::store::records::{self, Owner};

/// The records of a run or of the store.
#[derive(Clone, Copy)]
pub struct Shelf<'a> {
    /// The file system.
    pub disk: &'a dyn Disk,
    /// Whose they are.
    pub owner: Owner<'a>,
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
    /// Whether the caller still wants it.
    pub cancel: &'a Cancel,
}

/// What a change is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is there, even if it is damaged.
    Anything,
    /// Nothing: the record must not be there.
    Nothing,
    /// The writing with this revision.
    Revision(String),
}

enum Held {
    Run(#[allow(dead_code, reason = "held until dropped")] RunLock),
    Store(#[allow(dead_code, reason = "held until dropped")] Box<dyn LockGuard>),
}

impl Shelf<'_> {
    fn check(&self) -> Result<()> {
        match self.owner {
            Owner::Run(run) => run.check(self.disk),
            Owner::Store(place) => place.exists(self.disk).map(|_| ()),
        }
    }

    /// Takes the right to change the records. Nothing of the run is touched but them: they can be kept while
    /// a restore waits to be finished, too.
    fn hold(&self) -> Result<Held> {
        self.cancel.check()?;
        self.check()?;
        match self.owner {
            Owner::Run(run) => {
                run.create_private(self.disk)?;
                RunLock::acquire(self.disk, run, self.cancel).map(Held::Run)
            }
            Owner::Store(place) => {
                if place.exists(self.disk)? && !self.disk.writable(place.path()) {
                    return Err(Error::StoreReadOnly {
                        path: place.path().to_path_buf(),
                    });
                }
                crate::store::objects::Store::make(self.disk, place, self.now_ms)?;
                let path = place.records_lock();
                match wait(self.disk, &path, self.cancel)? {
                    Ok(guard) => Ok(Held::Store(guard)),
                    Err(waited_ms) => Err(Error::StoreBusy { path, waited_ms }),
                }
            }
        }
    }

    /// What is there, if it is what a change is about; `None` for a damaged one as well, where anything is.
    fn meets(&self, name: &RecordName, expected: &Expected) -> Result<Option<Record>> {
        let found = match (records::read(self.disk, self.owner, name), expected) {
            (Err(Error::RecordDamaged { .. }), Expected::Anything) => return Ok(None),
            (Err(Error::RecordDamaged { .. }), Expected::Nothing) => {
                return Err(self.changed(name, "a damaged one is there".to_owned()));
            }
            (found, _) => found?,
        };
        let revision = found.as_ref().map(Record::revision);
        match (expected, revision) {
            (Expected::Anything, _) | (Expected::Nothing, None) => Ok(found),
            (Expected::Revision(wanted), Some(revision)) if *wanted == revision => Ok(found),
            (_, None) => Err(self.changed(name, "it is gone".to_owned())),
            (_, Some(revision)) => Err(self.changed(name, format!("its revision is {revision}"))),
        }
    }

    fn changed(&self, name: &RecordName, found: String) -> Error {
        Error::RecordChanged {
            name: name.to_string(),
            run_id: self.owner.run_id(),
            path: self.owner.path(name),
            found,
        }
    }
}

/// Reads a record; `None` if there is none. Gives [`Error::RecordDamaged`] for one that can't be trusted.
pub fn read(shelf: &Shelf<'_>, name: &RecordName) -> Result<Option<Record>> {
    shelf.check()?;
    records::read(shelf.disk, shelf.owner, name)
}

/// Writes a record, durably, and gives it as it is now.
///
/// Gives [`Error::RecordChanged`] if something else is there than was expected, [`Error::RecordTooLarge`] for a
/// document over 1 MiB, [`Error::OptionValue`] for one that is no JSON; nothing was changed then.
pub fn write(
    shelf: &Shelf<'_>,
    name: &RecordName,
    json: String,
    expected: &Expected,
) -> Result<Record> {
    let mut record = Record::new(name, 1, json)?;
    let _held = shelf.hold()?;
    if let Some(before) = shelf.meets(name, expected)? {
        record.number = before.number.saturating_add(1);
    }
    shelf.cancel.check()?;
    records::write(shelf.disk, shelf.owner, name, &record)?;
    Ok(record)
}

/// Removes a record, durably; `false` if there was none. Gives [`Error::RecordChanged`] if something else is
/// there than was expected.
pub fn remove(shelf: &Shelf<'_>, name: &RecordName, expected: &Expected) -> Result<bool> {
    let _held = shelf.hold()?;
    shelf.meets(name, expected)?;
    shelf.cancel.check()?;
    records::drop_one(shelf.disk, shelf.owner, name)
}

/// The names of all records, in order; damaged ones too.
pub fn list(shelf: &Shelf<'_>) -> Result<Vec<RecordName>> {
    shelf.check()?;
    records::names(shelf.disk, shelf.owner)
}
