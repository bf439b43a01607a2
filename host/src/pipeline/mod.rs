//! Pipelines: each one reads events behind its cursor, runs its plugins over them, and commits what
//! they made of them: range read, state and messages in one record.
//!
//! [`Pipelines`] is what the server starts and stops; everything else here is one pipeline's work,
//! on a thread of its own. The room knows no database and no socket: it asks for snapshots, and
//! learns of gaps, through control records of the journal.

mod ahead;
mod anew;
mod batch;
mod begin;
mod breaker;
mod builtin;
mod chain;
mod column;
mod commit;
mod context;
mod deploy;
mod desk;
mod durable;
mod error;
mod failure;
mod feed;
mod first;
mod folder;
mod health;
pub(crate) mod lacks;
mod letters;
mod library;
mod logs;
mod meta;
mod needed;
mod outputs;
mod patch;
mod probation;
mod rebuild;
mod reference;
mod shown;
mod snapshot;
mod supervisor;
mod swap;
mod swaps;
mod trial;
mod trials;
mod wants;
mod worker;

#[cfg(test)]
mod tests;

pub use builtin::PUBLICATIONS;
pub use deploy::{Deployed, InPipeline, Outcome};
pub use desk::{Desk, Noted, PluginView};
pub use error::DeployError;
pub use health::{Health, Status};
pub use logs::{LineOf, Logs, Wanted};
pub(crate) use needed::needed;
pub use supervisor::{Pipelines, StartError};
pub use swaps::TookOver;
pub use trial::{Difference, Report, SeenFault, Shown};
pub use trials::{Reports, Wish};
