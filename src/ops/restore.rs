//! Puts a run back to a checkpoint.
//!
//! Everything is read and checked before anything is written; then all files are replaced as one
//! (see [`crate::store::journal`]). A damaged `run.json` or registry does not matter: both come from
//! the checkpoint.

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result, Skipped};
use crate::model::damage::Damage;
use crate::model::ids::CheckpointId;
use crate::model::json::{Json, MAX_DEPTH, Value};
use crate::model::manifest::{self, Check, Header, Opened, RunFile, inspect};
use crate::model::run_record::{self, new_updated_at};
use crate::model::step::Step;
use crate::ops::state::whole;
use crate::ops::{Context, not_found};
use crate::store::journal::{self, Change, Changes, NoContents, Recovered, Scene};
use crate::store::manifests::{self, Scan};
use crate::store::runner_lock::RunnerLock;

/// Which checkpoint to restore.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// The newest good one.
    Newest,
    /// The newest good one of that step.
    Step(Step),
    /// This one and no other.
    Id(CheckpointId),
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The checkpoint that was restored.
    pub checkpoint_id: CheckpointId,
    /// Its step.
    pub step: Step,
    /// Its creation time, ISO 8601.
    pub timestamp: String,
    /// How many artifacts the restored registry names.
    pub artifacts_restored: u64,
    /// The files that were replaced or made, relative to the run's folder.
    pub files: Vec<String>,
    /// How a person goes on.
    pub recovery_instructions: Vec<String>,
    /// Damaged checkpoints that were passed over; none if one was asked for by id.
    pub skipped: Vec<Skipped>,
    /// Whether a killed restore was found and finished or undone first.
    pub recovered: Recovered,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
}

/// Which checkpoint was restored last: the parent of the next one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Restored {
    pub(super) checkpoint_id: String,
    /// The highest sequence at that time.
    pub(super) after_sequence: u64,
}

impl Restored {
    /// `None` if nothing was ever restored; the note only serves to name a parent, so one that
    /// can't be read is as good as none.
    pub(super) fn read(context: &Context<'_>) -> Option<Self> {
        let bytes = context.disk.read(&context.run.restored(), 4096).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// Restores a checkpoint.
pub fn restore(context: &Context<'_>, choice: &Choice) -> Result<Outcome> {
    let (_lock, recovered) = context.begin_anyway()?;
    let mut unreadable_journal = false;
    let recovered = match recovered {
        Ok(recovered) => recovered,
        // What the journal meant to write is about to be written anew.
        Err(Error::JournalDamaged { .. }) => {
            unreadable_journal = true;
            Recovered::Nothing
        }
        Err(error) => return Err(error),
    };
    let scan = manifests::scan(context.disk, context.run, Check::Seal, context.cancel)?;
    let mut skipped: Vec<Skipped> = scan
        .damaged
        .iter()
        .map(|damaged| Skipped {
            checkpoint_id: damaged.name.clone(),
            damage: damaged.damage.clone(),
        })
        .collect();
    let chosen = choose(context, choice, &scan, &mut skipped)?;

    context.cancel.check()?;
    let runner_lock =
        RunnerLock::acquire(context.disk, context.run, context.now_ms, context.cancel)?;
    if unreadable_journal {
        journal::discard(context.disk, context.run)?;
    }
    // The registry is about to name checkpoints that a killed create may have left visible only.
    let checkpoints = context.run.checkpoints();
    context
        .disk
        .sync_dir(&checkpoints)
        .context("sync", &checkpoints)?;
    let scene = Scene {
        disk: context.disk,
        run: context.run,
        cancel: context.cancel,
        progress: context.progress,
    };
    let files = chosen
        .state
        .iter()
        .rev()
        .filter(|(name, _)| name != RESTORED)
        .map(|(name, _)| name.clone())
        .collect();
    let changes = Changes {
        areas: vec![None],
        changes: state_changes(context, chosen.state)?,
    };
    journal::replace_all(&scene, &NoContents, &changes)?;
    drop(runner_lock);

    Ok(Outcome {
        checkpoint_id: chosen.header.checkpoint_id,
        step: chosen.header.step,
        timestamp: chosen.header.timestamp,
        artifacts_restored: chosen.artifacts,
        files,
        recovery_instructions: chosen.recovery_instructions,
        skipped,
        recovered,
        manifest: chosen.manifest,
    })
}

/// A checkpoint that was read and checked, and what restoring it changes.
struct Chosen {
    header: Header,
    manifest: Vec<u8>,
    state: State,
    artifacts: u64,
    recovery_instructions: Vec<String>,
}

/// Finds the checkpoint: the one asked for, or the newest that is whole with all that it keeps in
/// the store.
fn choose(
    context: &Context<'_>,
    choice: &Choice,
    scan: &Scan,
    skipped: &mut Vec<Skipped>,
) -> Result<Chosen> {
    let run_id = || context.run.run_id().to_string();
    if let Choice::Id(id) = choice {
        skipped.clear();
        return read(context, id, scan)?.map_err(|damage| Error::CheckpointDamaged {
            run_id: run_id(),
            checkpoint_id: id.to_string(),
            path: context.run.manifest(id),
            damage,
        });
    }
    let wanted = |step: &Step| match choice {
        Choice::Step(wanted) => step == wanted,
        _ => true,
    };
    let fitting = scan.good.iter().filter(|good| wanted(&good.header.step));
    let mut any = false;
    for good in fitting {
        any = true;
        let id = &good.header.checkpoint_id;
        match read(context, id, scan)? {
            Ok(chosen) => return Ok(chosen),
            Err(damage) => skipped.push(Skipped {
                checkpoint_id: id.to_string(),
                damage,
            }),
        }
    }
    match choice {
        _ if scan.good.is_empty() && scan.damaged.is_empty() => {
            Err(Error::NoCheckpoint { run_id: run_id() })
        }
        Choice::Step(step) if !scan.good.is_empty() && !any => {
            let damaged = match scan.damaged.len() {
                0 => String::new(),
                count => format!(" ({count} damaged checkpoints were passed over)"),
            };
            Err(not_found(context, format!("step {step}{damaged}")))
        }
        _ => Err(Error::NoGoodCheckpoint {
            run_id: run_id(),
            skipped: std::mem::take(skipped),
        }),
    }
}

/// Reads and checks a checkpoint with all that it keeps in the store.
fn read(
    context: &Context<'_>,
    id: &CheckpointId,
    scan: &Scan,
) -> Result<std::result::Result<Chosen, Damage>> {
    let bytes = manifests::bytes_of(context.disk, context.run, id)?;
    let run_id = context.run.run_id();
    let header = match inspect(&bytes, id.as_str(), run_id, Check::Checksum) {
        Ok(header) => header,
        Err(damage) => return Ok(Err(damage)),
    };
    let manifest = match whole(context, &header, bytes)? {
        Ok(manifest) => manifest,
        Err(damage) => return Ok(Err(damage)),
    };
    let chosen = (|| {
        let json = Json::parse(&manifest, MAX_DEPTH)?;
        let opened = manifest::opened(&json, header.clone());
        let (state, artifacts) = state(context, &opened, scan)?;
        Ok((state, artifacts, opened.recovery_instructions()))
    })();
    Ok(
        chosen.map(|(state, artifacts, recovery_instructions)| Chosen {
            header,
            manifest,
            state,
            artifacts,
            recovery_instructions,
        }),
    )
}

/// Files of the run's folder by their paths in it, each with its new content.
type State = Vec<(String, Vec<u8>)>;

/// Where Waymark notes which checkpoint was restored last.
const RESTORED: &str = "checkpoints/.waymark/restored";

/// What replaces the state on the disk; what is the same already is left alone.
fn state_changes(context: &Context<'_>, state: State) -> Result<Vec<Change>> {
    let folder = context.run.path();
    let run = context
        .disk
        .open_folder(folder)
        .map_err(|error| Error::io("open", folder, error))?;
    let mut changes = Vec::with_capacity(state.len());
    for (name, bytes) in state {
        let there = journal::ident(run.as_ref(), name.as_bytes())
            .map_err(|error| Error::io("read", &folder.join(&name), error))?;
        let change = Change::of_state(0, name.as_bytes(), there, bytes);
        if change.changes_something() {
            changes.push(change);
        }
    }
    Ok(changes)
}

/// The new contents of everything that a restore replaces.
fn state(
    context: &Context<'_>,
    opened: &Opened<'_>,
    scan: &Scan,
) -> std::result::Result<(State, u64), Damage> {
    let record = opened.run_record()?;
    let registry = opened.registry()?;
    let on_disk = updated_at_on_disk(context);
    let own = record
        .get("updated_at")
        .and_then(Value::as_str)
        .map(std::borrow::Cow::into_owned);
    let updated_at = new_updated_at(context.now_ms, &[own, on_disk]);
    let record = run_record::restored(record, &opened.header.step, updated_at);

    let exists = |id: &str| {
        scan.good
            .iter()
            .any(|good| good.header.checkpoint_id.as_str() == id)
            || scan.damaged.iter().any(|damaged| damaged.name == id)
    };
    let survey = registry.survey();
    let gone_entries = survey
        .checkpoint_ids
        .iter()
        .filter(|id| !exists(id))
        .count();
    let artifacts = survey.validation.total - gone_entries as u64;
    let registry = registry.edited(&|id| !exists(id), &[], None);

    let newest = scan
        .good
        .iter()
        .filter_map(|good| good.header.sequence)
        .max()
        .unwrap_or(0);
    let note = Restored {
        checkpoint_id: opened.header.checkpoint_id.to_string(),
        after_sequence: newest,
    };
    let mut state = Vec::new();
    for (name, file) in opened.run_files()? {
        let bytes = match file {
            RunFile::Text(text) => text.into_bytes(),
            RunFile::Base64(text) => base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|_| Damage::NotCheckpoint("a run file's base64 is not valid"))?,
            RunFile::Skipped { .. } => continue,
        };
        state.push((name, bytes));
    }
    // In the order in which they appear: whoever sees the record of the run sees all of it.
    state.push((
        RESTORED.to_owned(),
        serde_json::to_vec(&note).unwrap_or_default(),
    ));
    state.push(("artifact-registry.json".to_owned(), registry.to_pretty()));
    state.push(("run.json".to_owned(), record.to_pretty()));
    Ok((state, artifacts))
}

/// The `updated_at` of the `run.json` on the disk, if it can still be read.
fn updated_at_on_disk(context: &Context<'_>) -> Option<String> {
    let bytes = context
        .disk
        .read(&context.run.run_record(), 64 << 20)
        .ok()?;
    let json = Json::parse(&bytes, MAX_DEPTH).ok()?;
    let text = json.root().get("updated_at")?.as_str()?.into_owned();
    Some(text)
}
