//! A server's capture and journal over a real database, and what a test wants to know of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;

use crate::config::{JournalSettings, SourceSettings};
use crate::event::{Body, Change, Event, Number};
use crate::journal::{Append, Control, Journal, Record, RecordBody};

use super::super::{Capture, SourceHealth, SourceState};
use super::LONG;
use super::world::World;

/// With one source, `s`.
pub(super) struct Host<W> {
    pub database: W,
    pub settings: Vec<SourceSettings>,
    pub journal: Journal,
    pub running: Option<(Capture, watch::Sender<bool>)>,
    pub folder: TempDir,
}

impl<W: World> Host<W> {
    /// Over a database of this schema, running.
    pub(super) async fn new(schema: &str) -> Self {
        let mut host = Self::over(W::open(), "").await;
        host.sql(schema);
        host.start().await;
        host
    }

    /// With more settings of the source, as TOML; not running.
    pub(super) async fn over(database: W, settings: &str) -> Self {
        Self::with(database, settings, &JournalSettings::default()).await
    }

    pub(super) async fn with(database: W, settings: &str, journal: &JournalSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), journal, &[]).await.unwrap();
        let settings = toml::from_str(&format!("name = \"s\"\n{}\n{settings}", database.settings())).unwrap();
        Self { database, settings: vec![settings], journal, running: None, folder }
    }

    pub(super) fn begin(&mut self) {
        let (stop, stopped) = watch::channel(false);
        let limit = JournalSettings::default().record_bytes;
        let capture = Capture::start(&self.settings, self.folder.path(), &self.journal, limit, &stopped);
        self.running = Some((capture, stop));
    }

    pub(super) async fn start(&mut self) {
        self.begin();
        self.health(|health| health.state == SourceState::Running).await;
    }

    pub(super) async fn stop(&mut self) {
        if let Some((capture, stop)) = self.running.take() {
            stop.send_replace(true);
            capture.stop().await;
        }
    }

    /// Ends everything where it stands, as a crash does. Returns when nothing of it runs any more on another
    /// thread: it could still hand something to the journal, behind the next process's back.
    pub(super) async fn kill(&mut self) {
        if let Some((mut capture, _)) = self.running.take() {
            capture.tasks.shutdown().await;
        }
    }

    /// The same, and waits until the database knows it.
    pub(super) async fn end(&mut self) {
        self.kill().await;
        while !self.database.is_left_alone() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn sql(&self, sql: &str) -> String {
        self.database.sql(sql)
    }

    /// Waits until the source's health is so.
    pub(super) async fn health(&self, so: impl Fn(&SourceHealth) -> bool) -> SourceHealth {
        let mut health = self.running.as_ref().unwrap().0.sources[0].health.clone();
        let waiting = tokio::time::timeout(LONG, health.wait_for(|health| so(health))).await;
        match waiting {
            Ok(health) => health.unwrap().clone(),
            Err(_) => panic!("still {:?}\n{}", self.running.as_ref().unwrap().0.health(), self.database.log_text()),
        }
    }

    /// Waits until the source says that this stands in its way, and gives all that it says.
    pub(super) async fn failed(&self, with: &str) -> String {
        self.says(with, |state| matches!(state, SourceState::Failed { .. })).await
    }

    /// Waits until the source, which runs, says that this is missing, and gives all that it says.
    pub(super) async fn lacks(&self, with: &str) -> String {
        self.says(with, |state| matches!(state, SourceState::Incomplete { .. })).await
    }

    async fn says(&self, with: &str, like: impl Fn(&SourceState) -> bool) -> String {
        let reason = |state: &SourceState| match state {
            SourceState::Failed { reason } | SourceState::Incomplete { reason } => Some(Arc::clone(reason)),
            SourceState::Starting | SourceState::Running => None,
        };
        let is_it = |state: &SourceState| like(state) && reason(state).is_some_and(|reason| reason.contains(with));
        match self.health(|health| is_it(&health.state)).await.state {
            SourceState::Failed { reason } | SourceState::Incomplete { reason } => reason.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// Shows the journal's records one after the other, those to come too, until `seen` is true.
    pub(super) async fn scan(&self, patience: Duration, mut seen: impl FnMut(&Arc<Record>) -> bool) {
        let mut head = self.journal.watch_head();
        let wait = async {
            let mut after = Number::ZERO;
            loop {
                let more = self.journal.read(after, 1 << 20).await.unwrap();
                after = more.last().map_or(after, |record| record.last);
                if more.iter().fold(false, |found, record| seen(record) | found) {
                    return;
                } else if more.is_empty() {
                    head.changed().await.unwrap();
                }
            }
        };
        if tokio::time::timeout(patience, wait).await.is_err() {
            panic!("the record never came; {:?}", self.running.as_ref().map(|(capture, _)| capture.health()));
        }
    }

    /// All records, once there is one like this.
    pub(super) async fn records(&self, like: impl Fn(&Record) -> bool) -> Vec<Arc<Record>> {
        let mut records = Vec::new();
        self.scan(LONG, |record| {
            records.push(Arc::clone(record));
            like(record)
        })
        .await;
        records
    }

    /// All appends of streamed changes, once one of table `t` with this key has come.
    pub(super) async fn appends_until(&self, key: impl ToString) -> Vec<Append> {
        let key = key.to_string();
        let last = |record: &Record| changes(record).any(|change| &*change.table == "t" && *change.key == *key);
        appends(&self.records(last).await)
    }

    /// All streamed changes, once one of table `t` with this key has come.
    pub(super) async fn changes_until(&self, key: impl ToString) -> Vec<Change> {
        let appends = self.appends_until(key).await;
        appends.iter().flat_map(|append| &append.events).filter_map(|event| change(event).cloned()).collect()
    }

    /// Asks for the rows of tables.
    pub(super) async fn ask(&self, pipeline: &str, tables: &[&str]) -> Number {
        let tables = tables.iter().map(|&table| table.into()).collect();
        let wanted = Control::SnapshotWanted { pipeline: pipeline.into(), source: "s".into(), tables };
        self.journal.control(wanted).await.unwrap()
    }

    /// The appends that answer a request, once they are complete: those of one that was cut, too.
    pub(super) async fn answer(&self, request: Number) -> Vec<Append> {
        let mut answer = Vec::new();
        self.scan(LONG, |record| {
            let RecordBody::Append(append) = &record.body else { return false };
            let Some(part) = &append.snapshot else { return false };
            // Those of one snapshot follow each other.
            if answer.last().is_some_and(|last: &Append| last.complete) {
                answer.clear();
            }
            answer.push(append.clone());
            append.complete && part.request == request
        })
        .await;
        answer
    }

    /// Asks for the rows of `t`, and waits for them.
    pub(super) async fn snapshot(&self, pipeline: &str) -> Vec<Append> {
        let request = self.ask(pipeline, &["t"]).await;
        self.answer(request).await
    }

    /// The reasons of all gaps so far.
    pub(super) async fn gaps(&self) -> Vec<String> {
        let controls = self.journal.controls(Number::ZERO, 10_000).await.unwrap();
        let gaps = controls.into_iter().filter_map(|(_, control)| match control {
            Control::Gap { source, reason } | Control::TableGap { source, reason, .. } if &*source == "s" => {
                Some(reason.into())
            }
            _ => None,
        });
        gaps.collect()
    }
}

pub(super) fn appends(records: &[Arc<Record>]) -> Vec<Append> {
    let appends = records.iter().filter_map(|record| match &record.body {
        RecordBody::Append(append) if append.snapshot.is_none() && &*append.source == "s" => Some(append.clone()),
        _ => None,
    });
    appends.collect()
}

pub(super) fn change(event: &Event) -> Option<&Change> {
    match &event.body {
        Body::Change(change) => Some(change),
        _ => None,
    }
}

/// The streamed changes of a record.
pub(super) fn changes(record: &Record) -> impl Iterator<Item = &Change> {
    let events = match &record.body {
        RecordBody::Append(append) if append.snapshot.is_none() => append.events.as_slice(),
        _ => &[],
    };
    events.iter().filter_map(|event| change(event))
}

pub(super) fn events(appends: &[Append]) -> Vec<Event> {
    appends.iter().flat_map(|append| append.events.iter().map(|event| Event::clone(event))).collect()
}

pub(super) fn rows<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<&'a Change> {
    events.into_iter().filter_map(change).collect()
}

/// A table's rows, as events write them, by key.
pub(super) type Table = BTreeMap<String, String>;

/// The table that changes lead to, from another one; each must fit the row that it meets.
pub(super) fn fold<'a>(table: &mut Table, changes: impl IntoIterator<Item = &'a Change>) {
    for change in changes {
        let before = table.get(&*change.key).map(String::as_str);
        assert_eq!(before, change.before.as_deref(), "before {change:?}");
        match &change.after {
            Some(after) => table.insert(change.key.to_string(), after.to_string()),
            None => table.remove(&*change.key),
        };
    }
}
