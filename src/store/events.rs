//! The audit log: what happened in a project, one line after the other, for others to follow.
//!
//! `<store>/events/` holds segments of about 1 MiB, each named by the number of its first line. What a line
//! says, and how it leans on the one before, is in [`crate::model::event`]. Beside them lie the lock of those
//! who append, and in `open/` a marker for each run whose next event may be missing.
//!
//! *Invariants*: numbers go up by one, and one that was handed out by [`Log::read`] is never given to another
//! event: a reader makes what it read durable before it hands it out. A segment is durable before the next
//! one begins. A line that is whole is never changed or cut off, also where it does not fit to the one before, or
//! was altered: it stays and is told by [`Log::check`].
//!
//! *Crash story*: appending syncs nothing. A kill may leave a torn line at the end, power loss may take lines
//! from the end that nobody read; the next to append cuts a torn one off, durably, and goes on behind the last
//! whole one. A marker without its run's event means that an operation was killed between what it did and its
//! line: the next one of the run adds the line. Killed while a segment begins: an empty one, which is used, or a full one more than there should be.
//!
//! *Limits*: whoever can write the store can make the chain anew, or take lines from its end. Where a file
//! system keeps later bytes of an unsynced file and loses earlier ones (none does that on purpose), `check`
//! tells the gap as damage. After power loss markers may be gone like the lines they stand for. Where the
//! store can only be read, reading syncs nothing. Segments beyond 64 MiB together go, the oldest first.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::model::cancel::Cancel;
use crate::model::chain::stated_hash;
use crate::model::event::{End, LINE_MAX, NO_HASH, Record, looks_altered, seq_of};
use crate::store::disk::{Disk, EntryKind, LockGuard};
use crate::store::layout::RunDir;
use crate::store::place::StoreDir;
use crate::store::publish::remove;

/// A segment is not filled any more from this length on, in bytes.
pub const SEGMENT_BYTES: u64 = 1 << 20;
/// All segments together are at most about this long, in bytes.
pub const LOG_BYTES: u64 = 64 << 20;
/// How long an append waits for others, in milliseconds: each holds the lock for some microseconds.
const WAIT_MS: u64 = 5_000;
/// The last line is looked for in so many bytes from the end, then in more.
const WINDOWS: [u64; 3] = [8 << 10, 4 * LINE_MAX as u64, 4 * SEGMENT_BYTES];
/// No segment is longer than this, in bytes; one that somebody made longer is not read.
const READ_MAX: u64 = LOG_BYTES;
/// How often reading begins anew because a segment went away meanwhile.
const TRIES: usize = 8;
/// No more breaks of the chain are told.
const BREAKS_MAX: usize = 100;
const END: &str = ".ndjson";

/// The audit log of a store.
#[derive(Clone, Copy)]
pub struct Log<'a> {
    disk: &'a dyn Disk,
    place: &'a StoreDir,
    /// Tells makers of a store apart; the time in milliseconds since 1970.
    now_ms: i64,
    /// Whether the store was there, and one of this version, a moment ago.
    is_seen: bool,
}

/// Some events, in order, and where reading goes on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// What the lines say, and the lines themselves without their newlines.
    pub events: Vec<(Record, String)>,
    /// The last number that was looked at: reading goes on behind it.
    pub position: u64,
    /// How many lines were passed over because they are not what was written, or not in their place.
    pub passed_over: u64,
}

/// Something in the log that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// What is wrong.
    pub kind: BreakKind,
    /// The segment.
    pub path: PathBuf,
    /// The number that stands there, or should.
    pub seq: u64,
    /// What is wrong, in words.
    pub reason: String,
}

/// How the log can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakKind {
    /// A line is not what was written.
    Altered,
    /// A line does not follow the one before it: some were taken out, moved, or put in.
    OutOfPlace,
}

impl BreakKind {
    /// The stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Altered => "event_altered",
            Self::OutOfPlace => "event_out_of_place",
        }
    }
}

/// Runs whose last event may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenRuns {
    /// The folder of runs, and the run in it.
    pub runs: Vec<(PathBuf, String)>,
    /// How many markers can't be read: any run may be meant.
    pub unreadable: usize,
}

/// An event that is about to be due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Due {
    /// Its kind's name.
    pub event: String,
    /// The verb.
    pub operation: String,
    /// The checkpoint.
    pub checkpoint: String,
    /// The place in the run's log of changes of what it tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<u64>,
    /// The rescue checkpoint of the restore that it tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rescue: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    runs: PathBuf,
    run: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    due: Vec<Due>,
}

/// A marker may have so many bytes: it names all checkpoints that a prune drops.
const MARKER_MAX: u64 = 16 << 20;

/// A segment, as the folder shows it.
#[derive(Debug, Clone)]
struct Segment {
    first: u64,
    path: PathBuf,
}

/// The end of a segment.
struct Tail {
    /// Its last line; `None` without one.
    end: Option<End>,
    /// How many bytes of it are no torn line.
    keep: u64,
}

fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(END)?;
    let plain = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|first| plain && *first > 0)
}

impl<'a> Log<'a> {
    /// The log of a store, which need not exist.
    #[must_use]
    pub fn new(disk: &'a dyn Disk, place: &'a StoreDir, now_ms: i64) -> Self {
        Self {
            disk,
            place,
            now_ms,
            is_seen: false,
        }
    }

    fn folder(&self) -> PathBuf {
        self.place.events()
    }

    fn open_folder(&self) -> PathBuf {
        self.folder().join("open")
    }

    fn segment(&self, first: u64) -> Segment {
        Segment {
            first,
            path: self.folder().join(format!("{first:016}{END}")),
        }
    }

    /// The segments, in order; none if there is no log.
    fn segments(&self) -> Result<Vec<Segment>> {
        let folder = self.folder();
        let entries = match self.disk.list(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("read", &folder, error)),
        };
        let files = entries.iter().filter(|one| one.kind == EntryKind::File);
        let firsts = files.filter_map(|one| first_of(one.name.to_str()?));
        let mut segments: Vec<Segment> = firsts.map(|first| self.segment(first)).collect();
        segments.sort_unstable_by_key(|segment| segment.first);
        Ok(segments)
    }

    /// Makes the store and the log's folder, unless they are there.
    fn make(&self) -> Result<()> {
        // Two threads may come here in the same millisecond.
        static MAKERS: AtomicU64 = AtomicU64::new(0);
        let maker = MAKERS.fetch_add(1, Ordering::Relaxed);
        let token = format!("{}-{}-e{maker}", std::process::id(), self.now_ms);
        self.place.create(self.disk, &token)?;
        self.make_dir(&self.folder())
    }

    fn make_dir(&self, path: &Path) -> Result<()> {
        match self.disk.create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io("create", path, error))
            }
            _ => Ok(()),
        }
    }

    /// Fails if something else lies where the log must be; `false` if nothing does.
    fn is_there(&self) -> Result<bool> {
        let path = self.folder();
        match self.disk.metadata(&path) {
            Ok(found) => match found.kind {
                EntryKind::Directory => Ok(true),
                EntryKind::Symlink => Err(Error::PathSymlink { path }),
                _ => Err(Error::PathNotDirectory { path }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("read", &path, error)),
        }
    }

    /// Waits for the right to append.
    fn lock(&self) -> Result<Box<dyn LockGuard>> {
        let path = self.folder().join("lock");
        let mut waited_ms = 0;
        loop {
            if let Some(guard) = self.disk.try_lock(&path, "").context("lock", &path)? {
                return Ok(guard);
            }
            if waited_ms >= WAIT_MS {
                return Err(Error::StoreBusy { path, waited_ms });
            }
            self.disk.pause(1);
            waited_ms += 1;
        }
    }

    /// Waits for the right to append, and makes the store if there is none. One of another version is left alone.
    fn lock_there(&self) -> Result<Box<dyn LockGuard>> {
        if self.is_seen {
            match self.lock() {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                lock => return lock,
            }
        }
        if !self.has_log()? {
            self.make()?;
        }
        self.lock()
    }

    /// Appends events, in order, and gives their lines without newlines. Makes the store if there is none.
    /// Durable is only what a reader handed out.
    pub fn append(&self, records: Vec<Record>) -> Result<Vec<String>> {
        self.append_all(records).map_err(|error| match error {
            // Not the run, for which the path alone would be taken.
            Error::RunReadOnly { .. } => Error::StoreReadOnly {
                path: self.place.path().to_path_buf(),
            },
            error => error,
        })
    }

    fn append_all(&self, records: Vec<Record>) -> Result<Vec<String>> {
        let _lock = self.lock_there()?;
        let (mut last, mut len, mut end) = self.end()?;
        let mut written = Vec::with_capacity(records.len());
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let (mut text, begins) = (String::new(), written.len());
            while let Some(record) = records.peek() {
                let mut next = end.clone();
                let line = record.clone().line(&mut next);
                let full = (len.unwrap_or(0) + (text.len() + line.len()) as u64) > SEGMENT_BYTES;
                if full && (len.unwrap_or(0) > 0 || !text.is_empty()) {
                    break;
                }
                end = next;
                text.push_str(&line);
                written.push(line);
                records.next();
            }
            if begins < written.len() {
                len = Some(self.write(&last, len, text.as_bytes())?);
            }
            if records.peek().is_some() {
                last = self.next_segment(&last, len, end.seq + 1)?;
                len = None;
            }
        }
        for line in &mut written {
            line.truncate(line.trim_end().len());
        }
        Ok(written)
    }

    /// Where the log ends: its last segment, that one's length (`None` if it is not there yet), and its last
    /// line. What is torn is cut off. The caller holds the lock.
    fn end(&self) -> Result<(Segment, Option<u64>, End)> {
        let mut segments = self.segments()?;
        loop {
            let Some(last) = segments.pop() else {
                return Ok((self.segment(1), None, End::default()));
            };
            let (len, found) = self.cut_torn(&last)?;
            if let Some(end) = found {
                return Ok((last, Some(len), end));
            }
            // Somebody was killed before its first line, or power loss took all of its lines.
            let mut before = None;
            for segment in segments.iter().rev() {
                let len = self.len_of(&segment.path)?;
                before = self.tail(segment, len)?.end;
                if before.is_some() {
                    break;
                }
            }
            let end = before.unwrap_or_else(|| End {
                seq: last.first - 1,
                hash: NO_HASH.to_owned(),
            });
            if end.seq + 1 == last.first {
                return Ok((last, Some(len), end));
            }
            remove(self.disk, &last.path)?;
            if segments.is_empty() {
                return Ok((self.segment(end.seq + 1), None, end));
            }
        }
    }

    fn len_of(&self, path: &Path) -> Result<u64> {
        Ok(self.disk.metadata(path).context("read", path)?.len)
    }

    /// Cuts off what is torn, durably: what comes behind it must not make power loss reach further back.
    fn cut_torn(&self, segment: &Segment) -> Result<(u64, Option<End>)> {
        let path = &segment.path;
        let len = self.len_of(path)?;
        let tail = self.tail(segment, len)?;
        if tail.keep < len {
            self.disk.truncate(path, tail.keep).context("write", path)?;
            let (file, _) = self.disk.append(path).context("write", path)?;
            file.finish().context("sync", path)?;
        }
        Ok((tail.keep, tail.end))
    }

    /// Looks at the end of a segment, at as little of it as tells.
    fn tail(&self, segment: &Segment, len: u64) -> Result<Tail> {
        let path = &segment.path;
        for window in WINDOWS {
            let from = len.saturating_sub(window);
            let bytes = usize::try_from(len - from).unwrap_or(usize::MAX);
            let bytes = self.disk.read_at(path, from, bytes).context("read", path)?;
            if let Some(tail) = tail_of(&bytes, from, segment.first) {
                return Ok(tail);
            }
            if from == 0 {
                break;
            }
        }
        Err(Error::Io {
            action: "read",
            path: path.clone(),
            source: io::Error::new(
                io::ErrorKind::InvalidData,
                "it has no line of the audit log",
            ),
        })
    }

    /// Writes lines behind a segment's end; gives its length then.
    fn write(&self, segment: &Segment, len: Option<u64>, bytes: &[u8]) -> Result<u64> {
        let path = &segment.path;
        let (mut file, before) = match len {
            Some(_) => self.disk.append(path).context("write", path)?,
            None => (self.disk.create(path).context("create", path)?, 0),
        };
        // Of what did arrive somebody may have read a line already: it stays. A torn one is cut off by the next.
        file.write_all(bytes).context("write", path)?;
        Ok(before + bytes.len() as u64)
    }

    /// Ends a segment and says which is the next one. Drops the oldest ones if there are too many.
    fn next_segment(&self, last: &Segment, len: Option<u64>, first: u64) -> Result<Segment> {
        let path = &last.path;
        let folder = self.folder();
        if len.is_some() {
            let (file, _) = self.disk.append(path).context("write", path)?;
            file.finish().context("sync", path)?;
        }
        self.disk.sync_dir(&folder).context("sync", &folder)?;
        let mut kept = Vec::new();
        for segment in self.segments()? {
            kept.push((self.len_of(&segment.path)?, segment));
        }
        let mut bytes: u64 = kept.iter().map(|(len, _)| len).sum();
        for (len, segment) in kept {
            if bytes + SEGMENT_BYTES <= LOG_BYTES || segment.first == last.first {
                break;
            }
            remove(self.disk, &segment.path)?;
            // In this order also after power loss.
            self.disk.sync_dir(&folder).context("sync", &folder)?;
            bytes -= len;
        }
        Ok(self.segment(first))
    }

    /// Reads at most `limit` events that are wanted: the first ones behind `after`, or without it the newest
    /// ones. They are durable when they are handed out.
    ///
    /// Gives [`Error::EventsGone`] if some behind `after` are not kept any more, [`Error::EventsAhead`] if the log
    /// has not come that far.
    pub fn read(
        &self,
        after: Option<u64>,
        limit: usize,
        wanted: &dyn Fn(&Record) -> bool,
        cancel: &Cancel,
    ) -> Result<Page> {
        let Some(after) = after else {
            return self.read_back(limit, wanted, &|_| false, cancel);
        };
        if !self.has_log()? {
            return match after {
                0 => Ok(Page::default()),
                after => Err(self.ahead(after, 0)),
            };
        }
        again(cancel, &|| self.read_behind(after, limit, wanted, cancel))
    }

    /// Reads the newest events that are wanted, at most `limit`, back to the one that `begins` says is the first of
    /// them. They are durable when they are handed out.
    pub fn read_back(
        &self,
        limit: usize,
        wanted: &dyn Fn(&Record) -> bool,
        begins: &dyn Fn(&Record) -> bool,
        cancel: &Cancel,
    ) -> Result<Page> {
        if !self.has_log()? {
            return Ok(Page::default());
        }
        again(cancel, &|| self.read_newest(limit, wanted, begins, cancel))
    }

    fn ahead(&self, after: u64, last: u64) -> Error {
        Error::EventsAhead {
            path: self.folder(),
            after,
            last,
        }
    }

    fn read_behind(
        &self,
        after: u64,
        limit: usize,
        wanted: &dyn Fn(&Record) -> bool,
        cancel: &Cancel,
    ) -> Result<Page> {
        let segments = self.segments()?;
        let last = self.last_seq(&segments)?;
        if after > last {
            return Err(self.ahead(after, last));
        }
        let mut page = Page {
            position: after,
            ..Page::default()
        };
        if after == last {
            return Ok(page);
        }
        let Some(begin) = segments.iter().rposition(|one| one.first <= after + 1) else {
            return Err(Error::EventsGone {
                path: self.folder(),
                after,
                oldest: segments.first().map_or(1, |one| one.first),
            });
        };
        'segments: for segment in &segments[begin..] {
            cancel.check()?;
            let bytes = self.bytes_of(segment)?;
            for line in lines_of(&bytes) {
                if page.events.len() >= limit {
                    break 'segments;
                }
                let stated = seq_of(line);
                if stated.is_some_and(|seq| seq <= page.position && seq <= after) {
                    if page.position == after {
                        // What was passed over lies before it, and is not asked for.
                        page.passed_over = 0;
                    }
                    continue;
                }
                match Record::read(line) {
                    Some((record, _)) if record.seq > page.position => {
                        page.position = record.seq;
                        if wanted(&record) {
                            page.events.push((record, text_of(line)));
                        }
                    }
                    _ => {
                        page.passed_over += 1;
                        // Its number is not given to another one: it need not be looked at again.
                        if stated == Some(page.position + 1) && looks_altered(line) {
                            page.position += 1;
                        }
                    }
                }
            }
        }
        self.make_durable(&segments)?;
        Ok(page)
    }

    fn read_newest(
        &self,
        limit: usize,
        wanted: &dyn Fn(&Record) -> bool,
        begins: &dyn Fn(&Record) -> bool,
        cancel: &Cancel,
    ) -> Result<Page> {
        let segments = self.segments()?;
        let mut page = Page {
            position: self.last_seq(&segments)?,
            ..Page::default()
        };
        let mut before = page.position + 1;
        'segments: for segment in segments.iter().rev() {
            cancel.check()?;
            let bytes = self.bytes_of(segment)?;
            let lines: Vec<&[u8]> = lines_of(&bytes).collect();
            for line in lines.into_iter().rev() {
                if page.events.len() >= limit {
                    break 'segments;
                }
                match Record::read(line) {
                    Some((record, _)) if record.seq < before => {
                        before = record.seq;
                        if wanted(&record) {
                            let is_first = begins(&record);
                            page.events.push((record, text_of(line)));
                            if is_first {
                                break 'segments;
                            }
                        }
                    }
                    // Written since.
                    Some((record, _)) if record.seq > page.position => {}
                    _ => page.passed_over += 1,
                }
            }
        }
        page.events.reverse();
        self.make_durable(&segments)?;
        Ok(page)
    }

    /// The number of the last whole line.
    fn last_seq(&self, segments: &[Segment]) -> Result<u64> {
        for segment in segments.iter().rev() {
            let len = self.len_of(&segment.path)?;
            if let Some(end) = self.tail(segment, len)?.end {
                return Ok(end.seq);
            }
        }
        // Behind what an empty segment's name says nothing was written.
        Ok(segments.last().map_or(0, |last| last.first - 1))
    }

    fn bytes_of(&self, segment: &Segment) -> Result<Vec<u8>> {
        let path = &segment.path;
        self.disk.read(path, READ_MAX).context("read", path)
    }

    /// Makes all that can be read durable; all segments but the last are.
    fn make_durable(&self, segments: &[Segment]) -> Result<()> {
        let Some(last) = segments.last() else {
            return Ok(());
        };
        if !self.disk.writable(&last.path) {
            return Ok(());
        }
        match self.disk.append(&last.path) {
            Ok((file, _)) => file.finish().context("sync", &last.path)?,
            Err(error) if is_refused(&error) => return Ok(()),
            Err(error) => return Err(Error::io("sync", &last.path, error)),
        }
        for folder in [&self.folder(), self.place.path()] {
            self.disk.sync_dir(folder).context("sync", folder)?;
        }
        Ok(())
    }

    /// Looks at every line; gives what is not as it was written, in order, at most a hundred.
    pub fn check(&self, cancel: &Cancel) -> Result<Vec<Break>> {
        let mut breaks = Vec::new();
        if !self.has_log()? {
            return Ok(breaks);
        }
        let segments = self.segments()?;
        let mut chain = Chain {
            breaks: &mut breaks,
            before: None,
        };
        for (at, segment) in segments.iter().enumerate() {
            cancel.check()?;
            let bytes = match self.bytes_of(segment) {
                Ok(bytes) => bytes,
                // It was dropped meanwhile: it was among the oldest.
                Err(Error::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && chain.before.is_none() =>
                {
                    continue;
                }
                Err(error @ Error::Io { .. }) => {
                    chain.tell(
                        BreakKind::Altered,
                        segment,
                        segment.first,
                        error.full_message(),
                    );
                    chain.before = None;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut first = true;
            for line in lines_of(&bytes) {
                chain.follow(segment, line, first);
                first = false;
            }
            // At the end of all a torn line is no damage: the next one to append cuts it off.
            let whole = bytes.last().is_none_or(|byte| *byte == b'\n');
            if !whole && at + 1 < segments.len() {
                let seq = chain.before.as_ref().map_or(segment.first, |one| one.0 + 1);
                chain.tell(
                    BreakKind::Altered,
                    segment,
                    seq,
                    "it ends within a line".to_owned(),
                );
            }
            if chain.breaks.len() >= BREAKS_MAX {
                break;
            }
        }
        breaks.truncate(BREAKS_MAX);
        Ok(breaks)
    }

    fn marker(&self, run: &RunDir) -> PathBuf {
        let path = run.path().to_string_lossy();
        let name = &blake3::hash(path.as_bytes()).to_hex()[..16];
        self.open_folder().join(name)
    }

    /// Notes that a run is about to change, and the events that will be due then, so that they are missed if
    /// they never come. The caller holds the run's lock, and calls [`Self::end_of`] when they were appended. What is
    /// appended until then need not look once more whether there is a store.
    pub fn begin(&mut self, run: &RunDir, due: Vec<Due>) -> Result<()> {
        self.is_seen = self.has_log()?;
        self.mark(run, due)
    }

    /// Does the same, unless that would make a store, or take the place of what an operation that was killed left; `false`
    /// if it would.
    pub fn begin_if_there(&mut self, run: &RunDir, due: Vec<Due>) -> Result<bool> {
        let left = self.disk.metadata(&self.marker(run));
        let is_free = matches!(left, Err(error) if error.kind() == io::ErrorKind::NotFound);
        if !is_free || !self.has_log()? {
            return Ok(false);
        }
        self.is_seen = true;
        self.mark(run, due).map(|()| true)
    }

    fn mark(&self, run: &RunDir, due: Vec<Due>) -> Result<()> {
        let marker = Marker {
            runs: run.runs_dir().to_path_buf(),
            run: run.run_id().to_string(),
            due,
        };
        let path = self.marker(run);
        let bytes = serde_json::to_vec(&marker).unwrap_or_default();
        match self.disk.overwrite(&path, &bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if !self.is_there()? {
                    self.make()?;
                }
                self.make_dir(&self.open_folder())?;
                self.disk.overwrite(&path, &bytes).context("write", &path)
            }
            done => done.context("write", &path),
        }
    }

    /// Whether there is a store of this version, with a log. An error if either can't be one.
    fn has_log(&self) -> Result<bool> {
        Ok(self.place.exists(self.disk)? && self.is_there()?)
    }

    /// What [`Self::begin`] noted of a run, unless its events were appended. `None` also for a note that can't be
    /// read: whoever wrote it was killed before he changed anything.
    #[must_use]
    pub fn due(&self, run: &RunDir) -> Option<Vec<Due>> {
        let bytes = self.disk.read(&self.marker(run), MARKER_MAX).ok()?;
        let marker: Marker = serde_json::from_slice(&bytes).ok()?;
        Some(marker.due)
    }

    /// Notes that the run's event was appended.
    pub fn end_of(&self, run: &RunDir) -> Result<()> {
        remove(self.disk, &self.marker(run))
    }

    /// The runs whose last event may be missing: an operation is at work there, or was killed.
    pub fn open_runs(&self) -> Result<OpenRuns> {
        let folder = self.open_folder();
        let entries = match self.disk.list(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(OpenRuns::default());
            }
            Err(error) => return Err(Error::io("read", &folder, error)),
        };
        let mut found = OpenRuns::default();
        for entry in entries {
            let path = folder.join(&entry.name);
            match self.disk.read(&path, MARKER_MAX) {
                Ok(bytes) => match serde_json::from_slice::<Marker>(&bytes) {
                    Ok(marker) => found.runs.push((marker.runs, marker.run)),
                    Err(_) => found.unreadable += 1,
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => found.unreadable += 1,
            }
        }
        found.runs.sort();
        Ok(found)
    }
}

/// Reads once more where the log changed between two looks.
fn again(cancel: &Cancel, read: &dyn Fn() -> Result<Page>) -> Result<Page> {
    let mut tries = 0;
    loop {
        tries += 1;
        cancel.check()?;
        match read() {
            // A segment was dropped, or a torn line cut off, between two looks.
            Err(Error::Io { source, .. })
                if tries < TRIES
                    && [io::ErrorKind::NotFound, io::ErrorKind::UnexpectedEof]
                        .contains(&source.kind()) => {}
            page => return page,
        }
    }
}

fn is_refused(error: &io::Error) -> bool {
    [
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem,
    ]
    .contains(&error.kind())
}

fn text_of(line: &[u8]) -> String {
    String::from_utf8_lossy(line).into_owned()
}

/// The lines that have their newline, without it.
fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    lines.filter_map(|line| line.strip_suffix(b"\n"))
}

/// The end of a segment, seen in its last bytes; `None` if more of them are needed.
fn tail_of(bytes: &[u8], from: u64, first: u64) -> Option<Tail> {
    // Where the window begins, a line is cut.
    let begin = if from == 0 {
        0
    } else {
        bytes.iter().position(|byte| *byte == b'\n')? + 1
    };
    let mut keep = begin;
    let mut lines: Vec<(usize, &[u8])> = Vec::new();
    for line in lines_of(&bytes[begin..]) {
        lines.push((keep, line));
        keep += line.len() + 1;
    }
    let tail = |end: Option<End>, keep: usize| {
        Some(Tail {
            end,
            keep: from + keep as u64,
        })
    };
    let end_of = |line: &[u8]| {
        let (record, hash) = Record::read(line)?;
        Some(End {
            seq: record.seq,
            hash,
        })
    };
    let Some((at, last)) = lines.last().copied() else {
        return if from == 0 { tail(None, keep) } else { None };
    };
    if let Some(end) = end_of(last) {
        return tail(Some(end), keep);
    }
    // If the last one is torn it goes. Those before it were not what a crash leaves: they stay.
    let mut at = at;
    if looks_altered(last) {
        at = keep;
    } else {
        lines.pop();
    }
    let Some((_, kept)) = lines.last().copied() else {
        return if from == 0 { tail(None, at) } else { None };
    };
    let whole = lines
        .iter()
        .rev()
        .position(|(_, line)| end_of(line).is_some());
    let seq = match whole.and_then(|back| Some((back, end_of(lines[lines.len() - 1 - back].1)?))) {
        Some((0, end)) => return tail(Some(end), at),
        Some((back, end)) => end.seq + back as u64,
        None if from == 0 => first - 1 + lines.len() as u64,
        None => return None,
    };
    let hash = stated_hash(kept).unwrap_or(NO_HASH).to_owned();
    tail(Some(End { seq, hash }), at)
}

/// Follows the chain from line to line.
struct Chain<'b> {
    breaks: &'b mut Vec<Break>,
    /// The number of the line before, and the hash that it says it has; `None` before the first one.
    before: Option<(u64, Option<String>)>,
}

impl Chain<'_> {
    fn tell(&mut self, kind: BreakKind, segment: &Segment, seq: u64, reason: String) {
        self.breaks.push(Break {
            kind,
            path: segment.path.clone(),
            seq,
            reason,
        });
    }

    fn follow(&mut self, segment: &Segment, line: &[u8], first: bool) {
        let due = match &self.before {
            Some((seq, _)) => seq + 1,
            None => segment.first,
        };
        let Some((record, hash)) = Record::read(line) else {
            let reason = "the line is not what was written";
            self.tell(BreakKind::Altered, segment, due, reason.to_owned());
            self.before = Some((due, stated_hash(line).map(str::to_owned)));
            return;
        };
        let seq = record.seq;
        let expected = match &self.before {
            Some((_, hash)) => hash.as_deref(),
            None if seq == 1 => Some(NO_HASH),
            None => None,
        };
        if seq != due {
            let reason = format!("event {seq} stands where {due} must be");
            self.tell(BreakKind::OutOfPlace, segment, due, reason);
        } else if expected.is_some_and(|hash| hash != record.prev) {
            let reason = "it does not follow the event that stands before it";
            self.tell(BreakKind::OutOfPlace, segment, seq, reason.to_owned());
        } else if first && seq != segment.first {
            let reason = format!("the segment begins with event {seq}, which is not in its name");
            self.tell(BreakKind::OutOfPlace, segment, seq, reason);
        }
        self.before = Some((seq, Some(hash)));
    }
}
