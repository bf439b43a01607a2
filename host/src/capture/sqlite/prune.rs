//! Acknowledges: removes change rows that the journal keeps durably, in short transactions.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::SqliteConnection;
use tokio::sync::watch;

use crate::event::Number;
use crate::failpoint;

use super::connect;
use super::error::{CaptureError, is_busy};
use super::waiting::Waiting;

/// Rows in one transaction: more would hold up the users of the database.
const STEP: i64 = 500;

/// Between two rounds: each one takes the write lock from the database's users for a moment.
const EVERY: Duration = Duration::from_millis(250);

/// Between two steps of a round, and before another try at a busy database.
const BREATH: Duration = Duration::from_millis(5);

/// Prunes for ever; an error is tried again in the next round.
pub(crate) async fn run(path: PathBuf, waiting: Arc<Waiting>, mut durable: watch::Receiver<Number>) {
    let mut db = None;
    let mut keep = None;
    loop {
        let now = *durable.borrow_and_update();
        keep = waiting.take(now).or(keep);
        if let Some(seq) = keep {
            match prune(&path, &mut db, seq).await {
                Ok(()) => keep = None,
                Err(CaptureError::Database(error)) if is_busy(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "can't prune the change table; it is tried again");
                    db = None;
                }
            }
        }
        tokio::time::sleep(EVERY).await;
        if keep.is_none() && durable.changed().await.is_err() {
            return;
        }
    }
}

/// Removes all rows before `keep`. That one stays: its token tells a restored file.
async fn prune(path: &std::path::Path, db: &mut Option<SqliteConnection>, keep: u64) -> Result<(), CaptureError> {
    let db = match db {
        Some(db) => db,
        None => db.insert(connect::open(path).await?),
    };
    loop {
        failpoint::hit(failpoint::ACKNOWLEDGE_BEFORE);
        let gone = step(db, keep).await?;
        failpoint::hit(failpoint::ACKNOWLEDGE_AFTER);
        if gone < STEP.unsigned_abs() {
            return Ok(());
        }
        tokio::time::sleep(BREATH).await;
    }
}

/// Removes at most [`STEP`] rows before `keep`.
pub(crate) async fn step(db: &mut SqliteConnection, keep: u64) -> Result<u64, CaptureError> {
    let done = sqlx::query(
        "DELETE FROM _relevo_changes WHERE seq IN (SELECT seq FROM _relevo_changes WHERE seq < ? ORDER BY seq LIMIT ?)",
    )
    .bind(keep.cast_signed())
    .bind(STEP)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}
