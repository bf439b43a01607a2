//! Figures, not checks: `cargo nextest run -p relevo capture::tests::speed --run-ignored all --no-capture`.

use std::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures for reports"]
async fn how_long_from_commit_to_journal() {
    use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
    for (ring, what) in [(true, "in-process bell"), (false, "file events")] {
        let mut host = Host::new(TABLE).await;
        let bell = host.running.as_ref().unwrap().0.bell("s").unwrap();
        let mut db = SqliteConnectOptions::new()
            .filename(&host.database.path)
            .synchronous(sqlx::sqlite::SqliteSynchronous::Normal)
            .connect()
            .await
            .unwrap();
        let mut head = host.journal.watch_head();
        let mut seen = host.journal.head();
        let mut times = Vec::new();
        for id in 0..1000_i64 {
            sqlx::query("INSERT INTO t VALUES (?, 0)").bind(id).execute(&mut db).await.unwrap();
            let committed = Instant::now();
            if ring {
                bell.notify_one();
            }
            let newest = id.to_string();
            let mut found = false;
            while !found {
                head.changed().await.unwrap();
                let more = host.journal.read_memory(seen, 1 << 20).unwrap();
                found = more.iter().any(|record| changes(record).any(|change| *change.key == *newest));
                seen = more.last().map_or(seen, |record| record.last);
            }
            times.push(committed.elapsed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        times.sort();
        eprintln!("{what}: p50 {:?}, p99 {:?}", times[times.len() / 2], times[times.len() * 99 / 100]);
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "figures for reports"]
async fn how_many_changes_a_second() {
    let mut host = Host::new("create table t(id integer primary key, a, b, c, d)").await;
    host.stop().await;
    let began = Instant::now();
    host.sql("insert into t with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) select i, 'text of a row', 1.5, i, null from n");
    eprintln!("written in {:?}", began.elapsed());
    host.begin();
    let began = Instant::now();
    host.records(|record| changes(record).any(|change| &*change.key == "200000")).await;
    let took = began.elapsed();
    eprintln!("200000 changes read and appended in {took:?}: {:.0}/s", 200_000.0 / took.as_secs_f64());
    host.stop().await;
}
