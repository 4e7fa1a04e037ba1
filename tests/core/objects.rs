//! The object store: what was put comes back, from packs, after every interruption.

use std::path::{Path, PathBuf};

use waymark::error::Result;
use waymark::model::cancel::Cancel;
use waymark::model::object::ObjectId;
use waymark::store::disk::Disk;
use waymark::store::objects::{Content, Sink, Store, Writer};
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
    let writer = Writer::begin(&store, None, &Cancel::default())?;
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
        let writer = Writer::begin(&store, None, &Cancel::default()).unwrap();
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
        let writer = Writer::begin(&store, None, &Cancel::default()).unwrap();
        let mut lane = writer.lane();
        lane.put(&text(2, 500_000)).unwrap();
        lane.finish().unwrap();
        assert!(place.packs(&disk).unwrap()[0].1 > before[0].1);
    }
    assert_eq!(place.packs(&disk).unwrap(), before);
    let store = Store::open(&disk, &place, 1).unwrap().unwrap();
    let writer = Writer::begin(&store, Some(100), &Cancel::default()).unwrap();
    let mut lane = writer.lane();
    let refused = lane.put(&text(2, 500_000)).unwrap_err();
    assert_eq!(refused.code(), "ERR_STORE_BUDGET");
    drop(lane);
    drop(writer);
    assert_eq!(place.packs(&disk).unwrap(), before);
}
