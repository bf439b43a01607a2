//! Capture goes on where it was, and says so when it can't.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_change_has_the_same_place_after_a_crash() {
    let mut host = Host::new(TABLE).await;
    host.stop().await;
    host.sql(&insert(1, 5000));
    host.begin();
    // Somewhere in the midst of the chunks.
    let mut sources = host.journal.source("s").await.unwrap();
    let first = sources.clone();
    while sources == first {
        tokio::task::yield_now().await;
        sources = host.journal.source("s").await.unwrap();
    }
    host.kill().await;
    // It would belong to the same read, had there been no crash.
    host.sql("insert into t values (9999, 0)");
    host.start().await;
    let appends = host.appends_until(9999).await;
    let events: Vec<_> = appends.iter().flat_map(|append| &append.events).collect();
    assert_eq!(events.len(), 5001);
    assert!(events.windows(2).all(|pair| pair[0].position < pair[1].position));
    let (large, last) = events.split_at(5000);
    assert_eq!(large.iter().filter(|event| event.last_of_transaction).count(), 1);
    assert!(large.iter().all(|event| event.transaction == large[4999].position.commit), "still one transaction");
    assert!(last[0].transaction > large[0].transaction);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_crashes_under_two_writers_lose_and_double_nothing() {
    let mut host =
        Host::new("create table t(id integer primary key, v unique); create table hot(id integer primary key, v)")
            .await;
    host.sql("insert into hot values (1, 0)");
    let writer = |from: u64| {
        let mut sql = String::new();
        for id in from..from + 1200 {
            sql.push_str(&match id % 6 {
                0 => format!("begin; insert into t values ({id}, '{id}'); update hot set v = v + 1; commit;\n"),
                1 => format!("replace into t values ({}, '{id}');\n", id - 1),
                2 => format!("insert into t values ({id}, '{id}') on conflict do nothing; delete from t where id = {};\n", id - 2),
                3 => format!("replace into t values ({id}, '{}');\n", id - 1),
                4 => format!("update or replace t set v = '{}' where id = {};\n", id - 1, from + 3),
                _ => format!("begin; insert into t values ({id}, '{id}'); update hot set v = v + 1; rollback; update hot set v = v + 1;\n"),
            });
        }
        sql
    };
    let mut writers = [1_200, 60_000].map(|from| host.database.meanwhile(&writer(from)));
    let mut seed = 7_u64;
    for _ in 0..30 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A moment of any length: that is what is tried here.
        tokio::time::sleep(Duration::from_millis(seed >> 33 & 63)).await;
        host.kill().await;
        host.begin();
    }
    for writer in &mut writers {
        assert!(writer.wait().unwrap().success());
    }
    host.sql("insert into t values (999999, null)");
    let changes = host.changes_until(999_999).await;
    assert!(changes.len() > 2_000, "{}", changes.len());
    let mut folded = BTreeMap::new();
    fold(&mut folded, changes.iter().filter(|change| &*change.table == "t"));
    assert_eq!(folded, table(&host.database.path));
    let hot: Vec<_> = changes.iter().filter(|change| &*change.table == "hot").collect();
    for (counter, change) in hot.iter().enumerate() {
        assert_eq!(change.after.as_deref(), Some(format!(r#"{{"id":1,"v":{counter}}}"#).as_str()));
    }
    assert_eq!(host.sql("select v from hot"), (hot.len() - 1).to_string());
    assert!(host.gaps().await.is_empty());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_put_in_the_files_place_is_a_gap() {
    let mut host = Host::new(TABLE).await;
    host.sql("insert into t values (1, 0)");
    host.changes_until(1).await;
    let backup = host.folder.path().join("backup.db");
    host.sql(&format!(".backup {}", backup.display()));
    host.sql("insert into t values (2, 0)");
    host.changes_until(2).await;
    let before = host.journal.source("s").await.unwrap().unwrap();
    // While it runs, as an operator would do it.
    std::fs::remove_file(format!("{}-wal", host.database.path.display())).unwrap();
    std::fs::remove_file(format!("{}-shm", host.database.path.display())).unwrap();
    std::fs::rename(&backup, &host.database.path).unwrap();
    host.records(|record| matches!(&record.body, RecordBody::Control(control) if control.is_loss())).await;
    host.health(|health| health.state == SourceState::Running).await;
    // It has two rows less than nothing: the next change may get a number that was there before.
    host.sql("insert into t values (3, 0)");
    let appends = host.appends_until(3).await;
    let last = appends.last().unwrap();
    assert_ne!(last.incarnation, before.incarnation);
    assert_eq!(host.gaps().await.len(), 1);
    host.stop().await;
    // And it isn't told again.
    host.start().await;
    assert_eq!(host.gaps().await.len(), 1);
    host.stop().await;
}
