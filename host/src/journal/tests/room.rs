//! No room in the journal: the mark that says so, and how it goes.

use tokio::time::{sleep, timeout};

use super::retention::{pass, rule, with};
use super::*;

/// Appends events of so many bytes from a position on until there is no room; the position that found none.
async fn fill_up(journal: &Journal, mut position: u64, bytes: usize) -> u64 {
    let large = noise(bytes);
    loop {
        let events = vec![change(position, &large)];
        match journal.append(Append { events, ..append(position..=position) }).await {
            Ok(_) => position += 1,
            Err(JournalError::NoRoom { .. }) => return position,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn what_is_small_and_finds_room_does_not_take_the_mark_of_what_is_large_away() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| s.max_bytes = Some(1 << 20)).await;
    let mut position = fill_up(&journal, 1, 100_000).await;
    assert!(journal.no_room().unwrap().contains("make room"));
    let mut written = 0;
    // Longer than until the first probe.
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        written += u32::from(journal.append(append(position..=position)).await.is_ok());
        position += 1;
        assert!(journal.no_room().is_some(), "after {written} small writes that found room");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(written > 0, "some found room");
    journal.close().await;
}

#[tokio::test]
async fn retention_makes_room_and_the_mark_goes_though_nobody_writes() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| {
        s.max_bytes = Some(2 << 20);
        s.keep_bytes = 1 << 20;
    })
    .await;
    journal.append(append(1..=1)).await.unwrap();
    // A pipeline that stands still holds everything back.
    journal.commit(commit(None, 1, vec![message("tasks", "first")])).await.unwrap();
    let position = fill_up(&journal, 2, 20_000).await;
    assert!(journal.no_room().is_some());
    // It passes all.
    journal.commit(commit(Some(1), journal.head().0, Vec::new())).await.unwrap();
    let room = async {
        while journal.no_room().is_some() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), room).await.expect("the mark goes");
    assert!(journal.lacked_room().is_some_and(|why| why.contains("make room")), "whoever looks late learns of it");
    assert_eq!(journal.lacked_room(), None, "once");
    assert!(journal.kept_after() > Number::ZERO, "retention took something");
    // It goes on where it stood, and nothing of a probe stays.
    let appended = journal.append(append(position..=position)).await.unwrap();
    assert!(matches!(appended, Appended::Applied { .. }));
    let probed = "SELECT count(*) FROM meta WHERE name = 'room'";
    let rows: i64 = sqlx::query_scalar(probed).fetch_one(&journal.embedded.pool).await.unwrap();
    assert_eq!(rows, 0);
    journal.close().await;
}

#[tokio::test]
async fn a_full_journal_frees_itself_though_moving_rows_of_its_index_would_need_room() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[rule("user:*", None, Some(1 << 20))], |s| {
        s.max_bytes = Some(2 << 20);
        s.keep_bytes = 1 << 20;
    })
    .await;
    journal.embedded.end_tasks().await;
    // Its pipeline is ahead of all that comes.
    let messages = (0..1000).map(|n| message(&format!("user:{n}"), "x")).collect();
    journal.commit(commit(None, 1_000_000, messages)).await.unwrap();
    let mut position = 1;
    for bytes in [20_000, 2000, 100] {
        position = fill_up(&journal, position, bytes).await;
    }
    pass(&journal, 0).await;
    assert!(journal.kept_after() > Number::ZERO, "retention took something");
    journal.append(append(position..=position)).await.unwrap();
    journal.close().await;
}
