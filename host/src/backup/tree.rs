//! Copies folders that may change meanwhile, and lists them.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use super::{BackupError, at};

/// Copies what is in a folder, with its folders, durably. What vanishes meanwhile isn't copied; what begins with a
/// dot (files that are being written) and links are left out.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    let entries = match fs::read_dir(from) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(from)(error)),
    };
    fs::create_dir_all(to).map_err(at(to))?;
    for entry in entries {
        let entry = entry.map_err(at(from))?;
        let (path, name) = (entry.path(), entry.file_name());
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(at(&path))?;
        if kind.is_dir() {
            copy(&path, &to.join(name))?;
        } else if kind.is_file() {
            file(&path, &to.join(name))?;
        }
    }
    sync(to)
}

/// Copies a file with its mode, durably. False: it isn't there.
pub(super) fn file(from: &Path, to: &Path) -> Result<bool, BackupError> {
    match fs::copy(from, to) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound && !from.exists() => return Ok(false),
        // It is the target that has no room.
        Err(error) if error.kind() == ErrorKind::StorageFull => return Err(at(to)(error)),
        Err(error) => return Err(at(from)(error)),
    }
    File::open(to).and_then(|file| file.sync_all()).map_err(at(to))?;
    Ok(true)
}

pub(super) fn sync(folder: &Path) -> Result<(), BackupError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
}

/// The files in a folder and its folders, by their paths within it, in order.
pub(super) fn list(folder: &Path) -> Result<Vec<String>, BackupError> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).map_err(at(&next))? {
            let path = entry.map_err(at(&next))?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(folder).ok().and_then(Path::to_str).map(str::to_owned);
            found.push(name.ok_or_else(|| at(&path)(std::io::Error::other("its name is no UTF-8")))?);
        }
    }
    found.sort();
    Ok(found)
}

/// A file or a folder, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), BackupError> {
    let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match gone {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}
