//! Moves the WAL's pages into the file, outside the writer, and knows how full the WAL is.
//!
//! SQLite starts the WAL over where all of it is in the file when a transaction begins. Under sustained writing that is
//! never so by itself, since more is written during each checkpoint: the writer moves the last few pages in a pause
//! (see [`super::bound`]). To keep that pause short the checkpointer has moved nearly everything before, and synced it:
//! SQLite itself leaves the file's sync to the checkpoint that moves the last page.

use std::fs::File;
use std::sync::Arc;

use sqlx::{Row, SqliteConnection};
use tokio::sync::watch;

use super::lock::Lock;
use super::shared::Shared;
use super::sync;
use crate::failpoint;

/// The page size of our databases, in bytes.
pub(super) const PAGE: u64 = 4096;

/// A frame of the WAL has a header before its page, in bytes: <https://sqlite.org/fileformat2.html#walformat>.
const FRAME: u64 = PAGE + 24;

/// How full the WAL is; its file may be larger, by what an earlier filling has left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Filling {
    /// Bytes of it that count.
    pub(super) used: u64,
    /// Bytes of them that are not in the database file yet.
    pub(super) rest: u64,
}

/// How a checkpoint goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Moves nothing, only looks.
    Noop,
    /// Moves what no reader stands before, and waits for nobody.
    Passive,
    /// Moves everything, and waits for readers: the next transaction starts the WAL over. The file stays as large as it
    /// is.
    Restart,
    /// As `Restart`, and cuts the file to nothing, which takes 20 ms for 64 MiB (ext4).
    Truncate,
}

impl Mode {
    fn sql(self) -> &'static str {
        match self {
            Self::Noop => "PRAGMA wal_checkpoint(NOOP)",
            Self::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
            Self::Restart => "PRAGMA wal_checkpoint(RESTART)",
            Self::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
        }
    }
}

/// Runs a checkpoint; how full the WAL is after it. None: somebody was in its way for longer than the busy timeout.
pub(super) async fn checkpoint(conn: &mut SqliteConnection, mode: Mode) -> Result<Option<Filling>, sqlx::Error> {
    let row = sqlx::query(mode.sql()).fetch_one(conn).await?;
    // -1: not known.
    let frames = |at: usize| row.try_get::<i64, _>(at).map(super::index::unsql);
    let (busy, used, moved) = (row.try_get::<i64, _>(0)? != 0, frames(1)?, frames(2)?);
    let filling = Filling { used: used * FRAME, rest: used.saturating_sub(moved) * FRAME };
    Ok((!busy).then_some(filling))
}

/// How full the WAL is.
pub(super) async fn look(conn: &mut SqliteConnection) -> Result<Filling, sqlx::Error> {
    checkpoint(conn, Mode::Noop).await.map(Option::unwrap_or_default)
}

/// Moves everything and empties the WAL; waits for readers as long as the busy timeout lets it. False:
/// that was not long enough.
pub(super) async fn truncate(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    checkpoint(conn, Mode::Truncate).await.map(|done| done.is_some())
}

pub(super) struct Checkpointer {
    pub(super) shared: Arc<Shared>,
    pub(super) conn: SqliteConnection,
    pub(super) database: Arc<File>,
    pub(super) lock: Arc<Lock>,
}

impl Checkpointer {
    /// Runs until `stop`.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        failpoint::watch_checkpoints(&self.shared.path);
        let shared = self.shared.clone();
        loop {
            tokio::select! {
                () = shared.wake_checkpointer.notified() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            if shared.check().is_err() {
                continue;
            }
            let _one = shared.checkpointing.lock().await;
            match checkpoint(&mut self.conn, Mode::Passive).await {
                Ok(Some(filling)) if filling.rest > 0 && super::bound::is_near(filling, shared.settings.wal_bytes) => {
                    self.sync().await;
                }
                Ok(_) => {}
                Err(error) => failed(&shared, &self.lock, &error),
            }
        }
        let _ = sqlx::Connection::close(self.conn).await;
    }

    /// Syncs what was moved.
    async fn sync(&self) {
        let database = self.database.clone();
        let synced = tokio::task::spawn_blocking(move || database.sync_data()).await;
        let Err(error) = synced.unwrap_or_else(|error| Err(std::io::Error::other(error))) else { return };
        sync::failed(&self.shared, &self.lock, &error);
    }
}

/// A checkpoint failed. Where SQLite's own sync did, as where ours does, the journal goes no further.
pub(super) fn failed(shared: &Shared, lock: &Lock, error: &sqlx::Error) {
    if is_of_sync(error) {
        sync::failed(shared, lock, &std::io::Error::other(error.to_string()));
    } else {
        tracing::warn!(%error, "a checkpoint of the journal failed; trying again later");
    }
}

/// SQLITE_IOERR_FSYNC.
pub(super) fn is_of_sync(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "1034")
}
