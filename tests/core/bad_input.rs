//! Input that must not be taken: each refused with its own code, before anything is touched.

use std::io::ErrorKind;
use std::path::Path;

use waymark::model::ids::{CheckpointId, RunId};
use waymark::model::json::MAX_DEPTH;
use waymark::model::step::{STEP_MAX, Step};
use waymark::ops::create::Request;
use waymark::store::disk::Disk as _;
use waymark::store::layout::RunDir;

use crate::world::{RUNS, World, code};

#[test]
fn ids_that_could_leave_the_run_are_refused() {
    let long = "x".repeat(256);
    let cases = [
        ("", "empty"),
        ("..", "traversal"),
        ("a..b", "traversal"),
        ("../run-2", "separator"),
        ("..\\run-2", "separator"),
        ("/etc/passwd", "separator"),
        ("run-1/../../x", "separator"),
        ("a\0.json", "nul"),
        ("C:x", "drive"),
        ("CON", "device"),
        ("nul.json", "device"),
        ("x.", "trailing"),
        ("a b", "charset"),
        ("ä", "charset"),
        ("%2e%2e%2fx", "charset"),
        (long.as_str(), "length"),
    ];
    for (id, reason) in cases {
        let error = CheckpointId::parse(id).unwrap_err();
        assert_eq!(
            (error.code(), error.reason()),
            ("ERR_CHECKPOINT_ID_INVALID", Some(reason))
        );
        let error = RunId::parse(id).unwrap_err();
        assert_eq!(
            (error.code(), error.reason()),
            ("ERR_RUN_ID_INVALID", Some(reason))
        );
    }
    assert_eq!(
        CheckpointId::parse(&"x".repeat(251)).unwrap_err().reason(),
        Some("length")
    );
    assert!(CheckpointId::parse(&"x".repeat(250)).is_ok());
}

#[test]
fn steps_that_are_no_steps_are_refused() {
    for step in [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -1.0,
        STEP_MAX + 1.0,
        f64::MAX,
    ] {
        assert_eq!(code(Step::number(step)), "ERR_STEP_INVALID", "{step}");
    }
    for name in [
        "",
        "..",
        "a/b",
        "a\\b",
        "a\0b",
        "NUL",
        "C:x",
        "a\nb",
        "1e3",
        &"x".repeat(201),
    ] {
        assert_eq!(code(Step::name(name)), "ERR_STEP_INVALID", "{name:?}");
    }
}

/// Steps are kept as they were given, whatever their ids have to look like.
#[test]
fn odd_steps_are_kept_as_given() {
    let world = World::new();
    let steps = [
        Step::number(0.0).unwrap(),
        Step::number(0.1).unwrap(),
        Step::number(1e-7).unwrap(),
        Step::number(STEP_MAX).unwrap(),
        Step::name("Prüfung: Teil 1").unwrap(),
        Step::name(&"x".repeat(200)).unwrap(),
        Step::name("中文").unwrap(),
        Step::name("语文").unwrap(),
    ];
    for step in steps {
        let created = world.create_with(step.clone(), "null").unwrap();
        let newest = world.list().unwrap().good[0].header.clone();
        assert_eq!(newest.checkpoint_id, created.checkpoint_id);
        assert_eq!(newest.step, step);
    }
    world.assert_tidy("odd steps");
}

#[test]
fn states_that_are_no_json_are_refused() {
    let world = World::with_checkpoints(1);
    let before = world.sight();
    for state in [
        "",
        " ",
        "{",
        "{\"a\":1",
        "undefined",
        "NaN",
        "{'a':1}",
        "[1,]",
        "1 2",
        "\u{feff}1",
    ] {
        assert_eq!(
            code(world.create_with(Step::Number(2.0), state)),
            "ERR_STATE_NOT_JSON",
            "{state:?}"
        );
    }
    let bad_utf8 = Request {
        step: Step::Number(2.0),
        state: b"\"\xff\"",
        retention: None,
        max_state_bytes: 100,
        capture: None,
        max_store_bytes: None,
        facts: None,
        environment: None,
    };
    let create = |request: &Request<'_>| {
        code(world.act(|context| waymark::ops::create::create(context, request)))
    };
    assert_eq!(create(&bad_utf8), "ERR_STATE_NOT_JSON");
    let large = Request {
        state: b"\"123456789\"",
        max_state_bytes: 10,
        ..bad_utf8
    };
    assert_eq!(create(&large), "ERR_STATE_TOO_LARGE");
    let exact = Request {
        max_state_bytes: 11,
        ..large
    };
    assert_eq!(world.sight(), before);
    world
        .act(|context| waymark::ops::create::create(context, &exact))
        .unwrap();
}

/// A large state is looked at while it is stored already.
#[test]
fn a_large_state_that_is_no_json_leaves_nothing_behind() {
    let valid = format!("\"{}\"", "x".repeat(1 << 20));
    let invalid = format!("\"{}", "y".repeat(1 << 20));
    let refused = |world: &World| {
        let refused = world.create_with(Step::Number(9.0), &invalid);
        assert_eq!(code(refused), "ERR_STATE_NOT_JSON");
        assert_eq!(world.leftovers(), Vec::<String>::new());
    };

    let world = World::new();
    refused(&world);
    assert!(
        world.disk.list(&world.store.objects()).is_err(),
        "no store is made for it"
    );

    let world = World::with_checkpoints(1);
    world.create_with(Step::Number(2.0), &valid).unwrap();
    let seen = |world: &World| {
        let folder = world.store.objects();
        let mut packs = Vec::new();
        for entry in world.disk.list(&folder).unwrap() {
            packs.push((world.disk.content(&folder.join(&entry.name)), entry.name));
        }
        packs.sort();
        (world.sight(), packs)
    };
    let before = seen(&world);
    refused(&world);
    assert!(seen(&world) == before, "what it had stored is cut off");
    world.create_with(Step::Number(3.0), &valid).unwrap();
    world.assert_tidy("and it goes on");
}

#[test]
fn deep_states_are_refused_and_almost_deep_ones_kept() {
    let world = World::with_checkpoints(1);
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for levels in [10_000, 1_000_000, MAX_DEPTH] {
        let state = nested(levels);
        assert_eq!(
            code(world.create_with(Step::Number(2.0), &state)),
            "ERR_STATE_TOO_DEEP"
        );
    }
    assert_eq!(world.ids().len(), 1);
    world
        .create_with(Step::Number(2.0), &nested(MAX_DEPTH - 1))
        .unwrap();
    world.assert_tidy("a deep state verifies");
    world.restore_newest().unwrap();
}

type Plant = fn(&World, &Path);

#[test]
fn links_and_files_in_the_place_of_folders_are_refused() {
    let outside = Path::new("/project/.claude/context/elsewhere");
    let cases: [(Plant, &str); 6] = [
        (
            |world, outside| world.disk.plant_symlink(&world.run.checkpoints(), outside),
            "ERR_PATH_SYMLINK",
        ),
        (
            |world, _| world.disk.plant_file(&world.run.checkpoints(), b""),
            "ERR_PATH_NOT_DIRECTORY",
        ),
        (
            |world, outside| world.disk.plant_symlink(&world.run.private(), outside),
            "ERR_PATH_SYMLINK",
        ),
        (
            |world, _| world.disk.plant_file(&world.run.private(), b""),
            "ERR_PATH_NOT_DIRECTORY",
        ),
        (
            |world, outside| world.disk.plant_symlink(world.run.path(), outside),
            "ERR_PATH_SYMLINK",
        ),
        (
            |world, _| world.disk.plant_other(world.run.path()),
            "ERR_PATH_NOT_DIRECTORY",
        ),
    ];
    for (plant, expected) in cases {
        let world = World::with_checkpoints(1);
        world.disk.plant_dir(outside);
        plant(&world, outside);
        let before = world.disk.trace().len();
        for found in [
            code(world.create(2.0)),
            code(world.restore_newest()),
            code(world.prune(1)),
            code(world.recover()),
            code(world.list()),
            code(world.act(|context| {
                waymark::ops::verify::verify(
                    context,
                    None,
                    &waymark::ops::verify::Request::default(),
                )
            })),
        ] {
            assert_eq!(found, expected);
        }
        // But the audit log, which says what failed.
        for call in &world.disk.trace()[before..] {
            assert!(call.path.starts_with(world.store.events()), "{call:?}");
        }
    }
}

#[test]
fn a_record_that_is_a_link_is_not_followed() {
    let world = World::with_checkpoints(1);
    let outside = Path::new("/project/secret.json");
    world
        .disk
        .plant_file(outside, b"{\"run_id\":\"run-1\",\"status\":\"secret\"}");
    world.disk.plant_symlink(&world.run.run_record(), outside);
    world
        .disk
        .plant_symlink(&world.run.path().join("state.json"), outside);
    assert_eq!(code(world.create(2.0)), "ERR_RUN_RECORD_DAMAGED");
    world.restore_newest().unwrap();
    let created = world.create(2.0).unwrap();
    let text = String::from_utf8(created.manifest.unwrap()).unwrap();
    assert!(!text.contains("secret"), "a link's target is not captured");
    assert!(text.contains("\"skipped\": \"not_regular\""));
    assert_eq!(
        world.disk.content(outside).unwrap().len(),
        36,
        "the target is as it was"
    );
}

#[test]
fn a_run_that_does_not_exist_is_told() {
    let mut world = World::new();
    world.run = RunDir::new(Path::new(RUNS), RunId::parse("run-9").unwrap());
    assert_eq!(code(world.create(1.0)), "ERR_RUN_NOT_FOUND");
    assert_eq!(code(world.restore_newest()), "ERR_RUN_NOT_FOUND");
    assert_eq!(code(world.prune(1)), "ERR_RUN_NOT_FOUND");
    assert!(
        world.list().unwrap().good.is_empty(),
        "it has no checkpoints"
    );
    assert_eq!(world.disk.calls(), 0, "nothing was made");
}

#[test]
fn a_read_only_run_is_told_and_can_be_listed() {
    for kind in [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem] {
        for world in [World::new(), World::with_checkpoints(2)] {
            let before = world.sight();
            world.disk.deny(world.run.path(), kind);
            assert_eq!(code(world.create(3.0)), "ERR_RUN_READ_ONLY");
            let restored = code(world.restore_newest());
            assert_eq!(restored, "ERR_RUN_READ_ONLY");
            assert_eq!(world.sight(), before);
            world.list().unwrap();
        }
    }
}

#[test]
fn a_checkpoint_that_does_not_exist_is_told() {
    use waymark::ops::restore::Choice;
    let world = World::with_checkpoints(2);
    let before = world.sight();
    let id = CheckpointId::parse("checkpoint-step-9-9").unwrap();
    assert_eq!(
        code(world.restore(&Choice::Id(id.clone()))),
        "ERR_CHECKPOINT_NOT_FOUND"
    );
    assert_eq!(
        code(world.restore(&Choice::Step(Step::Number(9.0)))),
        "ERR_CHECKPOINT_NOT_FOUND"
    );
    assert_eq!(
        code(world.act(|context| waymark::ops::verify::verify(
            context,
            Some(&id),
            &waymark::ops::verify::Request::default()
        ))),
        "ERR_CHECKPOINT_NOT_FOUND"
    );
    assert_eq!(
        code(world.act(|context| waymark::ops::show::show(context, &id))),
        "ERR_CHECKPOINT_NOT_FOUND"
    );
    assert_eq!(world.sight(), before);
}
