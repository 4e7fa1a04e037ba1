//! How far a running operation is; written by its threads, read by whoever shows it. Goes with who runs it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crate::model::event::Session;

/// What an operation is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// It has not begun.
    Waiting,
    /// It looks for what there is.
    Scanning,
    /// It reads contents.
    Reading,
    /// It makes what it has durable.
    Storing,
    /// It writes files back.
    Writing,
    /// It holds what is stored against its names.
    Verifying,
    /// It has ended.
    Done,
}

impl Phase {
    /// Every phase, in the order of their numbers.
    const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Scanning,
        Self::Reading,
        Self::Storing,
        Self::Writing,
        Self::Verifying,
        Self::Done,
    ];

    /// The stable name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Scanning => "scanning",
            Self::Reading => "reading",
            Self::Storing => "storing",
            Self::Writing => "writing",
            Self::Verifying => "verifying",
            Self::Done => "done",
        }
    }
}

/// Counters of a running operation. They only ever inform: nothing is decided by them.
#[derive(Debug, Default)]
pub struct Progress {
    phase: AtomicU8,
    files: AtomicU64,
    bytes: AtomicU64,
    total_files: AtomicU64,
    total_bytes: AtomicU64,
    /// Who runs it, and what it noted of itself.
    pub session: Session,
}

/// What a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// What the operation is busy with.
    pub phase: Phase,
    /// Files dealt with.
    pub files: u64,
    /// Bytes dealt with.
    pub bytes: u64,
    /// Files in all, where known.
    pub total_files: Option<u64>,
    /// Bytes in all, where known.
    pub total_bytes: Option<u64>,
}

impl Progress {
    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Counts files and bytes that are done.
    pub fn add(&self, files: u64, bytes: u64) {
        self.files.fetch_add(files, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Tells how much there is in all; 0 stands for "not known".
    pub fn expect(&self, files: u64, bytes: u64) {
        self.total_files.store(files, Ordering::Relaxed);
        self.total_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Looks at the counters; they are not of one and the same moment.
    #[must_use]
    pub fn glance(&self) -> Glance {
        let known = |total: u64| (total > 0).then_some(total);
        let phase = usize::from(self.phase.load(Ordering::Relaxed));
        Glance {
            phase: Phase::ALL.get(phase).copied().unwrap_or(Phase::Waiting),
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            total_files: known(self.total_files.load(Ordering::Relaxed)),
            total_bytes: known(self.total_bytes.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_seen() {
        let progress = Progress::default();
        assert_eq!(progress.glance().phase, Phase::Waiting);
        for phase in Phase::ALL {
            progress.enter(phase);
            assert_eq!(progress.glance().phase, phase);
        }
        progress.add(2, 30);
        progress.add(1, 5);
        progress.expect(9, 0);
        let seen = progress.glance();
        assert_eq!((seen.files, seen.bytes), (3, 35));
        assert_eq!((seen.total_files, seen.total_bytes), (Some(9), None));
    }
}
