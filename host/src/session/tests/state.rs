//! State channels: all keys first, then changes, at their pace.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_keys_come_before_subscribed_and_changes_after_it() {
    let server = server(|_| {}).await;
    for (key, n) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
        server.set("board", key, n).await;
    }
    server
        .commit(vec![Message { key: Some("c".into()), deleted: true, ..message("board", ChannelKind::State, 5) }])
        .await;
    let mut client = server.connect(&["board"], None).await;
    let keys = [client.next().await, client.next().await];
    let seen: Vec<_> = keys.iter().map(|v| (v["key"].as_str().unwrap(), v["data"]["n"].as_u64().unwrap())).collect();
    assert_eq!(seen, [("a", 3), ("b", 2)], "the newest of each key, nothing of what is gone");
    assert_eq!(client.next().await["type"], "subscribed");
    server.set("board", "b", 6).await;
    let change = client.next().await;
    assert_eq!((&change["key"], &change["data"]["n"]), (&json!("b"), &json!(6)));
    server
        .commit(vec![Message { key: Some("a".into()), deleted: true, ..message("board", ChannelKind::State, 7) }])
        .await;
    assert_eq!(client.next().await["deleted"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_changes_are_complete_while_the_board_changes() {
    let server = Arc::new(server(|_| {}).await);
    for key in 0..500 {
        server.set("board", &key.to_string(), 0).await;
    }
    let writer = tokio::spawn({
        let server = server.clone();
        async move {
            for n in 1..=1500_u64 {
                server.set("board", &(n % 500).to_string(), n).await;
            }
        }
    });
    let mut client = server.connect(&["board"], None).await;
    let mut board = std::collections::BTreeMap::new();
    while board.len() < 500 || board.values().any(|n| *n <= 1000) {
        let value = client.next().await;
        if value["type"] == "test" {
            let n = value["data"]["n"].as_u64().unwrap();
            let before = board.insert(value["key"].as_str().unwrap().to_owned(), n);
            assert!(before.is_none_or(|before| before <= n), "a key never goes back");
        }
    }
    writer.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_changes_too_often_is_paced_and_its_last_value_always_comes() {
    let server = server(|_| {}).await;
    let mut client = server.live(&["paced"]).await;
    let started = std::time::Instant::now();
    for n in 1..=200 {
        server.set("paced", "k", n).await;
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&200) {
        seen.push(client.next().await["data"]["n"].as_u64().unwrap());
    }
    let allowed = started.elapsed().as_millis() / 40 + 2;
    assert!(seen.len() as u128 <= allowed, "{} updates where {allowed} are allowed", seen.len());
    assert!(seen.is_sorted());
    server.set("paced", "k", 201).await;
    assert_eq!(client.next().await["data"]["n"], 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_and_coming_again_brings_all_keys_again() {
    let server = server(|_| {}).await;
    server.set("board", "a", 1).await;
    let mut client = server.live(&["board"]).await;
    assert_eq!(client.ask(json!({"id": 1, "type": "unsubscribe", "channel": "board"})).await["type"], "unsubscribed");
    server.set("board", "b", 2).await;
    client.say(json!({"id": 2, "type": "subscribe", "channel": "board"})).await;
    let keys = [client.next().await, client.next().await];
    assert_eq!((&keys[0]["key"], &keys[1]["key"]), (&json!("a"), &json!("b")));
    assert_eq!(client.next().await["id"], 2);
}
