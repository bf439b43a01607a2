//! The host's functions in memory, for plugins under test. Each thread has its own world; a
//! [`TestHost`](super::TestHost) puts its world there for the time of a call.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test's host may panic")]

use std::cell::RefCell;
use std::collections::BTreeMap;

/// What a plugin can reach.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) state: BTreeMap<String, Vec<u8>>,
    pub(crate) rows: BTreeMap<(String, String), String>,
    pub(crate) log: Vec<(crate::Level, String)>,
    pub(crate) counters: BTreeMap<String, u64>,
    pub(crate) gauges: BTreeMap<String, f64>,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// Exchanges this thread's world.
pub(crate) fn swap(world: &mut World) {
    WORLD.with_borrow_mut(|here| std::mem::swap(here, world));
}

pub(crate) mod state {
    use super::WORLD;

    pub(crate) fn get(key: &str) -> Option<Vec<u8>> {
        WORLD.with_borrow(|world| world.state.get(key).cloned())
    }

    pub(crate) fn set(key: &str, value: &[u8]) {
        WORLD.with_borrow_mut(|world| world.state.insert(key.to_owned(), value.to_owned()));
    }

    pub(crate) fn delete(key: &str) {
        WORLD.with_borrow_mut(|world| world.state.remove(key));
    }

    /// # Panics
    /// If the key holds something that is no integer; the real host traps.
    pub(crate) fn add(key: &str, by: i64) -> i64 {
        let now = get(key).map_or(0, |value| {
            std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok()).expect("state::add to no integer")
        });
        let sum = i64::saturating_add(now, by);
        set(key, sum.to_string().as_bytes());
        sum
    }

    pub(crate) fn scan(prefix: &str, after: Option<&str>, limit: u32) -> Vec<(String, Vec<u8>)> {
        let from = after.map_or(prefix, |after| after.max(prefix)).to_owned();
        WORLD.with_borrow(|world| {
            let entries = world.state.range(from..).skip_while(|(key, _)| Some(key.as_str()) == after);
            let found = entries.take_while(|(key, _)| key.starts_with(prefix)).take(limit as usize);
            found.map(|(key, value)| (key.clone(), value.clone())).collect()
        })
    }
}

pub(crate) mod lookup {
    pub(crate) fn row(table: &str, key: &str) -> Option<String> {
        super::WORLD.with_borrow(|world| world.rows.get(&(table.to_owned(), key.to_owned())).cloned())
    }
}

pub(crate) mod log {
    pub(crate) use crate::Level;

    pub(crate) fn emit(level: Level, text: &str) {
        super::WORLD.with_borrow_mut(|world| world.log.push((level, text.to_owned())));
    }
}

pub(crate) mod metrics {
    pub(crate) fn add(name: &str, by: u64) {
        super::WORLD.with_borrow_mut(|world| *world.counters.entry(name.to_owned()).or_default() += by);
    }

    pub(crate) fn set(name: &str, value: f64) {
        super::WORLD.with_borrow_mut(|world| world.gauges.insert(name.to_owned(), value));
    }
}
