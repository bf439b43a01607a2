//! A session's side of its shard: what it asks for, and what it is told. The shard does it between
//! two records of the journal, so an answer holds for an exact place in it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::filter::{Narrowing, TooManyNames};
use super::gaps::Gaps;
use super::link::{Gone, Link};
use crate::event::{Micros, Number};
use crate::message::ChannelName;

/// A session's number in its shard. Slots are used again; generations tell who is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemberId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Says `subscribed`, when it is true.
#[derive(Clone, Debug)]
pub struct Subscribed {
    pub id: Option<u64>,
    pub channel: ChannelName,
}

/// Whether a session that was behind is live now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    Live,
    /// Too far behind for the shard to bring it up; read on, and ask again.
    NotYet,
}

/// What a shard does for its sessions.
pub(crate) enum Request {
    Enter {
        link: Arc<Link>,
        expires: Micros,
        reply: oneshot::Sender<(MemberId, Number)>,
    },
    /// Adds channels; a live session gets their messages from here on.
    Join {
        who: MemberId,
        channels: Vec<ChannelName>,
        answers: Vec<Subscribed>,
        reply: oneshot::Sender<()>,
    },
    /// Brings a session that has everything up to `after` to the head, makes it live, and answers.
    Attach {
        who: MemberId,
        after: Number,
        answers: Vec<Subscribed>,
        reply: oneshot::Sender<Attached>,
    },
    /// As `Attach`, for one state channel of which the client has everything up to `after`.
    AttachState {
        who: MemberId,
        channel: ChannelName,
        after: Number,
        answers: Vec<Subscribed>,
        reply: oneshot::Sender<Attached>,
    },
    /// Stream messages wait from here on; the reply says where that is.
    Hold {
        who: MemberId,
        reply: oneshot::Sender<Number>,
    },
    Leave {
        who: MemberId,
        channel: ChannelName,
        id: Option<u64>,
        reply: oneshot::Sender<()>,
    },
    /// Changes which event types the session gets from here on, and says the answer if that is done.
    Narrow {
        who: MemberId,
        change: Narrowing,
        answer: Bytes,
        reply: oneshot::Sender<Result<(), TooManyNames>>,
    },
    Exit {
        who: MemberId,
    },
    CloseAll,
    End,
}

/// Where a shard's requests wait. Unbounded, but each session has few requests in it at a time.
#[derive(Clone)]
pub(crate) struct Mailbox {
    requests: mpsc::UnboundedSender<Request>,
    gaps: Gaps,
}

/// A session in its shard. Dropping it leaves the shard.
pub struct Membership {
    mailbox: Mailbox,
    who: MemberId,
}

/// A session came into a shard.
pub struct Entered {
    pub membership: Membership,
    /// Where the shard stood.
    pub position: Number,
}

impl Mailbox {
    pub(crate) fn new(requests: mpsc::UnboundedSender<Request>, gaps: Gaps) -> Self {
        Self { requests, gaps }
    }

    pub(crate) fn close_all(&self) {
        self.send(Request::CloseAll);
    }

    pub(crate) fn end(&self) {
        self.send(Request::End);
    }

    fn send(&self, request: Request) {
        // A shard that has ended has no sessions, and who waits for a reply sees that.
        let _ = self.requests.send(request);
    }
}

impl Membership {
    pub(crate) async fn enter(mailbox: &Mailbox, link: Arc<Link>, expires: Micros) -> Result<Entered, Gone> {
        let (reply, entered) = oneshot::channel();
        mailbox.send(Request::Enter { link, expires, reply });
        let (who, position) = entered.await.map_err(|_| Gone)?;
        Ok(Entered { membership: Self { mailbox: mailbox.clone(), who }, position })
    }

    /// Adds channels. A live session gets their messages from now on, and the answers at once; one
    /// that is behind gets its streams' messages when it is attached. Returns when that is done: what
    /// is said next comes behind it.
    ///
    /// # Errors
    /// If the session was closed.
    pub async fn join(&self, channels: Vec<ChannelName>, answers: Vec<Subscribed>) -> Result<(), Gone> {
        let (reply, joined) = oneshot::channel();
        self.mailbox.send(Request::Join { who: self.who, channels, answers, reply });
        joined.await.map_err(|_| Gone)
    }

    /// Asks to be made live, having everything up to `after`.
    ///
    /// # Errors
    /// If the session was closed.
    pub async fn attach(&self, after: Number, answers: Vec<Subscribed>) -> Result<Attached, Gone> {
        let (reply, attached) = oneshot::channel();
        self.mailbox.send(Request::Attach { who: self.who, after, answers, reply });
        attached.await.map_err(|_| Gone)
    }

    /// Asks for a state channel's changes, having all of it up to `after`.
    ///
    /// # Errors
    /// If the session was closed.
    pub async fn attach_state(
        &self,
        channel: ChannelName,
        after: Number,
        answers: Vec<Subscribed>,
    ) -> Result<Attached, Gone> {
        let (reply, attached) = oneshot::channel();
        self.mailbox.send(Request::AttachState { who: self.who, channel, after, answers, reply });
        attached.await.map_err(|_| Gone)
    }

    /// Lets stream messages wait, and says up to where the client has them.
    ///
    /// # Errors
    /// If the session was closed.
    pub async fn hold(&self) -> Result<Number, Gone> {
        let (reply, held) = oneshot::channel();
        self.mailbox.send(Request::Hold { who: self.who, reply });
        held.await.map_err(|_| Gone)
    }

    /// Gives up a channel; the shard answers `unsubscribed` after its last message. Returns when that
    /// is done.
    ///
    /// # Errors
    /// If the session was closed.
    pub async fn leave(&self, channel: ChannelName, id: Option<u64>) -> Result<(), Gone> {
        let (reply, left) = oneshot::channel();
        self.mailbox.send(Request::Leave { who: self.who, channel, id, reply });
        left.await.map_err(|_| Gone)
    }

    /// Changes which event types come from here on; the shard says `answer` if that is done.
    ///
    /// # Errors
    /// If the session was closed; within it, if the filter has no room for so many names.
    pub async fn narrow(&self, change: Narrowing, answer: Bytes) -> Result<Result<(), TooManyNames>, Gone> {
        let (reply, narrowed) = oneshot::channel();
        self.mailbox.send(Request::Narrow { who: self.who, change, answer, reply });
        narrowed.await.map_err(|_| Gone)
    }

    /// What sources lost after a number, and up to where that is known.
    pub(crate) fn gaps(&self, after: Number) -> (Vec<(Number, Box<str>)>, Number) {
        self.mailbox.gaps.after(after)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.mailbox.send(Request::Exit { who: self.who });
    }
}
