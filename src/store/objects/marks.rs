//! Which objects are needed: whatever some names lead to.
//!
//! *Invariants*: every name that was ever asked for counts as needed, whether the store knows it or
//! not. A name the store does not know yet is asked for again by [`Marks::again`]: its writer may
//! have made its checkpoint visible before it told the index.
//!
//! *Crash story*: nothing is written.
//!
//! *Limits*: what a damaged folder or list leads to can't be known; it is reported as a problem. An
//! error of the disk is no damage and ends the walk. A new encoding of folders or lists needs a new
//! store format: this version would take it for plain content.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::object::ObjectId;
use crate::model::snapshot::{ChunkList, Node, Tree};
use crate::store::index::Location;
use crate::store::objects::{Store, scan};

/// Something that can't be read, and was left as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The object, if it is about one.
    pub object: Option<ObjectId>,
    /// The pack, or the store.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// What a name is expected to stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Role {
    /// Whatever a manifest names; perhaps no object at all.
    Any,
    Tree,
    List,
    /// Bytes that lead nowhere.
    Leaf,
}

/// How far a needed object was followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Followed {
    /// The index does not know it.
    Unknown,
    /// It is known, and so is its base.
    Found,
    /// What it leads to is marked too.
    Through,
}

/// The objects that are needed.
pub struct Marks<'s> {
    store: &'s Store<'s>,
    needed: HashMap<ObjectId, Followed>,
    /// Names that the index did not know.
    unknown: HashSet<(ObjectId, Role)>,
    problems: HashMap<ObjectId, Problem>,
    /// How many objects were found, and their bytes before compression.
    objects: u64,
    bytes: u64,
}

impl<'s> Marks<'s> {
    /// Nothing is needed yet.
    #[must_use]
    pub fn new(store: &'s Store<'s>) -> Self {
        Self {
            store,
            needed: HashMap::new(),
            unknown: HashSet::new(),
            problems: HashMap::new(),
            objects: 0,
            bytes: 0,
        }
    }

    /// True if the object is needed.
    #[must_use]
    pub fn needs(&self, id: &ObjectId) -> bool {
        self.needed.contains_key(id)
    }

    /// How many objects are needed and there.
    #[must_use]
    pub fn objects(&self) -> u64 {
        self.objects
    }

    /// Their bytes before compression.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True if something that must be an object is not known: it may lie where nothing can be read.
    #[must_use]
    pub fn is_missing_some(&self) -> bool {
        self.unknown.iter().any(|(_, role)| *role != Role::Any)
    }

    /// What could not be read on the way, in order.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.problems.values().cloned().collect();
        problems.sort_by_key(|problem| problem.object);
        problems
    }

    /// Marks an object that a manifest names, if it is one, and all that it leads to.
    pub fn add(&mut self, id: ObjectId, cancel: &Cancel) -> Result<()> {
        self.walk(vec![(id, Role::Any)], cancel)
    }

    /// Asks again for what the index did not know.
    pub fn again(&mut self, cancel: &Cancel) -> Result<()> {
        let unknown: Vec<_> = std::mem::take(&mut self.unknown).into_iter().collect();
        for (id, _) in &unknown {
            self.needed.remove(id);
            self.problems.remove(id);
        }
        self.walk(unknown, cancel)
    }

    fn walk(&mut self, mut next: Vec<(ObjectId, Role)>, cancel: &Cancel) -> Result<()> {
        while let Some((id, role)) = next.pop() {
            cancel.check()?;
            let before = self.needed.get(&id).copied();
            match before {
                Some(Followed::Through) => continue,
                Some(Followed::Found) if role == Role::Leaf => continue,
                _ => {}
            }
            let Some(at) = self.store.find(&id)? else {
                self.not_found(id, role);
                continue;
            };
            if before != Some(Followed::Found) {
                self.objects += 1;
                self.bytes += at.len as u64;
                if at.depth > 0
                    && let Some(base) = self.base(&id, &at)?
                {
                    next.push((base, Role::Leaf));
                }
            }
            if role == Role::Leaf {
                self.needed.insert(id, Followed::Found);
            } else {
                self.needed.insert(id, Followed::Through);
                self.look_into(id, role, &mut next)?;
            }
        }
        Ok(())
    }

    fn not_found(&mut self, id: ObjectId, role: Role) {
        self.needed.insert(id, Followed::Unknown);
        self.unknown.insert((id, role));
        if role != Role::Any {
            self.trouble(id, "it is missing in the store");
        }
    }

    fn trouble(&mut self, id: ObjectId, reason: &str) {
        let path = match self.store.find(&id) {
            Ok(Some(at)) => self.store.place().pack(at.pack),
            _ => self.store.place().path().to_path_buf(),
        };
        self.problems.entry(id).or_insert_with(|| Problem {
            object: Some(id),
            path,
            reason: reason.to_owned(),
        });
    }

    /// The base of an object that is stored by its difference.
    fn base(&mut self, id: &ObjectId, at: &Location) -> Result<Option<ObjectId>> {
        let path = self.store.place().pack(at.pack);
        let end = at.block.saturating_add(at.block_len as u64);
        let head = match scan::head_at(self.store.disk(), &path, at.block, end) {
            Ok(head) => head,
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
                None
            }
            Err(error) => return Err(error),
        };
        if head.is_none() {
            self.trouble(*id, "the head of its block is damaged");
        }
        Ok(head.and_then(|head| head.base))
    }

    fn look_into(
        &mut self,
        id: ObjectId,
        role: Role,
        next: &mut Vec<(ObjectId, Role)>,
    ) -> Result<()> {
        let bytes = match self.store.get(&id) {
            Ok(bytes) => bytes,
            Err(Error::ObjectDamaged { reason, .. }) => {
                self.trouble(id, &reason);
                return Ok(());
            }
            Err(Error::ObjectMissing { id: base, .. }) => {
                self.trouble(
                    id,
                    &format!("object {base}, which it is built on, is missing"),
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if let Some(tree) = Tree::decode(&bytes) {
            next.extend(tree.entries.iter().filter_map(|entry| child(&entry.node)));
            return Ok(());
        }
        if let Some(list) = ChunkList::decode(&bytes) {
            let chunks: HashSet<_> = list.pieces.iter().filter_map(|piece| piece.chunk).collect();
            next.extend(chunks.into_iter().map(|chunk| (chunk, Role::Leaf)));
            return Ok(());
        }
        match role {
            Role::Tree => self.trouble(id, "it is no folder"),
            Role::List => self.trouble(id, "it is no list of chunks"),
            Role::Any | Role::Leaf => {}
        }
        Ok(())
    }
}

/// The object that an entry of a folder needs.
fn child(node: &Node) -> Option<(ObjectId, Role)> {
    match node {
        Node::Directory { tree, .. } => Some((*tree, Role::Tree)),
        Node::File(file) => match file.chunks {
            Some(list) => Some((list, Role::List)),
            // An empty file needs no object.
            None if file.size == 0 => Some((file.hash, Role::Any)),
            None => Some((file.hash, Role::Leaf)),
        },
        Node::Symlink { .. } | Node::Withheld { .. } | Node::Skipped { .. } => None,
    }
}
