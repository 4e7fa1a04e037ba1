//! Finds the folder that holds all runs.
//!
//! Nothing in the runner's calls names it. Looked for in this order: an explicit option, the
//! environment, `waymark.config.json`, the main script's path upwards, the working directory upwards.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::model::ids::RunId;
use crate::store::place::StoreDir;

/// The optional configuration file of a project.
pub const CONFIG_FILE: &str = "waymark.config.json";
/// Where runs lie below a project: the newer place first.
pub const PLACES: [&str; 2] = [".claude/context/runtime/runs", ".claude/context/runs"];

/// What is known to the caller.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// The option `runsDir`.
    pub runs_dir: Option<PathBuf>,
    /// The option `root`: the project.
    pub root: Option<PathBuf>,
    /// `WAYMARK_RUNS_DIR`.
    pub environment: Option<PathBuf>,
    /// The path of the script that Node was started with.
    pub main_script: Option<PathBuf>,
    /// The working directory.
    pub working_dir: Option<PathBuf>,
    /// The run that is meant, if one is.
    pub run_id: Option<RunId>,
    /// The option `store`.
    pub store: Option<PathBuf>,
}

/// The project that a folder of runs belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The project's folder: the one that holds `.claude`, else the nearest one above the runs with a
    /// configuration, else the one that holds the folder of runs.
    pub root: PathBuf,
    /// Where the store lies: as asked for, as configured (`store`), else `.waymark` in the project.
    pub store: StoreDir,
}

/// Finds the project of a folder of runs. It is the same for everybody, however the runs were found:
/// so the store is, and so are the settings beside it.
pub fn project(runs_dir: &Path, hints: &Hints) -> Result<Project> {
    let root = root_of(runs_dir);
    let config = read_config(&root.join(CONFIG_FILE))?;
    let store = match (&hints.store, config.and_then(|config| config.store)) {
        (Some(store), _) => {
            check_path(store)?;
            absolute(store, hints)?
        }
        (None, Some(store)) => {
            check_path(&store)?;
            root.join(store)
        }
        (None, None) => root.join(".waymark"),
    };
    Ok(Project {
        root: root.to_path_buf(),
        store: StoreDir::new(store),
    })
}

/// The project's folder, by where its runs lie.
fn root_of(runs_dir: &Path) -> &Path {
    let claude = runs_dir
        .ancestors()
        .find(|path| path.file_name() == Some(std::ffi::OsStr::new(".claude")));
    claude
        .and_then(Path::parent)
        .or_else(|| runs_dir.ancestors().skip(1).find(|one| has_config(one)))
        .or_else(|| runs_dir.parent())
        .unwrap_or(runs_dir)
}

fn has_config(folder: &Path) -> bool {
    fs::metadata(folder.join(CONFIG_FILE)).is_ok()
}

/// What is found of a project by one search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The `waymark.config.json` whose settings count; `None` if there is none.
    pub config: Option<PathBuf>,
    /// The folder of runs, as an absolute path; `None` while there is none.
    pub runs_dir: Option<PathBuf>,
}

/// Finds the `waymark.config.json` whose settings count: the project's own; `None` if it has none.
/// While there are no runs yet, it is that of the project they are expected in, or the nearest one
/// above the main script, else above the working directory.
pub fn config(hints: &Hints) -> Result<Option<PathBuf>> {
    Ok(find(hints)?.config)
}

/// Finds the folder of runs, and the `waymark.config.json` whose settings count, as [`config`] does.
pub fn find(hints: &Hints) -> Result<Found> {
    match locate(hints) {
        Ok(runs_dir) => Ok(Found {
            config: own_config(root_of(&runs_dir)),
            runs_dir: Some(runs_dir),
        }),
        Err(lost) => Ok(Found {
            config: expected_config(hints, lost)?,
            runs_dir: None,
        }),
    }
}

fn own_config(root: &Path) -> Option<PathBuf> {
    has_config(root).then(|| root.join(CONFIG_FILE))
}

/// The configuration of the project that runs are expected in.
fn expected_config(hints: &Hints, lost: Error) -> Result<Option<PathBuf>> {
    if !matches!(lost, Error::RunsDirNotFound { .. }) {
        return Err(lost);
    }
    match (&hints.runs_dir, &hints.root, &hints.environment) {
        (Some(runs_dir), _, _) | (None, None, Some(runs_dir)) => {
            Ok(own_config(root_of(&absolute(runs_dir, hints)?)))
        }
        (None, Some(root), _) => Ok(own_config(&absolute(root, hints)?)),
        (None, None, None) => Ok(upwards(hints).into_iter().find_map(own_config)),
    }
}

/// Where a search upwards begins: at the main script, and at the working directory unless that lies above it.
fn starts(hints: &Hints) -> impl Iterator<Item = &Path> {
    let script = hints.main_script.as_deref().and_then(Path::parent);
    let working_dir = hints.working_dir.as_deref();
    let apart =
        working_dir.filter(|folder| script.is_none_or(|script| !script.starts_with(folder)));
    script.into_iter().chain(apart)
}

/// The folders that everything is looked for in: upwards from the main script, then from the working directory. Each
/// once: most scripts are started from where they lie, or from above.
fn upwards(hints: &Hints) -> Vec<&Path> {
    let mut folders = Vec::new();
    for folder in starts(hints).flat_map(Path::ancestors) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    folders
}

/// Finds the store. An explicit place is enough, and so is a project whose runs are gone.
pub fn store(hints: &Hints) -> Result<StoreDir> {
    match locate(hints) {
        Ok(runs_dir) => Ok(project(&runs_dir, hints)?.store),
        Err(error @ Error::RunsDirNotFound { .. }) => {
            if let Some(store) = &hints.store {
                check_path(store)?;
                return Ok(StoreDir::new(absolute(store, hints)?));
            }
            match &hints.root {
                Some(root) => Ok(project(&absolute(root, hints)?.join(PLACES[1]), hints)?.store),
                None => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// The settings in `waymark.config.json` that the core knows. Others belong to other layers.
#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(rename = "runsDir")]
    runs_dir: Option<PathBuf>,
    store: Option<PathBuf>,
}

/// Finds the folder of runs, as an absolute path.
pub fn locate(hints: &Hints) -> Result<PathBuf> {
    for (name, path) in [
        ("runsDir", &hints.runs_dir),
        ("WAYMARK_RUNS_DIR", &hints.environment),
    ] {
        if name == "WAYMARK_RUNS_DIR"
            && let Some(root) = &hints.root
        {
            // An explicit root comes before the environment.
            check_path(root)?;
            let root = absolute(root, hints)?;
            return match configured(&root)? {
                Some(found) => Ok(found),
                None => below(&root, hints).ok_or_else(|| Error::RunsDirNotFound {
                    tried: format!("{} in {}", PLACES.join(" and "), root.display()),
                }),
            };
        }
        if let Some(path) = path {
            check_path(path)?;
            let path = absolute(path, hints)?;
            if path.is_dir() {
                return Ok(path);
            }
            let tried = format!("{} ({name})", path.display());
            return Err(Error::RunsDirNotFound { tried });
        }
    }
    let folders = upwards(hints);
    for folder in &folders {
        if let Some(found) = configured(folder)? {
            return Ok(found);
        }
    }
    for folder in folders {
        if let Some(found) = below(folder, hints) {
            return Ok(found);
        }
    }
    // Where the search began, not each folder above: a project may lie deep.
    let starts: Vec<String> = starts(hints)
        .map(|folder| folder.display().to_string())
        .collect();
    Err(Error::RunsDirNotFound {
        tried: format!(
            "{} in {} and in each folder above",
            PLACES.join(" and "),
            starts.join(" and ")
        ),
    })
}

pub(super) fn check_path(path: &Path) -> Result<()> {
    let text = path.to_string_lossy();
    let reason = if text.is_empty() {
        "empty"
    } else if text.contains('\0') {
        "nul"
    } else if text.len() > 4096 {
        "length"
    } else if text.contains('\u{fffd}') {
        "charset"
    } else {
        return Ok(());
    };
    Err(Error::PathInvalid {
        path: crate::model::ids::shorten(&text),
        reason,
    })
}

pub(super) fn absolute(path: &Path, hints: &Hints) -> Result<PathBuf> {
    let base = hints.working_dir.as_deref().unwrap_or(Path::new("."));
    let joined = base.join(path);
    let found = std::path::absolute(&joined).map_err(|error| Error::io("find", &joined, error))?;
    Ok(plain(found))
}

/// One spelling of a path, whatever way it was found: marks and staging areas are named by it. No `.`, no `//`, none at the
/// end.
fn plain(path: PathBuf) -> PathBuf {
    without_dots(path).components().collect()
}

/// The folder above `a/..` is not `a`, and one folder must not have several names. What `..` leads to
/// behind a link only the file system knows.
fn without_dots(path: PathBuf) -> PathBuf {
    let dots = path.components().any(|part| part == Component::ParentDir);
    let real = dots.then(|| fs::canonicalize(&path).ok()).flatten();
    real.unwrap_or(path)
}

/// The configuration in a file; `None` if there is no such file.
fn read_config(path: &Path) -> Result<Option<Config>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let config = serde_json::from_slice(&bytes).map_err(|error| Error::Config {
        path: path.to_path_buf(),
        reason: error.to_string(),
    })?;
    Ok(Some(config))
}

/// The folder that a configuration file in `folder` names.
fn configured(folder: &Path) -> Result<Option<PathBuf>> {
    let path = folder.join(CONFIG_FILE);
    let Some(runs_dir) = read_config(&path)?.and_then(|config| config.runs_dir) else {
        return Ok(None);
    };
    check_path(&runs_dir)?;
    let found = plain(folder.join(runs_dir));
    if found.is_dir() {
        return Ok(Some(found));
    }
    let tried = format!("{} (runsDir in {})", found.display(), path.display());
    Err(Error::RunsDirNotFound { tried })
}

/// The folder of runs of the project at `folder`: of two, the one that holds the run, else the one
/// that holds any runs, else the newer.
fn below(folder: &Path, hints: &Hints) -> Option<PathBuf> {
    let places: Vec<PathBuf> = PLACES.iter().map(|place| folder.join(place)).collect();
    let found: Vec<&PathBuf> = places.iter().filter(|place| place.is_dir()).collect();
    if found.is_empty() {
        return None;
    }
    let holds_run = |place: &Path| {
        hints
            .run_id
            .as_ref()
            .is_some_and(|run_id| place.join(run_id.as_str()).is_dir())
    };
    let holds_any = |place: &Path| {
        fs::read_dir(place).is_ok_and(|mut entries| {
            entries.any(|entry| {
                entry.is_ok_and(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            })
        })
    };
    let chosen = found
        .iter()
        .find(|place| holds_run(place))
        .or_else(|| found.iter().find(|place| holds_any(place)))
        .or(found.first());
    chosen.map(|place| plain((*place).clone()))
}
