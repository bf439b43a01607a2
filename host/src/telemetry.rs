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

/// Starts logging, panics included. A second call changes nothing.
pub fn init(config: &Config) {
    // The configuration's check has parsed it already.
    let mut filter = config.log.parse::<Targets>().unwrap_or_default();
    let named: Vec<String> = filter.iter().map(|(target, _)| target.to_owned()).collect();
    for chatty in CHATTY.into_iter().filter(|chatty| !named.iter().any(|name| name.starts_with(chatty))) {
        if filter.would_enable(chatty, &Level::DEBUG) {
            filter = filter.with_target(chatty, LevelFilter::INFO);
        }
    }
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
