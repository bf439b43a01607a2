//! A source that begins anew: since an operator wants it, or after a gap.

use super::super::super::status;
use super::*;

async fn reset(host: &Host) {
    let handle = host.running.as_ref().unwrap().0.handles().remove(0);
    handle.reset("ana").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_reset_begins_anew_with_one_gap_even_if_it_is_killed_right_after() {
    let mut host = Host::new(TABLE).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    let before = host.journal.source("s").await.unwrap().unwrap().incarnation;
    reset(&host).await;
    host.end().await;
    assert_eq!(host.gaps().await, ["ana reset the source"]);
    host.sql("insert into t values (2, 'is in the rows, and no event')");
    host.start().await;
    host.sql("insert into t values (3, 'c')");
    let all = host.changes_until("3").await;
    assert!(all.iter().all(|change| &*change.key != "2"), "it begins now");
    assert_ne!(host.journal.source("s").await.unwrap().unwrap().incarnation, before);
    // While it runs, and twice.
    reset(&host).await;
    reset(&host).await;
    host.health(|health| health.state == SourceState::Running).await;
    host.sql("insert into t values (4, 'd')");
    host.changes_until("4").await;
    let gaps = host.gaps().await;
    assert!((2..=3).contains(&gaps.len()), "a second reset finds nothing to forget, or a place: {gaps:?}");
}

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
    let stopped = status::stopped(&host.settings[0], host.folder.path(), known.as_ref()).await;
    assert_eq!((stopped.state, &*stopped.tables, stopped.reason), ("stopped", &["t".into()][..], None));
    assert!(!stopped.slot.unwrap().active && stopped.position.unwrap().contains('/'));

    let out = super::super::super::detach(&host.settings[0], host.folder.path()).await.unwrap();
    assert_eq!(out, ["replication slot relevo_s", "publication relevo_s"]);
    assert_eq!(host.sql("select count(*) from pg_replication_slots"), "0");
    assert_eq!(host.sql("select count(*) from pg_publication"), "0");
    let again = super::super::super::detach(&host.settings[0], host.folder.path()).await.unwrap();
    assert_eq!(again, Vec::<String>::new());
    host.start().await;
    assert_eq!(host.gaps().await.len(), 1, "{:?}", host.gaps().await);
}
