//! `relevo migrate`: makes the example's tables.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::{Settings, runtime};
use crate::config::{Config, ConfigError, SourceSettings};
use crate::example::{self, Database, Example};

#[derive(Args)]
pub(super) struct Migrate {
    #[command(flatten)]
    settings: Settings,
    /// Also where the database holds other tables already.
    #[arg(long)]
    example: bool,
    /// Fill the tables with the example's rows, too.
    #[arg(long)]
    seed: bool,
}

impl Migrate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
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
