//! Events that hardly occur, and do: each case goes through a plugin that has seen an ordinary day
//! before, and has to go on working after it.

use serde_json::{Value, json};

use super::generate::{self, Clock};
use super::lane::{Lane, Usage};
use super::repeat::short;
use super::report::{self, Check};
use super::rows::{Row, Tables};
use crate::event::{Body, Missing, Name, Operation};
use crate::sandbox::{BatchEvent, Fault, Lookup, Manifest, Plugin};

/// How many ordinary events come before each case.
const BEFORE: usize = 32;
/// A row this large fits into a record of the journal, and into a message.
const HUGE: usize = 200 << 10;

/// A name, and the bodies that are fed one by one.
type Case = (&'static str, Vec<Body>);

/// Makes odd rows of an ordinary one.
type Mutate = fn(&Row) -> Vec<Row>;

/// Runs every case.
pub(super) fn checks(
    plugin: &Plugin,
    lookup: &Lookup,
    day: &[BatchEvent],
    tables: &mut Tables,
    seed: u64,
) -> (Vec<Check>, Usage) {
    let mut checks = vec![empty(plugin, lookup, day), unknown(plugin, lookup, day)];
    let mut usage = Usage::default();
    for (name, bodies) in cases(plugin.manifest(), tables, seed) {
        if bodies.is_empty() {
            continue;
        }
        let (check, used) = run(plugin, lookup, day, name, bodies);
        checks.push(check);
        usage = usage.and(used);
    }
    (checks, usage)
}

fn run(plugin: &Plugin, lookup: &Lookup, day: &[BatchEvent], name: &str, bodies: Vec<Body>) -> (Check, Usage) {
    let before = &day[..day.len().min(BEFORE)];
    let mut lane = Lane::new(plugin, lookup.clone());
    let mut clock = Clock::after(before);
    // What goes wrong on an ordinary day is told elsewhere.
    let _ = lane.run(before);
    lane.refused.clear();
    let count = bodies.len();
    for body in bodies {
        clock.advance(1000);
        if let Body::Tick { up_to } = &body {
            clock.at(*up_to);
        }
        let what = told(&body);
        if let Err(fault) = lane.run(&clock.transaction(vec![body], false)) {
            return (Check::fault(name, &what, &fault), lane.usage);
        }
    }
    let events = report::count(count, "event", "events");
    let found = match lane.refused.as_slice() {
        [] => events,
        [(_, why), ..] => format!("{events}, {} refused: {}", lane.refused.len(), short(why)),
    };
    (Check::ok(name, found), lane.usage)
}

fn told(body: &Body) -> String {
    match body {
        Body::Change(change) => format!("{:?} of {}", change.operation, change.table).to_lowercase(),
        Body::Published(published) => format!("publication to {}", published.channel),
        Body::Tick { .. } => "tick".into(),
    }
}

/// A batch without events: this host makes none.
fn empty(plugin: &Plugin, lookup: &Lookup, day: &[BatchEvent]) -> Check {
    const NAME: &str = "empty batch";
    let mut lane = Lane::new(plugin, lookup.clone());
    let _ = lane.run(&day[..day.len().min(BEFORE)]);
    match lane.once(&[], None) {
        Ok(made) if made.is_empty() => Check::ok(NAME, "nothing came out"),
        Ok(made) => {
            Check::failed(NAME, format!("{} messages of no event", made.len()), "send only where there was an event")
        }
        Err(fault) => Check::fault(NAME, "", &fault),
    }
}

/// Kinds and operations that only a later host knows: a plugin passes them over.
fn unknown(plugin: &Plugin, lookup: &Lookup, day: &[BatchEvent]) -> Check {
    const NAME: &str = "unknown kinds and operations";
    let batch = &day[..day.len().min(4)];
    for disguise in [(0, 5), (0, 255), (3, 0), (255, 255)] {
        if let Err(fault) = Lane::new(plugin, lookup.clone()).once(batch, Some(disguise)) {
            if matches!(fault, Fault::Undeclared(_)) {
                return Check::fault(NAME, "", &fault);
            }
            let found = format!("kind {} with operation {}: {}", disguise.0, disguise.1, short(&fault.to_string()));
            return Check::failed(NAME, found, "pass over what you don't know: `_ => return Ok(())`");
        }
    }
    Check::ok(NAME, "passed over")
}

fn cases(manifest: &Manifest, tables: &mut Tables, seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sets: Vec<(Name, Vec<Operation>, Row)> = Vec::new();
    for (table, operations) in &manifest.events {
        sets.push((table.clone(), operations.clone(), tables.of(table).row(9_000_001, &mut random)));
    }
    // Each row mutation, for all tables and wanted operations.
    let rows: [(&'static str, Mutate); 8] = [
        ("rows without fields", |_| vec![Row::new()]),
        ("rows that lack a field", |row| without_each(row)),
        ("rows of nulls", |row| vec![every(row, &Value::Null)]),
        ("values of other types", other_types),
        ("odd numbers", odd_numbers),
        ("texts full of escapes", odd_texts),
        ("deeply nested JSON", nested),
        ("huge rows", huge),
    ];
    for (name, mutate) in rows {
        let mut bodies = Vec::new();
        for (table, operations, row) in &sets {
            for mutated in mutate(row) {
                bodies.extend(operations.iter().filter_map(|operation| with(table, *operation, row, mutated.clone())));
            }
        }
        cases.push((name, bodies));
    }
    cases.push(("columns that were left out", each(&sets, left_out)));
    cases.push((
        "rows that are absent",
        each(&sets, |table, operation, _| vec![generate::change(table, operation, None, None)]),
    ));
    cases.push(("odd keys", each(&sets, odd_keys)));
    cases.push(("rows that come twice, or go unseen", each(&sets, twice)));
    let truncates = sets.iter().filter(|(_, operations, _)| operations.contains(&Operation::Truncate));
    let truncate =
        |(table, _, _): &(Name, Vec<Operation>, Row)| generate::change(table, Operation::Truncate, None, None);
    cases.push(("emptied tables, twice", truncates.clone().chain(truncates).map(truncate).collect()));
    cases.push(("odd publications", publications(manifest)));
    cases.push(("ticks, also far ahead", if manifest.ticks { ticks() } else { vec![] }));
    cases
}

fn each(sets: &[(Name, Vec<Operation>, Row)], make: impl Fn(&Name, Operation, &Row) -> Vec<Body>) -> Vec<Body> {
    let all = sets.iter().flat_map(|(table, operations, row)| operations.iter().map(move |o| (table, *o, row)));
    all.flat_map(|(table, operation, row)| make(table, operation, row)).collect()
}

/// The mutated row where this operation has one; an update comes from the ordinary row.
fn with(table: &Name, operation: Operation, row: &Row, mutated: Row) -> Option<Body> {
    let (before, after) = match operation {
        Operation::Insert | Operation::Snapshot => (None, Some(mutated)),
        Operation::Update => (Some(row.clone()), Some(mutated)),
        Operation::Delete => (Some(mutated), None),
        Operation::Truncate => return None,
    };
    Some(generate::change(table, operation, before.map(Value::Object), after.map(Value::Object)))
}

fn every(row: &Row, value: &Value) -> Row {
    row.keys().map(|name| (name.clone(), value.clone())).collect()
}

/// A key is text, too, and as long as that is rare.
fn all_but_id(row: &Row, value: &Value) -> Row {
    let other = |(name, old): (&String, &Value)| (name.clone(), if name == "id" { old } else { value }.clone());
    row.iter().map(other).collect()
}

fn without_each(row: &Row) -> Vec<Row> {
    let without =
        |name: &String| row.iter().filter(|(other, _)| *other != name).map(|(n, v)| (n.clone(), v.clone())).collect();
    row.keys().map(without).collect()
}

fn other_types(row: &Row) -> Vec<Row> {
    [json!({ "a": [1] }), json!([null, {}]), json!("texto"), json!(true), json!(-1.5)]
        .iter()
        .map(|v| every(row, v))
        .collect()
}

fn odd_numbers(row: &Row) -> Vec<Row> {
    let numbers =
        [json!(0), json!(-0.0), json!(i64::MIN), json!(u64::MAX), json!(1e308), json!("9007199254740993"), json!("-1")];
    numbers.iter().map(|v| every(row, v)).collect()
}

fn odd_texts(row: &Row) -> Vec<Row> {
    let texts = [
        json!(""),
        json!("\u{0}\u{1}\u{1f}\u{7f}"),
        json!("\\\"\\\\\"\\u0041\\ud800{}[]:,"),
        json!("ÿþ\u{feff}\u{fffd}\u{fffe}\u{10ffff}\u{2028}\u{202e}e\u{301}🚀"),
        json!("\r\n\t".repeat(50)),
        json!("'; drop table x; --"),
        json!("{\"a\":\"{\\\"b\\\":[1,\"}"),
        json!("9999-99-99T99:99:99Z"),
        json!("NaN"),
    ];
    texts.iter().map(|v| every(row, v)).collect()
}

fn nested(row: &Row) -> Vec<Row> {
    let lists = format!("{}{}", "[".repeat(2_000), "]".repeat(2_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(2_000), "}".repeat(2_000));
    // Texts that hold JSON, as SQLite has it, and values that are JSON, as PostgreSQL has it: as deep as serde_json
    // reads, and far deeper.
    let real = |levels| {
        (0..levels).fold(json!(1), |inner, level| if level % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) })
    };
    [json!(lists), json!(objects), real(100), real(500)].iter().map(|value| all_but_id(row, value)).collect()
}

/// One large column at a time, and one row of very many columns.
fn huge(row: &Row) -> Vec<Row> {
    let large = |name: &String| {
        let mut row = row.clone();
        row.insert(name.clone(), json!("á\"".repeat(HUGE / 4)));
        row
    };
    let mut rows: Vec<Row> = row.keys().filter(|name| *name != "id").take(4).map(large).collect();
    let mut wide: Row = (0..5_000).map(|n| (format!("column_{n}"), json!(n))).collect();
    wide.append(&mut row.clone());
    rows.push(wide);
    rows
}

fn left_out(table: &Name, operation: Operation, row: &Row) -> Vec<Body> {
    let without = |(name, row): (&String, Row)| {
        let Body::Change(mut change) = with(table, operation, &row.clone(), row)? else { return None };
        change.missing = vec![Missing { column: name.as_str().into(), bytes: 9_000_000 }];
        Some(Body::Change(change))
    };
    row.keys().zip(without_each(row)).filter_map(without).collect()
}

fn odd_keys(table: &Name, operation: Operation, row: &Row) -> Vec<Body> {
    let keys = ["", "[7,\"a\\\"b\"]", "a b/c\n\"d\"", "ñ🚀", "../../etc/passwd", &"k".repeat(500)];
    let keyed = |key: &&str| {
        let Body::Change(mut change) = with(table, operation, row, row.clone())? else { return None };
        change.key = (*key).into();
        Some(Body::Change(change))
    };
    keys.iter().filter_map(keyed).collect()
}

fn twice(table: &Name, operation: Operation, row: &Row) -> Vec<Body> {
    let once = with(table, operation, row, row.clone());
    once.clone().into_iter().chain(once).collect()
}

fn publications(manifest: &Manifest) -> Vec<Body> {
    let data = [json!(null), json!(7), json!("text"), json!([]), json!({}), json!({ "a": "x".repeat(HUGE) })];
    let channels = manifest.published.iter().map(|pattern| pattern.as_str().replace('*', "odd"));
    let one = |channel: String| {
        let events = data.iter().map(move |data| generate::publication(&channel, "", data));
        events.collect::<Vec<_>>()
    };
    channels.flat_map(one).collect()
}

/// Watermarks that stand still and that leap; none goes back.
fn ticks() -> Vec<Body> {
    let hour = 3_600_000_000;
    let from = generate::BEGINNING.0 + 30 * 24 * hour;
    let steps = [0, 0, 1, 60_000_000, hour, 24 * hour, 365 * 24 * hour, 20 * 365 * 24 * hour];
    steps.iter().map(|step| Body::Tick { up_to: crate::event::Micros(from + step) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_case_makes_a_row_larger_than_a_record_holds() {
        let row = Row::from_iter([("id".to_owned(), json!(1)), ("a".to_owned(), json!("b"))]);
        for row in [huge(&row), nested(&row), odd_texts(&row)].concat() {
            assert!(Value::Object(row).to_string().len() < 400 << 10);
        }
    }

    #[test]
    fn ticks_never_go_back() {
        let times: Vec<u64> = ticks().iter().map(|t| if let Body::Tick { up_to } = t { up_to.0 } else { 0 }).collect();
        assert!(times.is_sorted());
    }

    #[test]
    fn nested_rows_hold_json_as_text_and_as_values() {
        let row: Row = [("id".to_owned(), json!(1)), ("extra".to_owned(), json!("x"))].into_iter().collect();
        let depth = |value: &Value| {
            let (mut depth, mut inner) = (0, value);
            while let Some(next) = inner.get(0).or(inner.get("a")) {
                (depth, inner) = (depth + 1, next);
            }
            depth
        };
        let depths: Vec<usize> = nested(&row).iter().map(|row| depth(&row["extra"])).collect();
        assert_eq!(depths, [0, 0, 100, 500]);
        assert!(nested(&row).iter().all(|row| row["id"] == 1));
    }
}
