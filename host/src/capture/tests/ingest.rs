//! Publications enter in order, each once.

use super::*;
use crate::capture::Ingest;
use crate::config::JournalSettings;
use crate::event::{Micros, Published};
use crate::journal::Journal;

fn alert(data: &str, key: Option<&str>) -> Published {
    Published {
        channel: "system".into(),
        kind: "alert".into(),
        event_type: "alert".into(),
        data: data.into(),
        by: "1".into(),
        idempotency_key: key.map(Into::into),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publications_get_rising_places_whoever_sends_them() {
    let host = Host::stopped("").await;
    let ingest = Ingest::new(host.journal.clone());
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..50 {
        let ingest = ingest.clone();
        tasks.spawn(async move { ingest.publish(alert(&i.to_string(), None)).await.unwrap() });
    }
    let numbers: std::collections::BTreeSet<_> = tasks.join_all().await.into_iter().collect();
    assert_eq!(numbers.len(), 50);
    let last = *numbers.last().unwrap();
    let records = host.records(|record| record.last == last).await;
    let events: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.body {
            RecordBody::Append(append) => append.events.first(),
            _ => None,
        })
        .collect();
    assert!(events.windows(2).all(|pair| pair[0].position < pair[1].position));
    assert!(events.windows(2).all(|pair| pair[0].committed_at <= pair[1].committed_at));
    let name = |event: &&std::sync::Arc<crate::event::Event>| {
        let mut name = String::new();
        event.message_name("i", "p", &mut name);
        name
    };
    let ids: std::collections::BTreeSet<_> = events.iter().map(name).collect();
    assert_eq!(ids.len(), 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_with_the_same_key_are_one_even_after_a_restart() {
    let host = Host::stopped("").await;
    let first = Ingest::new(host.journal.clone()).publish(alert("1", Some("k"))).await.unwrap();
    let again = Ingest::new(host.journal.clone());
    assert_eq!(again.publish(alert("2", Some("k"))).await.unwrap(), first);
    let other = again.publish(alert("3", Some("l"))).await.unwrap();
    assert!(other > first);
    assert_eq!(host.journal.head(), other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_its_user_s_and_its_channel_s() {
    let host = Host::stopped("").await;
    let ingest = Ingest::new(host.journal.clone());
    let mut numbers = std::collections::BTreeSet::new();
    for (channel, by, key) in
        [("system", "1", "k"), ("system", "2", "k"), ("news", "1", "k"), ("system", "1 k", "k"), ("system", "1", "k k")]
    {
        let publication = || Published { channel: channel.into(), by: by.into(), ..alert("1", Some(key)) };
        let number = ingest.publish(publication()).await.unwrap();
        assert!(numbers.insert(number), "{channel} {by} {key} is not its own");
        assert_eq!(ingest.publish(publication()).await.unwrap(), number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_times_go_on_where_they_were_though_the_clock_was_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), &JournalSettings::default(), &[]).await.unwrap();
    Ingest::new(journal.clone()).publish(alert("1", None)).await.unwrap();
    journal.close().await;
    // As if that had been tomorrow.
    let tomorrow = Micros::now().plus(Duration::from_secs(86_400));
    let file = sqlx::SqlitePool::connect(folder.path().join("journal.db").to_str().unwrap()).await.unwrap();
    let at = i64::try_from(tomorrow.0).unwrap();
    sqlx::query("UPDATE record SET at = ?").bind(at).execute(&file).await.unwrap();
    file.close().await;

    let journal = Journal::open(folder.path(), &JournalSettings::default(), &[]).await.unwrap();
    let number = Ingest::new(journal.clone()).publish(alert("2", None)).await.unwrap();
    let records = journal.read(Number(number.0 - 1), 1 << 20).await.unwrap();
    let RecordBody::Append(append) = &records[0].body else { panic!("{:?}", records[0]) };
    assert!(append.events[0].committed_at >= tomorrow);
    journal.close().await;
}
