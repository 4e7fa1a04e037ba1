//! The contents of an archive: which checkpoints a file carries, and the objects that they need.
//!
//! An archive begins with a lead and its contents, which have a sum of their own; behind them lie the
//! bytes, in the order in which the contents list them. `docs/format.md` has the whole layout.
//!
//! Encoding: postcard, as of folders and chunk lists. The same contents always have the same encoding.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::model::ids::{CheckpointId, RunId};
use crate::model::manifest::MANIFEST_MAX;
use crate::model::object::ObjectId;

/// What an archive begins with.
pub const MAGIC: [u8; 8] = *b"WAYMARCH";
/// The format that this version writes, and the newest it reads.
pub const FORMAT: u32 = 1;
/// The length of the lead: magic, format, four zeros, the length of the contents.
pub const LEAD_LEN: usize = 24;
/// The length of a sum: BLAKE3 over everything before it.
pub const SUM_LEN: usize = 32;
/// The largest object, in bytes (1 GiB).
const OBJECT_MAX: u64 = 1 << 30;

/// What an archive carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The version of Waymark that wrote it.
    pub made_by: String,
    /// The run.
    pub run_id: String,
    /// True if it carries every checkpoint that the run had.
    pub whole_run: bool,
    /// The checkpoints, oldest first.
    pub checkpoints: Vec<Listed>,
    /// The objects that they need: folders and lists of chunks first, each behind one that names it, then
    /// all others.
    pub objects: Vec<Object>,
}

/// A checkpoint in an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id.
    pub checkpoint_id: String,
    /// The hash of its manifest's bytes, and their length.
    pub manifest: Object,
}

/// Bytes under their hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// The BLAKE3 hash.
    pub id: ObjectId,
    /// How many bytes.
    pub len: u64,
}

/// What the first bytes of an archive say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lead {
    /// They are those of no archive.
    Foreign,
    /// It is of a format that this version does not know.
    Unknown(u32),
    /// The length of the contents that follow, in bytes.
    Contents(u64),
}

impl Lead {
    /// Reads the first [`LEAD_LEN`] bytes.
    #[must_use]
    pub fn read(bytes: &[u8; LEAD_LEN]) -> Self {
        let [
            magic @ ..,
            f0,
            f1,
            f2,
            f3,
            _,
            _,
            _,
            _,
            n0,
            n1,
            n2,
            n3,
            n4,
            n5,
            n6,
            n7,
        ] = *bytes;
        let format = u32::from_le_bytes([f0, f1, f2, f3]);
        if magic != MAGIC {
            Self::Foreign
        } else if format == FORMAT {
            Self::Contents(u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]))
        } else {
            Self::Unknown(format)
        }
    }
}

impl Contents {
    /// The lead and the contents as they lie in the file, without their sum.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; 12]);
        // Writing into memory can't fail, and these types have no lengths unknown in advance.
        let mut out = postcard::to_extend(self, out).unwrap_or_default();
        let len = out.len().saturating_sub(LEAD_LEN) as u64;
        if let Some(place) = out.get_mut(LEAD_LEN - 8..LEAD_LEN) {
            place.copy_from_slice(&len.to_le_bytes());
        }
        out
    }

    /// Reads the contents behind the lead; what is wrong with them, if something is.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let contents: Self = match postcard::take_from_bytes(bytes) {
            Ok((contents, [])) => contents,
            _ => return Err("its contents can't be understood"),
        };
        if RunId::parse(&contents.run_id).is_err() {
            return Err("its run has an id that is not usable");
        }
        if contents.checkpoints.is_empty() {
            return Err("it has no checkpoint");
        }
        let mut ids = HashSet::new();
        for one in &contents.checkpoints {
            if CheckpointId::parse(&one.checkpoint_id).is_err() {
                return Err("a checkpoint has an id that is not usable");
            }
            // On some file systems names that differ in case are one.
            if !ids.insert(one.checkpoint_id.to_ascii_lowercase()) {
                return Err("two checkpoints have the same id");
            }
            if one.manifest.len > MANIFEST_MAX {
                return Err("a manifest is larger than one can be");
            }
        }
        let mut objects = HashSet::with_capacity(contents.objects.len());
        for one in &contents.objects {
            if !objects.insert(one.id) {
                return Err("an object is listed twice");
            }
            if one.len > OBJECT_MAX {
                return Err("an object is larger than one can be");
            }
        }
        Ok(contents)
    }

    /// Everything whose bytes lie in the archive, in their order.
    pub fn parts(&self) -> impl Iterator<Item = Object> + Clone + '_ {
        let manifests = self.checkpoints.iter().map(|one| one.manifest);
        manifests.chain(self.objects.iter().copied())
    }

    /// The bytes of everything together, before compression.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts()
            .fold(0, |sum, part| sum.saturating_add(part.len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object {
        Object {
            id: ObjectId::of(text.as_bytes()),
            len: text.len() as u64,
        }
    }

    fn contents() -> Contents {
        let listed = |id: &str| Listed {
            checkpoint_id: id.to_owned(),
            manifest: object(id),
        };
        Contents {
            made_by: "0.1.0".to_owned(),
            run_id: "demo".to_owned(),
            whole_run: true,
            checkpoints: vec![listed("one"), listed("two")],
            objects: vec![object("a"), object("b")],
        }
    }

    fn reread(contents: &Contents) -> Result<Contents, &'static str> {
        Contents::decode(&contents.encode()[LEAD_LEN..])
    }

    #[test]
    fn encoding_and_back() {
        let bytes = contents().encode();
        let lead = bytes.first_chunk().expect("long enough");
        let len = (bytes.len() - LEAD_LEN) as u64;
        assert_eq!(Lead::read(lead), Lead::Contents(len));
        assert_eq!(reread(&contents()), Ok(contents()));
        assert_eq!(contents().bytes(), 8);
    }

    #[test]
    fn the_encoding_stays_the_same() {
        // Archives in the field are read by it.
        assert_eq!(
            ObjectId::of(&contents().encode()).to_string(),
            "5096f965b18ad550138a1971b03d6824bdee1be2743534c27603380f85690fdd"
        );
    }

    #[test]
    fn other_files_and_newer_formats_are_told_apart() {
        let mut lead = [0; LEAD_LEN];
        assert_eq!(Lead::read(&lead), Lead::Foreign);
        lead[..8].copy_from_slice(&MAGIC);
        assert_eq!(Lead::read(&lead), Lead::Unknown(0));
        lead[8] = 2;
        assert_eq!(Lead::read(&lead), Lead::Unknown(2));
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        type Change = fn(&mut Contents);
        let changes: [Change; 8] = [
            |one| one.run_id = "../x".to_owned(),
            |one| one.checkpoints[1].checkpoint_id = "a/b".to_owned(),
            |one| one.checkpoints[1].checkpoint_id = "ONE".to_owned(),
            |one| one.checkpoints.clear(),
            |one| one.checkpoints[0].manifest.len = MANIFEST_MAX + 1,
            |one| one.objects[1] = one.objects[0],
            |one| one.objects[0].len = OBJECT_MAX + 1,
            |one| one.run_id.clear(),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            let mut other = contents();
            change(&mut other);
            assert!(reread(&other).is_err(), "change {at}");
        }
        let bytes = &contents().encode()[LEAD_LEN..];
        for cut in 0..bytes.len() {
            assert!(Contents::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Contents::decode(&[bytes, &[0]].concat()).is_err());
    }
}
