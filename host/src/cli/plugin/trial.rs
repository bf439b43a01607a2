//! `relevo plugin trial`: tries a version on recorded events.

use std::path::PathBuf;
use std::process::ExitCode;

use axum::http::Method;
use clap::Args;

use super::deploy::read;
use crate::cli::ask::{Content, Operator};
use crate::cli::say;

#[derive(Args)]
pub(super) struct Trial {
    #[command(flatten)]
    operator: Operator,
    /// The component; its manifest NAME.toml is read from beside it.
    file: PathBuf,
    /// The pipeline whose recorded events it is tried on.
    #[arg(long)]
    pipeline: String,
    /// From the newest checkpoint at or before this offset; default: the oldest that is kept.
    #[arg(long)]
    from: Option<u64>,
    /// Up to this offset; default: all.
    #[arg(long)]
    to: Option<u64>,
    /// The whole report as JSON.
    #[arg(long)]
    json: bool,
}

impl Trial {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (name, files) = read(&self.file)?;
        let mut path = format!("/api/v1/plugins/{name}/trial?pipeline={}", self.pipeline);
        for (key, value) in [("from", self.from), ("to", self.to)] {
            if let Some(value) = value {
                path.push_str(&format!("&{key}={value}"));
            }
        }
        let report = self.operator.ask(Method::POST, &path, Content::Files(files))?;
        let clean = report["faults"] == 0;
        if self.json {
            say(serde_json::to_string_pretty(&report)?);
            return Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        say(format_args!(
            "{} {} on {} events of pipeline {} after {}, up to {}, in {} ms",
            name,
            report["version"].as_str().unwrap_or_default(),
            report["events"],
            self.pipeline,
            report["from"],
            report["to"],
            report["took_ms"]
        ));
        for note in report["notes"].as_array().into_iter().flatten() {
            say(format_args!("note: {}", note.as_str().unwrap_or_default()));
        }
        say(format_args!(
            "as committed {}, added {}, missing {}, changed {}; faults {} (known before {})",
            report["same"],
            report["added"],
            report["missing"],
            report["changed"],
            report["faults"],
            report["known_faults"]
        ));
        for fault in report["first_faults"].as_array().into_iter().flatten() {
            say(format_args!("fault at event {}: {}", fault["event"], fault["reason"].as_str().unwrap_or_default()));
        }
        for difference in report["differences"].as_array().into_iter().flatten() {
            let text = |name: &str| difference[name].as_str().unwrap_or_default();
            let place = if difference["event"].is_null() {
                format!("offset {}", difference["offset"])
            } else {
                format!("event {}", difference["event"])
            };
            say(format_args!("{} {} {} {}", text("what"), text("channel"), text("key"), place));
            for (sign, side) in [("-", "was"), ("+", "is")] {
                if let Some(shown) = difference[side].as_object() {
                    let event_type = shown["event_type"].as_str().unwrap_or_default();
                    say(format_args!("  {sign} {event_type} {}", shown["data"]));
                }
            }
        }
        Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
