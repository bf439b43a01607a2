//! Tables that are altered while a snapshot of them is on its way.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_a_snapshot_waited_to_begin_is_in_it() {
    let mut host = Host::new(&format!("{TABLE}; insert into t values (1, 'a'), (2, 'b')")).await;
    let open = open(&host).await;
    let request = host.ask("p", &["t"]).await;
    host.health(|health| !health.snapshots.is_empty()).await;
    host.sql("alter table t add column w text; update t set w = 'new' where id = 1");
    host.changes_until(1).await;
    close(&host, open);
    let answer = events(&host.answer(request).await);
    let rows: Vec<_> = super::super::host::rows(&answer).into_iter().map(|row| row.after.as_deref().unwrap()).collect();
    assert_eq!(rows, [r#"{"id":1,"v":"a","w":"new"}"#, r#"{"id":2,"v":"b","w":null}"#]);
    host.stop().await;
}

/// To a transaction that saw the table before, and had not touched it, it is empty now.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_written_anew_before_its_turn_is_not_taken_for_empty() {
    const ROWS: usize = 60_000;
    let mut host = Host::new(&format!(
        "create table large (id int primary key, v text); alter table large replica identity full;
         {TABLE}; insert into t values (1, 'a'), (2, 'b'); insert into large select n, repeat('v', 300) from generate_series(1, {ROWS}) n"
    ))
    .await;
    let request = host.ask("p", &["large", "t"]).await;
    host.health(|health| health.snapshots.iter().any(|taking| taking.rows > 0)).await;
    host.sql("alter table t alter column v type varchar using v || '!'");
    let health = host.health(|_| true).await;
    let rows = health.snapshots.first().map_or(0, |taking| taking.rows);
    assert!((1..ROWS as u64).contains(&rows), "it was written anew too late: {rows} rows were read");
    let answer = events(&host.answer(request).await);
    let rows = super::super::host::rows(&answer);
    let of_t: Vec<_> = rows.iter().filter(|row| &*row.table == "t").map(|row| row.after.as_deref().unwrap()).collect();
    assert_eq!(of_t, [r#"{"id":1,"v":"a!"}"#, r#"{"id":2,"v":"b!"}"#]);
    host.stop().await;
}
