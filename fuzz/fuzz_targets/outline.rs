//! The outline of a registry: what is read comes back the same. The sum is made right first, or nothing behind it is met.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waymark::model::registry::Outline;

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    let sum = *blake3::hash(bytes).as_bytes();
    read(&[b"WMO2", &sum[..], bytes].concat());
});

fn read(bytes: &[u8]) {
    if let Some(read) = Outline::decode(bytes) {
        assert_eq!(Outline::decode(&read.encode()), Some(read));
    }
}
