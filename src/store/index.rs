//! The index: a `SQLite` file that finds objects and owns nothing.
//!
//! *Invariants*: each row says where an object lay, whole and synced, when the row was written.
//! Whatever contradicts the packs is wrong, and the whole file may be deleted while no process has it
//! open.
//!
//! *Crash story*: journal mode WAL with `synchronous=NORMAL`: a commit costs no flush (7 µs here against
//! 93 µs with FULL), a kill or power loss never damages the file, and what it may lose are the last
//! rows: packs longer than their row says are read again from there. A file that is damaged all the
//! same is made anew.
//!
//! *Limits*: WAL needs shared memory between processes, so the file must not lie on a network
//! file system; where WAL is refused `SQLite`'s own default is used. Schema changes are only ever
//! appended to `MIGRATIONS`.

use std::io;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior, params};

use crate::error::{Error, Result};
use crate::model::object::ObjectId;
use crate::store::place::PackId;

/// Each is applied once, in order; never change one that was released.
const MIGRATIONS: &[&str] = &["CREATE TABLE packs (
        id INTEGER PRIMARY KEY,
        indexed INTEGER NOT NULL,
        sealed INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE objects (
        id BLOB PRIMARY KEY,
        pack INTEGER NOT NULL,
        block INTEGER NOT NULL,
        block_len INTEGER NOT NULL,
        start INTEGER NOT NULL,
        len INTEGER NOT NULL,
        depth INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE facts (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;"];

/// A place takes that of an earlier one.
const OVER: &str = "INSERT INTO objects VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (id) DO UPDATE SET pack = excluded.pack, block = excluded.block,
        block_len = excluded.block_len, start = excluded.start, len = excluded.len,
        depth = excluded.depth";
/// A place takes that of an earlier one, unless that has fewer bases below it.
const OVER_DEEPER: &str = "INSERT INTO objects VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
    ON CONFLICT (id) DO UPDATE SET pack = excluded.pack, block = excluded.block,
        block_len = excluded.block_len, start = excluded.start, len = excluded.len,
        depth = excluded.depth WHERE excluded.depth <= objects.depth";

/// How long a writer waits for another's transaction, in milliseconds.
pub(super) const BUSY_MS: u32 = 30_000;

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The pack.
    pub pack: PackId,
    /// Where its block begins in the pack.
    pub block: u64,
    /// The block's length in bytes.
    pub block_len: usize,
    /// Where it begins among the block's objects.
    pub start: usize,
    /// Its length in bytes.
    pub len: usize,
    /// How many bases lie below it.
    pub depth: u8,
}

/// What is known of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Indexed {
    /// The pack.
    pub pack: PackId,
    /// How far it is indexed, in bytes.
    pub len: u64,
    /// True if it ends in bytes that are no block: nothing may come behind them.
    pub sealed: bool,
}

/// An open index.
pub struct Index {
    connection: Connection,
    path: std::path::PathBuf,
}

/// Why an index can't be used.
pub(super) enum Trouble {
    /// Its content is damaged, or from a newer version: it is to be made anew.
    Unusable,
    /// Something that making it anew would not cure.
    Failed(Error),
}

/// From this length on the write-ahead log is copied back when the index is closed, in bytes.
const WAL_MAX: u64 = 256 << 10;

impl Drop for Index {
    /// Not by `SQLite` itself: it would copy back at each close, or, with many short connections,
    /// never begin its log anew.
    fn drop(&mut self) {
        copy_back(&self.connection, &self.path);
    }
}

/// Copies the write-ahead log back if it is long: whoever opens the file next reads all of the log.
pub(super) fn copy_back(connection: &Connection, path: &Path) {
    let wal = std::fs::metadata(named(path, "-wal"));
    if wal.is_ok_and(|wal| wal.len() > WAL_MAX) {
        // While others read or write it is not waited for: whoever closes it next tries again.
        let _ = connection.busy_timeout(std::time::Duration::ZERO);
        let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

impl Index {
    /// Opens the index, making it if it is missing. `true` if it is new and knows nothing: then
    /// `generation` becomes its generation.
    pub fn open(path: &Path, generation: i64) -> Result<(Self, bool)> {
        match Self::open_once(path, generation) {
            Ok(opened) => Ok(opened),
            Err(Trouble::Failed(error)) => Err(error),
            Err(Trouble::Unusable) => {
                set_aside(path)?;
                Self::open_once(path, generation).map_err(|trouble| match trouble {
                    Trouble::Failed(error) => error,
                    Trouble::Unusable => new_one_damaged(path),
                })
            }
        }
    }

    /// An index that lives as long as its process.
    pub fn in_memory(generation: i64) -> Result<(Self, bool)> {
        let path = Path::new(":memory:");
        let made = Connection::open_in_memory()
            .map_err(|error| trouble(path, &error))
            .and_then(|connection| Self::prepare(connection, path, generation));
        made.map_err(|trouble| match trouble {
            Trouble::Failed(error) => error,
            Trouble::Unusable => Error::Index {
                path: path.to_path_buf(),
                reason: "it can't be made".to_owned(),
            },
        })
    }

    fn open_once(path: &Path, generation: i64) -> std::result::Result<(Self, bool), Trouble> {
        let connection = Connection::open(path).map_err(|error| trouble(path, &error))?;
        Self::prepare(connection, path, generation)
    }

    fn prepare(
        mut connection: Connection,
        path: &Path,
        generation: i64,
    ) -> std::result::Result<(Self, bool), Trouble> {
        let mut setup = || -> rusqlite::Result<std::result::Result<bool, ()>> {
            connection.busy_timeout(std::time::Duration::from_millis(u64::from(BUSY_MS)))?;
            let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            let Ok(version) = usize::try_from(version) else {
                return Ok(Err(()));
            };
            if version > MIGRATIONS.len() {
                return Ok(Err(()));
            }
            // See the head of this file. The last one to close it must not copy everything back: that
            // costs two flushes, and a runner has one process per step.
            use_wal(&connection)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.execute_batch(
                "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;
                 PRAGMA temp_store = MEMORY; PRAGMA cache_size = -16384;",
            )?;
            if version == MIGRATIONS.len() {
                return Ok(Ok(false));
            }
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // Another process may have been quicker.
            let version: i64 = change.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            let done = usize::try_from(version).unwrap_or(0);
            for migration in MIGRATIONS.iter().skip(done) {
                change.execute_batch(migration)?;
            }
            change.execute_batch(&format!("PRAGMA user_version = {}", MIGRATIONS.len()))?;
            change.execute(
                "INSERT OR IGNORE INTO facts VALUES ('generation', ?1)",
                [generation],
            )?;
            change.commit()?;
            Ok(Ok(done == 0))
        };
        match setup() {
            Ok(Ok(new)) => Ok((
                Self {
                    connection,
                    path: path.to_path_buf(),
                },
                new,
            )),
            Ok(Err(())) => Err(Trouble::Unusable),
            Err(error) => Err(trouble(path, &error)),
        }
    }

    fn failed(&self, error: &rusqlite::Error) -> Error {
        match trouble(&self.path, error) {
            Trouble::Failed(error) => error,
            Trouble::Unusable => Error::Index {
                path: self.path.clone(),
                reason: "it is damaged; delete it, it is made anew".to_owned(),
            },
        }
    }

    /// Changes whenever objects went away: what was concluded before may no longer hold.
    pub fn generation(&self) -> Result<i64> {
        self.connection
            .query_row(
                "SELECT value FROM facts WHERE name = 'generation'",
                [],
                |row| row.get(0),
            )
            .map_err(|error| self.failed(&error))
    }

    /// Where an object lies.
    pub fn find(&self, id: &ObjectId) -> Result<Option<Location>> {
        find_in(&self.connection, id).map_err(|error| self.failed(&error))
    }

    /// The same of many, in one transaction: beginning it costs more than a look.
    pub fn find_each(&self, ids: &[ObjectId]) -> Result<Vec<Option<Location>>> {
        let look = || -> rusqlite::Result<Vec<Option<Location>>> {
            let read = self.connection.unchecked_transaction()?;
            let found: rusqlite::Result<Vec<_>> = ids.iter().map(|id| find_in(&read, id)).collect();
            read.commit()?;
            found
        };
        look().map_err(|error| self.failed(&error))
    }

    /// Which of the objects lie in a pack. One transaction: beginning it costs more than a look.
    pub fn holds_each(&self, ids: &[ObjectId]) -> Result<Vec<bool>> {
        let look = || -> rusqlite::Result<Vec<bool>> {
            let read = self.connection.unchecked_transaction()?;
            let found: rusqlite::Result<Vec<bool>> = {
                let mut query = read.prepare_cached("SELECT 1 FROM objects WHERE id = ?1")?;
                ids.iter()
                    .map(|id| query.exists([id.as_bytes().as_slice()]))
                    .collect()
            };
            read.commit()?;
            found
        };
        look().map_err(|error| self.failed(&error))
    }

    /// What is known of each pack, in order.
    pub fn packs(&self) -> Result<Vec<Indexed>> {
        let read = || -> rusqlite::Result<Vec<(i64, i64, bool)>> {
            let mut query = self
                .connection
                .prepare_cached("SELECT id, indexed, sealed FROM packs ORDER BY id")?;
            let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            rows.collect()
        };
        let rows = read().map_err(|error| self.failed(&error))?;
        Ok(rows
            .into_iter()
            .filter_map(|(id, len, sealed)| {
                Some(Indexed {
                    pack: PackId::from_row(id)?,
                    len: u64::try_from(len).ok()?,
                    sealed,
                })
            })
            .collect())
    }

    /// What is known of one pack.
    pub fn pack(&self, pack: PackId) -> Result<Option<Indexed>> {
        Ok(self.packs()?.into_iter().find(|found| found.pack == pack))
    }

    /// Notes where objects lie and how far their packs are indexed, all of it or nothing. Of two
    /// places of one object that with fewer bases below it stays, else the later: so bases always lead
    /// downwards, even if two writers stored two objects by their difference from each other.
    pub fn record(&mut self, objects: &[(ObjectId, Location)], indexed: &[Indexed]) -> Result<()> {
        let mut write = || -> rusqlite::Result<()> {
            let change = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            insert(&change, objects, OVER_DEEPER)?;
            note_packs(&change, indexed)?;
            change.commit()
        };
        write().map_err(|error| self.failed(&error))
    }

    /// Forgets packs and everything that is still said to lie in them, and begins a new generation.
    /// `moved` says where objects lie now, `lost` are objects elsewhere that go with them. Durable when
    /// it returns: the packs may be removed then, and their numbers used again.
    pub fn replace(
        &mut self,
        gone: &[PackId],
        moved: &[(ObjectId, Location)],
        lost: &[ObjectId],
        indexed: &[Indexed],
        generation: i64,
    ) -> Result<()> {
        self.durably(|index| index.replace_now(gone, moved, lost, indexed, generation))
    }

    /// Forgets where these objects lie, and begins a new generation. Durable when it returns: their
    /// bytes may go then.
    pub fn give_up(&mut self, objects: &[ObjectId], generation: i64) -> Result<()> {
        self.durably(|index| index.forget_now(objects, generation))
    }

    fn durably(&mut self, write: impl FnOnce(&mut Self) -> rusqlite::Result<()>) -> Result<()> {
        // Syncs all that was committed before as well; `NORMAL` might lose it in a power loss.
        let level = |connection: &Connection, level| {
            connection.execute_batch(&format!("PRAGMA synchronous = {level}"))
        };
        level(&self.connection, "FULL").map_err(|error| self.failed(&error))?;
        let written = write(self);
        level(&self.connection, "NORMAL").map_err(|error| self.failed(&error))?;
        written.map_err(|error| self.failed(&error))
    }

    fn replace_now(
        &mut self,
        gone: &[PackId],
        moved: &[(ObjectId, Location)],
        lost: &[ObjectId],
        indexed: &[Indexed],
        generation: i64,
    ) -> rusqlite::Result<()> {
        let change = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        insert(&change, moved, OVER)?;
        note_packs(&change, indexed)?;
        change.execute_batch(
            "CREATE TEMP TABLE IF NOT EXISTS gone (id INTEGER PRIMARY KEY); DELETE FROM gone;",
        )?;
        for pack in gone {
            change.execute("INSERT OR IGNORE INTO gone VALUES (?1)", [pack.to_row()])?;
        }
        change.execute(
            "DELETE FROM objects WHERE pack IN (SELECT id FROM gone)",
            [],
        )?;
        change.execute("DELETE FROM packs WHERE id IN (SELECT id FROM gone)", [])?;
        delete(&change, lost)?;
        new_generation(&change, generation)?;
        change.commit()
    }

    /// Forgets where these objects lie, because they can't be read there, and begins a new
    /// generation: the next checkpoint stores them again if it meets them.
    pub fn forget(&mut self, objects: &[ObjectId], generation: i64) -> Result<()> {
        self.forget_now(objects, generation)
            .map_err(|error| self.failed(&error))
    }

    fn forget_now(&mut self, objects: &[ObjectId], generation: i64) -> rusqlite::Result<()> {
        let change = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        delete(&change, objects)?;
        new_generation(&change, generation)?;
        change.commit()
    }

    /// Forgets everything, and begins a new generation.
    pub fn clear(&mut self, generation: i64) -> Result<()> {
        let mut write = || -> rusqlite::Result<()> {
            let change = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            change.execute_batch("DELETE FROM objects; DELETE FROM packs;")?;
            new_generation(&change, generation)?;
            change.commit()
        };
        write().map_err(|error| self.failed(&error))
    }

    /// Every object and where it lies, pack by pack.
    pub fn all(&self, take: &mut dyn FnMut(ObjectId, Location)) -> Result<()> {
        let mut read = || -> rusqlite::Result<()> {
            let mut query = self.connection.prepare_cached(
                "SELECT id, pack, block, block_len, start, len, depth FROM objects",
            )?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let id: [u8; 32] = row.get(0)?;
                let Some(pack) = PackId::from_row(row.get(1)?) else {
                    continue;
                };
                let number = |at| -> rusqlite::Result<u64> {
                    Ok(u64::try_from(row.get::<_, i64>(at)?).unwrap_or(0))
                };
                let size = |at| -> rusqlite::Result<usize> {
                    Ok(usize::try_from(number(at)?).unwrap_or(0))
                };
                let location = Location {
                    pack,
                    block: number(2)?,
                    block_len: size(3)?,
                    start: size(4)?,
                    len: size(5)?,
                    depth: u8::try_from(number(6)?).unwrap_or(0),
                };
                take(ObjectId::from_bytes(id), location);
            }
            Ok(())
        };
        read().map_err(|error| self.failed(&error))
    }

    /// The objects that are stored by their difference from another.
    pub fn deltas(&self) -> Result<Vec<ObjectId>> {
        let read = || -> rusqlite::Result<Vec<[u8; 32]>> {
            let mut query = self
                .connection
                .prepare_cached("SELECT id FROM objects WHERE depth > 0")?;
            query.query_map([], |row| row.get(0))?.collect()
        };
        let found = read().map_err(|error| self.failed(&error))?;
        Ok(found.into_iter().map(ObjectId::from_bytes).collect())
    }

    /// A number that is kept in the index for as long as it lives.
    pub fn fact(&self, name: &str) -> Result<Option<i64>> {
        self.connection
            .query_row("SELECT value FROM facts WHERE name = ?1", [name], |row| {
                row.get(0)
            })
            .optional()
            .map_err(|error| self.failed(&error))
    }

    /// Keeps a number.
    pub fn set_fact(&self, name: &str, value: i64) -> Result<()> {
        self.connection
            .execute(
                "INSERT OR REPLACE INTO facts VALUES (?1, ?2)",
                params![name, value],
            )
            .map(|_| ())
            .map_err(|error| self.failed(&error))
    }
}

/// Changing the journal's mode asks for the file alone, and `SQLite` does not wait for that: two who
/// open a new index at once would be refused.
pub(super) fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    let mut waited_ms = 0;
    loop {
        match connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(())) {
            Err(rusqlite::Error::SqliteFailure(failure, _))
                if failure.code == ErrorCode::DatabaseBusy && waited_ms < BUSY_MS =>
            {
                std::thread::sleep(std::time::Duration::from_millis(5));
                waited_ms += 5;
            }
            result => return result,
        }
    }
}

fn find_in(connection: &Connection, id: &ObjectId) -> rusqlite::Result<Option<Location>> {
    let mut query = connection.prepare_cached(
        "SELECT pack, block, block_len, start, len, depth FROM objects WHERE id = ?1",
    )?;
    let found = query
        .query_row([id.as_bytes().as_slice()], |row| {
            let pack = PackId::from_row(row.get(0)?);
            let number = |at| row.get::<_, i64>(at);
            Ok(pack.and_then(|pack| {
                Some(Location {
                    pack,
                    block: u64::try_from(number(1).ok()?).ok()?,
                    block_len: usize::try_from(number(2).ok()?).ok()?,
                    start: usize::try_from(number(3).ok()?).ok()?,
                    len: usize::try_from(number(4).ok()?).ok()?,
                    depth: u8::try_from(number(5).ok()?).ok()?,
                })
            }))
        })
        .optional()?;
    Ok(found.flatten())
}

fn insert(
    change: &rusqlite::Transaction<'_>,
    objects: &[(ObjectId, Location)],
    how: &str,
) -> rusqlite::Result<()> {
    let mut row = change.prepare_cached(how)?;
    let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    for (id, at) in objects {
        row.execute(params![
            id.as_bytes().as_slice(),
            at.pack.to_row(),
            i64::try_from(at.block).unwrap_or(i64::MAX),
            number(at.block_len),
            number(at.start),
            number(at.len),
            at.depth,
        ])?;
    }
    Ok(())
}

fn delete(change: &rusqlite::Transaction<'_>, objects: &[ObjectId]) -> rusqlite::Result<()> {
    let mut row = change.prepare_cached("DELETE FROM objects WHERE id = ?1")?;
    for id in objects {
        row.execute([id.as_bytes().as_slice()])?;
    }
    Ok(())
}

fn new_generation(change: &rusqlite::Transaction<'_>, generation: i64) -> rusqlite::Result<()> {
    change
        .execute(
            "UPDATE facts SET value = MAX(value + 1, ?1) WHERE name = 'generation'",
            [generation],
        )
        .map(|_| ())
}

fn note_packs(change: &rusqlite::Transaction<'_>, packs: &[Indexed]) -> rusqlite::Result<()> {
    let mut row = change.prepare_cached("INSERT OR REPLACE INTO packs VALUES (?1, ?2, ?3)")?;
    for found in packs {
        let len = i64::try_from(found.len).unwrap_or(i64::MAX);
        row.execute(params![found.pack.to_row(), len, found.sealed])?;
    }
    Ok(())
}

/// The error for a disk that damages what was just made.
pub(super) fn new_one_damaged(path: &Path) -> Error {
    Error::Index {
        path: path.to_path_buf(),
        reason: "a new one is damaged as well".to_owned(),
    }
}

/// Moves a damaged index out of the way. Not removed: another thread may have it open, and `SQLite`
/// maps one of its side files.
pub(super) fn set_aside(path: &Path) -> Result<()> {
    for suffix in SIDE_FILES {
        let (from, to) = (
            named(path, suffix),
            named(path, &format!(".damaged{suffix}")),
        );
        #[allow(clippy::disallowed_methods, reason = "SQLite opens the index itself")]
        match std::fs::rename(&from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("rename", &from, error));
            }
            _ => {}
        }
    }
    Ok(())
}

const IOERR_WRITE: i32 = rusqlite::ffi::SQLITE_IOERR_WRITE;
const IOERR_SHMSIZE: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
const SIDE_FILES: [&str; 4] = ["", "-wal", "-shm", "-journal"];

fn named(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes an index with its side files. Nobody may have it open.
pub fn remove(path: &Path) -> Result<()> {
    for suffix in SIDE_FILES {
        let file = named(path, suffix);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &file, error));
            }
            _ => {}
        }
    }
    Ok(())
}

pub(super) fn trouble(path: &Path, error: &rusqlite::Error) -> Trouble {
    let path = path.to_path_buf();
    let reason = error.to_string();
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        // A column of another type, a table that is missing: not our file any more.
        return Trouble::Unusable;
    };
    let source = |kind: io::ErrorKind| io::Error::new(kind, reason.clone());
    // Where a write is refused by a quota or a limit, `SQLite` does not tell it from other failures; the
    // space for its shared memory is asked for first of all.
    if matches!(failure.extended_code, IOERR_WRITE | IOERR_SHMSIZE) {
        let source = source(io::ErrorKind::StorageFull);
        return Trouble::Failed(Error::DiskFull { path, source });
    }
    Trouble::Failed(match failure.code {
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown => {
            return Trouble::Unusable;
        }
        ErrorCode::DiskFull => Error::DiskFull {
            path,
            source: source(io::ErrorKind::StorageFull),
        },
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Error::RunReadOnly {
            path,
            source: source(io::ErrorKind::PermissionDenied),
        },
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => Error::Io {
            action: "open",
            path,
            source: source(io::ErrorKind::Other),
        },
        _ => Error::Index { path, reason },
    })
}
