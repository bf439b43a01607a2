//! The SQL that makes a table tell of its changes: triggers made of the table's own form.
//!
//! Whoever writes to the table fires them, with whatever SQLite it has: so they use old built-in
//! functions only, and nothing that a row may hold makes them fail. SQLite compiles all that an
//! INSERT, UPDATE or DELETE may fire into each statement: so they are short, they write values as they
//! are (Rust makes JSON of them later), and what concerns keys and unique indexes stands in triggers of
//! its own, `UPDATE OF` these columns, which other statements don't compile.
//!
//! A REPLACE removes rows without firing the delete triggers (unless `recursive_triggers` is on). So
//! before each write the rows that stand in its way are put into `_relevo_peek`; after it those that
//! are gone were replaced: the one with an insert's own key is the update's `before`, others are
//! deletes. If the write doesn't happen (OR IGNORE, DO UPDATE), the next one throws them away.

use super::form::{Form, FormId};
use super::schema::{Column, Table, Term};
use super::value::LARGEST;

use peek::Peek;

mod peek;

/// What a row of SQLite can hold at the very least, in bytes, with room for what is beside values.
const ROW: usize = 900_000_000;

/// What the names of all our triggers begin with.
pub(crate) const PREFIX: &str = "_relevo_";

/// What our triggers are called between [`PREFIX`] and the table's name.
const KINDS: [&str; 6] = ["before_insert_", "insert_", "before_update_", "update_", "moved_", "delete_"];

/// A trigger's name and the statement that makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trigger {
    pub name: String,
    pub moment: Moment,
    pub sql: String,
}

/// When a trigger fires: before the row is written, or after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

/// Whether a trigger of ours was made for a table.
pub(crate) fn belongs(trigger: &str, table: &str) -> bool {
    let rest = trigger.strip_prefix(PREFIX);
    KINDS.iter().any(|kind| rest.and_then(|rest| rest.strip_prefix(kind)) == Some(table))
}

/// Where a row's values stand in the SQL of a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    New,
    Old,
    /// The table itself, as `t`.
    Row,
    /// `_relevo_peek`, as `p`.
    Peek,
    /// `_relevo_peek` in an UPDATE of it, which can't give it another name.
    Aside,
}

/// Writes SQL for one table.
#[derive(Clone, Copy)]
pub(crate) struct Writer<'a> {
    table: &'a Table,
    form: &'a Form,
    id: FormId,
}

impl<'a> Writer<'a> {
    /// Of a table whose form is kept under this number.
    pub(crate) fn new(table: &'a Table, form: &'a Form, id: FormId) -> Self {
        Self { table, form, id }
    }

    /// All triggers of the table, in the order in which they are to be made: of those that fire at the
    /// same moment SQLite runs the newest first.
    pub(crate) fn triggers(&self) -> Vec<Trigger> {
        let peek = Peek::new(*self);
        let of = peek.of();
        let [before_insert, insert, before_update, update, moved, delete] = KINDS;
        [
            (before_insert, Moment::Before, "INSERT".to_owned(), peek.before_insert()),
            (insert, Moment::After, "INSERT".to_owned(), peek.after_insert()),
            (before_update, Moment::Before, format!("UPDATE{of}"), peek.before_update()),
            (update, Moment::After, "UPDATE".to_owned(), vec![self.after_update()]),
            (moved, Moment::After, format!("UPDATE{of}"), peek.after_move()),
            (delete, Moment::After, "DELETE".to_owned(), peek.after_delete()),
        ]
        .into_iter()
        .map(|(kind, moment, what, body)| {
            let name = format!("{PREFIX}{kind}{}", self.table.name);
            let only =
                if kind == before_update || kind == moved { format!(" WHEN {}", peek.moved()) } else { String::new() };
            let when = match moment {
                Moment::Before => "BEFORE",
                Moment::After => "AFTER",
            };
            let sql = format!(
                "CREATE TRIGGER {} {when} {what} ON {}{only} BEGIN\n  {};\nEND",
                quote(&name),
                quote(&self.table.name),
                body.join(";\n  ")
            );
            Trigger { name, moment, sql }
        })
        .collect()
    }

    /// Statements that fail if a trigger's text is wrong: SQLite reads it only when it fires, and
    /// then the user's own write would fail.
    pub(crate) fn proofs(&self) -> Vec<String> {
        let table = quote(&self.table.name);
        let mut proofs =
            vec![format!("EXPLAIN INSERT INTO {table} DEFAULT VALUES"), format!("EXPLAIN DELETE FROM {table}")];
        let columns = self.table.columns.iter().filter(|c| !c.generated).map(|c| format!("{0} = {0}", quote(&c.name)));
        let columns = columns.collect::<Vec<_>>().join(", ");
        if !columns.is_empty() {
            proofs.push(format!("EXPLAIN UPDATE {table} SET {columns}"));
        }
        proofs
    }

    /// Rows that are there, as rowid and values, for a snapshot.
    pub(crate) fn snapshot(&self) -> String {
        let rowid = self.rowid(Of::Row).unwrap_or_else(|| "NULL".to_owned());
        format!("SELECT {rowid}, {} FROM {} AS t", self.values(Of::Row, None).join(", "), quote(&self.table.name))
    }

    /// Puts the rows that are there into the change table, as inserts.
    pub(crate) fn backfill(&self) -> String {
        let from = format!("FROM {} AS t", quote(&self.table.name));
        self.tell("'I'", Of::Row, None, Some(self.values(Of::Row, None)), Some(&from))
    }

    fn after_update(&self) -> String {
        // A row that gets another key is another row to whoever keeps rows by key: the delete of the
        // old one is told by the trigger for moved rows.
        let op = format!("CASE WHEN {} THEN 'U' ELSE 'I' END", self.same_key(Of::Old, Of::New));
        self.tell(&op, Of::New, Some(self.values(Of::Old, None)), Some(self.values(Of::New, Some(Of::Old))), None)
    }

    /// Writes a change row; one for each row of `from`, where there is one.
    fn tell(
        &self,
        op: &str,
        rowid: Of,
        old: Option<Vec<String>>,
        new: Option<Vec<String>>,
        from: Option<&str>,
    ) -> String {
        let mut columns = vec!["form".to_owned(), "op".to_owned()];
        let mut values = vec![self.id.to_string(), op.to_owned()];
        if self.form.rowid() {
            columns.push("rid".to_owned());
            values.extend(self.rowid(rowid));
        }
        for (side, places) in [(old, 0), (new, self.form.columns().len())] {
            for (place, value) in side.into_iter().flatten().enumerate() {
                columns.push(format!("c{}", places + place));
                values.push(value);
            }
        }
        let (columns, values) = (columns.join(", "), values.join(", "));
        match from {
            Some(from) => format!("INSERT INTO _relevo_changes({columns}) SELECT {values} {from}"),
            None => format!("INSERT INTO _relevo_changes({columns}) VALUES ({values})"),
        }
    }

    /// The values that enter. `beside`: with what one that is too large is compared.
    fn values(&self, of: Of, beside: Option<Of>) -> Vec<String> {
        self.entered().map(|column| self.entering(of, column, beside)).collect()
    }

    fn entered(&self) -> impl Iterator<Item = &'a Column> {
        let form = self.form;
        self.table.columns.iter().filter(move |column| form.columns().iter().any(|name| **name == *column.name))
    }

    /// A value, or how many bytes it has where that is too many: a writer shouldn't pay twice for what
    /// has no room in a record.
    fn entering(&self, of: Of, column: &Column, beside: Option<Of>) -> String {
        let value = self.column(of, &column.name);
        if column.numeric || of == Of::Peek {
            return value;
        }
        // length() of a text counts its characters up to a NUL.
        let size = format!("length(cast({value} AS BLOB))");
        let same = beside.map_or_else(String::new, |beside| {
            format!(" || '=' || ({value} IS {} COLLATE BINARY)", self.column(beside, &column.name))
        });
        let largest = LARGEST.min(ROW / (2 * self.form.columns().len()));
        let mark = text(self.form.mark());
        format!("CASE WHEN {size} > {largest} THEN cast({mark} || {size}{same} AS BLOB) ELSE {value} END")
    }

    fn column(&self, of: Of, name: &str) -> String {
        match of {
            Of::New => format!("new.{}", quote(name)),
            Of::Old => format!("old.{}", quote(name)),
            Of::Row => format!("t.{}", quote(name)),
            Of::Peek | Of::Aside => {
                let place = self.form.columns().iter().position(|column| **column == *name);
                // Asked of the key's columns and those that enter alone.
                let table = if of == Of::Peek { "p" } else { "_relevo_peek" };
                place.map_or_else(|| "NULL".to_owned(), |place| format!("{table}.c{place}"))
            }
        }
    }

    fn rowid(&self, of: Of) -> Option<String> {
        let rowid = self.table.rowid.as_ref()?;
        Some(match of {
            Of::New => format!("new.{rowid}"),
            Of::Old => format!("old.{rowid}"),
            Of::Row => format!("t.{rowid}"),
            Of::Peek => "p.rid".to_owned(),
            Of::Aside => "_relevo_peek.rid".to_owned(),
        })
    }

    /// Whether two have the same key, as the reader shows it.
    fn same_key(&self, one: Of, other: Of) -> String {
        let mut all: Vec<String> = self.table.key.iter().map(|name| self.exactly(one, other, name)).collect();
        if self.form.rowid() {
            let mut any: Vec<String> = Vec::new();
            if !self.table.key.is_empty() {
                let whole = self.table.key.iter().map(|name| format!("{} IS NOT NULL", self.column(one, name)));
                any.push(format!("({})", whole.collect::<Vec<_>>().join(" AND ")));
            }
            any.extend(self.same_rowid(one, other));
            all.push(format!("({})", any.join(" OR ")));
        }
        all.join(" AND ")
    }

    fn same_rowid(&self, one: Of, other: Of) -> Option<String> {
        Some(format!("{} = {}", self.rowid(one)?, self.rowid(other)?))
    }

    /// Whether a column has the same value, to the letter. By its own collation 'a' and 'A' might be
    /// the same, and 1 and 1.0 are by any.
    fn exactly(&self, one: Of, other: Of, name: &str) -> String {
        let (a, b) = (self.column(one, name), self.column(other, name));
        if self.table.columns.iter().any(|column| column.name == name && column.numeric) {
            return format!("{a} IS {b}");
        }
        format!("{a} IS {b} COLLATE BINARY AND typeof({a}) = typeof({b})")
    }
}

/// The terms of an index that are columns, with the collations that it has.
fn columns(terms: &[Term]) -> Option<Vec<(&str, &str)>> {
    let columns = terms.iter().map(|term| match term {
        Term::Column { name, collation } => Some((name.as_str(), collation.as_str())),
        Term::Expression(_) => None,
    });
    columns.collect()
}

/// A name in double quotes.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes.
pub(crate) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
