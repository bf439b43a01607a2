//! A process that writes is killed again and again; what it was told is there, once, in order.

use std::io::{BufRead as _, Write as _};

use super::*;

const FOLDER: &str = "RELEVO_TEST_JOURNAL";

fn small() -> JournalSettings {
    // Checkpoints, and reads from disk, all the time.
    settings(|s| {
        s.wal_bytes = 256 << 10;
        s.memory = 8 << 10;
    })
}

fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").unwrap();
    out.flush().unwrap();
}

/// Appends rising positions, some of them in chunks.
async fn capture(journal: Journal) {
    let mut last = journal.source("gad").await.unwrap().map_or(0, |s| s.position.commit);
    loop {
        if last % 3 == 0 {
            journal.append(chunk(last + 1..=last + 2)).await.unwrap();
            last += 2;
        }
        journal.append(append(last + 1..=last + 2)).await.unwrap();
        last += 2;
        tell(&format!("event {last}"));
    }
}

/// Makes one message of each event, and counts them.
async fn pipeline(journal: Journal) {
    let mut known = journal.pipeline("p").await.unwrap();
    let mut count: u64 = known.iter().find_map(|k| k.state.get("plugin")?.get("count")).map_or(0, |c| number(c));
    let mut head = journal.watch_head();
    loop {
        let cursor = known.as_ref().map(|k| k.cursor);
        let records = journal.read(cursor.unwrap_or_default(), 4096).await.unwrap();
        let Some(last) = records.last().map(|r| r.last) else {
            head.changed().await.unwrap();
            continue;
        };
        let mut messages = Vec::new();
        for record in &records {
            let RecordBody::Append(append) = &record.body else { continue };
            let after = append.events.iter().filter(|e| e.number > cursor.unwrap_or_default());
            messages.extend(after.map(|e| message("tasks", &e.position.commit.to_string())));
        }
        count += messages.len() as u64;
        let mut commit = commit(cursor.map(|c| c.0), last.0, messages);
        if !commit.messages.is_empty() {
            commit.state = vec![set("count", &count.to_le_bytes())];
        }
        journal.commit(commit).await.unwrap();
        if count.is_multiple_of(5) {
            journal.control(Control::Checkpoint { pipeline: "p".into(), reason: "".into() }).await.unwrap();
        }
        known = Some(PipelineState { cursor: last, ..PipelineState::default() });
        tell(&format!("count {count}"));
    }
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that the other test kills"]
async fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let journal = Journal::open(Path::new(&folder), &small(), &[]).await.unwrap();
    tokio::join!(capture(journal.clone()), pipeline(journal));
}

/// Runs the writer until it has told so many lines; the highest event and count it told.
fn run_and_kill(folder: &Path, lines: usize) -> (u64, u64) {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "journal::tests::kills::writes_until_it_is_killed", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (mut events, mut count, mut left) = (0, 0, lines);
    let out = std::io::BufReader::new(child.stdout.take().unwrap());
    for line in out.lines() {
        let line = line.unwrap();
        let told = |what: &str| line.strip_prefix(what).and_then(|n| n.trim().parse::<u64>().ok());
        events = events.max(told("event ").unwrap_or_default());
        count = count.max(told("count ").unwrap_or_default());
        // What it told before it died is read to the end.
        left = left.saturating_sub(1);
        if left == 0 {
            let _ = child.kill();
        }
    }
    child.wait().unwrap();
    (events, count)
}

#[test]
fn what_a_killed_process_was_told_is_there_once_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (mut events, mut count) = (0, 0);
    for round in 0..12_usize {
        let (told_events, told_count) = run_and_kill(folder.path(), 40 + 97 * round % 211);
        events = events.max(told_events);
        count = count.max(told_count);
        check(folder.path(), events, count);
    }
    assert!(events > 500 && count > 500, "{events} events, {count} counted: too little was tried");
}

#[tokio::main(flavor = "current_thread")]
async fn check(folder: &Path, events: u64, count: u64) {
    let journal = Journal::open(folder, &small(), &[]).await.unwrap();
    let known = journal.pipeline("p").await.unwrap().unwrap_or_default();
    let mut numbers = Vec::new();
    let (mut found, mut said, mut behind, mut next) = (Vec::new(), Vec::new(), 0, 1);
    for record in all(&journal).await {
        assert_eq!(record.first.0, next, "numbers have no holes");
        next = record.last.0 + 1;
        match &record.body {
            RecordBody::Append(append) => {
                behind += append.events.iter().filter(|e| e.number <= known.cursor).count();
                numbers.extend(append.events.iter().map(|e| e.number));
                found.extend(append.events.iter().map(|e| e.position.commit));
            }
            RecordBody::Commit(commit) => said.extend(commit.messages.iter().map(|m| m.data.parse::<u64>().unwrap())),
            RecordBody::Control(_) => {}
        }
    }
    assert_eq!(next, journal.head().0 + 1);
    let rising = |list: &[u64]| list.iter().copied().eq(1..=list.len() as u64);
    assert!(rising(&found) && found.len() as u64 >= events, "{} events, told {events}", found.len());
    assert!(rising(&said) && said.len() as u64 >= count, "{} messages, told {count}", said.len());
    assert_eq!(said.len(), behind, "a message for each event up to the cursor");
    let checkpoints = journal.checkpoints("p").await.unwrap();
    assert!(checkpoints.len() >= 2, "of many");
    for info in checkpoints {
        let kept = journal.checkpoint(info.number).await.unwrap().unwrap();
        assert!(kept.cursor == info.cursor && kept.cursor <= known.cursor);
        let counted = number(&kept.state["plugin"]["count"]);
        let behind = numbers.iter().filter(|n| **n <= kept.cursor).count() as u64;
        assert_eq!(counted, behind, "the state is that of its cursor");
    }
    let counted = known.state.get("plugin").and_then(|s| s.get("count")).map_or(0, |c| number(c));
    assert_eq!(counted, said.len() as u64, "state and messages are of one commit");
    // Every other process finds a clean stop.
    if events.is_multiple_of(4) {
        journal.close().await;
    }
}
