//! Metrics: counters and gauges that a plugin keeps. A batch that fails leaves none.

use std::collections::BTreeMap;

use wasmtime::component::{HasSelf, Linker};

use super::bindings::metrics as wit;
use super::error::Fault;
use super::host::Host;
use super::notes::Notes;

/// How many names a plugin can use in a pipeline; values under more are ignored.
const MAX_NAMES: usize = 64;
const MAX_NAME: usize = 64;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)
}

impl wit::Host for Host {
    fn add(&mut self, name: String, by: u64) -> wasmtime::Result<()> {
        self.metrics.put(name, Metric::Counter(by)).map_err(wasmtime::Error::new)
    }

    fn set(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        self.metrics.put(name, Metric::Gauge(value)).map_err(wasmtime::Error::new)
    }
}

/// A value that a plugin keeps. It is about what ran here: a re-run counts again.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Metric {
    /// Since the server started.
    Counter(u64),
    Gauge(f64),
}

/// What the running batch adds.
pub(super) struct Samples {
    notes: Notes,
    batch: BTreeMap<Box<str>, Metric>,
}

impl Samples {
    pub(super) fn new(notes: Notes) -> Self {
        Self { notes, batch: BTreeMap::new() }
    }

    fn put(&mut self, name: String, value: Metric) -> Result<(), Fault> {
        let fits = (1..=MAX_NAME).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if !fits {
            return Err(Fault::BadOutput(format!("metric {name:?}: a name has 1 to 64 of a-z, 0-9 and _")));
        }
        if self.batch.len() < MAX_NAMES || self.batch.contains_key(name.as_str()) {
            merge(self.batch.entry(name.into()).or_insert(Metric::Counter(0)), value);
        }
        Ok(())
    }

    /// After a batch: what it added counts if it succeeded.
    pub(super) fn end(&mut self, succeeded: bool) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        if !succeeded {
            return;
        }
        self.notes.merge_metrics(batch);
    }
}

/// What a batch added to what was there; new names as long as there is room.
pub(super) fn merge_all(kept: &mut BTreeMap<Box<str>, Metric>, batch: BTreeMap<Box<str>, Metric>) {
    for (name, value) in batch {
        let room = kept.len() < MAX_NAMES;
        if let Some(old) = kept.get_mut(&name) {
            merge(old, value);
        } else if room {
            kept.insert(name, value);
        }
    }
}

/// A counter grows; a gauge is replaced; a name that changes its kind starts anew.
fn merge(old: &mut Metric, new: Metric) {
    *old = match (*old, new) {
        (Metric::Counter(a), Metric::Counter(b)) => Metric::Counter(a.saturating_add(b)),
        (_, new) => new,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_batches_that_succeed_count_and_names_are_bounded() {
        let notes = Notes::default();
        let mut samples = Samples::new(notes.clone());
        samples.put("seen".into(), Metric::Counter(2)).unwrap();
        samples.put("seen".into(), Metric::Counter(3)).unwrap();
        samples.put("level".into(), Metric::Gauge(0.5)).unwrap();
        samples.end(true);
        samples.put("seen".into(), Metric::Counter(100)).unwrap();
        samples.end(false);
        samples.put("seen".into(), Metric::Counter(1)).unwrap();
        samples.end(true);
        let get =
            |wanted: &str| notes.metrics().into_iter().find(|(name, _)| **name == *wanted).map(|(_, value)| value);
        assert_eq!(get("seen"), Some(Metric::Counter(6)));
        assert_eq!(get("level"), Some(Metric::Gauge(0.5)));

        for n in 0..1000 {
            samples.put(format!("n{n}"), Metric::Counter(1)).unwrap();
            samples.end(true);
        }
        assert_eq!(notes.metrics().len(), MAX_NAMES);
        assert!(samples.put("Bad Name".into(), Metric::Counter(1)).is_err());
    }
}
