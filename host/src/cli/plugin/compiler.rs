//! The compiler for wasm32-wasip2: the one that was named, the ordinary one if it has the target, or the
//! private one that `cargo xtask wasm-target` puts together.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use super::files::cache;

pub(super) const TARGET: &str = "wasm32-wasip2";

/// A rustc; none: cargo's own.
pub(super) struct Compiler(Option<PathBuf>);

impl Compiler {
    /// # Errors
    /// Says what to run where no compiler has the target.
    pub(super) fn find(given: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(rustc) = given {
            if !has_target(&rustc) {
                bail!("{} has no target {TARGET}; {HELP}", rustc.display());
            }
            return Ok(Self(Some(rustc)));
        }
        if has_target(Path::new("rustc")) {
            return Ok(Self(None));
        }
        match cache().map(|cache| cache.join("wasm-toolchain/bin/rustc")) {
            Some(private) if has_target(&private) => Ok(Self(Some(private))),
            _ => bail!("the Rust compiler here has no target {TARGET}; {HELP}"),
        }
    }

    /// Makes cargo use it.
    pub(super) fn apply(&self, cargo: &mut Command) {
        let Some(rustc) = &self.0 else { return };
        cargo.env("RUSTC", rustc).env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
        let rustdoc = rustc.with_file_name("rustdoc");
        if rustdoc.exists() {
            cargo.env("RUSTDOC", rustdoc);
        }
    }

    pub(super) fn told(&self) -> String {
        self.0.as_ref().map_or_else(|| "the ordinary compiler".into(), |rustc| rustc.display().to_string())
    }
}

const HELP: &str = "run `rustup target add wasm32-wasip2` (98 MB). Where that can't be, `cargo xtask wasm-target` in a \
                    checkout of Relevo puts a private compiler together, which is then found here";

/// Whether it has the target's standard library.
fn has_target(rustc: &Path) -> bool {
    let asked = Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).output();
    let Ok(output) = asked else { return false };
    let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let Ok(files) = std::fs::read_dir(folder) else { return false };
    files.flatten().any(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}
