//! A pack's block: head, table, payload. The sum is made right first, or nothing behind it is met.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waymark::store::objects::pack::{HEAD_LEN, Head, Lead};

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    let mut sealed = bytes.to_vec();
    if let Some(lead) = Lead::read(bytes)
        && let Some(table) = bytes.get(HEAD_LEN..HEAD_LEN + lead.table_len())
    {
        let mut hasher = blake3::Hasher::new();
        let sum = *hasher.update(&bytes[..16]).update(table).finalize().as_bytes();
        sealed[16..HEAD_LEN].copy_from_slice(&sum[..8]);
        read(&sealed);
    }
});

fn read(bytes: &[u8]) {
    let Some(head) = Head::read(bytes) else {
        return;
    };
    let sum: usize = head.objects.iter().map(|object| object.1).sum();
    assert_eq!(sum, head.raw_len);
    let payload = &bytes[head.payload_at()..];
    for base in [None, Some(&b"the bytes of a base"[..])] {
        if let Ok(raw) = head.unpack(payload, base) {
            assert_eq!(raw.len(), head.raw_len);
        }
    }
}
