//! What an operator's wish can't be done for, in words that say what to do.

use super::library::Unfit;
use crate::config::nearest;
use crate::event::{Name, Number};
use crate::journal::JournalError;
use crate::store::StoreError;

/// What a wish can't be done for.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// Brought to a server that has no pipeline for it.
    #[error("{0} can't be used: {1}")]
    NoPipeline(Name, String),
    #[error("there is no plugin {plugin:?}{}", others(.plugin, .known))]
    UnknownPlugin { plugin: String, known: Vec<String> },
    #[error("there is no pipeline {0:?}; there are: {1}")]
    UnknownPipeline(String, String),
    #[error("there is no version {wanted} of {plugin}; there are: {known}")]
    UnknownVersion { plugin: Name, wanted: String, known: String },
    #[error(
        "there is no earlier version of {0} to go back to; `relevo plugin versions {0}` shows those that are kept: name one"
    )]
    NoFormer(Name),
    #[error("there is no dead letter {0}")]
    UnknownLetter(Number),
    #[error("{plugin} can't be used: {reason}")]
    Refused {
        plugin: Name,
        reason: String,
        /// The settings are in its way: with others it may be used as it is.
        of_settings: bool,
    },
    #[error("{0} versions run in live trials already; end one, or raise plugins.shadows")]
    TooManyShadows(usize),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("the server is stopping")]
    Stopping,
}

/// The plugin that was probably meant, and all that there are.
fn others(unknown: &str, known: &[String]) -> String {
    let meant = nearest(unknown, known).map_or_else(String::new, |name| format!(" (did you mean {name}?)"));
    let all =
        if known.is_empty() { "no [[pipeline]] has any".into() } else { format!("there are: {}", known.join(", ")) };
    format!("{meant}; {all}")
}

impl DeployError {
    pub(super) fn refused(plugin: &Name, reason: String) -> Self {
        Self::Refused { plugin: plugin.clone(), reason, of_settings: false }
    }

    pub(super) fn unfit(plugin: &Name, unfit: Unfit) -> Self {
        Self::Refused { plugin: plugin.clone(), reason: unfit.reason, of_settings: unfit.of_settings }
    }
}
