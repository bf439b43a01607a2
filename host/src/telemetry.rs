//! Logging: to stderr, as text for people or JSON for machines. Tokens, secrets and rows are never
//! logged.

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{Config, LogFormat};

/// Starts logging. A second call changes nothing.
pub fn init(config: &Config) {
    // The configuration's check has parsed it already.
    let filter = config.log.parse::<Targets>().unwrap_or_default();
    let lines = match config.log_format {
        LogFormat::Text => fmt::layer().with_writer(std::io::stderr).with_ansi(false).boxed(),
        LogFormat::Json => fmt::layer().json().with_writer(std::io::stderr).boxed(),
    };
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
}
