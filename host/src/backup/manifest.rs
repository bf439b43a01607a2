//! `backup.json`: what is in a backup, with the hash of each file, so that damage is found before it is put back.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{BackupError, at};

pub(super) const FILE: &str = "backup.json";
pub(super) const FORMAT: u32 = 1;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// The version of relevo that made it.
    pub(super) relevo: String,
    /// RFC 3339, UTC: when the journal's copy was begun.
    pub(super) at: String,
    /// The journal's when it was copied; a new one begins when the copy is opened.
    pub(super) epoch: String,
    /// The newest offset in it.
    pub(super) offset: u64,
    /// By path within the backup.
    pub(super) files: BTreeMap<String, Entry>,
    /// The SHA-256 of all the fields before.
    #[serde(default)]
    pub(super) sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

impl Manifest {
    /// Writes it, durably.
    pub(super) fn write(mut self, folder: &Path) -> Result<(), BackupError> {
        self.sha256 = self.hash();
        let path = folder.join(FILE);
        // Texts and numbers: JSON can hold them.
        let text = serde_json::to_vec_pretty(&self).unwrap_or_default();
        std::fs::write(&path, text).and_then(|()| File::open(&path)?.sync_all()).map_err(at(&path))
    }

    /// Reads it, and checks that it is as it was written.
    pub(super) fn read(folder: &Path) -> Result<Self, BackupError> {
        let path = folder.join(FILE);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(BackupError::NoBackup(folder.into()));
            }
            Err(error) => return Err(at(&path)(error)),
        };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |why: String| BackupError::Damaged { path: path.clone(), why };
        let Format { format } = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if format > FORMAT {
            return Err(BackupError::Format { path, found: format, reads: FORMAT });
        }
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if manifest.hash() != manifest.sha256 {
            return Err(damaged("it was changed after it was written".into()));
        }
        // It says where files are written: nowhere but in the data folder.
        let inside = |name: &String| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        match manifest.files.keys().find(|name| !inside(name)) {
            Some(name) => Err(damaged(format!("it names {name:?}, which is not in the backup"))),
            None => Ok(manifest),
        }
    }

    fn hash(&self) -> String {
        let bare = Self { sha256: String::new(), ..self.clone() };
        hex(&Sha256::digest(serde_json::to_vec(&bare).unwrap_or_default()))
    }
}

/// A file's size and hash.
pub(super) fn entry(path: &Path) -> Result<Entry, BackupError> {
    let mut file = File::open(path).map_err(at(path))?;
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).map_err(at(path))?;
        if read == 0 {
            return Ok(Entry { bytes, sha256: hex(&hash.finalize()) });
        }
        hash.update(&buffer[..read]);
        bytes += read as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
