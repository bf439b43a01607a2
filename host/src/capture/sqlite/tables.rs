//! What we keep in the watched database beside the triggers: changes, the forms that tell how to read
//! them, rows put aside, and what is to be remembered.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Row, SqliteConnection};
use uuid::Uuid;

use super::error::CaptureError;
use super::form::{Form, FormId};
use super::triggers::PREFIX;

/// The form of all this.
pub(crate) const FORMAT: &str = "2";

/// Our tables; those of earlier formats had no other names.
pub(crate) const NAMES: [&str; 4] = ["_relevo_peek", "_relevo_changes", "_relevo_forms", "_relevo_meta"];

/// What is remembered; and by which columns change rows are to be read, for as long as there are any.
const MEMORY: &str = "
CREATE TABLE IF NOT EXISTS _relevo_meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _relevo_forms(id INTEGER PRIMARY KEY, tbl TEXT NOT NULL, form TEXT NOT NULL UNIQUE);
";

/// Only grows at its end; AUTOINCREMENT keeps a pruned number from being used again. `ts` is a Julian
/// day. The columns for values (see [`Form`]) have no type, so that they keep every value as it is.
const CHANGES: &str = "CREATE TABLE _relevo_changes(
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  form INTEGER NOT NULL,
  op TEXT NOT NULL,
  rid,
  ts NOT NULL DEFAULT (julianday('now')),
  token NOT NULL DEFAULT (randomblob(8))";

/// Rows put aside: old values only. `op`: for an insert or an update; `start`: the newest change then;
/// `seq`: of the change that told of its end already.
const PEEK: &str = "CREATE TABLE _relevo_peek(form INTEGER NOT NULL, op, start, rid, seq";

/// The most columns of a table that can be watched: SQLite allows 2,000, the change table holds each
/// twice, and has six of its own.
pub(crate) const MOST_COLUMNS: usize = (2_000 - 6) / 2;

/// What `_relevo_meta` remembers.
#[derive(Debug)]
pub(crate) struct Meta {
    /// Which database this is, until it is detached.
    pub incarnation: String,
    /// The incarnation began just now: nothing was watched before.
    pub first: bool,
    /// See [`Form::mark`].
    pub mark: String,
    pub gap: Option<String>,
    /// The form that each table's triggers were made for.
    pub attached: BTreeMap<String, FormId>,
}

/// Reads what is remembered, and makes it where nothing is.
pub(crate) async fn prepare(db: &mut SqliteConnection) -> Result<Meta, CaptureError> {
    if is_there(db, "_relevo_meta").await? {
        let found: Option<String> = get(db, "format").await?;
        match found {
            Some(found) if found != FORMAT => return Err(CaptureError::Format { found, reads: FORMAT }),
            _ => {}
        }
    }
    sqlx::raw_sql(MEMORY).execute(&mut *db).await?;
    put(db, "format", FORMAT).await?;
    let random = || Uuid::new_v4().simple().to_string();
    let known: Option<String> = get(db, "incarnation").await?;
    let first = known.is_none();
    let incarnation = known.unwrap_or_else(random);
    put(db, "incarnation", &incarnation).await?;
    let mark = get(db, "mark").await?.unwrap_or_else(random);
    put(db, "mark", &mark).await?;
    let rows = sqlx::query("SELECT substr(key, 7), cast(value AS INTEGER) FROM _relevo_meta WHERE key LIKE 'table:%'")
        .fetch_all(&mut *db)
        .await?;
    let attached = rows.iter().map(|row| Ok((row.try_get(0)?, FormId(row.try_get(1)?))));
    Ok(Meta { incarnation, first, mark, gap: get(db, "gap").await?, attached: attached.collect::<sqlx::Result<_>>()? })
}

/// What is remembered under a key.
pub(crate) async fn get(db: &mut SqliteConnection, key: &str) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar("SELECT value FROM _relevo_meta WHERE key = ?").bind(key).fetch_optional(db).await
}

/// Remembers something; writes nothing where it is remembered already.
pub(crate) async fn put(db: &mut SqliteConnection, key: &str, value: &str) -> sqlx::Result<()> {
    sqlx::query(
        "INSERT INTO _relevo_meta(key, value) VALUES (?, ?) \
         ON CONFLICT(key) DO UPDATE SET value = excluded.value WHERE value <> excluded.value",
    )
    .bind(key)
    .bind(value)
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn forget(db: &mut SqliteConnection, key: &str) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM _relevo_meta WHERE key = ?").bind(key).execute(db).await?;
    Ok(())
}

/// Makes the change table, with room for the values of tables of this many columns.
pub(crate) async fn make_room(db: &mut SqliteConnection, columns: usize) -> sqlx::Result<()> {
    // At once: column by column, a wide table takes seconds.
    let at_once = |table: &str, columns: usize| {
        let columns: String = (0..columns).map(|column| format!(", c{column}")).collect();
        format!("{table}{columns})")
    };
    if !is_there(db, "_relevo_changes").await? {
        run(db, at_once(CHANGES, 2 * columns)).await?;
    }
    let room: i64 = sqlx::query_scalar("SELECT (count(*) - 6) / 2 FROM pragma_table_info('_relevo_changes')")
        .fetch_one(&mut *db)
        .await?;
    let room = usize::try_from(room).unwrap_or_default();
    // It is made anew where it lacks a column that it once had not.
    let fits = sqlx::query("SELECT 1 FROM pragma_table_info('_relevo_peek') WHERE name = 'start'");
    if fits.fetch_optional(&mut *db).await?.is_none() {
        run(db, "DROP TABLE IF EXISTS _relevo_peek".to_owned()).await?;
        run(db, at_once(PEEK, room)).await?;
    }
    for column in room..columns {
        run(db, format!("ALTER TABLE _relevo_peek ADD COLUMN c{column}")).await?;
        for column in [2 * column, 2 * column + 1] {
            run(db, format!("ALTER TABLE _relevo_changes ADD COLUMN c{column}")).await?;
        }
    }
    // Nobody writes meanwhile: what is put aside is left from a write that didn't happen.
    run(db, "DELETE FROM _relevo_peek".to_owned()).await?;
    // A row that can be found again: without one, a restored file couldn't be told.
    let first = "INSERT INTO _relevo_changes(form, op) SELECT 0, '=' WHERE NOT EXISTS (SELECT 1 FROM _relevo_changes)";
    run(db, first.to_owned()).await
}

/// The number of a form, which is kept from now on.
pub(crate) async fn number(db: &mut SqliteConnection, form: &Form) -> Result<FormId, CaptureError> {
    let text = serde_json::to_string(form).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query("INSERT INTO _relevo_forms(tbl, form) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM _relevo_forms WHERE form = ?2)")
        .bind(&**form.table())
        .bind(&text)
        .execute(&mut *db)
        .await?;
    let id = sqlx::query_scalar("SELECT id FROM _relevo_forms WHERE form = ?").bind(&text).fetch_one(db).await?;
    Ok(FormId(id))
}

/// A form that is kept; none if there is none, or it can't be read.
pub(crate) async fn form(db: &mut SqliteConnection, id: FormId) -> sqlx::Result<Option<Form>> {
    let text: Option<String> =
        sqlx::query_scalar("SELECT form FROM _relevo_forms WHERE id = ?").bind(id.0).fetch_optional(db).await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// A trigger of ours as the schema has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub sql: String,
    /// Grows from the oldest trigger to the newest.
    pub age: i64,
}

/// Our triggers, by name.
pub(crate) async fn triggers(db: &mut SqliteConnection) -> sqlx::Result<BTreeMap<String, Made>> {
    let rows =
        sqlx::query("SELECT name, sql, rowid FROM sqlite_schema WHERE type = 'trigger' AND substr(name, 1, 8) = ?")
            .bind(PREFIX)
            .fetch_all(db)
            .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, Made { sql: row.try_get(1)?, age: row.try_get(2)? }))).collect()
}

pub(crate) async fn is_there(db: &mut SqliteConnection, table: &str) -> sqlx::Result<bool> {
    let there = sqlx::query("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").bind(table);
    Ok(there.fetch_optional(db).await?.is_some())
}

/// Runs SQL that was made of the schema's own names, quoted.
pub(crate) async fn run(db: &mut SqliteConnection, sql: String) -> sqlx::Result<()> {
    sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(db).await?;
    Ok(())
}
