//! Counts the dead letters that come with nothing good between them: a plugin that can handle nothing
//! must not turn every event into one. Beyond the limit the pipeline stands still, and each try after
//! that may cost one more event.

use std::sync::{Mutex, PoisonError};

use super::failure::Stop;
use crate::event::Name;

/// See the module. It outlives the lives of its pipeline.
pub(super) struct Breaker {
    /// How many in a row are too many.
    limit: u32,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_a_row: u32,
    /// Who is to blame for the newest; taken when it is told.
    last: Option<Name>,
}

impl Breaker {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit: limit.max(1), state: Mutex::default() }
    }

    /// An event was handled.
    pub(super) fn good(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// An event became a dead letter.
    pub(super) fn bad(&self, plugin: &Name) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.in_a_row = state.in_a_row.saturating_add(1);
        state.last = Some(plugin.clone());
    }

    /// Whether the pipeline is in quarantine.
    pub(super) fn is_open(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).in_a_row >= self.limit
    }

    /// # Errors
    /// There was one more, and they are too many.
    pub(super) fn check(&self) -> Result<(), Stop> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.in_a_row < self.limit {
            return Ok(());
        }
        let Some(plugin) = state.last.take() else { return Ok(()) };
        let reason = format!(
            "quarantined: {} events in a row became dead letters, the last because of {plugin} (relevo plugin dead-letters \
             shows why); deploy a version that can handle them, or roll back",
            state.in_a_row
        );
        Err(Stop::Broken { plugin: Some(plugin), reason })
    }
}
