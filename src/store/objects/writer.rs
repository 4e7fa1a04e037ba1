//! Stores objects: into blocks, and those behind the end of a pack.
//!
//! *Invariants*: one writer per slot, so nobody else writes its packs. What a writer stored is known to
//! others only after [`Writer::sync`], through the index ([`Stored::record`]).
//!
//! *Crash story*: a writer that is dropped unsynced cuts its packs back to where it began; one that
//! is killed leaves blocks without rows, which [`Store::catch_up`] indexes, and perhaps a torn one,
//! behind which nothing is written any more.
//!
//! *Limits*: two writers that meet the same new object at the same time store it twice; gc drops one.

use std::collections::HashSet;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zstd::bulk::Compressor;

use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::model::object::ObjectId;
use crate::model::snapshot::{LIST_MAGIC, TREE_MAGIC};
use crate::store::disk::{LockGuard, NewFile};
use crate::store::index::{Indexed, Location};
use crate::store::objects::pack::{self, Head, OBJECTS_MAX, PACK_HEADER, RAW_MAX};
use crate::store::objects::{Lane, Sink, Store, locations};
use crate::store::place::PackId;

/// A pack is not filled any more from this length on, in bytes.
const PACK_MAX: u64 = 64 << 20;
/// A block is compressed from this length on, in bytes: large enough that similar files
/// help each other, small enough to be unpacked for one of them.
const BLOCK_LEN: usize = 256 << 10;
/// After so many bytes the system is asked to begin writing them back.
const WRITE_BACK: u64 = 8 << 20;
const SLOTS: u8 = 64;
/// zstd's level for files: the fastest that is not worse than what peers do by default.
const LEVEL_FILES: i32 = 2;
/// zstd's level for state, which is small.
pub(super) const LEVEL_STATE: i32 = 3;

/// How much a writer may store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// As much as there is room for.
    None,
    /// At most so many bytes; more is [`Error::StoreBudget`].
    Bytes(u64),
    /// Nothing: it only counts what there would be to store, and tells it as [`Error::StoreBudget`]
    /// when it is to be synced.
    Measure,
}

/// Stores objects.
pub struct Writer<'s> {
    store: &'s Store<'s>,
    guards: Option<Guards>,
    slot: u8,
    /// Objects that this writer stores, or is about to.
    claimed: Mutex<HashSet<ObjectId>>,
    /// True if the index knew nothing: there is nothing to look up.
    nothing_before: bool,
    filling: Mutex<Filling>,
    limit: Limit,
    /// A pack is not filled any more from this length on, in bytes.
    pack_max: u64,
    /// Packs that nothing is appended to.
    avoid: Vec<PackId>,
}

/// What was copied, durably, and is not in the index yet.
pub(super) struct Copies {
    /// Where the copies lie.
    pub(super) rows: Vec<(ObjectId, Location)>,
    /// The packs they lie in.
    pub(super) packs: Vec<Indexed>,
    /// The packs, and their lengths before; `None` for new ones.
    begun: Vec<(PackId, Option<u64>)>,
    /// How many bytes were appended to packs.
    bytes: u64,
}

/// What a writer holds until its checkpoint is visible.
#[derive(Debug)]
#[allow(dead_code, reason = "held until dropped")]
struct Guards {
    /// Keeps gc from dropping what the checkpoint leans on.
    share: Box<dyn LockGuard>,
    /// Keeps other writers from the slot's packs.
    slot: Box<dyn LockGuard>,
}

/// The packs being written.
#[derive(Default)]
struct Filling {
    /// The pack that is open, and its length.
    open: Option<Open>,
    /// Packs that are full, but not synced.
    full: Vec<Open>,
    /// The packs that were touched, and their lengths before; `None` for new ones.
    begun: Vec<(PackId, Option<u64>)>,
    rows: Vec<(ObjectId, Location)>,
    appended: u64,
    unsent: u64,
    /// After a failed write nothing more is written.
    failed: bool,
}

struct Open {
    pack: PackId,
    file: Box<dyn NewFile>,
    len: u64,
}

/// What a writer stored, durably. Others learn of it by [`Stored::record`].
pub struct Stored<'s> {
    store: &'s Store<'s>,
    _guards: Option<Guards>,
    rows: Vec<(ObjectId, Location)>,
    packs: Vec<Indexed>,
    /// How many bytes were appended to packs.
    pub bytes: u64,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'s> Writer<'s> {
    /// Begins to store.
    pub fn begin(store: &'s Store<'s>, limit: Limit, cancel: &Cancel) -> Result<Self> {
        let share = store.share(cancel)?;
        let (slot, guard) = Self::take_slot(store, cancel)?;
        let nothing_before = store.index().packs()?.is_empty();
        Ok(Self {
            store,
            guards: Some(Guards { share, slot: guard }),
            slot,
            claimed: Mutex::default(),
            nothing_before,
            filling: Mutex::default(),
            limit,
            pack_max: PACK_MAX,
            avoid: Vec::new(),
        })
    }

    /// Begins to copy what the store has already, into packs of a slot that the caller holds.
    pub(super) fn copying(store: &'s Store<'s>, slot: u8, avoid: Vec<PackId>) -> Self {
        Self {
            store,
            guards: None,
            slot,
            claimed: Mutex::default(),
            nothing_before: false,
            filling: Mutex::default(),
            limit: Limit::None,
            pack_max: PACK_MAX,
            avoid,
        }
    }

    fn take_slot(store: &Store<'_>, cancel: &Cancel) -> Result<(u8, Box<dyn LockGuard>)> {
        let disk = store.disk();
        let mut taken = None;
        let first = store.place().slot(0);
        let guard = super::wait_for(disk, &first, cancel, || {
            for slot in 0..SLOTS {
                if let Some(guard) = disk.try_lock(&store.place().slot(slot), "")? {
                    taken = Some(slot);
                    return Ok(Some(guard));
                }
            }
            Ok(None)
        })?;
        Ok((taken.unwrap_or(0), guard))
    }

    /// Begins a new pack sooner: gc needs room for a copy of one.
    #[must_use]
    pub fn with_packs_of(mut self, bytes: u64) -> Self {
        self.pack_max = bytes.min(PACK_MAX);
        self
    }

    /// The store that is written.
    #[must_use]
    pub fn store(&self) -> &'s Store<'s> {
        self.store
    }

    /// True if the object has to be stored; from then on it is this caller's to do.
    pub(super) fn claim(&self, id: &ObjectId) -> Result<bool> {
        if held(&self.claimed).contains(id) {
            return Ok(false);
        }
        if !self.nothing_before && self.store.find(id)?.is_some() {
            return Ok(false);
        }
        Ok(held(&self.claimed).insert(*id))
    }

    /// [`Writer::claim`] for many objects, in one look at the index.
    pub(super) fn claim_all(&self, ids: &[ObjectId]) -> Result<Vec<bool>> {
        let known = if self.nothing_before {
            vec![false; ids.len()]
        } else {
            self.store.index().holds_each(ids)?
        };
        let mut claimed = held(&self.claimed);
        let claim = |(id, known): (&ObjectId, bool)| !known && claimed.insert(*id);
        Ok(ids.iter().zip(known).map(claim).collect())
    }

    /// Nothing is stored any more: something was claimed, perhaps, and nobody else stores it.
    pub(super) fn fail(&self) {
        held(&self.filling).failed = true;
    }

    /// Appends a block.
    pub(super) fn append(&self, block: &[u8]) -> Result<()> {
        let mut filling = held(&self.filling);
        if filling.failed {
            return Err(Error::Internal {
                message: "a writer was used after it failed".to_owned(),
            });
        }
        let len = block.len() as u64;
        if self.limit == Limit::Measure {
            filling.appended += len;
            return Ok(());
        }
        if let Limit::Bytes(allowance) = self.limit
            && filling.appended + len > allowance
        {
            filling.failed = true;
            return Err(Error::StoreBudget {
                path: self.store.place().path().to_path_buf(),
                needed: filling.appended + len,
                allowed: allowance,
                dropped: Vec::new(),
            });
        }
        let result = self.append_to(&mut filling, block);
        filling.failed = result.is_err();
        result
    }

    fn append_to(&self, filling: &mut Filling, block: &[u8]) -> Result<()> {
        if let Some(full) = filling.open.take_if(|open| open.len >= self.pack_max) {
            filling.full.push(full);
        }
        if filling.open.is_none() {
            let last = filling.full.last().map(|open| open.pack);
            let (open, before) = self.open_pack(last)?;
            filling.begun.push((open.pack, before));
            filling.open = Some(open);
        }
        let Some(open) = &mut filling.open else {
            return Ok(());
        };
        let path = self.store.place().pack(open.pack);
        open.file.write_all(block).context("write", &path)?;
        let Some(head) = Head::read(block) else {
            return Err(Error::Internal {
                message: "a block was made that is none".to_owned(),
            });
        };
        filling.rows.extend(locations(open.pack, open.len, &head));
        let len = block.len() as u64;
        open.len += len;
        filling.appended += len;
        filling.unsent += len;
        if filling.unsent >= WRITE_BACK {
            open.file.write_back();
            filling.unsent = 0;
        }
        Ok(())
    }

    /// Opens the pack to be filled: the slot's last one, if it ends well and has room, else a new one.
    fn open_pack(&self, before: Option<PackId>) -> Result<(Open, Option<u64>)> {
        let (store, disk) = (self.store, self.store.disk());
        let last = match before {
            Some(last) => Some((last, u64::MAX)),
            None => store
                .place()
                .packs(disk)?
                .into_iter()
                .rfind(|(id, _)| id.slot == self.slot),
        };
        if let Some((pack, len)) = last
            && len < self.pack_max
            && !self.avoid.contains(&pack)
        {
            store.index_tails(&[pack], Some(&|_| true))?;
            let known = store.index().pack(pack)?;
            if known.is_some_and(|known| !known.sealed) {
                let path = store.place().pack(pack);
                let (file, len) = disk.append(&path).context("open", &path)?;
                // All of it is understood: what comes behind is found again.
                if len >= PACK_HEADER.len() as u64 && known.is_some_and(|known| known.len == len) {
                    return Ok((Open { pack, file, len }, Some(len)));
                }
            }
        }
        let pack = PackId {
            slot: self.slot,
            number: last.map_or(1, |(last, _)| last.number + 1),
        };
        let path = store.place().pack(pack);
        let mut file = disk.create(&path).context("create", &path)?;
        let written = file.write_all(&PACK_HEADER);
        if written.is_err() {
            let _ = disk.remove_file(&path);
        }
        written.context("write", &path)?;
        let len = PACK_HEADER.len() as u64;
        Ok((Open { pack, file, len }, None))
    }

    pub(super) fn packing(&self, source: io::Error) -> Error {
        Error::Io {
            action: "compress for",
            path: self.store.place().objects(),
            source,
        }
    }

    /// Asks the system to begin writing back everything that was stored; gives how many bytes were
    /// appended to packs. Fails where [`Writer::sync`] would fail before it reaches the disk.
    pub fn write_back(&self) -> Result<u64> {
        let mut filling = held(&self.filling);
        self.check(&filling)?;
        if let Some(open) = &mut filling.open {
            open.file.write_back();
        }
        Ok(filling.appended)
    }

    /// Makes everything durable that was stored.
    pub fn sync(mut self) -> Result<Stored<'s>> {
        let copies = self.settle()?;
        Ok(Stored {
            store: self.store,
            _guards: self.guards.take(),
            rows: copies.rows,
            packs: copies.packs,
            bytes: copies.bytes,
        })
    }

    /// Makes everything durable that was copied.
    pub(super) fn sync_copies(self) -> Result<Copies> {
        self.settle()
    }

    /// Refuses to go on after a failure, and when it only measures.
    fn check(&self, filling: &Filling) -> Result<()> {
        if filling.failed {
            return Err(Error::Internal {
                message: "a writer was used after it failed".to_owned(),
            });
        }
        if self.limit == Limit::Measure {
            return Err(Error::StoreBudget {
                path: self.store.place().path().to_path_buf(),
                needed: filling.appended,
                allowed: 0,
                dropped: Vec::new(),
            });
        }
        Ok(())
    }

    fn settle(&self) -> Result<Copies> {
        let store = self.store;
        let mut filling = held(&self.filling);
        self.check(&filling)?;
        let (open, full) = (filling.open.take(), std::mem::take(&mut filling.full));
        let mut packs = Vec::new();
        for Open { pack, file, len } in full.into_iter().chain(open) {
            let path = store.place().pack(pack);
            file.finish().context("sync", &path)?;
            packs.push(Indexed {
                pack,
                len,
                sealed: false,
            });
        }
        if filling.begun.iter().any(|(_, before)| before.is_none()) {
            let folder = store.place().objects();
            store.disk().sync_dir(&folder).context("sync", &folder)?;
        }
        Ok(Copies {
            rows: std::mem::take(&mut filling.rows),
            packs,
            // Nothing is cut back any more by dropping the writer.
            begun: std::mem::take(&mut filling.begun),
            bytes: filling.appended,
        })
    }
}

impl Copies {
    /// How much longer the packs are for them.
    pub(super) fn grown(&self) -> u64 {
        let new = self.begun.iter().filter(|(_, before)| before.is_none());
        self.bytes + (new.count() * PACK_HEADER.len()) as u64
    }

    /// Takes the copies back: nobody knows of them yet.
    pub(super) fn discard(self, store: &Store<'_>) {
        cut_back(store, self.begun);
    }
}

/// Cuts packs to their lengths before. What stays behind is an orphan and dropped by gc.
fn cut_back(store: &Store<'_>, begun: Vec<(PackId, Option<u64>)>) {
    for (pack, before) in begun {
        let path = store.place().pack(pack);
        let _ = match before {
            Some(len) => store.disk().truncate(&path, len),
            None => store.disk().remove_file(&path),
        };
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        let mut filling = held(&self.filling);
        filling.open = None;
        filling.full.clear();
        cut_back(self.store, std::mem::take(&mut filling.begun));
    }
}

impl Stored<'_> {
    /// Tells others what was stored. Called once the checkpoint that needs it is visible; if it
    /// fails, or is never called, the next one to open the store finds out by itself.
    pub fn record(self) -> Result<()> {
        if self.packs.is_empty() {
            return Ok(());
        }
        self.store.index().record(&self.rows, &self.packs)
    }
}

impl Sink for Writer<'_> {
    fn lane(&self) -> Box<dyn Lane + '_> {
        Box::new(Filler::new(self, LEVEL_FILES))
    }
}

/// Collects objects into blocks. Folders and lists of chunks get blocks of their own: who walks a tree unpacks
/// them alone, and not all the files between them.
pub(super) struct Filler<'w, 's> {
    writer: &'w Writer<'s>,
    level: i32,
    compressor: Option<Compressor<'static>>,
    /// Files and state; folders and lists.
    pending: [Pending; 2],
}

/// Objects that are not in a block yet.
#[derive(Default)]
struct Pending {
    raw: Vec<u8>,
    objects: Vec<(ObjectId, usize)>,
}

impl Pending {
    fn push(&mut self, id: ObjectId, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
        self.objects.push((id, bytes.len()));
    }

    fn is_full(&self) -> bool {
        self.raw.len() >= BLOCK_LEN || self.objects.len() >= OBJECTS_MAX
    }
}

impl<'w, 's> Filler<'w, 's> {
    /// For objects of all kinds that are copied.
    pub(super) fn for_copies(writer: &'w Writer<'s>) -> Self {
        Self::new(writer, LEVEL_STATE)
    }

    pub(super) fn new(writer: &'w Writer<'s>, level: i32) -> Self {
        Self {
            writer,
            level,
            compressor: None,
            pending: Default::default(),
        }
    }

    /// Adds an object that was claimed, or is copied.
    pub(super) fn add(&mut self, id: ObjectId, bytes: &[u8]) -> Result<()> {
        if bytes.len() > RAW_MAX {
            // Nobody else stores it: it was claimed here.
            held(&self.writer.filling).failed = true;
            return Err(Error::FileTooLarge {
                path: self.writer.store.place().path().to_path_buf(),
                limit: RAW_MAX as u64,
            });
        }
        // A file that begins like a folder lies among folders: that costs it nothing.
        let leads_on = [TREE_MAGIC, LIST_MAGIC]
            .iter()
            .any(|magic| bytes.starts_with(magic));
        let kind = usize::from(leads_on);
        if self.pending[kind].raw.len() + bytes.len() > RAW_MAX {
            self.send(kind)?;
        }
        self.pending[kind].push(id, bytes);
        if self.pending[kind].is_full() {
            self.send(kind)?;
        }
        Ok(())
    }

    /// Hands what was added to the writer.
    pub(super) fn flush(&mut self) -> Result<()> {
        let [leaves, inner] = &mut self.pending;
        // The little that a small change adds is one block: two would cost more than they save.
        if leaves.raw.len() + inner.raw.len() < BLOCK_LEN
            && leaves.objects.len() + inner.objects.len() <= OBJECTS_MAX
        {
            leaves.raw.append(&mut inner.raw);
            leaves.objects.append(&mut inner.objects);
        }
        self.send(0)?;
        self.send(1)
    }

    /// Makes a block of what is pending and hands it to the writer.
    fn send(&mut self, kind: usize) -> Result<()> {
        if self.pending[kind].objects.is_empty() {
            return Ok(());
        }
        let block = self.compress(kind)?;
        self.writer.append(&block)?;
        let Pending { raw, objects } = &mut self.pending[kind];
        raw.clear();
        objects.clear();
        Ok(())
    }

    fn compress(&mut self, kind: usize) -> Result<Vec<u8>> {
        let packing = |error| self.writer.packing(error);
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(Compressor::new(self.level).map_err(packing)?),
        };
        let Pending { raw, objects } = &self.pending[kind];
        pack::block(objects, raw, compressor).map_err(packing)
    }
}

impl Drop for Filler<'_, '_> {
    fn drop(&mut self) {
        // Claimed, so nobody else stores them: the writer must not say that they are safe.
        if self
            .pending
            .iter()
            .any(|pending| !pending.objects.is_empty())
        {
            self.writer.fail();
        }
    }
}

impl Lane for Filler<'_, '_> {
    fn put(&mut self, bytes: &[u8]) -> Result<ObjectId> {
        let id = ObjectId::of(bytes);
        if self.writer.claim(&id)? {
            self.add(id, bytes)?;
        }
        Ok(id)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush()
    }
}
