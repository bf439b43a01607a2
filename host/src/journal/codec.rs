//! The records' stored form: postcard in a sealed body. Cuts what is larger than a record may be into several.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::seal::{self, open, seal};
use super::{Append, Commit, Committed, Control, JournalError, PluginVersion, Record, RecordBody, StateChange};
use crate::event::{Body, Event, Name, Number, Position};
use crate::message::{ChannelKind, ChannelName, Message};

/// What a record's frame (names, positions, lengths) may take beside its items, in bytes.
pub(super) const FRAME: usize = 4096;

pub(super) const APPEND: i64 = 1;
pub(super) const COMMIT: i64 = 2;
pub(super) const CONTROL: i64 = 3;

/// One record to be, encoded, without numbers yet.
pub(super) struct Piece {
    /// As it is stored.
    pub(super) body: Vec<u8>,
    /// What the body takes uncompressed, in bytes.
    pub(super) size: usize,
    /// How many numbers it takes; at least 1.
    pub(super) numbers: u64,
    pub(super) content: RecordBody,
}

pub(super) struct PreparedAppend {
    pub(super) pieces: Vec<Piece>,
    /// Event's index in the whole append, and its idempotency key.
    pub(super) keys: Vec<(u64, Box<str>)>,
    pub(super) head: AppendHead,
}

/// What an append says beside its events.
pub(super) struct AppendHead {
    pub(super) source: Name,
    pub(super) incarnation: Name,
    pub(super) position: Position,
    pub(super) token: Box<str>,
    pub(super) complete: bool,
    pub(super) snapshot: Option<super::SnapshotPart>,
}

pub(super) struct PreparedCommit {
    pub(super) pipeline: Name,
    pub(super) after: Option<Number>,
    pub(super) cursor: Number,
    pub(super) reset: bool,
    /// Empty: only the cursor moves.
    pub(super) pieces: Vec<Piece>,
    /// A stream channel's share of one piece.
    pub(super) shares: Vec<Share>,
    /// Messages of state channels, in order.
    pub(super) newest: Vec<Newest>,
}

pub(super) struct Share {
    pub(super) piece: usize,
    pub(super) channel: ChannelName,
    pub(super) messages: u32,
    pub(super) bytes: usize,
}

pub(super) struct Newest {
    pub(super) channel: ChannelName,
    pub(super) key: Box<str>,
    /// Piece, and index in it.
    pub(super) place: (usize, u64),
    /// None: a tombstone.
    pub(super) body: Option<Vec<u8>>,
}

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, JournalError> {
    encode_onto(Vec::new(), value)
}

/// Adds to what is there.
fn encode_onto<T: Serialize + ?Sized>(bytes: Vec<u8>, value: &T) -> Result<Vec<u8>, JournalError> {
    postcard::to_extend(value, bytes).map_err(|e| JournalError::Encode(e.to_string()))
}

fn sealed(postcard: &[&[u8]], numbers: u64, content: RecordBody) -> Piece {
    let (body, size) = seal(postcard);
    Piece { body, size, numbers, content }
}

thread_local! {
    /// What a thread's last record was encoded in, for the next: see `seal`, which keeps buffers for the same reason.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Buffers larger than for the largest records by default are not kept, in bytes.
const KEPT: usize = 1 << 20;

fn keep(mut buffer: Vec<u8>) {
    if buffer.capacity() <= KEPT {
        buffer.clear();
        SPARE.set(buffer);
    }
}

fn too_large(bytes: usize, limit: usize) -> JournalError {
    JournalError::TooLarge { bytes, limit }
}

/// Encodes an append; one that is larger than `limit` becomes several records of one transaction.
pub(super) fn prepare_append(append: Append, limit: usize) -> Result<PreparedAppend, JournalError> {
    let Append { source, incarnation, position, token, events, complete, snapshot } = append;
    let head = AppendHead { source, incarnation, position, token, complete, snapshot };
    let room = limit.saturating_sub(FRAME);
    let mut keys = Vec::new();
    let mut pieces = Vec::new();
    let mut group = Vec::with_capacity(events.len());
    let mut filled = SPARE.take();
    for (index, event) in events.into_iter().enumerate() {
        if let Body::Published(published) = &event.body
            && let Some(key) = &published.idempotency_key
        {
            keys.push((index as u64, key.clone()));
        }
        let start = filled.len();
        filled = encode_onto(filled, &*event)?;
        let bytes = filled.len() - start;
        if bytes > room {
            return Err(too_large(bytes, room));
        }
        if filled.len() > room {
            let (whole, begun) = filled.split_at(start);
            pieces.push(append_piece(&head, std::mem::take(&mut group), whole, false)?);
            filled = begun.to_vec();
        }
        group.push(event);
    }
    pieces.push(append_piece(&head, group, &filled, true)?);
    keep(filled);
    Ok(PreparedAppend { pieces, keys, head })
}

fn append_piece(head: &AppendHead, events: Vec<Arc<Event>>, filled: &[u8], last: bool) -> Result<Piece, JournalError> {
    let position = if last { head.position } else { events.last().map_or(head.position, |e| e.position) };
    let complete = head.complete && last;
    // The order of `Append`'s fields, so that it decodes as one.
    let before = encode(&(&head.source, &head.incarnation, position, &head.token, events.len()))?;
    let after = encode(&(complete, &head.snapshot))?;
    let numbers = (events.len() as u64).max(1);
    let append = Append {
        source: head.source.clone(),
        incarnation: head.incarnation.clone(),
        position,
        token: head.token.clone(),
        events,
        complete,
        snapshot: head.snapshot.clone(),
    };
    Ok(sealed(&[&before, filled, &after], numbers, RecordBody::Append(append)))
}

/// A commit as it is stored. Ephemeral messages are not, but they have numbers too, so that the
/// others' stay the same when the record is read again: `at` says which message has which, and is
/// empty where all are there.
#[derive(Deserialize)]
struct StoredCommit {
    pipeline: Name,
    after: Option<Number>,
    cursor: Number,
    reset: bool,
    plugins: Vec<PluginVersion>,
    state: Vec<StateChange>,
    at: Vec<u32>,
    messages: Vec<Message>,
}

/// What a message's place in `StoredCommit::at` takes at most, in bytes.
const PLACE: usize = 5;

/// The piece of a commit that is being filled.
struct Filling {
    state: Vec<StateChange>,
    state_bytes: Vec<u8>,
    at: Vec<u32>,
    messages: Vec<Arc<Message>>,
    message_bytes: Vec<u8>,
    /// Where each stream channel's share is among all.
    shares: HashMap<ChannelName, usize>,
}

impl Filling {
    /// `messages`: about how many there will be.
    fn begin(messages: usize) -> Self {
        Self {
            state: Vec::new(),
            state_bytes: Vec::new(),
            at: Vec::with_capacity(messages),
            messages: Vec::with_capacity(messages),
            message_bytes: SPARE.take(),
            shares: HashMap::new(),
        }
    }

    fn room(&self) -> usize {
        self.state_bytes.len() + self.message_bytes.len() + PLACE * self.at.len()
    }

    fn is_empty(&self) -> bool {
        self.state.is_empty() && self.messages.is_empty()
    }

    fn finish(self, commit: &Commit) -> Result<Piece, JournalError> {
        let head = (&commit.pipeline, commit.after, commit.cursor, commit.reset, &commit.plugins, self.state.len());
        let dense = self.at.len() == self.messages.len();
        let at = (if dense { &[] as &[u32] } else { self.at.as_slice() }, self.at.len());
        let (head, at) = (encode(&head)?, encode(&at)?);
        let numbers = (self.messages.len() as u64).max(1);
        let committed = Committed {
            pipeline: commit.pipeline.clone(),
            after: commit.after,
            cursor: commit.cursor,
            reset: commit.reset,
            state: self.state,
            messages: self.messages,
            plugins: commit.plugins.clone(),
        };
        let postcard = [&head, &self.state_bytes, &at, &self.message_bytes].map(Vec::as_slice);
        let piece = sealed(&postcard, numbers, RecordBody::Commit(committed));
        keep(self.message_bytes);
        Ok(piece)
    }
}

/// Encodes a commit; one that is larger than `limit` becomes several records of one transaction: its
/// state first, its messages last.
pub(super) fn prepare_commit(mut commit: Commit, limit: usize) -> Result<PreparedCommit, JournalError> {
    let (state, messages) = (std::mem::take(&mut commit.state), std::mem::take(&mut commit.messages));
    let only_cursor = state.is_empty() && messages.is_empty() && commit.plugins.is_empty() && !commit.reset;
    let room = limit.saturating_sub(FRAME);
    let mut pieces = Vec::new();
    let mut shares: Vec<Share> = Vec::new();
    let mut newest = Vec::new();
    let mut filling = Filling::begin(messages.len());
    for change in state {
        let bytes = encode(&change)?;
        if bytes.len() > room {
            return Err(too_large(bytes.len(), room));
        }
        if filling.room() + bytes.len() > room {
            pieces.push(std::mem::replace(&mut filling, Filling::begin(messages.len())).finish(&commit)?);
        }
        filling.state_bytes.extend_from_slice(&bytes);
        filling.state.push(change);
    }
    let mut left = messages.len();
    for message in messages {
        left -= 1;
        if message.channel_kind == ChannelKind::Ephemeral {
            filling.messages.push(Arc::new(message));
            continue;
        }
        let start = filling.message_bytes.len();
        filling.message_bytes = encode_onto(filling.message_bytes, &message)?;
        let bytes = filling.message_bytes.len() - start;
        if bytes + PLACE > room {
            return Err(too_large(bytes + PLACE, room));
        }
        if filling.room() + PLACE > room {
            let begun = filling.message_bytes.split_off(start);
            pieces.push(std::mem::replace(&mut filling, Filling::begin(left + 1)).finish(&commit)?);
            filling.message_bytes.extend_from_slice(&begun);
        }
        let at = u32::try_from(filling.messages.len()).unwrap_or(u32::MAX);
        filling.at.push(at);
        if message.channel_kind == ChannelKind::State {
            let start = filling.message_bytes.len() - bytes;
            newest.push(Newest {
                channel: message.channel.clone(),
                key: message.key.clone().unwrap_or_default(),
                place: (pieces.len(), u64::from(at)),
                body: (!message.deleted).then(|| filling.message_bytes[start..].to_vec()),
            });
        } else {
            match filling.shares.get(&message.channel) {
                Some(share) => {
                    shares[*share].messages += 1;
                    shares[*share].bytes += bytes;
                }
                None => {
                    filling.shares.insert(message.channel.clone(), shares.len());
                    let channel = message.channel.clone();
                    shares.push(Share { piece: pieces.len(), channel, messages: 1, bytes });
                }
            }
        }
        filling.messages.push(Arc::new(message));
    }
    if !only_cursor && (pieces.is_empty() || !filling.is_empty()) {
        pieces.push(filling.finish(&commit)?);
    }
    let Commit { pipeline, after, cursor, reset, .. } = commit;
    Ok(PreparedCommit { pipeline, after, cursor, reset, pieces, shares, newest })
}

pub(super) fn prepare_control(control: Control) -> Result<Piece, JournalError> {
    Ok(sealed(&[&encode(&control)?], 1, RecordBody::Control(control)))
}

impl Piece {
    pub(super) fn kind(&self) -> i64 {
        match self.content {
            RecordBody::Append(_) => APPEND,
            RecordBody::Commit(_) => COMMIT,
            RecordBody::Control(_) => CONTROL,
        }
    }

    /// The record that this becomes when it is applied at `first`.
    pub(super) fn number(self, first: Number) -> Record {
        number(self.content, first, Number(first.0 + self.numbers - 1), self.size)
    }
}

/// Gives a record and its items their numbers.
pub(super) fn number(mut body: RecordBody, first: Number, last: Number, bytes: usize) -> Record {
    match &mut body {
        RecordBody::Append(append) => {
            for (event, number) in append.events.iter_mut().zip(first.0..) {
                Arc::make_mut(event).number = Number(number);
            }
        }
        RecordBody::Commit(commit) => {
            for (message, number) in commit.messages.iter_mut().zip(first.0..) {
                // Ours alone until the record is shared.
                if let Some(message) = Arc::get_mut(message) {
                    message.number = Number(number);
                }
            }
        }
        RecordBody::Control(_) => {}
    }
    Record { first, last, bytes, body }
}

/// Reads a stored record; the error says what is wrong with it.
pub(super) fn decode(kind: i64, first: Number, last: Number, body: &[u8]) -> Result<Record, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("record {first}: {what}");
    let rest = open(body).map_err(|why| wrong(&why))?;
    let (rest, bytes) = (&*rest, seal::size(body, &rest));
    let damaged = |e: postcard::Error| wrong(&e);
    match kind {
        APPEND => {
            let append: Append = postcard::from_bytes(rest).map_err(damaged)?;
            Ok(number(RecordBody::Append(append), first, last, bytes))
        }
        COMMIT => {
            let stored: StoredCommit = postcard::from_bytes(rest).map_err(damaged)?;
            let places = if stored.at.is_empty() { (0..).take(stored.messages.len()).collect() } else { stored.at };
            let messages = stored.messages.into_iter().zip(places).map(|(mut message, at)| {
                message.number = first.plus(u64::from(at));
                Arc::new(message)
            });
            let StoredCommit { pipeline, after, cursor, reset, plugins, state, .. } = stored;
            let messages = messages.collect();
            let committed = Committed { pipeline, after, cursor, reset, state, messages, plugins };
            Ok(Record { first, last, bytes, body: RecordBody::Commit(committed) })
        }
        CONTROL => {
            let control = control(rest).map_err(damaged)?;
            Ok(Record { first, last, bytes, body: RecordBody::Control(control) })
        }
        other => Err(wrong(&format_args!("its kind is {other}"))),
    }
}

/// What letters of earlier versions lack at their end: no names, and false.
const SINCE_ADDED_TO_LETTERS: [u8; 2] = [0, 0];

fn control(body: &[u8]) -> Result<Control, postcard::Error> {
    postcard::from_bytes(body).or_else(|error| {
        let whole = postcard::from_bytes(&[body, &SINCE_ADDED_TO_LETTERS].concat());
        whole.ok().filter(|control| matches!(control, Control::DeadLetter(_))).ok_or(error)
    })
}

/// Reads a state channel's message.
pub(super) fn decode_message(number: Number, body: &[u8]) -> Result<Message, String> {
    let mut message: Message = postcard::from_bytes(body).map_err(|e| format!("message {number}: {e}"))?;
    message.number = number;
    Ok(message)
}
