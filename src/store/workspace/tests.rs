//! Captures of real folders into a map.

#![allow(
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::model::snapshot::{ChunkList, Node, Tree};
use crate::store::objects::Lane;

type Hook = Box<dyn Fn(&[u8]) + Send + Sync>;

#[derive(Default)]
struct Store {
    objects: Mutex<HashMap<ObjectId, Vec<u8>>>,
    puts: AtomicUsize,
    on_put: Option<Hook>,
}

impl Sink for Store {
    fn lane(&self) -> Box<dyn Lane + '_> {
        Box::new(Way(self))
    }
}

struct Way<'a>(&'a Store);

impl Lane for Way<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<ObjectId> {
        if let Some(hook) = &self.0.on_put {
            hook(bytes);
        }
        self.0.puts.fetch_add(1, Ordering::Relaxed);
        let id = ObjectId::of(bytes);
        self.0.objects.lock().unwrap().insert(id, bytes.to_vec());
        Ok(id)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Store {
    fn get(&self, id: &ObjectId) -> Vec<u8> {
        self.objects.lock().unwrap()[id].clone()
    }

    fn puts(&self) -> usize {
        self.puts.load(Ordering::Relaxed)
    }

    fn content(&self, node: &Node) -> Vec<u8> {
        let Node::File(file) = node else {
            panic!("{node:?} is no file")
        };
        let bytes = match file.chunks {
            None if file.size == 0 => Vec::new(),
            None => self.get(&file.hash),
            Some(list) => ChunkList::decode(&self.get(&list))
                .unwrap()
                .pieces
                .iter()
                .flat_map(|piece| match piece.chunk {
                    Some(id) => self.get(&id),
                    None => vec![0; usize::try_from(piece.len).unwrap()],
                })
                .collect(),
        };
        assert_eq!(bytes.len() as u64, file.size);
        assert_eq!(ObjectId::of(&bytes), file.hash);
        bytes
    }

    /// Every path below a tree, with its node.
    fn all(&self, tree: Option<ObjectId>) -> BTreeMap<String, Node> {
        let mut found = BTreeMap::new();
        let mut todo: Vec<(String, ObjectId)> =
            tree.map(|id| (String::new(), id)).into_iter().collect();
        while let Some((path, id)) = todo.pop() {
            let tree = Tree::decode(&self.get(&id)).unwrap();
            for entry in tree.entries {
                let path = format!("{path}{}", String::from_utf8_lossy(&entry.name));
                if let Node::Directory { tree, .. } = entry.node {
                    todo.push((format!("{path}/"), tree));
                }
                found.insert(path, entry.node);
            }
        }
        found
    }

    fn paths(&self, captured: &Captured) -> Vec<String> {
        self.all(captured.tree).into_keys().collect()
    }
}

struct World {
    dir: tempfile::TempDir,
    store: Store,
    rules: Rules,
    generation: u64,
}

impl World {
    fn new() -> Self {
        let world = Self {
            dir: tempfile::tempdir().unwrap(),
            store: Store::default(),
            rules: Rules::default(),
            generation: 1,
        };
        fs::create_dir(world.root()).unwrap();
        world
    }

    fn with(files: &[&str]) -> Self {
        let world = Self::new();
        for path in files {
            world.write(path, path);
        }
        world
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    #[allow(clippy::disallowed_methods, reason = "a user's file")]
    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        if path.to_string_lossy().ends_with('/') {
            fs::create_dir_all(path).unwrap();
            return;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn capture_of(&self, select: Select<'_>, cancel: &Cancel) -> Result<Captured> {
        let cache = self.cache();
        let root = Root {
            path: &self.root(),
            select,
            cache: Some(CacheFile {
                path: &cache,
                generation: self.generation,
                note: true,
            }),
        };
        let progress = Progress::default();
        let mut captured = capture(&root, &self.rules, &self.store, &progress, cancel)?;
        captured.remember()?;
        Ok(captured)
    }

    fn capture(&self) -> Captured {
        self.capture_of(Select::All, &Cancel::default()).unwrap()
    }

    fn select(&self, paths: &[&str]) -> Captured {
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        self.capture_of(Select::Paths(&paths), &Cancel::default())
            .unwrap()
    }

    fn paths(&self) -> Vec<String> {
        self.store.paths(&self.capture())
    }
}

/// Lets the file system's clock go on, so that stamps are trusted.
fn settle() {
    std::thread::sleep(Duration::from_millis(40));
}

fn noise(len: usize, seed: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(seed)
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

#[test]
fn files_folders_and_links_come_back() {
    let world = World::with(&["a", "b/c/d", "b/e", "empty/"]);
    world.write("nothing", "");
    world.write("large", noise(3 << 20, b"large"));
    world.write("middle", noise(200 << 10, b"middle"));
    world.write("huge", noise(9 << 20, b"huge"));
    symlink("../outside", world.root().join("link")).unwrap();
    symlink("b", world.root().join("to-folder")).unwrap();
    fs::set_permissions(world.root().join("a"), fs::Permissions::from_mode(0o4751)).unwrap();
    let captured = world.capture();
    let all = world.store.all(captured.tree);
    let paths: Vec<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "a",
            "b",
            "b/c",
            "b/c/d",
            "b/e",
            "empty",
            "huge",
            "large",
            "link",
            "middle",
            "nothing",
            "to-folder"
        ]
    );
    assert_eq!(world.store.content(&all["b/c/d"]), b"b/c/d");
    assert_eq!(world.store.content(&all["nothing"]), b"");
    assert_eq!(world.store.content(&all["large"]), noise(3 << 20, b"large"));
    assert_eq!(
        world.store.content(&all["middle"]),
        noise(200 << 10, b"middle")
    );
    assert_eq!(world.store.content(&all["huge"]), noise(9 << 20, b"huge"));
    let target = b"../outside".to_vec();
    assert_eq!(all["link"], Node::Symlink { target });
    assert!(matches!(&all["a"], Node::File(file) if file.mode == 0o4751 && file.chunks.is_none()));
    assert!(matches!(&all["large"], Node::File(file) if file.chunks.is_some()));
    assert_eq!(captured.files, 7);
    assert_eq!(captured.bytes, (12 << 20) + (200 << 10) + 1 + 5 + 3);
    assert!(captured.problems.is_empty() && captured.missing.is_empty());
}

#[test]
fn unchanged_files_are_not_read() {
    let world = World::with(&["a", "b/c", "b/d/e", ".env", "empty/"]);
    symlink("a", world.root().join("link")).unwrap();
    settle();
    let first = world.capture();
    assert_eq!(first.read_files, 4);
    let puts = world.store.puts();
    let second = world.capture();
    assert_eq!((second.read_files, second.read_bytes), (0, 0));
    assert_eq!(world.store.puts(), puts, "nothing was encoded again");
    assert_eq!(second.tree, first.tree);
    assert_eq!(
        (second.files, second.bytes, second.withheld),
        (first.files, first.bytes, 1)
    );
    // One change: one file is read, and the folders above it are encoded.
    world.write("b/d/e", "other");
    let third = world.capture();
    assert_eq!(third.read_files, 1);
    assert_eq!(world.store.puts(), puts + 4);
    let all = world.store.all(third.tree);
    assert_eq!(world.store.content(&all["b/d/e"]), b"other");
    fs::remove_file(world.root().join("b/d/e")).unwrap();
    let all = world.store.all(world.capture().tree);
    assert!(!all.contains_key("b/d/e") && all.contains_key("b/d"));
}

#[test]
fn the_cache_is_only_written_when_something_changed() {
    let world = World::with(&["a", "b/c"]);
    settle();
    world.capture();
    let before = fs::read(world.cache()).unwrap();
    fs::remove_file(world.cache()).unwrap();
    world.capture();
    // Through `write_aside`, which a read-only cache would not stop: its inode tells.
    let inode = fs::metadata(world.cache()).unwrap().ino();
    world.capture();
    assert_eq!(fs::metadata(world.cache()).unwrap().ino(), inode);
    assert_eq!(fs::read(world.cache()).unwrap().len(), before.len());
    assert_eq!(fs::read_dir(world.dir.path()).unwrap().count(), 2);
}

#[test]
fn a_look_gives_the_same_tree_reads_nothing_unchanged_and_writes_nothing() {
    let world = World::with(&["a", "b/c", "b/d"]);
    settle();
    let captured = world.capture();
    let beside = || {
        let entries = fs::read_dir(world.dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|one| one.unwrap().file_name()).collect();
        names.sort();
        (names, fs::read(world.cache()).unwrap())
    };
    let before = beside();
    let look_at = |cache: Option<CacheFile<'_>>| {
        let root = Root {
            path: &world.root(),
            select: Select::All,
            cache,
        };
        let (progress, cancel) = (Progress::default(), Cancel::default());
        let mut found = capture(&root, &world.rules, &world.store, &progress, &cancel).unwrap();
        found.remember().unwrap();
        found
    };
    let cache = world.cache();
    let known = CacheFile {
        path: &cache,
        generation: 1,
        note: false,
    };
    let seen = look_at(Some(known));
    assert_eq!((seen.tree, seen.read_files), (captured.tree, 0));
    let seen = look_at(None);
    assert_eq!((seen.tree, seen.read_files), (captured.tree, 3));
    world.write("b/c", "changed");
    let seen = look_at(Some(known));
    assert_eq!(seen.read_files, 1);
    assert_ne!(seen.tree, captured.tree);
    assert_eq!(beside(), before);
    assert_eq!(world.capture().tree, seen.tree);
}

#[test]
fn a_file_is_read_without_following_links() {
    let world = World::with(&["a", "b/c"]);
    symlink("a", world.root().join("link")).unwrap();
    symlink("b", world.root().join("folder")).unwrap();
    let read = |path: &str, limit| read_file(&world.root(), path.as_bytes(), limit);
    assert_eq!(read("b/c", 3), Some(b"b/c".to_vec()));
    for (path, limit) in [
        ("b/c", 2),
        ("link", 9),
        ("folder/c", 9),
        ("b", 9),
        ("no", 9),
    ] {
        assert_eq!(read(path, limit), None, "{path}");
    }
}

#[test]
fn a_change_within_the_same_tick_is_noticed() {
    let world = World::new();
    for round in 0..200 {
        world.write("a", format!("{round:04}"));
        let all = world.store.all(world.capture().tree);
        assert_eq!(
            world.store.content(&all["a"]),
            format!("{round:04}").as_bytes()
        );
    }
}

#[test]
fn a_racy_file_is_trusted_later() {
    let world = World::with(&["a"]);
    world.capture();
    settle();
    assert_eq!(world.capture().read_files, 1);
    assert_eq!(world.capture().read_files, 0);
}

#[test]
fn a_change_that_keeps_size_and_time_is_noticed() {
    let world = World::with(&["a"]);
    let path = world.root().join("a");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    settle();
    world.capture();
    world.write("a", "b");
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(modified)
        .unwrap();
    let all = world.store.all(world.capture().tree);
    assert_eq!(world.store.content(&all["a"]), b"b");
}

#[test]
fn another_generation_another_root_or_damage_is_no_cache() {
    let mut world = World::with(&["a", "b/c"]);
    settle();
    world.capture();
    world.generation = 2;
    assert_eq!(world.capture().read_files, 2);
    assert_eq!(world.capture().read_files, 0);
    let whole = fs::read(world.cache()).unwrap();
    for place in (0..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[place] ^= 1;
        #[allow(clippy::disallowed_methods, reason = "damage")]
        fs::write(world.cache(), &damaged).unwrap();
        assert_eq!(world.capture().read_files, 2, "damage at {place}");
    }
    #[allow(clippy::disallowed_methods, reason = "damage")]
    for len in [0, 5, whole.len() - 1] {
        fs::write(world.cache(), &whole[..len]).unwrap();
        assert_eq!(world.capture().read_files, 2, "cut at {len}");
    }
    forget(&world.cache()).unwrap();
    forget(&world.cache()).unwrap();
    assert_eq!(world.capture().read_files, 2);
    #[allow(clippy::disallowed_methods, reason = "a user's folder")]
    fs::rename(world.root(), world.dir.path().join("moved")).unwrap();
    let cache = world.cache();
    let root = Root {
        path: &world.dir.path().join("moved"),
        select: Select::All,
        cache: Some(CacheFile {
            path: &cache,
            generation: 2,
            note: true,
        }),
    };
    let (progress, cancel) = (Progress::default(), Cancel::default());
    let moved = capture(&root, &world.rules, &world.store, &progress, &cancel).unwrap();
    assert_eq!(moved.read_files, 2);
}

#[test]
fn ignore_files_apply_from_their_folder_down() {
    let world = World::with(&[
        "a.log",
        "keep.log",
        "src/a.log",
        "src/b.tmp",
        "src/deep/x.gen",
        "src/deep/y.gen",
        "out/x",
        "anchored",
        "src/anchored",
        "excluded",
        ".git/HEAD",
        "src/.git/HEAD",
        ".waymark/x",
        "node_modules/p/i.js",
        "src/node_modules/q",
    ]);
    world.write(".gitignore", "*.log\n!keep.log\nout/\n/anchored\n[broken\n");
    world.write("src/.gitignore", "*.gen\n!a.log\n");
    world.write("src/deep/.waymarkignore", "!y.gen\n");
    world.write("src/.waymarkignore", "*.tmp\n");
    world.write(".git/info/exclude", "excluded\n");
    assert_eq!(
        world.paths(),
        [
            ".gitignore",
            "keep.log",
            "src",
            "src/.gitignore",
            "src/.waymarkignore",
            "src/a.log",
            "src/anchored",
            "src/deep",
            "src/deep/.waymarkignore",
            "src/deep/y.gen",
        ]
    );
}

#[test]
fn gitignore_can_be_left_aside() {
    let mut world = World::with(&["a", "b"]);
    world.write(".gitignore", "a\n");
    world.write(".waymarkignore", "b\n");
    world.rules.respect_gitignore = false;
    assert_eq!(world.paths(), [".gitignore", ".waymarkignore", "a"]);
}

#[test]
fn include_brings_back_and_exclude_wins() {
    let mut world = World::with(&[
        "dist/keep/a",
        "dist/keep/b.map",
        "dist/other",
        "x.log",
        "y.log",
        "node_modules/p/i",
        "node_modules/q/i",
        "plain",
        "never.me",
    ]);
    world.write(".gitignore", "dist/\n*.log\n");
    world.rules.include = ["dist/keep/**", "x.log", "node_modules/p/"]
        .map(str::to_owned)
        .to_vec();
    world.rules.exclude = ["*.map", "never.*"].map(str::to_owned).to_vec();
    assert_eq!(
        world.paths(),
        [
            ".gitignore",
            "dist",
            "dist/keep",
            "dist/keep/a",
            "node_modules",
            "node_modules/p",
            "node_modules/p/i",
            "plain",
            "x.log",
        ]
    );
    world.rules.include = vec!["node_modules".to_owned(), "dist/none/**".to_owned()];
    let paths = world.paths();
    assert!(paths.contains(&"node_modules/q/i".to_owned()));
    assert!(
        !paths.contains(&"dist".to_owned()),
        "an empty way is no folder"
    );
    world.rules.include = vec!["a{b".to_owned()];
    let error = world
        .capture_of(Select::All, &Cancel::default())
        .unwrap_err();
    assert_eq!(error.code(), "ERR_OPTION_INVALID");
}

#[test]
fn secrets_are_withheld() {
    let mut world = World::with(&[
        ".env",
        ".env.example",
        "sub/server.pem",
        ".aws/credentials",
        "own/x.txt",
        "dir.pem/file",
        ".ssh/config",
    ]);
    world.write("big.key", noise(600 << 10, b"key"));
    world.rules.secrets = vec!["own/".to_owned()];
    settle();
    let captured = world.capture();
    assert_eq!(captured.withheld, 6);
    let all = world.store.all(captured.tree);
    assert!(matches!(all[".env"], Node::Withheld { hash, size: 4, .. }
        if hash == ObjectId::of(b".env")));
    for path in [
        "sub/server.pem",
        ".aws/credentials",
        "own/x.txt",
        "big.key",
        ".ssh/config",
    ] {
        assert!(matches!(all[path], Node::Withheld { .. }), "{path}");
    }
    for path in [".env.example", "dir.pem/file"] {
        assert!(matches!(all[path], Node::File(_)), "{path}");
    }
    {
        let objects = world.store.objects.lock().unwrap();
        assert!(!objects.contains_key(&ObjectId::of(b".env")));
        assert!(!objects.contains_key(&ObjectId::of(b"own/x.txt")));
        assert!(objects.values().all(|bytes| bytes.len() < 100 << 10));
    }
    // With the same cache: contents that are wanted now must be read, for they are not stored.
    world.rules.withhold_secrets = false;
    let open = world.capture();
    assert_eq!((open.withheld, open.read_files), (0, 6));
    let all = world.store.all(open.tree);
    assert_eq!(world.store.content(&all[".env"]), b".env");
    assert_eq!(
        world.store.content(&all["big.key"]),
        noise(600 << 10, b"key")
    );
    // And back: nothing needs reading to be withheld.
    world.rules.withhold_secrets = true;
    let closed = world.capture();
    assert_eq!((closed.withheld, closed.read_files), (6, 0));
    assert_eq!(closed.tree, captured.tree);
    world.rules.secrets = vec!["!.env".to_owned()];
    assert!(matches!(
        world.store.all(world.capture().tree)[".env"],
        Node::File(_)
    ));
}

#[test]
fn paths_that_are_asked_for() {
    let mut world = World::with(&[
        "a/ignored.log",
        "a/b/c",
        "a/b/d",
        "e",
        "f/g",
        ".git/x",
        "node_modules/p/i",
        "a/.env",
    ]);
    symlink("a", world.root().join("way")).unwrap();
    world.write(".gitignore", "*.log\na/b\n");
    let captured = world.select(&[
        "a/ignored.log",
        "a/b",
        "a/b/c",
        "./f/",
        "gone",
        "a/gone",
        "a/b/gone",
        ".git/x",
        "e/x",
        "way/ignored.log",
        "node_modules/p",
        "a/.env",
    ]);
    assert_eq!(
        world.store.paths(&captured),
        [
            "a",
            "a/.env",
            "a/b",
            "a/b/c",
            "a/b/d",
            "a/ignored.log",
            "f",
            "f/g",
            "node_modules",
            "node_modules/p",
            "node_modules/p/i",
        ]
    );
    let missing = [
        "gone",
        "a/gone",
        "a/b/gone",
        ".git/x",
        "e/x",
        "way/ignored.log",
    ];
    assert_eq!(captured.missing, missing.map(PathBuf::from));
    assert_eq!(captured.withheld, 1);
    assert_eq!(world.select(&["gone"]).tree, None);
    assert_eq!(world.select(&[]).tree, None);
    assert!(
        world
            .store
            .paths(&world.select(&["."]))
            .contains(&"a/ignored.log".to_owned())
    );
    world.rules.exclude = vec!["a/b".to_owned()];
    assert_eq!(world.select(&["a/b"]).missing, [PathBuf::from("a/b")]);
    for bad in ["../x", "/x", "a/../b"] {
        let paths = [PathBuf::from(bad)];
        let error = world
            .capture_of(Select::Paths(&paths), &Cancel::default())
            .unwrap_err();
        assert_eq!(error.code(), "ERR_PATH_INVALID", "{bad}");
    }
}

#[test]
fn folders_that_are_never_entered() {
    let mut world = World::with(&["store/x", "a/runs/y", "a/z"]);
    world.rules.never = vec![world.root().join("store"), world.root().join("a/runs")];
    assert_eq!(world.paths(), ["a", "a/z"]);
    assert_eq!(world.select(&["store"]).missing, [PathBuf::from("store")]);
}

#[test]
fn an_empty_root_is_an_empty_tree() {
    let world = World::new();
    let captured = world.capture();
    assert_eq!(
        world.store.get(&captured.tree.unwrap()),
        Tree::default().encode()
    );
    assert_eq!(captured.files, 0);
}

#[test]
fn a_root_that_is_missing_or_a_link_is_an_error() {
    let world = World::new();
    let (progress, cancel) = (Progress::default(), Cancel::default());
    let link = world.dir.path().join("link");
    symlink(world.root(), &link).unwrap();
    for path in [world.dir.path().join("gone"), link] {
        let root = Root {
            path: &path,
            select: Select::All,
            cache: None,
        };
        let error = capture(&root, &world.rules, &world.store, &progress, &cancel).unwrap_err();
        assert_eq!(error.code(), "ERR_IO");
    }
}

#[test]
fn what_is_no_file_is_reported() {
    let mut world = World::with(&["a", "toolarge"]);
    let fifo = world.root().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.root().join("socket")).unwrap();
    world.rules.max_file_bytes = 7;
    let captured = world.capture();
    let problem = |path: &str, reason, size| Problem {
        path: path.as_bytes().to_vec(),
        reason,
        size,
    };
    let expected = [
        problem("fifo", SkipReason::NotRegular, 0),
        problem("socket", SkipReason::NotRegular, 0),
        problem("toolarge", SkipReason::TooLarge, 8),
    ];
    assert_eq!(captured.problems, expected);
    let all = world.store.all(captured.tree);
    for one in &captured.problems {
        let path = String::from_utf8_lossy(&one.path).into_owned();
        let (reason, size) = (one.reason, one.size);
        assert_eq!(all[&path], Node::Skipped { reason, size });
    }
    let selected = world.select(&["fifo"]);
    assert_eq!((selected.problems.len(), selected.missing.len()), (1, 0));
}

#[test]
fn what_can_not_be_read_is_reported() {
    if rustix::process::geteuid().is_root() {
        return; // Root reads everything.
    }
    let world = World::with(&["a", "shut", "folder/x", "secret.pem"]);
    for path in ["shut", "folder", "secret.pem"] {
        fs::set_permissions(world.root().join(path), fs::Permissions::from_mode(0o0)).unwrap();
    }
    let captured = world.capture();
    let found: Vec<(&[u8], SkipReason)> = captured
        .problems
        .iter()
        .map(|one| (one.path.as_slice(), one.reason))
        .collect();
    let unreadable = SkipReason::Unreadable;
    assert_eq!(
        found,
        [
            (&b"folder"[..], unreadable),
            (b"secret.pem", unreadable),
            (b"shut", unreadable)
        ]
    );
    fs::set_permissions(
        world.root().join("folder"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    fs::set_permissions(world.root(), fs::Permissions::from_mode(0o0)).unwrap();
    let error = world
        .capture_of(Select::All, &Cancel::default())
        .unwrap_err();
    fs::set_permissions(world.root(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(error.code(), "ERR_IO");
}

#[test]
fn a_file_that_always_changes_is_reported() {
    let mut world = World::with(&["other"]);
    let content = noise(2 << 20, b"changing");
    world.write("changing", &content);
    let path = world.root().join("changing");
    let mark = content[..16].to_vec();
    // The first chunk is put while the file is being read.
    let rounds = std::sync::Arc::new(AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&rounds);
    let file = fs::File::options().write(true).open(&path).unwrap();
    world.store.on_put = Some(Box::new(move |bytes| {
        if bytes.starts_with(&mark) {
            let round = seen.fetch_add(1, Ordering::Relaxed) as u64;
            file.write_all_at(b"!", (2 << 20) + round).unwrap();
        }
    }));
    let captured = world.capture();
    assert_eq!(captured.problems.len(), 1);
    assert_eq!(captured.problems[0].reason, SkipReason::Changing);
    assert_eq!(captured.problems[0].path, b"changing");
    assert_eq!(rounds.load(Ordering::Relaxed), 3);
    world.store.on_put = None;
    let captured = world.capture();
    assert!(captured.problems.is_empty());
    let all = world.store.all(captured.tree);
    assert_eq!(
        world.store.content(&all["changing"]),
        [&content[..], b"!!!"].concat()
    );
}

#[test]
fn a_file_that_changes_once_is_read_again() {
    let mut world = World::new();
    let content = noise(2 << 20, b"once");
    world.write("once", &content);
    let mark = content[..16].to_vec();
    let done = AtomicUsize::new(0);
    let file = fs::File::options()
        .write(true)
        .open(world.root().join("once"))
        .unwrap();
    world.store.on_put = Some(Box::new(move |bytes| {
        if bytes.starts_with(&mark) && done.fetch_add(1, Ordering::Relaxed) == 0 {
            file.set_len(1 << 20).unwrap();
        }
    }));
    let captured = world.capture();
    assert!(captured.problems.is_empty());
    let all = world.store.all(captured.tree);
    assert_eq!(world.store.content(&all["once"]), &content[..1 << 20]);
}

#[test]
fn holes_are_kept() {
    let world = World::new();
    let path = world.root().join("sparse");
    let file = fs::File::create(&path).unwrap();
    file.set_len(64 << 20).unwrap();
    file.write_all_at(&noise(300 << 10, b"data"), 16 << 20)
        .unwrap();
    let file = fs::File::create(world.root().join("hole")).unwrap();
    file.set_len(5 << 20).unwrap();
    let captured = world.capture();
    let all = world.store.all(captured.tree);
    let mut expected = vec![0; 64 << 20];
    expected[16 << 20..][..300 << 10].copy_from_slice(&noise(300 << 10, b"data"));
    assert_eq!(world.store.content(&all["sparse"]), expected);
    assert_eq!(world.store.content(&all["hole"]), vec![0; 5 << 20]);
    if fs::metadata(&path).unwrap().blocks() * 512 < 64 << 20 {
        let stored: usize = world
            .store
            .objects
            .lock()
            .unwrap()
            .values()
            .map(Vec::len)
            .sum();
        assert!(stored < 1 << 20, "{stored} bytes are stored");
    }
}

#[test]
fn names_need_not_be_unicode() {
    let world = World::new();
    let name = OsStr::from_bytes(b"\xff\xfe\n");
    fs::create_dir(world.root().join(name)).unwrap();
    fs::File::create(world.root().join(name).join(name)).unwrap();
    world.write(".gitignore", "x\n");
    let tree = Tree::decode(&world.store.get(&world.capture().tree.unwrap())).unwrap();
    let Some(Node::Directory { tree, .. }) = tree.get(b"\xff\xfe\n") else {
        panic!("the folder is there")
    };
    let inner = Tree::decode(&world.store.get(tree)).unwrap();
    assert!(inner.get(b"\xff\xfe\n").is_some());
}

/// Makes folders one in the other, each with a file and maybe a folder beside, without long paths.
fn deep(root: &Path, depth: usize, name: &str, aside: bool) {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let mode = Mode::from_raw_mode(0o755);
    let mut dir = openat(CWD, root, OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&dir, name, mode).unwrap();
        if aside {
            mkdirat(&dir, "aside", mode).unwrap();
        }
        openat(&dir, "file", OFlags::CREATE | OFlags::WRONLY, mode).unwrap();
        dir = openat(&dir, name, OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
}

#[test]
fn paths_may_be_longer_than_the_system_takes() {
    let world = World::new();
    deep(&world.root(), 40, &"d".repeat(200), true);
    deep(&world.root().join("aside"), 300, "e", true);
    deep(&world.root().join("aside/aside"), 3_000, "n", false);
    world.write(".gitignore", "nothing\n");
    settle();
    let captured = world.capture();
    assert_eq!(captured.files, 3_341);
    assert!(captured.problems.is_empty(), "{:?}", captured.problems);
    let longest = world.store.paths(&captured).iter().map(String::len).max();
    assert!(longest > Some(6_000));
    let again = world.capture();
    assert_eq!((again.tree, again.read_files), (captured.tree, 0));
}

#[test]
fn one_of_a_thousand() {
    let world = World::new();
    for number in 0..1_000 {
        world.write(&format!("d{}/f{number}", number % 20), format!("{number}"));
    }
    for number in 0..3_000 {
        world.write(&format!("flat/{number}"), format!("flat {number}"));
    }
    settle();
    let first = world.capture();
    assert_eq!((first.files, first.read_files), (4_000, 4_000));
    let puts = world.store.puts();
    world.write("d7/f507", "changed");
    let second = world.capture();
    assert_eq!((second.read_files, second.read_bytes), (1, 7));
    assert_eq!(world.store.puts() - puts, 3);
    world.write("flat/2999", "changed");
    assert_eq!(world.capture().read_files, 2, "and the one that was racy");
    // However often, and without any cache: the same tree.
    let last = world.capture().tree;
    for _ in 0..5 {
        forget(&world.cache()).unwrap();
        assert_eq!(world.capture().tree, last);
    }
}

#[test]
fn who_asks_to_stop_is_heard() {
    let mut world = World::with(&["a", "b/c"]);
    let cancel = Cancel::default();
    cancel.cancel();
    let error = world.capture_of(Select::All, &cancel).unwrap_err();
    assert_eq!(error.code(), "ERR_ABORTED");
    assert_eq!(world.store.puts(), 0);
    // In the middle of a large file.
    world.write("large", noise(24 << 20, b"large"));
    let cancel = Cancel::default();
    let other = cancel.clone();
    world.store.on_put = Some(Box::new(move |_| other.cancel()));
    let error = world.capture_of(Select::All, &cancel).unwrap_err();
    assert_eq!(error.code(), "ERR_ABORTED");
    assert!(!world.cache().exists());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a user's file")]
fn ignore_files_above_the_root_count_up_to_the_top_of_the_repository() {
    let write = |path: &Path, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let mut world = World::with(&[
        "a.log",
        "b.tmp",
        "c.bak",
        "d.out",
        "e",
        "keep.log",
        "sub/f.log",
    ]);
    let all = [
        "a.log",
        "b.tmp",
        "c.bak",
        "d.out",
        "e",
        "keep.log",
        "sub",
        "sub/f.log",
    ];
    // <dir>/root is captured; <dir> is the project, in a repository of its own or of its parent's.
    let dir = world.dir.path().to_path_buf();
    write(
        &dir.join(".gitignore"),
        "*.log\n!keep.log\n/root/b.tmp\n/e\nroot/\n",
    );
    write(&dir.join(".waymarkignore"), "root/c.bak\n");
    assert_eq!(world.paths(), all, "no project");

    world.rules.project = Some(dir.clone());
    assert_eq!(world.paths(), ["d.out", "e", "keep.log", "sub"]);
    write(&dir.join(".git/info/exclude"), "*.out\n");
    assert_eq!(world.paths(), ["e", "keep.log", "sub"]);
    // The deeper one wins.
    write(&world.root().join(".gitignore"), "!a.log\n");
    assert_eq!(
        world.paths(),
        [".gitignore", "a.log", "e", "keep.log", "sub"]
    );
    world.rules.respect_gitignore = false;
    let without = [
        ".gitignore",
        "a.log",
        "b.tmp",
        "d.out",
        "e",
        "keep.log",
        "sub",
        "sub/f.log",
    ];
    assert_eq!(world.paths(), without);
    world.rules.respect_gitignore = true;
    fs::remove_file(world.root().join(".gitignore")).unwrap();

    // The project itself lies in the repository; its top is reached, and nothing above it.
    world.rules.project = Some(world.root());
    assert_eq!(world.paths(), ["e", "keep.log", "sub"]);
    fs::remove_dir_all(dir.join(".git")).unwrap();
    assert_eq!(world.paths(), all);
    // A root elsewhere goes by its own repository.
    world.rules.project = Some(dir.join("other"));
    assert_eq!(world.paths(), all);
    fs::create_dir(dir.join(".git")).unwrap();
    assert_eq!(world.paths(), ["d.out", "e", "keep.log", "sub"]);
}
