//! Between the core's values and those that cross to JavaScript.
//!
//! *Invariants*: a number from JavaScript is checked here, once: napi alone would take 1.9 for 1.

use std::path::{Path, PathBuf};

use napi::Either;
use napi::bindgen_prelude::Null;

use crate::binding::types::{
    ArchivedFile, BecomeOutcome, CaptureProblem, CaptureRequest, ChangeRequest, CheckpointInfo,
    CleanedRun, CleanupOutcome, CleanupRequest, CreateOutcome, CreateRequest, DamagedCheckpoint,
    DoctorFinding, DoctorOutcome, DoctorProbe, Failure, FailureInfo, FileSystemInfo, ForkInfo,
    LeaseInfo, LeftRun, Listing, OperationProgress, PinInfo, Place, PruneOutcome,
    RetentionDecision, RetentionRequest, ShowOutcome, SkippedCheckpoint, SnapshotInfo,
};
use crate::error::{Error, Result, Skipped};
use crate::model::environment::Environment;
use crate::model::facts::Facts;
use crate::model::ids::RunId;
use crate::model::lease::Lease;
use crate::model::lifecycle::{Failure as Failed, Life, Lives, Pin};
use crate::model::manifest::{Header, Snapshot};
use crate::model::progress::Glance;
use crate::model::retention::{ALL, Classes, Reason, Retention, Span};
use crate::model::step::{STEP_MAX, Step};
use crate::model::time::to_iso;
use crate::ops::capture::Capture;
use crate::ops::locate::Hints;
use crate::ops::{archive, cleanup, create, doctor, lifecycle, list, prune, show};
use crate::store::journal::Recovered;
use crate::store::manifests::Scan;
use crate::store::real_disk;
use crate::store::workspace::Rules;

/// The most that a day can begin earlier or later than in UTC, in minutes.
const OFFSET_MAX: f64 = 1_439.0;

pub(super) fn hints(place: Place, run_id: Option<RunId>) -> Hints {
    Hints {
        runs_dir: place.runs_dir.map(PathBuf::from),
        root: place.root.map(PathBuf::from),
        environment: place.environment.map(PathBuf::from),
        main_script: place.main_script.map(PathBuf::from),
        working_dir: place.working_dir.map(PathBuf::from),
        run_id,
        store: place.store.map(PathBuf::from),
    }
}

pub(super) fn step(step: Either<f64, String>) -> Result<Step> {
    match step {
        Either::A(number) => Step::number(number),
        Either::B(name) => Step::name(&name),
    }
}

pub(super) fn step_out(step: Step) -> Either<f64, String> {
    match step {
        Step::Number(number) => Either::A(number),
        Step::Name(name) => Either::B(name),
    }
}

/// A whole number from 0 to `max`.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be whole and in range first"
)]
pub(super) fn whole(name: &'static str, value: f64, max: f64) -> Result<u64> {
    if value.fract() == 0.0 && (0.0..=max).contains(&value) {
        return Ok(value as u64);
    }
    Err(Error::OptionValue {
        name,
        reason: format!("{value} is not a whole number from 0 to {max}"),
    })
}

#[allow(
    clippy::cast_precision_loss,
    reason = "sizes and counts stay far below 2^53"
)]
pub(super) fn number(value: u64) -> f64 {
    value as f64
}

pub(super) fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(super) fn capture(request: CaptureRequest, project: &Path) -> Result<Capture> {
    Ok(Capture {
        project: project.to_path_buf(),
        run: request.run,
        artifacts: request.artifacts,
        workspace: request.workspace.into_iter().map(PathBuf::from).collect(),
        rules: Rules {
            respect_gitignore: request.respect_gitignore,
            include: request.include,
            exclude: request.exclude,
            secrets: request.secrets,
            withhold_secrets: request.withhold_secrets,
            never: Vec::new(),
            project: None,
            max_file_bytes: whole("capture.maxFileBytes", request.max_file_bytes, STEP_MAX)?,
        },
        refuse_partial: request.refuse_partial,
    })
}

pub(super) fn create_request<'a>(
    request: CreateRequest,
    state: &'a [u8],
    project: &Path,
) -> Result<create::Request<'a>> {
    let retention = retention(request.retention)?;
    Ok(create::Request {
        step: step(request.step)?,
        state,
        retention: (retention.keep_last != ALL).then_some(retention),
        max_state_bytes: whole("maxStateBytes", request.max_state_bytes, STEP_MAX)?,
        capture: request
            .capture
            .map(|wanted| capture(wanted, project))
            .transpose()?,
        max_store_bytes: request
            .max_store_bytes
            .map(|bytes| whole("maxStoreBytes", bytes, STEP_MAX))
            .transpose()?,
        facts: request
            .facts
            .map(|text| Facts::parse(text.as_bytes()))
            .transpose()?,
        environment: request.environment.map(Environment::parse).transpose()?,
    })
}

/// What to do with a checkpoint.
pub(super) fn command(request: ChangeRequest) -> Result<lifecycle::Command> {
    let json = |name: &'static str, text: &str| {
        serde_json::from_str::<serde_json::Value>(text).map_err(|error| Error::OptionValue {
            name,
            reason: error.to_string(),
        })
    };
    let update = request
        .update
        .map(|text| json("update", &text))
        .transpose()?;
    Ok(match request.verb.as_str() {
        "activate" => lifecycle::Command::Activate,
        "complete" => lifecycle::Command::Complete { update },
        "fail" => {
            let failure = match request.failure {
                Some(text) => {
                    serde_json::from_str::<Failed>(&text).map_err(|error| Error::OptionValue {
                        name: "error",
                        reason: error.to_string(),
                    })?
                }
                None => Failed::default(),
            };
            lifecycle::Command::Fail { failure, update }
        }
        "update" => lifecycle::Command::Update(update.unwrap_or_else(|| serde_json::json!({}))),
        "pin" => lifecycle::Command::Pin(Pin {
            reason: request.reason.unwrap_or_default(),
            until_ms: request
                .until_ms
                .map(|until| whole("until", until, STEP_MAX))
                .transpose()?
                .map(|until| i64::try_from(until).unwrap_or(i64::MAX)),
        }),
        "unpin" => lifecycle::Command::Unpin,
        verb => {
            return Err(Error::Internal {
                message: format!("no such change: {verb}"),
            });
        }
    })
}

pub(super) fn retention(request: RetentionRequest) -> Result<Retention> {
    let count = |name, number| {
        let number = whole(name, number, f64::from(u32::MAX))?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    };
    let offset = request.utc_offset_minutes;
    if offset.fract() != 0.0 || offset.abs() > OFFSET_MAX {
        return Err(Error::OptionValue {
            name: "utcOffsetMinutes",
            reason: format!("{offset} is not a whole number of minutes within a day"),
        });
    }
    let keep_last = count("keepLast", request.keep_last)?;
    let keep_within = request.keep_within.map(|ms| span("keepWithin", ms));
    Ok(Retention {
        keep_last: if keep_last == 0 { ALL } else { keep_last },
        keep_hourly: count("keepHourly", request.keep_hourly)?,
        keep_daily: count("keepDaily", request.keep_daily)?,
        keep_weekly: count("keepWeekly", request.keep_weekly)?,
        keep_monthly: count("keepMonthly", request.keep_monthly)?,
        keep_yearly: count("keepYearly", request.keep_yearly)?,
        keep_within: keep_within.transpose()?,
        keep_labels: request.keep_labels,
        classes: Classes {
            frequent: span("classes.frequent", request.frequent)?,
            milestone: span("classes.milestone", request.milestone)?,
            critical: span("classes.critical", request.critical)?,
        },
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a whole number of few digits"
        )]
        utc_offset_minutes: offset as i32,
        archive: request.archive,
    })
}

/// A length of time in milliseconds.
#[allow(
    clippy::cast_precision_loss,
    reason = "a span is no longer than a double counts exactly"
)]
pub(super) fn span_ms(text: &str) -> Result<f64> {
    Ok(match Span::parse("retention", text)? {
        Span::Forever => f64::INFINITY,
        Span::Ms(ms) => ms as f64,
    })
}

fn span(name: &'static str, ms: f64) -> Result<Span> {
    if ms == f64::INFINITY {
        return Ok(Span::Forever);
    }
    whole(name, ms, STEP_MAX).map(Span::Ms)
}

pub(super) fn cleanup_request(
    request: CleanupRequest,
    runs_dir: &Path,
) -> Result<cleanup::Request> {
    let report = request.report.then(|| {
        request
            .report_path
            .map_or_else(|| cleanup::default_report(runs_dir), PathBuf::from)
    });
    Ok(cleanup::Request {
        run_id: request.run_id.as_deref().map(RunId::parse).transpose()?,
        statuses: request.statuses,
        max_age_days: request.max_age_days,
        dry_run: request.dry_run,
        report,
    })
}

pub(super) fn recovered(recovered: Recovered) -> &'static str {
    match recovered {
        Recovered::Nothing => "nothing",
        Recovered::Finished => "finished",
        Recovered::Undone => "undone",
    }
}

pub(super) fn skipped(skipped: &[Skipped]) -> Vec<SkippedCheckpoint> {
    skipped
        .iter()
        .map(|one| SkippedCheckpoint {
            checkpoint_id: one.checkpoint_id.clone(),
            damage: one.damage.kind().to_owned(),
            message: one.damage.to_string(),
        })
        .collect()
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self {
            failed: true,
            code: error.code().to_owned(),
            message: error.full_message(),
            reason: error.reason().map(str::to_owned),
            path: error.path().map(path),
            run_id: error.run_id().map(str::to_owned),
            checkpoint_id: error.checkpoint_id().map(str::to_owned),
            skipped: skipped(error.skipped()),
            lease: error.lease().map(LeaseInfo::from),
        }
    }
}

impl From<&Lease> for LeaseInfo {
    fn from(lease: &Lease) -> Self {
        Self {
            token: number(lease.token),
            holder: lease.holder.clone(),
            pid: f64::from(lease.pid),
            host: lease.host.clone(),
            since: to_iso(lease.since_ms),
            renewed: to_iso(lease.renewed_ms),
            expires: to_iso(lease.expires_ms()),
        }
    }
}

impl From<create::Created> for CreateOutcome {
    fn from(created: create::Created) -> Self {
        real_disk::keep(created.replaced);
        Self {
            checkpoint_id: created.checkpoint_id.to_string(),
            sequence: number(created.sequence),
            parent_checkpoint_id: created.parent.map(|id| id.to_string()),
            timestamp: created.timestamp,
            path: path(&created.path),
            size: number(created.size),
            checksum: created.checksum,
            dropped: created.dropped,
            warnings: created.warnings,
            manifest: created.manifest.map(Into::into),
            snapshot: created.snapshot.map(Into::into),
        }
    }
}

impl From<Snapshot> for SnapshotInfo {
    fn from(snapshot: Snapshot) -> Self {
        let partial = snapshot.is_partial();
        Self {
            files: number(snapshot.files),
            bytes: number(snapshot.bytes),
            added_bytes: number(snapshot.added_bytes),
            withheld: number(snapshot.withheld),
            partial,
            problems: snapshot
                .problems
                .into_iter()
                .map(|problem| CaptureProblem {
                    root: problem.root,
                    path: problem.path,
                    reason: problem.reason,
                    size: number(problem.size),
                })
                .collect(),
            problems_total: number(snapshot.problems_total),
            missing: snapshot.missing,
        }
    }
}

impl From<Glance> for OperationProgress {
    fn from(seen: Glance) -> Self {
        Self {
            phase: seen.phase.name().to_owned(),
            files: number(seen.files),
            bytes: number(seen.bytes),
            total_files: seen.total_files.map(number),
            total_bytes: seen.total_bytes.map(number),
        }
    }
}

pub(super) fn info(
    header: Header,
    life: &Life,
    file: &Path,
    size: u64,
    verified_ms: Option<i64>,
) -> CheckpointInfo {
    // An update that does not fit was refused when it was made.
    let facts = life.facts(header.facts.as_ref()).unwrap_or_default();
    let forks = life.forks.iter().map(|fork| ForkInfo {
        run: fork.run.clone(),
        checkpoint: fork.checkpoint.clone(),
    });
    CheckpointInfo {
        state: life.state().as_str().to_owned(),
        state_at: life.state_ms.map(to_iso),
        facts: facts
            .filter(|facts| !facts.is_empty())
            .and_then(|facts| serde_json::to_value(facts).ok()),
        updated_at: life.updated_ms.map(to_iso),
        environment: header.environment,
        failure: life.failure.clone().map(|failure| FailureInfo {
            name: failure.name,
            message: failure.message,
            code: failure.code,
            stack: failure.stack,
            details: Some(failure.details).filter(|details| !details.is_null()),
        }),
        pin: life.pin.as_ref().map(|pin| PinInfo {
            reason: pin.reason.clone(),
            until: pin.until_ms.map(to_iso),
        }),
        forks: (!life.forks.is_empty()).then(|| forks.collect()),
        checkpoint_id: header.checkpoint_id.to_string(),
        step: step_out(header.step),
        timestamp: header.timestamp,
        path: path(file),
        size: number(size),
        sequence: header.sequence.map(number),
        parent_checkpoint_id: header.parent,
        workflow_id: header.workflow_id,
        checksum: header.checksum,
        last_verified_at: verified_ms.map(to_iso),
    }
}

impl From<(Scan, Lives)> for Listing {
    fn from((scan, lives): (Scan, Lives)) -> Self {
        let fresh = Life::default();
        let life = |id: &str| lives.get(id).unwrap_or(&fresh);
        Self {
            changes_problem: None,
            checkpoints: scan
                .good
                .into_iter()
                .map(|good| {
                    let life = life(good.header.checkpoint_id.as_str());
                    let verified_ms = good.last_verified_ms;
                    info(good.header, life, &good.path, good.size, verified_ms)
                })
                .collect(),
            damaged: scan
                .damaged
                .into_iter()
                .map(|damaged| DamagedCheckpoint {
                    checkpoint_id: damaged.name,
                    path: path(&damaged.path),
                    damage: damaged.damage.kind().to_owned(),
                    message: damaged.damage.to_string(),
                })
                .collect(),
        }
    }
}

impl From<list::Listed> for Listing {
    fn from(listed: list::Listed) -> Self {
        Self {
            changes_problem: listed.changes_problem,
            ..(listed.scan, listed.lives).into()
        }
    }
}

impl From<lifecycle::Become> for BecomeOutcome {
    fn from(one: lifecycle::Become) -> Self {
        let id = one.header.checkpoint_id.to_string();
        let info = info(one.header, &one.life, Path::new(""), 0, None);
        Self {
            checkpoint_id: id,
            state: info.state,
            state_at: info.state_at,
            facts: info.facts,
            updated_at: info.updated_at,
            failure: info.failure,
            pin: info.pin,
            forks: info.forks,
        }
    }
}

impl From<show::Shown> for ShowOutcome {
    fn from(shown: show::Shown) -> Self {
        Self {
            info: info(
                shown.header,
                &shown.life,
                &shown.path,
                shown.manifest.len() as u64,
                shown.last_verified_ms,
            ),
            manifest: shown.manifest.into(),
        }
    }
}

impl From<prune::Pruned> for PruneOutcome {
    fn from(pruned: prune::Pruned) -> Self {
        let decisions = &pruned.decisions;
        let dropped = || decisions.iter().filter(|one| one.is_dropped());
        Self {
            dropped: dropped().map(|one| one.checkpoint_id.clone()).collect(),
            freed_bytes: number(dropped().map(|one| one.size).sum()),
            archived: pruned.archived.iter().map(archived_file).collect(),
            warnings: pruned.warnings,
            decisions: pruned.decisions.into_iter().map(decision).collect(),
        }
    }
}

fn decision(one: prune::Decision) -> RetentionDecision {
    let (step, timestamp) = one.taken.unzip();
    let reasons: Vec<String> = one.reasons.iter().map(Reason::word).collect();
    let told: Vec<String> = one.reasons.iter().map(Reason::to_string).collect();
    RetentionDecision {
        checkpoint_id: one.checkpoint_id,
        step: step.map(step_out),
        timestamp,
        keep: one.keep,
        reason: reasons.first().cloned().unwrap_or_default(),
        reasons,
        explanation: told.join(", "),
        size: number(one.size),
    }
}

fn archived_file(one: &archive::Archived) -> ArchivedFile {
    ArchivedFile {
        checkpoint_id: one.checkpoint_id.to_string(),
        path: path(&one.path),
        file_bytes: number(one.file_bytes),
        was_there: one.was_there,
    }
}

impl From<cleanup::Outcome> for CleanupOutcome {
    fn from(outcome: cleanup::Outcome) -> Self {
        Self {
            scanned: number(outcome.scanned),
            cleaned: outcome
                .cleaned
                .into_iter()
                .map(|run| CleanedRun {
                    run_id: run.run_id,
                    status: run.status,
                    age_days: run.age_days,
                    bytes: number(run.bytes),
                })
                .collect(),
            left: outcome
                .left
                .into_iter()
                .map(|left| LeftRun {
                    run_id: left.run_id,
                    reason: left.reason,
                })
                .collect(),
            freed_bytes: number(outcome.freed_bytes),
            report_path: outcome.report.as_deref().map(path),
        }
    }
}

impl From<doctor::Diagnosis> for DoctorOutcome {
    fn from(found: doctor::Diagnosis) -> Self {
        let (file_system, judgement) = (found.file_system, found.judgement);
        Self {
            ok: judgement.ok(),
            path: path(&found.path),
            runs_dir: found.runs_dir.as_deref().map(path),
            store_dir: found.store_dir.as_deref().map(path),
            config_file: found.config_file.as_deref().map(path),
            file_system: FileSystemInfo {
                class: judgement.class.as_str().to_owned(),
                kind: file_system.kind,
                source: file_system.source,
                mount_point: file_system.mount_point.as_deref().map(path),
                options: file_system.options,
                read_only: file_system.read_only,
            },
            probes: found
                .probes
                .into_iter()
                .map(|probe| DoctorProbe {
                    name: probe.name.to_owned(),
                    ok: probe.ok.map_or(Either::B(Null), Either::A),
                    observed: probe.observed,
                    detail: probe.detail,
                })
                .collect(),
            promises: judgement
                .findings
                .into_iter()
                .map(|finding| DoctorFinding {
                    name: finding.name.to_owned(),
                    holds: finding.holds.as_str().to_owned(),
                    why: finding.why,
                    advice: finding.advice.map(str::to_owned),
                })
                .collect(),
            warnings: judgement.warnings,
        }
    }
}
