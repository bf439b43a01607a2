//! What the writer, the readers and the background tasks share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::{Notify, oneshot, watch};

use super::apply::Visible;
use super::index::Known;
use super::room::Room;
use super::tail::Tail;
use super::{Append, Appended, Epoch, JournalError, Record, RecordBody};
use crate::config::{ChannelSettings, JournalSettings};
use crate::event::{Micros, Number};
use crate::message::ChannelName;

/// What the writer answers.
#[derive(Debug)]
pub(super) enum Outcome {
    Appended(Appended),
    Number(Number),
    /// Retention: whether the step found something to delete.
    Pruned(bool),
    /// The last chunk of an unfinished snapshot, if there is one.
    Unfinished(Option<Box<Append>>),
    Done,
}

pub(super) type Reply = oneshot::Sender<Result<Outcome, JournalError>>;

/// Up to where retention took something.
#[derive(Default)]
pub(super) struct Floors {
    /// Events and controls up to this number may be gone.
    pub(super) events: Number,
    /// Messages of a stream channel up to this number may be gone.
    pub(super) channels: HashMap<ChannelName, Number>,
}

pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) settings: JournalSettings,
    pub(super) rules: Vec<ChannelSettings>,
    pub(super) epoch: Epoch,
    /// Locked for moments only, never across an await.
    tail: RwLock<Tail>,
    /// As of the last transaction.
    known: Mutex<Known>,
    floors: Mutex<Floors>,
    pub(super) head: watch::Sender<Number>,
    /// The head when a record that is no commit came last.
    pub(super) events: watch::Sender<Number>,
    pub(super) durable: watch::Sender<Number>,
    /// A sync failed: what the disk has is unknown, so nothing more is taken.
    pub(super) failed: watch::Sender<bool>,
    pub(super) room: Room,
    /// Bytes written since retention last looked.
    pub(super) grown: AtomicU64,
    pub(super) wake_checkpointer: Notify,
    /// Held during a checkpoint, until what it moved is synced: SQLite refuses a second one at once, without waiting for
    /// the first.
    pub(super) checkpointing: tokio::sync::Mutex<()>,
    pub(super) wake_retention: Notify,
    /// When the newest record was applied, in microseconds.
    at: AtomicU64,
    /// What the records take on disk, as of retention's last look.
    pub(super) used: AtomicU64,
}

/// What one SQL transaction made true.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) visible: Vec<Visible>,
    pub(super) replies: Vec<(Reply, Outcome)>,
}

impl Shared {
    pub(super) fn new(
        path: PathBuf,
        settings: JournalSettings,
        rules: Vec<ChannelSettings>,
        epoch: Epoch,
        tail: Tail,
        known: Known,
        floors: Floors,
    ) -> Self {
        let head = tail.head();
        Self {
            path,
            settings,
            rules,
            epoch,
            tail: RwLock::new(tail),
            known: Mutex::new(known),
            floors: Mutex::new(floors),
            head: watch::Sender::new(head),
            events: watch::Sender::new(head),
            durable: watch::Sender::new(head),
            failed: watch::Sender::new(false),
            room: Room::default(),
            grown: AtomicU64::new(0),
            wake_checkpointer: Notify::new(),
            checkpointing: tokio::sync::Mutex::new(()),
            wake_retention: Notify::new(),
            at: AtomicU64::new(0),
            used: AtomicU64::new(0),
        }
    }

    pub(super) fn head(&self) -> Number {
        *self.head.borrow()
    }

    /// The clock, which may have been put back; never before the newest record.
    pub(super) fn now(&self) -> Micros {
        Micros::now().max(Micros(self.at.load(Ordering::Relaxed)))
    }

    /// Has retention look at the size where much was written. The writer calls it after each transaction.
    pub(super) fn notice_growth(&self) {
        if self.grown.load(Ordering::Relaxed) >= self.settings.keep_bytes / 64 {
            self.wake_retention.notify_one();
        }
    }

    /// The newest record was applied at this time.
    pub(super) fn applied(&self, at: u64) {
        self.at.store(at, Ordering::Relaxed);
    }

    /// Shows a transaction to the readers, then answers those who wait for it.
    pub(super) fn publish(&self, batch: Batch) {
        // Dropped behind the lock, and after those who wait were answered.
        let mut gone = Vec::new();
        let records = batch.visible.iter().flat_map(|visible| &visible.records);
        let events = records.into_iter().any(|record| !matches!(record.body, RecordBody::Commit(_)));
        let head = {
            let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
            for Visible { records, restart } in batch.visible {
                if let Some(after) = restart {
                    tail.restart(after);
                }
                records.into_iter().for_each(|record| tail.push(record, &mut gone));
            }
            tail.head()
        };
        // Two threads may come here at once, and the later head be the first to be sent.
        let raise = |known: &mut Number| std::mem::replace(known, head.max(*known)) < head;
        self.head.send_if_modified(raise);
        if events {
            self.events.send_if_modified(raise);
        }
        for (reply, outcome) in batch.replies {
            // Whoever asked may have gone.
            let _ = reply.send(Ok(outcome));
        }
    }

    /// Fills the tail with what is there already, at the opening.
    pub(super) fn fill(&self, newest: Vec<Arc<Record>>, head: Number) {
        let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(oldest) = newest.first() {
            tail.restart(Number(oldest.first.0 - 1));
        }
        newest.into_iter().for_each(|record| tail.push(record, &mut Vec::new()));
        // Retention may have taken the newest record.
        tail.advance(head);
    }

    pub(super) fn tail<T>(&self, read: impl FnOnce(&Tail) -> T) -> T {
        read(&self.tail.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn floors(&self) -> MutexGuard<'_, Floors> {
        self.floors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn fail(&self, why: &std::io::Error) {
        if !self.failed.send_replace(true) {
            // Wakes those who wait for a head that will never come.
            self.head.send_modify(|_| ());
            self.events.send_modify(|_| ());
            tracing::error!(file = %self.path.display(), error = %why, "the journal can't go on: what the disk has of it is unknown; the next start reads it anew");
        }
    }

    pub(super) fn check(&self) -> Result<(), JournalError> {
        if *self.failed.borrow() {
            let why = "an earlier sync failed, so nothing more is written before a restart";
            return Err(JournalError::Io(std::io::Error::other(why)));
        }
        Ok(())
    }

    pub(super) fn damaged(&self, why: impl Into<String>) -> JournalError {
        JournalError::Corrupt { path: self.path.clone(), why: why.into() }
    }

    /// An error of a statement, by what it means.
    pub(super) fn classified(&self, error: JournalError) -> JournalError {
        match error {
            JournalError::Storage(error) => self.storage(error),
            other => other,
        }
    }

    /// Tells damage and a lack of room from other storage errors.
    pub(super) fn storage(&self, error: sqlx::Error) -> JournalError {
        classify(&self.path, error)
    }
}

/// Whether the file system, or what the user may have of it, is full.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// SQLite's own word for a damaged file (CORRUPT, NOTADB) becomes ours, with what to do.
pub(super) fn classify(path: &std::path::Path, error: sqlx::Error) -> JournalError {
    let code = error.as_database_error().and_then(|e| e.code()).and_then(|c| c.parse::<i32>().ok());
    let decode = matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_));
    match code.map(|c| c & 0xff) {
        _ if matches!(&error, sqlx::Error::Io(error) if is_full(error)) => {
            JournalError::NoRoom { path: path.into(), why: error.to_string() }
        }
        Some(11 | 26) => JournalError::Corrupt { path: path.into(), why: error.to_string() },
        // SQLite says FULL at its own limit, and where the file system has no room; the index of the WAL has a
        // code of its own (IOERR_SHMSIZE).
        Some(13) => JournalError::NoRoom { path: path.into(), why: error.to_string() },
        _ if code == Some(4874) => JournalError::NoRoom { path: path.into(), why: error.to_string() },
        // A table or column that should be there is not.
        Some(1) if error.to_string().contains("no such") => {
            JournalError::Corrupt { path: path.into(), why: error.to_string() }
        }
        _ if decode => JournalError::Corrupt { path: path.into(), why: error.to_string() },
        _ => JournalError::Storage(error),
    }
}
