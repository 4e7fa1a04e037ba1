//! Walks a folder with several threads and builds its tree from the leaves up.
//!
//! Work is a stack of tasks: list a folder, look at a part of its names, read a large file. A
//! folder is closed by whoever finishes the last thing in it: its tree is encoded, or taken over
//! from the last capture when every entry is what it was, and handed to the folder above.
//!
//! *Invariants*: a folder is only reached from its open parent (or, name by name, from the root's
//! open folder), never through a link. Nothing recurses: depth costs memory, not stack. The order of
//! threads shows nowhere in the result.
//!
//! *Crash story*: none of its own.
//!
//! *Limits*: at most [`OPEN_FOLDERS`] folders wait open for their inner folders to be listed; beyond
//! that folders are opened again from the root, which costs their depth. A folder's names are in
//! memory at once.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::object::ObjectId;
use crate::model::progress::{Phase, Progress};
use crate::model::snapshot::{File, Node, SkipReason, Tree, TreeEntry};
use crate::store::objects::{Lane, Sink};

use super::Problem;
use super::read::{Reader, Reading, Target};
use super::rules::{Compiled, IGNORE_FILE_LIMIT, Levels, Mode, Scope, Subject};
use super::stat::{Kind, Stat};
use super::stat_cache::{Cache, Clock, Draft, Key, Record, Taken, write_entry};
use super::system::{self, Dir, Verdict};

/// More threads would only wait for each other.
const THREADS: usize = 8;
/// How many folders may wait open.
const OPEN_FOLDERS: usize = 100;
/// The names of a large folder are looked at in parts of this size.
const PART: usize = 1024;
/// So much is read while a part is looked at; every other file is a task of its own.
const AT_ONCE: u64 = 512 << 10;
/// How often a file that changes is read.
const ATTEMPTS: usize = 3;
/// Everything a walk needs.
pub(super) struct Walk<'a> {
    pub(super) root: &'a Path,
    pub(super) rules: &'a Compiled<'a>,
    pub(super) known: Option<&'a Cache>,
    pub(super) clock: Option<Clock>,
    pub(super) generation: u64,
    pub(super) sink: &'a dyn Sink,
    pub(super) progress: &'a Progress,
    pub(super) cancel: &'a Cancel,
}

/// What a walk found.
pub(super) struct Found {
    pub(super) tree: Option<ObjectId>,
    pub(super) mode: u32,
    pub(super) counts: Counts,
    pub(super) problems: Vec<Problem>,
    /// Whether each path that was asked for was found.
    pub(super) ends: Vec<bool>,
    /// The new stat cache, if it differs from the old.
    pub(super) cache: Option<Vec<u8>>,
}

#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) read_files: u64,
    pub(super) read_bytes: u64,
    pub(super) withheld: u64,
}

/// A folder under way.
struct Folder {
    parent: Option<Arc<Folder>>,
    /// Its place among its parent's names.
    place: usize,
    name: Box<[u8]>,
    scope: Scope,
    levels: Levels,
    /// Where its record in the old cache is.
    known: Option<u64>,
    /// The things in it that are not finished.
    pending: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    own: Option<Stat>,
    listing: Option<Arc<Listing>>,
    entries: Vec<Option<Taken>>,
}

/// The names of a folder.
struct Listing {
    /// Its path from the root, with a `/` behind it; empty for the root.
    path: Vec<u8>,
    names: Vec<u8>,
    items: Vec<Item>,
    levels: Levels,
    device: u64,
    /// Whether the old cache's record is of the same file system.
    same_device: bool,
    match_paths: bool,
}

/// A name.
struct Item {
    start: usize,
    len: usize,
    kind: Kind,
    known: Option<Taken>,
}

impl Listing {
    fn name(&self, item: &Item) -> &[u8] {
        &self.names[item.start..item.start + item.len]
    }
}

enum Task {
    /// List a folder. Its parent, if it is still open.
    List(Arc<Folder>, Option<Arc<Open>>),
    /// Look at the names from one place to another.
    Look(Arc<Folder>, Arc<Listing>, Arc<Open>, usize, usize),
    /// Read a large file.
    Read(Arc<Folder>, Arc<Listing>, Arc<Open>, usize),
}

/// An open folder that is counted.
struct Open {
    dir: Dir,
    count: Arc<AtomicUsize>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the threads share.
struct Shared<'a> {
    walk: &'a Walk<'a>,
    top: Arc<Open>,
    queue: Mutex<Queue>,
    wake: Condvar,
    stop: AtomicBool,
    /// Something is not what the old cache says.
    changed: AtomicBool,
    /// The new cache can't hold everything.
    unfit: AtomicBool,
    totals: Mutex<Totals>,
    draft: Option<Mutex<Draft>>,
    ends: Vec<AtomicBool>,
    open: Arc<AtomicUsize>,
    read_files: AtomicU64,
    read_bytes: AtomicU64,
}

#[derive(Default)]
struct Queue {
    tasks: Vec<Task>,
    /// Tasks that are waiting or under way.
    unfinished: usize,
    waiting: usize,
    failed: Option<Error>,
    /// Keeps every folder until the end: letting go of a deep one would recurse through its parents.
    folders: Vec<Arc<Folder>>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.tasks.clear();
        // Parents come before their children, so this never lets go of a parent by a child.
        while self.folders.pop().is_some() {}
    }
}

#[derive(Default)]
struct Totals {
    counts: Counts,
    problems: Vec<Problem>,
    /// The root is finished.
    done: bool,
    root: Option<Taken>,
}

/// A panicking thread ends the walk anyway; its siblings may still finish.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Walk<'_> {
    pub(super) fn run(&self) -> Result<Found> {
        let failed = |error| Error::io("read", self.root, error);
        let dir = Dir::open_root(self.root).map_err(failed)?;
        let own = dir.own_stat().map_err(failed)?;
        let open = Arc::new(AtomicUsize::new(1));
        let top = Arc::new(Open {
            dir,
            count: Arc::clone(&open),
        });
        let folder = Arc::new(Folder {
            parent: None,
            place: 0,
            name: Box::default(),
            scope: self.rules.root_scope(),
            levels: self.rules.levels_above(self.root),
            known: self.known.map(Cache::root),
            pending: AtomicUsize::new(1),
            inner: Mutex::default(),
        });
        let mut queue = Queue::default();
        queue.tasks.push(Task::List(Arc::clone(&folder), None));
        queue.unfinished = 1;
        queue.folders.push(folder);
        let room = self.known.map_or(0, |known| known.len() + 4096);
        let shared = Shared {
            walk: self,
            top: Arc::clone(&top),
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            stop: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            unfit: AtomicBool::new(self.clock.is_none()),
            totals: Mutex::default(),
            draft: self
                .clock
                .map(|_| Mutex::new(Draft::new(self.root, self.generation, room))),
            ends: self.rules.asked().flags(),
            open,
            read_files: AtomicU64::new(0),
            read_bytes: AtomicU64::new(0),
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 1..threads.min(THREADS) {
                scope.spawn(|| Worker::new(&shared).run());
            }
            Worker::new(&shared).run();
        });
        shared.finish(&own)
    }
}

impl Shared<'_> {
    fn finish(self, own: &Stat) -> Result<Found> {
        if let Some(error) = lock(&self.queue).failed.take() {
            return Err(error);
        }
        let totals = std::mem::take(&mut *lock(&self.totals));
        if !totals.done {
            return Err(Error::Internal {
                message: "the walk of a folder ended early".to_owned(),
            });
        }
        let root = match totals.root {
            Some(taken) => match taken.node {
                // The root alone must be readable.
                Node::Skipped { .. } => {
                    return Err(Error::io(
                        "read",
                        self.walk.root,
                        std::io::ErrorKind::PermissionDenied.into(),
                    ));
                }
                Node::Directory { tree, .. } => Some((tree, taken.record)),
                _ => None,
            },
            None => None,
        };
        let unfit = self.unfit.into_inner();
        let changed = self.changed.into_inner();
        let cache = match (root, self.draft) {
            (Some((_, record)), Some(draft)) if changed && !unfit => Some(
                draft
                    .into_inner()
                    .unwrap_or_else(PoisonError::into_inner)
                    .finish(record),
            ),
            _ => None,
        };
        Ok(Found {
            tree: root.map(|(tree, _)| tree),
            mode: own.mode,
            counts: Counts {
                read_files: self.read_files.into_inner(),
                read_bytes: self.read_bytes.into_inner(),
                ..totals.counts
            },
            problems: totals.problems,
            ends: self.ends.into_iter().map(AtomicBool::into_inner).collect(),
            cache,
        })
    }

    fn fail(&self, error: Error) {
        self.stop.store(true, Ordering::Relaxed);
        lock(&self.queue).failed.get_or_insert(error);
        self.wake.notify_all();
    }

    fn push(&self, tasks: Vec<Task>, folders: Vec<Arc<Folder>>) {
        if tasks.is_empty() {
            return;
        }
        let mut queue = lock(&self.queue);
        queue.unfinished += tasks.len();
        let wake = queue.waiting.min(tasks.len());
        queue.tasks.extend(tasks);
        queue.folders.extend(folders);
        drop(queue);
        for _ in 0..wake {
            self.wake.notify_one();
        }
    }

    /// The next task; the one before is finished. `None` when there will be no more.
    fn next(&self, finished: usize) -> Option<Task> {
        let mut queue = lock(&self.queue);
        queue.unfinished -= finished;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(task) = queue.tasks.pop() {
                return Some(task);
            }
            if queue.unfinished == 0 {
                drop(queue);
                self.wake.notify_all();
                return None;
            }
            queue.waiting += 1;
            queue = self
                .wake
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
            queue.waiting -= 1;
        }
    }

    fn problem(&self, path: Vec<u8>, reason: SkipReason, size: u64) {
        let problem = Problem { path, reason, size };
        lock(&self.totals).problems.push(problem);
    }
}

/// What became of a name.
enum Look {
    /// Nothing is captured.
    Out,
    Entry(Taken),
    /// A folder to be listed.
    Folder(Scope),
    /// A file that is better read by a task of its own.
    Later,
}

/// One thread.
struct Worker<'a> {
    shared: &'a Shared<'a>,
    lane: Option<Box<dyn Lane + 'a>>,
    reader: Reader,
    buffer: Vec<u8>,
    body: Vec<u8>,
    path: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared<'a>) -> Self {
        Self {
            shared,
            lane: None,
            reader: Reader::default(),
            buffer: Vec::new(),
            body: Vec::new(),
            path: Vec::new(),
        }
    }

    fn run(mut self) {
        let mut finished = 0;
        // Whoever waits would wait forever for a thread that panicked.
        let guard = Guard(self.shared);
        while let Some(task) = self.shared.next(finished) {
            finished = 1;
            if let Err(error) = self.work(task) {
                self.shared.fail(error);
            }
        }
        if !self.shared.stop.load(Ordering::Relaxed)
            && let Some(lane) = self.lane.take()
            && let Err(error) = lane.finish()
        {
            self.shared.fail(error);
        }
        std::mem::forget(guard);
    }

    fn work(&mut self, task: Task) -> Result<()> {
        self.shared.walk.cancel.check()?;
        match task {
            Task::List(folder, parent) => self.list(&folder, parent),
            Task::Look(folder, listing, dir, from, to) => {
                self.look(&folder, &listing, &dir, from, to)?;
                self.end(&folder)
            }
            Task::Read(folder, listing, dir, place) => {
                self.shared.walk.progress.enter(Phase::Reading);
                let mut room = u64::MAX;
                let entry = match self.entry(&folder, &listing, &dir.dir, place, &mut room)? {
                    Look::Entry(taken) => Some(taken),
                    // A folder that took the place of a file: it was changing.
                    Look::Folder(_) | Look::Later => {
                        let item = &listing.items[place];
                        let path = [&listing.path, listing.name(item)].concat();
                        Some(self.skip(path, SkipReason::Changing, 0))
                    }
                    Look::Out => None,
                };
                lock(&folder.inner).entries[place] = entry;
                self.end(&folder)
            }
        }
    }

    /// Opens a folder; from its parent, or name by name from the root.
    fn open(&self, folder: &Folder, parent: Option<&Open>) -> std::io::Result<Arc<Open>> {
        let Some(above) = &folder.parent else {
            return Ok(Arc::clone(&self.shared.top));
        };
        let dir = if let Some(parent) = parent {
            parent.dir.open_dir(&folder.name)?
        } else {
            let mut names: Vec<&[u8]> = vec![&folder.name];
            let mut at = above;
            while let Some(next) = &at.parent {
                names.push(&at.name);
                at = next;
            }
            let mut dir: Option<Dir> = None;
            for name in names.into_iter().rev() {
                dir = Some(
                    dir.as_ref()
                        .unwrap_or(&self.shared.top.dir)
                        .open_dir(name)?,
                );
            }
            dir.ok_or(std::io::ErrorKind::NotFound)?
        };
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Open {
            dir,
            count: Arc::clone(&self.shared.open),
        }))
    }

    fn list(&mut self, folder: &Arc<Folder>, parent: Option<Arc<Open>>) -> Result<()> {
        let opened = self.open(folder, parent.as_deref());
        drop(parent);
        let listed = opened.and_then(|open| {
            let own = open.dir.own_stat()?;
            let listing = self.listing(folder, &open.dir, &own)?;
            Ok((open, own, listing))
        });
        let (open, own, listing) = match listed {
            Ok((open, own, Some(listing))) => (open, own, Arc::new(listing)),
            Ok((_, _, None)) => return self.deliver(folder, None),
            Err(error) => return self.unlisted(folder, error),
        };
        let count = listing.items.len();
        {
            let mut inner = lock(&folder.inner);
            inner.own = Some(own);
            inner.listing = Some(Arc::clone(&listing));
            inner.entries.resize_with(count, || None);
        }
        // The last part is looked at here, the others by whoever is free.
        let mut from = 0;
        let mut parts = Vec::new();
        while count - from > PART {
            parts.push(Task::Look(
                Arc::clone(folder),
                Arc::clone(&listing),
                Arc::clone(&open),
                from,
                from + PART,
            ));
            from += PART;
        }
        folder.pending.fetch_add(parts.len(), Ordering::Relaxed);
        self.shared.push(parts, Vec::new());
        self.look(folder, &listing, &open, from, count)?;
        drop(open);
        self.end(folder)
    }

    /// Reads the names of a folder; `None` if it must not be entered.
    fn listing(
        &mut self,
        folder: &Folder,
        dir: &Dir,
        own: &Stat,
    ) -> std::io::Result<Option<Listing>> {
        let rules = self.shared.walk.rules;
        let mut path = full_path(folder);
        if rules.never(&path, own) {
            return Ok(None);
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        let mut names = Vec::new();
        let mut items = Vec::new();
        let mut add = |name: &[u8], kind: Kind| {
            items.push(Item {
                start: names.len(),
                len: name.len(),
                kind,
                known: None,
            });
            names.extend_from_slice(name);
        };
        if folder.scope.mode == Mode::Towards {
            for name in rules.asked().names(folder.scope.asked) {
                add(name, Kind::Unknown);
            }
        } else {
            dir.list(&mut self.buffer, &mut add)?;
        }
        let name = |item: &Item| &names[item.start..item.start + item.len];
        items.sort_unstable_by(|one, other| name(one).cmp(name(other)));
        let record = self.record(folder);
        if let Some(record) = record {
            let mut known = record.entries().peekable();
            for item in &mut items {
                let name = &names[item.start..item.start + item.len];
                while known.next_if(|(other, _)| *other < name).is_some() {}
                item.known = known
                    .next_if(|(other, _)| *other == name)
                    .map(|(_, taken)| taken);
            }
        }
        let levels = if folder.scope.mode == Mode::Normal {
            let has = |wanted: &[u8]| {
                items
                    .binary_search_by(|item| name(item).cmp(wanted))
                    .is_ok()
            };
            rules.levels(&folder.levels, path.len(), has, |file| {
                read_small(dir, file, IGNORE_FILE_LIMIT)
            })
        } else {
            Arc::clone(&folder.levels)
        };
        Ok(Some(Listing {
            match_paths: rules.needs_path(&levels),
            device: own.device,
            same_device: record.is_some_and(|record| record.device == own.device),
            path,
            names,
            items,
            levels,
        }))
    }

    fn record(&self, folder: &Folder) -> Option<Record<'a>> {
        self.shared.walk.known?.record(folder.known?)
    }

    /// A folder that can't be opened or listed.
    fn unlisted(&mut self, folder: &Arc<Folder>, error: std::io::Error) -> Result<()> {
        let path = full_path(folder);
        if folder.parent.is_none() {
            return Err(Error::io("read", self.shared.walk.root, error));
        }
        let reason = match system::verdict(&error) {
            Verdict::Gone => return self.deliver(folder, None),
            Verdict::Ours => {
                let path = self.shared.walk.root.join(system::as_path(&path));
                return Err(Error::io("read", &path, error));
            }
            Verdict::Other => SkipReason::Changing,
            Verdict::Unreadable => SkipReason::Unreadable,
        };
        let taken = self.skip(path, reason, 0);
        self.deliver(folder, Some(taken))
    }

    /// Looks at names, and makes tasks of what is left to do.
    fn look(
        &mut self,
        folder: &Arc<Folder>,
        listing: &Arc<Listing>,
        open: &Arc<Open>,
        from: usize,
        to: usize,
    ) -> Result<()> {
        let mut done = Vec::with_capacity(to - from);
        let mut room = AT_ONCE;
        let mut lists = Vec::new();
        let mut reads = Vec::new();
        let mut folders = Vec::new();
        for place in from..to {
            if place % 64 == 63 {
                self.shared.walk.cancel.check()?;
                if self.shared.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            let mut entry = None;
            match self.entry(folder, listing, &open.dir, place, &mut room)? {
                Look::Out => {}
                Look::Entry(taken) => entry = Some(taken),
                Look::Folder(scope) => {
                    let item = &listing.items[place];
                    let inner = Arc::new(Folder {
                        parent: Some(Arc::clone(folder)),
                        place,
                        name: listing.name(item).into(),
                        scope,
                        levels: Arc::clone(&listing.levels),
                        known: item.known.as_ref().and_then(|known| {
                            matches!(known.node, Node::Directory { .. }).then_some(known.record)
                        }),
                        pending: AtomicUsize::new(1),
                        inner: Mutex::default(),
                    });
                    let few = self.shared.open.load(Ordering::Relaxed) < OPEN_FOLDERS;
                    lists.push(Task::List(
                        Arc::clone(&inner),
                        few.then(|| Arc::clone(open)),
                    ));
                    folders.push(inner);
                }
                Look::Later => reads.push(Task::Read(
                    Arc::clone(folder),
                    Arc::clone(listing),
                    Arc::clone(open),
                    place,
                )),
            }
            done.push(entry);
        }
        for (slot, entry) in lock(&folder.inner).entries[from..to].iter_mut().zip(done) {
            *slot = entry;
        }
        // The next to be listed finds its parent open in any case: else a deep folder would be opened
        // from the root at every level.
        if let Some(Task::List(_, parent)) = lists.last_mut() {
            parent.get_or_insert_with(|| Arc::clone(open));
        }
        folder
            .pending
            .fetch_add(lists.len() + reads.len(), Ordering::Relaxed);
        // The last pushed is the first done: files first, so that their folder can be let go.
        lists.extend(reads);
        self.shared.push(lists, folders);
        Ok(())
    }

    /// Decides about a name and captures what it stands for.
    fn entry(
        &mut self,
        folder: &Folder,
        listing: &Listing,
        dir: &Dir,
        place: usize,
        room: &mut u64,
    ) -> Result<Look> {
        let walk = self.shared.walk;
        let item = &listing.items[place];
        let name = listing.name(item);
        let mut kind = item.kind;
        let mut size = 0;
        for _ in 0..ATTEMPTS {
            // Asked before the stat: names that are left out cost nothing.
            let mut scope = None;
            if kind != Kind::Unknown {
                scope = self.decide(folder, listing, name, kind == Kind::Directory);
                match scope {
                    None => return Ok(Look::Out),
                    Some(scope) if kind == Kind::Directory => return Ok(Look::Folder(scope)),
                    Some(_) => {}
                }
            }
            if kind == Kind::Other {
                return Ok(self.skipped(listing, name, scope, SkipReason::NotRegular, 0));
            }
            let found = match dir.stat(name) {
                Ok(found) => found,
                Err(error) if system::verdict(&error) == Verdict::Gone => return Ok(Look::Out),
                Err(_) => {
                    let scope = scope.or_else(|| self.decide(folder, listing, name, false));
                    return Ok(self.skipped(listing, name, scope, SkipReason::Unreadable, 0));
                }
            };
            kind = found.kind;
            if scope.is_none() || kind == Kind::Directory {
                scope = self.decide(folder, listing, name, kind == Kind::Directory);
            }
            let Some(scope) = scope else {
                return Ok(Look::Out);
            };
            if kind == Kind::Directory {
                return Ok(Look::Folder(scope));
            }
            // On the way to what was asked for, only folders lead on.
            if scope.mode == Mode::Towards {
                return Ok(Look::Out);
            }
            size = found.size;
            let known = item.known.as_ref().filter(|known| {
                // Stamps say nothing about a file of another file system.
                known.trusted
                    && listing.same_device
                    && found.device == listing.device
                    && known.key == Key::of(&found)
            });
            let taken = match kind {
                Kind::Symlink => self.link(dir, name, &found, known)?,
                Kind::File if found.size > walk.rules.max_file_bytes() => {
                    let (reason, size) = (SkipReason::TooLarge, found.size);
                    return Ok(self.skipped(listing, name, Some(scope), reason, size));
                }
                Kind::File => {
                    if let Some(taken) = self.unread(&found, known, scope.secret) {
                        Some(taken)
                    } else if found.size > *room {
                        return Ok(Look::Later);
                    } else {
                        *room -= found.size;
                        match self.file(dir, name, scope.secret)? {
                            Got::Taken(taken) => Some(taken),
                            Got::Again => None,
                            Got::Gone => return Ok(Look::Out),
                            Got::Unreadable => {
                                let (reason, size) = (SkipReason::Unreadable, found.size);
                                return Ok(self.skipped(listing, name, Some(scope), reason, size));
                            }
                        }
                    }
                }
                _ => {
                    let reason = SkipReason::NotRegular;
                    return Ok(self.skipped(listing, name, Some(scope), reason, 0));
                }
            };
            if let Some(taken) = taken {
                self.reached(scope);
                return Ok(Look::Entry(taken));
            }
        }
        let scope = self.decide(folder, listing, name, false);
        Ok(self.skipped(listing, name, scope, SkipReason::Changing, size))
    }

    /// A name that is there but can't be captured.
    fn skipped(
        &self,
        listing: &Listing,
        name: &[u8],
        scope: Option<Scope>,
        reason: SkipReason,
        size: u64,
    ) -> Look {
        let Some(scope) = scope else {
            return Look::Out;
        };
        self.reached(scope);
        let path = [&listing.path, name].concat();
        Look::Entry(self.skip(path, reason, size))
    }

    fn decide(
        &mut self,
        folder: &Folder,
        listing: &Listing,
        name: &[u8],
        is_folder: bool,
    ) -> Option<Scope> {
        if listing.match_paths {
            self.path.clear();
            self.path.extend_from_slice(&listing.path);
            self.path.extend_from_slice(name);
        }
        let subject = Subject {
            path: &self.path,
            name,
            folder: is_folder,
        };
        self.shared
            .walk
            .rules
            .decide(folder.scope, &listing.levels, &subject)
    }

    /// Notes that paths that were asked for are there.
    fn reached(&self, scope: Scope) {
        for end in self.shared.walk.rules.asked().ends(scope.asked) {
            self.shared.ends[*end].store(true, Ordering::Relaxed);
        }
    }

    fn skip(&self, path: Vec<u8>, reason: SkipReason, size: u64) -> Taken {
        self.shared.problem(path, reason, size);
        Taken {
            node: Node::Skipped { reason, size },
            key: Key::default(),
            trusted: false,
            record: 0,
        }
    }

    fn taken(&self, node: Node, found: &Stat, known: bool) -> Taken {
        Taken {
            node,
            key: Key::of(found),
            trusted: known
                || self
                    .shared
                    .walk
                    .clock
                    .is_some_and(|clock| clock.trusts(found)),
            record: 0,
        }
    }

    /// A link; `None` if it is something else by now.
    fn link(
        &self,
        dir: &Dir,
        name: &[u8],
        found: &Stat,
        known: Option<&Taken>,
    ) -> Result<Option<Taken>> {
        if let Some(known) = known
            && matches!(known.node, Node::Symlink { .. })
        {
            return Ok(Some(self.taken(known.node.clone(), found, true)));
        }
        match dir.read_link(name) {
            Ok(target) => Ok(Some(self.taken(Node::Symlink { target }, found, false))),
            Err(error) if system::verdict(&error) == Verdict::Ours => {
                Err(Error::io("read", &system::as_path(name), error))
            }
            Err(_) => Ok(None),
        }
    }

    /// A file whose content is known without reading it.
    fn unread(&self, found: &Stat, known: Option<&Taken>, secret: bool) -> Option<Taken> {
        let (hash, chunks) = if found.size == 0 {
            (ObjectId::of(b""), None)
        } else {
            match &known?.node {
                Node::File(file) => (file.hash, file.chunks),
                // Its content is not in the store.
                Node::Withheld { hash, .. } if secret => (*hash, None),
                _ => return None,
            }
        };
        Some(self.taken(node(found, hash, chunks, secret), found, known.is_some()))
    }

    fn file(&mut self, dir: &Dir, name: &[u8], secret: bool) -> Result<Got> {
        let walk = self.shared.walk;
        let mut target = Target { lane: None };
        if !secret {
            let sink = walk.sink;
            target.lane = Some(&mut **self.lane.get_or_insert_with(|| sink.lane()));
        }
        let reading = self
            .reader
            .read(dir, name, &mut target, walk.progress, walk.cancel)?;
        Ok(match reading {
            Reading::Whole {
                found,
                hash,
                chunks,
            } => {
                self.shared.read_files.fetch_add(1, Ordering::Relaxed);
                self.shared
                    .read_bytes
                    .fetch_add(found.size, Ordering::Relaxed);
                let chunks = chunks.filter(|_| !secret);
                Got::Taken(self.taken(node(&found, hash, chunks, secret), &found, false))
            }
            Reading::Changed => Got::Again,
            Reading::Gone => Got::Gone,
            Reading::Unreadable => Got::Unreadable,
        })
    }

    /// One thing in a folder is finished; closes the folder after the last.
    fn end(&mut self, folder: &Arc<Folder>) -> Result<()> {
        if folder.pending.fetch_sub(1, Ordering::AcqRel) != 1 {
            return Ok(());
        }
        if self.shared.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let taken = self.close(folder)?;
        self.deliver(folder, taken)
    }

    /// Hands a folder to the one above, and closes all that are finished by it.
    fn deliver(&mut self, folder: &Arc<Folder>, taken: Option<Taken>) -> Result<()> {
        let mut folder = folder;
        let mut taken = taken;
        loop {
            if taken.is_some() {
                self.reached(folder.scope);
            }
            let Some(parent) = &folder.parent else {
                let mut totals = lock(&self.shared.totals);
                totals.root = taken;
                totals.done = true;
                return Ok(());
            };
            lock_entries(parent, folder.place, taken);
            if parent.pending.fetch_sub(1, Ordering::AcqRel) != 1
                || self.shared.stop.load(Ordering::Relaxed)
            {
                return Ok(());
            }
            taken = self.close(parent)?;
            folder = parent;
        }
    }

    /// Makes a folder's tree; `None` if it doesn't count.
    fn close(&mut self, folder: &Folder) -> Result<Option<Taken>> {
        let Inner {
            own,
            listing,
            entries,
        } = std::mem::take(&mut *lock(&folder.inner));
        let (Some(own), Some(listing)) = (own, listing) else {
            return Err(Error::Internal {
                message: "a folder was closed before it was listed".to_owned(),
            });
        };
        let mut counts = Counts::default();
        let mut children = Vec::new();
        let mut fits = true;
        self.body.clear();
        for (item, entry) in listing.items.iter().zip(&entries) {
            let Some(taken) = entry else { continue };
            match &taken.node {
                Node::File(File { size, .. }) => {
                    counts.files += 1;
                    counts.bytes += size;
                }
                Node::Withheld { size, .. } => {
                    counts.files += 1;
                    counts.withheld += 1;
                    counts.bytes += size;
                }
                Node::Directory { .. } => children.push(taken.record),
                _ => {}
            }
            fits &= write_entry(&mut self.body, listing.name(item), taken);
        }
        if self.body.is_empty() && fits && folder.scope.only_if_filled() {
            return Ok(None);
        }
        self.shared.walk.progress.add(counts.files, 0);
        {
            let mut totals = lock(&self.shared.totals);
            totals.counts.files += counts.files;
            totals.counts.bytes += counts.bytes;
            totals.counts.withheld += counts.withheld;
        }
        let known = self
            .record(folder)
            .filter(|known| fits && known.body == self.body && known.device == listing.device);
        let tree = if let Some(known) = known {
            known.tree
        } else {
            self.shared.changed.store(true, Ordering::Relaxed);
            let tree = Tree {
                entries: listing
                    .items
                    .iter()
                    .zip(entries)
                    .filter_map(|(item, taken)| {
                        Some(TreeEntry {
                            name: listing.name(item).to_vec(),
                            node: taken?.node,
                        })
                    })
                    .collect(),
            };
            let sink = self.shared.walk.sink;
            self.lane
                .get_or_insert_with(|| sink.lane())
                .put(&tree.encode())?
        };
        let mut record = 0;
        if !fits {
            self.shared.unfit.store(true, Ordering::Relaxed);
        } else if let Some(draft) = &self.shared.draft {
            record = lock(draft).append(&tree, listing.device, &self.body, &children);
        }
        Ok(Some(Taken {
            node: Node::Directory {
                mode: own.mode,
                tree,
            },
            key: Key::default(),
            trusted: false,
            record,
        }))
    }
}

/// What became of a file.
enum Got {
    Taken(Taken),
    Again,
    Gone,
    Unreadable,
}

fn node(found: &Stat, hash: ObjectId, chunks: Option<ObjectId>, secret: bool) -> Node {
    let (mode, modified_ns, size) = (found.mode, found.modified_ns, found.size);
    if secret {
        Node::Withheld {
            mode,
            modified_ns,
            size,
            hash,
        }
    } else {
        Node::File(File {
            mode,
            modified_ns,
            size,
            hash,
            chunks,
        })
    }
}

fn lock_entries(folder: &Folder, place: usize, entry: Option<Taken>) {
    if let Some(slot) = lock(&folder.inner).entries.get_mut(place) {
        *slot = entry;
    }
}

/// A folder's path from the root.
fn full_path(folder: &Folder) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    let mut at = folder;
    while let Some(parent) = &at.parent {
        names.push(&at.name);
        at = parent;
    }
    names.reverse();
    names.join(&b'/')
}

/// Reads a regular file of at most `limit` bytes; `path` may lead through folders.
pub(super) fn read_small(dir: &Dir, path: &[u8], limit: u64) -> Option<Vec<u8>> {
    let mut opened: Option<Dir> = None;
    let mut parts = path.split(|byte| *byte == b'/').peekable();
    while let Some(part) = parts.next() {
        let within = opened.as_ref().unwrap_or(dir);
        if parts.peek().is_some() {
            opened = Some(within.open_dir(part).ok()?);
            continue;
        }
        let file = within.open_file(part).ok()?;
        let found = file.stat().ok()?;
        if found.kind != Kind::File || found.size > limit {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(found.size).ok()?];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64).ok()? {
                0 => break,
                more => filled += more,
            }
        }
        bytes.truncate(filled);
        return Some(bytes);
    }
    None
}

/// Tells the other threads to stop when this one panics.
struct Guard<'a>(&'a Shared<'a>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.fail(Error::Internal {
            message: "a thread that walked a folder panicked".to_owned(),
        });
    }
}
