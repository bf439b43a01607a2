//! A pipeline gets the rows that are there, and knows exactly which changes they contain.

use super::*;

/// Waits until the source says this.
async fn says(host: &Host, expected: &str) {
    host.health(|health| matches!(&health.state, SourceState::Incomplete { reason } if &**reason == expected)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_wants_a_table_that_isnt_there_gets_it_once_it_is() {
    let mut host = Host::new(TABLE).await;
    let request = host.ask("p", &["U"]).await;
    says(&host, "pipeline p wants the rows of table U, which does not exist or can't be watched: make it").await;
    host.sql("create table u(id integer primary key); insert into u values (7)");
    let appends = host.answer(request).await;
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
    let request = host.ask("p", &["t", "k", "n", "m"]).await;
    let appends = host.answer(request).await;
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
