//! `relevo plugin trial`: tries a version on recorded events, or beside the version that serves.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use axum::http::Method;
use clap::Args;
use serde_json::Value;

use super::deploy::read;
use crate::cli::ask::{Content, Operator, escaped};
use crate::cli::{duration, say};

/// How often a live trial says how it goes, if it goes on.
const SAY_EVERY: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct Trial {
    #[command(flatten)]
    operator: Operator,
    /// The component; its manifest NAME.toml is read from beside it.
    file: PathBuf,
    /// The pipeline whose events it is tried on.
    #[arg(long)]
    pipeline: String,
    /// From the newest checkpoint at or before this offset; default: the oldest that is kept, with --live the newest.
    #[arg(long)]
    from: Option<u64>,
    /// Up to this offset; default: all.
    #[arg(long, conflicts_with = "live")]
    to: Option<u64>,
    /// Goes on with what comes, beside the version that serves: for so long, like 10m, or until Ctrl-C.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    live: Option<Option<Duration>>,
    /// The whole report as JSON; with --live one each second, a line each.
    #[arg(long)]
    json: bool,
}

impl Trial {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (name, files) = read(&self.file)?;
        let mut path = format!("/api/v1/plugins/{}/trial?pipeline={}", escaped(&name), escaped(&self.pipeline));
        let whole = |time: Duration| time.as_secs() + u64::from(time.subsec_nanos() > 0);
        let live = self.live.map(|time| time.map_or(0, whole));
        for (key, value) in [("from", self.from), ("to", self.to), ("live", live)] {
            if let Some(value) = value {
                path.push_str(&format!("&{key}={value}"));
            }
        }
        let files = Content::Files(files);
        let report = if self.live.is_some() {
            self.follow(&path, files)?
        } else {
            let report = self.operator.ask(Method::POST, &path, files)?;
            if self.json {
                say(serde_json::to_string_pretty(&report)?);
            } else {
                say(format_args!(
                    "{name} {} on {} events of pipeline {} after {}, up to {}, in {} ms",
                    report["version"].as_str().unwrap_or_default(),
                    report["events"],
                    self.pipeline,
                    report["from"],
                    report["to"],
                    report["took_ms"]
                ));
                notes(&report);
                say(totals(&report));
                differences(&report);
            }
            report
        };
        Ok(if report["faults"] == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Says what comes until the trial ends; the last report.
    fn follow(&self, path: &str, files: Content) -> anyhow::Result<Value> {
        let (mut last, mut said) = (Value::Null, None::<(Instant, String)>);
        self.operator.follow(Method::POST, path, files, |report| {
            if self.json {
                say(&report);
            } else {
                if last.is_null() {
                    let (version, from) = (report["version"].as_str().unwrap_or_default(), &report["from"]);
                    say(format_args!("{version} beside pipeline {}, after {from}; Ctrl-C ends it", self.pipeline));
                }
                notes(&report);
                differences(&report);
                let now = format!("{} events, {}, behind {}", report["events"], totals(&report), report["behind"]);
                let due = said.as_ref().is_none_or(|(at, before)| at.elapsed() >= SAY_EVERY && *before != now);
                if due || report["ended"] == true {
                    say(&now);
                    said = Some((Instant::now(), now));
                }
            }
            last = report;
            Ok(())
        })?;
        if last["ended"] != true {
            anyhow::bail!("the server went away before the trial was over");
        }
        Ok(last)
    }
}

fn notes(report: &Value) {
    for note in report["notes"].as_array().into_iter().flatten() {
        say(format_args!("note: {}", note.as_str().unwrap_or_default()));
    }
}

fn totals(report: &Value) -> String {
    format!(
        "as committed {}, added {}, missing {}, changed {}; faults {} (known before {})",
        report["same"], report["added"], report["missing"], report["changed"], report["faults"], report["known_faults"]
    )
}

fn differences(report: &Value) {
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
}
