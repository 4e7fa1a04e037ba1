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

use sha2::{Digest, Sha256};

use crate::model::damage::Damage;
use crate::model::ids::{CheckpointId, RunId};
use crate::model::json::{Json, Kind, MAX_DEPTH, Tree, Value};
use crate::model::registry::Registry;
use crate::model::step::Step;
use crate::model::time::{from_iso, to_iso};

/// The manifest format that this version writes.
pub const FORMAT: u32 = 1;
/// Who made the manifest, as the runner's tools expect it.
pub const CREATED_BY: &str = "checkpoint-manager";
/// The largest manifest, in bytes (1 GiB).
pub const MANIFEST_MAX: u64 = 1 << 30;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const METADATA: &[u8] = b",\n  \"metadata\": {\n";
const RUN_RECORD: &[u8] = b",\n  \"run_record\": ";
const WAYMARK: &[u8] = b",\n  \"waymark\": {\n";

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
    /// The caller's own state.
    pub step_state: Value<'a>,
    /// Other JSON files at the top of the run's folder.
    pub run_files: &'a [(String, RunFile)],
    /// The place of this checkpoint in the run's history, from 1.
    pub sequence: u64,
    /// The checkpoint that the run's state descends from.
    pub parent: Option<&'a CheckpointId>,
}

/// A manifest without its `metadata`.
#[derive(Debug)]
pub struct Draft<'a> {
    tree: Tree<'a>,
    body: Vec<u8>,
}

impl Content<'_> {
    /// Lays out the manifest.
    #[must_use]
    pub fn draft(&self) -> Draft<'_> {
        let validation = self.registry.validation();
        let tree = Tree::object([
            ("checkpoint_id", Tree::from(self.checkpoint_id.as_str())),
            ("run_id", Tree::from(self.run_id.as_str())),
            (
                "workflow_id",
                self.workflow_id.map_or(Tree::Null, Tree::Value),
            ),
            ("step", self.step.to_json()),
            ("timestamp", Tree::from(to_iso(self.created_ms))),
            ("run_record", Tree::Value(self.run_record)),
            ("artifact_registry", Tree::Value(self.registry.value())),
            ("step_state", Tree::Value(self.step_state)),
            (
                "artifacts_at_checkpoint",
                Tree::Array(self.registry.names()),
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
            ("run_files", run_files_tree(self.run_files)),
            (
                "waymark",
                Tree::object([
                    ("format", Tree::count(u64::from(FORMAT))),
                    ("sequence", Tree::count(self.sequence)),
                    (
                        "parent_checkpoint_id",
                        self.parent.map_or(Tree::Null, |id| Tree::from(id.as_str())),
                    ),
                ]),
            ),
        ]);
        let mut body = tree.to_pretty();
        // Without its closing "\n}": metadata follows.
        body.truncate(body.len() - 2);
        Draft { tree, body }
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

fn run_files_tree(files: &[(String, RunFile)]) -> Tree<'_> {
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

impl Draft<'_> {
    /// The bytes of the file before its `metadata`.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The size of the whole file in bytes.
    #[must_use]
    pub fn file_size(&self) -> u64 {
        let sum = "0".repeat(64);
        (self.body.len() + tail(&sum, VERSION, &sum).len()) as u64
    }

    /// The checksum by the runner's rule.
    #[must_use]
    pub fn checksum(&self) -> String {
        let mut compact = Vec::with_capacity(self.body.len());
        self.tree.write_compact(&mut compact);
        hex(&Sha256::digest(&compact))
    }

    /// What follows the body: the `metadata`.
    #[must_use]
    pub fn tail(&self, checksum: &str) -> Vec<u8> {
        tail(checksum, VERSION, &seal(&self.body, checksum, VERSION))
    }

    /// The body alone, without the values it was made from.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        self.body
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

fn seal(body: &[u8], checksum: &str, version: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(body)
        .update(checksum.as_bytes())
        .update(b"\n")
        .update(version.as_bytes());
    hasher.finalize().to_hex().to_string()
}

fn hex(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

/// What is known of a checkpoint without its content.
#[derive(Debug, Clone, PartialEq)]
pub struct Header {
    /// The checkpoint's id.
    pub checkpoint_id: CheckpointId,
    /// The workflow of the run.
    pub workflow_id: Option<String>,
    /// The step that was done.
    pub step: Step,
    /// The creation time as it stands in the file.
    pub timestamp: String,
    /// The creation time in milliseconds since 1970; 0 where the file's can't be read.
    pub created_ms: i64,
    /// Its place in the run's history; `None` for manifests of the old manager.
    pub sequence: Option<u64>,
    /// The checkpoint that the run's state descends from.
    pub parent: Option<String>,
    /// The checksum by the runner's rule.
    pub checksum: String,
}

/// How thoroughly a manifest is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// A fitting seal is enough.
    Seal,
    /// The checksum is computed in any case.
    Checksum,
}

/// Checks the bytes of `checkpoints/<name>.json` of `run_id` and reads their header.
pub fn inspect(
    bytes: &[u8],
    name: &str,
    run_id: &RunId,
    check: Check,
) -> std::result::Result<Header, Damage> {
    let sealed = if check == Check::Seal {
        sealed_header(bytes)
    } else {
        None
    };
    let raw = match sealed {
        Some(raw) => raw,
        None => checked(Json::parse(bytes, MAX_DEPTH)?.root())?,
    };
    raw.into_header(name, run_id)
}

/// A manifest that was parsed and checked, with its values at hand.
#[derive(Debug, Clone)]
pub struct Opened<'a> {
    root: Value<'a>,
    /// What is known without the content.
    pub header: Header,
}

/// Checks a parsed manifest fully and gives access to its content.
pub fn open<'a>(
    json: &'a Json<'a>,
    name: &str,
    run_id: &RunId,
) -> std::result::Result<Opened<'a>, Damage> {
    let header = checked(json.root())?.into_header(name, run_id)?;
    Ok(Opened {
        root: json.root(),
        header,
    })
}

impl<'a> Opened<'a> {
    fn member(&self, name: &'static str) -> std::result::Result<Value<'a>, Damage> {
        self.root
            .get(name)
            .ok_or(Damage::NotCheckpoint("a member is missing"))
    }

    /// `run.json` at the checkpoint.
    pub fn run_record(&self) -> std::result::Result<Value<'a>, Damage> {
        self.member("run_record")
    }

    /// The registry at the checkpoint.
    pub fn registry(&self) -> std::result::Result<Registry<'a>, Damage> {
        Registry::new(self.member("artifact_registry")?)
            .map_err(|_| Damage::NotCheckpoint("artifact_registry is no registry"))
    }

    /// The four strings that tell a person how to go on.
    #[must_use]
    pub fn recovery_instructions(&self) -> Vec<String> {
        self.root
            .get("recovery_instructions")
            .into_iter()
            .flat_map(Value::items)
            .filter_map(|line| line.as_str().map(std::borrow::Cow::into_owned))
            .collect()
    }

    /// The other files at the top of the run's folder. Names that can't be files there are an
    /// error: the manifest would write somewhere else.
    pub fn run_files(&self) -> std::result::Result<Vec<(String, RunFile)>, Damage> {
        let mut files = Vec::new();
        for (name, file) in self
            .root
            .get("run_files")
            .into_iter()
            .flat_map(Value::entries)
        {
            let name = name.as_str().unwrap_or_default().into_owned();
            if !is_run_file(&name) {
                return Err(Damage::NotCheckpoint(
                    "a run file has a name that is not allowed",
                ));
            }
            let member = |key| file.get(key).and_then(Value::as_str);
            let file = if let Some(text) = member("text") {
                RunFile::Text(text.into_owned())
            } else if let Some(text) = member("base64") {
                RunFile::Base64(text.into_owned())
            } else if let Some(reason) = member("skipped") {
                let size = file.get("size").and_then(Value::as_f64).unwrap_or(0.0);
                RunFile::Skipped {
                    reason: reason.into_owned(),
                    size: size_of(size),
                }
            } else {
                return Err(Damage::NotCheckpoint("a run file has no content"));
            };
            files.push((name, file));
        }
        Ok(files)
    }
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

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size or a count; anything else becomes 0"
)]
fn size_of(value: f64) -> u64 {
    if (0.0..=crate::model::step::STEP_MAX).contains(&value) {
        value as u64
    } else {
        0
    }
}

/// A header as the file has it, before it is held against the file's name and run.
struct RawHeader {
    checkpoint_id: String,
    run_id: String,
    workflow_id: Option<String>,
    step: Step,
    timestamp: String,
    sequence: Option<u64>,
    parent: Option<String>,
    checksum: String,
    format: Option<f64>,
}

impl RawHeader {
    fn into_header(self, name: &str, run_id: &RunId) -> std::result::Result<Header, Damage> {
        if let Some(format) = self.format
            && format > f64::from(FORMAT)
        {
            return Err(Damage::NewerFormat(format.to_string()));
        }
        if self.run_id != run_id.as_str() {
            return Err(Damage::OtherRun(crate::model::ids::shorten(&self.run_id)));
        }
        if self.checkpoint_id != name {
            return Err(Damage::IdMismatch(crate::model::ids::shorten(
                &self.checkpoint_id,
            )));
        }
        let checkpoint_id = CheckpointId::parse(&self.checkpoint_id)
            .map_err(|_| Damage::NotCheckpoint("its id is not usable"))?;
        Ok(Header {
            checkpoint_id,
            workflow_id: self.workflow_id,
            step: self.step,
            created_ms: from_iso(&self.timestamp).unwrap_or(0),
            timestamp: self.timestamp,
            sequence: self.sequence,
            parent: self.parent,
            checksum: self.checksum,
        })
    }
}

fn text(value: Option<Value<'_>>) -> Option<String> {
    value
        .and_then(Value::as_str)
        .map(std::borrow::Cow::into_owned)
}

/// Reads the header's members: the first ones from `head`, Waymark's own from `own`.
fn raw_header(
    head: Value<'_>,
    own: Option<Value<'_>>,
    checksum: String,
) -> std::result::Result<RawHeader, Damage> {
    let own = |name| own.and_then(|own| own.get(name));
    Ok(RawHeader {
        checkpoint_id: text(head.get("checkpoint_id"))
            .ok_or(Damage::NotCheckpoint("it has no checkpoint_id"))?,
        run_id: text(head.get("run_id")).ok_or(Damage::NotCheckpoint("it has no run_id"))?,
        workflow_id: text(head.get("workflow_id")),
        step: head
            .get("step")
            .and_then(Step::from_json)
            .ok_or(Damage::NotCheckpoint("it has no step"))?,
        timestamp: text(head.get("timestamp")).unwrap_or_default(),
        sequence: own("sequence")
            .and_then(Value::as_f64)
            .map(size_of)
            .filter(|&at| at > 0),
        parent: text(own("parent_checkpoint_id")),
        checksum,
        format: own("format").and_then(Value::as_f64),
    })
}

/// Checks the checksum of a parsed manifest, and that what a restore needs is there.
fn checked(root: Value<'_>) -> std::result::Result<RawHeader, Damage> {
    if !root.is_object() {
        return Err(Damage::NotCheckpoint("it is not a JSON object"));
    }
    if root.get("checkpoint_id").is_none() {
        return Err(Damage::NotCheckpoint("it has no checkpoint_id"));
    }
    let stored = root
        .get("metadata")
        .and_then(|metadata| text(metadata.get("checksum")))
        .ok_or(Damage::ChecksumMissing)?;
    let rest = Tree::Object(
        Tree::members(root)
            .into_iter()
            .filter(|(key, _)| !key.is("metadata"))
            .collect(),
    );
    let mut compact = Vec::new();
    rest.write_compact(&mut compact);
    if hex(&Sha256::digest(&compact)) != stored {
        return Err(Damage::ChecksumMismatch);
    }
    if !root.get("run_record").is_some_and(Value::is_object) {
        return Err(Damage::NotCheckpoint("it has no run_record"));
    }
    if root
        .get("artifact_registry")
        .is_none_or(|registry| Registry::new(registry).is_err())
    {
        return Err(Damage::NotCheckpoint("it has no artifact_registry"));
    }
    let own = root.get("waymark").filter(|own| own.kind() == Kind::Object);
    raw_header(root, own, stored)
}

/// The header of a file that is byte for byte what Waymark wrote; `None` if it is not, or if the
/// bytes don't have the expected places.
fn sealed_header(bytes: &[u8]) -> Option<RawHeader> {
    // The tail is a few hundred bytes long; no user text comes after the last METADATA.
    let from = bytes.len().saturating_sub(1024);
    let at = from + rfind(&bytes[from..], METADATA)?;
    let (body, found_tail) = bytes.split_at(at);
    let metadata = wrapped(b"{", &found_tail[METADATA.len()..], b"");
    let metadata = metadata.strip_suffix(b"\n}")?;
    let metadata = Json::parse(metadata, 4).ok()?;
    let member = |name| text(metadata.root().get(name));
    let (checksum, version) = (member("checksum")?, member("version")?);
    if tail(&checksum, &version, &seal(body, &checksum, &version)) != found_tail {
        return None;
    }
    // The first members hold no raw line feed, so the first match is the key itself.
    let head = wrapped(
        b"",
        &body[..find(&body[..body.len().min(8192)], RUN_RECORD)?],
        b"}",
    );
    let from = body.len().saturating_sub(1024);
    let own_at = from + rfind(&body[from..], WAYMARK)? + WAYMARK.len();
    let own = wrapped(b"{", &body[own_at..], b"");
    let head = Json::parse(&head, 4).ok()?;
    let own = Json::parse(&own, 4).ok()?;
    raw_header(head.root(), Some(own.root()), checksum).ok()
}

fn wrapped(before: &[u8], middle: &[u8], after: &[u8]) -> Vec<u8> {
    [before, middle, after].concat()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn rfind(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .rposition(|window| window == needle)
}

/// Sorts a run's history, newest first, by creation.
///
/// The sequence orders what Waymark made. A manifest of the old manager has none: it comes right
/// after the last sequenced one that is not younger by timestamp, whatever the steps' numbers are.
pub fn sort_newest_first<T>(items: &mut [T], header: impl Fn(&T) -> &Header) {
    let sequenced: Vec<(u64, i64)> = items
        .iter()
        .filter_map(|item| {
            header(item)
                .sequence
                .map(|at| (at, header(item).created_ms))
        })
        .collect();
    let place = |one: &Header| {
        if let Some(at) = one.sequence {
            return (at, 0, 0);
        }
        let after = sequenced
            .iter()
            .filter(|(_, ms)| *ms <= one.created_ms)
            .map(|(at, _)| *at);
        (after.max().unwrap_or(0), 1, one.created_ms)
    };
    items.sort_by(|left, right| {
        let (left, right) = (header(left), header(right));
        place(right)
            .cmp(&place(left))
            .then_with(|| right.checkpoint_id.cmp(&left.checkpoint_id))
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(step_state: &str) -> Vec<u8> {
        let run_id = RunId::parse("r").expect("valid");
        let id = CheckpointId::parse("c").expect("valid");
        let record = Json::parse(br#"{"run_id":"r","status":"x"}"#, 9).expect("valid");
        let registry = Json::parse(br#"{"artifacts":{"7":{}}}"#, 9).expect("valid");
        let state = Json::parse(step_state.as_bytes(), MAX_DEPTH).expect("valid");
        let content = Content {
            checkpoint_id: &id,
            run_id: &run_id,
            workflow_id: None,
            step: &Step::Number(1.5),
            created_ms: 1,
            run_record: record.root(),
            registry: Registry::new(registry.root()).expect("registry"),
            step_state: state.root(),
            run_files: &[("state.json".to_owned(), RunFile::Text("{}\n".to_owned()))],
            sequence: 3,
            parent: None,
        };
        let draft = content.draft();
        let tail = draft.tail(&draft.checksum());
        assert_eq!(draft.file_size(), (draft.body().len() + tail.len()) as u64);
        [draft.body(), &tail].concat()
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
