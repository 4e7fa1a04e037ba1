//! Lists the checkpoints of a run, newest first.

use crate::error::{Error, Result};
use crate::model::manifest::Check;
use crate::ops::Context;
use crate::ops::state::without_missing_objects;
use crate::ops::verify::tell_when;
use crate::store::manifests::{Scan, scan};

/// Lists what can be restored, and what can't with its reason. A run that does not exist has no
/// checkpoints. Nothing is written, so a read-only run can be listed.
pub fn list(context: &Context<'_>) -> Result<Scan> {
    match context.run.check(context.disk) {
        Ok(()) => {
            let mut found = scan(context.disk, context.run, Check::Seal, context.cancel)?;
            without_missing_objects(context, &mut found)?;
            tell_when(context, &mut found.good);
            Ok(found)
        }
        Err(Error::RunNotFound { .. }) => Ok(Scan::default()),
        Err(error) => Err(error),
    }
}
