//! `relevo plugin list` and `versions`: what runs, and what can be gone back to.

use std::process::ExitCode;

use axum::http::Method;
use clap::Args;
use serde_json::Value;

use crate::cli::ask::{Content, Operator, escaped};
use crate::cli::{one_line, say};
use crate::event::Micros;

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    operator: Operator,
    /// All that is known, as JSON.
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let answer = self.operator.ask(Method::GET, "/api/v1/plugins", Content::Nothing)?;
        if self.json {
            say(serde_json::to_string_pretty(&answer)?);
            return Ok(ExitCode::SUCCESS);
        }
        say(format_args!(
            "{:16} {:16} {:26} {:20} {:>8} {:>8}  {}",
            "PLUGIN", "PIPELINE", "VERSION", "STATUS", "LAG", "LETTERS", "SIGNED"
        ));
        for plugin in answer["plugins"].as_array().into_iter().flatten() {
            let name = text(&plugin["plugin"]);
            for pipeline in plugin["pipelines"].as_array().into_iter().flatten() {
                let versions = pipeline["versions"].as_array().into_iter().flatten();
                let version = versions.filter(|pair| text(&pair[0]) == name).map(|pair| text(&pair[1])).next();
                let known = plugin["versions"].as_array().into_iter().flatten();
                let signed = known
                    .filter(|about| Some(text(&about["version"])) == version)
                    .map(|about| text(&about["signed"]))
                    .next();
                say(format_args!(
                    "{name:16} {:16} {:26} {:20} {:>8} {:>8}  {}",
                    text(&pipeline["pipeline"]),
                    version.unwrap_or("-"),
                    text(&pipeline["status"]),
                    pipeline["lag"].to_string(),
                    pipeline["dead_letters"].to_string(),
                    signed.filter(|name| !name.is_empty()).unwrap_or("-")
                ));
                if let Some(reason) = pipeline["reason"].as_str() {
                    say(format_args!("  {}", one_line(reason)));
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Args)]
pub(super) struct Versions {
    #[command(flatten)]
    operator: Operator,
    plugin: String,
}

impl Versions {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let path = format!("/api/v1/plugins/{}", escaped(&self.plugin));
        let answer = self.operator.ask(Method::GET, &path, Content::Nothing)?;
        let serving: Vec<&str> = answer["pipelines"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|pipeline| pipeline["versions"].as_array().into_iter().flatten())
            .filter(|pair| text(&pair[0]) == self.plugin)
            .map(|pair| text(&pair[1]))
            .collect();
        say(format_args!("{:26} {:24} {:12} {:>9}  {:12} {}", "VERSION", "BROUGHT", "BY", "BYTES", "SIGNED", "IT"));
        for about in answer["versions"].as_array().into_iter().flatten() {
            let version = text(&about["version"]);
            let state = match about["refused"].as_str() {
                _ if serving.contains(&version) => "serves".to_owned(),
                Some(reason) => one_line(reason),
                None => "can be rolled back to".to_owned(),
            };
            say(format_args!(
                "{version:26} {:24} {:12} {:>9}  {:12} {state}",
                Micros(about["at"].as_u64().unwrap_or_default()).rfc3339(),
                text(&about["by"]),
                about["bytes"].to_string(),
                about["signed"].as_str().unwrap_or("-")
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
