//! The journal: one log of records that everything meets at.
//!
//! Capture and ingest **append** events, pipelines read them and **commit** what they made of them,
//! the channels' fan-out sends what was committed. State, cursors, the channel index and source
//! positions are indexes that applying the records in order gives.
//!
//! This is the port; its embedded form keeps the records in SQLite.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::event::{Micros, Name, Number, Position};
use crate::message::{ChannelName, Message};

mod append;
mod apply;
mod bound;
mod check;
mod checkpoints;
mod codec;
mod commit;
mod compact;
mod copy;
mod embedded;
mod error;
mod export;
mod fit;
mod index;
mod inspect;
mod letters;
mod lock;
mod open;
mod outside;
mod prune;
mod reader;
pub mod record;
mod retention;
mod room;
mod script;
mod seal;
mod shared;
mod shares;
mod standing;
mod state;
mod sync;
mod tail;
#[cfg(test)]
mod tests;
mod undo;
mod unfinished;
mod upgrade;
mod wal;
mod writer;

pub(crate) use check::{Report, check};
pub(crate) use compact::{Compacted, compact};
pub(crate) use copy::{Copied, CopyError, copy};
pub use embedded::{Appending, Committing};
pub use error::JournalError;
pub(crate) use export::{Kind, Wanted, export};
pub use fit::fit;
pub(crate) use inspect::{format, inspect, sources};
pub(crate) use lock::{Lock, in_use};
pub(crate) use open::{FORMAT, to_this_format};
pub use record::*;
pub(crate) use shared::is_full;
pub(crate) use standing::{Standing, standing};
pub use state::{CheckpointInfo, PipelineState};

/// Which life of the journal an offset belongs to. A new one starts only when records were lost:
/// a power failure under durability `process`, or a restored backup.
pub type Epoch = Arc<str>;

/// What the journal made of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Visible; its events have the numbers `first..=last`.
    Applied { first: Number, last: Number },
    /// A chunk, kept until its last one comes.
    Staged,
    /// An event with the same idempotency key is there already, at this number.
    Already(Number),
}

/// Where a source stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceState {
    pub incarnation: Name,
    /// The last position that was appended, staged chunks included.
    pub position: Position,
    pub token: Box<str>,
}

/// A dead letter that is not closed. It is kept by its own rules, longer than the events around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLetter {
    /// Of the control record that told of it.
    pub number: Number,
    pub at: Micros,
    pub letter: DeadLetter,
}

/// A piece of the history of some channels.
#[derive(Debug)]
pub struct History {
    /// In rising order.
    pub messages: Vec<Arc<Message>>,
    /// Nothing of these channels up to here is missing, but for what `pruned` says.
    pub through: Number,
    /// The channels of which retention took messages after the number that was asked for, and the
    /// number from which on each is whole; none of its older messages are among `messages`.
    pub pruned: Vec<(ChannelName, Number)>,
}

/// The journal's handle; clones share it. Safe to use from any thread inside a tokio runtime.
#[derive(Clone)]
pub struct Journal {
    embedded: Arc<embedded::Embedded>,
}

impl Journal {
    /// Opens the journal in `folder` (made where there is none), with the channels' rules of how long
    /// their messages are kept.
    ///
    /// # Errors
    /// `Locked`, `Corrupt`, `Format`, or what the storage says.
    pub async fn open(
        folder: &std::path::Path,
        settings: &crate::config::JournalSettings,
        channels: &[crate::config::ChannelSettings],
    ) -> Result<Self, JournalError> {
        let embedded = open::open(folder, settings, channels, open::boot_id()).await?;
        Ok(Self { embedded: Arc::new(embedded) })
    }

    pub fn epoch(&self) -> Epoch {
        self.embedded.shared.epoch.clone()
    }

    /// The time for what is to be appended: the clock's, but never before the newest record's, also where the
    /// clock was put back.
    pub fn now(&self) -> Micros {
        self.embedded.shared.now()
    }

    /// The highest number that readers see.
    pub fn head(&self) -> Number {
        self.embedded.shared.head()
    }

    /// All events and controls after this number are kept.
    pub fn kept_after(&self) -> Number {
        self.embedded.shared.floors().events
    }

    /// What the journal's file holds, in bytes; measured every few seconds.
    pub fn used(&self) -> u64 {
        self.embedded.shared.used.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Something could not be written for want of room, and nothing as large could since: what to do.
    pub fn no_room(&self) -> Option<String> {
        self.embedded.shared.room.why()
    }

    /// As [`Self::no_room`], if it came about since this was last asked, and even if there is room again: for whoever
    /// looks only now and then.
    pub(crate) fn lacked_room(&self) -> Option<String> {
        self.embedded.shared.room.lately()
    }

    /// Returns when the journal can't go on: a sync failed, say. Whoever opens it anew finds what is whole.
    pub async fn failed(&self) {
        let _ = self.embedded.shared.failed.subscribe().wait_for(|failed| *failed).await;
    }

    /// Whether retention took messages of one of the channels after a number.
    pub fn is_pruned<'a>(&self, channels: impl IntoIterator<Item = &'a ChannelName>, after: Number) -> bool {
        let floors = self.embedded.shared.floors();
        channels.into_iter().any(|channel| floors.channels.get(channel).is_some_and(|floor| after < *floor))
    }

    /// Wakes when the head moves.
    pub fn watch_head(&self) -> watch::Receiver<Number> {
        self.embedded.shared.head.subscribe()
    }

    /// Wakes when an event or a control comes; commits alone don't move it.
    pub fn watch_events(&self) -> watch::Receiver<Number> {
        self.embedded.shared.events.subscribe()
    }

    /// The highest number that survives a power failure: a source is acknowledged up to here.
    pub fn watch_durable(&self) -> watch::Receiver<Number> {
        self.embedded.shared.durable.subscribe()
    }

    /// Appends events. Returns when they are as durable as the setting promises.
    pub async fn append(&self, append: Append) -> Result<Appended, JournalError> {
        self.hand_in_append(append).await?.done().await
    }

    /// As [`Self::append`], without waiting: the source is read on meanwhile.
    ///
    /// # Errors
    /// `TooLarge`, `Full`, or `Closed`. Everything else [`Appending::done`] tells.
    pub async fn hand_in_append(&self, append: Append) -> Result<Appending, JournalError> {
        self.embedded.hand_in_append(append).await
    }

    /// Moves a pipeline's cursor, changes its state and publishes its messages, all or nothing.
    /// A commit without state, messages and versions may be kept in memory for up to a second.
    /// Returns the number of the commit's last message.
    pub async fn commit(&self, commit: Commit) -> Result<Number, JournalError> {
        self.hand_in(commit).await?.done().await
    }

    /// As [`Self::commit`], without waiting: whoever has the next thing to do meanwhile does it. A second commit
    /// of the same pipeline may be handed in behind the first; it fails if that one does.
    ///
    /// # Errors
    /// `TooLarge`, or `Closed`. Everything else [`Committing::done`] tells.
    pub async fn hand_in(&self, commit: Commit) -> Result<Committing, JournalError> {
        self.embedded.hand_in(commit).await
    }

    pub async fn control(&self, control: Control) -> Result<Number, JournalError> {
        self.embedded.control(control).await
    }

    /// Whole records in rising order, the first one the one that holds the number after `after`;
    /// at most `bytes` of them, but at least one where there is one. Commits whose messages their
    /// channels' retention has taken are left out.
    ///
    /// # Errors
    /// `Pruned` if events or controls after `after` are gone: whoever wants what is left goes on from
    /// its `oldest`.
    pub async fn read(&self, after: Number, bytes: usize) -> Result<Vec<Arc<Record>>, JournalError> {
        self.embedded.read(after, bytes).await
    }

    /// As [`Self::read`], for whoever has no use for commits: what is read from disk is without them. Beside the
    /// records the number up to which there are no others.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub async fn read_events(&self, after: Number, bytes: usize) -> Result<(Vec<Arc<Record>>, Number), JournalError> {
        self.embedded.read_events(after, bytes).await
    }

    /// As [`Self::read`], from memory, without waiting; None if memory doesn't reach back that far.
    pub fn read_memory(&self, after: Number, bytes: usize) -> Option<Vec<Arc<Record>>> {
        self.embedded.read_memory(after, bytes)
    }

    /// Messages of stream channels after a number, merged in rising order, at most `limit`.
    pub async fn history(
        &self,
        channels: &[ChannelName],
        after: Number,
        limit: usize,
    ) -> Result<History, JournalError> {
        self.embedded.history(channels, after, limit).await
    }

    /// The newest message for each key of a state channel.
    pub async fn state_channel(&self, channel: &ChannelName) -> Result<StateChannel, JournalError> {
        self.embedded.reader().state_channel(channel).await
    }

    /// The keys that a pipeline has set in state channels and not deleted.
    pub async fn state_keys(&self, pipeline: &str) -> Result<Vec<(ChannelName, Box<str>)>, JournalError> {
        self.embedded.reader().state_keys(pipeline).await
    }

    /// Where a pipeline stands; None if it never committed. All that was handed in before counts, whether
    /// somebody waited for it or not.
    pub async fn pipeline(&self, name: &str) -> Result<Option<PipelineState>, JournalError> {
        self.embedded.pipeline(name).await
    }

    /// The checkpoints of a pipeline's state, in rising order. Each one's events are kept: whoever
    /// begins from it can read all that came after its cursor.
    pub async fn checkpoints(&self, pipeline: &str) -> Result<Vec<CheckpointInfo>, JournalError> {
        self.embedded.reader().checkpoints(pipeline).await
    }

    /// What a checkpoint kept; None if there is none of that number, or retention took it.
    pub async fn checkpoint(&self, number: Number) -> Result<Option<PipelineState>, JournalError> {
        self.embedded.reader().checkpoint(number).await
    }

    /// Dead letters that are not closed, of one pipeline or of all, after a number, in rising order, at
    /// most `limit`, and at most 4 MiB of them (but one, where there is one): whoever wants all asks again after
    /// the last.
    pub async fn dead_letters(
        &self,
        pipeline: Option<&str>,
        after: Number,
        limit: usize,
    ) -> Result<Vec<StoredLetter>, JournalError> {
        self.embedded.reader().dead_letters(pipeline, after, limit).await
    }

    /// None if there is none of that number, it was closed, or retention took it.
    pub async fn dead_letter(&self, number: Number) -> Result<Option<StoredLetter>, JournalError> {
        self.embedded.reader().dead_letter(number).await
    }

    /// How many dead letters are not closed, by pipeline; pipelines without any are left out.
    pub async fn dead_letter_count(&self) -> Result<BTreeMap<Name, u64>, JournalError> {
        self.embedded.reader().dead_letter_count().await
    }

    /// The numbers of the kept events that a pipeline wrote a dead letter of, whatever became of the
    /// letter, in rising order.
    pub async fn events_with_letters(&self, pipeline: &str) -> Result<Vec<Number>, JournalError> {
        self.embedded.reader().events_with_letters(pipeline).await
    }

    /// Where a source stands; None if nothing was ever appended for it. All that was handed over before
    /// counts: whoever was broken off while it waited for an append has left it here, and the next one
    /// must not go on from before it.
    pub async fn source(&self, name: &str) -> Result<Option<SourceState>, JournalError> {
        self.embedded.source(name).await
    }

    /// All sources whose name begins so, and where they stand; as [`Self::source`].
    pub async fn sources(&self, prefix: &str) -> Result<Vec<(Name, SourceState)>, JournalError> {
        self.embedded.sources(prefix).await
    }

    /// The number before the source's first event beyond a position (the head if there is none).
    pub async fn number_at(&self, source: &str, position: Position) -> Result<Number, JournalError> {
        self.embedded.reader().number_at(source, position).await
    }

    /// Drops the chunks of an unfinished snapshot: capture calls it before it begins to read the rows
    /// anew. (Chunks of another request, or of another life of the source, give way to new ones by themselves.)
    pub async fn discard_snapshot(&self, source: &str, pipeline: &str) -> Result<(), JournalError> {
        self.embedded.discard_snapshot(source, pipeline).await
    }

    /// Hands the chunks of an unfinished snapshot over to another request of the pipeline, whose appends go on
    /// from there, and gives the last of them; None if there are none. All that was handed over before counts.
    /// They outlive a restart.
    pub async fn take_over_snapshot(
        &self,
        source: &str,
        pipeline: &str,
        request: Number,
    ) -> Result<Option<Append>, JournalError> {
        self.embedded.take_over_snapshot(source, pipeline, request).await
    }

    /// Drops the unfinished snapshots that were taken for a pipeline, but for those of a source: it waits for no others.
    /// Nobody may be taking one: what they append next would be taken for the whole.
    pub async fn keep_snapshots(&self, pipeline: &str, source: Option<&str>) -> Result<(), JournalError> {
        self.embedded.keep_snapshots(pipeline, source).await
    }

    /// Drops the unfinished snapshots of sources that are no longer configured: nobody goes on with them.
    pub async fn keep_sources(&self, names: &[Name]) -> Result<(), JournalError> {
        self.embedded.keep_sources(names).await
    }

    /// Control records after a number, in rising order, at most `limit`: one may be as large as a record.
    pub async fn controls(&self, after: Number, limit: usize) -> Result<Vec<(Number, Control)>, JournalError> {
        self.embedded.reader().controls(false, after, limit).await
    }

    /// All control records that tell of a gap, in rising order: they are small, and kept for ever.
    pub async fn gaps(&self) -> Result<Vec<(Number, Control)>, JournalError> {
        self.embedded.reader().controls(true, Number::ZERO, usize::MAX).await
    }

    /// Forgets pipelines that are no longer configured, so that they don't hold retention back.
    pub async fn keep_pipelines(&self, names: &[Name]) -> Result<(), JournalError> {
        self.embedded.keep_pipelines(names).await
    }

    /// Writes what is waiting, syncs, marks the stop as clean.
    pub async fn close(&self) {
        self.embedded.close().await;
    }
}
