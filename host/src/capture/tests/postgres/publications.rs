//! Tables that the publication didn't carry for a while, or not with all that happened to them: nobody hears of the
//! changes of that time, so that they must be a gap.

use super::*;

/// Waits for this many gaps, and for a look at the catalog behind the last: it found no more.
async fn gaps(host: &Host, count: usize) -> Vec<String> {
    let wait = async {
        while host.gaps().await.len() < count {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(LONG, wait).await;
    let gaps = host.gaps().await;
    assert!(waited.is_ok(), "not {count}: {gaps:?}");
    look(host).await;
    let gaps = host.gaps().await;
    assert_eq!(gaps.len(), count, "{gaps:?}");
    gaps
}

/// Waits until the catalog was looked at.
async fn look(host: &Host) {
    let watched = host.health(|_| true).await.tables.len();
    host.sql(&format!("create table other{watched} (id int primary key)"));
    host.sql(&format!("alter table other{watched} replica identity full"));
    host.health(|health| health.tables.len() > watched).await;
}

fn is_at_least(host: &Host, version: u32) -> bool {
    host.sql("show server_version_num").parse::<u32>().unwrap() >= version
}

/// Runs statements, each a transaction of its own.
fn each(host: &Host, statements: &[&str]) {
    for statement in statements {
        host.sql(statement);
    }
}

/// What leaves out what is written between, and what ends that.
async fn is_a_gap(host: &mut Host, narrow: &str, mend: &str) {
    let before = host.gaps().await.len();
    let write = format!("insert into t values ({}, 'nobody hears of it')", 1000 + before);
    each(host, &[narrow, &write, mend]);
    let told = gaps(host, before + 1).await;
    assert!(told[before].ends_with(" t"), "{narrow}: {told:?}");
    host.end().await;
    let write = format!("insert into t values ({}, 'nobody hears of it')", 2000 + before);
    each(host, &[narrow, &write, mend]);
    host.start().await;
    gaps(host, before + 2).await;
    // It is told once.
    host.end().await;
    host.start().await;
    gaps(host, before + 2).await;
    let key = 3000 + before;
    host.sql(&format!("insert into t values ({key}, 'seen')"));
    host.changes_until(key.to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_the_publication_lacked_for_a_moment_is_a_gap() {
    let mut host = Host::new(TABLE).await;
    is_a_gap(&mut host, "alter publication relevo_s drop table t", "alter publication relevo_s add table t").await;
    let told = host.gaps().await;
    assert!(told.iter().all(|gap| !gap.contains("other")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_left_something_out_for_a_while_is_a_gap_once_it_is_whole() {
    let mut host =
        Host::new(&format!("{TABLE}; create table m (id int primary key); alter table m replica identity full")).await;
    // An owner who narrows it for longer than the time between two looks.
    host.sql("alter publication relevo_s set (publish = 'insert')");
    host.failed("leaves changes out").await;
    host.sql("insert into t values (1, 'a'); update t set v = 'nobody hears of it'");
    assert_eq!(host.gaps().await, Vec::<String>::new(), "not before it is whole");
    host.sql("alter publication relevo_s set (publish = 'insert, update, delete, truncate')");
    let told = gaps(&host, 1).await;
    assert!(told[0].ends_with("tables m, t"), "one for both: {told:?}");
    is_a_gap(
        &mut host,
        "alter publication relevo_s set (publish = 'delete')",
        "alter publication relevo_s set (publish = 'insert, update, delete, truncate')",
    )
    .await;
    if is_at_least(&host, 150_000) {
        let set = |what: &str| {
            let others = "select coalesce(string_agg(', ' || tablename, ''), '') from pg_publication_tables where tablename <> 't'";
            format!("do $$ begin execute 'alter publication relevo_s set table {what}' || ({others}); end $$")
        };
        for narrow in ["t where (id < 0)", "t (id)"] {
            is_a_gap(&mut host, &set(narrow), &set("t")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_of_whole_schemas_that_lacked_a_table_for_a_while_is_a_gap() {
    let mut host = Host::over(Postgres::start(), "").await;
    if !is_at_least(&host, 150_000) {
        println!("not before PostgreSQL 15: nothing to see");
        return;
    }
    host.sql(&format!("{TABLE}; create schema away"));
    host.sql("create publication relevo_s for tables in schema public with (publish_via_partition_root = true)");
    host.start().await;
    let out = "alter publication relevo_s drop tables in schema public";
    is_a_gap(&mut host, out, "alter publication relevo_s add tables in schema public").await;
    let away =
        "alter table t set schema away; insert into away.t values (7, 'away'); alter table away.t set schema public";
    let before = host.gaps().await.len();
    each(&host, &away.split("; ").collect::<Vec<_>>());
    gaps(&host, before + 1).await;
    // Carried by the schema all the time.
    each(&host, &["alter publication relevo_s add table t", "alter publication relevo_s drop table t"]);
    gaps(&host, before + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_of_all_tables_that_left_something_out_for_a_while_is_a_gap() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(TABLE);
    host.sql("create publication relevo_s for all tables with (publish_via_partition_root = true)");
    host.start().await;
    is_a_gap(
        &mut host,
        "alter publication relevo_s set (publish = 'delete')",
        "alter publication relevo_s set (publish = 'insert, update, delete, truncate')",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_detached_for_a_moment_is_a_gap() {
    let mut host = Host::new(
        "create table t (id bigint primary key, v text) partition by range (id);
         create table low partition of t for values from (0) to (10000) partition by range (id);
         create table leaf partition of low for values from (0) to (10000);
         alter table t replica identity full; alter table leaf replica identity full",
    )
    .await;
    for (detached, at) in [("leaf", "low"), ("low", "t")] {
        let before = host.gaps().await.len();
        let away = format!("alter table {at} detach partition {detached}");
        let back = format!("alter table {at} attach partition {detached} for values from (0) to (10000)");
        let write = |key: usize| format!("insert into leaf values ({key}, 'nobody hears of it')");
        each(&host, &[&away, &write(before + 1), &back]);
        let told = gaps(&host, before + 1).await;
        assert!(told[before].contains("partition leaf was detached for a while"), "{told:?}");
        host.end().await;
        each(&host, &[&away, &write(before + 1001), &back]);
        host.start().await;
        gaps(&host, before + 2).await;
    }
}

/// Writes a row under another name, and another one when `t` is `t` again.
fn rename_for_a_moment(host: &Host) {
    let (write, after) = ("insert into x values (1, 'as another')", "insert into t values (2, 'seen')");
    each(host, &["alter table t rename to x", write, "alter table x rename to t", after]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_had_another_name_for_a_moment_is_a_gap() {
    for settings in ["", "tables = [\"t\"]"] {
        let mut host = Host::over(Postgres::start(), settings).await;
        host.sql(TABLE);
        host.start().await;
        rename_for_a_moment(&host);
        // Which one, and whether more follow, depends on what the catalog says at the moment of each look.
        host.records(|record| matches!(&record.body, RecordBody::Control(control) if control.is_loss())).await;
        let told = host.gaps().await;
        assert!(told[0].contains("table t"), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_had_another_name_while_relevo_was_stopped_is_one_gap() {
    for settings in ["", "tables = [\"t\"]"] {
        let mut host = Host::over(Postgres::start(), settings).await;
        host.sql(TABLE);
        host.start().await;
        host.end().await;
        rename_for_a_moment(&host);
        host.start().await;
        host.changes_until("2").await;
        let told = host.gaps().await;
        assert!(told.len() == 1 && told[0].contains("table t had another name"), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_written_to_a_table_when_it_comes_is_told_or_a_gap() {
    let mut host = Host::new(TABLE).await;
    host.end().await;
    // Before the publication has it.
    host.sql("create table n (id int primary key, v text); alter table n replica identity full");
    let script =
        "set application_name = 'the writer'; begin; insert into n values (1, 'before'); select pg_sleep(3); commit;";
    let mut open = host.database.meanwhile(script);
    while host.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "0" {}
    host.start().await;
    host.health(|health| health.tables.iter().any(|table| &**table == "n")).await;
    let writes = "select count(*) from pg_stat_activity where application_name = 'the writer'";
    assert_eq!(host.sql(writes), "1", "it writes on");
    let _ = open.wait();
    host.sql("insert into t values (1, 'a')");
    let all = host.changes_until("1").await;
    assert!(all.iter().any(|change| &*change.table == "n") || !host.gaps().await.is_empty(), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_a_lock_keeps_out_at_the_start_is_one_gap_when_it_is_watched_again() {
    let mut host = Host::over(Postgres::start(), "silence = \"3s\"").await;
    host.sql(&format!("{TABLE}; create table u (id int primary key); alter table u replica identity full"));
    host.start().await;
    host.end().await;
    host.sql("drop table u");
    host.sql("create table u (id int primary key); alter table u replica identity full; insert into u values (1)");
    let mut lock = host.database.meanwhile(
        "set application_name = 'the lock'; begin; lock u in share update exclusive mode; select pg_sleep(600);",
    );
    while host.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "0" {}
    host.begin();
    host.lacks("table u: the publication can't be changed").await;
    assert_eq!(host.gaps().await, Vec::<String>::new(), "it is neither gone nor watched");
    host.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'the lock'");
    let _ = lock.wait();
    host.health(|health| health.tables.iter().any(|table| &**table == "u")).await;
    let told = host.gaps().await;
    assert!(told.len() == 1 && told[0].contains("table u"), "{told:?}");
}
