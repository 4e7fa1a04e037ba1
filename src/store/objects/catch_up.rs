//! Brings the index up to what the packs hold.
//!
//! *Invariants*: what the index does not know afterwards is not in the packs, or is being written.
//!
//! *Crash story*: see [`super::tails`].
//!
//! *Limits*: what another process is writing right now is left out. In a store that can't be written
//! heads are believed without reading what is behind them, which is only held against its name when it
//! is asked for: of an object that lies in two places, one of them damaged, the damaged one may be met.

use crate::error::Result;
use crate::store::index::Indexed;
use crate::store::objects::pack::PACK_HEADER;
use crate::store::objects::{Store, locations, scan};
use crate::store::place::PackId;

impl Store<'_> {
    /// Brings the index up to what the packs hold: what a killed writer left, packs that came or
    /// went without the index. What another process is writing right now is left out.
    pub fn catch_up(&self) -> Result<()> {
        if self.read_only {
            return self.read_heads();
        }
        if self.outlived()? {
            return self.rebuild();
        }
        let known = self.index().packs()?;
        let mut behind = Vec::new();
        for (id, len) in self.place.packs(self.disk)? {
            let known = known.iter().find(|found| found.pack == id);
            if known.map_or(0, |found| found.len) < len {
                behind.push(id);
            }
        }
        self.index_tails(&behind, None)
    }

    /// Takes over what the packs' heads say, into an index in memory: no lock can be taken here, and
    /// nothing be synced. Others may be able to write this store: a tail that is being written is left
    /// for the next time, and where a pack went all are read anew.
    fn read_heads(&self) -> Result<()> {
        if self.shrank()? {
            self.index().clear(self.now_ms)?;
        }
        let known = self.index().packs()?;
        let (mut objects, mut packs) = (Vec::new(), Vec::new());
        for (pack, len) in self.place.packs(self.disk)? {
            let before = known.iter().find(|found| found.pack == pack);
            let from = before.map_or(PACK_HEADER.len() as u64, |found| found.len);
            if from >= len {
                continue;
            }
            let mut end = from;
            let path = self.place.pack(pack);
            scan::blocks(self.disk, &path, from, len, &mut |at, head| {
                objects.extend(locations(pack, at, head));
                end = at + head.block_len() as u64;
            })?;
            packs.push(Indexed {
                pack,
                len: end,
                sealed: false,
            });
        }
        self.index().record(&objects, &packs)
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
        self.index().clear(self.now_ms)?;
        let packs = self.place.packs(self.disk)?;
        let packs: Vec<PackId> = packs.into_iter().map(|(id, _)| id).collect();
        self.index_tails(&packs, None)
    }
}
