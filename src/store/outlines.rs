//! The note of what a run's registry was found to hold.
//!
//! *Invariants*: what the note says of a stretch of text holds for those bytes for ever; whoever uses it
//! holds the bytes against their hash ([`Outline`]).
//!
//! *Crash story*: the note is not synced and may be lost, old or torn; it carries a checksum, and
//! without it the whole registry is parsed.
//!
//! *Limits*: none is kept of a registry that is not laid out as runners do.

use crate::model::registry::Outline;
use crate::store::disk::Disk;
use crate::store::layout::RunDir;

/// The largest note that is read, in bytes.
const NOTE_MAX: u64 = 16 << 20;

/// The note; `None` if there is none, or none that is whole.
#[must_use]
pub fn read(disk: &dyn Disk, run: &RunDir) -> Option<Outline> {
    Outline::decode(&disk.read(&run.outline(), NOTE_MAX).ok()?)
}

/// Keeps a note for the next checkpoint. The caller holds the run's lock.
pub fn note(disk: &dyn Disk, run: &RunDir, outline: &Outline) {
    // Only ever a help: nothing fails for the lack of it.
    let _ = disk.overwrite(&run.outline(), &outline.encode());
}
