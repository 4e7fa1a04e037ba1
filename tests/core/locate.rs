//! Which project a folder of runs belongs to, and which configuration counts.

use std::fs;
use std::path::{Path, PathBuf};

use waymark::ops::locate::{CONFIG_FILE, Hints, config, locate, project, store};

use crate::world::code;

#[allow(clippy::disallowed_methods, reason = "a user's file")]
fn configure(folder: &Path, text: &str) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    let file = folder.join(CONFIG_FILE);
    fs::write(&file, text).unwrap();
    file
}

fn from(folder: &Path) -> Hints {
    Hints {
        working_dir: Some(folder.to_path_buf()),
        ..Hints::default()
    }
}

fn to(runs: &Path) -> Hints {
    Hints {
        runs_dir: Some(runs.to_path_buf()),
        ..from(Path::new("/"))
    }
}

#[test]
fn the_configuration_is_that_of_the_project_that_the_runs_lie_in() {
    let folder = tempfile::tempdir().unwrap();
    let outer = folder.path();
    let inner = outer.join("packages/shop");
    let runs = inner.join(".claude/context/runs");
    fs::create_dir_all(&runs).unwrap();
    let place = |hints: &Hints| store(hints).unwrap().path().to_path_buf();

    // One above the project, and one below it, say nothing.
    configure(outer, r#"{"store": "outer-store"}"#);
    let below = inner.join("src");
    configure(&below, r#"{"store": "src-store"}"#);
    for hints in [from(&below), from(&inner), to(&runs)] {
        assert_eq!(config(&hints).unwrap(), None);
        assert_eq!(place(&hints), inner.join(".waymark"));
    }
    let own = configure(&inner, r#"{"store": "own-store"}"#);
    for hints in [from(&below), from(&inner), to(&runs)] {
        assert_eq!(config(&hints).unwrap(), Some(own.clone()));
        assert_eq!(place(&hints), inner.join("own-store"));
    }
}

#[test]
fn runs_without_a_claude_folder_belong_to_the_nearest_configuration_above_them() {
    let folder = tempfile::tempdir().unwrap();
    let root = &fs::canonicalize(folder.path()).unwrap();
    let runs = root.join("var/runs");
    fs::create_dir_all(&runs).unwrap();
    let found = project(&runs, &to(&runs)).unwrap();
    assert_eq!(found.root, root.join("var"));
    assert_eq!(config(&to(&runs)).unwrap(), None);

    let own = configure(root, r#"{"runsDir": "var/runs"}"#);
    assert_eq!(locate(&from(root)).unwrap(), runs);
    for hints in [from(root), to(&runs)] {
        assert_eq!(config(&hints).unwrap(), Some(own.clone()));
        assert_eq!(store(&hints).unwrap().path(), root.join(".waymark"));
    }

    // Whoever leads to another project's runs sets nothing there.
    let other = root.join("other");
    configure(
        &other,
        r#"{"runsDir": "../var/runs", "store": "other-store"}"#,
    );
    let hints = from(&other);
    assert_eq!(locate(&hints).unwrap(), runs);
    assert_eq!(config(&hints).unwrap(), Some(own));
    assert_eq!(store(&hints).unwrap().path(), root.join(".waymark"));
}

#[test]
fn before_there_are_runs_the_nearest_configuration_counts() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let deep = root.join("a/b");
    fs::create_dir_all(&deep).unwrap();
    let own = configure(root, "{}");
    assert_eq!(config(&from(&deep)).unwrap(), Some(own.clone()));
    let expected = to(&root.join(".claude/context/runs"));
    assert_eq!(config(&expected).unwrap(), Some(own.clone()));
    let script = Hints {
        main_script: Some(deep.join("runner.js")),
        ..from(Path::new("/"))
    };
    assert_eq!(config(&script).unwrap(), Some(own));
    let rooted = Hints {
        root: Some(deep.clone()),
        ..from(root)
    };
    assert_eq!(config(&rooted).unwrap(), None);
    configure(&deep, "{");
    assert_eq!(code(config(&from(&deep))), "ERR_CONFIG_INVALID");
}

#[test]
fn where_no_runs_are_found_the_error_names_where_the_search_began_however_deep_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let deep = (0..40).fold(folder.path().to_path_buf(), |path, _| path.join("d"));
    let tool = folder.path().join("tools/bin/runner.js");
    let told = |hints: &Hints| {
        let error = locate(hints).unwrap_err();
        assert_eq!(error.code(), "ERR_RUNS_DIR_NOT_FOUND");
        error.to_string()
    };

    let told_once = told(&from(&deep));
    assert_eq!(
        told_once.matches(&*folder.path().to_string_lossy()).count(),
        1
    );
    assert!(told_once.contains(&format!(
        "tried .claude/context/runtime/runs and .claude/context/runs in {} and in each folder above;",
        deep.display()
    )));

    let both = Hints {
        main_script: Some(tool.clone()),
        ..from(&deep)
    };
    let places = [tool.parent().unwrap(), &deep].map(|place| place.display().to_string());
    assert!(told(&both).contains(&format!("in {} and in each", places.join(" and "))));
    // A script that is started from above it: what lies above the one lies above the other.
    let above = Hints {
        working_dir: Some(folder.path().to_path_buf()),
        ..both
    };
    assert!(told(&above).contains(&format!("in {} and in each", places[0])));

    let root = Hints {
        root: Some(deep.clone()),
        ..Hints::default()
    };
    assert!(told(&root).contains(&format!("in {};", deep.display())));
}

/// Marks and staging areas are named by the path of a run.
#[test]
fn a_folder_of_runs_has_one_spelling_however_it_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let runs = root.join("var/runs");
    fs::create_dir_all(&runs).unwrap();
    let spelt = |found: PathBuf| found.into_os_string().into_string().unwrap();
    let plain = spelt(runs.clone());

    for text in [
        "./var/runs",
        "var//runs",
        "var/./runs/",
        "var/runs/.",
        "var/../var/runs",
    ] {
        configure(root, &format!(r#"{{"runsDir": "{text}"}}"#));
        let found = locate(&from(root)).unwrap();
        assert_eq!(
            spelt(fs::canonicalize(&found).unwrap()),
            spelt(fs::canonicalize(&runs).unwrap())
        );
        // Where `..` is in it, only the file system knows the name.
        if !text.contains("..") {
            assert_eq!(spelt(found.clone()), plain, "configured {text}");
        }
        assert_eq!(spelt(locate(&to(&found)).unwrap()), spelt(found), "{text}");
        if !text.contains("..") {
            let given = Hints {
                runs_dir: Some(PathBuf::from(text)),
                ..from(root)
            };
            assert_eq!(spelt(locate(&given).unwrap()), plain, "given {text}");
        }
    }
}
