//! Signs of life, position marks, and the end.

use tokio::io::AsyncReadExt;

use super::*;
use crate::wire::codes::Close;

fn quick(settings: &mut SessionSettings) {
    settings.heartbeat = Duration::from_millis(60);
    settings.pong_within = Duration::from_millis(300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_client_is_closed_with_a_code() {
    let server = server(quick).await;
    let client = server.live(&["tasks"]).await;
    // Below the client library, which would answer the pings.
    let mut socket = client.socket.into_inner();
    let mut bytes = Vec::new();
    tokio::time::timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(&bytes[..2], [0x89, 0], "it was asked");
    let close = crate::wire::native::close(Close::Silent);
    assert_eq!(&bytes[bytes.len() - close.len()..], &close[..]);
    assert_eq!(server.context.fan_out.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_answers_stays_and_learns_how_far_it_is() {
    let server = server(quick).await;
    let mut client = server.live(&["tasks"]).await;
    let mut last = 0;
    // Much longer than the deadline.
    for _ in 0..15 {
        let other = server.send("system", 1).await;
        let mark = client.next().await;
        assert_eq!((&mark["type"], &mark["epoch"]), (&json!("position"), &json!(server.epoch())));
        let offset = mark["offset"].as_u64().unwrap();
        assert!(offset > last && offset <= other);
        last = offset;
    }
    let mut back = server.connect(&["tasks"], Some((&server.epoch(), last))).await;
    assert_eq!(back.next().await["type"], "subscribed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_tells_everybody_and_waits_for_them() {
    let server = server(|_| {}).await;
    let live = server.live(&["tasks"]).await;
    let greeting = server.open(Hello::default()).await;
    let last = server.send("tasks", 1).await;
    let fan_out = server.context.fan_out.clone();
    let stop = tokio::spawn(async move { fan_out.stop(Duration::from_secs(20)).await });
    for (mut client, number) in [(live, Some(last)), (greeting, None)] {
        let (said, code) = client.until_closed().await;
        assert_eq!(code, Some(Close::Shutdown.number()));
        // What was committed before is either said, or comes after the reconnect.
        assert!(said.iter().all(|v| v["offset"].as_u64() == number));
    }
    let started = std::time::Instant::now();
    stop.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "nobody was waited for in vain");
    assert_eq!(server.context.fan_out.connections(), 0);
    assert_eq!(code(server.open(server.hello(&[], None)).await).await, Some(Close::Shutdown.number()));
}

async fn code(mut client: Client) -> Option<u16> {
    client.until_closed().await.1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connections_task_is_small() {
    let server = server(|_| {}).await;
    let client = server.open(Hello::default()).await;
    let task = serve(client.socket.into_inner(), Bytes::new(), Hello::default(), server.context.clone());
    assert!(size_of_val(&task) <= 1024, "{} bytes", size_of_val(&task));
}
