//! Tests of the core: everything below the Node boundary, on a simulated disk wherever a fact does
//! not need the real one.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test that panics has failed, and says where"
)]

mod archive;
mod archived;
mod bad_input;
mod budget;
mod compiled;
mod crash;
mod damage;
mod decoders;
mod doctor;
mod events;
mod faults;
mod fork;
mod full_disk;
mod gallery;
mod gc;
mod git;
mod history;
mod layers;
mod lease;
mod lifecycle;
mod locate;
mod locks;
mod objects;
mod old_manager;
mod outlines;
mod project;
mod query;
mod records;
mod replace;
mod replaced;
mod restore_model;
mod retention;
mod sim_disk;
mod sim_disk_contract;
mod store_crash;
mod store_damage;
mod store_fixture;
mod store_model;
mod store_threads;
mod store_world;
mod verbs;
mod verify;
mod world;
mod write_order;
