//! What a restore of a captured folder would do, path by path.
//!
//! A plan is a pure function of what lies on the disk, what the checkpoint has, and what Waymark
//! knows of the folder: nothing is read from a disk and nothing is written. Whoever applies it does
//! no more than it says. The promise it keeps: what no checkpoint of the run has captured is never
//! deleted and never replaced where the checkpoint has nothing, under any policy.
//!
//! Two questions decide about a path that the checkpoint does not have as the disk has it:
//!
//! - *Whose is it?* A path belongs to the run if one of its checkpoints captured something there. A
//!   secret, or what could not be captured, makes no path the run's: its content was never kept.
//! - *Is it as Waymark saw it last?* It is if it equals what a *base* has there, a state of the
//!   folder that stood on the disk at a known time. If not, somebody changed it since, and the
//!   policy ([`OnConflict`]) decides.
//!
//! Work is proportional to what differs: folders of the same name (content hash) are not read, and
//! those of the other checkpoints only if something on the disk is not in the checkpoint.
//!
//! *Limits*: the folders on the way to the current path are held in memory. Names that differ in case
//! only are found as far as lower-casing says it; other equivalences of a file system (Unicode
//! normalization) are not known here.

mod hidden;
mod names;
mod overlay;
mod owner;
mod walk;

pub use hidden::{Exists, missing_paths};
pub use overlay::overlay;
pub use walk::plan_root;

use crate::model::diff::{Differs, NodeInfo, NodeKind};
use crate::model::object::ObjectId;
use crate::model::snapshot::SkipReason;

#[cfg(test)]
mod tests;

/// How a conflict is settled: a path that was changed since Waymark saw it last and that the
/// checkpoint has otherwise, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// Nothing is restored.
    Refuse,
    /// What is there is renamed aside.
    KeepBoth,
    /// What is there is replaced or deleted; the rescue checkpoint has it.
    Overwrite,
    /// Texts are merged line by line; where that can't be, nothing is restored.
    Merge,
}

impl OnConflict {
    /// The stable name: `refuse`, `keep-both`, `overwrite`, `merge`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::KeepBoth => "keep-both",
            Self::Overwrite => "overwrite",
            Self::Merge => "merge",
        }
    }

    /// Reads a stable name; anything else is `None`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Refuse, Self::KeepBoth, Self::Overwrite, Self::Merge]
            .into_iter()
            .find(|one| one.name() == name)
    }
}

/// The sides of one captured folder. Trees are named by their outermost folder; `None` is nothing.
#[derive(Debug, Clone, Copy)]
pub struct Sides<'a> {
    /// The folder on the disk, looked at just now.
    pub now: Option<ObjectId>,
    /// The folder in the checkpoint that is restored.
    pub wanted: Option<ObjectId>,
    /// States of the folder that are known to have stood on the disk last, the newest first: the
    /// newest checkpoint, the one restored last.
    pub bases: &'a [ObjectId],
    /// The folder in every checkpoint of the run, rescues not among them: they say whose a path is.
    /// The order does not matter.
    pub captured: &'a [ObjectId],
    /// How conflicts are settled.
    pub on_conflict: OnConflict,
}

/// What a plan goes by, besides the sides.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Whether a path may be touched. It is asked for every path that differs, folders and files,
    /// each for itself.
    pub selected: &'a dyn Fn(&[u8]) -> bool,
    /// Whether the folder's file system takes names that differ in case only for the same.
    pub case_folding: bool,
    /// What the name of a thing that is renamed aside gets, before the extension: `.conflict-1a2b`.
    pub beside_suffix: &'a str,
}

/// What would happen at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathPlan {
    /// The path inside the folder; names joined by `/`, without one at either end.
    pub path: Vec<u8>,
    /// What would happen.
    pub action: Action,
    /// What is there now; `None` if nothing is.
    pub before: Option<NodeInfo>,
    /// What the checkpoint has; `None` if nothing.
    pub after: Option<NodeInfo>,
    /// What differs, if both are; nothing if only one is.
    pub differs: Differs,
    /// What the newest base has, for a merge and for messages; `None` if nothing.
    pub base: Option<NodeInfo>,
}

/// What would happen at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// What the checkpoint has is made where nothing is.
    Create,
    /// What is there gives way to what the checkpoint has. A folder that gives way to a file is
    /// empty by then: whatever is in it is a [`Action::Delete`] of its own.
    Replace,
    /// Only the permission bits are put back.
    SetMode,
    /// What is there goes. A folder is empty by then.
    Delete,
    /// What is there is renamed; then what the checkpoint has, if anything, is made.
    KeepBoth {
        /// The new path of what is there: in the same folder, a name that neither side has.
        beside: Vec<u8>,
    },
    /// The lines changed since the base, on the disk and towards the checkpoint, are put together.
    /// All three are files. It can turn out to be [`ConflictReason::NotMergeable`].
    Merge,
    /// What is there stays.
    Keep(KeepReason),
    /// It can't be done: no part of the whole restore may be applied.
    Conflict(ConflictReason),
}

/// Why something stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepReason {
    /// It is on the disk and no checkpoint of the run captured it. Of a folder that holds nothing
    /// else, only the folder itself is handed out.
    NotCaptured,
    /// It is a secret, on the disk or in the checkpoints: its content is not stored.
    Secret,
    /// It could not be captured, on the disk or in the checkpoints, and why.
    NotStored(SkipReason),
    /// A folder that the checkpoint does not have, but something in it stays.
    NotEmpty,
}

/// Why a path can't be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConflictReason {
    /// It was changed since Waymark saw it last.
    Changed,
    /// What is there could not be read, so that no rescue checkpoint could keep it.
    CanNotBeSaved,
    /// Something is there that does not go: a folder with something that stays, where the
    /// checkpoint has a file; a socket, pipe or device; a file that was not selected, where a folder
    /// is needed.
    InTheWay,
    /// The file system takes its name for that of another path: one that the checkpoint has too, or
    /// one on the disk that stays.
    CaseCollision,
    /// Both sides changed the same lines, or it is no text. Plans do not say it; it is found out by
    /// merging.
    NotMergeable,
}

impl Action {
    /// The stable name: `create`, `replace`, `set_mode`, `delete`, `keep_both`, `merge`, `keep`,
    /// `conflict`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "replace",
            Self::SetMode => "set_mode",
            Self::Delete => "delete",
            Self::KeepBoth { .. } => "keep_both",
            Self::Merge => "merge",
            Self::Keep(_) => "keep",
            Self::Conflict(_) => "conflict",
        }
    }
}

impl KeepReason {
    /// The stable name: `not_captured`, `secret`, `not_stored`, `not_empty`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotCaptured => "not_captured",
            Self::Secret => "secret",
            Self::NotStored(_) => "not_stored",
            Self::NotEmpty => "not_empty",
        }
    }
}

impl ConflictReason {
    /// The stable name: `changed`, `can_not_be_saved`, `in_the_way`, `case_collision`,
    /// `not_mergeable`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::CanNotBeSaved => "can_not_be_saved",
            Self::InTheWay => "in_the_way",
            Self::CaseCollision => "case_collision",
            Self::NotMergeable => "not_mergeable",
        }
    }
}

/// How many paths a plan has of each kind. What is the same on both sides is not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// [`Action::Create`].
    pub create: u64,
    /// [`Action::Replace`].
    pub replace: u64,
    /// [`Action::SetMode`].
    pub set_mode: u64,
    /// [`Action::Delete`].
    pub delete: u64,
    /// [`Action::KeepBoth`].
    pub keep_both: u64,
    /// [`Action::Merge`].
    pub merge: u64,
    /// [`Action::Keep`].
    pub keep: u64,
    /// [`Action::Conflict`].
    pub conflict: u64,
    /// The sizes in bytes of all files to be written; of a merged one, that of the checkpoint.
    pub bytes_to_write: u64,
    /// The sizes in bytes of all files that are replaced, merged or deleted.
    pub bytes_replaced: u64,
}

impl Totals {
    /// Counts one more path.
    pub fn add(&mut self, plan: &PathPlan) {
        let size = |node: &Option<NodeInfo>| match node {
            Some(node) if node.kind == NodeKind::File => node.size.unwrap_or(0),
            _ => 0,
        };
        let (written, replaced) = (size(&plan.after), size(&plan.before));
        let (count, written, replaced) = match &plan.action {
            Action::Create => (&mut self.create, written, 0),
            Action::Replace => (&mut self.replace, written, replaced),
            Action::SetMode => (&mut self.set_mode, 0, 0),
            Action::Delete => (&mut self.delete, 0, replaced),
            Action::KeepBoth { .. } => (&mut self.keep_both, written, 0),
            Action::Merge => (&mut self.merge, written, replaced),
            Action::Keep(_) => (&mut self.keep, 0, 0),
            Action::Conflict(_) => (&mut self.conflict, 0, 0),
        };
        *count += 1;
        self.bytes_to_write = self.bytes_to_write.saturating_add(written);
        self.bytes_replaced = self.bytes_replaced.saturating_add(replaced);
    }
}
