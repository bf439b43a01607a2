//! What a plugin does: the traits that an author implements, one for each role.

use serde::de::DeserializeOwned;

use crate::patches::Patches;
use crate::{Error, Event, Messages, Patch};

/// What an instance is told when it starts.
///
/// ```
/// use relevo_plugin::{Error, Setup};
/// #[derive(serde::Deserialize)]
/// struct Config { channel: String }
/// fn init(setup: &Setup) -> Result<String, Error> {
///     Ok(setup.config::<Config>()?.channel)
/// }
/// let setup = Setup { config: r#"{"channel":"tasks"}"#.into(), ..Setup::default() };
/// assert_eq!(init(&setup)?, "tasks");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The pipeline that it runs in.
    pub pipeline: String,
    /// The plugin's name.
    pub plugin: String,
    /// `[config]` of its manifest with the operator's over it: a JSON object.
    pub config: String,
}

impl Setup {
    /// The configuration as a type of your own. `deny_unknown_fields` tells an operator of a slip.
    ///
    /// ```
    /// # use relevo_plugin::Setup;
    /// #[derive(Debug, serde::Deserialize)]
    /// #[serde(deny_unknown_fields, default)]
    /// struct Config { minutes: u32 }
    /// # impl Default for Config { fn default() -> Self { Self { minutes: 60 } } }
    /// assert_eq!(Setup::default().config::<Config>()?.minutes, 60);
    /// let wrong = Setup { config: r#"{"minuts":5}"#.into(), ..Setup::default() };
    /// assert!(wrong.config::<Config>().unwrap_err().to_string().starts_with("config: unknown field `minuts`"));
    /// # Ok::<(), relevo_plugin::Error>(())
    /// ```
    ///
    /// # Errors
    /// Config, if it doesn't fit.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let text = if self.config.is_empty() { "{}" } else { &self.config };
        serde_json::from_str(text).map_err(|why| Error::config(why.to_string()))
    }
}

/// Turns events into messages.
///
/// ```
/// use relevo_plugin::{Error, Event, Messages, Route, Setup};
///
/// struct Hello;
///
/// impl Route for Hello {
///     fn init(_: &Setup) -> Result<Self, Error> {
///         Ok(Self)
///     }
///
///     fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
///         out.send("greetings").kind("hello").data(&event.after().text("nombre")?)
///     }
/// }
///
/// relevo_plugin::export!(Hello as route);
/// ```
pub trait Route: Sized + 'static {
    /// Makes an instance. The host replaces instances now and then, and after every error: what
    /// must stay belongs in [`state`](crate::state), not in `self`.
    ///
    /// # Errors
    /// Stops the start, and is shown to the operator.
    fn init(setup: &Setup) -> Result<Self, Error>;

    /// Handles one event.
    ///
    /// # Errors
    /// The whole batch is undone; see [`Error`] for what comes next.
    fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error>;

    /// Called after the last event of each batch.
    ///
    /// # Errors
    /// As for [`route`](Self::route).
    fn finish(&mut self, _out: &mut Messages) -> Result<(), Error> {
        Ok(())
    }
}

/// Folds events into state, and tells what became of it.
///
/// ```
/// use relevo_plugin::{Error, Event, Kind, Aggregate, Mark, Messages, Operation, Setup, state};
///
/// struct Counter(Option<Mark>);
///
/// impl Aggregate for Counter {
///     fn init(_: &Setup) -> Result<Self, Error> {
///         Ok(Self(None))
///     }
///
///     fn fold(&mut self, event: &Event<'_>, _: &mut Messages) -> Result<(), Error> {
///         if event.kind() == Kind::Change(Operation::Insert) {
///             state::add("rows", 1);
///             self.0 = Some(event.mark());
///         }
///         Ok(())
///     }
///
///     /// One message a batch is enough.
///     fn finish(&mut self, out: &mut Messages) -> Result<(), Error> {
///         let Some(mark) = self.0.take() else { return Ok(()) };
///         out.send_at(mark, "counter").key("rows").data(&state::count("rows")?)
///     }
/// }
///
/// relevo_plugin::export!(Counter as aggregate);
/// ```
pub trait Aggregate: Sized + 'static {
    /// Makes an instance; see [`Route::init`].
    ///
    /// # Errors
    /// Stops the start, and is shown to the operator.
    fn init(setup: &Setup) -> Result<Self, Error>;

    /// Handles one event.
    ///
    /// # Errors
    /// The whole batch is undone, state too; see [`Error`] for what comes next.
    fn fold(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error>;

    /// Called after the last event of each batch.
    ///
    /// # Errors
    /// As for [`fold`](Self::fold).
    fn finish(&mut self, _out: &mut Messages) -> Result<(), Error> {
        Ok(())
    }
}

/// Adds to rows before other plugins see them.
///
/// ```
/// use relevo_plugin::{Enrich, Error, Event, Patch, Setup};
///
/// struct Shout;
///
/// impl Enrich for Shout {
///     fn init(_: &Setup) -> Result<Self, Error> {
///         Ok(Self)
///     }
///
///     fn enrich(&mut self, event: &Event<'_>, patch: &mut Patch) -> Result<(), Error> {
///         patch.set("titulo", &event.after().text("titulo")?.to_uppercase())
///     }
/// }
///
/// relevo_plugin::export!(Shout as enrich);
/// ```
pub trait Enrich: Sized + 'static {
    /// Makes an instance; see [`Route::init`].
    ///
    /// # Errors
    /// Stops the start, and is shown to the operator.
    fn init(setup: &Setup) -> Result<Self, Error>;

    /// Handles one event.
    ///
    /// # Errors
    /// The whole batch is undone; see [`Error`] for what comes next.
    fn enrich(&mut self, event: &Event<'_>, patch: &mut Patch) -> Result<(), Error>;
}

/// Brings the state that an earlier version left over to this version's layout, beside a role:
/// `export!(Total as aggregate, migrate)`. Without it, and for a version whose `state_layout` is lower,
/// the state is made anew.
///
/// ```
/// use relevo_plugin::{Aggregate, Error, Event, Messages, Migrate, Setup, state};
///
/// struct Total;
///
/// impl Aggregate for Total {
///     fn init(_: &Setup) -> Result<Self, Error> {
///         Ok(Self)
///     }
///
///     fn fold(&mut self, event: &Event<'_>, _: &mut Messages) -> Result<(), Error> {
///         state::add(&format!("total/{}", event.table()), 1);
///         Ok(())
///     }
/// }
///
/// impl Migrate for Total {
///     /// Until layout 1 there was one count for all tables.
///     fn migrate(_: &Setup, from: u32) -> Result<(), Error> {
///         if from != 1 {
///             return Err(Error::fatal(format!("layout {from} is not known")));
///         }
///         state::set("total/tareas", &state::count("total")?)?;
///         state::delete("total");
///         Ok(())
///     }
/// }
///
/// relevo_plugin::export!(Total as aggregate, migrate);
///
/// let mut host = relevo_plugin::test::TestHost::aggregate::<Total>();
/// host.set_state("total", &41);
/// host.migrate::<Total>(1)?;
/// assert_eq!((host.state::<i64>("total/tareas"), host.state::<i64>("total")), (Some(41), None));
/// assert!(host.migrate::<Total>(7).is_err());
/// # Ok::<(), Error>(())
/// ```
pub trait Migrate: Sized + 'static {
    /// Called once, after `init` of this version and before its first event. [`state`](crate::state) holds what
    /// the version with the layout `from` left; what stands there afterwards is committed with the swap.
    ///
    /// # Errors
    /// The other version goes on, nothing has changed, and the operator is shown the reason.
    fn migrate(setup: &Setup, from: u32) -> Result<(), Error>;
}

/// What the three roles have in common, so that one loop runs them all.
#[doc(hidden)]
pub trait Role: Sized + 'static {
    type Out: Default;
    fn init(setup: &Setup) -> Result<Self, Error>;
    fn event(&mut self, event: &Event<'_>, index: u32, out: &mut Self::Out) -> Result<(), Error>;
    fn finish(&mut self, out: &mut Self::Out) -> Result<(), Error>;
    fn arena(out: &mut Self::Out) -> &mut Vec<u8>;
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Routes<P>(P);

impl<P: Route> Role for Routes<P> {
    type Out = Messages;

    fn init(setup: &Setup) -> Result<Self, Error> {
        P::init(setup).map(Self)
    }

    fn event(&mut self, event: &Event<'_>, index: u32, out: &mut Messages) -> Result<(), Error> {
        out.event = index;
        self.0.route(event, out)
    }

    fn finish(&mut self, out: &mut Messages) -> Result<(), Error> {
        self.0.finish(out)?;
        in_order(out);
        Ok(())
    }

    fn arena(out: &mut Messages) -> &mut Vec<u8> {
        &mut out.inner.arena
    }
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Aggregates<P>(P);

impl<P: Aggregate> Role for Aggregates<P> {
    type Out = Messages;

    fn init(setup: &Setup) -> Result<Self, Error> {
        P::init(setup).map(Self)
    }

    fn event(&mut self, event: &Event<'_>, index: u32, out: &mut Messages) -> Result<(), Error> {
        out.event = index;
        self.0.fold(event, out)
    }

    fn finish(&mut self, out: &mut Messages) -> Result<(), Error> {
        self.0.finish(out)?;
        in_order(out);
        Ok(())
    }

    fn arena(out: &mut Messages) -> &mut Vec<u8> {
        &mut out.inner.arena
    }
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Enriches<P>(P);

impl<P: Enrich> Role for Enriches<P> {
    type Out = Patches;

    fn init(setup: &Setup) -> Result<Self, Error> {
        P::init(setup).map(Self)
    }

    fn event(&mut self, event: &Event<'_>, index: u32, out: &mut Patches) -> Result<(), Error> {
        self.0.enrich(event, &mut out.open)?;
        out.close(index);
        Ok(())
    }

    fn finish(&mut self, _: &mut Patches) -> Result<(), Error> {
        Ok(())
    }

    fn arena(out: &mut Patches) -> &mut Vec<u8> {
        &mut out.inner.arena
    }
}

/// The contract wants messages in the order of events; `send_at` may have looked back.
fn in_order(out: &mut Messages) {
    if !out.inner.items.is_sorted_by_key(|m| m.event) {
        out.inner.items.sort_by_key(|m| m.event);
    }
}
