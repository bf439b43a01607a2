//! What a source calls its own in the database.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn slot_and_publication_are_called_as_the_settings_say_and_go_with_them() {
    let mut host = Host::over(Postgres::start(), "slot = \"mine\"\npublication = \"ours\"").await;
    // Of somebody else, by the names that they would have had.
    host.sql("create publication relevo_s");
    host.sql("select pg_create_logical_replication_slot('relevo_s', 'pgoutput')");
    host.sql(TABLE);
    host.start().await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    assert_eq!(events(&host.snapshot("p").await).len(), 1);
    let active = "select string_agg(slot_name, ' ') from pg_replication_slots where active";
    let slots = "select string_agg(slot_name, ' ' order by slot_name) from pg_replication_slots";
    let publications = "select string_agg(pubname, ' ' order by pubname) from pg_publication";
    assert_eq!([active, slots, publications].map(|sql| host.sql(sql)), ["mine", "mine relevo_s", "ours relevo_s"]);
    assert_eq!(host.sql("select tablename from pg_publication_tables where pubname = 'ours'"), "t");
    host.end().await;
    // They are found again.
    host.sql("insert into t values (2, 'b')");
    host.start().await;
    assert_eq!(host.changes_until("2").await.len(), 2);
    assert_eq!(host.gaps().await.len(), 0);
    host.end().await;
    let detached = super::super::super::detach(&host.settings[0], host.folder.path()).await.unwrap();
    assert_eq!(detached.out, ["replication slot mine", "publication ours"]);
    assert_eq!([slots, publications].map(|sql| host.sql(sql)), ["relevo_s"; 2]);
}
