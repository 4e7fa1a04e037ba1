//! Finds checkpoints of all runs of a folder, by an index that follows the audit log.
//!
//! What is answered is what the runs showed when they were last looked at; before an answer the events
//! that came since are read, and each run in it is held against the stamps of its folder and its record, so
//! that what other tools did to them is seen as well.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::model::event::Record;
use crate::model::ids::RunId;
use crate::model::json::{Json, MAX_DEPTH, Value};
use crate::model::manifest::Check;
use crate::model::progress::{Phase, Progress};
use crate::model::query::{Cursor, Filter, PAGE_MAX, Row, may_go_on};
use crate::ops::Context;
use crate::ops::state::without_missing_objects;
use crate::store::catalog::{Catalog, Followed, Found, RunRows};
use crate::store::changes::Changes;
use crate::store::disk::{Disk, EntryKind};
use crate::store::events::Log as Events;
use crate::store::layout::RunDir;
use crate::store::manifests;
use crate::store::place::StoreDir;

/// The largest `run.json` that is read for its status, in bytes.
const RECORD_MAX: u64 = 16 << 20;
/// How many events are read at once.
const EVENTS_AT_ONCE: usize = 10_000;
/// How many runs are written at once.
const RUNS_AT_ONCE: usize = 500;
/// How often an answer is asked for again because runs in it had changed.
const TRIES: usize = 3;

/// Where the runs lie, and what an index of them needs.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    /// The file system.
    pub disk: &'a dyn Disk,
    /// The folder that holds all runs.
    pub runs_dir: &'a Path,
    /// The project's store; without one every question reads all runs.
    pub store: Option<&'a StoreDir>,
    /// Which start of the machine this is; empty where that can't be told.
    pub boot: &'a str,
    /// The time, in milliseconds since 1970.
    pub now_ms: i64,
    /// Whether the caller still wants it.
    pub cancel: &'a Cancel,
    /// How far it is.
    pub progress: &'a Progress,
}

/// Some checkpoints.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// What is known of each, as JSON text.
    pub rows: Vec<String>,
    /// Where reading goes on; `None` at the end.
    pub next: Option<Cursor>,
}

/// An index that was made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// How many runs have checkpoints.
    pub runs: u64,
    /// How many checkpoints there are, damaged ones included.
    pub checkpoints: u64,
}

/// Finds at most `limit` checkpoints that are wanted, from a place on.
pub fn find(
    ground: &Ground<'_>,
    filter: &Filter,
    after: Option<Cursor>,
    limit: u32,
) -> Result<Page> {
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Error::OptionValue {
            name: "limit",
            reason: format!("{limit} is not a whole number from 1 to {PAGE_MAX}"),
        });
    }
    let mut index = Index::open(ground)?;
    index.follow()?;
    let runs_dir = ground.runs_dir.to_string_lossy();
    let mut tries = 0;
    loop {
        tries += 1;
        let found = index
            .catalog
            .find(&runs_dir, filter, after, limit, ground.now_ms)?;
        if tries < TRIES && index.look_again(&found)? {
            continue;
        }
        return Ok(Page {
            rows: found.rows,
            next: found.next,
        });
    }
}

/// Makes the index anew from the runs.
pub fn rebuild(ground: &Ground<'_>) -> Result<Rebuilt> {
    let mut index = Index::open(ground)?;
    index.catalog.clear()?;
    index.follow()?;
    let (runs, checkpoints) = index.catalog.counts()?;
    Ok(Rebuilt { runs, checkpoints })
}

/// The index, open.
struct Index<'a> {
    ground: &'a Ground<'a>,
    catalog: Catalog,
    /// The store, if it is there.
    store: Option<&'a StoreDir>,
}

impl<'a> Index<'a> {
    fn open(ground: &'a Ground<'a>) -> Result<Self> {
        let store = match ground.store {
            Some(place) if place.exists(ground.disk)? => Some(place),
            _ => None,
        };
        let file =
            store.filter(|place| ground.disk.is_real() && ground.disk.writable(place.path()));
        let catalog = match file {
            Some(place) => Catalog::open(&place.catalog())?,
            None => Catalog::in_memory()?,
        };
        Ok(Self {
            ground,
            catalog,
            store,
        })
    }

    /// Reads what happened since, and looks at the runs that it happened to.
    fn follow(&mut self) -> Result<()> {
        let ground = self.ground;
        let runs_dir = ground.runs_dir.to_string_lossy().into_owned();
        let Some(place) = self.store else {
            return self.look_at_all();
        };
        let log = Events::new(ground.disk, place, ground.now_ms);
        let followed = self.catalog.followed()?;
        let mut at = match followed {
            Some(followed) if followed.boot == ground.boot => followed,
            // A power loss may have taken events that nobody had read.
            _ => {
                self.catalog.clear()?;
                self.begin(&log)?
            }
        };
        let mut touched: BTreeSet<(String, String)> = BTreeSet::new();
        let before = at.clone();
        loop {
            ground.cancel.check()?;
            let page = match log.read(Some(at.seq), EVENTS_AT_ONCE, &|_| true, ground.cancel) {
                Ok(page) => page,
                Err(Error::EventsGone { .. } | Error::EventsAhead { .. }) => {
                    self.catalog.clear()?;
                    touched.clear();
                    at = self.begin(&log)?;
                    break;
                }
                Err(error) => return Err(error),
            };
            let begins_elsewhere = page.events.first().is_some_and(|(record, _)| {
                !at.hash.is_empty() && record.seq == at.seq + 1 && record.prev != at.hash
            });
            if begins_elsewhere {
                self.catalog.clear()?;
                touched.clear();
                at = self.begin(&log)?;
                break;
            }
            let full = page.events.len() == EVENTS_AT_ONCE;
            for (record, _) in &page.events {
                note_touched(record, &mut touched);
            }
            at.seq = page.position;
            if let Some((record, line)) = page.events.last()
                && record.seq == page.position
            {
                let hash = crate::model::event::stated_hash(line.as_bytes());
                hash.unwrap_or_default().clone_into(&mut at.hash);
            }
            if !full {
                break;
            }
        }
        for (runs, run) in log.open_runs()?.runs {
            touched.insert((runs.to_string_lossy().into_owned(), run));
        }
        if !self.catalog.is_whole(&runs_dir)? {
            self.look_at_all()?;
        }
        let mut seen: Vec<RunRows> = Vec::new();
        // Of other folders of runs only what is known already is renewed.
        for (runs, run) in touched {
            let folder = PathBuf::from(&runs);
            if runs == runs_dir {
                if let Some(rows) = self.look_at(&folder, &run)? {
                    seen.push(rows);
                }
            } else if self.catalog.is_whole(&runs)?
                && let Some(rows) = self.look_at(&folder, &run)?
            {
                self.catalog.put(&runs, &[rows])?;
            }
        }
        if !seen.is_empty() {
            self.catalog.put(&runs_dir, &seen)?;
        }
        if at != before {
            self.catalog.note_followed(&at)?;
        }
        Ok(())
    }

    /// Where a log ends now: what came before is read from the runs.
    fn begin(&self, log: &Events<'_>) -> Result<Followed> {
        let ground = self.ground;
        let page = log.read(None, 1, &|_| true, ground.cancel)?;
        let hash = page
            .events
            .last()
            .filter(|(record, _)| record.seq == page.position)
            .and_then(|(_, line)| crate::model::event::stated_hash(line.as_bytes()));
        let followed = Followed {
            seq: page.position,
            hash: hash.unwrap_or_default().to_owned(),
            boot: ground.boot.to_owned(),
        };
        self.catalog.unfollow()?;
        self.catalog.note_followed(&followed)?;
        Ok(followed)
    }

    /// Looks at every run of the folder.
    fn look_at_all(&mut self) -> Result<()> {
        let ground = self.ground;
        ground.progress.enter(Phase::Scanning);
        let runs_dir = ground.runs_dir.to_string_lossy().into_owned();
        let entries = match ground.disk.list(ground.runs_dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("read", ground.runs_dir, error)),
        };
        let mut names: Vec<String> = entries
            .into_iter()
            .filter(|entry| entry.kind == EntryKind::Directory)
            .filter_map(|entry| entry.name.into_string().ok())
            .collect();
        names.sort();
        self.catalog.begin_all(&runs_dir)?;
        let mut seen = Vec::new();
        for name in &names {
            ground.cancel.check()?;
            if let Some(rows) = self.look_at(ground.runs_dir, name)? {
                seen.push(rows);
            }
            ground.progress.add(1, 0);
            if seen.len() == RUNS_AT_ONCE {
                self.catalog.put(&runs_dir, &seen)?;
                seen.clear();
            }
        }
        // Nothing is whole before all of it is; a question that is stopped begins anew.
        self.catalog.put(&runs_dir, &seen)?;
        self.catalog.end_all(&runs_dir)
    }

    /// Looks at a run; `None` if its name can't be one's.
    fn look_at(&self, runs_dir: &Path, name: &str) -> Result<Option<RunRows>> {
        let Ok(run_id) = RunId::parse(name) else {
            return Ok(None);
        };
        let (disk, cancel) = (self.ground.disk, self.ground.cancel);
        let run = RunDir::new(runs_dir, run_id);
        let nothing = |stamp: String| RunRows {
            run: name.to_owned(),
            stamp,
            rows: Vec::new(),
        };
        let stamp = stamp(disk, &run);
        if let Err(error) = run.check(disk) {
            return match error {
                Error::RunNotFound { .. }
                | Error::PathSymlink { .. }
                | Error::PathNotDirectory { .. } => Ok(Some(nothing(stamp))),
                error => Err(error),
            };
        }
        let mut scan = manifests::scan(disk, &run, Check::Seal, cancel)?;
        let context = Context {
            disk,
            run: &run,
            store: self.store,
            now_ms: self.ground.now_ms,
            lease: None,
            cancel,
            progress: self.ground.progress,
        };
        without_missing_objects(&context, &mut scan)?;
        let lives = Changes::read(disk, &run)?.lives();
        let goes_on = may_go_on(status(disk, &run)?.as_deref());
        let fresh = crate::model::lifecycle::Life::default();
        let good = scan.good.iter().enumerate().map(|(at, good)| {
            let id = good.header.checkpoint_id.as_str();
            let life = lives.get(id).unwrap_or(&fresh);
            Row::of(name, &good.header, life, good.size, goes_on && at == 0)
        });
        let damaged = scan
            .damaged
            .iter()
            .map(|one| Row::of_damaged(name, &one.name, one.damage.kind(), one.modified_ms));
        Ok(Some(RunRows {
            run: name.to_owned(),
            stamp,
            rows: good.chain(damaged).collect(),
        }))
    }

    /// Looks again at the runs of an answer that have changed since; true if there were any.
    fn look_again(&mut self, found: &Found) -> Result<bool> {
        let runs_dir = self.ground.runs_dir;
        let mut seen = Vec::new();
        for (run, noted) in &found.runs {
            let Ok(run_id) = RunId::parse(run) else {
                continue;
            };
            let dir = RunDir::new(runs_dir, run_id);
            if stamp(self.ground.disk, &dir) != *noted
                && let Some(rows) = self.look_at(runs_dir, run)?
            {
                seen.push(rows);
            }
        }
        if seen.is_empty() {
            return Ok(false);
        }
        self.catalog.put(&runs_dir.to_string_lossy(), &seen)?;
        Ok(true)
    }
}

fn note_touched(record: &Record, touched: &mut BTreeSet<(String, String)>) {
    if let (Some(runs), Some(run)) = (&record.runs, &record.run) {
        touched.insert((runs.clone(), run.clone()));
    }
}

/// What a run's folder of checkpoints, its record and its log of changes look like from outside.
fn stamp(disk: &dyn Disk, run: &RunDir) -> String {
    let of = |path: &Path| {
        disk.metadata(path).map_or_else(
            |_| "-".to_owned(),
            |found| format!("{}.{}", found.stamp.modified_ns, found.len),
        )
    };
    format!(
        "{} {} {}",
        of(&run.checkpoints()),
        of(&run.run_record()),
        of(&run.changes())
    )
}

fn status(disk: &dyn Disk, run: &RunDir) -> Result<Option<String>> {
    let path = run.run_record();
    let bytes = match disk.read(&path, RECORD_MAX) {
        Ok(bytes) => bytes,
        // Whatever is wrong with it: a checkpoint is what puts it right.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::FileTooLarge
                    | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error).context("read", &path),
    };
    let status = Json::parse(&bytes, MAX_DEPTH).ok().and_then(|json| {
        let status = json.root().get("status").and_then(Value::as_str)?;
        Some(status.into_owned())
    });
    Ok(status)
}
