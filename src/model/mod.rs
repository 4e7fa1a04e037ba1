//! Values and rules: ids, steps, JSON, the manifest, archives, the registry, retention, differences.
//!
//! This folder promises purity: no disk, no clock, no environment. The same input gives the same
//! output on every platform, so every rule is tested with fixed values.

pub mod archive;
pub mod cancel;
pub mod chain;
pub mod damage;
pub mod diff;
pub mod event;
pub mod facts;
pub mod ids;
pub mod json;
pub mod lease;
pub mod lifecycle;
pub mod manifest;
pub mod merge;
pub mod object;
pub mod plan;
pub mod progress;
pub mod query;
pub mod record;
pub mod registry;
pub mod retention;
pub mod run_record;
pub mod snapshot;
pub mod step;
pub mod time;
