//! Each kind of bad input has its documented code, and harms nobody else. The codes: docs/protocol.md.

use std::time::Duration;

use relevo_tests::client::{Client, Connect};
use relevo_tests::frame::Frame;
use relevo_tests::server::Server;
use relevo_tests::token::{SECRET, seconds_from_now, signed};
use relevo_tests::wait::SOON;
use relevo_tests::websocket::Incoming;
use relevo_tests::world::World;
use serde_json::{Value, json};

fn served() -> (World, Server) {
    let world = World::new();
    let server = world.serve();
    (world, server)
}

fn assert_closed(client: &mut Client, code: u16, what: &str) {
    match client.expect_end(SOON) {
        Incoming::Close(got, name) => {
            assert_eq!(got, code, "{what}: closed with {got} {name}");
            assert!(!name.is_empty(), "{what}: a close code has a name");
        }
        other => panic!("{what}: ended with {other:?} instead of close code {code}"),
    }
}

fn assert_error(answer: &Frame, code: u16) {
    assert_eq!(answer.kind(), "error", "{}", answer.raw);
    assert_eq!(answer.json["code"], code, "{}", answer.raw);
    assert!(!answer.text("name").is_empty() && !answer.text("message").is_empty(), "{}", answer.raw);
}

/// Whether the server still does its work for others.
fn assert_unharmed(world: &World, server: &Server) {
    let mut client = Client::connect(server.address, &Connect::admin().to("tasks"));
    world.sql("update tareas set titulo = 'unharmed' where id = 1");
    client.expect("a change", |f| f.is_of("tasks") && f.data()["task_data"]["titulo"] == "unharmed");
}

#[test]
fn tokens_that_are_not_good_are_accepted_and_closed_with_a_named_code() {
    let (world, server) = served();
    let hour = seconds_from_now(3600);
    let cases: [(&str, String, u16); 5] = [
        ("no token at all", "garbage".into(), 4500),
        ("another secret", signed(&json!({"sub": "1", "role": "ADMIN", "exp": hour}), &"x".repeat(40)), 4500),
        ("expired", signed(&json!({"sub": "1", "role": "ADMIN", "exp": 1_000_000}), SECRET), 4005),
        ("not yet", signed(&json!({"sub": "1", "role": "ADMIN", "exp": hour, "nbf": hour}), SECRET), 4500),
        // Signed by nobody: {"alg":"none"}, {"sub":"1","role":"ADMIN","exp":9999999999}.
        (
            "algorithm none",
            "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiIxIiwicm9sZSI6IkFETUlOIiwiZXhwIjo5OTk5OTk5OTk5fQ.".into(),
            4500,
        ),
    ];
    for (what, token, code) in cases {
        let how = Connect { token: Some(token), ..Connect::nobody() };
        let mut client = Client::open(server.address, &how).expect("a native client is accepted first");
        assert_closed(&mut client, code, what);
        assert!(client.frames.iter().all(|f| f.kind() != "connected"), "{what}: {:?}", client.frames);
    }
    assert_unharmed(&world, &server);
}

#[test]
fn a_token_may_come_in_the_query_or_in_the_first_message() {
    let (_world, server) = served();
    let token = relevo_tests::token::token("5", "LEVEL_1");
    let mut client = Client::open(server.address, &Connect::nobody()).unwrap();
    client.say(&json!({"type": "connect", "token": token, "channels": ["tasks"]}));
    let connected = client.expect("connected", |f| f.kind() == "connected");
    assert_eq!((connected.text("user"), connected.text("role")), ("5", "LEVEL_1"), "{}", connected.raw);
    let path = format!("{}?token={token}", relevo_tests::client::PATH);
    let native = ["Sec-WebSocket-Protocol: relevo.v1".to_owned()];
    let mut socket = relevo_tests::websocket::WebSocket::open(server.address, &path, &native).unwrap();
    match socket.next(SOON) {
        Some(Incoming::Text(text)) => assert!(text.contains("\"connected\""), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_that_never_says_who_it_is_is_closed() {
    let world = World::configured(|world| world.set("session.hello_within = \"300ms\""));
    let server = world.serve();
    let mut client = Client::open(server.address, &Connect::nobody()).unwrap();
    assert_closed(&mut client, 4004, "no hello");
}

#[test]
fn a_first_message_that_is_no_connect_is_closed() {
    let (_world, server) = served();
    for first in ["{\"type\":\"subscribe\",\"id\":1,\"channel\":\"tasks\"}", "garbage", "[]"] {
        let mut client = Client::open(server.address, &Connect::nobody()).unwrap();
        client.raw().text(first).unwrap();
        assert_closed(&mut client, 4501, first);
    }
}

#[test]
fn bad_commands_get_an_error_and_the_connection_stays() {
    let (_world, server) = served();
    let mut client = Client::connect(server.address, &Connect::by("5", "LEVEL_1"));
    for (text, code) in [
        ("this is no JSON", 101),
        ("[1,2,3]", 101),
        ("{\"id\":1}", 101),
        ("{\"type\":\"dance\",\"id\":2}", 102),
        ("{\"type\":\"subscribe\",\"id\":3}", 103),
        ("{\"type\":\"subscribe\",\"id\":4,\"channel\":\"no spaces\"}", 104),
        ("{\"type\":\"subscribe\",\"id\":5,\"channel\":\"\"}", 104),
        ("{\"type\":\"subscribe\",\"id\":6,\"channel\":\"user:6\"}", 105),
        ("{\"type\":\"subscribe\",\"id\":7,\"channel\":\"role:ADMIN\"}", 105),
        ("{\"type\":\"subscribe\",\"id\":8,\"channel\":\"no-such-channel\"}", 105),
        ("{\"type\":\"unsubscribe\",\"id\":9,\"channel\":\"tasks\"}", 107),
        ("{\"type\":\"publish\",\"id\":10,\"channel\":\"tasks\",\"data\":{}}", 105),
        ("{\"type\":\"connect\",\"token\":\"x\"}", 110),
    ] {
        client.raw().text(text).unwrap();
        let answer = client.expect(&format!("the error of {text}"), |f| f.kind() == "error");
        assert_error(&answer, code);
        let id = serde_json::from_str::<Value>(text).map(|json| json["id"].clone()).unwrap_or_default();
        if code != 101 {
            assert_eq!(answer.json["id"], id, "{text}: {}", answer.raw);
        }
    }
    client.subscribe("tasks");
    assert_error(&client.ask(json!({"type": "subscribe", "channel": "tasks"})), 106);
    assert_eq!(client.ask(json!({"type": "ping"})).kind(), "pong");
}

#[test]
fn frames_that_break_the_protocol_close_with_its_code() {
    let (world, server) = served();
    let unmasked_text = [0x81, 0x02, b'h', b'i'];
    let reserved_bit = [0xc1, 0x80, 1, 2, 3, 4];
    let fragmented_ping = [0x09, 0x80, 1, 2, 3, 4];
    let reserved_opcode = [0x83, 0x80, 1, 2, 3, 4];
    let continues_nothing = [0x80, 0x80, 1, 2, 3, 4];
    // A length of 2^63 and more is nothing that anybody will send.
    let absurd = [0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4];
    let cases: [(&str, &[u8], u16); 6] = [
        ("unmasked", &unmasked_text, 1002),
        ("reserved bit", &reserved_bit, 1002),
        ("fragmented ping", &fragmented_ping, 1002),
        ("reserved opcode", &reserved_opcode, 1002),
        ("continues nothing", &continues_nothing, 1002),
        ("absurd length", &absurd, 1009),
    ];
    for (what, bytes, code) in cases {
        let mut client = Client::connect(server.address, &Connect::admin());
        client.raw().bytes(bytes).unwrap();
        assert_closed(&mut client, code, what);
    }
    let mut client = Client::connect(server.address, &Connect::admin());
    client.raw().frame(2, b"binary").unwrap();
    assert_closed(&mut client, 1003, "binary");
    let mut client = Client::connect(server.address, &Connect::admin());
    client.raw().frame(1, &[0xff, 0xfe]).unwrap();
    assert_closed(&mut client, 1007, "not UTF-8");
    assert_unharmed(&world, &server);
}

#[test]
fn a_message_over_the_limit_closes_with_too_large() {
    let (world, server) = served();
    let mut client = Client::connect(server.address, &Connect::admin());
    let large = json!({"type": "ping", "id": "x".repeat(100_000)}).to_string();
    // The server may close before it has taken everything.
    let _ = client.raw().text(&large);
    assert_closed(&mut client, 1009, "oversized");
    assert_unharmed(&world, &server);
}

#[test]
fn a_silent_client_is_closed_and_one_that_answers_is_kept() {
    let world =
        World::configured(|world| world.set("session.heartbeat = \"300ms\"").set("session.pong_within = \"300ms\""));
    let server = world.serve();
    let mut silent = Client::connect(server.address, &Connect::admin());
    let mut lively = Client::connect(server.address, &Connect::admin());
    silent.answers_pings = false;
    let reader = std::thread::spawn(move || {
        while lively.pings < 5 && lively.ended.is_none() {
            lively.next(Duration::from_millis(50));
        }
        (lively.pings, lively.ended)
    });
    assert_closed(&mut silent, 4002, "silent");
    assert!(silent.pings >= 1, "it was asked first");
    assert_eq!(reader.join().unwrap(), (5, None));
}

#[test]
fn a_polite_goodbye_is_answered() {
    let (_world, server) = served();
    let mut client = Client::connect(server.address, &Connect::admin());
    client.raw().frame(8, &1000_u16.to_be_bytes()).unwrap();
    assert_closed(&mut client, 1000, "goodbye");
}

#[test]
fn garbage_instead_of_http_is_refused_and_harms_nobody() {
    use std::io::{Read, Write};
    let (world, server) = served();
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n"] {
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_unharmed(&world, &server);
}

#[test]
fn more_connections_than_allowed_are_told_so() {
    let world = World::configured(|world| world.set("session.max_connections = 3"));
    let server = world.serve();
    let mut kept: Vec<Client> = (0..3).map(|_| Client::connect(server.address, &Connect::admin())).collect();
    let mut fourth = Client::open(server.address, &Connect::admin()).unwrap();
    assert_closed(&mut fourth, 4003, "one too many");
    kept.pop();
    relevo_tests::wait::until("a free place", SOON, || Client::try_connect(server.address, &Connect::admin()).ok());
}

#[test]
fn too_many_subscriptions_get_an_error() {
    let world = World::configured(|world| {
        world.set("session.max_subscriptions = 4").channel("pattern = \"room:*\"\nread = [\"*\"]")
    });
    let server = world.serve();
    let mut client = Client::connect(server.address, &Connect::admin());
    let refused = (0..6)
        .map(|n| client.ask(json!({"type": "subscribe", "channel": format!("room:{n}")})))
        .find(|answer| answer.kind() == "error");
    assert_error(&refused.expect("an error"), 108);
}
