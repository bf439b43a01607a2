//! Reads the rows that are there for one pipeline, together with the change that they go up to, in
//! one read transaction, beside the stream of changes.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection as _, Row};
use tokio::sync::watch;

use crate::event::{Body, Name, Operation, Position};
use crate::journal::{Journal, JournalError, SnapshotPart};

use super::super::SourceHealth;
use super::super::progress::Progress;
use super::super::requests::Request;
use super::change::change;
use super::connect;
use super::error::CaptureError;
use super::install::Watched;
use super::rows::Rows;
use super::value::Value;

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
    pub health: watch::Sender<SourceHealth>,
}

impl Snapshot {
    /// Takes the snapshot that a pipeline asked for.
    pub(crate) async fn take(&self, request: &Request) -> Result<(), CaptureError> {
        let progress = Progress::begin(&self.health, &request.pipeline, request.number);
        let mut db = connect::open_reader(&self.path).await?;
        // All from here on sees the database as it is at the first read.
        let mut tx = db.begin().await?;
        let contains: Option<i64> =
            sqlx::query_scalar("SELECT max(seq) FROM _relevo_changes").fetch_one(&mut *tx).await?;
        let contains = Position { commit: contains.unwrap_or_default().cast_unsigned(), index: 0 };
        let part = SnapshotPart { pipeline: Name::clone(&request.pipeline), request: request.number, contains };
        let mut out =
            Rows::begin(&self.source, &self.incarnation, &self.journal, self.record_bytes, part, progress).await?;
        for watched in &self.tables {
            let form = &watched.form;
            let sql = watched.writer().snapshot();
            let mut rows = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch(&mut *tx);
            while let Some(row) = rows.try_next().await? {
                let rowid = if form.rowid() { row.try_get(0)? } else { None };
                let values: sqlx::Result<Vec<Value<'_>>> =
                    (1..=form.columns().len()).map(|place| Value::read(&row, place, form.mark())).collect();
                let change = change(form, Operation::Snapshot, rowid, None, Some(&values?));
                let change = change.ok_or_else(|| CaptureError::RowTooLarge { table: form.table().to_string() })?;
                out.push(Body::Change(change)).await?;
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
        out.finish().await
    }
}
