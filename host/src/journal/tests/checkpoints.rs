//! Checkpoints of pipelines' states: what they hold, and how long.

use super::*;
use crate::journal::prune::Prune;
use crate::journal::tests::retention::{fill, pass, with};
use crate::journal::writer::Work;

pub(super) fn wanted(pipeline: &str) -> Control {
    Control::Checkpoint { pipeline: pipeline.into(), reason: "test".into() }
}

async fn numbers(journal: &Journal) -> Vec<u64> {
    journal.checkpoints("p").await.unwrap().iter().map(|info| info.number.0).collect()
}

/// Rising pseudorandom numbers below a bound, the same in each run.
fn dice() -> impl FnMut(u64) -> u64 {
    let mut seed = 42_u64;
    move |below| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    }
}

#[tokio::test]
async fn a_checkpoint_is_the_state_as_it_was_there_whatever_came_after() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(|s| s.keep_checkpoints = 4);
    let mut journal = Journal::open(folder.path(), &settings, &[]).await.unwrap();
    let (mut dice, mut cursor, mut expected) = (dice(), None, BTreeMap::<u64, PipelineState>::new());
    for round in 0..400_u64 {
        let changes = (0..dice(5)).map(|_| {
            let value = (dice(3) > 0).then(|| round.to_le_bytes().as_slice().into());
            StateChange { owner: ["a", "b"][dice(2) as usize].into(), key: dice(12).to_string().into(), value }
        });
        let commit = Commit { state: changes.collect(), reset: dice(40) == 0, ..commit(cursor, round, vec![]) };
        journal.commit(commit).await.unwrap();
        // A neighbour with entries of the same names.
        let other = Commit { pipeline: "q".into(), state: vec![set("1", b"q")], ..commit_of(cursor, round) };
        journal.commit(other).await.unwrap();
        cursor = Some(round);
        if dice(7) == 0 {
            let number = journal.control(wanted("p")).await.unwrap();
            expected.insert(number.0, journal.pipeline("p").await.unwrap().unwrap());
            while expected.len() > 4 {
                expected.pop_first();
            }
        }
        // Retention takes one of those that are there, the newest too, and deletes what is unneeded.
        if dice(25) == 0 && !expected.is_empty() {
            let gone = *expected.keys().nth(dice(expected.len() as u64) as usize).unwrap();
            expected.remove(&gone);
            journal.embedded.ask(Work::Prune(Prune::Checkpoint { number: Number(gone) })).await.unwrap();
            assert_eq!(journal.checkpoint(Number(gone)).await.unwrap(), None);
            pass(&journal, 0).await;
        }
        if dice(30) == 0 {
            journal.close().await;
            journal = Journal::open(folder.path(), &settings, &[]).await.unwrap();
        }
        assert_eq!(numbers(&journal).await, expected.keys().copied().collect::<Vec<_>>(), "round {round}");
        for (number, state) in &expected {
            assert_eq!(journal.checkpoint(Number(*number)).await.unwrap().as_ref(), Some(state), "round {round}");
        }
    }
    let killed = killed_copy(folder.path());
    let again = open(killed.path()).await;
    for (number, state) in &expected {
        assert_eq!(again.checkpoint(Number(*number)).await.unwrap().as_ref(), Some(state), "after a kill");
    }
    assert!(expected.len() > 2, "too little was tried");
}

fn commit_of(after: Option<u64>, cursor: u64) -> Commit {
    commit(after, cursor, vec![])
}

#[tokio::test]
async fn a_checkpoint_knows_its_cursor_its_size_and_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=9)).await.unwrap();
    assert!(journal.control(wanted("p")).await.is_ok(), "a pipeline that never committed has none");
    assert_eq!(journal.checkpoints("p").await.unwrap(), []);
    journal.commit(Commit { state: vec![set("ñ", b"123")], ..commit(None, 2, vec![]) }).await.unwrap();
    // Moves in memory only.
    journal.commit(commit(Some(2), 7, vec![])).await.unwrap();
    let number = journal.control(wanted("p")).await.unwrap();
    let killed = killed_copy(folder.path());
    for journal in [journal, open(killed.path()).await] {
        let info = journal.checkpoints("p").await.unwrap().remove(0);
        assert_eq!((info.number, info.cursor, &*info.reason, info.bytes), (number, Number(7), "test", 6 + 2 + 3));
        assert!(info.at.0 > 1_000_000_000_000_000, "{:?}", info.at);
        assert_eq!(journal.pipeline("p").await.unwrap().unwrap().cursor, Number(7), "never behind its checkpoint");
        assert_eq!(journal.checkpoint(number).await.unwrap().unwrap().cursor, Number(7));
        assert_eq!(journal.checkpoint(Number(number.0 + 1)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_checkpoint_that_fails_leaves_no_trace_and_no_neighbour_behind() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=9)).await.unwrap();
    journal.commit(Commit { state: vec![set("k", b"1")], ..commit(None, 1, vec![]) }).await.unwrap();
    let first = journal.control(wanted("p")).await.unwrap();
    journal.commit(commit(Some(1), 5, vec![])).await.unwrap();
    let other = sqlx::SqlitePool::connect(folder.path().join("journal.db").to_str().unwrap()).await.unwrap();
    let trap = "CREATE TRIGGER trap AFTER INSERT ON checkpoint BEGIN SELECT raise(ABORT, 'trap'); END";
    sqlx::query(trap).execute(&other).await.unwrap();
    other.close().await;
    let named = |name: &str| Commit { pipeline: name.into(), ..commit(None, 1, vec![message(name, name)]) };
    let (a, bad, b) =
        tokio::join!(journal.commit(named("a")), journal.control(wanted("p")), journal.commit(named("b")));
    assert!(a.is_ok() && b.is_ok() && bad.is_err());
    assert!(journal.control(wanted("p")).await.is_err(), "nor alone");
    assert_eq!(journal.pipeline("p").await.unwrap().unwrap().cursor, Number(5), "what was in memory is");
    journal.commit(Commit { state: vec![set("k", b"2")], ..commit(Some(5), 6, vec![]) }).await.unwrap();
    assert_eq!(numbers(&journal).await, [first.0]);
    let kept = journal.checkpoint(first).await.unwrap().unwrap();
    assert_eq!((kept.cursor, &*kept.state["plugin"]["k"]), (Number(1), &b"1"[..]));
}

#[tokio::test]
async fn a_forgotten_pipeline_has_no_checkpoints_and_a_new_one_of_its_name_has_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.commit(Commit { state: vec![set("k", b"1")], ..commit(None, 0, vec![]) }).await.unwrap();
    let old = journal.control(wanted("p")).await.unwrap();
    journal.keep_pipelines(&[]).await.unwrap();
    assert_eq!(journal.checkpoint(old).await.unwrap(), None);
    journal.commit(Commit { state: vec![set("k", b"2")], ..commit(None, 0, vec![]) }).await.unwrap();
    let new = journal.control(wanted("p")).await.unwrap();
    journal.commit(Commit { reset: true, ..commit(Some(0), 0, vec![]) }).await.unwrap();
    pass(&journal, 0).await;
    assert_eq!(numbers(&journal).await, [new.0]);
    assert_eq!(&*journal.checkpoint(new).await.unwrap().unwrap().state["plugin"]["k"], b"2");
    let left = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM checkpoint").fetch_one(&journal.embedded.pool).await;
    assert_eq!(left.unwrap(), 1, "nothing of the old one is left");
}

/// Moves the pipeline to the head, with 100 KB of new state.
fn value(round: u8, key: usize) -> Vec<u8> {
    noise(10_000 + 10 * usize::from(round) + key).into_bytes()
}

async fn on(journal: &Journal, round: u8) {
    let cursor = journal.pipeline("p").await.unwrap().map(|p| p.cursor.0);
    let state = (0..10).map(|key| set(&key.to_string(), &value(round, key))).collect();
    journal.commit(Commit { state, ..commit(cursor, journal.head().0, vec![]) }).await.unwrap();
}

fn small_journal(settings: &mut JournalSettings) {
    settings.keep_bytes = 1 << 20;
    settings.limit_bytes = 3 << 20;
    settings.memory = 1;
}

#[tokio::test]
async fn events_after_the_newest_checkpoint_are_kept_until_at_the_limit_it_gives_way() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], small_journal).await;
    fill(&journal, 1..=20).await;
    on(&journal, 1).await;
    let older = journal.control(wanted("p")).await.unwrap();
    fill(&journal, 21..=40).await;
    on(&journal, 2).await;
    let newest = journal.control(wanted("p")).await.unwrap();
    fill(&journal, 41..=100).await;
    on(&journal, 3).await;
    pass(&journal, 0).await;
    assert!(journal.used() > 1 << 20);
    assert_eq!(journal.checkpoint(older).await.unwrap(), None, "what came after it went by size");
    let kept = journal.checkpoint(newest).await.unwrap().unwrap();
    assert_eq!(journal.kept_after(), kept.cursor);
    assert!(journal.read(kept.cursor, 1000).await.is_ok());
    assert_eq!(&*kept.state["plugin"]["0"], value(2, 0));

    fill(&journal, 101..=180).await;
    on(&journal, 4).await;
    pass(&journal, 0).await;
    assert_eq!(journal.checkpoint(newest).await.unwrap(), None);
    assert!(journal.used() <= 1 << 20, "{} bytes", journal.used());
    assert_eq!(journal.gaps().await.unwrap(), [], "it was enough");
}

#[tokio::test]
async fn a_checkpoint_older_than_events_are_kept_holds_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| {
        small_journal(s);
        s.keep_for = Duration::from_secs(100);
    })
    .await;
    fill(&journal, 1..=2).await;
    on(&journal, 1).await;
    let number = journal.control(wanted("p")).await.unwrap();
    fill(&journal, 3..=90).await;
    on(&journal, 2).await;
    pass(&journal, 50).await;
    assert!(journal.checkpoint(number).await.unwrap().is_some());
    assert!(journal.used() > 1 << 20);
    pass(&journal, 200).await;
    assert_eq!(journal.checkpoint(number).await.unwrap(), None);
    assert!(journal.used() <= 1 << 20, "{} bytes", journal.used());
}

#[tokio::test]
async fn at_the_limit_all_checkpoints_give_way_before_a_pipeline_loses_events() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| {
        small_journal(s);
        s.keep_checkpoints = 1000;
    })
    .await;
    fill(&journal, 1..=1).await;
    let slow = Commit { pipeline: "slow".into(), state: vec![set("k", b"v")], ..commit(None, 1, vec![]) };
    journal.commit(slow).await.unwrap();
    let (mut most, mut round) = (0, 0);
    while journal.gaps().await.unwrap().is_empty() {
        round += 1;
        assert!(round < 100, "never");
        most = most.max(journal.checkpoints("p").await.unwrap().len());
        fill(&journal, round + 1..=round + 1).await;
        on(&journal, u8::try_from(round).unwrap()).await;
        journal.control(wanted("p")).await.unwrap();
        pass(&journal, 0).await;
        assert!(journal.used() < 3 << 20, "{} bytes", journal.used());
    }
    assert!(most > 5, "too little was tried");
    let (gap, _) = journal.gaps().await.unwrap()[0].clone();
    assert!(numbers(&journal).await.iter().all(|number| *number > gap.0), "all that were there before went first");
    assert!(matches!(journal.read(Number(1), 1000).await, Err(JournalError::Pruned { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn what_a_large_state_costs() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let value = vec![7_u8; 640];
    let mut after = None;
    let mut round = async |first: u64, count: u64| {
        let began = std::time::Instant::now();
        for part in first..first + count {
            let state = (0..1000).map(|n| set(&format!("entry {:08}", (part % 100) * 1000 + n), &value)).collect();
            journal.commit(Commit { state, ..commit(after, part, vec![]) }).await.unwrap();
            after = Some(part);
        }
        began.elapsed() / u32::try_from(count).unwrap()
    };
    println!("a commit of 1,000 entries, first: {:?}, again: {:?}", round(0, 100).await, round(100, 100).await);
    for turn in 0..10 {
        let began = std::time::Instant::now();
        let number = journal.control(wanted("p")).await.unwrap();
        let took = began.elapsed();
        let began = std::time::Instant::now();
        journal.append(append(1..=1)).await.unwrap();
        let next = began.elapsed();
        let commits = round(200 + turn * 100, 100).await;
        let began = std::time::Instant::now();
        let entries = journal.checkpoint(number).await.unwrap().unwrap().state["plugin"].len();
        println!(
            "taken in {took:?}, an append after it {next:?}, commits {commits:?}, {entries} entries read in {:?}",
            began.elapsed()
        );
    }
    let (mut worst, began) = (Duration::ZERO, std::time::Instant::now());
    let pass = async { pass(&journal, 0).await };
    let appends = async {
        loop {
            let began = std::time::Instant::now();
            journal.append(append(1..=1)).await.unwrap();
            worst = worst.max(began.elapsed());
        }
    };
    tokio::select! { () = pass => {}, () = appends => {} }
    println!("dropped ones deleted in {:?}, the longest append meanwhile {worst:?}", began.elapsed());
    println!("{:?}", journal.checkpoints("p").await.unwrap()[0]);
    journal.close().await;
}
