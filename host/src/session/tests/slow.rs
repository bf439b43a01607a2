//! Clients that don't read: what happens depends on the channel's kind.

use super::*;
use crate::wire::codes::Close;

const LARGE: usize = 4000;

fn large(channel: &str, kind: ChannelKind, n: u64) -> Message {
    let data = format!("{{\"n\":{n},\"fill\":\"{}\"}}", "x".repeat(LARGE)).into();
    Message { data, ..message(channel, kind, n) }
}

async fn slow_server() -> Server {
    server(|s| {
        s.outbox_bytes = 64 << 10;
        s.pong_within = Duration::from_secs(60);
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_stream_it_is_closed_with_a_code_and_comes_back_for_the_rest() {
    let server = slow_server().await;
    let mut client = server.live(&["tasks"]).await;
    let mut sent = Vec::new();
    for n in 0..500 {
        sent.push(server.commit(vec![large("tasks", ChannelKind::Stream, n)]).await);
    }
    let (said, code) = client.until_closed().await;
    assert_eq!(code, Some(Close::Slow.number()));
    let mut got: Vec<u64> = said.iter().map(|v| v["offset"].as_u64().unwrap()).collect();
    assert!(got.len() < sent.len());
    // It comes back, and is paced now: half of it is more than the outbox holds.
    let mut client = server.connect(&["tasks"], Some((&server.epoch(), *got.last().unwrap()))).await;
    while got.len() < sent.len() {
        got.push(client.next().await["offset"].as_u64().unwrap());
    }
    assert_eq!(got, sent);
    assert_eq!(client.next().await["type"], "subscribed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_keeps_up_gets_more_than_the_outbox_holds_in_one_go() {
    let server = slow_server().await;
    let mut client = server.live(&["tasks", "board"]).await;
    let mut got = Vec::new();
    let keyed = |n: u64| Message { key: Some(n.to_string().into()), ..large("board", ChannelKind::State, n) };
    let stream = |n: u64| large("tasks", ChannelKind::Stream, n);
    // More than the outbox, and less than it and the socket.
    for batch in [(0..20).map(stream).collect::<Vec<_>>(), (20..40).map(keyed).collect()] {
        server.commit(batch).await;
        for _ in 0..20 {
            got.push(client.next().await["data"]["n"].as_u64().unwrap());
        }
    }
    assert!(got.into_iter().eq(0..40));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_state_it_gets_the_newest_of_each_key() {
    let server = slow_server().await;
    let mut client = server.live(&["board"]).await;
    for n in 0..1000_u64 {
        let key = (n % 10).to_string();
        server.commit(vec![Message { key: Some(key.into()), ..large("board", ChannelKind::State, n) }]).await;
    }
    let (mut newest, mut frames) = (std::collections::BTreeMap::new(), 0);
    while newest.len() < 10 || newest.values().any(|n| *n < 990) {
        let value = client.next().await;
        newest.insert(value["key"].as_str().unwrap().to_owned(), value["data"]["n"].as_u64().unwrap());
        frames += 1;
    }
    assert!(frames < 500, "{frames} of 1000 were sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_ephemeral_channel_it_loses_some_and_stays() {
    let server = slow_server().await;
    let mut client = server.live(&["typing", "system"]).await;
    for n in 0..500 {
        server.commit(vec![large("typing", ChannelKind::Ephemeral, n)]).await;
    }
    let last = server.commit(vec![message("system", ChannelKind::Stream, 1)]).await;
    let mut frames = 0;
    while client.next().await["offset"] != last {
        frames += 1;
    }
    assert!(frames > 0 && frames < 500, "{frames} of 500 came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_asks_without_reading_the_answers_is_closed() {
    let server = slow_server().await;
    let mut client = server.live(&[]).await;
    for _ in 0..20_000 {
        client.socket.feed(Frame::text("no json at all")).await.unwrap();
    }
    client.socket.flush().await.unwrap();
    let (_, code) = client.until_closed().await;
    assert_eq!(code, Some(Close::Slow.number()));
}
