#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;
use crate::error::{Error, Result};
use crate::model::diff::Trees;
use crate::model::snapshot::{File, Node, Tree, TreeEntry};

/// Folders in memory, with a list of those that were read.
#[derive(Default)]
struct Memory {
    trees: RefCell<HashMap<ObjectId, Tree>>,
    read: RefCell<Vec<ObjectId>>,
}

impl Trees for Memory {
    fn tree(&self, id: &ObjectId) -> Result<Tree> {
        self.read.borrow_mut().push(*id);
        self.trees.borrow().get(id).cloned().ok_or(Error::Aborted)
    }
}

/// A folder as a plain map; a folder in it without its contents.
type Plain = BTreeMap<String, Node>;

impl Memory {
    fn put(&self, tree: &Tree) -> ObjectId {
        assert_eq!(Tree::decode(&tree.encode()).as_ref(), Some(tree));
        let id = ObjectId::of(&tree.encode());
        self.trees.borrow_mut().insert(id, tree.clone());
        id
    }

    /// Stores what lies below a path that ends with `/`, or all.
    fn store(&self, plain: &Plain, below: &str) -> ObjectId {
        let mut entries = Vec::new();
        for (path, node) in plain {
            let Some(name) = path.strip_prefix(below).filter(|name| !name.contains('/')) else {
                continue;
            };
            let node = match node {
                Node::Directory { mode, .. } => Node::Directory {
                    mode: *mode,
                    tree: self.store(plain, &format!("{path}/")),
                },
                other => other.clone(),
            };
            entries.push(TreeEntry {
                name: name.as_bytes().to_vec(),
                node,
            });
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        self.put(&Tree { entries })
    }

    /// Reads a folder back into a map.
    fn load(&self, id: &ObjectId, below: &str, plain: &mut Plain) {
        for entry in self.tree(id).unwrap().entries {
            let path = below.to_owned() + std::str::from_utf8(&entry.name).unwrap();
            if let Node::Directory { tree, .. } = &entry.node {
                self.load(tree, &format!("{path}/"), plain);
            }
            plain.insert(path, bare(&entry.node));
        }
    }
}

/// A node without what lies in it.
fn bare(node: &Node) -> Node {
    match node {
        Node::Directory { mode, .. } => dir(*mode),
        other => other.clone(),
    }
}

fn dir(mode: u32) -> Node {
    let tree = ObjectId::of(b"");
    Node::Directory { mode, tree }
}

fn made(content: &str, mode: u32, modified_ns: i64) -> Node {
    Node::File(File {
        mode,
        modified_ns,
        size: content.len() as u64,
        hash: ObjectId::of(content.as_bytes()),
        chunks: None,
    })
}

fn file(content: &str) -> Node {
    made(content, 0o644, 0)
}

fn link(target: &str) -> Node {
    let target = target.as_bytes().to_vec();
    Node::Symlink { target }
}

fn withheld(content: &str) -> Node {
    Node::Withheld {
        mode: 0o644,
        modified_ns: 0,
        size: content.len() as u64,
        hash: ObjectId::of(content.as_bytes()),
    }
}

fn skipped(reason: SkipReason) -> Node {
    Node::Skipped { reason, size: 0 }
}

/// A folder by its paths; the folders on the way are made.
fn plain(paths: &[(&str, Node)]) -> Plain {
    let mut plain = Plain::new();
    for (path, node) in paths {
        for (at, _) in path.match_indices('/') {
            plain.entry(path[..at].to_owned()).or_insert(dir(0o755));
        }
        plain.insert((*path).to_owned(), node.clone());
    }
    plain
}

/// All sides as plain maps.
#[derive(Debug, Clone)]
struct Scene {
    now: Plain,
    wanted: Plain,
    bases: Vec<Plain>,
    captured: Vec<Plain>,
    on_conflict: OnConflict,
    unselected: BTreeSet<String>,
    case_folding: bool,
}

impl Scene {
    fn new(now: &[(&str, Node)], wanted: &[(&str, Node)]) -> Self {
        Self {
            now: plain(now),
            wanted: plain(wanted),
            bases: Vec::new(),
            captured: Vec::new(),
            on_conflict: OnConflict::Refuse,
            unselected: BTreeSet::new(),
            case_folding: false,
        }
    }

    /// A checkpoint of the run, which is what stood on the disk last as well.
    fn base(mut self, paths: &[(&str, Node)]) -> Self {
        self.bases.push(plain(paths));
        self.captured(paths)
    }

    /// A checkpoint of the run that says nothing about the disk.
    fn captured(mut self, paths: &[(&str, Node)]) -> Self {
        self.captured.push(plain(paths));
        self
    }

    fn on(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }

    fn without(mut self, paths: &[&str]) -> Self {
        self.unselected = paths.iter().map(|path| (*path).to_owned()).collect();
        self
    }

    fn folding(mut self) -> Self {
        self.case_folding = true;
        self
    }

    fn run(&self, memory: &Memory) -> (Vec<PathPlan>, Totals) {
        let store = |plain: &Plain| memory.store(plain, "");
        let bases: Vec<_> = self.bases.iter().map(store).collect();
        let captured: Vec<_> = self.captured.iter().map(store).collect();
        let sides = Sides {
            now: Some(store(&self.now)),
            wanted: Some(store(&self.wanted)),
            bases: &bases,
            captured: &captured,
            on_conflict: self.on_conflict,
        };
        memory.read.borrow_mut().clear();
        let selected = |path: &[u8]| !self.unselected.contains(std::str::from_utf8(path).unwrap());
        let options = Options {
            selected: &selected,
            case_folding: self.case_folding,
            beside_suffix: ".old",
        };
        let mut plans = Vec::new();
        let totals = plan_root(memory, &sides, &options, &mut |plan| {
            plans.push(plan);
            Ok(())
        });
        (plans, totals.unwrap())
    }

    /// One line per path: what happens, where, and why or whereto.
    fn lines(&self) -> Vec<String> {
        let (plans, _) = self.run(&Memory::default());
        plans.iter().map(line).collect()
    }

    /// The same under each policy: refuse, keep both, overwrite, merge.
    fn policies(&self) -> [String; 4] {
        ALL.map(|on_conflict| self.clone().on(on_conflict).lines().join(", "))
    }
}

const ALL: [OnConflict; 4] = [
    OnConflict::Refuse,
    OnConflict::KeepBoth,
    OnConflict::Overwrite,
    OnConflict::Merge,
];

fn line(plan: &PathPlan) -> String {
    let path = text(&plan.path);
    let more = match &plan.action {
        Action::KeepBoth { beside } => " ".to_owned() + &text(beside),
        Action::Keep(KeepReason::NotStored(reason)) => " not_stored ".to_owned() + reason.name(),
        Action::Keep(reason) => " ".to_owned() + reason.name(),
        Action::Conflict(reason) => " ".to_owned() + reason.name(),
        _ => String::new(),
    };
    format!("{} {path}{more}", plan.action.name())
}

fn text(path: &[u8]) -> String {
    String::from_utf8(path.to_vec()).unwrap()
}

#[test]
fn policies_by_name() {
    for one in ALL {
        assert_eq!(OnConflict::parse(one.name()), Some(one));
    }
    assert_eq!(OnConflict::parse("Refuse"), None);
}

#[test]
fn what_is_only_in_the_checkpoint_is_made() {
    let wanted = [
        ("d/f", file("x")),
        ("l", link("x")),
        ("s", withheld("x")),
        ("t", skipped(SkipReason::TooLarge)),
    ];
    // That the user deleted it is no reason to leave it out.
    let scene = Scene::new(&[], &wanted).base(&wanted);
    let expected = [
        "create d",
        "create d/f",
        "create l",
        "keep s secret",
        "keep t not_stored too_large",
    ];
    assert_eq!(scene.lines(), expected);
}

#[test]
fn what_is_only_on_the_disk_goes_if_it_is_the_runs_and_unchanged() {
    let now = [("f", file("x")), ("l", link("x"))];
    let same = Scene::new(&now, &[]).base(&now);
    assert_eq!(same.policies(), ["delete f, delete l"; 4]);
    // Mode and time are no content.
    let touched = [("f", made("x", 0o600, 7))];
    assert_eq!(
        Scene::new(&touched, &[]).base(&now).policies(),
        ["delete f"; 4]
    );
    // Any base will do.
    let scene = Scene::new(&now, &[]).base(&[("f", file("y"))]).base(&now);
    assert_eq!(scene.policies(), ["delete f, delete l"; 4]);

    let scene = Scene::new(&[("f", file("edited"))], &[]).base(&now);
    assert_eq!(
        scene.policies(),
        [
            "conflict f changed",
            "keep_both f f.old",
            "delete f",
            "conflict f changed"
        ]
    );
    let scene = Scene::new(&[("f", link("x"))], &[]).base(&now);
    assert_eq!(scene.policies()[0], "conflict f changed");
}

#[test]
fn what_was_never_captured_stays() {
    let now = [("mine", file("x")), ("sub/deep/mine", file("x"))];
    let scene = Scene::new(&now, &[]).base(&[("other", file("x"))]);
    let expected = "keep mine not_captured, keep sub not_captured";
    assert_eq!(scene.policies(), [expected; 4]);
    // That it is in a base does not make it the run's: bases may be rescues.
    let mut rescued = Scene::new(&now, &[]);
    rescued.bases.push(plain(&now));
    assert_eq!(rescued.policies(), [expected; 4]);
    // Neither does it that a checkpoint knows of it without its content.
    let scene = Scene::new(&[("s", file("x")), ("t", file("x"))], &[])
        .base(&[("s", withheld("x")), ("t", skipped(SkipReason::TooLarge))]);
    let expected = "keep s secret, keep t not_stored too_large";
    assert_eq!(scene.policies(), [expected; 4]);
    // A folder where a checkpoint had a file is the user's.
    let scene = Scene::new(&[("d", dir(0o755))], &[]).base(&[("d", file("x"))]);
    assert_eq!(scene.policies(), ["keep d not_captured"; 4]);
}

#[test]
fn what_can_not_be_read_on_the_disk_stays() {
    let now = [
        ("d", skipped(SkipReason::Unreadable)),
        ("p", skipped(SkipReason::NotRegular)),
        ("s", withheld("x")),
    ];
    let had = [("d/x", file("x")), ("p", file("x")), ("s", file("x"))];
    assert_eq!(
        Scene::new(&now, &[]).base(&had).policies(),
        ["keep d not_stored unreadable, keep p not_stored not_regular, keep s secret"; 4]
    );
}

#[test]
fn folders_go_when_everything_in_them_goes() {
    let had = [("d/e/f", file("x")), ("d/g", file("x"))];
    let scene = Scene::new(&had, &[]).base(&had);
    assert_eq!(
        scene.policies(),
        ["delete d/e/f, delete d/e, delete d/g, delete d"; 4]
    );
    let now = [had[0].clone(), had[1].clone(), ("d/e/mine", file("x"))];
    let scene = Scene::new(&now, &[]).base(&had);
    assert_eq!(
        scene.policies(),
        ["delete d/e/f, keep d/e/mine not_captured, keep d/e not_empty, delete d/g, keep d not_empty";
            4]
    );
    // What is renamed aside stays in it.
    let now = [("d/g", file("edited"))];
    let scene = Scene::new(&now, &[]).base(&had).on(OnConflict::KeepBoth);
    assert_eq!(scene.lines(), ["keep_both d/g d/g.old", "keep d not_empty"]);
    // Owned by an older checkpoint only, each path by another one.
    let scene = Scene::new(&had, &[])
        .captured(&[("d/e/f", file("y"))])
        .captured(&[("d/g", file("y"))])
        .captured(&[]);
    assert_eq!(
        scene.on(OnConflict::Overwrite).lines(),
        ["delete d/e/f", "delete d/e", "delete d/g", "delete d"]
    );
}

#[test]
fn what_differs_is_replaced_if_it_is_unchanged() {
    let (now, wanted) = ([("f", file("now"))], [("f", file("wanted"))]);
    let scene = Scene::new(&now, &wanted).base(&now);
    assert_eq!(scene.policies(), ["replace f"; 4]);
    let changed = Scene::new(&now, &wanted).base(&[("f", file("base"))]);
    assert_eq!(
        changed.policies(),
        [
            "conflict f changed",
            "keep_both f f.old",
            "replace f",
            "merge f"
        ]
    );
    // A merge needs three files, and the newest base decides.
    let scene = Scene::new(&now, &wanted)
        .base(&[])
        .base(&[("f", file("base"))]);
    assert_eq!(scene.policies()[3], "conflict f changed");
    let scene = Scene::new(&now, &[("f", link("x"))]).base(&[("f", file("base"))]);
    assert_eq!(
        scene.policies(),
        [
            "conflict f changed",
            "keep_both f f.old",
            "replace f",
            "conflict f changed"
        ]
    );
    let scene = Scene::new(&[("f", link("x"))], &[("f", link("y"))]).base(&[("f", link("x"))]);
    assert_eq!(scene.policies(), ["replace f"; 4]);
    let (plans, _) = changed.run(&Memory::default());
    assert_eq!(plans[0].base, Some(NodeInfo::from(&file("base"))));
    assert_eq!(plans[0].before, Some(NodeInfo::from(&file("now"))));
    assert_eq!(plans[0].after, Some(NodeInfo::from(&file("wanted"))));
    assert!(plans[0].differs.content);
}

#[test]
fn modes_and_times() {
    let wanted = [("d", dir(0o755)), ("f", file("x"))];
    let now = [("d", dir(0o700)), ("f", made("x", 0o600, 5))];
    let same = Scene::new(&now, &wanted).base(&now);
    assert_eq!(same.policies(), ["set_mode d, set_mode f"; 4]);
    let changed = Scene::new(&now, &wanted).base(&wanted).policies();
    assert_eq!(changed[0], "conflict d changed, conflict f changed");
    assert_eq!(changed[1..], ["set_mode d, set_mode f"; 3]);
    let scene = Scene::new(&[("f", made("x", 0o644, 5))], &[("f", file("x"))]);
    assert_eq!(scene.policies(), [""; 4]);
}

#[test]
fn secrets_and_what_was_not_stored() {
    let now = [
        ("a", withheld("x")),
        ("b", file("x")),
        ("c", withheld("x")),
        ("d", file("x")),
        ("e", withheld("y")),
        ("f", withheld("x")),
        ("g/h", file("x")),
    ];
    let wanted = [
        ("a", withheld("y")),
        ("b", withheld("y")),
        ("c", file("x")),
        ("d", skipped(SkipReason::Changing)),
        ("e", withheld("y")),
        ("f", file("y")),
        ("g", withheld("x")),
    ];
    let scene = Scene::new(&now, &wanted).base(&now);
    assert_eq!(
        scene.policies(),
        ["keep a secret, keep b secret, keep c secret, keep d not_stored changing, \
          conflict f can_not_be_saved, keep g secret"; 4]
    );
}

#[test]
fn what_can_not_be_saved_is_never_replaced() {
    let now = [
        ("a", skipped(SkipReason::Unreadable)),
        ("b", skipped(SkipReason::NotRegular)),
        ("c", skipped(SkipReason::TooLarge)),
        ("d", withheld("x")),
        ("e", skipped(SkipReason::TooLarge)),
    ];
    let wanted = [
        ("a/x", file("x")),
        ("b", file("x")),
        ("c", file("x")),
        ("d/x", file("x")),
        ("e", skipped(SkipReason::TooLarge)),
    ];
    let scene = Scene::new(&now, &wanted).base(&now);
    assert_eq!(
        scene.policies(),
        ["conflict a can_not_be_saved, conflict b in_the_way, conflict c can_not_be_saved, \
          conflict d can_not_be_saved"; 4]
    );
}

#[test]
fn a_folder_gives_way_to_a_file() {
    let had = [("d/e/f", file("x"))];
    let wanted = [("d", file("x"))];
    let scene = Scene::new(&had, &wanted).base(&had);
    assert_eq!(scene.policies(), ["delete d/e/f, delete d/e, replace d"; 4]);
    let now = [
        ("d/a", file("x")),
        ("d/e/f", file("x")),
        ("d/e/mine", file("x")),
    ];
    let scene = Scene::new(&now, &wanted).base(&now[..2]);
    assert_eq!(scene.policies(), ["conflict d in_the_way"; 4]);
    let scene = Scene::new(&had, &wanted).base(&[("d/e/f", file("y"))]);
    let policies = scene.policies();
    assert_eq!(policies[2], "delete d/e/f, delete d/e, replace d");
    for at in [0, 1, 3] {
        assert_eq!(policies[at], "conflict d in_the_way");
    }
    // An empty folder that somebody made.
    let scene = Scene::new(&[("d", dir(0o755))], &wanted).base(&wanted);
    let changed = "conflict d changed";
    assert_eq!(
        scene.policies(),
        [changed, "replace d", "replace d", changed]
    );
}

#[test]
fn a_file_gives_way_to_a_folder() {
    let (now, wanted) = ([("d", file("x"))], [("d/e/f", file("x"))]);
    let scene = Scene::new(&now, &wanted).base(&now);
    assert_eq!(scene.policies(), ["replace d, create d/e, create d/e/f"; 4]);
    let scene = Scene::new(&now, &wanted).base(&wanted);
    assert_eq!(
        scene.policies(),
        [
            "conflict d changed",
            "keep_both d d.old, create d/e, create d/e/f",
            "replace d, create d/e, create d/e/f",
            "conflict d changed",
        ]
    );
}

#[test]
fn only_what_is_selected() {
    let had = [("d/a", file("x")), ("d/b", file("x")), ("f", file("x"))];
    let edited = [("d/a", file("y")), ("d/b", file("y")), ("f", file("y"))];
    let scene = Scene::new(&had, &edited).base(&had);
    assert_eq!(scene.without(&["d", "d/b", "f"]).lines(), ["replace d/a"]);

    // A folder is made for what is made in it, and only for that.
    let wanted = [
        ("d/e/a", file("x")),
        ("d/g/s", withheld("x")),
        ("h/i/j", file("x")),
    ];
    let scene = Scene::new(&[], &wanted).base(&had);
    let scene = scene.without(&["d", "d/e", "d/g", "h", "h/i", "h/i/j"]);
    let expected = [
        "create d",
        "create d/e",
        "create d/e/a",
        "keep d/g/s secret",
    ];
    assert_eq!(scene.lines(), expected);

    // What is left alone keeps its folder.
    let scene = Scene::new(&had, &[]).base(&had);
    let expected = ["delete d/a", "keep d not_empty", "delete f"];
    assert_eq!(scene.clone().without(&["d/b"]).lines(), expected);
    let expected = ["delete d/a", "delete d/b", "delete f"];
    assert_eq!(scene.clone().without(&["d"]).lines(), expected);
    let outer = Scene::new(&[("o/d/a", file("x"))], &[]).base(&[("o/d/a", file("x"))]);
    let expected = ["delete o/d/a", "keep o not_empty"];
    assert_eq!(outer.without(&["o/d"]).lines(), expected);
    assert_eq!(scene.without(&["d", "d/a", "d/b", "f"]).lines(), [""; 0]);

    // A file that is left alone is in the way of a folder that is needed.
    let scene = Scene::new(&[("d", file("x"))], &[("d/e/f", file("x"))]).base(&[]);
    let expected = ["conflict d in_the_way"];
    assert_eq!(scene.clone().without(&["d", "d/e"]).lines(), expected);
    assert_eq!(scene.without(&["d", "d/e", "d/e/f"]).lines(), [""; 0]);

    // A folder that is left alone, where the checkpoint has a file.
    let scene = Scene::new(&[("d/a", file("x"))], &[("d", file("x"))]);
    let scene = scene.base(&[("d/a", file("x"))]);
    assert_eq!(scene.clone().without(&["d"]).lines(), ["delete d/a"]);
    assert_eq!(scene.without(&["d/a"]).lines(), ["conflict d in_the_way"]);
}

#[test]
fn names_that_differ_in_case_only() {
    let wanted = [("README", file("x")), ("Readme", file("y"))];
    let scene = Scene::new(&[], &wanted);
    assert_eq!(scene.lines(), ["create README", "create Readme"]);
    assert_eq!(
        scene.folding().lines(),
        [
            "conflict README case_collision",
            "conflict Readme case_collision"
        ]
    );
    // One of them is there already.
    let scene = Scene::new(&wanted[..1], &wanted).folding();
    assert_eq!(scene.lines(), ["conflict Readme case_collision"]);
    // Folders, with all that is in them.
    let wanted = [("Src/a", file("x")), ("src/a", file("y"))];
    let scene = Scene::new(&[("Src/a", file("z"))], &wanted).folding();
    let expected = ["conflict Src case_collision", "conflict src case_collision"];
    assert_eq!(scene.lines(), expected);
    assert_eq!(scene.clone().without(&["Src", "src"]).lines(), expected);
    let none = scene.without(&["Src", "Src/a", "src", "src/a"]);
    assert_eq!(none.lines(), [""; 0]);
}

#[test]
fn a_name_in_another_case_on_the_disk() {
    let (now, wanted) = ([("Src/a", file("x"))], [("src/a", file("x"))]);
    // It goes, so the name is free.
    let scene = Scene::new(&now, &wanted).base(&now).folding();
    let expected = ["delete Src/a", "delete Src", "create src", "create src/a"];
    assert_eq!(scene.lines(), expected);
    // Something in it stays.
    let more = [("Src/a", file("x")), ("Src/mine", file("x"))];
    let scene = Scene::new(&more, &wanted).base(&now).folding();
    let expected = [
        "delete Src/a",
        "keep Src/mine not_captured",
        "keep Src not_empty",
        "conflict src case_collision",
    ];
    assert_eq!(scene.lines(), expected);
    // The user's own, whichever of the names comes first.
    for (mine, name) in [("A", "a"), ("a", "A")] {
        let scene = Scene::new(&[(mine, file("x"))], &[(name, file("y"))]).folding();
        let mut lines = scene.on(OnConflict::Overwrite).lines();
        lines.sort();
        let conflict = format!("conflict {name} case_collision");
        assert_eq!(lines, [conflict, format!("keep {mine} not_captured")]);
    }
    // Found under both names: deleting one would delete the other.
    let now = [("A", file("x")), ("a", file("x"))];
    let scene = Scene::new(&now, &now[..1]).base(&now).folding();
    assert_eq!(scene.policies(), ["conflict a case_collision"; 4]);
}

#[test]
fn a_name_aside_that_nobody_has() {
    let now = [("f.txt", file("edited")), ("f.old.txt", file("x"))];
    let wanted = [("f.txt", file("y")), ("f.old-2.txt", file("x"))];
    let scene = Scene::new(&now, &wanted).on(OnConflict::KeepBoth);
    assert_eq!(scene.lines()[2], "keep_both f.txt f.old-3.txt");
    let now = [("f", file("edited")), ("F.OLD", file("x"))];
    let scene = Scene::new(&now, &[("f", file("y"))]).on(OnConflict::KeepBoth);
    assert_eq!(scene.lines()[1], "keep_both f f.old");
    assert_eq!(scene.folding().lines()[1], "keep_both f f.old-2");
}

#[test]
fn totals_count_what_was_handed_out() {
    let now = [
        ("a", file("12345")),
        ("b", file("123")),
        ("c", made("x", 0o600, 0)),
        ("e", file("mine")),
    ];
    let wanted = [("a", file("12")), ("c", file("x")), ("d", file("1"))];
    let scene = Scene::new(&now, &wanted).base(&now[..3]);
    let (_, totals) = scene.run(&Memory::default());
    let expected = Totals {
        create: 1,
        replace: 1,
        set_mode: 1,
        delete: 1,
        keep: 1,
        bytes_to_write: 3,
        bytes_replaced: 8,
        ..Totals::default()
    };
    assert_eq!(totals, expected);
    let scene = Scene::new(&now[..1], &wanted[..1]).base(&[("a", file("1"))]);
    let totals = |on_conflict| scene.clone().on(on_conflict).run(&Memory::default()).1;
    let of = |totals: Totals| (totals.bytes_to_write, totals.bytes_replaced);
    assert_eq!(totals(OnConflict::Refuse).conflict, 1);
    assert_eq!(of(totals(OnConflict::Refuse)), (0, 0));
    assert_eq!(totals(OnConflict::KeepBoth).keep_both, 1);
    assert_eq!(of(totals(OnConflict::KeepBoth)), (2, 0));
    assert_eq!(totals(OnConflict::Merge).merge, 1);
    assert_eq!(of(totals(OnConflict::Merge)), (2, 5));
}

#[test]
fn nothing_on_a_side() {
    let memory = Memory::default();
    let full = memory.store(&plain(&[("d/f", file("x"))]), "");
    let selected = |_: &[u8]| true;
    let options = Options {
        selected: &selected,
        case_folding: true,
        beside_suffix: "",
    };
    for (now, wanted, expected) in [
        (None, None, ""),
        (None, Some(full), "create d, create d/f"),
        (Some(full), None, "delete d/f, delete d"),
    ] {
        let sides = Sides {
            now,
            wanted,
            bases: &[full],
            captured: &[full],
            on_conflict: OnConflict::Refuse,
        };
        let mut lines = Vec::new();
        plan_root(&memory, &sides, &options, &mut |plan| {
            lines.push(line(&plan));
            Ok(())
        })
        .unwrap();
        assert_eq!(lines.join(", "), expected);
        let refused = plan_root(&memory, &sides, &options, &mut |_| Err(Error::Aborted));
        assert_eq!(refused.is_err(), !expected.is_empty());
    }
}

#[test]
fn folders_are_read_where_they_differ_and_once() {
    let names: Vec<String> = (0..50).map(|at| format!("d/{at:02}")).collect();
    let mut now: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), file("x")))
        .collect();
    now.push(("same/f", file("x")));
    let mut wanted = now.clone();
    wanted.drain(..40);
    let mut scene = Scene::new(&now, &wanted).base(&now);
    for content in ["a", "b", "c"] {
        scene = scene.captured(&[("d/00", file(content))]);
    }
    let memory = Memory::default();
    assert_eq!(scene.run(&memory).1.delete, 40);
    let read = memory.read.borrow();
    let unique: BTreeSet<_> = read.iter().collect();
    // The outermost folder and `d`, of both sides and of three more checkpoints.
    assert_eq!((read.len(), unique.len()), (10, 10));
    drop(read);
    // Without anything to go, the checkpoints are not asked.
    let scene = Scene {
        now: scene.wanted.clone(),
        wanted: scene.now.clone(),
        ..scene
    };
    assert_eq!(scene.run(&memory).1.create, 40);
    assert_eq!(memory.read.borrow().len(), 4);
}

#[test]
fn depth_costs_no_stack() {
    let memory = Memory::default();
    let deep = |content| {
        let mut node = file(content);
        for _ in 0..3_000 {
            let entry = TreeEntry {
                name: b"d".to_vec(),
                node,
            };
            let tree = memory.put(&Tree {
                entries: vec![entry],
            });
            node = Node::Directory { mode: 0o755, tree };
        }
        match node {
            Node::Directory { tree, .. } => tree,
            _ => panic!("a folder"),
        }
    };
    let (full, other) = (deep("a"), deep("b"));
    let file = memory.store(&plain(&[("d", file("x"))]), "");
    let selected = |_: &[u8]| true;
    let options = Options {
        selected: &selected,
        case_folding: false,
        beside_suffix: "",
    };
    for (wanted, count) in [(None, 3_000), (Some(other), 1), (Some(file), 3_000)] {
        let sides = Sides {
            now: Some(full),
            wanted,
            bases: &[full],
            captured: &[full],
            on_conflict: OnConflict::Refuse,
        };
        let mut plans = 0;
        plan_root(&memory, &sides, &options, &mut |_| {
            plans += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(plans, count);
    }
}

#[test]
fn one_folder_over_another() {
    let memory = Memory::default();
    let over = [
        ("a", file("over")),
        ("d/x", file("over")),
        ("f/g", file("over")),
    ];
    let under = [
        ("a", file("under")),
        ("b", file("under")),
        ("d/x", link("y")),
        ("d/y", file("under")),
        ("f", file("under")),
    ];
    let mut over = plain(&over);
    over.insert("d".to_owned(), dir(0o700));
    let under = plain(&under);
    let mut expected = under.clone();
    expected.extend(over.clone());
    let (one, other) = (memory.store(&over, ""), memory.store(&under, ""));
    let made = overlay(&memory, Some(&one), Some(&other), &mut |tree| {
        Ok(memory.put(tree))
    });
    let mut found = Plain::new();
    memory.load(&made.unwrap().unwrap(), "", &mut found);
    assert_eq!(found, expected);
    let never = &mut |_: &Tree| panic!("nothing is made");
    assert_eq!(
        overlay(&memory, Some(&one), None, never).unwrap(),
        Some(one)
    );
    assert_eq!(
        overlay(&memory, None, Some(&one), never).unwrap(),
        Some(one)
    );
    assert_eq!(
        overlay(&memory, Some(&one), Some(&one), never).unwrap(),
        Some(one)
    );
    assert_eq!(overlay(&memory, None, None, never).unwrap(), None);
    let empty = memory.store(&Plain::new(), "");
    assert_eq!(
        overlay(&memory, Some(&one), Some(&empty), never).unwrap(),
        Some(one)
    );
    let refuse = &mut |_: &Tree| Err(Error::Aborted);
    assert!(overlay(&memory, Some(&one), Some(&other), refuse).is_err());
}

#[test]
fn what_is_hidden_is_asked_for_by_name() {
    let memory = Memory::default();
    let now = [
        ("b", file("x")),
        ("both/shown", file("x")),
        ("large", skipped(SkipReason::TooLarge)),
        ("pipe", skipped(SkipReason::NotRegular)),
        ("secret", withheld("x")),
    ];
    let wanted = [
        ("b", file("y")),
        ("both/hidden", file("x")),
        ("both/shown", file("x")),
        ("file/in", file("x")),
        ("gone/in/it", file("x")),
        ("hidden/deep/f", file("x")),
        ("hidden/gone", file("x")),
        ("large", file("x")),
        ("link", link("x")),
        ("pipe", file("x")),
        ("secret", file("y")),
        ("unknown", skipped(SkipReason::TooLarge)),
        ("withheld", withheld("x")),
    ];
    let (now, wanted) = (
        memory.store(&plain(&now), ""),
        memory.store(&plain(&wanted), ""),
    );
    let mut asked = Vec::new();
    let mut ask = |now: Option<&ObjectId>, wanted, case_folding| {
        asked.clear();
        let found = missing_paths(&memory, now, wanted, case_folding, &mut |path| {
            asked.push(text(path));
            Ok(match text(path).as_str() {
                "hidden" | "hidden/deep" | "both" => Exists::Folder,
                "gone" | "hidden/gone" => Exists::Nothing,
                _ => Exists::Other,
            })
        });
        let found: Vec<_> = found
            .unwrap()
            .into_iter()
            .map(|(path, is)| (text(&path), is))
            .collect();
        (found, asked.join(" "))
    };
    let (found, asked) = ask(Some(&now), Some(&wanted), false);
    assert_eq!(
        asked,
        "both/hidden file gone hidden hidden/deep hidden/deep/f hidden/gone large link secret"
    );
    let (folder, other) = (Exists::Folder, Exists::Other);
    let expected = [
        ("both/hidden", other),
        ("file", other),
        ("hidden", folder),
        ("hidden/deep", folder),
        ("hidden/deep/f", other),
        ("large", other),
        ("link", other),
        ("secret", other),
    ];
    assert_eq!(found, expected.map(|(path, is)| (path.to_owned(), is)));
    assert_eq!(ask(Some(&now), Some(&now), false).1, "");
    assert_eq!(ask(Some(&now), None, false).1, "");
    let upper = memory.store(&plain(&[("LINK", link("x"))]), "");
    let lower = memory.store(&plain(&[("link", link("x"))]), "");
    assert_eq!(ask(Some(&upper), Some(&lower), false).1, "link");
    assert_eq!(ask(Some(&upper), Some(&lower), true).1, "");
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        8 => ("[ab]?", prop_oneof![Just(0o644), Just(0o600)], 0..2_i64)
            .prop_map(|(content, mode, time)| made(&content, mode, time)),
        8 => prop_oneof![3 => Just(0o755), 1 => Just(0o700)].prop_map(dir),
        2 => "[xy]".prop_map(|target| link(&target)),
        1 => "[ab]".prop_map(|content| withheld(&content)),
        1 => prop_oneof![
            Just(skipped(SkipReason::NotRegular)),
            Just(skipped(SkipReason::TooLarge)),
        ],
    ]
}

/// Paths whose folders are folders.
fn whole(drawn: impl IntoIterator<Item = (String, Node)>) -> Plain {
    let mut plain = Plain::new();
    for (path, node) in drawn {
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        if parents
            .into_iter()
            .all(|one| matches!(plain.get(one), Some(Node::Directory { .. })))
        {
            plain.insert(path, node);
        }
    }
    plain
}

fn snapshot() -> impl Strategy<Value = Plain> {
    prop::collection::btree_map("[ab](/[ab]){0,2}", node(), 0..20).prop_map(whole)
}

/// The same folder with some paths gone, changed or new.
fn drifted(plain: &Plain) -> impl Strategy<Value = Plain> + use<> {
    let old = plain.clone();
    let gone = prop::collection::btree_set("[ab](/[ab]){0,2}", 0..4);
    let new = prop::collection::btree_map("[ab](/[ab]){0,2}", node(), 0..4);
    (gone, new).prop_map(move |(gone, new)| {
        let mut plain = old.clone();
        plain.retain(|path, _| !gone.contains(path));
        plain.extend(new);
        whole(plain)
    })
}

fn scene() -> impl Strategy<Value = Scene> {
    let policy = prop::sample::select(&ALL[..]);
    let related = snapshot().prop_flat_map(|first| {
        let others = prop::collection::vec(drifted(&first), 4);
        (drifted(&first), Just(first), others)
    });
    let unselected = prop::collection::btree_set("[ab](/[ab]){0,2}", 0..4);
    (
        related,
        policy,
        unselected,
        0..3_usize,
        0..3_usize,
        any::<bool>(),
    )
        .prop_map(
            |((now, wanted, others), on_conflict, unselected, bases, captured, was_base)| Scene {
                bases: (was_base.then(|| now.clone()).into_iter())
                    .chain(others[..bases].iter().cloned())
                    .collect(),
                captured: others[..=captured].to_vec(),
                now,
                wanted,
                on_conflict,
                unselected,
                case_folding: false,
            },
        )
}

fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Does what a plan says, and fails where it can't be done.
fn apply(plans: &[PathPlan], scene: &Scene) -> Plain {
    let mut disk = scene.now.clone();
    let going = |plan: &&PathPlan| plan.action == Action::Delete;
    for plan in plans.iter().filter(going) {
        let path = text(&plan.path);
        assert!(disk.remove(&path).is_some(), "{path} is there");
        assert!(
            !disk.keys().any(|one| within(one, &path)),
            "{path} is empty"
        );
    }
    for plan in plans {
        let path = text(&plan.path);
        match &plan.action {
            Action::Replace => {
                assert!(disk.remove(&path).is_some());
                assert!(
                    !disk.keys().any(|one| within(one, &path)),
                    "{path} is empty"
                );
            }
            Action::KeepBoth { beside } => {
                let old = disk.remove(&path).unwrap();
                assert!(!scene.wanted.contains_key(&text(beside)));
                assert_eq!(disk.insert(text(beside), old), None);
            }
            Action::Create => assert!(!disk.contains_key(&path)),
            Action::SetMode => assert!(disk.remove(&path).is_some()),
            Action::Delete | Action::Keep(_) | Action::Conflict(_) | Action::Merge => continue,
        }
        if plan.after.is_some() {
            if let Some((folder, _)) = path.rsplit_once('/') {
                assert!(
                    matches!(disk.get(folder), Some(Node::Directory { .. })),
                    "{path}"
                );
            }
            disk.insert(path.clone(), scene.wanted[&path].clone());
        }
    }
    disk
}

fn untimed(node: &Node) -> NodeInfo {
    NodeInfo {
        modified_ns: None,
        ..NodeInfo::from(node)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_of_the_users_is_eaten(scene in scene()) {
        let (plans, totals) = scene.run(&Memory::default());
        let mut again = Totals::default();
        let mut seen = BTreeSet::new();
        for plan in &plans {
            again.add(plan);
            let path = text(&plan.path);
            prop_assert!(seen.insert(path.clone()), "{path} twice");
            let now = scene.now.get(&path);
            prop_assert_eq!(&plan.before, &now.map(NodeInfo::from));
            prop_assert_eq!(&plan.after, &scene.wanted.get(&path).map(NodeInfo::from));
            let captured = scene.captured.iter().filter_map(|one| one.get(&path));
            let mut kinds = captured.map(|node| NodeInfo::from(node).kind);
            let folder = matches!(now, Some(Node::Directory { .. }));
            let is_owned = kinds.any(|kind| match kind {
                NodeKind::Directory => true,
                NodeKind::File | NodeKind::Symlink => !folder,
                _ => false,
            });
            if plan.action == Action::Delete {
                prop_assert!(is_owned && plan.after.is_none(), "{path}");
            }
            if matches!(plan.action, Action::Replace | Action::SetMode | Action::Merge) {
                prop_assert!(plan.after.is_some());
            }
            if matches!(plan.action, Action::KeepBoth { .. }) {
                prop_assert!(plan.after.is_some() || is_owned, "{path}");
            }
            let goes = matches!(plan.action, Action::Delete | Action::Replace);
            if goes && scene.on_conflict != OnConflict::Overwrite && !folder {
                let mut bases = scene.bases.iter().filter_map(|base| base.get(&path));
                let same = |base: &Node| {
                    let (base, now) = (NodeInfo::from(base), NodeInfo::from(now.unwrap()));
                    (base.kind, base.hash, base.target) == (now.kind, now.hash, now.target)
                };
                prop_assert!(bases.any(same), "{path} was changed");
            }
            let only_for_others = plan.action == Action::Create
                || matches!(plan.action, Action::Conflict(_));
            prop_assert!(only_for_others || !scene.unselected.contains(&path), "{path}");
        }
        prop_assert_eq!(again, totals);

        let disk = apply(&plans, &scene);
        let of = |path: &str| plans.iter().find(|plan| plan.path == path.as_bytes());
        for (path, node) in &scene.now {
            // Whatever was there and is not handed out is where it was.
            let touched = of(path).is_some_and(|plan| {
                !matches!(plan.action, Action::Keep(_) | Action::Conflict(_) | Action::Merge)
            });
            prop_assert!(touched || disk.get(path) == Some(node), "{path}");
        }
        for (path, node) in &scene.wanted {
            // And whatever the checkpoint has is there, or it was said why not.
            let blocked = plans.iter().any(|plan| {
                let why = matches!(plan.action, Action::Keep(_) | Action::Conflict(_) | Action::Merge);
                why && (plan.path == path.as_bytes() || within(path, &text(&plan.path)))
            });
            // A file is left alone, or a folder is not needed.
            let unselected = scene.unselected.contains(path)
                || scene.unselected.iter().any(|one| within(path, one) && !disk.contains_key(path));
            let stored = !matches!(node, Node::Withheld { .. } | Node::Skipped { .. });
            let there = disk.get(path).map(untimed) == Some(untimed(node));
            prop_assert!(there || blocked || unselected || !stored, "{path}");
        }
    }

    #[test]
    fn overwriting_gives_the_checkpoint_and_what_is_kept(scene in scene()) {
        let scene = scene.on(OnConflict::Overwrite).without(&[]);
        let (plans, totals) = scene.run(&Memory::default());
        prop_assume!(totals.conflict == 0);
        let kept: BTreeSet<String> = plans
            .iter()
            .filter(|plan| matches!(plan.action, Action::Keep(_)))
            .map(|plan| text(&plan.path))
            .collect();
        let stays = |path: &String| {
            kept.contains(path) || kept.iter().any(|one| within(path, one) && !scene.wanted.contains_key(path))
        };
        let mut expected: BTreeMap<String, NodeInfo> = BTreeMap::new();
        for (path, node) in &scene.wanted {
            let stored = !matches!(node, Node::Withheld { .. } | Node::Skipped { .. });
            if stored && !kept.contains(path) {
                expected.insert(path.clone(), untimed(node));
            }
        }
        let gone: BTreeSet<&[u8]> = plans
            .iter()
            .filter(|plan| plan.action == Action::Delete)
            .map(|plan| plan.path.as_slice())
            .collect();
        for (path, node) in &scene.now {
            let same = scene.wanted.get(path).is_some_and(|one| untimed(one) == untimed(node));
            if same || stays(path) && !gone.contains(path.as_bytes()) {
                expected.insert(path.clone(), untimed(node));
            }
        }
        let found: BTreeMap<_, _> = apply(&plans, &scene)
            .iter()
            .map(|(path, node)| (path.clone(), untimed(node)))
            .collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn what_is_the_same_needs_nothing(scene in scene()) {
        let scene = Scene { now: scene.wanted.clone(), ..scene };
        prop_assert_eq!(scene.lines(), [""; 0]);
    }

    #[test]
    fn overlays_against_plain_maps(over in snapshot(), under in snapshot()) {
        let memory = Memory::default();
        let mut expected = over.clone();
        for (path, node) in &under {
            let hidden = path.match_indices('/').any(|(at, _)| {
                over.get(&path[..at]).is_some_and(|node| !matches!(node, Node::Directory { .. }))
            });
            if !hidden {
                expected.entry(path.clone()).or_insert(node.clone());
            }
        }
        let (over, under) = (memory.store(&over, ""), memory.store(&under, ""));
        let made = overlay(&memory, Some(&over), Some(&under), &mut |tree| Ok(memory.put(tree)));
        let mut found = Plain::new();
        memory.load(&made.unwrap().unwrap(), "", &mut found);
        prop_assert_eq!(found, expected);
    }
}
