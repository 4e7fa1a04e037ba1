//! Tells what differs between two checkpoints of a run, or between one and the disk.
//!
//! Nothing is written: the disk is looked at as `create` would capture it, with what the stat caches
//! know, but only names and hashes are kept. The run's lock is not taken.
//!
//! *Limits*: the disk is not one moment; what changes while it is looked at may be told as it was or as
//! it is.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;

use crate::error::{Error, Result};
use crate::model::diff::{
    self, ChangeKind, FileChange, JsonDiff, NodeInfo, NodeKind, TextDiff, Times, Trees,
};
use crate::model::ids::CheckpointId;
use crate::model::json::{Json, MAX_DEPTH, Value};
use crate::model::manifest::{Header, RunFile, Snapshot, SnapshotRoot, opened};
use crate::model::object::ObjectId;
use crate::model::progress::Phase;
use crate::model::registry::Registry;
use crate::model::snapshot::{Node, TREE_MAGIC, Tree};
use crate::ops::Context;
use crate::ops::capture::{Capture, Wanted};
use crate::ops::create::{
    parse_registry, parse_run_record, read_registry, read_run_files, read_run_record, registry_of,
};
use crate::ops::files::{content, damaged, read_tree};
use crate::ops::show::{Shown, show};
use crate::ops::state::open_store;
use crate::store::objects::{Content, Lane, Sink, Store};
use crate::store::workspace::read_file;

/// How many lines are shown around a change.
const CONTEXT_LINES: usize = 3;
/// How much text is made of all files together, in bytes.
const TEXT_MAX: usize = 16 << 20;

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
    let files = files(context, request, &from, &to, before, after)?;
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
        Ok(Self {
            shown: None,
            texts: [record, registry, None],
            run_files: read_run_files(context)?.into_iter().collect(),
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
        let kind = match (before, after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Removed,
            _ => ChangeKind::Changed,
        };
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

/// A folder with a tree on one side or both.
struct Pair {
    root: Root,
    before: Option<ObjectId>,
    after: Option<ObjectId>,
    /// Where it lies, if the side after is the disk.
    on_disk: Option<PathBuf>,
}

fn files(
    context: &Context<'_>,
    request: &Request,
    from: &Side,
    to: &Side,
    before: &Parsed<'_>,
    after: &Parsed<'_>,
) -> Result<Files> {
    let foreign = |side: &Side| {
        let header = side.shown.as_ref().map(|shown| &shown.header);
        header.is_some_and(|header| header.sequence.is_none())
    };
    // Other tools capture no files; without options nobody knows how to look.
    if foreign(from) || foreign(to) || (request.to.is_none() && request.capture.is_none()) {
        return Ok(Files::default());
    }
    let store = open_store(context)?;
    let registries = [before, after].into_iter().filter_map(|side| {
        side.root_of(REGISTRY)
            .and_then(|value| Registry::new(value).ok())
    });
    let registries: Vec<_> = registries.collect();
    // A gc may drop folders that only the caches name; then everything is read.
    for use_caches in [true, false] {
        let hashed = Hashed::default();
        let pairs = match &to.shown {
            Some(_) => of_checkpoints(from.snapshot(), to.snapshot()),
            None => {
                let generation = match &store {
                    Some(store) if use_caches => Some(store.generation()?.cast_unsigned()),
                    _ => None,
                };
                let now = on_disk(context, request, from, to, &registries, generation, &hashed)?;
                of_disk(from.snapshot(), now)
            }
        };
        let comparison = Comparison {
            context,
            request,
            store: store.as_ref(),
            hashed: &hashed,
        };
        match comparison.run(&pairs) {
            Ok(files) => return Ok(files),
            Err(Error::ObjectMissing { .. }) if use_caches && to.shown.is_none() => {}
            Err(error) => {
                let damaged_id = match &error {
                    Error::ObjectMissing { id, .. } | Error::ObjectDamaged { id, .. } => {
                        let has = |side: &Side| comparison.names(side.snapshot(), id);
                        if to.shown.is_some() && !has(from) {
                            to
                        } else {
                            from
                        }
                    }
                    _ => from,
                };
                let id = damaged_id
                    .shown
                    .as_ref()
                    .map(|one| &one.header.checkpoint_id);
                return damaged(context, id.unwrap_or(&request.from), error);
            }
        }
    }
    Ok(Files::default())
}

fn of_checkpoints(before: Option<&Snapshot>, after: Option<&Snapshot>) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for root in before.iter().flat_map(|one| &one.roots) {
        pairs.push(Pair::new(root, Some(root.tree), None));
    }
    for root in after.iter().flat_map(|one| &one.roots) {
        match pairs
            .iter_mut()
            .find(|pair| pair.is(&root.name, &root.path))
        {
            Some(pair) => {
                pair.root.after = true;
                pair.after = Some(root.tree);
            }
            None => pairs.push(Pair::new(root, None, Some(root.tree))),
        }
    }
    pairs
}

fn of_disk(before: Option<&Snapshot>, now: Vec<(SnapshotRoot, PathBuf, bool)>) -> Vec<Pair> {
    let mut pairs: Vec<Pair> = before
        .iter()
        .flat_map(|one| &one.roots)
        .map(|root| Pair::new(root, Some(root.tree), None))
        .collect();
    for (root, path, there) in now {
        let tree = there.then_some(root.tree);
        let at = match pairs
            .iter()
            .position(|pair| pair.is(&root.name, &root.path))
        {
            Some(at) => at,
            None if there => {
                pairs.push(Pair::new(&root, None, None));
                pairs.len() - 1
            }
            None => continue,
        };
        pairs[at].root.after = there;
        pairs[at].after = tree;
        pairs[at].on_disk = Some(path);
    }
    pairs
}

impl Pair {
    fn new(root: &SnapshotRoot, before: Option<ObjectId>, after: Option<ObjectId>) -> Self {
        Self {
            root: Root {
                name: root.name.clone(),
                path: root.path.clone(),
                before: before.is_some(),
                after: after.is_some(),
            },
            before,
            after,
            on_disk: None,
        }
    }

    fn is(&self, name: &str, path: &str) -> bool {
        self.root.name == name && self.root.path == path
    }
}

/// Looks at the disk: at what the checkpoint has, and at what a new one would have of the run.
fn on_disk(
    context: &Context<'_>,
    request: &Request,
    from: &Side,
    to: &Side,
    registries: &[Registry<'_>],
    generation: Option<u64>,
    hashed: &Hashed,
) -> Result<Vec<(SnapshotRoot, PathBuf, bool)>> {
    let (Some(given), Some(place)) = (&request.capture, context.store) else {
        return Ok(Vec::new());
    };
    let has = |name: &str| {
        let mut roots = from.snapshot().into_iter().flat_map(|one| &one.roots);
        roots.any(|root| root.name == name)
    };
    let workspace = from.snapshot().into_iter().flat_map(|one| &one.roots);
    let capture = Capture {
        run: given.run || has("run"),
        artifacts: given.artifacts || has("artifacts"),
        workspace: workspace
            .filter(|root| root.name == "workspace")
            .map(|root| PathBuf::from(&root.path))
            .collect(),
        refuse_partial: false,
        ..given.clone()
    };
    let run_files = to.run_files();
    let Some(wanted) = Wanted::find(context, Some(&capture), registries, &run_files)? else {
        return Ok(Vec::new());
    };
    let looked = wanted.look(context, place, generation, hashed, &run_files)?;
    let rows = looked.into_iter().map(|one| {
        let root = SnapshotRoot {
            name: one.name.to_owned(),
            path: one.shown,
            tree: one.tree.unwrap_or_else(|| ObjectId::of(b"")),
        };
        (root, one.path, one.tree.is_some())
    });
    Ok(rows.collect())
}

/// Keeps folders in memory, and of everything else only the name.
#[derive(Default)]
struct Hashed(Mutex<HashMap<ObjectId, Vec<u8>>>);

struct HashedLane<'a>(&'a Hashed);

impl Sink for Hashed {
    fn lane(&self) -> Box<dyn Lane + '_> {
        Box::new(HashedLane(self))
    }
}

impl Lane for HashedLane<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<ObjectId> {
        let id = ObjectId::of(bytes);
        if bytes.starts_with(&TREE_MAGIC) {
            let mut kept = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.entry(id).or_insert_with(|| bytes.to_vec());
        }
        Ok(id)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct Comparison<'a> {
    context: &'a Context<'a>,
    request: &'a Request,
    store: Option<&'a Store<'a>>,
    hashed: &'a Hashed,
}

impl Trees for Comparison<'_> {
    fn tree(&self, id: &ObjectId) -> Result<Tree> {
        self.context.cancel.check()?;
        let kept = self.hashed.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = kept.get(id).and_then(|bytes| Tree::decode(bytes)) {
            return Ok(tree);
        }
        drop(kept);
        read_tree(self.store, self.context, id)
    }
}

impl Comparison<'_> {
    fn run(&self, pairs: &[Pair]) -> Result<Files> {
        self.context.progress.enter(Phase::Reading);
        let mut files = Files {
            compared: true,
            roots: pairs.iter().map(|pair| pair.root.clone()).collect(),
            ..Files::default()
        };
        let mut room = TEXT_MAX;
        for (at, pair) in pairs.iter().enumerate() {
            let (before, after) = (pair.before.as_ref(), pair.after.as_ref());
            diff::trees(self, before, after, self.request.times, &mut |change| {
                self.context.cancel.check()?;
                files.total += 1;
                match change.kind() {
                    ChangeKind::Added => files.added += 1,
                    ChangeKind::Removed => files.removed += 1,
                    ChangeKind::Changed => files.changed += 1,
                }
                if files.changes.len() < self.request.file_limit {
                    let text = self.text(pair, &change, &mut room)?;
                    let root = at;
                    files.changes.push(Change { root, change, text });
                }
                Ok(())
            })?;
        }
        Ok(files)
    }

    /// The lines of a path that differ, if they were asked for.
    fn text(&self, pair: &Pair, change: &FileChange, room: &mut usize) -> Result<Option<Lines>> {
        if !self.request.text.wants(&change.path) {
            return Ok(None);
        }
        let sides = [&change.before, &change.after];
        let kind = |kind: NodeKind| {
            let mut there = sides.iter().filter_map(|one| one.as_ref());
            there.any(|one| one.kind == kind)
        };
        if kind(NodeKind::Withheld) {
            return Ok(Some(Lines::None("secret")));
        }
        if !sides
            .iter()
            .filter_map(|one| one.as_ref())
            .all(|one| one.kind == NodeKind::File)
        {
            // There is nothing to compare in what is new or gone and no file.
            let both = change.kind() == ChangeKind::Changed;
            return Ok((both && kind(NodeKind::File)).then_some(Lines::None("not_files")));
        }
        if change.kind() == ChangeKind::Changed && !change.differs.content {
            return Ok(None);
        }
        let size = |info: &Option<NodeInfo>| info.as_ref().and_then(|one| one.size).unwrap_or(0);
        let most = size(&change.before).max(size(&change.after));
        let fits = usize::try_from(most).is_ok_and(|most| most <= *room);
        if most > self.request.max_bytes || !fits {
            return Ok(Some(Lines::None("too_large")));
        }
        let before = self.stored(change.before.as_ref())?;
        let after = match (&change.after, &pair.on_disk) {
            (Some(info), Some(folder)) => match self.lying(folder, &change.path, info) {
                Some(bytes) => bytes,
                None => return Ok(Some(Lines::None("changing"))),
            },
            (info, _) => self.stored(info.as_ref())?,
        };
        let lines = lines(&before, &after, self.request.max_bytes);
        if let Lines::Unified(text) = &lines {
            *room = room.saturating_sub(text.len());
        }
        Ok(Some(lines))
    }

    fn stored(&self, info: Option<&NodeInfo>) -> Result<Vec<u8>> {
        let Some((info, hash)) = info.and_then(|info| Some((info, info.hash?))) else {
            return Ok(Vec::new());
        };
        let wanted = Content {
            object: info.chunks.unwrap_or(hash),
            is_list: info.chunks.is_some(),
            size: info.size.unwrap_or(0),
            hash: Some(hash),
        };
        content(self.store, self.context, &wanted)
    }

    /// The file on the disk, if it still is what was seen.
    fn lying(&self, folder: &Path, path: &[u8], info: &NodeInfo) -> Option<Vec<u8>> {
        let bytes = read_file(folder, path, self.request.max_bytes)?;
        (Some(ObjectId::of(&bytes)) == info.hash).then_some(bytes)
    }

    /// Whether a snapshot names an object, as far as its folders can be read.
    fn names(&self, snapshot: Option<&Snapshot>, id: &ObjectId) -> bool {
        let roots = snapshot.into_iter().flat_map(|one| &one.roots);
        let mut left: Vec<ObjectId> = roots.map(|root| root.tree).collect();
        while let Some(tree) = left.pop() {
            if tree == *id {
                return true;
            }
            let entries = self.tree(&tree).unwrap_or_default().entries;
            for entry in entries {
                match entry.node {
                    Node::Directory { tree, .. } => left.push(tree),
                    Node::File(file) if file.hash == *id || file.chunks == Some(*id) => {
                        return true;
                    }
                    _ => {}
                }
            }
        }
        false
    }
}
