//! The manifest: one checkpoint as readable, self-checking JSON.
//!
//! The exact layout is in `docs/format.md`. A manifest is `JSON.stringify(object, null, 2)` with
//! `metadata` as its last member. Two sums protect it:
//!
//! - `metadata.checksum`: SHA-256 over the compact JSON of everything but `metadata`. The rule of
//!   the runner's tools; it holds however the file is formatted.
//! - `metadata.seal`: BLAKE3 over the file's bytes before `metadata`, then the checksum and the
//!   version. It tells at the speed of reading that the bytes are those Waymark wrote, so that
//!   listing a run with large checkpoints need neither parse nor recompute SHA-256. A file without
//!   a fitting seal is judged by its checksum alone.
//!
//! *Invariants*: fields are never reordered or renamed within a format; unknown fields are kept.

mod objects;
mod reading;
mod references;

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::model::facts::Facts;
use crate::model::ids::{CheckpointId, RunId};
use crate::model::json::{Blocks, Tree, Value};
use crate::model::registry::{Registry, Survey};
use crate::model::step::Step;
use crate::model::time::to_iso;

pub use objects::{PROBLEMS_MAX, Problem, STATE_MEMBERS, Snapshot, SnapshotRoot, StateObject};
pub use reading::{Check, Header, Opened, inspect, newest_first, opened, sort_newest_first};
pub use references::references;

/// The manifest format that this version writes.
pub const FORMAT: u32 = 1;
/// Who made the manifest, as the runner's tools expect it.
pub const CREATED_BY: &str = "checkpoint-manager";
/// The largest manifest, in bytes (1 GiB).
pub const MANIFEST_MAX: u64 = 1 << 30;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const METADATA: &[u8] = b",\n  \"metadata\": {\n";
const RUN_RECORD: &[u8] = b",\n  \"run_record\": ";
const STATE_OBJECTS: &[u8] = b",\n  \"state_objects\": {";

/// Another file from the top of a run's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunFile {
    /// Its text.
    Text(String),
    /// Its bytes, where they are no UTF-8.
    Base64(String),
    /// Not captured; a restore leaves it alone.
    Skipped {
        /// Why: `not_regular`, `too_large`, `unreadable`.
        reason: String,
        /// Its size in bytes.
        size: u64,
    },
}

/// What a new manifest is made of.
#[derive(Debug, Clone)]
pub struct Content<'a> {
    /// The checkpoint's id.
    pub checkpoint_id: &'a CheckpointId,
    /// The run it belongs to.
    pub run_id: &'a RunId,
    /// The workflow, as the run's record names it.
    pub workflow_id: Option<Value<'a>>,
    /// The step that was done.
    pub step: &'a Step,
    /// The creation time, in milliseconds since 1970.
    pub created_ms: i64,
    /// `run.json`.
    pub run_record: Value<'a>,
    /// `artifact-registry.json`, before this checkpoint is entered.
    pub registry: Registry<'a>,
    /// What the registry holds.
    pub survey: &'a Survey<'a>,
    /// The caller's own state.
    pub step_state: Value<'a>,
    /// Other JSON files at the top of the run's folder.
    pub run_files: &'a [(String, RunFile)],
    /// The members that lie in the store.
    pub state_objects: &'a [StateObject],
    /// The captured files.
    pub snapshot: Option<&'a Snapshot>,
    /// What is said of it, and the same as parsed JSON; `None` if that is nothing.
    pub facts: Option<(&'a Facts, Value<'a>)>,
    /// The fingerprint of its environment; `None` if the caller gave none.
    pub environment: Option<Value<'a>>,
    /// The place of this checkpoint in the run's history, from 1.
    pub sequence: u64,
    /// The checkpoint that the run's state descends from.
    pub parent: Option<&'a CheckpointId>,
}

/// The members of a manifest before its `metadata`.
#[derive(Debug)]
pub struct Members<'a>(Tree<'a>);

impl<'a> Content<'a> {
    /// Lays out the manifest.
    #[must_use]
    pub fn members(&'a self) -> Members<'a> {
        let validation = self.survey.validation;
        let stored = |member: &str| self.state_objects.iter().any(|one| one.member == member);
        let inline = |member: &str, tree: Tree<'a>| {
            if stored(member) { Tree::Null } else { tree }
        };
        let names = || {
            Tree::Array(
                self.survey
                    .names
                    .iter()
                    .map(|name| Tree::Value(*name))
                    .collect(),
            )
        };
        let mut members = vec![
            ("checkpoint_id", Tree::from(self.checkpoint_id.as_str())),
            ("run_id", Tree::from(self.run_id.as_str())),
            (
                "workflow_id",
                self.workflow_id.map_or(Tree::Null, Tree::Value),
            ),
            ("step", self.step.to_json()),
            ("timestamp", Tree::from(to_iso(self.created_ms))),
            (
                "run_record",
                inline("run_record", Tree::Value(self.run_record)),
            ),
            (
                "artifact_registry",
                inline("artifact_registry", Tree::Value(self.registry.value())),
            ),
            (
                "step_state",
                inline("step_state", Tree::Value(self.step_state)),
            ),
            // They stand in the registry.
            (
                "artifacts_at_checkpoint",
                if stored("artifact_registry") {
                    Tree::Null
                } else {
                    names()
                },
            ),
            (
                "validation_summary",
                Tree::object([
                    ("total_artifacts", Tree::count(validation.total)),
                    ("validated_artifacts", Tree::count(validation.validated)),
                    ("failed_validations", Tree::count(validation.failed)),
                ]),
            ),
            ("recovery_instructions", Tree::Array(self.instructions())),
            (
                "run_files",
                inline("run_files", run_files_tree(self.run_files)),
            ),
            (
                "state_objects",
                objects::state_objects_tree(self.state_objects),
            ),
            (
                "snapshot",
                self.snapshot.map_or(Tree::Null, Snapshot::to_tree),
            ),
        ];
        // Only where something is said: most manifests stay as short as they were.
        if let Some((_, facts)) = self.facts {
            members.push(("facts", Tree::Value(facts)));
        }
        if let Some(environment) = self.environment {
            members.push(("environment", Tree::Value(environment)));
        }
        members.push((
            "waymark",
            Tree::object([
                ("format", Tree::count(u64::from(FORMAT))),
                ("sequence", Tree::count(self.sequence)),
                (
                    "parent_checkpoint_id",
                    self.parent.map_or(Tree::Null, |id| Tree::from(id.as_str())),
                ),
            ]),
        ));
        Members(Tree::object(members))
    }

    /// The header that a reader will find.
    #[must_use]
    pub fn header(&self, checksum: String) -> Header {
        Header {
            checkpoint_id: self.checkpoint_id.clone(),
            workflow_id: self
                .workflow_id
                .and_then(|id| id.as_str().map(Cow::into_owned)),
            step: self.step.clone(),
            timestamp: to_iso(self.created_ms),
            created_ms: self.created_ms,
            sequence: Some(self.sequence),
            parent: self.parent.map(ToString::to_string),
            checksum,
            state_objects: self.state_objects.to_vec(),
            snapshot: self.snapshot.cloned(),
            facts: self.facts.map(|(facts, _)| facts.clone()),
            environment: self.environment.map(reading::compact),
        }
    }

    fn instructions(&self) -> Vec<Tree<'static>> {
        let (run, id, step) = (self.run_id, self.checkpoint_id, self.step);
        [
            format!("This checkpoint was taken after step {step} of run {run} was done."),
            format!("To put its state back: waymark restore {run} {id}"),
            format!("To restore and go on with the step after {step}: waymark resume {run} --checkpoint {id} -- <command of the runner>"),
            format!("To check it first without changing anything: waymark verify {run} {id}"),
        ]
        .map(Tree::from)
        .into()
    }
}

/// The other JSON files as a manifest has them.
#[must_use]
pub fn run_files_tree(files: &[(String, RunFile)]) -> Tree<'_> {
    Tree::object(files.iter().map(|(name, file)| {
        let file = match file {
            RunFile::Text(text) => Tree::object([("text", Tree::from(text.as_str()))]),
            RunFile::Base64(text) => Tree::object([("base64", Tree::from(text.as_str()))]),
            RunFile::Skipped { reason, size } => Tree::object([
                ("skipped", Tree::from(reason.as_str())),
                ("size", Tree::count(*size)),
            ]),
        };
        (name.as_str(), file)
    }))
}

impl Members<'_> {
    /// Prints them as they lie on the disk, block by block.
    #[must_use]
    pub fn print(&self, mut take: impl FnMut(&[u8])) -> Printed {
        let mut printed = Printed {
            seal: blake3::Hasher::new(),
            len: 0,
        };
        let mut out = Blocks::new(|block| {
            printed.seal.update(block);
            printed.len += block.len() as u64;
            take(block);
        });
        self.0.write_pretty_open(&mut out);
        out.finish();
        printed
    }

    /// The checksum by the runner's rule.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut hasher = Sha256::new();
        let mut out = Blocks::new(|block| hasher.update(block));
        self.0.write_compact(&mut out);
        out.finish();
        hex(&hasher.finalize())
    }
}

/// What is known of a printed manifest that still lacks its `metadata`.
#[derive(Debug)]
pub struct Printed {
    seal: blake3::Hasher,
    len: u64,
}

impl Printed {
    /// The size of the whole file in bytes.
    #[must_use]
    pub fn file_size(&self) -> u64 {
        let sum = "0".repeat(64);
        self.len + tail(&sum, VERSION, &sum).len() as u64
    }

    /// What follows: the `metadata`.
    #[must_use]
    pub fn tail(self, checksum: &str) -> Vec<u8> {
        tail(checksum, VERSION, &sealed(self.seal, checksum, VERSION))
    }
}

fn tail(checksum: &str, version: &str, seal: &str) -> Vec<u8> {
    let mut out = METADATA.to_vec();
    out.extend_from_slice(b"    \"checksum\": \"");
    out.extend_from_slice(checksum.as_bytes());
    out.extend_from_slice(b"\",\n    \"created_by\": \"");
    out.extend_from_slice(CREATED_BY.as_bytes());
    out.extend_from_slice(b"\",\n    \"version\": \"");
    out.extend_from_slice(version.as_bytes());
    out.extend_from_slice(b"\",\n    \"seal\": \"");
    out.extend_from_slice(seal.as_bytes());
    out.extend_from_slice(b"\"\n  }\n}");
    out
}

fn sealed(mut body: blake3::Hasher, checksum: &str, version: &str) -> String {
    body.update(checksum.as_bytes())
        .update(b"\n")
        .update(version.as_bytes());
    body.finalize().to_hex().to_string()
}

fn seal(body: &[u8], checksum: &str, version: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(body);
    sealed(hasher, checksum, version)
}

/// The SHA-256 of some bytes, as hex digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

/// True for the files at the top of a run's folder that a checkpoint carries besides `run.json`
/// and the registry: other `*.json` files. `project-db.json` is derived from those two, and its
/// readers derive it again after a restore.
#[must_use]
pub fn is_run_file(name: &str) -> bool {
    let reserved = ["run.json", "artifact-registry.json", "project-db.json"];
    // The runner writes lower-case endings only.
    name.strip_suffix(".json").is_some()
        && !reserved
            .iter()
            .any(|reserved| name.eq_ignore_ascii_case(reserved))
        && crate::model::ids::component_problem(name, 255).is_none()
        && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::reading::sealed_header;
    use super::*;
    use crate::model::damage::Damage;
    use crate::model::json::{Json, MAX_DEPTH};

    fn manifest(step_state: &str) -> Vec<u8> {
        let run_id = RunId::parse("r").expect("valid");
        let id = CheckpointId::parse("c").expect("valid");
        let record = Json::parse(br#"{"run_id":"r","status":"x"}"#, 9).expect("valid");
        let registry = Json::parse(br#"{"artifacts":{"7":{}}}"#, 9).expect("valid");
        let state = Json::parse(step_state.as_bytes(), MAX_DEPTH).expect("valid");
        let registry = Registry::new(registry.root()).expect("registry");
        let environment = Json::parse(br#"{"git":{"head":"1","metadata":{}}}"#, 9).expect("valid");
        let content = Content {
            checkpoint_id: &id,
            run_id: &run_id,
            workflow_id: None,
            step: &Step::Number(1.5),
            created_ms: 1,
            run_record: record.root(),
            registry,
            survey: &registry.survey(),
            step_state: state.root(),
            run_files: &[("state.json".to_owned(), RunFile::Text("{}\n".to_owned()))],
            state_objects: &[],
            snapshot: None,
            facts: None,
            environment: Some(environment.root()),
            sequence: 3,
            parent: None,
        };
        let members = content.members();
        let mut file = Vec::new();
        let printed = members.print(|block| file.extend_from_slice(block));
        let size = printed.file_size();
        file.extend_from_slice(&printed.tail(&members.checksum()));
        assert_eq!(size, file.len() as u64);
        file
    }

    fn look(bytes: &[u8], check: Check) -> std::result::Result<Header, Damage> {
        inspect(bytes, "c", &RunId::parse("r").expect("valid"), check)
    }

    #[test]
    fn seal_and_checksum_give_the_same_header() {
        let bytes = manifest(r#"{"a":"\n  \"metadata\": {\n"}"#);
        assert!(sealed_header(&bytes).is_some());
        let header = look(&bytes, Check::Seal).expect("good");
        assert_eq!(header, look(&bytes, Check::Checksum).expect("good"));
        assert_eq!(header.sequence, Some(3));
        assert_eq!(header.step, Step::Number(1.5));
        let environment = r#"{"git":{"head":"1","metadata":{}}}"#;
        assert_eq!(header.environment.as_deref(), Some(environment));
    }

    #[test]
    fn every_changed_byte_is_found_or_harmless() {
        let bytes = manifest(r#"{"a":1}"#);
        let good = look(&bytes, Check::Checksum).expect("good");
        for at in 0..bytes.len() {
            for flip in [1, 2, 0x20, 0x80] {
                let mut altered = bytes.clone();
                altered[at] ^= flip;
                for check in [Check::Seal, Check::Checksum] {
                    if let Ok(header) = look(&altered, check) {
                        assert_eq!(header, good, "byte {at} ^ {flip:#x}");
                    }
                }
            }
        }
        for cut in 0..bytes.len() {
            assert!(look(&bytes[..cut], Check::Seal).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn reformatted_files_still_verify() {
        let bytes = manifest(r#"{"a":[1e21,-0,"\ud800"]}"#);
        let json = Json::parse(&bytes, MAX_DEPTH).expect("valid");
        let mut compact = Vec::new();
        json.root().write_compact(&mut compact);
        assert!(sealed_header(&compact).is_none());
        look(&compact, Check::Seal).expect("the checksum holds");
    }

    #[test]
    fn foreign_files_are_named() {
        let bytes = manifest("null");
        let other = RunId::parse("s").expect("valid");
        let kind = |result: std::result::Result<Header, Damage>| {
            result.map_or_else(|damage| damage.kind(), |_| "good")
        };
        assert_eq!(kind(inspect(&bytes, "c", &other, Check::Seal)), "other_run");
        let run = RunId::parse("r").expect("valid");
        assert_eq!(kind(inspect(&bytes, "d", &run, Check::Seal)), "id_mismatch");
        assert_eq!(kind(look(b"{}", Check::Seal)), "not_checkpoint");
        assert_eq!(kind(look(b"[]", Check::Seal)), "not_checkpoint");
        assert_eq!(kind(look(b"", Check::Seal)), "empty");
        assert_eq!(kind(look(b"\x00\x01", Check::Seal)), "not_json");
        assert_eq!(
            kind(look(br#"{"checkpoint_id":"c"}"#, Check::Seal)),
            "checksum_missing"
        );
    }

    #[test]
    fn history_is_ordered_by_creation() {
        let header = |id: &str, sequence, created_ms| Header {
            checkpoint_id: CheckpointId::parse(id).expect("valid"),
            workflow_id: None,
            step: Step::Number(0.0),
            timestamp: String::new(),
            created_ms,
            sequence,
            parent: None,
            checksum: String::new(),
            state_objects: Vec::new(),
            snapshot: None,
            facts: None,
            environment: None,
        };
        let mut items = vec![
            header("old-1", None, 10),
            header("b", Some(2), 30),
            header("a", Some(1), 30),
            header("between", None, 30),
            header("c", Some(3), 20),
            header("newest", None, 40),
        ];
        sort_newest_first(&mut items, |item| item);
        let ids: Vec<&str> = items
            .iter()
            .map(|item| item.checkpoint_id.as_str())
            .collect();
        assert_eq!(ids, ["newest", "between", "c", "b", "a", "old-1"]);
    }

    #[test]
    fn run_files_are_other_json_files() {
        for name in ["state.json", "handoff-1.json", "x.json"] {
            assert!(is_run_file(name), "{name}");
        }
        for name in [
            "run.json",
            "Run.json",
            "artifact-registry.json",
            "project-db.json",
            "a.md",
            "../x.json",
            "a/b.json",
            "con.json",
            "run.json.lock",
            "x\n.json",
        ] {
            assert!(!is_run_file(name), "{name}");
        }
    }
}
