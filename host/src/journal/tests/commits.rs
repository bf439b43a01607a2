//! Commits, their neighbours, their messages.

use super::*;

#[tokio::test]
async fn a_commit_gives_cursor_state_and_messages_together() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=4)).await.unwrap();
    assert_eq!(journal.pipeline("p").await.unwrap(), None);
    let first = Commit {
        state: vec![set("a", b"1"), set("b", b"2"), set("a", b"3")],
        ..commit(None, 4, vec![message("tasks", "one"), state_message("board", "k", "1"), message("tasks", "two")])
    };
    assert_eq!(journal.commit(first).await.unwrap(), Number(7));
    let delete = StateChange { value: None, ..set("b", b"") };
    let plugins = vec![PluginVersion { plugin: "tareas".into(), version: "0.1.0".into() }];
    let second = Commit { state: vec![delete, set("c", b"")], plugins: plugins.clone(), ..commit(Some(4), 7, vec![]) };
    assert_eq!(journal.commit(second).await.unwrap(), Number(8));
    for _ in 0..2 {
        let killed = killed_copy(folder.path());
        let journal = open(killed.path()).await;
        let known = journal.pipeline("p").await.unwrap().unwrap();
        assert_eq!(known.cursor, Number(7));
        let state: Vec<_> = known.state["plugin"].iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(state, [("a", &b"3"[..]), ("c", &b""[..])]);
        assert_eq!(history(&journal, &["tasks"], 0, 10).await, (vec![(5, "one".into()), (7, "two".into())], 8));
        let records = all(&journal).await;
        assert_eq!(shape(&records[1..]), [(5, 7, vec![5, 6, 7]), (8, 8, vec![])]);
        assert!(matches!(&records[2].body, RecordBody::Commit(c) if c.plugins == plugins && c.state.len() == 2));
    }
    let reset = Commit { reset: true, state: vec![set("z", b"9")], ..commit(Some(7), 8, vec![]) };
    journal.commit(reset).await.unwrap();
    let known = journal.pipeline("p").await.unwrap().unwrap();
    assert_eq!(known.state["plugin"].keys().map(|k| &**k).collect::<Vec<_>>(), ["z"]);
}

#[tokio::test]
async fn a_commit_from_elsewhere_than_the_cursor_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=9)).await.unwrap();
    let refused = journal.commit(commit(Some(1), 2, vec![message("tasks", "no")])).await;
    assert!(matches!(refused, Err(JournalError::Conflict { found: None, .. })));
    journal.commit(commit(None, 3, vec![message("tasks", "yes")])).await.unwrap();
    for wrong in [None, Some(2), Some(4)] {
        let refused = journal.commit(commit(wrong, 5, vec![message("tasks", "no")])).await;
        assert!(matches!(refused, Err(JournalError::Conflict { found: Some(Number(3)), .. })));
        assert!(journal.commit(commit(wrong, 5, vec![])).await.is_err(), "not even the cursor alone");
    }
    assert_eq!(history(&journal, &["tasks"], 0, 10).await.0, [(10, "yes".into())]);
}

#[tokio::test]
async fn a_bad_one_in_a_group_doesnt_fail_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=1)).await.unwrap();
    // What SQLite itself refuses, in the middle of a commit's statements.
    let other = sqlx::SqlitePool::connect(folder.path().join("journal.db").to_str().unwrap()).await.unwrap();
    let trap = "CREATE TRIGGER trap BEFORE INSERT ON state WHEN NEW.key = 'bad' BEGIN SELECT raise(ABORT, 'trap'); END";
    sqlx::query(trap).execute(&mut other.acquire().await.unwrap() as &mut sqlx::SqliteConnection).await.unwrap();
    other.close().await;
    let named = |name: &str, key: &str, after: Option<u64>| Commit {
        pipeline: name.into(),
        state: vec![set(key, b"1")],
        ..commit(after, 1, vec![message(name, name)])
    };
    // Polled together, so that all wait when the writer looks.
    let (a, bad, conflict, b, appended, repeated, c) = tokio::join!(
        journal.commit(named("a", "good", None)),
        journal.commit(named("bad", "bad", None)),
        journal.commit(named("conflict", "good", Some(7))),
        journal.commit(named("b", "good", None)),
        journal.append(Append { source: "api".into(), events: vec![published("k")], ..append(1..=1) }),
        journal.append(Append { source: "api".into(), events: vec![published("k")], ..append(1..=1) }),
        journal.commit(named("c", "good", None)),
    );
    assert_eq!((a.unwrap(), b.unwrap(), c.unwrap()), (Number(2), Number(3), Number(5)));
    assert!(matches!(bad, Err(JournalError::Storage(_))), "{bad:?}");
    assert!(matches!(conflict, Err(JournalError::Conflict { .. })));
    assert_eq!(appended.unwrap(), Appended::Applied { first: Number(4), last: Number(4) });
    assert_eq!(repeated.unwrap(), Appended::Already(Number(4)));
    let killed = killed_copy(folder.path());
    for journal in [journal, open(killed.path()).await] {
        assert_eq!(journal.head(), Number(5));
        let found = history(&journal, &["a", "b", "c", "bad", "conflict"], 0, 10).await.0;
        assert_eq!(found, [(2, "a".into()), (3, "b".into()), (5, "c".into())]);
        assert_eq!(journal.pipeline("bad").await.unwrap(), None);
        assert!(journal.pipeline("a").await.unwrap().is_some());
        assert_eq!(journal.commit(named("bad", "good", None)).await.unwrap(), Number(6), "it may try again");
    }
}

#[tokio::test]
async fn a_snapshot_under_way_survives_a_neighbours_failure() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=5)).await.unwrap();
    let other = sqlx::SqlitePool::connect(folder.path().join("journal.db").to_str().unwrap()).await.unwrap();
    let trap = "CREATE TRIGGER trap BEFORE INSERT ON state WHEN NEW.key = 'bad' BEGIN SELECT raise(ABORT, 'trap'); END";
    sqlx::query(trap).execute(&mut other.acquire().await.unwrap() as &mut sqlx::SqliteConnection).await.unwrap();
    other.close().await;
    let bad = || Commit {
        pipeline: "bad".into(),
        state: vec![set("bad", b"1")],
        ..commit(None, 1, vec![message("bad", "bad")])
    };
    let part = |request| SnapshotPart {
        pipeline: "p".into(),
        request: Number(request),
        contains: Position { commit: 5, index: 0 },
    };
    let snapshot = |request, append: Append| Append { snapshot: Some(part(request)), ..append };
    journal.append(snapshot(9, chunk(100..=101))).await.unwrap();
    // Beside a neighbour that takes the snapshot on, then alone.
    let (staged, failed) = tokio::join!(journal.append(snapshot(9, chunk(102..=102))), journal.commit(bad()));
    assert_eq!(staged.unwrap(), Appended::Staged);
    assert!(matches!(failed, Err(JournalError::Storage(_))), "{failed:?}");
    assert!(journal.commit(bad()).await.is_err());
    let last = journal.append(snapshot(9, append(103..=103))).await.unwrap();
    assert_eq!(last, Appended::Applied { first: Number(6), last: Number(9) });
    assert_eq!(journal.append(append(6..=6)).await.unwrap(), Appended::Applied { first: Number(10), last: Number(10) });

    // Another request's chunks still take the place of these.
    journal.append(snapshot(10, chunk(100..=101))).await.unwrap();
    assert!(journal.commit(bad()).await.is_err());
    let last = journal.append(snapshot(11, append(100..=100))).await.unwrap();
    assert_eq!(last, Appended::Applied { first: Number(11), last: Number(11) });
    let killed = killed_copy(folder.path());
    for journal in [journal, open(killed.path()).await] {
        let expected = [(6, 7, vec![6, 7]), (8, 8, vec![8]), (9, 9, vec![9]), (10, 10, vec![10]), (11, 11, vec![11])];
        assert_eq!(shape(&journal.read(Number(5), 1 << 20).await.unwrap()), expected);
    }
}

#[tokio::test]
async fn a_cursor_that_moves_alone_is_neither_lost_nor_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=9)).await.unwrap();
    assert_eq!(journal.commit(commit(None, 2, vec![])).await.unwrap(), Number(9));
    assert_eq!(journal.head(), Number(9), "it takes no number");
    assert_eq!(journal.pipeline("p").await.unwrap().unwrap().cursor, Number(2));
    let killed = killed_copy(folder.path());
    let again = open(killed.path()).await;
    assert_eq!(again.pipeline("p").await.unwrap(), None, "it waited in memory");
    again.commit(commit(None, 4, vec![])).await.unwrap();
    again.commit(commit(Some(4), 5, vec![message("tasks", "x")])).await.unwrap();
    again.commit(commit(Some(5), 6, vec![])).await.unwrap();
    again.close().await;
    let again = open(killed.path()).await;
    assert_eq!(again.pipeline("p").await.unwrap().unwrap().cursor, Number(6), "a close saves it");
    again.commit(commit(Some(6), 7, vec![])).await.unwrap();

    // Saved within a second or so without a close.
    journal.commit(commit(Some(2), 3, vec![])).await.unwrap();
    let saved = async {
        while !journal.embedded.shared.known().cursors["p"].is_saved() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), saved).await.unwrap();
    let killed = killed_copy(folder.path());
    assert_eq!(open(killed.path()).await.pipeline("p").await.unwrap().unwrap().cursor, Number(3));
}

#[tokio::test]
async fn ephemeral_messages_take_numbers_and_are_never_stored() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let typing = || Message { channel_kind: ChannelKind::Ephemeral, ..message("typing", "secret") };
    let messages = vec![typing(), message("tasks", "a"), typing(), message("tasks", "b")];
    assert_eq!(journal.commit(commit(None, 0, messages)).await.unwrap(), Number(4));
    assert_eq!(journal.commit(commit(Some(0), 0, vec![typing()])).await.unwrap(), Number(5));
    assert_eq!(shape(&all(&journal).await), [(1, 4, vec![1, 2, 3, 4]), (5, 5, vec![5])]);
    let expected = vec![(2, "a".into()), (4, "b".into())];
    assert_eq!(history(&journal, &["tasks", "typing"], 0, 9).await, (expected.clone(), 5));
    journal.close().await;
    assert!(!String::from_utf8_lossy(&std::fs::read(folder.path().join("journal.db")).unwrap()).contains("secret"));
    let journal = open(folder.path()).await;
    assert_eq!(shape(&all(&journal).await), [(1, 4, vec![2, 4]), (5, 5, vec![])]);
    assert_eq!(history(&journal, &["tasks", "typing"], 0, 9).await, (expected, 5));
}

#[tokio::test]
async fn a_commit_larger_than_a_record_is_still_all_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(|s| s.record_bytes = 16 << 10);
    let journal = Journal::open(folder.path(), &settings, &[]).await.unwrap();
    let large = noise(5000);
    let messages = (0..5).map(|_| message("tasks", &large)).chain([state_message("board", "k", &large)]).collect();
    let big =
        Commit { state: (0..5).map(|k| set(&k.to_string(), large.as_bytes())).collect(), ..commit(None, 0, messages) };
    assert_eq!(journal.commit(big).await.unwrap(), Number(8));
    let expected =
        [(1, 1, vec![]), (2, 2, vec![]), (3, 3, vec![3]), (4, 5, vec![4, 5]), (6, 7, vec![6, 7]), (8, 8, vec![8])];
    assert_eq!(shape(&all(&journal).await), expected);
    assert_eq!(journal.pipeline("p").await.unwrap().unwrap().state["plugin"].len(), 5);
    let killed = killed_copy(folder.path());
    let again = open(killed.path()).await;
    assert_eq!(shape(&all(&again).await), expected);
    assert_eq!(again.state_channel(&channels(&["board"])[0]).await.unwrap().messages[0].number, Number(8));

    let refused = journal.commit(commit(Some(0), 0, vec![message("tasks", &noise(20_000))])).await;
    assert!(matches!(refused, Err(JournalError::TooLarge { .. })));
}

#[tokio::test]
async fn history_is_the_same_from_memory_and_from_disk() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let near = open(near.path()).await;
    let far = Journal::open(far.path(), &from_disk(), &[]).await.unwrap();
    for journal in [&near, &far] {
        let mut after = None;
        for round in 0..700_u64 {
            let names = ["a", "b", "c"];
            let quiet = Message { channel_kind: ChannelKind::State, ..message("a", "never in history") };
            let mut messages: Vec<_> =
                (0..=round % 3).map(|i| message(names[i as usize], &format!("{round}"))).collect();
            messages.push(quiet);
            journal.commit(commit(after, round, messages)).await.unwrap();
            after = Some(round);
        }
    }
    let head = near.head();
    assert_eq!(head, far.head());
    assert!(far.embedded.shared.tail(|tail| tail.history(&channels(&["a"]), Number(500), 1)).is_none());
    for names in [&["a"][..], &["b", "c"], &["a", "b", "c"], &["b", "none"], &["a", "a"]] {
        for (after, limit) in [(0, 10), (3, 1), (700, 5000), (head.0 - 2, 10), (head.0, 10)] {
            let (expected, through) = history(&near, names, after, limit).await;
            // From disk, `through` may be less: what was looked at; paging must bring the same.
            let (mut found, mut at) = (Vec::new(), after);
            while at < through && found.len() < expected.len().max(1) {
                let (more, next) = history(&far, names, at, limit - found.len().min(limit - 1)).await;
                assert!(next > at, "paging stands still at {at}");
                found.extend(more);
                at = next;
            }
            assert_eq!(found, expected, "{names:?} after {after}, {limit}");
        }
    }
}

#[tokio::test]
async fn a_state_channel_has_the_newest_of_each_key() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let gone = Message { deleted: true, ..state_message("board", "b", "null") };
    let messages = vec![
        state_message("board", "b", "1"),
        state_message("board", "a", "1"),
        state_message("board", "a", "2"),
        state_message("other", "a", "x"),
    ];
    journal.commit(commit(None, 0, messages)).await.unwrap();
    let keys = journal.state_keys("p").await.unwrap();
    let keys: Vec<_> = keys.iter().map(|(c, k)| (c.as_str(), &**k)).collect();
    assert_eq!(keys, [("board", "a"), ("board", "b"), ("other", "a")]);
    journal.commit(commit(Some(0), 0, vec![state_message("board", "c", "1"), gone])).await.unwrap();
    let board = journal.state_channel(&channels(&["board"])[0]).await.unwrap();
    assert_eq!(said(&board.messages), [(3, "2".into()), (5, "1".into())]);
    assert_eq!(board.as_of, Number(6));
    let none = journal.state_channel(&channels(&["none"])[0]).await.unwrap();
    assert_eq!((none.messages.len(), none.as_of), (0, Number(6)));
}

#[tokio::test]
async fn commits_that_were_handed_in_become_true_in_turn_or_fail_together() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let first = journal.hand_in(commit(None, 1, vec![message("a", "1")])).await.unwrap();
    let second = journal.hand_in(commit(Some(1), 2, vec![message("a", "2")])).await.unwrap();
    assert_eq!((first.done().await.unwrap(), second.done().await.unwrap()), (Number(1), Number(2)));
    // The pipeline doesn't stand at 1: neither that one nor what is built on it comes true.
    let wrong = journal.hand_in(commit(Some(1), 3, vec![message("a", "3")])).await.unwrap();
    let upon = journal.hand_in(commit(Some(3), 4, vec![message("a", "4")])).await.unwrap();
    assert!(matches!(wrong.done().await, Err(JournalError::Conflict { .. })));
    assert!(matches!(upon.done().await, Err(JournalError::Conflict { .. })));
    // Nobody waits for this one, and whoever asks where the pipeline stands still hears of it.
    drop(journal.hand_in(commit(Some(2), 5, vec![message("a", "5")])).await.unwrap());
    assert_eq!(journal.pipeline("p").await.unwrap().unwrap().cursor, Number(5));
    assert_eq!(journal.head(), Number(3));
}
