//! The objects: content-addressed bytes in packs.
//!
//! This folder promises that bytes come back as they were put, or not at all: whatever is read is
//! held against its name.

use crate::error::Result;
use crate::model::object::ObjectId;

/// Takes objects, from several threads at once.
pub trait Sink: Sync {
    /// A way in for one thread. What was put is only in the store once the lane is finished.
    fn lane(&self) -> Box<dyn Lane + '_>;
}

/// One thread's way into a [`Sink`].
pub trait Lane {
    /// Stores an object unless it is stored already; gives its name.
    fn put(&mut self, bytes: &[u8]) -> Result<ObjectId>;
    /// Hands everything that was put to the store.
    fn finish(self: Box<Self>) -> Result<()>;
}
