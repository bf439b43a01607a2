//! The versions of plugins, ready to run: from the store by what names their content, or from the
//! plugins folder where a pipeline meets a plugin for the first time.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::lacks;
use crate::config::{Config, Terms};
use crate::event::{Micros, Name};
use crate::sandbox::{LoadError, Plugin, Sandbox};
use crate::store::{About, Origin, Package, StoreError, VersionId, Versions};

/// How many compiled versions stay in memory.
const LOADED: usize = 32;

/// Where the files of a version are that somebody sent: it goes by their names alone, which are the sender's too.
const SENT: &str = "";

/// Why a version can't run.
#[derive(Debug)]
pub(super) struct Unfit {
    pub(super) reason: String,
    /// The settings are in its way: with others it may run as it is.
    pub(super) of_settings: bool,
}

/// See the module. Shared by all pipelines.
pub(super) struct Library {
    config: Arc<Config>,
    sandbox: Arc<Sandbox>,
    versions: Versions,
    /// The newest last.
    loaded: Mutex<VecDeque<Plugin>>,
}

impl Library {
    /// # Errors
    /// If the store's folder can't be made.
    pub(super) fn open(config: Arc<Config>, sandbox: Arc<Sandbox>) -> Result<Self, StoreError> {
        let versions = Versions::open(&config.versions_folder(), config.plugins.keep_versions)?;
        Ok(Self { config, sandbox, versions, loaded: Mutex::default() })
    }

    pub(super) fn versions(&self) -> &Versions {
        &self.versions
    }

    /// A version that was brought before.
    ///
    /// # Errors
    /// Why it can't run, and what to do.
    pub(super) fn version(&self, name: &Name, id: &VersionId) -> Result<Plugin, String> {
        if let Some(plugin) = self.in_memory(name, id) {
            return Ok(plugin);
        }
        let package = self.versions.package(name, id).or_else(|error| {
            // Whoever lost the store may still have the file.
            let in_folder = self.in_folder(name).ok().filter(|package| package.id() == *id);
            in_folder.ok_or_else(|| format!("{error}; or deploy the plugin again"))
        })?;
        // The configuration may be written for a later version: to come back to this one must always do.
        let terms = Terms { later_keys: true, ..self.config.terms(name) };
        self.load(name, &package, &terms, Path::new(SENT)).map_err(|unfit| unfit.reason)
    }

    /// What the plugins folder holds, which becomes the plugin's first version here.
    ///
    /// # Errors
    /// Why it can't run, and what to do.
    pub(super) fn first(&self, name: &Name) -> Result<Plugin, String> {
        let folder = self.config.plugins_folder();
        let package = self.in_folder(name).map_err(|(path, e)| match e.kind() {
            std::io::ErrorKind::NotFound => {
                format!("there is no {}; deploy it: relevo plugin deploy {name}.wasm", path.display())
            }
            _ => format!("{}: {e}", path.display()),
        })?;
        let plugin = self.load(name, &package, &self.config.terms(name), &folder).map_err(|unfit| unfit.reason)?;
        // Another pipeline may serve with any of them.
        let all: Vec<VersionId> = self.versions.list(name).into_iter().map(|about| about.id).collect();
        self.keep(&plugin, &package, "folder", Origin::Folder, &all)
            .and_then(|_| self.versions.see(name, &package.mark()))
            .map_err(|e| e.to_string())?;
        Ok(plugin)
    }

    /// What the plugins folder holds.
    ///
    /// # Errors
    /// The file that can't be read, or is too large, and why.
    pub(super) fn in_folder(&self, name: &str) -> Result<Package, (PathBuf, std::io::Error)> {
        Package::read_within(&self.config.plugins_folder(), name, self.config.plugins.component_bytes)
    }

    /// Compiles a version and checks what it asks for.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub(super) fn prepare(&self, name: &Name, package: &Package, origin: Origin) -> Result<Plugin, Unfit> {
        let folder = match origin {
            Origin::Folder => self.config.plugins_folder(),
            Origin::Http => SENT.into(),
        };
        self.load(name, package, &self.config.terms(name), &folder)
    }

    /// `folder`: where errors say that its files are.
    fn load(&self, name: &Name, package: &Package, terms: &Terms, folder: &Path) -> Result<Plugin, Unfit> {
        let unfit = |error: LoadError| Unfit { reason: error.to_string(), of_settings: error.is_of_settings() };
        // That it was compiled before says nothing of this signature.
        Sandbox::verify(package, name, terms, folder).map_err(unfit)?;
        if let Some(plugin) = self.in_memory(name, &package.id()) {
            return Ok(plugin);
        }
        // Known now, and not only when its first message becomes a dead letter.
        let lacks = self.lacks(name, package, terms, folder).map_err(unfit)?;
        if !lacks.is_empty() {
            return Err(Unfit { reason: lacks::told(&self.config, &lacks), of_settings: true });
        }
        let plugin = self.sandbox.prepare(package, name, terms, folder).map_err(unfit)?;
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.push_back(plugin.clone());
        if loaded.len() > LOADED {
            loaded.pop_front();
        }
        Ok(plugin)
    }

    fn lacks(&self, name: &Name, package: &Package, terms: &Terms, folder: &Path) -> Result<Vec<String>, LoadError> {
        lacks::lacks(&self.config, name, package, terms, &folder.join(format!("{name}.toml")))
    }

    /// What keeps a version from a server that has no pipeline for it, and all else that its settings lack.
    pub(super) fn without_place(&self, name: &Name, package: &Package) -> Option<String> {
        let place = lacks::place(&self.config, name)?;
        let terms = self.config.terms(name);
        // Nothing is read of what nobody vouches for; nor does it help to say here what is wrong with the manifest.
        let more = match Sandbox::verify(package, name, &terms, Path::new(SENT)) {
            Ok(()) => self.lacks(name, package, &terms, Path::new(SENT)).unwrap_or_default(),
            Err(error) => vec![error.to_string()],
        };
        Some(lacks::told(&self.config, &std::iter::once(place).chain(more).collect::<Vec<_>>()))
    }

    /// Keeps a version in the store; `in_use` are those that must not give way to it.
    ///
    /// # Errors
    /// If it can't be written.
    pub(super) fn keep(
        &self,
        plugin: &Plugin,
        package: &Package,
        by: &str,
        origin: Origin,
        in_use: &[VersionId],
    ) -> Result<About, StoreError> {
        let about = About {
            plugin: plugin.manifest().name.clone(),
            id: plugin.id().clone(),
            version: plugin.version().version.clone(),
            at: Micros::now(),
            by: by.into(),
            origin,
            bytes: package.component.len() as u64,
            // It was verified before it was compiled.
            signed: package.signer(&self.config.signatures()).ok().flatten().map(Into::into),
            refused: None,
        };
        self.versions.put(&about, package, in_use)?;
        Ok(about)
    }

    /// Writes down why a version does not serve.
    pub(super) fn refuse(&self, plugin: &Name, id: &VersionId, reason: &str) {
        let Some(about) = self.versions.about(plugin, id) else { return };
        if let Err(error) = self.versions.tell(&About { refused: Some(reason.into()), ..about }) {
            tracing::warn!(%plugin, %error, "why a version was refused can't be written down");
        }
    }

    fn in_memory(&self, name: &Name, id: &VersionId) -> Option<Plugin> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.iter().find(|plugin| plugin.id() == id && plugin.manifest().name == *name).cloned()
    }
}
