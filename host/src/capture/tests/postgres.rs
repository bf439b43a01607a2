//! Capture with a real journal and a real PostgreSQL of the test's own.

use std::time::Duration;

use relevo_tests::postgres::{DATABASE, HOLDER, Postgres, Stop};

use crate::event::{Body, Change, Number, Operation, Position};
use crate::journal::{Control, Record, RecordBody};

use super::super::SourceState;
use super::LONG;
use super::host::{changes, events};

mod acknowledged;
mod advice;
mod altered;
mod ended;
mod exclusions;
mod forms;
mod keys;
mod partitions;
mod printed;
mod progress;
mod publications;
mod refusals;
mod resets;
mod resumed;
mod settings;
mod silence;
mod standby;
mod stopped;
mod unreachable;

/// Capture over a PostgreSQL.
type Host = super::host::Host<Postgres>;

const TABLE: &str = "create table t (id bigint primary key, v text); alter table t replica identity full";

/// A transaction that has written, and stays open until it is ended by [`close`]: a slot that is made waits for it.
async fn open(host: &Host) -> std::process::Child {
    host.sql("create table if not exists open (id int primary key); alter table open replica identity full");
    let open = host.database.meanwhile("begin; insert into open values (1); select pg_sleep(600);");
    while host.sql(&format!("select count(*) {OPEN}")) == "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    open
}

const OPEN: &str =
    "from pg_stat_activity where query like '%pg_sleep(600)%' and backend_xid is not null and pid <> pg_backend_pid()";

fn close(host: &Host, mut open: std::process::Child) {
    host.sql(&format!("select pg_terminate_backend(pid) {OPEN}"));
    let _ = open.wait();
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
          far timestamptz, ats timestamptz[], bs bytea[], fs float8[], bigs bigint[], cash money, tz timetz, zero float8,
          low int[], g int generated always as (1) stored);
        alter table t replica identity full;";
    let host = Host::new(schema).await;
    let insert = "insert into t values (9007199254740993, -9223372036854775808, 12345678901234567890.12, 1.50, 0.1,
          'NaN', '-Infinity', true, '2026-11-25', '2026-11-25 01:02:03.456789-03', '2026-11-25 01:02:03', '01:02:03',
          '1 day 02:00', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{\"a\": [1, 2]}', '{\"b\":1e2}', '\\x00ff', 'so \"so\"', 7,
          '{1,null,3}', array['a', 'b,\"c\"', null], '{calm,\"so \\\"so\\\"\"}', '{5,6}', 'ab', 'ñ', '10.0.0.1', '[1,5)',
          row(1, 'x'), null, '101', 'infinity', '{2026-11-25 01:02:03-03,null,-infinity}', array['\\x00ff'::bytea, '', null],
          '{NaN,Infinity,-Infinity,0.1,null}', '{9007199254740993,-9223372036854775808,1,null}', 1234.5, '01:02:03-03', '-0', '[0:1]={1,2}')";
    host.sql(insert);
    let key = "9007199254740993";
    let after = host.changes_until(key).await[0].after.clone().unwrap();
    let expected = concat!(
        r#"{"id":"9007199254740993","big":"-9223372036854775808","num":"12345678901234567890.12","num2":1.50,"f4":0.1,"#,
        r#""f8":"NaN","f8b":"-Infinity","yes":true,"day":"2026-11-25","at":"2026-11-25T04:02:03.456789Z","#,
        r#""local":"2026-11-25T01:02:03","clock":"01:02:03","span":"1 day 02:00:00","#,
        r#""u":"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11","j":{"a": [1, 2]},"jb":{"b": 100},"b":"00FF","m":"so \"so\"","p":7,"#,
        r#""ints":[1,null,3],"texts":["a","b,\"c\"",null],"moods":["calm","so \"so\""],"ps":[5,6],"c":"ab   ","vc":"ñ","#,
        r#""net":"10.0.0.1","r":"[1,5)","pr":"(1,x)","nothing":null,"bits":"101","far":"infinity","ats":["2026-11-25T04:02:03Z",null,"-infinity"],"bs":["00FF","",null],"#,
        r#""fs":["NaN","Infinity","-Infinity",0.1,null],"bigs":["9007199254740993","-9223372036854775808",1,null],"#,
        r#""cash":"$1,234.50","tz":"01:02:03-03","zero":-0.0,"low":"[0:1]={1,2}"}"#
    );
    // From 18 on, stored generated columns are replicated.
    let expected = match host.sql("show server_version_num").parse::<u32>().unwrap() {
        180_000.. => expected.replace("={1,2}\"}", "={1,2}\",\"g\":1}"),
        _ => expected.to_owned(),
    };
    assert_eq!(&*after, expected);
    let rows = host.snapshot("p").await;
    let Body::Change(row) = &rows[0].events[0].body else { panic!() };
    assert_eq!((row.operation, row.after.as_deref(), &*row.key), (Operation::Snapshot, Some(expected.as_str()), key));
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
    let reason = host.lacks("replica identity").await;
    assert!(reason.contains("run: ALTER TABLE \"public\".\"t\" REPLICA IDENTITY FULL;"), "{reason}");
    assert!(reason.contains("PostgreSQL would refuse its UPDATEs"), "{reason}");
    assert!(reason.contains("table v does not exist"), "{reason}");
    // The application's own statements go on.
    host.sql("insert into u values (1); update u set x = 2; insert into t values (1, 'a'); update t set v = 'b'");
    let findings =
        super::super::postgres::preflight(&host.settings[0], super::super::postgres::Stand::Runs).await.unwrap();
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
    let (port, files) = database.serve_tls();
    database.sql("create role watcher login replication password 'p@ss/w+rd'; grant create on database gad to watcher; grant create on schema public to watcher; set role watcher");
    database
        .sql("set role watcher; create table t (id bigint primary key, v text); alter table t replica identity full");
    let mut host = Host::over(database, "tables = [\"t\"]").await;
    let address = format!("postgres://watcher:p%40ss%2Fw+rd@localhost:{port}/gad?sslmode=verify-full&sslrootcert=");
    host.settings[0].url = format!("{address}{}", files.root.display());
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
    host.kill().await;
    // A certificate of its own in the place of a password.
    host.sql(&format!("create role {HOLDER} login replication; grant watcher to {HOLDER}"));
    let (root, (certificate, key)) = (files.root.display(), &files.holder);
    host.settings[0].url = format!(
        "postgres://{HOLDER}@localhost:{port}/gad?sslmode=verify-full&sslrootcert={root}&sslcert={}&sslkey={}",
        certificate.display(),
        key.display()
    );
    host.start().await;
    host.sql("insert into t values (2, 'b')");
    host.changes_until("2").await;
}

#[test]
fn a_position_below_the_consistent_point_is_contained() {
    let contains = Position { commit: 799, index: u32::MAX };
    assert!(Position { commit: 792, index: 3 } <= contains && Position { commit: 800, index: 2 } > contains);
}
