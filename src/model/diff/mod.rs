//! What differs between two checkpoints, or between a checkpoint and the disk.
//!
//! Three rules, each for one kind of thing:
//!
//! - [`json()`]: two JSON values, such as the states of two checkpoints; a list of places.
//! - [`trees()`]: two snapshots; a stream of paths, each with what differs there.
//! - [`text()`]: two file contents; lines, as `diff -u` and `git diff` print them.
//!
//! This folder promises that the same input gives the same output: nothing here reads a disk or a
//! clock. Work is bounded by the size of the input, not by a time limit, and nesting costs no stack.

mod json;
mod text;
mod tree;

pub use json::{JsonChange, JsonDiff, json};
pub(in crate::model) use text::steps;
pub use text::{TextDiff, text};
pub use tree::{Differs, FileChange, NodeInfo, NodeKind, Times, Trees, trees};

/// What happened to something that has a place: a JSON value, a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the side after has it.
    Added,
    /// Only the side before has it.
    Removed,
    /// Both have it, and it differs.
    Changed,
}

impl ChangeKind {
    /// What happened, by which sides have it.
    pub fn of<B, A>(before: Option<B>, after: Option<A>) -> Self {
        match (before, after) {
            (None, _) => Self::Added,
            (_, None) => Self::Removed,
            _ => Self::Changed,
        }
    }

    /// The stable name: `added`, `removed`, `changed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
        }
    }
}
