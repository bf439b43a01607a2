//! A client's commands, one after the other. The task exists only while there is something to do,
//! and is also what waits, in the client's stead, for the journal and for room in the outbox.

use std::sync::Arc;

use bytes::Bytes;
use tracing::Instrument;

use super::{Had, Session, WAITING_COMMANDS, hello};
use crate::capture::ingest::IngestError;
use crate::channel::{Gone, Narrowing, Subscribed};
use crate::event::{Number, Published};
use crate::journal::JournalError;
use crate::message::{ChannelKind, ChannelName};
use crate::wire::codes::{Close, ErrorCode};
use crate::wire::command::{After, Publish};
use crate::wire::native::{self, Answer};

pub(super) enum Job {
    /// The channels of the handshake, and those that a session has by itself.
    Start {
        from: Number,
        channels: Vec<ChannelName>,
    },
    /// As `Start`, for those who ask for nothing: the channels that the configuration names for their role.
    StartByRole {
        from: Number,
    },
    Subscribe {
        id: Option<u64>,
        channel: ChannelName,
        after: Option<After>,
    },
    Unsubscribe {
        id: Option<u64>,
        channel: ChannelName,
    },
    Publish {
        id: Option<u64>,
        publish: Publish,
    },
    /// Changes which event types come; `answer` says so.
    Narrow {
        change: Narrowing,
        answer: Bytes,
    },
    /// Sends the newest message of the channel that the configuration names.
    Newest,
}

/// Why a job can't go on: the session ends.
#[derive(Debug)]
pub(super) enum Stop {
    Gone,
    Journal(JournalError),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl Session {
    /// Puts a job behind the others; false if too many wait.
    pub(super) fn enqueue(self: &Arc<Self>, job: Job) -> bool {
        let mut state = self.state();
        if state.jobs.len() >= WAITING_COMMANDS {
            return false;
        }
        state.jobs.push_back(job);
        if !std::mem::replace(&mut state.working, true) {
            tokio::spawn(self.clone().work().instrument(self.span()));
        }
        true
    }

    async fn work(self: Arc<Self>) {
        while let Some(job) = self.next_job() {
            match Box::pin(self.work_on(job)).await {
                Ok(()) => {}
                Err(Stop::Gone) => return,
                Err(Stop::Journal(error)) => {
                    tracing::error!(%error, "a session can't read the journal");
                    return self.link.close(Close::Internal);
                }
            }
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.state();
        let job = state.jobs.pop_front();
        if job.is_none() {
            state.working = false;
            state.jobs.shrink_to_fit();
        }
        job
    }

    async fn work_on(&self, job: Job) -> Result<(), Stop> {
        match job {
            Job::Start { from, channels } => self.start(from, channels).await,
            Job::StartByRole { from } => self.start_by_role(from).await,
            Job::Narrow { change, answer } => self.narrow(change, answer).await,
            Job::Newest => self.newest().await,
            Job::Subscribe { id, channel, after } => {
                if !self.may_subscribe(id, &channel) {
                    return Ok(());
                }
                let had = self.state().channels.insert(channel.clone(), Had::Asked).is_some();
                self.subscribe(Subscribed { id, channel }, after, had).await
            }
            Job::Unsubscribe { id, channel } => self.unsubscribe(id, channel).await,
            Job::Publish { id, publish } => {
                self.publish(id, publish).await;
                Ok(())
            }
        }
    }

    async fn start(&self, from: Number, asked: Vec<ChannelName>) -> Result<(), Stop> {
        let mut answers = Vec::new();
        let mut join = self.own_channels();
        self.state().channels.extend(join.iter().map(|name| (name.clone(), Had::Own)));
        for channel in asked {
            if !self.may_subscribe(None, &channel) {
                continue;
            }
            let had = self.state().channels.insert(channel.clone(), Had::Asked).is_some();
            let answer = Subscribed { id: None, channel: channel.clone() };
            if self.kind(&channel) == ChannelKind::State {
                self.all_keys(&channel, vec![answer]).await?;
                continue;
            }
            answers.push(answer);
            if !had {
                join.push(channel);
            }
        }
        self.membership.join(join, Vec::new()).await?;
        self.catch_up(from, answers).await
    }

    pub(super) fn own_channels(&self) -> Vec<ChannelName> {
        // A user's name may have characters that a channel's may not: then there is no such channel.
        let own = [format!("user:{}", self.who.user), format!("role:{}", self.who.role)];
        own.iter().filter_map(|name| ChannelName::new(name).ok()).collect()
    }

    /// Whether a client may have a channel that it asks for; if not, it is told why.
    fn may_subscribe(&self, id: Option<u64>, channel: &ChannelName) -> bool {
        let (has, count) = {
            let state = self.state();
            let asked = state.channels.values().filter(|had| **had == Had::Asked).count();
            (state.channels.get(channel) == Some(&Had::Asked), asked)
        };
        let max = self.context.settings.max_subscriptions;
        let refusal = if !self.context.policy.may_read(&self.who, channel) {
            Some((ErrorCode::Forbidden, format!("channel {channel}: there is none for role {}", self.who.role)))
        } else if has {
            Some((ErrorCode::AlreadySubscribed, format!("channel {channel}: this session has it")))
        } else if count >= max {
            Some((ErrorCode::TooManySubscriptions, format!("channel {channel}: this session has {max} already")))
        } else {
            None
        };
        if let Some((code, message)) = &refusal {
            self.say(native::error(id, Some(channel), *code, message));
        }
        refusal.is_none()
    }

    async fn subscribe(&self, answer: Subscribed, after: Option<After>, had: bool) -> Result<(), Stop> {
        let new = if had { Vec::new() } else { vec![answer.channel.clone()] };
        match (self.kind(&answer.channel), after) {
            (ChannelKind::State, _) => return self.all_keys(&answer.channel.clone(), vec![answer]).await,
            (ChannelKind::Stream, Some(after)) => {
                let mut here = self.membership.hold().await?;
                let journal = &self.context.journal;
                let (from, gap) = hello::start(Some(&after), &journal.epoch(), here, journal.head());
                if let Some(reason) = gap {
                    self.link.push(native::gap(Some(&answer.channel), &reason, &journal.epoch(), from));
                }
                // Another shard may have been ahead of this one when the client got its offset there.
                while here < from {
                    here = self.membership.hold().await?;
                }
                self.recover(&answer.channel, from, here).await?;
                self.membership.join(new, Vec::new()).await?;
                self.catch_up(here, vec![answer]).await?;
            }
            (ChannelKind::Stream | ChannelKind::Ephemeral, _) => self.membership.join(new, vec![answer]).await?,
        }
        Ok(())
    }

    async fn unsubscribe(&self, id: Option<u64>, channel: ChannelName) -> Result<(), Stop> {
        let own = self.own_channels().contains(&channel);
        let had = {
            let mut state = self.state();
            let had = state.channels.get(&channel) == Some(&Had::Asked);
            if had && own {
                state.channels.insert(channel.clone(), Had::Own);
            } else if had {
                state.channels.remove(&channel);
            }
            had
        };
        if !had {
            let message = format!("channel {channel}: this session doesn't have it, or can't leave it");
            self.refuse(id, ErrorCode::NotSubscribed, &message);
        } else if own {
            self.say(Answer::Unsubscribed { id, channel: &channel }.frame());
        } else {
            self.membership.leave(channel, id).await?;
        }
        Ok(())
    }

    async fn publish(&self, id: Option<u64>, publish: Publish) {
        let Publish { channel, event_type, kind, data, idempotency_key } = publish;
        if !self.context.policy.may_publish(&self.who, &channel) {
            let message = format!("channel {channel}: role {} may not publish there", self.who.role);
            return self.refuse(id, ErrorCode::Forbidden, &message);
        }
        let by = (&*self.who.user).into();
        let channel = channel.as_str().into();
        let published = Published { channel, kind, event_type, data, by, idempotency_key };
        match self.context.ingest.publish(published).await {
            Ok(offset) => self.say(Answer::Published { id, offset }.frame()),
            Err(IngestError::Journal(error @ JournalError::TooLarge { .. })) => {
                self.refuse(id, ErrorCode::NotPublished, &error.to_string());
            }
            // The journal says itself, once, that it waits.
            Err(IngestError::Journal(JournalError::NoRoom { .. })) => {
                let message = "the server has no room to keep it now; try again later";
                self.refuse(id, ErrorCode::NotPublished, message);
            }
            Err(error) => {
                tracing::error!(%error, "a publication was not taken in");
                self.refuse(id, ErrorCode::NotPublished, "the server can't take it now; try again later");
            }
        }
    }
}
