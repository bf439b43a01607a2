//! The versions of each plugin that were brought to this server: the newest few, with when and by whom.
//! `FOLDER/PLUGIN/ID/` holds `component.wasm`, `manifest.toml`, `about.json` and, of one that is signed, `signature`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::package::{Package, VersionId};
use crate::event::{Micros, Name};

const COMPONENT: &str = "component.wasm";
const MANIFEST: &str = "manifest.toml";
const SIGNATURE: &str = "signature";
const ABOUT: &str = "about.json";
/// Which version the plugins folder held when it was last looked at.
const SEEN: &str = "folder-holds";

/// What the store can't do.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}; relevo must be able to read and write it")]
pub struct StoreError {
    pub path: PathBuf,
    pub reason: String,
}

/// How a version came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// As a file in the plugins folder.
    Folder,
    /// By `PUT /api/v1/plugins/NAME`, which `relevo plugin deploy` uses too.
    Http,
}

/// What is known of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub plugin: Name,
    pub id: VersionId,
    /// The manifest's version and the id's first digits: what commits and people call it.
    pub version: Box<str>,
    /// When it was last brought, microseconds since 1970 UTC.
    pub at: Micros,
    /// The user, or `folder`.
    pub by: Box<str>,
    pub origin: Origin,
    /// The component's size in bytes.
    pub bytes: u64,
    /// The name of the trusted key that signed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Box<str>>,
    /// Why it never took over, if it didn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Box<str>>,
}

/// See the module.
#[derive(Debug)]
pub struct Versions {
    folder: PathBuf,
    /// How many of each plugin are kept.
    keep: usize,
    /// Makes the names of half-written folders different.
    next: AtomicU64,
}

impl Versions {
    /// Opens the folder, making it where there is none. `keep`: how many versions of each plugin stay.
    ///
    /// # Errors
    /// If it can't be made.
    pub fn open(folder: &Path, keep: usize) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder).map_err(|e| error(folder, &e))?;
        Ok(Self { folder: folder.into(), keep: keep.max(1), next: AtomicU64::new(0) })
    }

    /// The folder as it is, to look at.
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.into(), keep: usize::MAX, next: AtomicU64::new(0) }
    }

    /// Keeps a version, and forgets the oldest beyond `keep`, never one of `in_use`. Brought again, it
    /// counts as the newest.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn put(&self, about: &About, package: &Package, in_use: &[VersionId]) -> Result<(), StoreError> {
        let of = self.folder.join(&*about.plugin);
        let place = of.join(about.id.as_str());
        // What is there but was changed is written anew: to deploy it again is what mends it.
        if !place.join(ABOUT).exists() || self.package(&about.plugin, &about.id).is_err() {
            let beside = of.join(format!(".new-{}-{}", std::process::id(), self.next.fetch_add(1, Ordering::Relaxed)));
            let written = std::fs::create_dir_all(&beside)
                .and_then(|()| write(&beside.join(COMPONENT), &package.component))
                .and_then(|()| write(&beside.join(MANIFEST), package.manifest.as_bytes()))
                .and_then(|()| self.put_signature(&beside.join(SIGNATURE), package))
                .and_then(|()| write(&beside.join(ABOUT), &json(about)))
                // A crash before left a folder without its last file there.
                .and_then(|()| if place.exists() { std::fs::remove_dir_all(&place) } else { Ok(()) })
                .and_then(|()| std::fs::rename(&beside, &place))
                .and_then(|()| sync_folder(&of));
            if let Err(e) = written {
                let _ = std::fs::remove_dir_all(&beside);
                return Err(error(&place, &e));
            }
        }
        // The signature that came last counts.
        self.put_signature(&place.join(SIGNATURE), package).map_err(|e| error(&place, &e))?;
        self.tell(about)?;
        self.forget_the_oldest(&about.plugin, in_use);
        Ok(())
    }

    fn put_signature(&self, path: &Path, package: &Package) -> std::io::Result<()> {
        match &package.signature {
            Some(text) => {
                let beside = path.with_extension("new");
                write(&beside, text.as_bytes()).and_then(|()| std::fs::rename(&beside, path))
            }
            None if path.exists() => std::fs::remove_file(path),
            None => Ok(()),
        }
    }

    /// Writes down what is known of a version anew.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn tell(&self, about: &About) -> Result<(), StoreError> {
        let place = self.place(&about.plugin, &about.id);
        let (path, beside) = (place.join(ABOUT), place.join(format!("{ABOUT}.new")));
        write(&beside, &json(about)).and_then(|()| std::fs::rename(&beside, &path)).map_err(|e| error(&path, &e))
    }

    /// A version's content.
    ///
    /// # Errors
    /// If it isn't there, or isn't what its id says.
    pub fn package(&self, plugin: &str, id: &VersionId) -> Result<Package, StoreError> {
        let place = self.place(plugin, id);
        let component = std::fs::read(place.join(COMPONENT)).map_err(|e| error(&place, &e))?;
        let manifest = std::fs::read_to_string(place.join(MANIFEST)).map_err(|e| error(&place, &e))?;
        let signature = match std::fs::read_to_string(place.join(SIGNATURE)) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(error(&place, &e)),
        };
        let package = Package { component, manifest, signature };
        if package.id() != *id {
            return Err(StoreError { path: place, reason: "was changed: it is not the version that it was".into() });
        }
        Ok(package)
    }

    /// What is known of a version.
    pub fn about(&self, plugin: &str, id: &VersionId) -> Option<About> {
        let text = std::fs::read(self.place(plugin, id).join(ABOUT)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The versions of a plugin, the newest first.
    pub fn list(&self, plugin: &str) -> Vec<About> {
        let entries = std::fs::read_dir(self.folder.join(plugin)).into_iter().flatten().flatten();
        let ids = entries.filter_map(|entry| VersionId::try_from(Box::from(entry.file_name().to_str()?)).ok());
        let mut versions: Vec<About> = ids.filter_map(|id| self.about(plugin, &id)).collect();
        versions.sort_by(|a, b| (b.at, &b.id).cmp(&(a.at, &a.id)));
        versions
    }

    /// Which version the plugins folder held when it was last looked at: a file that stays as it was is
    /// not brought again, whatever became of it.
    pub fn seen(&self, plugin: &str) -> Option<String> {
        std::fs::read_to_string(self.folder.join(plugin).join(SEEN)).ok()
    }

    /// Remembers that, by the package's mark.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn see(&self, plugin: &str, mark: &str) -> Result<(), StoreError> {
        let of = self.folder.join(plugin);
        let (path, beside) = (of.join(SEEN), of.join(format!("{SEEN}.new")));
        std::fs::create_dir_all(&of)
            .and_then(|()| write(&beside, mark.as_bytes()))
            .and_then(|()| std::fs::rename(&beside, &path))
            .map_err(|e| error(&path, &e))
    }

    fn place(&self, plugin: &str, id: &VersionId) -> PathBuf {
        self.folder.join(plugin).join(id.as_str())
    }

    fn forget_the_oldest(&self, plugin: &str, in_use: &[VersionId]) {
        for old in self.list(plugin).iter().skip(self.keep).filter(|old| !in_use.contains(&old.id)) {
            if let Err(e) = std::fs::remove_dir_all(self.place(plugin, &old.id)) {
                tracing::warn!(plugin, version = &*old.version, error = %e, "an old version can't be removed");
            }
        }
    }
}

fn json(about: &About) -> Vec<u8> {
    // Texts and numbers: JSON can hold them.
    serde_json::to_vec_pretty(about).unwrap_or_default()
}

/// Written and synced: what a pipeline commits to must be there after a power failure.
fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

fn error(path: &Path, cause: &std::io::Error) -> StoreError {
    StoreError { path: path.into(), reason: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bring(versions: &Versions, at: u64, manifest: &str, in_use: &[VersionId]) -> VersionId {
        let package = Package { component: b"\0asm".to_vec(), manifest: manifest.into(), signature: None };
        let about = About {
            plugin: "p".into(),
            id: package.id(),
            version: manifest.into(),
            at: Micros(at),
            by: "folder".into(),
            origin: Origin::Folder,
            bytes: 4,
            signed: None,
            refused: None,
        };
        versions.put(&about, &package, in_use).unwrap();
        package.id()
    }

    fn names(versions: &Versions) -> Vec<Box<str>> {
        versions.list("p").into_iter().map(|about| about.version).collect()
    }

    #[test]
    fn the_newest_are_kept_and_those_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let versions = Versions::open(folder.path(), 2).unwrap();
        let first = bring(&versions, 1, "one", &[]);
        for (at, name) in [(2, "two"), (3, "three"), (4, "four")] {
            bring(&versions, at, name, std::slice::from_ref(&first));
        }
        assert_eq!(names(&versions), ["four".into(), "three".into(), Box::<str>::from("one")]);
        bring(&versions, 5, "three", &[]);
        assert_eq!(names(&versions), ["three".into(), Box::<str>::from("four")], "brought again is the newest");
        assert_eq!(names(&Versions::open(folder.path(), 2).unwrap()), names(&versions));
    }

    #[test]
    fn a_version_that_was_changed_on_disk_is_not_taken_for_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let versions = Versions::open(folder.path(), 2).unwrap();
        let id = bring(&versions, 1, "one", &[]);
        assert_eq!(versions.package("p", &id).unwrap().manifest, "one");
        std::fs::write(versions.place("p", &id).join(COMPONENT), "evil").unwrap();
        let error = versions.package("p", &id).unwrap_err().to_string();
        assert!(error.contains("was changed"), "{error}");
        bring(&versions, 2, "one", &[]);
        assert_eq!(versions.package("p", &id).unwrap().component, b"\0asm", "brought again, it is what it was");
        assert_eq!(names(&versions), [Box::<str>::from("one")]);
    }

    #[test]
    fn the_signature_that_came_last_is_the_versions() {
        let folder = tempfile::tempdir().unwrap();
        let versions = Versions::open(folder.path(), 2).unwrap();
        let id = bring(&versions, 1, "one", &[]);
        let about = versions.about("p", &id).unwrap();
        let mut package = versions.package("p", &id).unwrap();
        let unsigned = package.mark();
        for signature in [Some("one".to_owned()), Some("two".to_owned()), None] {
            package.signature.clone_from(&signature);
            versions.put(&about, &package, &[]).unwrap();
            let kept = versions.package("p", &id).unwrap();
            assert_eq!((&kept.signature, kept.mark() == unsigned), (&signature, signature.is_none()));
        }
    }

    #[test]
    fn what_the_folder_held_and_why_a_version_was_refused_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let versions = Versions::open(folder.path(), 2).unwrap();
        assert_eq!(versions.seen("p"), None);
        let id = bring(&versions, 1, "one", &[]);
        versions.see("p", id.as_str()).unwrap();
        versions.tell(&About { refused: Some("traps".into()), ..versions.about("p", &id).unwrap() }).unwrap();
        let versions = Versions::open(folder.path(), 2).unwrap();
        assert_eq!(versions.seen("p").as_deref(), Some(id.as_str()));
        assert_eq!(versions.about("p", &id).unwrap().refused.as_deref(), Some("traps"));
    }
}
