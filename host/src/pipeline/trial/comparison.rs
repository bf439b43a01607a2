//! Compares what a version makes with what was committed, as both go on: messages to stream channels one by
//! one, state channels by what each key shows at a tick.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::report::Report;
use crate::event::Number;
use crate::journal::Committed;
use crate::message::{ChannelKind, ChannelName, Message};

type Key = (ChannelName, Option<Box<str>>);

#[derive(Default)]
pub(super) struct Comparison {
    pub(super) report: Report,
    /// Of the commit that the version comes to next: the stream channels' messages that it did not make yet.
    expected: HashMap<Uuid, Arc<Message>>,
    /// What state channels showed, and what they would show.
    shown: BTreeMap<Key, Arc<Message>>,
    shows: BTreeMap<Key, (Number, Message)>,
    /// The keys that either side has set since the last tick.
    touched: BTreeSet<Key>,
}

impl Comparison {
    pub(super) fn new(report: Report) -> Self {
        Self { report, ..Self::default() }
    }

    /// The version is about to run the events of a commit.
    pub(super) fn expect(&mut self, commit: &Committed) {
        let own = |message: &&Arc<Message>| message.channel_kind != ChannelKind::State && !message.late;
        self.expected = commit.messages.iter().filter(own).map(|message| (message.id, message.clone())).collect();
    }

    /// The version made a message of an event.
    pub(super) fn made(&mut self, event: Number, message: Message) {
        if message.channel_kind == ChannelKind::State {
            let key = (message.channel.clone(), message.key.clone());
            self.touched.insert(key.clone());
            self.shows.insert(key, (event, message));
        } else {
            let was = self.expected.remove(&message.id);
            self.report.compared(was.as_deref(), Some((event, &message)));
        }
    }

    /// The version has run all events of the commit.
    pub(super) fn through(&mut self, commit: &Committed) {
        let mut left: Vec<Arc<Message>> = self.expected.drain().map(|(_, message)| message).collect();
        left.sort_by_key(|message| message.number);
        for message in left {
            self.report.compared(Some(&message), None);
        }
        let of_state = |message: &&Arc<Message>| message.channel_kind == ChannelKind::State && !message.late;
        for message in commit.messages.iter().filter(of_state) {
            let key = (message.channel.clone(), message.key.clone());
            self.touched.insert(key.clone());
            self.shown.insert(key, message.clone());
        }
    }

    /// Both sides stand at the same place, at or behind a tick, or at the end.
    pub(super) fn tick(&mut self) {
        for key in std::mem::take(&mut self.touched) {
            let is = self.shows.get(&key).map(|(event, message)| (*event, message));
            self.report.compared(self.shown.get(&key).map(|message| &**message), is);
        }
    }

    /// The version did not come to the commit's end: what it made of a part of it doesn't compare.
    pub(super) fn abandon(&mut self) {
        self.expected.clear();
        self.touched.clear();
    }
}
