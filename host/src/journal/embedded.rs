//! The embedded form: one SQLite file, one writer, the newest records in memory.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::SqliteConnection;
use sqlx::sqlite::SqlitePool;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::bound::Bound;
use super::index::{Index, StagedKey};
use super::lock::Lock;
use super::reader::Reader;
use super::shared::{Outcome, Shared};
use super::sync::{self, Disk, Publisher};
use super::wal::Checkpointer;
use super::writer::{Command, Work, Writer};
use super::{
    Append, Appended, Commit, Control, History, JournalError, PipelineState, Record, SourceState, codec, retention,
    room,
};
use crate::config::Durability;
use crate::event::{Name, Number};
use crate::message::ChannelName;
use crate::thread;

type Result<T> = std::result::Result<T, JournalError>;

/// How many commands may wait for the writer; whoever sends more waits.
const WAITING: usize = 256;

pub(super) struct Embedded {
    pub(super) shared: Arc<Shared>,
    pub(super) pool: SqlitePool,
    pub(super) commands: mpsc::Sender<Command>,
    /// Tells the background tasks to end.
    stop: watch::Sender<bool>,
    /// Taken by whoever ends them.
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Taken by the first `close`.
    running: Mutex<Option<Running>>,
    /// Later ones wait for it.
    closed: watch::Sender<bool>,
}

/// What ends at a close.
struct Running {
    writer: JoinHandle<()>,
    /// The lock against a second process, let go of last.
    lock: Arc<Lock>,
    /// Closing it drops SQLite's own locks on the file, so it outlives all connections.
    database: Arc<File>,
}

/// The journal's files, beside SQLite's own handles.
pub(super) struct Files {
    pub(super) wal: Arc<File>,
    pub(super) database: Arc<File>,
}

impl Embedded {
    pub(super) fn start(
        shared: Arc<Shared>,
        conn: SqliteConnection,
        index: Index,
        checkpointer: SqliteConnection,
        pool: SqlitePool,
        files: Files,
        lock: Lock,
    ) -> Self {
        let lock = Arc::new(lock);
        let Files { wal, database } = files;
        let disk = Disk { shared: shared.clone(), wal: wal.clone(), lock: lock.clone() };
        let checkpointer =
            Checkpointer { shared: shared.clone(), conn: checkpointer, database: database.clone(), lock: lock.clone() };
        let (commands, waiting) = mpsc::channel(WAITING);
        let stop = watch::Sender::new(false);
        let mut tasks = vec![
            tokio::spawn(checkpointer.run(stop.subscribe())),
            tokio::spawn(retention::run(shared.clone(), pool.clone(), commands.downgrade(), stop.subscribe())),
            tokio::spawn(room::run(shared.clone(), commands.downgrade(), stop.subscribe())),
        ];
        let publisher = match shared.settings.durability {
            Durability::Power => Publisher::synced(disk),
            Durability::Process => {
                let pause = shared.settings.sync_every;
                tasks.push(tokio::spawn(sync::every(disk, pause, stop.subscribe())));
                Publisher::Direct
            }
        };
        let writer = Writer {
            conn,
            index,
            shared: shared.clone(),
            publisher,
            unsaved: None,
            bound: Bound::new(wal, shared.settings.wal_bytes),
            lock: lock.clone(),
        };
        let writer = tokio::spawn(on_own_thread(writer, waiting));
        let running = Mutex::new(Some(Running { writer, lock, database }));
        let tasks = Mutex::new(tasks);
        Self { shared, pool, commands, stop, tasks, running, closed: watch::Sender::new(false) }
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader { shared: &self.shared, pool: &self.pool }
    }

    pub(super) async fn ask(&self, work: Work) -> Result<Outcome> {
        ask(&self.commands, work).await
    }

    async fn ask_number(&self, work: Work) -> Result<Number> {
        number(&self.ask(work).await?)
    }

    fn record_bytes(&self) -> usize {
        usize::try_from(self.shared.settings.record_bytes).unwrap_or(usize::MAX)
    }

    pub(super) async fn hand_in_append(&self, append: Append) -> Result<Appending> {
        if let Some(full) = retention::full(&self.shared) {
            return Err(full);
        }
        let prepared = codec::prepare_append(append, self.record_bytes())?;
        hand_over(&self.commands, Work::Append(prepared)).await.map(Appending)
    }

    pub(super) async fn hand_in(&self, commit: Commit) -> Result<Committing> {
        let prepared = codec::prepare_commit(commit, self.record_bytes())?;
        hand_over(&self.commands, Work::Commit(prepared)).await.map(Committing)
    }

    pub(super) async fn control(&self, control: Control) -> Result<Number> {
        self.ask_number(Work::Control(codec::prepare_control(control)?)).await
    }

    pub(super) async fn discard_snapshot(&self, source: &str, pipeline: &str) -> Result<()> {
        let key = StagedKey { source: source.into(), pipeline: pipeline.into() };
        self.ask(Work::Discard(Box::new(move |unfinished| *unfinished == key))).await.map(drop)
    }

    pub(super) async fn keep_snapshots(&self, pipeline: &str, source: Option<&str>) -> Result<()> {
        let (pipeline, source) = (Name::from(pipeline), source.map(Name::from));
        let like = move |key: &StagedKey| key.pipeline == pipeline && source.as_ref() != Some(&key.source);
        self.ask(Work::Discard(Box::new(like))).await.map(drop)
    }

    pub(super) async fn keep_sources(&self, names: &[Name]) -> Result<()> {
        let names = names.to_vec();
        self.ask(Work::Discard(Box::new(move |key| !names.contains(&key.source)))).await.map(drop)
    }

    pub(super) async fn take_over_snapshot(
        &self,
        source: &str,
        pipeline: &str,
        request: Number,
    ) -> Result<Option<Append>> {
        let key = StagedKey { source: source.into(), pipeline: pipeline.into() };
        match self.ask(Work::TakeOver(key, request)).await? {
            Outcome::Unfinished(last) => Ok(last.map(|last| *last)),
            _ => Err(JournalError::Closed),
        }
    }

    pub(super) async fn keep_pipelines(&self, names: &[Name]) -> Result<()> {
        self.ask(Work::KeepPipelines(names.to_vec())).await.map(drop)
    }

    pub(super) fn read_memory(&self, after: Number, bytes: usize) -> Option<Vec<Arc<Record>>> {
        self.shared.tail(|tail| tail.read(after, bytes))
    }

    pub(super) async fn read(&self, after: Number, bytes: usize) -> Result<Vec<Arc<Record>>> {
        match self.read_memory(after, bytes) {
            Some(records) => Ok(records),
            None => self.reader().read(after, bytes).await,
        }
    }

    pub(super) async fn read_events(&self, after: Number, bytes: usize) -> Result<(Vec<Arc<Record>>, Number)> {
        match self.read_memory(after, bytes) {
            Some(records) => {
                let through = records.last().map_or(after, |record| record.last);
                Ok((records, through))
            }
            None => self.reader().read_events(after, bytes).await,
        }
    }

    pub(super) async fn history(&self, channels: &[ChannelName], after: Number, limit: usize) -> Result<History> {
        match self.shared.tail(|tail| tail.history(channels, after, limit)) {
            Some((messages, through)) => Ok(self.reader().whole(channels, after, messages, through)),
            None => self.reader().history(channels, after, limit).await,
        }
    }

    pub(super) async fn pipeline(&self, name: &str) -> Result<Option<PipelineState>> {
        self.ask(Work::Turn).await?;
        self.reader().pipeline(name).await
    }

    pub(super) async fn source(&self, name: &str) -> Result<Option<SourceState>> {
        self.ask(Work::Turn).await?;
        Ok(self.shared.known().sources.get(name).cloned())
    }

    pub(super) async fn sources(&self, prefix: &str) -> Result<Vec<(Name, SourceState)>> {
        self.ask(Work::Turn).await?;
        let known = self.shared.known();
        let found = known.sources.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(found.map(|(name, state)| (name.clone(), state.clone())).collect())
    }

    /// Ends what goes on by itself: checkpoints, retention, probes, and syncs under durability `process`.
    pub(super) async fn end_tasks(&self) {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let _ = task.await;
        }
    }

    pub(super) async fn close(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { writer, lock, database }) = running else {
            let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
            return;
        };
        self.end_tasks().await;
        // Readers first: the last checkpoint must not wait for one.
        self.pool.close().await;
        let closed = match self.ask(Work::Close).await {
            Ok(_) => lock.end().map_err(JournalError::Io),
            Err(error) => Err(error),
        };
        if let Err(error) = closed {
            tracing::warn!(%error, "the journal did not stop cleanly");
        }
        let _ = writer.await;
        drop(database);
        drop(lock);
        self.closed.send_replace(true);
    }
}

/// A journey to SQLite's thread and back wakes one thread on each end, where the server's own runtime would wake a second
/// one to look for more work.
async fn on_own_thread(writer: Writer, commands: mpsc::Receiver<Command>) {
    let shared = writer.shared.clone();
    if let Err(error) = thread::run("journal", Builder::enable_time, writer.run(commands)).await {
        shared.fail(&error);
    }
}

/// Asks the writer, and waits for its answer.
pub(super) async fn ask(commands: &mpsc::Sender<Command>, work: Work) -> Result<Outcome> {
    answered(hand_over(commands, work).await?).await
}

type Answer = oneshot::Receiver<Result<Outcome>>;

async fn hand_over(commands: &mpsc::Sender<Command>, work: Work) -> Result<Answer> {
    let (reply, answer) = oneshot::channel();
    commands.send(Command { work, reply }).await.map_err(|_| JournalError::Closed)?;
    Ok(answer)
}

async fn answered(answer: Answer) -> Result<Outcome> {
    answer.await.map_err(|_| JournalError::Closed)?
}

fn number(outcome: &Outcome) -> Result<Number> {
    match outcome {
        Outcome::Number(number) => Ok(*number),
        _ => Err(JournalError::Closed),
    }
}

/// An append that the writer has, and that may not be true yet. It becomes so in its turn, or fails, whether
/// somebody waits for it or not.
#[must_use = "only `done` tells whether it failed"]
pub struct Appending(Answer);

impl Appending {
    /// Waits until the append is as durable as the setting promises. May be dropped while it waits, and called
    /// again.
    ///
    /// # Errors
    /// What the storage says. Nothing of the append is true then.
    pub async fn done(&mut self) -> Result<Appended> {
        match (&mut self.0).await.map_err(|_| JournalError::Closed)?? {
            Outcome::Appended(appended) => Ok(appended),
            _ => Err(JournalError::Closed),
        }
    }
}

/// A commit that the writer has, and that may not be true yet. It becomes so in its turn, or fails, whether
/// somebody waits for it or not.
#[must_use = "only `done` tells whether it failed"]
pub struct Committing(Answer);

impl Committing {
    /// Waits until the commit is as durable as the setting promises; the number of its last message.
    ///
    /// # Errors
    /// `Conflict` if the pipeline doesn't stand where the commit begins, or what the storage says. Nothing of
    /// the commit is true then.
    pub async fn done(self) -> Result<Number> {
        number(&answered(self.0).await?)
    }
}
