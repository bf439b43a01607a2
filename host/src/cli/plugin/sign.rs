//! `relevo plugin keygen` and `sign`: who vouches for a plugin.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use super::super::say;
use super::files::Files;
use crate::signature::PrivateKey;
use crate::store::Package;

#[derive(Args)]
pub(super) struct Keygen {
    /// The new file for the private key. Whoever can read it can sign: keep it off the server.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Keygen {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let name = self.file.file_stem().and_then(|name| name.to_str()).unwrap_or("release");
        let key = PrivateKey::make(&self.file)?.public();
        say(format_args!(
            "made {}, for its owner alone; whoever trusts it writes into relevo.toml:",
            self.file.display()
        ));
        say(format_args!("[[plugins.trusted_key]]\nname = \"{name}\"\nkey = \"{key}\""));
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
pub(super) struct Sign {
    /// NAME.wasm, with NAME.toml beside it.
    #[arg(value_name = "FILE")]
    component: PathBuf,
    /// The private key that `relevo plugin keygen` made.
    #[arg(long, value_name = "KEYFILE")]
    key: PathBuf,
}

impl Sign {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let key = PrivateKey::read(&self.key)?;
        let Files { folder, name } = Files::of(&self.component)?;
        let package = Package::read(&folder, &name);
        let id = package.map_err(|(path, e)| anyhow::Error::new(e).context(path.display().to_string()))?.id();
        let path = folder.join(format!("{name}.sig"));
        std::fs::write(&path, format!("{}\n", key.sign(id.as_str())))
            .with_context(|| format!("can't write {}", path.display()))?;
        say(format_args!("{}: version {} of {name}, signed with {}", path.display(), id.short(), key.public()));
        Ok(ExitCode::SUCCESS)
    }
}
