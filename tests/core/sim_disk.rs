//! A disk in memory that forgets, tears and refuses, always the same way for the same seed.
//!
//! It keeps two worlds: what a running system sees (volatile) and what has reached the medium
//! (durable). A file's content becomes durable by `finish`, a name by syncing its folder. Until then
//! power loss may keep or drop each change on its own:
//!
//! - an unsynced content comes back whole, empty, torn, or with a tail of zeros;
//! - name changes are kept or dropped independently, except that those of one name apply in order;
//! - a rename is one change; one between two folders is durable once the **target's** is synced;
//! - a name in a folder whose own name was lost is lost with it;
//! - each page that a file gave back may be a hole, or hold again what it held.
//!
//! A disk that keeps the order of names, as one with a journal does, loses the latest changes of names only, and makes all
//! earlier ones durable with each folder that is synced.
//!
//! Process death (`kill`) keeps all that was visible and frees the locks.
//!
//! *Limits*: `rename_new` is atomic here; the link-and-unlink fallback of the real disk is not
//! simulated. Taking a lock is not counted as a call that can fail.

mod folder;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use waymark::model::lease::{Process, System};
use waymark::store::disk::{Disk, Entry, EntryKind, LockGuard, Metadata, NewFile, Stamp};
use waymark::store::folder::Folder;

type Ino = u64;
const ROOT: Ino = 1;

/// Random numbers that are the same everywhere (`SplitMix64`).
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// A call that changes the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// `create`, `write_all`, `finish`, `rename`, `rename_new`, `link`, `remove_file`, `sync_dir`,
    /// `create_dir`, `truncate`, `overwrite`, `punch`.
    pub(crate) verb: &'static str,
    /// The path, or the first of two.
    pub(crate) path: PathBuf,
    /// The second path of a rename or a link.
    pub(crate) to: Option<PathBuf>,
    /// Whether it succeeded.
    pub(crate) ok: bool,
}

#[derive(Debug, Clone)]
enum Node {
    File {
        content: Vec<u8>,
        durable: Option<Vec<u8>>,
    },
    Directory {
        names: BTreeMap<OsString, Ino>,
        durable: BTreeMap<OsString, Ino>,
    },
    Symlink(PathBuf),
    Other,
}

/// One atomic change of names that is not durable yet.
#[derive(Debug, Clone)]
struct Change {
    /// The folder whose sync makes it durable.
    owner: Ino,
    names: Vec<(Ino, OsString, Option<Ino>)>,
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The call of this number fails, once.
    Once(u64, io::ErrorKind),
    /// The call of this number and all later ones fail.
    From(u64, io::ErrorKind),
}

type Alive = Arc<dyn Fn(u32) -> Option<bool> + Send + Sync>;
/// What another program does to the disk.
type Meddling = Arc<dyn Fn(&SimDisk) + Send + Sync>;

#[derive(Clone)]
struct State {
    nodes: HashMap<Ino, (Node, i64)>,
    /// Permission bits that were set.
    modes: HashMap<Ino, u32>,
    /// Times that were set, in nanoseconds.
    times: HashMap<Ino, i64>,
    /// Whether two names can be exchanged at once.
    exchanges: bool,
    /// When each file changed last, by a clock that never stands still.
    changed: HashMap<Ino, i64>,
    ticks: i64,
    next: Ino,
    pending: Vec<Change>,
    locks: HashSet<Ino>,
    /// How many share a lock.
    shares: HashMap<Ino, usize>,
    /// Locks of an earlier epoch were freed by `kill`.
    epoch: u64,
    faults: Vec<Fault>,
    calls: u64,
    lists: usize,
    trace: Vec<Call>,
    now_ms: i64,
    paused_ms: u64,
    vanish: Option<(u64, PathBuf)>,
    /// Pages that were given back by each file since it was synced.
    punched: HashMap<Ino, Vec<usize>>,
    can_punch: bool,
    keeps_order: bool,
    /// How many bytes all files together may take.
    capacity: u64,
    denied: Vec<(PathBuf, io::ErrorKind)>,
    unreadable: HashSet<PathBuf>,
    alive: Alive,
    system: System,
    meddling: Option<(u64, Meddling)>,
}

/// The simulated disk. A clone is another handle of the same disk; see [`SimDisk::fork`].
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

fn error(kind: io::ErrorKind) -> io::Error {
    kind.into()
}

impl State {
    fn names(&self, dir: Ino) -> io::Result<&BTreeMap<OsString, Ino>> {
        match &self.nodes[&dir].0 {
            Node::Directory { names, .. } => Ok(names),
            _ => Err(error(io::ErrorKind::NotADirectory)),
        }
    }

    /// Finds the folder of a path, following links on the way to it, and the last name.
    fn parent<'a>(&self, path: &'a Path) -> io::Result<(Ino, &'a OsStr)> {
        let name = path
            .file_name()
            .ok_or_else(|| error(io::ErrorKind::InvalidInput))?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        Ok((self.folder(folder, 0)?, name))
    }

    fn folder(&self, path: &Path, depth: usize) -> io::Result<Ino> {
        assert!(path.is_absolute(), "{} is not absolute", path.display());
        if depth > 8 {
            return Err(error(io::ErrorKind::InvalidInput));
        }
        let mut at = ROOT;
        for component in path.components() {
            let name = match component {
                Component::RootDir => continue,
                Component::Normal(name) => name,
                _ => panic!("{} is not plain", path.display()),
            };
            at = *self
                .names(at)?
                .get(name)
                .ok_or_else(|| error(io::ErrorKind::NotFound))?;
            if let Node::Symlink(target) = &self.nodes[&at].0 {
                at = self.folder(target, depth + 1)?;
            }
        }
        self.names(at).map(|_| at)
    }

    fn find(&self, path: &Path) -> io::Result<Ino> {
        if path == Path::new("/") {
            return Ok(ROOT);
        }
        let (dir, name) = self.parent(path)?;
        self.names(dir)?
            .get(name)
            .copied()
            .ok_or_else(|| error(io::ErrorKind::NotFound))
    }

    fn free_name<'a>(&self, path: &'a Path) -> io::Result<(Ino, &'a OsStr)> {
        let (dir, name) = self.parent(path)?;
        if self.names(dir)?.contains_key(name) {
            return Err(error(io::ErrorKind::AlreadyExists));
        }
        Ok((dir, name))
    }

    fn make(&mut self, node: Node) -> Ino {
        self.next += 1;
        self.nodes.insert(self.next, (node, self.now_ms));
        self.touch(self.next);
        self.next
    }

    fn touch(&mut self, ino: Ino) {
        self.ticks += 1;
        self.changed.insert(ino, self.ticks);
    }

    fn stamp(&self, ino: Ino) -> Stamp {
        let changed = self.changed.get(&ino).copied().unwrap_or(0);
        Stamp {
            inode: ino,
            modified_ns: changed,
            changed_ns: changed,
        }
    }

    /// Applies one change to what is visible, and remembers that it is not durable.
    fn change(&mut self, owner: Ino, names: Vec<(Ino, OsString, Option<Ino>)>) {
        for (dir, name, ino) in &names {
            let Some((Node::Directory { names, .. }, _)) = self.nodes.get_mut(dir) else {
                unreachable!("found as a folder before")
            };
            match ino {
                Some(ino) => names.insert(name.clone(), *ino),
                None => names.remove(name),
            };
        }
        self.pending.push(Change { owner, names });
    }

    fn persist(&mut self, change: &Change) {
        for (dir, name, ino) in &change.names {
            let Some((Node::Directory { durable, .. }, _)) = self.nodes.get_mut(dir) else {
                unreachable!("found as a folder before")
            };
            match ino {
                Some(ino) => durable.insert(name.clone(), *ino),
                None => durable.remove(name),
            };
        }
    }

    /// Makes the changes for which `wanted` holds durable, with all earlier ones of their names.
    fn persist_where(&mut self, wanted: impl Fn(&Change) -> bool) {
        let mut needed: HashSet<(Ino, OsString)> = HashSet::new();
        let mut keep = vec![false; self.pending.len()];
        for (at, change) in self.pending.iter().enumerate().rev() {
            let key = |(dir, name, _): &(Ino, OsString, Option<Ino>)| (*dir, name.clone());
            if wanted(change) || change.names.iter().any(|name| needed.contains(&key(name))) {
                keep[at] = true;
                needed.extend(change.names.iter().map(key));
            }
        }
        for (change, keep) in std::mem::take(&mut self.pending).into_iter().zip(keep) {
            if keep {
                self.persist(&change);
            } else {
                self.pending.push(change);
            }
        }
    }

    /// The file of a lock, made if it is missing.
    fn lock_file(&mut self, path: &Path) -> io::Result<Ino> {
        match self.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (dir, name) = self.parent(path)?;
                let ino = self.make(Node::File {
                    content: Vec::new(),
                    durable: None,
                });
                self.change(dir, vec![(dir, name.to_owned(), Some(ino))]);
                Ok(ino)
            }
            found => found,
        }
    }

    /// Counts a call, and decides whether it fails.
    fn enter(&mut self, verb: &'static str, path: &Path, to: Option<&Path>) -> io::Result<()> {
        self.calls += 1;
        let calls = self.calls;
        let denied = self
            .denied
            .iter()
            .find(|(below, _)| {
                path.starts_with(below) || to.is_some_and(|to| to.starts_with(below))
            })
            .map(|(_, kind)| *kind);
        let fault = self.faults.iter().find_map(|fault| match *fault {
            Fault::Once(at, kind) if at == calls => Some(kind),
            Fault::From(at, kind) if calls >= at => Some(kind),
            _ => None,
        });
        self.trace.push(Call {
            verb,
            path: path.to_path_buf(),
            to: to.map(Path::to_path_buf),
            ok: true,
        });
        denied.or(fault).map_or(Ok(()), |kind| Err(error(kind)))
    }

    /// How many bytes all files that have a name take.
    fn used(&self) -> u64 {
        let folders = self.nodes.values().filter_map(|(node, _)| match node {
            Node::Directory { names, .. } => Some(names.values()),
            _ => None,
        });
        let files: HashSet<&Ino> = folders.flatten().collect();
        files
            .into_iter()
            .map(|ino| match &self.nodes[ino].0 {
                Node::File { content, .. } => taken(content),
                _ => 0,
            })
            .sum()
    }

    /// Fails if the files would take more than there is.
    fn room_for(&self, more: usize) -> io::Result<()> {
        if self.capacity < u64::MAX && self.used() + more as u64 > self.capacity {
            return Err(error(io::ErrorKind::StorageFull));
        }
        Ok(())
    }

    fn outcome<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.trace.last_mut().unwrap().ok = false;
        }
        result
    }
}

impl SimDisk {
    /// A disk with nothing but its root.
    pub(crate) fn new() -> Self {
        let root = Node::Directory {
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
        };
        Self(Arc::new(Mutex::new(State {
            nodes: HashMap::from([(ROOT, (root, 0))]),
            modes: HashMap::new(),
            times: HashMap::new(),
            exchanges: true,
            changed: HashMap::new(),
            ticks: 0,
            next: ROOT,
            pending: Vec::new(),
            locks: HashSet::new(),
            shares: HashMap::new(),
            epoch: 0,
            faults: Vec::new(),
            calls: 0,
            lists: 0,
            trace: Vec::new(),
            now_ms: 0,
            paused_ms: 0,
            vanish: None,
            punched: HashMap::new(),
            can_punch: true,
            keeps_order: false,
            capacity: u64::MAX,
            denied: Vec::new(),
            unreadable: HashSet::new(),
            alive: Arc::new(|_| Some(true)),
            system: System {
                pid: std::process::id(),
                ..System::default()
            },
            meddling: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// An independent copy of the disk, without its faults, counters and locks.
    pub(crate) fn fork(&self) -> Self {
        let mut state = self.state().clone();
        state.locks.clear();
        state.shares.clear();
        state.faults.clear();
        state.trace.clear();
        state.calls = 0;
        state.paused_ms = 0;
        Self(Arc::new(Mutex::new(state)))
    }

    /// The process dies: what is visible stays, its locks are free, this process id is dead.
    pub(crate) fn kill(&self) {
        let mut state = self.state();
        state.locks.clear();
        state.shares.clear();
        state.epoch += 1;
        state.faults.clear();
        let own = std::process::id();
        let before = Arc::clone(&state.alive);
        state.alive = Arc::new(move |pid| if pid == own { Some(false) } else { before(pid) });
    }

    /// The machine dies: gives the disk as it is found afterwards.
    pub(crate) fn power_loss(&self, seed: u64) -> Self {
        let lost = self.fork();
        lost.kill();
        {
            let mut guard = lost.state();
            let state = &mut *guard;
            let mut rng = Rng::new(seed);
            // Some losses keep nearly all, some nearly nothing.
            let chance = [8, 50, 92][rng.below(3)];
            let mut dropped: HashSet<(Ino, OsString)> = HashSet::new();
            let pending = std::mem::take(&mut state.pending);
            let until = rng.below(pending.len() + 1);
            for (at, change) in pending.into_iter().enumerate() {
                if state.keeps_order {
                    if at < until {
                        state.persist(&change);
                    }
                    continue;
                }
                let key = |(dir, name, _): &(Ino, OsString, Option<Ino>)| (*dir, name.clone());
                let blocked = change.names.iter().any(|name| dropped.contains(&key(name)));
                if !blocked && rng.percent(chance) {
                    state.persist(&change);
                } else {
                    dropped.extend(change.names.iter().map(key));
                }
            }
            let mut order: Vec<Ino> = state.nodes.keys().copied().collect();
            order.sort_unstable();
            for ino in order {
                match &mut state.nodes.get_mut(&ino).unwrap().0 {
                    Node::Directory { names, durable } => *names = durable.clone(),
                    Node::File { content, durable } => {
                        if durable.as_ref() != Some(content) {
                            let pages = state.punched.remove(&ino).unwrap_or_default();
                            let mut old = durable.clone();
                            if let Some(old) = &mut old {
                                for page in &pages {
                                    fill(old, *page, None);
                                }
                            }
                            *content = torn(content, old.as_deref(), &mut rng);
                            for page in pages {
                                if rng.percent(50) {
                                    fill(content, page, durable.as_deref());
                                }
                            }
                        }
                        *durable = Some(content.clone());
                    }
                    Node::Symlink(_) | Node::Other => {}
                }
            }
            state.punched.clear();
        }
        lost
    }

    /// Everything reaches the medium.
    pub(crate) fn settle(&self) {
        let mut state = self.state();
        state.persist_where(|_| true);
        state.punched.clear();
        for (node, _) in state.nodes.values_mut() {
            if let Node::File { content, durable } = node {
                *durable = Some(content.clone());
            }
        }
    }

    /// The `n`-th changing call from now fails, once; 1 is the next one.
    pub(crate) fn fail_at(&self, n: u64, kind: io::ErrorKind) {
        let mut state = self.state();
        let at = state.calls + n;
        state.faults.push(Fault::Once(at, kind));
    }

    /// The process dies at the `n`-th changing call from now: it and all later ones fail.
    pub(crate) fn crash_at(&self, n: u64) {
        self.fail_from(n, io::ErrorKind::Other);
    }

    /// The `n`-th changing call from now and all later ones fail, until [`SimDisk::heal`].
    pub(crate) fn fail_from(&self, n: u64, kind: io::ErrorKind) {
        let mut state = self.state();
        let at = state.calls + n;
        state.faults.push(Fault::From(at, kind));
    }

    /// Another program does something right before the `n`-th changing call from now; 1 is the next.
    pub(crate) fn meddle_at(&self, n: u64, act: impl Fn(&SimDisk) + Send + Sync + 'static) {
        let mut state = self.state();
        let at = state.calls + n;
        state.meddling = Some((at, Arc::new(act)));
    }

    /// Nothing fails any more.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.denied.clear();
    }

    /// Every changing call on a path below this one fails from now on.
    pub(crate) fn deny(&self, below: &Path, kind: io::ErrorKind) {
        self.state().denied.push((below.to_path_buf(), kind));
    }

    /// How many bytes all files take.
    pub(crate) fn used(&self) -> u64 {
        self.state().used()
    }

    /// All files together may take so many bytes from now on; `None` is as many as they like.
    pub(crate) fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes.unwrap_or(u64::MAX);
    }

    /// Nothing can be punched from now on, as on some file systems.
    pub(crate) fn refuse_punching(&self) {
        self.state().can_punch = false;
    }

    /// Names reach the medium in the order in which they change from now on.
    pub(crate) fn keep_order(&self) {
        self.state().keeps_order = true;
    }

    /// This file can't be read from now on.
    pub(crate) fn make_unreadable(&self, path: &Path) {
        self.state().unreadable.insert(path.to_path_buf());
    }

    /// How many changing calls there were.
    pub(crate) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// The changing calls so far, in order.
    pub(crate) fn trace(&self) -> Vec<Call> {
        self.state().trace.clone()
    }

    /// Sets the clock that stamps files.
    pub(crate) fn set_now(&self, now_ms: i64) {
        self.state().now_ms = now_ms;
    }

    /// How long was waited in all.
    pub(crate) fn paused_ms(&self) -> u64 {
        self.state().paused_ms
    }

    /// Removes a file once so much was waited in all, as its owner would.
    pub(crate) fn vanish_after(&self, ms: u64, path: &Path) {
        self.state().vanish = Some((ms, path.to_path_buf()));
    }

    /// Decides what the machine says of itself and of this process.
    pub(crate) fn set_system(&self, system: System) {
        self.state().system = system;
    }

    /// Decides which processes are alive.
    pub(crate) fn set_alive(&self, alive: impl Fn(u32) -> Option<bool> + Send + Sync + 'static) {
        self.state().alive = Arc::new(alive);
    }

    fn plant(&self, path: &Path, node: Node) {
        let mut state = self.state();
        let (dir, name) = state.parent(path).unwrap();
        let ino = state.make(node);
        state.change(dir, vec![(dir, name.to_owned(), Some(ino))]);
        state.persist_where(|change| change.owner == dir);
    }

    /// Puts a durable file there, in the place of what was there.
    pub(crate) fn plant_file(&self, path: &Path, content: &[u8]) {
        let node = Node::File {
            content: content.to_vec(),
            durable: Some(content.to_vec()),
        };
        self.plant(path, node);
    }

    /// Writes into the file that is there, as a program that has it open would.
    pub(crate) fn write_into(&self, path: &Path, content: &[u8]) {
        let mut state = self.state();
        let ino = state.find(path).unwrap();
        state.touch(ino);
        if let Some((
            Node::File {
                content: old,
                durable,
            },
            _,
        )) = state.nodes.get_mut(&ino)
        {
            *old = content.to_vec();
            *durable = Some(content.to_vec());
        }
    }

    /// Puts an empty, durable folder there.
    pub(crate) fn plant_dir(&self, path: &Path) {
        let node = Node::Directory {
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
        };
        self.plant(path, node);
    }

    /// Puts a symbolic link there.
    pub(crate) fn plant_symlink(&self, path: &Path, target: &Path) {
        self.plant(path, Node::Symlink(target.to_path_buf()));
    }

    /// Puts a pipe there.
    pub(crate) fn plant_other(&self, path: &Path) {
        self.plant(path, Node::Other);
    }

    /// Removes whatever is there, durably, as a tool other than ours would.
    pub(crate) fn remove(&self, path: &Path) {
        let mut state = self.state();
        let (dir, name) = state.parent(path).unwrap();
        state.change(dir, vec![(dir, name.to_owned(), None)]);
        state.persist_where(|change| change.owner == dir);
    }

    /// The content of a file.
    pub(crate) fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        match &state.nodes[&state.find(path).ok()?].0 {
            Node::File { content, .. } => Some(content.clone()),
            _ => None,
        }
    }
}

const PAGE: usize = 4096;

/// Puts what another content has into a page; without one zeros.
fn fill(content: &mut [u8], page: usize, from: Option<&[u8]>) {
    let end = content.len().min((page + 1) * PAGE);
    for (at, byte) in content.iter_mut().enumerate().take(end).skip(page * PAGE) {
        *byte = from.and_then(|from| from.get(at)).copied().unwrap_or(0);
    }
}

/// How many bytes of a content take space: whole pages of zeros don't.
fn taken(content: &[u8]) -> u64 {
    let holes = content
        .chunks_exact(PAGE)
        .filter(|page| page.iter().all(|byte| *byte == 0));
    (content.len() - holes.count() * PAGE) as u64
}

/// What power loss leaves of a content that was not synced.
fn torn(content: &[u8], durable: Option<&[u8]>, rng: &mut Rng) -> Vec<u8> {
    // What was synced stays where more was only written behind it, or some cut off its end.
    let same = durable.filter(|old| content.starts_with(old) || old.starts_with(content));
    let floor = same.map_or(0, |old| old.len().min(content.len()));
    let cut = floor + rng.below(content.len() - floor + 1);
    match rng.below(4) {
        0 => durable.unwrap_or_default().to_vec(),
        1 => content[..cut].to_vec(),
        2 => {
            let mut bytes = content.to_vec();
            bytes[cut..].fill(0);
            bytes
        }
        _ => content.to_vec(),
    }
}

struct SimFile {
    state: Arc<Mutex<State>>,
    ino: Ino,
    path: PathBuf,
}

impl NewFile for SimFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let result = state.enter("write_all", &self.path, None);
        let result = result.and_then(|()| state.room_for(bytes.len()));
        // A write that fails may have written something.
        let written = if result.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        let now_ms = state.now_ms;
        state.touch(self.ino);
        let (node, modified_ms) = state.nodes.get_mut(&self.ino).unwrap();
        *modified_ms = now_ms;
        if let Node::File { content, .. } = node {
            content.extend_from_slice(&bytes[..written]);
        }
        state.outcome(result)
    }

    fn set(&mut self, mode: Option<u32>, modified_ns: Option<i64>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let result = state.enter("set", &self.path, None);
        if result.is_ok() {
            state.modes.extend(mode.map(|mode| (self.ino, mode)));
            state.times.extend(modified_ns.map(|ns| (self.ino, ns)));
        }
        state.outcome(result)
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let result = state.enter("finish", &self.path, None);
        if result.is_ok() {
            state.punched.remove(&self.ino);
        }
        if result.is_ok()
            && let (Node::File { content, durable }, _) = state.nodes.get_mut(&self.ino).unwrap()
        {
            *durable = Some(content.clone());
        }
        state.outcome(result)
    }
}

struct SimLock {
    state: Arc<Mutex<State>>,
    ino: Ino,
    epoch: u64,
    shared: bool,
}

impl std::fmt::Debug for SimLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimLock({})", self.ino)
    }
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap();
        if state.epoch != self.epoch {
            return;
        }
        if !self.shared {
            state.locks.remove(&self.ino);
        } else if let Some(shares) = state.shares.get_mut(&self.ino) {
            *shares -= 1;
            if *shares == 0 {
                state.shares.remove(&self.ino);
            }
        }
    }
}

impl SimDisk {
    /// Lets another program have its turn, if it is due at the next changing call.
    fn meddle(&self) {
        let mut state = self.state();
        let next = state.calls + 1;
        if let Some((_, act)) = state.meddling.take_if(|(at, _)| *at <= next) {
            drop(state);
            act(self);
        }
    }

    /// Counts a call, then makes it unless it is to fail.
    fn call<T>(
        &self,
        verb: &'static str,
        path: &Path,
        to: Option<&Path>,
        make: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.meddle();
        let mut state = self.state();
        let result = state.enter(verb, path, to).and_then(|()| make(&mut state));
        state.outcome(result)
    }
}

fn renamed(state: &mut State, from: &Path, to: &Path) -> io::Result<()> {
    let ino = state.find(from)?;
    let (from_dir, from_name) = state.parent(from)?;
    let (to_dir, to_name) = state.parent(to)?;
    if let Some(there) = state.names(to_dir)?.get(to_name).copied() {
        if there == ino {
            // POSIX: two names of one file, nothing happens.
            return Ok(());
        }
        if matches!(state.nodes[&there].0, Node::Directory { .. }) {
            return Err(error(io::ErrorKind::IsADirectory));
        }
    }
    let names = vec![
        (from_dir, from_name.to_owned(), None),
        (to_dir, to_name.to_owned(), Some(ino)),
    ];
    state.change(to_dir, names);
    Ok(())
}

impl Disk for SimDisk {
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let state = self.state();
        let ino = state.find(path)?;
        let (node, modified_ms) = &state.nodes[&ino];
        let (kind, len) = match node {
            Node::File { content, .. } => (EntryKind::File, content.len() as u64),
            Node::Directory { .. } => (EntryKind::Directory, 0),
            Node::Symlink(_) => (EntryKind::Symlink, 0),
            Node::Other => (EntryKind::Other, 0),
        };
        Ok(Metadata {
            kind,
            len,
            modified_ms: *modified_ms,
            stamp: state.stamp(ino),
        })
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let state = self.state();
        if state.unreadable.contains(path) {
            return Err(error(io::ErrorKind::PermissionDenied));
        }
        match &state.nodes[&state.find(path)?].0 {
            Node::File { content, .. } if content.len() as u64 > limit => {
                Err(error(io::ErrorKind::FileTooLarge))
            }
            Node::File { content, .. } => Ok(content.clone()),
            _ => Err(error(io::ErrorKind::InvalidInput)),
        }
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let bytes = self.read(path, u64::MAX)?;
        let from = usize::try_from(offset).unwrap();
        let part = bytes.get(from..).and_then(|rest| rest.get(..len));
        part.map(<[u8]>::to_vec)
            .ok_or_else(|| error(io::ErrorKind::UnexpectedEof))
    }

    fn append(&self, path: &Path) -> io::Result<(Box<dyn NewFile>, u64)> {
        let state = self.state();
        let ino = state.find(path)?;
        let Node::File { content, .. } = &state.nodes[&ino].0 else {
            return Err(error(io::ErrorKind::InvalidInput));
        };
        let len = content.len() as u64;
        let file = SimFile {
            state: Arc::clone(&self.0),
            ino,
            path: path.to_path_buf(),
        };
        Ok((Box::new(file), len))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut state = self.state();
        let result = state.enter("truncate", path, None).and_then(|()| {
            let ino = state.find(path)?;
            state.touch(ino);
            match &mut state.nodes.get_mut(&ino).unwrap().0 {
                Node::File { content, .. } => {
                    content.truncate(usize::try_from(len).unwrap());
                    Ok(())
                }
                _ => Err(error(io::ErrorKind::InvalidInput)),
            }
        });
        state.outcome(result)
    }

    fn punch(&self, path: &Path, offset: u64, len: u64) -> io::Result<()> {
        self.call("punch", path, None, |state| {
            if !state.can_punch {
                return Err(error(io::ErrorKind::Unsupported));
            }
            let ino = state.find(path)?;
            state.touch(ino);
            let (from, len) = (
                usize::try_from(offset).unwrap(),
                usize::try_from(len).unwrap(),
            );
            assert_eq!(
                (from % PAGE, len % PAGE),
                (0, 0),
                "only whole pages are punched"
            );
            let (Node::File { content, .. }, _) = state.nodes.get_mut(&ino).unwrap() else {
                return Err(error(io::ErrorKind::InvalidInput));
            };
            assert!(from + len <= content.len(), "punched behind the end");
            let pages = from / PAGE..(from + len) / PAGE;
            for page in pages.clone() {
                fill(content, page, None);
            }
            state.punched.entry(ino).or_default().extend(pages);
            Ok(())
        })
    }

    fn taken(&self, path: &Path) -> io::Result<u64> {
        Ok(taken(&self.read(path, u64::MAX)?))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let mut state = self.state();
        state.lists += 1;
        let turn = state.lists;
        let dir = state.folder(path, 0)?;
        let mut entries: Vec<Entry> = state
            .names(dir)?
            .iter()
            .map(|(name, ino)| Entry {
                name: name.clone(),
                kind: match &state.nodes[ino].0 {
                    Node::File { .. } => EntryKind::File,
                    Node::Directory { .. } => EntryKind::Directory,
                    Node::Symlink(_) => EntryKind::Symlink,
                    Node::Other => EntryKind::Other,
                },
            })
            .collect();
        // In no particular order.
        if !entries.is_empty() {
            let by = turn % entries.len();
            entries.rotate_left(by);
        }
        Ok(entries)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call("create_dir", path, None, |state| {
            let (dir, name) = state.free_name(path)?;
            let ino = state.make(Node::Directory {
                names: BTreeMap::new(),
                durable: BTreeMap::new(),
            });
            state.change(dir, vec![(dir, name.to_owned(), Some(ino))]);
            Ok(())
        })
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let ino = self.call("create", path, None, |state| {
            let (dir, name) = state.free_name(path)?;
            let ino = state.make(Node::File {
                content: Vec::new(),
                durable: None,
            });
            state.change(dir, vec![(dir, name.to_owned(), Some(ino))]);
            Ok(ino)
        })?;
        Ok(Box::new(SimFile {
            state: Arc::clone(&self.0),
            ino,
            path: path.to_path_buf(),
        }))
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.call("overwrite", path, None, |state| {
            let found = state.find(path).ok();
            let ino = if let Some(ino) = found {
                ino
            } else {
                let (dir, name) = state.free_name(path)?;
                let ino = state.make(Node::File {
                    content: Vec::new(),
                    durable: None,
                });
                state.change(dir, vec![(dir, name.to_owned(), Some(ino))]);
                ino
            };
            state.touch(ino);
            let before = match &state.nodes[&ino].0 {
                Node::File { content, .. } => content.len(),
                _ => 0,
            };
            let room = state.room_for(bytes.len().saturating_sub(before));
            // One that fails may have written something.
            let written = if room.is_ok() {
                bytes.len()
            } else {
                bytes.len() / 2
            };
            if let Some((Node::File { content, .. }, _)) = state.nodes.get_mut(&ino) {
                *content = bytes[..written].to_vec();
            }
            room
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("rename", from, Some(to), |state| renamed(state, from, to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("rename_new", from, Some(to), |state| {
            state.find(from)?;
            state.free_name(to)?;
            renamed(state, from, to)
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call("link", from, Some(to), |state| {
            let ino = state.find(from)?;
            if matches!(state.nodes[&ino].0, Node::Directory { .. }) {
                return Err(error(io::ErrorKind::PermissionDenied));
            }
            let (dir, name) = state.free_name(to)?;
            state.change(dir, vec![(dir, name.to_owned(), Some(ino))]);
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call("remove_file", path, None, |state| {
            let ino = state.find(path)?;
            if matches!(state.nodes[&ino].0, Node::Directory { .. }) {
                return Err(error(io::ErrorKind::IsADirectory));
            }
            let (dir, name) = state.parent(path)?;
            state.change(dir, vec![(dir, name.to_owned(), None)]);
            Ok(())
        })
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call("sync_dir", path, None, |state| {
            let dir = state.folder(path, 0)?;
            let all = state.keeps_order;
            state.persist_where(|change| all || change.owner == dir);
            Ok(())
        })
    }

    fn keeps_order(&self, _: &Path) -> bool {
        self.state().keeps_order
    }

    fn try_lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn LockGuard>>> {
        let mut state = self.state();
        let ino = state.lock_file(path)?;
        if state.shares.contains_key(&ino) || !state.locks.insert(ino) {
            return Ok(None);
        }
        if let Some((Node::File { content, .. }, _)) = state.nodes.get_mut(&ino) {
            *content = holder.as_bytes().to_vec();
        }
        Ok(Some(Box::new(SimLock {
            state: Arc::clone(&self.0),
            ino,
            epoch: state.epoch,
            shared: false,
        })))
    }

    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        let mut state = self.state();
        let ino = state.lock_file(path)?;
        if state.locks.contains(&ino) {
            return Ok(None);
        }
        *state.shares.entry(ino).or_default() += 1;
        Ok(Some(Box::new(SimLock {
            state: Arc::clone(&self.0),
            ino,
            epoch: state.epoch,
            shared: true,
        })))
    }

    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn Folder>> {
        folder::open(self, path)
    }

    fn writable(&self, path: &Path) -> bool {
        !self.state().denied.iter().any(|(below, kind)| {
            path.starts_with(below) && *kind == io::ErrorKind::ReadOnlyFilesystem
        })
    }

    fn is_real(&self) -> bool {
        false
    }

    fn process_alive(&self, pid: u32) -> Option<bool> {
        let alive = Arc::clone(&self.state().alive);
        alive(pid)
    }

    fn process(&self, pid: u32) -> Process {
        let started = self.state().system.started;
        let alive = self.process_alive(pid);
        Process { alive, started }
    }

    fn system(&self) -> System {
        self.state().system.clone()
    }

    fn pause(&self, ms: u64) {
        let mut state = self.state();
        state.paused_ms += ms;
        if let Some((after, path)) = state.vanish.clone()
            && state.paused_ms >= after
        {
            state.vanish = None;
            drop(state);
            self.remove(&path);
        }
    }
}
