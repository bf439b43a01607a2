//! The SQL that makes a table tell of its changes: triggers made of the table's own form.
//!
//! Whoever writes to the table fires them, with whatever SQLite it has: so they use old built-in
//! functions only, and nothing that a row may hold makes them fail. What they write is read by
//! [`super::literal`].
//!
//! A REPLACE removes rows without firing the delete triggers (unless `recursive_triggers` is on). So
//! before each insert the rows that stand in its way are put into `_relevo_peek`; if the insert
//! happens, they are gone: the one with the same key is the update's `before`, others are deletes. If
//! it doesn't happen (OR IGNORE, DO UPDATE), the next write to the table throws them away.

use super::literal::json_text;
use super::schema::{Table, Term, Unique};

/// The change table and what belongs to it. `_relevo_changes` only grows at its end; AUTOINCREMENT
/// keeps a pruned number from being used again.
pub(crate) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS _relevo_meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _relevo_changes(
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  tbl TEXT NOT NULL,
  op TEXT NOT NULL,
  pk TEXT,
  old TEXT,
  new TEXT,
  ts INTEGER NOT NULL DEFAULT (cast(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)),
  token TEXT NOT NULL DEFAULT (lower(hex(randomblob(8))))
);
CREATE TABLE IF NOT EXISTS _relevo_peek(tbl TEXT NOT NULL, pk TEXT, via TEXT NOT NULL, rid INTEGER, seq INTEGER, old TEXT);
";

/// Texts of more bytes than this, and BLOBs of more than half, don't enter: the row says how large they
/// were. A record has no room for them, and a writer shouldn't pay twice.
const LARGEST: usize = 512 << 10;

/// What the names of all our triggers begin with.
pub(crate) const PREFIX: &str = "_relevo_";

/// A trigger's name and the statement that makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trigger {
    pub name: String,
    pub sql: String,
}

/// Writes SQL for one table.
pub(crate) struct Writer<'a> {
    table: &'a Table,
    /// Columns that never enter, in the table's spelling.
    excluded: &'a [String],
}

impl<'a> Writer<'a> {
    pub(crate) fn new(table: &'a Table, excluded: &'a [String]) -> Self {
        Self { table, excluded }
    }

    /// All triggers of the table.
    pub(crate) fn triggers(&self) -> Vec<Trigger> {
        let trigger = |what: &str, when: &str, condition: String, body: Vec<String>| {
            let name = format!("{PREFIX}{what}_{}", self.table.name);
            let sql = format!(
                "CREATE TRIGGER {} {when} ON {}{condition} BEGIN\n  {};\nEND",
                quote(&name),
                quote(&self.table.name),
                body.join(";\n  ")
            );
            Trigger { name, sql }
        };
        let moved = format!(" WHEN {}", self.moved());
        vec![
            trigger("before_insert", "BEFORE INSERT", String::new(), self.before_insert()),
            trigger("insert", "AFTER INSERT", String::new(), self.after_insert()),
            trigger("before_update", "BEFORE UPDATE", moved, self.before_update()),
            trigger("update", "AFTER UPDATE", String::new(), self.after_update()),
            trigger("delete", "AFTER DELETE", String::new(), self.after_delete()),
        ]
    }

    /// Statements that fail if a trigger's text is wrong: SQLite reads it only when it fires, and
    /// then the user's own write would fail.
    pub(crate) fn proofs(&self) -> Vec<String> {
        let table = quote(&self.table.name);
        let mut proofs =
            vec![format!("EXPLAIN INSERT INTO {table} DEFAULT VALUES"), format!("EXPLAIN DELETE FROM {table}")];
        if let Some(column) = self.table.columns.iter().find(|c| !c.generated) {
            proofs.push(format!("EXPLAIN UPDATE {table} SET {0} = {0}", quote(&column.name)));
        }
        proofs
    }

    /// Rows that are there, as `key, row`, for a snapshot.
    pub(crate) fn snapshot(&self) -> String {
        format!(
            "SELECT cast({} AS BLOB), cast({} AS BLOB) FROM {} AS t",
            self.key("t"),
            self.row("t", None),
            quote(&self.table.name)
        )
    }

    /// Puts the rows that are there into the change table, as inserts.
    pub(crate) fn backfill(&self) -> String {
        format!(
            "INSERT INTO _relevo_changes(tbl, op, pk, new) SELECT {}, 'I', {}, {} FROM {} AS t",
            self.tbl(),
            self.key("t"),
            self.row("t", None),
            quote(&self.table.name)
        )
    }

    fn before_insert(&self) -> Vec<String> {
        let mut body = vec![self.forget_peeks()];
        body.extend(self.peeks(""));
        body
    }

    fn after_insert(&self) -> Vec<String> {
        let (tbl, key, row) = (self.tbl(), self.key("new"), self.row("new", None));
        vec![
            // recursive_triggers is on: the delete of the replaced row is there already. It becomes
            // the update's `before`. (`IN` would cost every insert a temporary table.)
            format!(
                "DELETE FROM _relevo_changes WHERE seq = \
                 (SELECT seq FROM _relevo_peek WHERE tbl = {tbl} AND pk = {key} AND seq IS NOT NULL LIMIT 1)"
            ),
            self.replaced(&format!("pk IS NOT {key}")),
            format!(
                "INSERT INTO _relevo_changes(tbl, op, pk, old, new) \
                 SELECT {tbl}, CASE WHEN p.old IS NULL THEN 'I' ELSE 'U' END, {key}, p.old, {row} \
                 FROM (SELECT (SELECT old FROM _relevo_peek AS q WHERE tbl = {tbl} AND pk = {key} AND {hit} LIMIT 1) AS old) AS p",
                hit = self.hit("q"),
            ),
            self.forget_peeks(),
        ]
    }

    fn before_update(&self) -> Vec<String> {
        let itself = match self.table.rowid {
            Some(rowid) => format!(" AND t.{rowid} <> old.{rowid}"),
            None => format!(" AND NOT ({})", self.same_key("t", "old")),
        };
        let mut body = vec![self.forget_peeks()];
        body.extend(self.peeks(&itself));
        body
    }

    fn after_update(&self) -> Vec<String> {
        let (tbl, moved) = (self.tbl(), self.moved());
        let (old_key, new_key) = (self.key("old"), self.key("new"));
        vec![
            self.replaced(&moved),
            // A row that gets another key is another row to whoever keeps rows by key.
            format!(
                "INSERT INTO _relevo_changes(tbl, op, pk, old) SELECT {tbl}, 'D', {old_key}, {} WHERE {old_key} IS NOT {new_key}",
                self.row("old", None)
            ),
            format!(
                "INSERT INTO _relevo_changes(tbl, op, pk, old, new) \
                 SELECT {tbl}, CASE WHEN same THEN 'U' ELSE 'I' END, {new_key}, CASE WHEN same THEN {} END, {} \
                 FROM (SELECT {old_key} IS {new_key} AS same)",
                self.row("old", None),
                self.row("new", Some("old"))
            ),
            format!("{} AND {moved}", self.forget_peeks()),
        ]
    }

    fn after_delete(&self) -> Vec<String> {
        let (tbl, key) = (self.tbl(), self.key("old"));
        vec![
            format!(
                "INSERT INTO _relevo_changes(tbl, op, pk, old) VALUES ({tbl}, 'D', {key}, {})",
                self.row("old", None)
            ),
            // This delete may be a REPLACE under recursive_triggers: the insert must know.
            format!("UPDATE _relevo_peek SET seq = last_insert_rowid() WHERE tbl = {tbl} AND pk = {key}"),
        ]
    }

    fn forget_peeks(&self) -> String {
        format!("DELETE FROM _relevo_peek WHERE tbl = {}", self.tbl())
    }

    /// Deletes of the rows that stood in the way. One that stood there in two ways is there twice.
    fn replaced(&self, which: &str) -> String {
        let tbl = self.tbl();
        format!(
            "INSERT INTO _relevo_changes(tbl, op, pk, old) SELECT {tbl}, 'D', pk, old FROM _relevo_peek AS p \
             WHERE tbl = {tbl} AND seq IS NULL AND {hit} AND {which} \
             AND NOT EXISTS (SELECT 1 FROM _relevo_peek AS q WHERE q.tbl = p.tbl AND q.pk = p.pk AND {hit_q} AND q.rowid < p.rowid)",
            hit = self.hit("p"),
            hit_q = self.hit("q"),
        )
    }

    /// Whether a peek really stood in the way. Before an insert that lets SQLite choose the rowid,
    /// `new.rowid` is -1, and a row may have that.
    fn hit(&self, peek: &str) -> String {
        match self.table.rowid {
            Some(rowid) => format!("({peek}.via = 'u' OR {peek}.rid IS new.{rowid})"),
            None => "1".to_owned(),
        }
    }

    /// Puts the rows that stand in the new row's way aside, one statement for each way.
    fn peeks(&self, but: &str) -> Vec<String> {
        let peek = |via: &str, same: String| {
            format!(
                "INSERT INTO _relevo_peek(tbl, pk, via, rid, old) SELECT {}, {}, '{via}', {}, {} FROM {} AS t WHERE {same}{but}",
                self.tbl(),
                self.key("t"),
                self.table.rowid.map_or_else(|| "NULL".to_owned(), |rowid| format!("t.{rowid}")),
                self.row("t", None),
                quote(&self.table.name),
            )
        };
        let by_rowid = self.table.rowid.map(|rowid| peek("k", format!("t.{rowid} = new.{rowid}")));
        by_rowid
            .into_iter()
            .chain(self.table.uniques.iter().map(|unique| peek("u", self.same_unique(unique))))
            .collect()
    }

    fn same_unique(&self, unique: &Unique) -> String {
        let terms = unique.terms.iter().map(|term| match term {
            Term::Column { name, collation } => {
                let name = quote(name);
                format!("t.{name} = new.{name} COLLATE {}", quote(collation))
            }
            Term::Expression(e) => format!("(\n{e}\n) = {}", self.of_new(e)),
        });
        let only = unique.only.iter().map(|only| format!("(\n{only}\n) AND {}", self.of_new(only)));
        terms.chain(only).collect::<Vec<_>>().join(" AND ")
    }

    /// An index's expression over the new row: within the subquery the columns' names mean its values.
    fn of_new(&self, expression: &str) -> String {
        let columns = self.table.columns.iter().map(|c| {
            let name = quote(&c.name);
            format!("new.{name} AS {name}")
        });
        format!("(SELECT (\n{expression}\n) FROM (SELECT {}))", columns.collect::<Vec<_>>().join(", "))
    }

    /// Whether an update could stand in another row's way: the rowid or a column of a unique index
    /// differs (an expression may use any column).
    fn moved(&self) -> String {
        let all = self
            .table
            .uniques
            .iter()
            .any(|u| u.only.is_some() || u.terms.iter().any(|term| matches!(term, Term::Expression(_))));
        let mut names: Vec<&str> = Vec::new();
        if all {
            names.extend(self.table.columns.iter().map(|c| c.name.as_str()));
        } else {
            for term in self.table.uniques.iter().flat_map(|u| &u.terms) {
                if let Term::Column { name, .. } = term
                    && !names.contains(&name.as_str())
                {
                    names.push(name);
                }
            }
        }
        // A comparison by a column's own collation would take 'a' and 'A' for the same.
        let columns = names.into_iter().map(|name| {
            let name = quote(name);
            format!("new.{name} IS NOT old.{name} COLLATE BINARY")
        });
        let rowid = self.table.rowid.map(|rowid| format!("new.{rowid} <> old.{rowid}"));
        format!("({})", rowid.into_iter().chain(columns).collect::<Vec<_>>().join(" OR "))
    }

    fn same_key(&self, one: &str, other: &str) -> String {
        let columns = self.table.key.iter().map(|name| {
            let name = quote(name);
            format!("{one}.{name} IS {other}.{name} COLLATE BINARY")
        });
        columns.collect::<Vec<_>>().join(" AND ")
    }

    /// The key: the rowid where none is declared, or where it is null.
    fn key(&self, of: &str) -> String {
        let rowid = self.table.rowid.map(|rowid| format!("{of}.{rowid}"));
        match (self.table.key.as_slice(), rowid) {
            ([], Some(rowid)) => format!("quote({rowid})"),
            ([name], Some(rowid)) if !self.table.key_is_never_null => {
                let value = column(of, name);
                format!("CASE WHEN {value} IS NULL THEN '@' || {rowid} ELSE {} END", literal(&value))
            }
            ([name], _) => literal(&column(of, name)),
            (names, _) => {
                let values: Vec<_> = names.iter().map(|name| literal(&column(of, name))).collect();
                format!("'(' || {} || ')'", values.join(" || ',' || "))
            }
        }
    }

    /// The row.
    fn row(&self, of: &str, before: Option<&str>) -> String {
        let columns: Vec<(String, String)> = self
            .table
            .columns
            .iter()
            .filter(|c| !self.excluded.contains(&c.name))
            .map(|c| {
                let before = before.map(|before| column(before, &c.name));
                (json_text(&c.name), value(&column(of, &c.name), before.as_deref()))
            })
            .collect();
        // A function takes at most 100 arguments, and an expression may be at most 1000 deep.
        let parts = columns.chunks(90).map(|columns| {
            let form: Vec<_> = columns.iter().map(|(name, _)| format!("{}:%s", name.replace('%', "%%"))).collect();
            let values: Vec<_> = columns.iter().map(|(_, value)| value.as_str()).collect();
            format!("printf({}, {})", text(&form.join(",")), values.join(", "))
        });
        let parts: Vec<_> = parts.collect();
        if parts.is_empty() { "''".to_owned() } else { parts.join(" || ',' || ") }
    }

    /// The table's name as the change table has it.
    fn tbl(&self) -> String {
        text(&self.table.name)
    }
}

/// A value of a row: a literal, or how large it is and, where it was updated, whether it is the same.
fn value(value: &str, before: Option<&str>) -> String {
    let size = format!("length(cast({value} AS BLOB))");
    let large = match before {
        Some(before) => format!("'?' || {size} || '=' || ({value} IS {before} COLLATE BINARY)"),
        None => format!("'?' || {size}"),
    };
    let half = LARGEST / 2;
    format!(
        "CASE typeof({value}) WHEN 'text' THEN CASE WHEN {size} > {LARGEST} THEN {large} ELSE {} END \
         WHEN 'blob' THEN CASE WHEN length({value}) > {half} THEN {large} ELSE quote({value}) END \
         ELSE quote({value}) END",
        literal_of_text(value)
    )
}

/// A value of a key, however large.
fn literal(value: &str) -> String {
    format!("CASE typeof({value}) WHEN 'text' THEN {} ELSE quote({value}) END", literal_of_text(value))
}

/// `quote()` would cut a text off at a NUL.
fn literal_of_text(text: &str) -> String {
    let bytes = format!("cast({text} AS BLOB)");
    format!("CASE WHEN instr({bytes}, x'00') THEN 'T' || quote({bytes}) ELSE quote({text}) END")
}

fn column(of: &str, name: &str) -> String {
    format!("{of}.{}", quote(name))
}

/// A name in double quotes.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes.
pub(crate) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
