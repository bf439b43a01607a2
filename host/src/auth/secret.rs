//! The HS256 secret: the one that is set, or one that is made once and kept in the data folder.
//! There is no default secret.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::{AuthSettings, Config};

/// A key that tokens are signed and checked with. Its `Debug` form doesn't show it.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// Why there is no secret to use.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(
        "the secret in {place} has {bytes} bytes; it needs at least {} (try: openssl rand -hex 32)",
        AuthSettings::SECRET_BYTES
    )]
    Short { place: String, bytes: usize },
    #[error("{path} may be read by others (mode {mode:o}); run: chmod 600 {path}")]
    Open { path: PathBuf, mode: u32 },
    #[error("{path}: {cause}; give relevo a data folder that it may write to (RELEVO_DATA), or set RELEVO_JWT_SECRET")]
    Io { path: PathBuf, cause: std::io::Error },
}

impl Secret {
    /// Checks a secret that was set.
    ///
    /// # Errors
    /// If it is shorter than [`AuthSettings::SECRET_BYTES`].
    pub fn new(text: &str, place: &str) -> Result<Self, SecretError> {
        let bytes = text.trim().as_bytes().to_vec();
        if bytes.len() < AuthSettings::SECRET_BYTES {
            return Err(SecretError::Short { place: place.to_owned(), bytes: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// The configured secret, else the one in `DATA/jwt.secret`, which is made where there is none.
    ///
    /// # Errors
    /// If it is too short, can be read by others, or the folder can't be used.
    pub fn load(config: &Config) -> Result<Self, SecretError> {
        if let Some(found) = Self::find(config)? {
            return Ok(found);
        }
        let path = Self::path(&config.data);
        make(&path).map_err(|cause| SecretError::Io { path: path.clone(), cause })?;
        Self::read(&path)
    }

    /// As [`Self::load`], but None where none was made yet.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn find(config: &Config) -> Result<Option<Self>, SecretError> {
        if let Some(text) = &config.auth.secret {
            return Self::new(text, "auth.secret (RELEVO_JWT_SECRET)").map(Some);
        }
        match Self::read(&Self::path(&config.data)) {
            Err(SecretError::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Where a made secret is kept.
    pub fn path(data: &Path) -> PathBuf {
        data.join("jwt.secret")
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn read(path: &Path) -> Result<Self, SecretError> {
        let io = |cause| SecretError::Io { path: path.to_owned(), cause };
        let mut file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Open { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        Self::new(&text, &path.display().to_string())
    }
}

/// Writes aside and links: of two processes that start at once one wins, and a crash leaves no half
/// secret behind.
fn make(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        crate::folder::private(folder)?;
    }
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let aside = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&aside, path);
    fs::remove_file(&aside)?;
    match linked {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn config(data: &Path) -> Config {
        let mut config = Config::load(None).unwrap();
        config.auth.secret = None;
        config.data = data.to_owned();
        config
    }

    #[test]
    fn a_secret_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&folder.path().join("new"));
        assert!(Secret::find(&config).unwrap().is_none());
        let made = Secret::load(&config).unwrap();
        assert!(made.bytes().len() >= AuthSettings::SECRET_BYTES);
        assert_eq!(Secret::load(&config).unwrap().bytes(), made.bytes());
        let mode = fs::metadata(Secret::path(&config.data)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&config.data).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn of_many_that_make_it_at_once_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let made: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| Secret::load(&config).unwrap().bytes().to_vec())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(made.iter().all(|secret| *secret == made[0]));
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        Secret::load(&config).unwrap();
        let path = Secret::path(folder.path());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Secret::load(&config).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn a_short_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        config.auth.secret = Some("short".into());
        assert!(matches!(Secret::load(&config), Err(SecretError::Short { bytes: 5, .. })));
        config.auth.secret = None;
        fs::write(Secret::path(folder.path()), "cut off").unwrap();
        fs::set_permissions(Secret::path(folder.path()), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(Secret::load(&config), Err(SecretError::Short { bytes: 7, .. })));
    }

    #[test]
    fn a_secret_doesn_t_show_itself() {
        let secret = Secret::new(&"s".repeat(40), "test").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(40 bytes)");
    }
}
