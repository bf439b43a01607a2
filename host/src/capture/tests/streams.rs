//! What another process commits comes, in order, each change once, and its rows are let go.

use super::*;
use crate::event::{Operation, Position};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_commits_comes_in_its_order() {
    let mut host = Host::new(TABLE).await;
    host.sql("insert into t values (1, 'a'); update t set v = 'b'; delete from t; insert into t values (2, 'c')");
    let changes = host.changes_until(2).await;
    let operations: Vec<_> = changes.iter().map(|c| (c.operation, &*c.key)).collect();
    assert_eq!(
        operations,
        [(Operation::Insert, "1"), (Operation::Update, "1"), (Operation::Delete, "1"), (Operation::Insert, "2")]
    );
    fold(&mut BTreeMap::new(), &changes);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_transaction_comes_in_chunks_and_as_one() {
    let mut host = Host::new(TABLE).await;
    host.sql(&insert(1, 4500));
    let appends = host.appends_until(4500).await;
    let with_events: Vec<_> = appends.iter().filter(|append| !append.events.is_empty()).collect();
    assert_eq!(with_events.iter().map(|append| append.events.len()).collect::<Vec<_>>(), [1000, 1000, 1000, 1000, 500]);
    let events: Vec<_> = with_events.iter().flat_map(|append| &append.events).collect();
    let last = events.last().unwrap();
    assert!(last.last_of_transaction);
    assert_eq!(events.iter().filter(|event| event.last_of_transaction).count(), 1);
    assert!(events.iter().all(|event| event.transaction == last.position.commit));
    assert!(events.iter().all(|event| event.committed_at == last.committed_at));
    assert!(events.is_sorted_by_key(|event| event.position));
    host.stop().await;
}

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
async fn a_row_too_large_for_a_record_comes_without_its_largest_column() {
    let mut host = Host::new("create table t(id integer primary key, a, b, c)").await;
    host.sql("insert into t values (1, printf('%.400000c', 'a'), printf('%.300000c', 'b'), 'c')");
    host.sql("insert into t values (2, 1, 2, 3)");
    let changes = host.changes_until(2).await;
    assert_eq!(changes[0].missing.iter().map(|m| &*m.column).collect::<Vec<_>>(), ["a"]);
    assert!(changes[0].after.as_deref().unwrap().contains("\"c\":\"c\""));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bell_in_the_process_is_heard_without_poll_and_file_events() {
    let mut host = Host::stopped("").await;
    sqlite3(&host.database, TABLE);
    host.settings[0].poll = Duration::from_secs(3600);
    host.start().await;
    host.sql("insert into t values (1, 1)");
    host.running.as_ref().unwrap().0.bell("s").unwrap().notify_one();
    host.changes_until(1).await;
    assert!(host.running.as_ref().unwrap().0.bell("another").is_none());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watermarks_rise_and_never_run_ahead_of_a_change() {
    let mut host = Host::new(TABLE).await;
    for id in 1..=20 {
        host.sql(&format!("insert into t values ({id}, 0)"));
    }
    host.changes_until(20).await;
    let tick = |record: &Record| match &record.body {
        RecordBody::Append(append) => match append.events.first().map(|event| &event.body) {
            Some(Body::Tick { up_to }) => Some(*up_to),
            _ => None,
        },
        _ => None,
    };
    let now = crate::event::Micros::now();
    let records = host.records(|record| tick(record).is_some_and(|up_to| up_to > now)).await;
    let (mut last, mut ticks) = (crate::event::Micros::default(), 0);
    for record in &records {
        if let Some(up_to) = tick(record) {
            assert!(up_to > last);
            (last, ticks) = (up_to, ticks + 1);
        } else if let RecordBody::Append(append) = &record.body {
            assert!(append.events.iter().all(|event| event.committed_at > last), "a watermark ran ahead");
        }
    }
    assert!(ticks > 1);
    host.stop().await;
}
