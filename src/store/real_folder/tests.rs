#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(clippy::disallowed_methods, reason = "what others do to files")]

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::open;
use crate::store::disk::EntryKind;
use crate::store::folder::Folder;

fn folder() -> (tempfile::TempDir, Box<dyn Folder>) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("root/a/b")).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    fs::write(dir.path().join("outside/secret"), b"secret").unwrap();
    fs::write(dir.path().join("root/a/file"), b"content").unwrap();
    symlink("../outside", dir.path().join("root/out")).unwrap();
    symlink("b", dir.path().join("root/a/in")).unwrap();
    symlink("../../outside/secret", dir.path().join("root/a/link")).unwrap();
    let folder = open(&dir.path().join("root")).unwrap();
    (dir, folder)
}

fn text(folder: &dyn Folder, path: &str) -> String {
    let mut bytes = Vec::new();
    folder
        .read(path.as_bytes(), &mut |piece| {
            bytes.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    String::from_utf8(bytes).unwrap()
}

/// What every call that takes a path says of this one.
fn refusals(folder: &dyn Folder, path: &str) -> Vec<Option<ErrorKind>> {
    fn kind<T>(result: std::io::Result<T>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind())
    }
    let at = path.as_bytes();
    vec![
        kind(folder.found(at)),
        kind(folder.read(at, &mut |_| Ok(()))),
        kind(folder.read_link(at)),
        kind(folder.create(at)),
        kind(folder.create_dir(at, 0o755)),
        kind(folder.create_link(at, b"x")),
        kind(folder.set_mode(at, 0o600)),
        kind(folder.exchange(b"a/file", at)),
        kind(folder.rename_new(b"a/file", at)),
        kind(folder.rename(b"a/file", at)),
        kind(folder.rename(at, b"a/file")),
        kind(folder.link(b"a/file", at)),
        kind(folder.remove_file(at)),
        kind(folder.remove_dir(at)),
        kind(folder.sync_file(at)),
    ]
}

#[test]
fn no_link_on_the_way_is_followed() {
    let (dir, folder) = folder();
    for path in ["out/secret", "a/in/x", "a/file/x", "a/link/x"] {
        for (at, refused) in refusals(folder.as_ref(), path).into_iter().enumerate() {
            assert_eq!(refused, Some(ErrorKind::NotADirectory), "{path}, call {at}");
        }
    }
    for path in ["out", "a/in", "a/file"] {
        let at = path.as_bytes();
        let kinds = [
            folder.list(at).err(),
            folder.folder(at).err(),
            folder.sync_dir(at).err(),
        ];
        for error in kinds {
            assert_eq!(error.unwrap().kind(), ErrorKind::NotADirectory, "{path}");
        }
    }
    assert!(open(&dir.path().join("root/out")).is_err());
    assert_eq!(
        fs::read(dir.path().join("outside/secret")).unwrap(),
        b"secret"
    );
}

#[test]
fn no_path_leads_out() {
    let (dir, folder) = folder();
    for path in [
        "..",
        "../outside/secret",
        "a/../../outside/secret",
        "/etc/x",
        "a//x",
        "",
        ".",
    ] {
        let refused = refusals(folder.as_ref(), path);
        let own = path.is_empty();
        // The folder itself can be looked at, and its bits set.
        for (at, refused) in refused.into_iter().enumerate() {
            if !own || !matches!(at, 0 | 6) {
                assert_eq!(
                    refused,
                    Some(ErrorKind::InvalidInput),
                    "{path:?}, call {at}"
                );
            }
        }
    }
    assert_eq!(
        fs::read(dir.path().join("outside/secret")).unwrap(),
        b"secret"
    );
}

#[test]
fn a_folder_that_becomes_a_link_leads_nowhere() {
    let (dir, folder) = folder();
    let inner = folder.folder(b"a").unwrap();
    fs::rename(dir.path().join("root/a"), dir.path().join("root/moved")).unwrap();
    symlink("../outside", dir.path().join("root/a")).unwrap();
    let refused = folder.create(b"a/new").err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::NotADirectory);
    // What was open stays what it was.
    inner.create(b"new").unwrap().finish().unwrap();
    assert!(dir.path().join("root/moved/new").exists());
    assert!(!dir.path().join("outside/new").exists());
}

#[test]
fn names_change_as_they_should() {
    let (dir, folder) = folder();
    let root = dir.path().join("root");
    let mut file = folder.create(b"a/new").unwrap();
    file.write_all(b"new ").unwrap();
    file.write_all(b"text").unwrap();
    file.set(Some(0o4751), Some(1_500_000_000_123_456_789))
        .unwrap();
    file.finish().unwrap();
    let found = folder.found(b"a/new").unwrap();
    assert_eq!(
        (found.kind, found.mode, found.len),
        (EntryKind::File, 0o4751, 8)
    );
    assert_eq!(found.modified_ns, 1_500_000_000_123_456_789);
    assert_eq!(
        folder.create(b"a/new").err().unwrap().kind(),
        ErrorKind::AlreadyExists
    );

    folder.exchange(b"a/new", b"a/link").unwrap();
    assert_eq!(folder.read_link(b"a/new").unwrap(), b"../../outside/secret");
    assert_eq!(text(folder.as_ref(), "a/link"), "new text");
    let gone = folder.exchange(b"a/new", b"a/none").unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);

    let taken = folder.rename_new(b"a/new", b"a/file").unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    folder.rename_new(b"a/new", b"a/b/moved").unwrap();
    folder.rename(b"a/link", b"a/file").unwrap();
    assert_eq!(text(folder.as_ref(), "a/file"), "new text");
    folder.link(b"a/b/moved", b"a/again").unwrap();
    assert_eq!(folder.found(b"a/again").unwrap().kind, EntryKind::Symlink);

    folder.create_dir(b"a/c", 0o555).unwrap();
    assert_eq!(
        fs::metadata(root.join("a/c")).unwrap().permissions().mode() & 0o7777,
        0o555
    );
    folder.set_mode(b"a/c", 0o700).unwrap();
    let full = folder.remove_dir(b"a/b").unwrap_err();
    assert_eq!(full.kind(), ErrorKind::DirectoryNotEmpty);
    folder.remove_dir(b"a/c").unwrap();
    folder.remove_file(b"a/again").unwrap();
    let mut names = folder.list(b"a").unwrap();
    names.sort_by(|one, other| one.0.cmp(&other.0));
    let names: Vec<_> = names
        .into_iter()
        .map(|(name, _)| String::from_utf8(name).unwrap())
        .collect();
    assert_eq!(names, ["b", "file", "in"]);
    folder.sync_dir(b"a").unwrap();
    folder.sync_all().unwrap();
}

#[test]
fn a_folder_moves_with_all_that_is_in_it() {
    let (dir, folder) = folder();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("from/in/deep")).unwrap();
    fs::write(root.join("from/in/deep/file"), "text").unwrap();
    for taken in ["a/empty", "a/file"] {
        if taken == "a/empty" {
            folder.create_dir(taken.as_bytes(), 0o755).unwrap();
        }
        let error = folder.rename_new(b"from/in", taken.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{taken}");
    }
    folder.rename_new(b"from/in", b"a/there").unwrap();
    assert_eq!(text(folder.as_ref(), "a/there/deep/file"), "text");
    assert!(folder.list(b"from").unwrap().is_empty());
    let out = folder
        .rename_new(b"a/there", b"a/there/deep/it")
        .unwrap_err();
    assert_eq!(out.kind(), ErrorKind::InvalidInput);
}

#[test]
fn what_is_no_file_is_not_read() {
    let (dir, folder) = folder();
    let pipe = dir.path().join("root/pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for path in [&b"pipe"[..], b"a", b"a/link"] {
        let refused = folder.read(path, &mut |_| Ok(())).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
    assert_eq!(
        folder.set_mode(b"a/link", 0o600).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}

#[test]
fn a_path_may_be_longer_than_one_call_takes() {
    let (dir, folder) = folder();
    let name = "n".repeat(200);
    let mut way = String::new();
    for _ in 0..30 {
        way = if way.is_empty() {
            name.clone()
        } else {
            format!("{way}/{name}")
        };
        folder.create_dir(way.as_bytes(), 0o755).unwrap();
    }
    let file = format!("{way}/file");
    folder.create(file.as_bytes()).unwrap().finish().unwrap();
    assert_eq!(folder.found(file.as_bytes()).unwrap().kind, EntryKind::File);
    assert!(!Path::new(&file).exists());
    drop(folder);
    dir.close().unwrap();
}
