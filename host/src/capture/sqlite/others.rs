//! The user's own triggers on watched tables: when they fire beside ours, and whether they write to the
//! table that they are on. SQLite fires the newest of a moment first, so that what one writes is told
//! before the row that fired it, unless ours are newer.

use std::collections::BTreeSet;

use sqlx::{Row, SqliteConnection};

use super::index::{Piece, pieces};
use super::triggers::{Moment, PREFIX};

/// A trigger of the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Other {
    pub name: String,
    /// Grows from the oldest trigger to the newest.
    pub age: i64,
    table: String,
    moment: Moment,
    /// Names of tables, in small letters; none if its text can't be read.
    writes: Option<BTreeSet<String>>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Others(Vec<Other>);

impl Others {
    pub(crate) async fn read(db: &mut SqliteConnection) -> sqlx::Result<Self> {
        let rows = sqlx::query(
            "SELECT name, rowid, lower(tbl_name), sql FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, 8) <> ? \
             ORDER BY rowid",
        )
        .bind(PREFIX)
        .fetch_all(db)
        .await?;
        let others = rows.iter().map(|row| {
            let sql: String = row.try_get(3)?;
            let (moment, writes) = parse(&sql);
            Ok(Other { name: row.try_get(0)?, age: row.try_get(1)?, table: row.try_get(2)?, moment, writes })
        });
        Ok(Self(others.collect::<sqlx::Result<_>>()?))
    }

    /// Those of a table that fire at a moment.
    pub(crate) fn of(&self, table: &str, moment: Moment) -> impl Iterator<Item = &Other> {
        let table = table.to_ascii_lowercase();
        self.0.iter().filter(move |other| other.moment == moment && other.table == table)
    }

    /// Whether a trigger writes to its own table, itself or through others that it fires.
    pub(crate) fn comes_back(&self, trigger: &Other) -> bool {
        let mut reached = BTreeSet::new();
        let mut fired = vec![trigger];
        while let Some(trigger) = fired.pop() {
            let Some(writes) = &trigger.writes else { return true };
            for table in writes {
                if reached.insert(table) {
                    fired.extend(self.0.iter().filter(|other| other.table == *table));
                }
            }
        }
        reached.contains(&trigger.table)
    }
}

/// When a trigger fires, and the tables that it writes to, of its SQL as the schema has it.
fn parse(sql: &str) -> (Moment, Option<BTreeSet<String>>) {
    let Some(pieces) = pieces(sql) else { return (Moment::After, None) };
    let is = |at: usize, word: &str| pieces.get(at).is_some_and(|piece| piece.text.eq_ignore_ascii_case(word));
    // CREATE TRIGGER name, or schema.name; BEFORE is what it is if it doesn't say.
    let said = if is(3, ".") { 5 } else { 3 };
    let moment = if is(said, "after") { Moment::After } else { Moment::Before };
    let Some(begin) = (said..pieces.len()).find(|&at| is(at, "begin")) else { return (moment, None) };
    let mut writes = BTreeSet::new();
    for at in begin + 1..pieces.len() {
        let target = if is(at, "into") {
            at + 1
        } else if is(at, "update") {
            if is(at + 1, "or") { at + 3 } else { at + 1 }
        } else if is(at, "delete") && is(at + 1, "from") {
            at + 2
        } else {
            continue;
        };
        writes.extend(pieces.get(target).map(name));
    }
    (moment, Some(writes))
}

/// A name without its quotes, in small letters.
fn name(piece: &Piece<'_>) -> String {
    let text = piece.text.to_ascii_lowercase();
    for (open, close) in [('"', '"'), ('`', '`'), ('\'', '\''), ('[', ']')] {
        if let Some(inner) = text.strip_prefix(open).and_then(|text| text.strip_suffix(close)) {
            return inner.replace(&format!("{close}{close}"), &close.to_string());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::triggers::Moment::{self, After, Before};
    use super::parse;

    #[test]
    fn a_trigger_is_taken_apart() {
        let written = |sql: &str| -> (Moment, Option<String>) {
            let (moment, writes) = parse(sql);
            (moment, writes.map(|writes| writes.into_iter().collect::<Vec<_>>().join(" ")))
        };
        for (sql, moment, writes) in [
            ("CREATE TRIGGER x AFTER UPDATE OF u ON t BEGIN UPDATE OR IGNORE \"T\"\"s\" SET n = 1; END", After, "t\"s"),
            (
                "CREATE TRIGGER main.x after delete on t begin delete from [t]; insert into `u` values (1); end",
                After,
                "t u",
            ),
            (
                "CREATE TRIGGER after INSERT ON t WHEN (SELECT 1 FROM u) BEGIN REPLACE INTO v SELECT * FROM t; END",
                Before,
                "v",
            ),
            ("CREATE TRIGGER \"begin\" before insert on t begin select 'update t'; -- delete from t\n end", Before, ""),
            ("CREATE TRIGGER x instead of insert on t begin select 1; end", Before, ""),
        ] {
            assert_eq!(written(sql), (moment, Some(writes.to_owned())), "{sql}");
        }
        assert_eq!(written("CREATE TRIGGER x AFTER INSERT ON t BEGIN SELECT 'a").1, None);
    }
}
