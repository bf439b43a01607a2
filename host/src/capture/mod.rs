//! From source to append: row changes, publications and watermarks become events in the journal.
//!
//! The server starts [`Capture`] once the journal is open and before the pipelines start; sessions
//! and the HTTP API send what clients publish through [`Ingest`].

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::config::SourceSettings;
use crate::event::{Micros, Name};
use crate::journal::Journal;
use crate::thread;

mod error;
mod forget;
mod handle;
pub mod ingest;
mod json;
pub mod postgres;
mod progress;
mod reached;
mod requests;
mod rows;
mod source;
pub mod sqlite;
pub mod status;
mod taking;
pub mod ticks;
mod waiting;

#[cfg(test)]
mod tests;

pub(crate) use error::said;
pub use error::{CaptureError, Remedy};
pub(crate) use forget::forgotten;
pub use forget::reset;
pub use handle::Handle;
pub use ingest::{Ingest, IngestError};
pub use postgres::SlotHealth;
pub use progress::SnapshotHealth;

/// What a detach did, in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Detached {
    /// What was taken out; empty: nothing that could be was there.
    pub out: Vec<String>,
    /// What stays: it is somebody else's, or another must take it out; what, who, and how.
    pub stays: Vec<String>,
}

/// Takes everything of capture's out of a source's database, as far as its role may.
/// The server must be stopped: it would make all of it again.
///
/// # Errors
/// If the database can't be reached, or refuses.
pub async fn detach(settings: &SourceSettings, data: &Path) -> Result<Detached, CaptureError> {
    if settings.is_postgres() {
        return postgres::detach(settings).await;
    }
    let out = sqlite::detach(&settings.url, data).await?;
    Ok(Detached { out, stays: Vec::new() })
}

/// The running capture of all sources.
pub struct Capture {
    sources: Vec<Running>,
    tasks: JoinSet<()>,
    requests: AbortHandle,
}

/// What capture keeps of a source that runs.
struct Running {
    name: Name,
    health: watch::Receiver<SourceHealth>,
    wishes: mpsc::Sender<handle::Wish>,
    bell: Arc<Notify>,
}

/// What a source is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceState {
    Starting,
    Running,
    /// It runs, but not all that is wanted is captured: a table that isn't there or can't be watched. The reason says
    /// what is missing, and what to do.
    Incomplete {
        reason: Arc<str>,
    },
    /// Something stands in the way; the reason says what to do. It is tried again by itself.
    Failed {
        reason: Arc<str>,
    },
}

impl SourceState {
    /// Changes are captured, of all tables or of some.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Running | Self::Incomplete { .. })
    }

    /// That of a session that runs, with what keeps it from capturing all that is wanted.
    pub(crate) fn with<'a>(problems: impl IntoIterator<Item = &'a str>) -> Self {
        let problems: Vec<&str> = problems.into_iter().collect();
        if problems.is_empty() { Self::Running } else { Self::Incomplete { reason: joined(&problems).into() } }
    }
}

/// Several texts as one, each a line of its own.
pub(crate) fn joined(texts: &[impl AsRef<str>]) -> String {
    texts.iter().map(AsRef::as_ref).collect::<Vec<_>>().join("\n")
}

/// How a source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceHealth {
    pub name: Name,
    pub state: SourceState,
    /// Everything that the source committed up to this moment is in the journal.
    pub watermark: Micros,
    /// How long the oldest change that isn't in the journal yet has been waiting; zero when none is.
    pub lag: Duration,
    /// How many changes aren't in the journal yet.
    pub behind: u64,
    /// Those that are watched.
    pub tables: Arc<[Name]>,
    /// PostgreSQL: the replication slot, as it was at the last look.
    pub slot: Option<SlotHealth>,
    /// Those that are being taken.
    pub snapshots: Vec<SnapshotHealth>,
    /// What went wrong last, even if it is well again, and when.
    pub last_error: Option<(Micros, Arc<str>)>,
}

impl SourceHealth {
    /// Of a source that starts.
    pub fn starting(name: &Name) -> Self {
        Self {
            name: Name::clone(name),
            state: SourceState::Starting,
            watermark: Micros::default(),
            lag: Duration::ZERO,
            behind: 0,
            tables: Arc::new([]),
            slot: None,
            snapshots: Vec::new(),
            last_error: None,
        }
    }
}

impl Capture {
    /// Starts the capture of every source, and the clock. Returns at once; requests for snapshots
    /// that are written to the journal from now on are served. Ends when `shutdown` becomes true.
    ///
    /// `record_bytes`: what a record of the journal may hold.
    pub fn start(
        settings: &[SourceSettings],
        data: &Path,
        journal: &Journal,
        record_bytes: u64,
        shutdown: &watch::Receiver<bool>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let mut sources = Vec::new();
        let mut asked = BTreeMap::new();
        // Before anybody can write a request that must be served.
        let from = journal.head();
        for settings in settings {
            let name = Name::clone(&settings.name);
            let (health, receiver) = watch::channel(SourceHealth::starting(&name));
            let state = health.clone();
            let bell = Arc::new(Notify::new());
            let requests = requests::Requests::default();
            asked.insert(Name::clone(&name), requests.clone());
            let source = source::Source {
                settings: settings.clone(),
                data: data.to_owned(),
                journal: journal.clone(),
                record_bytes,
                bell: Arc::clone(&bell),
                requests,
                health,
                silent: std::sync::atomic::AtomicU32::new(0),
                advised: std::sync::Mutex::default(),
            };
            // Whoever wishes waits for the outcome: a second one may wait for the first.
            let (wishes, wished) = mpsc::channel(1);
            let run = source::run(source, wished, shutdown.clone());
            tasks.spawn(async move {
                if let Err(error) = thread::run("capture", tokio::runtime::Builder::enable_all, run).await {
                    let reason = format!("the source's thread: {error}; restart the server");
                    tracing::error!(source = %state.borrow().name, reason);
                    state.send_modify(|health| health.state = SourceState::Failed { reason: reason.into() });
                }
            });
            sources.push(Running { name, health: receiver, wishes, bell });
        }
        if let Some(every) = settings.iter().map(|source| source.tick).min() {
            let watermarks = sources.iter().map(|source| source.health.clone()).collect();
            tasks.spawn(ticks::run(journal.clone(), watermarks, every, shutdown.clone()));
        }
        let requests = tasks.spawn(requests::follow(journal.clone(), from, asked));
        Self { sources, tasks, requests }
    }

    /// How each source is.
    pub fn health(&self) -> Vec<SourceHealth> {
        self.sources.iter().map(|source| source.health.borrow().clone()).collect()
    }

    /// What others have of each source.
    pub fn handles(&self) -> Vec<Handle> {
        let handle = |running: &Running| Handle {
            name: Name::clone(&running.name),
            health: running.health.clone(),
            wishes: running.wishes.clone(),
        };
        self.sources.iter().map(handle).collect()
    }

    /// Whether every source runs.
    pub fn ready(&self) -> bool {
        self.sources.iter().all(|source| source.health.borrow().state.is_up())
    }

    /// The bell of a source: whoever writes to its database from within this process may ring it
    /// (`notify_one`) after the commit, which is quicker than waiting for the file system to tell.
    pub fn bell(&self, source: &str) -> Option<Arc<Notify>> {
        self.sources.iter().find(|s| &*s.name == source).map(|s| Arc::clone(&s.bell))
    }

    /// Waits until all has ended, after `shutdown` became true. Nothing is appended after that.
    pub async fn stop(mut self) {
        self.requests.abort();
        while self.tasks.join_next().await.is_some() {}
    }
}
