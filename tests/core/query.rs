//! The index of checkpoints: pages that go on where the one before ended whatever happens meanwhile, nothing of a
//! part that is being made, and nothing old in the place of something new.

use waymark::model::cancel::Cancel;
use waymark::model::progress::Progress;
use waymark::model::query::{Cursor, Filter, Row};
use waymark::ops::query::{Ground, Page, find};
use waymark::store::catalog::{Catalog, Epoch, Followed, Found, RunRows};

use crate::world::{RUNS, World, record};

fn row(run: &str, number: u64, created_ms: i64) -> Row {
    let mut row = Row::of_damaged(run, &format!("{run}-{number}"), "truncated", created_ms);
    row.sequence = Some(number);
    row
}

/// A run with so many checkpoints, all of one millisecond.
fn rows(run: &str, numbers: std::ops::RangeInclusive<u64>) -> RunRows {
    RunRows {
        run: run.to_owned(),
        stamp: String::new(),
        rows: numbers.map(|number| row(run, number, 5)).rev().collect(),
        problem: None,
    }
}

fn at(seq: u64) -> Followed {
    Followed {
        seq,
        hash: String::new(),
        boot: String::new(),
    }
}

fn put(catalog: &mut Catalog, epoch: Epoch, seq: u64, runs: RunRows) -> bool {
    let runs = [(RUNS.to_owned(), runs)];
    catalog.put(epoch, &at(seq), &runs).unwrap()
}

fn page(
    catalog: &mut Catalog,
    epoch: Epoch,
    filter: &Filter,
    after: Option<Cursor>,
    limit: u32,
) -> Option<Found> {
    catalog.find(epoch, RUNS, filter, after, limit, 9).unwrap()
}

fn ids(rows: &[String]) -> Vec<String> {
    let id = |row: &String| {
        let row: serde_json::Value = serde_json::from_str(row).unwrap();
        row["checkpointId"].as_str().unwrap().to_owned()
    };
    rows.iter().map(id).collect()
}

fn all(catalog: &mut Catalog, epoch: Epoch) -> Vec<String> {
    let found = page(catalog, epoch, &Filter::default(), None, 1_000).unwrap();
    ids(&found.rows)
}

/// Between two pages every run gets one more checkpoint, in the same millisecond: what was there is told once.
#[test]
fn pages_go_on_while_checkpoints_are_taken() {
    for oldest_first in [false, true] {
        for limit in 1..=4 {
            let mut catalog = Catalog::in_memory().unwrap();
            let runs = ["a", "b", "c"];
            let first: Vec<RunRows> = runs.iter().map(|run| rows(run, 1..=3)).collect();
            let epoch = catalog.renew(&at(1), RUNS, &first).unwrap();
            let before = all(&mut catalog, epoch);
            let filter = Filter {
                oldest_first,
                ..Filter::default()
            };
            let (mut after, mut told, mut more) = (None, Vec::new(), 3);
            loop {
                let found = page(&mut catalog, epoch, &filter, after, limit).unwrap();
                told.extend(ids(&found.rows));
                after = found.next;
                if after.is_none() {
                    break;
                }
                if more < 6 {
                    more += 1;
                    for run in runs {
                        assert!(put(&mut catalog, epoch, more, rows(run, 1..=more)));
                    }
                }
            }
            for id in before {
                let times = told.iter().filter(|one| **one == id).count();
                assert_eq!(times, 1, "{id}, {limit} at once: {told:?}");
            }
        }
    }
}

#[test]
fn those_of_one_millisecond_are_in_their_order() {
    let mut catalog = Catalog::in_memory().unwrap();
    let epoch = catalog.renew(&at(1), RUNS, &[rows("a", 1..=9)]).unwrap();
    let newest: Vec<String> = (1..=9).rev().map(|number| format!("a-{number}")).collect();
    assert_eq!(all(&mut catalog, epoch), newest);
}

/// Who looked at a run earlier than another, and says so later, is not believed.
#[test]
fn what_was_looked_at_later_stays() {
    let mut catalog = Catalog::in_memory().unwrap();
    let epoch = catalog.renew(&at(1), RUNS, &[rows("a", 1..=1)]).unwrap();
    assert!(put(&mut catalog, epoch, 5, rows("a", 1..=2)));
    assert!(put(&mut catalog, epoch, 4, rows("a", 1..=1)));
    assert_eq!(all(&mut catalog, epoch), ["a-2", "a-1"]);
    assert!(put(&mut catalog, epoch, 6, rows("b", 1..=1)));
    let earlier = [rows("a", 1..=1), rows("c", 1..=1)];
    assert!(catalog.fill(epoch, 3, RUNS, &earlier).unwrap());
    let mut there = all(&mut catalog, epoch);
    there.sort();
    assert_eq!(there, ["a-1", "a-2", "b-1", "c-1"]);
    assert_eq!(catalog.followed().unwrap().unwrap().0.seq, 6);
    // And one that is gone now does go.
    assert!(catalog.fill(epoch, 6, RUNS, &[rows("c", 1..=1)]).unwrap());
    assert_eq!(all(&mut catalog, epoch), ["c-1"]);
}

/// What was begun before somebody made the index anew is refused, and nobody is answered from a part of it.
#[test]
fn an_epoch_that_is_over_is_told() {
    let mut catalog = Catalog::in_memory().unwrap();
    let old = catalog.renew(&at(7), RUNS, &[rows("a", 1..=1)]).unwrap();
    let other = "/another/folder";
    let new = catalog.renew(&at(1), other, &[]).unwrap();
    assert_ne!(old, new);
    assert!(!put(&mut catalog, old, 8, rows("a", 1..=1)));
    assert!(!catalog.fill(old, 8, RUNS, &[]).unwrap());
    assert!(page(&mut catalog, old, &Filter::default(), None, 9).is_none());
    // The folder was not looked at since.
    assert!(page(&mut catalog, new, &Filter::default(), None, 9).is_none());
    assert!(catalog.fill(new, 1, RUNS, &[rows("a", 1..=1)]).unwrap());
    assert_eq!(all(&mut catalog, new), ["a-1"]);
    assert_eq!(catalog.followed().unwrap().unwrap().0.seq, 1);
}

fn asked(world: &World) -> Page {
    world.disk.set_now(world.now_ms);
    let ground = Ground {
        disk: &world.disk,
        runs_dir: world.run.runs_dir(),
        store: Some(&world.store),
        boot: "",
        now_ms: world.now_ms,
        cancel: &Cancel::default(),
        progress: &Progress::default(),
    };
    find(&ground, &Filter::default(), None, 100).unwrap()
}

/// What can't be read of one run is told, and the others are answered for.
#[test]
fn a_run_that_cannot_be_read_is_told() {
    let world = World::with_checkpoints(2);
    let other = world.run.runs_dir().join("run-2");
    world.disk.plant_dir(&other);
    world.disk.plant_dir(&other.join("checkpoints"));
    world
        .disk
        .plant_file(&other.join("run.json"), record(1, "x").as_bytes());
    assert_eq!(
        (asked(&world).rows.len(), asked(&world).problems),
        (2, vec![])
    );
    world.disk.plant_dir(&other.join("checkpoints/.waymark"));
    let changes = other.join("checkpoints/.waymark/changes");
    world.disk.plant_file(&changes, b"");
    world.disk.make_unreadable(&changes);
    let page = asked(&world);
    assert_eq!(page.rows.len(), 2);
    assert_eq!(page.problems.len(), 1, "{:?}", page.problems);
    assert_eq!(page.problems[0].0, "run-2");
}

/// While a log of changes is damaged it is told that states and pins may be others.
#[test]
fn a_damaged_log_of_changes_is_told() {
    let world = World::with_checkpoints(2);
    let id = world.id_at(0);
    world
        .act(|context| {
            let command = waymark::ops::lifecycle::Command::Activate;
            waymark::ops::lifecycle::change(context, &id, &command)
        })
        .unwrap();
    assert_eq!(asked(&world).problems, []);
    let path = world.run.changes();
    let mut bytes = world.disk.content(&path).unwrap();
    bytes[20] ^= 1;
    world.disk.plant_file(&path, &bytes);
    let page = asked(&world);
    assert_eq!((page.rows.len(), page.problems.len()), (2, 1));
    assert!(
        page.problems[0].1.contains("log of changes"),
        "{:?}",
        page.problems
    );
}
