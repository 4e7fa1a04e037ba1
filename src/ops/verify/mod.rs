//! Checks that checkpoints are whole: their manifests, and everything in the store that they need.
//!
//! The *structure*: manifests by their checksums; the folders and lists that lead to a checkpoint's
//! contents are read, the contents themselves are looked up in the index. The *data*: contents are read
//! too, unpacked and held against their names, each once however many checkpoints share it; or only a
//! share of them, another each time.
//!
//! The *audit log*: each of its lines by its hash, and that it follows the one before it.
//!
//! Damage is a result: it says which checkpoints and which of their files it touches. Nothing is ever
//! deleted. What the store holds is only told to be stored anew where that is asked for.
//!
//! *Limits*: bytes may come from the system's cache rather than from the medium. A file of several chunks
//! is whole if its list and its chunks are; the hash of all of it is computed by a restore.

mod walk;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::damage::Damage;
use crate::model::event::{Event, Kind};
use crate::model::ids::{CheckpointId, RunId};
use crate::model::lifecycle::Lives;
use crate::model::manifest::{Check, Header};
use crate::model::object::ObjectId;
use crate::model::progress::{Phase, Progress};
use crate::ops::events::{Ledger, about};
use crate::ops::{Context, not_found};
use crate::store::changes::Changes;
use crate::store::disk::{Disk, EntryKind};
use crate::store::events::{Break, Log};
use crate::store::layout::RunDir;
use crate::store::lock::RunLock;
use crate::store::manifests::{Damaged, Good, Scan, scan};
use crate::store::objects::check::{self, Part};
use crate::store::objects::{Problem, Store};
use crate::store::place::StoreDir;
use crate::store::roots;
use crate::store::verified::Verified;
pub use walk::{Hurt, Place, TOUCHES_MAX, Touch};
use walk::{Subject, Walk};

/// The smallest share of the data that can be asked for.
pub const SHARE_MIN: f64 = 0.001;

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Request {
    /// Contents are read, not only looked up.
    pub data: bool,
    /// Of the contents only this share, the next one each time: ten calls with 0.1 read them all.
    pub share: Option<f64>,
    /// Objects that can't be read are made to be stored anew by the next checkpoint that meets them.
    pub heal: bool,
}

impl Request {
    fn parts(&self) -> Result<u32> {
        let Some(share) = self.share else {
            return Ok(1);
        };
        if !(SHARE_MIN..=1.0).contains(&share) {
            return Err(Error::OptionValue {
                name: "share",
                reason: format!("{share} is no share of the data; give {SHARE_MIN} to 1"),
            });
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 1 to 1000"
        )]
        // 1 / 0.1 may be a little more than 10.
        Ok((1.0 / share - 1e-9).ceil() as u32)
    }

    fn reads(&self) -> bool {
        self.data || self.share.is_some()
    }
}

/// A run and its checkpoints: whole ones are good, those that lack something are damaged.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The run.
    pub run: RunDir,
    /// Its checkpoints.
    pub scan: Scan,
    /// What happened to them since they were taken.
    pub lives: Lives,
}

/// What a verification found.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Whether contents were read.
    pub data: bool,
    /// Which share of them.
    pub part: Part,
    /// The runs that were looked at.
    pub runs: Vec<Run>,
    /// Objects that can't be had, and what that touches.
    pub hurt: Vec<Hurt>,
    /// What is wrong beside.
    pub problems: Vec<Problem>,
    /// Where the audit log is not as it was written.
    pub events: Vec<Break>,
    /// How many objects were looked at.
    pub objects: u64,
    /// The bytes that were read, unpacked.
    pub bytes: u64,
    /// The objects that are to be stored anew.
    pub healed: Vec<ObjectId>,
    /// What could not be done beside the verification.
    pub warnings: Vec<String>,
}

impl Outcome {
    /// True if nothing is wrong.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        let whole = |run: &Run| run.scan.damaged.is_empty();
        self.hurt.is_empty()
            && self.problems.is_empty()
            && self.events.is_empty()
            && self.runs.iter().all(whole)
    }
}

/// Checks all checkpoints of a run, or one. The audit log is looked at unless it is one: that may be megabytes of what
/// has nothing to do with it.
pub fn verify(
    context: &Context<'_>,
    id: Option<&CheckpointId>,
    request: &Request,
) -> Result<Outcome> {
    let ledger = Ledger::from(context);
    ledger.watch("verify", Some(context.run), || {
        let mut outcome = verify_run(context, id, request)?;
        if id.is_none() {
            look_at_log(&ledger, &mut outcome, context.cancel)?;
        }
        note_damaged(&ledger, &mut outcome);
        Ok(outcome)
    })
}

/// Looks at the audit log.
fn look_at_log(ledger: &Ledger<'_>, outcome: &mut Outcome, cancel: &Cancel) -> Result<()> {
    if let Some(place) = ledger.store {
        match Log::new(ledger.disk, place, ledger.now_ms).check(cancel) {
            Ok(breaks) => outcome.events = breaks,
            Err(Error::Aborted) => return Err(Error::Aborted),
            // What another version wrote there can't be judged.
            Err(Error::StoreFormat { .. }) => {}
            Err(error) => outcome.problems.push(Problem {
                object: None,
                path: place.events(),
                reason: error.full_message(),
            }),
        }
    }
    Ok(())
}

/// Notes in the audit log which checkpoints are damaged.
fn note_damaged(ledger: &Ledger<'_>, outcome: &mut Outcome) {
    let mut noted = Vec::new();
    for run in &outcome.runs {
        for damaged in &run.scan.damaged {
            let event = Event::new(Kind::Damaged, "verify")
                .of(&damaged.name)
                .with("damage", damaged.damage.kind());
            noted.push(about(&run.run, event));
        }
    }
    outcome.warnings.extend(ledger.note_if_there(&noted));
}

fn verify_run(
    context: &Context<'_>,
    id: Option<&CheckpointId>,
    request: &Request,
) -> Result<Outcome> {
    let of = request.parts()?;
    if id.is_some() && request.share.is_some() {
        return Err(Error::OptionValue {
            name: "share",
            reason: "shares are of a whole run; leave out the checkpoint".to_owned(),
        });
    }
    context.progress.enter(Phase::Scanning);
    context.run.check(context.disk)?;
    let mut found = scan(context.disk, context.run, Check::Checksum, context.cancel)?;
    let exists: HashSet<String> = ids(&found);
    if let Some(id) = id {
        found.good.retain(|good| good.header.checkpoint_id == *id);
        found.damaged.retain(|damaged| damaged.name == id.as_str());
        if found.good.is_empty() && found.damaged.is_empty() {
            return Err(not_found(context, id.as_str()));
        }
    }
    let part = Verified::read(context.disk, context.run).next(of);
    let mut all = All {
        disk: context.disk,
        request,
        part,
        now_ms: context.now_ms,
        cancel: context.cancel,
        progress: context.progress,
        outcome: Outcome::new(request, part),
    };
    let mut runs = vec![Run {
        run: context.run.clone(),
        scan: found,
        lives: Lives::new(),
    }];
    let mut good = runs.iter().flat_map(|run| &run.scan.good);
    let needed = good.any(|good| needs(&good.header).is_some());
    let store = match context.store.filter(|_| needed) {
        Some(place) => Store::open(context.disk, place, context.now_ms),
        None => Ok(None),
    };
    let store = match store {
        Ok(Some(store)) => Some(store),
        Ok(None) => {
            without_store(&mut runs, &|id| Damage::ObjectMissing(id.to_string()));
            None
        }
        Err(Error::Aborted) => return Err(Error::Aborted),
        Err(Error::StoreFormat { .. }) => {
            without_store(&mut runs, &|_| {
                Damage::NewerFormat("of its store".to_owned())
            });
            None
        }
        Err(error) => {
            let reason = error.full_message();
            without_store(&mut runs, &|_| Damage::Unreadable(reason.clone()));
            None
        }
    };
    if let Some(store) = &store {
        all.check(store, &mut runs, None)?;
    }
    all.changes(&mut runs)?;
    all.note(&mut runs, &|_, id| exists.contains(id));
    all.outcome.runs = runs;
    Ok(all.outcome)
}

/// Checks the whole store: its packs and its index, and all checkpoints of all registered folders of
/// runs.
pub fn verify_store(
    disk: &dyn Disk,
    place: &StoreDir,
    request: &Request,
    now_ms: i64,
    cancel: &Cancel,
    progress: &Progress,
) -> Result<Outcome> {
    let ledger = Ledger {
        disk,
        store: Some(place),
        now_ms,
        progress,
    };
    ledger.watch("verify", None, || {
        let mut outcome = verify_all(&ledger, place, request, cancel)?;
        look_at_log(&ledger, &mut outcome, cancel)?;
        note_damaged(&ledger, &mut outcome);
        Ok(outcome)
    })
}

fn verify_all(
    ledger: &Ledger<'_>,
    place: &StoreDir,
    request: &Request,
    cancel: &Cancel,
) -> Result<Outcome> {
    let (disk, now_ms, progress) = (ledger.disk, ledger.now_ms, ledger.progress);
    let of = request.parts()?;
    progress.enter(Phase::Scanning);
    let Some(store) = Store::open(disk, place, now_ms)? else {
        let part = Part { n: 0, of };
        return Ok(Outcome::new(request, part));
    };
    let part = next_part(&store, of)?;
    let mut all = All {
        disk,
        request,
        part,
        now_ms,
        cancel,
        progress,
        outcome: Outcome::new(request, part),
    };
    let mut runs = all.runs_of(place)?;
    let structure = check::structure(&store, cancel, progress)?;
    all.check(&store, &mut runs, Some(structure))?;
    let exist: Vec<HashSet<String>> = runs.iter().map(|run| ids(&run.scan)).collect();
    all.changes(&mut runs)?;
    all.note(&mut runs, &|at, id| exist[at].contains(id));
    if of > 1 {
        let next = i64::from((part.n + 1) % of);
        let index = store.index();
        index.set_fact(SHARES, i64::from(of))?;
        index.set_fact(NEXT_SHARE, next)?;
    }
    all.outcome.runs = runs;
    Ok(all.outcome)
}

/// Facts in the index: how many shares the round over the store has, and which is next.
const SHARES: &str = "verify_shares";
const NEXT_SHARE: &str = "verify_next_share";

fn next_part(store: &Store<'_>, of: u32) -> Result<Part> {
    let index = store.index();
    let same = index.fact(SHARES)? == Some(i64::from(of));
    let next = index.fact(NEXT_SHARE)?.filter(|_| same).unwrap_or(0);
    let n = u32::try_from(next).unwrap_or(0) % of;
    Ok(Part { n, of })
}

fn ids(scan: &Scan) -> HashSet<String> {
    let good = scan
        .good
        .iter()
        .map(|good| good.header.checkpoint_id.to_string());
    let damaged = scan.damaged.iter().map(|damaged| damaged.name.clone());
    good.chain(damaged).collect()
}

fn needs(header: &Header) -> Option<ObjectId> {
    let state = header.state_objects.iter().map(|one| one.object);
    let roots = header.snapshot.iter().flat_map(|snapshot| &snapshot.roots);
    state.chain(roots.map(|root| root.tree)).next()
}

fn without_store(runs: &mut [Run], damage: &dyn Fn(&ObjectId) -> Damage) {
    for run in runs {
        let damage = |_: usize, good: &Good| needs(&good.header).map(|id| damage(&id));
        split(&mut run.scan, &damage);
    }
}

/// Moves the checkpoints that have a damage to the damaged ones.
fn split(scan: &mut Scan, damage: &dyn Fn(usize, &Good) -> Option<Damage>) {
    for (at, good) in std::mem::take(&mut scan.good).into_iter().enumerate() {
        match damage(at, &good) {
            None => scan.good.push(good),
            Some(damage) => scan.damaged.push(Damaged {
                name: good.header.checkpoint_id.to_string(),
                modified_ms: good.stamp.map_or(0, |stamp| stamp.modified_ns / 1_000_000),
                path: good.path,
                damage,
            }),
        }
    }
}

impl Outcome {
    fn new(request: &Request, part: Part) -> Self {
        Self {
            data: request.reads(),
            part,
            runs: Vec::new(),
            hurt: Vec::new(),
            problems: Vec::new(),
            events: Vec::new(),
            objects: 0,
            bytes: 0,
            healed: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// A verification at work.
struct All<'a> {
    disk: &'a dyn Disk,
    request: &'a Request,
    part: Part,
    now_ms: i64,
    cancel: &'a Cancel,
    progress: &'a Progress,
    outcome: Outcome,
}

impl All<'_> {
    /// The runs of all registered folders, with what is wrong with them.
    fn runs_of(&mut self, place: &StoreDir) -> Result<Vec<Run>> {
        let mut runs = Vec::new();
        let roots = match roots::list(self.disk, place, &[]) {
            Ok(roots) => roots,
            Err(Error::StoreRootsDamaged { path, reason }) => {
                self.problem(path, reason);
                Vec::new()
            }
            Err(error) => return Err(error),
        };
        for root in roots {
            let mut entries = match self.disk.list(&root) {
                Ok(entries) => entries,
                Err(error) => {
                    self.problem(root, format!("this folder of runs can't be read: {error}"));
                    continue;
                }
            };
            entries.sort_by(|left, right| left.name.cmp(&right.name));
            for entry in entries {
                let run_id = entry.name.to_str().map(RunId::parse);
                let (EntryKind::Directory, Some(Ok(run_id))) = (entry.kind, run_id) else {
                    continue;
                };
                let run = RunDir::new(&root, run_id);
                let found = run
                    .check(self.disk)
                    .and_then(|()| scan(self.disk, &run, Check::Checksum, self.cancel));
                match found {
                    Ok(scan) => runs.push(Run {
                        run,
                        scan,
                        lives: Lives::new(),
                    }),
                    Err(Error::Aborted) => return Err(Error::Aborted),
                    Err(error) => self.problem(run.path().to_path_buf(), error.full_message()),
                }
            }
        }
        Ok(runs)
    }

    fn problem(&mut self, path: PathBuf, reason: String) {
        self.outcome.problems.push(Problem {
            object: None,
            path,
            reason,
        });
    }

    /// Looks at all that the checkpoints need; with what was found of the structure of the store, also at
    /// what none needs.
    fn check(
        &mut self,
        store: &Store<'_>,
        runs: &mut [Run],
        structure: Option<check::Checked>,
    ) -> Result<()> {
        let whole_store = structure.is_some();
        let mut walk = Walk::new(store, self.cancel, self.progress)?;
        for run in runs.iter() {
            for good in &run.scan.good {
                walk.add(&good.header)?;
            }
        }
        for problem in structure.into_iter().flat_map(|checked| checked.faults) {
            match problem.object {
                Some(id) => walk.fault(id, problem.path, problem.reason),
                None => self.outcome.problems.push(problem),
            }
        }
        if self.request.reads() {
            walk.read(self.part, whole_store)?;
        }
        walk.spread();
        let subjects: Vec<Subject<'_>> = runs
            .iter()
            .enumerate()
            .flat_map(|(at, run)| run.scan.good.iter().map(move |good| (at, good)))
            .map(|(run, good)| Subject {
                run,
                header: &good.header,
            })
            .collect();
        let touched = walk.touched(&subjects)?;
        let mut lost: BTreeMap<(usize, String), Damage> = BTreeMap::new();
        for hurt in &touched.hurt {
            for touch in &hurt.touches {
                let object = hurt.object.to_string();
                let damage = if hurt.missing {
                    Damage::ObjectMissing(object)
                } else {
                    Damage::ObjectDamaged(object)
                };
                lost.entry((touch.run, touch.checkpoint_id.clone()))
                    .or_insert(damage);
            }
        }
        if touched.cut {
            self.outcome.warnings.push(format!(
                "damage touches more than {TOUCHES_MAX} places of a checkpoint; not all of them are told"
            ));
        }
        let mut gone = HashSet::new();
        for (at, run) in runs.iter_mut().enumerate() {
            let key = |good: &Good| (at, good.header.checkpoint_id.to_string());
            // One that was dropped meanwhile needs nothing.
            run.scan.good.retain(|good| {
                let exists = !lost.contains_key(&key(good))
                    || !matches!(self.disk.metadata(&good.path),
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound);
                if !exists {
                    gone.insert(key(good));
                }
                exists
            });
            split(&mut run.scan, &|_, good| lost.get(&key(good)).cloned());
        }
        let mut hurt = touched.hurt;
        for one in &mut hurt {
            one.touches
                .retain(|touch| !gone.contains(&(touch.run, touch.checkpoint_id.clone())));
        }
        if self.request.heal && !hurt.is_empty() {
            let ids: Vec<ObjectId> = hurt.iter().map(|one| one.object).collect();
            check::heal(store, &ids, self.now_ms, self.cancel)?;
            self.outcome.healed = ids;
        }
        // Of a run only what it needs, even if it was found on the way.
        hurt.retain(|one| whole_store || !one.touches.is_empty());
        self.outcome.hurt = hurt;
        self.outcome.objects = walk.objects();
        self.outcome.bytes = walk.bytes();
        Ok(())
    }

    /// Checks the runs' logs of changes; where that is asked for, a damaged one is written anew with what
    /// holds.
    fn changes(&mut self, runs: &mut [Run]) -> Result<()> {
        for Run { run, lives, .. } in runs {
            let log = match Changes::read(self.disk, run) {
                Ok(log) => log,
                Err(error) => {
                    self.problem(run.changes(), error.full_message());
                    continue;
                }
            };
            *lives = log.lives();
            let Some(problem) = log.problem else {
                continue;
            };
            if !self.request.heal {
                let reason = format!("the log of changes is damaged: {problem}");
                self.problem(run.changes(), reason);
                continue;
            }
            run.create_private(self.disk)?;
            let _lock = RunLock::acquire(self.disk, run, self.cancel)?;
            // Another process may have healed it meanwhile.
            let log = Changes::read(self.disk, run)?;
            if let Some(problem) = log.problem.clone() {
                let kept = log.heal(self.disk, run, self.now_ms)?;
                self.outcome.warnings.push(format!(
                    "the changes of run {} were damaged ({problem}) and written anew; {kept} of them could be kept: look at its states and pins",
                    run.run_id()
                ));
            }
        }
        Ok(())
    }

    /// Notes what was read and found whole, and tells when that was the last time.
    fn note(&mut self, runs: &mut [Run], exists: &dyn Fn(usize, &str) -> bool) {
        for (at, Run { run, scan, .. }) in runs.iter_mut().enumerate() {
            let mut verified = Verified::read(self.disk, run);
            if self.request.reads() && !(scan.good.is_empty() && scan.damaged.is_empty()) {
                let whole: Vec<&Header> = scan.good.iter().map(|good| &good.header).collect();
                let damaged: HashSet<&str> = scan
                    .damaged
                    .iter()
                    .map(|damaged| damaged.name.as_str())
                    .collect();
                verified.record(self.part, self.now_ms, &whole, &|id| {
                    exists(at, id) && !damaged.contains(id)
                });
                // A run that only other tools have written has no place for the note yet; what keeps it from
                // being made keeps the note from being written.
                let _ = run.create_private(self.disk);
                if let Err(error) = verified.write(self.disk, run) {
                    self.outcome.warnings.push(format!(
                        "what was verified can't be noted in {}: {error}{}",
                        run.verified().display(),
                        if self.part.of > 1 {
                            "; the next call looks at the same share again"
                        } else {
                            ""
                        }
                    ));
                }
            }
            for good in &mut scan.good {
                good.last_verified_ms = verified.last_ms(&good.header);
            }
        }
    }
}

/// Tells of each checkpoint when all of it was last verified and found whole.
pub(super) fn tell_when(context: &Context<'_>, good: &mut [Good]) {
    let verified = Verified::read(context.disk, context.run);
    for one in good {
        one.last_verified_ms = verified.last_ms(&one.header);
    }
}
