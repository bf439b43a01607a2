//! Versions whose state has another layout: it is made anew, brought over, or found again in a checkpoint.

use super::super::Outcome;
use super::stamps::{manifest, named, runs, version, world};
use super::world::World;
use crate::journal::Control;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_of_another_layout_is_made_anew_and_rolling_back_finds_the_one_that_was() {
    let (mut world, running) = world("probation = '0s'", "", "").await;
    world.change(10).await;
    // Without rows to make a state of, it is made of the kept events.
    running.deploy(World::package("stamp", manifest("v1", "state_layout = 2", ""))).await.unwrap();
    running.until("stamp", |health| health.versions[0].1.starts_with("v1+")).await;
    world.change(5).await;
    running.pipelines.desk().roll_back("stamp", None, "7").await.unwrap();
    running.until("stamp", |health| health.versions[0].1.starts_with("v0+")).await;
    let last = world.change(5).await;
    running.stamped(last).await;
    // Nothing was sent twice, and each count is as if one version had served all along.
    assert_eq!(runs(&world.assert_whole(20).await), named(&[("v0", 10), ("v1", 5), ("v0", 5)]));
    running.pipelines.stop().await;
}

/// A version with layout 2; `how` it misbehaves when it brings the state over.
fn mover(stamp: &str, how: &str) -> crate::store::Package {
    World::package("mover", manifest(stamp, "state_layout = 2", &format!("do = '{how}'")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_brings_the_state_of_another_layout_over_and_the_former_finds_its_own_again() {
    let (mut world, running) = world("probation = '0s'", "", "").await;
    world.change(10).await;
    let deployed = running.swap_to(mover("v1", "")).await;
    let canary = deployed.pipelines[0].canary.as_ref().unwrap();
    assert_eq!(canary.notes, ["it brought over the state of layout 1"], "{canary:?}");
    assert_eq!(canary.missing + canary.added, 0, "{canary:?}");
    let last = world.change(5).await;
    running.stamped(last).await;
    let state = world.journal.pipeline("stamp").await.unwrap().unwrap().state;
    let keys: Vec<&str> = state["stamp"].keys().map(|key| &**key).collect();
    assert_eq!(keys, ["counts/all"], "nothing of the former layout is left");
    running.pipelines.desk().roll_back("stamp", None, "7").await.unwrap();
    running.until("stamp", |health| health.versions[0].1.starts_with("v0+")).await;
    let last = world.change(5).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(20).await), named(&[("v0", 10), ("v1", 5), ("v0", 5)]));
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_can_t_bring_the_state_over_never_serves() {
    let (mut world, running) = world("migration_cpu = '50ms'", "", "").await;
    let last = world.change(10).await;
    running.stamped(last).await;
    for (how, reason) in [("error", "it says so"), ("trap", "it says so"), ("loop", "CPU time")] {
        let error = running.deploy(mover(&format!("no-{how}"), &format!("migrate-{how}"))).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("can't bring over the state of layout 1") && text.contains(reason), "{text}");
        assert_eq!(running.serving(), "v0");
    }
    let last = world.change(10).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(20).await), named(&[("v0", 20)]));
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_with_a_lower_layout_is_not_asked_to_bring_over_what_it_can_t_know() {
    let (mut world, running) = world("probation = '0s'", "", "").await;
    world.change(10).await;
    running.swap_to(mover("v1", "")).await;
    let lower = World::package("mover", manifest("v2", "state_layout = 1", ""));
    running.swap_to(lower).await;
    let last = world.change(5).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(15).await), named(&[("v0", 10), ("v2", 5)]), "its state was made anew");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_whose_state_can_not_be_made_is_refused_and_the_former_goes_on() {
    let (mut world, running) = world("probation = '0s'", "", "").await;
    world.bank.account(5, 1, 1);
    world.change(3).await;
    // Its checkpoint lies behind the event that the next one fails at: the canary does not meet it.
    running.swap_to(version("v1")).await;
    let anew = manifest("v2", "state_layout = 2\non_fault = 'hold'", "do = 'trap-at'\nat = '5'");
    let deployed = running.deploy(World::package("stamp", anew)).await.unwrap();
    let outcome = &deployed.pipelines[0].outcome;
    assert!(
        matches!(outcome, Outcome::Refused { reason } if reason.contains("its state can't be made")),
        "{outcome:?}"
    );
    let last = world.change(4).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(8).await), named(&[("v0", 4), ("v1", 4)]));
    assert_eq!(running.health("stamp").pending, None);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_can_not_make_its_state_leaves_no_dead_letters_of_what_the_former_handled() {
    let (mut world, running) = world("probation = '0s'\nquarantine_after = 2", "", "").await;
    world.change(6).await;
    running.swap_to(version("v1")).await;
    let anew = manifest("v2", "state_layout = 2", "do = 'trap'");
    let deployed = running.deploy(World::package("stamp", anew)).await.unwrap();
    assert!(matches!(&deployed.pipelines[0].outcome, Outcome::Refused { .. }), "{deployed:?}");
    let last = world.change(2).await;
    running.stamped(last).await;
    world.assert_whole(8).await;
    assert!(world.dead_letters().await.is_empty());
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_was_made_anew_is_kept_to_try_versions_from_it() {
    let (mut world, running) = world("", "", "").await;
    let last = world.change(3).await;
    running.stamped(last).await;
    let place = world.journal.control(Control::RebuildWanted { pipeline: "stamp".into() }).await.unwrap();
    world.change(1).await;
    let kept = async {
        while world.journal.checkpoints("stamp").await.unwrap().last().is_none_or(|newest| newest.number < place) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), kept).await.unwrap();
    running.pipelines.stop().await;
}
