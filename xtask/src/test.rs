//! `cargo xtask test`: all checks and tests, from a machine that has nothing but Rust.

use anyhow::Result;

use crate::{deny, plugins, steps, tools, wasm};

/// The server is built with its crash points for the kill tests.
const FEATURES: [&str; 2] = ["--features", "relevo/failpoints"];

pub(crate) fn run(filter: Option<&str>, only_tests: bool) -> Result<()> {
    let of = if only_tests { 3 } else { 6 };
    let mut step = 0;
    let mut say = |what: &str| {
        step += 1;
        steps::say(step, of, what);
    };
    say("the compiler for plugins (wasm32-wasip2) and the sqlite3 program");
    tools::need("sqlite3", "sqlite3")?;
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
    say("the server and all tests");
    steps::run(steps::cargo().args(["build", "--workspace"]).args(FEATURES))?;
    let mut tests = steps::cargo();
    if steps::on_path("cargo-nextest") {
        tests.args(["nextest", "run", "--no-fail-fast"]);
    } else {
        tests.args(["test", "--no-fail-fast"]);
    }
    tests
        .arg("--workspace")
        .args(FEATURES)
        .args(filter)
        .env("RELEVO_BIN", steps::target().join("debug/relevo"))
        .env("RELEVO_TEST_PLUGINS", &ready);
    steps::run(&mut tests)
}
