//! Lines of JSON that hold on to each other: none can be altered, taken out or moved unnoticed.
//!
//! A line is a compact JSON object whose last two members are `prev`, the hash of the line before, and
//! `hash`, the BLAKE3 hash (hex, 32 digits) of the line's bytes up to the comma before `hash`. The log of
//! changes and the audit log are made of such lines; what the first line of all says in `prev` is the log's
//! own affair. Whoever can write the file can make a new chain; what it shows is damage, and
//! changes by those who don't know of it. The idea is that of hash-chained logs (Haber and Stornetta, 1991).

use serde::Serialize;

/// How many hex digits a hash has here.
pub const HASH_LEN: usize = 32;
const HASH: &str = ",\"hash\":\"";
const PREV: &str = ",\"prev\":\"";

/// Makes a line, its line feed included, and gives its hash. `body` is an object; as JSON it has no members
/// `prev` and `hash`.
pub fn line<T: Serialize>(body: &T, prev: &str) -> serde_json::Result<(String, String)> {
    let mut line = serde_json::to_string(body)?;
    line.pop();
    if line.len() == 1 {
        // Never an empty object: a line has a time.
        line.push_str("\"v\":1");
    }
    line.push_str(PREV);
    line.push_str(prev);
    line.push('"');
    let hash = hash_of(line.as_bytes());
    line.push_str(HASH);
    line.push_str(&hash);
    line.push_str("\"}\n");
    Ok((line, hash))
}

fn hash_of(bytes: &[u8]) -> String {
    let mut hash = blake3::hash(bytes).to_hex().to_string();
    hash.truncate(HASH_LEN);
    hash
}

/// A line as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read<'a> {
    /// Its JSON, without the line feed.
    pub json: &'a [u8],
    /// What it says the hash of the line before is.
    pub prev: &'a str,
    /// Its own hash.
    pub hash: &'a str,
}

/// Reads a line, without its line feed; `None` if its own hash does not hold.
#[must_use]
pub fn read(line: &[u8]) -> Option<Read<'_>> {
    let (body, hash) = split(line)?;
    if hash_of(body) != hash {
        return None;
    }
    let prev = body.strip_suffix(b"\"")?;
    let from = memchr::memmem::rfind(prev, PREV.as_bytes())? + PREV.len();
    let prev = std::str::from_utf8(&prev[from..]).ok()?;
    (prev.is_empty() || prev.len() == HASH_LEN).then_some(Read {
        json: line,
        prev,
        hash,
    })
}

/// The hash that a line says it has, whether or not it holds.
#[must_use]
pub fn stated_hash(line: &[u8]) -> Option<&str> {
    split(line).map(|(_, hash)| hash)
}

/// What is hashed, and the hash.
fn split(line: &[u8]) -> Option<(&[u8], &str)> {
    let tail_len = HASH.len() + HASH_LEN + 2;
    let (body, tail) = line.split_at(line.len().checked_sub(tail_len)?);
    let hash = tail.strip_prefix(HASH.as_bytes())?.strip_suffix(b"\"}")?;
    let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let hash = std::str::from_utf8(hash).ok()?;
    hash.bytes()
        .all(|byte| is_hex(&byte))
        .then_some((body, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_is_found() {
        let body = serde_json::json!({"at": 1, "text": "\",\"prev\":\"\",\"hash\":\""});
        let (line, hash) = super::line(&body, "").expect("a line");
        let line = line.strip_suffix('\n').expect("a line feed").as_bytes();
        let found = read(line).expect("whole");
        assert_eq!((found.prev, found.hash), ("", hash.as_str()));
        let value: serde_json::Value = serde_json::from_slice(found.json).expect("JSON");
        assert_eq!(value["text"], body["text"]);
        for at in 0..line.len() {
            for flip in [1, 0x20, 0x80] {
                let mut altered = line.to_vec();
                altered[at] ^= flip;
                assert_eq!(read(&altered), None, "byte {at} ^ {flip:#x}");
            }
            assert_eq!(read(&line[..at]), None, "cut at {at}");
        }
        let (next, _) = super::line(&body, &hash).expect("a line");
        let next = next.trim_end().as_bytes();
        assert_eq!(read(next).expect("whole").prev, hash);
        assert_eq!(stated_hash(line), Some(&*hash));
    }
}
