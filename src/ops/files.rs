//! Reads captured files back: lists them, and gives the content of one, held against its hash.
//!
//! Nothing is written, and the run's lock is not taken: a checkpoint that is dropped meanwhile is found
//! damaged, its objects being gone.

use std::path::PathBuf;
use std::vec::IntoIter;

use crate::error::{Error, Result};
use crate::model::diff::NodeInfo;
use crate::model::ids::CheckpointId;
use crate::model::manifest::{Check, Header, SnapshotRoot, inspect};
use crate::model::object::ObjectId;
use crate::model::snapshot::{Node, Tree, TreeEntry};
use crate::ops::Context;
use crate::ops::state::{damage_of, open_store};
use crate::store::manifests::bytes_of;
use crate::store::objects::{Content, Store};

/// How many names of a folder an error lists.
const NAMES_SHOWN: usize = 8;

/// Something that a checkpoint has captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The captured folder it lies in: `run`, `artifacts` or `workspace`.
    pub root: String,
    /// Where that folder lay: relative to the project where it lies in it, else absolute.
    pub root_path: String,
    /// Its path from there; names joined by `/`.
    pub path: Vec<u8>,
    /// What it is.
    pub info: NodeInfo,
}

/// Which of the captured files are listed.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only those of the root with this name or path.
    pub root: Option<String>,
    /// Only what lies below this path of a root, or that file.
    pub under: Option<Vec<u8>>,
}

/// A list of captured files that is read page by page.
#[derive(Debug)]
pub struct Listing {
    checkpoint_id: CheckpointId,
    /// Folders and files to begin with, the next one last.
    starts: Vec<Start>,
    levels: Vec<Level>,
    /// The root that `levels` lie in.
    root: Option<SnapshotRoot>,
}

#[derive(Debug)]
struct Start {
    root: SnapshotRoot,
    path: Vec<u8>,
    what: What,
}

#[derive(Debug)]
enum What {
    Tree(ObjectId),
    Alone(Box<Node>),
}

/// A folder that is being listed.
#[derive(Debug)]
struct Level {
    path: Vec<u8>,
    entries: IntoIter<TreeEntry>,
}

impl Listing {
    /// Begins to list what a checkpoint has captured.
    pub fn open(context: &Context<'_>, id: &CheckpointId, filter: &Filter) -> Result<Self> {
        context.cancel.check()?;
        let opened = Opened::read(context, id)?;
        let roots = opened.roots(filter.root.as_deref())?;
        let mut starts = Vec::new();
        match filter.under.as_deref().filter(|under| !is_top(under)) {
            None => starts.extend(roots.into_iter().map(|root| Start {
                path: Vec::new(),
                what: What::Tree(root.tree),
                root: root.clone(),
            })),
            Some(under) => {
                let mut known = None;
                for root in roots {
                    match opened.find(root, under)? {
                        Found::Node(node) => starts.push(Start {
                            path: names(under).collect::<Vec<_>>().join(&b'/'),
                            what: match node {
                                Node::Directory { tree, .. } => What::Tree(tree),
                                other => What::Alone(Box::new(other)),
                            },
                            root: root.clone(),
                        }),
                        Found::Missing(there) => {
                            known.get_or_insert(there);
                        }
                    }
                }
                if starts.is_empty() {
                    return Err(opened.missing(under, known));
                }
            }
        }
        starts.reverse();
        Ok(Self {
            checkpoint_id: id.clone(),
            starts,
            levels: Vec::new(),
            root: None,
        })
    }

    /// The next entries, at most `count`, a folder before what is in it; fewer only at the end.
    pub fn page(&mut self, context: &Context<'_>, count: usize) -> Result<Vec<Entry>> {
        let mut page = Vec::new();
        if self.starts.is_empty() && self.levels.is_empty() {
            return Ok(page);
        }
        let id = self.checkpoint_id.clone();
        let store = open_store(context)?;
        let open = |tree: &ObjectId| {
            context.cancel.check()?;
            read_tree(store.as_ref(), context, tree).or_else(|error| damaged(context, &id, error))
        };
        while page.len() < count {
            let Some(level) = self.levels.last_mut() else {
                let Some(start) = self.starts.pop() else {
                    break;
                };
                match start.what {
                    What::Tree(tree) => self.levels.push(Level {
                        path: start.path,
                        entries: open(&tree)?.entries.into_iter(),
                    }),
                    What::Alone(node) => page.push(entry(&start.root, start.path, &node)),
                }
                self.root = Some(start.root);
                continue;
            };
            let Some(next) = level.entries.next() else {
                self.levels.pop();
                continue;
            };
            let mut path = level.path.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&next.name);
            if let Node::Directory { tree, .. } = &next.node {
                self.levels.push(Level {
                    path: path.clone(),
                    entries: open(tree)?.entries.into_iter(),
                });
            }
            if let Some(root) = &self.root {
                page.push(entry(root, path, &next.node));
            }
        }
        Ok(page)
    }
}

fn entry(root: &SnapshotRoot, path: Vec<u8>, node: &Node) -> Entry {
    Entry {
        root: root.name.clone(),
        root_path: root.path.clone(),
        path,
        info: NodeInfo::from(node),
    }
}

/// Reads one captured file. Without a root all are searched, in the order they were captured in.
pub fn read(
    context: &Context<'_>,
    id: &CheckpointId,
    root: Option<&str>,
    path: &[u8],
    max_bytes: u64,
) -> Result<Vec<u8>> {
    context.cancel.check()?;
    let opened = Opened::read(context, id)?;
    let mut known = None;
    let mut other = None;
    for root in opened.roots(root)? {
        match opened.find(root, path)? {
            Found::Node(Node::File(file)) => return opened.content(path, &file, max_bytes),
            Found::Node(node) => {
                other.get_or_insert(node);
            }
            Found::Missing(there) => {
                known.get_or_insert(there);
            }
        }
    }
    let (run_id, checkpoint_id) = (context.run.run_id().to_string(), id.to_string());
    let shown = PathBuf::from(String::from_utf8_lossy(path).into_owned());
    let not_a_file = |known: String, reason| Error::FileNotInCheckpoint {
        run_id: context.run.run_id().to_string(),
        checkpoint_id: id.to_string(),
        path: shown.to_string_lossy().into_owned(),
        known,
        reason,
    };
    Err(match other {
        None => opened.missing(path, known),
        Some(Node::Withheld { size, hash, .. }) => Error::FileWithheld {
            run_id,
            checkpoint_id,
            path: shown,
            size,
            hash,
        },
        Some(Node::Skipped { reason, .. }) => Error::FileSkipped {
            run_id,
            checkpoint_id,
            path: shown,
            reason: reason.name(),
        },
        Some(Node::Symlink { target }) => {
            let target = String::from_utf8_lossy(&target).into_owned();
            not_a_file(format!("it is a symbolic link to {target:?}"), "symlink")
        }
        Some(Node::Directory { tree, .. }) => {
            let there = opened.tree(&tree)?;
            not_a_file(
                format!("it is a folder; in it: {}", listed(&there)),
                "directory",
            )
        }
        // Returned above.
        Some(Node::File(_)) => not_a_file("it was passed over".to_owned(), "missing"),
    })
}

/// A checkpoint's header, checked.
pub(super) fn header(context: &Context<'_>, id: &CheckpointId) -> Result<Header> {
    context.run.check(context.disk)?;
    let bytes = bytes_of(context.disk, context.run, id)?;
    inspect(&bytes, id.as_str(), context.run.run_id(), Check::Seal).map_err(|damage| {
        Error::CheckpointDamaged {
            run_id: context.run.run_id().to_string(),
            checkpoint_id: id.to_string(),
            path: context.run.manifest(id),
            damage,
        }
    })
}

/// What an error of the store means for a checkpoint that needs the object.
pub(super) fn damaged<T>(context: &Context<'_>, id: &CheckpointId, error: Error) -> Result<T> {
    let damage = damage_of(error)?;
    Err(Error::CheckpointDamaged {
        run_id: context.run.run_id().to_string(),
        checkpoint_id: id.to_string(),
        path: context.run.manifest(id),
        damage,
    })
}

/// Reads a folder; without a store it is missing.
pub(super) fn read_tree(
    store: Option<&Store<'_>>,
    context: &Context<'_>,
    id: &ObjectId,
) -> Result<Tree> {
    match store {
        Some(store) => store.tree(id),
        None => Err(Error::ObjectMissing {
            id: *id,
            path: match context.store {
                Some(place) => place.path().to_path_buf(),
                None => context.run.path().to_path_buf(),
            },
        }),
    }
}

/// A checkpoint, with the store that its files lie in.
struct Opened<'a> {
    context: &'a Context<'a>,
    header: Header,
    store: Option<Store<'a>>,
}

enum Found {
    Node(Node),
    /// What there is instead, in words.
    Missing(String),
}

impl<'a> Opened<'a> {
    fn read(context: &'a Context<'a>, id: &CheckpointId) -> Result<Self> {
        Ok(Self {
            context,
            header: header(context, id)?,
            store: open_store(context)?,
        })
    }

    fn id(&self) -> &CheckpointId {
        &self.header.checkpoint_id
    }

    /// The roots with a name or a path; all without one.
    fn roots(&self, wanted: Option<&str>) -> Result<Vec<&SnapshotRoot>> {
        let roots = self.header.snapshot.iter().flat_map(|one| &one.roots);
        let fits = |root: &&SnapshotRoot| {
            wanted.is_none_or(|wanted| root.name == wanted || root.path == wanted)
        };
        let found: Vec<_> = roots.clone().filter(fits).collect();
        match wanted {
            Some(wanted) if found.is_empty() => Err(Error::OptionValue {
                name: "root",
                reason: format!(
                    "{wanted:?} was not captured with {}; captured were: {}",
                    self.id(),
                    some(roots.map(|root| format!("{} ({})", root.name, root.path)))
                ),
            }),
            _ => Ok(found),
        }
    }

    fn tree(&self, id: &ObjectId) -> Result<Tree> {
        read_tree(self.store.as_ref(), self.context, id)
            .or_else(|error| damaged(self.context, self.id(), error))
    }

    /// Goes down a path.
    fn find(&self, root: &SnapshotRoot, path: &[u8]) -> Result<Found> {
        let mut tree = self.tree(&root.tree)?;
        let mut names = names(path).peekable();
        let mut above = Vec::new();
        loop {
            let Some(name) = names.next() else {
                return Ok(Found::Missing(format!(
                    "in {}: {}",
                    root.name,
                    listed(&tree)
                )));
            };
            let place = if above.is_empty() {
                root.name.clone()
            } else {
                String::from_utf8_lossy(&above).into_owned()
            };
            let Some(node) = tree.get(name) else {
                return Ok(Found::Missing(format!(
                    "in {place} there are: {}",
                    listed(&tree)
                )));
            };
            if names.peek().is_none() {
                return Ok(Found::Node(node.clone()));
            }
            let Node::Directory { tree: inner, .. } = node else {
                let name = String::from_utf8_lossy(name);
                return Ok(Found::Missing(format!("{name:?} in {place} is no folder")));
            };
            let inner = *inner;
            if !above.is_empty() {
                above.push(b'/');
            }
            above.extend_from_slice(name);
            tree = self.tree(&inner)?;
        }
    }

    fn missing(&self, path: &[u8], known: Option<String>) -> Error {
        Error::FileNotInCheckpoint {
            run_id: self.context.run.run_id().to_string(),
            checkpoint_id: self.id().to_string(),
            path: String::from_utf8_lossy(path).into_owned(),
            known: known.unwrap_or_else(|| "no files were captured with it".to_owned()),
            reason: "missing",
        }
    }

    fn content(
        &self,
        path: &[u8],
        file: &crate::model::snapshot::File,
        max_bytes: u64,
    ) -> Result<Vec<u8>> {
        if file.size > max_bytes {
            return Err(Error::FileOverLimit {
                path: PathBuf::from(String::from_utf8_lossy(path).into_owned()),
                size: file.size,
                limit: max_bytes,
            });
        }
        content_of(self.store.as_ref(), self.context, &Content::from(file))
            .or_else(|error| damaged(self.context, self.id(), error))
    }
}

/// Reads a content piece by piece, so that the caller can stop it.
pub(super) fn content_of(
    store: Option<&Store<'_>>,
    context: &Context<'_>,
    wanted: &Content,
) -> Result<Vec<u8>> {
    let Some(store) = store else {
        return read_tree(None, context, &wanted.object).map(|_| Vec::new());
    };
    let mut bytes = Vec::new();
    store.read_content(wanted, &mut |piece| {
        context.cancel.check()?;
        context.progress.add(0, piece.len() as u64);
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

/// The names of a path; `.` and doubled separators say nothing.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !matches!(*name, b"" | b"."))
}

fn is_top(path: &[u8]) -> bool {
    names(path).next().is_none()
}

/// The first names of a folder.
fn listed(tree: &Tree) -> String {
    some(tree.entries.iter().map(|entry| {
        let end = match entry.node {
            Node::Directory { .. } => "/",
            _ => "",
        };
        format!("{}{end}", String::from_utf8_lossy(&entry.name))
    }))
}

fn some(mut words: impl Iterator<Item = String>) -> String {
    let mut shown: Vec<String> = words.by_ref().take(NAMES_SHOWN).collect();
    let more = words.count();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    if shown.is_empty() {
        return "nothing".to_owned();
    }
    shown.join(", ")
}
