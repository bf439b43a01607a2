//! Against real files, written to by the real `sqlite3` command line, as any other process would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::config::SourceSettings;
use crate::event::{Change, Operation};

use super::install::{self, Installed};
use super::reader::Reader;
use super::{connect, prune};

mod histories;
mod replace;
mod schema_changes;
mod users_triggers;
mod values;

/// Runs SQL in a process of its own. Statements are one transaction only if they say so.
pub(super) fn sqlite3(path: &Path, sql: &str) -> Output {
    let run = Command::new("sqlite3").args(["-bail", "-cmd", ".timeout 5000"]).arg(path).arg(sql).output();
    run.unwrap_or_else(|error| {
        panic!("these tests need the `sqlite3` command line ({error}): apt-get install sqlite3, or brew install sqlite")
    })
}

/// A database that capture watches, without a journal.
pub(super) struct Watched {
    pub path: PathBuf,
    pub settings: SourceSettings,
    pub installed: Installed,
    reader: Reader,
    position: u64,
    _folder: TempDir,
}

impl Watched {
    /// All tables that `schema` makes.
    pub(super) async fn new(schema: &str) -> Self {
        Self::with(schema, "").await
    }

    /// With more settings of the source, as TOML.
    pub(super) async fn with(schema: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("watched.db");
        let settings: SourceSettings =
            toml::from_str(&format!("name = \"s\"\nurl = \"sqlite:watched.db\"\n{settings}")).unwrap();
        ok(&sqlite3(&path, schema));
        let mut writer = connect::open(&path).await.unwrap();
        let installed = install::install(&mut writer, &settings).await.unwrap();
        let reader = Reader::open(&path).await.unwrap();
        let mut watched = Self { path, settings, installed, reader, position: 0, _folder: folder };
        watched.new_changes().await;
        watched
    }

    /// Runs SQL that must succeed, and shows the changes that it made.
    pub(super) async fn run(&mut self, sql: &str) -> Vec<String> {
        ok(&sqlite3(&self.path, sql));
        self.changes().await
    }

    /// Runs SQL that must fail, and shows the changes that it made all the same.
    pub(super) async fn run_failing(&mut self, sql: &str) -> Vec<String> {
        let output = sqlite3(&self.path, sql);
        assert!(!output.status.success(), "{sql} should have failed");
        self.changes().await
    }

    pub(super) async fn changes(&mut self) -> Vec<String> {
        self.new_changes().await.iter().map(show).collect()
    }

    /// What a session would deliver.
    pub(super) async fn new_changes(&mut self) -> Vec<Change> {
        let Some(end) = self.reader.end(self.position).await.unwrap() else { return Vec::new() };
        let rows = self.reader.rows(self.position, end.seq, 1_000_000, usize::MAX).await.unwrap();
        self.position = end.seq;
        rows.into_iter().filter_map(|row| row.change).collect()
    }

    /// Makes the triggers anew, as a session does when the schema changed.
    pub(super) async fn install(&mut self) -> &Installed {
        let mut writer = connect::open(&self.path).await.unwrap();
        self.installed = install::install(&mut writer, &self.settings).await.unwrap();
        &self.installed
    }

    pub(super) async fn detach(&mut self) {
        super::detach("sqlite:watched.db", self.path.parent().unwrap()).await.unwrap();
    }

    pub(super) async fn prune(&mut self, keep: u64) -> u64 {
        let mut writer = connect::open(&self.path).await.unwrap();
        prune::step(&mut writer, keep).await.unwrap()
    }
}

pub(super) fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// `t 1: {before} -> {after}`
fn show(change: &Change) -> String {
    let Change { table, key, before, after, .. } = change;
    let (before, after) = (before.as_deref().unwrap_or("-"), after.as_deref().unwrap_or("-"));
    let what = match change.operation {
        Operation::Insert => "insert",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Truncate => "truncate",
        Operation::Snapshot => "snapshot",
    };
    format!("{what} {table} {key}: {before} -> {after}")
}

#[tokio::test]
async fn what_is_pruned_is_gone_and_the_newest_stays() {
    let mut db = Watched::new("create table t(id integer primary key)").await;
    db.run(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1200) insert into t select i from n",
    )
    .await;
    let newest = db.position;
    assert_eq!(db.prune(newest).await, 500, "in steps");
    assert_eq!(db.prune(newest).await, 500);
    assert!(db.prune(newest).await < 500);
    assert_eq!(ok(&sqlite3(&db.path, "select group_concat(seq) from _relevo_changes")), newest.to_string());
    db.run("insert into t values (5000)").await;
    assert_eq!(ok(&sqlite3(&db.path, "select max(seq) from _relevo_changes")), (newest + 1).to_string());
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_leaves_nothing() {
    let mut db = Watched::new("create table t(id integer primary key, a)").await;
    assert_eq!(db.run("begin; insert into t values (1, 1); update t set a = 2; rollback").await, [""; 0]);
    let changes = db
        .run("begin; insert into t values (1, 1); savepoint s; insert or replace into t values (1, 2); rollback to s; update t set a = 3; commit")
        .await;
    assert_eq!(changes, [r#"insert t 1: - -> {"id":1,"a":1}"#, r#"update t 1: {"id":1,"a":1} -> {"id":1,"a":3}"#]);
    assert_eq!(db.run_failing("insert into t values (2, 2), (1, 9)").await, [""; 0], "the statement failed as a whole");
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_no_event() {
    let mut db = Watched::with(
        "create table t(id integer primary key, a, secret); insert into t values (1, 0.1, 'x')",
        "exclude = { t = [\"secret\"] }",
    )
    .await;
    assert_eq!(db.run("update t set a = 0.1; update t set secret = 'y'").await, [""; 0]);
    assert_eq!(db.run("update t set a = 0.1 + 1e-17 * 3").await.len(), 1, "the last digit counts");
    let raw = ok(&sqlite3(
        &db.path,
        "select seq, form, op, c0, c1, c2, c3 from _relevo_changes; select * from _relevo_forms",
    ));
    assert!(raw.contains("|0.1|"), "{raw}");
    assert!(
        !raw.contains("|x") && !raw.contains("|y") && !raw.contains("secret"),
        "excluded columns never enter: {raw}"
    );
}

#[tokio::test]
async fn the_sqlite_that_we_bring_fires_them_alike() {
    let mut db = Watched::new(
        "create table t(id integer primary key, u unique, v); insert into t values (1, 'a', 0), (2, 'b', 0)",
    )
    .await;
    let sql = "INSERT OR REPLACE INTO t VALUES (1, 'b', 0.1), (3, json('[1]'), x'ff'), (4, 9e999, 9007199254740993)";
    let mut writer = connect::open(&db.path).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut writer).await.unwrap();
    assert_eq!(
        db.changes().await,
        [
            r#"delete t 2: {"id":2,"u":"b","v":0} -> -"#,
            r#"update t 1: {"id":1,"u":"a","v":0} -> {"id":1,"u":"b","v":0.1}"#,
            r#"insert t 3: - -> {"id":3,"u":"[1]","v":"FF"}"#,
            r#"insert t 4: - -> {"id":4,"u":"Infinity","v":"9007199254740993"}"#,
        ]
    );
}
