//! `relevo journal export`: prints what the journal holds, a line of JSON for each thing.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use clap::Args;

use super::super::runtime;
use super::Place;
use crate::config::nearest;
use crate::event::Number;
use crate::journal::{self, Kind, Wanted};
use crate::message::ChannelName;

#[derive(Args)]
pub(super) struct Export {
    #[command(flatten)]
    place: Place,
    /// From this number on.
    #[arg(long, value_name = "N")]
    from: Option<u64>,
    /// Up to this number; without it: up to what is the newest when it begins.
    #[arg(long, value_name = "N")]
    to: Option<u64>,
    /// Messages of, and publications to, this channel alone.
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,
    /// Lines of this kind alone; may be given several times.
    #[arg(long = "kind", value_name = "KIND", value_enum)]
    kinds: Vec<Kind>,
}

/// How many channels are listed for whoever named none of them.
const LISTED: usize = 20;

/// Says that nothing was found of a channel: a failure, if the journal doesn't know it.
fn nothing_of(name: &str, known: &[String]) -> ExitCode {
    if known.iter().any(|known| known == name) {
        eprintln!("relevo: nothing of channel {name} is in what was asked for");
        return ExitCode::SUCCESS;
    }
    let meant = nearest(name, known).map_or_else(String::new, |meant| format!(" (did you mean {meant}?)"));
    let listed = known.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    let channels = match known.len() {
        0 => "none has any yet".to_owned(),
        1..=LISTED => format!("these are known: {listed}"),
        more => format!("these are known: {listed} and {} more", more - LISTED),
    };
    eprintln!("relevo: the journal has no message of channel {name:?}{meant}; {channels}");
    ExitCode::FAILURE
}

impl Export {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = self.place.folder()?;
        let channel = self.channel.as_deref().map(ChannelName::new).transpose()?;
        let (from, to) = (self.from.map(Number), self.to.map(Number));
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            anyhow::bail!("--from {from} is behind --to {to}: nothing lies between them");
        }
        let wanted = Wanted { from, to, channel, kinds: self.kinds };
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let mut failed = None;
        let take = |line: &str| {
            let written = out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n"));
            failed = written.err();
            failed.is_none()
        };
        let exported = runtime()?.block_on(journal::export(&folder, &wanted, take))?;
        let Some(exported) = exported else { anyhow::bail!("there is no journal in {}", folder.display()) };
        match failed.map_or_else(|| out.flush(), Err) {
            // Whoever read has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            done => done?,
        }
        if from.unwrap_or_default() < exported.kept_after {
            eprintln!("relevo: events and controls up to {} are gone by retention", exported.kept_after);
        }
        if let Some(from) = from.filter(|from| *from > exported.head) {
            eprintln!("relevo: nothing is from {from} on yet: the newest number is {}", exported.head);
        }
        if let (0, Some(name)) = (exported.lines, &self.channel) {
            return Ok(nothing_of(name, &exported.channels));
        }
        if exported.damaged > 0 {
            eprintln!("relevo: {} records can't be read; run `relevo journal check`", exported.damaged);
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}
