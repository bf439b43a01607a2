//! The host of a plugin under test.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Input;
use super::input::write;
use super::world::{self, World};
use crate::patches::Patches;
use crate::role::{Aggregates, Enriches, Role, Routes};
use crate::runner::Runner;
use crate::types::{self, Batch, Span, Table, message_flag, patch_flag};
use crate::{Aggregate, Enrich, Error, Level, Messages, Route, Setup};

/// A message that a plugin sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// Index, in what was fed, of the event that it comes from.
    pub event: usize,
    /// Where it goes.
    pub channel: String,
    /// Which value of a state channel it replaces.
    pub key: Option<String>,
    /// It is a tombstone.
    pub deleted: bool,
    /// What the client finds under `type`.
    pub kind: String,
    /// What the client finds under `event_type`.
    pub event_type: String,
    /// What was sent.
    pub data: Value,
}

/// What an enricher did to an event.
#[derive(Clone, Debug, PartialEq)]
pub struct Patched {
    /// Index, in what was fed, of the event.
    pub event: usize,
    /// The plugins after it don't see the event.
    pub dropped: bool,
    /// The merge patch on the row; null if there is none.
    pub body: Value,
}

/// A batch failed: its state was undone, and the instance replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Index, in what was fed, of the poisonous event.
    pub event: Option<usize>,
    /// What the plugin said.
    pub error: Error,
}

enum Out {
    Messages(types::Messages),
    Patches(types::Patches),
}

trait Instance {
    fn run(&mut self, batch: Batch) -> Result<Out, types::Error>;
}

impl From<Messages> for Out {
    fn from(out: Messages) -> Self {
        Self::Messages(out.inner)
    }
}

impl From<Patches> for Out {
    fn from(out: Patches) -> Self {
        Self::Patches(out.inner)
    }
}

impl<R: Role<Out: Into<Out>>> Instance for Runner<R> {
    fn run(&mut self, batch: Batch) -> Result<Out, types::Error> {
        Self::run(self, batch).map(Into::into)
    }
}

type Make = fn(&Setup) -> Result<Box<dyn Instance>, types::Error>;

fn make<R: Role<Out: Into<Out>>>(setup: &Setup) -> Result<Box<dyn Instance>, types::Error> {
    Ok(Box::new(Runner::<R>::init(setup)?))
}

/// Runs one plugin as the real host does: in batches, with state that is undone when one fails.
/// What the plugin writes with `state` and reads with `lookup` is this host's own.
pub struct TestHost {
    make: Make,
    setup: Setup,
    instance: Option<Box<dyn Instance>>,
    /// Tables that the instance was told of.
    told: Vec<Table>,
    told_sources: Vec<String>,
    world: World,
    number: u64,
    now: u64,
    replace_always: bool,
}

impl std::fmt::Debug for TestHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestHost").field("world", &self.world).finish_non_exhaustive()
    }
}

impl TestHost {
    /// A host for a plugin that routes.
    pub fn route<P: Route>() -> Self {
        Self::new(make::<Routes<P>>)
    }

    /// A host for a plugin that folds.
    pub fn aggregate<P: Aggregate>() -> Self {
        Self::new(make::<Aggregates<P>>)
    }

    /// A host for a plugin that enriches.
    pub fn enrich<P: Enrich>() -> Self {
        Self::new(make::<Enriches<P>>)
    }

    fn new(make: Make) -> Self {
        Self {
            make,
            setup: Setup { pipeline: "test".into(), plugin: "test".into(), config: "{}".into() },
            instance: None,
            told: Vec::new(),
            told_sources: Vec::new(),
            world: World::default(),
            number: 0,
            now: 1_700_000_000_000_000,
            replace_always: false,
        }
    }

    /// With this configuration.
    #[must_use]
    pub fn config(mut self, config: &Value) -> Self {
        self.setup.config = config.to_string();
        self
    }

    /// Replaces the instance before every batch, as the real host does now and then: what a plugin
    /// keeps outside `state` is lost at once.
    #[must_use]
    pub fn replace_always(mut self) -> Self {
        self.replace_always = true;
        self
    }

    /// Puts a row into a reference table.
    pub fn row(&mut self, table: &str, key: &str, row: Value) {
        self.world.rows.insert((table.to_owned(), key.to_owned()), row.to_string());
    }

    /// Takes a row out of a reference table.
    pub fn remove_row(&mut self, table: &str, key: &str) {
        self.world.rows.remove(&(table.to_owned(), key.to_owned()));
    }

    /// Replaces the instance before the next batch.
    pub fn replace(&mut self) {
        self.instance = None;
        self.told.clear();
        self.told_sources.clear();
    }

    /// Empties the state, as before a rebuild.
    pub fn clear_state(&mut self) {
        self.world.state.clear();
    }

    /// Runs one batch through a plugin that routes or folds.
    ///
    /// # Errors
    /// What the plugin answered.
    ///
    /// # Panics
    /// If the plugin is an enricher, or sent what is no JSON.
    pub fn feed(&mut self, events: impl IntoIterator<Item = Input>) -> Result<Vec<Sent>, Failed> {
        match self.run(events.into_iter().collect())? {
            Out::Messages(messages) => Ok(messages.items.iter().map(|m| sent(&messages.arena, m)).collect()),
            Out::Patches(_) => panic!("an enricher sends no messages: use `patches`"),
        }
    }

    /// Runs one batch through an enricher.
    ///
    /// # Errors
    /// What the plugin answered.
    ///
    /// # Panics
    /// If the plugin is no enricher.
    pub fn patches(&mut self, events: impl IntoIterator<Item = Input>) -> Result<Vec<Patched>, Failed> {
        match self.run(events.into_iter().collect())? {
            Out::Patches(patches) => Ok(patches.items.iter().map(|p| patched(&patches.arena, p)).collect()),
            Out::Messages(_) => panic!("no enricher: use `feed`"),
        }
    }

    /// The state of a key.
    ///
    /// # Panics
    /// If it is not of this type.
    pub fn state<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        #[expect(clippy::expect_used, reason = "a test's host may panic")]
        self.world.state.get(key).map(|value| serde_json::from_slice(value).expect("the state's type"))
    }

    /// All state, as texts.
    pub fn all_state(&self) -> BTreeMap<String, String> {
        let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
        self.world.state.iter().map(|(key, value)| (key.clone(), text(value))).collect()
    }

    /// What the plugin logged.
    pub fn logged(&self) -> &[(Level, String)] {
        &self.world.log
    }

    /// What the plugin added to a counter.
    pub fn counter(&self, name: &str) -> u64 {
        self.world.counters.get(name).copied().unwrap_or_default()
    }

    /// What the plugin set a gauge to.
    pub fn gauge(&self, name: &str) -> Option<f64> {
        self.world.gauges.get(name).copied()
    }

    fn run(&mut self, events: Vec<Input>) -> Result<Out, Failed> {
        if self.replace_always {
            self.replace();
        }
        let former = self.world.state.clone();
        world::swap(&mut self.world);
        let result = self.call(events);
        world::swap(&mut self.world);
        result.map_err(|error| {
            self.world.state = former;
            self.replace();
            match error {
                types::Error::Poison((event, why)) => Failed { event: Some(event as usize), error: Error::Poison(why) },
                types::Error::Config(why) => Failed { event: None, error: Error::Config(why) },
                types::Error::Transient(why) => Failed { event: None, error: Error::Transient(why) },
                types::Error::Fatal(why) => Failed { event: None, error: Error::Fatal(why) },
            }
        })
    }

    fn call(&mut self, events: Vec<Input>) -> Result<Out, types::Error> {
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => (self.make)(&self.setup)?,
        };
        let batch = self.batch(events);
        let out = instance.run(batch)?;
        self.instance = Some(instance);
        Ok(out)
    }

    fn batch(&mut self, events: Vec<Input>) -> Batch {
        let mut batch = Batch::default();
        for input in events {
            self.number += 1;
            self.now = input.at.unwrap_or(self.now);
            let table = self.index_of(&input.table, &mut batch.tables);
            let source = self.source_of(input.kind, &mut batch.sources);
            let arena = &mut batch.arena;
            batch.events.push(types::Event {
                number: self.number,
                committed_us: self.now,
                transaction: self.number,
                flags: input.flags,
                source,
                kind: input.kind,
                operation: input.operation,
                table,
                key: write(arena, Some(input.key)),
                before: write(arena, input.before.map(|row| row.to_string())),
                after: write(arena, input.after.map(|row| row.to_string())),
                changed: write(arena, input.meta.map(|meta| meta.to_string())),
            });
        }
        batch
    }

    fn source_of(&mut self, kind: u8, new: &mut Vec<String>) -> u16 {
        let name = ["db", "ingest", "clock"].get(usize::from(kind)).copied().unwrap_or("db");
        let index = self.told_sources.iter().position(|source| source == name).unwrap_or_else(|| {
            self.told_sources.push(name.into());
            new.push(name.into());
            self.told_sources.len() - 1
        });
        u16::try_from(index).unwrap_or(u16::MAX)
    }

    fn index_of(&mut self, name: &str, new: &mut Vec<Table>) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let index = self.told.iter().position(|table| table.name == name).unwrap_or_else(|| {
            let table = Table { schema: "main".into(), name: name.into() };
            self.told.push(table.clone());
            new.push(table);
            self.told.len() - 1
        });
        u32::try_from(index).unwrap_or(u32::MAX)
    }
}

#[expect(clippy::expect_used, reason = "a test's host may panic")]
fn text(arena: &[u8], span: Span) -> &str {
    span.of(std::str::from_utf8(arena).expect("an arena of text"))
}

#[expect(clippy::expect_used, reason = "a test's host may panic")]
fn json(arena: &[u8], span: Span) -> Value {
    serde_json::from_str(text(arena, span)).expect("the data is JSON")
}

fn sent(arena: &[u8], message: &types::Message) -> Sent {
    Sent {
        event: message.event as usize,
        channel: text(arena, message.channel).into(),
        key: Some(text(arena, message.key).to_owned()).filter(|key| !key.is_empty()),
        deleted: message.flags & message_flag::DELETED != 0,
        kind: text(arena, message.kind).into(),
        event_type: text(arena, message.event_type).into(),
        data: json(arena, message.data),
    }
}

fn patched(arena: &[u8], patch: &types::Patch) -> Patched {
    Patched {
        event: patch.event as usize,
        dropped: patch.flags & patch_flag::DROP != 0,
        body: if patch.body.len == 0 { Value::Null } else { json(arena, patch.body) },
    }
}
