//! Takes back the space of objects that no checkpoint needs.
//!
//! First a plan, which is all that a dry run does: what every manifest of every registered folder of
//! runs names is marked, with all that it leads to, and each pack is judged. Then the packs of
//! which nothing is needed go, which needs no space, and then those with too much that nobody needs
//! are written anew, the one with the least to copy first: so the working space is never more
//! than one pack. Where there is no room for that, not even with what was set aside, the pack stays
//! and gets holes where nothing is needed. Checkpoints may be taken all the while.
//!
//! A gc that is killed leaves a store in which all that is needed can be read; the next one finishes.

use std::collections::HashSet;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::model::manifest::references;
use crate::model::progress::{Phase, Progress};
use crate::ops::events::Ledger;
use crate::store::disk::{Disk, EntryKind, LockGuard, Metadata, Stamp};
use crate::store::leftovers;
use crate::store::objects::collect::{Collector, Copy, Given, Round};
use crate::store::objects::{Marks, Problem, Store, wait_for};
use crate::store::place::{PackId, StoreDir};
use crate::store::roots;

/// A pack is written anew from this share of unneeded bytes on, unless told otherwise.
pub const MAX_UNUSED: f64 = 0.05;
/// What the names of removed runs begin with; see [`crate::ops::cleanup`].
const TRASH: &str = "~waymark-trash-";
/// A manifest that changed so shortly before is read again, in milliseconds: it may have changed
/// within the tick of the clock in which it was read.
const RACY_MS: i64 = 2_000;
/// How much of a manifest is read at once.
const WINDOW: u64 = 32 << 20;

/// What to collect.
#[derive(Debug, Clone)]
pub struct Request {
    /// Plan only.
    pub dry_run: bool,
    /// Packs with a larger share of unneeded bytes are written anew; from 0 to 1.
    pub max_unused: f64,
    /// Folders of runs whose checkpoints need nothing any more.
    pub forget_roots: Vec<PathBuf>,
    /// How large the packs that it writes may become, in bytes.
    pub pack_max: u64,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            dry_run: false,
            max_unused: MAX_UNUSED,
            forget_roots: Vec::new(),
            pack_max: u64::MAX,
        }
    }
}

/// What a gc is going to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// How many objects are needed.
    pub live_objects: u64,
    /// About how many bytes of packs are needed.
    pub live_bytes: u64,
    /// About how many are not.
    pub dead_bytes: u64,
    /// Packs of which nothing is needed.
    pub drop: Vec<PackId>,
    /// Packs that are written anew, in order.
    pub rewrite: Vec<PackId>,
    /// About how many bytes this frees.
    pub freed_bytes: u64,
    /// About how many bytes it needs besides, for a while.
    pub working_bytes: u64,
    /// What can't be read, and stays as it is.
    pub problems: Vec<Problem>,
}

/// What a gc did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// What it meant to do.
    pub plan: Plan,
    /// How many bytes were freed.
    pub freed_bytes: u64,
    /// How many bytes were copied from one pack to another.
    pub copied_bytes: u64,
    /// The packs that are gone.
    pub gone: Vec<PackId>,
    /// Packs that were left where they are, with holes, for want of room for a copy.
    pub punched: Vec<PackId>,
    /// Packs that were to go and were left alone: a writer is at work there, or needs them now.
    pub left: Vec<PackId>,
    /// True if the caller stopped it in between.
    pub stopped: bool,
    /// What can't be read, and stays as it is.
    pub problems: Vec<Problem>,
}

/// Plans, and unless it is a dry run does it. Without a store there is nothing to do.
pub fn gc(
    disk: &dyn Disk,
    place: &StoreDir,
    request: &Request,
    now_ms: i64,
    cancel: &Cancel,
    progress: &Progress,
) -> Result<Done> {
    let ledger = Ledger {
        disk,
        store: Some(place),
        now_ms,
        progress,
    };
    ledger.watch("gc", None, || {
        let open = || Store::open(disk, place, now_ms);
        let Some(store) = with_reserve(disk, place, open)? else {
            return Ok(Done::default());
        };
        collect(&store, request, now_ms, cancel, progress)
    })
}

/// Plans, and unless it is a dry run does it, in a store that is open.
pub(super) fn collect(
    store: &Store<'_>,
    request: &Request,
    now_ms: i64,
    cancel: &Cancel,
    progress: &Progress,
) -> Result<Done> {
    let (disk, place) = (store.disk(), store.place());
    let begin = || Gc::begin(store, request, now_ms, cancel, progress);
    if request.dry_run {
        let gc = with_reserve(disk, place, begin)?;
        return Ok(Done {
            problems: gc.plan().problems.clone(),
            plan: gc.plan().clone(),
            ..Done::default()
        });
    }
    let done = with_reserve(disk, place, || begin()?.apply(cancel));
    // Somebody may have needed it, and now there may be room again.
    if !store.is_read_only() {
        place.keep_reserve(disk);
    }
    done
}

/// Does something, and once more on a full disk with what was set aside for this: the index and the
/// first copies need a little.
fn with_reserve<T>(disk: &dyn Disk, place: &StoreDir, work: impl Fn() -> Result<T>) -> Result<T> {
    match work() {
        Err(error) if is_full(&error) && place.release_reserve(disk) => work(),
        done => done,
    }
}

fn is_full(error: &Error) -> bool {
    match error {
        Error::DiskFull { .. } => true,
        Error::StoreGcStopped { source, .. } => is_full(source),
        _ => false,
    }
}

/// A gc with its plan made, which holds the right to be the only one.
pub struct Gc<'s> {
    store: &'s Store<'s>,
    marks: Marks<'s>,
    manifests: Manifests<'s>,
    plan: Plan,
    now_ms: i64,
    progress: &'s Progress,
    pack_max: u64,
    _only: Box<dyn LockGuard>,
}

impl<'s> Gc<'s> {
    /// Marks what is needed and makes the plan. Unless it is a dry run, the roots to be forgotten
    /// are forgotten now.
    pub fn begin(
        store: &'s Store<'s>,
        request: &Request,
        now_ms: i64,
        cancel: &Cancel,
        progress: &'s Progress,
    ) -> Result<Self> {
        progress.enter(Phase::Scanning);
        store.refuse_read_only()?;
        if !(0.0..=1.0).contains(&request.max_unused) {
            return Err(Error::OptionValue {
                name: "maxUnused",
                reason: format!("{} is no share; give 0 to 1", request.max_unused),
            });
        }
        let (disk, place) = (store.disk(), store.place());
        let lock = place.gc_lock();
        let only = wait_for(disk, &lock, cancel, || disk.try_lock(&lock, ""))?;
        if !request.dry_run {
            for root in &request.forget_roots {
                roots::forget(disk, place, root)?;
            }
        }
        store.catch_up()?;
        let mut manifests = Manifests {
            disk,
            place,
            forgotten: request.forget_roots.clone(),
            read: HashMap::new(),
            racy_from_ms: now_ms.saturating_sub(RACY_MS),
            progress,
            gone: HashSet::new(),
        };
        let mut marks = Marks::new(store);
        manifests.mark(&mut marks, cancel)?;
        let plan = make_plan(store, &marks, request.max_unused, cancel)?;
        Ok(Self {
            store,
            marks,
            manifests,
            plan,
            now_ms,
            progress,
            pack_max: request.pack_max,
            _only: only,
        })
    }

    /// What is going to be done.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Does what the plan says. What became needed since it was made is kept all the same.
    pub fn apply(mut self, cancel: &Cancel) -> Result<Done> {
        let mut done = Done {
            plan: self.plan.clone(),
            ..Done::default()
        };
        let result = self.work(&mut done, cancel);
        done.problems.extend(self.marks.problems());
        match result {
            Ok(()) => {
                // Without it the next gc is only due too early.
                let _ = note(self.store, self.plan.live_bytes);
                Ok(done)
            }
            Err(Error::Aborted) if !done.gone.is_empty() => {
                done.stopped = true;
                Ok(done)
            }
            Err(source) if done.freed_bytes > 0 => Err(Error::StoreGcStopped {
                path: self.store.place().path().to_path_buf(),
                freed: done.freed_bytes,
                source: Box::new(source),
            }),
            Err(error) => Err(error),
        }
    }

    fn work(&mut self, done: &mut Done, cancel: &Cancel) -> Result<()> {
        for problem in &self.plan.problems {
            // Those of objects are told as they are in the end.
            if problem.object.is_none() {
                done.problems.push(problem.clone());
            }
        }
        let (disk, place) = (self.store.disk(), self.store.place());
        let packs = self.plan.drop.len() + self.plan.rewrite.len();
        let done_before = self.progress.glance();
        self.progress.expect(
            done_before.files + packs as u64,
            done_before.bytes + self.plan.freed_bytes,
        );
        self.progress.enter(Phase::Storing);
        let mut slots: BTreeMap<u8, Vec<PackId>> = BTreeMap::new();
        for pack in &self.plan.drop {
            slots.entry(pack.slot).or_default().push(*pack);
        }
        let mut rewrite = Vec::new();
        for packs in slots.into_values() {
            let round = self.collect(&packs, Copy::Nothing, cancel)?;
            // Something in them is needed after all.
            rewrite.extend(&round.left);
            self.count(done, round);
        }
        rewrite.extend(&self.plan.rewrite);
        let mut no_room = None;
        for (at, pack) in rewrite.iter().enumerate() {
            let mut copy = || self.collect(&[*pack], Copy::Except(&rewrite[at..]), cancel);
            let copied = match copy() {
                Err(error) if is_full(&error) && place.release_reserve(disk) => copy(),
                copied => copied,
            };
            match copied {
                Ok(round) => {
                    done.left.extend(&round.left);
                    self.count(done, round);
                }
                Err(Error::DiskFull { path, source }) => {
                    let full = self.give_back(*pack, path, &source, done, cancel)?;
                    // The first one wants the least.
                    no_room = no_room.or(full);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = no_room {
            return Err(error);
        }
        // Leftovers wait for the next gc while somebody writes.
        let lock = place.lock();
        if let Some(_alone) = disk.try_lock(&lock, "").context("lock", &lock)? {
            roots::tidy(disk, place)?;
            leftovers::remove(disk, place, self.now_ms)?;
        }
        Ok(())
    }

    /// Makes do without a copy of a pack, for which there is no room at `path`. Gives an error if that
    /// frees nothing.
    fn give_back(
        &mut self,
        pack: PackId,
        path: PathBuf,
        source: &io::Error,
        done: &mut Done,
        cancel: &Cancel,
    ) -> Result<Option<Error>> {
        let manifests = &mut self.manifests;
        let given = Collector::new(self.store, self.now_ms).give_back(
            pack,
            &mut self.marks,
            &mut |marks| manifests.mark(marks, cancel),
            cancel,
        )?;
        let full = |needs: u64| {
            let reason = format!(
                "{source}; a copy of what is needed of {} takes {needs} bytes for a while",
                pack.file_name()
            );
            Error::DiskFull {
                path,
                source: io::Error::new(source.kind(), reason),
            }
        };
        match given {
            Given::Back { bytes } => {
                self.progress.add(1, bytes);
                done.freed_bytes += bytes;
                done.punched.push(pack);
                Ok(None)
            }
            Given::Nothing => {
                done.left.push(pack);
                Ok(None)
            }
            Given::TooSmall { needs } | Given::Unsupported { needs } => Ok(Some(full(needs))),
        }
    }

    fn count(&self, done: &mut Done, round: Round) {
        let freed = round.gone_bytes.saturating_sub(round.copied_bytes);
        self.progress.add(round.gone.len() as u64, freed);
        done.freed_bytes += freed;
        done.copied_bytes += round.copied_bytes;
        done.gone.extend(round.gone);
        done.problems.extend(round.problems);
    }

    fn collect(&mut self, packs: &[PackId], copy: Copy<'_>, cancel: &Cancel) -> Result<Round> {
        let manifests = &mut self.manifests;
        let collector = Collector::new(self.store, self.now_ms);
        collector.with_packs_of(self.pack_max).collect(
            packs,
            copy,
            &mut self.marks,
            &mut |marks| manifests.mark(marks, cancel),
            cancel,
        )
    }
}

/// Facts in the index: how long all packs were after the last gc, and how much of that was needed.
const BYTES_AFTER: &str = "gc_bytes";
const LIVE_AFTER: &str = "gc_live_bytes";
/// Less growth is never worth a gc, in bytes.
const GROWTH_MIN: u64 = 64 << 20;

/// Notes what a gc left, so that [`due`] knows what came after it. `live_bytes` of it are needed.
pub fn note(store: &Store<'_>, live_bytes: u64) -> Result<()> {
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let bytes = store.pack_bytes()?;
    let index = store.index();
    index.set_fact(BYTES_AFTER, number(bytes))?;
    index.set_fact(LIVE_AFTER, number(live_bytes))
}

/// True if a gc is worth its while: the packs have grown by more than 64 MiB, and by more than half
/// of what was needed after the last gc.
pub fn due(store: &Store<'_>) -> Result<bool> {
    let fact = |name| -> Result<u64> {
        let fact = store.index().fact(name)?;
        Ok(fact
            .and_then(|bytes| u64::try_from(bytes).ok())
            .unwrap_or(0))
    };
    let grown = store.pack_bytes()?.saturating_sub(fact(BYTES_AFTER)?);
    Ok(grown > GROWTH_MIN.max(fact(LIVE_AFTER)? / 2))
}

fn make_plan(
    store: &Store<'_>,
    marks: &Marks<'_>,
    max_unused: f64,
    cancel: &Cancel,
) -> Result<Plan> {
    let mut plan = Plan {
        live_objects: marks.objects(),
        problems: marks.problems(),
        ..Plan::default()
    };
    let mut rewrite = Vec::new();
    for pack in store.survey(marks, cancel)? {
        let dead = pack.taken.saturating_sub(pack.live_bytes);
        plan.live_bytes += pack.live_bytes;
        plan.dead_bytes += dead;
        if let Some(reason) = pack.unread {
            plan.problems.push(Problem {
                object: None,
                path: store.place().pack(pack.pack),
                reason,
            });
        }
        if pack.fixed {
            continue;
        }
        #[allow(clippy::cast_precision_loss, reason = "a share needs no 16 digits")]
        let unused = dead as f64 / pack.taken.max(1) as f64;
        if pack.live_bytes == 0 {
            plan.drop.push(pack.pack);
            plan.freed_bytes += dead;
        } else if unused > max_unused {
            rewrite.push((pack.live_bytes, pack.pack));
            plan.freed_bytes += dead;
            plan.working_bytes = plan.working_bytes.max(pack.live_bytes);
        }
    }
    rewrite.sort_unstable();
    plan.rewrite = rewrite.into_iter().map(|(_, pack)| pack).collect();
    Ok(plan)
}

/// How many bytes of the store are needed when some manifests are gone.
pub(super) fn live_bytes_without(
    store: &Store<'_>,
    gone: &[PathBuf],
    now_ms: i64,
    cancel: &Cancel,
) -> Result<u64> {
    let unseen = Progress::default();
    let mut manifests = Manifests {
        disk: store.disk(),
        place: store.place(),
        forgotten: Vec::new(),
        read: HashMap::new(),
        racy_from_ms: now_ms.saturating_sub(RACY_MS),
        progress: &unseen,
        gone: gone.iter().cloned().collect(),
    };
    let mut marks = Marks::new(store);
    manifests.mark(&mut marks, cancel)?;
    let packs = store.survey(&marks, cancel)?;
    Ok(packs.iter().map(|pack| pack.live_bytes).sum())
}

/// The manifests of all registered folders of runs.
struct Manifests<'s> {
    disk: &'s dyn Disk,
    place: &'s StoreDir,
    forgotten: Vec<PathBuf>,
    /// Those that were read, as they were before.
    read: HashMap<PathBuf, (u64, Stamp)>,
    racy_from_ms: i64,
    progress: &'s Progress,
    /// Those that are taken to be gone.
    gone: HashSet<PathBuf>,
}

impl Manifests<'_> {
    /// Marks what manifests need that are new, or changed since they were read last.
    fn mark(&mut self, marks: &mut Marks<'_>, cancel: &Cancel) -> Result<()> {
        let roots = roots::list(self.disk, self.place, &self.forgotten)?;
        if roots.is_empty() && self.forgotten.is_empty() && !self.place.packs(self.disk)?.is_empty()
        {
            return Err(Error::StoreRootsDamaged {
                path: self.place.roots(),
                reason: "no folder of runs is registered, though there are objects".to_owned(),
            });
        }
        for root in roots {
            let missing = |error: &io::Error| Error::StoreRootMissing {
                path: root.clone(),
                reason: error.to_string(),
            };
            for run in self.disk.list(&root).map_err(|error| missing(&error))? {
                if !run.name.to_string_lossy().starts_with(TRASH) {
                    self.mark_run(&root.join(&run.name), marks, cancel)?;
                }
            }
        }
        Ok(())
    }

    fn mark_run(&mut self, run: &Path, marks: &mut Marks<'_>, cancel: &Cancel) -> Result<()> {
        cancel.check()?;
        let checkpoints = run.join("checkpoints");
        match self.look(&checkpoints)? {
            Some(found) if found.kind == EntryKind::Directory => {}
            Some(found) if found.kind == EntryKind::Symlink => {
                return Err(Error::PathSymlink { path: checkpoints });
            }
            _ => return Ok(()),
        }
        let entries = match self.disk.list(&checkpoints) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("read", &checkpoints, error)),
        };
        for entry in entries {
            if Path::new(&entry.name).extension() == Some("json".as_ref()) {
                self.mark_file(checkpoints.join(&entry.name), marks, cancel)?;
            }
        }
        // What a restore replaced, until the run has gone on.
        let rescues = checkpoints.join(".waymark").join("rescues");
        let entries = match self.disk.list(&rescues) {
            Ok(entries) => entries,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(());
            }
            Err(error) => return Err(Error::io("read", &rescues, error)),
        };
        for entry in entries {
            self.mark_file(rescues.join(&entry.name), marks, cancel)?;
        }
        Ok(())
    }

    fn look(&self, path: &Path) -> Result<Option<Metadata>> {
        match self.disk.metadata(path) {
            Ok(found) => Ok(Some(found)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(Error::io("read", path, error)),
        }
    }

    /// Whatever can't be read stops the gc: nobody knows what it needs.
    fn mark_file(&mut self, path: PathBuf, marks: &mut Marks<'_>, cancel: &Cancel) -> Result<()> {
        if self.gone.contains(&path) {
            return Ok(());
        }
        let Some(found) = self
            .look(&path)?
            .filter(|found| found.kind == EntryKind::File)
        else {
            return Ok(());
        };
        let now = (found.len, found.stamp);
        let racy = found.stamp.changed_ns / 1_000_000 >= self.racy_from_ms;
        if !racy && self.read.get(&path) == Some(&now) {
            return Ok(());
        }
        // A name lies in one of two windows that overlap by its length with both quotes.
        let mut at = 0;
        while at < found.len {
            let len = (found.len - at).min(WINDOW);
            let size = usize::try_from(len).unwrap_or(usize::MAX);
            let bytes = match self.disk.read_at(&path, at, size) {
                Ok(bytes) => bytes,
                // It was pruned, or replaced, which is then seen before anything is removed.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
                    ) =>
                {
                    return Ok(());
                }
                Err(error) => return Err(Error::io("read", &path, error)),
            };
            for id in references(&bytes) {
                marks.add(id, cancel)?;
            }
            if len < WINDOW {
                break;
            }
            at += len - 66;
        }
        self.progress.add(1, found.len);
        self.read.insert(path, now);
        Ok(())
    }
}
