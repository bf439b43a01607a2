//! Numbers for the operator; the host puts the plugin's name on them.

use crate::backend::metrics as host;

/// Adds to a counter.
///
/// ```
/// relevo_plugin::metrics::add("tasks_assigned", 1);
/// ```
pub fn add(name: &str, by: u64) {
    host::add(name, by);
}

/// Sets a gauge.
///
/// ```
/// relevo_plugin::metrics::set("open_tasks", 12.0);
/// ```
pub fn set(name: &str, value: f64) {
    host::set(name, value);
}
