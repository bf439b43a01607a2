//! Tables whose rows get other keys.

use super::*;

const OTHER: &str = "alter table t drop constraint t_pkey, add primary key (tenant, id)";

/// What was told of `t`: its changes by their keys, and between them that its form is another, and gaps.
async fn told(host: &Host, until: &str) -> Vec<String> {
    let records = host.records(|record| changes(record).any(|change| &*change.key == until)).await;
    let mut told = Vec::new();
    for record in &records {
        match &record.body {
            RecordBody::Control(Control::SchemaChanged { change, .. }) => told.push(change.to_string()),
            RecordBody::Control(control) if control.is_loss() => told.push("gap".to_owned()),
            _ => told.extend(changes(record).map(|change| change.key.to_string())),
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn another_primary_key_is_told_before_the_first_row_that_has_it_and_is_a_gap() {
    let other = "its rows are told apart by tenant, id instead of id";
    for while_stopped in [false, true] {
        let mut host =
            Host::new("create table t (id int primary key, tenant int not null); alter table t replica identity full")
                .await;
        host.sql("insert into t values (1, 7)");
        host.changes_until(1).await;
        if while_stopped {
            host.end().await;
        }
        host.sql(OTHER);
        host.sql("insert into t values (1, 8)");
        if while_stopped {
            host.start().await;
        }
        assert_eq!(told(&host, "[8,1]").await, ["1", other, "gap", "[8,1]"], "stopped: {while_stopped}");
        let answer = events(&host.snapshot("p").await);
        let keys: Vec<_> = super::super::host::rows(&answer).into_iter().map(|row| &*row.key).collect();
        assert_eq!(keys, ["[7,1]", "[8,1]"], "as in the stream");
        host.sql("update t set tenant = 9 where tenant = 8");
        assert_eq!(told(&host, "[9,1]").await[4..], ["[8,1]", "[9,1]"], "it is told once");
        host.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_changed_before_the_first_row_is_told_too() {
    let mut host =
        Host::new("create table t (id int primary key, tenant int not null); alter table t replica identity full; insert into t values (1, 7)").await;
    let before = events(&host.snapshot("p").await);
    assert_eq!(&*super::super::host::rows(&before)[0].key, "1");
    let gaps = host.gaps().await.len();
    host.sql(OTHER);
    host.sql("insert into t values (1, 8)");
    host.changes_until("[8,1]").await;
    assert_eq!(host.gaps().await.len(), gaps + 1, "{:?}", host.gaps().await);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_primary_key_another_column_is_another_key() {
    let mut host = Host::new("create table t (id int, v text); alter table t replica identity full").await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until(r#"[1,"a"]"#).await;
    host.sql("alter table t add column w text");
    host.sql("delete from t where id = 1");
    let key = r#"[1,"a",null]"#;
    let change = "column w is new; its rows are told apart by id, v, w instead of id, v";
    assert_eq!(told(&host, key).await, [r#"[1,"a"]"#, change, "gap", key]);
    host.stop().await;
}
