//! Nothing is lost and nothing doubled, whoever crashes when.

use std::time::Duration;

use crate::config::JournalSettings;
use crate::event::Position;
use crate::journal::RecordBody;

use super::*;

pub(super) async fn crashes_of_either_side_lose_nothing_and_double_nothing<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    for round in 0..6 {
        let mut writers = [round * 2 + 1, round * 2 + 2].map(|seed| host.database.meanwhile(&writes(seed, 300)));
        for _ in 0..4 {
            // At any moment: what counts is that it is in the midst of writes.
            tokio::time::sleep(Duration::from_millis(15 + 17 * round)).await;
            host.kill().await;
            host.begin();
        }
        if round % 2 == 1 {
            host.database.crash(&mut writers[0]);
        }
        for writer in &mut writers {
            let _ = writer.wait();
        }
    }
    host.sql("insert into t values (777, 'last')");
    let all = events(&host.appends_until(777).await);
    assert!(all.windows(2).all(|pair| pair[0].position < pair[1].position), "each once and in order");
    assert!(all.windows(2).all(|pair| pair[0].committed_at <= pair[1].committed_at));
    let ends = all.windows(2).all(|pair| pair[0].last_of_transaction == (pair[0].transaction != pair[1].transaction));
    assert!(ends, "the last event of each transaction says so, and no other");
    let mut told = Table::new();
    fold(&mut told, rows(&all));
    assert_eq!(told, held(&host));
    assert_eq!(host.gaps().await, Vec::<String>::new());
    host.stop().await;
}

pub(super) async fn what_was_committed_while_it_was_down_comes_once<W: World>() {
    let mut host = Host::<W>::new(&table::<W>()).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until(1).await;
    for (stop, id) in [(true, 2), (false, 3)] {
        if stop {
            host.stop().await;
        } else {
            host.kill().await;
        }
        host.sql(&format!("insert into t values ({id}, 'down')"));
        host.sql("update t set v = v || '!' where id = 1");
        host.start().await;
    }
    host.sql("insert into t values (4, 'last')");
    let all = host.changes_until(4).await;
    assert_eq!(all.iter().map(|change| &*change.key).collect::<Vec<_>>(), ["1", "2", "1", "3", "1", "4"]);
    let mut told = Table::new();
    fold(&mut told, &all);
    assert_eq!((told, host.gaps().await.len()), (held(&host), 0));
    host.stop().await;
}

/// The most memory that this process has held, in bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

pub(super) async fn a_transaction_of_300_000_rows_is_one_though_capture_is_killed_in_it<W: World>() {
    const ROWS: u64 = 300_000;
    let small = JournalSettings { memory: 64 << 10, ..JournalSettings::default() };
    let mut host = Host::with(W::open(), "", &small).await;
    host.sql(&table::<W>());
    host.start().await;
    host.sql("insert into t values (0, 'first')");
    host.changes_until(0).await;
    let before = most_memory();
    let numbers = format!("with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS})");
    host.sql(&format!("insert into t {numbers} select i, '{}' from n", "x".repeat(200)));
    for chunks in 3..6 {
        // Heartbeats move it now and then, chunks again and again.
        let mut at = host.journal.source("s").await.unwrap();
        for _ in 0..chunks {
            let before = at.clone();
            while at == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
                at = host.journal.source("s").await.unwrap();
            }
        }
        host.kill().await;
        host.begin();
    }
    host.sql("insert into t values (999999, 'last')");
    let (mut at, mut last, mut of) = (Position::default(), None, Vec::new());
    let (mut seen, mut most, mut ends) = (0, 0, 0);
    let see = |record: &std::sync::Arc<crate::journal::Record>| {
        let RecordBody::Append(append) = &record.body else { return false };
        if &*append.source != "s" {
            return false;
        }
        assert!(append.position >= at, "a place that falls: {at:?}, then {:?}", append.position);
        (at, most) = (append.position, most.max(append.events.len()));
        for event in &append.events {
            assert!(last < Some(event.position), "{last:?}, then {:?}", event.position);
            last = Some(event.position);
            seen += 1;
            ends += u64::from(event.last_of_transaction);
            if of.last() != Some(&event.transaction) {
                of.push(event.transaction);
            }
        }
        changes(record).any(|change| &*change.key == "999999")
    };
    host.scan(5 * LONG, see).await;
    assert_eq!((seen, ends, of.len()), (ROWS + 2, 3, 3), "one transaction, each row once");
    assert!(most <= 1_000, "a chunk of {most}");
    let grown = (most_memory() - before) >> 20;
    println!("{grown} MiB more for {ROWS} rows");
    assert!(grown < 48, "{grown} MiB");
    assert_eq!(host.gaps().await.len(), 0);
    host.stop().await;
}
