//! Every verb, killed at every call it makes, by process death and by power loss.
//!
//! Right after the crash, before anything is recovered: every file is its old or its new content,
//! whole; no checkpoint that was to stay is gone; the registry names no checkpoint without a file.
//! After recovery and one more checkpoint: nothing is left over, and restores are all or nothing.

use crate::sim_disk::{Rng, SimDisk};
use crate::verbs::{Clean, Verb, sight, verbs};
use crate::world::{MINUTE_MS, World};

const SEEDS: u64 = 20;

/// What holds right after a crash, before any recovery.
fn check_raw(clean: &Clean, world: &World, when: &str) {
    let sight = sight(world);
    for (name, content) in &sight {
        let known = [clean.before.get(name), clean.after.get(name)];
        assert!(
            known.contains(&Some(content)),
            "{when}: {name} is neither old nor new: {}",
            String::from_utf8_lossy(content)
        );
    }
    for name in clean
        .before
        .keys()
        .filter(|name| clean.after.contains_key(*name))
    {
        assert!(
            sight.contains_key(name) || clean.unsure.as_ref() == Some(name),
            "{when}: {name} is gone"
        );
    }
    check_names(world, when);
}

/// Every checkpoint that can be seen is whole, and every one that is named can be seen.
fn check_names(world: &World, when: &str) {
    let scan = world.verified();
    assert!(scan.damaged.is_empty(), "{when}: {:?}", scan.damaged);
    for id in world.registered() {
        assert!(
            world
                .disk
                .content(&world.manifest(&format!("{id}.json")))
                .is_some(),
            "{when}: the registry names {id}, which does not exist"
        );
    }
}

/// Recovers, and checks what holds from then on.
fn recovered(verb: &Verb, clean: &Clean, crashed: &World, done: bool, when: &str) -> World {
    let mut world = crashed.clone();
    world.now_ms += MINUTE_MS;
    world
        .recover()
        .unwrap_or_else(|error| panic!("{when}: recover: {}", error.full_message()));
    if verb.restores {
        let new = clean.all_or_nothing(&world, when);
        assert!(new || !done, "{when}: told as done, but undone");
    }
    assert_eq!(world.leftovers(), Vec::<String>::new(), "{when}");
    world
}

/// What holds after recovery, and that the run goes on.
fn check_recovered(verb: &Verb, clean: &Clean, crashed: &World, done: bool, when: &str) {
    let mut world = recovered(verb, clean, crashed, done, when);
    world.now_ms += 1_000;
    let next = world
        .create(8.0)
        .unwrap_or_else(|error| panic!("{when}: next create: {}", error.full_message()));
    world.assert_tidy(when);
    assert_eq!(
        world.ids()[0],
        next.checkpoint_id.as_str(),
        "{when}: the next is the newest"
    );
    world.now_ms += 1_000;
    world
        .restore_newest()
        .unwrap_or_else(|error| panic!("{when}: next restore: {}", error.full_message()));
}

fn check_all(verb: &Verb, loss: impl Fn(&SimDisk) -> Vec<(String, SimDisk)>) {
    let clean = verb.clean();
    assert!(clean.calls > 3, "{} makes calls", verb.name);
    // One more than there are calls: nothing fails, the crash comes right after success.
    for n in 1..=clean.calls + 1 {
        let (world, result) = verb.crashed(n);
        assert!(
            n <= clean.calls || result.is_ok(),
            "{} makes no further call",
            verb.name
        );
        for (how, disk) in loss(&world.disk) {
            let when = format!("{}, died at call {n} of {}, {how}", verb.name, clean.calls);
            let world = world.on(disk);
            check_raw(&clean, &world, &when);
            if let Ok(Some(id)) = &result {
                assert!(
                    world.ids().contains(id),
                    "{when}: a safe checkpoint is gone"
                );
            }
            check_recovered(verb, &clean, &world, result.is_ok(), &when);
        }
    }
}

fn killed(disk: &SimDisk) -> Vec<(String, SimDisk)> {
    disk.kill();
    vec![("killed".to_owned(), disk.fork())]
}

fn powerless(disk: &SimDisk) -> Vec<(String, SimDisk)> {
    let lost = |seed| (format!("power loss {seed}"), disk.power_loss(seed));
    (0..SEEDS).map(lost).collect()
}

/// Where one sync makes all earlier names durable, too.
fn in_order() -> Vec<Verb> {
    let verbs = verbs();
    for verb in &verbs {
        verb.world.disk.keep_order();
    }
    verbs
}

#[test]
fn a_killed_process_leaves_every_verb_whole() {
    for verb in verbs().into_iter().chain(in_order()) {
        check_all(&verb, killed);
    }
}

#[test]
fn power_loss_leaves_every_verb_whole() {
    for verb in verbs() {
        check_all(&verb, powerless);
    }
}

#[test]
fn power_loss_leaves_every_verb_whole_where_names_keep_their_order() {
    for verb in in_order() {
        check_all(&verb, powerless);
    }
}

/// A process dies in a verb, and the next one dies in the recovery of it or in the same verb.
#[test]
fn two_crashes_in_a_row_leave_every_verb_whole() {
    two_crashes(verbs());
}

#[test]
fn two_crashes_in_a_row_leave_every_verb_whole_where_names_keep_their_order() {
    two_crashes(in_order());
}

fn two_crashes(verbs: Vec<Verb>) {
    for verb in verbs {
        let clean = verb.clean();
        for first in 1..=clean.calls {
            let (world, _) = verb.crashed(first);
            world.disk.kill();
            let mut world = world.fork();
            world.now_ms += 1;
            // As if the dead process's lock had been taken over: that would shift the calls.
            let leftover = world.run.runner_lock();
            if world.disk.content(&leftover).is_some() {
                world.disk.remove(&leftover);
            }
            for second in 1..=clean.calls + 8 {
                let again = world.fork();
                again.disk.crash_at(second);
                let result = (verb.run)(&again);
                for seed in 0..4 {
                    let when = format!(
                        "{}, killed at call {first}, power loss {seed} at call {second} of the next",
                        verb.name
                    );
                    let seed = Rng::new(first << 32 | second << 8 | seed).next();
                    let lost = again.on(again.disk.power_loss(seed));
                    if verb.restores {
                        check_raw(&clean, &lost, &when);
                        recovered(&verb, &clean, &lost, result.is_ok(), &when);
                    } else {
                        check_names(&lost, &when);
                    }
                }
            }
        }
    }
}

/// A call fails in a restore, and the process dies while it puts things right.
#[test]
fn a_crash_while_a_failed_restore_is_undone_leaves_all_or_nothing() {
    for verb in verbs().into_iter().filter(|verb| verb.restores) {
        let clean = verb.clean();
        for failing in 1..=clean.calls {
            for dying in failing + 1..=clean.calls + 12 {
                let world = verb.world.fork();
                world.disk.fail_at(failing, std::io::ErrorKind::Other);
                world.disk.crash_at(dying);
                let result = (verb.run)(&world);
                world.disk.kill();
                let when = format!("{}, call {failing} failed, died at call {dying}", verb.name);
                check_raw(&clean, &world, &when);
                check_recovered(&verb, &clean, &world.fork(), result.is_ok(), &when);
            }
        }
    }
}
