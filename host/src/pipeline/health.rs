//! How a pipeline is: what `/readyz`, the log and the operator are told.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::sync::watch;

use crate::event::{Name, Number};

/// What a pipeline is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// Its plugins are being loaded.
    Starting,
    /// It stands still until the rows that are there come.
    WaitingForSnapshot,
    Running,
    /// Somebody stopped it; it goes on when somebody wishes so.
    Paused {
        by: Box<str>,
    },
    /// It folds a snapshot. While it waits for one and has a state, it is `Running`.
    Rebuilding,
    /// It stands still at its cursor, and tries again now and then.
    Failed {
        /// The plugin that is to blame, where it is one.
        plugin: Option<Name>,
        reason: String,
    },
    Stopped,
}

/// One pipeline's health, a copy of a moment.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    pub pipeline: Name,
    #[serde(flatten)]
    pub status: Status,
    /// Everything up to here is handled and committed.
    pub cursor: Number,
    /// The plugins' versions, in order.
    pub versions: Vec<(Name, Box<str>)>,
    /// By plugin: the newest wish for a version that was answered.
    #[serde(skip)]
    pub answered: BTreeMap<Name, Number>,
    /// The version that waits for a state of its own.
    pub pending: Option<Box<str>>,
    /// How many numbers of the journal lie beyond the cursor.
    pub lag: u64,
    /// It has asked for a snapshot to make its state anew.
    pub rebuild_asked: bool,
    pub batches: u64,
    pub events: u64,
    pub messages: u64,
    pub dead_letters: u64,
    /// Plugins' faults by [`crate::sandbox::Fault::name`].
    pub faults: BTreeMap<&'static str, u64>,
    /// The newest fault or dead letter, as text.
    pub last_fault: Option<String>,
}

/// The worker writes here, the supervisor reads.
#[derive(Clone)]
pub(super) struct Board(watch::Sender<Health>);

impl Board {
    pub(super) fn new(pipeline: Name) -> Self {
        Self(watch::Sender::new(Health {
            pipeline,
            status: Status::Starting,
            cursor: Number::ZERO,
            versions: Vec::new(),
            pending: None,
            answered: BTreeMap::new(),
            lag: 0,
            rebuild_asked: false,
            batches: 0,
            events: 0,
            messages: 0,
            dead_letters: 0,
            faults: BTreeMap::new(),
            last_fault: None,
        }))
    }

    pub(super) fn write(&self, change: impl FnOnce(&mut Health)) {
        self.0.send_modify(change);
    }

    pub(super) fn status(&self, status: Status) {
        self.write(|health| health.status = status);
    }

    pub(super) fn fault(&self, name: &'static str, text: &str) {
        self.write(|health| {
            *health.faults.entry(name).or_default() += 1;
            health.last_fault = Some(text.to_owned());
        });
    }

    pub(super) fn read(&self) -> Health {
        self.0.borrow().clone()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Health> {
        self.0.subscribe()
    }
}
