//! Drops old failed runs: their whole folders.
//!
//! The visible moment of each is its folder being renamed to a name that no run can have; a kill
//! before it leaves the run, a kill after it leaves rubbish that the next cleanup removes. A run in
//! progress, one whose `run.json.lock` a live process holds, one whose lease is held, and one that Waymark
//! itself is working on are never touched.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::model::event::{Event, Kind};
use crate::model::ids::RunId;
use crate::model::json::{Json, MAX_DEPTH, Value};
use crate::model::lease::Standing;
use crate::model::run_record;
use crate::model::time::{from_iso, to_iso};
use crate::ops::events::{Ledger, about};
use crate::ops::lease::{self, Look};
use crate::store::disk::{Disk, EntryKind};
use crate::store::events::Log;
use crate::store::layout::RunDir;
use crate::store::publish::{Staged, remove};
use crate::store::runner_lock::{self, Holder};

/// The statuses that may be cleaned up: those of runs that have ended.
pub const STATUSES: [&str; 6] = [
    "failed",
    "error",
    "cancelled",
    "completed",
    "handed_off",
    "pending",
];
const DAY_MS: f64 = 86_400_000.0;
/// No run id begins with this: `~` is no character of an id.
const TRASH: &str = "~waymark-trash-";

/// What to clean up.
#[derive(Debug, Clone)]
pub struct Request {
    /// Only this run.
    pub run_id: Option<RunId>,
    /// Only runs of these statuses.
    pub statuses: Vec<String>,
    /// Only runs whose last update is older, in days.
    pub max_age_days: f64,
    /// Decide, but drop nothing.
    pub dry_run: bool,
    /// Where the Markdown report goes; `None` writes none.
    pub report: Option<PathBuf>,
}

/// A run that was dropped, or would be.
#[derive(Debug, Clone, PartialEq)]
pub struct Cleaned {
    /// The run.
    pub run_id: String,
    /// Its status.
    pub status: String,
    /// The age of its last update, in days.
    pub age_days: f64,
    /// The space it takes, in bytes.
    pub bytes: u64,
}

/// A run that fits, but was left alone, or that could not be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// The run, or the folder's name.
    pub run_id: String,
    /// Why it was left.
    pub reason: String,
}

/// What a cleanup did, or would do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// How many runs were looked at.
    pub scanned: u64,
    /// The runs that were dropped, or would be.
    pub cleaned: Vec<Cleaned>,
    /// The runs that were left with a reason worth knowing.
    pub left: Vec<Left>,
    /// The space freed, in bytes.
    pub freed_bytes: u64,
    /// The report that was written.
    pub report: Option<PathBuf>,
}

/// Where the report goes by default: `reports/` in the folder named `context` above the runs, else
/// beside the runs.
#[must_use]
pub fn default_report(runs_dir: &Path) -> PathBuf {
    let context = runs_dir
        .ancestors()
        .find(|path| path.file_name() == Some(OsStr::new("context")));
    context
        .or_else(|| runs_dir.parent())
        .unwrap_or(runs_dir)
        .join("reports")
        .join("checkpoint-cleanup-report.md")
}

/// Drops old runs.
pub fn cleanup(
    ledger: &Ledger<'_>,
    runs_dir: &Path,
    request: &Request,
    cancel: &Cancel,
) -> Result<Outcome> {
    ledger.watch("cleanup", None, || clean(ledger, runs_dir, request, cancel))
}

/// Notes that a run was dropped.
fn note(ledger: &Ledger<'_>, run: &RunDir, status: &str, bytes: u64) {
    let event = Event::new(Kind::Cleaned, "cleanup")
        .with("status", status)
        .with("bytes", bytes);
    ledger.note_aside(&[about(run, event)]);
    if let Some(place) = ledger.store {
        // A create that was killed there is nobody's business any more.
        let _ = Log::new(ledger.disk, place, ledger.now_ms).end_of(run);
    }
}

fn clean(
    ledger: &Ledger<'_>,
    runs_dir: &Path,
    request: &Request,
    cancel: &Cancel,
) -> Result<Outcome> {
    let (disk, now_ms) = (ledger.disk, ledger.now_ms);
    check(request)?;
    let mut outcome = Outcome::default();
    let mut names: Vec<String> = Vec::new();
    if let Some(run_id) = &request.run_id {
        RunDir::new(runs_dir, run_id.clone()).check(disk)?;
        names.push(run_id.to_string());
    } else {
        for entry in disk.list(runs_dir).context("read", runs_dir)? {
            let name = entry.name.to_string_lossy().into_owned();
            if entry.kind == EntryKind::Directory {
                if name.starts_with(TRASH) {
                    // A cleanup was killed here.
                    if !request.dry_run
                        && let Err(error) = remove_tree(&runs_dir.join(&entry.name))
                    {
                        outcome.left.push(Left {
                            run_id: name,
                            reason: error.full_message(),
                        });
                    }
                } else {
                    names.push(name);
                }
            }
        }
        names.sort();
    }
    for name in names {
        if let Err(error) = cancel.check() {
            if outcome.cleaned.is_empty() {
                return Err(error);
            }
            // What was dropped was dropped: that is told, not "nothing was changed".
            outcome.left.push(Left {
                run_id: name,
                reason: "the cleanup was aborted".to_owned(),
            });
            break;
        }
        let Ok(run_id) = RunId::parse(&name) else {
            outcome.left.push(Left {
                run_id: name,
                reason: "its name is no run id".to_owned(),
            });
            continue;
        };
        outcome.scanned += 1;
        let run = RunDir::new(runs_dir, run_id);
        match judge(disk, &run, request, now_ms)? {
            Verdict::NotMeant => {}
            Verdict::Leave(reason) => outcome.left.push(Left {
                run_id: name,
                reason,
            }),
            Verdict::Drop { status, age_days } => {
                let bytes = size_of(run.path());
                if !request.dry_run
                    && let Some(reason) = drop_run(disk, &run, request, now_ms)?
                {
                    outcome.left.push(Left {
                        run_id: name,
                        reason,
                    });
                    continue;
                }
                if !request.dry_run {
                    note(ledger, &run, &status, bytes);
                }
                outcome.freed_bytes += bytes;
                outcome.cleaned.push(Cleaned {
                    run_id: name,
                    status,
                    age_days,
                    bytes,
                });
            }
        }
    }
    if let Some(path) = &request.report {
        write_report(disk, path, &report(request, &outcome, now_ms))?;
        outcome.report = Some(path.clone());
    }
    Ok(outcome)
}

fn check(request: &Request) -> Result<()> {
    if !(request.max_age_days.is_finite() && request.max_age_days >= 0.0) {
        return Err(Error::OptionValue {
            name: "maxAgeDays",
            reason: format!("{} is not a number of days from 0 on", request.max_age_days),
        });
    }
    for status in &request.statuses {
        if !STATUSES.contains(&status.as_str()) {
            return Err(Error::OptionValue {
                name: "status",
                reason: format!(
                    "{status:?} can't be cleaned up; allowed are {}",
                    STATUSES.join(", ")
                ),
            });
        }
    }
    Ok(())
}

enum Verdict {
    NotMeant,
    Leave(String),
    Drop { status: String, age_days: f64 },
}

#[allow(
    clippy::cast_precision_loss,
    reason = "milliseconds of a century are exact in a double"
)]
fn judge(disk: &dyn Disk, run: &RunDir, request: &Request, now_ms: i64) -> Result<Verdict> {
    let path = run.run_record();
    let bytes = match disk.read(&path, 64 << 20) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Verdict::Leave("it has no run.json".to_owned()));
        }
        Err(error) => {
            return Ok(Verdict::Leave(format!(
                "its run.json can't be read: {error}"
            )));
        }
    };
    let json = match Json::parse(&bytes, MAX_DEPTH) {
        Ok(json) => json,
        Err(error) => return Ok(Verdict::Leave(format!("its run.json is damaged: {error}"))),
    };
    if let Some(problem) = run_record::problem(json.root(), run.run_id()) {
        return Ok(Verdict::Leave(format!(
            "its run.json is damaged: {problem}"
        )));
    }
    let text = |name| json.root().get(name).and_then(Value::as_str);
    let status = text("status").unwrap_or_default().into_owned();
    if !request.statuses.contains(&status) {
        return Ok(Verdict::NotMeant);
    }
    let updated_ms = text("updated_at")
        .and_then(|instant| from_iso(&instant))
        .or_else(|| disk.metadata(&path).ok().map(|found| found.modified_ms));
    let Some(updated_ms) = updated_ms else {
        return Ok(Verdict::Leave("its age can't be told".to_owned()));
    };
    let age_days = now_ms.saturating_sub(updated_ms) as f64 / DAY_MS;
    if age_days <= request.max_age_days {
        return Ok(Verdict::NotMeant);
    }
    if runner_lock::judge(disk, &run.runner_lock(), now_ms)? == Holder::Live {
        return Ok(Verdict::Leave(
            "its run.json.lock is held by a live process".to_owned(),
        ));
    }
    match lease::look_at(disk, run, now_ms)? {
        Look::Known(known) if known.standing == Standing::Live => {
            let holder = known.lease.holder;
            Ok(Verdict::Leave(format!("its lease is held by {holder}")))
        }
        Look::Damaged { holds: true, .. } => Ok(Verdict::Leave(
            "its lease is damaged, so somebody may hold it".to_owned(),
        )),
        _ => Ok(Verdict::Drop { status, age_days }),
    }
}

/// Moves a run aside and removes it; tells why if it was left.
fn drop_run(
    disk: &dyn Disk,
    run: &RunDir,
    request: &Request,
    now_ms: i64,
) -> Result<Option<String>> {
    // Waymark's own lock, if the run ever had one: nobody creates or restores a checkpoint meanwhile.
    let guard = if run.has_private(disk)? {
        match disk.try_lock(&run.lock(), &format!("{{\"pid\":{}}}", std::process::id())) {
            Ok(Some(guard)) => Some(guard),
            Ok(None) => return Ok(Some("a checkpoint is being taken or restored".to_owned())),
            Err(error) => return Err(Error::io("lock", &run.lock(), error)),
        }
    } else {
        None
    };
    // It may have been resumed since it was judged.
    match judge(disk, run, request, now_ms)? {
        Verdict::Drop { .. } => {}
        Verdict::NotMeant => return Ok(Some("it went on meanwhile".to_owned())),
        Verdict::Leave(reason) => return Ok(Some(reason)),
    }
    let trash = run.runs_dir().join(format!(
        "{TRASH}{}-{}",
        std::process::id(),
        blake3::hash(run.run_id().as_str().as_bytes()).to_hex()
    ));
    // Windows can't move a folder with an open file in it.
    #[cfg(windows)]
    let guard = drop(guard);
    disk.rename(run.path(), &trash)
        .context("remove", run.path())?;
    disk.sync_dir(run.runs_dir())
        .context("sync", run.runs_dir())?;
    drop(guard);
    Ok(remove_tree(&trash).err().map(|error| {
        format!(
            "it was moved to {}, which can't be removed: {}",
            trash.display(),
            error.full_message()
        )
    }))
}

fn remove_tree(path: &Path) -> Result<()> {
    // Does not follow links; std guards it against swapped folders.
    fs::remove_dir_all(path).context("remove", path)
}

/// The bytes of all regular files below a folder; what can't be read counts nothing.
fn size_of(path: &Path) -> u64 {
    WalkDir::new(path)
        .into_iter()
        .filter_map(std::result::Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| entry.metadata().ok())
        .map(|found| found.len())
        .sum()
}

/// The report for people, in Markdown.
fn report(request: &Request, outcome: &Outcome, now_ms: i64) -> String {
    let mode = if request.dry_run { "Dry Run" } else { "Live" };
    let mut text = format!(
        "# Checkpoint Cleanup Report\n\n**Date**: {}\n**Mode**: {mode}\n**Max Age**: {} days\n\n\
         ## Summary\n\n- Runs scanned: {}\n- Runs cleaned: {}\n- Disk space freed: {}\n",
        to_iso(now_ms),
        request.max_age_days,
        outcome.scanned,
        outcome.cleaned.len(),
        size(outcome.freed_bytes),
    );
    text.push_str(if request.dry_run {
        "\n## Runs To Clean\n\n"
    } else {
        "\n## Cleaned Runs\n\n"
    });
    if outcome.cleaned.is_empty() {
        text.push_str("None.\n");
    }
    for (at, run) in outcome.cleaned.iter().enumerate() {
        let (days, bytes) = (run.age_days.floor(), size(run.bytes));
        let line = format!(
            "{}. {} ({}, age: {days} days, size: {bytes})\n",
            at + 1,
            run.run_id,
            run.status
        );
        text.push_str(&line);
    }
    if !outcome.left.is_empty() {
        text.push_str("\n## Left Alone\n\n");
        for left in &outcome.left {
            // A folder's name may hold anything; a report is one line per run.
            let name: String = left
                .run_id
                .chars()
                .filter(|char| !char.is_control())
                .collect();
            let line = format!("- {name}: {}\n", left.reason);
            text.push_str(&line);
        }
    }
    text
}

#[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    for unit in ["KB", "MB", "GB", "TB"] {
        value /= 1024.0;
        if value < 1024.0 || unit == "TB" {
            return format!("{value:.1} {unit}");
        }
    }
    unreachable!("the loop ends at TB")
}

fn write_report(disk: &dyn Disk, path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).context("create", folder)?;
    let staged = path.with_extension(format!("md.tmp.{}", std::process::id()));
    remove(disk, &staged)?;
    Staged::write(disk, staged, text.as_bytes())?.publish_over(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_lies_in_the_context_folder() {
        for (runs, report) in [
            ("/p/.claude/context/runs", "/p/.claude/context/reports"),
            (
                "/p/.claude/context/runtime/runs",
                "/p/.claude/context/reports",
            ),
            ("/data/runs", "/data/reports"),
        ] {
            assert_eq!(
                default_report(Path::new(runs)),
                Path::new(report).join("checkpoint-cleanup-report.md")
            );
        }
    }

    #[test]
    fn sizes_are_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KB"),
            (5 << 20, "5.0 MB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
