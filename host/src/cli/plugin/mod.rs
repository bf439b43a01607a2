//! `relevo plugin …`: one file a command.

use std::process::ExitCode;

use clap::{Args, Subcommand};

mod bench;
mod build;
mod check;
mod compiler;
mod files;
mod new;
mod sdk;

#[derive(Args)]
pub(super) struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a project for a plugin, with a manifest and a test that passes.
    New(new::New),
    /// Compiles a plugin's project, and lays component and manifest side by side.
    Build(build::Build),
    /// Runs a plugin on generated, hostile and repeated events, and says what it can't take.
    Check(check::Check),
    /// Measures what a plugin costs for an event and for a batch.
    Bench(bench::Bench),
}

impl Plugin {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::New(command) => command.run(),
            Command::Build(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Bench(command) => command.run(),
        }
    }
}
