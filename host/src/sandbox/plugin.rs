//! Plugins as they are loaded: manifest, role, compiled code.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::{InstancePre, Linker};

use super::cache::Cache;
use super::engine::{self, Ticker};
use super::error::{Fault, LoadError};
use super::host::Host;
use super::instance::{self, Instance};
use super::manifest::Manifest;
use super::notes::Notes;
use super::{contract, imports, log, lookup, metrics, state, wasi};
use crate::config::Terms;
use crate::event::Name;
use crate::journal::record::PluginVersion;
use crate::store::{Package, VersionId};

/// What a plugin does with events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Adds to rows before other plugins see them.
    Enrich,
    /// Turns events into messages.
    Route,
    /// Folds events into state, and tells what became of it.
    Aggregate,
}

/// Where plugins run: one for the process.
pub struct Sandbox {
    engine: Engine,
    ticker: Arc<Ticker>,
    cache: Cache,
}

impl Sandbox {
    /// Starts the engine. `cache`: the folder for compiled code, made private to this user.
    ///
    /// # Errors
    /// If the folder can't be made, or belongs to somebody else.
    pub fn new(cache: &Path) -> Result<Self, LoadError> {
        let cache = Cache::open(cache)?;
        let engine = engine::build()?;
        let ticker = Arc::new(Ticker::start(&engine)?);
        Ok(Self { engine, ticker, cache })
    }

    /// Reads, checks and compiles `NAME.wasm` with its manifest `NAME.toml`.
    ///
    /// # Errors
    /// Names the file, what was found, and what is allowed.
    pub fn load(&self, folder: &Path, name: &Name, terms: &Terms) -> Result<Plugin, LoadError> {
        check_name(name, folder)?;
        let package =
            Package::read(folder, name).map_err(|(path, e)| LoadError::File { path, reason: e.to_string() })?;
        self.prepare(&package, name, terms, folder)
    }

    /// Checks and compiles a version of the plugin `name`. `folder`: where errors say that it is.
    ///
    /// # Errors
    /// Names the file, what was found, and what is allowed.
    pub fn prepare(&self, package: &Package, name: &Name, terms: &Terms, folder: &Path) -> Result<Plugin, LoadError> {
        check_name(name, folder)?;
        Self::verify(package, name, terms, folder)?;
        let manifest = Manifest::parse(&package.manifest, &folder.join(format!("{name}.toml")), name, terms)?;
        self.compile(package, manifest, &folder.join(format!("{name}.wasm")))
    }

    /// Checks a package's signature: before anything of it is read.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub fn verify(package: &Package, name: &Name, terms: &Terms, folder: &Path) -> Result<(), LoadError> {
        let Some(rules) = &terms.signatures else { return Ok(()) };
        let path = folder.join(format!("{name}.wasm"));
        package.signer(rules).map(|_| ()).map_err(|error| LoadError::Signature { path, error: Box::new(error) })
    }

    fn compile(&self, package: &Package, manifest: Manifest, path: &Path) -> Result<Plugin, LoadError> {
        let not_a_component = |reason: String| LoadError::NotAComponent { path: path.into(), reason };
        let (wasm, id) = (&*package.component, package.id());
        let hash = hex(&Sha256::digest(wasm));
        let component =
            self.cache.component(&self.engine, wasm, &hash).map_err(|e| not_a_component(format!("{e:#}")))?;
        let exported = contract::inspect(&component, &self.engine, path)?;
        if exported.role == Role::Enrich && !manifest.changed.is_empty() {
            return Err(LoadError::Manifest {
                path: path.with_extension("toml"),
                setting: "changed".into(),
                wrong: "events would pass the enricher by, and come to the plugins behind it without what it adds"
                    .into(),
                allowed: "of a plugin that routes or aggregates; take it out".into(),
            });
        }
        imports::check(&component, &self.engine, &manifest, path)?;

        // What the manifest is silent about is not imported, so all can be linked. One line for each capability; each file says what it links and what it keeps.
        let mut linker = Linker::new(&self.engine);
        let pre = state::link(&mut linker)
            .and_then(|()| lookup::link(&mut linker))
            .and_then(|()| log::link(&mut linker))
            .and_then(|()| metrics::link(&mut linker))
            .and_then(|()| wasi::link(&mut linker, &self.engine, &component))
            .and_then(|()| linker.instantiate_pre(&component));
        let wrong_interface = |reason: String| LoadError::Interface {
            path: path.into(),
            wrong: format!("does not fit the plugin contract: {reason}"),
            allowed: "the types of wit/relevo.wit; build it against the relevo-plugin SDK of this server".into(),
        };
        let pre = pre.map_err(|e| wrong_interface(format!("{e:#}")))?;

        self.ticker.serve(manifest.limits.cpu);
        let version = PluginVersion {
            plugin: manifest.name.clone(),
            version: format!("{}+{}", manifest.version, id.short()).into(),
        };
        let plugin = Plugin(Arc::new(Loaded {
            manifest: manifest.into(),
            exported,
            id,
            version,
            pre,
            ticker: self.ticker.clone(),
        }));
        instance::try_out(&plugin).map_err(|fault| match fault {
            Fault::Init(reason) => wrong_interface(reason),
            fault => LoadError::Start { path: path.into(), fault },
        })?;
        Ok(plugin)
    }
}

/// A plugin, ready to be instantiated. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<Loaded>);

struct Loaded {
    manifest: Arc<Manifest>,
    exported: contract::Exported,
    id: VersionId,
    version: PluginVersion,
    pre: InstancePre<Host>,
    ticker: Arc<Ticker>,
}

impl Plugin {
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    pub fn role(&self) -> Role {
        self.0.exported.role
    }

    /// Whether it can bring over the state that a version with the layout `from` left: only a lower one, for
    /// what came later it can't know.
    pub fn migrates(&self, from: u32) -> bool {
        self.0.exported.migrates && from < self.manifest().state_layout
    }

    /// What names its content.
    pub fn id(&self) -> &VersionId {
        &self.0.id
    }

    /// Its name and version, with the first digits of its id, as commits record them.
    pub fn version(&self) -> &PluginVersion {
        &self.0.version
    }

    /// Makes an instance for a pipeline and calls its `init`.
    ///
    /// # Errors
    /// [`Fault::Init`] if it can't be made, or what `init` answers.
    pub fn instantiate(&self, pipeline: &Name) -> Result<Instance, Fault> {
        self.instantiate_noting(pipeline, &Notes::default())
    }

    /// The same; what it logs, counts and uses up is noted.
    ///
    /// # Errors
    /// As for [`instantiate`](Self::instantiate).
    pub fn instantiate_noting(&self, pipeline: &Name, notes: &Notes) -> Result<Instance, Fault> {
        Instance::new(self, pipeline, notes)
    }

    pub(super) fn shared_manifest(&self) -> Arc<Manifest> {
        self.0.manifest.clone()
    }

    pub(super) fn pre(&self) -> &InstancePre<Host> {
        &self.0.pre
    }

    pub(super) fn ticker(&self) -> &Ticker {
        &self.0.ticker
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plugin({} {}, {:?})", self.0.version.plugin, self.0.version.version, self.role())
    }
}

/// The name becomes a file's name, and must not lead out of the folder.
fn check_name(name: &Name, folder: &Path) -> Result<(), LoadError> {
    let fits =
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if fits {
        return Ok(());
    }
    Err(LoadError::Manifest {
        path: folder.into(),
        setting: "pipeline.plugins".into(),
        wrong: format!("{name:?} is no plugin name"),
        allowed: "1 to 64 letters, digits, _ and -".into(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
