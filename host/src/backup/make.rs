//! Makes a backup, while the server may run.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::manifest::{self, Manifest};
use super::{BackupError, FOLDERS, JOURNAL, SECRET, SETTINGS, at, tree};
use crate::event::Micros;
use crate::failpoint;
use crate::journal::{self, Copied};
use crate::pipeline;
use crate::store::{Package, VersionId, Versions};

/// What was made.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    pub(crate) epoch: String,
    /// The newest offset in it.
    pub(crate) offset: u64,
}

/// Backs the data folder up into the folder `into`, which must not be there. Whatever stops it leaves `into` away:
/// it is written beside, checked, and takes its name last. What is beside goes too, unless the process dies.
///
/// # Errors
/// What stands in the way, and what to do.
pub(crate) async fn make(data: &Path, settings: Option<&Path>, into: &Path) -> Result<Made, BackupError> {
    if into.symlink_metadata().is_ok() {
        return Err(BackupError::There(into.into()));
    }
    // Without the slash at its end, if it has one.
    let into = &*into.components().collect::<PathBuf>();
    outside(data, into)?;
    super::interrupted(data)?;
    let place = Place::take(into)?;
    match fill(data, settings, &place.path).await {
        Ok(made) => place.finish(into).map(|()| made),
        Err(error) => {
            place.discard();
            Err(error)
        }
    }
}

/// Copies everything, checks it, and writes down what it is.
async fn fill(data: &Path, settings: Option<&Path>, beside: &Path) -> Result<Made, BackupError> {
    let now = Micros::now().rfc3339();
    // Before the journal, for versions that are forgotten meanwhile, and after it, for those that come meanwhile.
    folders(data, beside)?;
    failpoint::hit(failpoint::BACKUP_BEGUN);
    let copied = journal::copy(data, beside).await?.ok_or_else(|| BackupError::NoJournal(data.into()))?;
    failpoint::hit(failpoint::BACKUP_COPIED);
    folders(data, beside)?;
    drop_torn(&beside.join(FOLDERS[0]))?;
    has_versions(data, beside).await?;
    let secret = beside.join(SECRET);
    if tree::file(&data.join(SECRET), &secret)? {
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).map_err(at(&secret))?;
    }
    if let Some(settings) = settings {
        tree::file(settings, &beside.join(SETTINGS))?;
    }
    match journal::check(beside).await? {
        Some(report) if report.sound => {}
        _ => return Err(BackupError::Unsound(data.into())),
    }
    let Copied { epoch, head } = copied;
    let mut files = std::collections::BTreeMap::new();
    for name in tree::list(beside)? {
        let entry = manifest::entry(&beside.join(&name))?;
        files.insert(name, entry);
    }
    let made = Made {
        files: files.len(),
        bytes: files.values().map(|entry| entry.bytes).sum(),
        epoch: epoch.clone(),
        offset: head.0,
    };
    let relevo = env!("CARGO_PKG_VERSION").into();
    let (format, sha256) = (manifest::FORMAT, String::new());
    Manifest { format, relevo, at: now, epoch, offset: head.0, files, sha256 }.write(beside)?;
    tree::sync(beside)?;
    Ok(made)
}

/// The backup must not be copied into itself, nor lie in what it is a backup of.
fn outside(data: &Path, into: &Path) -> Result<(), BackupError> {
    let parent = match into.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let parent = parent.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => BackupError::NoParent(parent.into()),
        _ => at(parent)(error),
    })?;
    // One beside the journal would be copied by nothing here, but it goes with the data folder: it is no backup. The
    // copied folders may be links to elsewhere.
    let kept = std::iter::once(data.to_owned()).chain(FOLDERS.iter().map(|folder| data.join(folder)));
    match kept.filter_map(|folder| folder.canonicalize().ok()).find(|folder| parent.starts_with(folder)) {
        Some(folder) => Err(BackupError::Within { into: into.into(), folder }),
        None => Ok(()),
    }
}

fn folders(data: &Path, beside: &Path) -> Result<(), BackupError> {
    FOLDERS.iter().try_for_each(|folder| tree::copy(&data.join(folder), &beside.join(folder)))
}

/// Whether all versions are there that the copied journal needs: many may come and go while it is copied.
async fn has_versions(data: &Path, beside: &Path) -> Result<(), BackupError> {
    let store = Versions::at(&beside.join(FOLDERS[0]));
    for (plugin, id) in pipeline::needed(beside).await? {
        // As when a pipeline begins: whoever lost the version may still have it in the plugins folder.
        let in_folder = || Package::read(&beside.join(FOLDERS[1]), &plugin).is_ok_and(|package| package.id() == id);
        if store.package(&plugin, &id).is_err() && !in_folder() {
            let (plugin, version) = (plugin.to_string(), id.short().to_owned());
            return Err(BackupError::VersionMissing { plugin, version, versions: data.join(FOLDERS[0]) });
        }
    }
    Ok(())
}

/// Takes versions away that were forgotten while they were copied.
fn drop_torn(versions: &Path) -> Result<(), BackupError> {
    let store = Versions::at(versions);
    for plugin in fs::read_dir(versions).into_iter().flatten().flatten() {
        let Some(name) = plugin.file_name().to_str().map(str::to_owned) else { continue };
        for version in fs::read_dir(plugin.path()).into_iter().flatten().flatten() {
            let id = version.file_name().to_str().and_then(|name| VersionId::try_from(Box::from(name)).ok());
            let Some(id) = id else { continue };
            if store.about(&name, &id).is_none() || store.package(&name, &id).is_err() {
                fs::remove_dir_all(version.path()).map_err(at(&version.path()))?;
            }
        }
    }
    Ok(())
}

/// `DIR.incomplete`, held against a second backup to the same place.
struct Place {
    path: PathBuf,
    _held: File,
}

impl Place {
    /// What a backup that was broken off left there is taken away.
    fn take(into: &Path) -> Result<Self, BackupError> {
        let mut name = into.as_os_str().to_owned();
        name.push(".incomplete");
        let path = PathBuf::from(name);
        // It holds a secret, and all that was in the rows.
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(at(&path)(error)),
            _ => {}
        }
        let held = File::open(&path).map_err(at(&path))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::Busy(path)),
            Err(TryLockError::Error(error)) => return Err(at(&path)(error)),
        }
        // Whoever had it may have given it its name, or taken it away, before we held it.
        let same = |there: fs::Metadata| held.metadata().is_ok_and(|held| held.ino() == there.ino());
        if !fs::metadata(&path).is_ok_and(same) {
            return Err(BackupError::Busy(path));
        }
        let ours = [JOURNAL, SECRET, SETTINGS, manifest::FILE].iter().chain(&FOLDERS);
        let is_ours = |name: &std::ffi::OsStr| {
            // SQLite's files beside the journal begin with its name.
            ours.clone().any(|ours| name.as_encoded_bytes().starts_with(ours.as_bytes()))
        };
        let left: Vec<PathBuf> = fs::read_dir(&path)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
            .map_err(at(&path))?;
        if let Some(found) = left.iter().find(|left| !left.file_name().is_some_and(is_ours)) {
            return Err(BackupError::Foreign { path, found: found.clone() });
        }
        for left in left {
            tree::remove(&left)?;
        }
        Ok(Self { path, _held: held })
    }

    /// As far as it goes: the next backup takes the rest away.
    fn discard(self) {
        let _ = fs::remove_dir_all(&self.path);
    }

    fn finish(self, into: &Path) -> Result<(), BackupError> {
        if into.symlink_metadata().is_ok() {
            self.discard();
            return Err(BackupError::There(into.into()));
        }
        fs::rename(&self.path, into).map_err(at(into))?;
        match into.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => tree::sync(parent),
            _ => tree::sync(Path::new(".")),
        }
    }
}
