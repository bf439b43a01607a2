//! Pipelines: what they cut and keep, and whole ones against a real journal and real components.

use super::wants::Wants;
use crate::config::Limits;
use crate::event::{Body, Change, Event, Micros, Number, Operation, Position};
use crate::sandbox::Manifest;

mod batches;
mod failures;
mod first;
mod flow;
mod layouts;
mod model;
mod outputs;
mod policies;
mod rebuilds;
mod references;
mod stamps;
mod swaps;
mod trials;
mod waiting;
mod world;

/// A change of a row whose `after` is `{"n":N, …}`; its position and number are `at`.
fn change(at: u64, table: &str, operation: Operation, key: &str, after: &str) -> Event {
    Event {
        number: Number(at),
        source: "bank".into(),
        position: Position { commit: at, index: 0 },
        committed_at: Micros(at * 1000),
        transaction: at,
        last_of_transaction: true,
        late: false,
        body: Body::Change(Change {
            schema: "main".into(),
            table: table.into(),
            operation,
            key: key.into(),
            before: matches!(operation, Operation::Update | Operation::Delete).then(|| "{}".into()),
            after: (!after.is_empty()).then(|| after.into()),
            changed: Vec::new(),
            missing: Vec::new(),
        }),
    }
}

/// What a pipeline wants that counts accounts and looks up people's names.
fn ledger() -> Wants {
    use Operation::{Delete, Insert, Snapshot, Truncate, Update};
    wants(&[("accounts", &[Insert, Update, Delete, Truncate, Snapshot])])
}

/// What a pipeline wants that sees these events, has the rows of those with `Snapshot`, and looks up
/// people's names.
fn wants(events: &[(&str, &[Operation])]) -> Wants {
    wants_changed(events, &[])
}

/// The same, of some tables only updates that change one of the columns.
fn wants_changed(events: &[(&str, &[Operation])], changed: &[(&str, &[&str])]) -> Wants {
    let columns = |columns: &[&str]| columns.iter().map(|column| Box::from(*column)).collect();
    let manifest = Manifest {
        name: "ledger".into(),
        version: "1".into(),
        state_layout: 1,
        on_fault: crate::sandbox::OnFault::Skip,
        events: events.iter().map(|(table, operations)| ((*table).into(), operations.to_vec())).collect(),
        changed: changed.iter().map(|(table, named)| ((*table).into(), columns(named))).collect(),
        ticks: false,
        published: Vec::new(),
        channels: Vec::new(),
        snapshot: true,
        lookup: [("people".into(), vec!["name".into()])].into(),
        capabilities: Vec::new(),
        limits: Limits::default(),
        config: "{}".into(),
    };
    let config = toml::from_str("[[source]]\nname = 'bank'\nurl = 'sqlite:bank.db'").unwrap();
    Wants::new([&manifest].into_iter(), &config).unwrap()
}
