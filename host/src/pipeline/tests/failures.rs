//! Plugins that misbehave: what fails is reported by name, and nothing else is harmed.

use super::super::Status;
use super::world::World;
use crate::event::{Body, Number};
use crate::journal::{Control, LetterEnd};

async fn with_bad_accounts(says: &str, more: &str) -> (World, super::super::Health) {
    let mut world = World::with_ledger(more).await;
    let running = world.start().await;
    world.answer_next().await;
    running.until("ledger", |health| health.status == Status::Running).await;
    world.bank.person(1, "Ana");
    for id in 1..40 {
        if id % 13 == 0 {
            world.bank.bad_account(id, says);
        } else {
            world.bank.account(id, 1, 1);
        }
    }
    let last = world.append().await;
    running.done(last).await;
    let health = running.health("ledger");
    running.pipelines.stop().await;
    (world, health)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_cannot_be_handled_becomes_a_dead_letter_and_its_neighbours_are_unharmed() {
    for says in ["poison", "panic", "transient"] {
        let (world, health) = with_bad_accounts(says, "").await;
        let letters = world.dead_letters().await;
        assert_eq!(letters.len(), 3, "{says}: {letters:?}");
        assert_eq!(health.dead_letters, 3, "{says}");
        assert_eq!(world.board().await, world.bank.board(), "{says}");
        assert_eq!(world.state().await["changes"], "36", "{says}");
        let sent = world.sent("ledger").await;
        assert_eq!(sent.len(), 36, "{says}");
        let numbered =
            sent.iter().enumerate().all(|(at, message)| message.data.contains(&format!("\"changes\":{}", at + 1)));
        assert!(numbered, "{says}: in order, none twice");
        let keys: Vec<Number> = letters.iter().map(|(event, _)| *event).collect();
        assert!(keys.is_sorted(), "{says}: {keys:?}");
        let name = if says == "panic" { "trap" } else { says };
        assert!(health.faults.contains_key(name), "{says}: {health:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_cannot_go_on_stands_still_at_its_cursor_and_is_named() {
    let mut world = World::with_ledger("").await;
    let running = world.start().await;
    world.answer_next().await;
    running.until("ledger", |health| health.status == Status::Running).await;
    world.bank.account(1, 1, 1);
    let good = world.append().await;
    running.done(good).await;
    world.bank.bad_account(2, "fatal");
    world.append().await;
    running
        .until("ledger", |health| {
            matches!(&health.status, Status::Failed { plugin: Some(plugin), reason } if &**plugin == "ledger" && reason == "can't go on")
        })
        .await;
    let news = world.publish(1, "news", "1").await;
    running.until("publications", |health| health.cursor >= news).await;
    assert!(running.health("ledger").lag > 0);
    assert!(!running.pipelines.ready());
    assert_eq!(world.sent("ledger").await.len(), 1);
    assert!(world.dead_letters().await.is_empty());
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_cannot_be_loaded_holds_up_no_other_and_is_taken_up_when_it_can() {
    let mut world = World::with_ledger("").await;
    world.settings.push_str("[[pipeline]]\nname = 'broken'\nplugins = ['broken']\n");
    let broken = world.folder.path().join("plugins/broken.wasm");
    std::fs::write(&broken, b"garbage").unwrap();
    let hostile = "name = \"broken\"\nversion = \"1\"\nevents = { accounts = [\"insert\"] }\nchannels = [\"hostile\"]\n\
        capabilities = [\"state\", \"lookup\"]\n";
    std::fs::write(broken.with_extension("toml"), hostile).unwrap();
    let running = world.start().await;
    world.answer_next().await;
    running
        .until(
            "broken",
            |health| matches!(&health.status, Status::Failed { plugin: Some(plugin), .. } if &**plugin == "broken"),
        )
        .await;
    world.bank.account(1, 1, 1);
    let last = world.append().await;
    running.done(last).await;
    // Somebody puts it right.
    world.place_with("hostile", "broken", hostile);
    running.until("broken", |health| health.status == Status::Running).await;
    world.bank.account(2, 1, 1);
    let last = world.append().await;
    running.until("broken", |health| health.cursor >= last).await;
    assert_eq!(world.sent("hostile").await.len(), 1, "it is new: it begins at the head");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_plugins_hurt_only_the_event_that_they_fail_at() {
    let hostile = |action: &str| {
        format!(
            "name = \"hostile\"\nversion = \"1\"\nevents = {{ accounts = [\"insert\"] }}\nchannels = [\"hostile\"]\n\
             capabilities = [\"state\", \"lookup\"]\n[limits]\ncpu = \"20ms\"\nmemory = \"8MiB\"\n[config]\ndo = \"{action}\"\nat = \"3\"\n"
        )
    };
    for action in ["trap", "loop", "allocate", "huge-output", "bad-utf8", "state-overflow"] {
        let mut world = World::new("").await;
        world.settings.push_str("[[pipeline]]\nname = 'hostile'\nplugins = ['hostile']\n");
        world.place_with("hostile", "hostile", &hostile(action));
        let running = world.start().await;
        running.until("hostile", |health| health.status == Status::Running).await;
        for id in 1..6 {
            world.bank.account(id, 1, 1);
        }
        let last = world.append().await;
        running.until("hostile", |health| health.cursor >= last).await;
        let sent = world.sent("hostile").await;
        let keys: Vec<&str> = sent.iter().filter_map(|message| message.key.as_deref()).collect();
        assert_eq!(keys, ["1", "2", "4", "5"], "{action}");
        assert_eq!(world.dead_letters().await.len(), 1, "{action}");
        running.pipelines.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enricher_changes_the_row_and_drops_events_for_those_behind_it() {
    let mut world = World::new("").await;
    world.settings.push_str("[[pipeline]]\nname = 'both'\nplugins = ['enricher', 'hostile']\n");
    let manifest = |name: &str| {
        format!(
            "name = \"{name}\"\nversion = \"1\"\nevents = {{ accounts = [\"insert\", \"update\", \"delete\"] }}\nchannels = [\"hostile\"]\n\
             capabilities = [\"state\", \"lookup\"]\n"
        )
    };
    for plugin in ["enricher", "hostile"] {
        world.place_with(plugin, plugin, &manifest(plugin));
    }
    let running = world.start().await;
    running.until("both", |health| health.status == Status::Running).await;
    world.bank.account(1, 1, 1);
    world.bank.close_account(1);
    world.bank.account(2, 2, 1);
    let last = world.append().await;
    running.until("both", |health| health.cursor >= last).await;
    let sent = world.sent("hostile").await;
    let data: Vec<&str> = sent.iter().map(|message| &*message.data).collect();
    assert_eq!(data, [r#"{"id":1,"n":1,"owner":1,"enriched":true}"#, r#"{"id":2,"n":2,"owner":1,"enriched":true}"#]);
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_a_plugin_may_not_send_to_is_refused() {
    let mut world = World::new("").await;
    world.settings.push_str("[[pipeline]]\nname = 'hostile'\nplugins = ['hostile']\n");
    let manifest = "name = \"hostile\"\nversion = \"1\"\nevents = { accounts = [\"insert\"] }\nchannels = [\"news\"]\n\
                    capabilities = [\"state\", \"lookup\"]\n";
    world.place_with("hostile", "hostile", manifest);
    let running = world.start().await;
    running.until("hostile", |health| health.status == Status::Running).await;
    world.bank.account(1, 1, 1);
    let last = world.append().await;
    running.until("hostile", |health| health.cursor >= last).await;
    assert!(world.sent("hostile").await.is_empty());
    let letters = world.dead_letters().await;
    assert!(letters[0].1.contains("its manifest does not name"), "{letters:?}");
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_has_all_that_it_takes_to_try_again_and_a_rebuild_writes_no_second_one() {
    let (world, _) = with_bad_accounts("poison", "").await;
    let controls = world.journal.controls(Number::ZERO, 10_000).await.unwrap();
    let letters =
        || controls.iter().filter_map(|(_, control)| if let Control::DeadLetter(l) = control { Some(l) } else { None });
    for letter in letters() {
        let Body::Change(change) = &letter.event.body else { panic!("{letter:?}") };
        assert!(change.after.as_deref().is_some_and(|row| row.contains("poison")), "{letter:?}");
        assert_eq!((&*letter.plugin, &*letter.origin), ("ledger", &*world.bank.incarnation));
        assert!(letter.version.starts_with("0.1.0+"), "version and hash: {}", letter.version);
    }
    let count = letters().count();
    let known = world.journal.dead_letters(Some("ledger"), Number::ZERO, 10_000).await.unwrap();
    assert_eq!(
        known.iter().map(|stored| &stored.letter).collect::<Vec<_>>(),
        letters().map(|l| &**l).collect::<Vec<_>>()
    );
    let (pipeline, letter) = ("ledger".into(), known[0].number);
    let dropped = Control::LetterClosed { pipeline, letter, end: LetterEnd::Dropped, by: "ana".into() };
    world.journal.control(dropped).await.unwrap();
    let running = world.start().await;
    let wanted = world.journal.control(Control::RebuildWanted { pipeline: "ledger".into() }).await.unwrap();
    // Rows of the moment before: the rebuild has to run all of the stream again.
    let request = world.request(wanted).await;
    for append in world.snapshot_of_the_beginning(request) {
        world.journal.append(append).await.unwrap();
    }
    running.until("ledger", |health| !health.rebuild_asked && health.cursor >= request).await;
    assert_eq!(world.dead_letters().await.len(), count);
    let health = running.health("ledger");
    assert!(health.events > 0 && health.faults.is_empty(), "it ran the stream again, without them: {health:?}");
    let left = world.journal.dead_letter_count().await.unwrap();
    assert_eq!(
        left.get("ledger").copied().unwrap_or_default(),
        count as u64 - 1,
        "nor one of the letter that was dropped"
    );
    running.pipelines.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reference_tables_over_their_limit_stop_the_pipeline_which_goes_on_with_a_higher_one() {
    let mut world = World::with_ledger("lookup_bytes = '2KiB'").await;
    let running = world.start().await;
    world.answer_next().await;
    running.until("ledger", |health| health.status == Status::Running).await;
    for id in 1..100 {
        world.bank.person(id, "Ana");
    }
    world.bank.account(1, 1, 99);
    let last = world.append().await;
    let over = |status: &Status| matches!(status, Status::Failed { plugin: None, reason } if reason.contains("raise plugins.lookup_bytes"));
    running.until("ledger", |health| over(&health.status)).await;
    assert!(running.health("ledger").lag > 0);
    running.pipelines.stop().await;
    world.settings = world.settings.replace("2KiB", "2MiB");
    let running = world.start().await;
    running.done(last).await;
    assert_eq!(world.board().await, world.bank.board(), "nothing is lost");
    running.pipelines.stop().await;
}

/// Anybody may ask `/readyz`, and notices are read by more than the operators.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_pipeline_stands_still_quotes_nothing_of_what_a_plugin_says_of_a_row() {
    for (settings, top) in [("", "on_fault = 'hold'"), ("quarantine_after = 2", "")] {
        let (mut world, running) = super::stamps::world(settings, top, "do = 'trap'").await;
        world.change(10).await;
        running.until("stamp", |health| matches!(health.status, Status::Failed { .. })).await;
        let health = running.health("stamp");
        let Status::Failed { reason, .. } = &health.status else { continue };
        assert!(!reason.contains("it says so"), "{reason}");
        assert!(
            health.last_fault.as_ref().is_some_and(|fault| fault.contains("it says so")),
            "for operators: {health:?}"
        );
        running.pipelines.stop().await;
    }
}
