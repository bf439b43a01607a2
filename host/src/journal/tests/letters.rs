//! Dead letters: what is kept of them, and how long.

use super::*;
use crate::journal::tests::retention::{fill, pass, with};

pub(super) fn letter(pipeline: &str, event: u64, text: &str) -> DeadLetter {
    DeadLetter {
        pipeline: pipeline.into(),
        plugin: "plugin".into(),
        version: "0.1.0".into(),
        reason: "it trapped".into(),
        number: Number(event),
        origin: "one".into(),
        event: (*change(event, text)).clone(),
        lacking: ["plugin".into(), "other".into()].into(),
        delivered: true,
    }
}

pub(super) async fn write(journal: &Journal, letter: &DeadLetter) -> Number {
    journal.control(Control::DeadLetter(Box::new(letter.clone()))).await.unwrap()
}

fn closed(pipeline: &str, letter: Number, end: LetterEnd) -> Control {
    Control::LetterClosed { pipeline: pipeline.into(), letter, end, by: "ana".into() }
}

async fn listed(journal: &Journal, pipeline: Option<&str>, after: Number, limit: usize) -> Vec<u64> {
    let letters = journal.dead_letters(pipeline, after, limit).await.unwrap();
    letters.iter().map(|stored| stored.number.0).collect()
}

fn counts(of: &[(&str, u64)]) -> BTreeMap<Name, u64> {
    of.iter().map(|(pipeline, count)| (Name::from(*pipeline), *count)).collect()
}

#[tokio::test]
async fn a_letter_is_kept_whole_when_its_record_is_gone_until_it_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| {
        s.keep_bytes = 1 << 20;
        s.memory = 1;
    })
    .await;
    let (first, second, other) = (letter("p", 1, "a"), letter("p", 2, "b"), letter("q", 1, "c"));
    fill(&journal, 1..=2).await;
    let numbers = [write(&journal, &first).await, write(&journal, &other).await, write(&journal, &second).await];
    fill(&journal, 3..=120).await;
    pass(&journal, 0).await;
    assert!(journal.kept_after() > numbers[2], "the records are gone");
    let killed = killed_copy(folder.path());
    for journal in [journal, open(killed.path()).await] {
        for (number, letter) in numbers.into_iter().zip([&first, &other, &second]) {
            let stored = journal.dead_letter(number).await.unwrap().unwrap();
            assert_eq!((stored.number, &stored.letter), (number, letter));
            assert!(stored.at.0 > 1_000_000_000_000_000);
        }
        assert_eq!(listed(&journal, None, Number::ZERO, 10).await, [3, 4, 5]);
        assert_eq!(listed(&journal, Some("p"), Number::ZERO, 10).await, [3, 5]);
        assert_eq!(listed(&journal, Some("p"), numbers[0], 10).await, [5]);
        assert_eq!(listed(&journal, None, numbers[0], 1).await, [4]);
        assert_eq!(journal.dead_letter_count().await.unwrap(), counts(&[("p", 2), ("q", 1)]));

        journal.control(closed("q", numbers[0], LetterEnd::Dropped)).await.unwrap();
        assert!(journal.dead_letter(numbers[0]).await.unwrap().is_some(), "it is not q's");
        journal.control(closed("p", numbers[0], LetterEnd::Replayed)).await.unwrap();
        journal.control(closed("q", numbers[1], LetterEnd::Dropped)).await.unwrap();
        journal.control(closed("q", numbers[1], LetterEnd::Dropped)).await.unwrap();
        assert_eq!(journal.dead_letter(numbers[0]).await.unwrap(), None);
        assert_eq!(listed(&journal, None, Number::ZERO, 10).await, [5]);
        assert_eq!(journal.dead_letter_count().await.unwrap(), counts(&[("p", 1)]));
    }
}

#[tokio::test]
async fn that_an_event_had_a_letter_is_known_as_long_as_the_event_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| {
        s.keep_bytes = 1 << 20;
        s.memory = 1;
    })
    .await;
    fill(&journal, 1..=1).await;
    for letter in [1, 900, 901].map(|event| letter("p", event, "x")) {
        let number = write(&journal, &letter).await;
        journal.control(closed("p", number, LetterEnd::Dropped)).await.unwrap();
    }
    write(&journal, &letter("p", 900, "tried again")).await;
    write(&journal, &letter("q", 902, "y")).await;
    assert_eq!(journal.events_with_letters("p").await.unwrap(), [1, 900, 901].map(Number));
    fill(&journal, 2..=100).await;
    pass(&journal, 0).await;
    assert!((1..900).contains(&journal.kept_after().0), "{}", journal.kept_after());
    journal.close().await;
    let journal = open(folder.path()).await;
    assert_eq!(journal.events_with_letters("p").await.unwrap(), [900, 901].map(Number));
    assert_eq!(journal.events_with_letters("q").await.unwrap(), [Number(902)]);
    assert_eq!(journal.events_with_letters("r").await.unwrap(), []);
}

#[tokio::test]
async fn letters_go_by_their_own_age_and_size_the_oldest_first() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| {
        s.keep_letters_for = Duration::from_secs(1000);
        s.letters_bytes = 200_000;
    })
    .await;
    journal.append(append(1..=1)).await.unwrap();
    let large = noise(1000);
    for event in 1..=300 {
        write(&journal, &letter("p", event, &large)).await;
    }
    pass(&journal, 500).await;
    let kept = listed(&journal, None, Number::ZERO, 1000).await;
    let bytes: i64 =
        sqlx::query_scalar("SELECT sum(bytes) FROM dead_letter").fetch_one(&journal.embedded.pool).await.unwrap();
    assert!((198_000..=200_000).contains(&bytes), "{bytes} bytes of {} letters", kept.len());
    assert_eq!(kept, (302 - kept.len() as u64..=301).collect::<Vec<_>>(), "the newest");
    assert_eq!(journal.events_with_letters("p").await.unwrap().len(), 300, "a rebuild writes none of them again");
    pass(&journal, 2000).await;
    assert_eq!(journal.dead_letter_count().await.unwrap(), counts(&[]));
}

#[tokio::test]
async fn letters_alone_never_bring_a_journal_to_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| {
        s.keep_bytes = 1 << 20;
        s.limit_bytes = 2 << 20;
    })
    .await;
    journal.append(append(1..=1)).await.unwrap();
    journal.commit(Commit { state: vec![set("k", b"v")], ..commit(None, 1, vec![]) }).await.unwrap();
    let large = noise(20_000);
    for event in 1..=200 {
        write(&journal, &letter("p", event, &large)).await;
        let cursor = journal.pipeline("p").await.unwrap().unwrap().cursor;
        let on = Commit { state: vec![set("k", b"v")], ..commit(Some(cursor.0), journal.head().0, vec![]) };
        journal.commit(on).await.unwrap();
        if event % 10 == 0 {
            pass(&journal, 0).await;
        }
    }
    assert_eq!(journal.gaps().await.unwrap(), []);
    assert!(!listed(&journal, None, Number::ZERO, 1000).await.is_empty());
}

#[tokio::test]
async fn large_letters_are_listed_a_few_at_a_time_and_all_of_them_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let large = "x".repeat(400 << 10);
    let mut numbers = Vec::new();
    for event in 1..=30 {
        numbers.push(write(&journal, &letter("p", event, &large)).await.0);
    }
    let (mut after, mut all) = (Number::ZERO, Vec::new());
    loop {
        let page = listed(&journal, Some("p"), after, 200).await;
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 10, "{} letters of 400 KiB at once", page.len());
        after = Number(*last);
        all.extend(page);
    }
    assert_eq!(all, numbers);
}
