//! Subscribers that cost next to nothing: they find where frames begin and end, and look no further.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use relevo_tests::client::PATH;
use relevo_tests::token::token;

/// One connection after `connected`.
pub(crate) struct Socket {
    stream: TcpStream,
    /// Bytes that were read and not yet looked at.
    buffer: Vec<u8>,
    filled: usize,
}

/// A text frame's payload in the buffer, and where the next frame begins.
struct Found {
    opcode: u8,
    payload: std::ops::Range<usize>,
}

impl Socket {
    /// Connects, subscribed to these channels, and reads up to `connected`.
    pub(crate) async fn connect(address: SocketAddr, channels: &[&str]) -> Self {
        Self::connect_as(address, "900", "ADMIN", channels).await
    }

    /// The same, as some user.
    pub(crate) async fn connect_as(address: SocketAddr, user: &str, role: &str, channels: &[&str]) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket option");
        let channels: String = channels.iter().map(|c| format!("channel={c}&")).collect();
        let token = token(user, role);
        let request = format!(
            "GET {PATH}?{channels} HTTP/1.1\r\nHost: relevo\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Authorization: Bearer {token}\r\nSec-WebSocket-Protocol: relevo.v1\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("the upgrade's request");
        let mut socket = Self { stream, buffer: vec![0; 16 << 10], filled: 0 };
        loop {
            assert!(socket.fill().await, "the server hung up during the upgrade");
            if let Some(end) = socket.buffer[..socket.filled].windows(4).position(|w| w == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&socket.buffer[..end]).into_owned();
                assert!(head.starts_with("HTTP/1.1 101"), "no upgrade: {head}");
                socket.consume(end + 4);
                break;
            }
        }
        let mut connected = false;
        while !connected {
            socket.frames(|text| connected |= find(text, b"\"type\":\"connected\"").is_some()).await;
        }
        socket
    }

    /// Waits for bytes, and hands each whole text frame over. Answers pings.
    pub(crate) async fn frames(&mut self, mut each: impl FnMut(&[u8])) {
        loop {
            let mut at = 0;
            let mut any = false;
            let mut pings = 0;
            while let Some(found) = frame(&self.buffer[at..self.filled]) {
                any = true;
                let payload = at + found.payload.start..at + found.payload.end;
                at = payload.end;
                match found.opcode {
                    1 => each(&self.buffer[payload]),
                    9 => pings += 1,
                    8 => panic!("the server closed: {}", String::from_utf8_lossy(&self.buffer[payload])),
                    _ => {}
                }
            }
            self.consume(at);
            for _ in 0..pings {
                self.stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).await.expect("a pong");
            }
            if any {
                return;
            }
            assert!(self.fill().await, "the server hung up");
        }
    }

    /// Sends a text.
    pub(crate) async fn send(&mut self, text: &str) {
        let mut frame = vec![0x81];
        match u16::try_from(text.len()).expect("a short message") {
            n @ 0..126 => frame.push(0x80 | u8::try_from(n).expect("below 126")),
            n => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&n.to_be_bytes());
            }
        }
        // A mask of zeros is a mask.
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text.as_bytes());
        self.stream.write_all(&frame).await.expect("a message");
    }

    async fn fill(&mut self) -> bool {
        if self.filled == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let n = self.stream.read(&mut self.buffer[self.filled..]).await.expect("bytes");
        self.filled += n;
        n > 0
    }

    fn consume(&mut self, n: usize) {
        self.buffer.copy_within(n..self.filled, 0);
        self.filled -= n;
    }
}

fn frame(bytes: &[u8]) -> Option<Found> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (length, header) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])), 4),
        127 => (usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    (bytes.len() >= header + length).then(|| Found { opcode: first & 0x0f, payload: header..header + length })
}

/// Where a text stands in another.
pub(crate) fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}

/// The number behind a text, like the 17 of `"titulo":"n 17"`.
pub(crate) fn number_after(text: &[u8], what: &[u8]) -> Option<u64> {
    let start = find(text, what)? + what.len();
    let digits = text[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&text[start..start + digits]).ok()?.parse().ok()
}
