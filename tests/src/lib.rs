//! The one harness of the end-to-end tests and of the load generator: the real binary with a fresh
//! data folder, a raw client that records every frame, writers with a log, and the oracle made of it.
//!
//! A harness reports by panicking: whatever goes wrong here fails the test that runs it.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a harness fails the test that uses it by panicking")]

pub mod binary;
pub mod browser;
pub mod cli;
pub mod client;
pub mod clock;
pub mod follower;
pub mod frame;
pub mod holes;
pub mod network;
pub mod old;
pub mod oracle;
pub mod panel;
pub mod postgres;
pub mod power;
pub mod random;
pub mod server;
pub mod small_disk;
pub mod steady;
pub mod token;
pub mod wait;
pub mod websocket;
pub mod witness;
pub mod workload;
pub mod world;
