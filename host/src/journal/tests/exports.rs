//! What the journal holds, as lines of JSON.

use serde_json::{Value, json};

use super::*;
use crate::journal::export::{Kind, Wanted, export};

async fn lines(folder: &Path, wanted: Wanted) -> Vec<Value> {
    let mut lines = Vec::new();
    let take = |line: &str| {
        lines.push(serde_json::from_str(line).unwrap());
        true
    };
    let exported = export(folder, &wanted, take).await.unwrap().unwrap();
    assert_eq!(exported.lines, lines.len() as u64);
    lines
}

fn numbers(lines: &[Value], kind: &str) -> Vec<u64> {
    lines.iter().filter(|line| line["kind"] == kind).map(|line| line["number"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn every_kind_of_record_is_told_in_order_while_the_journal_is_open() {
    let folder = tempfile::tempdir().unwrap();
    assert!(export(folder.path(), &Wanted::default(), |_| true).await.unwrap().is_none(), "there is none");
    let journal = super::checks::lively(folder.path()).await;
    let all = lines(folder.path(), Wanted::default()).await;
    assert_eq!(numbers(&all, "event"), [1, 2, 3, 6, 7, 8, 9, 10, 22]);
    assert_eq!(numbers(&all, "append"), [1, 6, 9, 22]);
    assert_eq!(numbers(&all, "control"), [11, 16, 17]);
    let all_numbers: Vec<_> = all.iter().map(|line| line["number"].as_u64().unwrap()).collect();
    assert!(all_numbers.is_sorted());
    let event = all.iter().find(|line| line["kind"] == "event").unwrap();
    assert_eq!((&event["after"], &event["operation"]), (&json!({"t": "x"}), &json!("insert")), "{event}");
    let letter = all.iter().find(|line| line["control"] == "dead_letter").unwrap();
    assert_eq!((&letter["event"]["number"], &letter["reason"]), (&json!(2), &json!("why")), "{letter}");
    let gap = all.iter().find(|line| line["control"] == "gap").unwrap();
    assert_eq!((&gap["source"], &gap["reason"]), (&json!("gad"), &json!("restored")), "{gap}");
    let commit = all.iter().find(|line| line["kind"] == "commit").unwrap();
    let entry = json!({"owner": "plugin", "key": "count", "bytes": 1});
    assert_eq!((&commit["state"][0], &commit["cursor"]), (&entry, &json!(3)), "{commit}");
    journal.close().await;
    assert_eq!(lines(folder.path(), Wanted::default()).await, all, "the same when it is closed");

    let wanted = Wanted { from: Some(Number(2)), to: Some(Number(7)), ..Wanted::default() };
    assert_eq!(numbers(&lines(folder.path(), wanted).await, "event"), [2, 3, 6, 7]);
    let wanted = Wanted { channel: Some(channels(&["tasks"]).remove(0)), ..Wanted::default() };
    let tasks = lines(folder.path(), wanted).await;
    assert!(tasks.len() == 3 && tasks.iter().all(|line| line["channel"] == "tasks"), "{tasks:?}");
    let wanted = Wanted { kinds: vec![Kind::Control, Kind::Append], ..Wanted::default() };
    assert_eq!(lines(folder.path(), wanted).await.len(), 7);
}

#[tokio::test]
async fn a_line_is_one_line_whatever_stands_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let data = "{\n\t\"a\" :\r\n\"b\\n\"}";
    journal.commit(commit(None, 0, vec![message("tasks", data)])).await.unwrap();
    journal.close().await;
    let mut told = String::new();
    let take = |line: &str| {
        told = line.to_owned();
        true
    };
    export(folder.path(), &Wanted { kinds: vec![Kind::Message], ..Wanted::default() }, take).await.unwrap().unwrap();
    assert!(told.contains("{ \t\"a\" :  \"b\\n\"}") && told.lines().count() == 1, "{told:?}");
}

#[tokio::test]
async fn numbers_keep_their_digits_and_what_is_no_json_stays_a_text() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).await;
    let data = r#"{"sum":1.10,"large":12345678901234567890123}"#;
    journal.commit(commit(None, 0, vec![message("tasks", data), message("tasks", "{broken")])).await.unwrap();
    let mut raw = Vec::new();
    let take = |line: &str| {
        raw.push(line.to_owned());
        raw.len() < 3
    };
    export(folder.path(), &Wanted::default(), take).await.unwrap();
    assert!(raw[1].contains(data), "{}", raw[1]);
    assert!(raw[2].contains(r#""data":"{broken""#), "{}", raw[2]);
}

#[tokio::test]
async fn a_record_that_can_not_be_read_is_a_line() {
    let folder = tempfile::tempdir().unwrap();
    super::checks::lively(folder.path()).await.close().await;
    super::damage::change(folder.path(), "UPDATE record SET body = x'0201020304ff' WHERE first = 1").await;
    let all = lines(folder.path(), Wanted::default()).await;
    assert_eq!((all[0]["kind"].as_str(), &all[0]["last"]), (Some("damaged"), &json!(3)), "{}", all[0]);
    assert!(all[0]["why"].as_str().unwrap().contains("checksum") && numbers(&all, "event")[0] == 6);
}

#[tokio::test]
async fn a_record_that_says_it_ends_before_it_begins_is_exported_once() {
    let folder = tempfile::tempdir().unwrap();
    super::checks::lively(folder.path()).await.close().await;
    let whole = lines(folder.path(), Wanted::default()).await.len();
    let newest = "UPDATE record SET last = -1 WHERE first = (SELECT max(first) FROM record)";
    super::damage::change(folder.path(), newest).await;
    let mut left = 2 * whole;
    let take = |_: &str| {
        left -= 1;
        left > 0
    };
    let exported = export(folder.path(), &Wanted::default(), take).await.unwrap().unwrap();
    assert!((whole as u64 - 2..=whole as u64).contains(&exported.lines), "{exported:?} of {whole}");
}
