//! Epochs, durability, stops.

use super::*;

async fn open_at(folder: &Path, boot: &str, durability: Durability) -> Journal {
    let settings = settings(|s| s.durability = durability);
    let embedded = crate::journal::open::open(folder, &settings, &[], Some(boot.into())).await.unwrap();
    Journal { embedded: Arc::new(embedded) }
}

#[tokio::test]
async fn only_a_power_failure_under_process_begins_a_new_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_at(folder.path(), "boot 1", Durability::Process).await;
    let epoch = journal.epoch();
    journal.append(append(1..=1)).await.unwrap();
    let killed = killed_copy(folder.path());
    let killed_again = killed_copy(folder.path());
    journal.close().await;

    let clean = open_at(folder.path(), "boot 2", Durability::Process).await;
    assert_eq!(clean.epoch(), epoch, "a clean stop loses nothing");
    let same_boot = open_at(killed.path(), "boot 1", Durability::Process).await;
    assert_eq!(same_boot.epoch(), epoch, "the machine went on");
    let other_boot = open_at(killed_again.path(), "boot 2", Durability::Process).await;
    assert_ne!(other_boot.epoch(), epoch);
    assert_eq!(other_boot.head(), Number(1));
    let after = killed_copy(killed_again.path());
    assert_eq!(open_at(after.path(), "boot 2", Durability::Process).await.epoch(), other_boot.epoch());
}

#[tokio::test]
async fn under_power_what_is_seen_is_durable_and_the_epoch_stays() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_at(folder.path(), "boot 1", Durability::Power).await;
    let durable = journal.watch_durable();
    for position in 1..=20 {
        journal.append(append(position..=position)).await.unwrap();
        assert!(*durable.borrow() >= Number(position));
    }
    journal.commit(commit(None, 1, vec![])).await.unwrap();
    journal.append(chunk(21..=22)).await.unwrap();
    let last = journal.commit(commit(Some(1), 20, vec![state_message("board", "k", "1")])).await.unwrap();
    assert_eq!(journal.state_channel(&channels(&["board"])[0]).await.unwrap().as_of, last);
    let killed = killed_copy(folder.path());
    let again = open_at(killed.path(), "boot 2", Durability::Power).await;
    assert_eq!((again.epoch(), again.head()), (journal.epoch(), Number(21)));
    journal.close().await;
}

#[tokio::test]
async fn under_process_the_durable_number_follows() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let mut durable = journal.watch_durable();
    journal.append(append(1..=5)).await.unwrap();
    let follows = durable.wait_for(|durable| *durable >= Number(5));
    tokio::time::timeout(Duration::from_secs(10), follows).await.unwrap().unwrap();
    journal.append(append(6..=6)).await.unwrap();
    journal.close().await;
    assert_eq!(*durable.borrow(), Number(6));
}

#[tokio::test]
async fn a_second_opener_is_refused_until_the_first_closes() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let kept = journal.clone();
    let refused = Journal::open(folder.path(), &JournalSettings::default(), &[]).await;
    assert!(matches!(refused, Err(JournalError::Locked(_))));
    tokio::join!(journal.close(), kept.close());
    open(folder.path()).await.append(append(1..=1)).await.unwrap();
    assert!(matches!(kept.append(append(1..=1)).await, Err(JournalError::Closed)));
    assert!(matches!(kept.pipeline("p").await, Ok(None)));
    assert!(matches!(kept.controls().await, Err(JournalError::Closed)));
}
