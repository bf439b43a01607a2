//! `relevo journal …`: looks at the journal's file and looks after it. One file a command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::Settings;

mod check;
mod compact;
mod export;

#[derive(Args)]
pub(super) struct Journal {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reads every record and compares the indexes with them; exit code 0: sound, 1: damaged, 2: could not be checked.
    Check(check::Check),
    /// Gives the disk space back that retention freed; the server must be stopped.
    Compact(compact::Compact),
    /// Prints records, events and messages as lines of JSON.
    Export(export::Export),
}

/// Which folder's journal.
#[derive(Args)]
struct Place {
    #[command(flatten)]
    settings: Settings,
    /// The folder that holds the journal, a backup's too; default: the data folder.
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl Place {
    fn folder(&self) -> anyhow::Result<PathBuf> {
        match &self.folder {
            Some(folder) => Ok(folder.clone()),
            None => Ok(self.settings.load()?.data),
        }
    }
}

impl Journal {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Check(command) => command.run(),
            Command::Compact(command) => command.run(),
            Command::Export(command) => command.run(),
        }
    }
}
