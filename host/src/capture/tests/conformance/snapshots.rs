//! A pipeline gets the rows that are there, and knows exactly which changes they contain.

use std::collections::BTreeSet;

use crate::event::{Event, Operation};
use crate::journal::RecordBody;

use super::super::super::SourceState;
use super::*;

pub(super) async fn a_snapshot_in_the_midst_of_writes_is_exact_against_the_stream<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    for id in 0..40 {
        host.sql(&format!("insert into t values ({id}, 'first')"));
    }
    for round in 0..8 {
        let mut writers = [0, 1, 2, 3].map(|n| host.database.meanwhile(&writes(round * 10 + n, 150)));
        let answer = host.snapshot(&format!("p{round}")).await;
        for writer in &mut writers {
            assert!(writer.wait().unwrap().success());
        }
        let last = (5000 + round).to_string();
        host.sql(&format!("insert into t values ({last}, 'last')"));
        let records = host.records(|record| changes(record).any(|change| *change.key == *last)).await;
        let part = answer[0].snapshot.as_ref().unwrap();
        let all = events(&appends(&records));
        let until: Vec<&Event> = all.iter().filter(|event| event.position <= part.contains).collect();
        // What the stream had made of the table up to there, is what the snapshot shows of it.
        let (mut told, contained) = (Table::new(), until.len());
        fold(&mut told, rows(until));
        let answered = events(&answer);
        let shown = rows(&answered);
        assert!(shown.iter().all(|row| row.operation == Operation::Snapshot));
        let shown = shown.into_iter().map(|row| (row.key.to_string(), row.after.as_deref().unwrap().to_owned()));
        assert_eq!(shown.collect::<Table>(), told, "round {round}");
        assert!(answered.windows(2).all(|pair| pair[0].position < pair[1].position), "each row has a place of its own");
        assert_eq!(answered.iter().filter(|event| event.last_of_transaction).count(), 1);
        let is_of = |append: &crate::journal::Append| append.snapshot.as_ref() == Some(part);
        let place = records.iter().position(|record| matches!(&record.body, RecordBody::Append(a) if is_of(a)));
        let before = events(&appends(&records[..place.unwrap()])).len();
        assert!(before >= contained, "what the rows contain stands before them");
    }
    host.stop().await;
}

pub(super) async fn what_was_there_before_is_a_row_and_no_event<W: World>() {
    let mut host = Host::over(W::open(), "").await;
    host.sql(&table::<W>());
    host.sql("insert into t values (1, 'before')");
    host.start().await;
    host.sql("insert into t values (2, 'after')");
    assert_eq!(host.changes_until(2).await.len(), 1);
    assert_eq!(events(&host.snapshot("p").await).len(), 2);
    assert_eq!(host.gaps().await.len(), 0);
    host.stop().await;
}

pub(super) async fn an_empty_table_is_answered_too<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    let answer = host.snapshot("p").await;
    assert!(answer.len() == 1 && answer[0].events.is_empty());
    host.stop().await;
}

pub(super) async fn a_row_looks_alike_in_a_snapshot_and_in_a_change<W: World>() {
    let schema = format!(
        "{}; {}",
        W::table("t", &format!("v text, n bigint, f float, b {}", W::BYTES)),
        W::table("u", "v text")
    );
    let mut host = Host::<W>::new(&schema).await;
    for (id, row) in [
        "null, null, null, null".to_owned(),
        format!("'', 0, 0.1, {}", W::bytes("")),
        format!("'it''s \"so\" \\ ' || 'ñandú 🚓', 9007199254740993, -1e300, {}", W::bytes("00ff")),
        format!("'{{\"a\":[1]}}', -9223372036854775807, 12345.678, {}", W::bytes("225c0a")),
        format!("'null', 9007199254740991, 5, {}", W::bytes(&"5a".repeat(3000))),
    ]
    .iter()
    .enumerate()
    {
        host.sql(&format!("insert into t values ({}, {row})", id + 1));
    }
    host.sql(&format!("insert into t values (10, {}, 1, 1, null)", W::long('l', 600_000)));
    host.sql(&format!("insert into t values (11, {}, 1, 1, null)", W::long('l', 300_000)));
    host.sql("insert into u values (1, 'another')");
    host.sql("insert into t values (1000, 'last', 0, 0, null)");
    let show = |change: &&crate::event::Change| {
        let missing: Vec<_> = change.missing.iter().map(|m| (m.column.to_string(), m.bytes)).collect();
        (change.table.to_string(), change.key.to_string(), change.after.as_deref().map(str::to_owned), missing)
    };
    let streamed = events(&host.appends_until(1000).await);
    let request = host.ask("p", &["t", "u"]).await;
    let answered = events(&host.answer(request).await);
    let [streamed, answered] =
        [&streamed, &answered].map(|events| rows(events).iter().map(show).collect::<BTreeSet<_>>());
    assert!(streamed.iter().any(|(.., row, _)| row.as_ref().is_some_and(|row| row.ends_with(r#""b":"00FF"}"#))));
    assert_eq!((streamed.len(), answered), (9, streamed));
    host.stop().await;
}

pub(super) async fn a_crash_in_the_midst_of_a_snapshot_leaves_no_half_of_it<W: World>() {
    const ROWS: usize = 20_000;
    let mut host = Host::<W>::new(&table::<W>()).await;
    let numbers = format!("with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS})");
    host.sql(&format!("insert into t {numbers} select i, 'v' from n"));
    host.changes_until(ROWS).await;
    host.ask("p", &["t"]).await;
    host.health(|health| health.snapshots.iter().any(|taking| taking.rows > 1_000 && taking.bytes > 100_000)).await;
    host.kill().await;
    host.begin();
    let answer = host.snapshot("p").await;
    assert!(answer.iter().all(|append| append.events.len() <= 1_000));
    let answered = events(&answer);
    let keys: BTreeSet<_> = rows(&answered).into_iter().map(|row| row.key.clone()).collect();
    assert_eq!((answered.len(), keys.len()), (ROWS, ROWS));
    host.stop().await;
}

pub(super) async fn a_request_is_answered_even_if_the_database_comes_later<W: World>() {
    let mut host = Host::over(W::open(), "").await;
    host.sql(&table::<W>());
    host.sql("insert into t values (1, 'a')");
    host.database.away();
    host.begin();
    host.failed("").await;
    let old = host.ask("p", &["t"]).await;
    let requests = [host.ask("p", &["t"]).await, host.ask("q", &["t"]).await];
    host.database.back();
    for request in requests {
        assert_eq!(events(&host.answer(request).await).len(), 1);
    }
    host.sql("insert into t values (2, 'b')");
    let records = host.records(|record| changes(record).any(|change| &*change.key == "2")).await;
    let is_old = |append: &crate::journal::Append| append.snapshot.as_ref().is_some_and(|part| part.request == old);
    let answers = records.iter().filter(|record| matches!(&record.body, RecordBody::Append(a) if is_old(a)));
    assert_eq!(answers.count(), 0, "the newest request of a pipeline counts");
    host.stop().await;
}

pub(super) async fn a_table_that_isnt_watched_is_waited_for_and_it_is_said<W: World>() {
    let mut host = Host::over(W::open(), "tables = [\"t\"]").await;
    host.sql(&table::<W>());
    host.sql(&W::table("u", "v text"));
    host.sql("insert into u values (1, 'a')");
    host.start().await;
    let request = host.ask("p", &["t", "u"]).await;
    let help = r#"pipeline p wants the rows of table u, which isn't watched: add "u" to the `tables` of source s"#;
    assert_eq!(host.lacks("u").await, help);
    let other = host.ask("q", &["t"]).await;
    host.answer(other).await;
    host.sql("insert into t values (1, 'a')");
    let records = host.records(|record| changes(record).any(|change| &*change.key == "1")).await;
    let is_of = |append: &crate::journal::Append| append.snapshot.as_ref().is_some_and(|part| part.request == request);
    let half = records.iter().any(|record| matches!(&record.body, RecordBody::Append(a) if is_of(a)));
    assert!(!half, "half a snapshot would be a whole one to the pipeline");
    host.snapshot("p").await;
    host.health(|health| health.state == SourceState::Running).await;
    host.end().await;
    host.settings[0].tables.push("u".into());
    host.start().await;
    let request = host.ask("p", &["t", "u"]).await;
    assert_eq!(events(&host.answer(request).await).len(), 2);
    host.stop().await;
}
