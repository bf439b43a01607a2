//! `relevo journal check`: is the journal sound, and if not, what to do. It changes nothing.

use std::process::ExitCode;

use clap::Args;

use super::super::{runtime, say};
use super::Place;
use crate::journal::{self, Report};

#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    place: Place,
    /// Print one JSON object: {"sound":…,"parts":[{"name","found","problems","more"}],…}.
    #[arg(long)]
    json: bool,
}

/// The check itself could not be made.
const COULD_NOT: u8 = 2;

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = self.place.folder()?;
        let report = match runtime()?.block_on(journal::check(&folder)) {
            Ok(Some(report)) => report,
            Ok(None) => {
                eprintln!(
                    "relevo: there is no journal in {}; the first start of the server makes one",
                    folder.display()
                );
                return Ok(ExitCode::from(COULD_NOT));
            }
            Err(error) => {
                eprintln!("relevo: the journal could not be checked: {error}");
                return Ok(ExitCode::from(COULD_NOT));
            }
        };
        if self.json {
            say(serde_json::to_string(&report)?);
        } else {
            print(&report);
        }
        Ok(if report.sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// For people.
pub(in crate::cli) fn print(report: &Report) {
    let Report { path, running, format, epoch, head, kept_after, records, .. } = report;
    let newest = records.newest.map_or("it is empty".into(), |newest| format!("newest record {}", newest.rfc3339()));
    let server = if *running { "a server has it open" } else { "no server has it open" };
    say(format_args!("{}: format {format}, epoch {epoch}, {newest}; {server}", path.display()));
    say(format_args!("numbers up to {head}; events and controls are kept after {kept_after}"));
    for part in &report.parts {
        if part.is_sound() {
            say(format_args!("ok       {}: {}", part.name, part.found));
        }
        for problem in &part.problems {
            say(format_args!("DAMAGED  {}: {problem}", part.name));
        }
        if part.more > 0 {
            say(format_args!("DAMAGED  {}: and {} more", part.name, part.more));
        }
    }
    if report.sound {
        say("\nthe journal is sound");
        return;
    }
    let problems: u64 = report.parts.iter().map(|part| part.problems.len() as u64 + part.more).sum();
    say(format_args!("\n{problems} problems: the journal is damaged. Stop the server and keep the files. Then either"));
    say("-> `relevo restore` a backup: what was published to the server since is lost; changes of the watched");
    say(
        "   databases are read again where those still have them, else their pipelines are rebuilt. Or, without a backup,",
    );
    say(
        "-> move journal.db and journal.db-wal away: the history, dead letters and states are lost; pipelines make their",
    );
    say("   states anew from the rows that are there.");
    say("Either way clients are told of a gap. `relevo journal export` prints what can still be read.");
}
