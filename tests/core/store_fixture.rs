//! A store that was written once and is read for ever: `tests/fixtures/store-1`.
//!
//! `cargo test --no-default-features -- --ignored writes_the_store_fixture` made it. It is not made
//! again: whatever changes the format makes a fixture of its own, beside this one.
//!
//! `store/` is the store's folder without its index, locks and `.gitignore`; `expected.txt` says
//! what is in it: `object <name> <length>` and `content <object> <is list> <length> <hash>`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use waymark::model::object::ObjectId;
use waymark::model::snapshot::{Node, Tree, TreeEntry};
use waymark::store::objects::pack::Head;
use waymark::store::objects::{Content, Sink, Store};
use waymark::store::place::{PackId, StoreDir};
use waymark::store::real_disk::RealDisk;

use crate::store_world::{begin, noise, text};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/store-1")
}

const PACK: PackId = PackId { slot: 0, number: 1 };

/// A copy of the fixture, to be written in.
fn copy() -> (tempfile::TempDir, StoreDir) {
    let home = tempfile::tempdir().unwrap();
    let place = StoreDir::new(home.path().join(".waymark"));
    fs::create_dir_all(place.objects()).unwrap();
    let from = fixture().join("store");
    fs::copy(from.join("format"), place.format()).unwrap();
    for entry in fs::read_dir(from.join("objects")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), place.objects().join(entry.file_name())).unwrap();
    }
    (home, place)
}

#[test]
fn the_store_of_format_1_is_read() {
    let (_home, place) = copy();
    let store = Store::open(&RealDisk, &place, 1).unwrap().unwrap();
    let expected = fs::read_to_string(fixture().join("expected.txt")).unwrap();
    let (mut objects, mut trees) = (0, 0);
    for line in expected.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["object", name, len] => {
                let bytes = store.get(&ObjectId::parse(name).unwrap()).unwrap();
                assert_eq!(bytes.len().to_string(), len, "{line}");
                objects += 1;
                let tree = Tree::decode(&bytes);
                trees += usize::from(tree.is_some_and(|tree| tree.get(b"link").is_some()));
            }
            ["content", name, is_list, len, hash] => {
                let content = Content {
                    object: ObjectId::parse(name).unwrap(),
                    is_list: is_list == "true",
                    size: len.parse().unwrap(),
                    hash: Some(ObjectId::parse(hash).unwrap()),
                };
                let bytes = store.content(&content, 1 << 20).unwrap();
                assert_eq!(ObjectId::of(&bytes).to_string(), hash, "{line}");
                objects += 1;
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!((objects, trees), (expected.lines().count(), 1));
    // And it is written on.
    let writer = begin(&store).unwrap();
    let mut lane = writer.lane();
    let id = lane.put(b"one more").unwrap();
    lane.finish().unwrap();
    writer.sync().unwrap().record().unwrap();
    assert_eq!(store.get(&id).unwrap(), b"one more");
    assert_eq!(place.packs(&RealDisk).unwrap().len(), 1);
}

/// All kinds of blocks are in it.
#[test]
fn the_store_of_format_1_has_every_kind_of_block() {
    let pack = fixture().join("store/objects").join(PACK.file_name());
    let bytes = fs::read(pack).unwrap();
    let mut at = 16;
    let mut kinds = std::collections::BTreeSet::new();
    while at < bytes.len() {
        let head = Head::read(&bytes[at..]).unwrap();
        kinds.insert((bytes[at + 4], head.objects.len() > 1, head.depth));
        at += head.block_len();
    }
    for kind in [(0, false, 0), (1, true, 0), (2, false, 1), (2, false, 2)] {
        assert!(kinds.contains(&kind), "{kind:?} in {kinds:?}");
    }
}

#[test]
#[ignore = "writes the fixture; see the head of this file"]
#[allow(clippy::disallowed_methods, reason = "the fixture is no store in use")]
fn writes_the_store_fixture() {
    assert!(!fixture().exists(), "it stays as it is");
    let home = tempfile::tempdir().unwrap();
    let place = StoreDir::new(home.path().join(".waymark"));
    let store = Store::open_or_create(&RealDisk, &place, 1).unwrap();
    let mut expected = String::new();
    let tree = Tree {
        entries: vec![
            TreeEntry {
                name: b"folder".to_vec(),
                node: Node::Directory {
                    mode: 0o755,
                    tree: ObjectId::of(&Tree::default().encode()),
                },
            },
            TreeEntry {
                name: b"link".to_vec(),
                node: Node::Symlink {
                    target: b"../x".to_vec(),
                },
            },
        ],
    };
    let writer = begin(&store).unwrap();
    let together = [
        text(1, 900),
        text(2, 700),
        Vec::new(),
        tree.encode(),
        Tree::default().encode(),
    ];
    for objects in [&[noise(1, 400)][..], &together] {
        let mut lane = writer.lane();
        for bytes in objects {
            let id = lane.put(bytes).unwrap();
            writeln!(expected, "object {id} {}", bytes.len()).unwrap();
        }
        lane.finish().unwrap();
    }
    writer.sync().unwrap().record().unwrap();
    let mut state = text(3, 9_000);
    let mut earlier = None;
    for step in 0..3 {
        state.extend_from_slice(&text(4 + step, 300));
        let writer = begin(&store).unwrap();
        let content = writer.put_state(&state, earlier.as_ref()).unwrap();
        writer.sync().unwrap().record().unwrap();
        let hash = ObjectId::of(&state);
        let (object, is_list, size) = (content.object, content.is_list, content.size);
        writeln!(expected, "content {object} {is_list} {size} {hash}").unwrap();
        earlier = Some(content);
    }
    let to = fixture().join("store/objects");
    fs::create_dir_all(&to).unwrap();
    fs::copy(place.format(), fixture().join("store/format")).unwrap();
    fs::copy(place.pack(PACK), to.join(PACK.file_name())).unwrap();
    fs::write(fixture().join("expected.txt"), expected).unwrap();
}
