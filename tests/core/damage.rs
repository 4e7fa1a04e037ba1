//! Damage of every kind is found, named, and never hides what is good.

use std::ffi::OsStr;
use std::path::Path;

use waymark::model::ids::RunId;
use waymark::ops::restore::Choice;
use waymark::store::layout::RunDir;

use crate::world::{RUNS, World, code, member, record, registry, resummed};

/// A run with three checkpoints whose newest one is now this text.
fn with_newest(text: &[u8]) -> World {
    let world = World::with_checkpoints(3);
    world.disk.plant_file(&newest(&world), text);
    world
}

fn newest(world: &World) -> std::path::PathBuf {
    world.manifest("checkpoint-step-3-1767225603000.json")
}

fn newest_text() -> String {
    let world = World::with_checkpoints(3);
    String::from_utf8(world.disk.content(&newest(&world)).unwrap()).unwrap()
}

/// Asserts that exactly one file is damaged, by its kind, and that a restore goes around it.
#[track_caller]
fn assert_damaged(world: &World, good: usize, kind: &str) {
    let scan = world.list().unwrap();
    let kinds: Vec<_> = scan.damaged.iter().map(|one| one.damage.kind()).collect();
    assert_eq!(kinds, [kind], "{:?}", scan.damaged);
    assert_eq!(scan.good.len(), good);
    let outcome = world.restore_newest().unwrap();
    assert_eq!(outcome.checkpoint_id, scan.good[0].header.checkpoint_id);
    let skipped: Vec<_> = outcome
        .skipped
        .iter()
        .map(|one| one.damage.kind())
        .collect();
    assert_eq!(skipped, [kind], "what was passed over is told");
    let kept = world.list().unwrap();
    assert_eq!(kept.damaged.len(), 1, "nothing deletes a damaged file");
}

#[test]
fn a_manifest_cut_anywhere_is_truncated() {
    let text = newest_text();
    let world = World::with_checkpoints(3);
    for len in 0..text.len() {
        world
            .disk
            .plant_file(&newest(&world), &text.as_bytes()[..len]);
        let scan = world.list().unwrap();
        let kind = if len == 0 { "empty" } else { "truncated" };
        assert_eq!(scan.good.len(), 2, "cut at {len}");
        assert_eq!(scan.damaged[0].damage.kind(), kind, "cut at {len}");
        assert_eq!(scan.damaged[0].name, "checkpoint-step-3-1767225603000");
        if len % 97 == 0 {
            assert_damaged(&world.fork(), 2, kind);
        }
    }
}

/// What lies outside the checksum (`metadata` without it) may be altered: the content still holds.
#[test]
fn no_flipped_bit_passes_for_the_content_that_was_written() {
    let text = newest_text();
    let metadata = text.rfind(",\n  \"metadata\"").unwrap();
    let world = World::with_checkpoints(3);
    let (mut found, mut harmless) = (0, 0);
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            world.disk.plant_file(&newest(&world), &bytes);
            let scan = world.list().unwrap();
            assert_eq!(scan.good.len() + scan.damaged.len(), 3);
            if scan.damaged.is_empty() {
                assert!(
                    at > metadata,
                    "bit {bit} of byte {at} was flipped unnoticed"
                );
                harmless += 1;
            } else {
                found += 1;
            }
        }
    }
    assert!(
        found > harmless * 10,
        "{found} found, {harmless} outside the checksum"
    );
}

#[test]
fn every_kind_of_content_is_named() {
    let text = newest_text();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "empty"),
        (b" \n".to_vec(), "empty"),
        (b"hello".to_vec(), "not_json"),
        (vec![0; 4096], "not_json"),
        (b"\xff\xfe{}".to_vec(), "not_json"),
        ([text.as_bytes(), b"x"].concat(), "not_json"),
        (b"[1]".to_vec(), "not_checkpoint"),
        (b"{\"hello\":1}".to_vec(), "not_checkpoint"),
        (record(3, "a record").into_bytes(), "not_checkpoint"),
        (
            text.replace("\"checksum\"", "\"checksam\"").into(),
            "checksum_missing",
        ),
        (
            text.replace("\"metadata\": {\n    \"checksum\"", "\"m\": {\n    \"c\"")
                .into(),
            "checksum_missing",
        ),
        (
            text.replace("\"done\": 3", "\"done\": 4").into(),
            "checksum_mismatch",
        ),
        (
            text.replace("\"step\": 3", "\"step\": 30").into(),
            "checksum_mismatch",
        ),
        (
            resummed(&text.replace("\"format\": 1", "\"format\": 2")).into(),
            "newer_format",
        ),
        (
            resummed(&text.replace("\"run_record\"", "\"run_recard\"")).into(),
            "not_checkpoint",
        ),
        (
            resummed(&text.replacen("\"artifact_registry\": {", "\"x\": {", 1)).into(),
            "not_checkpoint",
        ),
        (
            resummed(&text.replace("\"run_id\": \"run-1\"", "\"run_id\": \"run-2\"")).into(),
            "other_run",
        ),
        (
            resummed(&text.replace("checkpoint-step-3-1767225603000", "checkpoint-step-3-1"))
                .into(),
            "id_mismatch",
        ),
    ];
    for (content, kind) in cases {
        assert_damaged(&with_newest(&content), 2, kind);
    }
}

/// Reformatting does not change what JSON says, so the checksum holds.
#[test]
fn a_reformatted_manifest_is_good() {
    let compact: String = newest_text().lines().map(str::trim_start).collect();
    let world = with_newest(compact.as_bytes());
    assert_eq!(world.ids().len(), 3);
    assert_eq!(world.restore_newest().unwrap().step.to_string(), "3");
}

type Plant = fn(&World, &str);

#[test]
fn junk_beside_the_checkpoints_is_named_and_left() {
    let text = newest_text();
    let plants: [(Plant, &str); 6] = [
        (
            |world, text| {
                world
                    .disk
                    .plant_file(&world.manifest("copy.json"), text.as_bytes());
            },
            "id_mismatch",
        ),
        (
            |world, _| world.disk.plant_dir(&world.manifest("x.json")),
            "not_regular",
        ),
        (
            |world, _| world.disk.plant_other(&world.manifest("x.json")),
            "not_regular",
        ),
        (
            |world, _| {
                world
                    .disk
                    .plant_symlink(&world.manifest("x.json"), &newest(world));
            },
            "not_regular",
        ),
        (
            |world, text| {
                world
                    .disk
                    .plant_file(&world.manifest("x.json"), text.as_bytes());
                world.disk.make_unreadable(&world.manifest("x.json"));
            },
            "unreadable",
        ),
        (
            |world, text| {
                world
                    .disk
                    .plant_file(&world.manifest(".json"), text.as_bytes());
            },
            "id_mismatch",
        ),
    ];
    for (plant, kind) in plants {
        let world = World::with_checkpoints(3);
        plant(&world, &text);
        assert_damaged(&world, 3, kind);
        for step in 4..12 {
            world.create(f64::from(step)).unwrap();
        }
        let scan = world.list().unwrap();
        assert_eq!(
            (scan.good.len(), scan.damaged.len()),
            (5, 1),
            "{kind}: it neither counts nor goes"
        );
    }
    let world = World::with_checkpoints(3);
    for name in ["x.json.tmp.1.2", "README.md", "x.JSON"] {
        world.disk.plant_file(&world.manifest(name), b"junk");
    }
    let scan = world.list().unwrap();
    assert_eq!(
        (scan.good.len(), scan.damaged.len()),
        (3, 0),
        "no checkpoint, no damage"
    );
}

#[cfg(unix)]
#[test]
fn a_name_that_is_no_text_is_named() {
    use std::os::unix::ffi::OsStrExt;
    let world = World::with_checkpoints(2);
    let name = OsStr::from_bytes(b"checkpoint-\xff.json");
    world
        .disk
        .plant_file(&world.run.checkpoints().join(name), b"{}");
    assert_damaged(&world, 2, "not_checkpoint");
    assert_eq!(world.list().unwrap().damaged[0].name, "checkpoint-\u{fffd}");
}

#[test]
fn the_checkpoint_of_another_run_is_not_restored() {
    let mut other = World::new();
    other.run = RunDir::new(Path::new(RUNS), RunId::parse("run-2").unwrap());
    other.disk.plant_dir(other.run.path());
    other.put("run.json", &record(1, "secret").replace("run-1", "run-2"));
    let foreign = other.create(9.0).unwrap();
    let world = World::with_checkpoints(1);
    let name = format!("{}.json", foreign.checkpoint_id);
    world
        .disk
        .plant_file(&world.manifest(&name), &foreign.manifest.unwrap());
    assert_damaged(&world, 1, "other_run");
    let before = world.sight();
    let error = world
        .restore(&Choice::Id(foreign.checkpoint_id))
        .unwrap_err();
    assert_eq!(
        (error.code(), error.reason()),
        ("ERR_CHECKPOINT_DAMAGED", Some("other_run"))
    );
    assert_eq!(world.sight(), before);
}

#[test]
fn a_damaged_checkpoint_that_was_asked_for_is_refused() {
    let text = newest_text().replace("\"done\": 3", "\"done\": 4");
    let world = with_newest(text.as_bytes());
    let before = world.sight();
    let id = waymark::model::ids::CheckpointId::parse("checkpoint-step-3-1767225603000").unwrap();
    let error = world.restore(&Choice::Id(id.clone())).unwrap_err();
    assert_eq!(error.code(), "ERR_CHECKPOINT_DAMAGED");
    assert_eq!(error.reason(), Some("checksum_mismatch"));
    assert!(
        error
            .to_string()
            .starts_with("Checkpoint integrity check failed: ")
    );
    let error = world
        .act(|context| waymark::ops::show::show(context, &id))
        .unwrap_err();
    assert_eq!(error.code(), "ERR_CHECKPOINT_DAMAGED");
    assert_eq!(world.sight(), before);
}

#[test]
fn with_no_good_checkpoint_nothing_is_touched() {
    let world = World::with_checkpoints(3);
    for id in world.ids() {
        world
            .disk
            .plant_file(&world.manifest(&format!("{id}.json")), b"{\"cut");
    }
    let before = world.sight();
    let error = world.restore_newest().unwrap_err();
    assert_eq!(error.code(), "ERR_NO_GOOD_CHECKPOINT");
    assert_eq!(error.skipped().len(), 3);
    assert_eq!(world.sight(), before);
    let none = World::new();
    assert_eq!(code(none.restore_newest()), "ERR_NO_CHECKPOINT");
}

#[test]
fn a_restore_rebuilds_a_damaged_run_from_the_next_good_checkpoint() {
    for damage in ["", "{\"cut", "null", "{\"run_id\":\"other\"}", "\u{0}\u{0}"] {
        let world = World::with_checkpoints(3);
        world.put("run.json", damage);
        world.put("artifact-registry.json", damage);
        world.disk.plant_file(&newest(&world), damage.as_bytes());
        let before = world.sight();
        let refused = code(world.create(4.0));
        let expected = ["ERR_RUN_RECORD_DAMAGED"];
        assert!(expected.contains(&refused), "{damage:?}: {refused}");
        assert_eq!(
            world.sight(),
            before,
            "{damage:?}: a refused create changes nothing"
        );
        let outcome = world.restore_newest().unwrap();
        assert_eq!(outcome.step.to_string(), "2");
        assert_eq!(outcome.skipped.len(), 1);
        let run = world.text("run.json").unwrap();
        assert_eq!(member(&run, "current_step").as_deref(), Some("2"));
        assert_eq!(member(&run, "status").as_deref(), Some("in_progress"));
        assert!(member(&world.text("artifact-registry.json").unwrap(), "artifacts").is_some());
        world.create(4.0).unwrap();
    }
}

#[test]
fn a_damaged_registry_alone_is_refused_and_restored() {
    for damage in ["", "{\"artifacts\":", "[]", "{\"artifacts\":7}"] {
        let world = World::with_checkpoints(2);
        world.put("artifact-registry.json", damage);
        let before = world.sight();
        assert_eq!(
            code(world.create(4.0)),
            "ERR_REGISTRY_DAMAGED",
            "{damage:?}"
        );
        assert_eq!(code(world.prune(1)), "ERR_REGISTRY_DAMAGED", "{damage:?}");
        assert_eq!(world.sight(), before);
        world.restore_newest().unwrap();
        world.create(4.0).unwrap();
        world.assert_tidy("after the restore");
    }
}

#[test]
fn a_missing_registry_is_made_and_a_missing_record_is_refused() {
    let world = World::new();
    world.disk.remove(&world.run.registry());
    world.create(1.0).unwrap();
    world.assert_tidy("a registry was made");
    world.disk.remove(&world.run.run_record());
    assert_eq!(code(world.create(2.0)), "ERR_RUN_RECORD_MISSING");
    world.restore_newest().unwrap();
    world.create(2.0).unwrap();
}

/// A journal of a killed restore that can't be read: only a restore may go through.
#[test]
fn a_damaged_journal_stops_everything_but_a_restore() {
    let mut world = World::with_checkpoints(2);
    world.put("run.json", &record(9, "later"));
    world.put("artifact-registry.json", &registry("later.md"));
    let journaled = (1..).find_map(|n| {
        let dying = world.fork();
        dying.disk.crash_at(n);
        dying.restore_newest().unwrap_err();
        dying.disk.kill();
        dying.disk.content(&dying.run.journal())
    });
    let journal = journaled.unwrap();
    let half = journal.len() / 2;
    let mut flipped = journal.clone();
    flipped[half] ^= 1;
    let escape = |from: &str, to: &str| {
        let at = memchr::memmem::find(&journal, from.as_bytes()).unwrap();
        let mut bytes = journal[..journal.len() - 32].to_vec();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        [&bytes[..], blake3::hash(&bytes).as_bytes()].concat()
    };
    let damages = [
        Vec::new(),
        journal[..half].to_vec(),
        flipped,
        escape("WMJ3", "WMJ9"),
        escape("run.json", "../x.jsn"),
        escape(
            "checkpoints/.waymark/restored",
            "checkpoints/.waymark/somewher",
        ),
        b"[]".to_vec(),
    ];
    world.now_ms += 60_000;
    for damage in damages {
        let world = world.fork();
        world.disk.plant_file(&world.run.journal(), &damage);
        let before = world.sight();
        assert_eq!(
            code(world.create(4.0)),
            "ERR_JOURNAL_DAMAGED",
            "{}",
            String::from_utf8_lossy(&damage)
        );
        assert_eq!(code(world.prune(1)), "ERR_JOURNAL_DAMAGED");
        assert_eq!(code(world.recover()), "ERR_JOURNAL_DAMAGED");
        assert_eq!(world.sight(), before);
        assert_eq!(world.ids().len(), 2, "what only reads is not stopped");
        world.restore_newest().unwrap();
        world.create(4.0).unwrap();
        world.assert_tidy("after the restore");
    }
}
