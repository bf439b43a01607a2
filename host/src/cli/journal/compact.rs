//! `relevo journal compact`: gives the disk space back that retention freed.

use std::process::ExitCode;

use clap::Args;

use super::super::{runtime, say};
use super::Place;
use crate::journal::{self, Compacted};

#[derive(Args)]
pub(super) struct Compact {
    #[command(flatten)]
    place: Place,
}

impl Compact {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let folder = self.place.folder()?;
        let Some(Compacted { before, after }) = runtime()?.block_on(journal::compact(&folder))? else {
            anyhow::bail!("there is no journal in {}", folder.display());
        };
        say(format_args!("{before} bytes before, {after} after; {} given back", before.saturating_sub(after)));
        Ok(ExitCode::SUCCESS)
    }
}
