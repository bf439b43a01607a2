//! Epochs, durability, stops.

use super::*;

async fn open_at(folder: &Path, boot: impl Into<Option<&str>>, durability: Durability) -> Journal {
    let settings = settings(|s| s.durability = durability);
    let boot = boot.into().map(str::to_owned);
    let embedded = crate::journal::open::open(folder, &settings, &[], boot).await.unwrap();
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
async fn where_a_start_of_the_machine_is_not_known_only_a_clean_stop_keeps_the_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_at(folder.path(), None::<&str>, Durability::Process).await;
    journal.append(append(1..=1)).await.unwrap();
    let killed = killed_copy(folder.path());
    journal.close().await;
    assert_eq!(open_at(folder.path(), None::<&str>, Durability::Process).await.epoch(), journal.epoch());
    assert_ne!(open_at(killed.path(), None::<&str>, Durability::Process).await.epoch(), journal.epoch());
}

#[tokio::test]
async fn a_journal_that_was_restored_and_grew_again_has_a_new_epoch() {
    let put_back = |backup: &Path, folder: &Path| {
        let _ = std::fs::remove_file(folder.join("journal.db-wal"));
        let _ = std::fs::remove_file(folder.join("journal.db-shm"));
        for file in ["journal.db", "journal.db-wal"] {
            if backup.join(file).exists() {
                std::fs::copy(backup.join(file), folder.join(file)).unwrap();
            }
        }
    };
    for while_open in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path()).await;
        let epoch = journal.epoch();
        journal.append(append(1..=3)).await.unwrap();
        let backup = if while_open {
            killed_copy(folder.path())
        } else {
            journal.close().await;
            let backup = tempfile::tempdir().unwrap();
            std::fs::copy(folder.path().join("journal.db"), backup.path().join("journal.db")).unwrap();
            backup
        };
        let journal = if while_open { journal } else { open(folder.path()).await };
        journal.append(append(4..=5)).await.unwrap();
        assert_eq!(journal.epoch(), epoch);
        if !while_open {
            let killed = killed_copy(folder.path());
            put_back(backup.path(), killed.path());
            assert_ne!(open(killed.path()).await.epoch(), epoch, "killed, then restored");
        }
        journal.close().await;

        put_back(backup.path(), folder.path());
        let journal = open(folder.path()).await;
        assert_ne!(journal.epoch(), epoch, "{while_open}");
        let epoch = journal.epoch();
        assert_eq!(journal.head(), Number(3));
        // Beyond where clients were: their offsets alone tell nothing.
        journal.append(append(4..=9)).await.unwrap();
        journal.close().await;
        assert_eq!(open(folder.path()).await.epoch(), epoch, "it is the one that was here last now");

        let elsewhere = tempfile::tempdir().unwrap();
        put_back(backup.path(), elsewhere.path());
        assert_ne!(open(elsewhere.path()).await.epoch(), epoch, "or in another place");
    }
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
    assert!(matches!(kept.pipeline("p").await, Err(JournalError::Closed)));
    assert!(matches!(kept.controls(Number::ZERO, 10_000).await, Err(JournalError::Closed)));
}
