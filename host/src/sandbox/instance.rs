//! An instance of a plugin, for one pipeline: takes batches, gives what became of them.

use std::sync::Arc;

use super::error::Fault;
use super::lookup::Lookup;
use super::state::State;
use crate::event::Event;
use crate::message::ChannelName;

/// An event as a plugin gets it.
#[derive(Debug, Clone)]
pub struct BatchEvent {
    pub event: Arc<Event>,
    /// The row after, where an enricher changed it.
    pub after: Option<Box<str>>,
    /// The state is being made anew; nothing of it goes out to stream channels.
    pub rebuild: bool,
}

/// What a plugin made of a batch, checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Of an enricher.
    Patches(Vec<Patch>),
    /// Of a router or an aggregator, in the order of events.
    Messages(Vec<Draft>),
}

/// A change to an event for the plugins that come after. At most one for each event, in their order.
#[derive(Debug, PartialEq, Eq)]
pub struct Patch {
    /// Index in the batch.
    pub event: usize,
    pub drop: bool,
    /// A JSON merge patch (RFC 7396) on the row after; an object.
    pub body: Option<Box<str>>,
}

/// A message as a plugin wants it sent. Whether it may send to the channel is not checked here.
#[derive(Debug, PartialEq, Eq)]
pub struct Draft {
    /// Index in the batch.
    pub event: usize,
    pub channel: ChannelName,
    pub key: Option<Box<str>>,
    /// A tombstone; it has a key.
    pub deleted: bool,
    pub kind: Box<str>,
    pub event_type: Box<str>,
    /// Valid JSON.
    pub data: Box<str>,
}

/// Holds the plugin's memory. After any fault it is of no more use: drop it and make another.
pub struct Instance {}

#[expect(clippy::unimplemented, reason = "the thin path comes next")]
impl Instance {
    /// Runs a batch through the plugin. State and lookup are moved into the sandbox for the call.
    ///
    /// # Errors
    /// The state then holds what the plugin changed before the fault: discard it.
    pub fn call(&mut self, _events: &[BatchEvent], _state: &mut State, _lookup: &Lookup) -> Result<Output, Fault> {
        unimplemented!()
    }
}
