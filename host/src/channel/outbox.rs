//! What waits for one client, bounded in bytes. It knows frames and kinds of channels, no socket.

use std::collections::{HashMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use crate::message::{ChannelName, Message};

/// The frame doesn't fit any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

pub(crate) struct Outbox {
    queue: VecDeque<Waiting>,
    /// The sequence number of the queue's first entry.
    first: u64,
    /// How much of the first entry is written already.
    written: usize,
    /// What waits, in bytes.
    bytes: usize,
    limit: usize,
    /// Where each state waits; made when the first one comes while the socket is full, and dropped
    /// when the queue is empty: a client that keeps up costs no hashing.
    states: Option<HashMap<StateOf, u64>>,
}

struct Waiting {
    frame: Bytes,
    /// Of a state channel: what may be replaced.
    state: Option<Arc<Message>>,
}

/// A message as the value of its channel and key.
struct StateOf(Arc<Message>);

impl PartialEq for StateOf {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key && self.0.channel == other.0.channel
    }
}

impl Eq for StateOf {}

impl Hash for StateOf {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.channel.hash(hasher);
        self.0.key.hash(hasher);
    }
}

impl Outbox {
    /// An empty queue with more room than this gives it back.
    const KEPT: usize = 32;

    pub(crate) fn new(limit: usize) -> Self {
        Self { queue: VecDeque::new(), first: 0, written: 0, bytes: 0, limit, states: None }
    }

    /// What waits, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a frame. A single frame fits even if it alone is over the limit.
    pub(crate) fn push(&mut self, frame: Bytes) -> Result<(), Full> {
        self.add(frame, None)
    }

    /// Adds a state's frame. `replace`: the newer takes the place of the unsent older.
    #[expect(clippy::mutable_key_type, reason = "only channel and key are compared; they don't change")]
    pub(crate) fn push_state(&mut self, frame: Bytes, message: &Arc<Message>, replace: bool) -> Result<(), Full> {
        if !replace {
            return self.add(frame, Some(message.clone()));
        }
        let states = self.states.get_or_insert_with(|| {
            let waiting = self.queue.iter().zip(self.first..);
            waiting.filter_map(|(w, at)| Some((StateOf(w.state.clone()?), at))).collect()
        });
        let key = StateOf(message.clone());
        let unsent = self.first + u64::from(self.written > 0);
        if let Some(at) = states.get(&key).copied().filter(|at| *at >= unsent) {
            // In its old place, so that a state that changes without end is sent nevertheless.
            let place = &mut self.queue[(at - self.first) as usize];
            self.bytes = self.bytes - place.frame.len() + frame.len();
            *place = Waiting { frame, state: Some(message.clone()) };
            return Ok(());
        }
        let at = self.first + self.queue.len() as u64;
        states.insert(key, at);
        self.add(frame, Some(message.clone()))
    }

    fn add(&mut self, frame: Bytes, state: Option<Arc<Message>>) -> Result<(), Full> {
        if self.bytes > 0 && self.bytes + frame.len() > self.limit {
            return Err(Full);
        }
        self.bytes += frame.len();
        self.queue.push_back(Waiting { frame, state });
        Ok(())
    }

    /// What waits of a channel's states is no longer replaced: the client left the channel, and may
    /// come to it again.
    pub(crate) fn settle(&mut self, channel: &ChannelName) {
        for waiting in &mut self.queue {
            if waiting.state.as_ref().is_some_and(|m| m.channel == *channel) {
                waiting.state = None;
            }
        }
        self.states = None;
    }

    /// Drops what waits, except a frame that is partly written: without its rest the client could
    /// read nothing more.
    pub(crate) fn clear(&mut self) {
        self.queue.truncate(usize::from(self.written > 0));
        self.bytes = self.queue.front().map_or(0, |w| w.frame.len() - self.written);
        self.states = None;
    }

    /// Fills `slices` with what is to be written next; says how many.
    pub(crate) fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, waiting) in slices.iter_mut().zip(&self.queue) {
            let skip = if filled == 0 { self.written } else { 0 };
            *slice = IoSlice::new(&waiting.frame[skip..]);
            filled += 1;
        }
        filled
    }

    /// Forgets the first `count` bytes.
    pub(crate) fn wrote(&mut self, mut count: usize) {
        self.bytes -= count;
        while let Some(front) = self.queue.front() {
            let left = front.frame.len() - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            self.queue.pop_front();
            self.first += 1;
        }
        self.states = None;
        if self.queue.capacity() > Self::KEPT {
            self.queue = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::test::state;

    fn waiting(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = outbox.fill(&mut slices);
        slices[..filled].iter().flat_map(|s| s.to_vec()).collect()
    }

    #[test]
    fn a_partial_write_goes_on_where_it_stopped() {
        let mut outbox = Outbox::new(100);
        for frame in ["abc", "defg", "h"] {
            outbox.push(Bytes::from_static(frame.as_bytes())).unwrap();
        }
        let mut written = Vec::new();
        for count in [2, 3, 1, 2] {
            written.extend_from_slice(&waiting(&outbox)[..count]);
            outbox.wrote(count);
        }
        assert_eq!(written, b"abcdefgh");
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn what_is_over_the_limit_is_refused_but_one_frame_always_fits() {
        let mut outbox = Outbox::new(4);
        outbox.push(Bytes::from_static(b"longer than four")).unwrap();
        assert_eq!(outbox.push(Bytes::from_static(b"x")), Err(Full));
        outbox.wrote(16);
        outbox.push(Bytes::from_static(b"1234")).unwrap();
        assert_eq!(outbox.push(Bytes::from_static(b"5")), Err(Full));
    }

    #[test]
    fn the_newer_state_takes_the_place_of_the_unsent_older() {
        let mut outbox = Outbox::new(1000);
        let push = |outbox: &mut Outbox, text: &'static str, key: &str, replace| {
            outbox.push_state(Bytes::from_static(text.as_bytes()), &state("board", key), replace).unwrap();
        };
        push(&mut outbox, "[a1]", "a", false);
        push(&mut outbox, "[b1]", "b", false);
        push(&mut outbox, "[a2 longer]", "a", true);
        push(&mut outbox, "[c1]", "c", true);
        push(&mut outbox, "[c2]", "c", true);
        assert_eq!(waiting(&outbox), b"[a2 longer][b1][c2]");
        assert_eq!(outbox.bytes(), 19);
        outbox.wrote(1);
        push(&mut outbox, "[a3]", "a", true);
        assert_eq!(waiting(&outbox), b"a2 longer][b1][c2][a3]", "a frame that is partly written stays");
        outbox.wrote(14);
        push(&mut outbox, "[b2]", "b", true);
        push(&mut outbox, "[c3]", "c", true);
        assert_eq!(waiting(&outbox), b"[c3][a3][b2]");
    }

    #[test]
    fn a_state_that_waits_from_before_an_unsubscribe_is_not_replaced() {
        let mut outbox = Outbox::new(1000);
        let board = state("board", "a");
        outbox.push_state(Bytes::from_static(b"[old]"), &board, true).unwrap();
        outbox.settle(&board.channel);
        outbox.push(Bytes::from_static(b"[unsubscribed]")).unwrap();
        outbox.push_state(Bytes::from_static(b"[new]"), &board, true).unwrap();
        assert_eq!(waiting(&outbox), b"[old][unsubscribed][new]");
    }

    #[test]
    fn clearing_keeps_the_rest_of_a_frame_that_is_partly_written() {
        let mut outbox = Outbox::new(1000);
        outbox.push(Bytes::from_static(b"abcd")).unwrap();
        outbox.push(Bytes::from_static(b"efgh")).unwrap();
        outbox.wrote(1);
        outbox.clear();
        outbox.push(Bytes::from_static(b"close")).unwrap();
        assert_eq!(waiting(&outbox), b"bcdclose");
    }
}
