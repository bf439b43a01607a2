//! Lays a batch out as the contract wants it: one byte arena, and headers that point into it.

use super::bindings::types::{Batch, Event as Header, Span, Table};
use super::error::Fault;
use super::instance::BatchEvent;
use crate::event::{Body, Change, Name, Operation, Published};

const LAST_OF_TRANSACTION: u32 = 1;
const LATE: u32 = 1 << 1;
const REBUILD: u32 = 1 << 2;

const CHANGE: u8 = 0;
const PUBLISHED: u8 = 1;
const TICK: u8 = 2;

const ABSENT: Span = Span { start: 0, len: 0 };

/// Keeps its buffers from batch to batch, and remembers which names the instance was told.
pub(super) struct Encoder {
    batch: Batch,
    sources: Vec<Name>,
    tables: Vec<(Name, Name)>,
}

impl Encoder {
    pub(super) fn new() -> Self {
        let batch = Batch { arena: vec![], events: vec![], tables: vec![], sources: vec![] };
        Self { batch, sources: vec![], tables: vec![] }
    }

    /// # Errors
    /// [`Fault::Trap`] if the batch is larger than a plugin can address.
    pub(super) fn encode(&mut self, events: &[BatchEvent]) -> Result<&Batch, Fault> {
        self.batch.arena.clear();
        self.batch.events.clear();
        self.batch.tables.clear();
        self.batch.sources.clear();
        for event in events {
            let header = self.header(event);
            self.batch.events.push(header);
        }
        // Spans are 32 bits wide; checked once for all of them.
        if u32::try_from(self.batch.arena.len()).is_err() {
            return Err(Fault::Trap(format!("a batch of {} bytes is too large for a plugin", self.batch.arena.len())));
        }
        Ok(&self.batch)
    }

    /// The batch as it was encoded, with all events of this kind and operation if one is given.
    pub(super) fn disguised(&mut self, disguise: Option<(u8, u8)>) -> &Batch {
        if let Some((kind, operation)) = disguise {
            for header in &mut self.batch.events {
                (header.kind, header.operation) = (kind, operation);
            }
        }
        &self.batch
    }

    fn header(&mut self, item: &BatchEvent) -> Header {
        let event = &*item.event;
        let mut flags = 0;
        for (flag, set) in
            [(LAST_OF_TRANSACTION, event.last_of_transaction), (LATE, event.late), (REBUILD, item.rebuild)]
        {
            flags |= if set { flag } else { 0 };
        }
        let mut header = Header {
            number: event.number.0,
            committed_us: event.committed_at.0,
            transaction: event.transaction,
            flags,
            source: self.source(&event.source),
            kind: CHANGE,
            operation: 0,
            table: 0,
            key: ABSENT,
            before: ABSENT,
            after: ABSENT,
            changed: ABSENT,
        };
        match &event.body {
            Body::Change(change) => {
                header.operation = code(change.operation);
                header.table = self.table(change);
                header.key = self.put(&change.key);
                header.before = self.put_option(change.before.as_deref());
                header.after = self.put_option(item.given());
                header.changed = self.put_changed(change);
            }
            Body::Published(published) => {
                header.kind = PUBLISHED;
                header.key = self.put(&published.channel);
                header.after = self.put_option(item.given());
                header.changed = self.put_publisher(published);
            }
            Body::Tick { up_to } => {
                header.kind = TICK;
                header.committed_us = up_to.0;
            }
        }
        header
    }

    fn source(&mut self, name: &Name) -> u16 {
        let known = self.sources.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            self.sources.push(name.clone());
            self.batch.sources.push(name.as_ref().into());
            self.sources.len() - 1
        });
        index as u16
    }

    fn table(&mut self, change: &Change) -> u32 {
        let known = self.tables.iter().position(|(schema, name)| *name == change.table && *schema == change.schema);
        let index = known.unwrap_or_else(|| {
            self.tables.push((change.schema.clone(), change.table.clone()));
            self.batch.tables.push(Table { schema: change.schema.as_ref().into(), name: change.table.as_ref().into() });
            self.tables.len() - 1
        });
        index as u32
    }

    fn put(&mut self, text: &str) -> Span {
        let start = self.batch.arena.len();
        self.batch.arena.extend_from_slice(text.as_bytes());
        self.since(start)
    }

    fn put_option(&mut self, text: Option<&str>) -> Span {
        text.map_or(ABSENT, |text| self.put(text))
    }

    /// `["name",…,{"missing":{"name":bytes}}]`
    fn put_changed(&mut self, change: &Change) -> Span {
        if change.changed.is_empty() && change.missing.is_empty() {
            return ABSENT;
        }
        let start = self.batch.arena.len();
        self.batch.arena.push(b'[');
        for (index, column) in change.changed.iter().enumerate() {
            if index > 0 {
                self.batch.arena.push(b',');
            }
            self.put_json(column);
        }
        if !change.missing.is_empty() {
            if !change.changed.is_empty() {
                self.batch.arena.push(b',');
            }
            self.batch.arena.extend_from_slice(br#"{"missing":{"#);
            for (index, missing) in change.missing.iter().enumerate() {
                if index > 0 {
                    self.batch.arena.push(b',');
                }
                self.put_json(&missing.column);
                self.batch.arena.push(b':');
                self.put_json(&missing.bytes);
            }
            self.batch.arena.extend_from_slice(b"}}");
        }
        self.batch.arena.push(b']');
        self.since(start)
    }

    /// `{"type":…,"event_type":…,"by":…}`
    fn put_publisher(&mut self, published: &Published) -> Span {
        let start = self.batch.arena.len();
        for (before, text) in [
            (r#"{"type":"#, &published.kind),
            (r#","event_type":"#, &published.event_type),
            (r#","by":"#, &published.by),
        ] {
            self.batch.arena.extend_from_slice(before.as_bytes());
            self.put_json(text);
        }
        self.batch.arena.push(b'}');
        self.since(start)
    }

    #[expect(clippy::expect_used, reason = "strings and integers always have a JSON form, and a Vec takes all")]
    fn put_json<T: serde::Serialize + ?Sized>(&mut self, value: &T) {
        serde_json::to_writer(&mut self.batch.arena, value).expect("JSON of a string or an integer");
    }

    /// Truncates beyond 4 GiB; `encode` refuses such a batch.
    fn since(&self, start: usize) -> Span {
        Span { start: start as u32, len: (self.batch.arena.len() - start) as u32 }
    }
}

fn code(operation: Operation) -> u8 {
    match operation {
        Operation::Insert => 0,
        Operation::Update => 1,
        Operation::Delete => 2,
        Operation::Truncate => 3,
        Operation::Snapshot => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Micros, Missing, Number, Position};

    fn event(body: Body) -> BatchEvent {
        let event = Event {
            number: Number(7),
            source: "gad".into(),
            position: Position::default(),
            committed_at: Micros(11),
            transaction: 3,
            last_of_transaction: true,
            late: false,
            body,
        };
        BatchEvent { event: event.into(), after: None, rebuild: true }
    }

    fn change() -> Change {
        Change {
            schema: "main".into(),
            table: "tareas".into(),
            operation: Operation::Update,
            key: "1".into(),
            before: Some(r#"{"a":1}"#.into()),
            after: Some(r#"{"a":2}"#.into()),
            changed: vec!["a".into(), "with \"quote\"".into(), "ñ".into()],
            missing: vec![Missing { column: "blob".into(), bytes: 9000 }],
        }
    }

    fn text(batch: &Batch, span: Span) -> &str {
        std::str::from_utf8(&batch.arena[span.start as usize..][..span.len as usize]).unwrap()
    }

    #[test]
    fn a_change_is_laid_out_as_the_contract_says() {
        let mut encoder = Encoder::new();
        let mut patched = event(Body::Change(change()));
        patched.after = Some(r#"{"a":2,"name":"x"}"#.into());
        let batch = encoder.encode(&[event(Body::Change(change())), patched]).unwrap();
        assert!(std::str::from_utf8(&batch.arena).is_ok());
        let header = &batch.events[0];
        assert_eq!((header.number, header.committed_us, header.transaction), (7, 11, 3));
        assert_eq!((header.kind, header.operation, header.flags), (0, 1, 1 | 4));
        assert_eq!(text(batch, header.key), "1");
        assert_eq!(text(batch, header.before), r#"{"a":1}"#);
        assert_eq!(text(batch, header.after), r#"{"a":2}"#);
        assert_eq!(text(batch, header.changed), r#"["a","with \"quote\"","ñ",{"missing":{"blob":9000}}]"#);
        assert_eq!(text(batch, batch.events[1].after), r#"{"a":2,"name":"x"}"#);
        assert_eq!((batch.tables.len(), batch.sources.len()), (1, 1));

        let batch = encoder.encode(&[event(Body::Change(change()))]).unwrap();
        assert_eq!((batch.tables.len(), batch.sources.len()), (0, 0), "the instance knows them already");
        let mut other = change();
        other.table = "usuarios".into();
        let batch = encoder.encode(&[event(Body::Change(other))]).unwrap();
        assert_eq!((batch.tables[0].name.as_str(), batch.events[0].table), ("usuarios", 1));
    }

    #[test]
    fn publications_and_ticks_are_laid_out_as_the_contract_says() {
        let published = Published {
            channel: "system".into(),
            kind: "alert".into(),
            event_type: "alert_new".into(),
            data: "[1]".into(),
            by: "u\n1".into(),
            idempotency_key: None,
        };
        let mut encoder = Encoder::new();
        let events = [event(Body::Published(published)), event(Body::Tick { up_to: Micros(99) })];
        let batch = encoder.encode(&events).unwrap();
        let (published, tick) = (&batch.events[0], &batch.events[1]);
        assert_eq!((published.kind, published.before.len), (1, 0));
        assert_eq!((text(batch, published.key), text(batch, published.after)), ("system", "[1]"));
        assert_eq!(text(batch, published.changed), r#"{"type":"alert","event_type":"alert_new","by":"u\n1"}"#);
        assert_eq!((tick.kind, tick.committed_us, tick.key.len), (2, 99, 0));
    }
}
