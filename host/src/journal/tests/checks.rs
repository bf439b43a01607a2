//! The check finds what is damaged, and finds nothing where nothing is.

use super::retention::pass;
use super::*;
use crate::journal::check::check;

/// A bit of everything, with retention's traces: states, state channels, checkpoints, letters, chunks, a rebuild.
pub(super) async fn lively(folder: &Path) -> Journal {
    let journal = open(folder).await;
    journal.append(append(1..=3)).await.unwrap();
    let mut first = commit(None, 3, vec![message("tasks", "1"), state_message("board", "a", "1")]);
    first.state = vec![set("count", b"3"), set("other", b"x")];
    journal.commit(first).await.unwrap();
    journal.append(chunk(4..=6)).await.unwrap();
    journal.append(append(7..=8)).await.unwrap();
    journal.control(Control::Checkpoint { pipeline: "p".into(), reason: "".into() }).await.unwrap();
    let mut second = commit(Some(3), 11, vec![message("tasks", "2"), message("user:1", "2")]);
    second.messages.push(state_message("board", "b", "2"));
    second.messages.push(Message { deleted: true, ..state_message("board", "a", "") });
    second.state = vec![set("count", b"8"), StateChange { value: None, ..set("other", b"") }];
    journal.commit(second).await.unwrap();
    let letter = DeadLetter {
        pipeline: "p".into(),
        plugin: "plugin".into(),
        version: "1".into(),
        reason: "why".into(),
        number: Number(2),
        origin: "gad".into(),
        event: (*change(2, "x")).clone(),
        lacking: ["plugin".into()].into(),
        delivered: false,
    };
    journal.control(Control::DeadLetter(Box::new(letter))).await.unwrap();
    journal.control(Control::Gap { source: "gad".into(), reason: "restored".into() }).await.unwrap();
    let mut other = commit(None, 12, vec![message("tasks", "q"), state_message("board", "q", "1")]);
    (other.pipeline, other.state) = ("q".into(), vec![set("big", &vec![7; 1_200_000])]);
    other.state.extend((0..200).map(|n| set(&format!("k{n}"), b"v")));
    let rebuilt = Commit { reset: true, after: Some(Number(12)), cursor: Number(13), ..Commit::default() };
    let refused = journal.commit(other).await;
    assert!(matches!(refused, Err(JournalError::TooLarge { .. })), "an entry is at most a record");
    let mut other = commit(None, 12, vec![message("tasks", "q")]);
    (other.pipeline, other.state) =
        ("q".into(), (0..3).map(|n| set(&format!("k{n}"), noise(300_000 + n).as_bytes())).collect());
    journal.commit(other).await.unwrap();
    journal.commit(Commit { pipeline: "q".into(), state: vec![set("k9", b"1")], ..rebuilt }).await.unwrap();
    journal.append(append(9..=9)).await.unwrap();
    // A transaction that is not complete yet.
    journal.append(chunk(10..=11)).await.unwrap();
    journal
}

async fn problems(folder: &Path) -> Vec<String> {
    let report = check(folder).await.unwrap().unwrap();
    let problems: Vec<_> = report.parts.into_iter().flat_map(|part| part.problems).collect();
    assert_eq!(report.sound, problems.is_empty());
    problems
}

#[tokio::test]
async fn a_sound_journal_is_sound_while_it_is_open_and_after() {
    let folder = tempfile::tempdir().unwrap();
    assert!(check(folder.path()).await.unwrap().is_none(), "there is none");
    let journal = lively(folder.path()).await;
    let report = check(folder.path()).await.unwrap().unwrap();
    assert!(report.sound && report.running, "{report:?}");
    assert_eq!(report.head, journal.head());
    assert_eq!((report.records.events, report.records.messages, report.records.controls), (9, 7, 3), "{report:?}");
    let killed = killed_copy(folder.path());
    assert_eq!(problems(killed.path()).await, [""; 0], "with what only the WAL has");
    journal.close().await;
    let report = check(folder.path()).await.unwrap().unwrap();
    assert!(report.sound && !report.running, "{report:?}");
}

#[tokio::test]
async fn a_table_s_form_is_no_source() {
    let folder = tempfile::tempdir().unwrap();
    let journal = lively(folder.path()).await;
    let found = || async {
        let report = check(folder.path()).await.unwrap().unwrap();
        report.parts.into_iter().find(|part| part.name == "positions").unwrap().found
    };
    let without = found().await;
    assert_eq!(without, "sources of events: 1, pipelines: 2; each where its newest record left it");
    let form = Append { source: "gad:public.orders".into(), events: vec![], ..append(1..=1) };
    journal.append(Append { position: Position { commit: 0, index: 0 }, ..form }).await.unwrap();
    assert_eq!(found().await, without.replace(";", ", forms of tables: 1;"));
    journal.close().await;
}

#[tokio::test]
async fn what_retention_took_is_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let journal = lively(folder.path()).await;
    for round in 0..3_u64 {
        pass(&journal, 8 * 24 * 3600).await;
        assert_eq!(problems(folder.path()).await, [""; 0], "round {round}");
        let cursor = journal.pipeline("p").await.unwrap().unwrap().cursor;
        journal.append(append(20 + round..=20 + round)).await.unwrap();
        let mut more = commit(Some(cursor.0), journal.head().0, vec![message("user:1", "x")]);
        more.state = vec![set("count", &[round as u8])];
        journal.commit(more).await.unwrap();
    }
    assert!(journal.kept_after() > Number(3), "it took something");
    journal.close().await;
}

#[tokio::test]
async fn what_is_changed_behind_the_journals_back_is_found() {
    let damages = [
        ("UPDATE record SET body = x'0201020304ff' WHERE first = 1", "record 1: its checksum is wrong (an append"),
        ("DELETE FROM record WHERE first = 4", "the records of the numbers 4 to 5 are gone"),
        ("UPDATE record SET last = last + 1 WHERE first = 1", "has 3 events for its numbers"),
        ("UPDATE record SET last = -1 WHERE first = 1", "has 3 events for its numbers"),
        ("UPDATE record SET last = 9223372036854775807 WHERE first = 1", "has 3 events for its numbers"),
        ("UPDATE record SET at = 1 WHERE first > 3", "was applied before"),
        ("UPDATE record SET pos_commit = 1 WHERE first = 1", "not indexed at its position"),
        ("DELETE FROM chunk WHERE id = 1", "its body is gone"),
        ("DELETE FROM channel_recent WHERE record = 4", "its messages are not in the index of channel tasks"),
        ("UPDATE channel_recent SET messages = 7 WHERE record = 4", "channel tasks has other messages"),
        (
            "INSERT INTO channel_index SELECT channel, record, messages, bytes FROM channel_recent WHERE record = 4",
            "record 4 is in both tables of the channels' index",
        ),
        ("INSERT INTO channel_recent VALUES (2, 1, 1, 1)", "record 2, which the channels' index names, is gone"),
        ("INSERT INTO channel_index VALUES (1, 2, 1, 1)", "record 2, which the channels' index names, is gone"),
        (
            "UPDATE state SET value = x'00' WHERE pipeline = 'p' AND key = 'count'",
            "pipeline p, entry plugin/count is not",
        ),
        ("DELETE FROM state WHERE key = 'count'", "pipeline p, entry plugin/count is not"),
        ("INSERT INTO state VALUES ('p', 'plugin', 'other', x'00')", "pipeline p, entry plugin/other is not"),
        ("INSERT INTO state VALUES ('p', 'plugin', 'new', x'00')", "entry plugin/new comes from no commit"),
        ("INSERT INTO state VALUES ('nobody', 'plugin', 'new', x'00')", "the state of nobody belongs to no pipeline"),
        ("DELETE FROM state_message WHERE key = 'b'", "channel board, key b is not the newest message"),
        ("UPDATE state_message SET number = 1 WHERE key = 'b'", "channel board, key b is not the newest message"),
        ("UPDATE cursor SET number = 1 WHERE pipeline = 'p'", "pipeline p stands at 1, before its newest commit"),
        ("UPDATE cursor SET number = 1000", "beyond the newest record"),
        ("UPDATE source SET token = 'x'", "source gad stands elsewhere"),
        ("DELETE FROM source", "where source gad stands is gone"),
        ("UPDATE dead_letter SET body = x'00'", "letter 16 of pipeline p"),
        ("UPDATE checkpoint SET cursor = 1000", "is ahead of the journal"),
        ("DELETE FROM life", "its life of source gad is not known"),
    ];
    let whole = tempfile::tempdir().unwrap();
    lively(whole.path()).await.close().await;
    for (damage, wanted) in damages {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(whole.path().join("journal.db"), folder.path().join("journal.db")).unwrap();
        super::damage::change(folder.path(), damage).await;
        let found = problems(folder.path()).await;
        assert!(found.iter().any(|problem| problem.contains(wanted)), "{damage}: {found:?}");
    }
}

#[tokio::test]
async fn pages_and_headers_that_are_damaged_are_found_and_no_error() {
    use std::os::unix::fs::FileExt as _;
    let whole = tempfile::tempdir().unwrap();
    lively(whole.path()).await.close().await;
    let pages = std::fs::metadata(whole.path().join("journal.db")).unwrap().len() / 4096;
    for page in 0..pages.min(40) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(whole.path().join("journal.db"), folder.path().join("journal.db")).unwrap();
        let file = std::fs::File::options().write(true).open(folder.path().join("journal.db")).unwrap();
        file.write_at(&[0xa5; 4096], page * 4096).unwrap();
        assert!(!problems(folder.path()).await.is_empty(), "page {page}");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(whole.path().join("journal.db"), folder.path().join("journal.db")).unwrap();
    super::damage::change(folder.path(), "PRAGMA user_version = 7").await;
    assert!(matches!(check(folder.path()).await, Err(JournalError::Format { found: 7, .. })));
}
