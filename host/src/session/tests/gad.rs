//! Clients of the original system's protocol.

use tokio::io::AsyncReadExt;

use super::*;
use crate::wire::codes::Close;

impl Server {
    /// Connects, and takes `connection_ack`.
    async fn gad(&self, role: &str) -> Client {
        let token = Some(self.token(role, Duration::from_secs(600)));
        let mut client = self.open(Hello { dialect: Dialect::Gad, token, ..Hello::default() }).await;
        let ack = client.next().await;
        assert_eq!((&ack["type"], &ack["event_type"]), (&json!("connection_ack"), &json!("connection_ack")));
        client
    }

    /// As [`Self::gad`], until all is live: then an answer comes that is given in order.
    async fn live_gad(&self, role: &str) -> Client {
        let mut client = self.gad(role).await;
        client.say(json!({"event_type": "unsubscribe", "data": {"events": []}})).await;
        while client.next().await["event_type"] != "notification" {}
        client
    }
}

/// What tells the tests' messages apart.
async fn number(client: &mut Client) -> Value {
    let value = client.next().await;
    assert!(value["message_id"].is_string() && value.get("offset").is_none(), "{value}");
    value["data"]["n"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_gets_the_channels_of_its_role_without_asking() {
    let server = server(|_| {}).await;
    server.set("board", "a", 1).await;
    server.set("board", "b", 2).await;
    server.send("tasks", 3).await;
    let mut level = server.live_gad("LEVEL_1").await;
    let mut admin = server.live_gad("ADMIN").await;
    let mut quiet = server.live_gad("QUIET").await;
    for (channel, n) in [("secret", 10), ("tasks", 11), ("user:7", 12), ("role:ADMIN", 13), ("role:QUIET", 14)] {
        server.send(channel, n).await;
    }
    server.set("board", "a", 15).await;
    server.send("system", 16).await;
    server.send("user:7", 17).await;
    for (client, wanted) in [
        (&mut level, vec![11, 12, 15, 16, 17]),
        (&mut admin, vec![10, 11, 12, 13, 15, 16, 17]),
        (&mut quiet, vec![12, 14, 17]),
    ] {
        for n in wanted {
            assert_eq!(number(client).await, n);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_channel_s_keys_come_first_and_tombstones_never() {
    let server = server(|_| {}).await;
    server.set("board", "a", 1).await;
    server.set("board", "b", 2).await;
    let mut client = server.gad("LEVEL_1").await;
    assert_eq!((number(&mut client).await, number(&mut client).await), (json!(1), json!(2)));
    let gone = Message { key: Some("a".into()), deleted: true, ..message("board", ChannelKind::State, 3) };
    server.commit(vec![gone]).await;
    server.set("board", "b", 4).await;
    assert_eq!(number(&mut client).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_gets_1008() {
    let server = server(|s| s.heartbeat = Duration::from_millis(100)).await;
    for token in [None, Some(String::new()), Some("nonsense".into())] {
        let mut client = server.open(Hello { dialect: Dialect::Gad, token, ..Hello::default() }).await;
        let (said, code) = client.until_closed().await;
        assert_eq!((said.len(), code), (0, Some(1008)));
    }
    assert_eq!(server.context.census.count().begun, 0);
    let token = Some(server.token("ADMIN", Duration::from_secs(2)));
    let mut client = server.open(Hello { dialect: Dialect::Gad, token, ..Hello::default() }).await;
    assert_eq!(client.until_closed().await.1, Some(1008), "the token's time ends while it is connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_narrows_what_comes() {
    let server = server(|_| {}).await;
    let typed = |channel: &str, event_type: &str, n: u64| Message {
        event_type: event_type.into(),
        ..message(channel, ChannelKind::Stream, n)
    };
    let mut client = server.live_gad("LEVEL_1").await;
    let answer = client.ask(json!({"event_type": "subscribe", "data": {"events": ["alert", "unheard of"]}})).await;
    assert_eq!(answer["data"]["content"], "Suscrito a 2 tipos de eventos");
    server.commit(vec![typed("tasks", "created", 1), typed("tasks", "alert", 2), typed("user:7", "created", 3)]).await;
    assert_eq!((number(&mut client).await, number(&mut client).await), (json!(2), json!(3)));
    let answer = client.ask(json!({"event_type": "unsubscribe", "data": {"events": ["alert"]}})).await;
    assert_eq!(answer["data"]["content"], "Desuscrito de 1 tipos de eventos");
    server.commit(vec![typed("tasks", "alert", 4), typed("user:7", "alert", 5)]).await;
    assert_eq!(number(&mut client).await, 5);
    let many: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let answer = client.ask(json!({"event_type": "subscribe", "data": {"events": many}})).await;
    assert_eq!(answer["event_type"], "error");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_has_its_answer_and_each_mistake_its_error() {
    let server = server(|_| {}).await;
    let mut client = server.live_gad("LEVEL_1").await;
    let nothing = client.ask(json!({"event_type": "dashboard_update", "data": {}})).await;
    assert_eq!(nothing["event_type"], "error", "{nothing}");
    server.set("board", "a", 1).await;
    server.set("board", "b", 2).await;
    assert_eq!((number(&mut client).await, number(&mut client).await), (json!(1), json!(2)));
    client.say(json!({"event_type": "dashboard_update", "data": {}})).await;
    assert_eq!(number(&mut client).await, 2, "the newest");
    let pong = client.ask(json!({"event_type": "ping", "data": {"client_time": 5}})).await;
    assert_eq!((&pong["event_type"], &pong["data"]["client_time"]), (&json!("pong"), &json!(5)));
    let _other = server.gad("ADMIN").await;
    let metrics = client.ask(json!({"event_type": "metrics_update"})).await;
    assert_eq!(metrics["data"]["connections"], json!({"total": 2, "by_role": {"ADMIN": 1, "LEVEL_1": 1}}));
    assert_eq!(metrics["data"]["usage"], json!({"active_users": 1, "total_sessions": 2, "peak_concurrent_users": 1}));
    for wrong in ["{", "[]", r#"{"event_type":"dance"}"#, r#"{"event_type":"subscribe"}"#] {
        client.socket.send(Frame::text(wrong)).await.unwrap();
        let answer = client.next().await;
        assert_eq!(answer["event_type"], "error", "{wrong}");
        assert!(answer["data"]["error"].is_string());
    }
    client.socket.send(Frame::binary(vec![1])).await.unwrap();
    assert_eq!(client.until_closed().await.1, Some(1003));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_one_is_closed_and_holds_up_nobody() {
    let server = server(|s| {
        s.outbox_bytes = 64 << 10;
        s.pong_within = Duration::from_secs(60);
    })
    .await;
    let mut slow = server.live_gad("LEVEL_1").await;
    let mut quick = server.live_gad("LEVEL_1").await;
    for n in 0..500 {
        let data = format!("{{\"n\":{n},\"fill\":\"{}\"}}", "x".repeat(4000)).into();
        server.commit(vec![Message { data, ..message("tasks", ChannelKind::Stream, n) }]).await;
        assert_eq!(number(&mut quick).await, n);
    }
    assert_eq!(slow.until_closed().await.1, Some(1013));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_asked_in_both_ways_and_a_silent_one_is_closed() {
    let server = server(|s| {
        s.heartbeat = Duration::from_millis(60);
        s.pong_within = Duration::from_millis(300);
    })
    .await;
    let client = server.gad("LEVEL_1").await;
    // Below the client library, which would answer the pings.
    let mut socket = client.socket.into_inner();
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(&bytes[..2], [0x89, 0]);
    let asked = String::from_utf8_lossy(&bytes[2..]).into_owned();
    assert!(asked.contains(r#""event_type":"ping""#) && asked.contains("server_time"), "{asked}");
    let close = Dialect::Gad.close(Close::Silent);
    assert_eq!(&bytes[bytes.len() - close.len()..], &close[..]);
    assert!(!asked.contains("position"), "it keeps no number");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_hears_of_no_gaps() {
    let server = server(|_| {}).await;
    let mut client = server.live_gad("LEVEL_1").await;
    server.gap("restored").await;
    server.send("tasks", 1).await;
    assert_eq!(number(&mut client).await, 1);
}
