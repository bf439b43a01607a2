//! Events for a plugin under test.

use serde_json::{Map, Value};

use crate::types::{Span, event_flag};

/// An event to feed; see [`insert`], [`update`], [`delete`], [`truncate`], [`snapshot`], [`tick`]
/// and [`publish`].
///
/// ```
/// use relevo_plugin::test::{Input, insert};
/// use serde_json::json;
/// let late: Input = insert("tareas", json!({ "id": 7 })).at(1_795_568_523_456_000).late();
/// ```
#[derive(Clone, Debug)]
pub struct Input {
    pub(super) kind: u8,
    pub(super) operation: u8,
    pub(super) table: String,
    pub(super) key: String,
    pub(super) before: Option<Value>,
    pub(super) after: Option<Value>,
    pub(super) meta: Option<Value>,
    pub(super) at: Option<u64>,
    pub(super) flags: u32,
}

impl Input {
    fn change(operation: u8, table: &str, before: Option<Value>, after: Option<Value>) -> Self {
        let key = after.as_ref().or(before.as_ref()).map_or_else(String::new, |row| match &row["id"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            id => id.to_string(),
        });
        let flags = event_flag::LAST;
        Self { kind: 0, operation, table: table.into(), key, before, after, meta: None, at: None, flags }
    }

    /// Committed at this moment, in microseconds since 1970. Without it, the last event's moment.
    ///
    /// ```
    /// # use relevo_plugin::test::*;
    /// # use serde_json::json;
    /// see(insert("t", json!({})).at(5), |event| assert_eq!(event.committed_at().0, 5));
    /// ```
    #[must_use]
    pub fn at(mut self, micros: u64) -> Self {
        self.at = Some(micros);
        self
    }

    /// With this primary key. Without it, the row's `id`.
    ///
    /// ```
    /// # use relevo_plugin::test::*;
    /// # use serde_json::json;
    /// see(insert("t", json!({})).key("[1,2]"), |event| assert_eq!(event.key(), "[1,2]"));
    /// ```
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = key.into();
        self
    }

    /// While the state is made anew. Snapshot rows are anyway.
    ///
    /// ```
    /// # use relevo_plugin::test::*;
    /// # use serde_json::json;
    /// see(insert("t", json!({})).rebuild(), |event| assert!(event.is_rebuild()));
    /// ```
    #[must_use]
    pub fn rebuild(mut self) -> Self {
        self.flags |= event_flag::REBUILD;
        self
    }

    /// Without this column, which was too large for the journal: `bytes` of it.
    ///
    /// ```
    /// # use relevo_plugin::test::*;
    /// # use serde_json::json;
    /// see(insert("t", json!({ "id": 1 })).missing("imagen", 9_000_000), |event| {
    ///     assert_eq!(event.after().left_out("imagen"), Some(9_000_000));
    /// });
    /// ```
    #[must_use]
    pub fn missing(mut self, column: &str, bytes: u64) -> Self {
        for row in [&mut self.before, &mut self.after].into_iter().flatten() {
            if let Some(row) = row.as_object_mut() {
                row.remove(column);
            }
        }
        let mut changed = match self.meta.take() {
            Some(Value::Array(changed)) => changed,
            _ => Vec::new(),
        };
        match changed.last_mut().and_then(|last| last.get_mut("missing")).and_then(Value::as_object_mut) {
            Some(missing) => drop(missing.insert(column.into(), bytes.into())),
            None => changed.push(serde_json::json!({ "missing": { column: bytes } })),
        }
        self.meta = Some(changed.into());
        self
    }

    /// A dead letter that is replayed.
    ///
    /// ```
    /// # use relevo_plugin::test::*;
    /// # use serde_json::json;
    /// see(insert("t", json!({})).late(), |event| assert!(event.is_late()));
    /// ```
    #[must_use]
    pub fn late(mut self) -> Self {
        self.flags |= event_flag::LATE;
        self
    }
}

/// A row came.
///
/// ```
/// # use relevo_plugin::test::*;
/// # use serde_json::json;
/// see(insert("t", json!({ "id": 7 })), |event| assert_eq!(event.key(), "7"));
/// ```
pub fn insert(table: &str, row: Value) -> Input {
    Input::change(0, table, None, Some(row))
}

/// A row was changed; the changed columns are worked out.
///
/// ```
/// # use relevo_plugin::test::*;
/// # use serde_json::json;
/// see(update("t", json!({ "a": 1, "b": 1 }), json!({ "a": 2, "b": 1 })), |event| assert_eq!(event.changed(), ["a"]));
/// ```
pub fn update(table: &str, before: Value, after: Value) -> Input {
    let changed = changed(&before, &after);
    Input { meta: Some(changed), ..Input::change(1, table, Some(before), Some(after)) }
}

/// A row went.
///
/// ```
/// # use relevo_plugin::test::*;
/// # use serde_json::json;
/// see(delete("t", json!({ "id": 7 })), |event| assert!(event.after().is_missing()));
/// ```
pub fn delete(table: &str, row: Value) -> Input {
    Input::change(2, table, Some(row), None)
}

/// All rows went.
///
/// ```
/// # use relevo_plugin::test::*;
/// # use serde_json::json;
/// see(truncate("t"), |event| assert_eq!(event.key(), ""));
/// ```
pub fn truncate(table: &str) -> Input {
    Input::change(3, table, None, None)
}

/// A row that was there already.
///
/// ```
/// # use relevo_plugin::test::*;
/// # use serde_json::json;
/// see(snapshot("t", json!({ "id": 7 })), |event| assert!(event.is_rebuild()));
/// ```
pub fn snapshot(table: &str, row: Value) -> Input {
    Input::change(4, table, None, Some(row)).rebuild()
}

/// A watermark.
///
/// ```
/// # use relevo_plugin::test::*;
/// # use serde_json::json;
/// see(tick(60_000_000), |event| assert_eq!(event.committed_at().minutes(), 1));
/// ```
pub fn tick(micros: u64) -> Input {
    Input { kind: 2, ..Input::change(0, "", None, None) }.at(micros)
}

/// A publication.
///
/// ```
/// # use relevo_plugin::test::*;
/// # use serde_json::json;
/// see(publish("system", "alert", json!(1)), |event| assert_eq!(event.published().text("event_type").unwrap(), "alert"));
/// ```
pub fn publish(channel: &str, event_type: &str, data: Value) -> Input {
    let meta = serde_json::json!({ "type": "system_event", "event_type": event_type, "by": "1" });
    Input { kind: 1, meta: Some(meta), ..Input::change(0, "", None, Some(data)) }.key(channel)
}

fn changed(before: &Value, after: &Value) -> Value {
    let none = Map::new();
    let (before, after) = (before.as_object().unwrap_or(&none), after.as_object().unwrap_or(&none));
    let mut names: Vec<_> = after.iter().filter(|(name, value)| before.get(*name) != Some(value)).collect();
    names.extend(before.iter().filter(|(name, _)| !after.contains_key(*name)));
    names.into_iter().map(|(name, _)| Value::from(name.as_str())).collect()
}

/// Writes texts one after the other, as the host does.
pub(super) fn write(arena: &mut Vec<u8>, text: Option<String>) -> Span {
    let text = text.unwrap_or_default();
    let start = arena.len();
    arena.extend_from_slice(text.as_bytes());
    crate::messages::span(start, arena.len())
}
