//! WebSocket frames by hand (RFC 6455), so that a test sees every byte and can send wrong ones.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The example key of RFC 6455 and the answer that it must get.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What came from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// A close frame's code and reason; 1005 if it had none.
    Close(u16, String),
    /// The stream ended (a killed server says no more than that).
    End,
}

/// One socket after a successful upgrade.
#[derive(Debug)]
pub struct WebSocket {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

/// The upgrade was answered by something other than 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub status: u16,
    pub text: String,
}

impl WebSocket {
    /// Upgrades. `path` with the query; `headers` are whole lines without their ends.
    ///
    /// # Errors
    /// If the server can't be reached or doesn't upgrade (`status` 0 if it said nothing).
    pub fn open(address: SocketAddr, path: &str, headers: &[String]) -> Result<Self, Refused> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(10)).map_err(|e| silent(&e))?;
        Self::upgrade(stream, path, headers)
    }

    /// Upgrades on a stream that is there already (with a small receive buffer, say).
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn upgrade(mut stream: TcpStream, path: &str, headers: &[String]) -> Result<Self, Refused> {
        stream.set_nodelay(true).map_err(|e| silent(&e))?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(|e| silent(&e))?;
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: relevo\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
        );
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).map_err(|e| silent(&e))?;
        let mut buffer = Vec::new();
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            let mut piece = [0; 4096];
            match stream.read(&mut piece) {
                Ok(0) => {
                    return Err(Refused { status: 0, text: String::from_utf8_lossy(&buffer).into_owned() });
                }
                Ok(n) => buffer.extend_from_slice(&piece[..n]),
                Err(e) => return Err(silent(&e)),
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
        let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        if status != 101 {
            let text = String::from_utf8_lossy(&buffer).into_owned();
            return Err(Refused { status, text });
        }
        assert!(text.contains(ACCEPT), "the server answered the upgrade with a wrong key: {text}");
        Ok(Self { stream, buffer, start: head })
    }

    /// The next frame, or None if none came in time.
    ///
    /// # Panics
    /// If the server sends what RFC 6455 doesn't allow.
    pub fn next(&mut self, within: Duration) -> Option<Incoming> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(incoming) = self.take() {
                return Some(incoming);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            if !self.fill(left) {
                return Some(Incoming::End);
            }
        }
    }

    /// Reads what the kernel has; false at the end of the stream.
    fn fill(&mut self, within: Duration) -> bool {
        if self.start > 0 && (self.start == self.buffer.len() || self.start > 1 << 16) {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.stream.set_read_timeout(Some(within.max(Duration::from_millis(1)))).expect("a timeout above zero");
        let mut piece = [0; 1 << 14];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&piece[..n]);
                true
            }
            Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted),
        }
    }

    /// A whole frame from the buffer.
    fn take(&mut self) -> Option<Incoming> {
        let bytes = &self.buffer[self.start..];
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        assert_eq!(second & 0x80, 0, "a server's frames are not masked");
        assert_eq!(first & 0x70, 0, "no extension was agreed on");
        assert_eq!(first & 0x80, 0x80, "the server sends one frame for each message");
        let (length, header) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])), 4),
            127 => {
                let long = bytes.get(2..10)?.try_into().expect("eight bytes");
                (usize::try_from(u64::from_be_bytes(long)).expect("a length fits"), 10)
            }
            short => (usize::from(short), 2),
        };
        let payload = bytes.get(header..header + length)?.to_vec();
        self.start += header + length;
        Some(match first & 0x0f {
            1 => Incoming::Text(String::from_utf8(payload).expect("a text frame is UTF-8")),
            2 => Incoming::Binary(payload),
            8 if payload.len() < 2 => Incoming::Close(1005, String::new()),
            8 => Incoming::Close(
                u16::from_be_bytes([payload[0], payload[1]]),
                String::from_utf8_lossy(&payload[2..]).into_owned(),
            ),
            9 => Incoming::Ping(payload),
            10 => Incoming::Pong(payload),
            other => panic!("the server sent a frame with opcode {other}"),
        })
    }

    pub fn text(&mut self, text: &str) -> std::io::Result<()> {
        self.frame(1, text.as_bytes())
    }

    /// A whole frame, masked as a client's must be.
    pub fn frame(&mut self, opcode: u8, payload: &[u8]) -> std::io::Result<()> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut frame = vec![0x80 | opcode];
        match payload.len() {
            n @ 0..126 => frame.push(0x80 | u8::try_from(n).expect("below 126")),
            n @ 126..65_536 => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&u16::try_from(n).expect("below 65,536").to_be_bytes());
            }
            n => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(n as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]));
        self.bytes(&frame)
    }

    /// Any bytes, right or wrong.
    pub fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }
}

fn silent(error: &std::io::Error) -> Refused {
    Refused { status: 0, text: error.to_string() }
}
