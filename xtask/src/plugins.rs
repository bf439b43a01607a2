//! Builds plugins to components and lays them out with their manifests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::steps;
use crate::wasm::Compiler;

/// The plugins that the example runs.
pub(crate) const SHIPPED: &[&str] = &["tareas", "efectivos", "panel"];

/// Plugins that only tests run; their sources are in `tests/plugins/`.
pub(crate) const FOR_TESTS: &[&str] = &["activity", "enricher", "hostile", "inbox", "lead", "ledger", "mover", "stamp"];

/// Builds the named packages; returns the folder that holds the components and, for those that ship,
/// their manifests beside them.
///
/// They have a target folder of their own: another compiler would rebuild the world each time.
pub(crate) fn build(compiler: &Compiler, packages: &[&str]) -> Result<PathBuf> {
    let target = steps::target().join("plugins");
    let mut cargo = steps::cargo();
    compiler.apply(&mut cargo);
    cargo
        .args(["build", "--release", "--target", "wasm32-wasip2", "--target-dir"])
        .arg(&target)
        // A component of 0.2 MB instead of several.
        .envs([("CARGO_PROFILE_RELEASE_DEBUG", "false"), ("CARGO_PROFILE_RELEASE_STRIP", "true")])
        .env("CARGO_PROFILE_RELEASE_LTO", "true");
    for package in packages {
        cargo.args(["--package", package]);
    }
    steps::run(&mut cargo)?;
    let built = target.join("wasm32-wasip2/release");
    let ready = target.join("ready");
    fs::create_dir_all(&ready)?;
    for name in packages {
        place(&built.join(format!("{}.wasm", name.replace('-', "_"))), &ready.join(format!("{name}.wasm")))?;
        let of_tests = if FOR_TESTS.contains(name) { "tests/" } else { "" };
        // The manifest, and what its rows look like, for `relevo plugin check`.
        for ending in ["toml", "samples.jsonl"] {
            let file = steps::root().join(format!("{of_tests}plugins/{name}/{name}.{ending}"));
            if file.exists() {
                place(&file, &ready.join(format!("{name}.{ending}")))?;
            }
        }
    }
    Ok(ready)
}

/// Copies the shipped plugins into a server's plugins folder.
pub(crate) fn install(ready: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    for name in SHIPPED {
        for ending in ["toml", "wasm"] {
            let file = format!("{name}.{ending}");
            place(&ready.join(&file), &folder.join(&file))?;
        }
    }
    Ok(())
}

/// Copies so that a reader never sees half a file.
fn place(from: &Path, to: &Path) -> Result<()> {
    let partial = to.with_extension("partial");
    fs::copy(from, &partial).with_context(|| format!("can't copy {} to {}", from.display(), to.display()))?;
    fs::rename(&partial, to).with_context(|| format!("can't write {}", to.display()))
}
