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
    pub(super) fn synced(shared: &Arc<Shared>, wal: Arc<File>) -> Self {
        // Bounded by those who wait for an answer.
        let (batches, waiting) = mpsc::unbounded_channel();
        let task = tokio::spawn(publish_after_sync(shared.clone(), wal, waiting));
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

async fn sync(shared: &Shared, wal: &Arc<File>) -> std::io::Result<()> {
    let wal = wal.clone();
    let written = failpoint::written(&shared.path);
    tokio::task::spawn_blocking(move || wal.sync_data()).await.map_err(std::io::Error::other)??;
    written.is_synced();
    Ok(())
}

async fn publish_after_sync(shared: Arc<Shared>, wal: Arc<File>, mut waiting: mpsc::UnboundedReceiver<Batch>) {
    let mut batches = Vec::new();
    while waiting.recv_many(&mut batches, usize::MAX >> 8).await > 0 {
        if let Err(error) = sync(&shared, &wal).await {
            shared.fail(&error);
            return;
        }
        batches.drain(..).for_each(|batch| shared.publish(batch));
        shared.durable.send_replace(shared.head());
    }
}

/// Durability `process`: syncs what is new every so often.
pub(super) async fn every(shared: Arc<Shared>, wal: Arc<File>, pause: Duration, mut stop: watch::Receiver<bool>) {
    let mut head = shared.head.subscribe();
    loop {
        tokio::select! {
            moved = head.changed() => if moved.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let through = *head.borrow_and_update();
        if let Err(error) = sync(&shared, &wal).await {
            shared.fail(&error);
            return;
        }
        shared.durable.send_replace(through);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
