//! Heartbeats, and a look at the slot now and then, on a connection of their own beside the stream.
//!
//! A heartbeat is a transaction with nothing but a message. It comes back over the stream: so an idle
//! source proves that nothing is outstanding, moves its slot, and shows that the connection lives.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::PgConnection;
use tokio::sync::{Notify, watch};

use super::super::SourceHealth;
use super::super::error::CaptureError;
use super::connect::Address;
use super::guard;
use super::silence::{Silence, within};

/// Before another try after an error.
const AGAIN: Duration = Duration::from_secs(1);

/// The message's prefix.
const PREFIX: &str = "relevo";

/// Beats until it is dropped.
pub(crate) struct Pulse {
    pub address: Address,
    pub slot: String,
    pub every: Duration,
    /// Between two looks at the slot.
    pub guard: Duration,
    /// How long an answer may take: over a silent network none comes, and nothing else would end the wait.
    pub patience: Duration,
    /// Asks for a heartbeat at once.
    pub now: Arc<Notify>,
    /// What is wrong with the heartbeats.
    pub danger: watch::Sender<Option<String>>,
    pub silence: Silence,
    /// Gets how the slot is.
    pub health: watch::Sender<SourceHealth>,
}

impl Pulse {
    pub(crate) async fn run(self) {
        let mut db = None;
        loop {
            if let Err(error) = self.beat(&mut db).await {
                db = None;
                self.say(Some(format!("can't write heartbeats: {error}")));
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    fn say(&self, danger: Option<String>) {
        self.danger.send_if_modified(|known| {
            let news = *known != danger;
            *known = danger;
            news
        });
    }

    async fn beat(&self, db: &mut Option<PgConnection>) -> Result<(), CaptureError> {
        // Before anything that may wait.
        self.silence.asked();
        let db = match db {
            Some(db) => db,
            None => db.insert(self.address.connect().await?),
        };
        // Flushed here, so that what others committed without is sent too; but no standby is waited for.
        let local = sqlx::query("SET synchronous_commit = local").execute(&mut *db);
        within(self.patience, "a heartbeat", local).await?;
        let mut looked: Option<Instant> = None;
        loop {
            if looked.is_none_or(|at| at.elapsed() >= self.guard) {
                let slot = within(self.patience, "the look at the slot", guard::look(db, &self.slot)).await?;
                self.say(slot.is_none().then(|| format!("replication slot {} was dropped", self.slot)));
                self.health.send_if_modified(|health| {
                    let news = health.slot != slot;
                    health.slot = slot;
                    news
                });
                looked = Some(Instant::now());
            }
            self.silence.asked();
            let asked = tokio::time::Instant::now();
            let message = "SELECT (pg_logical_emit_message(true, $1, $2) - '0/0'::pg_lsn)::int8";
            let message = sqlx::query_scalar::<_, i64>(message).bind(PREFIX).bind(&self.slot);
            let lsn = within(self.patience, "a heartbeat", message.fetch_one(&mut *db)).await?;
            self.silence.beat(lsn.cast_unsigned(), asked);
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = self.now.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use relevo_tests::postgres::{DATABASE, Postgres};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_slot_that_is_dropped_over_there_is_told_until_it_is_back() {
        let database = Postgres::start();
        let make = "select pg_create_logical_replication_slot('relevo_s', 'pgoutput')";
        database.sql(make);
        let (danger, mut told) = watch::channel(None);
        let (health, mut shown) = watch::channel(SourceHealth::starting(&"s".into()));
        let pulse = Pulse {
            address: Address::parse(&database.url(DATABASE)).unwrap(),
            slot: "relevo_s".into(),
            every: Duration::from_millis(20),
            guard: Duration::ZERO,
            patience: Duration::from_secs(30),
            now: Arc::default(),
            danger,
            silence: Silence::new(),
            health,
        };
        let beats = tokio::spawn(pulse.run());
        let waits = async {
            shown.wait_for(|health| health.slot.is_some()).await.unwrap();
            assert_eq!(*told.borrow_and_update(), None);
            database.sql("select pg_drop_replication_slot('relevo_s')");
            let dropped = told.wait_for(Option::is_some).await.unwrap().clone();
            assert_eq!(dropped.as_deref(), Some("replication slot relevo_s was dropped"));
            shown.wait_for(|health| health.slot.is_none()).await.unwrap();
            database.sql(make);
            told.wait_for(Option::is_none).await.unwrap();
            shown.wait_for(|health| health.slot.is_some()).await.unwrap();
        };
        tokio::time::timeout(Duration::from_secs(30), waits).await.expect("it looks at the slot");
        beats.abort();
    }
}
