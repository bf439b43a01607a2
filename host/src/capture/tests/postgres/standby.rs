//! A server that is a standby, and one that was promoted.

use super::*;
use crate::capture::postgres::{Stand, Weight, preflight};

/// Stops the server, and starts it as this file in its data folder says.
fn restart_with(host: &mut Host, signal: &str) {
    host.database.down(Stop::Fast);
    std::fs::write(host.database.socket().with_file_name("data").join(signal), "").unwrap();
    host.database.up();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_refused_also_where_it_has_the_slot() {
    let mut host = Host::new(TABLE).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until(1).await;
    host.end().await;
    restart_with(&mut host, "standby.signal");
    let findings = preflight(&host.settings[0], Stand::Runs).await.unwrap();
    let is_it = |what: &str| what.contains("this server is a standby: give the address of the primary");
    assert!(findings.iter().any(|finding| finding.weight == Weight::Blocks && is_it(&finding.what)), "{findings:?}");
    host.begin();
    host.failed("this server is a standby").await;
    // It is the primary again, and goes on.
    host.database.down(Stop::Fast);
    std::fs::remove_file(host.database.socket().with_file_name("data").join("standby.signal")).unwrap();
    host.database.up();
    host.sql("insert into t values (2, 'b')");
    host.changes_until(2).await;
    assert_eq!(host.gaps().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_server_goes_on_if_the_last_transaction_shows_that_all_is_there_and_is_a_gap_otherwise() {
    let mut host = Host::new(TABLE).await;
    // It finds nothing to restore, and promotes itself.
    host.sql("alter system set restore_command = 'false'");
    let timeline = "select left(pg_walfile_name(pg_current_wal_lsn()), 8)";
    host.sql("insert into t values (1, 'a')");
    host.changes_until(1).await;
    host.end().await;
    restart_with(&mut host, "recovery.signal");
    host.start().await;
    assert_eq!(host.sql(timeline), "00000002");
    host.sql("insert into t values (2, 'b')");
    host.changes_until(2).await;
    assert_eq!(host.gaps().await.len(), 0);
    // Heartbeats that came after the last transaction are acknowledged: it can't be asked for any more.
    let last = host.sql("select pg_current_wal_lsn()");
    let beyond = format!("select confirmed_flush_lsn > '{last}' from pg_replication_slots");
    while host.sql(&beyond) != "t" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    host.sql("checkpoint");
    restart_with(&mut host, "recovery.signal");
    host.records(|record| matches!(&record.body, RecordBody::Control(control) if control.is_loss())).await;
    let gaps = host.gaps().await;
    assert!(gaps.len() == 1 && gaps[0].contains("timeline 3 instead of 2"), "{gaps:?}");
}
