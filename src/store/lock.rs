//! The lock between Waymark's own operations on one run.
//!
//! *Invariants*: at most one holder per run, in all processes and threads of this host. Whoever
//! holds it may treat every `staged-` file as a leftover.
//!
//! *Crash story*: the kernel lets the lock go when its process dies, however it dies; nothing has
//! to be taken over. The file stays; its text names the last holder and is only for people.
//!
//! *Limits*: an advisory lock of this host (`flock`, `LockFileEx`); on network file systems it
//! holds as far as they support it. It does not bind the runner, which has its own
//! ([`crate::store::runner_lock`]).

use std::path::Path;

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::store::disk::{Disk, LockGuard};
use crate::store::layout::RunDir;

/// How long an operation waits for its turn, in milliseconds.
pub const WAIT_MS: u64 = 30_000;

/// The right to change a run.
#[derive(Debug)]
pub struct RunLock(#[allow(dead_code, reason = "held until dropped")] Box<dyn LockGuard>);

impl RunLock {
    /// Waits for the lock of a run whose private folder exists.
    pub fn acquire(disk: &dyn Disk, run: &RunDir, cancel: &Cancel) -> Result<Self> {
        let path = run.lock();
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

/// Waits for a lock file, making it; gives how long was waited, in milliseconds, if that was too long.
pub(crate) fn wait(
    disk: &dyn Disk,
    path: &Path,
    cancel: &Cancel,
) -> Result<std::result::Result<Box<dyn LockGuard>, u64>> {
    let holder = format!("{{\"pid\":{}}}", std::process::id());
    let mut waited_ms = 0;
    loop {
        cancel.check()?;
        match disk.try_lock(path, &holder) {
            Ok(Some(guard)) => return Ok(Ok(guard)),
            Ok(None) => {}
            Err(error) => return Err(Error::io("lock", path, error)),
        }
        if waited_ms >= WAIT_MS {
            return Ok(Err(waited_ms));
        }
        // Short at first: an operation takes a few milliseconds.
        let pause = (1 + waited_ms / 8).min(20);
        disk.pause(pause);
        waited_ms += pause;
    }
}

/// Who holds a lock file, as far as its text tells.
pub(crate) fn holder_of(disk: &dyn Disk, path: &Path) -> String {
    disk.read(path, 4096)
        .ok()
        .and_then(|bytes| pid_of(&bytes))
        .map_or_else(
            || "another process".to_owned(),
            |pid| match disk.process_alive(pid) {
                Some(false) => format!("process {pid} (not running)"),
                _ => format!("process {pid}"),
            },
        )
}

/// The process id in a lock file's JSON.
pub(crate) fn pid_of(bytes: &[u8]) -> Option<u32> {
    #[derive(serde::Deserialize)]
    struct Holder {
        pid: u32,
    }
    serde_json::from_slice::<Holder>(bytes)
        .ok()
        .map(|holder| holder.pid)
        .filter(|&pid| pid > 0)
}
