//! The machine's clock as one server sees it, put back by Debian's `faketime`. What measures durations goes on.

use std::path::PathBuf;
use std::process::Command;

use crate::server::{Process, Server};
use crate::world::World;

/// A clock that can be put back while a server runs.
#[derive(Debug)]
pub struct Clock {
    library: String,
    file: PathBuf,
}

impl Clock {
    /// Goes right.
    ///
    /// # Panics
    /// If `faketime` is missing.
    pub fn of(world: &World) -> Self {
        let mut faketime = Command::new("faketime");
        let told = faketime.args(["-f", "+0", "sh", "-c", "printf %s \"$LD_PRELOAD\""]).output();
        let told = told.expect("faketime is installed (Debian: apt-get install faketime)");
        let library = String::from_utf8(told.stdout).expect("a path");
        let clock = Self { library, file: world.data().with_file_name("clock") };
        clock.is("+0");
        clock
    }

    /// From now on (a running server sees it within a second) it is off by this much, like `-1d`.
    pub fn is(&self, off: &str) {
        // In one step: it is read at any time.
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{off}\n")).expect("the clock's file");
        std::fs::rename(new, &self.file).expect("the clock's file");
    }

    /// Starts the server of a world with this clock.
    pub fn serve(&self, world: &World) -> Server {
        let mut command = world.command(&["serve"]);
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_CACHE_DURATION", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("NO_FAKE_STAT", "1");
        Server::listening(Process::start(command)).ready()
    }
}
