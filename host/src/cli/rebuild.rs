//! `relevo rebuild`: has a running server make a pipeline's state anew.

use std::process::ExitCode;

use axum::http::Method;
use clap::Args;

use super::ask::{Content, Operator, escaped};
use super::say;

#[derive(Args)]
pub(super) struct Rebuild {
    #[command(flatten)]
    operator: Operator,
    /// The pipeline whose state is made anew from the rows that are there.
    pipeline: String,
}

impl Rebuild {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let path = format!("/api/v1/pipelines/{}/rebuild", escaped(&self.pipeline));
        self.operator.ask(Method::POST, &path, Content::Nothing)?;
        say(format_args!(
            "pipeline {} will be rebuilt, and works on until the rows are there; while it takes them /readyz says so",
            self.pipeline
        ));
        Ok(ExitCode::SUCCESS)
    }
}
