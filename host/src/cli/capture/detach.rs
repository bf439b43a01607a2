//! `relevo capture detach`: takes what capture made out of the sources' databases.

use std::process::ExitCode;

use clap::Args;

use super::sources;
use crate::cli::{Settings, runtime, say};
use crate::{capture, journal};

#[derive(Args)]
pub(super) struct Detach {
    #[command(flatten)]
    settings: Settings,
    /// This source only; without it: all.
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
}

impl Detach {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.load()?;
        let sources = sources(&config, self.source.as_deref())?;
        // A server that runs would make it all again.
        let _stopped = if config.data.exists() { Some(journal::Lock::take(&config.data)?) } else { None };
        runtime()?.block_on(async {
            for source in sources {
                let capture::Detached { out, stays } = capture::detach(source, &config.data).await?;
                for stays in &stays {
                    say(format_args!("source {}: {stays}", source.name));
                }
                if out.is_empty() {
                    let more = if stays.is_empty() { "of relevo's" } else { "else of relevo's" };
                    say(format_args!("source {}: nothing {more} is there", source.name));
                } else {
                    say(format_args!("source {}: took out {}", source.name, out.join(" and ")));
                    if source.is_postgres() {
                        say("its tables keep their replica identity: ALTER TABLE NAME REPLICA IDENTITY DEFAULT takes FULL back");
                    } else {
                        say("WAL mode stays, and SQLite's own sqlite_sequence: docs/capture-sqlite.md says how to end it");
                    }
                    say(format_args!(
                        "to stop watching it for good take source {} out of the settings: `relevo serve` makes all of it again, tells clients of a gap, and rebuilds",
                        source.name
                    ));
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
