//! `relevo plugin dead-letters`: the events that could not be handled.

use std::process::ExitCode;

use axum::http::Method;
use clap::Args;

use crate::cli::ask::{Content, Operator, escaped};
use crate::cli::{one_line, say};

#[derive(Args)]
pub(super) struct DeadLetters {
    #[command(flatten)]
    operator: Operator,
    /// Those of one pipeline; default: all.
    #[arg(long)]
    pipeline: Option<String>,
    /// Has this one tried again, as a late event.
    #[arg(long, value_name = "LETTER", conflicts_with = "drop")]
    replay: Option<u64>,
    /// Lets this one go for good.
    #[arg(long, value_name = "LETTER")]
    drop: Option<u64>,
    /// All that is known, events too, as JSON.
    #[arg(long)]
    json: bool,
}

impl DeadLetters {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(letter) = self.replay {
            let path = format!("/api/v1/dead-letters/{letter}/replay");
            self.operator.ask(Method::POST, &path, Content::Nothing)?;
            say(format_args!("dead letter {letter} will be tried again"));
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(letter) = self.drop {
            self.operator.ask(Method::DELETE, &format!("/api/v1/dead-letters/{letter}"), Content::Nothing)?;
            say(format_args!("dead letter {letter} is let go"));
            return Ok(ExitCode::SUCCESS);
        }
        let (mut after, mut none) = (0, true);
        loop {
            let mut path = format!("/api/v1/dead-letters?limit=200&after={after}");
            if let Some(pipeline) = &self.pipeline {
                path.push_str(&format!("&pipeline={}", escaped(pipeline)));
            }
            let answer = self.operator.ask(Method::GET, &path, Content::Nothing)?;
            let page = answer["letters"].as_array().cloned().unwrap_or_default();
            let Some(last) = page.last().and_then(|letter| letter["letter"].as_u64()) else {
                if none && !self.json {
                    eprintln!("no dead letters");
                }
                return Ok(ExitCode::SUCCESS);
            };
            (after, none) = (last, false);
            for letter in page {
                if self.json {
                    say(&letter);
                    continue;
                }
                let text = |name: &str| letter[name].as_str().unwrap_or_default();
                say(format_args!(
                    "{} {} {}/{} {}: event {} {}",
                    letter["letter"],
                    text("at"),
                    text("pipeline"),
                    text("plugin"),
                    text("version"),
                    letter["number"],
                    one_line(text("reason"))
                ));
            }
        }
    }
}
