//! Commands of native clients, from text to types. Each kind of bad input gets its own error.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::codes::ErrorCode;
use super::json::{self, Unread};
use crate::event::Number;
use crate::message::ChannelName;

/// A command, and the `id` that its answer carries.
#[derive(Debug, PartialEq)]
pub struct Command {
    pub id: Option<u64>,
    pub what: What,
}

#[derive(Debug, PartialEq)]
pub enum What {
    Connect(Connect),
    Subscribe { channel: ChannelName, after: Option<After> },
    Unsubscribe { channel: ChannelName },
    Publish(Publish),
    Ping,
}

/// The first message, where the request brought no token.
#[derive(Debug, Default, PartialEq)]
pub struct Connect {
    pub token: String,
    pub after: Option<After>,
    pub channels: Vec<ChannelName>,
}

#[derive(Debug, PartialEq)]
pub struct Publish {
    pub channel: ChannelName,
    /// The message's `event_type`; its `type` where there is no other.
    pub event_type: Box<str>,
    pub kind: Box<str>,
    /// As the client wrote it.
    pub data: Box<str>,
    pub idempotency_key: Option<Box<str>>,
}

/// Up to where a client has everything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct After {
    pub epoch: Box<str>,
    pub offset: Number,
}

impl After {
    /// Reads `EPOCH:OFFSET`, as it stands in a query.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, offset) = text.rsplit_once(':')?;
        Some(Self { epoch: epoch.into(), offset: Number(offset.parse().ok()?) })
    }
}

/// Why a text is no command.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    pub id: Option<u64>,
    pub code: ErrorCode,
    pub message: String,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    id: Option<u64>,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct RawConnect {
    #[serde(default)]
    token: String,
    after: Option<After>,
    #[serde(default)]
    channels: Vec<String>,
}

#[derive(Deserialize)]
struct RawSubscribe {
    channel: String,
    after: Option<After>,
}

#[derive(Deserialize)]
struct RawUnsubscribe {
    channel: String,
}

#[derive(Deserialize)]
struct RawPublish<'a> {
    channel: String,
    event_type: Option<String>,
    #[serde(borrow)]
    data: &'a RawValue,
    idempotency_key: Option<String>,
}

/// The `type` of messages that clients publish.
pub const PUBLISHED: &str = "published";
/// The longest `type`, `event_type` and idempotency key, in bytes.
pub(crate) const NAME_MAX: usize = 128;

impl Command {
    /// Reads a text message.
    ///
    /// # Errors
    /// Says what is wrong, with the `id` if that could be read.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let head: Head = json::object(text).map_err(|unread| Refusal {
            id: None,
            code: ErrorCode::BadJson,
            message: unread.into_text(),
        })?;
        let id = head.id;
        let refuse = |code, message: String| Refusal { id, code, message };
        let fields = |e: Unread| refuse(ErrorCode::BadCommand, format!("{}: {}", head.kind, e.into_text()));
        let channel = |name: &str| {
            ChannelName::new(name).map_err(|e| refuse(ErrorCode::BadChannel, format!("channel {name:.140?}: {e}")))
        };
        let what = match head.kind.as_str() {
            "connect" => {
                let raw: RawConnect = json::object(text).map_err(fields)?;
                let channels = raw.channels.iter().map(|c| channel(c)).collect::<Result<_, _>>()?;
                What::Connect(Connect { token: raw.token, after: raw.after, channels })
            }
            "subscribe" => {
                let raw: RawSubscribe = json::object(text).map_err(fields)?;
                What::Subscribe { channel: channel(&raw.channel)?, after: raw.after }
            }
            "unsubscribe" => {
                let raw: RawUnsubscribe = json::object(text).map_err(fields)?;
                What::Unsubscribe { channel: channel(&raw.channel)? }
            }
            "publish" => {
                let raw: RawPublish<'_> = json::object(text).map_err(fields)?;
                let event_type = raw.event_type.unwrap_or_else(|| PUBLISHED.into());
                let key = raw.idempotency_key;
                if event_type.len() > NAME_MAX || key.as_ref().is_some_and(|k| k.len() > NAME_MAX) {
                    let message = format!("publish: event_type and idempotency_key have at most {NAME_MAX} bytes");
                    return Err(refuse(ErrorCode::BadCommand, message));
                }
                What::Publish(Publish {
                    channel: channel(&raw.channel)?,
                    event_type: event_type.into(),
                    kind: PUBLISHED.into(),
                    data: raw.data.get().into(),
                    idempotency_key: key.map(Into::into),
                })
            }
            "ping" => What::Ping,
            other => {
                let message = format!("{other:.60?}: known are connect, subscribe, unsubscribe, publish, ping");
                return Err(refuse(ErrorCode::UnknownCommand, message));
            }
        };
        Ok(Self { id, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> (Option<u64>, ErrorCode) {
        let refusal = Command::parse(text).unwrap_err();
        (refusal.id, refusal.code)
    }

    #[test]
    fn each_command_is_read() {
        let after = After { epoch: "e".into(), offset: Number(7) };
        let tasks = ChannelName::new("tasks").unwrap();
        let read = |text: &str| Command::parse(text).unwrap();
        assert_eq!(
            read(r#"{"id":1,"type":"subscribe","channel":"tasks","after":{"epoch":"e","offset":7}}"#),
            Command { id: Some(1), what: What::Subscribe { channel: tasks.clone(), after: Some(after.clone()) } }
        );
        assert_eq!(read(r#"{"type":"ping"}"#), Command { id: None, what: What::Ping });
        assert_eq!(
            read(r#"{"type":"connect","token":"t","after":{"epoch":"e","offset":7},"channels":["tasks"]}"#).what,
            What::Connect(Connect { token: "t".into(), after: Some(after), channels: vec![tasks.clone()] })
        );
        let What::Publish(publish) = read(r#"{"type":"publish","channel":"tasks","data":{"n":1.50}}"#).what else {
            panic!("not a publish");
        };
        assert_eq!((&*publish.data, &*publish.event_type), (r#"{"n":1.50}"#, "published"));
    }

    #[test]
    fn each_kind_of_bad_input_has_its_code() {
        assert_eq!(code("{"), (None, ErrorCode::BadJson));
        assert_eq!(code("[1]"), (None, ErrorCode::BadJson));
        assert_eq!(code(r#"{"id":1}"#), (None, ErrorCode::BadJson));
        assert_eq!(code(r#"{"id":"x","type":"ping"}"#), (None, ErrorCode::BadJson));
        assert_eq!(code(&"[".repeat(10_000)), (None, ErrorCode::BadJson));
        assert_eq!(code(r#"{"id":2,"type":"dance"}"#), (Some(2), ErrorCode::UnknownCommand));
        assert_eq!(code(r#"{"id":3,"type":"subscribe"}"#), (Some(3), ErrorCode::BadCommand));
        assert_eq!(code(r#"{"id":4,"type":"subscribe","channel":7}"#), (Some(4), ErrorCode::BadCommand));
        assert_eq!(code(r#"{"id":5,"type":"subscribe","channel":"a b"}"#), (Some(5), ErrorCode::BadChannel));
        assert_eq!(
            code(r#"{"id":6,"type":"subscribe","channel":"a","after":{"epoch":"e","offset":-1}}"#),
            (Some(6), ErrorCode::BadCommand)
        );
        assert_eq!(code(r#"{"id":7,"type":"publish","channel":"a"}"#), (Some(7), ErrorCode::BadCommand));
    }

    #[test]
    fn a_refusal_names_the_field() {
        let said = |text: &str| Command::parse(text).unwrap_err().message;
        assert_eq!(said("[1,2]"), "it is no JSON object");
        assert_eq!(said(r#"{"id":"x","type":"ping"}"#), "id: a whole number, not negative, is wanted, not \"x\"");
        assert_eq!(said(r#"{"type":"subscribe"}"#), "subscribe: channel is missing");
        let after = r#"{"type":"subscribe","channel":"a","after":{"epoch":"e","offset":"7"}}"#;
        assert_eq!(said(after), "subscribe: after.offset: a whole number, not negative, is wanted, not \"7\"");
    }

    #[test]
    fn a_query_names_a_position() {
        assert_eq!(After::parse("a:b:12"), Some(After { epoch: "a:b".into(), offset: Number(12) }));
        assert_eq!(After::parse("12"), None);
        assert_eq!(After::parse("e:x"), None);
    }
}
