//! Retention: by age, by size, and what holds it back.

use sqlx::Connection as _;

use super::*;
use crate::journal::prune::Prune;
use crate::journal::retention::Pass;
use crate::journal::writer::Work;

pub(super) async fn with(
    folder: &Path,
    rules: &[ChannelSettings],
    change: impl FnOnce(&mut JournalSettings),
) -> Journal {
    Journal::open(folder, &settings(change), rules).await.unwrap()
}

pub(super) fn rule(pattern: &str, keep_for: Option<u64>, keep_bytes: Option<u64>) -> ChannelSettings {
    let mut rule: ChannelSettings = toml::from_str(&format!("pattern = '{pattern}'")).unwrap();
    rule.keep_for = keep_for.map(Duration::from_secs);
    rule.keep_bytes = keep_bytes;
    rule
}

/// One pass at a time so many seconds from now. The journal's own passes end: two at once would act on what the other has
/// changed since.
pub(super) async fn pass(journal: &Journal, later: u64) {
    let embedded = &journal.embedded;
    embedded.end_tasks().await;
    let pass = Pass { shared: &embedded.shared, pool: &embedded.pool, commands: &embedded.commands };
    let now = Micros(Micros::now().0 + later * 1_000_000);
    pass.by_size(now, &mut false).await.unwrap();
    pass.letters(now).await.unwrap();
    pass.by_age(now).await.unwrap();
}

/// Appends an event of 20 KB at each of the positions.
pub(super) async fn fill(journal: &Journal, positions: std::ops::RangeInclusive<u64>) {
    let large = noise(20_000);
    for position in positions {
        let events = vec![super::change(position, &large)];
        journal.append(Append { events, ..append(position..=position) }).await.unwrap();
    }
}

async fn pruned(journal: &Journal, channel: &str, after: u64) -> Option<u64> {
    let found = journal.history(&channels(&[channel]), Number(after), 10).await.unwrap();
    found.pruned.first().map(|(_, from)| from.0)
}

#[tokio::test]
async fn messages_and_events_go_by_age_and_their_readers_hear_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let rules = [rule("short", Some(10), None), rule("long", Some(1000), None)];
    let journal = with(folder.path(), &rules, |s| {
        s.keep_for = Duration::from_secs(100);
        s.memory = 1;
    })
    .await;
    journal.append(append(1..=1)).await.unwrap();
    journal
        .commit(commit(None, 1, vec![message("short", "s"), message("long", "l"), state_message("board", "k", "b")]))
        .await
        .unwrap();
    journal.append(append(2..=2)).await.unwrap();
    journal.commit(commit(Some(1), 5, vec![message("short", "s2")])).await.unwrap();
    journal.append(append(3..=3)).await.unwrap();

    pass(&journal, 50).await;
    assert_eq!(pruned(&journal, "short", 0).await, Some(6));
    assert_eq!(pruned(&journal, "short", 6).await, None);
    assert_eq!(history(&journal, &["long"], 0, 10).await.0, [(3, "l".into())]);
    let both = journal.history(&channels(&["short", "long"]), Number(0), 10).await.unwrap();
    assert_eq!(said(&both.messages), [(3, "l".into())], "what one channel lost takes nothing from the other");
    assert_eq!(both.pruned, [(channels(&["short"]).remove(0), Number(6))]);
    assert_eq!(shape(&all(&journal).await).len(), 4, "the events are there, and what `long` holds");

    pass(&journal, 200).await;
    assert!(matches!(journal.read(Number(0), 1000).await, Err(JournalError::Pruned { oldest: Number(5), .. })));
    assert!(matches!(journal.read(Number(4), 1000).await, Err(JournalError::Pruned { .. })));
    assert_eq!(
        shape(&journal.read(Number(5), 1000).await.unwrap()),
        [(7, 7, vec![7])],
        "its pipeline has not passed it"
    );
    assert_eq!(history(&journal, &["long"], 0, 10).await.0, [(3, "l".into())]);

    pass(&journal, 2000).await;
    assert_eq!(pruned(&journal, "long", 0).await, Some(4));
    let board = journal.state_channel(&channels(&["board"])[0]).await.unwrap();
    assert_eq!(said(&board.messages), [(4, "b".into())], "a state channel keeps its newest");

    journal.commit(commit(Some(5), 7, vec![message("short", "s3")])).await.unwrap();
    pass(&journal, 5000).await;
    journal.close().await;
    let journal = open(folder.path()).await;
    assert_eq!(pruned(&journal, "short", 6).await, Some(8), "it is remembered");
    assert_eq!(journal.head(), Number(8));
    assert_eq!(journal.append(append(4..=4)).await.unwrap(), Appended::Applied { first: Number(9), last: Number(9) });
    assert_eq!(shape(&journal.read(Number(8), 1000).await.unwrap()), [(9, 9, vec![9])]);
}

#[tokio::test]
async fn a_channel_keeps_as_many_bytes_as_its_rule_says() {
    let folder = tempfile::tempdir().unwrap();
    let rules = [rule("small:*", None, Some(3000))];
    let journal = with(folder.path(), &rules, |s| s.memory = 1).await;
    let text = noise(900);
    for round in 0..10_u64 {
        let messages = vec![message("small:1", &text), message("large", &text)];
        journal.commit(commit(round.checked_sub(1), round, messages)).await.unwrap();
    }
    // Its rows are in both tables of the index: two of them in their place.
    journal.embedded.ask(Work::Prune(Prune::Index(2))).await.unwrap();
    pass(&journal, 0).await;
    assert_eq!(pruned(&journal, "small:1", 0).await, Some(14));
    let kept = history(&journal, &["small:1"], 14, 10).await.0;
    assert_eq!(kept.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [15, 17, 19]);
    assert_eq!(history(&journal, &["large"], 0, 20).await.0.len(), 10);
}

#[tokio::test]
async fn messages_go_by_age_whichever_table_of_the_index_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[rule("short", Some(10), None)], |s| s.memory = 1).await;
    for round in 0..4_u64 {
        let messages = ["long", "short"].map(|channel| message(channel, &round.to_string()));
        journal.commit(commit(round.checked_sub(1), round, messages.into())).await.unwrap();
        if round == 1 {
            journal.embedded.ask(Work::Prune(Prune::Index(3))).await.unwrap();
        }
    }
    pass(&journal, 50).await;
    assert_eq!(pruned(&journal, "short", 0).await, Some(8));
    assert_eq!(history(&journal, &["long"], 0, 9).await.0.len(), 4);
}

#[tokio::test]
async fn an_idle_journals_retention_asks_for_no_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let rules = [rule("short", Some(1000), None), rule("small", None, Some(1 << 20))];
    let journal = with(folder.path(), &rules, |_| ()).await;
    journal.append(append(1..=2)).await.unwrap();
    journal.commit(commit(None, 2, vec![message("short", "s"), message("small", "s")])).await.unwrap();
    let mut other = sqlx::SqliteConnection::connect(folder.path().join("journal.db").to_str().unwrap()).await.unwrap();
    // As long as somebody else has one, none can be had.
    let transaction = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
    pass(&journal, 1).await;
    drop(transaction);
    other.close().await.unwrap();
    journal.close().await;
}

#[tokio::test]
async fn the_oldest_go_by_size_but_not_before_the_slowest_pipeline_passed_them() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| {
        s.keep_bytes = 1 << 20;
        s.limit_bytes = 1 << 30;
        s.memory = 1;
    })
    .await;
    let large = noise(20_000);
    let fill = async |from: u64, to: u64| {
        for position in from..=to {
            let events = vec![super::change(position, &large)];
            journal.append(Append { events, ..append(position..=position) }).await.unwrap();
        }
    };
    fill(1, 1).await;
    journal.commit(Commit { pipeline: "slow".into(), ..commit(None, 1, vec![message("tasks", "m")]) }).await.unwrap();
    fill(3, 150).await;
    pass(&journal, 0).await;
    assert!(matches!(journal.read(Number(0), 1000).await, Err(JournalError::Pruned { oldest: Number(1), .. })));
    assert_eq!(all_after(&journal, 1).await.len(), 149, "what `slow` has not read is there");
    assert_eq!(
        journal
            .commit(Commit { pipeline: "slow".into(), ..commit(Some(1), 100, vec![message("tasks", "n")]) })
            .await
            .unwrap(),
        Number(151)
    );
    pass(&journal, 0).await;
    let kept = all_after(&journal, 150).await;
    assert_eq!(shape(&kept), [(151, 151, vec![151])]);
    assert!(matches!(journal.read(Number(50), 1000).await, Err(JournalError::Pruned { .. })));
    assert_eq!(pruned(&journal, "tasks", 0).await, Some(65));
    assert_eq!(pruned(&journal, "tasks", 150).await, None);
    assert!(shape(&all_after(&journal, 100).await).len() >= 50);

    // Freed pages are used again.
    let before = std::fs::metadata(folder.path().join("journal.db")).unwrap().len();
    let cursor = journal.head();
    journal
        .commit(Commit { pipeline: "slow".into(), ..commit(Some(100), cursor.0, vec![message("tasks", "o")]) })
        .await
        .unwrap();
    for _ in 0..3 {
        let first = journal.head().0 + 1;
        fill(first, first + 80).await;
        let now = journal.head();
        let pipeline = journal.pipeline("slow").await.unwrap().unwrap().cursor;
        journal
            .commit(Commit { pipeline: "slow".into(), ..commit(Some(pipeline.0), now.0, vec![message("tasks", "p")]) })
            .await
            .unwrap();
        pass(&journal, 0).await;
    }
    journal.close().await;
    let after = std::fs::metadata(folder.path().join("journal.db")).unwrap().len();
    assert!(after <= before.max(6 << 20), "{before} → {after}");
}

async fn all_after(journal: &Journal, after: u64) -> Vec<Arc<Record>> {
    let (mut found, mut after) = (Vec::new(), Number(after));
    loop {
        let more = journal.read(after, 1 << 20).await.unwrap();
        let Some(last) = more.last() else { return found };
        after = last.last;
        found.extend(more);
    }
}

#[tokio::test]
async fn at_the_limit_the_slowest_pipeline_is_marked_and_holds_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| {
        s.keep_bytes = 1 << 20;
        s.limit_bytes = 2 << 20;
        s.memory = 1;
    })
    .await;
    journal.append(append(1..=1)).await.unwrap();
    let named = |name: &str, after, cursor| Commit {
        pipeline: name.into(),
        state: vec![set("k", b"v")],
        ..commit(after, cursor, vec![])
    };
    journal.commit(named("slow", None, 1)).await.unwrap();
    journal.commit(named("quick", None, 1)).await.unwrap();
    let large = noise(20_000);
    let mut position = 1;
    let control = loop {
        position += 1;
        let events = vec![super::change(position, &large)];
        journal.append(Append { events, ..append(position..=position) }).await.unwrap();
        let head = journal.head().0;
        let cursor = journal.pipeline("quick").await.unwrap().unwrap().cursor;
        journal.commit(named("quick", Some(cursor.0), head)).await.unwrap();
        pass(&journal, 0).await;
        let controls = journal.gaps().await.unwrap();
        if let Some(control) = controls.into_iter().find(|(_, c)| matches!(c, Control::PipelineGap { .. })) {
            break control;
        }
        assert!(position < 500, "never marked");
    };
    assert_eq!(control.1, Control::PipelineGap { pipeline: "slow".into() });
    assert!(matches!(journal.read(Number(1), 1000).await, Err(JournalError::Pruned { .. })), "not in silence");
    let told = control.0;
    let copy = killed_copy(folder.path());
    journal.close().await;

    // One that goes on without a rebuild is waited for again once it has read of its loss.
    for alone in [false, true] {
        let folder = killed_copy(copy.path());
        let journal = open(folder.path()).await;
        let marked = || journal.embedded.shared.known().cursors["slow"].gap.is_some();
        journal
            .commit(Commit { messages: vec![message("tasks", "m")], ..named("slow", Some(1), told.0 - 1) })
            .await
            .unwrap();
        assert!(marked(), "it hasn't read of it");
        let on = if alone { commit(Some(told.0 - 1), told.0, vec![]) } else { named("slow", Some(told.0 - 1), told.0) };
        journal.commit(Commit { pipeline: "slow".into(), ..on }).await.unwrap();
        assert!(!marked());
        journal.close().await;
        let journal = open(folder.path()).await;
        assert!(journal.embedded.shared.known().cursors["slow"].gap.is_none(), "nor after a restart");
        let next = journal.head().0 + 1;
        journal.append(append(next..=next)).await.unwrap();
        journal
            .commit(named("quick", Some(journal.pipeline("quick").await.unwrap().unwrap().cursor.0), next))
            .await
            .unwrap();
        pass(&journal, 10_000_000).await;
        assert!(journal.read(told, 1000).await.is_ok(), "retention waits for it");
    }

    let journal = open(folder.path()).await;
    assert!(journal.embedded.shared.known().cursors["slow"].gap.is_some(), "the mark is remembered");
    let rebuilt = Commit { reset: true, ..named("slow", Some(1), journal.head().0) };
    journal.commit(rebuilt).await.unwrap();
    assert!(journal.embedded.shared.known().cursors["slow"].gap.is_none(), "a rebuild takes it away");
}

#[tokio::test]
async fn what_tells_of_a_gap_is_kept_when_all_around_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| {
        s.keep_bytes = 1 << 20;
        s.limit_bytes = 1 << 30;
        s.memory = 1;
    })
    .await;
    let gap = Control::Gap { source: "gad".into(), reason: "test".into() };
    for _ in 0..70 {
        journal.control(gap.clone()).await.unwrap();
    }
    journal.control(Control::RebuildWanted { pipeline: "p".into() }).await.unwrap();
    let large = noise(20_000);
    for position in 1..=100 {
        let events = vec![super::change(position, &large)];
        journal.append(Append { events, ..append(position..=position) }).await.unwrap();
    }
    pass(&journal, 10_000_000).await;
    assert!(matches!(journal.read(Number(71), 1000).await, Err(JournalError::Pruned { .. })));
    journal.close().await;
    let journal = open(folder.path()).await;
    let kept = journal.gaps().await.unwrap();
    assert_eq!(kept, (1..=70).map(|n| (Number(n), gap.clone())).collect::<Vec<_>>());
    let hidden = journal.read(Number::ZERO, 1000).await;
    assert!(matches!(hidden, Err(JournalError::Pruned { .. })), "what is left doesn't hide what is gone: {hidden:?}");
}

#[tokio::test]
async fn keep_over_limit_doesnt_keep_more_than_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let journal = with(folder.path(), &[], |s| {
        s.keep_bytes = 1 << 30;
        s.limit_bytes = 1 << 20;
        s.memory = 1;
    })
    .await;
    let large = noise(20_000);
    for position in 1..=100 {
        let events = vec![super::change(position, &large)];
        journal.append(Append { events, ..append(position..=position) }).await.unwrap();
    }
    pass(&journal, 0).await;
    assert!(matches!(journal.read(Number::ZERO, 1000).await, Err(JournalError::Pruned { .. })));
}

#[tokio::test]
async fn a_forgotten_pipeline_holds_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    journal.append(append(1..=9)).await.unwrap();
    for name in ["stays", "goes"] {
        let messages = vec![state_message(name, "k", "v"), message("tasks", name)];
        journal
            .commit(Commit { pipeline: name.into(), state: vec![set("k", b"v")], ..commit(None, 3, messages) })
            .await
            .unwrap();
    }
    journal.keep_pipelines(&["stays".into(), "new".into()]).await.unwrap();
    assert_eq!(journal.pipeline("goes").await.unwrap(), None);
    assert!(journal.state_keys("goes").await.unwrap().is_empty());
    let told: Vec<Control> = journal.gaps().await.unwrap().into_iter().map(|(_, control)| control).collect();
    assert_eq!(told, [Control::PipelineRemoved { pipeline: "goes".into() }], "who resumes across it hears of it");
    assert_eq!(journal.pipeline("stays").await.unwrap().unwrap().state.len(), 1);
    journal.commit(Commit { pipeline: "goes".into(), ..commit(None, 9, vec![]) }).await.unwrap();
    assert_eq!(journal.pipeline("goes").await.unwrap().unwrap().state.len(), 0);
    let tables = vec!["tareas".into()];
    journal.control(Control::TableGap { source: "gad".into(), tables, reason: "dropped".into() }).await.unwrap();
    assert_eq!(journal.gaps().await.unwrap().len(), 2);
    journal.close().await;
    let report = crate::journal::check(folder.path()).await.unwrap().unwrap();
    assert!(report.sound, "{report:?}");
}
