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

#[cfg(test)]
mod tests {
    use relevo_tests::postgres::{HOLDER, Postgres};

    use super::super::connect::Address;
    use super::*;

    /// The connection for SQL comes first, and would be refused first.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_replication_connection_checks_certificates_and_passwords_itself() {
        let mut database = Postgres::start();
        if database.sql("select setting from pg_settings where name = 'ssl_library'").is_empty() {
            println!("replication over TLS: NOT TESTED, as this PostgreSQL was built without it");
            return;
        }
        let (port, files) = database.serve_tls();
        database.sql("create role watcher login replication password 'right'; create table t (id int primary key)");
        database.sql(&format!("create role {HOLDER} login replication; create publication p for table t"));
        database.sql("select pg_create_logical_replication_slot('s', 'pgoutput')");
        let start = async |who: &str, more: &str| {
            let url = format!("postgres://{who}@localhost:{port}/gad?sslmode={more}");
            Wire::start(Address::parse(&url).unwrap().replication("s", "p", 0)).await
        };
        let (root, (shown, key)) = (files.root.display(), &files.holder);
        let (shown, key) = (shown.display(), key.display());
        let refused = [
            ("watcher:right", "verify-full".to_owned(), "certificate"),
            ("watcher:right", format!("verify-full&sslrootcert={shown}"), "certificate"),
            ("watcher:right", "disable".to_owned(), "no encryption"),
            ("watcher:wrong", format!("verify-full&sslrootcert={root}"), "password authentication failed"),
            (HOLDER, format!("verify-full&sslrootcert={root}"), "certificate"),
            ("watcher", format!("require&sslcert={shown}&sslkey={key}"), "password"),
        ];
        for (who, more, why) in refused {
            let said = start(who, &more).await.err().unwrap_or_else(|| panic!("{who}, {more}: it streams"));
            assert!(said.to_string().to_lowercase().contains(why), "{who}, {more}: {said}");
        }
        drop(start("watcher:right", &format!("verify-full&sslrootcert={root}")).await.unwrap());
        while database.sql("select count(*) from pg_replication_slots where active") != "0" {
            tokio::task::yield_now().await;
        }
        let holder = start(HOLDER, &format!("verify-full&sslrootcert={root}&sslcert={shown}&sslkey={key}")).await;
        let holder = holder.unwrap();
        let by = "select usename, ssl from pg_stat_replication join pg_stat_ssl using (pid)";
        assert_eq!(database.sql(by), format!("{HOLDER}|t"));
        drop(holder);
    }
}
