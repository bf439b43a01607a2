//! One event, as a plugin's author sees it.

use crate::types::{self, event_flag};
use crate::{Json, Micros};

/// What was done to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// A row came.
    Insert,
    /// A row was changed.
    Update,
    /// A row went.
    Delete,
    /// All rows of the table went; there is no key and no row.
    Truncate,
    /// A row that was there before the plugin was.
    Snapshot,
}

/// What kind of event it is.
///
/// ```
/// use relevo_plugin::{Event, Kind, Operation};
/// fn is_new(event: &Event<'_>) -> bool {
///     matches!(event.kind(), Kind::Change(Operation::Insert | Operation::Snapshot))
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Kind {
    /// A row changed.
    Change(Operation),
    /// A client or the HTTP API sent something in.
    Published,
    /// A watermark: every source has delivered all that it committed up to
    /// [`committed_at`](Event::committed_at).
    Tick,
    /// Something that a newer host knows: pass it over.
    Unknown,
}

/// One event. It borrows from the batch; copy what must stay.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    arena: &'a str,
    head: &'a types::Event,
    table: Option<&'a types::Table>,
    source: &'a str,
    index: u32,
}

/// An event's place in the batch, to send a message for it later; see
/// [`Messages::send_at`](crate::Messages::send_at).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub(crate) u32);

impl<'a> Event<'a> {
    pub(crate) fn new(
        arena: &'a str,
        head: &'a types::Event,
        table: Option<&'a types::Table>,
        source: &'a str,
        index: u32,
    ) -> Self {
        Self { arena, head, table, source, index }
    }

    /// Its place in the batch.
    pub fn mark(&self) -> Mark {
        Mark(self.index)
    }

    /// Its number in the journal: rising, not dense.
    pub fn number(&self) -> u64 {
        self.head.number
    }

    /// When it was committed at its source; of a tick, the watermark.
    pub fn committed_at(&self) -> Micros {
        Micros(self.head.committed_us)
    }

    /// The name of its source, as the operator's configuration gives it.
    pub fn source(&self) -> &'a str {
        self.source
    }

    /// Equal for all events of one transaction, and rising.
    pub fn transaction(&self) -> u64 {
        self.head.transaction
    }

    /// It is the last of its transaction.
    pub fn is_last_of_transaction(&self) -> bool {
        self.head.flags & event_flag::LAST != 0
    }

    /// It is a dead letter that was replayed.
    pub fn is_late(&self) -> bool {
        self.head.flags & event_flag::LATE != 0
    }

    /// The state is being made anew; what is sent to stream channels goes nowhere.
    pub fn is_rebuild(&self) -> bool {
        self.head.flags & event_flag::REBUILD != 0
    }

    /// What kind of event it is.
    pub fn kind(&self) -> Kind {
        match (self.head.kind, self.head.operation) {
            (0, 0) => Kind::Change(Operation::Insert),
            (0, 1) => Kind::Change(Operation::Update),
            (0, 2) => Kind::Change(Operation::Delete),
            (0, 3) => Kind::Change(Operation::Truncate),
            (0, 4) => Kind::Change(Operation::Snapshot),
            (1, _) => Kind::Published,
            (2, _) => Kind::Tick,
            _ => Kind::Unknown,
        }
    }

    /// Of a change: the table's name; empty for other kinds.
    pub fn table(&self) -> &'a str {
        self.table.map_or("", |table| &table.name)
    }

    /// Of a change: the table's schema, `main` for SQLite; empty for other kinds.
    pub fn schema(&self) -> &'a str {
        self.table.map_or("", |table| &table.schema)
    }

    /// Of a change: the primary key as text, a JSON list where it has several columns.
    pub fn key(&self) -> &'a str {
        if self.head.kind == 0 { self.head.key.of(self.arena) } else { "" }
    }

    /// Of a change: the row before; missing for an insert, a snapshot and a truncate.
    pub fn before(&self) -> Json<'a> {
        Json::new(self.head.before.of(self.arena))
    }

    /// Of a change: the row after; missing for a delete and a truncate.
    pub fn after(&self) -> Json<'a> {
        if self.head.kind == 0 { Json::new(self.head.after.of(self.arena)) } else { Json::new("") }
    }

    /// Of an update: the names of the columns whose value differs.
    ///
    /// ```
    /// # use relevo_plugin::Event;
    /// fn moved(event: &Event<'_>) -> bool {
    ///     event.changed().iter().any(|column| column == "lat" || column == "lon")
    /// }
    /// ```
    pub fn changed(&self) -> Vec<String> {
        if self.head.kind != 0 {
            return Vec::new();
        }
        let list = Json::new(self.head.changed.of(self.arena)).items();
        list.iter().filter_map(|name| name.as_text().map(Into::into)).collect()
    }

    /// Of a change: the columns that were too large, so that the rows lack them, with their sizes
    /// in bytes.
    pub fn missing(&self) -> std::collections::BTreeMap<String, u64> {
        if self.head.kind != 0 {
            return Default::default();
        }
        let list = Json::new(self.head.changed.of(self.arena)).items();
        list.last().and_then(|last| last.field("missing").parse().ok()).unwrap_or_default()
    }

    /// Of a publication: the channel that it was sent to; empty for other kinds.
    pub fn channel(&self) -> &'a str {
        if self.head.kind == 1 { self.head.key.of(self.arena) } else { "" }
    }

    /// Of a publication: what was sent.
    pub fn data(&self) -> Json<'a> {
        if self.head.kind == 1 { Json::new(self.head.after.of(self.arena)) } else { Json::new("") }
    }

    /// Of a publication: the fields `type`, `event_type` and `by`, the user who sent it.
    ///
    /// ```
    /// # use relevo_plugin::{Event, Kind};
    /// fn is_alert(event: &Event<'_>) -> bool {
    ///     event.kind() == Kind::Published && event.published().text("event_type").is_ok_and(|t| t == "alert")
    /// }
    /// ```
    pub fn published(&self) -> Json<'a> {
        if self.head.kind == 1 { Json::new(self.head.changed.of(self.arena)) } else { Json::new("") }
    }
}
