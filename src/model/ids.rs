//! Names that become parts of paths: run ids and checkpoint ids.
//!
//! *Invariants*: an id that was parsed is one path component on every platform, never `.`, `..` or
//! a device, and has at most 255 bytes together with what Waymark appends to it. The rules for
//! Windows apply everywhere, so a run can be moved to another machine.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest run id, in bytes: the runner's own limit and that of most file systems.
pub const RUN_ID_MAX: usize = 255;
/// The longest checkpoint id, in bytes: with `.json` it is a file name.
pub const CHECKPOINT_ID_MAX: usize = 250;

/// The id of a run: the name of its folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(String);

/// The id of a checkpoint: the name of its manifest without `.json`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CheckpointId(String);

impl TryFrom<String> for CheckpointId {
    type Error = Error;

    fn try_from(id: String) -> Result<Self> {
        Self::parse(&id)
    }
}

impl From<CheckpointId> for String {
    fn from(id: CheckpointId) -> Self {
        id.0
    }
}

impl RunId {
    /// Parses a run id.
    pub fn parse(id: &str) -> Result<Self> {
        match problem(id, RUN_ID_MAX) {
            None => Ok(Self(id.to_owned())),
            Some(reason) => Err(Error::RunId {
                id: shorten(id),
                reason,
            }),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CheckpointId {
    /// Parses a checkpoint id.
    pub fn parse(id: &str) -> Result<Self> {
        match problem(id, CHECKPOINT_ID_MAX) {
            None => Ok(Self(id.to_owned())),
            Some(reason) => Err(Error::CheckpointId {
                id: shorten(id),
                reason,
            }),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Errors quote ids; nobody wants a megabyte of it.
pub(crate) fn shorten(id: &str) -> String {
    const SHOWN: usize = 80;
    if id.chars().count() <= SHOWN {
        return id.to_owned();
    }
    id.chars().take(SHOWN).chain(std::iter::once('…')).collect()
}

fn problem(id: &str, max: usize) -> Option<&'static str> {
    if let Some(reason) = component_problem(id, max) {
        return Some(reason);
    }
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
    (!id.bytes().all(allowed)).then_some("charset")
}

/// Why `name` can't be one component of a path on every platform, if so. A pure function, so that
/// the rules of Windows are tested on Linux.
///
/// The reasons: `empty`, `length`, `nul`, `separator`, `traversal`, `drive`, `device`, `trailing`.
#[must_use]
pub fn component_problem(name: &str, max: usize) -> Option<&'static str> {
    let bytes = name.as_bytes();
    if bytes.is_empty() {
        Some("empty")
    } else if bytes.len() > max {
        Some("length")
    } else if bytes.contains(&0) {
        Some("nul")
    } else if bytes.contains(&b'/') || bytes.contains(&b'\\') {
        Some("separator")
    } else if name.contains("..") || name == "." {
        Some("traversal")
    } else if bytes.len() >= 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' {
        Some("drive")
    } else if is_device(name) {
        Some("device")
    } else if name.ends_with('.') || name.ends_with(' ') {
        // Windows drops them, so two names would be one file.
        Some("trailing")
    } else {
        None
    }
}

/// Names that mean a device on Windows, with any extension or stream, in any case. Source:
/// Microsoft, "Naming Files, Paths, and Namespaces".
fn is_device(name: &str) -> bool {
    let stem = name
        .split(['.', ':'])
        .next()
        .unwrap_or_default()
        .trim_end_matches(' ');
    let stem = stem.to_ascii_uppercase();
    if matches!(
        stem.as_str(),
        "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$"
    ) {
        return true;
    }
    let port = stem
        .strip_prefix("COM")
        .or_else(|| stem.strip_prefix("LPT"));
    port.is_some_and(|port| {
        let mut chars = port.chars();
        matches!(chars.next(), Some('0'..='9' | '¹' | '²' | '³')) && chars.next().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(id: &str) -> &'static str {
        match RunId::parse(id) {
            Ok(_) => "ok",
            Err(error) => error.reason().expect("ids give reasons"),
        }
    }

    #[test]
    fn run_ids_follow_the_runners_rule() {
        for id in [
            "run-1",
            "a",
            "2026.11.21_x:y",
            "wf:run-1",
            "console",
            "com",
            "COM10",
            "nul-1",
        ] {
            assert_eq!(reason(id), "ok", "{id}");
        }
        assert_eq!(reason(&"x".repeat(255)), "ok");
    }

    #[test]
    fn run_ids_that_leave_their_folder_are_refused() {
        for (id, expected) in [
            ("", "empty"),
            ("..", "traversal"),
            (".", "traversal"),
            ("a..b", "traversal"),
            ("../x", "separator"),
            ("a/b", "separator"),
            ("a\\b", "separator"),
            ("/etc", "separator"),
            ("a\0b", "nul"),
            ("C:", "drive"),
            ("c:run", "drive"),
            ("CON", "device"),
            ("con.json", "device"),
            ("LPT1", "device"),
            ("com¹", "device"),
            ("nul:x", "device"),
            ("AUX.tar.gz", "device"),
            ("run.", "trailing"),
            ("run ", "trailing"),
            ("a b", "charset"),
            ("rün", "charset"),
            ("a\u{fffd}", "charset"),
            ("a\nb", "charset"),
            ("a*", "charset"),
        ] {
            assert_eq!(reason(id), expected, "{id:?}");
        }
        assert_eq!(reason(&"x".repeat(256)), "length");
    }

    #[test]
    fn long_ids_are_shortened_in_errors() {
        let error = CheckpointId::parse(&"y".repeat(100_000)).expect_err("too long");
        assert!(error.to_string().len() < 400);
        assert_eq!(error.code(), "ERR_CHECKPOINT_ID_INVALID");
    }
}
