//! Capture from SQLite: triggers write each change into a table, and a reader of our own delivers it
//! from there to the journal, in order, each once, whoever crashes when.

use tokio::sync::watch;

use super::error::{self, CaptureError};
use super::forget::forgotten;
use super::json;
use super::rows::{self, CHUNK_EVENTS};
use super::source::Source;
use super::taking;
use super::waiting;

mod change;
mod connect;
mod detach;
mod form;
mod index;
pub mod inspect;
mod install;
mod others;
mod place;
mod prune;
mod reader;
mod schema;
mod serve;
mod snapshot;
mod stream;
mod tables;
mod triggers;
mod value;
mod wake;

#[cfg(test)]
mod tests;

pub(crate) use detach::detach;
pub(crate) use inspect::look;
#[cfg(test)]
pub(crate) use wake::Wake;

use stream::Session;

/// One session with the source's database, until told to stop.
pub(crate) async fn session(source: &Source, shutdown: &mut watch::Receiver<bool>) -> Result<(), CaptureError> {
    let mut session = Session::open(source).await?;
    let ended = session.run(shutdown).await;
    session.close().await;
    ended
}
