//! What goes over a socket: WebSocket frames, each dialect's JSON, codes. `channel` and `session`
//! write and read with it; docs/protocol.md and docs/gad.md say the same for client authors.

pub mod codes;
pub mod command;
mod dialect;
pub mod frame;
pub mod gad;
pub mod incoming;
pub(crate) mod json;
pub mod native;
