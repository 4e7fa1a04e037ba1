//! Leases for JavaScript, and the threads that renew them.
//!
//! A lease that is kept is renewed by a thread of its own every third of its time, whatever the event loop is
//! busy with. It stops when the lease is given back or lost, with the worker or process that began it, and it
//! stands still with a process that is stopped: then the lease expires, as it should.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use napi::Env;
use napi_derive::napi;

use crate::binding::convert::{hints, number, whole};
use crate::binding::job::{Job, now};
use crate::binding::types::{LeaseInfo, Place};
use crate::binding::{Handle, Pending, Reply, clock};
use crate::error::{Error, Result};
use crate::model::ids::RunId;
use crate::model::lease::{Lease, Process, Standing, TTL_MS, Wanted, check_ttl};
use crate::model::step::STEP_MAX;
use crate::model::time::to_iso;
use crate::ops::lease::{self as verb, Known, Look, Taken};
use crate::ops::{self, Context};
use crate::store::disk::Disk;
use crate::store::layout::RunDir;
use crate::store::real_disk::{self, RealDisk};

/// What somebody wants who takes a lease.
#[napi(object, object_to_js = false)]
pub struct LeaseRequest {
    /// Who he is, in his own words.
    pub holder: String,
    /// How long it lasts without renewal, in milliseconds; 60,000 unless given.
    pub ttl_ms: Option<f64>,
    /// The token he has already: the lease is then prolonged, if it is still his.
    pub token: Option<f64>,
    /// Whether it is taken from a live holder, and in the place of a damaged one; false unless given.
    pub force: Option<bool>,
}

/// A lease that was taken.
#[napi(object, object_from_js = false)]
pub struct LeaseTaken {
    /// The fencing token: higher than any before it.
    pub token: f64,
    /// Since when, ISO 8601.
    pub since: String,
    /// Until when, if it is not renewed, ISO 8601.
    pub expires: String,
    /// The one before, if it was another's that had not given it back; absent otherwise.
    pub took_over: Option<LeaseStanding>,
}

/// What is known of a run's lease.
#[napi(object, object_from_js = false)]
pub struct LeaseStanding {
    /// The fencing token; 0 of a damaged one.
    pub token: f64,
    /// Who holds it, in his own words; empty of a damaged one.
    pub holder: String,
    /// The holder's process; 0 of a damaged one.
    pub pid: f64,
    /// The holder's machine; empty of a damaged one.
    pub host: String,
    /// Since when, ISO 8601; of a damaged one when its file was written.
    pub since: String,
    /// When it was renewed last, ISO 8601.
    pub renewed: String,
    /// Until when, if it is not renewed, ISO 8601.
    pub expires: String,
    /// Whether it keeps others out.
    pub live: bool,
    /// Why, or why not.
    #[napi(ts_type = "'live' | 'released' | 'expired' | 'dead' | 'rebooted' | 'damaged'")]
    pub why: String,
    /// What is wrong with a damaged one.
    pub problem: Option<String>,
}

/// What is known of a process of this machine.
#[napi(object, object_from_js = false)]
pub struct ProcessIdentity {
    /// Whether it runs; absent where that can't be told.
    pub alive: Option<bool>,
    /// When it started, in the system's own units since `boot`: with the number it tells a process from every
    /// other; absent where that can't be told.
    pub started: Option<f64>,
    /// Which start of the machine this is; absent where that can't be told.
    pub boot: Option<String>,
}

impl From<Known> for LeaseStanding {
    fn from(known: Known) -> Self {
        let info = LeaseInfo::from(&known.lease);
        Self {
            token: info.token,
            holder: info.holder,
            pid: info.pid,
            host: info.host,
            since: info.since,
            renewed: info.renewed,
            expires: info.expires,
            live: known.standing == Standing::Live,
            why: known.standing.as_str().to_owned(),
            problem: None,
        }
    }
}

fn standing(look: Look) -> Option<LeaseStanding> {
    match look {
        Look::Nothing => None,
        Look::Known(known) => Some(known.into()),
        Look::Damaged {
            reason,
            modified_ms,
            holds,
        } => Some(LeaseStanding {
            token: 0.0,
            holder: String::new(),
            pid: 0.0,
            host: String::new(),
            since: to_iso(modified_ms),
            renewed: to_iso(modified_ms),
            expires: to_iso(modified_ms.saturating_add_unsigned(TTL_MS)),
            live: holds,
            why: "damaged".to_owned(),
            problem: Some(reason.to_owned()),
        }),
    }
}

impl From<Taken> for LeaseTaken {
    fn from(taken: Taken) -> Self {
        Self {
            took_over: taken.took_over.map(LeaseStanding::from),
            ..taken.lease.into()
        }
    }
}

impl From<Lease> for LeaseTaken {
    fn from(lease: Lease) -> Self {
        Self {
            token: number(lease.token),
            since: to_iso(lease.since_ms),
            expires: to_iso(lease.expires_ms()),
            took_over: None,
        }
    }
}

/// Finds a run and hands it to a verb; nothing of the project but the run is needed.
fn on_run<T>(
    place: Place,
    run_id: &str,
    verb: impl FnOnce(&Context<'_>) -> Result<T>,
) -> Result<T> {
    verb(&context(&found(place, run_id)?, &Handle::default()))
}

fn found(place: Place, run_id: &str) -> Result<RunDir> {
    let run_id = RunId::parse(run_id)?;
    let hints = hints(place, Some(run_id.clone()));
    Ok(RunDir::new(&ops::locate::locate(&hints)?, run_id))
}

fn context<'a>(run: &'a RunDir, handle: &'a Handle) -> Context<'a> {
    Context {
        disk: &RealDisk,
        run,
        store: None,
        now_ms: clock(),
        lease: None,
        cancel: &handle.cancel,
        progress: &handle.progress,
    }
}

fn wanted(request: LeaseRequest) -> Result<Wanted> {
    let token = request.token.map(|token| whole("token", token, STEP_MAX));
    Ok(Wanted {
        holder: request.holder,
        ttl_ms: ttl(request.ttl_ms)?,
        token: token.transpose()?,
        force: request.force.unwrap_or(false),
    })
}

fn ttl(ttl_ms: Option<f64>) -> Result<u64> {
    ttl_ms.map_or(Ok(TTL_MS), |ttl_ms| whole("ttlMs", ttl_ms, STEP_MAX))
}

fn acquire_work(
    place: Place,
    run_id: String,
    request: LeaseRequest,
) -> impl FnOnce() -> Result<Taken> + Send {
    move || {
        let wanted = wanted(request)?;
        on_run(place, &run_id, |context| verb::acquire(context, &wanted))
    }
}

/// Takes the lease of a run, or prolongs it where the token is the newest.
#[napi(ts_return_type = "Failure | LeaseTaken")]
#[must_use]
pub fn acquire_lease_sync(
    place: Place,
    run_id: String,
    request: LeaseRequest,
) -> Reply<LeaseTaken> {
    now(acquire_work(place, run_id, request))
}

/// Takes the lease of a run, or prolongs it where the token is the newest.
#[napi(ts_return_type = "Promise<Failure | LeaseTaken>")]
#[must_use]
pub fn acquire_lease(
    place: Place,
    run_id: String,
    request: LeaseRequest,
) -> Pending<Taken, LeaseTaken> {
    Job::task(acquire_work(place, run_id, request))
}

fn renew_work(
    place: Place,
    run_id: String,
    token: f64,
    ttl_ms: Option<f64>,
) -> impl FnOnce() -> Result<Lease> + Send {
    move || {
        let (token, ttl_ms) = (whole("token", token, STEP_MAX)?, ttl(ttl_ms)?);
        on_run(place, &run_id, |context| {
            verb::renew(context, token, ttl_ms)
        })
    }
}

/// Renews a lease; `ttl_ms` is 60,000 unless given.
#[napi(ts_return_type = "Failure | LeaseTaken")]
#[must_use]
pub fn renew_lease_sync(
    place: Place,
    run_id: String,
    token: f64,
    ttl_ms: Option<f64>,
) -> Reply<LeaseTaken> {
    now(renew_work(place, run_id, token, ttl_ms))
}

/// Renews a lease; `ttl_ms` is 60,000 unless given.
#[napi(ts_return_type = "Promise<Failure | LeaseTaken>")]
#[must_use]
pub fn renew_lease(
    place: Place,
    run_id: String,
    token: f64,
    ttl_ms: Option<f64>,
) -> Pending<Lease, LeaseTaken> {
    Job::task(renew_work(place, run_id, token, ttl_ms))
}

fn release_work(place: Place, run_id: String, token: f64) -> impl FnOnce() -> Result<bool> + Send {
    move || {
        let token = whole("token", token, STEP_MAX)?;
        let run = found(place, &run_id)?;
        stop(&(run.path().to_path_buf(), token));
        verb::release(&context(&run, &Handle::default()), token)
    }
}

/// Gives a lease back; false if it was not the caller's any more.
#[napi(ts_return_type = "Failure | boolean")]
#[must_use]
pub fn release_lease_sync(place: Place, run_id: String, token: f64) -> Reply<bool> {
    now(release_work(place, run_id, token))
}

/// Gives a lease back; false if it was not the caller's any more.
#[napi(ts_return_type = "Promise<Failure | boolean>")]
#[must_use]
pub fn release_lease(place: Place, run_id: String, token: f64) -> Pending<bool, bool> {
    Job::task(release_work(place, run_id, token))
}

fn read_work(place: Place, run_id: String) -> impl FnOnce() -> Result<Look> + Send {
    move || on_run(place, &run_id, verb::look)
}

/// Tells how the lease of a run stands; null if there never was one.
#[napi(ts_return_type = "Failure | LeaseStanding | null")]
#[must_use]
pub fn read_lease_sync(place: Place, run_id: String) -> Reply<Option<LeaseStanding>> {
    now(|| read_work(place, run_id)().map(standing))
}

/// Tells how the lease of a run stands; null if there never was one.
#[napi(ts_return_type = "Promise<Failure | LeaseStanding | null>")]
#[must_use]
pub fn read_lease(
    place: Place,
    run_id: String,
) -> Pending<Option<LeaseStanding>, Option<LeaseStanding>> {
    let work = read_work(place, run_id);
    Job::task(move || work().map(standing))
}

/// A thread that renews a lease.
struct Keeper {
    stopped: Arc<Stopped>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Stopped {
    stopped: Mutex<bool>,
    changed: Condvar,
}

/// The run's folder, and the token.
type Key = (PathBuf, u64);

fn keepers() -> MutexGuard<'static, HashMap<Key, Keeper>> {
    static KEEPERS: LazyLock<Mutex<HashMap<Key, Keeper>>> = LazyLock::new(Mutex::default);
    KEEPERS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stopped {
    fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits; `false` if it is to stop.
    fn pause(&self, time: Duration) -> bool {
        let guard = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(guard, time, |stopped| !*stopped);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Stops renewing a lease, and waits until nothing of it is under way.
fn stop(key: &Key) {
    let keeper = keepers().remove(key);
    if let Some(keeper) = keeper {
        keeper.stopped.stop();
        let _ = keeper.thread.join();
    }
}

/// Renews until the lease is lost or given back, or it is told to stop.
fn renew_on(run: &RunDir, token: u64, ttl_ms: u64, stopped: &Stopped) {
    let third = Duration::from_millis((ttl_ms / 3).max(1));
    let soon = Duration::from_millis((ttl_ms / 12).max(1));
    let mut pause = third;
    while stopped.pause(pause) {
        let handle = Handle::default();
        pause = match verb::renew(&context(run, &handle), token, ttl_ms) {
            Ok(_) => third,
            Err(Error::LeaseLost { .. } | Error::RunNotFound { .. }) => return,
            // A full or slow disk may get better before the lease ends.
            Err(_) => soon,
        };
        // Nobody waits for this thread.
        real_disk::let_go();
    }
}

/// What a call keeps, once it does.
type Kept = Arc<OnceLock<Key>>;

/// What is kept must end with the worker or process that asked for it: no thread may outlive the addon.
fn kept_by(env: Env) -> Kept {
    let kept = Kept::default();
    let hook = env.add_env_cleanup_hook(Arc::clone(&kept), |kept| {
        if let Some(key) = kept.get() {
            stop(key);
        }
    });
    // Without it the thread ends with the process, as without a worker it does anyway.
    let _ = hook;
    kept
}

fn keep_work(
    place: Place,
    run_id: String,
    token: f64,
    ttl_ms: Option<f64>,
    kept: Kept,
) -> impl FnOnce() -> Result<LeaseTaken> + Send {
    move || {
        let (token, ttl_ms) = (whole("token", token, STEP_MAX)?, ttl(ttl_ms)?);
        check_ttl(ttl_ms)?;
        let run = found(place, &run_id)?;
        let key = (run.path().to_path_buf(), token);
        stop(&key);
        let renewed = verb::keep(&context(&run, &Handle::default()), token, ttl_ms)?;
        let stopped = Arc::new(Stopped::default());
        let told = Arc::clone(&stopped);
        let thread = std::thread::Builder::new()
            .name("waymark-lease".to_owned())
            .spawn(move || {
                let work = std::panic::AssertUnwindSafe(|| renew_on(&run, token, ttl_ms, &told));
                // A defect there lets the lease expire; it must not end the process.
                let _ = std::panic::catch_unwind(work);
            })
            .map_err(|source| Error::io("start a thread for", &key.0, source))?;
        let _ = kept.set(key.clone());
        keepers().insert(key, Keeper { stopped, thread });
        Ok(renewed.into())
    }
}

/// Renews a lease, unless that was done a moment ago, and goes on to do so every third of `ttl_ms` (60,000 unless given) on
/// a thread of its own.
#[napi(ts_return_type = "Failure | LeaseTaken")]
#[must_use]
pub fn keep_lease_sync(
    env: Env,
    place: Place,
    run_id: String,
    token: f64,
    ttl_ms: Option<f64>,
) -> Reply<LeaseTaken> {
    now(keep_work(place, run_id, token, ttl_ms, kept_by(env)))
}

/// Renews a lease, unless that was done a moment ago, and goes on to do so every third of `ttl_ms` (60,000 unless given) on
/// a thread of its own.
#[napi(ts_return_type = "Promise<Failure | LeaseTaken>")]
#[must_use]
pub fn keep_lease(
    env: Env,
    place: Place,
    run_id: String,
    token: f64,
    ttl_ms: Option<f64>,
) -> Pending<LeaseTaken, LeaseTaken> {
    Job::task(keep_work(place, run_id, token, ttl_ms, kept_by(env)))
}

/// What is known of a process of this machine.
#[napi(ts_return_type = "Failure | ProcessIdentity")]
#[must_use]
pub fn process_identity_sync(pid: f64) -> Reply<ProcessIdentity> {
    now(|| identity(pid))
}

/// What is known of a process of this machine.
#[napi(ts_return_type = "Promise<Failure | ProcessIdentity>")]
#[must_use]
pub fn process_identity(pid: f64) -> Pending<ProcessIdentity, ProcessIdentity> {
    Job::task(move || identity(pid))
}

fn identity(pid: f64) -> Result<ProcessIdentity> {
    let pid = whole("pid", pid, f64::from(i32::MAX))?;
    let Process { alive, started } = RealDisk.process(u32::try_from(pid).unwrap_or(u32::MAX));
    Ok(ProcessIdentity {
        alive,
        started: started.map(number),
        boot: Some(RealDisk.system().boot).filter(|boot| !boot.is_empty()),
    })
}
