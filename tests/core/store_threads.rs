//! Several writers at once on the real disk, each with its own store, while the index is deleted.
//!
//! What `sync` promised stays, whatever becomes of the index.

use std::collections::HashMap;
use std::sync::{Mutex, RwLock};

use waymark::error::Result;
use waymark::model::object::ObjectId;
use waymark::store::objects::{Sink, Store};
use waymark::store::place::StoreDir;
use waymark::store::real_disk::RealDisk;

use crate::sim_disk::Rng;
use crate::store_world::{begin, noise, some_object};

const TURNS: usize = 50;

type Objects = Vec<(ObjectId, Vec<u8>)>;

/// Stores two objects; those that are safe go to `all`.
fn turn(place: &StoreDir, rng: &mut Rng, all: &Mutex<HashMap<ObjectId, Vec<u8>>>) -> Result<()> {
    let store = Store::open_or_create(&RealDisk, place, 1)?;
    let writer = begin(&store)?;
    let mut lane = writer.lane();
    let mut put = Objects::new();
    for bytes in [some_object(rng), noise(rng.next(), 300)] {
        put.push((lane.put(&bytes)?, bytes));
    }
    lane.finish()?;
    let stored = writer.sync()?;
    all.lock().unwrap().extend(put.iter().cloned());
    if rng.percent(80) {
        stored.record()?;
    } else {
        drop(stored);
    }
    for (id, bytes) in put {
        assert_eq!(store.get(&id)?, bytes);
    }
    Ok(())
}

/// When the index is deleted.
#[derive(Clone, Copy, PartialEq)]
enum Deletes {
    Never,
    WhileClosed,
    WhileOpen,
}

fn together(deletes: Deletes) {
    let home = tempfile::tempdir().unwrap();
    let place = StoreDir::new(home.path().join(".waymark"));
    let all = Mutex::new(HashMap::new());
    // Shared by all who have the index open.
    let in_use = RwLock::new(());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (place, all, in_use) = (&place, &all, &in_use);
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                for at in 0..TURNS {
                    let using = in_use.read().unwrap();
                    if let Err(error) = turn(place, &mut rng, all) {
                        let told = error.full_message();
                        assert!(
                            deletes == Deletes::WhileOpen && told.contains("index.db"),
                            "thread {thread}, turn {at}: {told}"
                        );
                    }
                    drop(using);
                    if !rng.percent(10) {
                        continue;
                    }
                    match deletes {
                        Deletes::Never => {}
                        Deletes::WhileClosed => {
                            let _alone = in_use.write().unwrap();
                            waymark::store::index::remove(&place.index()).unwrap();
                        }
                        Deletes::WhileOpen => {
                            // Another may remove it at the same time.
                            let _ = waymark::store::index::remove(&place.index());
                        }
                    }
                }
            });
        }
    });
    let all = all.into_inner().unwrap();
    for _ in 0..2 {
        let store = Store::open(&RealDisk, &place, 1).unwrap().unwrap();
        for (id, bytes) in &all {
            assert_eq!(store.get(id).unwrap(), *bytes);
        }
        drop(store);
        waymark::store::index::remove(&place.index()).unwrap();
    }
}

#[test]
fn four_writers_at_once() {
    together(Deletes::Never);
}

#[test]
fn four_writers_at_once_while_the_index_is_deleted_between() {
    together(Deletes::WhileClosed);
}

/// Locks of files are the process's, not the connection's: a second connection takes the first one's
/// `-shm` for left over and cuts it while it is mapped. A known gap of `index::remove`.
#[test]
#[ignore = "kills the process by SIGBUS one time in ten: SQLite's files are deleted under its feet"]
fn four_writers_at_once_while_the_open_index_is_deleted() {
    together(Deletes::WhileOpen);
}
