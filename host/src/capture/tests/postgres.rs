//! Capture with a real journal and a real PostgreSQL of the test's own.

use std::sync::Arc;

use relevo_tests::postgres::{DATABASE, Postgres};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::config::{JournalSettings, SourceSettings};
use crate::event::{Change, Number, Operation};
use crate::journal::{Append, Control, Journal, Record, RecordBody};

use super::super::{Capture, SourceHealth, SourceState};
use super::{LONG, changes};

/// A server's capture and journal, and the database that they watch.
struct Host {
    database: Postgres,
    settings: Vec<SourceSettings>,
    journal: Journal,
    running: Option<(Capture, watch::Sender<bool>)>,
    folder: TempDir,
}

impl Host {
    /// With a source `s` over a database of this schema, running.
    async fn new(schema: &str) -> Self {
        let mut host = Self::over(Postgres::start(), "").await;
        host.sql(schema);
        host.start().await;
        host
    }

    async fn over(database: Postgres, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), &JournalSettings::default(), &[]).await.unwrap();
        let settings = toml::from_str(&format!(
            "name = \"s\"\nurl = \"{}\"\ntick = \"100ms\"\n{settings}",
            database.url(DATABASE)
        ));
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

    /// Ends everything where it stands, as a crash does.
    fn kill(&mut self) {
        self.running = None;
    }

    fn sql(&self, sql: &str) -> String {
        self.database.sql(sql)
    }

    /// Waits until the source's health is so.
    async fn health(&self, so: impl Fn(&SourceHealth) -> bool) -> SourceHealth {
        let mut health = self.running.as_ref().unwrap().0.sources[0].health.clone();
        let waiting = tokio::time::timeout(LONG, health.wait_for(|health| so(health))).await;
        match waiting {
            Ok(health) => health.unwrap().clone(),
            Err(_) => panic!("still {:?}\n{}", self.running.as_ref().unwrap().0.health(), self.database.log_text()),
        }
    }

    async fn failed(&self, with: &str) -> String {
        let is_it = |state: &SourceState| matches!(state, SourceState::Failed { reason } if reason.contains(with));
        match self.health(|health| is_it(&health.state)).await.state {
            SourceState::Failed { reason } => reason.to_string(),
            other => panic!("{other:?}"),
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
        match tokio::time::timeout(LONG, wait).await {
            Ok(records) => records,
            Err(_) => panic!("the record never came; {:?}", self.running.as_ref().map(|(c, _)| c.health())),
        }
    }

    /// All streamed changes, once one of table `t` with this key has come.
    async fn changes_until(&self, key: &str) -> Vec<Change> {
        let records = self.records(|record| changes(record).any(|c| &*c.table == "t" && *c.key == *key)).await;
        records.iter().flat_map(|record| changes(record).cloned().collect::<Vec<_>>()).collect()
    }

    /// Asks for the rows of `t`, and waits for them.
    async fn snapshot(&self, pipeline: &str) -> Vec<Append> {
        let control = Control::SnapshotWanted { pipeline: pipeline.into(), source: "s".into(), tables: vec!["t".into()] };
        let number = self.journal.control(control).await.unwrap();
        let is_of = |append: &Append| append.snapshot.as_ref().is_some_and(|part| part.request == number);
        let is_last = |record: &Record| matches!(&record.body, RecordBody::Append(a) if is_of(a) && a.complete);
        let records = self.records(is_last).await;
        let of = records.iter().filter_map(|record| match &record.body {
            RecordBody::Append(append) if is_of(append) => Some(append.clone()),
            _ => None,
        });
        of.collect()
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

const TABLE: &str = "create table t (id bigint primary key, v text); alter table t replica identity full";

#[tokio::test(flavor = "multi_thread")]
async fn inserts_updates_and_deletes_come_with_both_rows() {
    let host = Host::new(TABLE).await;
    host.sql("insert into t values (1, 'a'), (2, 'b')");
    host.sql("update t set v = 'c' where id = 1; delete from t where id = 2; insert into t values (3, null)");
    let all = host.changes_until("3").await;
    let told: Vec<_> =
        all.iter().map(|c| (c.operation, &*c.key, c.before.as_deref(), c.after.as_deref())).collect();
    assert_eq!(
        told,
        [
            (Operation::Insert, "1", None, Some(r#"{"id":1,"v":"a"}"#)),
            (Operation::Insert, "2", None, Some(r#"{"id":2,"v":"b"}"#)),
            (Operation::Update, "1", Some(r#"{"id":1,"v":"a"}"#), Some(r#"{"id":1,"v":"c"}"#)),
            (Operation::Delete, "2", Some(r#"{"id":2,"v":"b"}"#), None),
            (Operation::Insert, "3", None, Some(r#"{"id":3,"v":null}"#)),
        ]
    );
    assert_eq!(all[2].changed, ["v".into()]);
    assert_eq!((&*all[0].schema, host.gaps().await.len()), ("public", 0));
}
