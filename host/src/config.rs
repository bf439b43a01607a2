//! Settings: `relevo.toml` with the environment over it, checked before anything starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::event::Name;
use crate::message::{ChannelKind, ChannelName};

/// The configuration that is used where there is no `relevo.toml`: the example domain.
pub const BUILT_IN: &str = include_str!("../../migrations/gad/relevo.toml");

/// A setting that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("setting {name}: {wrong}; allowed: {allowed}")]
pub struct ConfigError {
    pub name: String,
    pub wrong: String,
    pub allowed: String,
}

/// All settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where HTTP and WebSocket listen. `RELEVO_LISTEN`.
    #[serde(default = "defaults::listen")]
    pub listen: SocketAddr,
    /// The folder for all that the server keeps. `RELEVO_DATA`.
    #[serde(default = "defaults::data")]
    pub data: PathBuf,
    /// What is logged, in tracing's filter syntax. `RELEVO_LOG`.
    #[serde(default = "defaults::log")]
    pub log: String,
    #[serde(default)]
    pub auth: AuthSettings,
    #[serde(default)]
    pub journal: JournalSettings,
    #[serde(default)]
    pub session: SessionSettings,
    #[serde(default)]
    pub plugins: PluginSettings,
    #[serde(default, rename = "source")]
    pub sources: Vec<SourceSettings>,
    #[serde(default, rename = "pipeline")]
    pub pipelines: Vec<PipelineSettings>,
    #[serde(default, rename = "channel")]
    pub channels: Vec<ChannelSettings>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// The HS256 secret, at least 32 bytes. `RELEVO_JWT_SECRET`. None: one is made and kept in
    /// `DATA/jwt.secret`.
    pub secret: Option<String>,
    /// What a token's `iss` must be, where set.
    pub issuer: Option<String>,
    /// What a token's `aud` must hold, where set; a token without `aud` is refused then.
    pub audience: Option<String>,
}

/// What an acknowledged write survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Any crash of the process; the disk follows within 50 ms.
    #[default]
    Process,
    /// A power failure.
    Power,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JournalSettings {
    pub durability: Durability,
    /// How much of the newest records stays in memory.
    #[serde(with = "human::bytes")]
    pub memory: u64,
    /// Under durability `process`: how often the file is synced.
    #[serde(with = "human::duration")]
    pub sync_every: Duration,
    /// Events and messages older than this may go.
    #[serde(with = "human::duration")]
    pub keep_for: Duration,
    /// The oldest events and messages go when the journal is larger than this.
    #[serde(with = "human::bytes")]
    pub keep_bytes: u64,
    /// What a pipeline that stands still may hold back before it is marked `gap`.
    #[serde(with = "human::bytes")]
    pub limit_bytes: u64,
    /// The largest record.
    #[serde(with = "human::bytes")]
    pub record_bytes: u64,
    /// The WAL size at which the writer pauses for a checkpoint.
    #[serde(with = "human::bytes")]
    pub wal_bytes: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionSettings {
    /// Threads that write to sockets; a session belongs to one of them.
    pub fan_out_threads: usize,
    pub max_connections: usize,
    /// How long a client may take to send its token.
    #[serde(with = "human::duration")]
    pub hello_within: Duration,
    /// Between two pings.
    #[serde(with = "human::duration")]
    pub heartbeat: Duration,
    /// How long after a ping a client may stay silent.
    #[serde(with = "human::duration")]
    pub pong_within: Duration,
    /// The largest message that a client may send.
    #[serde(with = "human::bytes")]
    pub message_bytes: u64,
    /// What may wait for a slow client.
    #[serde(with = "human::bytes")]
    pub outbox_bytes: u64,
    pub max_subscriptions: usize,
    /// How long clients get to leave at a shutdown.
    #[serde(with = "human::duration")]
    pub shutdown_within: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginSettings {
    /// Where components and their manifests are; default `DATA/plugins`.
    pub folder: Option<PathBuf>,
    /// Limits that hold where a manifest asks for nothing else; a manifest can't ask for more.
    pub limits: Limits,
    /// The instance is replaced after this many batches.
    pub replace_instance_after: u32,
    pub batch_events: usize,
    #[serde(with = "human::bytes")]
    pub batch_bytes: u64,
    /// How often a failing batch is tried again before it becomes a dead letter.
    pub retries: u32,
    /// The first wait before a retry; it doubles each time.
    #[serde(with = "human::duration")]
    pub retry_after: Duration,
}

/// What a plugin may use up.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// CPU time for a batch.
    #[serde(with = "human::duration")]
    pub cpu: Duration,
    #[serde(with = "human::bytes")]
    pub memory: u64,
    /// For a batch.
    #[serde(with = "human::bytes")]
    pub output_bytes: u64,
    pub output_messages: u32,
    #[serde(with = "human::bytes")]
    pub state_bytes: u64,
    /// Lines of log for a batch; more are dropped and counted.
    pub log_lines: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    pub name: Name,
    /// `sqlite:PATH`. `RELEVO_DATABASE_URL` sets that of the first source. A relative path starts at
    /// the data folder.
    pub url: String,
    /// The tables to watch; empty: all.
    #[serde(default)]
    pub tables: Vec<Name>,
    /// Columns that never enter the journal, by table.
    #[serde(default)]
    pub exclude: BTreeMap<Name, Vec<Box<str>>>,
    /// The example whose migrations, seed and simulation belong to this source.
    pub example: Option<String>,
    /// How often watermarks are appended.
    #[serde(default = "defaults::tick", with = "human::duration")]
    pub tick: Duration,
    /// The safety net's poll for changes that no notification told of.
    #[serde(default = "defaults::poll", with = "human::duration")]
    pub poll: Duration,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineSettings {
    pub name: Name,
    /// In order: enrichers first, then what routes or aggregates.
    pub plugins: Vec<Name>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelSettings {
    /// A channel's name, or with one `*` for any text. The first rule that matches counts.
    pub pattern: String,
    #[serde(default = "defaults::kind")]
    pub kind: ChannelKind,
    /// The roles that may subscribe; `*` for every role. `user:` and `role:` channels are for the
    /// user and the role alone, whatever stands here.
    #[serde(default)]
    pub read: Vec<String>,
    /// The roles that may publish; by default none.
    #[serde(default)]
    pub publish: Vec<String>,
    /// State channels: at most one update for each key in this time.
    #[serde(default, with = "human::duration")]
    pub every: Duration,
    /// Stream channels: how long messages are kept; default as the journal's.
    #[serde(default, with = "human::option_duration")]
    pub keep_for: Option<Duration>,
    /// Stream channels: how many bytes of messages are kept for each channel.
    #[serde(default, with = "human::option_bytes")]
    pub keep_bytes: Option<u64>,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            durability: Durability::Process,
            memory: 64 << 20,
            sync_every: Duration::from_millis(50),
            keep_for: Duration::from_secs(7 * 24 * 3600),
            keep_bytes: 4 << 30,
            limit_bytes: 8 << 30,
            record_bytes: 512 << 10,
            wal_bytes: 64 << 20,
        }
    }
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            fan_out_threads: 1,
            max_connections: 10_000,
            hello_within: Duration::from_secs(10),
            heartbeat: Duration::from_secs(30),
            pong_within: Duration::from_secs(10),
            message_bytes: 64 << 10,
            outbox_bytes: 1 << 20,
            max_subscriptions: 100,
            shutdown_within: Duration::from_secs(10),
        }
    }
}

impl Default for PluginSettings {
    fn default() -> Self {
        Self {
            folder: None,
            limits: Limits::default(),
            replace_instance_after: 1000,
            batch_events: 256,
            batch_bytes: 512 << 10,
            retries: 3,
            retry_after: Duration::from_millis(50),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(200),
            memory: 64 << 20,
            output_bytes: 4 << 20,
            output_messages: 10_000,
            state_bytes: 64 << 20,
            log_lines: 100,
        }
    }
}

mod defaults {
    use super::{ChannelKind, Duration, PathBuf, SocketAddr};

    pub(super) fn listen() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 8002))
    }
    pub(super) fn data() -> PathBuf {
        "data".into()
    }
    pub(super) fn log() -> String {
        "info".into()
    }
    pub(super) fn tick() -> Duration {
        Duration::from_secs(1)
    }
    pub(super) fn poll() -> Duration {
        Duration::from_millis(250)
    }
    pub(super) fn kind() -> ChannelKind {
        ChannelKind::Stream
    }
}

/// Sizes and times as people write them: `64MiB`, `30s`, `7d`. A bare number is bytes or seconds.
pub mod human {
    use std::time::Duration;

    /// Reads `512KiB`, `64MiB`, `4GiB` or a number of bytes.
    pub fn parse_bytes(text: &str) -> Option<u64> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let factor = match unit.trim() {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(factor)
    }

    /// Reads `50ms`, `30s`, `15m`, `12h`, `7d` or a number of seconds.
    pub fn parse_duration(text: &str) -> Option<Duration> {
        let text = text.trim();
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().ok()?;
        let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
        match unit.trim() {
            "ms" => Some(Duration::from_millis(number)),
            "" | "s" => seconds(1),
            "m" => seconds(60),
            "h" => seconds(3600),
            "d" => seconds(24 * 3600),
            _ => None,
        }
    }

    macro_rules! readers {
        ($module:ident, $optional:ident, $type:ty, $parse:ident, $from:expr, $expected:literal) => {
            pub mod $module {
                use serde::{Deserialize, Deserializer, de::Error};
                #[derive(Deserialize)]
                #[serde(untagged)]
                pub(super) enum Raw {
                    Number(u64),
                    Text(String),
                }
                impl Raw {
                    pub(super) fn read<E: Error>(self) -> Result<$type, E> {
                        match self {
                            Self::Number(n) => Ok($from(n)),
                            Self::Text(t) => {
                                super::$parse(&t).ok_or_else(|| E::custom(format!("{t:?} is not {}", $expected)))
                            }
                        }
                    }
                }
                pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                    Raw::deserialize(d)?.read()
                }
            }
            pub mod $optional {
                use serde::{Deserialize, Deserializer};
                pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<$type>, D::Error> {
                    Option::<super::$module::Raw>::deserialize(d)?.map(super::$module::Raw::read).transpose()
                }
            }
        };
    }
    readers!(bytes, option_bytes, u64, parse_bytes, |n| n, "a size like 512KiB, 64MiB or 4GiB");
    readers!(
        duration,
        option_duration,
        Duration,
        parse_duration,
        Duration::from_secs,
        "a time like 50ms, 30s, 15m, 12h or 7d"
    );
}

impl ChannelSettings {
    /// Whether the rule is for a channel.
    pub fn matches(&self, channel: &ChannelName) -> bool {
        let name = channel.as_str();
        match self.pattern.split_once('*') {
            None => self.pattern == name,
            Some((head, tail)) => {
                name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
            }
        }
    }
}

impl Config {
    /// The rule of a channel: the first that matches.
    pub fn channel(&self, channel: &ChannelName) -> Option<&ChannelSettings> {
        self.channels.iter().find(|rule| rule.matches(channel))
    }

    /// Where components and manifests are.
    pub fn plugins_folder(&self) -> PathBuf {
        self.plugins.folder.clone().unwrap_or_else(|| self.data.join("plugins"))
    }

    /// Reads a file (or the built-in configuration), puts the environment over it, and checks it.
    ///
    /// # Errors
    /// Names the setting, what was wrong, and what is allowed.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let (name, text) = match file {
            None => ("the built-in configuration".to_owned(), BUILT_IN.to_owned()),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| ConfigError {
                    name: path.display().to_string(),
                    wrong: e.to_string(),
                    allowed: "a readable TOML file".into(),
                })?;
                (path.display().to_string(), text)
            }
        };
        let config = toml::from_str(&text).map_err(|e| ConfigError {
            name,
            wrong: e.to_string(),
            allowed: "see relevo.toml in the README".into(),
        })?;
        Ok(config)
    }
}
