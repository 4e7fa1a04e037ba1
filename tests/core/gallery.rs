//! The ways in which putting files back is known to lose data, each shown to lose none.
//!
//! Every test is a row of `docs/data-loss.md`. In each, nothing is lost, or the restore is refused with a
//! reason and has changed nothing. Those that need a mount or an attribute that only root can set are
//! passed over elsewhere, and say so.

#![allow(clippy::disallowed_methods, reason = "a test's own folder")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use waymark::error::Error;
use waymark::model::plan::{Action, KeepReason, OnConflict};
use waymark::ops::restore::{Choice, Part};

use crate::project::{Project, Sight, Thing};
use crate::sim_disk::Rng;
use crate::store_world::noise;
use crate::world::code;

const OVERWRITE: Option<OnConflict> = Some(OnConflict::Overwrite);

/// Says why a test was passed over.
#[allow(clippy::print_stderr, reason = "nobody else would tell")]
fn passed_over(reason: &str) {
    eprintln!("passed over: {reason}");
}

/// A mount that goes with it.
struct Mount(PathBuf);

impl Mount {
    fn new(kind: &[&str], at: &Path) -> Option<Self> {
        let done = Command::new("mount").args(kind).arg(at).output().ok()?;
        done.status.success().then(|| Self(at.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// What differs between two looks.
fn differing(one: &Sight, other: &Sight) -> Vec<String> {
    let names = one.keys().chain(other.keys());
    let mut names: Vec<String> = names
        .filter(|name| one.get(*name) != other.get(*name))
        .cloned()
        .collect();
    names.sort();
    names.dedup();
    names
}

#[track_caller]
fn assert_same(one: &Sight, other: &Sight) {
    let names = differing(one, other);
    let sides = names.iter().map(|name| (one.get(name), other.get(name)));
    assert!(
        names.is_empty(),
        "{names:?}: {:?}",
        sides.collect::<Vec<_>>()
    );
}

/// Changes something of every kind since a checkpoint.
fn change_everything(project: &Project) {
    project.put("src/main.rs", "fn main() { changed() }\n");
    project.put("src/new/deep.rs", "new\n");
    project.remove("src/lib");
    project.put("src/lib", "a file now\n");
    project.mode("tool.sh", 0o600);
    project.remove("README.md");
    project.link("link", "src/main.rs");
    project.put("out/report.md", "worse report\n");
    project.put_in_run("notes.txt", "other notes\n");
    project.remove("empty");
    fs::create_dir(project.at("bare")).unwrap();
}

#[test]
fn a_restore_puts_everything_back_and_an_undo_of_it_too() {
    let project = Project::new();
    let before = project.sight();
    let first = project.create();
    change_everything(&project);
    let changed = project.sight();
    let second = project.create();
    let done = project.overwrite(&first);
    assert_eq!(done.newer, [second]);
    // The new folder was captured by the second checkpoint, so it is the run's, and goes.
    assert_same(&project.sight(), &before);
    project.assert_tidy();
    project.undo().unwrap();
    assert_same(&project.sight(), &changed);
    project.undo().unwrap();
    assert_same(&project.sight(), &before);
    project.undo().unwrap();
    assert_same(&project.sight(), &changed);
    project.assert_tidy();
}

#[test]
fn an_undo_brings_back_what_was_never_in_a_checkpoint() {
    let project = Project::new();
    let before = project.sight();
    let first = project.create();
    change_everything(&project);
    let changed = project.sight();
    project.overwrite(&first);
    for (name, thing) in &before {
        assert_eq!(project.sight().get(name), Some(thing), "{name}");
    }
    assert_eq!(project.text("src/new/deep.rs").as_deref(), Some("new\n"));
    project.undo().unwrap();
    assert_same(&project.sight(), &changed);
}

#[test]
fn a_changed_file_of_the_workspace_is_refused_and_nothing_is_changed() {
    let project = Project::new();
    let first = project.create();
    project.put("src/main.rs", "mine\n");
    project.put_in_run("notes.txt", "other notes\n");
    let changed = project.sight();
    let refused = project.restore(&first, None).unwrap_err();
    assert_eq!(refused.code(), "ERR_RESTORE_CONFLICT");
    let Error::RestoreConflict {
        conflicts, total, ..
    } = &refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(*total, 1);
    assert!(conflicts[0].contains("src/main.rs"), "{conflicts:?}");
    assert_same(&project.sight(), &changed);
    assert_eq!(project.rescues(), 0);
    project.assert_tidy();
}

#[test]
fn keep_both_renames_what_was_changed_aside() {
    let project = Project::new();
    let first = project.create();
    project.put("src/main.rs", "mine\n");
    project.restore(&first, Some(OnConflict::KeepBoth)).unwrap();
    assert_eq!(
        project.text("src/main.rs").as_deref(),
        Some("fn main() {}\n")
    );
    let names = fs::read_dir(project.at("src")).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let beside = names
        .iter()
        .find(|name| name.contains(".conflict-"))
        .unwrap();
    assert_eq!(
        project.text(&format!("src/{beside}")).as_deref(),
        Some("mine\n")
    );
}

#[test]
fn a_merge_puts_the_lines_of_both_together_or_refuses() {
    let project = Project::new();
    let lines = |first: &str, last: &str| format!("{first}\n2\n3\n4\n5\n6\n7\n8\n{last}\n");
    project.put("src/main.rs", &lines("old", "end"));
    let first = project.create();
    project.put("src/main.rs", &lines("new", "end"));
    project.create();
    project.put("src/main.rs", &lines("new", "mine"));
    project.restore(&first, Some(OnConflict::Merge)).unwrap();
    assert_eq!(project.text("src/main.rs").unwrap(), lines("old", "mine"));
    // What was merged is in no checkpoint.
    assert_eq!(code(project.undo()), "ERR_RESTORE_CONFLICT");
    let request = project.request(Choice::Newest, OVERWRITE);
    project
        .act(|context| waymark::ops::restore::undo(context, &request))
        .unwrap();
    assert_eq!(project.text("src/main.rs").unwrap(), lines("new", "mine"));
    project.put("src/main.rs", &lines("mine", "end"));
    let before = project.sight();
    let refused = project.restore(&first, Some(OnConflict::Merge));
    assert_eq!(code(refused), "ERR_RESTORE_CONFLICT");
    assert_same(&project.sight(), &before);
}

#[test]
fn untracked_files_next_to_the_restored_ones() {
    let project = Project::new();
    let first = project.create();
    project.put("src/mine.rs", "mine\n");
    project.put("src/lib/mine.rs", "mine\n");
    project.put("mine/deep/file", "mine\n");
    project.put("src/main.rs", "changed\n");
    let mine = project.sight();
    project.overwrite(&first);
    let after = project.sight();
    assert_eq!(differing(&mine, &after), ["src/main.rs"]);
}

#[test]
fn dirty_gitignore() {
    let project = Project::new();
    let first = project.create();
    let before = project.sight();
    // What it protected is protected no more, and what was captured is ignored now.
    project.put(".gitignore", "src/\n");
    project.put("src/main.rs", "changed while ignored\n");
    project.put("src/mine.rs", "mine\n");
    let changed = project.sight();
    project.overwrite(&first);
    let after = project.sight();
    for name in [
        "target/out.bin",
        "debug.log",
        "src/main.rs",
        ".gitignore",
        "src/lib/util.rs",
    ] {
        assert_eq!(after.get(name), before.get(name), "{name}");
    }
    assert_eq!(after.get("src/mine.rs"), changed.get("src/mine.rs"));
    // What was hidden from sight was rescued nevertheless.
    project.undo().unwrap();
    let undone = project.sight();
    assert_eq!(
        project.text("src/main.rs").as_deref(),
        Some("changed while ignored\n")
    );
    for name in ["target/out.bin", "debug.log", "src/mine.rs", ".gitignore"] {
        assert_eq!(undone.get(name), changed.get(name), "{name}");
    }
}

#[test]
fn ignored_build_output() {
    let project = Project::new();
    let first = project.create();
    project.put("target/out.bin", "built anew\n");
    project.put("target/more/out.bin", "built\n");
    project.put("src/debug.log", "logged\n");
    project.put("src/main.rs", "changed\n");
    let changed = project.sight();
    project.overwrite(&first);
    assert_eq!(differing(&changed, &project.sight()), ["src/main.rs"]);
}

#[test]
fn restore_from_a_subfolder() {
    let project = Project::new().with_workspace(&["src"]);
    let before = project.sight();
    let first = project.create();
    project.put("README.md", "changed beside\n");
    project.put("srcs/file", "a sibling\n");
    project.put("src/main.rs", "changed\n");
    project.remove("src/lib");
    let changed = project.sight();
    project.overwrite(&first);
    let after = project.sight();
    for (name, thing) in &changed {
        if !name.starts_with("src/") {
            assert_eq!(after.get(name), Some(thing), "{name}");
        }
    }
    for name in ["src/main.rs", "src/lib/util.rs"] {
        assert_eq!(after.get(name), before.get(name), "{name}");
    }
    // The folder itself may be gone.
    project.remove("src");
    project.overwrite(&first);
    for name in ["src/main.rs", "src/lib/util.rs"] {
        assert_eq!(project.sight().get(name), before.get(name), "{name}");
    }
}

#[test]
fn an_empty_folder_is_left_when_a_restore_into_it_fails() {
    let project = Project::new().with_workspace(&["src"]);
    let first = project.create();
    project.remove("src");
    fs::create_dir(project.at("src")).unwrap();
    let changed = project.sight();
    project.meddle(|project| project.put("src/main.rs", "foreign\n"));
    assert_eq!(code(project.restore(&first, OVERWRITE)), "ERR_PLAN_STALE");
    assert_eq!(differing(&changed, &project.sight()), ["src/main.rs"]);
    project.remove("src");
    fs::create_dir(project.at("src")).unwrap();
    project.meddle(|project| project.put("out/report.md", "foreign\n"));
    project.put("out/report.md", "worse\n");
    assert_eq!(code(project.restore(&first, OVERWRITE)), "ERR_PLAN_STALE");
    assert!(project.at("src").is_dir(), "the empty folder stays");
    assert_eq!(project.text("out/report.md").as_deref(), Some("foreign\n"));
}

/// A repository or a submodule inside, whose `.git` is a folder or a file.
fn inner_repository(git: &str) {
    let project = Project::new();
    let without = project.create();
    project.put("inner/code.c", "int x;\n");
    project.put(git, "gitdir or object\n");
    let with = project.create();
    project.put("inner/code.c", "int y;\n");
    project.put(git, "gitdir or object, later\n");
    let changed = project.sight();
    project.overwrite(&with);
    assert_eq!(project.text("inner/code.c").as_deref(), Some("int x;\n"));
    assert_eq!(project.sight().get(git), changed.get(git));
    // The checkpoint knows nothing of it: what no checkpoint holds stays, and keeps its folder.
    project.overwrite(&without);
    assert_eq!(project.text("inner/code.c"), None);
    assert_eq!(project.sight().get(git), changed.get(git));
    project.undo().unwrap();
    assert_eq!(project.text("inner/code.c").as_deref(), Some("int x;\n"));
    assert_eq!(project.sight().get(git), changed.get(git));
}

#[test]
fn nested_repository() {
    inner_repository("inner/.git/objects/1a/2b");
}

#[test]
fn submodule() {
    inner_repository("inner/.git");
}

/// The outside that a link leads to.
fn outside(project: &Project) -> PathBuf {
    let outside = project.path.parent().unwrap().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("main.rs"), "outside\n").unwrap();
    fs::create_dir(outside.join("lib")).unwrap();
    fs::write(outside.join("lib/util.rs"), "outside\n").unwrap();
    outside
}

fn assert_untouched(outside: &Path) {
    for name in ["main.rs", "lib/util.rs"] {
        let text = fs::read_to_string(outside.join(name)).unwrap();
        assert_eq!(text, "outside\n", "{name}");
    }
    assert_eq!(fs::read_dir(outside).unwrap().count(), 2);
}

fn swap_for_link(project: &Project, name: &str, target: &Path) {
    fs::rename(project.at(name), project.at("aside")).unwrap();
    project.link(name, target.to_str().unwrap());
}

#[test]
fn symlink_swapped_in_mid_restore() {
    let project = Project::new();
    let outside = outside(&project);
    project.put("src/gone.rs", "gone\n");
    let first = project.create();
    project.put("src/main.rs", "changed\n");
    project.remove("src/gone.rs");
    project.put("README.md", "changed\n");

    // Between the last check and the first file.
    let to = outside.clone();
    project.meddle(move |project| swap_for_link(project, "src", &to));
    let changed = project.sight();
    let refused = code(project.restore(&first, OVERWRITE));
    assert_eq!(refused, "ERR_PATH_SYMLINK");
    assert_untouched(&outside);
    project.assert_tidy();
    project.remove("src");
    fs::rename(project.at("aside"), project.at("src")).unwrap();
    assert_same(&project.sight(), &changed);

    // Between plan and restore.
    let request = project.request(Choice::Id(first.clone()), OVERWRITE);
    let plan = project.plan(&request).unwrap();
    swap_for_link(&project, "src", &outside);
    let swapped = project.sight();
    let planned = waymark::ops::restore::Request {
        plan: Some(plan.id),
        ..request.clone()
    };
    assert_eq!(code(project.restore_by(&planned)), "ERR_PLAN_STALE");
    assert_same(&project.sight(), &swapped);
    assert_untouched(&outside);

    // Before it all: a link is what was changed.
    assert_eq!(code(project.restore(&first, None)), "ERR_RESTORE_CONFLICT");
    project.overwrite(&first);
    assert_untouched(&outside);
    assert_eq!(project.text("src/gone.rs").as_deref(), Some("gone\n"));
    assert!(!project.at("src").is_symlink());
    project.undo().unwrap();
    assert_same(&project.sight(), &swapped);
    assert_untouched(&outside);
}

#[test]
fn file_deleted_by_the_user() {
    let project = Project::new();
    let first = project.create();
    project.remove("src/main.rs");
    project.remove("README.md");
    let deleted = project.sight();
    project.restore(&first, None).unwrap();
    assert_eq!(
        project.text("src/main.rs").as_deref(),
        Some("fn main() {}\n")
    );
    project.undo().unwrap();
    assert_same(&project.sight(), &deleted);
}

#[test]
fn file_deleted_by_another_process_during_the_restore() {
    let project = Project::new();
    let first = project.create();
    project.put("src/main.rs", "changed\n");
    project.put("README.md", "changed\n");
    let changed = project.sight();
    project.meddle(|project| project.remove("src/main.rs"));
    assert_eq!(code(project.restore(&first, OVERWRITE)), "ERR_PLAN_STALE");
    assert_eq!(differing(&changed, &project.sight()), ["src/main.rs"]);
    project.assert_tidy();
}

#[test]
fn file_created_by_another_process_during_the_restore() {
    for (name, gone) in [
        ("README.md", "README.md"),
        ("src/lib", "src/lib"),
        ("src/lib/util.rs", "src/lib"),
    ] {
        let project = Project::new();
        let first = project.create();
        project.remove(gone);
        project.put("src/main.rs", "changed\n");
        let changed = project.sight();
        project.meddle(move |project| project.put(name, "foreign\n"));
        assert_eq!(code(project.restore(&first, OVERWRITE)), "ERR_PLAN_STALE");
        assert_eq!(project.text(name).as_deref(), Some("foreign\n"), "{name}");
        let others = differing(&changed, &project.sight());
        assert!(
            others.iter().all(|other| other.starts_with(gone)),
            "{others:?}"
        );
        project.assert_tidy();
    }
}

#[test]
fn file_changed_by_another_process_during_the_restore() {
    let project = Project::new();
    let first = project.create();
    change_everything(&project);
    let changed = project.sight();
    for name in ["src/main.rs", "out/report.md", "src/lib"] {
        let text = project.text(name).unwrap();
        project.meddle(move |project| project.put(name, "foreign\n"));
        assert_eq!(code(project.restore(&first, OVERWRITE)), "ERR_PLAN_STALE");
        assert_eq!(differing(&changed, &project.sight()), [name]);
        assert_eq!(project.text(name).as_deref(), Some("foreign\n"));
        project.assert_tidy();
        project.put(name, &text);
        let Some(Thing::File(_, _, ns)) = changed.get(name) else {
            panic!("{name} is no file");
        };
        let time =
            std::time::UNIX_EPOCH + std::time::Duration::from_nanos(u64::try_from(*ns).unwrap());
        let file = fs::File::options()
            .write(true)
            .open(project.at(name))
            .unwrap();
        file.set_modified(time).unwrap();
    }
}

#[test]
fn full_disk_in_the_middle() {
    let home = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::new(&["-t", "tmpfs", "-o", "size=8m", "none"], home.path()) else {
        passed_over("no tmpfs can be mounted here");
        return;
    };
    let project = Project::empty_in(home);
    for at in 0..20 {
        project.put_bytes(&format!("src/{at}"), &noise(at, 100_000));
    }
    let first = project.create();
    for at in 0..20 {
        project.put(&format!("src/{at}"), "small\n");
    }
    project.create();
    // Room for some of it.
    let mut left = 0;
    for at in 0..200_u64 {
        let path = project.at(&format!("fill-{at}"));
        if fs::write(&path, noise(at, 100_000)).is_err() {
            let _ = fs::remove_file(path);
            left = at;
            break;
        }
    }
    for at in left.saturating_sub(9)..left {
        project.remove(&format!("fill-{at}"));
    }
    let changed = project.sight();
    assert_eq!(code(project.restore(&first, OVERWRITE)), "ERR_DISK_FULL");
    assert_same(&project.sight(), &changed);
    project.assert_tidy();
    for at in 0..left.saturating_sub(9) {
        project.remove(&format!("fill-{at}"));
    }
    project.overwrite(&first);
    assert_eq!(fs::read(project.at("src/7")).unwrap(), noise(7, 100_000));
}

#[test]
fn store_on_a_read_only_mount() {
    let project = Project::new();
    let first = project.create();
    project.put("src/main.rs", "changed\n");
    let changed = project.sight();
    let store = project.store.path().to_path_buf();
    let source = store.to_str().unwrap();
    let Some(mount) = Mount::new(&["--bind", source], &store) else {
        passed_over("nothing can be mounted here");
        return;
    };
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro,bind"])
        .arg(&store)
        .output()
        .unwrap();
    assert!(remounted.status.success());
    let refused = code(project.restore(&first, OVERWRITE));
    assert_eq!(refused, "ERR_STORE_READ_ONLY");
    assert_same(&project.sight(), &changed);
    // What would be done can be told all the same.
    let plan = project.plan(&project.request(Choice::Id(first.clone()), OVERWRITE));
    assert_eq!(plan.unwrap().totals.replace, 1);
    drop(mount);
    project.overwrite(&first);
}

#[test]
fn a_folder_that_can_not_be_changed() {
    let project = Project::new();
    let first = project.create();
    project.put("src/lib/util.rs", "changed\n");
    project.put("src/main.rs", "changed\n");
    project.put("README.md", "changed\n");
    let changed = project.sight();
    let chattr = |flag: &str| {
        let done = Command::new("chattr")
            .arg(flag)
            .arg(project.at("src/lib"))
            .output();
        done.is_ok_and(|done| done.status.success())
    };
    if !chattr("+i") {
        passed_over("no file can be made immutable here");
        return;
    }
    let refused = project.restore(&first, OVERWRITE);
    assert!(chattr("-i"));
    let refused = refused.unwrap_err();
    assert!(
        refused.full_message().contains("src/lib/util.rs"),
        "{}",
        refused.full_message()
    );
    assert_same(&project.sight(), &changed);
    project.assert_tidy();
    project.overwrite(&first);
}

#[test]
fn a_partial_checkpoint() {
    let mut project = Project::new();
    project.put_bytes("src/grows.bin", b"small");
    let small = project.create();
    project.capture.rules.max_file_bytes = 1_000;
    project.put_bytes("src/big.bin", &noise(1, 5_000));
    project.put_bytes("src/grows.bin", &noise(2, 5_000));
    let created = project.try_create().unwrap();
    assert_eq!(created.snapshot.unwrap().problems_total, 2);
    let partial = created.checkpoint_id;
    project.put_bytes("src/big.bin", &noise(3, 6_000));
    project.put("src/main.rs", "changed\n");
    let changed = project.sight();
    let done = project.overwrite(&partial);
    assert_eq!(differing(&changed, &project.sight()), ["src/main.rs"]);
    let kept = done
        .rows
        .iter()
        .filter(|row| matches!(row.plan.action, Action::Keep(KeepReason::NotStored(_))));
    assert!(kept.count() >= 1);
    // An older one has other contents, or nothing: too large to be captured is not too large to be
    // rescued, and what was never captured stays.
    project.overwrite(&small);
    assert_eq!(fs::read(project.at("src/grows.bin")).unwrap(), b"small");
    assert_eq!(
        fs::read(project.at("src/big.bin")).unwrap(),
        noise(3, 6_000)
    );
    project.undo().unwrap();
    assert_eq!(
        fs::read(project.at("src/grows.bin")).unwrap(),
        noise(2, 5_000)
    );
}

#[test]
fn a_secret_recorded_without_content() {
    let project = Project::new();
    let without = project.create();
    project.put(".env", "TOKEN=first\n");
    project.put("src/.env", "TOKEN=first\n");
    let with = project.create();
    project.put(".env", "TOKEN=second\n");
    project.remove("src/.env");
    project.put("src/main.rs", "changed\n");
    let changed = project.sight();
    for id in [&with, &without] {
        project.overwrite(id);
        assert_eq!(project.text(".env").as_deref(), Some("TOKEN=second\n"));
        assert_eq!(project.text("src/.env"), None);
    }
    project.undo().unwrap();
    project.undo().unwrap();
    assert_eq!(project.sight().get(".env"), changed.get(".env"));
    for entry in fs::read_dir(project.store.path().join("objects")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = fs::read(path).unwrap();
            let found = memchr::memmem::find(&bytes, b"TOKEN=");
            assert_eq!(found, None, "no secret is in the store");
        }
    }
}

#[test]
fn a_run_id_used_again() {
    let project = Project::new();
    project.put("src/old.rs", "of the first run\n");
    let old = project.create();
    fs::remove_dir_all(project.run.path()).unwrap();
    project.begin_run();
    project.remove("src/main.rs");
    let first = project.create();
    project.put("src/new.rs", "new\n");
    project.put("README.md", "changed\n");
    let changed = project.sight();
    assert_eq!(
        code(project.restore(&old, OVERWRITE)),
        "ERR_CHECKPOINT_NOT_FOUND"
    );
    assert_same(&project.sight(), &changed);
    assert_eq!(code(project.undo()), "ERR_NOTHING_TO_UNDO");
    project.overwrite(&first);
    assert_eq!(differing(&changed, &project.sight()), ["README.md"]);
    assert_eq!(project.text("src/main.rs"), None);
}

#[test]
fn two_restores_at_once() {
    // Of two runs over one workspace: each is done as a whole, or refused and put back.
    let one = Project::new();
    let other = one.other_run("run-2");
    let text = |at: u64, which: &str| format!("{which} {at}\n");
    let files = 0..30_u64;
    let fill = |which: &str| {
        for at in files.clone() {
            one.put(&format!("src/many/{at}"), &text(at, which));
        }
    };
    fill("one");
    let first = one.create();
    fill("two");
    let second = other.create();
    for _ in 0..12 {
        fill("neither");
        let results = std::thread::scope(|scope| {
            let left = scope.spawn(|| one.restore(&first, OVERWRITE));
            let right = scope.spawn(|| other.restore(&second, OVERWRITE));
            [left.join().unwrap(), right.join().unwrap()]
        });
        let there: Vec<String> = files
            .clone()
            .map(|at| one.text(&format!("src/many/{at}")).unwrap())
            .collect();
        let all =
            |which: &str| (files.clone().zip(&there)).all(|(at, found)| *found == text(at, which));
        let codes: Vec<Option<&str>> = results
            .iter()
            .map(|result| result.as_ref().err().map(Error::code))
            .collect();
        for code in codes.iter().flatten() {
            assert!(
                ["ERR_PLAN_STALE", "ERR_RESTORE_UNVERIFIED"].contains(code),
                "{codes:?}"
            );
        }
        // Whoever was told that all is done can only have been overtaken by the other.
        match codes[..] {
            [None, Some(_)] => assert!(all("one"), "{codes:?}: {there:?}"),
            [Some(_), None] => assert!(all("two"), "{codes:?}: {there:?}"),
            _ => {
                for (at, found) in files.clone().zip(&there) {
                    let whole = ["one", "two", "neither"].map(|which| text(at, which));
                    assert!(whole.contains(found), "{found:?}");
                }
            }
        }
        one.assert_tidy();
        other.assert_tidy();
    }
    // Of one run: one after the other.
    fill("three");
    let third = one.create();
    for _ in 0..6 {
        let results = std::thread::scope(|scope| {
            let left = scope.spawn(|| one.restore(&first, OVERWRITE));
            let right = scope.spawn(|| one.restore(&third, OVERWRITE));
            [left.join().unwrap(), right.join().unwrap()]
        });
        for result in &results {
            if let Err(error) = result {
                assert!(
                    ["ERR_RUN_BUSY", "ERR_RUN_LOCKED"].contains(&error.code()),
                    "{error:?}"
                );
            }
        }
        let there = one.text("src/many/0").unwrap();
        let which = there.split(' ').next().unwrap();
        for at in files.clone() {
            assert_eq!(
                one.text(&format!("src/many/{at}")).unwrap(),
                text(at, which)
            );
        }
    }
}

#[test]
fn a_restore_during_a_create() {
    let project = Project::new();
    let first = project.create();
    for turn in 0..8 {
        project.put("src/main.rs", &format!("turn {turn}\n"));
        let (created, restored) = std::thread::scope(|scope| {
            let create = scope.spawn(|| project.try_create());
            let restore = scope.spawn(|| project.restore(&first, OVERWRITE));
            (create.join().unwrap(), restore.join().unwrap())
        });
        for code in [
            created.as_ref().err().map(Error::code),
            restored.as_ref().err().map(Error::code),
        ]
        .into_iter()
        .flatten()
        {
            // The first one may have been dropped meanwhile.
            assert!(
                ["ERR_RUN_BUSY", "ERR_RUN_LOCKED", "ERR_CHECKPOINT_NOT_FOUND"].contains(&code),
                "{code}"
            );
        }
        let text = project.text("src/main.rs").unwrap();
        if restored.is_ok() {
            assert_eq!(text, "fn main() {}\n");
            project.undo().unwrap();
            let undone = project.text("src/main.rs").unwrap();
            assert_eq!(undone, format!("turn {turn}\n"));
        } else {
            assert_eq!(text, format!("turn {turn}\n"));
        }
        if let Ok(created) = created {
            project.overwrite(&created.checkpoint_id);
        }
    }
}

#[test]
fn a_pruned_parent() {
    let project = Project::new();
    project.put("src/kept.rs", "from the first\n");
    project.create();
    let mut ids = Vec::new();
    for turn in 0..6 {
        project.put("src/main.rs", &format!("turn {turn}\n"));
        ids.push(project.create());
    }
    project.gc();
    project.remove("src/kept.rs");
    project.put("src/main.rs", "mine\n");
    let changed = project.sight();
    project.overwrite(&ids[2]);
    assert_eq!(
        project.text("src/kept.rs").as_deref(),
        Some("from the first\n")
    );
    assert_eq!(project.text("src/main.rs").as_deref(), Some("turn 2\n"));
    project.undo().unwrap();
    assert_same(&project.sight(), &changed);
}

/// Flips a byte of the newest pack.
fn damage_newest_pack(project: &Project) {
    let disk = &project.disk;
    let packs = project.store.packs(disk).unwrap();
    let (newest, len) = packs.iter().max_by_key(|(id, _)| id.number).unwrap();
    let path = project.store.pack(*newest);
    let mut bytes = fs::read(&path).unwrap();
    let at = usize::try_from(*len).unwrap() / 2;
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_object() {
    let project = Project::new();
    project.put_bytes("src/data.bin", &noise(1, 80_000));
    let first = project.create();
    project.put_bytes("src/data.bin", &noise(2, 400_000));
    let second = project.create();
    damage_newest_pack(&project);
    project.put_bytes("src/data.bin", b"mine");
    project.put("README.md", "mine\n");
    let changed = project.sight();
    let refused = code(project.restore(&second, OVERWRITE));
    assert_eq!(refused, "ERR_CHECKPOINT_DAMAGED");
    assert_same(&project.sight(), &changed);
    project.assert_tidy();
    let done = project
        .restore_by(&project.request(Choice::Newest, OVERWRITE))
        .unwrap();
    assert_eq!(done.checkpoint_id, first);
    assert_eq!(done.skipped.len(), 1);
    assert_eq!(done.skipped[0].checkpoint_id, second.as_str());
    assert_eq!(
        fs::read(project.at("src/data.bin")).unwrap(),
        noise(1, 80_000)
    );
    project.undo().unwrap();
    assert_same(&project.sight(), &changed);
}

#[test]
fn a_file_that_is_written_all_the_time() {
    let project = Project::new();
    let first = project.create();
    project.put("README.md", "changed\n");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut last = String::new();
            let mut rng = Rng::new(7);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                last = format!("{}\n", rng.next());
                let aside = project.at("src/.swap");
                fs::write(&aside, &last).unwrap();
                fs::rename(aside, project.at("src/main.rs")).unwrap();
            }
            last
        });
        let mut done = 0;
        for _ in 0..20 {
            match project.restore(&first, OVERWRITE) {
                Ok(_) => done += 1,
                Err(error) => assert!(
                    [
                        "ERR_PLAN_STALE",
                        "ERR_RESTORE_UNVERIFIED",
                        "ERR_RESTORE_CONFLICT"
                    ]
                    .contains(&error.code()),
                    "{}",
                    error.full_message()
                ),
            }
            project.assert_tidy();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let last = writer.join().unwrap();
        let there = project.text("src/main.rs").unwrap();
        assert!(
            there == last || (done > 0 && there == "fn main() {}\n"),
            "{there:?}"
        );
    });
}

#[test]
fn a_plan_is_what_is_done() {
    let project = Project::new();
    let first = project.create();
    change_everything(&project);
    let changed = project.sight();
    let request = project.request(Choice::Id(first.clone()), OVERWRITE);
    let plan = project.plan(&request).unwrap();
    assert_same(&project.sight(), &changed);
    assert!(
        plan.totals.replace > 0 && plan.totals.create > 0,
        "{:?}",
        plan.totals
    );
    let planned = waymark::ops::restore::Request {
        plan: Some(plan.id.clone()),
        ..request.clone()
    };
    // Anything that would be done otherwise makes it stale.
    project.put("src/main.rs", "changed once more\n");
    let again = project.sight();
    assert_eq!(code(project.restore_by(&planned)), "ERR_PLAN_STALE");
    assert_same(&project.sight(), &again);
    let plan = project.plan(&request).unwrap();
    let planned = waymark::ops::restore::Request {
        plan: Some(plan.id.clone()),
        ..request
    };
    let done = project.restore_by(&planned).unwrap();
    assert_eq!(done.rows, plan.rows);
    assert_eq!(done.totals, plan.totals);
    let after = project.sight();
    for row in &plan.rows {
        let root = &plan.roots[row.root];
        let name = String::from_utf8(row.plan.path.clone()).unwrap();
        let path = root.folder.join(&name);
        let name = path.strip_prefix(&project.path).unwrap().to_str().unwrap();
        let touched = !matches!(row.plan.action, Action::Keep(_));
        assert_eq!(
            again.get(name) != after.get(name),
            touched,
            "{name}: {:?}",
            row.plan.action
        );
    }
    for name in differing(&again, &after) {
        let planned = plan.rows.iter().any(|row| {
            let root = &plan.roots[row.root];
            let path = root
                .folder
                .join(String::from_utf8(row.plan.path.clone()).unwrap());
            path == project.at(&name)
        });
        assert!(planned, "{name} was not planned");
    }
    assert_eq!(code(project.restore_by(&planned)), "ERR_PLAN_NOT_FOUND");
}

#[test]
fn only_what_was_asked_for_is_put_back() {
    let project = Project::new();
    let first = project.create();
    change_everything(&project);
    let changed = project.sight();
    let glob = Part::Glob("*.md".to_owned());
    project.restore_only(&first, &[glob]).unwrap();
    assert_eq!(
        differing(&changed, &project.sight()),
        ["README.md", "out/report.md"]
    );
    project.undo().unwrap();
    assert_same(&project.sight(), &changed);
    project.restore_only(&first, &[Part::State]).unwrap();
    assert_same(&project.sight(), &changed);
    let path = Part::Path {
        root: "workspace".to_owned(),
        path: b"src/main.rs".to_vec(),
    };
    project.restore_only(&first, &[path]).unwrap();
    assert_eq!(differing(&changed, &project.sight()), ["src/main.rs"]);
}

#[test]
fn a_gc_between_restore_and_undo_keeps_the_rescue() {
    let project = Project::new();
    let first = project.create();
    project.put_bytes("src/main.rs", &noise(9, 300_000));
    change_everything(&project);
    project.put_bytes("src/data.bin", &noise(10, 300_000));
    project.create();
    project.put_bytes("src/data.bin", &noise(11, 300_000));
    let changed = project.sight();
    project.overwrite(&first);
    project.gc();
    project.undo().unwrap();
    assert_same(&project.sight(), &changed);
}

#[test]
fn rescues_go_when_the_run_has_moved_on() {
    let project = Project::new();
    let first = project.create();
    project.put("src/main.rs", "mine\n");
    project.overwrite(&first);
    assert_eq!(project.rescues(), 1);
    for _ in 0..4 {
        project.create();
    }
    assert_eq!(project.rescues(), 1);
    project.create();
    project.create();
    assert_eq!(project.rescues(), 0);
    assert_eq!(code(project.undo()), "ERR_NOTHING_TO_UNDO");
    // Nor are there ever many.
    let id = project.create();
    for turn in 0..9 {
        project.put("src/main.rs", &format!("turn {turn}\n"));
        project.overwrite(&id);
    }
    assert!(project.rescues() <= 6, "{}", project.rescues());
}
