//! When the disk has it: syncs the WAL, and moves the durable number after each sync. Under durability
//! `power` it also holds back what was written until it is synced.
//!
//! SQLite itself runs with `synchronous=NORMAL`: it syncs around checkpoints only. What a commit wrote
//! is durable once the WAL is synced, so one sync serves all transactions before it, and the writer goes
//! on meanwhile.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::lock::Lock;
use super::shared::{Batch, Shared};
use crate::failpoint;

/// Where the writer hands over what it wrote.
pub(super) enum Publisher {
    /// Readers see it at once.
    Direct,
    /// Readers see it, and whoever waits is answered, after a sync.
    Synced { batches: mpsc::UnboundedSender<Batch>, task: JoinHandle<()> },
}

impl Publisher {
    pub(super) fn synced(disk: Disk) -> Self {
        // Bounded by those who wait for an answer.
        let (batches, waiting) = mpsc::unbounded_channel();
        let task = tokio::spawn(publish_after_sync(disk, waiting));
        Self::Synced { batches, task }
    }

    pub(super) fn publish(&self, shared: &Shared, batch: Batch) {
        match self {
            Self::Direct => shared.publish(batch),
            // If the task is gone the replies are dropped with the batch, and those who wait see it.
            Self::Synced { batches, .. } => drop(batches.send(batch)),
        }
    }

    /// Returns when all that was handed over is published.
    pub(super) async fn finish(self) {
        if let Self::Synced { batches, task } = self {
            drop(batches);
            let _ = task.await;
        }
    }
}

/// What is synced.
pub(super) struct Disk {
    pub(super) shared: Arc<Shared>,
    pub(super) wal: Arc<File>,
    pub(super) lock: Arc<Lock>,
}

impl Disk {
    /// Syncs the WAL. False: it failed.
    async fn sync(&self) -> bool {
        let Err(error) = self.try_sync().await else { return true };
        failed(&self.shared, &self.lock, &error);
        false
    }

    async fn try_sync(&self) -> std::io::Result<()> {
        let wal = self.wal.clone();
        let written = failpoint::written(&self.shared.path);
        failpoint::pass(failpoint::SYNC)?;
        tokio::task::spawn_blocking(move || wal.sync_data()).await.map_err(std::io::Error::other)??;
        written.is_synced();
        Ok(())
    }
}

/// A sync failed, and the journal with it, for good, also where only room was wanting (as some file systems say no
/// earlier). After a failed sync Linux takes the pages for written: the next sync would succeed without them, and what
/// was appended behind the hole would be lost with the power though it was promised. Nor does SQLite move pages again
/// that a checkpoint has moved. Only who reads the WAL anew knows: SQLite does at the next start, checksum by checksum,
/// and moves what is whole into the file. So nothing is written or moved from here on, and the server ends.
pub(super) fn failed(shared: &Shared, lock: &Lock, why: &std::io::Error) {
    if let Err(error) = lock.fail() {
        tracing::error!(%error, "the lock file can't be written");
    }
    shared.fail(why);
}

async fn publish_after_sync(disk: Disk, mut waiting: mpsc::UnboundedReceiver<Batch>) {
    let mut batches = Vec::new();
    while waiting.recv_many(&mut batches, usize::MAX >> 8).await > 0 {
        if !disk.sync().await {
            return;
        }
        let shared = &disk.shared;
        batches.drain(..).for_each(|batch| shared.publish(batch));
        shared.durable.send_replace(shared.head());
    }
}

/// Durability `process`: syncs what is new every so often.
pub(super) async fn every(disk: Disk, pause: Duration, mut stop: watch::Receiver<bool>) {
    let mut head = disk.shared.head.subscribe();
    loop {
        tokio::select! {
            moved = head.changed() => if moved.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let through = *head.borrow_and_update();
        if !disk.sync().await {
            return;
        }
        disk.shared.durable.send_replace(through);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
