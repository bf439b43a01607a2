//! The dialect `gad`: what the original system's two clients read. The document's client looks at
//! `type`, the code's at `event_type`; one frame serves both. docs/gad.md says the same for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::codes::Close;
use super::command::PUBLISHED;
use super::frame;
use super::native::quote;
use crate::event::Micros;
use crate::message::{Dialect, Message, Own};

pub mod command;

/// The `type` under which the document's client expects what somebody published.
const SYSTEM_EVENT: &str = "system_event";

/// A message's frame: encoded when the first subscriber needs it, then shared. None for a key that is
/// gone: the old protocol has no word for it.
pub fn message(message: &Message) -> Option<Bytes> {
    (!message.deleted).then(|| message.frames.get_or_encode(Dialect::Gad, || encode(message)))
}

fn encode(message: &Message) -> Bytes {
    let kind = if *message.kind == *PUBLISHED { SYSTEM_EVENT } else { &message.kind };
    // The pipeline has checked that `data` is JSON.
    let data = if message.data.is_empty() { "{}" } else { &message.data };
    envelope(kind, &message.event_type, data, message.timestamp, message.id, message.channel.own())
}

/// The one form of everything that is said.
fn envelope(kind: &str, event_type: &str, data: &str, time: Micros, id: Uuid, target: Option<Own<'_>>) -> Bytes {
    frame::text(data.len() + 320, |text| {
        text.push_str("{\"type\":");
        quote(text, kind);
        text.push_str(",\"event_type\":");
        quote(text, event_type);
        text.push_str(",\"data\":");
        text.push_str(data);
        // Writing to a String can't fail.
        let _ = write!(text, ",\"timestamp\":\"{}\",\"message_id\":\"{}\"", time.rfc3339(), id.as_hyphenated());
        text.push_str(",\"target_user_id\":");
        match target {
            Some(Own::User(user)) if is_number(user) => text.push_str(user),
            Some(Own::User(user)) => quote(text, user),
            _ => text.push_str("null"),
        }
        text.push_str(",\"target_role\":");
        match target {
            Some(Own::Role(role)) => quote(text, role),
            _ => text.push_str("null"),
        }
        text.push('}');
    })
}

/// Whether a user's name is an id as the original's tables have it: those are numbers on the wire.
fn is_number(user: &str) -> bool {
    user.parse::<u32>().is_ok_and(|number| number.to_string() == user)
}

/// Something of the protocol's own.
fn say(event_type: &str, data: &impl Serialize, now: Micros) -> Bytes {
    // These are plain structures of texts and numbers: they can always be written.
    let data = serde_json::to_string(data).unwrap_or_else(|_| "{}".into());
    envelope(event_type, event_type, &data, now, Uuid::new_v4(), None)
}

/// The first frame.
pub fn connection_ack(connection: &str, now: Micros) -> Bytes {
    #[derive(Serialize)]
    struct Ack<'a> {
        connection_id: &'a str,
        connected_at: &'a str,
        server_time: &'a str,
    }
    let time = now.rfc3339();
    say("connection_ack", &Ack { connection_id: connection, connected_at: &time, server_time: &time }, now)
}

/// Asks whether the client is there.
pub fn ping(now: Micros) -> Bytes {
    #[derive(Serialize)]
    struct Ping {
        server_time: String,
    }
    say("ping", &Ping { server_time: now.rfc3339() }, now)
}

/// The answer to a client's ping; `client_time` as the client gave it.
pub fn pong(client_time: Option<&RawValue>, now: Micros) -> Bytes {
    #[derive(Serialize)]
    struct Pong<'a> {
        client_time: Option<&'a RawValue>,
        server_time: String,
    }
    say("pong", &Pong { client_time, server_time: now.rfc3339() }, now)
}

/// The answer to `subscribe` with so many event types.
pub fn subscribed(count: usize, now: Micros) -> Bytes {
    notification("Suscripción confirmada", &format!("Suscrito a {count} tipos de eventos"), now)
}

/// The answer to `unsubscribe` with so many event types.
pub fn unsubscribed(count: usize, now: Micros) -> Bytes {
    notification("Desuscripción confirmada", &format!("Desuscrito de {count} tipos de eventos"), now)
}

fn notification(title: &str, content: &str, now: Micros) -> Bytes {
    #[derive(Serialize)]
    struct Notification<'a> {
        title: &'a str,
        content: &'a str,
        level: &'a str,
    }
    say("notification", &Notification { title, content, level: "info" }, now)
}

/// Why something was not done; the connection stays open.
pub fn error(why: &str, now: Micros) -> Bytes {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a str,
    }
    say("error", &Error { error: why }, now)
}

/// The server's numbers, for `metrics_update`.
#[derive(Debug, Serialize)]
pub struct Metrics {
    pub usage: Usage,
    pub connections: Connections,
    pub system: System,
}

#[derive(Debug, Serialize)]
pub struct Usage {
    /// Users that are connected.
    pub active_users: usize,
    /// Sessions since the server started.
    pub total_sessions: u64,
    pub peak_concurrent_users: usize,
}

#[derive(Debug, Serialize)]
pub struct Connections {
    pub total: usize,
    pub by_role: BTreeMap<String, usize>,
}

#[derive(Debug, Serialize)]
pub struct System {
    pub uptime_seconds: u64,
}

/// The answer to `metrics_update`.
pub fn metrics(metrics: &Metrics, now: Micros) -> Bytes {
    say("metrics_update", metrics, now)
}

/// The last frame: the old clients know RFC 6455's codes alone. The reason is the native name.
pub fn close(why: Close) -> Bytes {
    frame::close(code(why), why.name())
}

/// 1008 is what the original refused with; the rest are those that fit best (RFC 6455, 7.4.1, and
/// IANA's registry).
pub const fn code(why: Close) -> u16 {
    match why {
        Close::Unauthorized | Close::TokenExpired | Close::BadHello | Close::HelloTimeout => 1008,
        Close::Silent => 1001,
        Close::Shutdown => 1012,
        Close::Slow | Close::Full => 1013,
        Close::Internal => 1011,
        Close::Normal | Close::Protocol | Close::Binary | Close::NotUtf8 | Close::TooLarge => why.number(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::event::Number;
    use crate::message::{ChannelKind, ChannelName, Frames};

    const NOW: Micros = Micros(1_764_032_523_456_000);

    fn plain(channel: &str, channel_kind: ChannelKind) -> Message {
        Message {
            number: Number(3),
            pipeline: "tareas".into(),
            channel: ChannelName::new(channel).unwrap(),
            channel_kind,
            key: None,
            deleted: false,
            late: false,
            kind: "task_event".into(),
            event_type: "task_updated".into(),
            data: r#"{"n":3}"#.into(),
            timestamp: NOW,
            id: Uuid::from_u128(3),
            frames: Frames::default(),
        }
    }

    fn read(frame: &Bytes) -> Value {
        let start = if frame[1] == 126 { 4 } else { 2 };
        serde_json::from_slice(&frame[start..]).unwrap()
    }

    fn sent(message: &Message) -> Value {
        read(&super::message(message).unwrap())
    }

    #[test]
    fn a_message_is_in_the_form_of_both_clients() {
        let task = plain("tasks", ChannelKind::Stream);
        assert_eq!(
            sent(&task),
            json!({"type": "task_event", "event_type": "task_updated", "data": {"n": 3},
                "timestamp": "2025-11-25T01:02:03.456Z", "message_id": "00000000-0000-0000-0000-000000000003",
                "target_user_id": null, "target_role": null})
        );
        assert_eq!(super::message(&task).unwrap().as_ptr(), super::message(&task).unwrap().as_ptr(), "encoded once");
    }

    #[test]
    fn what_goes_to_one_user_or_role_says_so() {
        let target = |channel: &str| {
            let value = sent(&plain(channel, ChannelKind::Stream));
            (value["target_user_id"].clone(), value["target_role"].clone())
        };
        assert_eq!(target("user:42"), (json!(42), Value::Null));
        assert_eq!(target("user:007"), (json!("007"), Value::Null), "another user than 7");
        assert_eq!(target("user:ana"), (json!("ana"), Value::Null));
        assert_eq!(target("role:ADMIN"), (Value::Null, json!("ADMIN")));
        assert_eq!(target("users"), (Value::Null, Value::Null));
    }

    #[test]
    fn what_was_published_is_a_system_event_to_the_document_s_client() {
        let plain = plain("system", ChannelKind::Stream);
        let alert = Message { kind: PUBLISHED.into(), event_type: "alert".into(), ..plain };
        let value = sent(&alert);
        assert_eq!((&value["type"], &value["event_type"]), (&json!("system_event"), &json!("alert")));
    }

    #[test]
    fn a_key_that_is_gone_is_not_told() {
        assert_eq!(super::message(&Message { deleted: true, ..plain("board", ChannelKind::State) }), None);
    }

    #[test]
    fn the_protocol_s_own_messages_have_the_same_envelope() {
        let client_time: Box<RawValue> = serde_json::from_str("1.50").unwrap();
        for (frame, event_type, data) in [
            (ping(NOW), "ping", json!({"server_time": "2025-11-25T01:02:03.456Z"})),
            (
                pong(Some(&client_time), NOW),
                "pong",
                json!({"client_time": 1.50, "server_time": "2025-11-25T01:02:03.456Z"}),
            ),
            (
                subscribed(2, NOW),
                "notification",
                json!({"title": "Suscripción confirmada", "content": "Suscrito a 2 tipos de eventos", "level": "info"}),
            ),
            (error("no \"such\" thing", NOW), "error", json!({"error": "no \"such\" thing"})),
        ] {
            let value = read(&frame);
            assert_eq!((&value["type"], &value["event_type"]), (&json!(event_type), &json!(event_type)));
            assert_eq!(value["data"], data);
            assert_eq!(value["timestamp"], "2025-11-25T01:02:03.456Z");
            assert_eq!(value["message_id"].as_str().unwrap().len(), 36);
            assert_eq!(value.as_object().unwrap().len(), 7);
        }
        let ack = read(&connection_ack("c", NOW));
        let fields: std::collections::BTreeSet<&str> =
            ack["data"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, ["connected_at", "connection_id", "server_time"].into());
    }

    #[test]
    fn the_page_lists_every_way_to_be_closed() {
        let page = include_str!("../../../../docs/gad.md");
        for why in Close::ALL {
            let row = format!("| {} | `{}` |", code(*why), why.name());
            assert!(page.contains(&row), "{row}");
            assert!((1000..3000).contains(&code(*why)), "the old clients know no others");
        }
    }
}
