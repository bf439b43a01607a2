//! Checks what comes out of a plugin before anybody else sees it: bounds, order, UTF-8, JSON, limits.

use serde::de::IgnoredAny;

use super::bindings::types;
use super::error::Fault;
use super::instance::{BatchEvent, Draft, Patch};
use crate::config::Limits;
use crate::event::Name;
use crate::message::ChannelName;

/// The largest `data` of a message or body of a patch, in bytes: it has to fit into one record of the
/// journal and one frame.
pub(super) const MAX_DATA: usize = 256 << 10;
/// The longest key of a state channel's value.
const MAX_KEY: usize = 1024;
/// The longest `type` and `event_type`.
const MAX_KIND: usize = 128;

const TOMBSTONE: u32 = 1;
const DROP: u32 = 1;

/// What a plugin returned for a batch of these events.
pub(super) struct Checker<'a> {
    arena: &'a [u8],
    /// The arena, where all of it is text: looked at once rather than for each span.
    whole: Option<&'a str>,
    events: &'a [BatchEvent],
    limits: &'a Limits,
    /// Bytes that are left of the limit. Spans may overlap, so what they hold is counted, not the arena.
    room: u64,
    /// The event of the item before.
    last: Option<u32>,
    /// Of the message before: the next one's are mostly the same.
    kind: Option<Name>,
    event_type: Option<Name>,
}

pub(super) fn messages(found: &types::Messages, events: &[BatchEvent], limits: &Limits) -> Result<Vec<Draft>, Fault> {
    let mut checker = Checker::new(&found.arena, found.items.len(), events, limits)?;
    found.items.iter().map(|message| checker.message(message)).collect()
}

pub(super) fn patches(found: &types::Patches, events: &[BatchEvent], limits: &Limits) -> Result<Vec<Patch>, Fault> {
    let mut checker = Checker::new(&found.arena, found.items.len(), events, limits)?;
    found.items.iter().map(|patch| checker.patch(patch)).collect()
}

/// What a plugin says is wrong.
pub(super) fn error(error: types::Error, events: usize) -> Fault {
    match error {
        types::Error::Config(reason) => Fault::Config(short(reason)),
        types::Error::Poison((event, reason)) if (event as usize) < events => {
            Fault::Poison { event: event as usize, reason: short(reason) }
        }
        types::Error::Poison((event, _)) => {
            Fault::BadOutput(format!("says that event {event} is poison, in a batch of {events}"))
        }
        types::Error::Transient(reason) => Fault::Transient(short(reason)),
        types::Error::Fatal(reason) => Fault::Fatal(short(reason)),
    }
}

/// Reasons end up in dead letters; a plugin does not decide how large those are.
fn short(mut reason: String) -> String {
    const MAX: usize = 2048;
    reason.truncate(reason.floor_char_boundary(MAX));
    reason
}

impl<'a> Checker<'a> {
    fn new(arena: &'a [u8], items: usize, events: &'a [BatchEvent], limits: &'a Limits) -> Result<Self, Fault> {
        if items as u64 > u64::from(limits.output_messages) {
            return Err(Fault::Output {
                setting: "limits.output_messages",
                found: items as u64,
                limit: limits.output_messages.into(),
            });
        }
        let checker = Self {
            arena,
            whole: None,
            events,
            limits,
            room: limits.output_bytes,
            last: None,
            kind: None,
            event_type: None,
        };
        if arena.len() as u64 > limits.output_bytes {
            return Err(checker.too_much(arena.len() as u64));
        }
        Ok(Self { whole: std::str::from_utf8(arena).ok(), ..checker })
    }

    fn message(&mut self, found: &types::Message) -> Result<Draft, Fault> {
        let event = self.event(found.event, false)?;
        let deleted = flag(found.flags, TOMBSTONE)?;
        let channel = self.text("channel", found.channel, ChannelName::MAX)?;
        let channel = ChannelName::new(channel).map_err(|e| Fault::BadOutput(format!("channel {channel:?}: {e}")))?;
        let key = self.text("key", found.key, MAX_KEY)?;
        if deleted && key.is_empty() {
            return Err(Fault::BadOutput(format!("a tombstone without a key on channel {channel}")));
        }
        let kind = self.text("kind", found.kind, MAX_KIND)?;
        if kind.is_empty() {
            return Err(Fault::BadOutput(format!("a message without a kind on channel {channel}")));
        }
        let event_type = self.text("event-type", found.event_type, MAX_KIND)?;
        let data = match self.text("data", found.data, MAX_DATA)? {
            "" if deleted => "null",
            data => data,
        };
        // A row that is sent on as it stands is JSON already.
        if self.events[event].given() != Some(data)
            && let Err(error) = serde_json::from_str::<IgnoredAny>(data)
        {
            return Err(Fault::BadOutput(format!("the data of a {kind:?} on channel {channel} is no JSON: {error}")));
        }
        Ok(Draft {
            event,
            channel,
            key: (!key.is_empty()).then(|| key.into()),
            deleted,
            kind: shared(&mut self.kind, kind),
            event_type: shared(&mut self.event_type, event_type),
            data: data.into(),
        })
    }

    fn patch(&mut self, found: &types::Patch) -> Result<Patch, Fault> {
        let event = self.event(found.event, true)?;
        let drop = flag(found.flags, DROP)?;
        let body = self.text("body", found.body, MAX_DATA)?;
        let is_object =
            body.is_empty() || (body.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(body).is_ok());
        if !is_object {
            return Err(Fault::BadOutput(format!("the patch of event {event} is no JSON object")));
        }
        Ok(Patch { event, drop, body: (!body.is_empty()).then(|| body.into()) })
    }

    /// An index into the batch, not before the one of the item before; `once`: beyond it.
    fn event(&mut self, event: u32, once: bool) -> Result<usize, Fault> {
        if event as usize >= self.events.len() {
            return Err(Fault::BadOutput(format!("names event {event} of a batch of {}", self.events.len())));
        }
        if self.last.is_some_and(|last| event < last || (once && event == last)) {
            return Err(Fault::BadOutput(format!("event {event} is out of order: items come in the order of events")));
        }
        self.last = Some(event);
        Ok(event as usize)
    }

    fn text(&mut self, field: &str, span: types::Span, max: usize) -> Result<&'a str, Fault> {
        if span.len == 0 {
            return Ok("");
        }
        let (start, len) = (span.start as usize, span.len as usize);
        let bytes = start.checked_add(len).and_then(|end| self.arena.get(start..end)).ok_or_else(|| {
            Fault::BadOutput(format!("{field}: bytes {start}+{len} of an arena of {}", self.arena.len()))
        })?;
        self.room = match self.room.checked_sub(len as u64) {
            Some(room) => room,
            None => return Err(self.too_much(self.limits.output_bytes - self.room + len as u64)),
        };
        if len > max {
            return Err(Fault::BadOutput(format!("{field} has {len} bytes; at most {max}")));
        }
        if let Some(text) = self.whole.and_then(|whole| whole.get(start..start + len)) {
            return Ok(text);
        }
        std::str::from_utf8(bytes).map_err(|e| Fault::BadOutput(format!("{field}: {e}")))
    }

    fn too_much(&self, found: u64) -> Fault {
        Fault::Output { setting: "limits.output_bytes", found, limit: self.limits.output_bytes }
    }
}

/// The text: the one before, if it is the same.
fn shared(before: &mut Option<Name>, text: &str) -> Name {
    match before {
        Some(before) if **before == *text => before.clone(),
        _ => before.insert(text.into()).clone(),
    }
}

/// Flags that this host doesn't know could change what an item means, so they are refused.
fn flag(flags: u32, known: u32) -> Result<bool, Fault> {
    if flags & !known != 0 {
        return Err(Fault::BadOutput(format!("flags {flags:#x}; this host knows {known:#x}")));
    }
    Ok(flags & known != 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{event, inserts};
    use super::*;
    use crate::event::{Body, Operation};
    use types::{Message, Messages, Span};

    const ARENA: &str = r#"tasksktask_eventtask_created{"a":1}"#;

    fn message() -> Message {
        Message {
            event: 0,
            flags: 0,
            channel: Span { start: 0, len: 5 },
            key: Span { start: 5, len: 1 },
            kind: Span { start: 6, len: 10 },
            event_type: Span { start: 16, len: 12 },
            data: Span { start: 28, len: 7 },
        }
    }

    fn check(items: Vec<Message>) -> Result<Vec<Draft>, Fault> {
        messages(&Messages { arena: ARENA.into(), items }, &inserts(1..=3), &Limits::default())
    }

    fn refused(change: impl Fn(&mut Message)) -> String {
        let mut message = message();
        change(&mut message);
        let fault = check(vec![message]).unwrap_err();
        assert_eq!(fault.name(), "bad_output");
        fault.to_string()
    }

    #[test]
    fn a_good_message_is_taken_as_it_is() {
        let draft = &check(vec![message()]).unwrap()[0];
        assert_eq!((draft.channel.as_str(), draft.key.as_deref(), draft.deleted), ("tasks", Some("k"), false));
        assert_eq!((&*draft.kind, &*draft.event_type, &*draft.data), ("task_event", "task_created", r#"{"a":1}"#));
        let tombstone = Message { flags: 1, data: Span { start: 0, len: 0 }, ..message() };
        let draft = &check(vec![tombstone]).unwrap()[0];
        assert!(draft.deleted && &*draft.data == "null");
    }

    #[test]
    fn spans_outside_the_arena_are_refused() {
        assert!(refused(|m| m.data = Span { start: 29, len: 7 }).contains("bytes 29+7 of an arena of 35"));
        assert!(refused(|m| m.key = Span { start: u32::MAX, len: u32::MAX }).contains("key: bytes"));
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_reason() {
        assert!(refused(|m| m.event = 3).contains("event 3 of a batch of 3"));
        assert!(refused(|m| m.channel = Span { start: 28, len: 7 }).contains("channel name has"));
        assert!(refused(|m| m.channel.len = 0).contains("channel name has"));
        assert!(refused(|m| m.kind.len = 0).contains("without a kind"));
        assert!(refused(|m| m.data = Span { start: 0, len: 5 }).contains("no JSON"));
        assert!(refused(|m| m.data.len = 0).contains("no JSON"));
        assert!(refused(|m| m.flags = 2).contains("flags 0x2"));
        assert!(refused(|m| (m.flags, m.key.len) = (1, 0)).contains("without a key"));
        let arena = b"tasks\xff".to_vec();
        let bad = Message { key: Span { start: 4, len: 2 }, ..message() };
        let fault = messages(&Messages { arena, items: vec![bad] }, &inserts(1..=1), &Limits::default()).unwrap_err();
        assert!(fault.to_string().contains("utf-8"), "{fault}");
    }

    /// It isn't read once more, which a row that is no JSON shows; anything else is, another event's row too.
    #[test]
    fn a_row_that_is_sent_on_is_taken_as_it_is() {
        const ROW: &str = r#"{"a":1"#;
        let of = |row: &str, patched: Option<&str>| {
            let mut item = event(1, Operation::Update);
            let Body::Change(change) = &mut Arc::make_mut(&mut item.event).body else { unreachable!("a change") };
            change.after = Some(row.into());
            BatchEvent { after: patched.map(Into::into), ..item }
        };
        let rows = [of(ROW, None), of("7", Some(ROW)), of(ROW, Some("7")), of("7", None)];
        let taken = (0..4).map(|event| {
            let data = Span { start: 28, len: ROW.len() as u32 };
            let arena = [&ARENA[..28], ROW].concat().into_bytes();
            let items = vec![Message { event, data, ..message() }];
            messages(&Messages { arena, items }, &rows, &Limits::default()).is_ok()
        });
        assert_eq!(taken.collect::<Vec<_>>(), [true, true, false, false]);
    }

    #[test]
    fn messages_come_in_the_order_of_events() {
        let at = |event| Message { event, ..message() };
        assert_eq!(check(vec![at(0), at(0), at(2)]).unwrap().len(), 3);
        assert!(check(vec![at(1), at(0)]).unwrap_err().to_string().contains("out of order"));
    }

    #[test]
    fn overlapping_spans_count_each_time() {
        let limits = Limits { output_bytes: 80, ..Limits::default() };
        let fault = messages(&Messages { arena: ARENA.into(), items: vec![message(); 3] }, &inserts(1..=1), &limits)
            .unwrap_err();
        assert!(matches!(fault, Fault::Output { setting: "limits.output_bytes", limit: 80, .. }), "{fault:?}");
        let limits = Limits { output_messages: 2, ..Limits::default() };
        let fault = messages(&Messages { arena: ARENA.into(), items: vec![message(); 3] }, &inserts(1..=1), &limits)
            .unwrap_err();
        assert_eq!(fault, Fault::Output { setting: "limits.output_messages", found: 3, limit: 2 });
    }

    #[test]
    fn a_patch_is_an_object_and_there_is_one_for_each_event() {
        let check = |arena: &str, events: &[u32]| {
            let body = Span { start: 0, len: arena.len() as u32 };
            let items = events.iter().map(|event| types::Patch { event: *event, flags: 1, body }).collect();
            patches(&types::Patches { arena: arena.into(), items }, &inserts(1..=3), &Limits::default())
        };
        let good = check(r#" {"a":null}"#, &[0, 2]).unwrap();
        assert_eq!(good[1], Patch { event: 2, drop: true, body: Some(r#" {"a":null}"#.into()) });
        assert!(check("[1]", &[0]).is_err());
        assert!(check(r#"{"a":"#, &[0]).is_err());
        assert!(check("{}", &[1, 1]).is_err());
    }

    #[test]
    fn poison_names_an_event_of_the_batch() {
        assert_eq!(error(types::Error::Poison((1, "why".into())), 2), Fault::Poison { event: 1, reason: "why".into() });
        assert_eq!(error(types::Error::Poison((2, "why".into())), 2).name(), "bad_output");
    }
}
