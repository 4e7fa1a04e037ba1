//! The JSON parser against itself: what it prints it reads, and prints the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waymark::model::json::{Json, MAX_DEPTH};

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = Json::parse(bytes, MAX_DEPTH) else {
        return;
    };
    let compact = print(&json, false);
    let pretty = print(&json, true);
    for text in [&compact, &pretty] {
        let again = Json::parse(text, MAX_DEPTH).expect("it was printed");
        assert_eq!(print(&again, false), compact);
        assert_eq!(print(&again, true), pretty);
    }
});

fn print(json: &Json<'_>, pretty: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if pretty {
        json.root().write_pretty(&mut out, 0);
    } else {
        json.root().write_compact(&mut out);
    }
    out
}
