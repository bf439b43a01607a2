//! Starts the pipelines, one thread each, tells how they are, and stops them. The server calls this.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::breaker::Breaker;
use super::builtin::PUBLICATIONS;
use super::context::{Context, Crash};
use super::desk::{Desk, Inner, Known};
use super::folder;
use super::health::{Board, Health, Status};
use super::library::Library;
use super::probation::Probations;
use super::worker;
use crate::config::{Config, PipelineSettings};
use crate::event::Name;
use crate::journal::{Journal, JournalError};
use crate::sandbox::{Notes, Sandbox};
use crate::store::StoreError;

/// Why the pipelines can't be started at all. A plugin that can't be loaded is no such reason: its
/// pipeline stands still, and the others run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a thread for pipeline {0}: {1}")]
    Thread(Name, std::io::Error),
}

/// The running pipelines.
pub struct Pipelines {
    journal: Journal,
    boards: Vec<Board>,
    desk: Desk,
    /// True: all threads end after the batch that they are at.
    stop: watch::Sender<bool>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Pipelines {
    /// Starts the built-in pipeline and all that the configuration names. Call it when capture runs,
    /// which serves their requests for snapshots, and before clients can publish: a new pipeline that
    /// needs no snapshot begins at the head. `shutdown` stops them when it turns true or its sender is
    /// gone; so does [`Pipelines::stop`], which also waits.
    ///
    /// # Errors
    /// A configuration that can't be used, or what the journal or the system says.
    pub async fn start(
        config: Arc<Config>,
        sandbox: Arc<Sandbox>,
        journal: Journal,
        shutdown: watch::Receiver<bool>,
    ) -> Result<Self, StartError> {
        Self::start_with(config, sandbox, journal, shutdown, Crash::default()).await
    }

    pub(super) async fn start_with(
        config: Arc<Config>,
        sandbox: Arc<Sandbox>,
        journal: Journal,
        mut shutdown: watch::Receiver<bool>,
        crash: Crash,
    ) -> Result<Self, StartError> {
        let mut pipelines = vec![PipelineSettings { name: PUBLICATIONS.into(), plugins: Vec::new() }];
        pipelines.extend(config.pipelines.iter().cloned());
        let names: Vec<Name> = pipelines.iter().map(|p| p.name.clone()).collect();
        journal.keep_pipelines(&names).await?;
        let sources: Vec<Name> = config.sources.iter().map(|source| source.name.clone()).collect();
        journal.keep_sources(&sources).await?;

        let library = Arc::new(Library::open(config.clone(), sandbox)?);
        let (stop, stopping) = watch::channel(false);
        let mut desk = Inner::new(config.clone(), library.clone(), journal.clone(), stopping.clone());
        let mut boards = Vec::new();
        let mut threads = Vec::new();
        for settings in pipelines {
            let board = Board::new(settings.name.clone());
            boards.push(board.clone());
            let name = settings.name.clone();
            let bell: Arc<Notify> = Arc::default();
            let note = |plugin: &Name| (plugin.clone(), Notes::new(config.plugins.keep_log_lines));
            let notes: BTreeMap<Name, Notes> = settings.plugins.iter().map(note).collect();
            desk.add(Known {
                name: name.clone(),
                plugins: settings.plugins.clone(),
                board: board.clone(),
                bell: bell.clone(),
                notes: notes.clone(),
            });
            let context = Context {
                name: settings.name,
                plugins: settings.plugins,
                config: config.clone(),
                library: library.clone(),
                journal: journal.clone(),
                handle: Handle::current(),
                board,
                stopping: stopping.clone(),
                bell,
                breaker: Breaker::new(config.plugins.quarantine_after),
                probations: Probations::new(config.plugins.probation),
                notes,
                skips: Mutex::default(),
                unfinished: AtomicBool::new(true),
                crash: crash.clone(),
            };
            let thread = std::thread::Builder::new()
                .name(format!("pipeline-{name}"))
                .spawn(move || worker::run(&context))
                .map_err(|e| StartError::Thread(name, e))?;
            threads.push(thread);
        }
        let forward = stop.clone();
        tokio::spawn(async move {
            let _ = shutdown.wait_for(|stop| *stop).await;
            forward.send_replace(true);
        });
        let desk = desk.open();
        tokio::spawn(folder::watch(desk.clone(), config.plugins_folder(), config.plugins.folder_rest, stopping));
        Ok(Self { journal, boards, desk, stop, threads: Mutex::new(threads) })
    }

    /// Takes the operators' wishes.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// How each pipeline is, the built-in one first.
    pub fn health(&self) -> Vec<Health> {
        let head = self.journal.head();
        let with_lag = |board: &Board| {
            let mut health = board.read();
            health.lag = head.0.saturating_sub(health.cursor.0);
            health
        };
        self.boards.iter().map(with_lag).collect()
    }

    /// Whether every pipeline runs: part of `/readyz`.
    pub fn ready(&self) -> bool {
        self.boards.iter().all(|board| board.watch().borrow().status == Status::Running)
    }

    /// Waits until a pipeline's health is as asked for; at once with false if there is no such
    /// pipeline. `lag` is not kept up to date in it.
    pub async fn until(&self, pipeline: &str, is: impl FnMut(&Health) -> bool) -> bool {
        let board = self.boards.iter().find(|board| &*board.watch().borrow().pipeline == pipeline);
        match board {
            Some(board) => board.watch().wait_for(is).await.is_ok(),
            None => false,
        }
    }

    /// Stops the pipelines and waits until each has ended the batch that it was at. Stop capture
    /// before and close the journal after. May be called again.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // Its panic was caught and reported by the thread itself.
                let _ = thread.join();
            }
        });
        let _ = joined.await;
    }
}

impl Drop for Pipelines {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
