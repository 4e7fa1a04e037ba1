//! The index of checkpoints: a `SQLite` file, `.waymark/checkpoints.db`, that finds checkpoints of all runs
//! and owns nothing.
//!
//! *Invariants*: each row says what a run's folder showed when it was looked at; the run's stamps say whether
//! it is still to be believed. Everything in it can be read again from the runs, and the whole file may be
//! deleted while no process has it open. It is made anew in one transaction, so nobody ever sees a part of it, and
//! has another epoch then: what was begun in an earlier one is refused. What was looked at earlier, by the
//! audit log's numbers, never takes the place of what was looked at later.
//!
//! *Crash story*: WAL with `synchronous=NORMAL`, as in [`crate::store::index`]. What a power loss takes is
//! looked at again: the file says how far it followed the audit log, and by which hash.
//!
//! *Limits*: like the index of objects it needs shared memory between processes. Another version of its tables
//! is thrown away, never migrated. What is put in at once is in memory at once.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params, params_from_iter};

use crate::error::{Error, Result};
use crate::model::query::{Cursor, Filter, Row};
use crate::store::index::{
    BUSY_MS, Trouble, copy_back, new_one_damaged, set_aside, trouble, use_wal,
};

/// Changes with the tables: a file of another version is made anew.
const VERSION: i64 = 2;

const TABLES: &str = "
    CREATE TABLE follows (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT NOT NULL,
        boot TEXT NOT NULL, epoch INTEGER NOT NULL) STRICT;
    CREATE TABLE roots (id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, whole INTEGER NOT NULL) STRICT;
    CREATE TABLE runs (id INTEGER PRIMARY KEY, root INTEGER NOT NULL, run TEXT NOT NULL, stamp TEXT NOT NULL,
        seq INTEGER NOT NULL, problem TEXT, UNIQUE (root, run)) STRICT;
    CREATE INDEX by_problem ON runs (root) WHERE problem IS NOT NULL;
    CREATE TABLE checkpoints (
        id INTEGER PRIMARY KEY, root INTEGER NOT NULL, run INTEGER NOT NULL, checkpoint TEXT NOT NULL,
        created INTEGER NOT NULL, tie INTEGER NOT NULL, run_id TEXT NOT NULL, workflow TEXT, task TEXT, worker TEXT, phase TEXT,
        state TEXT, type TEXT, trigger_ TEXT, scope TEXT, priority TEXT, class TEXT, damaged INTEGER NOT NULL,
        pinned INTEGER, resumable INTEGER NOT NULL, said TEXT NOT NULL) STRICT;
    CREATE INDEX by_run ON checkpoints (run);
    CREATE INDEX by_created ON checkpoints (root, created, tie);
    CREATE INDEX by_run_id ON checkpoints (root, run_id, created, tie);
    CREATE INDEX by_workflow ON checkpoints (root, workflow, created, tie) WHERE workflow IS NOT NULL;
    CREATE INDEX by_task ON checkpoints (root, task, created, tie) WHERE task IS NOT NULL;
    CREATE INDEX by_worker ON checkpoints (root, worker, created, tie) WHERE worker IS NOT NULL;
    CREATE INDEX by_phase ON checkpoints (root, phase, created, tie) WHERE phase IS NOT NULL;
    CREATE INDEX by_state ON checkpoints (root, state, created, tie) WHERE state IS NOT NULL;
    CREATE INDEX by_type ON checkpoints (root, type, created, tie) WHERE type IS NOT NULL;
    CREATE INDEX by_trigger ON checkpoints (root, trigger_, created, tie) WHERE trigger_ IS NOT NULL;
    CREATE INDEX by_scope ON checkpoints (root, scope, created, tie) WHERE scope IS NOT NULL;
    CREATE INDEX by_priority ON checkpoints (root, priority, created, tie) WHERE priority IS NOT NULL;
    CREATE INDEX by_class ON checkpoints (root, class, created, tie) WHERE class IS NOT NULL;
    CREATE INDEX by_damaged ON checkpoints (root, created, tie) WHERE damaged = 1;
    CREATE INDEX by_pinned ON checkpoints (root, created, tie) WHERE pinned IS NOT NULL;
    CREATE INDEX by_resumable ON checkpoints (root, created, tie) WHERE resumable = 1;
    CREATE TABLE labels (root INTEGER NOT NULL, label TEXT NOT NULL, created INTEGER NOT NULL,
        tie INTEGER NOT NULL, checkpoint INTEGER NOT NULL,
        PRIMARY KEY (root, label, created, tie, checkpoint)) STRICT, WITHOUT ROWID;
    CREATE INDEX labels_of ON labels (checkpoint);
";

/// How far the audit log was followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The number of the last event.
    pub seq: u64,
    /// Its hash; empty at the beginning.
    pub hash: String,
    /// Which start of the machine that was in; empty where that can't be told.
    pub boot: String,
}

/// From when on a catalog is one: it changes when all of it is made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch(i64);

/// A run as it was looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRows {
    /// The run.
    pub run: String,
    /// What its folder and its record looked like before they were read.
    pub stamp: String,
    /// Its checkpoints.
    pub rows: Vec<Row>,
    /// What could not be read of it, in words.
    pub problem: Option<String>,
}

/// Some rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// What is said of each, as JSON text.
    pub rows: Vec<String>,
    /// Where reading goes on; `None` at the end.
    pub next: Option<Cursor>,
    /// The runs that they belong to, with their stamps.
    pub runs: Vec<(String, String)>,
    /// Runs of the folder that could not be read whole, and why.
    pub problems: Vec<(String, String)>,
}

/// An open catalog.
pub struct Catalog {
    connection: Connection,
    path: PathBuf,
}

impl Drop for Catalog {
    fn drop(&mut self) {
        copy_back(&self.connection, &self.path);
    }
}

impl Catalog {
    /// Opens the file, making it anew if it is missing, damaged or of another version.
    pub fn open(path: &Path) -> Result<Self> {
        match Self::open_once(path) {
            Ok(opened) => Ok(opened),
            Err(Trouble::Failed(error)) => Err(error),
            Err(Trouble::Unusable) => {
                set_aside(path)?;
                Self::open_once(path).map_err(|trouble| match trouble {
                    Trouble::Failed(error) => error,
                    Trouble::Unusable => new_one_damaged(path),
                })
            }
        }
    }

    /// One that lives as long as its process.
    pub fn in_memory() -> Result<Self> {
        let path = Path::new(":memory:");
        let made = Connection::open_in_memory()
            .map_err(|error| trouble(path, &error))
            .and_then(|connection| Self::prepare(connection, path));
        made.map_err(|trouble| match trouble {
            Trouble::Failed(error) => error,
            Trouble::Unusable => new_one_damaged(path),
        })
    }

    fn open_once(path: &Path) -> std::result::Result<Self, Trouble> {
        let connection = Connection::open(path).map_err(|error| trouble(path, &error))?;
        Self::prepare(connection, path)
    }

    fn prepare(mut connection: Connection, path: &Path) -> std::result::Result<Self, Trouble> {
        let mut setup = || -> rusqlite::Result<()> {
            connection.busy_timeout(std::time::Duration::from_millis(u64::from(BUSY_MS)))?;
            use_wal(&connection)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.execute_batch(
                "PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;",
            )?;
            let version = |connection: &Connection| -> rusqlite::Result<i64> {
                connection.query_row("PRAGMA user_version", [], |row| row.get(0))
            };
            if version(&connection)? == VERSION {
                return Ok(());
            }
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have been quicker.
            if version(&change)? != VERSION {
                drop_all(&change)?;
                change.execute_batch(TABLES)?;
                change.execute_batch(&format!("PRAGMA user_version = {VERSION}"))?;
            }
            change.commit()
        };
        setup().map_err(|error| trouble(path, &error))?;
        Ok(Self {
            connection,
            path: path.to_path_buf(),
        })
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        failed(&self.path, error)
    }

    /// How far the audit log was followed, and the epoch; `None` if it never was.
    pub fn followed(&self) -> Result<Option<(Followed, Epoch)>> {
        self.connection
            .query_row("SELECT seq, hash, boot, epoch FROM follows", [], |row| {
                let followed = Followed {
                    seq: u64::try_from(row.get::<_, i64>(0)?).unwrap_or(0),
                    hash: row.get(1)?,
                    boot: row.get(2)?,
                };
                Ok((followed, Epoch(row.get(3)?)))
            })
            .optional()
            .map_err(|error| self.failed(&error))
    }

    /// Whether all runs of a folder were looked at.
    pub fn is_whole(&self, runs_dir: &str) -> Result<bool> {
        is_whole(&self.connection, runs_dir).map_err(|error| self.failed(&error))
    }

    /// Puts what was seen of all runs of a folder in the place of everything that was known, of all folders.
    /// The runs were looked at after the log had been followed so far. Gives the new epoch.
    pub fn renew(&mut self, at: &Followed, runs_dir: &str, runs: &[RunRows]) -> Result<Epoch> {
        let mut write = || -> rusqlite::Result<Epoch> {
            let change = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            drop_all(&change)?;
            change.execute_batch(TABLES)?;
            change.execute(
                "INSERT INTO follows VALUES (1, ?1, ?2, ?3, random())",
                params![sql_seq(at.seq), at.hash, at.boot],
            )?;
            let epoch = change.query_row("SELECT epoch FROM follows", [], |row| row.get(0))?;
            put_all(&change, runs_dir, sql_seq(at.seq), runs)?;
            change.commit()?;
            Ok(Epoch(epoch))
        };
        write().map_err(|error| self.failed(&error))
    }

    /// Puts what was seen of all runs of a folder in the place of what was known of it, but for runs that were
    /// looked at later. False if the epoch is over.
    pub fn fill(
        &mut self,
        epoch: Epoch,
        seq: u64,
        runs_dir: &str,
        runs: &[RunRows],
    ) -> Result<bool> {
        self.change_in(epoch, |change| {
            put_all(change, runs_dir, sql_seq(seq), runs)
        })
    }

    /// Puts what was seen of runs, each of a folder of runs, in the place of what was known of them, unless
    /// they were looked at later, and notes how far the log was followed before. A run without checkpoints is
    /// forgotten. False if the epoch is over.
    pub fn put(&mut self, epoch: Epoch, at: &Followed, runs: &[(String, RunRows)]) -> Result<bool> {
        let seq = sql_seq(at.seq);
        self.change_in(epoch, |change| {
            for (runs_dir, run) in runs {
                let root = root_of(change, runs_dir)?;
                put_run(change, root, seq, run)?;
            }
            change.execute(
                "UPDATE follows SET seq = ?1, hash = ?2 WHERE seq < ?1",
                params![seq, at.hash],
            )?;
            Ok(())
        })
    }

    fn change_in(
        &mut self,
        epoch: Epoch,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<bool> {
        let write = || -> rusqlite::Result<bool> {
            let change = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            if !is_in(&change, epoch)? {
                return Ok(false);
            }
            work(&change)?;
            change.commit()?;
            Ok(true)
        };
        write().map_err(|error| failed(&self.path, &error))
    }

    /// The runs of a folder, with their stamps.
    pub fn runs(&self, runs_dir: &str) -> Result<HashMap<String, String>> {
        let read = || -> rusqlite::Result<HashMap<String, String>> {
            let mut query = self.connection.prepare_cached(
                "SELECT run, stamp FROM runs WHERE root = (SELECT id FROM roots WHERE path = ?1)",
            )?;
            query
                .query_map([runs_dir], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        };
        read().map_err(|error| self.failed(&error))
    }

    /// The runs of a folder that could not be read whole.
    pub fn problems(&self, runs_dir: &str) -> Result<Vec<String>> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut query = self.connection.prepare_cached(
                "SELECT run FROM runs WHERE root = (SELECT id FROM roots WHERE path = ?1)
                     AND problem IS NOT NULL",
            )?;
            query.query_map([runs_dir], |row| row.get(0))?.collect()
        };
        read().map_err(|error| self.failed(&error))
    }

    /// How many runs and checkpoints there are, of all folders.
    pub fn counts(&self) -> Result<(u64, u64)> {
        let count = |table: &str| -> rusqlite::Result<u64> {
            let sql = format!("SELECT COUNT(*) FROM {table}");
            let count: i64 = self.connection.query_row(&sql, [], |row| row.get(0))?;
            Ok(u64::try_from(count).unwrap_or(0))
        };
        let both = || Ok((count("runs")?, count("checkpoints")?));
        both().map_err(|error| self.failed(&error))
    }

    /// The rows of a folder of runs that are wanted, in order, from a place on. The time is in milliseconds
    /// since 1970. `None` if the epoch is over.
    pub fn find(
        &mut self,
        epoch: Epoch,
        runs_dir: &str,
        filter: &Filter,
        after: Option<Cursor>,
        limit: u32,
        now_ms: i64,
    ) -> Result<Option<Found>> {
        let mut read = || -> rusqlite::Result<Option<Found>> {
            // All of it is of one instant.
            let view = self.connection.transaction()?;
            if !is_in(&view, epoch)? || !is_whole(&view, runs_dir)? {
                return Ok(None);
            }
            let root: i64 =
                view.query_row("SELECT id FROM roots WHERE path = ?1", [runs_dir], |row| {
                    row.get(0)
                })?;
            let asked = Asked::new(root, filter, after, limit, now_ms);
            let mut query = view.prepare_cached(&asked.sql)?;
            let mut found = Found::default();
            let (mut last, mut seen) = (None, HashSet::new());
            let mut rows = query.query(params_from_iter(asked.values))?;
            while let Some(row) = rows.next()? {
                found.rows.push(row.get(0)?);
                last = Some(Cursor {
                    created_ms: row.get(1)?,
                    tie: row.get(2)?,
                });
                let run: i64 = row.get(5)?;
                if seen.insert(run) {
                    found.runs.push((row.get(3)?, row.get(4)?));
                }
            }
            if found.rows.len() == usize::try_from(limit).unwrap_or(usize::MAX) {
                found.next = last;
            }
            let mut query = view.prepare_cached(
                "SELECT run, problem FROM runs WHERE root = ?1 AND problem IS NOT NULL ORDER BY run",
            )?;
            found.problems = query
                .query_map([root], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Some(found))
        };
        read().map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &rusqlite::Error) -> Error {
    match trouble(path, error) {
        Trouble::Failed(error) => error,
        Trouble::Unusable => Error::Index {
            path: path.to_path_buf(),
            reason: "it is damaged; waymark index rebuild makes it anew".to_owned(),
        },
    }
}

fn sql_seq(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

fn is_in(connection: &Connection, epoch: Epoch) -> rusqlite::Result<bool> {
    let now: Option<i64> = connection
        .prepare_cached("SELECT epoch FROM follows")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(now == Some(epoch.0))
}

fn is_whole(connection: &Connection, runs_dir: &str) -> rusqlite::Result<bool> {
    let whole: Option<bool> = connection
        .prepare_cached("SELECT whole FROM roots WHERE path = ?1")?
        .query_row([runs_dir], |row| row.get(0))
        .optional()?;
    Ok(whole == Some(true))
}

/// All runs of a folder, in the place of those that were not looked at later.
fn put_all(
    change: &rusqlite::Transaction<'_>,
    runs_dir: &str,
    seq: i64,
    runs: &[RunRows],
) -> rusqlite::Result<()> {
    let root = root_of(change, runs_dir)?;
    let older = "SELECT c.id FROM checkpoints c JOIN runs r ON r.id = c.run WHERE r.root = ?1 AND r.seq <= ?2";
    for sql in [
        format!("DELETE FROM labels WHERE checkpoint IN ({older})"),
        format!("DELETE FROM checkpoints WHERE id IN ({older})"),
        "DELETE FROM runs WHERE root = ?1 AND seq <= ?2".to_owned(),
    ] {
        change.execute(&sql, params![root, seq])?;
    }
    for run in runs {
        put_run(change, root, seq, run)?;
    }
    change.execute("UPDATE roots SET whole = 1 WHERE id = ?1", [root])?;
    Ok(())
}

fn root_of(change: &rusqlite::Transaction<'_>, runs_dir: &str) -> rusqlite::Result<i64> {
    change.execute(
        "INSERT OR IGNORE INTO roots (path, whole) VALUES (?1, 0)",
        [runs_dir],
    )?;
    change.query_row("SELECT id FROM roots WHERE path = ?1", [runs_dir], |row| {
        row.get(0)
    })
}

fn drop_all(change: &rusqlite::Transaction<'_>) -> rusqlite::Result<()> {
    let tables: Vec<String> = {
        let mut query = change.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
        query
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?
    };
    for table in tables.iter().filter(|name| !name.starts_with("sqlite_")) {
        let quoted = table.replace('"', "\"\"");
        change.execute_batch(&format!("DROP TABLE \"{quoted}\""))?;
    }
    Ok(())
}

fn put_run(
    change: &rusqlite::Transaction<'_>,
    root: i64,
    seq: i64,
    run: &RunRows,
) -> rusqlite::Result<()> {
    let known: Option<(i64, i64)> = change
        .prepare_cached("SELECT id, seq FROM runs WHERE root = ?1 AND run = ?2")?
        .query_row(params![root, run.run], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((id, known)) = known {
        // Somebody looked at it later, and was quicker to say so.
        if known > seq {
            return Ok(());
        }
        change
            .prepare_cached(
                "DELETE FROM labels WHERE checkpoint IN (SELECT id FROM checkpoints WHERE run = ?1)",
            )?
            .execute([id])?;
        change
            .prepare_cached("DELETE FROM checkpoints WHERE run = ?1")?
            .execute([id])?;
        change
            .prepare_cached("DELETE FROM runs WHERE id = ?1")?
            .execute([id])?;
    }
    if run.rows.is_empty() && run.problem.is_none() {
        return Ok(());
    }
    change
        .prepare_cached(
            "INSERT INTO runs (root, run, stamp, seq, problem) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![root, run.run, run.stamp, seq, run.problem])?;
    let id = change.last_insert_rowid();
    for row in &run.rows {
        put_row(change, root, id, row)?;
    }
    Ok(())
}

fn put_row(
    change: &rusqlite::Transaction<'_>,
    root: i64,
    run: i64,
    row: &Row,
) -> rusqlite::Result<()> {
    let said = serde_json::to_string(row).unwrap_or_else(|_| "{}".to_owned());
    let facts = row.facts.as_ref();
    change
        .prepare_cached(
            "INSERT INTO checkpoints (root, run, checkpoint, created, tie, run_id, workflow, task, worker, phase,
                 state, type, trigger_, scope, priority, class, damaged, pinned, resumable, said)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
        )?
        .execute(params![
            root,
            run,
            row.checkpoint_id,
            row.created_ms,
            row.tie(),
            row.run_id,
            row.workflow_id,
            facts.and_then(|facts| facts.task.as_deref()),
            facts.and_then(|facts| facts.worker.as_deref()),
            facts.and_then(|facts| facts.phase.as_deref()),
            row.state.map(crate::model::lifecycle::State::as_str),
            facts.and_then(|facts| facts.kind).map(crate::model::facts::Type::as_str),
            facts.and_then(|facts| facts.trigger).map(crate::model::facts::Trigger::as_str),
            facts.and_then(|facts| facts.scope).map(crate::model::facts::Scope::as_str),
            facts.and_then(|facts| facts.priority).map(crate::model::facts::Priority::as_str),
            facts.and_then(|facts| facts.class).map(crate::model::facts::Class::as_str),
            row.damage.is_some(),
            row.pinned_until_ms,
            row.resumable,
            said,
        ])?;
    let id = change.last_insert_rowid();
    for label in facts.map(|facts| &facts.labels[..]).unwrap_or_default() {
        change
            .prepare_cached("INSERT OR IGNORE INTO labels VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![root, label, row.created_ms, row.tie(), id])?;
    }
    Ok(())
}

/// A question in SQL.
struct Asked {
    sql: String,
    values: Vec<Sql>,
}

impl Asked {
    /// Each value of the first list becomes a question of its own, which an index answers in order; `SQLite`
    /// merges them.
    #[allow(clippy::too_many_lines, reason = "one condition after another")]
    fn new(root: i64, filter: &Filter, after: Option<Cursor>, limit: u32, now_ms: i64) -> Self {
        let words = |words: &mut dyn Iterator<Item = &'static str>| -> Vec<String> {
            words.map(str::to_owned).collect()
        };
        let lists: [(&str, Vec<String>); 11] = [
            ("run_id", filter.runs.clone()),
            ("task", filter.tasks.clone()),
            ("worker", filter.workers.clone()),
            ("workflow", filter.workflows.clone()),
            ("phase", filter.phases.clone()),
            (
                "state",
                words(&mut filter.states.iter().map(|one| one.as_str())),
            ),
            (
                "type",
                words(&mut filter.types.iter().map(|one| one.as_str())),
            ),
            (
                "trigger_",
                words(&mut filter.triggers.iter().map(|one| one.as_str())),
            ),
            (
                "scope",
                words(&mut filter.scopes.iter().map(|one| one.as_str())),
            ),
            (
                "priority",
                words(&mut filter.priorities.iter().map(|one| one.as_str())),
            ),
            (
                "class",
                words(&mut filter.classes.iter().map(|one| one.as_str())),
            ),
        ];
        let mut given: Vec<(&str, Vec<String>)> = lists
            .into_iter()
            .filter(|(_, values)| !values.is_empty())
            .collect();
        let mut asked = Self {
            sql: String::new(),
            values: Vec::new(),
        };
        let first = if filter.labels.is_empty() && !given.is_empty() {
            Some(given.remove(0))
        } else {
            None
        };
        let mut parts: Vec<String> = Vec::new();
        let distinct = |list: &[String]| -> Vec<String> {
            let mut seen: Vec<String> = Vec::new();
            for one in list {
                if !seen.contains(one) {
                    seen.push(one.clone());
                }
            }
            seen
        };
        let heads: Vec<(Option<&str>, Option<String>)> = match &first {
            Some((column, values)) => distinct(values)
                .into_iter()
                .map(|value| (Some(*column), Some(value)))
                .collect(),
            None => vec![(None, None)],
        };
        for (column, value) in heads {
            let mut conditions = Vec::new();
            let from = if filter.labels.is_empty() {
                conditions.push(format!("c.root = {}", asked.put(root)));
                "checkpoints c".to_owned()
            } else if let [label] = &distinct(&filter.labels)[..] {
                conditions.push(format!("l.root = {}", asked.put(root)));
                conditions.push(format!("l.label = {}", asked.put(label.clone())));
                "labels l CROSS JOIN checkpoints c ON c.id = l.checkpoint".to_owned()
            } else {
                conditions.push(format!("c.root = {}", asked.put(root)));
                let marks = asked.put_all(&filter.labels);
                conditions.push(format!(
                    "EXISTS (SELECT 1 FROM labels l WHERE l.checkpoint = c.id AND l.label IN ({marks}))"
                ));
                "checkpoints c".to_owned()
            };
            if let (Some(column), Some(value)) = (column, value) {
                conditions.push(format!("c.{column} = {}", asked.put(value)));
            }
            for (column, values) in &given {
                let marks = asked.put_all(values);
                // Not for an index: the first one has the order.
                conditions.push(format!("+c.{column} IN ({marks})"));
            }
            let (by, tie) = if filter.labels.len() == 1 {
                ("l.created", "l.tie")
            } else {
                ("c.created", "c.tie")
            };
            if let Some(ms) = filter.from_ms {
                conditions.push(format!("{by} >= {}", asked.put(ms)));
            }
            if let Some(ms) = filter.until_ms {
                conditions.push(format!("{by} < {}", asked.put(ms)));
            }
            if let Some(after) = after {
                let than = if filter.oldest_first { ">" } else { "<" };
                let (created, after) = (asked.put(after.created_ms), asked.put(after.tie));
                conditions.push(format!("({by}, {tie}) {than} ({created}, {after})"));
            }
            match filter.damaged {
                Some(true) => conditions.push("c.damaged = 1".to_owned()),
                Some(false) => conditions.push("c.damaged = 0".to_owned()),
                None => {}
            }
            match filter.resumable {
                Some(true) => conditions.push("c.resumable = 1".to_owned()),
                Some(false) => conditions.push("c.resumable = 0".to_owned()),
                None => {}
            }
            match filter.pinned {
                Some(true) => {
                    conditions.push("c.pinned IS NOT NULL".to_owned());
                    conditions.push(format!("+c.pinned > {}", asked.put(now_ms)));
                }
                Some(false) => conditions.push(format!(
                    "(+c.pinned IS NULL OR +c.pinned <= {})",
                    asked.put(now_ms)
                )),
                None => {}
            }
            parts.push(format!(
                "SELECT c.said AS said, {by} AS created, {tie} AS tie, c.run_id AS run_id, r.stamp AS stamp, \
                 r.id AS run \
                 FROM {from} JOIN runs r ON r.id = c.run WHERE {}",
                conditions.join(" AND ")
            ));
        }
        let order = if filter.oldest_first { "ASC" } else { "DESC" };
        let limit = asked.put(i64::from(limit));
        asked.sql = format!(
            "{} ORDER BY created {order}, tie {order} LIMIT {limit}",
            parts.join(" UNION ALL ")
        );
        asked
    }

    fn put(&mut self, value: impl Into<Sql>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    fn put_all(&mut self, values: &[String]) -> String {
        let marks: Vec<String> = values.iter().map(|value| self.put(value.clone())).collect();
        marks.join(", ")
    }
}
