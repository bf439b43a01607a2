//! State: what a plugin remembers between batches. The pipeline commits it with the messages.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};

use super::bindings::state as wit;
use super::error::Fault;
use super::host::Host;

/// What an entry costs beside its key and value, so that a million empty ones aren't free.
const ENTRY_OVERHEAD: u64 = 64;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wit::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)
}

impl wit::Host for Host {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.state()?.get(&key).map(|value| value.to_vec()))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<()> {
        self.state()?.set(&key, value.into()).map_err(wasmtime::Error::new)
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<()> {
        self.state()?.delete(&key);
        Ok(())
    }

    fn add(&mut self, key: String, by: i64) -> wasmtime::Result<i64> {
        self.state()?.add(&key, by).map_err(wasmtime::Error::new)
    }

    fn scan(&mut self, prefix: String, after: Option<String>, limit: u32) -> wasmtime::Result<Vec<(String, Vec<u8>)>> {
        let entries = self.state()?.scan(&prefix, after.as_deref(), limit as usize);
        Ok(entries.map(|(key, value)| (key.to_owned(), value.to_vec())).collect())
    }
}

impl Host {
    /// An instance that read state in `init` would keep what another instance changes later.
    fn state(&mut self) -> wasmtime::Result<&mut State> {
        let in_init = || Fault::BadOutput("state used in init; it is there for batches only".into());
        self.state.as_mut().ok_or_else(|| wasmtime::Error::new(in_init()))
    }
}

/// One plugin's state: what is committed, and over it what the running batch changed.
///
/// Its size in bytes counts keys, values and 64 for each entry.
#[derive(Debug, Default)]
pub struct State {
    committed: BTreeMap<Box<str>, Arc<[u8]>>,
    /// None deletes.
    changes: BTreeMap<Box<str>, Option<Arc<[u8]>>>,
    committed_bytes: u64,
    /// With the changes.
    bytes: u64,
    limit: u64,
}

impl State {
    /// The longest key, in bytes.
    pub const MAX_KEY: usize = 1024;
    /// The largest value, in bytes: it has to fit into one record of the journal.
    pub const MAX_VALUE: usize = 256 << 10;

    /// The state as it was committed. `limit`: what it may grow to, in bytes.
    pub fn new(entries: BTreeMap<Box<str>, Arc<[u8]>>, limit: u64) -> Self {
        let bytes = entries.iter().map(|(key, value)| weight(key, value)).sum();
        Self { committed: entries, changes: BTreeMap::new(), committed_bytes: bytes, bytes, limit }
    }

    /// What the running batch changed, in the order of keys; `None` was deleted.
    pub fn changes(&self) -> impl Iterator<Item = (&str, Option<&Arc<[u8]>>)> {
        self.changes.iter().map(|(key, value)| (key.as_ref(), value.as_ref()))
    }

    /// All entries as the running batch sees them, in the order of keys.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Arc<[u8]>)> {
        self.merged("", None)
    }

    /// Makes the changes part of what is committed.
    pub fn keep(&mut self) {
        for (key, value) in std::mem::take(&mut self.changes) {
            match value {
                Some(value) => {
                    self.committed.insert(key, value);
                }
                None => {
                    self.committed.remove(&key);
                }
            }
        }
        self.committed_bytes = self.bytes;
    }

    /// Forgets the changes.
    pub fn discard(&mut self) {
        self.changes.clear();
        self.bytes = self.committed_bytes;
    }

    /// Its size in bytes, with the changes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An entry as the running batch sees it.
    pub fn get(&self, key: &str) -> Option<&Arc<[u8]>> {
        match self.changes.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.committed.get(key),
        }
    }

    /// Sets an entry.
    ///
    /// # Errors
    /// [`Fault::State`] if the key, the value or the whole state would be too large; nothing is
    /// changed then.
    pub fn set(&mut self, key: &str, value: Arc<[u8]>) -> Result<(), Fault> {
        within("the longest key", key.len() as u64, Self::MAX_KEY as u64)?;
        within("the largest value", value.len() as u64, Self::MAX_VALUE as u64)?;
        let before = self.get(key).map_or(0, |old| weight(key, old));
        let bytes = self.bytes - before + weight(key, &value);
        within("limits.state_bytes", bytes, self.limit)?;
        self.bytes = bytes;
        self.changes.insert(key.into(), Some(value));
        Ok(())
    }

    /// Deletes an entry, if it is there.
    pub fn delete(&mut self, key: &str) {
        let Some(old) = self.get(key) else { return };
        self.bytes -= weight(key, old);
        if self.committed.contains_key(key) {
            self.changes.insert(key.into(), None);
        } else {
            self.changes.remove(key);
        }
    }

    /// Adds to an integer, which is kept as decimal text, and returns the sum. Absent is 0; the sum
    /// saturates.
    ///
    /// # Errors
    /// [`Fault::BadOutput`] if the entry is no integer, [`Fault::State`] as for [`State::set`].
    pub fn add(&mut self, key: &str, by: i64) -> Result<i64, Fault> {
        let now = match self.get(key) {
            None => 0,
            Some(value) => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.parse::<i64>().ok())
                .ok_or_else(|| Fault::BadOutput(format!("state.add to {key:?}, which is no integer")))?,
        };
        let sum = now.saturating_add(by);
        self.set(key, sum.to_string().into_bytes().into())?;
        Ok(sum)
    }

    /// At most `limit` entries whose key begins with `prefix` and comes after `after`.
    pub fn scan<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> impl Iterator<Item = (&'a str, &'a Arc<[u8]>)> {
        self.merged(prefix, after).take(limit)
    }

    /// Walks committed entries and changes side by side, in the order of keys.
    fn merged<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> impl Iterator<Item = (&'a str, &'a Arc<[u8]>)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut committed = self.committed.range::<str, _>((from, Bound::Unbounded)).peekable();
        let mut changes = self.changes.range::<str, _>((from, Bound::Unbounded)).peekable();
        std::iter::from_fn(move || {
            loop {
                let changed_comes_first = match (committed.peek(), changes.peek()) {
                    (None, None) => return None,
                    (Some(_), None) => false,
                    (None, Some(_)) => true,
                    (Some((old, _)), Some((new, _))) => {
                        if old == new {
                            committed.next();
                            true
                        } else {
                            new < old
                        }
                    }
                };
                if !changed_comes_first {
                    return committed.next().map(|(key, value)| (key.as_ref(), value));
                }
                if let Some((key, Some(value))) = changes.next() {
                    return Some((key.as_ref(), value));
                }
            }
        })
        .take_while(move |(key, _)| key.starts_with(prefix))
    }
}

fn weight(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len()) as u64 + ENTRY_OVERHEAD
}

fn within(setting: &'static str, bytes: u64, limit: u64) -> Result<(), Fault> {
    if bytes > limit { Err(Fault::State { setting, bytes, limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(entries: &[(&str, &str)]) -> State {
        let entries = entries.iter().map(|(k, v)| (Box::from(*k), Arc::from(v.as_bytes()))).collect();
        State::new(entries, 10_000)
    }

    fn seen(state: &State, prefix: &str, after: Option<&str>, limit: usize) -> String {
        let entries = state.scan(prefix, after, limit);
        entries.map(|(k, v)| format!("{k}={} ", String::from_utf8_lossy(v))).collect::<String>().trim_end().into()
    }

    fn set(state: &mut State, key: &str, value: &str) {
        state.set(key, Arc::from(value.as_bytes())).unwrap();
    }

    #[test]
    fn a_scan_sees_changes_over_what_is_committed() {
        let mut state = state(&[("a:1", "x"), ("a:2", "x"), ("a:4", "x"), ("b:1", "x")]);
        set(&mut state, "a:2", "new");
        set(&mut state, "a:3", "new");
        set(&mut state, "a:0", "new");
        state.delete("a:4");
        assert_eq!(seen(&state, "a:", None, 10), "a:0=new a:1=x a:2=new a:3=new");
        assert_eq!(seen(&state, "a:", Some("a:1"), 1), "a:2=new");
        assert_eq!(seen(&state, "a:", Some("b"), 9), "");
        assert_eq!(seen(&state, "b", Some("a:1"), 9), "b:1=x", "`after` may stand before the prefix");
        assert_eq!(seen(&state, "", None, 0), "");
    }

    #[test]
    fn discarded_changes_leave_no_trace_and_kept_ones_stay() {
        let mut state = state(&[("a", "1"), ("b", "2")]);
        let before = state.bytes();
        set(&mut state, "a", "longer");
        state.delete("b");
        set(&mut state, "c", "3");
        state.discard();
        assert_eq!((seen(&state, "", None, 9).as_str(), state.bytes()), ("a=1 b=2", before));

        set(&mut state, "a", "longer");
        state.delete("b");
        state.keep();
        state.discard();
        assert_eq!(seen(&state, "", None, 9), "a=longer");
        assert_eq!(state.bytes(), 7 + ENTRY_OVERHEAD);
        assert_eq!(state.changes().count(), 0);
    }

    #[test]
    fn deleting_what_the_batch_itself_made_is_no_change() {
        let mut state = state(&[("a", "1")]);
        set(&mut state, "new", "1");
        state.delete("new");
        state.delete("never");
        assert_eq!(state.changes().count(), 0);
        state.delete("a");
        assert_eq!(state.changes().collect::<Vec<_>>(), vec![("a", None)]);
        assert_eq!(state.bytes(), 0);
    }

    #[test]
    fn a_state_that_would_be_too_large_is_refused_and_unchanged() {
        let mut state = State::new(BTreeMap::new(), 200);
        set(&mut state, "a", "1");
        let fault = state.set("b", Arc::from(vec![0; 135])).unwrap_err();
        assert_eq!(fault, Fault::State { setting: "limits.state_bytes", bytes: 66 + 200, limit: 200 });
        assert_eq!(seen(&state, "", None, 9), "a=1");
        // The same entry may be replaced by one of the same size.
        state.set("a", Arc::from(vec![0; 135])).unwrap();
        state.set("a", Arc::from(vec![1; 135])).unwrap();
        assert!(state.set(&"k".repeat(State::MAX_KEY + 1), Arc::from(vec![])).is_err());
    }

    #[test]
    fn adding_saturates_and_keeps_decimal_text() {
        let mut state = state(&[("n", "-5"), ("text", "abc")]);
        assert_eq!(state.add("n", 7), Ok(2));
        assert_eq!(state.get("n").unwrap().as_ref(), b"2");
        assert_eq!(state.add("absent", i64::MAX), Ok(i64::MAX));
        assert_eq!(state.add("absent", 1), Ok(i64::MAX));
        assert_eq!(state.add("text", 1).unwrap_err().name(), "bad_output");
    }
}
