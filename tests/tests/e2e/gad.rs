//! The two clients of the original system, as they are: the document's looks at `type` and says
//! nothing, the code's looks at `event_type` and speaks. And a port of the original's own e2e cases.
//! What they are served: docs/gad.md; what was wrong there and may not come back: wrongs.rs.

use relevo_tests::client::{Client, Connect, narrow_stream};
use relevo_tests::old::{Old, PATHS, alert, assert_refused, bearer, publish};
use relevo_tests::token::{SECRET, seconds_from_now, signed, token};
use relevo_tests::wait::SOON;
use relevo_tests::websocket::{Incoming, WebSocket};
use relevo_tests::world::World;
use serde_json::{Value, json};

#[test]
fn the_document_s_client_shows_all_without_subscribing() {
    let world = World::new();
    let server = world.serve();
    let mut client = Old::document(&server, "7", "LEVEL_1");
    // Another one of them: a task and the panel come in any order.
    let mut panel = Old::document(&server, "7", "LEVEL_1");
    let first = client.until_type("dashboard_update");
    assert_eq!((&first["data"]["total_tasks"], &first["data"]["active_tasks"]), (&json!(2), &json!(1)));
    world.sql("update tareas set estado = 'IN_PROGRESS' where id = 1");
    let task = client.until_type("task_event");
    assert_eq!(task["event_type"], "task_status_changed");
    assert_eq!((&task["data"]["task_id"], &task["data"]["sub_event_type"]), (&json!(1), &json!("status_changed")));
    let data = &task["data"]["task_data"];
    assert_eq!((&data["old_status"], &data["new_status"]), (&json!("programada"), &json!("en_curso")));
    panel.until("the panel's new number", |f| f["type"] == "dashboard_update" && f["data"]["active_tasks"] == 2);
    // What could never fire there: the status of an efectivo, changed by another process.
    world.sql("update efectivos set estado_disponibilidad = 'EN_TAREA' where id = 1");
    let efectivo = client.until_type("efectivo_event");
    assert_eq!(efectivo["event_type"], "efectivo_status_changed");
    assert_eq!(efectivo["data"]["efectivo_id"], 1);
    assert_eq!(efectivo["data"]["sub_event_type"], "status_changed");
    assert_eq!(efectivo["data"]["efectivo_data"]["new_status"], "en_tarea");
    world.sql("update efectivos set lat = -34.6, lon = -58.4 where id = 1");
    let moved = client.until_type("efectivo_event");
    assert_eq!(
        (&moved["event_type"], &moved["data"]["sub_event_type"]),
        (&json!("efectivo_location_update"), &json!("location_update"))
    );
    let mut admin = Client::connect(server.address, &Connect::admin());
    publish(&mut admin, "system", "alert", &alert("Alerta"));
    let event = client.until_type("system_event");
    assert_eq!((&event["event_type"], &event["data"]), (&json!("alert"), &alert("Alerta")));
    assert_eq!((&event["target_user_id"], &event["target_role"]), (&Value::Null, &Value::Null));
}

#[test]
fn the_code_s_client_gets_its_answers() {
    let world = World::new();
    let server = world.serve();
    let mut client = Old::code(&server, "7", "LEVEL_2").live();
    client.say("dashboard_update", json!({}));
    let panel = client.until_event("dashboard_update");
    for field in [
        "total_tasks",
        "active_tasks",
        "completed_tasks",
        "pending_tasks",
        "active_efectivos",
        "available_efectivos",
        "busy_efectivos",
        "alerts_count",
        "last_updated",
    ] {
        assert!(!panel["data"][field].is_null(), "{field} in {panel}");
    }
    client.say("metrics_update", json!({}));
    let metrics = client.until_event("metrics_update");
    assert_eq!(metrics["data"]["connections"], json!({"total": 1, "by_role": {"LEVEL_2": 1}}));
    assert_eq!(metrics["data"]["usage"]["active_users"], 1);
    client.say("ping", json!({"client_time": "2025-09-22T04:55:00"}));
    let pong = client.until_event("pong");
    assert_eq!(pong["data"]["client_time"], "2025-09-22T04:55:00");
    assert!(pong["data"]["server_time"].is_string());
    client.say("pong", json!({"client_time": 1, "server_time": 2}));
    for (wrong, why) in [
        ("{not json", "Invalid JSON format"),
        ("[]", "event_type"),
        (r#"{"data":{}}"#, "event_type"),
        (r#"{"event_type":"give me everything","data":{}}"#, "give me everything"),
        (r#"{"event_type":"subscribe","data":{}}"#, "events"),
    ] {
        client.socket.text(wrong).expect("the socket takes a message");
        let error = client.until_event("error");
        assert!(error["data"]["error"].as_str().is_some_and(|text| text.contains(why)), "{wrong}: {error}");
    }
    world.sql("update tareas set titulo = 'sigue' where id = 1");
    let task = client.until_event("task_updated");
    assert_eq!((&task["data"]["task_id"], &task["data"]["sub_event_type"]), (&json!(1), &json!("updated")));
}

#[test]
fn connecting_needs_a_good_token_and_the_header_wins() {
    let world = World::new();
    let server = world.serve();
    let (good, bad) =
        (token("7", "LEVEL_1"), signed(&json!({"sub": "7", "exp": seconds_from_now(60)}), &"x".repeat(40)));
    for path in PATHS {
        let open = |query: &str, headers: &[String]| Old::open(server.address, &format!("{path}{query}"), headers);
        assert_refused(open("", &[]), "no token");
        assert_refused(open("?token=", &[]), "an empty token");
        assert_refused(open(&format!("?token={bad}"), &[]), "another secret's token");
        assert_refused(open("", &["Authorization: Bearer nonsense".into()]), "no token at all");
        assert_refused(open(&format!("?token={good}"), &[bearer(&bad)]), "a bad header beside a good query");
        for (query, headers) in [
            (format!("?token={good}"), vec![]),
            (String::new(), vec![bearer(&good)]),
            (format!("?token={bad}"), vec![bearer(&good)]),
            // Another subprotocol is not ours.
            (format!("?token={good}"), vec!["Sec-WebSocket-Protocol: chat".into()]),
        ] {
            let ack = open(&query, &headers).next_frame().expect("an acknowledgement");
            assert_eq!(ack["type"], "connection_ack", "{ack}");
        }
    }
    let expired = signed(&json!({"sub": "7", "exp": 1_000_000}), SECRET);
    assert_refused(Old::open(server.address, &format!("/ws/connect?token={expired}"), &[]), "expired");
    // The same paths speak the native protocol to who offers it.
    let offer = ["Sec-WebSocket-Protocol: relevo.v1".to_owned(), bearer(&good)];
    for path in PATHS {
        let mut native = WebSocket::open(server.address, path, &offer).expect("an upgrade");
        let Some(Incoming::Text(text)) = native.next(SOON) else { panic!("no `connected`") };
        assert!(text.contains("\"connected\""), "{text}");
    }
}

#[test]
fn user_and_role_are_read_from_the_token_as_the_original_did() {
    let world = World::configured(|world| {
        world
            .channel("pattern = \"user:*\"\npublish = [\"ADMIN\"]")
            .channel("pattern = \"role:*\"\npublish = [\"ADMIN\"]")
    });
    let server = world.serve();
    let mut admin = Client::connect(server.address, &Connect::admin());
    let exp = seconds_from_now(60);
    for (claims, user, role) in [
        (json!({"user_id": 41, "sub": "ana@example.org", "nivel": 2, "exp": exp}), "41", "LEVEL_2"),
        (json!({"sub": "42", "role": "MODERATOR", "nivel": "LEVEL_3", "exp": exp}), "42", "MODERATOR"),
        (json!({"sub": "43", "aud": "grupo-gad", "exp": exp}), "43", "LEVEL_1"),
    ] {
        let path = format!("/ws/connect?token={}", signed(&claims, SECRET));
        let mut client = Old::open(server.address, &path, &[]).live();
        publish(&mut admin, &format!("user:{user}"), "notification", &alert(user));
        publish(&mut admin, &format!("role:{role}"), "notification", &alert(role));
        let own = client.until_event("notification");
        assert_eq!(
            (&own["data"]["title"], &own["target_user_id"]),
            (&json!(user), &json!(user.parse::<u32>().unwrap()))
        );
        let own = client.until_event("notification");
        assert_eq!((&own["data"]["title"], &own["target_role"]), (&json!(role), &json!(role)));
    }
}

#[test]
fn a_broadcast_reaches_three_clients_and_each_once() {
    let world = World::new();
    let server = world.serve();
    let document = Old::document(&server, "1", "LEVEL_1").live();
    let code = Old::code(&server, "2", "LEVEL_3").live();
    let same_user = Old::code(&server, "2", "LEVEL_3").live();
    let mut native = Client::connect(server.address, &Connect::admin().to("system"));
    let mut sender = Client::connect(server.address, &Connect::admin());
    publish(&mut sender, "system", "alert", &alert("uno"));
    publish(&mut sender, "system", "warning", &json!({"title": "dos", "content": "c", "level": "warning"}));
    let first = native.expect_event("system", "alert");
    for mut client in [document, code, same_user] {
        let one = client.until_event("alert");
        assert_eq!((&one["data"], &one["message_id"]), (&alert("uno"), &json!(first.message_id())));
        assert_eq!(one["timestamp"], first.text("timestamp"));
        // What comes next of the system is the second, not the first again.
        assert_eq!(client.until_type("system_event")["event_type"], "warning");
    }
}

#[test]
fn who_may_not_read_a_channel_does_not_get_it() {
    let world = World::configured(|world| world.channel("pattern = \"tasks\"\nread = [\"LEVEL_3\", \"ADMIN\"]"));
    let server = world.serve();
    let mut low = Old::code(&server, "1", "LEVEL_1").live();
    let mut high = Old::code(&server, "2", "LEVEL_3").live();
    // Asking for it gives nobody more.
    low.say("subscribe", json!({"events": ["task_updated", "alert"]}));
    assert_eq!(low.until_event("notification")["data"]["content"], "Suscrito a 2 tipos de eventos");
    world.sql("update tareas set titulo = 'secreta' where id = 1");
    high.until_event("task_updated");
    let mut admin = Client::connect(server.address, &Connect::admin());
    publish(&mut admin, "system", "alert", &alert("después"));
    let next = low.next_frame().expect("the alert");
    assert_eq!(next["event_type"], "alert", "{next}");
    // An old client can't publish.
    low.say("alert", alert("falsa"));
    assert_eq!(low.until_event("error")["event_type"], "error");
}

#[test]
fn a_filter_narrows_by_event_type() {
    let world = World::new();
    let server = world.serve();
    let mut client = Old::code(&server, "2", "LEVEL_1").live();
    let mut all = Old::code(&server, "9", "LEVEL_1").live();
    let mut admin = Client::connect(server.address, &Connect::admin());
    client.say("subscribe", json!({"events": ["alert", "task_status_changed", "no_such_event"]}));
    let answer = client.until_event("notification");
    let wanted =
        json!({"title": "Suscripción confirmada", "content": "Suscrito a 3 tipos de eventos", "level": "info"});
    assert_eq!(answer["data"], wanted);
    world.sql("update tareas set titulo = 'callada' where id = 1");
    all.until_event("task_updated");
    // The panel changes with it, and is not wanted either.
    world.sql("update tareas set estado = 'IN_PROGRESS' where id = 1");
    assert_eq!(client.next_frame().expect("a change")["event_type"], "task_status_changed");
    all.until_event("dashboard_update");
    publish(&mut admin, "system", "warning", &alert("no"));
    publish(&mut admin, "system", "alert", &alert("sí"));
    assert_eq!(client.next_frame().expect("an alert")["event_type"], "alert");
    // What is for this user alone was sent to them, and comes.
    world.sql("update tareas set efectivos_asignados = '[1]' where id = 1");
    let assigned = client.next_frame().expect("an assignment");
    assert_eq!((&assigned["event_type"], &assigned["target_user_id"]), (&json!("task_assigned"), &json!(2)));
    client.say("unsubscribe", json!({"events": ["alert"]}));
    assert_eq!(client.next_frame().expect("an answer")["data"]["content"], "Desuscrito de 1 tipos de eventos");
    publish(&mut admin, "system", "alert", &alert("ya no"));
    all.until("the last alert", |f| f["data"]["title"] == "ya no");
    client.say("ping", json!({}));
    assert_eq!(client.next_frame().expect("an answer")["event_type"], "pong");
}

#[test]
fn what_is_for_a_role_or_a_user_goes_to_nobody_else() {
    let world = World::configured(|world| world.channel("pattern = \"role:*\"\npublish = [\"ADMIN\"]"));
    let server = world.serve();
    let mut one = Old::code(&server, "2", "LEVEL_1").live();
    let mut boss = Old::code(&server, "3", "LEVEL_3").live();
    let mut admin = Client::connect(server.address, &Connect::admin());
    publish(&mut admin, "role:LEVEL_3", "notification", &alert("solo jefes"));
    world.sql("update tareas set efectivos_asignados = '[1]' where id = 1");
    let told = boss.until_event("notification");
    assert_eq!((&told["target_role"], &told["type"]), (&json!("LEVEL_3"), &json!("system_event")));
    let assigned = one.until("the assignment, and no notice before", |f| {
        assert_ne!(f["data"]["title"], "solo jefes", "{f}");
        f["event_type"] == "task_assigned"
    });
    assert_eq!((&assigned["target_user_id"], &assigned["type"]), (&json!(2), &json!("task_event")));
    publish(&mut admin, "system", "alert", &alert("todos"));
    for client in [&mut one, &mut boss] {
        client.until("the alert for all", |f| {
            let strange = f["event_type"] == "task_assigned" || f["data"]["title"] == "solo jefes";
            assert!(!strange, "{f}");
            f["data"]["title"] == "todos"
        });
    }
}

#[test]
fn it_is_pinged_in_both_ways_and_either_answer_counts() {
    let world =
        World::configured(|world| world.set("session.heartbeat = \"300ms\"").set("session.pong_within = \"700ms\""));
    let server = world.serve();
    let mut browser = Old::document(&server, "1", "LEVEL_1");
    let mut script = Old::code(&server, "2", "LEVEL_1");
    script.answers_pings = false;
    let mut silent = Old::code(&server, "3", "LEVEL_1");
    silent.answers_pings = false;
    let mut pinged = 0;
    // Several times the deadline.
    while pinged < 8 {
        let ping = script.until_event("ping");
        assert!(ping["data"]["server_time"].is_string() && ping["type"] == "ping", "{ping}");
        script.say("pong", json!({"client_time": "x", "server_time": ping["data"]["server_time"]}));
        browser.until_type("ping");
        pinged += 1;
    }
    assert!(script.pings >= 8 && browser.pings >= 8);
    assert!(matches!(silent.end(), Incoming::Close(1001, _)));
    world.sql("update tareas set titulo = 'aquí' where id = 1");
    script.until_event("task_updated");
    browser.until_type("task_event");
}

#[test]
fn a_slow_client_is_closed_and_stalls_nobody() {
    let world =
        World::configured(|world| world.set("session.outbox_bytes = \"512KiB\"").set("session.heartbeat = \"1h\""));
    let server = world.serve();
    let path = format!("/ws/connect?token={}", token("1", "LEVEL_1"));
    let slow = Old::over(WebSocket::upgrade(narrow_stream(server.address), &path, &[]).expect("an upgrade")).live();
    let mut quick = Old::code(&server, "2", "LEVEL_1").live();
    // More than every buffer on the way holds.
    for n in 1..=80 {
        world.sql(&format!("update tareas set titulo = 'fat {n}', descripcion = hex(zeroblob(60000)) where id = 1"));
        quick.until("the change", |f| f["data"]["task_data"]["titulo"] == format!("fat {n}").as_str());
    }
    let end = slow.end();
    assert!(matches!(end, Incoming::Close(1013, _) | Incoming::End), "{end:?}");
}

#[test]
fn what_is_too_large_or_binary_closes_with_the_codes_of_the_rfc() {
    let world = World::new();
    let server = world.serve();
    let mut other = Old::code(&server, "2", "LEVEL_1").live();
    let mut large = Old::code(&server, "1", "LEVEL_1");
    large.socket.text(&"x".repeat(70_000)).expect("the socket takes a message");
    assert!(matches!(large.end(), Incoming::Close(1009, _)));
    let mut binary = Old::code(&server, "1", "LEVEL_1");
    binary.socket.frame(2, b"\x01\x02").expect("the socket takes a message");
    assert!(matches!(binary.end(), Incoming::Close(1003, _)));
    world.sql("update tareas set titulo = 'ilesa' where id = 1");
    other.until_event("task_updated");
}

#[test]
fn a_server_that_stops_says_so() {
    let world = World::new();
    let server = world.serve();
    let client = Old::code(&server, "1", "LEVEL_1").live();
    assert!(server.stop(SOON).status.success());
    assert!(matches!(client.end(), Incoming::Close(1012, _)));
}

#[test]
fn statistics_have_the_old_shape_and_are_for_operators_alone() {
    let world = World::new();
    let server = world.serve();
    let _clients: Vec<Client> =
        (0..3).map(|n| Client::connect(server.address, &Connect::by(&n.to_string(), "LEVEL_1").to("tasks"))).collect();
    let mut admin = Client::connect(server.address, &Connect::admin().to("tasks"));
    world.sql("update tareas set titulo = 'for the statistics' where id = 1");
    admin.expect_event("tasks", "task_updated");
    for path in ["/ws/stats", "/api/v1/ws/stats"] {
        assert_eq!(server.get(path).0, 401);
        assert_eq!(server.get_as(path, "7", "LEVEL_3").0, 403);
        let (status, body) = server.get_as(path, "7", "ADMIN");
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        let stats = &answer["stats"];
        assert_eq!(answer["status"], "ok");
        assert_eq!((&stats["total_connections"], &stats["unique_users"]), (&json!(4), &json!(4)), "{body}");
        assert_eq!(stats["connections_by_role"], json!({"ADMIN": 1, "LEVEL_1": 3}));
        assert_eq!((&stats["heartbeat_active"], &stats["heartbeat_interval"]), (&json!(true), &json!(30.0)));
        let metrics = &stats["metrics"];
        assert_eq!((&metrics["total_broadcasts"], &metrics["total_messages_sent"]), (&json!(1), &json!(4)), "{body}");
        assert_eq!(metrics["total_send_errors"], 0);
        assert!(metrics["last_broadcast_at"].as_str().unwrap() <= answer["timestamp"].as_str().unwrap());
    }
}
