//! When the checkpoints of a run were verified, and how far a round of shares has come.
//!
//! *Invariants*: a time is only told for the very manifest that was verified, by its checksum. It is
//! that of a verification that read all that the checkpoint needs; where that was done in shares, the
//! earliest of their times.
//!
//! *Crash story*: the note is not synced and may be lost, old or torn; it carries a checksum of its own,
//! and without it nothing counts as verified and a round begins anew.
//!
//! *Limits*: two who verify at once may overwrite each other's note; then the loser's work counts as not
//! done.

use std::io;

use serde::{Deserialize, Serialize};

use crate::model::manifest::Header;
use crate::store::disk::Disk;
use crate::store::layout::RunDir;
use crate::store::objects::check::Part;

/// What is known of a run's verifications.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// How many shares the round under way has; 0 without one.
    of: u32,
    /// The share that is next.
    next: u32,
    entries: Vec<Entry>,
}

/// What is known of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    checkpoint_id: String,
    checksum: String,
    /// When all of it was verified; 0 for never.
    all_ms: i64,
    /// When each share of it was; 0 for never.
    parts_ms: Vec<i64>,
}

/// The note, as it lies on the disk.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    /// The run: its folder may be copied or renamed.
    run_id: String,
    /// BLAKE3 over the content's JSON.
    sum: String,
    verified: Verified,
}

fn sum_of(verified: &Verified) -> String {
    let text = serde_json::to_vec(verified).unwrap_or_default();
    blake3::hash(&text).to_hex().to_string()
}

/// The note is a multiple of this long, in bytes.
const NOTE_BLOCK: usize = 4 << 10;

impl Verified {
    /// Reads the note of a run; whatever is wrong with it, nothing is known then.
    #[must_use]
    pub fn read(disk: &dyn Disk, run: &RunDir) -> Self {
        let Ok(bytes) = disk.read(&run.verified(), 16 << 20) else {
            return Self::default();
        };
        match serde_json::from_slice::<Note>(&bytes) {
            Ok(note)
                if note.run_id == run.run_id().as_str() && sum_of(&note.verified) == note.sum =>
            {
                note.verified
            }
            _ => Self::default(),
        }
    }

    /// Writes the note. Only ever a help: the caller may go on without.
    pub fn write(&self, disk: &dyn Disk, run: &RunDir) -> io::Result<()> {
        let note = Note {
            run_id: run.run_id().to_string(),
            sum: sum_of(self),
            verified: self.clone(),
        };
        let mut bytes = serde_json::to_vec(&note).unwrap_or_default();
        // Of one length mostly, so that it is written over without being cut.
        bytes.resize(bytes.len().next_multiple_of(NOTE_BLOCK), b' ');
        disk.overwrite(&run.verified(), &bytes)
    }

    /// When all of a checkpoint was last verified and found whole, in milliseconds since 1970.
    #[must_use]
    pub fn last_ms(&self, header: &Header) -> Option<i64> {
        let entry = self.entries.iter().find(|entry| entry.is_of(header))?;
        let shares = entry.parts_ms.iter().min().copied().unwrap_or(0);
        let last = entry.all_ms.max(shares);
        (last > 0).then_some(last)
    }

    /// The share that is next in a round of `of`.
    #[must_use]
    pub fn next(&self, of: u32) -> Part {
        let n = if self.of == of { self.next } else { 0 };
        Part { n, of }
    }

    /// Notes what a verification of a share of the data found: these are whole as far as it looked,
    /// `exists` tells of all checkpoints of the run whether they are to be remembered any longer.
    pub fn record(
        &mut self,
        part: Part,
        now_ms: i64,
        whole: &[&Header],
        exists: &dyn Fn(&str) -> bool,
    ) {
        if part.of > 1 {
            if self.of != part.of {
                self.of = part.of;
                for entry in &mut self.entries {
                    entry.parts_ms = vec![0; part.of as usize];
                }
            }
            self.next = (part.n + 1) % part.of;
        }
        self.entries.retain(|entry| exists(&entry.checkpoint_id));
        for header in whole {
            let at = self.entries.iter().position(|entry| entry.is_of(header));
            let at = at.unwrap_or_else(|| {
                let id = header.checkpoint_id.as_str();
                self.entries.retain(|entry| entry.checkpoint_id != id);
                self.entries.push(Entry {
                    checkpoint_id: id.to_owned(),
                    checksum: header.checksum.clone(),
                    all_ms: 0,
                    parts_ms: vec![0; self.of as usize],
                });
                self.entries.len() - 1
            });
            let entry = &mut self.entries[at];
            if part.of > 1 {
                if let Some(time) = entry.parts_ms.get_mut(part.n as usize) {
                    *time = now_ms;
                }
            } else {
                entry.all_ms = now_ms;
                entry.parts_ms.fill(now_ms);
            }
            let shares = entry.parts_ms.iter().min().copied().unwrap_or(0);
            entry.all_ms = entry.all_ms.max(shares);
        }
    }
}

impl Entry {
    fn is_of(&self, header: &Header) -> bool {
        self.checkpoint_id == header.checkpoint_id.as_str() && self.checksum == header.checksum
    }
}
