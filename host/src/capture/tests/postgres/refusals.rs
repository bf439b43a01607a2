//! What the server refuses to stream.

use super::*;

/// Waits until the source has begun anew after a gap.
async fn begun_anew(host: &Host, before: &str) {
    let mut head = host.journal.watch_head();
    let begun = async {
        // Not yet while the gap is told alone.
        let is_new = |known: &crate::journal::SourceState| *known.incarnation != *before && known.token.contains('/');
        while !host.journal.source("s").await.unwrap().as_ref().is_some_and(is_new) {
            head.changed().await.unwrap();
        }
    };
    if tokio::time::timeout(LONG, begun).await.is_err() {
        panic!("it stands where it was; {:?}", host.running.as_ref().map(|(capture, _)| capture.health()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_was_dropped_is_a_gap_and_the_source_begins_anew_with_another_slot() {
    let mut host = Host::new(TABLE).await;
    if host.sql("show server_version_num").parse::<u32>().unwrap() >= 180_000 {
        println!("from PostgreSQL 18 on the server leaves out what it can't tell, and goes on");
        return;
    }
    for round in 1..=2 {
        host.sql(&format!("insert into t values ({round}, 'seen')"));
        host.changes_until(&round.to_string()).await;
        let before = host.journal.source("s").await.unwrap().unwrap().incarnation;
        if round == 2 {
            host.end().await;
        }
        host.sql("drop publication relevo_s");
        host.sql(&format!("insert into t values (1{round}, 'unseen')"));
        if round == 2 {
            host.begin();
        }
        begun_anew(&host, &before).await;
        host.health(|health| health.state == SourceState::Running).await;
        let gaps = host.gaps().await;
        let told = gaps.iter().filter(|gap| gap.contains("publication relevo_s was dropped")).count();
        assert_eq!(told, round, "{gaps:?}");
    }
    host.sql("insert into t values (3, 'seen')");
    let keys: Vec<_> = host.changes_until("3").await.iter().map(|change| change.key.to_string()).collect();
    assert_eq!(keys, ["1", "2", "3"]);
}
