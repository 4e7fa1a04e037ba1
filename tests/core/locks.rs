//! Two at a time: Waymark's own lock on a real disk, the runner's on a simulated one.

#![allow(clippy::disallowed_methods, reason = "a test's own folder")]

use std::collections::BTreeSet;
use std::fs;
use std::thread;

use waymark::model::cancel::Cancel;
use waymark::model::manifest::Check;
use waymark::model::progress::Progress;
use waymark::model::retention::Retention;
use waymark::model::step::Step;
use waymark::ops::create::{Created, Request, STATE_MAX};
use waymark::ops::{self, Context};
use waymark::store::disk::Disk;
use waymark::store::layout::RunDir;
use waymark::store::lock::{self, RunLock};
use waymark::store::manifests;
use waymark::store::real_disk::RealDisk;
use waymark::store::runner_lock::{self, Holder, RunnerLock};

use crate::world::{World, code, record, registry, run_id};

const OTHER: u32 = 4_242;

/// Writes the runner's lock as another process would have, so long ago.
fn lock_of(world: &World, pid: u32, age_ms: i64) {
    world.disk.set_now(world.now_ms - age_ms);
    let text = format!("{{\"pid\":{pid},\"timestamp\":\"2026-01-01T00:00:00.000Z\"}}");
    world.put("run.json.lock", &text);
}

fn lock_text(world: &World) -> Option<String> {
    world.text("run.json.lock")
}

#[test]
fn eighty_creates_of_eight_threads_are_eighty_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::new(folder.path(), run_id());
    fs::create_dir(run.path()).unwrap();
    for (path, text) in [
        (run.run_record(), record(1, "shared")),
        (run.registry(), registry("a.md")),
    ] {
        let mut file = RealDisk.create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.finish().unwrap();
    }
    let create = |step: u32| -> Created {
        let request = Request {
            step: Step::Number(f64::from(step)),
            state: b"{\"of\":\"a thread\"}",
            retention: Some(Retention::default()),
            max_state_bytes: STATE_MAX,
            capture: None,
            max_store_bytes: None,
            facts: None,
            environment: None,
        };
        let context = Context {
            store: None,
            disk: &RealDisk,
            run: &run,
            // The clock stands still: nothing but the lock keeps them apart.
            now_ms: crate::world::START_MS,
            lease: None,
            cancel: &Cancel::default(),
            progress: &Progress::default(),
        };
        ops::create::create(&context, &request).unwrap()
    };
    let create = &create;
    let made: Vec<Created> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|thread| scope.spawn(move || (0..10).map(|_| create(thread)).collect::<Vec<_>>()))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    let ids: BTreeSet<String> = made
        .iter()
        .map(|one| one.checkpoint_id.to_string())
        .collect();
    assert_eq!(ids.len(), 80);
    let sequences: BTreeSet<u64> = made.iter().map(|one| one.sequence).collect();
    assert_eq!(sequences, (1..=80).collect());
    assert!(made.iter().all(|one| one.warnings.is_empty()));

    let scan = manifests::scan(&RealDisk, &run, Check::Checksum, &Cancel::default()).unwrap();
    assert!(scan.damaged.is_empty());
    let kept: Vec<_> = scan
        .good
        .iter()
        .map(|good| good.header.sequence.unwrap())
        .collect();
    assert_eq!(kept, [80, 79, 78, 77, 76]);
    let text = fs::read_to_string(run.registry()).unwrap();
    for good in &scan.good {
        assert!(text.contains(good.header.checkpoint_id.as_str()));
    }
    assert_eq!(
        text.matches("\"type\": \"checkpoint\"").count(),
        5,
        "no other is entered"
    );
    let mut left: Vec<_> = fs::read_dir(run.private())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["lock", "seen"], "nothing is left over");
}

#[test]
fn the_own_lock_is_waited_for_and_let_go() {
    let world = World::with_checkpoints(1);
    let held = RunLock::acquire(&world.disk, &world.run, &Cancel::default()).unwrap();
    assert_eq!(code(world.create(2.0)), "ERR_RUN_BUSY");
    assert!(world.disk.paused_ms() >= lock::WAIT_MS);
    assert_eq!(world.ids().len(), 1, "reading needs no lock");
    drop(held);
    world.create(2.0).unwrap();
    let held = RunLock::acquire(&world.disk, &world.run, &Cancel::default()).unwrap();
    world.disk.kill();
    world.create(3.0).unwrap();
    drop(held);
}

#[test]
fn a_dead_holders_lock_is_taken_over_at_once() {
    let world = World::with_checkpoints(1);
    world.disk.set_alive(|pid| Some(pid != OTHER));
    lock_of(&world, OTHER, 0);
    world.restore_newest().unwrap();
    assert_eq!(world.disk.paused_ms(), 0);
    assert_eq!(lock_text(&world), None, "and it was let go");
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn a_live_holders_lock_is_waited_for_and_never_broken() {
    let world = World::with_checkpoints(1);
    lock_of(&world, OTHER, 0);
    let (before, text) = (world.sight(), lock_text(&world));
    let error = world.restore_newest().unwrap_err();
    assert_eq!(error.code(), "ERR_RUN_LOCKED");
    assert!(error.to_string().contains("process 4242"), "{error}");
    assert_eq!(world.disk.paused_ms(), runner_lock::WAIT_MS);
    assert_eq!((world.sight(), lock_text(&world)), (before, text));
}

#[test]
fn a_lock_that_is_let_go_while_we_wait_is_taken() {
    let world = World::with_checkpoints(1);
    lock_of(&world, OTHER, 0);
    world.disk.vanish_after(700, &world.run.runner_lock());
    world.restore_newest().unwrap();
    assert_eq!(world.disk.paused_ms(), 700);
}

#[test]
fn a_stale_lock_is_taken_over_whoever_held_it() {
    for (age_ms, taken) in [
        (29_000, true),
        (24_000, false),
        (30_001, true),
        (3_600_000, true),
    ] {
        let world = World::with_checkpoints(1);
        lock_of(&world, OTHER, age_ms);
        let result = world.restore_newest();
        assert_eq!(
            result.is_ok(),
            taken,
            "{age_ms}: it grows stale while it is waited for"
        );
        let waited = i64::try_from(world.disk.paused_ms()).unwrap();
        assert!(
            !taken || age_ms + waited <= 30_100.max(age_ms),
            "{age_ms}: waited {waited}"
        );
    }
}

/// A lock without a readable holder is one that is being written: live until it is stale.
#[test]
fn a_lock_of_nobody_is_live_until_stale() {
    for text in ["", "{\"pid\":", "{\"pid\":0}", "{\"pid\":-1}", "hello"] {
        let world = World::with_checkpoints(1);
        world.disk.set_alive(|_| Some(false));
        world.disk.set_now(world.now_ms);
        world.put("run.json.lock", text);
        let judged = |now_ms| runner_lock::judge(&world.disk, &world.run.runner_lock(), now_ms);
        assert_eq!(judged(world.now_ms).unwrap(), Holder::Live, "{text:?}");
        assert_eq!(
            judged(world.now_ms + 30_001).unwrap(),
            Holder::Gone,
            "{text:?}"
        );
    }
}

#[test]
fn a_process_that_cant_be_judged_is_live() {
    let world = World::with_checkpoints(1);
    world.disk.set_alive(|_| None);
    lock_of(&world, OTHER, 0);
    assert_eq!(code(world.restore_newest()), "ERR_RUN_LOCKED");
}

#[test]
fn the_runners_lock_bears_our_pid_while_we_hold_it() {
    let world = World::with_checkpoints(1);
    let cancel = Cancel::default();
    let held = RunnerLock::acquire(&world.disk, &world.run, world.now_ms, &cancel).unwrap();
    let text = lock_text(&world).unwrap();
    assert!(
        text.starts_with(&format!("{{\"pid\":{},", std::process::id())),
        "{text}"
    );
    assert!(RunnerLock::acquire(&world.disk, &world.run, world.now_ms, &cancel).is_err());
    drop(held);
    assert_eq!(lock_text(&world), None);
}

#[test]
fn whoever_waits_can_be_called_off() {
    let world = World::with_checkpoints(1);
    lock_of(&world, OTHER, 0);
    let cancel = Cancel::default();
    cancel.cancel();
    assert_eq!(
        RunnerLock::acquire(&world.disk, &world.run, world.now_ms, &cancel)
            .err()
            .unwrap()
            .code(),
        "ERR_ABORTED"
    );
    assert_eq!(
        code(RunLock::acquire(&world.disk, &world.run, &cancel)),
        "ERR_ABORTED"
    );
}

/// The kernel's lock on a real disk, between two handles of one process as between two processes.
#[test]
fn the_real_lock_excludes_and_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let first = RealDisk.try_lock(&path, "first").unwrap().unwrap();
    assert!(RealDisk.try_lock(&path, "second").unwrap().is_none());
    assert_eq!(fs::read_to_string(&path).unwrap(), "first");
    drop(first);
    let second = RealDisk.try_lock(&path, "second").unwrap();
    assert!(second.is_some());
    assert_eq!(fs::read_to_string(&path).unwrap(), "second");
}

#[test]
fn the_real_disk_knows_who_is_alive() {
    if cfg!(unix) {
        assert_eq!(RealDisk.process_alive(std::process::id()), Some(true));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(RealDisk.process_alive(child.id()), Some(false));
    }
}

/// The name of the last holder is written in place: a lock is taken often, and to empty a file costs.
#[test]
fn a_lock_file_names_its_last_holder_whoever_was_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    for holder in [
        "{\"pid\":4194304}",
        "{\"pid\":7}",
        "{\"pid\":12345}",
        "{\"pid\":12345}",
    ] {
        let guard = RealDisk.try_lock(&path, holder).unwrap().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), holder);
        drop(guard);
    }
    fs::write(&path, b"\xff is no text at all").unwrap();
    drop(RealDisk.try_lock(&path, "{\"pid\":7}").unwrap().unwrap());
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"pid\":7}");
}
