//! From a row of the change table to an event's body: JSON as the triggers wrote it is put right,
//! and what differs is found.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::{Change, Missing, Name, Operation};

/// A row of the change table.
#[derive(Debug, Clone)]
pub(crate) struct ChangeRow {
    pub seq: u64,
    pub table: Name,
    pub op: u8,
    pub key: String,
    pub old: Option<String>,
    pub new: Option<String>,
    pub token: Box<str>,
}

impl ChangeRow {
    pub(crate) fn weight(&self) -> usize {
        self.key.len() + self.old.as_ref().map_or(0, String::len) + self.new.as_ref().map_or(0, String::len) + 96
    }

    /// The change; none where nothing changed (an update to the values that were there already, or
    /// of excluded columns alone) and for our own marks.
    pub(crate) fn into_change(self) -> Option<Change> {
        let operation = match self.op {
            b'I' => Operation::Insert,
            b'U' => Operation::Update,
            b'D' => Operation::Delete,
            b'T' => Operation::Truncate,
            _ => return None,
        };
        let change = change(self.table, operation, self.key, self.old.as_deref(), self.new.as_deref());
        (operation != Operation::Update || !change.changed.is_empty()).then_some(change)
    }
}

/// Makes a change of rows as the triggers' SQL writes them.
pub(crate) fn change(table: Name, operation: Operation, key: String, old: Option<&str>, new: Option<&str>) -> Change {
    let mut missing = Vec::new();
    let old = old.map(|row| Row::read(row, &mut missing));
    let new = new.map(|row| Row::read(row, &mut missing));
    let changed = match (&old, &new) {
        (Some(old), Some(new)) => differing(old, new),
        _ => Vec::new(),
    };
    Change {
        schema: "main".into(),
        table,
        operation,
        key: key.into(),
        before: old.map(|row| row.json()),
        after: new.map(|row| row.json()),
        changed,
        missing,
    }
}

fn differing(old: &Row<'_>, new: &Row<'_>) -> Vec<Box<str>> {
    let mut changed = Vec::new();
    for (place, (name, value)) in new.columns.iter().enumerate() {
        // Nearly always both rows have the same columns in the same order.
        let before = match old.columns.get(place) {
            Some((other, before)) if other == name => Some(before),
            _ => old.columns.iter().find(|(other, _)| other == name).map(|(_, before)| before),
        };
        let same = match (value, before) {
            (Value::Large { same: Some(same), .. }, _) => *same,
            (value, before) => Some(value) == before,
        };
        if !same {
            changed.push(name.as_ref().into());
        }
    }
    changed
}

/// A row's columns in the table's order.
struct Row<'a> {
    columns: Vec<(Cow<'a, str>, Value<'a>)>,
}

#[derive(PartialEq)]
enum Value<'a> {
    Json(Cow<'a, str>),
    /// Too large to enter: its size, and for an update whether it is the same as before.
    Large {
        bytes: u64,
        same: Option<bool>,
    },
}

impl<'a> Row<'a> {
    /// Reads a row and names what is too large to be in it.
    fn read(row: &'a str, missing: &mut Vec<Missing>) -> Self {
        // The triggers write JSON and nothing else does; a row that isn't any is shown as empty
        // rather than stopping all others.
        let Parts(columns) = serde_json::from_str(row).unwrap_or_else(|error| {
            tracing::error!(%error, "a row of the change table is no JSON");
            Parts(Vec::new())
        });
        for (name, value) in &columns {
            if let Value::Large { bytes, .. } = value
                && !missing.iter().any(|m| m.column.as_ref() == name)
            {
                missing.push(Missing { column: name.as_ref().into(), bytes: *bytes });
            }
        }
        Self { columns }
    }

    fn json(&self) -> Box<str> {
        let room = self
            .columns
            .iter()
            .map(|(name, value)| name.len() + 6 + if let Value::Json(json) = value { json.len() } else { 0 });
        let mut out = Vec::with_capacity(room.sum::<usize>() + 2);
        out.push(b'{');
        for (name, value) in &self.columns {
            let Value::Json(json) = value else { continue };
            if out.len() > 1 {
                out.push(b',');
            }
            // Writing a text into memory can't fail.
            let _ = name.serialize(&mut serde_json::Serializer::new(&mut out));
            out.push(b':');
            out.extend_from_slice(json.as_bytes());
        }
        out.push(b'}');
        String::from_utf8(out).unwrap_or_default().into_boxed_str()
    }
}

impl<'a> Value<'a> {
    fn read(raw: &'a RawValue) -> Self {
        let raw = raw.get();
        match raw.as_bytes().first() {
            Some(b'[') => {
                #[derive(Deserialize)]
                struct Large(u64, #[serde(default)] Option<u8>);
                let large = serde_json::from_str(raw).unwrap_or(Large(0, None));
                Self::Large { bytes: large.0, same: large.1.map(|same| same != 0) }
            }
            // The triggers write reals with 18 digits (17 aren't enough for SQLite's own
            // rounding); this is the shortest text that means the same.
            Some(b'-' | b'0'..=b'9') if raw.contains(['.', 'e']) => match raw.parse::<f64>() {
                Ok(real) => Self::Json(serde_json::to_string(&real).map_or(Cow::Borrowed(raw), Cow::Owned)),
                Err(_) => Self::Json(Cow::Borrowed(raw)),
            },
            _ => Self::Json(Cow::Borrowed(raw)),
        }
    }
}

/// An object, or an array of objects that are one row together.
struct Parts<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'de> Deserialize<'de> for Parts<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Parts<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
                let mut columns = Vec::new();
                while let Some(Text(name)) = map.next_key()? {
                    columns.push((name, Value::read(map.next_value::<&RawValue>()?)));
                }
                Ok(Parts(columns))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parts<'de>, A::Error> {
                let mut columns = Vec::new();
                while let Some(Parts(more)) = seq.next_element()? {
                    columns.extend(more);
                }
                Ok(Parts(columns))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A text that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::{Operation, change};

    fn update(old: &str, new: &str) -> crate::event::Change {
        change("t".into(), Operation::Update, "1".into(), Some(old), Some(new))
    }

    #[test]
    fn what_differs_is_named() {
        let change = update(r#"{"id":1,"a":"x","b":1.0,"c":null}"#, r#"{"id":1,"a":"y","b":1,"c":null}"#);
        assert_eq!(change.changed, ["a".into(), "b".into()]);
        assert_eq!(change.after.as_deref(), Some(r#"{"id":1,"a":"y","b":1,"c":null}"#));
    }

    #[test]
    fn reals_are_written_as_people_write_them() {
        let change = update(
            r#"{"a":0.10000000000000001}"#,
            r#"{"a":-34.603700000000003,"b":1.0e+300,"c":"0.10000000000000001"}"#,
        );
        assert_eq!(change.before.as_deref(), Some(r#"{"a":0.1}"#));
        assert_eq!(change.after.as_deref(), Some(r#"{"a":-34.6037,"b":1e+300,"c":"0.10000000000000001"}"#));
    }

    #[test]
    fn a_wide_row_is_put_together() {
        let change = update(r#"[{"a":1,"b\"":2},{"c":3}]"#, r#"[{"a":1,"b\"":2},{"c":4}]"#);
        assert_eq!(change.after.as_deref(), Some(r#"{"a":1,"b\"":2,"c":4}"#));
        assert_eq!(change.changed, ["c".into()]);
    }

    #[test]
    fn a_value_that_was_too_large_is_missing_with_its_size() {
        let same = update(r#"{"a":1,"b":[600000]}"#, r#"{"a":1,"b":[600000,1]}"#);
        assert!(same.changed.is_empty(), "the same large value is no change");
        let other = update(r#"{"a":1,"b":[600000]}"#, r#"{"a":1,"b":[600000,0]}"#);
        assert_eq!(other.changed, ["b".into()], "as large as before, and yet another");
        assert_eq!(other.missing.len(), 1);
        assert_eq!((other.missing[0].column.as_ref(), other.missing[0].bytes), ("b", 600_000));
        assert_eq!(other.after.as_deref(), Some(r#"{"a":1}"#));
        let now_large = update(r#"{"a":1,"b":"x"}"#, r#"{"a":1,"b":[600000,0]}"#);
        assert_eq!(now_large.changed, ["b".into()]);
    }
}
