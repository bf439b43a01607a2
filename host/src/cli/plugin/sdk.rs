//! Finds the SDK, `relevo-plugin`: until it is on a registry, a project names the folder that it is in.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// `given` (`--sdk` or `RELEVO_SDK`), else the checkout of Relevo that this is run in, else the one
/// that the command itself was built in.
pub(super) fn find(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        if !is_sdk(given) {
            bail!(
                "{} holds no crate relevo-plugin; allowed: the folder plugins/sdk of a checkout of Relevo",
                given.display()
            );
        }
        return given.canonicalize().with_context(|| format!("can't find {}", given.display()));
    }
    let here = std::env::current_dir().ok();
    let command = std::env::current_exe().ok();
    let above = [here, command].into_iter().flatten();
    let found = above.flat_map(|place| place.ancestors().map(|f| f.join("plugins/sdk")).collect::<Vec<_>>());
    found.into_iter().find(|folder| is_sdk(folder)).context(
        "the SDK relevo-plugin isn't on a registry yet, and no checkout of Relevo is around here: name its folder \
         with --sdk PATH/plugins/sdk, or set RELEVO_SDK to it",
    )
}

fn is_sdk(folder: &Path) -> bool {
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    let table: toml::Table = manifest.parse().unwrap_or_default();
    table.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str) == Some("relevo-plugin")
}
