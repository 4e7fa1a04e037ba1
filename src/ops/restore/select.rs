//! What of a checkpoint is put back.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::files::Root;
use crate::error::{Error, Result};
use crate::model::json::Value;
use crate::model::registry::Registry;
use crate::model::step::Step;

/// A part of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// `run.json` and the other JSON files at the top of the run's folder.
    State,
    /// `artifact-registry.json`.
    Registry,
    /// A captured folder: `run`, `artifacts` or `workspace`.
    Root(String),
    /// The captured paths that match a glob, in any folder; syntax of a `.gitignore` line.
    Glob(String),
    /// The artifacts that a step has registered.
    Step(Step),
    /// One path of a captured folder, with all below it.
    Path {
        /// The folder: `run`, `artifacts` or `workspace`.
        root: String,
        /// The path in it, names joined by `/`.
        path: Vec<u8>,
    },
}

/// All that is put back.
#[derive(Debug, Default)]
pub(super) struct Selection {
    all: bool,
    state: bool,
    registry: bool,
    roots: Vec<String>,
    globs: Option<Gitignore>,
    /// Absolute, without links resolved.
    outputs: Vec<PathBuf>,
    /// By their folders' names.
    paths: HashSet<(String, Vec<u8>)>,
}

impl Selection {
    /// No parts are all of it.
    pub(super) fn new(
        parts: &[Part],
        project: Option<&Path>,
        registry: Registry<'_>,
    ) -> Result<Self> {
        let mut selection = Self {
            all: parts.is_empty(),
            ..Self::default()
        };
        let mut globs = GitignoreBuilder::new("");
        let mut any_glob = false;
        for part in parts {
            match part {
                Part::State => selection.state = true,
                Part::Registry => selection.registry = true,
                Part::Root(name) => selection.roots.push(name.clone()),
                Part::Path { root, path } => {
                    selection.paths.insert((root.clone(), path.clone()));
                }
                Part::Glob(glob) => {
                    globs
                        .add_line(None, glob)
                        .map_err(|error| Error::OptionValue {
                            name: "only",
                            reason: error.to_string(),
                        })?;
                    any_glob = true;
                }
                Part::Step(step) => {
                    let outputs = outputs(registry, step);
                    if outputs.is_empty() {
                        return Err(Error::OptionValue {
                            name: "only",
                            reason: format!("no artifact of step {step} is registered"),
                        });
                    }
                    let project = project.unwrap_or(Path::new(""));
                    selection
                        .outputs
                        .extend(outputs.iter().map(|path| plain(&project.join(path))));
                }
            }
        }
        if any_glob {
            let built = globs.build().map_err(|error| Error::OptionValue {
                name: "only",
                reason: error.to_string(),
            })?;
            selection.globs = Some(built);
        }
        Ok(selection)
    }

    pub(super) fn state(&self) -> bool {
        self.all || self.state
    }

    pub(super) fn registry(&self) -> bool {
        self.all || self.registry
    }

    /// Whether a path of a captured folder is put back.
    pub(super) fn takes(&self, root: &Root, path: &[u8]) -> bool {
        if self.all || self.roots.contains(&root.name) {
            return true;
        }
        if !self.paths.is_empty() {
            let ways = memchr::memchr_iter(b'/', path).chain([path.len()]);
            let name = &root.name;
            for end in ways {
                if self.paths.contains(&(name.clone(), path[..end].to_vec())) {
                    return true;
                }
            }
        }
        let text = String::from_utf8_lossy(path);
        let relative = Path::new(text.as_ref());
        let globbed = self.globs.as_ref().is_some_and(|globs| {
            globs
                .matched_path_or_any_parents(relative, false)
                .is_ignore()
        });
        globbed || {
            let full = root.folder.join(relative);
            self.outputs.iter().any(|path| full.starts_with(path))
        }
    }
}

/// The paths of the artifacts of a step, as they are registered.
fn outputs(registry: Registry<'_>, wanted: &Step) -> Vec<PathBuf> {
    let of_step = |entry: &Value<'_>| {
        entry
            .get("step")
            .is_some_and(|step| match (wanted, step.as_f64()) {
                (Step::Number(wanted), Some(number)) => *wanted == number,
                (Step::Name(wanted), None) => {
                    step.as_str().is_some_and(|name| name == wanted.as_str())
                }
                _ => false,
            })
    };
    registry
        .entries()
        .filter(of_step)
        .filter_map(|entry| {
            entry
                .get("path")?
                .as_str()
                .map(|path| PathBuf::from(path.as_ref()))
        })
        .collect()
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}
