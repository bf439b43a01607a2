//! What can go wrong with a plugin: before it runs ([`LoadError`]) and while it runs ([`Fault`]).

use std::path::PathBuf;
use std::time::Duration;

use super::grants::Missing;
use crate::event::Name;
use crate::message::ChannelName;
use crate::store::SignatureError;

/// Why a plugin can't be used. Says what was found, what is allowed, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is missing or can't be read.
    #[error("plugin file {}: {reason}; put NAME.wasm and NAME.toml into the plugins folder", .path.display())]
    File { path: PathBuf, reason: String },
    /// The manifest says something that it may not say.
    #[error("{}: {setting}: {wrong}; allowed: {allowed}", .path.display())]
    Manifest { path: PathBuf, setting: String, wrong: String, allowed: String },
    /// The manifest asks for more than the operator grants.
    #[error("{}: {missing}", .path.display())]
    Grant { path: PathBuf, missing: Box<Missing> },
    /// Nobody vouches for it whom the operator trusts.
    #[error("{}: {error}", .path.display())]
    Signature { path: PathBuf, error: Box<SignatureError> },
    /// What the operator configured does not fit the manifest's schema.
    #[error(
        "relevo.toml: plugin.{plugin}.config.{key}: {wrong}; allowed: {allowed}. Under [plugin.{plugin}.config] {remedy}, \
         and restart the server"
    )]
    Config { plugin: Name, key: String, wrong: String, allowed: String, remedy: String },
    /// It uses something of the host that its manifest does not ask for.
    #[error(
        "{}: uses {imports} of the host, which its manifest does not ask for; write in {}, above its first [table]: {line}", 
        .path.display(), .manifest.display()
    )]
    NotAsked { path: PathBuf, imports: String, manifest: PathBuf, line: String },
    /// The bytes are no component, or one that uses a feature that is switched off.
    #[error("{}: not a component that this host can run: {reason}; build it with `cargo build --release --target wasm32-wasip2`", .path.display())]
    NotAComponent { path: PathBuf, reason: String },
    /// It imports something that the host doesn't offer.
    #[error("{}: imports {import}, which plugins may not use; allowed: {allowed}", .path.display())]
    Import { path: PathBuf, import: String, allowed: String },
    /// It doesn't export what a plugin has to export.
    #[error("{}: {wrong}; allowed: {allowed}", .path.display())]
    Interface { path: PathBuf, wrong: String, allowed: String },
    /// It is a plugin, and can't even be instantiated.
    #[error("{}: does not start: {fault}", .path.display())]
    Start { path: PathBuf, fault: Fault },
    /// The engine or the folder for compiled code can't be set up.
    #[error("the sandbox can't start: {reason}")]
    Setup { reason: String },
}

impl LoadError {
    /// Whether the operator's settings are in its way: with others the same files can be used.
    pub fn is_of_settings(&self) -> bool {
        matches!(self, Self::Grant { .. } | Self::Signature { .. } | Self::Config { .. })
    }
}

/// Why a plugin's instance stopped. The instance is of no more use; what the batch changed in the
/// state is to be discarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It crashed: a panic, an access out of bounds, a stack overflow, `exit`.
    #[error("trapped: {0}")]
    Trap(String),
    #[error("used {used:?} of CPU time for a batch; limits.cpu is {limit:?}")]
    Cpu { used: Duration, limit: Duration },
    #[error("wanted {wanted} bytes of memory; limits.memory is {limit}")]
    Memory { wanted: u64, limit: u64 },
    /// Too much came out of a batch. `setting` is the limit's name, in bytes or messages.
    #[error("put out {found} for a batch; {setting} is {limit}")]
    Output { setting: &'static str, found: u64, limit: u64 },
    #[error("its state would have {bytes} bytes; {setting} is {limit}")]
    State { setting: &'static str, bytes: u64, limit: u64 },
    /// `init` says that the configuration can't be used.
    #[error("does not accept its configuration: {0}")]
    Config(String),
    /// It says that it can't handle the event of this index in the batch.
    #[error("can't handle event {event} of the batch: {reason}")]
    Poison { event: usize, reason: String },
    /// It asks to try again.
    #[error("asks for another try: {0}")]
    Transient(String),
    /// It says that it can't go on.
    #[error("can't go on: {0}")]
    Fatal(String),
    /// No instance could be made of it.
    #[error("does not start: {0}")]
    Init(String),
    /// It sends where its manifest doesn't say that it does.
    #[error("broke the contract: sends to {0}, which its manifest does not name under channels")]
    Undeclared(ChannelName),
    /// It broke the contract: spans outside the arena, bad UTF-8 or JSON, a bad channel name.
    #[error("broke the contract: {0}")]
    BadOutput(String),
}

impl Fault {
    /// The same for whoever may ask how the server is: without what the plugin says itself while it has events,
    /// which may quote their rows.
    pub fn in_brief(&self) -> String {
        match self {
            Self::Trap(_) => "trapped".into(),
            Self::Poison { .. } => "can't handle an event".into(),
            Self::Transient(_) => "asks for another try".into(),
            Self::Fatal(_) => "can't go on".into(),
            fault => fault.to_string(),
        }
    }

    /// The fault's name in logs, metrics and dead letters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Cpu { .. } => "cpu",
            Self::Memory { .. } => "memory",
            Self::Output { .. } => "output",
            Self::State { .. } => "state",
            Self::Config(_) => "config",
            Self::Poison { .. } => "poison",
            Self::Transient(_) => "transient",
            Self::Fatal(_) => "fatal",
            Self::Init(_) => "init",
            Self::BadOutput(_) | Self::Undeclared(_) => "bad_output",
        }
    }
}
