//! The audit log: what breaks its chain is found, what was read is never lost, and nothing in it ever fails an
//! operation.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use waymark::error::{Error, Result};
use waymark::model::cancel::Cancel;
use waymark::model::event::{Event, Kind, Record, Who};
use waymark::model::ids::CheckpointId;
use waymark::model::lifecycle::{Failure, Life, Pin, State};
use waymark::model::progress::Progress;
use waymark::ops::events::{Ledger, Request, read};
use waymark::ops::lifecycle::{self, Command};
use waymark::ops::restore::Choice;
use waymark::ops::verify;
use waymark::store::disk::Disk;
use waymark::store::events::{BreakKind, LOG_BYTES, Log, Page, SEGMENT_BYTES};
use waymark::store::place::StoreDir;

use crate::sim_disk::{Rng, SimDisk};
use crate::store_world::project;
use crate::world::{MINUTE_MS, World, code};

/// An event that is told apart by its checkpoint.
fn event(name: &str) -> Record {
    let mut event = Event::new(Kind::Created, "create")
        .of(name)
        .with("bytes", 5);
    event.run = Some("run-1".to_owned());
    event.runs = Some("/project/runs".to_owned());
    let who = Who {
        pid: 7,
        host: "host".to_owned(),
        user: Some("user".to_owned()),
    };
    Record::new(&event, "2026-01-01T00:00:00.000Z", &who)
}

fn long_event(name: &str, bytes: usize) -> Record {
    let mut record = event(name);
    record
        .data
        .insert("pad".to_owned(), "x".repeat(bytes).into());
    record
}

fn append(disk: &dyn Disk, place: &StoreDir, names: &[&str]) -> Result<Vec<String>> {
    Log::new(disk, place, 1).append(names.iter().map(|name| event(name)).collect())
}

fn page(disk: &dyn Disk, place: &StoreDir, after: Option<u64>, limit: usize) -> Result<Page> {
    Log::new(disk, place, 1).read(after, limit, &|_| true, &Cancel::default())
}

fn breaks(disk: &dyn Disk, place: &StoreDir) -> Vec<(BreakKind, u64)> {
    let found = Log::new(disk, place, 1).check(&Cancel::default()).unwrap();
    found.iter().map(|one| (one.kind, one.seq)).collect()
}

fn names(page: &Page) -> Vec<String> {
    let events = page.events.iter();
    events
        .map(|(record, _)| record.checkpoint.clone().unwrap())
        .collect()
}

fn segment(place: &StoreDir, first: u64) -> PathBuf {
    place.events().join(format!("{first:016}.ndjson"))
}

/// A log of six events in one segment, and its lines.
fn six() -> (SimDisk, StoreDir, Vec<String>) {
    let (disk, place) = project();
    append(&disk, &place, &["a", "b", "c"]).unwrap();
    append(&disk, &place, &["d", "e", "f"]).unwrap();
    disk.settle();
    let text = String::from_utf8(disk.content(&segment(&place, 1)).unwrap()).unwrap();
    let lines = text.lines().map(str::to_owned).collect();
    (disk, place, lines)
}

fn put_lines(disk: &SimDisk, place: &StoreDir, lines: &[String]) {
    let text = lines.join("\n") + "\n";
    disk.plant_file(&segment(place, 1), text.as_bytes());
}

#[test]
fn events_are_read_as_they_were_appended() {
    let (disk, place, lines) = six();
    let all = page(&disk, &place, Some(0), 100).unwrap();
    assert_eq!(names(&all), ["a", "b", "c", "d", "e", "f"]);
    let read: Vec<&String> = all.events.iter().map(|(_, line)| line).collect();
    assert_eq!(read, lines.iter().collect::<Vec<_>>());
    assert_eq!((all.position, all.passed_over), (6, 0));
    assert_eq!(names(&page(&disk, &place, Some(2), 2).unwrap()), ["c", "d"]);
    assert_eq!(names(&page(&disk, &place, None, 2).unwrap()), ["e", "f"]);
    assert_eq!(names(&page(&disk, &place, None, 9).unwrap()).len(), 6);
    assert_eq!(page(&disk, &place, Some(6), 9).unwrap().events, []);
    assert_eq!(code(page(&disk, &place, Some(7), 9)), "ERR_EVENTS_AHEAD");
    assert_eq!(breaks(&disk, &place), []);
}

#[test]
fn no_log_has_no_events() {
    let (disk, place) = project();
    assert_eq!(page(&disk, &place, None, 9).unwrap(), Page::default());
    assert_eq!(page(&disk, &place, Some(0), 9).unwrap(), Page::default());
    assert_eq!(code(page(&disk, &place, Some(1), 9)), "ERR_EVENTS_AHEAD");
    assert_eq!(breaks(&disk, &place), []);
    assert!(
        disk.content(&place.format()).is_none(),
        "reading makes none"
    );
}

#[test]
fn every_field_that_is_altered_is_found() {
    let (disk, place, lines) = six();
    let members = [
        ("seq", "\"seq\":", "\"seq\":1"),
        ("time", "\"time\":\"2026", "\"time\":\"2025"),
        ("event", "\"created\"", "\"pruned\""),
        ("run", "\"run\":\"run-1\"", "\"run\":\"run-2\""),
        ("runs", "/project/runs", "/project/rums"),
        ("checkpoint", "\"checkpoint\":\"", "\"checkpoint\":\"x"),
        ("pid", "\"pid\":7", "\"pid\":8"),
        ("host", "\"host\":\"host\"", "\"host\":\"hust\""),
        ("user", "\"user\":\"user\"", "\"user\":\"root\""),
        ("data", "\"bytes\":5", "\"bytes\":6"),
        ("prev", "\"prev\":\"", "\"prev\":\"f"),
        ("hash", "\"hash\":\"", "\"hash\":\"f"),
        ("a member more", "{\"seq\"", "{\"more\":1,\"seq\""),
        ("a space", "{\"seq\"", "{ \"seq\""),
    ];
    for at in 0..lines.len() {
        for (name, from, to) in members {
            let disk = disk.fork();
            let mut altered = lines.clone();
            altered[at] = altered[at].replacen(from, to, 1);
            assert_ne!(altered[at], lines[at], "{name}");
            put_lines(&disk, &place, &altered);
            let found = breaks(&disk, &place);
            let seq = at as u64 + 1;
            assert_eq!(
                found.first(),
                Some(&(BreakKind::Altered, seq)),
                "{name} of {seq}"
            );
            // Readers get the others.
            let read = page(&disk, &place, None, 9).unwrap();
            assert_eq!(read.events.len(), 5, "{name} of {seq}");
        }
    }
}

/// A line that is well made by itself, with its own hash, but not the one that stood there.
#[test]
fn a_forged_line_does_not_fit() {
    let (disk, place, lines) = six();
    for at in 0..lines.len() - 1 {
        let (record, _) = Record::read(lines[at].as_bytes()).unwrap();
        let mut end = waymark::model::event::End {
            seq: record.seq - 1,
            hash: record.prev.clone(),
        };
        let mut forged = record.clone();
        forged.user = Some("somebody".to_owned());
        let mut lines = lines.clone();
        lines[at] = forged.line(&mut end).trim_end().to_owned();
        let disk = disk.fork();
        put_lines(&disk, &place, &lines);
        // The next one says what stood before it.
        assert_eq!(
            breaks(&disk, &place),
            [(BreakKind::OutOfPlace, at as u64 + 2)]
        );
    }
}

#[test]
fn lines_taken_out_moved_or_put_in_are_found() {
    let (disk, place, lines) = six();
    let check = |lines: &[String], what: &str| {
        let disk = disk.fork();
        put_lines(&disk, &place, lines);
        let found = breaks(&disk, &place);
        assert!(!found.is_empty(), "{what}");
        // No number is handed out twice, and none out of order.
        let read = page(&disk, &place, Some(0), 9).unwrap();
        let seqs: Vec<u64> = read.events.iter().map(|(record, _)| record.seq).collect();
        let sorted: Vec<u64> = seqs
            .iter()
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        assert_eq!(seqs, sorted, "{what}");
    };
    // That the last one is gone nobody can tell.
    for at in 0..lines.len() - 1 {
        let mut without = lines.clone();
        without.remove(at);
        check(&without, &format!("{at} removed"));
    }
    for at in 0..lines.len() {
        for to in 0..lines.len() {
            if at == to {
                continue;
            }
            let mut swapped = lines.clone();
            swapped.swap(at, to);
            check(&swapped, &format!("{at} and {to} swapped"));
        }
        for to in 0..=lines.len() {
            let mut twice = lines.clone();
            twice.insert(to, lines[at].clone());
            check(&twice, &format!("{at} twice, again at {to}"));
        }
    }
}

/// What is whole but does not fit stays, and the log goes on.
#[test]
fn a_broken_chain_is_not_mended_by_going_on() {
    let (disk, place, lines) = six();
    let mut broken = lines.clone();
    broken.remove(2);
    broken[0] = broken[0].replace("\"pid\":7", "\"pid\":9");
    put_lines(&disk, &place, &broken);
    let before = breaks(&disk, &place);
    append(&disk, &place, &["g"]).unwrap();
    assert_eq!(breaks(&disk, &place), before);
    let text = String::from_utf8(disk.content(&segment(&place, 1)).unwrap()).unwrap();
    let kept: Vec<&str> = text.lines().take(5).collect();
    assert_eq!(kept, broken.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(names(&page(&disk, &place, Some(5), 9).unwrap()), ["f", "g"]);
}

/// Lines at the end that were altered are not torn ones: they stay, to be found, and their numbers are not given
/// to others.
#[test]
fn altered_lines_at_the_end_stay() {
    for from in [3, 5] {
        let (disk, place, lines) = six();
        let mut broken = lines.clone();
        for line in &mut broken[from..] {
            *line = line.replace("\"pid\":7", "\"pid\":9");
        }
        put_lines(&disk, &place, &broken);
        let after = from as u64;
        let read = page(&disk, &place, Some(after), 9).unwrap();
        let passed = 6 - after;
        assert_eq!(
            (read.position, read.passed_over),
            (6, passed),
            "not again and again"
        );
        let line = append(&disk, &place, &["g"]).unwrap();
        assert!(line[0].starts_with("{\"seq\":7,"), "{line:?}");
        let text = String::from_utf8(disk.content(&segment(&place, 1)).unwrap()).unwrap();
        assert_eq!(text.lines().take(6).collect::<Vec<_>>(), broken);
        let read = page(&disk, &place, Some(after), 9).unwrap();
        assert_eq!((names(&read), read.position), (vec!["g".to_owned()], 7));
        assert_eq!(names(&page(&disk, &place, Some(6), 9).unwrap()), ["g"]);
        let altered: Vec<_> = (after + 1..=6)
            .map(|seq| (BreakKind::Altered, seq))
            .collect();
        assert_eq!(breaks(&disk, &place), altered);
    }
}

/// On a full disk, of several lines the first may arrive; who read it must never meet its number again.
#[test]
fn what_was_read_of_a_failed_append_stays() {
    let (disk, place, _) = six();
    for room in 0..900 {
        let disk = disk.fork();
        disk.set_capacity(Some(disk.used() + room));
        if append(&disk, &place, &["g", "h", "i"]).is_ok() {
            break;
        }
        disk.set_capacity(None);
        let seen = page(&disk, &place, Some(6), 9).unwrap();
        append(&disk, &place, &["j"]).unwrap();
        let after = page(&disk, &place, Some(6), 9).unwrap();
        assert_eq!(after.events[..seen.events.len()], seen.events[..], "{room}");
        assert_eq!(after.events.len(), seen.events.len() + 1);
        assert_eq!(breaks(&disk, &place), []);
    }
}

#[test]
fn a_torn_end_is_cut_off() {
    let (disk, place, lines) = six();
    let whole = lines[..5].join("\n") + "\n";
    let last = format!("{}\n", lines[5]);
    for kept in 0..last.len() {
        let tails = [
            last.as_bytes()[..kept].to_vec(),
            [&last.as_bytes()[..kept], &vec![0; last.len() - kept]].concat(),
            [&last.as_bytes()[..kept], &vec![0; 200_000]].concat(),
            // The whole line's length, and other bytes in it.
            [
                &last.as_bytes()[..kept],
                &b"#".repeat(last.len() - 1 - kept),
                b"\n",
            ]
            .concat(),
        ];
        for (how, tail) in tails.into_iter().enumerate() {
            if (how == 2 && kept % 16 != 0) || (how == 3 && kept + 1 == last.len()) {
                continue;
            }
            let when = format!("{kept} bytes, {how}");
            let disk = disk.fork();
            disk.plant_file(&segment(&place, 1), &[whole.as_bytes(), &tail].concat());
            if how < 3 {
                assert_eq!(breaks(&disk, &place), [], "{when}: a torn end is no damage");
            }
            assert_eq!(page(&disk, &place, None, 9).unwrap().position, 5, "{when}");
            let line = append(&disk, &place, &["g"]).unwrap();
            assert!(line[0].starts_with("{\"seq\":6,"), "{when}");
            assert_eq!(breaks(&disk, &place), [], "{when}");
            let content = disk.content(&segment(&place, 1)).unwrap();
            assert_eq!(
                content,
                format!("{whole}{}\n", line[0]).as_bytes(),
                "{when}"
            );
        }
    }
}

/// A log that has come to its third segment.
fn three_segments() -> (SimDisk, StoreDir, Vec<String>) {
    let (disk, place) = project();
    let log = Log::new(&disk, &place, 1);
    let mut all = Vec::new();
    while log_len(&disk, &place, 3) < 100_000 {
        let batch = (0..7).map(|at| long_event(&format!("e{at}"), 20_000));
        all.extend(log.append(batch.collect()).unwrap());
    }
    disk.settle();
    (disk, place, all)
}

/// The length of the n-th segment.
fn log_len(disk: &SimDisk, place: &StoreDir, n: usize) -> u64 {
    let mut names = segments(disk, place);
    names.sort();
    let path = names.get(n - 1).map(|name| place.events().join(name));
    path.map_or(0, |path| disk.content(&path).unwrap().len() as u64)
}

fn segments(disk: &SimDisk, place: &StoreDir) -> Vec<String> {
    let entries = disk.list(&place.events()).unwrap_or_default();
    let mut names: Vec<String> = entries
        .into_iter()
        .map(|entry| entry.name.into_string().unwrap())
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|end| end == "ndjson")
        })
        .collect();
    names.sort();
    names
}

#[test]
fn the_chain_goes_on_over_segments() {
    let (disk, place, all) = three_segments();
    let names = segments(&disk, &place);
    assert_eq!(names.len(), 3);
    for name in &names[..2] {
        let len = disk.content(&place.events().join(name)).unwrap().len() as u64;
        assert!(
            len <= SEGMENT_BYTES && len > SEGMENT_BYTES - 30_000,
            "{len}"
        );
    }
    assert_eq!(breaks(&disk, &place), []);
    let read = page(&disk, &place, Some(0), 10_000).unwrap();
    let lines: Vec<&String> = read.events.iter().map(|(_, line)| line).collect();
    assert_eq!(lines, all.iter().collect::<Vec<_>>());
    for after in [0, 1, 49, 50, 51, 52, 53, all.len() as u64 - 1] {
        let read = page(&disk, &place, Some(after), 3).unwrap();
        assert_eq!(read.events[0].0.seq, after + 1);
    }
    let newest = page(&disk, &place, None, all.len() - 1).unwrap();
    assert_eq!(newest.events[0].0.seq, 2);

    // One that is gone in the middle, one that was renamed, one that ends early.
    let gone = disk.fork();
    gone.remove(&place.events().join(&names[1]));
    assert_eq!(breaks(&gone, &place)[0].0, BreakKind::OutOfPlace);
    let renamed = disk.fork();
    let content = renamed.content(&place.events().join(&names[1])).unwrap();
    renamed.remove(&place.events().join(&names[1]));
    renamed.plant_file(&segment(&place, 5), &content);
    assert!(!breaks(&renamed, &place).is_empty());
    let early = disk.fork();
    early.plant_file(&place.events().join(&names[0]), &content[..500]);
    assert!(!breaks(&early, &place).is_empty());
}

#[test]
fn the_oldest_segments_go() {
    let (disk, place, _) = three_segments();
    let log = Log::new(&disk, &place, 1);
    // As if there had been more before: what lies there counts by its length alone.
    let names = segments(&disk, &place);
    let old = disk.content(&place.events().join(&names[0])).unwrap();
    disk.remove(&place.events().join(&names[0]));
    disk.plant_file(
        &segment(&place, 1),
        &vec![b'x'; usize::try_from(LOG_BYTES).unwrap()],
    );
    disk.plant_file(&segment(&place, 2), &old);
    while segments(&disk, &place).len() < 5
        && segments(&disk, &place)[0] == "0000000000000001.ndjson"
    {
        let batch = (0..7).map(|at| long_event(&format!("e{at}"), 20_000));
        log.append(batch.collect()).unwrap();
    }
    let kept = segments(&disk, &place);
    assert_eq!(kept[0], "0000000000000002.ndjson", "{kept:?}");
    match page(&disk, &place, Some(0), 1) {
        Err(Error::EventsGone { oldest, after, .. }) => assert_eq!((oldest, after), (2, 0)),
        other => panic!("{other:?}"),
    }
    assert!(page(&disk, &place, Some(1), 1).is_ok());
}

/// A history of appends and reads, cut off again and again.
struct Reader {
    /// What was handed out, in order.
    handed: Vec<String>,
}

impl Reader {
    /// Reads on, as a follower does.
    fn follow(&mut self, disk: &SimDisk, place: &StoreDir, limit: usize) -> Result<()> {
        let after = self.handed.len() as u64;
        let page = page(disk, place, Some(after), limit)?;
        for (at, (record, line)) in page.events.into_iter().enumerate() {
            assert_eq!(record.seq, after + 1 + at as u64, "none is left out");
            self.handed.push(line);
        }
        Ok(())
    }

    /// What was handed out is there, unchanged.
    fn check(&self, disk: &SimDisk, place: &StoreDir, when: &str) {
        assert_eq!(breaks(disk, place), [], "{when}");
        let all = page(disk, place, Some(0), usize::MAX).unwrap();
        let lines: Vec<&String> = all.events.iter().map(|(_, line)| line).collect();
        assert!(lines.len() >= self.handed.len(), "{when}: events are lost");
        assert_eq!(
            lines[..self.handed.len()],
            self.handed.iter().collect::<Vec<_>>(),
            "{when}"
        );
    }
}

fn work(disk: &SimDisk, place: &StoreDir, reader: &mut Reader, rng: &mut Rng) -> Result<()> {
    let log = Log::new(disk, place, 1);
    for _ in 0..4 {
        if rng.percent(70) {
            let many = 1 + rng.below(3);
            let wide = rng.percent(30);
            let some = (0..many).map(|at| {
                let pad = if wide { 30_000 } else { rng.below(40) };
                long_event(&format!("{}-{at}", rng.clone().next()), pad)
            });
            log.append(some.collect())?;
        } else {
            reader.follow(disk, place, 1 + rng.below(5))?;
        }
    }
    Ok(())
}

#[test]
fn power_loss_takes_nothing_that_was_read() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let (mut disk, place) = project();
        let mut reader = Reader { handed: Vec::new() };
        if seed % 4 == 0 {
            // Shortly before a segment is full.
            let log = Log::new(&disk, &place, 1);
            let batch = (0..34).map(|at| long_event(&format!("e{at}"), 30_000));
            log.append(batch.collect()).unwrap();
        }
        for round in 0..6 {
            let n = 1 + rng.below(14) as u64;
            disk.crash_at(n);
            let _ = work(&disk, &place, &mut reader, &mut rng);
            let when = format!("seed {seed}, round {round}, power loss at call {n}");
            let lost = disk.power_loss(rng.next());
            reader.check(&lost, &place, &when);
            disk = lost.fork();
        }
        let when = format!("seed {seed}");
        work(&disk, &place, &mut reader, &mut rng).unwrap();
        append(&disk, &place, &["last"]).unwrap();
        reader.check(&disk, &place, &when);
    }
}

#[test]
fn death_at_every_call_leaves_a_log_that_goes_on() {
    for (begun, size) in [(false, 10), (true, 10), (true, 30_000)] {
        let (base, place) = project();
        if begun {
            let batch = (0..34).map(|at| long_event(&format!("e{at}"), 30_000));
            Log::new(&base, &place, 1).append(batch.collect()).unwrap();
        }
        base.settle();
        let three = |disk: &SimDisk| {
            let batch = ["a", "b", "c"].map(|name| long_event(name, size));
            Log::new(disk, &place, 1).append(batch.to_vec())
        };
        let calls = {
            let disk = base.fork();
            three(&disk).unwrap();
            disk.calls()
        };
        for n in 1..=calls + 1 {
            for kind in [None, Some(ErrorKind::Other), Some(ErrorKind::StorageFull)] {
                let disk = base.fork();
                match kind {
                    None => disk.crash_at(n),
                    Some(kind) => disk.fail_at(n, kind),
                }
                let done = three(&disk);
                assert_eq!(done.is_ok(), n > calls, "call {n} of {calls}");
                let disk = if kind.is_none() {
                    disk.kill();
                    disk.fork()
                } else {
                    disk.heal();
                    disk
                };
                let when = format!("begun {begun}, size {size}, {kind:?} at call {n}");
                let mut before = Reader { handed: Vec::new() };
                before.follow(&disk, &place, usize::MAX).unwrap();
                append(&disk, &place, &["next"]).unwrap();
                before.check(&disk, &place, &when);
                let newest = page(&disk, &place, None, 1).unwrap();
                assert_eq!(names(&newest), ["next"], "{when}");
                assert_eq!(newest.position, before.handed.len() as u64 + 1, "{when}");
            }
        }
    }
}

fn told(world: &World) -> Vec<(String, String)> {
    let page = page(&world.disk, &world.store, Some(0), usize::MAX).unwrap();
    page.events
        .into_iter()
        .map(|(record, _)| (record.event, record.checkpoint.unwrap_or_default()))
        .collect()
}

#[test]
fn the_verbs_note_what_they_did() {
    let mut world = World::new();
    let first = world.create(1.0).unwrap();
    world.now_ms += 1_000;
    world.create(2.0).unwrap();
    world.now_ms += 1_000;
    let ids = world.ids();
    world.prune(1).unwrap();
    world.now_ms += 1_000;
    world.restore_newest().unwrap();
    let undone = world.act(|context| {
        let request = waymark::ops::restore::Request::of(waymark::ops::restore::Choice::Newest);
        waymark::ops::restore::undo(context, &request)
    });
    let rescue = undone.unwrap().checkpoint_id.to_string();
    let created = "created".to_owned();
    let expected = [
        (created.clone(), ids[1].clone()),
        (created, ids[0].clone()),
        ("pruned".to_owned(), first.checkpoint_id.to_string()),
        ("restored".to_owned(), ids[0].clone()),
        ("undone".to_owned(), rescue),
    ];
    assert_eq!(told(&world), expected);
    // What fails is noted with its code.
    world.disk.remove(&world.run.run_record());
    assert_eq!(code(world.create(3.0)), "ERR_RUN_RECORD_MISSING");
    let last = page(&world.disk, &world.store, None, 1).unwrap();
    let (record, _) = &last.events[0];
    assert_eq!(record.event, "operation_failed");
    assert_eq!(record.data["operation"], "create");
    assert_eq!(record.data["code"], "ERR_RUN_RECORD_MISSING");
    assert_eq!(record.run.as_deref(), Some("run-1"));
    // Filters.
    let request = Request {
        kinds: vec!["pruned".to_owned(), "undone".to_owned()],
        run_id: Some("run-1".to_owned()),
        ..Request::default()
    };
    let some = read(&world.disk, &world.store, &request, &Cancel::default()).unwrap();
    assert_eq!((some.events.len(), some.position), (2, 6));
    let nobody = Request {
        run_id: Some("run-2".to_owned()),
        ..Request::default()
    };
    let none = read(&world.disk, &world.store, &nobody, &Cancel::default()).unwrap();
    assert_eq!(none.events, []);
    let unknown = Request {
        kinds: vec!["Created".to_owned()],
        ..Request::default()
    };
    let unknown = read(&world.disk, &world.store, &unknown, &Cancel::default());
    assert_eq!(code(unknown), "ERR_OPTION_INVALID");
}

#[test]
fn a_create_that_prunes_tells_both() {
    let world = World::with_checkpoints(5);
    let oldest = world.ids()[4].clone();
    let created = world.create(6.0).unwrap();
    let told = told(&world);
    assert_eq!(
        told[5..],
        [
            ("created".to_owned(), created.checkpoint_id.to_string()),
            ("pruned".to_owned(), oldest)
        ]
    );
}

/// Does something to a run; tells whether it was done.
type Act<'a> = Box<dyn Fn(&World) -> bool + 'a>;

/// An operation that is killed between what it does and the line that tells of it: the run has its marker, and
/// the next operation adds the line. Nothing is told twice, and nothing that did not happen.
#[test]
#[allow(
    clippy::too_many_lines,
    reason = "one table of operations, held against one truth"
)]
fn what_was_killed_is_not_forgotten() {
    let base = World::with_checkpoints(5);
    let (new, old) = (base.id_at(0), base.id_at(4));
    let change = |world: &World, command: &Command| {
        world.act(|context| lifecycle::change(context, &new, command))
    };
    change(&base, &Command::Activate).unwrap();
    let fail = Command::Fail {
        failure: Failure::default(),
        update: None,
    };
    base.act(|context| lifecycle::change(context, &old, &fail))
        .unwrap();
    base.disk.settle();
    let pin = Command::Pin(Pin {
        reason: "evidence".to_owned(),
        until_ms: None,
    });
    let complete = Command::Complete {
        update: Some(serde_json::json!({"phase": "b"})),
    };
    let to_old = Choice::Id(old.clone());
    let acts: [(&str, Act<'_>); 5] = [
        ("create", Box::new(|world| world.create(6.0).is_ok())),
        ("prune", Box::new(|world| world.prune(2).is_ok())),
        ("pin", Box::new(|world| change(world, &pin).is_ok())),
        (
            "complete",
            Box::new(|world| change(world, &complete).is_ok()),
        ),
        ("restore", Box::new(|world| world.restore(&to_old).is_ok())),
    ];
    for (name, act) in acts {
        let before = told(&base);
        let clean = base.fork();
        assert!(act(&clean));
        let calls = clean.disk.calls();
        let open = |world: &World| {
            let log = Log::new(&world.disk, &world.store, 1);
            log.open_runs().unwrap().runs
        };
        assert_eq!(open(&clean), []);
        // What there is, and what has become of it.
        let truth = |world: &World| {
            let listed = world.act(waymark::ops::list::list).unwrap();
            let life = listed.lives.get(new.as_str()).cloned().unwrap_or_default();
            let restored = world.disk.content(&world.run.restored()).is_some();
            (world.ids(), life.state(), life.pin.is_some(), restored)
        };
        let state_of_old = |world: &World| {
            let listed = world.act(waymark::ops::list::list).unwrap();
            listed.lives.get(old.as_str()).map(Life::state)
        };
        let mut recovered = 0;
        for n in 1..=calls + 1 {
            let when = format!("{name}, killed at call {n} of {calls}");
            let world = base.fork();
            world.disk.crash_at(n);
            let _ = act(&world);
            world.disk.kill();
            let mut world = world.fork();
            world.now_ms += MINUTE_MS;
            if truth(&world) != truth(&base) && told(&world) == before {
                assert_eq!(open(&world).len(), 1, "{when}: the index has to look at it");
            }
            // Killed while it is made good, and again.
            for again in 1..8 {
                let dying = world.fork();
                dying.disk.crash_at(again);
                let _ = dying.recover();
                dying.disk.kill();
                world.disk = dying.fork().disk;
            }
            world.recover().unwrap();
            let all = told(&world);
            assert_eq!(open(&world), [], "{when}");
            let times = |event: &str, id: &str| {
                let wanted = (event.to_owned(), id.to_owned());
                all.iter().filter(|one| **one == wanted).count()
            };
            let (now, _, pinned, restored) = truth(&world);
            let (ids, state, ..) = truth(&base);
            for id in &now {
                assert_eq!(times("created", id), 1, "{when}: {id}");
                assert_eq!(times("pruned", id), 0, "{when}: {id}");
            }
            for id in ids.iter().filter(|id| !now.contains(id)) {
                assert_eq!(times("pruned", id), 1, "{when}: {id}");
            }
            assert_eq!(
                times("updated", new.as_str()),
                1 + usize::from(pinned),
                "{when}"
            );
            let times_restored = times("restored", old.as_str());
            assert_eq!(times_restored, usize::from(restored), "{when}");
            let is_left = !now.contains(&old.to_string());
            let wanted = [State::Failed, State::Restored][usize::from(restored)];
            assert!(is_left || state_of_old(&world) == Some(wanted), "{when}");
            let completed = usize::from(truth(&world).1 != state);
            assert_eq!(times("completed", new.as_str()), completed, "{when}");
            assert_eq!(breaks(&world.disk, &world.store), [], "{when}");
            let page = page(&world.disk, &world.store, Some(0), 1_000).unwrap();
            let added = page.events.iter();
            recovered += added
                .filter(|(record, _)| record.data.get("recovered").is_some())
                .count();
        }
        assert!(recovered > 1, "{name}: {recovered}");
    }
    assert!(base.ids().contains(&old.to_string()));
}

/// The log can't be written; the verbs work, and say so.
#[test]
fn a_log_that_cannot_be_written_fails_nothing() {
    for kind in [ErrorKind::StorageFull, ErrorKind::ReadOnlyFilesystem] {
        for begun in [false, true] {
            let mut world = if begun {
                World::with_checkpoints(2)
            } else {
                World::new()
            };
            world.disk.deny(world.store.path(), kind);
            let created = world.create(4.0).unwrap();
            assert_eq!(created.warnings.len(), 1, "{:?}", created.warnings);
            assert!(created.warnings[0].contains("audit log"));
            world.now_ms += 1_000;
            let progress = Progress::default();
            let restored = world.act(|context| {
                let context = waymark::ops::Context {
                    progress: &progress,
                    ..*context
                };
                let newest = waymark::ops::restore::Choice::Newest;
                let request = waymark::ops::restore::Request::of(newest);
                waymark::ops::restore::restore(&context, &request)
            });
            assert_eq!(restored.unwrap().checkpoint_id, created.checkpoint_id);
            let told = progress.session.take();
            assert_eq!((told.events.len(), told.warnings.len()), (1, 1));
            assert!(!told.events[0].contains("\"seq\""));
            world.prune(1).unwrap();
            world.disk.heal();
            world.assert_tidy("denied");
        }
    }
}

/// No event is worth making a store for a failure.
#[test]
fn what_fails_makes_no_store() {
    let world = World::new();
    assert_eq!(code(world.restore_newest()), "ERR_NO_CHECKPOINT");
    assert!(world.disk.content(&world.store.format()).is_none());
    world
        .act(|context| Ok(Ledger::from(context).note(&[])))
        .unwrap();
    assert!(world.disk.content(&world.store.format()).is_none());
}

#[test]
fn verify_tells_of_a_broken_chain() {
    let world = World::with_checkpoints(3);
    let path = segment(&world.store, 1);
    let verified = || {
        world
            .act(|context| verify::verify(context, None, &verify::Request::default()))
            .unwrap()
    };
    assert!(verified().is_ok());
    let text = String::from_utf8(world.disk.content(&path).unwrap()).unwrap();
    world.disk.plant_file(
        &path,
        text.replacen("\"created\"", "\"pruned\"", 1).as_bytes(),
    );
    let found = verified();
    assert!(!found.is_ok());
    assert_eq!(found.events.len(), 1);
    assert_eq!(found.events[0].kind.name(), "event_altered");
    assert_eq!((found.events[0].seq, &found.events[0].path), (1, &path));

    // Of one checkpoint the log says nothing: it is not read for it.
    let newest = CheckpointId::parse(&world.ids()[0]).unwrap();
    let one = world
        .act(|context| verify::verify(context, Some(&newest), &verify::Request::default()))
        .unwrap();
    assert!(one.is_ok());
    assert_eq!((one.runs[0].scan.good.len(), one.events), (1, vec![]));
}

/// A log is read back to where a run begins; what is older, and what it says of another run of that name, is not.
#[test]
fn of_a_life_only_its_part_is_read() {
    let (disk, place) = project();
    let log = Log::new(&disk, &place, 1);
    let created = |name: &str, sequence: u64, bytes: usize| {
        let mut record = long_event(name, bytes);
        record.data.insert("sequence".to_owned(), sequence.into());
        record
    };
    log.append(vec![created("old", 1, 10), created("old-2", 2, 10)])
        .unwrap();
    let mut other = created("other", 1, 10);
    other.run = Some("run-2".to_owned());
    // Each segment is full: the run lies in the last two.
    let full = usize::try_from(SEGMENT_BYTES).unwrap() / 20_000;
    log.append(
        (0..full)
            .map(|_| other.clone())
            .map(|mut one| {
                one.data.insert("pad".to_owned(), "x".repeat(20_000).into());
                one
            })
            .collect(),
    )
    .unwrap();
    log.append(vec![created("new", 1, 10), other.clone()])
        .unwrap();
    log.append((0..full).map(|_| long_event("none", 20_000)).collect())
        .unwrap();
    log.append(vec![created("new-2", 2, 10), other]).unwrap();
    let request = Request {
        run_id: Some("run-1".to_owned()),
        kinds: vec!["created".to_owned()],
        life_in: Some(PathBuf::from("/project/runs")),
        limit: Some(10_000),
        ..Request::default()
    };
    let found = || read(&disk, &place, &request, &Cancel::default()).unwrap();
    let all = found();
    let told = names(&all);
    assert_eq!(
        (told[0].as_str(), told[told.len() - 1].as_str()),
        ("new", "new-2")
    );
    assert!(told[1..told.len() - 1].iter().all(|name| name == "none"));
    // What lies before is not even looked at.
    let first = segments(&disk, &place)[0].clone();
    disk.plant_file(&place.events().join(first), b"no line\n");
    assert_eq!((names(&found()), found().passed_over), (told.clone(), 0));
    // A run of that name in another folder of runs is another one; where there is none any more, it was moved.
    let elsewhere = |disk: &SimDisk, runs: &str| {
        let mut one = created("elsewhere", 1, 10);
        one.runs = Some(runs.to_owned());
        Log::new(disk, &place, 1).append(vec![one]).unwrap();
        names(&read(disk, &place, &request, &Cancel::default()).unwrap())
    };
    for folder in ["/other", "/other/runs", "/other/runs/run-1"] {
        disk.plant_dir(Path::new(folder));
    }
    assert_eq!(elsewhere(&disk, "/other/runs"), told);
    assert_eq!(elsewhere(&disk.fork(), "/gone/runs"), ["elsewhere"]);
    // With a limit the newest ones, and without a first one all that there is.
    let two = Request {
        limit: Some(2),
        ..request.clone()
    };
    let newest = read(&disk, &place, &two, &Cancel::default()).unwrap();
    assert_eq!(names(&newest), ["none", "new-2"]);
    let none = Request {
        run_id: Some("run-9".to_owned()),
        ..request
    };
    let nothing = read(&disk, &place, &none, &Cancel::default()).unwrap();
    assert_eq!((nothing.events, nothing.passed_over), (vec![], 1));
}

/// A damaged checkpoint is noted by whoever meets it.
#[test]
fn damage_is_noted() {
    let mut world = World::with_checkpoints(3);
    let newest = world.ids()[0].clone();
    let path = world.manifest(&format!("{newest}.json"));
    let bytes = world.disk.content(&path).unwrap();
    world.disk.plant_file(&path, &bytes[..bytes.len() / 2]);
    world.now_ms += 1_000;
    world.restore_newest().unwrap();
    world
        .act(|context| verify::verify(context, None, &verify::Request::default()))
        .unwrap();
    let told = told(&world);
    let damaged = ("damaged".to_owned(), newest);
    assert_eq!(told[3], damaged);
    assert_eq!(told[4].0, "restored");
    assert_eq!(told[5], damaged);
}

/// The mark that a create leaves while its bytes are on their way makes nothing that stays.
#[test]
fn a_first_create_that_fails_before_its_checkpoint_is_seen_makes_no_store() {
    let world = World::new();
    let clean = world.fork();
    clean.create(1.0).unwrap();
    let trace = clean.disk.trace();
    let synced = trace
        .iter()
        .rposition(|call| call.verb == "finish" && call.path.starts_with(clean.run.path()));
    for n in 1..=synced.unwrap() as u64 + 1 {
        let world = world.fork();
        world.disk.fail_at(n, ErrorKind::Other);
        if world.create(1.0).is_err() {
            let made = world.disk.metadata(world.store.path());
            assert!(made.is_err(), "a store was made though call {n} failed");
        }
    }
}

#[test]
fn a_mark_that_is_set_early_takes_the_place_of_none() {
    let world = World::with_checkpoints(2);
    let clean = world.fork();
    // Killed once its checkpoint can be seen: the event is due.
    clean.create(3.0).unwrap();
    let named = clean
        .disk
        .trace()
        .iter()
        .position(|call| call.verb == "rename_new")
        .unwrap() as u64;
    world.disk.crash_at(named + 2);
    drop(world.create(3.0));
    world.disk.kill();
    world.disk.heal();
    let log = Log::new(&world.disk, &world.store, world.now_ms);
    let due = log.due(&world.run).expect("the mark is there");
    assert!(due.iter().any(|one| one.event == "created"));
    let mut marked = Log::new(&world.disk, &world.store, world.now_ms);
    assert!(!marked.begin_if_there(&world.run, Vec::new()).unwrap());
    assert_eq!(log.due(&world.run), Some(due));
}

/// Nothing is appended to what is no store of this version, or lies elsewhere, though there is room for a mark.
#[test]
fn what_is_no_log_is_not_taken_for_one_that_was_seen() {
    let with_link = World::with_checkpoints(1);
    let events = with_link.store.events();
    let log = with_link.disk.metadata(&events).unwrap();
    assert_eq!(log.kind, waymark::store::disk::EntryKind::Directory);
    with_link
        .disk
        .rename(&events, Path::new("/elsewhere"))
        .unwrap();
    with_link
        .disk
        .plant_symlink(&events, Path::new("/elsewhere"));
    let lines = |world: &World, folder: &Path| {
        let mut all = Vec::new();
        for entry in world.disk.list(folder).unwrap() {
            all.extend(world.disk.content(&folder.join(&entry.name)));
        }
        all
    };
    let before = lines(&with_link, Path::new("/elsewhere"));
    let created = with_link.create(2.0).unwrap();
    assert!(
        created.warnings[0].contains("the audit log was not written"),
        "{:?}",
        created.warnings
    );
    assert_eq!(lines(&with_link, Path::new("/elsewhere")), before);

    let unformatted = World::with_checkpoints(1);
    let format = unformatted.store.path().join("format");
    unformatted.disk.remove(&format);
    assert_eq!(
        unformatted.create(2.0).unwrap().warnings,
        Vec::<String>::new()
    );
    assert!(
        unformatted.disk.content(&format).is_some(),
        "it is made whole again"
    );
}
