//! `relevo rebuild`: has a running server make a pipeline's state anew.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use axum::body::Body;
use axum::http::{Request, StatusCode, Uri, header};
use clap::Args;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::access::{Credential, address};
use super::{Settings, runtime, say};

/// The largest answer that is read, in bytes.
const ANSWER: usize = 64 << 10;

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

/// Posts nothing to a path of the server, and reads its answer.
async fn post(base: &str, path: &str, token: &str) -> anyhow::Result<(StatusCode, Value)> {
    let base: Uri = base.trim_end_matches('/').parse().with_context(|| format!("--url {base} is no address"))?;
    let Some(authority) = base.authority().filter(|_| base.scheme_str() == Some("http")) else {
        bail!(
            "--url {base}; allowed: http://HOST:PORT (run it on the server's machine where the network is not to be trusted)"
        );
    };
    let port = authority.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((authority.host(), port))
        .await
        .with_context(|| format!("there is no server at {authority}; start it with `relevo serve`, or give --url"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::post(path)
        .header(header::HOST, authority.as_str())
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::empty())
        .with_context(|| format!("{path} is no path"))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = axum::body::to_bytes(Body::new(response.into_body()), ANSWER).await?;
    driver.abort();
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}
