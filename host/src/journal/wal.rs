//! Moves the WAL's pages into the file, outside the writer. Only where the WAL grows beyond its bound
//! (readers kept it from starting over) does the writer pause for one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sqlx::{Row, SqliteConnection};
use tokio::sync::watch;

use super::shared::Shared;
use crate::failpoint;

/// A checkpoint is due after this much was written, in bytes; SQLite's own default is as much.
const EVERY: u64 = 4 << 20;

/// The writer calls it after each transaction.
pub(super) fn notice(shared: &Shared) {
    if shared.written.load(Ordering::Relaxed) >= EVERY.min(shared.settings.wal_bytes / 2) {
        shared.wake_checkpointer.notify_one();
    }
    if shared.grown.load(Ordering::Relaxed) >= shared.settings.keep_bytes / 64 {
        shared.wake_retention.notify_one();
    }
}

/// Runs until `stop`.
pub(super) async fn run(shared: Arc<Shared>, mut conn: SqliteConnection, mut stop: watch::Receiver<bool>) {
    failpoint::watch_checkpoints(&shared.path);
    loop {
        tokio::select! {
            () = shared.wake_checkpointer.notified() => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
        shared.written.store(0, Ordering::Relaxed);
        if shared.check().is_err() {
            continue;
        }
        let _one = shared.checkpointing.lock().await;
        if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut conn).await {
            tracing::warn!(%error, "a checkpoint of the journal failed; trying again later");
        }
    }
    let _ = sqlx::Connection::close(conn).await;
}

/// The page size of our databases, in bytes.
pub(super) const PAGE: u64 = 4096;

/// How long the writer waits for readers when the WAL is over its bound. Our own read transactions are shorter; a
/// backup's is not, and all commits would stand still behind this.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);

/// As [`truncate`], but waits for readers no longer than [`PATIENCE`].
pub(super) async fn try_truncate(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let wait = |time: std::time::Duration| sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {}", time.as_millis()));
    sqlx::query(wait(PATIENCE)).execute(&mut *conn).await?;
    let emptied = truncate(conn).await;
    sqlx::query(wait(super::open::BUSY)).execute(conn).await?;
    emptied
}

/// Moves everything and empties the WAL; waits for readers as long as the busy timeout lets it. False:
/// that was not long enough.
pub(super) async fn truncate(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(conn).await?;
    Ok(row.try_get::<i64, _>(0)? == 0)
}
