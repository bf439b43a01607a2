//! Tables are changed while capture runs.

use super::*;

const TEST: &str = "insert into t values (1, 'a')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_table_and_a_new_column_are_followed() {
    let mut host = Host::new(TABLE).await;
    host.sql("alter table t add column w");
    host.sql("create table n(id integer primary key, v)");
    let made = "select count(*) from sqlite_schema where name = '_relevo_insert_n' \
        or name = '_relevo_insert_t' and sql like '%\"w\"%'";
    host.sql_until(made, "2").await;
    host.sql("insert into n values (5, 'n'); insert into t values (1, 1, 'w')");
    let changes = host.changes_until(1).await;
    assert_eq!(changes[0].after.as_deref(), Some(r#"{"id":5,"v":"n"}"#));
    assert_eq!(changes[1].after.as_deref(), Some(r#"{"id":1,"v":1,"w":"w"}"#));
    assert!(host.gaps().await.is_empty());
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_is_renamed_is_a_gap_and_no_change_is_lost() {
    let mut host = Host::new(TABLE).await;
    host.sql(TEST);
    // Before capture can know of it.
    host.sql("begin; alter table t rename column v to w; insert into t values (2, 'b'); commit");
    host.records(|record| matches!(&record.body, RecordBody::Control(control) if control.is_loss())).await;
    host.sql("update t set w = 'c' where id = 2; insert into t values (3, 'd')");
    let changes = host.changes_until(3).await;
    let rows: Vec<_> = changes.iter().map(|change| (change.before.as_deref(), change.after.as_deref())).collect();
    assert_eq!(
        rows,
        [
            (None, Some(r#"{"id":1,"v":"a"}"#)),
            (None, Some(r#"{"id":2,"v":"b"}"#)),
            (Some(r#"{"id":2,"w":"b"}"#), Some(r#"{"id":2,"w":"c"}"#)),
            (None, Some(r#"{"id":3,"w":"d"}"#)),
        ]
    );
    let gaps = host.gaps().await;
    assert!(gaps.len() == 1 && gaps[0].contains("column w of table t"), "{gaps:?}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_can_be_dropped_only_after_detach() {
    let mut host = Host::new("create table t(id integer primary key, v, w)").await;
    let why = refused(&host.database.path, "alter table t drop column w");
    assert!(why.contains("error in trigger _relevo_"), "{why}");
    host.sql("insert into t values (1, 'a', 'b')");
    assert_eq!(host.changes_until(1).await[0].after.as_deref(), Some(r#"{"id":1,"v":"a","w":"b"}"#), "it goes on");
    host.stop().await;
    super::super::detach(&host.settings[0], host.folder.path()).await.unwrap();
    host.sql("alter table t drop column w");
    host.start().await;
    assert_eq!(host.gaps().await.len(), 1);
    host.sql("insert into t values (2, 'c')");
    assert_eq!(host.changes_until(2).await.last().unwrap().after.as_deref(), Some(r#"{"id":2,"v":"c"}"#));
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_an_earlier_format_is_said_and_can_be_detached() {
    // As the first format was.
    let earlier = "create table t(id integer primary key, v);
        create table _relevo_meta(key text primary key, value text not null) without rowid;
        create table _relevo_changes(seq integer primary key autoincrement, tbl text not null, op text not null, pk text, old text, new text,
            ts integer not null default 0, token text not null default (lower(hex(randomblob(8)))));
        create table _relevo_peek(tbl text not null, pk text, via text not null, rid integer, seq integer, old text);
        create trigger _relevo_delete_t after delete on t begin insert into _relevo_changes(tbl, op, pk) values ('t', 'D', quote(old.id)); end;
        insert into _relevo_meta values ('format', '1'), ('incarnation', 'x'), ('table:t', '[\"id\",\"v\"]');
        insert into _relevo_changes(tbl, op) values ('', '=')";
    let mut host = Host::stopped("").await;
    sqlite3(&host.database.path, earlier);
    host.begin();
    let failed = host.health(|health| matches!(&health.state, SourceState::Failed { .. })).await;
    let SourceState::Failed { reason } = failed.state else { unreachable!() };
    assert!(reason.contains("format 1, this relevo reads 2") && reason.contains("`relevo capture detach`"), "{reason}");
    assert_eq!(host.sql("select count(*) from pragma_table_info('_relevo_changes') where name = 'old'"), "1");
    host.stop().await;
    let done = super::super::detach(&host.settings[0], host.folder.path()).await.unwrap();
    assert_eq!(done.out, ["1 triggers of relevo's own", "3 tables of relevo's own"]);
    assert_eq!(host.sql("select count(*) from sqlite_schema where name like '%relevo%'"), "0");
    host.start().await;
    host.sql(TEST);
    assert_eq!(host.changes_until(1).await.len(), 1);
    host.stop().await;
}
