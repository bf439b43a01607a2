//! Versions of plugins that take over while the pipeline runs.

use super::super::{DeployError, Deployed, Outcome};
use super::stamps::{bad, manifest, named, runs, version, world};
use super::world::World;
use crate::event::Number;
use crate::journal::Control;

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
    let garbage = crate::store::Package {
        component: b"no component".to_vec(),
        manifest: manifest("v9", "", ""),
        signature: None,
    };
    for (package, reason) in [
        (bad("v1", "trap"), "trapped"),
        (bad("v2", "loop"), "CPU time"),
        (bad("v3", "memory"), "memory"),
        (bad("v4", "init"), "it says so"),
        (garbage, "component"),
        (World::package("stamp", manifest("v5", "colour = 'red'", "")), "can't be used: stamp.toml: colour (line"),
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
async fn whoever_brings_the_version_that_serves_hears_that_it_did_already() {
    let (_world, running) = world("", "", "").await;
    let first = running.deploy(version("v1")).await.unwrap();
    let again = running.deploy(version("v1")).await.unwrap();
    let already = |deployed: &Deployed| deployed.pipelines[0].already;
    assert!(!already(&first) && already(&again), "{again:?}");
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
async fn each_rollback_goes_one_version_further_back_and_never_forward_unless_it_is_named() {
    let (mut world, running) = world("", "", "").await;
    let desk = running.pipelines.desk();
    running.swap_to(version("v1")).await;
    running.swap_to(version("v2")).await;
    world.change(1).await;
    for earlier in ["v1+", "v0+"] {
        let back = desk.roll_back("stamp", None, "7").await.unwrap();
        assert!(back.version.starts_with(earlier), "{back:?}");
    }
    let error = desk.roll_back("stamp", None, "7").await.unwrap_err();
    assert!(matches!(error, DeployError::NoFormer(_)), "{error}");
    // Forward again, by its name: from there it is one step back.
    let newest = desk.plugin("stamp").await.unwrap().versions.remove(0);
    let forward = desk.roll_back("stamp", Some(newest.id.short()), "7").await.unwrap();
    assert!(forward.version.starts_with("v2+"), "{forward:?}");
    let back = desk.roll_back("stamp", None, "7").await.unwrap();
    assert!(back.version.starts_with("v0+"), "{back:?}");
    // One that was rolled back and is brought again is one like any other.
    running.swap_to(version("v1")).await;
    running.swap_to(version("v3")).await;
    let back = desk.roll_back("stamp", None, "7").await.unwrap();
    assert!(back.version.starts_with("v1+"), "{back:?}");
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
    super::super::folder::bring(running.pipelines.desk(), &"stamp".into()).await;
    let running = world.start().await;
    running.until("stamp", |health| health.versions.first().is_some_and(|(_, name)| name.starts_with("v1+"))).await;
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_fails_while_a_version_is_tried_says_nothing_of_the_version() {
    let (mut world, running) = world("", "", "").await;
    let last = world.change(2).await;
    running.stamped(last).await;
    let change = async |sql: &'static str| {
        let path = world.folder.path().join("journal.db");
        let pool = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::query(sql).execute(&pool).await.unwrap();
        pool.close().await;
    };
    change("ALTER TABLE replaced RENAME TO hidden").await;
    let error = running.deploy(version("v1")).await.unwrap_err();
    assert!(matches!(error, DeployError::Journal(_)), "{error:?}");
    let view = running.pipelines.desk().plugin("stamp").await.unwrap();
    assert!(view.versions.iter().all(|about| about.refused.is_none()), "{:?}", view.versions);
    change("ALTER TABLE hidden RENAME TO replaced").await;
    running.swap_to(version("v1")).await;
    running.pipelines.stop().await;
}
