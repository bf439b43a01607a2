//! Checkpoints of pipelines' states: taken when the control record that asks for one is applied, listed
//! and read by whoever goes back to one or tries a version from it, dropped by retention.

use std::collections::BTreeMap;

use sqlx::{Row, SqliteConnection};

use super::commit::save_cursor;
use super::index::{Cursor, Index, sql, unsql};
use super::reader::Reader;
use super::{CheckpointInfo, JournalError, PipelineState};
use crate::event::{Micros, Name, Number};

type Result<T> = std::result::Result<T, JournalError>;

/// How many entries of a dropped state one step deletes.
const STEP: i64 = 512;

/// Copies the state of a pipeline, if there is such a pipeline, and drops what is more than the newest
/// `keep` of it.
///
/// The cursor is the newest one, in memory though it may be: nothing came of the events between the
/// saved one and it, so the state is that of both, and events that were passed need not be kept for it.
/// It is saved here, or after a crash a pipeline could stand behind its checkpoint.
pub(super) async fn take(
    conn: &mut SqliteConnection,
    index: &mut Index,
    number: Number,
    at: i64,
    pipeline: &Name,
    reason: &str,
    keep: u32,
) -> Result<()> {
    let Some(cursor) = index.known.cursors.get(pipeline).copied() else { return Ok(()) };
    if !cursor.is_saved() {
        save_cursor(conn, pipeline, cursor.number, cursor.gap).await?;
        index.known.cursors.insert(pipeline.clone(), Cursor { saved: Some(cursor.number), ..cursor });
    }
    let copy = "INSERT INTO checkpoint_state (checkpoint, owner, key, value) \
                SELECT ?, owner, key, value FROM state WHERE pipeline = ? ORDER BY owner, key";
    sqlx::query(copy).bind(sql(number.0)).bind(&**pipeline).execute(&mut *conn).await?;
    let row = "INSERT INTO checkpoint (number, pipeline, cursor, at, reason, bytes) \
               SELECT ?1, ?2, ?3, ?4, ?5, coalesce(sum(octet_length(owner) + octet_length(key) + length(value)), 0) \
               FROM checkpoint_state WHERE checkpoint = ?1";
    sqlx::query(row)
        .bind(sql(number.0))
        .bind(&**pipeline)
        .bind(sql(cursor.number.0))
        .bind(at)
        .bind(reason)
        .execute(&mut *conn)
        .await?;
    let beyond = "UPDATE checkpoint SET dropped = 1 WHERE pipeline = ?1 AND dropped = 0 AND number <= \
                  (SELECT number FROM checkpoint WHERE pipeline = ?1 AND dropped = 0 \
                   ORDER BY number DESC LIMIT 1 OFFSET ?2)";
    sqlx::query(beyond).bind(&**pipeline).bind(i64::from(keep)).execute(conn).await?;
    Ok(())
}

/// Drops checkpoints whose events are gone.
pub(super) async fn drop_before(conn: &mut SqliteConnection, floor: Number) -> Result<()> {
    let passed = "UPDATE checkpoint SET dropped = 1 WHERE cursor < ? AND dropped = 0";
    sqlx::query(passed).bind(sql(floor.0)).execute(conn).await?;
    Ok(())
}

/// Drops one. Returns whether it was there.
pub(super) async fn drop_one(conn: &mut SqliteConnection, number: Number) -> Result<bool> {
    let one = "UPDATE checkpoint SET dropped = 1 WHERE number = ? AND dropped = 0";
    let dropped = sqlx::query(one).bind(sql(number.0)).execute(conn).await?;
    Ok(dropped.rows_affected() > 0)
}

/// Drops all of a pipeline.
pub(super) async fn drop_all(conn: &mut SqliteConnection, pipeline: &str) -> Result<()> {
    let all = "UPDATE checkpoint SET dropped = 1 WHERE pipeline = ? AND dropped = 0";
    sqlx::query(all).bind(pipeline).execute(conn).await?;
    Ok(())
}

/// Deletes some of what was dropped. Returns whether there was any.
pub(super) async fn delete_some(conn: &mut SqliteConnection) -> Result<bool> {
    let oldest = "SELECT number FROM checkpoint WHERE dropped = 1 ORDER BY number LIMIT 1";
    let Some(number) = sqlx::query_scalar::<_, i64>(oldest).fetch_optional(&mut *conn).await? else {
        return Ok(false);
    };
    let some = "DELETE FROM checkpoint_state WHERE (checkpoint, owner, key) IN \
                (SELECT checkpoint, owner, key FROM checkpoint_state WHERE checkpoint = ? LIMIT ?)";
    let deleted = sqlx::query(some).bind(number).bind(STEP).execute(&mut *conn).await?.rows_affected();
    if deleted < unsql(STEP) {
        sqlx::query("DELETE FROM checkpoint WHERE number = ?").bind(number).execute(conn).await?;
    }
    Ok(true)
}

impl Reader<'_> {
    /// See [`super::Journal::checkpoints`].
    pub(super) async fn checkpoints(&self, pipeline: &str) -> Result<Vec<CheckpointInfo>> {
        let head = self.shared.head();
        let wrap = |e| self.shared.storage(e);
        let mut conn = self.conn().await?;
        let rows = sqlx::query(
            "SELECT number, cursor, at, reason, bytes FROM checkpoint \
             WHERE pipeline = ? AND dropped = 0 AND number <= ? ORDER BY number",
        )
        .bind(pipeline)
        .bind(sql(head.0))
        .fetch_all(&mut *conn)
        .await
        .map_err(wrap)?;
        let info = |row: &sqlx::sqlite::SqliteRow| {
            Ok(CheckpointInfo {
                number: Number(unsql(row.try_get(0)?)),
                cursor: Number(unsql(row.try_get(1)?)),
                at: Micros(unsql(row.try_get(2)?)),
                reason: row.try_get::<String, _>(3)?.into(),
                bytes: unsql(row.try_get(4)?),
            })
        };
        rows.iter().map(|row| info(row).map_err(wrap)).collect()
    }

    /// See [`super::Journal::checkpoint`].
    pub(super) async fn checkpoint(&self, number: Number) -> Result<Option<PipelineState>> {
        if number > self.shared.head() {
            return Ok(None);
        }
        let wrap = |e| self.shared.storage(e);
        let mut conn = self.conn().await?;
        // One statement, so that it is whole or not there: entries of a dropped one go step by step.
        let rows = sqlx::query(
            "SELECT cursor, owner, key, value FROM checkpoint LEFT JOIN checkpoint_state ON checkpoint = number \
             WHERE number = ? AND dropped = 0",
        )
        .bind(sql(number.0))
        .fetch_all(&mut *conn)
        .await
        .map_err(wrap)?;
        drop(conn);
        let Some(first) = rows.first() else { return Ok(None) };
        let cursor = Number(unsql(first.try_get(0).map_err(wrap)?));
        let mut found = PipelineState { cursor, state: BTreeMap::new() };
        for row in &rows {
            // None: the state was empty.
            let Some(owner) = row.try_get::<Option<&str>, _>(1).map_err(wrap)? else { continue };
            found.put(owner, row.try_get(2).map_err(wrap)?, row.try_get(3).map_err(wrap)?);
        }
        Ok(Some(found))
    }
}
