//! Deliveries for each second of the server's CPU time: one publisher, many subscribers of one stream.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use relevo_tests::world::World;
use tokio::sync::Notify;

use crate::sockets::{Socket, find};
use crate::table::{number, per_second, print};

/// So that a message's text has about 200 bytes, as where other servers were measured.
const FILLER: &str = "........................................";

pub(crate) async fn measure(subscribers: usize, in_flight: u64, messages: u64) {
    let world = World::configured(|world| world.channel("pattern = \"bench\"\nread = [\"*\"]\npublish = [\"ADMIN\"]"));
    // The server on one core and this program on another, so that neither takes the other's time: other
    // servers are measured so, too. What is started inherits the core.
    let two = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    if two {
        pin(0);
    }
    let server = world.serve();
    if two {
        pin(1);
    }
    let mut publisher = Socket::connect(server.address, &[]).await;
    let received = Rc::new(Cell::new(0_u64));
    let progress = Rc::new(Notify::new());
    let each = subscribers as u64;
    let local = tokio::task::LocalSet::new();
    for _ in 0..subscribers {
        let mut socket = Socket::connect(server.address, &["bench"]).await;
        let (received, progress) = (received.clone(), progress.clone());
        local.spawn_local(async move {
            loop {
                let mut n = 0;
                socket.frames(|text| n += u64::from(is_delivery(text))).await;
                let before = received.get();
                received.set(before + n);
                if before / each != (before + n) / each {
                    progress.notify_one();
                }
            }
        });
    }
    let (cpu, took) = local
        .run_until(async {
            publish(&mut publisher, 20, in_flight, each, &received, &progress).await;
            received.set(0);
            let (cpu, began) = (server.cpu(), Instant::now());
            publish(&mut publisher, messages, in_flight, each, &received, &progress).await;
            (server.cpu() - cpu, began.elapsed())
        })
        .await;
    let deliveries = each * messages;
    print(
        &format!("fan-out: {subscribers} subscribers, {messages} messages, {in_flight} in flight"),
        &[
            ("deliveries for a second of server CPU", per_second(deliveries, cpu)),
            ("deliveries/s", per_second(deliveries, took)),
            ("server CPU, s", format!("{:.2}", cpu.as_secs_f64())),
            ("RSS at the end, MiB", number(server.rss() >> 20)),
        ],
    );
}

/// Keeps this thread, and what it starts, on one core.
fn pin(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).expect("a thread may choose its core");
}

/// Publishes, never more than `in_flight` beyond what all have received.
async fn publish(
    publisher: &mut Socket,
    messages: u64,
    in_flight: u64,
    each: u64,
    received: &Cell<u64>,
    progress: &Notify,
) {
    let mut sent = 0;
    let mut answered = 0;
    while received.get() < messages * each {
        while sent < messages && sent - received.get() / each < in_flight {
            sent += 1;
            publisher
                .send(&format!(
                    "{{\"id\":{sent},\"type\":\"publish\",\"channel\":\"bench\",\"event_type\":\"bench\",\"data\":\"{FILLER}\"}}"
                ))
                .await;
        }
        tokio::select! {
            () = progress.notified() => {}
            () = publisher.frames(|text| {
                assert!(find(text, b"\"type\":\"error\"").is_none(), "not published: {}", String::from_utf8_lossy(text));
                answered += 1;
            }), if answered < sent => {}
        }
    }
}

fn is_delivery(text: &[u8]) -> bool {
    find(text, b"\"event_type\":\"bench\"").is_some()
}
