//! Who vouches for a version of a plugin: Ed25519 keys and signatures, as texts of one line. The store verifies
//! them, the settings name the keys that are trusted, and `relevo plugin keygen` and `sign` make them.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::Deserialize;

/// What is signed begins with this, so that a signature can't be taken for one of something else.
const DOMAIN: &str = "relevo plugin signature 1\n";
/// How the lines begin.
const SIGNATURE: &str = "relevo-signature-1";
const PRIVATE_KEY: &str = "relevo-private-key-1";

/// A public key: 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicKey(VerifyingKey);

impl TryFrom<String> for PublicKey {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let key = bytes(&text).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
        // With a weak key anything can be a valid signature.
        let key = key.filter(|key| !key.is_weak()).map(Self);
        key.ok_or("a public key as `relevo plugin keygen` prints it: 64 hexadecimal digits")
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        hex(self.0.as_bytes()).fmt(f)
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A signature, and the key that made it: one line, which stands in `NAME.sig`.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature {
    pub key: PublicKey,
    signature: ed25519_dalek::Signature,
}

impl Signature {
    /// Reads the line of a `NAME.sig`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (SIGNATURE, Some(key), Some(signature), None) = (words.next()?, words.next(), words.next(), words.next())
        else {
            return None;
        };
        let key = PublicKey::try_from(key.to_owned()).ok()?;
        Some(Self { key, signature: ed25519_dalek::Signature::from_bytes(&bytes(signature)?) })
    }

    /// Whether the key's owner signed the version with this id.
    pub fn is_of(&self, id: &str) -> bool {
        self.key.0.verify_strict(format!("{DOMAIN}{id}").as_bytes(), &self.signature).is_ok()
    }
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{SIGNATURE} {} {}", self.key, hex(&self.signature.to_bytes()))
    }
}

/// What signs. Its file is the owner's alone; it is never shown.
pub struct PrivateKey(SigningKey);

/// Why there is no private key to use.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{}: {cause}", .path.display())]
    Io { path: PathBuf, cause: std::io::Error },
    #[error("{} is there already; keep it, or give another file", .0.display())]
    Exists(PathBuf),
    #[error("{} may be read by others (mode {mode:o}); run: chmod 600 {}", .path.display(), .path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{} holds no private key of Relevo; `relevo plugin keygen FILE` makes one", .0.display())]
    NoKey(PathBuf),
}

impl PrivateKey {
    /// Makes a key and writes it into a new file that only its owner may read.
    ///
    /// # Errors
    /// If the file is there already, or can't be written.
    pub fn make(path: &Path) -> Result<Self, KeyError> {
        let io = |cause: std::io::Error| match cause.kind() {
            std::io::ErrorKind::AlreadyExists => KeyError::Exists(path.into()),
            _ => KeyError::Io { path: path.into(), cause },
        };
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|e| io(std::io::Error::other(e)))?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        writeln!(file, "{PRIVATE_KEY} {}", hex(&seed)).and_then(|()| file.sync_all()).map_err(io)?;
        Ok(Self(SigningKey::from_bytes(&seed)))
    }

    /// Reads a key's file.
    ///
    /// # Errors
    /// If it can't be read, others may read it, or it holds something else.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let io = |cause| KeyError::Io { path: path.into(), cause };
        let mut file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Open { path: path.into(), mode });
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io)?;
        let seed = text.trim().strip_prefix(PRIVATE_KEY).and_then(|rest| bytes(rest.trim()));
        seed.map(|seed| Self(SigningKey::from_bytes(&seed))).ok_or_else(|| KeyError::NoKey(path.into()))
    }

    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs the version with this id.
    pub fn sign(&self, id: &str) -> Signature {
        Signature { key: self.public(), signature: self.0.sign(format!("{DOMAIN}{id}").as_bytes()) }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads so many bytes of hexadecimal digits, and nothing else.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |b: u8| (b as char).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn key(folder: &tempfile::TempDir, name: &str) -> PrivateKey {
        PrivateKey::make(&folder.path().join(name)).unwrap()
    }

    #[test]
    fn a_signature_is_of_one_key_and_one_version() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (key(&folder, "one"), key(&folder, "other"));
        let signature = Signature::parse(&format!("{}\n", one.sign("ab"))).unwrap();
        assert!(signature.is_of("ab") && signature.key == one.public());
        assert!(!signature.is_of("abc") && !signature.is_of(""));
        // Under another's name it is nobody's.
        let forged = one.sign("ab").to_string().replace(&one.public().to_string(), &other.public().to_string());
        assert!(!Signature::parse(&forged).unwrap().is_of("ab"));
        // What signs something else does not sign a version.
        let elsewhere = Signature { key: one.public(), signature: one.0.sign(b"ab") };
        assert!(!elsewhere.is_of("ab"));
    }

    #[test]
    fn what_is_no_signature_or_key_is_not_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let good = key(&folder, "one").sign("ab").to_string();
        for bad in ["", "relevo-signature-1", &good[1..], &good[..good.len() - 1], &format!("{good} more")] {
            assert!(Signature::parse(bad).is_none(), "{bad}");
        }
        // Anybody can sign for the neutral element of the curve.
        let weak = format!("01{}", "0".repeat(62));
        for bad in ["", "zz", &weak, &"é".repeat(32)] {
            assert!(PublicKey::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_is_kept_for_its_owner_alone_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one");
        let made = key(&folder, "one");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(PrivateKey::read(&path).unwrap().public(), made.public());
        assert!(matches!(PrivateKey::make(&path), Err(KeyError::Exists(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = PrivateKey::read(&path).err().unwrap().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "relevo-private-key-1 abc").unwrap();
        assert!(matches!(PrivateKey::read(&path), Err(KeyError::NoKey(_))));
    }
}
