//! Snapshots on their way into the journal, in chunks as those of changes.

use std::sync::Arc;

use crate::event::{Body, Event, Micros, Name, Number, Operation, Position};
use crate::failpoint;
use crate::journal::{Append, Journal, SnapshotPart, fit};

use super::error::CaptureError;
use super::progress::Progress;
use super::reached::{LONGEST_TOKEN, Reached};

/// The most events in one append.
pub(crate) const CHUNK_EVENTS: usize = 1_000;

/// The most bytes of events in one append.
const CHUNK_BYTES: usize = 512 << 10;

/// What is left of a record beside its events: for its token, and for what else stands in it.
const BESIDE: usize = 16 << 10;
const _: () = assert!(LONGEST_TOKEN <= BESIDE / 2);

/// The rows that go into the next append.
pub(crate) struct Rows {
    source: Name,
    incarnation: Name,
    journal: Journal,
    record_bytes: u64,
    part: SnapshotPart,
    progress: Progress,
    /// How far the rows are, for whoever goes on after a cut; None: the source's are read anew then.
    pub(crate) reached: Option<Reached>,
    rows: u64,
    bytes: u64,
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
        Ok(Self::go_on(source, incarnation, journal, record_bytes, part, progress, None))
    }

    /// The same, behind those that are there.
    pub(crate) fn go_on(
        source: &Name,
        incarnation: &Name,
        journal: &Journal,
        record_bytes: u64,
        part: SnapshotPart,
        progress: Progress,
        reached: Option<Reached>,
    ) -> Self {
        let (rows, bytes) = reached.as_ref().map_or((0, 0), |reached| (reached.rows, reached.bytes));
        progress.read(rows, bytes);
        Self {
            source: Name::clone(source),
            incarnation: Name::clone(incarnation),
            journal: journal.clone(),
            record_bytes,
            part,
            progress,
            reached,
            rows,
            bytes,
            committed_at: journal.now(),
            index: 0,
            events: Vec::new(),
            weight: 0,
        }
    }

    /// None of those that are there count: drops them, and begins anew.
    pub(crate) async fn begin_anew(&mut self) -> Result<(), CaptureError> {
        self.journal.discard_snapshot(&self.source, &self.part.pipeline).await?;
        self.progress.begin_anew();
        (self.reached, self.rows, self.bytes, self.weight) = (None, 0, 0, 0);
        self.events.clear();
        Ok(())
    }

    /// From now on this is how far the rows are.
    pub(crate) fn reaches(&mut self, reached: Reached) {
        self.reached = Some(Reached { rows: self.rows, bytes: self.bytes, ..reached });
    }

    /// A table's rows come next; `form`: as [`Reached::form`] has it. Gives the key of the last one that is there.
    pub(crate) fn at_table(&mut self, at: usize, form: Box<str>) -> Vec<String> {
        let Some(reached) = &mut self.reached else { return Vec::new() };
        if reached.at != at {
            (reached.at, reached.form) = (at, form);
            reached.after.clear();
        }
        reached.after.clone()
    }

    /// What `reached` says must be true of all that was pushed before.
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
        let (rows, bytes) = (events.iter().filter(|event| is_row(event)).count() as u64, self.weight as u64);
        self.weight = 0;
        self.progress.read(rows, bytes);
        (self.rows, self.bytes) = (self.rows + rows, self.bytes + bytes);
        if let Some(reached) = &mut self.reached {
            (reached.rows, reached.bytes) = (self.rows, self.bytes);
        }
        if complete && let Some(last) = events.last_mut() {
            last.last_of_transaction = true;
        }
        let append = Append {
            source: Name::clone(&self.source),
            incarnation: Name::clone(&self.incarnation),
            position: self.part.contains,
            token: self.reached.as_ref().map_or_else(|| "".into(), Reached::write),
            events: events.into_iter().map(Arc::new).collect(),
            complete,
            snapshot: Some(self.part.clone()),
        };
        self.journal.append(append).await?;
        if !complete {
            failpoint::hit(failpoint::ROWS_AFTER);
        }
        Ok(())
    }
}

/// Whether it is a row, and not the word that former ones don't count.
fn is_row(event: &Event) -> bool {
    matches!(&event.body, Body::Change(change) if change.operation == Operation::Snapshot)
}

/// How many bytes of events go into one append: a record has to hold them, with its frame.
pub(crate) fn chunk_bytes(record_bytes: u64) -> usize {
    usize::try_from(record_bytes).unwrap_or(usize::MAX).saturating_sub(BESIDE).min(CHUNK_BYTES)
}

/// The table of a change, for errors about it.
pub(crate) fn table_of(event: &Event) -> String {
    match &event.body {
        Body::Change(change) => change.table.to_string(),
        _ => String::new(),
    }
}
