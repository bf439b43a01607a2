//! What another process commits comes, in order, each change once, and its rows are let go.

use super::*;
use crate::event::Position;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_let_go_once_they_are_durable_but_for_the_newest() {
    let mut host = Host::new(TABLE).await;
    host.sql(&insert(1, 3000));
    host.appends_until(3000).await;
    host.sql_until("select count(*) from _relevo_changes", "1").await;
    let position = host.journal.source("s").await.unwrap().unwrap().position;
    assert_eq!(host.sql("select seq from _relevo_changes"), position.commit.to_string());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_changes_nothing_moves_the_position_alone() {
    let mut host = Host::new(TABLE).await;
    host.sql("insert into t values (1, 1)");
    host.sql("begin; update t set v = 2; update t set v = 2; commit");
    let newest = host.sql("select max(seq) from _relevo_changes").parse().unwrap();
    let position = Position { commit: newest, index: 0 };
    let records =
        host.records(|r| matches!(&r.body, RecordBody::Append(a) if &*a.source == "s" && a.position == position)).await;
    let events: Vec<_> = appends(&records).into_iter().flat_map(|append| append.events).collect();
    assert_eq!(events.len(), 2);
    assert!(events[1].last_of_transaction);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bell_in_the_process_is_heard_without_poll_and_file_events() {
    let mut host = Host::stopped("").await;
    sqlite3(&host.database.path, TABLE);
    host.settings[0].poll = Duration::from_secs(3600);
    host.start().await;
    host.sql("insert into t values (1, 1)");
    host.running.as_ref().unwrap().0.bell("s").unwrap().notify_one();
    host.changes_until(1).await;
    assert!(host.running.as_ref().unwrap().0.bell("another").is_none());
    host.stop().await;
}
