//! One source, of whatever kind: what all its sessions share, and the loop that begins a session anew
//! when that helps.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::config::SourceSettings;
use crate::event::{Micros, Name};
use crate::journal::{Control, Journal};

use super::error::{CaptureError, Remedy};
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
}

impl Source {
    pub(crate) fn say(&self, state: SourceState) {
        self.health.send_if_modified(|health| {
            let news = health.state != state;
            health.state = state;
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

    /// What the next events' time is at least: what the clock has said was delivered isn't contradicted.
    pub(crate) async fn least_time(&self) -> Result<Micros, CaptureError> {
        Ok(Micros(self.journal.source(ticks::SOURCE).await?.map_or(0, |clock| clock.position.commit)))
    }
}

/// Delivers a source's changes until told to stop, opening its database anew when that helps.
pub(crate) async fn run(source: Source, mut shutdown: watch::Receiver<bool>) {
    const FIRST: Duration = Duration::from_millis(50);
    let mut wait = FIRST;
    while !*shutdown.borrow() {
        let opened = std::time::Instant::now();
        let Err(error) = session(&source, &mut shutdown).await else { return };
        let reason = Arc::<str>::from(error.to_string());
        if opened.elapsed() > Duration::from_secs(30) {
            wait = FIRST;
        }
        match error.remedy() {
            Remedy::Reopen => {
                tracing::warn!(source = %source.settings.name, "{reason}");
                source.say(SourceState::Starting);
                wait = FIRST;
            }
            Remedy::Retry { at_most } => {
                let failed = SourceState::Failed { reason: Arc::clone(&reason) };
                if source.health.borrow().state != failed {
                    tracing::error!(source = %source.settings.name, "{reason}");
                }
                source.say(failed);
                wait = (wait * 2).min(at_most);
            }
            Remedy::Stop => {
                tracing::error!(source = %source.settings.name, "{reason}");
                source.say(SourceState::Failed { reason });
                return;
            }
        }
        let _ = tokio::time::timeout(wait, shutdown.wait_for(|stop| *stop)).await;
    }
}

async fn session(source: &Source, shutdown: &mut watch::Receiver<bool>) -> Result<(), CaptureError> {
    if source.settings.is_postgres() {
        postgres::session(source, shutdown).await
    } else {
        sqlite::session(source, shutdown).await
    }
}
