//! What a plugin's store holds: everything that its host calls work on, and what it may use up.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use wasmtime::{ResourceLimiter, UpdateDeadline};

use super::engine::{CORE_INSTANCES, TABLE_ELEMENTS, thread_cpu_time};
use super::error::Fault;
use super::log::Log;
use super::lookup::Lookup;
use super::manifest::Manifest;
use super::metrics::Samples;
use super::notes::Notes;
use super::plugin::Plugin;
use super::state::State;
use super::wasi::Wasi;
use crate::event::Name;

/// Beyond strings and lists, guests hold handles to the standard streams only.
const TABLES: usize = 32;
/// A component needs one; some bring an adapter with a second.
const MEMORIES: usize = 4;

/// The store's data.
pub(super) struct Host {
    pub(super) manifest: Arc<Manifest>,
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    // One field for each capability.
    /// The pipeline's, while a batch runs; there is none in `init`.
    pub(super) state: Option<State>,
    pub(super) lookup: Lookup,
    pub(super) log: Log,
    pub(super) metrics: Samples,
    pub(super) wasi: Wasi,
}

impl Host {
    pub(super) fn new(plugin: &Plugin, pipeline: &Name, notes: &Notes) -> Self {
        let manifest = plugin.manifest();
        let limits = &manifest.limits;
        Self {
            cpu: Cpu::new(limits.cpu),
            memory: Memory::new(limits.memory),
            state: None,
            lookup: Lookup::default(),
            log: Log::new(pipeline.clone(), plugin.version().clone(), limits.log_lines, notes.clone()),
            metrics: Samples::new(notes.clone()),
            wasi: Wasi::new(seed(pipeline, &manifest.name)),
            manifest: plugin.shared_manifest(),
        }
    }

    /// What an error that came out of the plugin means.
    pub(super) fn fault(&self, error: &wasmtime::Error) -> Fault {
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return fault.clone();
        }
        let cause = error.root_cause().to_string();
        // The error's type is private in wasmtime 48.
        if cause.contains("fuel allocated for hostcalls has been exhausted") {
            let limit = self.manifest.limits.output_bytes;
            return Fault::Output { setting: "limits.output_bytes", found: limit.saturating_add(1), limit };
        }
        if let Some(fault) = self.memory.fault() {
            return fault;
        }
        let place = error.downcast_ref::<wasmtime::WasmBacktrace>().map_or_else(String::new, backtrace);
        let words = self.log.last_words().map_or_else(String::new, |words| format!(": {words}"));
        Fault::Trap(format!("{cause}{words}{place}"))
    }
}

/// The names of the innermost functions.
fn backtrace(trace: &wasmtime::WasmBacktrace) -> String {
    let names: Vec<&str> = trace.frames().iter().filter_map(|frame| frame.func_name()).take(8).collect();
    if names.is_empty() { String::new() } else { format!(" (in {})", names.join(" < ")) }
}

/// Constant for pipeline and plugin, so that the same events give the same messages.
fn seed(pipeline: &Name, plugin: &Name) -> (u64, u64) {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Sha256::digest(format!("{pipeline}/{plugin}"))[..16]);
    let seed = u128::from_le_bytes(bytes);
    (seed as u64, (seed >> 64) as u64)
}

/// CPU time of the call that runs.
pub(super) struct Cpu {
    limit: Duration,
    /// The thread's CPU time when the call began.
    began: Duration,
}

impl Cpu {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, began: Duration::ZERO }
    }

    pub(super) fn begin(&mut self) {
        self.began = thread_cpu_time();
    }

    /// Since the call began.
    pub(super) fn used(&self) -> Duration {
        thread_cpu_time().saturating_sub(self.began)
    }

    /// Called from inside the plugin at each tick.
    pub(super) fn check(&self) -> wasmtime::Result<UpdateDeadline> {
        let used = self.used();
        if used > self.limit {
            return Err(wasmtime::Error::new(Fault::Cpu { used, limit: self.limit }));
        }
        Ok(UpdateDeadline::Continue(1))
    }
}

/// Memory of the instance, over all its linear memories.
pub(super) struct Memory {
    limit: u64,
    used: u64,
    /// What it was refused, if it was: most guests crash then, and this says why.
    refused: Option<u64>,
}

impl Memory {
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, used: 0, refused: None }
    }

    /// Before a call: what was refused in an earlier one explains nothing.
    pub(super) fn begin(&mut self) {
        self.refused = None;
    }

    pub(super) fn used(&self) -> u64 {
        self.used
    }

    pub(super) fn fault(&self) -> Option<Fault> {
        self.refused.map(|wanted| Fault::Memory { wanted, limit: self.limit })
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_add(desired.saturating_sub(current) as u64);
        if wanted > self.limit {
            self.refused = Some(wanted);
            return Ok(false);
        }
        self.used = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}
