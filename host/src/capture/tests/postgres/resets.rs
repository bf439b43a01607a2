//! A source that begins anew: since an operator wants it, or after a gap.

use super::super::super::status;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_told_once_however_often_the_new_slot_fails() {
    let mut host = Host::new(TABLE).await;
    host.end().await;
    host.sql("select pg_drop_replication_slot('relevo_s')");
    // A slot waits for the transactions that are open.
    let mut open = host.database.meanwhile("begin; insert into t values (9, 'open'); select pg_sleep(600);");
    let is_open = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' and backend_xid is not null and pid <> pg_backend_pid()";
    while host.sql(is_open) == "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let making =
        "from pg_stat_activity where query like '%pg_create_logical_replication_slot%' and pid <> pg_backend_pid()";
    host.begin();
    for _ in 0..3 {
        while host.sql(&format!("select count(pg_terminate_backend(pid)) {making}")) == "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    host.sql("select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(600)%' and pid <> pg_backend_pid()");
    let _ = open.wait();
    host.health(|health| health.state == SourceState::Running).await;
    let gaps = host.gaps().await;
    assert!(gaps.len() == 1 && gaps[0].contains("slot is gone"), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_is_taken_out_and_the_status_shows_it() {
    let mut host = Host::over(Postgres::start(), "guard = \"100ms\"").await;
    host.sql(TABLE);
    host.start().await;
    let health = host.health(|health| health.slot.is_some()).await;
    let known = host.journal.source("s").await.unwrap();
    let running = status::running(&host.settings[0], &health, known.as_ref());
    assert_eq!((running.state, &*running.tables), ("running", &["t".into()][..]));
    let slot = running.slot.unwrap();
    assert_eq!((slot.name.as_str(), slot.wal_status.as_str(), slot.active), ("relevo_s", "reserved", true));
    host.end().await;
    let all = [("s".into(), known.unwrap())].into();
    let stopped = status::stopped(&host.settings[0], host.folder.path(), &all).await;
    assert_eq!((stopped.state, &*stopped.tables, stopped.reason), ("stopped", &["t".into()][..], None));
    assert!(!stopped.slot.unwrap().active && stopped.position.unwrap().contains('/'));

    let out = super::super::super::detach(&host.settings[0], host.folder.path()).await.unwrap();
    assert_eq!(out.out, ["replication slot relevo_s", "publication relevo_s"]);
    assert_eq!(host.sql("select count(*) from pg_replication_slots"), "0");
    assert_eq!(host.sql("select count(*) from pg_publication"), "0");
    let again = super::super::super::detach(&host.settings[0], host.folder.path()).await.unwrap();
    assert_eq!(again, crate::capture::Detached::default());
    host.start().await;
    assert_eq!(host.gaps().await.len(), 1, "{:?}", host.gaps().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_prepared_and_holds_the_slot_up_is_named_with_what_ends_it() {
    let mut host = Host::over(Postgres::with(&["max_prepared_transactions=1"]), "").await;
    host.sql(&format!("{TABLE}; create table other (id int primary key); alter table other replica identity full"));
    host.sql("begin; insert into other values (1); prepare transaction 'it''s held'");
    host.begin();
    let reason = host.failed("ROLLBACK PREPARED 'it''s held';").await;
    assert!(reason.contains("that relevo prepared as 'it''s held'") && reason.contains("in database gad"), "{reason}");
    host.sql("rollback prepared 'it''s held'");
    host.health(|health| health.state == SourceState::Running).await;
}
