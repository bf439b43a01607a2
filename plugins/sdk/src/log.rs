//! Lines for the plugin's log.

use crate::backend::log as host;

/// How much a line matters.
///
/// ```
/// use relevo_plugin::{Level, log};
/// log!(Level::Debug, "nothing to do");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// What went wrong.
    Error,
}

#[doc(hidden)]
pub fn emit(level: Level, text: &str) {
    let level = match level {
        Level::Trace => host::Level::Trace,
        Level::Debug => host::Level::Debug,
        Level::Info => host::Level::Info,
        Level::Warn => host::Level::Warn,
        Level::Error => host::Level::Error,
    };
    host::emit(level, text);
}

/// Writes a line to the plugin's log.
///
/// ```
/// use relevo_plugin::{Level, log, warn};
/// log!(Level::Info, "{} rows", 3);
/// warn!("task {} has no state", 7);
/// ```
#[macro_export]
macro_rules! log {
    ($level:expr, $($text:tt)+) => { $crate::__emit($level, &::std::format!($($text)+)) };
}

/// Writes a line of level [`Trace`](crate::Level::Trace) to the plugin's log.
///
/// ```
/// relevo_plugin::trace!("task {}", 7);
/// ```
#[macro_export]
macro_rules! trace { ($($text:tt)+) => { $crate::log!($crate::Level::Trace, $($text)+) }; }

/// Writes a line of level [`Debug`](crate::Level::Debug) to the plugin's log.
///
/// ```
/// relevo_plugin::debug!("task {}", 7);
/// ```
#[macro_export]
macro_rules! debug { ($($text:tt)+) => { $crate::log!($crate::Level::Debug, $($text)+) }; }

/// Writes a line of level [`Info`](crate::Level::Info) to the plugin's log.
///
/// ```
/// relevo_plugin::info!("task {}", 7);
/// ```
#[macro_export]
macro_rules! info { ($($text:tt)+) => { $crate::log!($crate::Level::Info, $($text)+) }; }

/// Writes a line of level [`Warn`](crate::Level::Warn) to the plugin's log.
///
/// ```
/// relevo_plugin::warn!("task {}", 7);
/// ```
#[macro_export]
macro_rules! warn { ($($text:tt)+) => { $crate::log!($crate::Level::Warn, $($text)+) }; }

/// Writes a line of level [`Error`](crate::Level::Error) to the plugin's log.
///
/// ```
/// relevo_plugin::error!("task {}", 7);
/// ```
#[macro_export]
macro_rules! error { ($($text:tt)+) => { $crate::log!($crate::Level::Error, $($text)+) }; }
