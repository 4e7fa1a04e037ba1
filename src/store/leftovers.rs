//! What killed processes left in a store's own folder: staged files, archives that were begun, and an index
//! that was found damaged and moved aside.
//!
//! *Invariants*: a staged file goes only if its maker is known to be dead and it is old enough that a
//! maker in another container, whose processes are not seen from here, would be long done. An index that
//! was moved aside is nobody's any more; it stays a while for those who want to look at it.
//!
//! *Crash story*: each file goes by itself; what is left is for the next gc.
//!
//! *Limits*: where nobody can tell whether a process is alive (Windows), age alone decides, a day of it.
//! A maker's number may belong to another process by now: then the file stays until that ends.

use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::store::disk::{Disk, Entry, EntryKind};
use crate::store::layout::STAGED;
use crate::store::place::StoreDir;

/// Younger files stay, in milliseconds: an hour.
pub const AGE_MS: i64 = 3_600_000;
/// Younger files whose maker can't be asked after stay, in milliseconds: a day.
pub const UNKNOWN_AGE_MS: i64 = 86_400_000;
/// What the names of an index that was moved aside begin with.
const DAMAGED: &str = "index.db.damaged";

/// Removes them. The caller keeps writers out; a file that can't be removed stays.
pub fn remove(disk: &dyn Disk, place: &StoreDir, now_ms: i64) -> Result<()> {
    remove_in(disk, place.path(), now_ms, &|name| match maker_of(name) {
        Some(maker) => Some(disk.process_alive(maker)),
        None => name.starts_with(DAMAGED).then_some(Some(false)),
    })?;
    let archives = place.archives();
    for entry in entries_of(disk, &archives)? {
        if entry.kind == EntryKind::Directory {
            remove_in(disk, &archives.join(&entry.name), now_ms, &|name| {
                part_of(name).map(|maker| disk.process_alive(maker))
            })?;
        }
    }
    Ok(())
}

fn entries_of(disk: &dyn Disk, folder: &Path) -> Result<Vec<Entry>> {
    match disk.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.map_err(|error| Error::io("read", folder, error)),
    }
}

/// Removes old files of a folder whose makers are gone. `alive` says whether the maker of a file of that
/// name is alive, as far as that can be told; `None` for files that are none of ours to remove.
fn remove_in(
    disk: &dyn Disk,
    folder: &Path,
    now_ms: i64,
    alive: &dyn Fn(&str) -> Option<Option<bool>>,
) -> Result<()> {
    let entries = entries_of(disk, folder)?;
    for entry in entries.iter().filter(|one| one.kind == EntryKind::File) {
        let Some(alive) = alive(&entry.name.to_string_lossy()) else {
            continue;
        };
        let age_min_ms = match alive {
            Some(true) => continue,
            Some(false) => AGE_MS,
            None => UNKNOWN_AGE_MS,
        };
        let path = folder.join(&entry.name);
        // One that was moved aside was moved when its name changed, not when it was last written.
        let age_ms = disk.metadata(&path).map_or(0, |found| {
            let changed_ms = found.stamp.changed_ns.div_euclid(1_000_000);
            now_ms.saturating_sub(found.modified_ms.max(changed_ms))
        });
        if age_ms >= age_min_ms {
            // Another process may have it open (Windows); nothing depends on it.
            let _ = disk.remove_file(&path);
        }
    }
    Ok(())
}

/// The process that began an archive: `.<name>.part-<process>-<number>`, as [`crate::store::archive`] names it.
fn part_of(name: &str) -> Option<u32> {
    let (_, made) = name.strip_prefix('.')?.rsplit_once(".part-")?;
    let (process, _) = made.split_once('-')?;
    process.parse().ok().filter(|&process| process > 0)
}

/// The process that made a staged file: `staged-<what>-<process>-<time>-<number>`.
fn maker_of(name: &str) -> Option<u32> {
    let parts: Vec<&str> = name.strip_prefix(STAGED)?.split('-').collect();
    match parts[..] {
        [_, process, _, _] => process.parse().ok().filter(|&process| process > 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_of_archives() {
        let name = ".checkpoint-step-1-5.wmk.part-4711-0";
        assert_eq!(part_of(name), Some(4711));
        for other in [
            "a.wmk",
            ".a.wmk",
            ".a.wmk.part-x-0",
            ".a.wmk.part-0-0",
            "a.wmk.part-1-0",
        ] {
            assert_eq!(part_of(other), None, "{other}");
        }
    }

    #[test]
    fn makers_of_staged_files() {
        assert_eq!(maker_of("staged-format-4711-1795245184018-0"), Some(4711));
        for other in [
            "format",
            "staged-",
            "staged-format",
            "staged-format-x-1-0",
            "staged-format-0-1-0",
            "staged-format-1-2-3-4",
            "index.db.damaged",
        ] {
            assert_eq!(maker_of(other), None, "{other}");
        }
    }
}
