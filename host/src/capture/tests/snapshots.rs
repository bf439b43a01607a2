//! A pipeline gets the rows that are there, and knows exactly which changes they contain.

use super::*;
use crate::event::{Name, Operation};
use crate::journal::SnapshotPart;

async fn ask(host: &Host, pipeline: &str, tables: &[&str]) -> Number {
    let wanted = Control::SnapshotWanted {
        pipeline: pipeline.into(),
        source: "s".into(),
        tables: tables.iter().map(|&table| Name::from(table)).collect(),
    };
    host.journal.control(wanted).await.unwrap()
}

/// The records, once the request is answered, and the answer's appends.
async fn answer(host: &Host, request: Number) -> (SnapshotPart, Vec<Append>) {
    let is = |append: &Append| append.snapshot.as_ref().is_some_and(|part| part.request == request);
    let records = host.records(|r| matches!(&r.body, RecordBody::Append(a) if is(a) && a.complete)).await;
    let appends: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.body {
            RecordBody::Append(append) if is(append) => Some(append.clone()),
            _ => None,
        })
        .collect();
    (appends[0].snapshot.clone().unwrap(), appends)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_and_changes_together_are_exactly_the_table() {
    let mut host = Host::new(TABLE).await;
    host.sql(&insert(1, 5000));
    let updates = (0..1500).map(|i| {
        format!("update t set v = v + 1 where id % 50 = {}; replace into t values ({}, 0);\n", i % 50, 4000 + i)
    });
    let mut writer = sqlite3_meanwhile(&host.database, &updates.collect::<String>());
    host.appends_until(4900).await;
    let request = ask(&host, "p", &["t"]).await;
    let (part, answer) = answer(&host, request).await;
    assert!(writer.wait().unwrap().success());
    host.sql("insert into t values (99999, 0)");
    let streamed = host.appends_until(99_999).await;

    let rows: Vec<_> = answer.iter().flat_map(|append| &append.events).collect();
    let mut folded = BTreeMap::new();
    for event in &rows {
        let row = change(event).unwrap();
        assert_eq!(row.operation, Operation::Snapshot);
        assert!(folded.insert(row.key.to_string(), row.after.as_deref().unwrap().to_owned()).is_none());
    }
    let beyond = streamed.iter().flat_map(|append| &append.events).filter(|event| event.position > part.contains);
    fold(&mut folded, beyond.filter_map(|event| change(event)));
    assert_eq!(folded, table(&host.database));
    assert!(rows.windows(2).all(|pair| pair[0].position < pair[1].position), "each row has a place of its own");
    assert_eq!(rows.iter().filter(|event| event.last_of_transaction).count(), 1);
    assert!(answer.iter().all(|append| append.events.len() <= 1000));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_table_is_answered_too() {
    let mut host = Host::new(TABLE).await;
    let request = ask(&host, "p", &["t"]).await;
    let (_, appends) = answer(&host, request).await;
    assert!(appends.len() == 1 && appends[0].events.is_empty());
    host.stop().await;
}

/// Waits until the source says this.
async fn says(host: &Host, expected: &str) {
    host.health(|health| matches!(&health.state, SourceState::Failed { reason } if &**reason == expected)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_wants_a_table_that_isnt_watched_waits_and_it_is_said() {
    let mut host = Host::stopped("tables = [\"t\"]").await;
    sqlite3(&host.database, &format!("{TABLE}; create table u(id integer primary key); insert into u values (1)"));
    host.start().await;
    let request = ask(&host, "p", &["t", "u"]).await;
    says(&host, r#"pipeline p wants the rows of table u, which isn't watched: add "u" to the `tables` of source s"#)
        .await;
    let other = ask(&host, "q", &["t"]).await;
    answer(&host, other).await;
    host.sql("insert into t values (1, 0)");
    host.changes_until(1).await;
    let is = |r: &Arc<Record>| matches!(&r.body, RecordBody::Append(a) if a.snapshot.as_ref().is_some_and(|p| p.request == request));
    assert!(!host.records(|_| true).await.iter().any(is), "half a snapshot would be a whole one to the pipeline");
    let without = ask(&host, "p", &["t"]).await;
    answer(&host, without).await;
    host.health(|health| health.state == SourceState::Running).await;
    host.stop().await;
    host.settings[0].tables.push("u".into());
    host.start().await;
    let again = ask(&host, "p", &["t", "u"]).await;
    let (_, appends) = answer(&host, again).await;
    assert_eq!(appends.iter().map(|append| append.events.len()).sum::<usize>(), 2);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_wants_a_table_that_isnt_there_gets_it_once_it_is() {
    let mut host = Host::new(TABLE).await;
    let request = ask(&host, "p", &["U"]).await;
    says(&host, "pipeline p wants the rows of table U, which does not exist or can't be watched: make it").await;
    host.sql("create table u(id integer primary key); insert into u values (7)");
    let (_, appends) = answer(&host, request).await;
    assert_eq!(change(&appends[0].events[0]).unwrap().key.as_ref(), "7");
    host.health(|health| health.state == SourceState::Running).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_looks_alike_in_a_snapshot_and_in_a_change() {
    let schema =
        "create table t(id integer primary key, v); create table k(k text primary key, v) ; create table n(v, w);
        create table m(a, b, v, primary key(b, a)) without rowid";
    let mut host = Host::new(schema).await;
    for value in [
        "null",
        "9007199254740993",
        "0.1",
        "-9e999",
        "'it''s' || char(0)",
        "x'00ff'",
        "cast(x'66ff' as text)",
        "zeroblob(600000)",
        "zeroblob(300000)",
    ] {
        host.sql(&format!("insert into t(v) values ({value}); insert into n values ({value}, 1)"));
    }
    host.sql("insert into k values (null, 1), ('a', printf('%.600000c', 'a')); insert into m values (1, 'x', 2), (1, x'0a', 3)");
    host.sql("insert into t values (1000, 0)");
    let changes = host.changes_until(1000).await;
    let request = ask(&host, "p", &["t", "k", "n", "m"]).await;
    let (_, appends) = answer(&host, request).await;
    let show = |change: &Change| {
        let missing: Vec<_> = change.missing.iter().map(|m| (m.column.to_string(), m.bytes)).collect();
        (change.table.to_string(), change.key.to_string(), change.after.as_deref().map(str::to_owned), missing)
    };
    let mut streamed: Vec<_> = changes.iter().map(show).collect();
    let rows = appends.iter().flat_map(|append| &append.events);
    let mut rows: Vec<_> = rows.filter_map(|event| change(event)).map(show).collect();
    streamed.sort();
    rows.sort();
    assert!(rows.len() > 20 && rows == streamed, "{rows:?}\n{streamed:?}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_answered_even_if_the_database_comes_later() {
    let mut host = Host::stopped("exclude = { t = [\"secret\"] }").await;
    host.begin();
    let old = ask(&host, "p", &["t"]).await;
    let new = ask(&host, "p", &["t"]).await;
    let other = ask(&host, "q", &["t"]).await;
    sqlite3(&host.database, "create table t(id integer primary key, v, secret); insert into t values (1, 'a', 'x')");
    for request in [new, other] {
        let (_, appends) = answer(&host, request).await;
        let row = change(&appends[0].events[0]).unwrap();
        assert_eq!(row.after.as_deref(), Some(r#"{"id":1,"v":"a"}"#));
    }
    let all = host.records(|_| true).await;
    let answers_old = |r: &Arc<Record>| matches!(&r.body, RecordBody::Append(a) if a.snapshot.as_ref().is_some_and(|p| p.request == old));
    assert!(!all.iter().any(answers_old), "the newest request of a pipeline counts");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_midst_of_a_snapshot_leaves_no_half_of_it() {
    let mut host = Host::new(TABLE).await;
    host.sql(&insert(1, 20_000));
    ask(&host, "p", &["t"]).await;
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
    host.kill();
    host.begin();
    let request = ask(&host, "p", &["t"]).await;
    let (_, appends) = answer(&host, request).await;
    let rows: std::collections::BTreeSet<_> =
        appends.iter().flat_map(|append| &append.events).map(|event| change(event).unwrap().key.clone()).collect();
    assert_eq!(rows.len(), 20_000);
    assert_eq!(appends.iter().map(|append| append.events.len()).sum::<usize>(), 20_000);
    host.stop().await;
}
