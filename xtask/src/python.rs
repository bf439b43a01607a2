//! The Python client: its own script checks and tests it, with the server and plugins that are built here.
//! And the example of a plugin in Python.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::steps;

/// Makes components of Python programs.
const TOOL: &str = "componentize-py==0.25.1";

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

/// Makes the example of a plugin in Python with a tool from `PyPI`, and has `relevo plugin check` prove it.
pub(crate) fn plugin(server: &Path) -> Result<()> {
    let folder = steps::target().join("python-plugins");
    let tool = folder.join("bin/componentize-py");
    if !tool.is_file() {
        steps::note("installing componentize-py from PyPI into the target folder (50 MB)");
        let installed = steps::run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).and_then(|()| {
            let mut pip = Command::new(folder.join("bin/pip"));
            steps::run(pip.args(["install", "--quiet", "--disable-pip-version-check", TOOL]))
        });
        if let Err(error) = installed {
            steps::note(&format!("SKIPPED: there is no componentize-py: {error:#}"));
            return Ok(());
        }
    }
    let source = steps::root().join("plugins/python-example");
    let built = folder.join("built");
    std::fs::create_dir_all(&built)?;
    for file in ["python-example.toml", "python-example.samples.jsonl"] {
        std::fs::copy(source.join(file), built.join(file))?;
    }
    let component = built.join("python-example.wasm");
    let mut make = Command::new(tool);
    make.current_dir(&source).arg("-d").arg(steps::root().join("wit")).args(["-w", "router", "componentize"]);
    steps::run(make.args(["--stub-wasi", "plugin", "-o"]).arg(&component))?;
    steps::run(Command::new(server).args(["plugin", "check", "--seed", "1"]).arg(&component))
}
