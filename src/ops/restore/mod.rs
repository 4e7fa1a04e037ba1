//! Puts a run back to a checkpoint: its state, and the files that were captured with it.
//!
//! Everything is read, checked and planned before anything is written; what is about to be changed is kept
//! in a rescue checkpoint; then all of it is replaced as one (see [`crate::store::journal`]). A damaged
//! `run.json` or registry does not matter: both come from the checkpoint.
//!
//! *Limits*: the runner's own lock is held while files are put back, and is stale to others after 30 s; a
//! runner that is started beside a longer restore is not kept out by it.

mod files;
mod plan;
mod rescue;
mod select;

use std::cell::OnceCell;
use std::path::PathBuf;

use base64::Engine as _;
use serde::{Deserialize, Serialize};

pub use self::files::{FilesRequest, Root, Row};
pub use self::plan::{PLAN_MS, Planned, StateRow, plan};
pub(in crate::ops) use self::rescue::retire;
pub use self::select::Part;

use self::files::{FilesPlan, Ground, Look};
use self::rescue::StateNow;
use self::select::Selection;
use crate::error::{Error, IoContext, Result, Skipped};
use crate::model::damage::Damage;
use crate::model::event::{Event, Kind};
use crate::model::ids::CheckpointId;
use crate::model::json::{Json, MAX_DEPTH, Value};
use crate::model::manifest::{self, Check, Header, Opened, RunFile, Snapshot, inspect};
use crate::model::plan::Totals;
use crate::model::progress::Phase;
use crate::model::registry::Registry;
use crate::model::run_record::{self, new_updated_at};
use crate::model::step::Step;
use crate::model::time::to_iso;
use crate::ops::create::begin_writer;
use crate::ops::lifecycle;
use crate::ops::state::{damage_of, store_members, whole};
use crate::ops::{Context, events, not_found};
use crate::store::journal::{self, Change, Changes, Contents, Recovered, Scene};
use crate::store::layout::RunDir;
use crate::store::manifests::{self, Scan};
use crate::store::objects::{Content, Limit, Sink, Store, Writer};
use crate::store::runner_lock::RunnerLock;

/// So many steps an error names that tells which there are.
const STEPS_TOLD: usize = 10;

/// Which checkpoint to restore.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// The newest good one.
    Newest,
    /// The newest good one of that step.
    Step(Step),
    /// The newest good one that is not younger than this, in milliseconds since 1970.
    At(i64),
    /// This one and no other.
    Id(CheckpointId),
}

/// What is restored, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which checkpoint.
    pub choice: Choice,
    /// How files are put back; `None` leaves them alone.
    pub files: Option<FilesRequest>,
    /// What of it; nothing is all of it.
    pub only: Vec<Part>,
    /// The plan that it must equal.
    pub plan: Option<String>,
    /// The rescue checkpoint of the restore that this is a further part of: an undo goes back to it.
    pub rescue: Option<CheckpointId>,
    /// Whether a further part has a rescue checkpoint of its own as well.
    pub own_rescue: bool,
    /// The store's budget, in bytes; `None` is none.
    pub max_store_bytes: Option<u64>,
}

impl Request {
    /// State only, all of it.
    #[must_use]
    pub fn of(choice: Choice) -> Self {
        Self {
            choice,
            files: None,
            only: Vec::new(),
            plan: None,
            rescue: None,
            own_rescue: false,
            max_store_bytes: None,
        }
    }
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
    /// The files of the state that were put back, relative to the run's folder.
    pub files: Vec<String>,
    /// How a person goes on.
    pub recovery_instructions: Vec<String>,
    /// Damaged checkpoints that were passed over; none if one was asked for by id.
    pub skipped: Vec<Skipped>,
    /// Whether a killed restore was found and finished or undone first.
    pub recovered: Recovered,
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// What was there before.
    pub rescue: CheckpointId,
    /// The captured folders that were looked at.
    pub roots: Vec<Root>,
    /// What became of their paths.
    pub rows: Vec<Row>,
    /// How many there are of each kind.
    pub totals: Totals,
    /// How many bytes were read back and held against their hashes.
    pub verified_bytes: u64,
    /// Checkpoints that are newer than the restored one: the work that is left behind.
    pub newer: Vec<CheckpointId>,
    /// What went wrong after everything was put back, in words.
    pub warnings: Vec<String>,
}

/// Which checkpoint was restored last: the parent of the next one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Restored {
    /// The checkpoint that the state descends from; after an undo the one it descended from before.
    pub(super) checkpoint_id: String,
    /// The highest sequence at that time.
    pub(super) after_sequence: u64,
    /// What was there before.
    #[serde(default)]
    pub(super) rescue: Option<String>,
    /// What the state descended from before.
    #[serde(default)]
    before: Option<String>,
    /// The rescue checkpoint that was put back, if it was one.
    #[serde(default)]
    put_back: Option<String>,
    /// All that it descended from since the newest checkpoint, the last first: a restore of some parts
    /// leaves the others as they were.
    #[serde(default)]
    earlier: Vec<String>,
}

impl Restored {
    /// `None` if nothing was ever restored; the note only serves to name a parent and a rescue, so one
    /// that can't be read is as good as none.
    pub(super) fn read(context: &Context<'_>) -> Option<Self> {
        let bytes = context.disk.read(&context.run.restored(), 4096).ok()?;
        serde_json::from_slice(&bytes).ok()
    }
}

/// How many checkpoints that the state descended from are noted.
const EARLIER_MAX: usize = 16;

/// Where Waymark notes which checkpoint was restored last, in the run's folder.
const RESTORED: &str = "checkpoints/.waymark/restored";

/// Restores a checkpoint.
pub fn restore(context: &Context<'_>, request: &Request) -> Result<Outcome> {
    events::watch(context, "restore", || {
        restore_as(context, request, Kind::Restored)
    })
}

fn restore_as(context: &Context<'_>, request: &Request, kind: Kind) -> Result<Outcome> {
    let (_lock, recovered) = context.begin_anyway()?;
    context.fence()?;
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
    let expected = request.plan.as_deref();
    let expected = expected.map(|id| plan::expected(context, id)).transpose()?;
    let request = expected
        .as_ref()
        .map_or_else(|| request.clone(), |expected| expected.request(request));
    let history = History::read(context)?;
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
    let (outcome, skipped) = history.first_whole(context, &request.choice, |chosen| {
        let state = StateNow::read(context, &chosen.opened()?.opened())?;
        apply(
            context,
            (&request, kind),
            &history,
            &chosen,
            &state,
            expected.as_ref(),
        )
    })?;
    drop(runner_lock);
    if let Some(id) = request.plan.as_deref() {
        plan::forget(context, id);
    }
    let mut warnings = outcome.warnings;
    if let Err(error) = lifecycle::restored(context, &outcome.checkpoint_id) {
        warnings.push(error.full_message());
    }
    // One too many is no reason to tell of a failure.
    let _ = rescue::limit(context, request.rescue.as_ref());
    let outcome = Outcome {
        skipped,
        recovered,
        warnings,
        ..outcome
    };
    note_restored(context, kind, &outcome);
    Ok(outcome)
}

fn operation_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Undone => "undo",
        _ => "restore",
    }
}

/// Notes what a restore did, and what it passed over.
fn note_restored(context: &Context<'_>, kind: Kind, outcome: &Outcome) {
    let operation = operation_of(kind);
    let mut noted = events::damaged(operation, &outcome.skipped);
    let event = Event::new(kind, operation)
        .of(outcome.checkpoint_id.as_str())
        .with("step", outcome.step.to_string())
        .with("rescue", outcome.rescue.as_str())
        .with("bytes", outcome.verified_bytes)
        .with("skipped", outcome.skipped.len());
    noted.push(event);
    let noted: Vec<Event> = noted
        .into_iter()
        .map(|event| events::about(context.run, event))
        .collect();
    let warning = events::Ledger::from(context).note(&noted);
    events::end_noted(context, warning.as_ref());
    context.progress.session.tell([], warning);
}

/// Restores what was there before the last restore.
///
/// Gives [`Error::NothingToUndo`] if nothing was restored, or what was there before is gone.
pub fn undo(context: &Context<'_>, request: &Request) -> Result<Outcome> {
    events::watch(context, "undo", || undo_last(context, request))
}

fn undo_last(context: &Context<'_>, request: &Request) -> Result<Outcome> {
    let nothing = |reason: String| Error::NothingToUndo {
        run_id: context.run.run_id().to_string(),
        reason,
    };
    context.run.check(context.disk)?;
    if context.run.has_private(context.disk)? {
        // A restore that is under way counts.
        drop(context.begin()?);
    }
    let last = Restored::read(context);
    let rescue = last
        .and_then(|last| last.rescue)
        .ok_or_else(|| nothing("nothing was restored".to_owned()))?;
    let rescue = CheckpointId::parse(&rescue)?;
    let request = Request {
        choice: Choice::Id(rescue.clone()),
        ..request.clone()
    };
    match restore_as(context, &request, Kind::Undone) {
        Err(Error::CheckpointNotFound { .. }) => Err(nothing(format!(
            "its rescue checkpoint {rescue} was dropped: the run has gone on since"
        ))),
        done => done,
    }
}

/// What is known of a run's checkpoints.
pub(in crate::ops) struct History {
    scan: Scan,
    restored: Option<Restored>,
    /// The rescue checkpoint that the last restore put back.
    put_back: Option<Header>,
}

impl History {
    pub(in crate::ops) fn read(context: &Context<'_>) -> Result<Self> {
        let restored = Restored::read(context);
        let rescue = restored.as_ref().and_then(|one| one.put_back.as_deref());
        let header = |id: &str| {
            let id = CheckpointId::parse(id).ok()?;
            let bytes = manifests::bytes_of(context.disk, context.run, &id).ok()?;
            inspect(&bytes, id.as_str(), context.run.run_id(), Check::Seal).ok()
        };
        Ok(Self {
            scan: manifests::scan(context.disk, context.run, Check::Seal, context.cancel)?,
            put_back: rescue.and_then(header),
            restored,
        })
    }

    /// The highest sequence in use.
    fn newest_sequence(&self) -> u64 {
        let good = self.scan.good.iter();
        let newest = good.filter_map(|good| good.header.sequence).max();
        newest.unwrap_or(0)
    }

    /// The note of the last restore, if the run has not gone on since.
    fn last(&self) -> Option<&Restored> {
        let restored = self.restored.as_ref();
        restored.filter(|one| self.newest_sequence() <= one.after_sequence)
    }

    fn header(&self, id: &str) -> Option<&Header> {
        let mut headers = self.scan.good.iter().map(|good| &good.header);
        headers.find(|header| header.checkpoint_id.as_str() == id)
    }

    /// What the disk descends from.
    fn parent(&self) -> Option<&Header> {
        let last = self.last().and_then(|one| self.header(&one.checkpoint_id));
        last.or_else(|| self.scan.good.first().map(|good| &good.header))
    }

    /// Snapshots that are known to have stood on the disk last.
    fn bases(&self) -> Vec<&Snapshot> {
        // After an undo the disk has what no checkpoint of the run's own has.
        let put_back = self.last().and(self.put_back.as_ref());
        let last = self.last().into_iter();
        let earlier = last.flat_map(|one| one.before.iter().chain(&one.earlier));
        let mut headers: Vec<&Header> = put_back.into_iter().chain(self.parent()).collect();
        for header in earlier.filter_map(|id| self.header(id)) {
            let known = |one: &&Header| one.checkpoint_id == header.checkpoint_id;
            if !headers.iter().any(known) {
                headers.push(header);
            }
        }
        headers
            .into_iter()
            .filter_map(|header| header.snapshot.as_ref())
            .collect()
    }

    fn captured(&self) -> Vec<&Snapshot> {
        let headers = self.scan.good.iter();
        headers
            .filter_map(|good| good.header.snapshot.as_ref())
            .collect()
    }

    /// The checkpoints that are newer than one of them.
    fn newer(&self, than: &CheckpointId) -> Vec<CheckpointId> {
        let ids = self.scan.good.iter().map(|good| &good.header.checkpoint_id);
        if self.header(than.as_str()).is_none() {
            return Vec::new();
        }
        ids.take_while(|id| *id != than).cloned().collect()
    }

    /// Does something with the checkpoint asked for, or with the newest that fits and is whole, with all
    /// that it keeps in the store; gives those that were passed over.
    pub(in crate::ops) fn first_whole<T>(
        &self,
        context: &Context<'_>,
        choice: &Choice,
        mut act: impl FnMut(Chosen) -> Result<T>,
    ) -> Result<(T, Vec<Skipped>)> {
        let run_id = || context.run.run_id().to_string();
        let mut attempt = |id: &CheckpointId| -> Result<std::result::Result<T, Damage>> {
            let chosen = match Chosen::read(context, id)? {
                Ok(chosen) => chosen,
                Err(damage) => return Ok(Err(damage)),
            };
            match act(chosen) {
                Ok(done) => Ok(Ok(done)),
                Err(Error::CheckpointDamaged {
                    checkpoint_id,
                    damage,
                    ..
                }) if checkpoint_id == id.as_str() => Ok(Err(damage)),
                // A content, or a folder, of the checkpoint. Nothing was changed.
                Err(error @ (Error::ObjectMissing { .. } | Error::ObjectDamaged { .. })) => {
                    damage_of(error).map(Err)
                }
                Err(error) => Err(error),
            }
        };
        if let Choice::Id(id) = choice {
            return match attempt(id)? {
                Ok(done) => Ok((done, Vec::new())),
                Err(damage) => Err(Error::CheckpointDamaged {
                    run_id: run_id(),
                    checkpoint_id: id.to_string(),
                    path: context.run.manifest(id),
                    damage,
                }),
            };
        }
        let damaged = self.scan.damaged.iter().map(|damaged| Skipped {
            checkpoint_id: damaged.name.clone(),
            damage: damaged.damage.clone(),
        });
        let mut skipped: Vec<Skipped> = damaged.collect();
        let wanted = |header: &Header| match choice {
            Choice::Step(step) => header.step == *step,
            Choice::At(ms) => header.created_ms <= *ms,
            _ => true,
        };
        let mut any = false;
        for good in self.scan.good.iter().filter(|good| wanted(&good.header)) {
            any = true;
            let id = &good.header.checkpoint_id;
            match attempt(id)? {
                Ok(done) => return Ok((done, skipped)),
                Err(damage) => skipped.push(Skipped {
                    checkpoint_id: id.to_string(),
                    damage,
                }),
            }
        }
        let passed_over = || match self.scan.damaged.len() {
            0 => String::new(),
            count => format!(" ({count} damaged checkpoints were passed over)"),
        };
        match choice {
            _ if self.scan.good.is_empty() && self.scan.damaged.is_empty() => {
                Err(Error::NoCheckpoint { run_id: run_id() })
            }
            Choice::Step(step) if !self.scan.good.is_empty() && !any => {
                let there = self.good_steps();
                let passed_over = passed_over();
                Err(not_found(
                    context,
                    format!("step {step}{passed_over}; there are of steps {there}"),
                ))
            }
            Choice::At(ms) if !self.scan.good.is_empty() && !any => {
                let at = to_iso(*ms);
                let passed_over = passed_over();
                let oldest = self.scan.good.last().map_or_else(String::new, |good| {
                    let Header {
                        checkpoint_id,
                        created_ms,
                        ..
                    } = &good.header;
                    format!(
                        "; the oldest is {checkpoint_id}, of {}",
                        to_iso(*created_ms)
                    )
                });
                Err(not_found(context, format!("at {at}{passed_over}{oldest}")))
            }
            _ => Err(Error::NoGoodCheckpoint {
                run_id: run_id(),
                skipped,
            }),
        }
    }

    /// The steps of those that are good, the newest first; of many the first few.
    fn good_steps(&self) -> String {
        let mut steps: Vec<String> = Vec::new();
        for good in &self.scan.good {
            let step = good.header.step.to_string();
            if steps.contains(&step) {
                continue;
            }
            if steps.len() == STEPS_TOLD {
                steps.push("…".to_owned());
                break;
            }
            steps.push(step);
        }
        steps.join(", ")
    }
}

/// A checkpoint that was read and checked.
pub(in crate::ops) struct Chosen {
    pub(in crate::ops) header: Header,
    manifest: Vec<u8>,
}

/// Its manifest, parsed.
pub(in crate::ops) struct ChosenJson<'a> {
    json: Json<'a>,
    header: &'a Header,
}

impl ChosenJson<'_> {
    /// The caller's own state; `None` if the manifest has none.
    pub(in crate::ops) fn step_state(&self) -> Option<Value<'_>> {
        self.json.root().get("step_state")
    }

    pub(in crate::ops) fn opened(&self) -> Opened<'_> {
        manifest::opened(&self.json, self.header.clone())
    }
}

impl Chosen {
    /// Reads and checks a checkpoint with all the state that it keeps in the store.
    fn read(context: &Context<'_>, id: &CheckpointId) -> Result<std::result::Result<Self, Damage>> {
        let bytes = manifests::bytes_of(context.disk, context.run, id)?;
        let run_id = context.run.run_id();
        let header = match inspect(&bytes, id.as_str(), run_id, Check::Checksum) {
            Ok(header) => header,
            Err(damage) => return Ok(Err(damage)),
        };
        Ok(match whole(context, &header, bytes)? {
            Ok(manifest) => Ok(Self { header, manifest }),
            Err(damage) => Err(damage),
        })
    }

    pub(in crate::ops) fn opened(&self) -> Result<ChosenJson<'_>> {
        let json = Json::parse(&self.manifest, MAX_DEPTH).map_err(|error| Error::Internal {
            message: error.to_string(),
        })?;
        Ok(ChosenJson {
            json,
            header: &self.header,
        })
    }

    pub(in crate::ops) fn damaged(&self, context: &Context<'_>, damage: Damage) -> Error {
        Error::CheckpointDamaged {
            run_id: context.run.run_id().to_string(),
            checkpoint_id: self.header.checkpoint_id.to_string(),
            path: context.run.manifest(&self.header.checkpoint_id),
            damage,
        }
    }

    fn is_rescue(&self) -> bool {
        RunDir::rescue_made_ms(self.header.checkpoint_id.as_str()).is_some()
    }
}

impl Contents for Store<'_> {
    fn read(&self, content: &Content, take: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.read_content(content, take)
    }
}

/// What a plan and a restore have in common: all that is known before anything is written.
struct Prepared<'a> {
    selection: &'a Selection,
    state: State,
    artifacts: u64,
    files: FilesPlan,
}

/// Puts a checkpoint back.
#[allow(
    clippy::too_many_lines,
    reason = "one thing after another, in the order that makes it safe"
)]
fn apply(
    context: &Context<'_>,
    (request, kind): (&Request, Kind),
    history: &History,
    chosen: &Chosen,
    now: &StateNow,
    expected: Option<&plan::Expected>,
) -> Result<Outcome> {
    let parsed = chosen.opened()?;
    let opened = parsed.opened();
    let registry = opened
        .registry()
        .map_err(|damage| chosen.damaged(context, damage))?;
    let now_json = now.registry_json(context)?;
    let registries = [registry, Registry::new(now_json.root()).unwrap_or(registry)];
    let project = request.files.as_ref().map(|files| &files.capture.project);
    let selection = Selection::new(&request.only, project.map(PathBuf::as_path), registry)?;

    let ground = ground(request, history, chosen, &selection);
    let large = now.large();
    let opened_store = OnceCell::new();
    let mut writer = None;
    let keeps = request.rescue.is_none() || request.own_rescue;
    let store = if ground.is_some() || (keeps && !large.is_empty() && context.store.is_some()) {
        let limit = room(context, request)?;
        writer = begin_writer(context, &opened_store, limit, u64::MAX)?;
        opened_store.get()
    } else {
        None
    };
    let mut state_objects = Vec::new();
    if let (Some(writer), true) = (&writer, keeps) {
        let earlier = history.parent().map(|header| &header.state_objects[..]);
        state_objects = store_members(writer, &large, earlier.unwrap_or_default())?;
    }
    let (mut seen, mut files) = (None, FilesPlan::default());
    if let Some(ground) = &ground {
        let look = Look {
            context,
            store,
            ground,
            registries: &registries,
            run_files: now.run_files(),
            has_others: now.has_others,
        };
        let sink = writer.as_ref().map(|writer| writer as &dyn Sink);
        let found = look.now(sink)?;
        files = look.plan(&found)?;
        seen = Some(found);
    }
    let stored = writer.map(Writer::sync).transpose()?;

    let (state, artifacts) = state(context, &opened, history, chosen)
        .map_err(|damage| chosen.damaged(context, damage))?;
    let prepared = Prepared {
        selection: &selection,
        state,
        artifacts,
        files,
    };
    let state_changes = state_changes(context, &prepared)?;
    if let Some(expected) = expected {
        expected.check(context, &prepared, &state_changes)?;
    }
    refuse_conflicts(context, &chosen.header, &prepared.files)?;
    context.cancel.check()?;

    let rescue = match &request.rescue {
        Some(rescue) if !keeps => rescue.clone(),
        _ => {
            let step = history
                .parent()
                .map_or(&chosen.header.step, |header| &header.step);
            let parent = history.parent().map(|header| &header.checkpoint_id);
            let snapshot = seen.as_ref().map(|seen| &seen.sight.snapshot);
            let snapshot = snapshot.filter(|one| !one.roots.is_empty());
            let sequence = history.newest_sequence().max(1);
            now.publish(context, step, parent, &state_objects, snapshot, sequence)?
        }
    };
    if let Some(stored) = stored {
        // An index that can't be written only makes reading slower.
        let _ = stored.record();
    }
    if let Some(seen) = &mut seen {
        for found in &mut seen.sight.found {
            let _ = found.remember();
        }
    }

    let mut changes = Changes {
        areas: vec![None],
        changes: Vec::new(),
    };
    if let Some(request) = &request.files {
        (changes.areas, changes.changes) = prepared
            .files
            .changes(context.disk, &request.capture.project)?;
    }
    let files_changed = changes.changes.len();
    let undo_to = request.rescue.as_ref().unwrap_or(&rescue);
    let note = note(history, chosen, request, undo_to);
    // In the order in which they appear: whoever sees the record of the run sees all of it.
    changes.changes.push(note_change(context, &note)?);
    let mut names: Vec<String> = prepared
        .selected_state()
        .map(|(name, _)| name.clone())
        .collect();
    names.reverse();
    changes.changes.extend(state_changes);
    // Killed from here on, whoever comes next tells of it, if it came about. A further part was told of.
    let id = &chosen.header.checkpoint_id;
    let due = events::due_restored(kind, operation_of(kind), id, &rescue);
    let first = request.rescue.is_none().then_some(due);
    events::begin(context, first.into_iter().collect());
    context.progress.enter(Phase::Writing);
    context
        .progress
        .expect(files_changed as u64, prepared.files.totals.bytes_to_write);
    let scene = Scene {
        disk: context.disk,
        run: context.run,
        cancel: context.cancel,
        progress: context.progress,
    };
    match store {
        Some(store) => journal::replace_all(&scene, store, &changes)?,
        None => journal::replace_all(&scene, &journal::NoContents, &changes)?,
    }
    Ok(Outcome {
        checkpoint_id: chosen.header.checkpoint_id.clone(),
        step: chosen.header.step.clone(),
        timestamp: chosen.header.timestamp.clone(),
        artifacts_restored: prepared.artifacts,
        files: names,
        recovery_instructions: opened.recovery_instructions(),
        skipped: Vec::new(),
        recovered: Recovered::Nothing,
        manifest: chosen.manifest.clone(),
        rescue,
        verified_bytes: prepared.files.totals.bytes_to_write,
        newer: history.newer(&chosen.header.checkpoint_id),
        warnings: Vec::new(),
        roots: prepared.files.roots,
        rows: prepared.files.rows,
        totals: prepared.files.totals,
    })
}

/// What the files of a restore stand on; `None` if there are none to put back.
fn ground<'a>(
    request: &'a Request,
    history: &'a History,
    chosen: &'a Chosen,
    selection: &'a Selection,
) -> Option<Ground<'a>> {
    let id = crate::model::object::ObjectId::of(chosen.header.checkpoint_id.as_str().as_bytes());
    Some(Ground {
        request: request.files.as_ref()?,
        wanted: chosen.header.snapshot.as_ref()?,
        bases: history.bases(),
        captured: history.captured(),
        selection,
        beside: format!(".conflict-{}", &id.to_string()[..6]),
    })
}

/// How much a rescue checkpoint may add to the store.
fn room(context: &Context<'_>, request: &Request) -> Result<Limit> {
    match (request.max_store_bytes, context.store) {
        (Some(max), Some(place)) => {
            let used = place.used_bytes(context.disk)?;
            Ok(Limit::Bytes(max.saturating_sub(used)))
        }
        _ => Ok(Limit::None),
    }
}

fn refuse_conflicts(context: &Context<'_>, header: &Header, files: &FilesPlan) -> Result<()> {
    if files.totals.conflict == 0 {
        return Ok(());
    }
    Err(Error::RestoreConflict {
        run_id: context.run.run_id().to_string(),
        checkpoint_id: header.checkpoint_id.to_string(),
        total: files.totals.conflict,
        conflicts: files.conflicts().take(100).collect(),
    })
}

fn note(history: &History, chosen: &Chosen, request: &Request, rescue: &CheckpointId) -> Restored {
    let last = history.last();
    let parent = history
        .parent()
        .map(|header| header.checkpoint_id.to_string());
    let own = chosen.header.checkpoint_id.to_string();
    // What a further part of a restore stands on is what its first part stood on.
    let further = last.filter(|_| request.rescue.is_some());
    let before = further.map_or_else(|| parent.clone(), |one| one.before.clone());
    let mut earlier: Vec<String> = parent.iter().cloned().collect();
    for id in last.into_iter().flat_map(|one| &one.earlier) {
        if !earlier.contains(id) && earlier.len() < EARLIER_MAX {
            earlier.push(id.clone());
        }
    }
    Restored {
        // After an undo the state descends from what it descended from before.
        checkpoint_id: match (chosen.is_rescue(), last.and_then(|one| one.before.clone())) {
            (true, Some(before)) => before,
            (true, None) => parent.unwrap_or(own),
            (false, _) => own,
        },
        after_sequence: history.newest_sequence(),
        put_back: chosen
            .is_rescue()
            .then(|| chosen.header.checkpoint_id.to_string()),
        rescue: Some(rescue.to_string()),
        before,
        earlier,
    }
}

/// Files of the run's folder by their paths in it, each with its new content.
type State = Vec<(String, Vec<u8>)>;

impl Prepared<'_> {
    /// The files of the state that are put back, `run.json` last.
    fn selected_state(&self) -> impl Iterator<Item = &(String, Vec<u8>)> {
        self.state.iter().filter(|(name, _)| match name.as_str() {
            "artifact-registry.json" => self.selection.registry(),
            _ => self.selection.state(),
        })
    }
}

/// What replaces the state on the disk; what is the same already is left alone.
fn state_changes(context: &Context<'_>, prepared: &Prepared<'_>) -> Result<Vec<Change>> {
    let mut changes = Vec::new();
    for (name, bytes) in prepared.selected_state() {
        let change = state_change(context, name, bytes.clone())?;
        if change.changes_something() {
            changes.push(change);
        }
    }
    Ok(changes)
}

fn note_change(context: &Context<'_>, note: &Restored) -> Result<Change> {
    let bytes = serde_json::to_vec(note).map_err(|error| Error::Internal {
        message: error.to_string(),
    })?;
    state_change(context, RESTORED, bytes)
}

fn state_change(context: &Context<'_>, name: &str, bytes: Vec<u8>) -> Result<Change> {
    let folder = context.run.path();
    let run = context.disk.open_folder(folder).context("open", folder)?;
    let there =
        journal::ident(run.as_ref(), name.as_bytes()).context("read", &folder.join(name))?;
    Ok(Change::of_state(0, name.as_bytes(), there, bytes))
}

/// The new contents of everything of the state that a restore replaces, `run.json` last.
fn state(
    context: &Context<'_>,
    opened: &Opened<'_>,
    history: &History,
    chosen: &Chosen,
) -> std::result::Result<(State, u64), Damage> {
    let record = opened.run_record()?;
    let registry = opened.registry()?;
    let on_disk = updated_at_on_disk(context);
    let own = record
        .get("updated_at")
        .and_then(Value::as_str)
        .map(std::borrow::Cow::into_owned);
    let updated_at = new_updated_at(context.now_ms, &[own, on_disk]);
    let record = if chosen.is_rescue() {
        run_record::put_back(record, updated_at)
    } else {
        run_record::restored(record, &opened.header.step, updated_at)
    };

    let scan = &history.scan;
    let exists = |id: &str| {
        history.header(id).is_some() || scan.damaged.iter().any(|damaged| damaged.name == id)
    };
    let survey = registry.survey();
    let gone_entries = survey
        .checkpoint_ids
        .iter()
        .filter(|id| !exists(id))
        .count();
    let artifacts = survey.validation.total - gone_entries as u64;
    let registry = registry.edited(&|id| !exists(id), &[], None);
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
