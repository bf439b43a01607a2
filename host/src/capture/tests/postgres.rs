//! Capture with a real journal and a real PostgreSQL of the test's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use relevo_tests::postgres::{DATABASE, Postgres, Stop};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::config::{JournalSettings, SourceSettings};
use crate::event::{Body, Change, Event, Number, Operation, Position};
use crate::journal::{Append, Control, Journal, Record, RecordBody};

use super::super::{Capture, SourceHealth, SourceState};
use super::{LONG, appends, changes, fold};

mod forms;
mod refusals;
mod resets;
mod silence;

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

    /// Ends everything where it stands, as a crash does. Returns when nothing of it runs any more on another
    /// thread: it could still hand something to the journal, behind the next process's back.
    async fn kill(&mut self) {
        if let Some((mut capture, _)) = self.running.take() {
            capture.tasks.shutdown().await;
        }
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
        let control =
            Control::SnapshotWanted { pipeline: pipeline.into(), source: "s".into(), tables: vec!["t".into()] };
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

    /// Ends everything, and waits until the server knows it.
    async fn end(&mut self) {
        self.kill().await;
        while self.sql("select count(*) from pg_replication_slots where active") != "0" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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
    let told: Vec<_> = all.iter().map(|c| (c.operation, &*c.key, c.before.as_deref(), c.after.as_deref())).collect();
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

/// What the table holds, in the form of events.
fn table(host: &Host) -> BTreeMap<String, String> {
    let rows = host.sql("select id || '=' || '{\"id\":' || id || ',\"v\":' || coalesce('\"' || v || '\"', 'null') || '}' from t order by id");
    rows.lines().filter_map(|row| row.split_once('=')).map(|(id, row)| (id.to_owned(), row.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_is_told_without_loss_and_alike_in_the_stream_and_in_a_snapshot() {
    let schema = "
        create type mood as enum ('calm', 'so \"so\"');
        create domain posint as int check (value > 0);
        create type pair as (a int, b text);
        create table t (id bigint primary key, big bigint, num numeric, num2 numeric, f4 real, f8 double precision,
          f8b double precision, yes boolean, day date, at timestamptz, local timestamp, clock time, span interval,
          u uuid, j json, jb jsonb, b bytea, m mood, p posint, ints int[], texts text[], moods mood[], ps posint[],
          c char(5), vc varchar(9), net inet, r int4range, pr pair, nothing text, bits bit(3),
          far timestamptz, g int generated always as (1) stored);
        alter table t replica identity full;";
    let host = Host::new(schema).await;
    let insert = "insert into t values (9007199254740993, -9223372036854775808, 12345678901234567890.12, 1.50, 0.1,
          'NaN', '-Infinity', true, '2026-11-25', '2026-11-25 01:02:03.456789-03', '2026-11-25 01:02:03', '01:02:03',
          '1 day 02:00', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\": [1, 2]}', '{\"b\":1e2}', '\\x00ff', 'so \"so\"', 7,
          '{1,null,3}', array['a', 'b,\"c\"', null], '{calm,\"so \\\"so\\\"\"}', '{5,6}', 'ab', 'ñ', '10.0.0.1', '[1,5)',
          row(1, 'x'), null, '101', 'infinity')";
    host.sql(insert);
    let key = "9007199254740993";
    let after = host.changes_until(key).await[0].after.clone().unwrap();
    let expected = concat!(
        r#"{"id":"9007199254740993","big":"-9223372036854775808","num":"12345678901234567890.12","num2":1.50,"f4":0.1,"#,
        r#""f8":"NaN","f8b":"-Infinity","yes":true,"day":"2026-11-25","at":"2026-11-25T04:02:03.456789Z","#,
        r#""local":"2026-11-25T01:02:03","clock":"01:02:03","span":"1 day 02:00:00","#,
        r#""u":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","j":{"a": [1, 2]},"jb":{"b": 100},"b":"00FF","m":"so \"so\"","p":7,"#,
        r#""ints":[1,null,3],"texts":["a","b,\"c\"",null],"moods":["calm","so \"so\""],"ps":[5,6],"c":"ab   ","vc":"ñ","#,
        r#""net":"10.0.0.1","r":"[1,5)","pr":"(1,x)","nothing":null,"bits":"101","far":"infinity"}"#
    );
    // From 18 on, stored generated columns are replicated.
    let expected = match host.sql("show server_version_num").parse::<u32>().unwrap() {
        180_000.. => expected.replace("\"infinity\"}", "\"infinity\",\"g\":1}"),
        _ => expected.to_owned(),
    };
    assert_eq!(&*after, expected);
    let rows = host.snapshot("p").await;
    let Body::Change(row) = &rows[0].events[0].body else { panic!() };
    assert_eq!((row.operation, row.after.as_deref(), &*row.key), (Operation::Snapshot, Some(expected.as_str()), key));
}

/// Statements that each change the table once, one transaction each or several together.
fn writes(seed: u64, count: u64) -> String {
    use std::fmt::Write as _;
    let mut sql = String::new();
    let mut random = seed;
    for n in 0..count {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = (random >> 33) % 50;
        let _ = match (random >> 40) % 10 {
            0..6 => writeln!(
                sql,
                "insert into t values ({id}, 'w{seed}-{n}') on conflict (id) do update set v = excluded.v;"
            ),
            6..8 => writeln!(
                sql,
                "begin; update t set v = 'u{seed}-{n}' where id = {id}; update t set v = v || '!' where id = ({id} + 7) % 50; commit;"
            ),
            8 => writeln!(sql, "begin; delete from t where id = {id}; insert into t values (1000000, 'x'); rollback;"),
            _ => writeln!(sql, "delete from t where id = {id};"),
        };
    }
    sql
}

fn events(appends: &[Append]) -> Vec<Event> {
    appends.iter().flat_map(|append| append.events.iter().map(|event| Event::clone(event))).collect()
}

fn streamed<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<&'a Change> {
    let changes = events.into_iter().filter_map(|event| match &event.body {
        Body::Change(change) => Some(change),
        _ => None,
    });
    changes.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_of_either_side_lose_nothing_and_double_nothing() {
    let mut host = Host::new(TABLE).await;
    for round in 0..6 {
        let mut writers = [
            host.database.meanwhile(&writes(round * 2 + 1, 300)),
            host.database.meanwhile(&writes(round * 2 + 2, 300)),
        ];
        for _ in 0..3 {
            // At any moment: what counts is that it is in the midst of writes.
            tokio::time::sleep(Duration::from_millis(15 + 17 * round)).await;
            host.kill().await;
            host.begin();
        }
        if round % 2 == 1 {
            host.database.down(Stop::Immediate);
            host.database.up();
        }
        for writer in &mut writers {
            let _ = writer.wait();
        }
    }
    host.sql("insert into t values (777, 'last')");
    let records = host.records(|record| changes(record).any(|change| &*change.key == "777")).await;
    let all = events(&appends(&records));
    assert!(all.windows(2).all(|pair| pair[0].position < pair[1].position), "each once and in order");
    assert!(all.windows(2).all(|pair| pair[0].committed_at <= pair[1].committed_at));
    let ends = all.windows(2).all(|pair| pair[0].last_of_transaction == (pair[0].transaction != pair[1].transaction));
    assert!(ends, "the last event of each transaction says so, and no other");
    let mut rows = BTreeMap::new();
    fold(&mut rows, streamed(&all));
    assert_eq!(rows, table(&host));
    assert_eq!(host.gaps().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_in_the_midst_of_writes_is_exact_against_the_stream() {
    let host = Host::new(TABLE).await;
    host.sql("insert into t select n, 'first' from generate_series(0, 39) as n");
    for round in 0..8 {
        let mut writers: Vec<_> = (0..4).map(|n| host.database.meanwhile(&writes(round * 10 + n, 150))).collect();
        let rows = host.snapshot(&format!("p{round}")).await;
        for writer in &mut writers {
            let _ = writer.wait();
        }
        host.sql(&format!("insert into t values ({}, 'last')", 5000 + round));
        let key = (5000 + round).to_string();
        let records = host.records(|record| changes(record).any(|change| *change.key == *key)).await;
        let contains = rows[0].snapshot.as_ref().unwrap().contains;
        let all = events(&appends(&records));
        let until: Vec<&Event> = all.iter().filter(|event| event.position <= contains).collect();
        // What the stream had made of the table up to there, is what the snapshot shows of it.
        let mut at = BTreeMap::new();
        fold(&mut at, streamed(until));
        let shown: BTreeMap<String, String> = streamed(&events(&rows))
            .into_iter()
            .map(|row| (row.key.to_string(), row.after.clone().unwrap().to_string()))
            .collect();
        assert_eq!(shown, at, "round {round}");
        let contained = all.iter().filter(|event| event.position <= contains).count();
        let place = records.iter().position(|record| matches!(&record.body, RecordBody::Append(a) if a.snapshot.as_ref().is_some_and(|s| s == rows[0].snapshot.as_ref().unwrap())));
        let before = events(&appends(&records[..place.unwrap()])).len();
        assert!(before >= contained, "what the rows contain stands before them");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_comes_in_chunks_and_becomes_visible_at_once() {
    const ROWS: u64 = 50_000;
    let mut host = Host::new(TABLE).await;
    let mut writer = host
        .database
        .meanwhile(&format!("insert into t select n, repeat('x', 100) from generate_series(1, {ROWS}) as n;"));
    // In the midst of it, as likely as not.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        host.kill().await;
        host.begin();
    }
    assert!(writer.wait().unwrap().success());
    host.sql("insert into t values (777777, 'last')");
    let records = host.records(|record| changes(record).any(|change| &*change.key == "777777")).await;
    let all = appends(&records);
    assert!(all.iter().all(|append| append.events.len() <= 1_000));
    let events = events(&all);
    assert_eq!(events.len() as u64, ROWS + 1);
    let first = events[0].transaction;
    assert!(events[..events.len() - 1].iter().all(|event| event.transaction == first));
    assert_eq!(events.iter().filter(|event| event.last_of_transaction).count(), 2);
    assert!(events.windows(2).all(|pair| pair[0].position < pair[1].position));
    assert_eq!(host.gaps().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_out_of_line_truncates_and_partitions_are_told() {
    let host = Host::new(
        "create table t (id bigint, big text, n int, primary key (id)) partition by range (id);
         create table t_low partition of t for values from (0) to (100);
         create table t_high partition of t for values from (100) to (1000000);
         alter table t replica identity full; alter table t_low replica identity full; alter table t_high replica identity full;
         alter table t_low alter column big set storage external;",
    )
    .await;
    host.sql("insert into t values (1, repeat('ab', 5000), 0)");
    host.sql("update t set n = 1 where id = 1");
    // A row that moves to another partition.
    host.sql("update t set id = 200, n = 2 where id = 1");
    host.sql("truncate t");
    host.sql("insert into t values (999, null, 9)");
    let all = host.changes_until("999").await;
    let big = format!(r#""big":"{}""#, "ab".repeat(5000));
    assert!(all.iter().all(|change| &*change.table == "t"), "partitions stand for their root");
    assert_eq!((all[1].operation, &all[1].changed), (Operation::Update, &vec!["n".into()]));
    let after = all[1].after.as_deref().unwrap();
    assert!(after.contains(&big) && all[1].missing.is_empty(), "what the update left alone comes from the old row");
    let moved: Vec<_> = all[2..all.len() - 2].iter().map(|change| (change.operation, &*change.key)).collect();
    assert_eq!(moved, [(Operation::Delete, "1"), (Operation::Insert, "200")]);
    let truncate = &all[all.len() - 2];
    assert_eq!((truncate.operation, &*truncate.key), (Operation::Truncate, ""));
    let rows = host.snapshot("p").await;
    assert_eq!(events(&rows).len(), 1, "the root's rows are those of its partitions");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_not_what_it_was_is_a_gap() {
    let mut host = Host::new(TABLE).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    // Dropped.
    host.kill().await;
    let drop = "select pg_drop_replication_slot('relevo_s') from (select pg_sleep(0.1)) as a";
    while host.sql("select count(*) from pg_replication_slots where active") != "0" {}
    host.sql(drop);
    host.sql("insert into t values (2, 'unseen')");
    host.start().await;
    assert!(host.gaps().await[0].contains("is gone"), "{:?}", host.gaps().await);
    host.sql("insert into t values (3, 'c')");
    let all = host.changes_until("3").await;
    assert!(all.iter().all(|change| &*change.key != "2"));
    // Moved on by somebody else.
    host.kill().await;
    while host.sql("select count(*) from pg_replication_slots where active") != "0" {}
    host.sql("insert into t values (4, 'unseen')");
    host.sql("select pg_replication_slot_advance('relevo_s', pg_current_wal_lsn())");
    host.start().await;
    assert!(host.gaps().await[1].contains("moved by somebody else"), "{:?}", host.gaps().await);
    // Made anew.
    host.sql("insert into t values (5, 'e')");
    host.changes_until("5").await;
    host.kill().await;
    while host.sql("select count(*) from pg_replication_slots where active") != "0" {}
    host.sql(drop);
    host.sql("insert into t values (6, 'unseen')");
    host.sql("select pg_create_logical_replication_slot('relevo_s', 'pgoutput')");
    host.start().await;
    assert_eq!(host.gaps().await.len(), 3, "{:?}", host.gaps().await);
    host.sql("insert into t values (7, 'g')");
    host.changes_until("7").await;
    assert_eq!(host.gaps().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_restored_or_is_another_one_is_a_gap() {
    let mut host = Host::new(TABLE).await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    host.kill().await;
    host.database.back_up();
    host.start().await;
    host.sql("insert into t values (2, 'lost')");
    host.changes_until("2").await;
    host.kill().await;
    // It has gone on since, beyond where it was read to.
    host.database.restore();
    host.sql("insert into t select n, repeat('other', 100) from generate_series(100, 2000) as n");
    assert_eq!(host.gaps().await, Vec::<String>::new());
    host.begin();
    host.sql("insert into t values (3, 'c')");
    host.changes_until("3").await;
    let gaps = host.gaps().await;
    assert!(gaps.len() == 1 && gaps[0].contains("restored or replaced"), "{gaps:?}");
    host.kill().await;

    // Restored, and not gone on.
    host.database.restore();
    host.begin();
    host.health(|health| health.state == SourceState::Running).await;
    assert!(host.gaps().await.len() == 2, "{:?}", host.gaps().await);
    host.kill().await;

    let other = Postgres::start();
    other.sql(TABLE);
    host.settings[0].url = other.url(DATABASE);
    host.start().await;
    assert!(host.gaps().await[2].contains("another one"), "{:?}", host.gaps().await);
}

/// The most memory that this process has held, in bytes.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_300_000_rows_takes_no_memory_to_speak_of() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(TABLE);
    let small = JournalSettings { memory: 64 << 10, ..JournalSettings::default() };
    host.journal.close().await;
    let folder = tempfile::tempdir().unwrap();
    host.journal = Journal::open(folder.path(), &small, &[]).await.unwrap();
    host.start().await;
    host.sql("insert into t values (0, 'first')");
    host.changes_until("0").await;
    let before = most_memory();
    host.sql("insert into t select n, repeat('x', 200) from generate_series(1, 300000) as n");
    // Its end is known by what comes after it.
    let clock = host.health(|_| true).await.watermark;
    host.health(|health| health.watermark > clock && health.lag.is_zero()).await;
    let wait = async {
        while host.journal.source("s").await.unwrap().unwrap().position.index < 600_000 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(4 * LONG, wait).await.expect("the transaction never came");
    let grown = (most_memory() - before) >> 20;
    println!("{grown} MiB more for 300,000 rows");
    assert!(grown < 48, "{grown} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_source_moves_its_slot_and_lets_the_server_stop() {
    let mut host = Host::over(Postgres::start(), "tables = [\"t\"]").await;
    host.sql(TABLE);
    host.start().await;
    let place = "select confirmed_flush_lsn - '0/0' from pg_replication_slots where slot_name = 'relevo_s'";
    let before: u64 = host.sql(place).parse().unwrap();
    // Nothing of ours is written, but much else.
    host.sql("create table other (x text); insert into other select repeat('x', 1000) from generate_series(1, 60000)");
    let wait = async {
        while host.sql(place).parse::<u64>().unwrap() < before + 64_000_000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.expect("the slot pins the WAL");
    // What the server keeps follows as soon as it has noted that no transaction is open.
    let kept = "select pg_current_wal_lsn() - restart_lsn from pg_replication_slots where slot_name = 'relevo_s'";
    let wait = async {
        while host.sql(&format!("checkpoint; {kept}")).parse::<u64>().unwrap() > 1_000_000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.expect("the server keeps the WAL");
    let health = host.health(|health| health.watermark.0 > 0).await;
    host.health(|later| later.watermark > health.watermark).await;
    // A server that stops waits for its replicas.
    let began = std::time::Instant::now();
    host.database.down(Stop::Fast);
    assert!(began.elapsed() < Duration::from_secs(8), "it waited for us for {:?}", began.elapsed());
    host.failed("").await;
    host.database.up();
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    assert_eq!(host.gaps().await.len(), 0);
    let health = host.health(|health| health.state == SourceState::Running).await;
    assert_eq!(health.lag, Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said_with_what_mends_it() {
    let mut host = Host::over(Postgres::with(&["wal_level=replica"]), "tables = [\"t\", \"u\", \"v\"]").await;
    host.sql("create table t (id bigint primary key, v text); create table u (x int)");
    host.begin();
    let reason = host.failed("wal_level").await;
    assert!(reason.contains("ALTER SYSTEM SET wal_level = 'logical';"), "{reason}");
    host.kill().await;

    let mut host = Host::over(Postgres::start(), "tables = [\"t\", \"u\", \"v\"]").await;
    host.sql("create table t (id bigint primary key, v text); create table u (x int)");
    host.begin();
    let reason = host.failed("replica identity").await;
    assert!(reason.contains("run: ALTER TABLE \"public\".\"t\" REPLICA IDENTITY FULL;"), "{reason}");
    assert!(reason.contains("PostgreSQL would refuse its UPDATEs"), "{reason}");
    assert!(reason.contains("table v does not exist"), "{reason}");
    // The application's own statements go on.
    host.sql("insert into u values (1); update u set x = 2; insert into t values (1, 'a'); update t set v = 'b'");
    let findings = super::super::postgres::preflight(&host.settings[0]).await.unwrap();
    assert!(findings.iter().any(|finding| finding.to_string().contains("max_slot_wal_keep_size")));
    host.sql("alter table t replica identity full; alter table u replica identity full; create table v (id int primary key); alter table v replica identity full");
    host.health(|health| health.state == SourceState::Running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_of_somebody_else_is_used_if_it_has_everything() {
    let mut host = Host::over(Postgres::start(), "").await;
    host.sql(&format!("{TABLE}; create publication relevo_s for all tables"));
    host.begin();
    let reason = host.failed("publish_via_partition_root = true").await;
    assert!(reason.contains("leaves changes out"), "{reason}");
    host.sql("alter publication relevo_s set (publish_via_partition_root = true)");
    host.health(|health| health.state == SourceState::Running).await;
    // A table that is younger than the last look at the catalog.
    host.sql("create table n (id int primary key); alter table n replica identity full; insert into n values (5)");
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    let records = host.records(|record| changes(record).any(|change| &*change.key == "1")).await;
    let all: Vec<Change> = records.iter().flat_map(|record| changes(record).cloned().collect::<Vec<_>>()).collect();
    assert!(all.iter().any(|change| &*change.table == "n" && &*change.key == "5"), "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_passwords_come_by_the_address_and_no_superuser_is_needed() {
    let mut database = Postgres::start();
    if database.sql("select setting from pg_settings where name = 'ssl_library'").is_empty() {
        println!("this PostgreSQL was built without TLS: nothing to see");
        return;
    }
    let (port, certificate) = database.serve_tls();
    database.sql("create role watcher login replication password 'p@ss/w+rd'; grant create on database gad to watcher; grant create on schema public to watcher; set role watcher");
    database
        .sql("set role watcher; create table t (id bigint primary key, v text); alter table t replica identity full");
    let mut host = Host::over(database, "tables = [\"t\"]").await;
    let address = format!("postgres://watcher:p%40ss%2Fw+rd@localhost:{port}/gad?sslmode=verify-full&sslrootcert=");
    host.settings[0].url = format!("{address}{}", certificate.display());
    host.start().await;
    host.sql("insert into t values (1, 'a')");
    host.changes_until("1").await;
    assert_eq!(host.snapshot("p").await[0].events.len(), 1);
    let encrypted =
        host.sql("select bool_and(ssl) from pg_stat_ssl join pg_stat_activity using (pid) where usename = 'watcher'");
    assert_eq!(encrypted, "t");
    host.kill().await;
    host.settings[0].url = format!("postgres://watcher:wrong@localhost:{port}/gad?sslmode=require");
    host.begin();
    host.failed("password authentication failed").await;
    host.kill().await;
    // Somebody else's certificate.
    host.settings[0].url = format!("postgres://watcher:p%40ss%2Fw+rd@localhost:{port}/gad?sslmode=verify-full");
    host.begin();
    host.failed("certificate").await;
}

#[test]
fn a_position_below_the_consistent_point_is_contained() {
    let contains = Position { commit: 799, index: u32::MAX };
    assert!(Position { commit: 792, index: 3 } <= contains && Position { commit: 800, index: 2 } > contains);
}
