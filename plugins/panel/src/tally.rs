//! How many rows of a table there are for each label and group: one counter for each pair.

use std::borrow::Cow;

use relevo_plugin::{Error, Json, state};

/// A table, counted by two of its columns. Counters are the state `NAME["LABEL","GROUP"]`, those
/// that came to zero are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) name: &'static str,
    pub(crate) label: &'static str,
    pub(crate) group: &'static str,
}

/// A counter, read.
pub(crate) struct Count {
    pub(crate) label: String,
    pub(crate) group: Option<String>,
    pub(crate) rows: i64,
}

impl Tally {
    /// Counts `before` down and `after` up, where they count at all; tells whether that made a
    /// difference.
    pub(crate) fn replace(&self, before: &Json<'_>, after: &Json<'_>) -> Result<bool, Error> {
        let (before, after) = (self.key_of(before)?, self.key_of(after)?);
        if before == after {
            return Ok(false);
        }
        for (key, by) in [(before, -1), (after, 1)] {
            let Some(key) = key else { continue };
            let count = state::add(&key, by);
            crate::check(&key, count);
            if count == 0 {
                state::delete(&key);
            }
        }
        Ok(true)
    }

    /// All rows went.
    pub(crate) fn clear(&self) -> Result<bool, Error> {
        let mut any = false;
        for entry in state::scan::<i64>(self.name) {
            state::delete(&entry?.0);
            any = true;
        }
        Ok(any)
    }

    /// All counters, in the order of their keys.
    pub(crate) fn counts(&self) -> Result<Vec<Count>, Error> {
        let read = |entry: Result<(String, i64), Error>| {
            let (key, rows) = entry?;
            let pair = key.strip_prefix(self.name).unwrap_or_default();
            let (label, group) = Json::new(pair).parse()?;
            Ok(Count { label, group, rows })
        };
        state::scan(self.name).map(read).collect()
    }

    /// A row's label; none where the row doesn't count.
    pub(crate) fn label_of<'a>(&self, row: &Json<'a>) -> Option<Cow<'a, str>> {
        if row.is_missing() || !row.field("deleted_at").is_null() {
            return None;
        }
        Some(row.field(self.label).as_text().unwrap_or_default())
    }

    fn key_of(&self, row: &Json<'_>) -> Result<Option<String>, Error> {
        let Some(label) = self.label_of(row) else { return Ok(None) };
        // A JSON list: no label or group can be mistaken for two.
        let pair = serde_json::to_string(&(label, row.field(self.group).as_text()))?;
        Ok(Some(format!("{}{pair}", self.name)))
    }
}
