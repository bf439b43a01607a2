//! Capture from PostgreSQL by logical replication: what was committed comes over a stream, in the order
//! of the commits, and goes on after a break where the journal stands.
//!
//! `connect` the address, `preflight` what stands in the way, `catalog` tables and types, `slot` what is
//! made in the database, `place` where to go on, `transport` and `decode` the stream, `relation` and
//! `value` its rows, `transaction` what becomes of them, `pulse` heartbeats, `watched` which tables, `snapshot` and `serve` the rows
//! that are there; `stream` holds all of it together.

use tokio::sync::watch;

use super::error::CaptureError;
use super::source::Source;

mod catalog;
mod connect;
mod decode;
mod place;
mod preflight;
mod pulse;
mod relation;
mod serve;
mod slot;
mod snapshot;
mod stream;
mod transaction;
mod transport;
mod value;
mod watched;

pub use decode::DecodeError;
pub use preflight::{Finding, Weight, preflight};

/// One session with the source's database, until told to stop.
pub(crate) async fn session(source: &Source, shutdown: &mut watch::Receiver<bool>) -> Result<(), CaptureError> {
    stream::open(source).await?.run(shutdown).await
}
