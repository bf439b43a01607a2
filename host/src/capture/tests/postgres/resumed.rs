//! A snapshot that is cut goes on where it was.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Child;

use crate::event::Event;
use crate::journal::Append;

use super::super::host::appends;
use super::*;

mod anew;

const ROWS: u64 = 40_000;

/// One with a simple key, one with a key of two columns, one without a key.
const TABLES: &str = "
    create table t (id bigint primary key, v text);
    create table pairs (name text, at timestamptz, v text, primary key (name, at));
    create table bag (v text);
    alter table t replica identity full; alter table pairs replica identity full; alter table bag replica identity full;";

fn fill() -> String {
    let numbers = format!("generate_series(1, {ROWS}) as n");
    let at = "timestamptz '2026-01-01' + n % 7 * interval '1 hour'";
    format!(
        "insert into t select n, repeat('v', 600) from {numbers} on conflict do nothing;
         insert into pairs select '\\' || n % 1000 || '''', {at}, n from {numbers} on conflict do nothing;
         insert into bag select n % 50 from generate_series(1, 300) as n;"
    )
}

/// Writes anywhere in the tables, and moves keys to and fro over the place where a snapshot may be. `of`: its own
/// share of the rows, of three.
fn writes(of: u64, seed: u64) -> String {
    let mut sql = String::new();
    let mut random = seed;
    for n in 0..100_000_u64 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = (random >> 33) % (ROWS / 3) * 3 + of;
        let other = (random >> 20) % (ROWS / 3) * 3 + of;
        let _ = match (random >> 40) % 8 {
            0 | 1 => writeln!(
                sql,
                "update t set id = {other} where id = {id} and not exists (select from t where id = {other});"
            ),
            2 => writeln!(sql, "update t set v = 'u{n}' where id = {id};"),
            3 => writeln!(
                sql,
                "begin; delete from t where id = {id}; update t set v = v || '!' where id = {other}; commit;"
            ),
            4 => writeln!(sql, "insert into t values ({id}, 'i{n}') on conflict (id) do update set v = excluded.v;"),
            5 => writeln!(
                sql,
                "update pairs set name = 'm{seed}-{n}-' || name where name = '\\' || {} || '''' and at = timestamptz '2026-01-01' + {} * interval '1 hour';",
                id % 1000,
                id % 7
            ),
            6 => writeln!(sql, "update pairs set v = 'u{n}' where name = '\\' || {} || '''';", id % 1000),
            _ if n % 10 == 0 => {
                writeln!(
                    sql,
                    "delete from bag where ctid = (select ctid from bag limit 1); insert into bag values ({});",
                    id % 50
                )
            }
            // Not more than capture can follow.
            _ => writeln!(sql, "select pg_sleep(0.02);"),
        };
    }
    sql
}

/// By table, key and row: how often it is there.
type Rows = BTreeMap<(String, String, String), i64>;

fn add(rows: &mut Rows, change: &Change, row: Option<&str>, by: i64) {
    let Some(row) = row else { return };
    let of = (change.table.to_string(), change.key.to_string(), row.to_owned());
    let count = rows.entry(of.clone()).or_default();
    *count += by;
    if *count == 0 {
        rows.remove(&of);
    }
}

/// The rows that the stream leads to.
fn streamed<'a>(events: impl Iterator<Item = &'a Event>) -> Rows {
    let mut rows = Rows::new();
    for event in events {
        let Body::Change(change) = &event.body else { continue };
        if change.operation == Operation::Truncate {
            rows.retain(|(table, ..), _| **table != *change.table);
        }
        add(&mut rows, change, change.before.as_deref(), -1);
        add(&mut rows, change, change.after.as_deref(), 1);
    }
    rows
}

/// The rows that a snapshot shows in the end.
fn shown(events: &[Event]) -> Rows {
    let mut rows = Rows::new();
    for event in events {
        let Body::Change(change) = &event.body else { continue };
        match change.operation {
            Operation::Snapshot => add(&mut rows, change, change.after.as_deref(), 1),
            Operation::Delete => rows.retain(|(table, key, _), _| **table != *change.table || **key != *change.key),
            Operation::Truncate => rows.retain(|(table, ..), _| **table != *change.table),
            other => panic!("{other:?} in a snapshot"),
        }
    }
    rows
}

/// What the two differ in; empty where they are equal.
fn difference(told: &Rows, shown: &Rows) -> Vec<String> {
    let mut differs = Vec::new();
    for row in told.keys().chain(shown.keys()) {
        let (streamed, read) = (told.get(row).unwrap_or(&0), shown.get(row).unwrap_or(&0));
        if streamed != read {
            differs.push(format!("{row:?}: {streamed} in the stream, {read} in the snapshot"));
        }
    }
    differs.truncate(10);
    differs
}

/// All streamed changes so far, up to what a snapshot contains.
async fn contained(host: &Host, answer: &[Append]) -> Vec<Event> {
    let contains = answer.last().unwrap().snapshot.as_ref().unwrap().contains;
    let last = answer.last().unwrap();
    let records = host
        .records(|record| {
            matches!(&record.body, RecordBody::Append(append) if append.complete && append.snapshot == last.snapshot)
        })
        .await;
    let mut all = events(&appends(&records));
    all.retain(|event| event.position <= contains);
    all
}

/// How many rows a snapshot has read; those before a cut included.
fn read(answer: &[Append]) -> usize {
    let all = events(answer);
    all.iter().filter(|e| matches!(&e.body, Body::Change(change) if change.operation == Operation::Snapshot)).count()
}

/// How a snapshot is cut.
enum Cut {
    Killed,
    Terminated,
    Crashed,
}

fn begin_writers(host: &Host, seed: u64) -> [Child; 3] {
    [0, 1, 2].map(|of| host.database.meanwhile(&writes(of, seed * 3 + of + 1)))
}

fn end_writers(host: &Host, writers: &mut [Child; 3]) {
    for writer in writers {
        let _ = writer.kill();
        let _ = writer.wait();
    }
    // What the server was told to do, it does.
    let busy = "select count(*) from pg_stat_activity where application_name = 'psql' and pid <> pg_backend_pid()";
    while host.sql(busy) != "0" {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_cut_again_and_again_under_writes_goes_on_and_is_exact() {
    let mut host = Host::new(TABLES).await;
    for round in 0..3 {
        host.sql(&fill());
        let mut writers = begin_writers(&host, round);
        let mut request = host.ask("p", &["bag", "pairs", "t"]).await;
        let mut seen = 0;
        let cuts = [Cut::Killed, if round == 1 { Cut::Crashed } else { Cut::Terminated }, Cut::Killed];
        let (count, kills) = (cuts.len(), cuts.iter().filter(|cut| matches!(cut, Cut::Killed)).count());
        for cut in cuts {
            let more = if seen == 0 { 5_000 } else { 600 };
            let health = host.health(|health| health.snapshots.iter().any(|s| s.rows > seen + more)).await;
            let rows = health.snapshots[0].rows;
            match cut {
                Cut::Killed => {
                    host.kill().await;
                    if round == 2 && seen == 0 {
                        // So much that the next cut comes while these rows are read again.
                        host.sql("update pairs set v = v || '!'; update t set v = 'again' where id % 4 = 0");
                    }
                    host.begin();
                    // As a pipeline does, that comes back.
                    request = host.ask("p", &["bag", "pairs", "t"]).await;
                    let health = host.health(|health| health.snapshots.iter().any(|s| s.rows > 0)).await;
                    seen = health.snapshots[0].rows;
                    assert!(seen + 1_000 >= rows, "it shows {seen} rows after {rows}");
                    continue;
                }
                Cut::Terminated => {
                    host.sql(
                        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'relevo'",
                    );
                }
                Cut::Crashed => {
                    host.database.down(Stop::Immediate);
                    host.database.up();
                    writers.iter_mut().for_each(|writer| drop(writer.wait()));
                    writers = begin_writers(&host, 100 + round);
                }
            }
            seen = rows;
        }
        let answer = host.answer(request).await;
        end_writers(&host, &mut writers);
        let mut points: Vec<_> = answer.iter().map(|append| append.snapshot.as_ref().unwrap().contains).collect();
        points.dedup();
        assert!(points.len() > kills && points.is_sorted(), "read at {points:?}");
        let (told, all) = (contained(&host, &answer).await, events(&answer));
        let differs = difference(&streamed(told.iter()), &shown(&all));
        assert!(differs.is_empty(), "round {round}: {differs:#?}");
        let (left, read) = (shown(&all).len(), read(&answer));
        let since = told.iter().filter(|event| event.position > points[0]).count();
        println!("round {round}: {left} rows, {read} read in {} parts, {since} changes meanwhile", points.len());
        assert!(read < left + 2 * since + count * 1_000, "{read} rows read of {left}, {since} changes meanwhile");
    }
    host.stop().await;
}

/// A snapshot is killed in the midst of `t`, and another one is asked for after that.
async fn cut(host: &mut Host, first: &[&str], tables: &[&str], meanwhile: impl AsyncFnOnce(&Host)) -> Vec<Append> {
    host.ask("p", first).await;
    host.health(|health| health.snapshots.iter().any(|taking| taking.rows > 2_000)).await;
    host.kill().await;
    meanwhile(host).await;
    host.begin();
    let request = host.ask("p", tables).await;
    host.answer(request).await
}

/// Whether what was read before a cut counts.
fn went_on(answer: &[Append]) -> bool {
    let mut points: Vec<_> = answer.iter().map(|append| append.snapshot.as_ref().unwrap().contains).collect();
    points.dedup();
    points.len() > 1
}

/// A snapshot of `t` is killed in its midst; whether what was read before counts after this.
async fn goes_on_after(host: &mut Host, tables: &[&str], meanwhile: impl AsyncFnOnce(&Host)) -> bool {
    let answer = cut(host, &["bag", "t"], tables, meanwhile).await;
    let all = events(&answer);
    let shown = shown(&all);
    for table in tables {
        let rows: i64 = shown.iter().filter(|((of, ..), _)| of == table).map(|(_, count)| count).sum();
        assert_eq!(rows.to_string(), host.sql(&format!("select count(*) from {table}")), "{table}");
    }
    let last = host.sql("select max(id) from t");
    assert!(shown.keys().any(|(table, key, _)| table == "t" && *key == last), "without row {last}");
    went_on(&answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_begins_anew_where_what_was_read_before_cannot_be_brought_up_to_date() {
    let mut host = Host::new(TABLES).await;
    host.sql(&fill());
    let all: &[&str] = &["bag", "t"];
    assert!(goes_on_after(&mut host, all, async |_| {}).await);
    assert!(goes_on_after(&mut host, all, async |host| drop(host.sql("insert into bag values ('more')"))).await);
    assert!(
        goes_on_after(&mut host, &["bag", "t", "u"], async |host| {
            host.sql("create table u (id int primary key); alter table u replica identity full");
        })
        .await
    );
    assert!(!goes_on_after(&mut host, &["t"], async |_| {}).await, "other tables");
    assert!(!goes_on_after(&mut host, all, async |host| drop(host.sql("truncate bag"))).await, "emptied");
    assert!(
        !goes_on_after(&mut host, all, async |host| drop(host.sql("alter table t add w int default 7"))).await,
        "form"
    );
    let anew = "alter table t alter w type int using 8";
    assert!(!goes_on_after(&mut host, all, async |host| drop(host.sql(anew))).await, "written anew");
    let gap = async |host: &Host| {
        host.journal.control(Control::Gap { source: "s".into(), reason: "lost".into() }).await.unwrap();
    };
    assert!(!goes_on_after(&mut host, all, gap).await, "a gap");
    let another = async |host: &Host| {
        while host.sql("select active from pg_replication_slots where slot_name = 'relevo_s'") == "t" {}
        host.sql("select pg_drop_replication_slot('relevo_s')");
    };
    assert!(!goes_on_after(&mut host, all, another).await, "another slot");
    host.stop().await;
}
