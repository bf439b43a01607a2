//! From a row of the change table to an event's body: what the triggers wrote becomes JSON, and what
//! differs is found.

use std::borrow::Cow;

use crate::event::{Change, Missing, Name, Operation};

use super::literal::{self, Value};

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
        let change = change(self.table, operation, &self.key, self.old.as_deref(), self.new.as_deref());
        (operation != Operation::Update || !change.changed.is_empty()).then_some(change)
    }
}

/// Makes a change of key and rows as the triggers' SQL writes them.
pub(crate) fn change(table: Name, operation: Operation, key: &str, old: Option<&str>, new: Option<&str>) -> Change {
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
        // Nothing but the triggers writes keys; a truncate has none.
        key: literal::key(key).unwrap_or_else(|| key.to_owned()).into(),
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

impl<'a> Row<'a> {
    /// Reads a row and names what is too large to be in it.
    fn read(row: &'a str, missing: &mut Vec<Missing>) -> Self {
        // Nothing but the triggers writes rows; one that can't be read is shown as empty rather than
        // stopping all others.
        let columns = literal::row(row).unwrap_or_else(|| {
            tracing::error!("a row of the change table can't be read");
            Vec::new()
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
        let mut out = String::with_capacity(room.sum::<usize>() + 2);
        out.push('{');
        for (name, value) in &self.columns {
            let Value::Json(json) = value else { continue };
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&literal::json_text(name));
            out.push(':');
            out.push_str(json);
        }
        out.push('}');
        out.into_boxed_str()
    }
}

#[cfg(test)]
mod tests {
    use super::{Operation, change};

    fn update(old: &str, new: &str) -> crate::event::Change {
        change("t".into(), Operation::Update, "1", Some(old), Some(new))
    }

    #[test]
    fn what_differs_is_named() {
        let change = update(r#""id":1,"a":'x',"b":1.0,"c":NULL"#, r#""id":1,"a":'y',"b":1,"c":NULL"#);
        assert_eq!(change.changed, ["a".into(), "b".into()]);
        assert_eq!(change.after.as_deref(), Some(r#"{"id":1,"a":"y","b":1,"c":null}"#));
    }

    #[test]
    fn a_value_that_was_too_large_is_missing_with_its_size() {
        let same = update(r#""a":1,"b":?600000"#, r#""a":1,"b":?600000=1"#);
        assert!(same.changed.is_empty(), "the same large value is no change");
        let other = update(r#""a":1,"b":?600000"#, r#""a":1,"b":?600000=0"#);
        assert_eq!(other.changed, ["b".into()], "as large as before, and yet another");
        assert_eq!(other.missing.len(), 1);
        assert_eq!((other.missing[0].column.as_ref(), other.missing[0].bytes), ("b", 600_000));
        assert_eq!(other.after.as_deref(), Some(r#"{"a":1}"#));
        let now_large = update(r#""a":1,"b":'x'"#, r#""a":1,"b":?600000=0"#);
        assert_eq!(now_large.changed, ["b".into()]);
    }
}
