//! One verb per file: the only place where rules and durable state meet.
//!
//! This folder promises that each verb leaves a run consistent whenever it stops, and that it cleans
//! up behind a verb that was killed.

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::progress::Progress;
use crate::store::disk::Disk;
use crate::store::journal::{self, Recovered, Unfinished};
use crate::store::layout::RunDir;
use crate::store::lock::RunLock;
use crate::store::place::StoreDir;

pub mod archive;
mod aside;
mod beside;
mod budget;
pub mod capture;
pub mod cleanup;
pub mod create;
pub mod diff;
pub mod doctor;
pub mod events;
pub mod export;
pub mod files;
pub mod fork;
pub mod gc;
pub mod git;
pub mod hashes;
pub mod import;
pub mod lease;
pub mod lifecycle;
pub mod list;
pub mod locate;
mod looked;
pub mod prune;
pub mod query;
pub mod records;
mod registration;
pub mod restore;
pub mod show;
mod state;
pub mod verify;

/// What every verb needs: a run, the disk it lies on, the time, and whether to go on.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The file system.
    pub disk: &'a dyn Disk,
    /// The run.
    pub run: &'a RunDir,
    /// The project's store, for files and large state; without one all state lies in the manifest.
    pub store: Option<&'a StoreDir>,
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
    /// The fencing token of the caller's lease; see [`lease`].
    pub lease: Option<u64>,
    /// Whether the caller still wants it.
    pub cancel: &'a Cancel,
    /// How far it is.
    pub progress: &'a Progress,
}

impl Context<'_> {
    /// Takes the right to change the run and cleans up behind a killed operation.
    fn begin(&self) -> Result<(RunLock, Recovered)> {
        let (lock, recovered) = self.begin_anyway()?;
        Ok((lock, recovered?))
    }

    /// Like `begin`, but hands a journal that can't be recovered to the caller.
    fn begin_anyway(&self) -> Result<(RunLock, Result<Recovered>)> {
        self.begin_with(Unfinished::Finish)
    }

    fn begin_with(&self, unfinished: Unfinished) -> Result<(RunLock, Result<Recovered>)> {
        self.cancel.check()?;
        self.run.check(self.disk)?;
        self.run.create_private(self.disk)?;
        let lock = RunLock::acquire(self.disk, self.run, self.cancel)?;
        let (disk, run) = (self.disk, self.run);
        let recovered = journal::recover(disk, run, unfinished, self.now_ms, self.cancel);
        events::recover(self);
        Ok((lock, recovered))
    }
}

/// Finishes what a killed restore left behind, or undoes it, and removes leftovers of killed operations.
///
/// Every verb that changes a run begins with this; it is a verb of its own for those who are about
/// to read the run's files by themselves.
pub fn recover(context: &Context<'_>, unfinished: Unfinished) -> Result<Recovered> {
    context.run.check(context.disk)?;
    if !context.run.has_private(context.disk)? {
        return Ok(Recovered::Nothing);
    }
    let (lock, recovered) = context.begin_with(unfinished)?;
    drop(lock);
    recovered
}

/// The error for a checkpoint that is not there.
fn not_found(context: &Context<'_>, checkpoint_id: impl Into<String>) -> Error {
    Error::CheckpointNotFound {
        run_id: context.run.run_id().to_string(),
        checkpoint_id: checkpoint_id.into(),
    }
}
