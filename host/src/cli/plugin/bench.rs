//! `relevo plugin bench`: what a plugin costs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::super::{Settings, duration, say};
use super::files::{Files, sandbox};
use crate::proving::{as_asked, measure};

#[derive(Args)]
pub(super) struct Bench {
    #[command(flatten)]
    settings: Settings,
    /// NAME.wasm, with NAME.toml beside it. A NAME.samples.jsonl there shows what real rows look like.
    #[arg(value_name = "FILE")]
    component: PathBuf,
    /// Recorded events, a JSON object a line; used as they are, instead of generated ones.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// How long it is measured.
    #[arg(long, default_value = "3s", value_parser = duration)]
    time: Duration,
    /// Makes the generated events.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let files = Files::of(&self.component)?;
        let config = self.settings.load()?;
        let samples = files.samples(self.events.as_deref())?;
        let (plugin, _) = as_asked(&sandbox()?, &files.folder, &files.name, &config.terms(&files.name))?;
        let measured = measure(&plugin, &samples, self.events.is_some(), self.seed, self.time)
            .with_context(|| format!("{} can't be measured; `relevo plugin check` says more", files.name))?;
        if self.json {
            say(serde_json::to_string_pretty(&measured)?);
        } else {
            say(&measured);
        }
        Ok(ExitCode::SUCCESS)
    }
}
