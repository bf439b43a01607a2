//! WebSocket frames that the server sends: unmasked and unfragmented, so one can be shared by all.

use bytes::Bytes;

const FINAL: u8 = 0x80;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;
/// The longest payload of a control frame (RFC 6455, 5.5).
const CONTROL_MAX: usize = 125;

/// The longest head of a frame.
const HEAD: &str = "          ";

/// A text message, which `write` writes; about so many bytes.
pub fn text(about: usize, write: impl FnOnce(&mut String)) -> Bytes {
    let mut text = String::with_capacity(HEAD.len() + about);
    text.push_str(HEAD);
    write(&mut text);
    let mut frame = text.into_bytes();
    let length = frame.len() - HEAD.len();
    // The head ends where the message begins.
    let (short, long) = (u8::try_from(length).ok().filter(|short| *short <= 125), u16::try_from(length));
    let begin = match (short, long) {
        (Some(short), _) => {
            frame[HEAD.len() - 2..HEAD.len()].copy_from_slice(&[FINAL | TEXT, short]);
            HEAD.len() - 2
        }
        (None, Ok(long)) => {
            let begin = HEAD.len() - 4;
            frame[begin..begin + 2].copy_from_slice(&[FINAL | TEXT, 126]);
            frame[begin + 2..HEAD.len()].copy_from_slice(&long.to_be_bytes());
            begin
        }
        (None, Err(_)) => {
            frame[0..2].copy_from_slice(&[FINAL | TEXT, 127]);
            frame[2..HEAD.len()].copy_from_slice(&(length as u64).to_be_bytes());
            0
        }
    };
    Bytes::from(frame).slice(begin..)
}

/// An empty ping.
pub const fn ping() -> Bytes {
    Bytes::from_static(&[FINAL | PING, 0])
}

/// The answer to a ping.
pub fn pong(payload: &[u8]) -> Bytes {
    control(PONG, payload)
}

/// The last frame.
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    control(CLOSE, &payload)
}

fn control(opcode: u8, payload: &[u8]) -> Bytes {
    let payload = &payload[..payload.len().min(CONTROL_MAX)];
    let mut frame = Vec::with_capacity(payload.len() + 2);
    frame.push(FINAL | opcode);
    frame.push(payload.len() as u8);
    frame.extend_from_slice(payload);
    frame.into()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;

    use super::*;
    use crate::wire::codes::Close;

    #[test]
    fn tungstenite_reads_each_length_of_text() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            let frame = text(length, |text| text.extend(std::iter::repeat_n('x', length)));
            let mut cursor = Cursor::new(&frame[..]);
            let (header, read) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
            assert_eq!((read as usize, header.is_final, header.mask), (length, true, None));
            assert_eq!(frame.len() - cursor.position() as usize, length);
        }
    }

    #[test]
    fn a_control_frame_is_never_longer_than_the_protocol_allows() {
        assert_eq!(pong(&[0; 200]).len(), 127);
        assert!(Close::ALL.iter().all(|c| close(c.number(), c.name()).len() <= 127));
    }
}
