//! One client's socket and its outbox. The fan-out and the session's task both write through it;
//! whoever finds the socket full leaves the rest to the task, which alone waits for it.

use std::io::{ErrorKind, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::outbox::{Full, Outbox};
use crate::failpoint;
use crate::message::{ChannelName, Dialect, Message};
use crate::wire::codes::Close;

/// The connection ends: nothing more can be said to this client.
#[derive(Debug)]
pub struct Gone;

/// See the module.
pub struct Link {
    stream: TcpStream,
    /// What the client reads.
    dialect: Dialect,
    /// A std mutex: it is held for a push or a write that doesn't wait, never across an await; the
    /// fan-out and the task meet here only while a client is behind, slow or speaking.
    out: Mutex<Out>,
    /// To the session's task: the socket is full, or the end has come.
    wake: Notify,
    /// To who paces what it pushes: there is room again.
    drained: Notify,
    /// Something came from the client since the heartbeat looked last.
    heard: AtomicBool,
}

struct Out {
    outbox: Outbox,
    /// The socket is full; the session's task waits for it, and nobody else tries.
    blocked: bool,
    /// The close frame is in the outbox, or was sent.
    closing: Option<Close>,
    /// The socket is broken.
    broken: bool,
}

impl Link {
    /// The most frames that one write joins.
    const JOINED: usize = 64;

    /// `limit`: of the outbox, in bytes.
    pub fn new(stream: TcpStream, dialect: Dialect, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            stream,
            dialect,
            out: Mutex::new(Out { outbox: Outbox::new(limit), blocked: false, closing: None, broken: false }),
            wake: Notify::new(),
            drained: Notify::new(),
            heard: AtomicBool::new(true),
        })
    }

    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Adds a frame that must not be lost. If it doesn't fit, the client is too slow: closes.
    pub fn push(&self, frame: Bytes) {
        let mut out = self.with_room(frame.len());
        if out.open() && out.outbox.push(frame).is_err() {
            self.close_locked(out, Close::Slow);
        }
    }

    /// Adds a state; while the socket is full it replaces the unsent older one of its key.
    pub(crate) fn push_state(&self, frame: Bytes, message: &Arc<Message>) {
        let mut out = self.with_room(frame.len());
        let replace = out.blocked;
        if out.open() && out.outbox.push_state(frame, message, replace).is_err() {
            self.close_locked(out, Close::Slow);
        }
    }

    /// Writes what waits, if there is no room for so many bytes: what comes in one go may be more than the outbox holds,
    /// and of a client that keeps up the socket takes it.
    fn with_room(&self, bytes: usize) -> MutexGuard<'_, Out> {
        let out = self.out();
        if out.open() && !out.blocked && out.outbox.bytes() + bytes > out.outbox.limit() {
            self.write(out);
            return self.out();
        }
        out
    }

    /// Adds a frame that may be lost: it is, if half of the outbox is in use. What must not be lost
    /// always finds room beside it.
    pub(crate) fn push_if_room(&self, frame: Bytes) {
        let mut out = self.out();
        if out.open() && out.outbox.bytes() + frame.len() <= out.outbox.limit() / 2 {
            // At most once: losing it is what the kind of channel says.
            let _: Result<(), Full> = out.outbox.push(frame);
        }
    }

    /// See [`Outbox::settle`].
    pub(crate) fn settle(&self, channel: &ChannelName) {
        self.out().outbox.settle(channel);
    }

    /// Writes what waits, as far as the socket takes it now.
    pub fn flush(&self) {
        let out = self.out();
        if !out.blocked {
            self.write(out);
        }
    }

    /// As [`Self::flush`], by the session's task when the socket has room again.
    pub fn flush_writable(&self) {
        let mut out = self.out();
        let before = out.outbox.bytes();
        out.blocked = false;
        self.write(out);
        if self.out().outbox.bytes() < before {
            // It takes what it is sent: alive, if slow, and maybe too busy to see the ping in it.
            self.heard();
        }
        self.drained.notify_one();
    }

    /// Ends the connection: what waits is dropped, a close frame goes out, the task is told.
    pub fn close(&self, why: Close) {
        self.close_locked(self.out(), why);
    }

    fn close_locked(&self, mut out: MutexGuard<'_, Out>, why: Close) {
        if out.closing.is_none() {
            out.closing = Some(why);
            // A client that keeps up gets what was said before; one that doesn't gets the reason.
            if out.blocked || why == Close::Slow {
                out.outbox.clear();
            }
            let last = self.dialect.close(why);
            if out.outbox.push(last.clone()).is_err() {
                out.outbox.clear();
                let _: Result<(), Full> = out.outbox.push(last);
            }
        }
        if !out.blocked {
            self.write(out);
        }
        self.wake.notify_one();
        self.drained.notify_one();
    }

    fn write(&self, mut out: MutexGuard<'_, Out>) {
        while !out.outbox.is_empty() && !out.broken {
            failpoint::hit(failpoint::SEND_BEFORE);
            let mut slices = [IoSlice::new(&[]); Self::JOINED];
            let filled = out.outbox.fill(&mut slices);
            let result = self.stream.try_write_vectored(&slices[..filled]);
            failpoint::hit(failpoint::SEND_AFTER);
            match result {
                Ok(count) => out.outbox.wrote(count),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    out.blocked = true;
                    self.wake.notify_one();
                    return;
                }
                Err(_) => {
                    out.broken = true;
                    out.outbox.clear();
                    self.wake.notify_one();
                    self.drained.notify_one();
                }
            }
        }
    }

    /// For the session's task: waits until the client spoke, or a full socket has room, or the
    /// connection's end was decided (then the answer is empty).
    ///
    /// # Errors
    /// If the socket is broken.
    pub async fn ready(&self) -> std::io::Result<Ready> {
        let interest = if self.out().blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        tokio::select! {
            ready = self.stream.ready(interest) => ready,
            () = self.wake.notified() => Ok(Ready::EMPTY),
        }
    }

    /// Reads what is there; 0: the client is gone.
    ///
    /// # Errors
    /// `WouldBlock`, or the socket is broken.
    pub fn read(&self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.stream.try_read(buffer)
    }

    /// Waits until at most half of the outbox is in use.
    async fn room(&self) -> Result<(), Gone> {
        loop {
            {
                let out = self.out();
                if !out.open() {
                    return Err(Gone);
                }
                if out.outbox.bytes() <= out.outbox.limit() / 2 {
                    return Ok(());
                }
            }
            self.flush();
            if self.out().blocked {
                self.drained.notified().await;
            }
        }
    }

    /// As [`Self::push`], after waiting until that fills at most half of the outbox. The other half is
    /// for what the fan-out pushes meanwhile.
    ///
    /// # Errors
    /// If the connection ends meanwhile.
    pub async fn push_paced(&self, frame: Bytes) -> Result<(), Gone> {
        let crowded = {
            let out = self.out();
            out.outbox.bytes() + frame.len() > out.outbox.limit() / 2
        };
        if crowded {
            self.room().await?;
        }
        self.push(frame);
        Ok(())
    }

    /// Why the connection ends; None: it doesn't.
    pub fn closing(&self) -> Option<Close> {
        self.out().closing
    }

    /// Whether there is nothing more to do but to drop the socket.
    pub fn finished(&self) -> bool {
        let out = self.out();
        out.broken || (out.closing.is_some() && out.outbox.is_empty())
    }

    /// Notes a sign of life.
    pub fn heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Whether there was a sign of life since the last call.
    pub(crate) fn was_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }

    fn out(&self) -> MutexGuard<'_, Out> {
        // A panic while it was held is not possible in the few lines that hold it.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Out {
    fn open(&self) -> bool {
        self.closing.is_none() && !self.broken
    }
}
