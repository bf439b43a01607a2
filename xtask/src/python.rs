//! The Python client: its own script checks and tests it, with the server and plugins that are built here.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::steps;

/// Makes sure that there is a Python that can make virtual environments, else says how to get one.
pub(crate) fn need() -> Result<()> {
    if !steps::on_path("python3") {
        bail!("python3 is missing; install it (Debian: apt-get install python3-venv) and try again");
    }
    // Debian has `venv` in Python's own package, and `ensurepip`, which it calls, in another one.
    let asked = steps::output(Command::new("python3").args(["-c", "import venv, ensurepip"]));
    if let Err(error) = asked {
        bail!(
            "this python3 can't make virtual environments: its module venv is missing or not whole; install it \
             (Debian: apt-get install python3-venv) and try again\n  {error:#}"
        );
    }
    Ok(())
}

/// Runs linter, type checker and tests; what they need from `PyPI` is kept in the target folder.
pub(crate) fn test(server: &Path, plugins: &Path) -> Result<()> {
    let mut script = Command::new("python3");
    script.arg(steps::root().join("clients/python/run-tests.py"));
    script.env("RELEVO_BIN", server).env("RELEVO_TEST_PLUGINS", plugins);
    steps::run(&mut script)
}
