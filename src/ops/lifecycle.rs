//! What happens to a checkpoint after it was taken: its state, what is said of it, whether it must stay.
//!
//! The visible moment is the line in the run's log of changes; manifests stay as they are.

use crate::error::{Error, Result};
use crate::model::event::{Event, Kind};
use crate::model::facts::Facts;
use crate::model::ids::CheckpointId;
use crate::model::lifecycle::{Change, Failure, Life, Lives, Pin, State, check_move};
use crate::model::manifest::{Check, Header, inspect};
use crate::ops::Context;
use crate::ops::events;
use crate::store::changes::{COMPACT_FROM, Changes};
use crate::store::layout::RunDir;
use crate::store::manifests::bytes_of;

/// What to do with a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// It is worked from now.
    Activate,
    /// What it was taken for is done.
    Complete {
        /// What is said of it besides: a merge patch over its facts.
        update: Option<serde_json::Value>,
    },
    /// What it was taken for failed.
    Fail {
        /// Why.
        failure: Failure,
        /// What is said of it besides: a merge patch over its facts.
        update: Option<serde_json::Value>,
    },
    /// Something is said of it: a merge patch over its facts.
    Update(serde_json::Value),
    /// It must stay.
    Pin(Pin),
    /// It need not stay any more.
    Unpin,
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Activate => "activate",
            Self::Complete { .. } => "complete",
            Self::Fail { .. } => "fail",
            Self::Update(_) => "update",
            Self::Pin(_) => "pin",
            Self::Unpin => "unpin",
        }
    }

    /// What the audit log says of it.
    fn event(&self, id: &CheckpointId, after: &Become) -> Event {
        let kind = match self {
            Self::Complete { .. } => Kind::Completed,
            Self::Fail { .. } => Kind::Failed,
            _ => Kind::Updated,
        };
        let state = after.life.state().as_str();
        let event = Event::new(kind, self.name())
            .of(id.as_str())
            .with("state", state);
        match self {
            Self::Update(facts) => {
                let names = facts.as_object().into_iter().flatten();
                let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
                event.with("facts", names)
            }
            Self::Pin(pin) => event.with("reason", pin.reason.as_str()),
            Self::Fail { failure, .. } => {
                let message = failure.message.as_deref().unwrap_or_default();
                event.with("message", crate::model::ids::shorten(message))
            }
            _ => event,
        }
    }
}

/// A checkpoint as it has become.
#[derive(Debug, Clone, PartialEq)]
pub struct Become {
    /// What its manifest says.
    pub header: Header,
    /// What happened to it since.
    pub life: Life,
}

impl Become {
    /// What is said of it now.
    pub fn facts(&self) -> Result<Option<Facts>> {
        self.life.facts(self.header.facts.as_ref())
    }
}

/// The longest text of a failure or a pin, in characters; a stack may be eight times as long.
const TEXT_MAX: usize = 8192;

/// Does something with a checkpoint, durably, and tells what it has become.
///
/// Gives [`Error::StateTransition`] for a move that is not legal, [`Error::FactsInvalid`] for an update
/// that can't be, [`Error::ChangesDamaged`] if the run's log of changes can't be trusted; but for pins also
/// [`Error::LeaseHeld`] and [`Error::LeaseLost`].
pub fn change(context: &Context<'_>, id: &CheckpointId, command: &Command) -> Result<Become> {
    events::watch(context, command.name(), || change_now(context, id, command))
}

fn change_now(context: &Context<'_>, id: &CheckpointId, command: &Command) -> Result<Become> {
    let (_lock, _) = context.begin()?;
    // Whether it must stay is for people to say, whoever works on the run.
    if !matches!(command, Command::Pin(_) | Command::Unpin) {
        context.fence()?;
    }
    let header = header(context, id)?;
    let log = Changes::read(context.disk, context.run)?;
    log.check(context.run)?;
    let life = log.lives().remove(id.as_str()).unwrap_or_default();
    let mut after = Become { header, life };
    let changes = after.changes(id, command)?;
    context.cancel.check()?;
    for change in &changes {
        after.life.play(change, context.now_ms);
    }
    // An update that does not fit is refused as a whole.
    after.facts()?;
    let lines = changes
        .into_iter()
        .map(|change| (id.to_string(), change, context.now_ms));
    log.append(context.disk, context.run, lines)?;
    events::Ledger::from(context)
        .note_aside(&[events::about(context.run, command.event(id, &after))]);
    Ok(after)
}

impl Become {
    fn changes(&self, id: &CheckpointId, command: &Command) -> Result<Vec<Change>> {
        let from = self.life.state();
        let step = |to: State, failure: Option<Failure>, update: Option<&serde_json::Value>| {
            check_move(id.as_str(), from, to)?;
            let update = update.map(|facts| Change::Update {
                facts: facts.clone(),
            });
            let state = Change::State { from, to, failure };
            Ok(update.into_iter().chain([state]).collect())
        };
        match command {
            Command::Activate => step(State::Active, None, None),
            Command::Complete { update } => step(State::Completed, None, update.as_ref()),
            Command::Fail { failure, update } => {
                check_failure(failure)?;
                step(State::Failed, Some(failure.clone()), update.as_ref())
            }
            Command::Update(facts) => Ok(vec![Change::Update {
                facts: facts.clone(),
            }]),
            Command::Pin(pin) => {
                text("reason", &pin.reason, TEXT_MAX)?;
                if pin.reason.trim().is_empty() {
                    return Err(Error::OptionValue {
                        name: "reason",
                        reason: "it is empty; say why the checkpoint must stay".to_owned(),
                    });
                }
                Ok(vec![Change::Pin { pin: pin.clone() }])
            }
            // Nothing to take away is what was wanted.
            Command::Unpin if self.life.pin.is_none() => Ok(Vec::new()),
            Command::Unpin => Ok(vec![Change::Unpin {}]),
        }
    }
}

fn check_failure(failure: &Failure) -> Result<()> {
    let texts = [
        (&failure.name, TEXT_MAX),
        (&failure.message, TEXT_MAX),
        (&failure.code, TEXT_MAX),
        (&failure.stack, 8 * TEXT_MAX),
    ];
    for (one, max) in texts {
        if let Some(one) = one {
            text("error", one, max)?;
        }
    }
    let details = serde_json::to_vec(&failure.details).map_or(0, |bytes| bytes.len());
    if details > crate::model::facts::FACTS_MAX {
        return Err(Error::OptionValue {
            name: "error",
            reason: format!("its details have {details} bytes of JSON; 65536 are allowed"),
        });
    }
    Ok(())
}

fn text(name: &'static str, text: &str, max: usize) -> Result<()> {
    let found = text.chars().count();
    if found > max {
        return Err(Error::OptionValue {
            name,
            reason: format!("it has {found} characters; {max} are allowed"),
        });
    }
    Ok(())
}

fn header(context: &Context<'_>, id: &CheckpointId) -> Result<Header> {
    let bytes = bytes_of(context.disk, context.run, id)?;
    inspect(&bytes, id.as_str(), context.run.run_id(), Check::Seal).map_err(|damage| {
        Error::CheckpointDamaged {
            run_id: context.run.run_id().to_string(),
            checkpoint_id: id.to_string(),
            path: context.run.manifest(id),
            damage,
        }
    })
}

/// What a run's checkpoints have become, and what is wrong with the log that says it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Known {
    /// What they have become, by id.
    pub lives: Lives,
    /// What is wrong with the log.
    pub problem: Option<String>,
}

/// Reads what a run's checkpoints have become.
pub fn known(context: &Context<'_>) -> Result<Known> {
    let log = Changes::read(context.disk, context.run)?;
    Ok(Known {
        lives: log.lives(),
        problem: log.problem,
    })
}

/// Leaves out of the log what is said of checkpoints that were dropped, once that is worth it. The caller holds
/// the run's lock.
pub(super) fn tidy(context: &Context<'_>, exists: &dyn Fn(&str) -> bool) -> Result<()> {
    let (disk, run) = (context.disk, context.run);
    let long = disk
        .metadata(&run.changes())
        .is_ok_and(|found| found.len >= COMPACT_FROM);
    // What was archived may come back, with what was said of it.
    let archived = context
        .store
        .is_some_and(|place| disk.metadata(&place.archives_of(run.run_id())).is_ok());
    if !long || archived {
        return Ok(());
    }
    let stays = |id: &str| exists(id) || RunDir::rescue_made_ms(id).is_some();
    Changes::read(disk, run)?.compact(disk, run, context.now_ms, &stays)
}

/// Notes that a checkpoint was put back: one that had failed is restored by it. Gives what went wrong; the
/// restore itself is done.
pub(super) fn restored(context: &Context<'_>, id: &CheckpointId) -> Result<()> {
    let log = Changes::read(context.disk, context.run)?;
    let lives = log.lives();
    let Some(life) = lives.get(id.as_str()) else {
        return Ok(());
    };
    if life.state() != State::Failed {
        return Ok(());
    }
    let change = Change::State {
        from: State::Failed,
        to: State::Restored,
        failure: None,
    };
    log.append(
        context.disk,
        context.run,
        [(id.to_string(), change, context.now_ms)],
    )
}
