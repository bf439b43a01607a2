//! Looks at a journal from outside, also while a server has it open, and changes nothing. `relevo doctor`,
//! `relevo migrate status` and `relevo capture status` call this.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

<<<<<<< HEAD
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};

use super::index::unsql;
use super::open::{APPLICATION, FILE, FORMAT, check_header, wal_path};
use super::shared::classify;
use super::{JournalError, SourceState};
use crate::event::{Micros, Name, Position};
=======
use super::JournalError;
use super::index::unsql;
use super::open::{APPLICATION, FILE, check_header};
use super::outside::Outside;
use crate::event::Micros;
>>>>>>> 1cf5f87 (relevo journal check, compact and export, in the making: they build; their tests have not passed yet)

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
<<<<<<< HEAD
    let path = folder.join(FILE);
    let Some(format) = format(folder)? else { return Ok(None) };
    if format > FORMAT {
        return Err(JournalError::Format { path, found: format, reads: FORMAT });
    }
    let wrap = |e| classify(&path, e);
    let mut conn = untouched(folder).await.map_err(wrap)?;
=======
    let Some(mut journal) = Outside::open(folder).await? else { return Ok(None) };
    let wrap = journal.wrap();
>>>>>>> 1cf5f87 (relevo journal check, compact and export, in the making: they build; their tests have not passed yet)
    let newest: Option<i64> = sqlx::query_scalar("SELECT at FROM record ORDER BY first DESC LIMIT 1")
        .fetch_optional(&mut journal.conn)
        .await
        .map_err(wrap)?;
    let format = journal.format;
    journal.close().await?;
    Ok(Some(Inspected { format, newest: newest.map(|at| Micros(unsql(at))) }))
}

/// Where each source stands; nothing where there is no journal yet.
///
/// # Errors
/// As [`inspect`].
pub(crate) async fn sources(folder: &Path) -> Result<BTreeMap<Name, SourceState>, JournalError> {
    if inspect(folder).await?.is_none() {
        return Ok(BTreeMap::new());
    }
    let path = folder.join(FILE);
    let read = async {
        let mut conn = untouched(folder).await?;
        let rows = sqlx::query("SELECT name, incarnation, pos_commit, pos_index, token FROM source");
        let rows = rows.fetch_all(&mut conn).await?;
        conn.close().await?;
        let source = |row: &sqlx::sqlite::SqliteRow| {
            let text = |at: usize| row.try_get::<String, _>(at);
            let position = Position { commit: unsql(row.try_get(2)?), index: row.try_get(3)? };
            let state = SourceState { incarnation: text(1)?.into(), position, token: text(4)?.into() };
            Ok((Name::from(text(0)?), state))
        };
        rows.iter().map(source).collect::<sqlx::Result<_>>()
    };
    read.await.map_err(|e| classify(&path, e))
}

/// A connection that makes no file.
async fn untouched(folder: &Path) -> sqlx::Result<SqliteConnection> {
    let path = folder.join(FILE);
    // SQLite makes the files of its WAL mode if they aren't there; then nobody has it open, and the file alone is
    // read as it is.
    let alone = !(wal_path(&path).exists() && folder.join(format!("{FILE}-shm")).exists());
    let options =
        SqliteConnectOptions::new().filename(&path).read_only(true).immutable(alone).disable_statement_logging();
    options.connect().await
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
