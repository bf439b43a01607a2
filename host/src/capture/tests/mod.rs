//! Capture with its real journal, its real database, and other processes that write to that.
//!
//! On several threads, always: a test that waits for a process would otherwise keep capture from
//! giving up the lock that this process waits for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::watch;

use crate::config::{JournalSettings, SourceSettings};
use crate::event::{Body, Change, Event, Number};
use crate::journal::{Append, Control, Journal, Record, RecordBody};

use super::{Capture, SourceHealth, SourceState};

mod health;
mod ingest;
mod postgres;
mod restarts;
mod schema;
mod snapshots;
mod speed;
mod streams;

/// Nothing here takes this long; it is what a failing test waits.
const LONG: Duration = Duration::from_secs(30);

/// A process of its own that runs SQL.
fn sqlite3(path: &Path, sql: &str) -> String {
    let run = Command::new("sqlite3").args(["-bail", "-cmd", ".timeout 5000"]).arg(path).arg(sql).output();
    let output = run.unwrap_or_else(|error| {
        panic!("these tests need the `sqlite3` command line ({error}): apt-get install sqlite3, or brew install sqlite")
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What SQLite says to SQL that must fail.
fn refused(path: &Path, sql: &str) -> String {
    let output = Command::new("sqlite3").args(["-bail", "-cmd", ".timeout 5000"]).arg(path).arg(sql).output().unwrap();
    assert!(!output.status.success(), "{sql} should have failed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A process that runs SQL from its input, one statement after the other, meanwhile.
fn sqlite3_meanwhile(path: &Path, sql: &str) -> Child {
    use std::io::Write as _;
    let mut child = Command::new("sqlite3")
        .args(["-bail", "-cmd", ".timeout 20000"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let sql = sql.to_owned();
    std::thread::spawn(move || input.write_all(sql.as_bytes()));
    child
}

/// A server's capture and journal.
struct Host {
    database: PathBuf,
    settings: Vec<SourceSettings>,
    journal: Journal,
    running: Option<(Capture, watch::Sender<bool>)>,
    folder: TempDir,
}

impl Host {
    /// With a source `s` over a database of this schema, running.
    async fn new(schema: &str) -> Self {
        let mut host = Self::stopped("").await;
        sqlite3(&host.database, schema);
        host.start().await;
        host
    }

    /// With more settings of the source, as TOML; without a database.
    async fn stopped(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), &JournalSettings::default(), &[]).await.unwrap();
        let settings = toml::from_str(&format!(
            "name = \"s\"\nurl = \"sqlite:watched.db\"\ntick = \"10ms\"\npoll = \"50ms\"\n{settings}"
        ));
        let database = folder.path().join("watched.db");
        Self { database, settings: vec![settings.unwrap()], journal, running: None, folder }
    }

    fn begin(&mut self) {
        let (stop, stopped) = watch::channel(false);
        let limit = JournalSettings::default().record_bytes;
        let capture = Capture::start(&self.settings, self.folder.path(), &self.journal, limit, &stopped);
        self.running = Some((capture, stop));
    }

    async fn start(&mut self) {
        self.begin();
        self.health(|health| health.state == SourceState::Running).await;
    }

    async fn stop(&mut self) {
        if let Some((capture, stop)) = self.running.take() {
            stop.send_replace(true);
            capture.stop().await;
        }
    }

    /// Ends everything where it stands, as a crash does.
    fn kill(&mut self) {
        self.running = None;
    }

    fn sql(&self, sql: &str) -> String {
        sqlite3(&self.database, sql)
    }

    /// Waits until a query gives this: nobody tells of what capture writes into the database, but the
    /// file does.
    async fn sql_until(&self, sql: &str, expected: &str) {
        let bell = Arc::new(tokio::sync::Notify::new());
        let _wake = super::sqlite::Wake::new(&self.database, &bell);
        let wait = async {
            while self.sql(sql) != expected {
                bell.notified().await;
            }
        };
        tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{sql} gives {}", self.sql(sql)));
    }

    /// Waits until the source's health is so.
    async fn health(&self, so: impl Fn(&SourceHealth) -> bool) -> SourceHealth {
        let mut health = self.running.as_ref().unwrap().0.sources[0].health.clone();
        let waiting = tokio::time::timeout(LONG, health.wait_for(|health| so(health))).await;
        match waiting {
            Ok(health) => health.unwrap().clone(),
            Err(_) => panic!("still {:?}", self.running.as_ref().unwrap().0.health()),
        }
    }

    /// All records, once there is one like this.
    async fn records(&self, like: impl Fn(&Record) -> bool) -> Vec<Arc<Record>> {
        let mut head = self.journal.watch_head();
        let wait = async {
            let (mut records, mut after) = (Vec::<Arc<Record>>::new(), Number::ZERO);
            loop {
                let more = self.journal.read(after, 1 << 20).await.unwrap();
                let found = more.iter().any(|record| like(record));
                after = more.last().map_or(after, |record| record.last);
                let end = more.is_empty();
                records.extend(more);
                if found {
                    return records;
                } else if end {
                    head.changed().await.unwrap();
                }
            }
        };
        tokio::time::timeout(LONG, wait).await.expect("the record never came")
    }

    /// All appends of streamed changes, once the row `t` with this id has come.
    async fn appends_until(&self, id: u64) -> Vec<Append> {
        let key = id.to_string();
        let last = |record: &Record| changes(record).any(|change| &*change.table == "t" && *change.key == *key);
        appends(&self.records(last).await)
    }

    /// All streamed changes, once the row `t` with this id has come.
    async fn changes_until(&self, id: u64) -> Vec<Change> {
        let appends = self.appends_until(id).await;
        appends.iter().flat_map(|append| &append.events).filter_map(|event| change(event).cloned()).collect()
    }

    /// The reasons of all gaps so far.
    async fn gaps(&self) -> Vec<String> {
        let controls = self.journal.controls(Number::ZERO, 10_000).await.unwrap();
        let gaps = controls.into_iter().filter_map(|(_, control)| match control {
            Control::Gap { source, reason } if &*source == "s" => Some(reason.into()),
            _ => None,
        });
        gaps.collect()
    }
}

fn appends(records: &[Arc<Record>]) -> Vec<Append> {
    let appends = records.iter().filter_map(|record| match &record.body {
        RecordBody::Append(append) if append.snapshot.is_none() && &*append.source == "s" => Some(append.clone()),
        _ => None,
    });
    appends.collect()
}

fn change(event: &Event) -> Option<&Change> {
    match &event.body {
        Body::Change(change) => Some(change),
        _ => None,
    }
}

fn changes(record: &Record) -> impl Iterator<Item = &Change> {
    let events = match &record.body {
        RecordBody::Append(append) if append.snapshot.is_none() => append.events.as_slice(),
        _ => &[],
    };
    events.iter().filter_map(|event| change(event))
}

/// The table that changes lead to, from another one; each must fit the row that it meets.
fn fold<'a>(table: &mut BTreeMap<String, String>, changes: impl IntoIterator<Item = &'a Change>) {
    for change in changes {
        let before = table.get(&*change.key).map(String::as_str);
        assert_eq!(before, change.before.as_deref(), "before {change:?}");
        match &change.after {
            Some(after) => table.insert(change.key.to_string(), after.to_string()),
            None => table.remove(&*change.key),
        };
    }
}

/// The table as it is, in the same form.
fn table(path: &Path) -> BTreeMap<String, String> {
    let rows = sqlite3(path, "select id || '=' || json_object('id', id, 'v', v) from t order by id");
    rows.lines().filter_map(|row| row.split_once('=')).map(|(id, row)| (id.to_owned(), row.to_owned())).collect()
}

const TABLE: &str = "create table t(id integer primary key, v)";

/// Inserts the rows `from..=to` of the table in one transaction.
fn insert(from: u64, to: u64) -> String {
    format!(
        "insert into t with recursive n(i) as (select {from} union all select i + 1 from n where i < {to}) select i, 0 from n"
    )
}
