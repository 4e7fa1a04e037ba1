//! Archives: one file that carries checkpoints with all that they need, and shows whether it is whole.
//!
//! The lead and the contents ([`crate::model::archive`]), a sum of both; then blocks as in a pack
//! ([`crate::store::objects::pack`], codecs 0 and 1), with the manifests and the objects in the order of
//! the contents; then a sum of everything.
//!
//! *Invariants*: the same contents give the same bytes. Whoever was handed a part has it held against its
//! hash; whoever read to the end has every byte of the file held against a sum. Memory is bounded by
//! the list of objects and by the largest of them, on both ways.
//!
//! *Crash story*: an archive is staged beside its place, synced and renamed; a kill leaves a file whose
//! name ends in `.part-<process>-<number>`, which may be deleted.
//!
//! *Limits*: a sum tells damage, not who made the file.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use zstd::bulk::Compressor;

use crate::error::{Error, Result};
use crate::model::archive::{Contents, LEAD_LEN, Lead, Object, SUM_LEN};
use crate::model::cancel::Cancel;
use crate::model::object::ObjectId;
use crate::store::disk::Disk;
use crate::store::objects::pack::{self, HEAD_LEN, Head, OBJECTS_MAX};
use crate::store::publish::{Staged, Staging};

/// A block is closed from this length on, in bytes before compression.
const BLOCK_LEN: usize = 256 << 10;
/// A block of several objects is at most this long, in bytes before compression.
const SHARED_MAX: usize = 1 << 20;
/// Archives travel: a little more time than for packs.
const LEVEL: i32 = 5;
/// How much of the file is read at once.
const WINDOW: usize = 1 << 20;
/// After so many bytes the system is asked to begin writing them back.
const WRITE_BACK: usize = 8 << 20;

/// An archive that is being written.
pub struct ArchiveWriter<'a> {
    staging: Staging<'a>,
    hasher: blake3::Hasher,
    compressor: Compressor<'static>,
    /// What is still to be put, in reverse order.
    expected: Vec<Object>,
    raw: Vec<u8>,
    objects: Vec<(ObjectId, usize)>,
    written: u64,
    unsent: usize,
    target: PathBuf,
}

impl<'a> ArchiveWriter<'a> {
    /// Begins an archive that will lie at `target`.
    pub fn begin(disk: &'a dyn Disk, target: &Path, contents: &Contents) -> Result<Self> {
        let compressor = Compressor::new(LEVEL).map_err(|source| Error::Io {
            action: "compress for",
            path: target.to_path_buf(),
            source,
        })?;
        let mut expected: Vec<Object> = contents.parts().collect();
        expected.reverse();
        let mut writer = Self {
            staging: Staging::begin(disk, beside(target))?,
            hasher: blake3::Hasher::new(),
            compressor,
            expected,
            raw: Vec::new(),
            objects: Vec::new(),
            written: 0,
            unsent: 0,
            target: target.to_path_buf(),
        };
        writer.write(&contents.encode())?;
        let sum = *writer.hasher.finalize().as_bytes();
        writer.write(&sum)?;
        Ok(writer)
    }

    /// Puts the next part of the contents.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let id = ObjectId::of(bytes);
        let len = bytes.len();
        let fits = self
            .expected
            .pop()
            .is_some_and(|next| next.id == id && next.len == len as u64);
        if !fits {
            return Err(Error::Internal {
                message: "an archive was given other parts than its contents say".to_owned(),
            });
        }
        if !self.raw.is_empty() && self.raw.len() + len > SHARED_MAX {
            self.flush()?;
        }
        self.raw.extend_from_slice(bytes);
        self.objects.push((id, len));
        if self.raw.len() >= BLOCK_LEN || self.objects.len() >= OBJECTS_MAX {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.objects.is_empty() {
            return Ok(());
        }
        let block =
            pack::block(&self.objects, &self.raw, &mut self.compressor).map_err(|source| {
                Error::Io {
                    action: "compress for",
                    path: self.target.clone(),
                    source,
                }
            })?;
        self.raw.clear();
        // One object may have been very large.
        self.raw.shrink_to(SHARED_MAX);
        self.objects.clear();
        self.write(&block)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        self.staging.write(bytes)?;
        self.unsent += bytes.len();
        if self.unsent >= WRITE_BACK {
            self.staging.write_back();
            self.unsent = 0;
        }
        Ok(())
    }

    /// Ends it and makes it durable; it has no name yet. Also gives its length and the hash of its bytes.
    pub fn finish(mut self) -> Result<(Staged<'a>, u64, ObjectId)> {
        self.flush()?;
        if !self.expected.is_empty() {
            return Err(Error::Internal {
                message: "an archive lacks parts that its contents list".to_owned(),
            });
        }
        let sum = *self.hasher.finalize().as_bytes();
        self.write(&sum)?;
        let whole = ObjectId::from_hash(self.hasher.finalize());
        Ok((self.staging.finish()?, self.written, whole))
    }
}

/// A name of our own beside a file that is being made.
pub(crate) fn beside(target: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".part-{}-{number}", std::process::id()));
    target.with_file_name(name)
}

/// Where a part lies in an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    block: u64,
    start: usize,
    len: usize,
}

impl Spot {
    /// The part's length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// True without any byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A part as it is read.
#[derive(Debug)]
pub struct Part<'b> {
    /// Its place among [`Contents::parts`].
    pub index: usize,
    /// Its name.
    pub id: ObjectId,
    /// Its bytes, held against the name.
    pub bytes: &'b [u8],
    /// Where it lies.
    pub spot: Spot,
    /// The same for people: its block's place in the file, in bytes.
    pub at: u64,
}

/// An archive whose lead and contents were read and held against their sum.
pub struct Archive<'a> {
    disk: &'a dyn Disk,
    path: PathBuf,
    len: u64,
    contents: Contents,
    /// The state of the sum behind the contents, and the place there.
    begun: blake3::Hasher,
    body: u64,
    /// The block that was read last by [`Archive::get`], unpacked: neighbours are asked for together.
    last: RefCell<Option<(u64, Vec<u8>)>>,
}

impl<'a> Archive<'a> {
    /// Reads the lead and the contents.
    pub fn open(disk: &'a dyn Disk, path: &Path) -> Result<Self> {
        let found = disk
            .metadata(path)
            .map_err(|error| Error::io("read", path, error))?;
        let mut file = Window::new(disk, path, found.len);
        let damaged = |reason, what: &str, at: usize| damaged(path, reason, what, at as u64);
        let Ok(lead) = <&[u8; LEAD_LEN]>::try_from(file.bytes(0, LEAD_LEN)?.unwrap_or_default())
        else {
            let begun = file.bytes(0, usize::try_from(found.len).unwrap_or(0))?;
            let magic = begun.unwrap_or_default();
            let magic = &magic[..magic.len().min(8)];
            return Err(
                if crate::model::archive::MAGIC.starts_with(magic) && !magic.is_empty() {
                    damaged("truncated", "it ends too early", magic.len())
                } else {
                    damaged("not_archive", "it does not begin like one", 0)
                },
            );
        };
        let len = match Lead::read(lead) {
            Lead::Foreign => return Err(damaged("not_archive", "it does not begin like one", 0)),
            Lead::Unknown(found) => {
                return Err(Error::ArchiveFormat {
                    path: path.to_path_buf(),
                    found,
                });
            }
            Lead::Contents(len) => len,
        };
        let end = usize::try_from(len)
            .ok()
            .and_then(|len| len.checked_add(LEAD_LEN));
        let (Some(end), Some(all)) = (end, end.and_then(|end| end.checked_add(SUM_LEN))) else {
            return Err(damaged("truncated", "it ends in its contents", LEAD_LEN));
        };
        let Some(bytes) = file.bytes(0, all)? else {
            return Err(damaged("truncated", "it ends in its contents", LEAD_LEN));
        };
        let mut begun = blake3::Hasher::new();
        begun.update(&bytes[..end]);
        if begun.finalize().as_bytes()[..] != bytes[end..] {
            return Err(damaged(
                "altered",
                "its contents are not those of their sum",
                LEAD_LEN,
            ));
        }
        begun.update(&bytes[end..]);
        let contents = Contents::decode(&bytes[LEAD_LEN..end])
            .map_err(|what| damaged("inconsistent", what, LEAD_LEN))?;
        Ok(Self {
            disk,
            path: path.to_path_buf(),
            len: found.len,
            contents,
            begun,
            body: all as u64,
            last: RefCell::new(None),
        })
    }

    /// What it carries.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.len
    }

    /// An error that says what is wrong where.
    #[must_use]
    pub fn damaged(&self, reason: &'static str, what: &str, at: u64) -> Error {
        damaged(&self.path, reason, what, at)
    }

    /// Reads all of it, and hands out every part, in their order. The sum of everything is only looked at
    /// in the end.
    pub fn read_all(
        &self,
        cancel: &Cancel,
        take: &mut dyn FnMut(&Part<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut file = Window::new(self.disk, &self.path, self.len);
        let mut hasher = self.begun.clone();
        let mut at = self.body;
        let mut expected = self.contents.parts().enumerate().peekable();
        while expected.peek().is_some() {
            cancel.check()?;
            let (head, block) = self.block(&mut file, at)?;
            let mut whole = expected.clone();
            let as_listed = head.objects.iter().all(|(id, len)| {
                whole
                    .next()
                    .is_some_and(|(_, next)| next.id == *id && next.len == *len as u64)
            });
            if !as_listed {
                return Err(self.damaged(
                    "inconsistent",
                    "a block holds other objects than the contents list",
                    at,
                ));
            }
            let raw = self.unpacked(&head, block, at)?;
            hasher.update(block);
            let block_len = block.len() as u64;
            let mut start = 0;
            for (id, len) in &head.objects {
                let bytes = &raw[start..start + len];
                if ObjectId::of(bytes) != *id {
                    return Err(self.damaged(
                        "altered",
                        &format!("the bytes of object {id} are not those of its name"),
                        at,
                    ));
                }
                if let Some((index, _)) = expected.next() {
                    take(&Part {
                        index,
                        id: *id,
                        bytes,
                        spot: Spot {
                            block: at,
                            start,
                            len: *len,
                        },
                        at,
                    })?;
                }
                start += len;
            }
            at += block_len;
        }
        let Some(sum) = file.bytes(at, SUM_LEN)? else {
            return Err(self.damaged("truncated", "it ends in its sum", at));
        };
        if hasher.finalize().as_bytes()[..] != *sum {
            return Err(self.damaged("altered", "its bytes are not those of its sum", at));
        }
        let end = at + SUM_LEN as u64;
        if end != self.len {
            return Err(self.damaged("appended", "something lies behind its end", end));
        }
        Ok(())
    }

    /// Reads the first part, a checkpoint's manifest, and holds it against its name.
    pub fn first(&self) -> Result<Vec<u8>> {
        let mut file = Window::new(self.disk, &self.path, self.len);
        let (head, block) = self.block(&mut file, self.body)?;
        let mut raw = self.unpacked(&head, block, self.body)?;
        let named = head.objects.first().zip(self.contents.parts().next());
        if let Some(((id, len), listed)) = named {
            raw.truncate(*len);
            if *id == listed.id && ObjectId::of(&raw) == *id {
                return Ok(raw);
            }
        }
        Err(self.damaged("altered", "its first part is not what is listed", self.body))
    }

    /// Reads one part again.
    pub fn get(&self, id: &ObjectId, spot: &Spot) -> Result<Vec<u8>> {
        let mut last = self.last.borrow_mut();
        if last.as_ref().is_none_or(|(block, _)| *block != spot.block) {
            let mut file = Window::new(self.disk, &self.path, self.len);
            let (head, block) = self.block(&mut file, spot.block)?;
            *last = Some((spot.block, self.unpacked(&head, block, spot.block)?));
        }
        let raw = last.as_ref().map_or(&[][..], |(_, raw)| raw);
        match raw.get(spot.start..spot.start.saturating_add(spot.len)) {
            Some(bytes) if ObjectId::of(bytes) == *id => Ok(bytes.to_vec()),
            _ => Err(self.damaged("altered", "it changed while it was read", spot.block)),
        }
    }

    fn block<'w>(&self, file: &'w mut Window<'_>, at: u64) -> Result<(Head, &'w [u8])> {
        let truncated = || self.damaged("truncated", "it ends in a block", at);
        let altered = || self.damaged("altered", "there is no block where one must be", at);
        let lead = file.bytes(at, HEAD_LEN)?.ok_or_else(truncated)?;
        let lead = pack::Lead::read(lead).ok_or_else(altered)?;
        let head = file
            .bytes(at, HEAD_LEN + lead.table_len())?
            .ok_or_else(truncated)?;
        let head = lead.with_table(&head[HEAD_LEN..]).ok_or_else(altered)?;
        let shared = head.objects.len() > 1;
        if head.base.is_some() || (shared && head.raw_len > SHARED_MAX) {
            return Err(self.damaged(
                "inconsistent",
                "a block is of a kind that no archive has",
                at,
            ));
        }
        let block = file.bytes(at, head.block_len())?.ok_or_else(truncated)?;
        Ok((head, block))
    }

    fn unpacked(&self, head: &Head, block: &[u8], at: u64) -> Result<Vec<u8>> {
        head.unpack(&block[head.payload_at()..], None)
            .map_err(|_| self.damaged("altered", "a block can't be decompressed", at))
    }
}

fn damaged(path: &Path, reason: &'static str, what: &str, at: u64) -> Error {
    Error::ArchiveDamaged {
        path: path.to_path_buf(),
        reason,
        what: what.to_owned(),
        at,
    }
}

/// A file that is read from front to back, a good piece at a time.
struct Window<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    len: u64,
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(disk: &'a dyn Disk, path: &'a Path, len: u64) -> Self {
        Self {
            disk,
            path,
            len,
            at: 0,
            bytes: Vec::new(),
        }
    }

    /// Bytes of the file; `None` if it ends before.
    fn bytes(&mut self, at: u64, len: usize) -> Result<Option<&[u8]>> {
        let end = match at.checked_add(len as u64) {
            Some(end) if end <= self.len => end,
            _ => return Ok(None),
        };
        if at < self.at || end > self.at + self.bytes.len() as u64 {
            let more = usize::try_from(self.len - at).unwrap_or(usize::MAX);
            let wanted = len.max(WINDOW.min(more));
            // Not both in memory.
            self.bytes = Vec::new();
            self.bytes = match self.disk.read_at(self.path, at, wanted) {
                Ok(bytes) => bytes,
                // It is shorter than it was.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(Error::io("read", self.path, error)),
            };
            self.at = at;
        }
        let start = usize::try_from(at - self.at).unwrap_or(usize::MAX);
        Ok(self.bytes.get(start..start.saturating_add(len)))
    }
}
