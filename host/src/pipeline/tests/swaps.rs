//! Versions of plugins that take over while the pipeline runs.

use super::super::{DeployError, Outcome};
use super::stamps::{bad, manifest, runs, version, world};
use super::world::World;
use crate::event::Number;
use crate::journal::Control;

fn named(pairs: &[(&str, usize)]) -> Vec<(String, usize)> {
    pairs.iter().map(|(stamp, count)| ((*stamp).to_owned(), *count)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_takes_over_exactly_at_its_place_and_goes_on_with_the_state() {
    let (mut world, running) = world("", "", "").await;
    world.change(30).await;
    running.swap_to(version("v1")).await;
    world.change(20).await;
    running.swap_to(version("v2")).await;
    let last = world.change(10).await;
    running.stamped(last).await;
    let stamps = world.assert_whole(60).await;
    assert_eq!(runs(&stamps), named(&[("v0", 30), ("v1", 20), ("v2", 10)]));
    // The control records say the same.
    let controls = world.journal.controls(Number::ZERO, 1000).await.unwrap();
    let swapped: Vec<_> = controls
        .iter()
        .filter_map(|(_, control)| match control {
            Control::Swapped { swap, former, cursor } => Some((&*swap.version, &**former, *cursor)),
            _ => None,
        })
        .collect();
    assert_eq!(swapped.len(), 2, "{controls:?}");
    assert!(swapped[0].0.starts_with("v1+") && swapped[0].1.starts_with("v0+"), "{swapped:?}");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_took_over_serves_after_a_restart_whatever_the_folder_holds() {
    let (mut world, running) = world("", "", "").await;
    running.swap_to(version("v1")).await;
    world.change(5).await;
    running.pipelines.stop().await;
    let running = world.start().await;
    let last = world.change(5).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(10).await), named(&[("v1", 10)]));
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_on_recorded_events_or_before_never_serves_and_the_reason_is_kept() {
    let (mut world, running) = world("", "", "").await;
    let last = world.change(20).await;
    running.stamped(last).await;
    let garbage = crate::store::Package { component: b"no component".to_vec(), manifest: manifest("v9", "", "") };
    for (package, reason) in [
        (bad("v1", "trap"), "trapped"),
        (bad("v2", "loop"), "CPU time"),
        (bad("v3", "memory"), "memory"),
        (bad("v4", "init"), "it says so"),
        (garbage, "component"),
        (World::package("stamp", manifest("v5", "colour = 'red'", "")), "unknown field `colour`"),
        (World::package("stamp", manifest("v6", "", "").replace("['stamped']", "['nowhere']")), "no [[channel]]"),
    ] {
        let error = running.deploy(package).await.unwrap_err();
        assert!(matches!(error, DeployError::Refused { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{reason}: {error}");
        assert_eq!(running.serving(), "v0");
    }
    let view = running.pipelines.desk().plugin("stamp").await.unwrap();
    let refused = view.versions.iter().filter(|about| about.refused.is_some()).count();
    assert_eq!(refused, 4, "those that could be compiled are kept with their reason: {:?}", view.versions);
    let last = world.change(20).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(40).await), named(&[("v0", 40)]));
    let letters = world.dead_letters().await;
    assert!(letters.is_empty(), "a canary's faults cost nothing: {letters:?}");
    assert!(running.health("stamp").faults.is_empty());
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_fails_within_its_probation_is_rolled_back_and_the_batch_runs_on_the_former() {
    let (mut world, running) = world("", "", "").await;
    let last = world.change(20).await;
    running.stamped(last).await;
    running.swap_to(World::package("stamp", manifest("v1", "", "do = 'trap-at'\nat = '5'"))).await;
    world.change(10).await;
    world.bank.account(5, 1, 1);
    world.append().await;
    let last = world.change(10).await;
    running.stamped(last).await;
    assert_eq!(running.serving(), "v0");
    let stamps = world.assert_whole(41).await;
    assert_eq!(stamps[30].key, "5");
    assert_eq!(stamps[30].stamp, "v0", "the failed event's batch runs on the former version");
    assert!(stamps[31..].iter().all(|stamped| stamped.stamp == "v0"));
    assert!(world.dead_letters().await.is_empty());
    let view = running.pipelines.desk().plugin("stamp").await.unwrap();
    let reason = view.versions.iter().find_map(|about| about.refused.as_deref()).unwrap();
    assert!(reason.contains("within its probation: trapped"), "{reason}");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_its_probation_a_fault_costs_an_event_and_not_the_version() {
    let (mut world, running) = world("probation = '0s'", "", "").await;
    running.swap_to(World::package("stamp", manifest("v1", "", "do = 'trap-at'\nat = '5'"))).await;
    world.bank.account(5, 1, 1);
    let last = world.change(3).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(3).await), named(&[("v1", 3)]));
    assert_eq!(world.dead_letters().await.len(), 1);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_rolls_back_to_the_version_before_or_to_a_named_one() {
    let (mut world, running) = world("", "", "").await;
    let desk = running.pipelines.desk();
    running.swap_to(version("v1")).await;
    running.swap_to(version("v2")).await;
    world.change(4).await;
    let back = desk.roll_back("stamp", None, "7").await.unwrap();
    assert!(back.version.starts_with("v1+"), "{back:?}");
    world.change(3).await;
    let oldest = desk.plugin("stamp").await.unwrap().versions.pop().unwrap();
    let back = desk.roll_back("stamp", Some(oldest.id.short()), "7").await.unwrap();
    assert_eq!(back.pipelines[0].outcome, Outcome::Serves);
    let last = world.change(2).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(9).await), named(&[("v2", 4), ("v1", 3), ("v0", 2)]));
    let error = desk.roll_back("stamp", Some("v77"), "7").await.unwrap_err().to_string();
    assert!(error.contains("no version v77") && error.contains("v2+"), "{error}");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_the_folder_is_brought_once_it_rests_and_a_bad_one_is_tried_once() {
    let (mut world, running) = world("", "", "").await;
    let last = world.change(5).await;
    running.stamped(last).await;
    world.place_with("stamp", "stamp", &manifest("v1", "", ""));
    running.until("stamp", |health| health.versions[0].1.starts_with("v1+")).await;
    // Something to be tried on.
    let last = world.change(5).await;
    running.stamped(last).await;
    world.place_with("stamp", "stamp", &manifest("v2", "", "do = 'trap'"));
    let desk = running.pipelines.desk();
    let mut refused = Vec::new();
    while refused.is_empty() {
        tokio::task::yield_now().await;
        let view = desk.plugin("stamp").await.unwrap();
        refused = view.versions.into_iter().filter(|about| about.refused.is_some()).collect();
    }
    world.place_with("stamp", "stamp", &manifest("v3", "", ""));
    running.until("stamp", |health| health.versions[0].1.starts_with("v3+")).await;
    assert_eq!(desk.plugin("stamp").await.unwrap().versions.len(), 4);
    running.pipelines.stop().await;
}

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
async fn a_trial_says_what_a_version_would_make_otherwise_and_changes_nothing() {
    let (mut world, running) = world("", "", "").await;
    let last = world.change(12).await;
    running.stamped(last).await;
    let desk = running.pipelines.desk();
    let same = desk.trial("stamp", "stamp", version("v0"), None, None).await.unwrap();
    assert_eq!((same.events, same.same, same.added + same.missing + same.changed), (12, 12, 0), "{same:?}");
    let other = desk.trial("stamp", "stamp", version("v1"), None, None).await.unwrap();
    assert_eq!((other.events, other.same, other.changed), (12, 0, 12), "{other:?}");
    let first = &other.differences[0];
    assert!(
        first.was.as_ref().unwrap().data.get().contains("v0") && first.is.as_ref().unwrap().data.get().contains("v1")
    );
    let broken = desk.trial("stamp", "stamp", bad("v2", "trap"), None, None).await.unwrap();
    assert_eq!((broken.faults, broken.missing), (12, 12), "{broken:?}");
    assert_eq!(running.serving(), "v0");
    assert_eq!(desk.plugin("stamp").await.unwrap().versions.len(), 1);
    world.assert_whole(12).await;
    assert!(world.dead_letters().await.is_empty());
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

/// The plugins folder is empty, and the server starts anew.
async fn restarted_without_folder(world: &World, running: super::world::Running) -> super::world::Running {
    running.pipelines.stop().await;
    for ending in ["wasm", "toml"] {
        std::fs::remove_file(world.folder.path().join(format!("plugins/stamp.{ending}"))).unwrap();
    }
    world.start().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_fails_where_the_former_is_lost_costs_an_event_and_asks_for_it_once() {
    let (mut world, running) = world("probation = '10m'", "", "").await;
    let former = running.pipelines.desk().plugin("stamp").await.unwrap().versions[0].id.clone();
    running.swap_to(World::package("stamp", manifest("v1", "", "do = 'trap-at'\nat = '5'"))).await;
    let kept = world.config().versions_folder().join("stamp").join(former.as_str());
    std::fs::remove_dir_all(kept).unwrap();
    let running = restarted_without_folder(&world, running).await;
    world.bank.account(5, 1, 1);
    let last = world.change(3).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(3).await), named(&[("v1", 3)]));
    assert_eq!(world.dead_letters().await.len(), 1);
    let controls = world.journal.controls(Number::ZERO, 1000).await.unwrap();
    let refused = controls.iter().filter(|(_, control)| matches!(control, Control::SwapRefused { .. })).count();
    assert_eq!(refused, 1);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_are_refused_do_not_push_out_the_one_to_go_back_to() {
    let (mut world, running) = world("probation = '10m'\nkeep_versions = 2", "", "").await;
    running.swap_to(World::package("stamp", manifest("v1", "", "do = 'trap-at'\nat = '5'"))).await;
    let last = world.change(3).await;
    running.stamped(last).await;
    for stamp in ["v2", "v3", "v4"] {
        running.deploy(bad(stamp, "trap")).await.unwrap_err();
    }
    let running = restarted_without_folder(&world, running).await;
    world.bank.account(5, 1, 1);
    let last = world.change(2).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(6).await), named(&[("v1", 3), ("v0", 3)]));
    assert!(world.dead_letters().await.is_empty());
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_in_the_folder_that_the_server_stopped_over_is_brought_at_the_next_start() {
    let (world, running) = world("", "", "").await;
    running.pipelines.stop().await;
    world.place_with("stamp", "stamp", &manifest("v1", "", ""));
    let folder = world.folder.path().join("plugins");
    super::super::folder::bring(running.pipelines.desk(), &folder, &"stamp".into()).await;
    let running = world.start().await;
    running.until("stamp", |health| health.versions.first().is_some_and(|(_, name)| name.starts_with("v1+"))).await;
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_in_a_pipeline_without_the_plugin_is_refused() {
    let (mut world, running) = world("", "", "").await;
    let last = world.change(1).await;
    running.stamped(last).await;
    world.settings.push_str("\n[[pipeline]]\nname = 'other'\nplugins = ['second']\n");
    world.place_with("stamp", "second", &manifest("v0", "", "").replace("name = 'stamp'", "name = 'second'"));
    running.pipelines.stop().await;
    let running = world.start().await;
    running.until("other", |health| health.status == super::super::Status::Running).await;
    let desk = running.pipelines.desk();
    let error = desk.trial("stamp", "other", version("v1"), None, None).await.unwrap_err().to_string();
    assert!(error.contains("pipeline other does not have it"), "{error}");
    running.pipelines.stop().await;
}

/// A pipeline of two plugins that begin with the rows of a table.
async fn with_rows() -> World {
    let mut world = World::new("").await;
    world.settings.push_str("\n[[pipeline]]\nname = 'ledger'\nplugins = ['first', 'stamp']\n");
    world.place_with("stamp", "first", &rows("first", "f0", ""));
    world.place_with("stamp", "stamp", &rows("stamp", "v0", ""));
    world
}

fn rows(plugin: &str, stamp: &str, top: &str) -> String {
    let all = "['snapshot', 'insert', 'update', 'delete']";
    manifest(stamp, &format!("snapshot = true\n{top}"), "")
        .replace("name = 'stamp'", &format!("name = '{plugin}'"))
        .replace("['insert', 'update', 'delete']", all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_brought_while_a_new_pipeline_waits_for_its_rows_takes_over_after_them() {
    let mut world = with_rows().await;
    let running = world.start().await;
    let request = world.request(Number::ZERO).await;
    let desk = running.pipelines.desk().clone();
    let package = World::package("stamp", rows("stamp", "v1", ""));
    let deployed = tokio::spawn(async move { desk.deploy("stamp", package, "7", crate::store::Origin::Http).await });
    let request = world.request(request).await;
    world.change(3).await;
    world.answer(request).await;
    let deployed = deployed.await.unwrap().unwrap();
    assert_eq!(deployed.pipelines[0].outcome, Outcome::Serves);
    assert!(running.health("ledger").versions[1].1.starts_with("v1+"));
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_waits_for_its_state_is_not_forgotten_over_another_plugins() {
    let mut world = with_rows().await;
    let running = world.start().await;
    let request = world.request(Number::ZERO).await;
    world.answer(request).await;
    running.until("ledger", |health| health.status == super::super::Status::Running).await;
    let desk = running.pipelines.desk();
    let bring = async |plugin: &'static str, stamp: &str| {
        let package = World::package("stamp", rows(plugin, stamp, "state_layout = 2"));
        let deployed = desk.deploy(plugin, package, "7", crate::store::Origin::Http).await.unwrap();
        deployed.pipelines[0].outcome.clone()
    };
    assert_eq!(bring("first", "f1").await, Outcome::WaitsForState);
    let second = bring("stamp", "v1").await;
    assert!(matches!(&second, Outcome::Refused { reason } if reason.contains("waits for its state")), "{second:?}");
    let request = world.request(request).await;
    world.answer(request).await;
    running.until("ledger", |health| health.versions[0].1.starts_with("f1+")).await;
    assert!(running.health("ledger").versions[1].1.starts_with("v0+"));
    assert_eq!(bring("stamp", "v1").await, Outcome::WaitsForState, "now it may");
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
async fn rolling_back_while_a_version_waits_for_its_state_calls_that_one_off() {
    let mut world = with_rows().await;
    let running = world.start().await;
    let request = world.request(Number::ZERO).await;
    world.answer(request).await;
    running.until("ledger", |health| health.status == super::super::Status::Running).await;
    let desk = running.pipelines.desk();
    let package = World::package("stamp", rows("stamp", "v1", "state_layout = 2"));
    let deployed = desk.deploy("stamp", package, "7", crate::store::Origin::Http).await.unwrap();
    assert_eq!(deployed.pipelines[0].outcome, Outcome::WaitsForState);
    let back = desk.roll_back("stamp", None, "7").await.unwrap();
    assert!(back.version.starts_with("v0+"), "{back:?}");
    assert_eq!((&back.pipelines[0].outcome, running.health("ledger").pending), (&Outcome::Serves, None));
    let request = world.request(request).await;
    world.answer(request).await;
    let last = world.change(1).await;
    running.until("ledger", |health| health.cursor >= last).await;
    assert!(running.health("ledger").versions[1].1.starts_with("v0+"));
    let error = desk.roll_back("stamp", None, "7").await.unwrap_err();
    assert!(matches!(error, DeployError::NoFormer(_)), "it never served: {error}");
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
