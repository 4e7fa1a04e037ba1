//! Random histories of a store against a plain map.
//!
//! After every step: all that was synced is there, nothing is wrong. Packs are watched on the way:
//! what was synced is never cut, written over or removed.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use waymark::model::snapshot::{ChunkList, Piece};
use waymark::store::disk::{Disk, Entry, LockGuard, Metadata, NewFile};
use waymark::store::folder::Folder;
use waymark::store::objects::{Content, Sink, Store};
use waymark::store::place::StoreDir;
use waymark::store::real_disk::RealDisk;

use crate::sim_disk::{Rng, SimDisk};
use crate::store_world::{Batch, Kept, begin, noise, project, text};

/// How many bytes of each pack are durable, and whether its name is.
#[derive(Debug, Default)]
struct Seen {
    synced: HashMap<PathBuf, u64>,
    len: HashMap<PathBuf, u64>,
    unnamed: Vec<PathBuf>,
}

/// A disk on which nobody harms what was synced.
struct Watched<'a> {
    disk: &'a SimDisk,
    seen: Arc<Mutex<Seen>>,
}

impl<'a> Watched<'a> {
    fn new(disk: &'a SimDisk) -> Self {
        let seen = Arc::default();
        Self { disk, seen }
    }

    fn synced(&self, path: &Path) -> u64 {
        let seen = self.seen.lock().unwrap();
        seen.synced.get(path).copied().unwrap_or(0)
    }

    /// All bytes and names of packs are durable.
    fn assert_durable(&self, when: &str) {
        let seen = self.seen.lock().unwrap();
        assert!(seen.unnamed.is_empty(), "{when}: {:?}", seen.unnamed);
        for (path, len) in &seen.len {
            let synced = seen.synced.get(path).copied().unwrap_or(0);
            assert_eq!(synced, *len, "{when}: {}", path.display());
        }
    }
}

fn is_pack(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "pack")
}

struct WatchedFile {
    file: Box<dyn NewFile>,
    path: PathBuf,
    seen: Arc<Mutex<Seen>>,
}

impl NewFile for WatchedFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        let mut seen = self.seen.lock().unwrap();
        *seen.len.entry(self.path.clone()).or_default() += bytes.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> io::Result<()> {
        self.file.finish()?;
        let mut seen = self.seen.lock().unwrap();
        let len = seen.len.get(&self.path).copied().unwrap_or(0);
        seen.synced.insert(self.path, len);
        Ok(())
    }
}

impl Disk for Watched<'_> {
    fn open_folder(&self, path: &Path) -> io::Result<Box<dyn Folder>> {
        self.disk.open_folder(path)
    }
    fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.disk.metadata(path)
    }
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.disk.read(path, limit)
    }
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.disk.read_at(path, offset, len)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let file = self.disk.create(path)?;
        if !is_pack(path) {
            return Ok(file);
        }
        let mut seen = self.seen.lock().unwrap();
        seen.unnamed.push(path.to_path_buf());
        seen.len.insert(path.to_path_buf(), 0);
        Ok(Box::new(WatchedFile {
            file,
            path: path.to_path_buf(),
            seen: Arc::clone(&self.seen),
        }))
    }
    fn append(&self, path: &Path) -> io::Result<(Box<dyn NewFile>, u64)> {
        let (file, len) = self.disk.append(path)?;
        self.seen
            .lock()
            .unwrap()
            .len
            .insert(path.to_path_buf(), len);
        let file = WatchedFile {
            file,
            path: path.to_path_buf(),
            seen: Arc::clone(&self.seen),
        };
        Ok((Box::new(file), len))
    }
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let synced = self.synced(path);
        assert!(len >= synced, "{} cut to {len} of {synced}", path.display());
        self.seen
            .lock()
            .unwrap()
            .len
            .insert(path.to_path_buf(), len);
        self.disk.truncate(path, len)
    }
    fn punch(&self, path: &Path, offset: u64, len: u64) -> io::Result<()> {
        self.disk.punch(path, offset, len)
    }
    fn taken(&self, path: &Path) -> io::Result<u64> {
        self.disk.taken(path)
    }
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        assert!(!is_pack(path), "{} is written over", path.display());
        self.disk.overwrite(path, bytes)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        assert!(!is_pack(from) && !is_pack(to), "{}", to.display());
        self.disk.rename(from, to)
    }
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename_new(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.link(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        assert_eq!(self.synced(path), 0, "{} was synced", path.display());
        let mut seen = self.seen.lock().unwrap();
        seen.len.remove(path);
        seen.unnamed.retain(|one| one != path);
        drop(seen);
        self.disk.remove_file(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)?;
        let mut seen = self.seen.lock().unwrap();
        seen.unnamed.retain(|one| one.parent() != Some(path));
        Ok(())
    }
    fn try_lock(&self, path: &Path, holder: &str) -> io::Result<Option<Box<dyn LockGuard>>> {
        self.disk.try_lock(path, holder)
    }
    fn try_lock_shared(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        self.disk.try_lock_shared(path)
    }
    fn is_real(&self) -> bool {
        false
    }
    fn process_alive(&self, pid: u32) -> Option<bool> {
        self.disk.process_alive(pid)
    }
    fn pause(&self, ms: u64) {
        self.disk.pause(ms);
    }
}

/// One writer does something: it syncs and tells, or syncs only, or stops.
fn one_writer(store: &Store<'_>, kept: &mut Kept, rng: &mut Rng, durable: &dyn Fn(&str)) {
    let writer = begin(store).unwrap();
    let mut batch = Batch::default();
    let count = 1 + rng.below(5);
    batch.put(&writer, kept, rng, count).unwrap();
    match rng.below(10) {
        0..=5 => {
            let stored = writer.sync().unwrap();
            durable("after sync");
            kept.synced(batch);
            stored.record().unwrap();
        }
        6..=7 => {
            drop(writer.sync().unwrap());
            durable("after sync");
            kept.synced(batch);
        }
        _ => {
            drop(writer);
            kept.lost(batch);
        }
    }
}

/// Two writers at once, in two slots; readers look while they are at work.
fn two_writers(stores: [&Store<'_>; 2], kept: &mut Kept, rng: &mut Rng, when: &str) {
    let writers = stores.map(|store| begin(store).unwrap());
    let mut batches = [Batch::default(), Batch::default()];
    for _ in 0..4 {
        let at = rng.below(2);
        let count = 1 + rng.below(3);
        batches[at].put(&writers[at], kept, rng, count).unwrap();
    }
    let mut untold = Vec::new();
    for (writer, batch) in writers.into_iter().zip(batches) {
        if rng.percent(75) {
            untold.push(writer.sync().unwrap());
            kept.synced(batch);
        } else {
            drop(writer);
            kept.lost(batch);
        }
        // A checkpoint may be visible before its writer told the index.
        kept.check(stores[rng.below(2)], &format!("{when}, unrecorded"));
    }
    if rng.percent(50) {
        untold.reverse();
    }
    for stored in untold {
        if rng.percent(80) {
            stored.record().unwrap();
        }
    }
}

#[test]
fn random_histories_keep_what_was_synced() {
    for seed in 0..60 {
        let (disk, place) = project();
        let watched = Watched::new(&disk);
        let mut rng = Rng::new(seed);
        let mut kept = Kept::default();
        for session in 0..4 {
            let one = Store::open_or_create(&watched, &place, 1).unwrap();
            let two = Store::open(&watched, &place, 1).unwrap().unwrap();
            for step in 0..4 {
                let when = format!("seed {seed}, session {session}, step {step}");
                if rng.percent(30) {
                    two_writers([&one, &two], &mut kept, &mut rng, &when);
                } else {
                    let store = [&one, &two][rng.below(2)];
                    one_writer(store, &mut kept, &mut rng, &|what| {
                        watched.assert_durable(&format!("{when}, {what}"));
                    });
                }
                kept.check(&one, &when);
            }
            kept.check(&two, &format!("seed {seed}, session {session}"));
            if rng.percent(30) {
                one.rebuild().unwrap();
                kept.check(&one, &format!("seed {seed}, session {session}, rebuilt"));
            }
        }
        kept.check_reopened(&disk, &place, &format!("seed {seed}"));
    }
}

/// On the real disk the index outlives its process: as it was, not at all, or as it was long ago.
#[test]
fn random_histories_on_the_real_disk_survive_their_index() {
    for seed in 0..12 {
        let home = tempfile::tempdir().unwrap();
        let place = StoreDir::new(home.path().join(".waymark"));
        let mut rng = Rng::new(seed);
        let mut kept = Kept::default();
        let mut copy: Option<Vec<u8>> = None;
        for session in 0..6 {
            let when = format!("seed {seed}, session {session}");
            {
                let one = Store::open_or_create(&RealDisk, &place, session).unwrap();
                kept.check(&one, &when);
                let two = Store::open(&RealDisk, &place, session).unwrap().unwrap();
                for _ in 0..2 {
                    one_writer(&one, &mut kept, &mut rng, &|_| {});
                }
                two_writers([&one, &two], &mut kept, &mut rng, &when);
                kept.check(&one, &when);
                kept.check(&two, &when);
            }
            let index = place.index();
            match rng.below(4) {
                0 => waymark::store::index::remove(&index).unwrap(),
                1 => copy = std::fs::read(&index).ok(),
                2 => {
                    if let Some(bytes) = &copy {
                        waymark::store::index::remove(&index).unwrap();
                        #[allow(clippy::disallowed_methods, reason = "an old copy, on purpose")]
                        std::fs::write(&index, bytes).unwrap();
                    }
                }
                _ => {}
            }
        }
        kept.check_reopened(&RealDisk, &place, &format!("seed {seed}"));
    }
}

/// A state that was put but never synced is no proof that its chunks are there.
#[test]
fn an_earlier_state_that_was_never_synced_is_stored_again() {
    for len in [500, 50_000] {
        let (disk, place) = project();
        let store = Store::open_or_create(&disk, &place, 1).unwrap();
        let state = text(1, len);
        let writer = begin(&store).unwrap();
        let earlier = writer.put_state(&state, None).unwrap();
        drop(writer);
        let writer = begin(&store).unwrap();
        let content = writer.put_state(&state, Some(&earlier)).unwrap();
        writer.sync().unwrap().record().unwrap();
        assert_eq!(store.content(&content, u64::MAX).unwrap(), state);
    }
}

/// What one lane took and dropped, another must not be told to be stored.
#[test]
fn a_lane_that_is_dropped_unfinished_fails_its_writer() {
    let (disk, place) = project();
    let store = Store::open_or_create(&disk, &place, 1).unwrap();
    let writer = begin(&store).unwrap();
    let mut lane = writer.lane();
    let id = lane.put(b"taken").unwrap();
    drop(lane);
    let mut lane = writer.lane();
    assert_eq!(lane.put(b"taken").unwrap(), id);
    lane.finish().unwrap();
    assert!(writer.sync().is_err(), "it would be told to be durable");
}

/// A checkpoint is visible before its rows are; whoever reads it then must not be told that its
/// objects are missing.
#[test]
fn what_was_synced_is_readable_while_its_writer_holds_its_slot() {
    let (disk, place) = project();
    let one = Store::open_or_create(&disk, &place, 1).unwrap();
    let writer = begin(&one).unwrap();
    let mut lane = writer.lane();
    let id = lane.put(&text(1, 5_000)).unwrap();
    lane.finish().unwrap();
    let stored = writer.sync().unwrap();
    let two = Store::open(&disk, &place, 1).unwrap().unwrap();
    assert_eq!(two.get(&id).unwrap(), text(1, 5_000));
    stored.record().unwrap();
}

/// Stored twice, once with many bases below it: readers of either place find their way.
#[test]
fn an_object_stored_twice_does_not_pile_up_bases() {
    let (disk, place) = project();
    let one = Store::open_or_create(&disk, &place, 1).unwrap();
    let two = Store::open(&disk, &place, 1).unwrap().unwrap();
    let grow = |state: &[u8], step: u64| [state, &noise(step, 20)].concat();
    // Two writers, the second of which holds back its rows; a chain of 30 below its last state.
    let mut state = noise(0, 2_500);
    let mut earlier = None;
    for step in 0..30 {
        state = grow(&state, step);
        let writer = begin(&two).unwrap();
        earlier = Some(writer.put_state(&state, earlier.as_ref()).unwrap());
        writer.sync().unwrap().record().unwrap();
    }
    let last = grow(&state, 30);
    let held = begin(&two).unwrap();
    held.put_state(&last, earlier.as_ref()).unwrap();
    // Meanwhile the first one stores the same state whole, and a chain of 30 on top of it.
    let mut kept = Kept::default();
    let (mut top, mut earlier) = (last.clone(), None);
    for step in 31..61 {
        let writer = begin(&one).unwrap();
        let content = writer.put_state(&top, earlier.as_ref()).unwrap();
        writer.sync().unwrap().record().unwrap();
        kept.states.push((content, top.clone()));
        (top, earlier) = (grow(&top, step), Some(content));
    }
    // It knows the chain on top by now, and learns of the other place next.
    let three = Store::open(&disk, &place, 1).unwrap().unwrap();
    for seed in 0..10 {
        // So that no block is at hand.
        let writer = begin(&one).unwrap();
        let mut lane = writer.lane();
        let id = lane.put(&noise(1_000 + seed, 99)).unwrap();
        lane.finish().unwrap();
        writer.sync().unwrap().record().unwrap();
        three.get(&id).unwrap();
    }
    held.sync().unwrap().record().unwrap();
    for store in [&one, &two, &three] {
        store.catch_up().unwrap();
    }
    kept.states.reverse();
    kept.check(&three, "third");
    kept.check(&one, "first");
    kept.check(&two, "second");
    kept.check_reopened(&disk, &place, "at the end");
}

/// Sync order by the trace of calls.
#[test]
fn packs_are_durable_before_sync_returns() {
    let (disk, place) = project();
    Store::open_or_create(&disk, &place, 1).unwrap();
    for (turn, len) in [(1, 400_000), (2, 10), (3, 900_000)] {
        let store = Store::open(&disk, &place, 1).unwrap().unwrap();
        let writer = begin(&store).unwrap();
        let before = disk.trace().len();
        let mut lane = writer.lane();
        lane.put(&noise(turn, len)).unwrap();
        lane.finish().unwrap();
        let stored = writer.sync().unwrap();
        let calls: Vec<_> = disk.trace().split_off(before);
        let last = |verb: &str| calls.iter().rposition(|call| call.verb == verb);
        let first = |verb: &str| calls.iter().position(|call| call.verb == verb);
        assert!(last("finish") > last("write_all"), "{calls:?}");
        assert!(last("write_all").is_some());
        if let Some(created) = first("create") {
            assert!(last("sync_dir") > Some(created), "{calls:?}");
        }
        assert_eq!(first("create").is_some(), turn == 1, "{calls:?}");
        for verb in ["truncate", "overwrite", "rename", "remove_file", "link"] {
            assert_eq!(first(verb), None, "{calls:?}");
        }
        // Recording and dropping write nothing more.
        let after = disk.trace().len();
        stored.record().unwrap();
        drop(store);
        assert_eq!(disk.trace().len(), after);
    }
}

/// A size is a claim: what is handed out, and what memory is asked for, follows what is there.
#[test]
fn a_content_of_another_size_is_refused_before_it_is_read() {
    let (disk, place) = project();
    let store = Store::open_or_create(&disk, &place, 1).unwrap();
    let hole = Piece {
        len: 1 << 40,
        chunk: None,
    };
    let list = ChunkList { pieces: vec![hole] }.encode();
    let writer = begin(&store).unwrap();
    let mut lane = writer.lane();
    let (object, small) = (lane.put(&list).unwrap(), lane.put(b"small").unwrap());
    lane.finish().unwrap();
    writer.sync().unwrap().record().unwrap();
    for (object, is_list, size) in [(object, true, 10), (small, false, u64::MAX)] {
        let hash = None;
        let content = Content {
            object,
            is_list,
            size,
            hash,
        };
        let refused = store.content(&content, u64::MAX).unwrap_err();
        assert_eq!(refused.code(), "ERR_OBJECT_DAMAGED");
        let read = store.read_content(&content, &mut |_| panic!("nothing is handed out"));
        assert_eq!(read.unwrap_err().code(), "ERR_OBJECT_DAMAGED");
    }
}

#[test]
fn a_store_that_can_not_be_written_is_read_all_the_same() {
    use waymark::model::cancel::Cancel;
    use waymark::model::progress::Progress;
    use waymark::ops::gc::{Request, gc};
    use waymark::store::objects::check;

    for seed in 0..12 {
        let (disk, place) = project();
        let mut rng = Rng::new(seed);
        let mut kept = Kept::default();
        crate::store_world::work(&disk, &place, &mut kept, &mut rng, 3).unwrap();
        // Another process writes on, elsewhere it is mounted writable.
        let reader = disk.clone();
        reader.deny(place.path(), io::ErrorKind::ReadOnlyFilesystem);
        let calls = reader.calls();
        let store = Store::open(&reader, &place, 1).unwrap().unwrap();
        assert!(store.is_read_only());
        let when = format!("seed {seed}");
        kept.check(&store, &when);
        let structure = check::structure(&store, &Cancel::default(), &Progress::default()).unwrap();
        assert!(
            structure.faults.is_empty(),
            "{when}: {:?}",
            structure.faults
        );

        reader.heal();
        crate::store_world::work(&disk, &place, &mut kept, &mut rng, 2).unwrap();
        reader.deny(place.path(), io::ErrorKind::ReadOnlyFilesystem);
        let calls = calls.max(reader.calls());
        kept.check(&store, &format!("{when}, grown"));

        let refused = crate::world::code::<()>;
        let code = |done| refused(done);
        assert_eq!(
            code(Store::open_or_create(&reader, &place, 1).map(|_| ())),
            "ERR_STORE_READ_ONLY"
        );
        assert_eq!(
            code(check::heal(&store, &[], 1, &Cancel::default())),
            "ERR_STORE_READ_ONLY"
        );
        let (request, cancel) = (Request::default(), Cancel::default());
        let done = gc(&reader, &place, &request, 1, &cancel, &Progress::default());
        assert_eq!(code(done.map(|_| ())), "ERR_STORE_READ_ONLY");
        assert_eq!(reader.calls(), calls, "{when}: something was tried");
    }
}
