//! Which checkpoints of a run are kept: a pure function of policy and history.

/// Keeps the newest checkpoints of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// How many good checkpoints stay, at least 1.
    pub keep_last: u32,
}

impl Default for Retention {
    /// The newest five.
    fn default() -> Self {
        Self { keep_last: 5 }
    }
}

/// What the policy says of one checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Stays: among the newest.
    KeepNewest,
    /// Stays: damaged ones are evidence; they neither count nor go.
    KeepDamaged,
    /// Goes: enough newer good ones exist.
    Drop,
}

impl Verdict {
    /// The stable word for the reason.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::KeepNewest => "keep_last",
            Self::KeepDamaged => "damaged",
            Self::Drop => "superseded",
        }
    }
}

impl Retention {
    /// One verdict for each of `good` whole checkpoints, newest first. Damaged ones neither count
    /// nor go.
    #[must_use]
    pub fn judge(self, good: usize) -> Vec<Verdict> {
        let keep = usize::try_from(self.keep_last.max(1)).unwrap_or(usize::MAX);
        (0..good)
            .map(|at| {
                if at < keep {
                    Verdict::KeepNewest
                } else {
                    Verdict::Drop
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Drop, KeepNewest};

    #[test]
    fn the_newest_stay() {
        let keep = |keep_last, good| Retention { keep_last }.judge(good);
        assert_eq!(keep(2, 3), [KeepNewest, KeepNewest, Drop]);
        assert_eq!(keep(5, 0), []);
        assert_eq!(
            keep(0, 2),
            [KeepNewest, Drop],
            "the newest is never dropped"
        );
    }
}
