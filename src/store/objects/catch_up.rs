//! Brings the index up to what the packs hold.
//!
//! *Invariants*: what is indexed here was read and held against its name: a power loss may leave the
//! head of a block and nothing of its payload, and nobody must lean on that. Only objects whose base
//! is not known yet, because a writer is at work where it lies, are taken as they are.
//!
//! *Crash story*: how far a pack is indexed is noted last; a kill before that means that its end is
//! read once more.
//!
//! *Limits*: what another process is writing right now is left out. While all is indexed anew, the
//! slots that have packs are held, and writers take others.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::error::{Error, IoContext, Result};
use crate::model::object::ObjectId;
use crate::store::disk::LockGuard;
use crate::store::index::{Indexed, Location};
use crate::store::objects::pack::Head;
use crate::store::objects::{Store, locations, scan};
use crate::store::place::PackId;

/// Slots that the caller holds.
pub(super) type Held<'a> = &'a dyn Fn(u8) -> bool;

/// A block that needs another object to be read, by how many lie below it.
type Delta = (u8, PackId, u64, Head);

impl Store<'_> {
    /// Brings the index up to what the packs hold: what a killed writer left, packs that came or
    /// went without the index. What another process is writing right now is left out.
    pub fn catch_up(&self) -> Result<()> {
        self.catch_up_with(&|_| false)
    }

    /// Like [`Store::catch_up`], for a caller that holds some slots' locks himself.
    pub(super) fn catch_up_with(&self, held: Held<'_>) -> Result<()> {
        if self.outlived()? {
            return self.rebuild_with(held);
        }
        let known = self.index().packs()?;
        let mut behind = Vec::new();
        for (id, len) in self.place.packs(self.disk)? {
            let known = known.iter().find(|found| found.pack == id);
            if known.map_or(0, |found| found.len) < len {
                behind.push(id);
            }
        }
        self.index_tails(&behind, held)
    }

    /// True if the index knows more of a pack than there is, so that it is from another day than the
    /// packs. A gc tells the index before it removes a pack: if one went and the generation stayed,
    /// it was no gc.
    fn outlived(&self) -> Result<bool> {
        loop {
            let generation = self.generation()?;
            if !self.shrank()? {
                return Ok(false);
            }
            if self.generation()? == generation {
                return Ok(true);
            }
        }
    }

    fn shrank(&self) -> Result<bool> {
        let known = self.index().packs()?;
        let packs = self.place.packs(self.disk)?;
        Ok(known.iter().any(|found| {
            let len = packs.iter().find(|(id, _)| *id == found.pack);
            len.is_none_or(|(_, len)| *len < found.len)
        }))
    }

    /// Makes the index anew, from the packs alone.
    pub fn rebuild(&self) -> Result<()> {
        self.rebuild_with(&|_| false)
    }

    fn rebuild_with(&self, held: Held<'_>) -> Result<()> {
        self.index().clear(self.now_ms)?;
        let packs = self.place.packs(self.disk)?;
        let packs: Vec<PackId> = packs.into_iter().map(|(id, _)| id).collect();
        self.index_tails(&packs, held)
    }

    /// Indexes what lies behind the indexed parts of packs, after making it durable: a later
    /// checkpoint may lean on it. Leaves out those where a writer is at work.
    pub(super) fn index_tails(&self, packs: &[PackId], held: Held<'_>) -> Result<()> {
        let mut guards: BTreeMap<u8, Option<Box<dyn LockGuard>>> = BTreeMap::new();
        let (mut noted, mut deltas) = (Vec::new(), Vec::new());
        for pack in packs {
            if !held(pack.slot) {
                if let Entry::Vacant(free) = guards.entry(pack.slot) {
                    let slot = self.place.slot(pack.slot);
                    free.insert(self.disk.try_lock(&slot, "").context("lock", &slot)?);
                }
                if guards.get(&pack.slot).is_some_and(Option::is_none) {
                    continue;
                }
            }
            noted.extend(self.index_tail(*pack, &mut deltas)?);
        }
        // A base before what is built on it.
        deltas.sort_by_key(|(depth, pack, at, _)| (*depth, *pack, *at));
        for level in deltas.chunk_by(|one, other| one.0 == other.0) {
            let mut rows = Vec::new();
            for (_, pack, at, head) in level {
                let known = match &head.base {
                    Some(base) => self.find(base)?.is_some(),
                    None => true,
                };
                rows.extend(if known {
                    self.good(*pack, *at, head)?
                } else {
                    locations(*pack, *at, head).collect()
                });
            }
            self.index().record(&rows, &[])?;
        }
        if noted.is_empty() {
            return Ok(());
        }
        self.index().record(&[], &noted)
    }

    /// Indexes the end of one pack, but for the blocks that need a base.
    fn index_tail(&self, id: PackId, deltas: &mut Vec<Delta>) -> Result<Option<Indexed>> {
        let path = self.place.pack(id);
        // Read again under the lock: its last holder may have indexed it.
        let before = self.index().pack(id)?;
        let indexed = before.map_or(0, |found| found.len);
        let len = match self.disk.append(&path) {
            Ok((file, len)) if len > indexed => {
                file.finish().context("sync", &path)?;
                len
            }
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let folder = self.place.objects();
        self.disk.sync_dir(&folder).context("sync", &folder)?;
        let mut heads = Vec::new();
        let foreign = scan::blocks(self.disk, &path, indexed, len, &mut |at, head| {
            heads.push((at, head.clone()));
        })?;
        let mut rows = Vec::new();
        for (at, head) in heads {
            if head.base.is_some() {
                deltas.push((head.depth, id, at, head));
            } else {
                rows.extend(self.good(id, at, &head)?);
            }
        }
        self.index().record(&rows, &[])?;
        Ok(Some(Indexed {
            pack: id,
            len,
            sealed: foreign > 0 || before.is_some_and(|found| found.sealed),
        }))
    }

    /// The objects of a block that are what their names say.
    fn good(&self, pack: PackId, at: u64, head: &Head) -> Result<Vec<(ObjectId, Location)>> {
        let path = self.place.pack(pack);
        let payload_at = at + head.payload_at() as u64;
        let payload = self
            .disk
            .read_at(&path, payload_at, head.payload_len)
            .context("read", &path)?;
        let base = match &head.base {
            Some(base) => match self.get_known(base) {
                Ok(bytes) => Some(bytes),
                Err(Error::ObjectDamaged { .. } | Error::ObjectMissing { .. }) => {
                    return Ok(Vec::new());
                }
                Err(error) => return Err(error),
            },
            None => None,
        };
        let Ok(raw) = head.unpack(&payload, base.as_deref()) else {
            return Ok(Vec::new());
        };
        let good = |(id, at): &(ObjectId, Location)| {
            raw.get(at.start..at.start + at.len)
                .is_some_and(|bytes| ObjectId::of(bytes) == *id)
        };
        Ok(locations(pack, at, head).filter(good).collect())
    }
}
