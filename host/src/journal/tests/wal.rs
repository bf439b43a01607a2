//! The WAL's bound: under sustained writing, with readers of our own, and with one from outside that reads for long.

use std::os::unix::fs::FileExt as _;
use std::time::Instant;

use sqlx::Connection as _;

use super::retention::with;
use super::*;
use crate::journal::open::wal_path;
use crate::journal::outside::Outside;

const BOUND: u64 = 1 << 20;

fn length(folder: &Path) -> u64 {
    std::fs::metadata(wal_path(&folder.join("journal.db"))).unwrap().len()
}

/// Differs from one filling of the WAL to the next.
fn salts(folder: &Path) -> [u8; 8] {
    let mut salts = [0; 8];
    std::fs::File::open(wal_path(&folder.join("journal.db"))).unwrap().read_exact_at(&mut salts, 16).unwrap();
    salts
}

/// Appends an event of 20 KB.
async fn write(journal: &Journal, position: u64) {
    let events = vec![super::change(position, &noise(20_000))];
    journal.append(Append { events, ..append(position..=position) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sustained_writing_fills_the_wal_again_and_again_and_never_cuts_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| s.wal_bytes = BOUND).await;
    let (mut largest, mut fillings) = (0, std::collections::BTreeSet::new());
    for position in 1..=500 {
        write(&journal, position).await;
        let now = length(folder.path());
        assert!(now >= largest, "the file was cut from {largest} to {now} bytes, in the writer's way");
        largest = now;
        fillings.insert(salts(folder.path()));
    }
    assert!(largest <= BOUND + (64 << 10), "the WAL grew to {largest} bytes");
    println!("10 MB written: {} fillings of a WAL of {largest} bytes", fillings.len());
    assert!(fillings.len() >= 10);
    assert_eq!(all(&journal).await.len(), 500);
    journal.close().await;
    assert_eq!(all(&open(folder.path()).await).await.len(), 500);
}

#[tokio::test]
async fn readers_dont_let_the_wal_grow_beyond_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| {
        s.wal_bytes = 256 << 10;
        s.memory = 1;
    })
    .await;
    let reader = {
        let journal = journal.clone();
        tokio::spawn(async move {
            while let Ok(records) = journal.embedded.reader().read(Number::ZERO, 1 << 20).await {
                assert!(records.len() < 1000);
            }
        })
    };
    let mut largest = 0;
    for position in 1..=300 {
        write(&journal, position).await;
        largest = largest.max(length(folder.path()));
    }
    assert!(largest < 2 << 20, "the WAL grew to {largest} bytes while 6 MB were written");
    journal.close().await;
    reader.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_reader_from_outside_holds_commits_up_for_moments_only_and_leaves_no_large_wal() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| s.wal_bytes = BOUND).await;
    journal.append(append(1..=1)).await.unwrap();
    let mut reader = Outside::open(folder.path()).await.unwrap().unwrap();
    let mut reading = reader.conn.begin().await.unwrap();
    let count = "SELECT count(*) FROM record";
    let rows: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.unwrap();
    assert_eq!(rows, 1);
    let (mut longest, mut position) = (Duration::ZERO, 1);
    while length(folder.path()) < 5 * BOUND {
        position += 1;
        let began = Instant::now();
        write(&journal, position).await;
        longest = longest.max(began.elapsed());
    }
    assert!(longest < Duration::from_secs(2), "an append took {longest:?}");
    println!("a WAL of {} bytes behind a reader; the longest append took {longest:?}", length(folder.path()));
    let rows: i64 = sqlx::query_scalar(count).fetch_one(&mut *reading).await.unwrap();
    assert_eq!(rows, 1, "the reader sees what it saw");
    reading.rollback().await.unwrap();
    reader.close().await.unwrap();
    let then = position;
    while length(folder.path()) > 2 * BOUND {
        position += 1;
        write(&journal, position).await;
        assert!(position < then + 100, "without the reader it stays as large: {}", length(folder.path()));
    }
    println!("{} appends later it had {} bytes", position - then, length(folder.path()));
    let records = u64::try_from(all(&journal).await.len()).unwrap();
    assert_eq!(records, position);
}
