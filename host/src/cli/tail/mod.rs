//! `relevo tail`: a client like any other. It keeps one number for all its channels, and comes back
//! with it whenever the connection breaks.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{Settings, runtime};
use crate::auth::{Secret, Tokens};
use crate::config::Config;
use crate::message::ChannelName;

mod client;
mod latency;
mod print;

use client::{Client, Ended};

#[derive(Args)]
pub(super) struct Tail {
    #[command(flatten)]
    settings: Settings,
    /// A channel to print; may be given more than once.
    #[arg(long = "channel", required = true, value_parser = |text: &str| ChannelName::new(text))]
    channels: Vec<ChannelName>,
    /// Where the server is; default: where the settings say that it listens.
    #[arg(long)]
    url: Option<String>,
    /// Default: one made with the secret in the data folder.
    #[arg(long)]
    token: Option<String>,
    /// Prints the time from commit to receipt behind each message, and their distribution at the end.
    /// SQLite tells nobody when a change was committed: there it is the time when it was first seen.
    #[arg(long)]
    latency: bool,
    /// Ends after this many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Prints each message as it came, one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Where tokens come from.
enum Credential {
    Given(String),
    /// A fresh one for each connection.
    Made(Box<Tokens>),
}

impl Credential {
    fn token(&self) -> anyhow::Result<String> {
        match self {
            Self::Given(token) => Ok(token.clone()),
            Self::Made(tokens) => Ok(tokens.issue("tail", "ADMIN", Duration::from_secs(3600))?),
        }
    }
}

impl Tail {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.load()?;
        let credential = match &self.token {
            Some(token) => Credential::Given(token.clone()),
            None => made(&config)?,
        };
        let url = self.url.clone().unwrap_or_else(|| url(&config));
        let client =
            Client::new(url, credential, self.channels, self.count, print::Printer::new(self.json, self.latency));
        match runtime()?.block_on(client.run())? {
            Ended::Done => Ok(ExitCode::SUCCESS),
            Ended::Refused(why) => anyhow::bail!("{why}"),
        }
    }
}

fn made(config: &Config) -> anyhow::Result<Credential> {
    match Secret::find(config)? {
        Some(secret) => Ok(Credential::Made(Box::new(Tokens::new(&secret, &config.auth)))),
        None => anyhow::bail!(
            "there is no token: give --token, or set RELEVO_DATA to the data folder of the server ({} has no secret)",
            config.data.display()
        ),
    }
}

/// The server of these settings; one that listens everywhere is here, too.
fn url(config: &Config) -> String {
    let mut address = config.listen;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    format!("ws://{address}/api/v1/ws/connect")
}
