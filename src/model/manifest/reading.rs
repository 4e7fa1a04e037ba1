//! Reads manifests: checks them and gives access to their content.

use serde::{Deserialize, Serialize};

use super::objects::read_state_objects;
use super::{
    FORMAT, METADATA, Members, RUN_RECORD, RunFile, STATE_OBJECTS, Snapshot, StateObject,
    is_run_file, seal, tail,
};
use crate::model::damage::Damage;
use crate::model::facts::Facts;
use crate::model::ids::{CheckpointId, RunId};
use crate::model::json::{Json, Kind, MAX_DEPTH, Tree, Value};
use crate::model::registry::Registry;
use crate::model::step::Step;
use crate::model::time::from_iso;

/// What is known of a checkpoint without its content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The members that lie in the store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state_objects: Vec<StateObject>,
    /// The captured files; `None` if none were to be captured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// What was said of it when it was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// The fingerprint of its environment, as JSON text. Not noted: who needs it reads the manifest.
    #[serde(skip)]
    pub environment: Option<String>,
}

impl Header {
    /// The header without what lies in the store, and without the environment.
    #[must_use]
    pub fn without_objects(&self) -> Self {
        Self {
            checkpoint_id: self.checkpoint_id.clone(),
            workflow_id: self.workflow_id.clone(),
            step: self.step.clone(),
            timestamp: self.timestamp.clone(),
            created_ms: self.created_ms,
            sequence: self.sequence,
            parent: self.parent.clone(),
            checksum: self.checksum.clone(),
            state_objects: Vec::new(),
            snapshot: None,
            facts: self.facts.clone(),
            environment: None,
        }
    }
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

/// Gives access to the content of a manifest that was checked already, whose members are all at
/// hand.
#[must_use]
pub fn opened<'a>(json: &'a Json<'a>, header: Header) -> Opened<'a> {
    Opened {
        root: json.root(),
        header,
    }
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

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size or a count; anything else becomes 0"
)]
pub(super) fn size_of(value: f64) -> u64 {
    if (0.0..=crate::model::step::STEP_MAX).contains(&value) {
        value as u64
    } else {
        0
    }
}

/// A header as the file has it, before it is held against the file's name and run.
pub(super) struct RawHeader {
    checkpoint_id: String,
    run_id: String,
    workflow_id: Option<String>,
    step: Step,
    timestamp: String,
    sequence: Option<u64>,
    parent: Option<String>,
    checksum: String,
    format: Option<f64>,
    state_objects: Vec<StateObject>,
    snapshot: Option<Snapshot>,
    facts: Option<Facts>,
    environment: Option<String>,
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
            state_objects: self.state_objects,
            snapshot: self.snapshot,
            facts: self.facts,
            environment: self.environment,
        })
    }
}

/// A value as JSON text.
pub(super) fn compact(value: Value<'_>) -> String {
    let mut text = Vec::new();
    value.write_compact(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn text(value: Option<Value<'_>>) -> Option<String> {
    value
        .and_then(Value::as_str)
        .map(std::borrow::Cow::into_owned)
}

/// Reads the header's members: the first ones from `head`, Waymark's own, which come last, from
/// `rest`.
fn raw_header(
    head: Value<'_>,
    rest: Value<'_>,
    checksum: String,
) -> std::result::Result<RawHeader, Damage> {
    let own = rest.get("waymark").filter(|own| own.kind() == Kind::Object);
    let own = |name| own.and_then(|own| own.get(name));
    let format = own("format").and_then(Value::as_f64);
    // What a newer format has in their place is not for this version to judge.
    let known = format.is_none_or(|format| format <= f64::from(FORMAT));
    let object = |name| {
        rest.get(name)
            .filter(|value| known && value.kind() == Kind::Object)
    };
    let state_objects = match object("state_objects") {
        Some(value) => read_state_objects(value).ok_or(Damage::NotCheckpoint(
            "its state_objects can't be understood",
        ))?,
        None => Vec::new(),
    };
    let snapshot = match object("snapshot") {
        Some(value) => Some(
            Snapshot::read(value)
                .ok_or(Damage::NotCheckpoint("its snapshot can't be understood"))?,
        ),
        None => None,
    };
    let facts = match object("facts") {
        Some(value) => {
            let mut text = Vec::new();
            value.write_compact(&mut text);
            let facts = Facts::parse(&text);
            Some(facts.map_err(|_| Damage::NotCheckpoint("its facts can't be understood"))?)
        }
        None => None,
    };
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
        format,
        state_objects,
        snapshot,
        facts,
        environment: object("environment").map(compact),
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
    if Members(rest).checksum() != stored {
        return Err(Damage::ChecksumMismatch);
    }
    let header = raw_header(root, root, stored)?;
    let stored = |member: &str| header.state_objects.iter().any(|one| one.member == member);
    if !stored("run_record") && !root.get("run_record").is_some_and(Value::is_object) {
        return Err(Damage::NotCheckpoint("it has no run_record"));
    }
    if !stored("artifact_registry")
        && root
            .get("artifact_registry")
            .is_none_or(|registry| Registry::new(registry).is_err())
    {
        return Err(Damage::NotCheckpoint("it has no artifact_registry"));
    }
    Ok(header)
}

/// How deep the last members are nested: the facts' data and the environment have limits of their own.
const REST_DEPTH: usize = {
    use crate::model::{environment::ENVIRONMENT_DEPTH_MAX, facts::DATA_DEPTH_MAX};
    if DATA_DEPTH_MAX > ENVIRONMENT_DEPTH_MAX {
        DATA_DEPTH_MAX + 8
    } else {
        ENVIRONMENT_DEPTH_MAX + 8
    }
};

/// The header of a file that is byte for byte what Waymark wrote; `None` if it is not, or if the
/// bytes don't have the expected places.
pub(super) fn sealed_header(bytes: &[u8]) -> Option<RawHeader> {
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
    // No key deeper inside is indented as little, and no string holds a raw line feed.
    let rest_at = memchr::memmem::rfind(body, STATE_OBJECTS)?;
    let rest = wrapped(b"{", &body[rest_at + 1..], b"}");
    let head = Json::parse(&head, 4).ok()?;
    let rest = Json::parse(&rest, REST_DEPTH).ok()?;
    raw_header(head.root(), rest.root(), checksum).ok()
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
    newest_first(items, |item| {
        let one = header(item);
        (one.sequence, one.created_ms, one.checkpoint_id.as_str())
    });
}

/// The same of anything that has a sequence, a creation time in milliseconds since 1970 and an id.
pub fn newest_first<T>(items: &mut [T], key: impl Fn(&T) -> (Option<u64>, i64, &str)) {
    let sequenced: Vec<(u64, i64)> = items
        .iter()
        .filter_map(|item| {
            let (sequence, created_ms, _) = key(item);
            sequence.map(|at| (at, created_ms))
        })
        .collect();
    let place = |sequence: Option<u64>, created_ms: i64| {
        if let Some(at) = sequence {
            return (at, 0, 0);
        }
        let after = sequenced
            .iter()
            .filter(|(_, ms)| *ms <= created_ms)
            .map(|(at, _)| *at);
        (after.max().unwrap_or(0), 1, created_ms)
    };
    items.sort_by(|left, right| {
        let ((one, one_ms, one_id), (other, other_ms, other_id)) = (key(left), key(right));
        place(other, other_ms)
            .cmp(&place(one, one_ms))
            .then_with(|| other_id.cmp(one_id))
    });
}
