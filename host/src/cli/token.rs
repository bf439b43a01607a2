//! `relevo token`: makes a token.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::{Settings, duration};
use crate::auth::{Secret, Tokens};

#[derive(Args)]
pub(super) struct Token {
    #[command(flatten)]
    settings: Settings,
    /// Who the token is for.
    #[arg(long)]
    user: String,
    /// What the user may see: LEVEL_1, LEVEL_2, LEVEL_3, MODERATOR, ADMIN, SUPER_ADMIN or any other.
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
        println!("{token}");
        Ok(ExitCode::SUCCESS)
    }
}
