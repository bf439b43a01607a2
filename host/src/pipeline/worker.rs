//! The work of one pipeline, on a thread of its own.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::batch::{Batch, Next, Size, View, cut};
use super::chain::{Chain, Memory};
use super::commit::Live;
use super::failure::{Stop, settle};
use super::feed::Feed;
use super::health::{Board, Status};
use super::meta::{Meta, Rebuild};
use super::reference;
use super::wants::Wants;
use crate::config::Config;
use crate::event::{Name, Number};
use crate::journal::{Commit, Control, Journal, JournalError, PipelineState, Record, RecordBody, StateChange};
use crate::sandbox::Sandbox;

/// The longest wait before a pipeline that stands still tries again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a pipeline's thread is given.
pub(super) struct Context {
    pub(super) name: Name,
    /// In order; the built-in pipeline has none.
    pub(super) plugins: Vec<Name>,
    pub(super) config: Arc<Config>,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) journal: Journal,
    /// For the journal's async calls, made from this thread.
    pub(super) handle: Handle,
    pub(super) board: Board,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) crash: Crash,
}

/// Lets tests break a pipeline off around its commits, as if the process had died there.
#[derive(Clone, Default)]
pub(super) struct Crash(#[cfg(test)] pub(super) Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Crash {
    #[inline]
    pub(super) fn point(&self) {
        #[cfg(test)]
        if self.0.as_ref().is_some_and(|crash| crash()) {
            std::panic::resume_unwind(Box::new("crash"));
        }
    }
}

impl Context {
    /// Waits, unless the pipeline is to stop.
    pub(super) fn pause(&self, time: Duration) -> Result<(), Stop> {
        let mut stopping = self.stopping.clone();
        let stopped =
            self.handle.block_on(async { tokio::time::timeout(time, stopping.wait_for(|stop| *stop)).await.is_ok() });
        if stopped { Err(Stop::Quiet) } else { Ok(()) }
    }

    pub(super) fn go_on(&self) -> Result<(), Stop> {
        if *self.stopping.borrow() { Err(Stop::Quiet) } else { Ok(()) }
    }

    pub(super) fn control(&self, control: Control) -> Result<Number, JournalError> {
        self.handle.block_on(self.journal.control(control))
    }

    pub(super) fn size(&self) -> Size {
        let plugins = &self.config.plugins;
        Size { events: plugins.batch_events.max(1), bytes: usize::try_from(plugins.batch_bytes).unwrap_or(usize::MAX) }
    }
}

/// A request for a snapshot that isn't answered yet.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) number: Number,
    tables: Vec<Name>,
}

/// Runs the pipeline until it is to stop. When something stands in its way it says so, waits, and
/// begins anew from what is committed.
pub(super) fn run(context: &Context) {
    let first = context.config.plugins.retry_after.max(Duration::from_millis(10));
    let mut wait = first;
    // A pipeline that begins anew doesn't ask again for what it has asked for.
    let mut asked = None;
    let mut said = String::new();
    loop {
        let batches = context.board.read().batches;
        let caught = std::panic::catch_unwind(AssertUnwindSafe(|| live(context, &mut asked)));
        let stop = caught.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Stop::Broken { plugin: None, reason: format!("internal error: {}", text.unwrap_or("panic")) }
        });
        match stop {
            Stop::Quiet => break context.board.status(Status::Stopped),
            Stop::Conflict(reason) => {
                tracing::error!(pipeline = %context.name, reason, "pipeline stopped");
                break context.board.status(Status::Failed { plugin: None, reason });
            }
            Stop::Broken { plugin, reason } => {
                if context.board.read().batches > batches {
                    wait = first;
                }
                // Once; what stays as it is, is in /readyz.
                if said != reason {
                    let plugin = plugin.as_deref().unwrap_or("-");
                    tracing::error!(pipeline = %context.name, plugin, reason, "pipeline stands still; it tries again by itself");
                    said.clone_from(&reason);
                }
                context.board.status(Status::Failed { plugin, reason });
                if context.pause(wait).is_err() {
                    break context.board.status(Status::Stopped);
                }
                wait = wait.saturating_mul(2).min(LONGEST_WAIT);
            }
        }
    }
}

/// One life of a pipeline: from what is committed until something stops it.
fn live(context: &Context, asked: &mut Option<Asked>) -> Stop {
    context.board.status(Status::Starting);
    let loaded = Chain::load(&context.name, &context.plugins, &context.config, &context.sandbox);
    let begun = loaded.and_then(|(chain, wants)| Worker::begin(context, chain, wants, asked));
    begun.map_or_else(|stop| stop, Worker::follow)
}

pub(super) struct Worker<'a> {
    pub(super) context: &'a Context,
    pub(super) chain: Chain,
    pub(super) wants: Wants,
    pub(super) live: Live,
    pub(super) feed: Feed,
    pub(super) asked: &'a mut Option<Asked>,
}

impl<'a> Worker<'a> {
    /// Takes up what is committed; a new pipeline waits for the rows that are there, if it needs any.
    fn begin(context: &'a Context, chain: Chain, wants: Wants, asked: &'a mut Option<Asked>) -> Result<Self, Stop> {
        let stored = context.handle.block_on(context.journal.pipeline(&context.name))?;
        let Some(mut stored) = stored else {
            return Self::begin_new(context, chain, wants, asked);
        };
        let meta = Meta::take(&mut stored).map_err(|reason| {
            let remedy = "run the relevo version that wrote it, or restore a backup of the data folder";
            Stop::Broken { plugin: None, reason: format!("pipeline {}: {reason}; {remedy}", context.name) }
        })?;
        let memory = take_memory(&chain, &wants, &mut stored);
        let feed = Feed::new(&context.journal, &context.handle, stored.cursor);
        let live = Live::new(memory, meta, stored.cursor);
        context.board.write(|health| health.cursor = stored.cursor);
        let mut worker = Self { context, chain, wants, live, feed, asked };
        worker.compare_kept(&stored)?;
        if let Some(rebuild) = worker.live.meta.rebuild.clone() {
            worker.ask(false)?;
            if rebuild.stands {
                worker.stand()?;
            }
        }
        Ok(worker)
    }

    fn begin_new(context: &'a Context, chain: Chain, wants: Wants, asked: &'a mut Option<Asked>) -> Result<Self, Stop> {
        let memory = take_memory(&chain, &wants, &mut PipelineState::default());
        let meta = Meta { kept: wants.kept.clone(), ..Meta::default() };
        let head = context.journal.head();
        let feed = Feed::new(&context.journal, &context.handle, head);
        let needs_rows = !wants.kept.tables().is_empty();
        if needs_rows {
            let live = Live::new(memory, Meta::default(), Number::ZERO);
            let mut worker = Self { context, chain, wants, live, feed, asked };
            worker.ask(false)?;
            worker.wait_for_rows(None)?;
            return Ok(worker);
        }
        // With an entry of its own, so that the beginning is saved at once.
        let (pipeline, state) = (context.name.clone(), meta.changes());
        let commit = Commit { pipeline, after: None, cursor: head, state, ..Commit::default() };
        context.handle.block_on(context.journal.commit(commit))?;
        let live = Live::new(memory, meta, head);
        context.board.write(|health| health.cursor = head);
        Ok(Self { context, chain, wants, live, feed, asked })
    }

    /// If the manifests ask for other rows or columns than are kept, the state is made anew.
    fn compare_kept(&mut self, stored: &PipelineState) -> Result<(), Stop> {
        let kept = &self.wants.kept;
        if self.live.meta.kept == *kept {
            return Ok(());
        }
        if kept.tables().is_empty() {
            // Nothing of it is wanted any more.
            let tables = stored.state.iter().filter(|(owner, _)| owner.starts_with('@'));
            let mut changes: Vec<StateChange> = tables
                .flat_map(|(owner, rows)| rows.keys().map(|key| (owner.clone(), key.clone())))
                .map(|(owner, key)| StateChange { owner, key, value: None })
                .collect();
            self.live.meta = Meta { kept: kept.clone(), ..Meta::default() };
            changes.extend(self.live.meta.changes());
            return self.live.write(self.context, self.live.cursor(), changes);
        }
        let reason = "the manifests ask for other rows or columns than are kept";
        self.want_rebuild(reason, false, self.live.cursor())
    }

    /// Remembers that the state has to be made anew.
    fn want_rebuild(&mut self, reason: &str, stands: bool, cursor: Number) -> Result<(), Stop> {
        tracing::warn!(pipeline = %self.context.name, reason, "the state will be made anew from the source's rows");
        let stands = stands || self.live.meta.rebuild.as_ref().is_some_and(|rebuild| rebuild.stands);
        self.live.meta.rebuild = Some(Rebuild { reason: reason.into(), stands });
        let change = self.live.meta.rebuild_change();
        self.live.write(self.context, cursor, vec![change])
    }

    /// Asks the source for its rows. `again`: even if it was asked before.
    pub(super) fn ask(&mut self, again: bool) -> Result<(), Stop> {
        let tables: Vec<Name> = self.wants.kept.tables().into_iter().collect();
        let Some(source) = self.wants.source.clone() else { return Ok(()) };
        self.context.board.write(|health| health.rebuild_asked = true);
        if !again && self.asked.as_ref().is_some_and(|asked| asked.tables == tables) {
            return Ok(());
        }
        let pipeline = self.context.name.clone();
        let number = self.context.control(Control::SnapshotWanted { pipeline, source, tables: tables.clone() })?;
        *self.asked = Some(Asked { number, tables });
        Ok(())
    }

    fn follow(mut self) -> Stop {
        self.context.board.status(Status::Running);
        loop {
            if let Err(stop) = self.step() {
                if matches!(stop, Stop::Quiet) {
                    // At most a second's work is done again if this fails.
                    let _ = self.live.save(self.context);
                }
                return stop;
            }
        }
    }

    fn step(&mut self) -> Result<(), Stop> {
        self.context.go_on()?;
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
            awaited: self.asked.as_ref().map(|asked| asked.number),
            until: Number(u64::MAX),
            replayed_as: None,
        };
        match cut(self.feed.records(), self.feed.at(), self.context.size(), &view, self.feed.more()) {
            Next::Batch(batch) => self.batch(batch),
            Next::Control(record) => self.control(&record),
            Next::Snapshot(record) => {
                self.rebuild(&record, Some(self.live.cursor()))?;
                self.context.board.status(Status::Running);
                Ok(())
            }
            Next::Nothing => {
                self.feed.wait(&mut self.context.stopping.clone(), self.live.unsaved());
                Ok(())
            }
        }
    }

    fn batch(&mut self, batch: Batch) -> Result<(), Stop> {
        let Batch { references, items, through, moved } = batch;
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

    /// Meets a control record that concerns the pipeline.
    fn control(&mut self, record: &Record) -> Result<(), Stop> {
        let RecordBody::Control(control) = &record.body else { return Ok(()) };
        let needs_rows = self.wants.source.is_some();
        match control {
            Control::Gap { source, reason } if needs_rows => {
                self.want_rebuild(&format!("source {source}: {reason}"), false, record.last)?;
                self.ask(true)?;
            }
            Control::RebuildWanted { .. } if needs_rows => {
                self.want_rebuild("an operator wants it", false, record.last)?;
                self.ask(true)?;
            }
            Control::RebuildWanted { .. } => self.reset(record.last)?,
            Control::PipelineGap { .. } => return self.fell_behind(record.last),
            _ => {}
        }
        self.live.pass(self.context, record.last, true);
        self.feed.pass(record.last);
        Ok(())
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
    fn stand(&mut self) -> Result<(), Stop> {
        self.wait_for_rows(Some(self.live.cursor()))?;
        self.context.board.status(Status::Running);
        Ok(())
    }

    /// Waits for the snapshot that was asked for, and makes the state of it. `former`: the cursor of
    /// a pipeline that is not new.
    fn wait_for_rows(&mut self, former: Option<Number>) -> Result<(), Stop> {
        let context = self.context;
        context.board.status(Status::WaitingForSnapshot);
        while let Some(Asked { number: awaited, .. }) = self.asked.clone() {
            let mut feed = Feed::new(&context.journal, &context.handle, awaited);
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
                    awaited: Some(awaited),
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
                    Next::Nothing => feed.wait(&mut context.stopping.clone(), None),
                }
            };
            match answer {
                Some(record) => self.rebuild(&record, former)?,
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
