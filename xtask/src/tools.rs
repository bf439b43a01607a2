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

/// PostgreSQL's server, which the tests start for themselves. Debian keeps it off the PATH.
pub(crate) fn need_postgres() -> Result<()> {
    let debian = || {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        versions.flatten().find(|version| version.path().join("bin/initdb").is_file())
    };
    let given = std::env::var_os("RELEVO_POSTGRES_BIN").is_some();
    if given || debian().is_some() || (steps::on_path("initdb") && steps::on_path("psql")) {
        return Ok(());
    }
    // Debian would make and start a server of its own: nobody has asked for one.
    let folder = std::path::Path::new("/etc/postgresql-common");
    if steps::on_path("apt-get")
        && !folder.join("createcluster.conf").exists()
        && std::fs::create_dir_all(folder).is_ok()
    {
        let _ = std::fs::write(folder.join("createcluster.conf"), "create_main_cluster = false\n");
    }
    need("initdb", "postgresql")
}
