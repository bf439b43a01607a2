//! Cuts what lies behind the cursor into batches: by size, at a transaction's end where it fits,
//! and before each change of a reference table.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Body, Event, Name, Number};
use crate::journal::{Append, Control, Record, RecordBody, SnapshotPart};

use super::meta::Contained;
use super::wants::{Mask, Wants};
use super::worker::Asked;

/// An event on its way to the plugins.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) event: Arc<Event>,
    /// What the ids of its messages begin with: its source's incarnation, or the rebuild that reads
    /// it again.
    pub(super) origin: Name,
    /// The plugins that want it.
    pub(super) wanted: Mask,
}

/// What is handled and committed together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Changes of reference tables, which come before all items.
    pub(super) references: Vec<Arc<Event>>,
    pub(super) items: Vec<Item>,
    /// The cursor when it is done.
    pub(super) through: Number,
    /// It passes events, wanted or not: the cursor is worth saving. (A pipeline that saved it for
    /// each commit that it reads, its own too, would never come to rest.)
    pub(super) moved: bool,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.references.is_empty() && self.items.is_empty()
    }
}

/// What comes next behind the cursor.
#[derive(Debug)]
pub(super) enum Next {
    Batch(Batch),
    /// A control record that concerns the pipeline; everything before it is done.
    Control(Arc<Record>),
    /// The first record of the snapshot that it waits for; everything before it is done.
    Snapshot(Arc<Record>),
    Nothing,
}

/// How large a batch may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

/// What decides about a record, beside the size.
pub(super) struct View<'a> {
    pub(super) pipeline: &'a str,
    pub(super) wants: &'a Wants,
    /// What the last rebuild's snapshot has already told.
    pub(super) contained: &'a BTreeMap<Name, Contained>,
    /// The request whose snapshot it waits for.
    pub(super) awaited: Option<&'a Asked>,
    /// The last number to look at: the end of what a rebuild reads again.
    pub(super) until: Number,
    /// A rebuild reads again what was read before: its mark on all ids, so that what it makes isn't
    /// taken for what was sent. Control records don't count a second time.
    pub(super) replayed_as: Option<&'a Name>,
}

impl View<'_> {
    fn concerns(&self, control: &Control) -> bool {
        if self.replayed_as.is_some() {
            return false;
        }
        match control {
            Control::Gap { source, .. } => self.loses(source, None),
            // Of other tables it knows what it knew.
            Control::TableGap { source, tables, .. } => self.loses(source, Some(tables)),
            Control::PipelineGap { pipeline }
            | Control::RebuildWanted { pipeline }
            | Control::PauseWanted { pipeline, .. }
            | Control::ReplayWanted { pipeline, .. } => &**pipeline == self.pipeline,
            Control::SwapWanted(swap) => &*swap.pipeline == self.pipeline,
            // Wishes of its own, what is over, and what is looked for ahead of the cursor.
            Control::SnapshotWanted { .. }
            | Control::DeadLetter(_)
            | Control::Swapped { .. }
            | Control::SwapRefused { .. }
            | Control::ResumeWanted { .. }
            | Control::SkipWanted { .. }
            | Control::Checkpoint { .. }
            | Control::LetterClosed { .. }
            | Control::SchemaChanged { .. }
            | Control::PipelineRemoved { .. } => false,
        }
    }

    /// Whether what a source lost is of what it keeps, or of what a version that waits for its rows will keep.
    fn loses(&self, source: &Name, tables: Option<&[Name]>) -> bool {
        self.wants.loses(source, tables) || self.awaited.is_some_and(|asked| asked.loses(source, tables))
    }

    fn awaits(&self, part: &SnapshotPart) -> bool {
        &*part.pipeline == self.pipeline && self.awaited.is_some_and(|asked| asked.number == part.request)
    }

    fn is_told(&self, append: &Append, event: &Event) -> bool {
        let Some(contained) = self.contained.get(&append.source) else { return false };
        let Body::Change(change) = &event.body else { return false };
        if !contained.tables.contains(&change.table) {
            return false;
        }
        if contained.incarnation == append.incarnation {
            return event.position <= contained.position;
        }
        // Positions of two incarnations don't compare. What a rebuild reads again was there before
        // the rows were read; what comes later is of a newer one, and a gap tells of it.
        self.replayed_as.is_some()
    }
}

/// Where a transaction ended within the batch that is being cut.
#[derive(Clone, Copy)]
struct Boundary {
    references: usize,
    items: usize,
    through: Number,
}

struct Cutter {
    batch: Batch,
    size: Size,
    weight: usize,
    /// Where the batch begins.
    at: Number,
    /// The last end of a transaction.
    boundary: Boundary,
}

/// Cuts one batch from the records, beginning after `at`. `more`: the journal has records beyond
/// these.
pub(super) fn cut<'a>(
    records: impl Iterator<Item = &'a Arc<Record>>,
    at: Number,
    size: Size,
    view: &View<'_>,
    more: bool,
) -> Next {
    let mut cutter = Cutter {
        batch: Batch { through: at, ..Batch::default() },
        size,
        weight: 0,
        at,
        boundary: Boundary { references: 0, items: 0, through: at },
    };
    for record in records {
        if record.first > view.until {
            break;
        }
        match &record.body {
            RecordBody::Control(control) if view.concerns(control) => {
                return cutter.before(|| Next::Control(record.clone()));
            }
            RecordBody::Append(Append { snapshot: Some(part), .. }) if view.awaits(part) => {
                return cutter.before(|| Next::Snapshot(record.clone()));
            }
            RecordBody::Append(append) if append.snapshot.is_none() => {
                cutter.batch.moved = true;
                for event in append.events.iter().filter(|event| event.number > at && event.number <= view.until) {
                    if !cutter.take(append, event, view) {
                        return cutter.full();
                    }
                }
                if append.events.is_empty() {
                    cutter.batch.through = record.last;
                }
            }
            RecordBody::Append(_) | RecordBody::Commit(_) | RecordBody::Control(_) => {
                cutter.batch.through = record.last;
            }
        }
    }
    if more {
        // The rest of the transaction may only not be read yet.
        return cutter.full();
    }
    cutter.all()
}

impl Cutter {
    /// Puts an event into the batch; false if it has no place there any more.
    fn take(&mut self, append: &Append, event: &Arc<Event>, view: &View<'_>) -> bool {
        let told = view.is_told(append, event);
        let reference = !told && view.wants.reference(event).is_some();
        // A plugin that only looks a table up, or wants no rows of it, sees its changes all the same.
        let wanted = view.wants.mask(event) & if told { !view.wants.told(event) } else { Mask::MAX };
        if reference && !self.batch.items.is_empty() {
            // What comes before must not see the row as it is after.
            self.boundary = self.here();
            return false;
        }
        if reference || wanted != 0 {
            let weight = event.weight();
            let count = self.batch.items.len() + self.batch.references.len();
            if count > 0 && (count >= self.size.events || self.weight + weight > self.size.bytes) {
                return false;
            }
            self.weight += weight;
        }
        if reference {
            self.batch.references.push(event.clone());
        }
        if wanted != 0 {
            let origin = view.replayed_as.unwrap_or(&append.incarnation).clone();
            self.batch.items.push(Item { event: event.clone(), origin, wanted });
        }
        self.batch.through = event.number;
        if event.last_of_transaction {
            self.boundary = self.here();
        }
        true
    }

    fn here(&self) -> Boundary {
        Boundary { references: self.batch.references.len(), items: self.batch.items.len(), through: self.batch.through }
    }

    /// The batch up to the last end of a transaction; all of it if its only transaction is too large.
    fn full(mut self) -> Next {
        let Boundary { references, items, through } = self.boundary;
        if references + items > 0 {
            self.batch.references.truncate(references);
            self.batch.items.truncate(items);
            self.batch.through = through;
        }
        self.all()
    }

    /// What comes before a record that ends the batch, or that record if nothing does.
    fn before(self, record: impl FnOnce() -> Next) -> Next {
        if self.batch.is_empty() { record() } else { Next::Batch(self.batch) }
    }

    fn all(self) -> Next {
        if self.batch.through > self.at { Next::Batch(self.batch) } else { Next::Nothing }
    }
}
