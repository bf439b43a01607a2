//! What was wrong in the original system and must not come back. Each has a test that fails if it does:
//!
//! | there | here |
//! |---|---|
//! | changes by other processes were never captured | [`the_document_s_client_shows_all_without_subscribing`](crate::gad) |
//! | deletes were not handled | [`a_deleted_row_is_told`] |
//! | an efectivo's change of status could never fire | [`the_document_s_client_shows_all_without_subscribing`](crate::gad) |
//! | the dashboard's numbers were constants | [`it_equals_a_count_after_random_changes_and_kills`](crate::panel) |
//! | the server refused its own tokens if they had an `aud` | [`a_token_that_it_made_for_an_audience_is_accepted`] |
//! | `target_role` was ignored on a broadcast | [`what_is_for_a_role_or_a_user_goes_to_nobody_else`](crate::gad) |
//! | any client could subscribe to anything | [`who_may_not_read_a_channel_does_not_get_it`](crate::gad), [`bad_commands_get_an_error_and_the_connection_stays`](crate::misuse) |
//! | clients chose the `priority` of what they sent | [`a_priority_that_a_client_chose_changes_nothing`] |
//! | one slow client stalled all | [`a_slow_client_is_closed_and_stalls_nobody`](crate::gad) |
//! | no history, no resume, no acknowledgement | [`clients_that_leave_and_return_while_thousands_of_messages_flow_get_each_once`](crate::resuming), [`what_was_published_is_acknowledged_and_there_for_who_was_away`] |
//! | pings came every 60 s where it said 30 | [`pings_come_as_often_as_the_statistics_say`] |
//! | a pong had no deadline | [`it_is_pinged_in_both_ways_and_either_answer_counts`](crate::gad) |
//! | the publishing node delivered twice | [`a_broadcast_reaches_three_clients_and_each_once`](crate::gad) |
//! | statistics and admin paths were open | [`statistics_have_the_old_shape_and_are_for_operators_alone`](crate::gad), [`paths_of_operators_are_closed_to_others`] |

use relevo_tests::client::{Client, Connect};
use relevo_tests::old::{Old, PATHS, alert, assert_refused, bearer, publish};
use relevo_tests::token::{SECRET, seconds_from_now, signed, token};
use relevo_tests::world::World;
use serde_json::{Value, json};

#[test]
fn a_deleted_row_is_told() {
    let world = World::new();
    let server = world.serve();
    let mut client = Old::document(&server, "7", "LEVEL_1").live();
    world.sql("delete from tareas where id = 2");
    let gone = client.until_type("task_event");
    assert_eq!((&gone["event_type"], &gone["data"]["task_id"]), (&json!("task_deleted"), &json!(2)), "{gone}");
    world.sql("delete from efectivos where id = 1");
    let gone = client.until_type("efectivo_event");
    assert_eq!((&gone["event_type"], &gone["data"]["efectivo_id"]), (&json!("efectivo_deleted"), &json!(1)), "{gone}");
}

#[test]
fn a_token_that_it_made_for_an_audience_is_accepted() {
    let world = World::configured(|world| world.auth("audience = \"grupo-gad\""));
    let server = world.serve();
    let made = world.run(&["token", "--user", "7", "--role", "LEVEL_2"]);
    assert!(made.status.success(), "{}", made.log);
    let token = made.log.lines().find(|line| line.starts_with("ey")).expect("a token");
    let path = |token: &str| format!("{}?token={token}", PATHS[0]);
    let ack = Old::open(server.address, &path(token), &[]).next_frame().expect("an acknowledgement");
    assert_eq!(ack["event_type"], "connection_ack", "{ack}");
    let other = signed(&json!({"sub": "7", "aud": "another", "exp": seconds_from_now(60)}), SECRET);
    assert_refused(Old::open(server.address, &path(&other), &[]), "another audience's token");
}

#[test]
fn a_priority_that_a_client_chose_changes_nothing() {
    let world = World::new();
    let server = world.serve();
    let mut client = Old::code(&server, "7", "LEVEL_1").live();
    let mut native = Client::connect(server.address, &Connect::admin().to("system"));
    let mut sender = Client::connect(server.address, &Connect::admin());
    // All at once, so that a queue that knew a priority would have something to choose from.
    for n in 0..50 {
        let mut command = json!({"type": "publish", "channel": "system", "event_type": "alert", "data": {"n": n}});
        command["priority"] = json!(if n % 2 == 0 { 1 } else { 9 });
        sender.say(&command);
    }
    for n in 0..50 {
        // `until_event` looks at the whole envelope, which has no priority.
        assert_eq!(client.until_event("alert")["data"]["n"], n);
        let frame = native.expect_event("system", "alert");
        assert_eq!(frame.data()["n"], n);
        assert!(!frame.raw.contains("priority"), "{}", frame.raw);
    }
}

#[test]
fn what_was_published_is_acknowledged_and_there_for_who_was_away() {
    let world = World::new();
    let server = world.serve();
    let mut away = Client::connect(server.address, &Connect::admin().to("system"));
    let mut sender = Client::connect(server.address, &Connect::admin());
    publish(&mut sender, "system", "alert", &alert("uno"));
    let one = away.expect_event("system", "alert");
    let place = away.place.clone();
    drop(away);
    // `publish` waits for the acknowledgement.
    publish(&mut sender, "system", "alert", &alert("dos"));
    let mut back = Client::connect(server.address, &Connect::admin().to("system").after(&place));
    let two = back.expect_event("system", "alert");
    assert_eq!(*two.data(), alert("dos"));
    assert_ne!(one.message_id(), two.message_id());
}

#[test]
fn pings_come_as_often_as_the_statistics_say() {
    let world =
        World::configured(|world| world.set("session.heartbeat = \"300ms\"").set("session.pong_within = \"20s\""));
    let server = world.serve();
    let (status, body) = server.get_as("/ws/stats", "7", "ADMIN");
    assert_eq!(status, 200, "{body}");
    let stats: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(stats["stats"]["heartbeat_interval"], 0.3, "{body}");
    let mut client = Old::code(&server, "7", "LEVEL_1");
    let mut times: Vec<jiff::Timestamp> = Vec::new();
    while times.len() < 8 {
        let ping = client.until_event("ping");
        times.push(ping["data"]["server_time"].as_str().unwrap().parse().unwrap());
    }
    let between = times.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_millis());
    // A busy machine is late now and then, never each time.
    let shortest = between.min().unwrap();
    assert!(shortest < 600, "{shortest} ms at least between two pings, of {times:?}");
}

#[test]
fn paths_of_operators_are_closed_to_others() {
    let world = World::new();
    let server = world.serve();
    for (method, path) in [
        ("GET", "/ws/stats"),
        ("GET", "/api/v1/ws/stats"),
        ("GET", "/metrics"),
        ("GET", "/api/v1/plugins"),
        ("GET", "/api/v1/plugins/tareas"),
        ("PUT", "/api/v1/plugins/tareas"),
        ("POST", "/api/v1/plugins/tareas/trial?pipeline=tareas"),
        ("POST", "/api/v1/plugins/tareas/rollback"),
        ("POST", "/api/v1/plugins/tareas/pause"),
        ("POST", "/api/v1/plugins/tareas/resume"),
        ("GET", "/api/v1/dead-letters"),
        ("POST", "/api/v1/dead-letters/1/replay"),
        ("DELETE", "/api/v1/dead-letters/1"),
        ("POST", "/api/v1/pipelines/panel/rebuild"),
        ("POST", "/api/v1/pipelines/panel/skip/1"),
    ] {
        // Some of them take files.
        let form = "Content-Type: multipart/form-data; boundary=x".to_owned();
        let nobody = server.http(method, path, std::slice::from_ref(&form), "--x--\r\n");
        assert_eq!(nobody.status, 401, "{method} {path} without a token");
        let high = server.http(method, path, &[form, bearer(&token("7", "LEVEL_3"))], "--x--\r\n");
        assert_eq!(high.status, 403, "{method} {path} with another role's token");
    }
}
