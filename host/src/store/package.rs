//! A plugin as it is handed over: a component and its manifest. Both together are a version.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

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
}

impl Package {
    /// Reads `NAME.wasm` and `NAME.toml`.
    ///
    /// # Errors
    /// The file that can't be read, and why.
    pub fn read(folder: &Path, name: &str) -> Result<Self, (std::path::PathBuf, std::io::Error)> {
        let file = |ending: &str| folder.join(format!("{name}.{ending}"));
        let component = std::fs::read(file("wasm")).map_err(|e| (file("wasm"), e))?;
        let manifest = std::fs::read_to_string(file("toml")).map_err(|e| (file("toml"), e))?;
        Ok(Self { component, manifest })
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
        let package =
            |component: &[u8], manifest: &str| Package { component: component.into(), manifest: manifest.into() };
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
}
