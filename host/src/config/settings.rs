//! The sections of the settings, each with its defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Grants, TrustedKey, defaults, human};
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
#[serde(deny_unknown_fields, default)]
pub struct PluginSettings {
    /// Where components and their manifests are; default `DATA/plugins`.
    pub folder: Option<PathBuf>,
    /// What a plugin gets that has no `[plugin.NAME.grant]`.
    pub grants: Grants,
    /// Whether a version without a signature is refused.
    pub require_signature: bool,
    /// The keys whose owners' plugins may run; a signature by any other is refused.
    #[serde(rename = "trusted_key")]
    pub trusted_keys: Vec<TrustedKey>,
    /// Limits that hold where a manifest asks for less, and a `[plugin.NAME.grant]` for nothing else.
    pub limits: Limits,
    /// The instance is replaced after this many batches.
    pub replace_instance_after: u32,
    pub batch_events: usize,
    #[serde(with = "human::bytes")]
    pub batch_bytes: u64,
    /// What the reference tables of a pipeline may take in memory; a pipeline that needs more stands still.
    #[serde(with = "human::bytes")]
    pub lookup_bytes: u64,
    /// How often a failing batch is tried again before it becomes a dead letter.
    pub retries: u32,
    /// The first wait before a retry; it doubles each time.
    #[serde(with = "human::duration")]
    pub retry_after: Duration,
    /// How many versions of each plugin are kept, to go back to.
    pub keep_versions: usize,
    /// The largest component that can be deployed.
    #[serde(with = "human::bytes")]
    pub component_bytes: u64,
    /// How many of the newest recorded events a version is tried on before it takes over.
    pub canary_events: usize,
    /// How long that may take; a version that needs longer is judged by what it did until then.
    #[serde(with = "human::duration")]
    pub canary_within: Duration,
    /// How many recorded events a trial that somebody asks for may run through.
    pub trial_events: usize,
    /// How long it may take.
    #[serde(with = "human::duration")]
    pub trial_within: Duration,
    /// How many versions may run beside those that serve, in live trials; each takes a thread.
    pub shadows: usize,
    /// How long a live trial may take.
    #[serde(with = "human::duration")]
    pub shadow_within: Duration,
    /// A version that fails within this time of taking over is rolled back by itself; 0: never.
    #[serde(with = "human::duration")]
    pub probation: Duration,
    /// CPU time that a version may take to bring the state of another layout over; the pipeline waits for it.
    #[serde(with = "human::duration")]
    pub migration_cpu: Duration,
    /// How often a pipeline's state is kept, to try versions from it.
    #[serde(with = "human::duration")]
    pub checkpoint_every: Duration,
    /// How many of the newest log lines of a plugin in a pipeline are kept for `relevo plugin logs`; 0: none.
    pub keep_log_lines: usize,
    /// So many dead letters with nothing good between them, and the pipeline is quarantined.
    pub quarantine_after: u32,
    /// How long the files of a plugin in the folder must stay as they are before they are taken.
    #[serde(with = "human::duration")]
    pub folder_rest: Duration,
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
    /// `sqlite:PATH` or `postgres://…`. `RELEVO_DATABASE_URL` sets that of the first source. A relative
    /// path starts at the data folder.
    pub url: String,
    /// The tables to watch; empty: all. In PostgreSQL also `SCHEMA.TABLE`, where it isn't `public`.
    #[serde(default)]
    pub tables: Vec<Name>,
    /// Columns that never enter the journal, by table.
    #[serde(default)]
    pub exclude: BTreeMap<Name, Vec<Box<str>>>,
    /// The example whose migrations, seed and simulation belong to this source.
    pub example: Option<String>,
    /// PostgreSQL: the replication slot; default `relevo_NAME`.
    pub slot: Option<String>,
    /// PostgreSQL: the publication; default `relevo_NAME`.
    pub publication: Option<String>,
    /// How often watermarks are appended.
    #[serde(default = "defaults::tick", with = "human::duration")]
    pub tick: Duration,
    /// The safety net's poll for changes that no notification told of.
    #[serde(default = "defaults::poll", with = "human::duration")]
    pub poll: Duration,
    /// PostgreSQL: how often it is looked at how near the slot is to its loss.
    #[serde(default = "defaults::guard", with = "human::duration")]
    pub guard: Duration,
    /// PostgreSQL: after so long without a sign of life the connection is opened anew.
    #[serde(default = "defaults::silence", with = "human::duration")]
    pub silence: Duration,
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

impl Default for PluginSettings {
    fn default() -> Self {
        Self {
            folder: None,
            grants: Grants::Listed,
            require_signature: false,
            trusted_keys: Vec::new(),
            limits: Limits::default(),
            replace_instance_after: 1000,
            batch_events: 256,
            batch_bytes: 512 << 10,
            lookup_bytes: 256 << 20,
            retries: 3,
            retry_after: Duration::from_millis(50),
            keep_versions: 5,
            component_bytes: 64 << 20,
            canary_events: 1000,
            canary_within: Duration::from_secs(5),
            trial_events: 100_000,
            trial_within: Duration::from_secs(60),
            shadows: 2,
            shadow_within: Duration::from_secs(24 * 3600),
            probation: Duration::from_secs(60),
            migration_cpu: Duration::from_secs(10),
            checkpoint_every: Duration::from_secs(3600),
            keep_log_lines: 1000,
            quarantine_after: 20,
            folder_rest: Duration::from_secs(1),
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

/// Before a table of PostgreSQL's usual schema.
const PUBLIC: &str = "public.";

impl SourceSettings {
    /// The SQLite file that the URL names, a relative path taken from the data folder; None if the
    /// URL is for something else.
    pub fn sqlite_path(&self, data: &Path) -> Option<PathBuf> {
        let path = self.url.strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        (!path.is_empty() && !path.starts_with(':')).then(|| data.join(path))
    }

    /// What to do about a table that isn't there.
    pub(crate) fn make_it(&self) -> &'static str {
        if self.example.is_some() { "make it (`relevo migrate`)" } else { "make it" }
    }

    /// Whether the URL is of a PostgreSQL database.
    pub fn is_postgres(&self) -> bool {
        ["postgres://", "postgresql://"].iter().any(|scheme| self.url.starts_with(scheme))
    }

    /// Whether it watches a table, by the name that events have; one that names none watches all. PostgreSQL's
    /// `public` is no part of that name, also where the settings say it.
    pub fn watches(&self, table: &str) -> bool {
        let named = |entry: &str| -> bool {
            let entry = if self.is_postgres() { entry.strip_prefix(PUBLIC).unwrap_or(entry) } else { entry };
            entry.eq_ignore_ascii_case(table)
        };
        let never = self.is_postgres() && table.starts_with(PUBLIC);
        !never && (self.tables.is_empty() || self.tables.iter().any(|entry| named(entry)))
    }

    /// The name of the replication slot.
    pub fn slot(&self) -> String {
        self.slot.clone().unwrap_or_else(|| self.default_name())
    }

    /// The name of the publication.
    pub fn publication(&self) -> String {
        self.publication.clone().unwrap_or_else(|| self.default_name())
    }

    fn default_name(&self) -> String {
        let name: String = self.name.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect();
        format!("relevo_{name}").chars().take(63).collect()
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
