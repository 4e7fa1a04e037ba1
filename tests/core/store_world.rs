//! A store under test, with the plain list of what must be in it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use waymark::error::{Error, Result};
use waymark::model::cancel::Cancel;
use waymark::model::object::ObjectId;
use waymark::store::disk::Disk;
use waymark::store::objects::{Content, Limit, Sink, Store, Writer};
use waymark::store::place::StoreDir;

use crate::sim_disk::{Rng, SimDisk};

/// What was put, and what of it must be there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// `sync` said that these are durable.
    pub(crate) objects: HashMap<ObjectId, Vec<u8>>,
    /// The same for states, oldest first.
    pub(crate) states: Vec<(Content, Vec<u8>)>,
    /// Put, but never synced: may be there, or not.
    pub(crate) unsure: HashMap<ObjectId, Vec<u8>>,
    /// States that were put, but never synced.
    pub(crate) unsure_states: Vec<(Content, Vec<u8>)>,
}

/// What one writer put that is not synced yet.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    objects: HashMap<ObjectId, Vec<u8>>,
    states: Vec<(Content, Vec<u8>)>,
}

/// A project on a simulated disk.
pub(crate) fn project() -> (SimDisk, StoreDir) {
    let disk = SimDisk::new();
    disk.plant_dir(Path::new("/project"));
    (disk, StoreDir::new(PathBuf::from("/project/.waymark")))
}

/// Begins to write.
pub(crate) fn begin<'s>(store: &'s Store<'s>) -> Result<Writer<'s>> {
    Writer::begin(store, Limit::None, &Cancel::default())
}

/// Bytes that do not compress, different for each seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut bytes = vec![0; len];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&rng.next().to_le_bytes()[..part.len()]);
    }
    bytes
}

/// Text-like bytes, different for each seed.
pub(crate) fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut out = Vec::with_capacity(len + 32);
    while out.len() < len {
        let line = format!("{{\"step\":{},\"ok\":true}}\n", rng.below(1_000_000));
        out.extend_from_slice(line.as_bytes());
    }
    out.truncate(len);
    out
}

/// An object from a small set, so that the same ones come again and again.
pub(crate) fn some_object(rng: &mut Rng) -> Vec<u8> {
    let seed = rng.below(24) as u64;
    let len = [0, 1, 40, 700, 3_000, 20_000][usize::try_from(seed % 6).unwrap()];
    if seed.is_multiple_of(4) {
        noise(seed, len)
    } else {
        text(seed, len)
    }
}

/// A state made from an earlier one: grown, edited, cut, or left as it is.
pub(crate) fn next_state(rng: &mut Rng, before: &[u8]) -> Vec<u8> {
    let mut state = before.to_vec();
    match rng.below(8) {
        0..=2 => {
            let more = 1 + rng.below(6_000);
            state.extend_from_slice(&text(rng.next(), more));
        }
        3 => {
            let more = 1 + rng.below(9_000);
            state.extend_from_slice(&noise(rng.next(), more));
        }
        4 if !state.is_empty() => {
            for _ in 0..3 {
                let at = rng.below(state.len());
                state[at] ^= 0x55;
            }
        }
        5 => state.truncate(rng.below(state.len() + 1)),
        6 => {
            let at = rng.below(state.len() + 1);
            let more = rng.below(300);
            state.splice(at..at, noise(rng.next(), more));
        }
        _ => {}
    }
    state.truncate(90_000);
    state
}

impl Batch {
    /// Puts some objects and states.
    pub(crate) fn put(
        &mut self,
        writer: &Writer<'_>,
        kept: &Kept,
        rng: &mut Rng,
        count: usize,
    ) -> Result<()> {
        let mut lane = writer.lane();
        for _ in 0..count {
            if rng.percent(60) {
                let bytes = some_object(rng);
                let id = lane.put(&bytes)?;
                assert_eq!(id, ObjectId::of(&bytes));
                self.objects.insert(id, bytes);
                continue;
            }
            // Any state will do as an earlier one, also one that was never synced.
            let all: Vec<_> = kept
                .states
                .iter()
                .chain(&kept.unsure_states)
                .chain(&self.states)
                .collect();
            let earlier = if all.is_empty() || rng.percent(10) {
                None
            } else {
                let back = rng.below(all.len().min(4));
                Some(all[all.len() - 1 - back])
            };
            let before = earlier.map_or(&[][..], |(_, state)| state);
            let state = next_state(rng, before);
            let content = writer.put_state(&state, earlier.map(|(content, _)| content))?;
            self.states.push((content, state));
        }
        lane.finish()
    }
}

impl Kept {
    /// `sync` said that a batch is durable.
    pub(crate) fn synced(&mut self, batch: Batch) {
        self.objects.extend(batch.objects);
        self.states.extend(batch.states);
        // So that checking everything stays cheap.
        let many = self.states.len().saturating_sub(12);
        self.states.drain(..many);
    }

    /// A batch was put, but not synced.
    pub(crate) fn lost(&mut self, batch: Batch) {
        self.unsure.extend(batch.objects);
        self.unsure_states.extend(batch.states);
        let many = self.unsure_states.len().saturating_sub(4);
        self.unsure_states.drain(..many);
    }

    /// All that must be there is there, and nothing is wrong.
    pub(crate) fn check(&self, store: &Store<'_>, when: &str) {
        for (id, bytes) in &self.objects {
            let found = store.get(id);
            let found = found.unwrap_or_else(|error| {
                panic!(
                    "{when}: {}-byte object: {}",
                    bytes.len(),
                    error.full_message()
                )
            });
            assert!(found == *bytes, "{when}: {id} has other bytes");
        }
        for (content, state) in &self.states {
            let found = store.content(content, u64::MAX).unwrap_or_else(|error| {
                panic!(
                    "{when}: {}-byte state: {}",
                    state.len(),
                    error.full_message()
                )
            });
            assert!(found == *state, "{when}: a state has other bytes");
        }
        for (id, bytes) in &self.unsure {
            match store.get(id) {
                Ok(found) => assert!(found == *bytes, "{when}: {id} has other bytes"),
                Err(error) => assert_clear(&error, when),
            }
        }
        for (content, state) in &self.unsure_states {
            match store.content(content, u64::MAX) {
                Ok(found) => assert!(found == *state, "{when}: a state has other bytes"),
                Err(error) => assert_clear(&error, when),
            }
        }
    }

    /// The same by a store that is opened for it; on a simulated disk its index is made anew.
    pub(crate) fn check_reopened(&self, disk: &dyn Disk, place: &StoreDir, when: &str) {
        match Store::open(disk, place, 1) {
            Ok(Some(store)) => self.check(&store, &format!("{when}, reopened")),
            Ok(None) => assert!(
                self.objects.is_empty() && self.states.is_empty(),
                "{when}: the store is gone"
            ),
            Err(error) => panic!("{when}: it does not open: {}", error.full_message()),
        }
    }
}

/// An error that says that an object can't be had.
pub(crate) fn assert_clear(error: &Error, when: &str) {
    let code = error.code();
    assert!(
        ["ERR_OBJECT_DAMAGED", "ERR_OBJECT_MISSING"].contains(&code),
        "{when}: {}",
        error.full_message()
    );
}

/// Opens the store, puts two batches, each made durable on its own; tells `kept` what is safe even
/// if it ends early.
pub(crate) fn work(
    disk: &dyn Disk,
    place: &StoreDir,
    kept: &mut Kept,
    rng: &mut Rng,
    batches: usize,
) -> Result<()> {
    let store = Store::open_or_create(disk, place, 1)?;
    for _ in 0..batches {
        let writer = begin(&store)?;
        let mut batch = Batch::default();
        let put = batch.put(&writer, kept, rng, 4);
        if let Err(error) = put {
            drop(writer);
            kept.lost(batch);
            return Err(error);
        }
        match writer.sync() {
            Ok(stored) => {
                kept.synced(batch);
                // Sometimes the process ends before it tells others.
                if rng.percent(70) {
                    stored.record()?;
                }
            }
            Err(error) => {
                kept.lost(batch);
                return Err(error);
            }
        }
    }
    Ok(())
}
