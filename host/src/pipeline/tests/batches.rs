//! Where batches are cut.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::batch::{Batch, Next, Size, View, cut};
use super::super::meta::Contained;
use super::super::wants::Wants;
use super::super::worker::Asked;
use super::{change, ledger, wants, wants_changed};
use crate::event::{Body, Event, Missing, Name, Number, Operation, Position};
use crate::journal::{Append, Control, Record, RecordBody, SnapshotPart};

fn record(events: Vec<Event>) -> Arc<Record> {
    append(events, None)
}

fn append(events: Vec<Event>, snapshot: Option<SnapshotPart>) -> Arc<Record> {
    let (first, last) = (events[0].number, events[events.len() - 1].number);
    let body = RecordBody::Append(Append {
        source: "bank".into(),
        incarnation: "i1".into(),
        position: events[events.len() - 1].position,
        token: "".into(),
        events: events.into_iter().map(Arc::new).collect(),
        complete: true,
        snapshot,
    });
    Arc::new(Record { first, last, bytes: 100, body })
}

fn control(at: u64, control: Control) -> Arc<Record> {
    Arc::new(Record { first: Number(at), last: Number(at), bytes: 10, body: RecordBody::Control(control) })
}

/// Account `at` gets the number `at`.
fn account(at: u64) -> Event {
    change(at, "accounts", Operation::Insert, &at.to_string(), &format!("{{\"n\":{at}}}"))
}

fn person(at: u64) -> Event {
    change(at, "people", Operation::Insert, &at.to_string(), "{\"name\":\"Ana\"}")
}

/// An event that nobody wants.
fn other(at: u64) -> Event {
    change(at, "other", Operation::Insert, "1", "{}")
}

/// All of them are one transaction.
fn together(mut events: Vec<Event>) -> Vec<Event> {
    let last = events.len() - 1;
    for (at, event) in events.iter_mut().enumerate() {
        event.last_of_transaction = at == last;
    }
    events
}

struct Cutting {
    wants: Wants,
    contained: BTreeMap<Name, Contained>,
    awaited: Option<Asked>,
    events: usize,
}

impl Cutting {
    fn of(events: usize) -> Self {
        Self { wants: ledger(), contained: BTreeMap::new(), awaited: None, events }
    }

    fn next(&self, records: &[Arc<Record>], at: u64, more: bool) -> Next {
        let view = View {
            pipeline: "ledger",
            wants: &self.wants,
            contained: &self.contained,
            awaited: self.awaited.as_ref(),
            until: Number(u64::MAX),
            replayed_as: None,
        };
        let size = Size { events: self.events, bytes: 1 << 20 };
        cut(records.iter().filter(|record| record.last.0 > at), Number(at), size, &view, more)
    }

    /// All that there is to do, as text: `references|items→through`.
    fn all(&self, records: &[Arc<Record>]) -> String {
        let (mut at, mut text) = (0, Vec::new());
        loop {
            match self.next(records, at, false) {
                Next::Batch(batch) => {
                    assert!(batch.through.0 > at, "it moves");
                    at = batch.through.0;
                    text.push(shown(&batch));
                }
                Next::Control(record) | Next::Snapshot(record) => {
                    at = record.last.0;
                    text.push(format!("stop {at}"));
                }
                Next::Nothing => return text.join("  "),
            }
        }
    }
}

fn shown(batch: &Batch) -> String {
    let list = |numbers: Vec<String>| numbers.join(",");
    let references = list(batch.references.iter().map(|event| event.number.to_string()).collect());
    let items = list(batch.items.iter().map(|item| item.event.number.to_string()).collect());
    format!("{references}|{items}→{}", batch.through)
}

#[test]
fn a_batch_ends_where_a_transaction_ends() {
    let records = [
        record(together(vec![account(1), account(2)])),
        record(together(vec![account(3), account(4), account(5)])),
        record(vec![account(6)]),
    ];
    assert_eq!(Cutting::of(4).all(&records), "|1,2→2  |3,4,5,6→6");
    assert_eq!(Cutting::of(5).all(&records), "|1,2,3,4,5→5  |6→6");
    assert_eq!(Cutting::of(9).all(&records), "|1,2,3,4,5,6→6");
}

#[test]
fn a_transaction_that_is_too_large_is_cut_where_the_batch_is_full() {
    let records = [record(vec![other(1)]), record(together((2..=8).map(account).collect()))];
    assert_eq!(Cutting::of(3).all(&records), "|2,3,4→4  |5,6,7→7  |8→8");
}

#[test]
fn a_transaction_that_is_not_wholly_read_waits_for_its_rest() {
    let records = [record(vec![account(1)]), record(together(vec![account(2), account(3)]))];
    let half = record(vec![Event { last_of_transaction: false, ..account(2) }]);
    let Next::Batch(batch) = Cutting::of(9).next(&[records[0].clone(), half], 0, true) else { panic!() };
    assert_eq!(shown(&batch), "|1→1");
}

#[test]
fn an_event_that_is_larger_than_a_batch_goes_alone() {
    let mut cutting = Cutting::of(9);
    cutting.events = 9;
    let large = |at: u64| change(at, "accounts", Operation::Insert, "1", &format!("\"{}\"", "x".repeat(2 << 20)));
    assert_eq!(cutting.all(&[record(vec![account(1), large(2), large(3), account(4)])]), "|1→1  |2→2  |3→3  |4→4");
}

#[test]
fn a_batch_never_spans_a_change_of_a_reference_table() {
    let records = [record(vec![account(1), account(2), person(3), person(4), account(5), person(6), other(7)])];
    assert_eq!(Cutting::of(9).all(&records), "|1,2→2  3,4|5→5  6|→7");
}

#[test]
fn a_reference_table_whose_events_are_wanted_too_begins_the_batch_with_each() {
    let mut cutting = Cutting::of(9);
    cutting.wants.kept.lookup.insert("accounts".into(), ["n".into()].into());
    assert_eq!(cutting.all(&[record(vec![account(1), account(2), person(3)])]), "1|1→1  2|2→2  3|→3");
}

#[test]
fn an_update_of_other_columns_is_no_change_of_a_reference_table() {
    let update = |at: u64, column: &str| {
        let mut event = change(at, "people", Operation::Update, "1", "{\"name\":\"Ana\"}");
        let Body::Change(change) = &mut event.body else { panic!() };
        change.changed = vec![column.into()];
        event
    };
    let records = [record(vec![account(1), update(2, "whereabouts"), account(3), update(4, "name"), account(5)])];
    assert_eq!(Cutting::of(9).all(&records), "|1,3→3  4|5→5");
}

#[test]
fn what_nobody_wants_moves_the_cursor_alone() {
    assert_eq!(Cutting::of(9).all(&[record(vec![other(1), other(2)]), record(vec![other(3)])]), "|→3");
}

#[test]
fn what_the_snapshot_told_is_passed_over() {
    let mut cutting = Cutting::of(9);
    let told = Contained {
        incarnation: "i1".into(),
        position: Position { commit: 2, index: 0 },
        tables: ["accounts".into(), "people".into()].into(),
        through: Number::ZERO,
        before: Number::ZERO,
    };
    cutting.contained.insert("bank".into(), told.clone());
    let records = [record(vec![account(1), person(2), account(3)])];
    assert_eq!(cutting.all(&records), "|3→3");
    cutting.contained.insert("bank".into(), Contained { incarnation: "i0".into(), ..told });
    assert_eq!(cutting.all(&records), "|1→1  2|3→3", "positions of another incarnation mean nothing");
}

#[test]
fn only_the_snapshot_that_was_asked_for_ends_a_batch() {
    let part = |pipeline: &str, request: u64| SnapshotPart {
        pipeline: pipeline.into(),
        request: Number(request),
        contains: Position::default(),
    };
    let records = [
        append(vec![account(1)], Some(part("other", 7))),
        append(vec![account(2)], Some(part("ledger", 6))),
        record(vec![account(3)]),
        append(vec![account(4)], Some(part("ledger", 7))),
    ];
    let mut cutting = Cutting::of(9);
    assert_eq!(cutting.all(&records), "|3→4", "rows for others are not events");
    cutting.awaited = Some(Asked { number: Number(7), source: "bank".into(), tables: Vec::new() });
    assert_eq!(cutting.all(&records), "|3→3  stop 4");
}

#[test]
fn a_change_that_the_rows_contain_is_still_an_event_to_a_plugin_that_gets_no_rows_of_its_table() {
    use Operation::{Insert, Snapshot};
    let mut cutting = Cutting::of(9);
    cutting.wants = wants(&[("accounts", &[Insert, Snapshot]), ("people", &[Insert])]);
    let tables = cutting.wants.kept.tables();
    let position = Position { commit: 5, index: 0 };
    let (through, before) = (Number(5), Number(5));
    let told = Contained { incarnation: "i1".into(), position, tables, through, before };
    cutting.contained.insert("bank".into(), told);
    let records = [record(vec![account(1)]), record(vec![person(2)]), record(vec![person(6)])];
    assert_eq!(cutting.all(&records), "|2→2  6|6→6", "its row is looked up as the snapshot has it");
    assert!(cutting.wants.more_than_rows());
    assert!(!ledger().more_than_rows());
}

#[test]
fn controls_that_concern_it_end_a_batch() {
    let gap = |source: &str| Control::Gap { source: source.into(), reason: "".into() };
    let table_gap = |table: &str| {
        let tables = vec!["elsewhere".into(), table.into()];
        Control::TableGap { source: "bank".into(), tables, reason: "".into() }
    };
    let rebuild = |pipeline: &str| Control::RebuildWanted { pipeline: pipeline.into() };
    let records = [
        record(vec![account(1)]),
        control(2, gap("elsewhere")),
        control(3, rebuild("other")),
        record(vec![account(4)]),
        control(5, gap("bank")),
        control(6, rebuild("ledger")),
        control(7, Control::PipelineGap { pipeline: "ledger".into() }),
        control(8, table_gap("other")),
        control(9, table_gap("accounts")),
    ];
    assert_eq!(Cutting::of(9).all(&records), "|1,4→4  stop 5  stop 6  stop 7  stop 9");
    // A version that waits keeps what this one doesn't.
    let mut cutting = Cutting::of(9);
    cutting.awaited = Some(Asked { number: Number(1), source: "bank".into(), tables: vec!["other".into()] });
    assert_eq!(cutting.all(&records), "|1,4→4  stop 5  stop 6  stop 7  stop 8  stop 9");
    cutting.wants.source = None;
    assert_eq!(cutting.all(&records[7..]), "stop 8  |→9", "this one keeps no rows at all");
}

/// Many random streams: nothing is lost, doubled or out of order, whatever the size.
#[test]
fn any_cutting_has_every_event_once_and_in_order() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    for _ in 0..300 {
        let (mut records, mut at) = (Vec::new(), 0);
        for _ in 0..next(12) + 1 {
            let mut events = Vec::new();
            for _ in 0..next(9) + 1 {
                at += 1;
                let mut event = match next(4) {
                    0 => person(at),
                    1 => other(at),
                    _ => account(at),
                };
                event.last_of_transaction = next(3) > 0;
                events.push(event);
            }
            records.push(record(events));
        }
        let cutting = Cutting::of(next(7) as usize + 1);
        let (mut seen, mut done) = (Vec::new(), 0);
        while let Next::Batch(batch) = cutting.next(&records, done, false) {
            let references: Vec<u64> = batch.references.iter().map(|event| event.number.0).collect();
            let items: Vec<u64> = batch.items.iter().map(|item| item.event.number.0).collect();
            assert!(references.len() + items.len() <= cutting.events);
            let end = items.first().copied().unwrap_or(u64::MAX);
            assert!(references.iter().all(|reference| *reference < end), "references come first");
            seen.extend(references);
            seen.extend(items);
            assert!(seen.last().is_none_or(|last| *last <= batch.through.0));
            done = batch.through.0;
        }
        let events = records.iter().flat_map(|record| match &record.body {
            RecordBody::Append(append) => append.events.clone(),
            _ => Vec::new(),
        });
        let wanted: Vec<u64> = events
            .filter(|event| !matches!(&event.body, Body::Change(change) if &*change.table == "other"))
            .map(|event| event.number.0)
            .collect();
        assert_eq!((seen, done), (wanted, at));
    }
}

#[test]
fn updates_that_change_no_named_column_are_not_wanted() {
    use Operation::{Delete, Insert, Update};
    let wants = wants_changed(
        &[("accounts", &[Insert, Update, Delete]), ("cards", &[Update])],
        &[("accounts", &["balance", "owner"])],
    );
    let wanted = |table: &str, operation: Operation, changed: &[&str], known: bool| {
        let mut event = change(1, table, operation, "1", r#"{"balance":1,"owner":2,"note":"n"}"#);
        if let Body::Change(change) = &mut event.body {
            change.changed = changed.iter().map(|column| Name::from(*column)).collect();
            change.before = change.before.take().filter(|_| known);
        }
        wants.mask(&event) == 1
    };
    assert!(wanted("accounts", Update, &["note", "owner"], true));
    assert!(!wanted("accounts", Update, &["note"], true));
    assert!(!wanted("accounts", Update, &[], true));
    assert!(wanted("accounts", Update, &[], false), "nobody knows what changed");
    assert!(wanted("accounts", Insert, &[], false) && wanted("accounts", Delete, &[], true));
    assert!(wanted("cards", Update, &["note"], true), "the other table's columns");
}

#[test]
fn updates_are_wanted_whose_row_lacks_a_column_that_the_plugin_names() {
    let wants = wants_changed(&[("accounts", &[Operation::Update])], &[("accounts", &["balance", "owner"])]);
    let wanted = |row: &str, left_out: Option<&str>| {
        let mut event = change(1, "accounts", Operation::Update, "1", row);
        if let Body::Change(change) = &mut event.body {
            change.changed = vec!["note".into()];
            change.missing =
                left_out.map(|column| Missing { column: column.into(), bytes: 1 << 20 }).into_iter().collect();
        }
        wants.mask(&event) == 1
    };
    assert!(!wanted(r#"{"balance":1,"owner":2,"note":"n"}"#, None));
    assert!(wanted(r#"{"balance":1,"note":"n"}"#, None), "nobody knows whether it changed");
    assert!(wanted(r#"{"note":{"balance":1,"owner":2}}"#, None), "another thing of that name");
    assert!(!wanted(r#"{"balance":1,"note":"n"}"#, Some("owner")), "too large, and known not to have changed");
}
