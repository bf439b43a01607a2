//! From the commit in SQLite to the client. Taken from just before COMMIT is called, so the commit's
//! own time is in it: a message may well come before COMMIT has returned.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use relevo_tests::workload::{connect, execute, retitle};
use relevo_tests::world::World;

use crate::sockets::{Socket, number_after};
use crate::table::{number, print};

pub(crate) async fn measure(rate: u64, seconds: u64) {
    let world = World::new();
    let server = world.serve();
    let mut socket = Socket::connect(server.address, &["tasks"]).await;
    let database = world.database();
    let total = rate * seconds;
    let commits = Arc::new(Mutex::new(Vec::with_capacity(usize::try_from(total).expect("a count"))));
    let theirs = commits.clone();
    let writer = std::thread::spawn(move || {
        let mut own = histogram();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut connection = connect(&database).await;
            let mut clock = tokio::time::interval(Duration::from_secs_f64(1.0 / rate as f64));
            for n in 0..total {
                clock.tick().await;
                execute(&mut connection, "begin immediate".into()).await;
                retitle(&mut connection, n).await;
                let began = Instant::now();
                theirs.lock().expect("the commits' lock").push(began);
                execute(&mut connection, "commit".into()).await;
                record(&mut own, began.elapsed());
            }
            own
        })
    });
    let mut histogram = histogram();
    let mut seen = 0;
    while seen < total {
        socket
            .frames(|text| {
                if let Some(n) = number_after(text, b"\"titulo\":\"n ") {
                    let now = Instant::now();
                    let commit = commits.lock().expect("the commits' lock")[usize::try_from(n).expect("a count")];
                    record(&mut histogram, now - commit);
                    seen += 1;
                }
            })
            .await;
    }
    let commits = writer.join().expect("the writer");
    let ms = |quantile: f64| format!("{:.2}", histogram.value_at_quantile(quantile) as f64 / 1000.0);
    let own = |quantile: f64| format!("{:.2}", commits.value_at_quantile(quantile) as f64 / 1000.0);
    print(
        &format!("latency: commit → client, {rate}/s for {seconds} s ({} messages)", number(total)),
        &[
            ("p50, ms", ms(0.5)),
            ("p90, ms", ms(0.9)),
            ("p99, ms", ms(0.99)),
            ("max, ms", format!("{:.2}", histogram.max() as f64 / 1000.0)),
            ("of that, COMMIT itself: p50, ms", own(0.5)),
            ("of that, COMMIT itself: p99, ms", own(0.99)),
        ],
    );
}

/// In µs, up to a minute.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("bounds")
}

pub(crate) fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(u64::try_from(time.as_micros()).expect("a short time"));
}
