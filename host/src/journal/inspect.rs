//! Looks at a journal from outside, also while a server has it open, and changes nothing. `relevo doctor` and
//! `relevo migrate status` call this.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::JournalError;
use super::index::unsql;
use super::open::{APPLICATION, FILE, FORMAT, check_header, wal_path};
use super::shared::classify;
use crate::event::Micros;

/// What a journal says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inspected {
    pub(crate) format: i64,
    /// When its newest record was applied.
    pub(crate) newest: Option<Micros>,
}

/// None: there is no journal yet.
///
/// # Errors
/// As opening it, but for `Locked`.
pub(crate) async fn inspect(folder: &Path) -> Result<Option<Inspected>, JournalError> {
    let path = folder.join(FILE);
    let Some(format) = format(folder)? else { return Ok(None) };
    if format > FORMAT {
        return Err(JournalError::Format { path, found: format, reads: FORMAT });
    }
    let wrap = |e| classify(&path, e);
    // SQLite makes the files of its WAL mode if they aren't there; then nobody has it open, and the file alone is
    // read as it is.
    let alone = !(wal_path(&path).exists() && folder.join(format!("{FILE}-shm")).exists());
    let options =
        SqliteConnectOptions::new().filename(&path).read_only(true).immutable(alone).disable_statement_logging();
    let mut conn = options.connect().await.map_err(wrap)?;
    let newest: Option<i64> = sqlx::query_scalar("SELECT at FROM record ORDER BY first DESC LIMIT 1")
        .fetch_optional(&mut conn)
        .await
        .map_err(wrap)?;
    conn.close().await.map_err(wrap)?;
    Ok(Some(Inspected { format, newest: newest.map(|at| Micros(unsql(at))) }))
}

/// The format of the journal in a folder, read from the file's header; None where there is no journal yet.
pub(crate) fn format(folder: &Path) -> Result<Option<i64>, JournalError> {
    let path = folder.join(FILE);
    check_header(&path)?;
    let mut head = Vec::new();
    match File::open(&path) {
        Ok(file) => file.take(100).read_to_end(&mut head)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // The places of `user_version` and `application_id`: https://sqlite.org/fileformat.html, 1.3.
    let number = |at: usize| head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
    match (number(60), number(68)) {
        // Made, and its first page is in the WAL yet.
        (None | Some(0), None | Some(0)) => Ok(None),
        (Some(format), Some(application)) if i64::from(application) == APPLICATION => Ok(Some(format.into())),
        _ => Err(JournalError::Corrupt { path, why: "it is another program's database".into() }),
    }
}
