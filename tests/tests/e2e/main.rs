//! End to end: the real binary with real databases, real plugins and raw clients. `cargo xtask test`
//! builds what is needed.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod beginnings;
mod changes;
mod crashes;
mod gad;
mod gaps;
mod hostile_plugins;
mod misuse;
mod names;
mod panel;
mod postgres;
mod process;
mod resuming;
mod slow_clients;
mod tail;
