//! The files of a restore: what lies on the disk, what becomes of it, and the changes that do it.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use super::select::Selection;
use crate::error::{Error, Result};
use crate::model::diff::{NodeInfo, NodeKind, Trees};
use crate::model::manifest::{RunFile, Snapshot, SnapshotRoot};
use crate::model::merge::three_way;
use crate::model::object::ObjectId;
use crate::model::plan::{
    Action, ConflictReason, Exists, OnConflict, Options, PathPlan, Sides, Totals, missing_paths,
    overlay, plan_root,
};
use crate::model::registry::Registry;
use crate::model::snapshot::{Node, Tree};
use crate::ops::Context;
use crate::ops::capture::{Capture, Sight, Wanted};
use crate::ops::files::read_tree;
use crate::ops::looked::{Hashed, Seen};
use crate::store::disk::{Disk, EntryKind};
use crate::store::journal::{Change, Ident, New, Source, What};
use crate::store::objects::{Content, Sink, Store};
use crate::store::workspace::{self, Rules, Select, read_file};

/// Larger files are not merged, in bytes.
const MERGE_MAX: u64 = 4 << 20;

/// How files are put back.
#[derive(Debug, Clone)]
pub struct FilesRequest {
    /// How the disk is looked at.
    pub capture: Capture,
    /// How conflicts are settled; `None`: a changed file of the workspace is refused, in the run's own
    /// folder and among artifacts it is overwritten (the rescue checkpoint has it).
    pub on_conflict: Option<OnConflict>,
}

/// A folder of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// `run`, `artifacts` or `workspace`.
    pub name: String,
    /// Where it lies: relative to the project where it lies in it, else absolute.
    pub path: String,
    /// Its absolute path.
    pub folder: PathBuf,
    /// How conflicts in it are settled.
    pub on_conflict: OnConflict,
}

/// What becomes of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The folder, by its place among the roots.
    pub root: usize,
    /// What becomes of it.
    pub plan: PathPlan,
}

/// What becomes of the files.
#[derive(Debug, Default)]
pub(super) struct FilesPlan {
    pub(super) roots: Vec<Root>,
    pub(super) rows: Vec<Row>,
    pub(super) totals: Totals,
    /// Clean merges, by the place of their row.
    merged: HashMap<usize, Vec<u8>>,
}

/// What a plan stands on besides the disk.
pub(super) struct Ground<'a> {
    pub(super) wanted: &'a Snapshot,
    /// Snapshots that are known to have stood on the disk last, the newest first.
    pub(super) bases: Vec<&'a Snapshot>,
    /// The snapshots of every checkpoint of the run.
    pub(super) captured: Vec<&'a Snapshot>,
    pub(super) request: &'a FilesRequest,
    pub(super) selection: &'a Selection,
    /// What tells the names of files that are saved beside.
    pub(super) beside: String,
}

/// The folders of a snapshot as they are on the disk now.
pub(super) struct Now {
    pub(super) sight: Sight,
    pub(super) hashed: Hashed,
}

/// Folders that were just seen, and those in the store.
struct Both<'a> {
    context: &'a Context<'a>,
    hashed: &'a Hashed,
    store: Option<&'a Store<'a>>,
    /// The folder that is put back. Only its own damage counts: what other checkpoints have lost makes no
    /// path theirs, and nothing known.
    wanted: ObjectId,
}

impl Trees for Both<'_> {
    fn tree(&self, id: &ObjectId) -> Result<Tree> {
        self.context.cancel.check()?;
        if let Some(tree) = self.hashed.tree(id) {
            return Ok(tree);
        }
        match read_tree(self.store, self.context, id) {
            Err(Error::ObjectMissing { .. } | Error::ObjectDamaged { .. }) if !self.needs(id) => {
                Ok(Tree::default())
            }
            read => read,
        }
    }
}

impl Both<'_> {
    /// Whether the folder that is put back has this one in it, as far as it can be read.
    fn needs(&self, id: &ObjectId) -> bool {
        let mut left = vec![self.wanted];
        let mut seen = std::collections::HashSet::new();
        while let Some(tree) = left.pop() {
            if tree == *id {
                return true;
            }
            if !seen.insert(tree) {
                continue;
            }
            let read = read_tree(self.store, self.context, &tree).unwrap_or_default();
            left.extend(read.entries.iter().filter_map(|entry| match &entry.node {
                Node::Directory { tree, .. } => Some(*tree),
                _ => None,
            }));
        }
        false
    }
}

/// What the disk is looked at with.
pub(super) struct Look<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) store: Option<&'a Store<'a>>,
    pub(super) ground: &'a Ground<'a>,
    pub(super) registries: &'a [Registry<'a>],
    pub(super) run_files: &'a [(String, RunFile)],
    pub(super) has_others: bool,
}

impl Look<'_> {
    /// Looks at the folders of the checkpoint; `keep` keeps what is seen, else nothing is written.
    pub(super) fn now(&self, keep: Option<&dyn Sink>) -> Result<Now> {
        let mut now = Now {
            sight: Sight::default(),
            hashed: Hashed::default(),
        };
        let (context, given) = (self.context, &self.ground.request.capture);
        let capture = given.of_roots(Some(self.ground.wanted));
        let wanted = Wanted::find(
            context,
            Some(&capture),
            self.registries,
            &mut std::iter::empty(),
            self.has_others,
        );
        let Some((wanted, place)) = wanted.zip(context.store) else {
            return Ok(now);
        };
        let generation = match self.store {
            Some(store) => Some(store.generation()?.cast_unsigned()),
            None => None,
        };
        let seen = Seen {
            hashed: &now.hashed,
            keep,
        };
        let note = keep.is_some();
        now.sight = wanted.look(context, place, generation, note, &seen, self.run_files)?;
        self.unhide(&mut now, keep)?;
        for looked in &now.sight.folders {
            let mut roots = now.sight.snapshot.roots.iter_mut();
            if let Some(tree) = looked.tree
                && let Some(root) =
                    roots.find(|root| root.name == looked.name && root.path == looked.shown)
            {
                root.tree = tree;
            }
        }
        Ok(now)
    }

    /// Looks by name at what the checkpoint has and today's rules hide.
    fn unhide(&self, now: &mut Now, keep: Option<&dyn Sink>) -> Result<()> {
        for lying in &mut now.sight.folders {
            let Some(wanted) = root_of(self.ground.wanted, lying.name, &lying.shown) else {
                continue;
            };
            let folder = match self.context.disk.open_folder(&lying.path) {
                Ok(folder) => folder,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("open", &lying.path, error)),
            };
            let trees = Both {
                context: self.context,
                hashed: &now.hashed,
                store: self.store,
                wanted: wanted.tree,
            };
            let hidden = missing_paths(
                &trees,
                lying.tree.as_ref(),
                Some(&wanted.tree),
                CASE_FOLDING,
                &mut |path| match folder.found(path) {
                    Ok(found) if found.kind == EntryKind::Directory => Ok(Exists::Folder),
                    Ok(_) => Ok(Exists::Other),
                    // A link on the way: nothing below it is ours to touch.
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                        ) =>
                    {
                        Ok(Exists::Nothing)
                    }
                    Err(error) => Err(Error::io("read", &lying.path, error)),
                },
            )?;
            let files = hidden
                .into_iter()
                .filter(|(_, kind)| *kind == Exists::Other);
            let paths: Vec<PathBuf> = files.map(|(path, _)| path_of(&path)).collect();
            if paths.is_empty() {
                continue;
            }
            let root = workspace::Root {
                path: &lying.path,
                select: Select::Paths(&paths),
                cache: None,
            };
            let rules = Rules {
                respect_gitignore: false,
                withhold_secrets: false,
                ..Rules::default()
            };
            let seen = Seen {
                hashed: &now.hashed,
                keep,
            };
            let (progress, cancel) = (self.context.progress, self.context.cancel);
            let found = workspace::capture(&root, &rules, &seen, progress, cancel)?;
            let mut lane = keep.map(Sink::lane);
            let over = found.tree;
            let tree = overlay(&trees, over.as_ref(), lying.tree.as_ref(), &mut |tree| {
                if let Some(lane) = &mut lane {
                    lane.put(&tree.encode())?;
                }
                Ok(now.hashed.keep(tree))
            })?;
            if let Some(lane) = lane {
                lane.finish()?;
            }
            lying.tree = tree;
        }
        Ok(())
    }

    /// Decides what becomes of every path.
    pub(super) fn plan(&self, now: &Now) -> Result<FilesPlan> {
        let mut plan = FilesPlan::default();
        let project = &self.ground.request.capture.project;
        for wanted in &self.ground.wanted.roots {
            let lying = now
                .sight
                .folders
                .iter()
                .find(|one| one.name == wanted.name && one.shown == wanted.path);
            let folder = match (lying, wanted.name.as_str()) {
                (Some(lying), _) => lying.path.clone(),
                (None, "run") => self.context.run.path().to_path_buf(),
                (None, _) => crate::ops::capture::joined(project, Path::new(&wanted.path))?,
            };
            let usual = match wanted.name.as_str() {
                "workspace" => OnConflict::Refuse,
                _ => OnConflict::Overwrite,
            };
            let root = Root {
                name: wanted.name.clone(),
                path: wanted.path.clone(),
                folder,
                on_conflict: self.ground.request.on_conflict.unwrap_or(usual),
            };
            let of = |snapshots: &[&Snapshot]| -> Vec<ObjectId> {
                snapshots
                    .iter()
                    .filter_map(|one| root_of(one, &root.name, &root.path))
                    .map(|root| root.tree)
                    .collect()
            };
            let trees = Both {
                context: self.context,
                hashed: &now.hashed,
                store: self.store,
                wanted: wanted.tree,
            };
            let at = plan.roots.len();
            let (bases, captured) = (of(&self.ground.bases), of(&self.ground.captured));
            let sides = Sides {
                now: lying.and_then(|one| one.tree),
                wanted: Some(wanted.tree),
                bases: &bases,
                captured: &captured,
                on_conflict: root.on_conflict,
            };
            let selected = |path: &[u8]| self.ground.selection.takes(&root, path);
            let options = Options {
                selected: &selected,
                case_folding: CASE_FOLDING,
                beside_suffix: &self.ground.beside,
            };
            let rows = &mut plan.rows;
            plan_root(&trees, &sides, &options, &mut |row| {
                rows.push(Row {
                    root: at,
                    plan: row,
                });
                Ok(())
            })?;
            plan.roots.push(root);
        }
        plan.once();
        self.merge(&mut plan)?;
        for row in &plan.rows {
            plan.totals.add(&row.plan);
        }
        Ok(plan)
    }

    /// Tries the merges; what does not merge is a conflict.
    fn merge(&self, plan: &mut FilesPlan) -> Result<()> {
        for (at, row) in plan.rows.iter_mut().enumerate() {
            if row.plan.action != Action::Merge {
                continue;
            }
            let folder = &plan.roots[row.root].folder;
            match self.merged(folder, &row.plan)? {
                Some(bytes) => {
                    plan.merged.insert(at, bytes);
                }
                None => row.plan.action = Action::Conflict(ConflictReason::NotMergeable),
            }
        }
        Ok(())
    }

    fn merged(&self, folder: &Path, row: &PathPlan) -> Result<Option<Vec<u8>>> {
        let sides = (self.store, &row.base, &row.before, &row.after);
        let (Some(store), Some(base), Some(before), Some(after)) = sides else {
            return Ok(None);
        };
        let small = |one: &NodeInfo| one.size.is_some_and(|size| size <= MERGE_MAX);
        if ![base, before, after].into_iter().all(small) {
            return Ok(None);
        }
        let Some(ours) = read_file(folder, &row.path, MERGE_MAX)
            .filter(|bytes| Some(ObjectId::of(bytes)) == before.hash)
        else {
            return Ok(None);
        };
        let stored = |one: &NodeInfo| match content(one) {
            Some(content) => store.content(&content, MERGE_MAX).map(Some),
            None => Ok(None),
        };
        let (Some(base), Some(theirs)) = (stored(base)?, stored(after)?) else {
            return Ok(None);
        };
        Ok(three_way(&base, &ours, &theirs))
    }
}

/// Whether names that differ in case only are the same, as far as the system tells: on a disk where it
/// is otherwise a second name is found taken, and the restore is undone.
const CASE_FOLDING: bool = cfg!(any(windows, target_vendor = "apple"));

fn root_of<'a>(snapshot: &'a Snapshot, name: &str, path: &str) -> Option<&'a SnapshotRoot> {
    let mut roots = snapshot.roots.iter();
    roots.find(|root| root.name == name && root.path == path)
}

#[cfg(unix)]
fn path_of(path: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(path)).to_path_buf()
}

#[cfg(not(unix))]
fn path_of(path: &[u8]) -> PathBuf {
    PathBuf::from(String::from_utf8_lossy(path).into_owned())
}

/// How the content of a captured file is read.
fn content(info: &NodeInfo) -> Option<Content> {
    let hash = info.hash?;
    Some(Content {
        object: info.chunks.unwrap_or(hash),
        is_list: info.chunks.is_some(),
        size: info.size.unwrap_or(0),
        hash: Some(hash),
    })
}

fn ident(info: &NodeInfo) -> Option<Ident> {
    match info.kind {
        NodeKind::File => info.hash.map(Ident::File),
        NodeKind::Symlink => info.target.clone().map(Ident::Link),
        _ => None,
    }
}

fn from_store(info: &NodeInfo) -> Option<New> {
    Some(New {
        ident: ident(info)?,
        mode: info.mode,
        modified_ns: info.modified_ns,
        source: match info.kind {
            NodeKind::File => Source::Stored(content(info)?),
            _ => Source::Link,
        },
    })
}

impl FilesPlan {
    /// Where two roots have the same path, it is dealt with once: by the one that refuses, else by the
    /// first that does something.
    fn once(&mut self) {
        if self.roots.len() < 2 {
            return;
        }
        let weight = |action: &Action| match action {
            Action::Conflict(_) => 2,
            Action::Keep(_) => 0,
            _ => 1,
        };
        let mut best: BTreeMap<PathBuf, usize> = BTreeMap::new();
        let mut gone = vec![false; self.rows.len()];
        for (at, row) in self.rows.iter().enumerate() {
            let full = self.roots[row.root].folder.join(path_of(&row.plan.path));
            match best.get(&full) {
                Some(&other)
                    if weight(&self.rows[other].plan.action) >= weight(&row.plan.action) =>
                {
                    gone[at] = true;
                }
                other => {
                    if let Some(&other) = other {
                        gone[other] = true;
                    }
                    best.insert(full, at);
                }
            }
        }
        let mut gone = gone.into_iter();
        self.rows.retain(|_| gone.next() == Some(false));
    }

    /// The paths that nobody has decided on, each with its reason.
    pub(super) fn conflicts(&self) -> impl Iterator<Item = String> {
        self.rows.iter().filter_map(|row| match row.plan.action {
            Action::Conflict(reason) => {
                let root = &self.roots[row.root];
                let path = String::from_utf8_lossy(&row.plan.path);
                let folder = if root.path == "." { "" } else { &root.path };
                let shown = Path::new(folder).join(path.as_ref());
                Some(format!("{} ({})", shown.display(), reason.name()))
            }
            _ => None,
        })
    }

    /// The changes that do it, in the order in which they can be done, and the folders they lie in; the
    /// first is the run's own.
    pub(super) fn changes(
        &self,
        disk: &dyn Disk,
        project: &Path,
    ) -> Result<(Vec<Option<PathBuf>>, Vec<Change>)> {
        let mut areas: Vec<Option<PathBuf>> = vec![None];
        let mut places = Vec::with_capacity(self.roots.len());
        for root in &self.roots {
            // A root in the project is worked on from there, so that it may be missing itself.
            let (area, prefix) = if root.name == "run" {
                (None, Vec::new())
            } else {
                match root.folder.strip_prefix(project) {
                    Ok(inside) => (Some(project.to_path_buf()), bytes_of(inside)?),
                    Err(_) => (Some(root.folder.clone()), Vec::new()),
                }
            };
            let at = areas
                .iter()
                .position(|one| *one == area)
                .unwrap_or_else(|| {
                    areas.push(area);
                    areas.len() - 1
                });
            places.push((at, prefix));
        }
        let mut order = Order::default();
        for (at, row) in self.rows.iter().enumerate() {
            let (area, prefix) = &places[row.root];
            let place = |path: &[u8]| {
                if prefix.is_empty() {
                    path.to_vec()
                } else {
                    [&prefix[..], b"/", path].concat()
                }
            };
            order.add(*area, &place, &row.plan, self.merged.get(&at))?;
        }
        let there = |path: &[u8]| {
            let found = disk.metadata(&project.join(path_of(path)));
            found.is_ok_and(|found| found.kind == EntryKind::Directory)
        };
        for (area, prefix) in &places {
            order.ways(*area, prefix, &there);
        }
        Ok((areas, order.changes()))
    }
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    Ok(path.as_os_str().as_bytes().to_vec())
}

#[cfg(not(unix))]
fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    let names: Option<Vec<&str>> = path
        .components()
        .map(|one| one.as_os_str().to_str())
        .collect();
    match names {
        Some(names) => Ok(names.join("/").into_bytes()),
        None => Err(Error::io("read", path, io::ErrorKind::InvalidInput.into())),
    }
}

/// Changes in the order in which they can be done.
#[derive(Default)]
struct Order {
    gone: Vec<Change>,
    folders_gone: Vec<Change>,
    ways: Vec<Change>,
    come: Vec<Change>,
}

impl Order {
    fn add(
        &mut self,
        area: usize,
        place: &dyn Fn(&[u8]) -> Vec<u8>,
        row: &PathPlan,
        merged: Option<&Vec<u8>>,
    ) -> Result<()> {
        let change = |path: &[u8], what: What| Change {
            area,
            path: place(path),
            what,
        };
        let path = &row.path[..];
        let lost = || Error::Internal {
            message: format!("a plan is not whole at {:?}", String::from_utf8_lossy(path)),
        };
        let was_folder = row
            .before
            .as_ref()
            .is_some_and(|one| one.kind == NodeKind::Directory);
        let old = row.before.as_ref().and_then(ident);
        let mode = |info: Option<&NodeInfo>| info.and_then(|one| one.mode).unwrap_or(0o755);
        match &row.action {
            Action::Keep(_) | Action::Conflict(_) => return Ok(()),
            Action::SetMode => {
                let (old, new) = (mode(row.before.as_ref()), mode(row.after.as_ref()));
                self.come.push(change(path, What::SetMode { old, new }));
                return Ok(());
            }
            Action::Delete if was_folder => {
                let mode = mode(row.before.as_ref());
                let what = What::RemoveFolder { mode, must: false };
                self.folders_gone.push(change(path, what));
                return Ok(());
            }
            Action::Delete => {
                let old = old.ok_or_else(lost)?;
                self.gone.push(change(path, What::Delete { old }));
                return Ok(());
            }
            Action::Merge => {
                let bytes = merged.cloned().ok_or_else(lost)?;
                let new = New {
                    ident: Ident::File(ObjectId::of(&bytes)),
                    mode: row.after.as_ref().and_then(|one| one.mode),
                    modified_ns: None,
                    source: Source::Bytes(bytes),
                };
                self.come.push(change(path, What::Put { old, new }));
                return Ok(());
            }
            Action::KeepBoth { beside } => {
                let kept = row.before.as_ref().and_then(from_store).ok_or_else(lost)?;
                let what = What::Put {
                    old: None,
                    new: kept,
                };
                self.come.push(change(beside, what));
            }
            Action::Create | Action::Replace => {}
        }
        let Some(after) = &row.after else {
            // Saved beside, and not in the checkpoint.
            let old = old.ok_or_else(lost)?;
            self.come.push(change(path, What::Delete { old }));
            return Ok(());
        };
        let to_folder = after.kind == NodeKind::Directory;
        let mut old = old;
        if was_folder && !to_folder {
            let mode = mode(row.before.as_ref());
            let what = What::RemoveFolder { mode, must: true };
            self.folders_gone.push(change(path, what));
        } else if to_folder && let Some(old) = old.take() {
            self.gone.push(change(path, What::Delete { old }));
        }
        if to_folder {
            let mode = mode(Some(after));
            self.come.push(change(path, What::CreateFolder { mode }));
        } else {
            let new = from_store(after).ok_or_else(lost)?;
            self.come.push(change(path, What::Put { old, new }));
        }
        Ok(())
    }

    /// A root's own folder, if it is missing, with those on the way to it. One that is there is not ours
    /// to take back.
    fn ways(&mut self, area: usize, prefix: &[u8], there: &dyn Fn(&[u8]) -> bool) {
        let comes = |change: &Change| change.area == area && change.path.starts_with(prefix);
        if prefix.is_empty() || !self.come.iter().any(comes) {
            return;
        }
        for end in memchr::memchr_iter(b'/', prefix).chain([prefix.len()]) {
            let path = prefix[..end].to_vec();
            let in_it = |changes: &[Change]| {
                let mut changes = changes.iter();
                changes.any(|one| one.area == area && one.path == path)
            };
            let goes = in_it(&self.gone) || in_it(&self.folders_gone);
            if in_it(&self.ways) || (!goes && there(&path)) {
                continue;
            }
            self.ways.push(Change {
                area,
                path,
                what: What::CreateFolder { mode: 0o755 },
            });
        }
    }

    fn changes(self) -> Vec<Change> {
        let mut deepest_first = self.folders_gone;
        deepest_first.sort_by_key(|change| {
            std::cmp::Reverse(memchr::memchr_iter(b'/', &change.path).count())
        });
        let mut gone = self.gone;
        gone.extend(deepest_first);
        gone.extend(self.ways);
        gone.extend(self.come);
        gone
    }
}
