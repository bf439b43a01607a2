//! A client that comes back gets what it missed, once, whatever happens meanwhile.

use std::time::Duration;

use relevo_tests::client::{Client, Connect, assert_rising_without_doubles};
use relevo_tests::frame::Frame;
use relevo_tests::oracle::{Expected, assert_same, expected, seen};
use relevo_tests::random::Random;
use relevo_tests::wait::SOON;
use relevo_tests::workload::{CliWriter, Op, OwnWriter, PREPARE, in_order, transactions};
use relevo_tests::world::World;
use serde_json::json;

const LONG: Duration = Duration::from_secs(120);

#[test]
fn clients_that_leave_and_return_while_thousands_of_messages_flow_get_each_once() {
    let mut random = Random::from_environment("resuming");
    let world = World::new();
    world.sql(PREPARE);
    let server = world.serve();
    let how = Connect::by("2", "LEVEL_1").to("tasks");
    let mut client = Client::connect(server.address, &how);
    let own = OwnWriter::start(world.database(), transactions(&mut random, 2500));
    let cli = CliWriter::start(&world.database(), transactions(&mut random, 2500));
    let mut frames = Vec::new();
    // Leaves after a random number of frames, often right in the middle of a catch-up.
    for _ in 0..40 {
        for _ in 0..random.between(1, 120) {
            client.next(SOON).expect("messages flow");
        }
        let place = client.place.clone();
        frames.append(&mut client.frames);
        client = Client::connect(server.address, &how.clone().after(&place));
    }
    let last = Op::Replace { id: 150, state: "PROGRAMMED", priority: "LOW" };
    let mut log = [own.finish(), cli.finish()].concat();
    log.extend(CliWriter::start(&world.database(), vec![vec![last]]).finish());
    let log = in_order(log);
    let title = format!("n {}", log.len());
    let is_last = |f: &Frame| f.data()["task_data"]["titulo"] == title.as_str();
    while !client.frames.iter().any(is_last) && client.find(LONG, is_last).is_none() {
        // It read nothing while the writers ended: a client that is too slow is closed, and comes back.
        assert!(client.ended.is_some(), "the last change's message never came");
        let place = client.place.clone();
        frames.append(&mut client.frames);
        client = Client::connect(server.address, &how.clone().after(&place));
    }
    frames.append(&mut client.frames);
    let all = expected(&log);
    for channel in ["tasks", "user:2"] {
        let got: Vec<Expected> = frames.iter().filter(|f| f.is_of(channel)).map(seen).collect();
        let due: Vec<Expected> = all.iter().filter(|e| e.channel == channel).cloned().collect();
        assert_same(channel, &got, &due);
    }
    assert_rising_without_doubles(&frames);
}

#[test]
fn what_a_subscription_recovers_is_marked_and_does_not_move_the_clients_number() {
    let world = World::new();
    let server = world.serve();
    let mut first = Client::connect(server.address, &Connect::admin().to("tasks"));
    let start = first.place.clone();
    for n in 1..=20 {
        world.sql(&format!("update tareas set titulo = 'old {n}' where id = 1"));
    }
    first.expect("the last", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "old 20");

    let mut second = Client::connect(server.address, &Connect::admin());
    let at = second.place.clone();
    let after = json!({"epoch": start.epoch, "offset": start.offset});
    second.say(&json!({"type": "subscribe", "id": 99, "channel": "tasks", "after": after}));
    let wanted: Vec<String> = first.messages("tasks").iter().map(|f| f.message_id().to_owned()).collect();
    let mut got: Vec<String> = Vec::new();
    while got.len() < wanted.len() {
        let frame = second.expect("what was missed", |f| f.is_of("tasks"));
        assert!(frame.is_recovered(), "{}", frame.raw);
        got.push(frame.message_id().to_owned());
        assert!(second.place.offset >= at.offset);
    }
    assert_eq!(got, wanted);
    if !second.frames.iter().any(|f| f.kind() == "subscribed") {
        second.expect("subscribed", |f| f.kind() == "subscribed");
    }
    world.sql("update tareas set titulo = 'new' where id = 1");
    let live = second.expect("the live message", |f| f.is_of("tasks"));
    assert!(!live.is_recovered(), "{}", live.raw);
    assert_eq!(live.data()["task_data"]["titulo"], "new", "{}", live.raw);
}

#[test]
fn subscribed_is_true_when_it_is_said() {
    let world = World::new();
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin());
    for n in 0..50 {
        client.subscribe("tasks");
        // A change that begins after the answer must be seen.
        world.sql(&format!("update tareas set titulo = 'seen {n}' where id = 1"));
        let title = format!("seen {n}");
        client.expect("the change", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == title.as_str());
        let answer = client.ask(json!({"type": "unsubscribe", "channel": "tasks"}));
        assert_eq!(answer.kind(), "unsubscribed", "{}", answer.raw);
    }
}

#[test]
fn after_unsubscribed_nothing_more_comes() {
    let world = World::new();
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks").to("efectivos"));
    client.ask(json!({"type": "unsubscribe", "channel": "tasks"}));
    world.sql(
        "update tareas set titulo = 'not for it' where id = 1;
         update efectivos set estado_disponibilidad = 'EN_TAREA' where id = 1;",
    );
    client.expect_event("efectivos", "efectivo_status_changed");
    assert_eq!(client.messages("tasks").len(), 0);
}

#[test]
fn a_client_that_joined_no_stream_is_told_now_and_then_where_it_is() {
    let world = World::configured(|world| world.set("session.heartbeat = \"300ms\""));
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin());
    let at = client.place.offset;
    world.sql("update tareas set titulo = 'elsewhere' where id = 1");
    client.expect("a position mark", |f| f.kind() == "position");
    assert!(client.place.offset > at);
}

#[test]
fn commands_that_are_sent_together_are_done_and_answered_in_order() {
    let world = World::new();
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks:board"));
    client.expect("the board", |f| f.kind() == "subscribed");
    for n in 0..300 {
        let from = client.frames.len();
        client.say(&json!({"type": "unsubscribe", "id": 3 * n, "channel": "tasks:board"}));
        client.say(&json!({"type": "subscribe", "id": 3 * n + 1, "channel": "tasks:board"}));
        client.say(&json!({"type": "subscribe", "id": 3 * n + 2, "channel": "tasks:board"}));
        client.expect("the last answer", |f| f.json["id"] == json!(3 * n + 2));
        let kinds: Vec<&str> =
            client.frames[from..].iter().filter(|f| !f.is_of("tasks:board")).map(Frame::kind).collect();
        assert_eq!(kinds, ["unsubscribed", "subscribed", "error"], "round {n}");
        let left = client.frames[from..].iter().position(|f| f.kind() == "unsubscribed");
        let key = client.frames[from..].iter().position(|f| f.is_of("tasks:board"));
        assert!(key > left, "round {n}: the keys are behind `unsubscribed`");
        assert_eq!(client.frames.last().expect("a frame").text("channel"), "tasks:board", "the error names it");
    }
}
