//! Decides which names of a folder are captured, and which files are secrets.
//!
//! All globs have the syntax of a `.gitignore` line. What decides, the first that says something:
//! `.git` and `.waymark` are never captured; exclude globs; include globs and paths asked for by
//! name, which take everything below them; `.waymarkignore`, then `.gitignore` of each folder from
//! the deepest up, also above the root (see [`Rules::project`]); `.git/info/exclude`; and at last
//! `node_modules` is left out. What is above a root says nothing about the root itself.
//!
//! *Invariants*: the same names and ignore files give the same decisions; nothing is matched while
//! no rule could match.
//!
//! *Crash story*: none; nothing is written here.
//!
//! *Limits*: below a folder that is ignored, include globs find something only along their fixed
//! beginning (`dist/keep/**`, not `*.map`). Lines of ignore files that are no glob are passed over,
//! as git does. git's global excludes file is not asked: it is not part of the folder.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, Result};

use super::stat::Stat;
use super::system;

/// What of a folder is captured.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whether `.gitignore` and `.git/info/exclude` count; `.waymarkignore` always does.
    pub respect_gitignore: bool,
    /// Globs that bring back what ignore files leave out.
    pub include: Vec<String>,
    /// Globs that leave out whatever else says.
    pub exclude: Vec<String>,
    /// More globs of secrets, beside the list that is built in; `!glob` says that something is none.
    pub secrets: Vec<String>,
    /// Whether the contents of secrets are kept out of the store.
    pub withhold_secrets: bool,
    /// Absolute folders that are never entered: the store, the runs.
    pub never: Vec<PathBuf>,
    /// The folder that the root belongs to, absolute: ignore files count from the top of its git
    /// repository on, else from itself on. Without one, and for roots elsewhere, it is the root.
    pub project: Option<PathBuf>,
    /// Larger files are skipped, and reported.
    pub max_file_bytes: u64,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            respect_gitignore: true,
            include: Vec::new(),
            exclude: Vec::new(),
            secrets: Vec::new(),
            withhold_secrets: true,
            never: Vec::new(),
            project: None,
            max_file_bytes: u64::MAX,
        }
    }
}

/// What of a root is asked for.
#[derive(Debug, Clone, Copy)]
pub enum Select<'a> {
    /// Everything the rules allow.
    All,
    /// Only these paths relative to the root, folders with all below. Ignore files don't apply to
    /// them; exclude globs and the list of secrets do.
    Paths(&'a [PathBuf]),
}

/// How the names of a folder are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Ignore files apply.
    Normal,
    /// Everything is taken.
    Whole,
    /// The folder is ignored; only what include globs bring back is taken.
    Ignored,
    /// Only the paths asked for are taken.
    Towards,
}

/// What a folder passes on to what is inside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope {
    pub(super) mode: Mode,
    /// The folder's place among the paths asked for.
    pub(super) asked: Option<usize>,
    /// Whether every file inside is a secret.
    pub(super) secret: bool,
}

impl Scope {
    /// Whether the folder only counts when something in it was taken.
    pub(super) fn only_if_filled(self) -> bool {
        matches!(self.mode, Mode::Ignored | Mode::Towards)
    }
}

/// The ignore files that apply in a folder, from the root down.
pub(super) type Levels = Arc<[Arc<Level>]>;

/// An ignore file.
#[derive(Debug)]
pub(super) struct Level {
    /// The length of its folder's path, with the `/` behind it.
    base: usize,
    /// The way from its folder to the root, with the `/` behind it, if it lies above the root.
    lead: Vec<u8>,
    globs: Gitignore,
}

/// How large an ignore file may be, in bytes.
pub(super) const IGNORE_FILE_LIMIT: u64 = 4 << 20;

/// The names of ignore files, the strongest last.
const EXCLUDE: &[u8] = b".git/info/exclude";
const GITIGNORE: &[u8] = b".gitignore";
const OWN_IGNORE: &[u8] = b".waymarkignore";

/// The rules, ready to decide.
#[derive(Debug)]
pub(super) struct Compiled<'a> {
    rules: &'a Rules,
    include: Gitignore,
    exclude: Gitignore,
    secrets: Gitignore,
    /// The fixed beginnings of include globs.
    leads: Vec<Vec<u8>>,
    never: Vec<Never>,
    asked: Asked,
}

/// A folder that is never entered.
#[derive(Debug)]
struct Never {
    /// Relative to the root; `None` if it lies elsewhere.
    path: Option<Vec<u8>>,
    found: Option<(u64, u64)>,
}

/// A tree of the paths asked for; its first node is the root.
#[derive(Debug, Default)]
pub(super) struct Asked {
    nodes: Vec<AskedNode>,
}

#[derive(Debug, Default)]
struct AskedNode {
    children: BTreeMap<Vec<u8>, usize>,
    /// The paths that end here, by their place in the list.
    ends: Vec<usize>,
}

impl Asked {
    fn new(select: Select<'_>) -> Result<Self> {
        let Select::Paths(paths) = select else {
            return Ok(Self::default());
        };
        let mut nodes = vec![AskedNode::default()];
        for (place, path) in paths.iter().enumerate() {
            let mut at = 0;
            for part in path.components() {
                let name = match part {
                    Component::Normal(name) => system::name_bytes(name),
                    Component::CurDir => continue,
                    _ => {
                        return Err(Error::PathInvalid {
                            path: path.to_string_lossy().into_owned(),
                            reason: "it must lead from the folder downwards",
                        });
                    }
                };
                at = if let Some(known) = nodes[at].children.get(&name) {
                    *known
                } else {
                    let new = nodes.len();
                    nodes.push(AskedNode::default());
                    nodes[at].children.insert(name, new);
                    new
                };
            }
            nodes[at].ends.push(place);
        }
        Ok(Self { nodes })
    }

    fn child(&self, at: Option<usize>, name: &[u8]) -> Option<usize> {
        self.nodes[at?].children.get(name).copied()
    }

    /// One flag for each path, down.
    pub(super) fn flags(&self) -> Vec<AtomicBool> {
        let ends = self.nodes.iter().flat_map(|node| &node.ends);
        ends.map(|_| AtomicBool::new(false)).collect()
    }

    /// The paths that end at a node, by their place in the list.
    pub(super) fn ends(&self, at: Option<usize>) -> &[usize] {
        at.map_or(&[], |at| &self.nodes[at].ends)
    }

    /// The names below a node, sorted.
    pub(super) fn names(&self, at: Option<usize>) -> impl Iterator<Item = &[u8]> {
        at.into_iter()
            .flat_map(|at| self.nodes[at].children.keys().map(Vec::as_slice))
    }
}

fn build(option: &'static str, globs: &[String]) -> Result<Gitignore> {
    let bad = |error: &dyn std::fmt::Display| Error::OptionValue {
        name: option,
        reason: error.to_string(),
    };
    let mut builder = GitignoreBuilder::new("");
    for glob in globs {
        builder.add_line(None, glob).map_err(|error| bad(&error))?;
    }
    builder.build().map_err(|error| bad(&error))
}

/// The part of a glob that leads to one folder; empty if it could match anywhere.
fn fixed_beginning(glob: &str) -> Vec<u8> {
    let anchored = glob.trim_end_matches('/').contains('/');
    let mut parts: Vec<&str> = Vec::new();
    if anchored && !glob.starts_with('!') {
        for part in glob.trim_matches('/').split('/') {
            if part.contains(['*', '?', '[', '{', '\\']) {
                break;
            }
            parts.push(part);
        }
    }
    parts.join("/").into_bytes()
}

/// True if one path is the other or lies in it.
fn along(one: &[u8], other: &[u8]) -> bool {
    let (short, long) = if one.len() < other.len() {
        (one, other)
    } else {
        (other, one)
    };
    long.starts_with(short) && matches!(long.get(short.len()), None | Some(b'/'))
}

/// A name that is looked at.
pub(super) struct Subject<'a> {
    /// Its path from the root.
    pub(super) path: &'a [u8],
    /// Its last part.
    pub(super) name: &'a [u8],
    pub(super) folder: bool,
}

impl<'a> Compiled<'a> {
    pub(super) fn new(rules: &'a Rules, root: &Path, select: Select<'_>) -> Result<Self> {
        let never = rules.never.iter().map(|path| Never {
            path: path.strip_prefix(root).ok().map(|rest| {
                let parts: Vec<Vec<u8>> = rest.iter().map(system::name_bytes).collect();
                parts.join(&b'/')
            }),
            // One that is not there is not entered either.
            found: system::stat_path(path)
                .ok()
                .filter(|found| found.inode != 0)
                .map(|found| (found.device, found.inode)),
        });
        Ok(Self {
            include: build("include", &rules.include)?,
            exclude: build("exclude", &rules.exclude)?,
            secrets: build("secrets", &rules.secrets)?,
            leads: rules
                .include
                .iter()
                .map(|glob| fixed_beginning(glob))
                .filter(|lead| !lead.is_empty())
                .collect(),
            never: never.collect(),
            asked: Asked::new(select)?,
            rules,
        })
    }

    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    pub(super) fn max_file_bytes(&self) -> u64 {
        self.rules.max_file_bytes
    }

    /// How the root itself is taken.
    pub(super) fn root_scope(&self) -> Scope {
        let asked = (!self.asked.nodes.is_empty()).then_some(0);
        let mode = match asked {
            None => Mode::Normal,
            Some(_) if self.asked.ends(asked).is_empty() => Mode::Towards,
            Some(_) => Mode::Whole,
        };
        Scope {
            mode,
            asked,
            secret: false,
        }
    }

    /// Whether deciding needs the whole path of a name.
    pub(super) fn needs_path(&self, levels: &Levels) -> bool {
        !(levels.is_empty()
            && self.include.is_empty()
            && self.exclude.is_empty()
            && self.secrets.is_empty())
    }

    /// Whether a folder is one that is never entered.
    pub(super) fn never(&self, path: &[u8], found: &Stat) -> bool {
        self.never.iter().any(|never| {
            never.found == Some((found.device, found.inode)) || never.path.as_deref() == Some(path)
        })
    }

    /// Decides about a name; `None` leaves it out.
    pub(super) fn decide(
        &self,
        within: Scope,
        levels: &Levels,
        subject: &Subject<'_>,
    ) -> Option<Scope> {
        if matches!(subject.name, b".git" | b".waymark") {
            return None;
        }
        let path = || system::as_path(subject.path);
        if !self.exclude.is_empty() && self.exclude.matched(path(), subject.folder).is_ignore() {
            return None;
        }
        let asked = self.asked.child(within.asked, subject.name);
        let wanted = !self.asked.ends(asked).is_empty();
        let included =
            || !self.include.is_empty() && self.include.matched(path(), subject.folder).is_ignore();
        let leads = || {
            subject.folder
                && self.leads.iter().any(|lead| along(lead, subject.path))
                && !self.include.is_empty()
        };
        let mode = match within.mode {
            Mode::Whole => Mode::Whole,
            Mode::Towards if wanted => Mode::Whole,
            Mode::Towards => asked.map(|_| Mode::Towards)?,
            _ if included() => Mode::Whole,
            Mode::Normal if !ignored(levels, subject) => Mode::Normal,
            _ if leads() => Mode::Ignored,
            _ => return None,
        };
        Some(Scope {
            mode,
            asked,
            secret: self.rules.withhold_secrets && (within.secret || self.is_secret(subject)),
        })
    }

    fn is_secret(&self, subject: &Subject<'_>) -> bool {
        if !self.secrets.is_empty() {
            match self
                .secrets
                .matched(system::as_path(subject.path), subject.folder)
            {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        if subject.folder {
            matches!(subject.name, b".ssh" | b".gnupg")
        } else {
            is_secret_name(subject.name)
        }
    }

    /// Adds the ignore files of a folder to those above it. `has` tells whether a name is in the
    /// folder, `read` reads a file of it.
    pub(super) fn levels(
        &self,
        above: &Levels,
        base: usize,
        has: impl Fn(&[u8]) -> bool,
        mut read: impl FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> Levels {
        self.add_levels(above, base, &[], has, &mut read)
    }

    /// The ignore files of the folders above a root.
    pub(super) fn levels_above(&self, root: &Path) -> Levels {
        let mut levels: Levels = Arc::from([]);
        let Some(project) = &self.rules.project else {
            return levels;
        };
        let own = if root.starts_with(project) {
            project
        } else {
            root
        };
        let is_top = |folder: &&Path| system::stat_path(&folder.join(".git")).is_ok();
        let top = own.ancestors().find(is_top).unwrap_or(own);
        let above: Vec<&Path> = root
            .ancestors()
            .skip(1)
            .take_while(|folder| folder.starts_with(top))
            .collect();
        for folder in above.into_iter().rev() {
            let Ok(rest) = root.strip_prefix(folder) else {
                continue;
            };
            let mut lead = Vec::new();
            for name in rest {
                lead.extend(system::name_bytes(name));
                lead.push(b'/');
            }
            // The way to a root is the user's, links on it and all; from the root on none is followed.
            let opened =
                std::fs::canonicalize(folder).and_then(|real| system::Dir::open_root(&real));
            let Ok(dir) = opened else { continue };
            levels = self.add_levels(&levels, 0, &lead, |_| true, &mut |file| {
                super::walk::read_small(&dir, file, IGNORE_FILE_LIMIT)
            });
        }
        levels
    }

    fn add_levels(
        &self,
        above: &Levels,
        base: usize,
        lead: &[u8],
        has: impl Fn(&[u8]) -> bool,
        read: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>,
    ) -> Levels {
        let mut own = Vec::new();
        for file in [EXCLUDE, GITIGNORE, OWN_IGNORE] {
            let name = if file == EXCLUDE { b".git" } else { file };
            if (file != OWN_IGNORE && !self.rules.respect_gitignore) || !has(name) {
                continue;
            }
            let Some(text) = read(file) else { continue };
            let mut builder = GitignoreBuilder::new("");
            let text = String::from_utf8_lossy(&text);
            for line in text.trim_start_matches('\u{feff}').lines() {
                // A line that is no glob matches nothing, as with git.
                let _ = builder.add_line(None, line);
            }
            if let Ok(globs) = builder.build()
                && !globs.is_empty()
            {
                let lead = lead.to_vec();
                own.push(Arc::new(Level { base, lead, globs }));
            }
        }
        if own.is_empty() {
            return Arc::clone(above);
        }
        above.iter().cloned().chain(own).collect()
    }
}

fn ignored(levels: &Levels, subject: &Subject<'_>) -> bool {
    for level in levels.iter().rev() {
        let matched = if level.lead.is_empty() {
            let path = system::as_path(&subject.path[level.base..]);
            level.globs.matched(path, subject.folder)
        } else {
            let path = [&level.lead[..], subject.path].concat();
            level.globs.matched(system::as_path(&path), subject.folder)
        };
        match matched {
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
            Match::None => {}
        }
    }
    subject.folder && subject.name == b"node_modules"
}

/// Files that hold a secret by their name alone, whatever the case of its letters.
const SECRET_NAMES: [&[u8]; 27] = [
    b".env",
    b".envrc",
    b".npmrc",
    b".yarnrc.yml",
    b".pypirc",
    b".netrc",
    b"_netrc",
    b".pgpass",
    b".my.cnf",
    b".htpasswd",
    b".git-credentials",
    b".dockercfg",
    b".vault-token",
    b".terraformrc",
    b"credentials",
    b"credentials.json",
    b"credentials.toml",
    b"client_secret.json",
    b"secrets.json",
    b"secrets.yml",
    b"secrets.yaml",
    b"id_rsa",
    b"id_dsa",
    b"id_ecdsa",
    b"id_ecdsa_sk",
    b"id_ed25519",
    b"id_ed25519_sk",
];

/// What the names of secrets end with, behind the last dot.
const SECRET_ENDS: [&[u8]; 11] = [
    b"pem",
    b"key",
    b"p12",
    b"pfx",
    b"p8",
    b"ppk",
    b"jks",
    b"keystore",
    b"kdbx",
    b"kdb",
    b"tfstate",
];

/// Whether a file's name is one of a secret.
fn is_secret_name(name: &[u8]) -> bool {
    let starts = |start: &[u8]| {
        name.get(..start.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    if let Some(dot) = memchr::memrchr(b'.', name) {
        let end = &name[dot + 1..];
        if SECRET_ENDS.iter().any(|one| end.eq_ignore_ascii_case(one)) {
            return true;
        }
        if starts(b".env.") {
            let shown: [&[u8]; 3] = [b"example", b"sample", b"template"];
            return !shown.iter().any(|one| end.eq_ignore_ascii_case(one));
        }
        if end.eq_ignore_ascii_case(b"json") && starts(b"service-account") {
            return true;
        }
    }
    // Names of secrets begin with one of few letters; most others end here.
    matches!(
        name.first(),
        Some(b'.' | b'_' | b'c' | b'C' | b's' | b'S' | b'i' | b'I')
    ) && SECRET_NAMES
        .iter()
        .any(|one| name.eq_ignore_ascii_case(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_names() {
        for name in [
            ".env",
            ".ENV",
            ".env.local",
            ".env.example.local",
            "server.pem",
            "a.KEY",
            "id_rsa",
            "id_ed25519",
            "x.p12",
            "x.pfx",
            "x.keystore",
            ".npmrc",
            ".pypirc",
            ".netrc",
            "credentials",
            "credentials.json",
            "service-account.json",
            "service-account-prod.json",
            "x.kdbx",
            ".git-credentials",
        ] {
            assert!(is_secret_name(name.as_bytes()), "{name}");
        }
        for name in [
            ".env.example",
            ".env.sample",
            ".env.template",
            "env",
            "environment.ts",
            "key",
            "monkey",
            "id_rsa.pub",
            "service-account.md",
            "credentials.md",
            "package.json",
            "",
            ".",
        ] {
            assert!(!is_secret_name(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn the_beginning_of_a_glob_leads_to_a_folder() {
        for (glob, lead) in [
            ("dist/keep/**", "dist/keep"),
            ("/dist", "dist"),
            ("dist/", ""),
            ("dist", ""),
            ("*.log", ""),
            ("a/b*/c", "a"),
            ("**/x", ""),
            ("!a/b", ""),
        ] {
            assert_eq!(fixed_beginning(glob), lead.as_bytes(), "{glob}");
        }
        assert!(along(b"dist", b"dist/keep") && along(b"dist/keep", b"dist"));
        assert!(along(b"dist", b"dist") && !along(b"dist", b"distant"));
    }
}
