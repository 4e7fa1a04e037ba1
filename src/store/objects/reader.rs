//! Reads objects back, each held against its name.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::object::ObjectId;
use crate::model::snapshot::{ChunkList, File, Tree};
use crate::store::index::Location;
use crate::store::objects::Store;
use crate::store::objects::pack::Head;
use crate::store::place::PackId;

/// Blocks that were read last, unpacked: neighbours are asked for together.
#[derive(Default)]
pub(super) struct Recent(VecDeque<(BlockKey, Arc<Vec<u8>>)>);

/// A block by its pack and its place in it.
type BlockKey = (PackId, u64);

const RECENT_MAX: usize = 8;
/// Objects that the index does not know yet.
type Found = HashMap<ObjectId, Location>;

/// How many bases are followed. More than a writer ever piles up: when an object was stored twice,
/// its readers may find the other one, with other bases below it.
const CHAIN_MAX: u8 = 200;

/// How much memory is set aside for a content before any of it was read.
const CAPACITY_MAX: usize = 64 << 20;

impl Recent {
    fn get(&mut self, key: BlockKey) -> Option<Arc<Vec<u8>>> {
        let at = self.0.iter().position(|(found, _)| *found == key)?;
        let found = self.0.remove(at)?;
        let bytes = Arc::clone(&found.1);
        self.0.push_front(found);
        Some(bytes)
    }

    fn forget(&mut self, key: BlockKey) {
        self.0.retain(|(found, _)| *found != key);
    }

    fn put(&mut self, key: BlockKey, bytes: Arc<Vec<u8>>) {
        self.0.push_front((key, bytes));
        self.0.truncate(RECENT_MAX);
    }
}

/// What a file or a state consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The object: all of it, or its [`ChunkList`].
    pub object: ObjectId,
    /// True if the object is a [`ChunkList`].
    pub is_list: bool,
    /// Its length in bytes.
    pub size: u64,
    /// The hash of all of it, where it is known.
    pub hash: Option<ObjectId>,
}

impl From<&File> for Content {
    fn from(file: &File) -> Self {
        Self {
            object: file.chunks.unwrap_or(file.hash),
            is_list: file.chunks.is_some(),
            size: file.size,
            hash: Some(file.hash),
        }
    }
}

impl Store<'_> {
    /// Reads an object.
    pub fn get(&self, id: &ObjectId) -> Result<Vec<u8>> {
        self.get_deep(id, 0, None)
    }

    /// Reads an object that may lie among some that the index does not know yet.
    pub(super) fn get_among(&self, id: &ObjectId, also: &Found) -> Result<Vec<u8>> {
        self.get_deep(id, 0, Some(also))
    }

    /// Where an object lies, as far as it is known.
    pub(super) fn locate(&self, id: &ObjectId, also: Option<&Found>) -> Result<Option<Location>> {
        match also.and_then(|also| also.get(id)) {
            Some(at) => Ok(Some(*at)),
            None => self.find(id),
        }
    }

    fn get_deep(&self, id: &ObjectId, depth: u8, also: Option<&Found>) -> Result<Vec<u8>> {
        let missing = || Error::ObjectMissing {
            id: *id,
            path: self.place().path().to_path_buf(),
        };
        if depth > CHAIN_MAX {
            return Err(self.damaged(id, None, "its bases lead in a circle"));
        }
        let at = match self.locate(id, also)? {
            Some(at) => at,
            None if also.is_some() => return Err(missing()),
            None => {
                // Perhaps another process stored it since this store was opened.
                self.catch_up()?;
                if let Some(at) = self.find(id)? {
                    at
                } else {
                    if let Some(bytes) = self.get_unindexed(id, depth)? {
                        return Ok(bytes);
                    }
                    // Perhaps it was indexed while it was looked for where it is not.
                    self.find(id)?.ok_or_else(missing)?
                }
            }
        };
        match self.read(id, &at, depth, also) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if also.is_some() {
                    return Err(missing());
                }
            }
            Err(Error::ObjectDamaged { .. }) if also.is_none() => {}
            read => return read,
        }
        // A gc may have moved it since its place was looked up, and another pack may have the old
        // one's number by now.
        self.recent().forget((at.pack, at.block));
        self.catch_up()?;
        let at = self.find(id)?.ok_or_else(missing)?;
        self.read(id, &at, depth, None)
    }

    /// Reads what a writer stored that is still at work: its checkpoint may be visible before its
    /// rows are. Not kept among the recent blocks, because it may yet be cut off.
    fn get_unindexed(&self, id: &ObjectId, depth: u8) -> Result<Option<Vec<u8>>> {
        for at in self.find_unindexed(id)? {
            if let Ok(raw) = self.unpack(id, &at, depth, None)
                && let Some(bytes) = raw.get(at.start..at.start.saturating_add(at.len))
                && ObjectId::of(bytes) == *id
            {
                return Ok(Some(bytes.to_vec()));
            }
        }
        Ok(None)
    }

    fn damaged(&self, id: &ObjectId, pack: Option<PackId>, reason: &str) -> Error {
        Error::ObjectDamaged {
            id: *id,
            path: match pack {
                Some(pack) => self.place().pack(pack),
                None => self.place().path().to_path_buf(),
            },
            reason: reason.to_owned(),
        }
    }

    fn read(
        &self,
        id: &ObjectId,
        at: &Location,
        depth: u8,
        also: Option<&Found>,
    ) -> Result<Vec<u8>> {
        let key = (at.pack, at.block);
        let found = self.recent().get(key);
        let raw = if let Some(raw) = found {
            raw
        } else {
            let raw = Arc::new(self.unpack(id, at, depth, also)?);
            self.recent().put(key, Arc::clone(&raw));
            raw
        };
        let end = at.start.saturating_add(at.len);
        let bytes = raw
            .get(at.start..end)
            .ok_or_else(|| self.damaged(id, Some(at.pack), "its block is shorter than it was"))?;
        if ObjectId::of(bytes) == *id {
            Ok(bytes.to_vec())
        } else {
            Err(self.damaged(id, Some(at.pack), "its bytes are not those of its name"))
        }
    }

    /// Keeps a block that was unpacked.
    pub(super) fn keep_recent(&self, pack: PackId, block: u64, raw: Vec<u8>) {
        self.recent().put((pack, block), Arc::new(raw));
    }

    /// Forgets the blocks that were read last, so that they are read from the disk again.
    pub(super) fn forget_recent(&self) {
        self.recent().0.clear();
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, super::reader::Recent> {
        self.recent
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn unpack(
        &self,
        id: &ObjectId,
        at: &Location,
        depth: u8,
        also: Option<&Found>,
    ) -> Result<Vec<u8>> {
        let path = self.place().pack(at.pack);
        let damaged = |reason: &str| self.damaged(id, Some(at.pack), reason);
        let block = match self.disk().read_at(&path, at.block, at.block_len) {
            Ok(block) => block,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(damaged("the pack is shorter than it was"));
            }
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let head = Head::read(&block).ok_or_else(|| damaged("the head of its block is damaged"))?;
        if head.block_len() != block.len() {
            return Err(damaged("its block has another length"));
        }
        let base = match head.base {
            Some(base) => Some(self.get_deep(&base, depth + 1, also)?),
            None => None,
        };
        head.unpack(&block[head.payload_at()..], base.as_deref())
            .map_err(|_| damaged("its block can't be decompressed"))
    }

    /// Reads a folder.
    pub fn tree(&self, id: &ObjectId) -> Result<Tree> {
        let bytes = self.get(id)?;
        Tree::decode(&bytes).ok_or_else(|| self.damaged(id, None, "it is no folder"))
    }

    /// Reads a chunk list.
    pub fn list(&self, id: &ObjectId) -> Result<ChunkList> {
        let bytes = self.get(id)?;
        ChunkList::decode(&bytes).ok_or_else(|| self.damaged(id, None, "it is no list of chunks"))
    }

    /// Reads a content piece by piece, in order, and holds all of it against its hash. Holes come as
    /// zeros, at most a mebibyte at once.
    pub fn read_content(
        &self,
        content: &Content,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let object = &content.object;
        if !content.is_list {
            if content.size == 0 && *object == ObjectId::of(b"") {
                return Ok(());
            }
            let bytes = self.get(object)?;
            if bytes.len() as u64 != content.size {
                return Err(self.damaged(object, None, "it has another length"));
            }
            return take(&bytes);
        }
        let list = self.list(object)?;
        // Before anything is handed out: the caller asked for so much and no more.
        if list.len() != Some(content.size) {
            return Err(self.damaged(object, None, "its chunks have another length"));
        }
        let zeros = vec![0; 1 << 20];
        let mut hasher = blake3::Hasher::new();
        for piece in list.pieces {
            if let Some(chunk) = piece.chunk {
                let bytes = self.get(&chunk)?;
                if bytes.len() as u64 != piece.len {
                    return Err(self.damaged(&chunk, None, "it has another length"));
                }
                hasher.update(&bytes);
                take(&bytes)?;
                continue;
            }
            let mut left = piece.len;
            while left > 0 {
                let len = usize::try_from(left).map_or(zeros.len(), |left| left.min(zeros.len()));
                hasher.update(&zeros[..len]);
                take(&zeros[..len])?;
                left -= len as u64;
            }
        }
        let hash = ObjectId::from_hash(hasher.finalize());
        if content.hash.is_none_or(|wanted| wanted == hash) {
            Ok(())
        } else {
            Err(self.damaged(object, None, "its chunks are not the content"))
        }
    }

    /// Reads a whole content of at most `limit` bytes.
    pub fn content(&self, content: &Content, limit: u64) -> Result<Vec<u8>> {
        if content.size > limit {
            return Err(Error::FileTooLarge {
                path: self.place().path().to_path_buf(),
                limit,
            });
        }
        // The size is a claim until the content was read.
        let expected = usize::try_from(content.size).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(expected.min(CAPACITY_MAX));
        self.read_content(content, &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(bytes)
    }
}
