//! `relevo plugin check`: proves a plugin before it is deployed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;

use super::super::{Settings, say};
use super::files::{Files, sandbox};
use crate::config::{Config, read_from};
use crate::pipeline::lacks;
use crate::proving::{Check as Found, Options, prove};
use crate::sandbox::Manifest;
use crate::store::Package;

#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    settings: Settings,
    /// NAME.wasm, with NAME.toml beside it. A NAME.samples.jsonl there shows what real rows look like.
    #[arg(value_name = "FILE")]
    component: PathBuf,
    /// Recorded events, a JSON object a line; used as they are, instead of generated ones.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// How many events are generated.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Makes the same events again. Without it: another each time, which is printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let files = Files::of(&self.component)?;
        let config = self.settings.load()?;
        let samples = files.samples(self.events.as_deref())?;
        if self.events.is_some() && samples.is_empty() {
            bail!("--events: there is no event in the file");
        }
        let options = Options {
            seed: self.seed.unwrap_or_else(|| fastrand::u64(..=u64::from(u32::MAX))),
            events: self.count as usize,
            only_samples: self.events.is_some(),
            migration_cpu: config.plugins.migration_cpu,
        };
        let mut report = prove(&sandbox()?, &files.folder, &files.name, &config.terms(&files.name), &samples, &options);
        let around = surroundings(&config, &files);
        around.into_iter().for_each(|note| report.add(note));
        if self.json {
            say(serde_json::to_string_pretty(&report)?);
        } else {
            say(&report);
        }
        Ok(ExitCode::from(u8::from(!report.passed)))
    }
}

/// What else the settings here lack for the plugin, and that there is no file to write it into.
fn surroundings(config: &Config, files: &Files) -> Vec<Found> {
    let name = &files.name;
    let path = files.folder.join(format!("{name}.toml"));
    let judged = |package: Package| Manifest::judged(&package.manifest, &path, name, &config.terms(name)).ok();
    // What is wrong with the files themselves is told already.
    let Some((manifest, unmet)) = Package::read(&files.folder, name).ok().and_then(judged) else { return Vec::new() };
    let lacks = lacks::place(config, name).into_iter().chain(lacks::around(config, &manifest));
    let note = |lack| Found::note("has its place", "not in the settings here, and the server would not take it", lack);
    let mut notes: Vec<Found> = lacks.map(note).collect();
    if config.file.is_none() && !(notes.is_empty() && unmet.is_empty()) {
        notes.push(Found::note("settings", read_from(None), lacks::NO_FILE.trim()));
    }
    notes
}
