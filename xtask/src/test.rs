//! `cargo xtask test`: all checks and tests, from a machine that has nothing but Rust and Python.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{deny, plugins, postgres18, python, steps, tools, wasm};

/// The server is built with its crash points for the kill tests.
const FEATURES: [&str; 2] = ["--features", "relevo/failpoints"];

pub(crate) fn run(filter: Option<&str>, only_tests: bool) -> Result<()> {
    // A filter names tests of the workspace.
    let with_python = filter.is_none();
    let of = 3 + if only_tests { 0 } else { 3 } + if with_python { 3 } else { 0 };
    let mut step = 0;
    let mut say = |what: &str| {
        step += 1;
        steps::say(step, of, what);
    };
    say("the compiler for plugins (wasm32-wasip2), and the programs that the tests run (README: two commands)");
    if with_python {
        // Now rather than at the end, a quarter of an hour later.
        python::need()?;
    }
    tools::need("sqlite3", "sqlite3")?;
    tools::need("chromium", "chromium")?;
    tools::need("chromedriver", "chromium-driver")?;
    tools::need_postgres()?;
    tools::need("openssl", "openssl")?;
    tools::need("faketime", "faketime")?;
    let compiler = wasm::compiler()?;
    say("plugins: those that ship, and those that misbehave");
    let ready = plugins::build(&compiler, &[plugins::SHIPPED, plugins::FOR_TESTS].concat())?;
    if !only_tests {
        say("formatting");
        steps::run(steps::cargo().args(["fmt", "--all", "--check"]))?;
        say("lints (clippy, warnings are errors)");
        let mut clippy = steps::cargo();
        clippy.args(["clippy", "--workspace", "--all-targets"]).args(FEATURES).args(["--", "-D", "warnings"]);
        steps::run(&mut clippy)?;
        say("licences and duplicate versions");
        deny::check()?;
    }
    say("the server and all its tests");
    steps::run(steps::cargo().args(["build", "--workspace"]).args(FEATURES))?;
    let server = steps::target().join("debug/relevo");
    if steps::on_path("cargo-nextest") {
        // nextest passes over the examples in the SDK's documentation, which authors copy.
        steps::run(steps::cargo().args(["test", "--doc", "--package", "relevo-plugin"]))?;
    }
    steps::run(tests(&server, &ready).args(filter))?;
    if with_python {
        say("what concerns PostgreSQL, with version 18");
        postgres18::test(tests(&server, &ready))?;
        say("the Python client");
        python::test(&server, &ready)?;
        say("a plugin in Python");
        python::plugin(&server)?;
    }
    Ok(())
}

/// That step alone.
pub(crate) fn postgres18() -> Result<()> {
    let ready = steps::target().join("plugins/ready");
    postgres18::test(tests(&steps::target().join("debug/relevo"), &ready))
}

/// How the tests of the workspace are run; those whose name holds an argument, if one is added.
fn tests(server: &Path, plugins: &Path) -> Command {
    let mut tests = steps::cargo();
    if steps::on_path("cargo-nextest") {
        tests.args(["nextest", "run", "--no-fail-fast"]);
    } else {
        tests.args(["test", "--no-fail-fast"]);
    }
    tests.arg("--workspace").args(FEATURES).env("RELEVO_BIN", server).env("RELEVO_TEST_PLUGINS", plugins);
    tests
}
