//! `relevo tail`: a client like any other. It keeps one number for all its channels, and comes back
//! with it whenever the connection breaks.

use std::process::ExitCode;

use clap::Args;

use super::access::{Credential, address};
use super::given::GivenToken;
use super::{Settings, runtime};
use crate::message::ChannelName;

mod client;
mod latency;
mod print;

use client::{Client, Ended};

#[derive(Args)]
pub(super) struct Tail {
    #[command(flatten)]
    settings: Settings,
    /// The channels to print, like `tasks dashboard:kpis`.
    #[arg(value_name = "CHANNEL", required = true, value_parser = |text: &str| ChannelName::new(text))]
    channels: Vec<ChannelName>,
    /// Where the server is; default: where the settings say that it listens.
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    token: GivenToken,
    /// Prints the time from commit to receipt behind each message, and their distribution at the end.
    /// SQLite tells nobody when a change was committed: there it is the time when it was first seen.
    #[arg(long)]
    latency: bool,
    /// Ends after this many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Prints each message, and each gap, as it came, one JSON object a line.
    #[arg(long)]
    json: bool,
}

impl Tail {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.load()?;
        let credential = Credential::new(self.token.read()?, &config, "tail", "ADMIN".into())?;
        let url = self.url.unwrap_or_else(|| format!("ws://{}/api/v1/ws/connect", address(&config)));
        let client =
            Client::new(url, credential, self.channels, self.count, print::Printer::new(self.json, self.latency));
        match runtime()?.block_on(client.run())? {
            Ended::Done => Ok(ExitCode::SUCCESS),
            Ended::Refused(why) => anyhow::bail!("{why}"),
        }
    }
}
