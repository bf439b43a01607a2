//! Reference tables as the events make them.

use super::super::reference::{all, apply, take};
use super::{change, ledger};
use crate::event::{Body, Operation};
use crate::journal::{PipelineState, StateChange};
use crate::sandbox::Lookup;

fn names(lookup: &Lookup) -> String {
    lookup.rows("people").map(|(key, row)| format!("{key}={row} ")).collect::<String>().trim_end().into()
}

#[test]
fn rows_come_change_and_go_cut_to_the_columns_asked_for() {
    let (wants, mut lookup, mut stored) = (ledger(), Lookup::default(), PipelineState::default());
    let row = |name: &str| format!("{{\"id\":1,\"name\":\"{name}\",\"secret\":true}}");
    let mut step = |operation: Operation, key: &str, after: &str| {
        let mut event = change(1, "people", operation, key, after);
        if let (Operation::Update, Body::Change(change)) = (operation, &mut event.body) {
            change.changed = vec!["name".into()];
        }
        let changes = apply(&event, &wants, &mut lookup);
        let count = changes.len();
        for StateChange { owner, key, value } in changes {
            let rows = stored.state.entry(owner).or_default();
            match value {
                Some(value) => drop(rows.insert(key, value)),
                None => drop(rows.remove(&key)),
            }
        }
        // What is stored is what is known.
        assert_eq!(names(&take(&mut stored.clone(), &wants)), names(&lookup));
        (count, names(&lookup))
    };
    let ana = r#"1={"name":"Ana"}"#;
    assert_eq!(step(Operation::Snapshot, "1", &row("Ana")), (1, ana.into()));
    assert_eq!(step(Operation::Insert, "2", &row("Bea")), (1, format!(r#"{ana} 2={{"name":"Bea"}}"#)));
    assert_eq!(step(Operation::Update, "2", &row("Bea")).0, 0, "the same again is no change");
    assert_eq!(step(Operation::Update, "2", &row("Eva")), (1, format!(r#"{ana} 2={{"name":"Eva"}}"#)));
    assert_eq!(step(Operation::Delete, "2", ""), (1, ana.into()));
    assert_eq!(step(Operation::Insert, "3", &row("Sol")).0, 1);
    assert_eq!(step(Operation::Truncate, "", ""), (2, String::new()));
}

#[test]
fn tables_and_sources_that_nobody_looks_up_are_not_kept() {
    let (wants, mut lookup) = (ledger(), Lookup::default());
    let mut elsewhere = change(1, "people", Operation::Insert, "1", "{\"name\":\"Ana\"}");
    elsewhere.source = "elsewhere".into();
    assert!(apply(&elsewhere, &wants, &mut lookup).is_empty());
    assert!(apply(&change(1, "accounts", Operation::Insert, "1", "{}"), &wants, &mut lookup).is_empty());
    assert!(all(&wants, &lookup).is_empty());
}
