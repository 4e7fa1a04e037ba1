//! Drops checkpoints of a run by policy.
//!
//! The registry forgets them first, then they go: a kill in between leaves checkpoints without an
//! entry, never entries without a checkpoint.

use std::collections::HashSet;

use crate::error::{Error, IoContext, Result};
use crate::model::event::{Event, Kind};
use crate::model::manifest::Check;
use crate::model::retention::{Retention, Verdict};
use crate::model::time::to_iso;
use crate::ops::Context;
use crate::ops::create::{parse_registry, read_registry, registry_of};
use crate::ops::events;
use crate::ops::registration::Plan;
use crate::store::manifests::{self, Scan};
use crate::store::publish::{Staged, remove, sync_parent};

/// What the policy says of one checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The checkpoint.
    pub checkpoint_id: String,
    /// Whether it stays, and why.
    pub verdict: Verdict,
    /// Its manifest's size in bytes; 0 for a damaged one.
    pub size: u64,
}

impl Decision {
    /// True if it goes.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        self.verdict == Verdict::Drop
    }
}

/// Drops what the policy does not keep. With `dry_run` it only decides.
pub fn prune(context: &Context<'_>, retention: Retention, dry_run: bool) -> Result<Vec<Decision>> {
    events::watch(context, "prune", || {
        prune_for(context, "prune", retention, dry_run)
    })
}

/// The same for an operation of another name.
pub(super) fn prune_for(
    context: &Context<'_>,
    operation: &str,
    retention: Retention,
    dry_run: bool,
) -> Result<Vec<Decision>> {
    if dry_run {
        context.run.check(context.disk)?;
        let scan = manifests::scan(context.disk, context.run, Check::Seal, context.cancel)?;
        return Ok(decide(&scan, retention));
    }
    let (_lock, _) = context.begin()?;
    let scan = manifests::scan(context.disk, context.run, Check::Seal, context.cancel)?;
    let decisions = decide(&scan, retention);
    let dropped: HashSet<&str> = decisions
        .iter()
        .filter(|decision| decision.verdict == Verdict::Drop)
        .map(|decision| decision.checkpoint_id.as_str())
        .collect();
    context.cancel.check()?;
    if let Some(bytes) = read_registry(context)? {
        let json = parse_registry(context, &bytes)?;
        let registry = registry_of(context, &json)?;
        let plan = Plan::new(&registry.survey(), &scan, &dropped);
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
                    remove_all(context, &scan, &dropped)?;
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
    remove_all(context, &scan, &dropped)?;
    note(context, operation, &decisions);
    Ok(decisions)
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
    events::Ledger::from(context).note_aside(&events);
}

fn remove_all(context: &Context<'_>, scan: &Scan, dropped: &HashSet<&str>) -> Result<()> {
    for good in &scan.good {
        if dropped.contains(good.header.checkpoint_id.as_str()) {
            remove(context.disk, &good.path)?;
        }
    }
    Ok(())
}

fn decide(scan: &Scan, retention: Retention) -> Vec<Decision> {
    let verdicts = retention.judge(scan.good.len());
    let good = scan
        .good
        .iter()
        .zip(verdicts)
        .map(|(good, verdict)| Decision {
            checkpoint_id: good.header.checkpoint_id.to_string(),
            verdict,
            size: good.size,
        });
    let damaged = scan.damaged.iter().map(|damaged| Decision {
        checkpoint_id: damaged.name.clone(),
        verdict: Verdict::KeepDamaged,
        size: 0,
    });
    good.chain(damaged).collect()
}
