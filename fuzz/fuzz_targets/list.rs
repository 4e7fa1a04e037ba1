//! The encoding of a list of chunks: what is read comes back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waymark::model::snapshot::ChunkList;

fuzz_target!(|bytes: &[u8]| {
    if let Some(read) = ChunkList::decode(bytes) {
        assert_eq!(ChunkList::decode(&read.encode()), Some(read));
    }
});
