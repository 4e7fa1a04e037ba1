//! The rescue checkpoint: what a restore is about to change, as it is.
//!
//! It is a checkpoint like any other, but lies in Waymark's own folder of the run, so that nobody takes it
//! for a step's. While the run stands where the restore left it, it stays; once the run goes on, it goes
//! with the checkpoints of its age.

use std::borrow::Cow;
use std::io;

use base64::Engine as _;

use crate::error::{Error, IoContext, Result};
use crate::model::damage::Damage;
use crate::model::facts::{Facts, Trigger, Type};
use crate::model::ids::CheckpointId;
use crate::model::json::{Json, MAX_DEPTH, Value};
use crate::model::manifest::{Content, Opened, RunFile, Snapshot, StateObject, run_files_tree};
use crate::model::registry;
use crate::model::run_record;
use crate::model::step::Step;
use crate::model::time::to_iso;
use crate::ops::Context;
use crate::ops::create::{
    checked_json, parse_registry, parse_run_record, read_registry, read_run_files, read_run_record,
    registry_of,
};
use crate::ops::state::{Member, inline_max};
use crate::store::disk::Disk;
use crate::store::layout::RunDir;
use crate::store::publish::{Staged, remove_small, sync_parent};

/// How many rescue checkpoints there are at most.
const RESCUES_MAX: usize = 5;

/// The state on the disk, ready to be kept.
pub(super) struct StateNow {
    record: Vec<u8>,
    registry: Vec<u8>,
    run_files: Vec<(String, RunFile)>,
    /// Whether the run's folder has other files.
    pub(super) has_others: bool,
}

impl StateNow {
    /// Reads it. In the place of a record or a registry that can't be read stands that of the checkpoint,
    /// and what is there is kept under another name, byte for byte.
    pub(super) fn read(context: &Context<'_>, restored: &Opened<'_>) -> Result<Self> {
        let damage = |damage: Damage| Error::CheckpointDamaged {
            run_id: context.run.run_id().to_string(),
            checkpoint_id: restored.header.checkpoint_id.to_string(),
            path: context.run.manifest(&restored.header.checkpoint_id),
            damage,
        };
        let in_run = read_run_files(context)?;
        let (mut run_files, has_others) = (in_run.files, in_run.has_others);
        let mut set_aside = |name: &str, bytes: Vec<u8>| {
            let file = match String::from_utf8(bytes) {
                Ok(text) => RunFile::Text(text),
                Err(error) => RunFile::Base64(
                    base64::engine::general_purpose::STANDARD.encode(error.as_bytes()),
                ),
            };
            run_files.push((name.to_owned(), file));
        };
        let compact = |value: Value<'_>| {
            let mut text = Vec::new();
            crate::model::json::Tree::Value(value).write_compact(&mut text);
            text
        };
        let record = match read_run_record(context) {
            Ok(bytes) => {
                if parse_run_record(context, &bytes).is_ok() {
                    bytes
                } else {
                    set_aside("damaged-run.json", bytes);
                    compact(restored.run_record().map_err(damage)?)
                }
            }
            Err(Error::RunRecordMissing { .. } | Error::RunRecordDamaged { .. }) => {
                compact(restored.run_record().map_err(damage)?)
            }
            Err(error) => return Err(error),
        };
        let registry = match read_registry(context) {
            Ok(Some(bytes)) => {
                let whole = parse_registry(context, &bytes)
                    .and_then(|json| registry_of(context, &json).map(|_| ()));
                if whole.is_ok() {
                    bytes
                } else {
                    set_aside("damaged-artifact-registry.json", bytes);
                    compact(restored.registry().map_err(damage)?.value())
                }
            }
            Ok(None) => {
                let now = to_iso(context.now_ms);
                let json = parse_run_record(context, &record)?;
                registry::empty(context.run.run_id(), json.root().get("workflow_id"), &now)
            }
            Err(Error::RegistryDamaged { .. }) => {
                compact(restored.registry().map_err(damage)?.value())
            }
            Err(error) => return Err(error),
        };
        run_files.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(Self {
            record,
            registry,
            run_files,
            has_others,
        })
    }

    pub(super) fn run_files(&self) -> &[(String, RunFile)] {
        &self.run_files
    }

    pub(super) fn registry_json(&self, context: &Context<'_>) -> Result<Json<'_>> {
        parse_registry(context, &self.registry)
    }

    /// What of it goes to the store.
    pub(super) fn large(&self) -> Vec<Member<'_>> {
        let most = inline_max(None);
        let mut members = Vec::new();
        for (name, text) in [
            ("run_record", &self.record),
            ("artifact_registry", &self.registry),
        ] {
            if text.len() > most {
                members.push(Member {
                    name,
                    text: Cow::Borrowed(text),
                });
            }
        }
        let mut text = Vec::new();
        run_files_tree(&self.run_files).write_compact(&mut text);
        if text.len() > most {
            members.push(Member {
                name: "run_files",
                text: Cow::Owned(text),
            });
        }
        members
    }

    /// Publishes the rescue checkpoint; what it names is durable.
    pub(super) fn publish(
        &self,
        context: &Context<'_>,
        step: &Step,
        parent: Option<&CheckpointId>,
        state_objects: &[StateObject],
        snapshot: Option<&Snapshot>,
        sequence: u64,
    ) -> Result<CheckpointId> {
        let (disk, run) = (context.disk, context.run);
        let folder = run.rescues();
        match disk.create_dir(&folder) {
            Ok(()) => sync_parent(disk, &folder)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("create", &folder, error)),
        }
        let record = parse_run_record(context, &self.record)?;
        let registry_json = parse_registry(context, &self.registry)?;
        let registry = registry_of(context, &registry_json)?;
        let nothing = Json::parse(b"null", MAX_DEPTH).map_err(|error| Error::Internal {
            message: error.to_string(),
        })?;
        let facts = Facts {
            kind: Some(Type::Rescue),
            trigger: Some(Trigger::Risk),
            ..Facts::default()
        };
        let facts_text = facts.to_json();
        let facts_json = checked_json(&facts_text)?;
        let mut created_ms = context.now_ms;
        loop {
            let checkpoint_id = RunDir::rescue_id(created_ms)?;
            let manifest = Content {
                checkpoint_id: &checkpoint_id,
                run_id: run.run_id(),
                workflow_id: run_record::workflow_id(record.root(), registry.value()),
                step,
                created_ms,
                run_record: record.root(),
                registry,
                survey: &registry.survey(),
                step_state: nothing.root(),
                run_files: &self.run_files,
                state_objects,
                snapshot,
                facts: Some((&facts, facts_json.root())),
                environment: None,
                sequence,
                parent,
            };
            let members = manifest.members();
            let mut bytes = Vec::new();
            let printed = members.print(|block| bytes.extend_from_slice(block));
            bytes.extend_from_slice(&printed.tail(&members.checksum()));
            let mut staged = Staged::write(disk, run.staged("rescue"), &bytes)?;
            if staged.publish_new(&run.manifest(&checkpoint_id))? {
                return Ok(checkpoint_id);
            }
            created_ms += 1;
        }
    }
}

/// The rescue checkpoints of a run, newest first, with when they were made.
fn all(disk: &dyn Disk, run: &RunDir) -> Result<Vec<(i64, CheckpointId)>> {
    let folder = run.rescues();
    let entries = match disk.list(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context("read", &folder)?,
    };
    let mut found: Vec<(i64, CheckpointId)> = entries
        .iter()
        .filter_map(|entry| {
            let id = entry.name.to_str()?.strip_suffix(".json")?;
            let made_ms = RunDir::rescue_made_ms(id)?;
            Some((made_ms, CheckpointId::parse(id).ok()?))
        })
        .collect();
    found.sort_by(|one, other| other.cmp(one));
    Ok(found)
}

/// Drops rescue checkpoints that are too many, but not one.
pub(super) fn limit(context: &Context<'_>, but: Option<&CheckpointId>) -> Result<()> {
    let found = all(context.disk, context.run)?;
    for (_, id) in found.iter().skip(RESCUES_MAX) {
        if Some(id) != but {
            remove_small(context.disk, &context.run.manifest(id))?;
        }
    }
    Ok(())
}

/// Drops rescue checkpoints that are older than every checkpoint of a run that went on.
pub(in crate::ops) fn retire(context: &Context<'_>, oldest_kept_ms: i64) -> Result<bool> {
    if context.disk.metadata(&context.run.rescues()).is_err() {
        return Ok(false);
    }
    let mut dropped = false;
    for (made_ms, id) in all(context.disk, context.run)? {
        if made_ms < oldest_kept_ms {
            remove_small(context.disk, &context.run.manifest(&id))?;
            dropped = true;
        }
    }
    Ok(dropped)
}
