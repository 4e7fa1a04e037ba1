//! Differences of two JSON values.
//!
//! - Objects are compared key by key; the order of keys is no difference.
//! - Arrays: what both begin with and what both end with is matched first, so that an element put in
//!   or taken out anywhere is one change. What is left in the middle is compared place by place.
//! - Numbers are compared as JavaScript does: `1.0` is `1`, `-0` is `0`.
//!
//! *Limits*: an array that was changed in several places between which its length changed too is
//! compared place by place there, which is true but lists more than a person would.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::vec::IntoIter;

use crate::model::diff::ChangeKind;
use crate::model::json::{Classes, Kind, Numbers, Out, Value};

/// How many characters of a value's text are shown.
const SHOWN: usize = 200;
/// Stands behind a text that was cut.
const CUT: char = '…';

/// The differences of two JSON values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JsonDiff {
    /// The first of them, as many as asked for.
    pub changes: Vec<JsonChange>,
    /// How many there are in all.
    pub total: usize,
}

/// One place where two JSON values differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonChange {
    /// The place, as a JSON Pointer (RFC 6901): `/steps/3/name`; empty for the whole value.
    ///
    /// It leads to the value in the text before if that has it, and in the text after if that has
    /// it. Half of a surrogate pair in a key stands as U+FFFD.
    pub path: String,
    /// What happened there.
    pub kind: ChangeKind,
    /// The value before, as `JSON.stringify` prints it; of a long text the first 200 characters and
    /// `…`. `None` where it was added.
    pub before: Option<String>,
    /// The value after, likewise. `None` where it was removed.
    pub after: Option<String>,
}

/// Compares two JSON values; `None` is a value that does not exist, which differs from `null`.
///
/// At most `limit` changes are listed; all are counted. Changes come in the order of the text
/// before; what was added to an object or array comes behind its other changes.
#[must_use]
pub fn json(before: Option<Value<'_>>, after: Option<Value<'_>>, limit: usize) -> JsonDiff {
    compare(before, after, limit, SHOWN)
}

fn compare(
    before: Option<Value<'_>>,
    after: Option<Value<'_>>,
    limit: usize,
    shown: usize,
) -> JsonDiff {
    let mut diff = JsonDiff::default();
    let (Some(root_before), Some(root_after)) = (before, after) else {
        if before.is_some() || after.is_some() {
            diff.add("", before, after, limit, shown);
        }
        return diff;
    };
    let mut classes = Classes::default();
    let sides = Sides {
        before: classes.number(root_before),
        after: classes.number(root_after),
    };
    drop(classes);
    if sides.equal(root_before, root_after) {
        return diff;
    }
    let mut path = String::new();
    let mut stack: Vec<Level<'_>> = Vec::new();
    let mut current = Some((before, after));
    loop {
        if let Some((before, after)) = current.take() {
            match (before, after) {
                (Some(one), Some(other)) if one.kind() == other.kind() && is_container(one) => {
                    let differing = if one.is_object() {
                        sides.members(one, other)
                    } else {
                        sides.items(one, other)
                    };
                    stack.push(Level {
                        path: path.len(),
                        differing: differing.into_iter(),
                    });
                }
                _ => diff.add(&path, before, after, limit, shown),
            }
        }
        let Some(level) = stack.last_mut() else {
            return diff;
        };
        path.truncate(level.path);
        match level.differing.next() {
            None => {
                stack.pop();
            }
            Some(place) => {
                place.step.append(&mut path);
                current = Some((place.before, place.after));
            }
        }
    }
}

fn is_container(value: Value<'_>) -> bool {
    matches!(value.kind(), Kind::Array | Kind::Object)
}

/// An object or array of which both sides have a version, with the places still to be looked at.
struct Level<'a> {
    /// The length of its own path.
    path: usize,
    differing: IntoIter<Place<'a>>,
}

/// A place in an object or array where the sides differ.
struct Place<'a> {
    step: Step<'a>,
    before: Option<Value<'a>>,
    after: Option<Value<'a>>,
}

/// A step of a JSON Pointer.
#[derive(Clone, Copy)]
enum Step<'a> {
    Key(Value<'a>),
    Index(usize),
}

impl Step<'_> {
    fn append(self, path: &mut String) {
        path.push('/');
        match self {
            Self::Key(key) => {
                for char in key.as_str().unwrap_or_default().chars() {
                    match char {
                        '~' => path.push_str("~0"),
                        '/' => path.push_str("~1"),
                        char => path.push(char),
                    }
                }
            }
            Self::Index(index) => {
                // Writing into a string can't fail.
                let _ = write!(path, "{index}");
            }
        }
    }
}

/// The numbers of both values: what is equal has the same.
struct Sides {
    before: Numbers,
    after: Numbers,
}

impl Sides {
    fn equal(&self, before: Value<'_>, after: Value<'_>) -> bool {
        self.before.of(before) == self.after.of(after)
    }

    /// The differing members of two objects.
    fn members<'a>(&self, before: Value<'a>, after: Value<'a>) -> Vec<Place<'a>> {
        let others: HashMap<u32, Value<'a>> = after
            .entries()
            .map(|(key, value)| (self.after.of(key), value))
            .collect();
        let mut names: HashSet<u32> = HashSet::with_capacity(others.len());
        let mut places = Vec::new();
        for (key, value) in before.entries() {
            let name = self.before.of(key);
            names.insert(name);
            let other = others.get(&name).copied();
            if !other.is_some_and(|other| self.equal(value, other)) {
                places.push(Place {
                    step: Step::Key(key),
                    before: Some(value),
                    after: other,
                });
            }
        }
        let added = after
            .entries()
            .filter(|(key, _)| !names.contains(&self.after.of(*key)));
        places.extend(added.map(|(key, value)| Place {
            step: Step::Key(key),
            before: None,
            after: Some(value),
        }));
        places
    }

    /// The differing items of two arrays.
    fn items<'a>(&self, before: Value<'a>, after: Value<'a>) -> Vec<Place<'a>> {
        let before: Vec<Value<'a>> = before.items().collect();
        let after: Vec<Value<'a>> = after.items().collect();
        let equal = |(one, other): (&Value<'a>, &Value<'a>)| self.equal(*one, *other);
        let start = before.iter().zip(&after).take_while(|&p| equal(p)).count();
        let (before, after) = (&before[start..], &after[start..]);
        let pairs = before.iter().rev().zip(after.iter().rev());
        let end = pairs.take_while(|&p| equal(p)).count();
        let before = &before[..before.len() - end];
        let after = &after[..after.len() - end];
        (0..before.len().max(after.len()))
            .map(|at| Place {
                // Both sides begin with the same items, so that one index is right for both.
                step: Step::Index(start + at),
                before: before.get(at).copied(),
                after: after.get(at).copied(),
            })
            .filter(|place| match (place.before, place.after) {
                (Some(one), Some(other)) => !self.equal(one, other),
                _ => true,
            })
            .collect()
    }
}

impl JsonDiff {
    fn add(
        &mut self,
        path: &str,
        before: Option<Value<'_>>,
        after: Option<Value<'_>>,
        limit: usize,
        shown: usize,
    ) {
        self.total += 1;
        if self.changes.len() >= limit {
            return;
        }
        self.changes.push(JsonChange {
            path: path.to_owned(),
            kind: ChangeKind::of(before, after),
            before: before.map(|value| show(value, shown)),
            after: after.map(|value| show(value, shown)),
        });
    }
}

/// The compact text of a value, cut behind `shown` characters.
fn show(value: Value<'_>, shown: usize) -> String {
    let mut head = Head {
        bytes: Vec::new(),
        // One character more than shown tells whether there is more; it has at most four bytes.
        room: shown.saturating_add(1).saturating_mul(4),
    };
    value.write_compact(&mut head);
    let whole = match std::str::from_utf8(&head.bytes) {
        Ok(text) => text,
        // The end of the head lies inside a character.
        Err(error) => std::str::from_utf8(&head.bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    let mut text = whole.to_owned();
    if let Some((end, _)) = whole.char_indices().nth(shown) {
        text.truncate(end);
        text.push(CUT);
    }
    text
}

/// Keeps the beginning of what is printed.
struct Head {
    bytes: Vec<u8>,
    room: usize,
}

impl Out for Head {
    fn put(&mut self, bytes: &[u8]) {
        let take = bytes.len().min(self.room);
        self.room -= take;
        self.bytes.extend_from_slice(&bytes[..take]);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by it")]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Plain, json as plain};

    use super::*;
    use crate::model::json::Json;

    fn parse(text: &str) -> Json<'_> {
        Json::parse(text.as_bytes(), usize::MAX).unwrap()
    }

    /// One line per change: `+ path after`, `- path before`, `~ path before > after`.
    fn diff(before: &str, after: &str) -> Vec<String> {
        let (before, after) = (parse(before), parse(after));
        let diff = json(Some(before.root()), Some(after.root()), usize::MAX);
        assert_eq!(diff.total, diff.changes.len());
        let line = |change: JsonChange| match (change.kind, change.before, change.after) {
            (ChangeKind::Added, None, Some(after)) => format!("+ {} {after}", change.path),
            (ChangeKind::Removed, Some(before), None) => format!("- {} {before}", change.path),
            (ChangeKind::Changed, Some(before), Some(after)) => {
                format!("~ {} {before} > {after}", change.path)
            }
            other => panic!("{other:?}"),
        };
        diff.changes.into_iter().map(line).collect()
    }

    #[test]
    fn equal_values_do_not_differ() {
        for (before, after) in [
            ("null", " null"),
            ("1", "1.0"),
            ("0", "-0"),
            ("1e3", "1000"),
            (r#""A""#, r#""\u0041""#),
            (
                r#"{"a":1,"b":{"c":2,"d":3}}"#,
                r#"{"b":{"d":3,"c":2},"a":1}"#,
            ),
            ("[1,[2]]", "[1, [2.0]]"),
        ] {
            assert_eq!(diff(before, after), [""; 0], "{before} and {after}");
        }
    }

    #[test]
    fn members_by_key() {
        assert_eq!(
            diff(
                r#"{"gone":1,"same":[1],"changed":"a","deep":{"x":{"y":1}}}"#,
                r#"{"new":null,"deep":{"x":{"y":2,"z":0}},"changed":"b","same":[1]}"#
            ),
            [
                "- /gone 1",
                r#"~ /changed "a" > "b""#,
                "~ /deep/x/y 1 > 2",
                "+ /deep/x/z 0",
                "+ /new null",
            ]
        );
    }

    #[test]
    fn an_element_put_in_or_taken_out_is_one_change() {
        assert_eq!(diff("[1,2]", "[1,2,3]"), ["+ /2 3"]);
        assert_eq!(diff("[1,2]", "[0,1,2]"), ["+ /0 0"]);
        assert_eq!(diff("[1,2]", "[1,9,2]"), ["+ /1 9"]);
        assert_eq!(diff("[1,2,3]", "[1,3]"), ["- /1 2"]);
        assert_eq!(diff("[1,1,1]", "[1,1]"), ["- /2 1"]);
        assert_eq!(diff("[]", "[[]]"), ["+ /0 []"]);
        let steps = |last: &str| format!(r#"[{{"id":1}},{{"id":2,"out":{{"n":1}}}}{last}]"#);
        let more = steps(r#",{"id":3}"#);
        assert_eq!(diff(&steps(""), &more), [r#"+ /2 {"id":3}"#]);
    }

    #[test]
    fn the_middle_is_compared_place_by_place() {
        assert_eq!(
            diff(r#"[0,{"a":1},2,9]"#, r#"[0,{"a":5},3,4,9]"#),
            ["~ /1/a 1 > 5", "~ /2 2 > 3", "+ /3 4"]
        );
        assert_eq!(
            diff("[0,1,2,3,9]", "[0,5,9]"),
            ["~ /1 1 > 5", "- /2 2", "- /3 3"]
        );
    }

    #[test]
    fn another_kind_of_value_is_one_change() {
        assert_eq!(diff("[1]", r#"{"0":1}"#), [r#"~  [1] > {"0":1}"#]);
        assert_eq!(diff("1", r#""1""#), [r#"~  1 > "1""#]);
        assert_eq!(diff(r#"{"a":null}"#, "{}"), ["- /a null"]);
    }

    #[test]
    fn pointers_are_escaped() {
        assert_eq!(
            diff("{}", r#"{"":1,"a/b":2,"m~n":3,"~1":4,"\ud800":5,"ö\n":6}"#),
            [
                "+ / 1",
                "+ /a~1b 2",
                "+ /m~0n 3",
                "+ /~01 4",
                "+ /\u{fffd} 5",
                "+ /ö\n 6",
            ]
        );
    }

    #[test]
    fn halves_of_surrogate_pairs_differ() {
        assert_eq!(
            diff(r#"["\ud800"]"#, r#"["\ud801"]"#),
            [r#"~ /0 "\ud800" > "\ud801""#]
        );
        assert_eq!(diff(r#"{"\ud800":1}"#, r#"{"\ud801":1}"#).len(), 2);
    }

    #[test]
    fn a_value_that_does_not_exist_is_not_null() {
        let null = parse("null");
        let one = |before, after| {
            let diff = json(before, after, 9);
            assert_eq!((diff.total, diff.changes.len()), (1, 1));
            assert_eq!(diff.changes[0].path, "");
            diff.changes[0].kind
        };
        assert_eq!(one(None, Some(null.root())), ChangeKind::Added);
        assert_eq!(one(Some(null.root()), None), ChangeKind::Removed);
        assert_eq!(json(None, None, 9), JsonDiff::default());
    }

    #[test]
    fn the_list_is_bounded_and_the_count_is_not() {
        let (before, after) = (parse("[1,2,3]"), parse("[4,5,6]"));
        let diff = json(Some(before.root()), Some(after.root()), 2);
        assert_eq!((diff.changes.len(), diff.total), (2, 3));
        let diff = json(Some(before.root()), Some(after.root()), 0);
        assert_eq!((diff.changes.len(), diff.total), (0, 3));
    }

    #[test]
    fn long_texts_are_cut() {
        // With its quotes: 200 characters, 201 characters.
        for (char, len, cut) in [
            ("a", 198, false),
            ("a", 199, true),
            ("𝄞", 198, false),
            ("𝄞", 900, true),
        ] {
            let text = format!("\"{}\"", char.repeat(len));
            let value = parse(&text);
            let shown = json(None, Some(value.root()), 1).changes[0]
                .after
                .clone()
                .unwrap();
            let expected = if cut {
                format!("\"{}…", char.repeat(199))
            } else {
                text.clone()
            };
            assert_eq!(shown, expected);
        }
    }

    #[test]
    fn depth_costs_no_stack_and_little_time() {
        let deep = |inner: &str| {
            let depth = 10_000;
            format!(
                "{}{inner}{}",
                r#"[0,{"a":"#.repeat(depth),
                "}]".repeat(depth)
            )
        };
        let (before, after) = (deep("1"), deep("2"));
        let lines = diff(&before, &after);
        assert_eq!(lines, [format!("~ {} 1 > 2", "/1/a".repeat(10_000))]);
    }

    /// Applies listed changes to a value.
    fn apply(value: &mut Plain, diff: &JsonDiff) {
        let parsed = |text: &Option<String>| serde_json::from_str(text.as_ref().unwrap()).unwrap();
        let of = |kind| {
            diff.changes
                .iter()
                .filter(move |change| change.kind == kind)
        };
        for change in of(ChangeKind::Changed) {
            let place = value.pointer_mut(&change.path).unwrap();
            let before: Plain = parsed(&change.before);
            assert_eq!(*place, before);
            *place = parsed(&change.after);
        }
        // Removed from the end, so that indices before stay right; added from the beginning.
        let removed: Vec<_> = of(ChangeKind::Removed).collect();
        for change in removed.into_iter().rev() {
            let (parent, last) = change.path.rsplit_once('/').unwrap();
            let removed = match value.pointer_mut(parent).unwrap() {
                Plain::Array(items) => items.remove(last.parse().unwrap()),
                Plain::Object(members) => members.remove(&unescape(last)).unwrap(),
                other => panic!("{other}"),
            };
            assert_eq!(removed, parsed(&change.before));
        }
        for change in of(ChangeKind::Added) {
            let (parent, last) = change.path.rsplit_once('/').unwrap();
            match value.pointer_mut(parent).unwrap() {
                Plain::Array(items) => items.insert(last.parse().unwrap(), parsed(&change.after)),
                Plain::Object(members) => {
                    let old = members.insert(unescape(last), parsed(&change.after));
                    assert_eq!(old, None);
                }
                other => panic!("{other}"),
            }
        }
    }

    fn unescape(step: &str) -> String {
        step.replace("~1", "/").replace("~0", "~")
    }

    fn value() -> impl Strategy<Value = Plain> {
        let leaf = prop_oneof![
            Just(Plain::Null),
            any::<bool>().prop_map(Plain::from),
            (0..3).prop_map(Plain::from),
            "[ab\"]{0,1}".prop_map(Plain::from),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Plain::from),
                prop::collection::btree_map("[a/~0]{0,2}", inner, 0..6)
                    .prop_map(|members| Plain::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Puts something in, takes something out or replaces it, at a place that `seed` chooses.
    fn edit(place: &mut Plain, seed: usize, new: Plain) {
        match place {
            Plain::Array(items) if !items.is_empty() && !seed.is_multiple_of(5) => {
                let at = seed % items.len();
                match seed % 3 {
                    0 => drop(items.remove(at)),
                    1 => items.insert(at, new),
                    _ => edit(&mut items[at], seed / 3, new),
                }
            }
            Plain::Object(members) if !members.is_empty() && !seed.is_multiple_of(5) => {
                let at = seed % members.len();
                edit(members.values_mut().nth(at).unwrap(), seed / 3, new);
            }
            _ => *place = new,
        }
    }

    /// Two values, often with much in common.
    fn pair() -> impl Strategy<Value = (Plain, Plain)> {
        let edits = prop::collection::vec((any::<usize>(), value()), 0..4);
        let edited = (value(), edits).prop_map(|(before, edits)| {
            let mut after = before.clone();
            for (seed, new) in edits {
                edit(&mut after, seed, new);
            }
            (before, after)
        });
        prop_oneof![(value(), value()), edited]
    }

    proptest! {
        #[test]
        fn applying_the_changes_to_the_value_before_gives_the_value_after((before, after) in pair()) {
            let (texts, mut value) = ((before.to_string(), after.to_string()), before.clone());
            let (one, other) = (parse(&texts.0), parse(&texts.1));
            let diff = compare(Some(one.root()), Some(other.root()), usize::MAX, usize::MAX);
            prop_assert_eq!(diff.total == 0, before == after);
            prop_assert_eq!(diff.total, diff.changes.len());
            apply(&mut value, &diff);
            prop_assert_eq!(value, after);
        }
    }

    #[test]
    fn the_apply_of_the_test_finds_a_missing_change() {
        let (before, after) = (parse("[1,2]"), parse("[3,4]"));
        let diff = compare(Some(before.root()), Some(after.root()), 1, usize::MAX);
        let mut value = plain!([1, 2]);
        apply(&mut value, &diff);
        assert_eq!(value, plain!([3, 2]));
    }
}
