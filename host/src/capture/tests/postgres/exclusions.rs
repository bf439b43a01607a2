//! Columns that must not enter.

use super::refusals::finding;
use super::*;

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
