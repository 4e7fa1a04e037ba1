//! Folders as a look at the disk found them: kept in memory, nothing of them stored.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::model::object::ObjectId;
use crate::model::snapshot::{TREE_MAGIC, Tree};
use crate::store::objects::{Lane, Sink};

/// Keeps folders in memory, and of everything else only the name.
#[derive(Default)]
pub(super) struct Hashed(Mutex<HashMap<ObjectId, Vec<u8>>>);

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

/// Keeps folders in memory, and everything in another sink as well, if there is one.
pub(super) struct Seen<'a> {
    pub(super) hashed: &'a Hashed,
    pub(super) keep: Option<&'a dyn Sink>,
}

struct SeenLane<'a> {
    hashed: HashedLane<'a>,
    keep: Option<Box<dyn Lane + 'a>>,
}

impl Sink for Seen<'_> {
    fn lane(&self) -> Box<dyn Lane + '_> {
        Box::new(SeenLane {
            hashed: HashedLane(self.hashed),
            keep: self.keep.map(Sink::lane),
        })
    }
}

impl Lane for SeenLane<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<ObjectId> {
        match &mut self.keep {
            Some(keep) if bytes.starts_with(&TREE_MAGIC) => {
                keep.put(bytes)?;
                self.hashed.put(bytes)
            }
            Some(keep) => keep.put(bytes),
            None => self.hashed.put(bytes),
        }
    }

    fn finish(self: Box<Self>) -> Result<()> {
        match self.keep {
            Some(keep) => keep.finish(),
            None => Ok(()),
        }
    }
}

impl Hashed {
    /// A folder that was seen.
    pub(super) fn tree(&self, id: &ObjectId) -> Option<Tree> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(id).and_then(|bytes| Tree::decode(bytes))
    }

    /// Keeps a folder.
    pub(super) fn keep(&self, tree: &Tree) -> ObjectId {
        let bytes = tree.encode();
        let id = ObjectId::of(&bytes);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(id).or_insert(bytes);
        id
    }
}
