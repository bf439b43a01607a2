//! Reads what a client sends, answers its pings, and stays until a decided close has reached it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::channel::Link;
use crate::config::SessionSettings;
use crate::wire::codes::Close;
use crate::wire::frame;
use crate::wire::incoming::{Incoming, Incomings};

pub(super) struct Reader {
    link: Arc<Link>,
    incomings: Incomings,
    /// The largest message, in bytes.
    limit: usize,
    /// How long a client gets to take the close frame.
    leave_within: Duration,
    /// The client's own close came, or the socket ended.
    ended: bool,
}

/// What is read at once, on the stack: an idle connection has no buffer.
const CHUNK: usize = 4096;

impl Reader {
    pub(super) fn new(link: Arc<Link>, already_read: Bytes, settings: &SessionSettings) -> Self {
        let mut incomings = Incomings::default();
        incomings.take(&already_read);
        let limit = usize::try_from(settings.message_bytes).unwrap_or(usize::MAX);
        Self { link, incomings, limit, leave_within: settings.pong_within, ended: false }
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// The next text message; None when the connection ends, whoever ended it.
    ///
    /// # Errors
    /// The code to close with.
    pub(super) async fn next(&mut self) -> Result<Option<String>, Close> {
        loop {
            while let Some(said) = self.incomings.next(self.limit)? {
                match said {
                    Incoming::Text(text) => return Ok(Some(text)),
                    Incoming::Ping(payload) => {
                        self.link.push(frame::pong(&payload));
                        self.link.flush();
                    }
                    Incoming::Pong => {}
                    Incoming::Close => {
                        self.ended = true;
                        return Err(Close::Normal);
                    }
                }
            }
            let Ok(ready) = self.link.ready().await else {
                self.ended = true;
                return Ok(None);
            };
            if ready.is_writable() {
                self.link.flush_writable();
            }
            if self.link.closing().is_some() || self.link.finished() {
                return Ok(None);
            }
            if ready.is_readable() && !self.read() {
                self.ended = true;
                return Ok(None);
            }
        }
    }

    /// Takes what the socket has; false: it has ended.
    fn read(&mut self) -> bool {
        let mut chunk = [0; CHUNK];
        match self.link.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.link.heard();
                self.incomings.take(&chunk[..count]);
                true
            }
            Err(e) => matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// Waits until the close frame is written, then for the client's own close: a socket that is
    /// dropped with unread bytes resets, and the client might never see the code.
    pub(super) async fn finish(mut self) {
        if self.link.closing().is_none() {
            return;
        }
        let written = tokio::time::timeout(self.leave_within, self.leave(false)).await;
        if written.is_ok() && !self.ended {
            let _ = tokio::time::timeout(self.leave_within.min(LINGER), self.leave(true)).await;
        }
    }

    /// Goes on until the close frame is written, and, if `heard`, the client's has come too.
    async fn leave(&mut self, heard: bool) {
        while !self.link.finished() || (heard && !self.ended) {
            let Ok(ready) = self.link.ready().await else { return };
            if ready.is_writable() {
                self.link.flush_writable();
            }
            if ready.is_readable() && !self.read() {
                self.ended = true;
                return;
            }
            loop {
                match self.incomings.next(self.limit) {
                    Ok(None) => break,
                    Ok(Some(Incoming::Close)) => self.ended = true,
                    Ok(Some(_)) => {}
                    // After a broken frame nothing can be told apart any more: only the end counts.
                    Err(_) => {
                        self.incomings = Incomings::default();
                        break;
                    }
                }
            }
        }
    }
}

/// How long to wait for a client's answer to a close, once that is written.
const LINGER: Duration = Duration::from_secs(2);
