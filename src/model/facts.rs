//! What is said of a checkpoint when it is taken: why, by whom, for which part of the work.
//!
//! The same names everywhere: in JavaScript, in the manifest, in the published JSON Schema
//! (`schema/facts.schema.json`, generated from these types by a test).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest of most texts, in characters.
pub const TEXT_MAX: usize = 256;
/// The longest description, in characters.
pub const DESCRIPTION_MAX: usize = 4096;
/// The most labels.
pub const LABELS_MAX: usize = 64;
/// The most linked subtasks, files or services.
pub const LINKS_MAX: usize = 1024;
/// The largest facts as JSON text, in bytes (64 KiB).
pub const FACTS_MAX: usize = 64 << 10;
/// How deep the caller's own data may be nested.
pub const DATA_DEPTH_MAX: usize = 32;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$one:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$one])* $variant),+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The stable word.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// Reads the word.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == word)
            }
        }
    };
}
pub(crate) use words;

words! {
    /// How a checkpoint came about.
    Type {
        /// Waymark or a rule decided.
        Automatic = "automatic",
        /// A person asked for it.
        Manual = "manual",
        /// The workflow asks for it.
        Workflow = "workflow",
        /// Something is about to go wrong.
        Emergency = "emergency",
        /// Taken before a restore changes anything.
        Rescue = "rescue",
    }
}

words! {
    /// What made it due.
    Trigger {
        /// A phase ended or began.
        PhaseTransition = "phase_transition",
        /// A quality gate was passed or failed.
        QualityGate = "quality_gate",
        /// Something was decided that much depends on.
        CriticalDecision = "critical_decision",
        /// Work goes to somebody else.
        Handoff = "handoff",
        /// Enough time went by.
        Time = "time",
        /// Something risky comes next.
        Risk = "risk",
        /// A person asked.
        User = "user",
        /// Something is about to be tried.
        Experiment = "experiment",
        /// A goal was reached.
        Milestone = "milestone",
        /// The work became complicated.
        Complexity = "complexity",
        /// Enough was done.
        Progress = "progress",
        /// Memory, disk or money run out.
        Resource = "resource",
        /// The context of an agent fills up.
        Context = "context",
    }
}

words! {
    /// What it is about.
    Scope {
        /// The framework that runs everything.
        Framework = "framework",
        /// The whole project.
        Project = "project",
        /// One agent.
        Agent = "agent",
        /// One workflow.
        Workflow = "workflow",
    }
}

words! {
    /// How much it matters.
    Priority {
        /// Little.
        Low = "low",
        /// As usual.
        Normal = "normal",
        /// More than usual.
        High = "high",
        /// Nothing goes on without it.
        Critical = "critical",
    }
}

words! {
    /// How long it is kept, at least; the retention policy says how long that is.
    Class {
        /// Days.
        Frequent = "frequent",
        /// Weeks.
        Milestone = "milestone",
        /// For ever.
        Critical = "critical",
    }
}

/// How much of the work is done.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// How much is done, in the caller's units, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 0)))]
    pub done: Option<f64>,
    /// How much there is in all; not less than what is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(range(min = 0)))]
    pub total: Option<f64>,
    /// In words, up to 4,096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(min = 1, max = 4096)))]
    pub summary: Option<String>,
}

/// What a restore needs besides the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Requirements {
    /// Versions of programs and packages, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(test, schemars(extend("maxProperties" = 1024)))]
    pub versions: BTreeMap<String, String>,
    /// Files that must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = 1024), inner(length(min = 1, max = 4096))))]
    pub files: Vec<String>,
    /// Services that must run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = 1024), inner(length(min = 1, max = 256))))]
    pub services: Vec<String>,
}

/// Another run, or a checkpoint of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The run.
    #[cfg_attr(test, schemars(length(min = 1, max = 255)))]
    pub run: String,
    /// The checkpoint in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(min = 1, max = 255)))]
    pub checkpoint: Option<String>,
}

/// What is said of a checkpoint. Everything is optional.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(title = "Facts of a Waymark checkpoint"))]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// How it came about.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Type>,
    /// What made it due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// How much it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// How long it is kept, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The phase of the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(min = 1, max = 256)))]
    pub phase: Option<String>,
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(min = 1, max = 256)))]
    pub task: Option<String>,
    /// Who works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(min = 1, max = 256)))]
    pub worker: Option<String>,
    /// Who asked for the checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(min = 1, max = 256)))]
    pub author: Option<String>,
    /// Words to find it by; none twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = 64), inner(length(min = 1, max = 256)), extend("uniqueItems" = true)))]
    pub labels: Vec<String>,
    /// In words, up to 4,096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(length(min = 1, max = 4096)))]
    pub description: Option<String>,
    /// How much is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What a restore needs besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<Requirements>,
    /// The checkpoint of another run that this one comes from: the base of a fork, the task it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Link>,
    /// Runs that do a part of the work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = 1024)))]
    pub subtasks: Vec<Link>,
    /// The caller's own data.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    #[cfg_attr(test, schemars(with = "serde_json::Map<String, serde_json::Value>"))]
    pub data: serde_json::Map<String, serde_json::Value>,
}

impl Facts {
    /// Reads facts from JSON text and checks them.
    ///
    /// [`Error::FactsInvalid`] says which fact is wrong and what is allowed.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if text.len() > FACTS_MAX {
            return Err(invalid(
                "",
                format!("they have {} bytes; {FACTS_MAX} are allowed", text.len()),
            ));
        }
        let value: serde_json::Value =
            serde_json::from_slice(text).map_err(|error| invalid("", plain(&error.to_string())))?;
        objects_only(&value)?;
        let facts: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let path = match error.path().to_string() {
                path if path == "." => String::new(),
                path => path,
            };
            invalid(&path, plain(&error.into_inner().to_string()))
        })?;
        facts.check()?;
        Ok(facts)
    }

    /// Reads them from a value, as [`Facts::parse`] does.
    pub fn from_value(value: &serde_json::Value) -> Result<Self> {
        let text = serde_json::to_vec(value).map_err(|error| invalid("", error.to_string()))?;
        Self::parse(&text)
    }

    /// As JSON text, compact.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_else(|_| b"{}".to_vec())
    }

    /// These facts with a merge patch applied (RFC 7396): members of objects are merged, `null` takes one
    /// away, anything else replaces.
    pub fn merged(&self, patch: &serde_json::Value) -> Result<Self> {
        let mut value =
            serde_json::to_value(self).map_err(|error| invalid("", error.to_string()))?;
        if !patch.is_object() {
            return Err(invalid("", "an update is an object".to_owned()));
        }
        merge_patch(&mut value, patch);
        Self::from_value(&value)
    }

    /// True if nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn check(&self) -> Result<()> {
        let texts = [
            ("phase", &self.phase),
            ("task", &self.task),
            ("worker", &self.worker),
            ("author", &self.author),
        ];
        for (name, text) in texts {
            length(name, text.as_deref(), TEXT_MAX)?;
        }
        length("description", self.description.as_deref(), DESCRIPTION_MAX)?;
        count("labels", self.labels.len(), LABELS_MAX)?;
        for (at, label) in self.labels.iter().enumerate() {
            let name = format!("labels[{at}]");
            length(&name, Some(label), TEXT_MAX)?;
            if self.labels[..at].contains(label) {
                return Err(invalid(&name, format!("{label:?} is there already")));
            }
        }
        if let Some(progress) = &self.progress {
            for (name, number) in [("done", progress.done), ("total", progress.total)] {
                if number.is_some_and(|number| !number.is_finite() || number < 0.0) {
                    let name = format!("progress.{name}");
                    return Err(invalid(&name, "a number from 0 on is allowed".to_owned()));
                }
            }
            if let (Some(done), Some(total)) = (progress.done, progress.total)
                && done > total
            {
                return Err(invalid(
                    "progress.done",
                    format!("{done} is more than the total, {total}"),
                ));
            }
            length(
                "progress.summary",
                progress.summary.as_deref(),
                DESCRIPTION_MAX,
            )?;
        }
        if let Some(needed) = &self.requirements {
            count("requirements.versions", needed.versions.len(), LINKS_MAX)?;
            for (list, name, max) in [
                (&needed.files, "requirements.files", DESCRIPTION_MAX),
                (&needed.services, "requirements.services", TEXT_MAX),
            ] {
                count(name, list.len(), LINKS_MAX)?;
                for (at, one) in list.iter().enumerate() {
                    length(&format!("{name}[{at}]"), Some(one), max)?;
                }
            }
        }
        count("subtasks", self.subtasks.len(), LINKS_MAX)?;
        let subtasks = self.subtasks.iter().enumerate();
        let links = subtasks.map(|(at, link)| (format!("subtasks[{at}]"), link));
        let parent = self.parent.iter().map(|link| ("parent".to_owned(), link));
        for (name, link) in links.chain(parent) {
            use crate::model::ids::{CheckpointId, RunId};
            RunId::parse(&link.run)
                .map_err(|error| invalid(&format!("{name}.run"), error.to_string()))?;
            if let Some(id) = &link.checkpoint {
                CheckpointId::parse(id)
                    .map_err(|error| invalid(&format!("{name}.checkpoint"), error.to_string()))?;
            }
        }
        if self
            .data
            .values()
            .any(|value| depth(value) >= DATA_DEPTH_MAX)
        {
            return Err(invalid(
                "data",
                format!("it is nested deeper than {DATA_DEPTH_MAX} levels"),
            ));
        }
        Ok(())
    }
}

/// Refuses arrays where objects belong: serde would take their items for the members.
fn objects_only(value: &serde_json::Value) -> Result<()> {
    let object = |path: &str, value: &serde_json::Value| {
        if value.is_object() || value.is_null() {
            return Ok(());
        }
        Err(invalid(path, "an object is expected".to_owned()))
    };
    if !value.is_object() {
        return Err(invalid("", "an object is expected".to_owned()));
    }
    for name in ["progress", "requirements", "parent"] {
        object(name, &value[name])?;
    }
    let subtasks = value["subtasks"].as_array().into_iter().flatten();
    for (at, one) in subtasks.enumerate() {
        object(&format!("subtasks[{at}]"), one)?;
    }
    Ok(())
}

/// Applies a merge patch to a value (RFC 7396).
pub fn merge_patch(value: &mut serde_json::Value, patch: &serde_json::Value) {
    let serde_json::Value::Object(changes) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = serde_json::Value::Object(serde_json::Map::new());
    }
    if let serde_json::Value::Object(members) = value {
        for (name, change) in changes {
            if change.is_null() {
                members.remove(name);
            } else {
                let member = members.entry(name.clone());
                merge_patch(member.or_insert(serde_json::Value::Null), change);
            }
        }
    }
}

fn depth(value: &serde_json::Value) -> usize {
    // Never deeper than what serde_json reads: 128.
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn length(name: &str, text: Option<&str>, max: usize) -> Result<()> {
    let Some(text) = text else {
        return Ok(());
    };
    let found = text.chars().count();
    if found == 0 {
        return Err(invalid(
            name,
            "it is empty; leave it out instead".to_owned(),
        ));
    }
    if found > max {
        return Err(invalid(
            name,
            format!("it has {found} characters; {max} are allowed"),
        ));
    }
    Ok(())
}

fn count(name: &str, found: usize, max: usize) -> Result<()> {
    if found > max {
        return Err(invalid(
            name,
            format!("there are {found}; {max} are allowed"),
        ));
    }
    Ok(())
}

/// What serde says, without the place in a text that nobody wrote.
fn plain(message: &str) -> String {
    match message.rfind(" at line ") {
        Some(at) => message[..at].to_owned(),
        None => message.to_owned(),
    }
}

fn invalid(path: &str, reason: String) -> Error {
    Error::FactsInvalid {
        fact: if path.is_empty() {
            "facts".to_owned()
        } else {
            format!("facts.{path}")
        },
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        Facts::parse(text.as_bytes())
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn what_is_said_comes_back() {
        let text = r#"{"type":"manual","trigger":"quality_gate","scope":"agent","priority":"high","class":"milestone","phase":"build","task":"t","worker":"w","author":"me","labels":["a","b"],"description":"d","progress":{"done":1.5,"total":3.0,"summary":"half"},"requirements":{"versions":{"node":"22"},"files":["x"],"services":["db"]},"parent":{"run":"r","checkpoint":"c"},"subtasks":[{"run":"s"}],"data":{"b":1,"a":[null,{"z":"y"}]}}"#;
        let facts = Facts::parse(text.as_bytes()).expect("valid");
        assert_eq!(Facts::parse(&facts.to_json()).expect("valid"), facts);
        assert!(Facts::parse(b"{}").expect("valid").is_empty());
        assert!(!facts.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        for (text, named, told) in [
            (r#"{"type":"auto"}"#, "facts.type", "`automatic`, `manual`"),
            (r#"{"trigger":1}"#, "facts.trigger", "expected"),
            (r#"{"kind":"x"}"#, "facts.kind", "`type`, `trigger`"),
            (
                r#"{"labels":["a","a"]}"#,
                "facts.labels[1]",
                "there already",
            ),
            (r#"{"labels":[""]}"#, "facts.labels[0]", "empty"),
            (r#"{"labels":"a"}"#, "facts.labels", "sequence"),
            (
                r#"{"progress":{"done":3,"total":2}}"#,
                "facts.progress.done",
                "more than",
            ),
            (
                r#"{"progress":{"done":-1}}"#,
                "facts.progress.done",
                "from 0 on",
            ),
            (
                r#"{"progress":{"half":1}}"#,
                "facts.progress.half",
                "`done`",
            ),
            (r#"{"parent":{"run":"../x"}}"#, "facts.parent.run", "../x"),
            (
                r#"{"subtasks":[{"run":"a","checkpoint":""}]}"#,
                "facts.subtasks[0].checkpoint",
                "",
            ),
            (r#"{"data":[]}"#, "facts.data", "map"),
            ("[]", "facts", "an object"),
            (r#"{"progress":[1,2]}"#, "facts.progress", "an object"),
            (r#"{"subtasks":[["r"]]}"#, "facts.subtasks[0]", "an object"),
        ] {
            let problem = problem(text);
            assert!(problem.contains(named), "{text}: {problem}");
            assert!(problem.contains(told), "{text}: {problem}");
            assert!(!problem.contains("column"), "{text}: {problem}");
        }
        let long = "x".repeat(TEXT_MAX + 1);
        assert!(problem(&format!(r#"{{"phase":"{long}"}}"#)).contains("257 characters; 256"));
        let deep = format!(r#"{{"data":{{"a":{}{}}}}}"#, "[".repeat(40), "]".repeat(40));
        assert!(problem(&deep).contains("deeper"));
        let large = format!(r#"{{"data":{{"a":"{}"}}}}"#, "x".repeat(FACTS_MAX));
        assert!(problem(&large).contains("65536 are allowed"));
    }

    #[test]
    fn an_update_merges() {
        let facts = Facts::parse(br#"{"phase":"a","labels":["x"],"data":{"a":1,"b":{"c":2}}}"#)
            .expect("valid");
        let patch: serde_json::Value = serde_json::from_str(
            r#"{"phase":null,"labels":["y"],"data":{"a":null,"b":{"d":3}},"worker":"w"}"#,
        )
        .expect("json");
        let merged = facts.merged(&patch).expect("valid");
        let expected = Facts::parse(br#"{"labels":["y"],"data":{"b":{"c":2,"d":3}},"worker":"w"}"#)
            .expect("valid");
        assert_eq!(merged, expected);
        assert!(facts.merged(&serde_json::json!({"type": "x"})).is_err());
        assert!(facts.merged(&serde_json::json!([])).is_err());
    }

    #[test]
    fn words_are_what_serde_writes() {
        for word in Trigger::ALL {
            let text = serde_json::to_string(word).expect("a word");
            assert_eq!(text, format!("\"{}\"", word.as_str()));
            assert_eq!(Trigger::from_word(word.as_str()), Some(*word));
        }
        for word in Type::ALL {
            assert_eq!(
                serde_json::to_string(word).expect("a word"),
                format!("\"{}\"", word.as_str())
            );
        }
        assert_eq!(Class::from_word("rare"), None);
    }

    /// The schema is what these types are. The message of a failure has the new one.
    #[test]
    fn the_published_schema_is_current() {
        let schema = schemars::schema_for!(Facts);
        let mut text = serde_json::to_string_pretty(&schema).expect("a schema");
        text.push('\n');
        let found = include_str!("../../schema/facts.schema.json");
        assert!(found == text, "schema/facts.schema.json is to be:\n{text}");
    }
}
