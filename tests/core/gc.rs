//! gc: what is needed stays readable whatever happens, what is not needed goes.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use waymark::error::Error;
use waymark::model::cancel::Cancel;
use waymark::model::manifest::references;
use waymark::model::object::ObjectId;
use waymark::model::progress::Progress;
use waymark::model::snapshot::{ChunkList, File, Node, Piece, Tree, TreeEntry};
use waymark::ops::gc::{Done, Gc, Request, gc};
use waymark::store::disk::Disk;
use waymark::store::objects::check::{self, Part};
use waymark::store::objects::{Content, Lane, Limit, Marks, Sink, Store, Writer};
use waymark::store::place::StoreDir;
use waymark::store::real_disk::RealDisk;
use waymark::store::roots;

use crate::sim_disk::{Rng, SimDisk};
use crate::world::code;

pub(crate) const NOW: i64 = 1_767_225_600_000;

/// What a checkpoint needs.
#[derive(Clone, Default)]
pub(crate) struct Needs {
    pub(crate) objects: BTreeMap<ObjectId, Vec<u8>>,
    pub(crate) state: Option<(Content, Vec<u8>)>,
}

/// A project with checkpoints that consist of a manifest that names objects, and nothing else.
#[derive(Clone)]
pub(crate) struct Project<D> {
    pub(crate) disk: D,
    pub(crate) place: StoreDir,
    runs: PathBuf,
    pub(crate) kept: BTreeMap<String, Needs>,
}

pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

pub(crate) fn file(bytes: &[u8], chunks: Option<ObjectId>) -> Node {
    Node::File(File {
        mode: 0o644,
        modified_ns: 0,
        size: bytes.len() as u64,
        hash: ObjectId::of(bytes),
        chunks,
    })
}

pub(crate) fn tree(nodes: Vec<Node>) -> Vec<u8> {
    let name = |at: usize| format!("{at:03}").into_bytes();
    let entries = nodes.into_iter().enumerate();
    let entries = entries.map(|(at, node)| TreeEntry {
        name: name(at),
        node,
    });
    Tree {
        entries: entries.collect(),
    }
    .encode()
}

fn put(lane: &mut dyn Lane, needs: &mut Needs, bytes: &[u8]) -> ObjectId {
    let id = lane.put(bytes).unwrap();
    needs.objects.insert(id, bytes.to_vec());
    id
}

/// A folder with a folder, files of these seeds, and one file of two chunks.
fn put_files(writer: &Writer<'_>, needs: &mut Needs, seeds: &[u64]) -> ObjectId {
    let mut lane = writer.lane();
    let mut nodes = vec![file(b"", None)];
    for seed in seeds {
        let bytes = noise(*seed, 500 + usize::try_from(*seed % 7).unwrap() * 1_500);
        put(&mut *lane, needs, &bytes);
        nodes.push(file(&bytes, None));
    }
    let (one, two) = (noise(seeds[0] + 1_000, 3_000), noise(seeds[0] + 2_000, 900));
    let pieces = [&one, &two].map(|bytes| Piece {
        len: bytes.len() as u64,
        chunk: Some(put(&mut *lane, needs, bytes)),
    });
    let list = ChunkList {
        pieces: pieces.to_vec(),
    }
    .encode();
    let list = put(&mut *lane, needs, &list);
    // The hash of a chunked file is no object.
    nodes.push(file(&[one, two].concat(), Some(list)));
    let inner = put(&mut *lane, needs, &tree(nodes.split_off(2)));
    nodes.push(Node::Directory {
        mode: 0o755,
        tree: inner,
    });
    let root = put(&mut *lane, needs, &tree(nodes));
    lane.finish().unwrap();
    root
}

fn manifest(names: &[ObjectId]) -> Vec<u8> {
    let names: Vec<String> = names.iter().map(|id| format!("\"{id}\"")).collect();
    let seal = ObjectId::of(b"a checksum, which is no object");
    format!("{{\"objects\":[{}],\"seal\":\"{seal}\"}}", names.join(",")).into_bytes()
}

impl Project<SimDisk> {
    pub(crate) fn simulated() -> Self {
        let disk = SimDisk::new();
        let runs = PathBuf::from("/project/.claude/runs");
        for path in ["/project", "/project/.claude", "/project/.claude/runs"] {
            disk.plant_dir(Path::new(path));
        }
        for path in ["run-1", "run-1/checkpoints", "~waymark-trash-x", "x"] {
            disk.plant_dir(&runs.join(path));
        }
        let place = StoreDir::new(PathBuf::from("/project/.waymark"));
        Self {
            disk,
            place,
            runs,
            kept: BTreeMap::new(),
        }
    }

    pub(crate) fn on(&self, disk: SimDisk) -> Self {
        Self {
            disk,
            ..self.clone()
        }
    }

    pub(crate) fn publish(&self, name: &str, bytes: &[u8]) {
        self.disk.plant_file(&self.manifest(name), bytes);
    }

    pub(crate) fn prune(&mut self, name: &str) {
        self.disk.remove(&self.manifest(name));
        self.kept.remove(name).unwrap();
    }

    /// Takes a checkpoint. Its state grows out of the one of `earlier`.
    pub(crate) fn create(&mut self, name: &str, seeds: &[u64], earlier: Option<&str>, state: bool) {
        let store = Store::open_or_create(&self.disk, &self.place, NOW).unwrap();
        let mut needs = Needs::default();
        roots::register(&self.disk, &self.place, &self.runs, &Cancel::default()).unwrap();
        let writer = Writer::begin(&store, Limit::None, &Cancel::default()).unwrap();
        let mut names = vec![put_files(&writer, &mut needs, seeds)];
        if state {
            let before = earlier.and_then(|name| self.kept[name].state.clone());
            let (content, mut bytes) = before.map_or((None, Vec::new()), |(content, bytes)| {
                (Some(content), bytes)
            });
            bytes.extend(noise(seeds[0] + 3_000, 4_000));
            let content = writer.put_state(&bytes, content.as_ref()).unwrap();
            names.push(content.object);
            needs.state = Some((content, bytes));
        }
        let stored = writer.sync().unwrap();
        self.publish(name, &manifest(&names));
        stored.record().unwrap();
        self.kept.insert(name.to_owned(), needs);
    }

    /// A checkpoint that needs these objects, which are stored already.
    pub(crate) fn keep(&mut self, name: &str, objects: Vec<(ObjectId, Vec<u8>)>) {
        let names: Vec<ObjectId> = objects.iter().map(|(id, _)| *id).collect();
        self.publish(name, &manifest(&names));
        let objects = objects.into_iter().collect();
        let needs = Needs {
            objects,
            state: None,
        };
        self.kept.insert(name.to_owned(), needs);
    }

    /// Three pruned and two kept checkpoints in several packs, all of it durable.
    pub(crate) fn used() -> Self {
        let mut project = Self::simulated();
        project.create("1", &[1, 2, 3, 4], None, true);
        project.create("2", &[3, 4, 5], Some("1"), true);
        project.create("3", &[5, 6, 7], Some("2"), true);
        project.create("4", &[8, 9, 10, 11], None, false);
        project.create("5", &[1, 12], Some("3"), true);
        for gone in ["1", "2", "4"] {
            project.prune(gone);
        }
        project.disk.settle();
        project
    }
}

impl<D: Disk> Project<D> {
    pub(crate) fn manifest(&self, name: &str) -> PathBuf {
        self.runs
            .join("run-1/checkpoints")
            .join(format!("{name}.json"))
    }

    pub(crate) fn gc(&self) -> waymark::error::Result<Done> {
        self.gc_with(&Request::default())
    }

    pub(crate) fn gc_with(&self, request: &Request) -> waymark::error::Result<Done> {
        self.gc_at(request, NOW)
    }

    fn gc_at(&self, request: &Request, now_ms: i64) -> waymark::error::Result<Done> {
        gc(
            &self.disk,
            &self.place,
            request,
            now_ms,
            &Cancel::default(),
            &Progress::default(),
        )
    }

    pub(crate) fn pack_bytes(&self) -> u64 {
        let packs = self.place.packs(&self.disk).unwrap();
        packs.iter().map(|(_, len)| len).sum()
    }

    /// Everything that is kept can be read by somebody who opens the store now.
    #[track_caller]
    pub(crate) fn assert_readable(&self, when: &str) {
        let store = Store::open(&self.disk, &self.place, NOW).unwrap().unwrap();
        for (name, needs) in &self.kept {
            for (id, bytes) in &needs.objects {
                match store.get(id) {
                    Ok(found) => assert!(found == *bytes, "{when}: {name}"),
                    Err(error) => panic!("{when}: {name}: {}", error.full_message()),
                }
            }
            if let Some((content, bytes)) = &needs.state {
                match store.content(content, u64::MAX) {
                    Ok(found) => assert!(found == *bytes, "{when}: state of {name}"),
                    Err(error) => panic!("{when}: state of {name}: {}", error.full_message()),
                }
            }
        }
    }

    /// A gc has nothing left to do.
    #[track_caller]
    pub(crate) fn assert_tidy(&self, when: &str) {
        let dry = Request {
            dry_run: true,
            ..Request::default()
        };
        let plan = self.gc_with(&dry).unwrap().plan;
        assert!(
            plan.drop.is_empty() && plan.rewrite.is_empty(),
            "{when}: {plan:?}"
        );
        assert!(plan.problems.is_empty(), "{when}: {:?}", plan.problems);
        let most = plan.live_bytes + plan.live_bytes * 6 / 100 + 512;
        assert!(
            self.pack_bytes() <= most,
            "{when}: {} > {most}",
            self.pack_bytes()
        );
    }
}

#[test]
fn what_is_needed_stays_and_the_rest_goes() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut project = Project::simulated();
        let states = seed % 2 == 0;
        for step in 0..16_u32 {
            let when = format!("seed {seed}, step {step}");
            let names: Vec<String> = project.kept.keys().cloned().collect();
            match rng.below(4) {
                0 if names.len() > 2 => project.prune(&names[rng.below(names.len())]),
                1 if !names.is_empty() => {
                    let done = project.gc().unwrap();
                    assert_eq!(done.left, [], "{when}");
                    project.assert_tidy(&when);
                }
                _ => {
                    let seeds: Vec<u64> = (0..=rng.below(9)).map(|_| rng.next() % 40).collect();
                    let earlier = names.last().map(String::as_str);
                    project.create(&format!("{step:02}"), &seeds, earlier, states);
                }
            }
            project.assert_readable(&when);
        }
        while project.kept.len() > 1 {
            let first = project.kept.keys().next().unwrap().clone();
            project.prune(&first);
        }
        project.gc().unwrap();
        project.assert_readable("the last one");
        project.assert_tidy("the last one");
        if !states {
            // By what was put, not by our own account of it.
            let last = project.kept.values().next().unwrap();
            let raw: usize = last.objects.values().map(|bytes| bytes.len() + 36).sum();
            let most = raw as u64 * 106 / 100 + 512;
            assert!(
                project.pack_bytes() <= most,
                "seed {seed}: {}",
                project.pack_bytes()
            );
        }
        let last = project.kept.keys().next().unwrap().clone();
        project.prune(&last);
        let before = project.pack_bytes();
        let done = project.gc().unwrap();
        assert_eq!((project.pack_bytes(), done.freed_bytes), (0, before));
    }
}

#[test]
fn a_dry_run_tells_what_a_gc_does_and_does_nothing() {
    let project = Project::used();
    let before = project.disk.calls();
    let dry = Request {
        dry_run: true,
        ..Request::default()
    };
    let plan = project.gc_with(&dry).unwrap().plan;
    assert_eq!(project.place.packs(&project.disk).unwrap().len(), 1);
    // Opening the store anew indexes the pack, which is synced for it.
    assert!(project.disk.calls() <= before + 2);
    let bytes = project.pack_bytes();
    let done = project.gc().unwrap();
    assert_eq!(done.plan, plan);
    assert_eq!(plan.rewrite.len(), 1);
    assert!(plan.working_bytes > 0 && plan.working_bytes <= plan.live_bytes);
    assert_eq!(project.pack_bytes(), bytes - done.freed_bytes);
    let near = |a: u64, b: u64| a.abs_diff(b) < 600;
    assert!(near(done.freed_bytes, plan.freed_bytes), "{done:?}");
    assert!(near(done.copied_bytes, plan.working_bytes), "{done:?}");
    let wrong = Request {
        max_unused: f64::NAN,
        ..Request::default()
    };
    assert_eq!(code(project.gc_with(&wrong)), "ERR_OPTION_INVALID");
}

/// Calls a gc that is disturbed at each of its calls; `disturb` gives the disks found afterwards.
fn at_every_call(disturb: impl Fn(&SimDisk, u64), after: impl Fn(&SimDisk) -> Vec<SimDisk>) {
    let project = Project::used();
    let clean = project.on(project.disk.fork());
    clean.gc().unwrap();
    let calls = clean.disk.calls();
    assert!(calls > 5, "{calls}");
    for n in 1..=calls + 1 {
        let disturbed = project.on(project.disk.fork());
        disturb(&disturbed.disk, n);
        let result = disturbed.gc();
        for (at, disk) in after(&disturbed.disk).into_iter().enumerate() {
            let when = format!(
                "call {n} of {calls}, disk {at}, {:?}",
                result.as_ref().err()
            );
            let found = disturbed.on(disk);
            found.assert_readable(&when);
            found
                .gc()
                .unwrap_or_else(|error| panic!("{when}: again: {error}"));
            found.assert_readable(&when);
            found.assert_tidy(&when);
            for entry in found.disk.list(&found.place.roots()).unwrap() {
                assert!(
                    !entry.name.to_str().unwrap().starts_with("staged-"),
                    "{when}"
                );
            }
            // And the next one goes on.
            let mut found = found;
            found.create("9", &[2, 9, 30], Some("5"), true);
            found.assert_readable(&when);
        }
    }
}

#[test]
fn killed_at_any_call_nothing_is_lost_and_nothing_stays() {
    at_every_call(SimDisk::crash_at, |disk| {
        disk.kill();
        vec![disk.fork()]
    });
}

#[test]
fn power_loss_at_any_call_loses_nothing() {
    at_every_call(SimDisk::crash_at, |disk| {
        (0..12).map(|seed| disk.power_loss(seed)).collect()
    });
    at_every_call(
        |_, _| {},
        |disk| (0..12).map(|seed| disk.power_loss(seed)).collect(),
    );
}

#[test]
fn a_call_that_fails_loses_nothing() {
    for kind in [
        ErrorKind::Other,
        ErrorKind::StorageFull,
        ErrorKind::PermissionDenied,
    ] {
        at_every_call(
            move |disk, n| disk.fail_at(n, kind),
            |disk| {
                disk.heal();
                vec![disk.fork()]
            },
        );
        at_every_call(
            move |disk, n| disk.fail_from(n, kind),
            |disk| {
                disk.heal();
                vec![disk.fork()]
            },
        );
    }
}

/// Packs of their own for each name: what was begun is sealed by a torn end.
fn in_packs_of_their_own(project: &mut Project<SimDisk>, all: &[(&str, &[u64])]) {
    for (name, seeds) in all {
        project.create(name, seeds, None, false);
        let (last, _) = *project.place.packs(&project.disk).unwrap().last().unwrap();
        let path = project.place.pack(last);
        let mut bytes = project.disk.content(&path).unwrap();
        bytes.extend_from_slice(b"torn");
        project.disk.plant_file(&path, &bytes);
    }
}

#[test]
fn on_a_full_disk_what_needs_no_space_goes_first() {
    let mut project = Project::simulated();
    let (all, part) = ([20, 21, 22, 23], [1, 2, 3, 4, 5, 6]);
    in_packs_of_their_own(&mut project, &[("1", &all), ("2", &part), ("3", &[1, 2])]);
    project.prune("1");
    project.prune("2");
    let before = project.pack_bytes();
    project.disk.heal();
    project
        .disk
        .deny(&project.place.pack_path_of(0, 4), ErrorKind::StorageFull);
    let error = project.gc().unwrap_err();
    let Error::StoreGcStopped { freed, source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        (error.code(), source.code()),
        ("ERR_STORE_GC_STOPPED", "ERR_DISK_FULL")
    );
    assert_eq!(project.pack_bytes(), before - freed);
    assert!(*freed > 0);
    project.assert_readable("full");
    project.disk.heal();
    project.gc().unwrap();
    project.assert_readable("again");
    project.assert_tidy("again");
}

pub(crate) trait PackPath {
    fn pack_path_of(&self, slot: u8, number: u32) -> PathBuf;
}

impl PackPath for StoreDir {
    fn pack_path_of(&self, slot: u8, number: u32) -> PathBuf {
        self.pack(waymark::store::place::PackId { slot, number })
    }
}

#[test]
fn several_packs_become_few() {
    let mut project = Project::simulated();
    for n in 0..5_u64 {
        let (all, kept) = (format!("{n}-all"), format!("{n}-kept"));
        let seeds: Vec<u64> = (n * 100..n * 100 + 8).collect();
        in_packs_of_their_own(&mut project, &[(&all, &seeds)]);
        in_packs_of_their_own(&mut project, &[(&kept, &seeds[..3])]);
        project.prune(&all);
    }
    let done = project.gc().unwrap();
    assert!(done.plan.rewrite.len() >= 5, "{:?}", done.plan);
    project.assert_readable("after");
    project.assert_tidy("after");
    // The folders of the five that are kept stay where they are.
    assert_eq!(project.place.packs(&project.disk).unwrap().len(), 6);
}

#[test]
fn a_damaged_or_foreign_manifest_keeps_what_it_names() {
    let mut project = Project::simulated();
    project.create("1", &[1, 2], None, true);
    let path = project.manifest("1");
    let bytes = project.disk.content(&path).unwrap();
    for altered in [
        bytes[..bytes.len() - 20].to_vec(),
        [b"\xff{{{ from a newer version ", &bytes[..]].concat(),
    ] {
        project.disk.plant_file(&path, &altered);
        let done = project.gc().unwrap();
        assert_eq!(done.gone, []);
        project.assert_readable("damaged");
    }
    // Nobody knows what one that can't be read needs.
    project.disk.make_unreadable(&path);
    assert_eq!(code(project.gc()), "ERR_IO");
    project.disk.remove(&path);
    let private = path.parent().unwrap().join(".waymark");
    project.disk.plant_dir(&private);
    project.disk.plant_dir(&private.join("rescues"));
    let rescue = private.join("rescues/waymark-rescue-1.json");
    project.disk.plant_file(&rescue, &bytes);
    project.gc().unwrap();
    project.assert_readable("what a restore replaced");
}

#[test]
fn a_root_that_is_missing_stops_gc_until_it_is_forgotten() {
    let mut project = Project::simulated();
    project.create("1", &[1, 2], None, false);
    let other = PathBuf::from("/elsewhere");
    project.disk.plant_dir(&other);
    let cancel = Cancel::default();
    roots::register(&project.disk, &project.place, &other, &cancel).unwrap();
    let calls = project.disk.calls();
    roots::register(&project.disk, &project.place, &other, &cancel).unwrap();
    assert_eq!(project.disk.calls(), calls, "known already");
    let all = roots::list(&project.disk, &project.place, &[]).unwrap();
    assert_eq!(all, [other.clone(), project.runs.clone()]);
    project.gc().unwrap();
    project.disk.remove(&other);
    let error = project.gc().unwrap_err();
    assert_eq!(
        (error.code(), error.path()),
        ("ERR_STORE_ROOT_MISSING", Some(&*other))
    );
    let forget = |dry_run| Request {
        dry_run,
        forget_roots: vec![other.clone()],
        ..Request::default()
    };
    project.gc_with(&forget(true)).unwrap();
    assert_eq!(code(project.gc()), "ERR_STORE_ROOT_MISSING");
    project.gc_with(&forget(false)).unwrap();
    project.gc().unwrap();
    project.assert_readable("forgotten");
    // The whole project is somewhere else now.
    let moved = StoreDir::new(PathBuf::from("/moved/.waymark"));
    for path in ["/moved", "/moved/.waymark", "/moved/.waymark/roots"] {
        project.disk.plant_dir(Path::new(path));
    }
    for entry in project.disk.list(&project.place.roots()).unwrap() {
        let bytes = project
            .disk
            .content(&project.place.roots().join(&entry.name))
            .unwrap();
        project
            .disk
            .plant_file(&moved.roots().join(&entry.name), &bytes);
    }
    let all = roots::list(&project.disk, &moved, &[]).unwrap();
    assert_eq!(all, [PathBuf::from("/moved/.claude/runs")]);
}

#[test]
fn damaged_roots_stop_gc_and_are_mended_by_the_next_create() {
    let mut project = Project::simulated();
    project.create("1", &[1, 2], None, false);
    let folder = project.place.roots();
    let entry = folder.join(&project.disk.list(&folder).unwrap()[0].name);
    let good = project.disk.content(&entry).unwrap();
    for damaged in [
        &b""[..],
        b"{}",
        &good[..good.len() / 2],
        b"{\"format\":2,\"path\":\"x\"}",
    ] {
        project.disk.plant_file(&entry, damaged);
        assert_eq!(code(project.gc()), "ERR_STORE_ROOTS_DAMAGED");
        roots::register(
            &project.disk,
            &project.place,
            &project.runs,
            &Cancel::default(),
        )
        .unwrap();
        project.gc().unwrap();
    }
    project.disk.remove(&entry);
    assert_eq!(code(project.gc()), "ERR_STORE_ROOTS_DAMAGED");
    project.assert_readable("refused");
}

#[test]
fn a_root_is_registered_durably_or_not_at_all() {
    let project = Project::used();
    let other = PathBuf::from("/elsewhere");
    project.disk.plant_dir(&other);
    let register =
        |disk: &SimDisk| roots::register(disk, &project.place, &other, &Cancel::default());
    let clean = project.disk.fork();
    register(&clean).unwrap();
    for n in 1..=clean.calls() + 1 {
        let disk = project.disk.fork();
        disk.crash_at(n);
        let done = register(&disk).is_ok();
        disk.kill();
        let tidied = project.on(disk.fork());
        tidied.gc().unwrap();
        for entry in tidied.disk.list(&tidied.place.roots()).unwrap() {
            assert!(
                !entry.name.to_str().unwrap().starts_with("staged-"),
                "call {n}"
            );
        }
        // Somebody else sees what the killed one left, and relies on it.
        let killed = disk.fork();
        register(&killed).unwrap();
        for (disk, done) in [(disk, done), (killed, true)] {
            for seed in 0..10 {
                let lost = disk.power_loss(seed);
                let all = roots::list(&lost, &project.place, &[]).unwrap();
                assert!(!done || all.contains(&other), "call {n}, seed {seed}");
                assert!(all.contains(&project.runs));
            }
        }
    }
}

#[test]
fn bytes_that_flip_are_found_and_harm_no_others() {
    let project = Project::used();
    let (pack, len) = project.place.packs(&project.disk).unwrap()[0];
    let path = project.place.pack(pack);
    let bytes = project.disk.content(&path).unwrap();
    let store = Store::open(&project.disk, &project.place, NOW)
        .unwrap()
        .unwrap();
    let cancel = Cancel::default();
    assert_eq!(
        check::structure(&store, &cancel, &Progress::default())
            .unwrap()
            .faults,
        []
    );
    assert_eq!(
        check::data(&store, Part::ALL, &cancel, &Progress::default())
            .unwrap()
            .faults,
        []
    );
    let mut rng = Rng::new(7);
    let (mut found, mut healed) = (0, 0);
    for _ in 0..150 {
        let at = 16 + rng.below(usize::try_from(len).unwrap() - 16);
        let mut altered = bytes.clone();
        altered[at] ^= 1 << rng.below(8);
        let project = project.on(project.disk.fork());
        // The index was there before the damage.
        let store = Store::open(&project.disk, &project.place, NOW)
            .unwrap()
            .unwrap();
        project.disk.plant_file(&path, &altered);
        let mut damaged = check::structure(&store, &cancel, &Progress::default())
            .unwrap()
            .damaged();
        for n in 0..3 {
            let part =
                check::data(&store, Part { n, of: 3 }, &cancel, &Progress::default()).unwrap();
            damaged.extend(part.damaged());
        }
        assert!(!damaged.is_empty(), "byte {at}");
        found += damaged.len();
        // What damaged folders and lists lead to is lost to gc.
        let mut marks = Marks::new(&store);
        for name in project.kept.keys() {
            let bytes = project.disk.content(&project.manifest(name)).unwrap();
            for id in references(&bytes) {
                marks.add(id, &cancel).unwrap();
            }
        }
        let readable: Vec<(ObjectId, Vec<u8>)> = project
            .kept
            .values()
            .flat_map(|needs| needs.objects.clone())
            .filter(|(id, _)| marks.needs(id) && store.get(id).is_ok())
            .collect();
        for (id, _) in project.kept.values().flat_map(|needs| &needs.objects) {
            assert_eq!(store.get(id).is_err(), damaged.contains(id), "byte {at}");
        }
        // With the index from before, then with one made of the damaged pack.
        let request = Request::default();
        let progress = Progress::default();
        let run = Gc::begin(&store, &request, NOW, &cancel, &progress).unwrap();
        run.apply(&cancel).unwrap();
        let again = Store::open(&project.disk, &project.place, NOW)
            .unwrap()
            .unwrap();
        for (id, bytes) in &readable {
            assert!(store.get(id).unwrap() == *bytes, "byte {at}");
            assert!(again.get(id).unwrap() == *bytes, "byte {at}");
        }
        let before = store.generation().unwrap();
        check::heal(&store, &damaged, NOW, &cancel).unwrap();
        assert_ne!(store.generation().unwrap(), before);
        let writer = Writer::begin(&store, Limit::None, &cancel).unwrap();
        let mut lane = writer.lane();
        for bytes in project
            .kept
            .values()
            .flat_map(|needs| needs.objects.values())
        {
            lane.put(bytes).unwrap();
        }
        lane.finish().unwrap();
        writer.sync().unwrap().record().unwrap();
        for (id, bytes) in project.kept.values().flat_map(|needs| &needs.objects) {
            healed += usize::from(damaged.contains(id));
            assert!(store.get(id).unwrap() == *bytes, "byte {at}");
        }
    }
    assert!(found > 150 && healed > 50, "{found} {healed}");
}

#[test]
fn parts_are_all_of_it() {
    for of in [1, 2, 3, 7, 100] {
        for seed in 0..200_u64 {
            let id = ObjectId::of(&seed.to_le_bytes());
            let parts = (0..of).filter(|n| Part { n: *n, of }.contains(&id));
            assert_eq!(parts.count(), 1);
        }
    }
}

// Beside others: several handles of one store need the real disk, where they share the index.

/// Long after every file was written: what did not change since is not read again.
const LATER: i64 = NOW + 10 * 365 * 86_400_000;

struct Shared {
    project: Project<RealDisk>,
    _home: tempfile::TempDir,
}

fn shared() -> Shared {
    let home = tempfile::tempdir().unwrap();
    let runs = home.path().join("runs");
    #[allow(clippy::disallowed_methods, reason = "a test's own folder")]
    std::fs::create_dir_all(runs.join("run-1/checkpoints")).unwrap();
    let place = StoreDir::new(home.path().join(".waymark"));
    let project = Project {
        disk: RealDisk,
        place,
        runs,
        kept: BTreeMap::new(),
    };
    Shared {
        project,
        _home: home,
    }
}

#[allow(clippy::disallowed_methods, reason = "as create would, in the end")]
fn publish(project: &Project<RealDisk>, name: &str, names: &[ObjectId]) {
    std::fs::write(project.manifest(name), manifest(names)).unwrap();
}

impl Project<RealDisk> {
    fn open(&self) -> Store<'_> {
        Store::open_or_create(&self.disk, &self.place, NOW).unwrap()
    }

    fn checkpoint(&mut self, name: &str, seeds: &[u64]) {
        let mut needs = Needs::default();
        {
            let store = self.open();
            roots::register(&self.disk, &self.place, &self.runs, &Cancel::default()).unwrap();
            let writer = Writer::begin(&store, Limit::None, &Cancel::default()).unwrap();
            let root = put_files(&writer, &mut needs, seeds);
            let stored = writer.sync().unwrap();
            publish(self, name, &[root]);
            stored.record().unwrap();
        }
        self.kept.insert(name.to_owned(), needs);
    }

    fn drop_checkpoint(&mut self, name: &str) {
        std::fs::remove_file(self.manifest(name)).unwrap();
        self.kept.remove(name).unwrap();
    }
}

/// When a gc, which plans and then acts, meets a checkpoint that is being taken.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Meets {
    /// It is taken between plan and act.
    Between,
    /// It begins before the plan, and ends while the gc waits to act.
    Around,
    /// Its manifest is visible when the plan is made, but the index knows nothing of it yet.
    VisibleBefore,
    /// Its process is killed after its manifest was visible, before the index knew.
    Killed,
}

#[test]
fn a_checkpoint_that_leans_on_a_pruned_one_survives() {
    for meets in [
        Meets::Between,
        Meets::Around,
        Meets::VisibleBefore,
        Meets::Killed,
    ] {
        for whole in [false, true] {
            let mut shared = shared();
            let project = &mut shared.project;
            project.checkpoint("1", &[1, 2, 3, 4, 5]);
            project.checkpoint("2", &[30]);
            project.drop_checkpoint("1");
            if whole {
                project.drop_checkpoint("2");
            }
            let cancel = Cancel::default();
            let (store, other) = (project.open(), project.open());
            let request = Request::default();
            let mut needs = Needs::default();
            let progress = Progress::default();
            let begin = || Gc::begin(&store, &request, LATER, &cancel, &progress).unwrap();
            let write = |needs: &mut Needs| {
                let writer = Writer::begin(&other, Limit::None, &cancel).unwrap();
                let root = put_files(&writer, needs, &[1, 3, 5, 40]);
                (writer.sync().unwrap(), root)
            };
            match meets {
                Meets::Between => {
                    let run = begin();
                    let (stored, root) = write(&mut needs);
                    publish(project, "3", &[root]);
                    stored.record().unwrap();
                    run.apply(&cancel).unwrap();
                }
                Meets::Around => {
                    let (stored, root) = write(&mut needs);
                    let run = begin();
                    std::thread::scope(|scope| {
                        let gc = scope.spawn(|| run.apply(&cancel).unwrap());
                        for _ in 0..20 {
                            RealDisk.pause(1);
                        }
                        publish(project, "3", &[root]);
                        stored.record().unwrap();
                        gc.join().unwrap();
                    });
                }
                Meets::VisibleBefore => {
                    let (stored, root) = write(&mut needs);
                    publish(project, "3", &[root]);
                    let run = begin();
                    stored.record().unwrap();
                    run.apply(&cancel).unwrap();
                }
                Meets::Killed => {
                    let run = begin();
                    // In a pack that the gc itself does not look at.
                    let slot = RealDisk.try_lock(&project.place.slot(0), "").unwrap();
                    assert!(slot.is_some());
                    let (stored, root) = write(&mut needs);
                    publish(project, "3", &[root]);
                    drop((stored, slot));
                    run.apply(&cancel).unwrap();
                }
            }
            drop((store, other));
            project.kept.insert("3".to_owned(), needs);
            let when = format!("{meets:?}, {whole}");
            project.assert_readable(&when);
            waymark::store::index::remove(&project.place.index()).unwrap();
            project.assert_readable(&format!("{when}, with a new index"));
            project.gc().unwrap();
            project.assert_readable(&format!("{when}, again"));
            project.assert_tidy(&when);
        }
    }
}

#[test]
fn one_gc_at_a_time_and_none_while_somebody_writes() {
    let project = Project::used();
    let store = Store::open(&project.disk, &project.place, NOW)
        .unwrap()
        .unwrap();
    let (cancel, request) = (Cancel::default(), Request::default());
    let progress = Progress::default();
    let first = Gc::begin(&store, &request, NOW, &cancel, &progress).unwrap();
    assert_eq!(code(project.gc()), "ERR_STORE_BUSY");
    let writer = Writer::begin(&store, Limit::None, &cancel).unwrap();
    let before = project.pack_bytes();
    // The writer is at work in the only pack.
    let done = first.apply(&cancel).unwrap();
    assert_eq!((done.left.len(), done.gone.len()), (1, 0));
    assert_eq!(project.pack_bytes(), before);
    drop(writer);
    project.gc().unwrap();
    project.assert_tidy("alone");
    project.assert_readable("alone");
}

#[test]
fn what_dead_processes_left_in_the_store_goes_when_it_is_old() {
    use waymark::store::leftovers::{AGE_MS, UNKNOWN_AGE_MS};
    let project = Project::used();
    let (disk, folder) = (&project.disk, project.place.path().to_path_buf());
    disk.set_alive(|pid| match pid {
        4_711 => Some(true),
        4_712 => Some(false),
        _ => None,
    });
    disk.set_now(NOW);
    let names = [
        "index.db.damaged",
        "index.db.damaged-wal",
        "staged-format-4711-1-0",
        "staged-ignore-4712-1-0",
        "staged-format-4713-1-0",
        "staged-by-somebody",
        "notes.txt",
    ];
    for name in names {
        disk.plant_file(&folder.join(name), b"left");
    }
    let left = |after_ms: i64| -> Vec<&str> {
        project.gc_at(&Request::default(), NOW + after_ms).unwrap();
        let there = |name: &&str| disk.metadata(&folder.join(name)).is_ok();
        names.into_iter().filter(there).collect()
    };
    assert_eq!(left(AGE_MS - 1), names);
    let [_, _, alive, _, unknown, other, notes] = names;
    assert_eq!(left(AGE_MS), [alive, unknown, other, notes]);
    assert_eq!(left(UNKNOWN_AGE_MS - 1), [alive, unknown, other, notes]);
    assert_eq!(left(UNKNOWN_AGE_MS), [alive, other, notes]);
    assert_eq!(left(100 * UNKNOWN_AGE_MS), [alive, other, notes]);
    project.assert_readable("tidied");
}

#[test]
fn a_reader_follows_what_gc_moves_even_if_a_packs_number_is_used_again() {
    let mut shared = shared();
    let project = &mut shared.project;
    project.checkpoint("1", &[1, 2, 3]);
    project.checkpoint("2", &[2]);
    let needs = project.kept["2"].clone();
    let place = project.place.clone();
    let reader = Store::open(&RealDisk, &place, NOW).unwrap().unwrap();
    for (id, bytes) in &needs.objects {
        assert_eq!(reader.get(id).unwrap(), *bytes);
    }
    project.drop_checkpoint("1");
    project.gc().unwrap();
    for (id, bytes) in &needs.objects {
        assert_eq!(reader.get(id).unwrap(), *bytes);
    }
    project.drop_checkpoint("2");
    project.gc().unwrap();
    assert_eq!(project.pack_bytes(), 0);
    project.checkpoint("3", &[7, 8]);
    for (id, bytes) in &project.kept["3"].objects {
        assert_eq!(reader.get(id).unwrap(), *bytes);
    }
    for id in needs
        .objects
        .keys()
        .filter(|id| !project.kept["3"].objects.contains_key(*id))
    {
        assert_eq!(code(reader.get(id)), "ERR_OBJECT_MISSING");
    }
}
