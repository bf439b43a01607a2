//! Rows for generated events: made after samples where there are some, else of what is known of the
//! columns.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::samples::Samples;
use crate::event::{Body, Name, Operation};
use crate::sandbox::Manifest;

pub(super) type Row = Map<String, Value>;

/// What a column holds, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    Text,
    Integer,
    Number,
    Boolean,
    Moment,
}

/// What is known of the tables that a plugin wants to see.
#[derive(Debug, Default)]
pub(super) struct Tables(BTreeMap<Name, Columns>);

/// The values that a table's columns were seen with.
#[derive(Debug, Default)]
pub(super) struct Columns {
    seen: BTreeMap<String, Vec<Value>>,
    guessed: BTreeMap<String, Holds>,
}

impl Tables {
    pub(super) fn new(manifest: &Manifest, samples: &Samples) -> Self {
        let mut tables = Self::default();
        for table in manifest.events.keys() {
            tables.0.entry(table.clone()).or_default();
        }
        for (body, _) in &samples.events {
            let Body::Change(change) = body else { continue };
            for row in [&change.before, &change.after].into_iter().flatten() {
                tables.0.entry(change.table.clone()).or_default().see(row);
            }
        }
        for (table, columns) in &manifest.changed {
            let known = tables.0.entry(table.clone()).or_default();
            columns.iter().for_each(|column| _ = known.guess(column, Holds::Text));
        }
        for (table, columns) in &manifest.lookup {
            let known = tables.0.entry(table.clone()).or_default();
            for row in samples.lookup.get(table).into_iter().flat_map(|rows| rows.values()) {
                known.see(row);
            }
            for column in columns {
                known.guess(column, Holds::Text);
            }
        }
        tables
    }

    /// Columns that the manifest names under `changed` and that no sample row of their tables has.
    pub(super) fn unseen(&self, manifest: &Manifest) -> Vec<String> {
        let unseen = |(table, columns): (&Name, &Vec<Box<str>>)| {
            let seen = self.0.get(table).map(|known| &known.seen).filter(|seen| !seen.is_empty());
            let lacks = |column: &&str| seen.is_some_and(|seen| !seen.contains_key(*column));
            columns
                .iter()
                .map(AsRef::as_ref)
                .filter(lacks)
                .map(|column| format!("{table}.{column}"))
                .collect::<Vec<_>>()
        };
        manifest.changed.iter().flat_map(unseen).collect()
    }

    pub(super) fn of(&mut self, table: &Name) -> &mut Columns {
        self.0.entry(table.clone()).or_default()
    }
}

impl Columns {
    fn see(&mut self, row: &str) {
        let Ok(row) = serde_json::from_str::<Row>(row) else { return };
        for (column, value) in row {
            let values = self.seen.entry(column).or_default();
            if !values.contains(&value) {
                values.push(value);
            }
        }
    }

    /// Adds a column that no sample showed. True if it is new.
    pub(super) fn guess(&mut self, column: &str, holds: Holds) -> bool {
        let new = !self.seen.contains_key(column) && !self.guessed.contains_key(column);
        if new {
            self.guessed.insert(column.to_owned(), holds);
        }
        new
    }

    pub(super) fn names(&self) -> BTreeSet<String> {
        let id = std::iter::once("id".to_owned()).filter(|_| self.seen.is_empty());
        self.seen.keys().chain(self.guessed.keys()).cloned().chain(id).collect()
    }

    /// A row with this id.
    pub(super) fn row(&self, id: u64, random: &mut fastrand::Rng) -> Row {
        let mut row: Row = self.names().into_iter().map(|name| (name.clone(), self.value(&name, random))).collect();
        if let Some(key) = row.get_mut("id") {
            *key = if key.is_string() { json!(format!("id-{id}")) } else { json!(id) };
        }
        row
    }

    /// Some columns other than the key get other values.
    pub(super) fn change(&self, row: &mut Row, random: &mut fastrand::Rng) {
        let names: Vec<String> = row.keys().filter(|name| *name != "id").cloned().collect();
        for _ in 0..random.usize(0..=names.len().min(3)) {
            let name = &names[random.usize(..names.len())];
            row.insert(name.clone(), self.value(name, random));
        }
    }

    fn value(&self, column: &str, random: &mut fastrand::Rng) -> Value {
        match self.seen.get(column) {
            // Now and then one of the same type that no sample has.
            Some(values) if random.u8(..) < 230 => values[random.usize(..values.len())].clone(),
            Some(values) => like(&values[random.usize(..values.len())], random),
            None => match self.guessed.get(column) {
                Some(Holds::Integer) => json!(random.i64(0..20)),
                Some(Holds::Number) => json!(random.i64(-900..900) as f64 / 10.0),
                Some(Holds::Boolean) => json!(u8::from(random.bool())),
                Some(Holds::Moment) => json!(format!("2026-01-{:02}T08:00:00Z", random.u8(1..29))),
                Some(Holds::Text) | None => word(random),
            },
        }
    }
}

/// Another value of the same type.
fn like(value: &Value, random: &mut fastrand::Rng) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => json!(random.bool()),
        Value::Number(number) if number.is_f64() => json!(random.i64(-900..900) as f64 / 10.0),
        Value::Number(_) => json!(random.i64(0..1000)),
        // What means something (a label, a moment, JSON) is left alone as often as not.
        Value::String(text) if text.starts_with(['[', '{']) || random.bool() => value.clone(),
        Value::String(_) => word(random),
        other => other.clone(),
    }
}

fn word(random: &mut fastrand::Rng) -> Value {
    const WORDS: [&str; 8] = ["", "alfa", "Beta", "gamma delta", "ñandú", "100", "x-y_z", "🚀"];
    json!(WORDS[random.usize(..WORDS.len())])
}

/// The row's key as events have it.
pub(super) fn key(row: &Value) -> Box<str> {
    match row.get("id") {
        Some(Value::String(text)) => text.as_str().into(),
        None | Some(Value::Null) => Box::default(),
        Some(id) => id.to_string().into(),
    }
}

/// The columns whose value differs; only updates have some.
pub(super) fn changed(operation: Operation, before: Option<&str>, after: Option<&str>) -> Vec<Name> {
    if operation != Operation::Update {
        return Vec::new();
    }
    let read = |row: Option<&str>| row.and_then(|row| serde_json::from_str::<Row>(row).ok()).unwrap_or_default();
    let (before, after) = (read(before), read(after));
    let differs = after.iter().filter(|(name, value)| before.get(*name) != Some(value));
    differs.map(|(name, _)| name.as_str().into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_made_after_samples_and_after_what_was_learned() {
        let mut columns = Columns::default();
        assert_eq!(columns.names(), BTreeSet::from(["id".to_owned()]));
        columns.see(r#"{"id":1,"estado":"PAUSED"}"#);
        assert!(
            columns.guess("n", Holds::Integer)
                && !columns.guess("n", Holds::Text)
                && !columns.guess("estado", Holds::Text)
        );
        let mut random = fastrand::Rng::with_seed(1);
        let rows: Vec<Row> = (0..100).map(|id| columns.row(id, &mut random)).collect();
        assert!(
            rows.iter().enumerate().all(|(id, row)| row["id"] == id && row["n"].is_i64() && row["estado"].is_string())
        );
        assert!(rows.iter().filter(|row| row["estado"] == "PAUSED").count() > 80);
    }

    #[test]
    fn a_changed_row_keeps_its_key_and_names_what_changed() {
        let mut columns = Columns::default();
        columns.see(r#"{"id":"a","x":1,"y":2}"#);
        let mut row = columns.row(3, &mut fastrand::Rng::with_seed(1));
        assert_eq!(&*key(&Value::Object(row.clone())), "id-3");
        columns.change(&mut row, &mut fastrand::Rng::with_seed(2));
        assert_eq!(row["id"], "id-3");
        let changed = changed(Operation::Update, Some(r#"{"a":1,"b":2}"#), Some(r#"{"a":1,"b":3,"c":4}"#));
        assert_eq!(changed, ["b".into(), "c".into()] as [Name; 2]);
    }
}
