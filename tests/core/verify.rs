//! verify: damage is told with the checkpoints and files it touches, shares cover all, times are kept.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use waymark::error::Result;
use waymark::model::cancel::Cancel;
use waymark::model::object::ObjectId;
use waymark::model::progress::Progress;
use waymark::model::snapshot::{ChunkList, Node, Tree};
use waymark::model::step::Step;
use waymark::ops::capture::Capture;
use waymark::ops::create::{self, STATE_MAX};
use waymark::ops::verify::{Outcome, Place, Request, verify, verify_store};
use waymark::ops::{self, Context, gc};
use waymark::store::layout::RunDir;
use waymark::store::manifests::{Good, Scan};
use waymark::store::objects::{Content, Store};
use waymark::store::place::StoreDir;
use waymark::store::real_disk::RealDisk;
use waymark::store::workspace::Rules;

use crate::sim_disk::Rng;
use crate::world::{START_MS, code, record, registry, run_id};

/// A project on the real disk: files are captured from there only.
struct Project {
    home: tempfile::TempDir,
    run: RunDir,
    store: StoreDir,
}

const DATA: Request = Request {
    data: true,
    share: None,
    heal: false,
};

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..len.div_ceil(8))
        .flat_map(|_| rng.next().to_le_bytes())
        .take(len)
        .collect()
}

#[allow(clippy::disallowed_methods, reason = "a test's own folder")]
impl Project {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let runs = home.path().join("runs");
        let run = RunDir::new(&runs, run_id());
        std::fs::create_dir_all(run.path()).unwrap();
        let project = Self {
            store: StoreDir::new(home.path().join(".waymark")),
            run,
            home,
        };
        project.put("run.json", record(1, "first").as_bytes());
        project.put("artifact-registry.json", registry("a.md").as_bytes());
        project
    }

    /// Two checkpoints: both have `kept.bin`, each has a `mine.bin` of its own, and a large state.
    fn used() -> Self {
        let project = Self::new();
        project.put("notes/kept.bin", &noise(1, 300_000));
        for step in 1..=2 {
            project.put("notes/deep/mine.bin", &noise(10 + step, 7_000));
            project.create(step, &noise(20 + step, 200_000));
        }
        project
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.run.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn act<T>(&self, now_ms: i64, verb: impl FnOnce(&Context<'_>) -> Result<T>) -> Result<T> {
        verb(&Context {
            store: Some(&self.store),
            disk: &RealDisk,
            run: &self.run,
            now_ms,
            lease: None,
            cancel: &Cancel::default(),
            progress: &Progress::default(),
        })
    }

    fn create(&self, step: u64, state: &[u8]) {
        let text: String = state
            .iter()
            .map(|byte| char::from(b'a' + byte % 16))
            .collect();
        let state = format!("{{\"text\":\"{text}\"}}");
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        let request = create::Request {
            step: Step::number(step as f64).unwrap(),
            state: state.as_bytes(),
            retention: None,
            max_state_bytes: STATE_MAX,
            max_store_bytes: None,
            facts: None,
            capture: Some(Capture {
                project: self.home.path().to_path_buf(),
                run: true,
                artifacts: false,
                workspace: Vec::new(),
                rules: Rules::default(),
                refuse_partial: false,
            }),
        };
        let now = START_MS + i64::try_from(step).unwrap();
        self.act(now, |context| create::create(context, &request))
            .unwrap();
    }

    fn verify(&self, now_ms: i64, request: &Request) -> Outcome {
        self.act(now_ms, |context| verify(context, None, request))
            .unwrap()
    }

    fn list(&self) -> Scan {
        self.act(START_MS, ops::list::list).unwrap().scan
    }

    fn open(&self) -> Store<'_> {
        Store::open(&RealDisk, &self.store, START_MS)
            .unwrap()
            .unwrap()
    }

    /// Flips a byte in the middle of an object's block.
    fn damage(&self, id: &ObjectId) {
        let (path, at) = {
            // Where it lies is found by trying: flip, look, flip back.
            let packs = self.store.packs(&RealDisk).unwrap();
            let path = self.store.pack(packs[0].0);
            let bytes = std::fs::read(&path).unwrap();
            let raw = self.open().get(id).unwrap();
            // Noise does not compress: it lies there as it is.
            let needle = &raw[raw.len() / 2..raw.len() / 2 + 32];
            let at = memchr::memmem::find(&bytes, needle);
            (path, at.expect("the object lies in the pack as it is"))
        };
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    }

    /// The content of a captured file, newest checkpoint first.
    fn content(&self, good: &Good, path: &str) -> Content {
        let store = self.open();
        let mut tree: Tree = store
            .tree(&good.header.snapshot.as_ref().unwrap().roots[0].tree)
            .unwrap();
        for part in Path::new(path) {
            match tree.get(part.to_str().unwrap().as_bytes()) {
                Some(Node::Directory { tree: inner, .. }) => tree = store.tree(inner).unwrap(),
                Some(Node::File(file)) => return Content::from(file),
                other => panic!("{path}: {other:?}"),
            }
        }
        panic!("{path} is a folder");
    }
}

fn steps(scan: &Scan) -> Vec<String> {
    let mut names: Vec<_> = scan
        .good
        .iter()
        .map(|good| good.header.step.to_string())
        .collect();
    names.sort();
    names
}

/// What is touched, as `<step of the checkpoint> <place>`.
fn touched(found: &Outcome) -> BTreeSet<String> {
    let step = |id: &str| id.split('-').nth(2).unwrap().to_owned();
    let touches = found.hurt.iter().flat_map(|hurt| &hurt.touches);
    touches
        .map(|touch| {
            let place = match &touch.place {
                Place::State(member) => format!("state {member}"),
                Place::File { root, path } => format!("file {root}/{path}"),
                Place::Folder { root, path } => format!("folder {root}/{path}"),
            };
            format!("{} {place}", step(&touch.checkpoint_id))
        })
        .collect()
}

#[test]
fn damage_names_the_checkpoint_and_the_file() {
    let project = Project::used();
    let good = project.list().good;
    let mine = project.content(&good[0], "notes/deep/mine.bin");
    assert!(!mine.is_list);
    assert!(project.verify(START_MS, &DATA).is_ok());
    project.damage(&mine.object);
    // The structure is whole.
    assert!(project.verify(START_MS, &Request::default()).is_ok());
    let found = project.verify(START_MS + 5_000, &DATA);
    assert!(!found.is_ok());
    assert_eq!(
        touched(&found),
        BTreeSet::from(["2 file run/notes/deep/mine.bin".to_owned()])
    );
    assert_eq!(found.hurt.len(), 1);
    assert!(!found.hurt[0].missing);
    let run = &found.runs[0].scan;
    assert_eq!(steps(run), ["1"]);
    assert_eq!(run.good[0].last_verified_ms, Some(START_MS + 5_000));
    assert_eq!(run.damaged[0].damage.kind(), "object_damaged");
    // One that was asked for by its id.
    let id = good[1].header.checkpoint_id.clone();
    let one = project.act(START_MS, |context| verify(context, Some(&id), &DATA));
    assert!(one.unwrap().is_ok());
    // What the whole store says is the same, and that it is damaged whoever needs it.
    let cancel = Cancel::default();
    let progress = Progress::default();
    let all = verify_store(
        &RealDisk,
        &project.store,
        &DATA,
        START_MS,
        &cancel,
        &progress,
    )
    .unwrap();
    assert_eq!(touched(&all), touched(&found));
    assert_eq!(all.runs.len(), 1);
    let glance = progress.glance();
    assert_eq!(glance.total_files, Some(glance.files));
    assert_eq!(glance.total_bytes, Some(glance.bytes));
    // Its time is gone in the list too.
    let listed = project.list().good;
    assert_eq!(listed[0].last_verified_ms, None);
    assert!(listed[1].last_verified_ms.is_some());
}

#[test]
fn a_shared_chunk_and_a_state_touch_all_that_need_them() {
    let project = Project::used();
    let good = project.list().good;
    let kept = project.content(&good[0], "notes/kept.bin");
    let chunk = if kept.is_list {
        let list: ChunkList = project.open().list(&kept.object).unwrap();
        list.pieces[0].chunk.unwrap()
    } else {
        kept.object
    };
    project.damage(&chunk);
    let both = ["1 file run/notes/kept.bin", "2 file run/notes/kept.bin"].map(str::to_owned);
    let found = project.verify(START_MS, &DATA);
    assert_eq!(touched(&found), BTreeSet::from(both.clone()));
    assert_eq!(steps(&found.runs[0].scan), Vec::<String>::new());

    // The index forgets it on purpose: then it is missing, until a checkpoint stores it anew.
    let heal = Request { heal: true, ..DATA };
    let healed = project.verify(START_MS, &heal);
    assert_eq!(healed.healed, [chunk]);
    let missing = project.verify(START_MS, &Request::default());
    assert_eq!(touched(&missing), BTreeSet::from(both));
    assert!(missing.hurt[0].missing);
    let scan = &missing.runs[0].scan;
    assert!(
        scan.damaged
            .iter()
            .all(|one| one.damage.kind() == "object_missing")
    );
    project.create(3, b"small");
    let found = project.verify(START_MS, &DATA);
    assert!(found.is_ok(), "{:?}", found.hurt);
    assert_eq!(steps(&found.runs[0].scan), ["1", "2", "3"]);
}

#[test]
fn a_damaged_state_names_the_member() {
    let project = Project::used();
    let good = project.list().good;
    let state = good[0].header.state_objects.iter();
    let state = state
        .clone()
        .find(|one| one.member == "step_state")
        .unwrap();
    let object = if state.chunked {
        let list = project.open().list(&state.object).unwrap();
        list.pieces.last().unwrap().chunk.unwrap()
    } else {
        state.object
    };
    let cancel = Cancel::default();
    let store = project.open();
    waymark::store::objects::check::heal(&store, &[object], START_MS, &cancel).unwrap();
    drop(store);
    let found = project.verify(START_MS, &Request::default());
    assert_eq!(
        touched(&found),
        BTreeSet::from(["2 state step_state".to_owned()])
    );
}

#[test]
fn ten_shares_cover_all() {
    let project = Project::used();
    let mut bytes = 0;
    let whole = project.verify(START_MS, &DATA);
    let structure = project.verify(START_MS, &Request::default());
    let share = Request {
        share: Some(0.1),
        ..Request::default()
    };
    std::fs::metadata(project.run.verified()).unwrap();
    project.forget_note();
    for n in 0..10_u32 {
        assert_eq!(project.list().good[0].last_verified_ms, None, "{n}");
        let found = project.verify(START_MS + 100 + i64::from(n), &share);
        assert_eq!((found.part.n, found.part.of), (n, 10));
        assert!(found.is_ok());
        bytes += found.bytes - structure.bytes;
    }
    assert_eq!(bytes, whole.bytes - structure.bytes);
    // All of it was read at that time or later.
    let last = |project: &Project| project.list().good[0].last_verified_ms;
    assert_eq!(last(&project), Some(START_MS + 100));
    // The window moves on.
    let found = project.verify(START_MS + 200, &share);
    assert_eq!(found.part.n, 0);
    assert_eq!(last(&project), Some(START_MS + 101));
    // A torn note is none.
    project.tear_note();
    assert_eq!(last(&project), None);
    assert_eq!(project.verify(START_MS + 300, &share).part.n, 0);
    for wrong in [0.0, -0.1, 1.1, f64::NAN] {
        let request = Request {
            share: Some(wrong),
            ..Request::default()
        };
        let refused = project.act(START_MS, |context| verify(context, None, &request));
        assert_eq!(code(refused), "ERR_OPTION_INVALID");
    }
    let id = project.list().good[0].header.checkpoint_id.clone();
    let refused = project.act(START_MS, |context| verify(context, Some(&id), &share));
    assert_eq!(code(refused), "ERR_OPTION_INVALID");
    // The store keeps its own round.
    let all = |n: i64| {
        let (cancel, progress) = (Cancel::default(), Progress::default());
        let now = START_MS + n;
        verify_store(&RealDisk, &project.store, &share, now, &cancel, &progress).unwrap()
    };
    let parts: Vec<u32> = (0..11).map(|n| all(n).part.n).collect();
    assert_eq!(parts, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0]);
}

#[allow(clippy::disallowed_methods, reason = "a test's own folder")]
impl Project {
    fn forget_note(&self) {
        std::fs::remove_file(self.run.verified()).unwrap();
    }

    fn tear_note(&self) {
        let mut bytes = std::fs::read(self.run.verified()).unwrap();
        let at = memchr::memmem::find(&bytes, b"all_ms").unwrap();
        bytes[at + 9] = b'9';
        std::fs::write(self.run.verified(), bytes).unwrap();
    }
}

#[test]
fn it_stops_when_asked_and_says_what_is_not_there() {
    let project = Project::used();
    let cancel = Cancel::default();
    cancel.cancel();
    let progress = Progress::default();
    let stopped = verify_store(
        &RealDisk,
        &project.store,
        &DATA,
        START_MS,
        &cancel,
        &progress,
    );
    assert_eq!(code(stopped), "ERR_ABORTED");
    // Without its store a checkpoint lacks what lay there.
    let elsewhere = StoreDir::new(PathBuf::from("/nowhere/.waymark"));
    let found = verify(
        &Context {
            store: Some(&elsewhere),
            disk: &RealDisk,
            run: &project.run,
            now_ms: START_MS,
            lease: None,
            cancel: &Cancel::default(),
            progress: &progress,
        },
        None,
        &Request::default(),
    );
    let found = found.unwrap();
    assert_eq!(found.runs[0].scan.damaged.len(), 2);
    assert_eq!(
        found.runs[0].scan.damaged[0].damage.kind(),
        "object_missing"
    );
}

#[test]
fn a_gc_is_due_when_the_packs_have_grown_enough() {
    let project = Project::used();
    let store = project.open();
    assert!(!gc::due(&store).unwrap());
    let grow = |bytes: u64| {
        let pack = project
            .store
            .pack(project.store.packs(&RealDisk).unwrap()[0].0);
        #[allow(clippy::disallowed_methods, reason = "a test's own file")]
        let file = std::fs::OpenOptions::new().write(true).open(pack).unwrap();
        // A hole: it takes no space.
        file.set_len(file.metadata().unwrap().len() + bytes)
            .unwrap();
    };
    grow(65 << 20);
    assert!(gc::due(&store).unwrap());
    gc::note(&store, 0).unwrap();
    assert!(!gc::due(&store).unwrap());
    grow(63 << 20);
    assert!(!gc::due(&store).unwrap());
    grow(2 << 20);
    assert!(gc::due(&store).unwrap());
    // With much that is needed, more growth is waited for.
    gc::note(&store, 200 << 20).unwrap();
    grow(99 << 20);
    assert!(!gc::due(&store).unwrap());
    grow(2 << 20);
    assert!(gc::due(&store).unwrap());
}
