//! Takes, renews and gives back the lease of a run: one holder at a time, known to all.
//!
//! The visible moment is the lease's file getting its name. It is taken under the run's lock, and the verbs that
//! record something hold a caller's token against it under that lock as well: so what is recorded is recorded
//! before a take-over or refused after it.

use crate::error::{Error, Result};
use crate::model::lease::{Lease, Standing, System, TTL_MS, Wanted, check_ttl};
use crate::ops::Context;
use crate::store::disk::Disk;
use crate::store::layout::RunDir;
use crate::store::leases::{self, Found, LeaseLock};
use crate::store::lock::RunLock;

/// A lease, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The lease.
    pub lease: Lease,
    /// How it stands.
    pub standing: Standing,
}

/// What is known of a run's lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// There never was one.
    Nothing,
    /// This is the last one.
    Known(Known),
    /// Its file can't be trusted.
    Damaged {
        /// What is wrong with it.
        reason: &'static str,
        /// When it was written last, in milliseconds since 1970.
        modified_ms: i64,
        /// Whether it still keeps others out.
        holds: bool,
    },
}

/// A lease that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The lease.
    pub lease: Lease,
    /// The one before, if it was another's that had not given it back.
    pub took_over: Option<Known>,
}

/// True if a damaged file is too old to be a live holder's, who would have renewed it.
fn is_old(modified_ms: i64, ttl_ms: u64, now_ms: i64) -> bool {
    now_ms.abs_diff(modified_ms) > ttl_ms
}

fn standing(disk: &dyn Disk, lease: &Lease, here: &System, now_ms: i64) -> Standing {
    lease.standing(here, now_ms, |pid| disk.process(pid))
}

/// Tells how the lease of a run stands.
pub(super) fn look_at(disk: &dyn Disk, run: &RunDir, now_ms: i64) -> Result<Look> {
    Ok(match leases::read(disk, run)? {
        Found::Nothing => Look::Nothing,
        Found::Lease(lease) => Look::Known(Known {
            standing: standing(disk, &lease, &disk.system(), now_ms),
            lease,
        }),
        Found::Damaged {
            reason,
            modified_ms,
        } => Look::Damaged {
            reason,
            modified_ms,
            holds: !is_old(modified_ms, TTL_MS, now_ms),
        },
    })
}

/// Tells how the lease of a run stands.
pub fn look(context: &Context<'_>) -> Result<Look> {
    context.run.check(context.disk)?;
    look_at(context.disk, context.run, context.now_ms)
}

fn held(run: &RunDir, lease: Lease) -> Error {
    Error::LeaseHeld {
        run_id: run.run_id().to_string(),
        path: leases::path(run),
        lease: Box::new(lease),
    }
}

fn lost(run: &RunDir, token: u64, lease: Option<Lease>) -> Error {
    Error::LeaseLost {
        run_id: run.run_id().to_string(),
        path: leases::path(run),
        token,
        lease: lease.map(Box::new),
    }
}

fn damaged(run: &RunDir, reason: &'static str) -> Error {
    Error::LeaseDamaged {
        run_id: run.run_id().to_string(),
        path: leases::path(run),
        reason,
    }
}

impl Context<'_> {
    /// Refuses a caller whose lease was taken over, and one without a lease while somebody holds one. The caller
    /// holds the run's lock.
    ///
    /// Gives [`Error::LeaseLost`], [`Error::LeaseHeld`] or [`Error::LeaseDamaged`].
    pub(super) fn fence(&self) -> Result<()> {
        match (leases::read(self.disk, self.run)?, self.lease) {
            (Found::Lease(lease), Some(token)) if token < lease.token => {
                Err(lost(self.run, token, Some(lease)))
            }
            (Found::Nothing, _) | (Found::Lease(_), Some(_)) => Ok(()),
            (Found::Lease(lease), None) => {
                match standing(self.disk, &lease, &self.disk.system(), self.now_ms) {
                    Standing::Live => Err(held(self.run, lease)),
                    _ => Ok(()),
                }
            }
            (
                Found::Damaged {
                    reason,
                    modified_ms,
                },
                _,
            ) => {
                if is_old(modified_ms, TTL_MS, self.now_ms) {
                    Ok(())
                } else {
                    Err(damaged(self.run, reason))
                }
            }
        }
    }
}

/// Takes the lease of a run, at once if nobody live holds it; or prolongs it, if the caller's token is the newest.
///
/// Gives [`Error::LeaseHeld`] if somebody holds it, [`Error::LeaseLost`] if the caller's token is not the newest,
/// [`Error::LeaseDamaged`] while its file can't be trusted and is not older than the lease would last,
/// [`Error::OptionValue`] for a name or a time that can't be.
pub fn acquire(context: &Context<'_>, wanted: &Wanted) -> Result<Taken> {
    wanted.check()?;
    let (disk, run) = (context.disk, context.run);
    context.cancel.check()?;
    run.check(disk)?;
    let here = disk.system();
    // Told at once, not after waiting for what the holder is busy with.
    may_take(context, wanted, &here)?;
    run.create_private(disk)?;
    let _run = RunLock::acquire(disk, run, context.cancel)?;
    let _lease = LeaseLock::acquire(disk, run, context.cancel)?;
    // What the caller called the time may be long ago by now; the machine's own clock is asked again.
    let here = disk.system();
    let before = may_take(context, wanted, &here)?;
    let own = |lease: &Lease| wanted.token == Some(lease.token);
    let lease = match &before {
        Before::Known(known) if own(&known.lease) && known.standing == Standing::Live => {
            known.lease.renewed(wanted.ttl_ms, &here, context.now_ms)
        }
        before => {
            let now = u64::try_from(context.now_ms).unwrap_or(0);
            let token = match before {
                Before::Known(known) if own(&known.lease) => known.lease.token,
                Before::Known(known) => now.max(known.lease.token.saturating_add(1)),
                // A token was the time, and one more than the one before, when that was later.
                Before::Damaged { modified_ms } => {
                    let after = modified_ms.saturating_add(1);
                    now.max(u64::try_from(after).unwrap_or(0))
                }
                Before::Nothing => now,
            };
            let token = token.max(wanted.token.unwrap_or(0));
            Lease::begin(token, wanted, &here, context.now_ms)
        }
    };
    context.cancel.check()?;
    leases::write(disk, run, &lease)?;
    let took_over = match before {
        Before::Known(known)
            if known.lease.token != lease.token && known.standing != Standing::Released =>
        {
            Some(known)
        }
        _ => None,
    };
    Ok(Taken { lease, took_over })
}

enum Before {
    Nothing,
    Known(Known),
    Damaged { modified_ms: i64 },
}

fn may_take(context: &Context<'_>, wanted: &Wanted, here: &System) -> Result<Before> {
    let (disk, run) = (context.disk, context.run);
    match leases::read(disk, run)? {
        Found::Nothing => Ok(Before::Nothing),
        Found::Lease(lease) => {
            let standing = standing(disk, &lease, here, context.now_ms);
            match wanted.token {
                Some(token) if token < lease.token => return Err(lost(run, token, Some(lease))),
                Some(token) if token == lease.token => {}
                _ if standing == Standing::Live && !wanted.force => {
                    return Err(held(run, lease));
                }
                _ => {}
            }
            Ok(Before::Known(Known { lease, standing }))
        }
        Found::Damaged {
            reason,
            modified_ms,
        } => {
            if wanted.force || is_old(modified_ms, wanted.ttl_ms, context.now_ms) {
                Ok(Before::Damaged { modified_ms })
            } else {
                Err(damaged(run, reason))
            }
        }
    }
}

/// Renews a lease, from now for `ttl_ms`. One that has expired meanwhile is renewed as well, if nobody took it.
///
/// Gives [`Error::LeaseLost`] if the token is not the newest, or it was given back.
pub fn renew(context: &Context<'_>, token: u64, ttl_ms: u64) -> Result<Lease> {
    renew_if(context, token, ttl_ms, |_, _| true)
}

/// Begins to keep a lease: renews it, as [`renew`] does, unless that was done a moment ago.
pub fn keep(context: &Context<'_>, token: u64, ttl_ms: u64) -> Result<Lease> {
    renew_if(context, token, ttl_ms, |lease, here| {
        !lease.is_fresh(ttl_ms, here)
    })
}

fn renew_if(
    context: &Context<'_>,
    token: u64,
    ttl_ms: u64,
    is_due: impl FnOnce(&Lease, &System) -> bool,
) -> Result<Lease> {
    check_ttl(ttl_ms)?;
    change(context, token, |lease| {
        let here = context.disk.system();
        if !is_due(&lease, &here) {
            return Ok(lease);
        }
        let lease = lease.renewed(ttl_ms, &here, context.now_ms);
        leases::write(context.disk, context.run, &lease)?;
        Ok(lease)
    })
}

/// Gives a lease back; `false` if it was not the caller's any more, or given back before.
pub fn release(context: &Context<'_>, token: u64) -> Result<bool> {
    let done = change(context, token, |lease| {
        let lease = Lease {
            released: true,
            ..lease
        };
        leases::write(context.disk, context.run, &lease)
    });
    match done {
        Ok(()) => Ok(true),
        Err(Error::LeaseLost { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn change<T>(context: &Context<'_>, token: u64, act: impl FnOnce(Lease) -> Result<T>) -> Result<T> {
    let (disk, run) = (context.disk, context.run);
    run.check(disk)?;
    if !run.has_private(disk)? {
        return Err(lost(run, token, None));
    }
    let _lease = LeaseLock::acquire(disk, run, context.cancel)?;
    match leases::read(disk, run)? {
        Found::Nothing => Err(lost(run, token, None)),
        Found::Lease(lease) if lease.token == token && !lease.released => act(lease),
        Found::Lease(lease) => Err(lost(run, token, Some(lease))),
        Found::Damaged { reason, .. } => Err(damaged(run, reason)),
    }
}
