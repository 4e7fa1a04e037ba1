//! Imports an archive: its checkpoints become checkpoints of the run here.
//!
//! The archive is read twice. First all of it is checked: every byte against its sums, every manifest by
//! its checksum, and that everything the manifests lead to is there and fits. Only then something is
//! written: the objects, durably, then the manifests.
//!
//! A run that is not here yet is made aside, as a folder with its manifests, `run.json` and the registry
//! as its newest checkpoint has them, and gets its name with one rename (*the visible moment*). Into a
//! run that is here each manifest is published for itself, oldest first: each is a whole checkpoint from
//! then on.
//!
//! Killed before the visible moment, objects are in packs that nobody needs, which gc drops, and perhaps
//! a folder `~waymark-import-…` beside the runs, which the next import removes. Killed between two
//! manifests of a run that was here, the same import again adds the rest.
//!
//! Nothing in an archive is used as a path but the ids of the run and of its checkpoints, which are names
//! that every platform takes for one component.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::event::{Event, Kind};
use crate::model::ids::{CheckpointId, RunId};
use crate::model::json::{Json, MAX_DEPTH, Value};
use crate::model::manifest::{self, Check, Header, MANIFEST_MAX, inspect, sort_newest_first};
use crate::model::object::ObjectId;
use crate::model::progress::{Phase, Progress};
use crate::model::registry::{CheckpointEntry, Piece, Registry};
use crate::model::run_record::{self, new_updated_at};
use crate::model::snapshot::{ChunkList, Tree};
use crate::model::time::to_iso;
use crate::ops::aside::{self, Aside};
use crate::ops::create::{
    begin_writer, parse_registry, parse_run_record, read_registry, read_run_record, registry_of,
};
use crate::ops::export::{Need, need_of, needs_of};
use crate::ops::registration::Plan;
use crate::ops::state::joined;
use crate::ops::{Context, budget, events};
use crate::store::archive::{Archive, Spot};
use crate::store::disk::Disk;
use crate::store::manifests::{self, Good};
use crate::store::objects::{Limit, Sink as _, Store, Stored, Writer};
use crate::store::publish::{Staged, remove};

/// What an import may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Request {
    /// Whether checkpoints of another run of the same id are added to the one that is here.
    pub merge: bool,
    /// The store's budget, in bytes; `None` is none.
    pub max_store_bytes: Option<u64>,
}

/// What an archive holds, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The run.
    pub run_id: RunId,
    /// The version of Waymark that made the archive.
    pub made_by: String,
    /// Whether it holds every checkpoint that the run had.
    pub whole_run: bool,
    /// Its checkpoints, newest first.
    pub checkpoints: Vec<Imported>,
    /// How many objects they need.
    pub objects: u64,
    /// The bytes of all of it, unpacked.
    pub bytes: u64,
    /// The archive's length in bytes.
    pub file_bytes: u64,
    /// What was written; `None` if it was only checked.
    pub written: Option<Written>,
}

/// A checkpoint of an archive.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// What its manifest says.
    pub header: Header,
    /// The manifest's length in bytes.
    pub size: u64,
    /// True if it was here already, byte for byte.
    pub was_here: bool,
}

/// What an import wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The run's folder.
    pub path: PathBuf,
    /// True if the run was not here before.
    pub new_run: bool,
    /// How many bytes were added to the store.
    pub added_bytes: u64,
    /// What went wrong after the checkpoints were safe, in words.
    pub warnings: Vec<String>,
}

/// The run that an archive is of. Only its contents are checked.
pub fn run_of(disk: &dyn Disk, path: &Path) -> Result<RunId> {
    let archive = open(disk, path)?;
    RunId::parse(&archive.contents().run_id)
}

/// Checks an archive, and tells what it holds. Writes nothing, and needs no project.
pub fn check(
    disk: &dyn Disk,
    path: &Path,
    cancel: &Cancel,
    progress: &Progress,
) -> Result<Outcome> {
    let archive = open(disk, path)?;
    let checked = Checked::read(&archive, cancel, progress, 1)?;
    // What a new run would be made of.
    checked.newest(&archive)?;
    Ok(checked.outcome(&archive, &[], None))
}

/// Imports an archive of the context's run.
pub fn import(context: &Context<'_>, path: &Path, request: &Request) -> Result<Outcome> {
    events::watch(context, "import", || {
        let mut outcome = import_unnoted(context, path, request)?;
        let checkpoints = outcome.checkpoints.iter().rev();
        let noted = checkpoints.filter(|one| !one.was_here).map(|one| {
            Event::new(Kind::Imported, "import")
                .of(one.header.checkpoint_id.as_str())
                .with("bytes", one.size)
        });
        let warning = events::note_all(context, noted.collect());
        events::end_noted(context, warning.as_ref());
        if let Some(written) = &mut outcome.written {
            written.warnings.extend(warning);
        }
        Ok(outcome)
    })
}

fn import_unnoted(context: &Context<'_>, path: &Path, request: &Request) -> Result<Outcome> {
    let archive = open(context.disk, path)?;
    if archive.contents().run_id != context.run.run_id().as_str() {
        return Err(Error::Internal {
            message: "an archive was imported into another run".to_owned(),
        });
    }
    let checked = Checked::read(&archive, context.cancel, context.progress, 2)?;
    let newest = checked.newest(&archive)?;
    aside::remove_leftovers(context);
    match context.disk.metadata(context.run.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let written = new_run(context, &archive, &checked, &newest, request)?;
            Ok(checked.outcome(&archive, &[], Some(written)))
        }
        Err(error) => Err(Error::io("read", context.run.path(), error)),
        Ok(_) => into_run(context, &archive, &checked, &newest, request),
    }
}

/// Opens an archive. A link to one is followed: it was named by the caller.
fn open<'a>(disk: &'a dyn Disk, path: &Path) -> Result<Archive<'a>> {
    if !disk.is_real() {
        return Archive::open(disk, path);
    }
    let path = fs::canonicalize(path).map_err(|error| Error::io("read", path, error))?;
    Archive::open(disk, &path)
}

/// Something that manifests lead to.
#[derive(Debug, Default)]
struct Known {
    tree: bool,
    list: Option<u64>,
    leaf: Option<u64>,
    /// The first checkpoint that leads to it.
    by: usize,
    spot: Option<Spot>,
}

/// An archive that was read to its end and found whole.
struct Checked {
    run_id: RunId,
    /// In the archive's order: the header, the manifest's hash and its place.
    checkpoints: Vec<(Header, ObjectId, Spot, u64)>,
    known: HashMap<ObjectId, Known>,
}

impl Checked {
    /// Reads all of it; `rounds` is how often it will be read in all.
    fn read(
        archive: &Archive<'_>,
        cancel: &Cancel,
        progress: &Progress,
        rounds: u64,
    ) -> Result<Self> {
        let contents = archive.contents();
        let run_id = RunId::parse(&contents.run_id)?;
        let parts = contents.checkpoints.len() as u64 + contents.objects.len() as u64;
        progress.expect(parts * rounds, contents.bytes().saturating_mul(rounds));
        progress.enter(Phase::Verifying);
        let mut checked = Self {
            run_id: run_id.clone(),
            checkpoints: Vec::with_capacity(contents.checkpoints.len()),
            known: HashMap::with_capacity(contents.objects.len()),
        };
        archive.read_all(cancel, &mut |part| {
            progress.add(1, part.bytes.len() as u64);
            let Some(listed) = contents.checkpoints.get(part.index) else {
                return checked.arrive(archive, part.id, part.bytes, part.spot, part.at);
            };
            let header = inspect(part.bytes, &listed.checkpoint_id, &run_id, Check::Checksum)
                .map_err(|damage| Error::CheckpointDamaged {
                    run_id: run_id.to_string(),
                    checkpoint_id: listed.checkpoint_id.clone(),
                    path: archive.path().to_path_buf(),
                    damage,
                })?;
            for need in needs_of(&header) {
                checked.want(archive, need, part.index, part.at)?;
            }
            checked
                .checkpoints
                .push((header, part.id, part.spot, part.bytes.len() as u64));
            Ok(())
        })?;
        let lacking = checked.known.iter().find(|(_, one)| one.spot.is_none());
        if let Some((id, one)) = lacking {
            let by = &contents.checkpoints[one.by].checkpoint_id;
            let what = format!("checkpoint {by} needs object {id}, which is not in it");
            return Err(archive.damaged("inconsistent", &what, 0));
        }
        Ok(checked)
    }

    fn want(&mut self, archive: &Archive<'_>, need: Need, by: usize, at: u64) -> Result<()> {
        let (Need::Tree(id) | Need::List(id, _) | Need::Leaf(id, _)) = need;
        let known = self.known.entry(id).or_insert_with(|| Known {
            by,
            ..Known::default()
        });
        let here = known.spot.is_some();
        let len = known.spot.map(|spot| spot.len());
        let fits = match need {
            Need::Tree(_) => {
                let fits = !here || known.tree;
                known.tree = true;
                fits
            }
            Need::List(_, size) => {
                let fits =
                    (!here || known.list.is_some()) && known.list.is_none_or(|one| one == size);
                known.list = Some(size);
                fits
            }
            Need::Leaf(_, size) => {
                let fits =
                    len.is_none_or(|one| one == size) && known.leaf.is_none_or(|one| one == size);
                known.leaf = Some(size);
                fits
            }
        };
        if fits {
            return Ok(());
        }
        let what = format!("object {id} is not what a checkpoint needs, or not where it must be");
        Err(archive.damaged("inconsistent", &what, at))
    }

    /// An object was read.
    fn arrive(
        &mut self,
        archive: &Archive<'_>,
        id: ObjectId,
        bytes: &[u8],
        spot: Spot,
        at: u64,
    ) -> Result<()> {
        let wrong = |what: &str| {
            let what = format!("object {id}: {what}");
            archive.damaged("inconsistent", &what, at)
        };
        let Some(known) = self.known.get_mut(&id) else {
            return Err(wrong("nothing before it names it"));
        };
        known.spot = Some(spot);
        let (tree, list, by) = (known.tree, known.list, known.by);
        if known.leaf.is_some_and(|len| len != bytes.len() as u64) {
            return Err(wrong("it has another length"));
        }
        if tree {
            let tree = Tree::decode(bytes).ok_or_else(|| wrong("it is no folder"))?;
            for need in tree.entries.iter().filter_map(|entry| need_of(&entry.node)) {
                self.want(archive, need, by, at)?;
            }
        }
        if let Some(size) = list {
            let list = ChunkList::decode(bytes).ok_or_else(|| wrong("it is no list of chunks"))?;
            if list.len() != Some(size) {
                return Err(wrong("its chunks have another length"));
            }
            for piece in list.pieces {
                if let Some(chunk) = piece.chunk {
                    self.want(archive, Need::Leaf(chunk, piece.len), by, at)?;
                }
            }
        }
        Ok(())
    }

    /// Places in `checkpoints`, newest first.
    fn order(&self) -> Vec<usize> {
        let headers = self.checkpoints.iter().map(|(header, ..)| header);
        let mut order: Vec<(usize, Header)> =
            headers.map(Header::without_objects).enumerate().collect();
        sort_newest_first(&mut order, |(_, header)| header);
        order.into_iter().map(|(at, _)| at).collect()
    }

    /// The newest checkpoint's manifest with everything in it, which was held against what a restore needs.
    fn newest(&self, archive: &Archive<'_>) -> Result<Newest> {
        let order = self.order();
        let (header, id, spot, _) = &self.checkpoints[order[0]];
        let bytes = archive.get(id, spot)?;
        let mut texts = Vec::new();
        for state in &header.state_objects {
            let text = if state.chunked {
                self.content(archive, &state.object, state.bytes)?
            } else {
                self.object(archive, &state.object)?
            };
            texts.push((state.member.as_str(), text));
        }
        let damaged = |damage| Error::CheckpointDamaged {
            run_id: archive.contents().run_id.clone(),
            checkpoint_id: header.checkpoint_id.to_string(),
            path: archive.path().to_path_buf(),
            damage,
        };
        let manifest = if texts.is_empty() {
            bytes
        } else {
            joined(&bytes, &texts).map_err(|error| damaged(error.into()))?
        };
        let json = Json::parse(&manifest, MAX_DEPTH).map_err(|error| damaged(error.into()))?;
        let opened = manifest::opened(&json, header.clone());
        opened.run_record().map_err(damaged)?;
        opened.registry().map_err(damaged)?;
        opened.run_files().map_err(damaged)?;
        drop(json);
        Ok(Newest {
            header: header.clone(),
            manifest,
        })
    }

    fn object(&self, archive: &Archive<'_>, id: &ObjectId) -> Result<Vec<u8>> {
        match self.known.get(id).and_then(|known| known.spot) {
            Some(spot) => archive.get(id, &spot),
            None => Err(Error::Internal {
                message: "an object of a checked archive is not known".to_owned(),
            }),
        }
    }

    fn content(&self, archive: &Archive<'_>, id: &ObjectId, size: u64) -> Result<Vec<u8>> {
        if size > MANIFEST_MAX {
            return Err(Error::FileTooLarge {
                path: archive.path().to_path_buf(),
                limit: MANIFEST_MAX,
            });
        }
        let list = ChunkList::decode(&self.object(archive, id)?).unwrap_or_default();
        let mut text = Vec::new();
        for piece in list.pieces {
            match piece.chunk {
                Some(chunk) => text.extend(self.object(archive, &chunk)?),
                None => text.resize(text.len() + usize::try_from(piece.len).unwrap_or(0), 0),
            }
        }
        Ok(text)
    }

    fn outcome(
        &self,
        archive: &Archive<'_>,
        here: &[CheckpointId],
        written: Option<Written>,
    ) -> Outcome {
        let contents = archive.contents();
        let checkpoints = self.order().into_iter().map(|at| {
            let (header, _, _, size) = &self.checkpoints[at];
            Imported {
                was_here: here.contains(&header.checkpoint_id),
                header: header.clone(),
                size: *size,
            }
        });
        Outcome {
            checkpoints: checkpoints.collect(),
            run_id: self.run_id.clone(),
            made_by: contents.made_by.clone(),
            whole_run: contents.whole_run,
            objects: contents.objects.len() as u64,
            bytes: contents.bytes(),
            file_bytes: archive.file_len(),
            written,
        }
    }
}

/// What a run that is not here yet is made of.
struct Newest {
    header: Header,
    manifest: Vec<u8>,
}

impl Newest {
    /// Hands out `run.json` and the registry as they were; both were looked at before.
    fn open<T>(&self, then: impl FnOnce(Value<'_>, Registry<'_>) -> Result<T>) -> Result<T> {
        let internal = |message: &str| Error::Internal {
            message: message.to_owned(),
        };
        let json = Json::parse(&self.manifest, MAX_DEPTH)
            .map_err(|_| internal("a manifest that was checked is no JSON"))?;
        let opened = manifest::opened(&json, self.header.clone());
        match (opened.run_record(), opened.registry()) {
            (Ok(record), Ok(registry)) => then(record, registry),
            _ => Err(internal("a manifest that was checked lacks its state")),
        }
    }

    /// `run.json` as a restore of it would leave it.
    fn run_record(&self, context: &Context<'_>, record: Value<'_>) -> Vec<u8> {
        let own = record.get("updated_at").and_then(Value::as_str);
        let own = own.map(std::borrow::Cow::into_owned);
        let updated_at = new_updated_at(context.now_ms, &[own]);
        run_record::restored(record, &self.header.step, updated_at).to_pretty()
    }
}

/// Brings all objects into the store, durably.
fn store_objects<'a, 'c: 'a>(
    context: &Context<'c>,
    archive: &Archive<'_>,
    opened: &'a OnceCell<Store<'c>>,
    request: &Request,
) -> Result<Option<Stored<'a>>> {
    let put = |limit, pack_max| put_objects(context, archive, opened, limit, pack_max);
    let (Some(max), Some(place)) = (request.max_store_bytes, context.store) else {
        return put(Limit::None, u64::MAX);
    };
    if archive.contents().objects.is_empty() {
        return Ok(None);
    }
    // What the store itself takes counts, too.
    let store = Store::open_or_create(context.disk, place, context.now_ms)?;
    opened.get_or_init(|| store);
    place.keep_reserve(context.disk);
    let pack_max = budget::pack_max(max);
    let room = || budget::room(context, place, max, pack_max);
    match put(Limit::Bytes(room()?), pack_max) {
        Err(Error::StoreBudget { .. }) => {}
        done => return done,
    }
    if let Some(store) = opened.get() {
        budget::collect(context, store, pack_max)?;
    }
    let (path, allowed) = match put(Limit::Bytes(room()?), pack_max) {
        Err(Error::StoreBudget { path, allowed, .. }) => (path, allowed),
        done => return done,
    };
    match put(Limit::Measure, pack_max) {
        Err(Error::StoreBudget { needed, .. }) => Err(Error::StoreBudget {
            path,
            needed,
            allowed,
            dropped: Vec::new(),
        }),
        done => done,
    }
}

fn put_objects<'a, 'c: 'a>(
    context: &Context<'c>,
    archive: &Archive<'_>,
    opened: &'a OnceCell<Store<'c>>,
    limit: Limit,
    pack_max: u64,
) -> Result<Option<Stored<'a>>> {
    let contents = archive.contents();
    if contents.objects.is_empty() {
        return Ok(None);
    }
    let Some(writer) = begin_writer(context, opened, limit, pack_max)? else {
        return Err(Error::Internal {
            message: "objects were imported without a store".to_owned(),
        });
    };
    context.progress.enter(Phase::Storing);
    let mut lane = writer.lane();
    archive.read_all(context.cancel, &mut |part| {
        context.progress.add(1, part.bytes.len() as u64);
        if part.index >= contents.checkpoints.len() {
            lane.put(part.bytes)?;
        }
        Ok(())
    })?;
    lane.finish()?;
    Writer::sync(writer).map(Some)
}

/// Tells others what was stored. The checkpoints are safe whatever comes of it.
fn record(stored: Option<Stored<'_>>, warnings: &mut Vec<String>) -> u64 {
    let Some(stored) = stored else {
        return 0;
    };
    let bytes = stored.bytes;
    if let Err(error) = stored.record() {
        warnings.push(error.full_message());
    }
    bytes
}

fn entry_of(context: &Context<'_>, header: &Header, size: u64) -> CheckpointEntry {
    CheckpointEntry {
        checkpoint_id: header.checkpoint_id.clone(),
        step: header.step.clone(),
        created_at: header.timestamp.clone(),
        path: context
            .run
            .manifest(&header.checkpoint_id)
            .to_string_lossy()
            .into_owned(),
        size,
    }
}

/// Makes the run.
fn new_run(
    context: &Context<'_>,
    archive: &Archive<'_>,
    checked: &Checked,
    newest: &Newest,
    request: &Request,
) -> Result<Written> {
    let entries: Vec<CheckpointEntry> = checked
        .order()
        .into_iter()
        .rev()
        .map(|at| {
            let (header, _, _, size) = &checked.checkpoints[at];
            entry_of(context, header, *size)
        })
        .collect();
    let now = to_iso(context.now_ms);
    let (record_text, registry_text) = newest.open(|record, registry| {
        // Entered anew, since they lie elsewhere now.
        let registry = registry.edited(&|_| true, &entries, Some(&now)).to_pretty();
        Ok((newest.run_record(context, record), registry))
    })?;

    let opened = OnceCell::new();
    let stored = store_objects(context, archive, &opened, request)?;
    context.progress.enter(Phase::Writing);
    let aside = Aside::begin(context, aside::IMPORTING)?;
    for (header, id, spot, _) in &checked.checkpoints {
        context.cancel.check()?;
        let name = format!("checkpoints/{}.json", header.checkpoint_id);
        aside.write(&name, &archive.get(id, spot)?)?;
    }
    aside.write("run.json", &record_text)?;
    aside.write("artifact-registry.json", &registry_text)?;
    aside.sync()?;
    context.cancel.check()?;
    let ids = checked.checkpoints.iter();
    begin(context, ids.map(|(header, ..)| header));
    aside.publish(context.run.path(), || Error::ImportConflict {
        run_id: checked.run_id.to_string(),
        reason: "run",
        checkpoint_id: None,
        what: "somebody made a run of that id meanwhile; try again".to_owned(),
    })?;
    let mut warnings = Vec::new();
    Ok(Written {
        path: context.run.path().to_path_buf(),
        new_run: true,
        added_bytes: record(stored, &mut warnings),
        warnings,
    })
}

/// Marks that checkpoints are about to appear.
fn begin<'h>(context: &Context<'_>, headers: impl Iterator<Item = &'h Header>) {
    let due = |header: &Header| {
        let id = header.checkpoint_id.as_str();
        events::due(Kind::Imported, "import", id, None)
    };
    events::begin(context, headers.map(due).collect());
}

/// Adds the checkpoints to a run that is here.
fn into_run(
    context: &Context<'_>,
    archive: &Archive<'_>,
    checked: &Checked,
    newest: &Newest,
    request: &Request,
) -> Result<Outcome> {
    let (_lock, _) = context.begin()?;
    let record_here = match read_run_record(context) {
        Ok(bytes) => Some(bytes),
        Err(Error::RunRecordMissing { .. }) => None,
        Err(error) => return Err(error),
    };
    if let (Some(bytes), false) = (&record_here, request.merge) {
        let here = parse_run_record(context, bytes)?;
        newest.open(|record, _| match run_record::differs(here.root(), record) {
            None => Ok(()),
            Some(what) => Err(Error::ImportConflict {
                run_id: checked.run_id.to_string(),
                reason: "run",
                checkpoint_id: None,
                what: format!(
                    "another run of that id is here (its {what} is another); import into another                      folder of runs, or allow the two to be merged"
                ),
            }),
        })?;
    }
    let was_here = already_here(context, checked)?;
    let fresh = || {
        let all = checked.checkpoints.iter();
        all.filter(|(header, ..)| !was_here.contains(&header.checkpoint_id))
    };
    let registry_bytes = registry_with(
        context,
        newest,
        fresh().map(|(header, _, _, size)| (header, *size)),
    )?;

    let opened = OnceCell::new();
    let stored = store_objects(context, archive, &opened, request)?;
    context.progress.enter(Phase::Writing);
    let mut staged = Vec::new();
    for (at, (header, id, spot, _)) in fresh().enumerate() {
        context.cancel.check()?;
        let path = context.run.staged(&format!("import-{at}"));
        let file = Staged::write(context.disk, path, &archive.get(id, spot)?)?;
        staged.push((file, context.run.manifest(&header.checkpoint_id)));
    }
    if record_here.is_none() {
        let bytes = newest.open(|record, _| Ok(newest.run_record(context, record)))?;
        let path = context.run.staged("import-run");
        let file = Staged::write(context.disk, path, &bytes)?;
        staged.push((file, context.run.run_record()));
    }
    let registry = match registry_bytes {
        Some(bytes) => {
            let path = context.run.staged("import-registry");
            Some(Staged::write(context.disk, path, &bytes)?)
        }
        None => None,
    };
    context.cancel.check()?;
    begin(context, fresh().map(|(header, ..)| header));
    publish(context, staged, registry)?;
    let mut warnings = Vec::new();
    let written = Written {
        path: context.run.path().to_path_buf(),
        new_run: false,
        added_bytes: record(stored, &mut warnings),
        warnings,
    };
    Ok(checked.outcome(archive, &was_here, Some(written)))
}

/// Those of the archive that the run has, byte for byte; one of the same id with other bytes is refused.
fn already_here(context: &Context<'_>, checked: &Checked) -> Result<Vec<CheckpointId>> {
    let mut here = Vec::new();
    for (header, hash, ..) in &checked.checkpoints {
        context.cancel.check()?;
        let path = context.run.manifest(&header.checkpoint_id);
        match context.disk.read(&path, MANIFEST_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Ok(bytes) if ObjectId::of(&bytes) == *hash => here.push(header.checkpoint_id.clone()),
            Ok(_) | Err(_) => {
                return Err(Error::ImportConflict {
                    run_id: checked.run_id.to_string(),
                    reason: "checkpoint",
                    checkpoint_id: Some(header.checkpoint_id.to_string()),
                    what: format!(
                        "{} is there, and is not the checkpoint of that id in the archive; verify \
                         it, and move it away if it is damaged",
                        path.display()
                    ),
                });
            }
        }
    }
    Ok(here)
}

/// The registry with entries for the checkpoints that come; `None` if it stays as it is.
fn registry_with<'h>(
    context: &Context<'_>,
    newest: &Newest,
    fresh: impl Iterator<Item = (&'h Header, u64)>,
) -> Result<Option<Vec<u8>>> {
    let mut scan = manifests::scan_seen(context.disk, context.run, context.cancel)?;
    scan.good.extend(fresh.map(|(header, size)| Good {
        header: header.clone(),
        path: context.run.manifest(&header.checkpoint_id),
        size,
        stamp: None,
        last_verified_ms: None,
    }));
    sort_newest_first(&mut scan.good, |good| &good.header);
    let now = to_iso(context.now_ms);
    match read_registry(context)? {
        Some(bytes) => {
            let json = parse_registry(context, &bytes)?;
            let registry = registry_of(context, &json)?;
            let plan = Plan::new(&registry.survey(), &scan, &HashSet::new());
            let stays = plan.missing.is_empty() && !plan.dangling;
            Ok((!stays).then(|| {
                let pieces = registry.edited_text(&|id| plan.is_gone(id), &plan.missing, &now);
                Piece::whole(&pieces, &bytes)
            }))
        }
        None => newest.open(|_, registry| {
            let plan = Plan::new(&registry.survey(), &scan, &HashSet::new());
            let gone = |id: &str| plan.is_gone(id);
            let edited = registry.edited(&gone, &plan.missing, Some(&now));
            Ok(Some(edited.to_pretty()))
        }),
    }
}

/// Gives everything its name, the registry last. If one refuses, the others are taken back.
fn publish(
    context: &Context<'_>,
    staged: Vec<(Staged<'_>, PathBuf)>,
    registry: Option<Staged<'_>>,
) -> Result<()> {
    let mut published = Vec::new();
    let result = (|| {
        for (mut file, target) in staged {
            if !file.publish_new(&target)? {
                return Err(Error::Io {
                    action: "publish",
                    path: target,
                    source: io::ErrorKind::AlreadyExists.into(),
                });
            }
            published.push(target);
        }
        match registry {
            Some(registry) => registry.publish_over(&context.run.registry()),
            None => Ok(()),
        }
    })();
    match result {
        Err(error) if !matches!(error, Error::NotDurable { .. }) => {
            // The newest first, so that what a kill leaves is the beginning of the history.
            for target in published.iter().rev() {
                let _ = remove(context.disk, target);
            }
            Err(error)
        }
        done => done,
    }
}
