//! The encoding of a folder: what is read comes back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waymark::model::snapshot::Tree;

fuzz_target!(|bytes: &[u8]| {
    if let Some(read) = Tree::decode(bytes) {
        assert_eq!(Tree::decode(&read.encode()), Some(read));
    }
});
