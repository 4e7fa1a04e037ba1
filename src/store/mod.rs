//! Durable state: where files lie, how bytes reach the disk, who may write.
//!
//! This folder promises durability and decides nothing: it does not know why something is written.
//! Everything below goes through [`disk::Disk`], so that tests can put a disk under it that loses,
//! reorders and refuses.

pub mod archive;
pub mod catalog;
pub mod changes;
pub mod chunker;
pub mod compiled;
pub mod disk;
pub mod events;
pub mod folder;
pub mod git;
pub mod index;
pub mod journal;
pub mod layout;
pub mod leases;
pub mod leftovers;
pub mod lock;
pub mod manifests;
#[cfg(target_os = "linux")]
mod name_order;
pub mod objects;
pub mod outlines;
pub mod place;
pub mod probe;
pub mod publish;
pub mod real_disk;
mod real_folder;
pub mod records;
pub mod roots;
pub mod runner_lock;
pub mod verified;
pub mod workspace;
