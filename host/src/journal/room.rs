//! Whether there is room: the mark that says there was none, and the probe that takes it away.
//!
//! One rule: the mark comes with the first write that finds no room, and goes when a probe has written as much as the
//! largest one that was refused, and a little more. Other writes never take it away: what is small finds room where
//! what is large doesn't, and the mark would come and go. So it goes too where nobody else writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};

use super::shared::Shared;
use super::writer::{Command, Work, Writer};
use super::{JournalError, embedded};

/// What a probe writes beyond what was refused, in bytes: a record touches a few pages of the indexes too.
const MARGIN: usize = 32 << 10;

/// The largest probe, in bytes: as much as goes into one transaction.
const LARGEST: usize = 4 << 20;

/// The pause before the first probe; it is doubled after each that failed, up to the last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// The row that a probe writes, and deletes.
const ROW: &str = "room";

#[derive(Default)]
pub(super) struct Room {
    refused: Mutex<Option<Refused>>,
    /// Why the mark came, until somebody asks: it may be gone by then.
    lately: Mutex<Option<String>>,
    wake: Notify,
}

struct Refused {
    why: String,
    /// Of the largest write since the mark came.
    bytes: usize,
}

impl Room {
    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why there was no room; None: there is.
    pub(super) fn why(&self) -> Option<String> {
        self.refused().as_ref().map(|refused| refused.why.clone())
    }

    /// Why there was none, if that came since this was last asked.
    pub(super) fn lately(&self) -> Option<String> {
        self.lately.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A write of so many bytes found no room.
    pub(super) fn refuse(&self, error: &JournalError, bytes: usize) {
        let mut refused = self.refused();
        let largest = refused.as_ref().map_or(0, |before| before.bytes);
        if refused.replace(Refused { why: error.to_string(), bytes: bytes.max(largest) }).is_none() {
            tracing::error!(%error, "the journal waits for room");
            *self.lately.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
            self.wake.notify_one();
        }
    }

    /// What the next probe must write; None: there is room.
    fn wanted(&self) -> Option<usize> {
        self.refused().as_ref().map(|refused| refused.bytes.saturating_add(MARGIN).min(LARGEST))
    }

    /// A probe went through. Keeps the mark where something larger was refused meanwhile.
    fn found(&self, probed: usize) {
        if self.wanted().is_some_and(|wanted| wanted <= probed) {
            *self.refused() = None;
            tracing::info!("the journal has room again");
        }
    }
}

/// Probes as long as there is no room, until `stop`.
pub(super) async fn run(shared: Arc<Shared>, commands: mpsc::WeakSender<Command>, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = probe(&shared, &commands) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Ends when the journal is closed.
async fn probe(shared: &Shared, commands: &mpsc::WeakSender<Command>) {
    loop {
        shared.room.wake.notified().await;
        let mut pause = PAUSE.0;
        while let Some(bytes) = shared.room.wanted() {
            tokio::time::sleep(pause).await;
            // It may find some to make.
            shared.wake_retention.notify_one();
            let Some(commands) = commands.upgrade() else { return };
            match embedded::ask(&commands, Work::Probe(bytes)).await {
                Ok(_) => shared.room.found(bytes),
                Err(JournalError::Closed) => return,
                Err(error) => tracing::debug!(%error, bytes, "a probe found no room"),
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}

impl Writer {
    /// Remembers that there was no room, and has retention look whether it can make some.
    pub(super) fn refused(&self, error: &JournalError, bytes: usize) {
        if matches!(error, JournalError::NoRoom { .. }) {
            self.shared.room.refuse(error, bytes);
            self.shared.wake_retention.notify_one();
        }
    }

    /// Writes so many bytes and deletes them again, in transactions of its own: whoever writes beside it must not
    /// fail with it.
    pub(super) async fn probe(&mut self, bytes: usize) -> Result<(), JournalError> {
        self.shared.check()?;
        let write = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, printf('%.*c', ?, 'x'))";
        let write = sqlx::query(write).bind(ROW).bind(i64::try_from(bytes).unwrap_or(i64::MAX));
        write.execute(&mut self.conn).await.map_err(|e| self.shared.storage(e))?;
        let delete = sqlx::query("DELETE FROM meta WHERE name = ?").bind(ROW);
        delete.execute(&mut self.conn).await.map_err(|e| self.shared.storage(e))?;
        Ok(())
    }
}
