//! The one error type of Waymark.
//!
//! Every variant has a stable code (`ERR_`, the subject, the problem; listed in `docs/errors.md`), a message
//! a person can act on, and the path or id concerned.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::damage::Damage;
use crate::model::lease::Lease;
use crate::model::object::ObjectId;
use crate::model::time::to_iso;

/// The result of everything that can fail here.
pub type Result<T> = std::result::Result<T, Error>;

/// A checkpoint that was passed over, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its id, or the file's name where no id can be read.
    pub checkpoint_id: String,
    /// What is wrong with it.
    pub damage: Damage,
}

/// Everything that can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A run id that can't be used.
    #[error(
        "run id {id:?} is not usable: {reason}; use letters, digits, '.', '_', ':' and '-', at most 255"
    )]
    RunId {
        /// The id as given, shortened.
        id: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A checkpoint id that can't be used.
    #[error("checkpoint id {id:?} is not usable: {reason}; take one from the list of checkpoints")]
    CheckpointId {
        /// The id as given, shortened.
        id: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A step that can't be used.
    #[error(
        "step {step:?} is not usable: {reason}; give a finite number such as 3 or 1.5, or a name"
    )]
    Step {
        /// The step as given.
        step: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An option with a value that is not allowed.
    #[error("option {name:?} is not usable: {reason}")]
    OptionValue {
        /// The option.
        name: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// Something is said of a checkpoint that can't be said.
    #[error("{fact} is not usable: {reason}; schema/facts.schema.json says what is allowed")]
    FactsInvalid {
        /// Which fact, such as `facts.progress.done`.
        fact: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// A checkpoint can't go from its state to another.
    #[error("checkpoint {checkpoint_id} is {from} and can't become {to}: {way}")]
    StateTransition {
        /// The checkpoint.
        checkpoint_id: String,
        /// Its state.
        from: &'static str,
        /// The state that was asked for.
        to: &'static str,
        /// How to get there, if there is a way.
        way: String,
    },
    /// The log of what happened to a run's checkpoints is not as it was written.
    #[error(
        "the changes of run {run_id} can't be trusted: {reason}; nothing was changed; waymark verify {run_id} --heal keeps what is whole"
    )]
    ChangesDamaged {
        /// The run.
        run_id: String,
        /// The log.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// A path option that can't be used.
    #[error("path {path:?} is not usable: {reason}")]
    PathInvalid {
        /// The path as given.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The caller's state is not JSON.
    #[error("the step state is not JSON: {reason}; pass what JSON.stringify accepts")]
    StateNotJson {
        /// What is wrong with it.
        reason: String,
    },
    /// The caller's state is nested too deep.
    #[error("the step state is nested deeper than {limit} levels; flatten it or store it as text")]
    StateTooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// The caller's state is too large.
    #[error(
        "the step state has {bytes} bytes, the limit is {limit}; write large data to a file of the run and keep its path in the state"
    )]
    StateTooLarge {
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A file to be captured is too large.
    #[error("{path} has more than {limit} bytes and can't be part of a checkpoint", path = path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// No folder of runs was found.
    #[error(
        "no folder of runs was found; tried {tried}; pass runsDir (--runs-dir), or set WAYMARK_RUNS_DIR"
    )]
    RunsDirNotFound {
        /// What was tried, in words.
        tried: String,
    },
    /// `waymark.config.json` is not usable.
    #[error("{path} is not usable: {reason}", path = path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The run's folder does not exist.
    #[error("run {run_id:?} was not found at {path}; check the id, or start the run first", path = path.display())]
    RunNotFound {
        /// The run.
        run_id: String,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The run has no `run.json`.
    #[error("{path} is missing; start the run first, or restore one of its checkpoints", path = path.display())]
    RunRecordMissing {
        /// The file.
        path: PathBuf,
    },
    /// The run's `run.json` is damaged.
    #[error("{path} is damaged: {reason}; restore the newest checkpoint to rebuild it", path = path.display())]
    RunRecordDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The run's `artifact-registry.json` is damaged.
    #[error("{path} is damaged: {reason}; restore the newest checkpoint to rebuild it", path = path.display())]
    RegistryDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A symbolic link where a real file or folder must be.
    #[error("{path} is a symbolic link, which could lead out of the run; replace it by a real file or folder", path = path.display())]
    PathSymlink {
        /// The link.
        path: PathBuf,
    },
    /// Something else where a folder must be.
    #[error("{path} is not a folder; move it away", path = path.display())]
    PathNotDirectory {
        /// What is in the way.
        path: PathBuf,
    },
    /// The run can't be written.
    #[error("{path} can't be written; make it, and the folder that it is in, writable for this user", path = path.display())]
    RunReadOnly {
        /// The path that refused.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The disk, or the user's share of it, is full.
    #[error("no space is left for {path}; free some space (waymark cleanup drops old failed runs) and try again", path = path.display())]
    DiskFull {
        /// The path being written.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Any other failure of the file system.
    #[error("can't {action} {path}", path = path.display())]
    Io {
        /// What was being done: "read", "write" …
        action: &'static str,
        /// The path concerned.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The change is visible, but the disk did not confirm that it will survive power loss.
    #[error("the change to {path} is visible, but the disk did not confirm it; check the disk, then run verify", path = path.display())]
    NotDurable {
        /// The folder that could not be synced.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process is working on the run.
    #[error("run {run_id:?} is busy: {holder} has held {path} for more than {waited_ms} ms; try again, or end that process", path = path.display())]
    RunBusy {
        /// The run.
        run_id: String,
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as known.
        holder: String,
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
    /// The client's `run.json.lock` is held.
    #[error("{path} has been held by {holder} for more than {waited_ms} ms; wait until it ends, or remove the lock if it is not running", path = path.display())]
    RunLocked {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as known.
        holder: String,
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
    /// The checkpoint does not exist.
    #[error("Checkpoint not found: {checkpoint_id}")]
    CheckpointNotFound {
        /// The run.
        run_id: String,
        /// The checkpoint, or what was asked for ("step 3").
        checkpoint_id: String,
    },
    /// The checkpoint is damaged.
    #[error("Checkpoint integrity check failed: {damage}")]
    CheckpointDamaged {
        /// The run.
        run_id: String,
        /// The checkpoint.
        checkpoint_id: String,
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        damage: Damage,
    },
    /// Something could not be captured, and the caller wants all or nothing.
    #[error(
        "run {run_id:?} can't be captured whole, {total} files are missing: {}; make them readable, exclude them, or allow partial checkpoints",
        shortened(problems)
    )]
    CheckpointPartial {
        /// The run.
        run_id: String,
        /// How many could not be captured.
        total: u64,
        /// The first of them, with their reasons.
        problems: Vec<String>,
    },
    /// A checkpoint holds no file under a path.
    #[error("checkpoint {checkpoint_id} has no file {path:?}: {known}")]
    FileNotInCheckpoint {
        /// The run.
        run_id: String,
        /// The checkpoint.
        checkpoint_id: String,
        /// The path as it was given.
        path: String,
        /// What there is instead, in words.
        known: String,
        /// `missing`, `directory` or `symlink`.
        reason: &'static str,
    },
    /// A file whose content was left out of the checkpoint, because it is a secret.
    #[error("the content of {path} is not in checkpoint {checkpoint_id}: it holds a secret, so only its hash and its size ({size} bytes) were kept; take it from where the secret is kept", path = path.display())]
    FileWithheld {
        /// The run.
        run_id: String,
        /// The checkpoint.
        checkpoint_id: String,
        /// The file, in the checkpoint.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The hash of its content.
        hash: ObjectId,
    },
    /// A file that could not be captured when the checkpoint was taken.
    #[error("{path} is not in checkpoint {checkpoint_id}: it could not be captured ({reason}); see whether another checkpoint has it", path = path.display())]
    FileSkipped {
        /// The run.
        run_id: String,
        /// The checkpoint.
        checkpoint_id: String,
        /// The file, in the checkpoint.
        path: PathBuf,
        /// Why: `not_regular`, `unreadable`, `too_large` or `changing`.
        reason: &'static str,
    },
    /// A captured file is larger than the caller wants to have in memory.
    #[error("{path} has {size} bytes, the limit is {limit}; raise maxBytes", path = path.display())]
    FileOverLimit {
        /// The file, in the checkpoint.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The run has no checkpoint at all.
    #[error("run {run_id:?} has no checkpoint; start it from its first step")]
    NoCheckpoint {
        /// The run.
        run_id: String,
    },
    /// Every checkpoint of the run is damaged.
    #[error("none of the {} checkpoints of run {run_id:?} can be restored: {}; nothing was changed", skipped.len(), list(skipped))]
    NoGoodCheckpoint {
        /// The run.
        run_id: String,
        /// What is wrong with each.
        skipped: Vec<Skipped>,
    },
    /// An earlier restore is under way and its journal can't be read.
    #[error("the journal of an unfinished restore, {path}, is damaged: {reason}; restore a checkpoint to start over", path = path.display())]
    JournalDamaged {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is not what it was when a restore was planned.
    #[error("{path} is not what it was when the restore was planned: {reason}; nothing was changed; plan again", path = path.display())]
    PlanStale {
        /// The path.
        path: PathBuf,
        /// What is different.
        reason: &'static str,
    },
    /// A plan that is not there.
    #[error("run {run_id:?} has no plan {plan_id:?}: {reason}; plan again")]
    PlanNotFound {
        /// The run.
        run_id: String,
        /// The plan.
        plan_id: String,
        /// Why.
        reason: &'static str,
    },
    /// A restore would take away what nobody has saved, or can't put something in its place.
    #[error(
        "checkpoint {checkpoint_id:?} of run {run_id:?} can't be restored without a decision on {total} paths: {}; nothing was changed; choose what becomes of them (onConflict, --on-conflict), or leave them out (only, --only)",
        shortened(conflicts)
    )]
    RestoreConflict {
        /// The run.
        run_id: String,
        /// The checkpoint.
        checkpoint_id: String,
        /// How many paths.
        total: u64,
        /// The first of them, each with its reason.
        conflicts: Vec<String>,
    },
    /// What was restored reads back as something else.
    #[error("{path} was restored, but reads back as something else; everything was put back; check the disk", path = path.display())]
    RestoreUnverified {
        /// The file.
        path: PathBuf,
    },
    /// There is no restore that could be undone.
    #[error("run {run_id:?} has no restore that can be undone: {reason}")]
    NothingToUndo {
        /// The run.
        run_id: String,
        /// Why.
        reason: String,
    },
    /// The store was written by a newer version, or is no store.
    #[error("{path} says {found:?}, which this version does not know; update waymark, or set another store", path = path.display())]
    StoreFormat {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// Another process keeps the store for itself.
    #[error("the store is busy: {path} has been held for more than {waited_ms} ms; try again, or end the process that holds it", path = path.display())]
    StoreBusy {
        /// The lock file.
        path: PathBuf,
        /// How long was waited, in milliseconds.
        waited_ms: u64,
    },
    /// Events that were asked for are not kept any more.
    #[error("events after {after} are not kept any more, the oldest in {path} is {oldest}; read from {} on, or all that there are", oldest - 1, path = path.display())]
    EventsGone {
        /// The audit log's folder.
        path: PathBuf,
        /// The position that was asked for.
        after: u64,
        /// The oldest event that is kept.
        oldest: u64,
    },
    /// The audit log has not come as far as was asked for.
    #[error("the audit log {path} ends with event {last}, before {after}; it is another log, or an older copy: read it from its beginning", path = path.display())]
    EventsAhead {
        /// The audit log's folder.
        path: PathBuf,
        /// The position that was asked for.
        after: u64,
        /// The last event.
        last: u64,
    },
    /// The store can be read, but not written.
    #[error("the store {path} can only be read, its folder or file system can't be written; make it writable, or set another store", path = path.display())]
    StoreReadOnly {
        /// The store's folder.
        path: PathBuf,
    },
    /// The index can't be used.
    #[error("the index {path} can't be used: {reason}", path = path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An object is not in the store.
    #[error("object {id} is missing in the store at {path}; was the run moved without its store?", path = path.display())]
    ObjectMissing {
        /// The object.
        id: ObjectId,
        /// The store.
        path: PathBuf,
    },
    /// An object can't be read back.
    #[error("object {id} is damaged in {path}: {reason}; other checkpoints may be whole: waymark verify --data", path = path.display())]
    ObjectDamaged {
        /// The object.
        id: ObjectId,
        /// The pack.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The checkpoint does not fit into the store's budget.
    #[error("the checkpoint needs {needed} more bytes in the store at {path}, {allowed} are left of its budget; raise maxBytes, or drop checkpoints (waymark prune){}", also_dropped(dropped), path = path.display())]
    StoreBudget {
        /// The store.
        path: PathBuf,
        /// What it needs, in bytes.
        needed: u64,
        /// What is left, in bytes.
        allowed: u64,
        /// Checkpoints that were dropped before it turned out that it was not enough; mostly none.
        dropped: Vec<String>,
    },
    /// A registered folder of runs can't be looked at.
    #[error("{path} is registered as a folder of runs whose checkpoints need the store, and can't be read: {reason}; bring it back (is its disk mounted?), or let go of all that its checkpoints need: waymark gc --forget-root {path}", path = path.display())]
    StoreRootMissing {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The registry of folders of runs is damaged.
    #[error("{path} does not tell which folder of runs needs the store: {reason}; take a checkpoint in each of the project's folders of runs, which registers it anew, then remove that file", path = path.display())]
    StoreRootsDamaged {
        /// The entry, or the registry.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A gc stopped in the middle of its work.
    #[error("gc of the store at {path} stopped after it had freed {freed} bytes, which stay free; every checkpoint is whole; run it again once the cause is mended", path = path.display())]
    StoreGcStopped {
        /// The store.
        path: PathBuf,
        /// What was freed, in bytes.
        freed: u64,
        /// Why it stopped.
        source: Box<Error>,
    },
    /// A file is no archive, or not as it was written.
    #[error("{path} is not a whole archive: {what}, at byte {at}; nothing was written; copy it again, or export it anew", path = path.display())]
    ArchiveDamaged {
        /// The file.
        path: PathBuf,
        /// `not_archive`, `truncated`, `altered`, `appended` or `inconsistent`.
        reason: &'static str,
        /// What is wrong, in words.
        what: String,
        /// Where, in bytes from its beginning.
        at: u64,
    },
    /// An archive of a newer version.
    #[error("{path} is an archive of format {found}, which this version does not know; update waymark", path = path.display())]
    ArchiveFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// What an archive holds is at odds with what is there.
    #[error("run {run_id:?} can't be imported: {what}; nothing was written")]
    ImportConflict {
        /// The run.
        run_id: String,
        /// `checkpoint`: one of the same id with other bytes; `run`: another run of the same id.
        reason: &'static str,
        /// The checkpoint, if it is about one.
        checkpoint_id: Option<String>,
        /// What is at odds, and what can be done.
        what: String,
    },
    /// A run is there already where a new one would begin.
    #[error("there is a run {run_id:?} already, at {path}; choose another id", path = path.display())]
    RunExists {
        /// The run.
        run_id: String,
        /// Its folder.
        path: PathBuf,
    },
    /// Something is there already where an export goes.
    #[error("{path} is there already; {advice}", path = path.display())]
    PathExists {
        /// What is there.
        path: PathBuf,
        /// What can be done.
        advice: &'static str,
    },
    /// A git repository can't be read, or does not allow what was asked.
    #[error("git's repository at {path}: {reason}", path = path.display())]
    Git {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Somebody else holds the lease of the run.
    #[error("run {run_id:?} is held by {}; wait until then, or end it", who(lease))]
    LeaseHeld {
        /// The run.
        run_id: String,
        /// The lease's file.
        path: PathBuf,
        /// The lease.
        lease: Box<Lease>,
    },
    /// The caller's lease is not his any more.
    #[error("the lease {token} of run {run_id:?} is lost: {}; nothing was changed; start again from its newest checkpoint", lost(*token, lease.as_deref()))]
    LeaseLost {
        /// The run.
        run_id: String,
        /// The lease's file.
        path: PathBuf,
        /// The caller's token.
        token: u64,
        /// The lease that is there now.
        lease: Option<Box<Lease>>,
    },
    /// The lease of the run can't be trusted.
    #[error("the lease of run {run_id:?} can't be trusted: {reason}; it keeps others out until {path} is older than a lease lasts, or is taken by force (manager.lease(run, {{ force: true }}))", path = path.display())]
    LeaseDamaged {
        /// The run.
        run_id: String,
        /// The lease's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A record is not what the caller saw.
    #[error("record {name} is not the one that was read: {found}; read it again")]
    RecordChanged {
        /// The record.
        name: String,
        /// The run; `None` for a record of the store.
        run_id: Option<String>,
        /// Its file.
        path: PathBuf,
        /// What there is instead, in words.
        found: String,
    },
    /// A record can't be trusted.
    #[error("record {name} can't be trusted: {reason}; write it anew, or remove {path}", path = path.display())]
    RecordDamaged {
        /// The record.
        name: String,
        /// The run; `None` for a record of the store.
        run_id: Option<String>,
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A document is too large for a record.
    #[error(
        "record {name} would have {bytes} bytes, the limit is {limit}; keep large data in a file of the run"
    )]
    RecordTooLarge {
        /// The record.
        name: String,
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The caller asked to stop.
    #[error("the operation was aborted; nothing was changed")]
    Aborted,
    /// A defect of Waymark itself.
    #[error("a defect in Waymark: {message}; please report it")]
    Internal {
        /// What happened.
        message: String,
    },
}

fn also_dropped(dropped: &[String]) -> String {
    if dropped.is_empty() {
        String::new()
    } else {
        format!("; dropped for it were {}", dropped.join(", "))
    }
}

fn who(lease: &Lease) -> String {
    format!(
        "{} (process {} on {}) since {} until {}",
        lease.holder,
        lease.pid,
        if lease.host.is_empty() {
            "an unknown machine"
        } else {
            &lease.host
        },
        to_iso(lease.since_ms),
        to_iso(lease.expires_ms())
    )
}

fn lost(token: u64, lease: Option<&Lease>) -> String {
    match lease {
        None => "its file is gone".to_owned(),
        Some(lease) if lease.token == token => "it was given back".to_owned(),
        Some(lease) => format!("it was taken over by {}", who(lease)),
    }
}

fn shortened(problems: &[String]) -> String {
    let shown = problems.len().min(5);
    let more = if problems.len() > shown { " …" } else { "" };
    format!("{}{more}", problems[..shown].join(", "))
}

fn list(skipped: &[Skipped]) -> String {
    let mut parts: Vec<String> = skipped
        .iter()
        .take(5)
        .map(|one| format!("{} ({})", one.checkpoint_id, one.damage))
        .collect();
    if skipped.len() > parts.len() {
        parts.push(format!("and {} more", skipped.len() - parts.len()));
    }
    parts.join(", ")
}

impl Error {
    /// The stable code: `ERR_`, the subject, the problem.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::RunId { .. } => "ERR_RUN_ID_INVALID",
            Self::CheckpointId { .. } => "ERR_CHECKPOINT_ID_INVALID",
            Self::Step { .. } => "ERR_STEP_INVALID",
            Self::OptionValue { .. } => "ERR_OPTION_INVALID",
            Self::FactsInvalid { .. } => "ERR_FACTS_INVALID",
            Self::StateTransition { .. } => "ERR_STATE_TRANSITION",
            Self::ChangesDamaged { .. } => "ERR_CHANGES_DAMAGED",
            Self::PathInvalid { .. } => "ERR_PATH_INVALID",
            Self::StateNotJson { .. } => "ERR_STATE_NOT_JSON",
            Self::StateTooDeep { .. } => "ERR_STATE_TOO_DEEP",
            Self::StateTooLarge { .. } => "ERR_STATE_TOO_LARGE",
            Self::FileTooLarge { .. } | Self::FileOverLimit { .. } => "ERR_FILE_TOO_LARGE",
            Self::RunsDirNotFound { .. } => "ERR_RUNS_DIR_NOT_FOUND",
            Self::Config { .. } => "ERR_CONFIG_INVALID",
            Self::RunNotFound { .. } => "ERR_RUN_NOT_FOUND",
            Self::RunRecordMissing { .. } => "ERR_RUN_RECORD_MISSING",
            Self::RunRecordDamaged { .. } => "ERR_RUN_RECORD_DAMAGED",
            Self::RegistryDamaged { .. } => "ERR_REGISTRY_DAMAGED",
            Self::PathSymlink { .. } => "ERR_PATH_SYMLINK",
            Self::PathNotDirectory { .. } => "ERR_PATH_NOT_DIRECTORY",
            Self::RunReadOnly { .. } => "ERR_RUN_READ_ONLY",
            Self::DiskFull { .. } => "ERR_DISK_FULL",
            Self::Io { .. } => "ERR_IO",
            Self::NotDurable { .. } => "ERR_NOT_DURABLE",
            Self::RunBusy { .. } => "ERR_RUN_BUSY",
            Self::RunLocked { .. } => "ERR_RUN_LOCKED",
            Self::CheckpointNotFound { .. } => "ERR_CHECKPOINT_NOT_FOUND",
            Self::CheckpointDamaged { .. } => "ERR_CHECKPOINT_DAMAGED",
            Self::CheckpointPartial { .. } => "ERR_CHECKPOINT_PARTIAL",
            Self::FileNotInCheckpoint { .. } => "ERR_FILE_NOT_IN_CHECKPOINT",
            Self::FileWithheld { .. } => "ERR_FILE_WITHHELD",
            Self::FileSkipped { .. } => "ERR_FILE_SKIPPED",
            Self::NoCheckpoint { .. } => "ERR_NO_CHECKPOINT",
            Self::NoGoodCheckpoint { .. } => "ERR_NO_GOOD_CHECKPOINT",
            Self::JournalDamaged { .. } => "ERR_JOURNAL_DAMAGED",
            Self::PlanStale { .. } => "ERR_PLAN_STALE",
            Self::PlanNotFound { .. } => "ERR_PLAN_NOT_FOUND",
            Self::RestoreConflict { .. } => "ERR_RESTORE_CONFLICT",
            Self::RestoreUnverified { .. } => "ERR_RESTORE_UNVERIFIED",
            Self::NothingToUndo { .. } => "ERR_NOTHING_TO_UNDO",
            Self::StoreFormat { .. } => "ERR_STORE_FORMAT",
            Self::StoreBusy { .. } => "ERR_STORE_BUSY",
            Self::EventsGone { .. } => "ERR_EVENTS_GONE",
            Self::EventsAhead { .. } => "ERR_EVENTS_AHEAD",
            Self::StoreReadOnly { .. } => "ERR_STORE_READ_ONLY",
            Self::Index { .. } => "ERR_INDEX",
            Self::ObjectMissing { .. } => "ERR_OBJECT_MISSING",
            Self::ObjectDamaged { .. } => "ERR_OBJECT_DAMAGED",
            Self::StoreBudget { .. } => "ERR_STORE_BUDGET",
            Self::StoreRootMissing { .. } => "ERR_STORE_ROOT_MISSING",
            Self::StoreRootsDamaged { .. } => "ERR_STORE_ROOTS_DAMAGED",
            Self::StoreGcStopped { .. } => "ERR_STORE_GC_STOPPED",
            Self::ArchiveDamaged { .. } => "ERR_ARCHIVE_DAMAGED",
            Self::ArchiveFormat { .. } => "ERR_ARCHIVE_FORMAT",
            Self::ImportConflict { .. } => "ERR_IMPORT_CONFLICT",
            Self::RunExists { .. } => "ERR_RUN_EXISTS",
            Self::PathExists { .. } => "ERR_PATH_EXISTS",
            Self::Git { .. } => "ERR_GIT",
            Self::LeaseHeld { .. } => "ERR_LEASE_HELD",
            Self::LeaseLost { .. } => "ERR_LEASE_LOST",
            Self::LeaseDamaged { .. } => "ERR_LEASE_DAMAGED",
            Self::RecordChanged { .. } => "ERR_RECORD_CHANGED",
            Self::RecordDamaged { .. } => "ERR_RECORD_DAMAGED",
            Self::RecordTooLarge { .. } => "ERR_RECORD_TOO_LARGE",
            Self::Aborted => "ERR_ABORTED",
            Self::Internal { .. } => "ERR_INTERNAL",
        }
    }

    /// The path concerned, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::FileTooLarge { path, .. }
            | Self::FileOverLimit { path, .. }
            | Self::FileWithheld { path, .. }
            | Self::FileSkipped { path, .. }
            | Self::Config { path, .. }
            | Self::RunNotFound { path, .. }
            | Self::RunRecordMissing { path }
            | Self::RunRecordDamaged { path, .. }
            | Self::RegistryDamaged { path, .. }
            | Self::PathSymlink { path }
            | Self::PathNotDirectory { path }
            | Self::RunReadOnly { path, .. }
            | Self::DiskFull { path, .. }
            | Self::Io { path, .. }
            | Self::NotDurable { path, .. }
            | Self::RunBusy { path, .. }
            | Self::RunLocked { path, .. }
            | Self::CheckpointDamaged { path, .. }
            | Self::StoreFormat { path, .. }
            | Self::StoreBusy { path, .. }
            | Self::EventsGone { path, .. }
            | Self::EventsAhead { path, .. }
            | Self::StoreReadOnly { path }
            | Self::StoreBudget { path, .. }
            | Self::StoreRootMissing { path, .. }
            | Self::StoreRootsDamaged { path, .. }
            | Self::StoreGcStopped { path, .. }
            | Self::Index { path, .. }
            | Self::ObjectMissing { path, .. }
            | Self::ObjectDamaged { path, .. }
            | Self::PlanStale { path, .. }
            | Self::RestoreUnverified { path }
            | Self::ArchiveDamaged { path, .. }
            | Self::ArchiveFormat { path, .. }
            | Self::RunExists { path, .. }
            | Self::PathExists { path, .. }
            | Self::ChangesDamaged { path, .. }
            | Self::RecordChanged { path, .. }
            | Self::RecordDamaged { path, .. }
            | Self::Git { path, .. }
            | Self::LeaseHeld { path, .. }
            | Self::LeaseLost { path, .. }
            | Self::LeaseDamaged { path, .. }
            | Self::JournalDamaged { path, .. } => Some(path),
            _ => None,
        }
    }

    /// The run concerned, where the error knows it.
    #[must_use]
    pub fn run_id(&self) -> Option<&str> {
        match self {
            Self::RunNotFound { run_id, .. }
            | Self::RunBusy { run_id, .. }
            | Self::CheckpointNotFound { run_id, .. }
            | Self::CheckpointDamaged { run_id, .. }
            | Self::CheckpointPartial { run_id, .. }
            | Self::FileNotInCheckpoint { run_id, .. }
            | Self::FileWithheld { run_id, .. }
            | Self::FileSkipped { run_id, .. }
            | Self::PlanNotFound { run_id, .. }
            | Self::RestoreConflict { run_id, .. }
            | Self::NothingToUndo { run_id, .. }
            | Self::ImportConflict { run_id, .. }
            | Self::RunExists { run_id, .. }
            | Self::ChangesDamaged { run_id, .. }
            | Self::LeaseHeld { run_id, .. }
            | Self::LeaseLost { run_id, .. }
            | Self::LeaseDamaged { run_id, .. }
            | Self::NoCheckpoint { run_id }
            | Self::NoGoodCheckpoint { run_id, .. } => Some(run_id),
            Self::RecordChanged { run_id, .. } | Self::RecordDamaged { run_id, .. } => {
                run_id.as_deref()
            }
            _ => None,
        }
    }

    /// The checkpoint concerned, where the error knows it.
    #[must_use]
    pub fn checkpoint_id(&self) -> Option<&str> {
        match self {
            Self::CheckpointNotFound { checkpoint_id, .. }
            | Self::FileNotInCheckpoint { checkpoint_id, .. }
            | Self::FileWithheld { checkpoint_id, .. }
            | Self::FileSkipped { checkpoint_id, .. }
            | Self::RestoreConflict { checkpoint_id, .. }
            | Self::StateTransition { checkpoint_id, .. }
            | Self::CheckpointDamaged { checkpoint_id, .. } => Some(checkpoint_id),
            Self::ImportConflict { checkpoint_id, .. } => checkpoint_id.as_deref(),
            _ => None,
        }
    }

    /// The finer reason inside the code: `traversal`, `truncated` …
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::RunId { reason, .. }
            | Self::CheckpointId { reason, .. }
            | Self::Step { reason, .. }
            | Self::FileNotInCheckpoint { reason, .. }
            | Self::FileSkipped { reason, .. }
            | Self::PlanStale { reason, .. }
            | Self::PlanNotFound { reason, .. }
            | Self::ArchiveDamaged { reason, .. }
            | Self::ImportConflict { reason, .. }
            | Self::PathInvalid { reason, .. } => Some(reason),
            Self::CheckpointDamaged { damage, .. } => Some(damage.kind()),
            _ => None,
        }
    }

    /// The lease that stands in the way, or that took the place of the caller's.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        match self {
            Self::LeaseHeld { lease, .. } => Some(lease),
            Self::LeaseLost { lease, .. } => lease.as_deref(),
            _ => None,
        }
    }

    /// The checkpoints passed over before this error, with what is wrong with each.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        match self {
            Self::NoGoodCheckpoint { skipped, .. } => skipped,
            _ => &[],
        }
    }

    /// The message with the system's own words behind it.
    #[must_use]
    pub fn full_message(&self) -> String {
        use std::error::Error as _;
        let mut message = self.to_string();
        if let Some(source) = self.source() {
            message.push_str(": ");
            message.push_str(&source.to_string());
        }
        message
    }

    /// Names the path and the intention behind a system error.
    #[must_use]
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::DiskFull { path, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                if action != "read" =>
            {
                Self::RunReadOnly { path, source }
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}

/// Adds the path and the intention to an `io::Result`.
pub(crate) trait IoContext<T> {
    /// Turns a system error into [`Error::Io`] or one of its finer relatives.
    fn context(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::io(action, path, source))
    }
}
