//! What a plugin leaves in one pipeline beside its messages: log lines, metrics, faults, and what it used up.
//! The pipeline keeps one for each of its plugins, over all instances and versions; operators read it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use super::metrics::{self, Metric};
use super::usage::Usage;
use crate::event::Micros;

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Notes(Arc<Inner>);

struct Inner {
    lines: Mutex<Lines>,
    /// The newest line's number, for those who wait.
    newest: watch::Sender<u64>,
    metrics: Mutex<BTreeMap<Box<str>, Metric>>,
    usage: Mutex<Usage>,
}

struct Lines {
    kept: VecDeque<Line>,
    most: usize,
    /// The number of the newest line that gave way.
    lost: u64,
}

/// A line of a plugin's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Rising over all plugins; microseconds since 1970, or one more than the line before.
    pub number: u64,
    /// RFC 3339.
    pub at: String,
    pub level: Level,
    pub version: Box<str>,
    pub by: By,
    pub text: Box<str>,
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Who wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    Plugin,
    /// Faults, and versions that take over.
    Host,
}

impl Default for Notes {
    /// Keeps no lines.
    fn default() -> Self {
        Self::new(0)
    }
}

impl Notes {
    /// Keeps so many of the newest lines.
    pub fn new(lines: usize) -> Self {
        Self(Arc::new(Inner {
            lines: Mutex::new(Lines { kept: VecDeque::new(), most: lines, lost: 0 }),
            newest: watch::Sender::new(0),
            metrics: Mutex::default(),
            usage: Mutex::default(),
        }))
    }

    /// Keeps a line.
    pub fn say(&self, by: By, level: Level, version: &str, text: &str) {
        let mut lines = lock(&self.0.lines);
        if lines.most == 0 {
            return;
        }
        if lines.kept.len() >= lines.most
            && let Some(oldest) = lines.kept.pop_front()
        {
            lines.lost = oldest.number;
        }
        // Under the lock, so that the numbers of the lines kept here rise.
        let number = next_number();
        let at = Micros(number).rfc3339();
        lines.kept.push_back(Line { number, at, level, version: version.into(), by, text: text.into() });
        drop(lines);
        self.0.newest.send_replace(number);
    }

    /// The lines after a number that matter at least so much, oldest first; true: some after it are gone.
    pub fn lines(&self, after: u64, least: Level) -> (Vec<Line>, bool) {
        let lines = lock(&self.0.lines);
        let found = lines.kept.iter().filter(|line| line.number > after && line.level >= least);
        (found.cloned().collect(), lines.lost > after)
    }

    /// Changes with each line.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.newest.subscribe()
    }

    /// What the plugin counted and measured itself, by name.
    pub fn metrics(&self) -> Vec<(Box<str>, Metric)> {
        lock(&self.0.metrics).iter().map(|(name, value)| (name.clone(), *value)).collect()
    }

    /// What it used up.
    pub fn usage(&self) -> Usage {
        lock(&self.0.usage).clone()
    }

    /// Counts a fault, and keeps it as a line. `kind`: the fault's name.
    pub fn fault(&self, kind: &'static str, version: &str, text: &str) {
        *lock(&self.0.usage).faults.entry(kind).or_default() += 1;
        self.say(By::Host, Level::Warn, version, &format!("{kind}: {text}"));
    }

    pub(super) fn merge_metrics(&self, batch: BTreeMap<Box<str>, Metric>) {
        metrics::merge_all(&mut lock(&self.0.metrics), batch);
    }

    pub(super) fn use_up(&self, used: impl FnOnce(&mut Usage)) {
        used(&mut lock(&self.0.usage));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The clock's, but always rising.
fn next_number() -> u64 {
    static NEWEST: AtomicU64 = AtomicU64::new(0);
    let now = Micros::now().0;
    NEWEST
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |newest| Some(now.max(newest + 1)))
        .map_or(now, |before| now.max(before + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_who_reads_on_learns_what_is_gone() {
        let notes = Notes::new(2);
        let texts = |after, least| {
            let (lines, lost) = notes.lines(after, least);
            (lines.iter().map(|line| line.text.to_string()).collect::<Vec<_>>(), lost)
        };
        notes.say(By::Plugin, Level::Debug, "1", "one");
        let first = notes.lines(0, Level::Trace).0[0].number;
        notes.say(By::Host, Level::Warn, "1", "two");
        assert_eq!(texts(0, Level::Trace), (vec!["one".into(), "two".into()], false));
        assert_eq!(texts(0, Level::Info), (vec!["two".into()], false));
        assert_eq!(texts(first, Level::Trace), (vec!["two".into()], false));
        notes.say(By::Plugin, Level::Info, "1", "three");
        assert_eq!(texts(0, Level::Trace), (vec!["two".into(), "three".into()], true));
        assert_eq!(texts(first, Level::Trace), (vec!["two".into(), "three".into()], false), "it had the first");
        assert_eq!(*notes.watch().borrow(), notes.lines(0, Level::Trace).0[1].number);
        Notes::default().say(By::Plugin, Level::Info, "1", "nowhere");
        assert!(Notes::default().lines(0, Level::Trace).0.is_empty());
    }

    #[test]
    fn numbers_rise_over_threads() {
        let threads: Vec<_> =
            (0..4).map(|_| std::thread::spawn(|| (0..1000).map(|_| next_number()).collect::<Vec<_>>())).collect();
        let each: Vec<Vec<u64>> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(each.iter().all(|numbers| numbers.is_sorted()));
        let all: std::collections::BTreeSet<u64> = each.into_iter().flatten().collect();
        assert_eq!(all.len(), 4000);
    }
}
