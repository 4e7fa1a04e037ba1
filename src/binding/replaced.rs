//! What was replaced or dropped is held until a thread of the pool has the time to free its space.
//!
//! *Invariants*: a checkpoint frees what those before it left, so no more is held than what one replaces, times the
//! checkpoints that are taken at the same time; and a few small files of what else was done ([`real_disk`]).
//!
//! *Crash story*: their names are gone; the system frees what a dead process held.

use napi_derive::napi;

use super::Pending;
use super::job::Job;
use crate::store::real_disk;

/// Gives the disk the space back of what was replaced or dropped: after a `create`, a restore or a step's begin, beside
/// whatever comes next. False if there was nothing.
#[napi(ts_return_type = "Promise<Failure | boolean>")]
#[must_use]
pub fn free_replaced() -> Pending<bool, bool> {
    Job::task(|| Ok(real_disk::let_go() > 0))
}
