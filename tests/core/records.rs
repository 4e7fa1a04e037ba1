//! Records: written, changed, raced by threads, damaged in every way, killed and robbed of power at every call.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use waymark::error::{Error, Result};
use waymark::model::cancel::Cancel;
use waymark::model::record::{RECORD_MAX, Record, RecordName};
use waymark::ops::records::{Expected, Shelf, list, read, remove, write};
use waymark::store::disk::Disk;
use waymark::store::layout::RunDir;
use waymark::store::place::StoreDir;
use waymark::store::real_disk::RealDisk;
use waymark::store::records::Owner;

use crate::sim_disk::SimDisk;
use crate::world::{World, code, run_id};

const SEEDS: u64 = 20;

fn name(text: &str) -> RecordName {
    RecordName::parse(text).unwrap()
}

fn owners(world: &World) -> [Owner<'_>; 2] {
    [Owner::Run(&world.run), Owner::Store(&world.store)]
}

fn on<T>(
    world: &World,
    disk: &SimDisk,
    owner: Owner<'_>,
    act: impl FnOnce(&Shelf<'_>) -> Result<T>,
) -> Result<T> {
    act(&Shelf {
        disk,
        owner,
        now_ms: world.now_ms,
        cancel: &Cancel::default(),
    })
}

fn put(world: &World, disk: &SimDisk, owner: Owner<'_>, of: &str, json: &str) -> Result<Record> {
    on(world, disk, owner, |shelf| {
        write(shelf, &name(of), json.to_owned(), &Expected::Anything)
    })
}

fn get(world: &World, disk: &SimDisk, owner: Owner<'_>, of: &str) -> Result<Option<String>> {
    let found = on(world, disk, owner, |shelf| read(shelf, &name(of)))?;
    Ok(found.map(|record| record.json))
}

fn names(world: &World, owner: Owner<'_>) -> Vec<String> {
    let names = on(world, &world.disk, owner, list).unwrap();
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_written_is_read_and_listed_and_removed() {
    // A run that Waymark never wrote, and a project without a store.
    let world = World::new();
    for owner in owners(&world) {
        let disk = &world.disk;
        assert_eq!(get(&world, disk, owner, "a").unwrap(), None);
        assert_eq!(names(&world, owner), Vec::<String>::new());
        let first = put(&world, disk, owner, "run-state", "{\"state\": \"paused\"}").unwrap();
        let second = put(&world, disk, owner, "run-state", "[1]").unwrap();
        assert_ne!(first.revision(), second.revision());
        put(&world, disk, owner, "breaker-dev.1", "null").unwrap();
        assert_eq!(
            get(&world, disk, owner, "run-state").unwrap().unwrap(),
            "[1]"
        );
        assert_eq!(names(&world, owner), ["breaker-dev.1", "run-state"]);
        let gone = |expected: &Expected| {
            on(&world, disk, owner, |shelf| {
                remove(shelf, &name("run-state"), expected)
            })
        };
        let old = Expected::Revision(first.revision());
        assert_eq!(code(gone(&old)), "ERR_RECORD_CHANGED");
        assert!(gone(&Expected::Revision(second.revision())).unwrap());
        assert!(!gone(&Expected::Anything).unwrap());
        assert_eq!(names(&world, owner), ["breaker-dev.1"]);
    }
    // They are the run's own affair: no checkpoint holds them, and no restore changes them.
    let mut world = world;
    world.create(1.0).unwrap();
    world.assert_tidy("with records");
    world.now_ms += 1_000;
    world.restore_newest().unwrap();
    assert_eq!(names(&world, Owner::Run(&world.run)), ["breaker-dev.1"]);
    assert_eq!(world.leftovers(), Vec::<String>::new());
}

#[test]
fn a_change_says_what_it_is_about() {
    let world = World::with_checkpoints(1);
    for owner in owners(&world) {
        let change = |json: &str, expected: Expected| {
            on(&world, &world.disk, owner, |shelf| {
                write(shelf, &name("x"), json.to_owned(), &expected)
            })
        };
        let missing = change("1", Expected::Revision("1-0".to_owned()));
        assert!(
            matches!(&missing, Err(Error::RecordChanged { found, .. }) if found == "it is gone")
        );
        let first = change("1", Expected::Nothing).unwrap();
        assert_eq!(code(change("2", Expected::Nothing)), "ERR_RECORD_CHANGED");
        let second = change("2", Expected::Revision(first.revision())).unwrap();
        let stale = change("3", Expected::Revision(first.revision()));
        let Err(error) = stale else {
            panic!("a stale change must be refused");
        };
        assert_eq!(error.code(), "ERR_RECORD_CHANGED");
        assert!(error.to_string().contains(&second.revision()), "{error}");
        assert_eq!(
            error.run_id(),
            matches!(owner, Owner::Run(_)).then_some("run-1")
        );
        // The same document again is another writing.
        let again = change("2", Expected::Revision(second.revision())).unwrap();
        assert_ne!(again.revision(), second.revision());
    }
}

#[test]
fn bad_input_changes_nothing() {
    let world = World::with_checkpoints(1);
    let owner = Owner::Run(&world.run);
    let big = format!("\"{}\"", "a".repeat(RECORD_MAX));
    for (json, wanted) in [
        ("{", "ERR_OPTION_INVALID"),
        ("", "ERR_OPTION_INVALID"),
        (&big, "ERR_RECORD_TOO_LARGE"),
    ] {
        assert_eq!(code(put(&world, &world.disk, owner, "x", json)), wanted);
    }
    assert_eq!(names(&world, owner), Vec::<String>::new());
    let nobody = RunDir::new(Path::new("/project/.claude/context/runs"), {
        waymark::model::ids::RunId::parse("nobody").unwrap()
    });
    let nobody = Owner::Run(&nobody);
    assert_eq!(
        code(put(&world, &world.disk, nobody, "x", "1")),
        "ERR_RUN_NOT_FOUND"
    );
    assert_eq!(
        code(get(&world, &world.disk, nobody, "x")),
        "ERR_RUN_NOT_FOUND"
    );
}

#[test]
fn damage_is_told_and_can_be_written_over() {
    let world = World::with_checkpoints(1);
    for owner in owners(&world) {
        put(&world, &world.disk, owner, "x", "{\"count\": 12}").unwrap();
        let path = owner.path(&name("x"));
        let whole = world.disk.content(&path).unwrap();
        let mut flipped = whole.clone();
        let at = whole.len() - 5;
        flipped[at] ^= 1;
        for bytes in [
            Vec::new(),
            whole[..whole.len() / 2].to_vec(),
            flipped,
            b"{}".to_vec(),
            vec![b' '; RECORD_MAX + 2000],
        ] {
            world.disk.plant_file(&path, &bytes);
            assert_eq!(
                code(get(&world, &world.disk, owner, "x")),
                "ERR_RECORD_DAMAGED"
            );
            let careful = |expected: Expected| {
                on(&world, &world.disk, owner, |shelf| {
                    write(shelf, &name("x"), "1".to_owned(), &expected)
                })
            };
            let revision = Expected::Revision("1-0".to_owned());
            assert_eq!(code(careful(revision)), "ERR_RECORD_DAMAGED");
            assert_eq!(code(careful(Expected::Nothing)), "ERR_RECORD_CHANGED");
            assert_eq!(names(&world, owner), ["x"], "a damaged one is listed");
            assert_eq!(world.disk.content(&path).unwrap(), bytes, "and left alone");
            careful(Expected::Anything).unwrap();
            assert_eq!(
                get(&world, &world.disk, owner, "x").unwrap().as_deref(),
                Some("1")
            );
        }
        world.disk.remove(&path);
        world.disk.plant_symlink(&path, Path::new("/etc/passwd"));
        assert_eq!(
            code(get(&world, &world.disk, owner, "x")),
            "ERR_RECORD_DAMAGED"
        );
        world.disk.remove(&path);
    }
}

/// Written, written over and removed, killed at every call or robbed of power there: the record is the old one
/// or the new one, and what was told as done stays done.
#[test]
fn a_record_is_old_or_new_wherever_it_dies() {
    type Act = fn(&Shelf<'_>) -> Result<()>;
    let acts: [(&str, bool, Act); 3] = [
        ("first", false, |shelf| {
            write(shelf, &name("x"), "1".to_owned(), &Expected::Nothing).map(|_| ())
        }),
        ("over", true, |shelf| {
            write(shelf, &name("x"), "1".to_owned(), &Expected::Anything).map(|_| ())
        }),
        ("removed", true, |shelf| {
            remove(shelf, &name("x"), &Expected::Anything).map(|_| ())
        }),
    ];
    // The run's private folder and the store may be there, or not.
    for fresh in [World::new(), World::with_checkpoints(1)] {
        for (at, (what, before, act)) in (0..2).flat_map(|at| acts.iter().map(move |act| (at, act)))
        {
            let world = fresh.fork();
            let owner = owners(&world)[at];
            if *before {
                put(&world, &world.disk, owner, "x", "0").unwrap();
                world.disk.settle();
            }
            let value = |disk: &SimDisk| get(&world, disk, owner, "x").unwrap();
            let old = value(&world.disk);
            let clean = world.disk.fork();
            on(&world, &clean, owner, act).unwrap();
            let new = value(&clean);
            assert_ne!(old, new);
            let calls = clean.calls();
            assert!(calls > 1, "{what} makes calls: {calls}");
            for n in 1..=calls + 1 {
                let disk = world.disk.fork();
                disk.crash_at(n);
                let done = on(&world, &disk, owner, act);
                assert_eq!(done.is_ok(), n > calls, "{what} {n}");
                let killed = disk.fork();
                killed.kill();
                let lost = (0..SEEDS).map(|seed| disk.power_loss(seed));
                for disk in std::iter::once(killed).chain(lost) {
                    let found = value(&disk);
                    assert!(
                        found == new || (done.is_err() && found == old),
                        "{what}, died at call {n} of {calls}: {found:?}"
                    );
                    // And it goes on.
                    put(&world, &disk, owner, "x", "2").unwrap();
                    assert_eq!(value(&disk.power_loss(n)).as_deref(), Some("2"));
                }
            }
        }
    }
}

/// Eight threads count up in one record by read, change and write: no change is lost, and of those who saw the
/// same revision one wins.
#[test]
fn nobody_s_change_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::new(folder.path(), run_id());
    std::fs::create_dir(run.path()).unwrap();
    let store = StoreDir::new(folder.path().join("store"));
    for owner in [Owner::Run(&run), Owner::Store(&store)] {
        let count = || {
            let cancel = Cancel::default();
            let shelf = Shelf {
                disk: &RealDisk,
                owner,
                now_ms: crate::world::START_MS,
                cancel: &cancel,
            };
            let mut revisions = Vec::new();
            while revisions.len() < 10 {
                let found = read(&shelf, &name("count")).unwrap();
                let expected = found.as_ref().map_or(Expected::Nothing, |found| {
                    Expected::Revision(found.revision())
                });
                let count: u64 = found.map_or(0, |found| found.json.parse().unwrap());
                match write(&shelf, &name("count"), (count + 1).to_string(), &expected) {
                    Ok(record) => revisions.push(record.revision()),
                    Err(error) => assert_eq!(error.code(), "ERR_RECORD_CHANGED"),
                }
            }
            revisions
        };
        let revisions: BTreeSet<String> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(count)).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(revisions.len(), 80);
        let text = std::fs::read_to_string(owner.path(&name("count"))).unwrap();
        assert!(text.contains("\n80\n"), "{text}");
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        let left = RealDisk.list(&owner.folder()).unwrap();
        assert_eq!(left.len(), 1);
    }
}
