//! How many row changes a second go from SQLite, through capture, plugins and journal, to one client.

use std::time::Instant;

use relevo_tests::workload::{connect, execute, retitle};
use relevo_tests::world::World;

use crate::sockets::{Socket, number_after};
use crate::table::{number, per_second, print};

pub(crate) async fn measure(changes: u64, transaction: u64) {
    let world = World::new();
    let server = world.serve();
    let mut socket = Socket::connect(server.address, &["tasks"]).await;
    let database = world.database();
    let cpu = server.cpu();
    let began = Instant::now();
    let writer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut connection = connect(&database).await;
            let mut n = 0;
            while n < changes {
                execute(&mut connection, "begin immediate".into()).await;
                for _ in 0..transaction.min(changes - n) {
                    n += 1;
                    retitle(&mut connection, n).await;
                }
                execute(&mut connection, "commit".into()).await;
            }
            began.elapsed()
        })
    });
    let mut seen = 0;
    while seen < changes {
        socket
            .frames(|text| {
                if let Some(n) = number_after(text, b"\"titulo\":\"n ") {
                    seen += 1;
                    assert_eq!(n, seen, "a message is missing, doubled or out of order");
                }
            })
            .await;
    }
    let took = began.elapsed();
    let cpu = server.cpu() - cpu;
    let wrote = writer.join().expect("the writer");
    print(
        &format!("events: {} changes, {transaction} a transaction, one subscriber", number(changes)),
        &[
            ("written, changes/s", per_second(changes, wrote)),
            ("received, changes/s", per_second(changes, took)),
            ("server CPU for each change, µs", format!("{:.1}", cpu.as_secs_f64() * 1e6 / changes as f64)),
            ("RSS at the end, MiB", number(server.rss() >> 20)),
        ],
    );
}
