//! Checkpoints of pipelines' states: taken when the control record that asks for one is applied, listed
//! and read by whoever goes back to one or tries a version from it, dropped by retention.
//!
//! Nothing is copied when one is taken (64 MiB would hold the writer for a second): from then on, what a
//! commit replaces is kept, once for each entry. An entry at a checkpoint is what was replaced first since
//! then, or, if nothing was, what it is now.

use std::collections::HashMap;

use sqlx::{Connection as _, Row, SqliteConnection};

use super::commit::save_cursor;
use super::index::{Cursor, Index, sql, unsql};
use super::reader::Reader;
use super::script::Script;
use super::{CheckpointInfo, JournalError, PipelineState};
use crate::event::{Micros, Name, Number};

type Result<T> = std::result::Result<T, JournalError>;

/// How many replaced entries one step deletes.
const STEP: i64 = 512;

/// Marks the place in the state of a pipeline, if there is such a pipeline, and drops what is more than
/// the newest `keep` of it.
///
/// The cursor is the newest one, in memory though it may be: nothing came of the events between the
/// saved one and it, so the state is that of both, and events that were passed need not be kept for it.
/// It is saved here, or after a crash a pipeline could stand behind its checkpoint.
pub(super) async fn take(
    script: &mut Script<'_>,
    index: &mut Index,
    number: Number,
    at: i64,
    pipeline: &Name,
    reason: &str,
    keep: u32,
) -> Result<()> {
    let Some(cursor) = index.known.cursors.get(pipeline).copied() else { return Ok(()) };
    if !cursor.is_saved() {
        save_cursor(script, pipeline, cursor.number, cursor.gap);
        index.known.cursors.insert(pipeline.clone(), Cursor { saved: Some(cursor.number), ..cursor });
    }
    let row = "INSERT INTO checkpoint (number, pipeline, cursor, at, reason, bytes) \
               SELECT ?1, ?2, ?3, ?4, ?5, coalesce(sum(octet_length(owner) + octet_length(key) + length(value)), 0) \
               FROM state WHERE pipeline = ?2";
    sqlx::query(row)
        .bind(sql(number.0))
        .bind(&**pipeline)
        .bind(sql(cursor.number.0))
        .bind(at)
        .bind(reason)
        .execute(script.conn().await?)
        .await?;
    let beyond = "UPDATE checkpoint SET dropped = 1 WHERE pipeline = ?1 AND dropped = 0 AND number <= \
                  (SELECT number FROM checkpoint WHERE pipeline = ?1 AND dropped = 0 \
                   ORDER BY number DESC LIMIT 1 OFFSET ?2)";
    sqlx::query(beyond).bind(&**pipeline).bind(i64::from(keep)).execute(script.conn().await?).await?;
    index.keeping.insert(pipeline.clone(), number);
    Ok(())
}

/// For which checkpoint each pipeline's replaced entries are kept: the newest, even if it is dropped and
/// an older one is not.
pub(super) async fn keeping(conn: &mut SqliteConnection) -> std::result::Result<HashMap<Name, Number>, sqlx::Error> {
    let newest = "SELECT pipeline, max(number) FROM checkpoint GROUP BY pipeline HAVING min(dropped) = 0";
    let rows = sqlx::query(newest).fetch_all(conn).await?;
    rows.iter().map(|row| Ok((row.try_get::<&str, _>(0)?.into(), Number(unsql(row.try_get(1)?))))).collect()
}

/// Keeps entries as they are before they change, unless they changed before since the checkpoint.
pub(super) async fn keep(
    script: &mut Script<'_>,
    checkpoint: Number,
    pipeline: &Name,
    entries: &[(&Name, &str)],
) -> Result<()> {
    let head = "INSERT OR IGNORE INTO replaced (checkpoint, owner, key, value) \
                SELECT w.column1, w.column3, w.column4, s.value FROM (";
    let tail = ") AS w LEFT JOIN state AS s ON s.pipeline = w.column2 AND s.owner = w.column3 AND s.key = w.column4";
    script
        .rows(head, 4, tail, entries, |values, (owner, key)| {
            values.bind(sql(checkpoint.0)).bind(&**pipeline).bind(&***owner).bind(*key);
        })
        .await?;
    Ok(())
}

/// Keeps a whole state before it goes.
pub(super) async fn keep_all(conn: &mut SqliteConnection, checkpoint: Number, pipeline: &str) -> Result<()> {
    let all = "INSERT OR IGNORE INTO replaced (checkpoint, owner, key, value) \
               SELECT ?, owner, key, value FROM state WHERE pipeline = ? ORDER BY owner, key";
    sqlx::query(all).bind(sql(checkpoint.0)).bind(pipeline).execute(conn).await?;
    Ok(())
}

/// Drops checkpoints whose events are gone.
pub(super) async fn drop_before(conn: &mut SqliteConnection, index: &mut Index, floor: Number) -> Result<()> {
    let passed = "UPDATE checkpoint SET dropped = 1 WHERE cursor < ? AND dropped = 0";
    if sqlx::query(passed).bind(sql(floor.0)).execute(&mut *conn).await?.rows_affected() > 0 {
        index.keeping = keeping(conn).await?;
    }
    Ok(())
}

/// Drops one. Returns whether it was there.
pub(super) async fn drop_one(conn: &mut SqliteConnection, index: &mut Index, number: Number) -> Result<bool> {
    let one = "UPDATE checkpoint SET dropped = 1 WHERE number = ? AND dropped = 0";
    let dropped = sqlx::query(one).bind(sql(number.0)).execute(&mut *conn).await?.rows_affected() > 0;
    index.keeping = keeping(conn).await?;
    Ok(dropped)
}

/// Drops all of a pipeline.
pub(super) async fn drop_all(conn: &mut SqliteConnection, index: &mut Index, pipeline: &str) -> Result<()> {
    let all = "UPDATE checkpoint SET dropped = 1 WHERE pipeline = ? AND dropped = 0";
    sqlx::query(all).bind(pipeline).execute(conn).await?;
    index.keeping.remove(pipeline);
    Ok(())
}

/// Dropped checkpoints whose entries no older one needs.
pub(super) const UNNEEDED: &str = "SELECT number FROM checkpoint AS c WHERE dropped = 1 AND NOT EXISTS \
    (SELECT 1 FROM checkpoint WHERE pipeline = c.pipeline AND number < c.number AND dropped = 0) LIMIT 1";

/// Deletes some of what is unneeded. Returns whether there was any.
pub(super) async fn delete_some(conn: &mut SqliteConnection) -> Result<bool> {
    let Some(number) = sqlx::query_scalar::<_, i64>(UNNEEDED).fetch_optional(&mut *conn).await? else {
        return Ok(false);
    };
    let some = "DELETE FROM replaced WHERE (checkpoint, owner, key) IN \
                (SELECT checkpoint, owner, key FROM replaced WHERE checkpoint = ? LIMIT ?)";
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
        let mut conn = self.conn().await?;
        // One transaction, so that the state and what was replaced are of one moment.
        let read = async {
            let mut moment = conn.begin().await?;
            let found = read(&mut moment, number).await?;
            moment.commit().await?;
            Ok(found)
        };
        read.await.map_err(|e| self.shared.storage(e))
    }
}

async fn read(conn: &mut SqliteConnection, number: Number) -> std::result::Result<Option<PipelineState>, sqlx::Error> {
    let row = sqlx::query("SELECT pipeline, cursor FROM checkpoint WHERE number = ? AND dropped = 0")
        .bind(sql(number.0))
        .fetch_optional(&mut *conn)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let pipeline: String = row.try_get(0)?;
    let mut found = PipelineState { cursor: Number(unsql(row.try_get(1)?)), ..PipelineState::default() };
    let now = "SELECT owner, key, value FROM state WHERE pipeline = ?";
    for row in &sqlx::query(now).bind(&*pipeline).fetch_all(&mut *conn).await? {
        found.put(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    }
    // Back in time: what was replaced first comes last, and wins.
    let since = "SELECT number FROM checkpoint WHERE pipeline = ? AND number >= ? ORDER BY number DESC";
    let since: Vec<i64> = sqlx::query_scalar(since).bind(&*pipeline).bind(sql(number.0)).fetch_all(&mut *conn).await?;
    for checkpoint in since {
        let replaced = "SELECT owner, key, value FROM replaced WHERE checkpoint = ?";
        for row in &sqlx::query(replaced).bind(checkpoint).fetch_all(&mut *conn).await? {
            let (owner, key) = (row.try_get(0)?, row.try_get(1)?);
            match row.try_get::<Option<&[u8]>, _>(2)? {
                Some(value) => found.put(owner, key, value),
                None => found.take(owner, key),
            }
        }
    }
    Ok(Some(found))
}
