//! The log: ids that lead from a client to its lines, the fields that docs/logging.md lists, and no secrets.

use std::collections::BTreeSet;

use relevo_tests::client::{Client, Connect, PATH};
use relevo_tests::server::Server;
use relevo_tests::token::{SECRET, seconds_from_now, signed, token};
use relevo_tests::wait::SOON;
use relevo_tests::websocket::{Incoming, WebSocket};
use relevo_tests::world::World;
use serde_json::{Value, json};

const DOC: &str = include_str!("../../../docs/logging.md");

fn world(level: &str) -> World {
    World::configured(|world| world.set_environment("RELEVO_LOG", level).set_environment("RELEVO_LOG_FORMAT", "json"))
}

/// Stops the server; every line of stderr, which must be JSON.
fn lines(server: Server) -> (String, Vec<Value>) {
    let ended = server.stop(SOON);
    assert!(ended.status.success(), "{}", ended.log);
    let said = |line: &&str| !line.starts_with("listening on") && !line.starts_with("ready or not");
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("no JSON ({e}): {line}"));
    let lines = ended.log.lines().filter(said).map(parse).collect();
    (ended.log, lines)
}

/// The first column of the doc's table of fields.
fn documented() -> BTreeSet<&'static str> {
    let section = DOC.split("## Fields").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.collect()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

#[test]
fn no_secret_is_logged_and_every_field_is_documented() {
    // Compiling plugins at `trace` takes long; the second start finds them compiled.
    let world = world("info");
    assert!(world.serve().stop(SOON).status.success());
    let world = world.set_environment("RELEVO_LOG", "trace");
    let server = world.serve();
    let by_header = token("41", "ADMIN");
    let by_query = token("42", "LEVEL_2");
    let by_message = token("43", "LEVEL_1");
    let bad = signed(&json!({"sub": "44", "role": "ADMIN", "exp": seconds_from_now(60)}), &"wrong".repeat(10));
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let payload = |token: &str| token.split('.').nth(1).unwrap().to_owned();

    let mut first = Client::connect(server.address, &Connect { token: Some(by_header.clone()), ..Connect::nobody() });
    first.subscribe("tasks");
    let native = ["Sec-WebSocket-Protocol: relevo.v1".to_owned()];
    let mut open: Vec<WebSocket> = Vec::new();
    for protocol in [&native[..], &[]] {
        let mut socket = WebSocket::open(server.address, &format!("{PATH}?token={by_query}"), protocol).unwrap();
        assert!(matches!(socket.next(SOON), Some(Incoming::Text(_))));
        open.push(socket);
    }
    let mut third = Client::open(server.address, &Connect::nobody()).unwrap();
    third.say(&json!({"type": "connect", "token": by_message, "channels": ["tasks"]}));
    third.expect("connected", |f| f.kind() == "connected");
    Client::open(server.address, &Connect { token: Some(bad.clone()), ..Connect::nobody() }).unwrap().expect_end(SOON);
    let mut socket = WebSocket::open(server.address, &format!("{PATH}?token={bad}"), &[]).unwrap();
    assert!(matches!(socket.next(SOON), Some(Incoming::Close(1008, _))));

    let event = r#"{"channel":"system","level":"info","title":"titel-geheim","content":"inhalt-geheim"}"#;
    let key = "Idempotency-Key: schluessel-geheim".to_owned();
    for (by, status) in [(&by_header, 202), (&by_query, 403), (&bad, 401)] {
        let answer = server.http("POST", "/api/v1/events", &[bearer(by), key.clone()], event);
        assert_eq!(answer.status, status, "{answer:?}");
    }
    let malformed = r#"{"channel":"system","level":"info","titel":"titel-geheim"}"#;
    assert_eq!(server.http("POST", "/api/v1/events", &[bearer(&by_header)], malformed).status, 400);
    for path in ["/metrics", "/readyz", "/healthz", "/nowhere", "/api/v1/ws/stats"] {
        server.http("GET", &format!("{path}?token={by_query}"), &[bearer(&by_header)], "");
    }
    world.sql(
        "update tareas set titulo = 'zeile-geheim' where id = 1;
         update usuarios set hashed_password = 'hash-geheim', nombre = 'name-geheim' where id = 2;",
    );
    first.expect("the change", |f| f.is_of("tasks") && f.raw.contains("zeile-geheim"));

    let (log, lines) = lines(server);
    assert!(lines.len() > 50, "at trace there is more to say:\n{log}");
    let tokens = [&by_header, &by_query, &by_message, &bad];
    let secrets = tokens.iter().flat_map(|t| [signature(t), payload(t)]);
    let texts = [SECRET, "geheim", "?token="].map(str::to_owned);
    for secret in secrets.chain(texts) {
        let told = log.lines().find(|line| line.contains(&secret));
        assert_eq!(told, None, "{secret} is in the log");
    }

    let documented = documented();
    for line in lines.iter().filter(|line| line["target"].as_str().is_some_and(is_ours)) {
        let fields =
            line.as_object().unwrap().keys().chain(line["span"].as_object().into_iter().flat_map(|s| s.keys()));
        for field in fields {
            assert!(documented.contains(field.as_str()), "docs/logging.md doesn't have {field}: {line}");
        }
    }
}

fn is_ours(target: &str) -> bool {
    target == "plugin" || target.split("::").next() == Some("relevo")
}

#[test]
fn a_request_is_found_in_the_log_by_the_id_of_its_answer() {
    let server = world("info").serve();
    let by = bearer(&token("41", "ADMIN"));
    let given =
        server.http("GET", "/api/v1/ws/stats?token=x", &["X-Request-Id: from-the-proxy.7".into(), by.clone()], "");
    assert_eq!(given.header("x-request-id"), Some("from-the-proxy.7"), "{given:?}");
    let made = server.http("GET", "/nowhere", &["X-Request-Id: two words".into()], "");
    let made = made.header("x-request-id").unwrap().to_owned();
    assert!(made.len() == 32 && made != "two words", "{made}");
    server.http("POST", "/api/v1/pipelines/panel/rebuild", &["X-Request-Id: rebuild".into(), by], "");
    let probe = server.http("GET", "/healthz", &[], "").header("x-request-id").unwrap().to_owned();

    let (log, lines) = lines(server);
    let of = |id: &str| lines.iter().filter(|l| l["span"]["request_id"] == *id).collect::<Vec<_>>();
    let [line] = of("from-the-proxy.7")[..] else { panic!("{log}") };
    assert_eq!(
        (&line["method"], &line["path"], &line["status"]),
        (&json!("GET"), &json!("/api/v1/ws/stats"), &json!(200))
    );
    assert!(line["duration_ms"].is_number() && line["span"]["user"] == "41", "{line}");
    assert_eq!(of(&made)[0]["status"], 404);
    let rebuild = of("rebuild");
    assert!(rebuild.len() == 2 && rebuild[0]["pipeline"] == "panel" && rebuild[1]["status"] == 202, "{rebuild:?}");
    assert!(of(&probe).is_empty(), "monitors ask all the time:\n{log}");
}

#[test]
fn a_session_is_found_in_the_log_by_the_id_that_its_client_got() {
    let server = world("info").serve();
    let native = Client::connect(server.address, &Connect::by("51", "LEVEL_1"));
    let native = native.frames[0].text("session").to_owned();
    let old_token = token("52", "LEVEL_2");
    let headers = [bearer(&old_token), "X-Request-Id: the-upgrade".into()];
    let mut socket = WebSocket::open(server.address, PATH, &headers).unwrap();
    let Some(Incoming::Text(ack)) = socket.next(SOON) else { panic!("no acknowledgement") };
    let old = serde_json::from_str::<Value>(&ack).unwrap()["data"]["connection_id"].as_str().unwrap().to_owned();
    drop(socket);
    let mut refused = Client::open(server.address, &Connect { token: Some("x".into()), ..Connect::nobody() }).unwrap();
    refused.expect_end(SOON);

    let (log, lines) = lines(server);
    for (connection, user, role, dialect) in [(native, "51", "LEVEL_1", "native"), (old, "52", "LEVEL_2", "gad")] {
        let of: Vec<_> = lines.iter().filter(|l| l["span"]["connection"] == *connection).collect();
        let said: Vec<_> = of.iter().filter_map(|l| l["message"].as_str()).collect();
        assert_eq!(said, ["a session began", "a session ended"], "{log}");
        let span = &of[0]["span"];
        assert_eq!((&span["user"], &span["role"], &span["dialect"]), (&json!(user), &json!(role), &json!(dialect)));
        assert!(of[0]["request_id"].is_string() && of[1]["reason"].is_string() && of[1]["duration_ms"].is_number());
        assert!(dialect == "native" || of[0]["request_id"] == "the-upgrade", "{}", of[0]);
    }
    let refusal = lines.iter().find(|l| l["message"] == "a client was refused").unwrap();
    assert!(refusal["reason"] == "unauthorized" && refusal["connection"].is_string(), "{refusal}");
}
