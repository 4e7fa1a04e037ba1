//! Leases: taken, renewed, given back, taken over from every kind of holder that is gone; raced by threads; what
//! the one before writes is refused.

#![allow(clippy::disallowed_methods, reason = "a test's own folder")]

use std::collections::BTreeSet;
use std::process::{Command as Program, Stdio};
use std::thread;

use waymark::error::{Error, Result};
use waymark::model::cancel::Cancel;
use waymark::model::lease::{Lease, Standing, System, TTL_MS, Wanted};
use waymark::model::progress::Progress;
use waymark::ops::cleanup;
use waymark::ops::events::Ledger;
use waymark::ops::lease::{Look, Taken, acquire, keep, look, release, renew};
use waymark::ops::lifecycle::{Command, change};
use waymark::ops::restore::{self, Choice};
use waymark::ops::{self, Context};
use waymark::store::disk::Disk;
use waymark::store::layout::RunDir;
use waymark::store::real_disk::RealDisk;

use crate::world::{MINUTE_MS, START_MS, World, code, run_id};

fn wanted(holder: &str) -> Wanted {
    Wanted {
        holder: holder.to_owned(),
        ttl_ms: TTL_MS,
        token: None,
        force: false,
    }
}

fn take(world: &World, holder: &str) -> Result<Taken> {
    world.act(|context| acquire(context, &wanted(holder)))
}

fn standing(world: &World) -> Option<Standing> {
    match world.act(look).unwrap() {
        Look::Known(known) => Some(known.standing),
        _ => None,
    }
}

/// The machine as a process on it sees it.
fn machine(boot: &str, boot_ms: u64, pid: u32) -> System {
    System {
        host: "worker-7".to_owned(),
        machine: "m".to_owned(),
        boot: boot.to_owned(),
        pid_namespace: "n".to_owned(),
        boot_ms: Some(boot_ms),
        pid,
        started: Some(70),
    }
}

/// A world with two checkpoints whose lease a process 41 holds.
fn leased() -> (World, Lease) {
    let world = World::with_checkpoints(2);
    world.disk.set_system(machine("b", 1_000_000, 41));
    let taken = take(&world, "runner").unwrap();
    assert_eq!(taken.took_over, None);
    world.disk.set_system(machine("b", 1_000_001, 42));
    (world, taken.lease)
}

#[test]
fn one_holds_it_and_others_are_told_who() {
    let (world, lease) = leased();
    assert_eq!(lease.token, u64::try_from(world.now_ms).unwrap());
    let Err(error) = take(&world, "second") else {
        panic!("it is held");
    };
    assert_eq!(error.code(), "ERR_LEASE_HELD");
    assert_eq!(error.lease(), Some(&lease));
    let text = error.to_string();
    for part in [
        "\"run-1\"",
        "runner (process 41 on worker-7)",
        "since 2026-01-01T00:00:03.000Z until 2026-01-01T00:01:03.000Z",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(world.disk.paused_ms(), 0, "at once");
    assert_eq!(standing(&world), Some(Standing::Live));
    // Given back, anybody may have it, with a higher token even if the clock was set back.
    assert!(world.act(|context| release(context, lease.token)).unwrap());
    assert!(!world.act(|context| release(context, lease.token)).unwrap());
    assert_eq!(standing(&world), Some(Standing::Released));
    let back = World {
        now_ms: START_MS - 86_400_000,
        ..world
    };
    let second = take(&back, "second").unwrap();
    assert_eq!(second.lease.token, lease.token + 1);
    assert_eq!(second.took_over, None, "it was given back");
    let by_force = Wanted {
        force: true,
        ..wanted("third")
    };
    let third = back.act(|context| acquire(context, &by_force)).unwrap();
    assert_eq!(third.lease.token, lease.token + 2);
    assert_eq!(third.took_over.unwrap().lease, second.lease);
}

#[test]
fn renewing_and_coming_again() {
    let (mut world, lease) = leased();
    world.now_ms += 50_000;
    world.disk.set_system(machine("b", 1_050_000, 42));
    let renewed = world
        .act(|context| renew(context, lease.token, 10_000))
        .unwrap();
    assert_eq!((renewed.pid, renewed.since_ms), (41, lease.since_ms));
    assert_eq!(renewed.expires_ms(), world.now_ms + 10_000);
    // Who has the token comes again: the lease is his still.
    let again = Wanted {
        token: Some(lease.token),
        ..wanted("runner")
    };
    let prolonged = world.act(|context| acquire(context, &again)).unwrap().lease;
    assert_eq!((prolonged.token, prolonged.ttl_ms), (lease.token, TTL_MS));
    // Asleep for longer than it lasts, and nobody came: it is his still.
    world.now_ms += 2 * MINUTE_MS;
    world.disk.set_system(machine("b", 1_300_000, 42));
    assert_eq!(standing(&world), Some(Standing::Expired));
    world
        .act(|context| renew(context, lease.token, TTL_MS))
        .unwrap();
    assert_eq!(standing(&world), Some(Standing::Live));
    world.now_ms += 2 * MINUTE_MS;
    world.disk.set_system(machine("b", 1_500_000, 42));
    let second = take(&world, "second").unwrap();
    assert_eq!(second.took_over.unwrap().standing, Standing::Expired);
    for result in [
        world
            .act(|context| renew(context, lease.token, TTL_MS))
            .map(|_| ()),
        world.act(|context| acquire(context, &again)).map(|_| ()),
    ] {
        let Err(error) = result else {
            panic!("it is another's");
        };
        assert_eq!(error.code(), "ERR_LEASE_LOST");
        assert!(error.to_string().contains("second (process 42"), "{error}");
    }
    for ttl_ms in [0, u64::MAX] {
        let result = world.act(|context| renew(context, second.lease.token, ttl_ms));
        assert_eq!(code(result), "ERR_OPTION_INVALID");
    }
    // Its file removed by hand: nothing is known of it.
    world.disk.remove(&world.run.lease());
    let gone = world.act(|context| renew(context, second.lease.token, TTL_MS));
    assert!(matches!(gone, Err(Error::LeaseLost { lease: None, .. })));
}

#[test]
fn who_begins_to_keep_one_writes_it_only_if_it_is_time() {
    let (world, lease) = leased();
    let token = lease.token;
    let kept = |boot: &str, boot_ms, token, ttl_ms| {
        world.disk.set_system(machine(boot, boot_ms, 41));
        world.act(|context| keep(context, token, ttl_ms))
    };
    let written = || match world.act(look).unwrap() {
        Look::Known(known) => known.lease,
        other => panic!("{other:?}"),
    };
    let twelfth = TTL_MS / 12;
    assert_eq!(
        kept("b", 1_000_000 + twelfth, token, TTL_MS).unwrap(),
        lease
    );
    assert_eq!(written(), lease);
    let later = kept("b", 1_000_001 + twelfth, token, TTL_MS).unwrap();
    assert_eq!(later.renewed_boot_ms, Some(1_000_001 + twelfth));
    assert_eq!(written(), later);
    // For longer, after another start of the machine, or by a clock that goes back: it is written.
    assert_eq!(
        kept("b", 1_000_002 + twelfth, token, 2 * TTL_MS)
            .unwrap()
            .ttl_ms,
        2 * TTL_MS
    );
    assert_eq!(written().ttl_ms, 2 * TTL_MS);
    let before = kept("b", 1_000_000, token, 2 * TTL_MS).unwrap();
    assert_eq!(before.renewed_boot_ms, Some(1_000_000));
    assert_eq!(
        kept("c", 1_000_000, token, 2 * TTL_MS)
            .unwrap()
            .renewed_boot_ms,
        None
    );
    assert_eq!(written().renewed_boot_ms, None);
    assert_eq!(
        code(kept("b", 1_000_000, token - 1, TTL_MS)),
        "ERR_LEASE_LOST"
    );
    world.disk.set_system(machine("b", 1_000_000, 41));
    world.act(|context| release(context, token)).unwrap();
    assert_eq!(code(kept("b", 1_000_000, token, TTL_MS)), "ERR_LEASE_LOST");
}

/// A holder that is gone is followed at once; one that can't be asked after, when its time is over.
#[test]
fn who_is_gone_is_followed() {
    let (world, lease) = leased();
    let dead = world.fork();
    dead.disk.set_alive(|pid| Some(pid != 41));
    let reused = world.fork();
    reused.disk.set_system(System {
        started: Some(71),
        ..machine("b", 1_000_001, 42)
    });
    let restarted = world.fork();
    restarted.disk.set_system(machine("c", 5, 42));
    let late = world.fork();
    late.disk.set_system(machine("b", 1_060_001, 42));
    for (world, why) in [
        (dead, Standing::Dead),
        (reused, Standing::Dead),
        (restarted, Standing::Rebooted),
        (late, Standing::Expired),
    ] {
        let taken = take(&world, "second").unwrap();
        assert!(taken.lease.token > lease.token);
        let before = taken.took_over.unwrap();
        assert_eq!((before.standing, before.lease), (why, lease.clone()));
    }
    // The wall clock is set on by a day, or back: nothing changes on the same machine.
    for shift in [-86_400_000, 86_400_000] {
        let world = World {
            now_ms: world.now_ms + shift,
            ..world.fork()
        };
        assert_eq!(code(take(&world, "second")), "ERR_LEASE_HELD");
    }
    // Another machine sees the wall clock only.
    let elsewhere = |ms: i64| {
        let world = World {
            now_ms: world.now_ms + ms,
            ..world.fork()
        };
        world.disk.set_alive(|_| Some(false));
        world.disk.set_system(System {
            host: "worker-8".to_owned(),
            ..machine("x", 9, 1)
        });
        world
    };
    assert_eq!(code(take(&elsewhere(60_000), "second")), "ERR_LEASE_HELD");
    take(&elsewhere(60_001), "second").unwrap();
}

type Act<'a> = &'a dyn Fn(&Context<'_>) -> Result<()>;

/// The verbs that record something, each with an old token, the newest, and none.
#[test]
fn what_the_one_before_writes_is_refused() {
    let (world, lease) = leased();
    world.disk.set_alive(|pid| Some(pid != 41));
    let second = take(&world, "second").unwrap().lease;
    let id = world.id_at(0);
    let create = |context: &Context<'_>| {
        let request = ops::create::Request {
            step: waymark::model::step::Step::number(3.0)?,
            state: b"{}",
            retention: None,
            max_state_bytes: 1 << 20,
            capture: None,
            max_store_bytes: None,
            facts: None,
            environment: None,
        };
        ops::create::create(context, &request).map(|_| ())
    };
    let restored = |context: &Context<'_>| {
        restore::restore(context, &restore::Request::of(Choice::Newest)).map(|_| ())
    };
    let undone = |context: &Context<'_>| {
        restore::undo(context, &restore::Request::of(Choice::Newest)).map(|_| ())
    };
    let updated = |context: &Context<'_>| {
        let update = Command::Update(serde_json::json!({"phase": "b"}));
        change(context, &id, &update).map(|_| ())
    };
    let activated = |context: &Context<'_>| change(context, &id, &Command::Activate).map(|_| ());
    let acts: [(&str, Act<'_>); 5] = [
        ("create", &create),
        ("restore", &restored),
        ("undo", &undone),
        ("update", &updated),
        ("activate", &activated),
    ];
    let with = |world: &World, token: Option<u64>, act: Act<'_>| {
        world.act(|context| {
            act(&Context {
                lease: token,
                ..*context
            })
        })
    };
    with(&world, Some(second.token), &restored).unwrap();
    for (name, act) in acts {
        let world = world.fork();
        let before = world.sight();
        let old = with(&world, Some(lease.token), act);
        assert_eq!(code(old), "ERR_LEASE_LOST", "{name}");
        assert_eq!(code(with(&world, None, act)), "ERR_LEASE_HELD", "{name}");
        assert_eq!(world.sight(), before, "{name}: nothing was changed");
        world.disk.plant_file(&world.run.lease(), b"{\"torn");
        for token in [None, Some(second.token)] {
            assert_eq!(code(with(&world, token, act)), "ERR_LEASE_DAMAGED");
        }
        assert_eq!(world.sight(), before, "{name}: nothing was changed");
    }
    for (name, act) in acts {
        let world = world.fork();
        with(&world, Some(second.token), act).unwrap_or_else(|error| panic!("{name}: {error}"));
        let world = world.fork();
        // Whoever holds it is gone: nobody needs a token.
        world.disk.set_alive(|_| Some(false));
        if name != "activate" {
            with(&world, None, act).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    // People may pin whatever is under way.
    let pin = Command::Pin(waymark::model::lifecycle::Pin {
        reason: "evidence".to_owned(),
        until_ms: None,
    });
    world.act(|context| change(context, &id, &pin)).unwrap();
}

#[test]
fn a_damaged_lease_keeps_others_out_until_it_is_old() {
    let (world, lease) = leased();
    let whole = world.disk.content(&world.run.lease()).unwrap();
    let mut flipped = whole.clone();
    let at = whole.iter().rposition(|&byte| byte == b'6').unwrap();
    flipped[at] = b'7';
    for bytes in [
        Vec::new(),
        whole[..whole.len() - 9].to_vec(),
        flipped,
        b"{\"waymark_record\":1,\"number\":1,\"sum\":\"\",\"value\":\n{}\n}\n".to_vec(),
    ] {
        let mut world = world.fork();
        world.disk.set_now(world.now_ms);
        world.disk.plant_file(&world.run.lease(), &bytes);
        assert_eq!(code(take(&world, "second")), "ERR_LEASE_DAMAGED");
        assert_eq!(
            code(world.act(|context| renew(context, lease.token, TTL_MS))),
            "ERR_LEASE_DAMAGED"
        );
        assert!(matches!(
            world.act(look),
            Ok(Look::Damaged { holds: true, .. })
        ));
        assert_eq!(code(world.create(9.0)), "ERR_LEASE_DAMAGED");
        let by_force = Wanted {
            force: true,
            ..wanted("second")
        };
        let forced = world.fork();
        let taken = forced.act(|context| acquire(context, &by_force)).unwrap();
        assert!(taken.lease.token > lease.token, "it is fenced off still");
        world.now_ms += MINUTE_MS + 1;
        assert!(matches!(
            world.act(look),
            Ok(Look::Damaged { holds: false, .. })
        ));
        world.create(9.0).unwrap();
        let taken = take(&world, "second").unwrap();
        assert!(taken.lease.token > lease.token);
    }
}

/// Killed at every call, a lease is the old one or the new one; and nothing of it hinders the next.
#[test]
fn a_lease_is_old_or_new_wherever_it_dies() {
    let (world, lease) = leased();
    world.disk.set_alive(|_| Some(false));
    world.disk.settle();
    let clean = world.fork();
    let new = take(&clean, "second").unwrap().lease;
    let calls = clean.disk.calls();
    for n in 1..=calls {
        let world = world.fork();
        world.disk.crash_at(n);
        assert!(take(&world, "second").is_err());
        for (lost, disk) in [
            (false, world.disk.clone()),
            (true, world.disk.power_loss(n)),
        ] {
            disk.kill();
            let world = world.on(disk.fork());
            let found = match world.act(look).unwrap() {
                Look::Known(known) => Some(known.lease),
                // It is not synced: no holder outlives a power loss.
                Look::Nothing => None,
                look @ Look::Damaged { .. } => {
                    assert!(lost, "call {n}: {look:?}");
                    None
                }
            };
            let known = [Some(lease.clone()), Some(new.clone()), None];
            assert!(known.contains(&found), "call {n}: {found:?}");
            let mut world = world;
            world.now_ms += MINUTE_MS + 1;
            world.disk.set_alive(|_| Some(false));
            take(&world, "third").unwrap();
            world.recover().unwrap();
            assert_eq!(world.leftovers(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_cleanup_leaves_who_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::new(folder.path(), run_id());
    std::fs::create_dir(run.path()).unwrap();
    std::fs::write(run.run_record(), crate::world::record(1, "old")).unwrap();
    let now_ms = START_MS + 90 * 86_400_000;
    let act = |verb: &dyn Fn(&Context<'_>) -> Result<Lease>| {
        verb(&Context {
            disk: &RealDisk,
            run: &run,
            store: None,
            now_ms,
            lease: None,
            cancel: &Cancel::default(),
            progress: &Progress::default(),
        })
    };
    let lease = act(&|context| Ok(acquire(context, &wanted("runner"))?.lease)).unwrap();
    let clean = || {
        let ledger = Ledger {
            disk: &RealDisk,
            store: None,
            now_ms,
            progress: &Progress::default(),
        };
        let request = cleanup::Request {
            run_id: None,
            statuses: vec!["failed".to_owned()],
            max_age_days: 7.0,
            dry_run: false,
            report: None,
        };
        cleanup::cleanup(&ledger, folder.path(), &request, &Cancel::default()).unwrap()
    };
    let left = clean();
    assert_eq!(left.cleaned.len(), 0);
    assert_eq!(left.left[0].reason, "its lease is held by runner");
    act(&|context| release(context, lease.token).map(|_| lease.clone())).unwrap();
    assert_eq!(clean().cleaned.len(), 1);
}

/// Eight at the same instant, forty times: one takes it each time, and tokens only grow.
#[test]
fn one_of_eight_takes_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::new(folder.path(), run_id());
    std::fs::create_dir(run.path()).unwrap();
    let on = |verb: &dyn Fn(&Context<'_>) -> Result<u64>| {
        verb(&Context {
            disk: &RealDisk,
            run: &run,
            store: None,
            // The clock stands still: nothing but the lock keeps them apart.
            now_ms: START_MS,
            lease: None,
            cancel: &Cancel::default(),
            progress: &Progress::default(),
        })
    };
    let on = &on;
    let mut tokens = BTreeSet::new();
    for _ in 0..40 {
        let answers: Vec<Result<u64>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(move || {
                        on(&|context| Ok(acquire(context, &wanted("x"))?.lease.token))
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let mut won = answers.iter().filter_map(|one| one.as_ref().ok());
        let token = *won.next().unwrap();
        assert_eq!(won.next(), None, "one goes on");
        assert!(
            answers
                .iter()
                .filter_map(|one| one.as_ref().err())
                .all(|error| error.code() == "ERR_LEASE_HELD")
        );
        assert!(tokens.last().is_none_or(|&last| token > last));
        tokens.insert(token);
        on(&|context| release(context, token).map(u64::from)).unwrap();
    }
}

/// The real machine: a process that ended is known to have, before and after somebody asked after it.
#[cfg(target_os = "linux")]
#[test]
fn the_machine_tells_who_lives() {
    let here = RealDisk.system();
    assert!(!here.host.is_empty() && !here.boot.is_empty() && !here.pid_namespace.is_empty());
    assert_eq!(here.pid, std::process::id());
    let own = RealDisk.process(here.pid);
    assert_eq!((own.alive, own.started), (Some(true), here.started));
    let later = RealDisk.system().boot_ms.unwrap();
    assert!(later >= here.boot_ms.unwrap());
    let mut child = Program::new("sleep")
        .arg("60")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let running = RealDisk.process(child.id());
    assert_eq!(running.alive, Some(true));
    assert!(running.started >= own.started);
    child.kill().unwrap();
    // Not asked after yet: it is still listed, but does nothing any more.
    while RealDisk.process(child.id()).alive != Some(false) {
        thread::yield_now();
    }
    child.wait().unwrap();
    assert_eq!(RealDisk.process(child.id()).alive, Some(false));
    assert_eq!(RealDisk.process(0).alive, None);
}
