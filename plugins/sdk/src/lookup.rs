//! Rows of the reference tables that the manifest names, as they were at this batch's place in the
//! journal, however far behind the pipeline is.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::Json;
use crate::backend::lookup as host;

/// The row with this primary key (as text), with the columns that the manifest names.
///
/// A batch never spans a change of a reference table, so within one the host is asked for a row once.
///
/// ```
/// use relevo_plugin::{Error, lookup};
/// fn name(user: i64) -> Result<Option<String>, Error> {
///     let Some(row) = lookup::row("usuarios", &user.to_string()) else { return Ok(None) };
///     Ok(Some(row.text("nombre")?.into_owned()))
/// }
/// ```
pub fn row(table: &str, key: &str) -> Option<Json<'static>> {
    SEEN.with_borrow_mut(|seen| match seen {
        Some(seen) => seen.row(table, key),
        None => host::row(table, key),
    })
    .map(Json::looked_up)
}

thread_local! {
    /// None outside of a batch.
    static SEEN: RefCell<Option<Seen>> = const { RefCell::new(None) };
}

/// How many bytes of rows are remembered: a batch may look at more rows than a plugin's memory holds.
const KEPT: usize = 1 << 20;

/// The rows that the batch at hand has looked up.
#[derive(Default)]
struct Seen {
    tables: BTreeMap<Box<str>, BTreeMap<Box<str>, Option<String>>>,
    bytes: usize,
}

impl Seen {
    fn row(&mut self, table: &str, key: &str) -> Option<String> {
        if let Some(row) = self.tables.get(table).and_then(|rows| rows.get(key)) {
            return row.clone();
        }
        let row = host::row(table, key);
        let bytes = key.len() + row.as_ref().map_or(0, String::len);
        if self.bytes + bytes <= KEPT {
            self.bytes += bytes;
            if !self.tables.contains_key(table) {
                self.tables.insert(table.into(), BTreeMap::new());
            }
            if let Some(rows) = self.tables.get_mut(table) {
                rows.insert(key.into(), row.clone());
            }
        }
        row
    }
}

/// Remembers rows as long as it lives: for one batch.
pub(crate) struct Remembering(());

impl Remembering {
    pub(crate) fn begin() -> Self {
        SEEN.set(Some(Seen::default()));
        Self(())
    }
}

impl Drop for Remembering {
    fn drop(&mut self) {
        SEEN.set(None);
    }
}
