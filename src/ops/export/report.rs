//! What an exported folder says of itself: what was held against which hash, and what is not in it.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use super::folder::{RootFolder, StateRow};
use crate::model::manifest::Header;
use crate::model::time::to_iso;

/// So many entries of a kind stand in the report for people; the other one has them all.
const SHOWN_MAX: usize = 200;

/// How much is in an exported folder, and how much is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Files with their content.
    pub files: u64,
    /// Their sizes together, in bytes.
    pub bytes: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links that were made.
    pub links: u64,
    /// Links that are only described, because they could lead out of their folder.
    pub described: u64,
    /// Files whose content is in no checkpoint, because they hold secrets.
    pub withheld: u64,
    /// What could not be captured when the checkpoint was taken.
    pub skipped: u64,
    /// Names that this system, or its file system, does not have.
    pub refused: u64,
    /// Files, folders and members of the state that the store can't give back.
    pub damaged: u64,
}

impl Summary {
    /// True if everything that the checkpoint holds is in the folder, or described in its report.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damaged == 0 && self.refused == 0
    }
}

/// A captured path, as the report has it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    pub(super) root: String,
    pub(super) path: String,
    /// The path's bytes in hex, where they are not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path_bytes: Option<String>,
    pub(super) kind: &'static str,
    pub(super) result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<u64>,
    /// BLAKE3 of the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
}

impl Row {
    pub(super) fn new(root: &str, path: &[u8], kind: &'static str, result: &'static str) -> Self {
        let hex = || {
            let mut text = String::with_capacity(2 * path.len());
            for byte in path {
                let _ = write!(text, "{byte:02x}");
            }
            text
        };
        Self {
            root: root.to_owned(),
            path: String::from_utf8_lossy(path).into_owned(),
            path_bytes: std::str::from_utf8(path).is_err().then(hex),
            kind,
            result,
            size: None,
            hash: None,
            mode: None,
            modified: None,
            target: None,
            reason: None,
        }
    }

    pub(super) fn describe(&mut self, mode: u32, modified_ns: Option<i64>) {
        self.mode = Some(format!("{mode:04o}"));
        self.modified = modified_ns.map(|ns| to_iso(ns.div_euclid(1_000_000)));
    }
}

/// What is told of an export as a whole.
pub(super) struct About<'a> {
    pub(super) run_id: &'a str,
    pub(super) header: &'a Header,
    pub(super) exported_at: String,
    pub(super) folders: &'a [RootFolder],
    pub(super) state: &'a [StateRow],
    pub(super) summary: &'a Summary,
}

/// The rows of a report: all of them as JSON lines, and what is remarkable for people.
#[derive(Debug, Default)]
pub(super) struct Rows {
    lines: Vec<u8>,
    /// By result: how many, and the first of them in words.
    remarkable: Vec<(&'static str, u64, Vec<String>)>,
}

impl Rows {
    pub(super) fn add(&mut self, row: &Row) {
        if !self.lines.is_empty() {
            self.lines.extend_from_slice(b",\n");
        }
        self.lines.extend_from_slice(b"    ");
        self.lines
            .extend(serde_json::to_vec(row).unwrap_or_default());
        if ["whole", "made"].contains(&row.result) {
            return;
        }
        let found = self
            .remarkable
            .iter()
            .position(|(result, ..)| *result == row.result);
        let at = found.unwrap_or_else(|| {
            self.remarkable.push((row.result, 0, Vec::new()));
            self.remarkable.len() - 1
        });
        let (_, count, shown) = &mut self.remarkable[at];
        *count += 1;
        if shown.len() < SHOWN_MAX {
            let target = row.target.iter().map(|to| format!(" → {}", code(to)));
            let hash = row.hash.iter().map(|hash| format!(", BLAKE3 {hash}"));
            let size = row.size.iter().map(|size| format!(", {size} bytes"));
            let reason = row
                .reason
                .iter()
                .map(|reason| format!(": {}", line(reason)));
            let rest: String = target.chain(size).chain(hash).chain(reason).collect();
            shown.push(format!("{} in {}{rest}", code(&row.path), code(&row.root)));
        }
    }

    /// `report.json`.
    pub(super) fn json(&self, about: &About<'_>) -> Vec<u8> {
        let head = json!({
            "format": 1,
            "checkpoint_id": about.header.checkpoint_id.as_str(),
            "exported_at": about.exported_at,
            "whole": about.summary.is_whole(),
            "manifest": { "file": "manifest.json", "sha256": about.header.checksum, "result": "whole" },
            "missing_artifacts": about.header.snapshot.as_ref().map_or(&[][..], |one| &one.missing),
            "state": about.state,
            "summary": about.summary,
        });
        let mut text = serde_json::to_vec_pretty(&head).unwrap_or_default();
        // The rows come last, one per line.
        text.truncate(text.len().saturating_sub(2));
        text.extend_from_slice(b",\n  \"files\": [\n");
        text.extend_from_slice(&self.lines);
        text.extend_from_slice(b"\n  ]\n}\n");
        text
    }

    /// `report.md`.
    pub(super) fn markdown(&self, about: &About<'_>) -> String {
        let (header, summary) = (about.header, about.summary);
        let mut out = format!(
            "# Checkpoint {}\n\n- run: {}\n- step: {}\n- taken: {}\n- exported: {}, by waymark {}\n\n",
            code(header.checkpoint_id.as_str()),
            code(about.run_id),
            code(&header.step.to_string()),
            line(&header.timestamp),
            about.exported_at,
            env!("CARGO_PKG_VERSION"),
        );
        out.push_str(if summary.is_whole() {
            "**Everything that this checkpoint holds is here and was held against its hash.**"
        } else {
            "**Not everything that this checkpoint holds is here; see below.**"
        });
        out.push_str(if summary.withheld + summary.skipped > 0 {
            " It does not hold everything that was there when it was taken.\n"
        } else {
            "\n"
        });
        let _ = write!(
            out,
            "\n## What was checked\n\n- `manifest.json`: SHA-256 by the runner's rule, {}\n",
            code(&header.checksum)
        );
        for row in about.state {
            let place = match &row.object {
                Some(object) => format!("object {} (BLAKE3)", code(object)),
                None => "in the manifest".to_owned(),
            };
            let file = match &row.file {
                Some(file) => format!(" → {}", code(file)),
                None => String::new(),
            };
            let reason = match &row.reason {
                Some(reason) => format!(": {}", line(reason)),
                None => String::new(),
            };
            let _ = writeln!(
                out,
                "- {}{file}, {place}: {}{reason}",
                code(&row.member),
                row.result
            );
        }
        let _ = write!(
            out,
            "- {} files of {} bytes, each against the BLAKE3 in `report.json`\n\n## Where it lies\n\n",
            summary.files, summary.bytes
        );
        for one in about.folders {
            let _ = writeln!(
                out,
                "- {}: what was captured as {} from {}",
                code(&one.folder),
                code(&one.name),
                code(&one.captured_from)
            );
        }
        if about.folders.is_empty() {
            out.push_str("No files were captured.\n");
        }
        for (result, title) in [
            ("damaged", "Damaged: the store can't give it back"),
            ("refused", "Refused: this system has no such names"),
            (
                "withheld",
                "Withheld: secrets, recorded by hash and size only",
            ),
            ("skipped", "Skipped when the checkpoint was taken"),
            ("described", "Links that were not made"),
        ] {
            let found = self.remarkable.iter().find(|one| one.0 == result);
            if let Some((_, count, shown)) = found {
                list(&mut out, title, *count, shown);
            }
        }
        if let Some(snapshot) = &header.snapshot {
            let missing: Vec<String> = snapshot.missing.iter().map(|path| code(path)).collect();
            let shown = &missing[..missing.len().min(SHOWN_MAX)];
            if !missing.is_empty() {
                let title = "Artifacts of the registry that were not there";
                list(&mut out, title, missing.len() as u64, shown);
            }
        }
        out
    }
}

fn list(out: &mut String, title: &str, count: u64, shown: &[String]) {
    let _ = write!(out, "\n## {title}\n\n");
    for one in shown {
        let _ = writeln!(out, "- {one}");
    }
    let more = count - shown.len() as u64;
    if more > 0 {
        let _ = writeln!(out, "- and {more} more: see `report.json`");
    }
}

/// Text of whatever kind as code in Markdown: one line that nothing gets out of.
fn code(text: &str) -> String {
    format!("`{}`", line(text).replace('`', "'"))
}

/// Text of whatever kind as a part of one line.
fn line(text: &str) -> String {
    let plain = |char: char| {
        if char.is_control()
            || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            '\u{fffd}'
        } else {
            char
        }
    };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_get_out_of_its_line() {
        assert_eq!(code("a`b\n# c\u{202e}"), "`a'b\u{fffd}# c\u{fffd}`");
    }

    #[test]
    fn many_rows_are_counted_and_the_first_are_shown() {
        let mut rows = Rows::default();
        for at in 0..500 {
            rows.add(&Row::new(
                "run",
                format!("{at}").as_bytes(),
                "skipped",
                "skipped",
            ));
        }
        rows.add(&Row::new("run", b"a\xff", "file", "whole"));
        let (_, count, shown) = &rows.remarkable[0];
        assert_eq!((*count, shown.len()), (500, SHOWN_MAX));
        let text = String::from_utf8(rows.lines).expect("UTF-8");
        assert_eq!(text.lines().count(), 501);
        assert!(text.contains("\"path_bytes\":\"61ff\""));
    }
}
