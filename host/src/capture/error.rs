//! What can stand in capture's way, and what is done about it: a value, so that nobody reads texts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::journal::JournalError;

/// Why a source's session ended.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error("{0:?} is no address of a SQLite file; write `sqlite:PATH`")]
    Address(String),
    #[error("{0} does not exist; {1}, or give another path, which starts at the data folder unless it begins with /")]
    Missing(PathBuf, &'static str),
    #[error("{0} was replaced by another file; it is opened anew")]
    Replaced(PathBuf),
    #[error(
        "{0} keeps its texts in UTF-16, which capture can't read; copy it into a database with `PRAGMA encoding = 'UTF-8'`"
    )]
    Encoding(PathBuf),
    #[error(
        "{path} can't be put into WAL mode, which capture needs (it is in {mode} mode); close other connections to it, and keep it on a local disk"
    )]
    Mode { path: PathBuf, mode: String },
    #[error(
        "what capture keeps in this database has format {found}, this relevo reads {reads}; stop the server, take it out with `relevo capture detach`, and start again: there is a gap then, and pipelines are rebuilt"
    )]
    Format { found: String, reads: &'static str },
    #[error("table {table}: {reason}")]
    Triggers { table: String, reason: String },
    #[error(
        "table {table}: the row of change {seq} has a key that no record holds; capture stands still before it: delete that change from _relevo_changes to go on without it"
    )]
    KeyTooLarge { table: String, seq: u64 },
    #[error("table {table}: a row is too large for a record, or has too large a key: no snapshot of it can be taken")]
    RowTooLarge { table: String },
    /// Its snapshot is taken up again.
    #[error("table {table} was made, renamed, emptied or written anew since the moment whose rows were to be read")]
    Moved { table: String },
    #[error(
        "change {seq} is of a form that _relevo_forms doesn't have ({form}): somebody wrote to capture's tables; stop the server, take them out with `relevo capture detach`, and start again"
    )]
    Form { seq: u64, form: i64 },
    #[error("the postgres address can't be used: {0}; write postgres://USER:PASSWORD@HOST/DATABASE")]
    PostgresAddress(String),
    /// `at`: HOST:PORT/DATABASE and the role, never the password.
    #[error("postgres at {at}: {cause}; {remedy}")]
    Connect { at: String, cause: String, remedy: String },
    /// What the preflight found; each line says what mends it.
    #[error("{0}")]
    NotReady(String),
    #[error(
        "table {table}: column {column}, which must not enter (`exclude`), isn't there; mend the name in the settings: until then capture of the source stands still before the table's next row"
    )]
    Excluded { table: String, column: String },
    #[error(
        "table {table}: a row of the transaction at {lsn} can't be told of: its key was not sent, since the table had no replica identity with it then (REPLICA IDENTITY FULL has all, for rows that are written from then on), or its columns' names alone fill a record; capture stands still before it: to go on without it, list all other tables in `tables`, or run `relevo capture reset`, which has the source begin anew after it"
    )]
    Untold { table: String, lsn: String },
    #[error(
        "the replication stream was silent for {seconds} s although heartbeats were written; it is opened anew (`silence` of the source; doubled each time in a row)"
    )]
    Silent { seconds: u64 },
    #[error("the database doesn't answer: {what} took more than {seconds} s")]
    NoAnswer { what: &'static str, seconds: u64 },
    #[error(
        "slot {slot} is in use by another session ({by}); if that is another relevo, give this one a slot of its own (`slot`); if it is of no use, end it (SELECT pg_terminate_backend of its process)"
    )]
    SlotInUse { slot: String, by: String },
    /// Everybody was told of the gap.
    #[error(
        "publication {0} was dropped: the server can't tell of what came before it was made anew; the source begins anew with another replication slot, and its pipelines are rebuilt"
    )]
    Unpublished(String),
    #[error("{}", streaming(.0))]
    Wire(#[from] pgwire_replication::PgWireError),
    #[error("{0}; this is a defect of relevo or of a proxy between it and the database")]
    Decode(#[from] super::postgres::DecodeError),
    /// What the journal knows of the source and what the source says don't fit together.
    #[error("{0}")]
    Mismatch(Arc<str>),
    #[error("database: {}", said(.0))]
    Database(#[from] sqlx::Error),
    #[error("database file: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// What is done about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Open anew at once: the error is how the session says that it is over.
    Reopen,
    /// Try again, waiting longer each time, at most this long.
    Retry { at_most: Duration },
    /// Only another setting helps.
    Stop,
}

impl CaptureError {
    /// What is done about it.
    pub fn remedy(&self) -> Remedy {
        let retry = |seconds| Remedy::Retry { at_most: Duration::from_secs(seconds) };
        match self {
            Self::Mismatch(_) | Self::Replaced(_) => Remedy::Reopen,
            Self::Address(_) | Self::PostgresAddress(_) | Self::Format { .. } | Self::Journal(JournalError::Closed) => {
                Remedy::Stop
            }
            Self::Missing(..) | Self::SlotInUse { .. } => retry(1),
            // Somebody may be about to write again, or to make room.
            Self::Journal(_)
            | Self::Io(_)
            | Self::Wire(_)
            | Self::Silent { .. }
            | Self::NoAnswer { .. }
            | Self::NotReady(_) => retry(5),
            Self::Database(e) if is_busy(e) => retry(1),
            Self::Database(_)
            | Self::Connect { .. }
            | Self::Mode { .. }
            | Self::Encoding(_)
            | Self::Triggers { .. }
            | Self::Form { .. }
            | Self::KeyTooLarge { .. }
            | Self::RowTooLarge { .. }
            | Self::Moved { .. }
            | Self::Excluded { .. }
            | Self::Untold { .. }
            | Self::Unpublished(_)
            | Self::Decode(_) => retry(10),
        }
    }
}

/// What a database said, in its own words: without the line of PostgreSQL's source, which `Display` adds, and with
/// what the server adds to it.
pub(crate) fn said(error: &sqlx::Error) -> String {
    let sqlx::Error::Database(error) = error else { return error.to_string() };
    let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() else { return error.to_string() };
    let more = [error.detail(), error.hint()].into_iter().flatten();
    let more: String = more.map(|more| format!("; {}", more.trim_end_matches('.'))).collect();
    format!("{}{more} (SQLSTATE {})", error.message(), error.code())
}

/// Why the stream ended.
fn streaming(error: &pgwire_replication::PgWireError) -> String {
    match error {
        pgwire_replication::PgWireError::Io(cause) => {
            format!("the replication connection failed or ended ({cause}); it is tried again")
        }
        error => format!("replication: {error}"),
    }
}

/// Another connection holds the lock (SQLITE_BUSY and SQLITE_LOCKED with their extended codes).
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(e) = error else { return false };
    let code = e.code().and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| matches!(code & 0xff, 5 | 6))
}
