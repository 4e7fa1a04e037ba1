//! The runner's `run.json`: what a checkpoint needs of it, and what a restore changes in it.

use crate::model::ids::RunId;
use crate::model::json::{Kind, Tree, Value};
use crate::model::step::Step;
use crate::model::time::to_iso;

/// Why a parsed `run.json` can't be captured, if so.
#[must_use]
pub fn problem(record: Value<'_>, run_id: &RunId) -> Option<String> {
    if !record.is_object() {
        return Some("it is not a JSON object".to_owned());
    }
    match record.get("run_id").and_then(Value::as_str) {
        Some(own) if own != run_id.as_str() => Some(format!("it belongs to run {own:?}")),
        _ => None,
    }
}

/// The workflow a run executes, as the record names it.
#[must_use]
pub fn workflow_id<'a>(record: Value<'a>, registry: Value<'a>) -> Option<Value<'a>> {
    let named = |value: Value<'a>, key| value.get(key).filter(|id| id.kind() == Kind::String);
    named(record, "workflow_id")
        .or_else(|| named(registry, "workflow_id"))
        .or_else(|| named(record, "selected_workflow"))
}

/// True for a run that waits to go on: it is paused, for approval, or for another agent.
#[must_use]
pub fn is_paused(record: Value<'_>) -> bool {
    let status = record.get("status").and_then(Value::as_str);
    status.is_some_and(|status| {
        ["paused", "awaiting_approval", "handoff_pending"].contains(&&*status)
    })
}

/// The member by which two records are seen to be those of two runs, if one is.
#[must_use]
pub fn differs(one: Value<'_>, other: Value<'_>) -> Option<&'static str> {
    ["created_at", "workflow_id", "selected_workflow"]
        .into_iter()
        .find(|name| {
            let text = |record: Value<'_>| {
                let value = record.get(name)?.as_str()?;
                Some(value.into_owned())
            };
            matches!((text(one), text(other)), (Some(one), Some(other)) if one != other)
        })
}

/// The record as a restore puts it back: at the checkpoint's step (a named step leaves
/// `current_step` as it was), in progress, with a new `updated_at`. All other keys stay, in order.
#[must_use]
pub fn restored<'a>(record: Value<'a>, step: &Step, updated_at: String) -> Tree<'a> {
    let mut members = Tree::members(record);
    let mut set = |name: &'static str, value: Tree<'a>| {
        if let Some(member) = members.iter_mut().find(|(key, _)| key.is(name)) {
            member.1 = value;
        } else {
            members.push((name.into(), value));
        }
    };
    if let Step::Number(number) = step {
        set("current_step", Tree::Number(*number));
    }
    set("status", Tree::from("in_progress"));
    set("updated_at", Tree::from(updated_at));
    Tree::Object(members)
}

/// The record of another run that begins where this one was: as a restore puts it back, under its own id.
#[must_use]
pub fn forked<'a>(
    record: Value<'a>,
    run_id: &'a RunId,
    step: &Step,
    updated_at: String,
) -> Tree<'a> {
    let mut tree = restored(record, step, updated_at);
    if let Tree::Object(members) = &mut tree
        && let Some(member) = members.iter_mut().find(|(key, _)| key.is("run_id"))
    {
        member.1 = Tree::from(run_id.as_str());
    }
    tree
}

/// The record exactly as it was but for a new `updated_at`: what an undo puts back.
#[must_use]
pub fn put_back(record: Value<'_>, updated_at: String) -> Tree<'_> {
    let mut members = Tree::members(record);
    if let Some(member) = members.iter_mut().find(|(key, _)| key.is("updated_at")) {
        member.1 = Tree::from(updated_at);
    }
    Tree::Object(members)
}

/// An `updated_at` that differs from those in use, so that files derived from the record are
/// derived again.
#[must_use]
pub fn new_updated_at(now_ms: i64, in_use: &[Option<String>]) -> String {
    // One more candidate than there are times in use: one of them is free.
    let mut candidates = (now_ms..).take(in_use.len() + 1).map(to_iso);
    let free = |candidate: &String| !in_use.iter().flatten().any(|used| used == candidate);
    candidates.find(free).unwrap_or_else(|| to_iso(now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::Json;

    #[test]
    fn a_restored_record_keeps_unknown_keys_in_order() {
        let json = Json::parse(br#"{"x":1,"status":"failed","run_id":"r","z":{"1":2}}"#, 9)
            .expect("valid");
        let tree = restored(json.root(), &Step::Number(1.5), "T".to_owned());
        let mut out = Vec::new();
        tree.write_compact(&mut out);
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            r#"{"x":1,"status":"in_progress","run_id":"r","z":{"1":2},"current_step":1.5,"updated_at":"T"}"#
        );
        let named = restored(json.root(), &Step::Name("build".to_owned()), "T".to_owned());
        let mut out = Vec::new();
        named.write_compact(&mut out);
        assert!(
            !String::from_utf8(out)
                .expect("UTF-8")
                .contains("current_step")
        );
    }

    #[test]
    fn a_forked_record_is_another_runs() {
        let run = RunId::parse("s").expect("valid");
        let fork = |text: &str| {
            let json = Json::parse(text.as_bytes(), 9).expect("valid");
            let mut out = Vec::new();
            forked(json.root(), &run, &Step::Number(2.0), "T".to_owned()).write_compact(&mut out);
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(
            fork(r#"{"a":1,"run_id":"r","status":"failed","current_step":9}"#),
            r#"{"a":1,"run_id":"s","status":"in_progress","current_step":2,"updated_at":"T"}"#
        );
        // A record that does not name its run need not name the other.
        assert!(!fork("{}").contains("run_id"));
    }

    #[test]
    fn two_runs_of_one_id_are_told_apart() {
        let look = |one: &str, other: &str| {
            let one = Json::parse(one.as_bytes(), 9).expect("valid");
            let other = Json::parse(other.as_bytes(), 9).expect("valid");
            differs(one.root(), other.root())
        };
        let run = r#"{"created_at":"1","workflow_id":"a"}"#;
        assert_eq!(look(run, run), None);
        assert_eq!(look(run, "{}"), None);
        assert_eq!(look(r#"{"created_at":"2"}"#, run), Some("created_at"));
        assert_eq!(look(run, r#"{"workflow_id":"b"}"#), Some("workflow_id"));
        assert_eq!(look(run, r#"{"workflow_id":null}"#), None);
    }

    #[test]
    fn a_run_that_waits_is_paused() {
        for (text, paused) in [
            (r#"{"status":"paused"}"#, true),
            (r#"{"status":"awaiting_approval"}"#, true),
            (r#"{"status":"handoff_pending"}"#, true),
            (r#"{"status":"in_progress"}"#, false),
            (r#"{"status":["paused"]}"#, false),
            ("{}", false),
        ] {
            let json = Json::parse(text.as_bytes(), 9).expect("valid");
            assert_eq!(is_paused(json.root()), paused, "{text}");
        }
    }

    #[test]
    fn a_new_updated_at_differs() {
        assert_eq!(
            new_updated_at(5, &[Some(to_iso(5)), None, Some(to_iso(6))]),
            "1970-01-01T00:00:00.007Z"
        );
    }

    #[test]
    fn a_record_of_another_run_is_refused() {
        let run = RunId::parse("r").expect("valid");
        let check = |text: &str| {
            let json = Json::parse(text.as_bytes(), 9).expect("valid");
            problem(json.root(), &run)
        };
        assert_eq!(check(r#"{"run_id":"r"}"#), None);
        assert_eq!(check("{}"), None);
        assert!(check(r#"{"run_id":"s"}"#).is_some());
        assert!(check("[]").is_some());
    }
}
