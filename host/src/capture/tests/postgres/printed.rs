//! More statements that are printed: that each runs as it is printed and mends its finding, and that none is printed
//! that would do harm.

use super::advice::is_mended;
use super::refusals::{finding, run};
use super::*;
use crate::capture::postgres::Weight;

/// From this version on.
fn is_at_least_18(host: &Host) -> bool {
    let is = host.sql("show server_version_num").parse::<u32>().unwrap() >= 180_000;
    if !is {
        println!("not before PostgreSQL 18: nothing to see");
    }
    is
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_is_taken_back_as_printed_wherever_it_was_set() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(TABLE);
    let with = "synchronous_commit is off";
    for (set, whom) in [
        ("alter role relevo set", "(set for the user)"),
        ("alter database gad set", "(set for the database)"),
        ("alter role relevo in database gad set", "(set for the database user)"),
        ("alter role all set", "(set for all roles)"),
    ] {
        host.sql(&format!("{set} synchronous_commit = off"));
        let found = finding(&host, with).await;
        assert!(found.what.ends_with(whom), "{found}");
        run(&host, &found);
        is_mended(&host, with).await;
    }
    let url = host.settings[0].url.clone();
    let and = if url.contains('?') { '&' } else { '?' };
    host.settings[0].url = format!("{url}{and}options[synchronous_commit]=off");
    let found = finding(&host, with).await.to_string();
    assert!(found.contains("take synchronous_commit out of the `options`") && !found.contains("ALTER"), "{found}");
    host.settings[0].url = url;
    is_mended(&host, with).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_18s_generated_columns_are_published_as_printed() {
    let mut host = Host::over(Postgres::start(), "").await;
    if !is_at_least_18(&host) {
        return;
    }
    host.sql("create table t (id bigint primary key, v int, g int generated always as (v + 1) stored)");
    host.sql("alter table t replica identity full");
    host.sql("create publication relevo_s for table t with (publish_via_partition_root = true)");
    host.sql("insert into t values (1, 1)");
    let with = "leaves generated columns out";
    let refused = "do $$ begin update t set v = 2; raise 'it was taken'; exception when others then \
                   if sqlerrm like '%it was taken%' then raise; end if; end $$";
    host.sql(refused);
    run(&host, &finding(&host, with).await);
    is_mended(&host, with).await;
    host.sql("update t set v = 3");
    host.start().await;
    host.sql("update t set v = 4; insert into t values (2, 2)");
    assert_eq!(host.changes_until("2").await[0].after.as_deref(), Some(r#"{"id":1,"v":4,"g":5}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_postgres_18s_virtual_columns_nothing_is_printed_that_would_stop_the_application() {
    let mut host = Host::over(Postgres::start(), "").await;
    if !is_at_least_18(&host) {
        return;
    }
    let table = "(id bigint primary key, v text, g text generated always as (v || '!') virtual)";
    host.sql(&format!("create table t {table}; alter table t replica identity full"));
    let with = "virtual generated columns (g)";
    run(&host, &finding(&host, with).await);
    is_mended(&host, with).await;
    // FULL again would be a circle.
    let lacks = finding(&host, "its replica identity is not FULL").await;
    assert!(lacks.to_string().contains("make them stored") && lacks.mend.unwrap().statements.is_empty());
    // Without a primary key no statement alone is enough.
    host.sql(&format!("create table u {}; alter table u replica identity full", table.replace(" primary key", "")));
    for identity in ["full", "default"] {
        host.sql(&format!("alter table u replica identity {identity}"));
        let found = finding(&host, "table u: ").await;
        assert!(found.to_string().contains("give it a primary key"), "{found}");
        assert!(found.mend.unwrap().statements.is_empty());
    }
    // Incomplete: not all of it can be watched as it should be.
    host.begin();
    host.health(|health| health.tables.len() == 1).await;
    host.sql(
        "insert into t values (1, 'a'); update t set v = 'b'; insert into u values (1, 'a'); update u set v = 'b'",
    );
    assert_eq!(host.changes_until("1").await[0].after.as_deref(), Some(r#"{"id":1,"v":"a"}"#));
    // As it says.
    host.sql("alter table t drop column g; alter table t add column g text generated always as (v || '!') stored");
    run(&host, &finding(&host, "table t: ").await);
    is_mended(&host, "table t: ").await;
    host.sql("update t set v = 'c'");
}

#[tokio::test(flavor = "multi_thread")]
async fn before_postgres_18_it_is_said_which_generated_columns_do_not_arrive() {
    let mut host = Host::over(Postgres::start(), "").await;
    if is_at_least_18(&host) {
        return;
    }
    let columns = "g int generated always as (v + 1) stored, h int generated always as (v + 2) stored";
    host.sql(&format!("create table t (id bigint primary key, v int, {columns})"));
    host.sql("alter table t replica identity full");
    let found = finding(&host, "generated columns g, h of table t do not arrive before PostgreSQL 18").await;
    assert!(found.weight == Weight::Advice && found.to_string().contains("a trigger"), "{found}");
    host.settings[0].exclude = [("t".into(), vec!["h".into()])].into();
    finding(&host, "generated column g of table t does not arrive before PostgreSQL 18").await;
    host.settings[0].exclude = [("t".into(), vec!["g".into(), "h".into()])].into();
    is_mended(&host, "of table t").await;
}
