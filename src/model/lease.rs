//! Leases: who works on a run, until when, and by which fencing token.
//!
//! A lease is one holder's right to go on with a run. It ends when it is released, when it was not renewed for
//! longer than it lasts, or when its holder is gone. Whoever takes it over gets a higher token, and what the one
//! before still writes by his own is refused where it is recorded: so a holder that slept through its own end does
//! no harm.
//!
//! *Limits*: time is compared by the clock that counts since the machine's start where both sides know the same
//! start, so a wall clock that is set changes nothing; between machines only the wall clock is left. A machine is
//! known by its name and id: two that share both are taken for one that was restarted.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::ids::shorten;

/// How long a lease lasts without renewal unless the caller says otherwise, in milliseconds.
pub const TTL_MS: u64 = 60_000;
/// The shortest and the longest that a lease may last, in milliseconds.
pub const TTL_RANGE_MS: std::ops::RangeInclusive<u64> = 10..=30 * 86_400_000;
/// The longest name of a holder, in characters.
pub const HOLDER_MAX: usize = 256;

/// The right to go on with a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The fencing token: higher than any before it.
    pub token: u64,
    /// Who holds it, in his own words.
    pub holder: String,
    /// The holder's process.
    pub pid: u32,
    /// When the process started, in the system's own units since its start; `None` where that can't be told.
    pub started: Option<u64>,
    /// The name of the holder's machine.
    pub host: String,
    /// The id of that machine; empty where there is none.
    pub machine: String,
    /// Which start of the machine it was; empty where that can't be told.
    pub boot: String,
    /// Whose process numbers the holder's is one of; empty where that can't be told.
    pub pid_namespace: String,
    /// Since when he holds it, in milliseconds since 1970.
    pub since_ms: i64,
    /// When it was renewed last, in milliseconds since 1970.
    pub renewed_ms: i64,
    /// The same in milliseconds since the machine's start.
    pub renewed_boot_ms: Option<u64>,
    /// How long it lasts from then on, in milliseconds.
    pub ttl_ms: u64,
    /// Whether it was given back.
    pub released: bool,
}

/// What a system says of itself and of this process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct System {
    /// The machine's name.
    pub host: String,
    /// Its id; empty where there is none.
    pub machine: String,
    /// Which start of the machine this is; empty where that can't be told.
    pub boot: String,
    /// Whose process numbers are seen; empty where that can't be told.
    pub pid_namespace: String,
    /// Milliseconds since the machine's start, sleep included.
    pub boot_ms: Option<u64>,
    /// This process.
    pub pid: u32,
    /// When it started, in the system's own units since the machine's start.
    pub started: Option<u64>,
}

/// What is known of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Process {
    /// Whether there is one of that number that still runs; `None` where that can't be told.
    pub alive: Option<bool>,
    /// When it started, in the system's own units since the machine's start; `None` where that can't be told.
    pub started: Option<u64>,
}

/// How a lease stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is held.
    Live,
    /// It was given back.
    Released,
    /// It was not renewed in time.
    Expired,
    /// Its holder's process is gone.
    Dead,
    /// Its holder's machine was restarted.
    Rebooted,
}

impl Standing {
    /// The stable word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Dead => "dead",
            Self::Rebooted => "rebooted",
        }
    }
}

/// What somebody wants who takes a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Who he is, in his own words.
    pub holder: String,
    /// How long it lasts without renewal, in milliseconds.
    pub ttl_ms: u64,
    /// The token he has already: the lease is then prolonged, if it is still his.
    pub token: Option<u64>,
    /// Whether it is taken from a live holder, and in the place of a damaged one.
    pub force: bool,
}

impl Wanted {
    /// Gives [`Error::OptionValue`] for what can't be.
    pub fn check(&self) -> Result<()> {
        check_ttl(self.ttl_ms)?;
        let chars = self.holder.chars().count();
        let bad = |reason: String| Error::OptionValue {
            name: "holder",
            reason,
        };
        if self.holder.trim().is_empty() {
            return Err(bad("it is empty; say who holds the lease".to_owned()));
        }
        if chars > HOLDER_MAX {
            return Err(bad(format!(
                "it has {chars} characters; {HOLDER_MAX} are allowed"
            )));
        }
        if self.holder.chars().any(char::is_control) {
            return Err(bad(format!(
                "{:?} has control characters",
                shorten(&self.holder)
            )));
        }
        Ok(())
    }
}

/// Refuses a time that a lease can't last.
pub fn check_ttl(ttl_ms: u64) -> Result<()> {
    if TTL_RANGE_MS.contains(&ttl_ms) {
        return Ok(());
    }
    Err(Error::OptionValue {
        name: "ttlMs",
        reason: format!(
            "{ttl_ms} is not a number of milliseconds from {} to {}",
            TTL_RANGE_MS.start(),
            TTL_RANGE_MS.end()
        ),
    })
}

impl Lease {
    /// A lease that begins now, for this process.
    #[must_use]
    pub fn begin(token: u64, wanted: &Wanted, here: &System, now_ms: i64) -> Self {
        Self {
            token,
            holder: wanted.holder.clone(),
            pid: here.pid,
            started: here.started,
            host: here.host.clone(),
            machine: here.machine.clone(),
            boot: here.boot.clone(),
            pid_namespace: here.pid_namespace.clone(),
            since_ms: now_ms,
            renewed_ms: now_ms,
            renewed_boot_ms: here.boot_ms,
            ttl_ms: wanted.ttl_ms,
            released: false,
        }
    }

    /// Whether its holder's machine was not restarted since, as far as both know.
    fn is_of_boot(&self, here: &System) -> bool {
        !self.boot.is_empty() && self.boot == here.boot
    }

    /// Whether it was renewed for as long no more than a twelfth of that ago, by the clock that nobody sets.
    #[must_use]
    pub fn is_fresh(&self, ttl_ms: u64, here: &System) -> bool {
        let age_ms = match (self.renewed_boot_ms, here.boot_ms) {
            (Some(then), Some(now)) if self.is_of_boot(here) => now.checked_sub(then),
            _ => None,
        };
        self.ttl_ms == ttl_ms && age_ms.is_some_and(|age_ms| age_ms <= ttl_ms / 12)
    }

    /// The same, renewed now.
    #[must_use]
    pub fn renewed(&self, ttl_ms: u64, here: &System, now_ms: i64) -> Self {
        // The clock of another start of the machine is none for its holder.
        Self {
            renewed_ms: now_ms,
            renewed_boot_ms: here.boot_ms.filter(|_| self.is_of_boot(here)),
            ttl_ms,
            ..self.clone()
        }
    }

    /// Until when it lasts if it is not renewed, in milliseconds since 1970.
    #[must_use]
    pub fn expires_ms(&self) -> i64 {
        let ttl_ms = i64::try_from(self.ttl_ms).unwrap_or(i64::MAX);
        self.renewed_ms.saturating_add(ttl_ms)
    }

    /// How it stands for `here` at the time `now_ms`. `process` tells of a process of this machine.
    pub fn standing(
        &self,
        here: &System,
        now_ms: i64,
        process: impl FnOnce(u32) -> Process,
    ) -> Standing {
        if self.released {
            return Standing::Released;
        }
        let same_machine = self.host == here.host && self.machine == here.machine;
        let boots_known = !self.boot.is_empty() && !here.boot.is_empty();
        let same_boot = self.is_of_boot(here);
        if boots_known && !same_boot && same_machine {
            return Standing::Rebooted;
        }
        let same_processes = if boots_known {
            same_boot && !self.pid_namespace.is_empty() && self.pid_namespace == here.pid_namespace
        } else {
            same_machine && self.pid_namespace == here.pid_namespace
        };
        if same_processes {
            let found = process(self.pid);
            let other = matches!((self.started, found.started), (Some(a), Some(b)) if a != b);
            if found.alive == Some(false) || other {
                return Standing::Dead;
            }
        }
        let age_ms = match (self.renewed_boot_ms, here.boot_ms) {
            (Some(then), Some(now)) if same_boot => now.saturating_sub(then),
            _ => u64::try_from(now_ms.saturating_sub(self.renewed_ms)).unwrap_or(0),
        };
        if age_ms > self.ttl_ms {
            Standing::Expired
        } else {
            Standing::Live
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_600_000;

    fn here() -> System {
        System {
            host: "h".to_owned(),
            machine: "m".to_owned(),
            boot: "b".to_owned(),
            pid_namespace: "n".to_owned(),
            boot_ms: Some(1_000_000),
            pid: 7,
            started: Some(70),
        }
    }

    fn wanted() -> Wanted {
        Wanted {
            holder: "test".to_owned(),
            ttl_ms: 60_000,
            token: None,
            force: false,
        }
    }

    fn alive(started: u64) -> impl Fn(u32) -> Process {
        move |_| Process {
            alive: Some(true),
            started: Some(started),
        }
    }

    /// Row by row: what is different from the instant it was taken, and how it stands then.
    #[test]
    fn how_a_lease_stands() {
        let lease = Lease::begin(1, &wanted(), &here(), NOW);
        let gone = |_| Process {
            alive: Some(false),
            started: None,
        };
        let unknown = |_| Process::default();
        let at = |change: &dyn Fn(&mut System)| {
            let mut system = here();
            change(&mut system);
            system
        };
        let same = here();
        assert_eq!(lease.standing(&same, NOW, alive(70)), Standing::Live);
        assert_eq!(lease.standing(&same, NOW, unknown), Standing::Live);
        assert_eq!(lease.standing(&same, NOW, gone), Standing::Dead);
        assert_eq!(
            lease.standing(&same, NOW, alive(71)),
            Standing::Dead,
            "the number is another process's now"
        );
        // By the machine's own clock, wherever the wall clock stands.
        let late = at(&|system| system.boot_ms = Some(1_060_001));
        for now_ms in [NOW - 86_400_000, NOW, NOW + 86_400_000] {
            assert_eq!(lease.standing(&same, now_ms, alive(70)), Standing::Live);
            assert_eq!(lease.standing(&late, now_ms, alive(70)), Standing::Expired);
        }
        // Another container of the machine: its processes aren't seen, its clock is the same.
        let beside = at(&|system| {
            "o".clone_into(&mut system.pid_namespace);
            "other".clone_into(&mut system.host);
        });
        assert_eq!(lease.standing(&beside, NOW + 99_999, gone), Standing::Live);
        let restarted = at(&|system| "c".clone_into(&mut system.boot));
        assert_eq!(
            lease.standing(&restarted, NOW, alive(70)),
            Standing::Rebooted
        );
        // Another machine: nothing but the wall clock.
        let other = at(&|system| {
            "c".clone_into(&mut system.boot);
            "i".clone_into(&mut system.host);
        });
        assert_eq!(lease.standing(&other, NOW + 60_000, gone), Standing::Live);
        assert_eq!(
            lease.standing(&other, NOW + 60_001, gone),
            Standing::Expired
        );
        assert_eq!(lease.standing(&other, NOW - 99_999, gone), Standing::Live);
        // A system that tells little.
        let plain = at(&|system| {
            system.boot = String::new();
            system.pid_namespace = String::new();
            system.boot_ms = None;
        });
        let lease = Lease::begin(1, &wanted(), &plain, NOW);
        assert_eq!(lease.standing(&plain, NOW, gone), Standing::Dead);
        assert_eq!(lease.standing(&plain, NOW, unknown), Standing::Live);
        assert_eq!(
            lease.standing(&plain, NOW + 60_001, unknown),
            Standing::Expired
        );
        let given_back = Lease {
            released: true,
            ..lease
        };
        assert_eq!(
            given_back.standing(&plain, NOW, alive(70)),
            Standing::Released
        );
    }

    #[test]
    fn renewing_keeps_who_and_since() {
        let lease = Lease::begin(4, &wanted(), &here(), NOW);
        let later = System {
            boot_ms: Some(1_050_000),
            pid: 99,
            ..here()
        };
        let renewed = lease.renewed(1_000, &later, NOW + 50_000);
        assert_eq!((renewed.token, renewed.pid, renewed.since_ms), (4, 7, NOW));
        assert_eq!(renewed.expires_ms(), NOW + 51_000);
        assert_eq!(renewed.renewed_boot_ms, Some(1_050_000));
        let elsewhere = System {
            boot: "z".to_owned(),
            ..later
        };
        assert_eq!(lease.renewed(1_000, &elsewhere, NOW).renewed_boot_ms, None);
    }

    #[test]
    fn wishes_that_can_t_be() {
        let code = |wanted: Wanted| wanted.check().map_err(|error| error.code());
        assert_eq!(code(wanted()), Ok(()));
        for holder in ["", " ", "a\nb", &"x".repeat(257)] {
            let wanted = Wanted {
                holder: holder.to_owned(),
                ..wanted()
            };
            assert_eq!(code(wanted), Err("ERR_OPTION_INVALID"));
        }
        for ttl_ms in [0, 9, u64::MAX] {
            assert_eq!(
                code(Wanted { ttl_ms, ..wanted() }),
                Err("ERR_OPTION_INVALID")
            );
        }
    }
}
