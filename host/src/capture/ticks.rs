//! The clock: a watermark says that every source has delivered all that it committed up to a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::event::{Body, Event, Micros, Name, Number, Position};
use crate::journal::{Append, Journal, JournalError};

use super::SourceHealth;

/// The source that watermarks come from.
pub const SOURCE: &str = "clock";

/// Appends the lowest of the sources' watermarks when it has risen, at most once `every` so long.
pub(crate) async fn run(
    journal: Journal,
    sources: Vec<watch::Receiver<SourceHealth>>,
    every: Duration,
    mut shutdown: watch::Receiver<bool>,
) {
    let source = Name::from(SOURCE);
    let mut last = None;
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
        // A watermark that an earlier process appended isn't passed from below, even if the clock
        // was put back since.
        let known = match last {
            Some(last) => last,
            None => match journal.source(SOURCE).await {
                Ok(state) => Micros(state.map_or(0, |state| state.position.commit)),
                Err(error) => {
                    tracing::error!(%error, "can't read the last watermark; trying again");
                    continue;
                }
            },
        };
        last = Some(known);
        let up_to = sources.iter().map(|source| source.borrow().watermark).min().unwrap_or_default();
        if up_to <= known {
            continue;
        }
        match journal.append(tick(&source, up_to)).await {
            Ok(_) => last = Some(up_to),
            Err(JournalError::Closed) => return,
            Err(error) => tracing::error!(%error, "can't append a watermark; trying again"),
        }
    }
}

fn tick(source: &Name, up_to: Micros) -> Append {
    let position = Position { commit: up_to.0, index: 0 };
    let event = Event {
        number: Number::ZERO,
        source: Name::clone(source),
        position,
        committed_at: up_to,
        transaction: position.commit,
        last_of_transaction: true,
        late: false,
        body: Body::Tick { up_to },
    };
    Append {
        source: Name::clone(source),
        // There is one clock, and its positions always compare.
        incarnation: Name::clone(source),
        position,
        token: "".into(),
        events: vec![Arc::new(event)],
        complete: true,
        snapshot: None,
    }
}
