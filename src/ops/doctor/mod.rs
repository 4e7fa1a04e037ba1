//! Tells what a file system really does, and which of Waymark's promises hold on it.
//!
//! Works anywhere: without a run, without a project, on a disk that can't be written. Whatever is
//! wrong with the disk is a result, no error. The probes are [`crate::store::probe`]'s; what they
//! mean is said in `judge`, without a disk.

mod judge;
mod rows;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::ops::locate::{self, Hints};
use crate::store::probe::facts::FileSystem;
use crate::store::probe::{self, Clock};

pub use judge::{Class, Finding, Holds, Judgement, judge};
pub use rows::{Probe, rows};

/// All that a doctor has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The folder that was probed.
    pub path: PathBuf,
    /// The folder that holds all runs, if one is found.
    pub runs_dir: Option<PathBuf>,
    /// The project's store, if there is one.
    pub store_dir: Option<PathBuf>,
    /// The `waymark.config.json` whose settings count, if there is one.
    pub config_file: Option<PathBuf>,
    /// Which file system the folder lies on.
    pub file_system: FileSystem,
    /// What was seen, one row each.
    pub probes: Vec<Probe>,
    /// Which promises hold, and what deserves a warning.
    pub judgement: Judgement,
}

/// Probes the folder `path`, else the folder of runs, else the working directory.
pub fn doctor(
    hints: &Hints,
    path: Option<&Path>,
    clock: Clock<'_>,
    cancel: &Cancel,
) -> Result<Diagnosis> {
    let located = locate::locate(hints);
    let working_dir = locate::absolute(Path::new("."), hints)?;
    let runs_dir = located.as_ref().ok().cloned();
    let path = match path {
        Some(path) => {
            locate::check_path(path)?;
            locate::absolute(path, hints)?
        }
        None => runs_dir.clone().unwrap_or_else(|| working_dir.clone()),
    };
    check_folder(&path)?;
    let facts = probe::probe(&path, clock, cancel)?;
    let mut judgement = judge(&facts);
    if let Some(warning) = lost(&located, hints) {
        judgement.warnings.insert(0, warning);
    }
    let store_dir = match locate::store(hints) {
        Ok(store) => Some(store.path().to_path_buf()),
        Err(Error::RunsDirNotFound { .. }) => None,
        Err(error) => {
            let told = error.full_message();
            if !judgement.warnings.contains(&told) {
                judgement.warnings.insert(0, told);
            }
            None
        }
    };
    Ok(Diagnosis {
        store_dir: store_dir.filter(|folder| folder.is_dir()),
        // What is wrong with it was told with the store.
        config_file: locate::config(hints).unwrap_or_default(),
        probes: rows(&facts),
        path,
        runs_dir,
        file_system: facts.file_system,
        judgement,
    })
}

fn check_folder(path: &Path) -> Result<()> {
    let found = std::fs::metadata(path).map_err(|error| Error::io("read", path, error))?;
    if found.is_dir() {
        return Ok(());
    }
    Err(Error::PathNotDirectory {
        path: path.to_path_buf(),
    })
}

/// That there are no runs is nothing to warn of, unless somebody said where they are.
fn lost(located: &Result<PathBuf>, hints: &Hints) -> Option<String> {
    let error = located.as_ref().err()?;
    let named = [&hints.runs_dir, &hints.root, &hints.environment];
    let silent = matches!(error, Error::RunsDirNotFound { tried } if named.iter().all(|one| one.is_none())
        && !tried.ends_with(')'));
    (!silent).then(|| error.full_message())
}
