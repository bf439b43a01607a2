//! How quick it is; run by hand: `cargo nextest run -p relevo --run-ignored only journal::tests::speed`.

use super::*;

async fn measure(bytes: usize, together: usize, durability: Durability) {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), &settings(|s| s.durability = durability), &[]).await.unwrap();
    let text = "x".repeat(bytes.min(300) - 100);
    let events: Vec<_> = (0..bytes.div_ceil(300)).map(|p| change(p as u64, &text)).collect();
    let mut times = Vec::new();
    let began = std::time::Instant::now();
    while began.elapsed() < Duration::from_secs(2) {
        let one = std::time::Instant::now();
        let appends = (0..together).map(|_| journal.append(Append { events: events.clone(), ..append(1..=1) }));
        futures_util::future::join_all(appends).await;
        times.push(one.elapsed());
    }
    let took = began.elapsed();
    times.sort();
    println!(
        "{bytes} bytes, {together} together, {durability:?}: {:.0} records/s, p50 {:?}, p99 {:?}",
        (times.len() * together) as f64 / took.as_secs_f64(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
    );
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn records_a_second() {
    for durability in [Durability::Process, Durability::Power] {
        for (bytes, together) in [(20_000, 1), (20_000, 4), (400, 1), (400, 16)] {
            measure(bytes, together, durability).await;
        }
    }
}
