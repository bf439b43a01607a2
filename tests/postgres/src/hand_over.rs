//! Gives a throw-away server to a command that takes our place.

use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};

use crate::{Cluster, DATABASE, Error};

/// Waits for the end of its input, which nobody writes to: it comes when the command has ended, in whatever
/// way. The server ends by itself then; its folder goes after it.
const SWEEPER: &str = "cat > /dev/null; n=0
while [ -e \"$0/data/postmaster.pid\" ] && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.1; done
rm -rf -- \"$0\"";

/// Makes a server in `folder`, hands its address to `up`, and becomes `command`, which finds it in
/// `RELEVO_DATABASE_URL`. Both server and folder go when that process ends, even if it is killed.
///
/// # Errors
/// Only returns if something went wrong.
pub fn hand_over(folder: tempfile::TempDir, mut command: Command, up: impl FnOnce(&str)) -> Error {
    let cluster = match Cluster::create(folder.path(), &[]) {
        Ok(cluster) => cluster,
        Err(error) => return error,
    };
    if let Err(error) = sweep_after_us(folder.path()) {
        return error;
    }
    let _ = folder.keep();
    let url = cluster.url(DATABASE);
    up(&url);
    command.env("RELEVO_DATABASE_URL", url);
    // The server's parent is this process, whatever program runs in it.
    cluster.leave();
    Error::Io { what: "the command can't be started", cause: command.exec() }
}

fn sweep_after_us(folder: &Path) -> Result<(), Error> {
    let mut sweeper = Command::new("sh");
    sweeper.args(["-c", SWEEPER]).arg(folder).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut sweeper = sweeper.process_group(0).spawn().map_err(Error::io("sh"))?;
    if let Some(input) = sweeper.stdin.take() {
        // Stays open in the program that we become, until it ends.
        fcntl_setfd(input.as_fd(), FdFlags::empty()).map_err(|error| Error::io("a pipe")(error.into()))?;
        std::mem::forget(input);
    }
    Ok(())
}
