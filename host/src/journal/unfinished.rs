//! Snapshots whose last chunk has not come. They outlive a restart, so that capture can go on where it was broken off.

use sqlx::{Row, SqliteConnection};

use super::index::{Index, StagedKey, sql};
use super::{Append, JournalError, RecordBody, codec};
use crate::event::Number;

/// Hands an unfinished snapshot over to another request of its pipeline, and gives its last chunk; None where
/// there is none. What the pipeline waits for is known by the first chunk, so that one alone is written anew.
pub(super) async fn take_over(
    conn: &mut SqliteConnection,
    index: &mut Index,
    key: &StagedKey,
    request: Number,
) -> Result<Option<Append>, JournalError> {
    let Some(staged) = index.staged.get_mut(key) else { return Ok(None) };
    if staged.snapshot != Some(request) {
        let Some((chunk, mut first)) = chunk(conn, key, FIRST).await? else { return Ok(None) };
        if let Some(part) = &mut first.snapshot {
            part.request = request;
        }
        // It was within the limit before, and hasn't grown but for this number.
        let pieces = codec::prepare_append(first, usize::MAX)?.pieces;
        let Some(piece) = pieces.first() else { return Ok(None) };
        let body = piece.body.as_slice();
        sqlx::query("UPDATE chunk SET body = ? WHERE id = ?").bind(body).bind(chunk).execute(&mut *conn).await?;
        let size = sql(piece.size as u64);
        sqlx::query("UPDATE staged SET size = ? WHERE chunk = ?").bind(size).bind(chunk).execute(&mut *conn).await?;
        staged.snapshot = Some(request);
        // The first of them may be there, as it was.
        staged.kept.clear();
        staged.kept_bytes = 0;
    }
    Ok(chunk(conn, key, LAST).await?.map(|(_, last)| last))
}

/// Which request an unfinished snapshot answers; None for what can't be read: nobody goes on with it.
pub(super) async fn request(conn: &mut SqliteConnection, key: &StagedKey) -> Result<Option<Number>, sqlx::Error> {
    let (_, first) = chunk(conn, key, FIRST).await?.unzip();
    Ok(first.and_then(|first| first.snapshot).map(|part| part.request))
}

/// Which unfinished snapshots.
pub(super) type Like = Box<dyn Fn(&StagedKey) -> bool + Send + Sync>;

/// Drops those like these. Transactions that are not whole yet stay: their sources go on with them.
pub(super) async fn discard(
    conn: &mut SqliteConnection,
    index: &mut Index,
    like: &(dyn Fn(&StagedKey) -> bool + Send + Sync),
) -> Result<(), JournalError> {
    let gone = |key: &&StagedKey| !key.pipeline.is_empty() && like(key);
    let gone: Vec<StagedKey> = index.staged.keys().filter(gone).cloned().collect();
    for key in gone {
        super::append::discard(conn, index, &key).await?;
    }
    Ok(())
}

const FIRST: &str = "";
const LAST: &str = "DESC";

/// The first or the last chunk, if it can be read: where it can't, the rows are read anew.
async fn chunk(
    conn: &mut SqliteConnection,
    key: &StagedKey,
    which: &str,
) -> Result<Option<(i64, Append)>, sqlx::Error> {
    let sql = format!(
        "SELECT id, body FROM staged JOIN chunk ON id = chunk WHERE source = ? AND pipeline = ? ORDER BY chunk {which} LIMIT 1"
    );
    let row =
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(&*key.source).bind(&*key.pipeline).fetch_optional(conn).await?;
    let Some(row) = row else { return Ok(None) };
    let body: Vec<u8> = row.try_get(1)?;
    match codec::decode(codec::APPEND, Number::ZERO, Number::ZERO, &body).map(|record| record.body) {
        Ok(RecordBody::Append(append)) => Ok(Some((row.try_get(0)?, append))),
        _ => Ok(None),
    }
}
