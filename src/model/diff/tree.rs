//! Differences of two snapshots, path by path.
//!
//! Folders are read only where they differ: what has the same name (content hash) is the same, and
//! everything below it too.
//!
//! What is reported is what is known. Something that could not be captured on one side is reported
//! as `unknown`, never as removed or changed. Something that could not be captured on both sides,
//! for the same reason and with the same size, is not reported: nothing is known to differ, and
//! nothing is known to be the same.
//!
//! *Limits*: the folders on the way to the current path are held in memory, both sides. The number
//! of paths is not bounded here; whoever takes the changes can stop by giving an error.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::vec::IntoIter;

use crate::error::Result;
use crate::model::diff::ChangeKind;
use crate::model::object::ObjectId;
use crate::model::snapshot::{Node, SkipReason, Tree, TreeEntry};

/// Gives folders by name.
pub trait Trees {
    /// Reads a folder.
    fn tree(&self, id: &ObjectId) -> Result<Tree>;
}

/// Whether a file that differs in nothing but its time is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Times {
    /// It is not.
    #[default]
    Ignored,
    /// It is.
    Reported,
}

/// A path where two snapshots differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// The path inside the snapshot; names joined by `/`, without one at either end.
    pub path: Vec<u8>,
    /// What differs, if both sides have the path; nothing if only one has.
    pub differs: Differs,
    /// What was there before; `None` if nothing was.
    pub before: Option<NodeInfo>,
    /// What is there after; `None` if nothing is.
    pub after: Option<NodeInfo>,
}

/// What differs between two things at the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "any of them can hold together with any other"
)]
pub struct Differs {
    /// What it is: a file became a folder, say, or a secret that is no longer stored. The bits, the
    /// time and the content are then compared only between a stored and a withheld file.
    pub kind: bool,
    /// The bytes of a file, stored or withheld.
    pub content: bool,
    /// The permission bits.
    pub mode: bool,
    /// When the content changed last. Set whenever times differ; alone only for [`Times::Reported`].
    pub time: bool,
    /// Where a symbolic link leads.
    pub target: bool,
    /// One side could not be captured, or neither could for different reasons: whether the content
    /// differs can't be said. The paths in a folder that could not be captured are not reported.
    pub unknown: bool,
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// What it is.
    pub kind: NodeKind,
    /// Its permission bits; `None` for a symbolic link and for what was skipped.
    pub mode: Option<u32>,
    /// When its content changed last, in nanoseconds since 1970; files only.
    pub modified_ns: Option<i64>,
    /// Its size in bytes; files, and as far as known what was skipped.
    pub size: Option<u64>,
    /// The hash of its whole content; files only, stored or withheld.
    pub hash: Option<ObjectId>,
    /// The chunk list to read a large file by; without one the object named by `hash` is the content.
    pub chunks: Option<ObjectId>,
    /// Where a symbolic link leads.
    pub target: Option<Vec<u8>>,
}

/// What can stand at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// A regular file with its content.
    File,
    /// A symbolic link.
    Symlink,
    /// A folder.
    Directory,
    /// A file whose content is not stored on purpose: a secret.
    Withheld,
    /// Something that could not be captured, and why.
    Skipped(SkipReason),
}

impl NodeKind {
    /// The stable name: `file`, `symlink`, `directory`, `withheld`, `skipped`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Symlink => "symlink",
            Self::Directory => "directory",
            Self::Withheld => "withheld",
            Self::Skipped(_) => "skipped",
        }
    }

    /// True if something was there that could not be read, so that nothing is known of it.
    const fn is_unknown(self) -> bool {
        match self {
            // What is no file, folder or link has no content that could be known.
            Self::Skipped(reason) => !matches!(reason, SkipReason::NotRegular),
            _ => false,
        }
    }
}

impl FileChange {
    /// What happened to the path.
    #[must_use]
    pub fn kind(&self) -> ChangeKind {
        ChangeKind::of(self.before.as_ref(), self.after.as_ref())
    }
}

impl Differs {
    /// True if anything differs.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }

    /// True if nothing but the time differs.
    #[must_use]
    pub fn only_time(self) -> bool {
        let time = Self {
            time: true,
            ..Self::default()
        };
        self == time
    }

    /// Compares two things at the same path; of folders only what they are themselves.
    #[must_use]
    pub fn of(before: &NodeInfo, after: &NodeInfo) -> Self {
        if before.kind.is_unknown() || after.kind.is_unknown() {
            return Self {
                unknown: before.kind != after.kind || before.size != after.size,
                ..Self::default()
            };
        }
        let kind = before.kind != after.kind;
        let files = before.hash.is_some() && after.hash.is_some();
        Self {
            kind,
            content: files && (before.hash != after.hash || before.size != after.size),
            // The bits of a file and those of a folder mean different things.
            mode: (files || !kind) && before.mode != after.mode,
            time: files && before.modified_ns != after.modified_ns,
            target: !kind && before.target != after.target,
            unknown: false,
        }
    }
}

impl From<&Node> for NodeInfo {
    fn from(node: &Node) -> Self {
        let bare = |kind| Self {
            kind,
            mode: None,
            modified_ns: None,
            size: None,
            hash: None,
            chunks: None,
            target: None,
        };
        match node {
            Node::File(file) => Self {
                mode: Some(file.mode),
                modified_ns: Some(file.modified_ns),
                size: Some(file.size),
                hash: Some(file.hash),
                chunks: file.chunks,
                ..bare(NodeKind::File)
            },
            Node::Symlink { target } => Self {
                target: Some(target.clone()),
                ..bare(NodeKind::Symlink)
            },
            Node::Directory { mode, .. } => Self {
                mode: Some(*mode),
                ..bare(NodeKind::Directory)
            },
            Node::Withheld {
                mode,
                modified_ns,
                size,
                hash,
            } => Self {
                mode: Some(*mode),
                modified_ns: Some(*modified_ns),
                size: Some(*size),
                hash: Some(*hash),
                ..bare(NodeKind::Withheld)
            },
            Node::Skipped { reason, size } => Self {
                size: Some(*size),
                ..bare(NodeKind::Skipped(*reason))
            },
        }
    }
}

/// Compares two snapshots, given by their outermost folders; `None` is a snapshot of nothing.
///
/// Hands every path that differs to `take`, a folder before what is in it, names in the order of
/// their bytes. A folder that was added or removed is reported with everything in it. So is a folder
/// that took the place of something else, or gave way to it: one change of its kind, then its
/// contents. An error of `take` ends the comparison.
pub fn trees(
    source: &dyn Trees,
    before: Option<&ObjectId>,
    after: Option<&ObjectId>,
    times: Times,
    take: &mut dyn FnMut(FileChange) -> Result<()>,
) -> Result<()> {
    let mut path = Vec::new();
    let mut stack = Vec::new();
    if before != after {
        stack.push(Level::open(source, 0, before, after)?);
    }
    while let Some(level) = stack.last_mut() {
        path.truncate(level.path);
        let Some((before, after)) = level.next() else {
            stack.pop();
            continue;
        };
        let Some(entry) = before.as_ref().or(after.as_ref()) else {
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&entry.name);
        let (before, after) = (before.map(|one| one.node), after.map(|one| one.node));
        let change = FileChange::at(&path, before.as_ref(), after.as_ref());
        let unknown = change.differs.unknown;
        let reported = change.kind() != ChangeKind::Changed
            || change.differs.any() && (times == Times::Reported || !change.differs.only_time());
        if reported {
            take(change)?;
        }
        let (before, after) = (folder(before.as_ref()), folder(after.as_ref()));
        // Of a folder that one side could not read nothing is known to be added or removed.
        if before != after && !unknown {
            stack.push(Level::open(source, path.len(), before, after)?);
        }
    }
    Ok(())
}

fn folder(node: Option<&Node>) -> Option<&ObjectId> {
    match node {
        Some(Node::Directory { tree, .. }) => Some(tree),
        _ => None,
    }
}

impl FileChange {
    fn at(path: &[u8], before: Option<&Node>, after: Option<&Node>) -> Self {
        let (before, after) = (before.map(NodeInfo::from), after.map(NodeInfo::from));
        Self {
            path: path.to_vec(),
            differs: match (&before, &after) {
                (Some(before), Some(after)) => Differs::of(before, after),
                _ => Differs::default(),
            },
            before,
            after,
        }
    }
}

/// A folder that is being compared, with the entries still to be looked at.
struct Level {
    /// The length of its own path.
    path: usize,
    before: Peekable<IntoIter<TreeEntry>>,
    after: Peekable<IntoIter<TreeEntry>>,
}

impl Level {
    fn open(
        source: &dyn Trees,
        path: usize,
        before: Option<&ObjectId>,
        after: Option<&ObjectId>,
    ) -> Result<Self> {
        let entries = |id: Option<&ObjectId>| -> Result<_> {
            let tree = id.map(|id| source.tree(id)).transpose()?;
            Ok(tree.unwrap_or_default().entries.into_iter().peekable())
        };
        Ok(Self {
            path,
            before: entries(before)?,
            after: entries(after)?,
        })
    }

    /// The next name, with what each side has of it.
    fn next(&mut self) -> Option<(Option<TreeEntry>, Option<TreeEntry>)> {
        let order = match (self.before.peek(), self.after.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => before.name.cmp(&after.name),
        };
        Some(match order {
            Ordering::Less => (self.before.next(), None),
            Ordering::Greater => (None, self.after.next()),
            Ordering::Equal => (self.before.next(), self.after.next()),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by it")]
mod tests {
    use std::cell::RefCell;
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;

    use super::*;
    use crate::error::Error;
    use crate::model::snapshot::File;

    /// Folders in memory, with a list of those that were read.
    #[derive(Default)]
    struct Memory {
        trees: HashMap<ObjectId, Tree>,
        read: RefCell<Vec<ObjectId>>,
    }

    impl Trees for Memory {
        fn tree(&self, id: &ObjectId) -> Result<Tree> {
            self.read.borrow_mut().push(*id);
            self.trees.get(id).cloned().ok_or(Error::Aborted)
        }
    }

    impl Memory {
        fn put(&mut self, entries: Vec<(&str, Node)>) -> ObjectId {
            let entries = entries
                .into_iter()
                .map(|(name, node)| TreeEntry {
                    name: name.as_bytes().to_vec(),
                    node,
                })
                .collect();
            let tree = Tree { entries };
            assert_eq!(Tree::decode(&tree.encode()), Some(tree.clone()));
            let id = ObjectId::of(&tree.encode());
            self.trees.insert(id, tree);
            id
        }

        fn folder(&mut self, entries: Vec<(&str, Node)>) -> Node {
            Node::Directory {
                mode: 0o755,
                tree: self.put(entries),
            }
        }

        fn changes(
            &self,
            before: Option<&ObjectId>,
            after: Option<&ObjectId>,
            times: Times,
        ) -> Vec<FileChange> {
            let mut changes = Vec::new();
            trees(self, before, after, times, &mut |change| {
                changes.push(change);
                Ok(())
            })
            .unwrap();
            changes
        }

        /// One line per change: its kind, its path, what differs, what it was and is.
        fn diff(&self, before: &ObjectId, after: &ObjectId) -> Vec<String> {
            self.changes(Some(before), Some(after), Times::Reported)
                .iter()
                .map(line)
                .collect()
        }
    }

    fn line(change: &FileChange) -> String {
        let Differs {
            kind,
            content,
            mode,
            time,
            target,
            unknown,
        } = change.differs;
        let mut line = change.kind().name().to_owned() + " ";
        line += std::str::from_utf8(&change.path).unwrap();
        for (name, set) in [
            ("kind", kind),
            ("content", content),
            ("mode", mode),
            ("time", time),
            ("target", target),
            ("unknown", unknown),
        ] {
            if set {
                line = line + " " + name;
            }
        }
        for side in [&change.before, &change.after].into_iter().flatten() {
            line = line + " " + side.kind.name();
        }
        line
    }

    fn file(content: &str) -> Node {
        made(content, 0o644, 0)
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

    fn withheld(content: &str) -> Node {
        Node::Withheld {
            mode: 0o644,
            modified_ns: 0,
            size: content.len() as u64,
            hash: ObjectId::of(content.as_bytes()),
        }
    }

    fn link(target: &str) -> Node {
        Node::Symlink {
            target: target.as_bytes().to_vec(),
        }
    }

    fn skipped(reason: SkipReason) -> Node {
        Node::Skipped { reason, size: 7 }
    }

    #[test]
    fn files_that_differ_in_one_or_more_ways() {
        let mut memory = Memory::default();
        let before = memory.put(vec![
            ("content", file("a")),
            ("gone", file("a")),
            ("link", link("x")),
            ("mode", file("a")),
            ("more", file("a")),
            ("same", file("a")),
            ("secret", withheld("a")),
            ("time", file("a")),
        ]);
        let after = memory.put(vec![
            ("content", file("b")),
            ("link", link("y")),
            ("mode", made("a", 0o600, 0)),
            ("more", made("b", 0o600, 1)),
            ("new", file("a")),
            ("same", file("a")),
            ("secret", withheld("b")),
            ("time", made("a", 0o644, 1)),
        ]);
        let mut expected = vec![
            "changed content content file file",
            "removed gone file",
            "changed link target symlink symlink",
            "changed mode mode file file",
            "changed more content mode time file file",
            "added new file",
            "changed secret content withheld withheld",
            "changed time time file file",
        ];
        assert_eq!(memory.diff(&before, &after), expected);
        let quiet = memory.changes(Some(&before), Some(&after), Times::Ignored);
        expected.pop();
        assert_eq!(quiet.iter().map(line).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn another_division_into_chunks_is_no_change() {
        let mut memory = Memory::default();
        let Node::File(mut chunked) = file("a") else {
            panic!("a file")
        };
        chunked.chunks = Some(ObjectId::of(b"list"));
        let before = memory.put(vec![("a", file("a"))]);
        let after = memory.put(vec![("a", Node::File(chunked))]);
        assert_eq!(memory.diff(&before, &after), [""; 0]);
    }

    #[test]
    fn folders_come_with_what_is_in_them() {
        let mut memory = Memory::default();
        let inner = memory.folder(vec![("y", file("a"))]);
        let folder = memory.folder(vec![("b", inner), ("c", file("a"))]);
        let full = memory.put(vec![("a", folder), ("a.txt", file("a"))]);
        let empty = memory.put(vec![]);
        assert_eq!(
            memory.diff(&empty, &full),
            [
                "added a directory",
                "added a/b directory",
                "added a/b/y file",
                "added a/c file",
                "added a.txt file",
            ]
        );
        let removed = memory.diff(&full, &empty);
        assert_eq!(removed[2], "removed a/b/y file");
        assert_eq!(removed.len(), 5);
        let added = memory.changes(None, Some(&full), Times::Ignored);
        assert_eq!(added.len(), 5);
        assert_eq!(memory.changes(Some(&full), None, Times::Ignored).len(), 5);
        assert_eq!(memory.changes(None, None, Times::Ignored), []);
    }

    #[test]
    fn a_file_that_became_a_folder_and_back() {
        let mut memory = Memory::default();
        let folder = memory.folder(vec![("x", file("a"))]);
        let before = memory.put(vec![("a", file("a")), ("b", file("b"))]);
        let after = memory.put(vec![("a", folder), ("b", withheld("b"))]);
        assert_eq!(
            memory.diff(&before, &after),
            [
                "changed a kind file directory",
                "added a/x file",
                "changed b kind file withheld",
            ]
        );
        assert_eq!(
            memory.diff(&after, &before)[..2],
            ["changed a kind directory file", "removed a/x file"]
        );
    }

    #[test]
    fn what_could_not_be_captured_is_unknown() {
        let mut memory = Memory::default();
        let folder = memory.folder(vec![("x", file("a"))]);
        let before = memory.put(vec![
            ("file", file("a")),
            ("folder", folder),
            ("large", skipped(SkipReason::TooLarge)),
            ("pipe", skipped(SkipReason::NotRegular)),
            ("same", skipped(SkipReason::Unreadable)),
            ("socket", file("a")),
            ("why", skipped(SkipReason::TooLarge)),
        ]);
        let after = memory.put(vec![
            ("file", skipped(SkipReason::Changing)),
            ("folder", skipped(SkipReason::Unreadable)),
            (
                "large",
                Node::Skipped {
                    reason: SkipReason::TooLarge,
                    size: 8,
                },
            ),
            (
                "pipe",
                Node::Skipped {
                    reason: SkipReason::NotRegular,
                    size: 8,
                },
            ),
            ("same", skipped(SkipReason::Unreadable)),
            ("socket", skipped(SkipReason::NotRegular)),
            ("why", skipped(SkipReason::Unreadable)),
        ]);
        let expected = [
            "changed file unknown file skipped",
            // Nothing of what is in it.
            "changed folder unknown directory skipped",
            "changed large unknown skipped skipped",
            "changed socket kind file skipped",
            "changed why unknown skipped skipped",
        ];
        assert_eq!(memory.diff(&before, &after), expected);
        assert_eq!(memory.diff(&after, &before).len(), expected.len());
    }

    #[test]
    fn what_has_the_same_name_is_not_read() {
        let mut memory = Memory::default();
        let same = memory.folder(vec![("x", file("a"))]);
        let mode = |node: &Node, mode| match node {
            Node::Directory { tree, .. } => Node::Directory { mode, tree: *tree },
            other => other.clone(),
        };
        let before = memory.put(vec![("a", same.clone()), ("b", same.clone())]);
        let after = memory.put(vec![("a", mode(&same, 0o700)), ("b", same)]);
        assert_eq!(memory.diff(&before, &before), [""; 0]);
        assert_eq!(*memory.read.borrow(), []);
        assert_eq!(
            memory.diff(&before, &after),
            ["changed a mode directory directory"]
        );
        assert_eq!(*memory.read.borrow(), [before, after]);
    }

    #[test]
    fn errors_end_it() {
        let mut memory = Memory::default();
        let lost = Node::Directory {
            mode: 0,
            tree: ObjectId::of(b"lost"),
        };
        let root = memory.put(vec![("a", file("a")), ("b", lost), ("c", file("c"))]);
        let mut seen = 0;
        let result = trees(&memory, None, Some(&root), Times::Ignored, &mut |_| {
            seen += 1;
            Ok(())
        });
        assert!(matches!(result, Err(Error::Aborted)));
        assert_eq!(seen, 2);
        let refuse = &mut |_| Err(Error::Aborted);
        let result = trees(&memory, None, Some(&root), Times::Ignored, refuse);
        assert!(matches!(result, Err(Error::Aborted)));
        assert_eq!(memory.read.borrow().last(), Some(&root));
    }

    #[test]
    fn depth_costs_no_stack() {
        let mut memory = Memory::default();
        let (mut before, mut after) = (file("a"), file("b"));
        for _ in 0..5_000 {
            before = memory.folder(vec![("d", before)]);
            after = memory.folder(vec![("d", after)]);
        }
        let (before, after) = (
            memory.put(vec![("d", before)]),
            memory.put(vec![("d", after)]),
        );
        let changes = memory.changes(Some(&before), Some(&after), Times::Ignored);
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].path.len(), 10_001);
    }

    /// A snapshot as a plain map, a folder without its contents.
    type Plain = BTreeMap<Vec<String>, Node>;

    fn node() -> impl Strategy<Value = Node> {
        let reason = prop_oneof![
            Just(SkipReason::NotRegular),
            Just(SkipReason::Unreadable),
            Just(SkipReason::Changing),
        ];
        prop_oneof![
            4 => ("[ab]?", prop_oneof![Just(0o644), Just(0o600)], 0..2_i64)
                .prop_map(|(content, mode, time)| made(&content, mode, time)),
            4 => prop_oneof![Just(0o755), Just(0o700)].prop_map(|mode| Node::Directory {
                mode,
                tree: ObjectId::of(b""),
            }),
            1 => "[xy]".prop_map(|target| link(&target)),
            1 => "[ab]".prop_map(|content| withheld(&content)),
            1 => (reason, 0..2_u64).prop_map(|(reason, size)| Node::Skipped {
                reason,
                // Sizes of pipes and devices mean nothing and are not compared.
                size: if reason == SkipReason::NotRegular { 0 } else { size },
            }),
        ]
    }

    /// Paths without those whose folder is none.
    fn snapshot() -> impl Strategy<Value = Plain> {
        let path = prop::collection::vec("[ab][.0]?", 1..4);
        prop::collection::btree_map(path, node(), 0..30).prop_map(|drawn| {
            let mut plain = Plain::new();
            for (path, node) in drawn {
                let parents = 1..path.len();
                let inside = |end| matches!(plain.get(&path[..end]), Some(Node::Directory { .. }));
                if parents.into_iter().all(inside) {
                    plain.insert(path, node);
                }
            }
            plain
        })
    }

    fn store(memory: &mut Memory, plain: &Plain, at: &[String]) -> ObjectId {
        let names = plain
            .iter()
            .filter(|(path, _)| path.len() == at.len() + 1 && path.starts_with(at));
        let mut entries = Vec::new();
        for (path, node) in names {
            let node = match node {
                Node::Directory { mode, .. } => Node::Directory {
                    mode: *mode,
                    tree: store(memory, plain, path),
                },
                other => other.clone(),
            };
            entries.push((path[at.len()].as_str(), node));
        }
        memory.put(entries)
    }

    proptest! {
        #[test]
        fn random_snapshots_against_plain_maps(before in snapshot(), after in snapshot()) {
            let unread = |plain: &Plain, path: &[String]| match plain.get(path) {
                Some(Node::Skipped { reason, .. }) => *reason != SkipReason::NotRegular,
                _ => false,
            };
            let mut expected = Vec::new();
            let mut paths: Vec<_> = before.keys().chain(after.keys()).collect();
            paths.sort();
            paths.dedup();
            for path in paths {
                let hidden = (1..path.len())
                    .any(|end| unread(&before, &path[..end]) || unread(&after, &path[..end]));
                let (one, other) = (before.get(path), after.get(path));
                if one != other && !hidden {
                    expected.push((path.join("/").into_bytes(), one.cloned(), other.cloned()));
                }
            }
            let mut memory = Memory::default();
            let (one, other) = (store(&mut memory, &before, &[]), store(&mut memory, &after, &[]));
            let changes = memory.changes(Some(&one), Some(&other), Times::Reported);
            let found: Vec<_> = changes.iter().map(|c| (&c.path, &c.before, &c.after)).collect();
            let infos: Vec<_> = expected
                .iter()
                .map(|(path, one, other)| (path, one.as_ref().map(NodeInfo::from), other.as_ref().map(NodeInfo::from)))
                .collect();
            let infos: Vec<_> = infos.iter().map(|(path, one, other)| (*path, one, other)).collect();
            prop_assert_eq!(found, infos);
            for change in &changes {
                prop_assert_eq!(change.differs.any(), change.kind() == ChangeKind::Changed);
            }
            let quiet = memory.changes(Some(&one), Some(&other), Times::Ignored);
            let loud = changes.into_iter().filter(|change| !change.differs.only_time());
            prop_assert_eq!(quiet, loud.collect::<Vec<_>>());
        }
    }
}
