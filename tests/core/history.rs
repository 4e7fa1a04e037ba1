//! Random walks over a run's history, against a plain list of what must be there.
//!
//! The clock stands still, jumps and goes back; checkpoints vanish and rot under our hands; the
//! process dies in the middle. After every move the run must be what the list says.

use waymark::model::step::Step;
use waymark::ops::restore::Choice;

use crate::sim_disk::Rng;
use crate::world::{World, code, member, record};

const WALKS: u64 = 400;
const MOVES: usize = 25;
const KEEP: usize = 5;

/// A checkpoint as it must be.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    id: String,
    step: Step,
    note: String,
    extra: Option<String>,
    damaged: bool,
}

/// One walk.
struct Walk {
    world: World,
    rng: Rng,
    /// All checkpoints that exist, oldest first.
    kept: Vec<Kept>,
    /// The checkpoint taken or restored last: what the state on the disk descends from.
    base: Option<String>,
    /// The checkpoint restored last.
    restored: Option<String>,
    /// The good checkpoints at that time: while there is no other, the run stands on the restored one.
    at_restore: Vec<String>,
    notes: u32,
    log: Vec<String>,
}

impl Walk {
    fn new(seed: u64) -> Self {
        Self {
            world: World::new(),
            rng: Rng::new(seed),
            kept: Vec::new(),
            base: None,
            restored: None,
            at_restore: Vec::new(),
            notes: 0,
            log: vec![format!("walk {seed}")],
        }
    }

    fn good(&self) -> Vec<&Kept> {
        self.kept.iter().rev().filter(|one| !one.damaged).collect()
    }

    fn is_good(&self, id: &str) -> bool {
        self.good().iter().any(|one| one.id == id)
    }

    fn tick(&mut self) {
        self.world.now_ms += match self.rng.below(10) {
            0..4 => 0,
            4..8 => i64::try_from(self.rng.below(3)).unwrap(),
            8 => 40_000,
            _ => -5_000,
        };
    }

    fn step(&mut self) -> Step {
        match self.rng.below(4) {
            0 => Step::name(["build", "code review", "Prüfung"][self.rng.below(3)]).unwrap(),
            1 => Step::number([0.1, 1.5, 2.25][self.rng.below(3)]).unwrap(),
            _ => Step::number([0.0, 1.0, 2.0, 3.0][self.rng.below(4)]).unwrap(),
        }
    }

    /// The runner goes on: it writes its files anew.
    fn work(&mut self) {
        self.notes += 1;
        let note = format!("note-{}", self.notes);
        self.world.put("run.json", &record(self.notes % 10, &note));
        if self.rng.percent(40) {
            self.world
                .put("state.json", &format!("{{\"of\":\"{note}\"}}"));
        }
    }

    /// What a checkpoint taken now must hold.
    fn captured(&self, id: String, step: Step) -> Kept {
        let run = self.world.text("run.json").unwrap();
        Kept {
            id,
            step,
            note: member(&member(&run, "metadata").unwrap(), "note").unwrap(),
            extra: self.world.text("state.json"),
            damaged: false,
        }
    }

    /// Enters a new checkpoint and drops what the policy drops.
    fn enter(&mut self, new: Kept, keep: usize) {
        self.base = Some(new.id.clone());
        self.kept.push(new);
        self.drop_beyond(keep, None);
    }

    fn drop_beyond(&mut self, keep: usize, standing: Option<&str>) {
        let ids: Vec<String> = self
            .good()
            .iter()
            .skip(keep)
            .map(|one| one.id.clone())
            .filter(|id| Some(id.as_str()) != standing)
            .collect();
        self.kept.retain(|one| !ids.contains(&one.id));
    }

    /// The parents that a checkpoint taken now may have.
    fn parents(&self) -> Vec<Option<String>> {
        let base = self.base.clone().filter(|id| self.is_good(id));
        if base.is_some() {
            return vec![base];
        }
        let newest = self.good().first().map(|one| one.id.clone());
        let restored = self.restored.clone().filter(|id| self.is_good(id));
        let mut parents = vec![newest];
        parents.extend(restored.map(Some));
        parents
    }

    fn create(&mut self) {
        let step = self.step();
        self.log
            .push(format!("create {step} at {}", self.world.now_ms));
        let parents = self.parents();
        let created = self.world.create_with(step.clone(), "{\"s\":1}").unwrap();
        let parent = created.parent.map(|id| id.to_string());
        assert!(
            parents.contains(&parent),
            "{:#?}\nparent {parent:?} of {parents:?}",
            self.log
        );
        let id = created.checkpoint_id.to_string();
        assert!(
            self.kept.iter().all(|one| one.id != id),
            "{:#?}: {id} again",
            self.log
        );
        let new = self.captured(id, step);
        self.enter(new, KEEP);
    }

    fn restore(&mut self) {
        let good: Vec<Kept> = self.good().into_iter().cloned().collect();
        let Some(newest) = good.first() else {
            let expected = if self.kept.is_empty() {
                "ERR_NO_CHECKPOINT"
            } else {
                "ERR_NO_GOOD_CHECKPOINT"
            };
            assert_eq!(code(self.world.restore_newest()), expected);
            return;
        };
        let any = good[self.rng.below(good.len())].clone();
        let (choice, meant) = match self.rng.below(3) {
            0 => (Choice::Newest, newest.clone()),
            1 => {
                let first = good
                    .iter()
                    .find(|one| one.step == any.step)
                    .unwrap()
                    .clone();
                (Choice::Step(any.step.clone()), first)
            }
            _ => {
                let at = good.iter().position(|one| one.id == any.id).unwrap();
                (Choice::Id(self.world.id_at(at)), any)
            }
        };
        self.log.push(format!("restore {choice:?}"));
        let extra_before = self.world.text("state.json");
        let outcome = self.world.restore(&choice).unwrap();
        assert_eq!(outcome.checkpoint_id.as_str(), meant.id, "{:#?}", self.log);
        self.check_restored(&meant, extra_before);
    }

    fn check_restored(&mut self, meant: &Kept, extra_before: Option<String>) {
        let run = self.world.text("run.json").unwrap();
        assert_eq!(member(&run, "status").as_deref(), Some("in_progress"));
        let note = member(&member(&run, "metadata").unwrap(), "note").unwrap();
        assert_eq!(note, meant.note, "{:#?}", self.log);
        if let Step::Number(_) = meant.step {
            assert_eq!(member(&run, "current_step"), Some(meant.step.to_string()));
        }
        let extra = meant.extra.clone().or(extra_before);
        assert_eq!(self.world.text("state.json"), extra, "{:#?}", self.log);
        self.base = Some(meant.id.clone());
        self.restored = Some(meant.id.clone());
        self.at_restore = self.good().iter().map(|one| one.id.clone()).collect();
    }

    /// The checkpoint that the run was put back to and has not gone on from.
    fn standing(&self) -> Option<String> {
        let mut good = self.good().into_iter();
        let stands = good.all(|one| self.at_restore.contains(&one.id));
        self.restored.clone().filter(|_| stands)
    }

    fn prune(&mut self) {
        let keep = 1 + self.rng.below(6);
        self.log.push(format!("prune to {keep}"));
        self.world.prune(u32::try_from(keep).unwrap()).unwrap();
        let standing = self.standing();
        self.drop_beyond(keep, standing.as_deref());
    }

    fn unlink(&mut self) {
        if self.kept.is_empty() {
            return;
        }
        let gone = self.kept.remove(self.rng.below(self.kept.len()));
        self.log.push(format!("unlink {}", gone.id));
        self.world
            .disk
            .remove(&self.world.manifest(&format!("{}.json", gone.id)));
    }

    fn damage(&mut self) {
        if self.kept.is_empty() {
            return;
        }
        let at = self.rng.below(self.kept.len());
        self.kept[at].damaged = true;
        self.log.push(format!("damage {}", self.kept[at].id));
        let path = self.world.manifest(&format!("{}.json", self.kept[at].id));
        let mut bytes = self.world.disk.content(&path).unwrap();
        let cut = self.rng.below(bytes.len() - 2);
        bytes.truncate(cut);
        self.world.disk.plant_file(&path, &bytes);
    }

    /// Dies in a create, by process death or power loss, and learns from the disk how far it came.
    fn die_in_create(&mut self) {
        self.world.disk.settle();
        let step = self.step();
        let n = 1 + self.rng.next() % 20;
        self.world.disk.crash_at(n);
        let result = self.world.create_with(step.clone(), "{\"s\":1}");
        if self.rng.percent(50) {
            self.log.push(format!("killed in create at call {n}"));
            self.world.disk.kill();
        } else {
            self.log.push(format!("power loss in create at call {n}"));
            self.world.disk = self.world.disk.power_loss(self.rng.next());
        }
        let before = self.kept.clone();
        let ids: Vec<String> = self.world.ids().into_iter().rev().collect();
        let new = ids
            .iter()
            .find(|id| before.iter().all(|one| one.id != **id))
            .cloned();
        assert!(
            new.is_some() || result.is_err(),
            "{:#?}: told as safe, but gone",
            self.log
        );
        if let Some(id) = new.clone() {
            let new = self.captured(id, step);
            self.enter(new, KEEP);
        }
        // What was to be dropped may still be there.
        let mut kept: Vec<Kept> = before
            .into_iter()
            .filter(|one| one.damaged || ids.contains(&one.id))
            .collect();
        kept.extend(
            self.kept
                .last()
                .filter(|last| Some(&last.id) == new.as_ref())
                .cloned(),
        );
        self.kept = kept;
        self.world.recover().unwrap();
    }

    /// Dies in a restore; recovery finishes it or nothing has happened.
    fn die_in_restore(&mut self) {
        let Some(newest) = self.good().first().map(|one| (*one).clone()) else {
            return;
        };
        self.world.disk.settle();
        let n = 1 + self.rng.next() % 45;
        self.log.push(format!("killed in restore at call {n}"));
        let (before, extra) = (self.world.text("run.json"), self.world.text("state.json"));
        self.world.disk.crash_at(n);
        let result = self.world.restore_newest();
        self.world.disk.kill();
        self.world.recover().unwrap();
        // A lock whose holder died before it wrote its name counts for another 30 s: `locks.rs`.
        let lock = self.world.run.runner_lock();
        if self
            .world
            .disk
            .content(&lock)
            .is_some_and(|text| !text.ends_with(b"}"))
        {
            self.world.disk.remove(&lock);
        }
        if result.is_err() && self.world.text("run.json") == before {
            assert_eq!(self.world.text("state.json"), extra, "{:#?}", self.log);
        } else {
            self.check_restored(&newest, extra);
        }
    }

    fn check(&self) {
        let scan = self.world.verified();
        let found: Vec<_> = scan
            .good
            .iter()
            .map(|good| good.header.checkpoint_id.as_str())
            .collect();
        let expected: Vec<_> = self.good().into_iter().map(|one| one.id.as_str()).collect();
        assert_eq!(
            found, expected,
            "{:#?}\nthe list is not the order of creation",
            self.log
        );
        for (good, kept) in scan.good.iter().zip(self.good()) {
            assert_eq!(good.header.step, kept.step, "{:#?}", self.log);
        }
        let damaged = self.kept.len() - found.len();
        assert_eq!(scan.damaged.len(), damaged, "{:#?}", self.log);
    }

    /// The registry names what exists: at least the good ones, at most those and the damaged.
    fn check_registry(&self) {
        let registered = self.world.registered();
        for one in self.good() {
            assert!(
                registered.contains(&one.id),
                "{:#?}\n{} is not entered",
                self.log,
                one.id
            );
        }
        for id in &registered {
            let exists = self.kept.iter().any(|one| one.id == *id);
            assert!(exists, "{:#?}\n{id} is entered but gone", self.log);
        }
    }

    fn go(&mut self) {
        self.tick();
        if self.rng.percent(60) {
            self.work();
        }
        match self.rng.below(20) {
            0..9 => {
                self.create();
                self.check_registry();
                assert!(self.good().len() <= KEEP);
            }
            9..12 => self.restore(),
            12..14 => {
                self.prune();
                self.check_registry();
            }
            14 | 15 => self.unlink(),
            16 => self.damage(),
            17 | 18 => self.die_in_create(),
            _ => self.die_in_restore(),
        }
        self.check();
    }
}

#[test]
fn random_walks_keep_the_history_right() {
    for seed in 0..WALKS {
        let mut walk = Walk::new(seed);
        for _ in 0..MOVES {
            walk.go();
        }
    }
}

/// A checkpoint that is lost after a restore must not make its successor take the lost one's place.
#[test]
fn the_parent_is_right_after_a_restore_and_a_lost_checkpoint() {
    let mut world = World::with_checkpoints(3);
    let oldest = world.id_at(2);
    let newest = format!("{}.json", world.id_at(0));
    world.restore(&Choice::Id(oldest.clone())).unwrap();
    world.disk.remove(&world.manifest(&newest));
    world.now_ms += 1_000;
    let fourth = world.create(4.0).unwrap();
    assert_eq!(fourth.parent, Some(oldest));
    world.now_ms += 1_000;
    let fifth = world.create(5.0).unwrap();
    assert_eq!(fifth.parent, Some(fourth.checkpoint_id));
}

#[test]
fn many_checkpoints_in_one_millisecond_and_a_clock_set_back_keep_their_order() {
    let mut world = World::new();
    let mut made = Vec::new();
    for round in 0..12 {
        world.now_ms -= round % 3;
        made.push(world.create(1.0).unwrap().checkpoint_id.to_string());
        made.reverse();
        made.truncate(5);
        assert_eq!(world.ids(), made);
        made.reverse();
    }
}
