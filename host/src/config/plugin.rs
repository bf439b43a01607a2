//! What the operator says of single plugins: `[plugin.NAME.grant]`, what it may see, use and send, and
//! `[plugin.NAME.config]`. The sandbox compares it with what the plugin's manifest asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::{Config, Limits, human};
use crate::event::Name;
use crate::message::ChannelPattern;
use crate::signature::PublicKey;

/// What a plugin gets that has no `[plugin.NAME.grant]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grants {
    /// Nothing but what can't do harm: it is not loaded.
    #[default]
    Listed,
    /// What its manifest asks for, within `plugins.limits`.
    Open,
}

/// What the host offers a plugin, beside events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    State,
    Lookup,
    Log,
    Metrics,
}

impl Capability {
    pub const ALL: [Self; 4] = [Self::State, Self::Lookup, Self::Log, Self::Metrics];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Lookup => "lookup",
            Self::Log => "log",
            Self::Metrics => "metrics",
        }
    }

    /// Whether it goes without asking: nobody but the operator sees what comes of it, and it is bounded.
    pub fn is_harmless(self) -> bool {
        matches!(self, Self::Log | Self::Metrics)
    }
}

/// `[plugin.NAME]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PluginEntry {
    /// None: what `plugins.grants` says.
    pub grant: Option<Grant>,
    /// Handed to the plugin; checked against the schema in its manifest.
    pub config: toml::Table,
}

/// What a plugin may see, use and send; a manifest asks for the same things.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grant {
    /// The tables whose changes and rows it may see; `*` for all.
    pub tables: Vec<Name>,
    /// Patterns of channels whose publications it may see.
    pub published: Vec<ChannelPattern>,
    /// Patterns of channels that it may send to.
    pub channels: Vec<ChannelPattern>,
    /// The columns that it may look up, by reference table; `*` for all.
    pub lookup: BTreeMap<Name, Vec<Box<str>>>,
    /// What it may use beside `log` and `metrics`; a table under `lookup` brings that one.
    pub capabilities: Vec<Capability>,
    /// What it may use up, where not as `plugins.limits` says.
    pub limits: SomeLimits,
}

/// Limits, each if it is named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SomeLimits {
    #[serde(with = "human::option_duration")]
    pub cpu: Option<Duration>,
    #[serde(with = "human::option_bytes")]
    pub memory: Option<u64>,
    #[serde(with = "human::option_bytes")]
    pub output_bytes: Option<u64>,
    pub output_messages: Option<u32>,
    #[serde(with = "human::option_bytes")]
    pub state_bytes: Option<u64>,
    pub log_lines: Option<u32>,
}

impl SomeLimits {
    /// What holds: these where they are named, else the others.
    pub fn over(&self, others: &Limits) -> Limits {
        Limits {
            cpu: self.cpu.unwrap_or(others.cpu),
            memory: self.memory.unwrap_or(others.memory),
            output_bytes: self.output_bytes.unwrap_or(others.output_bytes),
            output_messages: self.output_messages.unwrap_or(others.output_messages),
            state_bytes: self.state_bytes.unwrap_or(others.state_bytes),
            log_lines: self.log_lines.unwrap_or(others.log_lines),
        }
    }
}

/// A key whose owner's plugins may run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedKey {
    /// What people are shown.
    pub name: Box<str>,
    pub key: PublicKey,
}

/// Which signatures count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signatures {
    /// A version without a signature can't be used.
    pub required: bool,
    pub trusted: Vec<TrustedKey>,
}

/// How much of what a plugin asks for it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// All of it, within the limits.
    Everything,
    /// There is no `[plugin.NAME.grant]`.
    Nothing,
    Listed(Grant),
}

/// What holds for one plugin.
#[derive(Debug, Clone)]
pub struct Terms {
    pub granted: Granted,
    /// What it may use up; a manifest may ask for less.
    pub limits: Limits,
    /// `[plugin.NAME.config]`.
    pub config: toml::Table,
    /// None: a signature is not looked at.
    pub signatures: Option<Signatures>,
    /// The configuration may have keys that the manifest doesn't know: those of a later version.
    pub later_keys: bool,
}

impl Default for Terms {
    /// Whatever it asks for, within the limits' defaults.
    fn default() -> Self {
        Self {
            granted: Granted::Everything,
            limits: Limits::default(),
            config: toml::Table::new(),
            signatures: None,
            later_keys: false,
        }
    }
}

impl Config {
    /// What holds for a plugin.
    pub fn terms(&self, plugin: &str) -> Terms {
        let entry = self.plugin.get(plugin).cloned().unwrap_or_default();
        let limits = entry.grant.as_ref().map_or_else(SomeLimits::default, |grant| grant.limits.clone());
        let granted = match (entry.grant, self.plugins.grants) {
            (Some(grant), _) => Granted::Listed(grant),
            (None, Grants::Open) => Granted::Everything,
            (None, Grants::Listed) => Granted::Nothing,
        };
        Terms {
            granted,
            limits: limits.over(&self.plugins.limits),
            config: entry.config,
            signatures: Some(self.signatures()),
            later_keys: false,
        }
    }

    /// Which signatures count.
    pub fn signatures(&self) -> Signatures {
        Signatures { required: self.plugins.require_signature, trusted: self.plugins.trusted_keys.clone() }
    }
}
