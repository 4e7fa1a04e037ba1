//! Checkpoints that the old JavaScript manager wrote verify, restore and order as its own.
//!
//! The fixtures in `tests/fixtures/old-manager/` were made once with Node 20:
//! `JSON.stringify({ ...rest, metadata }, null, 2)`, where the checksum is the SHA-256 of
//! `JSON.stringify(JSON.parse(JSON.stringify(rest)))`. The sums below are Node's, not ours.

use std::fs;
use std::path::Path;

use waymark::ops::restore::Choice;

use crate::world::{World, member, record};

/// File, checksum by Node.
const FIXTURES: [(&str, &str); 6] = [
    // Nothing special.
    (
        "checkpoint-step-1-1767225600500",
        "82096d7157d7f5cb0e02280b2061e6744133a38fbd42e9364faa8cd6a8da62a9",
    ),
    // 1e21, 1e-7, -0, 2^53, 1/3, the largest and the smallest double.
    (
        "checkpoint-step-2-1767225601500",
        "4a6a9ff433fd2b4b756177b20f8d12dc905296ba4092e96b94cf959764eb3ebb",
    ),
    // Integer-like keys, which JavaScript puts first, and those that only look so.
    (
        "checkpoint-step-3-1767225602500",
        "4f77ba64ef26597f6d7436052a1d24f9f04ab7933c47c9e111e9f6f585ce4973",
    ),
    // Lone surrogates in values and keys, U+2028, control characters, empty containers.
    (
        "checkpoint-step-4-1767225603500",
        "1965028a78b7908251510534ffe58d04181111d48d6fcf40ef9fbf93b92a24d7",
    ),
    // A state that is a string, of an earlier step.
    (
        "checkpoint-step-1-1767225604500",
        "f1cc0751e13d06b991d18d02b1386866692fade2b3b6f0f484b12e64598349d0",
    ),
    // A state that is null, of a fractional step.
    (
        "checkpoint-step-0.5-1767225605500",
        "26e415c96890258f0d345321499ea1abd151fdb6a7fb324dd0ddd4365fc5f4ab",
    ),
];
/// A file whose content was altered after it was written.
const ALTERED: &str = "checkpoint-step-1-1767225600600";

fn fixture(id: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/old-manager");
    fs::read_to_string(folder.join(format!("{id}.json"))).unwrap()
}

/// A run as the old manager left it.
fn old_run() -> World {
    let mut world = World::new();
    world.disk.plant_dir(&world.run.checkpoints());
    for (id, _) in FIXTURES {
        let path = world.manifest(&format!("{id}.json"));
        world.disk.plant_file(&path, fixture(id).as_bytes());
    }
    world.now_ms += 10_000;
    world
}

#[test]
fn every_old_checkpoint_verifies_by_nodes_sum() {
    let world = old_run();
    let scan = world.verified();
    assert!(scan.damaged.is_empty(), "{:?}", scan.damaged);
    let found: Vec<_> = scan
        .good
        .iter()
        .map(|good| {
            (
                good.header.checkpoint_id.as_str(),
                good.header.checksum.as_str(),
            )
        })
        .collect();
    let newest_first: Vec<_> = FIXTURES.into_iter().rev().collect();
    assert_eq!(found, newest_first, "by time, not by step");
}

#[test]
fn an_altered_old_checkpoint_is_found() {
    let world = old_run();
    let path = world.manifest(&format!("{ALTERED}.json"));
    world.disk.plant_file(&path, fixture(ALTERED).as_bytes());
    let scan = world.list().unwrap();
    assert_eq!(scan.good.len(), FIXTURES.len());
    assert_eq!(scan.damaged[0].damage.kind(), "checksum_mismatch");
}

/// `-0` as text is 0 to JavaScript, which a sum over the file's own text would miss.
#[test]
fn the_sum_is_over_values_not_over_text() {
    let world = old_run();
    let (id, _) = FIXTURES[1];
    let text = fixture(id);
    for (from, to) in [
        ("\"negative_zero\": 0", "\"negative_zero\": -0.0"),
        ("1e+21", "1000000000000000000000"),
        ("9007199254740992", "9007199254740993"),
        ("5e-324", "4.9e-324"),
    ] {
        assert!(text.contains(from), "{from}");
        let path = world.manifest(&format!("{id}.json"));
        world
            .disk
            .plant_file(&path, text.replace(from, to).as_bytes());
        assert_eq!(
            world.verified().good.len(),
            FIXTURES.len(),
            "{to} is {from}"
        );
    }
}

#[test]
fn every_old_checkpoint_is_restored() {
    for at in 0..FIXTURES.len() {
        let world = old_run();
        world.put("state.json", "{\"kept\":true}");
        let outcome = world.restore(&Choice::Id(world.id_at(at))).unwrap();
        assert_eq!(outcome.artifacts_restored, 1);
        assert_eq!(outcome.recovery_instructions.len(), 4);
        assert_eq!(outcome.files, ["run.json", "artifact-registry.json"]);
        let run = world.text("run.json").unwrap();
        let step = outcome.step.to_string();
        assert_eq!(member(&run, "current_step"), Some(step.clone()));
        assert_eq!(
            member(&run, "metadata"),
            Some(format!("{{\"note\":\"old {step}\"}}"))
        );
        assert_ne!(
            member(&run, "updated_at").as_deref(),
            Some("2025-12-31T00:00:01.000Z")
        );
        let state = world.text("state.json");
        assert_eq!(
            state.as_deref(),
            Some("{\"kept\":true}"),
            "what was not captured stays"
        );
    }
}

/// Ours carry a sequence, theirs only a time.
#[test]
fn old_and_new_checkpoints_are_one_history() {
    let mut world = old_run();
    for (id, _) in &FIXTURES[1..] {
        world.disk.remove(&world.manifest(&format!("{id}.json")));
    }
    world.put("run.json", &record(2, "ours"));
    let ours = world.create(2.0).unwrap();
    assert_eq!(ours.parent.unwrap().as_str(), FIXTURES[0].0);
    let ours = ours.checkpoint_id.to_string();
    // The old manager runs once more, later than ours.
    let late = "checkpoint-step-0.5-1767225615500";
    let text = fixture(FIXTURES[5].0).replace(FIXTURES[5].0, late);
    let text = text.replace("2026-01-01T00:00:05.500Z", "2026-01-01T00:00:15.500Z");
    let text = crate::world::resummed(&text);
    world
        .disk
        .plant_file(&world.manifest(&format!("{late}.json")), text.as_bytes());
    assert_eq!(world.ids(), [late, &ours, FIXTURES[0].0]);
    world.now_ms += 10_000;
    let last = world.create(3.0).unwrap().checkpoint_id.to_string();
    assert_eq!(world.ids(), [&last, late, &ours, FIXTURES[0].0]);
    world.assert_tidy("all of them are entered");
}

#[test]
fn old_checkpoints_are_dropped_like_ours() {
    let world = old_run();
    let dropped = world.create(9.0).unwrap().dropped;
    assert_eq!(dropped, [FIXTURES[1].0, FIXTURES[0].0]);
    assert_eq!(world.ids().len(), 5);
    world.assert_tidy("after the first create");
}
