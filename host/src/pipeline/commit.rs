//! The running pipeline's side of the journal: one commit for each batch that made something, and a
//! cursor that is saved now and then where nothing was made. While a batch's commit is on its way the next
//! batch runs; everything else waits for it.

use std::time::{Duration, Instant};

use crate::event::{Name, Number};
use crate::journal::{Commit, Committing, JournalError, StateChange};
use crate::message::ChannelKind;

use super::chain::{Chain, Memory};
use super::context::Context;
use super::failure::{Made, Sink, Stop};
use super::letters::GivenUp;
use super::meta::Meta;

/// How often a cursor that moved without output is saved.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What a pipeline that runs knows.
pub(super) struct Live {
    pub(super) memory: Memory,
    pub(super) meta: Meta,
    /// The cursor as the journal knows it.
    committed: Number,
    /// The last batch's commit and its cursor, until it is known to be true.
    on_its_way: Option<(Number, Committing)>,
    /// Everything up to here is done, or on its way.
    cursor: Number,
    /// When a cursor that moved without output first went beyond `committed`.
    unsaved_since: Option<Instant>,
    /// Of the events ahead: those that became dead letters before a crash took the cursor back.
    pub(super) given_up: GivenUp,
    /// What is handled now was sent before: stream channels get nothing of it.
    pub(super) muted: bool,
    /// What is handled now is a letter that is tried again: its order is gone, so it holds nothing up.
    pub(super) replaying: bool,
    /// When its state is to be kept next; none: never (it has no plugins).
    checkpoint_at: Option<Instant>,
}

impl Live {
    pub(super) fn new(memory: Memory, meta: Meta, committed: Number) -> Self {
        Self {
            memory,
            meta,
            committed,
            on_its_way: None,
            cursor: committed,
            unsaved_since: None,
            given_up: GivenUp::new(),
            muted: false,
            replaying: false,
            checkpoint_at: None,
        }
    }

    /// A state that was made anew took the place of this one. It is kept soon, to try versions from it.
    pub(super) fn begin_anew(&mut self, memory: Memory, meta: Meta, committed: Number) {
        let checkpoint_at = self.checkpoint_at.map(|_| Instant::now());
        let given_up = std::mem::take(&mut self.given_up);
        *self = Self { given_up, checkpoint_at, ..Self::new(memory, meta, committed) };
    }

    pub(super) fn checkpoint_due(&self) -> bool {
        self.checkpoint_at.is_some_and(|at| at <= Instant::now())
    }

    pub(super) fn checkpoint_taken(&mut self, every: Duration) {
        self.checkpoint_at = Some(Instant::now() + every);
    }

    /// The state is kept at once: there is no checkpoint, or it is too old.
    pub(super) fn checkpoint_soon(&mut self) {
        self.checkpoint_at = Some(Instant::now());
    }

    pub(super) fn cursor(&self) -> Number {
        self.cursor
    }

    pub(super) fn committed(&self) -> Number {
        self.committed
    }

    /// Moves on without output. `worth`: whether the cursor is to be saved for it.
    pub(super) fn pass(&mut self, context: &Context, cursor: Number, worth: bool) {
        self.cursor = self.cursor.max(cursor);
        if worth {
            self.unsaved_since.get_or_insert_with(Instant::now);
        }
        if self.on_its_way.is_none() {
            context.board.write(|health| health.cursor = self.cursor);
        }
    }

    /// How long the cursor may still stay unsaved; none if there is nothing to save.
    pub(super) fn unsaved(&self) -> Option<Duration> {
        self.unsaved_since.map(|since| SAVE_EVERY.saturating_sub(since.elapsed()))
    }

    /// Saves the cursor if it moved without output.
    pub(super) fn save(&mut self, context: &Context) -> Result<(), Stop> {
        self.settle(context)?;
        if self.unsaved_since.is_some() {
            self.write(context, self.cursor, vec![])?;
        }
        Ok(())
    }

    /// Writes entries of the host's own, and the cursor.
    pub(super) fn write(&mut self, context: &Context, cursor: Number, state: Vec<StateChange>) -> Result<(), Stop> {
        self.hand_in(context, Commit { cursor, state, ..Commit::default() })?;
        Ok(self.settle(context)?)
    }

    /// Hands a commit in behind the last one, which is settled first: there is never more than one on its way.
    fn hand_in(&mut self, context: &Context, commit: Commit) -> Result<(), JournalError> {
        self.settle(context)?;
        let cursor = commit.cursor;
        let commit = Commit { pipeline: context.name.clone(), after: Some(self.committed), ..commit };
        context.crash.point();
        let committing = context.handle.block_on(context.journal.hand_in(commit))?;
        self.on_its_way = Some((cursor, committing));
        (self.cursor, self.unsaved_since) = (cursor, None);
        Ok(())
    }

    /// Waits until what was handed in is true.
    ///
    /// # Errors
    /// It failed, and with it all that came after: the pipeline begins anew from what is committed.
    pub(super) fn settle(&mut self, context: &Context) -> Result<(), JournalError> {
        let Some((cursor, committing)) = self.on_its_way.take() else { return Ok(()) };
        if let Err(error) = context.handle.block_on(committing.done()) {
            (self.cursor, self.unsaved_since) = (self.committed, None);
            return Err(error);
        }
        context.crash.point();
        self.committed = cursor;
        context.board.write(|health| health.cursor = self.cursor);
        Ok(())
    }
}

impl Sink for Live {
    const REBUILD: bool = false;

    fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    fn settle(&mut self, context: &Context) -> Result<(), JournalError> {
        Live::settle(self, context)
    }

    fn delivered(&self) -> bool {
        self.muted
    }

    fn may_hold(&self, _: Number) -> bool {
        !self.replaying
    }

    fn on_probation(&self, context: &Context, plugin: &Name) -> bool {
        self.meta.versions.get(plugin).is_some_and(|active| context.probations.holds(plugin, active))
    }

    fn accept(&mut self, context: &Context, chain: &Chain, made: Made<'_>) -> Result<(), JournalError> {
        let Made { references, items, mut messages, through } = made;
        if self.muted {
            messages.retain(|message| message.channel_kind == ChannelKind::State);
        }
        let mut state = references.to_vec();
        for (owner, changed) in chain.names().zip(&self.memory.states) {
            state.extend(changed.changes().map(|(key, value)| StateChange {
                owner: owner.clone(),
                key: key.into(),
                value: value.cloned(),
            }));
        }
        let count = messages.len() as u64;
        if state.is_empty() && messages.is_empty() {
            self.pass(context, through, true);
        } else {
            let plugins = chain.versions();
            self.hand_in(context, Commit { cursor: through, state, messages, plugins, ..Commit::default() })?;
        }
        context.board.write(|health| {
            health.batches += 1;
            health.events += items.len() as u64;
            health.messages += count;
        });
        Ok(())
    }
}
