//! A pipeline that is new is ready when the disk has what it made of the rows. Else a power failure could take its
//! beginning back after clients saw messages of it, and what they saw would only be rows at the next one.

use super::context::Context;
use super::failure::Stop;

impl Context {
    /// Waits until a power failure takes nothing of what is committed, unless the pipeline is to stop.
    pub(super) fn wait_durable(&self) -> Result<(), Stop> {
        let (mut durable, mut stopping) = (self.journal.watch_durable(), self.stopping.clone());
        let head = self.journal.head();
        self.handle.block_on(async {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => Err(Stop::Quiet),
                // It fails only when the journal is gone, which the next commit tells.
                _ = durable.wait_for(|durable| *durable >= head) => Ok(()),
            }
        })
    }
}
