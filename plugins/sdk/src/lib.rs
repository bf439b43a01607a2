//! Write Relevo plugins in Rust.
//!
//! A plugin is a type that implements [`Route`], [`Aggregate`] or [`Enrich`], and one
//! [`export!`] line. Its function sees one [`Event`] at a time and writes to an output; that events
//! cross the boundary in batches, as one block of bytes, is hidden here.
//!
//! ```
//! use relevo_plugin::{Error, Event, Kind, Messages, Operation, Route, Setup};
//!
//! struct NewTasks;
//!
//! impl Route for NewTasks {
//!     fn init(_: &Setup) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!
//!     fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
//!         if event.kind() != Kind::Change(Operation::Insert) {
//!             return Ok(());
//!         }
//!         let title = event.after().text("titulo")?;
//!         out.send("tasks").kind("task_event").event_type("task_created").data(&title)
//!     }
//! }
//!
//! relevo_plugin::export!(NewTasks as route);
//!
//! # #[cfg(not(target_arch = "wasm32"))] {
//! // The same plugin under plain `cargo test`:
//! use relevo_plugin::test::{TestHost, insert};
//! let mut host = TestHost::route::<NewTasks>();
//! let sent = host.feed([insert("tareas", serde_json::json!({ "id": 1, "titulo": "Patrulla" }))]).unwrap();
//! assert_eq!(sent[0].event_type, "task_created");
//! assert_eq!(sent[0].data, "Patrulla");
//! # }
//! ```
//!
//! What may be asked of the host: [`state`], [`lookup`], [`log!`], [`metrics`]. There is no clock but
//! [`Event::committed_at`], and nothing random: the same events give the same messages. So use
//! [`BTreeMap`] and [`BTreeSet`]; the order of a `HashMap` depends on how old the instance is.
#![deny(missing_docs)]

mod arena;
mod backend;
pub mod columns;
mod error;
mod event;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
mod json;
#[path = "log.rs"]
mod logging;
pub mod lookup;
mod messages;
pub mod metrics;
mod micros;
mod patches;
mod role;
mod runner;
pub mod state;
#[cfg(not(target_arch = "wasm32"))]
pub mod test;
#[doc(hidden)]
pub mod types;
mod written;

/// Maps and sets in an order that the events alone decide. A `HashMap` seeds itself once for each instance
/// and then counts up for each map, so that its order depends on how old the instance is: messages made
/// by walking through one differ after the host replaced the instance.
///
/// ```
/// use relevo_plugin::BTreeMap;
/// let open = BTreeMap::from([("b", 2), ("a", 1)]);
/// assert_eq!(serde_json::to_string(&open)?, r#"{"a":1,"b":2}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[doc(no_inline)]
pub use std::collections::{BTreeMap, BTreeSet};

pub use error::Error;
pub use event::{Event, Kind, Mark, Operation};
pub use json::Json;
pub use logging::Level;
#[doc(hidden)]
pub use logging::emit as __emit;
pub use messages::{Draft, Messages};
pub use micros::{Micros, NoMoment};
pub use patches::Patch;
pub use role::{Aggregate, Enrich, Migrate, Route, Setup};
pub use written::Written;

/// Makes the component's exports of a plugin: `export!(Type as route)`, `as aggregate` or
/// `as enrich`. Once in a crate whose type is `cdylib`. Natively it only checks the trait.
/// `export!(Type as aggregate, migrate)` also exports its [`Migrate`].
///
/// ```
/// use relevo_plugin::{Enrich, Error, Event, Patch, Setup};
///
/// struct Nothing;
///
/// impl Enrich for Nothing {
///     fn init(_: &Setup) -> Result<Self, Error> {
///         Ok(Self)
///     }
///
///     fn enrich(&mut self, _: &Event<'_>, _: &mut Patch) -> Result<(), Error> {
///         Ok(())
///     }
/// }
///
/// relevo_plugin::export!(Nothing as enrich);
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty as route $(, $migrate:ident)?) => {
        $crate::__export!($plugin, Route, Routes, route, route, Messages $(, $migrate)?);
    };
    ($plugin:ty as aggregate $(, $migrate:ident)?) => {
        $crate::__export!($plugin, Aggregate, Aggregates, aggregate, fold, Messages $(, $migrate)?);
    };
    ($plugin:ty as enrich $(, $migrate:ident)?) => {
        $crate::__export!($plugin, Enrich, Enriches, enrich, enrich, Patches $(, $migrate)?);
    };
}

#[doc(hidden)]
#[macro_export]
#[cfg(not(target_arch = "wasm32"))]
macro_rules! __export {
    ($plugin:ty, $role:ident, $runs:ident, $interface:ident, $call:ident, $out:ident $(, $migrate:ident)?) => {
        const _: () = {
            const fn implements<P: $crate::$role>() {}
            implements::<$plugin>();
            $(
                const fn $migrate<P: $crate::Migrate>() {}
                $migrate::<$plugin>();
            )?
        };
    };
}

#[doc(hidden)]
#[macro_export]
#[cfg(target_arch = "wasm32")]
macro_rules! __export {
    ($plugin:ty, $role:ident, $runs:ident, $interface:ident, $call:ident, $out:ident $(, $migrate:ident)?) => {
        const _: () = {
            use $crate::guest::lifecycle::exports::relevo::plugin::lifecycle;
            use $crate::guest::$interface::exports::relevo::plugin::$interface as role;
            type Runner = $crate::__private::Runner<$crate::__private::$runs<$plugin>>;

            ::std::thread_local! {
                static RUNNER: ::std::cell::RefCell<Option<Runner>> = const { ::std::cell::RefCell::new(None) };
            }

            struct Component;

            impl lifecycle::Guest for Component {
                fn init(setup: lifecycle::Setup) -> Result<(), $crate::types::Error> {
                    let lifecycle::Setup { pipeline, plugin, config } = setup;
                    let runner = Runner::init(&$crate::Setup { pipeline, plugin, config })?;
                    RUNNER.with(|cell| cell.replace(Some(runner)));
                    Ok(())
                }
            }

            impl role::Guest for Component {
                fn $call(batch: $crate::types::Batch) -> Result<$crate::types::$out, $crate::types::Error> {
                    RUNNER.with(|cell| match cell.borrow_mut().as_mut() {
                        Some(runner) => runner.run(batch).map($crate::__private::into_inner),
                        None => Err($crate::types::Error::Fatal("a batch before init".into())),
                    })
                }
            }

            $(
                impl $crate::guest::migration::exports::relevo::plugin::migration::Guest for Component {
                    fn $migrate(from: u32) -> Result<(), $crate::types::Error> {
                        RUNNER.with(|cell| match cell.borrow().as_ref() {
                            Some(runner) => runner.migrate::<$plugin>(from),
                            None => Err($crate::types::Error::Fatal("a migration before init".into())),
                        })
                    }
                }

    $crate::guest::migration::export_part!(Component with_types_in $crate::guest::migration);
            )?

    $crate::guest::lifecycle::export_part!(Component with_types_in $crate::guest::lifecycle);
    $crate::guest::$interface::export_part!(Component with_types_in $crate::guest::$interface);
        };
    };
}

#[doc(hidden)]
pub mod __private {
    pub use crate::role::{Aggregates, Enriches, Routes};
    pub use crate::runner::Runner;

    /// The records behind an output.
    pub trait Inner {
        /// `Messages` or `Patches` of the contract.
        type Records;
        /// Takes them out.
        fn into_records(self) -> Self::Records;
    }

    impl Inner for crate::Messages {
        type Records = crate::types::Messages;
        fn into_records(self) -> Self::Records {
            self.inner
        }
    }

    impl Inner for crate::patches::Patches {
        type Records = crate::types::Patches;
        fn into_records(self) -> Self::Records {
            self.inner
        }
    }

    pub fn into_inner<O: Inner>(out: O) -> O::Records {
        out.into_records()
    }
}
