//! Decoders of bytes that anybody may have changed: no panic, and nothing that was not meant.

use proptest::collection::vec;
use proptest::prelude::*;

use waymark::model::manifest::references;
use waymark::model::object::ObjectId;
use waymark::model::snapshot::{ChunkList, File, Node, Piece, SkipReason, Tree, TreeEntry};
use waymark::store::objects::pack::{self, HEAD_LEN, Head, Lead, RAW_MAX};

use crate::sim_disk::Rng;
use crate::store_world::{noise, text};

fn object() -> impl Strategy<Value = ObjectId> {
    any::<[u8; 32]>().prop_map(ObjectId::from_bytes)
}

fn node() -> impl Strategy<Value = Node> {
    let file = (any::<u32>(), any::<i64>(), any::<u64>(), object());
    let file = (file, proptest::option::of(object()));
    let reasons = [
        SkipReason::NotRegular,
        SkipReason::Unreadable,
        SkipReason::TooLarge,
        SkipReason::Changing,
    ];
    prop_oneof![
        file.prop_map(
            |((mode, modified_ns, size, hash), chunks)| Node::File(File {
                mode,
                modified_ns,
                size,
                hash,
                chunks,
            })
        ),
        vec(any::<u8>(), 0..40).prop_map(|target| Node::Symlink { target }),
        (any::<u32>(), object()).prop_map(|(mode, tree)| Node::Directory { mode, tree }),
        (any::<u32>(), any::<i64>(), any::<u64>(), object()).prop_map(
            |(mode, modified_ns, size, hash)| Node::Withheld {
                mode,
                modified_ns,
                size,
                hash,
            }
        ),
        (proptest::sample::select(reasons.to_vec()), any::<u64>())
            .prop_map(|(reason, size)| Node::Skipped { reason, size }),
    ]
}

fn tree() -> impl Strategy<Value = Tree> {
    let name = "[a-zA-Z0-9 ._-]{1,12}".prop_filter("a name", |name| name != "." && name != "..");
    proptest::collection::btree_map(name, node(), 0..12).prop_map(|entries| Tree {
        entries: entries
            .into_iter()
            .map(|(name, node)| TreeEntry {
                name: name.into_bytes(),
                node,
            })
            .collect(),
    })
}

fn list() -> impl Strategy<Value = ChunkList> {
    let piece = (0..1_u64 << 50, proptest::option::of(object()));
    vec(piece.prop_map(|(len, chunk)| Piece { len, chunk }), 0..20)
        .prop_map(|pieces| ChunkList { pieces })
}

/// Changes some bytes, cuts some, repeats some.
fn mutated(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=rng.below(3) {
        let at = rng.below(out.len() + 1);
        match rng.below(6) {
            0 => out.truncate(at),
            1 if at < out.len() => out[at] ^= 1 << rng.below(8),
            2 if at < out.len() => out[at] = [0, 0x7f, 0x80, 0xff][rng.below(4)],
            3 => {
                let more = noise(rng.next(), rng.below(12));
                out.splice(at..at, more);
            }
            4 if at < out.len() => {
                let end = (at + 1 + rng.below(12)).min(out.len());
                out.drain(at..end);
            }
            _ => {
                let end = (at + rng.below(40)).min(out.len());
                let again = out[at..end].to_vec();
                out.extend(again);
            }
        }
    }
    out
}

/// What was decoded holds what decoding promises.
fn check_tree(bytes: &[u8]) {
    if let Some(tree) = Tree::decode(bytes) {
        assert_eq!(Tree::decode(&tree.encode()), Some(tree.clone()));
        assert!(tree.entries.len() <= bytes.len());
        for entry in &tree.entries {
            let name = entry.name.as_slice();
            assert!(!name.is_empty() && name != b"." && name != b"..");
            assert!(!name.contains(&b'/') && !name.contains(&0));
            assert_eq!(tree.get(name), Some(&entry.node));
        }
    }
}

fn check_list(bytes: &[u8]) {
    if let Some(list) = ChunkList::decode(bytes) {
        assert!(list.len().is_some());
        assert!(list.pieces.len() <= bytes.len());
        assert_eq!(ChunkList::decode(&list.encode()), Some(list));
    }
}

/// Head and payload of whatever; the payload is unpacked with and without a base.
fn check_block(bytes: &[u8]) {
    if let Some(lead) = Lead::read(bytes) {
        assert!(lead.block_len() <= 2 * RAW_MAX + (1 << 20));
        assert!(bytes[HEAD_LEN..].len() >= lead.table_len() || Head::read(bytes).is_none());
    }
    let Some(head) = Head::read(bytes) else {
        return;
    };
    let sum: usize = head.objects.iter().map(|object| object.1).sum();
    assert_eq!(sum, head.raw_len);
    let payload = &bytes[head.payload_at()..];
    for base in [None, Some(&b"a base"[..])] {
        if let Ok(raw) = head.unpack(payload, base) {
            assert_eq!(raw.len(), head.raw_len);
        }
    }
}

fn blocks() -> Vec<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
    let mut made = |parts: &[Vec<u8>]| {
        let objects: Vec<_> = parts
            .iter()
            .map(|part| (ObjectId::of(part), part.len()))
            .collect();
        pack::block(&objects, &parts.concat(), &mut compressor).unwrap()
    };
    let base = noise(1, 3_000);
    let object = [&base[..], b"more"].concat();
    let id = ObjectId::of(&object);
    let delta = pack::delta(id, &object, (ObjectId::of(&base), &base), 1, 3);
    vec![
        made(&[noise(1, 50)]),
        made(&[text(1, 900), text(2, 900), Vec::new()]),
        delta.unwrap().unwrap(),
    ]
}

/// Makes the sum right again, so that what is behind it gets tested too.
fn resealed(mut block: Vec<u8>) -> Vec<u8> {
    if let Some(lead) = Lead::read(&block)
        && let Some(table) = block.get(HEAD_LEN..HEAD_LEN + lead.table_len())
    {
        let mut hasher = blake3::Hasher::new();
        let sum = *hasher
            .update(&block[..16])
            .update(table)
            .finalize()
            .as_bytes();
        block[16..HEAD_LEN].copy_from_slice(&sum[..8]);
    }
    block
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn trees_come_back(tree in tree(), seed in any::<u64>()) {
        let bytes = tree.encode();
        prop_assert_eq!(Tree::decode(&bytes), Some(tree));
        let mut rng = Rng::new(seed);
        for _ in 0..20 {
            check_tree(&mutated(&bytes, &mut rng));
        }
    }

    #[test]
    fn lists_come_back(list in list(), seed in any::<u64>()) {
        let bytes = list.encode();
        prop_assert_eq!(ChunkList::decode(&bytes), Some(list));
        let mut rng = Rng::new(seed);
        for _ in 0..20 {
            check_list(&mutated(&bytes, &mut rng));
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in vec(any::<u8>(), 0..300)) {
        check_block(&bytes);
        check_block(&[b"WMB1", &bytes[..]].concat());
        check_tree(&[b"WMT1", &bytes[..]].concat());
        check_list(&[b"WML1", &bytes[..]].concat());
        prop_assert!(references(&bytes).is_sorted());
    }

    #[test]
    fn changed_blocks_are_read_without_harm(seed in any::<u64>()) {
        let mut rng = Rng::new(seed);
        for block in blocks() {
            let bytes = mutated(&block, &mut rng);
            check_block(&bytes);
            check_block(&resealed(bytes));
        }
    }

    #[test]
    fn every_name_in_a_text_is_found(
        ids in vec(object(), 0..6),
        between in vec("[a-z0-9:,\\[\\]{}\" ]{0,30}", 7),
    ) {
        let mut text = String::new();
        for (id, noise) in ids.iter().zip(&between) {
            text.push_str(noise);
            // An odd quote in the noise does not hide what follows.
            text.extend(["\"", &id.to_string(), "\""]);
        }
        let found = references(text.as_bytes());
        for id in &ids {
            prop_assert!(found.contains(id));
        }
        prop_assert!(found.is_sorted());
    }
}

/// A head may claim a gigabyte: a few bytes of payload can't hold it, and cost no memory.
#[test]
fn a_claim_of_a_gigabyte_is_refused_before_memory_is_set_aside() {
    let [_, zstd, delta] = &blocks()[..] else {
        panic!("three blocks");
    };
    for block in [zstd, delta] {
        let head = Head::read(block).unwrap();
        let payload_at = head.payload_at();
        let huge = u32::try_from(RAW_MAX).unwrap().to_le_bytes();
        let mut bytes = block.clone();
        bytes[8..12].copy_from_slice(&huge);
        // The first object claims all of it.
        let table = payload_at - 36 * head.objects.len();
        for object in 0..head.objects.len() {
            let at = table + 36 * object + 32;
            bytes[at..at + 4].copy_from_slice(if object == 0 { &huge } else { &[0; 4] });
        }
        // A frame that claims the same: 8-byte size, one segment, then a block of four bytes.
        bytes.truncate(payload_at);
        bytes.extend_from_slice(&[0x28, 0xb5, 0x2f, 0xfd, 0xe0]);
        bytes.extend_from_slice(&(RAW_MAX as u64).to_le_bytes());
        bytes.extend_from_slice(&[0x03, 0, 0, 0]);
        let payload_len = u32::try_from(bytes.len() - payload_at).unwrap();
        bytes[12..16].copy_from_slice(&payload_len.to_le_bytes());
        let head = Head::read(&resealed(bytes.clone())).unwrap();
        assert_eq!(head.raw_len, RAW_MAX);
        let base = noise(1, 3_000);
        let refused = head.unpack(&resealed(bytes)[payload_at..], Some(&base));
        assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    }
}

/// The opposite: a large frame behind a small claim.
#[test]
fn a_frame_that_holds_more_than_its_head_says_is_refused() {
    let zeros = vec![0; 8 << 20];
    let frame = zstd::bulk::compress(&zeros, 1).unwrap();
    let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
    let objects = [(ObjectId::of(b""), 1_000)];
    let block = pack::block(&objects, &[b'a'; 1_000], &mut compressor).unwrap();
    let head = Head::read(&block).unwrap();
    assert!(head.unpack(&block[head.payload_at()..], None).is_ok());
    assert!(head.unpack(&frame, None).is_err());
}

/// What compresses best of all is still read.
#[test]
fn a_megabyte_of_zeros_comes_back() {
    let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
    for len in [100, 1_000, 128 << 10, (128 << 10) + 1, 16 << 20] {
        let zeros = vec![0; len];
        let objects = [(ObjectId::of(&zeros), len)];
        let block = pack::block(&objects, &zeros, &mut compressor).unwrap();
        let head = Head::read(&block).unwrap();
        assert_eq!(
            head.unpack(&block[head.payload_at()..], None).unwrap(),
            zeros
        );
        let base = zeros.clone();
        let delta = pack::delta(objects[0].0, &zeros, (ObjectId::of(&base), &base), 1, 3);
        if let Some(block) = delta.unwrap() {
            let head = Head::read(&block).unwrap();
            let found = head.unpack(&block[head.payload_at()..], Some(&base));
            assert_eq!(found.unwrap(), zeros);
        }
    }
}
