//! A manifest: any bytes are a header or a damage, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waymark::model::ids::RunId;
use waymark::model::manifest::{Check, inspect, references};

fuzz_target!(|bytes: &[u8]| {
    let run = RunId::parse("run-1").expect("a run's id");
    for check in [Check::Seal, Check::Checksum] {
        let _ = inspect(bytes, "checkpoint-1", &run, check);
    }
    assert!(references(bytes).is_sorted());
});
