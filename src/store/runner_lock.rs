//! The runner's own lock for `run.json`: `run.json.lock`.
//!
//! The protocol is the client's (RUNNER-CONTRACT): created exclusively with `{"pid","timestamp"}`,
//! tried every 100 ms for 5 s, stale after 30 s by its modification time, let go by unlinking.
//!
//! *Invariants*: a live holder's lock is never broken before it is stale; a lock whose process is
//! dead on this host is taken over at once.
//!
//! *Crash story*: a killed holder leaves the file; the next one finds its process dead. A take-over
//! first moves the file aside and checks that it is the one that was judged, so that two processes
//! that take over at the same time don't both win; moved-aside files are `staged-` leftovers.
//!
//! *Limits*: process ids are reused; a lock of a dead process whose number lives on is waited for,
//! until it is stale. A clock that is set back keeps a lock fresh for longer.

use std::io;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::time::to_iso;
use crate::store::disk::Disk;
use crate::store::layout::RunDir;
use crate::store::lock::{holder_of, pid_of};
use crate::store::publish::remove;

/// How long a live holder is waited for, in milliseconds.
pub const WAIT_MS: u64 = 5_000;
/// After how long a lock is stale, in milliseconds.
pub const STALE_MS: i64 = 30_000;
const RETRY_MS: u64 = 100;

/// The right to change `run.json`, as the runner understands it.
pub struct RunnerLock<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
}

/// What a lock file says of its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Nobody: there is no lock.
    Free,
    /// A process that runs, or that can't be judged, with a lock that is not stale.
    Live,
    /// A dead process, or a stale lock.
    Gone,
}

/// Judges the lock of a run at the instant `now_ms`.
pub fn judge(disk: &dyn Disk, path: &std::path::Path, now_ms: i64) -> Result<Holder> {
    let found = match disk.metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Holder::Free),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    if now_ms.saturating_sub(found.modified_ms) > STALE_MS {
        return Ok(Holder::Gone);
    }
    // A lock that is being written has no pid yet: live until stale.
    let pid = disk.read(path, 4096).ok().and_then(|bytes| pid_of(&bytes));
    Ok(match pid.and_then(|pid| disk.process_alive(pid)) {
        Some(false) => Holder::Gone,
        _ => Holder::Live,
    })
}

impl<'a> RunnerLock<'a> {
    /// Takes the lock; the caller holds the run's own lock, so only runners compete.
    pub fn acquire(disk: &'a dyn Disk, run: &RunDir, now_ms: i64, cancel: &Cancel) -> Result<Self> {
        let path = run.runner_lock();
        let text = format!(
            "{{\"pid\":{},\"timestamp\":\"{}\"}}",
            std::process::id(),
            to_iso(now_ms)
        );
        // Written aside first, so that the lock never stands there without its holder. Not synced:
        // after power loss nobody holds it.
        let ready = run.staged("runner-lock-new");
        remove(disk, &ready)?;
        disk.create(&ready)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| Error::io("write", &ready, error))?;
        let mut waited_ms = 0;
        loop {
            cancel.check()?;
            match disk.rename_new(&ready, &path) {
                Ok(()) => return Ok(Self { disk, path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::io("lock", &path, error)),
            }
            let now_ms = now_ms.saturating_add(i64::try_from(waited_ms).unwrap_or(0));
            match judge(disk, &path, now_ms)? {
                Holder::Free => continue,
                Holder::Gone => {
                    take_aside(disk, run, &path)?;
                    continue;
                }
                Holder::Live => {}
            }
            if waited_ms >= WAIT_MS {
                return Err(Error::RunLocked {
                    holder: holder_of(disk, &path),
                    path,
                    waited_ms,
                });
            }
            disk.pause(RETRY_MS);
            waited_ms += RETRY_MS;
        }
    }
}

/// Removes the lock of a dead process: a killed restore of ours may have left it, and the runner
/// itself would wait for it. A live one's stays, however old. The caller holds the run's own lock.
pub fn remove_dead(disk: &dyn Disk, run: &RunDir) -> Result<()> {
    let path = run.runner_lock();
    // None is there, mostly; and what can't be read is none that we know.
    let Ok(bytes) = disk.read(&path, 4096) else {
        return Ok(());
    };
    match pid_of(&bytes).and_then(|pid| disk.process_alive(pid)) {
        Some(false) => take_aside(disk, run, &path),
        _ => Ok(()),
    }
}

/// Removes a lock that was judged to be nobody's, unless it is another one by now.
fn take_aside(disk: &dyn Disk, run: &RunDir, path: &std::path::Path) -> Result<()> {
    let judged = disk.read(path, 4096).unwrap_or_default();
    let aside = run.staged("runner-lock");
    remove(disk, &aside)?;
    match disk.rename(path, &aside) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("take over", path, error)),
    }
    if disk.read(&aside, 4096).unwrap_or_default() != judged {
        // A runner came first: its lock goes back. If yet another one stands there, both run on
        // as they would without us.
        let _ = disk.rename_new(&aside, path);
    }
    remove(disk, &aside)
}

impl Drop for RunnerLock<'_> {
    fn drop(&mut self) {
        // A lock that can't be removed is taken over once this process is gone.
        let _ = self.disk.remove_file(&self.path);
    }
}
