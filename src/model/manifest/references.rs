//! Which objects a manifest may need.

use crate::model::object::ObjectId;

/// Every object that a manifest's bytes name, and perhaps more: all strings of 64 lower-case hex
/// digits. It asks nothing of the file, so that one that is damaged, or of a newer format, keeps what it
/// needs all the same.
#[must_use]
pub fn references(bytes: &[u8]) -> Vec<ObjectId> {
    let quotes: Vec<usize> = memchr::memchr_iter(b'"', bytes).collect();
    let mut found: Vec<ObjectId> = quotes
        .windows(2)
        .filter(|pair| pair[1] - pair[0] == 65)
        .filter_map(|pair| std::str::from_utf8(&bytes[pair[0] + 1..pair[1]]).ok())
        .filter_map(ObjectId::parse)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_wherever_they_stand() {
        let (one, two) = (ObjectId::of(b"1"), ObjectId::of(b"2"));
        let text = format!("{{\"a\":\"{one}\",\"b\":{{\"{two}\":\"{one}x\"}},\"c\":\"\\\"");
        let mut both = vec![one, two];
        both.sort_unstable();
        assert_eq!(references(text.as_bytes()), both);
        // Cut off in the middle of another name.
        assert_eq!(references(&text.as_bytes()[..80]), [one]);
        assert_eq!(references(b""), []);
    }
}
