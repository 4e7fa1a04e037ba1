//! Every verb, with every call it makes refused once, and for good.
//!
//! A refused call is either one that does not matter, or the verb fails with a code that names the
//! cause, and nothing that can be seen has changed; only `ERR_NOT_DURABLE` says otherwise. The next
//! operation works.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use crate::sim_disk::Call;
use crate::verbs::{Clean, Verb, sight, verbs};
use crate::world::{MINUTE_MS, World};

const KINDS: [(ErrorKind, &str); 4] = [
    (ErrorKind::StorageFull, "ERR_DISK_FULL"),
    (ErrorKind::QuotaExceeded, "ERR_DISK_FULL"),
    (ErrorKind::PermissionDenied, "ERR_RUN_READ_ONLY"),
    (ErrorKind::Other, "ERR_IO"),
];

/// What can be seen after a success: what a clean run leaves, and perhaps what it could not remove.
fn check_done(clean: &Clean, world: &World, when: &str) {
    let sight = sight(world);
    for (name, content) in &clean.after {
        assert_eq!(sight.get(name), Some(content), "{when}: {name}");
    }
    for (name, content) in &sight {
        let known = clean.after.get(name).or(clean.before.get(name));
        assert_eq!(known, Some(content), "{when}: {name}");
    }
}

const NOTHING: [String; 0] = [];

/// The names of all files that differ from what was there before.
fn changed(clean: &Clean, world: &World) -> Vec<String> {
    let sight = sight(world);
    let names: BTreeSet<&String> = clean.before.keys().chain(sight.keys()).collect();
    let differs = |name: &&&String| clean.before.get(**name) != sight.get(**name);
    names
        .iter()
        .filter(differs)
        .map(|name| (*name).clone())
        .collect()
}

/// True if a call drops a checkpoint.
fn drops(call: &Call) -> bool {
    call.verb == "remove_file" && call.path.extension().is_some_and(|end| end == "json")
}

/// The run goes on after what happened.
fn check_next(verb: &Verb, world: &World, when: &str) {
    let mut world = world.clone();
    world.now_ms += MINUTE_MS;
    (verb.run)(&world).unwrap_or_else(|error| panic!("{when}: again: {}", error.full_message()));
    world.now_ms += 1_000;
    world
        .create(8.0)
        .unwrap_or_else(|error| panic!("{when}: next create: {}", error.full_message()));
    world.assert_tidy(when);
}

#[test]
fn a_call_that_fails_once_changes_nothing_that_can_be_seen() {
    for verb in verbs() {
        let clean = verb.clean();
        for n in 1..=clean.calls {
            for (kind, expected) in KINDS {
                let world = verb.world.fork();
                world.disk.fail_at(n, kind);
                let result = (verb.run)(&world);
                let at = usize::try_from(n).unwrap() - 1;
                let call = world.disk.trace()[at].clone();
                let when = format!(
                    "{}, call {n} of {} ({} {}) failed with {kind}",
                    verb.name,
                    clean.calls,
                    call.verb,
                    call.path.display()
                );
                match result.map_err(|error| error.code()) {
                    Ok(_) => {
                        assert!(
                            ["remove_file", "remove_dir", "sync_dir"].contains(&call.verb)
                                || call.path.ends_with(".waymark/seen")
                                // The audit log, and its store: that is a warning.
                                || call.path.starts_with(world.store.path())
                                // A full disk is what one prunes for.
                                || (verb.name.starts_with("prune")
                                    && expected == "ERR_DISK_FULL"
                                    && call.path.ends_with(".waymark/staged-registry")),
                            "{when}, and it told nobody"
                        );
                        check_done(&clean, &world, &when);
                    }
                    Err("ERR_NOT_DURABLE") => {
                        assert_eq!(call.verb, "sync_dir", "{when}");
                        if verb.restores {
                            clean.all_or_nothing(&world, &when);
                        }
                    }
                    // The registry forgot it already; the next operation enters it again.
                    Err(code) if verb.name.starts_with("prune") && drops(&call) => {
                        assert_eq!(code, expected, "{when}");
                        check_done(&clean, &world, &when);
                    }
                    Err(code) => {
                        assert_eq!(code, expected, "{when}");
                        assert_eq!(changed(&clean, &world), NOTHING, "{when}");
                    }
                }
                check_next(&verb, &world, &when);
            }
        }
    }
}

/// A disk that is full stays full: even cleaning up fails.
#[test]
fn a_disk_that_stays_full_leaves_the_run_whole() {
    for verb in verbs() {
        let clean = verb.clean();
        for n in 1..=clean.calls {
            let world = verb.world.fork();
            world.disk.fail_from(n, ErrorKind::StorageFull);
            let result = (verb.run)(&world);
            let when = format!("{}, full from call {n} of {} on", verb.name, clean.calls);
            if let Err(error) = &result {
                let code = error.code();
                assert!(
                    ["ERR_DISK_FULL", "ERR_NOT_DURABLE"].contains(&code),
                    "{when}: {code}"
                );
            }
            for (name, content) in sight(&world) {
                let known = [clean.before.get(&name), clean.after.get(&name)];
                assert!(known.contains(&Some(&content)), "{when}: {name} is torn");
            }
            world.disk.heal();
            check_next(&verb, &world, &when);
        }
    }
}
