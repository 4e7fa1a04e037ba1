//! The order in which things reach the disk, read from the trace of its calls.

use waymark::model::step::Step;

use crate::sim_disk::Call;
use crate::verbs::{Verb, verbs};
use crate::world::World;

/// The calls of a verb, in order, with paths relative to the run's folder.
struct Trace(Vec<(String, String, String)>);

impl Trace {
    fn of(world: &World, verb: impl FnOnce(&World)) -> Self {
        let world = world.fork();
        verb(&world);
        let run = world.run.path();
        let short = |path: &std::path::Path| {
            path.strip_prefix(run).map_or_else(
                |_| "..".to_owned(),
                |path| path.to_string_lossy().into_owned(),
            )
        };
        let call = |call: &Call| {
            let to = call.to.as_deref().map(short).unwrap_or_default();
            (call.verb.to_owned(), short(&call.path), to)
        };
        Self(
            world
                .disk
                .trace()
                .iter()
                .filter(|call| call.ok)
                .map(call)
                .collect(),
        )
    }

    fn all(&self, verb: &str, hit: impl Fn(&str, &str) -> bool) -> Vec<usize> {
        let places = self.0.iter().enumerate();
        places
            .filter(|(_, (found, path, to))| found == verb && hit(path, to))
            .map(|(at, _)| at)
            .collect()
    }

    /// The only place of a call.
    #[track_caller]
    fn one(&self, verb: &str, hit: impl Fn(&str, &str) -> bool) -> usize {
        let all = self.all(verb, hit);
        assert_eq!(all.len(), 1, "{verb} at {all:?} in {:#?}", self.0);
        all[0]
    }

    /// True if a folder was synced between two places.
    fn synced_between(&self, folder: &str, from: usize, to: usize) -> bool {
        self.all("sync_dir", |path, _| path == folder)
            .iter()
            .any(|&at| from < at && at < to)
    }
}

fn verb(name: &str) -> Verb {
    verbs().into_iter().find(|verb| verb.name == name).unwrap()
}

fn is_manifest(path: &str) -> bool {
    path.starts_with("checkpoints/checkpoint-") && path.strip_suffix(".json").is_some()
}

fn check_create(trace: &Trace, drops: bool, in_order: bool) {
    let staged = |name: &'static str| move |path: &str, _: &str| path.ends_with(name);
    let manifest_done = trace.one("finish", staged("staged-manifest"));
    let registry_done = trace.one("finish", staged("staged-registry"));
    let visible = trace.one("rename_new", |_, to| is_manifest(to));
    let registered = trace.one("rename", |_, to| to == "artifact-registry.json");
    assert!(
        manifest_done < visible,
        "a manifest is synced before it can be seen"
    );
    assert!(
        registry_done < visible,
        "what may fail for lack of space comes first"
    );
    assert!(visible < registered);
    assert_eq!(
        trace.synced_between("checkpoints", visible, registered),
        !in_order,
        "a checkpoint is durable before the registry names it, unless both become so in that order"
    );
    let end = trace.0.len();
    let dropped = trace.all("remove_file", |path, _| is_manifest(path));
    let until = dropped.first().copied().unwrap_or(end);
    assert!(
        trace.synced_between("", registered, until),
        "the registry is durable at the end"
    );
    assert_eq!(dropped.len(), usize::from(drops));
}

#[test]
fn create_makes_each_thing_durable_before_what_relies_on_it() {
    let create = verb("create that prunes");
    check_create(
        &Trace::of(&create.world, |world| drop((create.run)(world).unwrap())),
        true,
        false,
    );
    let in_order = create.world.fork();
    in_order.disk.keep_order();
    check_create(
        &Trace::of(&in_order, |world| drop((create.run)(world).unwrap())),
        true,
        true,
    );
    let first = verb("first create");
    let trace = Trace::of(&first.world, |world| drop((first.run)(world).unwrap()));
    check_create(&trace, false, false);
    let staged = trace.all("create", |_, _| true)[0];
    for folder in ["checkpoints", ""] {
        assert!(
            trace.synced_between(folder, 0, staged),
            "new folders are durable before anything is put into them: {folder:?}"
        );
    }
}

/// Large states are written by several threads; the order is the same.
#[test]
fn a_large_create_keeps_the_order() {
    let world = World::with_checkpoints(5);
    let state = format!("\"{}\"", "x".repeat(2 << 20));
    let trace = Trace::of(&world, |world| {
        world.create_with(Step::Number(9.0), &state).unwrap();
    });
    check_create(&trace, true, false);
}

#[test]
fn prune_lets_the_registry_forget_before_it_drops() {
    let prune = verb("prune");
    let trace = Trace::of(&prune.world, |world| drop((prune.run)(world).unwrap()));
    let registered = trace.one("rename", |_, to| to == "artifact-registry.json");
    let dropped = trace.all("remove_file", |path, _| is_manifest(path));
    assert_eq!(dropped.len(), 3);
    assert!(trace.synced_between("", registered, dropped[0]));
}

#[test]
fn restore_decides_in_its_journal_and_forgets_it_last() {
    let restore = verb("restore of the newest");
    let trace = Trace::of(&restore.world, |world| drop((restore.run)(world).unwrap()));
    let targets = [
        "run.json",
        "artifact-registry.json",
        "state.json",
        "handoff.json",
    ];
    let decided = trace.one("rename_new", |_, to| to.ends_with("/restore.journal"));
    let locked = trace.one("rename_new", |_, to| to == "run.json.lock");
    let unlocked = trace.one("remove_file", |path, _| path == "run.json.lock");
    assert!(locked < decided);
    let staged = trace.all("finish", |path, _| path.contains("/staged-"));
    assert_eq!(
        staged.len(),
        targets.len() + 3,
        "the rescue, the targets, the note and the journal"
    );
    let rescued = trace.one("rename_new", |_, to| to.contains("/rescues/"));
    assert!(trace.synced_between("checkpoints/.waymark/rescues", rescued, decided));
    assert!(
        staged.iter().all(|&at| at < decided),
        "all contents are synced first"
    );
    let forgotten = trace.one("remove_file", |path, _| path.ends_with("/restore.journal"));
    for target in targets {
        let put = trace.all("rename_new", |_, to| to == target);
        let exchanged = trace.all("exchange", |path, _| path == target);
        let [replaced] = [put, exchanged].concat()[..] else {
            panic!("{target} is put in its place once");
        };
        assert!(
            trace.synced_between("checkpoints/.waymark", decided, replaced),
            "the journal is durable before {target} is replaced"
        );
        assert!(
            trace.synced_between("", replaced, forgotten),
            "{target} is durable before the journal goes"
        );
    }
    assert!(trace.synced_between("checkpoints/.waymark", forgotten, trace.0.len()));
    assert!(forgotten < unlocked);
    assert!(
        trace
            .all("remove_file", |path, _| path.contains("/staged-restore/"))
            .iter()
            .all(|&at| at > forgotten),
        "the old contents stay until nothing can need them"
    );
}

/// Names that a journal relies on must not be lost while the journal's own name is kept.
#[test]
fn staged_names_are_durable_before_the_journal_appears() {
    let restore = verb("restore of the newest");
    let trace = Trace::of(&restore.world, |world| drop((restore.run)(world).unwrap()));
    let decided = trace.one("rename_new", |_, to| to.ends_with("/restore.journal"));
    let staging = "checkpoints/.waymark/staged-restore";
    let made = trace.one("create_dir", |path, _| path == staging);
    let last = trace
        .all("finish", |path, _| path.starts_with(&format!("{staging}/")))
        .into_iter()
        .max()
        .unwrap();
    assert!(trace.synced_between("checkpoints/.waymark", made, decided));
    assert!(trace.synced_between(staging, last, decided));
}
