//! The rows of a snapshot, as the journal has them; `rebuild` folds them.

use std::collections::HashMap;

use crate::event::{Body, Event, Name, Number, Operation};
use crate::journal::{Append, Record, RecordBody, SnapshotPart};

use super::context::Context;
use super::failure::Stop;
use super::feed::Feed;

/// Which snapshot it is.
pub(super) struct Snapshot {
    pub(super) source: Name,
    pub(super) incarnation: Name,
    /// As its first append says it.
    pub(super) part: SnapshotPart,
    /// The number before its first record.
    pub(super) before: Number,
}

impl Snapshot {
    pub(super) fn of(record: &Record) -> Option<Self> {
        let RecordBody::Append(append) = &record.body else { return None };
        let part = append.snapshot.clone()?;
        let before = Number(record.first.0.saturating_sub(1));
        Some(Self { source: append.source.clone(), incarnation: append.incarnation.clone(), part, before })
    }

    /// Its appends follow each other. Where it was cut and went on, they answer one request after the other.
    fn has(&self, append: &Append) -> bool {
        let is_ours = append.snapshot.as_ref().is_some_and(|part| part.pipeline == self.part.pipeline);
        is_ours && append.source == self.source && append.incarnation == self.incarnation
    }

    /// Reads its appends, whose chunks became visible all at once.
    pub(super) fn each_chunk(
        &self,
        context: &Context,
        mut take: impl FnMut(&Append) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let mut feed = Feed::new(&context.journal, &context.handle, self.before);
        loop {
            context.go_on()?;
            feed.fill()?;
            let records: Vec<_> = feed.records().cloned().collect();
            for record in &records {
                if let RecordBody::Append(append) = &record.body
                    && self.has(append)
                {
                    take(append)?;
                    if append.complete {
                        return Ok(());
                    }
                }
                feed.pass(record.last);
            }
            if records.is_empty() {
                feed.wait(&mut context.stopping.clone(), None)?;
            }
        }
    }
}

/// Which rows don't count: those that were read, and changed before a snapshot that had been cut went on. It says so
/// by a delete of the row or a truncate of its table, and tells of what is left of them again. Capture bounds the keys that
/// it says that of: beyond 64 MiB of them, as they are kept here, a snapshot doesn't go on, and begins anew.
#[derive(Default)]
pub(super) struct Void {
    /// By table and key: what was said last.
    rows: HashMap<Name, HashMap<Box<str>, Number>>,
    /// By table: all before.
    tables: HashMap<Name, Number>,
}

impl Void {
    /// Learns from an event of the snapshot; all must be seen before [`Self::counts`] is asked.
    pub(super) fn see(&mut self, event: &Event) {
        let Body::Change(change) = &event.body else { return };
        match change.operation {
            Operation::Truncate => {
                self.tables.insert(change.table.clone(), event.number);
            }
            Operation::Delete => {
                let rows = self.rows.entry(change.table.clone()).or_default();
                rows.insert(change.key.clone(), event.number);
            }
            // Two keys of the database's that are equal to it, as 1.0 and 1.00, may each bring the row.
            _ => {
                if let Some(last) = self.rows.get_mut(&change.table).and_then(|rows| rows.get_mut(&change.key)) {
                    *last = event.number;
                }
            }
        }
    }

    /// Whether an event is a row that counts.
    pub(super) fn counts(&self, event: &Event) -> bool {
        let Body::Change(change) = &event.body else { return false };
        let emptied = self.tables.get(&change.table).is_some_and(|at| event.number < *at);
        let last = self.rows.get(&change.table).and_then(|rows| rows.get(&change.key));
        change.operation == Operation::Snapshot && !emptied && last.is_none_or(|last| event.number >= *last)
    }
}
