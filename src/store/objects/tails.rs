//! Indexes what packs hold behind their indexed part: what a killed writer left, or all of it.
//!
//! *Invariants*: an object is indexed only after its bytes were synced, read back and held against
//! its name. A block whose head is whole says nothing yet about its payload: power loss may leave
//! zeros there. An object noted on trust would be stored nowhere when it is put again.
//!
//! *Crash story*: everything that was found is recorded in one transaction, under the locks of the
//! slots it lies in; before that nothing has happened.
//!
//! *Limits*: a rebuild reads and unpacks all packs.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use crate::error::{Error, IoContext, Result};
use crate::model::object::ObjectId;
use crate::store::disk::LockGuard;
use crate::store::index::{Indexed, Location};
use crate::store::objects::pack::{Head, PACK_HEADER};
use crate::store::objects::{Store, locations, scan};
use crate::store::place::PackId;

/// Tells which slots the caller holds.
pub(super) type Held<'a> = &'a dyn Fn(u8) -> bool;

/// What was found, before the index is told.
#[derive(Default)]
pub(super) struct Found {
    /// By slot; `None` where a writer is at work.
    locks: BTreeMap<u8, Option<Box<dyn LockGuard>>>,
    objects: HashMap<ObjectId, Location>,
    packs: Vec<Indexed>,
    /// Deltas whose base was not met yet.
    waiting: Vec<Waiting>,
    /// Some packs were passed over: what is missing may lie there.
    incomplete: bool,
}

struct Waiting {
    pack: PackId,
    block: u64,
    head: Head,
    /// How far its pack goes.
    to: u64,
}

/// What became of a block.
enum Proof {
    /// All of its objects are what their names say.
    Whole,
    /// Its base is not known yet.
    Waits,
    /// Not all of it can be read. What can was noted.
    Torn,
}

impl Store<'_> {
    /// Indexes the tails of packs, after making them durable: a later checkpoint may lean on them.
    /// Packs where a writer is at work are passed over, unless the caller holds their slots. A caller
    /// who holds some may give only some of the packs that have tails.
    pub(super) fn index_tails(&self, packs: &[PackId], held: Option<Held<'_>>) -> Result<()> {
        let mut found = Found {
            incomplete: held.is_some(),
            ..Found::default()
        };
        for pack in packs {
            self.walk_tail(&mut found, *pack, held)?;
        }
        self.resolve(&mut found)?;
        if found.packs.is_empty() {
            return Ok(());
        }
        let objects: Vec<_> = found.objects.into_iter().collect();
        self.index().record(&objects, &found.packs)
    }

    fn walk_tail(&self, found: &mut Found, pack: PackId, held: Option<Held<'_>>) -> Result<()> {
        if !held.is_some_and(|held| held(pack.slot)) {
            let lock = match found.locks.entry(pack.slot) {
                Entry::Occupied(taken) => taken.into_mut(),
                Entry::Vacant(free) => {
                    let slot = self.place.slot(pack.slot);
                    free.insert(self.disk.try_lock(&slot, "").context("lock", &slot)?)
                }
            };
            if lock.is_none() {
                found.incomplete = true;
                return Ok(());
            }
        }
        // Read again under the lock: its last holder may have indexed it.
        let before = self.index().pack(pack)?;
        let indexed = before.map_or(0, |found| found.len);
        let path = self.place.pack(pack);
        let len = match self.disk.append(&path) {
            Ok((file, len)) if len > indexed => {
                file.finish().context("sync", &path)?;
                len
            }
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let folder = self.place.objects();
        self.disk.sync_dir(&folder).context("sync", &folder)?;
        let from = indexed.max(PACK_HEADER.len() as u64);
        let foreign = self.walk(found, pack, from..len, len)?;
        found.packs.push(Indexed {
            pack,
            len,
            sealed: foreign || before.is_some_and(|found| found.sealed),
        });
        Ok(())
    }

    /// Notes the blocks that begin in a range of a pack; `true` if some of its bytes are none.
    /// A block that can't be read is looked into: its length may be a lie.
    fn walk(
        &self,
        found: &mut Found,
        pack: PackId,
        range: std::ops::Range<u64>,
        to: u64,
    ) -> Result<bool> {
        let path = self.place.pack(pack);
        let mut foreign = false;
        let mut at = range.start;
        while at < range.end {
            if let Some(head) = scan::head_at(self.disk, &path, at, to)? {
                let end = at + head.block_len() as u64;
                let proof = self.prove(found, &path, pack, at, &head)?;
                if matches!(proof, Proof::Waits) {
                    found.waiting.push(Waiting {
                        pack,
                        block: at,
                        head,
                        to,
                    });
                }
                if !matches!(proof, Proof::Torn) {
                    at = end;
                    continue;
                }
            }
            at = match scan::behind_hole(self.disk, &path, at, to)? {
                // Zeros at the end may as well be what a power loss left.
                Some(next) if next < to => next,
                _ => {
                    foreign = true;
                    scan::next_block(self.disk, &path, at + 1, to)?
                }
            };
        }
        Ok(foreign)
    }

    /// Reads a block's objects and notes those that are what their names say.
    fn prove(
        &self,
        found: &mut Found,
        path: &Path,
        pack: PackId,
        block: u64,
        head: &Head,
    ) -> Result<Proof> {
        let (base, depth) = match head.base {
            None => (None, 0),
            Some(base) => {
                let Some(at) = self.locate(&base, Some(&found.objects))? else {
                    return Ok(Proof::Waits);
                };
                match self.get_among(&base, &found.objects) {
                    Ok(bytes) => (Some(bytes), at.depth.saturating_add(1)),
                    Err(Error::ObjectDamaged { .. } | Error::ObjectMissing { .. }) => {
                        return Ok(Proof::Torn);
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let from = block + head.payload_at() as u64;
        let payload = scan::read(self.disk, path, from, head.payload_len)?;
        let Ok(raw) = head.unpack(&payload, base.as_deref()) else {
            return Ok(Proof::Torn);
        };
        let mut whole = true;
        for (id, at) in locations(pack, block, head) {
            let bytes = raw.get(at.start..at.start + at.len);
            if bytes.is_none_or(|bytes| ObjectId::of(bytes) != id) {
                whole = false;
                continue;
            }
            let at = Location { depth, ..at };
            let known = found.objects.entry(id).or_insert(at);
            if at.depth < known.depth {
                *known = at;
            }
        }
        if !whole {
            return Ok(Proof::Torn);
        }
        // The next one may be a difference from it.
        self.keep_recent(pack, block, raw);
        Ok(Proof::Whole)
    }

    /// Notes the deltas whose bases were found behind them.
    fn resolve(&self, found: &mut Found) -> Result<()> {
        let mut progress = true;
        while progress && !found.waiting.is_empty() {
            progress = false;
            for waiting in std::mem::take(&mut found.waiting) {
                let path = self.place.pack(waiting.pack);
                let proof = self.prove(found, &path, waiting.pack, waiting.block, &waiting.head)?;
                match proof {
                    Proof::Waits => {
                        found.waiting.push(waiting);
                        continue;
                    }
                    Proof::Whole => {}
                    Proof::Torn => self.look_into(found, &waiting)?,
                }
                progress = true;
            }
        }
        for waiting in std::mem::take(&mut found.waiting) {
            if !found.incomplete {
                self.look_into(found, &waiting)?;
            } else if let Some(pack) = found.packs.iter_mut().find(|one| one.pack == waiting.pack) {
                // Perhaps its base lies where it could not be looked: tried again later.
                pack.len = pack.len.min(waiting.block);
            }
        }
        found.waiting.clear();
        Ok(())
    }

    fn look_into(&self, found: &mut Found, torn: &Waiting) -> Result<()> {
        let end = torn.block + torn.head.block_len() as u64;
        self.walk(found, torn.pack, torn.block + 1..end, torn.to)?;
        if let Some(pack) = found.packs.iter_mut().find(|one| one.pack == torn.pack) {
            pack.sealed = true;
        }
        Ok(())
    }

    /// Where an object may lie that was stored since by a writer that is still at work. Nothing is
    /// recorded: it may yet be cut off.
    pub(super) fn find_unindexed(&self, id: &ObjectId) -> Result<Vec<Location>> {
        let known = self.index().packs()?;
        let mut found = Vec::new();
        for (pack, len) in self.place.packs(self.disk)? {
            let of_pack = known.iter().find(|one| one.pack == pack);
            let from = of_pack.map_or(0, |one| one.len);
            if from >= len {
                continue;
            }
            let mut take = |block, head: &Head| {
                let all = locations(pack, block, head);
                found.extend(all.filter(|one| one.0 == *id).map(|one| one.1));
            };
            // What its writer cuts off meanwhile was not wanted.
            let _ = scan::blocks(self.disk, &self.place.pack(pack), from, len, &mut take);
        }
        Ok(found)
    }
}
