//! A source says what stands in its way, and goes on by itself when that is gone.

use super::*;

async fn failed(host: &Host, why: &str) {
    host.health(|health| matches!(&health.state, SourceState::Failed { reason } if reason.contains(why))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_missing_is_waited_for() {
    let mut host = Host::stopped("").await;
    host.begin();
    failed(&host, "does not exist; make it, or give another path").await;
    assert!(!host.running.as_ref().unwrap().0.ready());
    sqlite3(&host.database.path, TABLE);
    host.health(|health| health.state == SourceState::Running).await;
    assert!(host.running.as_ref().unwrap().0.ready());
    host.sql("insert into t values (1, 0)");
    host.changes_until(1).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_locked_is_waited_for() {
    let mut host = Host::stopped("").await;
    sqlite3(&host.database.path, &format!("pragma journal_mode = wal; {TABLE}"));
    use std::io::Write as _;
    let mut lock =
        Command::new("sqlite3").arg(&host.database.path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = lock.stdin.take().unwrap();
    input.write_all(b"begin immediate; insert into t values (1, 1); select 'locked';\n").unwrap();
    let mut said = [0; 6];
    std::io::Read::read_exact(lock.stdout.as_mut().unwrap(), &mut said).unwrap();
    host.begin();
    failed(&host, "locked").await;
    input.write_all(b"commit;\n").unwrap();
    drop(input);
    host.health(|health| health.state == SourceState::Running).await;
    assert!(lock.wait().unwrap().success());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_none_is_said() {
    let mut host = Host::stopped("").await;
    host.settings[0].url = "mysql://localhost/gad".into();
    host.begin();
    failed(&host, "sqlite:PATH").await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_journal_becomes_a_wal() {
    let mut host = Host::new(&format!("pragma journal_mode = delete; {TABLE}")).await;
    assert_eq!(host.sql("pragma journal_mode"), "wal");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watermark_waits_for_every_source() {
    let mut host = Host::stopped("").await;
    sqlite3(&host.database.path, TABLE);
    let mut absent = host.settings[0].clone();
    absent.name = "absent".into();
    absent.url = "sqlite:absent.db".into();
    host.settings.push(absent);
    host.start().await;
    host.sql("insert into t values (1, 0)");
    host.changes_until(1).await;
    host.health(|health| health.watermark > crate::event::Micros::default()).await;
    assert!(host.journal.source("clock").await.unwrap().is_none());
    sqlite3(&host.folder.path().join("absent.db"), TABLE);
    host.records(|r| matches!(&r.body, RecordBody::Append(a) if &*a.source == "clock")).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_another_encoding_is_said() {
    let mut host = Host::stopped("").await;
    sqlite3(&host.database.path, &format!("pragma encoding = 'UTF-16'; {TABLE}"));
    host.begin();
    failed(&host, "UTF-16").await;
    host.stop().await;
}
