//! Makes an event small enough for a record. Capture calls it before it appends.

use crate::config::JournalSettings;
use crate::event::{Body, Event, Missing};

/// The room that an event's other parts may take beside its rows, in bytes.
const FRAME: usize = 16 << 10;

// A record has room for a row beside the frames of its event and of itself.
const _: () = assert!(JournalSettings::LEAST_RECORD_BYTES as usize >= 2 * (FRAME + super::codec::FRAME));

/// Takes the largest columns out of a change's `before` and `after` until it fits a record of
/// `record_bytes`, and names them, with the sizes of their JSON, in `missing`. Key columns have no
/// privilege here: the key itself is kept in `key`.
///
/// Returns false if it still doesn't fit (a huge key, or a publication, of which nothing may be left
/// out): the journal refuses such an event with `TooLarge`.
pub fn fit(event: &mut Event, record_bytes: u64) -> bool {
    let limit = usize::try_from(record_bytes).unwrap_or(usize::MAX).saturating_sub(FRAME);
    if event.weight() <= limit {
        return true;
    }
    let Body::Change(change) = &mut event.body else { return false };
    let parse = |row: &Option<Box<str>>| -> Row {
        row.as_deref().and_then(|r| serde_json::from_str(r).ok()).unwrap_or_default()
    };
    let (mut before, mut after) = (parse(&change.before), parse(&change.after));
    let mut sizes = std::collections::BTreeMap::<String, usize>::new();
    for (column, value) in before.iter().chain(after.iter()) {
        let size = sizes.entry(column.clone()).or_default();
        *size = (*size).max(value.get().len());
    }
    let mut largest: Vec<(String, usize)> = sizes.into_iter().collect();
    largest.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let frame = change.key.len() + change.changed.iter().map(|n| n.len()).sum::<usize>();
    for (column, bytes) in largest {
        if frame + room(&before) + room(&after) <= limit {
            break;
        }
        before.remove(&column);
        after.remove(&column);
        change.missing.push(Missing { column: column.into(), bytes: bytes as u64 });
    }
    let write = |row: &Row| serde_json::to_string(row).unwrap_or_else(|_| "{}".into()).into_boxed_str();
    change.before = change.before.is_some().then(|| write(&before));
    change.after = change.after.is_some().then(|| write(&after));
    event.weight() <= limit
}

/// A row whose values are kept as they were written: numbers keep their digits.
type Row = std::collections::BTreeMap<String, Box<serde_json::value::RawValue>>;

/// The room that a row takes as JSON, escapes of names left aside.
fn room(row: &Row) -> usize {
    2 + row.iter().map(|(column, value)| column.len() + value.get().len() + 4).sum::<usize>()
}
