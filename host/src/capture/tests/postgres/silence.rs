//! A network that dies without a word, and how long is waited before the next try.

use relevo_tests::network::Network;
use relevo_tests::wait::until;
use rustix::process::{Pid, Signal, kill_process};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_network_is_noticed_wherever_one_waits() {
    let mut host = Host::over(Postgres::with(&["wal_sender_timeout=3s"]), "silence = \"1s\"").await;
    host.sql(TABLE);
    let network = Network::to(host.database.socket());
    host.settings[0].url = network.url(DATABASE);
    host.start().await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;

    network.fall_silent();
    host.sql("insert into t values (2, 'b')");
    let reason = host.failed("was silent for 1 s").await;
    assert!(reason.contains("opened anew"), "{reason}");
    // And opening it does not wait for ever either.
    host.failed("doesn't answer").await;
    network.mend();
    host.sql("insert into t values (3, 'c')");
    host.changes_until("3").await;
    host.health(|health| health.state == SourceState::Running).await;
    assert_eq!(host.gaps().await.len(), 0);
    let last = host.health(|_| true).await.last_error.unwrap();
    assert!(!last.1.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_source_is_never_taken_for_silent() {
    let mut host = Host::over(Postgres::start(), "silence = \"1s\"").await;
    host.sql(TABLE);
    host.start().await;
    let from = host.health(|health| health.watermark.0 > 0).await.watermark;
    host.health(|health| health.watermark.0 > from.0 + 4_000_000).await;
    assert!(host.health(|_| true).await.last_error.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_lags_while_heartbeats_do_not_come_back() {
    let host = Host::new(TABLE).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until(1).await;
    let sender = "select active_pid from pg_replication_slots where slot_name = 'relevo_s'";
    let sender = Pid::from_raw(host.sql(sender).parse().unwrap()).unwrap();
    // As one that reads through what isn't for us.
    kill_process(sender, Signal::STOP).unwrap();
    let lagging = host.health(|health| health.lag > Duration::from_millis(500)).await;
    assert_eq!(lagging.state, SourceState::Running);
    kill_process(sender, Signal::CONT).unwrap();
    host.health(|health| health.lag.is_zero()).await;
    host.sql("insert into t values (2, 'b')");
    host.changes_until(2).await;
}

/// A server that reads through much WAL which isn't for us says nothing for long.
#[tokio::test(flavor = "multi_thread")]
async fn each_stream_in_a_row_that_falls_silent_gives_the_next_one_twice_the_time() {
    let mut host = Host::over(Postgres::start(), "silence = \"1s\"").await;
    host.sql(TABLE);
    let network = Network::to(host.database.socket());
    host.settings[0].url = network.url(DATABASE);
    host.start().await;
    for (round, times) in [(1, &[1, 2][..]), (2, &[1])] {
        network.hush_streams();
        host.sql("select pg_terminate_backend(pid) from pg_stat_replication");
        host.sql(&format!("insert into t values ({round}, 'a')"));
        for seconds in times {
            host.failed(&format!("was silent for {seconds} s")).await;
        }
        network.mend();
        // One transaction that comes, and it begins with the least again.
        host.changes_until(round).await;
        host.health(|health| health.state == SourceState::Running).await;
    }
    assert_eq!(host.gaps().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_can_not_be_reached_is_tried_less_and_less_often_and_read_when_it_can() {
    const TRIES: u32 = 5;
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(TABLE);
    let network = Network::to(host.database.socket());
    host.settings[0].url = network.url(DATABASE);
    network.cut();
    host.begin();
    let tried = tokio::task::spawn_blocking(move || {
        let tried = until("tries", LONG, || Some(network.refused()).filter(|tried| tried.len() >= TRIES as usize));
        network.mend();
        tried
    });
    let tried = tried.await.unwrap();
    for (n, pair) in (0..TRIES - 1).zip(tried.windows(2)) {
        let (waited, least) = (pair[1] - pair[0], Duration::from_millis(100 << n));
        assert!(waited >= least, "try {n} was followed after {waited:?} instead of {least:?}");
    }
    host.health(|health| health.state == SourceState::Running).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until(1).await;
}
