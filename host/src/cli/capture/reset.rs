//! `relevo capture reset`: forgets where a source stands, so that it begins anew.

use std::process::ExitCode;

use axum::http::Method;
use clap::Args;

use super::sources;
use crate::capture;
use crate::cli::ask::{Content, Operator, escaped};
use crate::cli::{runtime, say};
use crate::journal::{self, Journal};

/// Who a reset on a server that doesn't run is by.
const BY: &str = "relevo capture reset";

#[derive(Args)]
pub(super) struct Reset {
    #[command(flatten)]
    operator: Operator,
    /// The source that begins anew.
    #[arg(value_name = "SOURCE")]
    source: String,
}

impl Reset {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.operator.config()?;
        if self.operator.is_elsewhere() || journal::in_use(&config.data) {
            let path = format!("/api/v1/sources/{}/reset", escaped(&self.source));
            self.operator.ask(Method::POST, &path, Content::Nothing)?;
            say(format_args!("source {} begins anew; its pipelines are rebuilt (see /readyz)", self.source));
            return Ok(ExitCode::SUCCESS);
        }
        let source = sources(&config, Some(&self.source))?.remove(0);
        runtime()?.block_on(async {
            if journal::inspect(&config.data).await?.is_some() {
                let journal = Journal::open(&config.data, &config.journal, &config.channels).await?;
                let done = capture::reset(&journal, &source.name, BY).await;
                journal.close().await;
                done?;
            }
            say(format_args!("source {} begins anew at the next `relevo serve`", source.name));
            Ok(ExitCode::SUCCESS)
        })
    }
}
