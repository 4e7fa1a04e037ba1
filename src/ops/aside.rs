//! A run's folder that is being made, under a name that no run has, until it is whole.
//!
//! The visible moment is the folder getting its name. Killed before it, a folder stays whose name tells what
//! was making it; the next operation that makes a run removes it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::ops::Context;
use crate::store::disk::Disk;
use crate::store::publish::{Staged, sync_parent};

/// What the folder of a run begins with that is being imported. No run id begins with it.
pub(super) const IMPORTING: &str = "~waymark-import-";
/// What the folder of a run begins with that is being forked from another.
pub(super) const FORKING: &str = "~waymark-fork-";

/// The folder of a run that is being made. Removed when dropped unpublished.
pub(super) struct Aside<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    published: bool,
}

impl<'a> Aside<'a> {
    /// Makes it, with a folder for its checkpoints.
    pub(super) fn begin(context: &Context<'a>, prefix: &str) -> Result<Self> {
        let runs = context.run.runs_dir();
        let mut number = 0_u32;
        let path = loop {
            let path = runs.join(format!("{prefix}{}-{number}", std::process::id()));
            match context.disk.create_dir(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 1_000 => {
                    number += 1;
                }
                Err(error) => return Err(Error::io("create", &path, error)),
            }
        };
        let aside = Self {
            disk: context.disk,
            path,
            published: false,
        };
        let checkpoints = aside.checkpoints();
        let made = context.disk.create_dir(&checkpoints);
        made.context("create", &checkpoints)?;
        Ok(aside)
    }

    /// Where it lies until it is whole.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Writes a file, durably.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let _ = Staged::write(self.disk, self.path.join(name), bytes)?.keep();
        Ok(())
    }

    /// Makes the names in it durable.
    pub(super) fn sync(&self) -> Result<()> {
        for path in [&self.checkpoints(), &self.path] {
            self.disk.sync_dir(path).context("sync", path)?;
        }
        Ok(())
    }

    /// Gives it its name; `taken` is the error if somebody has it.
    pub(super) fn publish(mut self, target: &Path, taken: impl FnOnce() -> Error) -> Result<()> {
        match self.disk.rename(&self.path, target) {
            Ok(()) => self.published = true,
            // Somebody made the run meanwhile.
            Err(_) if self.disk.metadata(target).is_ok() => return Err(taken()),
            Err(error) => return Err(Error::io("publish", target, error)),
        }
        sync_parent(self.disk, target)
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        if !self.published && self.disk.is_real() {
            // The next one removes what stays.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Removes what is left of runs whose making was killed.
pub(super) fn remove_leftovers(context: &Context<'_>) {
    let runs = context.run.runs_dir();
    if !context.disk.is_real() {
        return;
    }
    for entry in context.disk.list(runs).unwrap_or_default() {
        let name = entry.name.to_string_lossy();
        let rest = [IMPORTING, FORKING]
            .into_iter()
            .find_map(|prefix| name.strip_prefix(prefix));
        let pid = rest.and_then(|rest| rest.split('-').next()?.parse().ok());
        if pid.is_some_and(|pid| context.disk.process_alive(pid) == Some(false)) {
            let _ = fs::remove_dir_all(runs.join(&entry.name));
        }
    }
}
