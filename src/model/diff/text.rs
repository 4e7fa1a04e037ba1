//! Differences of two texts, line by line.
//!
//! What is printed is the body of a unified diff, as `git diff` prints it and as `patch` applies it:
//! hunks from `@@` on, without the two lines that name the files. A line ends with a line feed and
//! with nothing else, so that `\r\n` against `\n` is a difference.
//!
//! Time is bounded by the size of the input, because a time limit would make the result depend on
//! the machine: see [`MAX_LINES`].

use std::collections::HashMap;
use std::fmt::Write as _;

use similar::udiff::UnifiedHunkHeader;
use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices, group_diff_ops};

/// The most lines, of both sides together, among which similar lines are searched for. Lines that
/// both texts begin or end with do not count. Where more are left they are printed as one block
/// taken out and one put in, which is true but not small. The worst texts that were tried at this
/// size, such as all lines in reverse, took a second.
const MAX_LINES: usize = 200_000;

/// Where git looks for a NUL byte.
const BINARY_HEAD: usize = 8_000;

/// The difference of two contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextDiff {
    /// The hunks of a unified diff; empty if the contents are equal.
    Unified(String),
    /// At least one side is no text: it has a NUL byte in its first 8000 bytes, as git decides it,
    /// or is not UTF-8.
    Binary,
    /// At least one side is longer than the limit.
    TooLarge,
}

/// Compares two contents line by line.
///
/// `context` is the number of equal lines shown around each change, usually 3. A side longer than
/// `max_bytes` is not compared.
#[must_use]
pub fn text(before: &[u8], after: &[u8], context: usize, max_bytes: usize) -> TextDiff {
    compare(before, after, context, max_bytes, MAX_LINES)
}

fn compare(
    before: &[u8],
    after: &[u8],
    context: usize,
    max_bytes: usize,
    max_lines: usize,
) -> TextDiff {
    let has_nul = |bytes: &[u8]| bytes[..bytes.len().min(BINARY_HEAD)].contains(&0);
    if has_nul(before) || has_nul(after) {
        return TextDiff::Binary;
    }
    if before.len().max(after.len()) > max_bytes {
        return TextDiff::TooLarge;
    }
    let (Ok(before), Ok(after)) = (std::str::from_utf8(before), std::str::from_utf8(after)) else {
        return TextDiff::Binary;
    };
    let before: Vec<&str> = before.split_inclusive('\n').collect();
    let after: Vec<&str> = after.split_inclusive('\n').collect();
    let steps = steps(&before, &after, max_lines);
    // As many lines as there are is as much context as there can be; more would overflow.
    let context = context.min(before.len().max(after.len()));
    let mut out = String::new();
    for hunk in group_diff_ops(steps, context) {
        write_hunk(&hunk, &before, &after, &mut out);
    }
    TextDiff::Unified(out)
}

/// The way from one list of lines to the other.
///
/// With more than `max_lines` lines between those that both begin or end with, these are one step.
pub(in crate::model) fn steps(before: &[&str], after: &[&str], max_lines: usize) -> Vec<DiffOp> {
    // Equal lines get equal numbers: they are compared far more often than they are read.
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut number = |line| {
        let new = numbers.len();
        *numbers.entry(line).or_insert(new)
    };
    let one: Vec<usize> = before.iter().map(|&line| number(line)).collect();
    let other: Vec<usize> = after.iter().map(|&line| number(line)).collect();
    let pairs = one.iter().zip(&other);
    let start = pairs.take_while(|(one, other)| one == other).count();
    let pairs = one[start..].iter().rev().zip(other[start..].iter().rev());
    let end = pairs.take_while(|(one, other)| one == other).count();
    let (old_len, new_len) = (one.len() - start - end, other.len() - start - end);
    if old_len + new_len <= max_lines {
        // This algorithm of the crate bounds its search by the number of lines, as git does.
        return capture_diff_slices(Algorithm::Myers, &one, &other);
    }
    let equal = |old_index, new_index, len| DiffOp::Equal {
        old_index,
        new_index,
        len,
    };
    let middle = DiffOp::Replace {
        old_index: start,
        old_len,
        new_index: start,
        new_len,
    };
    vec![
        equal(0, 0, start),
        middle,
        equal(start + old_len, start + new_len, end),
    ]
}

fn write_hunk(hunk: &[DiffOp], before: &[&str], after: &[&str], out: &mut String) {
    // Writing into a string can't fail.
    let _ = writeln!(out, "{}", UnifiedHunkHeader::new(hunk));
    for step in hunk {
        let (old, new) = (&before[step.old_range()], &after[step.new_range()]);
        if step.tag() == DiffTag::Equal {
            write_lines(' ', old, out);
        } else {
            write_lines('-', old, out);
            write_lines('+', new, out);
        }
    }
}

fn write_lines(mark: char, lines: &[&str], out: &mut String) {
    for line in lines {
        out.push(mark);
        out.push_str(line);
        if !line.ends_with('\n') {
            out.push_str("\n\\ No newline at end of file\n");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by it")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unified(before: &str, after: &str, context: usize) -> String {
        match text(before.as_bytes(), after.as_bytes(), context, usize::MAX) {
            TextDiff::Unified(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_with_context() {
        let before = "a\nb\nc\nd\ne\nf\ng\nh\n";
        let after = "a\nB\nc\nd\ne\nf\ng\nh\ni\n";
        assert_eq!(
            unified(before, after, 1),
            "@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n@@ -8 +8,2 @@\n h\n+i\n"
        );
        assert_eq!(
            unified(before, after, 0),
            "@@ -2 +2 @@\n-b\n+B\n@@ -8,0 +9 @@\n+i\n"
        );
        let all = "@@ -1,8 +1,9 @@\n a\n-b\n+B\n c\n d\n e\n f\n g\n h\n+i\n";
        assert_eq!(unified(before, after, 3), all);
        assert_eq!(unified(before, after, usize::MAX), all);
    }

    #[test]
    fn empty_and_equal_contents() {
        assert_eq!(unified("", "", 3), "");
        assert_eq!(unified("a\n", "a\n", 3), "");
        assert_eq!(unified("", "a\nb\n", 3), "@@ -0,0 +1,2 @@\n+a\n+b\n");
        assert_eq!(unified("a\n", "", 3), "@@ -1 +0,0 @@\n-a\n");
    }

    #[test]
    fn a_missing_line_feed_at_the_end() {
        const NONE: &str = "\\ No newline at end of file\n";
        let expected = format!("@@ -1,2 +1,2 @@\n a\n-b\n+b\n{NONE}");
        assert_eq!(unified("a\nb\n", "a\nb", 3), expected);
        let expected = format!("@@ -1,2 +1,3 @@\n+x\n a\n b\n{NONE}");
        assert_eq!(unified("a\nb", "x\na\nb", 3), expected);
        let expected = format!("@@ -1 +1 @@\n-a\n{NONE}+b\n{NONE}");
        assert_eq!(unified("a", "b", 3), expected);
        // A carriage return ends no line.
        let expected = format!("@@ -1 +1 @@\n-a\r\n{NONE}+b\rc\r\n");
        assert_eq!(unified("a\r", "b\rc\r\n", 3), expected);
    }

    #[test]
    fn what_is_no_text() {
        let late = [&[b'a'; BINARY_HEAD][..], b"\0"].concat();
        let early = &late[1..];
        assert_eq!(text(early, b"a", 3, usize::MAX), TextDiff::Binary);
        assert!(matches!(
            text(&late, b"a", 3, usize::MAX),
            TextDiff::Unified(_)
        ));
        assert_eq!(text(b"a", b"caf\xe9\n", 3, usize::MAX), TextDiff::Binary);
    }

    #[test]
    fn what_is_too_large() {
        assert_eq!(text(b"abc", b"abcd", 3, 3), TextDiff::TooLarge);
        assert!(matches!(text(b"abc", b"abd", 3, 3), TextDiff::Unified(_)));
        assert_eq!(text(b"\0abc", b"abcd", 3, 3), TextDiff::Binary);
    }

    #[test]
    fn too_many_lines_become_one_block() {
        let both = |max_lines| compare(b"a\nb\nc\nd\n", b"a\nc\nb\nd\n", 3, 99, max_lines);
        assert_eq!(
            both(3),
            TextDiff::Unified("@@ -1,4 +1,4 @@\n a\n-b\n-c\n+c\n+b\n d\n".to_owned())
        );
        assert_ne!(both(4), both(3));
        let TextDiff::Unified(all) = compare(b"a\nb\n", b"c\n", 3, 99, 0) else {
            panic!("two texts");
        };
        assert_eq!(all, "@@ -1,2 +1 @@\n-a\n-b\n+c\n");
    }

    /// Applies a unified diff.
    fn apply(before: &str, diff: &str) -> String {
        const NONE: &str = "\\ No newline at end of file\n";
        let mut rest: Vec<&str> = before.split_inclusive('\n').collect();
        rest.reverse();
        let taken = rest.len();
        let mut after = String::new();
        let lines: Vec<&str> = diff.split_inclusive('\n').collect();
        for (at, line) in lines.iter().enumerate() {
            let mut body = line[1..].to_owned();
            if lines.get(at + 1) == Some(&NONE) {
                body.pop();
            }
            match &line[..1] {
                "@" => {
                    let range = line[4..].split(' ').next().unwrap();
                    let (start, len) = range.split_once(',').unwrap_or((range, "1"));
                    let start: usize = start.parse().unwrap();
                    // An empty range is named by the line before it.
                    let start = start - usize::from(len != "0");
                    while taken - rest.len() < start {
                        after.push_str(rest.pop().unwrap());
                    }
                }
                " " => {
                    assert_eq!(rest.pop(), Some(&body[..]));
                    after.push_str(&body);
                }
                "-" => assert_eq!(rest.pop(), Some(&body[..])),
                "+" => after.push_str(&body),
                _ => assert_eq!(*line, NONE),
            }
        }
        rest.iter().rev().for_each(|line| after.push_str(line));
        after
    }

    proptest! {
        #[test]
        fn applying_the_hunks_to_the_text_before_gives_the_text_after(
            before in "([abc]?\n){0,20}[ab\r]{0,2}",
            after in "([abc]?\n){0,20}[ab\r]{0,2}",
            context in 0_usize..4,
            max_lines in prop_oneof![Just(MAX_LINES), 0_usize..9],
        ) {
            let diff = compare(before.as_bytes(), after.as_bytes(), context, 999, max_lines);
            let TextDiff::Unified(diff) = diff else { panic!("two texts") };
            prop_assert_eq!(diff.is_empty(), before == after);
            prop_assert_eq!(apply(&before, &diff), after);
        }
    }
}
