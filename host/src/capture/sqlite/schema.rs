//! What the watched database's tables look like, read from its own pragmas: what triggers are made of.

use sqlx::{Row, SqliteConnection};

use super::index;
use super::triggers::{quote, text};

/// A table that triggers can be made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// As the schema writes it.
    pub name: String,
    /// In the table's order, generated ones too.
    pub columns: Vec<Column>,
    /// The declared primary key's columns in its order; empty where none is declared.
    pub key: Vec<String>,
    /// No part of the key can be null.
    pub key_is_never_null: bool,
    /// A name under which the rowid can be reached, quoted; none in a WITHOUT ROWID table.
    pub rowid: Option<String>,
    /// The unique indexes, the primary key's too (but for a key that is the rowid).
    pub uniques: Vec<Unique>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub name: String,
    pub generated: bool,
    /// It holds nothing but integers, reals and null.
    pub numeric: bool,
    /// An expression for what an OR REPLACE writes instead of a null, where none may be.
    pub instead_of_null: Option<String>,
}

/// What may not occur twice; the row that has it already goes when another REPLACEs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unique {
    pub terms: Vec<Term>,
    /// The WHERE of a partial index.
    pub only: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Term {
    Column {
        name: String,
        collation: String,
    },
    /// As CREATE INDEX has it.
    Expression(String),
}

/// A name that the schema has, and whether triggers can be made for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub name: String,
    /// `table`, `view`, `virtual` or `shadow`.
    pub kind: String,
    pub without_rowid: bool,
    pub strict: bool,
}

/// Everything that can stand in FROM, but for SQLite's own and ours.
pub(crate) async fn list(db: &mut SqliteConnection) -> sqlx::Result<Vec<Listed>> {
    let rows = sqlx::query("SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main' ORDER BY name")
        .fetch_all(db)
        .await?;
    let listed = rows.iter().map(|row| {
        Ok(Listed {
            name: row.try_get(0)?,
            kind: row.try_get(1)?,
            without_rowid: row.try_get::<i64, _>(2)? != 0,
            strict: row.try_get::<i64, _>(3)? != 0,
        })
    });
    let mut listed = listed.collect::<sqlx::Result<Vec<_>>>()?;
    listed.retain(|table| !is_internal(&table.name));
    Ok(listed)
}

/// SQLite's own tables, ours, and the one in which sqlx keeps which migrations ran.
fn is_internal(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("sqlite_") || name.starts_with("_relevo") || name == "_sqlx_migrations"
}

/// Reads a table as it is now.
pub(crate) async fn read(db: &mut SqliteConnection, listed: &Listed) -> sqlx::Result<Table> {
    let rows = sqlx::query(
        "SELECT name, type, pk, hidden, \"notnull\", dflt_value FROM pragma_table_xinfo(?, 'main') ORDER BY cid",
    )
    .bind(&listed.name)
    .fetch_all(&mut *db)
    .await?;
    let mut columns = Vec::with_capacity(rows.len());
    let mut key = Vec::new();
    let mut key_type = String::new();
    let mut key_is_never_null = true;
    for row in &rows {
        let (name, kind): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (place, hidden, not_null): (i64, i64, i64) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        let numeric = listed.strict && ["int", "integer", "real"].iter().any(|n| kind.eq_ignore_ascii_case(n));
        if place > 0 {
            key_type = kind;
            key_is_never_null &= not_null != 0;
            key.push((place, name.clone()));
        }
        let default: Option<String> = row.try_get(5)?;
        let instead_of_null = default.filter(|_| not_null != 0).map(expression);
        columns.push(Column { name, generated: hidden == 2 || hidden == 3, numeric, instead_of_null });
    }
    key.sort();
    let key: Vec<String> = key.into_iter().map(|(_, name)| name).collect();
    let (uniques, key_has_index) = read_uniques(db, &listed.name).await?;
    // `INTEGER PRIMARY KEY DESC` looks like the rowid's other name but isn't: it has an index.
    let key_is_rowid =
        !listed.without_rowid && key.len() == 1 && key_type.eq_ignore_ascii_case("integer") && !key_has_index;
    let mut rowid = ["rowid", "_rowid_", "oid"]
        .into_iter()
        .find(|alias| !listed.without_rowid && !columns.iter().any(|c| c.name.eq_ignore_ascii_case(alias)))
        .map(str::to_owned);
    if key_is_rowid {
        columns.iter_mut().filter(|column| key.contains(&column.name)).for_each(|column| column.numeric = true);
        rowid = rowid.or_else(|| key.first().map(|name| quote(name)));
    }
    Ok(Table {
        name: listed.name.clone(),
        columns,
        key_is_never_null: key_is_never_null || key_is_rowid || listed.without_rowid,
        key,
        rowid,
        uniques,
    })
}

/// A default as an expression: there a word, or one in double quotes, is a text, and not a column.
fn expression(default: String) -> String {
    const WORDS: [&str; 6] = ["null", "true", "false", "current_time", "current_date", "current_timestamp"];
    if let Some(inner) = default.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return text(&inner.replace("\"\"", "\""));
    }
    let is_word = default.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && default.chars().all(|c| c.is_alphanumeric() || c == '_');
    if is_word && !WORDS.iter().any(|word| default.eq_ignore_ascii_case(word)) { text(&default) } else { default }
}

async fn read_uniques(db: &mut SqliteConnection, table: &str) -> sqlx::Result<(Vec<Unique>, bool)> {
    let indexes = sqlx::query(
        "SELECT l.name, l.origin, l.partial, s.sql FROM pragma_index_list(?, 'main') AS l \
         LEFT JOIN sqlite_schema AS s ON s.type = 'index' AND s.name = l.name WHERE l.\"unique\" ORDER BY l.seq",
    )
    .bind(table)
    .fetch_all(&mut *db)
    .await?;
    let mut uniques = Vec::new();
    let mut key_has_index = false;
    for row in &indexes {
        let (name, origin): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        key_has_index |= origin == "pk";
        let sql: Option<String> = row.try_get(3)?;
        let parts = sql.as_deref().and_then(index::parse).unwrap_or_default();
        let columns = sqlx::query("SELECT name, coll FROM pragma_index_xinfo(?, 'main') WHERE \"key\" ORDER BY seqno")
            .bind(&name)
            .fetch_all(&mut *db)
            .await?;
        let terms = columns.iter().enumerate().map(|(place, row)| {
            let column: Option<String> = row.try_get(0)?;
            let collation: Option<String> = row.try_get(1)?;
            Ok(match column {
                Some(name) => Some(Term::Column { name, collation: collation.unwrap_or_else(|| "BINARY".to_owned()) }),
                None => parts.terms.get(place).cloned().map(Term::Expression),
            })
        });
        let terms = terms.collect::<sqlx::Result<Option<Vec<_>>>>()?;
        let partial = row.try_get::<i64, _>(2)? != 0;
        match terms {
            Some(terms) if !partial || parts.only.is_some() => {
                uniques.push(Unique { terms, only: parts.only.filter(|_| partial) });
            }
            _ => tracing::warn!(
                table,
                index = name,
                "can't read this unique index: rows that an INSERT OR REPLACE removes through it stay unseen"
            ),
        }
    }
    Ok((uniques, key_has_index))
}
