//! Snapshots on their way into the journal, in chunks of one shape with those of changes.

use std::sync::Arc;

use crate::event::{Body, Event, Micros, Name, Number, Position};
use crate::journal::{Append, Journal, SnapshotPart, fit};

use super::error::CaptureError;
use super::progress::Progress;

/// The most events in one append.
pub(crate) const CHUNK_EVENTS: usize = 1_000;

/// The most bytes of events in one append.
const CHUNK_BYTES: usize = 512 << 10;

/// The rows that go into the next append.
pub(crate) struct Rows {
    source: Name,
    incarnation: Name,
    journal: Journal,
    record_bytes: u64,
    part: SnapshotPart,
    progress: Progress,
    committed_at: Micros,
    /// Of the last row; a streamed event at the same position has 0.
    index: u32,
    events: Vec<Event>,
    weight: usize,
}

impl Rows {
    /// Rows of a source that contain its changes up to a position. Unfinished ones that the pipeline
    /// asked for before are dropped.
    pub(crate) async fn begin(
        source: &Name,
        incarnation: &Name,
        journal: &Journal,
        record_bytes: u64,
        part: SnapshotPart,
        progress: Progress,
    ) -> Result<Self, CaptureError> {
        journal.discard_snapshot(source, &part.pipeline).await?;
        Ok(Self {
            source: Name::clone(source),
            incarnation: Name::clone(incarnation),
            journal: journal.clone(),
            record_bytes,
            part,
            progress,
            committed_at: journal.now(),
            index: 0,
            events: Vec::new(),
            weight: 0,
        })
    }

    pub(crate) async fn push(&mut self, body: Body) -> Result<(), CaptureError> {
        self.index = self.index.saturating_add(1);
        let mut event = Event {
            number: Number::ZERO,
            source: Name::clone(&self.source),
            position: Position { commit: self.part.contains.commit, index: self.index },
            committed_at: self.committed_at,
            transaction: self.part.contains.commit,
            last_of_transaction: false,
            late: false,
            body,
        };
        if !fit(&mut event, self.record_bytes) {
            return Err(CaptureError::RowTooLarge { table: table_of(&event) });
        }
        let weight = event.weight();
        if self.events.len() == CHUNK_EVENTS
            || (!self.events.is_empty() && self.weight + weight > chunk_bytes(self.record_bytes))
        {
            self.append(false).await?;
        }
        self.weight += weight;
        self.events.push(event);
        Ok(())
    }

    /// Appends what is left; the pipeline sees the rows from then on.
    pub(crate) async fn finish(mut self) -> Result<(), CaptureError> {
        self.append(true).await
    }

    async fn append(&mut self, complete: bool) -> Result<(), CaptureError> {
        let mut events = std::mem::take(&mut self.events);
        self.progress.read(events.len() as u64, std::mem::take(&mut self.weight) as u64);
        if complete && let Some(last) = events.last_mut() {
            last.last_of_transaction = true;
        }
        let append = Append {
            source: Name::clone(&self.source),
            incarnation: Name::clone(&self.incarnation),
            position: self.part.contains,
            token: "".into(),
            events: events.into_iter().map(Arc::new).collect(),
            complete,
            snapshot: Some(self.part.clone()),
        };
        self.journal.append(append).await?;
        Ok(())
    }
}

/// How many bytes of events go into one append: a record has to hold them, with its frame.
pub(crate) fn chunk_bytes(record_bytes: u64) -> usize {
    usize::try_from(record_bytes).unwrap_or(usize::MAX).saturating_sub(16 << 10).min(CHUNK_BYTES)
}

/// The table of a change, for errors about it.
pub(crate) fn table_of(event: &Event) -> String {
    match &event.body {
        Body::Change(change) => change.table.to_string(),
        _ => String::new(),
    }
}
