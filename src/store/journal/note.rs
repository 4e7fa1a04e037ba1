//! The journal as it lies on the disk, and what it may name.
//!
//! Encoding: the magic bytes `WMJ3`, then postcard, then the BLAKE3 hash of all that comes before it. `WMJ2`
//! had no folders that come as a whole and is the same otherwise: new deeds are added at the end.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::object::ObjectId;
use crate::store::disk::Disk;

const MAGIC: [u8; 4] = *b"WMJ3";
/// What versions before wrote; a restore that one of them left unfinished is gone on with.
const MAGIC_BEFORE: [u8; 4] = *b"WMJ2";
const HASH: usize = 32;
const JOURNAL_MAX: u64 = 1 << 30;

/// What a file or a link is, whatever its bits and times are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ident {
    /// A regular file with this content.
    File(ObjectId),
    /// A symbolic link that leads there.
    Link(#[serde(with = "serde_bytes")] Vec<u8>),
    /// A folder, a socket, a pipe, a device.
    Other,
}

/// What is done at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Deed {
    /// A file or a link goes.
    Delete { old: Ident },
    /// A folder goes if it is empty by then; `must`: else nothing is done at all.
    RemoveFolder { mode: u32, must: bool },
    /// A folder comes.
    CreateFolder { mode: u32 },
    /// A file or a link comes, in the place of what was there.
    Put {
        old: Option<Ident>,
        new: Ident,
        mode: Option<u32>,
    },
    /// Permission bits change.
    SetMode { old: u32, new: u32 },
    /// A folder comes with all that is in it: what comes below it is staged in it.
    PutFolder { mode: u32 },
}

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The folder, by its place in the list.
    pub(super) area: u32,
    /// The path in it.
    #[serde(with = "serde_bytes")]
    pub(super) path: Vec<u8>,
    pub(super) deed: Deed,
}

/// A folder in which things are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// The run's own.
    Run,
    /// One that lies elsewhere, by its absolute path.
    Folder(#[serde(with = "path_bytes")] PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Journal {
    pub(super) places: Vec<Place>,
    pub(super) entries: Vec<Entry>,
}

impl Journal {
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes =
            postcard::to_extend(self, MAGIC.to_vec()).map_err(|error| Error::Internal {
                message: error.to_string(),
            })?;
        let hash = ObjectId::of(&bytes);
        bytes.extend_from_slice(hash.as_bytes());
        Ok(bytes)
    }

    /// Reads a journal; `None` if there is none.
    pub(super) fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Self>> {
        let bytes = match disk.read(path, JOURNAL_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path, error)),
        };
        Self::decode(&bytes)
            .map(Some)
            .map_err(|reason| Error::JournalDamaged {
                path: path.to_path_buf(),
                reason,
            })
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Self, String> {
        let whole = bytes.len().checked_sub(HASH).map(|at| bytes.split_at(at));
        let Some((rest, hash)) = whole else {
            return Err("it is too short".to_owned());
        };
        if ObjectId::of(rest).as_bytes() != hash {
            return Err("its checksum does not hold".to_owned());
        }
        let body = rest.strip_prefix(&MAGIC);
        let Some(body) = body.or_else(|| rest.strip_prefix(&MAGIC_BEFORE)) else {
            return Err("its format is not known".to_owned());
        };
        let journal: Self = match postcard::take_from_bytes(body) {
            Ok((journal, [])) => journal,
            _ => return Err("its format is not known".to_owned()),
        };
        journal.check().map(|()| journal)
    }

    /// A journal names only what a restore may touch.
    pub(super) fn check(&self) -> std::result::Result<(), String> {
        for entry in &self.entries {
            let shown = || format!("it names {:?}", String::from_utf8_lossy(&entry.path));
            let Some(place) = self.places.get(entry.area as usize) else {
                return Err(shown());
            };
            let plain = entry
                .path
                .split(|byte| *byte == b'/')
                .all(|name| !matches!(name, b"" | b"." | b"..") && !name.contains(&0));
            let mut names = entry.path.split(|byte| *byte == b'/');
            let own = match place {
                Place::Run => {
                    names.next() == Some(b"checkpoints")
                        && entry.path != b"checkpoints/.waymark/restored"
                }
                Place::Folder(_) => names.any(|name| name == b".waymark" || name == b".git"),
            };
            if !plain || own {
                return Err(shown());
            }
        }
        for place in &self.places {
            if let Place::Folder(path) = place
                && !path.is_absolute()
            {
                return Err(format!("it names {}", path.display()));
            }
        }
        Ok(())
    }
}

/// Paths as the bytes the system has.
mod path_bytes {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer};

    #[cfg(unix)]
    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        use std::os::unix::ffi::OsStrExt;
        serde_bytes::serialize(path.as_os_str().as_bytes(), to)
    }

    #[cfg(not(unix))]
    pub(super) fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        let text = path
            .to_str()
            .ok_or_else(|| serde::ser::Error::custom("a path is not UTF-8"))?;
        serde_bytes::serialize(text.as_bytes(), to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        let bytes = serde_bytes::ByteBuf::deserialize(from)?.into_vec();
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStringExt;
            Ok(std::ffi::OsString::from_vec(bytes).into())
        }
        #[cfg(not(unix))]
        {
            let text = String::from_utf8(bytes).map_err(serde::de::Error::custom)?;
            Ok(text.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions before read and wrote the same, by the numbers of the deeds.
    #[test]
    fn a_journal_of_the_version_before_is_read() {
        let mut bytes = b"WMJ2".to_vec();
        // One folder, the run's own; three entries in it.
        bytes.extend([1, 0, 3]);
        let path = |bytes: &mut Vec<u8>, name: &str| {
            bytes.extend([0, u8::try_from(name.len()).expect("short")]);
            bytes.extend(name.as_bytes());
        };
        path(&mut bytes, "f");
        bytes.extend([2, 0x80, 0x03]);
        path(&mut bytes, "f/l");
        bytes.extend([3, 0, 1, 2, b't', b'o', 0]);
        path(&mut bytes, "s");
        bytes.extend([4, 1, 2]);
        let hash = ObjectId::of(&bytes);
        bytes.extend(hash.as_bytes());
        let deeds: Vec<Deed> = Journal::decode(&bytes)
            .expect("the version before wrote it")
            .entries
            .into_iter()
            .map(|entry| entry.deed)
            .collect();
        let link = Deed::Put {
            old: None,
            new: Ident::Link(b"to".to_vec()),
            mode: None,
        };
        let mode = Deed::SetMode { old: 1, new: 2 };
        assert_eq!(deeds, [Deed::CreateFolder { mode: 0o600 }, link, mode]);
    }

    #[test]
    fn what_was_written_is_read() {
        let journal = Journal {
            places: vec![Place::Run, Place::Folder("/project".into())],
            entries: vec![Entry {
                area: 1,
                path: b"a/b".to_vec(),
                deed: Deed::PutFolder { mode: 0o755 },
            }],
        };
        let mut bytes = journal.encode().expect("small");
        assert_eq!(Journal::decode(&bytes), Ok(journal));
        bytes[4] ^= 1;
        assert!(Journal::decode(&bytes).is_err());
    }
}
