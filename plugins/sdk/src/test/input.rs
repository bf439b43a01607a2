//! Events for a plugin under test.

use serde_json::{Map, Value};

use crate::types::{Span, event_flag};

/// An event to feed; see [`insert`], [`update`], [`delete`], [`truncate`], [`snapshot`], [`tick`]
/// and [`publish`].
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
    #[must_use]
    pub fn at(mut self, micros: u64) -> Self {
        self.at = Some(micros);
        self
    }

    /// With this primary key. Without it, the row's `id`.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = key.into();
        self
    }

    /// While the state is made anew. Snapshot rows are anyway.
    #[must_use]
    pub fn rebuild(mut self) -> Self {
        self.flags |= event_flag::REBUILD;
        self
    }

    /// A dead letter that is replayed.
    #[must_use]
    pub fn late(mut self) -> Self {
        self.flags |= event_flag::LATE;
        self
    }
}

/// A row came.
pub fn insert(table: &str, row: Value) -> Input {
    Input::change(0, table, None, Some(row))
}

/// A row was changed; the changed columns are worked out.
pub fn update(table: &str, before: Value, after: Value) -> Input {
    let changed = changed(&before, &after);
    Input { meta: Some(changed), ..Input::change(1, table, Some(before), Some(after)) }
}

/// A row went.
pub fn delete(table: &str, row: Value) -> Input {
    Input::change(2, table, Some(row), None)
}

/// All rows went.
pub fn truncate(table: &str) -> Input {
    Input::change(3, table, None, None)
}

/// A row that was there already.
pub fn snapshot(table: &str, row: Value) -> Input {
    Input::change(4, table, None, Some(row)).rebuild()
}

/// A watermark.
pub fn tick(micros: u64) -> Input {
    Input { kind: 2, ..Input::change(0, "", None, None) }.at(micros)
}

/// A publication.
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
