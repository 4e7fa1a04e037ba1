//! Checks checkpoints by their checksum. Nothing is ever changed or deleted.

use crate::error::Result;
use crate::model::ids::CheckpointId;
use crate::model::manifest::Check;
use crate::ops::{Context, not_found};
use crate::store::manifests::{Scan, scan};

/// Checks all checkpoints of a run, or one.
pub fn verify(context: &Context<'_>, id: Option<&CheckpointId>) -> Result<Scan> {
    context.run.check(context.disk)?;
    let mut found = scan(context.disk, context.run, Check::Checksum, context.cancel)?;
    if let Some(id) = id {
        found.good.retain(|good| good.header.checkpoint_id == *id);
        found.damaged.retain(|damaged| damaged.name == id.as_str());
        if found.good.is_empty() && found.damaged.is_empty() {
            return Err(not_found(context, id.as_str()));
        }
    }
    Ok(found)
}
