//! What the server is told that it may forget.

use super::*;
use crate::config::JournalSettings;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_opened_anew_acknowledges_nothing_that_is_not_on_the_disk() {
    let rarely = JournalSettings { sync_every: Duration::from_secs(3600), ..JournalSettings::default() };
    let mut host = Host::with(Postgres::start(), "", &rarely).await;
    host.sql(TABLE);
    host.start().await;
    let of_slot =
        |what: &str| host.sql(&format!("select {what} from pg_replication_slots where slot_name = 'relevo_s'"));
    let before = of_slot("confirmed_flush_lsn");
    host.sql("insert into t values (1, 'a')");
    host.changes_until(1).await;
    let session = of_slot("active_pid");
    host.sql(&format!("select pg_terminate_backend({session})"));
    while ["", &*session].contains(&&*of_slot("active_pid")) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Whatever it acknowledged first is behind this.
    host.sql("insert into t values (2, 'b')");
    host.changes_until(2).await;
    assert_eq!(of_slot("confirmed_flush_lsn"), before);
    assert_eq!(host.gaps().await.len(), 0);
}
