//! From a socket to a session: the token, `after`, the first channels, and the first frame.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tracing::{debug, info};
use uuid::Uuid;

use super::reader::Reader;
use super::work::Job;
use super::{Context, Hello, Session, State};
use crate::auth::TokenError;
use crate::channel::{Entered, Link};
use crate::event::{Micros, Number};
use crate::message::{ChannelName, Dialect};
use crate::wire::codes::{Close, ErrorCode};
use crate::wire::command::{After, Command, Connect, What};
use crate::wire::gad;
use crate::wire::native::{self, Answer, GapReason};

/// # Errors
/// The code to close with.
pub(super) async fn enter(reader: &mut Reader, hello: Hello, context: Arc<Context>) -> Result<Arc<Session>, Close> {
    let connection = Uuid::new_v4();
    let (dialect, request_id) = (hello.dialect.name(), hello.request_id.clone());
    let request_id = request_id.as_deref();
    let entered = greet(reader, connection, hello, context).await;
    match &entered {
        Ok(session) => session.span().in_scope(|| info!(request_id, "a session began")),
        Err(Close::Normal) => {
            debug!(connection = %connection.simple(), dialect, request_id, "a client left before its first message");
        }
        Err(why) => {
            info!(connection = %connection.simple(), dialect, request_id, reason = why.name(), "a client was refused");
        }
    }
    entered
}

async fn greet(
    reader: &mut Reader,
    connection: Uuid,
    hello: Hello,
    context: Arc<Context>,
) -> Result<Arc<Session>, Close> {
    let link = reader.link().clone();
    let place = context.fan_out.admit(context.settings.max_connections).ok_or(Close::Full)?;
    let dialect = link.dialect();
    let connect = match dialect {
        Dialect::Native => connect(reader, hello, &context).await?,
        Dialect::Gad => gad_connect(hello)?,
    };
    let who = context.tokens.verify(&connect.token).map_err(|error| {
        if dialect == Dialect::Native {
            link.push(native::error(None, None, ErrorCode::Unauthorized, &error.to_string()));
        }
        if error == TokenError::Expired { Close::TokenExpired } else { Close::Unauthorized }
    })?;
    let entered = context.fan_out.enter(link.clone(), who.expires).await;
    let Entered { membership, position } = entered.map_err(|_| Close::Shutdown)?;

    context.census.begin(&who);
    let state = Mutex::new(State::default());
    let since = Instant::now();
    let session = Arc::new(Session { connection, since, context, link, membership, who, state, _place: place });
    let job = match dialect {
        Dialect::Native => session.connected(connect, position),
        Dialect::Gad => {
            session.link.push(gad::connection_ack(&session.connection.simple().to_string(), Micros::now()));
            Job::StartByRole { from: position }
        }
    };
    session.link.flush();
    session.enqueue(job);
    Ok(session)
}

impl Session {
    /// Says from where on the client gets its messages, and what it can't get.
    fn connected(&self, connect: Connect, position: Number) -> Job {
        let Self { context, link, who, .. } = self;
        let epoch = context.journal.epoch();
        let (from, gap) = start(connect.after.as_ref(), &epoch, position, context.journal.head());
        let connected = Answer::Connected {
            session: &self.connection.simple().to_string(),
            epoch: &epoch,
            offset: from,
            user: &who.user,
            role: &who.role,
            heartbeat_ms: u64::try_from(context.settings.heartbeat.as_millis()).unwrap_or(u64::MAX),
            message_bytes: context.settings.message_bytes,
        };
        link.push(connected.frame());
        if let Some(reason) = gap {
            link.push(native::gap(None, &reason, &epoch, from));
        }
        Job::Start { from, channels: connect.channels }
    }
}

/// From which number on a client gets its messages, and what it can't get.
pub(super) fn start(after: Option<&After>, epoch: &str, here: Number, head: Number) -> (Number, Option<GapReason>) {
    match after {
        None => (here, None),
        Some(after) if *after.epoch != *epoch => (here, Some(GapReason::Epoch)),
        Some(after) if after.offset > head.max(here) => (here, Some(GapReason::BeyondHead)),
        Some(after) => (after.offset, None),
    }
}

/// What the client asks for at the start: in the request, or in its first message.
async fn connect(reader: &mut Reader, hello: Hello, context: &Context) -> Result<Connect, Close> {
    let link = reader.link().clone();
    if let Some(why) = hello.bad_query {
        return Err(refused(&link, ErrorCode::BadCommand, why));
    }
    let after = hello.after.as_deref().map(|text| {
        After::parse(text)
            .ok_or_else(|| refused(&link, ErrorCode::BadCommand, &format!("after={text:.80?}: not EPOCH:OFFSET")))
    });
    let channels = hello.channels.iter().map(|name| {
        ChannelName::new(name).map_err(|e| refused(&link, ErrorCode::BadChannel, &format!("channel={name:.140?}: {e}")))
    });
    let (after, channels) = (after.transpose()?, channels.collect::<Result<Vec<_>, _>>()?);
    if let Some(token) = hello.token {
        return Ok(Connect { token, after, channels });
    }
    let text = first_message(reader, context).await?;
    let command = Command::parse(&text).map_err(|refusal| refused(&link, refusal.code, &refusal.message))?;
    let What::Connect(mut connect) = command.what else {
        return Err(refused(&link, ErrorCode::BadCommand, "the first message must be connect"));
    };
    connect.after = connect.after.or(after);
    connect.channels.extend(channels);
    Ok(connect)
}

/// The original's clients bring their token in the request; of the rest they know nothing.
fn gad_connect(hello: Hello) -> Result<Connect, Close> {
    let token = hello.token.filter(|_| hello.bad_query.is_none()).ok_or(Close::Unauthorized)?;
    Ok(Connect { token, ..Connect::default() })
}

async fn first_message(reader: &mut Reader, context: &Context) -> Result<String, Close> {
    let mut stopping = context.fan_out.stopping();
    tokio::select! {
        text = reader.next() => text?.ok_or(Close::Normal),
        () = tokio::time::sleep(context.settings.hello_within) => Err(Close::HelloTimeout),
        _ = stopping.wait_for(|stopping| *stopping) => Err(Close::Shutdown),
    }
}

fn refused(link: &Link, code: ErrorCode, message: &str) -> Close {
    link.push(native::error(None, None, code, message));
    Close::BadHello
}
