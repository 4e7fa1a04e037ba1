//! What the simulated disk promises to the tests that rely on it.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use waymark::store::disk::Disk;

use crate::sim_disk::SimDisk;

fn path(text: &str) -> &Path {
    Path::new(text)
}

fn write(disk: &SimDisk, at: &str, content: &str, finish: bool) {
    let mut file = disk.create(path(at)).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    if finish {
        file.finish().unwrap();
    }
}

/// Everything that power loss may leave of a file, over many seeds.
fn outcomes(disk: &SimDisk, at: &str) -> HashSet<Option<String>> {
    (0..200)
        .map(|seed| {
            let content = disk.power_loss(seed).content(path(at));
            content.map(|bytes| String::from_utf8(bytes).unwrap())
        })
        .collect()
}

#[test]
fn only_what_was_synced_is_sure() {
    let disk = SimDisk::new();
    write(&disk, "/a", "abc", false);
    let found = outcomes(&disk, "/a");
    assert!(found.contains(&None), "an unsynced name may be lost");
    for torn in ["", "a", "abc", "a\0\0"] {
        assert!(
            found.contains(&Some(torn.to_owned())),
            "{torn:?} in {found:?}"
        );
    }
    disk.sync_dir(path("/")).unwrap();
    assert!(!outcomes(&disk, "/a").contains(&None));
    write(&disk, "/b", "abc", true);
    disk.sync_dir(path("/")).unwrap();
    assert_eq!(outcomes(&disk, "/b"), [Some("abc".to_owned())].into());
}

#[test]
fn a_rename_is_one_change_that_its_target_makes_durable() {
    let disk = SimDisk::new();
    for dir in ["/x", "/y"] {
        disk.create_dir(path(dir)).unwrap();
    }
    write(&disk, "/x/a", "new", true);
    disk.settle();
    disk.rename(path("/x/a"), path("/y/b")).unwrap();
    disk.sync_dir(path("/x")).unwrap();
    for seed in 0..50 {
        let lost = disk.power_loss(seed);
        let (from, to) = (lost.content(path("/x/a")), lost.content(path("/y/b")));
        assert!(from.is_some() != to.is_some(), "one of the two names");
    }
    assert_eq!(outcomes(&disk, "/y/b").len(), 2);
    disk.sync_dir(path("/y")).unwrap();
    assert_eq!(outcomes(&disk, "/y/b").len(), 1);
    assert_eq!(outcomes(&disk, "/x/a"), [None].into());
}

#[test]
fn a_folder_moves_with_all_that_is_in_it() {
    let disk = SimDisk::new();
    for dir in ["/x", "/x/in", "/y"] {
        disk.create_dir(path(dir)).unwrap();
    }
    write(&disk, "/x/in/a", "synced", true);
    disk.settle();
    write(&disk, "/x/in/b", "not synced", false);
    disk.rename_new(path("/x/in"), path("/y/there")).unwrap();
    disk.sync_dir(path("/y")).unwrap();
    assert_eq!(outcomes(&disk, "/x/in/a"), [None].into());
    assert_eq!(
        outcomes(&disk, "/y/there/a"),
        [Some("synced".to_owned())].into()
    );
    // Neither its name in the folder nor its content was synced.
    assert!(outcomes(&disk, "/y/there/b").len() > 2);
    disk.create_dir(path("/x/in")).unwrap();
    let taken = disk.rename_new(path("/y/there"), path("/x/in"));
    assert_eq!(taken.unwrap_err().kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn changes_of_one_name_apply_in_order_and_of_two_on_their_own() {
    let disk = SimDisk::new();
    write(&disk, "/a", "1", true);
    disk.remove_file(path("/a")).unwrap();
    write(&disk, "/a", "2", true);
    write(&disk, "/b", "b", true);
    let mut both = HashSet::new();
    for seed in 0..300 {
        let lost = disk.power_loss(seed);
        both.insert((lost.content(path("/a")), lost.content(path("/b")).is_some()));
    }
    for a in [None, Some(b"1".to_vec()), Some(b"2".to_vec())] {
        for b in [false, true] {
            assert!(both.contains(&(a.clone(), b)), "{a:?} {b}");
        }
    }
}

#[test]
fn a_disk_that_keeps_the_order_loses_the_latest_names_only_and_one_sync_is_enough_for_all() {
    let disk = SimDisk::new();
    disk.keep_order();
    assert!(disk.keeps_order(path("/")));
    disk.create_dir(path("/d")).unwrap();
    disk.create_dir(path("/e")).unwrap();
    disk.sync_dir(path("/e")).unwrap();
    write(&disk, "/d/a", "a", true);
    write(&disk, "/e/b", "b", true);
    let seen = |disk: &SimDisk| {
        let lost = (0..300).map(|seed| disk.power_loss(seed));
        lost.map(|lost| ["/d/a", "/e/b"].map(|at| lost.content(path(at)).is_some()))
            .collect::<HashSet<_>>()
    };
    let outcomes = HashSet::from([[false, false], [true, false], [true, true]]);
    assert_eq!(seen(&disk), outcomes);
    disk.sync_dir(path("/e")).unwrap();
    assert_eq!(seen(&disk), HashSet::from([[true, true]]));
}

#[test]
fn a_lost_folder_takes_its_synced_names_along() {
    let disk = SimDisk::new();
    disk.create_dir(path("/d")).unwrap();
    write(&disk, "/d/a", "1", true);
    disk.sync_dir(path("/d")).unwrap();
    assert_eq!(outcomes(&disk, "/d/a").len(), 2);
}

#[test]
fn links_share_content() {
    let disk = SimDisk::new();
    write(&disk, "/a", "1", true);
    disk.link(path("/a"), path("/b")).unwrap();
    disk.remove_file(path("/a")).unwrap();
    assert_eq!(disk.content(path("/b")), Some(b"1".to_vec()));
    assert!(disk.content(path("/a")).is_none());
}

#[test]
fn faults_come_when_asked_for() {
    let disk = SimDisk::new();
    disk.fail_at(2, io::ErrorKind::StorageFull);
    let mut file = disk.create(path("/a")).unwrap();
    let failed = file.write_all(b"abcd").unwrap_err();
    assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    assert_eq!(
        disk.content(path("/a")),
        Some(b"ab".to_vec()),
        "half was written"
    );
    file.write_all(b"cd").unwrap();
    let lock = disk.try_lock(path("/l"), "me").unwrap().unwrap();
    assert!(disk.try_lock(path("/l"), "you").unwrap().is_none());
    disk.crash_at(1);
    assert!(disk.remove_file(path("/a")).is_err());
    assert!(disk.sync_dir(path("/")).is_err());
    disk.kill();
    disk.remove_file(path("/a")).unwrap();
    let next = disk.try_lock(path("/l"), "you").unwrap().unwrap();
    drop(lock);
    assert!(
        disk.try_lock(path("/l"), "they").unwrap().is_none(),
        "a dead guard frees nothing"
    );
    drop(next);
    assert!(disk.try_lock(path("/l"), "they").unwrap().is_some());
    let verbs: Vec<_> = disk
        .trace()
        .into_iter()
        .map(|call| (call.verb, call.ok))
        .collect();
    assert_eq!(
        verbs,
        [
            ("create", true),
            ("write_all", false),
            ("write_all", true),
            ("remove_file", false),
            ("sync_dir", false),
            ("remove_file", true)
        ]
    );
}
