//! Folders that are read once, and whose a path is.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::{Rc, Weak};

use crate::error::Result;
use crate::model::diff::Trees;
use crate::model::object::ObjectId;
use crate::model::plan::KeepReason;
use crate::model::snapshot::{Node, SkipReason, Tree};

/// Reads folders; one that somebody still holds is not read again.
pub(super) struct Folders<'a> {
    source: &'a dyn Trees,
    held: RefCell<HashMap<ObjectId, Weak<Tree>>>,
    /// At how many entries those that nobody holds any more are dropped.
    sweep_at: Cell<usize>,
}

impl<'a> Folders<'a> {
    pub(super) fn new(source: &'a dyn Trees) -> Self {
        Self {
            source,
            held: RefCell::default(),
            sweep_at: Cell::new(64),
        }
    }

    /// Reads a folder; nothing is an empty one.
    pub(super) fn get(&self, id: Option<&ObjectId>) -> Result<Rc<Tree>> {
        let Some(id) = id else {
            return Ok(Rc::default());
        };
        let mut held = self.held.borrow_mut();
        if let Some(tree) = held.get(id).and_then(Weak::upgrade) {
            return Ok(tree);
        }
        let tree = Rc::new(self.source.tree(id)?);
        if held.len() >= self.sweep_at.get() {
            held.retain(|_, tree| tree.strong_count() > 0);
            self.sweep_at.set(64 + 2 * held.len());
        }
        held.insert(*id, Rc::downgrade(&tree));
        Ok(tree)
    }
}

/// What the run's checkpoints have captured of a folder's entries.
pub(super) struct Claims(HashMap<Vec<u8>, Claim>);

/// What they have captured at a path.
#[derive(Default)]
pub(super) struct Claim {
    captured: bool,
    secret: bool,
    skipped: Option<SkipReason>,
    /// Each content that a folder had there.
    pub(super) folders: BTreeSet<ObjectId>,
}

impl Claims {
    /// Looks up some names of a folder in each content that it had.
    pub(super) fn read<'a>(
        folders: &Folders<'_>,
        captured: impl IntoIterator<Item = &'a ObjectId>,
        names: &[&[u8]],
    ) -> Result<Self> {
        let mut claims: HashMap<Vec<u8>, Claim> = HashMap::new();
        for id in captured {
            let tree = folders.get(Some(id))?;
            for name in names {
                if let Some(node) = tree.get(name) {
                    claims.entry(name.to_vec()).or_default().add(node);
                }
            }
        }
        Ok(Self(claims))
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&Claim> {
        self.0.get(name)
    }
}

impl Claim {
    fn add(&mut self, node: &Node) {
        match node {
            Node::File(_) | Node::Symlink { .. } => self.captured = true,
            Node::Directory { tree, .. } => {
                self.captured = true;
                self.folders.insert(*tree);
            }
            Node::Withheld { .. } => self.secret = true,
            Node::Skipped { reason, .. } => self.skipped = Some(*reason),
        }
    }

    /// Why the path is not the run's; `None` if it is. A folder has to have been one.
    pub(super) fn foreign(claim: Option<&Self>, folder: bool) -> Option<KeepReason> {
        let Some(claim) = claim else {
            return Some(KeepReason::NotCaptured);
        };
        if claim.captured && (!folder || !claim.folders.is_empty()) {
            return None;
        }
        Some(match claim.skipped {
            _ if claim.captured => KeepReason::NotCaptured,
            _ if claim.secret => KeepReason::Secret,
            Some(reason) => KeepReason::NotStored(reason),
            None => KeepReason::NotCaptured,
        })
    }
}
