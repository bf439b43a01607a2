//! The settings of all plugins, `[plugins]`, with their defaults.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{Grants, TrustedKey, human};

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

impl Default for PluginSettings {
    fn default() -> Self {
        Self {
            folder: None,
            grants: Grants::Listed,
            require_signature: false,
            trusted_keys: Vec::new(),
            limits: Limits::default(),
            replace_instance_after: 1000,
            batch_events: 512,
            batch_bytes: 1 << 20,
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
            cpu: Duration::from_millis(400),
            memory: 64 << 20,
            output_bytes: 8 << 20,
            output_messages: 20_000,
            state_bytes: 64 << 20,
            log_lines: 200,
        }
    }
}
