//! The built-in pipeline: what is published goes to its channel, so an alert depends on no plugin.

/// Its name.
pub const PUBLICATIONS: &str = "publications";
