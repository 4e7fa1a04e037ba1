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

pub use json::{JsonChange, JsonChangeKind, JsonDiff, json};
pub(in crate::model) use text::steps;
pub use text::{TextDiff, text};
pub use tree::{ChangeKind, Differs, FileChange, NodeInfo, NodeKind, Times, Trees, trees};
