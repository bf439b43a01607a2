//! Sessions over real sockets, with the real journal and a client that is not ours.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use super::*;
use crate::auth::Secret;
use crate::channel::test::message;
use crate::config::{AuthSettings, ChannelSettings, JournalSettings};
use crate::event::Number;
use crate::journal::{Commit, Control};
use crate::message::Message;

mod bad_input;
mod gad;
mod heartbeat;
mod resume;
mod slow;
mod state;

/// A thing that doesn't come within this is not coming.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    context: Arc<Context>,
    listener: TcpListener,
    /// The pipeline's cursor.
    cursor: tokio::sync::Mutex<Option<Number>>,
    _folder: tempfile::TempDir,
}

struct Client {
    socket: WebSocketStream<TcpStream>,
}

fn rule(pattern: &str, kind: ChannelKind) -> ChannelSettings {
    let roles = |role: &str| vec![role.to_owned()];
    ChannelSettings {
        pattern: pattern.into(),
        kind,
        read: roles("*"),
        publish: roles("ADMIN"),
        every: Duration::ZERO,
        keep_for: None,
        keep_bytes: None,
    }
}

async fn server(change: impl FnOnce(&mut SessionSettings)) -> Server {
    let mut paced = rule("paced", ChannelKind::State);
    paced.every = Duration::from_millis(40);
    let mut secret = rule("secret", ChannelKind::Stream);
    secret.read = vec!["ADMIN".into()];
    let rules = [
        rule("tasks", ChannelKind::Stream),
        rule("system", ChannelKind::Stream),
        rule("board", ChannelKind::State),
        rule("typing", ChannelKind::Ephemeral),
        paced,
        secret,
    ];
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), &JournalSettings::default(), &rules).await.unwrap();
    let mut settings = SessionSettings { fan_out_threads: 2, ..SessionSettings::default() };
    change(&mut settings);
    let fan_out = FanOut::start(&journal, &settings, &rules).await.unwrap();
    let secret = Secret::new("a secret of at least thirty-two bytes", "test").unwrap();
    let tokens = Tokens::new(&secret, &AuthSettings::default());
    let ingest = Ingest::new(journal.clone());
    let names = |names: &[&str]| names.iter().map(|name| ChannelName::new(name).unwrap()).collect();
    let channels = [("*", names(&["tasks", "system", "board", "secret"])), ("QUIET", names(&[]))];
    let gad = GadSettings {
        channels: channels.into_iter().map(|(role, channels)| (role.to_owned(), channels)).collect(),
        dashboard: ChannelName::new("board").ok(),
    };
    let policy = Policy::new(&rules, &[]);
    let context = Context { journal, fan_out, tokens, policy, settings, ingest, gad, census: Census::default() };
    // Small buffers, so that a client which doesn't read is noticed soon.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(16 << 10).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(64).unwrap();
    Server { context: Arc::new(context), listener, cursor: tokio::sync::Mutex::new(None), _folder: folder }
}

impl Server {
    fn token(&self, role: &str, ttl: Duration) -> String {
        self.context.tokens.issue("7", role, ttl).unwrap()
    }

    /// Opens a connection that has said nothing yet but its request.
    async fn open(&self, hello: Hello) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        let address = self.listener.local_addr().unwrap();
        let client = async { client_async("ws://relevo/", socket.connect(address).await.unwrap()).await.unwrap().0 };
        let accepted = async {
            let (stream, _) = self.listener.accept().await.unwrap();
            accept_async(stream).await.unwrap().into_inner()
        };
        let (client, accepted) = tokio::join!(client, accepted);
        tokio::spawn(serve(accepted, Bytes::new(), hello, self.context.clone()));
        Client { socket: client }
    }

    /// Connects and takes `connected` and the `subscribed` of the channels that are no streams to be
    /// resumed.
    async fn connect(&self, channels: &[&str], after: Option<(&str, u64)>) -> Client {
        let mut client = self.open(self.hello(channels, after)).await;
        assert_eq!(client.next().await["type"], "connected");
        client
    }

    /// As [`Self::connect`], until all is live.
    async fn live(&self, channels: &[&str]) -> Client {
        let mut client = self.connect(channels, None).await;
        for _ in channels {
            client.until("subscribed").await;
        }
        client
    }

    fn hello(&self, channels: &[&str], after: Option<(&str, u64)>) -> Hello {
        Hello {
            token: Some(self.token("LEVEL_1", Duration::from_secs(600))),
            after: after.map(|(epoch, offset)| format!("{epoch}:{offset}")),
            channels: channels.iter().map(|c| (*c).into()).collect(),
            ..Hello::default()
        }
    }

    fn epoch(&self) -> String {
        self.context.journal.epoch().to_string()
    }

    /// Commits messages, as a pipeline does; gives the number of the last.
    async fn commit(&self, messages: Vec<Message>) -> u64 {
        let mut cursor = self.cursor.lock().await;
        let next = Number(cursor.map_or(1, |c| c.0 + 1));
        let commit = Commit { pipeline: "test".into(), after: *cursor, cursor: next, messages, ..Commit::default() };
        let last = self.context.journal.commit(commit).await.unwrap();
        *cursor = Some(next);
        last.0
    }

    /// Commits one message of a stream channel.
    async fn send(&self, channel: &str, n: u64) -> u64 {
        self.commit(vec![message(channel, ChannelKind::Stream, n)]).await
    }

    /// Commits one message of a state channel.
    async fn set(&self, channel: &str, key: &str, n: u64) -> u64 {
        self.commit(vec![Message { key: Some(key.into()), ..message(channel, ChannelKind::State, n) }]).await
    }

    async fn gap(&self, reason: &str) -> u64 {
        let gap = Control::Gap { source: "gad".into(), reason: reason.into() };
        self.context.journal.control(gap).await.unwrap().0
    }
}

impl Client {
    /// The next text as JSON; panics if the connection ends.
    async fn next(&mut self) -> Value {
        match self.frame().await {
            Some(Frame::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("no text came but {other:?}"),
        }
    }

    /// The next text or close.
    async fn frame(&mut self) -> Option<Frame> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("nothing came");
            match next {
                Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {}
                Some(Ok(frame)) => return Some(frame),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// Skips to the next text of a type.
    async fn until(&mut self, kind: &str) -> Value {
        loop {
            let value = self.next().await;
            if value["type"] == kind {
                return value;
            }
        }
    }

    async fn say(&mut self, value: Value) {
        self.socket.send(Frame::text(value.to_string())).await.unwrap();
    }

    /// Sends a command and gives its answer, which must be the next text.
    async fn ask(&mut self, value: Value) -> Value {
        self.say(value).await;
        self.next().await
    }

    /// Everything up to the close, and its code.
    async fn until_closed(&mut self) -> (Vec<Value>, Option<u16>) {
        let mut texts = Vec::new();
        loop {
            match self.frame().await {
                Some(Frame::Text(text)) => texts.push(serde_json::from_str(&text).unwrap()),
                Some(Frame::Close(Some(close))) => return (texts, Some(close.code.into())),
                _ => return (texts, None),
            }
        }
    }
}
