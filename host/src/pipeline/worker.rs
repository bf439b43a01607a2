//! The work of one pipeline, on a thread of its own.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::health::Board;
use crate::config::Config;
use crate::event::Name;
use crate::journal::Journal;
use crate::sandbox::Sandbox;

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
}

#[expect(clippy::unimplemented, reason = "the thin path comes next")]
pub(super) fn run(_context: &Context) {
    unimplemented!()
}
