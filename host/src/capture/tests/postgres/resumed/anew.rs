//! Where a snapshot that was cut can't go on, or had better not; and that its rows are right all the same.

use super::*;

/// A snapshot is cut when a table is done, which changes then: what is shown of it must be what is there. Gives whether what
/// was read before the cut counts.
async fn is_exact_after(host: &mut Host, table: &str, meanwhile: &str) -> bool {
    let asked = [table, "t"];
    let answer = cut(host, &asked, &asked, async |host| drop(host.sql(meanwhile))).await;
    let rows = shown(&events(&answer));
    let rows = rows.iter().filter(|((of, ..), _)| of == table);
    let mut rows: Vec<String> = rows.flat_map(|((_, _, row), count)| (0..*count).map(move |_| row.clone())).collect();
    let there = host.sql(&format!("select coalesce(json_agg(row_to_json(r)::text), '[]') from {table} r"));
    let mut there: Vec<String> = serde_json::from_str(&there).unwrap();
    rows.sort();
    there.sort();
    assert!(rows == there, "{table}: {} rows shown, {} there", rows.len(), there.len());
    went_on(&answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_begins_anew_where_digests_stand_in_the_key_of_a_row_that_changed() {
    let mut host = Host::new(&format!(
        "{TABLES}
         create table long (k text primary key, n int, v int); alter table long replica identity full;
         create table longs (k text, n int, v int, primary key (k, n)); alter table longs replica identity full;"
    ))
    .await;
    host.sql(&fill());
    for table in ["long", "longs"] {
        // The server takes such keys, compressed.
        host.sql(&format!("insert into {table} values ('short', 1, 0), (repeat('k', 40000), 2, 0)"));
        assert!(is_exact_after(&mut host, table, &format!("update {table} set v = 1 where n = 1")).await);
        assert!(!is_exact_after(&mut host, table, &format!("update {table} set v = 2 where n = 2")).await, "{table}");
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_begins_anew_where_the_server_does_not_know_a_key_any_more() {
    let mut host = Host::new(&format!(
        "{TABLES}
         create type mood as enum ('calm', 'wild');
         create table moods (k mood primary key, v int); alter table moods replica identity full;
         insert into moods values ('calm', 0), ('wild', 0);
         create table felt (k mood, n int, v text, primary key (k, n)); alter table felt replica identity full;
         insert into felt select 'calm', n, repeat('v', 600) from generate_series(1, 20000) as n"
    ))
    .await;
    host.sql(&fill());
    assert!(is_exact_after(&mut host, "moods", "update moods set v = 1 where k = 'wild'").await);
    let renamed = "update moods set v = 2 where k = 'wild'; alter type mood rename value 'wild' to 'fierce'";
    assert!(!is_exact_after(&mut host, "moods", renamed).await, "an enum's value has another name");
    // Nothing has changed, but the last key that was read.
    let renamed = "alter type mood rename value 'calm' to 'quiet'";
    assert!(!is_exact_after(&mut host, "felt", renamed).await, "an enum's value has another name");
    host.stop().await;
}

/// Rows of a table that were told of by other keys for a while, and are told of by the former ones again.
async fn begins_anew_after_other_keys(identity: &str, meanwhile: &str) {
    let mut host = Host::new(&format!(
        "{TABLES}
         create table x (id bigint, other bigint not null unique, v text, constraint x_pkey primary key (id));
         alter table x replica identity full; insert into x select n, n + 10, 'a' from generate_series(1, 50) as n"
    ))
    .await;
    host.sql(&format!("alter table x replica identity {identity}"));
    host.sql(&fill());
    assert!(is_exact_after(&mut host, "x", "update x set v = 'b' where id = 5").await);
    assert!(!is_exact_after(&mut host, "x", meanwhile).await);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_begins_anew_where_the_replica_identity_was_an_index_for_a_while() {
    let meanwhile = "alter table x replica identity using index x_other_key; update x set v = 'c' where id = 5;
                     alter table x replica identity full";
    begins_anew_after_other_keys("full", meanwhile).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_begins_anew_where_the_replica_identity_was_another_index_for_a_while() {
    let meanwhile = "alter table x replica identity using index x_other_key; update x set v = 'c' where id = 5;
                     alter table x replica identity using index x_pkey";
    begins_anew_after_other_keys("using index x_pkey", meanwhile).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_begins_anew_where_the_primary_key_was_another_one_for_a_while() {
    let meanwhile = "alter table x drop constraint x_pkey, add constraint x_pkey primary key (other);
                     update x set v = 'd' where id = 5;
                     alter table x drop constraint x_pkey, add constraint x_pkey primary key (id)";
    begins_anew_after_other_keys("full", meanwhile).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_on_while_little_has_changed_and_begins_anew_when_much_has() {
    let mut host = Host::new(&format!(
        "{TABLES} create table many (id int primary key, v int); alter table many replica identity full;
         insert into many select n, 0 from generate_series(1, 60000) as n"
    ))
    .await;
    host.sql(&fill());
    assert!(is_exact_after(&mut host, "many", "update many set v = 1 where id % 3 > 0").await);
    assert!(!is_exact_after(&mut host, "many", "update many set v = 2").await);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_a_snapshot_have_room_for_where_it_goes_on() {
    let host = Host::new(&format!(
        "{TABLES}
         create table long (k text primary key, v text); alter table long replica identity full;
         insert into long select repeat('k', 30000) || n, repeat('v', 9000) from generate_series(1, 100) as n;
         insert into t select n, repeat('v', 600) from generate_series(1, 5000) as n;
         do $$ begin for n in 1..600 loop
           execute format('create table t%s (id int primary key)', n);
           execute format('alter table t%s replica identity full', n);
         end loop; end $$"
    ))
    .await;
    let mut tables: Vec<String> = (1..=600).map(|n| format!("t{n}")).collect();
    tables.extend(["long".into(), "t".into()]);
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    let request = host.ask("p", &tables).await;
    let answer = host.answer(request).await;
    assert!(answer.len() > 8, "{} chunks", answer.len());
    let longest = answer.iter().map(|append| append.token.len()).max();
    assert!(longest.is_some_and(|longest| (1..=8 << 10).contains(&longest)), "{longest:?} bytes");
}
