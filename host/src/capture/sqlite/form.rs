//! Forms: what the values of a change row are. A row says its form's number, and is read by it for
//! ever, whatever became of the table since.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::Name;

use super::schema::Table;
use super::value::write_text;

/// Under which number a form is kept in `_relevo_forms`. Rows of our own have the number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FormId(pub i64);

impl fmt::Display for FormId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A table as its triggers were made for it. Never changes: a table that does gets another form.
///
/// Of its `n` columns the change table holds the old values in `c0` to `c(n-1)` and the new ones in
/// `c(n)` to `c(2n-1)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub(crate) struct Form {
    stored: Stored,
    /// The columns' names as JSON has them before a value: `"a":`.
    labels: Vec<Box<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    table: Name,
    columns: Vec<Name>,
    key: Vec<usize>,
    rowid: bool,
    mark: Box<str>,
}

impl Form {
    /// Of a table, but for the columns that never enter. `mark`: see [`Form::mark`].
    pub(crate) fn new(table: &Table, excluded: &[String], mark: &str) -> Self {
        let columns: Vec<Name> = table
            .columns
            .iter()
            .filter(|column| !excluded.contains(&column.name))
            .map(|column| column.name.as_str().into())
            .collect();
        let key = table.key.iter().filter_map(|name| columns.iter().position(|column| **column == **name)).collect();
        let rowid = table.rowid.is_some() && (table.key.is_empty() || !table.key_is_never_null);
        Stored { table: table.name.as_str().into(), columns, key, rowid, mark: mark.into() }.into()
    }

    pub(crate) fn table(&self) -> &Name {
        &self.stored.table
    }

    /// The columns that enter, in the table's order.
    pub(crate) fn columns(&self) -> &[Name] {
        &self.stored.columns
    }

    /// Where the key's columns are among them, in the key's order; empty where none is declared.
    pub(crate) fn key(&self) -> &[usize] {
        &self.stored.key
    }

    /// The rowid enters too: it is the key, or the key where a part of the declared one is null.
    pub(crate) fn rowid(&self) -> bool {
        self.stored.rowid
    }

    /// What a BLOB begins with that stands for a value too large to enter: 32 random characters, which
    /// no value begins with by chance.
    pub(crate) fn mark(&self) -> &str {
        &self.stored.mark
    }

    pub(crate) fn labels(&self) -> &[Box<str>] {
        &self.labels
    }
}

impl From<Stored> for Form {
    fn from(stored: Stored) -> Self {
        let label = |name: &str| {
            let mut label = String::with_capacity(name.len() + 3);
            write_text(name, &mut label);
            label.push(':');
            label.into_boxed_str()
        };
        let labels = stored.columns.iter().map(|name| label(name)).collect();
        Self { stored, labels }
    }
}

impl From<Form> for Stored {
    fn from(form: Form) -> Self {
        form.stored
    }
}
