//! From committed messages to sockets: the fan-out. `server` starts it, `session` enters it.
//!
//! Each [`shard`] is an OS thread that owns its sessions and who of them has which channel, so
//! nothing is locked to find out whom a message goes to. It follows the journal in the order of
//! numbers, and writes to the sockets itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::config::{ChannelSettings, SessionSettings};
use crate::event::Micros;
use crate::journal::{Journal, JournalError};

mod filter;
mod gaps;
mod link;
mod members;
mod membership;
mod outbox;
mod sent;
mod shard;
#[cfg(test)]
pub(crate) mod test;
mod throttle;

pub use filter::{Narrowing, TooManyNames};
pub(crate) use gaps::Gaps;
pub use link::{Gone, Link};
pub use membership::{Attached, Entered, Membership, Subscribed};
pub use sent::Sent;

use membership::Mailbox;

/// The fan-out's handle; clones share it.
#[derive(Clone)]
pub struct FanOut {
    shared: Arc<Shared>,
}

struct Shared {
    shards: Vec<Mailbox>,
    /// Which shard the next session enters.
    next: AtomicUsize,
    /// Connections that are open, before and after they entered a shard.
    connections: watch::Sender<usize>,
    stopping: watch::Sender<bool>,
    sent: Arc<Sent>,
}

/// A place among the connections; free again when dropped.
pub struct Place {
    fan_out: FanOut,
}

impl FanOut {
    /// Starts `fan_out_threads` shards, which follow the journal from its head on.
    ///
    /// # Errors
    /// If the journal's controls can't be read or a thread can't be started.
    pub async fn start(
        journal: &Journal,
        settings: &SessionSettings,
        channels: &[ChannelSettings],
    ) -> Result<Self, JournalError> {
        let controls = journal.gaps().await?.into_iter();
        let known: Vec<_> = controls.filter_map(|(number, control)| Some((number, gaps::lost(&control)?))).collect();
        let sent = Arc::new(Sent::default());
        let shards = (0..settings.fan_out_threads.max(1))
            .map(|index| {
                let gaps = Gaps::new(known.clone());
                shard::start(index, journal.clone(), settings, channels, gaps, sent.clone())
            })
            .collect::<Result<_, _>>()?;
        let (connections, stopping) = (watch::Sender::new(0), watch::Sender::new(false));
        Ok(Self { shared: Arc::new(Shared { shards, next: AtomicUsize::new(0), connections, stopping, sent }) })
    }

    /// How much was sent.
    pub fn sent(&self) -> &Sent {
        &self.shared.sent
    }

    /// Connections that are open.
    pub fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    /// A place for one more connection, if fewer than `max` are open.
    pub fn admit(&self, max: usize) -> Option<Place> {
        let admitted = self.shared.connections.send_if_modified(|open| {
            let admitted = *open < max;
            *open += usize::from(admitted);
            admitted
        });
        admitted.then(|| Place { fan_out: self.clone() })
    }

    /// Turns true when the fan-out stops: a client that is still at its handshake is turned away.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.shared.stopping.subscribe()
    }

    /// Brings a session into a shard: behind, without channels. `expires`: when its token does.
    ///
    /// # Errors
    /// If the fan-out has stopped.
    pub async fn enter(&self, link: Arc<Link>, expires: Micros) -> Result<Entered, Gone> {
        let index = self.shared.next.fetch_add(1, Ordering::Relaxed) % self.shared.shards.len();
        Membership::enter(&self.shared.shards[index], link, expires).await
    }

    /// Closes every session with the code `shutdown`, and those that still come; returns when all have
    /// left, or after `within`. Then the shards stop.
    pub async fn stop(&self, within: Duration) {
        self.shared.stopping.send_replace(true);
        for shard in &self.shared.shards {
            shard.close_all();
        }
        let mut connections = self.shared.connections.subscribe();
        let all_left = connections.wait_for(|open| *open == 0);
        if tokio::time::timeout(within, all_left).await.is_err() {
            tracing::warn!(connections = self.connections(), "clients did not leave in time");
        }
        for shard in &self.shared.shards {
            shard.end();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.fan_out.shared.connections.send_modify(|open| *open -= 1);
    }
}
