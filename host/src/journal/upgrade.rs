//! Brings a journal of an earlier format to this one, in one transaction, when it is opened.

use sqlx::{Row, SqliteConnection};

use super::codec::{self, CONTROL};
use super::index::unsql;
use super::{JournalError, RecordBody, letters};
use crate::event::Number;

/// What format 2 adds; it also says that the file has it.
pub(super) const TABLES_OF_2: &str = include_str!("kept.sql");

/// Format 3 compresses the bodies of new records; those that are there stay as they are. It also says that the file
/// may have such.
pub(super) const TO_3: &str = "PRAGMA user_version = 3;";

/// Format 4 has the newest rows of the channels' index in a table of their own (see [`super::shares`]); rows that are
/// there stay where they are.
pub(super) const TO_4: &str = include_str!("recent.sql");

/// How many records are read at once: one may be large.
const PAGE: i64 = 32;

/// Format 1 had no checkpoints, and dead letters only as records: those that are left become letters.
/// `damaged` makes the error of a record that can't be read.
pub(super) async fn from_1(
    conn: &mut SqliteConnection,
    damaged: impl Fn(String) -> JournalError,
) -> Result<(), JournalError> {
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *conn).await?;
    sqlx::raw_sql(TABLES_OF_2).execute(&mut *conn).await?;
    let mut after = 0;
    loop {
        let page = "SELECT first, at, body FROM record WHERE kind = ? AND first > ? ORDER BY first LIMIT ?";
        let rows = sqlx::query(page).bind(CONTROL).bind(after).bind(PAGE).fetch_all(&mut *conn).await?;
        for row in &rows {
            after = row.try_get(0)?;
            let (number, body) = (Number(unsql(after)), row.try_get::<&[u8], _>(2)?);
            let record = codec::decode(CONTROL, number, number, body).map_err(&damaged)?;
            if let RecordBody::Control(control) = &record.body {
                letters::apply(conn, number, row.try_get(1)?, control, body).await?;
            }
        }
        if rows.is_empty() {
            break;
        }
    }
    sqlx::raw_sql("COMMIT").execute(conn).await?;
    Ok(())
}
