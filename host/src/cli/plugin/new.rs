//! `relevo plugin new`: makes a project for a plugin out of the files in `template/`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use super::super::say;
use super::sdk;

#[derive(Args)]
pub(super) struct New {
    /// The plugin's name, and its folder's: 1 to 64 of a-z, 0-9, - and _, beginning with a letter.
    name: String,
    /// What it does with events.
    #[arg(long, value_enum, default_value_t = Role::Route)]
    role: Role,
    /// The folder to make. Without it: ./NAME.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The folder of the SDK, plugins/sdk of a checkout of Relevo. Without it: the checkout that this is
    /// run in, or the one that this command was built in.
    #[arg(long, value_name = "PATH", env = "RELEVO_SDK")]
    sdk: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// Turns events into messages.
    Route,
    /// Adds to rows before other plugins see them.
    Enrich,
    /// Folds events into state, and tells what became of it.
    Aggregate,
}

impl Role {
    /// The plugin, its manifest, and what the server's settings say of it.
    fn template(self) -> (&'static str, &'static str, &'static str) {
        macro_rules! of {
            ($role:literal) => {
                (
                    include_str!(concat!("template/", $role, ".rs")),
                    include_str!(concat!("template/", $role, ".toml")),
                    include_str!(concat!("template/", $role, ".settings.toml")),
                )
            };
        }
        match self {
            Self::Route => of!("route"),
            Self::Enrich => of!("enrich"),
            Self::Aggregate => of!("aggregate"),
        }
    }
}

impl New {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let name = &self.name;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if !(name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(plain)) {
            bail!("{name:?} is no name for a plugin; allowed: 1 to 64 of a-z, 0-9, - and _, beginning with a letter");
        }
        let sdk = sdk::find(self.sdk.as_deref())?;
        let folder = self.folder.unwrap_or_else(|| name.into());
        if folder.read_dir().is_ok_and(|mut files| files.next().is_some()) {
            bail!("{} is there already, and not empty: give another --folder", folder.display());
        }
        let (code, manifest, settings) = self.role.template();
        let fill = |text: &str| {
            let sdk = sdk.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
            let text = text.replace("{{settings}}", settings.trim_end());
            text.replace("{{name}}", name).replace("{{type}}", &type_name(name)).replace("{{sdk}}", &sdk)
        };
        for (file, text) in [
            ("Cargo.toml", include_str!("template/cargo.toml")),
            ("src/lib.rs", code),
            (&format!("{name}.toml"), manifest),
            (&format!("{name}.samples.jsonl"), include_str!("template/samples.jsonl")),
            ("README.md", include_str!("template/readme.md")),
            ("clippy.toml", include_str!("template/clippy.toml")),
            (".gitignore", "/target\n"),
        ] {
            write(&folder.join(file), &fill(text))?;
        }
        let at = folder.display();
        say(format_args!("made {at}, with the SDK in {}", sdk.display()));
        say(format_args!("next: (cd {at} && cargo test), then relevo plugin build {at}"));
        say(format_args!("{at}/README.md says how to bring it to a server"));
        Ok(ExitCode::SUCCESS)
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    }
    std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
}

/// `late-tasks` as a type: `LateTasks`.
fn type_name(name: &str) -> String {
    let words = name.split(['-', '_']).filter(|word| !word.is_empty());
    words.map(|word| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..])).collect()
}

#[cfg(test)]
mod tests {
    use super::type_name;

    #[test]
    fn a_name_becomes_a_type() {
        assert_eq!(type_name("late-tasks_2"), "LateTasks2");
    }
}
