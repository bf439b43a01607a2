//! The HS256 secret: the one that is set, or one that is made once and kept in the data folder.
//! There is no default secret.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::Config;

/// A key that tokens are signed and checked with. Its `Debug` form doesn't show it.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// Why there is no secret to use.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the secret in {place} has {bytes} bytes; it needs at least {} (try: openssl rand -hex 32)", Secret::MIN)]
    Short { place: String, bytes: usize },
    #[error("{path} may be read by others (mode {mode:o}); run: chmod 600 {path}")]
    Open { path: PathBuf, mode: u32 },
    #[error("{path}: {cause}; give relevo a data folder that it may write to (RELEVO_DATA), or set RELEVO_JWT_SECRET")]
    Io { path: PathBuf, cause: std::io::Error },
}

impl Secret {
    /// The shortest secret, in bytes: what HS256 itself puts out (RFC 7518, 3.2).
    pub const MIN: usize = 32;

    /// Checks a secret that was set.
    ///
    /// # Errors
    /// If it is shorter than [`Self::MIN`].
    pub fn new(text: &str, place: &str) -> Result<Self, SecretError> {
        let bytes = text.trim().as_bytes().to_vec();
        if bytes.len() < Self::MIN {
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
        fs::create_dir_all(folder)?;
    }
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(std::io::Error::other)?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let aside = path.with_extension(format!("secret.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
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
