//! What a plugin costs: batches of 64 events through a warm instance, as long as is asked for.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::generate;
use super::lane::Lane;
use super::learn::learn;
use super::report::bytes;
use super::rows::Tables;
use super::samples::Samples;
use crate::config::Limits;
use crate::sandbox::{BatchEvent, Fault, Instance, Lookup, Output, Plugin, State, thread_cpu_time};

/// Events of a batch.
const BATCH: usize = 64;
/// The longest time of a batch that is told apart, in ns: a minute.
const LONGEST: u64 = 60_000_000_000;
/// Generated events; they come again and again.
const EVENTS: usize = 64 * BATCH;

/// What was measured, in one run on one thread.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    pub plugin: String,
    /// `release`, or `debug`, whose host is several times slower.
    pub build: &'static str,
    pub seed: u64,
    pub events: u64,
    pub batches: u64,
    /// CPU time of an event, plugin and host together.
    pub ns_an_event: f64,
    /// Time of a batch.
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
    pub messages: u64,
    pub output_bytes_a_batch: u64,
    /// The most that the instance took.
    pub memory: u64,
    pub state_bytes: u64,
    /// Events that the plugin calls poison; they are left out.
    pub refused: usize,
    #[serde(skip)]
    limits: Limits,
}

/// Measures for about this long.
///
/// # Errors
/// What stopped the plugin.
pub fn measure(
    plugin: &Plugin,
    samples: &Samples,
    only_samples: bool,
    seed: u64,
    time: Duration,
) -> Result<Measured, Fault> {
    let manifest = plugin.manifest();
    let mut tables = Tables::new(manifest, samples);
    learn(plugin, samples, &mut tables, seed);
    let events = if only_samples {
        generate::recorded(samples)
    } else {
        generate::generated(manifest, samples, &mut tables, seed, EVENTS)
    };
    let lookup = generate::lookup(manifest, samples, &mut tables, seed);
    let (batches, refused) = accepted(plugin, &lookup, events)?;

    let mut bench = Bench {
        instance: plugin.instantiate(&"bench".into())?,
        state: State::new(Default::default(), manifest.limits.state_bytes),
        lookup,
        messages: 0,
        largest: 0,
    };
    // The first round warms up: the guest's memory grows to what it needs.
    batches.iter().try_for_each(|batch| bench.call(batch))?;
    (bench.messages, bench.largest) = (0, 0);
    let mut times = Histogram::<u64>::new_with_bounds(1, LONGEST, 3).map_err(|e| Fault::Init(e.to_string()))?;
    let mut events = 0;
    let (began, cpu) = (Instant::now(), thread_cpu_time());
    while began.elapsed() < time {
        for batch in &batches {
            let began = Instant::now();
            bench.call(batch)?;
            times.saturating_record(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX));
            events += batch.len() as u64;
        }
    }
    let cpu = thread_cpu_time().saturating_sub(cpu);
    Ok(Measured {
        plugin: manifest.name.to_string(),
        build: if cfg!(debug_assertions) { "debug" } else { "release" },
        seed,
        events,
        batches: times.len(),
        ns_an_event: cpu.as_nanos() as f64 / events.max(1) as f64,
        p50_us: times.value_at_quantile(0.5) / 1000,
        p99_us: times.value_at_quantile(0.99) / 1000,
        max_us: times.max() / 1000,
        messages: bench.messages,
        output_bytes_a_batch: bench.largest,
        memory: bench.instance.memory(),
        state_bytes: bench.state.bytes(),
        refused,
        limits: manifest.limits.clone(),
    })
}

/// The events that it doesn't call poison, in batches.
fn accepted(
    plugin: &Plugin,
    lookup: &Lookup,
    mut events: Vec<BatchEvent>,
) -> Result<(Vec<Vec<BatchEvent>>, usize), Fault> {
    let mut lane = Lane::new(plugin, lookup.clone());
    for batch in events.chunks(BATCH) {
        lane.run(batch)?;
    }
    let refused: Vec<_> = lane.refused.iter().map(|(number, _)| *number).collect();
    events.retain(|event| !refused.contains(&event.event.number));
    if events.is_empty() {
        return Err(Fault::Fatal("there is no event that it takes: give some with --events".into()));
    }
    Ok((events.chunks(BATCH).map(<[BatchEvent]>::to_vec).collect(), refused.len()))
}

struct Bench {
    instance: Instance,
    state: State,
    lookup: Lookup,
    messages: u64,
    /// The most that a batch put out, in bytes.
    largest: u64,
}

impl Bench {
    fn call(&mut self, batch: &[BatchEvent]) -> Result<(), Fault> {
        let output = self.instance.call(batch, &mut self.state, &self.lookup)?;
        self.state.keep();
        let bytes: usize = match &output {
            Output::Messages(drafts) => {
                self.messages += drafts.len() as u64;
                drafts.iter().map(|draft| draft.data.len()).sum()
            }
            Output::Patches(patches) => {
                self.messages += patches.len() as u64;
                patches.iter().filter_map(|patch| patch.body.as_deref()).map(str::len).sum()
            }
        };
        self.largest = self.largest.max(bytes as u64);
        Ok(())
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = &self.limits;
        writeln!(f, "{}: {} events in {} batches of {BATCH}", self.plugin, self.events, self.batches)?;
        if self.refused > 0 {
            writeln!(f, "  left out   {} events that it calls poison", self.refused)?;
        }
        writeln!(f, "  an event   {:.0} ns of CPU time", self.ns_an_event)?;
        let cpu = limits.cpu;
        writeln!(
            f,
            "  a batch    p50 {} µs, p99 {} µs, most {} µs; limits.cpu {cpu:?}",
            self.p50_us, self.p99_us, self.max_us
        )?;
        writeln!(f, "  memory     {} of {}", bytes(self.memory), bytes(limits.memory))?;
        let (most, limit) = (bytes(self.output_bytes_a_batch), bytes(limits.output_bytes));
        let each = self.messages as f64 / self.events.max(1) as f64;
        writeln!(f, "  output     {each:.2} messages an event, at most {most} a batch of {limit}")?;
        writeln!(f, "  state      {} of {}", bytes(self.state_bytes), bytes(limits.state_bytes))?;
        if self.build == "debug" {
            return write!(f, "This relevo is a debug build: its own part is several times slower than in a release.");
        }
        write!(f, "This relevo is a release build.")
    }
}
