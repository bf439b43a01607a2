//! How a command reaches the server that runs with its settings: where it is, and with which token.

use std::net::SocketAddr;
use std::time::Duration;

use crate::auth::{Secret, Tokens};
use crate::config::Config;

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
                "there is no token: give --token, or set RELEVO_DATA to the data folder of the server ({} has no secret)",
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
