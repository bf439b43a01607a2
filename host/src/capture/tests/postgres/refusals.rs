//! What the preflight finds about tables and roles, and that the statement it gives mends it.

use super::*;
use crate::capture::SourceHealth;
use crate::capture::postgres::{Finding, preflight};

/// The finding with this text.
pub(super) async fn finding(host: &Host, with: &str) -> Finding {
    let findings = preflight(&host.settings[0]).await.unwrap();
    let found = findings.iter().find(|finding| finding.what.contains(with)).cloned();
    found.unwrap_or_else(|| panic!("nothing with {with:?}: {findings:#?}"))
}

/// Runs what a finding says, and waits until the table is watched.
async fn mend(host: &Host, with: &str, table: &str) {
    let sql = finding(host, with).await.mend.expect("it says what mends it");
    host.sql(&sql);
    host.health(|health| health.tables.iter().any(|watched| &**watched == table)).await;
}

fn is_watched(health: &SourceHealth, table: &str) -> bool {
    health.tables.iter().any(|watched| &**watched == table)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_table_is_published_whose_updates_the_server_would_refuse() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(&format!(
        "{TABLE};
         create table nothing (id int primary key, v int); alter table nothing replica identity nothing;
         create table later (id int primary key deferrable, v int);
         create table dropped (id int primary key, v int not null); create unique index dropped_v on dropped (v);
         alter table dropped replica identity using index dropped_v; drop index dropped_v;
         create table root (id int primary key, v int) partition by range (id);
         create table leaf partition of root for values from (0) to (9); alter table leaf replica identity nothing;
         create table index (id int not null, v int); create unique index index_id on index (id);
         alter table index replica identity using index index_id;"
    ));
    host.begin();
    host.health(|health| is_watched(health, "t") && is_watched(health, "index")).await;
    // The application's own statements go on.
    for table in ["nothing", "later", "dropped", "root", "index"] {
        host.sql(&format!("insert into {table} values (1, 1); update {table} set v = 2; delete from {table}"));
    }
    for table in ["nothing", "later", "dropped", "root"] {
        mend(&host, &format!("table {table}: "), table).await;
        host.sql(&format!("insert into {table} values (1, 1); update {table} set v = 2; delete from {table}"));
    }
    assert!(finding(&host, "table index: ").await.what.contains("lack the old values"));
}
