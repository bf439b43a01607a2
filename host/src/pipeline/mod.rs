//! Pipelines: each one reads events behind its cursor, runs its plugins over them, and commits what
//! they made of them: range read, state and messages in one record.
//!
//! [`Pipelines`] is what the server starts and stops; everything else here is one pipeline's work,
//! on a thread of its own. The room knows no database and no socket: it asks for snapshots, and
//! learns of gaps, through control records of the journal.

mod batch;
mod builtin;
mod chain;
mod commit;
mod failure;
mod feed;
mod health;
mod meta;
mod outputs;
mod patch;
mod rebuild;
mod reference;
mod supervisor;
mod wants;
mod worker;

#[cfg(test)]
mod tests;

pub use builtin::PUBLICATIONS;
pub use health::{Health, Status};
pub use supervisor::{Pipelines, StartError};
