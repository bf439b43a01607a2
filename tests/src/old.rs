//! A client of the original system, which offers no subprotocol: the document's looks at `type` and says
//! nothing, the code's looks at `event_type` and speaks. Used by the tests of what they are served.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::server::Server;
use crate::token::token;
use crate::wait::SOON;
use crate::websocket::{Incoming, WebSocket};

/// The document's path and the code's.
pub const PATHS: [&str; 2] = ["/api/v1/ws/connect", "/ws/connect"];

/// A socket without a subprotocol. Like any library it answers WebSocket pings; it keeps what came.
#[derive(Debug)]
pub struct Old {
    pub socket: WebSocket,
    pub answers_pings: bool,
    /// How many WebSocket pings came.
    pub pings: usize,
    ended: Option<Incoming>,
}

impl Old {
    pub fn open(address: SocketAddr, path: &str, headers: &[String]) -> Self {
        Self::over(WebSocket::open(address, path, headers).expect("an upgrade"))
    }

    pub fn over(socket: WebSocket) -> Self {
        Self { socket, answers_pings: true, pings: 0, ended: None }
    }

    /// As the document's client: the token in the query, not a word more.
    pub fn document(server: &Server, user: &str, role: &str) -> Self {
        Self::open(server.address, &format!("{}?token={}", PATHS[0], token(user, role)), &[])
    }

    /// As the code's client: the token in the header; the first frame must be the acknowledgement.
    pub fn code(server: &Server, user: &str, role: &str) -> Self {
        let mut client = Self::open(server.address, PATHS[1], &[bearer(&token(user, role))]);
        let ack = client.next_frame().expect("an acknowledgement");
        assert_eq!(ack["event_type"], "connection_ack", "{ack}");
        for field in ["connection_id", "connected_at", "server_time"] {
            assert!(ack["data"][field].is_string(), "{ack}");
        }
        client
    }

    /// The next text frame; None: the connection has ended, or nothing came.
    pub fn next_within(&mut self, within: Duration) -> Option<Value> {
        let deadline = Instant::now() + within;
        while self.ended.is_none() {
            match self.socket.next(deadline.saturating_duration_since(Instant::now()))? {
                Incoming::Text(text) => return Some(whole(&text)),
                Incoming::Ping(payload) => {
                    self.pings += 1;
                    if self.answers_pings {
                        let _ = self.socket.frame(10, &payload);
                    }
                }
                Incoming::Pong(_) => {}
                end @ (Incoming::Close(..) | Incoming::End) => self.ended = Some(end),
                Incoming::Binary(bytes) => panic!("{} binary bytes", bytes.len()),
            }
        }
        None
    }

    /// The next text frame, which ought to come at once.
    pub fn next_frame(&mut self) -> Option<Value> {
        self.next_within(SOON)
    }

    /// Reads on to a frame. Pings come without end: the deadline is for all of it.
    pub fn until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let mut came = Vec::new();
        let deadline = Instant::now() + SOON;
        while let Some(frame) = self.next_within(deadline.saturating_duration_since(Instant::now())) {
            if fits(&frame) {
                return frame;
            }
            came.push(frame);
        }
        panic!("waited for {what}; came: {came:#?}; ended: {:?}", self.ended);
    }

    /// What the document's client does: it switches on `type`.
    pub fn until_type(&mut self, kind: &str) -> Value {
        self.until(kind, |frame| frame["type"] == kind)
    }

    /// What the code's client does: it switches on `event_type`.
    pub fn until_event(&mut self, event_type: &str) -> Value {
        self.until(event_type, |frame| frame["event_type"] == event_type)
    }

    /// Sends a message as the code's client does.
    pub fn say(&mut self, event_type: &str, data: Value) {
        let message =
            json!({"event_type": event_type, "data": data, "timestamp": "2025-09-22T04:55:00", "client_id": "c"});
        self.socket.text(&message.to_string()).expect("the socket takes a message");
    }

    /// Reads until all that it has by its role is live: an answer that is given in order has come.
    pub fn live(mut self) -> Self {
        self.say("unsubscribe", json!({"events": []}));
        let answer = self.until_event("notification");
        assert_eq!(answer["data"]["content"], "Desuscrito de 0 tipos de eventos");
        self
    }

    /// How the connection ended.
    pub fn end(mut self) -> Incoming {
        let deadline = Instant::now() + SOON;
        while self.next_within(deadline.saturating_duration_since(Instant::now())).is_some() {}
        self.ended.expect("an end")
    }
}

/// A frame, which must have the whole envelope and nothing else.
fn whole(text: &str) -> Value {
    let frame: Value = serde_json::from_str(text).expect("JSON");
    let mut fields: Vec<&str> = frame.as_object().expect("an object").keys().map(String::as_str).collect();
    fields.sort_unstable();
    let wanted = ["data", "event_type", "message_id", "target_role", "target_user_id", "timestamp", "type"];
    assert_eq!(fields, wanted, "{text}");
    assert!(frame["data"].is_object(), "{text}");
    frame
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// It must be closed as one who may not come in.
pub fn assert_refused(client: Old, what: &str) {
    match client.end() {
        Incoming::Close(1008, reason) => assert!(!reason.is_empty(), "{what}: a reason"),
        other => panic!("{what}: {other:?}"),
    }
}

/// Publishes as a native client does.
pub fn publish(native: &mut Client, channel: &str, event_type: &str, data: &Value) {
    let answer = native.ask(json!({"type": "publish", "channel": channel, "event_type": event_type, "data": data}));
    assert_eq!(answer.kind(), "published", "{}", answer.raw);
}

/// What people write in an alert.
pub fn alert(title: &str) -> Value {
    json!({"title": title, "content": "Todos a la base", "level": "alert"})
}
