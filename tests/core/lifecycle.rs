//! What happens to checkpoints after they were taken: every move of every state, the log of changes killed
//! at every call, altered in every place, and healed.

use std::collections::BTreeMap;

use waymark::error::{Error, Result};
use waymark::model::environment::Environment;
use waymark::model::facts::{Class, Facts, Trigger};
use waymark::model::ids::CheckpointId;
use waymark::model::lifecycle::{Failure, Life, Pin, State};
use waymark::model::retention::Retention;
use waymark::model::step::Step;
use waymark::ops;
use waymark::ops::create::{Request, STATE_MAX};
use waymark::ops::lifecycle::{Become, Command, change};
use waymark::ops::restore::Choice;
use waymark::ops::verify;

use crate::sim_disk::SimDisk;
use crate::world::{MINUTE_MS, World, code};

const SEEDS: u64 = 20;

fn act(world: &World, id: &CheckpointId, command: &Command) -> Result<Become> {
    world.act(|context| change(context, id, command))
}

fn fail() -> Command {
    Command::Fail {
        failure: Failure {
            message: Some("the tests fail".to_owned()),
            ..Failure::default()
        },
        update: None,
    }
}

fn pin(reason: &str) -> Command {
    Command::Pin(Pin {
        reason: reason.to_owned(),
        until_ms: None,
    })
}

fn complete() -> Command {
    Command::Complete { update: None }
}

fn lives(world: &World) -> BTreeMap<String, Life> {
    let listed = world.act(ops::list::list).unwrap();
    assert_eq!(listed.changes_problem, None);
    listed.lives.into_iter().collect()
}

fn problem(world: &World) -> Option<String> {
    world.act(ops::list::list).unwrap().changes_problem
}

/// A world with two checkpoints, of which much is said.
fn told() -> (World, CheckpointId, CheckpointId) {
    let mut world = World::with_checkpoints(2);
    let (new, old) = (world.id_at(0), world.id_at(1));
    for (id, command) in [
        (&old, Command::Activate),
        (&old, pin("evidence")),
        (&new, Command::Activate),
        (&old, fail()),
        (&new, Command::Update(serde_json::json!({"phase": "b"}))),
    ] {
        world.now_ms += 1_000;
        act(&world, id, &command).unwrap();
    }
    world.disk.settle();
    world.now_ms += 1_000;
    (world, new, old)
}

#[test]
fn every_legal_move_and_no_other() {
    let reach: [(State, &[Command]); 5] = [
        (State::Created, &[]),
        (State::Active, &[Command::Activate]),
        (State::Completed, &[Command::Activate, complete()]),
        (State::Failed, &[fail()]),
        (State::Restored, &[fail()]),
    ];
    for (state, way) in reach {
        let world = World::with_checkpoints(1);
        let id = world.id_at(0);
        for command in way {
            act(&world, &id, command).unwrap();
        }
        if state == State::Restored {
            world.restore(&Choice::Id(id.clone())).unwrap();
        }
        let here = || lives(&world).get(id.as_str()).cloned().unwrap_or_default();
        assert_eq!(here().state(), state);
        for (command, to) in [
            (Command::Activate, State::Active),
            (complete(), State::Completed),
            (fail(), State::Failed),
        ] {
            let world = world.fork();
            let done = act(&world, &id, &command);
            if state.may_become(to) {
                assert_eq!(done.unwrap().life.state(), to);
                assert_eq!(lives(&world)[id.as_str()].state(), to);
            } else {
                let Err(Error::StateTransition {
                    from, to: asked, ..
                }) = done
                else {
                    panic!("{state:?} must not become {to:?}");
                };
                assert_eq!((from, asked), (state.as_str(), to.as_str()));
            }
        }
        // A restore moves a failed one only.
        world.restore(&Choice::Id(id.clone())).unwrap();
        let after = if state == State::Failed {
            State::Restored
        } else {
            state
        };
        assert_eq!(here().state(), after);
    }
}

#[test]
fn what_is_said_is_in_the_manifest_and_what_is_said_later_beside_it() {
    let world = World::with_checkpoints(1);
    let said = Facts {
        trigger: Some(Trigger::Milestone),
        class: Some(Class::Milestone),
        labels: vec!["beta".to_owned()],
        ..Facts::default()
    };
    let request = Request {
        step: Step::number(2.0).unwrap(),
        state: b"{}",
        retention: Some(Retention::default()),
        max_state_bytes: STATE_MAX,
        capture: None,
        max_store_bytes: None,
        facts: Some(said.clone()),
        environment: Some(Environment::parse(r#"{"git": {"head": "a"}}"#.to_owned()).unwrap()),
    };
    let created = world
        .act(|context| ops::create::create(context, &request))
        .unwrap();
    let id = created.checkpoint_id;
    let bytes = world.disk.content(&created.path).unwrap();
    let header = || world.verified().good[0].header.clone();
    assert_eq!(header().facts, Some(said.clone()));
    let environment = Some(r#"{"git":{"head":"a"}}"#);
    assert_eq!(header().environment.as_deref(), environment);
    let listed = world.act(ops::list::list).unwrap().scan.good;
    assert_eq!(listed[0].header.environment.as_deref(), environment);
    assert_eq!(listed[1].header.environment, None);
    let patch = serde_json::json!({"labels": ["beta", "shipped"], "class": null, "data": {"n": 1}});
    let after = act(&world, &id, &Command::Update(patch)).unwrap();
    let facts = after.facts().unwrap().unwrap();
    assert_eq!(facts.class, None);
    assert_eq!(facts.labels, ["beta", "shipped"]);
    assert_eq!(facts.data["n"], 1);
    assert_eq!(header().facts, Some(said), "the manifest stays");
    assert_eq!(world.disk.content(&created.path).unwrap(), bytes);
    let wrong = Command::Update(serde_json::json!({"class": "rare"}));
    assert_eq!(code(act(&world, &id, &wrong)), "ERR_FACTS_INVALID");
    let complete = Command::Complete {
        update: Some(serde_json::json!({"labels": "x"})),
    };
    act(&world, &id, &Command::Activate).unwrap();
    assert_eq!(code(act(&world, &id, &complete)), "ERR_FACTS_INVALID");
    let life = lives(&world).remove(id.as_str()).unwrap();
    assert_eq!(
        life.state(),
        State::Active,
        "an update that does not fit changes nothing"
    );
    assert_eq!(code(act(&world, &id, &pin(" "))), "ERR_OPTION_INVALID");
    let other = CheckpointId::parse("checkpoint-step-9-1").unwrap();
    assert_eq!(
        code(act(&world, &other, &pin("x"))),
        "ERR_CHECKPOINT_NOT_FOUND"
    );
}

/// A change killed at every call: it is there or it is not, and what was told as done is there after
/// power loss too.
#[test]
fn a_change_is_there_or_not_wherever_it_dies() {
    let (told, _, old) = told();
    let fresh = World::with_checkpoints(2);
    for (world, id) in [(fresh.fork(), fresh.id_at(0)), (told, old)] {
        let before = lives(&world);
        let command = pin("again");
        let clean = world.fork();
        act(&clean, &id, &command).unwrap();
        let (after, calls) = (lives(&clean), clean.disk.calls());
        assert!(calls > 1, "written and synced");
        for n in 1..=calls + 1 {
            let dying = world.fork();
            dying.disk.crash_at(n);
            let done = act(&dying, &id, &command).is_ok();
            let power = |seed| (format!("power loss {seed}"), dying.disk.power_loss(seed));
            let mut ends: Vec<(String, SimDisk)> = (0..SEEDS).map(power).collect();
            dying.disk.kill();
            ends.push(("killed".to_owned(), dying.disk.fork()));
            for (how, disk) in ends {
                let when = format!("died at call {n} of {calls}, {how}");
                let mut found = world.on(disk);
                let seen = lives(&found);
                assert!(seen == before || seen == after, "{when}: {seen:?}");
                assert!(!done || seen == after, "{when}: told as done");
                found.now_ms += MINUTE_MS;
                act(
                    &found,
                    &id,
                    &Command::Update(serde_json::json!({"phase": "c"})),
                )
                .unwrap_or_else(|error| panic!("{when}: {}", error.full_message()));
                let life = lives(&found).remove(id.as_str()).unwrap();
                assert_eq!(
                    life.updates.len(),
                    before.get(id.as_str()).map_or(0, |life| life.updates.len()) + 1
                );
                found.assert_tidy(&when);
            }
        }
        for n in 1..=calls {
            for kind in [std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other] {
                let failing = world.fork();
                failing.disk.fail_at(n, kind);
                let done = act(&failing, &id, &command).is_ok();
                failing.disk.heal();
                let seen = lives(&failing);
                assert!(seen == before || seen == after, "call {n} fails: {seen:?}");
                assert!(!done || seen == after, "call {n} fails: told as done");
            }
        }
    }
}

/// Each byte of the log altered, each line taken out, doubled or moved: it is found, and nothing is changed
/// or dropped until it is healed.
#[test]
fn a_broken_chain_is_found_in_each_place() {
    let (mut world, new, old) = told();
    let path = world.run.changes();
    let bytes = world.disk.content(&path).unwrap();
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), 5);
    let mut broken: Vec<(String, Vec<u8>)> = Vec::new();
    // The last line feed aside: without it the last line is a torn one.
    for at in (0..bytes.len() - 1).step_by(7) {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        broken.push((format!("byte {at}"), altered));
    }
    for at in 0..lines.len() {
        let mut less = lines.clone();
        less.remove(at);
        if at + 1 < lines.len() {
            broken.push((format!("line {at} taken out"), less.concat()));
        }
        let mut twice = lines.clone();
        twice.insert(at, lines[at]);
        broken.push((format!("line {at} twice"), twice.concat()));
        for other in at + 1..lines.len() {
            let mut moved = lines.clone();
            moved.swap(at, other);
            broken.push((format!("lines {at} and {other} moved"), moved.concat()));
        }
    }
    broken.push(("of another run".to_owned(), {
        let other = World::with_checkpoints(1);
        drop(other);
        String::from_utf8(bytes.clone())
            .unwrap()
            .replace("run-1", "run-2")
            .into_bytes()
    }));
    world.now_ms += MINUTE_MS;
    for (how, altered) in broken {
        let world = world.fork();
        world.disk.plant_file(&path, &altered);
        let told = problem(&world).unwrap_or_else(|| panic!("{how}: not found"));
        assert!(told.contains("line "), "{how}: {told}");
        assert_eq!(
            code(act(&world, &new, &pin("x"))),
            "ERR_CHANGES_DAMAGED",
            "{how}"
        );
        assert_eq!(
            world.disk.content(&path).unwrap(),
            altered,
            "{how}: left alone"
        );
        let look = verify::Request::default();
        let found = world
            .act(|context| verify::verify(context, None, &look))
            .unwrap();
        assert!(!found.is_ok(), "{how}");
        assert!(found.problems[0].path.ends_with("changes"), "{how}");
        let heal = verify::Request { heal: true, ..look };
        let found = world
            .act(|context| verify::verify(context, None, &heal))
            .unwrap();
        assert!(found.is_ok(), "{how}: {:?}", found.problems);
        assert_eq!(found.warnings.len(), 1, "{how}");
        assert_eq!(problem(&world), None, "{how}");
        act(
            &world,
            &old,
            &Command::Update(serde_json::json!({"phase": "z"})),
        )
        .unwrap();
    }
}

#[test]
fn a_torn_end_counts_as_not_there() {
    let (world, new, old) = told();
    let path = world.run.changes();
    let bytes = world.disk.content(&path).unwrap();
    let last = bytes[..bytes.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap();
    for len in last + 1..bytes.len() {
        let world = world.fork();
        world.disk.plant_file(&path, &bytes[..len]);
        let seen = lives(&world);
        assert!(seen[new.as_str()].updates.is_empty(), "{len}");
        act(&world, &old, &Command::Unpin).unwrap();
        assert_eq!(lives(&world)[old.as_str()].pin, None);
        let now = world.disk.content(&path).unwrap();
        assert!(now.starts_with(&bytes[..=last]), "what was there stays");
    }
}

/// What is pinned, of a class, or the base of a fork stays; while the log is damaged nothing goes.
#[test]
fn what_is_said_decides_what_stays() {
    let mut world = World::with_checkpoints(5);
    let ids = world.ids();
    let id = |at: usize| CheckpointId::parse(&ids[at]).unwrap();
    act(&world, &id(4), &pin("evidence")).unwrap();
    let class = Command::Update(serde_json::json!({"class": "milestone"}));
    act(&world, &id(3), &class).unwrap();
    world.now_ms += 1_000;
    let left = |world: &World| {
        world.prune(1).unwrap();
        world.ids()
    };
    let damaged = world.fork();
    let path = damaged.run.changes();
    let mut bytes = damaged.disk.content(&path).unwrap();
    bytes[20] ^= 1;
    damaged.disk.plant_file(&path, &bytes);
    assert_eq!(left(&damaged), ids, "nothing goes while a pin may be lost");
    let created = damaged.create(6.0).unwrap();
    assert!(created.dropped.is_empty());
    assert_eq!(
        left(&world),
        [ids[0].clone(), ids[3].clone(), ids[4].clone()]
    );
    // A month later the class is over; the pin is not, until it is taken away.
    world.now_ms += 31 * 24 * 3_600_000;
    assert_eq!(left(&world), [ids[0].clone(), ids[4].clone()]);
    act(&world, &id(4), &Command::Unpin).unwrap();
    assert_eq!(left(&world), [ids[0].clone()]);
}

/// The log does not grow for ever: what is said of checkpoints that are gone is left out, and what is said of
/// the others stays, wherever that is cut off.
#[test]
fn what_is_said_of_the_dropped_is_left_out() {
    let mut world = World::with_checkpoints(5);
    let ids = world.ids();
    let old = CheckpointId::parse(&ids[4]).unwrap();
    let new = CheckpointId::parse(&ids[0]).unwrap();
    act(&world, &new, &pin("evidence")).unwrap();
    // States are not left out while their checkpoint is there, unless there are very many.
    for _ in 0..2 {
        world.now_ms += 1_000;
        let long = Command::Fail {
            failure: Failure {
                stack: Some("x".repeat(60_000)),
                ..Failure::default()
            },
            update: None,
        };
        act(&world, &old, &long).unwrap();
        world.now_ms += 1_000;
        world.restore(&Choice::Id(old.clone())).unwrap();
        act(&world, &old, &Command::Activate).unwrap();
    }
    world.now_ms += 1_000;
    // What the run stands on would stay.
    world.restore(&Choice::Id(new.clone())).unwrap();
    world.now_ms += 1_000;
    world.disk.settle();
    let length = |world: &World| world.disk.content(&world.run.changes()).unwrap().len();
    let full = length(&world);
    assert!(full > 64 << 10);
    let clean = world.fork();
    clean.prune(1).unwrap();
    assert!(length(&clean) < full / 10);
    for n in 1..=clean.disk.calls() {
        let dying = world.fork();
        dying.disk.crash_at(n);
        let _ = dying.prune(1);
        for disk in [dying.disk.power_loss(n), {
            dying.disk.kill();
            dying.disk.fork()
        }] {
            let found = world.on(disk);
            let when = format!("died at call {n}");
            assert_eq!(problem(&found), None, "{when}");
            let life = lives(&found).remove(new.as_str()).unwrap();
            assert_eq!(life.pin.unwrap().reason, "evidence", "{when}");
            let mut found = found;
            found.now_ms += MINUTE_MS;
            found.create(7.0).unwrap();
            found.assert_tidy(&when);
        }
    }
    // A create that drops does the same.
    let created = world.create(6.0).unwrap();
    assert_eq!(created.dropped, [old.to_string()]);
    assert!(length(&world) < full / 10);
    assert_eq!(
        lives(&world)[new.as_str()].pin.as_ref().unwrap().reason,
        "evidence"
    );
}

/// What is said of one checkpoint again and again does not pile up, whether or not something was archived.
#[test]
fn updates_of_one_checkpoint_do_not_pile_up() {
    let mut world = World::with_checkpoints(3);
    let policy = Retention {
        archive: true,
        ..Retention::newest(2)
    };
    world
        .act(|context| ops::prune::prune(context, &policy, false))
        .unwrap();
    let (new, old) = (world.id_at(0), world.id_at(1));
    act(&world, &old, &pin("evidence")).unwrap();
    act(&world, &new, &Command::Activate).unwrap();
    let text = "x".repeat(1_000);
    let length = |world: &World| world.disk.content(&world.run.changes()).unwrap().len();
    let mut longest = 0;
    for n in 0..400 {
        world.now_ms += 1_000;
        let update = serde_json::json!({"progress": {"done": n}, "description": text});
        act(&world, &new, &Command::Update(update)).unwrap();
        longest = longest.max(length(&world));
    }
    assert!(longest < 140 << 10, "{longest}");
    let lives = lives(&world);
    assert_eq!(lives[old.as_str()].pin.as_ref().unwrap().reason, "evidence");
    assert_eq!(lives[new.as_str()].state(), State::Active);
    let facts = lives[new.as_str()].facts(None).unwrap().unwrap();
    assert_eq!(facts.progress.unwrap().done, Some(399.0));
}
