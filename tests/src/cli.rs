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
        let mut child = Command::new("sqlite3")
            .args(["-batch", "-bail", "-cmd", ".timeout 300000"])
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tests need the command sqlite3: install it (Debian: apt-get install sqlite3)");
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
        let output = self.child.wait_with_output().expect("sqlite3 can be waited for");
        self.feeder.join().expect("the feeder of the script");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && err.is_empty(), "sqlite3 failed ({}): {err}\n{out}", output.status);
        out.into_owned()
    }
}
