//! Runs plugins: wasmtime, its limits, and one file for each capability that a plugin may use.
//!
//! The pipelines call this room: they [`Sandbox::load`] a plugin once, [`Plugin::instantiate`] it
//! for each pipeline, and hand batches to [`Instance::call`] on their own threads. Everything here is
//! synchronous and never waits for anything but the plugin's own computing.

mod error;

// Before it runs.
mod cache;
mod contract;
mod engine;
mod grants;
mod imports;
mod manifest;
mod plugin;
mod schema;

// While it runs.
mod batch;
mod bindings;
mod host;
mod instance;
mod output;

// What stays of it.
mod notes;
mod usage;

// The capabilities: each links its host functions, and keeps what an instance of it needs.
mod log;
mod lookup;
mod metrics;
mod state;
mod wasi;

#[cfg(test)]
mod tests;

pub(crate) use engine::thread_cpu_time;
pub use error::{Fault, LoadError};
pub use grants::Missing;
pub use instance::{BatchEvent, Draft, Instance, Output, Patch};
pub use lookup::{Lookup, cut};
pub use manifest::{Manifest, OnFault};
pub use metrics::Metric;
pub use notes::{By, Level, Line, Notes};
pub use plugin::{Plugin, Role, Sandbox};
pub use state::State;
pub use usage::Usage;
