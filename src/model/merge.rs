//! Texts that were changed on two sides, put together.

use similar::DiffTag;

use crate::model::diff::steps;

/// The longest text that is merged, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

/// The most lines, of two texts together, among which similar lines are searched for. Beyond it one
/// change reaches from the first changed line to the last, so that merges are clean less often.
const MAX_LINES: usize = 200_000;

/// Puts together what two texts changed since a third one, line by line.
///
/// `None` unless it is clean: changes of both sides that touch each other, without an unchanged line
/// in between, have to be the same. `None` as well if anything is longer than [`MAX_BYTES`] or no
/// text: if it has a NUL byte or is not UTF-8. If one side changed nothing, the other one comes out as
/// it is, text or not.
///
/// A line ends with a line feed. Every line of the result is a line of one of the sides, byte for
/// byte, so line endings stay as they are, and so does a missing line feed at the end.
#[must_use]
pub fn three_way(base: &[u8], ours: &[u8], theirs: &[u8]) -> Option<Vec<u8>> {
    if ours == base || ours == theirs {
        return Some(theirs.to_vec());
    }
    if theirs == base {
        return Some(ours.to_vec());
    }
    let base = lines(base)?;
    let ours = Side::new(&base, lines(ours)?);
    let theirs = Side::new(&base, lines(theirs)?);
    merge(&base, ours, theirs).map(String::into_bytes)
}

fn lines(bytes: &[u8]) -> Option<Vec<&str>> {
    if bytes.len() > MAX_BYTES || bytes.contains(&0) {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text.split_inclusive('\n').collect())
}

/// One of the two texts, and where it differs from the base.
struct Side<'a> {
    lines: Vec<&'a str>,
    edits: Vec<Edit>,
    /// The first edit that is not merged yet.
    next: usize,
}

/// Some lines of the base, maybe none, that became other lines, maybe none.
#[derive(Debug, Clone, Copy)]
struct Edit {
    base: (usize, usize),
    own: (usize, usize),
}

impl<'a> Side<'a> {
    fn new(base: &[&str], lines: Vec<&'a str>) -> Self {
        let steps = steps(base, &lines, MAX_LINES);
        let edits = steps.iter().filter(|step| step.tag() != DiffTag::Equal);
        let edits = edits.map(|step| Edit {
            base: (step.old_range().start, step.old_range().end),
            own: (step.new_range().start, step.new_range().end),
        });
        Self {
            edits: edits.collect(),
            lines,
            next: 0,
        }
    }

    fn peek(&self) -> Option<Edit> {
        self.edits.get(self.next).copied()
    }

    /// Takes all edits that touch some lines of the base, and says how far they reach.
    fn take(&mut self, end: usize) -> usize {
        let mut reach = end;
        while let Some(edit) = self.peek().filter(|edit| edit.base.0 <= reach) {
            reach = reach.max(edit.base.1);
            self.next += 1;
        }
        reach
    }

    /// What it has for some lines of the base, with the edits from `first` on that were taken.
    fn text(&self, base: &[&str], first: usize, start: usize, end: usize) -> String {
        let mut text = String::new();
        let mut at = start;
        for edit in &self.edits[first..self.next] {
            text.extend(base[at..edit.base.0].iter().copied());
            text.extend(self.lines[edit.own.0..edit.own.1].iter().copied());
            at = edit.base.1;
        }
        text.extend(base[at..end].iter().copied());
        text
    }
}

fn merge(base: &[&str], mut ours: Side<'_>, mut theirs: Side<'_>) -> Option<String> {
    let mut merged = String::new();
    let mut at = 0;
    loop {
        let starts = [ours.peek(), theirs.peek()];
        let Some(start) = starts.iter().flatten().map(|edit| edit.base.0).min() else {
            break;
        };
        merged.extend(base[at..start].iter().copied());
        // Edits of both sides are one change as long as they touch.
        let (one, other) = (ours.next, theirs.next);
        let mut end = start;
        loop {
            let reach = ours.take(end);
            let reach = theirs.take(reach);
            if reach == end {
                break;
            }
            end = reach;
        }
        let our_text = ours.text(base, one, start, end);
        let their_text = theirs.text(base, other, start, end);
        merged += match (ours.next > one, theirs.next > other) {
            (true, false) => &our_text,
            (false, true) => &their_text,
            _ if our_text == their_text => &our_text,
            _ => return None,
        };
        at = end;
    }
    merged.extend(base[at..].iter().copied());
    Some(merged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn merged(base: &str, ours: &str, theirs: &str) -> Option<String> {
        let merged = three_way(base.as_bytes(), ours.as_bytes(), theirs.as_bytes())?;
        Some(String::from_utf8_lossy(&merged).into_owned())
    }

    #[test]
    fn changes_apart_are_put_together() {
        let base = "a\nb\nc\nd\ne\n";
        let both = merged(base, "A\nb\nc\nd\ne\n", "a\nb\nc\nd\nE\nf\n");
        assert_eq!(both.as_deref(), Some("A\nb\nc\nd\nE\nf\n"));
        let both = merged(base, "b\nc\nd\ne\n", "a\nb\nc\nx\nd\ne\n");
        assert_eq!(both.as_deref(), Some("b\nc\nx\nd\ne\n"));
    }

    #[test]
    fn a_change_of_one_side_only() {
        for (base, changed) in [("a\n", "b\n"), ("", "a"), ("a\0", "\0"), ("a", "")] {
            assert_eq!(merged(base, base, changed).as_deref(), Some(changed));
            assert_eq!(merged(base, changed, base).as_deref(), Some(changed));
            assert_eq!(merged(base, changed, changed).as_deref(), Some(changed));
        }
    }

    #[test]
    fn the_same_change_on_both_sides() {
        let (ours, theirs) = ("x\nb\nc\nd\nE\n", "x\nb\nC\nd\nE\n");
        let both = merged("a\nb\nc\nd\ne\n", ours, theirs);
        assert_eq!(both.as_deref(), Some("x\nb\nC\nd\nE\n"));
    }

    #[test]
    fn what_touches_is_not_clean() {
        for (base, ours, theirs) in [
            ("a\n", "b\n", "c\n"),
            // No unchanged line in between.
            ("a\nb\n", "A\nb\n", "a\nB\n"),
            ("a\n", "a\nb\n", "a\nc\n"),
            ("a\nb\nc\n", "a\nc\n", "a\nb\nx\nc\n"),
            ("", "a\n", "b\n"),
        ] {
            assert_eq!(merged(base, ours, theirs), None, "{base:?}");
            assert_eq!(merged(base, theirs, ours), None, "{base:?}");
        }
    }

    #[test]
    fn line_endings_and_a_missing_one_at_the_end() {
        let both = merged("a\r\nb\r\nc", "A\r\nb\r\nc", "a\r\nb\r\nC");
        assert_eq!(both.as_deref(), Some("A\r\nb\r\nC"));
        let both = merged("a\nb\nc\n", "A\nb\nc\n", "a\nb\nc");
        assert_eq!(both.as_deref(), Some("A\nb\nc"));
        // Both of them at one place.
        assert_eq!(merged("a\nb", "a\nb\nc", "a\nb\n"), None);
    }

    #[test]
    fn what_is_no_text_or_too_long() {
        assert_eq!(merged("a\nb\nc\n", "A\nb\nc\n", "a\nb\n\0"), None);
        assert_eq!(three_way(b"a\nb\nc\n", b"A\nb\nc\n", b"a\nb\n\xff"), None);
        let long = "a\n".repeat(MAX_BYTES / 2);
        let (ours, theirs) = ("b\n".to_owned() + &long[2..], long[2..].to_owned() + "b\n");
        let expected = "b\n".to_owned() + &long[4..] + "b\n";
        assert!(merged(&long, &ours, &theirs) == Some(expected));
        assert!(merged(&(long.clone() + "a\n"), &ours, &theirs).is_none());
        assert!(merged(&long, &("b\n".to_owned() + &long), &theirs).is_none());
    }

    #[test]
    fn the_worst_texts_take_a_bounded_time() {
        // Every other line changed on each side, and all lines different.
        let text = |of: &dyn Fn(usize) -> String| -> String { (0..300_000).map(of).collect() };
        let base = text(&|at| format!("{at}\n"));
        let ours = text(&|at| format!("{}\n", if at % 4 == 0 { 1_000_000 + at } else { at }));
        let theirs = text(&|at| format!("{}\n", if at % 4 == 2 { 1_000_000 + at } else { at }));
        let expected = text(&|at| format!("{}\n", if at % 2 == 0 { 1_000_000 + at } else { at }));
        // Too many changed lines to be told apart.
        assert!(merged(&base, &ours, &theirs).is_none());
        let first = |text: &str| text.split_inclusive('\n').take(90_000).collect::<String>();
        let both = merged(&first(&base), &first(&ours), &first(&theirs));
        assert!(both == Some(first(&expected)));
        let reversed: String = base.split_inclusive('\n').rev().collect();
        assert!(merged(&first(&base), &first(&reversed), &first(&ours)).is_none());
    }

    proptest! {
        #[test]
        fn sides_against_each_other(
            base in "([abcd]\n){0,12}[ab]?",
            ours in "([abcd]\n){0,12}[ab]?",
            theirs in "([abcd]\n){0,12}[ab]?",
        ) {
            let one = merged(&base, &ours, &theirs);
            prop_assert_eq!(&one, &merged(&base, &theirs, &ours));
            if let Some(text) = one {
                let lines = |text: &str| -> Vec<String> {
                    text.split_inclusive('\n').map(str::to_owned).collect()
                };
                let known = [lines(&ours), lines(&theirs)].concat();
                prop_assert!(lines(&text).iter().all(|line| known.contains(line)));
            }
        }

        /// Lines that are changed apart from each other, by one side or by both in the same way.
        #[test]
        fn changes_apart_are_clean(changes in prop::collection::vec((0..4_u8, "[xy]?"), 1..20)) {
            let mut texts = [const { String::new() }; 4];
            for (at, (who, new)) in changes.iter().enumerate() {
                let old = format!("old {at}\n");
                let new = if new.is_empty() { String::new() } else { format!("{new} {at}\n") };
                let [base, ours, theirs, both] = &mut texts;
                *base += &old;
                *ours += if who & 1 != 0 { &new } else { &old };
                *theirs += if who & 2 != 0 { &new } else { &old };
                *both += if *who != 0 { &new } else { &old };
                let same = format!("same {at}\n");
                for text in &mut texts {
                    *text += &same;
                }
            }
            let [base, ours, theirs, both] = &texts;
            prop_assert_eq!(&merged(base, ours, theirs), &Some(both.clone()));
        }
    }
}
