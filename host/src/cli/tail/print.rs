//! What `relevo tail` prints: messages to stdout, everything else to stderr.

use std::io::Write;
use std::time::Duration;

use super::client::Message;
use super::latency::Latencies;

pub(super) struct Printer {
    json: bool,
    /// Where latencies are asked for.
    latencies: Option<Latencies>,
}

impl Printer {
    pub(super) fn new(json: bool, latency: bool) -> Self {
        Self { json, latencies: latency.then(Latencies::new) }
    }

    /// Prints one message. Fails when nobody reads the output any more.
    pub(super) fn message(&mut self, message: &Message<'_>, raw: &str) -> std::io::Result<()> {
        // What comes from history was committed long ago: its age is no latency.
        let latency = self.latencies.as_mut().and_then(|latencies| {
            let latency = message.age().filter(|_| message.live)?;
            latencies.add(latency);
            Some(latency)
        });
        let mut out = std::io::stdout().lock();
        if self.json {
            out.write_all(raw.as_bytes())?;
        } else {
            line(&mut out, message)?;
            if let Some(latency) = latency {
                write!(out, "  [{:.1} ms]", latency.as_secs_f64() * 1000.0)?;
            }
        }
        out.write_all(b"\n")?;
        out.flush()
    }

    /// That something is missing, which who reads the JSON must see, too.
    pub(super) fn gap(&self, told: &str, raw: &str) -> std::io::Result<()> {
        self.note(told);
        if self.json {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{raw}")?;
            out.flush()?;
        }
        Ok(())
    }

    /// Something about the connection.
    pub(super) fn note(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "-- {text}");
    }

    pub(super) fn end(&self) {
        if let Some(summary) = self.latencies.as_ref().and_then(Latencies::summary) {
            self.note(&summary);
        }
    }
}

fn line(out: &mut impl Write, message: &Message<'_>) -> std::io::Result<()> {
    write!(out, "{} {} {}/{}", message.timestamp, message.channel, message.kind, message.event_type)?;
    if let Some(key) = &message.key {
        write!(out, " {key}")?;
    }
    for (name, holds) in [("deleted", message.deleted), ("late", message.late), ("recovered", message.recovered)] {
        if holds {
            write!(out, " {name}")?;
        }
    }
    write!(out, " {}", message.data.get())
}

impl Message<'_> {
    /// How long ago its change was committed.
    fn age(&self) -> Option<Duration> {
        let committed: jiff::Timestamp = self.timestamp.parse().ok()?;
        Some(Duration::try_from(jiff::Timestamp::now().duration_since(committed)).unwrap_or_default())
    }
}
