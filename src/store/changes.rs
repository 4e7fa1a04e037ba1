//! The log of what happens to a run's checkpoints after they were taken: `checkpoints/.waymark/changes`.
//!
//! *Invariants*: lines of JSON, each chained to the one before ([`crate::model::chain`]), only ever appended;
//! what was appended is durable when `append` returns. It is the truth about states, updates, pins and
//! forks, as the manifests are about everything else, and moves with the run.
//!
//! *Crash story*: a kill or power loss while a line is appended leaves a torn line without its line feed:
//! it was never reported as done, counts as not there, and is cut off by the next append. Leaving out what
//! is said of checkpoints that are gone, and what later changes took the place of, writes a new file beside and
//! renames it; its first line names the hash at which the old one ended.
//!
//! *Limits*: a line that was altered, or taken out, makes the log damaged: what still holds is read, nothing
//! is appended, and nothing is dropped from the run until it is healed, since a pin may be what was lost.
//! Lines cut off at the very end, line feed included, are not noticed here; the store's events have them.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::model::chain;
use crate::model::lifecycle::{Change, Lives, fold};
use crate::model::time::{from_iso, to_iso};
use crate::store::disk::Disk;
use crate::store::layout::RunDir;
use crate::store::publish::Staged;

/// The largest log, in bytes (256 MiB).
const LOG_MAX: u64 = 256 << 20;
/// From this length on a log may be written anew without what nobody needs, in bytes.
pub const COMPACT_FROM: u64 = 64 << 10;

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    /// Its place in the log, from 1; goes on when the log is written anew.
    at: u64,
    /// When, ISO 8601.
    time: String,
    /// The run: its folder may be copied or renamed.
    run: String,
    #[serde(flatten)]
    says: Says,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Says {
    /// Something happens to a checkpoint.
    Change {
        checkpoint: String,
        #[serde(flatten)]
        change: Change,
    },
    /// The log was written anew.
    Anew {
        /// The hash at which the one before ended.
        base: String,
        /// How many lines were left out.
        left_out: u64,
    },
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Happened {
    /// Its place in the log, from 1.
    pub at: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The checkpoint.
    pub checkpoint_id: String,
    /// What.
    pub change: Change,
}

/// The log of a run, read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Changes {
    /// What happened, in order.
    pub happened: Vec<Happened>,
    /// What is wrong with it, and where.
    pub problem: Option<String>,
    /// The hash of the last line.
    hash: String,
    /// The place of the last line.
    last: u64,
    /// How long the whole lines are, in bytes.
    len: u64,
    /// Whether the file is there.
    exists: bool,
}

impl Changes {
    /// Reads the log; an empty one if there is none.
    pub fn read(disk: &dyn Disk, run: &RunDir) -> Result<Self> {
        let path = run.changes();
        let bytes = match disk.read(&path, LOG_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Ok(Self {
                    problem: Some("it is not a regular file".to_owned()),
                    ..Self::default()
                });
            }
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let mut log = Self {
            exists: true,
            ..Self::default()
        };
        log.take(&bytes, run);
        Ok(log)
    }

    fn take(&mut self, bytes: &[u8], run: &RunDir) {
        let mut from = 0;
        for (number, end) in memchr::memchr_iter(b'\n', bytes).enumerate() {
            let text = &bytes[from..end];
            from = end + 1;
            self.len = from as u64;
            let mut wrong = |reason: &str| {
                if self.problem.is_none() {
                    self.problem = Some(format!("line {} {reason}", number + 1));
                }
            };
            let Some(read) = chain::read(text) else {
                wrong("is not as it was written");
                continue;
            };
            if read.prev != self.hash {
                wrong("does not follow the line before it");
            }
            read.hash.clone_into(&mut self.hash);
            let Ok(line) = serde_json::from_slice::<Line>(read.json) else {
                wrong("can't be understood; a newer version may have written it");
                continue;
            };
            if line.run != run.run_id().as_str() {
                wrong("belongs to another run");
                continue;
            }
            if line.at != self.last + 1 && number > 0 {
                wrong("is not the next one");
            }
            self.last = line.at;
            if let Says::Change { checkpoint, change } = line.says {
                self.happened.push(Happened {
                    at: line.at,
                    time_ms: from_iso(&line.time).unwrap_or(0),
                    checkpoint_id: checkpoint,
                    change,
                });
            }
        }
    }

    /// What the checkpoints have become.
    #[must_use]
    pub fn lives(&self) -> Lives {
        let mut lives = Lives::new();
        for one in &self.happened {
            let life = lives.entry(one.checkpoint_id.clone()).or_default();
            life.play(&one.change, one.time_ms);
        }
        lives
    }

    /// Refuses a log that is damaged.
    pub fn check(&self, run: &RunDir) -> Result<()> {
        match &self.problem {
            None => Ok(()),
            Some(reason) => Err(Error::ChangesDamaged {
                run_id: run.run_id().to_string(),
                path: run.changes(),
                reason: reason.clone(),
            }),
        }
    }

    /// The place of the last line; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    fn lines(
        &mut self,
        run: &RunDir,
        says: impl IntoIterator<Item = (i64, Says)>,
    ) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for (time_ms, says) in says {
            self.last += 1;
            let line = Line {
                at: self.last,
                time: to_iso(time_ms),
                run: run.run_id().to_string(),
                says,
            };
            let (text, hash) = chain::line(&line, &self.hash).map_err(|error| Error::Internal {
                message: error.to_string(),
            })?;
            self.hash = hash;
            bytes.extend_from_slice(text.as_bytes());
        }
        Ok(bytes)
    }

    /// Appends changes, durably; none of them, if that fails. The caller holds the run's lock and has just
    /// read the log.
    pub fn append(
        mut self,
        disk: &dyn Disk,
        run: &RunDir,
        changes: impl IntoIterator<Item = (String, Change, i64)>,
    ) -> Result<()> {
        self.check(run)?;
        let (path, len) = (run.changes(), self.len);
        let says = changes
            .into_iter()
            .map(|(checkpoint, change, at)| (at, Says::Change { checkpoint, change }));
        let bytes = self.lines(run, says)?;
        if bytes.is_empty() {
            return Ok(());
        }
        if !self.exists {
            let mut staged = Staged::write(disk, run.staged("changes"), &bytes)?;
            return match staged.publish_new(&path) {
                Ok(true) => Ok(()),
                Ok(false) => Err(Error::Internal {
                    message: "a log of changes appeared under the lock".to_owned(),
                }),
                Err(error) => Err(error),
            };
        }
        let write = || -> Result<()> {
            let (mut file, found) = disk.append(&path).context("open", &path)?;
            if found != len {
                drop(file);
                disk.truncate(&path, len).context("write", &path)?;
                file = disk.append(&path).context("open", &path)?.0;
            }
            file.write_all(&bytes).context("write", &path)?;
            file.finish().context("sync", &path)
        };
        write().inspect_err(|_| {
            // Not reported as done, so not to be seen. If that fails too, the next one who reads it sees it.
            let _ = disk.truncate(&path, len);
        })
    }

    /// Writes the log anew without what is said of checkpoints that are gone and without what later changes
    /// took the place of, once that is worth it: when it becomes less than half as long. The caller holds the
    /// run's lock.
    pub fn compact(
        mut self,
        disk: &dyn Disk,
        run: &RunDir,
        now_ms: i64,
        stays: &dyn Fn(&str) -> bool,
    ) -> Result<()> {
        if self.problem.is_some() || self.len < COMPACT_FROM {
            return Ok(());
        }
        let before = self.happened.len();
        let mut kept: Vec<Happened> = std::mem::take(&mut self.happened)
            .into_iter()
            .filter(|one| stays(&one.checkpoint_id))
            .collect();
        let mut changes: Vec<_> = kept
            .iter_mut()
            .map(|one| (one.checkpoint_id.as_str(), &mut one.change))
            .collect();
        let mut needed = fold(&mut changes).into_iter();
        kept.retain(|_| needed.next() == Some(true));
        let len = self.len;
        let bytes = self.anew(run, now_ms, kept, before)?;
        if bytes.len() as u64 * 2 > len {
            return Ok(());
        }
        replace(disk, run, &bytes)
    }

    /// Writes a damaged log anew with what still holds; tells how many lines that are.
    pub fn heal(mut self, disk: &dyn Disk, run: &RunDir, now_ms: i64) -> Result<usize> {
        let kept = std::mem::take(&mut self.happened);
        let count = kept.len();
        let bytes = self.anew(run, now_ms, kept, count)?;
        replace(disk, run, &bytes)?;
        Ok(count)
    }

    fn anew(
        &mut self,
        run: &RunDir,
        now_ms: i64,
        kept: Vec<Happened>,
        before: usize,
    ) -> Result<Vec<u8>> {
        let anew = Says::Anew {
            base: std::mem::take(&mut self.hash),
            left_out: (before - kept.len()) as u64,
        };
        let changes = kept.into_iter().map(|one| {
            let (checkpoint, change) = (one.checkpoint_id, one.change);
            (one.time_ms, Says::Change { checkpoint, change })
        });
        self.lines(run, std::iter::once((now_ms, anew)).chain(changes))
    }

    /// Where it lies.
    #[must_use]
    pub fn path(run: &RunDir) -> PathBuf {
        run.changes()
    }
}

fn replace(disk: &dyn Disk, run: &RunDir, bytes: &[u8]) -> Result<()> {
    let staged = Staged::write(disk, run.staged("changes"), bytes)?;
    staged.publish_over(&run.changes())
}
