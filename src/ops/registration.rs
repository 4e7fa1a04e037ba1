//! Keeps the registry's entries for checkpoints equal to the checkpoints that exist.

use std::collections::HashSet;

use crate::model::registry::{CheckpointEntry, Survey};
use crate::store::manifests::{Good, Scan};

/// The entry of a checkpoint that lies on the disk.
pub(super) fn entry_of(good: &Good) -> CheckpointEntry {
    CheckpointEntry {
        checkpoint_id: good.header.checkpoint_id.clone(),
        step: good.header.step.clone(),
        created_at: good.header.timestamp.clone(),
        path: good.path.to_string_lossy().into_owned(),
        size: good.size,
    }
}

/// What a registry needs so that it names exactly the checkpoints that exist.
pub(super) struct Plan {
    existing: HashSet<String>,
    /// Entries that are missing.
    pub(super) missing: Vec<CheckpointEntry>,
    /// True if entries stand for checkpoints that are gone.
    pub(super) dangling: bool,
}

impl Plan {
    /// Compares the registry with what a scan found, less what is about to be dropped. A damaged
    /// checkpoint keeps its entry but gets no new one.
    pub(super) fn new(survey: &Survey<'_>, scan: &Scan, dropped: &HashSet<&str>) -> Self {
        let good = scan
            .good
            .iter()
            .map(|good| good.header.checkpoint_id.as_str());
        let damaged = scan.damaged.iter().map(|damaged| damaged.name.as_str());
        let existing: HashSet<String> = good
            .chain(damaged)
            .filter(|id| !dropped.contains(id))
            .map(str::to_owned)
            .collect();
        let entered: HashSet<&String> = survey.checkpoint_ids.iter().collect();
        let missing = scan
            .good
            .iter()
            .rev()
            .filter(|good| {
                let id = good.header.checkpoint_id.as_str();
                existing.contains(id) && !entered.iter().any(|entered| *entered == id)
            })
            .map(entry_of)
            .collect();
        let dangling = entered.iter().any(|id| !existing.contains(id.as_str()));
        Self {
            existing,
            missing,
            dangling,
        }
    }

    /// True for a checkpoint that is gone or about to go.
    pub(super) fn is_gone(&self, id: &str) -> bool {
        !self.existing.contains(id)
    }
}
