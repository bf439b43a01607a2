//! Tells those who operate the server what happens to it: a pipeline that stands still, a source that lags,
//! a dead letter, a journal that fills. The server starts [`run`] behind the pipelines.
//!
//! Notices go the way of every publication, so they reach clients, are kept, and are resumed as those are.
//! docs/notices.md lists them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::capture::{Ingest, IngestError, SourceHealth};
use crate::config::{JournalSettings, NoticeSettings};
use crate::event::Number;
use crate::journal::{Journal, JournalError};
use crate::pipeline::{PUBLICATIONS, Pipelines};

mod conditions;
mod happenings;
mod notice;
mod told;

use conditions::Conditions;
use happenings::Happenings;
use notice::Notice;
use told::Told;

/// Who the publisher of notices is: `by` of their events.
const BY: &str = "relevo";

/// How often it looks. What comes and goes within is not told; what the journal holds always is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Asks how the sources are.
pub type AskSources = Arc<dyn Fn() -> Vec<SourceHealth> + Send + Sync>;

/// What it watches, and where it tells.
pub struct Watched {
    pub settings: NoticeSettings,
    pub journal_settings: JournalSettings,
    pub journal: Journal,
    pub ingest: Ingest,
    pub pipelines: Arc<Pipelines>,
    pub sources: AskSources,
}

/// Watches and tells until `shutdown` becomes true.
pub async fn run(watched: Watched, mut shutdown: watch::Receiver<bool>) {
    tokio::select! {
        _ = shutdown.wait_for(|stop| *stop) => {}
        () = watched.tell_all() => {}
    }
}

impl Watched {
    /// Ends when the journal is closed.
    async fn tell_all(&self) {
        let Some(told) = self.remember().await else { return };
        let again_after = self.settings.again_after;
        let mut conditions = Conditions::new(again_after, &told);
        let mut happenings = Happenings::new(again_after, told, self.journal.kept_after());
        // Conditions come and go: their keys only keep a second attempt at one notice from telling it twice.
        let (life, mut count) = (Uuid::new_v4().simple().to_string(), 0_u64);
        let mut failed = false;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            match happenings.read(&self.journal).await {
                Ok(()) => {}
                Err(JournalError::Closed) => return,
                Err(error) => debug!(%error, "can't read what happened; trying again"),
            }
            let now = Instant::now();
            let found = conditions.look(now, self).into_iter().map(|edge| (Some(edge.subject), edge.notice));
            let happened = happenings.due(now).into_iter().map(|notice| (None, notice));
            for (subject, mut notice) in found.chain(happened).collect::<Vec<_>>() {
                if subject.is_some() {
                    notice.key = format!("{life} {count}");
                }
                match self.publish(&notice).await {
                    Ok(()) => {
                        (count, failed) = (count + 1, false);
                        match subject {
                            Some(subject) => conditions.told(subject, notice.code, now),
                            None => happenings.told(&notice, now),
                        }
                    }
                    Err(IngestError::Journal(JournalError::Closed)) => return,
                    Err(error) => {
                        if !std::mem::replace(&mut failed, true) {
                            warn!(%error, code = notice.code.name(), "a notice can't be published; trying again");
                        }
                    }
                }
            }
        }
    }

    /// What was told before this start. None: the journal is closed.
    async fn remember(&self) -> Option<Told> {
        // What the last life published is in the history when the pipeline that delivers it is past it.
        let head = self.journal.head();
        self.pipelines.until(PUBLICATIONS, |health| health.cursor >= head).await;
        loop {
            match Told::read(&self.journal, &self.settings.channel, head).await {
                Ok(told) => return Some(told),
                Err(JournalError::Closed) => return None,
                Err(error) => {
                    warn!(%error, "can't read which notices were published; trying again");
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    async fn publish(&self, notice: &Notice) -> Result<(), IngestError> {
        let Number(offset) = self.ingest.publish(notice.published(&self.settings.channel, BY)).await?;
        let Notice { code, about, .. } = notice;
        let (pipeline, plugin, source) = (about.pipeline.as_deref(), about.plugin.as_deref(), about.source.as_deref());
        info!(code = code.name(), pipeline, plugin, source, event = offset, "a notice was published");
        Ok(())
    }
}
