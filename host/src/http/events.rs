//! `POST /api/v1/events`: publishes to a channel; a notice (title, content, level) or any JSON.

use std::borrow::Cow;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Parts, Refusal, guard};
use crate::capture::ingest::IngestError;
use crate::event::{Number, Published};
use crate::journal::JournalError;
use crate::message::{ChannelName, is_reserved_kind};
use crate::wire::command::{NAME_MAX, PUBLISHED};
use crate::wire::json::{self, Unread};

/// Where a notice goes that names no channel.
const NOTICES: &str = "system";

/// What clients find under a notice's `type`.
const NOTICE: &str = "system_event";

pub(super) fn router() -> Router<Parts> {
    Router::new().route("/api/v1/events", post(publish))
}

/// Which of the two forms it is.
#[derive(Deserialize)]
struct Form {
    level: Option<IgnoredAny>,
}

/// For people to read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Notice {
    level: Level,
    title: String,
    #[serde(default)]
    content: String,
    channel: Option<String>,
    idempotency_key: Option<String>,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Info,
    Alert,
    Warning,
    Error,
}

/// For programs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct General<'a> {
    channel: String,
    event_type: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
    idempotency_key: Option<String>,
}

/// A publication that will be delivered.
#[derive(Serialize)]
struct Taken {
    /// Its number as an event; the messages that it becomes have later ones.
    offset: Number,
}

async fn publish(State(parts): State<Parts>, request: Request<Body>) -> Result<(StatusCode, Json<Taken>), Refusal> {
    let (head, body) = request.into_parts();
    let who = guard::sender(&parts, &head.headers)?;
    let body = read(&parts, body).await?;
    let mut published = parse(&body)?;
    if published.idempotency_key.is_none() {
        published.idempotency_key = key(&head.headers)?;
    }
    published.by = (&*who.user).into();
    let channel = ChannelName::new(&published.channel).map_err(|error| bad(format!("channel: {error}")))?;
    if !parts.session.policy.may_publish(&who, &channel) {
        let message = format!("channel {channel}: role {} may not publish there", who.role);
        return Err(Refusal(StatusCode::FORBIDDEN, "forbidden", message.into()));
    }
    match parts.session.ingest.publish(published).await {
        Ok(offset) => Ok((StatusCode::ACCEPTED, Json(Taken { offset }))),
        Err(IngestError::Journal(error @ JournalError::TooLarge { .. })) => Err(too_large(error.to_string())),
        // The journal says itself, once, that it waits.
        Err(IngestError::Journal(JournalError::NoRoom { .. })) => {
            let message = "the server has no room to keep it now; try again later".into();
            Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, super::NO_ROOM, message))
        }
        Err(error) => {
            tracing::error!(%error, "a publication was not taken in");
            Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, "journal", "it can't be taken now; try again later".into()))
        }
    }
}

/// The body, within the bounds of size and time that a client's message has.
async fn read(parts: &Parts, body: Body) -> Result<Bytes, Refusal> {
    let settings = &parts.session.settings;
    let limit = usize::try_from(settings.message_bytes).unwrap_or(usize::MAX);
    match tokio::time::timeout(settings.hello_within, axum::body::to_bytes(body, limit)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => {
            Err(too_large(format!("the body can't be read, or has more than {limit} bytes (session.message_bytes)")))
        }
        Err(_) => Err(Refusal(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body took too long".into())),
    }
}

fn parse(body: &[u8]) -> Result<Published, Refusal> {
    let body = std::str::from_utf8(body).map_err(|error| bad(format!("the body is no UTF-8: {error}")))?;
    let unread = |unread: Unread| bad(unread.into_text());
    let form: Form = json::object(body).map_err(|unread| bad(format!("the body: {}", unread.into_text())))?;
    let published = if form.level.is_some() {
        let notice: Notice = json::object(body).map_err(unread)?;
        let Notice { level, title, content, channel, idempotency_key } = notice;
        let event_type = match level {
            Level::Info => "notification",
            Level::Alert => "alert",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        Published {
            channel: channel.map_or(Cow::Borrowed(NOTICES), Cow::Owned).into(),
            kind: NOTICE.into(),
            event_type: event_type.into(),
            data: serde_json::json!({ "title": title, "content": content, "level": level }).to_string().into(),
            by: "".into(),
            idempotency_key: idempotency_key.map(Into::into),
        }
    } else {
        let general: General<'_> = json::object(body).map_err(unread)?;
        let General { channel, event_type, kind, data, idempotency_key } = general;
        Published {
            channel: channel.into(),
            kind: kind.unwrap_or_else(|| PUBLISHED.into()).into(),
            event_type: event_type.unwrap_or_else(|| PUBLISHED.into()).into(),
            data: data.get().into(),
            by: "".into(),
            idempotency_key: idempotency_key.map(Into::into),
        }
    };
    let key = published.idempotency_key.as_deref().unwrap_or_default();
    if [&published.kind, &published.event_type].into_iter().any(|name| name.is_empty() || name.len() > NAME_MAX) {
        return Err(bad(format!("type and event_type have 1 to {NAME_MAX} bytes")));
    }
    if is_reserved_kind(&published.kind) {
        return Err(bad(format!("type {:?} is one of the protocol's own", published.kind)));
    }
    if key.len() > NAME_MAX {
        return Err(bad(format!("idempotency_key has at most {NAME_MAX} bytes")));
    }
    Ok(published)
}

/// The header `Idempotency-Key`.
fn key(headers: &HeaderMap) -> Result<Option<Box<str>>, Refusal> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=NAME_MAX).contains(&key.len()));
    key.map(|key| Some(key.into()))
        .ok_or_else(|| bad(format!("Idempotency-Key has 1 to {NAME_MAX} visible ASCII characters")))
}

fn bad(message: String) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, "bad_event", message.into())
}

fn too_large(message: String) -> Refusal {
    Refusal(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message.into())
}
