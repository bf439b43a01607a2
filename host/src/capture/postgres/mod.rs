//! Capture from PostgreSQL by logical replication: what was committed comes over a stream, in the order
//! of the commits, and goes on after a break where the journal stands.
//!
//! `connect` the address, `preflight` what stands in the way, `server` of the server, `judge` of which table,
//! `unpublished` of the publication, `unreachable` why nobody answers, `finding` how that is said, `catalog` tables
//! and types, `publication` and `slot` what is made in the database, `place` where to go on, `transport` (`room` how much may wait in it) and
//! `decode` the stream, `relation` and `value` its rows, `key` what tells them apart, `form` what a table looked
//! like, `reshaped` what changed about it, `told` what comes within a transaction, `transaction` what becomes of
//! it, `pulse` heartbeats, `guard` how near the slot is to its loss, `silence` a connection that died without a
//! word, `refusal` one that the server ended, `watched` which tables, `parts` their partitions, `snapshot` and
//! `serve` the rows that are there, `reading` one table of them, `resume` how they go on after a cut, `foretold`
//! what the next start will tell of, `detach` takes it all out; `open` begins a session, `stream` holds all of it
//! together.

use tokio::sync::watch;

use crate::config::SourceSettings;
use crate::journal::SourceState;

use super::error::CaptureError;
use super::source::Source;
use super::status::Found;

mod catalog;
mod connect;
mod decode;
mod detach;
mod finding;
mod foretold;
mod form;
#[cfg(test)]
mod fuzz;
mod guard;
mod judge;
mod key;
mod open;
mod parts;
mod place;
mod preflight;
mod publication;
mod pulse;
mod reading;
mod refusal;
mod relation;
mod reshaped;
mod resume;
mod room;
mod serve;
mod server;
mod silence;
mod slot;
mod snapshot;
mod stream;
mod told;
mod transaction;
mod transport;
mod unpublished;
mod unreachable;
mod value;
mod watched;

pub use decode::DecodeError;
pub(crate) use detach::detach;
pub use finding::{Finding, Mend, Weight};
pub use foretold::Stand;
pub use guard::SlotHealth;
use preflight::Preflight;
pub use preflight::preflight;
pub(crate) use transaction::lsn;

/// One session with the source's database, until told to stop.
pub(crate) async fn session(source: &Source, shutdown: &mut watch::Receiver<bool>) -> Result<(), CaptureError> {
    let mut stopped = shutdown.clone();
    let opened = tokio::select! {
        biased;
        // What waits for somebody else, as for a slot, may wait for hours.
        _ = stopped.wait_for(|stop| *stop) => return Ok(()),
        opened = open::open(source) => opened,
    };
    let ended = async { opened?.run(shutdown).await };
    match ended.await {
        Err(CaptureError::Wire(error)) => Err(refusal::explained(source, error).await),
        ended => ended,
    }
}

/// An address as people may see it: without its password. None: it can't be used.
pub(crate) fn address(url: &str) -> Option<String> {
    connect::Address::parse(url).ok().map(|address| address.to_string())
}

/// Whether a place in a source, as the journal keeps it, is one of PostgreSQL's.
pub(crate) fn is_place(token: &str) -> bool {
    place::Mark::read(token).is_some()
}

/// What the database says of a source that isn't captured now. `known`: where the journal stands in it.
pub(crate) async fn look(settings: &SourceSettings, known: Option<&SourceState>) -> Result<Found, CaptureError> {
    let mut db = connect::Address::parse(&settings.url)?.connect().await?;
    let Preflight { server, mut findings, .. } = preflight::look(&mut db, settings).await?;
    findings.retain(|finding| finding.weight == Weight::Blocks);
    findings.extend(foretold::look(&mut db, settings, &server, Stand::Stopped(known)).await?);
    let trouble = findings.iter().map(ToString::to_string).collect();
    let slot = guard::look(&mut db, &settings.slot()).await?;
    let published = publication::published(&mut db, &settings.publication()).await?;
    let tables = catalog::tables(&mut db).await?;
    let tables = tables.iter().filter(|table| published.as_ref().is_some_and(|published| published.has(table)));
    Ok(Found { tables: tables.map(|table| table.shown().into()).collect(), slot, behind: None, trouble })
}
