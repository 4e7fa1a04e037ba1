//! Tries out what the file system really does, in a folder of its own.
//!
//! *Invariants*: nothing outside that folder is written, but for leftovers of killed probes, which
//! are removed; the folder is removed whatever happens. What Waymark asks of a disk is asked in the
//! very way it asks: through [`RealDisk`](crate::store::real_disk::RealDisk).
//!
//! *Crash story*: see `folder`.
//!
//! *Limits*: nobody pulls the plug: that a sync was confirmed is seen, that the bytes reached the
//! medium is not. The clock is an argument.

pub mod facts;
mod folder;
mod mount;
mod place;
mod trials;

use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::store::probe::facts::{Answer, Facts};
use crate::store::probe::folder::Folder;

pub use crate::store::probe::folder::PREFIX;
#[cfg(target_os = "linux")]
pub(super) use crate::store::probe::mount::kind_of;

/// A clock that only goes forward; the time since any instant.
pub type Clock<'a> = &'a dyn Fn() -> Duration;

/// Looks at the file system that the folder `path` lies on.
pub fn probe(path: &Path, clock: Clock<'_>, cancel: &Cancel) -> Result<Facts> {
    cancel.check()?;
    let (swept, mut stuck) = folder::sweep(path);
    let trials = match Folder::create(path) {
        Ok(folder) => {
            let trials = trials::all(folder.path(), clock, cancel)?;
            stuck.extend(folder.remove().err());
            Answer::Saw(Box::new(trials))
        }
        Err(error) => Answer::Refused(error.into()),
    };
    Ok(Facts {
        path: path.to_path_buf(),
        file_system: place::file_system(path),
        space: place::space(path),
        trials,
        swept,
        stuck,
    })
}
