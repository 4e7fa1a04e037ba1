//! Brings the index up to what the packs hold.
//!
//! *Invariants*: what the index does not know afterwards is not in the packs, or is being written.
//!
//! *Crash story*: see [`super::tails`].
//!
//! *Limits*: what another process is writing right now is left out.

use crate::error::Result;
use crate::store::objects::Store;
use crate::store::place::PackId;

impl Store<'_> {
    /// Brings the index up to what the packs hold: what a killed writer left, packs that came or
    /// went without the index. What another process is writing right now is left out.
    pub fn catch_up(&self) -> Result<()> {
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
