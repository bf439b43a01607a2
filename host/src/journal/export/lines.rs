//! One line of JSON for a record, and one for each thing in it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::Kind;
use crate::event::{Body, Change, Event, Micros, Number, Published};
use crate::journal::outside::Stored;
use crate::journal::{Append, Committed, Control, DeadLetter, Record, RecordBody};
use crate::message::{ChannelKind, Message};

/// A JSON object that is being written. What was JSON in the journal goes through as it was, digit for digit.
pub(super) struct Line {
    pub(super) kind: Kind,
    pub(super) number: Number,
    /// Where a message goes, or a publication.
    pub(super) channel: Option<String>,
    text: String,
}

impl Line {
    fn new(kind: Kind, number: Number) -> Self {
        Self { kind, number, channel: None, text: "{".into() }
    }

    fn of(kind: Kind, number: Number, stored: &Stored) -> Self {
        let line = Self::new(kind, number).put("kind", kind.name()).put("number", number);
        line.put("record", stored.first).put("at", Micros(stored.at).rfc3339())
    }

    fn put(mut self, name: &str, value: impl Serialize) -> Self {
        // Texts, numbers, and lists and maps of them: JSON can hold them.
        let value = serde_json::to_string(&value).unwrap_or_else(|_| "null".into());
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.text.push_str(&format!("\"{name}\":{value}"));
        self
    }

    /// Text that should be JSON; what isn't stays a text.
    fn json(self, name: &str, text: &str) -> Self {
        match serde_json::from_str::<&RawValue>(text) {
            // In JSON a line's end is only ever space between two values.
            Ok(json) if json.get().contains(['\n', '\r']) => {
                let line = json.get().replace(['\n', '\r'], " ");
                self.json(name, &line)
            }
            Ok(json) => self.put(name, json),
            Err(_) => self.put(name, text),
        }
    }

    fn row(self, name: &str, row: Option<&str>) -> Self {
        match row {
            Some(row) => self.json(name, row),
            None => self.put(name, ()),
        }
    }

    fn to(mut self, channel: &str) -> Self {
        self.channel = Some(channel.to_owned());
        self.put("channel", channel)
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push('}');
        self.text
    }
}

pub(super) fn of(stored: &Stored) -> Vec<Line> {
    let first = Number(stored.first);
    let record = match stored.decode() {
        Ok(record) => record,
        Err(why) => {
            let line = Line::of(Kind::Damaged, first, stored);
            return vec![line.put("last", stored.last).put("bytes", stored.size).put("why", why)];
        }
    };
    let Record { last, bytes, body, .. } = record;
    let whole = |kind| Line::of(kind, first, stored).put("last", last).put("bytes", bytes);
    match &body {
        RecordBody::Append(record) => {
            let events = record.events.iter().map(|e| event(Line::of(Kind::Event, e.number, stored), e));
            std::iter::once(append(whole(Kind::Append), record)).chain(events).collect()
        }
        RecordBody::Commit(record) => {
            let messages = record.messages.iter().map(|m| message(Line::of(Kind::Message, m.number, stored), m));
            std::iter::once(commit(whole(Kind::Commit), record)).chain(messages).collect()
        }
        RecordBody::Control(record) => vec![control(Line::of(Kind::Control, first, stored), record)],
    }
}

fn append(line: Line, append: &Append) -> Line {
    let Append { source, incarnation, position, token, events, complete, snapshot } = append;
    let line = line.put("source", source).put("incarnation", incarnation).put("position", position);
    let line = line.put("token", token).put("events", events.len()).put("complete", complete);
    match snapshot {
        Some(part) => line.put("snapshot", part),
        None => line,
    }
}

fn event(line: Line, event: &Event) -> Line {
    let line = line.put("source", &event.source).put("position", event.position);
    let line = line.put("committed_at", event.committed_at.rfc3339()).put("transaction", event.transaction);
    let line = line.put("last_of_transaction", event.last_of_transaction);
    match &event.body {
        Body::Change(change) => {
            let Change { schema, table, operation, key, before, after, changed, missing } = change;
            let line = line.put("event", "change").put("schema", schema).put("table", table);
            let line = line.put("operation", snake(&format!("{operation:?}"))).put("row_key", key);
            let line = line.row("before", before.as_deref()).row("after", after.as_deref()).put("changed", changed);
            let missing: BTreeMap<_, _> = missing.iter().map(|column| (&column.column, column.bytes)).collect();
            if missing.is_empty() { line } else { line.put("missing", missing) }
        }
        Body::Published(Published { channel, kind, event_type, data, by, idempotency_key }) => {
            let line = line.put("event", "published").to(channel).put("type", kind).put("event_type", event_type);
            line.json("data", data).put("by", by).put("idempotency_key", idempotency_key)
        }
        Body::Tick { up_to } => line.put("event", "tick").put("up_to", up_to.rfc3339()),
    }
}

/// A changed entry of a state. What it holds is the plugin's own, and no text.
#[derive(Serialize)]
struct Entry<'a> {
    owner: &'a str,
    key: &'a str,
    /// None: it was deleted.
    bytes: Option<usize>,
}

fn commit(line: Line, commit: &Committed) -> Line {
    let Committed { pipeline, after, cursor, reset, state, messages, plugins } = commit;
    let entry = |bytes: &Option<std::sync::Arc<[u8]>>| bytes.as_ref().map(|bytes| bytes.len());
    let state: Vec<_> = state.iter().map(|c| Entry { owner: &c.owner, key: &c.key, bytes: entry(&c.value) }).collect();
    let line = line.put("pipeline", pipeline).put("after", after).put("cursor", cursor).put("reset", reset);
    line.put("state", state).put("messages", messages.len()).put("plugins", plugins)
}

fn message(line: Line, message: &Message) -> Line {
    let line = line.put("pipeline", &message.pipeline).to(message.channel.as_str());
    let line = line.put("channel_kind", message.channel_kind).put("type", &message.kind);
    let line = line.put("event_type", &message.event_type).put("message_id", message.id);
    let line = line.put("timestamp", message.timestamp.rfc3339()).json("data", &message.data);
    let line = if message.late { line.put("late", true) } else { line };
    if message.channel_kind == ChannelKind::State {
        line.put("key", &message.key).put("deleted", message.deleted)
    } else {
        line
    }
}

fn control(line: Line, control: &Control) -> Line {
    if let Control::DeadLetter(letter) = control {
        let DeadLetter { pipeline, plugin, version, reason, number, event: failed, lacking, delivered, .. } = &**letter;
        let line = line.put("control", "dead_letter").put("pipeline", pipeline).put("plugin", plugin);
        let failed = event(Line::new(Kind::Event, *number).put("number", number), failed).finish();
        let line = line.put("version", version).put("reason", reason).json("event", &failed);
        return line.put("lacking", lacking).put("delivered", delivered);
    }
    // One variant: its name, and its fields.
    let variant = serde_json::to_value(control).ok();
    let variant = variant.as_ref().and_then(|variant| variant.as_object()?.iter().next());
    let Some((name, fields)) = variant else { return line };
    let fields = fields.as_object().into_iter().flatten();
    fields.fold(line.put("control", snake(name)), |line, (name, value)| line.put(name, value))
}

/// `DeadLetter` becomes `dead_letter`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}
