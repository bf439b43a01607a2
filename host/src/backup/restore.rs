//! Puts a backup into an empty data folder.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::manifest::{self, Manifest};
use super::{BackupError, FOLDERS, JOURNAL, SECRET, SETTINGS, at, tree};
use crate::failpoint;
use crate::journal;

/// What is put beside until all of it is there.
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
/// storage says; the data folder is as it was then.
pub(crate) async fn restore(from: &Path, data: &Path) -> Result<Restored, BackupError> {
    let manifest = Manifest::read(from)?;
    fs::create_dir_all(data).map_err(at(data))?;
    let _lock = journal::Lock::take(data)?;
    let beside = data.join(BESIDE);
    refuse_taken(data, beside.exists())?;
    if beside.exists() {
        fs::remove_dir_all(&beside).map_err(at(&beside))?;
    }
    DirBuilder::new().mode(0o700).create(&beside).map_err(at(&beside))?;
    let done = match fill(from, &manifest, &beside).await {
        Ok(()) => place(&beside, data),
        Err(error) => Err(error),
    };
    if done.is_err() {
        let _ = fs::remove_dir_all(&beside);
    }
    done?;
    let bytes = manifest.files.values().map(|entry| entry.bytes).sum();
    let settings = manifest.files.contains_key(SETTINGS).then(|| from.join(SETTINGS));
    Ok(Restored { at: manifest.at, bytes, offset: manifest.offset, settings })
}

/// `again`: a restore was broken off here. It puts the journal last, so without one the rest is from it.
fn refuse_taken(data: &Path, again: bool) -> Result<(), BackupError> {
    let journal = [JOURNAL, "journal.db-wal", "journal.db-shm"];
    let rest = [FOLDERS[0], FOLDERS[1], SECRET];
    let names = journal.iter().chain(rest.iter().filter(|_| !again));
    match names.map(|name| data.join(name)).find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(BackupError::Taken(path)),
        None => Ok(()),
    }
}

/// Copies the files and checks what arrived: each one's hash, then the journal as a whole.
async fn fill(from: &Path, manifest: &Manifest, beside: &Path) -> Result<(), BackupError> {
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
    match journal::check(beside).await? {
        Some(report) if report.sound => Ok(()),
        _ => Err(BackupError::Damaged { path: from.join(JOURNAL), why: "`relevo journal check` finds damage".into() }),
    }
}

/// Puts everything where it belongs, the journal last: a server that finds it finds the rest.
fn place(beside: &Path, data: &Path) -> Result<(), BackupError> {
    for name in [FOLDERS[0], FOLDERS[1], SECRET, JOURNAL] {
        let (from, to) = (beside.join(name), data.join(name));
        if name == JOURNAL {
            tree::sync(data)?;
            failpoint::hit(failpoint::RESTORE_PLACED);
        }
        if !from.exists() {
            continue;
        }
        if to.is_dir() {
            fs::remove_dir_all(&to).map_err(at(&to))?;
        }
        fs::rename(&from, &to).map_err(at(&to))?;
    }
    tree::sync(data)?;
    fs::remove_dir_all(beside).map_err(at(beside))?;
    File::open(data).and_then(|folder| folder.sync_all()).map_err(at(data))
}
