//! `relevo token`: makes a token.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{Settings, duration};
use crate::auth::{Secret, Tokens};
use crate::config::Config;

#[derive(Args)]
pub(super) struct Token {
    #[command(flatten)]
    settings: Settings,
    /// Who the token is for: any text that your application knows them by, like 7 or ana; `user:7` is their own
    /// channel then.
    #[arg(long)]
    user: String,
    /// What the user may see and do: a role that the settings name (`read` and `publish` of a [[channel]],
    /// `auth.operators`), or any other, which has what they give to `*`.
    #[arg(long, default_value = "LEVEL_1")]
    role: String,
    /// How long the token is good for, like 30m or 8h.
    #[arg(long, default_value = "8h", value_parser = duration)]
    ttl: Duration,
}

impl Token {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let config = self.settings.load()?;
        let Some(secret) = Secret::find(&config)? else {
            anyhow::bail!(
                "there is no secret in {}: run this where the server runs (RELEVO_DATA), set RELEVO_JWT_SECRET, or start the server once, which makes one",
                config.data.display()
            );
        };
        let tokens = Tokens::new(&secret, &config.auth);
        let token = tokens
            .issue(&self.user, &self.role, self.ttl)
            .map_err(|_| anyhow::anyhow!("a token needs a user, and a role of letters, digits and . _ -"))?;
        if let Some(warning) = unknown(&config, &self.role) {
            eprintln!("{warning}");
        }
        println!("{token}");
        Ok(ExitCode::SUCCESS)
    }
}

/// A warning, if the settings give nothing to this role by its name.
fn unknown(config: &Config, role: &str) -> Option<String> {
    let of_channels = config.channels.iter().flat_map(|rule| rule.read.iter().chain(&rule.publish));
    let of_gad = config.gad.channels.keys();
    let named: BTreeSet<&str> = of_channels
        .chain(&config.auth.operators)
        .map(|role| &**role)
        .chain(of_gad.map(|role| &**role))
        .filter(|role| *role != "*")
        .collect();
    let known = named.into_iter().collect::<Vec<_>>();
    if known.contains(&role) {
        return None;
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Some(format!("warning: the settings name no role {role}: it has what they give to `*`; they name: {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_that_the_settings_do_not_know_is_warned_of() {
        let config = Config::load(None).unwrap();
        assert_eq!(unknown(&config, "ADMIN"), None);
        let warning = unknown(&config, "ADMIM").unwrap();
        assert!(warning.contains("no role ADMIM") && warning.contains("ADMIN"), "{warning}");
    }
}
