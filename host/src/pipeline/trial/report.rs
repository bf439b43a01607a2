//! What a trial found, as operators read it.

use serde::Serialize;

use crate::event::{Name, Number};
use crate::message::Message;

/// How many faults and differences a report names; it counts them all.
pub(super) const NAMED: usize = 100;

/// What a trial found. One that shadows the running version gives one each second: its numbers are those
/// since the beginning, its lists what came since the one before.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub pipeline: Box<str>,
    pub plugin: Box<str>,
    pub version: Box<str>,
    /// The checkpoint's place: the first event is behind it.
    pub from: Number,
    /// The place up to which events were tried and compared.
    pub to: Number,
    pub events: u64,
    pub took_ms: u64,
    /// How many numbers of the journal lie between `to` and the pipeline's cursor.
    pub behind: u64,
    /// It is over.
    pub ended: bool,
    /// What must be known to read the rest.
    pub notes: Vec<String>,
    /// Faults that the version that serves did not have.
    pub faults: u64,
    /// Faults of both.
    pub known_faults: u64,
    pub first_faults: Vec<SeenFault>,
    /// Messages to stream channels, and values of state channels' keys at each tick, that are as committed.
    pub same: u64,
    pub added: u64,
    pub missing: u64,
    pub changed: u64,
    pub differences: Vec<Difference>,
}

/// An event that the version can't handle.
#[derive(Debug, Clone, Serialize)]
pub struct SeenFault {
    pub event: Number,
    pub reason: Box<str>,
}

/// Something that the version makes otherwise.
#[derive(Debug, Clone, Serialize)]
pub struct Difference {
    /// `added`, `missing` or `changed`.
    pub what: &'static str,
    pub channel: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<Box<str>>,
    /// The event that it comes of, where the version made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Number>,
    /// The committed message's offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub was: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<Shown>,
}

/// A message as a report shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    pub event_type: Name,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    pub data: Box<serde_json::value::RawValue>,
}

impl Report {
    /// A copy to show; what its lists named is not named again.
    pub(super) fn so_far(&mut self) -> Self {
        let shown = self.clone();
        self.notes.clear();
        self.first_faults.clear();
        self.differences.clear();
        shown
    }

    pub(super) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    pub(super) fn fault(&mut self, event: Number, reason: Box<str>) {
        self.faults += 1;
        if self.first_faults.len() < NAMED {
            self.first_faults.push(SeenFault { event, reason });
        }
    }

    /// Counts one thing that was committed, that the version makes, or both.
    pub(super) fn compared(&mut self, was: Option<&Message>, is: Option<(Number, &Message)>) {
        let what = match (was, is) {
            (Some(was), Some((_, is))) if alike(was, is) => {
                self.same += 1;
                return;
            }
            (Some(_), Some(_)) => {
                self.changed += 1;
                "changed"
            }
            (Some(_), None) => {
                self.missing += 1;
                "missing"
            }
            (None, Some(_)) => {
                self.added += 1;
                "added"
            }
            (None, None) => return,
        };
        let Some(either) = was.or(is.map(|(_, message)| message)) else { return };
        if self.differences.len() < NAMED {
            self.differences.push(Difference {
                what,
                channel: either.channel.as_str().into(),
                key: either.key.clone(),
                event: is.map(|(event, _)| event),
                offset: was.map(|message| message.number),
                was: was.map(shown),
                is: is.map(|(_, message)| shown(message)),
            });
        }
    }
}

fn alike(was: &Message, is: &Message) -> bool {
    was.channel == is.channel
        && was.key == is.key
        && was.deleted == is.deleted
        && was.kind == is.kind
        && was.event_type == is.event_type
        && was.data == is.data
}

fn shown(message: &Message) -> Shown {
    // The sandbox has checked that it is JSON.
    let data = serde_json::value::RawValue::from_string(message.data.to_string()).unwrap_or_default();
    Shown { event_type: message.event_type.clone(), deleted: message.deleted, data }
}
