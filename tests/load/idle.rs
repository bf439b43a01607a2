//! What a connection that does nothing costs the server in memory.

use std::time::Instant;

use relevo_tests::world::World;

use crate::sockets::Socket;
use crate::table::{number, per_second, print};

pub(crate) async fn measure(connections: usize) {
    let world = World::new();
    let server = world.serve();
    // The first ones make the server allocate what it needs once.
    let warm: Vec<Socket> = open(&server, 50).await;
    drop(warm);
    let before = server.rss();
    let began = Instant::now();
    let sockets = open(&server, connections).await;
    let took = began.elapsed();
    let after = server.rss();
    let each = after.saturating_sub(before) / connections as u64;
    print(
        &format!("idle: {} connections, each with one channel", number(connections as u64)),
        &[
            ("RSS before, KiB", number(before >> 10)),
            ("RSS after, KiB", number(after >> 10)),
            ("for each connection, bytes", number(each)),
            ("connects/s", per_second(connections as u64, took)),
        ],
    );
    drop(sockets);
}

async fn open(server: &relevo_tests::server::Server, n: usize) -> Vec<Socket> {
    let mut sockets = Vec::with_capacity(n);
    for _ in 0..n {
        sockets.push(Socket::connect(server.address, &["tasks"]).await);
    }
    sockets
}
