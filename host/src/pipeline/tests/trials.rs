//! Versions are tried on recorded events and beside the running version: what differs is said, and nothing
//! else happens.

use std::time::Duration;

use super::super::health::Board;
use super::super::trial::{self, Range};
use super::super::{Desk, Report, Reports, Status, Wish};
use super::stamps::{bad, manifest, named, runs, version, world};
use super::world::World;
use crate::config::JournalSettings;
use crate::event::Number;
use crate::journal::{Control, Journal};
use crate::store::{Origin, Package};

fn wish(package: Package) -> Wish {
    Wish { plugin: "stamp".into(), pipeline: "stamp".into(), package, from: None }
}

async fn tried(desk: &Desk, package: Package) -> Report {
    desk.trial(wish(package), None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_says_what_a_version_would_make_otherwise_and_changes_nothing() {
    let (mut world, running) = world("", "", "").await;
    let last = world.change(12).await;
    running.stamped(last).await;
    let desk = running.pipelines.desk();
    let same = tried(desk, version("v0")).await;
    assert_eq!((same.events, same.same, same.added + same.missing + same.changed), (12, 12, 0), "{same:?}");
    let other = tried(desk, version("v1")).await;
    assert_eq!((other.events, other.same, other.changed), (12, 0, 12), "{other:?}");
    let first = &other.differences[0];
    assert!(
        first.was.as_ref().unwrap().data.get().contains("v0") && first.is.as_ref().unwrap().data.get().contains("v1")
    );
    let broken = tried(desk, bad("v2", "trap")).await;
    assert_eq!((broken.faults, broken.missing), (12, 12), "{broken:?}");
    assert_eq!(running.serving(), "v0");
    assert_eq!(desk.plugin("stamp").await.unwrap().versions.len(), 1);
    world.assert_whole(12).await;
    assert!(world.dead_letters().await.is_empty());
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_compares_with_commits_that_memory_no_longer_has() {
    let (mut world, running) = world("", "", "").await;
    let last = world.change(12).await;
    running.stamped(last).await;
    running.pipelines.stop().await;
    world.journal.close().await;
    let settings = JournalSettings { memory: 1, ..JournalSettings::default() };
    world.journal = Journal::open(world.folder.path(), &settings, &[]).await.unwrap();
    let running = world.start().await;
    assert!(world.journal.read_memory(Number::ZERO, 1 << 20).is_none());
    let same = tried(running.pipelines.desk(), version("v0")).await;
    assert_eq!((same.same, same.added + same.missing + same.changed), (12, 0), "{same:?}");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_compares_what_was_committed_though_its_pipeline_has_not_begun_yet() {
    let (mut world, running) = world("", "", "").await;
    let last = world.change(12).await;
    running.stamped(last).await;
    let desk = running.pipelines.desk().clone();
    let tried = tokio::task::spawn_blocking(move || {
        let ready = desk.0.library.prepare(&"stamp".into(), &version("v0"), Origin::Http).unwrap();
        let to = desk.0.journal.head();
        let within = Duration::from_secs(60);
        let range = Range { from: Some(Number::ZERO), to, events: 100, within, until_fault: false, live: false };
        // As it is while a server starts.
        let silent = Board::new("stamp".into());
        let context = desk.0.aside(desk.0.pipeline("stamp").unwrap());
        trial::run(&context, &silent, &"stamp".into(), ready.id(), &range, &mut |_| true).unwrap()
    });
    let same = tried.await.unwrap();
    assert_eq!((same.events, same.same, same.added + same.missing + same.changed), (12, 12, 0), "{same:?}");
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
    let error =
        desk.trial(Wish { pipeline: "other".into(), ..wish(version("v1")) }, None).await.unwrap_err().to_string();
    assert!(error.contains("pipeline other does not have it"), "{error}");
    running.pipelines.stop().await;
}

/// Adds up what a shadow says until it is so.
async fn until(reports: &mut Reports, is: impl Fn(&Report) -> bool) -> Report {
    let mut all = Report::default();
    while !is(&all) {
        let next = tokio::time::timeout(Duration::from_secs(60), reports.recv()).await;
        let Ok(Some(report)) = next else { panic!("it went no further than {all:?}") };
        let Report { notes, differences, first_faults, .. } = all;
        all = report.unwrap();
        all.notes.splice(0..0, notes);
        all.differences.splice(0..0, differences);
        all.first_faults.splice(0..0, first_faults);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_says_what_it_makes_otherwise_of_what_comes_and_nobody_gets_it() {
    let (mut world, running) = world("", "", "").await;
    world.change(3).await;
    let desk = running.pipelines.desk();
    let mut alike = desk.shadow(wish(version("v0")), None).await.unwrap();
    let mut unlike = desk.shadow(wish(version("v1")), None).await.unwrap();
    until(&mut alike, |report| report.same == 3).await;
    for count in 1..=4 {
        let last = world.change(5).await;
        running.stamped(last).await;
        let report = until(&mut alike, |report| report.same == 3 + 5 * count).await;
        assert_eq!((report.added + report.missing + report.changed, report.ended), (0, false), "{report:?}");
    }
    let report = until(&mut unlike, |report| report.changed == 23).await;
    assert_eq!((report.same, report.differences.len()), (0, 23), "{report:?}");
    assert_eq!(runs(&world.assert_whole(23).await), named(&[("v0", 23)]));
    // The running version is replaced: the shadow says so, and goes on.
    running.swap_to(version("v1")).await;
    let last = world.change(2).await;
    running.stamped(last).await;
    let report = until(&mut unlike, |report| report.same == 2).await;
    assert!(report.notes.iter().any(|note| note.contains("took over from v0+")), "{report:?}");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_ends_with_its_time_with_the_one_who_looks_and_where_the_state_is_made_anew() {
    let (mut world, running) = world("shadows = 1", "", "").await;
    let last = world.change(1).await;
    running.stamped(last).await;
    let desk = running.pipelines.desk();
    let mut first = desk.shadow(wish(version("v0")), Some(Duration::from_millis(1500))).await.unwrap();
    let error = desk.shadow(wish(version("v1")), None).await.unwrap_err().to_string();
    assert!(error.contains("1 versions run in live trials already") && error.contains("plugins.shadows"), "{error}");
    let report = until(&mut first, |report| report.ended).await;
    assert!(report.notes.iter().any(|note| note == "ended after 1.5s"), "{report:?}");
    assert!(first.recv().await.is_none());
    // Its place is free once it is gone, also where nobody waited for its end.
    for _ in 0..3 {
        let shadow = loop {
            match desk.shadow(wish(version("v0")), None).await {
                Ok(shadow) => break shadow,
                Err(error) => assert!(error.to_string().contains("plugins.shadows"), "{error}"),
            }
            tokio::task::yield_now().await;
        };
        drop(shadow);
    }
    let mut shadow = loop {
        match desk.shadow(wish(version("v0")), None).await {
            Ok(shadow) => break shadow,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    world.journal.control(Control::RebuildWanted { pipeline: "stamp".into() }).await.unwrap();
    let report = until(&mut shadow, |report| report.ended).await;
    assert!(report.notes.iter().any(|note| note.contains("where the state was made anew")), "{report:?}");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_that_fails_says_where_and_a_version_that_can_t_begin_is_refused_at_once() {
    let (mut world, running) = world("", "", "").await;
    let desk = running.pipelines.desk();
    let failing = World::package("stamp", manifest("v1", "", "do = 'trap-at'\nat = '5'"));
    let mut shadow = desk.shadow(wish(failing), None).await.unwrap();
    world.change(3).await;
    world.bank.account(5, 1, 1);
    let last = world.change(0).await;
    running.stamped(last).await;
    let report = until(&mut shadow, |report| report.events >= 3 && report.faults == 1).await;
    assert_eq!((report.first_faults.len(), report.missing), (1, 1), "{report:?}");
    let error = desk.shadow(wish(bad("v2", "init")), None).await;
    let refused = match error {
        Err(error) => error,
        Ok(mut reports) => reports.recv().await.unwrap().unwrap_err(),
    };
    assert!(refused.to_string().contains("can't be used"), "{refused}");
    running.pipelines.stop().await;
}

/// A version that doesn't hear of deletions shows a closed account until it is opened again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_channels_are_compared_at_each_tick_and_not_only_at_the_end() {
    let mut world = World::with_ledger("").await;
    let running = world.start().await;
    world.answer_next().await;
    running.until("ledger", |health| health.status == Status::Running).await;
    let checkpoint = world.journal.control(Control::Checkpoint { pipeline: "ledger".into(), reason: "".into() });
    checkpoint.await.unwrap();
    for (from, to) in [(1, 2), (3, 4)] {
        world.bank.account(from, 7, 1);
        world.append().await;
        world.bank.close_account(from);
        let closed = world.append().await;
        running.done(closed).await;
        if from == 1 {
            world.tick(from).await;
        }
        // The commit that passes the tick.
        world.bank.account(to, 8, 1);
        let passed = world.append().await;
        running.done(passed).await;
        world.bank.account(from, 7, 1);
        let last = world.append().await;
        running.done(last).await;
    }
    let manifest = std::fs::read_to_string(world.folder.path().join("plugins/ledger.toml")).unwrap();
    let deaf = World::package("ledger", manifest.replace("\"delete\", ", ""));
    let wish = Wish { plugin: "ledger".into(), pipeline: "ledger".into(), package: deaf, from: None };
    let report = running.pipelines.desk().trial(wish, None).await.unwrap();
    let board: Vec<_> = report.differences.iter().filter(|difference| &*difference.channel == "ledger:board").collect();
    assert_eq!(board.len(), 1, "{report:?}");
    assert_eq!((board[0].what, board[0].key.as_deref()), ("changed", Some("1")), "{report:?}");
    assert!(board[0].was.as_ref().unwrap().deleted && !board[0].is.as_ref().unwrap().deleted);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shadow_whose_reports_nobody_reads_ends_with_its_time() {
    let (mut world, running) = world("shadows = 1", "", "").await;
    let last = world.change(1).await;
    running.stamped(last).await;
    let desk = running.pipelines.desk();
    let _unread = desk.shadow(wish(version("v0")), Some(Duration::from_secs(3))).await.unwrap();
    let free = async {
        while desk.shadow(wish(version("v0")), None).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), free).await.expect("its place is free again");
    running.pipelines.stop().await;
}
