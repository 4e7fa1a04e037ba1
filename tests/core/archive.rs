//! Archives: what goes out comes back, what is not whole is refused before anything is written, and an
//! import that is cut short leaves whole checkpoints or none.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use waymark::error::{Error, Result};
use waymark::model::archive::{Contents, LEAD_LEN, Listed, Object};
use waymark::model::cancel::Cancel;
use waymark::model::ids::CheckpointId;
use waymark::model::object::ObjectId;
use waymark::model::progress::Progress;
use waymark::model::retention::Retention;
use waymark::model::snapshot::{ChunkList, Node, Piece, Tree, TreeEntry};
use waymark::model::step::Step;
use waymark::ops::create::{self, STATE_MAX};
use waymark::ops::export::{self, Exported};
use waymark::ops::gc;
use waymark::ops::import::{self, Outcome};
use waymark::ops::restore::Choice;
use waymark::ops::verify::{self, verify_store};
use waymark::store::archive::{Archive, ArchiveWriter};
use waymark::store::disk::Disk;
use waymark::store::objects::pack;

use crate::sim_disk::{Rng, SimDisk};
use crate::store_world::text;
use crate::world::{World, code, member, record, resummed};

const FILE: &str = "/project/demo.wmk";

const EVERYTHING: export::Request = export::Request {
    checkpoint_id: None,
    overwrite: false,
    allow_damaged: false,
};

/// A state that lies in the store.
fn state(seed: u64) -> String {
    let text = String::from_utf8(text(seed, 90_000)).unwrap();
    let text = text.replace('"', "'").replace('\n', " ");
    format!("{{\"text\":\"{text}\"}}")
}

fn create(world: &mut World, step: u32, state: &str) {
    world.now_ms += 1_000;
    world.put("run.json", &record(step, "work"));
    let request = create::Request {
        step: Step::Number(f64::from(step)),
        state: state.as_bytes(),
        retention: Some(Retention::newest(9)),
        max_state_bytes: STATE_MAX,
        capture: None,
        max_store_bytes: None,
        facts: None,
        environment: None,
    };
    world
        .act(|context| create::create(context, &request))
        .unwrap();
}

/// A run with three checkpoints; the state of two lies in the store.
fn source() -> World {
    let mut world = World::new();
    create(&mut world, 1, &state(1));
    create(&mut world, 2, "{\"small\":true}");
    create(
        &mut world,
        3,
        &format!("{}  ", state(1).replace("step", "Step")),
    );
    world.disk.settle();
    world
}

fn export(world: &World, request: &export::Request) -> Result<Exported> {
    world.act(|context| export::export(context, Path::new(FILE), request))
}

/// The archive of a run.
fn archive_of(world: &World) -> Vec<u8> {
    let world = world.fork();
    let _ = world.disk.remove_file(Path::new(FILE));
    export(&world, &EVERYTHING).unwrap();
    world.disk.content(Path::new(FILE)).unwrap()
}

/// A project without the run, with an archive beside it.
fn target(archive: &[u8]) -> World {
    let world = World {
        disk: SimDisk::new(),
        ..World::new()
    };
    let mut path = PathBuf::from("/");
    for name in world.run.runs_dir().components().skip(1) {
        path.push(name);
        world.disk.plant_dir(&path);
    }
    world.disk.plant_file(Path::new(FILE), archive);
    world.disk.settle();
    world
}

fn import(world: &World, request: import::Request) -> Result<Outcome> {
    world.act(|context| import::import(context, Path::new(FILE), &request))
}

fn plain(world: &World) -> Result<Outcome> {
    import(world, import::Request::default())
}

fn check(world: &World) -> Result<Outcome> {
    import::check(
        &world.disk,
        Path::new(FILE),
        &Cancel::default(),
        &Progress::default(),
    )
}

/// Every checkpoint with its bytes.
fn manifests(world: &World) -> Vec<(String, Vec<u8>)> {
    let good = world.verified().good;
    let read = |path: &Path| world.disk.content(path).unwrap();
    good.iter()
        .map(|good| (good.header.checkpoint_id.to_string(), read(&good.path)))
        .collect()
}

/// Nothing that a checkpoint needs is missing or damaged, and nothing is left over.
fn assert_whole(world: &World, when: &str) {
    let all = verify::Request {
        data: true,
        ..verify::Request::default()
    };
    let (cancel, progress) = (Cancel::default(), Progress::default());
    let found = verify_store(
        &world.disk,
        &world.store,
        &all,
        world.now_ms,
        &cancel,
        &progress,
    );
    let found = found.unwrap();
    assert!(
        found.is_ok(),
        "{when}: {:?} {:?}",
        found.hurt,
        found.problems
    );
    world.assert_tidy(when);
}

fn exists(world: &World) -> bool {
    world.disk.metadata(world.run.path()).is_ok()
}

#[test]
fn a_run_comes_back_in_another_project() {
    let source = source();
    let exported = export(&source, &EVERYTHING).unwrap();
    let bytes = source.disk.content(Path::new(FILE)).unwrap();
    assert_eq!(exported.file_bytes, bytes.len() as u64);
    assert_eq!(exported.hash, ObjectId::of(&bytes));
    assert_eq!(exported.checkpoints.len(), 3);
    assert!(exported.bytes > exported.file_bytes);
    assert_eq!(archive_of(&source), bytes, "the same again");

    let mut there = target(&bytes);
    there.now_ms = source.now_ms + 5_000;
    let checked = check(&there).unwrap();
    assert_eq!(there.disk.calls(), 0, "a check writes nothing");
    assert_eq!((checked.checkpoints.len(), checked.written), (3, None));
    assert!(checked.whole_run);
    assert_eq!(checked.checkpoints[0].header.step, Step::Number(3.0));

    let done = plain(&there).unwrap();
    let written = done.written.unwrap();
    assert!(written.new_run && written.added_bytes > 1_000);
    assert_eq!(written.warnings, Vec::<String>::new());
    assert_eq!(manifests(&there), manifests(&source));
    assert_whole(&there, "imported");
    // Its registry points here, and the run is as restored.
    let registry = there.text("artifact-registry.json").unwrap();
    assert!(registry.contains("a.md") && registry.contains(there.run.path().to_str().unwrap()));
    let now = there.text("run.json").unwrap();
    assert_eq!(member(&now, "status").as_deref(), Some("in_progress"));
    assert_eq!(member(&now, "current_step").as_deref(), Some("3"));
    let shown = |world: &World| {
        let id = CheckpointId::parse(&manifests(world)[2].0).unwrap();
        world
            .act(|context| waymark::ops::show::show(context, &id))
            .unwrap()
            .manifest
    };
    assert_eq!(shown(&there), shown(&source));
    // What was imported is a run like any other.
    there.now_ms += 1_000;
    there.restore(&Choice::Step(Step::Number(1.0))).unwrap();
    there.restore_newest().unwrap();
    create(&mut there, 4, &state(4));
    assert_whole(&there, "gone on");
    // The archive does not depend on how the store came to be.
    let again = target(&bytes);
    plain(&again).unwrap();
    again.disk.remove_file(Path::new(FILE)).unwrap();
    assert_eq!(archive_of(&again), bytes);
}

#[test]
fn one_checkpoint_and_then_the_others() {
    let source = source();
    let all = manifests(&source);
    let request = export::Request {
        checkpoint_id: Some(CheckpointId::parse(&all[1].0).unwrap()),
        ..EVERYTHING
    };
    let exported = export(&source, &request).unwrap();
    assert_eq!((exported.objects, exported.checkpoints.len()), (0, 1));
    let one = source.disk.content(Path::new(FILE)).unwrap();
    assert_eq!(code(export(&source, &request)), "ERR_PATH_EXISTS");
    let over = export::Request {
        overwrite: true,
        ..EVERYTHING
    };
    export(&source, &over).unwrap();

    let there = target(&one);
    let done = plain(&there).unwrap();
    assert!(!done.whole_run);
    assert_eq!(done.written.unwrap().added_bytes, 0);
    let packs = there.store.packs(&there.disk).unwrap();
    assert_eq!(packs, [], "none is needed");
    assert_eq!(manifests(&there), all[1..2]);
    let rest = source.disk.content(Path::new(FILE)).unwrap();
    there.disk.plant_file(Path::new(FILE), &rest);
    let done = plain(&there).unwrap();
    let here: Vec<bool> = done.checkpoints.iter().map(|one| one.was_here).collect();
    assert_eq!(here, [false, true, false]);
    assert!(!done.written.unwrap().new_run);
    assert_eq!(manifests(&there), all);
    assert_whole(&there, "the rest");
    // And once more: all is there.
    let sight = there.sight();
    let done = plain(&there).unwrap();
    assert!(done.checkpoints.iter().all(|one| one.was_here));
    assert_eq!(done.written.unwrap().added_bytes, 0);
    assert_eq!(there.sight(), sight);
}

#[test]
fn what_is_cut_changed_or_longer_is_refused_before_anything_is_written() {
    let bytes = archive_of(&source());
    let refused = |altered: &[u8], when: &str| {
        let there = target(altered);
        for result in [check(&there), plain(&there)] {
            let Err(error) = result else {
                panic!("{when}: it was taken");
            };
            let codes = ["ERR_ARCHIVE_DAMAGED", "ERR_ARCHIVE_FORMAT"];
            assert!(
                codes.contains(&error.code()),
                "{when}: {}",
                error.full_message()
            );
            assert_eq!(there.disk.calls(), 0, "{when}: {:?}", there.disk.trace());
            let reason = error.reason().unwrap_or_default();
            if when.starts_with("cut") {
                assert_eq!(reason, "truncated", "{when}: {}", error.full_message());
            }
            if when.starts_with("longer") {
                assert_eq!(reason, "appended", "{when}");
            }
        }
    };
    let ends = (1..40).chain(bytes.len() - 40..bytes.len());
    for cut in ends
        .chain((0..bytes.len()).step_by(97))
        .filter(|cut| *cut > 0)
    {
        refused(&bytes[..cut], &format!("cut at {cut} of {}", bytes.len()));
    }
    let mut rng = Rng::new(7);
    for at in (0..200).chain((0..bytes.len()).step_by(61)) {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << rng.below(8);
        refused(&altered, &format!("bit of byte {at}"));
    }
    refused(&[&bytes[..], b"\0"].concat(), "longer by one");
    refused(&[&bytes[..], &bytes].concat(), "longer by itself");
    refused(b"", "empty");
    refused(b"PK\x03\x04 something else altogether", "other");
    assert_eq!(code(check(&target(b"{}"))), "ERR_ARCHIVE_DAMAGED");
}

/// An archive of whatever, with sums that fit.
fn crafted(contents: &Contents, blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = contents.encode();
    bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
    bytes.extend(blocks.concat());
    bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
    bytes
}

fn block(parts: &[&[u8]]) -> Vec<u8> {
    let objects: Vec<_> = parts
        .iter()
        .map(|part| (ObjectId::of(part), part.len()))
        .collect();
    let mut compressor = zstd::bulk::Compressor::new(3).unwrap();
    pack::block(&objects, &parts.concat(), &mut compressor).unwrap()
}

fn object(bytes: &[u8]) -> Object {
    Object {
        id: ObjectId::of(bytes),
        len: bytes.len() as u64,
    }
}

fn contents(manifest: &[u8], id: &str, objects: &[&[u8]]) -> Contents {
    Contents {
        made_by: "0".to_owned(),
        run_id: "run-1".to_owned(),
        whole_run: false,
        checkpoints: vec![Listed {
            checkpoint_id: id.to_owned(),
            manifest: object(manifest),
        }],
        objects: objects.iter().map(|bytes| object(bytes)).collect(),
    }
}

/// A small checkpoint whose snapshot has one folder.
fn with_tree(tree: &[u8]) -> (String, Vec<u8>) {
    let mut world = World::new();
    create(&mut world, 1, "{}");
    let (id, bytes) = manifests(&world).remove(0);
    let text = String::from_utf8(bytes).unwrap();
    let snapshot = format!(
        "\"snapshot\": {{\"roots\":[{{\"name\":\"run\",\"path\":\"r\",\"tree\":\"{}\"}}],\"files\":1,\
         \"bytes\":1,\"added_bytes\":1,\"withheld\":0,\"partial\":false,\"problems\":[],\
         \"problems_total\":0,\"missing\":[]}}",
        ObjectId::of(tree)
    );
    let text = text.replace("\"snapshot\": null", &snapshot);
    (id, resummed(&text).into_bytes())
}

fn folder(names: &[(&[u8], Node)]) -> Vec<u8> {
    let entries = names.iter().map(|(name, node)| TreeEntry {
        name: name.to_vec(),
        node: node.clone(),
    });
    Tree {
        entries: entries.collect(),
    }
    .encode()
}

fn file(bytes: &[u8], size: u64, chunks: Option<ObjectId>) -> Node {
    Node::File(waymark::model::snapshot::File {
        mode: 0o644,
        modified_ns: 0,
        size,
        hash: ObjectId::of(bytes),
        chunks,
    })
}

fn reason(world: &World) -> &'static str {
    match plain(world) {
        Ok(_) => panic!("it was taken"),
        Err(error) => {
            assert_eq!(world.disk.calls(), 0, "{:?}", world.disk.trace());
            error.reason().unwrap_or(error.code())
        }
    }
}

#[test]
fn hostile_contents_are_refused_before_anything_is_written() {
    let tree = folder(&[(b"a", file(b"content", 7, None))]);
    let (id, manifest) = with_tree(&tree);
    let whole = contents(&manifest, &id, &[&tree, b"content"]);
    let blocks = [block(&[&manifest]), block(&[&tree, b"content"])];
    let good = target(&crafted(&whole, &blocks));
    plain(&good).unwrap();
    assert_whole(&good, "the one that is good");
    let archive = Archive::open(&good.disk, Path::new(FILE)).unwrap();
    assert_eq!(archive.contents(), &whole);

    // A manifest of another run, and one of another checkpoint.
    let other = Contents {
        run_id: "run-2".to_owned(),
        ..whole.clone()
    };
    let world = target(&crafted(&other, &blocks));
    assert_eq!(check(&world).unwrap_err().reason(), Some("other_run"));
    let renamed = contents(&manifest, "another", &[&tree, b"content"]);
    assert_eq!(reason(&target(&crafted(&renamed, &blocks))), "id_mismatch");
    // A manifest that was altered after it was made.
    let altered = String::from_utf8(manifest.clone()).unwrap();
    let altered = altered.replace("work", "play").into_bytes();
    let world = target(&crafted(
        &contents(&altered, &id, &[&tree, b"content"]),
        &[block(&[&altered]), blocks[1].clone()],
    ));
    assert_eq!(reason(&world), "checksum_mismatch");

    // Something is missing, nobody needs it, it comes too early, under another name, or has another length.
    let lacks = contents(&manifest, &id, &[&tree]);
    let world = target(&crafted(&lacks, &[block(&[&manifest]), block(&[&tree])]));
    assert_eq!(reason(&world), "inconsistent");
    let more = contents(&manifest, &id, &[&tree, b"content", b"more"]);
    let world = target(&crafted(
        &more,
        &[blocks[0].clone(), block(&[&tree, b"content", b"more"])],
    ));
    assert_eq!(reason(&world), "inconsistent");
    let early = contents(&manifest, &id, &[b"content", &tree]);
    let world = target(&crafted(
        &early,
        &[blocks[0].clone(), block(&[b"content", &tree])],
    ));
    assert_eq!(reason(&world), "inconsistent");
    let mut named = block(&[&tree, b"content"]);
    let at = named
        .windows(32)
        .position(|part| part == ObjectId::of(b"content").as_bytes())
        .unwrap();
    let claimed = ObjectId::of(b"CONTENT");
    named[at..at + 32].copy_from_slice(claimed.as_bytes());
    let tree_of_claimed = folder(&[(b"a", file(b"CONTENT", 7, None))]);
    let (id2, manifest2) = with_tree(&tree_of_claimed);
    let mut lying = block(&[&tree_of_claimed, b"content"]);
    lying[at..at + 32].copy_from_slice(claimed.as_bytes());
    let lying = resealed(lying);
    let world = target(&crafted(
        &contents(&manifest2, &id2, &[&tree_of_claimed, b"CONTENT"]),
        &[block(&[&manifest2]), lying],
    ));
    assert_eq!(reason(&world), "altered");
    let long = folder(&[(b"a", file(b"content", 8, None))]);
    let (id3, manifest3) = with_tree(&long);
    let world = target(&crafted(
        &contents(&manifest3, &id3, &[&long, b"content"]),
        &[block(&[&manifest3]), block(&[&long, b"content"])],
    ));
    assert_eq!(reason(&world), "inconsistent");

    // A name that would lead out, and a folder that is none.
    for tree in [
        folder(&[(b"..", file(b"content", 7, None))]),
        folder(&[(b"a/b", file(b"content", 7, None))]),
        b"no folder".to_vec(),
    ] {
        let (id, manifest) = with_tree(&tree);
        let world = target(&crafted(
            &contents(&manifest, &id, &[&tree, b"content"]),
            &[block(&[&manifest]), block(&[&tree, b"content"])],
        ));
        assert_eq!(reason(&world), "inconsistent");
    }
    // A list whose chunks are not as long as the file.
    let list = ChunkList {
        pieces: vec![Piece {
            len: 7,
            chunk: Some(ObjectId::of(b"content")),
        }],
    }
    .encode();
    for (size, taken) in [(7, true), (9, false)] {
        let tree = folder(&[(b"a", file(b"content", size, Some(ObjectId::of(&list))))]);
        let (id, manifest) = with_tree(&tree);
        let world = target(&crafted(
            &contents(&manifest, &id, &[&tree, &list, b"content"]),
            &[block(&[&manifest]), block(&[&tree, &list, b"content"])],
        ));
        assert_eq!(check(&world).is_ok(), taken);
    }
}

/// Makes a block's sum right again.
fn resealed(mut block: Vec<u8>) -> Vec<u8> {
    let lead = pack::Lead::read(&block).unwrap();
    let table = &block[pack::HEAD_LEN..pack::HEAD_LEN + lead.table_len()];
    let mut hasher = blake3::Hasher::new();
    let sum = *hasher
        .update(&block[..16])
        .update(table)
        .finalize()
        .as_bytes();
    block[16..pack::HEAD_LEN].copy_from_slice(&sum[..8]);
    block
}

#[test]
fn a_block_that_claims_or_holds_too_much_is_refused() {
    let tree = folder(&[(b"a", file(b"content", 7, None))]);
    let (id, manifest) = with_tree(&tree);
    let whole = contents(&manifest, &id, &[&tree, b"content"]);
    // A frame of eight megabytes under a head that says seven bytes.
    let zeros = vec![0; 8 << 20];
    let frame = zstd::bulk::compress(&zeros, 1).unwrap();
    let small = vec![b'a'; 4_000];
    let honest = block(&[&small]);
    let head = pack::Head::read(&honest).unwrap();
    let mut bomb = honest[..head.payload_at()].to_vec();
    bomb[12..16].copy_from_slice(&u32::try_from(frame.len()).unwrap().to_le_bytes());
    bomb.extend_from_slice(&frame);
    let small_tree = folder(&[(b"a", file(&small, 4_000, None))]);
    let (small_id, small_manifest) = with_tree(&small_tree);
    let world = target(&crafted(
        &contents(&small_manifest, &small_id, &[&small_tree, &small]),
        &[
            block(&[&small_manifest]),
            block(&[&small_tree]),
            resealed(bomb),
        ],
    ));
    assert_eq!(reason(&world), "altered");
    // More objects together than an archive has in one block.
    let large: Vec<Vec<u8>> = (0..3).map(|seed| text(seed, 600_000)).collect();
    let names: [&[u8]; 3] = [b"a", b"b", b"c"];
    let files: Vec<(&[u8], Node)> = names
        .into_iter()
        .zip(&large)
        .map(|(name, bytes)| (name, file(bytes, 600_000, None)))
        .collect();
    let large_tree = folder(&files);
    let (large_id, large_manifest) = with_tree(&large_tree);
    let parts: Vec<&[u8]> = large.iter().map(Vec::as_slice).collect();
    let listed: Vec<&[u8]> = [&[&large_tree[..]], &parts[..]].concat();
    let listed = contents(&large_manifest, &large_id, &listed);
    let first = [block(&[&large_manifest]), block(&[&large_tree])].concat();
    let world = target(&crafted(&listed, &[first.clone(), block(&parts)]));
    assert_eq!(reason(&world), "inconsistent");
    let alone: Vec<u8> = parts.iter().flat_map(|part| block(&[part])).collect();
    check(&target(&crafted(&listed, &[first, alone]))).unwrap();
    // A block by difference, as packs have them.
    let base = text(9, 3_000);
    let delta = pack::delta(
        ObjectId::of(b"content"),
        b"content",
        (ObjectId::of(&base), &base),
        1,
        3,
    );
    if let Some(delta) = delta.unwrap() {
        let world = target(&crafted(
            &whole,
            &[block(&[&manifest]), block(&[&tree]), delta],
        ));
        assert_eq!(reason(&world), "inconsistent");
    }
    // Contents that claim to be longer than the file.
    let mut bytes = crafted(&whole, &[block(&[&manifest]), block(&[&tree, b"content"])]);
    bytes[LEAD_LEN - 8..LEAD_LEN].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(reason(&target(&bytes)), "truncated");
    bytes[8] = 2;
    assert_eq!(reason(&target(&bytes)), "ERR_ARCHIVE_FORMAT");
}

#[test]
fn a_writer_refuses_what_its_contents_do_not_list() {
    let disk = SimDisk::new();
    let listed = contents(b"manifest", "one", &[b"a"]);
    let target = Path::new("/x");
    let mut writer = ArchiveWriter::begin(&disk, target, &listed).unwrap();
    assert_eq!(code(writer.put(b"other")), "ERR_INTERNAL");
    drop(writer);
    let mut writer = ArchiveWriter::begin(&disk, target, &listed).unwrap();
    writer.put(b"manifest").unwrap();
    assert_eq!(code(writer.finish()), "ERR_INTERNAL");
    assert_eq!(disk.list(Path::new("/")).unwrap(), []);
}

#[test]
fn another_run_of_the_same_id_is_not_mixed_with_it() {
    let source = source();
    let bytes = archive_of(&source);
    // Another workflow.
    let mut there = World::new();
    there.put("run.json", &record(1, "x").replace("research", "writing"));
    there.now_ms += 7_777;
    there.create(1.0).unwrap();
    there.disk.plant_file(Path::new(FILE), &bytes);
    there.disk.settle();
    let before = there.sight();
    let error = plain(&there).unwrap_err();
    assert_eq!(
        (error.code(), error.reason()),
        ("ERR_IMPORT_CONFLICT", Some("run"))
    );
    assert!(error.to_string().contains("workflow_id"), "{error}");
    assert_eq!(there.sight(), before);
    let merge = import::Request {
        merge: true,
        ..import::Request::default()
    };
    import(&there, merge).unwrap();
    assert_eq!(manifests(&there).len(), 4);
    assert_eq!(
        there.text("run.json"),
        Some(String::from_utf8(before["run.json"].clone()).unwrap())
    );
    assert_whole(&there, "merged");

    // A checkpoint of the same id that is another one.
    let there = target(&bytes);
    plain(&there).unwrap();
    let (id, _) = manifests(&source).remove(0);
    there
        .disk
        .plant_file(&there.manifest(&format!("{id}.json")), b"{}");
    let before = there.sight();
    for request in [import::Request::default(), merge] {
        let error = import(&there, request).unwrap_err();
        assert_eq!(
            (error.code(), error.reason()),
            ("ERR_IMPORT_CONFLICT", Some("checkpoint"))
        );
        assert_eq!(error.checkpoint_id(), Some(id.as_str()));
        assert_eq!(there.sight(), before);
    }
}

#[test]
fn a_run_whose_files_are_gone_gets_them_back() {
    let source = source();
    let there = target(&archive_of(&source));
    there.disk.plant_dir(there.run.path());
    plain(&there).unwrap();
    assert_whole(&there, "an empty folder");
    assert!(there.text("run.json").is_some());
    // The store was lost: the objects come back though all manifests are there.
    let lost = source.fork();
    let names: Vec<_> = lost.store.packs(&lost.disk).unwrap();
    for (pack, _) in names {
        lost.disk.remove(&lost.store.pack(pack));
    }
    lost.disk.plant_file(Path::new(FILE), &archive_of(&source));
    assert_ne!(lost.restore_newest().unwrap().step, Step::Number(3.0));
    let done = plain(&lost).unwrap();
    assert!(done.checkpoints.iter().all(|one| one.was_here));
    assert!(done.written.unwrap().added_bytes > 1_000);
    assert_whole(&lost, "objects came back");
    lost.restore_newest().unwrap();
}

#[test]
fn the_budget_is_kept() {
    let bytes = archive_of(&source());
    let there = target(&bytes);
    let within = |max| import::Request {
        merge: false,
        max_store_bytes: Some(max),
    };
    let error = import(&there, within(300_000)).unwrap_err();
    let Error::StoreBudget {
        needed,
        allowed,
        ref dropped,
        ..
    } = error
    else {
        panic!("{}", error.full_message());
    };
    assert!(needed > 1_000 && allowed < needed && dropped.is_empty());
    assert!(!exists(&there));
    let max = 2 << 20;
    import(&there, within(max)).unwrap();
    assert!(there.store.used_bytes(&there.disk).unwrap() <= max);
    assert_whole(&there, "within the budget");
}

/// Imports into a project without the run, into one that has a part of it, and into another run.
fn starts() -> Vec<(&'static str, World)> {
    let source = source();
    let bytes = archive_of(&source);
    let part = {
        let one = source.fork();
        let id = CheckpointId::parse(&manifests(&source)[2].0).unwrap();
        let request = export::Request {
            checkpoint_id: Some(id),
            ..EVERYTHING
        };
        export(&one, &request).unwrap();
        let there = target(&one.disk.content(Path::new(FILE)).unwrap());
        plain(&there).unwrap();
        there.disk.plant_file(Path::new(FILE), &bytes);
        there.disk.settle();
        there
    };
    let empty = target(&bytes);
    empty.disk.plant_dir(empty.run.path());
    empty.disk.settle();
    vec![
        ("new", target(&bytes)),
        ("part", part.fork()),
        ("empty", empty),
    ]
}

/// After an import that did not come to its end, the run is as it was, or has more whole checkpoints; the
/// import can be done again, and a gc then drops nothing that is needed.
fn goes_on(name: &str, before: &World, world: &World, when: &str) {
    let mut world = world.clone();
    world.now_ms += 60_000;
    if name == "new" && exists(&world) {
        assert_eq!(world.verified().good.len(), 3, "{when}: whole or nothing");
        assert!(world.text("run.json").is_some(), "{when}");
    }
    let had: Vec<_> = if exists(before) {
        manifests(before)
    } else {
        Vec::new()
    };
    if exists(&world) {
        let has = manifests(&world);
        assert!(world.verified().damaged.is_empty(), "{when}");
        assert!(had.iter().all(|one| has.contains(one)), "{when}");
    }
    plain(&world).unwrap_or_else(|error| panic!("{when}: again: {}", error.full_message()));
    assert_whole(&world, when);
    let (cancel, progress) = (Cancel::default(), Progress::default());
    let all = gc::Request {
        max_unused: 0.0,
        ..gc::Request::default()
    };
    gc::gc(
        &world.disk,
        &world.store,
        &all,
        world.now_ms,
        &cancel,
        &progress,
    )
    .unwrap();
    assert_whole(&world, when);
    assert_eq!(manifests(&world).len(), 3, "{when}");
}

#[test]
fn an_import_that_is_killed_leaves_whole_checkpoints_or_none() {
    for (name, start) in starts() {
        let clean = start.fork();
        plain(&clean).unwrap();
        for n in 1..=clean.disk.calls() + 1 {
            let world = start.fork();
            world.disk.crash_at(n);
            let _ = plain(&world);
            let when = format!("{name}: killed at call {n}");
            world.disk.kill();
            goes_on(name, &start, &world.on(world.disk.fork()), &when);
            for seed in 0..3 {
                let world = start.fork();
                world.disk.crash_at(n);
                let _ = plain(&world);
                let lost = world.on(world.disk.power_loss(seed));
                let when = format!("{name}: power lost at call {n}, seed {seed}");
                goes_on(name, &start, &lost, &when);
            }
        }
    }
}

#[test]
fn a_call_that_fails_leaves_the_run_as_it_was() {
    for (name, start) in starts() {
        let before = start.sight();
        let clean = start.fork();
        plain(&clean).unwrap();
        for n in 1..=clean.disk.calls() {
            for (kind, expected) in [
                (ErrorKind::StorageFull, "ERR_DISK_FULL"),
                (ErrorKind::Other, "ERR_IO"),
            ] {
                let world = start.fork();
                world.disk.fail_at(n, kind);
                let result = plain(&world);
                let at = usize::try_from(n).unwrap() - 1;
                let call = world.disk.trace()[at].clone();
                let when = format!(
                    "{name}: call {n} ({} {}) fails",
                    call.verb,
                    call.path.display()
                );
                match result.map_err(|error| error.code()) {
                    Ok(_) | Err("ERR_NOT_DURABLE") => {}
                    Err(found) => {
                        assert_eq!(found, expected, "{when}");
                        assert_eq!(world.sight(), before, "{when}");
                    }
                }
                world.disk.heal();
                goes_on(name, &start, &world, &when);
            }
        }
    }
}

#[test]
fn an_export_that_fails_or_is_stopped_leaves_no_file() {
    let source = source();
    let clean = source.fork();
    export(&clean, &EVERYTHING).unwrap();
    for n in 1..=clean.disk.calls() {
        let world = source.fork();
        world.disk.fail_at(n, ErrorKind::StorageFull);
        if let Err(error) = export(&world, &EVERYTHING) {
            let codes = ["ERR_DISK_FULL", "ERR_NOT_DURABLE"];
            assert!(codes.contains(&error.code()), "call {n}: {}", error.code());
            let there = world.disk.content(Path::new(FILE)).is_some();
            assert_eq!(there, error.code() == "ERR_NOT_DURABLE", "call {n}");
        }
        assert_eq!(world.sight(), source.sight());
    }
    let cancel = Cancel::default();
    cancel.cancel();
    let stopped = source.act(|context| {
        let context = waymark::ops::Context {
            cancel: &cancel,
            ..*context
        };
        export::export(&context, Path::new(FILE), &EVERYTHING)
    });
    assert_eq!(code(stopped), "ERR_ABORTED");
}

#[test]
fn a_damaged_checkpoint_is_refused_or_left_out() {
    let source = source();
    let all = manifests(&source);
    source
        .disk
        .plant_file(&source.manifest(&format!("{}.json", all[1].0)), b"{\"torn");
    assert_eq!(code(export(&source, &EVERYTHING)), "ERR_CHECKPOINT_DAMAGED");
    let allowed = export::Request {
        allow_damaged: true,
        ..EVERYTHING
    };
    let done = export(&source, &allowed).unwrap();
    assert_eq!(done.checkpoints.len(), 2);
    assert_eq!(done.left_out[0].checkpoint_id, all[1].0);
    let one = export::Request {
        checkpoint_id: Some(CheckpointId::parse(&all[1].0).unwrap()),
        overwrite: true,
        ..allowed.clone()
    };
    assert_eq!(code(export(&source, &one)), "ERR_CHECKPOINT_DAMAGED");
    // The objects are gone.
    let packs = source.store.packs(&source.disk).unwrap();
    for (pack, _) in packs {
        source.disk.remove(&source.store.pack(pack));
    }
    let over = export::Request {
        overwrite: true,
        ..allowed
    };
    assert_eq!(code(export(&source, &over)), "ERR_NO_GOOD_CHECKPOINT");
    let unknown = export::Request {
        checkpoint_id: Some(CheckpointId::parse("unknown").unwrap()),
        ..over
    };
    assert_eq!(code(export(&source, &unknown)), "ERR_CHECKPOINT_NOT_FOUND");
    assert_eq!(
        code(export(&World::new(), &EVERYTHING)),
        "ERR_NO_CHECKPOINT"
    );
}

/// Whoever changes an archive can make its sums right again: what is behind them is checked all the same.
#[test]
fn changed_archives_whose_sums_fit_do_no_harm() {
    let tree = folder(&[(b"a", file(b"content", 7, None))]);
    let (id, manifest) = with_tree(&tree);
    let contents = contents(&manifest, &id, &[&tree, b"content"]).encode();
    let blocks = [block(&[&manifest]), block(&[&tree, b"content"])].concat();
    let mut refused = 0;
    for seed in 0..600 {
        let mut rng = Rng::new(seed);
        let (mut contents, mut blocks) = (contents.clone(), blocks.clone());
        for _ in 0..=rng.below(2) {
            let part = if rng.percent(50) {
                &mut contents
            } else {
                &mut blocks
            };
            let at = rng.below(part.len());
            match rng.below(3) {
                0 => part[at] ^= 1 << rng.below(8),
                1 => part.truncate(at),
                _ => part.insert(at, 0xff),
            }
            if part.is_empty() {
                part.push(0);
            }
        }
        let mut bytes = contents;
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        bytes.extend(blocks);
        bytes.extend_from_slice(blake3::hash(&bytes).as_bytes());
        let there = target(&bytes);
        refused += u32::from(check(&there).is_err());
        assert_eq!(there.disk.calls(), 0, "seed {seed}");
    }
    assert!(refused > 400, "{refused}");
}
