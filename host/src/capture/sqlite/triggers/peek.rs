//! The triggers' SQL about rows that stand in another one's way: what a REPLACE removes, and what gets
//! another key.

use super::super::schema::{Term, Unique};
use super::{Of, Writer, columns, quote};

/// For which kind of write rows are put aside. A user's trigger may update rows of the table that it is
/// on before one is inserted, and so may a foreign key: what the insert put aside must stay then.
#[derive(Clone, Copy)]
enum For {
    Insert,
    Update,
}

impl For {
    /// As `_relevo_peek` has it.
    fn op(self) -> &'static str {
        match self {
            Self::Insert => "'I'",
            Self::Update => "'U'",
        }
    }
}

/// Writes the SQL for one table.
pub(super) struct Peek<'a> {
    writer: Writer<'a>,
}

impl<'a> Peek<'a> {
    pub(super) fn new(writer: Writer<'a>) -> Self {
        Self { writer }
    }

    pub(super) fn before_insert(&self) -> Vec<String> {
        vec![self.forget(For::Insert), self.put_aside(For::Insert, "")]
    }

    pub(super) fn after_insert(&self) -> Vec<String> {
        let same = self.writer.same_key(Of::Peek, Of::New);
        let new = self.writer.values(Of::New, None);
        let from = format!("FROM (SELECT 1) LEFT JOIN _relevo_peek AS p ON {} AND {same}", self.ours(For::Insert));
        vec![
            // recursive_triggers is on: the delete of the replaced row is there already. It becomes
            // the update's `before`. (`IN` would cost every insert a temporary table.)
            format!(
                "DELETE FROM _relevo_changes WHERE seq = \
                 (SELECT p.seq FROM _relevo_peek AS p WHERE {} AND {same} LIMIT 1)",
                self.ours(For::Insert)
            ),
            self.replaced(For::Insert, &format!("NOT ({same})")),
            self.writer.tell(
                "CASE WHEN p.form IS NULL THEN 'I' ELSE 'U' END",
                Of::New,
                Some(self.writer.values(Of::Peek, None)),
                Some(new),
                Some(&from),
            ),
            self.forget(For::Insert),
        ]
    }

    pub(super) fn before_update(&self) -> Vec<String> {
        let others = format!("NOT ({})", self.same_row(Of::Row, Of::Old));
        vec![self.forget(For::Update), self.put_aside(For::Update, &others)]
    }

    /// After an update that [`Self::moved`] a row.
    pub(super) fn after_move(&self) -> Vec<String> {
        let other = format!("WHERE NOT ({})", self.writer.same_key(Of::Old, Of::New));
        vec![
            self.replaced(For::Update, &format!("NOT {}", self.told())),
            self.writer.tell("'D'", Of::Old, Some(self.writer.values(Of::Old, None)), None, Some(&other)),
            self.forget(For::Update),
        ]
    }

    pub(super) fn after_delete(&self) -> Vec<String> {
        vec![
            self.writer.tell("'D'", Of::Old, Some(self.writer.values(Of::Old, None)), None, None),
            // This delete may be a REPLACE under recursive_triggers: the insert or the update must know.
            format!(
                "UPDATE _relevo_peek SET seq = last_insert_rowid() WHERE form = {} AND {}",
                self.writer.id,
                self.same_row(Of::Aside, Of::Old)
            ),
        ]
    }

    /// Whether an update could stand in another row's way or gave its own another key.
    pub(super) fn moved(&self) -> String {
        let mut same: Vec<String> = self.writer.same_rowid(Of::New, Of::Old).into_iter().collect();
        same.extend(self.moving().map(|name| self.writer.exactly(Of::New, Of::Old, name)));
        format!("NOT ({})", same.join(" AND "))
    }

    /// The columns without which nothing is [`Self::moved`], as ` OF …`. Nothing where a column that
    /// no statement names may do it.
    pub(super) fn of(&self) -> String {
        let generated = |name: &str| self.writer.table.columns.iter().any(|c| c.name == name && c.generated);
        if self.any_column_moves() || self.moving().any(generated) {
            return String::new();
        }
        let rowid = self.writer.table.rowid.iter().flat_map(|_| ["rowid", "_rowid_", "oid"]).map(str::to_owned);
        let mut names: Vec<String> = self.moving().map(quote).collect();
        names.extend(rowid);
        format!(" OF {}", names.join(", "))
    }

    /// The columns of the key and of unique indexes, each once.
    fn moving(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let table = self.writer.table;
        let all = self.any_column_moves();
        table.columns.iter().map(|column| column.name.as_str()).filter(move |name| {
            let unique = |unique: &Unique| {
                unique.terms.iter().any(|term| matches!(term, Term::Column { name: column, .. } if column == name))
            };
            all || table.key.iter().any(|key| key == name) || table.uniques.iter().any(unique)
        })
    }

    /// An index's expression may use any column.
    fn any_column_moves(&self) -> bool {
        self.writer.table.uniques.iter().any(|unique| unique.only.is_some() || columns(&unique.terms).is_none())
    }

    fn ours(&self, write: For) -> String {
        format!("p.form = {} AND p.op = {}", self.writer.id, write.op())
    }

    fn forget(&self, write: For) -> String {
        format!("DELETE FROM _relevo_peek WHERE form = {} AND op = {}", self.writer.id, write.op())
    }

    /// Puts the rows that stand in the new row's way aside, each once.
    fn put_aside(&self, write: For, but: &str) -> String {
        let table = quote(&self.writer.table.name);
        let ways = self.ways();
        let and_but = if but.is_empty() { String::new() } else { format!(" AND {but}") };
        let from = match ways.as_slice() {
            [way] => format!("{table} AS t WHERE {way}{and_but}"),
            ways => {
                // Each way by its own index. (With `OR` that would be for the planner to decide.)
                let names = self.row_names();
                let selected = names.iter().enumerate().map(|(place, (name, _))| format!("t.{name} AS k{place}"));
                let selected = selected.collect::<Vec<_>>().join(", ");
                let found: Vec<String> =
                    ways.iter().map(|way| format!("SELECT {selected} FROM {table} AS t WHERE {way}")).collect();
                let is = names
                    .iter()
                    .enumerate()
                    .map(|(place, (name, collation))| format!("t.{name} = w.k{place}{collation}"));
                let is = is.collect::<Vec<_>>().join(" AND ");
                format!("({}) AS w CROSS JOIN {table} AS t ON {is}{and_but}", found.join(" UNION "))
            }
        };
        let mut columns = vec!["form".to_owned(), "op".to_owned()];
        let mut values = vec![self.writer.id.to_string(), write.op().to_owned()];
        if matches!(write, For::Update) {
            columns.push("start".to_owned());
            values.push("(SELECT max(seq) FROM _relevo_changes)".to_owned());
        }
        if let Some(rowid) = self.writer.rowid(Of::Row) {
            columns.push("rid".to_owned());
            values.push(rowid);
        }
        for (place, value) in self.writer.values(Of::Row, Some(Of::New)).into_iter().enumerate() {
            columns.push(format!("c{place}"));
            values.push(value);
        }
        format!("INSERT INTO _relevo_peek({}) SELECT {} FROM {from}", columns.join(", "), values.join(", "))
    }

    /// What identifies a row of the table, as names with ` COLLATE …`: the rowid, or the key.
    fn row_names(&self) -> Vec<(String, String)> {
        let table = self.writer.table;
        if let Some(rowid) = &table.rowid {
            return vec![(rowid.clone(), String::new())];
        }
        // The key's own index may have other collations than its columns.
        let is_key = |columns: &Vec<(&str, &str)>| columns.iter().map(|(name, _)| *name).eq(table.key.iter());
        let by_index = table.uniques.iter().filter(|u| u.only.is_none()).find_map(|u| columns(&u.terms).filter(is_key));
        match by_index {
            Some(columns) => columns
                .iter()
                .map(|(name, collation)| (quote(name), format!(" COLLATE {}", quote(collation))))
                .collect(),
            None => table.key.iter().map(|name| (quote(name), String::new())).collect(),
        }
    }

    /// Whether two are the same row of the table.
    fn same_row(&self, one: Of, other: Of) -> String {
        self.writer.same_rowid(one, other).unwrap_or_else(|| self.writer.same_key(one, other))
    }

    /// How a row can stand in the new row's way.
    fn ways(&self) -> Vec<String> {
        let by_rowid = self.writer.same_rowid(Of::Row, Of::New);
        by_rowid.into_iter().chain(self.writer.table.uniques.iter().map(|unique| self.same_unique(unique))).collect()
    }

    fn same_unique(&self, unique: &Unique) -> String {
        let terms = unique.terms.iter().map(|term| match term {
            Term::Column { name, collation } => {
                format!("t.{} = {} COLLATE {}", quote(name), self.to_be(name), quote(collation))
            }
            Term::Expression(e) => format!("(\n{e}\n) = {}", self.of_new(e)),
        });
        let only = unique.only.iter().map(|only| format!("(\n{only}\n) AND {}", self.of_new(only)));
        terms.chain(only).collect::<Vec<_>>().join(" AND ")
    }

    /// What the new row will have in a column: not yet what OR REPLACE writes instead of a null.
    fn to_be(&self, name: &str) -> String {
        let new = self.writer.column(Of::New, name);
        let column = self.writer.table.columns.iter().find(|column| column.name == name);
        match column.and_then(|column| column.instead_of_null.as_deref()) {
            Some(instead) => format!("coalesce({new}, (\n{instead}\n))"),
            None => new,
        }
    }

    /// An index's expression over the new row: within the subquery the columns' names mean its values.
    fn of_new(&self, expression: &str) -> String {
        let columns =
            self.writer.table.columns.iter().map(|c| format!("{} AS {}", self.to_be(&c.name), quote(&c.name)));
        format!("(SELECT (\n{expression}\n) FROM (SELECT {}))", columns.collect::<Vec<_>>().join(", "))
    }

    /// Deletes of the rows that stood in the way and are gone, but for those that a delete told of.
    fn replaced(&self, write: For, which: &str) -> String {
        let ours = self.ours(write);
        let from = format!("FROM _relevo_peek AS p WHERE {ours} AND p.seq IS NULL AND {} AND {which}", self.gone());
        self.writer.tell("'D'", Of::Peek, Some(self.writer.values(Of::Peek, None)), None, Some(&from))
    }

    /// Whether a row that was put aside is no longer there, or the new one stands in its place. Not
    /// all are: before an insert that lets SQLite choose the rowid `new.rowid` is -1, and a row may
    /// have that; and the user's own trigger may have cleared the way.
    fn gone(&self) -> String {
        let same = match self.writer.rowid(Of::Row) {
            Some(rowid) => format!("{rowid} = p.rid"),
            None => {
                let names = self.row_names();
                let found = self.writer.table.key.iter().zip(&names).map(|(key, (name, collation))| {
                    format!("t.{name} = {}{collation}", self.writer.column(Of::Peek, key))
                });
                format!("{} AND {}", found.collect::<Vec<_>>().join(" AND "), self.same_row(Of::Row, Of::Peek))
            }
        };
        format!(
            "({} OR NOT EXISTS (SELECT 1 FROM {} AS t WHERE {same}))",
            self.same_row(Of::Peek, Of::New),
            quote(&self.writer.table.name)
        )
    }

    /// Whether the update's own row is told already, and of the same key as the one put aside: should
    /// SQLite some day fire triggers in another order, a delete would then remove the new row. What was
    /// told before the row was put aside may have been the row itself.
    fn told(&self) -> String {
        let places = self.writer.form.columns().len();
        let key = self.writer.form.key().iter().zip(&self.writer.table.key).map(|(place, name)| {
            format!("c.c{} IS {} COLLATE BINARY", places + place, self.writer.column(Of::New, name))
        });
        let rowid = self.writer.form.rowid().then(|| self.writer.rowid(Of::New)).flatten();
        let key: Vec<String> = key.chain(rowid.map(|rowid| format!("c.rid = {rowid}"))).collect();
        format!(
            "({} AND EXISTS (SELECT 1 FROM _relevo_changes AS c WHERE c.seq > p.start AND c.form = {} AND c.op = 'I' \
             AND {}))",
            self.writer.same_key(Of::Peek, Of::New),
            self.writer.id,
            key.join(" AND ")
        )
    }
}
