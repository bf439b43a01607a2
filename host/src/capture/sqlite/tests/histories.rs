//! Random histories over many forms of tables: the events, folded by key, must show the table as it is.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};

use crate::event::{Change, Operation};

use super::super::change::change;
use super::super::value::Value;
use super::{Watched, connect, ok, sqlite3};

/// Each with columns `k`, `u` and `v`, and the values that its `k` may have.
const SHAPES: [(&str, &[&str]); 12] = [
    ("create table t(k integer primary key, u text unique, v)", INTEGERS),
    ("create table t(k int primary key, u unique, v unique)", INTEGERS),
    ("create table t(k text primary key, u text unique, v) without rowid", TEXTS),
    ("create table t(k primary key, u unique, v)", ANY),
    ("create table t(k integer primary key, u text collate nocase unique, v)", INTEGERS),
    ("create table t(k text collate nocase primary key, u text, v); create unique index i on t(lower(u))", TEXTS),
    ("create table t(k integer primary key, u text, v); create unique index i on t(u) where v > 1", INTEGERS),
    ("create table t(k integer primary key, u text not null default 'b' unique, v)", INTEGERS),
    ("create table t(k text not null default 'a' primary key, u not null default 'b' unique, v) without rowid", TEXTS),
    ("create table t(k, u text collate nocase, v, primary key(k, u)) without rowid", ANY),
    ("create table t(k integer primary key, u text, v, g as (lower(u)) unique)", INTEGERS),
    ("create table t(k, u text unique, v)", ANY),
];

const INTEGERS: &[&str] = &["1", "2", "3", "4", "-1", "null"];
const TEXTS: &[&str] = &["'a'", "'b'", "'c'", "'A'", "'1'"];
/// Not 1 and '1' in one table: they read alike as keys.
const ANY: &[&str] = &["1", "2", "1.0", "'a'", "'A'", "null"];
const US: &[&str] = &["'a'", "'b'", "'c'", "'A'", "'B'", "null"];
const VS: &[&str] = &["0", "1", "2", "3"];

/// Triggers of the user's, which write to the table that they are on.
const AFTER: &str = "create trigger x after update of u on t begin update t set v = v + 1 where k = new.k; end;
    create trigger y after insert on t begin update t set v = v + 10 where k = new.k; end;
    create trigger z after insert on t when new.v = 2 begin update or ignore t set u = 'z' where u = 'c'; end";
const AFTER_DELETE: &str = "create trigger w after delete on t begin update t set v = v + 1 where u > old.u; end;
    create trigger q after delete on t when old.v = 3 begin insert or replace into t(k, u, v) values (old.k, 'q', 1); end";
const BEFORE: &str = "create trigger x before insert on t begin update t set v = v + 10 where u >= new.u; end;
    create trigger y before insert on t when new.v = 3 begin delete from t where u = 'c'; end;
    create trigger z before update of u on t when new.u = 'a' begin update t set v = v + 1 where u > 'a' and k is not old.k; end";
const BEFORE_INSERT: &str = "create trigger x before insert on t begin update t set u = u || '-' where u > new.u; end";

/// What goes on beside the statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Nothing,
    /// The user's triggers were there before ours.
    Before(&'static str),
    /// They were made after ours, which were then put in order again.
    After(&'static str),
    /// SQLite fires ours in another order than it does.
    Reversed,
}

impl Beside {
    /// Whether every event must follow from the one before, and not the last ones alone be right.
    fn exact(self) -> bool {
        !matches!(self, Self::Before(BEFORE_INSERT) | Self::Reversed)
    }

    async fn watch(self, schema: &str) -> Watched {
        match self {
            Self::Nothing => Watched::new(schema).await,
            Self::Before(triggers) => Watched::new(&format!("{schema}; {triggers}")).await,
            Self::After(triggers) => {
                let mut db = Watched::new(schema).await;
                ok(&sqlite3(&db.path, triggers));
                db.install().await;
                db
            }
            Self::Reversed => {
                let db = Watched::new(schema).await;
                let sql = ok(&sqlite3(&db.path, "select sql from sqlite_schema where name = '_relevo_update_t'"));
                ok(&sqlite3(&db.path, &format!("drop trigger _relevo_update_t; {sql}")));
                db
            }
        }
    }
}

/// The same numbers in every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn row(&mut self, ks: &[&str]) -> String {
        format!("({}, {}, {})", self.of(ks), self.of(US), self.of(VS))
    }

    fn statement(&mut self, ks: &[&str]) -> String {
        let or = self.of(&["or replace", "or replace", "or ignore", "", "or fail"]);
        match self.below(11) {
            0 | 1 => format!("insert or replace into t(k, u, v) values {}", self.row(ks)),
            2 => format!("insert {or} into t(k, u, v) values {}, {}", self.row(ks), self.row(ks)),
            3 => format!("insert or replace into t(u, v) values ({}, {})", self.of(US), self.of(VS)),
            4 => format!(
                "insert into t(k, u, v) values {} on conflict do {}",
                self.row(ks),
                self.of(&[
                    "nothing",
                    "update set v = excluded.v + 20",
                    "update set u = excluded.u",
                    "update set k = excluded.k"
                ])
            ),
            5 => format!("update {or} t set k = {} where k = {}", self.of(ks), self.of(ks)),
            6 => format!("update {or} t set k = {}, u = {} where v >= {}", self.of(ks), self.of(US), self.of(VS)),
            7 => format!("update {or} t set u = {} where k >= {}", self.of(US), self.of(ks)),
            8 => format!(
                "update {or} t set {} where u > 'a'",
                self.of(&["v = 2", "k = k + 1", "u = upper(u)", "u = 'b'"])
            ),
            9 => format!("delete from t where {}", self.of(&["k = 2", "u = 'b'", "v = 3", "k = 'a'"])),
            _ => format!("delete from t where k = {}", self.of(ks)),
        }
    }

    /// One, or a transaction that takes one back.
    fn statements(&mut self, ks: &[&str]) -> String {
        let first = self.statement(ks);
        if self.below(10) > 0 {
            return first;
        }
        format!("begin; {first}; savepoint s; {}; rollback to s; commit", self.statement(ks))
    }
}

/// What a pipeline that keeps rows by key has.
#[derive(Default)]
struct Folded(BTreeMap<Box<str>, Box<str>>);

impl Folded {
    /// What is wrong with a change, if something is.
    fn fold(&mut self, change: &Change) -> Option<String> {
        let known = match &change.after {
            Some(after) => self.0.insert(change.key.clone(), after.clone()),
            None => self.0.remove(&change.key),
        };
        match change.operation {
            Operation::Insert => known.map(|known| format!("an insert of {} that is there: {known}", change.key)),
            _ => (known != change.before).then(|| format!("{} was {known:?}, not {:?}", change.key, change.before)),
        }
    }
}

async fn rows(db: &mut SqliteConnection, watched: &Watched) -> BTreeMap<Box<str>, Box<str>> {
    let table = &watched.installed.tables[0];
    let form = &table.form;
    let sql = table.writer().snapshot();
    let mut found = sqlx::query(AssertSqlSafe(sql)).fetch(db);
    let mut all = BTreeMap::new();
    while let Some(row) = found.try_next().await.unwrap() {
        let rowid = if form.rowid() { row.try_get(0).unwrap() } else { None };
        let values: Vec<Value<'_>> =
            (1..=form.columns().len()).map(|place| Value::read(&row, place, form.mark()).unwrap()).collect();
        let change = change(form, Operation::Snapshot, rowid, None, Some(&values)).unwrap();
        all.insert(change.key, change.after.unwrap());
    }
    all
}

/// Runs a statement or a transaction; a constraint may stop it.
async fn write(db: &mut SqliteConnection, sql: &str) {
    for part in sql.split("; ") {
        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(part)).execute(&mut *db).await {
            let code = error.as_database_error().and_then(|e| e.code()).and_then(|code| code.parse::<u32>().ok());
            assert!(matches!(code.map(|code| code & 0xff), Some(19 | 20)), "{part}: {error}");
        }
    }
}

/// Histories over one table; what is wrong with one, if something is.
async fn histories(shape: usize, beside: Beside, recursive: bool, seed: u64) -> Result<(), String> {
    let (schema, ks) = SHAPES[shape];
    let mut watched = beside.watch(schema).await;
    let mut db = connect::open(&watched.path).await.unwrap();
    write(&mut db, "pragma synchronous = off").await;
    write(&mut db, &format!("pragma recursive_triggers = {}", if recursive { "on" } else { "off" })).await;
    let mut random = Random(seed);
    let mut folded = Folded::default();
    for _ in 0..4 {
        let mut history = format!("{schema} ({beside:?}, recursive_triggers = {recursive}, seed {seed})\n");
        for step in 0..15 {
            let sql = if step == 0 { "delete from t".to_owned() } else { random.statements(ks) };
            let _ = writeln!(history, "{sql};");
            write(&mut db, &sql).await;
            for change in watched.new_changes().await {
                let _ = writeln!(history, "  -- {}", super::show(&change));
                if let Some(wrong) = folded.fold(&change).filter(|_| beside.exact()) {
                    return Err(format!("{history}{wrong}"));
                }
            }
            let there = rows(&mut db, &watched).await;
            if folded.0 != there {
                return Err(format!("{history}the events say {:?}, the table {there:?}", folded.0));
            }
        }
    }
    Ok(())
}

/// Over every form of table.
async fn add_up(beside: Beside) {
    let mut wrong = Vec::new();
    for (shape, seed) in (0..SHAPES.len()).zip(1..) {
        // A delete's trigger that fires within a REPLACE may change what this is to replace next.
        let recursive = seed % 2 == 0 && beside != Beside::Before(AFTER_DELETE);
        wrong.extend(histories(shape, beside, recursive, seed).await.err());
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[tokio::test]
async fn every_history_adds_up_to_the_table() {
    add_up(Beside::Nothing).await;
}

#[tokio::test]
async fn every_history_adds_up_under_triggers_that_were_there_before_ours() {
    add_up(Beside::Before(AFTER)).await;
}

#[tokio::test]
async fn every_history_adds_up_under_triggers_that_came_after_ours() {
    add_up(Beside::After(AFTER)).await;
}

#[tokio::test]
async fn every_history_adds_up_under_triggers_on_deletes() {
    add_up(Beside::Before(AFTER_DELETE)).await;
}

#[tokio::test]
async fn every_history_adds_up_under_triggers_before_the_row() {
    add_up(Beside::After(BEFORE)).await;
}

#[tokio::test]
async fn every_history_ends_as_the_table_under_triggers_that_fire_between_ours_and_the_row() {
    add_up(Beside::Before(BEFORE_INSERT)).await;
}

#[tokio::test]
async fn every_history_ends_as_the_table_in_another_order_of_triggers() {
    add_up(Beside::Reversed).await;
}
