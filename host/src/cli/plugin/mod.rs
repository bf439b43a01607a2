//! `relevo plugin`: the life of a plugin, one file a command.

use std::process::ExitCode;

use clap::{Args, Subcommand};

mod bench;
mod build;
mod check;
mod compiler;
mod deploy;
mod files;
mod letters;
mod list;
mod logs;
mod new;
mod sdk;
mod sign;
mod steer;
mod trial;

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
    /// Makes a key to sign plugins with.
    Keygen(sign::Keygen),
    /// Signs a component with its manifest, as NAME.sig beside them.
    Sign(sign::Sign),
    /// Brings a version to the running server: checked, tried on recorded events, then it takes over.
    Deploy(deploy::Deploy),
    /// Tries a version on recorded events and shows what it would make otherwise; changes nothing.
    Trial(trial::Trial),
    /// The plugins that run, their versions and how they are.
    List(list::List),
    /// The versions of one plugin that are kept, with when and by whom.
    Versions(list::Versions),
    /// Has an earlier version take over again.
    Rollback(steer::Rollback),
    /// Has the plugin's pipelines stand still.
    Pause(steer::Pause),
    /// Has paused pipelines go on.
    Resume(steer::Resume),
    /// Lets an event go that holds a pipeline: it becomes a dead letter.
    Skip(steer::Skip),
    /// What a plugin logged, its faults, and which versions took over.
    Logs(logs::Logs),
    /// The events that could not be handled; tries one again, or lets it go.
    DeadLetters(letters::DeadLetters),
}

impl Plugin {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::New(command) => command.run(),
            Command::Build(command) => command.run(),
            Command::Check(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Keygen(command) => command.run(),
            Command::Sign(command) => command.run(),
            Command::Deploy(command) => command.run(),
            Command::Trial(command) => command.run(),
            Command::List(command) => command.run(),
            Command::Versions(command) => command.run(),
            Command::Rollback(command) => command.run(),
            Command::Pause(command) => command.run(),
            Command::Resume(command) => command.run(),
            Command::Skip(command) => command.run(),
            Command::Logs(command) => command.run(),
            Command::DeadLetters(command) => command.run(),
        }
    }
}
