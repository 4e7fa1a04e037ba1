//! What a manifest keeps in the store: large state, and captured files.

use serde::{Deserialize, Serialize};

use crate::model::json::{Tree, Value};
use crate::model::object::ObjectId;

/// The members that may lie in the store; in the file they are `null`.
pub const STATE_MEMBERS: [&str; 4] = ["run_record", "artifact_registry", "step_state", "run_files"];

/// A member that lies in the store: its JSON text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateObject {
    /// The member's name.
    pub member: String,
    /// The text, or the list of its chunks.
    pub object: ObjectId,
    /// True if `object` is a list of chunks.
    pub chunked: bool,
    /// The text's length in bytes.
    pub bytes: u64,
}

/// The captured files of a checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The captured folders.
    pub roots: Vec<SnapshotRoot>,
    /// How many files have their content stored.
    pub files: u64,
    /// The sizes of these and of the withheld ones together, in bytes.
    pub bytes: u64,
    /// How many bytes were added to the store for them, and for large state.
    pub added_bytes: u64,
    /// How many files are recorded without their content, because they hold secrets.
    pub withheld: u64,
    /// What could not be captured; the checkpoint is partial if there is any.
    pub problems: Vec<Problem>,
    /// How many there are, also of those that are not listed here.
    pub problems_total: u64,
    /// Artifacts of the registry that were not there.
    pub missing: Vec<String>,
}

/// A captured folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRoot {
    /// `run`, `artifacts` or `workspace`.
    pub name: String,
    /// Where it lay: relative to the project where it lies in it, else absolute.
    pub path: String,
    /// Its entries.
    pub tree: ObjectId,
    /// Its own permission bits (`0o7777`); `None` in checkpoints that don't tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// Something that could not be captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The root it lies in.
    pub root: String,
    /// Its path below that root; U+FFFD for what is not UTF-8.
    pub path: String,
    /// Why: `not_regular`, `unreadable`, `too_large`, `changing`.
    pub reason: String,
    /// Its size in bytes, as far as known.
    pub size: u64,
}

/// So many problems are listed in a manifest; all of them stand in the snapshot's folders.
pub const PROBLEMS_MAX: usize = 100;

impl Snapshot {
    /// True if something could not be captured.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.problems_total > 0
    }

    pub(super) fn to_tree(&self) -> Tree<'_> {
        let text = |text: &'_ str| Tree::from(text.to_owned());
        let roots = self.roots.iter().map(|root| {
            let mode = root.mode.map(|mode| ("mode", Tree::count(mode.into())));
            let named = [
                ("name", text(&root.name)),
                ("path", text(&root.path)),
                ("tree", text(&root.tree.to_string())),
            ];
            Tree::object(named.into_iter().chain(mode))
        });
        let problems = self.problems.iter().map(|problem| {
            Tree::object([
                ("root", text(&problem.root)),
                ("path", text(&problem.path)),
                ("reason", text(&problem.reason)),
                ("size", Tree::count(problem.size)),
            ])
        });
        Tree::object([
            ("roots", Tree::Array(roots.collect())),
            ("files", Tree::count(self.files)),
            ("bytes", Tree::count(self.bytes)),
            ("added_bytes", Tree::count(self.added_bytes)),
            ("withheld", Tree::count(self.withheld)),
            ("partial", Tree::Bool(self.is_partial())),
            ("problems", Tree::Array(problems.collect())),
            ("problems_total", Tree::count(self.problems_total)),
            (
                "missing",
                Tree::Array(self.missing.iter().map(|path| text(path)).collect()),
            ),
        ])
    }

    /// Reads what a manifest has; `None` if it can't be understood.
    pub(super) fn read(value: Value<'_>) -> Option<Self> {
        let text = |value: Value<'_>, name| Some(value.get(name)?.as_str()?.into_owned());
        let count = |value: Value<'_>, name| {
            value
                .get(name)
                .and_then(Value::as_f64)
                .map_or(0, super::reading::size_of)
        };
        let roots = value.get("roots")?.items().map(|root| {
            Some(SnapshotRoot {
                name: text(root, "name")?,
                path: text(root, "path")?,
                tree: ObjectId::parse(&text(root, "tree")?)?,
                mode: root
                    .get("mode")
                    .and_then(Value::as_f64)
                    .and_then(|mode| u32::try_from(super::reading::size_of(mode)).ok()),
            })
        });
        let problems = value.get("problems")?.items().map(|problem| {
            Some(Problem {
                root: text(problem, "root")?,
                path: text(problem, "path")?,
                reason: text(problem, "reason")?,
                size: count(problem, "size"),
            })
        });
        let missing = value.get("missing")?.items();
        Some(Self {
            roots: roots.collect::<Option<_>>()?,
            files: count(value, "files"),
            bytes: count(value, "bytes"),
            added_bytes: count(value, "added_bytes"),
            withheld: count(value, "withheld"),
            problems: problems.collect::<Option<_>>()?,
            problems_total: count(value, "problems_total"),
            missing: missing
                .map(|path| path.as_str().map(std::borrow::Cow::into_owned))
                .collect::<Option<_>>()?,
        })
    }
}

/// `state_objects` as the manifest has it.
pub(super) fn state_objects_tree(objects: &[StateObject]) -> Tree<'_> {
    Tree::object(objects.iter().map(|one| {
        let place = Tree::object([
            ("object", Tree::from(one.object.to_string())),
            ("chunked", Tree::Bool(one.chunked)),
            ("bytes", Tree::count(one.bytes)),
        ]);
        (one.member.as_str(), place)
    }))
}

/// Reads `state_objects`; `None` if it can't be understood.
pub(super) fn read_state_objects(value: Value<'_>) -> Option<Vec<StateObject>> {
    let objects = value.entries().map(|(member, place)| {
        let member = member.as_str()?.into_owned();
        if !STATE_MEMBERS.contains(&member.as_str()) {
            return None;
        }
        Some(StateObject {
            member,
            object: ObjectId::parse(&place.get("object")?.as_str()?)?,
            chunked: place.get("chunked")?.as_bool()?,
            bytes: super::reading::size_of(place.get("bytes")?.as_f64()?),
        })
    });
    objects.collect()
}
