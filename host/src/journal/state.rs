//! What the journal knows of a pipeline: where it stands, its state, and the states that were kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Micros, Name, Number};

/// Where a pipeline stands, and what it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipelineState {
    pub cursor: Number,
    /// By owner, then key.
    pub state: BTreeMap<Name, BTreeMap<Box<str>, Arc<[u8]>>>,
}

impl PipelineState {
    pub(super) fn put(&mut self, owner: &str, key: &str, value: &[u8]) {
        if !self.state.contains_key(owner) {
            self.state.insert(owner.into(), BTreeMap::new());
        }
        if let Some(entries) = self.state.get_mut(owner) {
            entries.insert(key.into(), value.into());
        }
    }

    pub(super) fn take(&mut self, owner: &str, key: &str) {
        if let Some(entries) = self.state.get_mut(owner) {
            entries.remove(key);
            if entries.is_empty() {
                self.state.remove(owner);
            }
        }
    }
}

/// A pipeline's state that was kept to come back to it; [`super::Journal::checkpoint`] has the state itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointInfo {
    /// Of the control record that asked for it.
    pub number: Number,
    /// The state is what came of all events up to here, and of none after.
    pub cursor: Number,
    pub at: Micros,
    pub reason: Box<str>,
    /// What owners, keys and values take together.
    pub bytes: u64,
}
