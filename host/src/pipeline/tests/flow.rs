//! A pipeline's life when nothing goes wrong with its plugins, and when the process dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::Status;
use super::world::World;
use crate::event::Number;
use crate::journal::Control;
use crate::message::Message;

fn ids(messages: &[Arc<Message>]) -> Vec<(uuid::Uuid, String)> {
    messages.iter().map(|message| (message.id, message.data.to_string())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_goes_to_its_channel() {
    let world = World::new("").await;
    let running = world.start().await;
    running.until("publications", |health| health.status == Status::Running).await;
    world.publish(1, "news", "\"one\"").await;
    world.publish(2, "nowhere", "\"lost\"").await;
    let last = world.publish(3, "news:local", "\"two\"").await;
    running.until("publications", |health| health.cursor >= last).await;
    let (news, local) = (world.sent("news").await, world.sent("news:local").await);
    assert_eq!((news.len(), local.len()), (1, 1));
    assert_eq!((&*news[0].kind, &*news[0].event_type, &*news[0].data), ("news", "news_flash", "\"one\""));
    let letters = world.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert!(letters[0].1.contains("nowhere"), "{letters:?}");
    running.pipelines.stop().await;
    assert_eq!(running.health("publications").status, Status::Stopped);
}

/// The stream has changes that the snapshot contains, before and behind it; all count once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_pipeline_counts_exactly_where_snapshot_and_stream_overlap() {
    let mut world = World::with_ledger("").await;
    world.bank.person(1, "Ana");
    world.bank.account(1, 10, 1);
    world.bank.account(2, 20, 1);
    world.append().await;
    let running = world.start().await;
    running.until("ledger", |health| health.status == Status::WaitingForSnapshot).await;
    let request = world.request(Number::ZERO).await;
    // Seen before the snapshot and contained in it.
    world.bank.account(3, 30, 1);
    world.append().await;
    // Contained, and not in the stream yet.
    world.bank.account(1, 11, 1);
    world.bank.close_account(2);
    let late = world.bank.take();
    world.answer(request).await;
    world.append_events(late).await;
    // Beyond it.
    world.bank.account(4, 40, 1);
    world.bank.account(1, 12, 1);
    let last = world.append().await;
    running.done(last).await;
    assert_eq!(world.board().await, world.bank.board());
    let state = world.state().await;
    assert_eq!(state["sum"], world.bank.sum().to_string());
    assert_eq!(state["changes"], "4", "two rows and two changes");
    let sent = world.sent("ledger").await;
    let data: Vec<&str> = sent.iter().map(|message| &*message.data).collect();
    assert_eq!(sent.len(), 2, "{data:?}");
    assert!(data[0].contains(r#""key":"4""#) && data[1].contains(r#""sum":82"#), "{data:?}");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_between_the_snapshot_and_its_folding_are_published() {
    let mut world = World::with_ledger("").await;
    let running = world.start().await;
    let request = world.request(Number::ZERO).await;
    world.bank.account(1, 10, 1);
    world.append().await;
    // The rows are read here; the next change is appended before they are.
    let snapshot = world.snapshot(request);
    world.bank.account(2, 5, 1);
    world.append().await;
    for append in snapshot {
        world.journal.append(append).await.unwrap();
    }
    world.bank.account(3, 6, 1);
    let last = world.append().await;
    running.done(last).await;
    assert_eq!(world.board().await, world.bank.board());
    assert_eq!(world.sent("ledger").await.len(), 2);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_those_of_the_batchs_place_in_the_journal() {
    let mut world = World::with_ledger("").await;
    let running = world.start().await;
    world.answer_next().await;
    running.until("ledger", |health| health.status == Status::Running).await;
    // All of it lies there before the pipeline looks: one read, several batches.
    for (name, n) in [("Ana", 1), ("Bea", 2), ("Eva", 3)] {
        world.bank.person(1, name);
        world.bank.account(n, 1, 1);
    }
    let last = world.append().await;
    running.done(last).await;
    let board = world.board().await;
    let names: Vec<&str> = board.values().map(String::as_str).collect();
    assert_eq!(names, [r#"{"n":1,"owner":"Ana"}"#, r#"{"n":1,"owner":"Bea"}"#, r#"{"n":1,"owner":"Eva"}"#]);
    running.pipelines.stop().await;
}

/// Kills around commits, again and again, with an instance for each batch: the messages are the same,
/// ids too, as where nothing happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_dies_around_commits_sends_each_message_once_with_the_same_id() {
    let mut expected = None;
    for crashing in [false, true] {
        let mut world = World::with_ledger("batch_events = 7\nreplace_instance_after = 1").await;
        let count = Arc::new(AtomicU64::new(0));
        let crashes = Arc::new(AtomicU64::new(0));
        let (points, counted) = (count.clone(), crashes.clone());
        let crash: Arc<dyn Fn() -> bool + Send + Sync> = Arc::new(move || {
            // Neither in step with the two points of a commit nor with the batches.
            let dies = points.fetch_add(1, Ordering::Relaxed) % 5 == 3;
            counted.fetch_add(u64::from(dies), Ordering::Relaxed);
            dies
        });
        let running = world.start_crashing(crashing.then_some(crash)).await;
        world.answer_next().await;
        running.until("ledger", |health| health.status == Status::Running).await;
        let mut last = Number::ZERO;
        for _ in 0..40 {
            world.bank.live(20);
            last = world.append().await;
        }
        running.done(last).await;
        running.pipelines.stop().await;
        let sent = world.sent("ledger").await;
        assert_eq!(world.board().await, world.bank.board());
        assert_eq!(world.state().await["sum"], world.bank.sum().to_string());
        assert_eq!(world.state().await["changes"], sent.len().to_string());
        assert!(sent.len() > 500, "{}", sent.len());
        let sent = ids(&sent);
        match &expected {
            None => expected = Some(sent),
            Some(expected) => {
                assert!(crashes.load(Ordering::Relaxed) > 20, "{crashes:?}");
                assert_eq!(&sent, expected);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_goes_on_where_it_was_after_a_stop() {
    let mut world = World::with_ledger("").await;
    let running = world.start().await;
    world.answer_next().await;
    running.until("ledger", |health| health.status == Status::Running).await;
    let mut last = Number::ZERO;
    let mut running = running;
    for _ in 0..5 {
        world.bank.live(30);
        last = world.append().await;
        running.pipelines.stop().await;
        running = world.start().await;
    }
    running.done(last).await;
    assert_eq!(world.board().await, world.bank.board());
    assert_eq!(world.state().await["changes"], world.sent("ledger").await.len().to_string());
    let controls = world.journal.controls(Number::ZERO, 10_000).await.unwrap();
    let asked = controls.iter().filter(|(_, control)| matches!(control, Control::SnapshotWanted { .. })).count();
    assert_eq!(asked, 1, "rows are asked for once: {controls:?}");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_that_commits_for_it_stops_the_pipeline() {
    let mut world = World::with_ledger("").await;
    let one = world.start().await;
    world.answer_next().await;
    one.until("ledger", |health| health.status == Status::Running).await;
    let two = world.start().await;
    two.until("ledger", |health| health.status == Status::Running).await;
    world.bank.live(5);
    world.append().await;
    let failed = |health: &super::super::Health| matches!(health.status, Status::Failed { .. });
    let (first, second) = (one.until("ledger", failed), two.until("ledger", failed));
    tokio::select! { () = first => {}, () = second => {} }
    let states = [one.health("ledger"), two.health("ledger")];
    assert_eq!(states.iter().filter(|health| failed(health)).count(), 1, "{states:?}");
    one.pipelines.stop().await;
    two.pipelines.stop().await;
    assert_eq!(world.state().await["changes"], world.sent("ledger").await.len().to_string());
}
