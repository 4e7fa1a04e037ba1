//! Exports a checkpoint as a folder: its state and files for people and other tools, and a report that
//! says what was checked and what is not there.
//!
//! The folder is made aside and renamed, so it is there whole or not at all. Without being allowed to, it
//! is not made of a damaged checkpoint.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use serde::Serialize;
use serde_json::json;

use super::report::{self, Row, Summary};
use crate::error::{Error, IoContext, Result};
use crate::model::damage::Damage;
use crate::model::ids::CheckpointId;
use crate::model::json::{Json, MAX_DEPTH, Tree as JsonTree, Value};
use crate::model::manifest::{
    self, Check, Header, MANIFEST_MAX, Opened, RunFile, STATE_MEMBERS, SnapshotRoot, inspect,
};
use crate::model::object::ObjectId;
use crate::model::progress::Phase;
use crate::model::snapshot::{File, Node, Tree, TreeEntry};
use crate::model::time::to_iso;
use crate::ops::Context;
use crate::ops::files::{damaged, read_tree};
use crate::ops::state::{content_of, damage_of, joined, open_store};
use crate::store::manifests::bytes_of;
use crate::store::objects::{Content, Store};
use crate::store::workspace::lay_out::{self, NewContent, NewFolder, stays_inside};

/// What is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The checkpoint.
    pub checkpoint_id: CheckpointId,
    /// Whether what is whole of a damaged checkpoint is exported.
    pub allow_damaged: bool,
}

/// A folder that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Exported {
    /// The folder.
    pub path: PathBuf,
    /// What the checkpoint's manifest says.
    pub header: Header,
    /// What is in the folder, and what is not.
    pub summary: Summary,
}

/// A member of the state, as the report has it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct StateRow {
    pub(super) member: String,
    pub(super) file: Option<String>,
    /// The object it lies in; without one it lies in the manifest.
    pub(super) object: Option<String>,
    pub(super) result: &'static str,
    pub(super) reason: Option<String>,
}

/// Makes a folder at `target`, which is absolute, where nothing is yet but an empty folder.
pub fn export_folder(context: &Context<'_>, target: &Path, request: &Request) -> Result<Exported> {
    let id = &request.checkpoint_id;
    context.cancel.check()?;
    context.run.check(context.disk)?;
    context.progress.enter(Phase::Scanning);
    let bytes = bytes_of(context.disk, context.run, id)?;
    let header =
        inspect(&bytes, id.as_str(), context.run.run_id(), Check::Checksum).map_err(|damage| {
            Error::CheckpointDamaged {
                run_id: context.run.run_id().to_string(),
                checkpoint_id: id.to_string(),
                path: context.run.manifest(id),
                damage,
            }
        })?;
    let store = open_store(context)?;
    let mut export = Export {
        context,
        request,
        header: &header,
        store,
        out: NewFolder::begin(target)?,
        rows: report::Rows::default(),
        summary: Summary::default(),
        state: Vec::new(),
        links: HashMap::new(),
    };
    let (files, sizes) = header
        .snapshot
        .as_ref()
        .map_or((0, 0), |one| (one.files, one.bytes));
    context.progress.expect(files, sizes);
    context.progress.enter(Phase::Writing);
    export.out.write("manifest.json", &bytes)?;
    export.state(&bytes)?;
    let folders = export.files()?;
    context.cancel.check()?;
    context.progress.enter(Phase::Storing);
    export.finish(&folders)
}

/// A captured folder and where it lies in the export.
#[derive(Debug, Serialize)]
pub(super) struct RootFolder {
    pub(super) name: String,
    /// Where it lay: relative to the project where it lies in it, else absolute.
    pub(super) captured_from: String,
    /// Where it lies in the export.
    pub(super) folder: String,
}

/// An export at work.
struct Export<'a> {
    context: &'a Context<'a>,
    request: &'a Request,
    header: &'a Header,
    store: Option<Store<'a>>,
    out: NewFolder,
    rows: report::Rows,
    summary: Summary,
    state: Vec<StateRow>,
    /// Links that are made in the end, with their rows.
    links: HashMap<PathBuf, Row>,
}

impl Export<'_> {
    /// What an error of the store means: damage to tell, if that is allowed; else the end.
    fn tell(&self, error: Error) -> Result<Damage> {
        if self.request.allow_damaged {
            damage_of(error)
        } else {
            damaged(self.context, &self.request.checkpoint_id, error)
        }
    }

    fn make(&mut self, path: &Path) -> Result<()> {
        self.out.folder(path, None).context("create", path)
    }

    fn state(&mut self, bytes: &[u8]) -> Result<()> {
        let mut texts = Vec::new();
        let mut lost: HashMap<&str, Damage> = HashMap::new();
        for object in &self.header.state_objects {
            let read = match &self.store {
                Some(store) => store.content(&content_of(object), MANIFEST_MAX),
                None => read_tree(None, self.context, &object.object).map(|_| Vec::new()),
            };
            // Each text by itself, so that one that is no JSON does not take the others with it.
            let read = read.map(|text| match Json::parse(&text, MAX_DEPTH).map(drop) {
                Ok(()) => Ok(text),
                Err(error) => Err(Damage::from(error)),
            });
            let damage = match read {
                Ok(Ok(text)) => {
                    texts.push((object.member.as_str(), text));
                    continue;
                }
                Ok(Err(damage)) if self.request.allow_damaged => damage,
                Ok(Err(damage)) => return Err(self.refused(damage)),
                Err(error) => self.tell(error)?,
            };
            lost.insert(object.member.as_str(), damage);
        }
        let whole = joined(bytes, &texts).map_err(|error| self.refused(error.into()))?;
        let json = Json::parse(&whole, MAX_DEPTH).map_err(|error| self.refused(error.into()))?;
        let opened = manifest::opened(&json, self.header.clone());
        let state = self.out.path().join("state");
        self.make(&state)?;
        for member in STATE_MEMBERS {
            let stored = self.header.state_objects.iter();
            let object = stored
                .filter(|one| one.member == member)
                .map(|one| one.object.to_string())
                .next();
            let mut row = StateRow {
                member: member.to_owned(),
                file: None,
                object,
                result: "whole",
                reason: None,
            };
            if let Some(damage) = lost.get(member) {
                row.result = "damaged";
                row.reason = Some(damage.to_string());
                self.summary.damaged += 1;
            } else {
                row.file = self.member(member, &opened, json.root())?;
                if row.file.is_none() {
                    row.result = "absent";
                }
            }
            self.state.push(row);
        }
        Ok(())
    }

    fn refused(&self, damage: Damage) -> Error {
        Error::CheckpointDamaged {
            run_id: self.context.run.run_id().to_string(),
            checkpoint_id: self.request.checkpoint_id.to_string(),
            path: self.context.run.manifest(&self.request.checkpoint_id),
            damage,
        }
    }

    /// Writes one member of the state; the name of its file, or of its folder.
    fn member(
        &mut self,
        member: &str,
        opened: &Opened<'_>,
        root: Value<'_>,
    ) -> Result<Option<String>> {
        let name = match member {
            "run_record" => "state/run.json",
            "artifact_registry" => "state/artifact-registry.json",
            "step_state" => "state/step-state.json",
            _ => return self.run_files(opened),
        };
        let Some(value) = root.get(member) else {
            return Ok(None);
        };
        self.out.write(name, &JsonTree::Value(value).to_pretty())?;
        Ok(Some(name.to_owned()))
    }

    fn run_files(&mut self, opened: &Opened<'_>) -> Result<Option<String>> {
        let files = opened.run_files().map_err(|damage| self.refused(damage))?;
        if files.is_empty() {
            return Ok(None);
        }
        let folder = self.out.path().join("state").join("run-files");
        self.make(&folder)?;
        for (name, file) in files {
            let bytes = match file {
                RunFile::Text(text) => text.into_bytes(),
                RunFile::Base64(text) => base64::engine::general_purpose::STANDARD
                    .decode(text)
                    .map_err(|_| {
                        self.refused(Damage::NotCheckpoint("a run file's base64 is not valid"))
                    })?,
                RunFile::Skipped { reason, size } => {
                    self.summary.skipped += 1;
                    let row = Row {
                        size: Some(size),
                        reason: Some(reason),
                        ..Row::new("run", name.as_bytes(), "skipped", "skipped")
                    };
                    self.rows.add(&row);
                    continue;
                }
            };
            self.out.write(&format!("state/run-files/{name}"), &bytes)?;
        }
        Ok(Some("state/run-files".to_owned()))
    }

    fn files(&mut self) -> Result<Vec<RootFolder>> {
        let header = self.header;
        let Some(snapshot) = &header.snapshot else {
            return Ok(Vec::new());
        };
        let files = self.out.path().join("files");
        self.make(&files)?;
        let mut folders: Vec<RootFolder> = Vec::new();
        for root in &snapshot.roots {
            let plain = if ["run", "artifacts", "workspace"].contains(&root.name.as_str()) {
                root.name.as_str()
            } else {
                "other"
            };
            let same = folders
                .iter()
                .filter(|one| {
                    one.folder == format!("files/{plain}")
                        || one.folder.starts_with(&format!("files/{plain}-"))
                })
                .count();
            let folder = if same == 0 {
                plain.to_owned()
            } else {
                format!("{plain}-{}", same + 1)
            };
            let path = files.join(&folder);
            self.make(&path)?;
            self.root(root, path)?;
            folders.push(RootFolder {
                name: root.name.clone(),
                captured_from: root.path.clone(),
                folder: format!("files/{folder}"),
            });
        }
        for (path, error) in self.out.make_links() {
            if let Some(row) = self.links.get_mut(&path) {
                row.result = "described";
                row.reason = Some(error.to_string());
            }
        }
        let mut links: Vec<Row> = std::mem::take(&mut self.links).into_values().collect();
        links.sort_by(|left, right| (&left.root, &left.path).cmp(&(&right.root, &right.path)));
        for row in links {
            if row.result == "described" {
                self.summary.described += 1;
            } else {
                self.summary.links += 1;
            }
            self.rows.add(&row);
        }
        Ok(folders)
    }

    fn root(&mut self, root: &SnapshotRoot, path: PathBuf) -> Result<()> {
        let mut next = vec![(path, Vec::new(), root.tree, 0)];
        while let Some((folder, shown, tree, depth)) = next.pop() {
            self.context.cancel.check()?;
            let tree = match read_tree(self.store.as_ref(), self.context, &tree) {
                Ok(tree) => tree,
                Err(error) => {
                    let damage = self.tell(error)?;
                    self.summary.damaged += 1;
                    let row = Row {
                        reason: Some(format!("{damage}; nothing of what was in it is here")),
                        ..Row::new(&root.name, &shown, "directory", "damaged")
                    };
                    self.rows.add(&row);
                    Tree::default()
                }
            };
            for entry in tree.entries {
                let mut inner = shown.clone();
                if !inner.is_empty() {
                    inner.push(b'/');
                }
                inner.extend_from_slice(&entry.name);
                if let Some((path, tree)) =
                    self.entry(&root.name, &folder, &inner, &entry, depth)?
                {
                    next.push((path, inner, tree, depth + 1));
                }
            }
        }
        Ok(())
    }

    /// Lays one entry out; a folder's contents are the caller's.
    fn entry(
        &mut self,
        root: &str,
        folder: &Path,
        shown: &[u8],
        entry: &TreeEntry,
        depth: usize,
    ) -> Result<Option<(PathBuf, ObjectId)>> {
        let kind = match &entry.node {
            Node::File(_) => "file",
            Node::Symlink { .. } => "symlink",
            Node::Directory { .. } => "directory",
            Node::Withheld { .. } => "withheld",
            Node::Skipped { .. } => "skipped",
        };
        let mut row = Row::new(root, shown, kind, "whole");
        let path = lay_out::joined(folder, &entry.name);
        match (&entry.node, path) {
            (
                Node::Withheld {
                    mode,
                    modified_ns,
                    size,
                    hash,
                },
                _,
            ) => {
                row.result = "withheld";
                row.describe(*mode, Some(*modified_ns));
                (row.size, row.hash) = (Some(*size), Some(hash.to_string()));
                self.summary.withheld += 1;
            }
            (Node::Skipped { reason, size }, _) => {
                row.result = "skipped";
                row.size = Some(*size);
                row.reason = Some(reason.name().to_owned());
                self.summary.skipped += 1;
            }
            (node, None) => {
                if let Node::File(file) = node {
                    (row.size, row.hash) = (Some(file.size), Some(file.hash.to_string()));
                }
                self.refuse(&mut row, "this system has no such names");
            }
            (Node::Symlink { target }, Some(path)) => {
                row.target = Some(String::from_utf8_lossy(target).into_owned());
                if stays_inside(target, depth) {
                    row.result = "made";
                    self.out.link(path.clone(), target);
                } else {
                    row.result = "described";
                    row.reason = Some("it could lead out of its folder".to_owned());
                }
                self.links.insert(path, row);
                return Ok(None);
            }
            (Node::Directory { mode, tree }, Some(path)) => {
                row.describe(*mode, None);
                match self.out.folder(&path, Some(*mode)) {
                    Ok(()) => {
                        self.summary.folders += 1;
                        return Ok(Some((path, *tree)));
                    }
                    Err(error) => self.refuse_for(&mut row, &path, error)?,
                }
            }
            (Node::File(file), Some(path)) => {
                row.describe(file.mode, Some(file.modified_ns));
                (row.size, row.hash) = (Some(file.size), Some(file.hash.to_string()));
                match self.out.file(&path) {
                    Ok(content) => self.content(&mut row, &path, file, content)?,
                    Err(error) => self.refuse_for(&mut row, &path, error)?,
                }
            }
        }
        self.rows.add(&row);
        Ok(None)
    }

    fn content(
        &mut self,
        row: &mut Row,
        path: &Path,
        file: &File,
        mut out: NewContent,
    ) -> Result<()> {
        let context = self.context;
        let wanted = Content::from(file);
        let read = match &self.store {
            Some(store) => store.read_content(&wanted, &mut |piece| {
                context.cancel.check()?;
                context.progress.add(0, piece.len() as u64);
                out.write(piece).context("write", path)
            }),
            None => read_tree(None, context, &wanted.object).map(|_| ()),
        };
        match read {
            Ok(()) => {
                out.finish(Some(file.mode), Some(file.modified_ns))
                    .context("write", path)?;
                context.progress.add(1, 0);
                self.summary.files += 1;
                self.summary.bytes += file.size;
            }
            Err(error) => {
                let damage = self.tell(error)?;
                drop(out);
                self.out.take_back(path).context("remove", path)?;
                row.result = "damaged";
                row.reason = Some(damage.to_string());
                self.summary.damaged += 1;
            }
        }
        Ok(())
    }

    fn refuse(&mut self, row: &mut Row, reason: &str) {
        row.result = "refused";
        row.reason = Some(reason.to_owned());
        self.summary.refused += 1;
    }

    /// A name that this file system refuses is told; a full disk ends the export.
    fn refuse_for(&mut self, row: &mut Row, path: &Path, error: io::Error) -> Result<()> {
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                self.refuse(row, "this file system takes its name for another's");
            }
            io::ErrorKind::InvalidInput
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::NotFound => {
                self.refuse(row, &error.to_string());
            }
            // Names that are no UTF-8, on macOS.
            _ if error.raw_os_error() == Some(92) && cfg!(target_vendor = "apple") => {
                self.refuse(row, &error.to_string());
            }
            _ => return Err(Error::io("create", path, error)),
        }
        Ok(())
    }

    fn finish(self, folders: &[RootFolder]) -> Result<Exported> {
        let Self {
            context,
            request,
            header,
            mut out,
            rows,
            summary,
            state,
            ..
        } = self;
        let about = report::About {
            run_id: context.run.run_id().as_str(),
            header,
            exported_at: to_iso(context.now_ms),
            folders,
            state: &state,
            summary: &summary,
        };
        let metadata = json!({
            "format": 1,
            "kind": "waymark checkpoint export",
            "run_id": about.run_id,
            "workflow_id": header.workflow_id,
            "checkpoint_id": request.checkpoint_id.as_str(),
            "step": header.step,
            "timestamp": header.timestamp,
            "sequence": header.sequence,
            "parent_checkpoint_id": header.parent,
            "checksum": header.checksum,
            "exported_at": about.exported_at,
            "exported_by": {
                "waymark": env!("CARGO_PKG_VERSION"),
                "platform": std::env::consts::OS,
                "arch": std::env::consts::ARCH,
            },
            "whole": summary.is_whole(),
            "roots": folders,
            "summary": &summary,
        });
        let mut text = serde_json::to_vec_pretty(&metadata).unwrap_or_default();
        text.push(b'\n');
        out.write("metadata.json", &text)?;
        out.write("report.json", &rows.json(&about))?;
        out.write("report.md", rows.markdown(&about).as_bytes())?;
        let path = out.target().to_path_buf();
        out.publish()?;
        Ok(Exported {
            path,
            header: header.clone(),
            summary,
        })
    }
}
