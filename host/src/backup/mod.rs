//! Backups of the data folder, taken while the server runs, and put back. `relevo backup` and `relevo restore` call
//! this.
//!
//! A backup is a folder: the journal as it was at one moment, the plugins' versions that it names, the tokens'
//! secret, the settings' file, and `backup.json`, which has the size and the hash of each file. Watched databases
//! are not in it.

mod make;
mod manifest;
mod restore;
#[cfg(test)]
mod tests;
mod tree;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub(crate) use make::{Made, make};
pub(crate) use restore::{Restored, interrupted, restore};

use crate::journal::{CopyError, JournalError};

/// The folders of the data folder that are copied whole.
const FOLDERS: [&str; 2] = ["versions", "plugins"];
/// The journal's file.
const JOURNAL: &str = "journal.db";
/// The secret of tokens, where one was made.
const SECRET: &str = "jwt.secret";
/// The settings' file, where there is one.
const SETTINGS: &str = "relevo.toml";

/// Why there is no backup, or none that can be put back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupError {
    #[error("{0} is there already; name a folder that isn't, such as one with the date in its name")]
    There(PathBuf),
    #[error(
        "{into} is in {folder}, which is what is backed up: it would be lost with it; name a folder outside of the data \
         folder, best on another disk"
    )]
    Within { into: PathBuf, folder: PathBuf },
    #[error("{0} isn't there; make it, the backup's folder is made in it")]
    NoParent(PathBuf),
    #[error("{path} has {found}, which no backup leaves there; move it away, or choose another place")]
    Foreign { path: PathBuf, found: PathBuf },
    #[error("another `relevo backup` writes to {0}; wait for it, or choose another place")]
    Busy(PathBuf),
    #[error("{0} has no journal; there is nothing to back up before the first start of the server")]
    NoJournal(PathBuf),
    #[error("{0} is no backup: it has no {file}; name the folder that `relevo backup` made", file = manifest::FILE)]
    NoBackup(PathBuf),
    #[error("{path}: {why}; the backup is damaged: use another one, and look at the disk that it lies on")]
    Damaged { path: PathBuf, why: String },
    #[error(
        "{path} is of format {found}, this relevo reads {reads}; use the relevo version that made it, or a newer one"
    )]
    Format { path: PathBuf, found: u32, reads: u32 },
    #[error(
        "{0} is there already; a backup is put into a data folder that holds nothing of the server's: move it away, or \
         set RELEVO_DATA to another folder"
    )]
    Taken(PathBuf),
    #[error(
        "a restore into {0} was broken off: what is there is half of a backup; make it again with `relevo restore DIR`, or, \
         to begin with nothing, empty the folder"
    )]
    Interrupted(PathBuf),
    #[error(
        "the journal's copy needs {plugin} {version}, which is not among the copied versions: versions came and went \
         meanwhile; run the backup again. If it says so again, the version is lost from {versions}: deploy the plugin again"
    )]
    VersionMissing { plugin: String, version: String, versions: PathBuf },
    #[error("{path}: there is no room for the copy; make room there, or choose another place")]
    Room { path: PathBuf },
    #[error("the copy of the journal is damaged, so the journal is: `relevo journal check {0}` says what is wrong")]
    Unsound(PathBuf),
    #[error("{path}: {cause}")]
    Io { path: PathBuf, cause: std::io::Error },
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Names the file that an error is about.
fn at(path: &Path) -> impl Fn(std::io::Error) -> BackupError + use<'_> {
    move |cause| match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BackupError::Room { path: path.into() },
        _ => BackupError::Io { path: path.into(), cause },
    }
}
