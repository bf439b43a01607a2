//! Appending and reading.

use super::*;

#[tokio::test]
async fn events_get_rising_numbers_and_are_read_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    assert_eq!(journal.head(), Number::ZERO);
    let first = journal.append(append(1..=3)).await.unwrap();
    assert_eq!(first, Appended::Applied { first: Number(1), last: Number(3) });
    let control = Control::Gap { source: "gad".into(), reason: "test".into() };
    assert_eq!(journal.control(control.clone()).await.unwrap(), Number(4));
    journal.append(append(4..=4)).await.unwrap();
    assert_eq!(journal.append(nothing(4)).await.unwrap(), Appended::Applied { first: Number(6), last: Number(6) });
    assert_eq!(journal.head(), Number(6));

    let expected = vec![(1, 3, vec![1, 2, 3]), (4, 4, vec![]), (5, 5, vec![5]), (6, 6, vec![])];
    assert_eq!(shape(&all(&journal).await), expected);
    assert_eq!(shape(&journal.read(Number(2), 1 << 20).await.unwrap()), expected);
    assert_eq!(shape(&journal.read(Number(3), 1).await.unwrap()), expected[1..2]);
    assert!(journal.read(Number(6), 1 << 20).await.unwrap().is_empty());
    assert_eq!(journal.controls(Number::ZERO, 10_000).await.unwrap(), [(Number(4), control)]);
    journal.close().await;
    assert!(matches!(journal.append(append(5..=5)).await, Err(JournalError::Closed)));

    let journal = open(folder.path()).await;
    assert_eq!(journal.head(), Number(6));
    assert_eq!(shape(&all(&journal).await), expected);
}

#[tokio::test]
async fn what_memory_lost_is_read_the_same_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), &from_disk(), &[]).await.unwrap();
    for position in 1..=600 {
        journal.append(append(position..=position)).await.unwrap();
    }
    assert!(journal.read_memory(Number(10), 1000).is_none());
    let expected: Vec<_> = (1..=600).map(|n| (n, n, vec![n])).collect();
    assert_eq!(shape(&all(&journal).await), expected);
    assert_eq!(shape(&journal.read(Number(17), 1).await.unwrap()), expected[17..18]);
    let near = journal.read_memory(Number(599), 1000).unwrap();
    assert_eq!(shape(&near), expected[599..]);
}

#[tokio::test]
async fn whoever_wants_no_commits_reads_none_of_them_from_disk_and_learns_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), &from_disk(), &[]).await.unwrap();
    journal.append(append(1..=2)).await.unwrap();
    journal.commit(commit(None, 1, vec![message("a", "1"), message("a", "2")])).await.unwrap();
    journal.append(append(3..=3)).await.unwrap();
    journal.commit(commit(Some(1), 2, vec![message("a", "3")])).await.unwrap();
    for _ in 0..600 {
        journal.commit(commit(Some(2), 2, vec![message("a", "4")])).await.unwrap();
    }
    assert!(journal.read_memory(Number::ZERO, 1000).is_none());
    let (events, through) = journal.read_events(Number::ZERO, 1 << 20).await.unwrap();
    assert_eq!(shape(&events), [(1, 2, vec![1, 2]), (5, 5, vec![5])]);
    assert_eq!(through, journal.head(), "nothing but commits is behind them");
    let (events, through) = journal.read_events(Number::ZERO, 1).await.unwrap();
    assert_eq!((shape(&events), through), (vec![(1, 2, vec![1, 2])], Number(2)), "no room for the second");
    let (events, through) = journal.read_events(Number(5), 1 << 20).await.unwrap();
    assert_eq!((events.len(), through), (0, journal.head()));
}

#[tokio::test]
async fn large_records_are_stored_compressed_and_read_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), &from_disk(), &[]).await.unwrap();
    journal.append(append(1..=1)).await.unwrap();
    journal.append(append(2..=500)).await.unwrap();
    let messages = (0..500).map(|n| message("a", &format!("{{\"n\":{n},\"estado\":\"PROGRAMMED\"}}")));
    journal.commit(commit(None, 500, messages.collect())).await.unwrap();
    journal.append(append(501..=700)).await.unwrap();
    let in_memory = journal.read_memory(Number(1000), 1 << 20).unwrap();
    journal.close().await;

    let pool = sqlx::SqlitePool::connect(folder.path().join("journal.db").to_str().unwrap()).await.unwrap();
    let rows: Vec<(i64, i64)> =
        sqlx::query_as("SELECT size, length(body) FROM record ORDER BY first").fetch_all(&pool).await.unwrap();
    pool.close().await;
    assert_eq!(rows[0].0, rows[0].1, "a small one is stored as it is");
    assert!(rows[1..].iter().all(|(size, stored)| stored * 2 < *size), "{rows:?}");
    let journal = open(folder.path()).await;
    let read = all(&journal).await;
    assert_eq!(shape(&read)[1], (2, 500, (2..=500).collect()));
    let RecordBody::Commit(committed) = &read[2].body else { panic!("{:?}", read[2]) };
    assert_eq!(&*committed.messages[499].data, "{\"n\":499,\"estado\":\"PROGRAMMED\"}");
    assert_eq!(read[3].bytes, in_memory[0].bytes, "what it weighs in memory is no matter of compression");
}

#[tokio::test]
async fn chunks_become_visible_with_their_last_one_even_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=1)).await.unwrap();
    assert_eq!(journal.append(chunk(2..=4)).await.unwrap(), Appended::Staged);
    journal.append(chunk(5..=6)).await.unwrap();
    assert_eq!(journal.head(), Number(1));
    let killed = killed_copy(folder.path());

    journal.append(append(7..=7)).await.unwrap();
    let expected = vec![(1, 1, vec![1]), (2, 4, vec![2, 3, 4]), (5, 6, vec![5, 6]), (7, 7, vec![7])];
    assert_eq!(shape(&all(&journal).await), expected);

    let again = open(killed.path()).await;
    let source = again.source("gad").await.unwrap().unwrap();
    assert_eq!((source.position.commit, &*source.token), (6, "token 6"), "capture goes on after the chunks");
    assert_eq!(again.head(), Number(1));
    again.append(append(7..=7)).await.unwrap();
    assert_eq!(shape(&all(&again).await), expected);
    assert_eq!(again.number_at("gad", Position { commit: 5, index: 0 }).await.unwrap(), Number(5));
    drop(again);
}

#[tokio::test]
async fn chunks_of_another_life_of_the_source_are_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(chunk(1..=2)).await.unwrap();
    let other = Append { incarnation: "two".into(), ..append(1..=1) };
    assert_eq!(journal.append(other).await.unwrap(), Appended::Applied { first: Number(1), last: Number(1) });
    assert_eq!(shape(&all(&journal).await), [(1, 1, vec![1])]);
}

#[tokio::test]
async fn an_append_from_before_where_its_source_stands_is_refused_and_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=2)).await.unwrap();
    journal.append(chunk(5..=6)).await.unwrap();
    let stands = journal.source("gad").await.unwrap();
    // Alone in its transaction, and among others.
    let (early, neighbour, chunks) = tokio::join!(
        journal.append(nothing(3)),
        journal.append(Append { source: "other".into(), ..append(1..=1) }),
        journal.append(chunk(3..=4))
    );
    neighbour.unwrap();
    for refused in [early, chunks, journal.append(nothing(5)).await] {
        let error = refused.unwrap_err();
        assert!(matches!(error, JournalError::Backwards { .. }), "{error}");
        assert!(error.to_string().starts_with("source gad stands at 6/0"), "{error}");
    }
    assert_eq!(journal.source("gad").await.unwrap(), stands, "the source has not moved");
    assert_eq!(shape(&all(&journal).await), [(1, 2, vec![1, 2]), (3, 3, vec![3])], "no chunk can be seen");
    // It goes on where it stood; and the next life of the source begins where it likes.
    journal.append(append(7..=7)).await.unwrap();
    assert_eq!(shape(&all(&journal).await)[2..], [(4, 5, vec![4, 5]), (6, 6, vec![6])]);
    journal.append(Append { incarnation: "two".into(), ..append(1..=1) }).await.unwrap();
    journal.close().await;
    assert!(check(folder.path()).await.unwrap().is_some_and(|report| report.sound));
}

#[tokio::test]
async fn a_snapshot_doesnt_move_its_source_and_goes_on_after_a_restart_for_whoever_asks() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=5)).await.unwrap();
    let part = |request, commit| {
        let contains = Position { commit, index: 0 };
        Some(SnapshotPart { pipeline: "p".into(), request: Number(request), contains })
    };
    let snapshot = |append: Append| Append { snapshot: part(9, 5), ..append };
    journal.append(snapshot(chunk(100..=101))).await.unwrap();
    journal.append(snapshot(Append { token: "there".into(), ..chunk(102..=102) })).await.unwrap();
    journal.append(chunk(6..=6)).await.unwrap();
    let killed = killed_copy(folder.path());

    let last = snapshot(nothing(102));
    assert_eq!(journal.append(last.clone()).await.unwrap(), Appended::Applied { first: Number(6), last: Number(9) });
    let records = journal.read(Number(5), 1 << 20).await.unwrap();
    assert_eq!(shape(&records), [(6, 7, vec![6, 7]), (8, 8, vec![8]), (9, 9, vec![])]);
    assert!(matches!(&records[2].body, RecordBody::Append(a) if a.complete && a.snapshot == part(9, 5)));
    assert_eq!(journal.source("gad").await.unwrap().unwrap().position.commit, 6);

    let again = open(killed.path()).await;
    assert!(again.take_over_snapshot("gad", "q", Number(12)).await.unwrap().is_none());
    let there = again.take_over_snapshot("gad", "p", Number(12)).await.unwrap().unwrap();
    assert_eq!((&*there.token, there.snapshot, there.events.len()), ("there", part(9, 5), 1));
    // It may contain more by then.
    let last = Append { snapshot: part(12, 6), ..nothing(103) };
    assert_eq!(again.append(last).await.unwrap(), Appended::Applied { first: Number(6), last: Number(9) });
    let records = again.read(Number(5), 1 << 20).await.unwrap();
    assert_eq!(shape(&records), [(6, 7, vec![6, 7]), (8, 8, vec![8]), (9, 9, vec![])]);
    let told = records.iter().map(|record| match &record.body {
        RecordBody::Append(append) => append.snapshot.clone(),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    assert_eq!(
        (&told[0], &told[2]),
        (&part(12, 5), &part(12, 6)),
        "the first says for whom it is, the last what it contains"
    );
    assert_eq!(again.append(append(7..=7)).await.unwrap(), Appended::Applied { first: Number(10), last: Number(11) });
    again.append(snapshot(chunk(1..=1))).await.unwrap();
    again.discard_snapshot("gad", "p").await.unwrap();
    assert_eq!(
        again.append(snapshot(nothing(1))).await.unwrap(),
        Appended::Applied { first: Number(12), last: Number(12) }
    );
    again.append(snapshot(chunk(1..=1))).await.unwrap();
    again.keep_pipelines(&["q".into()]).await.unwrap();
    assert!(again.take_over_snapshot("gad", "p", Number(13)).await.unwrap().is_none(), "the pipeline is gone");
    let is_there = async || again.take_over_snapshot("gad", "p", Number(9)).await.unwrap().is_some();
    again.append(snapshot(chunk(1..=1))).await.unwrap();
    again.keep_sources(&["gad".into()]).await.unwrap();
    again.keep_snapshots("q", None).await.unwrap();
    again.keep_snapshots("p", Some("gad")).await.unwrap();
    assert!(is_there().await, "wanted");
    again.keep_snapshots("p", Some("other")).await.unwrap();
    assert!(!is_there().await, "the pipeline waits for another source");
    again.append(snapshot(chunk(1..=1))).await.unwrap();
    again.append(chunk(8..=8)).await.unwrap();
    again.keep_sources(&["other".into()]).await.unwrap();
    assert!(!is_there().await, "the source is gone");
    let last = again.append(nothing(8)).await.unwrap();
    assert_eq!(last, Appended::Applied { first: Number(13), last: Number(14) }, "its own transaction goes on");
    again.close().await;
    assert!(check(killed.path()).await.unwrap().is_some_and(|report| report.sound));
}

#[tokio::test]
async fn where_a_source_stands_counts_the_append_of_a_caller_that_was_broken_off() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    for position in 1..=20 {
        tokio::select! {
            biased;
            _ = journal.append(append(position..=position)) => panic!("it waits for the writer"),
            () = std::future::ready(()) => {}
        }
        assert_eq!(journal.source("gad").await.unwrap().unwrap().position.commit, position);
    }
}

#[tokio::test]
async fn an_append_larger_than_a_record_becomes_several_and_a_too_large_event_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(|s| s.record_bytes = 16 << 10);
    let journal = Journal::open(folder.path(), &settings, &[]).await.unwrap();
    let large = noise(5000);
    let events = (1..=6).map(|p| change(p, &large)).collect();
    journal.append(Append { events, ..append(6..=6) }).await.unwrap();
    let records = all(&journal).await;
    assert_eq!(shape(&records), [(1, 2, vec![1, 2]), (3, 4, vec![3, 4]), (5, 6, vec![5, 6])]);
    assert!(records.iter().all(|r| r.bytes <= 16 << 10));
    assert_eq!(journal.number_at("gad", Position { commit: 3, index: 0 }).await.unwrap(), Number(3));

    let huge = change(7, &noise(20_000));
    let refused = journal.append(Append { events: vec![huge.clone()], ..append(7..=7) }).await;
    assert!(matches!(refused, Err(JournalError::TooLarge { .. })));
    assert_eq!(journal.source("gad").await.unwrap().unwrap().position.commit, 6);

    let mut fitted = (*huge).clone();
    assert!(!fit(&mut fitted, 1 << 10), "not even the frame fits");
}

#[test]
fn fit_names_what_it_leaves_out() {
    let mut event = (*change(1, "")).clone();
    let Body::Change(change) = &mut event.body else { unreachable!() };
    change.before = Some(format!(r#"{{"id":1,"blob":"{}","note":"n"}}"#, "a".repeat(30_000)).into());
    change.after = Some(format!(r#"{{"id":1,"blob":"b","note":"{}"}}"#, "n".repeat(40_000)).into());
    assert!(fit(&mut event, 64 << 10));
    let Body::Change(change) = &event.body else { unreachable!() };
    assert_eq!(change.missing.iter().map(|m| (&*m.column, m.bytes)).collect::<Vec<_>>(), [("note", 40_002)]);
    assert_eq!(change.after.as_deref(), Some(r#"{"blob":"b","id":1}"#));
    assert!(change.before.as_deref().is_some_and(|b| b.len() > 30_000), "what fits stays");
}

#[tokio::test]
async fn an_idempotency_key_is_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let send = |keys: &[&str]| Append {
        source: "api".into(),
        events: keys.iter().map(|key| published(key)).collect(),
        ..append(1..=1)
    };
    assert_eq!(journal.append(send(&["a"])).await.unwrap(), Appended::Applied { first: Number(1), last: Number(1) });
    assert_eq!(journal.append(send(&["a"])).await.unwrap(), Appended::Already(Number(1)));
    let mixed = journal.append(send(&["a", "b", "b"])).await.unwrap();
    assert_eq!(mixed, Appended::Applied { first: Number(2), last: Number(2) });
    journal.close().await;
    let journal = open(folder.path()).await;
    assert_eq!(journal.append(send(&["b"])).await.unwrap(), Appended::Already(Number(2)));
    assert_eq!(journal.head(), Number(2));
}

#[tokio::test]
async fn number_at_knows_positions_of_the_present_life_only() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let at = async |commit| journal.number_at("gad", Position { commit, index: 0 }).await.unwrap();
    assert_eq!(at(0).await, Number(0));
    journal.append(append(10..=12)).await.unwrap();
    assert_eq!((at(0).await, at(11).await, at(12).await), (Number(0), Number(2), Number(3)));
    journal.append(Append { incarnation: "two".into(), ..append(1..=2) }).await.unwrap();
    assert_eq!((at(0).await, at(1).await, at(11).await), (Number(3), Number(4), Number(5)));
}
