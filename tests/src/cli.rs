//! The other process that writes: the `sqlite3` command line, and the binary's own commands.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs SQL in a new `sqlite3` process and returns what it printed.
///
/// # Panics
/// If a statement fails.
pub fn sqlite3(database: &Path, sql: &str) -> String {
    Script::start(database, sql).finish()
}

/// A `sqlite3` process that works on a script.
#[derive(Debug)]
pub struct Script {
    child: Child,
    feeder: std::thread::JoinHandle<()>,
}

impl Script {
    pub fn start(database: &Path, sql: &str) -> Self {
        let mut sqlite3 = Command::new("sqlite3");
        sqlite3.args(["-batch", "-bail", "-cmd", ".timeout 300000"]).arg(database);
        Self::feed(sqlite3, sql)
    }

    /// A script for a command that reads it from its input.
    pub fn feed(mut command: Command, sql: &str) -> Self {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|e| {
                panic!("the tests need {command:?}: {e} (Debian: apt-get install sqlite3 postgresql-15)")
            });
        let mut input = child.stdin.take().expect("stdin is piped");
        let sql = sql.to_owned();
        let feeder = std::thread::spawn(move || {
            // A script that fails early closes the pipe; `finish` reports why.
            let _ = input.write_all(sql.as_bytes());
        });
        Self { child, feeder }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If a statement failed.
    pub fn finish(self) -> String {
        let output = self.child.wait_with_output().expect("a child can be waited for");
        self.feeder.join().expect("the feeder of the script");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && err.is_empty(), "the script failed ({}): {err}\n{out}", output.status);
        out.into_owned()
    }
}
