//! The format of packs: what the bytes of a pack file mean.
//!
//! A pack is a header and blocks, one behind the other. A block holds one or more objects in one
//! compressed piece, and before it a table of their names and lengths, so a pack tells its own
//! contents: the index can be made from packs alone. Numbers are little-endian.
//!
//! ```text
//! pack    "WAYMPACK" · version u32 · 0 u32 · blocks…
//! block   "WMB1" · codec u8 · depth u8 · objects u16 · raw length u32 · payload length u32 ·
//!         sum of head and table u64 · table · payload
//! table   base's name (32 bytes; codec 2 only) · objects × (name 32 bytes · length u32)
//! ```
//!
//! Codec 0: the payload is the objects, one behind the other. 1: that, as a zstd frame. 2: a zstd
//! frame that needs the base's bytes as its dictionary; depth counts the bases below it.
//!
//! The sum is the first eight bytes of the BLAKE3 hash of the head before it and the table. The payload needs
//! none: each object is held against its name.
//!
//! *Invariants*: bytes of a pack never change once they were synced, only more come behind them; but
//! whole pages of blocks that nobody needs may become zeros, see [`super::collect`].
//!
//! *Crash story*: a kill while a block is appended leaves a tail that is no block. Nothing refers to
//! it; the pack is not written any more from then on.
//!
//! *Limits*: a pack is read as far as its heads are whole; behind a damaged one the next is looked
//! for by its magic bytes.

use std::cell::RefCell;
use std::io;

use zstd::bulk::{Compressor, Decompressor};

use crate::model::object::ObjectId;

/// What a pack begins with.
pub const PACK_HEADER: [u8; 16] = *b"WAYMPACK\x01\0\0\0\0\0\0\0";
const MAGIC: [u8; 4] = *b"WMB1";
/// The length of a block's head, in bytes.
pub const HEAD_LEN: usize = 24;
const ENTRY_LEN: usize = 36;
/// The most objects in one block.
pub const OBJECTS_MAX: usize = 4096;
/// The most bytes in one block before compression (1 GiB).
pub const RAW_MAX: usize = 1 << 30;
/// How many bases a delta may have below it.
pub const DEPTH_MAX: u8 = 32;

const STORED: u8 = 0;
const ZSTD: u8 = 1;
const DELTA: u8 = 2;

/// A block's head and table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    codec: u8,
    /// How many bases lie below its objects.
    pub depth: u8,
    /// The length of its objects together, in bytes.
    pub raw_len: usize,
    /// The length of its payload, in bytes.
    pub payload_len: usize,
    /// The object whose bytes are needed to read it.
    pub base: Option<ObjectId>,
    /// Its objects and their lengths, in order.
    pub objects: Vec<(ObjectId, usize)>,
}

/// A block's head without its table.
#[derive(Debug, Clone, Copy)]
pub struct Lead {
    codec: u8,
    depth: u8,
    count: usize,
    raw_len: usize,
    payload_len: usize,
    sum: [u8; 8],
    head: [u8; HEAD_LEN - 8],
}

impl Lead {
    /// Reads the first bytes of a block; `None` if they are none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEAD_LEN] = bytes.get(..HEAD_LEN)?.try_into().ok()?;
        let number = |at: usize| -> usize {
            let four = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            u32::from_le_bytes(four) as usize
        };
        let lead = Self {
            codec: bytes[4],
            depth: bytes[5],
            count: usize::from(u16::from_le_bytes([bytes[6], bytes[7]])),
            raw_len: number(8),
            payload_len: number(12),
            sum: bytes[16..].try_into().ok()?,
            head: bytes[..16].try_into().ok()?,
        };
        let possible = bytes[..4] == MAGIC
            && lead.codec <= DELTA
            && (lead.codec == DELTA) == (lead.depth > 0)
            && lead.depth <= DEPTH_MAX
            && (1..=OBJECTS_MAX).contains(&lead.count)
            && lead.raw_len <= RAW_MAX
            && lead.payload_len <= RAW_MAX;
        possible.then_some(lead)
    }

    /// The length of the table behind it, in bytes.
    #[must_use]
    pub fn table_len(&self) -> usize {
        self.count * ENTRY_LEN + if self.codec == DELTA { 32 } else { 0 }
    }

    /// The length of the whole block, in bytes.
    #[must_use]
    pub fn block_len(&self) -> usize {
        HEAD_LEN + self.table_len() + self.payload_len
    }

    /// Reads the table; `None` if head and table are not what was written.
    #[must_use]
    pub fn with_table(&self, table: &[u8]) -> Option<Head> {
        let table = table.get(..self.table_len())?;
        if sum_of(&self.head, table) != self.sum {
            return None;
        }
        let (base, entries) = if self.codec == DELTA {
            let (base, entries) = table.split_at(32);
            (Some(ObjectId::from_bytes(base.try_into().ok()?)), entries)
        } else {
            (None, table)
        };
        let mut objects = Vec::with_capacity(self.count);
        let mut total = 0_usize;
        for entry in entries.chunks_exact(ENTRY_LEN) {
            let (name, len) = entry.split_at(32);
            let len = u32::from_le_bytes(len.try_into().ok()?) as usize;
            total = total.checked_add(len)?;
            objects.push((ObjectId::from_bytes(name.try_into().ok()?), len));
        }
        (total == self.raw_len).then_some(Head {
            codec: self.codec,
            depth: self.depth,
            raw_len: self.raw_len,
            payload_len: self.payload_len,
            base,
            objects,
        })
    }
}

fn sum_of(head: &[u8], table: &[u8]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    let hash = hasher.update(head).update(table).finalize();
    let mut sum = [0; 8];
    sum.copy_from_slice(&hash.as_bytes()[..8]);
    sum
}

impl Head {
    /// Reads head and table from the first bytes of a block.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let lead = Lead::read(bytes)?;
        lead.with_table(bytes.get(HEAD_LEN..)?)
    }

    /// The length of the whole block, in bytes.
    #[must_use]
    pub fn block_len(&self) -> usize {
        self.payload_at() + self.payload_len
    }

    /// Where the payload begins in the block.
    #[must_use]
    pub fn payload_at(&self) -> usize {
        let base = if self.base.is_some() { 32 } else { 0 };
        HEAD_LEN + base + self.objects.len() * ENTRY_LEN
    }

    /// The objects' bytes, one behind the other. They are not held against their names here.
    pub fn unpack(&self, payload: &[u8], base: Option<&[u8]>) -> io::Result<Vec<u8>> {
        if self.codec != STORED && self.raw_len > packed_max(payload.len()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let raw = match self.codec {
            STORED => payload.to_vec(),
            ZSTD => decompressed(payload, self.raw_len, &[])?,
            _ => {
                let base = base.ok_or(io::ErrorKind::NotFound)?;
                decompressed(payload, self.raw_len, base)?
            }
        };
        if raw.len() == self.raw_len {
            Ok(raw)
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }
}

/// How much so many bytes of zstd can hold: each of its blocks costs four bytes at least and holds
/// 128 KiB at most. Asked before memory is set aside for it. Source: RFC 8878, 3.1.1.2.
fn packed_max(payload_len: usize) -> usize {
    (payload_len / 4).saturating_mul(128 << 10)
}

/// Unpacks a frame. Making a decompressor costs more than a small delta, of which one reads dozens.
fn decompressed(payload: &[u8], raw_len: usize, dictionary: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let mut decompressor = match kept.take() {
            Some(decompressor) => decompressor,
            None => Decompressor::new()?,
        };
        decompressor.set_dictionary(dictionary)?;
        let raw = decompressor.decompress(payload, raw_len);
        // Neither the dictionary's memory is kept, nor what a damaged frame leaves.
        if raw.is_ok() && decompressor.set_dictionary(&[]).is_ok() {
            *kept = Some(decompressor);
        }
        raw
    })
}

/// How much is worth compressing: less saved than a thirty-second is stored as it is.
fn worth_it(packed: usize, raw: usize) -> bool {
    packed < raw - raw / 32
}

/// Makes a block of objects. Their bytes lie in `raw` one behind the other.
pub fn block(
    objects: &[(ObjectId, usize)],
    raw: &[u8],
    compressor: &mut Compressor<'_>,
) -> io::Result<Vec<u8>> {
    // A sample tells whether the rest is worth the time: media and archives are not.
    let sample = &raw[raw.len() / 2..raw.len().min(raw.len() / 2 + SAMPLE)];
    let hopeless = raw.len() > 2 * SAMPLE
        && !worth_it(compressor.compress(sample)?.len(), sample.len())
        && !worth_it(compressor.compress(&raw[..SAMPLE])?.len(), SAMPLE);
    if !hopeless {
        let packed = compressor.compress(raw)?;
        if worth_it(packed.len(), raw.len()) {
            return assemble(ZSTD, 0, None, objects, raw.len(), &packed);
        }
    }
    assemble(STORED, 0, None, objects, raw.len(), raw)
}

const SAMPLE: usize = 4 << 10;

/// Makes a block of one object by its difference from another. `None` if that saves nothing.
pub fn delta(
    object: ObjectId,
    raw: &[u8],
    base: (ObjectId, &[u8]),
    depth: u8,
    level: i32,
) -> io::Result<Option<Vec<u8>>> {
    let packed = Compressor::with_dictionary(level, base.1)?.compress(raw)?;
    if !worth_it(packed.len() + 32, raw.len()) {
        return Ok(None);
    }
    let objects = [(object, raw.len())];
    assemble(DELTA, depth, Some(base.0), &objects, raw.len(), &packed).map(Some)
}

fn assemble(
    codec: u8,
    depth: u8,
    base: Option<ObjectId>,
    objects: &[(ObjectId, usize)],
    raw_len: usize,
    payload: &[u8],
) -> io::Result<Vec<u8>> {
    let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
    let count = u16::try_from(objects.len()).map_err(too_large)?;
    let raw_len = u32::try_from(raw_len).map_err(too_large)?;
    let payload_len = u32::try_from(payload.len()).map_err(too_large)?;
    let mut out = Vec::with_capacity(HEAD_LEN + 32 + objects.len() * ENTRY_LEN + payload.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[codec, depth]);
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&raw_len.to_le_bytes());
    out.extend_from_slice(&payload_len.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    if let Some(base) = base {
        out.extend_from_slice(base.as_bytes());
    }
    for (name, len) in objects {
        out.extend_from_slice(name.as_bytes());
        let len = u32::try_from(*len).map_err(too_large)?;
        out.extend_from_slice(&len.to_le_bytes());
    }
    let sum = sum_of(&out[..16], &out[HEAD_LEN..]);
    out[16..HEAD_LEN].copy_from_slice(&sum);
    out.extend_from_slice(payload);
    Ok(out)
}

/// Where the next block may begin, looked for by its magic bytes.
#[must_use]
pub fn next_magic(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, &MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compressor() -> Compressor<'static> {
        Compressor::new(1).expect("made here")
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn made(parts: &[&[u8]]) -> Vec<u8> {
        let objects: Vec<_> = parts
            .iter()
            .map(|part| (ObjectId::of(part), part.len()))
            .collect();
        block(&objects, &parts.concat(), &mut compressor()).expect("made here")
    }

    #[test]
    fn blocks_come_back() {
        let (text, noise) = (vec![b'a'; 100_000], noise(100_000));
        for parts in [&[&text[..], b"", b"x"][..], &[&noise], &[b""]] {
            let bytes = made(parts);
            let head = Head::read(&bytes).expect("made here");
            assert_eq!(head.block_len(), bytes.len());
            let payload = &bytes[head.payload_at()..];
            assert_eq!(
                head.unpack(payload, None).expect("made here"),
                parts.concat()
            );
            let names: Vec<_> = head.objects.iter().map(|object| object.0).collect();
            assert_eq!(
                names,
                parts
                    .iter()
                    .map(|part| ObjectId::of(part))
                    .collect::<Vec<_>>()
            );
        }
        assert!(made(&[&text]).len() < 1_000);
    }

    #[test]
    fn a_delta_costs_what_changed() {
        let base = noise(20_000);
        let object = [&base[..], b"and a little more"].concat();
        let id = ObjectId::of(&object);
        let bytes = delta(id, &object, (ObjectId::of(&base), &base), 1, 3)
            .expect("made here")
            .expect("made here");
        assert!(bytes.len() < 200, "{}", bytes.len());
        let head = Head::read(&bytes).expect("made here");
        assert_eq!(head.base, Some(ObjectId::of(&base)));
        let payload = &bytes[head.payload_at()..];
        assert_eq!(
            head.unpack(payload, Some(&base)).expect("made here"),
            object
        );
        assert!(head.unpack(payload, None).is_err());
        let other = noise(10_000);
        let hopeless = delta(id, &other, (id, b"unlike"), 1, 3).expect("made here");
        assert_eq!(hopeless, None);
    }

    #[test]
    fn every_flipped_byte_of_head_and_table_is_found() {
        let bytes = made(&[b"one", b"two"]);
        let head = Head::read(&bytes).expect("made here");
        for at in 0..head.payload_at() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[at] ^= 1 << bit;
                assert_eq!(Head::read(&altered), None, "byte {at} bit {bit}");
            }
        }
        for cut in 0..head.payload_at() {
            assert_eq!(Head::read(&bytes[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn lengths_that_can_not_be_cost_no_memory() {
        let mut bytes = made(&[b"one"]);
        bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Lead::read(&bytes).is_none());
    }
}
