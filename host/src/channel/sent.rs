//! How much the fan-out has sent: written by its shards, read by whoever wants statistics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Micros;

#[derive(Default)]
pub struct Sent {
    messages: AtomicU64,
    deliveries: AtomicU64,
    last_at: AtomicU64,
}

impl Sent {
    /// A message went to so many sessions of a shard.
    pub(super) fn count(&self, deliveries: u64) {
        if deliveries > 0 {
            self.messages.fetch_add(1, Ordering::Relaxed);
            self.deliveries.fetch_add(deliveries, Ordering::Relaxed);
            self.last_at.store(Micros::now().0, Ordering::Relaxed);
        }
    }

    /// Messages that went to anybody, counted once for each shard.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Messages times the sessions that they went to. What a session fetches itself, while it is
    /// behind, is not counted.
    pub fn deliveries(&self) -> u64 {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// When a message last went to anybody.
    pub fn last_at(&self) -> Option<Micros> {
        Some(Micros(self.last_at.load(Ordering::Relaxed))).filter(|at| *at != Micros::default())
    }
}
