//! The runner's `artifact-registry.json`: what a checkpoint needs of it, and how checkpoints are
//! entered in it. Everything that is not a checkpoint's entry stays as it is, in order.

mod outline;

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::model::ids::{CheckpointId, RunId};
use crate::model::json::{Key, Kind, Tree, Value};
use crate::model::step::Step;

pub use outline::{Elided, Outline, leads_into};

/// The agent under which checkpoints are registered.
pub const AGENT: &str = "checkpoint-manager";

/// A registry that was parsed and has a shape we know.
#[derive(Debug, Clone, Copy)]
pub struct Registry<'a> {
    root: Value<'a>,
}

/// Counts by `metadata.validation_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Validation {
    /// All entries.
    pub total: u64,
    /// Entries whose status is `pass`.
    pub validated: u64,
    /// Entries whose status is `fail`.
    pub failed: u64,
}

/// What a registry holds, without the entries themselves.
#[derive(Debug, Clone, Default)]
pub struct Survey<'a> {
    /// The names of all artifacts, in order.
    pub names: Vec<Value<'a>>,
    /// The counts by validation status.
    pub validation: Validation,
    /// The ids of the checkpoints that are entered.
    pub checkpoint_ids: Vec<String>,
}

/// A piece of a registry's edited text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A range of the text before; it may be empty.
    Kept(Range<usize>),
    /// New text.
    New(Vec<u8>),
}

impl Piece {
    /// The whole text, of the text before and its pieces. A range that is not in it gives nothing.
    #[must_use]
    pub fn whole(pieces: &[Self], before: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(before.len());
        for piece in pieces {
            text.extend_from_slice(match piece {
                Self::Kept(range) => before.get(range.clone()).unwrap_or_default(),
                Self::New(new) => new,
            });
        }
        text
    }
}

/// A checkpoint's own entry.
#[derive(Debug, Clone)]
pub struct CheckpointEntry {
    /// The checkpoint.
    pub checkpoint_id: CheckpointId,
    /// Its step.
    pub step: Step,
    /// When it was created, ISO 8601.
    pub created_at: String,
    /// The manifest's absolute path.
    pub path: String,
    /// The manifest's size in bytes.
    pub size: u64,
}

impl std::ops::AddAssign for Validation {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.validated += other.validated;
        self.failed += other.failed;
    }
}

impl Validation {
    fn count(&mut self, entry: Value<'_>) {
        self.total += 1;
        let metadata = entry.get("metadata");
        match metadata.and_then(|data| data.get("validation_status")) {
            Some(status) if status.is("pass") => self.validated += 1,
            Some(status) if status.is("fail") => self.failed += 1,
            _ => {}
        }
    }
}

impl<'a> Registry<'a> {
    /// Takes a parsed registry, or says why it can't be one.
    pub fn new(root: Value<'a>) -> Result<Self, String> {
        if !root.is_object() {
            return Err("it is not a JSON object".to_owned());
        }
        match root.get("artifacts").map(Value::kind) {
            None | Some(Kind::Object | Kind::Array | Kind::Null) => Ok(Self { root }),
            Some(_) => Err("its artifacts are neither an object nor an array".to_owned()),
        }
    }

    /// The whole registry.
    #[must_use]
    pub fn value(self) -> Value<'a> {
        self.root
    }

    /// The entry of each artifact.
    pub fn entries(self) -> impl Iterator<Item = Value<'a>> {
        let artifacts = self.root.get("artifacts");
        let listed = artifacts.into_iter().flat_map(Value::items);
        let mapped = artifacts.into_iter().flat_map(Value::entries);
        listed.chain(mapped.map(|(_, entry)| entry))
    }

    /// The `path` of each artifact that has one.
    pub fn paths(self) -> impl Iterator<Item = Value<'a>> {
        self.entries().filter_map(|entry| entry.get("path"))
    }

    /// Reads what a checkpoint needs to know, in one pass.
    #[must_use]
    pub fn survey(self) -> Survey<'a> {
        let mut survey = Survey::default();
        let artifacts = self.root.get("artifacts");
        let of_list = artifacts.filter(|list| list.kind() == Kind::Array);
        let listed = of_list
            .into_iter()
            .flat_map(Value::items)
            .map(|it| (it.get("name"), it));
        let mapped = artifacts
            .into_iter()
            .flat_map(Value::entries)
            .map(|(name, it)| (Some(name), it));
        for (name, entry) in listed.chain(mapped) {
            survey.validation.count(entry);
            survey
                .checkpoint_ids
                .extend(checkpoint_of(name, entry).map(Cow::into_owned));
            survey.names.extend(name);
        }
        survey
    }

    /// The registry without the entries of checkpoints for which `gone` holds, with the given
    /// entries added (or put in the place of an entry of the same name). A time sets `updated_at`.
    /// The optional `artifacts_list` is kept in step.
    #[must_use]
    pub fn edited(
        self,
        gone: &dyn Fn(&str) -> bool,
        added: &'a [CheckpointEntry],
        updated_at: Option<&'a str>,
    ) -> Tree<'a> {
        let mut members = Tree::members(self.root);
        if !members.iter().any(|(key, _)| key.is("artifacts")) {
            members.push(("artifacts".into(), Tree::Null));
        }
        for (key, tree) in &mut members {
            if key.is("artifacts") {
                *tree = match tree {
                    Tree::Value(list) if list.kind() == Kind::Array => {
                        Tree::Array(edit_list(*list, gone, added))
                    }
                    Tree::Value(map) => Tree::Object(edit_map(Some(*map), gone, added)),
                    _ => Tree::Object(edit_map(None, gone, added)),
                };
            } else if key.is("artifacts_list") {
                if let Tree::Value(list) = tree
                    && list.kind() == Kind::Array
                {
                    *tree = Tree::Array(edit_list(*list, gone, added));
                }
            } else if key.is("updated_at")
                && let Some(updated_at) = updated_at
            {
                *tree = Tree::from(updated_at);
            }
        }
        if let Some(updated_at) = updated_at
            && !members.iter().any(|(key, _)| key.is("updated_at"))
        {
            members.push(("updated_at".into(), Tree::from(updated_at)));
        }
        Tree::Object(members)
    }
}

impl<'a> Registry<'a> {
    /// The registry of another run that begins with what this one has: under its own id, with the paths that
    /// `moved` gives, and without the entries of checkpoints. The other paths stay as they are.
    #[must_use]
    pub fn forked(
        self,
        run_id: &'a RunId,
        moved: &dyn Fn(&str) -> Option<String>,
        updated_at: &'a str,
    ) -> Tree<'a> {
        let mut tree = self.edited(&|_| true, &[], Some(updated_at));
        let Tree::Object(members) = &mut tree else {
            return tree;
        };
        for (key, tree) in members {
            match tree {
                tree if key.is("run_id") => *tree = Tree::from(run_id.as_str()),
                Tree::Object(entries) if key.is("artifacts") => {
                    for (_, entry) in entries {
                        set_path(entry, moved);
                    }
                }
                Tree::Array(entries) => {
                    for entry in entries {
                        set_path(entry, moved);
                    }
                }
                _ => {}
            }
        }
        tree
    }

    /// The text of [`Registry::edited`], as the runner lays it out, in pieces of the text before. A
    /// registry that is laid out so already, as runners write it, is copied but for the entries that
    /// change.
    #[must_use]
    pub fn edited_text(
        self,
        gone: &dyn Fn(&str) -> bool,
        added: &'a [CheckpointEntry],
        updated_at: &'a str,
    ) -> Vec<Piece> {
        self.spliced(gone, added, updated_at).unwrap_or_else(|| {
            vec![Piece::New(
                self.edited(gone, added, Some(updated_at)).to_pretty(),
            )]
        })
    }

    /// `None` where a copy would not do: nothing is known but keys and values here, and their places
    /// follow from the layout.
    fn spliced(
        self,
        gone: &dyn Fn(&str) -> bool,
        added: &'a [CheckpointEntry],
        updated_at: &'a str,
    ) -> Option<Vec<Piece>> {
        let text = self.root.json().verbatim()?;
        let members: Vec<(Value<'a>, Value<'a>)> = self.root.entries().collect();
        let named = |name| members.iter().position(|(key, _)| key.is(name));
        let artifacts = named("artifacts")?;
        let updated = members[named("updated_at")?].1.source_range()?;
        let map = members[artifacts].1;
        let entries: Vec<(Value<'a>, Value<'a>)> = map.entries().collect();
        if entries.is_empty() || named("artifacts_list").is_some() {
            return None;
        }
        // The map ends before the next member of the root, or with the root.
        let end = match members.get(artifacts + 1) {
            Some((key, _)) => key.source_range()?.start.checked_sub(b",\n  ".len())?,
            None => text.len().checked_sub(b"\n}".len())?,
        };
        let end = end.checked_sub(BEHIND.len())?;
        if updated.start < end {
            return None;
        }
        let new: Vec<String> = added.iter().map(CheckpointEntry::name).collect();
        if entries
            .iter()
            .any(|(name, _)| new.iter().any(|new| name.is(new)))
        {
            return None;
        }
        // The entries that stay are kept in runs, each with what stands behind it.
        let mut pieces = Vec::new();
        let mut from = 0;
        // Unless the last one goes, nothing stands between it and what is added.
        let mut ends_open = false;
        for (at, (name, entry)) in entries.iter().enumerate() {
            if !is_gone(Some(*name), *entry, gone) {
                continue;
            }
            pieces.push(Piece::Kept(from..name.source_range()?.start));
            from = if let Some((next, _)) = entries.get(at + 1) {
                next.source_range()?.start
            } else {
                ends_open = true;
                end
            };
        }
        if added.is_empty() && ends_open {
            return None;
        }
        pieces.push(Piece::Kept(from..end));
        let mut printed = Vec::new();
        for (at, entry) in added.iter().enumerate() {
            if at > 0 || !ends_open {
                printed.extend_from_slice(BETWEEN);
            }
            let member = Tree::object([(entry.name(), entry.to_json())]);
            let mut own = Vec::new();
            member.write_pretty(&mut own, 1);
            // Without the braces around it and their layout.
            printed.extend_from_slice(&own[b"{\n    ".len()..own.len() - BEHIND.len()]);
        }
        pieces.push(Piece::New(printed));
        pieces.push(Piece::Kept(end..updated.start));
        let mut printed = Vec::new();
        Tree::from(updated_at).write_compact(&mut printed);
        pieces.push(Piece::New(printed));
        pieces.push(Piece::Kept(updated.end..text.len()));
        Some(pieces)
    }
}

/// Between an artifact and the next one, as the runner lays a registry out.
const BETWEEN: &[u8] = b",\n    ";
/// Behind the last artifact, up to the brace that closes the map.
const BEHIND: &[u8] = b"\n  }";

/// A registry for a run that has none.
#[must_use]
pub fn empty(run_id: &RunId, workflow_id: Option<Value<'_>>, now: &str) -> Vec<u8> {
    Tree::object([
        ("run_id", Tree::from(run_id.as_str())),
        ("workflow_id", workflow_id.map_or(Tree::Null, Tree::Value)),
        ("artifacts", Tree::Object(Vec::new())),
        ("created_at", Tree::from(now)),
        ("updated_at", Tree::from(now)),
    ])
    .to_pretty()
}

/// The checkpoint that an entry stands for, if it is a checkpoint's own entry.
fn checkpoint_of<'a>(name: Option<Value<'a>>, entry: Value<'a>) -> Option<Cow<'a, str>> {
    // The name first: most artifacts end otherwise, and need no further look.
    let id = match name?.as_str()? {
        Cow::Borrowed(name) => Cow::Borrowed(name.strip_suffix(".json")?),
        Cow::Owned(name) => Cow::Owned(name.strip_suffix(".json")?.to_owned()),
    };
    let of_manager = || entry.get("agent").is_some_and(|agent| agent.is(AGENT));
    let of_type = || {
        let kind = entry.get("metadata").and_then(|data| data.get("type"));
        kind.is_some_and(|kind| kind.is("checkpoint"))
    };
    (of_manager() || of_type()).then_some(id)
}

fn is_gone(name: Option<Value<'_>>, entry: Value<'_>, gone: &dyn Fn(&str) -> bool) -> bool {
    checkpoint_of(name, entry).is_some_and(|id| gone(&id))
}

fn edit_map<'a>(
    map: Option<Value<'a>>,
    gone: &dyn Fn(&str) -> bool,
    added: &'a [CheckpointEntry],
) -> Vec<(Key<'a>, Tree<'a>)> {
    let mut members: Vec<(Key<'a>, Tree<'a>)> = map
        .into_iter()
        .flat_map(Value::entries)
        .filter(|&(name, entry)| !is_gone(Some(name), entry, gone))
        .map(|(name, entry)| (Key::Value(name), Tree::Value(entry)))
        .collect();
    for entry in added {
        let name = entry.name();
        if let Some(member) = members.iter_mut().find(|(key, _)| key.is(&name)) {
            member.1 = entry.to_json();
        } else {
            members.push((name.into(), entry.to_json()));
        }
    }
    members
}

/// Gives an entry the path that `moved` knows for its own, if any.
fn set_path(entry: &mut Tree<'_>, moved: &dyn Fn(&str) -> Option<String>) {
    let Tree::Value(value) = entry else { return };
    let path = value.get("path").and_then(Value::as_str);
    let Some(path) = path.and_then(|path| moved(&path)) else {
        return;
    };
    let mut members = Tree::members(*value);
    if let Some(member) = members.iter_mut().find(|(key, _)| key.is("path")) {
        member.1 = Tree::from(path);
    }
    *entry = Tree::Object(members);
}

/// Edits a list of entries, or of names: `artifacts_list` is seen in both forms.
fn edit_list<'a>(
    list: Value<'a>,
    gone: &dyn Fn(&str) -> bool,
    added: &'a [CheckpointEntry],
) -> Vec<Tree<'a>> {
    let of_names = list
        .items()
        .next()
        .is_some_and(|item| item.kind() == Kind::String);
    let is_added = |name: Value<'_>| added.iter().any(|entry| name.is(&entry.name()));
    let mut items: Vec<Tree<'a>> = list
        .items()
        .filter(|&item| {
            if item.kind() != Kind::String {
                let name = item.get("name");
                return !is_gone(name, item, gone) && !name.is_some_and(is_added);
            }
            // A bare name tells nothing but the id; only ids of the form we make are judged.
            let is_gone = item.as_str().is_some_and(|name| {
                name.strip_suffix(".json")
                    .is_some_and(|id| id.starts_with("checkpoint-step-") && gone(id))
            });
            !is_gone && !is_added(item)
        })
        .map(Tree::Value)
        .collect();
    for entry in added {
        items.push(if of_names {
            Tree::from(entry.name())
        } else {
            entry.to_json()
        });
    }
    items
}

impl CheckpointEntry {
    /// The artifact's name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.json", self.checkpoint_id)
    }

    fn to_json(&self) -> Tree<'_> {
        let published = || {
            [
                ("publishable", Tree::from(false)),
                ("published", Tree::from(false)),
                ("published_at", Tree::Null),
                ("publish_targets", Tree::Array(Vec::new())),
                ("publish_attempts", Tree::Array(Vec::new())),
                ("publish_status", Tree::Null),
                ("publish_error", Tree::Null),
            ]
        };
        let metadata = [
            ("size", Tree::count(self.size)),
            ("type", Tree::from("checkpoint")),
            ("validation_status", Tree::from("pass")),
        ];
        let entry = [
            ("name", Tree::from(self.name())),
            ("step", self.step.to_json()),
            ("agent", Tree::from(AGENT)),
            ("created_at", Tree::from(self.created_at.as_str())),
            ("updated_at", Tree::from(self.created_at.as_str())),
            ("path", Tree::from(self.path.as_str())),
            ("dependencies", Tree::Array(Vec::new())),
            ("version", Tree::count(1)),
            ("validationStatus", Tree::from("pass")),
            ("schema", Tree::Null),
            ("gate_path", Tree::Null),
            ("reasoning_path", Tree::Null),
        ];
        Tree::object(entry.into_iter().chain(published()).chain([(
            "metadata",
            Tree::object(metadata.into_iter().chain(published())),
        )]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::Json;

    fn entry(id: &str) -> CheckpointEntry {
        CheckpointEntry {
            checkpoint_id: CheckpointId::parse(id).expect("valid"),
            step: Step::Number(1.0),
            created_at: "T".to_owned(),
            path: format!("/r/{id}.json"),
            size: 7,
        }
    }

    fn edit(text: &str, gone: &[&str], added: &[CheckpointEntry]) -> String {
        let json = Json::parse(text.as_bytes(), 99).expect("valid");
        let registry = Registry::new(json.root()).expect("registry");
        let gone = |id: &str| gone.contains(&id);
        let mut out = Vec::new();
        registry
            .edited(&gone, added, Some("U"))
            .write_compact(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn foreign_entries_and_unknown_keys_stay() {
        let text = r#"{"x":1,"artifacts":{"b.md":{"agent":"dev","q":[1]},"checkpoint-step-1-1.json":{"agent":"checkpoint-manager"},"7":{"agent":"dev"}},"updated_at":"O","y":2}"#;
        assert_eq!(
            edit(text, &["checkpoint-step-1-1"], &[]),
            r#"{"x":1,"artifacts":{"7":{"agent":"dev"},"b.md":{"agent":"dev","q":[1]}},"updated_at":"U","y":2}"#
        );
        assert!(edit(text, &["b.md", "b"], &[]).contains("b.md"));
    }

    #[test]
    fn entries_are_added_once() {
        let text = r#"{"artifacts":{}}"#;
        let once = edit(text, &[], &[entry("a")]);
        assert!(
            once.contains(r#""a.json":{"name":"a.json","step":1,"agent":"checkpoint-manager""#)
        );
        assert_eq!(edit(&once, &[], &[entry("a")]), once);
    }

    #[test]
    fn lists_are_kept_in_step() {
        let text = r#"{"artifacts":{},"artifacts_list":["a.md","checkpoint-step-1-1.json"]}"#;
        let out = edit(
            text,
            &["checkpoint-step-1-1"],
            &[entry("checkpoint-step-2-2")],
        );
        assert!(
            out.contains(r#""artifacts_list":["a.md","checkpoint-step-2-2.json"]"#),
            "{out}"
        );
        let text = r#"{"artifacts":[{"name":"x","agent":"dev"},{"name":"c.json","agent":"checkpoint-manager"}]}"#;
        let out = edit(text, &["c"], &[entry("d")]);
        assert!(out.starts_with(r#"{"artifacts":[{"name":"x","agent":"dev"},{"name":"d.json""#));
    }

    #[test]
    fn a_copy_with_changes_is_what_printing_anew_gives() {
        let own = |id: &str| format!("\"{id}.json\":{{\"agent\":\"checkpoint-manager\",\"x\":[]}}");
        let (mut copied, mut all) = (0, 0);
        for names in [
            &["a"][..],
            &["a", "c1"],
            &["c1", "a"],
            &["c1"],
            &["c1", "c2"],
            &["a", "c1", "b", "c2", "c3", "d"],
            &["c1", "c2", "a", "c3"],
            &[],
        ] {
            let entries: Vec<String> = names
                .iter()
                .map(|name| match name.strip_prefix('c') {
                    Some(_) => own(name),
                    None => format!("\"{name}\":{{\"q\":{{}}}}"),
                })
                .collect();
            let entries = entries.join(",");
            for text in [
                format!(
                    "{{\"x\":[1,{{}}],\"artifacts\":{{{entries}}},\"updated_at\":\"O\",\"y\":2}}"
                ),
                format!("{{\"artifacts\":{{{entries}}},\"updated_at\":\"O\"}}"),
                format!("{{\"updated_at\":\"O\",\"artifacts\":{{{entries}}}}}"),
                format!("{{\"artifacts\":{{{entries}}},\"z\":[],\"updated_at\":\"O\"}}"),
            ] {
                let json = Json::parse(text.as_bytes(), 99).expect("valid");
                let laid_out = Tree::Value(json.root()).to_pretty();
                for source in [text.as_bytes(), &laid_out] {
                    let json = Json::parse(source, 99).expect("valid");
                    let registry = Registry::new(json.root()).expect("registry");
                    for gone in [
                        &[][..],
                        &["c1"],
                        &["c2"],
                        &["c3"],
                        &["c1", "c2"],
                        &["c1", "c2", "c3"],
                    ] {
                        for added in [vec![], vec![entry("n1")], vec![entry("n1"), entry("c2")]] {
                            let gone = |id: &str| gone.contains(&id);
                            let anew = registry.edited(&gone, &added, Some("U")).to_pretty();
                            let pieces = registry.edited_text(&gone, &added, "U");
                            let text = Piece::whole(&pieces, source);
                            assert_eq!(
                                String::from_utf8_lossy(&text),
                                String::from_utf8_lossy(&anew)
                            );
                            all += 1;
                            copied += usize::from(registry.spliced(&gone, &added, "U").is_some());
                        }
                    }
                }
            }
        }
        assert!(copied * 4 > all, "{copied} of {all} were copied");
    }

    #[test]
    fn statuses_are_counted() {
        let text = r#"{"artifacts":{"a":{"metadata":{"validation_status":"pass"}},"b":{"metadata":{"validation_status":"fail"}},"c":{},"d":null}}"#;
        let json = Json::parse(text.as_bytes(), 99).expect("valid");
        let registry = Registry::new(json.root()).expect("registry");
        assert_eq!(
            registry.survey().validation,
            Validation {
                total: 4,
                validated: 1,
                failed: 1
            }
        );
        assert_eq!(registry.survey().names.len(), 4);
    }

    #[test]
    fn strange_shapes_are_refused_or_completed() {
        for text in ["[]", "1", r#"{"artifacts":3}"#] {
            let json = Json::parse(text.as_bytes(), 9).expect("valid");
            assert!(Registry::new(json.root()).is_err(), "{text}");
        }
        assert!(edit(r#"{"artifacts":null}"#, &[], &[entry("a")]).contains("\"a.json\""));
        assert!(edit("{}", &[], &[entry("a")]).contains("\"a.json\""));
    }
}
