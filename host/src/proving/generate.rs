//! Generated events: a small world whose rows come, change and go, as far as the plugin wants to see it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::rows::{self, Row, Tables};
use super::samples::Samples;
use crate::event::{Body, Change, Event, Micros, Name, Number, Operation, Position, Published};
use crate::sandbox::{BatchEvent, Lookup, Manifest};

/// 2026-01-01: when the generated world begins.
pub(super) const BEGINNING: Micros = Micros(1_767_225_600_000_000);

/// How many rows a reference table has.
const REFERENCE: u64 = 20;

/// Gives events their numbers, transactions and times.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    number: u64,
    transaction: u64,
    now: Micros,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { number: 0, transaction: 0, now: BEGINNING }
    }

    /// Goes on after these events.
    pub(super) fn after(events: &[BatchEvent]) -> Self {
        events.last().map_or_else(Self::new, |last| {
            let event = &last.event;
            Self { number: event.number.0, transaction: event.transaction, now: event.committed_at }
        })
    }

    pub(super) fn now(&self) -> Micros {
        self.now
    }

    pub(super) fn advance(&mut self, micros: u64) {
        self.now.0 += micros;
    }

    /// Times never go back, whatever a sample says.
    pub(super) fn at(&mut self, at: Micros) {
        self.now = self.now.max(at);
    }

    /// One transaction of these events.
    pub(super) fn transaction(&mut self, bodies: Vec<Body>, rebuild: bool) -> Vec<BatchEvent> {
        self.transaction += 1;
        let last = bodies.len();
        let stamp = |(index, body): (usize, Body)| {
            self.number += 1;
            let source: Name = match &body {
                Body::Change(_) => "db".into(),
                Body::Published(_) => "ingest".into(),
                Body::Tick { .. } => "clock".into(),
            };
            let event = Event {
                number: Number(self.number),
                source,
                position: Position { commit: self.number, index: 0 },
                committed_at: self.now,
                transaction: self.transaction,
                last_of_transaction: index + 1 == last,
                late: false,
                body,
            };
            BatchEvent { event: Arc::new(event), after: None, rebuild }
        };
        bodies.into_iter().enumerate().map(stamp).collect()
    }
}

/// The recorded events, each a transaction of its own.
pub(super) fn recorded(samples: &Samples) -> Vec<BatchEvent> {
    let mut clock = Clock::new();
    let mut events = Vec::new();
    for (body, at) in &samples.events {
        match at {
            Some(at) => clock.at(*at),
            None => clock.advance(1_000_000),
        }
        let rebuild = matches!(body, Body::Change(change) if change.operation == Operation::Snapshot);
        events.extend(clock.transaction(vec![body.clone()], rebuild));
    }
    events
}

/// About `count` generated events that the plugin wants to see.
pub(super) fn generated(
    manifest: &Manifest,
    samples: &Samples,
    tables: &mut Tables,
    seed: u64,
    count: usize,
) -> Vec<BatchEvent> {
    let mut world =
        World { manifest, samples, tables, random: fastrand::Rng::with_seed(seed), rows: BTreeMap::new(), ids: 0 };
    let mut clock = Clock::new();
    let mut events = Vec::new();
    if manifest.snapshot {
        let there = (0..8).filter_map(|_| world.change(Operation::Snapshot)).collect();
        events.extend(clock.transaction(there, true));
    }
    // A manifest may want operations that rarely can happen: no more tries than that.
    for _ in 0..count * 4 {
        if events.len() >= count {
            break;
        }
        // Mostly milliseconds, now and then hours.
        let step = if world.random.u8(..) < 8 { 7_200_000_000 } else { 500_000 };
        clock.advance(world.random.u64(1_000..step));
        let size = world.random.usize(1..=4);
        let bodies: Vec<Body> = (0..size).filter_map(|_| world.body(clock.now())).collect();
        if !bodies.is_empty() {
            events.extend(clock.transaction(bodies, false));
        }
    }
    events
}

/// Reference rows: those of the samples, else made of the columns that the manifest names.
pub(super) fn lookup(manifest: &Manifest, samples: &Samples, tables: &mut Tables, seed: u64) -> Lookup {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut all = BTreeMap::new();
    for (table, columns) in &manifest.lookup {
        let rows = samples.lookup.get(table).cloned().unwrap_or_else(|| {
            let known = tables.of(table);
            let row = |id: u64| {
                let mut row = known.row(id, &mut random);
                row.retain(|name, _| columns.iter().any(|column| **column == *name));
                (Box::from(id.to_string()), Arc::from(Value::Object(row).to_string()))
            };
            (1..=REFERENCE).map(row).collect()
        });
        all.insert(table.clone(), rows);
    }
    Lookup::new(all)
}

struct World<'a> {
    manifest: &'a Manifest,
    samples: &'a Samples,
    tables: &'a mut Tables,
    random: fastrand::Rng,
    rows: BTreeMap<Name, BTreeMap<u64, Row>>,
    ids: u64,
}

impl World<'_> {
    /// Something that the plugin wants to see, if it can happen now.
    fn body(&mut self, now: Micros) -> Option<Body> {
        let others = usize::from(self.manifest.ticks) + usize::from(!self.manifest.published.is_empty());
        let pick = self.random.usize(..12);
        if pick < others || self.manifest.events.is_empty() {
            if self.manifest.ticks && (pick == 0 || self.manifest.published.is_empty()) {
                return Some(Body::Tick { up_to: now });
            }
            return self.publication();
        }
        // More comes than goes, and a table is rarely emptied.
        let operation = match self.random.u8(..100) {
            0..40 => Operation::Insert,
            40..80 => Operation::Update,
            80..99 => Operation::Delete,
            _ => Operation::Truncate,
        };
        self.change(operation)
    }

    fn change(&mut self, operation: Operation) -> Option<Body> {
        let wanting = |(_, operations): &(&Name, &Vec<Operation>)| operations.contains(&operation);
        let tables: Vec<Name> = self.manifest.events.iter().filter(wanting).map(|(table, _)| table.clone()).collect();
        let table = tables.get(self.random.usize(..tables.len().max(1)))?.clone();
        let rows = self.rows.entry(table.clone()).or_default();
        let columns = self.tables.of(&table);
        let (before, after) = match operation {
            Operation::Insert | Operation::Snapshot => {
                self.ids += 1;
                let row = columns.row(self.ids, &mut self.random);
                rows.insert(self.ids, row.clone());
                (None, Some(row))
            }
            Operation::Update | Operation::Delete => {
                let id = *rows.keys().nth(self.random.usize(..rows.len().max(1)))?;
                let before = rows.remove(&id)?;
                let after = (operation == Operation::Update).then(|| {
                    let mut after = before.clone();
                    columns.change(&mut after, &mut self.random);
                    rows.insert(id, after.clone());
                    after
                });
                (Some(before), after)
            }
            Operation::Truncate => {
                rows.clear();
                (None, None)
            }
        };
        Some(change(&table, operation, before.map(Value::Object), after.map(Value::Object)))
    }

    fn publication(&mut self) -> Option<Body> {
        let recorded: Vec<&Body> = self.samples.events.iter().map(|(body, _)| body).collect();
        let recorded: Vec<&&Body> = recorded.iter().filter(|body| matches!(body, Body::Published(_))).collect();
        if !recorded.is_empty() && self.random.bool() {
            return Some((**recorded[self.random.usize(..recorded.len())]).clone());
        }
        let pattern = self.manifest.published.get(self.random.usize(..self.manifest.published.len().max(1)))?;
        Some(publication(&pattern.as_str().replace('*', "1"), "alert", &json!({ "title": "generated" })))
    }
}

/// A change as capture makes it.
pub(super) fn change(table: &Name, operation: Operation, before: Option<Value>, after: Option<Value>) -> Body {
    let key = after.as_ref().or(before.as_ref()).map_or_else(Box::default, rows::key);
    let text = |row: Option<Value>| row.map(|row| Box::from(row.to_string()));
    let (before, after): (Option<Box<str>>, Option<Box<str>>) = (text(before), text(after));
    let changed = rows::changed(operation, before.as_deref(), after.as_deref());
    Body::Change(Change {
        schema: "main".into(),
        table: table.clone(),
        operation,
        key,
        before,
        after,
        changed,
        missing: vec![],
    })
}

pub(super) fn publication(channel: &str, event_type: &str, data: &Value) -> Body {
    Body::Published(Published {
        channel: channel.into(),
        kind: "system_event".into(),
        event_type: event_type.into(),
        data: data.to_string().into(),
        by: "1".into(),
        idempotency_key: None,
    })
}
