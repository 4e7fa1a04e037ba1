//! Drops checkpoints of a run by policy.
//!
//! What is to be archived is archived first, durably. Then the registry forgets them, then they go: a kill
//! in between leaves checkpoints that are in an archive as well, or have no entry, never entries without a
//! checkpoint.

use std::collections::HashSet;

use crate::error::{Error, IoContext, Result};
use crate::model::event::{Event, Kind};
use crate::model::lifecycle::{Life, Pin};
use crate::model::manifest::Check;
use crate::model::retention::{self, Candidate, Reason, Retention};
use crate::model::run_record;
use crate::model::step::Step;
use crate::model::time::to_iso;
use crate::ops::Context;
use crate::ops::archive::{self, Archived};
use crate::ops::create::{
    parse_registry, parse_run_record, read_registry, read_run_record, registry_of,
};
use crate::ops::events;
use crate::ops::fork::holding_forks;
use crate::ops::lifecycle;
use crate::ops::registration::Plan;
use crate::ops::restore::Restored;
use crate::ops::state::without_missing_objects;
use crate::store::manifests::{self, Scan};
use crate::store::publish::{Staged, remove, sync_parent};

/// What the policy says of one checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The checkpoint.
    pub checkpoint_id: String,
    /// The step and the time of creation, ISO 8601; `None` for a damaged one.
    pub taken: Option<(Step, String)>,
    /// Whether it stays.
    pub keep: bool,
    /// Why, all of it; at least one.
    pub reasons: Vec<Reason>,
    /// Its manifest's size in bytes; 0 for a damaged one.
    pub size: u64,
}

impl Decision {
    /// True if it goes.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        !self.keep
    }
}

/// What a prune did, or would do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pruned {
    /// One decision for each checkpoint: the good ones newest first, then the damaged ones.
    pub decisions: Vec<Decision>,
    /// What was archived before it went.
    pub archived: Vec<Archived>,
    /// What stays because it can't be archived, and why, in words.
    pub warnings: Vec<String>,
}

/// Drops what the policy does not keep. With `dry_run` it only decides.
pub fn prune(context: &Context<'_>, retention: &Retention, dry_run: bool) -> Result<Pruned> {
    events::watch(context, "prune", || prune_now(context, retention, dry_run))
}

fn prune_now(context: &Context<'_>, retention: &Retention, dry_run: bool) -> Result<Pruned> {
    if dry_run {
        context.run.check(context.disk)?;
        let scan = scan(context)?;
        return Ok(Pruned {
            decisions: decide(context, &scan, retention)?,
            ..Pruned::default()
        });
    }
    let (_lock, _) = context.begin()?;
    let scan = scan(context)?;
    let decisions = decide(context, &scan, retention)?;
    drop_decided(context, "prune", &scan, decisions, retention.archive)
}

/// The run's checkpoints. Those that lack something in the store count as damaged: the newest that stays is one
/// that can be restored.
pub(super) fn scan(context: &Context<'_>) -> Result<Scan> {
    let (disk, run) = (context.disk, context.run);
    let mut scan = manifests::scan(disk, run, Check::Seal, context.cancel)?;
    without_missing_objects(context, &mut scan)?;
    Ok(scan)
}

/// Drops checkpoints of the run by name, but for those that must stay; for the store's budget.
pub(super) fn drop_named(
    context: &Context<'_>,
    operation: &str,
    retention: &Retention,
    named: &HashSet<String>,
) -> Result<Pruned> {
    let (_lock, _) = context.begin()?;
    let scan = scan(context)?;
    let judged = judge(context, &scan, retention)?;
    let mut decisions = decisions_of(&scan, &judged);
    for (decision, judged) in decisions.iter_mut().zip(&judged) {
        decision.keep = judged.must_stay || !named.contains(&decision.checkpoint_id);
        if !decision.keep {
            decision.reasons = vec![Reason::Budget];
        }
    }
    drop_decided(context, operation, &scan, decisions, retention.archive)
}

/// Drops what is decided. The run's lock is held.
fn drop_decided(
    context: &Context<'_>,
    operation: &str,
    scan: &Scan,
    mut decisions: Vec<Decision>,
    archive: bool,
) -> Result<Pruned> {
    let (mut archived, mut warnings) = (Vec::new(), Vec::new());
    if archive {
        for decision in decisions.iter_mut().filter(|one| one.is_dropped()) {
            let mut good = scan.good.iter();
            let good =
                good.find(|good| good.header.checkpoint_id.as_str() == decision.checkpoint_id);
            let Some(good) = good else { continue };
            match archive::archive(context, good) {
                Ok(done) => archived.push(done),
                Err(error) if is_its_own(&error) => {
                    warnings.push(stays(&decision.checkpoint_id, &error));
                    decision.keep = true;
                    decision.reasons = vec![Reason::NotArchived];
                }
                Err(error) => return Err(error),
            }
        }
    }
    let dropped: HashSet<&str> = decisions
        .iter()
        .filter(|decision| decision.is_dropped())
        .map(|decision| decision.checkpoint_id.as_str())
        .collect();
    context.cancel.check()?;
    if !dropped.is_empty() {
        let due = events::due_pruned(operation, dropped.iter().copied());
        events::begin(context, due.collect());
    }
    if let Some(bytes) = read_registry(context)? {
        let json = parse_registry(context, &bytes)?;
        let registry = registry_of(context, &json)?;
        let plan = Plan::new(&registry.survey(), scan, &dropped);
        if plan.dangling || !plan.missing.is_empty() {
            // What the registry will name may only be visible yet, left so by a killed create.
            let checkpoints = context.run.checkpoints();
            context
                .disk
                .sync_dir(&checkpoints)
                .context("sync", &checkpoints)?;
            let now = to_iso(context.now_ms);
            let bytes = registry
                .edited(&|id| plan.is_gone(id), &plan.missing, Some(&now))
                .to_pretty();
            let stage = || Staged::write(context.disk, context.run.staged("registry"), &bytes);
            let staged = match stage() {
                // A full disk is what one prunes for. Entries of checkpoints that are gone do less
                // harm than that, and the next operation removes them if this one is killed here.
                Err(Error::DiskFull { .. }) if !dropped.is_empty() => {
                    remove_all(context, scan, &dropped)?;
                    stage()?
                }
                staged => staged?,
            };
            staged.publish_over(&context.run.registry())?;
        } else if !dropped.is_empty() {
            // The registry forgot them already, but perhaps not durably: a prune was killed here.
            sync_parent(context.disk, &context.run.registry())?;
        }
    }
    remove_all(context, scan, &dropped)?;
    if !dropped.is_empty() {
        let ids = scan
            .good
            .iter()
            .map(|good| good.header.checkpoint_id.as_str());
        let stay: HashSet<&str> = ids.filter(|id| !dropped.contains(id)).collect();
        if let Err(error) = lifecycle::tidy(context, &|id| stay.contains(id)) {
            warnings.push(error.full_message());
        }
    }
    note(context, operation, &decisions);
    Ok(Pruned {
        decisions,
        archived,
        warnings,
    })
}

/// Notes what was dropped.
fn note(context: &Context<'_>, operation: &str, decisions: &[Decision]) {
    let reason = if operation == "prune" {
        "superseded"
    } else {
        "budget"
    };
    let dropped = decisions.iter().filter(|decision| decision.is_dropped());
    let events: Vec<_> = dropped
        .map(|decision| {
            Event::new(Kind::Pruned, operation)
                .of(&decision.checkpoint_id)
                .with("reason", reason)
                .with("bytes", decision.size)
        })
        .map(|event| events::about(context.run, event))
        .collect();
    let warning = events::Ledger::from(context).note(&events);
    if !events.is_empty() {
        events::end_noted(context, warning.as_ref());
    }
    context.progress.session.tell([], warning);
}

fn remove_all(context: &Context<'_>, scan: &Scan, dropped: &HashSet<&str>) -> Result<()> {
    for good in &scan.good {
        if dropped.contains(good.header.checkpoint_id.as_str()) {
            remove(context.disk, &good.path)?;
        }
    }
    Ok(())
}

/// True if a checkpoint is not in an archive for its own sake: it is damaged, or something else is in its
/// place. Any other error is one of the whole prune.
fn is_its_own(error: &Error) -> bool {
    matches!(
        error,
        Error::CheckpointDamaged { .. } | Error::PathExists { .. } | Error::ArchiveFormat { .. }
    )
}

/// Tells that a checkpoint stays because it could not be archived.
pub(super) fn stays(checkpoint_id: &str, error: &Error) -> String {
    format!(
        "{checkpoint_id} stays, because it can't be archived: {}",
        error.full_message()
    )
}

/// The checkpoints of a run, as far as retention goes: the good ones in their order, then the damaged ones.
///
/// While the log of changes can't be trusted all of them count as pinned: a pin may be what it lost.
pub(super) fn candidates<'s>(context: &Context<'_>, scan: &'s Scan) -> Result<Vec<Candidate<'s>>> {
    let known = lifecycle::known(context)?;
    let untrusted = known.problem.map(|problem| Pin {
        reason: format!(
            "the log of changes is damaged ({problem}); waymark verify {} --heal",
            context.run.run_id()
        ),
        until_ms: None,
    });
    let fresh = Life::default();
    let standing = Restored::read(context)
        .filter(|restored| {
            let mut taken = scan.good.iter().filter_map(|good| good.header.sequence);
            !taken.any(|sequence| sequence > restored.after_sequence)
        })
        .map(|restored| restored.checkpoint_id);
    let good = scan.good.iter().map(|good| {
        let id = good.header.checkpoint_id.as_str();
        let life = known.lives.get(id).unwrap_or(&fresh);
        // An update that does not fit was refused when it was made.
        let facts = life
            .facts(good.header.facts.as_ref())
            .unwrap_or_default()
            .unwrap_or_default();
        Candidate {
            id,
            created_ms: good.header.created_ms,
            sequence: good.header.sequence,
            labels: facts.labels,
            class: facts.class,
            pin: untrusted.clone().or_else(|| life.pin.clone()),
            // A fork that is gone holds nothing.
            fork_base: !holding_forks(context.disk, context.run.runs_dir(), life).is_empty(),
            standing: standing.as_deref() == Some(id),
            damaged: false,
        }
    });
    let damaged = scan.damaged.iter().map(|damaged| Candidate {
        id: &damaged.name,
        damaged: true,
        ..Candidate::default()
    });
    Ok(good.chain(damaged).collect())
}

/// Whether the run is paused. A record that can't be read says nothing.
fn is_paused(context: &Context<'_>) -> bool {
    let Ok(bytes) = read_run_record(context) else {
        return false;
    };
    parse_run_record(context, &bytes).is_ok_and(|record| run_record::is_paused(record.root()))
}

/// What the policy says, in the order of [`candidates`].
pub(super) fn judge(
    context: &Context<'_>,
    scan: &Scan,
    retention: &Retention,
) -> Result<Vec<retention::Decision>> {
    let candidates = candidates(context, scan)?;
    let mut judged = retention.judge(&candidates, is_paused(context), context.now_ms);
    judged.sort_by_key(|one| one.at);
    Ok(judged)
}

fn decide(context: &Context<'_>, scan: &Scan, retention: &Retention) -> Result<Vec<Decision>> {
    Ok(decisions_of(scan, &judge(context, scan, retention)?))
}

fn decisions_of(scan: &Scan, judged: &[retention::Decision]) -> Vec<Decision> {
    let good = scan.good.iter().map(|good| {
        let header = &good.header;
        let taken = (header.step.clone(), header.timestamp.clone());
        (header.checkpoint_id.to_string(), Some(taken), good.size)
    });
    let damaged = scan.damaged.iter();
    let damaged = damaged.map(|damaged| (damaged.name.clone(), None, 0));
    good.chain(damaged)
        .zip(judged)
        .map(|((checkpoint_id, taken, size), one)| Decision {
            checkpoint_id,
            taken,
            keep: one.keep,
            reasons: one.reasons.clone(),
            size,
        })
        .collect()
}
