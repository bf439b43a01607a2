//! What a client sends: bytes in, whole messages out. Keeps nothing while nothing is half read, so
//! an idle connection has no read buffer.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::codes::Close;

/// One thing that a client said.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    Text(String),
    Ping(Vec<u8>),
    Pong,
    Close,
}

/// Puts a client's frames together.
#[derive(Debug, Default)]
pub struct Incomings {
    /// The beginning of a frame, or a whole one and what came with it.
    bytes: Vec<u8>,
    /// Up to where `bytes` are read.
    read: usize,
    /// The text frames of a message that is not complete.
    parts: Option<Vec<u8>>,
}

impl Incomings {
    /// Takes bytes as they came from the socket.
    pub fn take(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole thing; None if more bytes are needed. `limit` is a message's largest size.
    ///
    /// # Errors
    /// The code to close with. Nothing more can be read then.
    pub fn next(&mut self, limit: usize) -> Result<Option<Incoming>, Close> {
        while let Some((header, payload)) = self.frame(limit)? {
            if let Some(said) = self.said(&header, payload, limit)? {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    fn said(&mut self, header: &FrameHeader, payload: Vec<u8>, limit: usize) -> Result<Option<Incoming>, Close> {
        match header.opcode {
            OpCode::Control(Control::Ping) => Ok(Some(Incoming::Ping(payload))),
            OpCode::Control(Control::Pong) => Ok(Some(Incoming::Pong)),
            OpCode::Control(_) if payload.len() == 1 => Err(Close::Protocol),
            OpCode::Control(_) => Ok(Some(Incoming::Close)),
            OpCode::Data(Data::Binary) => Err(Close::Binary),
            OpCode::Data(Data::Text) if self.parts.is_some() => Err(Close::Protocol),
            OpCode::Data(Data::Text) if header.is_final => text(payload).map(Some),
            OpCode::Data(Data::Text) => {
                self.parts = Some(payload);
                Ok(None)
            }
            OpCode::Data(_) => {
                let mut parts = self.parts.take().ok_or(Close::Protocol)?;
                if parts.len() + payload.len() > limit {
                    return Err(Close::TooLarge);
                }
                parts.extend_from_slice(&payload);
                if header.is_final {
                    return text(parts).map(Some);
                }
                self.parts = Some(parts);
                Ok(None)
            }
        }
    }

    /// The next frame, unmasked. A size over the limit is refused when the header is read, before any
    /// of the payload is kept.
    fn frame(&mut self, limit: usize) -> Result<Option<(FrameHeader, Vec<u8>)>, Close> {
        let mut cursor = Cursor::new(&self.bytes[self.read..]);
        let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(|_| Close::Protocol)? else {
            self.tidy();
            return Ok(None);
        };
        let control = matches!(header.opcode, OpCode::Control(_));
        if header.rsv1 || header.rsv2 || header.rsv3 || (control && (length > 125 || !header.is_final)) {
            return Err(Close::Protocol);
        }
        let mask = header.mask.ok_or(Close::Protocol)?;
        let length = usize::try_from(length).ok().filter(|l| *l <= limit.max(125)).ok_or(Close::TooLarge)?;
        let start = self.read + cursor.position() as usize;
        if self.bytes.len() < start + length {
            self.tidy();
            return Ok(None);
        }
        let mut payload = self.bytes[start..start + length].to_vec();
        for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= key;
        }
        self.read = start + length;
        Ok(Some((header, payload)))
    }

    /// Forgets what was read, and gives the memory back when nothing is left.
    fn tidy(&mut self) {
        if self.read == self.bytes.len() {
            self.bytes = Vec::new();
        } else if self.read > 0 {
            self.bytes.drain(..self.read);
        }
        self.read = 0;
    }
}

fn text(bytes: Vec<u8>) -> Result<Incoming, Close> {
    String::from_utf8(bytes).map(Incoming::Text).map_err(|_| Close::NotUtf8)
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;

    use super::*;

    const LIMIT: usize = 1000;

    fn frame(opcode: OpCode, payload: &[u8], is_final: bool) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode, mask: Some([1, 2, 3, 4]), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        Frame::from_payload(header, payload.to_vec().into()).format(&mut bytes).unwrap();
        bytes
    }

    fn text_frame(payload: &str) -> Vec<u8> {
        frame(OpCode::Data(Data::Text), payload.as_bytes(), true)
    }

    fn all(bytes: &[u8]) -> Result<Vec<Incoming>, Close> {
        let mut incomings = Incomings::default();
        incomings.take(bytes);
        std::iter::from_fn(|| incomings.next(LIMIT).transpose()).collect()
    }

    #[test]
    fn messages_are_whole_however_the_bytes_come() {
        let bytes = [text_frame("one"), text_frame(&"two".repeat(100)), text_frame("")].concat();
        let mut incomings = Incomings::default();
        let mut said = Vec::new();
        for byte in &bytes {
            incomings.take(&[*byte]);
            while let Some(one) = incomings.next(LIMIT).unwrap() {
                said.push(one);
            }
        }
        assert_eq!(said, all(&bytes).unwrap());
        assert_eq!(said.len(), 3);
        assert_eq!(incomings.bytes.capacity(), 0, "an idle connection keeps no buffer");
    }

    #[test]
    fn a_control_frame_may_stand_between_the_parts_of_a_message() {
        let bytes = [
            frame(OpCode::Data(Data::Text), b"he", false),
            frame(OpCode::Control(Control::Ping), b"!", true),
            frame(OpCode::Data(Data::Continue), b"llo", true),
        ];
        assert_eq!(all(&bytes.concat()), Ok(vec![Incoming::Ping(b"!".to_vec()), Incoming::Text("hello".into())]));
    }

    #[test]
    fn a_message_over_the_limit_is_refused_before_it_is_read() {
        let large = text_frame(&"x".repeat(LIMIT + 1));
        assert_eq!(all(&large[..10]), Err(Close::TooLarge));
        let part = frame(OpCode::Data(Data::Text), &[b'x'; 600], false);
        let rest = frame(OpCode::Data(Data::Continue), &[b'x'; 600], true);
        assert_eq!(all(&[part, rest].concat()), Err(Close::TooLarge));
        let mut endless = vec![0x81, 0xff];
        endless.extend_from_slice(&u64::MAX.to_be_bytes());
        endless.extend_from_slice(&[0; 4]);
        assert_eq!(all(&endless), Err(Close::TooLarge));
    }

    #[test]
    fn each_kind_of_bad_frame_has_its_code() {
        assert_eq!(all(&frame(OpCode::Data(Data::Binary), b"x", true)), Err(Close::Binary));
        assert_eq!(all(&frame(OpCode::Data(Data::Text), &[0xff, 0xfe], true)), Err(Close::NotUtf8));
        assert_eq!(all(&[0x81, 0x01, b'x']), Err(Close::Protocol), "not masked");
        assert_eq!(all(&[0xc1, 0x80, 0, 0, 0, 0]), Err(Close::Protocol), "a reserved bit");
        assert_eq!(all(&[0x83, 0x80, 0, 0, 0, 0]), Err(Close::Protocol), "a reserved opcode");
        assert_eq!(all(&frame(OpCode::Data(Data::Continue), b"x", true)), Err(Close::Protocol), "continues nothing");
        assert_eq!(all(&frame(OpCode::Control(Control::Ping), b"x", false)), Err(Close::Protocol), "a cut ping");
        assert_eq!(all(&frame(OpCode::Control(Control::Close), b"x", true)), Err(Close::Protocol), "half a code");
    }

    #[test]
    fn garbage_never_panics() {
        let mut seed = 42_u64;
        for _ in 0..2000 {
            let bytes: Vec<u8> = (0..40)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (seed >> 33) as u8
                })
                .collect();
            let _ = all(&bytes);
        }
    }
}
