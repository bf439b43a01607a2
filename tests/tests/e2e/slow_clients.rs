//! A client that doesn't read: what becomes of it depends on the channel, and nobody else feels it.

use std::time::Duration;

use relevo_tests::client::{Client, Connect, assert_rising_without_doubles};
use relevo_tests::websocket::Incoming;
use relevo_tests::world::World;
use serde_json::json;

/// How many large changes.
const ALL: u64 = 300;
const LONG: Duration = Duration::from_secs(90);

/// A row large enough that a few hundred fill every buffer on the way.
fn fat_change(world: &World, n: u64) {
    world.sql(&format!("update tareas set titulo = 'fat {n}', descripcion = hex(zeroblob(15000)) where id = 1"));
}

fn small_outbox() -> World {
    // A client that reads nothing answers no ping either: that is another test's matter.
    World::configured(|world| world.set("session.outbox_bytes = \"128KiB\"").set("session.heartbeat = \"1h\""))
}

#[test]
fn on_a_stream_it_is_closed_and_comes_back_with_nothing_missing() {
    let world = small_outbox();
    let server = world.serve();
    let how = Connect::admin().to("tasks");
    let mut slow = Client::connect_narrow(server.address, &how);
    let mut quick = Client::connect(server.address, &how);
    let title = |n: u64| format!("fat {n}");
    for n in 1..=ALL {
        fat_change(&world, n);
        // The quick one is served meanwhile.
        quick.expect("a change", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == title(n).as_str());
    }
    let end = slow.expect_end(LONG);
    assert!(matches!(end, Incoming::Close(4001, _) | Incoming::End), "{end:?}");
    assert!(
        slow.messages("tasks").len() < usize::try_from(ALL).unwrap(),
        "it read nothing, yet nothing was held back: the test is too small"
    );
    let mut back = Client::connect(server.address, &how.after(&slow.place));
    let mut titles: Vec<String> = Vec::new();
    let title_of = |f: &relevo_tests::frame::Frame| f.data()["task_data"]["titulo"].as_str().unwrap().to_owned();
    while back.messages("tasks").last().map(|f| title_of(f)) != Some(title(ALL)) {
        assert!(back.next(LONG).is_some(), "{:?} after {}", back.ended, back.frames.len());
    }
    titles.extend(slow.messages("tasks").iter().chain(&back.messages("tasks")).map(|f| title_of(f)));
    let due: Vec<String> = (1..=ALL).map(title).collect();
    assert_eq!(titles, due);
    assert_rising_without_doubles(slow.frames.iter().chain(&back.frames));
}

#[test]
fn on_a_state_channel_it_stays_and_gets_the_newest() {
    let world = World::configured(|world| {
        world
            .set("session.outbox_bytes = \"128KiB\"")
            .set("session.heartbeat = \"1h\"")
            .channel("pattern = \"tasks:board\"\nkind = \"state\"\nread = [\"*\"]")
    });
    let server = world.serve();
    let mut slow = Client::connect_narrow(server.address, &Connect::admin().to("tasks:board"));
    let mut quick = Client::connect(server.address, &Connect::admin().to("tasks:board"));
    for n in 1..=300 {
        let title = format!("state {n}");
        world.sql(&format!(
            "update tareas set titulo = '{title}', descripcion = hex(zeroblob(10000)) where id in (1, 2)"
        ));
        quick.expect("the newest", |f| f.is_of("tasks:board") && f.raw.contains(&format!("\"{title}\"")));
    }
    slow.expect("the newest of all", |f| f.is_of("tasks:board") && f.key() == "1" && f.raw.contains("\"state 300\""));
    assert_eq!(slow.ended, None);
    let versions = slow.messages("tasks:board").iter().filter(|f| f.key() == "1").count();
    assert!(versions < 300, "nothing was replaced: the test is too small");
}

#[test]
fn on_an_ephemeral_channel_it_stays_and_misses_some() {
    let world = World::configured(|world| {
        world
            .set("session.outbox_bytes = \"64KiB\"")
            .set("session.heartbeat = \"1h\"")
            .channel("pattern = \"typing:*\"\nkind = \"ephemeral\"\nread = [\"*\"]\npublish = [\"*\"]")
    });
    let server = world.serve();
    let mut slow = Client::connect_narrow(server.address, &Connect::admin().to("typing:1"));
    let mut sender = Client::connect(server.address, &Connect::admin().to("typing:1"));
    let filler = "x".repeat(20_000);
    for n in 1..=600 {
        let answer = sender.ask(json!({
            "type": "publish", "channel": "typing:1", "event_type": "typing", "data": {"n": n, "filler": filler}
        }));
        assert_ne!(answer.kind(), "error", "{}", answer.raw);
    }
    let mut last = 0;
    let answer = slow.ask(json!({"type": "ping"}));
    assert_eq!(answer.kind(), "pong", "it is still connected");
    let got = slow.messages("typing:1");
    assert!(got.len() < 600, "nothing was dropped: the test is too small");
    for frame in got {
        let n = frame.data()["n"].as_u64().unwrap();
        assert!(n > last, "out of order: {}", frame.raw);
        last = n;
    }
}
