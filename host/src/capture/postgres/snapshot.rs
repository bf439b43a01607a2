//! Reads the rows that are there for one pipeline, exact against the stream.
//!
//! The order in which transactions become visible to a reader is not the order of their commits in the
//! WAL, so an ordinary snapshot has no place in the stream: it may hold one transaction and lack another
//! that was committed before it. PostgreSQL has one way to get a snapshot that has such a place: a logical
//! slot, when it is made, exports one that holds exactly the transactions whose commit record is before
//! the slot's consistent point, and no other (it is how a subscription copies its tables). So a temporary
//! slot is made, its snapshot is taken over by a transaction that reads the rows, and the slot is let go at
//! once. A streamed event is contained if its commit's LSN is below the consistent point C; as a
//! position: up to (C - 1, the highest index). No commit record begins at C - 1, since records are aligned.
//!
//! The making of a slot waits for the transactions that are open at that time. Nothing else waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use pgwire_replication::{PgWireError, ReplicationClient};
use sqlx::postgres::types::Oid;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row, ValueRef as _};
use tokio::sync::{Notify, watch};

use crate::config::SourceSettings;
use crate::event::{Body, Name, Operation, Position};
use crate::journal::{Journal, JournalError, SnapshotPart};

use super::super::SourceHealth;
use super::super::error::CaptureError;
use super::super::progress::Progress;
use super::super::reached::{Reached, Void, form};
use super::super::requests::Request;
use super::super::rows::Rows;
use super::catalog::{self, Table, Types, literal, quote};
use super::connect::Address;
use super::decode::Datum;
use super::publication;
use super::reading::Reading;
use super::silence::within;
use super::slot;

/// Rows come in the order of an index, as they are asked for, and none are sorted for us: the server needs no room for it,
/// whatever its statistics say of a table. Ours are the only statements.
const AS_INDEXED: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; \
    SET LOCAL enable_incremental_sort = off; SET LOCAL jit = off; SET LOCAL standard_conforming_strings = on";

/// How long its slot may take until it is said what it waits for, each time.
const WAITS: Duration = Duration::from_secs(5);

/// What is waited for at its end.
const ENDS: &str = "the end of a snapshot's session";

/// What a snapshot is taken of, and where it goes.
pub(crate) struct Snapshot {
    pub address: Address,
    pub settings: SourceSettings,
    /// Those that the pipeline asks for.
    pub tables: Vec<Arc<Table>>,
    pub incarnation: Name,
    /// Which one it is, and its history.
    pub server: Box<str>,
    pub journal: Journal,
    pub record_bytes: u64,
    /// All transactions whose commit is before this LSN are appended; the session holds the other end.
    pub streamed: watch::Receiver<u64>,
    /// Asks for a heartbeat.
    pub beat: Arc<Notify>,
    pub health: watch::Sender<SourceHealth>,
}

impl Snapshot {
    /// Takes the snapshot that a pipeline asked for; goes on with one of it that was cut, if it can.
    pub(crate) async fn take(&self, request: &Request) -> Result<(), CaptureError> {
        let progress = Progress::begin(&self.health, &request.pipeline, request.number);
        let (source, pipeline) = (&self.settings.name, &request.pipeline);
        let patience = self.settings.silence;
        let mut db = self.address.connect().await?;
        progress.expects(within(patience, "about how many rows there are", self.estimate(&mut db)).await?);
        let there = self.journal.take_over_snapshot(source, pipeline, request.number).await?;
        if there.is_some() {
            // What changed since must be in the journal by then: better now than while the database has to keep
            // old rows for a transaction of ours.
            let now = sqlx::query_scalar("SELECT (pg_current_wal_insert_lsn() - '0/0')::int8");
            let now: i64 = within(patience, "the server's position", now.fetch_one(&mut db)).await?;
            self.streamed_to(now.cast_unsigned()).await?;
        }
        let head = self.journal.head();
        let (exporter, point, name) = self.export(&mut db, request, &progress).await?;
        // As the stream has them.
        let publication = self.settings.publication();
        let published = publication::published(&mut db, &publication);
        let published = within(patience, "what is published", published).await?;
        let generated = published.is_some_and(|published| published.generated);
        let begun = db.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        let mut tx = within(patience, "the beginning of a transaction", begun).await?;
        let import = format!("SET TRANSACTION SNAPSHOT {}; {AS_INDEXED}", literal(&name));
        within(patience, "a snapshot", sqlx::raw_sql(AssertSqlSafe(import)).execute(&mut *tx)).await?;
        // The transaction has the snapshot now; the slot goes with its session.
        drop(exporter);
        let tables = within(patience, "the tables of a snapshot", self.readings(&mut tx, generated)).await?;
        let (tables, forms): (Vec<Reading>, Vec<Box<str>>) = tables.into_iter().unzip();
        let contains = Position { commit: point - 1, index: u32::MAX };
        let part = SnapshotPart { pipeline: Name::clone(pipeline), request: request.number, contains };
        let there = there.map(|last| self.there(&last, &forms, &tables));
        let (reached, mut reason) = match there {
            Some(Ok(reached)) => (Some(reached), None),
            Some(Err(reason)) => (None, Some(reason)),
            None => (None, None),
        };
        let mut out = Rows::go_on(source, &self.incarnation, &self.journal, self.record_bytes, part, progress, reached);
        let (mut at, mut after, mut void) = (0, Vec::new(), Void::default());
        if let Some(reached) = out.reached.clone() {
            tracing::info!(%source, %pipeline, rows = reached.rows, "a snapshot that was cut goes on");
            self.streamed_to(point).await?;
            match self.catch_up(&mut tx, &tables, &mut out).await? {
                Ok(more) => {
                    for reading in tables.iter().take(reached.at + 1) {
                        self.stays(&mut tx, reading).await?;
                    }
                    (at, after, void) = (reached.at, reached.after, more);
                }
                Err(why) => reason = Some(why),
            }
        }
        if let Some(reason) = &reason {
            tracing::info!(%source, %pipeline, %reason, "a snapshot that was cut begins anew");
        }
        if reason.is_some() || out.reached.is_none() {
            out.begin_anew().await?;
        }
        let (server, read) = (self.server.clone(), form(&forms, at));
        out.reaches(Reached { server, since: point, head, form: read, at, after, rows: 0, bytes: 0, void });
        for (at, reading) in tables.iter().enumerate().skip(at) {
            let after = out.at_table(at, form(&forms, at));
            self.read(&mut tx, reading.rows_after(&after), reading, &mut out, reading.is_ordered()).await?;
            self.stays(&mut tx, reading).await?;
        }
        out.at_table(tables.len(), form(&forms, tables.len()));
        // All rows are here: what becomes of their connection changes nothing.
        match within(patience, ENDS, tx.rollback()).await {
            Ok(()) => within(patience, ENDS, db.close()).await,
            failed => failed,
        }
        .unwrap_or_else(|error| tracing::debug!(%source, %pipeline, %error, "after a snapshot"));
        // What the rows contain must stand before them: the pipeline runs on up to here, and sends what
        // those changes mean; a change that came after its own row would be skipped, and its message lost.
        self.streamed_to(point).await?;
        out.finish().await
    }

    /// The tables as the transaction sees them, each with its form: what the session knows of them is of another moment.
    async fn readings(&self, db: &mut PgConnection, generated: bool) -> Result<Vec<(Reading, Box<str>)>, CaptureError> {
        let by = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *db).await?;
        let there = catalog::tables(db).await?;
        let mut types = Types::default();
        let mut readings = Vec::new();
        for wanted in &self.tables {
            let is_it =
                |table: &&Table| (table.oid, &table.schema, &table.name) == (wanted.oid, &wanted.schema, &wanted.name);
            let table = there.iter().find(is_it).ok_or_else(|| CaptureError::Moved { table: wanted.shown() })?;
            let relation = types.stored(db, table, &self.settings, generated).await?;
            let reading = Reading::new(Arc::new(table.clone()), relation, by);
            let form = reading.form(db).await?;
            readings.push((reading, form));
        }
        Ok(readings)
    }

    /// Fails if the rows of a table that was read weren't there to be read.
    async fn stays(&self, db: &mut PgConnection, reading: &Reading) -> Result<(), CaptureError> {
        if within(self.settings.silence, "where the rows of a table are", reading.is_where_it_was(db)).await? {
            return Ok(());
        }
        Err(CaptureError::Moved { table: reading.table.shown() })
    }

    /// Whether the server works for us still, asked over another connection: nothing tells that one has fallen silent.
    async fn is_read(&self, by: i32) -> Result<bool, CaptureError> {
        let mut db = self.address.connect().await?;
        let active = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND state IN ('active', 'disabled'))",
        );
        within(self.settings.silence, "who reads the rows of a snapshot", active.bind(by).fetch_one(&mut db)).await
    }

    /// Waits until all transactions whose commit is before this LSN are in the journal.
    async fn streamed_to(&self, point: u64) -> Result<(), CaptureError> {
        self.beat.notify_one();
        let mut streamed = self.streamed.clone();
        match streamed.wait_for(|reached| *reached >= point).await {
            Ok(_) => Ok(()),
            Err(_) => Err(JournalError::Closed.into()),
        }
    }

    /// About how many rows there are; `None` where a table was never analyzed.
    async fn estimate(&self, db: &mut PgConnection) -> Result<Option<u64>, CaptureError> {
        let oids: Vec<Oid> = self.tables.iter().map(|table| Oid(table.oid)).collect();
        let sql = "WITH RECURSIVE part(oid) AS (SELECT unnest($1) UNION SELECT i.inhrelid FROM part \
                     JOIN pg_class p ON p.oid = part.oid AND p.relkind = 'p' JOIN pg_inherits i ON i.inhparent = p.oid) \
                   SELECT CASE WHEN min(c.reltuples) >= 0 THEN sum(c.reltuples)::int8 END \
                   FROM part JOIN pg_class c ON c.oid = part.oid WHERE c.relkind = 'r'";
        let rows: Option<i64> = sqlx::query_scalar(sql).bind(oids).fetch_one(db).await?;
        Ok(rows.and_then(|rows| u64::try_from(rows).ok()))
    }

    /// Makes a temporary slot, and returns its session, its consistent point, and its snapshot's name.
    async fn export(
        &self,
        db: &mut PgConnection,
        request: &Request,
        progress: &Progress,
    ) -> Result<(ReplicationClient, u64, String), CaptureError> {
        let slot = format!("relevo_rows_{}", uuid::Uuid::new_v4().simple());
        let config = self.address.replication(&slot, &self.settings.publication(), 0);
        let mut client = ReplicationClient::connect_gated(config).await?;
        // The form that all versions since 14 know.
        let sql = format!("CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT", quote(&slot));
        let rows = {
            let mut made = std::pin::pin!(client.simple_query(&sql));
            let mut working = Instant::now();
            loop {
                match tokio::time::timeout(WAITS, &mut made).await {
                    Ok(rows) => break rows?,
                    Err(_) => {
                        let looked =
                            within(self.settings.silence, "the look at the slot", slot::is_being_made(db, &slot));
                        if looked.await? {
                            working = Instant::now();
                        } else if working.elapsed() > self.settings.silence.max(2 * WAITS) {
                            // That connection has fallen silent.
                            let seconds = self.settings.silence.as_secs();
                            return Err(CaptureError::NoAnswer {
                                what: "the making of a slot for a snapshot",
                                seconds,
                            });
                        }
                        let open = slot::what_is_open(db);
                        let blocker = within(self.settings.silence, "which transactions are open", open).await?;
                        tracing::warn!(source = %self.settings.name, pipeline = %request.pipeline, "the rows of a snapshot wait for {blocker}");
                        progress.waits_for(Some(blocker));
                    }
                }
            }
        };
        progress.waits_for(None);
        let text = |at: usize| {
            let value = rows.first().and_then(|row| row.get(at)).and_then(Option::as_ref);
            value.map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let point = text(1).and_then(|lsn| pgwire_replication::Lsn::parse(&lsn).ok());
        match (point, text(2)) {
            (Some(point), Some(name)) => Ok((client, point.as_u64(), name)),
            _ => Err(PgWireError::Protocol("the server's answer about a new slot can't be read".into()).into()),
        }
    }

    /// Reads rows of a table. `on`: in the order of their keys, so that what reads on after a cut begins behind the last.
    pub(super) async fn read(
        &self,
        db: &mut PgConnection,
        sql: String,
        reading: &Reading,
        out: &mut Rows,
        on: bool,
    ) -> Result<(), CaptureError> {
        let columns = reading.relation.columns.len();
        // By the simple protocol: values come as texts, in the form that the stream has.
        let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(db);
        let mut works = true;
        loop {
            let row = match tokio::time::timeout(self.settings.silence, rows.try_next()).await {
                Ok(row) => row?,
                // What it sent last may be on its way.
                Err(_) if works => {
                    works = self.is_read(reading.by).await?;
                    continue;
                }
                Err(_) => {
                    let seconds = self.settings.silence.as_secs();
                    return Err(CaptureError::NoAnswer { what: "the rows of a snapshot", seconds });
                }
            };
            let Some(row) = row else { break };
            works = true;
            let mut values = Vec::with_capacity(columns);
            for at in 0..columns {
                let value = row.try_get_raw(at)?;
                values.push(if value.is_null() {
                    Datum::Null
                } else {
                    Datum::Text(value.as_str().map_err(sqlx::Error::Decode)?)
                });
            }
            let change = reading.relation.insert(Operation::Snapshot, &values);
            let change = change.map_err(|_| CaptureError::RowTooLarge { table: reading.table.shown() })?;
            out.push(Body::Change(change)).await?;
            if let (true, Some(reached)) = (on, &mut out.reached) {
                reached.after.resize(reading.key.len(), String::new());
                for (text, at) in reached.after.iter_mut().zip(&reading.key) {
                    let Datum::Text(value) = values[*at] else { continue };
                    text.clear();
                    text.push_str(value);
                }
            }
        }
        Ok(())
    }
}
