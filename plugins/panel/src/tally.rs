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

/// Under what a row counts.
#[derive(PartialEq, Eq)]
pub(crate) struct Counted<'a> {
    pub(crate) label: Cow<'a, str>,
    group: Option<Cow<'a, str>>,
}

/// A counter, read.
pub(crate) struct Count {
    pub(crate) label: String,
    pub(crate) group: Option<String>,
    pub(crate) rows: i64,
}

impl Tally {
    /// The columns that decide under what a row counts.
    pub(crate) fn columns(&self) -> [&'static str; 3] {
        [self.label, self.group, "deleted_at"]
    }

    /// A row as it counts; none where it doesn't.
    pub(crate) fn read<'a>(&self, row: &Json<'a>) -> Option<Counted<'a>> {
        let [label, group, deleted_at] = row.fields(self.columns());
        let counts = !row.is_missing() && deleted_at.is_null();
        counts.then(|| Counted { label: label.as_text().unwrap_or_default(), group: group.as_text() })
    }

    /// Counts `before` down and `after` up; tells whether that made a difference.
    pub(crate) fn replace(&self, before: Option<&Counted<'_>>, after: Option<&Counted<'_>>) -> Result<bool, Error> {
        if before == after {
            return Ok(false);
        }
        for (row, by) in [(before, -1), (after, 1)] {
            let Some(row) = row else { continue };
            let key = self.key(row)?;
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

    /// A JSON list: no label or group can be mistaken for two.
    fn key(&self, row: &Counted<'_>) -> Result<String, Error> {
        Ok(format!("{}{}", self.name, serde_json::to_string(&(&row.label, &row.group))?))
    }
}
