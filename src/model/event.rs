//! What happened, as the audit log says it: one line of JSON each.
//!
//! Each line holds on to the one before it ([`crate::model::chain`]), so a line that was changed, taken out, moved
//! or put in is found. `docs/events.md` has every member.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::chain;

/// The longest line, in bytes, with the newline at its end. Of a longer one the data is left out.
pub const LINE_MAX: usize = 32 << 10;
/// What the first line of all says of the one before it.
pub const NO_HASH: &str = "00000000000000000000000000000000";

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A checkpoint was taken.
    Created,
    /// Something was added to what is said of a checkpoint.
    Updated,
    /// What a checkpoint stands for was completed.
    Completed,
    /// What a checkpoint stands for failed.
    Failed,
    /// A run was put back to a checkpoint.
    Restored,
    /// A restore was taken back.
    Undone,
    /// A checkpoint was dropped.
    Pruned,
    /// A run was dropped.
    Cleaned,
    /// A checkpoint came with an archive.
    Imported,
    /// A checkpoint was found damaged.
    Damaged,
    /// The store's budget had checkpoints dropped.
    Budget,
    /// An operation failed.
    OperationFailed,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Created,
        Self::Updated,
        Self::Completed,
        Self::Failed,
        Self::Restored,
        Self::Undone,
        Self::Pruned,
        Self::Cleaned,
        Self::Imported,
        Self::Damaged,
        Self::Budget,
        Self::OperationFailed,
    ];

    /// The name in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Restored => "restored",
            Self::Undone => "undone",
            Self::Pruned => "pruned",
            Self::Cleaned => "cleaned",
            Self::Imported => "imported",
            Self::Damaged => "damaged",
            Self::Budget => "budget",
            Self::OperationFailed => "operation_failed",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Something that happened, before the log knows of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What kind of thing.
    pub kind: Kind,
    /// The run; `None` if it is about no single run.
    pub run: Option<String>,
    /// The folder that holds the run.
    pub runs: Option<String>,
    /// The checkpoint; `None` if it is about none.
    pub checkpoint: Option<String>,
    /// What else is known: `operation`, and by kind more.
    pub data: Map<String, Value>,
}

impl Event {
    /// An event of an operation.
    #[must_use]
    pub fn new(kind: Kind, operation: &str) -> Self {
        let mut data = Map::new();
        data.insert("operation".to_owned(), operation.into());
        Self {
            kind,
            run: None,
            runs: None,
            checkpoint: None,
            data,
        }
    }

    /// Says which checkpoint it is about.
    #[must_use]
    pub fn of(mut self, checkpoint: impl Into<String>) -> Self {
        self.checkpoint = Some(checkpoint.into());
        self
    }

    /// Adds something that is known.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.data.insert(name.to_owned(), value.into());
        self
    }
}

/// Who does something, as far as the caller of an operation knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Who {
    /// The process.
    pub pid: u32,
    /// The machine's name; empty where it has none.
    pub host: String,
    /// The user's name.
    pub user: Option<String>,
}

/// An event as a line of the log says it, in the line's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the log, from 1 on.
    pub seq: u64,
    /// When, ISO 8601 with milliseconds, UTC.
    pub time: String,
    /// The kind's name; a newer version may know more of them.
    pub event: String,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The folder that holds the run, absolute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<String>,
    /// The checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
    /// The process.
    pub pid: u32,
    /// The machine.
    #[serde(default)]
    pub host: String,
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What else is known.
    pub data: Map<String, Value>,
    /// The hash of the line before; the chain writes it.
    #[serde(skip_serializing)]
    pub prev: String,
}

/// Where the log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The number of the last line; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for End {
    fn default() -> Self {
        Self {
            seq: 0,
            hash: NO_HASH.to_owned(),
        }
    }
}

impl Record {
    /// What an event says, without its place in the log.
    #[must_use]
    pub fn new(event: &Event, time: &str, who: &Who) -> Self {
        Self {
            seq: 0,
            time: time.to_owned(),
            event: event.kind.name().to_owned(),
            run: event.run.clone(),
            runs: event.runs.clone(),
            checkpoint: event.checkpoint.clone(),
            pid: who.pid,
            host: who.host.clone(),
            user: who.user.clone(),
            data: event.data.clone(),
            prev: NO_HASH.to_owned(),
        }
    }

    /// The line behind an end of the log, with its newline; the end moves on to it.
    pub fn line(mut self, end: &mut End) -> String {
        self.seq = end.seq + 1;
        let (mut line, mut hash) = self.chained(&end.hash);
        if line.len() >= LINE_MAX {
            let operation = self.data.remove("operation");
            self.data.clear();
            self.data
                .extend(operation.map(|name| ("operation".to_owned(), name)));
            self.data.insert("cut".to_owned(), true.into());
            (line, hash) = self.chained(&end.hash);
        }
        *end = End {
            seq: self.seq,
            hash,
        };
        line
    }

    fn chained(&self, prev: &str) -> (String, String) {
        // Texts, numbers and JSON values: nothing in it can fail.
        chain::line(self, prev).unwrap_or_default()
    }

    /// Reads a line, without its newline; `None` unless it is as it was written.
    #[must_use]
    pub fn read(line: &[u8]) -> Option<(Self, String)> {
        let read = chain::read(line)?;
        let record: Self = serde_json::from_slice(read.json).ok()?;
        Some((record, read.hash.to_owned()))
    }
}

/// The number that a line says it has, whether or not it is as it was written.
#[must_use]
pub fn seq_of(line: &[u8]) -> Option<u64> {
    let rest = line.strip_prefix(b"{\"seq\":")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

/// Whether a line that is not what was written looks like one that was and was altered since. A torn one lacks
/// its end, or has zeros where bytes never reached the disk; JSON has none.
#[must_use]
pub fn looks_altered(line: &[u8]) -> bool {
    line.starts_with(b"{") && line.ends_with(b"\"}") && !line.contains(&0)
}

/// What an operation noted: for whoever asked for it, and for its listeners.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Its events as lines of JSON, without newlines. One that could not be written to the log has no `seq`.
    pub events: Vec<String>,
    /// What went wrong in noting them, in words.
    pub warnings: Vec<String>,
}

type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// Who runs an operation, since when, and what it noted so far.
#[derive(Default)]
pub struct Session {
    begun: OnceLock<(Who, Clock)>,
    told: Mutex<Told>,
}

impl fmt::Debug for Session {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Says who runs it; the clock tells how long ago it began. Only the first call counts.
    pub fn begin(&self, who: Who, clock: impl Fn() -> Duration + Send + Sync + 'static) {
        let _ = self.begun.set((who, Box::new(clock)));
    }

    /// Who runs it.
    #[must_use]
    pub fn who(&self) -> Who {
        self.begun.get().map_or_else(
            || Who {
                pid: std::process::id(),
                ..Who::default()
            },
            |(who, _)| who.clone(),
        )
    }

    /// How long it runs; `None` without a clock.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        self.begun.get().map(|(_, clock)| clock())
    }

    /// Notes what is told to whoever asked for the operation.
    pub fn tell(&self, events: impl IntoIterator<Item = String>, warning: Option<String>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.events.extend(events);
        told.warnings.extend(warning);
    }

    /// What was noted since the last call.
    #[must_use]
    pub fn take(&self) -> Told {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *told)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by it")]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut event = Event::new(Kind::Created, "create")
            .of("c-1")
            .with("bytes", 7);
        event.run = Some("run-1".to_owned());
        event.runs = Some("/p/runs".to_owned());
        let who = Who {
            pid: 9,
            host: "h".to_owned(),
            user: None,
        };
        Record::new(&event, "2026-01-01T00:00:00.000Z", &who)
    }

    #[test]
    fn a_line_is_what_the_documentation_says() {
        let mut end = End::default();
        let line = record().line(&mut end);
        assert_eq!(
            line,
            "{\"seq\":1,\"time\":\"2026-01-01T00:00:00.000Z\",\"event\":\"created\",\"run\":\"run-1\",\
             \"runs\":\"/p/runs\",\"checkpoint\":\"c-1\",\"pid\":9,\"host\":\"h\",\
             \"data\":{\"bytes\":7,\"operation\":\"create\"},\
             \"prev\":\"00000000000000000000000000000000\",\
             \"hash\":\"5c9f0b7e3e9d0a7e0000000000000000\"}\n"
                .replace("5c9f0b7e3e9d0a7e0000000000000000", &end.hash)
        );
        let body = &line[..line.len() - 3 - end.hash.len() - ",\"hash\":\"".len()];
        assert_eq!(blake3::hash(body.as_bytes()).to_hex()[..32], end.hash);
    }

    #[test]
    fn lines_go_both_ways_and_lean_on_each_other() {
        let mut end = End::default();
        let lines = [record().line(&mut end), record().line(&mut end)];
        let (first, hash) = Record::read(lines[0].trim_end().as_bytes()).expect("whole");
        let (second, last) = Record::read(lines[1].trim_end().as_bytes()).expect("whole");
        assert_eq!((first.seq, second.seq), (1, 2));
        assert_eq!((second.prev, last), (hash, end.hash.clone()));
        assert_eq!(first.data["bytes"], 7);
        assert_eq!(seq_of(lines[1].as_bytes()), Some(2));
        assert_eq!(
            chain::stated_hash(lines[1].trim_end().as_bytes()),
            Some(&*end.hash)
        );
    }

    #[test]
    fn a_changed_byte_is_seen_wherever_it_is() {
        let line = record().line(&mut End::default());
        let line = line.trim_end().as_bytes();
        for at in 0..line.len() {
            let mut other = line.to_vec();
            other[at] ^= 1;
            assert!(Record::read(&other).is_none(), "byte {at}");
            assert!(Record::read(&line[..at]).is_none(), "cut at {at}");
        }
    }

    #[test]
    fn what_is_too_long_is_left_out() {
        let mut long = record();
        long.data
            .insert("dropped".to_owned(), "x".repeat(LINE_MAX).into());
        let line = long.line(&mut End::default());
        assert!(line.len() < LINE_MAX);
        let (read, _) = Record::read(line.trim_end().as_bytes()).expect("whole");
        assert_eq!(read.data["cut"], true);
        assert_eq!(read.data["operation"], "create");
    }

    #[test]
    fn kinds_go_both_ways() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
        }
        assert_eq!(Kind::parse("Created"), None);
    }
}
