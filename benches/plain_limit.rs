//! The least that any durable capture of a folder has to do: walk it, read what is new, compress it
//! with zstd -1, write that to one file, sync it. Two threads; no names kept, nothing compared.
//!
//! ```text
//! plain_limit FOLDER TARGET [SINCE]
//! ```
//!
//! `SINCE` (milliseconds since 1970): files not modified since then are only looked at. The parent
//! of `TARGET` is synced too. `npm run bench` builds and runs it; `cargo bench` only says so.

#![allow(clippy::print_stderr, reason = "its only way to say what is wrong")]
#![allow(missing_docs, reason = "no public items")]

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use std::{env, mem, thread};

const LEVEL: i32 = 1;
const THREADS: usize = 2;
/// Files are handed to the other thread once they are this many bytes.
const BATCH: u64 = 1 << 20;
/// Compressed bytes a thread gathers before it writes them.
const WRITE: usize = 1 << 20;

enum Work {
    Folder(PathBuf),
    Files(Vec<(PathBuf, u64)>),
}

/// What is still to be done. `open` counts the pieces that wait or are being worked on.
#[derive(Default)]
struct Queue {
    waiting: Vec<Work>,
    open: usize,
    failed: bool,
}

struct Capture {
    queue: Mutex<Queue>,
    changed: Condvar,
    target: Mutex<File>,
    since: SystemTime,
}

impl Capture {
    fn add(&self, work: Work) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.waiting.push(work);
        queue.open += 1;
        self.changed.notify_one();
    }

    /// Waits for a piece of work; `None` when all is done or something failed.
    fn take(&self) -> Option<Work> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if queue.open == 0 || queue.failed {
                return None;
            }
            if let Some(work) = queue.waiting.pop() {
                return Some(work);
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, failed: bool) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.open -= 1;
        queue.failed |= failed;
        self.changed.notify_all();
    }

    fn work(&self) -> io::Result<()> {
        let mut packer = Packer::new()?;
        while let Some(work) = self.take() {
            let outcome = match work {
                Work::Folder(folder) => self.walk(&folder),
                Work::Files(files) => files
                    .iter()
                    .try_for_each(|(file, size)| packer.add(file, *size, &self.target)),
            };
            self.done(outcome.is_err());
            outcome?;
        }
        packer.flush(&self.target)
    }

    fn walk(&self, folder: &Path) -> io::Result<()> {
        let (mut files, mut bytes) = (Vec::new(), 0);
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_dir() {
                self.add(Work::Folder(entry.path()));
            } else if about.is_file() && about.modified()? >= self.since {
                files.push((entry.path(), about.len()));
                bytes += about.len();
                if bytes >= BATCH {
                    self.add(Work::Files(mem::take(&mut files)));
                    bytes = 0;
                }
            }
        }
        if !files.is_empty() {
            self.add(Work::Files(files));
        }
        Ok(())
    }
}

/// One thread's compressor and buffers.
struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
    text: Vec<u8>,
    /// Only grows: clearing it for every file would be work that is not needed.
    packed: Vec<u8>,
    filled: usize,
}

impl Packer {
    fn new() -> io::Result<Self> {
        let zstd = zstd::bulk::Compressor::new(LEVEL)?;
        Ok(Self {
            zstd,
            text: Vec::new(),
            packed: Vec::new(),
            filled: 0,
        })
    }

    fn add(&mut self, file: &Path, size: u64, target: &Mutex<File>) -> io::Result<()> {
        let size = usize::try_from(size).map_err(io::Error::other)?;
        self.text.clear();
        self.text.reserve(size + 1);
        File::open(file)?.read_to_end(&mut self.text)?;
        let end = self.filled + zstd::zstd_safe::compress_bound(self.text.len());
        if end > self.packed.len() {
            self.packed.resize(end, 0);
        }
        self.filled += self
            .zstd
            .compress_to_buffer(&self.text, &mut self.packed[self.filled..])?;
        if self.filled >= WRITE {
            self.flush(target)
        } else {
            Ok(())
        }
    }

    fn flush(&mut self, target: &Mutex<File>) -> io::Result<()> {
        let mut target = target.lock().unwrap_or_else(PoisonError::into_inner);
        target.write_all(&self.packed[..self.filled])?;
        self.filled = 0;
        Ok(())
    }
}

fn capture(folder: PathBuf, target: &Path, since: SystemTime) -> io::Result<()> {
    let capture = Capture {
        queue: Mutex::default(),
        changed: Condvar::new(),
        target: Mutex::new(File::create(target)?),
        since,
    };
    capture.add(Work::Folder(folder));
    thread::scope(|scope| {
        let others: Vec<_> = (1..THREADS)
            .map(|_| scope.spawn(|| capture.work()))
            .collect();
        let own = capture.work();
        others.into_iter().try_for_each(|other| {
            other
                .join()
                .map_err(|_| io::Error::other("a thread panicked"))?
        })?;
        own
    })?;
    capture
        .target
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .sync_all()?;
    if cfg!(unix) {
        let parent = target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let since = match words.get(2).map(|word| word.parse()) {
        None => SystemTime::UNIX_EPOCH,
        Some(Ok(since)) => SystemTime::UNIX_EPOCH + Duration::from_millis(since),
        Some(Err(error)) => {
            eprintln!("SINCE is a number of milliseconds: {error}");
            return ExitCode::FAILURE;
        }
    };
    let [folder, target, ..] = words.as_slice() else {
        eprintln!("plain_limit FOLDER TARGET [SINCE]; run by `npm run bench`");
        return ExitCode::SUCCESS;
    };
    match capture(PathBuf::from(folder), Path::new(target), since) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{folder} to {target}: {error}");
            ExitCode::FAILURE
        }
    }
}
