//! One folder laid over another.

use std::iter::Peekable;
use std::vec::IntoIter;

use crate::error::Result;
use crate::model::diff::Trees;
use crate::model::object::ObjectId;
use crate::model::snapshot::{Node, Tree, TreeEntry};

/// Makes the folder that has everything of both; where both have a path, what `over` has there.
///
/// Two folders at the same path are put together, with the mode of `over`. Each folder that comes out
/// otherwise than `over` has it is handed to `put`, contents before the folder they lie in; `put`
/// stores it and gives its name. Nothing over nothing is nothing.
pub fn overlay(
    source: &dyn Trees,
    over: Option<&ObjectId>,
    under: Option<&ObjectId>,
    put: &mut dyn FnMut(&Tree) -> Result<ObjectId>,
) -> Result<Option<ObjectId>> {
    let (over, under) = match (over, under) {
        (Some(over), Some(under)) if over != under => (over, under),
        (one, other) => return Ok(one.or(other).copied()),
    };
    let mut stack = vec![Level::open(source, *over, under)?];
    while let Some(level) = stack.last_mut() {
        if let Some((over, under)) = level.next() {
            let inner = match (tree_of(over.as_ref()), tree_of(under.as_ref())) {
                (Some(over), Some(under)) if over != under => {
                    Some(Level::open(source, over, &under)?)
                }
                _ => None,
            };
            level.as_over &= over.is_some();
            level.built.extend(over.or(under));
            stack.extend(inner);
            continue;
        }
        let made = if level.as_over {
            level.over
        } else {
            let entries = std::mem::take(&mut level.built);
            put(&Tree { entries })?
        };
        let as_over = level.as_over;
        stack.pop();
        let Some(outer) = stack.last_mut() else {
            return Ok(Some(made));
        };
        outer.as_over &= as_over;
        if let Some(entry) = outer.built.last_mut()
            && let Node::Directory { tree, .. } = &mut entry.node
        {
            *tree = made;
        }
    }
    Ok(None)
}

fn tree_of(entry: Option<&TreeEntry>) -> Option<ObjectId> {
    match &entry?.node {
        Node::Directory { tree, .. } => Some(*tree),
        _ => None,
    }
}

/// Two folders that are being put together.
struct Level {
    over: ObjectId,
    over_left: Peekable<IntoIter<TreeEntry>>,
    under_left: Peekable<IntoIter<TreeEntry>>,
    built: Vec<TreeEntry>,
    /// Nothing came from below so far, here or further down.
    as_over: bool,
}

impl Level {
    fn open(source: &dyn Trees, over: ObjectId, under: &ObjectId) -> Result<Self> {
        Ok(Self {
            over,
            over_left: source.tree(&over)?.entries.into_iter().peekable(),
            under_left: source.tree(under)?.entries.into_iter().peekable(),
            built: Vec::new(),
            as_over: true,
        })
    }

    fn next(&mut self) -> Option<(Option<TreeEntry>, Option<TreeEntry>)> {
        let (over, under) = (self.over_left.peek(), self.under_left.peek());
        let name = match (over, under) {
            (Some(over), Some(under)) => (&over.name).min(&under.name),
            (one, other) => &one.or(other)?.name,
        };
        let is_next = |entry: Option<&TreeEntry>| entry.is_some_and(|entry| entry.name == *name);
        let (over, under) = (is_next(over), is_next(under));
        Some((
            if over { self.over_left.next() } else { None },
            if under { self.under_left.next() } else { None },
        ))
    }
}
