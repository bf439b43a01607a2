//! Settings: `relevo.toml` with the environment over it, checked before anything starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::event::Name;
use crate::message::{ChannelKind, ChannelName};

mod address;
mod check;
pub mod human;
mod plugin;
mod plugins;
mod read;
mod settings;
mod source;

pub use plugin::*;
pub use plugins::*;
pub(crate) use read::{nearest, toml as read_toml};
pub use settings::*;
pub use source::*;

/// The configuration that is used where there is no `relevo.toml`: the example domain.
pub const BUILT_IN: &str = include_str!("../../../migrations/gad/relevo.toml");

/// What an error's name begins with that is of the file as a whole.
const FILE: &str = "the file";

/// A setting that can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{name}: {wrong}; allowed: {allowed}", if .name.starts_with(FILE) { "" } else { "setting " })]
pub struct ConfigError {
    /// The setting's path, like `journal.memory` or `channel[2].pattern`, or the variable's name; or the file.
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
    /// How log lines look. `RELEVO_LOG_FORMAT`.
    #[serde(default)]
    pub log_format: LogFormat,
    #[serde(default)]
    pub auth: AuthSettings,
    #[serde(default)]
    pub journal: JournalSettings,
    #[serde(default)]
    pub session: SessionSettings,
    #[serde(default)]
    pub gad: GadSettings,
    #[serde(default)]
    pub notices: NoticeSettings,
    #[serde(default)]
    pub page: PageSettings,
    #[serde(default)]
    pub plugins: PluginSettings,
    #[serde(default, rename = "source")]
    pub sources: Vec<SourceSettings>,
    #[serde(default, rename = "pipeline")]
    pub pipelines: Vec<PipelineSettings>,
    /// What single plugins are granted, and their configuration.
    #[serde(default)]
    pub plugin: BTreeMap<Name, PluginEntry>,
    #[serde(default, rename = "channel")]
    pub channels: Vec<ChannelSettings>,
    /// The file that they were read from; none: the built-in example.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

mod defaults {
    use super::{ChannelKind, ChannelName, Duration, PathBuf, SocketAddr};

    pub(super) fn listen() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 8002))
    }
    pub(super) fn data() -> PathBuf {
        "data".into()
    }
    pub(super) fn log() -> String {
        "info".into()
    }
    #[expect(clippy::expect_used, reason = "a constant that is a channel's name; a test loads it")]
    pub(super) fn notices() -> ChannelName {
        ChannelName::new("system:operators").expect("a channel's name")
    }
    pub(super) fn tick() -> Duration {
        Duration::from_secs(1)
    }
    pub(super) fn poll() -> Duration {
        Duration::from_millis(250)
    }
    pub(super) fn guard() -> Duration {
        Duration::from_secs(5)
    }
    pub(super) fn silence() -> Duration {
        Duration::from_secs(60)
    }
    pub(super) fn kind() -> ChannelKind {
        ChannelKind::Stream
    }
}

impl Config {
    /// The rule of a channel: the first that matches.
    pub fn channel(&self, channel: &ChannelName) -> Option<&ChannelSettings> {
        self.channels.iter().find(|rule| rule.matches(channel))
    }

    /// Whether a source watches a table of this name.
    pub fn watches(&self, table: &str) -> bool {
        self.sources.iter().any(|source| source.watches(table))
    }

    /// Where components and manifests are.
    pub fn plugins_folder(&self) -> PathBuf {
        self.plugins.folder.clone().unwrap_or_else(|| self.data.join("plugins"))
    }

    /// Where the versions of plugins are kept that were brought to this server.
    pub fn versions_folder(&self) -> PathBuf {
        self.data.join("versions")
    }

    /// Reads a file (or the built-in configuration), puts the environment over it, and checks it.
    ///
    /// # Errors
    /// Names the setting, what was wrong, and what is allowed.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let text = match file {
            None => BUILT_IN.to_owned(),
            Some(path) => std::fs::read_to_string(path).map_err(|e| ConfigError {
                name: format!("{FILE} {}", path.display()),
                wrong: e.to_string(),
                allowed: "a TOML file that can be read (relevo doctor --example > FILE makes one to begin with)".into(),
            })?,
        };
        let config = Self::from_text(&text, |name| std::env::var_os(name))?;
        Ok(Self { file: file.map(whole), ..config })
    }

    /// Which file they were read from, for people.
    pub fn read_from(&self) -> String {
        read_from(self.file.as_deref())
    }

    fn from_text(text: &str, environment: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<Self, ConfigError> {
        let mut config: Self = read::toml(text)?;
        read::environment(&mut config, environment)?;
        check::all(&config)?;
        config.open_notices();
        Ok(config)
    }

    /// Lets the operators read the notices: a rule of their own, before all others, so that none with a `*`
    /// lets others in.
    fn open_notices(&mut self) {
        let channel = self.notices.channel.as_str();
        let operators = &self.auth.operators;
        if !self.notices.enabled {
            return;
        }
        match self.channels.iter().position(|rule| rule.pattern == channel) {
            Some(at) => {
                let mut rule = self.channels.remove(at);
                rule.read.extend(operators.iter().cloned());
                self.channels.insert(0, rule);
            }
            None => self.channels.insert(0, ChannelSettings::for_operators(channel, operators)),
        }
    }
}

/// Which settings' file is meant, for people; none: the built-in example.
pub fn read_from(file: Option<&Path>) -> String {
    file.map_or_else(|| "none: the built-in example".to_owned(), |file| whole(file).display().to_string())
}

/// From the root on: a server may be looked at from elsewhere than where it was started.
fn whole(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.into())
}

#[cfg(test)]
mod tests;
