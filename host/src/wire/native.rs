//! The native protocol `relevo.v1`: what the server says, as ready frames. The one place where
//! messages are encoded.

use std::fmt::Write;

use bytes::Bytes;
use serde::Serialize;

use super::codes::{Close, ErrorCode};
use super::frame;
use crate::event::Number;
use crate::message::{ChannelKind, ChannelName, Dialect, Message};

/// The WebSocket subprotocol's name.
pub const SUBPROTOCOL: &str = "relevo.v1";

/// A message's frame: encoded when the first subscriber needs it, then shared.
pub fn message(message: &Message) -> Bytes {
    message.frames.get_or_encode(Dialect::Native, || encode(message, false))
}

/// A message that a `subscribe` with its own `after` brings: it doesn't move the client's number.
pub fn recovered(message: &Message) -> Bytes {
    encode(message, true)
}

fn encode(message: &Message, recovered: bool) -> Bytes {
    frame::text(message.data.len() + 320, |text| write(message, recovered, text))
}

fn write(message: &Message, recovered: bool, text: &mut String) {
    text.push_str("{\"type\":");
    quote(text, &message.kind);
    text.push_str(",\"event_type\":");
    quote(text, &message.event_type);
    text.push_str(",\"channel\":");
    quote(text, message.channel.as_str());
    // Writing to a String can't fail.
    // What a client sees of a channel's kind: no offset where nothing can be resumed, a key where
    // one value replaces another, both never on a stream. Its number depends on it.
    if message.channel_kind != ChannelKind::Ephemeral {
        let _ = write!(text, ",\"offset\":{}", message.number);
    }
    let _ = write!(
        text,
        ",\"message_id\":\"{}\",\"timestamp\":\"{}\"",
        message.id.as_hyphenated(),
        message.timestamp.rfc3339()
    );
    if message.channel_kind == ChannelKind::State {
        text.push_str(",\"key\":");
        quote(text, message.key.as_deref().unwrap_or_default());
    }
    for (name, holds) in [("deleted", message.deleted), ("late", message.late), ("recovered", recovered)] {
        if holds {
            let _ = write!(text, ",\"{name}\":true");
        }
    }
    // The pipeline has checked that `data` is JSON.
    text.push_str(",\"data\":");
    text.push_str(if message.data.is_empty() { "null" } else { &message.data });
    text.push('}');
}

/// Adds a text as JSON.
pub(super) fn quote(text: &mut String, value: &str) {
    // Most are names, in which nothing is escaped.
    if value.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        text.extend(["\"", value, "\""]);
        return;
    }
    match serde_json::to_string(value) {
        Ok(quoted) => text.push_str(&quoted),
        Err(_) => text.push_str("\"\""),
    }
}

/// The last frame, with a code and its name.
pub fn close(why: Close) -> Bytes {
    frame::close(why.number(), why.name())
}

/// Why a client misses something, in a `gap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// The client's offset is of another epoch: the journal lost records since.
    Epoch,
    /// The client's offset is one that the journal has not reached: it was restored from a backup.
    BeyondHead,
    /// The journal no longer has all since the client's offset.
    Pruned,
    /// A source is no longer what it was, or lost something, or retention passed a pipeline; the text
    /// says what.
    Source(Box<str>),
}

/// What the server says beside messages. A field that is None is left out.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Answer<'a> {
    /// The first frame. From `offset` on, this session gets everything of its channels.
    Connected {
        session: &'a str,
        epoch: &'a str,
        offset: Number,
        user: &'a str,
        role: &'a str,
        heartbeat_ms: u64,
        /// The largest message that the client may send.
        message_bytes: u64,
    },
    /// The channel is live from `offset` on; what was missed came before this.
    Subscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        channel: &'a ChannelName,
        kind: ChannelKind,
        epoch: &'a str,
        offset: Number,
    },
    Unsubscribed {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        channel: &'a ChannelName,
    },
    Published {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        offset: Number,
    },
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
    },
    /// The client has everything up to here.
    Position { epoch: &'a str, offset: Number },
    /// Something between the client's number and `offset` can't be had any more.
    Gap {
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<&'a ChannelName>,
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<&'a str>,
        epoch: &'a str,
        offset: Number,
    },
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// The channel that was refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        channel: Option<&'a ChannelName>,
        code: u16,
        name: &'a str,
        message: &'a str,
    },
}

impl Answer<'_> {
    /// The frame.
    pub fn frame(&self) -> Bytes {
        // These are plain structures of texts and numbers: they can always be written.
        let text = serde_json::to_string(self).unwrap_or_default();
        frame::text(text.len(), |out| out.push_str(&text))
    }
}

/// A `gap`, for one channel or for all of a session.
pub fn gap(channel: Option<&ChannelName>, reason: &GapReason, epoch: &str, offset: Number) -> Bytes {
    let (reason, detail) = match reason {
        GapReason::Epoch => ("epoch", None),
        GapReason::BeyondHead => ("beyond_head", None),
        GapReason::Pruned => ("pruned", None),
        GapReason::Source(what) => ("source", Some(&**what)),
    };
    Answer::Gap { channel, reason, detail, epoch, offset }.frame()
}

/// An `error`; `channel`: the one that is refused.
pub fn error(id: Option<u64>, channel: Option<&ChannelName>, code: ErrorCode, message: &str) -> Bytes {
    Answer::Error { id, channel, code: code.number(), name: code.name(), message }.frame()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::event::Micros;
    use crate::message::Frames;

    fn example() -> Message {
        Message {
            number: Number(81_234),
            pipeline: "tareas".into(),
            channel: ChannelName::new("tasks").unwrap(),
            channel_kind: ChannelKind::Stream,
            key: None,
            deleted: false,
            late: false,
            kind: "task_event".into(),
            event_type: "a \"quoted\" type".into(),
            data: r#"{"n":1}"#.into(),
            timestamp: Micros(1_764_032_523_456_000),
            id: Uuid::nil(),
            frames: Frames::default(),
        }
    }

    fn read(frame: &Bytes) -> Value {
        let start = if frame[1] == 126 { 4 } else { 2 };
        serde_json::from_slice(&frame[start..]).unwrap()
    }

    #[test]
    fn a_message_has_the_documented_fields() {
        let value = read(&message(&example()));
        assert_eq!(
            value,
            json!({"type": "task_event", "event_type": "a \"quoted\" type", "channel": "tasks", "offset": 81_234,
                "message_id": "00000000-0000-0000-0000-000000000000", "timestamp": "2025-11-25T01:02:03.456Z",
                "data": {"n": 1}})
        );
        let late = Message { deleted: true, late: true, data: "".into(), ..example() };
        let value = read(&recovered(&late));
        assert_eq!(
            (&value["deleted"], &value["late"], &value["recovered"], &value["data"]),
            (&json!(true), &json!(true), &json!(true), &Value::Null)
        );
    }

    #[test]
    fn offset_and_key_tell_what_kind_of_channel_it_is() {
        for (kind, key, offset, said) in [
            (ChannelKind::Stream, None, Some(81_234), None),
            (ChannelKind::Stream, Some("k"), Some(81_234), None),
            (ChannelKind::State, Some("k"), Some(81_234), Some("k")),
            (ChannelKind::State, None, Some(81_234), Some("")),
            (ChannelKind::Ephemeral, None, None, None),
            (ChannelKind::Ephemeral, Some("k"), None, None),
        ] {
            let value = read(&message(&Message { channel_kind: kind, key: key.map(Into::into), ..example() }));
            assert_eq!(value.get("offset"), offset.map(Value::from).as_ref(), "{kind:?} {key:?}");
            assert_eq!(value.get("key"), said.map(Value::from).as_ref(), "{kind:?} {key:?}");
        }
    }

    #[test]
    fn a_message_is_encoded_once() {
        let example = example();
        assert_eq!(message(&example).as_ptr(), message(&example).as_ptr());
    }

    #[test]
    fn answers_leave_out_what_is_not_there() {
        assert_eq!(read(&Answer::Pong { id: None }.frame()), json!({"type": "pong"}));
        let tasks = ChannelName::new("tasks").unwrap();
        assert_eq!(
            read(&gap(Some(&tasks), &GapReason::Pruned, "e", Number(5))),
            json!({"type": "gap", "channel": "tasks", "reason": "pruned", "epoch": "e", "offset": 5})
        );
        assert_eq!(
            read(&error(Some(3), None, ErrorCode::Forbidden, "no")),
            json!({"type": "error", "id": 3, "code": 105, "name": "forbidden", "message": "no"})
        );
    }
}
