//! The sections of the settings, each with its defaults, but for those of sources and plugins.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{defaults, human};
use crate::event::Name;
use crate::message::{ChannelKind, ChannelName};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSettings {
    /// The HS256 secret, at least 32 bytes. `RELEVO_JWT_SECRET`. None: one is made and kept in
    /// `DATA/jwt.secret`.
    pub secret: Option<String>,
    /// What a token's `iss` must be, where set.
    pub issuer: Option<String>,
    /// What a token's `aud` must hold, where set; a token without `aud` is refused then.
    pub audience: Option<String>,
    /// The roles that may operate the server over HTTP: rebuild a pipeline and the like; by default none.
    pub operators: Vec<String>,
}

/// Whether a text can be a role: it stands in channel names (`role:ADMIN`) and beside `*` in rules.
pub(crate) fn is_role(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

impl AuthSettings {
    /// The shortest secret, in bytes: what HS256 itself puts out (RFC 7518, 3.2).
    pub const SECRET_BYTES: usize = 32;
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines, one object a line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
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
    /// The oldest events and messages go when the journal is larger than this; at most `limit_bytes`.
    #[serde(with = "human::bytes")]
    pub keep_bytes: u64,
    /// What a pipeline that stands still may hold back before it is marked `gap`.
    #[serde(with = "human::bytes")]
    pub limit_bytes: u64,
    /// The file never becomes larger than this: what comes then waits. None: as large as there is room for.
    #[serde(default, with = "human::option_bytes")]
    pub max_bytes: Option<u64>,
    /// How many checkpoints of each pipeline's state are kept.
    pub keep_checkpoints: u32,
    /// Dead letters older than this may go.
    #[serde(with = "human::duration")]
    pub keep_letters_for: Duration,
    /// The oldest dead letters go when all of them are larger than this; at most a quarter of `limit_bytes`.
    #[serde(with = "human::bytes")]
    pub letters_bytes: u64,
    /// The largest record.
    #[serde(with = "human::bytes")]
    pub record_bytes: u64,
    /// The WAL size at which the writer pauses for a checkpoint.
    #[serde(with = "human::bytes")]
    pub wal_bytes: u64,
}

impl JournalSettings {
    /// The least that `record_bytes` may be: frames, and some room for what is in them.
    pub const LEAST_RECORD_BYTES: u64 = 64 << 10;
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionSettings {
    /// Threads that write to sockets; a session belongs to one of them.
    pub fan_out_threads: usize,
    pub max_connections: usize,
    /// How long a client may take to send its request's header, and then its token.
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

/// For clients of the original system's protocol, which ask for no channels.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GadSettings {
    /// The channels that a session has by itself, by role; `*` for the roles that aren't named. A role
    /// that may not read one doesn't get it.
    pub channels: BTreeMap<String, Vec<ChannelName>>,
    /// The state channel whose newest message is the answer to `dashboard_update`.
    pub dashboard: Option<ChannelName>,
}

impl GadSettings {
    /// The channels that a session of a role has by itself.
    pub fn channels_of(&self, role: &str) -> &[ChannelName] {
        self.channels.get(role).or_else(|| self.channels.get("*")).map_or(&[], Vec::as_slice)
    }
}

/// What those who operate the server are told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoticeSettings {
    pub enabled: bool,
    /// Where notices go. The roles of `auth.operators` may read it; a `[[channel]]` with exactly this pattern
    /// names others.
    pub channel: ChannelName,
    /// Of one thing a trouble is told at most once in this time.
    #[serde(with = "human::duration")]
    pub again_after: Duration,
    /// A source lags when its oldest change waits this long.
    #[serde(with = "human::duration")]
    pub capture_lag: Duration,
}

/// The page at `/`. It gets all of this as it is: nothing here is secret.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageSettings {
    /// Whether browsers get it.
    #[serde(skip_serializing)]
    pub enabled: bool,
    /// The channels that it opens at first; a visitor may choose others.
    pub channels: Vec<ChannelName>,
    /// What it shows of a channel's data, in this order, as paths like `task.title`: the columns of a
    /// state channel's table, and the words beside an event of another.
    pub fields: BTreeMap<ChannelName, Vec<String>>,
    /// How it names channels, fields, event types and values to people, by language (`en`, `es`).
    pub words: BTreeMap<String, BTreeMap<Language, String>>,
}

/// A language that the page speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    En,
    Es,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineSettings {
    pub name: Name,
    /// In order: enrichers first, then what routes or aggregates.
    pub plugins: Vec<Name>,
}

impl PipelineSettings {
    /// Who wants an event is one bit each.
    pub const MAX_PLUGINS: usize = 64;
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
            max_bytes: None,
            keep_checkpoints: 8,
            keep_letters_for: Duration::from_secs(30 * 24 * 3600),
            letters_bytes: 256 << 20,
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

impl Default for NoticeSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            channel: defaults::notices(),
            again_after: Duration::from_secs(60),
            capture_lag: Duration::from_secs(30),
        }
    }
}

impl Default for PageSettings {
    fn default() -> Self {
        Self { enabled: true, channels: Vec::new(), fields: BTreeMap::new(), words: BTreeMap::new() }
    }
}

impl ChannelSettings {
    /// A stream that some roles read.
    pub(super) fn for_operators(channel: &str, operators: &[String]) -> Self {
        Self {
            pattern: channel.to_owned(),
            kind: ChannelKind::Stream,
            read: operators.to_vec(),
            publish: Vec::new(),
            every: Duration::ZERO,
            keep_for: None,
            keep_bytes: None,
        }
    }

    /// Whether the rule is for a channel.
    pub fn matches(&self, channel: &ChannelName) -> bool {
        crate::message::pattern_matches(&self.pattern, channel.as_str())
    }
}
