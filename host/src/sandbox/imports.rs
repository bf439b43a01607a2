//! What a component imports of the contract, and whether its manifest asks for it.

use std::path::Path;

use wasmtime::Engine;
use wasmtime::component::Component;

use super::error::LoadError;
use super::grants::text;
use super::manifest::Manifest;
use super::plugin::Plugin;
use crate::config::Capability;

/// The interfaces that it imports, like `state` and `lookup`; those of WASI are left out.
fn names(component: &Component, engine: &Engine) -> Vec<String> {
    let types = component.component_type();
    let names = types.imports(engine).filter_map(|(name, _)| {
        let name = name.strip_prefix("relevo:plugin/")?.split('@').next()?;
        (name != "types").then(|| name.to_owned())
    });
    names.collect()
}

/// Refuses a component that uses what its manifest is silent about: who reads the manifest must know what the
/// plugin can do.
///
/// # Errors
/// Gives the line that the manifest lacks.
pub(super) fn check(component: &Component, engine: &Engine, manifest: &Manifest, path: &Path) -> Result<(), LoadError> {
    let imported = names(component, engine);
    let is_imported = |capability: &Capability| imported.iter().any(|name| name == capability.as_str());
    let missing: Vec<Capability> =
        Capability::ALL.into_iter().filter(|c| is_imported(c) && !manifest.asks_for(*c)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = |capabilities: &[Capability]| capabilities.iter().map(|c| c.as_str()).collect::<Vec<_>>();
    let all = [manifest.capabilities.as_slice(), &missing].concat();
    let all: Vec<String> = names(&all).into_iter().map(text).collect();
    let mut line = format!("capabilities = [{}]", all.join(", "));
    if missing.contains(&Capability::Lookup) {
        line.push_str(" (in place of \"lookup\" rather the tables and columns that it looks up, under [lookup])");
    }
    Err(LoadError::NotAsked {
        path: path.into(),
        imports: names(&missing).join(", "),
        manifest: path.with_extension("toml"),
        line,
    })
}

impl Plugin {
    /// The interfaces that it imports, like `state` and `lookup`; those of WASI are left out.
    pub fn imports(&self) -> Vec<String> {
        names(self.pre().component(), self.pre().engine())
    }
}
