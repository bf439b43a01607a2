//! What goes over a socket: WebSocket frames, the native protocol's JSON, codes. `channel` and
//! `session` write and read with it; docs/protocol.md says the same for client authors.

pub mod codes;
pub mod command;
pub mod frame;
pub mod incoming;
pub mod native;
