//! Partitions that come, go, and are written to by themselves.

use super::*;

const ROOT: &str = "create table t (id bigint primary key, v text) partition by range (id);
     create table low partition of t for values from (0) to (100);
     create table high partition of t for values from (100) to (200);
     alter table t replica identity full; alter table low replica identity full; alter table high replica identity full;";

/// Waits for as many gaps.
async fn gaps(host: &Host, count: usize) -> Vec<String> {
    let wait = async {
        while host.gaps().await.len() < count {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(LONG, wait).await;
    let gaps = host.gaps().await;
    assert!(waited.is_ok() && gaps.len() == count, "not {count}: {gaps:?}");
    gaps
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_or_go_with_a_partition_are_a_gap() {
    let mut host = Host::over(Postgres::start(), "tables = [\"t\"]").await;
    host.sql(ROOT);
    host.start().await;
    host.sql("insert into t values (1, 'a'), (101, 'b')");
    host.changes_until("101").await;
    host.sql("alter table t detach partition high");
    assert!(gaps(&host, 1).await[0].contains("partition high"));
    host.sql("alter table t attach partition high for values from (100) to (200)");
    // A row of it, before anybody looked.
    host.sql("insert into t values (102, 'c')");
    host.changes_until("102").await;
    assert!(gaps(&host, 2).await[1].contains("partition high"));
    host.sql("truncate high");
    assert!(gaps(&host, 3).await[2].contains("partition high"));
    // While nobody looks.
    host.end().await;
    host.sql("drop table low");
    host.start().await;
    gaps(&host, 4).await;
    // Made and filled in one transaction, and then attached.
    host.sql("begin; create table low (id bigint primary key, v text); alter table low replica identity full; insert into low values (5, 'e'); alter table t attach partition low for values from (0) to (100); commit");
    gaps(&host, 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_emptied_as_a_whole_is_told_by_its_event_and_one_partition_of_it_is_a_gap() {
    let mut host = Host::over(Postgres::start(), "tables = [\"t\"]").await;
    host.sql(ROOT);
    host.start().await;
    host.sql("insert into t values (1, 'a'), (101, 'b')");
    host.sql("truncate t");
    host.sql("insert into t values (102, 'c')");
    host.changes_until("102").await;
    let look = async |host: &mut Host| {
        host.end().await;
        host.start().await;
        host.gaps().await
    };
    assert_eq!(look(&mut host).await, [""; 0]);
    host.sql("truncate t");
    host.sql("insert into t values (103, 'd'), (3, 'e')");
    host.changes_until("3").await;
    host.end().await;
    host.sql("truncate high; truncate low");
    host.start().await;
    let gaps = host.gaps().await;
    assert!(gaps.len() == 1 && gaps[0].contains("partition low") && gaps[0].contains("partition high"), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_made_as_one_is_no_gap() {
    let mut host = Host::new(ROOT).await;
    host.sql("create table more partition of t for values from (200) to (300); alter table more replica identity full");
    host.sql("insert into t values (201, 'a')");
    host.changes_until("201").await;
    host.end().await;
    host.sql("create table yet partition of t for values from (300) to (400) partition by range (id); create table deep partition of yet for values from (300) to (350); alter table yet replica identity full; alter table deep replica identity full");
    host.sql("insert into t values (301, 'b'); truncate t; insert into t values (302, 'c')");
    host.start().await;
    host.changes_until("302").await;
    // Until it was looked at all.
    host.sql("create table n (id int primary key); alter table n replica identity full");
    host.health(|health| health.tables.iter().any(|table| &**table == "n")).await;
    host.sql("create table m (id int primary key); alter table m replica identity full");
    host.health(|health| health.tables.iter().any(|table| &**table == "m")).await;
    let gaps = host.gaps().await;
    assert!(gaps.iter().all(|gap| gap.contains("truncate")), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_partition_keeps_its_table_and_tells_no_null_that_is_not_there() {
    let host = Host::new(ROOT).await;
    host.sql("create table more partition of t for values from (200) to (300)");
    host.sql("insert into t values (201, 'new'), (1, null)");
    host.sql("update t set v = 'newer' where id = 201; delete from t where id = 201; delete from t where id = 1");
    let reason = host.lacks("REPLICA IDENTITY FULL").await;
    assert!(reason.contains("run: ALTER TABLE \"public\".\"more\" REPLICA IDENTITY FULL;"), "{reason}");
    host.sql("update t set v = 'x' where id = 1; insert into t values (202, 'new'); delete from t where id = 202; insert into t values (203, 'b')");
    let all = host.changes_until("203").await;
    let deletes: Vec<&Change> = all.iter().filter(|change| change.operation == Operation::Delete).collect();
    for delete in [deletes[0], deletes[2]] {
        assert_eq!(delete.before.as_deref(), Some(&*format!("{{\"id\":{}}}", delete.key)));
        assert_eq!(&*delete.missing[0].column, "v");
    }
    assert_eq!(host.gaps().await, Vec::<String>::new());
    // From the ALTER on everything is told.
    host.sql("alter table more replica identity full; insert into t values (204, null); delete from t where id = 204; insert into t values (205, 'c')");
    let all = host.changes_until("205").await;
    assert_eq!(all[all.len() - 2].before.as_deref(), Some(r#"{"id":204,"v":null}"#));
    host.health(|health| health.state == SourceState::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_table_sends_that_is_not_watched_any_more_is_not_told() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(&format!("{ROOT}; create table n (id bigint primary key, v text); alter table n replica identity full"));
    host.sql("create publication relevo_s for all tables with (publish_via_partition_root = true)");
    host.start().await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    host.sql(
        "create table odd partition of t for values from (200) to (300); alter table odd replica identity nothing",
    );
    host.health(|health| health.tables.len() == 1).await;
    host.sql("insert into t values (2, 'b'); insert into n values (77, 'c')");
    let records = host.records(|record| changes(record).any(|change| &*change.key == "77")).await;
    assert!(records.iter().flat_map(|record| changes(record)).all(|change| &*change.key != "2"));
    host.sql("alter table odd replica identity full");
    host.health(|health| health.tables.len() == 2).await;
    host.sql("insert into t values (3, 'd')");
    host.changes_until("3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_row_of_a_partition_costs_no_look_at_the_whole_catalog() {
    let mut host = Host::over(Postgres::with(&["log_statement=all"]), "").await;
    host.sql(
        "create table t (id bigint primary key, v text) partition by range (id); alter table t replica identity full",
    );
    for n in 0..30 {
        host.sql(&format!(
            "create table t{n} partition of t for values from ({n}0) to ({n}9); alter table t{n} replica identity full"
        ));
    }
    host.start().await;
    let looks = || host.database.log_text().matches("row_security_active").count();
    let before = looks();
    for n in 0..30 {
        host.sql(&format!("insert into t values ({n}1, 'a')"));
    }
    host.changes_until("291").await;
    let looks = looks() - before;
    assert!(looks < 10, "{looks} looks for 30 partitions");
}
