//! Lists the checkpoints of a run, newest first.

use crate::error::{Error, Result};
use crate::model::lifecycle::Lives;
use crate::model::manifest::Check;
use crate::ops::Context;
use crate::ops::lifecycle;
use crate::ops::state::without_missing_objects;
use crate::ops::verify::tell_when;
use crate::store::manifests::{Scan, scan};

/// The checkpoints of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Listed {
    /// The good ones and the damaged ones.
    pub scan: Scan,
    /// What happened to them since they were taken.
    pub lives: Lives,
    /// What is wrong with the log that says so.
    pub changes_problem: Option<String>,
}

/// Lists what can be restored, and what can't with its reason. A run that does not exist has no
/// checkpoints. Nothing is written, so a read-only run can be listed.
pub fn list(context: &Context<'_>) -> Result<Listed> {
    match context.run.check(context.disk) {
        Ok(()) => {
            let mut found = scan(context.disk, context.run, Check::Seal, context.cancel)?;
            without_missing_objects(context, &mut found)?;
            tell_when(context, &mut found.good);
            let known = lifecycle::known(context)?;
            Ok(Listed {
                scan: found,
                lives: known.lives,
                changes_problem: known.problem,
            })
        }
        Err(Error::RunNotFound { .. }) => Ok(Listed::default()),
        Err(error) => Err(error),
    }
}
