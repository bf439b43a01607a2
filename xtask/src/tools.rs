//! Programs that tests and checks need beside cargo: found, or got, or asked for plainly.

use std::process::Command;

use anyhow::{Result, bail};

use crate::steps;

/// Makes sure that a program of a Debian package is there: installs it where we may, else says how.
pub(crate) fn need(program: &str, package: &str) -> Result<()> {
    if steps::on_path(program) {
        return Ok(());
    }
    let root = steps::output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0");
    if !(root && steps::on_path("apt-get")) {
        bail!("{program} is missing; install it (Debian: apt-get install {package}) and try again");
    }
    steps::note(&format!("installing {package} from Debian's packages"));
    let install = |_: ()| {
        let mut apt = Command::new("apt-get");
        apt.args(["install", "-y", "-qq", package]).env("DEBIAN_FRONTEND", "noninteractive").stdout(std::io::stderr());
        steps::run(&mut apt)
    };
    // The first try may have no package lists to work with.
    if install(()).is_err() {
        steps::run(Command::new("apt-get").args(["update", "-q"]).stdout(std::io::stderr()))?;
        install(())?;
    }
    Ok(())
}
