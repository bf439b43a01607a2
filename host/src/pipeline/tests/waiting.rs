//! Versions that are brought while a pipeline, or another version, waits for the source's rows.

use super::super::{DeployError, Outcome, Status};
use super::stamps::manifest;
use super::world::{Running, World};
use crate::event::Number;
use crate::store::Origin;

/// A pipeline of two plugins that begin with the rows of a table.
async fn with_rows() -> World {
    let mut world = World::new("").await;
    world.settings.push_str("\n[[pipeline]]\nname = 'ledger'\nplugins = ['first', 'stamp']\n");
    world.place_with("stamp", "first", &rows("first", "f0", ""));
    world.place_with("stamp", "stamp", &rows("stamp", "v0", ""));
    world
}

/// The same, when it has had its rows; with the place of its request.
async fn running() -> (World, Running, Number) {
    let mut world = with_rows().await;
    let running = world.start().await;
    let request = world.request(Number::ZERO).await;
    world.answer(request).await;
    running.until("ledger", |health| health.status == Status::Running).await;
    (world, running, request)
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
    let deployed = tokio::spawn(async move { desk.deploy("stamp", package, "7", Origin::Http).await });
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
    let (mut world, running, request) = running().await;
    let desk = running.pipelines.desk();
    let bring = async |plugin: &'static str, stamp: &str| {
        let package = World::package("stamp", rows(plugin, stamp, "state_layout = 2"));
        let deployed = desk.deploy(plugin, package, "7", Origin::Http).await.unwrap();
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
async fn a_version_of_the_same_layout_that_looks_up_another_table_serves_once_that_has_its_rows() {
    let mut world = World::new("").await;
    world.settings.push_str("\n[[pipeline]]\nname = 'ledger'\nplugins = ['ledger']\n");
    // It looks nothing up.
    world.place_with("stamp", "ledger", &rows("ledger", "v0", ""));
    let running = world.start().await;
    let request = world.request(Number::ZERO).await;
    world.answer(request).await;
    running.until("ledger", |health| health.status == Status::Running).await;
    world.bank.person(1, "Ana");
    world.bank.account(10, 5, 1);
    let last = world.append().await;
    running.done(last).await;
    assert_eq!(world.stamps().await.len(), 1);

    let manifest = "name = 'ledger'\nversion = 'v1'\nchannels = ['ledger', 'ledger:board']\ncapabilities = ['state']\n\
        events = { accounts = ['insert', 'update', 'delete', 'truncate', 'snapshot'] }\nsnapshot = true\n\
        [lookup]\npeople = ['name']\n";
    let package = World::package("ledger", manifest.into());
    let deployed = running.pipelines.desk().deploy("ledger", package, "7", Origin::Http).await.unwrap();
    assert_eq!(deployed.pipelines[0].outcome, Outcome::WaitsForState);
    let request = world.request(request).await;
    world.bank.account(10, 6, 1);
    let last = world.append().await;
    running.done(last).await;
    assert!(running.health("ledger").versions[0].1.starts_with("v0+"), "the former version serves meanwhile");
    assert_eq!(world.stamps().await.len(), 2);

    world.answer(request).await;
    running.until("ledger", |health| health.versions[0].1.starts_with("v1+")).await;
    world.bank.account(11, 7, 1);
    let last = world.append().await;
    running.done(last).await;
    // The person is older than the version: only the rows that were asked for have it.
    let board = world.board().await;
    assert_eq!((&*board["10"], &*board["11"]), (r#"{"n":6,"owner":"Ana"}"#, r#"{"n":7,"owner":"Ana"}"#));
    assert_eq!(world.state().await["sum"], "13");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_back_while_a_version_waits_for_its_state_calls_that_one_off() {
    let (mut world, running, request) = running().await;
    let desk = running.pipelines.desk();
    let package = World::package("stamp", rows("stamp", "v1", "state_layout = 2"));
    let deployed = desk.deploy("stamp", package, "7", Origin::Http).await.unwrap();
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
