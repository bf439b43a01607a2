//! A raw client: it records every frame in the order in which it came, and never drops a double.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::frame::{Frame, Place};
use crate::token::token;
use crate::wait::SOON;
use crate::websocket::{Incoming, Refused, WebSocket};

/// The path of the native protocol.
pub const PATH: &str = "/api/v1/ws/connect";

/// How to connect.
#[derive(Debug, Clone)]
pub struct Connect {
    pub token: Option<String>,
    pub after: Option<Place>,
    pub channels: Vec<String>,
}

impl Connect {
    /// As a user with a role.
    pub fn by(user: &str, role: &str) -> Self {
        Self { token: Some(token(user, role)), after: None, channels: Vec::new() }
    }

    /// As somebody who may read everything.
    pub fn admin() -> Self {
        Self::by("900", "ADMIN")
    }

    /// Without any token in the request.
    pub fn nobody() -> Self {
        Self { token: None, after: None, channels: Vec::new() }
    }

    #[must_use]
    pub fn to(mut self, channel: &str) -> Self {
        self.channels.push(channel.to_owned());
        self
    }

    #[must_use]
    pub fn after(mut self, place: &Place) -> Self {
        self.after = Some(place.clone());
        self
    }

    /// The upgrade's path, with everything but the token in the query.
    fn path(&self) -> String {
        let mut pieces: Vec<String> = self.channels.iter().map(|c| format!("channel={c}")).collect();
        if let Some(place) = &self.after {
            pieces.push(format!("after={}:{}", place.epoch, place.offset));
        }
        let query = pieces.join("&");
        if query.is_empty() { PATH.to_owned() } else { format!("{PATH}?{query}") }
    }

    fn headers(&self) -> Vec<String> {
        let mut headers = vec!["Sec-WebSocket-Protocol: relevo.v1".to_owned()];
        headers.extend(self.token.as_ref().map(|t| format!("Authorization: Bearer {t}")));
        headers
    }
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    socket: WebSocket,
    /// Every text frame, in order.
    pub frames: Vec<Frame>,
    /// Where it would come back to; raised only as the protocol says.
    pub place: Place,
    /// What ended it.
    pub ended: Option<Incoming>,
    pub answers_pings: bool,
    pub pings: usize,
    next_id: u64,
}

impl Client {
    /// Connects and reads up to `connected`.
    ///
    /// # Panics
    /// If the server doesn't say `connected`.
    pub fn connect(address: SocketAddr, how: &Connect) -> Self {
        Self::try_connect(address, how).unwrap_or_else(|e| panic!("no connection to {address}: {e}"))
    }

    /// # Errors
    /// What happened instead of `connected`.
    pub fn try_connect(address: SocketAddr, how: &Connect) -> Result<Self, String> {
        let socket = WebSocket::open(address, &how.path(), &how.headers()).map_err(|e| format!("{e:?}"))?;
        Self::greet(socket)
    }

    /// Connects with a small receive buffer, so that the server soon feels that nobody reads.
    pub fn connect_narrow(address: SocketAddr, how: &Connect) -> Self {
        let socket = WebSocket::upgrade(narrow_stream(address), &how.path(), &how.headers()).expect("an upgrade");
        Self::greet(socket).expect("connected")
    }

    /// Upgrades and says nothing more.
    ///
    /// # Errors
    /// If the server doesn't upgrade.
    pub fn open(address: SocketAddr, how: &Connect) -> Result<Self, Refused> {
        let socket = WebSocket::open(address, &how.path(), &how.headers())?;
        Ok(Self::new(socket))
    }

    fn new(socket: WebSocket) -> Self {
        let place = Place { epoch: String::new(), offset: 0 };
        Self { socket, frames: Vec::new(), place, ended: None, answers_pings: true, pings: 0, next_id: 0 }
    }

    fn greet(socket: WebSocket) -> Result<Self, String> {
        let mut client = Self::new(socket);
        match client.find(SOON, |f| f.kind() == "connected") {
            None => Err(format!("no `connected`, but {:?} and {:?}", client.frames, client.ended)),
            Some(_) => Ok(client),
        }
    }

    /// Follows the protocol's rule for a client's one number.
    fn moved_by(&mut self, frame: &Frame) {
        if let Some(place) = frame.place(&self.place.epoch) {
            self.place = place;
        }
    }

    /// The next text frame, recorded; None if none came in time or the connection ended.
    pub fn next(&mut self, within: Duration) -> Option<&Frame> {
        let deadline = Instant::now() + within;
        loop {
            if self.ended.is_some() {
                return None;
            }
            match self.socket.next(deadline.saturating_duration_since(Instant::now()))? {
                Incoming::Text(text) => {
                    let frame = Frame::new(text);
                    self.moved_by(&frame);
                    self.frames.push(frame);
                    return self.frames.last();
                }
                Incoming::Ping(payload) => {
                    self.pings += 1;
                    if self.answers_pings {
                        // A socket that breaks here is seen at the next read.
                        let _ = self.socket.frame(10, &payload);
                    }
                }
                Incoming::Pong(_) => {}
                end @ (Incoming::Close(..) | Incoming::End) => self.ended = Some(end),
                Incoming::Binary(bytes) => panic!("the server sent a binary frame of {} bytes", bytes.len()),
            }
        }
    }

    /// Reads until a new frame fits; its index in `frames`.
    pub fn find(&mut self, within: Duration, mut fits: impl FnMut(&Frame) -> bool) -> Option<usize> {
        let deadline = Instant::now() + within;
        loop {
            let frame = self.next(deadline.saturating_duration_since(Instant::now()))?;
            if fits(frame) {
                return Some(self.frames.len() - 1);
            }
        }
    }

    /// Reads until a new frame fits.
    ///
    /// # Panics
    /// If none comes; shows what came instead.
    pub fn expect(&mut self, what: &str, fits: impl FnMut(&Frame) -> bool) -> Frame {
        let from = self.frames.len();
        match self.find(SOON, fits) {
            Some(at) => self.frames[at].clone(),
            None => {
                let came: Vec<String> = self.frames[from..].iter().rev().take(10).map(Frame::short).collect();
                panic!(
                    "waited for {what}; the last of {} frames (newest first): {came:#?}; ended: {:?}",
                    self.frames.len() - from,
                    self.ended
                )
            }
        }
    }

    /// Reads until a new message on a channel has this event type.
    pub fn expect_event(&mut self, channel: &str, event_type: &str) -> Frame {
        self.expect(&format!("{event_type} on {channel}"), |f| f.is_of(channel) && f.event_type() == event_type)
    }

    /// Reads until the connection has ended, and says how.
    ///
    /// # Panics
    /// If it doesn't end in time.
    pub fn expect_end(&mut self, within: Duration) -> Incoming {
        while self.next(within).is_some() {}
        self.ended.clone().unwrap_or_else(|| panic!("the connection didn't end within {within:?}"))
    }

    /// Sends a command and reads up to its answer.
    pub fn ask(&mut self, mut command: Value) -> Frame {
        self.next_id += 1;
        let id = self.next_id;
        command["id"] = json!(id);
        self.say(&command);
        self.expect(&format!("the answer to {command}"), |f| f.json["id"] == json!(id))
    }

    /// Subscribes and returns the answer `subscribed`.
    pub fn subscribe(&mut self, channel: &str) -> Frame {
        let answer = self.ask(json!({"type": "subscribe", "channel": channel}));
        assert_eq!(answer.kind(), "subscribed", "{}", answer.raw);
        answer
    }

    pub fn say(&mut self, message: &Value) {
        self.socket.text(&message.to_string()).expect("the socket takes a message");
    }

    /// The socket, to send what no client should.
    pub fn raw(&mut self) -> &mut WebSocket {
        &mut self.socket
    }

    /// All messages of a channel, in the order in which they came.
    pub fn messages(&self, channel: &str) -> Vec<&Frame> {
        self.frames.iter().filter(|f| f.is_of(channel)).collect()
    }
}

/// A stream whose receive buffer is as small as the kernel allows.
pub fn narrow_stream(address: SocketAddr) -> std::net::TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a buffer size");
        let stream = socket.connect(address).await.expect("a connection").into_std().expect("a std stream");
        stream.set_nonblocking(false).expect("a blocking stream");
        stream
    })
}

/// Checks what holds for everything that one client ever gets: stream messages in rising order over
/// all its channels, no offset and no id twice.
///
/// # Panics
/// If it doesn't hold.
pub fn assert_rising_without_doubles<'a>(frames: impl IntoIterator<Item = &'a Frame>) {
    let mut last = 0;
    let mut ids = BTreeSet::new();
    for frame in frames.into_iter().filter(|f| f.is_stream() && !f.is_recovered()) {
        assert!(frame.offset() > last, "after offset {last} came {}", frame.raw);
        last = frame.offset();
        assert!(ids.insert(frame.message_id().to_owned()), "a message_id came twice: {}", frame.raw);
    }
}
