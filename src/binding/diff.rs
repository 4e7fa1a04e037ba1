//! Differences for JavaScript. They cross as one JSON text, printed beside the event loop.

use napi::Either;
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;
use serde::Serialize;

use super::convert::{capture, whole};
use super::files::{NodeOut, PathOut, to_json};
use super::job::{Job, now};
use super::types::{CaptureRequest, Place};
use super::{CancelToken, Handle, Pending, Reply, in_project, token};
use crate::error::Result;
use crate::model::diff::{Differs, JsonDiff, Times};
use crate::model::ids::CheckpointId;
use crate::model::manifest::Header;
use crate::model::step::{STEP_MAX, Step};
use crate::ops::diff::{
    Change, Compared, Files, Lines, Outcome, Request, Root, RunFileChange, Text, diff as compare,
};

/// What is compared.
#[napi(object, object_to_js = false)]
pub struct DiffRequest {
    /// The checkpoint before.
    pub from: String,
    /// The checkpoint after; absent for the disk.
    pub to: Option<String>,
    /// How the disk is looked at; absent leaves its files out.
    pub capture: Option<CaptureRequest>,
    /// Whether all files are compared line by line, or those with these paths, in bytes.
    pub text: Either<bool, Vec<Buffer>>,
    /// Larger files are not compared line by line, in bytes.
    pub max_bytes: f64,
    /// How many changes of each JSON value are listed.
    pub limit: f64,
    /// How many changes of files are listed.
    pub file_limit: f64,
    /// Whether files that differ in nothing but their time count.
    pub times: bool,
}

#[derive(Serialize)]
struct DiffOut {
    from: CheckpointOut,
    to: Option<CheckpointOut>,
    state: StateOut,
    files: FilesOut,
    equal: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckpointOut {
    checkpoint_id: String,
    step: StepOut,
    timestamp: String,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum StepOut {
    Whole(i64),
    Number(f64),
    Name(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StateOut {
    run: JsonOut,
    registry: JsonOut,
    step_state: Option<JsonOut>,
    run_files: Vec<RunFileOut>,
}

#[derive(Serialize)]
struct JsonOut {
    changes: Vec<JsonChangeOut>,
    total: usize,
}

#[derive(Serialize)]
struct JsonChangeOut {
    path: String,
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

#[derive(Serialize)]
struct RunFileOut {
    name: String,
    change: &'static str,
    compared: &'static str,
    #[serde(flatten)]
    json: JsonOut,
    #[serde(flatten)]
    text: LinesOut,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LinesOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_text: Option<&'static str>,
}

#[derive(Serialize)]
struct FilesOut {
    compared: bool,
    roots: Vec<RootOut>,
    changes: Vec<ChangeOut>,
    total: u64,
    added: u64,
    removed: u64,
    changed: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RootOut {
    root: String,
    root_path: String,
    before: bool,
    after: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangeOut {
    root: String,
    root_path: String,
    #[serde(flatten)]
    path: PathOut,
    change: &'static str,
    differs: DiffersOut,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<NodeOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<NodeOut>,
    #[serde(flatten)]
    text: LinesOut,
}

#[derive(Serialize)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "any of them can hold together with any other"
)]
pub(super) struct DiffersOut {
    content: bool,
    mode: bool,
    #[serde(rename = "type")]
    kind: bool,
    target: bool,
    time: bool,
    unknown: bool,
}

impl From<Step> for StepOut {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "checked to be a small whole number"
    )]
    fn from(step: Step) -> Self {
        match step {
            Step::Number(number) if number.fract() == 0.0 && number.abs() <= STEP_MAX => {
                Self::Whole(number as i64)
            }
            Step::Number(number) => Self::Number(number),
            Step::Name(name) => Self::Name(name),
        }
    }
}

impl From<Header> for CheckpointOut {
    fn from(header: Header) -> Self {
        Self {
            checkpoint_id: header.checkpoint_id.to_string(),
            step: header.step.into(),
            timestamp: header.timestamp,
        }
    }
}

impl From<JsonDiff> for JsonOut {
    fn from(diff: JsonDiff) -> Self {
        let changes = diff.changes.into_iter().map(|change| JsonChangeOut {
            path: change.path,
            change: change.kind.name(),
            before: change.before,
            after: change.after,
        });
        Self {
            changes: changes.collect(),
            total: diff.total,
        }
    }
}

impl From<Option<Lines>> for LinesOut {
    fn from(lines: Option<Lines>) -> Self {
        let (text, no_text) = match lines {
            Some(Lines::Unified(text)) => (Some(text), None),
            Some(Lines::None(why)) => (None, Some(why)),
            None => (None, None),
        };
        Self { text, no_text }
    }
}

impl From<RunFileChange> for RunFileOut {
    fn from(file: RunFileChange) -> Self {
        let (compared, json) = match file.compared {
            Compared::Json(diff) => ("json", diff),
            Compared::Bytes => ("bytes", JsonDiff::default()),
            Compared::Unknown => ("unknown", JsonDiff::default()),
        };
        Self {
            name: file.name,
            change: file.kind.name(),
            compared,
            json: json.into(),
            text: file.text.into(),
        }
    }
}

impl From<Differs> for DiffersOut {
    fn from(differs: Differs) -> Self {
        Self {
            content: differs.content,
            mode: differs.mode,
            kind: differs.kind,
            target: differs.target,
            time: differs.time,
            unknown: differs.unknown,
        }
    }
}

impl From<Files> for FilesOut {
    fn from(files: Files) -> Self {
        let roots = &files.roots;
        let change = |one: Change| {
            let root = roots.get(one.root);
            ChangeOut {
                root: root.map(|root| root.name.clone()).unwrap_or_default(),
                root_path: root.map(|root| root.path.clone()).unwrap_or_default(),
                path: one.change.path.as_slice().into(),
                change: one.change.kind().name(),
                differs: one.change.differs.into(),
                before: one.change.before.as_ref().map(Into::into),
                after: one.change.after.as_ref().map(Into::into),
                text: one.text.into(),
            }
        };
        Self {
            compared: files.compared,
            changes: files.changes.into_iter().map(change).collect(),
            roots: files.roots.iter().map(RootOut::from).collect(),
            total: files.total,
            added: files.added,
            removed: files.removed,
            changed: files.changed,
        }
    }
}

impl From<&Root> for RootOut {
    fn from(root: &Root) -> Self {
        Self {
            root: root.name.clone(),
            root_path: root.path.clone(),
            before: root.before,
            after: root.after,
        }
    }
}

impl From<Outcome> for DiffOut {
    fn from(outcome: Outcome) -> Self {
        Self {
            equal: outcome.equal(),
            from: outcome.from.into(),
            to: outcome.to.map(Into::into),
            state: StateOut {
                run: outcome.run_record.into(),
                registry: outcome.registry.into(),
                step_state: outcome.step_state.map(Into::into),
                run_files: outcome.run_files.into_iter().map(Into::into).collect(),
            },
            files: outcome.files.into(),
        }
    }
}

fn diff_work(
    place: Place,
    run_id: String,
    request: DiffRequest,
    handle: Handle,
) -> impl FnOnce() -> Result<String> + Send {
    // Buffers stay on JavaScript's thread.
    let text = match request.text {
        Either::A(false) => Text::None,
        Either::A(true) => Text::All,
        Either::B(paths) => Text::Paths(paths.iter().map(|path| path.to_vec()).collect()),
    };
    let DiffRequest {
        from,
        to,
        capture: wanted,
        max_bytes,
        limit,
        file_limit,
        times,
        ..
    } = request;
    move || {
        let count = |name, value| {
            whole(name, value, STEP_MAX).map(|count| usize::try_from(count).unwrap_or(usize::MAX))
        };
        let from = CheckpointId::parse(&from)?;
        let to = to.as_deref().map(CheckpointId::parse).transpose()?;
        let (limit, file_limit) = (count("limit", limit)?, count("fileLimit", file_limit)?);
        let max_bytes = whole("maxBytes", max_bytes, STEP_MAX)?;
        in_project(place, &run_id, &handle, |context, project| {
            let request = Request {
                from,
                to,
                capture: wanted.map(|wanted| capture(wanted, project)).transpose()?,
                text,
                max_bytes,
                limit,
                file_limit,
                times: if times {
                    Times::Reported
                } else {
                    Times::Ignored
                },
            };
            to_json(&DiffOut::from(compare(context, &request)?))
        })
    }
}

/// Compares two checkpoints, or one with the disk; JSON text.
#[napi(ts_return_type = "Failure | string")]
#[must_use]
pub fn diff_sync(place: Place, run_id: String, request: DiffRequest) -> Reply<String> {
    now(diff_work(place, run_id, request, Handle::default()))
}

/// Compares two checkpoints, or one with the disk; JSON text.
#[napi(ts_return_type = "Promise<Failure | string>")]
#[must_use]
pub fn diff(
    place: Place,
    run_id: String,
    request: DiffRequest,
    cancel: Option<&CancelToken>,
) -> Pending<String, String> {
    Job::task(diff_work(place, run_id, request, token(cancel)))
}
