//! What each dialect says in its own way. `channel` and `session` speak through it where it doesn't
//! matter to them which one a client reads.

use bytes::Bytes;

use super::codes::Close;
use super::{gad, native};
use crate::event::Micros;
use crate::message::{Dialect, Message};

impl Dialect {
    /// Its name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Gad => "gad",
        }
    }

    /// A message's frame: encoded when the first subscriber needs it, then shared. None: the dialect
    /// has no way to say it.
    pub fn message(self, message: &Message) -> Option<Bytes> {
        match self {
            Self::Native => Some(native::message(message)),
            Self::Gad => gad::message(message),
        }
    }

    /// The last frame.
    pub fn close(self, why: Close) -> Bytes {
        match self {
            Self::Native => native::close(why),
            Self::Gad => gad::close(why),
        }
    }

    /// What goes with the WebSocket ping, for clients that don't see those.
    pub fn heartbeat(self, now: Micros) -> Option<Bytes> {
        match self {
            Self::Native => None,
            Self::Gad => Some(gad::ping(now)),
        }
    }

    /// Whether its clients keep a number, come back with it, and so are told of positions and gaps.
    pub fn resumes(self) -> bool {
        self == Self::Native
    }
}
