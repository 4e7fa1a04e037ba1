//! Captured files of both sides: those of a checkpoint from the store, those of the disk from a look at
//! it that keeps folders in memory and nothing else.

use std::path::{Path, PathBuf};

use super::{Change, Files, Lines, Parsed, REGISTRY, Request, Root, Side, lines};
use crate::error::{Error, Result};
use crate::model::diff::{self, ChangeKind, FileChange, NodeInfo, NodeKind, Trees};
use crate::model::manifest::{Snapshot, SnapshotRoot};
use crate::model::object::ObjectId;
use crate::model::progress::Phase;
use crate::model::registry::Registry;
use crate::model::snapshot::{Node, Tree};
use crate::ops::Context;
use crate::ops::capture::Wanted;
use crate::ops::files::{content_of, damaged, read_tree};
use crate::ops::looked::Hashed;
use crate::ops::state::open_store;
use crate::store::objects::{Content, Store};
use crate::store::workspace::read_file;

/// How much text is made of all files together, in bytes.
const TEXT_MAX: usize = 16 << 20;

/// A folder with a tree on one side or both.
struct Pair {
    root: Root,
    before: Option<ObjectId>,
    after: Option<ObjectId>,
    /// Where it lies, if the side after is the disk.
    on_disk: Option<PathBuf>,
}

pub(super) fn files(
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
        let pairs = if to.shown.is_some() {
            of_checkpoints(from.snapshot(), to.snapshot())
        } else {
            let generation = match &store {
                Some(store) if use_caches => Some(store.generation()?.cast_unsigned()),
                _ => None,
            };
            let now = on_disk(context, request, from, to, &registries, generation, &hashed)?;
            of_disk(from.snapshot(), now)
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
    let capture = given.of_roots(from.snapshot());
    let run_files = to.run_files();
    let wanted = Wanted::find(
        context,
        Some(&capture),
        registries,
        &mut std::iter::empty(),
        to.has_others,
    );
    let Some(wanted) = wanted else {
        return Ok(Vec::new());
    };
    let looked = wanted.look(context, place, generation, false, hashed, &run_files)?;
    let rows = looked.folders.into_iter().map(|one| {
        let root = SnapshotRoot {
            name: one.name.to_owned(),
            path: one.shown,
            tree: one.tree.unwrap_or_else(|| ObjectId::of(b"")),
            mode: None,
        };
        (root, one.path, one.tree.is_some())
    });
    Ok(rows.collect())
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
        if let Some(tree) = self.hashed.tree(id) {
            return Ok(tree);
        }
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
        let mut text_left = TEXT_MAX;
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
                    let text = self.text(pair, &change, &mut text_left)?;
                    files.changes.push(Change {
                        root: at,
                        change,
                        text,
                    });
                }
                Ok(())
            })?;
        }
        Ok(files)
    }

    /// The lines of a path that differ, if they were asked for.
    fn text(&self, pair: &Pair, change: &FileChange, left: &mut usize) -> Result<Option<Lines>> {
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
        let fits = usize::try_from(most).is_ok_and(|most| most <= *left);
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
            *left = left.saturating_sub(text.len());
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
        content_of(self.store, self.context, &wanted)
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
