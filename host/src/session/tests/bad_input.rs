//! Each kind of bad input has its error or its close code, and harms nobody else.

use tokio::io::AsyncWriteExt;

use super::*;
use crate::wire::codes::Close;

async fn code_of(mut client: Client) -> Option<Close> {
    let (_, code) = client.until_closed().await;
    Close::ALL.iter().copied().find(|c| Some(c.number()) == code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_refused_closes_with_a_code_and_a_reason() {
    let server = server(|_| {}).await;
    for token in ["", "nonsense", "a.b.c"] {
        let mut client = server.open(Hello { token: Some(token.into()), ..Hello::default() }).await;
        let (said, code) = client.until_closed().await;
        assert_eq!(code, Some(Close::Unauthorized.number()));
        assert_eq!(said[0]["name"], "unauthorized");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_may_come_in_the_first_message() {
    let server = server(|_| {}).await;
    let mut client = server.open(Hello { channels: vec!["system".into()], ..Hello::default() }).await;
    let token = server.token("ADMIN", Duration::from_secs(60));
    client.say(json!({"type": "connect", "token": token, "channels": ["tasks", "secret"]})).await;
    let connected = client.next().await;
    assert_eq!((&connected["user"], &connected["role"]), (&json!("7"), &json!("ADMIN")));
    for channel in ["tasks", "secret", "system"] {
        assert_eq!(client.next().await["channel"], channel);
    }
    let again = client.ask(json!({"id": 1, "type": "connect", "token": token})).await;
    assert_eq!((&again["id"], &again["name"]), (&json!(1), &json!("already_connected")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_closes_the_connection() {
    let server = server(|s| s.heartbeat = Duration::from_millis(100)).await;
    let token = server.token("LEVEL_1", Duration::from_secs(2));
    let client = server.open(Hello { token: Some(token), ..Hello::default() }).await;
    assert_eq!(code_of(client).await, Some(Close::TokenExpired));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_message_must_be_connect_and_must_come() {
    let server = server(|s| s.hello_within = Duration::from_millis(200)).await;
    assert_eq!(code_of(server.open(Hello::default()).await).await, Some(Close::HelloTimeout));
    for first in [r#"{"type":"ping"}"#, "garbage", r#"{"type":"connect","after":7}"#] {
        let mut client = server.open(Hello::default()).await;
        client.socket.send(Frame::text(first)).await.unwrap();
        assert_eq!(code_of(client).await, Some(Close::BadHello), "{first}");
    }
    for hello in [
        Hello { after: Some("7".into()), ..server.hello(&[], None) },
        Hello { channels: vec!["a b".into()], ..server.hello(&[], None) },
        Hello { bad_query: Some("it can't be read"), ..server.hello(&[], None) },
    ] {
        let (said, code) = server.open(hello).await.until_closed().await;
        assert_eq!(code, Some(Close::BadHello.number()));
        assert_eq!(said[0]["type"], "error", "it is told why");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_are_not_the_protocol_close_with_their_codes() {
    let server = server(|s| s.message_bytes = 1000).await;
    let text = |bytes: usize| Frame::text("x".repeat(bytes));
    for (frame, close) in [(Frame::binary("x"), Close::Binary), (text(1001), Close::TooLarge)] {
        let mut client = server.live(&["tasks"]).await;
        client.socket.send(frame).await.unwrap();
        assert_eq!(code_of(client).await, Some(close));
    }
    // What a client library won't send.
    for (bytes, close) in [
        (&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe][..], Close::NotUtf8),
        (&[0x81, 0x01, b'x'], Close::Protocol),
        (&[0xff; 64], Close::Protocol),
        (b"GET / HTTP/1.1\r\n\r\n", Close::Protocol),
    ] {
        let mut client = server.live(&["tasks"]).await;
        client.socket.get_mut().write_all(bytes).await.unwrap();
        assert_eq!(code_of(client).await, Some(close), "{bytes:?}");
    }
    let mut client = server.live(&["tasks"]).await;
    let sent = server.send("tasks", 1).await;
    assert_eq!(client.next().await["offset"], sent, "the others go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_can_not_be_done_gets_an_error_and_the_connection_stays() {
    let server = server(|s| s.max_subscriptions = 2).await;
    let mut client = server.live(&["tasks"]).await;
    client.socket.send(Frame::text("{")).await.unwrap();
    assert_eq!(client.next().await["name"], "bad_json");
    for (command, name) in [
        (json!({"id": 1, "type": "dance"}), "unknown_command"),
        (json!({"id": 2, "type": "subscribe"}), "bad_command"),
        (json!({"id": 3, "type": "subscribe", "channel": "a b"}), "bad_channel"),
        (json!({"id": 4, "type": "subscribe", "channel": "secret"}), "forbidden"),
        (json!({"id": 5, "type": "subscribe", "channel": "nowhere"}), "forbidden"),
        (json!({"id": 6, "type": "subscribe", "channel": "user:8"}), "forbidden"),
        (json!({"id": 7, "type": "subscribe", "channel": "tasks"}), "already_subscribed"),
        (json!({"id": 8, "type": "unsubscribe", "channel": "role:LEVEL_1"}), "not_subscribed"),
        (json!({"id": 9, "type": "publish", "channel": "tasks", "data": {}}), "forbidden"),
    ] {
        let error = client.ask(command.clone()).await;
        assert_eq!((&error["type"], &error["name"]), (&json!("error"), &json!(name)));
        assert_eq!(error["id"], command["id"]);
    }
    assert_eq!(client.ask(json!({"id": 10, "type": "subscribe", "channel": "system"})).await["type"], "subscribed");
    let error = client.ask(json!({"id": 11, "type": "subscribe", "channel": "board"})).await;
    assert_eq!(error["name"], "too_many_subscriptions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_publish_gets_the_number_and_two_with_one_key_are_one() {
    let server = server(|_| {}).await;
    let hello = Hello { token: Some(server.token("ADMIN", Duration::from_secs(60))), ..Hello::default() };
    let mut client = server.open(hello).await;
    client.until("connected").await;
    let publish = json!({"id": 1, "type": "publish", "channel": "system", "data": {"n": 1}, "idempotency_key": "k"});
    let first = client.ask(publish.clone()).await;
    assert_eq!(first["type"], "published");
    assert_eq!(client.ask(publish).await["offset"], first["offset"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_allowed_are_turned_away_until_one_leaves() {
    let server = server(|s| s.max_connections = 1).await;
    let mut first = server.live(&[]).await;
    assert_eq!(code_of(server.open(server.hello(&[], None)).await).await, Some(Close::Full));
    first.socket.close(None).await.unwrap();
    assert_eq!(code_of(first).await, Some(Close::Normal));
    while server.context.fan_out.connections() > 0 {
        tokio::task::yield_now().await;
    }
    server.live(&[]).await;
}
