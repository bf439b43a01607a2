//! One event, as a plugin's author sees it.

use crate::types::{self, event_flag};
use crate::{Json, Micros};

/// What was done to a row.
///
/// ```
/// use relevo_plugin::{Event, Kind, Operation};
/// fn goes(event: &Event<'_>) -> bool {
///     matches!(event.kind(), Kind::Change(Operation::Delete | Operation::Truncate))
/// }
/// ```
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
///
/// ```
/// use relevo_plugin::{Error, Event};
/// fn title(event: &Event<'_>) -> Result<String, Error> {
///     Ok(event.after().text("titulo")?.into_owned())
/// }
/// ```
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
///
/// ```
/// use relevo_plugin::{Event, Mark};
/// fn remember(event: &Event<'_>, last: &mut Option<Mark>) {
///     *last = Some(event.mark());
/// }
/// ```
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
    ///
    /// ```
    /// use relevo_plugin::Mark;
    /// use relevo_plugin::test::{see, tick};
    /// let first: Mark = see(tick(5), |event| event.mark());
    /// ```
    pub fn mark(&self) -> Mark {
        Mark(self.index)
    }

    /// Its number in the journal: rising, not dense.
    ///
    /// ```
    /// use relevo_plugin::test::{see, tick};
    /// see(tick(5), |event| assert_eq!(event.number(), 1));
    /// ```
    pub fn number(&self) -> u64 {
        self.head.number
    }

    /// When it was committed at its source; of a tick, the watermark.
    ///
    /// ```
    /// use relevo_plugin::Micros;
    /// use relevo_plugin::test::{see, tick};
    /// see(tick(5), |event| assert_eq!(event.committed_at(), Micros(5)));
    /// ```
    pub fn committed_at(&self) -> Micros {
        Micros(self.head.committed_us)
    }

    /// The name of its source, as the operator's configuration gives it.
    ///
    /// ```
    /// use relevo_plugin::test::{insert, see};
    /// see(insert("t", serde_json::json!({})), |event| assert_eq!(event.source(), "db"));
    /// ```
    pub fn source(&self) -> &'a str {
        self.source
    }

    /// Equal for all events of one transaction, and rising.
    ///
    /// ```
    /// # use relevo_plugin::Event;
    /// fn same(one: &Event<'_>, other: &Event<'_>) -> bool {
    ///     one.source() == other.source() && one.transaction() == other.transaction()
    /// }
    /// ```
    pub fn transaction(&self) -> u64 {
        self.head.transaction
    }

    /// It is the last of its transaction.
    ///
    /// ```
    /// use relevo_plugin::test::{insert, see};
    /// // A test's events are transactions of one event each.
    /// see(insert("t", serde_json::json!({})), |event| assert!(event.is_last_of_transaction()));
    /// ```
    pub fn is_last_of_transaction(&self) -> bool {
        self.head.flags & event_flag::LAST != 0
    }

    /// It is a dead letter that was replayed.
    ///
    /// ```
    /// use relevo_plugin::test::{insert, see};
    /// see(insert("t", serde_json::json!({})).late(), |event| assert!(event.is_late()));
    /// ```
    pub fn is_late(&self) -> bool {
        self.head.flags & event_flag::LATE != 0
    }

    /// The state is being made anew; what is sent to stream channels goes nowhere.
    ///
    /// ```
    /// use relevo_plugin::test::{see, snapshot};
    /// see(snapshot("t", serde_json::json!({})), |event| assert!(event.is_rebuild()));
    /// ```
    pub fn is_rebuild(&self) -> bool {
        self.head.flags & event_flag::REBUILD != 0
    }

    /// What kind of event it is.
    ///
    /// ```
    /// use relevo_plugin::test::{see, truncate};
    /// use relevo_plugin::{Kind, Operation};
    /// see(truncate("t"), |event| assert_eq!(event.kind(), Kind::Change(Operation::Truncate)));
    /// ```
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

    /// Of a change: the table's name, as the manifest has it: `SCHEMA.TABLE` of a PostgreSQL table outside
    /// `public`. Empty for other kinds.
    ///
    /// ```
    /// use relevo_plugin::test::{see, truncate};
    /// see(truncate("tareas"), |event| assert_eq!(event.table(), "tareas"));
    /// ```
    pub fn table(&self) -> &'a str {
        self.table.map_or("", |table| &table.name)
    }

    /// Of a change: the table's schema, `main` for SQLite; empty for other kinds.
    ///
    /// ```
    /// use relevo_plugin::test::{see, truncate};
    /// see(truncate("tareas"), |event| assert_eq!(event.schema(), "main"));
    /// ```
    pub fn schema(&self) -> &'a str {
        self.table.map_or("", |table| &table.schema)
    }

    /// Of a change: the primary key as text, a JSON list where it has several columns.
    ///
    /// ```
    /// use relevo_plugin::test::{insert, see};
    /// see(insert("tareas", serde_json::json!({ "id": 7 })), |event| assert_eq!(event.key(), "7"));
    /// ```
    pub fn key(&self) -> &'a str {
        if self.head.kind == 0 { self.head.key.of(self.arena) } else { "" }
    }

    /// Of a change: the row before; missing for an insert, a snapshot and a truncate.
    ///
    /// ```
    /// use relevo_plugin::test::{delete, see};
    /// see(delete("t", serde_json::json!({ "n": 1 })), |event| assert_eq!(event.before().integer("n"), Ok(1)));
    /// ```
    pub fn before(&self) -> Json<'a> {
        Json::row(self.head.before.of(self.arena), self.head.changed.of(self.arena))
    }

    /// Of a change: the row after; missing for a delete and a truncate.
    ///
    /// ```
    /// use relevo_plugin::test::{insert, see};
    /// see(insert("t", serde_json::json!({ "n": 1 })), |event| assert_eq!(event.after().integer("n"), Ok(1)));
    /// ```
    pub fn after(&self) -> Json<'a> {
        if self.head.kind != 0 {
            return Json::new("");
        }
        Json::row(self.head.after.of(self.arena), self.head.changed.of(self.arena))
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

    /// Of an update: whether this column's value differs.
    ///
    /// ```
    /// # use relevo_plugin::Event;
    /// fn moved(event: &Event<'_>) -> bool {
    ///     event.has_changed("lat") || event.has_changed("lon")
    /// }
    /// ```
    pub fn has_changed(&self, column: &str) -> bool {
        self.head.kind == 0 && Json::new(self.head.changed.of(self.arena)).lists(column)
    }

    /// Of a change: the columns that were too large for the journal, so that the rows lack them, with
    /// their sizes in bytes; see [`Json::left_out`].
    ///
    /// ```
    /// use relevo_plugin::test::{insert, see};
    /// see(insert("fotos", serde_json::json!({ "id": 1 })).missing("imagen", 9_000_000), |event| {
    ///     assert_eq!(event.missing()["imagen"], 9_000_000);
    /// });
    /// ```
    pub fn missing(&self) -> std::collections::BTreeMap<String, u64> {
        if self.head.kind != 0 {
            return Default::default();
        }
        let list = Json::new(self.head.changed.of(self.arena)).items();
        list.last().and_then(|last| last.field("missing").parse().ok()).unwrap_or_default()
    }

    /// Of a publication: the channel that it was sent to; empty for other kinds.
    ///
    /// ```
    /// use relevo_plugin::test::{publish, see};
    /// see(publish("system", "alert", serde_json::json!(1)), |event| assert_eq!(event.channel(), "system"));
    /// ```
    pub fn channel(&self) -> &'a str {
        if self.head.kind == 1 { self.head.key.of(self.arena) } else { "" }
    }

    /// Of a publication: what was sent.
    ///
    /// ```
    /// use relevo_plugin::test::{publish, see};
    /// see(publish("system", "alert", serde_json::json!({ "n": 1 })), |event| {
    ///     assert_eq!(event.data().integer("n"), Ok(1));
    /// });
    /// ```
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
