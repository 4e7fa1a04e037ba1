//! What git says of folders of every kind, held against the git program, which makes them.

#![allow(clippy::disallowed_methods, reason = "a test's own folder")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use waymark::ops::git::{self, Facts, Moved, Wanted};

use crate::world::code;

/// Repositories in a folder of their own.
struct Yard(tempfile::TempDir);

impl Yard {
    fn new() -> Self {
        let yard = Self(tempfile::tempdir().unwrap());
        yard.git(".", &["init", "-q", "-b", "main", "main"]);
        for (name, text) in [("a/f", "1"), ("top", "2"), (".gitignore", "*.log\n")] {
            yard.put(&format!("main/{name}"), text);
        }
        yard.commit("main", "one");
        yard
    }

    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.0.path()).unwrap().join(name)
    }

    fn git(&self, at: &str, words: &[&str]) -> String {
        let done = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(["-c", "commit.gpgsign=false"])
            .args(words)
            .current_dir(self.path(at))
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "git {words:?}: {text}");
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn commit(&self, at: &str, message: &str) -> String {
        self.git(at, &["add", "-A"]);
        self.git(at, &["commit", "-qm", message]);
        self.git(at, &["rev-parse", "HEAD"])
    }

    fn facts(&self, at: &str) -> Facts {
        facts(&self.path(at), None, 100).unwrap()
    }
}

fn facts(path: &Path, since: Option<&str>, limit: usize) -> Option<Facts> {
    let wanted = Wanted {
        limit,
        time: Duration::from_mins(1),
        since: since.map(str::to_owned),
        without: Vec::new(),
    };
    git::facts(path, &wanted).unwrap()
}

#[test]
fn where_it_is_and_at_which_commit() {
    let yard = Yard::new();
    let head = yard.git("main", &["rev-parse", "HEAD"]);
    let main = yard.facts("main/a");
    assert_eq!(main.place.worktree, Some(yard.path("main")));
    assert_eq!(main.place.git_dir, yard.path("main/.git"));
    assert_eq!(main.place.common_dir, yard.path("main/.git"));
    assert!(!main.place.linked && !main.detached && !main.cut_off);
    assert_eq!(main.branch.as_deref(), Some("main"));
    assert_eq!(main.head.as_ref(), Some(&head));
    assert_eq!((main.dirty.len(), main.dirty_count), (0, 0));
    assert_eq!(main.moved, None);
    yard.git(
        "main",
        &["worktree", "add", "-q", "../linked", "-b", "topic"],
    );
    let linked = yard.facts("linked");
    assert!(linked.place.linked);
    assert_eq!(
        linked.place.git_dir,
        yard.path("main/.git/worktrees/linked")
    );
    assert_eq!(linked.place.common_dir, yard.path("main/.git"));
    assert_eq!(linked.branch.as_deref(), Some("topic"));
    yard.git("linked", &["checkout", "-q", "--detach"]);
    let detached = yard.facts("linked");
    assert!(detached.detached && detached.branch.is_none() && detached.head.is_some());
    yard.git(".", &["init", "-q", "-b", "trunk", "unborn"]);
    let unborn = yard.facts("unborn");
    assert_eq!(
        (unborn.branch.as_deref(), unborn.head),
        (Some("trunk"), None)
    );
    // None at all, and one whose repository is gone.
    let none = tempfile::tempdir().unwrap();
    assert_eq!(facts(none.path(), None, 1), None);
    yard.put("main/broken/.git", "gitdir: /nonexistent\n");
    assert_eq!(facts(&yard.path("main/broken"), None, 1), None);
    fs::write(yard.path("main/.git/HEAD"), "neither\n").unwrap();
    let wanted = Wanted {
        limit: 1,
        time: Duration::from_mins(1),
        since: None,
        without: Vec::new(),
    };
    let garbled = git::facts(&yard.path("main"), &wanted);
    assert!(matches!(garbled, Ok(None)) || code(garbled) == "ERR_GIT");
    let unknown = git::branch_exists(none.path(), "main");
    assert_eq!(code(unknown), "ERR_GIT");
}

#[test]
fn what_is_different() {
    let yard = Yard::new();
    yard.put("main/top", "changed");
    fs::remove_file(yard.path("main/a/f")).unwrap();
    for name in ["new", "deep/er/new", "seen.log"] {
        yard.put(&format!("main/{name}"), "x");
    }
    yard.put("main/both", "1");
    yard.git("main", &["add", "both"]);
    yard.put("main/both", "22");
    let facts_now = yard.facts("main");
    let words: BTreeMap<&str, String> = facts_now
        .dirty
        .iter()
        .map(|(path, what)| (path.as_str(), what.words()))
        .collect();
    let expected = [
        ("a/f", "deleted"),
        ("both", "staged modified"),
        ("deep/er/new", "untracked"),
        ("new", "untracked"),
        ("top", "modified"),
    ];
    assert_eq!(words, expected.map(|(a, b)| (a, b.to_owned())).into());
    let few = facts(&yard.path("main"), None, 2).unwrap();
    assert_eq!((few.dirty.len(), few.dirty_count), (2, 5));
    let without = Wanted {
        limit: 9,
        time: Duration::from_mins(1),
        since: None,
        // One that holds the worktree, and one elsewhere, say nothing of it.
        without: ["main/deep", "main/a", ".", "main", "other"]
            .map(|name| yard.path(name))
            .into(),
    };
    let less = git::facts(&yard.path("main"), &without).unwrap().unwrap();
    let names: Vec<&str> = less.dirty.iter().map(|one| one.0.as_str()).collect();
    assert_eq!(names, ["both", "new", "top"]);
    assert_eq!(less.dirty_count, 3);
    let wanted = Wanted {
        limit: 9,
        time: Duration::ZERO,
        since: None,
        without: Vec::new(),
    };
    let hasty = git::facts(&yard.path("main"), &wanted).unwrap().unwrap();
    assert!(hasty.cut_off, "no time, no whole answer");
}

#[test]
fn how_history_went() {
    let yard = Yard::new();
    let main = yard.path("main");
    let one = yard.git("main", &["rev-parse", "HEAD"]);
    yard.put("main/two", "2");
    let two = yard.commit("main", "two");
    yard.git("main", &["checkout", "-qb", "other", &one]);
    yard.put("main/three", "3");
    let three = yard.commit("main", "three");
    let missing = "12".repeat(20);
    for (from, went) in [
        (&three, Moved::Same),
        (&one, Moved::Forward),
        (&two, Moved::Diverged),
        (&missing, Moved::Missing),
    ] {
        let facts = facts(&main, Some(from), 1).unwrap();
        assert_eq!(facts.moved, Some(went));
    }
    yard.git("main", &["checkout", "-q", "--detach", &one]);
    assert_eq!(
        facts(&main, Some(&two), 1).unwrap().moved,
        Some(Moved::Back)
    );
    let ancestor = |a: &str, b: &str| git::is_ancestor(&main, a, b).unwrap();
    assert_eq!(ancestor(&one, &two), Some(true));
    assert_eq!(ancestor(&two, &two), Some(true));
    assert_eq!(ancestor(&two, &one), Some(false));
    assert_eq!(ancestor(&two, &three), Some(false));
    assert_eq!(ancestor(&missing, &three), None);
    assert_eq!(ancestor(&missing, &missing), None, "known by name alone");
    assert_eq!(
        code(git::is_ancestor(&main, "HEAD", &two)),
        "ERR_OPTION_INVALID"
    );
    for (name, exists) in [
        ("main", true),
        ("other", true),
        ("none", false),
        ("bad..name", false),
    ] {
        assert_eq!(git::branch_exists(&main, name).unwrap(), exists, "{name}");
    }
}

#[test]
fn a_lost_worktree_comes_back() {
    let yard = Yard::new();
    yard.git("main", &["worktree", "add", "-q", "../wt", "-b", "topic"]);
    yard.put("wt/work", "done");
    let head = yard.commit("wt", "work");
    fs::remove_dir_all(yard.path("wt")).unwrap();
    let main = yard.path("main");
    assert!(git::branch_exists(&main, "topic").unwrap());
    let to = yard.path("wt");
    let added = git::add_worktree(&main, &to, "topic").unwrap();
    assert_eq!(added, to);
    let facts_now = yard.facts("wt");
    assert!(facts_now.place.linked);
    assert_eq!(facts_now.branch.as_deref(), Some("topic"));
    assert_eq!(facts_now.head, Some(head));
    assert_eq!(facts_now.dirty, []);
    assert_eq!(yard.git("wt", &["status", "--porcelain"]), "");
    assert_eq!(fs::read_to_string(to.join("work")).unwrap(), "done");
    // What is there is kept, and what is not there can't be laid out.
    for (path, branch) in [("wt", "topic"), ("elsewhere", "none"), ("twice", "topic")] {
        let done = git::add_worktree(&main, &yard.path(path), branch);
        assert_eq!(code(done), "ERR_GIT", "{path} {branch}");
    }
    assert!(to.join("work").exists() && !yard.path("elsewhere").exists());
}

#[cfg(unix)]
#[test]
fn a_lost_worktree_comes_back_by_a_link() {
    let yard = Yard::new();
    yard.git("main", &["worktree", "add", "-q", "../wt", "-b", "topic"]);
    fs::remove_dir_all(yard.path("wt")).unwrap();
    std::os::unix::fs::symlink(yard.path("."), yard.path("link")).unwrap();
    let added = git::add_worktree(&yard.path("main"), &yard.path("link/wt"), "topic").unwrap();
    assert_eq!(added, yard.path("wt"));
    assert_eq!(yard.facts("wt").branch.as_deref(), Some("topic"));
}
