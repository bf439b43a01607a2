//! Finds or prepares a compiler for wasm32-wasip2: the target is there, or rustup adds it, or a private
//! compiler is put together from Debian's packages and crates.io.

mod fallback;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::steps;

const TARGET: &str = "wasm32-wasip2";

/// Which compiler builds plugins.
pub(crate) enum Compiler {
    /// The one that builds everything else.
    Ordinary,
    /// The fall-back, in this folder.
    Private(PathBuf),
}

impl Compiler {
    /// Makes cargo use it.
    pub(crate) fn apply(&self, cargo: &mut Command) {
        if let Self::Private(folder) = self {
            cargo.env("RUSTC", folder.join("bin/rustc")).env("RUSTDOC", folder.join("bin/rustdoc"));
            cargo.env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
        }
    }
}

impl std::fmt::Display for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ordinary => write!(f, "the ordinary compiler has {TARGET}"),
            Self::Private(folder) => {
                let rustc = folder.join("bin/rustc");
                write!(
                    f,
                    "a private compiler; to use it: RUSTC={} cargo build --release --target {TARGET}",
                    rustc.display()
                )
            }
        }
    }
}

/// Finds a compiler, preparing one where there is none.
///
/// `RELEVO_RUSTUP=0` leaves rustup alone.
pub(crate) fn compiler() -> Result<Compiler> {
    if ordinary_has_target() {
        return Ok(Compiler::Ordinary);
    }
    let folder = cache().join("wasm-toolchain");
    if fallback::is_ready(&folder) {
        return Ok(Compiler::Private(folder));
    }
    let may_ask_rustup = std::env::var_os("RELEVO_RUSTUP").as_deref() != Some(OsStr::new("0"));
    if may_ask_rustup && steps::on_path("rustup") {
        steps::note("adding the target: rustup target add wasm32-wasip2 (98 MB; don't interrupt it)");
        match steps::run(Command::new("rustup").args(["target", "add", TARGET])) {
            Ok(()) if ordinary_has_target() => return Ok(Compiler::Ordinary),
            Ok(()) => steps::note("rustup said yes, but the compiler in use still lacks the target"),
            Err(error) => steps::note(&format!("that did not work: {error:#}")),
        }
    }
    fallback::prepare(&folder).with_context(|| {
        format!(
            "no compiler for {TARGET}. Either run `rustup target add {TARGET}`, or use a machine with Debian's \
             packages for the fall-back"
        )
    })?;
    Ok(Compiler::Private(folder))
}

/// Whether the compiler that cargo would use has the target's standard library.
fn ordinary_has_target() -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = steps::output(
        Command::new(rustc).args(["--print", "target-libdir", "--target", TARGET]).current_dir(steps::root()),
    );
    asked.is_ok_and(|folder| has_std(Path::new(&folder)))
}

/// Whether a target's library folder holds a compiled standard library.
fn has_std(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// Where we keep what is dear to make.
fn cache() -> PathBuf {
    let from = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("XDG_CACHE_HOME")
        .or_else(|| from("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(|| steps::target().join("cache"))
        .join("relevo")
}
