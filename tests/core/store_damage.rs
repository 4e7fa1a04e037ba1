//! Every byte of a small store, changed in several ways: right bytes or a clear error.

use std::collections::{HashMap, HashSet};

use waymark::model::object::ObjectId;
use waymark::store::objects::pack::Head;
use waymark::store::objects::{Content, Sink, Store};
use waymark::store::place::{PackId, StoreDir};
use waymark::store::real_disk::RealDisk;

use crate::sim_disk::SimDisk;
use crate::store_world::{assert_clear, begin, noise, project, text};

/// A block of the pack that gets damaged.
struct Block {
    from: usize,
    to: usize,
    base: Option<ObjectId>,
    objects: Vec<ObjectId>,
}

struct Small {
    disk: SimDisk,
    place: StoreDir,
    all: HashMap<ObjectId, Vec<u8>>,
    /// In another pack, to be read in between.
    others: Vec<ObjectId>,
    state: (Content, Vec<u8>),
    bytes: Vec<u8>,
    blocks: Vec<Block>,
}

const DAMAGED: PackId = PackId { slot: 1, number: 1 };

/// All kinds of blocks: stored, zstd with several objects, delta on delta, list.
fn small() -> Small {
    let (disk, place) = project();
    let store = Store::open_or_create(&disk, &place, 1).unwrap();
    let mut others = Vec::new();
    let holder = begin(&store).unwrap();
    for seed in 0..12 {
        let mut lane = holder.lane();
        others.push(lane.put(&noise(500 + seed, 30)).unwrap());
        lane.finish().unwrap();
    }
    let writer = begin(&store).unwrap();
    let mut lane = writer.lane();
    for bytes in [&noise(1, 120)[..], b""] {
        lane.put(bytes).unwrap();
    }
    lane.finish().unwrap();
    let mut lane = writer.lane();
    for seed in 2..5 {
        lane.put(&text(seed, 160)).unwrap();
    }
    lane.finish().unwrap();
    // Two chunks: one of the largest size, and the rest.
    let mut state = vec![b'a'; 64 << 10];
    state.extend_from_slice(&noise(5, 200));
    let mut content = writer.put_state(&state, None).unwrap();
    assert!(content.is_list);
    writer.sync().unwrap().record().unwrap();
    for step in 0..2 {
        state.extend_from_slice(&noise(6 + step, 60));
        let writer = begin(&store).unwrap();
        content = writer.put_state(&state, Some(&content)).unwrap();
        writer.sync().unwrap().record().unwrap();
    }
    holder.sync().unwrap().record().unwrap();
    let bytes = disk.content(&place.pack(DAMAGED)).unwrap();
    let mut blocks = Vec::new();
    let mut at = 16;
    while at < bytes.len() {
        let head = Head::read(&bytes[at..]).unwrap();
        let to = at + head.block_len();
        blocks.push(Block {
            from: at,
            to,
            base: head.base,
            objects: head.objects.iter().map(|object| object.0).collect(),
        });
        at = to;
    }
    assert!(blocks.iter().any(|block| block.base.is_some()));
    assert!(blocks.iter().any(|block| block.objects.len() > 2));
    let names = blocks.iter().flat_map(|block| &block.objects);
    let all = names.map(|id| (*id, store.get(id).unwrap())).collect();
    Small {
        disk: disk.fork(),
        place: place.clone(),
        all,
        others,
        state: (content, state),
        bytes,
        blocks,
    }
}

impl Small {
    /// The objects that need the block at an offset.
    fn harmed(&self, at: usize) -> HashSet<ObjectId> {
        let mut harmed = HashSet::new();
        for block in &self.blocks {
            let hit = (block.from..block.to).contains(&at);
            if hit || block.base.is_some_and(|base| harmed.contains(&base)) {
                harmed.extend(&block.objects);
            }
        }
        harmed
    }

    fn check(&self, store: &Store<'_>, at: usize, when: &str) {
        let harmed = self.harmed(at);
        // The blocks read before are forgotten.
        for id in &self.others {
            store.get(id).unwrap();
        }
        for (id, bytes) in &self.all {
            match store.get(id) {
                Ok(found) => assert_eq!(found, *bytes, "{when}"),
                Err(error) => {
                    assert_clear(&error, when);
                    assert!(harmed.contains(id), "{when}: {}", error.full_message());
                }
            }
        }
        match store.content(&self.state.0, 1 << 20) {
            Ok(found) => assert_eq!(found, self.state.1, "{when}"),
            Err(error) => assert_clear(&error, when),
        }
    }

    fn altered(&self, at: usize, how: u8) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[at] = match how {
            0 => bytes[at] ^ 1,
            1 => bytes[at] ^ 0x80,
            2 => !bytes[at],
            _ => 0,
        };
        bytes
    }
}

#[test]
fn every_changed_byte_is_noticed_by_a_store_that_was_open() {
    let small = small();
    let pack = small.place.pack(DAMAGED);
    let store = Store::open(&small.disk, &small.place, 1).unwrap().unwrap();
    for at in 0..small.bytes.len() {
        for how in 0..4 {
            small.disk.plant_file(&pack, &small.altered(at, how));
            small.check(&store, at, &format!("byte {at}, change {how}"));
        }
    }
    small.disk.plant_file(&pack, &small.bytes);
    small.check(&store, 0, "as it was");
}

#[test]
fn every_changed_byte_is_noticed_when_the_index_is_made_anew() {
    let small = small();
    let pack = small.place.pack(DAMAGED);
    for at in 0..small.bytes.len() {
        let how = u8::try_from(at % 3).unwrap();
        small.disk.plant_file(&pack, &small.altered(at, how));
        let store = Store::open(&small.disk, &small.place, 1).unwrap().unwrap();
        small.check(&store, at, &format!("byte {at}, change {how}, rebuilt"));
    }
}

/// A pack that was cut anywhere, found by an index that knew all of it, or by none.
#[test]
fn a_pack_that_was_cut_keeps_what_is_left() {
    let small = small();
    let pack = small.place.pack(DAMAGED);
    for cut in (0..small.bytes.len()).step_by(7) {
        small.disk.plant_file(&pack, &small.bytes);
        let warm = Store::open(&small.disk, &small.place, 1).unwrap().unwrap();
        small.disk.plant_file(&pack, &small.bytes[..cut]);
        for id in &small.others {
            warm.get(id).unwrap();
        }
        let cold = Store::open(&small.disk, &small.place, 1).unwrap().unwrap();
        for block in &small.blocks {
            for id in &block.objects {
                for store in [&warm, &cold] {
                    match store.get(id) {
                        Ok(found) => assert_eq!(found, small.all[id], "cut at {cut}"),
                        Err(error) => {
                            assert_clear(&error, &format!("cut at {cut}"));
                            assert!(block.to > cut, "cut at {cut}: {}", error.full_message());
                        }
                    }
                }
            }
        }
    }
}

/// The index is no proof of anything: whatever its bytes say, objects are right or not there.
#[test]
fn a_changed_index_gives_no_wrong_bytes() {
    let home = tempfile::tempdir().unwrap();
    let place = StoreDir::new(home.path().join(".waymark"));
    let mut all = Vec::new();
    {
        let store = Store::open_or_create(&RealDisk, &place, 1).unwrap();
        for seed in 0..20 {
            let writer = begin(&store).unwrap();
            let mut lane = writer.lane();
            let bytes = text(seed, 300);
            all.push((lane.put(&bytes).unwrap(), bytes));
            lane.finish().unwrap();
            writer.sync().unwrap().record().unwrap();
        }
    }
    let index = place.index();
    let good = std::fs::read(&index).unwrap();
    // Pages are mostly empty: the bytes that mean something, and a few others.
    let meant = (0..good.len()).filter(|at| good[*at] != 0 || at % 997 == 0);
    for (turn, at) in meant.enumerate().filter(|(turn, _)| turn % 7 == 0) {
        let mut bytes = good.clone();
        bytes[at] ^= [0x01, 0x80, 0xff][turn / 7 % 3];
        waymark::store::index::remove(&index).unwrap();
        #[allow(clippy::disallowed_methods, reason = "damage on purpose")]
        std::fs::write(&index, &bytes).unwrap();
        let when = format!("byte {at} of the index");
        let refused = |error: &waymark::error::Error| {
            let code = error.code();
            let known = [
                "ERR_OBJECT_DAMAGED",
                "ERR_OBJECT_MISSING",
                "ERR_INDEX",
                "ERR_STORE_INDEX",
            ];
            assert!(known.contains(&code), "{when}: {}", error.full_message());
        };
        match Store::open(&RealDisk, &place, 1) {
            Ok(store) => {
                let store = store.unwrap();
                for (id, right) in &all {
                    match store.get(id) {
                        Ok(found) => assert_eq!(found, *right, "{when}"),
                        Err(error) => refused(&error),
                    }
                }
            }
            Err(error) => refused(&error),
        }
    }
}
