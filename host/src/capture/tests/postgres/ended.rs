//! What the server refuses to stream, and rows that can't be told of.

use super::*;

/// Waits until the source has begun anew after a gap.
async fn begun_anew(host: &Host, before: &str) {
    let mut head = host.journal.watch_head();
    let begun = async {
        // Not yet while the gap is told alone.
        let is_new = |known: &crate::journal::SourceState| *known.incarnation != *before && known.token.contains('/');
        while !host.journal.source("s").await.unwrap().as_ref().is_some_and(is_new) {
            head.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(LONG, begun).await.is_err() {
        panic!("it stands where it was; {:?}", host.running.as_ref().map(|(capture, _)| capture.health()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_was_dropped_is_a_gap_and_the_source_begins_anew_with_another_slot() {
    let mut host = Host::new(TABLE).await;
    if host.sql("show server_version_num").parse::<u32>().unwrap() >= 180_000 {
        println!("from PostgreSQL 18 on the server leaves out what it can't tell, and goes on");
        return;
    }
    for round in 1..=2 {
        host.sql(&format!("insert into t values ({round}, 'seen')"));
        host.changes_until(&round.to_string()).await;
        let before = host.journal.source("s").await.unwrap().unwrap().incarnation;
        if round == 2 {
            host.end().await;
        }
        host.sql("drop publication relevo_s");
        host.sql(&format!("insert into t values (1{round}, 'unseen')"));
        if round == 2 {
            host.begin();
        }
        begun_anew(&host, &before).await;
        host.health(|health| health.state == SourceState::Running).await;
        let gaps = host.gaps().await;
        let told = gaps.iter().filter(|gap| gap.contains("publication relevo_s was dropped")).count();
        assert_eq!(told, round, "{gaps:?}");
    }
    host.sql("insert into t values (3, 'seen')");
    let keys: Vec<_> = host.changes_until("3").await.iter().map(|change| change.key.to_string()).collect();
    assert_eq!(keys, ["1", "2", "3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wide_key_under_the_default_identity_is_told_when_another_column_changes() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql("create table t (id text primary key, v text, big text); alter table t alter id set storage external");
    host.begin();
    // There is advice about the identity.
    host.lacks("is not FULL").await;
    host.sql(
        "insert into t select string_agg(md5(n::text), ''), 'a', repeat('x', 9000) from generate_series(1, 70) as n",
    );
    host.sql("update t set v = 'b'; insert into t values ('end')");
    let all = host.changes_until("end").await;
    let key = host.sql("select id from t where v = 'b'");
    let told: Vec<_> = all.iter().map(|change| (change.operation, &*change.key)).collect();
    let (insert, update) = ((Operation::Insert, key.as_str()), (Operation::Update, key.as_str()));
    assert_eq!(told, [insert, update, (Operation::Insert, "end")]);
    assert!(all[1].after.as_ref().unwrap().starts_with(&format!("{{\"id\":\"{key}\",\"v\":\"b\"")), "{:?}", all[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_without_a_key_that_is_too_large_for_a_record_is_told_without_its_largest_columns() {
    let large = "create table u (v text, w text, small int); alter table u replica identity full";
    let host = Host::new(&format!("{TABLE}; {large}")).await;
    host.sql("insert into u values (repeat('x', 600000), repeat('y', 300000), 1)");
    host.sql("update u set small = 2; delete from u; insert into t values (1, 'seen')");
    let records = host.records(|record| changes(record).any(|change| &*change.key == "1")).await;
    let all: Vec<Change> = records.iter().flat_map(|record| changes(record).cloned().collect::<Vec<_>>()).collect();
    let told: Vec<_> = all.iter().filter(|change| &*change.table == "u").collect();
    let operations: Vec<_> = told.iter().map(|change| change.operation).collect();
    let (insert, delete) = (Operation::Insert, Operation::Delete);
    assert_eq!(operations, [insert, delete, insert, delete], "an update is a delete and an insert");
    assert_eq!((&told[0].key, &told[2].key), (&told[1].key, &told[3].key), "each delete is of what was inserted");
    assert_ne!(told[0].key, told[2].key);
    let missing: Vec<_> = told[0].missing.iter().map(|missing| (&*missing.column, missing.bytes)).collect();
    assert_eq!(missing, [("v", 600_000)]);
    assert!(told[0].after.as_ref().unwrap().ends_with(",\"small\":1}"), "{:?}", told[0].key);
    // The rows that are there have the same keys.
    host.sql("insert into u values (repeat('x', 600000), repeat('y', 300000), 1)");
    let request = host.ask("p", &["u"]).await;
    let rows = host.answer(request).await;
    let key = |event: &std::sync::Arc<crate::event::Event>| match &event.body {
        crate::event::Body::Change(change) if &*change.table == "u" => Some(change.key.clone()),
        _ => None,
    };
    let keys: Vec<_> = rows.iter().flat_map(|append| append.events.iter().filter_map(key)).collect();
    assert_eq!(keys, [told[0].key.clone()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_key_was_not_sent_holds_capture_up_and_what_is_said_gets_it_past() {
    let mut host = Host::new(&format!("{TABLE}; create table u (v int); alter table u replica identity full")).await;
    host.sql("insert into t values (1, 'seen')");
    host.changes_until("1").await;
    host.end().await;
    // For a while nothing tells its rows apart, which the server lets be for an INSERT.
    host.sql("alter table u replica identity default");
    host.sql("insert into u values (1)");
    host.sql("alter table u replica identity full");
    host.sql("insert into t values (2, 'behind it')");
    host.begin();
    let reason = host.failed("can't be told of").await;
    assert!(reason.starts_with("table u: ") && reason.contains("list all other tables in `tables`"), "{reason}");
    assert!(!host.running.as_ref().unwrap().0.ready());
    host.end().await;
    host.settings[0].tables = vec!["t".into()];
    host.start().await;
    assert_eq!(host.changes_until("2").await.len(), 2);
}
