//! `relevo plugin build`: compiles a plugin's project, and lays component and manifest side by side.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::super::say;
use super::compiler::{Compiler, TARGET};
use crate::sandbox::Manifest;

#[derive(Args)]
pub(super) struct Build {
    /// The plugin's project.
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where NAME.wasm and NAME.toml go. Without it: plugins/ready in the project's target folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The compiler. Without it: the ordinary one if it has wasm32-wasip2, else the one of `cargo xtask
    /// wasm-target`.
    #[arg(long, value_name = "PATH", env = "RUSTC")]
    rustc: Option<PathBuf>,
    /// Ask no registry: what the project stands on was downloaded before.
    #[arg(long)]
    offline: bool,
}

/// What cargo knows of the project.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Build {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let project = self.folder.join("Cargo.toml");
        let project = project
            .canonicalize()
            .with_context(|| format!("there is no {}; `relevo plugin new` makes a project", project.display()))?;
        let compiler = Compiler::find(self.rustc)?;
        let metadata = metadata(&project)?;
        let Some(package) = metadata.packages.iter().find(|package| package.manifest_path == project) else {
            bail!("{} is no package; name the folder of the plugin itself", project.display());
        };
        let name = &package.name;
        let library = package.targets.iter().find(|target| target.crate_types.iter().any(|kind| kind == "cdylib"));
        let Some(library) = library else {
            bail!("{}: a plugin needs\n\n[lib]\ncrate-type = [\"cdylib\", \"rlib\"]", project.display());
        };
        let manifest = project.with_file_name(format!("{name}.toml"));
        if !manifest.exists() {
            bail!("there is no {}: a plugin has a manifest of its package's name", manifest.display());
        }

        let text = std::fs::read_to_string(&manifest).with_context(|| format!("can't read {}", manifest.display()))?;
        Manifest::proofread(&text, &manifest, &name.as_str().into())?;

        say(format_args!("compiling {name} with {}", compiler.told()));
        // Another compiler than the one for `cargo test` has a folder of its own, so that neither undoes the
        // other's work.
        let target = metadata.target_directory.join("plugins");
        if !target.join(TARGET).exists() {
            say("the first time this compiles what the plugin stands on, too, which takes some minutes");
        }
        let mut cargo = cargo();
        compiler.apply(&mut cargo);
        cargo.args(["build", "--release", "--target", TARGET, "--target-dir"]).arg(&target);
        cargo.arg("--manifest-path").arg(&project).args(["--package", name]);
        cargo.args(self.offline.then_some("--offline"));
        // A component of 0.2 MB instead of several.
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "true").env("CARGO_PROFILE_RELEASE_STRIP", "true");
        cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "false");
        let status = cargo.status().context("can't start cargo; Rust is needed: https://rustup.rs")?;
        if !status.success() {
            bail!("cargo build failed ({status})");
        }

        let built = target.join(TARGET).join("release").join(format!("{}.wasm", library.name.replace('-', "_")));
        let out = self.out.unwrap_or_else(|| target.join("ready"));
        std::fs::create_dir_all(&out).with_context(|| format!("can't make {}", out.display()))?;
        let component = out.join(format!("{name}.wasm"));
        place(&built, &component)?;
        place(&manifest, &out.join(format!("{name}.toml")))?;
        let samples = project.with_file_name(format!("{name}.samples.jsonl"));
        if samples.exists() {
            place(&samples, &out.join(format!("{name}.samples.jsonl")))?;
        }
        let wasm = std::fs::read(&component).with_context(|| format!("can't read {}", component.display()))?;
        let hash: String = Sha256::digest(&wasm).iter().map(|byte| format!("{byte:02x}")).collect();
        say(format_args!("{}: {:.1} KiB, sha256 {hash}", component.display(), wasm.len() as f64 / 1024.0));
        say(format_args!("next: relevo plugin check {}", component.display()));
        Ok(ExitCode::SUCCESS)
    }
}

/// The cargo that runs this, if one does; else the one on the PATH.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn metadata(project: &Path) -> anyhow::Result<Metadata> {
    let mut asked = cargo();
    asked.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(project);
    let output = asked.output().context("can't start cargo; Rust is needed: https://rustup.rs")?;
    if !output.status.success() {
        bail!("cargo can't read {}: {}", project.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata")
}

/// Copies so that a reader never sees half a file.
fn place(from: &Path, to: &Path) -> anyhow::Result<()> {
    let partial = to.with_extension("partial");
    std::fs::copy(from, &partial).with_context(|| format!("can't copy {} to {}", from.display(), to.display()))?;
    std::fs::rename(&partial, to).with_context(|| format!("can't write {}", to.display()))
}
