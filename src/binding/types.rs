//! What crosses to JavaScript. These comments become the types' documentation.

use napi::Either;
use napi::bindgen_prelude::{Buffer, Null};
use napi_derive::napi;

/// Why an operation failed.
#[napi(object, object_from_js = false)]
pub struct Failure {
    /// Always true; tells a failure from a result.
    pub failed: bool,
    /// The stable code, `ERR_…`; see `docs/errors.md`.
    pub code: String,
    /// What happened and what can be done.
    pub message: String,
    /// The finer reason inside the code, such as `traversal` or `truncated`.
    pub reason: Option<String>,
    /// The path concerned.
    pub path: Option<String>,
    /// The run concerned.
    pub run_id: Option<String>,
    /// The checkpoint concerned.
    pub checkpoint_id: Option<String>,
    /// Checkpoints that were passed over before the operation gave up.
    pub skipped: Vec<SkippedCheckpoint>,
    /// The lease that stands in the way, or that took the place of the caller's.
    pub lease: Option<LeaseInfo>,
}

/// Who holds a run, and until when.
#[napi(object, object_from_js = false)]
pub struct LeaseInfo {
    /// The fencing token: higher than any before it.
    pub token: f64,
    /// Who holds it, in his own words.
    pub holder: String,
    /// The holder's process.
    pub pid: f64,
    /// The holder's machine.
    pub host: String,
    /// Since when, ISO 8601.
    pub since: String,
    /// When it was renewed last, ISO 8601.
    pub renewed: String,
    /// Until when, if it is not renewed, ISO 8601.
    pub expires: String,
}

/// A checkpoint that was passed over because it is damaged.
#[napi(object, object_from_js = false)]
pub struct SkippedCheckpoint {
    /// Its id, or the file's name without `.json`.
    pub checkpoint_id: String,
    /// The kind of damage, such as `truncated`.
    pub damage: String,
    /// What is wrong, in words.
    pub message: String,
}

/// What is known of where the runs lie.
#[napi(object, object_to_js = false)]
pub struct Place {
    /// The folder that holds all runs.
    pub runs_dir: Option<String>,
    /// The project's folder, below which the runs are looked for.
    pub root: Option<String>,
    /// `WAYMARK_RUNS_DIR`.
    pub environment: Option<String>,
    /// The script that Node was started with.
    pub main_script: Option<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// The store's folder.
    pub store: Option<String>,
}

/// What one search found of a project.
#[napi(object, object_from_js = false)]
pub struct FoundProject {
    /// The `waymark.config.json` whose settings count, if there is one.
    pub config_file: Option<String>,
    /// The folder of runs, if there is one; the absolute path.
    pub runs_dir: Option<String>,
}

/// What a checkpoint is taken of.
#[napi(object, object_to_js = false)]
pub struct CreateRequest {
    /// The step that was done.
    pub step: Either<f64, String>,
    /// Which checkpoints of the run stay.
    pub retention: RetentionRequest,
    /// The largest state, in bytes.
    pub max_state_bytes: f64,
    /// Which files are captured; absent captures none.
    pub capture: Option<CaptureRequest>,
    /// The store's budget, in bytes; absent is none.
    pub max_store_bytes: Option<f64>,
    /// What is said of it, as JSON text; absent is nothing.
    pub facts: Option<String>,
    /// The fingerprint of its environment: the JSON text of an object; absent is none.
    pub environment: Option<String>,
    /// The fencing token of the caller's lease; absent is none.
    pub lease: Option<f64>,
}

/// Which checkpoints of a run stay. Lengths of time are in milliseconds; `Infinity` has no end.
#[napi(object, object_to_js = false)]
pub struct RetentionRequest {
    /// How many of the newest; 0 keeps all.
    pub keep_last: f64,
    /// Of how many hours the newest.
    pub keep_hourly: f64,
    /// Of how many days.
    pub keep_daily: f64,
    /// Of how many weeks.
    pub keep_weekly: f64,
    /// Of how many months.
    pub keep_monthly: f64,
    /// Of how many years.
    pub keep_yearly: f64,
    /// All that are younger; absent: age keeps none.
    pub keep_within: Option<f64>,
    /// All with one of these labels.
    pub keep_labels: Vec<String>,
    /// How long those of class `frequent` stay at least.
    pub frequent: f64,
    /// How long those of class `milestone` do.
    pub milestone: f64,
    /// How long those of class `critical` do.
    pub critical: f64,
    /// Where days begin: minutes east of UTC.
    pub utc_offset_minutes: f64,
    /// Whether what goes is archived first.
    pub archive: bool,
}

/// Which files are captured with a checkpoint.
#[napi(object, object_to_js = false)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub struct CaptureRequest {
    /// Whether the run's own files are captured.
    pub run: bool,
    /// Whether artifacts of the registry that lie elsewhere in the project are captured.
    pub artifacts: bool,
    /// Folders of the workspace, absolute or relative to the project.
    pub workspace: Vec<String>,
    /// Whether `.gitignore` counts in the workspace.
    pub respect_gitignore: bool,
    /// Globs that bring back what ignore files leave out.
    pub include: Vec<String>,
    /// Globs that leave out whatever else says.
    pub exclude: Vec<String>,
    /// More globs of secrets.
    pub secrets: Vec<String>,
    /// Whether the contents of secrets are kept out of the store.
    pub withhold_secrets: bool,
    /// Larger files are skipped and reported, in bytes.
    pub max_file_bytes: f64,
    /// Whether a checkpoint that lacks something is refused instead of marked.
    pub refuse_partial: bool,
}

/// How far an operation is.
#[napi(object, object_from_js = false)]
pub struct OperationProgress {
    /// What it is busy with: `waiting`, `scanning`, `reading`, `storing`, `writing`, `verifying` or `done`.
    pub phase: String,
    /// Files dealt with.
    pub files: f64,
    /// Bytes dealt with.
    pub bytes: f64,
    /// Files in all, where known.
    pub total_files: Option<f64>,
    /// Bytes in all, where known.
    pub total_bytes: Option<f64>,
}

/// The captured files of a checkpoint.
#[napi(object, object_from_js = false)]
pub struct SnapshotInfo {
    /// How many files have their content stored.
    pub files: f64,
    /// The sizes of these and of the withheld ones together, in bytes.
    pub bytes: f64,
    /// How many bytes the checkpoint added to the store.
    pub added_bytes: f64,
    /// How many files are recorded by hash and size only, because they hold secrets.
    pub withheld: f64,
    /// Whether something could not be captured.
    pub partial: bool,
    /// The first hundred of what could not be captured.
    pub problems: Vec<CaptureProblem>,
    /// How many there are in all.
    pub problems_total: f64,
    /// Artifacts of the registry that were not there.
    pub missing: Vec<String>,
}

/// Something that could not be captured.
#[napi(object, object_from_js = false)]
pub struct CaptureProblem {
    /// The root it lies in: `run`, `artifacts` or `workspace`.
    pub root: String,
    /// Its path below that root; U+FFFD for what is not UTF-8.
    pub path: String,
    /// Why: `not_regular`, `unreadable`, `too_large` or `changing`.
    pub reason: String,
    /// Its size in bytes, as far as known.
    pub size: f64,
}

/// A checkpoint that was taken.
#[napi(object, object_from_js = false)]
pub struct CreateOutcome {
    /// Its id.
    pub checkpoint_id: String,
    /// Its place in the run's history, from 1.
    pub sequence: f64,
    /// The checkpoint that the run's state descends from; absent for the first.
    pub parent_checkpoint_id: Option<String>,
    /// Its creation time, ISO 8601.
    pub timestamp: String,
    /// Its manifest's absolute path.
    pub path: String,
    /// The manifest's size in bytes.
    pub size: f64,
    /// SHA-256 by the rule in `docs/format.md`.
    pub checksum: String,
    /// The checkpoints that were dropped for it.
    pub dropped: Vec<String>,
    /// What went wrong after the checkpoint was safe.
    pub warnings: Vec<String>,
    /// The manifest's bytes (JSON, UTF-8); absent for a large one, and where state lies in the store:
    /// `showSync` gives it.
    pub manifest: Option<Buffer>,
    /// The captured files; absent if there were none to capture.
    pub snapshot: Option<SnapshotInfo>,
}

/// A checkpoint that can be restored.
#[napi(object, object_from_js = false)]
pub struct CheckpointInfo {
    /// Its id.
    pub checkpoint_id: String,
    /// The step that was done.
    pub step: Either<f64, String>,
    /// Its creation time, ISO 8601.
    pub timestamp: String,
    /// Its manifest's absolute path.
    pub path: String,
    /// The manifest's size in bytes.
    pub size: f64,
    /// Its place in the run's history, from 1; absent for checkpoints of other tools.
    pub sequence: Option<f64>,
    /// The checkpoint that the run's state descended from; absent for the first.
    pub parent_checkpoint_id: Option<String>,
    /// The workflow of the run; absent if its record names none.
    pub workflow_id: Option<String>,
    /// SHA-256 by the rule in `docs/format.md`.
    pub checksum: String,
    /// When all that it needs was last read and found whole (`verify` of the data), ISO 8601; absent if
    /// never, or not known.
    pub last_verified_at: Option<String>,
    /// Its state: where it stands in its life.
    #[napi(ts_type = "import('./index.js').CheckpointState")]
    pub state: String,
    /// When its state changed last, ISO 8601; absent if it never did.
    pub state_at: Option<String>,
    /// What is said of it, updates included; absent if that is nothing.
    #[napi(ts_type = "import('./index.js').Facts")]
    pub facts: Option<serde_json::Value>,
    /// When it was updated last, ISO 8601; absent if never.
    pub updated_at: Option<String>,
    /// The fingerprint of its environment; absent if none was given. The addon gives JSON text, which is parsed
    /// when it is first looked at.
    #[napi(ts_type = "import('./index.js').Environment")]
    pub environment: Option<String>,
    /// Why it failed; stays after it was restored.
    pub failure: Option<FailureInfo>,
    /// Why it must stay; absent if it need not.
    pub pin: Option<PinInfo>,
    /// The runs that were forked from it; absent if there are none.
    #[napi(ts_type = "Array<import('./index.js').Link>")]
    pub forks: Option<Vec<ForkInfo>>,
}

/// Why a checkpoint failed.
#[napi(object, object_from_js = false)]
pub struct FailureInfo {
    /// The error's class, such as `TypeError`.
    pub name: Option<String>,
    /// What it says.
    pub message: Option<String>,
    /// Its code.
    pub code: Option<String>,
    /// Where it was thrown.
    pub stack: Option<String>,
    /// Anything else.
    #[napi(ts_type = "unknown")]
    pub details: Option<serde_json::Value>,
}

/// Why a checkpoint must stay.
#[napi(object, object_from_js = false)]
pub struct PinInfo {
    /// In words.
    pub reason: String,
    /// Until when, ISO 8601; for ever without.
    pub until: Option<String>,
}

/// A run that was forked from a checkpoint.
#[napi(object, object_from_js = false)]
pub struct ForkInfo {
    /// The run.
    pub run: String,
    /// Its first checkpoint.
    pub checkpoint: Option<String>,
}

/// A file among the checkpoints that can't be restored.
#[napi(object, object_from_js = false)]
pub struct DamagedCheckpoint {
    /// The file's name without `.json`.
    pub checkpoint_id: String,
    /// The file's absolute path.
    pub path: String,
    /// The kind of damage, such as `truncated`.
    pub damage: String,
    /// What is wrong, in words.
    pub message: String,
}

/// The checkpoints of a run.
#[napi(object, object_from_js = false)]
pub struct Listing {
    /// Those that can be restored, newest first.
    pub checkpoints: Vec<CheckpointInfo>,
    /// Those that can't, the last changed first.
    pub damaged: Vec<DamagedCheckpoint>,
    /// What is wrong with the log of what happened to them since they were taken; absent if it is whole.
    pub changes_problem: Option<String>,
}

/// What to do with a checkpoint.
#[napi(object, object_to_js = false)]
pub struct ChangeRequest {
    /// `activate`, `complete`, `fail`, `update`, `pin` or `unpin`.
    pub verb: String,
    /// What is said of it, as the JSON text of a merge patch.
    pub update: Option<String>,
    /// Why it failed, as JSON text.
    pub failure: Option<String>,
    /// Why it must stay.
    pub reason: Option<String>,
    /// Until when, in milliseconds since 1970.
    pub until_ms: Option<f64>,
    /// The fencing token of the caller's lease; absent is none.
    pub lease: Option<f64>,
}

/// What a checkpoint has become.
#[napi(object, object_from_js = false)]
pub struct BecomeOutcome {
    /// Its id.
    pub checkpoint_id: String,
    /// Its state.
    #[napi(ts_type = "import('./index.js').CheckpointState")]
    pub state: String,
    /// When its state changed last, ISO 8601; absent if it never did.
    pub state_at: Option<String>,
    /// What is said of it, updates included; absent if that is nothing.
    #[napi(ts_type = "import('./index.js').Facts")]
    pub facts: Option<serde_json::Value>,
    /// When it was updated last, ISO 8601; absent if never.
    pub updated_at: Option<String>,
    /// Why it failed; stays after it was restored.
    pub failure: Option<FailureInfo>,
    /// Why it must stay; absent if it need not.
    pub pin: Option<PinInfo>,
    /// The runs that were forked from it; absent if there are none.
    #[napi(ts_type = "Array<import('./index.js').Link>")]
    pub forks: Option<Vec<ForkInfo>>,
}

/// One checkpoint with its content.
#[napi(object, object_from_js = false)]
pub struct ShowOutcome {
    /// What is known of it.
    pub info: CheckpointInfo,
    /// The manifest's bytes (JSON, UTF-8).
    pub manifest: Buffer,
}

/// What the retention policy says of one checkpoint.
#[napi(object, object_from_js = false)]
pub struct RetentionDecision {
    /// The checkpoint.
    pub checkpoint_id: String,
    /// The step that was done; absent for a damaged one.
    pub step: Option<Either<f64, String>>,
    /// Its creation time, ISO 8601; absent for a damaged one.
    pub timestamp: Option<String>,
    /// Whether it stays.
    pub keep: bool,
    /// The first of the reasons.
    pub reason: String,
    /// Why, all of it, in the words of `docs/retention.md`.
    pub reasons: Vec<String>,
    /// The same for people.
    pub explanation: String,
    /// The manifest's size in bytes; 0 for a damaged one.
    pub size: f64,
}

/// A checkpoint that was archived.
#[napi(object, object_from_js = false)]
pub struct ArchivedFile {
    /// The checkpoint.
    pub checkpoint_id: String,
    /// Its archive's absolute path.
    pub path: String,
    /// The archive's length in bytes.
    pub file_bytes: f64,
    /// Whether it was archived before.
    pub was_there: bool,
}

/// What a prune did, or would do.
#[napi(object, object_from_js = false)]
pub struct PruneOutcome {
    /// One decision per checkpoint, newest first, the damaged ones last.
    pub decisions: Vec<RetentionDecision>,
    /// The ids of those that were (or would be) dropped.
    pub dropped: Vec<String>,
    /// What was archived before it went.
    pub archived: Vec<ArchivedFile>,
    /// What stays because it can't be archived, and why.
    pub warnings: Vec<String>,
    /// The space freed (or to be freed), in bytes.
    pub freed_bytes: f64,
}

/// Which runs to clean up.
#[napi(object, object_to_js = false)]
pub struct CleanupRequest {
    /// Only this run.
    pub run_id: Option<String>,
    /// Only runs of these statuses.
    pub statuses: Vec<String>,
    /// Only runs whose last update is older, in days.
    pub max_age_days: f64,
    /// Decide, but drop nothing.
    pub dry_run: bool,
    /// Whether a Markdown report is written.
    pub report: bool,
    /// Where the report goes, if not to its usual place.
    pub report_path: Option<String>,
}

/// A run that was dropped, or would be.
#[napi(object, object_from_js = false)]
pub struct CleanedRun {
    /// The run.
    pub run_id: String,
    /// Its status.
    pub status: String,
    /// The age of its last update, in days.
    pub age_days: f64,
    /// The space it takes, in bytes.
    pub bytes: f64,
}

/// A run that was left alone with a reason worth knowing.
#[napi(object, object_from_js = false)]
pub struct LeftRun {
    /// The run, or the folder's name.
    pub run_id: String,
    /// Why it was left.
    pub reason: String,
}

/// What a cleanup did, or would do.
#[napi(object, object_from_js = false)]
pub struct CleanupOutcome {
    /// How many runs were looked at.
    pub scanned: f64,
    /// The runs that were (or would be) dropped.
    pub cleaned: Vec<CleanedRun>,
    /// Runs that were left alone with a reason worth knowing.
    pub left: Vec<LeftRun>,
    /// The space freed (or to be freed), in bytes.
    pub freed_bytes: f64,
    /// The report that was written; absent if none was asked for.
    pub report_path: Option<String>,
}

/// The file system that a folder lies on; what can't be told is absent.
#[napi(object, object_from_js = false)]
pub struct FileSystemInfo {
    /// Where it keeps its files: `local`, `memory`, `network`, `fuse`, `overlay` or `unknown`.
    pub class: String,
    /// Its type as the system names it, such as `ext4`.
    pub kind: Option<String>,
    /// What is mounted: a device, a share.
    pub source: Option<String>,
    /// Where it is mounted.
    pub mount_point: Option<String>,
    /// The options it is mounted with.
    pub options: Vec<String>,
    /// Whether it is mounted read-only.
    pub read_only: Option<bool>,
}

/// One question to a file system, and what came of it.
#[napi(object, object_from_js = false)]
pub struct DoctorProbe {
    /// The question, such as `locks`; `docs/cli.md` lists them.
    pub name: String,
    /// Whether it is as a program would wish; null if that could not be told.
    #[napi(ts_type = "boolean | null")]
    pub ok: Either<bool, Null>,
    /// What was seen, short.
    pub observed: String,
    /// What was asked, and the system's words if it refused.
    pub detail: String,
}

/// Whether one of Waymark's promises holds on a file system.
#[napi(object, object_from_js = false)]
pub struct DoctorFinding {
    /// The promise: `durable`, `atomic`, `exclusive`, `exact_files` or `bounded`.
    pub name: String,
    /// Whether it holds: `yes`, `no` or `unknown`.
    #[napi(ts_type = "'yes' | 'no' | 'unknown'")]
    pub holds: String,
    /// Why, in one sentence.
    pub why: String,
    /// What to do; absent where it holds.
    pub advice: Option<String>,
}

/// What a file system really does, and which promises hold on it.
#[napi(object, object_from_js = false)]
pub struct DoctorOutcome {
    /// The folder that was probed.
    pub path: String,
    /// The folder that holds all runs; absent if none is found.
    pub runs_dir: Option<String>,
    /// The project's store; absent if there is none.
    pub store_dir: Option<String>,
    /// The `waymark.config.json` whose settings count; absent if there is none.
    pub config_file: Option<String>,
    /// The file system that the folder lies on.
    pub file_system: FileSystemInfo,
    /// What was asked and seen, always the same rows in the same order.
    pub probes: Vec<DoctorProbe>,
    /// One finding per promise.
    pub promises: Vec<DoctorFinding>,
    /// What deserves attention, though no promise breaks by it.
    pub warnings: Vec<String>,
    /// True if every promise holds.
    pub ok: bool,
}
