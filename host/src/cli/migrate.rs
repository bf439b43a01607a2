//! `relevo migrate`: makes the example's tables; `relevo migrate status` says how they stand.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};

use super::{Settings, runtime, say};
use crate::config::{Config, ConfigError, SourceSettings};
use crate::example::{self, Database, Example, Standing};
use crate::journal;

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Migrate {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    settings: Settings,
    /// Also where the database holds other tables already.
    #[arg(long)]
    example: bool,
    /// Fill the tables with the example's rows, too.
    #[arg(long)]
    seed: bool,
}

#[derive(Subcommand)]
enum Action {
    /// Says of each script when it was applied, and of the server's own journal its format. Changes nothing; exit
    /// code 0: all are applied, 1: some are not.
    Status(Status),
}

#[derive(Args)]
struct Status {
    #[command(flatten)]
    settings: Settings,
}

impl Status {
    fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.load()?;
        let mut all = true;
        runtime()?.block_on(async {
            for source in examples(&config)? {
                say(format_args!("{}:", source.database));
                for (script, standing) in example::standing(source.example, &source.database).await? {
                    all &= matches!(standing, Standing::Applied { .. });
                    let how = match standing {
                        Standing::Applied { at } => format!("applied  {at}"),
                        Standing::Pending => "pending  run: relevo migrate".to_owned(),
                        Standing::Changed { at } => {
                            format!("changed  applied {at} in another form; changes belong in a new script")
                        }
                    };
                    say(format_args!("  {script:<24} {how}"));
                }
            }
            anyhow::Ok(())
        })?;
        let how = match journal::format(&config.data)? {
            Some(found) if found == journal::FORMAT => format!("format {found}"),
            Some(found) if found < journal::FORMAT => {
                format!("format {found}; the server brings it to {} when it starts", journal::FORMAT)
            }
            Some(found) => {
                all = false;
                format!(
                    "format {found}; this relevo reads {}: run the version that wrote it, or a newer one",
                    journal::FORMAT
                )
            }
            None => "there is none yet; the server makes it".to_owned(),
        };
        say(format_args!("{}:\n  {:<24} {how}", config.data.display(), "journal"));
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

impl Migrate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(Action::Status(status)) = self.action {
            return status.run();
        }
        let config = self.settings.load()?;
        let sources = examples(&config)?;
        if sources.is_empty() {
            bail!("no [[source]] has an example: there is nothing to migrate");
        }
        runtime()?.block_on(async {
            for source in sources {
                let ExampleSource { example, database, .. } = source;
                let ran = example::migrate(example, &database, self.example).await?;
                println!("{database}: {ran} new of {} scripts", example.scripts(&database).migrations.len());
                if self.seed {
                    let what = if example::seed(example, &database).await? { "seeded" } else { "has its rows" };
                    println!("{database}: {what}");
                }
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// A source that belongs to an example.
pub(super) struct ExampleSource<'a> {
    pub source: &'a SourceSettings,
    pub example: &'static Example,
    pub database: Database,
}

pub(super) fn examples(config: &Config) -> Result<Vec<ExampleSource<'_>>, ConfigError> {
    let mut found = Vec::new();
    for (at, source) in config.sources.iter().enumerate() {
        let Some(name) = &source.example else { continue };
        let wrong = |allowed: String| ConfigError {
            name: format!("source[{at}].example"),
            wrong: format!("there is no example {name:?}"),
            allowed,
        };
        let example = example::find(name).map_err(wrong)?;
        // The settings' check has seen that the URL can be used.
        let database = match source.sqlite_path(&config.data) {
            Some(path) => Database::Sqlite(path),
            None => Database::Postgres(source.url.clone()),
        };
        found.push(ExampleSource { source, example, database });
    }
    Ok(found)
}
