//! What the last capture of a folder saw, so that nothing unchanged is read again.
//!
//! A flat file: a header, one record for each folder, a BLAKE3 hash over all of it. A record holds
//! the name, the stamps and the content's name of each entry, and says where the records of its
//! folders are. So a walk finds what it needs beside what it lists, without any map.
//!
//! An entry is trusted under git's rule: its stamps are older than the moment the capture began, by
//! the clock of the file system. Whatever was written later could have the same stamps with another
//! content, and is read again next time.
//!
//! *Invariants*: a trusted entry says what the content of (device, inode, size, stamps) is, and
//! nothing about rules: those are asked anew each time. A cache that is damaged, of another root or
//! of another generation is no cache.
//!
//! *Crash story*: written under a temporary name and renamed, never synced: after power loss there is
//! the old one, the new one, or one whose hash fails. The caller writes it only once the objects
//! that it names are durable.
//!
//! *Limits*: a program that writes through `mmap` changes the stamps only when the system writes
//! the pages back; git has the same limit. Two captures with the same cache at once are safe, but
//! one of them may lose its notes. Where the folder lies on another file system than the cache,
//! clocks may differ, and entries younger than two seconds are not trusted.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::object::ObjectId;
use crate::model::snapshot::{File, Node, SkipReason};

use super::stat::Stat;
use super::system;

const MAGIC: [u8; 8] = *b"WMSTAT1\n";
const HASH: usize = 32;
const HEADER: usize = MAGIC.len() + HASH + 8 + 8;
/// A cache larger than this is none.
const LIMIT: u64 = 4 << 30;
/// How much older than the capture an entry must be.
const SLOP_NS: i64 = 10_000_000;
/// The same, where the clock is coarse or another one.
const COARSE_SLOP_NS: i64 = 2_000_000_000;

/// How a file is told from what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Key {
    pub(super) size: u64,
    pub(super) modified_ns: i64,
    pub(super) changed_ns: i64,
    pub(super) inode: u64,
}

impl Key {
    pub(super) fn of(found: &Stat) -> Self {
        Self {
            size: found.size,
            modified_ns: found.modified_ns,
            changed_ns: found.changed_ns,
            inode: found.inode,
        }
    }
}

/// An entry as it was captured.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) node: Node,
    pub(super) key: Key,
    pub(super) trusted: bool,
    /// Where the record of a folder is.
    pub(super) record: u64,
}

/// When a capture began, by the clock of the cache's file system.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    began_ns: i64,
    device: u64,
}

impl Clock {
    /// Asks the file system for the time, through a temporary file beside the cache.
    pub(super) fn ask(cache: &Path) -> io::Result<Self> {
        let found = system::clock(&aside(cache))?;
        Ok(Self {
            began_ns: found.modified_ns,
            device: found.device,
        })
    }

    /// Whether stamps are old enough to be trusted.
    pub(super) fn trusts(&self, found: &Stat) -> bool {
        let coarse = found.device != self.device
            || (found.modified_ns % 1_000_000_000 == 0 && found.changed_ns % 1_000_000_000 == 0);
        let slop = if coarse { COARSE_SLOP_NS } else { SLOP_NS };
        found.modified_ns.max(found.changed_ns) < self.began_ns.saturating_sub(slop)
    }
}

fn aside(cache: &Path) -> PathBuf {
    let mut name = cache.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

fn root_key(root: &Path) -> [u8; HASH] {
    *ObjectId::of(root.as_os_str().as_encoded_bytes()).as_bytes()
}

/// What the last capture saw.
#[derive(Debug)]
pub(super) struct Cache {
    bytes: Vec<u8>,
}

/// A folder in a cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) tree: ObjectId,
    pub(super) device: u64,
    /// Its entries in their encoding; the same entries have the same.
    pub(super) body: &'a [u8],
    /// Where the records of its folders are, 8 bytes each.
    children: &'a [u8],
}

impl Cache {
    /// Reads a cache; anything but a whole one of this root and generation is `None`.
    pub(super) fn read(cache: &Path, root: &Path, generation: u64) -> Option<Self> {
        let bytes = system::read_whole(cache, LIMIT).ok()?;
        let (rest, hash) = bytes.split_at_checked(bytes.len().checked_sub(HASH)?)?;
        let mut header = Input(rest);
        let expected = header.take(MAGIC.len())? == MAGIC
            && header.take(HASH)? == root_key(root)
            && header.number()? == generation;
        (expected && ObjectId::of(rest).as_bytes() == hash).then_some(Self { bytes })
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Where the record of the root is.
    pub(super) fn root(&self) -> u64 {
        let mut input = Input(self.bytes.get(HEADER - 8..).unwrap_or_default());
        input.number().unwrap_or(0)
    }

    /// A folder's record.
    pub(super) fn record(&self, at: u64) -> Option<Record<'_>> {
        let mut input = Input(self.bytes.get(usize::try_from(at).ok()?..)?);
        let tree = input.id()?;
        let device = input.number()?;
        let body = usize::try_from(input.number()?).ok()?;
        let children = usize::try_from(input.number()?).ok()?.checked_mul(8)?;
        Some(Record {
            tree,
            device,
            body: input.take(body)?,
            children: input.take(children)?,
        })
    }
}

impl<'a> Record<'a> {
    /// Its entries in the order of their names.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a [u8], Taken)> + use<'a> {
        let mut body = Input(self.body);
        let mut children = Input(self.children);
        std::iter::from_fn(move || {
            let len = usize::from(u16::from_le_bytes(body.array()?));
            let name = body.take(len)?;
            let mut taken = read_entry(&mut body)?;
            if matches!(taken.node, Node::Directory { .. }) {
                taken.record = children.number()?;
            }
            Some((name, taken))
        })
    }
}

const FILE: u8 = 0;
const WITHHELD: u8 = 1;
const SYMLINK: u8 = 2;
const DIRECTORY: u8 = 3;
const SKIPPED: u8 = 4;
const KIND: u8 = 0x0f;
const TRUSTED: u8 = 0x80;
const CHUNKED: u8 = 0x40;

const REASONS: [SkipReason; 4] = [
    SkipReason::NotRegular,
    SkipReason::Unreadable,
    SkipReason::TooLarge,
    SkipReason::Changing,
];

fn read_entry(input: &mut Input<'_>) -> Option<Taken> {
    let flags = input.take(1)?[0];
    let mut key = Key::default();
    let mut read_key = |input: &mut Input<'_>| -> Option<()> {
        key = Key {
            size: input.number()?,
            modified_ns: input.number()?.cast_signed(),
            changed_ns: input.number()?.cast_signed(),
            inode: input.number()?,
        };
        Some(())
    };
    let node = match flags & KIND {
        kind @ (FILE | WITHHELD) => {
            read_key(input)?;
            let mode = u32::from_le_bytes(input.array()?);
            let hash = input.id()?;
            let chunks = if flags & CHUNKED == 0 {
                None
            } else {
                Some(input.id()?)
            };
            let (size, modified_ns) = (key.size, key.modified_ns);
            if kind == FILE {
                Node::File(File {
                    mode,
                    modified_ns,
                    size,
                    hash,
                    chunks,
                })
            } else {
                Node::Withheld {
                    mode,
                    modified_ns,
                    size,
                    hash,
                }
            }
        }
        SYMLINK => {
            read_key(input)?;
            let len = usize::from(u16::from_le_bytes(input.array()?));
            Node::Symlink {
                target: input.take(len)?.to_vec(),
            }
        }
        DIRECTORY => Node::Directory {
            mode: u32::from_le_bytes(input.array()?),
            tree: input.id()?,
        },
        SKIPPED => Node::Skipped {
            reason: *REASONS.get(usize::from(input.take(1)?[0]))?,
            size: input.number()?,
        },
        _ => return None,
    };
    Some(Taken {
        node,
        key,
        trusted: flags & TRUSTED != 0,
        record: 0,
    })
}

/// Appends an entry of a folder's body; false if a cache can't hold it.
pub(super) fn write_entry(body: &mut Vec<u8>, name: &[u8], taken: &Taken) -> bool {
    let Ok(name_len) = u16::try_from(name.len()) else {
        return false;
    };
    body.extend_from_slice(&name_len.to_le_bytes());
    body.extend_from_slice(name);
    let trusted = if taken.trusted { TRUSTED } else { 0 };
    let write_key = |body: &mut Vec<u8>| {
        body.extend_from_slice(&taken.key.size.to_le_bytes());
        body.extend_from_slice(&taken.key.modified_ns.to_le_bytes());
        body.extend_from_slice(&taken.key.changed_ns.to_le_bytes());
        body.extend_from_slice(&taken.key.inode.to_le_bytes());
    };
    let write_file =
        |body: &mut Vec<u8>, kind: u8, mode: u32, hash: &ObjectId, chunks: Option<&ObjectId>| {
            let chunked = if chunks.is_some() { CHUNKED } else { 0 };
            body.push(kind | trusted | chunked);
            write_key(body);
            body.extend_from_slice(&mode.to_le_bytes());
            body.extend_from_slice(hash.as_bytes());
            if let Some(chunks) = chunks {
                body.extend_from_slice(chunks.as_bytes());
            }
        };
    match &taken.node {
        Node::File(file) => write_file(body, FILE, file.mode, &file.hash, file.chunks.as_ref()),
        Node::Withheld { mode, hash, .. } => write_file(body, WITHHELD, *mode, hash, None),
        Node::Symlink { target } => {
            let Ok(len) = u16::try_from(target.len()) else {
                return false;
            };
            body.push(SYMLINK | trusted);
            write_key(body);
            body.extend_from_slice(&len.to_le_bytes());
            body.extend_from_slice(target);
        }
        Node::Directory { mode, tree } => {
            body.push(DIRECTORY);
            body.extend_from_slice(&mode.to_le_bytes());
            body.extend_from_slice(tree.as_bytes());
        }
        Node::Skipped { reason, size } => {
            let place = REASONS.iter().position(|one| one == reason).unwrap_or(0);
            body.push(SKIPPED);
            body.push(u8::try_from(place).unwrap_or(0));
            body.extend_from_slice(&size.to_le_bytes());
        }
    }
    true
}

/// A cache that is being made.
#[derive(Debug)]
pub(super) struct Draft {
    bytes: Vec<u8>,
}

impl Draft {
    pub(super) fn new(root: &Path, generation: u64, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity.max(HEADER));
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&root_key(root));
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes.extend_from_slice(&0_u64.to_le_bytes());
        Self { bytes }
    }

    /// Appends a folder's record; gives its place.
    pub(super) fn append(
        &mut self,
        tree: &ObjectId,
        device: u64,
        body: &[u8],
        children: &[u64],
    ) -> u64 {
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(tree.as_bytes());
        self.bytes.extend_from_slice(&device.to_le_bytes());
        for len in [body.len(), children.len()] {
            self.bytes.extend_from_slice(&(len as u64).to_le_bytes());
        }
        self.bytes.extend_from_slice(body);
        for child in children {
            self.bytes.extend_from_slice(&child.to_le_bytes());
        }
        at
    }

    /// Completes the cache with the place of the root's record.
    pub(super) fn finish(mut self, root_record: u64) -> Vec<u8> {
        self.bytes[HEADER - 8..HEADER].copy_from_slice(&root_record.to_le_bytes());
        let hash = ObjectId::of(&self.bytes);
        self.bytes.extend_from_slice(hash.as_bytes());
        self.bytes
    }
}

/// Writes a cache.
pub(super) fn write(cache: &Path, bytes: &[u8]) -> io::Result<()> {
    system::write_aside(cache, &aside(cache), bytes)
}

/// Removes a cache.
pub(super) fn remove(cache: &Path) -> io::Result<()> {
    system::remove(&aside(cache))?;
    system::remove(cache)
}

/// Bytes that are read from the front; `None` where there are too few.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?))
    }

    fn id(&mut self) -> Option<ObjectId> {
        Some(ObjectId::from_bytes(self.array()?))
    }
}
