//! The doctor on real file systems: it tells what is there, and leaves nothing behind.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use waymark::error::Error;
use waymark::model::cancel::Cancel;
use waymark::ops::doctor::{Class, Diagnosis, Holds, Probe, doctor};
use waymark::ops::locate::Hints;
use waymark::store::probe::PREFIX;

use crate::world::code;

fn names(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn at(folder: &Path) -> Hints {
    Hints {
        working_dir: Some(folder.to_path_buf()),
        ..Hints::default()
    }
}

fn examine(folder: &Path) -> Diagnosis {
    let begin = Instant::now();
    doctor(
        &at(folder),
        Some(folder),
        &|| begin.elapsed(),
        &Cancel::default(),
    )
    .unwrap()
}

fn probe<'a>(diagnosis: &'a Diagnosis, name: &str) -> &'a Probe {
    let mut found = diagnosis.probes.iter().filter(|probe| probe.name == name);
    let probe = found.next().unwrap();
    assert!(found.next().is_none(), "{name} twice");
    probe
}

fn holds(diagnosis: &Diagnosis, name: &str) -> Holds {
    let mut findings = diagnosis.judgement.findings.iter();
    findings.find(|one| one.name == name).unwrap().holds
}

#[test]
fn a_folder_is_examined_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("run-1")).unwrap();
    let diagnosis = examine(folder.path());
    assert_eq!(names(folder.path()), [folder.path().join("run-1")]);
    assert_eq!(diagnosis.path, folder.path());
    assert_eq!(diagnosis.runs_dir, None);
    assert_eq!(diagnosis.probes.len(), 20);
    for name in ["writable", "replace", "create_only", "locks", "sync_file"] {
        assert_eq!(probe(&diagnosis, name).ok, Some(true), "{name}");
    }
    assert_eq!(holds(&diagnosis, "atomic"), Holds::Yes);
    assert_eq!(holds(&diagnosis, "exclusive"), Holds::Yes);
    if cfg!(target_os = "linux") {
        assert_ne!(diagnosis.judgement.class, Class::Unknown);
        assert_eq!(holds(&diagnosis, "exact_files"), Holds::Yes);
        for name in ["symlinks", "modes", "raw_names", "case", "path_length"] {
            assert_eq!(probe(&diagnosis, name).ok, Some(true), "{name}");
        }
        let reach = &probe(&diagnosis, "path_length").observed;
        assert!(
            reach.starts_with("409") && reach.ends_with("longer folder by folder"),
            "{reach}"
        );
        assert_eq!(probe(&diagnosis, "name_length").observed, "255 bytes");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn memory_is_told_from_a_disk() {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    let diagnosis = examine(folder.path());
    if diagnosis.file_system.kind.as_deref() != Some("tmpfs") {
        return;
    }
    assert_eq!(diagnosis.judgement.class, Class::Memory);
    assert_eq!(holds(&diagnosis, "durable"), Holds::No);
    assert_eq!(holds(&diagnosis, "atomic"), Holds::Yes);
    assert!(!diagnosis.judgement.ok());
    assert_eq!(names(folder.path()), [""; 0].map(PathBuf::from));
}

#[test]
#[cfg(unix)]
fn a_folder_that_can_not_be_written_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o500);
    if fs::create_dir(folder.path().join("root-may")).is_ok() {
        return;
    }
    let diagnosis = examine(folder.path());
    mode(0o700);
    assert_eq!(probe(&diagnosis, "writable").ok, Some(false));
    assert_eq!(probe(&diagnosis, "locks").ok, None);
    assert_eq!(diagnosis.probes.len(), 20);
    for promise in ["durable", "atomic", "exclusive", "exact_files"] {
        assert_eq!(holds(&diagnosis, promise), Holds::No, "{promise}");
    }
    // What is asked without writing is still told.
    assert_eq!(probe(&diagnosis, "space").ok, Some(true));
}

/// The clock is asked in the midst of the probes: whatever comes from it comes there.
#[test]
fn an_aborted_or_panicking_doctor_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let cancel = Cancel::default();
    let seen = Cell::new(0);
    let clock = || {
        seen.set(names(folder.path()).len());
        cancel.cancel();
        Duration::ZERO
    };
    let result = doctor(&at(folder.path()), Some(folder.path()), &clock, &cancel);
    assert_eq!(code(result), "ERR_ABORTED");
    assert_eq!(seen.get(), 1, "it had begun");
    assert!(names(folder.path()).is_empty());

    let path = folder.path().to_path_buf();
    let panicked = std::thread::spawn(move || {
        let clock = || -> Duration { panic!("on purpose") };
        doctor(&at(&path), Some(&path), &clock, &Cancel::default()).is_ok()
    });
    panicked.join().unwrap_err();
    assert!(names(folder.path()).is_empty());
}

#[test]
fn leftovers_are_removed_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join(format!("{PREFIX}4194300-0"));
    fs::create_dir_all(left.join("deep")).unwrap();
    fs::File::create_new(left.join("lock")).unwrap();
    let diagnosis = examine(folder.path());
    assert!(names(folder.path()).is_empty());
    assert_eq!(
        diagnosis.judgement.warnings.last().unwrap(),
        "removed a folder that a killed doctor had left"
    );
}

#[test]
fn two_doctors_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let diagnosis = examine(folder.path());
                assert_eq!(holds(&diagnosis, "exclusive"), Holds::Yes);
                assert_eq!(probe(&diagnosis, "replace").ok, Some(true));
            });
        }
    });
    assert!(names(folder.path()).is_empty());
}

#[test]
fn the_runs_are_examined_where_there_are_any() {
    let project = tempfile::tempdir().unwrap();
    let project = project.path();
    let examine = |hints: &Hints| doctor(hints, None, &|| Duration::ZERO, &Cancel::default());
    let bare = examine(&at(project)).unwrap();
    assert_eq!(
        (&bare.path, &bare.runs_dir),
        (&project.to_path_buf(), &None)
    );
    assert!(
        !bare
            .judgement
            .warnings
            .iter()
            .any(|one| one.contains("runs was found"))
    );

    let lost = Hints {
        environment: Some(project.join("nowhere")),
        ..at(project)
    };
    let lost = examine(&lost).unwrap();
    assert_eq!(lost.path, project);
    assert!(lost.judgement.warnings[0].contains("nowhere (WAYMARK_RUNS_DIR)"));

    let runs = project.join(".claude/context/runs");
    fs::create_dir_all(&runs).unwrap();
    fs::create_dir(project.join(".waymark")).unwrap();
    let found = examine(&at(project)).unwrap();
    assert_eq!(found.path, runs);
    assert_eq!(found.runs_dir, Some(runs.clone()));
    assert_eq!(found.store_dir, Some(project.join(".waymark")));
    assert_eq!(found.config_file, None);

    // Where create would look, not the nearest one.
    let file = project.join("waymark.config.json");
    let mut config = fs::File::create_new(&file).unwrap();
    std::io::Write::write_all(&mut config, br#"{"store": "elsewhere"}"#).unwrap();
    let found = examine(&at(project)).unwrap();
    assert_eq!(
        (found.store_dir, found.config_file),
        (None, Some(file.clone()))
    );
    fs::create_dir(project.join("elsewhere")).unwrap();
    let found = examine(&at(&runs)).unwrap();
    assert_eq!(found.store_dir, Some(project.join("elsewhere")));
    fs::File::create(&file).unwrap();
    let found = examine(&at(project)).unwrap();
    assert_eq!(found.store_dir, None);
    let told = found.judgement.warnings;
    assert_eq!(
        told.iter()
            .filter(|one| one.contains("waymark.config.json"))
            .count(),
        1
    );
}

#[test]
fn what_is_no_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::File::create_new(&file).unwrap();
    let examine = |path: &Path| {
        doctor(
            &at(folder.path()),
            Some(path),
            &|| Duration::ZERO,
            &Cancel::default(),
        )
    };
    assert_eq!(code(examine(&file)), "ERR_PATH_NOT_DIRECTORY");
    assert_eq!(code(examine(&folder.path().join("no"))), "ERR_IO");
    assert_eq!(code(examine(Path::new(""))), "ERR_PATH_INVALID");
    assert!(matches!(
        examine(Path::new("a\0b")),
        Err(Error::PathInvalid { .. })
    ));
    assert_eq!(names(folder.path()), [file]);
}
