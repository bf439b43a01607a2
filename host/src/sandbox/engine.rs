//! The engine's settings, and the ticker that lets a running plugin be stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Config, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::error::LoadError;

/// How many instances there can be at a time, over all pipelines and trials.
const SLOTS: u32 = 256;
/// Functions that a component's table can hold.
pub(super) const TABLE_ELEMENTS: usize = 20_000;
/// Core instances of one component; a Rust component has about five, one made of Python 38.
pub(super) const CORE_INSTANCES: usize = 64;

/// Builds the engine: with pooled memory where the address space has room for it, else without.
pub(super) fn build() -> Result<Engine, LoadError> {
    match Engine::new(&pooled()) {
        Ok(engine) => Ok(engine),
        Err(error) => {
            tracing::warn!(%error, "no address space for pooled plugin memory (ulimit -v?); plugins will run slower");
            Engine::new(&frugal()).map_err(|e| LoadError::Setup { reason: format!("{e:#}") })
        }
    }
}

fn common() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        // The same events give the same messages on every machine.
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    // Extended constants stay on: position-independent code needs them, as in components made of Python.
    config
}

fn pooled() -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(SLOTS)
        .total_core_instances(SLOTS * 8)
        .total_memories(SLOTS)
        .total_tables(SLOTS * 4)
        .max_core_instances_per_component(CORE_INSTANCES as u32)
        .table_elements(TABLE_ELEMENTS);
    let mut config = common();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}

/// Reserves nothing beforehand; memory accesses are checked by instructions instead of by guard pages.
fn frugal() -> Config {
    let mut config = common();
    config
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .memory_reservation(0)
        .memory_reservation_for_growth(1 << 20)
        .memory_guard_size(0);
    config
}

/// Moves the engine's epoch on while plugins run, and sleeps while none does.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    /// Calls that are under way.
    running: AtomicUsize,
    period_us: AtomicU64,
    stopped: AtomicBool,
}

/// The ticker ticks as long as one of these lives.
pub(super) struct Running<'a>(&'a Ticker);

impl Ticker {
    pub(super) fn start(engine: &Engine) -> Result<Self, LoadError> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            period_us: AtomicU64::new(20_000),
            stopped: AtomicBool::new(false),
        });
        let thread = std::thread::Builder::new()
            .name("plugin-ticker".into())
            .spawn({
                let (shared, engine) = (shared.clone(), engine.weak());
                move || tick(&shared, &engine)
            })
            .map_err(|e| LoadError::Setup { reason: format!("no thread for the ticker: {e}") })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Ticks at least ten times within `limit` from now on.
    pub(super) fn serve(&self, limit: Duration) {
        let period = u64::try_from(limit.as_micros() / 10).unwrap_or(u64::MAX).max(1000);
        self.shared.period_us.fetch_min(period, Ordering::Relaxed);
    }

    pub(super) fn running(&self) -> Running<'_> {
        if self.shared.running.fetch_add(1, Ordering::SeqCst) == 0
            && let Some(thread) = &self.thread
        {
            // A token that is left before it parks wakes it at once, so none is missed.
            thread.thread().unpark();
        }
        Running(self)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn tick(shared: &Shared, engine: &EngineWeak) {
    while !shared.stopped.load(Ordering::SeqCst) {
        if shared.running.load(Ordering::SeqCst) == 0 {
            std::thread::park();
            continue;
        }
        std::thread::sleep(Duration::from_micros(shared.period_us.load(Ordering::Relaxed)));
        let Some(engine) = engine.upgrade() else { return };
        engine.increment_epoch();
    }
}

/// The CPU time that this thread has used: what a plugin's limit is compared with, so that a busy
/// machine doesn't condemn the innocent.
pub(crate) fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_giving_memory_can_be_set_up() {
        Engine::new(&pooled()).unwrap();
        Engine::new(&frugal()).unwrap();
    }

    #[test]
    fn the_ticker_moves_only_while_something_runs_and_ends_with_its_owner() {
        let engine = build().unwrap();
        let ticker = Ticker::start(&engine).unwrap();
        ticker.serve(Duration::from_millis(10));
        assert_eq!(ticker.shared.period_us.load(Ordering::Relaxed), 1000);
        drop(ticker.running());
        drop(ticker);
    }
}
