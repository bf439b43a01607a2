//! Columns that must not enter.

use super::refusals::finding;
use super::*;
use crate::config::SourceSettings;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_key_must_not_enter_is_not_watched() {
    let settings = "exclude = { u = [\"email\"], i = [\"email\"], w = [\"email\"] }";
    let mut host = Host::over(Postgres::start(), settings).await;
    host.sql(&format!(
        "{TABLE};
         create table u (email text primary key, v int); alter table u replica identity full;
         create table i (id int primary key, email text not null); create unique index i_email on i (email);
         alter table i replica identity using index i_email;
         create table w (email text, v int); alter table w replica identity full;"
    ));
    host.begin();
    for table in ["u", "i"] {
        let found = finding(&host, &format!("table {table}: `exclude` names column email")).await;
        assert!(found.what.contains("key"), "{found}");
    }
    // Without a primary key the rest of the row is the key.
    host.health(|health| health.tables.len() == 2).await;
    for table in ["u (email)", "i (id, email)", "w (v, email)"] {
        let values = if table.starts_with('u') { "('secret@x')" } else { "(1, 'secret@x')" };
        host.sql(&format!("insert into {table} values {values}"));
    }
    host.sql("insert into t values (1, 'a')");
    let records = host.records(|record| changes(record).any(|change| &*change.table == "t")).await;
    let all: Vec<Change> = records.iter().flat_map(|record| changes(record).cloned().collect::<Vec<_>>()).collect();
    assert!(!format!("{all:?}").contains("secret@x"), "{all:?}");
    assert!(all.iter().any(|change| &*change.table == "w" && &*change.key == "1"), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_the_stream_never_has_may_be_excluded() {
    let mut host = Host::over(Postgres::start(), "exclude = { t = [\"g\"] }").await;
    host.sql("create table t (id bigint primary key, v text, g text generated always as (v || '!') stored)");
    host.sql("alter table t replica identity full; insert into t values (1, 'a')");
    host.start().await;
    host.sql("insert into t values (2, 'b')");
    assert_eq!(host.changes_until("2").await[0].after.as_deref(), Some(r#"{"id":2,"v":"b"}"#));
    assert_eq!(events(&host.snapshot("p").await).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_may_be_excluded_that_is_younger_than_what_is_read() {
    let mut host = Host::new(&format!("{TABLE}; alter table t add column old text")).await;
    host.sql("insert into t values (1, 'a', 'o')");
    host.changes_until("1").await;
    host.end().await;
    host.sql("insert into t values (2, 'b', 'o')");
    host.sql("alter table t drop column old; alter table t add column secret text; insert into t values (3, 'c', 's')");
    host.settings[0] =
        SourceSettings { exclude: [("t".into(), vec!["secret".into()])].into(), ..host.settings[0].clone() };
    host.start().await;
    let all = host.changes_until("3").await;
    let told: Vec<_> = all.iter().map(|change| change.after.as_deref().unwrap()).collect();
    assert_eq!(told, [r#"{"id":1,"v":"a","old":"o"}"#, r#"{"id":2,"v":"b"}"#, r#"{"id":3,"v":"c"}"#]);
    // Another name does not let it in.
    host.sql("alter table t rename column secret to open; insert into t values (4, 'd', 'secret@x')");
    host.failed("column secret, which must not enter (`exclude`), isn't there").await;
    host.sql("alter table t rename column open to secret; insert into t values (5, 'e', 's')");
    let all = host.changes_until("5").await;
    assert!(!format!("{all:?}").contains("secret@x"), "{all:?}");
}
