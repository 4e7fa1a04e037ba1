//! What was seen, in words: one row per probe.

use crate::ops::doctor::judge::{full, size};
use crate::store::probe::facts::{
    Answer, CreateOnly, Facts, FileSystem, Names, PathReach, Space, Sparse, Times, Trials,
};

/// One question and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The question.
    pub name: &'static str,
    /// Whether it is as a program would wish; `None` if that could not be told.
    pub ok: Option<bool>,
    /// What was seen, short.
    pub observed: String,
    /// What was asked, or the system's words.
    pub detail: String,
}

/// All rows, always the same ones in the same order.
#[must_use]
pub fn rows(facts: &Facts) -> Vec<Probe> {
    let mut rows = vec![
        row(
            "writable",
            "a folder can be made here",
            &facts.trials,
            |_| (true, "yes".to_owned()),
        ),
        file_system(&facts.file_system),
        row(
            "space",
            "bytes for this user (statvfs)",
            &facts.space,
            |space| {
                let Space { free, total, .. } = *space;
                (free > 0, format!("{} of {} free", size(free), size(total)))
            },
        ),
        row(
            "inodes",
            "files that can be made (statvfs)",
            &facts.space,
            |space| {
                space
                    .inodes
                    .map_or((true, "no limit".to_owned()), |(total, free)| {
                        (free > 0, format!("{free} of {total} free"))
                    })
            },
        ),
    ];
    if matches!(facts.trials, Answer::Refused(_)) {
        rows[0].ok = Some(false);
    }
    let asked = match &facts.trials {
        Answer::Saw(trials) => of_trials(trials),
        Answer::Refused(_) | Answer::NotTried(_) => of_trials(&untried()),
    };
    rows.extend(asked);
    rows
}

fn of_trials(trials: &Trials) -> Vec<Probe> {
    let mut rows = promised(trials);
    rows.extend(kept(trials));
    rows
}

/// What durability, atomicity and exclusion rest on.
fn promised(trials: &Trials) -> Vec<Probe> {
    vec![
        row(
            "sync_file",
            "fsync of a new file of 4 KB, the median of 7",
            &trials.sync_file,
            took,
        ),
        row(
            "sync_folder",
            "fsync of a folder with a new name in it, the median of 7",
            &trials.sync_folder,
            took,
        ),
        row(
            "replace",
            "a rename over a file replaces it whole",
            &trials.replace,
            works,
        ),
        row(
            "create_only",
            "a name that is taken is refused",
            &trials.create_only,
            |way| match way {
                CreateOnly::Rename => (true, "by a rename that replaces nothing".to_owned()),
                CreateOnly::Link => (true, "by a hard link".to_owned()),
                CreateOnly::Replaces => (false, "replaces".to_owned()),
            },
        ),
        row(
            "hard_links",
            "a file can have two names",
            &trials.hard_links,
            works,
        ),
        row(
            "symlinks",
            "a symbolic link keeps what it says",
            &trials.symlinks,
            works,
        ),
        row(
            "locks",
            "a lock that is held is refused, and free afterwards",
            &trials.locks,
            works,
        ),
    ]
}

/// What becomes of files and their names.
fn kept(trials: &Trials) -> Vec<Probe> {
    vec![
        row("case", "Aa and aA are two names", &trials.case, |seen| {
            names(*seen, "case")
        }),
        row(
            "unicode",
            "é and e with an accent (NFC and NFD) are two names",
            &trials.unicode,
            |seen| names(*seen, "encoding"),
        ),
        row(
            "raw_names",
            "a name that is no UTF-8 is kept",
            &trials.raw_names,
            works,
        ),
        row(
            "name_length",
            "the longest name, looked for up to 255 bytes",
            &trials.name_bytes,
            |bytes| (*bytes >= 255, format!("{bytes} bytes")),
        ),
        row(
            "path_length",
            "the longest path, looked for up to 4200 bytes",
            &trials.paths,
            reach,
        ),
        row(
            "timestamps",
            "what a file's time is rounded to, and how it moves",
            &trials.times,
            times,
        ),
        row(
            "sparse",
            "a hole in a file takes no space",
            &trials.sparse,
            |sparse| match sparse {
                Sparse { saves: false, .. } => (false, "no".to_owned()),
                Sparse {
                    found: Some(true), ..
                } => (true, "yes, and can be found".to_owned()),
                Sparse {
                    found: Some(false), ..
                } => (true, "yes, but can't be found".to_owned()),
                Sparse { found: None, .. } => (true, "yes".to_owned()),
            },
        ),
        row(
            "reflink",
            "a copy can share its content (FICLONE)",
            &trials.reflink,
            works,
        ),
        row("modes", "mode bits are kept", &trials.modes, works),
    ]
}

/// What nobody could ask, where no folder can be made.
fn untried() -> Trials {
    const WHY: &str = "nothing can be written here";
    Trials {
        sync_file: Answer::NotTried(WHY),
        sync_folder: Answer::NotTried(WHY),
        replace: Answer::NotTried(WHY),
        create_only: Answer::NotTried(WHY),
        hard_links: Answer::NotTried(WHY),
        symlinks: Answer::NotTried(WHY),
        locks: Answer::NotTried(WHY),
        case: Answer::NotTried(WHY),
        unicode: Answer::NotTried(WHY),
        raw_names: Answer::NotTried(WHY),
        name_bytes: Answer::NotTried(WHY),
        paths: Answer::NotTried(WHY),
        times: Answer::NotTried(WHY),
        sparse: Answer::NotTried(WHY),
        reflink: Answer::NotTried(WHY),
        modes: Answer::NotTried(WHY),
    }
}

fn row<T>(
    name: &'static str,
    asked: &str,
    answer: &Answer<T>,
    told: impl FnOnce(&T) -> (bool, String),
) -> Probe {
    let (ok, observed, detail) = match answer {
        Answer::Saw(seen) => {
            let (ok, observed) = told(seen);
            (Some(ok), observed, asked.to_owned())
        }
        Answer::Refused(refusal) => {
            let detail = format!("{asked}: {}", refusal.words);
            if full(refusal) {
                (None, "no room to try".to_owned(), detail)
            } else {
                (Some(false), "refused".to_owned(), detail)
            }
        }
        Answer::NotTried(why) => (None, "not tried".to_owned(), format!("{asked}: {why}")),
    };
    Probe {
        name,
        ok,
        observed,
        detail,
    }
}

fn file_system(found: &FileSystem) -> Probe {
    let mut detail = Vec::new();
    if let Some(source) = &found.source {
        detail.push(source.clone());
    }
    if let Some(point) = &found.mount_point {
        detail.push(format!("on {}", point.display()));
    }
    if !found.options.is_empty() {
        detail.push(format!("({})", found.options.join(",")));
    }
    if let Some(magic) = found.magic {
        detail.push(format!("statfs {magic:#x}"));
    }
    let kind = found.kind.as_deref().unwrap_or("unknown");
    Probe {
        name: "file_system",
        ok: found.read_only.map(|read_only| !read_only),
        observed: if found.read_only == Some(true) {
            format!("{kind}, read-only")
        } else {
            kind.to_owned()
        },
        detail: detail.join(" "),
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "rows hand over what was seen"
)]
fn works(seen: &bool) -> (bool, String) {
    (*seen, if *seen { "yes" } else { "no" }.to_owned())
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "rows hand over what was seen"
)]
fn took(ns: &u64) -> (bool, String) {
    // With one decimal below 10 µs, where it matters.
    let micros = if *ns < 10_000 {
        format!("{}.{} µs", ns / 1000, ns % 1000 / 100)
    } else {
        format!("{} µs", ns / 1000)
    };
    (true, micros)
}

fn names(seen: Names, what: &str) -> (bool, String) {
    match seen {
        Names::Exact => (true, "two names".to_owned()),
        Names::Folded => (false, format!("one name: {what} does not count")),
        Names::Changed => (false, format!("names change their {what}")),
    }
}

fn reach(reach: &PathReach) -> (bool, String) {
    let PathReach { whole, stepwise } = *reach;
    let more = if stepwise > whole {
        ", longer folder by folder"
    } else {
        ""
    };
    (whole >= 1024, format!("{whole} bytes{more}"))
}

fn times(times: &Times) -> (bool, String) {
    let unit = span(times.stored_ns);
    let observed = match times.step_ns {
        Some(step) => format!("{unit}, in steps of {}", span(step)),
        None => format!("{unit}, steps too long to see"),
    };
    (times.stored_ns < 1_000_000_000, observed)
}

fn span(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        _ => format!("{} s", ns / 1_000_000_000),
    }
}
