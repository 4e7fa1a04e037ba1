//! Shows one checkpoint, checked.

use crate::error::{Error, Result};
use crate::model::ids::CheckpointId;
use crate::model::lifecycle::Life;
use crate::model::manifest::{Check, Header, inspect};
use crate::ops::Context;
use crate::ops::lifecycle;
use crate::ops::state::whole;
use crate::store::manifests::bytes_of;
use crate::store::verified::Verified;

/// A checkpoint with its manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// What the manifest says of itself.
    pub header: Header,
    /// The manifest's path.
    pub path: std::path::PathBuf,
    /// The manifest's bytes, with everything in it that it keeps in the store.
    pub manifest: Vec<u8>,
    /// What happened to it since it was taken.
    pub life: Life,
    /// When all that it needs was last read and found whole, in milliseconds since 1970.
    pub last_verified_ms: Option<i64>,
}

/// Reads and checks one checkpoint.
pub fn show(context: &Context<'_>, id: &CheckpointId) -> Result<Shown> {
    context.run.check(context.disk)?;
    let manifest = bytes_of(context.disk, context.run, id)?;
    let path = context.run.manifest(id);
    let damaged = |damage| Error::CheckpointDamaged {
        run_id: context.run.run_id().to_string(),
        checkpoint_id: id.to_string(),
        path: path.clone(),
        damage,
    };
    let header =
        inspect(&manifest, id.as_str(), context.run.run_id(), Check::Seal).map_err(damaged)?;
    let manifest = whole(context, &header, manifest)?.map_err(damaged)?;
    let life = lifecycle::known(context)?.lives.remove(id.as_str());
    Ok(Shown {
        life: life.unwrap_or_default(),
        last_verified_ms: Verified::read(context.disk, context.run).last_ms(&header),
        header,
        path: path.clone(),
        manifest,
    })
}
