//! The file of a run's lease: `checkpoints/.waymark/lease`, and the lock of those who change it.
//!
//! *Invariants*: it shows the old lease or the new one, whole, and checks itself; it is a record
//! ([`crate::model::record`]) whose number is the token. It is never removed, so that tokens only grow.
//!
//! *Crash story*: a kill before the rename leaves `lease.new`, which is written over.
//!
//! *Limits*: not synced. After power loss no holder lives, and the time is in the next token as well.

use std::io;
use std::path::PathBuf;

use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::model::lease::Lease;
use crate::model::record::Record;
use crate::store::disk::{Disk, LockGuard};
use crate::store::layout::RunDir;
use crate::store::lock::{holder_of, wait};
use crate::store::publish::{freeing_later, remove};

/// The largest file, in bytes.
const LEASE_MAX: u64 = 16 << 10;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// There is none.
    Nothing,
    /// This lease.
    Lease(Lease),
    /// It can't be trusted.
    Damaged {
        /// What is wrong with it.
        reason: &'static str,
        /// When it was written last, in milliseconds since 1970.
        modified_ms: i64,
    },
}

/// The right to change a run's lease.
#[derive(Debug)]
pub struct LeaseLock(#[allow(dead_code, reason = "held until dropped")] Box<dyn LockGuard>);

impl LeaseLock {
    /// Waits for the lock of a run whose private folder exists. Who takes a lease over holds the run's lock first;
    /// who renews one does not, so that it goes on while a long operation is under way.
    pub fn acquire(disk: &dyn Disk, run: &RunDir, cancel: &Cancel) -> Result<Self> {
        let path = run.lease_lock();
        match wait(disk, &path, cancel)? {
            Ok(guard) => Ok(Self(guard)),
            Err(waited_ms) => Err(Error::RunBusy {
                run_id: run.run_id().to_string(),
                holder: holder_of(disk, &path),
                path,
                waited_ms,
            }),
        }
    }
}

/// Where it lies.
#[must_use]
pub fn path(run: &RunDir) -> PathBuf {
    run.lease()
}

/// Reads the lease of a run. Needs no lock.
pub fn read(disk: &dyn Disk, run: &RunDir) -> Result<Found> {
    let path = run.lease();
    let decoded = match disk.read(&path, LEASE_MAX) {
        Ok(bytes) => Record::decode(&bytes).and_then(|record| {
            let lease: Lease =
                serde_json::from_str(&record.json).map_err(|_| "it can't be understood")?;
            if lease.token == record.number {
                Ok(lease)
            } else {
                Err("its token is not its number")
            }
        }),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return Ok(Found::Nothing),
            io::ErrorKind::InvalidInput => Err("it is not a regular file"),
            io::ErrorKind::FileTooLarge => Err("it is larger than a lease can be"),
            _ => return Err(Error::io("read", &path, error)),
        },
    };
    Ok(match decoded {
        Ok(lease) => Found::Lease(lease),
        Err(reason) => Found::Damaged {
            reason,
            // It may be gone by now.
            modified_ms: disk.metadata(&path).map_or(0, |found| found.modified_ms),
        },
    })
}

/// Puts a lease in the place of the one before. The caller holds its lock.
pub fn write(disk: &dyn Disk, run: &RunDir, lease: &Lease) -> Result<()> {
    let json = serde_json::to_string(lease).map_err(|error| Error::Internal {
        message: error.to_string(),
    })?;
    let record = Record {
        number: lease.token,
        json,
    };
    let (path, new) = (run.lease(), run.lease_new());
    remove(disk, &new)?;
    disk.create(&new)
        .and_then(|mut file| file.write_all(&record.encode()))
        .context("write", &new)?;
    freeing_later(disk, &path, || disk.rename(&new, &path)).context("publish", &path)
}
