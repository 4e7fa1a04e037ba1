//! From checkpoints to all objects that they need, and from damaged objects back to the files.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::PathBuf;

use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::model::manifest::Header;
use crate::model::object::ObjectId;
use crate::model::progress::{Phase, Progress};
use crate::model::snapshot::{ChunkList, Node, Tree};
use crate::store::index::Location;
use crate::store::objects::Store;
use crate::store::objects::check::{self, Fault, Lookup, Part, fetch};

/// So many places of one checkpoint are told.
pub const TOUCHES_MAX: usize = 1_000;

/// An object that can't be had, and what that touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hurt {
    /// The object.
    pub object: ObjectId,
    /// True if it is not there at all.
    pub missing: bool,
    /// What is wrong with it.
    pub reason: String,
    /// Its pack, or the store.
    pub path: PathBuf,
    /// Where it is needed.
    pub touches: Vec<Touch>,
}

/// A place in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// The run, by its place in the outcome.
    pub run: usize,
    /// The checkpoint.
    pub checkpoint_id: String,
    /// The place in it.
    pub place: Place,
}

/// What of a checkpoint is touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A member of its state.
    State(String),
    /// A file.
    File {
        /// The root it lies in.
        root: String,
        /// Its path below that root; U+FFFD for what is not UTF-8.
        path: String,
    },
    /// A folder: all that is in it.
    Folder {
        /// The root it lies in.
        root: String,
        /// Its path below that root; empty for the root itself.
        path: String,
    },
}

/// A checkpoint that is looked at.
pub(super) struct Subject<'a> {
    pub(super) run: usize,
    pub(super) header: &'a Header,
}

/// What damage touches.
pub(super) struct Touched {
    pub(super) hurt: Vec<Hurt>,
    /// True if some places are not told.
    pub(super) cut: bool,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
enum Next {
    Tree(ObjectId),
    /// With the length that its content must have.
    List(ObjectId, u64),
    /// With the length that it must have, where that is known.
    Leaf(ObjectId, Option<u64>),
}

/// An object whose bytes lead nowhere, or that others are built on.
#[derive(Debug, Clone, Copy)]
struct Leaf {
    len: u64,
    at: Option<Location>,
}

pub(super) struct Walk<'s> {
    store: &'s Store<'s>,
    cancel: &'s Cancel,
    progress: &'s Progress,
    lookup: Lookup<'s>,
    trees: HashSet<ObjectId>,
    /// Lists with the length of their content.
    lists: HashMap<ObjectId, u64>,
    leaves: HashMap<ObjectId, Leaf>,
    /// Objects with those that they are built on.
    bases: Vec<(ObjectId, ObjectId)>,
    faults: BTreeMap<ObjectId, Fault>,
    bytes: u64,
}

impl<'s> Walk<'s> {
    pub(super) fn new(
        store: &'s Store<'s>,
        cancel: &'s Cancel,
        progress: &'s Progress,
    ) -> Result<Self> {
        progress.enter(Phase::Scanning);
        Ok(Self {
            store,
            cancel,
            progress,
            lookup: Lookup::new(store)?,
            trees: HashSet::new(),
            lists: HashMap::new(),
            leaves: HashMap::new(),
            bases: Vec::new(),
            faults: BTreeMap::new(),
            bytes: 0,
        })
    }

    /// How many objects were looked at.
    pub(super) fn objects(&self) -> u64 {
        let walked = self.trees.iter().chain(self.lists.keys());
        let beside = walked.filter(|id| !self.leaves.contains_key(id)).count();
        (self.leaves.len() + beside) as u64
    }

    /// The bytes that were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Looks at all that a checkpoint needs.
    pub(super) fn add(&mut self, header: &Header) -> Result<()> {
        let mut next: Vec<Next> = Vec::new();
        for root in header.snapshot.iter().flat_map(|snapshot| &snapshot.roots) {
            next.push(Next::Tree(root.tree));
        }
        for state in &header.state_objects {
            next.push(if state.chunked {
                Next::List(state.object, state.bytes)
            } else {
                Next::Leaf(state.object, Some(state.bytes))
            });
        }
        while let Some(one) = next.pop() {
            self.cancel.check()?;
            match one {
                Next::Tree(id) => self.tree(id, &mut next)?,
                Next::List(id, size) => self.list(id, size, &mut next)?,
                Next::Leaf(id, len) => self.leaf(id, len, &mut next)?,
            }
        }
        Ok(())
    }

    /// Says that an object can't be had.
    pub(super) fn fault(&mut self, id: ObjectId, path: PathBuf, reason: String) {
        self.faults.entry(id).or_insert(Fault {
            missing: false,
            reason,
            path,
        });
    }

    fn wrong(&mut self, id: ObjectId, reason: &str) {
        let path = match self.store.find(&id) {
            Ok(Some(at)) => self.store.place().pack(at.pack),
            _ => self.store.place().path().to_path_buf(),
        };
        self.fault(id, path, reason.to_owned());
    }

    fn read_whole(&mut self, id: ObjectId) -> Result<Option<Vec<u8>>> {
        match fetch(self.store, &id)? {
            Ok(bytes) => {
                self.bytes += bytes.len() as u64;
                self.progress.add(1, bytes.len() as u64);
                Ok(Some(bytes))
            }
            Err(fault) => {
                self.faults.entry(id).or_insert(fault);
                Ok(None)
            }
        }
    }

    fn tree(&mut self, id: ObjectId, next: &mut Vec<Next>) -> Result<()> {
        if !self.trees.insert(id) {
            return Ok(());
        }
        let Some(bytes) = self.read_whole(id)? else {
            return Ok(());
        };
        match Tree::decode(&bytes) {
            Some(tree) => {
                let first = next.len();
                next.extend(tree.entries.iter().filter_map(|entry| child(&entry.node)));
                self.expect(&next[first..])?;
            }
            None => self.wrong(id, "it is no folder"),
        }
        Ok(())
    }

    /// Looks up at once what comes next.
    fn expect(&mut self, next: &[Next]) -> Result<()> {
        let leaves = next.iter().filter_map(|one| match one {
            Next::Leaf(id, _) if !self.leaves.contains_key(id) => Some(*id),
            _ => None,
        });
        let ids: Vec<ObjectId> = leaves.collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.lookup.expect(&ids)
    }

    fn list(&mut self, id: ObjectId, size: u64, next: &mut Vec<Next>) -> Result<()> {
        if let Some(len) = self.lists.get(&id) {
            if *len != size {
                self.wrong(id, "its chunks have another length");
            }
            return Ok(());
        }
        self.lists.insert(id, size);
        let Some(bytes) = self.read_whole(id)? else {
            return Ok(());
        };
        let Some(list) = ChunkList::decode(&bytes) else {
            self.wrong(id, "it is no list of chunks");
            return Ok(());
        };
        let len = list.len().unwrap_or(u64::MAX);
        self.lists.insert(id, len);
        if len != size {
            self.wrong(id, "its chunks have another length");
        }
        let first = next.len();
        for piece in list.pieces {
            if let Some(chunk) = piece.chunk {
                next.push(Next::Leaf(chunk, Some(piece.len)));
            }
        }
        self.expect(&next[first..])
    }

    fn leaf(&mut self, id: ObjectId, wanted: Option<u64>, next: &mut Vec<Next>) -> Result<()> {
        let known = self.leaves.get(&id).copied();
        let leaf = if let Some(leaf) = known {
            leaf
        } else {
            let leaf = match self.lookup.look(&id)? {
                Ok(known) => {
                    if let Some(base) = known.base {
                        self.bases.push((id, base));
                        next.push(Next::Leaf(base, None));
                    }
                    Leaf {
                        len: known.len,
                        at: known.at,
                    }
                }
                Err(fault) => {
                    self.faults.entry(id).or_insert(fault);
                    Leaf {
                        len: wanted.unwrap_or(0),
                        at: None,
                    }
                }
            };
            self.leaves.insert(id, leaf);
            leaf
        };
        if wanted.is_some_and(|len| len != leaf.len) {
            self.wrong(id, "it has another length");
        }
        Ok(())
    }

    /// Reads a share of the contents; of the whole store also those that no checkpoint needs.
    pub(super) fn read(&mut self, part: Part, whole_store: bool) -> Result<()> {
        let walked = |id: &ObjectId| self.trees.contains(id) || self.lists.contains_key(id);
        let mut rows: Vec<(ObjectId, Location)> = Vec::new();
        if whole_store {
            self.store.index().all(&mut |id, at| {
                if part.contains(&id) && !walked(&id) {
                    rows.push((id, at));
                }
            })?;
        } else {
            let leaves = self.leaves.iter();
            let leaves = leaves.filter(|(id, _)| part.contains(id) && !walked(id));
            rows.extend(leaves.filter_map(|(id, leaf)| Some((*id, leaf.at?))));
        }
        let bytes: u64 = rows.iter().map(|(_, at)| at.len as u64).sum();
        let done = self.progress.glance();
        self.progress
            .expect(done.files + rows.len() as u64, done.bytes + bytes);
        if whole_store {
            for (id, at) in &rows {
                self.leaves.entry(*id).or_insert(Leaf {
                    len: at.len as u64,
                    at: Some(*at),
                });
            }
        }
        let checked = check::objects(self.store, rows, self.cancel, self.progress)?;
        self.bytes += checked.bytes;
        for problem in checked.faults {
            if let Some(id) = problem.object {
                self.fault(id, problem.path, problem.reason);
            }
        }
        Ok(())
    }

    /// What is built on something that can't be had can't be had either.
    pub(super) fn spread(&mut self) {
        let mut built: HashMap<ObjectId, Vec<ObjectId>> = HashMap::new();
        for (id, base) in &self.bases {
            built.entry(*base).or_default().push(*id);
        }
        let mut next: Vec<ObjectId> = self.faults.keys().copied().collect();
        while let Some(base) = next.pop() {
            for id in built.get(&base).into_iter().flatten() {
                if !self.faults.contains_key(id) {
                    self.wrong(
                        *id,
                        &format!("object {base}, which it is built on, is not whole"),
                    );
                    next.push(*id);
                }
            }
        }
    }

    /// Where the damage is needed.
    pub(super) fn touched(&self, subjects: &[Subject<'_>]) -> Result<Touched> {
        let mut hurt: BTreeMap<ObjectId, Hurt> = BTreeMap::new();
        for (id, fault) in &self.faults {
            hurt.insert(
                *id,
                Hurt {
                    object: *id,
                    missing: fault.missing,
                    reason: fault.reason.clone(),
                    path: fault.path.clone(),
                    touches: Vec::new(),
                },
            );
        }
        let mut cut = false;
        if !hurt.is_empty() {
            let tainted = self.tainted(subjects)?;
            for subject in subjects {
                let mut trace = Trace {
                    walk: self,
                    tainted: &tainted,
                    subject,
                    hurt: &mut hurt,
                    count: 0,
                };
                trace.state()?;
                trace.files()?;
                cut |= trace.count > TOUCHES_MAX;
            }
        }
        Ok(Touched {
            hurt: hurt.into_values().collect(),
            cut,
        })
    }

    /// The folders and lists that lead to something that can't be had.
    fn tainted(&self, subjects: &[Subject<'_>]) -> Result<HashSet<ObjectId>> {
        let mut parents: HashMap<ObjectId, Vec<ObjectId>> = HashMap::new();
        let mut seen = HashSet::new();
        let mut next: VecDeque<Next> = VecDeque::new();
        for subject in subjects {
            for root in subject.header.snapshot.iter().flat_map(|one| &one.roots) {
                next.push_back(Next::Tree(root.tree));
            }
            for state in &subject.header.state_objects {
                if state.chunked {
                    next.push_back(Next::List(state.object, 0));
                }
            }
        }
        while let Some(one) = next.pop_front() {
            self.cancel.check()?;
            let (parent, children) = match one {
                Next::Tree(id) => (id, self.children(id)?),
                Next::List(id, _) => (id, self.chunks(id)?),
                Next::Leaf(..) => continue,
            };
            if !seen.insert(parent) {
                continue;
            }
            for child in children {
                let (Next::Tree(id) | Next::List(id, _) | Next::Leaf(id, _)) = child;
                parents.entry(id).or_default().push(parent);
                if !seen.contains(&id) {
                    next.push_back(child);
                }
            }
        }
        let mut tainted = HashSet::new();
        let mut next: Vec<ObjectId> = self.faults.keys().copied().collect();
        while let Some(id) = next.pop() {
            for parent in parents.get(&id).into_iter().flatten() {
                if tainted.insert(*parent) {
                    next.push(*parent);
                }
            }
        }
        Ok(tainted)
    }

    fn entries(&self, id: ObjectId) -> Result<Tree> {
        let bytes = fetch(self.store, &id)?.unwrap_or_default();
        Ok(Tree::decode(&bytes).unwrap_or_default())
    }

    fn children(&self, id: ObjectId) -> Result<Vec<Next>> {
        let tree = self.entries(id)?;
        Ok(tree
            .entries
            .iter()
            .filter_map(|entry| child(&entry.node))
            .collect())
    }

    fn chunks(&self, id: ObjectId) -> Result<Vec<Next>> {
        let bytes = fetch(self.store, &id)?.unwrap_or_default();
        let list = ChunkList::decode(&bytes).unwrap_or_default();
        let chunks: HashSet<ObjectId> = list.pieces.iter().filter_map(|one| one.chunk).collect();
        Ok(chunks
            .into_iter()
            .map(|chunk| Next::Leaf(chunk, None))
            .collect())
    }
}

/// The object that an entry of a folder needs.
fn child(node: &Node) -> Option<Next> {
    match node {
        Node::Directory { tree, .. } => Some(Next::Tree(*tree)),
        Node::File(file) => match file.chunks {
            Some(list) => Some(Next::List(list, file.size)),
            None if file.size == 0 => None,
            None => Some(Next::Leaf(file.hash, Some(file.size))),
        },
        Node::Symlink { .. } | Node::Withheld { .. } | Node::Skipped { .. } => None,
    }
}

/// Follows one checkpoint to what can't be had.
struct Trace<'a, 's> {
    walk: &'a Walk<'s>,
    tainted: &'a HashSet<ObjectId>,
    subject: &'a Subject<'a>,
    hurt: &'a mut BTreeMap<ObjectId, Hurt>,
    count: usize,
}

impl Trace<'_, '_> {
    fn touch(&mut self, id: ObjectId, place: &Place) {
        let Some(hurt) = self.hurt.get_mut(&id) else {
            return;
        };
        self.count += 1;
        if self.count > TOUCHES_MAX {
            return;
        }
        hurt.touches.push(Touch {
            run: self.subject.run,
            checkpoint_id: self.subject.header.checkpoint_id.to_string(),
            place: place.clone(),
        });
    }

    /// A content: the object itself, or its list and the chunks in it.
    fn content(&mut self, id: ObjectId, place: &Place) -> Result<()> {
        self.touch(id, place);
        if self.tainted.contains(&id) {
            for chunk in self.walk.chunks(id)? {
                if let Next::Leaf(chunk, _) = chunk {
                    self.touch(chunk, place);
                }
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<()> {
        for state in &self.subject.header.state_objects {
            self.content(state.object, &Place::State(state.member.clone()))?;
        }
        Ok(())
    }

    fn files(&mut self) -> Result<()> {
        let snapshot = self.subject.header.snapshot.iter();
        for root in snapshot.flat_map(|snapshot| &snapshot.roots) {
            let mut next = vec![(root.tree, String::new())];
            while let Some((id, path)) = next.pop() {
                if self.count > TOUCHES_MAX {
                    return Ok(());
                }
                self.walk.cancel.check()?;
                let folder = Place::Folder {
                    root: root.name.clone(),
                    path: path.clone(),
                };
                self.touch(id, &folder);
                if !self.tainted.contains(&id) {
                    continue;
                }
                for entry in self.walk.entries(id)?.entries.iter().rev() {
                    let name = String::from_utf8_lossy(&entry.name);
                    let path = if path.is_empty() {
                        name.into_owned()
                    } else {
                        format!("{path}/{name}")
                    };
                    match &entry.node {
                        Node::Directory { tree, .. } => next.push((*tree, path)),
                        Node::File(file) => {
                            let place = Place::File {
                                root: root.name.clone(),
                                path,
                            };
                            self.content(file.chunks.unwrap_or(file.hash), &place)?;
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}
