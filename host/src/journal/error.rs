//! What can go wrong with the journal: the errors of its port.

use std::path::PathBuf;

use crate::event::{Name, Number, Position};

/// What can go wrong, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{0} is in use by another relevo process; stop that one first")]
    Locked(PathBuf),
    #[error(
        "the journal {path} is damaged ({why}); restore a backup of the data folder, or move the file away to start an empty journal (clients see a new epoch)"
    )]
    Corrupt { path: PathBuf, why: String },
    #[error(
        "the journal {path} has format {found}, this relevo reads {reads}; run the relevo version that wrote it, or a newer one than this"
    )]
    Format { path: PathBuf, found: i64, reads: i64 },
    #[error(
        "the journal {path} has format {found}, of an earlier relevo; start the server on it once, which brings it to format {becomes}; a backup is left as it is: \
         put it into an empty folder, RELEVO_DATA=FOLDER relevo restore BACKUP, which does the same there"
    )]
    Older { path: PathBuf, found: i64, becomes: i64 },
    #[error("pipeline {pipeline} stands at {found:?}, not at {expected:?}: another process commits for it")]
    Conflict { pipeline: Name, expected: Option<Number>, found: Option<Number> },
    #[error(
        "source {of} stands at {}/{}: an append that leads back to {}/{} is refused, and nothing of it was written; the source is read on from where it stands; this is a defect of relevo",
        .at.commit, .at.index, .to.commit, .to.index
    )]
    Backwards { of: Name, at: Position, to: Position },
    #[error("a record of {bytes} bytes is over the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("a record can't be encoded: {0}")]
    Encode(String),
    #[error("the journal is full ({used} of {limit} bytes): pipeline {slowest} holds it back")]
    Full { used: u64, limit: u64, slowest: Name },
    #[error(
        "there is no room for the journal {path} ({why}): make room where the data folder is, or raise journal.max_bytes; it goes on by itself"
    )]
    NoRoom { path: PathBuf, why: String },
    #[error("the journal no longer has everything after {after}; it has everything after {oldest}")]
    Pruned { after: Number, oldest: Number },
    #[error("the journal is closed")]
    Closed,
    #[error("journal storage: {0}")]
    Storage(#[from] sqlx::Error),
    #[error("journal file: {0}")]
    Io(#[from] std::io::Error),
}
