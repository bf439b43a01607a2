//! Copies the journal, as it is at one moment, while a server may be writing to it. `relevo backup` calls this.
//!
//! The copy is marked: whoever opens it begins a new epoch, since what was sent after that moment isn't in it.

use std::fs::File;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _};

use super::open::{FILE, FORMAT};
use super::outside::Outside;
use super::shared::classify;
use super::{JournalError, compact};
use crate::event::Number;

/// What a copy holds.
#[derive(Debug, Clone)]
pub(crate) struct Copied {
    /// That of the journal it was taken from; the copy itself will begin another.
    pub(crate) epoch: String,
    /// The highest number in it.
    pub(crate) head: Number,
}

/// What stands in its way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error(
        "{folder} has {free} bytes free; a copy of the journal needs {needed}; make room there, or choose another place"
    )]
    Room { folder: PathBuf, free: u64, needed: u64 },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Writes a copy of the journal in `folder` into the folder `into`, durably. None: there is no journal.
///
/// # Errors
/// Too little room, a journal of another format, or what the storage says.
pub(crate) async fn copy(folder: &Path, into: &Path) -> Result<Option<Copied>, CopyError> {
    let Some(mut from) = Outside::open(folder).await? else { return Ok(None) };
    let path = from.path.clone();
    if from.format != FORMAT {
        // An older one is brought to this format when a server opens it, and not by a copy.
        return Err(JournalError::Older { path, found: from.format, becomes: FORMAT }.into());
    }
    let used = compact::used(&mut from.conn, &path).await?;
    let needed = used + (used >> 4);
    let room = || compact::free(into).map(|free| (free, CopyError::Room { folder: into.into(), free, needed }));
    let (free, no_room) = room().map_err(JournalError::Io)?;
    if free < needed {
        return Err(no_room);
    }
    let file = into.join(FILE);
    match compact::write(&mut from.conn, &path, &file).await {
        // Others took it meanwhile; SQLite blames the journal.
        Err(JournalError::NoRoom { .. }) => return Err(room().map_err(JournalError::Io)?.1),
        written => written?,
    }
    from.close().await?;
    mark(&file).await?;
    let Some(mut copy) = Outside::open(into).await? else {
        return Err(JournalError::Corrupt { path: file, why: "the copy is empty".into() }.into());
    };
    let epoch = copy.meta("epoch").await?.unwrap_or_default();
    let head = copy.head().await?;
    copy.close().await?;
    Ok(Some(Copied { epoch, head }))
}

async fn mark(file: &Path) -> Result<(), JournalError> {
    let wrap = |error| classify(file, error);
    // In one file: nobody else has it open, and a WAL beside it would be one more thing to copy.
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Delete)
        .disable_statement_logging();
    let mut conn = options.connect().await.map_err(wrap)?;
    let text = "INSERT INTO meta (name, value) VALUES ('copy', '1') ON CONFLICT (name) DO UPDATE SET value = '1'";
    sqlx::query(text).execute(&mut conn).await.map_err(wrap)?;
    conn.close().await.map_err(wrap)?;
    File::open(file)?.sync_all()?;
    Ok(())
}
