//! `relevo plugin rollback`, `pause`, `resume` and `skip`: short wishes to a running server.

use std::process::ExitCode;

use axum::http::Method;
use clap::Args;

use super::deploy::told;
use crate::cli::ask::{Content, Operator, escaped};
use crate::cli::say;

#[derive(Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    operator: Operator,
    plugin: String,
    /// As `relevo plugin versions` shows it, or the first digits of its id; default: the one that
    /// served before it, and the next time the one before that; one that was rolled back only if it is named.
    version: Option<String>,
}

impl Rollback {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut path = format!("/api/v1/plugins/{}/rollback", escaped(&self.plugin));
        if let Some(version) = &self.version {
            path.push_str(&format!("?version={}", escaped(version)));
        }
        Ok(told(&self.operator.ask(Method::POST, &path, Content::Nothing)?))
    }
}

#[derive(Args)]
pub(super) struct Pause {
    #[command(flatten)]
    operator: Operator,
    plugin: String,
}

impl Pause {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        wish(&self.operator, &self.plugin, "pause", "will stand still")
    }
}

#[derive(Args)]
pub(super) struct Resume {
    #[command(flatten)]
    operator: Operator,
    plugin: String,
}

impl Resume {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        wish(&self.operator, &self.plugin, "resume", "will go on")
    }
}

fn wish(operator: &Operator, plugin: &str, what: &str, outcome: &str) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/plugins/{}/{what}", escaped(plugin));
    let answer = operator.ask(Method::POST, &path, Content::Nothing)?;
    for wish in answer["wishes"].as_array().into_iter().flatten() {
        say(format_args!("pipeline {} {outcome}", wish["pipeline"].as_str().unwrap_or_default()));
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Args)]
pub(super) struct Skip {
    #[command(flatten)]
    operator: Operator,
    pipeline: String,
    /// The event's number, as /readyz and the log name it.
    event: u64,
}

impl Skip {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let path = format!("/api/v1/pipelines/{}/skip/{}", escaped(&self.pipeline), self.event);
        self.operator.ask(Method::POST, &path, Content::Nothing)?;
        say(format_args!(
            "event {} becomes a dead letter if it holds {} up, which goes on then",
            self.event, self.pipeline
        ));
        Ok(ExitCode::SUCCESS)
    }
}
