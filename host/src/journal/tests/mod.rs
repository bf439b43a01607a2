//! The journal against real files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::config::{ChannelSettings, Durability, JournalSettings};
use crate::event::{Body, Change, Event, Micros, Operation, Published};
use crate::message::{ChannelKind, Frames};

mod checkpoints;
mod checks;
mod commits;
mod compacts;
mod copies;
mod damage;
mod epochs;
mod exports;
mod kills;
mod letters;
mod log;
mod retention;
mod room;
mod scripts;
mod shares;
mod speed;
mod upgrades;
mod wal;

pub(super) async fn open(folder: &Path) -> Journal {
    Journal::open(folder, &JournalSettings::default(), &[]).await.unwrap()
}

pub(super) fn settings(change: impl FnOnce(&mut JournalSettings)) -> JournalSettings {
    let mut settings = JournalSettings::default();
    change(&mut settings);
    settings
}

/// What is on disk now, as a process that is killed at this moment leaves it.
pub(super) fn killed_copy(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["journal.db", "journal.db-wal", "journal.lock"] {
        std::fs::copy(folder.join(file), copy.path().join(file)).unwrap();
    }
    copy
}

pub(super) fn change(position: u64, text: &str) -> Arc<Event> {
    Arc::new(Event {
        number: Number::ZERO,
        source: "gad".into(),
        position: Position { commit: position, index: 0 },
        committed_at: Micros(position),
        transaction: position,
        last_of_transaction: true,
        late: false,
        body: Body::Change(Change {
            schema: "main".into(),
            table: "tareas".into(),
            operation: Operation::Insert,
            key: position.to_string().into(),
            before: None,
            after: Some(format!("{{\"t\":\"{text}\"}}").into()),
            changed: Vec::new(),
            missing: Vec::new(),
        }),
    })
}

pub(super) fn published(key: &str) -> Arc<Event> {
    let mut event = (*change(1, "")).clone();
    event.body = Body::Published(Published {
        channel: "system".into(),
        kind: "alert".into(),
        event_type: "alert".into(),
        data: "{}".into(),
        by: "1".into(),
        idempotency_key: Some(key.into()),
    });
    Arc::new(event)
}

/// A text that can't be made smaller: what is to fill the disk must not vanish by compression.
pub(super) fn noise(length: usize) -> String {
    let mut dice = fastrand::Rng::with_seed(length as u64);
    std::iter::repeat_with(|| dice.alphanumeric()).take(length).collect()
}

/// Events at the positions, in one append.
pub(super) fn append(positions: std::ops::RangeInclusive<u64>) -> Append {
    Append {
        source: "gad".into(),
        incarnation: "one".into(),
        position: Position { commit: *positions.end(), index: 0 },
        token: format!("token {}", positions.end()).into(),
        events: positions.map(|p| change(p, "x")).collect(),
        complete: true,
        snapshot: None,
    }
}

pub(super) fn chunk(positions: std::ops::RangeInclusive<u64>) -> Append {
    Append { complete: false, ..append(positions) }
}

/// No events: the source is read up to the position.
pub(super) fn nothing(position: u64) -> Append {
    Append { events: Vec::new(), ..append(position..=position) }
}

pub(super) fn message(channel: &str, data: &str) -> Message {
    Message {
        number: Number::ZERO,
        pipeline: "p".into(),
        channel: ChannelName::new(channel).unwrap(),
        channel_kind: ChannelKind::Stream,
        key: None,
        deleted: false,
        late: false,
        kind: "event".into(),
        event_type: "event".into(),
        data: data.into(),
        timestamp: Micros(1),
        id: Uuid::new_v4(),
        frames: Frames::default(),
    }
}

pub(super) fn state_message(channel: &str, key: &str, data: &str) -> Message {
    Message { channel_kind: ChannelKind::State, key: Some(key.into()), ..message(channel, data) }
}

pub(super) fn commit(after: Option<u64>, cursor: u64, messages: Vec<Message>) -> Commit {
    Commit { pipeline: "p".into(), after: after.map(Number), cursor: Number(cursor), messages, ..Commit::default() }
}

pub(super) fn set(key: &str, value: &[u8]) -> StateChange {
    StateChange { owner: "plugin".into(), key: key.into(), value: Some(value.into()) }
}

pub(super) fn channels(names: &[&str]) -> Vec<ChannelName> {
    names.iter().map(|name| ChannelName::new(name).unwrap()).collect()
}

/// Number and data of each message.
pub(super) fn said(messages: &[Arc<Message>]) -> Vec<(u64, String)> {
    messages.iter().map(|m| (m.number.0, m.data.to_string())).collect()
}

pub(super) async fn history(journal: &Journal, names: &[&str], after: u64, limit: usize) -> (Vec<(u64, String)>, u64) {
    let found = journal.history(&channels(names), Number(after), limit).await.unwrap();
    assert_eq!(found.pruned, [], "nothing is pruned");
    (said(&found.messages), found.through.0)
}

/// First and last number, and the items' numbers, of each record.
pub(super) fn shape(records: &[Arc<Record>]) -> Vec<(u64, u64, Vec<u64>)> {
    let numbers = |record: &Record| match &record.body {
        RecordBody::Append(append) => append.events.iter().map(|e| e.number.0).collect(),
        RecordBody::Commit(commit) => commit.messages.iter().map(|m| m.number.0).collect(),
        RecordBody::Control(_) => Vec::new(),
    };
    records.iter().map(|r| (r.first.0, r.last.0, numbers(r))).collect()
}

pub(super) async fn all(journal: &Journal) -> Vec<Arc<Record>> {
    let (mut found, mut after) = (Vec::new(), Number::ZERO);
    loop {
        let more = journal.read(after, 1 << 20).await.unwrap();
        let Some(last) = more.last() else { return found };
        after = last.last;
        found.extend(more);
    }
}

/// Keeps one record in memory, so that everything else comes from disk.
pub(super) fn from_disk() -> JournalSettings {
    settings(|s| s.memory = 1)
}
