//! The life of a checkpoint after it was taken: states, updates, pins, forks.
//!
//! Manifests never change. What happens to a checkpoint later is a list of [`Change`]s, in order; what it
//! has become is those played over its beginning.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::facts::{Facts, Link, words};

words! {
    /// The state of a checkpoint.
    State {
        /// Taken.
        Created = "created",
        /// Being worked from.
        Active = "active",
        /// What it was taken for is done.
        Completed = "completed",
        /// What it was taken for failed.
        Failed = "failed",
        /// Put back after it had failed.
        Restored = "restored",
    }
}

impl State {
    /// The states that may follow.
    #[must_use]
    pub fn next(self) -> &'static [Self] {
        match self {
            Self::Created => &[Self::Active, Self::Failed],
            Self::Active => &[Self::Completed, Self::Failed],
            Self::Completed => &[],
            Self::Failed => &[Self::Restored],
            Self::Restored => &[Self::Active],
        }
    }

    /// Whether this may become that.
    #[must_use]
    pub fn may_become(self, to: Self) -> bool {
        self.next().contains(&to)
    }

    /// The shortest way to another state, both ends included; `None` if there is none.
    #[must_use]
    pub fn way_to(self, to: Self) -> Option<Vec<Self>> {
        let mut ways = VecDeque::from([vec![self]]);
        let mut seen = vec![self];
        while let Some(way) = ways.pop_front() {
            let last = way.last().copied().unwrap_or(self);
            for next in last.next() {
                let mut longer = way.clone();
                longer.push(*next);
                if *next == to {
                    return Some(longer);
                }
                if !seen.contains(next) {
                    seen.push(*next);
                    ways.push_back(longer);
                }
            }
        }
        None
    }
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The error's class, such as `TypeError`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Where it was thrown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// Anything else.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub details: serde_json::Value,
}

/// Why a checkpoint must stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// In words.
    pub reason: String,
    /// Until when, in milliseconds since 1970; for ever without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
}

impl Pin {
    /// Whether it holds at a time, in milliseconds since 1970.
    #[must_use]
    pub fn holds(&self, now_ms: i64) -> bool {
        self.until_ms.is_none_or(|until| now_ms < until)
    }
}

/// One thing that happens to a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// Its state changes.
    State {
        /// From this one.
        from: State,
        /// To that one.
        to: State,
        /// Why, when it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// What is said of it changes: a merge patch over its facts (RFC 7396).
    Update {
        /// The patch.
        facts: serde_json::Value,
    },
    /// It must stay.
    Pin {
        /// Why, and until when.
        pin: Pin,
    },
    /// It need not stay any more.
    Unpin {},
    /// Another run began from it.
    Fork {
        /// That run, and its first checkpoint.
        to: Link,
    },
    /// That run is gone, or does not need it any more.
    Unfork {
        /// That run. Not called `run`: so every line of the log names its own.
        #[serde(rename = "fork")]
        run: String,
    },
}

/// What a checkpoint has become.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Life {
    /// Its state; `None` is the first one, created.
    pub state: Option<State>,
    /// When the state changed last, in milliseconds since 1970.
    pub state_ms: Option<i64>,
    /// Why it failed; stays after it was restored.
    pub failure: Option<Failure>,
    /// The patches over its facts, in order.
    pub updates: Vec<serde_json::Value>,
    /// When it was updated last, in milliseconds since 1970.
    pub updated_ms: Option<i64>,
    /// Why it must stay.
    pub pin: Option<Pin>,
    /// The runs that began from it.
    pub forks: Vec<Link>,
}

impl Life {
    /// Its state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.unwrap_or(State::Created)
    }

    /// Its facts as they are now.
    pub fn facts(&self, first: Option<&Facts>) -> Result<Option<Facts>> {
        if self.updates.is_empty() {
            return Ok(first.cloned());
        }
        let mut facts = first.cloned().unwrap_or_default();
        for update in &self.updates {
            facts = facts.merged(update)?;
        }
        Ok(Some(facts))
    }

    /// Plays one more change.
    pub fn play(&mut self, change: &Change, at_ms: i64) {
        match change {
            Change::State { to, failure, .. } => {
                self.state = Some(*to);
                self.state_ms = Some(at_ms);
                if failure.is_some() || *to == State::Failed {
                    self.failure.clone_from(failure);
                }
            }
            Change::Update { facts } => {
                self.updates.push(facts.clone());
                self.updated_ms = Some(at_ms);
            }
            Change::Pin { pin } => self.pin = Some(pin.clone()),
            Change::Unpin {} => self.pin = None,
            Change::Fork { to } => {
                self.forks.retain(|one| one.run != to.run);
                self.forks.push(to.clone());
            }
            Change::Unfork { run } => self.forks.retain(|one| one.run != *run),
        }
    }
}

/// So many of the last states of a checkpoint are kept when its history is shortened.
const STATES_KEPT: usize = 64;

/// Shortens a history, each change with its checkpoint, so that it comes to the same: updates become one with a
/// later one, pins that others took the place of and forks that are gone are not needed. Says which changes
/// are.
pub fn fold(changes: &mut [(&str, &mut Change)]) -> Vec<bool> {
    #[derive(Default)]
    struct Later {
        update: Option<usize>,
        pin: bool,
        states: usize,
        forks: HashSet<String>,
    }
    let mut needed = vec![true; changes.len()];
    let mut all: HashMap<String, Later> = HashMap::new();
    for at in (0..changes.len()).rev() {
        let (id, change) = &changes[at];
        let later = all.entry((*id).to_owned()).or_default();
        needed[at] = match &**change {
            Change::Update { facts } => {
                let one = later.update.and_then(|next| match &*changes[next].1 {
                    Change::Update { facts: then } => Some((next, composed(facts, then)?)),
                    _ => None,
                });
                if let Some((next, facts)) = one {
                    *changes[next].1 = Change::Update { facts };
                    false
                } else {
                    later.update = Some(at);
                    true
                }
            }
            Change::Pin { .. } => !std::mem::replace(&mut later.pin, true),
            Change::Unpin {} => {
                later.pin = true;
                false
            }
            Change::State { .. } => {
                later.states += 1;
                later.states <= STATES_KEPT
            }
            Change::Fork { to } => later.forks.insert(to.run.clone()),
            Change::Unfork { run } => {
                later.forks.insert(run.clone());
                false
            }
        };
    }
    needed
}

/// One merge patch that does what two do, one after the other; `None` if there is none: an object that takes the
/// place of something else takes no member from it, and no patch says that.
fn composed(first: &serde_json::Value, then: &serde_json::Value) -> Option<serde_json::Value> {
    let (serde_json::Value::Object(first), serde_json::Value::Object(then)) = (first, then) else {
        return (!then.is_object()).then(|| then.clone());
    };
    let mut both = first.clone();
    for (name, then) in then {
        let one = match first.get(name) {
            Some(first) => composed(first, then)?,
            None => then.clone(),
        };
        both.insert(name.clone(), one);
    }
    Some(serde_json::Value::Object(both))
}

/// What the checkpoints of a run have become, by id.
pub type Lives = HashMap<String, Life>;

/// Refuses a move that is not legal, naming both states and the way there.
pub fn check_move(checkpoint_id: &str, from: State, to: State) -> Result<()> {
    if from.may_become(to) {
        return Ok(());
    }
    let way = match from.way_to(to) {
        Some(way) if from != to => {
            let way: Vec<&str> = way.into_iter().map(State::as_str).collect();
            format!("the way there is {}", way.join(" → "))
        }
        _ if from == to => format!("it is {} already", to.as_str()),
        _ => format!("no way leads there: {} is an end", from.as_str()),
    };
    Err(Error::StateTransition {
        checkpoint_id: checkpoint_id.to_owned(),
        from: from.as_str(),
        to: to.as_str(),
        way,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Active, Completed, Created, Failed, Restored};

    #[test]
    fn all_twenty_five_moves() {
        let legal = [
            (Created, Active),
            (Active, Completed),
            (Active, Failed),
            (Failed, Restored),
            (Restored, Active),
            (Created, Failed),
        ];
        let mut seen = 0;
        for from in State::ALL {
            for to in State::ALL {
                let checked = check_move("c", *from, *to);
                seen += 1;
                if legal.contains(&(*from, *to)) {
                    checked.expect("legal");
                    continue;
                }
                let error = checked.expect_err("not legal");
                assert_eq!(error.code(), "ERR_STATE_TRANSITION");
                let text = error.to_string();
                for state in [from, to] {
                    assert!(text.contains(state.as_str()), "{text}");
                }
            }
        }
        assert_eq!(seen, 25);
    }

    #[test]
    fn the_way_there_is_told() {
        let text = |from, to| {
            check_move("c", from, to)
                .expect_err("not legal")
                .to_string()
        };
        assert!(text(Created, Completed).contains("created → active → completed"));
        assert!(text(Failed, Completed).contains("failed → restored → active → completed"));
        assert!(text(Completed, Active).contains("no way leads there"));
        assert!(text(Active, Active).contains("already"));
        assert!(text(Restored, Failed).contains("restored → active → failed"));
    }

    /// Whatever happened: what is left comes to the same.
    #[test]
    fn a_shortened_history_comes_to_the_same() {
        let mut seed = 1_u64;
        let mut below = move |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % n
        };
        let values = [
            "null",
            "1",
            "[1]",
            "{}",
            r#"{"a":1}"#,
            r#"{"a":null}"#,
            r#"{"b":{"c":2}}"#,
            r#"{"b":{"c":null,"d":3}}"#,
            r#"{"b":4}"#,
        ];
        for _ in 0..3_000 {
            let mut history: Vec<(String, Change)> = Vec::new();
            for _ in 0..below(14) {
                let id = ["x", "y"][usize::try_from(below(2)).expect("small")];
                let run = ["r", "s"][usize::try_from(below(2)).expect("small")].to_owned();
                let change = match below(8) {
                    0 => Change::Pin {
                        pin: Pin {
                            reason: below(9).to_string(),
                            until_ms: None,
                        },
                    },
                    1 => Change::Unpin {},
                    2 => Change::Fork {
                        to: Link {
                            run,
                            checkpoint: None,
                        },
                    },
                    3 => Change::Unfork { run },
                    4 => Change::State {
                        from: Active,
                        to: Failed,
                        failure: None,
                    },
                    _ => {
                        let value = values[usize::try_from(below(9)).expect("small")];
                        let value: serde_json::Value = serde_json::from_str(value).expect("valid");
                        let value = if below(2) == 0 {
                            serde_json::json!({"k": value})
                        } else {
                            value
                        };
                        Change::Update {
                            facts: serde_json::json!({"data": value}),
                        }
                    }
                };
                history.push((id.to_owned(), change));
            }
            let play = |history: &[(String, Change)], id: &str| {
                let mut life = Life::default();
                for (of, change) in history {
                    if of == id {
                        life.play(change, 0);
                    }
                }
                let mut facts = serde_json::json!({"data": {"a": 0, "b": {"c": 0, "e": 5}}});
                for update in std::mem::take(&mut life.updates) {
                    crate::model::facts::merge_patch(&mut facts, &update);
                }
                life.forks.sort_by(|one, other| one.run.cmp(&other.run));
                (life, facts)
            };
            let mut short = history.clone();
            let mut changes: Vec<_> = short
                .iter_mut()
                .map(|(id, change)| (id.as_str(), change))
                .collect();
            let mut needed = fold(&mut changes).into_iter();
            short.retain(|_| needed.next() == Some(true));
            for id in ["x", "y"] {
                assert_eq!(
                    play(&short, id),
                    play(&history, id),
                    "{history:?} {short:?}"
                );
            }
        }
    }

    #[test]
    fn updates_that_pile_up_become_one() {
        let mut history: Vec<Change> = (0..100)
            .map(|n| Change::Update {
                facts: serde_json::json!({"progress": {"done": n}}),
            })
            .collect();
        let mut changes: Vec<_> = history.iter_mut().map(|change| ("x", change)).collect();
        let needed = fold(&mut changes);
        assert_eq!(needed.iter().filter(|needed| **needed).count(), 1);
        assert!(needed[99], "the last one, with its time");
    }

    #[test]
    fn changes_are_played_in_order() {
        let mut life = Life::default();
        assert_eq!(life.state(), Created);
        let pin = Pin {
            reason: "evidence".to_owned(),
            until_ms: Some(10),
        };
        assert!(pin.holds(9) && !pin.holds(10));
        let link = |run: &str| Link {
            run: run.to_owned(),
            checkpoint: None,
        };
        let failure = Failure {
            message: Some("no".to_owned()),
            ..Failure::default()
        };
        let changes = [
            Change::State {
                from: Created,
                to: Failed,
                failure: Some(failure.clone()),
            },
            Change::Update {
                facts: serde_json::json!({"phase": "a", "labels": ["x"]}),
            },
            Change::Pin { pin: pin.clone() },
            Change::Fork { to: link("a") },
            Change::Fork { to: link("b") },
            Change::Unfork {
                run: "a".to_owned(),
            },
            Change::State {
                from: Failed,
                to: Restored,
                failure: None,
            },
            Change::Update {
                facts: serde_json::json!({"phase": null}),
            },
        ];
        for (at, change) in changes.iter().enumerate() {
            let text = serde_json::to_string(change).expect("JSON");
            let back: Change = serde_json::from_str(&text).expect("the same");
            assert_eq!(back, *change);
            life.play(&back, i64::try_from(at).expect("small"));
        }
        assert_eq!((life.state(), life.state_ms), (Restored, Some(6)));
        assert_eq!(life.failure, Some(failure));
        assert_eq!(life.pin, Some(pin));
        assert_eq!(life.forks, [link("b")]);
        let facts = life.facts(None).expect("valid").expect("some");
        assert_eq!((facts.phase, facts.labels), (None, vec!["x".to_owned()]));
        life.play(&Change::Unpin {}, 9);
        assert_eq!(life.pin, None);
    }
}
