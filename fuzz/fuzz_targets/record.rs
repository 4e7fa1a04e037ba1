//! A record: what is read is what was written, byte by byte.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waymark::model::record::{Record, RecordName};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(read) = Record::decode(bytes) {
        assert_eq!(read.encode(), bytes);
    }
    let name = RecordName::parse("x").expect("a record's name");
    let Ok(json) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(record) = Record::new(&name, bytes.len() as u64, json.to_owned()) {
        assert_eq!(Record::decode(&record.encode()), Ok(record));
    }
});
