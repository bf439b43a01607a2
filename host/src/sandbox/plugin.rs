//! Plugins as they are loaded: manifest, role, compiled code.

use std::path::Path;

use super::error::{Fault, LoadError};
use super::instance::Instance;
use super::manifest::Manifest;
use crate::config::Limits;
use crate::event::Name;
use crate::journal::record::PluginVersion;

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
pub struct Sandbox {}

/// A plugin, ready to be instantiated. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {}

#[expect(clippy::unimplemented, reason = "the thin path comes next")]
impl Sandbox {
    /// Starts the engine. `cache`: the folder for compiled code, made private to this user.
    ///
    /// # Errors
    /// If the folder can't be made, or belongs to somebody else.
    pub fn new(_cache: &Path) -> Result<Self, LoadError> {
        unimplemented!()
    }

    /// Reads, checks and compiles `NAME.wasm` with its manifest `NAME.toml`.
    ///
    /// # Errors
    /// Names the file, what was found, and what is allowed.
    pub fn load(&self, _folder: &Path, _name: &Name, _allowed: &Limits) -> Result<Plugin, LoadError> {
        unimplemented!()
    }
}

#[expect(clippy::unimplemented, reason = "the thin path comes next")]
impl Plugin {
    pub fn manifest(&self) -> &Manifest {
        unimplemented!()
    }

    pub fn role(&self) -> Role {
        unimplemented!()
    }

    /// Its name and version, with the first digits of the component's hash, as commits record them.
    pub fn version(&self) -> &PluginVersion {
        unimplemented!()
    }

    /// Makes an instance for a pipeline and calls its `init`.
    ///
    /// # Errors
    /// [`Fault::Init`] if it can't be made, or what `init` answers.
    pub fn instantiate(&self, _pipeline: &Name) -> Result<Instance, Fault> {
        unimplemented!()
    }
}
