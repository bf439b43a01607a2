//! A plugin as it is handed over: a component and its manifest, which together are a version, and maybe a
//! signature of both.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Signatures;
use crate::signature::{PublicKey, Signature};

/// Names a version by its content: the SHA-256 of component and manifest, 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>", into = "Box<str>")]
pub struct VersionId(Box<str>);

impl VersionId {
    /// How many digits people are shown.
    const SHOWN: usize = 12;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first digits: what people see and may type.
    pub fn short(&self) -> &str {
        &self.0[..Self::SHOWN]
    }
}

impl TryFrom<Box<str>> for VersionId {
    type Error = &'static str;

    fn try_from(text: Box<str>) -> Result<Self, Self::Error> {
        // It becomes a folder's name: nothing but digits.
        let fits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if fits { Ok(Self(text)) } else { Err("a version's id has 64 digits of 0-9 and a-f") }
    }
}

impl From<VersionId> for Box<str> {
    fn from(id: VersionId) -> Self {
        id.0
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub component: Vec<u8>,
    /// The text of `NAME.toml`.
    pub manifest: String,
    /// The text of `NAME.sig`, if there is one: who vouches for the other two.
    pub signature: Option<String>,
}

/// Why a package's signature does not do.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    #[error(
        "it is not signed, and plugins.require_signature is on: sign it with `relevo plugin sign NAME.wasm --key KEYFILE`, \
         and bring it again"
    )]
    Missing,
    #[error("its signature is damaged: sign it again with `relevo plugin sign NAME.wasm --key KEYFILE`")]
    Damaged,
    #[error(
        "its signature, by the key {0}, is not of this component and this manifest: one of them was changed after it was \
         signed. Do not use it before you know by whom; then sign it again"
    )]
    Other(Box<PublicKey>),
    #[error(
        "it is signed with a key that relevo.toml does not trust. If you do, write there, and restart the server:\n  \
         [[plugins.trusted_key]]\n  name = \"NAME\"\n  key = \"{0}\"\nElse bring a version that is signed with a trusted key"
    )]
    Untrusted(Box<PublicKey>),
}

/// A file's content, of at most `most` bytes, which is what `setting` allows.
fn bounded(path: &Path, most: u64, setting: &str) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    // It may grow while it is read.
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut content)?;
    if content.len() as u64 > most {
        let reason = format!("has more than {most} bytes, which is what {setting} allows");
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, reason));
    }
    Ok(content)
}

impl Package {
    /// What a manifest or a signature may have, in bytes.
    pub const BESIDE: u64 = 1 << 20;

    /// Reads `NAME.wasm`, `NAME.toml` and, if it is there, `NAME.sig`.
    ///
    /// # Errors
    /// The file that can't be read, and why.
    pub fn read(folder: &Path, name: &str) -> Result<Self, (std::path::PathBuf, std::io::Error)> {
        Self::read_within(folder, name, u64::MAX)
    }

    /// The same, with a component of at most so many bytes.
    ///
    /// # Errors
    /// The file that can't be read, or is too large, and why.
    pub fn read_within(
        folder: &Path,
        name: &str,
        component_bytes: u64,
    ) -> Result<Self, (std::path::PathBuf, std::io::Error)> {
        let file = |ending: &str| folder.join(format!("{name}.{ending}"));
        let bytes = |ending: &str, most: u64, setting: &str| {
            let path = file(ending);
            bounded(&path, most, setting).map_err(|e| (path, e))
        };
        let text = |ending: &str| {
            let text = bytes(ending, Self::BESIDE, "a manifest's or signature's size")?;
            String::from_utf8(text).map_err(|e| (file(ending), std::io::Error::new(ErrorKind::InvalidData, e)))
        };
        let component = bytes("wasm", component_bytes, "plugins.component_bytes")?;
        let manifest = text("toml")?;
        let signature = match text("sig") {
            Ok(text) => Some(text),
            Err((_, e)) if e.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { component, manifest, signature })
    }

    /// Whose signature it has, by the trusted key's name; none, if it has none and needs none. A signature that
    /// is there has to be good, needed or not.
    ///
    /// # Errors
    /// What is wrong with the signature, and what to do.
    pub fn signer<'a>(&self, rules: &'a Signatures) -> Result<Option<&'a str>, SignatureError> {
        let Some(text) = &self.signature else {
            return if rules.required { Err(SignatureError::Missing) } else { Ok(None) };
        };
        let signature = Signature::parse(text).ok_or(SignatureError::Damaged)?;
        if !signature.is_of(self.id().as_str()) {
            return Err(SignatureError::Other(signature.key.into()));
        }
        let trusted = rules.trusted.iter().find(|trusted| trusted.key == signature.key);
        trusted.map(|trusted| Some(&*trusted.name)).ok_or(SignatureError::Untrusted(signature.key.into()))
    }

    /// Tells packages apart that differ, if only in their signatures.
    pub fn mark(&self) -> String {
        let id = self.id();
        let signed = self.signature.as_ref().map(|text| format!("+{:x}", Sha256::digest(text)));
        format!("{}{}", id.as_str(), signed.unwrap_or_default())
    }

    pub fn id(&self) -> VersionId {
        let mut hash = Sha256::new();
        // The length keeps a byte from moving from one to the other unseen.
        hash.update((self.component.len() as u64).to_le_bytes());
        hash.update(&self.component);
        hash.update(self.manifest.as_bytes());
        VersionId(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_component_and_manifest_makes_another_version() {
        let package = |component: &[u8], manifest: &str| Package {
            component: component.into(),
            manifest: manifest.into(),
            signature: None,
        };
        let ids =
            [package(b"ab", "c").id(), package(b"a", "bc").id(), package(b"ab", "d").id(), package(b"abc", "").id()];
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), 4);
        assert_eq!(package(b"ab", "c").id(), ids[0]);
        assert_eq!(VersionId::try_from(Box::<str>::from(ids[0].as_str())), Ok(ids[0].clone()));
    }

    #[test]
    fn a_text_that_could_lead_out_of_the_folder_is_no_id() {
        for text in ["", "../../etc", &"A".repeat(64), &"/".repeat(64)] {
            assert!(VersionId::try_from(Box::<str>::from(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_component_that_is_larger_than_the_settings_allow_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("p.toml"), "name = 'p'").unwrap();
        std::fs::write(folder.path().join("p.wasm"), [0; 100]).unwrap();
        assert!(Package::read_within(folder.path(), "p", 100).is_ok());
        let (path, error) = Package::read_within(folder.path(), "p", 99).unwrap_err();
        let told = format!("{}: {error}", path.display());
        assert!(told.contains("p.wasm: has more than 99 bytes") && told.contains("plugins.component_bytes"), "{told}");
        std::fs::write(folder.path().join("p.toml"), vec![b'#'; (1 << 20) + 1]).unwrap();
        assert!(Package::read(folder.path(), "p").is_err());
    }
}
