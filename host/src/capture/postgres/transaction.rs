//! From the stream's transactions to appends: small ones together, large ones in chunks, each row once.

use std::sync::Arc;

use crate::event::{Body, Change, Event, Micros, Name, Number, Position};
use crate::journal::{Append, fit};

use super::super::error::CaptureError;
use super::super::rows::CHUNK_EVENTS;
use super::place::{Mark, Place};
use super::server::Server;

/// With so many bytes of events, an append is full; a last row comes on top. In the journal it is as many records as it
/// needs, which is mostly one of the default size.
const FULL_BYTES: usize = 480 << 10;

/// From 1970-01-01, which we count from, to 2000-01-01, which PostgreSQL counts from, in microseconds.
const EPOCH: i64 = 946_684_800_000_000;

/// What was received and isn't appended yet, and what is known to be.
pub(crate) struct Transactions {
    source: Name,
    incarnation: Name,
    record_bytes: u64,
    identity: Name,
    timeline: Option<u32>,
    /// Where the journal stands.
    position: Position,
    mark: Mark,
    /// The next transaction must be the position's.
    verify: bool,
    /// Of whole transactions.
    done: Vec<Event>,
    done_weight: usize,
    /// The last whole one, if it isn't in the journal.
    newest: Option<(Position, Mark)>,
    open: Option<Open>,
}

/// A transaction whose end hasn't come.
struct Open {
    commit: u64,
    xid: u32,
    at: i64,
    committed_at: Micros,
    /// Rows that have come.
    rows: u32,
    /// The journal has its events up to here.
    has: Has,
    /// Of the last event.
    last: u32,
    events: Vec<Event>,
    weight: usize,
    /// Some of its chunks are appended.
    staged: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    Nothing,
    UpTo(u32),
    All,
}

/// The stream's transaction is not the one that must be there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Strange;

impl Transactions {
    pub(crate) fn new(source: &Name, record_bytes: u64, server: &Server, place: &Place) -> Self {
        Self {
            source: Name::clone(source),
            incarnation: Name::clone(&place.incarnation),
            record_bytes,
            identity: server.identity.as_str().into(),
            timeline: server.timeline,
            position: place.position,
            mark: place.mark.clone(),
            verify: place.verify,
            done: Vec::new(),
            done_weight: 0,
            newest: None,
            open: None,
        }
    }

    pub(crate) fn incarnation(&self) -> &Name {
        &self.incarnation
    }

    /// Of the last events.
    pub(crate) fn committed_at(&self) -> Micros {
        self.newest.as_ref().map_or(self.mark.committed_at, |(_, mark)| mark.committed_at)
    }

    /// The commit of the transaction that is coming.
    pub(crate) fn open_commit(&self) -> Option<u64> {
        self.open.as_ref().map(|open| open.commit)
    }

    /// The number of the transaction that is coming.
    pub(crate) fn open_xid(&self) -> Option<u32> {
        self.open.as_ref().map(|open| open.xid)
    }

    /// When the transaction that is coming was committed.
    pub(crate) fn behind(&self) -> Option<Micros> {
        self.open.as_ref().map(|open| moment(open.at))
    }

    pub(crate) fn waiting(&self) -> usize {
        self.done.len() + self.open.as_ref().map_or(0, |open| open.events.len())
    }

    pub(crate) fn begin(&mut self, commit: u64, xid: u32, at: i64) -> Result<(), Strange> {
        let known = self.position;
        if self.verify && (commit != known.commit || self.mark.transaction != Some((xid, at))) {
            return Err(Strange);
        }
        self.verify = false;
        let last = self.newest.as_ref().map_or(known, |(position, _)| *position);
        let has = if commit > last.commit {
            Has::Nothing
        } else if commit == known.commit && !self.mark.whole {
            Has::UpTo(known.index)
        } else {
            Has::All
        };
        // A transaction of which some chunks are appended has its time.
        let committed_at =
            if has == Has::Nothing { moment(at).max(self.committed_at()) } else { self.mark.committed_at };
        self.open = Some(Open {
            commit,
            xid,
            at,
            committed_at,
            rows: 0,
            has,
            last: if let Has::UpTo(index) = has { index } else { 0 },
            events: Vec::new(),
            weight: 0,
            staged: matches!(has, Has::UpTo(_)),
        });
        Ok(())
    }

    /// One row of the stream, which makes up to two changes. Called for rows that make none, too: an event's
    /// index says which row it is of, whatever the settings are.
    pub(crate) fn row(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<(), CaptureError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.rows = open.rows.saturating_add(1);
        for (index, change) in (open.rows.saturating_mul(2)..).zip(changes) {
            match open.has {
                Has::All => continue,
                Has::UpTo(has) if index <= has => continue,
                _ => {}
            }
            let mut event = Event {
                number: Number::ZERO,
                source: Name::clone(&self.source),
                position: Position { commit: open.commit, index },
                committed_at: open.committed_at,
                transaction: open.commit,
                last_of_transaction: false,
                late: false,
                body: Body::Change(change),
            };
            if !fit(&mut event, self.record_bytes) {
                let table = super::super::rows::table_of(&event);
                return Err(CaptureError::Untold { table, lsn: lsn(open.commit) });
            }
            open.last = index;
            open.weight += event.weight();
            open.events.push(event);
        }
        Ok(())
    }

    pub(crate) fn commit(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        if open.has == Has::All {
            return;
        }
        if let Some(last) = open.events.last_mut() {
            last.last_of_transaction = true;
        }
        let mark = self.mark_of(&open, true);
        self.newest = Some((Position { commit: open.commit, index: open.last }, mark));
        self.done_weight += open.weight;
        self.done.append(&mut open.events);
    }

    fn mark_of(&self, open: &Open, whole: bool) -> Mark {
        Mark {
            committed_at: open.committed_at,
            reached: open.commit,
            whole,
            transaction: Some((open.xid, open.at)),
            identity: Name::clone(&self.identity),
            timeline: self.timeline,
        }
    }

    /// Nothing is on its way, and nothing that we want is before this LSN. Returns whether it is news.
    pub(crate) fn reached(&mut self, end: u64) -> bool {
        if self.verify || self.open.is_some() || end <= self.reach() {
            return false;
        }
        let (position, mut mark) = self.newest.take().unwrap_or_else(|| (self.position, self.mark.clone()));
        mark.reached = end;
        self.newest = Some((position, mark));
        true
    }

    /// What was committed before this LSN has come.
    pub(crate) fn reach(&self) -> u64 {
        self.newest.as_ref().map_or(self.mark.reached, |(_, mark)| mark.reached)
    }

    /// What must be appended before more is taken in.
    pub(crate) fn full(&self) -> bool {
        let open = self.open.as_ref();
        let events = self.done.len() + open.map_or(0, |open| open.events.len());
        let weight = self.done_weight + open.map_or(0, |open| open.weight);
        // One row may add two events.
        events + 2 > CHUNK_EVENTS || weight > FULL_BYTES
    }

    /// Whether there are whole transactions with events to append.
    pub(crate) fn has_events(&self) -> bool {
        self.newest.is_some() && (!self.done.is_empty() || !self.mark.whole)
    }

    /// Whether the journal doesn't know how far we are, though there are no events.
    pub(crate) fn has_news(&self) -> bool {
        self.newest.is_some()
    }

    /// The whole transactions, as one append.
    pub(crate) fn take_done(&mut self) -> Option<Append> {
        let (position, mark) = self.newest.take()?;
        let events = std::mem::take(&mut self.done);
        self.done_weight = 0;
        (self.position, self.mark) = (position, mark);
        Some(self.append(events, true))
    }

    /// A chunk of the open transaction; whole ones with events must have been taken before. Its last event is kept
    /// back: it says that it is the last.
    pub(crate) fn take_chunk(&mut self) -> Option<Append> {
        let mut open = self.open.take()?;
        let kept = open.events.pop();
        let events = std::mem::take(&mut open.events);
        if let Some(last) = events.last() {
            self.position = last.position;
            self.mark = self.mark_of(&open, false);
            // A place without events that wasn't appended yet: the chunk's is beyond it, and the journal takes
            // nothing that leads back.
            self.newest = None;
            open.staged = true;
        }
        open.weight = kept.as_ref().map_or(0, Event::weight);
        open.events.extend(kept);
        self.open = Some(open);
        (!events.is_empty()).then(|| self.append(events, false))
    }

    fn append(&self, events: Vec<Event>, complete: bool) -> Append {
        Append {
            source: Name::clone(&self.source),
            incarnation: Name::clone(&self.incarnation),
            position: self.position,
            token: self.mark.write(),
            events: events.into_iter().map(Arc::new).collect(),
            complete,
            snapshot: None,
        }
    }

    /// Everything before this LSN is in the journal: may be acknowledged once it is durable.
    pub(crate) fn kept(&self) -> u64 {
        self.mark.reached
    }

    /// All transactions whose commit is before this LSN are in the journal.
    pub(crate) fn streamed(&self) -> u64 {
        match (self.mark.whole, self.mark.transaction) {
            (false, _) => self.mark.reached,
            (true, Some(_)) if self.mark.reached == self.position.commit => self.mark.reached + 1,
            _ => self.mark.reached,
        }
    }
}

/// A time of PostgreSQL's, in microseconds since 2000.
pub(crate) fn moment(at: i64) -> Micros {
    Micros(u64::try_from(at.saturating_add(EPOCH)).unwrap_or_default())
}

/// An LSN as PostgreSQL writes it.
pub(crate) fn lsn(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

#[cfg(test)]
mod tests;
