//! Puts a backup into an empty data folder.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::manifest::{self, Manifest};
use super::{BackupError, FOLDERS, JOURNAL, SECRET, SETTINGS, at, tree};
use crate::journal::{self, JournalError};
use crate::{failpoint, folder};

/// What is put beside until all of it is there. As long as the folder is there, what is in the data folder may be half
/// of a backup, and no server starts.
const BESIDE: &str = "restore.incomplete";

/// What was put back.
#[derive(Debug, Clone)]
pub(crate) struct Restored {
    /// When the backup was made, RFC 3339.
    pub(crate) at: String,
    pub(crate) bytes: u64,
    pub(crate) offset: u64,
    /// The settings' file in the backup; it isn't put anywhere.
    pub(crate) settings: Option<PathBuf>,
}

/// Checks the backup, and puts it into the data folder. The server's next start begins a new epoch.
///
/// # Errors
/// A file of the backup that is damaged, a data folder that is in use or holds something of a server's, or what the
/// storage says; the data folder is as it was then, or, if something was put into it already, a server refuses it.
pub(crate) async fn restore(from: &Path, data: &Path) -> Result<Restored, BackupError> {
    let manifest = Manifest::read(from)?;
    folder::private(data).map_err(at(data))?;
    let _lock = journal::Lock::take(data)?;
    let beside = data.join(BESIDE);
    // What a restore that was broken off has put there is replaced: no server has run on it since.
    if !beside.exists() {
        refuse_taken(data)?;
        DirBuilder::new().mode(0o700).create(&beside).map_err(at(&beside))?;
        tree::sync(data)?;
    }
    let done = match fill(from, &manifest, &beside).await {
        Ok(()) => place(&beside, data),
        Err(error) => Err(error),
    };
    if done.is_err() && refuse_taken(data).is_ok() {
        let _ = fs::remove_dir_all(&beside);
    }
    done?;
    let bytes = manifest.files.values().map(|entry| entry.bytes).sum();
    let settings = manifest.files.contains_key(SETTINGS).then(|| from.join(SETTINGS));
    Ok(Restored { at: manifest.at, bytes, offset: manifest.offset, settings })
}

/// Says so, if a restore into the data folder was broken off.
///
/// # Errors
/// `Interrupted`.
pub(crate) fn interrupted(data: &Path) -> Result<(), BackupError> {
    if data.join(BESIDE).exists() { Err(BackupError::Interrupted(data.into())) } else { Ok(()) }
}

fn refuse_taken(data: &Path) -> Result<(), BackupError> {
    let names = [JOURNAL, "journal.db-wal", "journal.db-shm", FOLDERS[0], FOLDERS[1], SECRET];
    match names.iter().map(|name| data.join(name)).find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(BackupError::Taken(path)),
        None => Ok(()),
    }
}

/// Copies the files and checks what arrived: each one's hash, then the journal as a whole, brought to this format.
async fn fill(from: &Path, manifest: &Manifest, beside: &Path) -> Result<(), BackupError> {
    // What an earlier one left; the folder itself stays.
    for entry in fs::read_dir(beside).map_err(at(beside))? {
        tree::remove(&entry.map_err(at(beside))?.path())?;
    }
    for (name, wanted) in &manifest.files {
        let (source, target) = (from.join(name), beside.join(name));
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(at(folder))?;
        }
        let damaged = |why: String| BackupError::Damaged { path: source.clone(), why };
        if !tree::file(&source, &target)? {
            return Err(damaged("it is missing".into()));
        }
        let found = manifest::entry(&target)?;
        if found.bytes != wanted.bytes {
            return Err(damaged(format!("it has {} bytes instead of {}", found.bytes, wanted.bytes)));
        }
        if found != *wanted {
            return Err(damaged("its content is not what was backed up".into()));
        }
    }
    let damaged = |why: String| BackupError::Damaged { path: from.join(JOURNAL), why };
    match journal::to_this_format(beside).await {
        Err(JournalError::Corrupt { why, .. }) => return Err(damaged(why)),
        done => done?,
    }
    match journal::check(beside).await? {
        Some(report) if report.sound => Ok(()),
        _ => Err(damaged("`relevo journal check` finds damage".into())),
    }
}

/// Puts everything where it belongs, the journal last: a server that finds it finds the rest.
fn place(beside: &Path, data: &Path) -> Result<(), BackupError> {
    failpoint::hit(failpoint::RESTORE_COPIED);
    for name in [FOLDERS[0], FOLDERS[1], SECRET, JOURNAL] {
        let (from, to) = (beside.join(name), data.join(name));
        if name == JOURNAL {
            tree::sync(data)?;
            failpoint::hit(failpoint::RESTORE_PLACED);
        }
        // What is there is from a restore that was broken off, maybe of another backup.
        tree::remove(&to)?;
        if from.exists() {
            fs::rename(&from, &to).map_err(at(&to))?;
        }
    }
    tree::sync(data)?;
    failpoint::hit(failpoint::RESTORE_DONE);
    fs::remove_dir_all(beside).map_err(at(beside))?;
    tree::sync(data)
}
