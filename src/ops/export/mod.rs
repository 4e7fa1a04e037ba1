//! Exports checkpoints: as an archive, one file that shows whether it is whole, or one checkpoint as a
//! folder for people ([`folder`]).
//!
//! Everything is read from the store and held against its hash on the way, so what is exported is whole.
//! Neither the run nor the store is changed, and the run's lock is not taken: a checkpoint that is dropped
//! meanwhile is found damaged. Secrets that were withheld are not in the store, and so in no export.

pub mod folder;
mod report;

pub use report::Summary;

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Skipped};
use crate::model::archive::{Contents, Listed, Object};
use crate::model::damage::Damage;
use crate::model::ids::CheckpointId;
use crate::model::manifest::{Check, Header, inspect};
use crate::model::object::ObjectId;
use crate::model::progress::Phase;
use crate::model::snapshot::{ChunkList, Node, Tree};
use crate::ops::files::{damaged, read_tree};
use crate::ops::state::open_store;
use crate::ops::{Context, not_found, verify};
use crate::store::archive::ArchiveWriter;
use crate::store::disk::EntryKind;
use crate::store::manifests::{Good, bytes_of, scan};
use crate::store::objects::Store;

/// What goes into an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// This checkpoint; all of the run without one.
    pub checkpoint_id: Option<CheckpointId>,
    /// Whether a file that is at the target already is replaced.
    pub overwrite: bool,
    /// Whether damaged checkpoints are left out of a whole run instead of refusing it.
    pub allow_damaged: bool,
}

/// An archive that was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The archive.
    pub path: PathBuf,
    /// Its length in bytes.
    pub file_bytes: u64,
    /// BLAKE3 of the file.
    pub hash: ObjectId,
    /// The checkpoints in it, oldest first.
    pub checkpoints: Vec<Header>,
    /// Damaged ones that were left out.
    pub left_out: Vec<Skipped>,
    /// How many objects are in it.
    pub objects: u64,
    /// The bytes of all of it, before compression.
    pub bytes: u64,
}

/// Writes an archive to `target`, which is absolute.
pub fn export(context: &Context<'_>, target: &Path, request: &Request) -> Result<Exported> {
    context.cancel.check()?;
    context.run.check(context.disk)?;
    check_target(context, target, request.overwrite)?;
    context.progress.enter(Phase::Scanning);
    let (chosen, left_out) = choose(context, request)?;
    let chosen: Vec<Header> = chosen.into_iter().map(|good| good.header).collect();
    let done = write(
        context,
        target,
        chosen,
        request.checkpoint_id.is_none(),
        request.overwrite,
    )?;
    Ok(Exported { left_out, ..done })
}

/// Writes an archive of checkpoints, oldest first. Their headers are whole.
pub(super) fn write(
    context: &Context<'_>,
    target: &Path,
    chosen: Vec<Header>,
    whole_run: bool,
    overwrite: bool,
) -> Result<Exported> {
    let store = open_store(context)?;

    let mut checkpoints = Vec::with_capacity(chosen.len());
    let mut needs = Needs::default();
    for (at, header) in chosen.iter().enumerate() {
        let id = &header.checkpoint_id;
        let bytes = manifest_of(context, header)?;
        checkpoints.push(Listed {
            checkpoint_id: id.to_string(),
            manifest: Object {
                id: ObjectId::of(&bytes),
                len: bytes.len() as u64,
            },
        });
        needs
            .add(context, store.as_ref(), header, at)
            .or_else(|error| damaged(context, id, error))?;
    }
    let leaves: Vec<(Object, usize)> = needs.leaves();
    let objects = needs.structure.iter().chain(&leaves);
    let contents = Contents {
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
        run_id: context.run.run_id().to_string(),
        whole_run,
        checkpoints,
        objects: objects.clone().map(|(object, _)| *object).collect(),
    };

    let written = contents.objects.len() as u64 + chosen.len() as u64;
    context.progress.expect(written, contents.bytes());
    context.progress.enter(Phase::Reading);
    let mut writer = ArchiveWriter::begin(context.disk, target, &contents)?;
    for (header, listed) in chosen.iter().zip(&contents.checkpoints) {
        let bytes = manifest_of(context, header)?;
        if ObjectId::of(&bytes) != listed.manifest.id {
            return Err(changed(context, &header.checkpoint_id));
        }
        context.progress.add(1, bytes.len() as u64);
        writer.put(&bytes)?;
    }
    for (object, by) in objects {
        context.cancel.check()?;
        let id = &chosen[*by].checkpoint_id;
        let bytes = object_of(context, store.as_ref(), object)
            .or_else(|error| damaged(context, id, error))?;
        context.progress.add(1, object.len);
        writer.put(&bytes)?;
    }
    context.progress.enter(Phase::Storing);
    let (mut staged, file_bytes, hash) = writer.finish()?;
    context.cancel.check()?;
    if overwrite {
        staged.publish_over(target)?;
    } else if !staged.publish_new(target)? {
        return Err(exists(target));
    }
    Ok(Exported {
        path: target.to_path_buf(),
        file_bytes,
        hash,
        checkpoints: chosen,
        left_out: Vec::new(),
        objects: contents.objects.len() as u64,
        bytes: contents.bytes(),
    })
}

/// Fails early where the archive can't go.
fn check_target(context: &Context<'_>, target: &Path, overwrite: bool) -> Result<()> {
    match context.disk.metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("read", target, error)),
        Ok(found) if found.kind == EntryKind::Directory => Err(Error::PathExists {
            path: target.to_path_buf(),
            advice: "it is a folder; name a file in it",
        }),
        Ok(_) if !overwrite => Err(exists(target)),
        Ok(_) => Ok(()),
    }
}

fn exists(target: &Path) -> Error {
    Error::PathExists {
        path: target.to_path_buf(),
        advice: "name another file, or allow it to be overwritten",
    }
}

/// The checkpoints to export, oldest first, and those that are left out.
fn choose(context: &Context<'_>, request: &Request) -> Result<(Vec<Good>, Vec<Skipped>)> {
    let id = request.checkpoint_id.as_ref();
    let mut found = if id.is_none() && request.allow_damaged {
        // Every byte: what is found damaged later could not be left out any more.
        let wanted = verify::Request {
            data: true,
            ..verify::Request::default()
        };
        let mut outcome = verify::verify(context, None, &wanted)?;
        outcome.runs.pop().map(|run| run.scan).unwrap_or_default()
    } else {
        scan(context.disk, context.run, Check::Checksum, context.cancel)?
    };
    if let Some(id) = id {
        found.good.retain(|good| good.header.checkpoint_id == *id);
        found.damaged.retain(|damaged| damaged.name == id.as_str());
    }
    let left_out: Vec<Skipped> = found
        .damaged
        .iter()
        .map(|damaged| Skipped {
            checkpoint_id: damaged.name.clone(),
            damage: damaged.damage.clone(),
        })
        .collect();
    if let Some(first) = found.damaged.first()
        && (id.is_some() || !request.allow_damaged)
    {
        return Err(Error::CheckpointDamaged {
            run_id: context.run.run_id().to_string(),
            checkpoint_id: first.name.clone(),
            path: first.path.clone(),
            damage: first.damage.clone(),
        });
    }
    if found.good.is_empty() {
        let run_id = context.run.run_id().to_string();
        return Err(match id {
            Some(id) => not_found(context, id.as_str()),
            None if left_out.is_empty() => Error::NoCheckpoint { run_id },
            None => Error::NoGoodCheckpoint {
                run_id,
                skipped: left_out,
            },
        });
    }
    found.good.reverse();
    Ok((found.good, left_out))
}

/// The manifest's bytes, once more the good ones.
fn manifest_of(context: &Context<'_>, header: &Header) -> Result<Vec<u8>> {
    let id = &header.checkpoint_id;
    let bytes = bytes_of(context.disk, context.run, id)?;
    match inspect(&bytes, id.as_str(), context.run.run_id(), Check::Seal) {
        Ok(found) if found.checksum == header.checksum => Ok(bytes),
        Ok(_) => Err(changed(context, id)),
        Err(damage) => Err(Error::CheckpointDamaged {
            run_id: context.run.run_id().to_string(),
            checkpoint_id: id.to_string(),
            path: context.run.manifest(id),
            damage,
        }),
    }
}

fn changed(context: &Context<'_>, id: &CheckpointId) -> Error {
    Error::CheckpointDamaged {
        run_id: context.run.run_id().to_string(),
        checkpoint_id: id.to_string(),
        path: context.run.manifest(id),
        damage: Damage::ChecksumMismatch,
    }
}

fn object_of(context: &Context<'_>, store: Option<&Store<'_>>, object: &Object) -> Result<Vec<u8>> {
    let Some(store) = store else {
        return read_tree(None, context, &object.id).map(|_| Vec::new());
    };
    let bytes = store.get(&object.id)?;
    if bytes.len() as u64 == object.len {
        return Ok(bytes);
    }
    Err(wrong(store, object.id, "it has another length"))
}

fn wrong(store: &Store<'_>, id: ObjectId, reason: &str) -> Error {
    Error::ObjectDamaged {
        id,
        path: store.place().path().to_path_buf(),
        reason: reason.to_owned(),
    }
}

/// What an object that a checkpoint needs is to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// A folder.
    Tree(ObjectId),
    /// A list of chunks, with the length of their content.
    List(ObjectId, u64),
    /// A content or a piece of one, with its length.
    Leaf(ObjectId, u64),
}

/// What a checkpoint's manifest needs.
pub(super) fn needs_of(header: &Header) -> impl Iterator<Item = Need> + '_ {
    let state = header.state_objects.iter().map(|one| {
        if one.chunked {
            Need::List(one.object, one.bytes)
        } else {
            Need::Leaf(one.object, one.bytes)
        }
    });
    let roots = header.snapshot.iter().flat_map(|one| &one.roots);
    state.chain(roots.map(|root| Need::Tree(root.tree)))
}

/// What an entry of a folder needs.
pub(super) fn need_of(node: &Node) -> Option<Need> {
    match node {
        Node::Directory { tree, .. } => Some(Need::Tree(*tree)),
        Node::File(file) => match file.chunks {
            Some(list) => Some(Need::List(list, file.size)),
            None if file.size == 0 && file.hash == ObjectId::of(b"") => None,
            None => Some(Need::Leaf(file.hash, file.size)),
        },
        Node::Symlink { .. } | Node::Withheld { .. } | Node::Skipped { .. } => None,
    }
}

/// All that checkpoints need, in the order in which an archive has it; each with the first that does.
#[derive(Default)]
struct Needs {
    structure: Vec<(Object, usize)>,
    trees: HashSet<ObjectId>,
    lists: HashMap<ObjectId, u64>,
    leaves: Vec<(Object, usize)>,
    leaf_lens: HashMap<ObjectId, u64>,
}

impl Needs {
    fn add(
        &mut self,
        context: &Context<'_>,
        store: Option<&Store<'_>>,
        header: &Header,
        by: usize,
    ) -> Result<()> {
        let mut next: Vec<Need> = needs_of(header).collect();
        next.reverse();
        while let Some(need) = next.pop() {
            context.cancel.check()?;
            let (Need::Tree(id) | Need::List(id, _) | Need::Leaf(id, _)) = need;
            let Some(store) = store else {
                return read_tree(None, context, &id).map(|_| ());
            };
            let before = next.len();
            match need {
                Need::Tree(id) => {
                    if self.trees.insert(id) {
                        let bytes = store.get(&id)?;
                        let tree = Tree::decode(&bytes)
                            .ok_or_else(|| wrong(store, id, "it is no folder"))?;
                        next.extend(tree.entries.iter().filter_map(|entry| need_of(&entry.node)));
                        self.enter(id, bytes.len(), by);
                    }
                }
                Need::List(id, size) => match self.lists.insert(id, size) {
                    None => {
                        let bytes = store.get(&id)?;
                        let list = ChunkList::decode(&bytes)
                            .ok_or_else(|| wrong(store, id, "it is no list of chunks"))?;
                        if list.len() != Some(size) {
                            return Err(wrong(store, id, "its chunks have another length"));
                        }
                        let pieces = list.pieces.iter();
                        let chunks = pieces.filter_map(|one| Some(Need::Leaf(one.chunk?, one.len)));
                        next.extend(chunks);
                        self.enter(id, bytes.len(), by);
                    }
                    Some(known) if known != size => {
                        return Err(wrong(store, id, "its chunks have another length"));
                    }
                    Some(_) => {}
                },
                Need::Leaf(id, len) => match self.leaf_lens.insert(id, len) {
                    None => self.leaves.push((Object { id, len }, by)),
                    Some(known) if known != len => {
                        return Err(wrong(store, id, "it has another length"));
                    }
                    Some(_) => {}
                },
            }
            // In the order of their names.
            next[before..].reverse();
        }
        Ok(())
    }

    fn enter(&mut self, id: ObjectId, len: usize, by: usize) {
        let len = len as u64;
        self.structure.push((Object { id, len }, by));
    }

    /// What leads nowhere, but for what is a folder or a list as well.
    fn leaves(&mut self) -> Vec<(Object, usize)> {
        let mut leaves = std::mem::take(&mut self.leaves);
        leaves.retain(|(object, _)| {
            !self.trees.contains(&object.id) && !self.lists.contains_key(&object.id)
        });
        leaves
    }
}
