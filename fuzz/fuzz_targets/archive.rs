//! An archive: its contents, its blocks, its sums. The sums are made right first, or nothing behind them
//! is met.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waymark::model::archive::{Contents, LEAD_LEN};
use waymark::model::cancel::Cancel;
use waymark::model::progress::Progress;
use waymark::ops::import;
use waymark::store::real_disk::RealDisk;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(contents) = Contents::decode(bytes) {
        let encoded = contents.encode();
        assert_eq!(Contents::decode(&encoded[LEAD_LEN..]), Ok(contents));
    }
    read(bytes);
    // The first two bytes say how much of the rest are contents, the others are blocks.
    if let Some((len, rest)) = bytes.split_first_chunk() {
        let len = usize::from(u16::from_le_bytes(*len)).min(rest.len());
        let (contents, blocks) = rest.split_at(len);
        let mut file = b"WAYMARCH\x01\0\0\0\0\0\0\0".to_vec();
        file.extend_from_slice(&(len as u64).to_le_bytes());
        file.extend_from_slice(contents);
        let sum = *blake3::hash(&file).as_bytes();
        file.extend_from_slice(&sum);
        file.extend_from_slice(blocks);
        let sum = *blake3::hash(&file).as_bytes();
        file.extend_from_slice(&sum);
        read(&file);
    }
});

fn read(bytes: &[u8]) {
    let file = std::env::temp_dir().join(format!("waymark-fuzz-archive-{}", std::process::id()));
    std::fs::write(&file, bytes).expect("it can be written");
    let (cancel, progress) = (Cancel::default(), Progress::default());
    let _ = import::check(&RealDisk, &file, &cancel, &progress);
}
