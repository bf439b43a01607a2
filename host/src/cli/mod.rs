//! The command line: one file a command.
//!
//! Exit codes: 0 done, 1 failed, 2 a setting or an argument can't be used.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};

mod access;
mod ask;
mod backup;
mod capture;
mod demo;
mod doctor;
mod given;
mod journal;
mod migrate;
mod plugin;
mod rebuild;
mod serve;
mod tail;
mod token;

/// Shows what changes in a database to the people who watch it, as it changes.
#[derive(Parser)]
#[command(name = "relevo", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server.
    Serve(serve::Serve),
    /// Makes or updates the example's tables in the sources' databases; `status` says how they stand.
    Migrate(migrate::Migrate),
    /// Shows how the sources stand, takes capture out of their databases, has one begin anew.
    Capture(capture::Capture),
    /// Looks at this machine and the settings, and says what is wrong and what to do; changes nothing.
    Doctor(doctor::Doctor),
    /// Has the running server make a pipeline's state anew from the rows that are there.
    Rebuild(rebuild::Rebuild),
    /// Copies the data folder, journal and plugins, while the server runs.
    Backup(backup::Backup),
    /// Puts a backup into an empty data folder; a new epoch begins.
    Restore(backup::Restore),
    /// Checks the journal, makes its file smaller, prints what it holds.
    Journal(journal::Journal),
    /// Makes, builds, checks, deploys, tries, watches and repairs plugins.
    Plugin(plugin::Plugin),
    /// Makes a token and prints it, alone on the last line.
    Token(token::Token),
    /// Prints the messages of channels as a client gets them, and resumes by itself.
    Tail(tail::Tail),
}

/// Where the settings are; all commands have it.
#[derive(Args)]
struct Settings {
    /// The settings' file. Without one: ./relevo.toml where it is there, else the built-in example.
    #[arg(long, value_name = "FILE", env = "RELEVO_CONFIG")]
    config: Option<PathBuf>,
}

impl Settings {
    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.file().as_deref())
    }

    /// None: the built-in example.
    fn file(&self) -> Option<PathBuf> {
        let here = Path::new("relevo.toml");
        self.config.clone().or_else(|| here.exists().then(|| here.into()))
    }
}

/// Runs what the arguments say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(command) => command.run(),
        Command::Migrate(command) => command.run(),
        Command::Capture(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Rebuild(command) => command.run(),
        Command::Backup(command) => command.run(),
        Command::Restore(command) => command.run(),
        Command::Journal(command) => command.run(),
        Command::Plugin(command) => command.run(),
        Command::Token(command) => command.run(),
        Command::Tail(command) => command.run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("relevo: {error:#}");
            ExitCode::from(if error.is::<ConfigError>() { 2 } else { 1 })
        }
    }
}

/// Prints a line for people. A server must not fall over because nobody reads its output any more.
fn say(line: impl std::fmt::Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A text that may have several lines, as one for a table.
fn one_line(text: &str) -> String {
    // Each line is searched by itself, as in logs.
    text.trim().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" / ")
}

/// `1 source`, `2 sources`.
fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// The runtime of a command.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// Reads `8h`, `30m` and the like.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    crate::config::human::parse_duration(text)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| format!("{text:?} is no time; allowed: a time like 30s, 15m, 12h or 7d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_several_lines_fits_into_a_table() {
        assert_eq!(
            one_line("trapped: panicked at src/lib.rs:7:5:\n  no name\n"),
            "trapped: panicked at src/lib.rs:7:5: / no name"
        );
        assert_eq!(one_line("one"), "one");
    }

    #[test]
    fn every_command_stands_in_the_readme() {
        use clap::CommandFactory as _;
        let readme = include_str!("../../../README.md");
        let table = readme.split_once("## The command `relevo`").and_then(|(_, rest)| rest.split_once("## Settings"));
        let (table, _) = table.unwrap();
        for command in Cli::command().get_subcommands() {
            let rows: Vec<&str> =
                table.lines().filter(|row| row.contains(&format!("`relevo {}", command.get_name()))).collect();
            assert!(!rows.is_empty(), "README.md doesn't name `relevo {}`", command.get_name());
            for inner in command.get_subcommands().map(clap::Command::get_name) {
                let named =
                    rows.iter().any(|row| row.contains(&format!("{inner}`")) || row.contains(&format!("{inner} ")));
                assert!(named, "README.md doesn't name `relevo {} {inner}`", command.get_name());
            }
        }
    }

    #[test]
    fn one_of_a_thing_is_not_several() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "source")), ["0 sources", "1 source", "2 sources"]);
    }
}
