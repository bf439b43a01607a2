//! Runs a plugin natively, under plain `cargo test`: feed events, read messages, look at state.
//!
//! ```
//! use relevo_plugin::test::{TestHost, insert};
//! use relevo_plugin::{Error, Event, Messages, Route, Setup, lookup};
//! use serde_json::json;
//!
//! struct Who;
//! impl Route for Who {
//!     fn init(_: &Setup) -> Result<Self, Error> {
//!         Ok(Self)
//!     }
//!     fn route(&mut self, event: &Event<'_>, out: &mut Messages) -> Result<(), Error> {
//!         let user = lookup::row("usuarios", &event.after().integer("creado_por_usuario_id")?.to_string());
//!         let user = user.ok_or_else(|| Error::poison("no such user"))?;
//!         out.send("who").data(&user.text("nombre")?)
//!     }
//! }
//!
//! let mut host = TestHost::route::<Who>();
//! host.row("usuarios", "4", json!({ "id": 4, "nombre": "Ana" }));
//! let task = json!({ "id": 1, "creado_por_usuario_id": 4 });
//! assert_eq!(host.feed([insert("tareas", task)]).unwrap()[0].data, "Ana");
//!
//! let stray = json!({ "id": 2, "creado_por_usuario_id": 5 });
//! let failed = host.feed([insert("tareas", stray)]).unwrap_err();
//! assert_eq!((failed.event, failed.error), (Some(0), Error::poison("no such user")));
//! ```

mod batch;
mod host;
mod input;
#[cfg(test)]
mod tests;
pub(crate) mod world;

pub use batch::see;
pub use host::{Failed, Patched, Sent, TestHost};
pub use input::{Input, delete, insert, publish, snapshot, tick, truncate, update};
