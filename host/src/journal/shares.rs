//! The channels' index: which records hold messages of a channel, how many, and how large. Readers, retention and the
//! check see it as one; it is kept in two tables.
//!
//! A commit's rows go into `channel_recent`, in the order of records: a commit of a hundred channels touches a page or
//! two there, where it would touch a hundred of `channel_index`, whose order is that of channels. From
//! [`Recent::LIMIT`] rows on the writer moves them, by channel, between its transactions: a page of `channel_index`
//! is written once for all rows that came for it meanwhile.
//!
//! The contract: a row is in exactly one of the two tables, at any moment that a statement can see. A move inserts and
//! deletes in one transaction, and whoever reads asks for both in one statement ([`ROWS`]); so does whoever deletes, in
//! one transaction. Rows that are moved may be newer than some that are not: the two tables are no older and newer half.

use sqlx::{Row as _, SqliteConnection};

use super::index::{Index, sql, unsql};
use super::script::Script;
use super::writer::Writer;
use crate::event::Number;

/// Both tables as one, to read from.
pub(super) const ROWS: &str = "(SELECT channel, record, messages, bytes FROM channel_index \
                               UNION ALL SELECT channel, record, messages, bytes FROM channel_recent)";

/// A row of the index: channel, record, how many messages it has of the channel, and their bytes.
pub(super) type Share = (i64, i64, i64, i64);

/// What the writer knows of `channel_recent`.
#[derive(Debug, Default)]
pub(super) struct Recent {
    rows: u64,
    /// Since the round began, or its last move.
    came: u64,
    /// How far the round of moves that is under way has come, by channel and record. Each begins where the one before
    /// ended, and what came behind it waits for the next round: a page isn't written twice in a round.
    moved: Option<(i64, i64)>,
    /// A move failed: none before there are so many rows.
    wait: u64,
}

impl Recent {
    /// How many rows begin a round: 4,096, some 100 KB. A reader that asks for a channel goes through them all.
    pub(super) const LIMIT: u64 = 4096;

    /// How many rows one move takes, at least: each may write a page of its own. A move took at most 7.5 ms (unoptimised, on a
    /// busy machine), so none comes before half as many rows have come: whoever waits for the writer meets one now and then,
    /// and not one after the other.
    pub(super) const MOVE: u64 = 256;

    pub(super) async fn load(conn: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM channel_recent").fetch_one(conn).await?;
        Ok(Self { rows: unsql(rows), ..Self::default() })
    }

    /// How many rows to move now; None: none.
    fn due(&mut self) -> Option<u64> {
        let begun = self.moved.is_some() || self.rows >= Self::LIMIT;
        if !begun || self.rows < self.wait {
            // What came before a round is the round's work, and no reason to hurry with it.
            self.came = 0;
            return None;
        }
        if self.came < Self::MOVE / 2 {
            return None;
        }
        // Never slower than they come.
        Some(Self::MOVE.max(2 * std::mem::take(&mut self.came)))
    }
}

/// Adds a commit's rows.
pub(super) async fn add(script: &mut Script<'_>, index: &mut Index, rows: &[Share]) -> Result<(), sqlx::Error> {
    let head = "INSERT INTO channel_recent (channel, record, messages, bytes)";
    script
        .rows(head, 4, "", rows, |values, row| {
            values.bind(row.0).bind(row.1).bind(row.2).bind(row.3);
        })
        .await?;
    index.recent.rows += rows.len() as u64;
    index.recent.came += rows.len() as u64;
    Ok(())
}

/// Moves the next rows, at most `limit`, inside the transaction.
async fn move_some(conn: &mut SqliteConnection, index: &mut Index, limit: u64) -> Result<(), sqlx::Error> {
    let from = index.recent.moved.unwrap_or((-1, -1));
    let last = "SELECT channel, record FROM channel_recent WHERE (channel, record) > (?, ?) \
                ORDER BY channel, record LIMIT 1 OFFSET ?";
    let last = sqlx::query(last).bind(from.0).bind(from.1).bind(sql(limit.saturating_sub(1)));
    let last = last.fetch_optional(&mut *conn).await?;
    let to = match &last {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (i64::MAX, i64::MAX),
    };
    let mut rows = 0;
    for text in [
        "INSERT INTO channel_index (channel, record, messages, bytes) \
         SELECT channel, record, messages, bytes FROM channel_recent \
         WHERE (channel, record) > (?1, ?2) AND (channel, record) <= (?3, ?4) ORDER BY channel, record",
        "DELETE FROM channel_recent WHERE (channel, record) > (?1, ?2) AND (channel, record) <= (?3, ?4)",
    ] {
        let moved = sqlx::query(text).bind(from.0).bind(from.1).bind(to.0).bind(to.1).execute(&mut *conn).await?;
        rows = moved.rows_affected();
    }
    let recent = &mut index.recent;
    recent.rows = recent.rows.saturating_sub(rows);
    recent.moved = last.is_some().then_some(to);
    recent.wait = 0;
    Ok(())
}

/// The same, and the writer moves none by itself from then on. False: the round is over.
#[cfg(test)]
pub(super) async fn move_only(conn: &mut SqliteConnection, index: &mut Index, limit: u64) -> Result<bool, sqlx::Error> {
    move_some(conn, index, limit).await?;
    index.recent.wait = u64::MAX;
    Ok(index.recent.moved.is_some())
}

/// Deletes the rows of all records that end up to a number; their channels.
pub(super) async fn delete_through(
    conn: &mut SqliteConnection,
    index: &mut Index,
    through: Number,
) -> Result<Vec<i64>, sqlx::Error> {
    let which = "WHERE record IN (SELECT first FROM record WHERE first <= ?1 AND last <= ?1) RETURNING channel";
    let mut channels = Vec::new();
    for table in ["channel_index", "channel_recent"] {
        let text = sqlx::AssertSqlSafe(format!("DELETE FROM {table} {which}"));
        let rows: Vec<i64> = sqlx::query_scalar(text).bind(sql(through.0)).fetch_all(&mut *conn).await?;
        forget(index, table, rows.len());
        channels.extend(rows);
    }
    channels.sort_unstable();
    channels.dedup();
    Ok(channels)
}

/// Deletes the oldest rows of a channel, at most `limit`, of records that begin up to `through`; those records.
pub(super) async fn delete_oldest(
    conn: &mut SqliteConnection,
    index: &mut Index,
    channel: i64,
    through: Number,
    limit: i64,
) -> Result<Vec<i64>, sqlx::Error> {
    let oldest = format!("SELECT record FROM {ROWS} WHERE channel = ? AND record <= ? ORDER BY record LIMIT ?");
    let oldest = sqlx::query_scalar(sqlx::AssertSqlSafe(oldest)).bind(channel).bind(sql(through.0)).bind(limit);
    let records: Vec<i64> = oldest.fetch_all(&mut *conn).await?;
    let Some(last) = records.last() else { return Ok(records) };
    for table in ["channel_index", "channel_recent"] {
        let text = sqlx::AssertSqlSafe(format!("DELETE FROM {table} WHERE channel = ? AND record <= ?"));
        let deleted = sqlx::query(text).bind(channel).bind(last).execute(&mut *conn).await?;
        forget(index, table, usize::try_from(deleted.rows_affected()).unwrap_or_default());
    }
    Ok(records)
}

fn forget(index: &mut Index, table: &str, rows: usize) {
    if table == "channel_recent" {
        index.recent.rows = index.recent.rows.saturating_sub(rows as u64);
    }
}

impl Writer {
    /// Moves some rows, where there are enough, in a transaction of its own: whoever waited for the one before has been
    /// answered.
    pub(super) async fn move_recent(&mut self) {
        let Some(limit) = self.index.recent.due() else { return };
        if self.shared.check().is_err() {
            return;
        }
        let moved = async {
            self.execute("BEGIN IMMEDIATE").await?;
            move_some(&mut self.conn, &mut self.index, limit).await.map_err(|e| self.shared.storage(e))?;
            self.execute("COMMIT").await
        };
        if let Err(error) = moved.await {
            tracing::warn!(%error, "the channels' index could not be put in order; trying again later");
            // Fails if SQLite has rolled back by itself already.
            let _ = self.execute("ROLLBACK").await;
            let known = Recent::load(&mut self.conn).await;
            let rows = known.map_or(self.index.recent.rows, |known| known.rows);
            self.index.recent = Recent { rows, wait: rows + Recent::LIMIT, ..Recent::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Recent;

    #[test]
    fn a_round_goes_in_small_steps_with_commits_between_them_and_keeps_up_with_many() {
        for each in [3, 100, 1000] {
            let (mut recent, mut moves, mut before) = (Recent::default(), 0, 0);
            for _ in 0..40_000 / each {
                recent.rows += each;
                recent.came += each;
                before += each;
                let Some(limit) = recent.due() else { continue };
                assert!(
                    limit <= Recent::MOVE.max(2 * (Recent::MOVE / 2 + each)),
                    "{limit} rows at once, of {each} a commit"
                );
                assert!(moves == 0 || before >= Recent::MOVE / 2, "a move after {before} rows");
                (recent.rows, recent.moved) = (recent.rows - limit, Some((0, 0)));
                (moves, before) = (moves + 1, 0);
                assert!(recent.rows < Recent::LIMIT + each, "{} rows wait", recent.rows);
                if recent.rows < limit {
                    recent.moved = None;
                }
            }
            assert!(moves > 10, "{moves} moves");
        }
    }
}
