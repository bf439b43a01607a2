//! The fall-back compiler: Debian's `rustc-web`, unpacked privately (nothing is installed), with the
//! target's standard library built from its own source.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{TARGET, has_std};
use crate::steps;

/// Whether the folder holds a finished compiler.
pub(crate) fn is_ready(folder: &Path) -> bool {
    folder.join("bin/rustc").is_file() && has_std(&folder.join("usr/lib/rustlib").join(TARGET).join("lib"))
}

/// Makes the compiler in `folder`. It grows beside it and is moved there when finished, so an
/// interruption leaves nothing half done.
pub(crate) fn prepare(folder: &Path) -> Result<()> {
    for tool in ["apt-get", "apt-cache", "dpkg-deb"] {
        if !steps::on_path(tool) {
            bail!("{tool} is missing: the fall-back needs a Debian-like system (Debian 12 or newer)");
        }
    }
    let partial = folder.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(partial.join("bin"))?;
    let versions = Versions::find()?;
    unpack(&partial, &versions)?;
    wrappers(&partial)?;
    link_tools(&partial, &versions.llvm)?;
    build_std(&partial)?;
    fs::remove_dir_all(partial.join("usr/src"))?;
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::rename(&partial, folder).with_context(|| format!("can't move the compiler to {}", folder.display()))
}

/// The packages whose names carry a version.
struct Versions {
    /// `libstd-rust-web-1.96`
    runtime: String,
    /// The LLVM that it needs, like `22`.
    llvm: String,
}

impl Versions {
    fn find() -> Result<Self> {
        // A fresh machine has no package list, or an old one whose compiler lacks the linker.
        if depends("rust-web-llvm").is_err() {
            steps::note("fetching Debian's package lists (apt-get update)");
            steps::run(Command::new("apt-get").args(["update", "-q"]).stdout(std::io::stderr()))
                .context("apt-get update needs root, once")?;
        }
        let runtime = named(&depends("libstd-rust-web-dev")?, "libstd-rust-web-")?;
        let library = named(&depends(&runtime)?, "libllvm")?;
        Ok(Self { llvm: library.trim_start_matches("libllvm").to_owned(), runtime })
    }
}

/// The names of the packages that one depends on.
fn depends(package: &str) -> Result<Vec<String>> {
    let shown = steps::output(Command::new("apt-cache").args(["show", "--no-all-versions", package]))?;
    let line = shown.lines().find_map(|line| line.strip_prefix("Depends: ")).context("no dependencies listed")?;
    Ok(line.split([',', '|']).filter_map(|name| name.split_whitespace().next()).map(str::to_owned).collect())
}

fn named(names: &[String], prefix: &str) -> Result<String> {
    let fits = |name: &&String| name[prefix.len()..].starts_with(|c: char| c.is_ascii_digit());
    let found = names.iter().filter(|name| name.starts_with(prefix)).find(fits);
    found.cloned().with_context(|| format!("Debian's package lists name no {prefix}…"))
}

fn unpack(folder: &Path, versions: &Versions) -> Result<()> {
    let packages = folder.join("packages");
    fs::create_dir_all(&packages)?;
    steps::note("downloading rustc-web, its standard library's source, LLVM and wasi-libc from Debian (141 MB)");
    let (llvm, lld) = (format!("libllvm{}", versions.llvm), format!("lld-{}", versions.llvm));
    let names = [
        "rustc-web",
        "rust-web-src",
        "rust-web-llvm",
        "libstd-rust-web-dev",
        &versions.runtime,
        &llvm,
        &lld,
        "wasi-libc",
    ];
    let mut download = Command::new("apt-get");
    // As root apt would hand the download to a user who can't write here, and warn.
    download.args(["download", "-qq", "-o", "APT::Sandbox::User=root"]).args(names).current_dir(&packages);
    steps::run(download.stdout(std::io::stderr()))?;
    steps::note("unpacking it into a folder of its own (nothing is installed)");
    for package in fs::read_dir(&packages)? {
        let package = package?.path();
        let source = package.file_name().is_some_and(|name| name.to_string_lossy().starts_with("rust-web-src_"));
        let only = if source {
            "--wildcards './usr/src/rustc-*/library/*' './usr/lib/rustlib/src*'"
        } else {
            "--exclude='./usr/share/*'"
        };
        let script = format!("dpkg-deb --fsys-tarfile \"$1\" | tar -x -C \"$2\" {only}");
        steps::run(Command::new("sh").args(["-ec", &script, "sh"]).arg(&package).arg(folder))?;
    }
    fs::remove_dir_all(packages)?;
    Ok(())
}

/// `bin/rustc` and `bin/rustdoc`: they find their own libraries, wherever the folder stands.
fn wrappers(folder: &Path) -> Result<()> {
    let libraries = multiarch(folder)?;
    for program in ["rustc", "rustdoc"] {
        let script = format!(
            "#!/bin/sh\nhere=$(cd \"$(dirname \"$0\")/..\" && pwd)\n\
             LD_LIBRARY_PATH=\"$here/usr/lib/{libraries}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\"\n\
             export LD_LIBRARY_PATH\nexec \"$here/usr/bin/{program}\" \"$@\"\n"
        );
        let path = folder.join("bin").join(program);
        fs::write(&path, script)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// The folder below `usr/lib` that holds the compiler's shared libraries, like `x86_64-linux-gnu`.
fn multiarch(folder: &Path) -> Result<String> {
    for entry in fs::read_dir(folder.join("usr/lib"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with("-linux-gnu") {
            return Ok(name);
        }
    }
    bail!("the unpacked compiler has no folder usr/lib/*-linux-gnu")
}

/// The linkers go where rustc looks for its own tools.
fn link_tools(folder: &Path, llvm: &str) -> Result<()> {
    let version = steps::output(Command::new(folder.join("bin/rustc")).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let tools = folder.join("usr/lib/rustlib").join(host).join("bin");
    for (name, program) in [("wasm-ld", "wasm-ld"), ("rust-lld", "lld")] {
        symlink(PathBuf::from(format!("../../../../bin/{program}-{llvm}")), tools.join(name))?;
    }
    Ok(())
}

fn build_std(folder: &Path) -> Result<()> {
    let library = folder.join("usr/lib/rustlib").join(TARGET).join("lib");
    let own = library.join("self-contained");
    fs::create_dir_all(&own)?;
    for file in ["libc.a", "crt1-command.o", "crt1-reactor.o"] {
        fs::copy(folder.join("usr/lib/wasm32-wasi").join(file), own.join(file))?;
    }
    steps::note("building the target's standard library (about two minutes of one core)");
    let work = folder.join("std");
    fs::create_dir_all(work.join("src"))?;
    fs::write(work.join("src/lib.rs"), "")?;
    fs::write(
        work.join("Cargo.toml"),
        "[package]\nname = \"standin\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[profile.release]\ndebug = 0\n[workspace]\n",
    )?;
    let remap = format!("--remap-path-prefix={}=/rust", folder.join("usr/src").display());
    let mut build = steps::cargo();
    build
        .current_dir(&work)
        .args(["build", "--quiet", "--release", "--target", TARGET, "-Zbuild-std=std,panic_abort"])
        .env("RUSTC", folder.join("bin/rustc"))
        .env("RUSTDOC", folder.join("bin/rustdoc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", work.join("target"))
        .env("CARGO_ENCODED_RUSTFLAGS", ["-Cembed-bitcode=yes", &remap].join("\x1f"));
    steps::run(&mut build)?;
    for entry in fs::read_dir(work.join("target").join(TARGET).join("release/deps"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libstandin") {
            fs::copy(&path, library.join(&name))?;
        }
    }
    fs::remove_dir_all(work)?;
    Ok(())
}
