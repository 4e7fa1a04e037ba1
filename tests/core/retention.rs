//! The retention policy at work: what prune and create drop, and why.

use waymark::model::retention::{ALL, Retention, Span};
use waymark::model::step::Step;
use waymark::ops::create::{self, Created, STATE_MAX};
use waymark::ops::prune::{self, Pruned};
use waymark::store::disk::Disk as _;
use waymark::store::layout::RunDir;

use waymark::ops::restore::Choice;

use crate::world::{START_MS, World, record};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn create(world: &World, step: u32, policy: &Retention) -> Created {
    let request = create::Request {
        step: Step::Number(f64::from(step)),
        state: b"{}",
        retention: Some(policy.clone()),
        max_state_bytes: STATE_MAX,
        capture: None,
        max_store_bytes: None,
        facts: None,
        environment: None,
    };
    world
        .act(|context| create::create(context, &request))
        .unwrap()
}

/// A run with a checkpoint every six hours for ten days, none of them dropped.
fn ten_days() -> World {
    let mut world = World::new();
    for step in 0..40 {
        world.now_ms = START_MS + i64::from(step) * 6 * HOUR;
        world.put("run.json", &record(step, "work"));
        create(&world, step, &Retention::newest(ALL));
    }
    world
}

fn pruned(world: &World, policy: &Retention, dry_run: bool) -> Pruned {
    world
        .act(|context| prune::prune(context, policy, dry_run))
        .unwrap()
}

fn steps(world: &World) -> Vec<Step> {
    let good = world.list().unwrap().good.into_iter();
    good.map(|good| good.header.step).collect()
}

fn numbers(of: &[u32]) -> Vec<Step> {
    of.iter().map(|one| Step::Number(f64::from(*one))).collect()
}

/// The words of each decision that keeps, with the step.
fn words(pruned: &Pruned) -> Vec<String> {
    let kept = pruned.decisions.iter().filter(|one| one.keep);
    kept.map(|one| {
        let words: Vec<String> = one
            .reasons
            .iter()
            .map(waymark::model::retention::Reason::word)
            .collect();
        let step = one.taken.as_ref().map(|(step, _)| step.to_string());
        format!("{} {}", step.unwrap_or_default(), words.join(" "))
    })
    .collect()
}

#[test]
fn a_policy_drops_what_no_rule_keeps() {
    let world = ten_days();
    let policy = Retention {
        keep_daily: 3,
        keep_weekly: 2,
        keep_within: Some(Span::Ms(13 * 3_600_000)),
        ..Retention::newest(2)
    };
    let planned = pruned(&world, &policy, true);
    assert_eq!(steps(&world).len(), 40, "a dry run drops nothing");
    assert_eq!(
        words(&planned),
        [
            // 2026-01-10, a Saturday, 18:00.
            "39 keep_last daily weekly within newest",
            "38 keep_last within",
            "37 within",
            "35 daily",
            "31 daily",
            // 2026-01-04, a Sunday.
            "15 weekly",
        ]
    );
    assert!(planned.decisions.iter().all(|one| !one.reasons.is_empty()));
    let done = pruned(&world, &policy, false);
    assert_eq!(done, planned);
    assert_eq!(steps(&world), numbers(&[39, 38, 37, 35, 31, 15]));
    world.assert_tidy("pruned");
}

#[test]
fn a_paused_run_says_so() {
    let world = ten_days();
    world.put(
        "run.json",
        &record(3, "x").replace("\"failed\"", "\"awaiting_approval\""),
    );
    assert_eq!(
        words(&pruned(&world, &Retention::newest(1), true)),
        ["39 keep_last newest paused"]
    );
    // A record that can't be read stops no prune.
    world.put("run.json", "{");
    assert_eq!(
        words(&pruned(&world, &Retention::newest(1), true)),
        ["39 keep_last newest"]
    );
}

/// Prune drops nothing the run stands on, however old; the next checkpoint takes its place.
#[test]
fn what_the_run_was_put_back_to_stays() {
    let mut world = ten_days();
    let third = Step::Number(3.0);
    world.restore(&Choice::Step(third)).unwrap();
    let newest = Retention::newest(1);
    let told = words(&pruned(&world, &newest, true));
    assert_eq!(told, ["39 keep_last newest", "3 restored"]);
    world.put(
        "run.json",
        &record(3, "x").replace("\"failed\"", "\"awaiting_approval\""),
    );
    let told = words(&pruned(&world, &newest, false));
    assert_eq!(told, ["39 keep_last newest paused", "3 restored paused"]);
    assert_eq!(steps(&world), numbers(&[39, 3]));
    world.now_ms += HOUR;
    world.put("run.json", &record(4, "x"));
    let made = create(&world, 4, &newest);
    assert_eq!(made.dropped.len(), 2, "{:?}", made.warnings);
    assert_eq!(steps(&world), numbers(&[4]));
}

#[test]
fn create_goes_by_the_whole_policy() {
    let mut world = World::new();
    let policy = Retention {
        keep_daily: 3,
        ..Retention::newest(2)
    };
    for step in 0..40 {
        world.now_ms = START_MS + i64::from(step) * 6 * HOUR;
        let made = create(&world, step, &policy);
        assert!(made.warnings.is_empty(), "{:?}", made.warnings);
        world.assert_tidy("created");
    }
    assert_eq!(steps(&world), numbers(&[39, 38, 35, 31]));
}

/// The same history under create and under prune leaves the same.
#[test]
fn create_and_prune_agree() {
    for policy in [
        Retention::newest(3),
        Retention {
            keep_hourly: 4,
            keep_monthly: 1,
            ..Retention::newest(1)
        },
        Retention {
            keep_within: Some(Span::days(2)),
            ..Retention::newest(1)
        },
    ] {
        let mut one = ten_days();
        one.now_ms = START_MS + 11 * DAY;
        let other = one.fork();
        create(&one, 99, &policy);
        create(&other, 99, &Retention::newest(ALL));
        pruned(&other, &policy, false);
        assert_eq!(steps(&one), steps(&other), "{policy:?}");
    }
}

/// A rescue checkpoint goes when the run went on, though something older is kept for years.
#[test]
fn what_is_kept_for_years_keeps_no_rescue_checkpoint() {
    let mut world = World::new();
    let policy = Retention {
        keep_yearly: 5,
        ..Retention::newest(2)
    };
    world.now_ms = START_MS - 20 * DAY;
    create(&world, 1, &policy);
    world.now_ms = START_MS;
    create(&world, 2, &policy);
    world.disk.plant_dir(&world.run.rescues());
    let rescue = RunDir::rescue_id(START_MS + 500).unwrap();
    world.disk.plant_file(&world.run.manifest(&rescue), b"{}");
    let rescues = |world: &World| world.disk.list(&world.run.rescues()).unwrap().len();
    for (step, left) in [(3, 1), (4, 0)] {
        world.now_ms += 1_000;
        create(&world, step, &policy);
        assert_eq!(rescues(&world), left, "at step {step}");
    }
    assert_eq!(steps(&world), numbers(&[4, 3, 1]));
}

/// The newest that stays is one that can be restored: one that lacks something in the store is damaged.
#[test]
fn what_lacks_something_in_the_store_is_not_the_newest_good_one() {
    let mut world = World::new();
    let pack = world
        .store
        .pack(waymark::store::place::PackId { slot: 0, number: 1 });
    let mut before = Vec::new();
    for step in 1..=3 {
        before = world.disk.content(&pack).unwrap_or_default();
        world.now_ms += 1_000;
        let state = format!("\"{}\"", format!("{step}-").repeat(40_000));
        world
            .create_with(Step::Number(f64::from(step)), &state)
            .unwrap();
    }
    assert!(!before.is_empty());
    world.disk.plant_file(&pack, &before);
    world.now_ms += 1_000;
    assert_eq!(
        steps(&world),
        numbers(&[2, 1]),
        "the newest lacks its state"
    );
    for dry_run in [true, false] {
        let decided = pruned(&world, &Retention::newest(1), dry_run);
        let kept = decided.decisions.iter().filter(|one| one.keep);
        assert_eq!(kept.count(), 2, "the newest good one, and the damaged one");
    }
    assert_eq!(steps(&world), numbers(&[2]));
    world.restore_newest().unwrap();
}
