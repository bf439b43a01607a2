//! Lookup: rows of reference tables, as they were at the batch's place in the journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::value::RawValue;
use wasmtime::component::{HasSelf, Linker};

use super::bindings::lookup as wit;
use super::error::Fault;
use super::host::Host;
use crate::event::Name;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)
}

impl wit::Host for Host {
    fn row(&mut self, table: String, key: String) -> wasmtime::Result<Option<String>> {
        let Some(columns) = self.manifest.lookup.get(table.as_str()) else {
            return Err(wasmtime::Error::new(Fault::BadOutput(format!(
                "lookup in table {table:?}, which its manifest does not name under [lookup]"
            ))));
        };
        let Some(row) = self.lookup.row(&table, &key) else { return Ok(None) };
        if self.lookup.has_others(&table, columns) {
            // They are for another plugin of the pipeline, and not granted to this one.
            return Ok(Some(cut(row, columns)?));
        }
        Ok(Some(row.as_ref().to_owned()))
    }
}

/// The row with the columns that are asked for, in the order asked; one that it lacks is left out.
///
/// # Errors
/// If the row is no JSON object.
pub fn cut(row: &str, columns: &[Box<str>]) -> serde_json::Result<String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(row)?;
    let mut out = String::from("{");
    for column in columns {
        if let Some(value) = members.get(&**column) {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&serde_json::to_string(column)?);
            out.push(':');
            out.push_str(value.get());
        }
    }
    out.push('}');
    Ok(out)
}

type Rows = BTreeMap<Box<str>, Arc<str>>;

/// The reference tables of a pipeline, shared by its plugins: rows are JSON objects, already cut to
/// the columns that are asked for. A clone shares them; the pipeline changes them between batches.
#[derive(Debug, Clone, Default)]
pub struct Lookup {
    tables: Arc<BTreeMap<Name, Rows>>,
    /// The columns that the rows have, where several plugins look them up.
    columns: Arc<BTreeMap<Name, BTreeSet<Box<str>>>>,
    bytes: u64,
}

/// What a row takes: its text, its key, and about as much as the tree needs for it.
fn weight(key: &str, row: &str) -> u64 {
    (key.len() + row.len() + 64) as u64
}

impl Lookup {
    pub fn new(tables: BTreeMap<Name, BTreeMap<Box<str>, Arc<str>>>) -> Self {
        let bytes = tables.values().flatten().map(|(key, row)| weight(key, row)).sum();
        Self { tables: Arc::new(tables), columns: Arc::default(), bytes }
    }

    /// The same, and which columns the rows have: a plugin gets none but its own.
    #[must_use]
    pub fn of_columns(self, columns: &BTreeMap<Name, BTreeSet<Box<str>>>) -> Self {
        Self { columns: Arc::new(columns.clone()), ..self }
    }

    /// Whether a table's rows have columns beside these.
    fn has_others(&self, table: &str, mine: &[Box<str>]) -> bool {
        self.columns.get(table).is_some_and(|columns| columns.iter().any(|column| !mine.contains(column)))
    }

    /// About how much memory all rows take, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A row, by its key as events have it.
    pub fn row(&self, table: &str, key: &str) -> Option<&Arc<str>> {
        self.tables.get(table)?.get(key)
    }

    /// All rows of a table, in the order of keys.
    pub fn rows(&self, table: &str) -> impl Iterator<Item = (&str, &Arc<str>)> {
        self.tables.get(table).into_iter().flatten().map(|(key, row)| (key.as_ref(), row))
    }

    /// Puts a row in.
    pub fn set(&mut self, table: &Name, key: &str, row: Arc<str>) {
        self.bytes += weight(key, &row);
        let rows = Arc::make_mut(&mut self.tables).entry(table.clone()).or_default();
        if let Some(old) = rows.insert(key.into(), row) {
            self.bytes -= weight(key, &old);
        }
    }

    /// Takes a row out, if it is there.
    pub fn remove(&mut self, table: &str, key: &str) {
        let rows = Arc::make_mut(&mut self.tables).get_mut(table);
        let old = rows.and_then(|rows| rows.remove(key));
        self.bytes -= old.map_or(0, |old| weight(key, &old));
    }

    /// Takes all rows of a table out.
    pub fn truncate(&mut self, table: &str) {
        let gone = Arc::make_mut(&mut self.tables).remove(table).unwrap_or_default();
        self.bytes -= gone.iter().map(|(key, row)| weight(key, row)).sum::<u64>();
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_row_is_cut_to_the_columns_asked_for() {
        let columns = ["id".into(), "nombre".into(), "falta".into()];
        let cut = cut(r#"{"nombre":"Ana","secreto":"x","id":7}"#, &columns).unwrap();
        assert_eq!(cut, r#"{"id":7,"nombre":"Ana"}"#);
    }
}
