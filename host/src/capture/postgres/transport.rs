//! The replication connection: what comes over it, and what is acknowledged. A trait, since the client
//! behind it may be another one some day.

use bytes::Bytes;
use pgwire_replication::{Lsn, PgWireError, ReplicationClient, ReplicationConfig, ReplicationEvent};

use super::super::error::CaptureError;
use super::connect::CONNECT;
use super::silence::within;

/// What comes over the stream.
#[derive(Debug)]
pub(crate) enum Received {
    /// A transaction begins; it was committed before it was sent.
    Begin {
        /// Of its commit record: what orders transactions.
        commit: u64,
        xid: u32,
        /// Microseconds since 2000-01-01 UTC.
        committed_at: i64,
    },
    /// A pgoutput message within the transaction.
    Data(Bytes),
    Commit,
    /// Nothing that we want is before this LSN but what has come. `answer`: the server waits for us to
    /// acknowledge it, since it stops, or to see that we live.
    Alive {
        end: u64,
        answer: bool,
    },
    /// A sign of life.
    Nothing,
}

/// A stream of committed transactions in the order of their commits.
pub(crate) trait Transport: Send {
    /// Waits for what comes next. Loses nothing when it is dropped while it waits.
    fn next(&mut self) -> impl Future<Output = Result<Received, CaptureError>> + Send;

    /// Everything before this LSN is safe with us.
    fn acknowledge(&self, lsn: u64);
}

/// PostgreSQL's own protocol.
pub(crate) struct Wire(ReplicationClient);

impl Wire {
    /// Connects, and waits until the server streams.
    pub(crate) async fn start(config: ReplicationConfig) -> Result<Self, CaptureError> {
        let started = async {
            let mut client = ReplicationClient::connect(config).await?;
            client.wait_started().await?;
            Ok::<_, PgWireError>(Self(client))
        };
        within(CONNECT, "to start the stream", started).await
    }
}

impl Transport for Wire {
    async fn next(&mut self) -> Result<Received, CaptureError> {
        let event = self.0.recv().await?;
        Ok(match event.ok_or_else(|| PgWireError::Protocol("the server ended the stream".into()))? {
            ReplicationEvent::Begin { final_lsn, xid, commit_time_micros } => {
                Received::Begin { commit: final_lsn.as_u64(), xid, committed_at: commit_time_micros }
            }
            ReplicationEvent::Commit { .. } => Received::Commit,
            ReplicationEvent::XLogData { data, .. } => Received::Data(data),
            ReplicationEvent::KeepAlive { wal_end, reply_requested, .. } => {
                Received::Alive { end: wal_end.as_u64(), answer: reply_requested }
            }
            ReplicationEvent::Message { .. } | ReplicationEvent::StoppedAt { .. } => Received::Nothing,
        })
    }

    fn acknowledge(&self, lsn: u64) {
        self.0.update_applied_lsn(Lsn(lsn));
    }
}
