//! What one may ask of all checkpoints of all runs, and what one is told of each.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::model::facts::{Class, Facts, Link, Priority, Scope, Trigger, Type};
use crate::model::lifecycle::{Failure, Life, State};
use crate::model::manifest::Header;
use crate::model::step::Step;
use crate::model::time::to_iso;

/// The most checkpoints that are told at once.
pub const PAGE_MAX: u32 = 10_000;

/// Which checkpoints are wanted; everything that is given has to hold, and of a list one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Runs.
    pub runs: Vec<String>,
    /// Workflows.
    pub workflows: Vec<String>,
    /// Tasks.
    pub tasks: Vec<String>,
    /// Workers.
    pub workers: Vec<String>,
    /// Phases.
    pub phases: Vec<String>,
    /// Labels: one of them.
    pub labels: Vec<String>,
    /// States.
    pub states: Vec<State>,
    /// Types.
    pub types: Vec<Type>,
    /// Triggers.
    pub triggers: Vec<Trigger>,
    /// Scopes.
    pub scopes: Vec<Scope>,
    /// Priorities.
    pub priorities: Vec<Priority>,
    /// Retention classes.
    pub classes: Vec<Class>,
    /// Taken at this time or later, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Taken before this time, in milliseconds since 1970.
    pub until_ms: Option<i64>,
    /// Damaged, or not; `None`: both.
    pub damaged: Option<bool>,
    /// Pinned, or not.
    pub pinned: Option<bool>,
    /// The newest good one of a run that is not over, or not that.
    pub resumable: Option<bool>,
    /// The oldest first, instead of the newest.
    pub oldest_first: bool,
}

/// A place between two rows: reading goes on behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// When the last row was taken, in milliseconds since 1970.
    pub created_ms: i64,
    /// Its place among those of the same millisecond.
    pub tie: i64,
}

impl Cursor {
    /// As text that means nothing to others.
    #[must_use]
    pub fn print(self) -> String {
        format!("{}.{}", self.created_ms, self.tie)
    }

    /// Reads it.
    pub fn parse(text: &str) -> Result<Self> {
        let parts = text.split_once('.');
        let found = parts.and_then(|(created_ms, tie)| {
            Some(Self {
                created_ms: created_ms.parse().ok()?,
                tie: tie.parse().ok()?,
            })
        });
        found.ok_or_else(|| Error::OptionValue {
            name: "after",
            reason: format!("{text:?} is no cursor; take the one that a page ends with"),
        })
    }
}

/// What is known of one checkpoint, as callers are told.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The run.
    pub run_id: String,
    /// Its id; a damaged one's file name without `.json`.
    pub checkpoint_id: String,
    /// The step; absent for a damaged one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<serde_json::Value>,
    /// When it was taken, ISO 8601; of a damaged one, when the file changed last.
    pub timestamp: String,
    /// Its place in the run's history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The checkpoint that it descends from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_checkpoint_id: Option<String>,
    /// The workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow_id: Option<String>,
    /// The manifest's size in bytes.
    pub size: u64,
    /// Its state; absent for a damaged one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// When its state changed last, ISO 8601.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_at: Option<String>,
    /// What is said of it, updates included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Facts>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Why it must stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<RowPin>,
    /// The runs that were forked from it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forks: Vec<Link>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// Whether it is the newest good one of a run that is not over.
    pub resumable: bool,
    /// When it was taken, in milliseconds since 1970.
    #[serde(skip)]
    pub created_ms: i64,
    /// Until when it is pinned, in milliseconds since 1970; the largest number is for ever.
    #[serde(skip)]
    pub pinned_until_ms: Option<i64>,
}

/// Why a checkpoint must stay.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowPin {
    /// In words.
    pub reason: String,
    /// Until when, ISO 8601; for ever without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl Row {
    /// What is known of a good checkpoint.
    #[must_use]
    pub fn of(run_id: &str, header: &Header, life: &Life, size: u64, resumable: bool) -> Self {
        let facts = life.facts(header.facts.as_ref()).unwrap_or_default();
        Self {
            run_id: run_id.to_owned(),
            checkpoint_id: header.checkpoint_id.to_string(),
            step: Some(match &header.step {
                Step::Number(number) => serde_json::json!(number),
                Step::Name(name) => serde_json::json!(name),
            }),
            timestamp: header.timestamp.clone(),
            sequence: header.sequence,
            parent_checkpoint_id: header.parent.clone(),
            workflow_id: header.workflow_id.clone(),
            size,
            state: Some(life.state()),
            state_at: life.state_ms.map(to_iso),
            facts: facts.filter(|facts| !facts.is_empty()),
            failure: life.failure.clone(),
            pin: life.pin.as_ref().map(|pin| RowPin {
                reason: pin.reason.clone(),
                until: pin.until_ms.map(to_iso),
            }),
            forks: life.forks.clone(),
            damage: None,
            resumable,
            created_ms: header.created_ms,
            pinned_until_ms: life
                .pin
                .as_ref()
                .map(|pin| pin.until_ms.unwrap_or(i64::MAX)),
        }
    }

    /// What is known of a damaged one.
    #[must_use]
    pub fn of_damaged(run_id: &str, name: &str, damage: &str, modified_ms: i64) -> Self {
        Self {
            run_id: run_id.to_owned(),
            checkpoint_id: name.to_owned(),
            step: None,
            timestamp: to_iso(modified_ms),
            sequence: None,
            parent_checkpoint_id: None,
            workflow_id: None,
            size: 0,
            state: None,
            state_at: None,
            facts: None,
            failure: None,
            pin: None,
            forks: Vec::new(),
            damage: Some(damage.to_owned()),
            resumable: false,
            created_ms: modified_ms,
            pinned_until_ms: None,
        }
    }

    /// Its place among those of the same millisecond: always the same one, whatever else there is, or a page
    /// would not go on where the one before ended. Those of one run are in their order.
    #[must_use]
    pub fn tie(&self) -> i64 {
        let bits = |text: &str, bits: u32| {
            let hash = blake3::hash(text.as_bytes());
            let mut first = [0; 8];
            first.copy_from_slice(&hash.as_bytes()[..8]);
            i64::try_from(u64::from_le_bytes(first) >> (64 - bits)).unwrap_or(0)
        };
        let place = self.sequence.map_or(0, |number| number & 0xffff);
        let place = i64::try_from(place).unwrap_or(0);
        bits(&self.run_id, 35) << 28 | place << 12 | bits(&self.checkpoint_id, 12)
    }

    /// Whether a filter wants it, at a time in milliseconds since 1970. The rule that the index answers by.
    #[must_use]
    pub fn is_wanted(&self, filter: &Filter, now_ms: i64) -> bool {
        fn one<T: PartialEq>(list: &[T], value: Option<&T>) -> bool {
            list.is_empty() || value.is_some_and(|value| list.contains(value))
        }
        let nothing = Facts::default();
        let facts = self.facts.as_ref().unwrap_or(&nothing);
        let pinned = self.pinned_until_ms.is_some_and(|until| now_ms < until);
        one(&filter.runs, Some(&self.run_id))
            && one(&filter.workflows, self.workflow_id.as_ref())
            && one(&filter.tasks, facts.task.as_ref())
            && one(&filter.workers, facts.worker.as_ref())
            && one(&filter.phases, facts.phase.as_ref())
            && (filter.labels.is_empty()
                || facts
                    .labels
                    .iter()
                    .any(|label| filter.labels.contains(label)))
            && one(&filter.states, self.state.as_ref())
            && one(&filter.types, facts.kind.as_ref())
            && one(&filter.triggers, facts.trigger.as_ref())
            && one(&filter.scopes, facts.scope.as_ref())
            && one(&filter.priorities, facts.priority.as_ref())
            && one(&filter.classes, facts.class.as_ref())
            && filter.from_ms.is_none_or(|from| self.created_ms >= from)
            && filter.until_ms.is_none_or(|until| self.created_ms < until)
            && filter
                .damaged
                .is_none_or(|wanted| self.damage.is_some() == wanted)
            && filter.pinned.is_none_or(|wanted| pinned == wanted)
            && filter
                .resumable
                .is_none_or(|wanted| self.resumable == wanted)
    }
}

/// Whether a run of this status may go on.
#[must_use]
pub fn may_go_on(status: Option<&str>) -> bool {
    !matches!(status, Some("completed" | "cancelled"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back() {
        let cursor = Cursor {
            created_ms: -5,
            tie: 7,
        };
        assert_eq!(Cursor::parse(&cursor.print()).expect("valid"), cursor);
        for text in ["", "1", "1.x", "a.1", "1.2.3"] {
            let error = Cursor::parse(text).expect_err("refused");
            assert_eq!(error.code(), "ERR_OPTION_INVALID", "{text}");
        }
    }

    #[test]
    fn runs_that_are_over_are_not_resumable() {
        assert!(may_go_on(None) && may_go_on(Some("failed")) && may_go_on(Some("paused")));
        assert!(!may_go_on(Some("completed")) && !may_go_on(Some("cancelled")));
    }
}
