//! Relevo: database changes through sandboxed plugins to WebSocket clients.
//!
//! Everything meets at the [`journal`] and moves one way. A room imports only from rooms further
//! down this list.

pub mod cli;
pub mod example;
pub mod server;

mod backup;

pub mod notices;

pub mod http;
pub mod session;

pub mod channel;
pub mod wire;

pub mod auth;
pub mod pipeline;
pub mod proving;
pub mod sandbox;

pub mod capture;
pub mod store;

pub mod journal;

pub mod config;
pub mod event;
pub mod failpoint;
mod folder;
pub mod message;
pub mod signature;
pub mod telemetry;
mod thread;
