//! Files that checkpoints replaced or dropped, held until a thread of the pool has the time to free their space.
//!
//! *Invariants*: a checkpoint frees what those before it left, so no more is held than what one replaces, times the
//! checkpoints that are taken at the same time.
//!
//! *Crash story*: their names are gone; the system frees what a dead process held.

use std::sync::{Mutex, MutexGuard, PoisonError};

use napi_derive::napi;

use super::Pending;
use super::job::Job;
use crate::store::disk::Hold;

static REPLACED: Mutex<Vec<Box<dyn Hold>>> = Mutex::new(Vec::new());

fn held() -> MutexGuard<'static, Vec<Box<dyn Hold>>> {
    REPLACED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Holds files until they are freed.
pub(super) fn keep(files: Vec<Box<dyn Hold>>) {
    held().extend(files);
}

/// Frees what is held, on this thread.
pub(super) fn free() {
    let files = std::mem::take(&mut *held());
    drop(files);
}

/// Gives the disk the space back of what checkpoints replaced or dropped: after a `create`, beside whatever comes next.
/// False if there was nothing.
#[napi(ts_return_type = "Promise<Failure | boolean>")]
#[must_use]
pub fn free_replaced() -> Pending<bool, bool> {
    Job::task(|| {
        let was_held = !held().is_empty();
        free();
        Ok(was_held)
    })
}
