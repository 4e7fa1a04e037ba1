//! What can be wrong with a checkpoint's file.

use crate::model::json::JsonError;

/// One kind of damage. A damaged checkpoint is named and never restored; nothing deletes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The file ends inside its JSON.
    #[error("the file is truncated ({0})")]
    Truncated(JsonError),
    /// The file is not JSON.
    #[error("the file is not JSON ({0})")]
    NotJson(JsonError),
    /// The file is JSON, but no checkpoint.
    #[error("the file is not a checkpoint ({0})")]
    NotCheckpoint(&'static str),
    /// The checkpoint carries no checksum.
    #[error("the file carries no checksum")]
    ChecksumMissing,
    /// The content is not what was written.
    #[error("checksum mismatch: the content was altered after it was written")]
    ChecksumMismatch,
    /// The checkpoint belongs to another run.
    #[error("the file belongs to run {0:?}")]
    OtherRun(String),
    /// The file lies under another name than its id.
    #[error("the file's name and its checkpoint id {0:?} differ")]
    IdMismatch(String),
    /// A symbolic link, a folder, a device.
    #[error("not a regular file")]
    NotRegular,
    /// The system refuses to read it.
    #[error("the file can't be read ({0})")]
    Unreadable(String),
    /// Larger than a manifest can be.
    #[error("the file has {0} bytes, more than a manifest can have")]
    TooLarge(u64),
    /// The store lacks an object that the checkpoint needs.
    #[error("its store lacks object {0}; was the run moved without its .waymark?")]
    ObjectMissing(String),
    /// An object that the checkpoint needs can't be read back.
    #[error("the store can't give back object {0}")]
    ObjectDamaged(String),
    /// Written by a newer Waymark.
    #[error("format {0} is newer than this version of Waymark understands; update waymark")]
    NewerFormat(String),
}

impl Damage {
    /// The stable name of the kind.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Truncated(_) => "truncated",
            Self::NotJson(_) => "not_json",
            Self::NotCheckpoint(_) => "not_checkpoint",
            Self::ChecksumMissing => "checksum_missing",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::OtherRun(_) => "other_run",
            Self::IdMismatch(_) => "id_mismatch",
            Self::NotRegular => "not_regular",
            Self::Unreadable(_) => "unreadable",
            Self::TooLarge(_) => "too_large",
            Self::ObjectMissing(_) => "object_missing",
            Self::ObjectDamaged(_) => "object_damaged",
            Self::NewerFormat(_) => "newer_format",
        }
    }
}

impl From<JsonError> for Damage {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Empty => Self::Empty,
            JsonError::Truncated(_) => Self::Truncated(error),
            _ => Self::NotJson(error),
        }
    }
}
