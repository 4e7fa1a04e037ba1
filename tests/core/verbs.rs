//! The verbs that change a run, each on a prepared run, and what each does when nothing goes wrong.

use std::collections::BTreeSet;

use waymark::error::Result;
use waymark::ops::restore::Choice;

use crate::world::{Sight, World, record, registry};

/// A verb on a prepared run. Gives the checkpoint that it created, if it creates one.
pub(crate) struct Verb {
    pub(crate) name: &'static str,
    pub(crate) world: World,
    pub(crate) run: fn(&World) -> Result<Option<String>>,
    pub(crate) restores: bool,
    /// A file that is visible but not durable when the verb begins.
    pub(crate) unsure: Option<String>,
}

fn created(world: &World) -> Result<Option<String>> {
    let created = world.create(7.0)?;
    Ok(Some(created.checkpoint_id.to_string()))
}

/// A run with other files and checkpoints, whose files have all changed since.
fn changed() -> World {
    let mut world = World::with_checkpoints(2);
    world.put("state.json", "{\"at\":\"third\"}");
    world.put("handoff.json", "{\"to\":\"third\"}");
    world.now_ms += 1_000;
    world.create(3.0).unwrap();
    world.put("run.json", &record(4, "later"));
    world.put("artifact-registry.json", &registry("b.md"));
    world.put("state.json", "{\"at\":\"later\"}");
    world.disk.remove(&world.run.path().join("handoff.json"));
    world.put("extra.json", "{\"made\":\"later\"}");
    world.disk.settle();
    world.now_ms += 1_000;
    world
}

/// The same, but of a run that Waymark has never written: its checkpoints came from elsewhere.
fn inherited() -> World {
    let world = changed();
    world.disk.remove(&world.run.private());
    world
}

/// A run whose last create was killed when its checkpoint was visible but not yet durable.
fn visible() -> World {
    let mut world = World::with_checkpoints(3);
    let first = world.ids()[0].clone();
    let path = world.run.checkpoints();
    let world_of = |n| {
        let dying = world.fork();
        dying.disk.crash_at(n);
        dying.create(4.0).unwrap_err();
        dying.disk.kill();
        dying.fork()
    };
    let found = (1..20).map(world_of).find(|world| world.ids()[0] != first);
    world.disk = found.unwrap().disk;
    assert!(
        world
            .disk
            .content(&path.join(format!("{first}.json")))
            .is_some()
    );
    world.now_ms += 1_000;
    world
}

pub(crate) fn verbs() -> Vec<Verb> {
    let littered = World::with_checkpoints(2);
    let mut litter = littered.fork();
    litter.now_ms -= 500;
    // Dies with the manifest and the registry staged.
    litter.disk.crash_at(8);
    litter.create(9.0).unwrap_err();
    litter.disk.kill();
    assert_eq!(litter.leftovers().len(), 2, "{:?}", litter.disk.trace());
    litter.now_ms += 500;

    let verb = |name, world, run, restores| Verb {
        name,
        world,
        run,
        restores,
        unsure: None,
    };
    let prune = |world: &World| world.prune(2).map(|_| None);
    let restore = |world: &World| world.restore_newest().map(|_| None);
    let killed = visible();
    let newest = format!("checkpoints/{}.json", killed.ids()[0]);
    vec![
        verb("first create", World::new(), created, false),
        verb(
            "create that prunes",
            World::with_checkpoints(5),
            created,
            false,
        ),
        verb("create over leftovers", litter, created, false),
        verb("restore of the newest", changed(), restore, true),
        verb("first restore", inherited(), restore, true),
        verb(
            "restore by id",
            changed(),
            |world| world.restore(&Choice::Id(world.id_at(2))).map(|_| None),
            true,
        ),
        verb("prune", World::with_checkpoints(5), prune, false),
        Verb {
            unsure: Some(newest.clone()),
            ..verb("prune after a killed create", killed.fork(), prune, false)
        },
        Verb {
            unsure: Some(newest.clone()),
            ..verb(
                "create after a killed create",
                killed.fork(),
                created,
                false,
            )
        },
        Verb {
            unsure: Some(newest),
            ..verb("restore after a killed create", killed, restore, true)
        },
    ]
}

/// What can be seen, but for the instant in `run.json`: a restore over a killed one's result makes
/// another.
pub(crate) fn sight(world: &World) -> Sight {
    let mut sight = world.sight();
    if let Some(record) = sight.get_mut("run.json") {
        let text = String::from_utf8(std::mem::take(record)).unwrap();
        let lines = text.lines().filter(|line| !line.contains("\"updated_at\""));
        *record = lines.collect::<Vec<_>>().join("\n").into_bytes();
    }
    sight
}

/// What a verb does when nothing goes wrong.
pub(crate) struct Clean {
    pub(crate) before: Sight,
    pub(crate) after: Sight,
    pub(crate) calls: u64,
    /// A file that was visible but not durable when the verb began.
    pub(crate) unsure: Option<String>,
}

impl Verb {
    pub(crate) fn clean(&self) -> Clean {
        let world = self.world.fork();
        let before = sight(&world);
        (self.run)(&world).unwrap();
        let after = sight(&world);
        assert_ne!(before, after, "{} does something", self.name);
        Clean {
            before,
            after,
            calls: world.disk.calls(),
            unsure: self.unsure.clone(),
        }
    }

    /// Dies at call `n`; the verb's own result comes along.
    pub(crate) fn crashed(&self, n: u64) -> (World, Result<Option<String>>) {
        let world = self.world.fork();
        world.disk.crash_at(n);
        let result = (self.run)(&world);
        (world, result)
    }
}

impl Clean {
    /// For a restore: true if its files are all new, false if all old; anything else panics.
    pub(crate) fn all_or_nothing(&self, world: &World, when: &str) -> bool {
        let sight = sight(world);
        let (mut old, mut new) = (BTreeSet::new(), BTreeSet::new());
        for name in self.before.keys().chain(self.after.keys()) {
            let (before, after) = (self.before.get(name), self.after.get(name));
            if before == after {
                continue;
            }
            let found = sight.get(name);
            if found == before {
                old.insert(name);
            } else if found == after {
                new.insert(name);
            } else {
                panic!("{when}: {name} is neither old nor new");
            }
        }
        assert!(
            old.is_empty() || new.is_empty(),
            "{when}: {old:?} are old, {new:?} are new"
        );
        old.is_empty()
    }
}
