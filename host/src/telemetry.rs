//! Logging: to stderr, as text for people or JSON for machines. docs/logging.md lists the fields. Tokens,
//! secrets and rows are never logged.

use std::backtrace::Backtrace;
use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Level, debug, enabled, error};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{Config, LogFormat};

/// Libraries that at `debug` tell of each step of a compilation: a million lines a plugin. They say so only where
/// a filter names them.
const CHATTY: [&str; 6] = [
    "cranelift_codegen",
    "regalloc2",
    "wasmtime_environ",
    "wasmtime_internal_cranelift",
    "wasmtime::runtime",
    "wasmtime_internal_fiber",
];

/// A library whose errors we get, and tell of ourselves: its own lines come only where a filter names it.
const REPEATED: &str = "pgwire_replication";

fn filter(log: &str) -> Targets {
    // The configuration's check has parsed it already.
    let mut filter = log.parse::<Targets>().unwrap_or_default();
    let named: Vec<String> = filter.iter().map(|(target, _)| target.to_owned()).collect();
    let is_named = |target: &str| named.iter().any(|name| name.starts_with(target));
    for chatty in CHATTY.into_iter().filter(|chatty| !is_named(chatty)) {
        if filter.would_enable(chatty, &Level::DEBUG) {
            filter = filter.with_target(chatty, LevelFilter::INFO);
        }
    }
    if is_named(REPEATED) { filter } else { filter.with_target(REPEATED, LevelFilter::OFF) }
}

/// Starts logging, panics included. A second call changes nothing.
pub fn init(config: &Config) {
    let filter = filter(&config.log);
    let lines = match config.log_format {
        LogFormat::Text => fmt::layer().with_writer(std::io::stderr).with_ansi(false).boxed(),
        // Flat: an event's fields stand beside `level` and `message`; those of its request or session under
        // `span`.
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .boxed(),
    };
    if tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().is_ok() {
        log_panics();
    }
}

/// A time as log lines give it, whatever its size.
pub fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// A panic is one line like any other; its backtrace another, where somebody debugs.
fn log_panics() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if !enabled!(Level::ERROR) {
            return before(panic);
        }
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        error!(panic = text(panic), location, thread = thread.name().unwrap_or("-"), "a thread panicked");
        if enabled!(Level::DEBUG) {
            debug!(backtrace = %Backtrace::force_capture(), "where it panicked");
        }
    }));
}

fn text<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    panic.payload_as_str().unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_tell_of_ourselves_libraries_tell_only_where_a_filter_names_them() {
        let error_of = |log: &str| filter(log).would_enable(REPEATED, &Level::ERROR);
        assert!(!error_of("info") && !error_of("debug") && error_of("info,pgwire_replication=warn"));
        let steps_of = |log: &str| filter(log).would_enable("regalloc2", &Level::DEBUG);
        assert!(!steps_of("debug") && steps_of("info,regalloc2=debug"));
    }
}
