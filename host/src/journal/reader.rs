//! Reads from SQLite what memory no longer has. Each answer is a few short statements: a long read
//! transaction would keep checkpoints from starting the WAL over.

use std::sync::Arc;

use sqlx::sqlite::SqlitePool;
use sqlx::{Row, SqliteConnection};

use super::index::{sql, unsql};
use super::shared::Shared;
use super::shares::ROWS;
use super::{Control, History, JournalError, PipelineState, Record, RecordBody, StateChannel, codec, tail};
use crate::event::{Number, Position};
use crate::message::{ChannelKind, ChannelName, Message};

type Result<T> = std::result::Result<T, JournalError>;

/// How many records one statement lists.
const PAGE: i64 = 256;

pub(super) struct Reader<'a> {
    pub(super) shared: &'a Shared,
    pub(super) pool: &'a SqlitePool,
}

const ROW: &str = "first, last, kind, coalesce(body, (SELECT c.body FROM chunk c WHERE c.id = record.chunk))";

fn select(which: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("SELECT {ROW} FROM record WHERE {which}"))
}

impl Reader<'_> {
    pub(super) async fn conn(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>> {
        self.pool.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolClosed => JournalError::Closed,
            other => self.shared.storage(other),
        })
    }

    fn record(&self, row: &sqlx::sqlite::SqliteRow) -> Result<Record> {
        let decoded = || -> std::result::Result<_, sqlx::Error> {
            Ok((unsql(row.try_get(0)?), unsql(row.try_get(1)?), row.try_get(2)?, row.try_get::<&[u8], _>(3)?))
        };
        let (first, last, kind, body) = decoded().map_err(|e| self.shared.storage(e))?;
        codec::decode(kind, Number(first), Number(last), body).map_err(|why| self.shared.damaged(why))
    }

    /// See [`super::Journal::read`].
    pub(super) async fn read(&self, after: Number, bytes: usize) -> Result<Vec<Arc<Record>>> {
        self.records(after, bytes, "").await.map(|(records, _)| records)
    }

    /// See [`super::Journal::read_events`].
    pub(super) async fn read_events(&self, after: Number, bytes: usize) -> Result<(Vec<Arc<Record>>, Number)> {
        const WITHOUT_COMMITS: &str = "AND kind <> 2";
        const { assert!(codec::COMMIT == 2) };
        self.records(after, bytes, WITHOUT_COMMITS).await
    }

    /// Records that are `wanted`, and the number up to which there are no others of them.
    async fn records(&self, after: Number, bytes: usize, wanted: &'static str) -> Result<(Vec<Arc<Record>>, Number)> {
        let head = self.shared.head();
        let mut conn = self.conn().await?;
        let wrap = |e| self.shared.storage(e);
        let start = first_of(&mut conn, after).await.map_err(wrap)?;
        let listed = format!(
            "SELECT first, size FROM record WHERE first >= ? AND last > ? AND last <= ? {wanted} ORDER BY first LIMIT ?"
        );
        let listed = sqlx::query(sqlx::AssertSqlSafe(listed))
            .bind(start)
            .bind(sql(after.0))
            .bind(sql(head.0))
            .bind(PAGE)
            .fetch_all(&mut *conn)
            .await
            .map_err(wrap)?;
        let mut room = i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut range = None;
        let mut whole = listed.len() < usize::try_from(PAGE).unwrap_or_default();
        for row in &listed {
            let (first, size): (i64, i64) = (row.try_get(0).map_err(wrap)?, row.try_get(1).map_err(wrap)?);
            let (from, _) = *range.get_or_insert((first, first));
            room -= size;
            if room < 0 && from != first {
                whole = false;
                break;
            }
            range = Some((from, first));
        }
        let rows = match range {
            None => Vec::new(),
            Some((from, to)) => sqlx::query(select(&format!("first BETWEEN ? AND ? {wanted} ORDER BY first")))
                .bind(from)
                .bind(to)
                .fetch_all(&mut *conn)
                .await
                .map_err(wrap)?,
        };
        // Asked last: what was deleted meanwhile is below it.
        let oldest = self.shared.floors().events;
        if after < oldest {
            return Err(JournalError::Pruned { after, oldest });
        }
        let records: Vec<_> = rows.iter().map(|row| self.record(row).map(Arc::new)).collect::<Result<_>>()?;
        let through = if whole { head } else { records.last().map_or(after, |record| record.last) };
        Ok((records, through))
    }

    /// See [`super::Journal::history`]; for what memory doesn't have.
    pub(super) async fn history(&self, channels: &[ChannelName], after: Number, limit: usize) -> Result<History> {
        let head = self.shared.head();
        let mut conn = self.conn().await?;
        let wrap = |e| self.shared.storage(e);
        let start = first_of(&mut conn, after).await.map_err(wrap)?;
        let mut records = std::collections::BTreeMap::<i64, i64>::new();
        let mut complete = i64::MAX;
        for channel in channels {
            let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
                "SELECT record, messages FROM {ROWS} WHERE channel = (SELECT id FROM channel WHERE name = ?) \
                 AND record >= ? AND record <= ? ORDER BY record LIMIT ?"
            )))
            .bind(channel.as_str())
            .bind(start)
            .bind(sql(head.0))
            .bind(PAGE)
            .fetch_all(&mut *conn)
            .await
            .map_err(wrap)?;
            let full = rows.len() == usize::try_from(PAGE).unwrap_or_default();
            for row in &rows {
                let (record, messages): (i64, i64) = (row.try_get(0).map_err(wrap)?, row.try_get(1).map_err(wrap)?);
                *records.entry(record).or_default() += messages;
            }
            if full {
                complete = complete.min(last_record(&rows));
            }
        }
        let mut found: Vec<Arc<Message>> = Vec::new();
        let mut through = head;
        for (first, _) in records.range(..=complete) {
            let row = sqlx::query(select("first = ?")).bind(*first).fetch_optional(&mut *conn).await.map_err(wrap)?;
            let Some(row) = row else { continue };
            let record = self.record(&row)?;
            through = record.last;
            if let RecordBody::Commit(commit) = record.body {
                found.extend(commit.messages.into_iter().filter(|m| {
                    m.number > after && m.channel_kind == ChannelKind::Stream && channels.contains(&m.channel)
                }));
            }
            if found.len() > limit {
                break;
            }
        }
        let all = found.len() <= limit && complete == i64::MAX;
        let (messages, through) = tail::cut(found, limit, if all { head } else { through });
        Ok(self.whole(channels, after, messages, through))
    }

    /// Takes out of what was found what retention has begun to take: the rest of such a channel is
    /// whole. Called after everything is read: what was deleted meanwhile is below the floors.
    pub(super) fn whole(
        &self,
        channels: &[ChannelName],
        after: Number,
        mut messages: Vec<Arc<Message>>,
        through: Number,
    ) -> History {
        let floors = self.shared.floors();
        let floor = |channel: &ChannelName| floors.channels.get(channel).copied().filter(|floor| after < *floor);
        let pruned: Vec<_> = channels.iter().filter_map(|channel| Some((channel.clone(), floor(channel)?))).collect();
        if !pruned.is_empty() {
            messages.retain(|message| floor(&message.channel).is_none_or(|floor| message.number > floor));
        }
        History { messages, through, pruned }
    }

    /// See [`super::Journal::state_channel`].
    pub(super) async fn state_channel(&self, channel: &ChannelName) -> Result<StateChannel> {
        let wrap = |e| self.shared.storage(e);
        let mut conn = self.conn().await?;
        // One statement, so that the number and the messages are of one moment.
        let rows = sqlx::query(
            "SELECT (SELECT last FROM record ORDER BY first DESC LIMIT 1), m.number, m.body FROM (SELECT 1) \
             LEFT JOIN (SELECT * FROM state_message WHERE channel = (SELECT id FROM channel WHERE name = ?)) m \
             ORDER BY m.key",
        )
        .bind(channel.as_str())
        .fetch_all(&mut *conn)
        .await
        .map_err(wrap)?;
        drop(conn);
        let mut as_of = Number::ZERO;
        let mut messages = Vec::with_capacity(rows.len());
        for row in &rows {
            as_of = Number(unsql(row.try_get::<Option<i64>, _>(0).map_err(wrap)?.unwrap_or_default()));
            let Some(number) = row.try_get::<Option<i64>, _>(1).map_err(wrap)? else { continue };
            let body: &[u8] = row.try_get(2).map_err(wrap)?;
            let message = codec::decode_message(Number(unsql(number)), body).map_err(|why| self.shared.damaged(why))?;
            messages.push(Arc::new(message));
        }
        // Retention may have taken the newest record, but not what it said here.
        as_of = messages.iter().map(|m: &Arc<Message>| m.number).fold(as_of, Number::max);
        // The disk may be ahead of what readers see by the transaction that is being published.
        let mut head = self.shared.head.subscribe();
        let _ = head.wait_for(|head| *head >= as_of || self.shared.check().is_err()).await;
        self.shared.check()?;
        Ok(StateChannel { channel: channel.clone(), as_of, messages })
    }

    pub(super) async fn state_keys(&self, pipeline: &str) -> Result<Vec<(ChannelName, Box<str>)>> {
        let wrap = |e| self.shared.storage(e);
        let mut conn = self.conn().await?;
        let rows = sqlx::query(
            "SELECT channel.name, m.key FROM state_message m JOIN channel ON channel.id = m.channel \
             WHERE m.pipeline = ? ORDER BY channel.name, m.key",
        )
        .bind(pipeline)
        .fetch_all(&mut *conn)
        .await
        .map_err(wrap)?;
        let key = |row: &sqlx::sqlite::SqliteRow| {
            let (name, key): (String, String) = (row.try_get(0).map_err(wrap)?, row.try_get(1).map_err(wrap)?);
            let name = ChannelName::new(&name).map_err(|e| self.shared.damaged(e.to_string()))?;
            Ok((name, key.into_boxed_str()))
        };
        rows.iter().map(key).collect()
    }

    /// See [`super::Journal::pipeline`].
    pub(super) async fn pipeline(&self, name: &str) -> Result<Option<PipelineState>> {
        let Some(cursor) = self.shared.known().cursors.get(name).map(|c| c.number) else { return Ok(None) };
        let wrap = |e| self.shared.storage(e);
        let mut conn = self.conn().await?;
        let rows = sqlx::query("SELECT owner, key, value FROM state WHERE pipeline = ?")
            .bind(name)
            .fetch_all(&mut *conn)
            .await
            .map_err(wrap)?;
        let mut found = PipelineState { cursor, ..PipelineState::default() };
        for row in &rows {
            let column = |at: usize| row.try_get::<&str, _>(at).map_err(wrap);
            found.put(column(0)?, column(1)?, row.try_get(2).map_err(wrap)?);
        }
        Ok(Some(found))
    }

    /// See [`super::Journal::number_at`].
    pub(super) async fn number_at(&self, source: &str, position: Position) -> Result<Number> {
        let head = self.shared.head();
        let Some(incarnation) = self.shared.known().sources.get(source).map(|s| s.incarnation.clone()) else {
            return Ok(head);
        };
        let wrap = |e| self.shared.storage(e);
        let mut conn = self.conn().await?;
        let row = sqlx::query(select(
            "life = (SELECT id FROM life WHERE source = ? AND incarnation = ?) AND (pos_commit, pos_index) > (?, ?) \
             ORDER BY life, pos_commit, pos_index, first LIMIT 1",
        ))
        .bind(source)
        .bind(&*incarnation)
        .bind(sql(position.commit))
        .bind(i64::from(position.index))
        .fetch_optional(&mut *conn)
        .await
        .map_err(wrap)?;
        let Some(row) = row else { return Ok(head) };
        let record = self.record(&row)?;
        let RecordBody::Append(append) = &record.body else { return Ok(head) };
        let beyond = append.events.iter().find(|e| e.position > position).map(|e| e.number);
        Ok(Number(beyond.unwrap_or(record.first).0 - 1).min(head))
    }

    /// See [`super::Journal::controls`] and [`super::Journal::gaps`]: those are held, however old.
    pub(super) async fn controls(
        &self,
        only_held: bool,
        after: Number,
        limit: usize,
    ) -> Result<Vec<(Number, Control)>> {
        let head = self.shared.head();
        let mut conn = self.conn().await?;
        let rows = sqlx::query(select("kind = 3 AND held >= ? AND first > ? AND last <= ? ORDER BY first LIMIT ?"))
            .bind(i64::from(only_held))
            .bind(sql(after.0))
            .bind(sql(head.0))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *conn)
            .await
            .map_err(|e| self.shared.storage(e))?;
        let mut found = Vec::with_capacity(rows.len());
        for row in &rows {
            let record = self.record(row)?;
            if let RecordBody::Control(control) = record.body {
                found.push((record.first, control));
            }
        }
        Ok(found)
    }

    /// The newest records, as many as fit into `bytes` of their stored form, for the memory tail.
    pub(super) async fn newest(&self, bytes: u64) -> Result<Vec<Arc<Record>>> {
        let wrap = |e| self.shared.storage(e);
        let mut conn = self.conn().await?;
        let (mut from, mut room) = (i64::MAX, sql(bytes));
        // What is left of older ones has holes, which memory would hide.
        let floor = sql(self.shared.floors().events.0);
        'pages: loop {
            let listed = "SELECT first, size FROM record WHERE first < ? AND first > ? ORDER BY first DESC LIMIT ?";
            let rows =
                sqlx::query(listed).bind(from).bind(floor).bind(PAGE).fetch_all(&mut *conn).await.map_err(wrap)?;
            for row in &rows {
                room -= row.try_get::<i64, _>(1).map_err(wrap)? + 128;
                if room < 0 {
                    break 'pages;
                }
                from = row.try_get(0).map_err(wrap)?;
            }
            if rows.is_empty() {
                break;
            }
        }
        let rows =
            sqlx::query(select("first >= ? ORDER BY first")).bind(from).fetch_all(&mut *conn).await.map_err(wrap)?;
        rows.iter().map(|row| self.record(row).map(Arc::new)).collect()
    }
}

/// Where the record begins that holds the number after `after`, or the next record.
pub(super) async fn first_of(conn: &mut SqliteConnection, after: Number) -> std::result::Result<i64, sqlx::Error> {
    let first = "SELECT first FROM record WHERE first <= ? ORDER BY first DESC LIMIT 1";
    let first: Option<i64> = sqlx::query_scalar(first).bind(sql(after.0 + 1)).fetch_optional(conn).await?;
    Ok(first.unwrap_or_default())
}

fn last_record(rows: &[sqlx::sqlite::SqliteRow]) -> i64 {
    rows.last().and_then(|row| row.try_get(0).ok()).unwrap_or(i64::MAX)
}
