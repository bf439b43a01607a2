//! A row as JSON, of the values that the stream has of it.

use super::super::super::json::LARGEST;
use super::super::decode::{Datum, Old};
use super::{Column, Relation, Values};
use crate::event::{Missing, Name};

impl Column {
    /// Writes the column as a member of its row's JSON, or that it is missing there.
    fn write(&self, value: Datum<'_>, missing: &mut Vec<Missing>, out: &mut String) {
        if self.excluded {
            return;
        }
        let gone = match value {
            Datum::Unchanged => Some(0),
            Datum::Text(text) if text.len() > LARGEST => Some(text.len() as u64),
            _ => None,
        };
        if let Some(bytes) = gone {
            match missing.iter_mut().find(|m| m.column == self.name) {
                Some(known) => known.bytes = known.bytes.max(bytes),
                None => missing.push(Missing { column: Name::clone(&self.name), bytes }),
            }
            return;
        }
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&self.label);
        match value {
            Datum::Text(text) => self.kind.write_json(text, out),
            _ => out.push_str("null"),
        }
    }
}

impl Relation {
    /// About what a row takes as JSON, in bytes.
    fn room(&self, values: &Values<'_>) -> usize {
        const QUOTES_AND_COMMA: usize = 3;
        let value = |value: &Datum<'_>| if let Datum::Text(text) = value { text.len() } else { "null".len() };
        let labels: usize = self.columns.iter().map(|column| column.label.len() + QUOTES_AND_COMMA).sum();
        labels + values.iter().map(value).sum::<usize>() + "{}".len()
    }

    /// The row, and the names of what can't be in it. Of one that isn't whole, only the replica identity is
    /// known.
    pub(super) fn json(
        &self,
        values: &Values<'_>,
        old: Option<&Old<'_>>,
        whole: bool,
        missing: &mut Vec<Missing>,
    ) -> Box<str> {
        self.json_noting(values, old, whole, missing, |_| {})
    }

    /// The same; tells where each column ends, whether or not it enters.
    pub(super) fn json_noting(
        &self,
        values: &Values<'_>,
        old: Option<&Old<'_>>,
        whole: bool,
        missing: &mut Vec<Missing>,
        mut ends: impl FnMut(usize),
    ) -> Box<str> {
        let mut out = String::with_capacity(self.room(values));
        out.push('{');
        for (at, column) in self.columns.iter().enumerate() {
            let value = if whole || column.identity { self.value(values, old, at) } else { Datum::Unchanged };
            column.write(value, missing, &mut out);
            ends(out.len());
        }
        out.push('}');
        out.into_boxed_str()
    }

    /// The row after a whole one: what doesn't differ is copied from `before`, in which the columns end at `ends`.
    pub(super) fn json_from(
        &self,
        before: &str,
        ends: &[usize],
        differs: &[bool],
        new: &Values<'_>,
        missing: &mut Vec<Missing>,
    ) -> Box<str> {
        let mut out = String::with_capacity(self.room(new).max(before.len()));
        out.push('{');
        let mut copied = 1;
        for (at, column) in self.columns.iter().enumerate().filter(|(at, _)| differs[*at]) {
            let begins = at.checked_sub(1).map_or(1, |previous| ends[previous]);
            push_members(&before[copied..begins], &mut out);
            column.write(new.get(at).copied().unwrap_or(Datum::Unchanged), missing, &mut out);
            copied = ends[at];
        }
        push_members(&before[copied..before.len() - 1], &mut out);
        out.push('}');
        out.into_boxed_str()
    }
}

/// Members with or without a comma before them, behind those that are there.
fn push_members(members: &str, out: &mut String) {
    let members = members.strip_prefix(',').unwrap_or(members);
    if members.is_empty() {
        return;
    }
    if out.len() > 1 {
        out.push(',');
    }
    out.push_str(members);
}
