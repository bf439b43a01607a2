//! Tables that come, and tables that change their form.

use super::super::super::SourceState;
use super::*;

pub(super) async fn a_new_table_is_followed<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    host.sql(&W::table("n", "w text"));
    host.health(|health| health.tables.iter().any(|table| &**table == "n")).await;
    host.sql("insert into n values (5, 'n')");
    host.sql("insert into t values (1, 'a')");
    let all = host.changes_until(1).await;
    let told: Vec<_> = all.iter().map(|change| (&*change.table, change.after.as_deref().unwrap())).collect();
    assert_eq!(told, [("n", r#"{"id":5,"w":"n"}"#), ("t", r#"{"id":1,"v":"a"}"#)]);
    assert_eq!(host.gaps().await.len(), 0);
    host.stop().await;
}

pub(super) async fn a_table_that_is_missing_is_waited_for_while_the_others_go_on<W: World>() {
    let mut host = Host::over(W::open(), "tables = [\"t\", \"later\"]").await;
    host.sql(&table::<W>());
    host.begin();
    host.lacks("table later does not exist").await;
    host.sql("insert into t values (1, 'a')");
    assert_eq!(host.changes_until(1).await.len(), 1);
    host.sql(&W::table("later", "v text"));
    host.health(|health| health.state == SourceState::Running).await;
    host.stop().await;
}

/// What brings values that no event told is a gap, and nothing else.
pub(super) async fn a_form_that_changes_while_nobody_reads<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    let made_anew = format!("drop table t; {}", W::table("t", "v text, w integer"));
    let steps = [
        ("alter table t add column w integer", r#"{"id":ID,"v":null,"w":null}"#, false),
        ("alter table t add column x integer default 7", r#"{"id":ID,"v":null,"w":null,"x":7}"#, true),
        ("alter table t rename column x to y", r#"{"id":ID,"v":null,"w":null,"y":7}"#, true),
        ("create index on_v on t (v)", r#"{"id":ID,"v":null,"w":null,"y":7}"#, false),
        (&made_anew, r#"{"id":ID,"v":null,"w":null}"#, true),
    ];
    for (at, (sql, expected, gap)) in steps.into_iter().enumerate() {
        let id = 10 * (at + 1);
        host.sql(&format!("insert into t (id) values ({id})"));
        host.changes_until(id).await;
        let gaps = host.gaps().await.len();
        host.end().await;
        for statement in sql.split("; ") {
            host.sql(statement);
        }
        let mut before = 0;
        for again in 1..=2 {
            host.start().await;
            host.sql(&format!("insert into t (id) values ({})", id + again));
            let all = host.changes_until(id + again).await;
            let expected = expected.replace("ID", &(id + again).to_string());
            assert_eq!(all.last().unwrap().after.as_deref(), Some(expected.as_str()), "{sql}");
            let told = &host.gaps().await[gaps..];
            assert_eq!(!told.is_empty(), gap, "{sql}: {told:?}");
            assert!(again == 1 || told.len() == before, "{sql}: told again, {told:?}");
            before = told.len();
            host.end().await;
        }
        host.start().await;
    }
    host.stop().await;
}
