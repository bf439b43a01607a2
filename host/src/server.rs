//! The running server: builds the parts, starts them in order, stops them in order.
//!
//! Up: journal, fan-out, capture, pipelines, listener. Down: listener and sessions, capture,
//! pipelines, journal. So nothing is read that can't be passed on, and what was read is kept.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::auth::{Policy, Secret, SecretError, Tokens};
use crate::backup;
use crate::capture::{Capture, Handle, Ingest, SnapshotHealth, SourceState, joined};
use crate::channel::FanOut;
use crate::config::Config;
use crate::http::{self, Part, listener::Listener};
use crate::journal::{self, Journal, JournalError};
use crate::notices;
use crate::pipeline::{self, Pipelines, Status};
use crate::sandbox::{LoadError, Sandbox};
use crate::session::{self, census::Census};

mod room;

use room::Room;

/// Why the server doesn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the data folder {path}: {cause}; set RELEVO_DATA to a folder that relevo may write to")]
    Data { path: String, cause: std::io::Error },
    #[error("{0}")]
    Restore(String),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(
        "{} is in use by another relevo process; stop that one first, or set RELEVO_DATA to a folder of its own",
        .0.display()
    )]
    InUse(PathBuf),
    #[error(transparent)]
    Journal(JournalError),
    #[error(transparent)]
    Sandbox(#[from] LoadError),
    #[error(transparent)]
    Pipelines(#[from] pipeline::StartError),
    #[error("setting listen: {address}: {cause}; allowed: an address of this machine and a free port")]
    Listen { address: SocketAddr, cause: std::io::Error },
}

/// Capture as long as it runs: stopping it consumes it.
type Running = Arc<Mutex<Option<Capture>>>;

/// A server that runs.
pub struct Server {
    address: SocketAddr,
    tokens: Tokens,
    journal: Journal,
    fan_out: FanOut,
    capture: Running,
    pipelines: Arc<Pipelines>,
    listener: JoinHandle<()>,
    /// The first step of stopping: nobody new comes in.
    closing: watch::Sender<bool>,
    /// The second: capture and pipelines end.
    shutdown: watch::Sender<bool>,
    stop_within: Duration,
}

impl Server {
    /// Starts everything. Clients may connect when this returns; `/readyz` says when capture and
    /// pipelines run. Where the disk is full it waits until it isn't, and `/readyz` says so.
    ///
    /// # Errors
    /// Says what stands in the way and what to do.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let config = Arc::new(config);
        // Taken first, so that a port in use is known before anything moves or is made; answered last.
        let listener = TcpListener::bind(config.listen).await.map_err(|cause| taken(&config, cause))?;
        let address = listener.local_addr().map_err(|cause| StartError::Listen { address: config.listen, cause })?;
        let room = Room::new(&listener, address, &config.session);
        let data_error = |cause| StartError::Data { path: config.data.display().to_string(), cause };
        let secret = room.wait(async || {
            crate::folder::private(&config.data).map_err(data_error)?;
            backup::interrupted(&config.data).map_err(|error| StartError::Restore(error.to_string()))?;
            Ok(Secret::load(&config)?)
        });
        let secret = secret.await?;
        let tokens = Tokens::new(&secret, &config.auth);
        let (closing, closing_seen) = watch::channel(false);
        let (shutdown, shutdown_seen) = watch::channel(false);
        let journal = room.wait(async || Ok(Journal::open(&config.data, &config.journal, &config.channels).await?));
        let journal = journal.await?;
        let fan_out = FanOut::start(&journal, &config.session, &config.channels).await?;
        let sandbox = Arc::new(Sandbox::new(&config.data.join("cache"))?);
        tell_unused(&config);
        let capture =
            Capture::start(&config.sources, &config.data, &journal, config.journal.record_bytes, &shutdown_seen);
        let capture = Arc::new(Mutex::new(Some(capture)));
        let pipelines = room.wait(async || {
            let (config, sandbox, journal) = (config.clone(), sandbox.clone(), journal.clone());
            Ok(Pipelines::start(config, sandbox, journal, shutdown_seen.clone()).await?)
        });
        let pipelines = Arc::new(pipelines.await?);

        let ingest = Ingest::new(journal.clone());
        if config.notices.enabled {
            let watched = notices::Watched {
                settings: config.notices.clone(),
                journal_settings: config.journal.clone(),
                journal: journal.clone(),
                ingest: ingest.clone(),
                pipelines: pipelines.clone(),
                sources: sources(&capture),
            };
            tokio::spawn(notices::run(watched, closing_seen.clone()));
        }
        let context = Arc::new(session::Context {
            journal: journal.clone(),
            fan_out: fan_out.clone(),
            tokens: tokens.clone(),
            policy: Policy::new(&config.channels, &config.auth.operators),
            settings: config.session.clone(),
            ingest,
            gad: config.gad.clone(),
            census: Census::default(),
        });
        let routes = http::router(http::Parts {
            session: context,
            readiness: readiness(&journal, &capture, &pipelines),
            numbers: numbers(&capture, &pipelines),
            pipelines: config.pipelines.iter().map(|pipeline| pipeline.name.clone()).collect(),
            desk: pipelines.desk().clone(),
            sources: handles(&config, &capture),
            component_bytes: config.plugins.component_bytes,
            page: Arc::new(config.page.clone()),
        });
        let listening = Listener::new(routes, &config.session, closing_seen);
        let listener = tokio::spawn(listening.run(listener));
        Ok(Self {
            address,
            tokens,
            journal,
            fan_out,
            capture,
            pipelines,
            listener,
            closing,
            shutdown,
            stop_within: config.session.shutdown_within,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// The bell of a source, for whoever writes to its database from within this process.
    pub fn bell(&self, source: &str) -> Option<Arc<Notify>> {
        running(&self.capture, |capture| capture.bell(source)).flatten()
    }

    /// Becomes true when the server stops.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Returns when the journal can't go on, and so nothing can: stop, and start anew.
    pub async fn failed(&self) {
        self.journal.failed().await;
    }

    /// Stops in order. Returns false if that took longer than `shutdown_within`: what was left to
    /// do then is done again at the next start.
    pub async fn stop(self) -> bool {
        let within = self.stop_within;
        let stopped = tokio::time::timeout(within, self.stop_in_order()).await.is_ok();
        if !stopped {
            warn!("not everything stopped within {within:?}; the next start goes on where this one was");
        }
        stopped
    }

    async fn stop_in_order(self) {
        self.closing.send_replace(true);
        // Sessions may use up half of the time; the parts behind them need some.
        self.fan_out.stop(self.stop_within / 2).await;
        self.shutdown.send_replace(true);
        let capture = self.capture.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(capture) = capture {
            capture.stop().await;
        }
        self.pipelines.stop().await;
        self.journal.close().await;
        // HTTP requests that are being answered; a client that never ends its own is cut off.
        let _ = tokio::time::timeout(Duration::from_millis(200), self.listener).await;
        info!("stopped");
    }
}

impl From<JournalError> for StartError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Locked(folder) => Self::InUse(folder),
            error => Self::Journal(error),
        }
    }
}

/// Why it can't listen: where the same server runs already, its folder says more than its port.
fn taken(config: &Config, cause: std::io::Error) -> StartError {
    match cause.kind() {
        ErrorKind::AddrInUse if journal::in_use(&config.data) => StartError::InUse(config.data.clone()),
        _ => StartError::Listen { address: config.listen, cause },
    }
}

/// What stands in the settings or the folder and does nothing: nobody would guess why.
fn tell_unused(config: &Config) {
    if config.pipelines.is_empty() && !config.sources.is_empty() {
        warn!("there is no [[pipeline]]: changes are read, and nothing is sent; README.md, Write a plugin");
    }
    let used = |name: &str| config.pipelines.iter().flat_map(|p| &p.plugins).any(|plugin| **plugin == *name);
    let folder = config.plugins_folder();
    for file in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        let path = file.path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        if path.extension().is_some_and(|ending| ending == "wasm") && !used(name) {
            info!(plugin = name, folder = %folder.display(), "this plugin is in no [[pipeline]]: it does nothing");
        }
    }
}

fn running<T>(capture: &Running, ask: impl FnOnce(&Capture) -> T) -> Option<T> {
    capture.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(ask)
}

/// What `/api/v1/sources` asks.
fn handles(config: &Config, capture: &Running) -> Arc<[http::Source]> {
    let handles = running(capture, Capture::handles).unwrap_or_default();
    let settings = |name: &str| config.sources.iter().find(|source| *source.name == *name).cloned();
    let source = |handle: Handle| Some(http::Source { settings: settings(handle.name())?, handle });
    handles.into_iter().filter_map(source).collect()
}

/// What notices ask.
fn sources(capture: &Running) -> notices::AskSources {
    let capture = capture.clone();
    Arc::new(move || running(&capture, Capture::health).unwrap_or_default())
}

/// What `/metrics` asks.
fn numbers(capture: &Running, pipelines: &Arc<Pipelines>) -> http::AskNumbers {
    let (capture, pipelines) = (capture.clone(), pipelines.clone());
    Arc::new(move || http::Numbers {
        sources: running(&capture, Capture::health).unwrap_or_default(),
        pipelines: pipelines.health(),
        plugins: pipelines.desk().noted(),
    })
}

/// What `/readyz` asks.
fn readiness(journal: &Journal, capture: &Running, pipelines: &Arc<Pipelines>) -> http::Readiness {
    let (journal, capture, pipelines) = (journal.clone(), capture.clone(), pipelines.clone());
    Arc::new(move || {
        let no_room = journal.no_room().map(|why| Part { name: "journal".into(), ready: false, reason: Some(why) });
        let sources = running(&capture, Capture::health).unwrap_or_default();
        let snapshots: Vec<SnapshotHealth> = sources.iter().flat_map(|health| health.snapshots.clone()).collect();
        let sources = sources.into_iter().map(|health| {
            // It is read, and may be lost all the same, if that goes on.
            let risk = health.slot.as_ref().and_then(|slot| slot.risk(false));
            let (ready, reason) = match health.state {
                SourceState::Running => (true, risk),
                // What is captured is of use, and who takes the server out of service for it helps nobody.
                SourceState::Incomplete { reason } => {
                    let all: Vec<String> = std::iter::once(reason.to_string()).chain(risk).collect();
                    (true, Some(joined(&all)))
                }
                SourceState::Starting => (false, Some("it is starting".to_owned())),
                SourceState::Failed { reason } => (false, Some(reason.to_string())),
            };
            Part { name: format!("source {}", health.name), ready, reason }
        });
        let pipelines = pipelines.health().into_iter().map(|health| {
            let taken = snapshots.iter().find(|snapshot| snapshot.pipeline == health.pipeline);
            if let (Status::Running, Some(snapshot)) = (&health.status, taken) {
                let reason = format!("it shows what was, until its state is made anew: {snapshot}");
                return Part { name: format!("pipeline {}", health.pipeline), ready: true, reason: Some(reason) };
            }
            let reason = match health.status {
                Status::Running => None,
                Status::Starting => Some("its plugins are being loaded".to_owned()),
                Status::WaitingForSnapshot => Some(match taken {
                    Some(snapshot) => format!("it waits for the rows that are there: {snapshot}"),
                    None => "it waits for the rows that are there (a snapshot)".to_owned(),
                }),
                Status::Rebuilding => Some("it makes its state anew from a snapshot".to_owned()),
                Status::Paused { by } => Some(format!("{by} paused it; relevo plugin resume goes on")),
                Status::Stopped => Some("it has stopped".to_owned()),
                Status::Failed { plugin: Some(plugin), reason } => Some(format!("plugin {plugin}: {reason}")),
                Status::Failed { plugin: None, reason } => Some(reason),
            };
            Part { name: format!("pipeline {}", health.pipeline), ready: reason.is_none(), reason }
        });
        no_room.into_iter().chain(sources).chain(pipelines).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_said_before_anything_is_made() {
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::load(None).unwrap();
        config.listen = other.local_addr().unwrap();
        config.data = folder.path().join("data");
        let started = Server::start(config.clone()).await.map(|_| ());
        assert!(matches!(started, Err(StartError::Listen { .. })), "{started:?}");
        assert!(!config.data.exists());
    }
}
