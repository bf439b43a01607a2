//! What is told of a change, and in which order.

use crate::event::{Body, Micros, Operation};
use crate::journal::{Record, RecordBody};

use super::*;

pub(super) async fn inserts_updates_and_deletes_come_in_order_with_both_rows<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    host.sql("insert into t values (1, 'a'), (2, 'b')");
    host.sql("update t set v = 'c' where id = 1");
    host.sql("delete from t where id = 2");
    host.sql("insert into t values (3, null)");
    let all = host.changes_until(3).await;
    let told: Vec<_> = all.iter().map(|c| (c.operation, &*c.key, c.before.as_deref(), c.after.as_deref())).collect();
    assert_eq!(
        told,
        [
            (Operation::Insert, "1", None, Some(r#"{"id":1,"v":"a"}"#)),
            (Operation::Insert, "2", None, Some(r#"{"id":2,"v":"b"}"#)),
            (Operation::Update, "1", Some(r#"{"id":1,"v":"a"}"#), Some(r#"{"id":1,"v":"c"}"#)),
            (Operation::Delete, "2", Some(r#"{"id":2,"v":"b"}"#), None),
            (Operation::Insert, "3", None, Some(r#"{"id":3,"v":null}"#)),
        ]
    );
    assert_eq!((&all[2].changed, host.gaps().await.len()), (&vec!["v".into()], 0));
    host.stop().await;
}

pub(super) async fn what_is_rolled_back_is_no_event<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    host.sql("insert into t values (1, 'a')");
    host.sql("begin; insert into t values (2, 'b'); update t set v = 'c' where id = 1; rollback");
    host.sql("begin; insert into t values (3, 'd'); savepoint s; delete from t where id = 1; rollback to savepoint s; commit");
    let all = host.changes_until(3).await;
    assert_eq!(all.iter().map(|change| &*change.key).collect::<Vec<_>>(), ["1", "3"]);
    host.stop().await;
}

pub(super) async fn a_change_of_the_key_is_a_delete_and_an_insert<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    host.sql("insert into t values (1, 'a')");
    host.sql("update t set id = 2 where id = 1");
    let all = host.changes_until(2).await;
    let told: Vec<_> =
        all[1..].iter().map(|c| (c.operation, &*c.key, c.before.as_deref(), c.after.as_deref())).collect();
    assert_eq!(
        told,
        [
            (Operation::Delete, "1", Some(r#"{"id":1,"v":"a"}"#), None),
            (Operation::Insert, "2", None, Some(r#"{"id":2,"v":"a"}"#)),
        ]
    );
    host.stop().await;
}

pub(super) async fn a_hot_row_is_told_in_its_order_and_each_change_once<W: World>() {
    const WRITERS: usize = 4;
    const EACH: usize = 200;
    let mut host = Host::<W>::new(&W::table("t", "v integer")).await;
    host.sql("insert into t values (1, 0)");
    let steps = "update t set v = v + 1 where id = 1;\n".repeat(EACH);
    for writer in &mut [(); WRITERS].map(|()| host.database.meanwhile(&steps)) {
        assert!(writer.wait().unwrap().success());
    }
    host.sql("insert into t values (2, 0)");
    let all = host.changes_until(2).await;
    assert_eq!(all.len(), WRITERS * EACH + 2);
    let row = |v: usize| format!(r#"{{"id":1,"v":{v}}}"#);
    for (v, step) in all[1..=WRITERS * EACH].iter().enumerate() {
        let told = (step.before.as_deref(), step.after.as_deref());
        assert_eq!(told, (Some(row(v).as_str()), Some(row(v + 1).as_str())));
    }
    host.stop().await;
}

/// PostgreSQL keeps it out of line and doesn't send it again; SQLite's triggers write it again, or its size.
pub(super) async fn an_update_beside_a_large_value_tells_the_whole_row<W: World>() {
    let mut host = Host::<W>::new(&W::table("t", "large text, n integer")).await;
    // As little as possible of it repeats: what is short once compressed isn't kept out of line.
    let large: String =
        (0..20_000).map(|n: u64| format!("{:04x}", n.wrapping_mul(0x9E37_79B9) >> 7 & 0xffff)).collect();
    let script = format!("insert into t values (1, '{large}', 0);\nupdate t set n = 1 where id = 1;\n");
    assert!(host.database.meanwhile(&script).wait().unwrap().success());
    host.sql("insert into t values (2, null, 0)");
    let all = host.changes_until(2).await;
    assert_eq!((all[1].operation, &all[1].changed), (Operation::Update, &vec!["n".into()]));
    assert!(all[1].missing.is_empty() && all[1].before == all[0].after);
    assert_eq!(all[1].after.as_deref(), Some(format!(r#"{{"id":1,"large":"{large}","n":1}}"#).as_str()));
    host.stop().await;
}

pub(super) async fn a_row_too_large_for_a_record_comes_without_its_largest_column<W: World>() {
    let mut host = Host::<W>::new(&W::table("t", "a text, b text, c text")).await;
    host.sql(&format!("insert into t values (1, {}, {}, 'c')", W::long('a', 400_000), W::long('b', 300_000)));
    host.sql("insert into t values (2, '', '', '')");
    let all = host.changes_until(2).await;
    assert_eq!(
        all[0].missing.iter().map(|m| (&*m.column, m.bytes)).collect::<Vec<_>>(),
        [("a", 400_002)],
        "its bytes as JSON"
    );
    let rest: serde_json::Value = serde_json::from_str(all[0].after.as_deref().unwrap()).unwrap();
    assert!(rest == serde_json::json!({ "id": 1, "b": "b".repeat(300_000), "c": "c" }));
    host.stop().await;
}

pub(super) async fn what_is_excluded_never_enters<W: World>() {
    let mut host = Host::over(W::open(), "exclude = { t = [\"secret\"] }").await;
    host.sql(&W::table("t", "v text, secret text"));
    host.sql("insert into t values (1, 'a', 'x-y-z')");
    host.start().await;
    host.sql("insert into t values (2, 'b', 'x-y-z')");
    host.sql("update t set v = 'c', secret = 'x-y-z-1' where id = 2");
    host.sql("delete from t where id = 2");
    host.sql("insert into t values (3, 'd', null)");
    let streamed = host.appends_until(3).await;
    let all = [events(&streamed), events(&host.snapshot("p").await)].concat();
    let told = rows(&all);
    assert_eq!(told[1].after.as_deref(), Some(r#"{"id":2,"v":"c"}"#));
    assert_eq!((told.len(), told[4].after.as_deref()), (6, Some(r#"{"id":1,"v":"a"}"#)));
    assert!(!format!("{all:?}").contains("x-y-z") && !format!("{all:?}").contains("secret"), "{all:?}");
    host.stop().await;
}

pub(super) async fn watermarks_rise_and_never_run_ahead_of_a_change<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    for id in 1..=20 {
        host.sql(&format!("insert into t values ({id}, 'a')"));
    }
    host.changes_until(20).await;
    let tick = |record: &Record| match &record.body {
        RecordBody::Append(append) => match append.events.first().map(|event| &event.body) {
            Some(Body::Tick { up_to }) => Some(*up_to),
            _ => None,
        },
        _ => None,
    };
    let now = Micros::now();
    let records = host.records(|record| tick(record).is_some_and(|up_to| up_to > now)).await;
    let (mut last, mut ticks) = (Micros::default(), 0);
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
