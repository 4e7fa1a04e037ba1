//! Which checkpoints of a run are kept: a pure function of policy, checkpoints and time.
//!
//! This folder promises that every checkpoint gets a decision with every reason for it, that nothing
//! decides but what is handed in, in whatever order, and that a more generous policy never drops more.
//!
//! The rules add up: a checkpoint stays if one of them wants it. `docs/retention.md` has them all.

mod period;
mod span;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;

pub use period::Period;
pub use span::Span;

use crate::model::facts::Class;
use crate::model::lifecycle::Pin;
use crate::model::manifest::newest_first;

/// A number that keeps all.
pub const ALL: u32 = u32::MAX;

/// Which checkpoints of a run stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// How many of the newest stay; the newest does in any case.
    pub keep_last: u32,
    /// Of how many hours with checkpoints the newest stays.
    pub keep_hourly: u32,
    /// Of how many days.
    pub keep_daily: u32,
    /// Of how many weeks, from Monday on.
    pub keep_weekly: u32,
    /// Of how many months.
    pub keep_monthly: u32,
    /// Of how many years.
    pub keep_yearly: u32,
    /// All that are younger stay.
    pub keep_within: Option<Span>,
    /// All that have one of these labels stay.
    pub keep_labels: Vec<String>,
    /// How long those of a class stay, whatever the other rules say.
    pub classes: Classes,
    /// Where hours, days and so on begin: minutes east of UTC.
    pub utc_offset_minutes: i32,
    /// Whether what goes is moved to an archive first. Decides nothing here.
    pub archive: bool,
}

impl Default for Retention {
    /// The newest five, and what its class, a pin or the run's state keeps.
    fn default() -> Self {
        Self {
            keep_last: 5,
            keep_hourly: 0,
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
            keep_yearly: 0,
            keep_within: None,
            keep_labels: Vec::new(),
            classes: Classes::default(),
            utc_offset_minutes: 0,
            archive: false,
        }
    }
}

/// How long checkpoints of each class stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Classes {
    /// Of class `frequent`.
    pub frequent: Span,
    /// Of class `milestone`.
    pub milestone: Span,
    /// Of class `critical`.
    pub critical: Span,
}

impl Default for Classes {
    fn default() -> Self {
        Self {
            frequent: Span::days(7),
            milestone: Span::days(30),
            critical: Span::Forever,
        }
    }
}

impl Classes {
    /// How long those of a class stay.
    #[must_use]
    pub fn of(&self, class: Class) -> Span {
        match class {
            Class::Frequent => self.frequent,
            Class::Milestone => self.milestone,
            Class::Critical => self.critical,
        }
    }
}

/// A checkpoint of a run, as far as retention goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidate<'a> {
    /// Its id.
    pub id: &'a str,
    /// When it was taken, in milliseconds since 1970.
    pub created_ms: i64,
    /// Its place in the run's history; `None` for those of other tools.
    pub sequence: Option<u64>,
    /// Its labels.
    pub labels: Vec<String>,
    /// Its class.
    pub class: Option<Class>,
    /// Its pin.
    pub pin: Option<Pin>,
    /// Whether another run began from it.
    pub fork_base: bool,
    /// Whether the run was put back to it, and none was taken since.
    pub standing: bool,
    /// Whether it can't be restored. Then nothing else of it counts.
    pub damaged: bool,
}

/// Why a checkpoint stays, or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Stays: among the newest.
    KeepLast,
    /// Stays: the newest of its hour, day …, which is the text.
    Newest(Period, String),
    /// Stays: young enough.
    Within,
    /// Stays: has this label.
    Label(String),
    /// Stays: younger than what is kept of its class.
    Class(Class),
    /// Stays: pinned, with why.
    Pinned(String),
    /// Stays: the newest good one always does.
    NewestGood,
    /// Stays: the run is paused and goes on from it.
    Paused,
    /// Stays: another run began from it.
    ForkBase,
    /// Stays: the run was put back to it, and none was taken since.
    Restored,
    /// Stays: it is evidence, and neither counts nor goes.
    Damaged,
    /// Stays: it could not be archived, and nothing goes that was to be archived and is not.
    NotArchived,
    /// Goes: no rule wants it.
    Superseded,
    /// Goes: it is older than what is kept of its class.
    ClassExpired(Class),
    /// Goes: its pin is over.
    PinExpired,
    /// Goes: to keep the store within its budget.
    Budget,
}

impl Reason {
    /// The stable word for it; `label`, `class`, `pinned` and `class_expired` carry more: `label:x`.
    #[must_use]
    pub fn word(&self) -> String {
        let word = match self {
            Self::KeepLast => "keep_last",
            Self::Newest(period, _) => period.word(),
            Self::Within => "within",
            Self::Label(label) => return format!("label:{label}"),
            Self::Class(class) => return format!("class:{}", class.as_str()),
            Self::Pinned(why) => return format!("pinned:{why}"),
            Self::NewestGood => "newest",
            Self::Paused => "paused",
            Self::ForkBase => "fork_base",
            Self::Restored => "restored",
            Self::Damaged => "damaged",
            Self::NotArchived => "not_archived",
            Self::Superseded => "superseded",
            Self::ClassExpired(class) => return format!("class_expired:{}", class.as_str()),
            Self::PinExpired => "pin_expired",
            Self::Budget => "budget",
        };
        word.to_owned()
    }
}

/// For people.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeepLast => f.write_str("among the newest"),
            Self::Newest(_, of) => write!(f, "the newest of {of}"),
            Self::Within => f.write_str("young enough"),
            Self::Label(label) => write!(f, "labelled {label}"),
            Self::Class(class) => write!(f, "of class {}", class.as_str()),
            Self::Pinned(why) => write!(f, "pinned: {why}"),
            Self::NewestGood => f.write_str("the newest that is whole"),
            Self::Paused => f.write_str("the run is paused and goes on from it"),
            Self::ForkBase => f.write_str("another run began from it"),
            Self::Restored => f.write_str("the run was put back to it"),
            Self::Damaged => f.write_str("damaged: neither counts nor goes"),
            Self::NotArchived => f.write_str("it could not be archived"),
            Self::Superseded => f.write_str("enough others are kept"),
            Self::ClassExpired(class) => write!(f, "its time as {} is over", class.as_str()),
            Self::PinExpired => f.write_str("its pin is over"),
            Self::Budget => f.write_str("the store's budget"),
        }
    }
}

/// What the policy says of one checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Its place among the candidates that were handed in.
    pub at: usize,
    /// Whether it stays.
    pub keep: bool,
    /// Why, all of it; at least one.
    pub reasons: Vec<Reason>,
    /// Whether it stays whatever the numbers of the policy are, and whatever a budget asks for.
    pub must_stay: bool,
}

impl Retention {
    /// The policy that keeps the newest `number` only.
    #[must_use]
    pub fn newest(number: u32) -> Self {
        Self {
            keep_last: number,
            ..Self::default()
        }
    }

    /// How many checkpoints there are at most by this policy's numbers; `None` if nothing bounds them.
    /// What its class, a pin or a fork keeps comes on top: those are chosen one by one.
    #[must_use]
    pub fn bound(&self) -> Option<u64> {
        if self.keep_last == ALL || self.keep_within.is_some() || !self.keep_labels.is_empty() {
            return None;
        }
        let periods = self.periods().map(|(_, number)| u64::from(number));
        Some(u64::from(self.keep_last.max(1)) + periods.iter().sum::<u64>())
    }

    fn periods(&self) -> [(Period, u32); 5] {
        [
            (Period::Hour, self.keep_hourly),
            (Period::Day, self.keep_daily),
            (Period::Week, self.keep_weekly),
            (Period::Month, self.keep_monthly),
            (Period::Year, self.keep_yearly),
        ]
    }

    /// A decision for each checkpoint of a run: those that are whole newest first, then the damaged
    /// ones as they came. `paused` says whether the run is.
    #[must_use]
    pub fn judge(&self, candidates: &[Candidate<'_>], paused: bool, now_ms: i64) -> Vec<Decision> {
        let placed = candidates.iter().enumerate();
        let mut good: Vec<(usize, &Candidate<'_>)> =
            placed.filter(|(_, one)| !one.damaged).collect();
        newest_first(&mut good, |(_, one)| (one.sequence, one.created_ms, one.id));
        let mut seen: [HashSet<i64>; 5] = Default::default();
        let mut decisions = Vec::with_capacity(candidates.len());
        for (rank, (at, one)) in good.into_iter().enumerate() {
            let mut reasons = Vec::new();
            if self.keep_last == ALL || (rank as u64) < u64::from(self.keep_last.max(1)) {
                reasons.push(Reason::KeepLast);
            }
            for ((period, number), seen) in self.periods().into_iter().zip(&mut seen) {
                let key = period.of(one.created_ms, self.utc_offset_minutes);
                if seen.len() as u64 >= u64::from(number) || !seen.insert(key) {
                    continue;
                }
                let name = period.name(one.created_ms, self.utc_offset_minutes);
                reasons.push(Reason::Newest(period, name));
            }
            let age_ms = now_ms.saturating_sub(one.created_ms);
            if self.keep_within.is_some_and(|span| span.holds(age_ms)) {
                reasons.push(Reason::Within);
            }
            let labels = self.keep_labels.iter();
            let mut labels: Vec<&String> =
                labels.filter(|one_| one.labels.contains(one_)).collect();
            labels.sort();
            labels.dedup();
            reasons.extend(labels.into_iter().cloned().map(Reason::Label));
            let mut must_stay = false;
            let mut over = Vec::new();
            if let Some(class) = one.class {
                let span = self.classes.of(class);
                if span.holds(age_ms) {
                    reasons.push(Reason::Class(class));
                    must_stay |= span == Span::Forever;
                } else {
                    over.push(Reason::ClassExpired(class));
                }
            }
            let numbered = reasons.len();
            match &one.pin {
                Some(pin) if pin.holds(now_ms) => reasons.push(Reason::Pinned(pin.reason.clone())),
                Some(_) => over.push(Reason::PinExpired),
                None => {}
            }
            if rank == 0 {
                reasons.push(Reason::NewestGood);
            }
            if one.standing {
                reasons.push(Reason::Restored);
            }
            if paused && (one.standing || rank == 0) {
                reasons.push(Reason::Paused);
            }
            if one.fork_base {
                reasons.push(Reason::ForkBase);
            }
            must_stay |= reasons.len() > numbered;
            let keep = !reasons.is_empty();
            if !keep {
                reasons.push(Reason::Superseded);
                reasons.append(&mut over);
            }
            decisions.push(Decision {
                at,
                keep,
                reasons,
                must_stay,
            });
        }
        let damaged = (0..candidates.len()).filter(|&at| candidates[at].damaged);
        decisions.extend(damaged.map(|at| Decision {
            at,
            keep: true,
            reasons: vec![Reason::Damaged],
            must_stay: true,
        }));
        decisions
    }
}
