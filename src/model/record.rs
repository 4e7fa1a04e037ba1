//! Records: small JSON documents of a run or of the store that check themselves.
//!
//! A record's file is JSON itself, so that people and other tools can read it:
//!
//! ```text
//! {"waymark_record":1,"number":7,"sum":"<BLAKE3>","value":
//! <the document, byte for byte as it was given>
//! }
//! ```
//!
//! The sum goes over the number and the document. *Invariants*: a file is taken only if it is byte for byte
//! what is written for its number and document.

use std::fmt;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::model::ids::{component_problem, shorten};
use crate::model::json::{Json, MAX_DEPTH};

/// The format that this version writes, and the newest it reads.
pub const FORMAT: u32 = 1;
/// The largest document, in bytes (1 MiB).
pub const RECORD_MAX: usize = 1 << 20;
/// The largest file, in bytes: the document and what is said of it.
pub const FILE_MAX: u64 = RECORD_MAX as u64 + 1024;
/// The longest name, and the longest suffix behind its first dot, in characters.
pub const NAME_MAX: usize = 64;

const END: &[u8] = b"\n}\n";

/// The name of a record: 1 to 64 of `a-z`, `0-9` and `-`, then, if wished, a dot and 1 to 64 of those, `.` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName(String);

impl RecordName {
    /// Parses a name; gives [`Error::OptionValue`] for one that can't be.
    pub fn parse(name: &str) -> Result<Self> {
        let (stem, suffix) = match name.split_once('.') {
            Some((stem, suffix)) => (stem, Some(suffix)),
            None => (name, None),
        };
        let plain = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
        let fits = |part: &str| (1..=NAME_MAX).contains(&part.len());
        let whole = fits(stem) && stem.chars().all(plain);
        let rest = suffix.is_none_or(|suffix| {
            fits(suffix)
                && suffix
                    .chars()
                    .all(|char| plain(char) || "._".contains(char))
        });
        if whole && rest && component_problem(name, 2 * NAME_MAX + 1).is_none() {
            return Ok(Self(name.to_owned()));
        }
        Err(Error::OptionValue {
            name: "name",
            reason: format!(
                "{:?} can't name a record; give 1 to {NAME_MAX} of a-z, 0-9 and -, then, if wished, a dot and as many of those, . and _",
                shorten(name)
            ),
        })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its file's name.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.json", self.0)
    }

    /// The record whose file has this name; `None` if it is none's.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        Self::parse(name.strip_suffix(".json")?).ok()
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// How many times it was written, from 1.
    pub number: u64,
    /// The document: JSON text.
    pub json: String,
}

#[derive(Deserialize)]
struct Head {
    waymark_record: u32,
    number: u64,
}

impl Record {
    /// Takes a document; gives [`Error::RecordTooLarge`] and, for what is no JSON, [`Error::OptionValue`].
    pub fn new(name: &RecordName, number: u64, json: String) -> Result<Self> {
        if json.len() > RECORD_MAX {
            return Err(Error::RecordTooLarge {
                name: name.to_string(),
                bytes: json.len() as u64,
                limit: RECORD_MAX as u64,
            });
        }
        Json::parse(json.as_bytes(), MAX_DEPTH).map_err(|error| Error::OptionValue {
            name: "json",
            reason: error.to_string(),
        })?;
        Ok(Self { number, json })
    }

    /// Tells this writing of the record from every other.
    #[must_use]
    pub fn revision(&self) -> String {
        format!("{}-{}", self.number, &self.sum()[..16])
    }

    fn sum(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.number.to_string().as_bytes());
        hasher.update(b"\n");
        hasher.update(self.json.as_bytes());
        hasher.finalize().to_hex().to_string()
    }

    /// Prints its file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = format!(
            "{{\"waymark_record\":{FORMAT},\"number\":{},\"sum\":\"{}\",\"value\":\n",
            self.number,
            self.sum()
        )
        .into_bytes();
        bytes.extend_from_slice(self.json.as_bytes());
        bytes.extend_from_slice(END);
        bytes
    }

    /// Reads its file; tells what is wrong with one that is not as it was written.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, &'static str> {
        if bytes.is_empty() {
            return Err("it is empty");
        }
        let at = memchr::memchr(b'\n', bytes).ok_or("it is no record")?;
        let head = [&bytes[..at], b"null}"].concat();
        let head: Head = serde_json::from_slice(&head).map_err(|_| "it is no record")?;
        if head.waymark_record > FORMAT {
            return Err("a newer version wrote it");
        }
        let json = bytes[at + 1..]
            .strip_suffix(END)
            .ok_or("it is cut off, or something was appended")?;
        let json = std::str::from_utf8(json).map_err(|_| "it is no UTF-8")?;
        let record = Self {
            number: head.number,
            json: json.to_owned(),
        };
        if record.encode() == bytes {
            Ok(record)
        } else {
            Err("it is not as it was written")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "a".repeat(64);
        for good in ["run-state", "a", "0", "breaker-dev.1_b.c", &long] {
            let name = RecordName::parse(good).expect(good);
            assert_eq!(RecordName::of_file(&name.file_name()), Some(name));
        }
        let too_long = "a".repeat(65);
        for bad in [
            "", ".", ".a", "a.", "A", "a/b", "a\\b", "a..b", "con", "nul.x", "a b", "ä", &too_long,
        ] {
            assert!(RecordName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(RecordName::of_file("x"), None);
    }

    #[test]
    fn every_changed_or_missing_byte_is_found() {
        let name = RecordName::parse("x").expect("valid");
        let record = Record::new(&name, 3, "{\"a\":\n [1, \"ä\"]}".to_owned()).expect("JSON");
        let bytes = record.encode();
        assert_eq!(Record::decode(&bytes), Ok(record.clone()));
        assert!(Json::parse(&bytes, 9).is_ok(), "its file is JSON");
        for at in 0..bytes.len() {
            assert!(Record::decode(&bytes[..at]).is_err(), "cut at {at}");
            for flip in [1, 0x20, 0x80] {
                let mut altered = bytes.clone();
                altered[at] ^= flip;
                assert!(Record::decode(&altered).is_err(), "byte {at} ^ {flip}");
            }
        }
        assert!(Record::decode(&[&bytes[..], b"\n"].concat()).is_err());
        let newer = b"{\"waymark_record\":2,\"number\":1,\"sum\":\"\",\"value\":\nnull\n}\n";
        assert_eq!(Record::decode(newer), Err("a newer version wrote it"));
    }

    #[test]
    fn documents() {
        let name = RecordName::parse("x").expect("valid");
        let code = |json: String| Record::new(&name, 1, json).map_err(|error| error.code());
        assert_eq!(code("{".to_owned()), Err("ERR_OPTION_INVALID"));
        assert_eq!(
            code(format!("\"{}\"", "a".repeat(RECORD_MAX))),
            Err("ERR_RECORD_TOO_LARGE")
        );
        let full = format!("\"{}\"", "a".repeat(RECORD_MAX - 2));
        assert!(code(full).is_ok());
    }
}
