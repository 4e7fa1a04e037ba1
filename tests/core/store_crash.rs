//! A store whose disk refuses, whose process dies, whose machine loses power, at every call.
//!
//! Whatever `sync` said is durable is readable after reopening, and stays so while others write on.

use std::io::ErrorKind;

use waymark::model::object::ObjectId;
use waymark::store::objects::{Sink, Store};
use waymark::store::place::{PackId, StoreDir};

use crate::sim_disk::{Rng, SimDisk};
use crate::store_world::{Kept, begin, noise, project, text, work};

/// How many histories with power loss; `WAYMARK_SEEDS` asks for more.
const SEEDS: u64 = 2_000;

fn seeds() -> u64 {
    #[allow(clippy::disallowed_methods, reason = "a knob of the tests")]
    let asked = std::env::var("WAYMARK_SEEDS").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

/// A store with something in it, all durable.
fn begun(seed: u64) -> (SimDisk, StoreDir, Kept) {
    let (disk, place) = project();
    let mut kept = Kept::default();
    work(&disk, &place, &mut kept, &mut Rng::new(seed), 2).unwrap();
    disk.settle();
    (disk, place, kept)
}

/// Goes on as the next process would, and checks everything.
fn goes_on(disk: &SimDisk, place: &StoreDir, kept: &mut Kept, seed: u64, when: &str) {
    kept.check_reopened(disk, place, when);
    // The same objects come again: what is torn must not be taken for stored.
    for again in 0..2 {
        let mut rng = Rng::new(seed + again);
        work(disk, place, kept, &mut rng, 2)
            .unwrap_or_else(|error| panic!("{when}: next: {}", error.full_message()));
        kept.check_reopened(disk, place, &format!("{when}, {again} later"));
    }
}

#[test]
fn every_call_that_fails_leaves_what_was_synced() {
    for seed in 0..4 {
        for fresh in [true, false] {
            let (base, place, before) = if fresh {
                let (disk, place) = project();
                (disk, place, Kept::default())
            } else {
                begun(seed)
            };
            let calls = {
                let disk = base.fork();
                work(&disk, &place, &mut before.clone(), &mut Rng::new(seed), 3).unwrap();
                disk.calls()
            };
            for n in 1..=calls {
                for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
                    for stays in [false, true] {
                        let when = format!("seed {seed}, call {n} fails with {kind}, {stays}");
                        let (disk, mut kept) = (base.fork(), before.clone());
                        if stays {
                            disk.fail_from(n, kind);
                        } else {
                            disk.fail_at(n, kind);
                        }
                        let result = work(&disk, &place, &mut kept, &mut Rng::new(seed), 3);
                        disk.heal();
                        let code = if kind == ErrorKind::StorageFull {
                            "ERR_DISK_FULL"
                        } else {
                            "ERR_IO"
                        };
                        if let Err(error) = result {
                            let codes = [code, "ERR_NOT_DURABLE"];
                            assert!(codes.contains(&error.code()), "{when}: {}", error.code());
                        }
                        goes_on(&disk, &place, &mut kept, seed, &when);
                    }
                }
            }
        }
    }
}

#[test]
fn death_at_every_call_leaves_what_was_synced() {
    for seed in 0..8 {
        let (base, place, before) = begun(seed);
        let calls = {
            let disk = base.fork();
            work(&disk, &place, &mut before.clone(), &mut Rng::new(seed), 3).unwrap();
            disk.calls()
        };
        for n in 1..=calls + 1 {
            let (disk, mut kept) = (base.fork(), before.clone());
            disk.crash_at(n);
            let _ = work(&disk, &place, &mut kept, &mut Rng::new(seed), 3);
            disk.kill();
            let when = format!("seed {seed}, died at call {n}");
            goes_on(&disk.fork(), &place, &mut kept, seed, &when);
        }
    }
}

/// Several power losses in a row, each at a random call.
#[test]
fn power_loss_at_every_call_leaves_what_was_synced() {
    for seed in 0..seeds() {
        let mut rng = Rng::new(seed);
        let (mut disk, place) = project();
        let mut kept = Kept::default();
        for round in 0..4 {
            let n = 1 + rng.below(28) as u64;
            disk.crash_at(n);
            let _ = work(&disk, &place, &mut kept, &mut rng, 3);
            let when = format!("seed {seed}, round {round}, power loss at call {n}");
            let lost = disk.power_loss(rng.next());
            kept.check_reopened(&lost, &place, &when);
            disk = lost.fork();
        }
        goes_on(&disk, &place, &mut kept, seed, &format!("seed {seed}"));
    }
}

/// The only pack of slot 0.
fn pack(place: &StoreDir) -> std::path::PathBuf {
    place.pack(PackId { slot: 0, number: 1 })
}

/// Stores one object, in a block of its own.
fn put(disk: &SimDisk, place: &StoreDir, bytes: &[u8]) -> ObjectId {
    let store = Store::open_or_create(disk, place, 1).unwrap();
    let writer = begin(&store).unwrap();
    let mut lane = writer.lane();
    let id = lane.put(bytes).unwrap();
    lane.finish().unwrap();
    writer.sync().unwrap().record().unwrap();
    id
}

/// Power loss may leave a block's head and length, but zeros where its payload was.
#[test]
fn a_block_of_zeros_is_not_taken_for_its_objects() {
    let (disk, place) = project();
    let first = put(&disk, &place, &text(1, 1_000));
    let len = disk.content(&pack(&place)).unwrap().len();
    let torn = put(&disk, &place, &noise(2, 1_000));
    let mut bytes = disk.content(&pack(&place)).unwrap();
    let end = bytes.len();
    bytes[len + 200..end].fill(0);
    disk.plant_file(&pack(&place), &bytes);
    let store = Store::open(&disk, &place, 1).unwrap().unwrap();
    assert_eq!(store.get(&torn).unwrap_err().code(), "ERR_OBJECT_MISSING");
    // Put again, it is stored again.
    assert_eq!(put(&disk, &place, &noise(2, 1_000)), torn);
    let store = Store::open(&disk, &place, 1).unwrap().unwrap();
    assert_eq!(store.get(&torn).unwrap(), noise(2, 1_000));
    assert_eq!(store.get(&first).unwrap(), text(1, 1_000));
}

/// Two stored the same; one place is torn. The other one counts.
#[test]
fn a_torn_copy_does_not_hide_a_whole_one() {
    let (disk, place) = project();
    let bytes = noise(2, 1_000);
    let id = put(&disk, &place, &bytes);
    let mut copy = disk.content(&pack(&place)).unwrap();
    let end = copy.len();
    copy[end - 500..].fill(0);
    for slot in [0, 1] {
        let number = 2 - u32::from(slot);
        disk.plant_file(&place.pack(PackId { slot, number }), &copy);
    }
    let store = Store::open(&disk, &place, 1).unwrap().unwrap();
    assert_eq!(store.get(&id).unwrap(), bytes);
}

/// A torn block whose head is whole, with more blocks behind it: each of them is found.
#[test]
fn a_torn_block_swallows_nothing() {
    for kind in ["stored", "zstd", "delta"] {
        let (disk, place) = project();
        let base = noise(9, 2_000);
        let store = Store::open_or_create(&disk, &place, 1).unwrap();
        let mut earlier = None;
        let mut ends = Vec::new();
        let mut states = Vec::new();
        for step in 0..6 {
            let state = match kind {
                "stored" => noise(step, 900),
                "zstd" => text(step, 3_000),
                _ => [&base[..], &noise(step, 300)].concat(),
            };
            let writer = begin(&store).unwrap();
            let content = writer.put_state(&state, earlier.as_ref()).unwrap();
            writer.sync().unwrap().record().unwrap();
            ends.push(disk.content(&pack(&place)).unwrap().len());
            if kind == "delta" && earlier.is_none() {
                earlier = Some(content);
            }
            states.push((content, state));
        }
        let whole = disk.content(&pack(&place)).unwrap();
        for (torn, end) in ends.iter().copied().enumerate().take(5).skip(1) {
            for missing in [1, 40, 150] {
                let cut = end - missing;
                let bytes = [&whole[..cut], &whole[end..]].concat();
                disk.plant_file(&pack(&place), &bytes);
                let store = Store::open(&disk, &place, 1).unwrap().unwrap();
                for (step, (content, state)) in states.iter().enumerate() {
                    if step == torn {
                        assert!(store.content(content, u64::MAX).is_err());
                    } else {
                        let found = store.content(content, u64::MAX);
                        let found = found.unwrap_or_else(|error| {
                            panic!("{kind} {torn} -{missing}: {step}: {error}")
                        });
                        assert_eq!(found, *state);
                    }
                }
            }
        }
    }
}
