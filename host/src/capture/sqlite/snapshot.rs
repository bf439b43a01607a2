//! Reads the rows that are there for one pipeline, together with the change that they go up to, in
//! one read transaction, beside the stream of changes.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, Row};
use tokio::sync::watch;

use crate::event::{Body, Event, Micros, Name, Number, Operation, Position};
use crate::journal::{Append, Journal, JournalError, SnapshotPart, fit};

use super::super::requests::Request;
use super::change::change;
use super::connect;
use super::error::CaptureError;
use super::install::Watched;
use super::value::Value;
use super::{CHUNK_BYTES, CHUNK_EVENTS};

/// What a snapshot is taken of, and where it goes.
pub(crate) struct Snapshot {
    pub path: PathBuf,
    /// Those that the pipeline asks for.
    pub tables: Vec<Arc<Watched>>,
    pub source: Name,
    pub incarnation: Name,
    pub journal: Journal,
    pub record_bytes: u64,
    /// How far the stream of changes is appended, whole transactions only; the session holds the other end.
    pub streamed: watch::Receiver<u64>,
}

impl Snapshot {
    /// Takes the snapshot that a pipeline asked for.
    pub(crate) async fn take(&self, request: &Request) -> Result<(), CaptureError> {
        self.journal.discard_snapshot(&self.source, &request.pipeline).await?;
        let mut db = connect::open_reader(&self.path).await?;
        // All from here on sees the database as it is at the first read.
        let mut tx = db.begin().await?;
        let contains: Option<i64> =
            sqlx::query_scalar("SELECT max(seq) FROM _relevo_changes").fetch_one(&mut *tx).await?;
        let contains = Position { commit: contains.unwrap_or_default().cast_unsigned(), index: 0 };
        let mut chunk = Chunk {
            snapshot: self,
            part: SnapshotPart { pipeline: Name::clone(&request.pipeline), request: request.number, contains },
            committed_at: Micros::now(),
            index: 0,
            events: Vec::new(),
            weight: 0,
        };
        for watched in &self.tables {
            let form = &watched.form;
            let sql = watched.writer().snapshot();
            let mut rows = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch(&mut *tx);
            while let Some(row) = rows.try_next().await? {
                let rowid = if form.rowid() { row.try_get(0)? } else { None };
                let values: sqlx::Result<Vec<Value<'_>>> =
                    (1..=form.columns().len()).map(|place| Value::read(&row, place, form.mark())).collect();
                let change = change(form, Operation::Snapshot, rowid, None, Some(&values?));
                chunk
                    .push(Body::Change(change.ok_or_else(|| CaptureError::KeyTooLarge {
                        table: form.table().to_string(),
                        seq: contains.commit,
                    })?))
                    .await?;
            }
        }
        tx.rollback().await?;
        db.close().await?;
        // What the rows contain must stand before them: the pipeline runs on up to here, and sends what
        // those changes mean; a change that came after its own row would be skipped, and its message lost.
        let mut streamed = self.streamed.clone();
        if streamed.wait_for(|through| *through >= contains.commit).await.is_err() {
            return Err(JournalError::Closed.into());
        }
        chunk.append(true).await
    }
}

/// The rows that go into the next append.
struct Chunk<'a> {
    snapshot: &'a Snapshot,
    part: SnapshotPart,
    committed_at: Micros,
    /// Of the last row; a streamed event at the same position has 0.
    index: u32,
    events: Vec<Event>,
    weight: usize,
}

impl Chunk<'_> {
    async fn push(&mut self, body: Body) -> Result<(), CaptureError> {
        self.index = self.index.saturating_add(1);
        let mut event = Event {
            number: Number::ZERO,
            source: Name::clone(&self.snapshot.source),
            position: Position { commit: self.part.contains.commit, index: self.index },
            committed_at: self.committed_at,
            transaction: self.part.contains.commit,
            last_of_transaction: false,
            late: false,
            body,
        };
        if !fit(&mut event, self.snapshot.record_bytes) {
            return Err(super::stream::too_large(&event));
        }
        let weight = event.weight();
        if self.events.len() == CHUNK_EVENTS
            || (!self.events.is_empty() && self.weight + weight > chunk_bytes(self.snapshot.record_bytes))
        {
            self.append(false).await?;
        }
        self.weight += weight;
        self.events.push(event);
        Ok(())
    }

    async fn append(&mut self, complete: bool) -> Result<(), CaptureError> {
        let mut events = std::mem::take(&mut self.events);
        self.weight = 0;
        if complete && let Some(last) = events.last_mut() {
            last.last_of_transaction = true;
        }
        let append = Append {
            source: Name::clone(&self.snapshot.source),
            incarnation: Name::clone(&self.snapshot.incarnation),
            position: self.part.contains,
            token: "".into(),
            events: events.into_iter().map(Arc::new).collect(),
            complete,
            snapshot: Some(self.part.clone()),
        };
        self.snapshot.journal.append(append).await?;
        Ok(())
    }
}

/// How many bytes of events go into one append: a record has to hold them, with its frame.
pub(crate) fn chunk_bytes(record_bytes: u64) -> usize {
    usize::try_from(record_bytes).unwrap_or(usize::MAX).saturating_sub(16 << 10).min(CHUNK_BYTES)
}
