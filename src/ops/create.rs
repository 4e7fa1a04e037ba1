//! Takes a checkpoint of a run.
//!
//! The visible moment is the manifest getting its name. Before it nothing has changed; after it the
//! checkpoint exists, and what may still be missing (its entry in the registry, the dropping of older
//! ones) is made good by the next operation.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::thread::{self, Scope};

use crate::error::{Error, Result};
use crate::model::environment::Environment;
use crate::model::event::{Event, Kind};
use crate::model::facts::Facts;
use crate::model::ids::CheckpointId;
use crate::model::json::{Json, JsonError, MAX_DEPTH, Value};
use crate::model::manifest::{
    Content, MANIFEST_MAX, Members, RunFile, Snapshot, StateObject, is_run_file, run_files_tree,
};
use crate::model::progress::{Phase, Progress};
use crate::model::registry::{self, CheckpointEntry, Elided, Outline, Piece, Registry};
use crate::model::retention::{ALL, Candidate, Reason, Retention};
use crate::model::run_record;
use crate::model::step::Step;
use crate::model::time::to_iso;
use crate::ops::Context;
use crate::ops::archive;
use crate::ops::beside::{Beside, beside, joined};
use crate::ops::budget;
use crate::ops::capture::{Capture, Wanted, is_carried, run_prefix};
use crate::ops::events;
use crate::ops::gc;
use crate::ops::lifecycle;
use crate::ops::prune::{self, candidates};
use crate::ops::registration::Plan;
use crate::ops::restore::{Restored, retire};
use crate::ops::state::{Member, cut_member, inline_max, put_member, store_members};
use crate::store::disk::{EntryKind, Hold};
use crate::store::lock::RunLock;
use crate::store::manifests::{self, Good, Scan};
use crate::store::objects::{Limit, Store, Stored, Writer};
use crate::store::outlines;
use crate::store::publish::{Staged, Staging, remove, sync_parent};
use crate::store::roots;

/// The largest step state unless the caller sets another limit, in bytes (64 MiB).
pub const STATE_MAX: u64 = 64 << 20;
/// The largest other file at the top of the run's folder that is captured, in bytes (64 MiB).
const RUN_FILE_MAX: u64 = 64 << 20;
/// From this size of a manifest on, a second thread is worth its start (bytes).
const PARALLEL_FROM: usize = 256 << 10;
/// Pieces of a registry that are smaller are written together, in bytes.
const WRITE_ONE: usize = 64 << 10;
/// So many files are held at most, for their space to be freed when nobody waits.
const HELD_MAX: usize = 8;
/// The manifest's member that the registry is.
const REGISTRY_MEMBER: &str = "artifact_registry";
/// After so many bytes the system is asked to begin writing them back.
const WRITE_BACK: usize = 1 << 20;

/// What a checkpoint is taken of.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The step that was done.
    pub step: Step,
    /// The caller's own state, as JSON text.
    pub state: &'a [u8],
    /// Which older checkpoints are dropped; `None` keeps all.
    pub retention: Option<Retention>,
    /// The largest state, in bytes.
    pub max_state_bytes: u64,
    /// Which files are captured; `None` captures none.
    pub capture: Option<Capture>,
    /// The store's budget, in bytes; `None` is none.
    pub max_store_bytes: Option<u64>,
    /// What is said of it.
    pub facts: Option<Facts>,
    /// The fingerprint of its environment.
    pub environment: Option<Environment>,
}

/// A checkpoint that was taken.
#[derive(Debug)]
pub struct Created {
    /// Its id.
    pub checkpoint_id: CheckpointId,
    /// Its place in the run's history, from 1.
    pub sequence: u64,
    /// The checkpoint that the run's state descends from.
    pub parent: Option<CheckpointId>,
    /// Its creation time, ISO 8601.
    pub timestamp: String,
    /// Its manifest's path.
    pub path: std::path::PathBuf,
    /// The checksum by the runner's rule.
    pub checksum: String,
    /// The checkpoints that were dropped for it.
    pub dropped: Vec<String>,
    /// What went wrong after the checkpoint was safe, in words.
    pub warnings: Vec<String>,
    /// The manifest's size in bytes.
    pub size: u64,
    /// The manifest's bytes; `None` for a large one, which is not kept in memory, and for one that
    /// keeps state in the store.
    pub manifest: Option<Vec<u8>>,
    /// The captured files; `None` if there were none to capture.
    pub snapshot: Option<Snapshot>,
    /// The registry that was replaced and the manifests that were dropped. Their names are gone; the disk gets their
    /// space back when this is dropped, which nobody who waits for the checkpoint has to wait for.
    pub replaced: Vec<Box<dyn Hold>>,
}

/// Takes a checkpoint.
///
/// Gives [`Error::LeaseHeld`], [`Error::LeaseLost`] or [`Error::LeaseDamaged`] if the run's lease is not the caller's.
pub fn create(context: &Context<'_>, request: &Request<'_>) -> Result<Created> {
    events::watch(context, "create", || {
        match (request.max_store_bytes, context.store) {
            (Some(max), Some(place)) => budget::create_within(context, request, place, max),
            _ => create_once(context, request, Limit::None, u64::MAX),
        }
    })
}

/// Takes a checkpoint that adds no more to the store than it may.
pub(super) fn create_once(
    context: &Context<'_>,
    request: &Request<'_>,
    limit: Limit,
    pack_max: u64,
) -> Result<Created> {
    thread::scope(|scope| create_in(scope, context, request, limit, pack_max))
}

#[allow(
    clippy::too_many_lines,
    reason = "one thing after another, in the order that makes it safe"
)]
fn create_in<'scope>(
    scope: &'scope Scope<'scope, '_>,
    context: &'scope Context<'_>,
    request: &'scope Request<'_>,
    limit: Limit,
    pack_max: u64,
) -> Result<Created> {
    let run = context.run;
    check_size(request)?;
    let large_state = request.state.len() >= PARALLEL_FROM;
    let mut state = Beside::begin(scope, large_state, || parse_state(request))?;
    let found = match Found::read(context) {
        Ok(found) => found,
        Err(error) => return Err(state.finish().err().unwrap_or(error)),
    };
    let Found {
        _lock,
        record_bytes,
        registry_bytes,
        run_files: RunFiles {
            files: run_files,
            has_others,
        },
        mut scan,
    } = found;
    let large = match context.store {
        Some(_) => {
            let texts = [
                ("run_record", &record_bytes[..]),
                (REGISTRY_MEMBER, &registry_bytes),
                ("step_state", request.state),
            ];
            large_members(texts, &run_files, inline_max(request.retention.as_ref()))
        }
        None => Vec::new(),
    };
    // The newest is the one that most resembles this one, whatever it descends from.
    let earlier = scan
        .good
        .first()
        .map_or(&[][..], |good| &good.header.state_objects);
    let work = registry_bytes.len() + request.state.len();
    // Where the manifest shows the registry, all of it has to be known.
    let outlined = registry_bytes.len() >= PARALLEL_FROM
        && large.iter().any(|member| member.name == REGISTRY_MEMBER);
    let ahead = outlined.then(|| {
        let registry = Arc::clone(&registry_bytes);
        Beside::begin(scope, true, move || Ahead::begin(context, &registry))
    });
    let ahead = ahead.transpose()?;
    let record = parse_run_record(context, &record_bytes)?;
    let HistoryPlace {
        sequence,
        parent,
        created_ms,
        checkpoint_id,
    } = HistoryPlace::find(context, request, &scan)?;
    let now = to_iso(created_ms);
    let opened = OnceCell::new();
    let mut writer = None;
    if !large.is_empty() {
        // For a state that is none no store is made, and nothing has to give way to it. One that is there drops what it was
        // given of it.
        let place = context.store.filter(|_| matches!(limit, Limit::None));
        if !place.map_or(Ok(false), |place| place.exists(context.disk))? {
            state.look()?;
        }
        writer = begin_writer(context, &opened, limit, pack_max)?;
    }
    let outline = if outlined {
        outlines::read(context.disk, run)
    } else {
        None
    };
    let (large_registry, others): (Vec<_>, Vec<_>) = large
        .iter()
        .partition(|member| outlined && member.name == REGISTRY_MEMBER);
    let store_registry = || match (&writer, &large_registry[..]) {
        (Some(writer), [member]) => {
            let cut = cut_member(writer, member, earlier);
            Ok(Some((put_member(writer, member.name, &cut)?, cut)))
        }
        _ => Ok(None),
    };
    // What has to be parsed whole is parsed beside all that is stored; else storing it takes longer.
    let ((elided, parsed, registry_first), (mut state_objects, registry_later)) = beside(
        work >= PARALLEL_FROM && writer.is_some(),
        || {
            let stored = match &writer {
                Some(writer) => store_members(writer, others.iter().copied(), earlier)?,
                None => Vec::new(),
            };
            let registry = if outline.is_none() {
                store_registry()?
            } else {
                None
            };
            Ok((stored, registry))
        },
        || {
            let Some(outline) = &outline else {
                return Ok((None, Some(parse_registry(context, &registry_bytes)?), None));
            };
            let stored = store_registry()?;
            let elided = stored.as_ref().and_then(|(_, cut)| {
                outline.elide(&registry_bytes, &cut.chunks, &run_prefix(context))
            });
            Ok((elided, None, stored))
        },
    )?;
    let (registry_object, cut) = registry_first.or(registry_later).unzip();
    state_objects.extend(registry_object);
    let place_of = |object: &StateObject| large.iter().position(|it| it.name == object.member);
    state_objects.sort_by_key(place_of);
    let state = state.finish()?;
    let left = elided.as_ref().and_then(|elided| {
        let json = Json::parse(&elided.text, MAX_DEPTH - 1).ok()?;
        elided.holds(&json).then_some(json)
    });
    let (elided, registry_json) = match (left, parsed) {
        (Some(json), _) => (elided.as_ref(), json),
        (None, Some(json)) => (None, json),
        (None, None) => (None, parse_registry(context, &registry_bytes)?),
    };
    let registry = registry_of(context, &registry_json)?;
    let mut survey = registry.survey();
    if let Some(elided) = elided {
        survey.validation += elided.validation();
    }
    let wanted = Wanted::find(
        context,
        request.capture.as_ref(),
        &[registry],
        &mut elided.into_iter().flat_map(Elided::paths),
        has_others,
    );
    if wanted.is_some() && writer.is_none() {
        writer = begin_writer(context, &opened, limit, pack_max)?;
    }
    let mut taken = match (&wanted, &writer) {
        (Some(wanted), Some(writer)) => Some(wanted.take(context, writer, &run_files)?),
        _ => None,
    };
    context.progress.enter(Phase::Storing);
    if let Some(writer) = &writer {
        let added_bytes = writer.write_back()?;
        if let Some(taken) = &mut taken {
            taken.snapshot.added_bytes = added_bytes;
        }
    }

    let facts = request.facts.as_ref().filter(|facts| !facts.is_empty());
    let facts_text = facts.map(Facts::to_json);
    let facts_json = facts_text.as_deref().map(checked_json).transpose()?;
    let environment = request.environment.as_ref();
    let environment = environment.map(|environment| checked_json(environment.as_str().as_bytes()));
    let environment = environment.transpose()?;
    let manifest = Content {
        checkpoint_id: &checkpoint_id,
        run_id: run.run_id(),
        workflow_id: run_record::workflow_id(record.root(), registry.value()),
        step: &request.step,
        created_ms,
        run_record: record.root(),
        registry,
        survey: &survey,
        step_state: state.root(),
        run_files: &run_files,
        state_objects: &state_objects,
        snapshot: taken.as_ref().map(|taken| &taken.snapshot),
        facts: facts.zip(facts_json.as_ref().map(Json::root)),
        environment: environment.as_ref().map(Json::root),
        sequence,
        parent: parent.as_ref(),
    };
    let members = manifest.members();

    let mut warnings = Vec::new();
    let fresh = Candidate {
        id: checkpoint_id.as_str(),
        created_ms,
        sequence: Some(sequence),
        labels: facts.map(|facts| facts.labels.clone()).unwrap_or_default(),
        class: facts.and_then(|facts| facts.class),
        ..Candidate::default()
    };
    let Going {
        dropped,
        rescues_before_ms,
    } = Going::find(context, request, &scan, fresh, record.root())?.archived(
        context,
        request,
        &scan,
        &mut warnings,
    )?;
    let plan = Plan::new(&survey, &scan, &dropped);
    let gone = |id: &str| plan.is_gone(id) && id != checkpoint_id.as_str();
    let print_registry = |size: u64| {
        let mut entries = plan.missing.clone();
        entries.push(CheckpointEntry {
            checkpoint_id: checkpoint_id.clone(),
            step: request.step.clone(),
            created_at: now.clone(),
            path: run.manifest(&checkpoint_id).to_string_lossy().into_owned(),
            size,
        });
        let pieces = match elided {
            None => Some(registry.edited_text(&gone, &entries, &now)),
            Some(elided) => elided.edited_text(registry, &gone, &entries, &now),
        };
        if let Some(pieces) = pieces {
            return Ok(pieces);
        }
        // A checkpoint's name is somebody else's.
        let json = parse_registry(context, &registry_bytes)?;
        Ok(registry_of(context, &json)?.edited_text(&gone, &entries, &now))
    };
    let inline = state_objects.is_empty();
    let ahead = ahead.map(Beside::finish).transpose()?.flatten();
    let staging = stage(
        context,
        &members,
        inline && work >= PARALLEL_FROM,
        &registry_bytes,
        ahead,
        print_registry,
    )?;
    // What needs no more than that it comes before the first name is done while the bytes are on their way.
    let made = events::due(Kind::Created, "create", checkpoint_id.as_str(), None);
    let going = events::due_pruned("create", dropped.iter().copied());
    let due: Vec<_> = std::iter::once(made).chain(going).collect();
    context.cancel.check()?;
    let marked = events::begin_if_there(context, due.clone());
    let replaced = hold_replaced(context, &scan, &dropped);
    // None of it can be seen before all of it is durable, so nothing has to wait for another.
    let synced = beside(
        work >= PARALLEL_FROM,
        || staging.registry.finish(),
        || {
            let stored = writer.map(Writer::sync).transpose()?;
            Ok((stored, staging.manifest.finish()?))
        },
    );
    let synced = synced.and_then(|synced| context.cancel.check().map(|()| synced));
    let ((stored, staged_manifest), staged_registry) =
        synced.inspect_err(|_| marked.iter().for_each(|_| events::end(context)))?;
    let log = marked.or_else(|| events::begin(context, due));
    if let Err(error) = publish(context, staged_manifest, staged_registry, &checkpoint_id) {
        if !matches!(error, Error::NotDurable { .. }) {
            events::end(context);
        }
        return Err(error);
    }
    let (size, checksum) = (staging.size, staging.checksum);

    let added_bytes = stored.as_ref().map_or(0, |stored| stored.bytes);
    if let Some(Err(error)) = stored.map(Stored::record) {
        warnings.push(error.full_message());
    }
    let gone = drop_old(context, &scan, &dropped, &mut warnings);
    if let Some(oldest_ms) = rescues_before_ms
        && let Err(error) = retire(context, oldest_ms)
    {
        warnings.push(error.full_message());
    }
    if let (Some(store), false) = (opened.get(), gone.is_empty()) {
        collect_if_due(context, store, &mut warnings);
    }
    let header = manifest.header(checksum.clone());
    let snapshot = header.snapshot.clone();
    if let Some(taken) = taken {
        warnings.extend(taken.remember());
    }
    scan.good
        .retain(|good| !gone.contains(&good.header.checkpoint_id.to_string()));
    scan.good.push(Good {
        header,
        path: run.manifest(&checkpoint_id),
        size,
        stamp: None,
        last_verified_ms: None,
    });
    if !gone.is_empty() {
        let is_there = |id: &str| {
            let mut good = scan.good.iter();
            good.any(|good| good.header.checkpoint_id.as_str() == id)
        };
        if let Err(error) = lifecycle::tidy(context, &is_there) {
            warnings.push(error.full_message());
        }
    }
    manifests::note_seen(context.disk, run, &scan.good);
    if let Some(cut) = &cut {
        let run_prefix = run_prefix(context);
        if let Some(outline) = Outline::renewed(registry, elided, &cut.chunks, &run_prefix) {
            outlines::note(context.disk, run, &outline);
        }
    }
    let event = Event::new(Kind::Created, "create")
        .of(checkpoint_id.as_str())
        .with("step", request.step.to_string())
        .with("sequence", sequence)
        .with("bytes", size)
        .with("state_bytes", request.state.len())
        .with("added_bytes", added_bytes);
    let mut noted = vec![event];
    noted.extend(events::pruned("create", "superseded", &gone));
    let warning = events::note_begun(context, log, noted);
    events::end_noted(context, warning.as_ref());
    warnings.extend(warning);

    Ok(Created {
        path: run.manifest(&checkpoint_id),
        checkpoint_id,
        sequence,
        parent,
        timestamp: now,
        checksum,
        dropped: gone,
        warnings,
        size,
        manifest: staging.bytes.filter(|_| inline),
        snapshot,
        replaced,
    })
}

/// JSON text that was checked already.
pub(super) fn checked_json(text: &[u8]) -> Result<Json<'_>> {
    Json::parse(text, MAX_DEPTH).map_err(|error| Error::Internal {
        message: error.to_string(),
    })
}

/// Takes back what dropped checkpoints needed, once there is enough of it to be worth its while.
fn collect_if_due(context: &Context<'_>, store: &Store<'_>, warnings: &mut Vec<String>) {
    let collect = || {
        if !gc::due(store)? {
            return Ok(());
        }
        let request = gc::Request::default();
        let (now_ms, cancel) = (context.now_ms, context.cancel);
        // The checkpoint's own progress is what is shown.
        let unseen = Progress::default();
        gc::collect(store, &request, now_ms, cancel, &unseen).map(|_| ())
    };
    match collect() {
        // The checkpoint is safe; the next one collects.
        Ok(()) | Err(Error::Aborted) => {}
        Err(error) => warnings.push(error.full_message()),
    }
}

/// The checkpoints that go.
fn going<'s>(scan: &'s Scan, dropped: &HashSet<&str>) -> impl Iterator<Item = &'s Good> {
    let old = scan.good.iter();
    old.filter(|good| dropped.contains(good.header.checkpoint_id.as_str()))
}

/// Holds the registry and the checkpoints that go. Where many go at once, the disk has its space back sooner.
fn hold_replaced(
    context: &Context<'_>,
    scan: &Scan,
    dropped: &HashSet<&str>,
) -> Vec<Box<dyn Hold>> {
    let registry = context.disk.hold(&context.run.registry());
    let old = going(scan, dropped).filter_map(|good| context.disk.hold(&good.path));
    registry.into_iter().chain(old).take(HELD_MAX).collect()
}

/// Drops checkpoints that the new one replaces; gives those that are gone.
fn drop_old(
    context: &Context<'_>,
    scan: &Scan,
    dropped: &HashSet<&str>,
    warnings: &mut Vec<String>,
) -> Vec<String> {
    let mut gone = Vec::new();
    for good in going(scan, dropped) {
        match remove(context.disk, &good.path) {
            Ok(()) => gone.push(good.header.checkpoint_id.to_string()),
            Err(error) => warnings.push(error.full_message()),
        }
    }
    gone
}

/// Where a new checkpoint stands in the run's history.
struct HistoryPlace {
    sequence: u64,
    parent: Option<CheckpointId>,
    created_ms: i64,
    checkpoint_id: CheckpointId,
}

impl HistoryPlace {
    fn find(context: &Context<'_>, request: &Request<'_>, scan: &Scan) -> Result<Self> {
        let restored = Restored::read(context);
        let sequence = 1 + last_sequence(scan, restored.as_ref());
        // Checkpoints of other tools are ordered by their time alone: behind one from the future (the
        // clock was set back) this one would never be the newest.
        let unsequenced = scan
            .good
            .iter()
            .filter(|good| good.header.sequence.is_none());
        let created_ms = unsequenced
            .map(|good| good.header.created_ms.saturating_add(1))
            .fold(context.now_ms, i64::max);
        Ok(Self {
            sequence,
            parent: parent_of(restored.as_ref(), scan),
            created_ms,
            checkpoint_id: new_id(context, &request.step, scan, created_ms, sequence)?,
        })
    }
}

/// Opens the project's store, making it if there is none, and begins to write; `None` without one.
pub(super) fn begin_writer<'a, 'c: 'a>(
    context: &Context<'c>,
    opened: &'a OnceCell<Store<'c>>,
    limit: Limit,
    pack_max: u64,
) -> Result<Option<Writer<'a>>> {
    let Some(place) = context.store else {
        return Ok(None);
    };
    let store = Store::open_or_create(context.disk, place, context.now_ms)?;
    let store = opened.get_or_init(|| store);
    place.keep_reserve(context.disk);
    // A gc that does not know of this folder would drop what its checkpoints need.
    roots::register(context.disk, place, context.run.runs_dir(), context.cancel)?;
    let writer = Writer::begin(store, limit, context.cancel)?;
    Ok(Some(writer.with_packs_of(pack_max)))
}

/// The members that go to the store, as JSON texts.
fn large_members<'a>(
    texts: [(&'static str, &'a [u8]); 3],
    run_files: &'a [(String, RunFile)],
    inline_max: usize,
) -> Vec<Member<'a>> {
    let mut members = Vec::new();
    for (name, text) in texts {
        if text.len() > inline_max {
            members.push(Member {
                name,
                text: Cow::Borrowed(text),
            });
        }
    }
    let size_of = |file: &RunFile| match file {
        RunFile::Text(text) | RunFile::Base64(text) => text.len(),
        RunFile::Skipped { .. } => 0,
    };
    if run_files
        .iter()
        .map(|(_, file)| size_of(file))
        .sum::<usize>()
        > inline_max
    {
        let mut text = Vec::new();
        run_files_tree(run_files).write_compact(&mut text);
        members.push(Member {
            name: "run_files",
            text: Cow::Owned(text),
        });
    }
    members
}

/// What a create reads of its run.
struct Found {
    _lock: RunLock,
    record_bytes: Vec<u8>,
    /// Shared with a thread that writes it while it is looked at.
    registry_bytes: Arc<Vec<u8>>,
    run_files: RunFiles,
    scan: Scan,
}

impl Found {
    /// Takes the run's lock and reads.
    fn read(context: &Context<'_>) -> Result<Self> {
        let (lock, _) = context.begin()?;
        context.fence()?;
        let record_bytes = read_run_record(context)?;
        let record = parse_run_record(context, &record_bytes)?;
        let registry_bytes = read_registry(context)?.unwrap_or_else(|| {
            let workflow_id = record.root().get("workflow_id");
            registry::empty(context.run.run_id(), workflow_id, &to_iso(context.now_ms))
        });
        Ok(Self {
            _lock: lock,
            run_files: read_run_files(context)?,
            scan: manifests::scan_seen(context.disk, context.run, context.cancel)?,
            record_bytes,
            registry_bytes: Arc::new(registry_bytes),
        })
    }
}

/// A registry that is on its way to the disk before it is known what becomes of it: most of a large one
/// stays, and that takes longest.
struct Ahead<'a> {
    staging: Staging<'a>,
    /// So many bytes of the registry as it was are in it.
    len: usize,
}

impl<'a> Ahead<'a> {
    /// Writes the beginning of a large registry. `None` if too little of it is likely to stay.
    fn begin(context: &Context<'a>, registry: &[u8]) -> Result<Option<Self>> {
        // Nothing changes before the first entry of a checkpoint, or what stands behind all entries.
        let own = memchr::memmem::find(registry, b"\"checkpoint-step-");
        let behind = registry.len().saturating_sub(WRITE_ONE);
        let stays = own.map_or(behind, |own| own.min(behind));
        if stays < PARALLEL_FROM {
            return Ok(None);
        }
        let mut staging = Staging::begin(context.disk, context.run.staged("registry"))?;
        write_blocks(&mut staging, &registry[..stays])?;
        let len = stays;
        Ok(Some(Self { staging, len }))
    }
}

/// A manifest and a registry that are on their way to the disk.
struct Pair<'a> {
    manifest: Staging<'a>,
    registry: Staging<'a>,
    size: u64,
    checksum: String,
    /// The manifest's bytes, of a small one.
    bytes: Option<Vec<u8>>,
}

/// Stages the manifest and the registry. Both are on their way to the disk before the first is
/// synced, as what was stored is, so that the file system can commit them together. A large manifest is never whole in
/// memory: it is printed, sealed and written block by block while a second thread computes its
/// checksum.
fn stage<'a>(
    context: &Context<'a>,
    members: &Members<'_>,
    large: bool,
    registry_bytes: &[u8],
    ahead: Option<Ahead<'a>>,
    print_registry: impl FnOnce(u64) -> Result<Vec<Piece>>,
) -> Result<Pair<'a>> {
    let path = context.run.staged("manifest");
    thread::scope(|scope| {
        // Without a second thread (the process may have no more) it is computed afterwards.
        let second = || {
            thread::Builder::new()
                .spawn_scoped(scope, || members.checksum())
                .ok()
        };
        let summing = if large { second() } else { None };
        let mut bytes = (!large).then(Vec::new);
        let mut manifest = Staging::begin(context.disk, path.clone())?;
        let mut written = Ok(());
        let mut unsent = 0;
        let printed = members.print(|block| {
            if written.is_ok() {
                written = manifest.write(block);
                unsent += block.len();
                if unsent >= WRITE_BACK {
                    manifest.write_back();
                    unsent = 0;
                }
            }
            if let Some(bytes) = &mut bytes {
                bytes.extend_from_slice(block);
            }
        });
        written?;
        let size = printed.file_size();
        if size > MANIFEST_MAX {
            return Err(Error::FileTooLarge {
                path,
                limit: MANIFEST_MAX,
            });
        }
        let checksum = match summing {
            Some(thread) => joined(thread)?,
            None => members.checksum(),
        };
        let tail = printed.tail(&checksum);
        manifest.write(&tail)?;
        if let Some(bytes) = &mut bytes {
            bytes.extend_from_slice(&tail);
        }
        manifest.write_back();
        let mut pieces = print_registry(size)?;
        let mut registry = match ahead {
            Some(ahead) if drop_front(&mut pieces, ahead.len) => ahead.staging,
            ahead => {
                drop(ahead);
                Staging::begin(context.disk, context.run.staged("registry"))?
            }
        };
        write_pieces(&mut registry, registry_bytes, &pieces)?;
        registry.write_back();
        Ok(Pair {
            manifest,
            registry,
            size,
            checksum,
            bytes,
        })
    })
}

/// Leaves the first bytes of a text out of its pieces, if they are those of the text before.
fn drop_front(pieces: &mut [Piece], len: usize) -> bool {
    match pieces.first_mut() {
        Some(Piece::Kept(range)) if range.start == 0 && range.end >= len => {
            range.start = len;
            true
        }
        _ => false,
    }
}

/// Writes a text that is made of pieces of another one.
fn write_pieces(staging: &mut Staging<'_>, before: &[u8], pieces: &[Piece]) -> Result<()> {
    let mut small = Vec::new();
    for piece in pieces {
        let bytes = match piece {
            Piece::Kept(range) => &before[range.clone()],
            Piece::New(bytes) => bytes,
        };
        if bytes.len() < WRITE_ONE {
            small.extend_from_slice(bytes);
            continue;
        }
        if !small.is_empty() {
            staging.write(&small)?;
            small.clear();
        }
        write_blocks(staging, bytes)?;
    }
    if small.is_empty() {
        return Ok(());
    }
    staging.write(&small)
}

/// Writes a large text, which sets out while the rest of it is being copied.
fn write_blocks(staging: &mut Staging<'_>, bytes: &[u8]) -> Result<()> {
    for block in bytes.chunks(WRITE_BACK) {
        staging.write(block)?;
        if block.len() == WRITE_BACK {
            staging.write_back();
        }
    }
    Ok(())
}

/// The manifest gets its name, then the registry is replaced. If the second fails, the first is
/// taken back: nothing half-done stays visible. The registry never names a checkpoint that power loss can still take:
/// its name is synced first, unless the file system keeps the order of the two, which one sync makes durable then.
fn publish(
    context: &Context<'_>,
    mut manifest: Staged<'_>,
    registry: Staged<'_>,
    id: &CheckpointId,
) -> Result<()> {
    let target = context.run.manifest(id);
    if !manifest.name_new(&target)? {
        return Err(Error::Io {
            action: "publish",
            path: target,
            source: io::ErrorKind::AlreadyExists.into(),
        });
    }
    if !context.disk.keeps_order(context.run.path()) {
        sync_parent(context.disk, &target)?;
    }
    match registry.publish_over(&context.run.registry()) {
        Ok(()) => Ok(()),
        // Both are visible; only the last sync was not confirmed.
        Err(error @ Error::NotDurable { .. }) => Err(error),
        Err(error) => {
            let _ = context.disk.remove_file(&target);
            Err(error)
        }
    }
}

fn check_size(request: &Request<'_>) -> Result<()> {
    let bytes = request.state.len() as u64;
    if bytes > request.max_state_bytes {
        return Err(Error::StateTooLarge {
            bytes,
            limit: request.max_state_bytes,
        });
    }
    Ok(())
}

fn parse_state<'a>(request: &Request<'a>) -> Result<Json<'a>> {
    // The manifest adds a level.
    Json::parse(request.state, MAX_DEPTH - 1).map_err(|error| match error {
        JsonError::TooDeep(limit) => Error::StateTooDeep { limit },
        error => Error::StateNotJson {
            reason: error.to_string(),
        },
    })
}

pub(super) fn read_run_record(context: &Context<'_>) -> Result<Vec<u8>> {
    let path = context.run.run_record();
    match context.disk.read(&path, RUN_FILE_MAX) {
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => Error::RunRecordMissing { path },
            io::ErrorKind::InvalidInput => Error::RunRecordDamaged {
                path,
                reason: "it is not a regular file".to_owned(),
            },
            io::ErrorKind::FileTooLarge => Error::FileTooLarge {
                path,
                limit: RUN_FILE_MAX,
            },
            _ => Error::io("read", &path, error),
        }),
    }
}

pub(super) fn parse_run_record<'a>(context: &Context<'_>, bytes: &'a [u8]) -> Result<Json<'a>> {
    let damaged = |reason: String| Error::RunRecordDamaged {
        path: context.run.run_record(),
        reason,
    };
    let json = Json::parse(bytes, MAX_DEPTH - 1).map_err(|error| damaged(error.to_string()))?;
    match run_record::problem(json.root(), context.run.run_id()) {
        Some(reason) => Err(damaged(reason)),
        None => Ok(json),
    }
}

/// The registry's bytes; `None` if the run has none.
pub(super) fn read_registry(context: &Context<'_>) -> Result<Option<Vec<u8>>> {
    let path = context.run.registry();
    match context.disk.read(&path, MANIFEST_MAX / 2) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(None),
            io::ErrorKind::InvalidInput => Err(Error::RegistryDamaged {
                path,
                reason: "it is not a regular file".to_owned(),
            }),
            io::ErrorKind::FileTooLarge => Err(Error::FileTooLarge {
                path,
                limit: MANIFEST_MAX / 2,
            }),
            _ => Err(Error::io("read", &path, error)),
        },
    }
}

pub(super) fn parse_registry<'a>(context: &Context<'_>, bytes: &'a [u8]) -> Result<Json<'a>> {
    Json::parse(bytes, MAX_DEPTH - 1).map_err(|error| Error::RegistryDamaged {
        path: context.run.registry(),
        reason: error.to_string(),
    })
}

pub(super) fn registry_of<'a>(context: &Context<'_>, json: &'a Json<'a>) -> Result<Registry<'a>> {
    Registry::new(json.root()).map_err(|reason| Error::RegistryDamaged {
        path: context.run.registry(),
        reason,
    })
}

/// The other JSON files at the top of a run's folder.
pub(super) struct RunFiles {
    /// By name, in order. One that can't be captured is there with its reason.
    pub(super) files: Vec<(String, RunFile)>,
    /// True if the folder holds anything else that the manifest does not carry itself.
    pub(super) has_others: bool,
}

/// Captures them.
pub(super) fn read_run_files(context: &Context<'_>) -> Result<RunFiles> {
    use base64::Engine as _;
    let run = context.run;
    let entries = context
        .disk
        .list(run.path())
        .map_err(|error| Error::io("read", run.path(), error))?;
    let (mut files, mut has_others) = (Vec::new(), false);
    for entry in entries {
        let Some(name) = entry.name.to_str() else {
            has_others = true;
            continue;
        };
        if !is_run_file(name) || entry.kind == EntryKind::Directory {
            has_others |= !is_carried(name, entry.kind);
            continue;
        }
        context.cancel.check()?;
        let path = run.path().join(name);
        let file = match context.disk.read(&path, RUN_FILE_MAX) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => RunFile::Text(text),
                Err(error) => RunFile::Base64(
                    base64::engine::general_purpose::STANDARD.encode(error.as_bytes()),
                ),
            },
            Err(error) => {
                let reason = match error.kind() {
                    io::ErrorKind::NotFound => continue,
                    io::ErrorKind::InvalidInput => "not_regular",
                    io::ErrorKind::FileTooLarge => "too_large",
                    _ => "unreadable",
                };
                let size = context.disk.metadata(&path).map_or(0, |found| found.len);
                RunFile::Skipped {
                    reason: reason.to_owned(),
                    size,
                }
            }
        };
        files.push((name.to_owned(), file));
    }
    files.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(RunFiles { files, has_others })
}

/// The highest sequence in use, also of checkpoints that are gone since a restore took note of it.
fn last_sequence(scan: &Scan, restored: Option<&Restored>) -> u64 {
    let noted = restored.map_or(0, |restored| restored.after_sequence);
    scan.good
        .iter()
        .filter_map(|good| good.header.sequence)
        .fold(noted, u64::max)
}

/// The checkpoint that the state on the disk descends from: the one restored last, if none was
/// taken since, else the newest.
fn parent_of(restored: Option<&Restored>, scan: &Scan) -> Option<CheckpointId> {
    let newest = &scan.good.first()?.header;
    let restored = restored
        .filter(|restored| newest.sequence.unwrap_or(0) <= restored.after_sequence)
        .and_then(|restored| {
            let mut ids = scan.good.iter().map(|good| &good.header.checkpoint_id);
            ids.find(|id| id.as_str() == restored.checkpoint_id)
        });
    Some(restored.unwrap_or(&newest.checkpoint_id).clone())
}

/// An id that no checkpoint of this run has or had: the millisecond tells them apart, and where it
/// may not, the sequence does.
fn new_id(
    context: &Context<'_>,
    step: &Step,
    scan: &Scan,
    created_ms: i64,
    sequence: u64,
) -> Result<CheckpointId> {
    let plain = format!("checkpoint-step-{}-{created_ms}", step.slug());
    let youngest = scan.good.iter().map(|good| good.header.created_ms).max();
    let mut candidates = (0_u64..).map(|again| match again {
        0 if youngest.is_none_or(|ms| ms < created_ms) => plain.clone(),
        0 | 1 => format!("{plain}-{sequence}"),
        again => format!("{plain}-{sequence}-{again}"),
    });
    loop {
        let id = CheckpointId::parse(&candidates.next().unwrap_or_default())?;
        match context.disk.metadata(&context.run.manifest(&id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(id),
            Err(error) => return Err(Error::io("read", &context.run.manifest(&id), error)),
            Ok(_) => {}
        }
    }
}

/// What goes once the new checkpoint is safe.
#[derive(Default)]
struct Going<'a> {
    dropped: HashSet<&'a str>,
    /// Rescue checkpoints that were made earlier go, too: the run went on. `None` keeps all.
    rescues_before_ms: Option<i64>,
}

impl<'a> Going<'a> {
    fn find(
        context: &Context<'_>,
        request: &Request<'_>,
        scan: &'a Scan,
        fresh: Candidate<'_>,
        record: Value<'_>,
    ) -> Result<Self> {
        let retention = request.retention.as_ref();
        let Some(retention) = retention.filter(|policy| policy.keep_last != ALL) else {
            return Ok(Self::default());
        };
        let mut oldest_ms = fresh.created_ms;
        if (scan.good.len() as u64) < u64::from(retention.keep_last) {
            // As many as are kept anyway: nothing else need be asked.
            let times = scan.good.iter().map(|good| good.header.created_ms);
            return Ok(Self {
                dropped: HashSet::new(),
                rescues_before_ms: Some(times.fold(oldest_ms, i64::min)),
            });
        }
        let mut candidates: Vec<Candidate<'_>> = candidates(context, scan)?;
        // The run goes on from the new one.
        for one in &mut candidates {
            one.standing = false;
        }
        candidates.push(fresh);
        let judged = retention.judge(&candidates, run_record::is_paused(record), context.now_ms);
        let mut dropped = HashSet::new();
        for one in judged {
            // Neither the new one nor a damaged one.
            let Some(good) = scan.good.get(one.at) else {
                continue;
            };
            if !one.keep {
                dropped.insert(good.header.checkpoint_id.as_str());
            } else if one.reasons.contains(&Reason::KeepLast) {
                // What is kept for years keeps no rescue checkpoint from going.
                oldest_ms = oldest_ms.min(good.header.created_ms);
            }
        }
        Ok(Self {
            dropped,
            rescues_before_ms: Some(oldest_ms),
        })
    }

    /// Archives what goes, if that is asked for. What can't be archived stays; the next one tries again.
    fn archived(
        mut self,
        context: &Context<'_>,
        request: &Request<'_>,
        scan: &Scan,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        if !request
            .retention
            .as_ref()
            .is_some_and(|policy| policy.archive)
        {
            return Ok(self);
        }
        for good in &scan.good {
            let id = good.header.checkpoint_id.as_str();
            if !self.dropped.contains(id) {
                continue;
            }
            match archive::archive(context, good) {
                Ok(_) => {}
                Err(Error::Aborted) => return Err(Error::Aborted),
                Err(error) => {
                    self.dropped.remove(id);
                    warnings.push(prune::stays(id, &error));
                }
            }
        }
        Ok(self)
    }
}
