//! Whether a file system changes names on the medium in the order in which they were changed.
//!
//! *Sources*: the Linux kernel's `Documentation/filesystems/ext4/journal.rst` (a transaction is replayed whole, in turn) and
//! `Documentation/filesystems/xfs/xfs-delayed-logging-design.rst` (changes are logged in order, and to force the log up to
//! one of them takes all earlier ones along). Ext4 can be made without a journal, and keeps no order then: the kernel tells in
//! `/sys/fs/ext4/<device>/journal_task`.
//!
//! *Limits*: Linux only; no other file system is believed to keep it, though some do. What can't be told is `false`, which
//! costs a sync.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{major, minor};

use crate::store::probe::kind_of;

/// A mounted file system: the number of its device, its type, and how many blocks it has, which a journal takes some of.
type Mounted = (u64, u64, u64);

/// What was found of each.
static KNOWN: Mutex<Vec<(Mounted, bool)>> = Mutex::new(Vec::new());

/// Whether the file system that a folder lies on keeps the order.
pub(super) fn is_kept(folder: &Path) -> bool {
    let (Ok(found), Ok(told)) = (rustix::fs::stat(folder), rustix::fs::statfs(folder)) else {
        return false;
    };
    let device = found.st_dev;
    let magic = told.f_type.cast_unsigned();
    // Another may be mounted there while this process lives.
    let mounted = (device, magic, told.f_blocks);
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, kept)) = known().iter().find(|(known, _)| *known == mounted) {
        return *kept;
    }
    let kept = kind_of(magic).is_some_and(|kind| keeps(kind, || journal_task(device)));
    known().push((mounted, kept));
    kept
}

fn keeps(kind: &str, journal_task: impl FnOnce() -> Option<String>) -> bool {
    match kind {
        "xfs" => true,
        // Without a journal it is `<none>`.
        "ext4" => journal_task().is_some_and(|task| task.trim().parse::<u32>().is_ok()),
        _ => false,
    }
}

/// What the kernel tells of the journal's thread, by the name of the device.
fn journal_task(device: u64) -> Option<String> {
    let numbers = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let place = fs::read_link(numbers).ok()?;
    let file = Path::new("/sys/fs/ext4").join(place.file_name()?);
    fs::read_to_string(file.join("journal_task")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_journal_keeps_the_order() {
        let ext4 = |told: Option<&str>| keeps("ext4", || told.map(str::to_owned));
        assert!(ext4(Some("9883\n")));
        assert!(!ext4(Some("<none>\n")));
        assert!(!ext4(None), "ext2, or no /sys");
        assert!(keeps("xfs", || None));
        for other in ["btrfs", "overlay", "tmpfs", "nfs"] {
            assert!(!keeps(other, || Some("1".to_owned())), "{other}");
        }
    }

    #[test]
    fn what_is_not_there_keeps_nothing() {
        assert!(!is_kept(Path::new("/nowhere/at/all")));
        // `/proc` is neither.
        assert!(!is_kept(Path::new("/proc")));
    }
}
