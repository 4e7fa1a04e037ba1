//! A disk without room for a copy of a pack: what nobody needs is given back where it lies.
//!
//! Whatever happens on the way, what is needed is read back, what the store says it holds can be read,
//! and a gc that has room again makes all of it as if the disk had never been full.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use waymark::model::cancel::Cancel;
use waymark::model::object::ObjectId;
use waymark::model::progress::Progress;
use waymark::model::step::Step;
use waymark::ops;
use waymark::ops::create::{Request as Create, STATE_MAX};
use waymark::ops::gc::{Gc, Request};
use waymark::store::disk::Disk;
use waymark::store::objects::check::{self, Part};
use waymark::store::objects::{Limit, Sink, Store, Writer};
use waymark::store::place::{PackId, StoreDir};

use crate::gc::{NOW, Project, file, noise, tree};
use crate::sim_disk::{Rng, SimDisk};
use crate::world::World;

/// Everything that was ever put.
type Put = BTreeMap<ObjectId, Vec<u8>>;

/// Three pruned and two kept checkpoints in one pack, all of it durable, and no room for another.
fn full(seed: u64) -> (Project<SimDisk>, Put) {
    let mut project = Project::simulated();
    let seeds =
        |from: u64| -> Vec<u64> { (from..from + 5 + seed % 3).map(|n| n + seed * 50).collect() };
    project.create("1", &seeds(0), None, true);
    project.create("2", &seeds(6), Some("1"), true);
    project.create("3", &seeds(20), None, seed.is_multiple_of(2));
    project.create("4", &seeds(8), None, false);
    project.create("5", &seeds(24), Some("2"), true);
    let all = project.kept.values();
    let put = all.flat_map(|needs| needs.objects.clone()).collect();
    for gone in ["1", "2", "4"] {
        project.prune(gone);
    }
    project.disk.settle();
    deny_packs(&project);
    (project, put)
}

/// Every pack but the first is refused.
fn deny_packs(project: &Project<SimDisk>) {
    for number in 2..9 {
        let path = project.place.pack(PackId { slot: 0, number });
        project.disk.deny(&path, ErrorKind::StorageFull);
    }
}

fn taken(project: &Project<SimDisk>) -> u64 {
    let packs = project.place.packs_taken(&project.disk).unwrap();
    packs.iter().map(|(_, taken)| taken).sum()
}

/// What a store says it holds can be read, and nothing in it is told as damaged.
#[track_caller]
fn assert_true(store: &Store<'_>, put: &Put, when: &str) {
    for (id, bytes) in put {
        if store.holds(id).unwrap() {
            match store.get(id) {
                Ok(found) => assert!(found == *bytes, "{when}: {id} has other bytes"),
                Err(error) => panic!("{when}: held, but {}", error.full_message()),
            }
        }
    }
    let (cancel, progress) = (Cancel::default(), Progress::default());
    let structure = check::structure(store, &cancel, &progress).unwrap();
    assert_eq!(structure.faults, [], "{when}");
    let data = check::data(store, Part::ALL, &cancel, &progress).unwrap();
    assert_eq!(data.faults, [], "{when}");
}

#[track_caller]
fn assert_true_reopened(project: &Project<SimDisk>, put: &Put, when: &str) {
    project.assert_readable(when);
    let store = Store::open(&project.disk, &project.place, NOW)
        .unwrap()
        .unwrap();
    assert_true(&store, put, when);
}

#[test]
fn without_room_for_a_copy_the_pack_gets_holes() {
    for seed in 0..30 {
        let when = format!("seed {seed}");
        let (mut project, put) = full(seed);
        let (before, len) = (taken(&project), project.pack_bytes());
        let done = project.gc().unwrap();
        let pack = project.place.packs(&project.disk).unwrap()[0].0;
        assert_eq!(
            (&done.punched, &done.gone),
            (&vec![pack], &vec![]),
            "{when}"
        );
        assert_eq!(taken(&project), before - done.freed_bytes, "{when}");
        assert_eq!(project.pack_bytes(), len, "{when}: its length stays");
        // But for a page at each end of a run, and blocks of which a part is needed.
        let most = done.plan.dead_bytes;
        assert!(
            done.freed_bytes <= most && done.freed_bytes * 2 > most,
            "{when}: {done:?}"
        );
        assert_true_reopened(&project, &put, &when);
        // Once more there is nothing to give back, and that is told with what would help.
        let error = project.gc().unwrap_err();
        assert_eq!(error.code(), "ERR_DISK_FULL", "{when}");
        assert_true_reopened(&project, &put, &when);
        // What was in the holes comes again.
        project.disk.heal();
        project.create(
            "6",
            &[1 + seed * 50, 2 + seed * 50, 9 + seed * 50],
            None,
            false,
        );
        assert_true_reopened(&project, &put, &when);
        project.gc().unwrap();
        project.assert_readable(&when);
        project.assert_tidy(&when);
        assert_eq!(
            taken(&project),
            project.pack_bytes(),
            "{when}: without holes"
        );
    }
}

/// With the index from before, as processes have it.
#[test]
fn what_is_in_a_hole_is_stored_anew() {
    for seed in 0..10 {
        let when = format!("seed {seed}");
        let (project, put) = full(seed);
        let store = Store::open(&project.disk, &project.place, NOW)
            .unwrap()
            .unwrap();
        let (cancel, progress, request) =
            (Cancel::default(), Progress::default(), Request::default());
        let before = store.generation().unwrap();
        let gc = Gc::begin(&store, &request, NOW, &cancel, &progress).unwrap();
        let done = gc.apply(&cancel).unwrap();
        assert_eq!(done.punched.len(), 1, "{when}");
        assert_ne!(
            store.generation().unwrap(),
            before,
            "{when}: stat caches know nothing any more"
        );
        assert_true(&store, &put, &when);
        let gone = put.keys().filter(|id| !store.holds(id).unwrap()).count();
        assert!(gone > 5, "{when}: {gone}");
        project.disk.heal();
        let writer = Writer::begin(&store, Limit::None, &cancel).unwrap();
        let mut lane = writer.lane();
        for bytes in put.values() {
            lane.put(bytes).unwrap();
        }
        lane.finish().unwrap();
        writer.sync().unwrap().record().unwrap();
        for (id, bytes) in &put {
            assert!(store.get(id).unwrap() == *bytes, "{when}");
        }
        project.assert_readable(&when);
        assert_true(&store, &put, &when);
        // The heads of some old places are still there, in the same pack as the new ones.
        let all: Vec<_> = put.iter().map(|(id, bytes)| (*id, bytes.clone())).collect();
        project.on(project.disk.clone()).keep("6", all);
        let request = Request {
            max_unused: 0.0,
            ..Request::default()
        };
        let gc = Gc::begin(&store, &request, NOW, &cancel, &progress).unwrap();
        assert_eq!(gc.apply(&cancel).unwrap().gone.len(), 1, "{when}");
        for (id, bytes) in &put {
            match store.get(id) {
                Ok(found) => assert!(found == *bytes, "{when}"),
                Err(error) => panic!("{when}: after a copy: {}", error.full_message()),
            }
        }
        assert_true(&store, &put, &when);
    }
}

/// Calls a gc that punches and is disturbed at each of its calls.
fn at_every_call(disturb: impl Fn(&SimDisk, u64), after: impl Fn(&SimDisk) -> Vec<SimDisk>) {
    for seed in 0..2 {
        let (project, put) = full(seed);
        let clean = project.on(project.disk.fork());
        assert_eq!(clean.gc().unwrap().punched.len(), 1);
        let calls = clean.disk.calls();
        let punches = clean
            .disk
            .trace()
            .iter()
            .filter(|call| call.verb == "punch")
            .count();
        assert!(punches > 1, "{punches}");
        for n in 1..=calls + 1 {
            let disturbed = project.on(project.disk.fork());
            disturb(&disturbed.disk, n);
            let result = disturbed.gc();
            for (at, disk) in after(&disturbed.disk).into_iter().enumerate() {
                let when = format!(
                    "seed {seed}, call {n} of {calls}, disk {at}, {:?}",
                    result.as_ref().err()
                );
                let mut found = project.on(disk);
                assert_true_reopened(&found, &put, &when);
                // Still full, then not.
                deny_packs(&found);
                match found.gc() {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.code(), "ERR_DISK_FULL", "{when}"),
                }
                assert_true_reopened(&found, &put, &format!("{when}, again"));
                found.disk.heal();
                found.create("6", &[1, 9, 70], Some("5"), true);
                assert_true_reopened(&found, &put, &format!("{when}, written on"));
                found.gc().unwrap();
                assert_true_reopened(&found, &put, &format!("{when}, room again"));
                found.assert_tidy(&when);
            }
        }
    }
}

#[test]
fn killed_at_any_call_of_it_nothing_is_lost() {
    at_every_call(SimDisk::crash_at, |disk| {
        disk.kill();
        vec![disk.fork()]
    });
}

#[test]
fn power_loss_at_any_call_of_it_loses_nothing() {
    at_every_call(SimDisk::crash_at, |disk| {
        (0..6).map(|seed| disk.power_loss(seed)).collect()
    });
    at_every_call(
        |_, _| {},
        |disk| (0..6).map(|seed| disk.power_loss(seed)).collect(),
    );
}

#[test]
fn a_call_of_it_that_fails_loses_nothing() {
    for kind in [
        ErrorKind::Other,
        ErrorKind::StorageFull,
        ErrorKind::Unsupported,
    ] {
        for stays in [false, true] {
            at_every_call(
                move |disk, n| {
                    if stays {
                        disk.fail_from(n, kind);
                    } else {
                        disk.fail_at(n, kind);
                    }
                },
                |disk| {
                    disk.heal();
                    vec![disk.fork()]
                },
            );
        }
    }
}

#[test]
fn where_nothing_can_be_punched_the_error_tells_what_is_wanted() {
    let (project, put) = full(1);
    project.disk.refuse_punching();
    let plan = project
        .gc_with(&Request {
            dry_run: true,
            ..Request::default()
        })
        .unwrap()
        .plan;
    let before = taken(&project);
    let error = project.gc().unwrap_err();
    assert_eq!((error.code(), taken(&project)), ("ERR_DISK_FULL", before));
    let wanted = format!("takes {} bytes", plan.working_bytes);
    assert!(
        error.full_message().contains(&wanted),
        "{wanted}: {}",
        error.full_message()
    );
    assert_true_reopened(&project, &put, "unsupported");
    project.disk.heal();
    project.gc().unwrap();
    project.assert_readable("room again");
    project.assert_tidy("room again");
}

/// Small blocks, of random lengths, most of them dead: no hole begins in a head that is kept.
#[test]
fn runs_of_small_blocks_are_given_back_and_every_live_one_is_found() {
    let mut rng = Rng::new(5);
    for seed in 0..60 {
        let mut project = Project::simulated();
        let cancel = Cancel::default();
        project.create("0", &[7], None, false);
        let (disk, place) = (project.disk.clone(), project.place.clone());
        let store = Store::open(&disk, &place, NOW).unwrap().unwrap();
        let (mut put, mut names) = (Put::new(), Vec::new());
        let writer = Writer::begin(&store, Limit::None, &cancel).unwrap();
        for n in 0..120 {
            // Blocks of many objects have heads of several pages.
            let many = rng.percent(4);
            let (count, most) = if many { (300, 20) } else { (1, 3_000) };
            let mut lane = writer.lane();
            for m in 0..count {
                let bytes = noise(seed * 1_000_000 + n * 1_000 + m, 33 + rng.below(most));
                let id = lane.put(&bytes).unwrap();
                put.insert(id, bytes.clone());
                if m == 0 && rng.percent(6) {
                    names.push((id, bytes));
                }
            }
            lane.finish().unwrap();
        }
        // A folder with a file that is missing: now gc keeps whatever it does not understand.
        let mut lane = writer.lane();
        let folder = tree(vec![file(b"nowhere", None)]);
        names.push((lane.put(&folder).unwrap(), folder));
        lane.finish().unwrap();
        writer.sync().unwrap().record().unwrap();
        project.keep("1", names);
        deny_packs(&project);
        drop(store);
        let done = project.gc().unwrap();
        assert!(
            done.freed_bytes > 40_000,
            "seed {seed}: {}",
            done.freed_bytes
        );
        assert_true_reopened(&project, &put, &format!("seed {seed}"));
        for loss in 0..4 {
            let lost = project.on(project.disk.power_loss(loss));
            assert_true_reopened(&lost, &put, &format!("seed {seed}, loss {loss}"));
        }
        // Holes are understood.
        project.disk.heal();
        let done = project.gc().unwrap();
        assert_eq!((done.gone.len(), done.left.len()), (1, 0), "seed {seed}");
        assert_true_reopened(&project, &put, &format!("seed {seed}, room again"));
    }
}

/// A pack goes whole; in another one is an object that nobody needs and that is stored by its difference
/// from one in the first. It must not be taken for stored.
#[test]
fn a_difference_from_what_goes_goes_with_it() {
    let mut project = Project::simulated();
    project.create("1", &[1, 2, 3], None, true);
    let (first, _) = project.place.packs(&project.disk).unwrap()[0];
    let torn = [
        &project.disk.content(&project.place.pack(first)).unwrap()[..],
        b"torn",
    ]
    .concat();
    project.disk.plant_file(&project.place.pack(first), &torn);
    project.create("2", &[1, 2, 3], Some("1"), true);
    project.create(
        "3",
        &[30, 31, 32, 33, 34, 36, 37, 38, 39, 40, 41],
        None,
        false,
    );
    let (content, state) = project.kept["2"].state.clone().unwrap();
    let (disk, place) = (project.disk.clone(), project.place.clone());
    let store = Store::open(&disk, &place, NOW).unwrap().unwrap();
    assert_eq!(store.content(&content, u64::MAX).unwrap(), state);
    project.prune("1");
    project.prune("2");
    let (cancel, progress) = (Cancel::default(), Progress::default());
    let request = Request {
        max_unused: 0.9,
        ..Request::default()
    };
    let gc = Gc::begin(&store, &request, NOW, &cancel, &progress).unwrap();
    assert_eq!(gc.apply(&cancel).unwrap().gone, [first]);
    let writer = Writer::begin(&store, Limit::None, &cancel).unwrap();
    let again = writer.put_state(&state, None).unwrap();
    writer.sync().unwrap().record().unwrap();
    let found = store
        .content(&again, u64::MAX)
        .unwrap_or_else(|error| panic!("{}", error.full_message()));
    assert_eq!(found, state);
}

fn reserved(disk: &SimDisk, place: &StoreDir) -> Option<u64> {
    disk.metadata(&place.reserve()).ok().map(|found| found.len)
}

const RESERVE: u64 = 256 << 10;

#[test]
fn the_reserve_is_whole_or_not_there() {
    let mut project = Project::simulated();
    project.create("1", &[1], None, false);
    let (disk, place) = (&project.disk, &project.place);
    let before = disk.used();
    for (room, kept) in [(RESERVE - 1, None), (RESERVE, Some(RESERVE))] {
        disk.set_capacity(Some(before + room));
        place.keep_reserve(disk);
        assert_eq!(reserved(disk, place), kept, "{room}");
    }
    // One that is too short is made whole.
    disk.truncate(&place.reserve(), 1_000).unwrap();
    place.keep_reserve(disk);
    assert_eq!(reserved(disk, place), Some(RESERVE));
    // It counts even while it is not there: it is put back.
    let counted = place.used_bytes(disk).unwrap();
    assert!(place.release_reserve(disk) && !place.release_reserve(disk));
    assert_eq!(place.used_bytes(disk).unwrap(), counted);
    place.keep_reserve(disk);
    assert_eq!(
        (reserved(disk, place), place.used_bytes(disk).unwrap()),
        (Some(RESERVE), counted)
    );
}

/// A copy that fits into the reserve is made there, and the reserve is put back.
#[test]
fn gc_copies_into_the_reserve_and_puts_it_back() {
    let (project, put) = full(3);
    project.disk.heal();
    project.place.keep_reserve(&project.disk);
    project.disk.set_capacity(Some(project.disk.used()));
    let done = project.gc().unwrap();
    assert_eq!((done.gone.len(), done.punched.len()), (1, 0), "{done:?}");
    assert_eq!(reserved(&project.disk, &project.place), Some(RESERVE));
    assert_true_reopened(&project, &put, "after");
    project.assert_tidy("after");
    // Without it there is no room for the copy.
    let (project, _) = full(3);
    project.disk.heal();
    project.disk.set_capacity(Some(project.disk.used()));
    let done = project.gc().unwrap();
    assert_eq!((done.gone.len(), done.punched.len()), (0, 1), "{done:?}");
    assert_eq!(
        reserved(&project.disk, &project.place),
        None,
        "there was no room for it"
    );
    project.disk.set_capacity(None);
    project.gc().unwrap();
    assert_eq!(reserved(&project.disk, &project.place), Some(RESERVE));
}

fn create(
    world: &mut World,
    step: u32,
    len: usize,
) -> waymark::error::Result<ops::create::Created> {
    world.now_ms += 1_000;
    // The numbers of bytes hardly compress.
    let text = format!("{:?}", noise(step.into(), len / 5));
    let state = format!("{{\"text\":\"{text}\"}}");
    let request = Create {
        step: Step::Number(f64::from(step)),
        state: state.as_bytes(),
        retention: None,
        max_state_bytes: STATE_MAX,
        capture: None,
        max_store_bytes: Some(1 << 20),
        facts: None,
        environment: None,
    };
    world.act(|context| ops::create::create(context, &request))
}

/// A budget's own gc takes what was set aside when the disk is full, and gives it back.
#[test]
fn a_budgets_gc_has_the_reserve_too() {
    let mut world = World::new();
    let mut step = 0;
    // Until the next one makes a gc necessary.
    let before = loop {
        let before = world.fork();
        if !create(&mut world, step, 90_000).unwrap().dropped.is_empty() {
            break before;
        }
        step += 1;
    };
    before.disk.refuse_punching();
    let other = before.disk.fork();
    // Somebody else has the space.
    let bytes = other.content(&before.store.reserve()).unwrap();
    other.plant_file("/project/other".as_ref(), &bytes);
    before.store.release_reserve(&other);
    assert_eq!(other.used(), before.disk.used());
    let mut helped = 0;
    for room in (0..12).map(|n| n * 15_000) {
        let attempt = |disk: SimDisk| {
            let mut world = before.on(disk);
            world.disk.set_capacity(Some(world.disk.used() + room));
            let made = create(&mut world, step, 90_000);
            if let Err(error) = &made {
                let full = ["ERR_DISK_FULL", "ERR_STORE_GC_STOPPED"];
                assert!(full.contains(&error.code()), "room {room}: {error}");
            }
            let left = world.act(ops::list::list).unwrap().scan;
            assert!(
                left.damaged.is_empty() && !left.good.is_empty(),
                "room {room}"
            );
            world.disk.set_capacity(None);
            create(&mut world, step + 1, 90_000).unwrap();
            assert_eq!(reserved(&world.disk, &world.store), Some(RESERVE));
            made.is_ok()
        };
        let (with, without) = (attempt(before.disk.fork()), attempt(other.fork()));
        assert!(with || !without, "room {room}");
        helped += usize::from(with && !without);
    }
    assert!(helped > 0, "{helped}");
}
