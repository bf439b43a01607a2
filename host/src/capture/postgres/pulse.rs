//! Heartbeats, and a look at the slot now and then, on a connection of their own beside the stream.
//!
//! A heartbeat is a transaction with nothing but a message. It comes back over the stream: so an idle
//! source proves that nothing is outstanding, moves its slot, and shows that the connection lives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tokio::sync::{Notify, watch};

use super::super::error::CaptureError;
use super::connect::Address;
use super::slot;

/// Between two looks at the slot.
const LOOK: Duration = Duration::from_secs(5);

/// Before another try after an error.
const AGAIN: Duration = Duration::from_secs(1);

/// The message's prefix.
const PREFIX: &str = "relevo";

/// Beats until it is dropped.
pub(crate) struct Pulse {
    pub address: Address,
    pub slot: String,
    pub every: Duration,
    /// Asks for a heartbeat at once.
    pub now: Arc<Notify>,
    /// What is wrong with the slot or with the heartbeats.
    pub danger: watch::Sender<Option<String>>,
    /// How many heartbeats were written since the stream showed a sign of life.
    pub unanswered: watch::Sender<u32>,
}

impl Pulse {
    pub(crate) async fn run(self) {
        let mut db = None;
        loop {
            if let Err(error) = self.beat(&mut db).await {
                db = None;
                let danger = format!("can't write heartbeats: {error}");
                self.danger.send_if_modified(|known| known.replace(danger.clone()).as_ref() != Some(&danger));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    async fn beat(&self, db: &mut Option<PgConnection>) -> Result<(), CaptureError> {
        let db = match db {
            Some(db) => db,
            None => db.insert(self.address.connect().await?),
        };
        // Flushed here, so that what others committed without is sent too; but no standby is waited for.
        sqlx::query("SET synchronous_commit = local").execute(&mut *db).await?;
        let mut looked: Option<Instant> = None;
        loop {
            if looked.is_none_or(|at| at.elapsed() >= LOOK) {
                let danger = slot::danger(db, &self.slot).await?;
                self.danger.send_if_modified(|known| {
                    let news = *known != danger;
                    *known = danger;
                    news
                });
                looked = Some(Instant::now());
            }
            sqlx::query("SELECT pg_logical_emit_message(true, $1, $2)")
                .bind(PREFIX)
                .bind(&self.slot)
                .execute(&mut *db)
                .await?;
            self.unanswered.send_modify(|beats| *beats += 1);
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = self.now.notified() => {}
            }
        }
    }
}
