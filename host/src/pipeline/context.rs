//! What a pipeline's thread is given, and what it waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use super::batch::Size;
use super::breaker::Breaker;
use super::failure::Stop;
use super::health::Board;
use super::library::Library;
use super::probation::Probations;
use crate::config::Config;
use crate::event::{Name, Number};
use crate::journal::{Control, Journal, JournalError};
use crate::sandbox::Notes;

/// See the module.
pub(super) struct Context {
    pub(super) name: Name,
    /// In order; the built-in pipeline has none.
    pub(super) plugins: Vec<Name>,
    pub(super) config: Arc<Config>,
    pub(super) library: Arc<Library>,
    pub(super) journal: Journal,
    /// For the journal's async calls, made from this thread.
    pub(super) handle: Handle,
    pub(super) board: Board,
    pub(super) stopping: watch::Receiver<bool>,
    /// Rings when somebody wished for something that a pipeline which stands still should look at.
    pub(super) bell: Arc<Notify>,
    pub(super) breaker: Breaker,
    pub(super) probations: Probations,
    /// By plugin: its log, its metrics, what it used up.
    pub(super) notes: BTreeMap<Name, Notes>,
    /// Events that operators let go, of those that lie ahead.
    pub(super) skips: Mutex<BTreeSet<Number>>,
    /// No rows were asked for in this process yet, so that unfinished snapshots are an earlier one's.
    pub(super) unfinished: AtomicBool,
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
    /// Where it is noted what a plugin of the pipeline leaves.
    pub(super) fn notes(&self, plugin: &Name) -> Notes {
        self.notes.get(plugin).cloned().unwrap_or_default()
    }

    /// Waits, unless the pipeline is to stop.
    pub(super) fn pause(&self, time: Duration) -> Result<(), Stop> {
        let mut stopping = self.stopping.clone();
        let stopped =
            self.handle.block_on(async { tokio::time::timeout(time, stopping.wait_for(|stop| *stop)).await.is_ok() });
        if stopped { Err(Stop::Quiet) } else { Ok(()) }
    }

    /// Waits for a while, or until the bell rings; unless the pipeline is to stop.
    pub(super) fn rest(&self, time: Duration) -> Result<(), Stop> {
        let mut stopping = self.stopping.clone();
        self.handle.block_on(async {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => Err(Stop::Quiet),
                () = self.bell.notified() => Ok(()),
                () = tokio::time::sleep(time) => Ok(()),
            }
        })
    }

    /// Remembers events that operators let go.
    pub(super) fn let_go(&self, events: BTreeSet<Number>) {
        *self.skips.lock().unwrap_or_else(PoisonError::into_inner) = events;
    }

    /// Whether an operator let the event go.
    pub(super) fn may_skip(&self, event: Number) -> bool {
        self.skips.lock().unwrap_or_else(PoisonError::into_inner).contains(&event)
    }

    pub(super) fn go_on(&self) -> Result<(), Stop> {
        if *self.stopping.borrow() { Err(Stop::Quiet) } else { Ok(()) }
    }

    pub(super) fn control(&self, control: Control) -> Result<Number, JournalError> {
        self.handle.block_on(self.journal.control(control))
    }

    /// Drops the unfinished snapshots that an earlier process left, but for those of a source whose rows the pipeline
    /// waits for. Later in the process capture may be taking one.
    pub(super) fn keep_snapshots(&self, source: Option<&Name>) -> Result<(), JournalError> {
        if !self.unfinished.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        self.handle.block_on(self.journal.keep_snapshots(&self.name, source.map(|source| &**source)))
    }

    pub(super) fn size(&self) -> Size {
        let plugins = &self.config.plugins;
        Size { events: plugins.batch_events.max(1), bytes: usize::try_from(plugins.batch_bytes).unwrap_or(usize::MAX) }
    }
}
