//! The host of a plugin under test.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Input;
use super::batch::Writer;
use super::world::{self, World};
use crate::patches::Patches;
use crate::role::{Aggregates, Enriches, Role, Routes};
use crate::runner::Runner;
use crate::types::{self, Batch, Span, message_flag, patch_flag};
use crate::{Aggregate, Enrich, Error, Level, Messages, Migrate, Route, Setup};

/// A message that a plugin sent.
///
/// ```
/// use relevo_plugin::test::Sent;
/// fn outline(sent: &[Sent]) -> Vec<(&str, &str)> {
///     sent.iter().map(|m| (m.channel.as_str(), m.event_type.as_str())).collect()
/// }
/// ```
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
///
/// ```
/// use relevo_plugin::test::Patched;
/// fn dropped(patched: &[Patched]) -> Vec<usize> {
///     patched.iter().filter(|p| p.dropped).map(|p| p.event).collect()
/// }
/// ```
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
///
/// ```
/// use relevo_plugin::Error;
/// use relevo_plugin::test::Failed;
/// fn is_poison(failed: &Failed) -> bool {
///     failed.event.is_some() && matches!(failed.error, Error::Poison(_))
/// }
/// ```
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
///
/// See [the module](super) for a whole test.
///
/// ```
/// use relevo_plugin::Route;
/// use relevo_plugin::test::TestHost;
/// fn host<P: Route>() -> TestHost {
///     let mut host = TestHost::route::<P>();
///     host.row("usuarios", "10", serde_json::json!({ "nombre": "Ana" }));
///     host
/// }
/// ```
pub struct TestHost {
    make: Make,
    setup: Setup,
    instance: Option<Box<dyn Instance>>,
    writer: Writer,
    world: World,
    replace_always: bool,
}

impl std::fmt::Debug for TestHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestHost").field("world", &self.world).finish_non_exhaustive()
    }
}

impl TestHost {
    /// A host for a plugin that routes.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert};
    /// # use relevo_plugin::{Route, Error, Event, Messages, Patch, Setup, lookup};
    /// # use serde_json::json;
    /// # struct Mine;
    /// # impl Route for Mine {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         let known = lookup::row("usuarios", event.key()).is_some();
    /// #         out.send("known").data(&known)
    /// #     }
    /// # }
    /// let host = TestHost::route::<Mine>();
    /// ```
    pub fn route<P: Route>() -> Self {
        Self::new(make::<Routes<P>>)
    }

    /// A host for a plugin that folds.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert, tick};
    /// # use relevo_plugin::{Aggregate, Error, Event, Messages, Setup, log, metrics, state, Level};
    /// # use serde_json::json;
    /// # struct Counter;
    /// # impl Aggregate for Counter {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         log!(Level::Info, "{}", event.number());
    /// #         metrics::add("events", 1);
    /// #         metrics::set("level", 0.5);
    /// #         out.send("counter").data(&state::add("rows", 1))
    /// #     }
    /// # }
    /// let host = TestHost::aggregate::<Counter>();
    /// ```
    pub fn aggregate<P: Aggregate>() -> Self {
        Self::new(make::<Aggregates<P>>)
    }

    /// A host for a plugin that enriches.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert};
    /// # use relevo_plugin::{Enrich, Error, Event, Messages, Patch, Setup, lookup};
    /// # use serde_json::json;
    /// # struct Mine;
    /// # impl Enrich for Mine {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn enrich(&mut self, _: &Event<'_>, patch: &mut Patch) -> Result<(), Error> {
    /// #         patch.set("seen", &true)
    /// #     }
    /// # }
    /// let host = TestHost::enrich::<Mine>();
    /// ```
    pub fn enrich<P: Enrich>() -> Self {
        Self::new(make::<Enriches<P>>)
    }

    fn new(make: Make) -> Self {
        Self {
            make,
            setup: Setup { pipeline: "test".into(), plugin: "test".into(), config: "{}".into() },
            instance: None,
            writer: Writer::new(),
            world: World::default(),
            replace_always: false,
        }
    }

    /// With this configuration.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert};
    /// # use relevo_plugin::{Route, Error, Event, Messages, Patch, Setup, lookup};
    /// # use serde_json::json;
    /// # struct Mine;
    /// # impl Route for Mine {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         let known = lookup::row("usuarios", event.key()).is_some();
    /// #         out.send("known").data(&known)
    /// #     }
    /// # }
    /// let host = TestHost::route::<Mine>().config(&json!({ "minutes": 5 }));
    /// ```
    #[must_use]
    pub fn config(mut self, config: &Value) -> Self {
        self.setup.config = config.to_string();
        self
    }

    /// Replaces the instance before every batch, as the real host does now and then: what a plugin
    /// keeps outside `state` is lost at once.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert, tick};
    /// # use relevo_plugin::{Aggregate, Error, Event, Messages, Setup, log, metrics, state, Level};
    /// # use serde_json::json;
    /// # struct Counter;
    /// # impl Aggregate for Counter {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         log!(Level::Info, "{}", event.number());
    /// #         metrics::add("events", 1);
    /// #         metrics::set("level", 0.5);
    /// #         out.send("counter").data(&state::add("rows", 1))
    /// #     }
    /// # }
    /// let mut host = TestHost::aggregate::<Counter>().replace_always();
    /// host.feed([tick(1)]).unwrap();
    /// // What is in `state` stays.
    /// assert_eq!(host.feed([tick(2)]).unwrap()[0].data, 2);
    /// ```
    #[must_use]
    pub fn replace_always(mut self) -> Self {
        self.replace_always = true;
        self
    }

    /// Puts a row into a reference table.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert};
    /// # use relevo_plugin::{Route, Error, Event, Messages, Patch, Setup, lookup};
    /// # use serde_json::json;
    /// # struct Mine;
    /// # impl Route for Mine {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         let known = lookup::row("usuarios", event.key()).is_some();
    /// #         out.send("known").data(&known)
    /// #     }
    /// # }
    /// let mut host = TestHost::route::<Mine>();
    /// host.row("usuarios", "1", json!({ "nombre": "Ana" }));
    /// assert_eq!(host.feed([insert("t", json!({ "id": 1 }))]).unwrap()[0].data, true);
    /// ```
    pub fn row(&mut self, table: &str, key: &str, row: Value) {
        self.world.rows.insert((table.to_owned(), key.to_owned()), row.to_string());
    }

    /// Takes a row out of a reference table.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert};
    /// # use relevo_plugin::{Route, Error, Event, Messages, Patch, Setup, lookup};
    /// # use serde_json::json;
    /// # struct Mine;
    /// # impl Route for Mine {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         let known = lookup::row("usuarios", event.key()).is_some();
    /// #         out.send("known").data(&known)
    /// #     }
    /// # }
    /// let mut host = TestHost::route::<Mine>();
    /// host.row("usuarios", "1", json!({ "nombre": "Ana" }));
    /// host.remove_row("usuarios", "1");
    /// assert_eq!(host.feed([insert("t", json!({ "id": 1 }))]).unwrap()[0].data, false);
    /// ```
    pub fn remove_row(&mut self, table: &str, key: &str) {
        self.world.rows.remove(&(table.to_owned(), key.to_owned()));
    }

    /// Replaces the instance before the next batch.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert, tick};
    /// # use relevo_plugin::{Aggregate, Error, Event, Messages, Setup, log, metrics, state, Level};
    /// # use serde_json::json;
    /// # struct Counter;
    /// # impl Aggregate for Counter {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         log!(Level::Info, "{}", event.number());
    /// #         metrics::add("events", 1);
    /// #         metrics::set("level", 0.5);
    /// #         out.send("counter").data(&state::add("rows", 1))
    /// #     }
    /// # }
    /// let mut host = TestHost::aggregate::<Counter>();
    /// host.feed([tick(1)]).unwrap();
    /// host.replace();
    /// assert_eq!(host.feed([tick(2)]).unwrap()[0].data, 2);
    /// ```
    pub fn replace(&mut self) {
        self.instance = None;
        self.writer.forget();
    }

    /// Empties the state, as before a rebuild.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert, tick};
    /// # use relevo_plugin::{Aggregate, Error, Event, Messages, Setup, log, metrics, state, Level};
    /// # use serde_json::json;
    /// # struct Counter;
    /// # impl Aggregate for Counter {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         log!(Level::Info, "{}", event.number());
    /// #         metrics::add("events", 1);
    /// #         metrics::set("level", 0.5);
    /// #         out.send("counter").data(&state::add("rows", 1))
    /// #     }
    /// # }
    /// let mut host = TestHost::aggregate::<Counter>();
    /// host.feed([tick(1)]).unwrap();
    /// host.clear_state();
    /// assert_eq!(host.feed([tick(2)]).unwrap()[0].data, 1);
    /// ```
    pub fn clear_state(&mut self) {
        self.world.state.clear();
    }

    /// Runs one batch through a plugin that routes or folds.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert, tick};
    /// # use relevo_plugin::{Aggregate, Error, Event, Messages, Setup, log, metrics, state, Level};
    /// # use serde_json::json;
    /// # struct Counter;
    /// # impl Aggregate for Counter {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         log!(Level::Info, "{}", event.number());
    /// #         metrics::add("events", 1);
    /// #         metrics::set("level", 0.5);
    /// #         out.send("counter").data(&state::add("rows", 1))
    /// #     }
    /// # }
    /// let sent = TestHost::aggregate::<Counter>().feed([tick(1), tick(2)]).unwrap();
    /// assert_eq!((sent[1].event, sent[1].channel.as_str(), &sent[1].data), (1, "counter", &json!(2)));
    /// ```
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
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert};
    /// # use relevo_plugin::{Enrich, Error, Event, Messages, Patch, Setup, lookup};
    /// # use serde_json::json;
    /// # struct Mine;
    /// # impl Enrich for Mine {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn enrich(&mut self, _: &Event<'_>, patch: &mut Patch) -> Result<(), Error> {
    /// #         patch.set("seen", &true)
    /// #     }
    /// # }
    /// let patched = TestHost::enrich::<Mine>().patches([insert("t", json!({ "id": 1 }))]).unwrap();
    /// assert_eq!(patched[0].body, json!({ "seen": true }));
    /// ```
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
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert, tick};
    /// # use relevo_plugin::{Aggregate, Error, Event, Messages, Setup, log, metrics, state, Level};
    /// # use serde_json::json;
    /// # struct Counter;
    /// # impl Aggregate for Counter {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         log!(Level::Info, "{}", event.number());
    /// #         metrics::add("events", 1);
    /// #         metrics::set("level", 0.5);
    /// #         out.send("counter").data(&state::add("rows", 1))
    /// #     }
    /// # }
    /// let mut host = TestHost::aggregate::<Counter>();
    /// host.feed([tick(1)]).unwrap();
    /// assert_eq!(host.state::<i64>("rows"), Some(1));
    /// ```
    ///
    /// # Panics
    /// If it is not of this type.
    pub fn state<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        #[expect(clippy::expect_used, reason = "a test's host may panic")]
        self.world.state.get(key).map(|value| serde_json::from_slice(value).expect("the state's type"))
    }

    /// All state, as texts.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert, tick};
    /// # use relevo_plugin::{Aggregate, Error, Event, Messages, Setup, log, metrics, state, Level};
    /// # use serde_json::json;
    /// # struct Counter;
    /// # impl Aggregate for Counter {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         log!(Level::Info, "{}", event.number());
    /// #         metrics::add("events", 1);
    /// #         metrics::set("level", 0.5);
    /// #         out.send("counter").data(&state::add("rows", 1))
    /// #     }
    /// # }
    /// let mut host = TestHost::aggregate::<Counter>();
    /// host.feed([tick(1)]).unwrap();
    /// assert_eq!(host.all_state()["rows"], "1");
    /// ```
    pub fn all_state(&self) -> BTreeMap<String, String> {
        let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
        self.world.state.iter().map(|(key, value)| (key.clone(), text(value))).collect()
    }

    /// Puts a value into the state, as an earlier version may have left it.
    ///
    /// ```
    /// # use relevo_plugin::test::TestHost;
    /// # use relevo_plugin::{Error, Event, Messages, Route, Setup};
    /// # struct Mine;
    /// # impl Route for Mine {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn route(&mut self, _: &Event<'_>, _: &mut Messages) -> Result<(), Error> { Ok(()) }
    /// # }
    /// let mut host = TestHost::route::<Mine>();
    /// host.set_state("total", &41);
    /// assert_eq!(host.state::<i64>("total"), Some(41));
    /// ```
    ///
    /// # Panics
    /// If it can't be written as JSON.
    pub fn set_state<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        #[expect(clippy::expect_used, reason = "a test's host may panic")]
        let value = serde_json::to_vec(value).expect("a value that can be JSON");
        self.world.state.insert(key.to_owned(), value);
    }

    /// Has the plugin bring the state over that a version with the layout `from` left.
    /// [`Migrate`] has an example.
    ///
    /// # Errors
    /// What the plugin answered; the state is as it was then.
    pub fn migrate<P: Migrate>(&mut self, from: u32) -> Result<(), Error> {
        let before = self.world.state.clone();
        world::swap(&mut self.world);
        let done = P::migrate(&self.setup, from);
        world::swap(&mut self.world);
        if done.is_err() {
            self.world.state = before;
        }
        done
    }

    /// What the plugin logged.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert, tick};
    /// # use relevo_plugin::{Aggregate, Error, Event, Messages, Setup, log, metrics, state, Level};
    /// # use serde_json::json;
    /// # struct Counter;
    /// # impl Aggregate for Counter {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         log!(Level::Info, "{}", event.number());
    /// #         metrics::add("events", 1);
    /// #         metrics::set("level", 0.5);
    /// #         out.send("counter").data(&state::add("rows", 1))
    /// #     }
    /// # }
    /// let mut host = TestHost::aggregate::<Counter>();
    /// host.feed([tick(1)]).unwrap();
    /// assert_eq!(host.logged(), [(Level::Info, "1".to_owned())]);
    /// ```
    pub fn logged(&self) -> &[(Level, String)] {
        &self.world.log
    }

    /// What the plugin added to a counter.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert, tick};
    /// # use relevo_plugin::{Aggregate, Error, Event, Messages, Setup, log, metrics, state, Level};
    /// # use serde_json::json;
    /// # struct Counter;
    /// # impl Aggregate for Counter {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         log!(Level::Info, "{}", event.number());
    /// #         metrics::add("events", 1);
    /// #         metrics::set("level", 0.5);
    /// #         out.send("counter").data(&state::add("rows", 1))
    /// #     }
    /// # }
    /// let mut host = TestHost::aggregate::<Counter>();
    /// host.feed([tick(1), tick(2)]).unwrap();
    /// assert_eq!(host.counter("events"), 2);
    /// ```
    pub fn counter(&self, name: &str) -> u64 {
        self.world.counters.get(name).copied().unwrap_or_default()
    }

    /// What the plugin set a gauge to.
    ///
    /// ```
    /// # use relevo_plugin::test::{TestHost, insert, tick};
    /// # use relevo_plugin::{Aggregate, Error, Event, Messages, Setup, log, metrics, state, Level};
    /// # use serde_json::json;
    /// # struct Counter;
    /// # impl Aggregate for Counter {
    /// #     fn init(_: &Setup) -> Result<Self, Error> { Ok(Self) }
    /// #     fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
    /// #         log!(Level::Info, "{}", event.number());
    /// #         metrics::add("events", 1);
    /// #         metrics::set("level", 0.5);
    /// #         out.send("counter").data(&state::add("rows", 1))
    /// #     }
    /// # }
    /// let mut host = TestHost::aggregate::<Counter>();
    /// host.feed([tick(1)]).unwrap();
    /// assert_eq!(host.gauge("level"), Some(0.5));
    /// ```
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
        let batch = self.writer.write(events);
        let out = instance.run(batch)?;
        self.instance = Some(instance);
        Ok(out)
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
