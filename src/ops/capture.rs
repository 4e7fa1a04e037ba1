//! Captures the files of a run, and those of the project that belong to it.
//!
//! Three kinds of roots: `run`, the run's folder without what the manifest carries itself; `artifacts`,
//! what the registry names elsewhere in the project; `workspace`, the project or chosen folders of it,
//! if asked for.

use std::borrow::Cow;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::json::Value;
use crate::model::manifest::{PROBLEMS_MAX, Problem, RunFile, Snapshot, SnapshotRoot};
use crate::model::object::ObjectId;
use crate::model::registry::{Registry, leads_into};
use crate::ops::Context;
use crate::store::disk::EntryKind;
use crate::store::objects::{Sink, Writer};
use crate::store::place::StoreDir;
use crate::store::workspace::{self, CacheFile, Captured, Root, Rules, Select};

/// The largest file that is captured unless the caller sets another limit, in bytes (1 GiB).
pub const FILE_MAX: u64 = 1 << 30;

/// What is captured with a checkpoint.
#[derive(Debug, Clone)]
pub struct Capture {
    /// The project's folder, absolute.
    pub project: PathBuf,
    /// Whether the run's own files are captured.
    pub run: bool,
    /// Whether artifacts of the registry that lie elsewhere in the project are captured.
    pub artifacts: bool,
    /// Folders of the workspace, absolute or relative to the project; none if it is empty.
    pub workspace: Vec<PathBuf>,
    /// What of the workspace is captured, and which files hold secrets.
    pub rules: Rules,
    /// Whether a checkpoint that lacks something is refused instead of marked.
    pub refuse_partial: bool,
}

impl Capture {
    /// The same for the folders of a snapshot, beside what was asked for of the run.
    pub(super) fn of_roots(&self, snapshot: Option<&Snapshot>) -> Self {
        let roots = || snapshot.into_iter().flat_map(|one| &one.roots);
        let has = |name: &str| roots().any(|root| root.name == name);
        Self {
            run: self.run || has("run"),
            artifacts: self.artifacts || has("artifacts"),
            workspace: roots()
                .filter(|root| root.name == "workspace")
                .map(|root| PathBuf::from(&root.path))
                .collect(),
            refuse_partial: false,
            ..self.clone()
        }
    }
}

/// What was captured, waiting for the objects to become durable.
pub(super) struct Taken {
    pub(super) snapshot: Snapshot,
    found: Vec<Captured>,
}

impl Taken {
    /// Writes down what was seen, so that nothing unchanged is read the next time.
    pub(super) fn remember(mut self) -> Vec<String> {
        let failed = |captured: &mut Captured| captured.remember().err();
        let errors = self.found.iter_mut().filter_map(failed);
        errors.map(|error| error.full_message()).collect()
    }
}

/// A folder as it is now.
pub(super) struct Looked {
    pub(super) name: &'static str,
    /// Its path as a manifest has it.
    pub(super) shown: String,
    pub(super) path: PathBuf,
    /// `None` if there is nothing of what was asked for.
    pub(super) tree: Option<ObjectId>,
}

/// What a look found.
#[derive(Default)]
pub(super) struct Sight {
    /// As a snapshot has it.
    pub(super) snapshot: Snapshot,
    pub(super) folders: Vec<Looked>,
    /// For [`Captured::remember`].
    pub(super) found: Vec<Captured>,
}

/// A folder to capture.
struct Folder<'a> {
    name: &'static str,
    path: PathBuf,
    select: Select<'a>,
    cache: PathBuf,
    rules: Rules,
}

impl Folder<'_> {
    fn root(&self, generation: Option<u64>, note: bool) -> Root<'_> {
        Root {
            path: &self.path,
            select: self.select,
            cache: generation.map(|generation| CacheFile {
                path: &self.cache,
                generation,
                note,
            }),
        }
    }
}

/// What there is to capture.
pub(super) struct Wanted<'a> {
    capture: &'a Capture,
    run: bool,
    artifacts: Vec<PathBuf>,
}

impl<'a> Wanted<'a> {
    /// Looks for what is to be captured; `None` if there is nothing, so that no store is needed. The
    /// artifacts lie where the registries say, and at `more_paths`.
    pub(super) fn find<'t>(
        context: &Context<'_>,
        capture: Option<&'a Capture>,
        registries: &[Registry<'t>],
        more_paths: &mut dyn Iterator<Item = &'t str>,
        run_has_files: bool,
    ) -> Option<Self> {
        // The capture reads the user's own folders, which only a real disk has.
        let capture = capture.filter(|_| context.store.is_some() && context.disk.is_real())?;
        let run = capture.run && run_has_files;
        let artifacts = if capture.artifacts {
            artifacts(context, &capture.project, registries, more_paths)
        } else {
            Vec::new()
        };
        let any = run || !artifacts.is_empty() || !capture.workspace.is_empty();
        any.then_some(Self {
            capture,
            run,
            artifacts,
        })
    }

    /// Captures it.
    pub(super) fn take(
        &self,
        context: &Context<'_>,
        writer: &Writer<'_>,
        run_files: &[(String, RunFile)],
    ) -> Result<Taken> {
        let generation = writer.store().generation()?.cast_unsigned();
        let mut taken = Taken {
            snapshot: Snapshot::default(),
            found: Vec::new(),
        };
        for folder in self.folders(context, writer.store().place(), run_files)? {
            let root = folder.root(Some(generation), true);
            let (progress, cancel) = (context.progress, context.cancel);
            let found = workspace::capture(&root, &folder.rules, writer, progress, cancel)?;
            self.enter(&mut taken.snapshot, folder.name, &folder.path, &found);
            taken.found.push(found);
        }
        for (name, file) in run_files {
            if let RunFile::Skipped { reason, size } = file {
                taken.snapshot.problems_total += 1;
                taken.snapshot.problems.push(Problem {
                    root: "run".to_owned(),
                    path: name.clone(),
                    reason: reason.clone(),
                    size: *size,
                });
            }
        }
        taken.snapshot.problems.truncate(PROBLEMS_MAX);
        if self.capture.refuse_partial && taken.snapshot.is_partial() {
            return Err(Error::CheckpointPartial {
                run_id: context.run.run_id().to_string(),
                total: taken.snapshot.problems_total,
                problems: taken
                    .snapshot
                    .problems
                    .iter()
                    .map(|one| format!("{} ({})", one.path, one.reason))
                    .collect(),
            });
        }
        Ok(taken)
    }

    /// Looks at it as it is now; a folder that is gone is nothing. Without a generation the caches are not
    /// asked; with `note` what is seen can be remembered.
    pub(super) fn look(
        &self,
        context: &Context<'_>,
        place: &StoreDir,
        generation: Option<u64>,
        note: bool,
        sink: &dyn Sink,
        run_files: &[(String, RunFile)],
    ) -> Result<Sight> {
        let mut sight = Sight::default();
        for folder in self.folders(context, place, run_files)? {
            let root = folder.root(generation, note);
            let (progress, cancel) = (context.progress, context.cancel);
            let found = match workspace::capture(&root, &folder.rules, sink, progress, cancel) {
                Ok(found) => Some(found),
                Err(Error::Io { path, source, .. })
                    if path == folder.path && source.kind() == io::ErrorKind::NotFound =>
                {
                    None
                }
                Err(error) => return Err(error),
            };
            if let Some(found) = &found {
                self.enter(&mut sight.snapshot, folder.name, &folder.path, found);
            }
            sight.folders.push(Looked {
                name: folder.name,
                shown: self.shown(&folder.path),
                path: folder.path,
                tree: found.as_ref().and_then(|found| found.tree),
            });
            sight.found.extend(found);
        }
        Ok(sight)
    }

    /// The folders to capture, in the order of a snapshot.
    fn folders(
        &self,
        context: &Context<'_>,
        place: &StoreDir,
        run_files: &[(String, RunFile)],
    ) -> Result<Vec<Folder<'_>>> {
        let rules = &self.capture.rules;
        let mut folders = Vec::new();
        if self.run {
            folders.push(Folder {
                name: "run",
                path: context.run.path().to_path_buf(),
                select: Select::All,
                cache: context.run.private().join("files"),
                rules: run_rules(rules, run_files),
            });
        }
        // Explicitly named paths go by their names, whatever ignore files say.
        let mut never = vec![place.path().to_path_buf()];
        if !self.artifacts.is_empty() {
            folders.push(Folder {
                name: "artifacts",
                path: self.capture.project.clone(),
                select: Select::Paths(&self.artifacts),
                cache: context.run.private().join("artifacts"),
                rules: Rules {
                    never: never.clone(),
                    ..rules.clone()
                },
            });
        }
        never.push(context.run.runs_dir().to_path_buf());
        for folder in &self.capture.workspace {
            let path = joined(&self.capture.project, folder)?;
            // Runs share what the last one of them saw.
            let name = ObjectId::of(path.as_os_str().as_encoded_bytes());
            folders.push(Folder {
                name: "workspace",
                cache: place.caches().join(&name.to_string()[..32]),
                path,
                select: Select::All,
                rules: Rules {
                    never: never.clone(),
                    project: Some(self.capture.project.clone()),
                    ..rules.clone()
                },
            });
        }
        Ok(folders)
    }

    /// A captured folder's path as a manifest has it.
    fn shown(&self, path: &Path) -> String {
        let shown = path.strip_prefix(&self.capture.project).unwrap_or(path);
        match shown.to_string_lossy() {
            empty if empty.is_empty() => ".".to_owned(),
            shown => shown.into_owned(),
        }
    }

    fn enter(&self, snapshot: &mut Snapshot, name: &str, path: &Path, found: &Captured) {
        if let Some(tree) = found.tree {
            snapshot.roots.push(SnapshotRoot {
                name: name.to_owned(),
                path: self.shown(path),
                tree,
                mode: Some(found.mode),
            });
        }
        snapshot.files += found.files - found.withheld;
        snapshot.bytes += found.bytes;
        snapshot.withheld += found.withheld;
        snapshot.problems_total += found.problems.len() as u64;
        let room = PROBLEMS_MAX.saturating_sub(snapshot.problems.len());
        let problems = found.problems.iter().take(room).map(|problem| Problem {
            root: name.to_owned(),
            path: String::from_utf8_lossy(&problem.path).into_owned(),
            reason: problem.reason.name().to_owned(),
            size: problem.size,
        });
        snapshot.problems.extend(problems);
        let missing = found.missing.iter();
        snapshot
            .missing
            .extend(missing.map(|path| path.to_string_lossy().into_owned()));
    }
}

/// What of a run's folder is never captured as a file: the manifest carries it, or it is derived.
const CARRIED: [&str; 5] = [
    "checkpoints",
    "run.json",
    "run.json.lock",
    "artifact-registry.json",
    "project-db.json",
];

/// True for what lies in a run's folder and is never captured from it, run files aside.
pub(super) fn is_carried(name: &str, kind: EntryKind) -> bool {
    match kind {
        EntryKind::Directory => name == "checkpoints",
        _ => CARRIED.contains(&name),
    }
}

/// The rules for the run's own folder: everything but what the manifest carries.
fn run_rules(rules: &Rules, run_files: &[(String, RunFile)]) -> Rules {
    let carried = CARRIED.iter().copied();
    let names = carried.chain(run_files.iter().map(|(name, _)| name.as_str()));
    Rules {
        respect_gitignore: false,
        exclude: names.map(|name| format!("/{}", escaped(name))).collect(),
        include: Vec::new(),
        never: Vec::new(),
        ..rules.clone()
    }
}

/// A name as a glob that matches nothing else.
fn escaped(name: &str) -> String {
    let mut glob = String::with_capacity(name.len());
    for character in name.chars() {
        if matches!(
            character,
            '*' | '?' | '[' | ']' | '{' | '}' | '\\' | '!' | '#' | ' '
        ) {
            glob.push('\\');
        }
        glob.push(character);
    }
    glob
}

/// The artifacts of registries that lie in the project but not in the run, relative to the project.
fn artifacts<'a>(
    context: &Context<'_>,
    project: &Path,
    registries: &[Registry<'a>],
    more_paths: &mut dyn Iterator<Item = &'a str>,
) -> Vec<PathBuf> {
    let run = context.run.path();
    // Nearly all lie in the run, and there may be thousands.
    let plain_prefix = run_prefix(context);
    let mut texts: Vec<Cow<'a, str>> = more_paths.map(Cow::Borrowed).collect();
    for registry in registries {
        texts.extend(registry.paths().filter_map(Value::as_str));
    }
    let mut found: Vec<PathBuf> = texts
        .into_iter()
        .filter_map(|text| {
            let path = Path::new(text.as_ref());
            if leads_into(&plain_prefix, &text) {
                return None;
            }
            let relative = match path.strip_prefix(project) {
                Ok(relative) => relative,
                // Not in the project.
                Err(_) if path.is_absolute() => return None,
                Err(_) => path,
            };
            let plain = relative
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            let usable = plain && !relative.as_os_str().is_empty() && !text.contains('\0');
            let in_run = project.join(relative).starts_with(run);
            (usable && !in_run).then(|| relative.to_path_buf())
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The run's folder and a slash, as paths in its registry begin.
pub(super) fn run_prefix(context: &Context<'_>) -> String {
    format!("{}/", context.run.path().display())
}

/// A folder of the workspace.
pub(super) fn joined(project: &Path, folder: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(project.join(folder))
        .map_err(|error| Error::io("find", folder, error))?;
    // `.` and a trailing separator would make another name of the same folder.
    Ok(path.components().collect())
}
