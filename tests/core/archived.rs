//! Archive instead of drop: what goes is whole in its archive before it leaves the run, whatever fails.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use waymark::error::Result;
use waymark::model::cancel::Cancel;
use waymark::model::ids::CheckpointId;
use waymark::model::progress::Progress;
use waymark::model::retention::{ALL, Reason, Retention};
use waymark::model::step::Step;
use waymark::ops::archive::{self, Shelved};
use waymark::ops::create::{self, Created, STATE_MAX};
use waymark::ops::prune::{self, Pruned};
use waymark::ops::verify::{self, verify_store};
use waymark::ops::{gc, import};

use crate::sim_disk::SimDisk;
use crate::store_world::text;
use crate::world::{MINUTE_MS, World, code, record};

/// A state that lies in the store.
fn state(seed: u64) -> String {
    let text = String::from_utf8(text(seed, 90_000)).unwrap();
    let text = text.replace('"', "'").replace('\n', " ");
    format!("{{\"text\":\"{text}\"}}")
}

fn policy(keep_last: u32) -> Retention {
    Retention {
        archive: true,
        ..Retention::newest(keep_last)
    }
}

fn create(world: &World, step: u32, state: &str, policy: &Retention) -> Result<Created> {
    world.put("run.json", &record(step, "work"));
    let request = create::Request {
        step: Step::Number(f64::from(step)),
        state: state.as_bytes(),
        retention: Some(policy.clone()),
        max_state_bytes: STATE_MAX,
        capture: None,
        max_store_bytes: None,
        facts: None,
        environment: None,
    };
    world.act(|context| create::create(context, &request))
}

/// A run with four checkpoints, whose state lies in the store but for that of the second.
fn source() -> World {
    let mut world = World::new();
    for step in 1..=4 {
        world.now_ms += 1_000;
        let state = match step {
            2 => "{\"small\":true}".to_owned(),
            _ => state(u64::from(step)),
        };
        create(&world, step, &state, &Retention::newest(ALL)).unwrap();
    }
    world.now_ms += 1_000;
    world.disk.settle();
    world
}

fn prune(world: &World, keep_last: u32) -> Result<Pruned> {
    world.act(|context| prune::prune(context, &policy(keep_last), false))
}

fn archived(world: &World) -> Vec<Shelved> {
    let run_id = world.run.run_id();
    archive::archived(&world.disk, &world.store, Some(run_id), &Cancel::default()).unwrap()
}

fn archived_ids(world: &World) -> Vec<String> {
    archived(world)
        .into_iter()
        .map(|one| one.checkpoint_id)
        .collect()
}

fn unarchive(world: &World, id: &str, remove: bool) -> Result<import::Outcome> {
    let id = CheckpointId::parse(id).unwrap();
    let request = archive::Request {
        remove,
        max_store_bytes: None,
    };
    world.act(|context| archive::unarchive(context, &id, &request))
}

fn path_of(world: &World, id: &str) -> PathBuf {
    world
        .store
        .archived(world.run.run_id(), &CheckpointId::parse(id).unwrap())
}

/// Every checkpoint of the run with its bytes.
fn manifests(world: &World) -> BTreeMap<String, Vec<u8>> {
    let good = world.verified().good.into_iter();
    good.map(|good| {
        let bytes = world.disk.content(&good.path).unwrap();
        (good.header.checkpoint_id.to_string(), bytes)
    })
    .collect()
}

fn collect(world: &World) {
    let request = gc::Request {
        max_unused: 0.0,
        ..gc::Request::default()
    };
    let (cancel, progress) = (Cancel::default(), Progress::default());
    gc::gc(
        &world.disk,
        &world.store,
        &request,
        world.now_ms,
        &cancel,
        &progress,
    )
    .unwrap();
}

#[track_caller]
fn assert_whole(world: &World, when: &str) {
    let all = verify::Request {
        data: true,
        ..verify::Request::default()
    };
    let (cancel, progress) = (Cancel::default(), Progress::default());
    let found = verify_store(
        &world.disk,
        &world.store,
        &all,
        world.now_ms,
        &cancel,
        &progress,
    )
    .unwrap();
    assert!(
        found.is_ok(),
        "{when}: {:?} {:?}",
        found.hurt,
        found.problems
    );
    world.assert_tidy(when);
}

/// True if the checkpoint's archive is whole.
fn is_archived(world: &World, id: &str) -> bool {
    let path = path_of(world, id);
    world.disk.content(&path).is_some()
        && import::check(&world.disk, &path, &Cancel::default(), &Progress::default()).is_ok()
}

#[test]
fn what_goes_can_be_listed_and_brought_back() {
    let mut world = source();
    let before = manifests(&world);
    let ids = world.ids();
    let done = prune(&world, 1).unwrap();
    assert_eq!(done.warnings, Vec::<String>::new());
    let gone: Vec<&str> = done
        .archived
        .iter()
        .map(|one| one.checkpoint_id.as_str())
        .collect();
    assert_eq!(
        gone,
        ids[1..].iter().map(String::as_str).collect::<Vec<_>>()
    );
    assert_eq!(world.ids(), ids[..1]);

    let rows = archived(&world);
    assert_eq!(archived_ids(&world), ids[1..]);
    let steps: Vec<Step> = rows
        .iter()
        .map(|one| one.found.as_ref().unwrap().step.clone())
        .collect();
    assert_eq!(steps, [3.0, 2.0, 1.0].map(Step::Number));
    for (row, done) in rows.iter().zip(&done.archived) {
        assert_eq!((&row.path, row.file_bytes), (&done.path, done.file_bytes));
        assert_eq!(
            row.file_bytes,
            world.disk.content(&row.path).unwrap().len() as u64
        );
    }

    // Nothing in the store is kept for them.
    collect(&world);
    let packed = |world: &World| -> u64 {
        world
            .store
            .packs(&world.disk)
            .unwrap()
            .iter()
            .map(|(_, len)| len)
            .sum()
    };
    let small = packed(&world);
    assert_whole(&world, "collected");
    for id in &ids[1..] {
        world.now_ms += 1_000;
        let back = unarchive(&world, id, false).unwrap();
        assert!(!back.checkpoints[0].was_here);
        assert!(unarchive(&world, id, false).unwrap().checkpoints[0].was_here);
    }
    assert!(packed(&world) > small);
    assert_eq!(manifests(&world), before);
    assert_whole(&world, "brought back");
    assert_eq!(archived_ids(&world), ids[1..], "the archives stay");

    // Found archived already, they go at once.
    let again = prune(&world, 1).unwrap();
    assert!(again.archived.iter().all(|one| one.was_there) && again.archived.len() == 3);
    // And the archive goes if asked.
    unarchive(&world, &ids[2], true).unwrap();
    assert_eq!(archived_ids(&world), [ids[1].clone(), ids[3].clone()]);
    assert_eq!(
        code(unarchive(&world, &ids[2], true)),
        "ERR_CHECKPOINT_NOT_FOUND"
    );
    assert_whole(&world, "moved back");
}

#[test]
fn create_archives_what_it_drops() {
    let mut world = World::new();
    let mut made = Vec::new();
    for step in 1..=5 {
        world.now_ms += 1_000;
        // What is noted of older ones says nothing of their objects.
        let done = create(&world, step, &state(u64::from(step)), &policy(2)).unwrap();
        assert_eq!(done.warnings, Vec::<String>::new());
        made.push(done.checkpoint_id.to_string());
        world.assert_tidy("created");
    }
    made.reverse();
    assert_eq!(world.ids(), made[..2]);
    assert_eq!(archived_ids(&world), made[2..]);
    collect(&world);
    for id in &made[2..] {
        assert!(is_archived(&world, id), "{id}");
        unarchive(&world, id, true).unwrap();
    }
    assert_whole(&world, "brought back");
}

#[test]
fn a_run_that_is_gone_comes_back() {
    let world = source();
    let ids = world.ids();
    let before = manifests(&world);
    prune(&world, 1).unwrap();
    world.disk.remove(world.run.path());
    let all = archive::archived(&world.disk, &world.store, None, &Cancel::default()).unwrap();
    assert_eq!(all.len(), 3);
    unarchive(&world, &ids[2], false).unwrap();
    assert_eq!(manifests(&world).get(&ids[2]), before.get(&ids[2]));
    world.restore_newest().unwrap();
}

#[test]
fn an_archive_that_is_not_whole_is_written_anew() {
    let world = source();
    let id = world.ids()[3].clone();
    let whole = {
        let other = world.fork();
        prune(&other, 3).unwrap();
        other.disk.content(&path_of(&other, &id)).unwrap()
    };
    for at in [0, 10, 100, whole.len() / 2, whole.len() - 1] {
        for cut in [false, true] {
            let world = world.fork();
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            if cut {
                bytes.truncate(at);
            }
            prune(&world, 4).unwrap();
            for folder in [
                world.store.archives(),
                world.store.archives_of(world.run.run_id()),
            ] {
                world.disk.plant_dir(&folder);
            }
            world.disk.plant_file(&path_of(&world, &id), &bytes);
            let format_altered = at == 10 && !cut;
            let done = prune(&world, 3).unwrap();
            if format_altered {
                // Perhaps a newer version's: not ours to replace.
                assert_eq!(world.ids().len(), 4);
                assert!(done.warnings[0].contains("can't be archived"), "{done:?}");
                assert_eq!(done.decisions[3].reasons, [Reason::NotArchived]);
                continue;
            }
            assert!(!done.archived[0].was_there);
            assert_eq!(
                world.disk.content(&path_of(&world, &id)).unwrap(),
                whole,
                "{at} {cut}"
            );
            assert_eq!(world.ids().len(), 3);
        }
    }
}

#[test]
fn another_checkpoint_of_that_id_is_not_replaced() {
    let world = source();
    let ids = world.ids();
    prune(&world, 2).unwrap();
    let other = world.disk.content(&path_of(&world, &ids[2])).unwrap();
    let world = source();
    let folder = world.store.archives_of(world.run.run_id());
    world.disk.plant_dir(&world.store.archives());
    world.disk.plant_dir(&folder);
    world.disk.plant_file(&path_of(&world, &ids[3]), &other);
    let row = archived(&world).remove(0);
    assert!(row.found.unwrap_err().contains("as its name says"));
    assert_eq!(
        code(unarchive(&world, &ids[3], false)),
        "ERR_ARCHIVE_DAMAGED"
    );

    let done = prune(&world, 2).unwrap();
    assert_eq!(world.ids(), [&ids[..2], &ids[3..]].concat());
    assert_eq!(done.warnings.len(), 1);
    assert!(
        done.warnings[0].contains("move it away"),
        "{:?}",
        done.warnings
    );
    assert_eq!(
        world.disk.content(&path_of(&world, &ids[3])).unwrap(),
        other
    );
    world.assert_tidy("not archived");
    // A create says so as well, and is no worse for it.
    let made = create(&world, 9, "{}", &policy(2)).unwrap();
    assert_eq!(made.dropped, [ids[1].clone()]);
    assert!(made.warnings[0].contains(&ids[3]), "{:?}", made.warnings);
    world.assert_tidy("created");
}

#[test]
fn a_checkpoint_that_lacks_something_stays() {
    let world = source();
    let (pack, _) = world.store.packs(&world.disk).unwrap()[0];
    let pack = world.store.pack(pack);
    let lacking = world.fork();
    lacking.disk.remove(&pack);
    let done = prune(&lacking, 1).unwrap();
    assert_eq!((done.archived.len(), done.warnings.len()), (0, 0));
    assert_eq!(
        manifests(&lacking),
        manifests(&world),
        "the only one that is whole stays, and the damaged ones"
    );
    lacking.assert_tidy("all stay");
    let small = World::with_checkpoints(2);
    assert_eq!(
        code(small.act(|context| {
            let nowhere = waymark::ops::Context {
                store: None,
                ..*context
            };
            prune::prune(&nowhere, &policy(1), false)
        })),
        "ERR_OPTION_INVALID"
    );
}

/// Something that archives or brings back.
struct Deed {
    name: &'static str,
    world: World,
    act: fn(&World) -> Result<()>,
}

fn deeds() -> Vec<Deed> {
    let source = source();
    let mut shelved = source.fork();
    prune(&shelved, 2).unwrap();
    shelved.disk.settle();
    shelved.now_ms += 1_000;
    vec![
        Deed {
            name: "prune",
            world: source.fork(),
            act: |world| prune(world, 1).map(drop),
        },
        Deed {
            name: "create",
            world: source,
            act: |world| create(world, 5, &state(5), &policy(2)).map(drop),
        },
        Deed {
            name: "bring back",
            world: shelved.fork(),
            act: |world| {
                let oldest = archived_ids(world).pop();
                unarchive(world, &oldest.unwrap(), false).map(drop)
            },
        },
        Deed {
            name: "move back",
            world: shelved,
            act: |world| {
                let oldest = archived_ids(world).pop();
                unarchive(world, &oldest.unwrap(), true).map(drop)
            },
        },
    ]
}

/// Every checkpoint that there ever was is whole, in the run or archived.
#[track_caller]
fn assert_nothing_lost(world: &World, all: &BTreeMap<String, Vec<u8>>, when: &str) {
    let here = manifests(world);
    for (id, bytes) in all {
        match here.get(id) {
            Some(found) => assert!(found == bytes, "{when}: {id} was altered"),
            None => assert!(is_archived(world, id), "{when}: {id} is lost"),
        }
    }
    assert!(world.verified().damaged.is_empty(), "{when}");
}

/// All checkpoints of the run, in it and archived.
fn everything(world: &World) -> BTreeMap<String, Vec<u8>> {
    let world = world.fork();
    for id in archived_ids(&world) {
        unarchive(&world, &id, false).unwrap();
    }
    manifests(&world)
}

/// What holds after it: the deed can be done again, and everything can still be brought back.
fn goes_on(deed: &Deed, world: &World, all: &BTreeMap<String, Vec<u8>>, when: &str) {
    let mut world = world.clone();
    world.now_ms += MINUTE_MS;
    prune(&world, 1).unwrap_or_else(|error| panic!("{when}: {}", error.full_message()));
    assert_eq!(world.ids().len(), 1, "{when}");
    collect(&world);
    let mut found = everything(&world);
    if deed.name == "create" {
        found.retain(|id, _| all.contains_key(id));
    }
    assert!(&found == all, "{when}: not all came back");
    assert_whole(&world, when);
}

fn check(loss: impl Fn(&SimDisk) -> Vec<(String, SimDisk)>) {
    for deed in deeds() {
        let all = everything(&deed.world);
        let clean = deed.world.fork();
        let begun = clean.disk.calls();
        (deed.act)(&clean).unwrap();
        let calls = clean.disk.calls() - begun;
        assert!(calls > 8, "{} makes calls", deed.name);
        for n in 1..=calls + 1 {
            let world = deed.world.fork();
            world.disk.crash_at(n);
            let _ = (deed.act)(&world);
            for (how, disk) in loss(&world.disk) {
                let when = format!("{}, died at call {n} of {calls}, {how}", deed.name);
                let world = world.on(disk);
                assert_nothing_lost(&world, &all, &when);
                goes_on(&deed, &world, &all, &when);
            }
        }
    }
}

#[test]
fn a_killed_process_loses_nothing() {
    check(|disk| {
        disk.kill();
        vec![("killed".to_owned(), disk.fork())]
    });
}

#[test]
fn power_loss_loses_nothing() {
    check(|disk| {
        let lost = |seed| (format!("power loss {seed}"), disk.power_loss(seed));
        (0..3).map(lost).collect()
    });
}

#[test]
fn a_call_that_fails_loses_nothing() {
    for deed in deeds() {
        let all = everything(&deed.world);
        let clean = deed.world.fork();
        (deed.act)(&clean).unwrap();
        let calls = clean.disk.calls();
        for kind in [
            ErrorKind::StorageFull,
            ErrorKind::PermissionDenied,
            ErrorKind::Other,
        ] {
            for n in 1..=calls {
                let world = deed.world.fork();
                world.disk.fail_at(n, kind);
                let _ = (deed.act)(&world);
                world.disk.heal();
                let when = format!("{}, call {n} of {calls} failed ({kind})", deed.name);
                assert_nothing_lost(&world, &all, &when);
                goes_on(&deed, &world, &all, &when);
            }
        }
    }
}

#[test]
fn a_disk_that_stays_full_drops_nothing() {
    let world = source();
    let ids = world.ids();
    world.disk.set_capacity(Some(world.disk.used() + 10_000));
    assert_eq!(code(prune(&world, 1)), "ERR_DISK_FULL");
    assert_eq!(world.ids(), ids);
    // Dropping still works.
    world.prune(1).unwrap();
    assert_eq!(world.ids(), ids[..1]);
}

#[test]
fn gc_removes_archives_that_were_begun() {
    let mut world = source();
    prune(&world, 3).unwrap();
    let folder = world.store.archives_of(world.run.run_id());
    let begun = |pid: u32| folder.join(format!(".x.wmk.part-{pid}-0"));
    for pid in [4_001, 4_002] {
        world.disk.plant_file(&begun(pid), b"half");
    }
    world.disk.set_alive(|pid| Some(pid == 4_002));
    let left = |world: &World| {
        let there = |path: &Path| world.disk.content(path).is_some();
        (there(&begun(4_001)), there(&begun(4_002)))
    };
    collect(&world);
    assert_eq!(left(&world), (true, true), "they are young");
    world.now_ms += 2 * 3_600_000;
    world.disk.set_now(world.now_ms);
    collect(&world);
    assert_eq!(left(&world), (false, true));
    assert_eq!(archived(&world).len(), 1);
}

/// Archives are no part of what the budget bounds, and what it drops is archived.
#[test]
fn a_budget_archives_what_it_drops() {
    let mut world = World::new();
    let max = 2 << 20;
    let mut made = Vec::new();
    for step in 0..30_u32 {
        world.now_ms += 1_000;
        let noise: Vec<String> = crate::store_world::noise(u64::from(step), 100_000)
            .chunks(2)
            .map(|pair| format!("{:02x}{:02x}", pair[0], pair[1]))
            .collect();
        let state = format!("{{\"text\":\"{}\"}}", noise.concat());
        let request = create::Request {
            step: Step::Number(f64::from(step)),
            state: state.as_bytes(),
            retention: Some(policy(1_000)),
            max_state_bytes: STATE_MAX,
            capture: None,
            max_store_bytes: Some(max),
            facts: None,
            environment: None,
        };
        let done = world
            .act(|context| create::create(context, &request))
            .unwrap();
        made.push(done.checkpoint_id.to_string());
        assert!(world.store.used_bytes(&world.disk).unwrap() <= max);
    }
    made.reverse();
    let here = world.ids();
    assert!(here.len() < 25, "{}", here.len());
    assert_eq!(
        [here, archived_ids(&world)].concat(),
        made,
        "each is here or archived"
    );
    assert_whole(&world, "after the budget");
}
