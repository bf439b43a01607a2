//! Capture with its real journal, its real database, and other processes that write to that.
//!
//! On several threads, always: a test that waits for a process would otherwise keep capture from
//! giving up the lock that this process waits for.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Change, Number};
use crate::journal::RecordBody;

use super::SourceState;
use host::{appends, change, changes, fold};
use world::{Sqlite, World, sqlite3};

mod conformance;
mod health;
mod host;
mod ingest;
mod postgres;
mod restarts;
mod schema;
mod snapshots;
mod speed;
mod streams;
mod world;

/// Nothing here takes this long; it is what a failing test waits.
const LONG: Duration = Duration::from_secs(30);

/// What SQLite says to SQL that must fail.
fn refused(path: &Path, sql: &str) -> String {
    let output = Command::new("sqlite3").args(["-bail", "-cmd", ".timeout 5000"]).arg(path).arg(sql).output().unwrap();
    assert!(!output.status.success(), "{sql} should have failed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Capture over a SQLite file.
type Host = host::Host<Sqlite>;

impl Host {
    /// With more settings of the source, as TOML; without a database.
    async fn stopped(settings: &str) -> Self {
        Self::over(Sqlite::open(), settings).await
    }

    /// Waits until a query gives this: nobody tells of what capture writes into the database, but the
    /// file does.
    async fn sql_until(&self, sql: &str, expected: &str) {
        let bell = Arc::new(tokio::sync::Notify::new());
        let _wake = super::sqlite::Wake::new(&self.database.path, &bell);
        let wait = async {
            while self.sql(sql) != expected {
                bell.notified().await;
            }
        };
        tokio::time::timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{sql} gives {}", self.sql(sql)));
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
