//! Takes back the space of objects that nobody needs: packs are dropped, or written anew without them.
//!
//! *Invariants*: a pack is only removed under the store's exclusive lock, after what became needed
//! meanwhile was marked, and only if every needed object in it was copied or has another copy that
//! was just read. The copies are synced before the index learns of them, the index is durable
//! before the pack goes, and the pack's slot is held all the while, so that nobody appends to it or
//! indexes it again. The generation changes with every pack that goes.
//!
//! Without room for copies a pack stays, and the whole pages of blocks of which nothing is needed become
//! holes. The same holds for them as for a pack that goes: they are made under the same locks, after the
//! same look for what became needed, and only once the index durably knows nothing there any more. Nor
//! does it then know an unneeded object that is built on another: that one may be gone.
//!
//! *Crash story*: before the index learns of the copies they are a torn or a second copy of what the
//! old pack still holds; after that the old pack is the second copy. Whoever opens the store next
//! indexes what is there, and the next gc finds the other copies unneeded. Of pages that were to become
//! holes some may be left as they were; nobody looks there, and the next gc may punch them again.
//!
//! *Limits*: a pack is left alone while its slot is busy, if it can't be read, or if bytes in it that
//! are no block may be what somebody misses.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::model::object::ObjectId;
use crate::store::disk::LockGuard;
use crate::store::index::{Indexed, Location};
use crate::store::objects::marks::{Marks, Problem};
use crate::store::objects::pack::Head;
use crate::store::objects::scan::PAGE;
use crate::store::objects::writer::{Copies, Filler, Writer};
use crate::store::objects::{Store, locations, scan};
use crate::store::place::PackId;
use crate::store::publish::remove;

/// How often a slot that is busy is asked for again; whoever reads a pack's end holds it for a moment.
const SLOT_TRIES: u32 = 40;
const SLOT_PAUSE_MS: u64 = 5;

/// What of a pack is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackUse {
    /// The pack.
    pub pack: PackId,
    /// How many bytes it takes: its length without its holes.
    pub taken: u64,
    /// About how many of its bytes are needed.
    pub live_bytes: u64,
    /// True if it has to stay as it is: what can't be read in it may be needed.
    pub fixed: bool,
    /// Why it can't be read, if that is so.
    pub unread: Option<String>,
}

/// What became of some packs.
#[derive(Debug, Default)]
pub struct Round {
    /// The packs that are gone.
    pub gone: Vec<PackId>,
    /// Their bytes.
    pub gone_bytes: u64,
    /// The bytes that were copied out of them.
    pub copied_bytes: u64,
    /// The packs that were left alone.
    pub left: Vec<PackId>,
    /// Why, where something is wrong with them.
    pub problems: Vec<Problem>,
}

/// What is done about needed objects of a pack that is to go.
#[derive(Debug, Clone, Copy)]
pub enum Copy<'a> {
    /// The pack is left alone.
    Nothing,
    /// They are copied, but not into these packs.
    Except(&'a [PackId]),
}

/// What came of giving space back without a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given {
    /// So many bytes were given back.
    Back {
        /// How many.
        bytes: u64,
    },
    /// The pack has to stay as it is: a writer is at work there, or it can't be understood.
    Nothing,
    /// What is not needed lies in pieces that are too small, or was given back before.
    TooSmall {
        /// About how many bytes a copy takes.
        needs: u64,
    },
    /// The file system can't do it.
    Unsupported {
        /// About how many bytes a copy takes.
        needs: u64,
    },
}

/// What a pack says of itself.
struct Contents {
    pack: PackId,
    len: u64,
    blocks: Vec<(u64, Head)>,
    /// True if some of its bytes are no block, and no hole.
    foreign: bool,
}

/// What is to be done about the needed objects of a pack.
#[derive(Default)]
struct Kept {
    /// Where they lie now.
    moved: HashMap<ObjectId, Location>,
    /// Those that stay unreadable, in blocks that were copied as they are.
    unread: HashSet<ObjectId>,
}

impl Store<'_> {
    /// Tells what of each pack is needed.
    pub fn survey(&self, marks: &Marks<'_>, cancel: &Cancel) -> Result<Vec<PackUse>> {
        let mut uses = Vec::new();
        for (pack, len) in self.place().packs(self.disk())? {
            cancel.check()?;
            let contents = match self.contents(pack) {
                Ok(Some(contents)) => contents,
                Ok(None) => continue,
                Err(error) if is_about(&error, &self.place().pack(pack)) => {
                    uses.push(PackUse {
                        pack,
                        taken: len,
                        live_bytes: len,
                        fixed: true,
                        unread: Some(error.full_message()),
                    });
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut live_bytes = self.live_bytes(&contents, marks)?;
            // What a writer is just appending is unknown, so needed.
            live_bytes += len.saturating_sub(contents.len);
            uses.push(PackUse {
                pack,
                taken: self.taken(pack).unwrap_or(len),
                live_bytes,
                fixed: self.is_fixed(&contents, marks)?,
                unread: None,
            });
        }
        Ok(uses)
    }

    /// How many bytes a pack takes.
    fn taken(&self, pack: PackId) -> Result<u64> {
        let path = self.place().pack(pack);
        self.disk().taken(&path).context("read", &path)
    }

    /// True if the object is needed, and needed from here: no other place of it is known.
    fn is_here(&self, marks: &Marks<'_>, id: &ObjectId, here: &Location) -> Result<bool> {
        Ok(marks.needs(id)
            && self
                .find(id)?
                .is_none_or(|at| (at.pack, at.block) == (here.pack, here.block)))
    }

    /// Reads the heads of a pack, as far as it is indexed; `None` if it is gone.
    fn contents(&self, pack: PackId) -> Result<Option<Contents>> {
        let len = self.index().pack(pack)?.map_or(0, |found| found.len);
        let path = self.place().pack(pack);
        let mut blocks = Vec::new();
        match scan::blocks(self.disk(), &path, 0, len, &mut |at, head| {
            blocks.push((at, head.clone()));
        }) {
            Ok(foreign) => Ok(Some(Contents {
                pack,
                len,
                blocks,
                foreign: !foreign.is_empty(),
            })),
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// True if bytes of the pack that are no block may be needed.
    fn is_fixed(&self, contents: &Contents, marks: &Marks<'_>) -> Result<bool> {
        if !contents.foreign {
            return Ok(false);
        }
        Ok(marks.is_missing_some() || self.hides_some(contents, marks)?)
    }

    /// True if something needed lies in the pack where no block begins.
    fn hides_some(&self, contents: &Contents, marks: &Marks<'_>) -> Result<bool> {
        let whole: HashSet<u64> = contents.blocks.iter().map(|(at, _)| *at).collect();
        let mut hides = false;
        self.index().all(&mut |id, at| {
            hides |= at.pack == contents.pack && !whole.contains(&at.block) && marks.needs(&id);
        })?;
        Ok(hides)
    }

    /// About how many bytes of a pack are needed.
    fn live_bytes(&self, contents: &Contents, marks: &Marks<'_>) -> Result<u64> {
        let mut live_bytes = 0;
        for (at, head) in &contents.blocks {
            let mut raw = 0_u64;
            let mut count = 0;
            for (id, location) in locations(contents.pack, *at, head) {
                if self.is_here(marks, &id, &location)? {
                    raw += location.len as u64;
                    count += 1;
                }
            }
            let whole = head.block_len() as u64;
            live_bytes += if count == head.objects.len() {
                whole
            } else {
                let packed = head.payload_len as u64 * raw / (head.raw_len as u64).max(1);
                let table = 36 * count as u64;
                (packed + table).min(whole)
            };
        }
        Ok(live_bytes)
    }

    /// Objects that nobody needs and that are stored by their difference from another, which goes now,
    /// perhaps: they must not be taken for stored any more.
    fn unneeded_deltas(&self, marks: &Marks<'_>) -> Result<Vec<ObjectId>> {
        let mut deltas = self.index().deltas()?;
        deltas.retain(|id| !marks.needs(id));
        Ok(deltas)
    }
}

/// Removes packs, one round after the other.
pub struct Collector<'s> {
    store: &'s Store<'s>,
    /// The slots that are held, until the end of the round.
    slots: BTreeMap<u8, Box<dyn LockGuard>>,
    now_ms: i64,
    pack_max: u64,
}

impl<'s> Collector<'s> {
    /// Begins to collect. The caller holds the gc's lock.
    #[must_use]
    pub fn new(store: &'s Store<'s>, now_ms: i64) -> Self {
        Self {
            store,
            slots: BTreeMap::new(),
            now_ms,
            pack_max: u64::MAX,
        }
    }

    /// Begins a new pack sooner than usual.
    #[must_use]
    pub fn with_packs_of(mut self, bytes: u64) -> Self {
        self.pack_max = bytes;
        self
    }

    /// Removes packs, which are of one slot. `refresh` marks what became needed since the marks were
    /// made; it is called while nobody writes.
    pub fn collect(
        &mut self,
        packs: &[PackId],
        copy: Copy<'_>,
        marks: &mut Marks<'_>,
        refresh: &mut dyn FnMut(&mut Marks<'_>) -> Result<()>,
        cancel: &Cancel,
    ) -> Result<Round> {
        let result = self.round(packs, copy, marks, refresh, cancel);
        self.slots.clear();
        result
    }

    fn round(
        &mut self,
        packs: &[PackId],
        copy: Copy<'_>,
        marks: &mut Marks<'_>,
        refresh: &mut dyn FnMut(&mut Marks<'_>) -> Result<()>,
        cancel: &Cancel,
    ) -> Result<Round> {
        let store = self.store;
        let mut round = Round::default();
        // A pack may have the number of one that is gone.
        store.forget_recent();
        let mut victims = Vec::new();
        for pack in packs {
            if !self.hold(pack.slot)? {
                round.left.push(*pack);
                continue;
            }
            store.index_tails(&[*pack], Some(&|_| true))?;
            match store.contents(*pack)? {
                Some(contents) if store.is_fixed(&contents, marks)? => round.left.push(*pack),
                Some(contents) => victims.push((contents, Kept::default())),
                None => {}
            }
        }
        let Some(slot) = victims.first().map(|(contents, _)| contents.pack.slot) else {
            return Ok(round);
        };
        let writer = Writer::copying(
            store,
            slot,
            match copy {
                Copy::Except(avoid) => [packs, avoid].concat(),
                Copy::Nothing => Vec::new(),
            },
        )
        .with_packs_of(self.pack_max);
        let mut ready = Vec::new();
        for (contents, mut kept) in victims {
            cancel.check()?;
            let done = match copy {
                Copy::Except(_) => self.copy(&writer, &contents, &mut kept, marks),
                Copy::Nothing => Ok(()),
            };
            match done {
                Ok(()) => ready.push((contents, kept)),
                // It can't be read: it stays, and what was copied is dropped with the writer.
                Err(error) if is_about(&error, &store.place().pack(contents.pack)) => {
                    round.left.push(contents.pack);
                    round.problems.push(Problem {
                        object: None,
                        path: store.place().pack(contents.pack),
                        reason: error.full_message(),
                    });
                    return Ok(round);
                }
                Err(error) => return Err(error),
            }
        }
        let copies = writer.sync_copies()?;
        match self.publish(ready, &copies, marks, refresh, &mut round, cancel) {
            Ok(true) => {
                round.copied_bytes = copies.grown();
                Ok(round)
            }
            Ok(false) => {
                copies.discard(store);
                Ok(round)
            }
            Err((error, told)) => {
                if !told {
                    copies.discard(store);
                }
                Err(error)
            }
        }
    }

    /// Gives the space back that blocks take of which nothing is needed, as far as whole pages go, and
    /// leaves the pack where it is: for a disk that has no room for a copy. `refresh` is as it is for
    /// [`Collector::collect`].
    pub fn give_back(
        &mut self,
        pack: PackId,
        marks: &mut Marks<'_>,
        refresh: &mut dyn FnMut(&mut Marks<'_>) -> Result<()>,
        cancel: &Cancel,
    ) -> Result<Given> {
        let result = self.give_back_held(pack, marks, refresh, cancel);
        self.slots.clear();
        result
    }

    fn give_back_held(
        &mut self,
        pack: PackId,
        marks: &mut Marks<'_>,
        refresh: &mut dyn FnMut(&mut Marks<'_>) -> Result<()>,
        cancel: &Cancel,
    ) -> Result<Given> {
        let store = self.store;
        store.forget_recent();
        if !self.hold(pack.slot)? {
            return Ok(Given::Nothing);
        }
        let _alone = store.exclude(cancel)?;
        self.catch_up(&[])?;
        marks.again(cancel)?;
        refresh(marks)?;
        let Some(contents) = store.contents(pack)? else {
            return Ok(Given::Nothing);
        };
        // Never where the heads do not tell all that the index knows.
        if store.is_fixed(&contents, marks)? || store.hides_some(&contents, marks)? {
            return Ok(Given::Nothing);
        }
        let needs = store.live_bytes(&contents, marks)?;
        let mut dead = Vec::new();
        for (at, head) in &contents.blocks {
            dead.push(self.is_dead(pack, *at, head, marks)?);
        }
        let holes = holes(&contents.blocks, &dead);
        let before = store.taken(pack)?;
        if holes.is_empty() {
            return Ok(Given::TooSmall { needs });
        }
        // What is in a hole, or built on it, must not be taken for stored.
        let kept: HashSet<u64> = contents
            .blocks
            .iter()
            .zip(&dead)
            .filter(|(_, dead)| !**dead)
            .map(|((at, _), _)| *at)
            .collect();
        let mut lost = store.unneeded_deltas(marks)?;
        store.index().all(&mut |id, at| {
            if at.pack == pack && !kept.contains(&at.block) {
                lost.push(id);
            }
        })?;
        store.index().give_up(&lost, self.now_ms)?;
        store.forget_recent();
        let path = store.place().pack(pack);
        for hole in holes {
            match store.disk().punch(&path, hole.start, hole.end - hole.start) {
                Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
                    return Ok(Given::Unsupported { needs });
                }
                punched => punched.context("write", &path)?,
            }
        }
        // The file system hands the space out again only once it knows for sure.
        let (file, _) = store.disk().append(&path).context("open", &path)?;
        file.finish().context("sync", &path)?;
        Ok(match before.saturating_sub(store.taken(pack)?) {
            0 => Given::TooSmall { needs },
            bytes => Given::Back { bytes },
        })
    }

    /// True if nothing in a block is needed, or what is has another place that was just read.
    fn is_dead(&self, pack: PackId, block: u64, head: &Head, marks: &Marks<'_>) -> Result<bool> {
        let store = self.store;
        for (id, _) in locations(pack, block, head) {
            if !marks.needs(&id) {
                continue;
            }
            let Some(found) = store.find(&id)? else {
                return Ok(false);
            };
            let here = (found.pack, found.block) == (pack, block);
            if here || store.get(&id).is_err() || store.find(&id)? != Some(found) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Takes a slot's lock; `false` if a writer is at work there.
    fn hold(&mut self, slot: u8) -> Result<bool> {
        if self.slots.contains_key(&slot) {
            return Ok(true);
        }
        let (disk, path) = (self.store.disk(), self.store.place().slot(slot));
        for tried in 0..SLOT_TRIES {
            if tried > 0 {
                disk.pause(SLOT_PAUSE_MS);
            }
            if let Some(guard) = disk.try_lock(&path, "").context("lock", &path)? {
                self.slots.insert(slot, guard);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Copies what is needed of a pack.
    fn copy(
        &self,
        writer: &Writer<'_>,
        contents: &Contents,
        kept: &mut Kept,
        marks: &Marks<'_>,
    ) -> Result<()> {
        let store = self.store;
        let path = store.place().pack(contents.pack);
        let mut filler = Filler::for_copies(writer);
        for (at, head) in &contents.blocks {
            // The needed objects, and whether the index knows them here.
            let mut needed = Vec::new();
            for (id, here) in locations(contents.pack, *at, head) {
                if !marks.needs(&id) {
                    continue;
                }
                match store.find(&id)? {
                    None => needed.push((id, here, false)),
                    Some(found) if (found.pack, found.block) == (here.pack, here.block) => {
                        needed.push((id, here, true));
                    }
                    // A second copy. It goes if the first one is good.
                    Some(found) => {
                        if store.get(&id).is_ok() && store.find(&id)? == Some(found) {
                            // One in this pack is copied when it is met.
                            if found.pack != contents.pack {
                                kept.moved.insert(id, found);
                            }
                        } else {
                            needed.push((id, here, true));
                        }
                    }
                }
            }
            if needed.is_empty() {
                continue;
            }
            let block = store
                .disk()
                .read_at(&path, *at, head.block_len())
                .context("read", &path)?;
            if Head::read(&block).as_ref() != Some(head) {
                return Err(Error::io(
                    "read",
                    &path,
                    std::io::Error::other("a block changed while it was copied"),
                ));
            }
            let as_it_is = needed.len() == head.objects.len() || head.base.is_some();
            let raw = if as_it_is {
                None
            } else {
                let raw = head.unpack(&block[head.payload_at()..], None).ok();
                raw.filter(|raw| {
                    needed
                        .iter()
                        .all(|(id, here, _)| ObjectId::of(bytes_of(raw, here)) == *id)
                })
            };
            if let Some(raw) = raw {
                for (id, here, _) in &needed {
                    filler.add(*id, bytes_of(&raw, here))?;
                }
            } else {
                writer.append(&block)?;
                // What the index does not know here was given up before; its name stays unknown.
                let given_up = needed.iter().filter(|(_, _, known)| !known);
                kept.unread.extend(given_up.map(|(id, _, _)| *id));
            }
        }
        filler.flush()
    }

    /// Tells the index of the copies and removes the packs. `false` if nothing came of it; on errors
    /// also whether the index may know the copies.
    #[allow(clippy::result_large_err, reason = "it is rare, and not passed on")]
    fn publish(
        &self,
        ready: Vec<(Contents, Kept)>,
        copies: &Copies,
        marks: &mut Marks<'_>,
        refresh: &mut dyn FnMut(&mut Marks<'_>) -> Result<()>,
        round: &mut Round,
        cancel: &Cancel,
    ) -> std::result::Result<bool, (Error, bool)> {
        let store = self.store;
        let untold = |error| (error, false);
        let _alone = store.exclude(cancel).map_err(untold)?;
        self.catch_up(&copies.packs).map_err(untold)?;
        marks.again(cancel).map_err(untold)?;
        refresh(marks).map_err(untold)?;
        let fresh: HashMap<ObjectId, Location> = copies.rows.iter().copied().collect();
        let mut gone = Vec::new();
        let mut moved = HashMap::new();
        for (contents, mut kept) in ready {
            let needs = |id: &ObjectId| marks.needs(id);
            let all_kept = contents.blocks.iter().all(|(_, head)| {
                head.objects.iter().all(|(id, _)| {
                    !needs(id) || fresh.contains_key(id) || kept.moved.contains_key(id)
                })
            });
            if !all_kept || store.is_fixed(&contents, marks).map_err(untold)? {
                // Somebody needs it now.
                round.left.push(contents.pack);
                continue;
            }
            let here = contents.blocks.iter().flat_map(|(_, head)| &head.objects);
            for (id, _) in here.filter(|(id, _)| needs(id) && !kept.unread.contains(id)) {
                if !kept.moved.contains_key(id)
                    && let Some(at) = fresh.get(id)
                {
                    kept.moved.insert(*id, *at);
                }
            }
            moved.extend(kept.moved);
            let taken = store.taken(contents.pack).unwrap_or(contents.len);
            round.gone_bytes += taken;
            gone.push(contents.pack);
        }
        if gone.is_empty() {
            return Ok(false);
        }
        let moved: Vec<_> = moved.into_iter().collect();
        let lost = store.unneeded_deltas(marks).map_err(untold)?;
        let before = store.generation().map_err(untold)?;
        let replaced = store
            .index()
            .replace(&gone, &moved, &lost, &copies.packs, self.now_ms);
        if let Err(error) = replaced {
            // Only if the index surely does not know the copies they may go.
            let told = store.generation().ok() != Some(before);
            return Err((error, told));
        }
        let told = |error| (error, true);
        for pack in &gone {
            remove(store.disk(), &store.place().pack(*pack)).map_err(told)?;
        }
        let folder = store.place().objects();
        let synced = store.disk().sync_dir(&folder).context("sync", &folder);
        synced.map_err(told)?;
        round.gone = gone;
        Ok(true)
    }

    /// Indexes what killed writers left, in the slots that are held here as well.
    fn catch_up(&self, copies: &[Indexed]) -> Result<()> {
        let store = self.store;
        let mut tried = 0;
        loop {
            let known = store.index().packs()?;
            let mut behind = store.place().packs(store.disk())?;
            behind.retain(|(pack, len)| {
                let known = known.iter().find(|known| known.pack == *pack);
                let mine = copies.iter().any(|found| found.pack == *pack);
                !mine && known.map_or(0, |known| known.len) < *len
            });
            let Some((first, _)) = behind.first().copied() else {
                return Ok(());
            };
            // Somebody who reads a pack's end holds its slot for a moment.
            if tried > 0 {
                store.disk().pause(SLOT_PAUSE_MS);
            }
            if tried > SLOT_TRIES {
                return Err(Error::StoreBusy {
                    path: store.place().slot(first.slot),
                    waited_ms: u64::from(tried) * SLOT_PAUSE_MS,
                });
            }
            tried += 1;
            let behind: Vec<PackId> = behind.into_iter().map(|(pack, _)| pack).collect();
            store.index_tails(&behind, Some(&|slot| self.slots.contains_key(&slot)))?;
        }
    }
}

/// True if an error is about reading this pack.
fn is_about(error: &Error, pack: &std::path::Path) -> bool {
    matches!(error, Error::Io { action: "read", path, .. } if path == pack)
}

/// An object's bytes among those of its block.
fn bytes_of<'a>(raw: &'a [u8], at: &Location) -> &'a [u8] {
    raw.get(at.start..at.start + at.len).unwrap_or_default()
}

/// The whole pages in runs of dead blocks. None begins in a head: whoever walks the pack finds
/// either a whole head or zeros.
fn holes(blocks: &[(u64, Head)], dead: &[bool]) -> Vec<Range<u64>> {
    let mut holes: Vec<Range<u64>> = Vec::new();
    let mut run: Option<Range<u64>> = None;
    for ((at, head), dead) in blocks.iter().zip(dead) {
        let end = at + head.block_len() as u64;
        if !dead {
            holes.extend(run.take());
            continue;
        }
        let mut from = at.next_multiple_of(PAGE);
        if from > *at && from < at + head.payload_at() as u64 {
            from = (at + head.payload_at() as u64).next_multiple_of(PAGE);
        }
        run = match run {
            // Once it has begun it goes on over the heads of the blocks behind.
            Some(run) if run.start < run.end && run.end == *at => Some(run.start..end),
            Some(run) => {
                holes.push(run);
                Some(from..end)
            }
            None => Some(from..end),
        };
    }
    holes.extend(run);
    for hole in &mut holes {
        hole.end -= hole.end % PAGE;
    }
    holes.retain(|hole| hole.start < hole.end);
    holes
}
