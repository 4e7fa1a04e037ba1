//! Forks: another run begins where a run was, shares what lies in the store, and is there as a whole or not at
//! all.

#![allow(clippy::disallowed_methods, reason = "a test's own folder")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use waymark::error::{Error, Result};
use waymark::model::cancel::Cancel;
use waymark::model::environment::Environment;
use waymark::model::event::Record;
use waymark::model::facts::{Facts, Link};
use waymark::model::ids::{CheckpointId, RunId};
use waymark::model::lifecycle::Life;
use waymark::model::manifest::{Check, Header};
use waymark::model::progress::Progress;
use waymark::model::step::Step;
use waymark::ops;
use waymark::ops::create::STATE_MAX;
use waymark::ops::fork::{Forked, Request, fork, holding_forks};
use waymark::ops::lifecycle::{Command, change};
use waymark::ops::restore::{Choice, Row};
use waymark::ops::verify::{self, verify_store};
use waymark::ops::{Context, gc};
use waymark::store::disk::Disk;
use waymark::store::layout::RunDir;
use waymark::store::manifests;
use waymark::store::place::StoreDir;

use crate::project::Project;
use crate::sim_disk::SimDisk;
use crate::store_world::text;
use crate::world::{MINUTE_MS, RUNS, World, code, member, record};

const SEEDS: u64 = 6;

fn request(choice: Choice, id: &str) -> Request {
    Request {
        choice,
        run_id: RunId::parse(id).unwrap(),
        project: Some("/project".into()),
        max_store_bytes: None,
    }
}

fn newest(world: &World, id: &str) -> Result<Forked> {
    world.act(|context| fork(context, &request(Choice::Newest, id)))
}

/// The same world, of which another run is looked at.
fn of_run(world: &World, id: &str) -> World {
    World {
        run: RunDir::new(Path::new(RUNS), RunId::parse(id).unwrap()),
        ..world.clone()
    }
}

fn create(world: &mut World, step: u32, state: &str) -> CheckpointId {
    world.now_ms += 1_000;
    world.put("run.json", &record(step, "work"));
    let request = ops::create::Request {
        step: Step::Number(f64::from(step)),
        state: state.as_bytes(),
        retention: None,
        max_state_bytes: STATE_MAX,
        capture: None,
        max_store_bytes: None,
        facts: Some(Facts {
            phase: Some("build".to_owned()),
            ..Facts::default()
        }),
        environment: Some(Environment::parse(format!("{{\"step\":{step}}}")).unwrap()),
    };
    let created = world.act(|context| ops::create::create(context, &request));
    created.unwrap().checkpoint_id
}

/// A state that lies in the store.
fn large(seed: u64) -> String {
    let text = String::from_utf8(text(seed, 90_000)).unwrap();
    let text = text.replace('"', "'").replace('\n', " ");
    format!("{{\"text\":\"{text}\"}}")
}

/// A registry that lies in the store: artifacts in the run's folder, by three kinds of paths, and elsewhere.
fn large_registry() -> String {
    let artifacts = (0..200).map(|at| {
        let path = match at % 4 {
            0 => format!("{RUNS}/run-1/artifacts/{at}.md"),
            1 => format!(".claude/context/runs/run-1/artifacts/{at}.md"),
            2 => format!("./.claude/context/runs/run-1/artifacts/{at}.md"),
            _ => format!("{RUNS}/run-10/artifacts/{at}.md"),
        };
        let name = format!("{at}.md, a name that makes the registry a large one");
        format!("\"{name}\":{{\"name\":\"{name}\",\"path\":\"{path}\",\"agent\":\"dev\"}}")
    });
    let artifacts: Vec<String> = artifacts.collect();
    format!(
        "{{\"run_id\":\"run-1\",\"artifacts\":{{{}}},\"updated_at\":\"x\"}}",
        artifacts.join(",")
    )
}

/// A run with a small and a large checkpoint, all of it durable.
fn base() -> World {
    let mut world = World::new();
    world.put("state.json", "{\"of\":\"the runner\"}\n");
    create(&mut world, 1, "{\"small\":true}");
    world.put("artifact-registry.json", &large_registry());
    create(&mut world, 2, &large(1));
    world.now_ms += 1_000;
    world.disk.settle();
    world
}

fn header(world: &World) -> Header {
    let mut good = world.verified().good;
    assert_eq!(good.len(), 1);
    good.remove(0).header
}

fn life(world: &World, id: &CheckpointId) -> Life {
    let mut listed = world.act(ops::list::list).unwrap();
    assert_eq!(listed.changes_problem, None);
    listed.lives.remove(id.as_str()).unwrap_or_default()
}

fn holding(world: &World, id: &CheckpointId) -> Vec<Link> {
    holding_forks(&world.disk, world.run.runs_dir(), &life(world, id))
}

fn exists(world: &World) -> bool {
    world.disk.metadata(world.run.path()).is_ok()
}

fn pack_bytes(disk: &dyn Disk, store: &StoreDir) -> u64 {
    let packs = store.packs(disk).unwrap();
    packs.iter().map(|(_, len)| len).sum()
}

/// Nothing that any checkpoint needs is missing or damaged.
#[track_caller]
fn assert_whole(disk: &dyn Disk, store: &StoreDir, now_ms: i64, when: &str) {
    let all = verify::Request {
        data: true,
        ..verify::Request::default()
    };
    let (cancel, progress) = (Cancel::default(), Progress::default());
    let found = verify_store(disk, store, &all, now_ms, &cancel, &progress).unwrap();
    assert!(
        found.is_ok(),
        "{when}: {:?} {:?}",
        found.hurt,
        found.problems
    );
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

#[test]
fn a_fork_begins_where_the_run_was() {
    let mut world = World::with_checkpoints(2);
    world.put("state.json", "{\"of\":\"the runner\"}\n");
    let base = create(&mut world, 3, "{\"done\":3}");
    world
        .act(|context| {
            let facts = serde_json::json!({"labels": ["beta"], "phase": null});
            change(context, &base, &Command::Update(facts))
        })
        .unwrap();
    world.put("run.json", &record(4, "the run goes on"));
    let before = world.sight();
    world.now_ms += 5_000;

    let forked = newest(&world, "run-2").unwrap();
    let other = of_run(&world, "run-2");
    assert_eq!((forked.base.clone(), forked.added_bytes), (base.clone(), 0));
    assert_eq!(forked.path, other.run.path());
    assert_eq!((forked.skipped, forked.warnings), (vec![], vec![]));
    other.assert_tidy("forked");

    let run = other.text("run.json").unwrap();
    for (name, value) in [
        ("run_id", "run-2"),
        ("workflow_id", "research"),
        ("current_step", "3"),
        ("status", "in_progress"),
        ("metadata", "{\"note\":\"work\"}"),
    ] {
        assert_eq!(member(&run, name).as_deref(), Some(value), "{name}");
    }
    assert_ne!(
        member(&run, "updated_at"),
        member(&record(3, ""), "updated_at")
    );
    let registry = other.text("artifact-registry.json").unwrap();
    assert_eq!(member(&registry, "run_id").as_deref(), Some("run-2"));
    assert_eq!(member(&registry, "x_unknown").as_deref(), Some("[1]"));
    assert!(registry.contains("\"a.md\"") && !registry.contains(base.as_str()));
    assert_eq!(other.text("state.json"), world.text("state.json"));

    let first = header(&other);
    assert_eq!(first.checkpoint_id, forked.checkpoint_id);
    assert_eq!((first.sequence, first.parent), (Some(1), None));
    assert_eq!(
        (first.step, first.created_ms),
        (Step::Number(3.0), world.now_ms)
    );
    let link = |run: &str, id: &CheckpointId| Link {
        run: run.to_owned(),
        checkpoint: Some(id.to_string()),
    };
    assert_eq!(
        first.facts,
        Some(Facts {
            labels: vec!["beta".to_owned()],
            parent: Some(link("run-1", &base)),
            ..Facts::default()
        }),
        "as they are now"
    );
    assert_eq!(first.environment.as_deref(), Some("{\"step\":3}"));
    assert_eq!(world.sight(), before, "the base goes on as it was");
    assert_eq!(
        holding(&world, &base),
        [link("run-2", &forked.checkpoint_id)]
    );
    assert_eq!(life(&world, &world.id_at(1)).forks, []);

    // It is a run like any other, and the two are apart.
    let mut other = other;
    other.now_ms += 1_000;
    other.restore_newest().unwrap();
    let id = other.create(4.0).unwrap().checkpoint_id;
    assert_eq!(other.ids(), [id.as_str(), forked.checkpoint_id.as_str()]);
    other.assert_tidy("gone on");
    assert_eq!(world.sight(), before);
}

#[test]
fn what_it_is_is_in_the_audit_log() {
    let world = World::with_checkpoints(1);
    let forked = newest(&world, "run-2").unwrap();
    let request = ops::events::Request::default();
    let page = ops::events::read(&world.disk, &world.store, &request, &Cancel::default());
    let events: Vec<Record> = page.unwrap().events.into_iter().map(|one| one.0).collect();
    let [.., created, updated] = &events[..] else {
        panic!("{events:?}");
    };
    for (event, kind, run, id, name, other) in [
        (
            created,
            "created",
            "run-2",
            &forked.checkpoint_id,
            "from",
            serde_json::json!({"run": "run-1", "checkpoint": forked.base.as_str()}),
        ),
        (
            updated,
            "updated",
            "run-1",
            &forked.base,
            "to",
            serde_json::json!({"run": "run-2", "checkpoint": forked.checkpoint_id.as_str()}),
        ),
    ] {
        assert_eq!(event.event, kind);
        assert_eq!(event.run.as_deref(), Some(run));
        assert_eq!(event.checkpoint.as_deref(), Some(id.as_str()));
        assert_eq!(event.data["operation"], "fork");
        assert_eq!(event.data[name], other);
    }
    let open = ops::events::open_runs(&world.disk, &world.store).unwrap();
    assert_eq!(open.runs, [], "its event is there");
}

#[test]
fn state_in_the_store_is_shared_and_outlives_its_base() {
    let world = base();
    let before = pack_bytes(&world.disk, &world.store);
    // The state is shared; the registry, whose paths are others now, is new.
    let forked = newest(&world, "run-2").unwrap();
    let mut other = of_run(&world, "run-2");
    let added = pack_bytes(&world.disk, &world.store) - before;
    assert_eq!(added, forked.added_bytes);
    assert!(added > 0 && added < before / 4, "{added} of {before}");
    let objects = |header: &Header| {
        let state = header.state_objects.iter();
        let all = state.map(|one| (one.member.clone(), one.object));
        all.collect::<Vec<_>>()
    };
    let (ours, theirs) = (objects(&header(&other)), {
        let good = world.verified().good;
        objects(&good[0].header)
    });
    let names = ["artifact_registry", "step_state"];
    assert_eq!(ours.iter().map(|one| &one.0).collect::<Vec<_>>(), names);
    assert_ne!(ours[0], theirs[0]);
    assert_eq!(ours[1], theirs[1]);

    let registry = other.text("artifact-registry.json").unwrap();
    let count = |path: &str| registry.matches(path).count();
    assert_eq!(count(&format!("\"path\": \"{RUNS}/run-2/artifacts/")), 50);
    assert_eq!(
        count("\"path\": \".claude/context/runs/run-2/artifacts/"),
        50
    );
    assert_eq!(
        count("\"path\": \"./.claude/context/runs/run-2/artifacts/"),
        50
    );
    assert_eq!(count(&format!("\"path\": \"{RUNS}/run-10/artifacts/")), 50);
    assert_eq!(count("/run-1/"), 0);

    // A fork of another step with nothing large in it adds nothing.
    let step = request(Choice::Step(Step::Number(1.0)), "run-3");
    let third = world.act(|context| fork(context, &step)).unwrap();
    assert_eq!(third.added_bytes, 0);

    // All of the base is gone, and gc ran.
    for good in world.verified().good {
        world.disk.remove_file(&good.path).unwrap();
    }
    collect(&world);
    // What only the base needed is gone with it.
    let left = pack_bytes(&world.disk, &world.store);
    assert!(left < before + added, "{left} of {before} and {added}");
    other.now_ms += MINUTE_MS;
    assert_whole(&other.disk, &other.store, other.now_ms, "without the base");
    let put_back = other.restore_newest().unwrap();
    let manifest = String::from_utf8(put_back.manifest).unwrap();
    assert!(manifest.contains(&large(1)[10..60]));
    // A restored registry names the checkpoint itself from the next one on.
    other.now_ms += 1_000;
    other.create(9.0).unwrap();
    other.assert_tidy("restored");
}

#[test]
fn a_fork_of_a_fork() {
    let mut world = base();
    let first = newest(&world, "run-2").unwrap();
    world.now_ms += 1_000;
    let second = newest(&of_run(&world, "run-2"), "run-3").unwrap();
    let third = of_run(&world, "run-3");
    assert_eq!(second.base, first.checkpoint_id);
    let parent = header(&third).facts.unwrap().parent.unwrap();
    assert_eq!(parent.run, "run-2");
    assert_eq!(
        parent.checkpoint.as_deref(),
        Some(first.checkpoint_id.as_str())
    );
    assert_eq!(
        header(&third).facts.unwrap().phase.as_deref(),
        Some("build")
    );
    let registry = third.text("artifact-registry.json").unwrap();
    assert!(registry.contains("/run-3/") && !registry.contains("/run-2/"));
    let middle = of_run(&world, "run-2");
    assert_eq!(holding(&middle, &first.checkpoint_id)[0].run, "run-3");
    assert_whole(&world.disk, &world.store, world.now_ms, "forked twice");
}

#[test]
fn what_cannot_be_forked_is_refused_and_nothing_is_made() {
    let world = base();
    let refused = |world: &World, choice: Choice| {
        let done = code(world.act(|context| fork(context, &request(choice, "new"))));
        assert!(!exists(&of_run(world, "new")), "{done}");
        done
    };
    let id = |id: &str| Choice::Id(CheckpointId::parse(id).unwrap());
    assert_eq!(refused(&world, id("nothing")), "ERR_CHECKPOINT_NOT_FOUND");
    assert_eq!(
        refused(&world, Choice::Step(Step::Number(9.0))),
        "ERR_CHECKPOINT_NOT_FOUND"
    );
    assert_eq!(refused(&World::new(), Choice::Newest), "ERR_NO_CHECKPOINT");
    assert_eq!(
        refused(&of_run(&world, "nobody"), Choice::Newest),
        "ERR_RUN_NOT_FOUND"
    );
    assert_eq!(code(newest(&world, "run-1")), "ERR_RUN_EXISTS");
    world.disk.plant_file(&Path::new(RUNS).join("file"), b"");
    let taken = newest(&world, "file").unwrap_err();
    assert_eq!(
        (taken.code(), taken.run_id()),
        ("ERR_RUN_EXISTS", Some("file"))
    );
    assert_eq!(taken.path(), Some(&*Path::new(RUNS).join("file")));

    // The store lacks what a checkpoint needs.
    let (good, small) = (world.id_at(0), world.id_at(1));
    let hurt = world.fork();
    for (pack, _) in hurt.store.packs(&hurt.disk).unwrap() {
        hurt.disk.remove_file(&hurt.store.pack(pack)).unwrap();
    }
    let by_id = Choice::Id(good.clone());
    assert_eq!(refused(&hurt, by_id.clone()), "ERR_CHECKPOINT_DAMAGED");
    // The newest good one is another one then.
    let forked = newest(&hurt, "other").unwrap();
    assert_eq!(forked.base, small);
    assert_eq!(forked.skipped[0].checkpoint_id, good.as_str());

    // A manifest that is not whole.
    let hurt = world.fork();
    let path = hurt.run.manifest(&good);
    let bytes = hurt.disk.content(&path).unwrap();
    hurt.disk.plant_file(&path, &bytes[..bytes.len() / 2]);
    assert_eq!(refused(&hurt, by_id.clone()), "ERR_CHECKPOINT_DAMAGED");

    // A log of changes that can't be trusted: the fork could not be noted.
    let hurt = world.fork();
    hurt.act(|context| change(context, &good, &Command::Activate))
        .unwrap();
    let path = hurt.run.changes();
    let text = String::from_utf8(hurt.disk.content(&path).unwrap()).unwrap();
    hurt.disk
        .plant_file(&path, text.replace("active", "failed").as_bytes());
    assert_eq!(refused(&hurt, by_id), "ERR_CHANGES_DAMAGED");
    assert_eq!(life(&world, &good).forks, []);
}

#[test]
fn a_budget_that_is_used_up_refuses_what_would_be_added() {
    let world = base();
    let tight = Request {
        max_store_bytes: Some(1),
        ..request(Choice::Newest, "new")
    };
    let done = world.act(|context| fork(context, &tight));
    assert_eq!(code(done), "ERR_STORE_BUDGET");
    assert!(!exists(&of_run(&world, "new")));
    // Nothing is added for this one.
    let small = Request {
        choice: Choice::Step(Step::Number(1.0)),
        ..tight
    };
    world.act(|context| fork(context, &small)).unwrap();
}

#[test]
fn a_fork_whose_run_is_gone_holds_nothing() {
    let mut world = World::with_checkpoints(1);
    let base = world.id_at(0);
    for id in ["run-2", "run-3"] {
        world.now_ms += 1_000;
        newest(&world, id).unwrap();
    }
    let held = |life: &Life| {
        let links = holding_forks(&world.disk, world.run.runs_dir(), life);
        links.into_iter().map(|one| one.run).collect::<Vec<_>>()
    };
    let mut life = life(&world, &base);
    assert_eq!(held(&life), ["run-2", "run-3"]);
    let elsewhere = Path::new("/project/elsewhere");
    assert_eq!(holding_forks(&world.disk, elsewhere, &life), []);
    // What no run can be called holds nothing either.
    for run in ["gone", "../runs/run-2", ""] {
        life.forks.push(Link {
            run: run.to_owned(),
            checkpoint: None,
        });
    }
    assert_eq!(held(&life), ["run-2", "run-3"]);
}

/// Whatever happened: the new run is there and whole, or not there and nothing holds the base.
#[track_caller]
fn check(world: &World, base: &CheckpointId, done: bool, when: &str) {
    let mut world = world.clone();
    world.now_ms += MINUTE_MS;
    world.recover().unwrap();
    let mut other = of_run(&world, "run-2");
    if exists(&other) {
        other.recover().unwrap();
        other.assert_tidy(when);
        assert_eq!(header(&other).facts.unwrap().parent.unwrap().run, "run-1");
        let run = other.text("run.json").unwrap();
        assert_eq!(member(&run, "run_id").as_deref(), Some("run-2"), "{when}");
        assert_eq!(other.text("state.json"), world.text("state.json"), "{when}");
        assert_eq!(holding(&world, base).len(), 1, "{when}: it is noted");
        other
            .restore_newest()
            .unwrap_or_else(|error| panic!("{when}: {}", error.full_message()));
    } else {
        assert!(!done, "{when}: told as done");
        assert_eq!(holding(&world, base), [], "{when}");
        newest(&world, "run-2")
            .unwrap_or_else(|error| panic!("{when}: again: {}", error.full_message()));
        assert_eq!(holding(&world, base).len(), 1, "{when}: again");
    }
    other.now_ms += 1_000;
    other.create(7.0).unwrap();
    // The base itself is as it was.
    let scan = manifests::scan(&world.disk, &world.run, Check::Checksum, &Cancel::default());
    assert_eq!(scan.unwrap().good.len(), 2, "{when}");
    collect(&world);
    assert_whole(&world.disk, &world.store, world.now_ms, when);
}

fn calls(world: &World) -> u64 {
    let world = world.fork();
    let before = world.disk.calls();
    newest(&world, "run-2").unwrap();
    world.disk.calls() - before
}

#[test]
fn killed_at_every_call_the_new_run_is_whole_or_not_there() {
    let world = base();
    let (id, calls) = (world.id_at(0), calls(&world));
    assert!(calls > 10);
    for n in 1..=calls + 1 {
        let died = world.fork();
        died.disk.crash_at(n);
        let done = newest(&died, "run-2").is_ok();
        assert!(done || n <= calls, "no further call is made");
        let when = |how: &str| format!("died at call {n} of {calls}, {how}");
        let lost = |seed: u64| (format!("power loss {seed}"), died.disk.power_loss(seed));
        let mut disks: Vec<(String, SimDisk)> = (0..SEEDS).map(lost).collect();
        died.disk.kill();
        disks.push(("killed".to_owned(), died.disk.fork()));
        for (how, disk) in disks {
            check(&world.on(disk), &id, done, &when(&how));
        }
    }
}

#[test]
fn a_call_that_fails_leaves_no_half_of_a_run() {
    let world = base();
    let (id, calls) = (world.id_at(0), calls(&world));
    for n in 1..=calls {
        let hurt = world.fork();
        hurt.disk.fail_at(n, ErrorKind::Other);
        let result = newest(&hurt, "run-2");
        let when = format!("call {n} of {calls} failed: {result:?}");
        hurt.disk.heal();
        let there = exists(&of_run(&hurt, "run-2"));
        match &result {
            Ok(_) => assert!(there, "{when}"),
            Err(Error::NotDurable { .. }) => {}
            Err(_) => {
                assert!(!there, "{when}");
                assert_eq!(life(&hurt, &id).forks, [], "{when}: nothing is noted");
            }
        }
        check(&hurt, &id, result.is_ok(), &when);
    }
}

/// What of a run's folder is not the state of the run, with modes and times.
fn files(project: &Project) -> Vec<(String, String)> {
    let run = format!("{}/", project.run.run_id());
    let sight = project.sight().into_iter();
    sight
        .filter_map(|(path, thing)| {
            let (_, name) = path.split_once(&run)?;
            Some((name.to_owned(), format!("{thing:?}")))
        })
        .collect()
}

fn fork_project(project: &Project, id: &str) -> Result<Forked> {
    let request = Request {
        project: Some(project.path.clone()),
        ..request(Choice::Newest, id)
    };
    project.act(|context: &Context<'_>| fork(context, &request))
}

/// A project whose run has files of its own.
fn with_files() -> Project {
    let project = Project::new();
    let run = project.run.path().strip_prefix(&project.path).unwrap();
    let at = |name: &str| run.join(name).to_str().unwrap().to_owned();
    project.put(&at("artifacts/plan.md"), "plan\n");
    project.put_bytes(&at("artifacts/deep/large.bin"), &text(3, 2_000_000));
    project.put(&at("tool.sh"), "#!/bin/sh\n");
    project.mode(&at("tool.sh"), 0o755);
    project.link(&at("latest"), "artifacts/plan.md");
    fs::create_dir(project.run.path().join("empty")).unwrap();
    project.mode(&at("artifacts/deep"), 0o750);
    project.put_in_run(
        "artifact-registry.json",
        &format!(
            "{{\"run_id\":\"run-1\",\"artifacts\":{{\"plan.md\":{{\"name\":\"plan.md\",\
             \"path\":\"{}\"}},\"report.md\":{{\"path\":\"out/report.md\"}}}}}}",
            at("artifacts/plan.md")
        ),
    );
    project
}

#[test]
fn captured_files_of_the_run_are_laid_out_and_shared() {
    let project = with_files();
    project.create();
    let captured = files(&project);
    assert!(captured.len() > 6, "{captured:?}");
    // What comes later, and what lies elsewhere, is no part of it.
    project.put_in_run("later.txt", "later\n");
    project.put("README.md", "changed\n");
    let before = (pack_bytes(&project.disk, &project.store), project.sight());

    let forked = fork_project(&project, "run-2").unwrap();
    let other = project.of_run("run-2");
    assert_eq!(files(&other), captured, "with modes and times");
    assert_eq!((forked.files, forked.added_bytes), (4, 0));
    assert!(forked.bytes > 2_000_000 && forked.warnings.is_empty());
    let mut after = project.sight();
    after.retain(|path, _| !path.contains("runs/run-2"));
    assert_eq!(pack_bytes(&project.disk, &project.store), before.0);
    assert_eq!(after, before.1, "nothing else was touched");
    let registry = fs::read_to_string(other.run.registry()).unwrap();
    assert!(
        registry.contains("runs/run-2/artifacts/plan.md") && registry.contains("\"out/report.md\"")
    );
    let names = fs::read_dir(project.run.runs_dir()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with('~')));

    // A restore finds all of the run's own files as they were, and puts back the others.
    let planned = other.plan(&other.request(Choice::Newest, None));
    let planned = planned.unwrap();
    let own = planned
        .roots
        .iter()
        .position(|root| root.name == "run")
        .unwrap();
    assert_eq!(planned.roots[own].folder, other.run.path());
    let rows = planned.rows.iter().filter(|row| row.root == own);
    assert_eq!(rows.collect::<Vec<_>>(), Vec::<&Row>::new());
    other.put(".claude/context/runs/run-2/artifacts/plan.md", "spoilt\n");
    other.overwrite(&forked.checkpoint_id);
    assert_eq!(files(&other), captured);
    assert_eq!(other.text("README.md").as_deref(), Some("read me\n"));
    assert_eq!(
        project
            .text(".claude/context/runs/run-1/artifacts/plan.md")
            .as_deref(),
        Some("plan\n")
    );

    // The base is gone; the fork has all of it.
    fs::remove_dir_all(project.run.path()).unwrap();
    project.gc();
    fs::remove_file(other.run.path().join("artifacts/deep/large.bin")).unwrap();
    other.overwrite(&forked.checkpoint_id);
    assert_eq!(files(&other), captured);
    let now_ms = crate::world::START_MS + MINUTE_MS;
    assert_whole(&project.disk, &project.store, now_ms, "without the base");
}

#[test]
fn a_captured_file_that_is_lost_refuses_the_fork() {
    let project = with_files();
    let id = project.create();
    let (_, len) = project.store.packs(&project.disk).unwrap()[0];
    let (pack, _) = project.store.packs(&project.disk).unwrap()[0];
    let path = project.store.pack(pack);
    let mut bytes = fs::read(&path).unwrap();
    // In the large file, which takes nearly all of the pack.
    let at = usize::try_from(len / 2).unwrap();
    for byte in &mut bytes[at..at + 64] {
        *byte ^= 0x55;
    }
    fs::write(&path, bytes).unwrap();
    let request = Request {
        project: Some(project.path.clone()),
        ..request(Choice::Id(id), "run-2")
    };
    let result = project.act(|context| fork(context, &request));
    assert_eq!(code(result), "ERR_CHECKPOINT_DAMAGED");
    let names = fs::read_dir(project.run.runs_dir()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["run-1"]);
}
