//! How a command reaches the server that runs with its settings: where it is, and with which token.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::auth::{Secret, Tokens};
use crate::config::Config;

/// The largest answer that is read, in bytes.
const ANSWER: usize = 64 << 20;

/// Where tokens come from.
pub(super) enum Credential {
    Given(String),
    /// A fresh one each time, for this user and role.
    Made {
        tokens: Box<Tokens>,
        user: &'static str,
        role: String,
    },
}

impl Credential {
    /// The token that was given, else tokens made with the secret in the data folder.
    pub(super) fn new(
        given: Option<String>,
        config: &Config,
        user: &'static str,
        role: String,
    ) -> anyhow::Result<Self> {
        match (given, Secret::find(config)?) {
            (Some(token), _) => Ok(Self::Given(token)),
            (None, Some(secret)) => Ok(Self::Made { tokens: Box::new(Tokens::new(&secret, &config.auth)), user, role }),
            (None, None) => anyhow::bail!(
                "there is no token: give --token-file or RELEVO_TOKEN, or set RELEVO_DATA to the data folder of the server ({} has no secret)",
                config.data.display()
            ),
        }
    }

    pub(super) fn token(&self) -> anyhow::Result<String> {
        match self {
            Self::Given(token) => Ok(token.clone()),
            Self::Made { tokens, user, role } => Ok(tokens.issue(user, role, Duration::from_secs(3600))?),
        }
    }
}

/// Where the server of these settings is; one that listens everywhere is here, too.
pub(super) fn address(config: &Config) -> SocketAddr {
    let mut address = config.listen;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

/// Asks for a path of the server that everybody may ask for.
pub(super) async fn get(base: &str, path: &str) -> anyhow::Result<(StatusCode, Value)> {
    ask(base, Request::get(path), Body::empty()).await
}

/// Sends a request to the server, and reads its answer.
pub(super) async fn ask(base: &str, request: Builder, body: Body) -> anyhow::Result<(StatusCode, Value)> {
    let response = send(base, request, body).await?;
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), ANSWER).await?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// Sends a request to the server; the answer's body comes as it is read.
pub(super) async fn send(base: &str, request: Builder, body: Body) -> anyhow::Result<Response<Body>> {
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
    // It ends when the answer is read, or dropped.
    tokio::spawn(connection);
    let request = request.header(header::HOST, authority.as_str()).body(body).context("that is no path")?;
    Ok(sender.send_request(request).await?.map(Body::new))
}
