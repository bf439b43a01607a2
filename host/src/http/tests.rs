//! The listener and the routes over real sockets.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::auth::{Policy, Secret, Tokens};
use crate::capture::Ingest;
use crate::channel::FanOut;
use crate::config::{Config, SessionSettings};
use crate::journal::Journal;
use crate::pipeline::Desk;

mod metrics;

/// Longer than anything here takes.
const SOON: Duration = Duration::from_secs(20);

struct Server {
    address: std::net::SocketAddr,
    tokens: Tokens,
    stop: watch::Sender<bool>,
    run: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

async fn server(settings: SessionSettings, parts: Vec<Part>) -> Server {
    server_of(Config { session: settings, ..Config::load(None).unwrap() }, parts).await
}

async fn server_of(config: Config, parts: Vec<Part>) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let settings = config.session.clone();
    let journal = Journal::open(folder.path(), &config.journal, &config.channels).await.unwrap();
    let fan_out = FanOut::start(&journal, &settings, &config.channels).await.unwrap();
    let desk = Desk::alone(&config, &journal, folder.path());
    let tokens = Tokens::new(&Secret::new(&"s".repeat(32), "test").unwrap(), &config.auth);
    let session = session::Context {
        ingest: Ingest::new(journal.clone()),
        journal,
        fan_out,
        tokens: tokens.clone(),
        policy: Policy::new(&config.channels, &config.auth.operators),
        settings: settings.clone(),
        gad: config.gad.clone(),
        census: session::census::Census::default(),
    };
    let routes = router(Parts {
        session: Arc::new(session),
        readiness: Arc::new(move || parts.clone()),
        numbers: Arc::new(metrics::numbers),
        pipelines: config.pipelines.iter().map(|pipeline| pipeline.name.clone()).collect(),
        desk,
        sources: Arc::new([]),
        component_bytes: config.plugins.component_bytes,
        page: Arc::new(config.page.clone()),
    });
    let (stop, stopping) = watch::channel(false);
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let run = tokio::spawn(listener::Listener::new(routes, &settings, stopping).run(socket));
    Server { address, tokens, stop, run, _folder: folder }
}

impl Server {
    /// Sends a request and reads until the server closes, or `until` has come.
    async fn says(&self, request: &str, until: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read(&mut stream, until).await
    }

    async fn get(&self, path: &str) -> String {
        self.says(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"), "").await
    }
}

async fn read(stream: &mut TcpStream, until: &str) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while until.is_empty() || !String::from_utf8_lossy(&bytes).contains(until) {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(SOON, reading).await.expect("an answer in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn part(name: &str, reason: Option<&str>) -> Part {
    Part { name: name.into(), ready: reason.is_none(), reason: reason.map(str::to_owned) }
}

#[tokio::test]
async fn health_says_alive_and_ready_says_which_part_is_not() {
    let parts = vec![part("source gad", None), part("pipeline panel", Some("plugin panel: it is not there"))];
    let server = server(SessionSettings::default(), parts).await;
    assert!(server.get("/healthz").await.starts_with("HTTP/1.1 200"));
    let answer = server.get("/readyz").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let body: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["ready"], false);
    assert_eq!(body["parts"][0], serde_json::json!({"name": "source gad", "ready": true}));
    assert_eq!(body["parts"][1]["reason"], "plugin panel: it is not there");
}

#[tokio::test]
async fn ready_is_said_when_all_parts_are() {
    let server = server(SessionSettings::default(), vec![part("source gad", None)]).await;
    assert!(server.get("/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn each_bad_handshake_gets_its_status_and_a_reason() {
    let server = server(SessionSettings::default(), vec![]).await;
    let ws = "upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n";
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (request, status, reason) in [
        ("GET /api/v1/ws/connect HTTP/1.1\r\n".to_owned(), "426", "Upgrade: websocket"),
        (format!("GET /api/v1/ws/connect HTTP/1.1\r\n{}{key}", ws.replace("13", "8")), "426", "Version: 13"),
        (format!("GET /api/v1/ws/connect HTTP/1.1\r\n{ws}"), "400", "Key is missing"),
        (format!("GET /api/v1/ws/connect HTTP/1.1\r\n{ws}sec-websocket-key: x\r\n"), "400", "16 bytes"),
        (format!("POST /api/v1/ws/connect HTTP/1.1\r\n{ws}{key}"), "405", ""),
        ("GET /nowhere HTTP/1.1\r\n".to_owned(), "404", "nothing here"),
    ] {
        let end = if reason.is_empty() { "\r\n\r\n" } else { "}}" };
        let answer = server.says(&format!("{request}host: x\r\n\r\n"), end).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        assert!(answer.contains(reason), "{request}: {answer}");
    }
}

#[tokio::test]
async fn a_client_is_upgraded_with_the_protocol_that_it_offers() {
    let server = server(SessionSettings::default(), vec![]).await;
    let token = server.tokens.issue("7", "ADMIN", Duration::from_secs(60)).unwrap();
    let request = format!(
        "GET /api/v1/ws/connect?token={token} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: relevo.v1\r\n\r\n"
    );
    let answer = server.says(&request, "heartbeat_ms").await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    assert!(answer.contains("sec-websocket-protocol: relevo.v1"), "{answer}");
    assert!(answer.contains("\"user\":\"7\"") && answer.contains("\"role\":\"ADMIN\""), "{answer}");
}

#[tokio::test]
async fn a_client_with_a_bad_token_is_let_in_and_closed_by_name() {
    let server = server(SessionSettings::default(), vec![]).await;
    let request = "GET /api/v1/ws/connect HTTP/1.1\r\nhost: x\r\nauthorization: Bearer nonsense\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = server.says(request, "unauthorized").await;
    assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("unauthorized"), "{answer}");
    assert!(!answer.to_lowercase().contains("sec-websocket-protocol"), "none was offered");
}

#[tokio::test]
async fn a_client_with_a_bad_query_is_let_in_and_closed_by_name() {
    let server = server(SessionSettings::default(), vec![]).await;
    let many = "channel=a&".repeat(1001);
    for query in ["after=7", "after=%ff:x", "channel=a%20b", &many] {
        let request = format!(
            "GET /api/v1/ws/connect?{query} HTTP/1.1\r\nhost: x\r\nsec-websocket-protocol: relevo.v1\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let answer = server.says(&request, "bad_connect").await;
        assert!(answer.starts_with("HTTP/1.1 101") && answer.contains("\"error\""), "{query:.20}: {answer}");
    }
}

#[tokio::test]
async fn a_header_that_doesn_t_end_is_not_waited_for() {
    let settings = SessionSettings { hello_within: Duration::from_millis(50), ..SessionSettings::default() };
    let server = server(settings, vec![]).await;
    // Returns only because the server closes.
    let answer = server.says("GET / HTTP/1.1\r\nhost: ", "").await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn a_silent_or_idle_connection_gives_its_seat_back() {
    let settings = SessionSettings { hello_within: Duration::from_millis(50), ..SessionSettings::default() };
    let server = server(settings, vec![]).await;
    // Both return only because the server closes.
    assert_eq!(server.says("", "").await, "");
    assert!(server.says("GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", "").await.contains("200"));
}

#[tokio::test]
async fn a_full_server_says_so_and_lets_in_again_later() {
    let settings = SessionSettings { max_connections: 1, ..SessionSettings::default() };
    let server = server(settings, vec![]).await;
    let mut held = Vec::new();
    let refused = loop {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let answer = read(&mut stream, "\n\r\n").await;
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        held.push(stream);
        assert!(held.len() < 1000, "there is no bound");
    };
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    held.clear();
    let back = async {
        while !server.get("/healthz").await.starts_with("HTTP/1.1 200") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, back).await.expect("seats become free");
}

#[tokio::test]
async fn the_listener_ends_when_it_is_told_and_everybody_has_left() {
    let server = server(SessionSettings::default(), vec![]).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(read(&mut idle, "ok").await.contains("200"));
    server.stop.send_replace(true);
    tokio::time::timeout(SOON, server.run).await.expect("idle connections are closed").unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

impl Server {
    /// Posts to a path as a user of a role; status and body.
    async fn post(&self, role: &str, path: &str, headers: &str, body: &str) -> (u16, serde_json::Value) {
        let token = self.tokens.issue("7", role, SOON).unwrap();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {token}\r\n{headers}\
             content-length: {length}\r\n\r\n{body}"
        );
        let answer = self.says(&request, "").await;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap())
    }
}

const EVENTS: &str = "/api/v1/events";

#[tokio::test]
async fn an_event_is_taken_in_and_one_with_the_same_key_is_the_same() {
    let server = server(SessionSettings::default(), Vec::new()).await;
    let notice = r#"{"level":"alert","title":"a"}"#;
    let (status, first) = server.post("ADMIN", EVENTS, "", notice).await;
    assert_eq!((status, first["offset"].is_u64()), (202, true), "{first}");
    let (_, second) = server.post("ADMIN", EVENTS, "", notice).await;
    assert!(second["offset"].as_u64() > first["offset"].as_u64());
    let (_, third) = server.post("ADMIN", EVENTS, "idempotency-key: k\r\n", notice).await;
    let (status, fourth) = server.post("ADMIN", EVENTS, "idempotency-key: k\r\n", notice).await;
    assert_eq!((status, &fourth["offset"]), (202, &third["offset"]));
    let field = r#"{"channel":"system","data":[1],"idempotency_key":"k"}"#;
    assert_eq!(server.post("ADMIN", EVENTS, "", field).await.1["offset"], third["offset"], "the field is that key too");
}

#[tokio::test]
async fn an_event_that_can_not_be_taken_says_why() {
    let server = server(SessionSettings { message_bytes: 1024, ..SessionSettings::default() }, Vec::new()).await;
    let long = format!(r#"{{"channel":"system","data":"{}"}}"#, "x".repeat(2000));
    for (role, body, status, name, says) in [
        ("LEVEL_1", r#"{"level":"alert","title":"a"}"#, 403, "forbidden", "may not publish"),
        ("ADMIN", "", 400, "bad_event", "JSON"),
        ("ADMIN", "[1]", 400, "bad_event", "JSON"),
        (
            "ADMIN",
            r#"{"level":"loud","title":"a"}"#,
            400,
            "bad_event",
            "level: \"loud\" is not known; allowed: info, alert",
        ),
        ("ADMIN", r#"{"level":"alert"}"#, 400, "bad_event", "title"),
        ("ADMIN", r#"{"level":"alert","title":"a","data":1}"#, 400, "bad_event", "there is no field data"),
        ("ADMIN", r#"{"channel":"system"}"#, 400, "bad_event", "data"),
        ("ADMIN", r#"{"channel":"a b","data":1}"#, 400, "bad_event", "channel name"),
        ("ADMIN", r#"{"channel":"system","data":1,"type":"gap"}"#, 400, "bad_event", "protocol's own"),
        ("ADMIN", r#"{"channel":"system","data":1,"event_type":""}"#, 400, "bad_event", "1 to 128"),
        ("ADMIN", &long, 413, "too_large", "1024"),
    ] {
        let (found, answer) = server.post(role, EVENTS, "", body).await;
        assert_eq!((found, &answer["error"]["name"]), (status, &name.into()), "{body}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(says), "{body}: {answer}");
    }
    let (status, _) =
        server.post("ADMIN", EVENTS, "idempotency-key: \r\n", "{\"level\":\"alert\",\"title\":\"a\"}").await;
    assert_eq!(status, 400);
    let nobody = server.says(&format!("POST {EVENTS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"), "").await;
    assert!(nobody.starts_with("HTTP/1.1 401"), "{nobody}");
}

#[tokio::test]
async fn a_rebuild_is_for_operators_and_for_pipelines_that_are_there() {
    let server = server(SessionSettings::default(), Vec::new()).await;
    let ask = |role: &'static str, name: &str| {
        let path = format!("/api/v1/pipelines/{name}/rebuild");
        let server = &server;
        async move { server.post(role, &path, "", "").await }
    };
    assert_eq!(ask("LEVEL_3", "panel").await.0, 403);
    let (status, answer) = ask("ADMIN", "panal").await;
    assert_eq!((status, &answer["error"]["name"]), (404, &"no_such_pipeline".into()));
    let (status, answer) = ask("ADMIN", "panel").await;
    assert_eq!((status, &answer["pipeline"]), (202, &"panel".into()), "{answer}");
}

#[tokio::test]
async fn browsers_get_the_page_under_a_strict_policy_and_others_a_short_text() {
    let server = server(SessionSettings::default(), vec![]).await;
    let ask = |path: &str, header: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n{header}connection: close\r\n\r\n");
    let short = server.get("/").await;
    assert!(short.starts_with("HTTP/1.1 200") && short.contains("relevo.v1") && !short.contains("<html"), "{short}");
    let page = server.says(&ask("/", "accept: text/html,*/*;q=0.8\r\n"), "").await;
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'";
    for part in ["<html", policy, "x-content-type-options: nosniff", "vary: accept", "cache-control: no-cache"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    for (asked, inline) in
        [("<script>", "a script"), ("<style", "a style"), ("style=", "a style"), ("onclick=", "a script")]
    {
        assert!(!page.contains(asked), "{inline} stands in the page itself");
    }
    let tag = page.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim().to_owned();
    let again = server.says(&ask("/", &format!("accept: text/html\r\nif-none-match: {tag}\r\n")), "").await;
    assert!(again.starts_with("HTTP/1.1 304") && !again.contains("<html"), "{again}");
}

#[tokio::test]
async fn everything_that_the_page_names_is_served() {
    let server = server(SessionSettings::default(), vec![]).await;
    let mut names = vec!["/page/page.js".to_owned(), "/page/style.css".into(), "/page/icon.svg".into()];
    let mut seen = 0;
    while let Some(name) = names.get(seen).cloned() {
        seen += 1;
        let answer = server.get(&name).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("nosniff"), "{name}: {answer}");
        for line in answer.lines().filter(|line| line.starts_with("import ")) {
            let file = line.split("'./").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
            let name = format!("/page/{file}");
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    assert!(names.len() > 8, "{names:?}");
    let settings = server.get("/page/settings.json").await;
    let settings: serde_json::Value = serde_json::from_str(settings.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert!(settings["channels"].as_array().is_some_and(|channels| !channels.is_empty()), "{settings}");
    assert!(settings.get("enabled").is_none(), "{settings}");
}

#[tokio::test]
async fn a_page_that_is_switched_off_is_not_there() {
    let page = PageSettings { enabled: false, ..PageSettings::default() };
    let server = server_of(Config { page, ..Config::load(None).unwrap() }, vec![]).await;
    let request = "GET / HTTP/1.1\r\nhost: x\r\naccept: text/html\r\nconnection: close\r\n\r\n";
    let answer = server.says(request, "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && !answer.contains("<html"), "{answer}");
    assert!(server.get("/page/settings.json").await.starts_with("HTTP/1.1 404"));
}
