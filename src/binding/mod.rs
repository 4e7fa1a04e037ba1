//! The Node boundary: converts arguments, calls one verb, converts the result.
//!
//! This folder promises to decide nothing about checkpoints, to be the only code that names napi,
//! and that neither an error nor a panic below ever takes Node down: both arrive as a [`Failure`]
//! value, which the JavaScript layer throws with a stack of its own.
//!
//! Every verb exists twice: `verb` runs on libuv's pool and gives a promise, `verbSync` blocks and
//! works in `process.on('exit')`.

pub mod archive;
mod convert;
pub mod diff;
pub mod events;
pub mod files;
pub mod fork;
pub mod git;
mod job;
pub mod lease;
pub mod query;
pub mod records;
pub mod replaced;
pub mod restore;
mod types;
pub mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use napi::Either;
use napi::bindgen_prelude::{AsyncTask, Buffer};
use napi_derive::napi;

use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::model::event::Who;
use crate::model::ids::{CheckpointId, RunId};
use crate::model::progress::{Phase, Progress};
use crate::model::step::STEP_MAX;
use crate::ops::events::Ledger;
use crate::ops::hashes::{Hashed, Known, hash_file};
use crate::ops::{self, Context};
use crate::store::compiled;
use crate::store::layout::RunDir;
use crate::store::real_disk::{self, RealDisk};
use convert::{cleanup_request, command, create_request, hints, retention};
use job::{Job, now};
use types::{
    BecomeOutcome, ChangeRequest, CleanupOutcome, CleanupRequest, CreateOutcome, CreateRequest,
    DoctorOutcome, Failure, FoundProject, Listing, OperationProgress, Place, PruneOutcome,
    RetentionRequest, ShowOutcome,
};

/// Asks a running operation to stop, and tells how far it is. Nothing is changed by an operation that
/// stops.
#[napi]
#[derive(Debug, Default)]
pub struct CancelToken(Handle);

/// What an operation noted of itself.
#[napi(object, object_from_js = false)]
pub struct ToldEvents {
    /// Its events, as lines of the audit log; without `seq` where they could not be written there.
    pub events: Vec<String>,
    /// What went wrong in noting them.
    pub warnings: Vec<String>,
}

/// What a running operation and its caller share.
#[derive(Debug, Default, Clone)]
struct Handle {
    cancel: Cancel,
    progress: Arc<Progress>,
    /// The fencing token of the caller's lease.
    lease: Option<u64>,
}

impl Handle {
    /// The same with the caller's fencing token.
    fn leased(&self, token: Option<f64>) -> Result<Self> {
        let token = token.map(|token| convert::whole("lease", token, STEP_MAX));
        Ok(Self {
            lease: token.transpose()?,
            ..self.clone()
        })
    }
}

#[napi]
impl CancelToken {
    /// A token that asks nothing yet.
    #[napi(constructor)]
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every operation that was given this token to stop.
    #[napi]
    pub fn cancel(&self) {
        self.0.cancel.cancel();
    }

    /// What the operations that were given this token noted since the last call; null if nothing.
    #[napi(ts_return_type = "ToldEvents | null")]
    #[must_use]
    pub fn told(&self) -> Option<ToldEvents> {
        let told = self.0.progress.session.take();
        let nothing = told.events.is_empty() && told.warnings.is_empty();
        (!nothing).then_some(ToldEvents {
            events: told.events,
            warnings: told.warnings,
        })
    }

    /// How far the operation is that was given this token.
    #[napi]
    #[must_use]
    pub fn progress(&self) -> OperationProgress {
        self.0.progress.glance().into()
    }
}

#[allow(clippy::disallowed_methods, reason = "the boundary reads the clock")]
fn clock() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Finds a run and hands it to a verb.
fn on_run<T>(
    place: Place,
    run_id: &str,
    handle: &Handle,
    verb: impl FnOnce(&Context<'_>) -> Result<T>,
) -> Result<T> {
    in_project(place, run_id, handle, |context, _| verb(context))
}

/// Finds a run and its project and hands them to a verb.
fn in_project<T>(
    place: Place,
    run_id: &str,
    handle: &Handle,
    verb: impl FnOnce(&Context<'_>, &Path) -> Result<T>,
) -> Result<T> {
    let run_id = RunId::parse(run_id)?;
    let hints = hints(place, Some(run_id.clone()));
    let runs_dir = ops::locate::locate(&hints)?;
    let project = ops::locate::project(&runs_dir, &hints)?;
    let run = RunDir::new(&runs_dir, run_id);
    let context = Context {
        disk: &RealDisk,
        run: &run,
        store: Some(&project.store),
        now_ms: clock(),
        lease: handle.lease,
        cancel: &handle.cancel,
        progress: &handle.progress,
    };
    begin(handle);
    let done = verb(&context, &project.root);
    handle.progress.enter(Phase::Done);
    done
}

/// Says who runs an operation, which begins now.
fn begin(handle: &Handle) {
    let begun = Instant::now();
    let session = &handle.progress.session;
    session.begin(who(), move || begun.elapsed());
}

/// This process, as the audit log names it.
fn who() -> Who {
    static WHO: OnceLock<Who> = OnceLock::new();
    #[allow(
        clippy::disallowed_methods,
        reason = "the boundary reads the environment"
    )]
    let named = |names: &[&str]| {
        let found = names.iter().find_map(|name| std::env::var(name).ok());
        found.filter(|name| !name.is_empty())
    };
    let make = || Who {
        pid: std::process::id(),
        #[cfg(unix)]
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
        #[cfg(not(unix))]
        host: named(&["COMPUTERNAME"]).unwrap_or_default(),
        user: named(&["USER", "LOGNAME", "USERNAME"]).or_else(user_id),
    };
    WHO.get_or_init(make).clone()
}

/// The user's number, where nobody gave him a name.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere there is none")]
fn user_id() -> Option<String> {
    #[cfg(unix)]
    {
        Some(rustix::process::getuid().as_raw().to_string())
    }
    #[cfg(not(unix))]
    {
        None
    }
}

fn token(cancel: Option<&CancelToken>) -> Handle {
    cancel.map(|token| token.0.clone()).unwrap_or_default()
}

type Reply<T> = Either<Failure, T>;
type Pending<T, J> = AsyncTask<Job<T, J>>;

/// Finds the folder of runs; the absolute path.
#[allow(
    clippy::needless_pass_by_value,
    reason = "napi hands arguments over by value"
)]
#[napi(ts_return_type = "Failure | string")]
#[must_use]
pub fn locate_sync(place: Place, run_id: Option<String>) -> Reply<String> {
    now(|| {
        let run_id = run_id.as_deref().map(RunId::parse).transpose()?;
        let found = ops::locate::locate(&hints(place, run_id))?;
        Ok(found.to_string_lossy().into_owned())
    })
}

/// Finds the folder of runs and the `waymark.config.json` whose settings count, by one search.
#[allow(
    clippy::needless_pass_by_value,
    reason = "napi hands arguments over by value"
)]
#[napi(ts_return_type = "Failure | FoundProject")]
#[must_use]
pub fn project_sync(place: Place, run_id: Option<String>) -> Reply<FoundProject> {
    now(|| {
        let run_id = run_id.as_deref().map(RunId::parse).transpose()?;
        let found = ops::locate::find(&hints(place, run_id))?;
        // A path that JavaScript can't hold is not handed back and forth; whoever needs it looks for it.
        let whole = |path: PathBuf| path.into_os_string().into_string().ok();
        Ok(FoundProject {
            config_file: found.config.map(|path| path.to_string_lossy().into_owned()),
            runs_dir: found
                .runs_dir
                .and_then(whole)
                .filter(|path| !path.contains('\u{fffd}')),
        })
    })
}

fn create_work(
    place: Place,
    run_id: String,
    request: CreateRequest,
    state: String,
    handle: Handle,
) -> impl FnOnce() -> Result<ops::create::Created> + Send {
    move || {
        // Of what was replaced no more than one checkpoint's is held, wherever that one is taken.
        real_disk::let_go();
        let handle = handle.leased(request.lease)?;
        in_project(place, &run_id, &handle, |context, project| {
            let request = create_request(request, state.as_bytes(), project)?;
            ops::create::create(context, &request)
        })
    }
}

/// Takes a checkpoint. `state` is JSON text.
#[napi(ts_return_type = "Failure | CreateOutcome")]
#[must_use]
pub fn create_sync(
    place: Place,
    run_id: String,
    request: CreateRequest,
    state: String,
    cancel: Option<&CancelToken>,
) -> Reply<CreateOutcome> {
    now(create_work(place, run_id, request, state, token(cancel)))
}

/// Takes a checkpoint. `state` is JSON text.
#[napi(ts_return_type = "Promise<Failure | CreateOutcome>")]
#[must_use]
pub fn create(
    place: Place,
    run_id: String,
    request: CreateRequest,
    state: String,
    cancel: Option<&CancelToken>,
) -> Pending<ops::create::Created, CreateOutcome> {
    Job::task(create_work(place, run_id, request, state, token(cancel)))
}

type Listed = ops::list::Listed;

fn list_work(
    place: Place,
    run_id: String,
    handle: Handle,
) -> impl FnOnce() -> Result<Listed> + Send {
    move || on_run(place, &run_id, &handle, ops::list::list)
}

/// Lists the checkpoints of a run, newest first, and the damaged ones.
#[napi(ts_return_type = "Failure | Listing")]
#[must_use]
pub fn list_sync(place: Place, run_id: String) -> Reply<Listing> {
    now(list_work(place, run_id, Handle::default()))
}

/// Lists the checkpoints of a run, newest first, and the damaged ones.
#[napi(ts_return_type = "Promise<Failure | Listing>")]
#[must_use]
pub fn list(
    place: Place,
    run_id: String,
    cancel: Option<&CancelToken>,
) -> Pending<Listed, Listing> {
    Job::task(list_work(place, run_id, token(cancel)))
}

fn show_work(
    place: Place,
    run_id: String,
    checkpoint_id: String,
    handle: Handle,
) -> impl FnOnce() -> Result<ops::show::Shown> + Send {
    move || {
        let id = CheckpointId::parse(&checkpoint_id)?;
        on_run(place, &run_id, &handle, |context| {
            ops::show::show(context, &id)
        })
    }
}

/// Reads one checkpoint, checked.
#[napi(ts_return_type = "Failure | ShowOutcome")]
#[must_use]
pub fn show_sync(place: Place, run_id: String, checkpoint_id: String) -> Reply<ShowOutcome> {
    now(show_work(place, run_id, checkpoint_id, Handle::default()))
}

/// Reads one checkpoint, checked.
#[napi(ts_return_type = "Promise<Failure | ShowOutcome>")]
#[must_use]
pub fn show(
    place: Place,
    run_id: String,
    checkpoint_id: String,
    cancel: Option<&CancelToken>,
) -> Pending<ops::show::Shown, ShowOutcome> {
    Job::task(show_work(place, run_id, checkpoint_id, token(cancel)))
}

type Become = ops::lifecycle::Become;

fn change_work(
    place: Place,
    run_id: String,
    checkpoint_id: String,
    request: ChangeRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<Become> + Send {
    move || {
        let id = CheckpointId::parse(&checkpoint_id)?;
        let handle = handle.leased(request.lease)?;
        let command = command(request)?;
        on_run(place, &run_id, &handle, |context| {
            ops::lifecycle::change(context, &id, &command)
        })
    }
}

/// Changes what is said of a checkpoint, or its state.
#[napi(ts_return_type = "Failure | BecomeOutcome")]
#[must_use]
pub fn change_sync(
    place: Place,
    run_id: String,
    checkpoint_id: String,
    request: ChangeRequest,
    cancel: Option<&CancelToken>,
) -> Reply<BecomeOutcome> {
    now(change_work(
        place,
        run_id,
        checkpoint_id,
        request,
        token(cancel),
    ))
}

/// Changes what is said of a checkpoint, or its state.
#[napi(ts_return_type = "Promise<Failure | BecomeOutcome>")]
#[must_use]
pub fn change(
    place: Place,
    run_id: String,
    checkpoint_id: String,
    request: ChangeRequest,
    cancel: Option<&CancelToken>,
) -> Pending<Become, BecomeOutcome> {
    Job::task(change_work(
        place,
        run_id,
        checkpoint_id,
        request,
        token(cancel),
    ))
}

type Pruned = ops::prune::Pruned;

fn prune_work(
    place: Place,
    run_id: String,
    wanted: RetentionRequest,
    dry_run: bool,
    handle: Handle,
) -> impl FnOnce() -> Result<Pruned> + Send {
    move || {
        let retention = retention(wanted)?;
        on_run(place, &run_id, &handle, |context| {
            ops::prune::prune(context, &retention, dry_run)
        })
    }
}

/// Drops the checkpoints of a run that a policy does not keep.
#[napi(ts_return_type = "Failure | PruneOutcome")]
#[must_use]
pub fn prune_sync(
    place: Place,
    run_id: String,
    retention: RetentionRequest,
    dry_run: bool,
    cancel: Option<&CancelToken>,
) -> Reply<PruneOutcome> {
    now(prune_work(place, run_id, retention, dry_run, token(cancel)))
}

/// Drops the checkpoints of a run that a policy does not keep.
#[napi(ts_return_type = "Promise<Failure | PruneOutcome>")]
#[must_use]
pub fn prune(
    place: Place,
    run_id: String,
    retention: RetentionRequest,
    dry_run: bool,
    cancel: Option<&CancelToken>,
) -> Pending<Pruned, PruneOutcome> {
    Job::task(prune_work(place, run_id, retention, dry_run, token(cancel)))
}

/// The length of time that a text such as `36h` or `30d` says, in milliseconds; `Infinity` for `forever`.
#[allow(
    clippy::needless_pass_by_value,
    reason = "napi hands arguments over by value"
)]
#[napi(ts_return_type = "Failure | number")]
#[must_use]
pub fn span_ms_sync(text: String) -> Reply<f64> {
    now(|| convert::span_ms(&text))
}

/// The SHA-256 of some bytes, as 64 hex digits. Loading `node:crypto` for it would keep a step's first line waiting.
#[allow(
    clippy::needless_pass_by_value,
    reason = "napi hands arguments over by value"
)]
#[napi(ts_return_type = "Failure | string")]
#[must_use]
pub fn sha256_sync(data: Buffer) -> Reply<String> {
    now(|| Ok(crate::model::manifest::sha256(&data)))
}

/// A file to be hashed, and what is known of it.
#[napi(object, object_to_js = false)]
pub struct FileToHash {
    /// Its path.
    pub path: String,
    /// What it looked like when it was hashed.
    pub stamp: Option<String>,
    /// Its hash then.
    pub hash: Option<String>,
}

/// A file as it was found.
#[napi(object, object_from_js = false)]
pub struct HashedFile {
    /// Its SHA-256 as 64 hex digits, or what it is known by without being read: `a folder`, `no file`, or for one of
    /// more than 16 MiB its size and time; absent if there is none.
    pub told: Option<String>,
    /// What it looks like; absent if it was not read.
    pub stamp: Option<String>,
}

fn hash_work(files: Vec<FileToHash>) -> impl FnOnce() -> Result<Vec<HashedFile>> + Send {
    move || {
        let hashed = files.into_iter().map(|FileToHash { path, stamp, hash }| {
            let known = stamp.zip(hash).map(|(stamp, hash)| Known { stamp, hash });
            let Hashed { told, stamp } = hash_file(Path::new(&path), known.as_ref())?;
            Ok(HashedFile { told, stamp })
        });
        hashed.collect()
    }
}

/// Hashes files, one after the other. What looks as it did is not read again.
#[napi(ts_return_type = "Failure | Array<HashedFile>")]
#[must_use]
pub fn hash_files_sync(files: Vec<FileToHash>) -> Reply<Vec<HashedFile>> {
    now(hash_work(files))
}

/// Hashes files, one after the other. What looks as it did is not read again.
#[napi(ts_return_type = "Promise<Failure | Array<HashedFile>>")]
#[must_use]
pub fn hash_files(files: Vec<FileToHash>) -> Pending<Vec<HashedFile>, Vec<HashedFile>> {
    Job::task(hash_work(files))
}

/// What V8 compiled of Waymark's own JavaScript, as it was kept in a folder under a key; `null` if there is none that is
/// whole. V8 does not check what it is given.
#[allow(
    clippy::needless_pass_by_value,
    reason = "napi hands arguments over by value"
)]
#[napi(ts_return_type = "Failure | Buffer | null")]
#[must_use]
pub fn read_compiled_sync(folder: String, key: String) -> Reply<Option<Buffer>> {
    now(|| Ok(compiled::read(&RealDisk, Path::new(&folder), &key).map(Buffer::from)))
}

/// Keeps what V8 compiled in a folder under a key; `ERR_IO` where that can't be. Old files of the folder are dropped.
#[allow(
    clippy::needless_pass_by_value,
    reason = "napi hands arguments over by value"
)]
#[napi(ts_return_type = "Failure | undefined")]
#[must_use]
pub fn keep_compiled_sync(folder: String, key: String, data: Buffer) -> Reply<()> {
    now(|| compiled::keep(&RealDisk, Path::new(&folder), &key, &data))
}

fn cleanup_work(
    place: Place,
    request: CleanupRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<ops::cleanup::Outcome> + Send {
    move || {
        let run_id = request.run_id.as_deref().map(RunId::parse).transpose()?;
        let hints = hints(place, run_id);
        let runs_dir: PathBuf = ops::locate::locate(&hints)?;
        let project = ops::locate::project(&runs_dir, &hints)?;
        let request = cleanup_request(request, &runs_dir)?;
        let ledger = Ledger {
            disk: &RealDisk,
            store: Some(&project.store),
            now_ms: clock(),
            progress: &handle.progress,
        };
        begin(&handle);
        ops::cleanup::cleanup(&ledger, &runs_dir, &request, &handle.cancel)
    }
}

/// Drops old failed runs.
#[napi(ts_return_type = "Failure | CleanupOutcome")]
#[must_use]
pub fn cleanup_sync(
    place: Place,
    request: CleanupRequest,
    cancel: Option<&CancelToken>,
) -> Reply<CleanupOutcome> {
    now(cleanup_work(place, request, token(cancel)))
}

/// Drops old failed runs.
#[napi(ts_return_type = "Promise<Failure | CleanupOutcome>")]
#[must_use]
pub fn cleanup(
    place: Place,
    request: CleanupRequest,
    cancel: Option<&CancelToken>,
) -> Pending<ops::cleanup::Outcome, CleanupOutcome> {
    Job::task(cleanup_work(place, request, token(cancel)))
}

type Diagnosis = ops::doctor::Diagnosis;

fn doctor_work(
    place: Place,
    path: Option<String>,
    handle: Handle,
) -> impl FnOnce() -> Result<Diagnosis> + Send {
    move || {
        let begin = Instant::now();
        let path = path.map(PathBuf::from);
        ops::doctor::doctor(
            &hints(place, None),
            path.as_deref(),
            &|| begin.elapsed(),
            &handle.cancel,
        )
    }
}

/// Tells what a file system really does, and which promises hold on it.
#[napi(ts_return_type = "Failure | DoctorOutcome")]
#[must_use]
pub fn doctor_sync(place: Place, path: Option<String>) -> Reply<DoctorOutcome> {
    now(doctor_work(place, path, Handle::default()))
}

/// Tells what a file system really does, and which promises hold on it.
#[napi(ts_return_type = "Promise<Failure | DoctorOutcome>")]
#[must_use]
pub fn doctor(
    place: Place,
    path: Option<String>,
    cancel: Option<&CancelToken>,
) -> Pending<Diagnosis, DoctorOutcome> {
    Job::task(doctor_work(place, path, token(cancel)))
}
