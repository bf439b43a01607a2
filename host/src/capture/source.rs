//! One source, of whatever kind: what all its sessions share, and the loop that begins a session anew
//! when that helps.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::config::SourceSettings;
use crate::event::{Micros, Name};
use crate::journal::{Control, Journal};

use super::error::{CaptureError, Remedy};
use super::forget;
use super::handle::{Wish, Wishes};
use super::requests::Requests;
use super::{SourceHealth, SourceState, postgres, sqlite, ticks};

/// One source, over all its sessions.
pub(crate) struct Source {
    pub settings: SourceSettings,
    /// Where a relative path starts.
    pub data: PathBuf,
    pub journal: Journal,
    /// What a record may hold.
    pub record_bytes: u64,
    pub bell: Arc<Notify>,
    pub requests: Requests,
    pub health: watch::Sender<SourceHealth>,
    /// How many connections in a row fell silent.
    pub silent: AtomicU32,
    /// What could be better, as it was said last.
    pub advised: Mutex<Vec<String>>,
}

impl Source {
    pub(crate) fn say(&self, state: SourceState) {
        self.health.send_if_modified(|health| {
            let news = health.state != state;
            if let (true, SourceState::Failed { reason } | SourceState::Incomplete { reason }) = (news, &state) {
                health.last_error = Some((Micros::now(), Arc::clone(reason)));
            }
            health.state = state;
            news
        });
    }

    /// Logs what could be better, and wasn't said before: each session finds it again.
    pub(crate) fn advise(&self, advice: Vec<String>) {
        let mut advised = self.advised.lock().unwrap_or_else(PoisonError::into_inner);
        for new in advice.iter().filter(|advice| !advised.contains(advice)) {
            tracing::warn!(source = %self.settings.name, "{new}");
        }
        *advised = advice;
    }

    /// Says which tables are watched.
    pub(crate) fn watches(&self, tables: impl Iterator<Item = Name>) {
        let tables: Arc<[Name]> = tables.collect();
        self.health.send_if_modified(|health| {
            let news = health.tables != tables;
            health.tables = tables;
            news
        });
    }

    /// Everything up to a moment is delivered.
    pub(crate) fn at(&self, watermark: Micros, lag: Duration) {
        self.health.send_modify(|health| {
            health.watermark = watermark;
            health.lag = lag;
            health.behind = 0;
        });
    }

    pub(crate) fn lags(&self, lag: Duration, behind: u64) {
        self.health.send_modify(|health| {
            health.lag = lag;
            health.behind = behind;
        });
    }

    /// Writes a gap into the journal: the source's pipelines are rebuilt, and clients are told.
    pub(crate) async fn tell_gap(&self, reason: &str) -> Result<(), CaptureError> {
        let name = &self.settings.name;
        tracing::error!(source = %name, reason, "gap: the source's pipelines are rebuilt");
        self.journal.control(Control::Gap { source: Name::clone(name), reason: reason.into() }).await?;
        Ok(())
    }

    /// The same of some tables alone: only the pipelines that keep rows of them are rebuilt.
    pub(crate) async fn tell_table_gap(&self, tables: &[&str], reason: &str) -> Result<(), CaptureError> {
        let name = &self.settings.name;
        tracing::error!(source = %name, reason, "gap: the pipelines that keep rows of these tables are rebuilt");
        let tables = tables.iter().map(|table| Name::from(*table)).collect();
        self.journal.control(Control::TableGap { source: Name::clone(name), tables, reason: reason.into() }).await?;
        Ok(())
    }

    /// The same where the source is no longer what it was: its next session begins anew, and does not tell
    /// of it again, however often it has to try.
    pub(crate) async fn lose_place(&self, reason: &str) -> Result<(), CaptureError> {
        Ok(forget::gap(&self.journal, &self.settings.name, reason).await?)
    }

    /// The same where what the database keeps for us can't be read: the next session doesn't take it.
    pub(crate) async fn lose_stream(&self, reason: &str) -> Result<(), CaptureError> {
        Ok(forget::unreadable(&self.journal, &self.settings.name, reason).await?)
    }

    async fn grant(&self, wish: Wish) {
        let done = forget::reset(&self.journal, &self.settings.name, &wish.by).await;
        // Who wished it may not wait any more.
        let _ = wish.done.send(done);
    }

    /// What the next events' time is at least: what the clock has said was delivered isn't contradicted.
    pub(crate) async fn least_time(&self) -> Result<Micros, CaptureError> {
        Ok(Micros(self.journal.source(ticks::SOURCE).await?.map_or(0, |clock| clock.position.commit)))
    }
}

/// Before the next try after an error, doubled for each one in a row.
const FIRST: Duration = Duration::from_millis(50);

fn longer(wait: Duration, at_most: Duration) -> Duration {
    (wait * 2).min(at_most)
}

/// Delivers a source's changes until told to stop, opening its database anew when that helps.
pub(crate) async fn run(source: Source, mut wishes: Wishes, mut shutdown: watch::Receiver<bool>) {
    let mut wait = FIRST;
    while !*shutdown.borrow() {
        let opened = std::time::Instant::now();
        let ended = tokio::select! {
            biased;
            Some(wish) = wishes.recv() => {
                // The session is over: nothing more is appended for it.
                source.grant(wish).await;
                source.say(SourceState::Starting);
                wait = FIRST;
                continue;
            }
            ended = session(&source, &mut shutdown) => ended,
        };
        let Err(error) = ended else { return };
        let reason = Arc::<str>::from(error.to_string());
        if opened.elapsed() > Duration::from_secs(30) {
            wait = FIRST;
        }
        if let CaptureError::Silent { .. } = error {
            source.silent.fetch_add(1, Ordering::Relaxed);
        }
        let pause = match error.remedy() {
            Remedy::Reopen => {
                tracing::warn!(source = %source.settings.name, "{reason}");
                source.say(SourceState::Starting);
                wait = FIRST;
                Some(wait)
            }
            Remedy::Retry { at_most } => {
                let failed = SourceState::Failed { reason: Arc::clone(&reason) };
                if source.health.borrow().state != failed {
                    // A line of the log each.
                    for reason in reason.lines() {
                        tracing::error!(source = %source.settings.name, "{reason}");
                    }
                }
                source.say(failed);
                wait = longer(wait, at_most);
                Some(wait)
            }
            Remedy::Stop => {
                tracing::error!(source = %source.settings.name, "{reason}");
                source.say(SourceState::Failed { reason });
                None
            }
        };
        let paused = async {
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        let wish = tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => None,
            Some(wish) = wishes.recv() => Some(wish),
            () = paused => None,
        };
        if let Some(wish) = wish {
            source.grant(wish).await;
            wait = FIRST;
        }
    }
}

async fn session(source: &Source, shutdown: &mut watch::Receiver<bool>) -> Result<(), CaptureError> {
    if source.settings.is_postgres() {
        postgres::session(source, shutdown).await
    } else {
        sqlite::session(source, shutdown).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let pauses = std::iter::successors(Some(FIRST), |wait| Some(longer(*wait, Duration::from_secs(1))));
        let pauses: Vec<u128> = pauses.take(7).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
    }
}
