//! Reads what a pack says of itself.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::error::{Error, Result};
use crate::store::disk::Disk;
use crate::store::objects::pack::{HEAD_LEN, Head, Lead, PACK_HEADER, next_magic};

/// How much is read at once.
const WINDOW: usize = 64 << 10;

/// Holes begin and end at multiples of this, in bytes.
pub(super) const PAGE: u64 = PAGE_LEN as u64;
const PAGE_LEN: usize = 4096;

/// Walks the blocks that begin in a range of a pack. Holes are passed over, and bytes that are no
/// block up to the next one; gives where those were.
pub(super) fn blocks(
    disk: &dyn Disk,
    path: &Path,
    from: u64,
    to: u64,
    take: &mut dyn FnMut(u64, &Head),
) -> Result<Vec<Range<u64>>> {
    let mut at = from.max(PACK_HEADER.len() as u64);
    let mut foreign: Vec<Range<u64>> = Vec::new();
    while at < to {
        if let Some(head) = head_at(disk, path, at, to)? {
            take(at, &head);
            at += head.block_len() as u64;
        } else if let Some(next) = behind_hole(disk, path, at, to)? {
            at = next;
        } else {
            let next = next_block(disk, path, at + 1, to)?;
            match foreign.last_mut() {
                Some(last) if last.end == at => last.end = next,
                _ => foreign.push(at..next),
            }
            at = next;
        }
    }
    Ok(foreign)
}

/// Where the blocks go on, if this is a place in a hole: zeros up to the end of a page that has
/// nothing else, and behind them less than a page of what remains of a block that is gone.
pub(super) fn behind_hole(disk: &dyn Disk, path: &Path, at: u64, to: u64) -> Result<Option<u64>> {
    let Some(first) = first_byte(disk, path, at, to)? else {
        return Ok(Some(to));
    };
    let end = first - first % PAGE;
    if end <= at || !is_zero(&read(disk, path, end - PAGE, PAGE_LEN)?) {
        return Ok(None);
    }
    // The magic bytes may lie across the page's end.
    let next = next_block(disk, path, end, to.min(end + PAGE + 3))?;
    Ok((next < end + PAGE).then_some(next))
}

/// True if a range begins like a hole, or has a page of nothing else.
pub(super) fn has_hole(disk: &dyn Disk, path: &Path, range: &Range<u64>) -> Result<bool> {
    let begins = usize::try_from(range.end - range.start).map_or(HEAD_LEN, |len| len.min(HEAD_LEN));
    if is_zero(&read(disk, path, range.start, begins)?) {
        return Ok(true);
    }
    let mut at = range.start.next_multiple_of(PAGE);
    while at + PAGE <= range.end {
        let pages = (WINDOW as u64).min((range.end - at) / PAGE * PAGE);
        let bytes = read(disk, path, at, usize::try_from(pages).unwrap_or(WINDOW))?;
        if bytes.chunks_exact(PAGE_LEN).any(is_zero) {
            return Ok(true);
        }
        at += pages;
    }
    Ok(false)
}

/// Where the first byte lies that is not zero.
fn first_byte(disk: &dyn Disk, path: &Path, mut at: u64, to: u64) -> Result<Option<u64>> {
    while at < to {
        let len = WINDOW.min(usize::try_from(to - at).unwrap_or(WINDOW));
        let bytes = read(disk, path, at, len)?;
        if let Some(found) = bytes.iter().position(|byte| *byte != 0) {
            return Ok(Some(at + found as u64));
        }
        at += len as u64;
    }
    Ok(None)
}

/// True if there is nothing but zeros.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The head of a block, if a whole one begins here.
pub(super) fn head_at(disk: &dyn Disk, path: &Path, at: u64, to: u64) -> Result<Option<Head>> {
    let left = to - at;
    if left < HEAD_LEN as u64 {
        return Ok(None);
    }
    let lead = Lead::read(&read(disk, path, at, HEAD_LEN)?);
    let Some(lead) = lead.filter(|lead| lead.block_len() as u64 <= left) else {
        return Ok(None);
    };
    let table = read(disk, path, at + HEAD_LEN as u64, lead.table_len())?;
    Ok(lead.with_table(&table))
}

/// Where the next block's magic bytes lie; `to` if nowhere.
pub(super) fn next_block(disk: &dyn Disk, path: &Path, mut at: u64, to: u64) -> Result<u64> {
    while at < to {
        let len = WINDOW.min(usize::try_from(to - at).unwrap_or(WINDOW));
        let bytes = read(disk, path, at, len)?;
        if let Some(found) = next_magic(&bytes) {
            return Ok(at + found as u64);
        }
        if len < WINDOW {
            break;
        }
        // The magic bytes may lie across the windows' border.
        at += (len - 3) as u64;
    }
    Ok(to)
}

pub(super) fn read(disk: &dyn Disk, path: &Path, at: u64, len: usize) -> Result<Vec<u8>> {
    disk.read_at(path, at, len).map_err(|error| {
        let error = match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it became shorter"),
            _ => error,
        };
        Error::io("read", path, error)
    })
}
