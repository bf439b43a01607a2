//! Capture from SQLite: triggers write each change into a table, and a reader of our own delivers it
//! from there to the journal, in order, each once, whoever crashes when.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::config::SourceSettings;
use crate::event::Micros;
use crate::journal::Journal;

use super::requests::Requests;
use super::{SourceHealth, SourceState};

mod change;
mod connect;
mod detach;
mod error;
mod form;
mod index;
pub mod inspect;
mod install;
mod others;
mod place;
mod prune;
mod reader;
mod schema;
mod serve;
mod snapshot;
mod stream;
mod tables;
mod triggers;
mod value;
mod wake;

#[cfg(test)]
mod tests;

pub use detach::{Detached, detach};
pub use error::{CaptureError, Remedy};
#[cfg(test)]
pub(crate) use wake::Wake;

use stream::Session;

/// The most events in one append.
const CHUNK_EVENTS: usize = 1_000;

/// The most bytes of events in one append.
const CHUNK_BYTES: usize = 512 << 10;

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
    fn say(&self, state: SourceState) {
        self.health.send_if_modified(|health| {
            let news = health.state != state;
            health.state = state;
            news
        });
    }

    /// Everything up to a moment is delivered.
    fn at(&self, watermark: Micros, lag: Duration) {
        self.health.send_modify(|health| {
            health.watermark = watermark;
            health.lag = lag;
            health.behind = 0;
        });
    }

    fn lags(&self, lag: Duration, behind: u64) {
        self.health.send_modify(|health| {
            health.lag = lag;
            health.behind = behind;
        });
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
    let mut session = Session::open(source).await?;
    let ended = session.run(shutdown).await;
    session.close().await;
    ended
}
