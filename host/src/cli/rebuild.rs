//! `relevo rebuild`: has a running server make a pipeline's state anew.

use std::process::ExitCode;

use anyhow::bail;
use axum::http::StatusCode;
use clap::Args;

use super::access::{Credential, address, post};
use super::{Settings, runtime, say};

#[derive(Args)]
pub(super) struct Rebuild {
    #[command(flatten)]
    settings: Settings,
    /// The pipeline whose state is made anew from the rows that are there.
    pipeline: String,
    /// Where the server is, http://HOST:PORT; default: where the settings say that it listens.
    #[arg(long)]
    url: Option<String>,
    /// Default: one made with the secret in the data folder, for the first role of `auth.operators`.
    #[arg(long)]
    token: Option<String>,
}

impl Rebuild {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.load()?;
        let role = match (&self.token, config.auth.operators.first()) {
            (None, None) => bail!("nobody may: set auth.operators to the roles that may operate the server"),
            (_, role) => role.cloned().unwrap_or_default(),
        };
        let credential = Credential::new(self.token, &config, "rebuild", role)?;
        let base = self.url.unwrap_or_else(|| format!("http://{}", address(&config)));
        let path = format!("/api/v1/pipelines/{}/rebuild", self.pipeline);
        let (status, answer) = runtime()?.block_on(post(&base, &path, &credential.token()?))?;
        if status != StatusCode::ACCEPTED {
            let why = answer["error"]["message"].as_str().unwrap_or("it gives no reason");
            bail!("the server refuses ({status}): {why}");
        }
        say(format_args!("pipeline {} will be rebuilt; /readyz tells when it runs again", self.pipeline));
        Ok(ExitCode::SUCCESS)
    }
}
