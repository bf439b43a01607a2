//! The work of one pipeline, on a thread of its own.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use super::batch::{Batch, Next, View, cut};
use super::chain::{Chain, Memory};
use super::commit::Live;
use super::context::Context;
use super::failure::{Stop, settle};
use super::feed::Feed;
use super::health::Status;
use super::meta::{Meta, Paused};
use super::reference;
use super::swap::{self, Place};
use super::wants::Wants;
use crate::event::{Name, Number};
use crate::journal::{Control, JournalError, PipelineState, Record, RecordBody, Swap};

/// The longest wait before a pipeline that stands still tries again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A request for a snapshot that isn't answered yet.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) number: Number,
    pub(super) source: Name,
    pub(super) tables: Vec<Name>,
}

impl Asked {
    /// Whether what a source lost, of these tables or of all, is of those that were asked for.
    pub(super) fn loses(&self, source: &Name, tables: Option<&[Name]>) -> bool {
        self.source == *source && tables.is_none_or(|lost| lost.iter().any(|table| self.tables.contains(table)))
    }
}

/// Runs the pipeline until it is to stop. When something stands in its way it says so, waits, and
/// begins anew from what is committed.
pub(super) fn run(context: &Context) {
    let first = context.config.plugins.retry_after.max(Duration::from_millis(10));
    let mut wait = first;
    // A pipeline that begins anew doesn't ask again for what it has asked for.
    let mut asked = None;
    let mut said = String::new();
    // It stood still: a version that waits further on in the journal may be what mends it.
    let mut stuck = false;
    loop {
        let batches = context.board.read().batches;
        let caught = std::panic::catch_unwind(AssertUnwindSafe(|| live(context, &mut asked, stuck)));
        let stop = caught.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Stop::Broken { plugin: None, reason: format!("internal error: {}", text.unwrap_or("panic")) }
        });
        stuck = false;
        match stop {
            Stop::Quiet => break context.board.status(Status::Stopped),
            // Something was mended; what is still in the way shows at once, and so does what may mend it.
            Stop::Again => wait = first,
            Stop::Conflict(reason) => {
                tracing::error!(pipeline = %context.name, reason, "pipeline stopped");
                break context.board.status(Status::Failed { plugin: None, reason });
            }
            Stop::Broken { plugin: Some(ref plugin), ref reason } if rolled_back(context, plugin, reason) => {}
            Stop::Journal(_) | Stop::Broken { .. } => {
                let (plugin, reason) = stop.told();
                if context.board.read().batches > batches && !context.breaker.is_open() {
                    wait = first;
                }
                // Once; what stays as it is, is in /readyz.
                if said != reason {
                    let plugin = plugin.as_deref().unwrap_or("-");
                    for reason in reason.lines() {
                        tracing::error!(pipeline = %context.name, plugin, reason, "pipeline stands still; it tries again by itself");
                    }
                    said.clone_from(&reason);
                }
                context.board.status(Status::Failed { plugin, reason });
                if context.rest(wait).is_err() {
                    break context.board.status(Status::Stopped);
                }
                wait = wait.saturating_mul(2).min(LONGEST_WAIT);
                stuck = true;
            }
        }
    }
}

/// One life of a pipeline: from what is committed until something stops it.
fn live(context: &Context, asked: &mut Option<Asked>, stuck: bool) -> Stop {
    context.board.status(Status::Starting);
    match Worker::begin(context, asked, stuck) {
        Ok(worker) => worker.follow(),
        Err(stop) => stop,
    }
}

/// A version that failed within its probation gives its place back. False: nothing of that kind.
fn rolled_back(context: &Context, plugin: &Name, reason: &str) -> bool {
    let tried = || {
        let Some(mut stored) = context.handle.block_on(context.journal.pipeline(&context.name))? else {
            return Ok(false);
        };
        let Ok(meta) = Meta::take(&mut stored) else { return Ok(false) };
        if !meta.versions.get(plugin).is_some_and(|active| context.probations.holds(plugin, active)) {
            return Ok(false);
        }
        let place = Place { meta: &meta, committed: stored.cursor, cursor: stored.cursor };
        swap::roll_back(context, &place, plugin, reason)
    };
    tried().unwrap_or_else(|stop: Stop| {
        tracing::error!(pipeline = %context.name, %plugin, ?stop, "a version can't be rolled back");
        false
    })
}

pub(super) struct Worker<'a> {
    pub(super) context: &'a Context,
    pub(super) chain: Chain,
    pub(super) wants: Wants,
    /// The chain with the version that waits for the source's rows.
    pub(super) next: Option<(Chain, Wants)>,
    pub(super) live: Live,
    pub(super) feed: Feed,
    pub(super) asked: &'a mut Option<Asked>,
}

impl Worker<'_> {
    pub(super) fn follow(mut self) -> Stop {
        self.context.board.status(Status::Running);
        loop {
            if let Err(stop) = self.step() {
                if matches!(stop, Stop::Quiet | Stop::Journal(_) | Stop::Broken { .. }) {
                    // At most a second's work is done again if this fails.
                    let _ = self.live.save(self.context);
                }
                return stop;
            }
        }
    }

    fn step(&mut self) -> Result<(), Stop> {
        self.context.go_on()?;
        self.keep_state()?;
        if self.live.unsaved().is_some_and(|left| left.is_zero()) {
            self.live.save(self.context)?;
        }
        match self.feed.fill() {
            Err(JournalError::Pruned { oldest, .. }) => return self.fell_behind(oldest),
            filled => filled?,
        }
        let view = View {
            pipeline: &self.context.name,
            wants: &self.wants,
            contained: &self.live.meta.contained,
            awaited: self.asked.as_ref(),
            until: Number(u64::MAX),
            replayed_as: None,
        };
        let next = cut(self.feed.records(), self.feed.at(), self.context.size(), &view, self.feed.more());
        if !matches!(next, Next::Batch(_)) {
            self.live.settle(self.context)?;
        }
        match next {
            Next::Batch(batch) => self.batch(batch),
            Next::Control(record) => self.control(&record),
            Next::Snapshot(record) => {
                self.take_next();
                self.rebuild(&record, Some(self.live.cursor()))?;
                self.context.board.status(Status::Running);
                Ok(())
            }
            Next::Nothing => {
                // Commits that were passed over.
                let end = self.feed.pass_all();
                self.live.pass(self.context, end, false);
                self.feed.wait(&mut self.context.stopping.clone(), self.live.unsaved())?;
                Ok(())
            }
        }
    }

    /// Keeps the state now and then, so that a version can be tried from it.
    fn keep_state(&mut self) -> Result<(), Stop> {
        if self.live.checkpoint_due() {
            // Settled with it: the checkpoint is of all that was handed in.
            self.live.save(self.context)?;
            let pipeline = self.context.name.clone();
            self.context.control(Control::Checkpoint { pipeline, reason: "now and then".into() })?;
            self.live.checkpoint_taken(self.context.config.plugins.checkpoint_every);
        }
        Ok(())
    }

    fn batch(&mut self, batch: Batch) -> Result<(), Stop> {
        let Batch { references, mut items, through, moved } = batch;
        items.retain_mut(|item| {
            item.wanted &= !self.live.given_up.get(&item.event.number).map_or(0, |(_, mask)| *mask);
            item.wanted != 0
        });
        if references.is_empty() && items.is_empty() {
            self.live.pass(self.context, through, moved);
        } else {
            let lookup = &mut self.live.memory.lookup;
            let references = references.iter().flat_map(|event| reference::apply(event, &self.wants, lookup)).collect();
            reference::bounded(lookup, self.context.config.plugins.lookup_bytes)?;
            settle(self.context, &mut self.chain, &mut self.live, references, items, through)?;
        }
        self.feed.pass(through);
        Ok(())
    }

    /// Whether a wish was not heeded yet, ahead of its place.
    pub(super) fn is_news(&self, swap: &Swap, asked: Number) -> bool {
        self.live.meta.versions.get(&swap.plugin).is_none_or(|active| active.asked < asked)
    }

    /// The version that waited for the rows takes the other's place.
    pub(super) fn take_next(&mut self) {
        if let Some((chain, wants)) = self.next.take() {
            (self.chain, self.wants) = (chain, wants);
        }
    }

    /// Meets a control record that concerns the pipeline.
    fn control(&mut self, record: &Record) -> Result<(), Stop> {
        let RecordBody::Control(control) = &record.body else { return Ok(()) };
        let needs_rows = self.wants.source.is_some();
        match control {
            Control::Gap { source, reason } => self.lost(source, None, reason, record.last)?,
            Control::TableGap { source, tables, reason } => self.lost(source, Some(tables), reason, record.last)?,
            Control::RebuildWanted { .. } if needs_rows => {
                self.want_rebuild("an operator wants it", false, record.last)?;
                self.ask(true)?;
            }
            Control::RebuildWanted { .. } => self.reset(record.last)?,
            Control::PipelineGap { .. } => return self.fell_behind(record.last),
            Control::SwapWanted(swap) if self.is_news(swap, record.last) => {
                let (meta, committed) = (&self.live.meta, self.live.committed());
                let place = Place { meta, committed, cursor: record.last };
                swap::heed(self.context, &place, swap, record.last)?;
                return Err(Stop::Again);
            }
            Control::PauseWanted { by, .. } => {
                self.live.meta.paused = Some(Paused { by: by.clone(), asked: record.last });
                let changes = self.live.meta.changes();
                self.live.write(self.context, record.last, changes)?;
                return Err(Stop::Again);
            }
            Control::ReplayWanted { letter, by, .. } => self.replay_letter(*letter, by, record.last)?,
            _ => {}
        }
        self.live.pass(self.context, record.last, true);
        self.feed.pass(record.last);
        Ok(())
    }

    /// A source has lost something of what the pipeline keeps, or of what a version that waits has asked for: its rows are of
    /// before that.
    fn lost(&mut self, source: &Name, tables: Option<&[Name]>, reason: &str, at: Number) -> Result<(), Stop> {
        if self.wants.loses(source, tables) {
            self.want_rebuild(&format!("source {source}: {reason}"), false, at)?;
        }
        self.ask(true)
    }

    /// Retention has taken events that the pipeline had still to read.
    fn fell_behind(&mut self, go_on_at: Number) -> Result<(), Stop> {
        let context = self.context;
        let reason = format!("retention took events after {}", self.live.cursor());
        tracing::error!(pipeline = %context.name, reason, "gap: events are lost to this pipeline");
        context.board.fault("gap", &reason);
        if self.wants.source.is_some() {
            self.want_rebuild(&reason, true, self.live.cursor())?;
            self.ask(true)?;
            return self.stand();
        }
        // Without rows to make the state of, what is left is all there is.
        self.live.pass(context, go_on_at, true);
        self.feed = Feed::new(&context.journal, &context.handle, self.live.cursor());
        Ok(())
    }

    /// Stands still until the rows come.
    pub(super) fn stand(&mut self) -> Result<(), Stop> {
        self.wait_for_rows(Some(self.live.cursor()))?;
        self.context.board.status(Status::Running);
        Ok(())
    }

    /// Waits for the snapshot that was asked for, and makes the state of it. `former`: the cursor of
    /// a pipeline that is not new.
    pub(super) fn wait_for_rows(&mut self, former: Option<Number>) -> Result<(), Stop> {
        let context = self.context;
        context.board.status(Status::WaitingForSnapshot);
        while let Some(asked) = self.asked.clone() {
            let mut feed = Feed::new(&context.journal, &context.handle, asked.number);
            let answer = loop {
                context.go_on()?;
                match feed.fill() {
                    Err(JournalError::Pruned { .. }) => break None,
                    filled => filled?,
                }
                let view = View {
                    pipeline: &context.name,
                    wants: &self.wants,
                    contained: &self.live.meta.contained,
                    awaited: Some(&asked),
                    until: Number(u64::MAX),
                    replayed_as: None,
                };
                match cut(feed.records(), feed.at(), context.size(), &view, feed.more()) {
                    // Not for this pipeline: what counts of it is in the rows, or comes after them.
                    Next::Batch(batch) => feed.pass(batch.through),
                    Next::Snapshot(record) => break Some(record),
                    Next::Control(record) => match &record.body {
                        RecordBody::Control(Control::PipelineGap { .. }) => feed.pass(record.last),
                        _ => break None,
                    },
                    Next::Nothing => feed.wait(&mut context.stopping.clone(), None)?,
                }
            };
            match answer {
                Some(record) => {
                    self.take_next();
                    self.rebuild(&record, former)?;
                }
                // The source isn't what it was when it was asked, or the answer is gone.
                None => self.ask(true)?,
            }
        }
        Ok(())
    }
}

pub(super) fn take_memory(chain: &Chain, wants: &Wants, stored: &mut PipelineState) -> Memory {
    let lookup = reference::take(stored, wants);
    chain.memory(stored, lookup)
}
