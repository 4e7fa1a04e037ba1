//! The object store: what was put comes back, from packs, after every interruption.

use std::path::{Path, PathBuf};

use waymark::error::Result;
use waymark::model::cancel::Cancel;
use waymark::model::object::ObjectId;
use waymark::model::snapshot::{ChunkList, Node, Piece, Tree, TreeEntry};
use waymark::store::disk::Disk;
use waymark::store::objects::pack::Head;
use waymark::store::objects::{Content, Limit, Sink, Store, Writer};
use waymark::store::place::StoreDir;
use waymark::store::real_disk::RealDisk;

use crate::sim_disk::SimDisk;

/// Text-like bytes that compress about as text does, different for each seed.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = crate::sim_disk::Rng::new(seed);
    let words = [
        "step",
        "checkpoint",
        "agent",
        "result",
        "plan",
        "0x1f",
        "true",
        "{\"id\":",
        "\n",
    ];
    let mut out = Vec::with_capacity(len + 16);
    while out.len() < len {
        out.extend_from_slice(words[rng.below(words.len())].as_bytes());
        out.extend_from_slice(format!(" {} ", rng.below(100_000)).as_bytes());
    }
    out.truncate(len);
    out
}

fn project() -> (SimDisk, StoreDir) {
    let disk = SimDisk::new();
    disk.plant_dir(Path::new("/project"));
    (disk, StoreDir::new(PathBuf::from("/project/.waymark")))
}

fn put(disk: &dyn Disk, place: &StoreDir, all: &[Vec<u8>]) -> Result<Vec<ObjectId>> {
    let store = Store::open_or_create(disk, place, 1)?;
    let writer = Writer::begin(&store, Limit::None, &Cancel::default())?;
    let mut lane = writer.lane();
    let ids = all
        .iter()
        .map(|bytes| lane.put(bytes))
        .collect::<Result<_>>()?;
    lane.finish()?;
    writer.sync()?.record()?;
    Ok(ids)
}

#[test]
fn what_was_put_comes_back() {
    let (disk, place) = project();
    let all: Vec<Vec<u8>> = (0..200_u32)
        .map(|n| text(n.into(), n as usize * 37))
        .collect();
    let ids = put(&disk, &place, &all).unwrap();
    let bytes = place.packs(&disk).unwrap();
    // The same again is stored once.
    assert_eq!(put(&disk, &place, &all).unwrap(), ids);
    assert_eq!(place.packs(&disk).unwrap(), bytes);
    let store = Store::open(&disk, &place, 2).unwrap().unwrap();
    for (id, bytes) in ids.iter().zip(&all) {
        assert_eq!(&store.get(id).unwrap(), bytes);
    }
    let missing = store.get(&ObjectId::of(b"never put")).unwrap_err();
    assert_eq!(missing.code(), "ERR_OBJECT_MISSING");
}

/// The objects of each block of the only pack.
fn blocks(disk: &SimDisk, place: &StoreDir) -> Vec<Vec<ObjectId>> {
    let packs = place.packs(disk).unwrap();
    let [(pack, _)] = packs[..] else {
        panic!("one pack is expected, not {packs:?}");
    };
    let bytes = disk.content(&place.pack(pack)).unwrap();
    let (mut blocks, mut at) = (Vec::new(), 16);
    while at < bytes.len() {
        let head = Head::read(&bytes[at..]).unwrap();
        blocks.push(head.objects.iter().map(|(id, _)| *id).collect());
        at += head.block_len();
    }
    blocks
}

#[test]
fn folders_and_lists_lie_in_blocks_of_their_own() {
    let tree = |n: usize| {
        let entry = TreeEntry {
            name: format!("file-{n}").into_bytes(),
            node: Node::Symlink {
                target: b"elsewhere".to_vec(),
            },
        };
        Tree {
            entries: vec![entry],
        }
        .encode()
    };
    let list = |n: usize| {
        let piece = Piece {
            len: n as u64 + 1,
            chunk: None,
        };
        ChunkList {
            pieces: vec![piece],
        }
        .encode()
    };
    let mixed = |count: usize| -> Vec<Vec<u8>> {
        (0..count)
            .flat_map(|n| [text(n as u64, 8 << 10), tree(n), list(n)])
            .collect()
    };
    let (disk, place) = project();
    let ids = put(&disk, &place, &mixed(100)).unwrap();
    let leads_on = |id: &ObjectId| ids.iter().position(|one| one == id).unwrap() % 3 != 0;
    let found = blocks(&disk, &place);
    let inner: Vec<_> = found
        .iter()
        .filter(|block| block.iter().any(leads_on))
        .collect();
    // 800 KB of files are four blocks; folders and lists are with the last, small rest of them.
    assert!(found.len() >= 4, "{}", found.len());
    assert_eq!(inner.len(), 1);
    assert_eq!(inner[0].iter().filter(|id| leads_on(id)).count(), 200);

    let (disk, place) = project();
    put(&disk, &place, &mixed(3)).unwrap();
    assert_eq!(
        blocks(&disk, &place).len(),
        1,
        "a small change is one block"
    );
}

#[test]
fn an_index_that_is_deleted_or_damaged_is_made_anew() {
    let home = tempfile::tempdir().unwrap();
    let place = StoreDir::new(home.path().join(".waymark"));
    let all: Vec<Vec<u8>> = (0..50).map(|n| text(n, 3_000)).collect();
    let ids = put(&RealDisk, &place, &all).unwrap();
    let generation = Store::open(&RealDisk, &place, 5)
        .unwrap()
        .unwrap()
        .generation()
        .unwrap();
    for damage in [
        None,
        Some(&b"no database at all, but long enough to look like one"[..]),
        Some(b""),
    ] {
        waymark::store::index::remove(&place.index()).unwrap();
        if let Some(bytes) = damage {
            #[allow(clippy::disallowed_methods, reason = "damage on purpose")]
            std::fs::write(place.index(), bytes).unwrap();
        }
        let store = Store::open(&RealDisk, &place, 1_000).unwrap().unwrap();
        for (id, bytes) in ids.iter().zip(&all) {
            assert_eq!(&store.get(id).unwrap(), bytes);
        }
        assert_ne!(store.generation().unwrap(), generation);
    }
}

#[test]
fn a_growing_state_costs_its_growth() {
    let home = tempfile::tempdir().unwrap();
    let place = StoreDir::new(home.path().join(".waymark"));
    let mut state = Vec::new();
    let mut earlier: Option<Content> = None;
    let mut kept = Vec::new();
    let store = Store::open_or_create(&RealDisk, &place, 1).unwrap();
    for step in 0..1_000 {
        state.extend_from_slice(&text(step, 2_000));
        let writer = Writer::begin(&store, Limit::None, &Cancel::default()).unwrap();
        let content = writer.put_state(&state, earlier.as_ref()).unwrap();
        writer.sync().unwrap().record().unwrap();
        earlier = Some(content);
        if step % 100 == 99 {
            kept.push((content, state.clone()));
        }
    }
    let stored = store.pack_bytes().unwrap();

    assert!(stored < 2 * state.len() as u64, "{stored}");
    let again = Store::open(&RealDisk, &place, 1).unwrap().unwrap();
    for (content, state) in kept {
        assert_eq!(again.content(&content, u64::MAX).unwrap(), state);
    }
}

#[test]
fn a_writer_that_stops_leaves_nothing() {
    let (disk, place) = project();
    put(&disk, &place, &[text(1, 10_000)]).unwrap();
    let before = place.packs(&disk).unwrap();
    {
        let store = Store::open(&disk, &place, 1).unwrap().unwrap();
        let writer = Writer::begin(&store, Limit::None, &Cancel::default()).unwrap();
        let mut lane = writer.lane();
        lane.put(&text(2, 500_000)).unwrap();
        lane.finish().unwrap();
        assert!(place.packs(&disk).unwrap()[0].1 > before[0].1);
    }
    assert_eq!(place.packs(&disk).unwrap(), before);
    let store = Store::open(&disk, &place, 1).unwrap().unwrap();
    let writer = Writer::begin(&store, Limit::Bytes(100), &Cancel::default()).unwrap();
    let mut lane = writer.lane();
    let refused = lane.put(&text(2, 500_000)).unwrap_err();
    assert_eq!(refused.code(), "ERR_STORE_BUDGET");
    drop(lane);
    drop(writer);
    assert_eq!(place.packs(&disk).unwrap(), before);
}

/// The power fails while a block is written: its head is there, of its payload nothing.
#[test]
fn a_block_whose_payload_was_lost_is_leaned_on_by_nobody() {
    let (disk, place) = project();
    put(&disk, &place, &[text(1, 10_000)]).unwrap();
    let (pack, begin) = place.packs(&disk).unwrap()[0];
    let lost = text(2, 10_000);
    put(&disk, &place, std::slice::from_ref(&lost)).unwrap();
    let path = place.pack(pack);
    let mut bytes = disk.content(&path).unwrap();
    let payload = usize::try_from(begin).unwrap() + 24 + 36;
    bytes[payload..].fill(0);
    disk.plant_file(&path, &bytes);
    let store = Store::open(&disk, &place, 2).unwrap().unwrap();
    assert!(!store.holds(&ObjectId::of(&lost)).unwrap());
    let ids = put(&disk, &place, std::slice::from_ref(&lost)).unwrap();
    let store = Store::open(&disk, &place, 3).unwrap().unwrap();
    assert_eq!(store.get(&ids[0]).unwrap(), lost);
    assert_eq!(
        store.get(&ObjectId::of(&text(1, 10_000))).unwrap(),
        text(1, 10_000)
    );
}

/// Two writers store the same objects at the same time, each by its difference from the other's.
#[test]
fn of_two_copies_the_one_with_fewer_bases_is_found() {
    let home = tempfile::tempdir().unwrap();
    let place = StoreDir::new(home.path().join(".waymark"));
    let cancel = Cancel::default();
    let store = Store::open_or_create(&RealDisk, &place, 1).unwrap();
    let (one, two) = (text(1, 9_000), [text(1, 9_000), text(2, 50)].concat());
    let base = {
        let writer = Writer::begin(&store, Limit::None, &cancel).unwrap();
        let base = writer.put_state(&two, None).unwrap();
        // Not told yet: the next writer stores `one` as it is.
        let stored = writer.sync().unwrap();
        let other = Store::open(&RealDisk, &place, 1).unwrap().unwrap();
        put(&RealDisk, &place, std::slice::from_ref(&one)).unwrap();
        stored.record().unwrap();
        drop(other);
        base
    };
    // A third one, which looked before that, stores it by its difference.
    waymark::store::index::Index::open(&place.index(), 1)
        .unwrap()
        .0
        .forget(&[ObjectId::of(&one)], 1)
        .unwrap();
    let writer = Writer::begin(&store, Limit::None, &cancel).unwrap();
    let content = writer.put_state(&one, Some(&base)).unwrap();
    writer.sync().unwrap().record().unwrap();
    assert_eq!(store.content(&content, u64::MAX).unwrap(), one);
    // Both copies are there. Their bases go away with the packs' first slot.
    store.rebuild().unwrap();
    assert_eq!(store.content(&content, u64::MAX).unwrap(), one);
    let found = waymark::store::index::Index::open(&place.index(), 1)
        .unwrap()
        .0;
    let at = found.find(&ObjectId::of(&one)).unwrap().unwrap();
    assert_eq!(at.depth, 0);
}
