//! Follows the journal for what pipelines ask of sources: the rows that are there.

use std::collections::BTreeMap;

use tokio::sync::watch;

use crate::event::{Name, Number};
use crate::journal::{Control, Journal, JournalError, RecordBody};

/// A pipeline wants the rows of some tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub pipeline: Name,
    /// Of the control record; the newest of a pipeline counts.
    pub number: Number,
    pub tables: Vec<Name>,
}

/// What pipelines wait for from one source, by pipeline.
pub(crate) type Requests = watch::Sender<BTreeMap<Name, Request>>;

/// Bytes of records at a time.
const READ: usize = 1 << 20;

/// Hands requests after `after` to their sources, until the journal is closed.
pub(crate) async fn follow(journal: Journal, mut after: Number, sources: BTreeMap<Name, Requests>) {
    let mut events = journal.watch_events();
    loop {
        match journal.read(after, READ).await {
            Ok(records) if records.is_empty() => {
                if events.changed().await.is_err() {
                    return;
                }
            }
            Ok(records) => {
                for record in records {
                    after = after.max(record.last);
                    let RecordBody::Control(Control::SnapshotWanted { pipeline, source, tables }) = &record.body else {
                        continue;
                    };
                    let Some(requests) = sources.get(source) else {
                        tracing::warn!(%pipeline, %source, "a pipeline wants the rows of a source that isn't configured");
                        continue;
                    };
                    let request =
                        Request { pipeline: Name::clone(pipeline), number: record.first, tables: tables.clone() };
                    requests.send_modify(|waiting| {
                        waiting.insert(Name::clone(pipeline), request);
                    });
                }
            }
            Err(JournalError::Pruned { oldest, .. }) => after = oldest,
            Err(JournalError::Closed) => return,
            Err(error) => {
                tracing::error!(%error, "can't read requests for snapshots; trying again");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}
