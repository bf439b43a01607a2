//! A client that is behind: its history from the journal, paced by what the client takes, until the
//! fan-out can make it live.

use std::collections::HashMap;
use std::sync::Arc;

use super::Session;
use super::work::Stop;
use crate::channel::{Attached, Subscribed};
use crate::event::Number;
use crate::journal::{History, JournalError, Record, RecordBody};
use crate::message::{ChannelKind, ChannelName, Message};
use crate::wire::native::{self, Answer, GapReason};

/// Messages read from the journal at once.
const PAGE: usize = 256;
/// As much of the journal is read at once, in bytes.
const CHUNK: usize = 256 << 10;

impl Session {
    /// Sends what the session's stream channels had after `after`, in rising order over all of them,
    /// until the shard makes the session live and answers.
    pub(super) async fn catch_up(&self, mut after: Number, answers: Vec<Subscribed>) -> Result<(), Stop> {
        let streams = self.streams();
        let mut told = HashMap::new();
        // A position is owed to the client as soon as it is here.
        let mut owed = None;
        while self.membership.attach(after, answers.clone()).await? == Attached::NotYet {
            // Read before the history: a gap is never passed by without being known.
            let (gaps, known) = self.membership.gaps(after);
            let History { messages, through, pruned } = self.history(&streams, after).await?;
            let through = through.min(known);
            owed = pruned.iter().map(|(_, from)| *from).max().or(owed);
            self.tell_pruned(pruned, &mut told).await?;
            let mut gaps = gaps.into_iter().filter(|(number, _)| *number <= through).peekable();
            for message in messages.iter().filter(|m| m.number <= through) {
                while let Some((number, what)) = gaps.next_if(|(number, _)| *number < message.number) {
                    self.tell_gap(None, &GapReason::Source(what), number).await?;
                }
                self.send(message).await?;
            }
            for (number, what) in gaps {
                self.tell_gap(None, &GapReason::Source(what), number).await?;
            }
            after = after.max(through);
            if owed.take_if(|from| *from <= after).is_some() && self.link.dialect().resumes() {
                // With no message behind what was pruned, the client would come back to the same gap.
                let epoch = self.context.journal.epoch();
                self.link.push_paced(Answer::Position { epoch: &epoch, offset: after }.frame()).await?;
            }
            self.link.flush();
        }
        Ok(())
    }

    /// Sends what a channel had after `after` and up to `until`, marked: it doesn't move the client's
    /// number.
    pub(super) async fn recover(&self, channel: &ChannelName, mut after: Number, until: Number) -> Result<(), Stop> {
        let channels = std::slice::from_ref(channel);
        let mut told = HashMap::new();
        while after < until {
            let History { messages, through, pruned } = self.context.journal.history(channels, after, PAGE).await?;
            self.tell_pruned(pruned, &mut told).await?;
            for message in messages.iter().filter(|m| m.number <= until) {
                self.link.push_paced(native::recovered(message)).await?;
            }
            after = through.max(after);
            self.link.flush();
        }
        Ok(())
    }

    /// Sends all keys of a state channel, then makes its changes flow.
    pub(super) async fn all_keys(&self, channel: &ChannelName, answers: Vec<Subscribed>) -> Result<(), Stop> {
        let keys = self.context.journal.state_channel(channel).await?;
        for message in &keys.messages {
            self.send(message).await?;
        }
        self.link.flush();
        let mut after = keys.as_of;
        // Changes since then: a long time if the client takes its keys slowly.
        while self.membership.attach_state(channel.clone(), after, answers.clone()).await? == Attached::NotYet {
            let records = self.records(after).await?;
            for message in records.iter().flat_map(|r| messages(r)) {
                if message.channel == *channel && message.number > after {
                    self.send(message).await?;
                }
            }
            after = records.last().map_or(after, |r| after.max(r.last));
            self.link.flush();
        }
        Ok(())
    }

    /// Sends a message as fast as the client takes it.
    async fn send(&self, message: &Message) -> Result<(), Stop> {
        match self.link.dialect().message(message) {
            Some(frame) => Ok(self.link.push_paced(frame).await?),
            None => Ok(()),
        }
    }

    async fn history(&self, streams: &[ChannelName], after: Number) -> Result<History, Stop> {
        if streams.is_empty() {
            let through = self.context.journal.head();
            return Ok(History { messages: Vec::new(), through, pruned: Vec::new() });
        }
        Ok(self.context.journal.history(streams, after, PAGE).await?)
    }

    async fn records(&self, after: Number) -> Result<Vec<Arc<Record>>, JournalError> {
        match self.context.journal.read_memory(after, CHUNK) {
            Some(records) => Ok(records),
            None => self.context.journal.read(after, CHUNK).await,
        }
    }

    /// Tells of the channels that retention shortened, each once unless it goes on. The others are whole:
    /// the client's number stays where it is.
    async fn tell_pruned(
        &self,
        pruned: Vec<(ChannelName, Number)>,
        told: &mut HashMap<ChannelName, Number>,
    ) -> Result<(), Stop> {
        for (channel, from) in pruned {
            if told.insert(channel.clone(), from) != Some(from) {
                self.tell_gap(Some(&channel), &GapReason::Pruned, from).await?;
            }
        }
        Ok(())
    }

    async fn tell_gap(&self, channel: Option<&ChannelName>, why: &GapReason, offset: Number) -> Result<(), Stop> {
        if !self.link.dialect().resumes() {
            return Ok(());
        }
        let frame = native::gap(channel, why, &self.context.journal.epoch(), offset);
        Ok(self.link.push_paced(frame).await?)
    }

    fn streams(&self) -> Vec<ChannelName> {
        let channels: Vec<_> = self.state().channels.keys().cloned().collect();
        channels.into_iter().filter(|c| self.kind(c) == ChannelKind::Stream).collect()
    }
}

fn messages(record: &Record) -> &[Arc<Message>] {
    match &record.body {
        RecordBody::Commit(commit) => &commit.messages,
        RecordBody::Append(_) | RecordBody::Control(_) => &[],
    }
}
