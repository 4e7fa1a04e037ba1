//! Keeps the store within its budget.
//!
//! The budget counts everything in the store's folder, and the room that gc needs to copy a pack. When
//! a checkpoint does not fit, unneeded objects go first; then retention goes further, the oldest
//! checkpoints of the run first, whatever the policy's numbers are. What must stay does in any case: the newest
//! good one, what is pinned, what another run began from, and what its class keeps for ever. Archives do not
//! count: they are what is to outlast the store's budget. What would not be enough
//! is not done: then nothing is stored, and nothing dropped, unless it was so close that only a gc
//! could tell; then the error names what was dropped.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::model::event::{Event, Kind};
use crate::model::retention::Retention;
use crate::ops::create::{Created, Request, create_once};
use crate::ops::state::open_store;
use crate::ops::{Context, events, gc, prune};
use crate::store::manifests::Good;
use crate::store::objects::{Limit, Store};
use crate::store::place::StoreDir;

/// A pack is at most this share of the budget, so that gc's copy of one is, too.
const PACKS: u64 = 8;
/// The smallest size of a pack, in bytes.
const PACK_MIN: u64 = 256 << 10;

/// How much more than needed is freed at first, in bytes.
const SLACK: u64 = 16 << 10;

/// Takes a checkpoint, making room for it if need be.
pub(super) fn create_within(
    context: &Context<'_>,
    request: &Request<'_>,
    place: &StoreDir,
    max: u64,
) -> Result<Created> {
    let pack_max = pack_max(max);
    let unlimited = Retention::default();
    let policy = request.retention.as_ref().unwrap_or(&unlimited);
    let create = |limit| create_once(context, request, limit, pack_max);
    let room = || room(context, place, max, pack_max);
    match create(Limit::Bytes(room()?)) {
        Err(Error::StoreBudget { .. }) => {}
        done => return done,
    }
    let needed = match create(Limit::Measure) {
        Err(Error::StoreBudget { needed, .. }) => needed,
        done => return done,
    };
    let mut dropped = Vec::new();
    // What is live says nearly how much is left after a gc, but not of heads and half-filled blocks.
    let mut slack = SLACK;
    let mut created = loop {
        match make_room(context, place, policy, max, needed + slack) {
            Ok(more) => dropped.extend(more),
            Err(Error::StoreBudget {
                path,
                needed,
                allowed,
                dropped: more,
            }) => {
                dropped.extend(more);
                return Err(Error::StoreBudget {
                    path,
                    needed,
                    allowed,
                    dropped,
                });
            }
            Err(error) => return Err(error),
        }
        let room = room()?;
        match create(Limit::Bytes(room)) {
            Err(Error::StoreBudget { needed, .. }) => slack += needed.saturating_sub(room) + SLACK,
            done => break done?,
        }
    };
    if !dropped.is_empty() {
        created.warnings.push(format!(
            "dropped {} to stay within the store's budget of {max} bytes",
            dropped.join(", ")
        ));
        let event = Event::new(Kind::Budget, "create")
            .of(created.checkpoint_id.as_str())
            .with("max_bytes", max)
            .with("dropped", dropped.clone());
        created.warnings.extend(events::note(context, event));
        created.dropped.splice(0..0, dropped);
    }
    Ok(created)
}

/// A pack is not filled any more from this length on, with a budget of `max` bytes.
pub(super) fn pack_max(max: u64) -> u64 {
    (max / PACKS).max(PACK_MIN)
}

/// How many bytes may be added now.
pub(super) fn room(
    context: &Context<'_>,
    place: &StoreDir,
    max: u64,
    pack_max: u64,
) -> Result<u64> {
    let used = place.used_bytes(context.disk)?;
    Ok(max
        .saturating_sub(used)
        .saturating_sub(working(context, place, pack_max)?))
}

/// What gc needs beside what there is: a copy of the largest pack.
fn working(context: &Context<'_>, place: &StoreDir, pack_max: u64) -> Result<u64> {
    let packs = place.packs_taken(context.disk)?;
    let largest = packs.iter().map(|(_, len)| *len).max();
    Ok(largest.unwrap_or(0).max(pack_max))
}

/// Frees enough for `needed` more bytes, or nothing. Gives the checkpoints it dropped.
fn make_room(
    context: &Context<'_>,
    place: &StoreDir,
    policy: &Retention,
    max: u64,
    needed: u64,
) -> Result<Vec<String>> {
    let pack_max = pack_max(max);
    let Some(store) = open_store(context)? else {
        return Err(refused(place, needed, 0));
    };
    let scan = prune::scan(context)?;
    let packs = place.packs_taken(context.disk)?;
    let beside = place
        .used_bytes(context.disk)?
        .saturating_sub(packs.iter().map(|(_, taken)| taken).sum());
    // The copy of a pack that gc makes is no larger than what it was made from is then.
    let usable = max
        .saturating_sub(beside)
        .saturating_sub(working(context, place, pack_max)?);
    let judged = prune::judge(context, &scan, policy)?;
    // Newest first.
    let may_go: Vec<&Good> = scan
        .good
        .iter()
        .zip(&judged)
        .filter(|(_, one)| !one.must_stay)
        .map(|(good, _)| good)
        .collect();
    let mut most = 0;
    let mut kept = may_go.len();
    loop {
        let gone: Vec<_> = may_go[kept..]
            .iter()
            .map(|good| good.path.clone())
            .collect();
        let live = gc::live_bytes_without(&store, &gone, context.now_ms, context.cancel)?;
        let allowed = usable.saturating_sub(live);
        most = most.max(allowed);
        if allowed >= needed {
            break;
        }
        if kept == 0 {
            return Err(refused(place, needed, most));
        }
        // With many checkpoints, bigger and bigger steps.
        let step = (may_go.len() - kept + 1).min(kept);
        kept -= step;
    }
    let going = may_go[kept..].iter();
    let going: HashSet<String> = going
        .map(|good| good.header.checkpoint_id.to_string())
        .collect();
    let dropped = drop_all(context, policy, &going)?;
    collect(context, &store, pack_max)?;
    if dropped.len() < going.len() {
        // Something could not be archived: what was counted on is not there.
        return Err(Error::StoreBudget {
            path: place.path().to_path_buf(),
            needed,
            allowed: room(context, place, max, pack_max)?,
            dropped,
        });
    }
    Ok(dropped)
}

fn drop_all(
    context: &Context<'_>,
    policy: &Retention,
    going: &HashSet<String>,
) -> Result<Vec<String>> {
    if going.is_empty() {
        return Ok(Vec::new());
    }
    let pruned = prune::drop_named(context, "create", policy, going)?;
    let dropped = pruned
        .decisions
        .into_iter()
        .filter(prune::Decision::is_dropped);
    Ok(dropped.map(|decision| decision.checkpoint_id).collect())
}

/// Drops every object that nobody needs.
pub(super) fn collect(context: &Context<'_>, store: &Store<'_>, pack_max: u64) -> Result<()> {
    let request = gc::Request {
        max_unused: 0.0,
        pack_max,
        ..gc::Request::default()
    };
    // The checkpoint's own progress is what is shown.
    let unseen = crate::model::progress::Progress::default();
    gc::collect(store, &request, context.now_ms, context.cancel, &unseen).map(|_| ())
}

fn refused(place: &StoreDir, needed: u64, allowed: u64) -> Error {
    Error::StoreBudget {
        path: place.path().to_path_buf(),
        needed,
        allowed,
        dropped: Vec::new(),
    }
}
