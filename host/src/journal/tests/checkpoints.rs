//! Checkpoints of pipelines' states: what they hold, and how long.

use super::*;
use crate::journal::tests::retention::{fill, pass, with};

pub(super) fn wanted(pipeline: &str, reason: &str) -> Control {
    Control::Checkpoint { pipeline: pipeline.into(), reason: reason.into() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn what_a_large_state_costs() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let value = vec![7_u8; 640];
    let mut after = None;
    for part in 0..100_u64 {
        let state = (0..1000).map(|n| set(&format!("entry {:08}", part * 1000 + n), &value)).collect();
        journal.commit(Commit { state, ..commit(after, part, vec![]) }).await.unwrap();
        after = Some(part);
    }
    for _ in 0..12 {
        let began = std::time::Instant::now();
        let number = journal.control(wanted("p", "measure")).await.unwrap();
        let took = began.elapsed();
        let began = std::time::Instant::now();
        journal.append(append(1..=1)).await.unwrap();
        let next = began.elapsed();
        let began = std::time::Instant::now();
        let entries = journal.checkpoint(number).await.unwrap().unwrap().state["plugin"].len();
        println!("taken in {took:?}, an append after it {next:?}, {entries} entries read in {:?}", began.elapsed());
    }
    let (mut worst, began) = (Duration::ZERO, std::time::Instant::now());
    let pass = async { pass(&journal, 0).await };
    let appends = async {
        loop {
            let began = std::time::Instant::now();
            journal.append(append(1..=1)).await.unwrap();
            worst = worst.max(began.elapsed());
        }
    };
    tokio::select! { () = pass => {}, () = appends => {} }
    println!("dropped ones deleted in {:?}, the longest append meanwhile {worst:?}", began.elapsed());
    println!("{:?}", journal.checkpoints("p").await.unwrap()[0]);
    let began = std::time::Instant::now();
    journal.close().await;
    println!("closed in {:?}", began.elapsed());
}
