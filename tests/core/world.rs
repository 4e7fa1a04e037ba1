//! One run on a simulated disk, with the verbs at hand and a look at what can be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use waymark::error::Result;
use waymark::model::cancel::Cancel;
use waymark::model::ids::{CheckpointId, RunId};
use waymark::model::json::{Json, MAX_DEPTH, Tree, Value};
use waymark::model::manifest::Check;
use waymark::model::progress::Progress;
use waymark::model::registry::Registry;
use waymark::model::retention::Retention;
use waymark::model::step::Step;
use waymark::ops::create::{Created, Request, STATE_MAX};
use waymark::ops::prune::Decision;
use waymark::ops::restore::{Choice, Outcome};
use waymark::ops::{self, Context};
use waymark::store::disk::{Disk, EntryKind};
use waymark::store::journal::{Recovered, Unfinished};
use waymark::store::layout::RunDir;
use waymark::store::manifests::{self, Scan};
use waymark::store::place::StoreDir;

use crate::sim_disk::SimDisk;

/// Where all runs lie.
pub(crate) const RUNS: &str = "/project/.claude/context/runs";
/// When the tests begin: 2026-01-01.
pub(crate) const START_MS: i64 = 1_767_225_600_000;
/// Long enough for the runner's lock to be stale.
pub(crate) const MINUTE_MS: i64 = 60_000;

/// What a person sees of a run: every file's content by its path in the run's folder, without
/// Waymark's own folder and the runner's lock.
pub(crate) type Sight = BTreeMap<String, Vec<u8>>;

/// A run, its disk and the time.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) run: RunDir,
    pub(crate) store: StoreDir,
    pub(crate) now_ms: i64,
}

/// `run.json` of a run at a step.
pub(crate) fn record(step: u32, note: &str) -> String {
    format!(
        "{{\n  \"run_id\": \"run-1\",\n  \"workflow_id\": \"research\",\n  \"current_step\": {step},\n  \
         \"status\": \"failed\",\n  \"updated_at\": \"2026-01-01T00:00:0{}.000Z\",\n  \
         \"metadata\": {{\n    \"note\": \"{note}\"\n  }}\n}}",
        step % 10
    )
}

/// A registry with one artifact of the runner's.
pub(crate) fn registry(artifact: &str) -> String {
    format!(
        "{{\n  \"run_id\": \"run-1\",\n  \"artifacts\": {{\n    \"{artifact}\": {{\n      \
         \"name\": \"{artifact}\",\n      \"agent\": \"analyst\",\n      \"metadata\": {{\n        \
         \"validation_status\": \"pass\"\n      }}\n    }}\n  }},\n  \"x_unknown\": [\n    1\n  ]\n}}"
    )
}

/// The id of a run that every test uses.
pub(crate) fn run_id() -> RunId {
    RunId::parse("run-1").unwrap()
}

impl World {
    /// A run that no checkpoint was ever taken of.
    pub(crate) fn new() -> Self {
        let world = Self {
            disk: SimDisk::new(),
            run: RunDir::new(Path::new(RUNS), run_id()),
            store: StoreDir::new(PathBuf::from("/project/.waymark")),
            now_ms: START_MS,
        };
        let mut path = PathBuf::from("/");
        for name in world.run.path().components().skip(1) {
            path.push(name);
            world.disk.plant_dir(&path);
        }
        world.put("run.json", &record(1, "first"));
        world.put("artifact-registry.json", &registry("a.md"));
        world.put("notes.txt", "not captured");
        world
    }

    /// A run with `count` checkpoints, of the steps from 1 on, all of it durable.
    pub(crate) fn with_checkpoints(count: u32) -> Self {
        let mut world = Self::new();
        for step in 1..=count {
            world.put("run.json", &record(step, "work"));
            world.now_ms += 1_000;
            world.create(f64::from(step)).unwrap();
        }
        world.now_ms += 1_000;
        world.disk.settle();
        world
    }

    /// An independent copy.
    pub(crate) fn fork(&self) -> Self {
        Self {
            disk: self.disk.fork(),
            ..self.clone()
        }
    }

    /// The same world on another disk.
    pub(crate) fn on(&self, disk: SimDisk) -> Self {
        Self {
            disk,
            ..self.clone()
        }
    }

    /// Writes a file of the run, as the runner would.
    pub(crate) fn put(&self, name: &str, content: &str) {
        let path = self.run.path().join(name);
        self.disk.plant_file(&path, content.as_bytes());
    }

    /// The text of a file of the run.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let bytes = self.disk.content(&self.run.path().join(name))?;
        Some(String::from_utf8(bytes).unwrap())
    }

    /// The path of a file in `checkpoints/`.
    pub(crate) fn manifest(&self, name: &str) -> PathBuf {
        self.run.checkpoints().join(name)
    }

    /// Calls a verb.
    pub(crate) fn act<T>(&self, verb: impl FnOnce(&Context<'_>) -> Result<T>) -> Result<T> {
        self.disk.set_now(self.now_ms);
        verb(&Context {
            store: Some(&self.store),
            disk: &self.disk,
            run: &self.run,
            now_ms: self.now_ms,
            lease: None,
            cancel: &Cancel::default(),
            progress: &Progress::default(),
        })
    }

    /// Takes a checkpoint; the state tells the step.
    pub(crate) fn create(&self, step: f64) -> Result<Created> {
        self.create_with(Step::number(step)?, &format!("{{\"done\":{step}}}"))
    }

    /// Takes a checkpoint of a state.
    pub(crate) fn create_with(&self, step: Step, state: &str) -> Result<Created> {
        let request = Request {
            step,
            state: state.as_bytes(),
            retention: Some(Retention::default()),
            max_state_bytes: STATE_MAX,
            capture: None,
            max_store_bytes: None,
            facts: None,
        };
        self.act(|context| ops::create::create(context, &request))
    }

    pub(crate) fn restore(&self, choice: &Choice) -> Result<Outcome> {
        self.act(|context| {
            ops::restore::restore(context, &ops::restore::Request::of(choice.clone()))
        })
    }

    pub(crate) fn restore_newest(&self) -> Result<Outcome> {
        self.restore(&Choice::Newest)
    }

    pub(crate) fn prune(&self, keep_last: u32) -> Result<Vec<Decision>> {
        let policy = Retention::newest(keep_last);
        let pruned = self.act(|context| ops::prune::prune(context, &policy, false))?;
        Ok(pruned.decisions)
    }

    pub(crate) fn recover(&self) -> Result<Recovered> {
        self.act(|context| ops::recover(context, Unfinished::Finish))
    }

    pub(crate) fn list(&self) -> Result<Scan> {
        self.act(ops::list::list).map(|listed| listed.scan)
    }

    /// The ids of the good checkpoints, newest first.
    pub(crate) fn ids(&self) -> Vec<String> {
        let good = self.list().unwrap().good;
        good.iter()
            .map(|good| good.header.checkpoint_id.to_string())
            .collect()
    }

    /// The id at a place in the list, the newest at 0.
    pub(crate) fn id_at(&self, at: usize) -> CheckpointId {
        CheckpointId::parse(&self.ids()[at]).unwrap()
    }

    /// All checkpoints, checked by their checksums.
    pub(crate) fn verified(&self) -> Scan {
        manifests::scan(&self.disk, &self.run, Check::Checksum, &Cancel::default()).unwrap()
    }

    /// What can be seen of the run.
    pub(crate) fn sight(&self) -> Sight {
        let mut sight = Sight::new();
        for folder in [self.run.path().to_path_buf(), self.run.checkpoints()] {
            for entry in self.disk.list(&folder).unwrap_or_default() {
                let path = folder.join(&entry.name);
                if entry.kind == EntryKind::File && path != self.run.runner_lock() {
                    let name = path.strip_prefix(self.run.path()).unwrap();
                    let content = self.disk.content(&path).unwrap();
                    sight.insert(name.to_str().unwrap().to_owned(), content);
                }
            }
        }
        sight
    }

    /// The names in Waymark's own folder that an operation leaves only when it is interrupted.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let entries = self.disk.list(&self.run.private()).unwrap_or_default();
        let names = entries.iter().map(|entry| entry.name.to_str().unwrap());
        names
            .filter(|name| name.starts_with("staged-") || *name == "restore.journal")
            .map(str::to_owned)
            .collect()
    }

    /// The checkpoints that the registry names; panics if it can't be read.
    pub(crate) fn registered(&self) -> BTreeSet<String> {
        let Some(bytes) = self.disk.content(&self.run.registry()) else {
            return BTreeSet::new();
        };
        let json = Json::parse(&bytes, MAX_DEPTH).expect("the registry is JSON");
        let registry = Registry::new(json.root()).expect("the registry is one");
        registry.survey().checkpoint_ids.into_iter().collect()
    }

    /// Asserts that all is as it should be between two operations.
    #[track_caller]
    pub(crate) fn assert_tidy(&self, when: &str) {
        let scan = self.verified();
        assert!(scan.damaged.is_empty(), "{when}: {:?}", scan.damaged);
        let good = scan.good.iter();
        let good: BTreeSet<String> = good
            .map(|good| good.header.checkpoint_id.to_string())
            .collect();
        assert_eq!(
            self.registered(),
            good,
            "{when}: the registry names what exists"
        );
        assert_eq!(
            self.leftovers(),
            Vec::<String>::new(),
            "{when}: no leftovers"
        );
    }
}

/// A text member of a JSON document.
pub(crate) fn member(text: &str, name: &str) -> Option<String> {
    let json = Json::parse(text.as_bytes(), MAX_DEPTH).expect("valid JSON");
    let value = json.root().get(name)?;
    Some(value.as_str().map_or_else(
        || {
            let mut out = Vec::new();
            Value::write_compact(value, &mut out);
            String::from_utf8(out).unwrap()
        },
        std::borrow::Cow::into_owned,
    ))
}

/// The code of what must be an error.
#[track_caller]
pub(crate) fn code<T>(result: Result<T>) -> &'static str {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.code(),
    }
}

/// A manifest's text with the checksum that fits it, by the runner's rule.
pub(crate) fn resummed(text: &str) -> String {
    use sha2::{Digest as _, Sha256};
    use std::fmt::Write as _;
    let json = Json::parse(text.as_bytes(), MAX_DEPTH).expect("valid JSON");
    let members = Tree::members(json.root()).into_iter();
    let rest = Tree::Object(members.filter(|(key, _)| !key.is("metadata")).collect());
    let mut compact = Vec::new();
    rest.write_compact(&mut compact);
    let mut sum = String::new();
    for byte in Sha256::digest(&compact) {
        write!(sum, "{byte:02x}").unwrap();
    }
    let metadata = json.root().get("metadata").expect("it has metadata");
    let old = metadata.get("checksum").and_then(Value::as_str);
    text.replace(&*old.expect("it has a checksum"), &sum)
}
