//! What the preflight finds about tables and roles, and that the statement it gives mends it.

use super::*;
use crate::capture::SourceHealth;
use crate::capture::postgres::{Finding, Stand, preflight};

/// The finding with this text.
pub(super) async fn finding(host: &Host, with: &str) -> Finding {
    let findings = preflight(&host.settings[0], Stand::Runs).await.unwrap();
    let found = findings.iter().find(|finding| finding.what.contains(with)).cloned();
    found.unwrap_or_else(|| panic!("nothing with {with:?}: {findings:#?}"))
}

/// Runs what a finding says, as it is printed: each statement by itself.
pub(super) fn run(host: &Host, finding: &Finding) {
    let mend = finding.mend.as_ref().expect("it says what mends it");
    assert!(!mend.by.is_empty() && !mend.statements.is_empty(), "{finding}");
    for statement in &mend.statements {
        host.sql(statement);
    }
}

/// Runs what a finding says, and waits until the table is watched.
async fn mend(host: &Host, with: &str, table: &str) {
    run(host, &finding(host, with).await);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_the_role_may_not_see_keeps_no_other_from_being_read() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(&format!(
        "create role watcher login replication; grant create on database gad to watcher;
         grant create on schema public to watcher; set role watcher; {TABLE};
         reset role; create schema app; create table app.a (id int primary key); alter table app.a replica identity full;
         alter table app.a owner to watcher; revoke all on schema app from watcher;
         create table secret (id int primary key, of text); alter table secret replica identity full;
         alter table secret owner to watcher; alter table secret enable row level security;
         alter table secret force row level security;
         insert into app.a values (1); insert into secret values (1, 'ana')"
    ));
    host.settings[0].url = host.settings[0].url.replace("//relevo@", "//watcher@");
    assert!(host.settings[0].url.contains("watcher@"), "{}", host.settings[0].url);
    host.begin();
    host.health(|health| is_watched(health, "t")).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    mend(&host, "table app.a: ", "app.a").await;
    mend(&host, "table secret: ", "secret").await;
    host.health(|health| health.state == SourceState::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_of_another_role_is_used_and_never_altered() {
    let mut host = Host::over(Postgres::start(), "tables = [\"t\", \"u\"]").await;
    host.sql(&format!(
        "create role watcher login replication; grant create on database gad to watcher;
         grant create on schema public to watcher; set role watcher; {TABLE};
         create table u (id int primary key); alter table u replica identity full;
         reset role; create table other (id int primary key);
         create publication relevo_s for table t, other with (publish_via_partition_root = true)"
    ));
    host.settings[0].url = host.settings[0].url.replace("//relevo@", "//watcher@");
    host.begin();
    host.health(|health| is_watched(health, "t")).await;
    host.sql("insert into other values (1); insert into t values (1, 'a')");
    host.changes_until("1").await;
    let published = "select string_agg(tablename, ',' order by tablename) from pg_publication_tables";
    assert_eq!(host.sql(published), "other,t");
    mend(&host, "table u is not in publication", "u").await;
    assert_eq!(host.sql(published), "other,t,u");
    host.health(|health| health.state == SourceState::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_of_a_schema_has_its_tables() {
    let mut host = Host::over(Postgres::start(), "").await;
    if host.sql("show server_version_num").parse::<u32>().unwrap() < 150_000 {
        println!("not before PostgreSQL 15: nothing to see");
        return;
    }
    host.sql(&format!(
        "create role watcher login replication; grant create on schema public to watcher; set role watcher; {TABLE};
         reset role; create publication relevo_s for tables in schema public with (publish_via_partition_root = true)"
    ));
    host.settings[0].url = host.settings[0].url.replace("//relevo@", "//watcher@");
    host.start().await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    assert_eq!(host.sql("select count(*) from pg_publication_rel"), "0", "nothing was added");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_on_one_table_holds_up_no_other() {
    let mut host = Host::over(Postgres::start(), "silence = \"3s\"").await;
    host.sql(TABLE);
    host.start().await;
    host.sql("create table locked (id int primary key); alter table locked replica identity full");
    let mut lock = host.database.meanwhile(
        "set application_name = 'the lock'; begin; lock locked in share update exclusive mode; select pg_sleep(600);",
    );
    let reason = host.lacks("table locked: ").await;
    assert!(reason.contains("lock"), "{reason}");
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
    for n in 0..12 {
        host.sql(&format!("insert into t values ({n}, 'a')"));
        host.changes_until(&n.to_string()).await;
        assert!(host.sql(waiting).parse::<u32>().unwrap() <= 1, "they pile up");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    host.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'the lock'");
    let _ = lock.wait();
    host.health(|health| is_watched(health, "locked")).await;
    assert_eq!(host.gaps().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_timeout_of_the_server_ends_a_session() {
    let host = Host::over(Postgres::with(&["idle_session_timeout=1s", "lock_timeout=1s"]), "guard = \"10s\"").await;
    let mut host = host;
    host.sql(TABLE);
    host.start().await;
    let ended = || host.database.log_text().matches("idle-session timeout").count();
    // A table that comes is seen by the next look, of the same session.
    host.sql("create table n (id int primary key); alter table n replica identity full");
    host.health(|health| is_watched(health, "n")).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    assert_eq!(ended(), 0, "{}", host.database.log_text());
    // A slot that is made waits for open transactions, however long.
    let mut open = host.database.meanwhile("begin; insert into t values (2, 'b'); select pg_sleep(4); commit;");
    while host.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "0" {}
    let rows = host.snapshot("p").await;
    assert_eq!(events(&rows).len(), 2);
    let _ = open.wait();
    assert!(!host.database.log_text().contains("due to lock timeout"), "{}", host.database.log_text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_an_encoding_is_found() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql("create database plain encoding 'SQL_ASCII' lc_collate 'C' lc_ctype 'C' template template0");
    host.settings[0].url = host.database.url("plain");
    let found = finding(&host, "SQL_ASCII").await;
    run(&host, &found);
    host.settings[0].url = host.database.url("plain_utf8");
    let findings = preflight(&host.settings[0], Stand::Runs).await.unwrap();
    assert!(findings.iter().all(|finding| !finding.what.contains("SQL_ASCII")), "{findings:?}");
}
