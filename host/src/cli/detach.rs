//! `relevo detach`: takes what capture made out of the sources' databases.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::{Settings, runtime, say};
use crate::{capture, journal};

#[derive(Args)]
pub(super) struct Detach {
    #[command(flatten)]
    settings: Settings,
    /// This source only, by its name; without it: all.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

impl Detach {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.load()?;
        let wanted = |name: &str| self.source.as_deref().is_none_or(|source| source == name);
        let sources: Vec<_> = config.sources.iter().filter(|source| wanted(&source.name)).collect();
        if sources.is_empty() {
            let all: Vec<_> = config.sources.iter().map(|source| &*source.name).collect();
            bail!("there is no such [[source]] to detach from; there are: {}", all.join(", "));
        }
        // A server that runs would make it all again.
        let _stopped = if config.data.exists() { Some(journal::Lock::take(&config.data)?) } else { None };
        runtime()?.block_on(async {
            for source in sources {
                if source.is_postgres() {
                    say(format_args!(
                        "source {}: run in its database: SELECT pg_drop_replication_slot('{}'); DROP PUBLICATION {};",
                        source.name,
                        source.slot(),
                        source.publication()
                    ));
                    continue;
                }
                let capture::Detached { path, triggers, tables } = capture::detach(&source.url, &config.data).await?;
                let path = path.display();
                if triggers + tables == 0 {
                    say(format_args!("{path}: nothing of relevo's is there"));
                } else {
                    say(format_args!("{path}: took out {triggers} triggers and {tables} tables of relevo's own"));
                    say("`relevo serve` makes them again; it will tell clients of a gap and rebuild");
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_needs_a_source_and_a_server_that_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relevo.toml");
        let text = format!("data = {:?}\n[[source]]\nname = \"s\"\nurl = \"sqlite:w.db\"\n", folder.path());
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("w.db"), "").unwrap();
        let detach = |source: Option<&str>| {
            let settings = Settings { config: Some(file.clone()) };
            Detach { settings, source: source.map(Into::into) }.run()
        };
        assert!(detach(None).is_ok());
        assert!(detach(Some("t")).unwrap_err().to_string().ends_with("there are: s"));
        let running = journal::Lock::take(folder.path()).unwrap();
        assert!(detach(Some("s")).unwrap_err().to_string().contains("in use by another relevo"));
        drop(running);
        assert!(detach(Some("s")).is_ok());
    }
}
