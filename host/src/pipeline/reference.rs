//! Reference tables: rows that plugins may look up, kept by the host from the events themselves, so
//! that they are as they were at the batch's place in the journal. They live in the pipeline's state
//! under the owner `@TABLE`, cut to the columns that are asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::failure::Stop;
use super::wants::Wants;
use crate::event::{Change, Event, Name, Operation};
use crate::journal::{PipelineState, StateChange};
use crate::sandbox::{self, Lookup};

fn owner(table: &str) -> Name {
    format!("@{table}").into()
}

/// Takes the tables that are kept out of a stored state. Tables that are no longer asked for are
/// left there.
pub(super) fn take(stored: &mut PipelineState, wants: &Wants) -> Lookup {
    let mut tables = BTreeMap::new();
    for table in wants.kept.lookup.keys() {
        let rows = stored.state.remove(&owner(table)).unwrap_or_default();
        let text = |row: &[u8]| Arc::from(String::from_utf8_lossy(row));
        tables.insert(table.clone(), rows.into_iter().map(|(key, row)| (key, text(&row))).collect());
    }
    Lookup::new(tables).of_columns(&wants.kept.lookup)
}

/// Applies the event to its table, and gives what changed in the state.
pub(super) fn apply(event: &Event, wants: &Wants, lookup: &mut Lookup) -> Vec<StateChange> {
    let Some(change) = wants.reference(event) else { return Vec::new() };
    let table = &change.table;
    match change.operation {
        Operation::Truncate => {
            let keys: Vec<Box<str>> = lookup.rows(table).map(|(key, _)| key.into()).collect();
            lookup.truncate(table);
            let owner = owner(table);
            keys.into_iter().map(|key| StateChange { owner: owner.clone(), key, value: None }).collect()
        }
        Operation::Delete => {
            lookup.remove(table, &change.key);
            vec![StateChange { owner: owner(table), key: change.key.clone(), value: None }]
        }
        Operation::Insert | Operation::Update | Operation::Snapshot => {
            let row: Arc<str> = cut(change, wants).into();
            if lookup.row(table, &change.key) == Some(&row) {
                return Vec::new();
            }
            lookup.set(table, &change.key, row.clone());
            let value = Some(Arc::from(row.as_bytes()));
            vec![StateChange { owner: owner(table), key: change.key.clone(), value }]
        }
    }
}

/// Reference tables may not grow without bound; a pipeline that needs more room stands still and keeps
/// its place.
pub(super) fn bounded(lookup: &Lookup, limit: u64) -> Result<(), Stop> {
    let bytes = lookup.bytes();
    if bytes <= limit {
        return Ok(());
    }
    let reason = format!(
        "its reference tables take {bytes} bytes, allowed: {limit}; raise plugins.lookup_bytes, or ask for fewer columns under [lookup]"
    );
    Err(Stop::Broken { plugin: None, reason })
}

fn cut(change: &Change, wants: &Wants) -> String {
    let columns: Vec<Box<str>> = wants.kept.lookup.get(&change.table).into_iter().flatten().cloned().collect();
    let row = change.after.as_deref().unwrap_or("{}");
    sandbox::cut(row, &columns).unwrap_or_else(|_| {
        // Capture writes JSON and nothing else does; an empty row harms less than a stop. The row itself, even
        // its key or what of it can't be read, doesn't belong in a log.
        tracing::error!(table = %change.table, "a row is no JSON object");
        "{}".into()
    })
}

/// All rows as changes of an empty state: the end of a rebuild.
pub(super) fn all(wants: &Wants, lookup: &Lookup) -> Vec<StateChange> {
    let mut changes = Vec::new();
    for table in wants.kept.lookup.keys() {
        let owner = owner(table);
        changes.extend(lookup.rows(table).map(|(key, row)| StateChange {
            owner: owner.clone(),
            key: key.into(),
            value: Some(Arc::from(row.as_bytes())),
        }));
    }
    changes
}
