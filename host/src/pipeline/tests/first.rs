//! Plugins that are deployed to pipelines that lack them.

use super::super::{Outcome, Status};
use super::stamps::{bad, manifest, named, runs, version};
use super::world::{Running, World};

/// A pipeline whose plugin is nowhere.
async fn lacking(plugins: &str) -> (World, Running) {
    let mut world = World::new("folder_rest = '20ms'").await;
    world.settings.push_str(&format!("\n[[pipeline]]\nname = 'stamp'\nplugins = [{plugins}]\n"));
    let running = world.start().await;
    let said = "deploy it: relevo plugin deploy stamp.wasm";
    running
        .until("stamp", |health| matches!(&health.status, Status::Failed { reason, .. } if reason.contains(said)))
        .await;
    (world, running)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_lacks_its_plugin_begins_with_the_version_that_is_deployed() {
    let (mut world, running) = lacking("'stamp'").await;
    running.swap_to(version("v0")).await;
    world.change(2).await;
    running.pipelines.stop().await;
    let running = world.start().await;
    let last = world.change(1).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(3).await), named(&[("v0", 3)]));
    let view = running.pipelines.desk().plugin("stamp").await.unwrap();
    assert_eq!((view.versions.len(), view.swaps.len()), (1, 0));
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_version_that_can_not_start_is_refused_with_its_reason_and_the_next_one_serves() {
    let (mut world, running) = lacking("'stamp'").await;
    let deployed = running.deploy(bad("v0", "init")).await.unwrap();
    let outcome = &deployed.pipelines[0].outcome;
    assert!(matches!(outcome, Outcome::Refused { reason } if reason.contains("it says so")), "{outcome:?}");
    running.swap_to(version("v1")).await;
    let last = world.change(1).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(1).await), named(&[("v1", 1)]));
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deployed_mends_a_pipeline_whose_plugins_folder_holds_one_that_can_not_start() {
    let mut world = World::new("folder_rest = '20ms'").await;
    world.settings.push_str("\n[[pipeline]]\nname = 'stamp'\nplugins = ['stamp']\n");
    world.place_with("stamp", "stamp", &manifest("v0", "", "do = 'init'"));
    let running = world.start().await;
    running.until("stamp", |health| matches!(health.status, Status::Failed { .. })).await;
    running.swap_to(version("v1")).await;
    let last = world.change(1).await;
    running.stamped(last).await;
    assert_eq!(runs(&world.assert_whole(1).await), named(&[("v1", 1)]));
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_a_pipeline_gets_beside_those_it_has_is_deployed_too() {
    let (world, running) = {
        let mut world = World::new("folder_rest = '20ms'").await;
        world.settings.push_str("\n[[pipeline]]\nname = 'stamp'\nplugins = ['first']\n");
        let first = manifest("f0", "", "").replace("name = 'stamp'", "name = 'first'");
        world.place_with("stamp", "first", &first);
        let running = world.start().await;
        running.until("stamp", |health| health.status == Status::Running).await;
        (world, running)
    };
    running.pipelines.stop().await;
    let mut world = world;
    world.settings = world.settings.replace("plugins = ['first']", "plugins = ['first', 'stamp']");
    let running = world.start().await;
    running.until("stamp", |health| matches!(health.status, Status::Failed { .. })).await;
    running.swap_to(version("v1")).await;
    let last = world.change(1).await;
    running.stamped(last).await;
    let stamps: Vec<String> = world.stamps().await.into_iter().map(|stamped| stamped.stamp).collect();
    assert_eq!(stamps, ["f0", "v1"]);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_that_gets_a_plugin_takes_no_version_from_another_that_serves_with_it() {
    let mut world = World::new("folder_rest = '20ms'\nkeep_versions = 1").await;
    world.settings.push_str("\n[[pipeline]]\nname = 'stamp'\nplugins = ['stamp']\n");
    world.place_with("stamp", "stamp", &manifest("v0", "", ""));
    let running = world.start().await;
    running.until("stamp", |health| health.status == Status::Running).await;
    running.pipelines.stop().await;
    world.settings.push_str("\n[[pipeline]]\nname = 'second'\nplugins = ['stamp']\n");
    world.place_with("stamp", "stamp", &manifest("v1", "", ""));
    for _ in 0..2 {
        let running = world.start().await;
        for (pipeline, version) in [("stamp", "v0+"), ("second", "v1+")] {
            running.until(pipeline, |health| health.status == Status::Running).await;
            let serves = &running.health(pipeline).versions[0].1;
            assert!(serves.starts_with(version), "{pipeline}: {serves}");
        }
        running.pipelines.stop().await;
    }
}

/// What they served with is gone, as after a restore without the data folder's versions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_plugins_that_can_not_be_loaded_are_mended_one_after_the_other() {
    let of_first = |stamp: &str| manifest(stamp, "", "").replace("name = 'stamp'", "name = 'first'");
    let mut world = World::new("folder_rest = '20ms'").await;
    world.settings.push_str("\n[[pipeline]]\nname = 'stamp'\nplugins = ['first', 'stamp']\n");
    world.place_with("stamp", "first", &of_first("f0"));
    world.place_with("stamp", "stamp", &manifest("v0", "", ""));
    let running = world.start().await;
    running.until("stamp", |health| health.status == Status::Running).await;
    let last = world.change(1).await;
    running.stamped(last).await;
    running.pipelines.stop().await;
    std::fs::remove_dir_all(world.config().versions_folder()).unwrap();
    std::fs::remove_dir_all(world.config().plugins_folder()).unwrap();

    let running = world.start().await;
    running.until("stamp", |health| matches!(health.status, Status::Failed { .. })).await;
    let desk = running.pipelines.desk();
    let first = World::package("stamp", of_first("f1"));
    let deployed = desk.deploy("first", first, "7", crate::store::Origin::Http).await.unwrap();
    let one = &deployed.pipelines[0];
    assert!(matches!(one.outcome, Outcome::Waits { .. }), "{:?}", one.outcome);
    let noted = &one.canary.as_ref().unwrap().notes;
    assert!(noted.iter().any(|note| note.contains("not tried, for stamp can't be loaded")), "{noted:?}");
    running.swap_to(version("v1")).await;
    let last = world.change(1).await;
    running.stamped(last).await;
    let stamps: Vec<String> = world.stamps().await.into_iter().map(|stamped| stamped.stamp).collect();
    assert_eq!(stamps, ["f0", "v0", "f1", "v1"]);
    running.pipelines.stop().await;
}
