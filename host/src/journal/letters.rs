//! Dead letters: kept beside the records that told of them, until they are closed or their own
//! retention takes them. Filled when a control record is applied, read by operators' tools and rebuilds.

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::index::{sql, unsql};
use super::prune::STEP;
use super::reader::Reader;
use super::{Control, JournalError, RecordBody, StoredLetter, codec};
use crate::event::{Micros, Name, Number};

/// How many bytes of letters are read at once, but at least one letter.
const PAGE_BYTES: usize = 4 << 20;

type Result<T> = std::result::Result<T, JournalError>;

/// Makes true what a control record says of letters, if it does; `body` is its stored form.
pub(super) async fn apply(
    conn: &mut SqliteConnection,
    number: Number,
    at: i64,
    control: &Control,
    body: &[u8],
) -> Result<()> {
    match control {
        Control::DeadLetter(letter) => {
            sqlx::query(
                "INSERT INTO dead_letter (number, pipeline, plugin, version, reason, at, event, bytes, body) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(sql(number.0))
            .bind(&*letter.pipeline)
            .bind(&*letter.plugin)
            .bind(&*letter.version)
            .bind(&*letter.reason)
            .bind(at)
            .bind(sql(letter.number.0))
            .bind(sql(body.len() as u64))
            .bind(body)
            .execute(&mut *conn)
            .await?;
            sqlx::query("INSERT OR IGNORE INTO letter_event (pipeline, event) VALUES (?, ?)")
                .bind(&*letter.pipeline)
                .bind(sql(letter.number.0))
                .execute(conn)
                .await?;
        }
        Control::LetterClosed { pipeline, letter, .. } => {
            sqlx::query("DELETE FROM dead_letter WHERE number = ? AND pipeline = ?")
                .bind(sql(letter.0))
                .bind(&**pipeline)
                .execute(conn)
                .await?;
        }
        _ => {}
    }
    Ok(())
}

/// Forgets which events had letters, up to a number: nobody meets them again.
pub(super) async fn forget_events(conn: &mut SqliteConnection, through: Number) -> Result<()> {
    sqlx::query("DELETE FROM letter_event WHERE event <= ?").bind(sql(through.0)).execute(conn).await?;
    Ok(())
}

/// Deletes some of the letters up to a number. Returns how many there were.
pub(super) async fn delete_some(conn: &mut SqliteConnection, through: Number) -> Result<u64> {
    let some = "DELETE FROM dead_letter WHERE number IN \
                (SELECT number FROM dead_letter WHERE number <= ? ORDER BY number LIMIT ?)";
    Ok(sqlx::query(some).bind(sql(through.0)).bind(STEP).execute(conn).await?.rows_affected())
}

impl Reader<'_> {
    /// A letter, and how many bytes it has.
    fn letter(&self, row: &SqliteRow) -> Result<(StoredLetter, usize)> {
        let columns = || Ok((unsql(row.try_get(0)?), unsql(row.try_get(1)?), row.try_get::<&[u8], _>(2)?));
        let (number, at, body) = columns().map_err(|e| self.shared.storage(e))?;
        let number = Number(number);
        let record = codec::decode(codec::CONTROL, number, number, body).map_err(|why| self.shared.damaged(why))?;
        match record.body {
            RecordBody::Control(Control::DeadLetter(letter)) => {
                Ok((StoredLetter { number, at: Micros(at), letter: *letter }, record.bytes))
            }
            _ => Err(self.shared.damaged(format!("letter {number} is none"))),
        }
    }

    /// See [`super::Journal::dead_letters`].
    pub(super) async fn dead_letters(
        &self,
        pipeline: Option<&str>,
        after: Number,
        limit: usize,
    ) -> Result<Vec<StoredLetter>> {
        let head = self.shared.head();
        let mut conn = self.conn().await?;
        let text = match pipeline {
            Some(_) => {
                "SELECT number, at, body FROM dead_letter WHERE number > ?1 AND number <= ?2 AND pipeline = ?4 \
                 ORDER BY number LIMIT ?3"
            }
            None => {
                "SELECT number, at, body FROM dead_letter WHERE number > ?1 AND number <= ?2 ORDER BY number LIMIT ?3"
            }
        };
        let mut query =
            sqlx::query(text).bind(sql(after.0)).bind(sql(head.0)).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        if let Some(pipeline) = pipeline {
            query = query.bind(pipeline);
        }
        let (mut letters, mut bytes) = (Vec::new(), 0);
        let mut rows = query.fetch(&mut *conn);
        // One by one: all of them may be more than memory should hold.
        while let Some(row) = rows.try_next().await.map_err(|e| self.shared.storage(e))? {
            let (letter, weight) = self.letter(&row)?;
            bytes += weight;
            if bytes > PAGE_BYTES && !letters.is_empty() {
                break;
            }
            letters.push(letter);
        }
        Ok(letters)
    }

    /// See [`super::Journal::dead_letter`].
    pub(super) async fn dead_letter(&self, number: Number) -> Result<Option<StoredLetter>> {
        if number > self.shared.head() {
            return Ok(None);
        }
        let mut conn = self.conn().await?;
        let row = sqlx::query("SELECT number, at, body FROM dead_letter WHERE number = ?")
            .bind(sql(number.0))
            .fetch_optional(&mut *conn)
            .await
            .map_err(|e| self.shared.storage(e))?;
        Ok(row.map(|row| self.letter(&row)).transpose()?.map(|(letter, _)| letter))
    }

    /// See [`super::Journal::dead_letter_count`].
    pub(super) async fn dead_letter_count(&self) -> Result<BTreeMap<Name, u64>> {
        let wrap = |e| self.shared.storage(e);
        let mut conn = self.conn().await?;
        let rows = sqlx::query("SELECT pipeline, count(*) FROM dead_letter WHERE number <= ? GROUP BY pipeline")
            .bind(sql(self.shared.head().0))
            .fetch_all(&mut *conn)
            .await
            .map_err(wrap)?;
        let count = |row: &SqliteRow| Ok((Name::from(row.try_get::<&str, _>(0)?), unsql(row.try_get(1)?)));
        rows.iter().map(|row| count(row).map_err(wrap)).collect()
    }

    /// See [`super::Journal::events_with_letters`].
    pub(super) async fn events_with_letters(&self, pipeline: &str) -> Result<Vec<Number>> {
        let mut conn = self.conn().await?;
        let events: Vec<i64> = sqlx::query_scalar("SELECT event FROM letter_event WHERE pipeline = ? ORDER BY event")
            .bind(pipeline)
            .fetch_all(&mut *conn)
            .await
            .map_err(|e| self.shared.storage(e))?;
        Ok(events.into_iter().map(|event| Number(unsql(event))).collect())
    }
}
