//! Objects: bytes under the name of their content.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of an object: the BLAKE3 hash of its bytes. Whoever has the name can tell whether bytes
/// are the object.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectId([u8; 32]);

impl ObjectId {
    /// The name of some bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Takes a hash that was computed piece by piece.
    #[must_use]
    pub fn from_hash(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }

    /// Takes the 32 bytes of a hash.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 lower-case hex digits; anything else is `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let hash = blake3::Hash::from_hex(text).ok()?;
        Some(Self(*hash.as_bytes()))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = ObjectId::of(b"abc");
        assert_eq!(ObjectId::parse(&id.to_string()), Some(id));
        // The BLAKE3 test vector of the empty input.
        assert_eq!(
            ObjectId::of(b"").to_string(),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
    }

    #[test]
    fn only_64_lower_case_digits_are_a_name() {
        let text = ObjectId::of(b"").to_string();
        for bad in [
            "",
            "af",
            &text[1..],
            &text.to_uppercase(),
            &format!("{text}0"),
            &text.replace('a', "g"),
        ] {
            assert_eq!(ObjectId::parse(bad), None, "{bad}");
        }
    }
}
