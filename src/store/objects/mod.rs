//! The objects: content-addressed bytes in packs.
//!
//! This folder promises that bytes come back as they were put, or not at all: whatever is read is
//! held against its name.

mod catch_up;
mod marks;
mod reader;
mod scan;
mod state;
mod tails;
mod writer;

pub mod check;
pub mod collect;
pub mod pack;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::model::object::ObjectId;
use crate::store::disk::{Disk, LockGuard};
use crate::store::index::{Index, Location};
use crate::store::place::{PackId, StoreDir};

pub use marks::{Marks, Problem};
pub use reader::Content;
pub use state::CutState;
pub use writer::{Limit, Stored, Writer};

/// Takes objects, from several threads at once.
pub trait Sink: Sync {
    /// A way in for one thread. What was put is only in the store once the lane is finished.
    fn lane(&self) -> Box<dyn Lane + '_>;
}

/// One thread's way into a [`Sink`].
pub trait Lane {
    /// Stores an object unless it is stored already; gives its name.
    fn put(&mut self, bytes: &[u8]) -> Result<ObjectId>;
    /// Hands everything that was put to the store.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// How long an operation waits for the store, in milliseconds.
pub const WAIT_MS: u64 = 60_000;

/// An open store.
pub struct Store<'a> {
    disk: &'a dyn Disk,
    place: &'a StoreDir,
    index: Mutex<Index>,
    recent: Mutex<reader::Recent>,
    /// Tells generations and makers apart; the time in milliseconds since 1970.
    now_ms: i64,
    /// Where nothing can be written: the index lives in memory, and is what the packs' heads say.
    read_only: bool,
}

impl<'a> Store<'a> {
    /// Opens a store that exists; `None` if there is none. One that can't be written can be read all the
    /// same: see [`Self::is_read_only`].
    pub fn open(disk: &'a dyn Disk, place: &'a StoreDir, now_ms: i64) -> Result<Option<Self>> {
        if !place.exists(disk)? {
            return Ok(None);
        }
        let parts = [place.path().to_path_buf(), place.objects(), place.index()];
        let writable = parts.iter().all(|path| disk.writable(path));
        let opened = writable.then(|| open_index(disk, place, now_ms));
        let (index, read_only) = match opened {
            Some(Ok(index)) => (index, false),
            // Where only trying tells.
            None | Some(Err(Error::RunReadOnly { .. })) => (Index::in_memory(now_ms)?.0, true),
            Some(Err(error)) => return Err(error),
        };
        let store = Self {
            disk,
            place,
            index: Mutex::new(index),
            recent: Mutex::default(),
            now_ms,
            read_only,
        };
        store.catch_up()?;
        Ok(Some(store))
    }

    /// Makes a store unless there is one.
    pub fn make(disk: &dyn Disk, place: &StoreDir, now_ms: i64) -> Result<()> {
        // Two threads may come here in the same millisecond, or one again after it failed.
        static MAKERS: AtomicU64 = AtomicU64::new(0);
        let maker = MAKERS.fetch_add(1, Ordering::Relaxed);
        let token = format!("{}-{now_ms}-{maker}", std::process::id());
        place.create(disk, &token)
    }

    /// Opens a store, making it first if there is none.
    pub fn open_or_create(disk: &'a dyn Disk, place: &'a StoreDir, now_ms: i64) -> Result<Self> {
        Self::make(disk, place, now_ms)?;
        let store = Self::open(disk, place, now_ms)?.ok_or_else(|| Error::Internal {
            message: "a store that was just made is gone".to_owned(),
        })?;
        store.refuse_read_only()?;
        Ok(store)
    }

    /// True if it lies where this process can't write. It can be read, without its index: each pack's
    /// heads are read instead.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Fails if the store can't be written.
    pub fn refuse_read_only(&self) -> Result<()> {
        if !self.read_only {
            return Ok(());
        }
        Err(Error::StoreReadOnly {
            path: self.place.path().to_path_buf(),
        })
    }

    /// Where it lies.
    #[must_use]
    pub fn place(&self) -> &StoreDir {
        self.place
    }

    /// The disk it lies on.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        self.disk
    }

    /// A panic in another thread can't leave the index half changed: `SQLite` rolls back.
    pub(crate) fn index(&self) -> MutexGuard<'_, Index> {
        self.index
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Changes whenever objects went away.
    pub fn generation(&self) -> Result<i64> {
        self.index().generation()
    }

    /// True if the store holds an object, as far as the index knows.
    pub fn holds(&self, id: &ObjectId) -> Result<bool> {
        Ok(self.find(id)?.is_some())
    }

    /// Where an object lies, as far as the index knows.
    pub(crate) fn find(&self, id: &ObjectId) -> Result<Option<Location>> {
        self.index().find(id)
    }

    /// The same of many at once.
    pub(crate) fn find_each(&self, ids: &[ObjectId]) -> Result<Vec<Option<Location>>> {
        self.index().find_each(ids)
    }

    /// The lengths of all packs together, in bytes.
    pub fn pack_bytes(&self) -> Result<u64> {
        let packs = self.place.packs(self.disk)?;
        Ok(packs.iter().map(|(_, len)| len).sum())
    }

    /// Waits for the right to write, which any number may share.
    fn share(&self, cancel: &Cancel) -> Result<Box<dyn LockGuard>> {
        let path = self.place.lock();
        wait_for(self.disk, &path, cancel, || {
            self.disk.try_lock_shared(&path)
        })
    }

    /// Waits until nobody writes, and keeps it so.
    fn exclude(&self, cancel: &Cancel) -> Result<Box<dyn LockGuard>> {
        let path = self.place.lock();
        wait_for(self.disk, &path, cancel, || self.disk.try_lock(&path, ""))
    }
}

/// Where the objects of a block lie.
fn locations(
    pack: PackId,
    block: u64,
    head: &pack::Head,
) -> impl Iterator<Item = (ObjectId, Location)> {
    let (block_len, depth) = (head.block_len(), head.depth);
    let mut start = 0;
    head.objects.iter().map(move |(id, len)| {
        let at = Location {
            pack,
            block,
            block_len,
            start,
            len: *len,
            depth,
        };
        start += len;
        (*id, at)
    })
}

fn open_index(disk: &dyn Disk, place: &StoreDir, now_ms: i64) -> Result<Index> {
    let (index, _) = if disk.is_real() {
        Index::open(&place.index(), now_ms)?
    } else {
        Index::in_memory(now_ms)?
    };
    Ok(index)
}

/// Tries again and again, at most [`WAIT_MS`].
pub(crate) fn wait_for(
    disk: &dyn Disk,
    path: &std::path::Path,
    cancel: &Cancel,
    mut take: impl FnMut() -> std::io::Result<Option<Box<dyn LockGuard>>>,
) -> Result<Box<dyn LockGuard>> {
    let mut waited_ms = 0;
    loop {
        cancel.check()?;
        if let Some(guard) = take().context("lock", path)? {
            return Ok(guard);
        }
        if waited_ms >= WAIT_MS {
            return Err(Error::StoreBusy {
                path: path.to_path_buf(),
                waited_ms,
            });
        }
        let pause = (1 + waited_ms / 8).min(20);
        disk.pause(pause);
        waited_ms += pause;
    }
}
