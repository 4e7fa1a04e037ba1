//! Where everything of a run lies, and the checks before any of it is touched.
//!
//! *Invariants*: every path made here is inside the run's folder; the run's folder, `checkpoints`
//! and Waymark's own folder in it are real folders, not links.
//!
//! *Crash story*: `create_private` may leave empty folders behind; they are used the next time.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::model::ids::{CheckpointId, RunId};
use crate::store::disk::{Disk, EntryKind};

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    runs_dir: PathBuf,
    run_id: RunId,
    dir: PathBuf,
}

impl RunDir {
    /// Names the folder of `run_id` below `runs_dir`, which must be absolute.
    #[must_use]
    pub fn new(runs_dir: &Path, run_id: RunId) -> Self {
        Self {
            runs_dir: runs_dir.to_path_buf(),
            dir: runs_dir.join(run_id.as_str()),
            run_id,
        }
    }

    /// The run.
    #[must_use]
    pub fn run_id(&self) -> &RunId {
        &self.run_id
    }

    /// The folder that holds all runs.
    #[must_use]
    pub fn runs_dir(&self) -> &Path {
        &self.runs_dir
    }

    /// The run's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// `run.json`.
    #[must_use]
    pub fn run_record(&self) -> PathBuf {
        self.dir.join("run.json")
    }

    /// `artifact-registry.json`.
    #[must_use]
    pub fn registry(&self) -> PathBuf {
        self.dir.join("artifact-registry.json")
    }

    /// The client's lock for `run.json`.
    #[must_use]
    pub fn runner_lock(&self) -> PathBuf {
        self.dir.join("run.json.lock")
    }

    /// `checkpoints/`.
    #[must_use]
    pub fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// A checkpoint's manifest. That of a rescue checkpoint lies in a folder of its own.
    #[must_use]
    pub fn manifest(&self, id: &CheckpointId) -> PathBuf {
        let folder = match Self::rescue_made_ms(id.as_str()) {
            Some(_) => self.rescues(),
            None => self.checkpoints(),
        };
        folder.join(format!("{id}.json"))
    }

    /// Plans of restores.
    #[must_use]
    pub fn plans(&self) -> PathBuf {
        self.private().join("plans")
    }

    /// A plan of a restore; `None` if the id can't be one.
    #[must_use]
    pub fn plan(&self, id: &str) -> Option<PathBuf> {
        let digits = id.strip_prefix("plan-")?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_id = digits.len() == 16 && digits.bytes().all(hex);
        is_id.then(|| self.plans().join(id))
    }

    /// The rescue checkpoints.
    #[must_use]
    pub fn rescues(&self) -> PathBuf {
        self.private().join("rescues")
    }

    /// The id of a rescue checkpoint made at a time, in milliseconds since 1970.
    pub fn rescue_id(made_ms: i64) -> Result<CheckpointId> {
        CheckpointId::parse(&format!("{RESCUE}{made_ms}"))
    }

    /// When a rescue checkpoint was made, in milliseconds since 1970; `None` if the id is another's.
    #[must_use]
    pub fn rescue_made_ms(id: &str) -> Option<i64> {
        let made_ms = id.strip_prefix(RESCUE)?.parse().ok()?;
        (format!("{RESCUE}{made_ms}") == id).then_some(made_ms)
    }

    /// Waymark's own folder in the run: `checkpoints/.waymark/`.
    #[must_use]
    pub fn private(&self) -> PathBuf {
        self.checkpoints().join(".waymark")
    }

    /// The lock between Waymark's own processes.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.private().join("lock")
    }

    /// The journal of a restore under way.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.private().join("restore.journal")
    }

    /// The journal of a restore that is being undone.
    #[must_use]
    pub fn undo(&self) -> PathBuf {
        self.private().join("restore.undo")
    }

    /// Which folders hold files that a restore has staged.
    #[must_use]
    pub fn areas(&self) -> PathBuf {
        self.private().join("restore.areas")
    }

    /// Which checkpoint was restored last.
    #[must_use]
    pub fn restored(&self) -> PathBuf {
        self.private().join("restored")
    }

    /// What was found good before; see [`crate::store::manifests`].
    #[must_use]
    pub fn seen(&self) -> PathBuf {
        self.private().join("seen")
    }

    /// What the registry was found to hold; see [`crate::store::outlines`].
    #[must_use]
    pub fn outline(&self) -> PathBuf {
        self.private().join("outline")
    }

    /// What happened to its checkpoints since they were taken; see [`crate::store::changes`].
    #[must_use]
    pub fn changes(&self) -> PathBuf {
        self.private().join("changes")
    }

    /// When its checkpoints were verified; see [`crate::store::verified`].
    #[must_use]
    pub fn verified(&self) -> PathBuf {
        self.private().join("verified")
    }

    /// Its records; see [`crate::store::records`].
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.private().join("records")
    }

    /// Its lease; see [`crate::store::leases`].
    #[must_use]
    pub fn lease(&self) -> PathBuf {
        self.private().join("lease")
    }

    /// The lease that is about to take its place. Not named as what is staged is: that belongs to the holder of
    /// the run's lock.
    #[must_use]
    pub fn lease_new(&self) -> PathBuf {
        self.private().join("lease.new")
    }

    /// The lock of those who change the lease.
    #[must_use]
    pub fn lease_lock(&self) -> PathBuf {
        self.private().join("lease.lock")
    }

    /// A name for bytes that are not visible yet.
    #[must_use]
    pub fn staged(&self, name: &str) -> PathBuf {
        self.private().join(format!("{STAGED}{name}"))
    }

    /// Fails unless the run's folder is a real folder, and `checkpoints` in it is one or missing.
    pub fn check(&self, disk: &dyn Disk) -> Result<()> {
        if !is_dir(disk, &self.dir)? {
            return Err(Error::RunNotFound {
                run_id: self.run_id.to_string(),
                path: self.dir.clone(),
            });
        }
        if is_dir(disk, &self.checkpoints())? {
            is_dir(disk, &self.private())?;
        }
        Ok(())
    }

    /// True if the run was ever written by Waymark: there may be something to recover.
    pub fn has_private(&self, disk: &dyn Disk) -> Result<bool> {
        is_dir(disk, &self.private())
    }

    /// Creates `checkpoints/` and Waymark's own folder in it, durably.
    pub fn create_private(&self, disk: &dyn Disk) -> Result<()> {
        for path in [self.checkpoints(), self.private()] {
            match disk.create_dir(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    is_dir(disk, &path)?;
                }
                Err(error) => return Err(Error::io("create", &path, error)),
            }
        }
        // The lock is only made once the folders are durable: whoever made them may have been
        // killed before that.
        if let Err(error) = disk.metadata(&self.lock()) {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(Error::io("read", &self.lock(), error));
            }
            for path in [&self.checkpoints(), &self.dir, &self.runs_dir] {
                disk.sync_dir(path).context("sync", path)?;
            }
        }
        Ok(())
    }
}

/// The prefix of a rescue checkpoint's id.
const RESCUE: &str = "waymark-rescue-";

/// The prefix of names in Waymark's own folder whose content is not visible yet.
pub const STAGED: &str = "staged-";

/// True for a folder, false for nothing, an error for anything else.
fn is_dir(disk: &dyn Disk, path: &Path) -> Result<bool> {
    match disk.metadata(path) {
        Ok(found) => match found.kind {
            EntryKind::Directory => Ok(true),
            EntryKind::Symlink => Err(Error::PathSymlink {
                path: path.to_path_buf(),
            }),
            _ => Err(Error::PathNotDirectory {
                path: path.to_path_buf(),
            }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(Error::PathNotDirectory {
                path: path.parent().unwrap_or(path).to_path_buf(),
            })
        }
        Err(error) => Err(Error::io("read", path, error)),
    }
}
