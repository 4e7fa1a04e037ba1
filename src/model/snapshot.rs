//! Captured files: folders, their entries, and the pieces of large contents.
//!
//! A snapshot is a tree of objects. A folder is an object that lists its entries by name; a file's
//! content is an object (a *chunk*), or a list of chunks that is an object itself. So what did not
//! change has the name it had before, and is stored once.
//!
//! Encoding: four magic bytes, then postcard (<https://postcard.jamesmunns.com/wire-format>). The
//! same folder always has the same encoding: entries are sorted by the bytes of their names.

use serde::{Deserialize, Serialize};

use crate::model::object::ObjectId;

/// What a folder's encoding begins with.
pub const TREE_MAGIC: [u8; 4] = *b"WMT1";
/// What a chunk list's encoding begins with.
pub const LIST_MAGIC: [u8; 4] = *b"WML1";

/// A folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tree {
    /// Its entries, sorted by the bytes of their names.
    pub entries: Vec<TreeEntry>,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// The name as the file system has it; on Unix any bytes but `/` and NUL, elsewhere UTF-8.
    #[serde(with = "serde_bytes")]
    pub name: Vec<u8>,
    /// What the name stands for.
    pub node: Node,
}

/// What can be captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Node {
    /// A regular file with its content.
    File(File),
    /// A symbolic link, never followed.
    Symlink {
        /// Where it leads, as it says.
        #[serde(with = "serde_bytes")]
        target: Vec<u8>,
    },
    /// A folder.
    Directory {
        /// Its permission bits (`0o7777`).
        mode: u32,
        /// Its entries: a [`Tree`].
        tree: ObjectId,
    },
    /// A file whose content is not stored on purpose: a secret.
    Withheld {
        /// Its permission bits.
        mode: u32,
        /// When its content changed last, in nanoseconds since 1970.
        modified_ns: i64,
        /// Its size in bytes.
        size: u64,
        /// The hash of its content.
        hash: ObjectId,
    },
    /// Something that could not be captured.
    Skipped {
        /// Why.
        reason: SkipReason,
        /// Its size in bytes, as far as known.
        size: u64,
    },
}

/// A regular file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Its permission bits (`0o7777`).
    pub mode: u32,
    /// When its content changed last, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Its size in bytes.
    pub size: u64,
    /// The hash of its whole content.
    pub hash: ObjectId,
    /// The [`ChunkList`] of a content of several chunks. `None`: the object named by `hash` is the
    /// content; an empty file needs no object at all.
    pub chunks: Option<ObjectId>,
}

/// Why something could not be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SkipReason {
    /// A socket, a pipe or a device.
    NotRegular,
    /// The system refuses to read it.
    Unreadable,
    /// Larger than the limit for one file.
    TooLarge,
    /// It changed each time while it was being read.
    Changing,
}

impl SkipReason {
    /// The stable name: `not_regular`, `unreadable`, `too_large`, `changing`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotRegular => "not_regular",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::Changing => "changing",
        }
    }
}

/// The content of a large file, or of a large state, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChunkList {
    /// Its pieces.
    pub pieces: Vec<Piece>,
}

/// A piece of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// Its length in bytes.
    pub len: u64,
    /// The chunk; `None` for a hole of a sparse file, which reads as zeros.
    pub chunk: Option<ObjectId>,
}

impl ChunkList {
    /// The length of the whole content in bytes; `None` if it is more than can be.
    #[must_use]
    pub fn len(&self) -> Option<u64> {
        self.pieces
            .iter()
            .try_fold(0_u64, |sum, piece| sum.checked_add(piece.len))
    }

    /// True without any piece.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(LIST_MAGIC, self)
    }

    /// Reads an encoding; `None` if it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let list: Self = decode(LIST_MAGIC, bytes)?;
        list.len().map(|_| list)
    }
}

impl Tree {
    /// Its encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(TREE_MAGIC, self)
    }

    /// Reads an encoding; `None` if it is none, if names are not sorted, occur twice, or could lead
    /// out of the folder.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let tree: Self = decode(TREE_MAGIC, bytes)?;
        let sorted = tree
            .entries
            .windows(2)
            .all(|pair| pair[0].name < pair[1].name);
        let named = tree.entries.iter().all(|entry| is_name(&entry.name));
        (sorted && named).then_some(tree)
    }

    /// Finds an entry.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Node> {
        self.entries
            .binary_search_by(|entry| entry.name.as_slice().cmp(name))
            .ok()
            .map(|at| &self.entries[at].node)
    }
}

fn encode<T: Serialize>(magic: [u8; 4], value: &T) -> Vec<u8> {
    // Writing into memory can't fail, and these types have no lengths unknown in advance.
    postcard::to_extend(value, magic.to_vec()).unwrap_or_default()
}

fn decode<T: for<'a> Deserialize<'a>>(magic: [u8; 4], bytes: &[u8]) -> Option<T> {
    let rest = bytes.strip_prefix(&magic)?;
    match postcard::take_from_bytes(rest) {
        Ok((value, [])) => Some(value),
        _ => None,
    }
}

/// True for a name that stands for an entry of its folder and nothing else.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &[u8], node: Node) -> TreeEntry {
        TreeEntry {
            name: name.to_vec(),
            node,
        }
    }

    fn tree() -> Tree {
        Tree {
            entries: vec![
                entry(
                    b"a\xff",
                    Node::File(File {
                        mode: 0o644,
                        modified_ns: -1,
                        size: 3,
                        hash: ObjectId::of(b"abc"),
                        chunks: None,
                    }),
                ),
                entry(
                    b"b",
                    Node::Symlink {
                        target: b"../x".to_vec(),
                    },
                ),
                entry(
                    b"c",
                    Node::Directory {
                        mode: 0o755,
                        tree: ObjectId::of(b""),
                    },
                ),
                entry(
                    b"d",
                    Node::Skipped {
                        reason: SkipReason::Changing,
                        size: u64::MAX,
                    },
                ),
            ],
        }
    }

    #[test]
    fn encoding_and_back() {
        assert_eq!(Tree::decode(&tree().encode()), Some(tree()));
        let list = ChunkList {
            pieces: vec![
                Piece {
                    len: 5,
                    chunk: Some(ObjectId::of(b"x")),
                },
                Piece {
                    len: 1 << 40,
                    chunk: None,
                },
            ],
        };
        assert_eq!(ChunkList::decode(&list.encode()), Some(list));
    }

    #[test]
    fn the_encoding_stays_the_same() {
        // Stores in the field are read by it.
        assert_eq!(
            ObjectId::of(&tree().encode()).to_string(),
            "f1c8828aa6bf23c55e9f69dd1e040d638ef3d3b5d96fdc7521f6c641a33d4182"
        );
    }

    #[test]
    fn whatever_is_not_a_folder_is_refused() {
        let bytes = tree().encode();
        for cut in 0..bytes.len() {
            assert_eq!(Tree::decode(&bytes[..cut]), None, "cut at {cut}");
        }
        assert_eq!(Tree::decode(&[&bytes[..], &[0]].concat()), None);
        assert_eq!(ChunkList::decode(&bytes), None);
        let link = || Node::Symlink { target: Vec::new() };
        for names in [
            &[&b".."[..]][..],
            &[b"."],
            &[b""],
            &[b"a/b"],
            &[b"a\0"],
            &[b"b", b"a"],
            &[b"a", b"a"],
        ] {
            let entries = names.iter().map(|name| entry(name, link())).collect();
            assert_eq!(Tree::decode(&Tree { entries }.encode()), None, "{names:?}");
        }
    }

    #[test]
    fn a_length_that_can_not_be_is_refused() {
        let huge = Piece {
            len: u64::MAX,
            chunk: None,
        };
        let list = ChunkList {
            pieces: vec![huge, huge],
        };
        assert_eq!(ChunkList::decode(&list.encode()), None);
    }
}
