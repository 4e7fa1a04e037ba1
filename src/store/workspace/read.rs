//! Reads one file into chunks.
//!
//! *Invariants*: what is handed on as a content was one content: the file had the same stamps and
//! size before and after. A file that fits one chunk is that chunk; holes of a sparse file become
//! pieces without a chunk, and count as zeros in the hash of the whole.
//!
//! *Crash story*: none of its own; chunks of a reading that is given up are objects nobody names.
//!
//! *Limits*: a write through `mmap` while the file is read may go unnoticed until the system writes
//! the page back. At most [`WINDOW`] bytes are in memory.

use crate::error::{Error, Result};
use crate::model::cancel::Cancel;
use crate::model::object::ObjectId;
use crate::model::progress::Progress;
use crate::model::snapshot::{ChunkList, Piece};
use crate::store::chunker::FILES;
use crate::store::objects::Lane;

use super::stat::{Kind, Stat};
use super::system::{self, Content, Dir, Verdict};

/// How much of a large file is in memory at once.
const WINDOW: usize = 4 << 20;
/// What holes read as.
static ZEROS: [u8; 256 << 10] = [0; 256 << 10];

/// What became of a reading.
#[derive(Debug)]
pub(super) enum Reading {
    /// The file, as it was before and after.
    Whole {
        found: Stat,
        hash: ObjectId,
        chunks: Option<ObjectId>,
    },
    /// It changed meanwhile, or is no file any more.
    Changed,
    /// Nothing has that name any more.
    Gone,
    /// The system refuses.
    Unreadable,
}

/// Why the middle of a reading ended early.
enum Stop {
    Changed,
    Gone,
    Unreadable,
    Error(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// Takes chunks; without a lane they are only hashed.
pub(super) struct Target<'a> {
    pub(super) lane: Option<&'a mut dyn Lane>,
}

impl Target<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<ObjectId> {
        match &mut self.lane {
            Some(lane) => lane.put(bytes),
            None => Ok(ObjectId::of(bytes)),
        }
    }
}

/// Reads files, one after the other, with one buffer.
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: Vec<u8>,
}

/// What is being put together of a file of several chunks.
struct Whole {
    hasher: blake3::Hasher,
    pieces: Vec<Piece>,
}

impl Whole {
    fn hole(&mut self, len: u64, cancel: &Cancel) -> Result<()> {
        let mut rest = len;
        while rest > 0 {
            cancel.check()?;
            let part = usize::try_from(rest)
                .unwrap_or(ZEROS.len())
                .min(ZEROS.len());
            self.hasher.update(&ZEROS[..part]);
            rest -= part as u64;
        }
        self.pieces.push(Piece { len, chunk: None });
        Ok(())
    }
}

impl Reader {
    /// Reads a file. Errors of the file are told in the result, those of the sink are errors.
    pub(super) fn read(
        &mut self,
        dir: &Dir,
        name: &[u8],
        target: &mut Target<'_>,
        progress: &Progress,
        cancel: &Cancel,
    ) -> Result<Reading> {
        match self.attempt(dir, name, target, progress, cancel) {
            Ok(reading) => Ok(reading),
            Err(Stop::Changed) => Ok(Reading::Changed),
            Err(Stop::Gone) => Ok(Reading::Gone),
            Err(Stop::Unreadable) => Ok(Reading::Unreadable),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    fn attempt(
        &mut self,
        dir: &Dir,
        name: &[u8],
        target: &mut Target<'_>,
        progress: &Progress,
        cancel: &Cancel,
    ) -> std::result::Result<Reading, Stop> {
        let file = dir.open_file(name).map_err(|error| {
            match system::verdict(&error) {
                Verdict::Gone => Stop::Gone,
                Verdict::Other => Stop::Changed,
                Verdict::Unreadable => Stop::Unreadable,
                // Not the file's fault: nothing more could be opened.
                Verdict::Ours => Error::io("read", &system::as_path(name), error).into(),
            }
        })?;
        let before = file.stat().map_err(unreadable)?;
        if before.kind != Kind::File {
            return Err(Stop::Changed);
        }
        let (hash, chunks) = self.content(&file, &before, target, progress, cancel)?;
        let after = file.stat().map_err(unreadable)?;
        if !after.same_content(&before) {
            return Err(Stop::Changed);
        }
        Ok(Reading::Whole {
            found: before,
            hash,
            chunks,
        })
    }

    fn content(
        &mut self,
        file: &Content,
        found: &Stat,
        target: &mut Target<'_>,
        progress: &Progress,
        cancel: &Cancel,
    ) -> std::result::Result<(ObjectId, Option<ObjectId>), Stop> {
        let size = found.size;
        if size == 0 {
            return Ok((ObjectId::of(b""), None));
        }
        // Holes of a file this small are not worth a list.
        let sparse = size > FILES.min as u64 && found.allocated < size;
        if !sparse && size <= FILES.max as u64 {
            let len = usize::try_from(size).unwrap_or(FILES.max);
            self.fill(file, 0, 0, len)?;
            if FILES.first(&self.buffer[..len]) == len {
                progress.add(0, size);
                return Ok((target.put(&self.buffer[..len])?, None));
            }
        }
        let mut whole = Whole {
            hasher: blake3::Hasher::new(),
            pieces: Vec::new(),
        };
        let mut at = 0;
        while at < size {
            let (len, hole) = if sparse {
                let segment = file.segment(at, size);
                (segment.len, segment.hole)
            } else {
                (size, false)
            };
            if len == 0 {
                return Err(Stop::Changed);
            }
            if hole {
                whole.hole(len, cancel)?;
            } else {
                self.data(file, at, len, &mut whole, target, progress, cancel)?;
            }
            at += len;
        }
        let hash = ObjectId::from_hash(whole.hasher.finalize());
        if let [Piece { chunk: Some(_), .. }] = whole.pieces[..] {
            return Ok((hash, None));
        }
        let list = ChunkList {
            pieces: whole.pieces,
        };
        Ok((hash, Some(target.put(&list.encode())?)))
    }

    #[allow(clippy::too_many_arguments, reason = "they travel together, once")]
    fn data(
        &mut self,
        file: &Content,
        from: u64,
        len: u64,
        whole: &mut Whole,
        target: &mut Target<'_>,
        progress: &Progress,
        cancel: &Cancel,
    ) -> std::result::Result<(), Stop> {
        // Bytes that are in the buffer and not cut yet, and those that are not read yet.
        let mut held = 0;
        let mut rest = len;
        while rest > 0 || held > 0 {
            cancel.check()?;
            let more = usize::try_from(rest).unwrap_or(WINDOW).min(WINDOW - held);
            self.fill(file, from + (len - rest), held, more)?;
            whole.hasher.update(&self.buffer[held..held + more]);
            progress.add(0, more as u64);
            rest -= more as u64;
            let filled = held + more;
            let mut cut = 0;
            while cut < filled && (rest == 0 || filled - cut >= FILES.max) {
                let chunk = FILES.first(&self.buffer[cut..filled]);
                let id = target.put(&self.buffer[cut..cut + chunk])?;
                whole.pieces.push(Piece {
                    len: chunk as u64,
                    chunk: Some(id),
                });
                cut += chunk;
            }
            self.buffer.copy_within(cut..filled, 0);
            held = filled - cut;
        }
        Ok(())
    }

    /// Reads exactly `len` bytes to a place in the buffer.
    fn fill(
        &mut self,
        file: &Content,
        from: u64,
        place: usize,
        len: usize,
    ) -> std::result::Result<(), Stop> {
        if self.buffer.len() < place + len {
            self.buffer.resize(place + len, 0);
        }
        let mut done = 0;
        while done < len {
            let part = &mut self.buffer[place + done..place + len];
            match file.read_at(part, from + done as u64) {
                Ok(0) => return Err(Stop::Changed),
                Ok(more) => done += more,
                Err(error) => return Err(unreadable(error)),
            }
        }
        Ok(())
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it stands in map_err")]
fn unreadable(_error: std::io::Error) -> Stop {
    Stop::Unreadable
}
