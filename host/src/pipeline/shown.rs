//! What state channels show of a pipeline, beside what they will show of a state that was made anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event::{Name, Number};
use crate::message::{ChannelKind, ChannelName, Frames, Message};

use super::anew::{Anew, Newest};
use super::failure::Stop;
use super::outputs::tombstone_id;
use super::worker::Worker;

impl Worker<'_> {
    /// What state channels show since `since` and the new state doesn't.
    pub(super) fn gone(&self, anew: &Anew, since: Number) -> Result<Vec<Arc<Message>>, Stop> {
        let (context, journal) = (self.context, &self.context.journal);
        let shown = context.handle.block_on(journal.state_keys(&context.name))?;
        let gone: BTreeSet<(ChannelName, Box<str>)> =
            shown.into_iter().filter(|shown| !anew.newest.contains_key(shown)).collect();
        let channels: BTreeSet<&ChannelName> = gone.iter().map(|(channel, _)| channel).collect();
        let mut messages = Vec::new();
        for channel in channels {
            let shown = context.handle.block_on(journal.state_channel(channel))?.messages;
            messages.extend(shown.into_iter().filter(|old| {
                let key = old.key.clone().unwrap_or_default();
                old.pipeline == context.name && old.number > since && gone.contains(&(channel.clone(), key))
            }));
        }
        Ok(messages)
    }

    /// Without what state channels show already.
    pub(super) fn differing(&self, mut newest: Newest) -> Result<Vec<(usize, Message)>, Stop> {
        let context = self.context;
        let channels: BTreeSet<ChannelName> = newest.keys().map(|(channel, _)| channel.clone()).collect();
        for channel in channels {
            let shown = context.handle.block_on(context.journal.state_channel(&channel))?.messages;
            for old in shown.iter().filter(|old| old.pipeline == context.name) {
                let key = (channel.clone(), old.key.clone().unwrap_or_default());
                if newest.get(&key).is_some_and(|(_, new)| shows(old, new)) {
                    newest.remove(&key);
                }
            }
        }
        Ok(newest.into_values().collect())
    }

    /// Takes back what state channels show and the new state doesn't.
    pub(super) fn tombstones(&self, anew: &Anew, origin: &Name, since: Number) -> Result<Vec<Message>, Stop> {
        let name = &self.context.name;
        let tombstone = |old: Arc<Message>| Message {
            number: Number::ZERO,
            pipeline: name.clone(),
            channel: old.channel.clone(),
            channel_kind: ChannelKind::State,
            id: tombstone_id(origin, name, &old.channel, old.key.as_deref().unwrap_or_default()),
            key: old.key.clone(),
            deleted: true,
            late: false,
            kind: old.kind.clone(),
            event_type: old.event_type.clone(),
            data: "null".into(),
            timestamp: anew.at.max(old.timestamp),
            frames: Frames::default(),
        };
        Ok(self.gone(anew, since)?.into_iter().map(tombstone).collect())
    }
}

/// Whether somebody who has the old message would learn nothing by the new one.
fn shows(old: &Message, new: &Message) -> bool {
    let of = |message: &Message| (message.deleted, message.kind.clone(), message.event_type.clone());
    of(old) == of(new) && old.data == new.data
}
