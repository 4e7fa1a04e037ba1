#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::time::from_iso;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn ms(text: &str) -> i64 {
    let whole = match text.len() {
        10 => format!("{text}T12:00:00.000Z"),
        16 => format!("{text}:00.000Z"),
        _ => text.to_owned(),
    };
    from_iso(&whole).unwrap()
}

/// Checkpoints taken at these times, in this order.
fn taken<'a>(times: &[&'a str]) -> Vec<Candidate<'a>> {
    let numbered = (1..).zip(times);
    numbered
        .map(|(sequence, time)| Candidate {
            id: time,
            created_ms: ms(time),
            sequence: Some(sequence),
            ..Candidate::default()
        })
        .collect()
}

/// What is kept by one, newest first.
fn none() -> Retention {
    Retention::newest(1)
}

fn words(decision: &Decision) -> String {
    let words: Vec<String> = decision.reasons.iter().map(Reason::word).collect();
    words.join(" ")
}

fn judged<'a>(
    policy: &Retention,
    candidates: &[Candidate<'a>],
    now: &str,
) -> Vec<(&'a str, bool, String)> {
    let decisions = policy.judge(candidates, false, ms(now));
    decisions
        .iter()
        .map(|one| (candidates[one.at].id, one.keep, words(one)))
        .collect()
}

/// The ids that are kept, newest first.
fn kept<'a>(policy: &Retention, candidates: &[Candidate<'a>], now: &str) -> Vec<&'a str> {
    let all = judged(policy, candidates, now).into_iter();
    all.filter(|(_, keep, _)| *keep)
        .map(|(id, ..)| id)
        .collect()
}

#[test]
fn the_newest_stay() {
    let five = taken(&["2026-01-01", "2026-01-02", "2026-01-03"]);
    assert_eq!(
        judged(&Retention::newest(2), &five, "2026-01-03"),
        [
            ("2026-01-03", true, "keep_last newest".to_owned()),
            ("2026-01-02", true, "keep_last".to_owned()),
            ("2026-01-01", false, "superseded".to_owned()),
        ]
    );
    assert_eq!(
        kept(&Retention::newest(0), &five, "2026-01-03"),
        ["2026-01-03"],
        "the newest is never dropped"
    );
    assert_eq!(kept(&Retention::newest(ALL), &five, "2030-01-01").len(), 3);
    assert_eq!(Retention::default().judge(&[], true, 0), []);
}

#[test]
fn the_newest_of_each_day_that_has_any() {
    let all = taken(&[
        "2026-01-01T08:00",
        "2026-01-01T23:59",
        "2026-01-02T00:00",
        "2026-01-09T01:00",
        "2026-01-09T02:00",
        "2026-01-09T03:00",
    ]);
    let policy = Retention {
        keep_daily: 2,
        ..none()
    };
    assert_eq!(
        judged(&policy, &all, "2026-01-10"),
        [
            (
                "2026-01-09T03:00",
                true,
                "keep_last daily newest".to_owned()
            ),
            ("2026-01-09T02:00", false, "superseded".to_owned()),
            ("2026-01-09T01:00", false, "superseded".to_owned()),
            ("2026-01-02T00:00", true, "daily".to_owned()),
            ("2026-01-01T23:59", false, "superseded".to_owned()),
            ("2026-01-01T08:00", false, "superseded".to_owned()),
        ]
    );
    let hourly = Retention {
        keep_hourly: 4,
        ..none()
    };
    assert_eq!(
        kept(&hourly, &all, "2026-01-10"),
        [
            "2026-01-09T03:00",
            "2026-01-09T02:00",
            "2026-01-09T01:00",
            "2026-01-02T00:00"
        ]
    );
}

#[test]
fn an_offset_moves_midnight() {
    let all = taken(&["2026-01-01T22:30", "2026-01-01T23:30", "2026-01-02T05:00"]);
    let policy = |minutes| Retention {
        keep_daily: 9,
        utc_offset_minutes: minutes,
        ..none()
    };
    let kept = |minutes| kept(&policy(minutes), &all, "2026-01-03");
    assert_eq!(kept(0), ["2026-01-02T05:00", "2026-01-01T23:30"]);
    assert_eq!(kept(60), ["2026-01-02T05:00", "2026-01-01T22:30"]);
    assert_eq!(
        kept(90),
        ["2026-01-02T05:00"],
        "all on the second of January"
    );
    assert_eq!(kept(-330), ["2026-01-02T05:00"], "all on the first");
}

#[test]
fn leap_years_and_the_ends_of_months() {
    let all = taken(&[
        "2024-01-31",
        "2024-02-28",
        "2024-02-29",
        "2024-03-01",
        "2024-12-31",
        "2025-01-01",
        "2025-02-28",
        "2025-03-01",
        "2100-02-28",
        "2100-03-01",
    ]);
    let monthly = Retention {
        keep_monthly: 99,
        ..none()
    };
    assert_eq!(
        kept(&monthly, &all, "2100-03-01"),
        [
            "2100-03-01",
            "2100-02-28",
            "2025-03-01",
            "2025-02-28",
            "2025-01-01",
            "2024-12-31",
            "2024-03-01",
            "2024-02-29",
            "2024-01-31"
        ]
    );
    let yearly = Retention {
        keep_yearly: 2,
        ..none()
    };
    assert_eq!(
        kept(&yearly, &all, "2100-03-01"),
        ["2100-03-01", "2025-03-01"]
    );
}

#[test]
fn weeks_begin_on_monday_and_years_have_53() {
    // 2020-12-28 (Monday) to 2021-01-03 is week 53 of 2020; 2018-12-31 is in week 1 of 2019.
    let all = taken(&[
        "2018-12-30",
        "2018-12-31",
        "2019-01-06",
        "2019-01-07",
        "2020-12-27",
        "2020-12-28",
        "2020-12-31",
        "2021-01-01",
        "2021-01-03",
        "2021-01-04",
    ]);
    let weekly = Retention {
        keep_weekly: 99,
        ..none()
    };
    let decisions = weekly.judge(&all, false, ms("2021-01-05"));
    let named: Vec<(&str, String)> = decisions
        .iter()
        .filter_map(|one| {
            let mut reasons = one.reasons.iter();
            let week = reasons.find_map(|reason| match reason {
                Reason::Newest(Period::Week, name) => Some(name.clone()),
                _ => None,
            })?;
            Some((all[one.at].id, week))
        })
        .collect();
    let expected = [
        ("2021-01-04", "2021-W01"),
        ("2021-01-03", "2020-W53"),
        ("2020-12-27", "2020-W52"),
        ("2019-01-07", "2019-W02"),
        ("2019-01-06", "2019-W01"),
        ("2018-12-30", "2018-W52"),
    ];
    assert_eq!(named, expected.map(|(id, week)| (id, week.to_owned())));
}

#[test]
fn before_1970_and_beyond_all_calendars() {
    let names = |ms| Period::Day.name(ms, 0);
    assert_eq!(
        (names(-1), names(0)),
        ("1969-12-31".to_owned(), "1970-01-01".to_owned())
    );
    assert_eq!(
        Period::Week.of(-1, 0),
        Period::Week.of(0, 0),
        "one week in 1970"
    );
    assert!(Period::Year.of(i64::MAX, 1) > Period::Year.of(0, 0));
    assert!(Period::Month.of(i64::MIN, -1) < Period::Month.of(0, 0));
}

/// Clocks go forward in Europe on 2026-03-29 and back on 2026-10-25; days in UTC have 24 hours.
#[test]
fn daylight_saving_is_nothing_to_utc() {
    for day in ["2026-03-29", "2026-10-25"] {
        let begin = ms(&format!("{day}T00:00"));
        let hours: BTreeSet<i64> = (0..24)
            .map(|at| Period::Hour.of(begin + at * HOUR, 0))
            .collect();
        let days: BTreeSet<i64> = (0..24)
            .map(|at| Period::Day.of(begin + at * HOUR, 0))
            .collect();
        assert_eq!((hours.len(), days.len()), (24, 1), "{day}");
    }
}

#[test]
fn of_one_millisecond_the_sequence_decides() {
    let at = |id, sequence| Candidate {
        id,
        sequence,
        created_ms: 5,
        ..Candidate::default()
    };
    let all = [at("b", Some(1)), at("a", Some(3)), at("c", Some(2))];
    let policy = Retention {
        keep_hourly: 1,
        ..none()
    };
    let order: Vec<&str> = policy
        .judge(&all, false, 5)
        .iter()
        .map(|one| all[one.at].id)
        .collect();
    assert_eq!(order, ["a", "c", "b"]);
    // The clock was set back: the sequence is the history still.
    let mut late = all.clone();
    late[1].created_ms = -HOUR;
    let decisions = policy.judge(&late, false, 5);
    assert_eq!(late[decisions[0].at].id, "a");
    assert!(words(&decisions[0]).ends_with("newest"));
    // One without a sequence comes behind those that are not younger, and before the others.
    let other = [at("a", Some(1)), at("old", None), at("b", Some(2))];
    assert_eq!(other[policy.judge(&other, false, 5)[0].at].id, "old");
}

#[test]
fn what_is_young_enough_stays() {
    let all = taken(&["2026-01-01T00:00", "2026-01-01T00:01", "2026-01-02T00:00"]);
    let policy = Retention {
        keep_within: Some(Span::days(1)),
        ..none()
    };
    assert_eq!(
        judged(&policy, &all, "2026-01-02T00:00"),
        [
            (
                "2026-01-02T00:00",
                true,
                "keep_last within newest".to_owned()
            ),
            ("2026-01-01T00:01", true, "within".to_owned()),
            ("2026-01-01T00:00", false, "superseded".to_owned()),
        ]
    );
}

#[test]
fn labels_keep() {
    let mut all = taken(&["2026-01-01", "2026-01-02", "2026-01-03"]);
    all[0].labels = vec!["green".to_owned(), "release".to_owned()];
    all[1].labels = vec!["red".to_owned()];
    let policy = Retention {
        keep_labels: ["release", "green", "release"].map(str::to_owned).to_vec(),
        ..none()
    };
    assert_eq!(
        judged(&policy, &all, "2026-01-03")[1..],
        [
            ("2026-01-02", false, "superseded".to_owned()),
            ("2026-01-01", true, "label:green label:release".to_owned()),
        ]
    );
}

#[test]
fn classes_keep_for_their_time() {
    let mut all = taken(&["2026-01-01", "2026-01-02", "2026-01-03", "2026-06-01"]);
    for (one, class) in all.iter_mut().zip(Class::ALL.iter().copied()) {
        one.class = Some(class);
    }
    let stays = |now: &str| -> Vec<String> {
        let all = judged(&none(), &all, now).into_iter().skip(1);
        all.map(|(.., words)| words).collect()
    };
    let (f, m, c) = ("class:frequent", "class:milestone", "class:critical");
    assert_eq!(stays("2026-01-08T11:59"), [c, m, f]);
    assert_eq!(
        stays("2026-01-08T12:00"),
        [c, m, "superseded class_expired:frequent"]
    );
    assert_eq!(
        stays("2026-02-01T12:00"),
        [
            c,
            "superseded class_expired:milestone",
            "superseded class_expired:frequent"
        ]
    );
    assert_eq!(stays("2999-01-01")[0], c);
    // Beyond its time it falls under the other rules.
    let all_ = Retention::newest(9).judge(&all, false, ms("2999-01-01"));
    assert!(all_.iter().all(|one| one.keep));
    assert_eq!(words(&all_[3]), "keep_last");
    // The policy may say otherwise.
    let short = Retention {
        classes: Classes {
            critical: Span::days(1),
            ..Classes::default()
        },
        ..none()
    };
    assert_eq!(
        judged(&short, &all, "2026-06-01")[1].2,
        "superseded class_expired:critical"
    );
    assert_eq!(Class::from_word("Critical"), None);
    assert_eq!(Class::from_word("critical"), Some(Class::Critical));
}

#[test]
fn pins_forks_pauses_and_damage() {
    let mut all = taken(&[
        "2026-01-01",
        "2026-01-02",
        "2026-01-03",
        "2026-01-04",
        "2026-01-05",
    ]);
    let pin = |until_ms| {
        Some(Pin {
            reason: "audit".to_owned(),
            until_ms,
        })
    };
    all[0].pin = pin(None);
    all[1].pin = pin(Some(ms("2026-01-06")));
    all[2].fork_base = true;
    all[3].damaged = true;
    all[3].pin = pin(None);
    all[2].standing = true;
    let at = |now: &str, paused| -> Vec<(bool, bool, String)> {
        let decisions = none().judge(&all, paused, ms(now));
        decisions
            .iter()
            .map(|one| (one.keep, one.must_stay, words(one)))
            .collect()
    };
    let row = |keep, must, words: &str| (keep, must, words.to_owned());
    assert_eq!(
        at("2026-01-06T11:59", true),
        [
            row(true, true, "keep_last newest paused"),
            row(true, true, "restored paused fork_base"),
            row(true, true, "pinned:audit"),
            row(true, true, "pinned:audit"),
            row(true, true, "damaged"),
        ]
    );
    assert_eq!(
        at("2026-01-06T12:00", false)[2],
        row(false, false, "superseded pin_expired")
    );
    assert_eq!(
        at("2026-01-06T12:00", false)[0],
        row(true, true, "keep_last newest")
    );
}

#[test]
fn a_bound_is_the_sum_of_the_numbers() {
    assert_eq!(Retention::default().bound(), Some(5));
    assert_eq!(Retention::newest(0).bound(), Some(1));
    assert_eq!(Retention::newest(ALL).bound(), None);
    let all = Retention {
        keep_hourly: 1,
        keep_daily: 2,
        keep_weekly: 3,
        keep_monthly: 4,
        keep_yearly: u32::MAX,
        ..Retention::default()
    };
    assert_eq!(all.bound(), Some(15 + u64::from(u32::MAX)));
    for unbounded in [
        Retention {
            keep_within: Some(Span::Ms(1)),
            ..Retention::default()
        },
        Retention {
            keep_labels: vec![String::new()],
            ..Retention::default()
        },
    ] {
        assert_eq!(unbounded.bound(), None);
    }
}

/// A checkpoint without its id, which is its place.
type Made = (
    i64,
    Option<u64>,
    Vec<String>,
    Option<Class>,
    Option<Pin>,
    bool,
    bool,
);

fn made() -> impl Strategy<Value = Made> {
    let label = prop_oneof![
        Just("a".to_owned()),
        Just("b".to_owned()),
        Just("c".to_owned())
    ];
    let class = prop_oneof![
        4 => Just(None),
        3 => prop::sample::select(Class::ALL.to_vec()).prop_map(Some)
    ];
    let pin = prop::option::weighted(
        0.2,
        prop::option::of(0..400 * DAY).prop_map(|until_ms| Pin {
            reason: "p".to_owned(),
            until_ms,
        }),
    );
    let time = prop_oneof![
        0..400 * DAY,
        (0..400_i64).prop_map(|day| day * DAY),
        0..3 * HOUR
    ];
    (
        time,
        prop::option::weighted(0.9, 1..40_u64),
        prop::collection::vec(label, 0..3),
        class,
        pin,
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    )
}

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![
        9 => (0..500 * DAY).prop_map(|ms| Span::Ms(ms.unsigned_abs())),
        1 => Just(Span::Forever)
    ]
}

fn policy() -> impl Strategy<Value = Retention> {
    let number = || prop_oneof![3 => 0..6_u32, 1 => Just(ALL)];
    let labels = prop::collection::vec(
        prop_oneof![Just("a".to_owned()), Just("b".to_owned())],
        0..2,
    );
    let numbers = (0..9_u32, number(), number(), number(), number(), number());
    let classes = (span(), span(), span());
    (
        numbers,
        prop::option::of(span()),
        labels,
        classes,
        -900..900_i32,
    )
        .prop_map(
            |(numbers, keep_within, keep_labels, classes, utc_offset_minutes)| Retention {
                keep_last: numbers.0,
                keep_hourly: numbers.1,
                keep_daily: numbers.2,
                keep_weekly: numbers.3,
                keep_monthly: numbers.4,
                keep_yearly: numbers.5,
                keep_within,
                keep_labels,
                classes: Classes {
                    frequent: classes.0,
                    milestone: classes.1,
                    critical: classes.2,
                },
                utc_offset_minutes,
                archive: false,
            },
        )
}

fn candidates<'a>(made: &[Made], ids: &'a [String]) -> Vec<Candidate<'a>> {
    let with_ids = made.iter().cloned().zip(ids);
    with_ids
        .map(
            |((created_ms, sequence, labels, class, pin, fork_base, damaged), id)| Candidate {
                id,
                created_ms,
                sequence,
                labels,
                class,
                pin,
                fork_base,
                standing: false,
                damaged,
            },
        )
        .collect()
}

fn ids() -> Vec<String> {
    (0..40).map(|at| format!("id-{at:02}")).collect()
}

/// Decisions by id.
fn by_id<'a>(
    policy: &Retention,
    all: &[Candidate<'a>],
    paused: bool,
    now_ms: i64,
) -> BTreeMap<&'a str, Decision> {
    let decisions = policy.judge(all, paused, now_ms).into_iter();
    let named = decisions.map(|one| (all[one.at].id, Decision { at: 0, ..one }));
    named.collect()
}

/// Policies that are more generous in one thing each.
fn more_generous(policy: &Retention) -> Vec<(&'static str, Retention)> {
    let with = |name, change: &dyn Fn(&mut Retention)| {
        let mut more = policy.clone();
        change(&mut more);
        (name, more)
    };
    let longer = |span: Span| match span {
        Span::Ms(ms) => Span::Ms(ms + 12_345_678),
        Span::Forever => Span::Forever,
    };
    vec![
        with("last", &|one| {
            one.keep_last = one.keep_last.saturating_add(1);
        }),
        with("all", &|one| one.keep_last = ALL),
        with("hourly", &|one| {
            one.keep_hourly = one.keep_hourly.saturating_add(1);
        }),
        with("daily", &|one| {
            one.keep_daily = one.keep_daily.saturating_add(1);
        }),
        with("weekly", &|one| {
            one.keep_weekly = one.keep_weekly.saturating_add(1);
        }),
        with("monthly", &|one| {
            one.keep_monthly = one.keep_monthly.saturating_add(1);
        }),
        with("yearly", &|one| {
            one.keep_yearly = one.keep_yearly.saturating_add(1);
        }),
        with("within", &|one| {
            one.keep_within = Some(one.keep_within.map_or(Span::Ms(1), longer));
        }),
        with("labels", &|one| one.keep_labels.push("c".to_owned())),
        with("frequent", &|one| {
            one.classes.frequent = longer(one.classes.frequent);
        }),
        with("milestone", &|one| {
            one.classes.milestone = longer(one.classes.milestone);
        }),
        with("critical", &|one| {
            one.classes.critical = longer(one.classes.critical);
        }),
    ]
}

fn only_for_a_time(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Class(_) | Reason::Within | Reason::Pinned(_)
    )
}

proptest! {
    #[test]
    fn what_always_holds(
        made in prop::collection::vec(made(), 0..40),
        policy in policy(),
        paused: bool,
        now_ms in 0..900 * DAY,
        later in 0..900 * DAY,
        shuffled in Just((0..40).collect::<Vec<usize>>()).prop_shuffle(),
    ) {
        let ids = ids();
        let all = candidates(&made, &ids);
        let decisions = policy.judge(&all, paused, now_ms);

        // One for each, and each with its reasons, which are all of a kind.
        let judged: BTreeSet<usize> = decisions.iter().map(|one| one.at).collect();
        prop_assert_eq!((judged.len(), decisions.len()), (all.len(), all.len()));
        for one in &decisions {
            prop_assert!(!one.reasons.is_empty());
            prop_assert_eq!(one.keep, one.reasons[0] != Reason::Superseded, "{:?}", one);
            prop_assert!(one.keep || !one.must_stay);
            let words: BTreeSet<String> = one.reasons.iter().map(Reason::word).collect();
            prop_assert_eq!(words.len(), one.reasons.len());
        }

        // The newest good one, and what is never dropped.
        let first_good = decisions.iter().find(|one| !all[one.at].damaged);
        if let Some(newest) = first_good {
            prop_assert!(newest.keep && newest.must_stay);
            prop_assert!(newest.reasons.contains(&Reason::NewestGood));
            prop_assert_eq!(newest.reasons.contains(&Reason::Paused), paused);
            let latest = all.iter().filter(|one| !one.damaged).filter_map(|one| one.sequence).max();
            if all[newest.at].sequence.is_some() {
                prop_assert_eq!(all[newest.at].sequence, latest);
            }
        }
        for one in &decisions {
            let of = &all[one.at];
            let pinned = of.pin.as_ref().is_some_and(|pin| pin.until_ms.is_none_or(|ms| now_ms < ms));
            if of.damaged || of.fork_base || pinned {
                prop_assert!(one.keep && one.must_stay);
            }
        }

        // No more than the numbers allow.
        if let Some(bound) = policy.bound() {
            let counted = |one: &&Decision| one.keep && one.reasons.iter().any(|reason| {
                matches!(reason, Reason::KeepLast | Reason::Newest(..))
            });
            prop_assert!(decisions.iter().filter(counted).count() as u64 <= bound);
        }

        // The order of what is handed in does not matter.
        let mixed: Vec<Candidate<'_>> =
            shuffled.iter().filter_map(|&at| all.get(at).cloned()).collect();
        prop_assert_eq!(by_id(&policy, &all, paused, now_ms), by_id(&policy, &mixed, paused, now_ms));

        // A more generous policy never drops more.
        for (what, more) in more_generous(&policy) {
            let (less, more) = (by_id(&policy, &all, paused, now_ms), by_id(&more, &all, paused, now_ms));
            for (id, one) in &less {
                prop_assert!(!one.keep || more[id].keep, "{}: {} is dropped", what, id);
            }
        }

        // As time goes on, only what was kept for a time goes.
        let (now, then) = (by_id(&policy, &all, paused, now_ms), by_id(&policy, &all, paused, now_ms + later));
        for (id, one) in &now {
            prop_assert!(one.keep || !then[id].keep, "{} comes back", id);
            if one.keep && !then[id].keep {
                prop_assert!(one.reasons.iter().all(only_for_a_time), "{:?}", one.reasons);
            }
        }
    }
}
