//! An instance of a plugin, for one pipeline: takes batches, gives what became of them.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::{Store, component};

use super::batch::Encoder;
use super::bindings::{aggregate, enrich, lifecycle, migration, route, types};
use super::error::Fault;
use super::host::{Cpu, Host};
use super::lookup::Lookup;
use super::notes::Notes;
use super::output;
use super::plugin::{Plugin, Role};
use super::state::State;
use crate::event::{Event, Name};
use crate::message::ChannelName;

/// Handles that a guest can hold; Rust's std holds a few, for the standard streams.
const HANDLES: usize = 1000;

/// An event as a plugin gets it.
#[derive(Debug, Clone)]
pub struct BatchEvent {
    pub event: Arc<Event>,
    /// The row after, where an enricher changed it.
    pub after: Option<Arc<str>>,
    /// The state is being made anew; nothing of it goes out to stream channels.
    pub rebuild: bool,
}

impl BatchEvent {
    /// What the plugin reads as the row after. It is JSON.
    pub(super) fn given(&self) -> Option<&str> {
        self.after.as_deref().or_else(|| self.event.after())
    }
}

/// What a plugin made of a batch, checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Of an enricher.
    Patches(Vec<Patch>),
    /// Of a router or an aggregator, in the order of events.
    Messages(Vec<Draft>),
}

/// A change to an event for the plugins that come after. At most one for each event, in their order.
#[derive(Debug, PartialEq, Eq)]
pub struct Patch {
    /// Index in the batch.
    pub event: usize,
    pub drop: bool,
    /// A JSON merge patch (RFC 7396) on the row after; an object.
    pub body: Option<Box<str>>,
}

/// A message as a plugin wants it sent. Whether it may send to the channel is not checked here.
#[derive(Debug, PartialEq, Eq)]
pub struct Draft {
    /// Index in the batch.
    pub event: usize,
    pub channel: ChannelName,
    pub key: Option<Box<str>>,
    /// A tombstone; it has a key.
    pub deleted: bool,
    pub kind: Name,
    pub event_type: Name,
    /// Valid JSON.
    pub data: Box<str>,
}

/// Holds the plugin's memory. After any fault it is of no more use: drop it and make another.
pub struct Instance {
    plugin: Plugin,
    store: Store<Host>,
    instance: component::Instance,
    exports: Exports,
    encoder: Encoder,
    /// Wasm can't be entered again after it trapped.
    faulty: bool,
    notes: Notes,
}

/// The function that takes batches, by role.
enum Exports {
    Enrich(enrich::Guest),
    Route(route::Guest),
    Aggregate(aggregate::Guest),
}

impl Instance {
    /// Makes the instance and calls `init`.
    pub(super) fn new(plugin: &Plugin, pipeline: &Name, notes: &Notes) -> Result<Self, Fault> {
        let (mut store, instance) = start(plugin, pipeline, notes)?;
        let failed = |error: wasmtime::Error| Fault::Init(format!("{error:#}"));
        let lifecycle = lifecycle::GuestIndices::new(plugin.pre())
            .and_then(|indices| indices.load(&mut store, &instance))
            .map_err(failed)?;
        let exports = load(plugin, &mut store, &instance).map_err(failed)?;
        let notes = notes.clone();
        let mut this =
            Self { plugin: plugin.clone(), store, instance, exports, encoder: Encoder::new(), faulty: false, notes };
        let manifest = plugin.manifest();
        let setup = lifecycle::Setup {
            pipeline: pipeline.as_ref().into(),
            plugin: manifest.name.as_ref().into(),
            config: manifest.config.as_ref().into(),
        };
        this.guarded(|store, _| lifecycle.call_init(store, &setup))?.map_err(|error| output::error(error, 0))?;
        Ok(this)
    }

    /// Runs a batch through the plugin, on this thread. State and lookup are moved into the sandbox
    /// for the call.
    ///
    /// # Errors
    /// The state then holds what the plugin changed before the fault: discard it, and drop the
    /// instance.
    pub fn call(&mut self, events: &[BatchEvent], state: &mut State, lookup: &Lookup) -> Result<Output, Fault> {
        if events.is_empty() {
            return Ok(match self.exports {
                Exports::Enrich(_) => Output::Patches(vec![]),
                Exports::Route(_) | Exports::Aggregate(_) => Output::Messages(vec![]),
            });
        }
        self.probe(events, None, state, lookup)
    }

    /// Runs a batch that this host never makes, but a later one may: an empty one, or one whose events
    /// are all of this kind and operation.
    ///
    /// # Errors
    /// As for [`call`](Self::call).
    pub(crate) fn probe(
        &mut self,
        events: &[BatchEvent],
        disguise: Option<(u8, u8)>,
        state: &mut State,
        lookup: &Lookup,
    ) -> Result<Output, Fault> {
        if self.faulty {
            return Err(Fault::Trap("this instance had a fault before; it has to be replaced".into()));
        }
        let number = events.first().map_or(0, |first| first.event.number.0);
        let now = events.last().map_or_else(Default::default, |last| last.event.committed_at);
        let host = self.store.data_mut();
        host.wasi.begin(number, now);
        host.state = Some(std::mem::take(state));
        host.lookup = lookup.clone();
        let result = self.run(events, disguise);
        let host = self.store.data_mut();
        *state = host.state.take().unwrap_or_default();
        let (cpu, memory) = (host.cpu.used(), host.memory.used());
        self.notes.use_up(|usage| usage.batch(events.len(), cpu, memory, state.bytes()));
        host.lookup = Lookup::default();
        host.metrics.end(result.is_ok());
        self.faulty = result.is_err();
        result
    }

    /// Brings the state over that a version with the layout `from` left; it may take `within` of CPU time.
    ///
    /// # Errors
    /// The state then holds what the plugin changed before the fault: discard it. The instance is of no
    /// more use in any case.
    pub fn migrate(mut self, from: u32, state: &mut State, lookup: &Lookup, within: Duration) -> Result<(), Fault> {
        let failed = |error: wasmtime::Error| Fault::Init(format!("{error:#}"));
        let guest = migration::GuestIndices::new(self.plugin.pre())
            .and_then(|indices| indices.load(&mut self.store, &self.instance))
            .map_err(failed)?;
        let host = self.store.data_mut();
        host.cpu = Cpu::new(within);
        host.state = Some(std::mem::take(state));
        host.lookup = lookup.clone();
        let done = self.guarded(|store, _| guest.call_migrate(store, from));
        let host = self.store.data_mut();
        *state = host.state.take().unwrap_or_default();
        host.metrics.end(done.is_ok());
        done?.map_err(|error| match output::error(error, 1) {
            // There is no event to blame.
            Fault::Poison { reason, .. } => Fault::Fatal(reason),
            fault => fault,
        })
    }

    /// How much memory the plugin has taken until now, in bytes. It never gives any back.
    pub(crate) fn memory(&self) -> u64 {
        self.store.data().memory.used()
    }

    fn run(&mut self, events: &[BatchEvent], disguise: Option<(u8, u8)>) -> Result<Output, Fault> {
        let mut encoder = std::mem::replace(&mut self.encoder, Encoder::new());
        encoder.encode(events)?;
        let batch = encoder.disguised(disguise);
        let plugin = self.plugin.clone();
        let limits = &plugin.manifest().limits;
        let count = events.len();
        let wrong = |error| output::error(error, count);
        let result = match self.guarded(|store, exports| {
            Ok(match exports {
                Exports::Enrich(guest) => Returned::Patches(guest.call_enrich(store, batch)?),
                Exports::Route(guest) => Returned::Messages(guest.call_route(store, batch)?),
                Exports::Aggregate(guest) => Returned::Messages(guest.call_fold(store, batch)?),
            })
        })? {
            Returned::Patches(found) => output::patches(&found.map_err(wrong)?, events, limits).map(Output::Patches),
            Returned::Messages(found) => output::messages(&found.map_err(wrong)?, events, limits).map(Output::Messages),
        };
        self.encoder = encoder;
        result
    }

    /// Enters the plugin with all its limits armed, and says what stopped it if something did.
    fn guarded<T>(
        &mut self,
        enter: impl FnOnce(&mut Store<Host>, &Exports) -> wasmtime::Result<T>,
    ) -> Result<T, Fault> {
        let host = self.store.data_mut();
        host.log.begin();
        host.cpu.begin();
        host.memory.begin();
        // The callback looks at every tick whether the time is up.
        self.store.set_epoch_deadline(1);
        let result = {
            let _running = self.plugin.ticker().running();
            enter(&mut self.store, &self.exports)
        };
        let fault = result.map_err(|error| self.store.data().fault(&error));
        self.store.data_mut().log.end();
        fault
    }
}

enum Returned {
    Patches(Result<types::Patches, types::Error>),
    Messages(Result<types::Messages, types::Error>),
}

/// Makes the store with its limits and instantiates the component in it, without calling `init`.
pub(super) fn start(
    plugin: &Plugin,
    pipeline: &Name,
    notes: &Notes,
) -> Result<(Store<Host>, component::Instance), Fault> {
    let limits = &plugin.manifest().limits;
    let mut store = Store::new(plugin.pre().engine(), Host::new(plugin, pipeline, notes));
    store.limiter(|host| &mut host.memory);
    store.epoch_deadline_callback(|call| call.data().cpu.check());
    // A call may bring out all that its limits allow, and not more: the rest is never copied.
    let headers = limits.output_messages as usize * size_of::<types::Message>();
    store.set_hostcall_fuel(headers.saturating_add(limits.output_bytes.try_into().unwrap_or(usize::MAX)));
    store.set_max_component_handles(HANDLES);
    store.set_epoch_deadline(1);
    store.data_mut().cpu.begin();
    let instance = {
        let _running = plugin.ticker().running();
        plugin.pre().instantiate(&mut store)
    };
    match instance {
        Ok(instance) => Ok((store, instance)),
        Err(error) => Err(match store.data().fault(&error) {
            Fault::Trap(_) => Fault::Init(format!("{error:#}")),
            fault => fault,
        }),
    }
}

/// Finds the function of the plugin's role and checks its type.
fn load(plugin: &Plugin, store: &mut Store<Host>, instance: &component::Instance) -> wasmtime::Result<Exports> {
    let pre = plugin.pre();
    Ok(match plugin.role() {
        Role::Enrich => Exports::Enrich(enrich::GuestIndices::new(pre)?.load(store, instance)?),
        Role::Route => Exports::Route(route::GuestIndices::new(pre)?.load(store, instance)?),
        Role::Aggregate => Exports::Aggregate(aggregate::GuestIndices::new(pre)?.load(store, instance)?),
    })
}

/// Instantiates once and checks the types of all exports, so that a wrong one shows before anything
/// depends on it.
pub(super) fn try_out(plugin: &Plugin) -> Result<(), Fault> {
    let (mut store, instance) = start(plugin, &"load".into(), &Notes::default())?;
    let failed = |error: wasmtime::Error| Fault::Init(format!("{error:#}"));
    lifecycle::GuestIndices::new(plugin.pre())
        .and_then(|indices| indices.load(&mut store, &instance))
        .map_err(failed)?;
    load(plugin, &mut store, &instance).map_err(failed)?;
    if plugin.migrates(0) {
        migration::GuestIndices::new(plugin.pre())
            .and_then(|indices| indices.load(&mut store, &instance))
            .map_err(failed)?;
    }
    Ok(())
}
