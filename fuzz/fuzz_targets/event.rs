//! A line of the audit log, or of the log of changes. Its hash is made right first, or nothing behind it is met.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waymark::model::chain::{self, HASH_LEN};
use waymark::model::event::{Record, looks_altered, seq_of};

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    let hash = blake3::hash(bytes).to_hex();
    let sealed = [bytes, b",\"hash\":\"", &hash.as_bytes()[..HASH_LEN], b"\"}"].concat();
    assert_eq!(chain::stated_hash(&sealed), Some(&hash[..HASH_LEN]));
    read(&sealed);
});

fn read(line: &[u8]) {
    let _ = (seq_of(line), looks_altered(line));
    if let Some((_, hash)) = Record::read(line) {
        assert_eq!(chain::stated_hash(line), Some(&hash[..]));
    }
}
