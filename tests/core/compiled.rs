//! What V8 compiled, kept: given back as it was, or not at all.

#![allow(clippy::disallowed_methods, reason = "a test's own folder")]

use std::fs;
use std::path::Path;

use waymark::store::compiled::{FILES_MAX, keep, read};
use waymark::store::real_disk::RealDisk;

use crate::sim_disk::SimDisk;

#[test]
fn it_is_given_back_as_it_was_kept() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("compiled");
    assert_eq!(read(&RealDisk, &folder, "a"), None);
    keep(&RealDisk, &folder, "a", b"one").unwrap();
    keep(&RealDisk, &folder, "b", b"").unwrap();
    assert_eq!(read(&RealDisk, &folder, "a").unwrap(), b"one");
    assert_eq!(read(&RealDisk, &folder, "b").unwrap(), b"");
    assert_eq!(read(&RealDisk, &folder, "c"), None);
    keep(&RealDisk, &folder, "a", b"another").unwrap();
    keep(&RealDisk, &folder, "a", b"two").unwrap();
    assert_eq!(read(&RealDisk, &folder, "a").unwrap(), b"two");
}

#[test]
fn what_is_damaged_or_of_another_key_is_not_given() {
    let home = tempfile::tempdir().unwrap();
    keep(&RealDisk, home.path(), "a", b"compiled code").unwrap();
    let only = fs::read_dir(home.path()).unwrap().next().unwrap();
    let path = only.unwrap().path();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&path, &bad).unwrap();
        assert_eq!(read(&RealDisk, home.path(), "a"), None, "byte {at}");
        fs::write(&path, &good[..at]).unwrap();
        assert_eq!(read(&RealDisk, home.path(), "a"), None, "cut at {at}");
    }
    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert_eq!(read(&RealDisk, home.path(), "a"), None);
    // The same file under the name of another key.
    keep(&RealDisk, home.path(), "b", b"else").unwrap();
    let files: Vec<_> = fs::read_dir(home.path()).unwrap().flatten().collect();
    let mut other = files.iter().map(fs::DirEntry::path);
    let other = other.rfind(|one| *one != path).unwrap();
    fs::write(&other, &good).unwrap();
    assert_eq!(read(&RealDisk, home.path(), "b"), None);
    fs::write(&path, &good).unwrap();
    assert_eq!(read(&RealDisk, home.path(), "a").unwrap(), b"compiled code");
}

#[test]
fn the_oldest_go_where_there_are_too_many() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path();
    keep(&RealDisk, folder, "old", b"x").unwrap();
    let only = fs::read_dir(folder).unwrap().next().unwrap();
    let file = fs::File::options().write(true).open(only.unwrap().path());
    let file = file.unwrap();
    let day = std::time::Duration::from_hours(24);
    let now = file.metadata().unwrap().modified().unwrap();
    file.set_modified(now - day).unwrap();
    for at in 1..FILES_MAX {
        keep(&RealDisk, folder, &at.to_string(), b"x").unwrap();
    }
    assert!(read(&RealDisk, folder, "old").is_some());
    keep(&RealDisk, folder, "new", b"x").unwrap();
    assert_eq!(fs::read_dir(folder).unwrap().count(), FILES_MAX);
    assert_eq!(read(&RealDisk, folder, "old"), None);
    for key in ["1", "2", "new"] {
        assert!(read(&RealDisk, folder, key).is_some(), "{key}");
    }
}

#[test]
fn where_nothing_can_be_kept_it_is_told() {
    let home = tempfile::tempdir().unwrap();
    let taken = home.path().join("taken");
    fs::write(&taken, "a file").unwrap();
    let error = keep(&RealDisk, &taken, "a", b"x").unwrap_err();
    assert_eq!(error.code(), "ERR_IO");
    assert_eq!(read(&RealDisk, &taken, "a"), None);
    let error = keep(&RealDisk, &home.path().join("none/none"), "a", b"x").unwrap_err();
    assert_eq!(error.code(), "ERR_IO");
    assert_eq!(fs::read_to_string(&taken).unwrap(), "a file");
}

#[test]
fn a_crash_leaves_what_was_kept_or_nothing() {
    let folder = Path::new("/compiled");
    let act = |disk: &SimDisk| keep(disk, folder, "a", b"two");
    let before = SimDisk::new();
    keep(&before, folder, "a", b"one").unwrap();
    let clean = before.fork();
    act(&clean).unwrap();
    assert!(clean.calls() > 1);
    for n in 1..=clean.calls() + 1 {
        let disk = before.fork();
        disk.crash_at(n);
        let _ = act(&disk);
        let killed = disk.fork();
        killed.kill();
        let lost = (0..20).map(|seed| disk.power_loss(seed));
        for disk in std::iter::once(killed).chain(lost) {
            let kept = read(&disk, folder, "a");
            let is_whole = matches!(kept.as_deref(), None | Some(b"one" | b"two"));
            assert!(is_whole, "{n}: {kept:?}");
            act(&disk).unwrap();
            assert_eq!(read(&disk, folder, "a").unwrap(), b"two");
        }
    }
}
