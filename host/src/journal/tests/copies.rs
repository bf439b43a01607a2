//! Copies of a journal that is open, and what becomes of the writer meanwhile.

use std::time::{Duration, Instant};

use sqlx::Connection as _;

use super::*;
use crate::journal::check::check;
use crate::journal::copy::copy;
use crate::journal::outside::Outside;

#[tokio::test]
async fn a_copy_of_an_open_journal_is_sound_and_begins_a_new_epoch_once() {
    let (folder, into) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(copy(folder.path(), into.path()).await.unwrap().is_none(), "there is none");
    let journal = open(folder.path()).await;
    journal.append(append(1..=3)).await.unwrap();
    let copied = copy(folder.path(), into.path()).await.unwrap().unwrap();
    assert_eq!((&*copied.epoch, copied.head), (&*journal.epoch(), journal.head()));
    journal.append(append(4..=4)).await.unwrap();
    assert!(check(into.path()).await.unwrap().unwrap().sound);
    assert_eq!(std::fs::read_dir(into.path()).unwrap().count(), 1, "the file alone");
    // As somebody would put it in place by hand, with the lock file of the run that it was copied in.
    std::fs::copy(folder.path().join("journal.lock"), into.path().join("journal.lock")).unwrap();

    let restored = open(into.path()).await;
    assert_ne!(restored.epoch(), journal.epoch());
    assert_eq!(restored.head(), copied.head);
    let epoch = restored.epoch();
    restored.append(append(4..=4)).await.unwrap();
    restored.close().await;
    assert_eq!(open(into.path()).await.epoch(), epoch, "one new epoch, not one at each start");
    journal.close().await;
    assert_eq!(open(folder.path()).await.epoch(), journal.epoch(), "the journal itself goes on");
}

#[tokio::test]
async fn a_long_reader_from_outside_holds_commits_up_for_moments_only() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), &settings(|s| s.wal_bytes = 1 << 20), &[]).await.unwrap();
    journal.append(append(1..=1)).await.unwrap();
    let mut reader = Outside::open(folder.path()).await.unwrap().unwrap();
    let mut reading = reader.conn.begin().await.unwrap();
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM record").fetch_one(&mut *reading).await.unwrap();
    assert_eq!(rows, 1);
    let (mut longest, mut at) = (Duration::ZERO, 1);
    let wal = || std::fs::metadata(folder.path().join("journal.db-wal")).unwrap().len();
    while wal() < 3 << 20 {
        let body = noise(100 << 10);
        at += 1;
        let began = Instant::now();
        let state =
            commit(if at == 2 { None } else { Some(at - 2) }, at - 1, vec![message("tasks", &format!("{body:?}"))]);
        journal.commit(state).await.unwrap();
        longest = longest.max(began.elapsed());
    }
    assert!(longest < Duration::from_secs(2), "a commit took {longest:?}");
    println!("a WAL of {} bytes behind a reader; the longest commit took {longest:?}", wal());
    reading.rollback().await.unwrap();
    reader.close().await.unwrap();
    for n in 0..20 {
        journal
            .commit(commit(Some(at - 1 + n), at + n, vec![message("tasks", &format!("{:?}", noise(100 << 10)))]))
            .await
            .unwrap();
    }
    assert!(wal() < 3 << 20, "without the reader it shrinks again: {}", wal());
}
