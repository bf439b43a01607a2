//! `relevo capture`: the sources, with the server running or stopped.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};

use crate::config::{Config, SourceSettings};

mod detach;
mod reset;
mod status;

#[derive(Args)]
pub(super) struct Capture {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// How each source stands: its position and lag, its tables, its replication slot, its last error.
    Status(status::Status),
    /// Takes capture's own out of the sources' databases: triggers and tables, or slot and publication. The
    /// server must be stopped.
    Detach(detach::Detach),
    /// Has a source begin anew: clients are told of a gap, and its pipelines are rebuilt.
    Reset(reset::Reset),
}

impl Capture {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Status(command) => command.run(),
            Command::Detach(command) => command.run(),
            Command::Reset(command) => command.run(),
        }
    }
}

/// The source of a name, or all of them.
fn sources<'a>(config: &'a Config, name: Option<&str>) -> anyhow::Result<Vec<&'a SourceSettings>> {
    let wanted = |source: &&SourceSettings| name.is_none_or(|name| *source.name == *name);
    let sources: Vec<_> = config.sources.iter().filter(wanted).collect();
    if sources.is_empty() {
        let all: Vec<_> = config.sources.iter().map(|source| &*source.name).collect();
        bail!("there is no such [[source]]; there are: {}", all.join(", "));
    }
    Ok(sources)
}
