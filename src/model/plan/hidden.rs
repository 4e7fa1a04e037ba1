//! What a look at the disk did not show, because today's rules hide it.

use crate::error::Result;
use crate::model::diff::Trees;
use crate::model::object::ObjectId;
use crate::model::plan::names::fold;
use crate::model::snapshot::{Node, SkipReason, Tree};

/// What is on the disk under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exists {
    /// Nothing.
    Nothing,
    /// A folder.
    Folder,
    /// Anything else.
    Other,
}

/// Finds the paths that the checkpoint has, that `now` does not show, and where something is all the
/// same: rules of today hide it, so it has to be looked at by its name.
///
/// A path is asked for if `wanted` has a file, a link or a folder there, and `now` has nothing, or a
/// file without its content: a secret, or one over the size limit. What a hidden folder holds is
/// asked for only if `exists` says that it is a folder on the disk. The paths come in the order of
/// their names, a folder before what is in it, each with what `exists` said.
///
/// Where names that differ in case only are the same (`case_folding`), a name that `now` shows in
/// another case is not asked for: it would be found, and be the same thing twice.
pub fn missing_paths(
    source: &dyn Trees,
    now: Option<&ObjectId>,
    wanted: Option<&ObjectId>,
    case_folding: bool,
    exists: &mut dyn FnMut(&[u8]) -> Result<Exists>,
) -> Result<Vec<(Vec<u8>, Exists)>> {
    let mut found = Vec::new();
    let mut path = Vec::new();
    let mut stack = Vec::new();
    if now != wanted {
        stack.push(Level::open(source, 0, now, wanted)?);
    }
    while let Some(level) = stack.last_mut() {
        path.truncate(level.path);
        let Some(entry) = level.wanted.entries.get(level.at) else {
            stack.pop();
            continue;
        };
        level.at += 1;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&entry.name);
        let shown = level.now.get(&entry.name);
        let wanted = match &entry.node {
            Node::Directory { tree, .. } => Some(tree),
            Node::File(_) | Node::Symlink { .. } => None,
            Node::Withheld { .. } | Node::Skipped { .. } => continue,
        };
        let now = match shown {
            Some(Node::Directory { tree, .. }) => Some(tree),
            None if case_folding && level.shows_in_another_case(&entry.name) => continue,
            None
            | Some(
                Node::Withheld { .. }
                | Node::Skipped {
                    reason: SkipReason::TooLarge,
                    ..
                },
            ) => None,
            Some(_) => continue,
        };
        if now.is_none() {
            let there = exists(&path)?;
            if there != Exists::Nothing {
                found.push((path.clone(), there));
            }
            if there != Exists::Folder {
                continue;
            }
        }
        if wanted.is_some() && now != wanted {
            let inner = Level::open(source, path.len(), now, wanted)?;
            stack.push(inner);
        }
    }
    Ok(found)
}

struct Level {
    path: usize,
    now: Tree,
    wanted: Tree,
    at: usize,
}

impl Level {
    fn open(
        source: &dyn Trees,
        path: usize,
        now: Option<&ObjectId>,
        wanted: Option<&ObjectId>,
    ) -> Result<Self> {
        let tree = |id: Option<&ObjectId>| id.map(|id| source.tree(id)).transpose();
        Ok(Self {
            path,
            now: tree(now)?.unwrap_or_default(),
            wanted: tree(wanted)?.unwrap_or_default(),
            at: 0,
        })
    }

    fn shows_in_another_case(&self, name: &[u8]) -> bool {
        let folded = fold(name);
        let shown = self.now.entries.iter();
        shown.map(|one| fold(&one.name)).any(|one| one == folded)
    }
}
