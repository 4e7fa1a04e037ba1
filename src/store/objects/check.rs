//! Verifies the store: that packs can be walked, that the index says what they say, and that every
//! object is what its name says.
//!
//! *Invariants*: nothing is changed. Whatever looks wrong is looked at once more by itself before it
//! is told, as a gc may have moved it meanwhile.
//!
//! *Crash story*: nothing is written; [`heal`] is one transaction of the index.
//!
//! *Limits*: the torn end that a killed writer leaves is no fault, nor are holes. An index that is made anew does not
//! know what is damaged, as if it had been healed: those who need it then miss it.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::object::ObjectId;
use crate::model::progress::{Phase, Progress};
use crate::store::index::Location;
use crate::store::objects::pack::{Head, PACK_HEADER};
use crate::store::objects::{Problem, Store, locations, scan, wait_for};
use crate::store::place::PackId;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many objects were looked at.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong. With an object: it can't be read.
    pub faults: Vec<Problem>,
}

impl Checked {
    /// The objects that can't be read, in order.
    #[must_use]
    pub fn damaged(&self) -> Vec<ObjectId> {
        let found: HashSet<_> = self
            .faults
            .iter()
            .filter_map(|fault| fault.object)
            .collect();
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_unstable();
        found
    }

    fn fault(&mut self, store: &Store<'_>, pack: PackId, object: Option<ObjectId>, reason: String) {
        self.faults.push(Problem {
            object,
            path: store.place().pack(pack),
            reason,
        });
    }
}

/// A share of all objects, by their names: the parts from 0 to `of - 1` are all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Which part, from 0 on; taken modulo `of`, so that it may just be counted up.
    pub n: u32,
    /// How many parts there are; 0 counts as 1.
    pub of: u32,
}

impl Part {
    /// Everything.
    pub const ALL: Self = Self { n: 0, of: 1 };

    /// True if the object is in this part.
    #[must_use]
    pub fn contains(self, id: &ObjectId) -> bool {
        let of = self.of.max(1);
        let [a, b, c, d, ..] = *id.as_bytes();
        let place = u64::from(u32::from_be_bytes([a, b, c, d]));
        (place * u64::from(of)) >> 32 == u64::from(self.n % of)
    }
}

/// Walks all packs and holds the index against them.
pub fn structure(store: &Store<'_>, cancel: &Cancel, progress: &Progress) -> Result<Checked> {
    progress.enter(Phase::Scanning);
    store.catch_up()?;
    let mut checked = Checked::default();
    // By pack, then by block.
    let mut rows: HashMap<PackId, Vec<(ObjectId, Location)>> = HashMap::new();
    store.index().all(&mut |id, at| {
        rows.entry(at.pack).or_default().push((id, at));
    })?;
    let packs = store.index().packs()?;
    for known in packs {
        cancel.check()?;
        let pack = known.pack;
        let rows = rows.remove(&pack).unwrap_or_default();
        let path = store.place().pack(pack);
        let mut tables: HashMap<ObjectId, Vec<Location>> = HashMap::new();
        let mut bases = Vec::new();
        let begins_well = known.len < PACK_HEADER.len() as u64
            || match store.disk().read_at(&path, 0, PACK_HEADER.len()) {
                Ok(bytes) => bytes == PACK_HEADER,
                Err(_) => false,
            };
        let walked = scan::blocks(store.disk(), &path, 0, known.len, &mut |at, head| {
            for (id, location) in locations(pack, at, head) {
                tables.entry(id).or_default().push(location);
                bases.extend(head.base.map(|base| (id, location, base)));
            }
        });
        let foreign = match walked {
            Ok(foreign) => foreign,
            Err(error) => {
                if store.index().pack(pack)?.is_some() {
                    checked.fault(store, pack, None, error.full_message());
                    again(store, &mut checked, pack, rows, "its pack can't be read")?;
                }
                continue;
            }
        };
        if !begins_well && store.index().pack(pack)?.is_some() {
            checked.fault(
                store,
                pack,
                None,
                "it does not begin like a pack".to_owned(),
            );
        }
        for bytes in foreign {
            // A torn end is no fault, nor is a hole that was left half made. If anything that the
            // index knows was there, that is told below.
            if bytes.end < known.len && !scan::has_hole(store.disk(), &path, &bytes)? {
                let (len, at) = (bytes.end - bytes.start, bytes.start);
                let reason = format!("the {len} bytes from {at} on are no block");
                checked.fault(store, pack, None, reason);
            }
        }
        checked.objects += rows.len() as u64;
        checked.bytes += rows.iter().map(|(_, at)| at.len as u64).sum::<u64>();
        let (_, wrong): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|(id, at)| tables.get(id).is_some_and(|found| found.contains(at)));
        again(
            store,
            &mut checked,
            pack,
            wrong,
            "no block holds it where the index says",
        )?;
        for (id, location, base) in bases {
            if store.find(&base)?.is_none() && store.find(&id)? == Some(location) {
                let reason = format!("object {base}, which it is built on, is missing");
                checked.fault(store, pack, Some(id), reason);
            }
        }
    }
    Ok(checked)
}

/// Tells of objects that can't be read from a pack, unless they can by now.
fn again(
    store: &Store<'_>,
    checked: &mut Checked,
    pack: PackId,
    rows: Vec<(ObjectId, Location)>,
    reason: &str,
) -> Result<()> {
    store.forget_recent();
    for (id, _) in rows {
        match store.get(&id) {
            Ok(_) => {}
            Err(Error::ObjectMissing { .. } | Error::ObjectDamaged { .. } | Error::Io { .. }) => {
                // Another process may have been told to forget it.
                if store.find(&id)?.is_some() {
                    checked.fault(store, pack, Some(id), reason.to_owned());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads a part of all objects and holds them against their names.
pub fn data(
    store: &Store<'_>,
    part: Part,
    cancel: &Cancel,
    progress: &Progress,
) -> Result<Checked> {
    store.catch_up()?;
    let mut rows = Vec::new();
    store.index().all(&mut |id, at| {
        if part.contains(&id) {
            rows.push((id, at));
        }
    })?;
    let bytes = rows.iter().map(|(_, at)| at.len as u64).sum();
    progress.expect(rows.len() as u64, bytes);
    objects(store, rows, cancel, progress)
}

/// Reads objects from where the index has them, each block once, and holds them against their names.
/// Where one can't be read because of another that it is built on, both are told.
pub fn objects(
    store: &Store<'_>,
    mut rows: Vec<(ObjectId, Location)>,
    cancel: &Cancel,
    progress: &Progress,
) -> Result<Checked> {
    progress.enter(Phase::Verifying);
    store.forget_recent();
    let mut checked = Checked::default();
    rows.sort_unstable_by_key(|(_, at)| (at.pack, at.block, at.start));
    for block in rows.chunk_by(|(_, a), (_, b)| (a.pack, a.block) == (b.pack, b.block)) {
        cancel.check()?;
        let (_, first) = block[0];
        let raw = read(store, &first).unwrap_or_default();
        for (id, at) in block {
            checked.objects += 1;
            checked.bytes += at.len as u64;
            progress.add(1, at.len as u64);
            let bytes = raw.get(at.start..at.start.saturating_add(at.len));
            if bytes.is_some_and(|bytes| ObjectId::of(bytes) == *id) {
                continue;
            }
            store.forget_recent();
            let reason = match store.get(id) {
                Ok(_) => continue,
                Err(Error::ObjectDamaged {
                    id: base, reason, ..
                }) => {
                    if base != *id {
                        let pack = store.find(&base)?.map_or(at.pack, |found| found.pack);
                        checked.fault(store, pack, Some(base), reason.clone());
                    }
                    reason
                }
                Err(Error::ObjectMissing { id: missing, .. }) if missing == *id => {
                    if store.find(id)?.is_none() {
                        continue;
                    }
                    "it is missing".to_owned()
                }
                Err(Error::ObjectMissing { id: base, .. }) => {
                    format!("object {base}, which it is built on, is missing")
                }
                Err(error @ Error::Io { .. }) => error.full_message(),
                Err(error) => return Err(error),
            };
            checked.fault(store, at.pack, Some(*id), reason);
        }
    }
    Ok(checked)
}

/// Looks objects up without reading them.
pub struct Lookup<'s> {
    store: &'s Store<'s>,
    lens: HashMap<PackId, u64>,
    /// What was looked up already and not asked for yet.
    ahead: HashMap<ObjectId, Location>,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its length in bytes.
    pub len: u64,
    /// Where it lies, if the index has it by now.
    pub at: Option<Location>,
    /// The object that it is stored by its difference from.
    pub base: Option<ObjectId>,
}

impl<'s> Lookup<'s> {
    /// Looks at how long the packs are.
    pub fn new(store: &'s Store<'s>) -> Result<Self> {
        store.catch_up()?;
        let lens = store.place().packs(store.disk())?.into_iter().collect();
        Ok(Self {
            store,
            lens,
            ahead: HashMap::new(),
        })
    }

    /// Prepares for objects that will be asked for: one by one each takes the index's lock.
    pub fn expect(&mut self, ids: &[ObjectId]) -> Result<()> {
        let found = self.store.find_each(ids)?;
        let there = ids.iter().zip(found);
        self.ahead
            .extend(there.filter_map(|(id, at)| Some((*id, at?))));
        Ok(())
    }

    /// Looks an object up; `Err` says what is wrong with it, and whether it is merely not there. Only
    /// what is not where it should be is read.
    pub fn look(&mut self, id: &ObjectId) -> Result<std::result::Result<Known, Fault>> {
        let known = match self.ahead.remove(id) {
            Some(at) => Some(at),
            None => self.store.find(id)?,
        };
        let Some(at) = known else {
            return self.read(id);
        };
        let end = at.block.saturating_add(at.block_len as u64);
        if self.lens.get(&at.pack).is_none_or(|len| *len < end) {
            return self.read(id);
        }
        let mut base = None;
        if at.depth > 0 {
            let path = self.store.place().pack(at.pack);
            match scan::head_at(self.store.disk(), &path, at.block, end) {
                Ok(Some(head)) => base = head.base,
                Ok(None) | Err(Error::Io { .. }) => return self.read(id),
                Err(error) => return Err(error),
            }
        }
        Ok(Ok(Known {
            len: at.len as u64,
            at: Some(at),
            base,
        }))
    }

    fn read(&self, id: &ObjectId) -> Result<std::result::Result<Known, Fault>> {
        Ok(fetch(self.store, id)?.map(|bytes| Known {
            len: bytes.len() as u64,
            at: None,
            base: None,
        }))
    }
}

/// Why an object can't be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// True if nothing is there, rather than something wrong.
    pub missing: bool,
    /// What is wrong.
    pub reason: String,
    /// Where.
    pub path: std::path::PathBuf,
}

/// Reads an object; what is wrong with it is a result.
pub fn fetch(store: &Store<'_>, id: &ObjectId) -> Result<std::result::Result<Vec<u8>, Fault>> {
    let fault = |missing, path, reason| {
        Ok(Err(Fault {
            missing,
            reason,
            path,
        }))
    };
    match store.get(id) {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(Error::ObjectMissing { id: lost, path }) if lost == *id => {
            fault(true, path, "it is missing".to_owned())
        }
        Err(Error::ObjectMissing { id: base, path }) => fault(
            false,
            path,
            format!("object {base}, which it is built on, is missing"),
        ),
        Err(Error::ObjectDamaged { path, reason, .. }) => fault(false, path, reason),
        Err(error @ Error::Io { .. }) => {
            let path = error.path().map(std::path::Path::to_path_buf);
            fault(false, path.unwrap_or_default(), error.full_message())
        }
        Err(error) => Err(error),
    }
}

/// The objects of a block, one behind the other, straight from the disk.
fn read(store: &Store<'_>, at: &Location) -> Option<Vec<u8>> {
    let path = store.place().pack(at.pack);
    let block = store.disk().read_at(&path, at.block, at.block_len).ok()?;
    let head = Head::read(&block).filter(|head| head.block_len() == block.len())?;
    let base = match head.base {
        Some(base) => Some(store.get(&base).ok()?),
        None => None,
    };
    head.unpack(&block[head.payload_at()..], base.as_deref())
        .ok()
}

/// Forgets where objects lie that can't be read there, so that the next checkpoint that meets them
/// stores them anew. Nothing is removed. No gc runs meanwhile.
pub fn heal(
    store: &Store<'_>,
    damaged: &[ObjectId],
    generation: i64,
    cancel: &Cancel,
) -> Result<()> {
    store.refuse_read_only()?;
    let (disk, lock) = (store.disk(), store.place().gc_lock());
    let _only = wait_for(disk, &lock, cancel, || disk.try_lock(&lock, ""))?;
    store.index().forget(damaged, generation)?;
    store.forget_recent();
    Ok(())
}
