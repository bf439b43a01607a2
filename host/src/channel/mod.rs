//! From committed messages to sockets: the fan-out. `server` starts it, `session` enters it.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{ChannelSettings, SessionSettings};
use crate::journal::{Journal, JournalError};

/// The fan-out's handle; clones share it.
#[derive(Clone)]
pub struct FanOut {
    _inner: Arc<()>,
}

#[expect(clippy::unimplemented, unused_variables, clippy::unused_async, reason = "signatures first; bodies follow")]
impl FanOut {
    /// Starts `fan_out_threads` shards, which follow the journal from its head on. Call it inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// If a thread can't be started.
    pub fn start(
        journal: &Journal,
        settings: &SessionSettings,
        channels: &[ChannelSettings],
    ) -> Result<Self, JournalError> {
        unimplemented!()
    }

    /// Sessions that are connected.
    pub fn connections(&self) -> usize {
        unimplemented!()
    }

    /// Closes every session with the code `shutdown`, and new ones too; returns when all have left or
    /// after `within`. Then the shards stop.
    pub async fn stop(&self, within: Duration) {
        unimplemented!()
    }
}
