//! Reads what a pack says of itself.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::store::disk::Disk;
use crate::store::objects::pack::{HEAD_LEN, Head, Lead, PACK_HEADER, next_magic};

/// How much is read at once.
const WINDOW: usize = 64 << 10;

/// Walks the blocks that begin in a range of a pack. Bytes that are no block are passed over up to
/// the next one; gives how many there were.
pub(super) fn blocks(
    disk: &dyn Disk,
    path: &Path,
    from: u64,
    to: u64,
    take: &mut dyn FnMut(u64, &Head),
) -> Result<u64> {
    let mut at = from.max(PACK_HEADER.len() as u64);
    let mut foreign = 0;
    while at < to {
        if let Some(head) = head_at(disk, path, at, to)? {
            take(at, &head);
            at += head.block_len() as u64;
        } else {
            let next = next_block(disk, path, at + 1, to)?;
            foreign += next - at;
            at = next;
        }
    }
    Ok(foreign)
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
