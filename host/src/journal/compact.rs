//! Gives back the disk space that retention freed: pages that are free are used again, but the file doesn't shrink by
//! itself. `relevo journal compact` calls this; no server may run.
//!
//! What is left is written into a new file, which then takes the old one's place: whatever happens meanwhile, one of
//! the two is there, whole.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use sqlx::{Connection as _, SqliteConnection};

use super::JournalError;
use super::index::unsql;
use super::lock::Lock;
use super::open::{self, FILE};
use super::shared::classify;

/// What it did, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compacted {
    pub(crate) before: u64,
    pub(crate) after: u64,
}

/// What stands in its way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompactError {
    #[error(
        "{folder} has {free} bytes free; writing the journal anew needs {needed}; make room, or shrink it with journal.keep_bytes first"
    )]
    Room { folder: PathBuf, free: u64, needed: u64 },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// None: there is no journal.
///
/// # Errors
/// `Locked` while a server runs, too little room, or what the storage says.
pub(crate) async fn compact(folder: &Path) -> Result<Option<Compacted>, CompactError> {
    let path = folder.join(FILE);
    if super::format(folder)?.is_none() {
        return Ok(None);
    }
    let _lock = Lock::take(folder)?;
    let beside = folder.join("journal.db.compact");
    let _ = std::fs::remove_file(&beside);
    let io = |error: std::io::Error| JournalError::Io(error);
    let mut conn = open::alone(&path).await?;
    let before = std::fs::metadata(&path).map_err(io)?.len();
    let needed = used(&mut conn, &path).await?;
    let free = free(folder).map_err(io)?;
    if free < needed + (needed >> 4) {
        return Err(CompactError::Room { folder: folder.into(), free, needed: needed + (needed >> 4) });
    }
    let written = async {
        write(&mut conn, &path, &beside).await?;
        // The last one to close it takes the WAL away: one that stayed would be taken for the new file's.
        conn.close().await.map_err(|e| classify(&path, e))?;
        match std::fs::metadata(open::wal_path(&path)) {
            Ok(wal) if wal.len() > 0 => Err(io(std::io::Error::other("the journal's WAL could not be emptied"))),
            _ => Ok(()),
        }
    };
    if let Err(error) = written.await {
        let _ = std::fs::remove_file(&beside);
        return Err(error.into());
    }
    let after = std::fs::metadata(&beside).map_err(io)?.len();
    std::fs::rename(&beside, &path).and_then(|()| File::open(folder)?.sync_all()).map_err(io)?;
    Ok(Some(Compacted { before, after }))
}

/// What the pages in use take, in bytes.
pub(super) async fn used(conn: &mut SqliteConnection, path: &Path) -> Result<u64, JournalError> {
    let pages: i64 = sqlx::query_scalar(super::retention::USED).fetch_one(conn).await.map_err(|e| classify(path, e))?;
    Ok(unsql(pages) * super::wal::PAGE)
}

/// How much room is left where a folder is, in bytes.
pub(crate) fn free(folder: &Path) -> std::io::Result<u64> {
    let room = statvfs(folder)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

/// Writes what a journal holds, as it is at one moment, into a new file, durably.
pub(super) async fn write(conn: &mut SqliteConnection, path: &Path, into: &Path) -> Result<(), JournalError> {
    let text = into.to_str().ok_or_else(|| std::io::Error::other(format!("{}: no UTF-8", into.display())))?;
    crate::folder::private_file(into)?;
    sqlx::query("VACUUM INTO ?").bind(text).execute(conn).await.map_err(|e| classify(path, e))?;
    File::open(into)?.sync_all()?;
    Ok(())
}
