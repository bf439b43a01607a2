//! What a source may be acknowledged: only what the journal keeps durably.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::event::Number;

/// What was appended and isn't durable yet: the append's last number, and the place in
/// the source (a change row, an LSN) that it went up to.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<VecDeque<(Number, u64)>>);

impl Waiting {
    pub(crate) fn push(&self, number: Number, place: u64) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // When the disk stalls, acknowledge later, but don't keep a place for each append.
        if waiting.len() >= 1024 {
            waiting.pop_back();
        }
        waiting.push_back((number, place));
    }

    /// The last place that is durable with this number.
    pub(crate) fn take(&self, durable: Number) -> Option<u64> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = None;
        while let Some((_, place)) = waiting.pop_front_if(|(number, _)| *number <= durable) {
            last = Some(place);
        }
        last
    }
}
