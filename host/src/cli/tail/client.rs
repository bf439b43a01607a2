//! The client: connects, follows its number, comes back with it.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::Context;
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message as Frame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::print::Printer;
use crate::cli::access::Credential;
use crate::message::ChannelName;
use crate::wire::codes::{Close, Then};

/// The first wait after a break; it doubles with each try that fails, up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long a server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A message that came from a channel.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(rename = "type", borrow)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub event_type: Cow<'a, str>,
    #[serde(borrow)]
    pub channel: Cow<'a, str>,
    /// Not of an ephemeral channel.
    offset: Option<u64>,
    pub timestamp: String,
    pub key: Option<String>,
    #[serde(default)]
    pub deleted: bool,
    #[serde(default)]
    pub late: bool,
    #[serde(default)]
    pub recovered: bool,
    #[serde(borrow)]
    pub data: &'a RawValue,
    /// Not from the past that was caught up with; the client finds out.
    #[serde(skip)]
    pub live: bool,
}

/// What the server says of itself.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Said {
    Connected { epoch: String, offset: u64, heartbeat_ms: u64 },
    Subscribed { channel: String },
    Position { epoch: String, offset: u64 },
    Gap { channel: Option<String>, reason: String, detail: Option<String>, epoch: String, offset: u64 },
    Error { name: String, message: String },
}

/// The one number that a client keeps.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Place {
    epoch: String,
    offset: u64,
}

/// How it ended for good.
pub(super) enum Ended {
    Done,
    /// The server will not serve this client.
    Refused(String),
}

/// How one connection ended.
enum Broken {
    /// Connect again.
    Again(String),
    Ended(Ended),
}

pub(super) struct Client {
    url: String,
    credential: Credential,
    channels: Vec<ChannelName>,
    /// Messages still to come; None: without end.
    left: Option<u64>,
    printer: Printer,
    place: Option<Place>,
    /// Whether this connection came to `connected`: the next wait is short then.
    was_connected: bool,
    /// Channels that are still catching up on this connection.
    behind: Vec<String>,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Client {
    pub(super) fn new(
        url: String,
        credential: Credential,
        channels: Vec<ChannelName>,
        count: Option<u64>,
        printer: Printer,
    ) -> Self {
        Self { url, credential, channels, left: count, printer, place: None, was_connected: false, behind: Vec::new() }
    }

    /// Runs until SIGINT or SIGTERM, the last message that was asked for, or a refusal.
    pub(super) async fn run(mut self) -> anyhow::Result<Ended> {
        // A wrong URL never gets right by waiting.
        self.url.as_str().into_client_request().with_context(|| format!("--url {}", self.url))?;
        let mut terminate = signal(SignalKind::terminate())?;
        let ended = tokio::select! {
            ended = self.follow() => ended,
            _ = tokio::signal::ctrl_c() => Ok(Ended::Done),
            _ = terminate.recv() => Ok(Ended::Done),
        };
        self.printer.end();
        ended
    }

    async fn follow(&mut self) -> anyhow::Result<Ended> {
        if self.left == Some(0) {
            return Ok(Ended::Done);
        }
        let mut wait = FIRST_WAIT;
        loop {
            self.was_connected = false;
            let why = match self.connection().await? {
                Broken::Ended(ended) => return Ok(ended),
                Broken::Again(why) => why,
            };
            if self.was_connected {
                wait = FIRST_WAIT;
            }
            let pause = jittered(wait);
            self.printer.note(&format!("{why}; again in {} ms", pause.as_millis()));
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One connection, to its end.
    async fn connection(&mut self) -> anyhow::Result<Broken> {
        let mut request = self.url.as_str().into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("relevo.v1"));
        let connecting = tokio_tungstenite::connect_async_with_config(request, None, true);
        let mut socket = match timeout(ANSWER_WITHIN, connecting).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(tungstenite::Error::Http(answer))) if answer.status().is_client_error() => {
                let body = answer.body().as_deref().unwrap_or_default();
                let why = format!("{}: HTTP {}: {}", self.url, answer.status(), String::from_utf8_lossy(body));
                return Ok(Broken::Ended(Ended::Refused(why)));
            }
            Ok(Err(e)) => return Ok(Broken::Again(format!("{}: {e}", self.url))),
            Err(_) => return Ok(Broken::Again(format!("{} doesn't answer", self.url))),
        };
        self.behind = self.channels.iter().map(ToString::to_string).collect();
        let hello = serde_json::json!({
            "type": "connect",
            "token": self.credential.token()?,
            "after": self.place,
            "channels": self.channels,
        });
        let mut hello = hello;
        if self.place.is_none()
            && let Some(fields) = hello.as_object_mut()
        {
            fields.remove("after");
        }
        if let Err(e) = socket.send(Frame::text(hello.to_string())).await {
            return Ok(Broken::Again(e.to_string()));
        }
        self.listen(&mut socket).await
    }

    async fn listen(&mut self, socket: &mut Socket) -> anyhow::Result<Broken> {
        // Until `connected` says how often the server pings.
        let mut silence = ANSWER_WITHIN;
        loop {
            let deadline = Instant::now() + silence;
            let frame = match tokio::time::timeout_at(deadline, socket.next()).await {
                Err(_) => return Ok(Broken::Again(format!("nothing came for {} s", silence.as_secs()))),
                Ok(None) => return Ok(Broken::Again("the connection ended".into())),
                Ok(Some(Err(e))) => return Ok(Broken::Again(e.to_string())),
                Ok(Some(Ok(frame))) => frame,
            };
            match frame {
                Frame::Text(text) => {
                    if let Some(ended) = self.take(&text, &mut silence)? {
                        let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
                        return Ok(Broken::Ended(ended));
                    }
                }
                Frame::Close(close) => return Ok(self.closed(close.as_ref())),
                // Pings are answered by the library, when it is read next.
                _ => {}
            }
        }
    }

    /// Takes one text frame.
    fn take(&mut self, text: &str, silence: &mut Duration) -> anyhow::Result<Option<Ended>> {
        if let Ok(mut message) = serde_json::from_str::<Message<'_>>(text) {
            message.live = !self.behind.iter().any(|channel| *channel == message.channel);
            if self.printer.message(&message, text).is_err() {
                // Nobody reads any more (a closed pipe): as good as Ctrl-C.
                return Ok(Some(Ended::Done));
            }
            // State and ephemeral channels and what was recovered say nothing about other channels.
            if message.key.is_none()
                && !message.recovered
                && let (Some(place), Some(offset)) = (&mut self.place, message.offset)
            {
                place.offset = offset;
            }
            if let Some(left) = &mut self.left {
                *left -= 1;
                if *left == 0 {
                    return Ok(Some(Ended::Done));
                }
            }
            return Ok(None);
        }
        let Ok(said) = serde_json::from_str::<Said>(text) else {
            // Something of a newer protocol.
            return Ok(None);
        };
        match said {
            Said::Connected { epoch, offset, heartbeat_ms } => {
                let how = if self.place.is_some() { "resumed" } else { "connected" };
                self.printer.note(&format!("{how} at {epoch}:{offset}"));
                self.was_connected = true;
                // Whoever comes back keeps the number until a gap takes it, which may not arrive.
                self.place.get_or_insert(Place { epoch, offset });
                *silence = Duration::from_millis(heartbeat_ms.max(1000)) + ANSWER_WITHIN;
            }
            Said::Subscribed { channel } => self.behind.retain(|behind| *behind != channel),
            Said::Position { epoch, offset } => self.place = Some(Place { epoch, offset }),
            Said::Gap { channel, reason, detail, epoch, offset } => {
                let what = channel.as_deref().unwrap_or("all channels");
                let detail = detail.map(|detail| format!(" ({detail})")).unwrap_or_default();
                let told = format!("gap in {what}: {reason}{detail}; what was up to {epoch}:{offset} may be missing");
                if self.printer.gap(&told, text).is_err() {
                    return Ok(Some(Ended::Done));
                }
                // One subscription's gap says nothing about the others.
                if channel.is_none() {
                    self.place = Some(Place { epoch, offset });
                }
            }
            Said::Error { name, message } => {
                return Ok(Some(Ended::Refused(format!("{name}: {message}"))));
            }
        }
        Ok(None)
    }

    /// What a close code asks for.
    fn closed(&self, close: Option<&tungstenite::protocol::CloseFrame>) -> Broken {
        let Some(close) = close else { return Broken::Again("closed".into()) };
        let number = u16::from(close.code);
        let why = format!("closed: {} ({number})", close.reason);
        // A code of a newer server, or of a proxy on the way: come back.
        let then = Close::ALL.iter().find(|code| code.number() == number).map_or(Then::Wait, |code| code.then());
        match (then, &self.credential) {
            (Then::Stop, _) => Broken::Ended(Ended::Refused(why)),
            (Then::NewToken, Credential::Given(_)) => Broken::Ended(Ended::Refused(format!("{why}; give a new token"))),
            _ => Broken::Again(why),
        }
    }
}

/// Half of the wait is left to chance, so that clients of one server don't all come at once.
fn jittered(wait: Duration) -> Duration {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    wait.mul_f64(0.5 + f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> Client {
        Client::new(
            "ws://nowhere".into(),
            Credential::Given("t".into()),
            vec![ChannelName::new("tasks").unwrap()],
            None,
            Printer::new(true, false),
        )
    }

    fn take(client: &mut Client, text: &str) -> Option<Ended> {
        client.take(text, &mut Duration::default()).unwrap()
    }

    fn message(offset: u64, more: &str) -> String {
        format!(
            r#"{{"type":"t","event_type":"e","channel":"tasks","offset":{offset},"message_id":"m","timestamp":"2026-11-25T01:02:03.456Z"{more},"data":{{}}}}"#
        )
    }

    #[test]
    fn only_stream_messages_and_positions_move_the_number() {
        let mut client = client();
        take(
            &mut client,
            r#"{"type":"connected","session":"s","epoch":"e","offset":5,"user":"u","role":"r","heartbeat_ms":30000}"#,
        );
        let place = |client: &Client| client.place.as_ref().map(|place| place.offset);
        assert_eq!(place(&client), Some(5));
        take(&mut client, &message(9, ""));
        assert_eq!(place(&client), Some(9));
        take(&mut client, &message(20, r#","key":"kpis""#));
        take(&mut client, &message(20, r#","key":"""#));
        take(&mut client, &message(21, r#","recovered":true"#));
        take(&mut client, &message(22, "").replace(r#""offset":22,"#, ""));
        take(&mut client, r#"{"type":"gap","channel":"tasks","reason":"pruned","epoch":"f","offset":25}"#);
        take(&mut client, r#"{"type":"subscribed","channel":"tasks","epoch":"e","offset":26}"#);
        assert_eq!(client.place, Some(Place { epoch: "e".into(), offset: 9 }));
        take(&mut client, r#"{"type":"position","epoch":"e","offset":30}"#);
        assert_eq!(place(&client), Some(30));
        take(&mut client, r#"{"type":"gap","reason":"epoch","epoch":"f","offset":2}"#);
        assert_eq!(client.place, Some(Place { epoch: "f".into(), offset: 2 }));
    }

    #[test]
    fn it_ends_with_the_last_message_that_was_asked_for() {
        let mut client = client();
        client.left = Some(2);
        assert!(take(&mut client, &message(1, "")).is_none());
        assert!(matches!(take(&mut client, &message(2, "")), Some(Ended::Done)));
    }

    #[test]
    fn an_error_ends_it() {
        let refused = take(&mut client(), r#"{"type":"error","code":105,"name":"forbidden","message":"no"}"#);
        assert!(matches!(refused, Some(Ended::Refused(why)) if why == "forbidden: no"));
    }

    #[test]
    fn a_close_code_says_whether_to_come_back() {
        let mut client = client();
        let again = |client: &Client, code: u16| {
            let frame = tungstenite::protocol::CloseFrame { code: code.into(), reason: "".into() };
            matches!(client.closed(Some(&frame)), Broken::Again(_))
        };
        for code in [4000, 4001, 4002, 1012, 4321] {
            assert!(again(&client, code), "{code}");
        }
        for code in [1002, 4500, 4501, 4005] {
            assert!(!again(&client, code), "{code}");
        }
        let secret = crate::auth::Secret::new(&"s".repeat(32), "test").unwrap();
        client.credential = Credential::Made {
            tokens: Box::new(crate::auth::Tokens::new(&secret, &Default::default())),
            user: "tail",
            role: "ADMIN".into(),
        };
        assert!(again(&client, 4005), "the next token is fresh");
    }

    #[test]
    fn waits_are_spread_and_never_longer_than_asked() {
        for _ in 0..100 {
            let wait = jittered(Duration::from_secs(2));
            assert!((Duration::from_secs(1)..=Duration::from_secs(2)).contains(&wait));
        }
    }
}
