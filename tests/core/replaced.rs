//! What a checkpoint replaces: its names go at once, its space when nobody waits.

#![allow(clippy::disallowed_methods, reason = "a test's own folder")]

use waymark::model::cancel::Cancel;
use waymark::model::progress::Progress;
use waymark::model::retention::Retention;
use waymark::model::step::Step;
use waymark::ops::Context;
use waymark::ops::create::{self, Created, Request, STATE_MAX};
use waymark::store::layout::RunDir;
use waymark::store::real_disk::RealDisk;

use crate::world::{START_MS, run_id};

fn take(run: &RunDir, step: u32) -> Created {
    let context = Context {
        disk: &RealDisk,
        run,
        store: None,
        now_ms: START_MS + i64::from(step),
        lease: None,
        cancel: &Cancel::default(),
        progress: &Progress::default(),
    };
    let request = Request {
        step: Step::Number(f64::from(step)),
        state: b"{}",
        retention: Some(Retention::newest(2)),
        max_state_bytes: STATE_MAX,
        capture: None,
        max_store_bytes: None,
        facts: None,
        environment: None,
    };
    create::create(&context, &request).unwrap()
}

/// The files of a run that have no name any more and are held all the same.
#[cfg(target_os = "linux")]
fn held(run: &RunDir) -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").unwrap();
    fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok())
        .filter(|path| {
            path.starts_with(run.path()) && path.to_string_lossy().ends_with(" (deleted)")
        })
        .count()
}

#[cfg(target_os = "linux")]
#[test]
fn the_space_of_what_was_replaced_is_freed_when_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::new(&folder.path().canonicalize().unwrap(), run_id());
    std::fs::create_dir(run.path()).unwrap();
    std::fs::write(run.run_record(), crate::world::record(1, "old")).unwrap();
    let manifests = || {
        let names = std::fs::read_dir(run.checkpoints()).unwrap();
        names
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some())
            .count()
    };
    let first = take(&run, 1);
    // There was no registry to replace.
    assert!(first.replaced.is_empty() && held(&run) == 0);
    let second = take(&run, 2);
    assert_eq!((second.replaced.len(), held(&run)), (1, 1));
    let third = take(&run, 3);
    assert_eq!(third.dropped.len(), 1);
    assert_eq!(manifests(), 2, "the name of what was dropped is gone");
    assert_eq!((third.replaced.len(), held(&run)), (2, 3));
    drop(second);
    assert_eq!(held(&run), 2);
    drop(third);
    assert_eq!(held(&run), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn of_small_files_some_are_held_until_nobody_waits() {
    use waymark::store::disk::Disk;
    use waymark::store::publish::remove_small;
    use waymark::store::real_disk::let_go;

    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::new(&folder.path().canonicalize().unwrap(), run_id());
    std::fs::create_dir(run.path()).unwrap();
    let drop_one = |name: &str, len: usize| {
        let path = run.path().join(name);
        std::fs::write(&path, vec![7; len]).unwrap();
        remove_small(&RealDisk, &path).unwrap();
        assert!(!path.exists());
    };
    drop_one("small", 100);
    assert_eq!(held(&run), 1);
    // Its space is worth more than the time.
    drop_one("large", 1 << 20);
    assert_eq!(held(&run), 1);
    for at in 0..40 {
        drop_one(&format!("{at}"), 1);
    }
    let most = held(&run);
    assert!((8..=16).contains(&most), "{most}");
    assert_eq!(let_go(), most);
    assert_eq!(held(&run), 0);
    // What is held in a folder is its own, a folder as well; a link or a pipe is not opened.
    let inside = RealDisk.open_folder(run.path()).unwrap();
    std::fs::create_dir(run.path().join("sub")).unwrap();
    std::fs::write(run.path().join("file"), "x").unwrap();
    std::os::unix::fs::symlink("file", run.path().join("link")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(run.path().join("pipe"))
        .status();
    assert!(made.unwrap().success());
    let file = inside.hold(b"file").unwrap();
    let sub = inside.hold(b"sub").unwrap();
    assert_eq!(file.bytes(), 1);
    for name in [&b"link"[..], b"pipe", b"none"] {
        assert!(inside.hold(name).is_none());
    }
    inside.remove_file(b"file").unwrap();
    inside.remove_dir(b"sub").unwrap();
    assert_eq!(held(&run), 2);
    drop((file, sub));
    assert_eq!(held(&run), 0);
}
