//! What operators are told of the server, their role and the publication; that each statement that is printed runs as
//! it is printed, and mends its finding.

use super::refusals::{finding, run};
use super::*;
use crate::capture::postgres::{Finding, Stand, preflight};
use crate::capture::status;

/// Waits until nothing is found with this text: the server takes its files in a moment after it was told to.
pub(super) async fn is_mended(host: &Host, with: &str) {
    sees(host, |findings| findings.iter().all(|finding| !finding.what.contains(with))).await;
}

async fn sees(host: &Host, like: impl Fn(&[Finding]) -> bool) {
    let began = std::time::Instant::now();
    loop {
        let findings = preflight(&host.settings[0], Stand::Runs).await.unwrap();
        if like(&findings) {
            return;
        }
        assert!(began.elapsed() < LONG, "still {findings:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_other_roles_do_without_a_flush_is_told_and_mended_as_printed() {
    let host = Host::over(Postgres::start(), "").await;
    host.sql(&format!("{TABLE}; create role \"App one\" login; create role fine login"));
    host.sql("alter role \"App one\" set synchronous_commit = off; alter role \"App one\" in database gad set synchronous_commit = 'off'");
    host.sql("alter role fine set synchronous_commit = local");
    for _ in 0..2 {
        let found = finding(&host, "synchronous_commit is off for role App one").await;
        run(&host, &found);
    }
    is_mended(&host, "synchronous_commit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drops_slots_nobody_reads_is_told_of() {
    let host = Host::over(Postgres::start(), "").await;
    if host.sql("show server_version_num").parse::<u32>().unwrap() < 180_000 {
        println!("not before PostgreSQL 18: nothing to see");
        return;
    }
    host.sql("alter system set idle_replication_slot_timeout = '1h'");
    host.sql("select pg_reload_conf()");
    sees(&host, |findings| findings.iter().any(|finding| finding.what.contains("idle_replication_slot_timeout"))).await;
    let found = finding(&host, "idle_replication_slot_timeout").await;
    run(&host, &found);
    is_mended(&host, "idle_replication_slot_timeout").await;
}

fn as_watcher(host: &mut Host) {
    host.settings[0].url = host.settings[0].url.replace("//relevo@", "//watcher@");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_mended_as_printed_and_a_restart_that_is_missing_is_said() {
    let few = ["wal_level=replica", "synchronous_commit=off", "max_wal_senders=1", "max_replication_slots=0"];
    let mut host = Host::over(Postgres::with(&few), "").await;
    host.sql(&format!("{TABLE}; create role watcher login; grant select on t to watcher"));
    for with in ["synchronous_commit is off", "max_slot_wal_keep_size has no limit"] {
        // Set, but not read again.
        let found = finding(&host, with).await;
        host.sql(&found.mend.unwrap().statements[0]);
        let found = finding(&host, with).await;
        assert!(found.what.contains("is set already") && found.mend.as_ref().unwrap().statements.len() == 1, "{found}");
        run(&host, &found);
        is_mended(&host, with).await;
    }
    let restarts = ["wal_level is replica", "WAL senders are free", "no replication slot is free"];
    for with in restarts {
        let found = finding(&host, with).await;
        assert!(found.to_string().contains("then restart PostgreSQL: systemctl restart"), "{found}");
        run(&host, &found);
        let found = finding(&host, with).await;
        assert!(found.what.contains("waits for a restart") && found.mend.unwrap().statements.is_empty());
    }
    // The reload has the server say it to everybody.
    let url = host.settings[0].url.clone();
    as_watcher(&mut host);
    let waits =
        |finding: &Finding| finding.what.starts_with("wal_level is replica") && finding.what.contains("waits for");
    sees(&host, |findings| findings.iter().any(waits)).await;
    host.settings[0].url = url;
    host.database.down(Stop::Fast);
    host.database.up();
    for with in restarts {
        is_mended(&host, with).await;
    }
    // One that is set for the role is no setting of the server's.
    host.sql("alter role relevo set synchronous_commit = off");
    let found = finding(&host, "synchronous_commit is off").await;
    run(&host, &found);
    is_mended(&host, "synchronous_commit is off").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_role_lacks_is_mended_as_printed() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(&format!(
        "create role watcher login; grant create on schema public to watcher; set role watcher; {TABLE}"
    ));
    host.sql("alter table t set unlogged; alter table t replica identity default");
    as_watcher(&mut host);
    for with in ["may not replicate", "may not make it", "it is unlogged", "its replica identity is not FULL"] {
        if with == "may not make it" {
            host.sql("alter table t set logged");
        } else if with == "it is unlogged" {
            host.sql("alter table t set unlogged");
        }
        run(&host, &finding(&host, with).await);
        is_mended(&host, with).await;
    }
    host.start().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_others_are_published_by_one_statement() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(&format!(
        "create role watcher login replication; grant create on schema public to watcher;
         alter default privileges grant select on tables to watcher;
         create table a (id int primary key); alter table a replica identity full;
         create table b (id int primary key); alter table b replica identity full; set role watcher; {TABLE}"
    ));
    as_watcher(&mut host);
    let findings = preflight(&host.settings[0], Stand::Runs).await.unwrap();
    let making = findings.iter().filter(|finding| finding.to_string().contains("CREATE PUBLICATION"));
    assert_eq!(making.count(), 1, "{findings:#?}");
    assert!(findings.iter().all(|finding| !finding.to_string().contains("GRANT CREATE")), "{findings:#?}");
    run(&host, &finding(&host, "tables a, b are in no publication").await);
    is_mended(&host, "publication").await;
    host.start().await;
    host.health(|health| health.tables.len() == 3).await;
    host.sql("create table c (id int primary key); alter table c replica identity full");
    host.sql("create table d (id int primary key); alter table d replica identity full");
    host.lacks("tables c, d are not in publication relevo_s").await;
    run(&host, &finding(&host, "tables c, d are not in publication").await);
    host.health(|health| health.tables.len() == 5 && health.state == SourceState::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_publication_is_mended_as_printed() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(&format!("{TABLE}; create table \"U v\" (id int primary key); alter table \"U v\" replica identity full"));
    let filter = host.sql("show server_version_num").parse::<u32>().unwrap() >= 150_000;
    let filter = if filter { "where (id > 5)" } else { "" };
    host.sql(&format!("create publication relevo_s for table t, \"U v\" {filter} with (publish = 'insert')"));
    run(&host, &finding(&host, "leaves changes out").await);
    is_mended(&host, "publication").await;
    host.start().await;
    host.health(|health| health.tables.len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_in_a_database_that_has_nothing_to_watch() {
    let mut host = Host::over(Postgres::start(), "tables = [\"t\"]").await;
    host.begin();
    let reason = host.failed("database gad has none of the tables").await;
    assert!(reason.contains("(t), so nothing") && reason.contains("make what is missing"), "{reason}");
    assert_eq!(host.sql("select count(*) from pg_publication"), "0");
    assert_eq!(host.sql("select count(*) from pg_replication_slots"), "0");
    host.sql(TABLE);
    host.health(|health| health.state == SourceState::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_lacks_a_table_goes_on_and_its_stop_is_seen() {
    let mut host = Host::over(Postgres::start(), "tables = [\"t\", \"u\"]").await;
    host.sql(TABLE);
    host.begin();
    host.lacks("table u does not exist").await;
    assert!(host.running.as_ref().unwrap().0.ready());
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    host.database.down(Stop::Immediate);
    let reason = host.failed("").await;
    assert!(!reason.contains("at line"), "{reason}");
    assert!(!host.running.as_ref().unwrap().0.ready());
    let reason = host.failed("postgres at ").await;
    assert!(reason.contains("/gad as relevo: "), "{reason}");
    host.database.up();
    host.lacks("table u does not exist").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_and_a_database_that_is_away_are_told_of_as_they_are() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(TABLE);
    host.start().await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    host.end().await;
    host.sql("alter system set max_slot_wal_keep_size = '16MB'");
    host.sql("select pg_reload_conf()");
    let write = "do $$ begin for i in 1..60 loop perform pg_logical_emit_message(false, 'x', repeat('x', 1000000)); end loop; end $$";
    host.sql(&format!("{write}; checkpoint"));
    host.sql("checkpoint");
    assert_eq!(host.sql("select wal_status from pg_replication_slots"), "lost");
    finding(&host, "replication slot relevo_s is lost").await;
    let known: std::collections::BTreeMap<_, _> = host.journal.sources("s").await.unwrap().into_iter().collect();
    let status = status::stopped(&host.settings[0], host.folder.path(), &known).await;
    let reason = status.reason.unwrap();
    assert!(reason.contains("is lost") && !reason.contains("MiB"), "{reason}");
    host.database.down(Stop::Fast);
    let status = status::stopped(&host.settings[0], host.folder.path(), &known).await;
    let reason = status.reason.unwrap();
    assert!(reason.contains("relevo's own journal") && reason.contains("/gad as relevo"), "{reason}");
    assert!(status.position.is_some() && status.slot.is_none());
    assert_eq!(status.tables, ["t".into()], "watched last");
}
