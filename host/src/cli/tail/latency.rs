//! How long messages took from the commit in the database to here.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The distribution of latencies, in microseconds.
pub(super) struct Latencies(Option<Histogram<u64>>);

impl Latencies {
    pub(super) fn new() -> Self {
        // Three digits never fail; without a histogram only the summary is missing.
        Self(Histogram::new(3).ok())
    }

    pub(super) fn add(&mut self, latency: Duration) {
        if let Some(histogram) = &mut self.0 {
            // It grows with the values; only one of centuries would not fit.
            let _ = histogram.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        }
    }

    /// One line, or None if nothing was measured.
    pub(super) fn summary(&self) -> Option<String> {
        let histogram = self.0.as_ref().filter(|histogram| !histogram.is_empty())?;
        #[expect(clippy::cast_precision_loss, reason = "times of a few seconds")]
        let ms = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Some(format!(
            "latency of {} messages, commit to received: p50 {:.1} ms, p99 {:.1} ms, largest {:.1} ms",
            histogram.len(),
            ms(0.5),
            ms(0.99),
            ms(1.0)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_knows_the_middle_and_the_end() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.summary(), None);
        for ms in 1..=100 {
            latencies.add(Duration::from_millis(ms));
        }
        let summary = latencies.summary().unwrap();
        assert!(
            summary.contains("100 messages") && summary.contains("p50 50.") && summary.contains("p99 99."),
            "{summary}"
        );
    }
}
