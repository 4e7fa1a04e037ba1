//! Tells what differs between two checkpoints of a run, or between one and the disk.
//!
//! Nothing is written: the disk is looked at as `create` would capture it, with what the stat caches
//! know, but only names and hashes are kept. The run's lock is not taken.
//!
//! *Limits*: the disk is not one moment; what changes while it is looked at may be told as it was or as
//! it is.

mod files;

use std::collections::BTreeMap;

use base64::Engine as _;

use crate::error::{Error, Result};
use crate::model::diff::{self, ChangeKind, FileChange, JsonDiff, TextDiff, Times};
use crate::model::ids::CheckpointId;
use crate::model::json::{Json, MAX_DEPTH, Value};
use crate::model::manifest::{Header, RunFile, Snapshot, opened};
use crate::model::progress::Phase;
use crate::model::registry::Registry;
use crate::ops::Context;
use crate::ops::capture::Capture;
use crate::ops::create::{
    parse_registry, parse_run_record, read_registry, read_run_files, read_run_record, registry_of,
};
use crate::ops::show::{Shown, show};

/// How many lines are shown around a change.
const CONTEXT_LINES: usize = 3;
/// What is compared, and how much of it is told.
#[derive(Debug, Clone)]
pub struct Request {
    /// The checkpoint before.
    pub from: CheckpointId,
    /// The checkpoint after; `None` is the disk as it is now.
    pub to: Option<CheckpointId>,
    /// How the disk is looked at; `None` leaves its files out.
    pub capture: Option<Capture>,
    /// Which files are compared line by line.
    pub text: Text,
    /// Larger files are not compared line by line, in bytes.
    pub max_bytes: u64,
    /// How many changes of each JSON value are listed.
    pub limit: usize,
    /// How many changes of files are listed.
    pub file_limit: usize,
    /// Whether files that differ in nothing but their time count.
    pub times: Times,
}

/// Which files are compared line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Text {
    /// None.
    None,
    /// All that are listed.
    All,
    /// Those with these paths, in whatever root.
    Paths(Vec<Vec<u8>>),
}

/// What differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The checkpoint before.
    pub from: Header,
    /// The checkpoint after; `None` is the disk.
    pub to: Option<Header>,
    /// `run.json`.
    pub run_record: JsonDiff,
    /// The registry, without what Waymark itself enters.
    pub registry: JsonDiff,
    /// The caller's own state; `None` against the disk, where there is none.
    pub step_state: Option<JsonDiff>,
    /// The other JSON files that differ, by name.
    pub run_files: Vec<RunFileChange>,
    /// The captured files.
    pub files: Files,
}

/// Another JSON file that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFileChange {
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub kind: ChangeKind,
    /// How it was compared.
    pub compared: Compared,
    /// Its differences line by line, if asked for and it was not compared as JSON.
    pub text: Option<Lines>,
}

/// How two files were compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Compared {
    /// Value by value.
    Json(JsonDiff),
    /// Byte by byte: not both are JSON, or they differ in their layout alone.
    Bytes,
    /// Not at all: one side could not be captured.
    Unknown,
}

/// How captured files differ.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Files {
    /// False if nothing is known of the files of one side, so that nothing was compared.
    pub compared: bool,
    /// The captured folders, and which sides have them.
    pub roots: Vec<Root>,
    /// The first changes, root by root, by path.
    pub changes: Vec<Change>,
    /// How many paths differ.
    pub total: u64,
    /// How many of them only the side after has.
    pub added: u64,
    /// How many of them only the side before has.
    pub removed: u64,
    /// How many of them both have.
    pub changed: u64,
}

/// A captured folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// `run`, `artifacts` or `workspace`.
    pub name: String,
    /// Where it lies: relative to the project where it lies in it, else absolute.
    pub path: String,
    /// Whether the side before has it.
    pub before: bool,
    /// Whether the side after has it.
    pub after: bool,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which of [`Files::roots`] it lies in.
    pub root: usize,
    /// What differs.
    pub change: FileChange,
    /// Line by line, if asked for.
    pub text: Option<Lines>,
}

/// Differences line by line, or why there are none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lines {
    /// The hunks of a unified diff.
    Unified(String),
    /// Why not: `binary`, `too_large`, `secret`, `not_files` or `changing`.
    None(&'static str),
}

impl Outcome {
    /// True if nothing differs of what was compared.
    #[must_use]
    pub fn equal(&self) -> bool {
        let state = self.step_state.as_ref().map_or(0, |diff| diff.total);
        self.run_record.total + self.registry.total + state == 0
            && self.run_files.is_empty()
            && self.files.total == 0
    }
}

/// Compares.
pub fn diff(context: &Context<'_>, request: &Request) -> Result<Outcome> {
    context.cancel.check()?;
    context.progress.enter(Phase::Scanning);
    let from = Side::checkpoint(context, &request.from)?;
    let to = match &request.to {
        Some(id) => Side::checkpoint(context, id)?,
        None => Side::disk(context)?,
    };
    context.cancel.check()?;
    let limit = request.limit;
    let json = [from.parse(context)?, to.parse(context)?];
    let [before, after] = &json;
    let run_record = diff::json(before.root_of(RECORD), after.root_of(RECORD), limit);
    context.cancel.check()?;
    let registry = diff::json(before.root_of(REGISTRY), after.root_of(REGISTRY), limit);
    context.cancel.check()?;
    let step_state = request
        .to
        .is_some()
        .then(|| diff::json(before.root_of(STATE), after.root_of(STATE), limit));
    let run_files = run_files(context, request, &from.run_files, &to.run_files)?;
    let files = files::files(context, request, &from, &to, before, after)?;
    let header = |side: Side| side.shown.map(|shown| shown.header);
    Ok(Outcome {
        to: header(to),
        from: header(from).ok_or_else(|| Error::Internal {
            message: "a checkpoint without a header was compared".to_owned(),
        })?,
        run_record,
        registry,
        step_state,
        run_files,
        files,
    })
}

const RECORD: usize = 0;
const REGISTRY: usize = 1;
const STATE: usize = 2;

/// One side, as JSON texts.
struct Side {
    /// `None` for the disk.
    shown: Option<Shown>,
    /// `run.json`, the registry, the step state; `None` where there is none.
    texts: [Option<Vec<u8>>; 3],
    run_files: BTreeMap<String, RunFile>,
    /// On the disk: whether the run's folder holds what only a capture keeps.
    has_others: bool,
}

/// The parsed texts of a side.
struct Parsed<'a>([Option<Json<'a>>; 3]);

impl Parsed<'_> {
    fn root_of(&self, which: usize) -> Option<Value<'_>> {
        self.0[which].as_ref().map(Json::root)
    }
}

impl Side {
    fn checkpoint(context: &Context<'_>, id: &CheckpointId) -> Result<Self> {
        let shown = show(context, id)?;
        let damaged = |damage| Error::CheckpointDamaged {
            run_id: context.run.run_id().to_string(),
            checkpoint_id: id.to_string(),
            path: shown.path.clone(),
            damage,
        };
        let json =
            Json::parse(&shown.manifest, MAX_DEPTH).map_err(|error| damaged(error.into()))?;
        let compact = |value: Value<'_>| {
            let mut text = Vec::new();
            value.write_compact(&mut text);
            text
        };
        let opened = opened(&json, shown.header.clone());
        let texts = [
            Some(compact(opened.run_record().map_err(damaged)?)),
            Some(without_own(opened.registry().map_err(damaged)?)),
            json.root().get("step_state").map(compact),
        ];
        let run_files = opened.run_files().map_err(damaged)?.into_iter().collect();
        drop(opened);
        drop(json);
        Ok(Self {
            texts,
            run_files,
            has_others: false,
            shown: Some(shown),
        })
    }

    fn disk(context: &Context<'_>) -> Result<Self> {
        let record = match read_run_record(context) {
            Ok(bytes) => {
                parse_run_record(context, &bytes)?;
                Some(bytes)
            }
            Err(Error::RunRecordMissing { .. }) => None,
            Err(error) => return Err(error),
        };
        let registry = match read_registry(context)? {
            Some(bytes) => {
                let json = parse_registry(context, &bytes)?;
                Some(without_own(registry_of(context, &json)?))
            }
            None => None,
        };
        let found = read_run_files(context)?;
        Ok(Self {
            shown: None,
            texts: [record, registry, None],
            run_files: found.files.into_iter().collect(),
            has_others: found.has_others,
        })
    }

    fn parse(&self, context: &Context<'_>) -> Result<Parsed<'_>> {
        let mut parsed = [None, None, None];
        for (text, json) in self.texts.iter().zip(&mut parsed) {
            context.cancel.check()?;
            if let Some(text) = text {
                // They were parsed before, one level deeper at most.
                *json = Some(
                    Json::parse(text, MAX_DEPTH).map_err(|error| Error::Internal {
                        message: format!("JSON that was printed here can't be read: {error}"),
                    })?,
                );
            }
        }
        Ok(Parsed(parsed))
    }

    fn snapshot(&self) -> Option<&Snapshot> {
        self.shown.as_ref()?.header.snapshot.as_ref()
    }

    fn run_files(&self) -> Vec<(String, RunFile)> {
        let files = self.run_files.iter();
        files
            .map(|(name, file)| (name.clone(), file.clone()))
            .collect()
    }
}

/// A registry without the entries of checkpoints and its time: those change with every checkpoint.
fn without_own(registry: Registry<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    let edited = registry.edited(&|_| true, &[], Some(""));
    edited.write_compact(&mut text);
    text
}

fn run_files(
    context: &Context<'_>,
    request: &Request,
    from: &BTreeMap<String, RunFile>,
    to: &BTreeMap<String, RunFile>,
) -> Result<Vec<RunFileChange>> {
    let mut names: Vec<&String> = from.keys().chain(to.keys()).collect();
    names.sort();
    names.dedup();
    let mut changes = Vec::new();
    for name in names {
        context.cancel.check()?;
        let (before, after) = (from.get(name), to.get(name));
        if before == after {
            continue;
        }
        let kind = ChangeKind::of(before, after);
        let bytes = [before, after].map(|file| file.map_or(Some(Vec::new()), bytes_of));
        let compared = match &bytes {
            [Some(one), Some(other)] if kind == ChangeKind::Changed => {
                compare(one, other, request.limit)
            }
            [Some(_), Some(_)] => Compared::Bytes,
            _ => Compared::Unknown,
        };
        let wanted = request.text.wants(name.as_bytes());
        let text = match (&compared, &bytes) {
            (Compared::Bytes, [Some(one), Some(other)]) if wanted => {
                Some(lines(one, other, request.max_bytes))
            }
            _ => None,
        };
        changes.push(RunFileChange {
            name: name.clone(),
            kind,
            compared,
            text,
        });
    }
    Ok(changes)
}

/// The bytes of a file that was captured.
fn bytes_of(file: &RunFile) -> Option<Vec<u8>> {
    match file {
        RunFile::Text(text) => Some(text.clone().into_bytes()),
        RunFile::Base64(text) => base64::engine::general_purpose::STANDARD.decode(text).ok(),
        RunFile::Skipped { .. } => None,
    }
}

fn compare(before: &[u8], after: &[u8], limit: usize) -> Compared {
    let (Ok(before), Ok(after)) = (
        Json::parse(before, MAX_DEPTH),
        Json::parse(after, MAX_DEPTH),
    ) else {
        return Compared::Bytes;
    };
    let found = diff::json(Some(before.root()), Some(after.root()), limit);
    if found.total == 0 {
        Compared::Bytes
    } else {
        Compared::Json(found)
    }
}

fn lines(before: &[u8], after: &[u8], max_bytes: u64) -> Lines {
    let max = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    match diff::text(before, after, CONTEXT_LINES, max) {
        TextDiff::Unified(text) => Lines::Unified(text),
        TextDiff::Binary => Lines::None("binary"),
        TextDiff::TooLarge => Lines::None("too_large"),
    }
}

impl Text {
    fn wants(&self, path: &[u8]) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Paths(paths) => paths.iter().any(|one| one == path),
        }
    }
}
