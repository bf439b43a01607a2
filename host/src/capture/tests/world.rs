//! The databases that capture reads, in places of a test's own: the real ones, written to by other processes.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use relevo_tests::postgres::{DATABASE, Postgres, Stop};
use tempfile::TempDir;

use super::host::Host;

/// What a test needs of a database, whatever kind it is.
pub(super) trait World: Sized {
    /// A new one.
    fn open() -> Self;

    /// The source's settings, as TOML.
    fn settings(&self) -> String;

    /// SQL that makes a table with an integer `id` as its key, whose changes are told with both rows.
    fn table(name: &str, columns: &str) -> String;

    /// A value of so many letters.
    fn long(letter: char, bytes: usize) -> String;

    /// The type of bytes, and these bytes, given in hexadecimal digits.
    const BYTES: &str;
    fn bytes(digits: &str) -> String;

    /// Runs SQL in a process of its own, and gives what it printed.
    ///
    /// # Panics
    /// If the SQL fails.
    fn sql(&self, sql: &str) -> String;

    /// Runs SQL in a process of its own, statement by statement, meanwhile.
    fn meanwhile(&self, sql: &str) -> Child;

    /// Ends what runs a writer's SQL, in the midst of it: the server, or where there is none, the writer.
    fn crash(&mut self, writer: &mut Child);

    /// Takes the database away, and brings it back. Nobody uses it meanwhile.
    fn away(&mut self);
    fn back(&mut self);

    /// Copies all of it, and puts the copy in its place. Nobody uses it meanwhile.
    fn back_up(&mut self);
    fn restore(&mut self);

    /// Whether no capture reads it.
    fn is_left_alone(&self) -> bool;

    /// Somebody else lets go of what the database keeps for capture, read or not. Returns what capture calls it.
    fn let_go(&self) -> &'static str;

    /// Somebody else makes anew what capture made. Returns what capture calls it.
    async fn make_anew(&self) -> &'static str;

    /// How many things of ours it holds.
    fn ours(&self) -> String;

    fn log_text(&self) -> String;
}

/// A file that the `sqlite3` command line writes to.
#[derive(Clone)]
pub(super) struct Sqlite {
    pub path: PathBuf,
    /// Goes with the last who uses it.
    folder: Arc<TempDir>,
}

impl World for Sqlite {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { path: folder.path().join("watched.db"), folder: Arc::new(folder) }
    }

    fn settings(&self) -> String {
        format!("url = \"sqlite:{}\"\ntick = \"10ms\"\npoll = \"50ms\"", self.path.display())
    }

    fn table(name: &str, columns: &str) -> String {
        format!("create table {name} (id integer primary key, {columns})")
    }

    fn long(letter: char, bytes: usize) -> String {
        format!("printf('%.{bytes}c', '{letter}')")
    }

    const BYTES: &str = "blob";

    fn bytes(digits: &str) -> String {
        format!("x'{digits}'")
    }

    fn sql(&self, sql: &str) -> String {
        sqlite3(&self.path, sql)
    }

    fn meanwhile(&self, sql: &str) -> Child {
        use std::io::Write as _;
        let mut child = Command::new("sqlite3")
            .args(["-bail", "-cmd", ".timeout 20000"])
            .arg(&self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let sql = sql.to_owned();
        std::thread::spawn(move || input.write_all(sql.as_bytes()));
        child
    }

    fn crash(&mut self, writer: &mut Child) {
        writer.kill().unwrap();
        writer.wait().unwrap();
    }

    fn away(&mut self) {
        self.sql("pragma wal_checkpoint(truncate)");
        std::fs::rename(&self.path, self.folder.path().join("away.db")).unwrap();
    }

    fn back(&mut self) {
        std::fs::rename(self.folder.path().join("away.db"), &self.path).unwrap();
    }

    fn back_up(&mut self) {
        self.sql(&format!(".backup {}", self.folder.path().join("backup.db").display()));
    }

    fn restore(&mut self) {
        self.sql(&format!(".restore {}", self.folder.path().join("backup.db").display()));
    }

    fn is_left_alone(&self) -> bool {
        true
    }

    fn let_go(&self) -> &'static str {
        self.sql("delete from _relevo_changes where seq < (select max(seq) from _relevo_changes)");
        "the last change that was read is no longer in it"
    }

    async fn make_anew(&self) -> &'static str {
        let mut other = Host::over(self.clone(), "").await;
        super::super::detach(&other.settings[0], other.folder.path()).await.unwrap();
        other.start().await;
        other.stop().await;
        "another one than before"
    }

    fn ours(&self) -> String {
        self.sql("select count(*) from sqlite_schema where name like '%relevo%'")
    }

    fn log_text(&self) -> String {
        String::new()
    }
}

impl World for Postgres {
    fn open() -> Self {
        Self::start()
    }

    fn settings(&self) -> String {
        format!("url = \"{}\"\ntick = \"100ms\"", self.url(DATABASE))
    }

    fn table(name: &str, columns: &str) -> String {
        format!("create table {name} (id integer primary key, {columns}); alter table {name} replica identity full")
    }

    fn long(letter: char, bytes: usize) -> String {
        format!("repeat('{letter}', {bytes})")
    }

    const BYTES: &str = "bytea";

    fn bytes(digits: &str) -> String {
        format!("'\\x{digits}'::bytea")
    }

    fn sql(&self, sql: &str) -> String {
        Self::sql(self, sql)
    }

    fn meanwhile(&self, sql: &str) -> Child {
        Self::meanwhile(self, sql)
    }

    fn crash(&mut self, writer: &mut Child) {
        self.down(Stop::Immediate);
        self.up();
        writer.wait().unwrap();
    }

    fn away(&mut self) {
        self.down(Stop::Fast);
    }

    fn back(&mut self) {
        self.up();
    }

    fn back_up(&mut self) {
        Self::back_up(self);
    }

    fn restore(&mut self) {
        Self::restore(self);
    }

    fn is_left_alone(&self) -> bool {
        Self::sql(self, "select count(*) from pg_replication_slots where active") == "0"
    }

    fn let_go(&self) -> &'static str {
        Self::sql(self, "select pg_replication_slot_advance('relevo_s', pg_current_wal_lsn())");
        "moved by somebody else"
    }

    async fn make_anew(&self) -> &'static str {
        Self::sql(self, "select pg_drop_replication_slot('relevo_s')");
        Self::sql(self, "select pg_create_logical_replication_slot('relevo_s', 'pgoutput')");
        ""
    }

    fn ours(&self) -> String {
        Self::sql(self, "select (select count(*) from pg_replication_slots) + (select count(*) from pg_publication)")
    }

    fn log_text(&self) -> String {
        Self::log_text(self)
    }
}

/// A process of its own that runs SQL.
pub(super) fn sqlite3(path: &Path, sql: &str) -> String {
    let run = Command::new("sqlite3").args(["-bail", "-cmd", ".timeout 5000"]).arg(path).arg(sql).output();
    let output = run.unwrap_or_else(|error| {
        panic!("these tests need the `sqlite3` command line ({error}): apt-get install sqlite3, or brew install sqlite")
    });
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
