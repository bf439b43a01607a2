//! A state that is made anew: after a gap, on demand, for a new manifest, and after retention.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::Status;
use super::world::{Running, World};
use crate::event::{Body, Event, Name, Number, Operation};
use crate::journal::{Append, Control, RecordBody};

/// A ledger that has seen some life.
async fn lived(more: &str) -> (World, Running, Number) {
    let mut world = World::with_ledger(more).await;
    let running = world.start().await;
    world.answer_next().await;
    running.until("ledger", |health| health.status == Status::Running).await;
    world.bank.live(100);
    let last = world.append().await;
    running.done(last).await;
    (world, running, last)
}

/// The state without what depends on how it came about.
async fn accounts(world: &World) -> Vec<(String, String)> {
    world.state().await.into_iter().filter(|(key, _)| key != "changes").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_equals_what_was_there_and_sends_nothing_again_to_stream_channels() {
    let (mut world, running, last) = lived("batch_events = 5").await;
    let (sent, before) = (world.sent("ledger").await.len(), accounts(&world).await);
    world.journal.control(Control::RebuildWanted { pipeline: "ledger".into() }).await.unwrap();
    let request = world.request(last).await;
    // The pipeline runs on while the rows are read: some of this is in them, some is not.
    let snapshot = world.snapshot(request);
    world.bank.live(30);
    let beyond = world.bank.take();
    let count = beyond.iter().filter(|event| matches!(&event.body, Body::Change(c) if &*c.table == "accounts")).count();
    let at = world.append_events(beyond).await;
    running.done(at).await;
    for append in snapshot {
        world.journal.append(append).await.unwrap();
    }
    running.until("ledger", |health| !health.rebuild_asked && health.cursor >= at).await;
    assert_eq!(world.board().await, world.bank.board());
    assert_eq!(world.state().await["sum"], world.bank.sum().to_string());
    assert_ne!(accounts(&world).await, before);
    assert_eq!(world.sent("ledger").await.len(), sent + count, "each change once, before the rebuild");
    world.bank.live(30);
    let at = world.append().await;
    running.done(at).await;
    assert_eq!(world.board().await, world.bank.board());
    // Of the rows as they are now the board may show another owner's name: that is sent, and no more.
    let (before, shown) = (world.sent("ledger:board").await.len(), world.board().await);
    world.journal.control(Control::RebuildWanted { pipeline: "ledger".into() }).await.unwrap();
    let request = world.request(at).await;
    world.answer(request).await;
    running.until("ledger", |health| !health.rebuild_asked && health.cursor >= request).await;
    let differs = world.board().await.into_iter().filter(|(key, data)| shown.get(key) != Some(data)).count();
    let sent = world.sent("ledger:board").await.len() - before;
    assert!(sent == differs && sent < shown.len(), "{sent} of {} were sent, {differs} differ", shown.len());
    assert_eq!(world.board().await, world.bank.board());
    running.pipelines.stop().await;
}

/// The table and key of a change.
fn row(event: &Event) -> Option<(Name, Box<str>)> {
    match &event.body {
        Body::Change(change) => Some((change.table.clone(), change.key.clone())),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_of_rows_that_were_cut_and_read_on_later_counts_each_row_as_it_was_at_last() {
    let (mut world, running, last) = lived("batch_events = 5").await;
    world.journal.control(Control::RebuildWanted { pipeline: "ledger".into() }).await.unwrap();
    let request = world.request(last).await;
    let mut there = world.snapshot(request);
    // All but its end.
    there.last_mut().unwrap().complete = false;
    for append in there {
        world.journal.append(append).await.unwrap();
    }
    world.bank.live(40);
    let changes = world.bank.take();
    let changed: BTreeSet<_> = changes.iter().filter_map(row).collect();
    let at = world.append_events(changes).await;
    running.done(at).await;
    // The pipeline comes back and asks again; what changed is read again, and the rest stands.
    world.journal.control(Control::RebuildWanted { pipeline: "ledger".into() }).await.unwrap();
    let again = world.request(request).await;
    assert!(world.journal.take_over_snapshot("bank", "ledger", again).await.unwrap().is_some());
    let now = world.snapshot(again);
    let mut events: Vec<Arc<Event>> = now.iter().flat_map(|append| append.events.clone()).collect();
    events.retain(|event| row(event).is_some_and(|row| changed.contains(&row)));
    let read = events.len();
    let void = |(table, key): (Name, Box<str>)| {
        let mut event = Event::clone(&now[0].events[0]);
        if let Body::Change(change) = &mut event.body {
            (change.table, change.key, change.operation, change.after) = (table, key, Operation::Delete, None);
        }
        Arc::new(event)
    };
    let void: Vec<_> = changed.into_iter().map(void).collect();
    assert!(void.len() > read && read > 2, "{} rows changed, {read} of them are there", void.len());
    events.splice(..0, void);
    let end = Append { events, complete: true, ..now.last().unwrap().clone() };
    world.journal.append(end).await.unwrap();
    running.until("ledger", |health| !health.rebuild_asked).await;
    assert_eq!(world.board().await, world.bank.board());
    let state = world.state().await;
    assert_eq!(state["sum"], world.bank.sum().to_string());
    assert_eq!(state["changes"], world.bank.board().len().to_string(), "each row once, and no change that it contains");
    world.bank.live(30);
    let at = world.append().await;
    running.done(at).await;
    assert_eq!(world.board().await, world.bank.board());
    assert_eq!(world.state().await["sum"], world.bank.sum().to_string());
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_an_earlier_process_left_unfinished_stay_for_whoever_waits_for_them_alone() {
    let (mut world, mut running, last) = lived("").await;
    for waits in [true, false] {
        let request = match waits {
            true => {
                world.journal.control(Control::RebuildWanted { pipeline: "ledger".into() }).await.unwrap();
                world.request(last).await
            }
            // It was wanted by a manifest of before, say.
            false => last,
        };
        running.pipelines.stop().await;
        let part = Append { complete: false, ..world.snapshot(request).remove(0) };
        world.journal.append(part).await.unwrap();
        running = world.start().await;
        running.until("ledger", |health| health.status == Status::Running).await;
        let left = world.journal.take_over_snapshot("bank", "ledger", request).await.unwrap();
        assert_eq!(left.is_some(), waits);
        if waits {
            let again = world.request(request).await;
            world.answer(again).await;
            running.until("ledger", |health| !health.rebuild_asked).await;
        }
    }
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_dies_begins_again_and_ends_the_same() {
    let mut world = World::with_ledger("batch_events = 5").await;
    let points = Arc::new(AtomicU64::new(0));
    let crashes = points.clone();
    let crash: Arc<dyn Fn() -> bool + Send + Sync> = Arc::new(move || crashes.fetch_add(1, Ordering::Relaxed) % 3 == 1);
    let running = world.start_crashing(Some(crash)).await;
    world.bank.live(60);
    world.append().await;
    world.answer_next().await;
    running.until("ledger", |health| health.status == Status::Running).await;
    world.bank.live(60);
    let last = world.append().await;
    world.journal.control(Control::Gap { source: "bank".into(), reason: "test".into() }).await.unwrap();
    let mut request = world.request(last).await;
    world.answer(request).await;
    // A crash between asking and remembering asks once more.
    loop {
        tokio::select! {
            () = running.until("ledger", |health| !health.rebuild_asked && health.cursor > last) => break,
            next = world.request(request) => request = next,
        }
        world.answer(request).await;
    }
    world.bank.live(60);
    let last = world.append().await;
    running.done(last).await;
    assert_eq!(world.board().await, world.bank.board());
    assert_eq!(world.state().await["sum"], world.bank.sum().to_string());
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_gap_of_its_source_the_rows_are_the_truth() {
    let (mut world, running, last) = lived("").await;
    let sent = world.sent("ledger").await.len();
    world.bank.restored("i2", &[(1, 100, 1), (77, 7, 2)]);
    world.journal.control(Control::Gap { source: "bank".into(), reason: "restored".into() }).await.unwrap();
    let request = world.request(last).await;
    world.answer(request).await;
    running.until("ledger", |health| health.cursor > request || !health.rebuild_asked).await;
    world.bank.account(77, 8, 2);
    let last = world.append().await;
    running.until("ledger", |health| !health.rebuild_asked && health.cursor >= last).await;
    assert_eq!(world.board().await, world.bank.board(), "keys that are gone have tombstones");
    assert_eq!(world.state().await["sum"], "108");
    assert_eq!(world.sent("ledger").await.len(), sent + 1);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_that_was_met_before_a_stop_is_not_forgotten() {
    let (mut world, running, last) = lived("").await;
    world.bank.restored("i2", &[(1, 100, 1)]);
    world.journal.control(Control::Gap { source: "bank".into(), reason: "restored".into() }).await.unwrap();
    let first = world.request(last).await;
    running.done(first.plus(0)).await;
    running.pipelines.stop().await;
    let running = world.start().await;
    let second = world.request(first).await;
    world.answer(second).await;
    running.until("ledger", |health| health.status == Status::Running && !health.rebuild_asked).await;
    assert_eq!(world.board().await, world.bank.board());
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_retention_passed_stands_still_until_it_is_rebuilt() {
    let (mut world, running, _) = lived("").await;
    let gap = world.journal.control(Control::PipelineGap { pipeline: "ledger".into() }).await.unwrap();
    running.until("ledger", |health| health.status == Status::WaitingForSnapshot).await;
    let sent = world.sent("ledger").await.len();
    world.bank.live(10);
    world.append().await;
    running.pipelines.stop().await;
    let running = world.start().await;
    running.until("ledger", |health| health.status == Status::WaitingForSnapshot).await;
    let first = world.request(gap).await;
    let second = world.request(first).await;
    world.answer(second).await;
    running.until("ledger", |health| health.status == Status::Running).await;
    world.bank.account(5, 5, 5);
    let last = world.append().await;
    running.done(last).await;
    assert_eq!(world.board().await, world.bank.board());
    assert_eq!(world.sent("ledger").await.len(), sent + 1, "what the rows contain is not published");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_that_asks_for_more_columns_has_them_after_a_rebuild() {
    let (mut world, running, last) = lived("").await;
    running.pipelines.stop().await;
    let path = world.folder.path().join("plugins/ledger.toml");
    let manifest =
        std::fs::read_to_string(&path).unwrap().replace(r#"people = ["name"]"#, r#"people = ["id", "name"]"#);
    std::fs::write(&path, manifest).unwrap();
    let running = world.start().await;
    let request = world.request(last).await;
    world.answer(request).await;
    running.until("ledger", |health| health.status == Status::Running && !health.rebuild_asked).await;
    let stored = world.journal.pipeline("ledger").await.unwrap().unwrap();
    assert!(stored.state["@people"].values().all(|row| row.starts_with(b"{\"id\":")), "{:?}", stored.state["@people"]);
    world.bank.live(10);
    let last = world.append().await;
    running.done(last).await;
    assert_eq!(world.board().await, world.bank.board());
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_counts_again_what_was_published_and_no_rows_stand_for() {
    let (mut world, running, _) = lived("").await;
    world.publish(1, "news:notes", "1").await;
    let last = world.publish(2, "news:notes", "2").await;
    running.done(last).await;
    assert_eq!(world.state().await["notes"], "2");
    for published in 3..=4 {
        let wanted = world.journal.control(Control::RebuildWanted { pipeline: "ledger".into() }).await.unwrap();
        let request = world.request(wanted).await;
        world.answer(request).await;
        running.until("ledger", |health| !health.rebuild_asked && health.cursor >= request).await;
        assert_eq!(world.state().await["notes"], (published - 1).to_string(), "neither lost nor counted twice");
        let last = world.publish(published, "news:notes", "more").await;
        running.done(last).await;
        assert_eq!(world.state().await["notes"], published.to_string());
    }
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_without_rows_is_made_of_the_events_that_are_kept() {
    let mut world = World::new("").await;
    world.settings.push_str("[[pipeline]]\nname = 'ledger'\nplugins = ['ledger']\n");
    let manifest = "name = \"ledger\"\nversion = \"1\"\npublished = [\"news:notes\"]\nchannels = [\"ledger\"]\n\
                    capabilities = [\"state\", \"lookup\"]\n";
    world.place_with("ledger", "ledger", manifest);
    let running = world.start().await;
    running.until("ledger", |health| health.status == Status::Running).await;
    world.publish(1, "news:notes", "1").await;
    let last = world.publish(2, "news:notes", "2").await;
    running.done(last).await;
    assert_eq!(world.state().await["notes"], "2");
    let wanted = world.journal.control(Control::RebuildWanted { pipeline: "ledger".into() }).await.unwrap();
    running.done(wanted).await;
    assert_eq!(world.state().await["notes"], "2", "neither forgotten nor counted twice");
    let last = world.publish(3, "news:notes", "3").await;
    running.done(last).await;
    assert_eq!(world.state().await["notes"], "3");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_whose_row_the_state_was_made_of_since_does_not_count_again() {
    let (mut world, running, _) = lived("").await;
    // The row is mended while the letter of what it was lies there.
    world.bank.bad_account(5, "panic");
    world.bank.account(5, 70, 1);
    let last = world.append().await;
    running.done(last).await;
    let desk = running.pipelines.desk();
    let letter = desk.dead_letters(None, Number::ZERO, 10).await.unwrap().remove(0).number;
    let wanted = world.journal.control(Control::RebuildWanted { pipeline: "ledger".into() }).await.unwrap();
    let request = world.request(wanted).await;
    world.answer(request).await;
    running.until("ledger", |health| !health.rebuild_asked && health.cursor >= request).await;
    let (changes, sent) = (world.state().await["changes"].clone(), world.sent("ledger").await.len());
    let place = desk.replay(letter, "7").await.unwrap();
    running.done(place).await;
    assert_eq!((world.state().await["changes"].clone(), world.sent("ledger").await.len()), (changes, sent));
    // It is closed after the commit that tried it.
    let closed =
        world.record_after(place, |record| matches!(record.body, RecordBody::Control(Control::LetterClosed { .. })));
    closed.await;
    // It was not tried: its row says what no version can handle, and it would be a letter again.
    assert!(desk.dead_letters(None, Number::ZERO, 10).await.unwrap().is_empty());
    running.pipelines.stop().await;
}
