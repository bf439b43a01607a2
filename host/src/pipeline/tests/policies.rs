//! What happens to an event that a plugin can't handle, and what operators do about it.

use super::super::{Status, Wish};
use super::stamps::{manifest, runs, version, world};
use crate::event::Number;
use crate::journal::Control;

const AT_FIVE: &str = "do = 'trap-at'\nat = '5'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_holds_goes_on_with_a_version_that_can() {
    let (mut world, running) = world("", "on_fault = 'hold'", AT_FIVE).await;
    world.change(3).await;
    world.bank.account(5, 1, 1);
    let last = world.change(3).await;
    let held = |health: &super::super::Health| matches!(&health.status, Status::Failed { reason, .. } if reason.contains("holds before event"));
    running.until("stamp", held).await;
    assert_eq!(world.stamps().await.len(), 3, "what came before is committed");
    running.swap_to(version("v1")).await;
    running.stamped(last).await;
    let stamps = world.assert_whole(7).await;
    assert_eq!(runs(&stamps), [("v0".to_owned(), 3), ("v1".to_owned(), 4)]);
    assert!(world.dead_letters().await.is_empty());
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_holds_a_pipeline_can_be_let_go_and_tried_again_later() {
    let (mut world, running) = world("", "on_fault = 'hold'", AT_FIVE).await;
    let desk = running.pipelines.desk().clone();
    world.bank.account(5, 1, 1);
    let last = world.change(3).await;
    let held = |health: &super::super::Health| matches!(health.status, Status::Failed { .. });
    running.until("stamp", held).await;
    let event = Number(last.0 - 3);
    desk.skip("stamp", event, "7").await.unwrap();
    running.stamped(last).await;
    let letters = desk.dead_letters(None, Number::ZERO, 10).await.unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((letters[0].letter.number, world.stamps().await.len()), (event, 3));

    running.swap_to(version("v1")).await;
    let place = desk.replay(letters[0].number, "7").await.unwrap();
    running.stamped(place).await;
    let last = world.change(1).await;
    running.stamped(last).await;
    let stamps = world.assert_whole(5).await;
    assert_eq!((stamps[3].key.as_str(), stamps[3].stamp.as_str()), ("5", "v1"));
    let sent = world.sent("stamped").await;
    assert_eq!(sent.iter().map(|message| message.late).collect::<Vec<_>>(), [false, false, false, true, false]);
    assert!(desk.dead_letters(None, Number::ZERO, 10).await.unwrap().is_empty());
    assert!(desk.replay(letters[0].number, "7").await.is_err(), "it is done with");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_fails_at_every_event_is_quarantined_before_all_are_dead_letters() {
    let (mut world, running) = world("quarantine_after = 4", "", "do = 'trap'").await;
    let last = world.change(60).await;
    let quarantined = |health: &super::super::Health| matches!(&health.status, Status::Failed { reason, .. } if reason.contains("quarantined: 4 events in a row"));
    running.until("stamp", quarantined).await;
    let letters = world.dead_letters().await.len();
    assert!((4..20).contains(&letters), "{letters}");
    running.swap_to(version("v1")).await;
    running.stamped(last).await;
    let letters = world.dead_letters().await.len();
    assert_eq!(world.assert_whole(60 - letters).await.len(), 60 - letters);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_pipeline_stands_still_over_a_restart_and_goes_on_without_a_loss() {
    let (mut world, running) = world("", "", "").await;
    world.change(3).await;
    let desk = running.pipelines.desk();
    desk.pause("stamp", "7").await.unwrap();
    let paused = |health: &super::super::Health| matches!(&health.status, Status::Paused { by } if &**by == "7");
    running.until("stamp", paused).await;
    world.change(4).await;
    running.pipelines.stop().await;
    let running = world.start().await;
    running.until("stamp", paused).await;
    assert_eq!(world.stamps().await.len(), 3);
    running.pipelines.desk().resume("stamp", "7").await.unwrap();
    let last = world.change(2).await;
    running.stamped(last).await;
    world.assert_whole(9).await;
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_bypassed_leaves_the_event_to_the_others() {
    let mut world = super::world::World::new("").await;
    world.settings.push_str("\n[[pipeline]]\nname = 'stamp'\nplugins = ['first', 'stamp']\n");
    let first = manifest("f", "on_fault = 'bypass'", AT_FIVE).replace("name = 'stamp'", "name = 'first'");
    world.place_with("stamp", "first", &first);
    world.place_with("stamp", "stamp", &manifest("v0", "", ""));
    let running = world.start().await;
    running.until("stamp", |health| health.status == Status::Running).await;
    world.change(2).await;
    world.bank.account(5, 1, 1);
    let last = world.change(2).await;
    running.stamped(last).await;
    let stamps = world.stamps().await;
    let of = |stamp: &str| stamps.iter().filter(|stamped| stamped.stamp == stamp).map(|s| s.count).max().unwrap();
    assert_eq!((of("f"), of("v0")), (4, 5), "{stamps:?}");
    let controls = world.journal.controls(Number::ZERO, 1000).await.unwrap();
    let blamed: Vec<_> = controls
        .iter()
        .filter_map(|(_, control)| match control {
            Control::DeadLetter(letter) => Some(&*letter.plugin),
            _ => None,
        })
        .collect();
    assert_eq!(blamed, ["first"]);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bypassed_event_that_is_tried_again_makes_messages_that_no_client_takes_for_earlier_ones() {
    let mut world = super::world::World::new("").await;
    world.settings.push_str("\n[[pipeline]]\nname = 'stamp'\nplugins = ['first', 'stamp']\n");
    let of_first = |stamp: &str, config: &str| {
        manifest(stamp, "on_fault = 'bypass'", config).replace("name = 'stamp'", "name = 'first'")
    };
    world.place_with("stamp", "first", &of_first("f", AT_FIVE));
    world.place_with("stamp", "stamp", &manifest("v0", "", ""));
    let running = world.start().await;
    running.until("stamp", |health| health.status == Status::Running).await;
    world.bank.account(5, 1, 1);
    let last = world.append().await;
    running.stamped(last).await;
    let desk = running.pipelines.desk();
    let letter = desk.dead_letters(None, Number::ZERO, 10).await.unwrap().remove(0).number;
    desk.deploy("first", super::world::World::package("stamp", of_first("g", "")), "7", crate::store::Origin::Http)
        .await
        .unwrap();
    let place = desk.replay(letter, "7").await.unwrap();
    running.stamped(place).await;
    let sent = world.sent("stamped").await;
    let late: Vec<bool> = sent.iter().map(|message| message.late).collect();
    assert_eq!(late, [false, true], "the other plugin's, then the late one");
    assert_ne!(sent[0].id, sent[1].id);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_was_let_go_holds_no_later_version_and_no_rebuild() {
    let (mut world, running) = world("", "on_fault = 'hold'", AT_FIVE).await;
    let desk = running.pipelines.desk();
    world.bank.account(5, 1, 1);
    let last = world.change(3).await;
    running.until("stamp", |health| matches!(health.status, Status::Failed { .. })).await;
    desk.skip("stamp", Number(last.0 - 3), "7").await.unwrap();
    running.stamped(last).await;
    let again = super::world::World::package("stamp", manifest("v1", "on_fault = 'hold'", AT_FIVE));
    let wish = Wish { plugin: "stamp".into(), pipeline: "stamp".into(), package: again.clone(), from: None };
    let report = desk.trial(wish, None).await.unwrap();
    assert_eq!((report.faults, report.known_faults, report.events), (0, 1, 3), "{report:?}");
    running.swap_to(again).await;
    let place = world.journal.control(Control::RebuildWanted { pipeline: "stamp".into() }).await.unwrap();
    running.stamped(place).await;
    let last = world.change(2).await;
    running.stamped(last).await;
    world.assert_whole(5).await;
    assert_eq!(world.dead_letters().await.len(), 1);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_counts_once_whether_the_state_is_made_anew_before_it_is_tried_again_or_after() {
    let (mut world, running) = world("", "", AT_FIVE).await;
    world.bank.account(5, 1, 1);
    let last = world.change(3).await;
    running.stamped(last).await;
    let desk = running.pipelines.desk();
    let letter = desk.dead_letters(None, Number::ZERO, 10).await.unwrap().remove(0).number;
    running.swap_to(version("v1")).await;
    world.journal.control(Control::RebuildWanted { pipeline: "stamp".into() }).await.unwrap();
    desk.replay(letter, "7").await.unwrap();
    world.change(1).await;
    world.journal.control(Control::RebuildWanted { pipeline: "stamp".into() }).await.unwrap();
    let last = world.change(1).await;
    running.stamped(last).await;
    world.assert_whole(6).await;
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_was_tried_again_is_not_lost_by_going_back_over_it() {
    let (mut world, running) = world("probation = '0s'", "", AT_FIVE).await;
    world.bank.account(5, 1, 1);
    let last = world.change(3).await;
    running.stamped(last).await;
    let desk = running.pipelines.desk();
    let letter = desk.dead_letters(None, Number::ZERO, 10).await.unwrap().remove(0).number;
    running.swap_to(version("v1")).await;
    running.swap_to(super::world::World::package("stamp", manifest("v2", "state_layout = 2", ""))).await;
    let place = desk.replay(letter, "7").await.unwrap();
    running.stamped(place).await;
    desk.roll_back("stamp", None, "7").await.unwrap();
    running.until("stamp", |health| health.versions[0].1.starts_with("v1+")).await;
    let last = world.change(1).await;
    running.stamped(last).await;
    let stamps = world.assert_whole(5).await;
    assert_eq!(runs(&stamps), [("v0".to_owned(), 3), ("v2".to_owned(), 1), ("v1".to_owned(), 1)]);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_cursor_is_saved_makes_no_second_dead_letter() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let (mut world, running) = world("", "", AT_FIVE).await;
    running.pipelines.stop().await;
    let dies = Arc::new(AtomicBool::new(false));
    let once = dies.clone();
    let here = || std::thread::current().name() == Some("pipeline-stamp");
    let running = world.start_crashing(Some(Arc::new(move || here() && once.swap(false, Ordering::Relaxed)))).await;
    let last = world.change(3).await;
    running.stamped(last).await;
    dies.store(true, Ordering::Relaxed);
    world.bank.account(5, 1, 1);
    world.append().await;
    // Nothing came of it, so only the cursor is saved, a second later: there it dies.
    while dies.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    let last = world.change(1).await;
    running.stamped(last).await;
    world.assert_whole(4).await;
    assert_eq!(world.dead_letters().await.len(), 1);
    running.pipelines.stop().await;
}

/// A world of two plugins, of which the first fails at account 5.
async fn two(first: &str) -> (super::world::World, super::world::Running) {
    let mut world = super::world::World::new("probation = '0s'").await;
    world.settings.push_str("\n[[pipeline]]\nname = 'stamp'\nplugins = ['first', 'stamp']\n");
    world.place_with("stamp", "first", &of_first("f", first, AT_FIVE));
    world.place_with("stamp", "stamp", &manifest("v0", "", ""));
    let running = world.start().await;
    running.until("stamp", |health| health.status == Status::Running).await;
    (world, running)
}

fn of_first(stamp: &str, top: &str, config: &str) -> String {
    manifest(stamp, top, config).replace("name = 'stamp'", "name = 'first'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_is_tried_again_on_those_that_lack_its_event_whatever_the_policy_is_by_then() {
    for (then, now, late) in [("bypass", "skip", ["g"].as_slice()), ("skip", "bypass", &["g", "v0"])] {
        let (mut world, running) = two(&format!("on_fault = '{then}'")).await;
        world.bank.account(5, 1, 1);
        let last = world.append().await;
        running.stamped(last).await;
        let desk = running.pipelines.desk();
        let letter = desk.dead_letters(None, Number::ZERO, 10).await.unwrap().remove(0).number;
        let mended = super::world::World::package("stamp", of_first("g", &format!("on_fault = '{now}'"), ""));
        desk.deploy("first", mended, "7", crate::store::Origin::Http).await.unwrap();
        let place = desk.replay(letter, "7").await.unwrap();
        running.stamped(place).await;
        let sent = world.sent("stamped").await;
        let stamps = world.stamps().await;
        let tried: Vec<&str> =
            sent.iter().zip(&stamps).filter(|(message, _)| message.late).map(|(_, stamped)| &*stamped.stamp).collect();
        assert_eq!(tried, late, "{then}, then {now}");
        running.pipelines.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_of_an_event_that_was_sent_before_counts_when_it_is_tried_again_and_is_not_sent_again() {
    let (mut world, running) = world("probation = '0s'", "", "").await;
    world.bank.account(5, 1, 1);
    world.change(2).await;
    running.swap_to(version("v1")).await;
    running.swap_to(super::world::World::package("stamp", manifest("v2", "", ""))).await;
    let fails = super::world::World::package("stamp", manifest("v3", "", AT_FIVE));
    running.swap_to(fails).await;
    let place = world.journal.control(Control::RebuildWanted { pipeline: "stamp".into() }).await.unwrap();
    running.stamped(place).await;
    let desk = running.pipelines.desk();
    let letter = desk.dead_letters(None, Number::ZERO, 10).await.unwrap().remove(0);
    assert!(letter.letter.delivered, "{letter:?}");
    running.swap_to(super::world::World::package("stamp", manifest("v4", "", ""))).await;
    let place = desk.replay(letter.number, "7").await.unwrap();
    running.stamped(place).await;
    let last = world.change(1).await;
    running.stamped(last).await;
    world.assert_whole(4).await;
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_was_tried_again_and_fails_when_the_state_is_made_anew_is_a_letter_again() {
    let (mut world, running) = world("probation = '0s'", "", AT_FIVE).await;
    world.bank.account(5, 1, 1);
    let last = world.change(1).await;
    running.stamped(last).await;
    let desk = running.pipelines.desk();
    let letter = desk.dead_letters(None, Number::ZERO, 10).await.unwrap().remove(0).number;
    running.swap_to(version("v1")).await;
    let place = desk.replay(letter, "7").await.unwrap();
    running.stamped(place).await;
    running.swap_to(super::world::World::package("stamp", manifest("v2", "", AT_FIVE))).await;
    let place = world.journal.control(Control::RebuildWanted { pipeline: "stamp".into() }).await.unwrap();
    running.stamped(place).await;
    assert_eq!(desk.dead_letters(None, Number::ZERO, 10).await.unwrap().len(), 1, "it counts no more, and it shows");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_fails_again_holds_no_pipeline_whatever_the_policy() {
    let (mut world, running) = world("", "on_fault = 'hold'", AT_FIVE).await;
    world.bank.account(5, 1, 1);
    let last = world.change(1).await;
    running.until("stamp", |health| matches!(health.status, Status::Failed { .. })).await;
    running.pipelines.desk().skip("stamp", Number(last.0 - 1), "7").await.unwrap();
    running.stamped(last).await;
    // It remembers no longer that the event was let go.
    running.pipelines.stop().await;
    let running = world.start().await;
    let desk = running.pipelines.desk();
    let letter = desk.dead_letters(None, Number::ZERO, 10).await.unwrap().remove(0);
    let place = desk.replay(letter.number, "7").await.unwrap();
    running.stamped(place).await;
    let last = world.change(1).await;
    running.stamped(last).await;
    let left = desk.dead_letters(None, Number::ZERO, 10).await.unwrap();
    let events: Vec<Number> = left.iter().map(|stored| stored.letter.number).collect();
    assert_eq!(events, [letter.letter.number], "a letter again");
    assert!(left[0].number > letter.number);
    assert_eq!(running.health("stamp").status, Status::Running);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_whose_plugin_left_the_pipeline_is_not_gone_because_somebody_tried_it_again() {
    let (mut world, running) = two("on_fault = 'bypass'").await;
    world.bank.account(5, 1, 1);
    let last = world.append().await;
    running.stamped(last).await;
    running.pipelines.stop().await;
    world.settings = world.settings.replace("plugins = ['first', 'stamp']", "plugins = ['stamp']");
    let running = world.start().await;
    let desk = running.pipelines.desk();
    let letter = desk.dead_letters(None, Number::ZERO, 10).await.unwrap().remove(0).number;
    let place = desk.replay(letter, "7").await.unwrap();
    running.stamped(place).await;
    let last = world.change(1).await;
    running.stamped(last).await;
    let left = desk.dead_letters(None, Number::ZERO, 10).await.unwrap();
    assert_eq!(left.iter().map(|stored| stored.number).collect::<Vec<_>>(), [letter]);
    running.pipelines.stop().await;
}
