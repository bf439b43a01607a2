//! What the original system's clients say: `{event_type, data, timestamp, client_id}`, from text to
//! types.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::json::{self, Unread};

#[derive(Debug)]
pub enum Command {
    /// `client_time` as it stands in the client's data.
    Ping {
        client_time: Option<Box<RawValue>>,
    },
    /// An answer to a ping: a sign of life, like anything that comes.
    Pong,
    Subscribe {
        events: Vec<Box<str>>,
    },
    Unsubscribe {
        events: Vec<Box<str>>,
    },
    /// Asks for the newest message of the channel that the configuration names.
    Dashboard,
    /// Asks for the server's numbers.
    Metrics,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Pinged {
    client_time: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Events {
    events: Vec<Box<str>>,
}

/// The longest event type, in bytes.
const NAME_MAX: usize = 128;

impl Command {
    /// Reads a text message.
    ///
    /// # Errors
    /// Says what is wrong, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Envelope { event_type, data } = json::object(text).map_err(|unread| match unread {
            Unread::Shape(why) => format!("a message is an object with a text `event_type`: {why}"),
            // The original's words.
            Unread::NoJson(_) => "Invalid JSON format".into(),
        })?;
        match &*event_type {
            "ping" => {
                let pinged = data.and_then(|data| serde_json::from_str::<Pinged>(data.get()).ok());
                Ok(Self::Ping { client_time: pinged.and_then(|pinged| pinged.client_time) })
            }
            "pong" => Ok(Self::Pong),
            "subscribe" => Ok(Self::Subscribe { events: events(&event_type, data)? }),
            "unsubscribe" => Ok(Self::Unsubscribe { events: events(&event_type, data)? }),
            "dashboard_update" => Ok(Self::Dashboard),
            "metrics_update" => Ok(Self::Metrics),
            other => Err(format!(
                "event_type {other:.60?} is not known; known are ping, pong, subscribe, unsubscribe, dashboard_update, metrics_update"
            )),
        }
    }
}

fn events(event_type: &str, data: Option<&RawValue>) -> Result<Vec<Box<str>>, String> {
    let wrong = |why: &str| format!("{event_type}: data must be {{\"events\": [names of event types]}}: {why}");
    let data = data.ok_or_else(|| wrong("there is none"))?;
    let Events { events } = json::object(data.get()).map_err(|unread| wrong(&unread.into_text()))?;
    if events.iter().any(|name| !(1..=NAME_MAX).contains(&name.len())) {
        return Err(wrong(&format!("a name has 1 to {NAME_MAX} bytes")));
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_is_read() {
        let read = |text: &str| Command::parse(text).unwrap();
        let ping = read(r#"{"event_type":"ping","data":{"client_time":"t"},"timestamp":"x","client_id":"c"}"#);
        assert!(matches!(ping, Command::Ping { client_time: Some(time) } if time.get() == "\"t\""));
        for bare in [r#"{"event_type":"ping"}"#, r#"{"event_type":"ping","data":7}"#] {
            assert!(matches!(read(bare), Command::Ping { client_time: None }));
        }
        assert!(matches!(read(r#"{"event_type":"pong","data":{"client_time":1,"server_time":2}}"#), Command::Pong));
        let events = |text: &str| match read(text) {
            Command::Subscribe { events } | Command::Unsubscribe { events } => events,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            events(r#"{"event_type":"subscribe","data":{"events":["alert","ünknown"]}}"#),
            ["alert".into(), "ünknown".into()]
        );
        assert!(events(r#"{"event_type":"unsubscribe","data":{"events":[]}}"#).is_empty());
        assert!(matches!(read(r#"{"event_type":"dashboard_update","data":{}}"#), Command::Dashboard));
        assert!(matches!(read(r#"{"event_type":"metrics_update","data":null}"#), Command::Metrics));
    }

    #[test]
    fn each_bad_input_is_told() {
        let long = format!(r#"{{"event_type":"subscribe","data":{{"events":["{}"]}}}}"#, "x".repeat(129));
        for (text, why) in [
            ("{", "Invalid JSON format"),
            ("", "Invalid JSON format"),
            ("hola", "Invalid JSON format"),
            ("[1]", "event_type"),
            ("7", "event_type"),
            ("{}", "event_type"),
            (r#"{"event_type":7}"#, "event_type"),
            (r#"{"type":"ping"}"#, "event_type"),
            (r#"{"event_type":"dance"}"#, "dance"),
            (r#"{"event_type":"subscribe"}"#, "events"),
            (r#"{"event_type":"subscribe","data":{}}"#, "events"),
            (r#"{"event_type":"unsubscribe","data":{"events":"alert"}}"#, "events"),
            (r#"{"event_type":"subscribe","data":{"events":[""]}}"#, "1 to 128 bytes"),
            (&long, "1 to 128 bytes"),
            (&"[".repeat(10_000), "Invalid JSON format"),
        ] {
            let error = Command::parse(text).unwrap_err();
            assert!(error.contains(why), "{text:.80}: {error}");
        }
    }
}
