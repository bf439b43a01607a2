//! One client, from the upgraded socket to its close. The `connect` route calls [`serve`]. Most of it is
//! the same for every dialect; [`gad`] has what is not.
//!
//! A session's own task reads and answers; what goes out is pushed by the fan-out, or, while the
//! client is behind, by the task of [`work`].

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::net::TcpStream;
use tracing::{Span, error_span, info};
use uuid::Uuid;

use crate::auth::{Identity, Policy, Tokens};
use crate::capture::ingest::Ingest;
use crate::channel::{FanOut, Link, Membership, Place};
use crate::config::{GadSettings, SessionSettings};
use crate::journal::Journal;
use crate::message::{ChannelKind, ChannelName, Dialect};
use crate::telemetry::milliseconds;
use crate::wire::codes::{Close, ErrorCode};
use crate::wire::command::{Command, What};
use crate::wire::native::{self, Answer};

mod catch_up;
pub mod census;
mod gad;
mod hello;
mod reader;
#[cfg(test)]
mod tests;
mod work;

use census::Census;
use reader::Reader;
use work::Job;

/// What all sessions share.
pub struct Context {
    pub journal: Journal,
    pub fan_out: FanOut,
    pub tokens: Tokens,
    pub policy: Policy,
    pub settings: SessionSettings,
    pub ingest: Ingest,
    pub gad: GadSettings,
    pub census: Census,
}

/// What the upgrade request already said, raw; the session checks it and closes with a named code.
#[derive(Clone, Debug, Default)]
pub struct Hello {
    pub dialect: Dialect,
    /// Of the upgrade, for the log.
    pub request_id: Option<Arc<str>>,
    /// From `Authorization: Bearer` or `token=`. None: the first message brings it.
    pub token: Option<String>,
    /// `after=EPOCH:OFFSET`.
    pub after: Option<String>,
    /// Each `channel=`.
    pub channels: Vec<String>,
    /// Why the query can't be used, where it can't.
    pub bad_query: Option<&'static str>,
}

/// One client.
struct Session {
    /// Its name in the log, and to the client: `session` of `connected`, `connection_id` of `connection_ack`.
    connection: Uuid,
    since: Instant,
    context: Arc<Context>,
    link: Arc<Link>,
    membership: Membership,
    who: Identity,
    state: Mutex<State>,
    /// Frees the connection's place when the session ends.
    _place: Place,
}

#[derive(Default)]
struct State {
    /// The channels that it has, and whether it asked for them (or got them by itself).
    channels: HashMap<ChannelName, Had>,
    /// What waits to be done, in the client's order.
    jobs: VecDeque<Job>,
    /// A task does the jobs.
    working: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Had {
    Asked,
    Own,
}

/// How many commands of a client may wait for their answers.
const WAITING_COMMANDS: usize = 128;

/// Serves one client until it leaves. `stream` is the bare TCP stream after the WebSocket
/// handshake, `already_read` what came with it. Spawn it: the future is small.
pub async fn serve(stream: TcpStream, already_read: Bytes, hello: Hello, context: Arc<Context>) {
    // Without it a small frame waits for the acknowledgement of the one before (Nagle).
    let _ = stream.set_nodelay(true);
    let limit = usize::try_from(context.settings.outbox_bytes).unwrap_or(usize::MAX);
    let link = Link::new(stream, hello.dialect, limit);
    let mut reader = Reader::new(link.clone(), already_read, &context.settings);
    // Boxed: what is needed once shouldn't make every connection's task larger.
    match Box::pin(hello::enter(&mut reader, hello, context)).await {
        Ok(session) => session.run(&mut reader).await,
        Err(why) => link.close(why),
    }
    Box::pin(reader.finish()).await;
}

impl Session {
    async fn run(self: Arc<Self>, reader: &mut Reader) {
        loop {
            match reader.next().await {
                Ok(Some(text)) => match self.link.dialect() {
                    Dialect::Native => self.command(&text),
                    Dialect::Gad => self.gad_command(&text),
                },
                Ok(None) => return,
                Err(why) => return self.link.close(why),
            }
        }
    }

    fn command(self: &Arc<Self>, text: &str) {
        let command = match Command::parse(text) {
            Ok(command) => command,
            Err(refusal) => return self.refuse(refusal.id, refusal.code, &refusal.message),
        };
        let id = command.id;
        let job = match command.what {
            What::Ping => return self.say(Answer::Pong { id }.frame()),
            What::Connect(_) => {
                let message = "connect is the first message, where the request brought no token";
                return self.refuse(id, ErrorCode::AlreadyConnected, message);
            }
            What::Subscribe { channel, after } => Job::Subscribe { id, channel, after },
            What::Unsubscribe { channel } => Job::Unsubscribe { id, channel },
            What::Publish(publish) => Job::Publish { id, publish },
        };
        if !self.enqueue(job) {
            let message = format!("{WAITING_COMMANDS} commands wait for their answers");
            self.refuse(id, ErrorCode::TooManyCommands, &message);
        }
    }

    fn say(&self, frame: Bytes) {
        self.link.push(frame);
        self.link.flush();
    }

    fn refuse(&self, id: Option<u64>, code: ErrorCode, message: &str) {
        self.say(native::error(id, None, code, message));
    }

    /// What each of the session's lines in the log carries. Made where there is something to do, not kept:
    /// an idle connection holds none.
    fn span(&self) -> Span {
        let Self { connection, who, link, .. } = self;
        let dialect = link.dialect().name();
        // Of the highest level, so that no filter parts a line from its session.
        error_span!("session", connection = %connection.simple(), user = %who.user, role = %who.role, dialect)
    }

    fn kind(&self, channel: &ChannelName) -> ChannelKind {
        self.context.policy.kind(channel).unwrap_or(ChannelKind::Stream)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let closing = self.link.closing();
        self.context.census.end(&self.who, closing == Some(Close::Slow));
        let (duration_ms, reason) = (milliseconds(self.since.elapsed()), closing.map_or("gone", Close::name));
        self.span().in_scope(|| info!(reason, duration_ms, "a session ended"));
    }
}
