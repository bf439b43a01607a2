//! Where a plugin's files are: `NAME.wasm`, `NAME.toml` and, if there is one, `NAME.samples.jsonl`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::event::Name;
use crate::proving::Samples;
use crate::sandbox::Sandbox;

/// A component that was named on the command line.
pub(super) struct Files {
    pub folder: PathBuf,
    pub name: Name,
}

impl Files {
    pub(super) fn of(component: &Path) -> anyhow::Result<Self> {
        let named = component.extension().is_some_and(|ending| ending == "wasm");
        let Some(name) = component.file_stem().and_then(|name| name.to_str()).filter(|_| named) else {
            bail!("{} is no NAME.wasm; `relevo plugin build` makes one", component.display());
        };
        if !component.is_file() {
            bail!("there is no {}; `relevo plugin build` makes it", component.display());
        }
        let folder = component.parent().filter(|folder| !folder.as_os_str().is_empty());
        Ok(Self { folder: folder.map_or_else(|| ".".into(), Path::to_owned), name: name.into() })
    }

    /// The events of `given`, else the samples beside the component, else none.
    pub(super) fn samples(&self, given: Option<&Path>) -> anyhow::Result<Samples> {
        let beside = self.folder.join(format!("{}.samples.jsonl", self.name));
        match given.or_else(|| beside.exists().then_some(&*beside)) {
            Some(path) => Ok(Samples::read(path)?),
            None => Ok(Samples::default()),
        }
    }
}

/// A sandbox whose compiled code is kept for the next time.
pub(super) fn sandbox() -> anyhow::Result<Sandbox> {
    let cache = cache().context("there is no home folder for compiled plugins: set XDG_CACHE_HOME")?;
    Ok(Sandbox::new(&cache.join("compiled"))?)
}

/// Where the user keeps what is dear to make.
pub(super) fn cache() -> Option<PathBuf> {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = from("XDG_CACHE_HOME").or_else(|| from("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("relevo"))
}
