//! How quick it is; run by hand: `cargo nextest run -p relevo --run-ignored only journal::tests::speed`.

use super::*;
use crate::journal::prune::Prune;
use crate::journal::shares::Recent;
use crate::journal::writer::Work;

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

/// Write calls of this process, from `/proc/self/io`.
fn writes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap().parse().unwrap()
}

/// Commits at a rate, each with messages in `together` of 2,000 channels; as many as there are where `rate` is none.
async fn commits(rate: Option<u64>, together: u64, count: u64) {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let mut dice = fastrand::Rng::with_seed(together);
    let data = noise(300);
    let mut times = hdrhistogram::Histogram::<u64>::new(3).unwrap();
    let (before, began) = (writes(), tokio::time::Instant::now());
    for n in 0..count {
        if let Some(rate) = rate {
            tokio::time::sleep_until(began + Duration::from_micros(n * 1_000_000 / rate)).await;
        }
        let one = std::time::Instant::now();
        let messages = (0..together).map(|_| message(&format!("user:{}", dice.u64(..2000)), &data)).collect();
        journal.append(append(n + 1..=n + 1)).await.unwrap();
        journal.commit(commit(n.checked_sub(1), n, messages)).await.unwrap();
        times.record(u64::try_from(one.elapsed().as_micros()).unwrap()).unwrap();
    }
    let (took, wal) = (began.elapsed(), crate::journal::open::wal_path(&folder.path().join("journal.db")));
    let wal = std::fs::metadata(wal).unwrap().len();
    let mut longest = Duration::ZERO;
    for _ in 0..Recent::LIMIT / Recent::MOVE {
        let one = std::time::Instant::now();
        journal.embedded.ask(Work::Prune(Prune::Index(Recent::MOVE))).await.unwrap();
        longest = longest.max(one.elapsed());
    }
    println!("a move of {} rows of the channels' index: at most {longest:?}", Recent::MOVE);
    journal.close().await;
    let quantile = |of| times.value_at_quantile(of) as f64 / 1000.0;
    println!(
        "{count} commits at {rate:?}/s, {together} channels each: p50 {} ms, p99 {}, p99.9 {}, max {}; {:.0} messages/s; \
         {:.2} write calls a message; WAL {} MiB",
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
        quantile(1.0),
        (count * together) as f64 / took.as_secs_f64(),
        (writes() - before) as f64 / (count * together) as f64,
        wal >> 20,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn commits_of_many_channels() {
    commits(Some(500), 1, 10_000).await;
    commits(Some(250), 8, 2_500).await;
    commits(None, 100, 2_000).await;
}
