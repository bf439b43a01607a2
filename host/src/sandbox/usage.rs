//! What a plugin used up in one pipeline: batches, their CPU time, memory, faults.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

/// The upper edges of the times of batches, in microseconds; what is longer is in one more bucket.
/// From a quick call to more than twice the default of `limits.cpu`.
const EDGES: [u64; 16] =
    [10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 200_000, 500_000, 1_000_000];

/// Since the server started.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Calls with a batch, those that failed too.
    pub batches: u64,
    /// Events in them.
    pub events: u64,
    /// CPU time of all of them.
    pub cpu: Duration,
    /// How many took up to each edge, and longer than the one before.
    counts: [u64; EDGES.len() + 1],
    /// What the instance that ran last holds, in bytes.
    pub memory_bytes: u64,
    /// The state after the last batch, in bytes.
    pub state_bytes: u64,
    /// By [`Fault::name`](super::Fault::name); each retry counts.
    pub faults: BTreeMap<&'static str, u64>,
}

impl Usage {
    pub(super) fn batch(&mut self, events: usize, cpu: Duration, memory_bytes: u64, state_bytes: u64) {
        self.batches += 1;
        self.events += events as u64;
        self.cpu += cpu;
        let micros = u64::try_from(cpu.as_micros()).unwrap_or(u64::MAX);
        self.counts[EDGES.partition_point(|edge| *edge < micros)] += 1;
        (self.memory_bytes, self.state_bytes) = (memory_bytes, state_bytes);
    }

    /// How many batches took up to an edge in seconds, and longer than the one before; the last edge is
    /// infinite.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let edges = EDGES.iter().map(|edge| *edge as f64 / 1e6).chain([f64::INFINITY]);
        edges.zip(self.counts.iter().copied()).collect()
    }

    /// A time that this part of the batches, 0 to 1, kept under: the edge of its bucket in microseconds;
    /// None: no batch ran, or the bucket is the one without an edge.
    fn quantile(&self, part: f64) -> Option<u64> {
        let wanted = (self.batches as f64 * part).ceil() as u64;
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted.max(1)
        })?;
        EDGES.get(at).copied()
    }
}

impl Serialize for Usage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_struct("Usage", 8)?;
        all.serialize_field("batches", &self.batches)?;
        all.serialize_field("events", &self.events)?;
        all.serialize_field("cpu_us", &u64::try_from(self.cpu.as_micros()).unwrap_or(u64::MAX))?;
        all.serialize_field("batch_p50_us", &self.quantile(0.5))?;
        all.serialize_field("batch_p99_us", &self.quantile(0.99))?;
        all.serialize_field("memory_bytes", &self.memory_bytes)?;
        all.serialize_field("state_bytes", &self.state_bytes)?;
        all.serialize_field("faults", &self.faults)?;
        all.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_between_their_edges() {
        let mut usage = Usage::default();
        assert_eq!((usage.quantile(0.5), usage.quantile(0.99)), (None, None));
        for micros in [10, 11, 26, 2_000_000] {
            usage.batch(2, Duration::from_micros(micros), 7, 8);
        }
        assert_eq!((usage.batches, usage.events, usage.memory_bytes, usage.state_bytes), (4, 8, 7, 8));
        let filled: Vec<(f64, u64)> = usage.buckets().into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(10e-6, 1), (25e-6, 1), (50e-6, 1), (f64::INFINITY, 1)]);
        assert_eq!((usage.quantile(0.5), usage.quantile(0.75), usage.quantile(0.99)), (Some(25), Some(50), None));
    }
}
