//! Opens the watched database, as its guest: nothing of the file is changed but its WAL mode.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};

use super::error::CaptureError;

/// How long we wait for a lock before we say that it is busy.
const BUSY: Duration = Duration::from_secs(2);

/// Opens a connection for our own writes: triggers and pruning.
pub(crate) async fn open(path: &Path) -> Result<SqliteConnection, CaptureError> {
    if !path.exists() {
        return Err(CaptureError::Missing(path.to_owned(), "make it"));
    }
    // A prune that a power failure takes back is done again.
    let options = options(path).synchronous(SqliteSynchronous::Normal);
    let mut db = options.connect().await?;
    // Asked in this way, since an answer in another encoding couldn't be read.
    let letter: i64 = sqlx::query_scalar("SELECT length(cast('a' AS BLOB))").fetch_one(&mut db).await?;
    if letter != 1 {
        return Err(CaptureError::Encoding(path.to_owned()));
    }
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut db).await?;
    if !mode.eq_ignore_ascii_case("wal") {
        let now: String = sqlx::query_scalar("PRAGMA journal_mode = WAL").fetch_one(&mut db).await?;
        if !now.eq_ignore_ascii_case("wal") {
            return Err(CaptureError::Mode { path: path.to_owned(), mode: now });
        }
        tracing::info!(file = %path.display(), from = mode, "the watched database is in WAL mode from now on");
    }
    Ok(db)
}

/// Opens a connection that can't write.
pub(crate) async fn open_reader(path: &Path) -> Result<SqliteConnection, CaptureError> {
    Ok(options(path).pragma("query_only", "ON").connect().await?)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(BUSY).disable_statement_logging()
}

/// The file that an address names; a relative path starts at the data folder.
pub(crate) fn path(url: &str, data: &Path) -> Result<PathBuf, CaptureError> {
    let rest = url.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    match rest.map(|rest| rest.split('?').next().unwrap_or_default()) {
        None | Some("") => Err(CaptureError::Address(url.to_owned())),
        Some(path) => Ok(data.join(path)),
    }
}

/// What tells one file from another that takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity(u64, u64);

impl Identity {
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(path)?;
        Ok(Self(metadata.dev(), metadata.ino()))
    }
}
