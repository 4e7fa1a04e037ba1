//! The layers, read from the source: `binding → ops → store → model`.

use std::fs;
use std::path::{Path, PathBuf};

/// What the code of a layer must not name. Comments don't count.
const RULES: [(&str, &[&str]); 4] = [
    (
        "model",
        &[
            "crate::store",
            "crate::ops",
            "crate::binding",
            "napi",
            "std::fs",
            "std::env",
            "std::thread",
            "SystemTime",
            "Instant::now",
            "Utc::now",
        ],
    ),
    (
        "store",
        &[
            "crate::ops",
            "crate::binding",
            "napi",
            "SystemTime",
            "Instant::now",
            "Utc::now",
        ],
    ),
    (
        "ops",
        &[
            "crate::binding",
            "napi",
            "SystemTime",
            "Instant::now",
            "Utc::now",
        ],
    ),
    (
        "error.rs",
        &[
            "crate::store",
            "crate::ops",
            "crate::binding",
            "napi",
            "std::fs",
        ],
    ),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_path_buf()];
    }
    let mut found: Vec<PathBuf> = fs::read_dir(path)
        .unwrap()
        .flat_map(|entry| files(&entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect();
    found.sort();
    found
}

/// The lines of code that name one of these words.
fn offences(code: &str, words: &[&str]) -> Vec<String> {
    code.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter(|(_, line)| words.iter().any(|word| names(line, word)))
        .map(|(at, line)| format!("{}: {}", at + 1, line.trim()))
        .collect()
}

/// Whether a line has a word that is not the end of a longer one.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || before == '_')
    })
}

#[test]
fn no_layer_names_one_above_it() {
    for (layer, forbidden) in RULES {
        let files = files(&source().join(layer));
        assert!(layer == "error.rs" || files.len() > 5, "{layer} was found");
        for file in files {
            let found = offences(&fs::read_to_string(&file).unwrap(), forbidden);
            assert!(found.is_empty(), "{}: {found:#?}", file.display());
        }
    }
}

#[test]
fn only_the_binding_names_napi() {
    for file in files(&source()) {
        let short = file.strip_prefix(source()).unwrap();
        if short.starts_with("binding") {
            continue;
        }
        let code = fs::read_to_string(&file).unwrap();
        let found = offences(&code, &["napi"]);
        let allowed = usize::from(short == Path::new("lib.rs"));
        assert_eq!(found.len(), allowed, "{}: {found:#?}", short.display());
    }
}

#[test]
fn in_the_store_only_few_files_touch_the_disk() {
    for file in files(&source().join("store")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        // SQLite opens its file itself; what the kernel tells of a disk and the user's own folders are no part of the simulated one.
        let folder = file.parent().unwrap();
        let real = ["real_disk.rs", "name_order.rs", "index.rs"].contains(&name)
            || folder.ends_with("workspace")
            || folder.ends_with("real_folder")
            || folder.ends_with("probe");
        let found = offences(&fs::read_to_string(&file).unwrap(), &["std::fs", "fs::"]);
        assert!(real || found.is_empty(), "{name}: {found:#?}");
    }
}

/// Paths are written out, so that the rules above see them.
#[test]
fn nothing_reaches_around_the_rules() {
    for file in files(&source()) {
        let code = fs::read_to_string(&file).unwrap();
        let found = offences(
            &code,
            &["use crate::{", "use std::{", "super::super::super"],
        );
        assert!(found.is_empty(), "{}: {found:#?}", file.display());
    }
}

#[test]
fn an_offence_is_seen() {
    let code =
        "//! std::fs in a comment\nuse std::fs;\n    // crate::ops\n    crate::ops::list();\n";
    assert_eq!(
        offences(code, RULES[0].1),
        ["2: use std::fs;", "4: crate::ops::list();"]
    );
}
