//! Finds checkpoints of all runs of a folder, by an index that follows the audit log.
//!
//! What is answered is what the runs showed when they were last looked at; before an answer the events
//! that came since are read, and each run in it is held against the stamps of its folder and its record, so
//! that what other tools did to them is seen as well.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

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
use crate::store::catalog::{Catalog, Epoch, Followed, Found, RunRows};
use crate::store::changes::Changes;
use crate::store::disk::{Disk, EntryKind};
use crate::store::events::{Log as Events, Page as EventsPage};
use crate::store::layout::RunDir;
use crate::store::manifests;
use crate::store::place::StoreDir;

/// The largest `run.json` that is read for its status, in bytes.
const RECORD_MAX: u64 = 16 << 20;
/// How many events are read at once.
const EVENTS_AT_ONCE: usize = 10_000;
/// How often only the runs of an answer are looked at again because they had changed; then all runs are.
const LOOKS: usize = 3;
/// How often an answer is asked for again because runs in it had changed: some may change all the time.
const LOOKS_MAX: usize = 8;
/// How often others may make the index anew meanwhile, before this question does without it.
const RENEWALS: usize = 8;

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
    /// Runs of the folder that could not be read whole, and why: there may be more of them than is told.
    pub problems: Vec<(String, String)>,
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
    let runs_dir = ground.runs_dir.to_string_lossy();
    let (mut looks, mut renewals) = (0, 0);
    loop {
        let at = index.follow(false)?;
        let found = index
            .catalog
            .find(at.epoch, &runs_dir, filter, after, limit, ground.now_ms)?;
        let Some(found) = found else {
            // Somebody made it anew.
            renewals += 1;
            if renewals == RENEWALS {
                index.catalog = Catalog::in_memory()?;
            }
            continue;
        };
        looks += 1;
        if looks > LOOKS_MAX || !index.look_again(&at, &found, looks > LOOKS)? {
            return Ok(Page {
                rows: found.rows,
                next: found.next,
                problems: found.problems,
            });
        }
    }
}

/// Makes the index anew from the runs.
pub fn rebuild(ground: &Ground<'_>) -> Result<Rebuilt> {
    let mut index = Index::open(ground)?;
    index.follow(true)?;
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

/// How far an index has followed the log, and in which epoch of it.
struct At {
    followed: Followed,
    epoch: Epoch,
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

    /// Reads what happened since, and looks at the runs that it happened to; or at all of them, if that does
    /// not tell, or is wanted.
    fn follow(&mut self, anew: bool) -> Result<At> {
        loop {
            self.ground.cancel.check()?;
            // Only others who do the same can be in the way, each of them once.
            if let Some(at) = self.follow_once(anew)? {
                return Ok(at);
            }
        }
    }

    /// `None` if somebody made the index anew meanwhile.
    fn follow_once(&mut self, anew: bool) -> Result<Option<At>> {
        let ground = self.ground;
        let runs_dir = ground.runs_dir.to_string_lossy().into_owned();
        let log = self
            .store
            .map(|place| Events::new(ground.disk, place, ground.now_ms));
        let known = match self.catalog.followed()? {
            // A power loss may have taken events that nobody had read.
            Some((followed, epoch)) if !anew && followed.boot == ground.boot => self
                .read_on(log.as_ref(), followed)?
                .map(|new| (new, epoch)),
            _ => None,
        };
        let Some((New { at, mut touched }, epoch)) = known else {
            let followed = self.begin(log.as_ref())?;
            let runs = self.look_at_all()?;
            let epoch = self.catalog.renew(&followed, &runs_dir, &runs)?;
            return Ok(Some(At { followed, epoch }));
        };
        if !self.catalog.is_whole(&runs_dir)? {
            let runs = self.look_at_all()?;
            if !self.catalog.fill(epoch, at.seq, &runs_dir, &runs)? {
                return Ok(None);
            }
            touched.retain(|(runs, _)| *runs != runs_dir);
        }
        // What could not be read may be readable now.
        let again = self.catalog.problems(&runs_dir)?;
        touched.extend(again.into_iter().map(|run| (runs_dir.clone(), run)));
        let mut seen: Vec<(String, RunRows)> = Vec::new();
        for (runs, run) in touched {
            // Of other folders of runs only what is known already is renewed.
            if (runs == runs_dir || self.catalog.is_whole(&runs)?)
                && let Some(rows) = self.look_at(Path::new(&runs), &run)?
            {
                seen.push((runs, rows));
            }
        }
        let moved = self
            .catalog
            .followed()?
            .is_none_or(|(known, _)| known.seq < at.seq);
        if (moved || !seen.is_empty()) && !self.catalog.put(epoch, &at, &seen)? {
            return Ok(None);
        }
        Ok(Some(At {
            followed: at,
            epoch,
        }))
    }

    /// What the log tells behind a place in it, as far as runs were touched; `None` if it is not the log that
    /// was followed, or has lost some of it.
    fn read_on(&self, log: Option<&Events<'_>>, mut at: Followed) -> Result<Option<New>> {
        let mut touched: BTreeSet<(String, String)> = BTreeSet::new();
        let Some(log) = log else {
            return Ok(None);
        };
        let cancel = self.ground.cancel;
        loop {
            cancel.check()?;
            let page = match log.read(Some(at.seq), EVENTS_AT_ONCE, &|_| true, cancel) {
                Ok(page) => page,
                Err(Error::EventsGone { .. } | Error::EventsAhead { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            let begins_elsewhere = page.events.first().is_some_and(|(record, _)| {
                !at.hash.is_empty() && record.seq == at.seq + 1 && record.prev != at.hash
            });
            // What a line said that was altered nobody knows.
            if begins_elsewhere || page.passed_over > 0 {
                return Ok(None);
            }
            let full = page.events.len() == EVENTS_AT_ONCE;
            for (record, _) in &page.events {
                note_touched(record, &mut touched);
            }
            at.seq = page.position;
            if let Some((record, line)) = page.events.last()
                && record.seq == page.position
            {
                let hash = crate::model::chain::stated_hash(line.as_bytes());
                hash.unwrap_or_default().clone_into(&mut at.hash);
            }
            if !full {
                break;
            }
        }
        for (runs, run) in log.open_runs()?.runs {
            touched.insert((runs.to_string_lossy().into_owned(), run));
        }
        Ok(Some(New { at, touched }))
    }

    /// Where a log ends now: what came before is read from the runs.
    fn begin(&self, log: Option<&Events<'_>>) -> Result<Followed> {
        let ground = self.ground;
        let page = match log {
            Some(log) => log.read(None, 1, &|_| true, ground.cancel)?,
            None => EventsPage::default(),
        };
        let hash = page
            .events
            .last()
            .filter(|(record, _)| record.seq == page.position)
            .and_then(|(_, line)| crate::model::chain::stated_hash(line.as_bytes()));
        Ok(Followed {
            seq: page.position,
            hash: hash.unwrap_or_default().to_owned(),
            boot: ground.boot.to_owned(),
        })
    }

    /// Looks at every run of the folder.
    fn look_at_all(&self) -> Result<Vec<RunRows>> {
        let ground = self.ground;
        ground.progress.enter(Phase::Scanning);
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
        let mut seen = Vec::new();
        for name in &names {
            ground.cancel.check()?;
            seen.extend(self.look_at(ground.runs_dir, name)?);
            ground.progress.add(1, 0);
        }
        Ok(seen)
    }

    /// Looks at a run; `None` if its name can't be one's. What can't be read of one run is told, and keeps
    /// nobody from the others.
    fn look_at(&self, runs_dir: &Path, name: &str) -> Result<Option<RunRows>> {
        let Ok(run_id) = RunId::parse(name) else {
            return Ok(None);
        };
        let run = RunDir::new(runs_dir, run_id);
        let mut seen = RunRows {
            run: name.to_owned(),
            stamp: stamp(self.ground.disk, &run),
            rows: Vec::new(),
            problem: None,
        };
        match self.rows_of(&run) {
            Ok((rows, problem)) => (seen.rows, seen.problem) = (rows, problem),
            Err(
                Error::RunNotFound { .. }
                | Error::PathSymlink { .. }
                | Error::PathNotDirectory { .. },
            ) => {}
            Err(error @ (Error::Io { .. } | Error::FileTooLarge { .. })) => {
                seen.problem = Some(error.full_message());
            }
            Err(error) => return Err(error),
        }
        Ok(Some(seen))
    }

    /// A run's rows, and what is wrong with what they were made of.
    fn rows_of(&self, run: &RunDir) -> Result<(Vec<Row>, Option<String>)> {
        let ground = self.ground;
        let (disk, cancel) = (ground.disk, ground.cancel);
        run.check(disk)?;
        let mut scan = manifests::scan(disk, run, Check::Seal, cancel)?;
        let context = Context {
            disk,
            run,
            store: self.store,
            now_ms: ground.now_ms,
            lease: None,
            cancel,
            progress: ground.progress,
        };
        without_missing_objects(&context, &mut scan)?;
        let log = Changes::read(disk, run)?;
        let lives = log.lives();
        let goes_on = may_go_on(status(disk, run)?.as_deref());
        let fresh = crate::model::lifecycle::Life::default();
        let name = run.run_id().as_str();
        let good = scan.good.iter().enumerate().map(|(at, good)| {
            let id = good.header.checkpoint_id.as_str();
            let life = lives.get(id).unwrap_or(&fresh);
            Row::of(name, &good.header, life, good.size, goes_on && at == 0)
        });
        let damaged = scan
            .damaged
            .iter()
            .map(|one| Row::of_damaged(name, &one.name, one.damage.kind(), one.modified_ms));
        let problem = log
            .problem
            .map(|reason| format!("its log of changes is damaged: {reason}"));
        Ok((good.chain(damaged).collect(), problem))
    }

    /// Looks again at the runs of an answer, or at all runs of the folder, that have changed since; true if
    /// there were any.
    fn look_again(&mut self, at: &At, found: &Found, all: bool) -> Result<bool> {
        let runs_dir = self.ground.runs_dir.to_string_lossy().into_owned();
        let noted: Vec<(String, String)> = if all {
            self.catalog.runs(&runs_dir)?.into_iter().collect()
        } else {
            found.runs.clone()
        };
        let mut seen = Vec::new();
        for (run, noted) in noted {
            let Ok(run_id) = RunId::parse(&run) else {
                continue;
            };
            let dir = RunDir::new(self.ground.runs_dir, run_id);
            if stamp(self.ground.disk, &dir) != noted
                && let Some(rows) = self.look_at(self.ground.runs_dir, &run)?
            {
                seen.push((runs_dir.clone(), rows));
            }
        }
        if seen.is_empty() {
            return Ok(false);
        }
        // If the epoch is over, the next answer tells.
        self.catalog.put(at.epoch, &at.followed, &seen)?;
        Ok(true)
    }
}

/// What was read of the log, and the runs that it tells of, each with its folder.
struct New {
    at: Followed,
    touched: BTreeSet<(String, String)>,
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
