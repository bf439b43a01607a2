//! The newest records in memory, decoded. Everybody near the head reads here and never from disk.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::{Record, RecordBody};
use crate::event::Number;
use crate::message::{ChannelKind, ChannelName, Message};

pub(super) struct Tail {
    records: VecDeque<Arc<Record>>,
    /// What the records weigh together, and may.
    weight: usize,
    limit: usize,
    /// All that was applied after this number is here.
    reaches: Number,
    head: Number,
    /// The stream channels' messages in `records`, in order, so that a resume needn't search them.
    channels: HashMap<ChannelName, VecDeque<Arc<Message>>>,
}

/// About what a record takes in memory, in bytes.
fn weight(record: &Record) -> usize {
    let items = match &record.body {
        RecordBody::Append(append) => append.events.len() * 160,
        RecordBody::Commit(commit) => {
            let unstored = commit.messages.iter().filter(|m| m.channel_kind == ChannelKind::Ephemeral);
            commit.messages.len() * 200 + commit.state.len() * 64 + unstored.map(|m| m.weight()).sum::<usize>()
        }
        RecordBody::Control(_) => 0,
    };
    record.bytes + items + 128
}

fn streamed(record: &Record) -> impl Iterator<Item = &Arc<Message>> {
    let messages = match &record.body {
        RecordBody::Commit(commit) => commit.messages.as_slice(),
        _ => &[],
    };
    messages.iter().filter(|m| m.channel_kind == ChannelKind::Stream)
}

impl Tail {
    pub(super) fn new(limit: u64, head: Number) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Self { records: VecDeque::new(), weight: 0, limit, reaches: head, head, channels: HashMap::new() }
    }

    pub(super) fn head(&self) -> Number {
        self.head
    }

    /// Begins anew after a number: what is between was too much to keep.
    pub(super) fn restart(&mut self, after: Number) {
        self.records.clear();
        self.channels.clear();
        self.weight = 0;
        self.reaches = after;
        self.head = after;
    }

    /// Nothing is between the newest record and `head`.
    pub(super) fn advance(&mut self, head: Number) {
        self.head = self.head.max(head);
    }

    /// Adds the next record. What there is no more room for goes to `gone`: to drop it takes time.
    pub(super) fn push(&mut self, record: Arc<Record>, gone: &mut Vec<Arc<Record>>) {
        self.head = record.last;
        self.weight += weight(&record);
        for message in streamed(&record) {
            self.channels.entry(message.channel.clone()).or_default().push_back(message.clone());
        }
        self.records.push_back(record);
        while self.weight > self.limit && self.records.len() > 1 {
            gone.extend(self.take_oldest());
        }
    }

    fn take_oldest(&mut self) -> Option<Arc<Record>> {
        let oldest = self.records.pop_front()?;
        self.weight -= weight(&oldest);
        self.reaches = oldest.last;
        for message in streamed(&oldest) {
            if let Some(kept) = self.channels.get_mut(&message.channel) {
                kept.pop_front();
                if kept.is_empty() {
                    self.channels.remove(&message.channel);
                }
            }
        }
        Some(oldest)
    }

    /// See [`super::Journal::read_memory`].
    pub(super) fn read(&self, after: Number, bytes: usize) -> Option<Vec<Arc<Record>>> {
        if after < self.reaches {
            return None;
        }
        let from = self.records.partition_point(|r| r.last <= after);
        let mut room = bytes;
        let mut found = Vec::new();
        for record in self.records.range(from..) {
            if record.bytes > room && !found.is_empty() {
                break;
            }
            room = room.saturating_sub(record.bytes);
            found.push(record.clone());
        }
        Some(found)
    }

    /// The channels' messages after a number, merged, at most `limit`, and the number up to which
    /// nothing of them is missing. None if memory doesn't reach back that far.
    pub(super) fn history(
        &self,
        channels: &[ChannelName],
        after: Number,
        limit: usize,
    ) -> Option<(Vec<Arc<Message>>, Number)> {
        if after < self.reaches {
            return None;
        }
        let mut found = Vec::new();
        for kept in channels.iter().filter_map(|c| self.channels.get(c)) {
            let from = kept.partition_point(|m| m.number <= after);
            // One more than asked for tells whether there is more.
            found.extend(kept.range(from..).take(limit.saturating_add(1)).cloned());
        }
        Some(cut(found, limit, self.head))
    }
}

/// Sorts, and cuts after `limit` messages; what was found is complete up to `complete`.
pub(super) fn cut(mut found: Vec<Arc<Message>>, limit: usize, complete: Number) -> (Vec<Arc<Message>>, Number) {
    found.sort_unstable_by_key(|m| m.number);
    found.dedup_by_key(|m| m.number);
    if found.len() <= limit {
        return (found, complete);
    }
    found.truncate(limit);
    let through = found.last().map_or(Number::ZERO, |m| m.number);
    (found, through)
}
