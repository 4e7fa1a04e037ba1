//! Small JSON documents that outlive their process: `checkpoints/.waymark/records/<name>.json` of a run,
//! `.waymark/records/<name>.json` of the store.
//!
//! *Invariants*: a file shows the old document or the new one, whole ([`crate::store::publish`]), and checks
//! itself ([`crate::model::record`]). What was written is durable when `write` returns, what was removed is
//! gone for good when `remove` returns.
//!
//! *Crash story*: a `staged-record` is left, which the next one who writes removes.
//!
//! *Limits*: the caller holds the run's lock, or the store's own for records, to write; none is needed to read.

use std::io;
use std::path::PathBuf;

use crate::error::{Error, IoContext, Result};
use crate::model::record::{FILE_MAX, Record, RecordName};
use crate::store::disk::{Disk, EntryKind};
use crate::store::layout::{RunDir, STAGED};
use crate::store::place::StoreDir;
use crate::store::publish::{Staged, freeing_later, remove, sync_parent};

/// Whose records they are.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'a> {
    /// A run's.
    Run(&'a RunDir),
    /// The store's.
    Store(&'a StoreDir),
}

impl Owner<'_> {
    /// The folder of the records.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        match self {
            Self::Run(run) => run.records(),
            Self::Store(place) => place.records(),
        }
    }

    /// A record's file.
    #[must_use]
    pub fn path(&self, name: &RecordName) -> PathBuf {
        self.folder().join(name.file_name())
    }

    /// The run; `None` for the store.
    #[must_use]
    pub fn run_id(&self) -> Option<String> {
        match self {
            Self::Run(run) => Some(run.run_id().to_string()),
            Self::Store(_) => None,
        }
    }

    fn staged(&self) -> PathBuf {
        match self {
            Self::Run(run) => run.staged("record"),
            Self::Store(place) => place.path().join(format!("{STAGED}record")),
        }
    }
}

/// Reads a record; `None` if there is none. Gives [`Error::RecordDamaged`] for one that is not as it was written.
pub fn read(disk: &dyn Disk, owner: Owner<'_>, name: &RecordName) -> Result<Option<Record>> {
    let path = owner.path(name);
    let damaged = |reason| {
        Err(Error::RecordDamaged {
            name: name.to_string(),
            run_id: owner.run_id(),
            path: path.clone(),
            reason,
        })
    };
    match disk.read(&path, FILE_MAX) {
        Ok(bytes) => Record::decode(&bytes).map(Some).or_else(damaged),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            io::ErrorKind::InvalidInput => damaged("it is not a regular file"),
            io::ErrorKind::FileTooLarge => damaged("it is larger than a record can be"),
            _ => Err(Error::io("read", &path, error)),
        },
    }
}

/// Puts a record in the place of what is there, durably.
pub fn write(disk: &dyn Disk, owner: Owner<'_>, name: &RecordName, record: &Record) -> Result<()> {
    let (folder, staged) = (owner.folder(), owner.staged());
    match disk.create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::io("create", &folder, error));
        }
        _ => {}
    }
    let path = owner.path(name);
    // Whoever made the folder may have been killed before that was durable.
    if disk.metadata(&path).is_err() {
        sync_parent(disk, &folder)?;
    }
    remove(disk, &staged)?;
    let staged = Staged::write(disk, staged, &record.encode())?;
    freeing_later(disk, &path, || staged.publish_over(&path))
}

/// Removes a record, durably; `false` if there was none.
pub fn drop_one(disk: &dyn Disk, owner: Owner<'_>, name: &RecordName) -> Result<bool> {
    let path = owner.path(name);
    match disk.remove_file(&path) {
        Ok(()) => sync_parent(disk, &path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", &path, error)),
    }
}

/// The names of all records, in order; damaged ones too.
pub fn names(disk: &dyn Disk, owner: Owner<'_>) -> Result<Vec<RecordName>> {
    let folder = owner.folder();
    let entries = match disk.list(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context("read", &folder)?,
    };
    let mut names: Vec<RecordName> = entries
        .iter()
        .filter(|entry| entry.kind != EntryKind::Directory)
        .filter_map(|entry| RecordName::of_file(entry.name.to_str()?))
        .collect();
    names.sort();
    Ok(names)
}
