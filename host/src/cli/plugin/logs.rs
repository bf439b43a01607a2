//! `relevo plugin logs`: what a plugin logged, its faults, and who took over.

use std::process::ExitCode;

use axum::http::Method;
use clap::{Args, ValueEnum};

use crate::cli::ask::{Content, Operator, escaped};
use crate::cli::{one_line, say};

#[derive(Args)]
pub(super) struct Logs {
    #[command(flatten)]
    operator: Operator,
    plugin: String,
    /// How many of the newest lines.
    #[arg(short = 'n', long, default_value_t = 100, value_name = "LINES", value_parser = clap::value_parser!(u64).range(1..=1000))]
    lines: u64,
    /// Goes on with the lines that come, until it is interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Lines that matter at least so much.
    #[arg(long, value_enum, default_value_t = Level::Trace)]
    level: Level,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Logs {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let level = self.level.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let base = format!("/api/v1/plugins/{}/logs?level={level}", escaped(&self.plugin));
        let mut after = 0;
        loop {
            // The first answer is what is there; the next ones wait for what comes.
            let path = if after == 0 {
                format!("{base}&limit={}", self.lines)
            } else {
                format!("{base}&limit=1000&after={after}&wait=20")
            };
            let answer = self.operator.ask(Method::GET, &path, Content::Nothing)?;
            if answer["lost"] == true {
                eprintln!("some lines are gone: plugins.keep_log_lines says how many are kept");
            }
            for line in answer["lines"].as_array().into_iter().flatten() {
                self.print(line);
            }
            if after == 0 && !self.json && answer["lines"].as_array().is_none_or(Vec::is_empty) {
                eprintln!("nothing logged");
            }
            if !self.follow {
                return Ok(ExitCode::SUCCESS);
            }
            // With no line yet it is 0, and the next answer would not wait.
            after = answer["newest"].as_u64().unwrap_or_default().max(1);
        }
    }

    fn print(&self, line: &serde_json::Value) {
        if self.json {
            say(line);
            return;
        }
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        let by = if text("by") == "host" { " *" } else { "" };
        say(format_args!(
            "{} {:5} {} {}{by} {}",
            text("at"),
            text("level").to_uppercase(),
            text("pipeline"),
            text("version"),
            one_line(text("text"))
        ));
    }
}
